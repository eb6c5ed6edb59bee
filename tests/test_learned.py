"""A model is never scored on galaxies that it was trained on, whatever a store calls its splits."""

import shutil

import pandas as pd
import pytest
from commands import sommelier

from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.core.files import read_json
from galaxy_sommelier.data.learned import read_learned
from galaxy_sommelier.data.splits import split
from galaxy_sommelier.data.store import Store, simulated_store, write_store
from galaxy_sommelier.images.pixels import encode
from galaxy_sommelier.images.simulation import simulate


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A sky, a probe trained on it, and the same galaxies split with another seed."""
    place = tmp_path_factory.mktemp("learned")
    sky = Store(simulated_store(place / "sky", n=120, size=48, val=0.2, test=0.2))
    images = [sky.image(i) for i in range(len(sky))]
    write_store(
        sky.table.drop(columns="split"), place / "again", GZ2, images, split(sky.ids, 0.2, 0.2, seed=7)
    )
    values = ["-p", "stage", "probe", "-p", "image_size", 32, "-p", "crop", 1.0]
    code, text = sommelier("train", sky.path, "--out", place / "run", *values)
    assert code == 0, text
    return place


def both(place, split):
    """Galaxies of a split of the second store, and those of them that were trained on."""
    sky, again = Store(place / "sky"), Store(place / "again")
    trained = {sky.ids[i] for i in sky.indices("train")}
    tested = [again.ids[i] for i in again.indices(split)]
    return tested, [name for name in tested if name in trained]


def test_training_galaxies_travel_with_the_model(place):
    sky = Store(place / "sky")
    learned = read_learned(place / "run" / "model")
    assert learned.seen(sky.ids).tolist() == (sky.split == "train").tolist()
    assert sky.ids[0].encode() not in (place / "run" / "model" / "learned.safetensors").read_bytes()


def test_evaluate_leaves_out_what_was_learned(place):
    out = place / "again.parquet"
    assert sommelier("predict", place / "again", "--model", place / "run", "--out", out)[0] == 0
    tested, known = both(place, "test")
    assert len(known) >= 5
    scores = place / "scores.json"
    code, text = sommelier("evaluate", out, place / "again", "--split", "test", "--out", scores)
    assert code == 0 and f"{len(known)}, on which the model was trained" in text
    assert read_json(scores)["n"] == len(tested) - len(known)
    # the split that it was trained on can still be scored, under its name
    code, text = sommelier("evaluate", out, place / "sky", "--split", "train")
    assert code == 0 and "left out" not in text


def test_calibrate_leaves_out_what_was_learned(place):
    shutil.copytree(place / "run", place / "calibrated")
    tested, known = both(place, "val")
    code, text = sommelier("calibrate", place / "calibrated", place / "again")
    assert code in (0, 2)  # few galaxies may be left, which is said in one line
    if code == 0:
        assert f"{len(known)} galaxies left out" in text
    else:
        assert "no question was answered for 30 galaxies" in text


def test_train_refuses_a_start_that_knows_the_test(place):
    values = ["-p", "stage", "head", "-p", "image_size", 32, "-p", "crop", 1.0, "-p", "epochs", 1]
    more = ["--from", place / "run", "--out", place / "more"]
    code, text = sommelier("train", place / "again", *values, *more)
    assert code == 2 and "was trained on" in text and "--test-ids" in text and not (place / "more").exists()
    code, text = sommelier("train", place / "sky", *values, *more)
    assert code == 0, text


def test_prepare_moves_copies_to_one_side(tmp_path):
    table, images = simulate(60, "sdss", 64, seed=3)
    (tmp_path / "images").mkdir()
    twice = pd.concat([table, table.iloc[:30].assign(id_str=[f"copy-{i}" for i in range(30)])])
    names = [f"images/{name}.jpg" for name in twice.id_str]
    for name, image in zip(names, [*images, *images[:30]], strict=True):
        (tmp_path / name).write_bytes(encode(image))
    twice.assign(path=names, ra=None, dec=None).to_csv(tmp_path / "table.csv", index=False)
    given = ["--root", tmp_path, "--table", "table.csv", "--out", tmp_path / "store"]
    code, text = sommelier("prepare", "table", *given, "--test", 0.3, "--val", 0.2)
    assert code == 0 and "had a copy on another side" in text, text
    store = Store(tmp_path / "store")
    sides = dict(zip(store.ids, store.split, strict=True))
    originals = table.id_str.iloc[:30]
    assert all(sides[name] == sides[f"copy-{i}"] for i, name in enumerate(originals))
    plain = split(store.ids, 0.2, 0.3)
    moved = [name for name in store.ids if plain[name] != sides[name]]
    assert sorted(store.header["moved"]) == sorted(moved) and moved
    assert all(plain[name] != "test" for name in moved)  # no test galaxy goes anywhere
