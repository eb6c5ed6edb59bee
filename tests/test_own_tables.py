"""Tables of one's own and predictions in every format, from the command line."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from astropy.table import Table
from commands import refused, sommelier
from PIL import Image

from galaxy_sommelier.catalog.classes import class_folders
from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.catalog.sources import read_source
from galaxy_sommelier.data.export import read_facts
from galaxy_sommelier.data.store import Store
from galaxy_sommelier.images.simulation import simulate

SMALL = ["-p", "image_size", "32", "-p", "tta", "false", "-p", "precision", "fp32"]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder of images, and their galaxy table with whole numbers as ids and RA, DEC in capitals."""
    root, (table, images) = tmp_path_factory.mktemp("own"), simulate(30, size=48, seed=3)
    (root / "images").mkdir()
    paths = [f"images/{i}.png" for i in range(30)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(root / path)
    place = {"RA": np.linspace(10, 20, 30), "DEC": np.linspace(-5, 5, 30), "path": paths}
    return root, table[GZ2.columns].assign(id_str=587722981742084144 + np.arange(30), **place)


def write(table, path):
    """Write a table as other programs would."""
    plain = table.rename(columns=lambda name: name.replace("-", "_"))
    if path.suffix == ".csv":
        path.write_text("# a remark\n# another, with a comma\n" + table.to_csv(index=False))
    elif path.suffix == ".parquet":
        table.assign(path=table.path.map(str.encode)).to_parquet(path)
    else:
        kind = {".vot": "votable", ".ecsv": "ascii.ecsv"}.get(path.suffix)
        Table.from_pandas(plain).write(path, format=kind)


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".fits", ".fits.gz", ".vot", ".ecsv"])
def test_a_table_of_ones_own_in_every_format(own, ending, tmp_path):
    (root, table), name = own, f"galaxies{ending}"
    write(table, root / name)
    code, output = sommelier("prepare", "table", "--root", root, "--table", name, "--out", tmp_path / "store")
    assert code == 0 and "30 galaxies, 0 images left out" in output, output
    back = Store(tmp_path / "store").table.set_index("id_str")
    assert sorted(back.index) == table.id_str.astype(str).tolist()
    back = back.loc[table.id_str.astype(str)]
    np.testing.assert_allclose(back.ra, table.RA)
    np.testing.assert_allclose(back[GZ2.columns], table[GZ2.columns], atol=1e-6)


def test_columns_can_be_added_to_a_table_of_many_columns(own):
    root, table = own
    more = {f"more_{number}": number for number in range(120)}
    many = table.join(pd.DataFrame(more, index=table.index))
    many.drop(columns=["RA", "DEC"]).to_csv(root / "many.csv", index=False)
    with warnings.catch_warnings(action="error"):  # such as that of pandas about a fragmented table
        galaxies = read_source("table", root, "many.csv").assign(weight=1.0)
    assert galaxies.ra.isna().all() and galaxies.more_119.eq(119).all()


@pytest.mark.parametrize("columns, text", [
    ({"weight": [np.nan] + [1.0] * 29}, "weight of 587722981742084144 is nan (1 such row"),
    ({"weight": [-1] * 30}, "weight of 587722981742084144 is -1 (30 such row"),
    ({"weight": [np.inf] * 30}, "is inf (30 such rows); give numbers from 0 on"),
    ({"bar_yes_votes": [-3] + [1] * 29}, "column 'bar_yes_votes' holds a number below 0"),
    ({"bar_yes_votes": [2.5] + [1] * 29}, "holds something that is no whole number"),
    ({"RA": [np.inf] * 30}, "ra of 587722981742084144 is inf"),
    ({"Ra": 1.0}, "the columns RA and Ra are both 'ra'; remove one"),
    ({"path": np.arange(30) + 0.5}, "column 'path' holds floating-point numbers"),
    ({"path": range(30)}, "none of 30 galaxies has an image"),
    ({"id_str": [None, *"abcdefghijklmnopqrstuvwxyz123"]}, "id_str is empty in 1 row; give each"),
    ({"id_str": [f"b'{i}'" for i in range(30)]}, "id_str b'0' is text as Python prints it (30 such rows)"),
    ({"id_str": [f"np.str_('{i}')" for i in range(30)]}, "id_str np.str_('0') is text as Python prints it"),
])  # fmt: skip
def test_a_table_that_would_be_wrong_without_a_word_is_refused(own, columns, text, tmp_path):
    root, table = own
    table.assign(**columns).to_parquet(root / "wrong.parquet")
    refused(text, "prepare", "table", "--root", root, "--table", "wrong.parquet", "--out", tmp_path / "store")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--val", "--test", "--max-bad", "--scale"])
