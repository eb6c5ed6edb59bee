"""Real weights and galaxies: DINOv2-S (saliency-fine-tuned) learns something from a hundred galaxies."""

import pandas as pd
import pytest

from galaxy_sommelier.catalog.gz2 import read_kaggle
from galaxy_sommelier.core.files import read_json
from galaxy_sommelier.data.store import write_store
from galaxy_sommelier.training.settings import make_settings
from galaxy_sommelier.training.stages import train_stages


@pytest.fixture(scope="module")
def store(kaggle_root, tmp_path_factory):
    table = read_kaggle(
        kaggle_root / "training_solutions_rev1.csv", images=kaggle_root / "images_training_rev1"
    ).iloc[:160]
    split = pd.Series(["train"] * 96 + ["val"] * 32 + ["test"] * 32, index=table.id_str)
    out = tmp_path_factory.mktemp("real") / "store"
    write_store(table, out, split=split)
    return out


def test_stages_on_real_galaxies(store, dino_weights, tmp_path):
    settings = make_settings(
        backbone=str(dino_weights), backbone_name="DINOv2-S, saliency-fine-tuned", image_size=56, epochs=4
    )
    runs = train_stages(store, tmp_path / "runs", ("baseline", "probe", "full"), settings)
    metrics = {stage: read_json(run / "metrics.json") for stage, run in runs.items()}
    assert {m["kind"] for m in metrics.values()} == {"DINOv2"} and metrics["full"]["patch"] == 14
    assert metrics["full"]["name"] == "DINOv2-S, saliency-fine-tuned"
    assert metrics["full"]["kaggle_rmse"] < 0.85 * metrics["baseline"]["kaggle_rmse"]
    assert metrics["probe"]["mean_r"] > metrics["baseline"]["mean_r"]
