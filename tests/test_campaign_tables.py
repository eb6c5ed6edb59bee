"""The readers on simulated tables of every campaign, also after a spreadsheet or damage to a line."""

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tables

from galaxy_sommelier.catalog.campaigns import CANDELS, DECALS5, DECALS12, DESI, HUBBLE
from galaxy_sommelier.catalog.gz2 import read_hart16, read_kaggle
from galaxy_sommelier.catalog.later_campaigns import (
    desi_pieces,
    read_candels,
    read_decals,
    read_desi,
    read_hubble,
)
from galaxy_sommelier.catalog.schema import GZ2, Schema
from galaxy_sommelier.catalog.table import fractions_of, integrity, read_table, votes_of
from galaxy_sommelier.core import tables as tabular
from galaxy_sommelier.core.files import BadInput

N = 200


def whole_desi(path):
    return pd.concat(desi_pieces(path), ignore_index=True)


FORMATS = {
    "hart16": (tables.hart16_rows, read_hart16, GZ2, "gz2-587722981741363200", "dr7objid", "ra"),
    "kaggle": (tables.kaggle_rows, read_kaggle, GZ2, "kaggle-100008", "GalaxyID", None),
    "decals12": (
        tables.decals_rows(DECALS12), read_decals, DECALS12, "decals12-J100000.00-010258.5", "iauname",
        "ra"
    ),
    "decals5": (
        tables.decals_rows(DECALS5), read_decals, DECALS5, "decals5-J100000.00-010258.5", "iauname", "ra"
    ),
    "desi": (tables.desi_rows, whole_desi, DESI, "desi-300000_0", "dr8_id", "ra"),
    "hubble": (tables.hubble_rows, read_hubble, HUBBLE, "hubble-AHZ0000000", "zooniverse_id", "RA"),
    "candels": (tables.candels_rows, read_candels, CANDELS, "candels-COS_0", "ID", "RA"),
}


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    """A CSV file of each format."""
    folder = tmp_path_factory.mktemp("tables")
    return {name: tables.write(folder / f"{name}.csv", rows, N) for name, (rows, *_) in FORMATS.items()}


def refuse(read, path):
    """Return the one-line error with which a reader refuses a file."""
    with pytest.raises(BadInput) as error:
        read(path)
    line = str(error.value)
    assert "\n" not in line and path.name in line and len(line) < 400
    return line


@pytest.mark.parametrize("name", FORMATS)
def test_a_table_of_each_format(csv, name):
    _, read, schema, first, *_ = FORMATS[name]
    table = read(csv[name])
    assert len(table) == N and table.id_str[0] == first and table.id_str.is_unique
    assert set(table.campaign) == {schema.name} and table.survey.notna().all()
    known = ~np.isnan(fractions_of(table, schema))
    assert 0.2 < known.mean() < 0.95
    assert integrity(table, schema).query("rows > 0").holds.all()


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("kaggle", "desi")])
def test_votes_and_fractions_are_those_of_the_volunteers(csv, name):
    _, read, schema, *_ = FORMATS[name]
    table, cast = read(csv[name]), tables.draw(schema, N)
    fractions, asked = tables.shares(cast, schema)
    if name == "hubble":  # where several odd features could be ticked, there are neither fractions nor votes
        ticks = table.imaging.str.contains("FULLDEPTH")
        assert ticks.sum() == N // 4 and table.loc[ticks, "odd-feature_ring_votes"].isna().all()
        table, keep = table[~ticks], ~ticks.to_numpy()
        cast, fractions, asked = (
            {key: value[keep] for key, value in each.items()} for each in (cast, fractions, asked)
        )
        assert table.redshift.isna().sum() == sum(i % 3 == 0 for i in range(N) if i % 4 != 3)
    assert np.array_equal(votes_of(table, schema), np.stack(list(cast.values()), axis=1))
    for answer in schema.answers:
        np.testing.assert_allclose(table[f"{answer}_fraction"], fractions[answer], atol=5.1e-4)
    for question in schema.question_names:
        assert (table[f"{question}_total-votes"] == asked[question]).all()


