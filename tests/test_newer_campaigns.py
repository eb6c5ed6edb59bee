"""Trees and tables of the newer campaigns, against the columns of the published catalogues."""

import numpy as np
import pandas as pd
import pytest
import tables

from galaxy_sommelier.catalog.campaigns import CAMPAIGNS, EUCLID, GZ2, RINGS, SCHEMAS, TIDAL, UKIDSS
from galaxy_sommelier.catalog.crosswalk import crosswalk
from galaxy_sommelier.catalog.newer_campaigns import (
    EUCLID_NAMES,
    VOTE_TABLES,
    read_euclid,
    read_tidal,
    read_votes,
)
from galaxy_sommelier.catalog.table import fractions_of, integrity, votes_of
from galaxy_sommelier.core.files import BadInput

N = 200

# the questions and answers of the published catalogue, as its page lists them (zenodo.org/records/15027787)
EUCLID_PAGE = """
smooth-or-featured smooth featured-or-disk problem
how-rounded round in-between cigar-shaped
disk-edge-on yes no
edge-on-bulge boxy none rounded
has-spiral-arms yes no
spiral-winding tight medium loose
spiral-arm-count 1 2 3 4 more-than-4 cant-tell
bar strong weak no
bulge-size dominant large moderate small none
problem star zoom artifact
artifact satellite scattered diffraction ray saturation other ghost
merging none minor-disturbance major-disturbance merger
clumps yes no
"""
# the tasks of the site with the names of their answers, as the Zooniverse extracts them for training
JWST_SITE = """
smooth-or-featured smooth featured-or-disk star-artifact-zoom
how-rounded round in-between cigar-shaped
disk-edge-on yes no
edge-on-bulge rounded boxy none
bar no weak strong
has-spiral-arms yes no
spiral-winding tight medium loose
spiral-arm-count 1 2 3 4 more-than-4 cant-tell
bulge-size none small moderate large dominant
merging merger major-disturbance minor-disturbance none
clumps yes no
problem star artifact bad-zoom
"""
# the tasks of Galaxy Zoo: Cosmic Dawn, as its classifications were reduced
DAWN_SITE = EUCLID_PAGE.replace(" ghost", "")
# of the catalogue of UKIDSS in galaxy-datasets
UKIDSS_SITE = """
smooth-or-featured smooth featured-or-disk artifact
disk-edge-on yes no
has-spiral-arms yes no
bar yes no
bulge-size dominant obvious just-noticeable no
something-odd yes no
how-rounded round in-between cigar
bulge-shape round boxy no-bulge
spiral-winding tight medium loose
spiral-arm-count 1 2 3 4 more-than-4 cant-tell
"""


def columns(text, suffix=""):
    """Return the columns of a list of questions and answers."""
    lines = [line.split() for line in text.strip().splitlines()]
    return {f"{question}{suffix}_{answer}" for question, *answers in lines for answer in answers}


def test_the_tree_of_euclid_is_that_of_the_published_catalogue():
    assert {f"{column}_fraction" for column in columns(EUCLID_PAGE)} == set(EUCLID_NAMES.values())
    assert (len(EUCLID.questions), len(EUCLID.answers)) == (13, 46)


@pytest.mark.parametrize(
    "name, page, suffix, left_out, size",
    [
        ("jwst", JWST_SITE, "-jwst", 0, (12, 39)),
        ("cosmic-dawn", DAWN_SITE, "-cd", 0, (13, 45)),
        ("ukidss", UKIDSS_SITE, "-ukidss", 7, (11, 37)),
        ("rings", "ring yes no", "", 0, (1, 2)),
    ],
)
def test_votes_have_the_columns_of_the_catalogue(name, page, suffix, left_out, size):
    schema, written = SCHEMAS[name], set(tables.vote_rows(name)(0, 1, 0)) - {"subfolder"}
    assert written - {VOTE_TABLES[name].image} == columns(page, suffix)
    assert (len(schema.questions), len(schema.answers)) == size
    assert len(schema.answers) == len(columns(page)) + left_out


