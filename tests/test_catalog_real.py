"""The readers on the published tables."""

import numpy as np
import pandas as pd
import pytest

from galaxy_sommelier.catalog.classes import CLASSES, counts, label, select, top
from galaxy_sommelier.catalog.gz2 import (
    KAGGLE_COLUMNS,
    STEMS,
    from_kaggle,
    read_hart16,
    read_kaggle,
    read_willett,
)
from galaxy_sommelier.catalog.schema import GZ2, kaggle_form
from galaxy_sommelier.catalog.table import check_table, fractions_of, integrity, missing_images, votes_of
from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.data.splits import check_disjoint, read_ids, split


@pytest.fixture(scope="module")
def stripe82(stripe82_root):
    return read_willett(stripe82_root / "zoo2Stripe82Coadd2.csv.gz", stripe82_root / "images")


def test_kaggle_round_trip(kaggle_root):
    csv = kaggle_root / "training_solutions_rev1.csv"
    table = read_kaggle(csv, kaggle_root / "images_training_rev1")
    published = pd.read_csv(csv)
    assert len(table) == len(published) == 7083 and not missing_images(table)
    assert table.id_str.tolist() == [f"kaggle-{i}" for i in published.GalaxyID]
    values = published[KAGGLE_COLUMNS].to_numpy()
    assert np.abs(kaggle_form(from_kaggle(values)) - values).max() < 1e-12
    assert np.abs(kaggle_form(table[GZ2.columns].to_numpy(float)) - values).max() < 1e-6
    assert np.abs(kaggle_form(fractions_of(table)) - values).max() < 1e-6  # also in float32
    check_table(table)


def test_hart16_with_columns_missing(gz2_root):
    csv = gz2_root / "gz2_hart16_sample.csv"
    where = dict(mapping=gz2_root / "gz2_filename_mapping.csv", images=gz2_root / "images_gz2" / "images")
    with pytest.raises(BadInput, match="but 'weighted' or 'debiased-hart16'") as complaint:
        read_hart16(csv, **where)
    assert "\n" not in str(complaint.value)
    for kind in ("weighted", "debiased-hart16"):
        table = read_hart16(csv, **where, kind=kind)
        assert len(table) == 600 and not missing_images(table) and votes_of(table) is None
        assert (
            table["smooth-or-featured_total-votes"].between(16, 100).all() and table.gz2_class.notna().all()
        )
        assert table.ra.isna().all() and str(table["smooth-or-featured_total-votes"].dtype) == "Int64"
    published = pd.read_csv(csv, dtype=str)
    assert table.id_str.tolist() == ("gz2-" + published.dr7objid).tolist()
    images = pd.read_csv(gz2_root / "gz2_filename_mapping.csv", dtype=str).set_index("objid").asset_id
    assert table.path.str.endswith(("/" + published.dr7objid.map(images) + ".jpg").tolist()[0]).iloc[0]


def test_zeros_become_nan_question_by_question(gz2_root):
    csv = gz2_root / "gz2_hart16_sample.csv"
    published = pd.read_csv(csv, dtype={"dr7objid": str})[
        [f"{stem}_weighted_fraction" for stem in STEMS]
    ].to_numpy()
    values = read_hart16(csv, kind="weighted")[GZ2.columns].to_numpy()
    arms = GZ2.slices["spiral-winding"]
    nobody = published[:, arms].sum(1) == 0
    assert 0.5 < nobody.mean() < 0.7
    assert np.isnan(values[nobody, arms]).all() and not np.isnan(values[~nobody, arms]).any()
    assert np.array_equal(values[~np.isnan(values)], published[~np.isnan(values)])


def test_willett_votes(stripe82, stripe82_root):
    votes = votes_of(stripe82)
    assert len(stripe82) == 19761 and votes.shape == (19761, 37)
    published = pd.read_csv(stripe82_root / "zoo2Stripe82Coadd2.csv.gz", dtype={"objid": str})
    assert stripe82.id_str.tolist() == ("gz2-" + published.objid).tolist()
    assert np.array_equal(votes.sum(1), published.total_votes)
    assert np.array_equal(stripe82.ra, published.ra) and len(stripe82) - len(missing_images(stripe82)) == 377
    # in this release `_fraction` repeats `_weighted_fraction`: close to the share of votes, not equal to it
    shares = votes[:, :3] / votes[:, :3].sum(1, keepdims=True)
    assert np.median(np.abs(shares - stripe82[GZ2.columns[:3]]).max(axis=1)) < 2e-3


