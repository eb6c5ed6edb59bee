"""The commands and Python blocks of README and guide, run page by page, small, on inputs made here.

A block that needs what is not here (a network, NERSC, a paid service) says so in the page's source, in a
comment on the line before it: <!-- not run: why -->.
"""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from astropy.io import fits
from commands import printed
from PIL import Image
from tables import hart16_rows

from galaxy_sommelier.catalog.gz2 import KAGGLE_COLUMNS
from galaxy_sommelier.catalog.schema import GZ2, kaggle_form
from galaxy_sommelier.data.store import Store, simulated_store
from galaxy_sommelier.images.simulation import simulate
from galaxy_sommelier.inspector.annotations import AnnotationFile, corrected_store

ROOT = Path(__file__).resolve().parents[1]
GUIDE = sorted((ROOT / "nbs" / "guide").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *GUIDE]
BLOCK = re.compile(r"(?: *<!-- not run: ([^\n]*) -->\n)?^( *)```(\w*)\n(.*?)^\2```$", re.M | re.S)
SMALL = {"image_size": 32, "epochs": 1, "views": 1, "precision": "fp32"}
SMALLER = SMALL | {"sizes": [20], "backbones": ["tiny"], "n": 20, "labels": [10], "least_steps": 2}
ELSEWHERE = {"facebook/dinov2-small": "tiny"}  # hub ids


def blocks(page):
    """Return the blocks of a page: why a block is not run or "", its language, its lines."""
    found = BLOCK.findall(page.read_text())
    return [
        (why, language, re.sub(f"^{indent}", "", text, flags=re.M))
        for why, indent, language, text in found
        if language in ("", "python")
    ]


def save(images, folder, names):
    folder.mkdir(parents=True)
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / f"{name}.jpg", quality=95)


def downloads(home):
    """Write small folders in the form of the downloads: Kaggle, Galaxy Zoo 2, Stripe 82, clear cases."""
    table, images = simulate(400, size=40, seed=5)  # so that 30 validate a calibration
    ids = [str(100008 + 100 * i) for i in range(400)]
    solutions = pd.DataFrame(kaggle_form(table[list(GZ2.columns)].to_numpy(float)), columns=KAGGLE_COLUMNS)
    save(images, home / "kaggle" / "images_training_rev1", ids)
    solutions.insert(0, "GalaxyID", ids)
    solutions.to_csv(home / "kaggle" / "training_solutions_rev1.csv", index=False)
    pd.DataFrame({"GalaxyID": ids[360:]}).to_csv(home / "kaggle" / "natural_test_ids.csv", index=False)

    _, images = simulate(40, size=64, seed=6)
    hart16 = pd.DataFrame(hart16_rows(0, 40, 1))
    for root, pictures, named in (
        ("data/downloads/gz2", "images_gz2/images", range(1, 41)),
        ("stripe82", "images", hart16.dr7objid),
    ):
        save(images, home / root / pictures, named)
    for name in ("gz2_hart16", "gz2_hart16_sample"):
        hart16.to_csv(home / "data" / "downloads" / "gz2" / f"{name}.csv", index=False)
    mapping = pd.DataFrame({"objid": hart16.dr7objid, "sample": hart16["sample"], "asset_id": range(1, 41)})
    mapping.to_csv(home / "data" / "downloads" / "gz2" / "gz2_filename_mapping.csv", index=False)
    hart16.to_csv(home / "stripe82" / "zoo2Stripe82Coadd2.csv.gz", index=False)
    hart16[["dr7objid", "ra", "dec"]].rename(columns={"dr7objid": "objid"}).to_csv(
        home / "stripe82" / "image_index.csv", index=False
    )

    names = [f"sloan-{i}" for i in range(12)] + ["sloan-4_a-1_4"]
    save(images[:13], home / "clear-cases" / "images", names)
    cases = pd.DataFrame({"file": [f"{name}.jpg" for name in names]}).assign(survey="sdss", answer="Smooth")
    cases["question"] = "Is the galaxy simply smooth and rounded, with no sign of a disk?"
    cases.loc[::2, "answer"] = "Features or disk"
    cases.to_csv(home / "clear-cases" / "labels.csv", index=False)


