"""Predictions in shards: the same table after kills, and from any number of processes; and bad input."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest
import torch
from commands import refused, sommelier
from fastcore.test import test_eq as same

from galaxy_sommelier.core.files import alone, read_json, sha256_file
from galaxy_sommelier.data.inputs import open_ahead, open_input
from galaxy_sommelier.data.store import Store, simulated_store, write_store
from galaxy_sommelier.images.pixels import encode as as_jpeg
from galaxy_sommelier.models.features import encode
from galaxy_sommelier.models.model import build_model
from galaxy_sommelier.models.shards import SUMMARY, predict_shards, read_predictions

# number of shards, galaxies in each, galaxies at once
SHARDS, IN_SHARD, BATCH = 6, 20, 8
LOOKS = SHARDS * -(-IN_SHARD // BATCH)  # forward passes
COMMAND = "from galaxy_sommelier.cli.main import main; main(prog_name='sommelier')"
KILL_AT_LOOK = """
import os, signal, galaxy_sommelier.models.predict as module
forward, left = module.forward_views, [{number}]
def counted(*args):
    left[0] -= 1
    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)
    return forward(*args)
module.forward_views = counted
"""
KILL_IN_WRITING = """
import os, signal, galaxy_sommelier.models.predict as module
write, left = module.pq.write_table, [{number}]
def halved(table, path):
    write(table, path)
    left[0] -= 1
    if not left[0]:
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
module.pq.write_table = halved
"""


def process(*words, sabotage="", launcher=(sys.executable,)):
    """Return exit code and output of a command in a process of its own, with some sabotage."""
    command = [*launcher, "-c", sabotage + COMMAND, *map(str, words)]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300
    )
    return done.returncode, done.stdout + done.stderr


def content(folder):
    """Return the fingerprint of every file in a folder, hidden ones included."""
    return {path.name: sha256_file(path) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model/, a store/ in shards, its images/ with a table.csv, and whole/: the undisturbed predictions."""
    place = tmp_path_factory.mktemp("shards")
    sky = Store(simulated_store(place / "sky", n=SHARDS * IN_SHARD, size=48))
    pixels = np.stack([sky.image(i) for i in range(len(sky))])
    write_store(sky.table, place / "store", images=pixels, split=sky.split, shard_size=IN_SHARD)
    (place / "images").mkdir()
    for name, one in zip(sky.ids, pixels, strict=True):
        (place / "images" / f"{name}.jpg").write_bytes(as_jpeg(one))
    paths = [str(place / "images" / f"{name}.jpg") for name in sky.ids]
    pd.DataFrame({"id_str": sky.ids, "path": paths}).to_csv(place / "table.csv", index=False)
    build_model("tiny", image_size=32, crop=0.8).save_pretrained(place / "model")
    words = "--model", place / "model", "--out", place / "whole", "--batch-size", BATCH
    code, output = process("predict", place / "store", *words)
    assert code == 0, output
    return place


@pytest.fixture
def predict(place):
    """`sommelier predict` with the model of these tests."""
    return lambda source, out, *more: sommelier(
        "predict", place / source, "--model", place / "model", "--out", out, "--batch-size", BATCH, *more
    )