@pytest.mark.parametrize("number", ["nan", "inf"])
def test_an_option_takes_finite_numbers(own, option, number, tmp_path):
    words = "prepare", "images", "--root", own[0], "--out", tmp_path / "store", option, number
    code, output = sommelier(*words)
    assert code == 2 and ("finite number" in output or "range" in output) and not list(tmp_path.iterdir())


def test_class_folders_keep_to_their_folder_and_to_their_files(own, tmp_path):
    root, ids = own[0], ["one-1", "two-1", "two-../../out", "two-a/b"]
    paths = [str(root / "images" / f"{number}.png") for number in range(4)]
    before = [(root / path).read_bytes() for path in paths]
    galaxies = pd.DataFrame({"id_str": ids, "path": paths})
    labels = pd.DataFrame({"id_str": ids, "label": "smooth", "confidence": 0.9, "votes": 20})
    assert class_folders(galaxies, labels, tmp_path / "sorted") == []
    assert sorted(path.name for path in (tmp_path / "sorted" / "smooth").iterdir()) == [
        "one-1.png", "two-..%2F..%2Fout.png", "two-1.png", "two-a%2Fb.png"
    ]  # fmt: skip
    assert [(root / path).read_bytes() for path in paths] == before
    assert [path.name for path in tmp_path.iterdir()] == ["sorted"]


def test_rounded_ids_and_rounded_fractions(own, tmp_path):
    root, table = own
    floats = table.id_str.astype(float)
    for name, ids in {"float": floats, "text": floats.astype(str)}.items():
        table.assign(id_str=ids).to_parquet(root / f"{name}.parquet")
        words = "prepare", "table", "--root", root, "--table", f"{name}.parquet", "--out", tmp_path / name
        refused("floating-point numbers", *words)
    coarse = table.assign(**table[GZ2.columns].round(2))
    coarse.to_csv(root / "coarse.csv", index=False)
    words = "prepare", "table", "--root", root, "--table", "coarse.csv", "--out", tmp_path / "coarse"
    assert sommelier(*words)[0] == 0
    cumulative = pd.DataFrame(GZ2.cumulative(table[GZ2.columns].to_numpy()), columns=GZ2.columns)
    table.assign(**cumulative.round(2)).to_csv(root / "wrong.csv", index=False)
    words = "prepare", "table", "--root", root, "--table", "wrong.csv", "--out", tmp_path / "wrong"
    refused("does the table belong to gz2?", *words)


def test_predictions_in_every_format_score_alike_and_name_their_model(own, tmp_path):
    root, table = own
    write(table, root / "scored.ecsv")
    store = tmp_path / "store"
    words = "prepare", "table", "--root", root, "--table", "scored.ecsv", "--out", store, "--val", "0.3"
    assert sommelier(*words)[0] == 0
    code, output = sommelier("train", store, "--stage", "probe", "--out", tmp_path / "run", *SMALL)
    assert code == 0, output
    scores = {}
    for ending in ("parquet", "csv", "fits", "vot"):
        out = tmp_path / f"p.{ending}"
        assert sommelier("predict", store, "--model", tmp_path / "run", "--out", out, "--no-tta")[0] == 0
        words = "evaluate", out, store, "--split", "train", "--out", tmp_path / f"{ending}.json"
        assert sommelier(*words)[0] == 0
        scores[ending] = json.loads((tmp_path / f"{ending}.json").read_text())["kaggle_rmse"]
    assert np.ptp(list(scores.values())) < 1e-7, scores
    code, output = sommelier("export", tmp_path / "p.parquet", "--out", tmp_path / "again.vot")
    assert code == 0 and read_facts(tmp_path / "again.vot") == read_facts(tmp_path / "p.fits")
    assert {"model", "schema", "schema_fingerprint"} <= set(read_facts(tmp_path / "p.vot"))


def test_columns_that_fits_cannot_hold(tmp_path):
    columns = {
        "large": pd.Series([2**64 - 1, 1], dtype="uint64"),
        "n" * 77: pd.Series([1, 2]),
        "lists": pd.Series([np.arange(2), np.arange(3)]),
    }
    for name, values in columns.items():
        pd.DataFrame({"id_str": ["a", "b"], name: values}).to_parquet(tmp_path / "x.parquet")
        words = "export", tmp_path / "x.parquet", "--out", tmp_path / f"{name[:5]}.fits"
        if name == "large":
            assert sommelier(*words)[0] == 0
            assert Table.read(tmp_path / "large.fits")["large"].tolist() == [str(2**64 - 1), "1"]
        else:
            refused(name, *words)
