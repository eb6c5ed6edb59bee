"""The rivals of DINO: checkpoints as on the hub, trained ones, and the experiment with a gated hub."""

import os
import subprocess
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
import torch
from test_model_real import GatedHub
from transformers import AutoConfig, AutoModelForImageClassification

from galaxy_sommelier.core.files import read_json
from galaxy_sommelier.data.store import simulated_store
from galaxy_sommelier.models.backbone import open_backbone
from galaxy_sommelier.models.features import encode_batch
from galaxy_sommelier.models.model import build_model, load_model
from galaxy_sommelier.training.settings import make_settings
from galaxy_sommelier.training.stages import train

SOMMELIER = str(Path(sys.executable).with_name("sommelier"))
RIVALS = ("tiny-vit", "tiny-resnet", "tiny-convnext", "tiny-convnextv2", "tiny-efficientnet")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return simulated_store(tmp_path_factory.mktemp("sky") / "store", n=60, size=32, seed=1)


@pytest.mark.parametrize("name", RIVALS)
def test_a_checkpoint_with_a_classifier_is_a_backbone(name, tmp_path):
    """The hub's checkpoints are classifiers; all their weights but the last layer's must be loaded."""
    theirs = AutoModelForImageClassification.from_config(
        AutoConfig.for_model(**open_backbone(name)[1]["backbone_config"])
    ).eval()
    theirs.save_pretrained(tmp_path / "published")
    model = build_model(tmp_path / "published", image_size=64, seed=7).eval()
    weights, ours = theirs.base_model.state_dict(), model.backbone.state_dict()
    assert set(weights) == set(ours) and all(torch.equal(weights[key], ours[key]) for key in ours)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        last = theirs.base_model(images).last_hidden_state
        by_hand = (
            torch.cat([last[:, 0], last[:, 1:].mean(1)], 1) if name == "tiny-vit" else last.mean((-2, -1))
        )
        if "convnext" in name:
            by_hand = theirs.base_model.layernorm(by_hand)
        assert torch.allclose(model.features(images), by_hand, atol=1e-5)


TRAINED = [
    ("tiny-resnet", "full"),
    ("tiny-efficientnet", "full"),
    ("tiny-convnext", "lora"),
    ("tiny-vit", "lora"),
]


@pytest.mark.parametrize("name, stage", TRAINED)
def test_a_trained_backbone_on_disk_predicts_as_it_was_scored(store, tmp_path, name, stage):
    settings = make_settings(
        backbone=name,
        stage=stage,
        image_size=32,
        crop=1.0,
        epochs=2,
        batch_size=16,
        precision="fp32",
        tta=False,
    )
    run = train(store, tmp_path / "run", settings)
    trained, fresh = (
        load_model(run).backbone.state_dict(),
        build_model(name, image_size=32, seed=settings.seed).backbone.state_dict(),
    )
    assert trained.keys() == fresh.keys()
    assert any(not torch.equal(trained[key], fresh[key]) for key in trained)
    counted = [int(value) for key, value in trained.items() if key.endswith("num_batches_tracked")]
    # the running statistics of batch norms are saved too
    assert all(counted) and bool(counted) == (stage == "full")
    assert pd.read_parquet(run / "predictions.parquet").filter(like="_fraction").notna().all(axis=None)


def test_a_batch_does_not_change_the_features_of_a_galaxy():
    """While a frozen convnet encodes, its batch norms use stored statistics, not those of the batch."""
    model = build_model("tiny-resnet", image_size=32).train()
    images = torch.randint(
        0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    model.eval()
    assert torch.allclose(
        encode_batch(model, images, precision="fp32")[:1],
        encode_batch(model, images[:1], precision="fp32"),
        atol=1e-5,
    )


def test_the_experiment_continues_without_a_gated_backbone(store, tmp_path):
    environment = {
        key: value for key, value in os.environ.items() if "OFFLINE" not in key and key != "HF_TOKEN"
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), GatedHub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        environment |= {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path / "cache"),
        }
        given = {
            "store": store,
            "backbones": "[tiny-resnet, meta/dinov3]",
            "stages": "[probe]",
            "image_size": 32,
            "resamples": 100,
        }
        words = [word for name, value in given.items() for word in ("-p", name, str(value))]
        command = [SOMMELIER, "run", "backbones", "--out", tmp_path / "run", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert [row["backbone"] for row in metrics["rows"]] == ["training mean", "tiny-resnet"]
    assert [
        (row["backbone"], "access is granted by its owners" in row["reason"]) for row in metrics["missing"]
    ] == [("meta/dinov3", True)]
    assert pd.read_csv(tmp_path / "run" / "backbones.csv")["kaggle_rmse"].notna().all()