def test_killed_again_and_again_it_ends_with_the_same_bytes(place, tmp_path):
    options = "--model", place / "model", "--out", tmp_path / "out", "--batch-size", BATCH
    words, dice = ("predict", place / "store", *options), random.Random(4)
    moments = [KILL_AT_LOOK.format(number=dice.randint(1, LOOKS // 3)) for _ in range(3)]
    moments += [KILL_IN_WRITING.format(number=n) for n in (1, 2)]
    dice.shuffle(moments)
    for moment in moments:
        code, output = process(*words, sabotage=moment)
        assert code == -signal.SIGKILL and not (tmp_path / "out" / SUMMARY).exists(), output
    assert list((tmp_path / "out").glob(".partial-*")), "no shard was killed while it was written"
    assert process(*words)[0] == 0
    same(content(tmp_path / "out"), content(place / "whole"))


@pytest.mark.parametrize("ending", ["parquet", "csv", "fits"])
def test_a_file_whose_process_is_killed_goes_on(place, tmp_path, ending):
    out, hidden = tmp_path / f"one.{ending}", tmp_path / f".partial-one.{ending}"
    options = "--model", place / "model", "--out", out, "--batch-size", BATCH
    words, in_shard = ("predict", place / "store", *options), LOOKS // SHARDS
    code, output = process(*words, sabotage=KILL_AT_LOOK.format(number=in_shard + 2))
    assert code == -signal.SIGKILL and [path.name for path in tmp_path.iterdir()] == [hidden.name], output
    assert [path.name for path in hidden.rglob("*.parquet")] == ["shard-00000.parquet"]
    refused("differs in options", *words, "--no-tta")
    with alone(hidden):
        refused("another process is at work", *words)
    # it would be killed if it predicted the first shard again
    code, output = process(*words, sabotage=KILL_AT_LOOK.format(number=LOOKS - in_shard + 1))
    assert code == 0 and [path.name for path in tmp_path.iterdir()] == [out.name], output
    found, expected = read_predictions(out), read_predictions(place / "whole")
    for column in ("id_str", "label"):
        assert found[column].tolist() == expected[column].tolist()
    numbers = expected.select_dtypes("number")
    np.testing.assert_allclose(found[numbers.columns], numbers, rtol=1e-6)


def test_a_refused_file_leaves_nothing(place, predict, tmp_path, monkeypatch):
    monkeypatch.setattr("galaxy_sommelier.data.inputs.SHARD_ROWS", IN_SHARD)
    shutil.copytree(place / "images", tmp_path / "images")
    (tmp_path / "images" / "page.jpg").write_text("404 Not Found")
    words = "predict", tmp_path / "images", "--model", place / "model"
    refused("more than 0.5% bad", *words, "--out", tmp_path / "new" / "one.csv", "--max-bad", 0.005)
    refused("is not among", *words, "--out", tmp_path / "new" / "one.csv", "--kind", "weighted")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    code, output = predict(tmp_path / "images", tmp_path / "one.csv", "--max-bad", 0.01)
    assert code == 0 and f"{SHARDS * IN_SHARD} galaxies, 1 image left out" in output, output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "one.csv"]


@pytest.mark.parametrize("of", [2, 3, 7])
def test_parts_are_the_whole_and_share_nothing(place, predict, tmp_path, of):
    parts = []
    for number in range(of):
        before = set(tmp_path.glob("out/*.parquet"))
        code, output = predict("store", tmp_path / "out", "--part", f"{number}/{of}")
        parts.append(set(tmp_path.glob("out/*.parquet")) - before)
        assert code == 0 and (number == of - 1 or of > SHARDS or "still to be made" in output)
    assert sum(map(len, parts)) == len(set.union(*parts)) == SHARDS
    same(content(tmp_path / "out"), content(place / "whole"))


def test_ranks_of_torchrun_take_parts(place, tmp_path):
    run = (
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--no-python", sys.executable
    )
    words = "--model", place / "model", "--out", tmp_path / "out", "--batch-size", BATCH
    code, output = process("predict", place / "store", *words, launcher=run)
    assert code == 0, output
    same(content(tmp_path / "out"), content(place / "whole"))


def test_every_galaxy_once_and_as_in_a_single_file(place, predict, tmp_path):
    assert predict("store", tmp_path / "one.parquet")[0] == 0
    shards, one, ids = (
        read_predictions(place / "whole"),
        pd.read_parquet(tmp_path / "one.parquet"),
        Store(place / "store").ids,
    )
    assert shards.id_str.tolist() == one.id_str.tolist() == ids
    # the last batch of a shard is shorter, and bfloat16 has three digits
    pd.testing.assert_frame_equal(shards, one, atol=0.01)


def test_pandas_pyarrow_and_datasets_read_the_folder(place, tmp_path):
    import datasets

    ids = Store(place / "store").ids
    theirs = datasets.load_dataset(str(place / "whole"), split="train", cache_dir=str(tmp_path))
    assert (
        pd.read_parquet(place / "whole").id_str.tolist()
        == ds.dataset(place / "whole").to_table()["id_str"].to_pylist()
        == ids
    )
    assert theirs["id_str"][:] == ids


@pytest.mark.parametrize("what", ["folder", "table"])
@pytest.mark.parametrize("change", ["swapped", "replaced"])
def test_other_images_under_the_same_names_are_noticed(place, tmp_path, what, change):
    """Two files that change their names, and an image that is replaced by one of the same size."""
    images = tmp_path / "images"
    shutil.copytree(place / "images", images)
    first, second = sorted(images.iterdir())[:2]
    size = max(file.stat().st_size for file in (first, second))
    for file in (first, second):  # the same size and time: only the content tells them apart
        file.write_bytes(file.read_bytes().ljust(size, b"\0"))
        os.utime(file, ns=(0, 0))
    table = pd.DataFrame({"id_str": [f.stem for f in sorted(images.iterdir())]})
    table.assign(path=[str(f) for f in sorted(images.iterdir())]).to_csv(tmp_path / "table.csv", index=False)
    source = images if what == "folder" else tmp_path / "table.csv"
    words = ("predict", source, "--model", place / "model", "--out", tmp_path / "out", "--no-tta")
    assert sommelier(*words)[0] == 0
    if change == "swapped":
        first.rename(tmp_path / "aside")
        second.rename(first)
        (tmp_path / "aside").rename(second)
    else:
        content = second.read_bytes()
        first.unlink()
        first.write_bytes(content)
    refused("differs in input", *words)


@pytest.mark.parametrize("length", [0, 10, 0.5, -1])
def test_a_truncated_shard_is_made_again(place, predict, tmp_path, length):
    assert predict("store", tmp_path / "out")[0] == 0
    file = tmp_path / "out" / "shard-00002.parquet"
    size, times = (
        file.stat().st_size,
        {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*.parquet")},
    )
    os.truncate(file, {0.5: size // 2, -1: size - 1}.get(length, length))
    assert predict("store", tmp_path / "out")[0] == 0
    same(content(tmp_path / "out"), content(place / "whole"))
    assert [path.name for path in times if path.stat().st_mtime_ns != times[path]] == [file.name]


def test_other_results_are_refused_and_kept(place, predict, tmp_path):
    build_model("tiny", image_size=32, crop=0.8, seed=1).save_pretrained(tmp_path / "other")
    build_model("tiny", image_size=32, crop=0.9).save_pretrained(tmp_path / "nearer")
    before = content(place / "whole")
    for model in ("other", "nearer"):
        words = "--model", tmp_path / model, "--out", place / "whole"
        refused("differs in model", "predict", place / "store", *words)
    for what, source, options in (
        ("input", "images", ()),
        ("input", "store", ("--split", "test")),
        ("options", "store", ("--no-tta",)),
        ("options", "store", ("--embeddings",)),
    ):
        refused(
            f"differs in {what}",
            "predict",
            place / source,
            "--model",
            place / "model",
            "--out",
            place / "whole",
            *options,
        )
    # into the store itself
    words = "--model", place / "model", "--out", place / "store"
    refused("no predictions", "predict", place / "store", *words)
    same(content(place / "whole"), before)
    assert len(Store(place / "store").verify()) == SHARDS * IN_SHARD


def test_calibration_belongs_to_the_options(place, predict, tmp_path):
    build_model("tiny", image_size=32, crop=0.8).save_pretrained(tmp_path / "model")
    # the split val has too few galaxies
    assert sommelier("calibrate", tmp_path / "model", place / "store")[0] == 2
    code, output = sommelier(
        "calibrate", tmp_path / "model", simulated_store(tmp_path / "many", n=80, size=48, val=0.6)
    )
    assert code == 0, output
    words = ("--split", "test", "--embeddings")  # no galaxy of the first shard is in the test
    words = "--model", tmp_path / "model", "--out", tmp_path / "out", *words
    assert sommelier("predict", place / "store", *words)[0] == 0
    table = read_predictions(tmp_path / "out")
    assert len(pd.read_parquet(tmp_path / "out" / "shard-00000.parquet")) == 0 < len(table)
    assert (table["smooth-or-featured_smooth_lower"] < table["smooth-or-featured_smooth_upper"]).all()
    words = "--model", tmp_path / "model", "--out", place / "whole"
    refused("differs in options", "predict", place / "store", *words)


def test_a_split_of_a_store(place, predict, tmp_path):
    store = Store(place / "store")
    assert predict("store", tmp_path / "out", "--split", "test")[0] == 0
    assert read_predictions(tmp_path / "out").id_str.tolist() == [store.ids[i] for i in store.indices("test")]
    code, output = sommelier("evaluate", tmp_path / "out", place / "store", "--split", "test")
    assert code == 0 and "kaggle_rmse" in output


def test_bad_images_of_a_folder_are_named(place, predict, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for path in (place / "images").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    good = sorted(path.name for path in folder.iterdir())
    (folder / good[3]).write_bytes((folder / good[3]).read_bytes()[:700])
    (folder / "page.jpg").write_text("404 Not Found")
    (folder / "empty.png").touch()
    words = "predict", folder, "--model", place / "model", "--out", tmp_path / "out"
    refused("3 bad (2.5%)", *words, "--max-bad", "0.02")
    assert not (tmp_path / "out" / SUMMARY).exists()
    code, output = sommelier(*words)
    assert (
        code == 0
        and f"{len(good) - 1} galaxies, 3 images left out" in output
        and f"warning: 3 images of {len(good) + 2} left out" in output
        and "page: is not an image" in output
    )
    named = set(read_json(tmp_path / "out" / SUMMARY)["images"]["bad"])
    assert named == {Path(good[3]).stem, "page", "empty"}
    stems = [Path(name).stem for name in good if name != good[3]]
    assert read_predictions(tmp_path / "out").id_str.tolist() == stems


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_of_paths(place, predict, tmp_path, monkeypatch, ending):
    monkeypatch.setattr("galaxy_sommelier.data.inputs.SHARD_ROWS", IN_SHARD)
    table = pd.read_csv(place / "table.csv")
    table.loc[5, "path"], table.loc[50, "path"] = None, str(tmp_path / "gone.jpg")
    getattr(table, f"to_{ending}")(tmp_path / f"table.{ending}", index=False)
    for part in ("1/2", "0/2"):
        assert predict(tmp_path / f"table.{ending}", tmp_path / "out", "--part", part)[0] == 0
    assert read_predictions(tmp_path / "out").id_str.tolist() == table.id_str.drop([5, 50]).tolist()
    bad = read_json(tmp_path / "out" / SUMMARY)["images"]["bad"]
    assert bad == {
        table.id_str[5]: "has no file",
        table.id_str[50]: f"there is no file {tmp_path}/gone.jpg",
    }


def test_bad_tables_and_parts_are_refused(place, tmp_path):
    table = pd.read_csv(place / "table.csv")
    for name, spoilt in {
        "is duplicated": pd.concat([table, table[:1]]),
        "no galaxies": table[:0],
        "'path' is missing": table[["id_str"]],
    }.items():
        spoilt.to_csv(tmp_path / "table.csv", index=False)
        words = "--model", place / "model", "--out", tmp_path / "out"
        refused(name, "predict", tmp_path / "table.csv", *words)
    for part in ("2/2", "1", "-1/2", "a/b"):
        refused(
            "counted from 0", "predict", place / "store", "--model", place / "model",
            "--out", tmp_path / "out", "--part", part
        )
    refused(
        "name a folder", "predict", place / "store", "--model", place / "model",
        "--out", tmp_path / "one.parquet", "--part", "0/2"
    )
    assert not (tmp_path / "out").exists()


def test_an_unfinished_folder_is_neither_scored_nor_exported(place, predict, tmp_path):
    assert predict("store", tmp_path / "out", "--part", "0/2")[0] == 0
    refused("no finished predictions", "evaluate", tmp_path / "out", place / "store")
    refused("no finished predictions", "export", tmp_path / "out", "--out", tmp_path / "table.fits")


def test_embeddings_are_the_features_and_go_where_predictions_go(place, tmp_path):
    model, store = build_model("tiny", image_size=32, crop=0.8).eval(), Store(place / "store")
    predict_shards(place / "store", model, tmp_path / "out", precision="fp32", embeddings=True)
    table, features = (
        read_predictions(tmp_path / "out"),
        encode(model, store, views=8, cache=tmp_path / "cache", precision="fp32"),
    )
    # float16 of numbers up to 4
    np.testing.assert_allclose(np.stack(table.embedding), features.values.mean(1), atol=4e-3)
    assert sommelier("export", tmp_path / "out", "--out", tmp_path / "table.fits")[0] == 0


def test_memory_holds_one_batch_of_images(place, monkeypatch):
    galaxies, seen = open_input(place / "store"), []
    nothing = [], torch.empty(0), {}
    monkeypatch.setattr(
        "galaxy_sommelier.data.inputs.open_images",
        lambda rows, *given: seen.append(len(rows)) or nothing,
    )
    ((_, rows),) = galaxies.rows([3])
    batches = open_ahead(rows, 32, 1.0, batch_size=4, threads=1)
    next(batches)
    assert sum(seen) <= 8 and sum(1 for _ in batches) == IN_SHARD // 4 - 1


def test_a_truncated_feature_cache_is_made_again(place, tmp_path):
    model, store = build_model("tiny", image_size=32, crop=0.8).eval(), Store(place / "store")
    first = encode(model, store, cache=tmp_path).values
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    for length in (0, 5, 1000, len(before) - 1):
        os.truncate(file, length)
        np.testing.assert_array_equal(encode(model, store, cache=tmp_path).values, first)
        assert file.stat().st_size == len(before), length


def test_the_metadata_say_where_predictions_come_from(place):
    facts = {
        key.decode(): value.decode() for key, value in ds.dataset(place / "whole").schema.metadata.items()
    }
    summary = read_json(place / "whole" / SUMMARY)
    assert (
        facts["model"] == "tiny"
        and json.loads(facts["made_of"]) == summary["made_of"]
        and summary["shards"] == SHARDS
    )
    assert summary["galaxies"] == SHARDS * IN_SHARD and Path(place / "whole" / SUMMARY).name.startswith("_")
