"""Folders, images and tables as people have them, from the command line."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from astropy.io import fits
from commands import refused, sommelier
from PIL import Image

from galaxy_sommelier.images.simulation import simulate
from galaxy_sommelier.models.model import build_model
from galaxy_sommelier.models.predict import predict

PIXELS = simulate(8, size=64, seed=5)[1]


def save(path: Path, number: int, **options):
    """Write one of the simulated galaxies in the format of the name's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if ".f" in path.name:
        fits.writeto(path, PIXELS[number].mean(2).astype(np.float32))
    else:
        Image.fromarray(PIXELS[number]).save(path, **options)


def process(*words):
    """Return exit code and output of a command in a process of its own, where warnings are printed."""
    command = "from galaxy_sommelier.cli.main import main; main(prog_name='sommelier')"
    done = subprocess.run([sys.executable, "-c", command, *map(str, words)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    build_model("tiny", image_size=32).save_pretrained(path)
    return path


@pytest.fixture
def predicted(model, tmp_path):
    """`sommelier predict` into a new file: its ids, and what was printed."""

    def into_file(source, *more, out="p.parquet"):
        code, output = sommelier("predict", source, "--model", model, "--out", tmp_path / "out" / out, *more)
        assert code == 0, output
        return pd.read_parquet(tmp_path / "out" / out).id_str.tolist(), output

    return into_file


@pytest.fixture
def mixed(tmp_path):
    """A folder with images of many kinds, and other files."""
    folder = tmp_path / "mixed"
    names = "a.jpg", "b.JPEG", "c.tif", "d.fits.gz", "e.fts", "sub/f.png", "sub/deep/g.fit", "h.jp2"
    for number, name in enumerate(names):
        save(folder / name, number)
    for name in ("._a.jpg", "notes.txt", "sub/votes.csv", ".cache/a.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no image")
    return folder


def test_every_verb_reads_the_same_files_of_a_folder(mixed, predicted, tmp_path):
    ids, output = predicted(mixed)
    assert ids == ["a", "b", "c", "d", "e", "h", "sub/deep/g", "sub/f"]
    passed = "4 files passed over (2 hidden, 1 .txt, 1 .csv)"
    assert f"warning: {mixed}: {passed}" in output and "8 galaxies, 0 images left out" in output
    words = "prepare", "images", "--root", mixed, "--out", tmp_path / "store"
    code, output = process(*words)
    assert code == 0 and f"warning: {mixed}: {passed}\n" in output
    assert "8 galaxies, 0 images left out" in output
    packed = pd.read_parquet(next((tmp_path / "store").glob("shard-*")), columns=["id_str"])
    assert packed.id_str.tolist() == ids
    predictions, sheet = tmp_path / "out" / "p.parquet", tmp_path / "sheet.png"
    code, output = process("show", predictions, mixed, "--out", sheet)
    assert code == 0 and passed in output and "8 galaxies" in output and "without" not in output


def test_images_that_differ_in_the_ending_keep_it(predicted, tmp_path):
    for name in ("a.jpg", "a.png", "b.png"):
        save(tmp_path / "images" / name, 0)
    assert predicted(tmp_path / "images")[0] == ["a.jpg", "a.png", "b"]


@pytest.mark.parametrize("name", ["a.jpg", "a.fits.gz", "a.tif"])
def test_a_single_image(predicted, tmp_path, name):
    save(tmp_path / name, 0)
    assert predicted(tmp_path / name)[0] == ["a"]


def test_names_that_are_no_text(predicted, model, tmp_path):
    folder = tmp_path / "images"
    save(folder / "plain.png", 0)
    for name in (b"\xe9toile.png", b"\xff.jpg", b"line\nbreak.png"):
        shutil.copy(folder / "plain.png", os.fsencode(folder) + b"/" + name)
    (folder / os.fsdecode(b"broken\xe9.jpg")).write_bytes(b"404")
    ids, output = predicted(folder)
    assert ids == ["\\xe9toile", "\\xff", "line\nbreak", "plain"]
    assert "  broken\\xe9: is not an image" in output
    for ending in (".csv", ".fits", ".vot"):
        code, output = sommelier("predict", folder, "--model", model, "--out", tmp_path / f"p{ending}")
        assert code == 0, output
    words = "--root", folder, "--out", tmp_path / "store", "--max-bad", 0.5
    code, output = sommelier("prepare", "images", *words)
    assert code == 0 and "4 galaxies, 1 image left out" in output, output


def test_bad_images_are_named_and_the_rest_goes_on(predicted, model, tmp_path):
    folder = tmp_path / "images"
    for number in range(5):
        save(folder / f"{number}.png", number)
    for name, image in (("black", np.zeros((64, 64, 3), np.uint8)), ("dim", PIXELS[0] // 20)):
        Image.fromarray(image).save(folder / f"{name}.png")
    (folder / "page.jpg").write_text("<html>")
    ids, output = predicted(folder)
    assert ids == list("01234") and "warning: 3 images of 8 left out" in output
    assert all(f"  {name}: {why}" in output for name, why in
               (("black", "is blank"), ("dim", "is blank"), ("page", "is not an image")))
    words = "predict", folder, "--model", model, "--out", tmp_path / "q.parquet"
    refused("more than 30.0% bad", *words, "--max-bad", 0.3)
    for number in range(5):
        (folder / f"{number}.png").unlink()
    refused("no image can be used", *words)
    refused("no image can be used", "predict", folder, "--model", model, "--out", tmp_path / "shards")
    assert not (tmp_path / "q.parquet").exists()


def test_a_store_keeps_its_limit(tmp_path):
    for number in range(5):
        save(tmp_path / "images" / f"{number}.png", number)
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "images" / "grey.png")
    words = "--root", tmp_path / "images", "--out", tmp_path / "store"
    refused("1 bad (16.7%)", "prepare", "images", *words)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_paths_are_relative_to_the_table_or_the_working_folder(predicted, tmp_path, monkeypatch, ending):
    save(tmp_path / "data" / "pics" / "a.png", 0)
    save(tmp_path / "elsewhere" / "b.png", 1)
    table = pd.DataFrame({"id_str": ["a", "b", "c"], "path": ["pics/a.png", "elsewhere/b.png", "pics/c.png"]})
    getattr(table, f"to_{ending}")(tmp_path / "data" / f"table.{ending}", index=False)
    monkeypatch.chdir(tmp_path)
    ids, output = predicted(f"data/table.{ending}")
    assert ids == ["a", "b"] and "c: there is no file data/pics/c.png" in output
    assert sommelier("show", tmp_path / "out" / "p.parquet", f"data/table.{ending}", "--out", "s.png")[0] == 0


def test_paths_and_ids_as_bytes(predicted, tmp_path):
    save(tmp_path / "pics" / "a.png", 0)
    table = pd.DataFrame({"id_str": [b"a"], "path": [b"pics/a.png"]})
    table.to_parquet(tmp_path / "table.parquet", index=False)
    assert predicted(tmp_path / "table.parquet")[0] == ["a"]


def test_a_table_without_any_image_is_refused_at_once(model, tmp_path):
    many = pd.DataFrame({"id_str": np.arange(1_000_000).astype(str)})
    many.assign(path="pics/" + many.id_str + ".jpg").to_csv(tmp_path / "table.csv", index=False)
    start = time.monotonic()
    words = "predict", tmp_path / "table.csv", "--model", model, "--out", tmp_path / "p.parquet"
    refused(f"none of 1,000,000 galaxies has an image; 0: no file {tmp_path}/pics/0.jpg", *words)
    assert time.monotonic() - start < 30


def test_a_table_in_the_place_of_an_image(predicted, model, tmp_path):
    save(tmp_path / "a.png", 0)
    table = {"id_str": np.array(["a"]), "path": np.array(["a.png"])}
    fits.BinTableHDU.from_columns(
        [fits.Column(name, "8A", array=values) for name, values in table.items()]
    ).writeto(tmp_path / "table.fits")
    assert predicted(tmp_path / "table.fits")[0] == ["a"]


def test_the_machine_chooses_the_precision(model, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for number in range(4):
        save(tmp_path / "images" / f"{number}.png", number)
    words = "predict", tmp_path / "images", "--model", model, "--out", tmp_path / "shards"
    found = {}
    for name, has in (("bf16", True), ("fp32", False)):
        known = {"avx2": True, "avx512_bf16": has}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known, raising=False)
        found[name] = predict(tmp_path / "images", model)
        pd.testing.assert_frame_equal(found[name], predict(tmp_path / "images", model, precision=name))
        if has:
            assert sommelier(*words)[0] == 0
        else:  # shards of two precisions do not mix unasked
            refused("differs in options", *words)
            assert sommelier(*words, "--precision", "bf16")[0] == 0
    assert 0 < (found["bf16"].confidence - found["fp32"].confidence).abs().max() < 0.01
