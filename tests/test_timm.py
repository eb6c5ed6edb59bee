"""Encoders of timm, in a process that can import it also where torchvision does not fit torch."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.data.store import simulated_store
from galaxy_sommelier.models.backbone import open_backbone

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def env(tmp_path_factory):
    """An environment in which timm can be imported, without its dependencies."""
    folders = [HERE / "stand_ins"]
    if find_spec("timm") is None:
        folders.append(tmp_path_factory.mktemp("timm"))
        words = ["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folders[1]), "timm==1.0.31"]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"timm cannot be installed: {done.stderr.strip().splitlines()[-1:]}")
    path = os.pathsep.join(map(str, folders))
    return os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def found(env, tmp_path_factory):
    """The encoders that `timm_checks.py` saved, and what it found."""
    root = tmp_path_factory.mktemp("encoders")
    words = [sys.executable, HERE / "timm_checks.py", root]
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return root, json.loads(done.stdout.strip().splitlines()[-1])


def test_features_are_those_of_timm_and_a_saved_model_needs_no_network(found):
    for name, facts in found[1]["kinds"].items():
        assert facts["apart"] < 1e-5 and facts["same"] and facts["other_size"] < 1e-5, name
        assert facts["mean"] == [0.5, 0.4, 0.3] and facts["std"] == [0.2, 0.2, 0.1]
        assert facts["name"] == name and facts["kind"] == "timm" and facts["levels"] >= 4
        assert facts["rates"] == facts["levels"] + 1  # one for each level, and that of the head


def test_encoders_of_a_single_band(found):
    band = found[1]["band"]
    assert band["apart"] < 1e-5 and band["same"]
    assert "convnext_atto: reads a single band, and the images have three colours" in band["no"]


def test_what_cannot_be_used_is_refused_in_one_line(found):
    no = found[1]["no"]
    assert all(line and "\n" not in line and len(line) < 500 for line in no.values())
    assert "closest names are convnext_nano, " in no["misspelt"]
    assert "names no model" in no["nameless"] and "no such model" in no["tag"]
    assert "1 tensor missing (stem.0.bias)" in no["missing"]
    assert "not in the local cache" in no["network"] and "give the path of a folder" in no["network"]
    assert "256; gmlp_ti16_224 reads images of 224 pixels only; take 224" in no["fixed"]
    assert "112 is no multiple of the backbone's total stride of 32 pixels; take 96 or 128" in no["default"]
    assert "take 'mean'" in no["cls"]
    assert "'convnext_of_tomorrow' is not supported in your version of timm" in no["unknown"]


def test_train_and_predict_with_a_timm_encoder(env, found, tmp_path):
    """The folder of an encoder, as Zoobot's on the hub, is a backbone on the command line."""
    simulated_store(tmp_path / "store", n=40, size=64, seed=1)
    encoder = found[0] / "vit_tiny_patch16_224"

    def sommelier(*words):
        start = "from galaxy_sommelier.cli.start import start; start()"
        call = [sys.executable, "-c", start, *map(str, words)]
        done = subprocess.run(call, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr[-2000:]

    small = ["-p", "image_size", "64", "-p", "pool", "mean", "-p", "epochs", "1", "-p", "precision", "fp32"]
    run = tmp_path / "run"
    sommelier("train", tmp_path / "store", "--stage", "lora", "--backbone", encoder, "--out", run, *small)
    sommelier("predict", tmp_path / "store", "--model", run, "--out", tmp_path / "out.parquet", "--no-tta")
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert len(table) == 40 and np.isfinite(table["smooth-or-featured_smooth_fraction"]).all()


def test_without_timm_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BadInput, match=r"timm:convnext_nano: needs timm.*galaxy_sommelier\[timm\]"):
        open_backbone("timm:convnext_nano")


def test_other_names_and_files(tmp_path):
    with pytest.raises(BadInput, match="backbone 'tiny-resnett': neither.*did you mean 'tiny-resnet'"):
        open_backbone("tiny-resnett")
    (tmp_path / "zoobot.ckpt").write_bytes(b"\x80\x02")
    with pytest.raises(BadInput, match=r"zoobot.ckpt is a pickle.*it can run code; take the encoder"):
        open_backbone(tmp_path / "zoobot.ckpt")