def test_integrity_of_stripe82(stripe82):
    share = integrity(stripe82).set_index("relation").share
    assert share["every volunteer answered the first question"] == 1
    assert share["bar was asked after disk-edge-on_no"] == pytest.approx(0.992, abs=5e-4)
    assert share["how-rounded was asked after smooth-or-featured_smooth"] == pytest.approx(
        0.964, abs=5e-4
    )
    assert share["odd-feature was asked after something-odd_yes"] == pytest.approx(0.990, abs=5e-4)
    assert share["fractions are votes over their total"] == pytest.approx(0.53, abs=0.01)
    assert share["fractions of smooth-or-featured sum to 1"] == 1
    assert share["debiased fractions of smooth-or-featured sum to 1"] == pytest.approx(0.55, abs=0.01)


@pytest.mark.parametrize(
    "spoil, complaint",
    [
        (lambda t: t.drop(columns="Class9.2"), "column.* missing, first 'Class9.2'"),
        (lambda t: pd.concat([t, t.head(1)]), "GalaxyID 100008 is duplicated"),
        (lambda t: t.assign(**{"Class1.1": t["Class1.1"] + 0.7}), "lie outside 0 to 1"),
        (lambda t: t.assign(**{"Class3.1": 0.9 * t["Class3.1"]}), "the answers of bar sum to"),
        (lambda t: t.assign(GalaxyID=t.GalaxyID + 0.5), "is no integer"),
        (lambda t: t.assign(**{"Class3.1": "many"}), "holds text"),
    ],
)
def test_a_damaged_kaggle_table(kaggle_root, tmp_path, spoil, complaint):
    spoil(pd.read_csv(kaggle_root / "training_solutions_rev1.csv", nrows=50)).to_csv(
        tmp_path / "spoilt.csv", index=False
    )
    with pytest.raises(BadInput, match=complaint) as error:
        read_kaggle(tmp_path / "spoilt.csv")
    assert "\n" not in str(error.value) and "spoilt.csv" in str(error.value)


def test_files_that_are_not_tables(tmp_path):
    (tmp_path / "image.csv").write_bytes(bytes(range(256)) * 10)
    (tmp_path / "ragged.csv").write_text("GalaxyID,a\n1,2\n3,4,5\n")
    for name in ("image.csv", "ragged.csv", "missing.csv"):
        with pytest.raises(BadInput) as error:
            read_kaggle(tmp_path / name)
        assert "\n" not in str(error.value)


def test_labels_of_stripe82(stripe82):
    """The historical rule has the fingerprint of the second predecessor's table.

    Whole paths give the class mix of Galaxy Zoo 2.
    """
    historical = label(stripe82, "predecessor")
    share = 100 * counts(historical).loc[0.8, list(CLASSES)] / len(stripe82)
    assert share.tolist() == pytest.approx([7.3, 0.04, 7.9, 56.5], abs=0.06)
    certain = select(historical, 0.9999).label.value_counts(normalize=True)
    assert certain["spiral"] == pytest.approx(0.886, abs=1e-3)
    mix = counts(label(stripe82)).loc[0.5]
    assert mix["smooth"] > mix["spiral"] > mix["edge_on"] > mix["featured"]
    best = top(historical, 1000)
    assert best.equals(top(historical.sample(frac=1, random_state=0), 1000)) and (best.confidence == 1).all()


def test_split_with_the_natural_test_set(kaggle_root):
    table = read_kaggle(kaggle_root / "training_solutions_rev1.csv")
    ids = read_ids(kaggle_root / "natural_test_ids.csv", among=table.id_str)
    sides = split(table.id_str, test_ids=ids)
    groups = [sides.index[sides == side] for side in ("train", "val", "test")]
    check_disjoint(*groups)
    assert [len(group) for group in groups] == [4698, 552, 1833] and set(groups[2]) == set(ids)
    assert label(table).votes.isna().all()
    with pytest.raises(BadInput, match="does not say how many volunteers"):
        label(table, "clean")
