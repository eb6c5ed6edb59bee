"""Stores and exports opened by other programs."""

import io

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits, votable
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table
from PIL import Image

from galaxy_sommelier.catalog.gz2 import read_kaggle
from galaxy_sommelier.data.export import export_table
from galaxy_sommelier.data.store import Store, simulated_store, write_store
from galaxy_sommelier.evaluation.evidence import simulated_run
from galaxy_sommelier.models.shards import predictions_facts, read_predictions


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(simulated_store(tmp_path_factory.mktemp("exchange") / "sky", n=50, size=64))


def test_hugging_face_opens_the_folder(store, tmp_path):
    import datasets

    galaxies = datasets.load_dataset(str(store.path), split="train", cache_dir=str(tmp_path))
    assert len(pd.read_parquet(store.path / "images.index")) == len(store)
    galaxies = galaxies.cast_column("jpeg", datasets.Image())
    assert galaxies["id_str"][:] == store.ids and np.array_equal(
        np.asarray(galaxies[7]["jpeg"]), store.image(7)
    )


def test_pandas_opens_the_shards(store):
    galaxies = pd.concat(map(pd.read_parquet, store.files), ignore_index=True)
    pd.testing.assert_frame_equal(galaxies.drop(columns="jpeg"), store.table)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(galaxies.jpeg[7]))).shape, store.image(7).shape)


@pytest.mark.parametrize("name", ["table.fits", "table.vot"])
def test_an_export_for_topcat_is_complete(store, tmp_path, name):
    exported = Table.read(export_table(store, tmp_path / name))
    exported.convert_bytestring_to_unicode()  # FITS stores text as bytes
    back = exported.to_pandas()
    assert back.columns.tolist() == [column.replace("-", "_") for column in store.table]
    for column in store.table:
        ours, theirs = store.table[column], back[column.replace("-", "_")]
        if ours.dtype == object or ours.dtype == "str":
            assert theirs.fillna("").tolist() == ours.fillna("").tolist()
        else:
            assert np.array_equal(
                theirs.to_numpy(float, na_value=np.nan), ours.to_numpy(float, na_value=np.nan), equal_nan=True
            )
    assert not list(tmp_path.glob(".partial*"))


def test_missing_numbers_are_marked_in_both_formats(tmp_path):
    table = pd.DataFrame(
        {
            "id_str": ["gz2-587722981742084144", "gz2-1"],
            "votes": pd.array([999_999, None], "Int64"),
            "share": np.array([np.nan, 1.5], np.float32),
            "empty": [None, None],
            "odd": pd.array([True, None], "boolean"),
        }
    )
    for name in ("table.fits", "table.vot"):
        back = Table.read(export_table(table, tmp_path / name))
        assert (
            back["votes"].mask.tolist() == back["odd"].mask.tolist() == [False, True]
            and back["votes"][0] == 999_999
        )
        assert (
            np.isnan(back["share"].filled(np.nan)).tolist() == [True, False]
            and back["share"].dtype.itemsize == 4
        )
        assert str(back["id_str"][0]) == "gz2-587722981742084144" and back["votes"].dtype.kind == "i"


def test_the_votable_is_valid(store, tmp_path):
    export_table(store, tmp_path / "table.vot")
    votable.parse(tmp_path / "table.vot", verify="exception")
    assert Table.read(tmp_path / "table.vot")["ra"].unit == "deg"


def told(path):
    """Return unit, description and UCD of each column of an export."""
    table = Table.read(path)
    if path.suffix == ".vot":
        return {c.name: (str(c.unit), c.description, c.meta.get("ucd")) for c in table.itercols()}
    header, numbers = fits.getheader(path, 1), range(1, len(table.columns) + 1)
    names = [header[f"TTYPE{i}"] for i in numbers]
    parts = [[header.get(f"{word}{i}") for word in ("TUNIT", "TCOMM", "TUCD")] for i in numbers]
    return {name: (str(unit), *rest) for name, (unit, *rest) in zip(names, parts, strict=True)}


@pytest.mark.parametrize("ending", ["fits", "vot"])
def test_exports_tell_units_descriptions_ucds_and_the_model(tmp_path, ending):
    sky = Store(simulated_store(tmp_path / "sky", n=120, size=32, val=0.3, test=0.3))
    file = simulated_run(sky.path, tmp_path / "run") / "predictions.parquet"
    facts, predictions = predictions_facts(file), read_predictions(file)
    exported = export_table(predictions, tmp_path / f"predictions.{ending}", facts)
    galaxies = export_table(sky, tmp_path / f"galaxies.{ending}")
    for path in (exported, galaxies):
        columns = told(path)
        assert all(about for _, about, _ in columns.values())
        ours = {name: ucd for name, (_, _, ucd) in columns.items() if not name.startswith("truth_")}
        assert all(check_ucd(ucd, check_controlled_vocabulary=True) for ucd in ours.values()), ours
    assert columns["ra"] == ("deg", "right ascension, ICRS", "pos.eq.ra;meta.main")
    units = {name: unit for name, (unit, _, _) in columns.items()}
    assert (units["truth_radius"], units["truth_magnitude"]) == ("arcsec", "mag")
    about = " ".join(told(exported)["bar_yes_fraction"][1].split())  # a VOTable breaks lines
    assert about == "bar: yes: fraction of the volunteers asked who give this answer, 0 to 1"
    if ending == "fits":
        header = fits.getheader(exported, 1)
        assert (header["MODEL"], header["SCHEMA"]) == (facts["model"], "gz2")
    else:
        infos = {info.name: info.value for info in votable.parse(exported).resources[0].infos}
        assert (infos["model"], infos["schema"]) == (facts["model"], "gz2")
        assert f"model {facts['model']}" in Table.read(exported).meta["description"]


def test_real_galaxies(kaggle_root, tmp_path):
    table = read_kaggle(
        kaggle_root / "training_solutions_rev1.csv", images=kaggle_root / "images_training_rev1"
    )[:20]
    write_store(table, tmp_path / "store")
    back = Table.read(export_table(Store(tmp_path / "store"), tmp_path / "kaggle.fits"))
    assert back["id_str"].astype(str).tolist() == table.id_str.tolist()
    assert np.allclose(
        back["smooth_or_featured_smooth_fraction"], table["smooth-or-featured_smooth_fraction"]
    )