def test_the_same_galaxies_were_asked_the_same_in_the_near_infrared():
    """Masters et al. (2024): an identical classification tree."""
    assert UKIDSS.questions == GZ2.questions
    assert {m.grade for m in crosswalk(GZ2, UKIDSS) if m.question != "odd-feature"} == {"A"}


def test_who_shares_a_question():
    alone = (RINGS, TIDAL)
    for a in SCHEMAS.values():
        for b in SCHEMAS.values():
            shared = set(a.question_names) & set(b.question_names)
            assert bool(crosswalk(a, b)) == bool(shared) == (a is b or a in CAMPAIGNS and b in CAMPAIGNS)
            assert bool(shared) or a in alone or b in alone


@pytest.mark.parametrize("name", VOTE_TABLES)
def test_votes_are_those_that_were_written(name, tmp_path):
    path = tables.write(tmp_path / "votes.parquet", tables.vote_rows(name), N)
    schema, cast = SCHEMAS[name], tables.draw(SCHEMAS[name], N)
    table = read_votes(path, name=name)
    assert len(table) == N and set(table.campaign) == {name}
    assert not table.id_str.str.endswith(".jpg").any() and table.id_str.str.startswith(f"{name}-").all()
    fractions, _ = tables.shares(cast, schema)
    for answer in schema.answers:
        if name == "ukidss" and answer.startswith("odd-feature"):
            assert table[f"{answer}_fraction"].isna().all()
            continue
        np.testing.assert_array_equal(table[f"{answer}_votes"], cast[answer])
        np.testing.assert_allclose(table[f"{answer}_fraction"], fractions[answer])
    assert (votes_of(table, schema) is None) == (name == "ukidss")
    assert integrity(table, schema).query("rows > 0").holds.all()
    lost = pd.read_parquet(path).drop(columns=VOTE_TABLES[name].column(schema.answers[0]))
    lost.to_csv(tmp_path / "lost.csv", index=False)
    with pytest.raises(BadInput, match="missing, first"):
        read_votes(tmp_path / "lost.csv", name=name)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_euclid_takes_the_galaxies_with_an_image(ending, tmp_path):
    path = tables.write(tmp_path / f"morphology_catalogue.{ending}", tables.euclid_rows, N)
    (tmp_path / "cut" / "102011288").mkdir(parents=True)
    for name in ("102011288_NEG842787_gz_arcsinh_vis_y", "102011288_842788_", "102011288_NEG1"):
        (tmp_path / "cut" / "102011288" / f"{name}.jpg").touch()
    table = read_euclid(path, tmp_path / "cut")
    assert table.id_str.tolist() == ["euclid-102011288_NEG842787", "euclid-102011288_842788"]
    np.testing.assert_allclose(fractions_of(table, EUCLID), tables.predicted(EUCLID, N, 0)[:2], atol=1e-6)


def test_tidal_features_by_letters_and_confidence(tmp_path):
    table = read_tidal(tables.write(tmp_path / "tidal.csv", tables.tidal_rows, N))
    rows = tables.tidal_rows(0, N, 0)
    published = dict(zip(range(5), (0, 0.1, 0.5, 0.75, 1), strict=True))
    assert table["tidal-feature_yes_fraction"].tolist() == [published[c] for c in rows["CONF"]]
    assert table.ra.tolist() == rows["RAJ2000"].tolist()
    shells = table["tidal-shell_yes_fraction"]
    assert (shells.isna() == (rows["FEAT"] == "N")).all()
    assert (shells.dropna() == ["H" in word for word in rows["FEAT"] if word != "N"]).all()
    pd.DataFrame(rows | {"FEAT": ["NH", *rows["FEAT"][1:]]}).to_csv(tmp_path / "odd.csv", index=False)
    with pytest.raises(BadInput, match="W1-0 has CONF . and FEAT 'NH'; CONF is 0 to 4"):
        read_tidal(tmp_path / "odd.csv")
