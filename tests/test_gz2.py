"""The second predecessor's test on real Galaxy Zoo 2 images: the same bytes twice, and after fine-tuning."""
import re

import pandas as pd
import pytest

from galaxy_sommelier.core.files import read_json
from galaxy_sommelier.core.runs import run_experiment
from galaxy_sommelier.models.model import build_model

RESULTS = "test_reproducible_results.csv"
CLASSES = {"edge_on", "featured", "smooth", "spiral"}


def gz2_test(root, out, **values):
    values = {"root": str(root), "table": "gz2_hart16_sample.csv", "n": 60} | values
    return run_experiment("gz2_test", values, out=out, progress=False)


@pytest.fixture(scope="module")
def first(gz2_root, dino_weights, tmp_path_factory):
    return gz2_test(gz2_root, tmp_path_factory.mktemp("gz2") / "first", backbone=str(dino_weights))


def test_two_runs_give_the_same_bytes(first, gz2_root, dino_weights, tmp_path):
    second = gz2_test(gz2_root, tmp_path / "second", backbone=str(dino_weights))
    assert (first / RESULTS).read_bytes() == (second / RESULTS).read_bytes()


def test_another_seed_gives_other_answers(first, gz2_root, dino_weights, tmp_path):
    other = gz2_test(gz2_root, tmp_path / "other", backbone=str(dino_weights), seed=7)
    assert (first / RESULTS).read_bytes() != (other / RESULTS).read_bytes()


def test_the_results_are_in_the_predecessors_form(first):
    results = pd.read_csv(first / RESULTS, dtype=str)
    assert list(results.columns) == ["ID", "answer", "model_answer", "TRUE/FALSE"] and len(results) == 60
    assert all(re.fullmatch(r"\d{18}", name) for name in results.ID), "ids must be exact SDSS object ids"
    assert set(results.answer) | set(results.model_answer) <= CLASSES
    assert ((results.answer == results.model_answer) == (results["TRUE/FALSE"] == "TRUE")).all()


def test_the_metrics_agree_with_the_results(first):
    results, metrics = pd.read_csv(first / RESULTS, dtype=str), read_json(first / "metrics.json")
    assert metrics["accuracy"] == (results["TRUE/FALSE"] == "TRUE").mean()
    assert metrics["majority"] == results.answer.value_counts().max() / len(results)
    assert sum(map(sum, metrics["confusion"])) == metrics["n"] == 60 and metrics["missing_images"] == 0


def test_missing_images_are_counted(gz2_root, tmp_path):
    root = tmp_path / "gz2"
    (root / "images_gz2" / "images").mkdir(parents=True)
    mapping = pd.read_csv(gz2_root / "gz2_filename_mapping.csv", dtype=str)
    for asset in mapping.asset_id[::2]:
        image = gz2_root / "images_gz2" / "images" / f"{asset}.jpg"
        if image.exists():
            (root / "images_gz2" / "images" / image.name).symlink_to(image)
    for name in ("gz2_filename_mapping.csv", "gz2_hart16_sample.csv"):
        (root / name).symlink_to(gz2_root / name)
    metrics = read_json(gz2_test(root, tmp_path / "run", image_size=56) / "metrics.json")
    assert metrics["missing_images"] > 0 and metrics["n"] + metrics["missing_images"] == 60


@pytest.mark.parametrize("preset", ["path", "predecessor"])
def test_a_model_of_the_whole_tree_takes_the_same_test(preset, gz2_root, tmp_path):
    build_model("tiny", image_size=32).save_pretrained(tmp_path / "model")
    run = gz2_test(gz2_root, tmp_path / "run", model=str(tmp_path / "model"), preset=preset)
    results = pd.read_csv(run / RESULTS, dtype=str)
    assert len(results) == 60 and set(results.model_answer) <= CLASSES | {"none"}