def test_kaggle_and_desi_are_what_was_written(csv):
    np.testing.assert_allclose(
        read_kaggle(csv["kaggle"])[GZ2.columns], tables.kaggle_fractions(N, 0), atol=1e-6
    )
    predicted = np.stack([tables.desi_rows(0, N, 0)[column] for column in DESI.columns], axis=1)
    np.testing.assert_array_equal(fractions_of(whole_desi(csv["desi"]), DESI), predicted)
    assert votes_of(whole_desi(csv["desi"]), DESI) is None


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in ("hart16", "kaggle")])
def test_parquet_and_gzip_give_the_same_table(csv, name, tmp_path):
    rows, read, *_ = FORMATS[name]
    for ending in ("parquet", "csv.gz"):
        pd.testing.assert_frame_equal(
            read(tables.write(tmp_path / f"{name}.{ending}", rows, N)), read(csv[name])
        )


@pytest.mark.parametrize("name", FORMATS)
def test_additions_of_a_spreadsheet_are_harmless(csv, name, tmp_path):
    _, read, _, _, id_column, _ = FORMATS[name]
    published = pd.read_csv(csv[name], dtype=str, keep_default_na=False)
    remarks = published.assign(remark='nice, "really"')[
        [id_column, "remark", *published.columns[published.columns != id_column]]
    ]
    text = remarks.to_csv(index=False).replace("\n", "\r\n")
    (tmp_path / csv[name].name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    pd.testing.assert_frame_equal(read(tmp_path / csv[name].name), read(csv[name]))


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_ids_and_positions_are_refused(csv, name, tmp_path):
    _, read, _, _, id_column, ra = FORMATS[name]
    published, path = pd.read_csv(csv[name], dtype=str, keep_default_na=False), tmp_path / "spoilt.csv"
    spoilt = published.copy()
    spoilt.loc[3, id_column] = "5.87723E+17"
    spoilt.to_csv(path, index=False)
    assert f"{id_column} '5.87723E+17' is no" in refuse(read, path)
    pd.concat([published, published[:2]]).to_csv(path, index=False)
    assert "is duplicated (2 such rows)" in refuse(read, path)
    if ra:
        for place, wrong in (
            (ra, "361.5"),
            (ra.replace("ra", "dec").replace("RA", "DEC" if name == "hubble" else "Dec"), "-91"),
        ):
            published.assign(**{place: [wrong, *published[place][1:]]}).to_csv(path, index=False)
            assert f"is {float(wrong)} (1 such rows)" in refuse(read, path)


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_and_incomplete_files_are_refused(csv, name, tmp_path):
    _, read, *_ = FORMATS[name]
    published = csv[name].read_bytes()
    packed = gzip.compress(published)
    (tmp_path / "cut.csv.gz").write_bytes(packed[: len(packed) * 2 // 3])
    assert "ends too early" in refuse(read, tmp_path / "cut.csv.gz")
    (tmp_path / "cut.csv").write_bytes(published[: published.rindex(b",")])  # in the middle of the last row
    assert "is not a CSV table" in refuse(read, tmp_path / "cut.csv")
    (tmp_path / "head.csv").write_bytes(published.split(b"\n")[0] + b"\n")
    if name != "desi":
        assert "no rows" in refuse(read, tmp_path / "head.csv")
    last = pd.read_csv(csv[name], dtype=str).iloc[:, :-8]
    last.to_csv(tmp_path / "lost.csv", index=False)
    assert "missing, first" in refuse(read, tmp_path / "lost.csv")
    text = pd.read_csv(csv[name], dtype=str, keep_default_na=False)
    column = next(c for c in text if c.endswith(("_fraction", "_frac", "Class1.1")))
    text.loc[5, column] = "many"
    text.to_csv(tmp_path / "text.csv", index=False)
    assert f"column {column!r}, row 7, holds text, 'many'" in refuse(read, tmp_path / "text.csv")


def test_hart16_reads_only_what_it_needs(csv, monkeypatch):
    asked, options = [], pa.csv.ConvertOptions
    monkeypatch.setattr(
        pa.csv,
        "ConvertOptions",
        lambda **kwargs: asked.extend(kwargs["include_columns"]) or options(**kwargs),
    )
    read_hart16(csv["hart16"])
    assert len(asked) == 1 + 2 + 2 + 1 + 3 * 37 and not any(
        name.endswith(("_weight", "_flag", "string")) for name in asked
    )


def test_desi_is_read_in_pieces(tmp_path, monkeypatch):
    path = tables.write(tmp_path / "desi.parquet", tables.desi_rows, 2500)
    monkeypatch.setattr(tabular, "ROWS", 1000)
    whole = list(desi_pieces(path))
    assert [len(piece) for piece in whole] == [1000, 1000, 500]
    first = Schema("desi", DESI.questions[:2])
    for piece, full in zip(desi_pieces(path, first), whole, strict=True):
        assert piece.columns.tolist() == ["id_str", "survey", "campaign", "ra", "dec", "path", *first.columns]
        pd.testing.assert_frame_equal(piece, full[piece.columns])
    (tmp_path / "cut" / "300").mkdir(parents=True)
    for name in ("300000_7", "300000_2400", "elsewhere"):
        (tmp_path / "cut" / "300" / f"{name}.jpg").touch()
    assert read_desi(path, tmp_path / "cut").id_str.tolist() == ["desi-300000_7", "desi-300000_2400"]


def test_desi_without_the_joined_id(tmp_path):
    table = pa.table(tables.desi_rows(0, 20, 0)).drop_columns("dr8_id")
    pa.parquet.write_table(table, tmp_path / "desi.parquet")
    assert next(desi_pieces(tmp_path / "desi.parquet")).id_str[3] == "desi-300000_3"


def test_weighted_fractions(csv, tmp_path):
    for name, read in (("hubble", read_hubble), ("candels", read_candels)):
        table = pd.read_csv(csv[name])
        column = next(c for c in table if c.endswith(("_weighted_fraction", "_weighted_frac")))
        other = column.replace("a01_smooth", "a02_features_or_disk").replace("a0_smooth", "a1_features")
        shift = np.minimum(table[column], 0.05)
        table[column], table[other] = table[column] - shift, table[other] + shift
        table.to_csv(tmp_path / "weighted.csv", index=False)
        weighted, plain = read(tmp_path / "weighted.csv", kind="weighted"), read(csv[name])
        first = "smooth-or-featured_smooth"
        np.testing.assert_allclose(
            plain[f"{first}_fraction"] - weighted[f"{first}_fraction"], shift, atol=1e-9
        )
        assert (plain[f"{first}_votes"] == weighted[f"{first}_votes"]).all()


def test_a_custom_table(csv, tmp_path):
    path = tmp_path / "own.csv.gz"
    table = read_decals(csv["decals5"])
    table.to_csv(path, index=False)
    own = read_table(path, DECALS5)
    assert own.id_str.equals(table.id_str) and np.array_equal(
        votes_of(own, DECALS5), votes_of(table, DECALS5)
    )
    np.testing.assert_allclose(fractions_of(own, DECALS5), fractions_of(table, DECALS5))
    refused = refuse(lambda path: read_table(path, GZ2), path)
    assert "1 column(s) of bar missing, first 'bar_yes_fraction'" in refused
    path.write_bytes(path.read_bytes()[:-5000])
    assert "ends too early" in refuse(read_table, path)


def test_images_by_the_published_id_or_ours(csv, tmp_path):
    for name in ("one/COS_3.jpg", "two/candels-COS_5.PNG", "two/COS_7.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    table = read_candels(csv["candels"], tmp_path).set_index("id_str")
    assert table.path.dropna().index.tolist() == ["candels-COS_3", "candels-COS_5"]
    assert table.path["candels-COS_5"] == str(tmp_path / "two" / "candels-COS_5.PNG")
    with pytest.raises(BadInput, match="no such folder"):
        read_candels(csv["candels"], tmp_path / "three")
