"""The command line from a download to scores, and every kind of bad input (exit code 2 and one line)."""

import json
import resource
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from astropy.io import fits
from commands import refused, sommelier
from PIL import Image

from galaxy_sommelier.catalog.campaigns import DECALS5
from galaxy_sommelier.catalog.gz2 import KAGGLE_COLUMNS
from galaxy_sommelier.catalog.schema import GZ2, Schema, kaggle_form
from galaxy_sommelier.cli.main import main
from galaxy_sommelier.core.files import UMASK, alone, read_json
from galaxy_sommelier.data.store import Store, write_store
from galaxy_sommelier.images.simulation import simulate

SMALL = ["-p", "image_size", "32", "-p", "epochs", "1", "-p", "tta", "false", "-p", "precision", "fp32"]


def jpeg(image, **options):
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory):
    """Forty simulated galaxies in the layout of the Kaggle download."""
    root = tmp_path_factory.mktemp("kaggle")
    table, images = simulate(40, size=64, seed=5)
    ids = [str(100000 + 7 * i) for i in range(len(table))]
    solutions = pd.DataFrame(kaggle_form(table[list(GZ2.columns)].to_numpy(float)), columns=KAGGLE_COLUMNS)
    solutions.insert(0, "GalaxyID", ids)
    solutions.to_csv(root / "training_solutions_rev1.csv", index=False)
    (root / "images_training_rev1").mkdir()
    for name, image in zip(ids, images, strict=True):
        (root / "images_training_rev1" / f"{name}.jpg").write_bytes(jpeg(image, quality=95))
    return root


@pytest.fixture(scope="module")
def store(kaggle, tmp_path_factory):
    out = tmp_path_factory.mktemp("stores") / "kaggle"
    code, output = sommelier("prepare", "kaggle", "--root", kaggle, "--out", out, "--val", "0.2")
    assert code == 0 and "40 galaxies, 0 images left out" in output
    return out


def test_reference_ids_weigh_the_other_galaxies_and_leave_the_test_alone(kaggle, tmp_path):
    ids = pd.read_csv(kaggle / "training_solutions_rev1.csv", dtype=str).GalaxyID
    for name, some in {"test.csv": ids[:10], "reference.csv": ids[10:25]}.items():
        some.to_csv(tmp_path / name, index=False)
    lists = ["--test-ids", tmp_path / "test.csv", "--reference-ids", tmp_path / "reference.csv"]
    code, output = sommelier("prepare", "kaggle", "--root", kaggle, "--out", tmp_path / "store", *lists)
    assert code == 0, output
    store = Store(tmp_path / "store")
    test = store.split == "test"
    assert np.all(store.weights[test] == 1) and store.weights[~test].std() > 0
    assert abs(store.weights[~test].mean() - 1) < 1e-6 and store.weights.min() > 0
    lists[-1] = lists[1]  # a test galaxy may not be in the reference
    refused("holds 0 of 30 galaxies", "prepare", "kaggle", "--root", kaggle, "--out", tmp_path / "no", *lists)


def test_reference_ids_and_class_folders_know_the_tree_of_the_table(kaggle, tmp_path):
    images = sorted((kaggle / "images_training_rev1").iterdir())
    votes = DECALS5.normalise(np.random.default_rng(0).random((len(images), len(DECALS5.answers))))
    table = pd.DataFrame(votes, columns=DECALS5.columns).assign(campaign=DECALS5.name, split="mine")
    table = table.assign(id_str=[path.stem for path in images], path=list(map(str, images)))
    table.to_csv(tmp_path / "table.csv", index=False)
    table[["id_str"]][10:25].to_csv(tmp_path / "reference.csv", index=False)
    lists = ["--reference-ids", tmp_path / "reference.csv", "--class-folders", tmp_path / "classes"]
    words = ["--root", tmp_path, "--table", "table.csv", "--out", tmp_path / "store"]
    code, output = sommelier("prepare", "table", *words, *lists)
    assert code == 0 and "column `split` is replaced" in output, output
    assert Store(tmp_path / "store").weights.std() > 0 and (tmp_path / "classes").is_dir()


