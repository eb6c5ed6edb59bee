"""Every campaign through the command line, from published files to scores; and all real files."""

import json

import numpy as np
import pandas as pd
import pytest
import tables
from commands import printed

from galaxy_sommelier.catalog.campaigns import DECALS5, DECALS12, SCHEMAS
from galaxy_sommelier.core.files import read_json
from galaxy_sommelier.data.store import Store
from galaxy_sommelier.images.pixels import encode

N = 30
SMALL = ["-p", "image_size", "32", "-p", "tta", "false", "-p", "precision", "fp32"]
RNG = np.random.default_rng(5)


CAMPAIGNS = {
    "decals12": ("decals", "gz_decals_volunteers_1_and_2.parquet", tables.decals_rows(DECALS12), "iauname"),
    "decals5": ("decals", "gz_decals_volunteers_5.csv", tables.decals_rows(DECALS5), "iauname"),
    "desi": ("desi", "gz_desi_deep_learning_catalog_friendly.parquet", tables.desi_rows, "dr8_id"),
    "hubble": ("hubble", "gz_hubble_main.csv.gz", tables.hubble_rows, "zooniverse_id"),
    "candels": ("candels", "gz_candels_table_2_main_release.csv", tables.candels_rows, "ID"),
    "ukidss": ("ukidss", "ukidss_train_catalog.parquet", tables.vote_rows("ukidss"), "filename"),
    "cosmic-dawn": ("cosmic-dawn", "h2o_train_catalog.parquet", tables.vote_rows("cosmic-dawn"), "filename"),
    "jwst": ("jwst", "jwst_train_catalog.parquet", tables.vote_rows("jwst"), "subject_id"),
    "euclid": ("euclid", "morphology_catalogue.parquet", tables.euclid_rows, "object_id"),
    "rings": ("rings", "rings_train_catalog.parquet", tables.vote_rows("rings"), "filename"),
    "tidal": ("tidal", "tidal.csv", tables.tidal_rows, "ID"),
}


def image_name(each, campaign):
    """Return the published name of a galaxy's image."""
    if campaign == "euclid":
        return f"102011288_{str(each).replace('-', 'NEG')}_gz_arcsinh_vis_y.jpg"
    return f"{str(each).removesuffix('.jpg')}{'_color' if campaign == 'tidal' else ''}.jpg"


@pytest.mark.parametrize("campaign", CAMPAIGNS)
def test_from_the_published_files_of_a_campaign_to_scores(campaign, tmp_path):
    source, name, rows, ids = CAMPAIGNS[campaign]
    table = tables.write(tmp_path / name, rows, N)
    published = pd.read_parquet(table) if name.endswith(".parquet") else pd.read_csv(table)
    (tmp_path / "images").mkdir()
    for each in published[ids][: N - 2]:  # two galaxies have no image
        (tmp_path / "images" / image_name(each, campaign)).write_bytes(
            encode(RNG.integers(0, 256, (48, 48, 3), dtype=np.uint8))
        )
    # of the catalogues of predictions only galaxies with an image are taken
    left_out = 0 if campaign in ("desi", "euclid") else 2
    text = printed(
        "prepare", source, "--root", tmp_path, "--out", tmp_path / "store", "--val", "0.3", "--max-bad", "0.1"
    )
    assert f"{N - 2} galaxies, {left_out} images left out" in text
    store = Store(tmp_path / "store")
    assert store.schema == SCHEMAS[campaign] and len(store) == N - 2
    printed("train", tmp_path / "store", "--stage", "probe", "--out", tmp_path / "run", *SMALL)
    words = "--model", tmp_path / "run", "--out", tmp_path / "predicted.parquet", "--no-tta"
    printed("predict", tmp_path / "store", *words)
    text = printed(
        "evaluate", tmp_path / "predicted.parquet", tmp_path / "store", "--out", tmp_path / "scores.json"
    )
    scores = read_json(tmp_path / "scores.json")
    assert "mean_r" in text and -1 <= scores["mean_r"] <= 1
    assert json.loads((tmp_path / "run" / "model" / "config.json").read_text())["schema"]["name"] == campaign


def test_two_campaigns_in_one_table_are_refused(tmp_path):
    table = tables.write(tmp_path / "gz_candels_table_2_main_release.csv", tables.candels_rows, N)
    assert "no gz_hubble_main.csv.gz" in printed(
        "prepare", "hubble", "--root", tmp_path, "--out", tmp_path / "out", expect=2
    )
    own = pd.DataFrame({"id_str": ["a", "b"], "campaign": ["gz2", "candels"]})
    own.to_csv(tmp_path / "table.csv", index=False)
    text = printed("prepare", "table", "--root", tmp_path, "--out", tmp_path / "out", expect=2)
    assert "the column campaign holds candels, gz2" in text and len(text.splitlines()) == 1 and table.exists()


def test_every_real_file_is_accepted(kaggle_root, gz2_root, stripe82_root, tmp_path):
    data = kaggle_root.parent
    for words, good, bad in (
        (
            ("gz2", "--root", gz2_root, "--table", "gz2_hart16_sample.csv", "--kind", "weighted"),
            600,
            0,
        ),
        (("images", "--root", data / "exemplars"), 516, 0),
        (("images", "--root", data / "fits", "--max-bad", "0.1"), 37, 2),
    ):
        out = tmp_path / words[0] / words[2].name
        out.parent.mkdir(exist_ok=True)
        text = printed("prepare", *words, "--out", out)
        assert f"{good} galaxies, {bad} images left out" in text, text
    # the truncated one and the one with a large gap
    assert "is cut off" in text and "lacks 76% of band g" in text
    text = printed(
        "prepare", "willett", "--root", stripe82_root, "--out", tmp_path / "stripe82", "--max-bad", "1"
    )
    assert "377 galaxies, 19,384 images left out" in text
    assert Store(tmp_path / "stripe82").votes.shape == (377, 37)
    assert "7,083 galaxies, 0 images left out" in printed(
        "prepare", "kaggle", "--root", kaggle_root, "--out", tmp_path / "kaggle"
    )
