"""Tables with unknown questions, and stores with several kinds of fractions, from files to predictions."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import sommelier

from galaxy_sommelier.catalog.gz2 import KAGGLE_COLUMNS, read_kaggle, read_willett
from galaxy_sommelier.catalog.kinds import KAGGLE_KINDS
from galaxy_sommelier.catalog.schema import GZ2, kaggle_form
from galaxy_sommelier.catalog.table import fractions_of
from galaxy_sommelier.data.mixture import open_store
from galaxy_sommelier.data.store import Store, simulated_store
from galaxy_sommelier.images.pixels import encode
from galaxy_sommelier.models.model import load_model
from galaxy_sommelier.models.shards import predictions_facts

FIRST = GZ2.slices["smooth-or-featured"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Counts of one sky; of another a table in the challenge's form, without the columns of the arms."""
    place = tmp_path_factory.mktemp("kinds")
    simulated_store(place / "counts", n=60, size=48, seed=1)
    other = Store(simulated_store(place / "other", n=60, size=48, seed=2))
    cumulative = kaggle_form(np.nan_to_num(other.fractions.astype(float)))
    solutions = pd.DataFrame(cumulative, columns=KAGGLE_COLUMNS)
    fewer = [name for name in KAGGLE_COLUMNS if name.split(".")[0] not in ("Class10", "Class11")]
    (place / "images_training_rev1").mkdir()
    for i in range(len(other)):
        (place / "images_training_rev1" / f"{i}.jpg").write_bytes(encode(other.image(i)))
    solutions[fewer].assign(GalaxyID=range(60)).to_csv(place / "training_solutions_rev1.csv", index=False)
    pd.DataFrame({"GalaxyID": range(5)}).to_csv(place / "val.csv", index=False)
    words = ("--root", place, "--out", place / "kaggle", "--val-ids", place / "val.csv", "--test", 0.2)
    code, text = sommelier("prepare", "kaggle", *words)
    assert code == 0, text
    code, text = sommelier("mix", place / "kaggle", place / "counts", "--out", place / "mixed")
    assert code == 0, text
    values = ["-p", "image_size", 32, "-p", "crop", 1.0, "-p", "epochs", 2, "-p", "views", 1]
    code, text = sommelier("train", place / "mixed", "--stage", "head", "--out", place / "run", *values)
    assert code == 0, text
    return place


def test_unknown_questions_are_nan_and_kinds_are_kept(place):
    store = Store(place / "kaggle")
    arms = GZ2.slices["spiral-winding"]
    assert np.isnan(store.fractions[:, arms]).all() and not np.isnan(store.fractions[:, FIRST]).any()
    assert store.kinds == [KAGGLE_KINDS]
    assert sorted(store.ids[i] for i in store.indices("val")) == [f"kaggle-{i}" for i in range(5)]


def test_a_model_of_two_kinds_predicts_either(place):
    mixed = open_store(place / "mixed")
    assert [kinds["smooth-or-featured"] for kinds in mixed.kinds] == ["counts", "debiased-willett13"]
    assert load_model(place / "run").describe()["kinds"] == ["counts", "debiased-willett13"]
    found = {}
    for kind in (None, "counts", "debiased-willett13"):
        out = place / f"{kind}.parquet"
        more = ("--kind", kind) if kind else ()
        # an average over views depends on the first question, whatever question it is of
        words = ("predict", place / "images_training_rev1", "--model", place / "run", "--no-tta")
        words += ("--out", out, *more)
        code, text = sommelier(*words)
        assert code == 0, text
        found[kind] = fractions_of(pd.read_parquet(out))
    assert np.array_equal(found[None], found["counts"])
    changed = np.abs(found["counts"] - found["debiased-willett13"]).max(axis=0) > 1e-6
    assert changed.tolist() == [True] * 3 + [False] * 34
    assert '"debiased-willett13"' in predictions_facts(place / "debiased-willett13.parquet")["kinds"]
    code, text = sommelier("predict", place / "other", "--model", place / "run", "--out", place / "no.csv",
                           "--kind", "debiased-hart16")  # fmt: skip
    assert code == 2 and "is not among counts, debiased-willett13" in text and not (place / "no.csv").exists()


def test_a_score_across_kinds_is_named(place):
    out = place / "across.parquet"
    assert sommelier("predict", place / "kaggle", "--model", place / "run", "--out", out)[0] == 0
    code, text = sommelier("evaluate", out, place / "kaggle", "--split", "test")
    assert code == 0 and "across kinds: predicted counts, votes debiased-willett13" in text
    assert "42 galaxies that have both" in text
    same = place / "same.parquet"
    words = ("--model", place / "run", "--kind", "debiased-willett13", "--no-tta", "--out", same)
    assert sommelier("predict", place / "kaggle", *words)[0] == 0
    code, text = sommelier("evaluate", same, place / "kaggle", "--split", "test")
    assert code == 0 and "across kinds" not in text


def test_the_run_scores_each_galaxy_in_its_own_kind(place):
    """`train` scores the test galaxies of both stores, each in the kind that its store holds."""
    predicted = pd.read_parquet(place / "run" / "predictions.parquet").set_index("id_str")
    own = pd.read_parquet(place / "same.parquet").set_index("id_str")
    tested = [name for name in predicted.index if name.startswith("kaggle-")]
    assert tested
    first = GZ2.columns[FIRST]
    assert np.allclose(predicted.loc[tested, first], own.loc[tested, first], atol=0.01)


def test_images_of_another_scale_show_more_of_the_frame(place):
    plain, wide = place / "plain.parquet", place / "wide.parquet"
    words = ("predict", place / "images_training_rev1", "--model", place / "run", "--no-tta")
    assert sommelier(*words, "--out", plain)[0] == 0
    assert sommelier(*words, "--out", wide, "--scale", 0.5)[0] == 0
    assert not np.allclose(pq.read_table(plain)["confidence"], pq.read_table(wide)["confidence"])


def test_real_tables_with_unknown_columns(kaggle_root):
    natural = read_kaggle(kaggle_root.parent / "kaggle_more" / "natural_run_17_columns.csv")
    assert len(natural) == 3745 and natural["bar_yes_fraction"].isna().all()
    assert natural["disk-edge-on_yes_fraction"].notna().mean() > 0.9
    counts = read_willett(kaggle_root.parent / "gz2_counts" / "votes.csv.gz")
    assert len(counts) == 7668 and counts["spiral-arm-count_2_fraction"].isna().all()
    assert counts["smooth-or-featured_total-votes"].median() == 42
