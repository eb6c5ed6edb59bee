"""The model that ships, as somebody meets it who has twenty images and no training data."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from commands import printed
from PIL import Image
from safetensors import safe_open
from transformers import AutoModel

from galaxy_sommelier import predict
from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.data.inputs import EXAMPLES
from galaxy_sommelier.download.hub import shipped_folder
from galaxy_sommelier.evaluation.ood import OutOfDistribution
from galaxy_sommelier.models.model import GalaxyModel, learned_by, load_model

VOTES = "t01_smooth_or_features_a01_smooth_weighted_fraction"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Predictions of the 24 galaxies that ship, made with no model named."""
    out = tmp_path_factory.mktemp("shipped") / "morphology.csv"
    printed("predict", "examples", "--out", out)
    return pd.read_csv(out, dtype={"id_str": str})


def test_a_prediction_has_calibrated_fractions_and_a_score_of_how_unusual_it_is(table):
    assert len(table) == 24 and table.id_str.is_unique
    first = GZ2.slices["smooth-or-featured"]  # counts; its intervals were measured on debiased fractions
    for number, answer in enumerate(GZ2.answers):
        low, middle, high = (table[f"{answer}_{end}"] for end in ("lower", "fraction", "upper"))
        if number in range(first.start, first.stop):
            assert low.isna().all() and high.isna().all()
        else:
            assert ((low <= middle + 1e-6) & (middle <= high + 1e-6)).all()
            assert low.min() >= 0 and high.max() <= 1
    asked = {f"{name}_asked" for name in GZ2.question_names}
    assert {"label", "confidence", "ood_score", *asked} <= set(table)


def test_the_first_question_has_intervals_in_the_kind_that_they_were_measured_on():
    image = min((EXAMPLES / "images").iterdir())
    table = predict(image, kind="debiased-willett13")
    bounds = table[[f"{answer}_{end}" for answer in GZ2.answers for end in ("lower", "upper")]]
    assert bounds.notna().all(axis=None)


def test_it_agrees_with_volunteers_on_galaxies_that_it_never_saw(table):
    votes = pd.read_csv(EXAMPLES / "votes.csv", dtype={"dr7objid": str}).set_index("dr7objid")
    votes = votes.loc[table.id_str]
    smooth = table["smooth-or-featured_smooth_fraction"].to_numpy()
    assert np.corrcoef(smooth, votes[VOTES])[0, 1] > 0.8
    edge_on = votes["t02_edgeon_a04_yes_weighted_fraction"] > 0.8
    asked = table["disk-edge-on_asked"].to_numpy() > 0.5
    assert edge_on.sum() >= 3
    assert (table["disk-edge-on_yes_fraction"].to_numpy()[edge_on & asked] > 0.5).all()


def test_one_broken_image_is_named_and_the_others_are_predicted(tmp_path):
    shutil.copytree(EXAMPLES / "images", tmp_path / "mine")
    first, second, *others = sorted((tmp_path / "mine").iterdir())
    first.write_bytes(second.read_bytes()[:2000])
    for other in others[3:]:
        other.unlink()
    text = printed("predict", tmp_path / "mine", "--out", tmp_path / "m.csv")
    assert first.stem in text and "4 galaxies" in text
    assert first.stem not in set(pd.read_csv(tmp_path / "m.csv", dtype=str).id_str)


@pytest.mark.filterwarnings("default")
def test_galaxies_that_fill_the_frame_are_called_unlike_the_training_galaxies(tmp_path):
    for file in (EXAMPLES / "images").iterdir():
        centre = Image.open(file).crop([180, 180, 244, 244])
        centre.resize([424, 424], Image.Resampling.BICUBIC).save(tmp_path / file.name)
    with pytest.warns(OutOfDistribution, match="unusual"):
        near = predict(tmp_path)
    assert (near["ood_score"] > 1).mean() > 0.5


def test_it_loads_by_name_from_its_folder_and_with_transformers(table):
    model, folder = load_model(), shipped_folder()
    again = AutoModel.from_pretrained(folder / "model")
    assert isinstance(again, GalaxyModel)
    weights = dict(model.named_parameters())
    assert all(weights[name].equal(value) for name, value in again.named_parameters())
    assert len(learned_by(model).train) > 10_000


def test_its_folder_is_small_and_says_what_it_is():
    folder = shipped_folder()
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 50e6
    assert {"LICENSE", "card.md", "card.png", "metrics.json"} <= {file.name for file in files}
    texts = {file: file.read_text() for file in files if file.suffix in (".md", ".json", "")}
    assert not [file for file, text in texts.items() if re.search(r"(?<![\w.])/(work|home|tmp|root)/", text)]
    with safe_open(folder / "model" / "model.safetensors", "np") as weights:
        assert {str(weights.get_slice(name).get_dtype()) for name in weights.keys()} == {"F16"}


def test_the_list_of_models_shows_its_own_scores_and_licence():
    text = printed("models")
    metrics = json.loads((shipped_folder() / "metrics.json").read_text())
    scores = next(iter(metrics.get("stores", {}).values()), metrics)
    rows = {line[:16].strip(): line[16:].strip() for line in text.splitlines()[:-1]}
    assert float(rows["RMSE"]) == pytest.approx(scores["kaggle_rmse"], abs=6e-4)
    assert rows["licence"] == "For research and teaching, with credit"