def survey(home):
    """Write a survey of one's own: images, a table with votes, labels of rings, FITS files."""
    table, images = simulate(60, size=96, seed=7)
    save(images, home / "my-images", table.id_str)
    shutil.copytree(home / "my-images", home / "my-survey" / "images")
    table["path"] = "images/" + table.id_str + ".jpg"
    for name in ("galaxies", "labelled"):
        table.to_csv(home / "my-survey" / f"{name}.csv", index=False)
    journal = AnnotationFile(home / "labels.csv")
    for i, galaxy in enumerate(table.id_str[:48]):
        journal.put(galaxy, label="ring" if i % 3 == 0 else "other")
    (home / "my-fits-files").mkdir()
    for i in range(3):
        bands = images[i].transpose(2, 0, 1)[::-1].astype("float32") / 50
        fits.PrimaryHDU(bands, fits.Header({"BANDS": "gri"})).writeto(home / "my-fits-files" / f"{i}.fits")
    fits.PrimaryHDU(bands).writeto(home / "galaxy.fits")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What the pages take for granted."""
    home = tmp_path_factory.mktemp("home")
    downloads(home)
    survey(home)
    (home / "configs").mkdir()
    for path in (ROOT / "configs").glob("kaggle*.yaml"):
        small_values = shrunk(yaml.safe_load(path.read_text()))
        (home / "configs" / path.name).write_text(yaml.safe_dump(small_values))
    store = home / "data" / "stores" / "kaggle"
    printed("prepare", "kaggle", "--root", home / "kaggle", "--out", store)
    pairs = [word for pair in SMALL.items() for word in ("-p", *pair)]
    full = home / "data" / "runs" / "kaggle-full"
    printed("train", store, "--stage", "full", "--backbone", "tiny", "--out", full, *pairs)
    simulated_store(home / "data" / "stores" / "decals", 40, "decals", 48, seed=3)
    simulated_store(home / "data" / "demo" / "store", 40, size=48, seed=4)
    return home


def shrunk(values):
    """Return a configuration with small values, for the smallest backbone."""
    if not isinstance(values, dict):
        return values
    kept = {name: value for name, value in values.items() if name not in ("blocks", "frozen")}
    return {name: SMALLER.get(name, shrunk(value)) for name, value in kept.items()}


def small(words):
    """Return a command with small values: few epochs, small images, the smallest backbone."""
    words = [ELSEWHERE.get(word, word) for word in words]
    for i, word in enumerate(words[:-2]):
        if word == "-p" and words[i + 1] in SMALLER:
            words[i + 2] = str(SMALLER[words[i + 1]])
    if words[1] == "train" and "-c" not in words and "tiny" in words:
        words += [str(word) for pair in SMALL.items() if pair[0] not in words for word in ("-p", *pair)]
    return words


def shell(line):
    """Run a line of a page."""
    line = os.path.expandvars(line)
    if name := re.fullmatch(r"(\w+)='(.*)'", line):
        os.environ[name[1]] = name[2]
    elif line.startswith("sommelier "):
        words = small(shlex.split(line, comments=True))
        out = Path(words[words.index("--out") + 1]) if "--out" in words else None
        if out and out.is_dir():  # made by an earlier line of the page
            shutil.rmtree(out)
        elif out:
            out.unlink(missing_ok=True)
        printed(*words[1:])
    else:
        subprocess.run(["bash", "-c", line], check=True)


def before(page, text, home):
    """Do what a person does in the browser before a block."""
    if page.stem == "inspect" and "sky-corrected-1" in text:
        journal = AnnotationFile(home / "tree.csv")
        store = Store(home / "data" / "stores" / "sky")
        for i, galaxy in enumerate(store.ids[:48]):
            journal.put(galaxy, label="spiral" if i % 2 else "smooth")
        corrected_store(store, journal, home / "data" / "stores" / "sky-corrected-1")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_runs_from_top_to_bottom(page, world, tmp_path, monkeypatch):
    home = tmp_path / "home"
    shutil.copytree(world, home)
    monkeypatch.chdir(home)
    folders = {"KAGGLE": "kaggle", "STRIPE82": "stripe82", "EXAMPLES": "clear-cases"}
    for name, folder in folders.items() | {("GZ2", "data/downloads/gz2")}:
        monkeypatch.setenv(name, str(home / folder))
    for name, value in {"WEIGHTS": "tiny", "NAME": "", "GALAXY_SOMMELIER_DATA": str(home / "data")}.items():
        monkeypatch.setenv(name, value)
    names = {}
    for why, language, text in blocks(page):
        if why:
            continue
        before(page, text, home)
        if language:
            exec(text, names)
        else:
            for line in text.replace("\\\n", " ").splitlines():
                shell(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_block_is_passed_over(page):
    fences = re.findall(r"^ *```", page.read_text(), re.MULTILINE)
    assert len(fences) == 2 * len(BLOCK.findall(page.read_text()))


def test_few_blocks_are_not_run_and_each_says_why():
    left_out = [why for page in PAGES for why, *_ in blocks(page) if why]
    assert len(left_out) <= 0.4 * sum(len(blocks(page)) for page in PAGES)
    assert all(re.match(r"needs|takes", why) for why in left_out), left_out