@pytest.fixture(scope="module")
def run(store, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "baseline"
    code, output = sommelier(
        "train", store, "--stage", "baseline", "--backbone", "tiny", "--out", out, *SMALL
    )
    assert code == 0 and "kaggle_rmse" in output, output
    return out


def copy_of(kaggle, root, change):
    """The same download with a changed table."""
    (root / "images_training_rev1").symlink_to(kaggle / "images_training_rev1")
    table = pd.read_csv(kaggle / "training_solutions_rev1.csv", dtype={"GalaxyID": str})
    change(table).to_csv(root / "training_solutions_rev1.csv", index=False)
    return root


# from a download to scores


def test_from_a_download_to_scores(store, run, tmp_path):
    code, output = sommelier(
        "train", store, "--stage", "full", "--backbone", "tiny", "--from", run, "--out", tmp_path / "full",
        *SMALL
    )
    assert code == 0, output
    assert {
        "config.json", "metrics.json", "history.csv", "environment.json", "predictions.parquet", "model",
        "ids"
    } <= {p.name for p in (tmp_path / "full").iterdir()}
    code, output = sommelier(
        "predict", store, "--model", tmp_path / "full", "--split", "test",
        "--out", tmp_path / "p.parquet", "--no-tta"
    )
    assert code == 0 and f"{len(Store(store).indices('test'))} galaxies" in output, output
    code, output = sommelier(
        "evaluate", tmp_path / "p.parquet", store, "--split", "test", "--out", tmp_path / "metrics.json"
    )
    assert code == 0 and "constant" in output, output
    assert 0 < read_json(tmp_path / "metrics.json")["kaggle_rmse"] < 1


def test_predict_a_folder_of_images(kaggle, run, tmp_path):
    code, output = sommelier(
        "predict", kaggle / "images_training_rev1", "--model", run,
        "--out", tmp_path / "p.parquet", "--no-tta"
    )
    assert code == 0 and "40 galaxies" in output, output
    assert pd.read_parquet(tmp_path / "p.parquet").id_str.is_unique


def test_chosen_test_ids(kaggle, tmp_path):
    ids = pd.read_csv(kaggle / "training_solutions_rev1.csv", dtype=str)[["GalaxyID"]].iloc[:9]
    ids.to_csv(tmp_path / "ids.csv", index=False)
    code, output = sommelier(
        "prepare", "kaggle", "--root", kaggle, "--out", tmp_path / "store", "--test-ids", tmp_path / "ids.csv"
    )
    assert code == 0, output
    made = Store(tmp_path / "store")
    assert sorted(np.array(made.ids)[made.indices("test")]) == sorted("kaggle-" + ids.GalaxyID)


def test_runs_lists_them(run, monkeypatch):
    monkeypatch.setenv("GALAXY_SOMMELIER_DATA", str(run.parents[1]))
    code, output = sommelier("runs", run)
    assert code == 0 and json.loads(output)["status"] == "done"


def test_every_help_has_an_example():
    for verb in main.commands:
        code, output = sommelier(verb, "--help")
        assert code == 0 and f"sommelier {verb}" in output.split("Options:")[0].split("\n", 1)[1], (
            f"{verb}: no example"
        )


# what is written, and what is not


def test_two_prepares_do_not_share_a_folder(kaggle, tmp_path):
    (tmp_path / ".unfinished-store").mkdir()
    with alone(tmp_path / ".unfinished-store"):
        words = ("prepare", "kaggle", "--root", kaggle, "--out", tmp_path / "store")
        refused("another process is at work", *words)
    assert [p.name for p in tmp_path.iterdir()] == [".unfinished-store"]
    assert sommelier("prepare", "kaggle", "--root", kaggle, "--out", tmp_path / "store")[0] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_colleagues_can_read_a_run(run):
    for path in (run, *run.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~UMASK, path


def test_no_verb_replaces_a_file(kaggle, store, run, tmp_path):
    """Each verb that writes a file, with a name that exists, that names a folder, and that fits no format."""
    images, predictions = kaggle / "images_training_rev1", run / "predictions.parquet"
    verbs = {
        ("predict", images, "--model", run, "--no-tta"): ".csv",
        ("evaluate", predictions, store): ".json",
        ("export", predictions): ".fits",
        ("leaks", store, store): ".csv",
        ("show", predictions, store): ".png",
    }
    for words, ending in verbs.items():
        out, folder = tmp_path / f"mine{ending}", tmp_path / f"folder{ending}"
        out.write_text("mine")
        folder.mkdir()
        refused("exists already", *words, "--out", out)
        refused("is a folder", *words, "--out", folder)
        assert sommelier(*words, "--out", tmp_path / "new.odt")[0] == 2
        assert out.read_text() == "mine" and not list(folder.iterdir())
        code, output = sommelier(*words, "--out", out, "--overwrite")
        assert code == 0 and out.read_bytes() != b"mine", output
        out.unlink()
        folder.rmdir()
    assert not list(tmp_path.iterdir())


def test_no_verb_writes_over_its_input(kaggle, run, tmp_path):
    table, predictions = tmp_path / "mine.csv", tmp_path / "mine.fits"
    image = next((kaggle / "images_training_rev1").iterdir())
    table.write_text(f"id_str,path\na,{image}\n")
    assert sommelier("export", run / "predictions.parquet", "--out", predictions)[0] == 0
    for words in (("predict", table, "--model", run), ("export", predictions)):
        before = words[1].read_bytes()
        refused("is the input itself", *words, "--out", words[1], "--overwrite")
        assert words[1].read_bytes() == before


def test_no_folder_has_the_name_of_a_file(kaggle, store, tmp_path):
    for words in (
        ("prepare", "kaggle", "--root", kaggle),
        ("mix", store),
        ("train", store, *SMALL),
        ("run", "demo"),
        ("demo",),
        ("cutouts", store, "--survey", "legacy"),
    ):
        refused("is the name of a file", *words, "--out", tmp_path / "x.csv")
    assert not list(tmp_path.iterdir())


def test_a_tilde_is_the_home_folder(kaggle, store, run, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert sommelier("prepare", "kaggle", f"--root={kaggle}", "--out=~/store")[0] == 0
    assert sommelier("evaluate", run / "predictions.parquet", "~/store", "--out=~/metrics.json")[0] == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.json", "store"]


# bad input: tables


def test_missing_folders(run, store, tmp_path):
    refused(
        "no such folder", "prepare", "kaggle", "--root", tmp_path / "nowhere", "--out", tmp_path / "store"
    )
    refused(
        "nowhere", "train", tmp_path / "nowhere", "--stage", "baseline", "--backbone", "tiny",
        "--out", tmp_path / "run"
    )
    refused("nowhere", "predict", store, "--model", tmp_path / "nowhere", "--out", tmp_path / "p.parquet")
    refused("nowhere", "predict", tmp_path / "nowhere", "--model", run, "--out", tmp_path / "p.parquet")
    refused("nowhere", "evaluate", tmp_path / "nowhere", store)
    refused("nowhere", "evaluate", run / "predictions.parquet", tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text, change",
    [
        ("Class7.2", lambda t: t.drop(columns="Class7.2")),
        ("is duplicated", lambda t: pd.concat([t, t.iloc[:1]])),
        ("outside", lambda t: t.assign(**{"Class1.1": 1.5})),
        ("sum to", lambda t: t.assign(**{"Class6.1": t["Class6.1"] * 0.5 + 0.1, "Class6.2": 0.1})),
        ("no integer", lambda t: t.assign(GalaxyID=["1.2e5", *t.GalaxyID[1:]])),
    ],
    ids=["column missing", "duplicated id", "outside 0 to 1", "wrong sums", "id no integer"],
)
def test_bad_tables(kaggle, tmp_path, text, change):
    root = copy_of(kaggle, tmp_path, change)
    refused(text, "prepare", "kaggle", "--root", root, "--out", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_test_ids_that_are_unknown_or_not_integers(kaggle, tmp_path):
    for value, text in (("5", "kaggle-5"), ("1.5e4", "no integer")):
        (tmp_path / "ids.csv").write_text(f"GalaxyID\n{value}\n")
        refused(
            text, "prepare", "kaggle", "--root", kaggle, "--out", tmp_path / "store",
            "--test-ids", tmp_path / "ids.csv"
        )


# bad input: images


def test_broken_images_are_named_and_left_out(kaggle, tmp_path):
    root = tmp_path / "download"
    (root / "images_training_rev1").mkdir(parents=True)
    (root / "training_solutions_rev1.csv").write_bytes((kaggle / "training_solutions_rev1.csv").read_bytes())
    images = sorted((kaggle / "images_training_rev1").iterdir())
    good = images[0].read_bytes()
    broken = [good[: len(good) // 2], b"", b"this is no image", jpeg(np.zeros((1, 1, 3), np.uint8)), None]
    for path, data in zip(images, broken + [p.read_bytes() for p in images[5:]], strict=True):
        if data is not None:
            (root / "images_training_rev1" / path.name).write_bytes(data)
    code, output = sommelier(
        "prepare", "kaggle", "--root", root, "--out", tmp_path / "store", "--max-bad", "0.2"
    )
    assert code == 0 and "35 galaxies, 5 images left out" in output, output
    assert all(f"kaggle-{path.stem}: " in output for path in images[:5]), output
    assert len(Store(tmp_path / "store")) == 35
    refused("5 ", "prepare", "kaggle", "--root", root, "--out", tmp_path / "other", "--max-bad", "0.1")
    assert not (tmp_path / "other").exists()


def test_questions_without_votes_are_named(kaggle, tmp_path):
    """A table of one's own has all votes, those of some questions, or none."""
    images = sorted((kaggle / "images_training_rev1").iterdir())[:12]
    table = pd.DataFrame({"id_str": [path.stem for path in images], "path": list(map(str, images))})
    smooth = dict(zip(GZ2.columns[:3], (0.5, 0.4, 0.1), strict=True))
    told = {}
    bar = {"bar_yes_fraction": 0.3, "bar_no_fraction": 0.7}
    for name, votes in {"none": {}, "first": smooth, "bar": bar, "gap": smooth | bar}.items():
        table.assign(**votes).to_csv(tmp_path / f"{name}.csv", index=False)
        words = ["--root", tmp_path, "--table", f"{name}.csv", "--out", tmp_path / name]
        code, told[name] = sommelier("prepare", "table", *words)
        assert code == 0 and len(Store(tmp_path / name)) == 12, told[name]
    assert "without votes: all questions" in told["none"] and "next: sommelier predict" in told["none"]
    assert "without votes: disk-edge-on, bar, " in told["first"] and "next: sommelier train" in told["first"]
    words = ["train", tmp_path / "none", "--out", tmp_path / "run", *SMALL]
    refused("no galaxy has votes, so there is nothing to learn", *words)
    # a bar is asked of disks that are not edge-on: how many were asked is unknown
    assert "never learned" in told["gap"] and told["gap"].count("bar") == 1
    assert "never learned" not in told["first"]
    words[1] = tmp_path / "bar"
    refused("no galaxy has votes for smooth-or-featured, on which", *words)


# bad input: stores, models, parameters


def test_a_store_of_another_schema(run, store, tmp_path):
    other = Schema("gz2-short", GZ2.questions[:1])
    table, images = simulate(12, size=32, seed=1)
    write_store(
        table, tmp_path / "store", schema=other, images=images, split=pd.Series("test", index=table.id_str)
    )
    refused("gz2", "evaluate", run / "predictions.parquet", tmp_path / "store")
    refused(
        "do not fit", "train", tmp_path / "store", "--stage", "baseline", "--from", run,
        "--out", tmp_path / "run", *SMALL
    )


def test_models_without_weights(run, store, tmp_path):
    (tmp_path / "model").mkdir()
    refused("model", "predict", store, "--model", tmp_path / "model", "--out", tmp_path / "p.parquet")
    (tmp_path / "model" / "config.json").write_text((run / "model" / "config.json").read_text())
    refused("weights", "predict", store, "--model", tmp_path / "model", "--out", tmp_path / "p.parquet")


def test_unknown_parameters(store, tmp_path):
    refused("'epochs'", "train", store, "--out", tmp_path / "run", "-p", "epoch", "3")
    refused("image_size", "train", store, "--out", tmp_path / "run", "-p", "image_size", "large")
    (tmp_path / "settings.yaml").write_text("stage: head\nleraning_rate: 1e-3\n")
    refused("leraning_rate", "train", store, "--out", tmp_path / "run", "-c", tmp_path / "settings.yaml")
    refused("did you mean 'galaxies'", "run", "demo", "-p", "galaxy", "5", "--out", tmp_path / "run")
    refused("did you mean 'demo'", "run", "demmo")
    assert not (tmp_path / "run").exists()


def test_a_split_of_a_folder(kaggle, run, tmp_path):
    refused(
        "needs a store", "predict", kaggle / "images_training_rev1", "--model", run, "--split", "test",
        "--out", tmp_path / "p.parquet"
    )


def test_what_the_message_about_a_fits_file_names_can_be_done(tmp_path):
    y, x = np.mgrid[:64, :64]
    noise = np.random.default_rng(1).normal(0, 0.01, (3, 64, 64))
    blob = np.exp(-((x - 32) ** 2 + (y - 32) ** 2) / 50) + noise
    (tmp_path / "files").mkdir()
    path, words = tmp_path / "files" / "cube.fits", ("prepare", "images", "--root", tmp_path / "files")
    fits.writeto(path, blob.astype(np.float32))
    advice = "write BUNIT = 'nanomaggy' and BANDS = 'gri' or BANDS = 'grz' into the header"
    refused(advice, *words, "--out", tmp_path / "store")
    assert [each.name for each in tmp_path.iterdir()] == ["files"]
    fits.setval(path, "BANDS", value="grz")
    code, output = sommelier(*words, "--out", tmp_path / "given", "--unit", "nanomaggy")
    assert code == 0 and "1 galaxy, 0 images left out" in output, output
    predict, table = ("predict", tmp_path / "files", "--out"), tmp_path / "given.csv"
    refused("the option --unit nanomaggy stands for", *predict, table)
    code, output = sommelier(*predict, table, "--unit", "nanomaggy")
    assert code == 0 and f"show {table} {tmp_path / 'files'} --unit nanomaggy --out" in output, output
    show = ("show", table, tmp_path / "files", "--out", tmp_path / "sheet.png")
    refused("no image of the first 24", *show)
    code, output = sommelier(*show, "--unit", "nanomaggy")
    assert code == 0 and "sheet.png: 1 galaxy" in output, output
    code, output = sommelier(*predict, tmp_path / "more.csv", "--scale", "nan")
    assert code == 2 and "--scale': 'nan' is not a finite number" in output, output
    fits.setval(path, "BUNIT", value="nanomaggy")
    assert sommelier(*predict, tmp_path / "header.csv")[0] == 0
    pd.testing.assert_frame_equal(pd.read_csv(table), pd.read_csv(tmp_path / "header.csv"))
    code, output = sommelier(*words, "--out", tmp_path / "store")
    assert code == 0 and "1 galaxy, 0 images left out" in output, output
    assert np.array_equal(Store(tmp_path / "given").image(0), Store(tmp_path / "store").image(0))


# bad input: a full disk


def with_limit(size, *words):
    """Run a command in a process that cannot write files of more than `size` bytes."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("sommelier")), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )


def test_a_full_disk_while_preparing(kaggle, tmp_path):
    done = with_limit(20_000, "prepare", "kaggle", "--root", kaggle, "--out", tmp_path / "store")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("sommelier: "), done.stderr
    assert "Traceback" not in done.stderr
    left = [path.name for path in tmp_path.rglob("*")]
    # where the next attempt continues; nothing under a final name
    assert set(left) <= {".unfinished-store"}, left


def test_a_full_disk_while_training(store, tmp_path):
    done = with_limit(
        200_000, "train", store, "--stage", "baseline", "--backbone", "tiny", "--out", tmp_path / "run",
        *SMALL
    )
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith("sommelier: "), done.stderr
    assert "Traceback" not in done.stderr
    left = {p.name for p in (tmp_path / "run").iterdir()} if (tmp_path / "run").exists() else set()
    assert not left & {"model", "metrics.json", "predictions.parquet"} and not [
        name for name in left if name.startswith(".partial")
    ]
