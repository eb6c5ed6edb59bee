"""Training across processes: kills, restarts, full disks, and folders of other runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from galaxy_sommelier.core.files import BadInput, Interrupted, read_json, sha256_file
from galaxy_sommelier.data.store import Store, simulated_store, write_store
from galaxy_sommelier.models.model import load_model
from galaxy_sommelier.models.predict import predict
from galaxy_sommelier.training import checkpoints
from galaxy_sommelier.training import stages as training
from galaxy_sommelier.training.settings import load_settings, make_settings
from galaxy_sommelier.training.stages import train, train_stages

SMALL = {"image_size": 32, "crop": 1.0, "epochs": 3, "batch_size": 16, "seed": 3}
PROGRAM = """
import json, sys
from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.training.settings import make_settings
from galaxy_sommelier.training.stages import train
try:
    train(sys.argv[1], sys.argv[2], make_settings(**json.loads(sys.argv[3])))
except BadInput as error:
    sys.exit(f"bad input: {error}")
"""


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    return simulated_store(tmp_path_factory.mktemp("train") / "sky", n=120, size=48)


def start(store, out, limit="", **settings):
    """Start `train` in a process of its own."""
    command = [sys.executable, "-c", limit + PROGRAM, str(store), str(out), json.dumps({**SMALL, **settings})]
    return subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    output = process.communicate(timeout=120)[1]
    return process.returncode, output


def kill_when(process, path):
    """Send SIGKILL at the moment when `path` appears."""
    until = time.time() + 100
    while not path.exists() and process.poll() is None and time.time() < until:
        time.sleep(0.001)
    assert path.exists(), process.communicate()[1]
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.parametrize("stage", ["full", "head"])
def test_a_killed_run_ends_like_an_undisturbed_one(sky, tmp_path, stage):
    assert end(start(sky, tmp_path / "undisturbed", stage=stage))[0] == 0
    steps = int(pd.read_csv(tmp_path / "undisturbed" / "history.csv").step[0])
    killed = tmp_path / "killed"
    kill_when(start(sky, killed, stage=stage), killed / f"checkpoints/checkpoint-{steps}/complete.json")
    half = killed / f"checkpoints/checkpoint-{2 * steps}"
    kill_when(start(sky, killed, stage=stage), half / "model.safetensors")
    assert not (killed / "metrics.json").exists() and not (killed / "model").exists()
    assert end(start(sky, killed, stage=stage))[0] == 0
    for name in ("model/model.safetensors", "predictions.parquet", "history.csv", "ids/train.csv"):
        assert sha256_file(killed / name) == sha256_file(tmp_path / "undisturbed" / name), name
    assert not (killed / "checkpoints").exists()


def stop_at(patch, *steps):
    """Send SIGUSR1 to the next training at the end of each of these steps."""

    class Asked(checkpoints.StopOnSignal):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step in steps:
                signal.raise_signal(signal.SIGUSR1)
            super().on_step_end(args, state, control, **kwargs)

    patch.setattr(checkpoints, "StopOnSignal", Asked)


@pytest.mark.parametrize(
    "settings",
    [{"stage": "full"}, {"stage": "head", "dropout": 0.3}, {"stage": "full", "patience": 1}],
    ids=str,
)
def test_a_stopped_training_continues_within_an_epoch(sky, tmp_path, monkeypatch, settings):
    undisturbed = train(sky, tmp_path / "undisturbed", make_settings(**SMALL, **settings))
    rows = pd.read_csv(undisturbed / "history.csv")
    epoch, last = int(rows.step[0]), int(rows.step.iloc[-1])
    asked, before = tmp_path / "asked", signal.getsignal(signal.SIGUSR1)
    # within an epoch, at its end, after its first step, before the last and at the last
    for step in (2, epoch, epoch + 1, last - 1, last):
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(Interrupted, match=f"stopped at step {step} of"):
                train(sky, asked, make_settings(**SMALL, **settings))
        assert (
            signal.getsignal(signal.SIGUSR1) == before
            and (asked / f"checkpoints/checkpoint-{step}/complete.json").exists()
        )
    assert train(sky, asked, make_settings(**SMALL, **settings)) == asked
    for name in ("model/model.safetensors", "predictions.parquet", "history.csv"):
        assert sha256_file(asked / name) == sha256_file(undisturbed / name), name


SIGNALLED = """
import os, sys
from galaxy_sommelier.cli.main import main
from galaxy_sommelier.training import checkpoints

class Signalled(checkpoints.StopOnSignal):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 2:
            os.kill(os.getpid(), number)
        super().on_step_end(args, state, control, **kwargs)

number, checkpoints.StopOnSignal = int(sys.argv.pop()), Signalled
main()
"""


@pytest.mark.parametrize("name, code", [("SIGUSR1", 75), ("SIGTERM", 143), ("SIGINT", 130)])
def test_the_verb_saves_within_an_epoch_on_each_signal_to_stop(sky, tmp_path, name, code):
    run, words = tmp_path / "run", [word for pair in SMALL.items() for word in ("-p", *map(str, pair))]
    command = [sys.executable, "-c", SIGNALLED, "train", str(sky), "--stage", "full", "--out", str(run)]
    ended = subprocess.run(
        [*command, *words, str(int(signal.Signals[name]))],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        timeout=600,
        # a test run in the background ignores SIGINT, and its children with it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    line = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == code and line.startswith("sommelier: "), line
    assert "stopped at step 2 of" in line and "start it again and it continues" in line
    assert "Traceback" not in ended.stderr
    assert checkpoints.last_checkpoint(run / "checkpoints").name == "checkpoint-2"


def test_killed_while_predicting_it_does_not_train_again(sky, tmp_path, monkeypatch):
    settings = make_settings(**SMALL, patience=1)
    with monkeypatch.context() as patch:
        patch.setattr(training, "finish", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(sky, tmp_path / "run", settings)
    monkeypatch.setattr("transformers.Trainer.train", lambda *args, **kwargs: pytest.fail("trained again"))
    run = train(sky, tmp_path / "run", settings)
    metrics, rows = read_json(run / "metrics.json"), pd.read_csv(run / "history.csv")
    assert metrics["split"] == "test" and not (run / "checkpoints").exists()
    # all of these are made again from the weights
    for lost in ("metrics.json", "predictions.parquet", "model/ood.safetensors"):
        (run / lost).unlink()
    again = read_json(train(sky, run, settings) / "metrics.json")
    assert {**again, "seconds": 0} == {**metrics, "seconds": 0}
    assert metrics["best"] == rows.loc[rows.val_kaggle_rmse.idxmin()].to_dict()
    (run / "predictions.parquet").unlink()
    train(sky, run, settings)
    assert (run / "predictions.parquet").exists() and (run / "model/ood.safetensors").exists()


def empty(path):
    path.write_bytes(b"")


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_damaged_checkpoint_is_skipped(sky, tmp_path, monkeypatch):
    undisturbed = train(sky, tmp_path / "undisturbed", make_settings(**SMALL))
    steps = int(pd.read_csv(undisturbed / "history.csv").step[0])
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, steps + 1)
        train(sky, tmp_path / "asked", make_settings(**SMALL))
    shutil.copytree(
        tmp_path / "asked/checkpoints" / f"checkpoint-{steps}", tmp_path / "asked/checkpoints/checkpoint-old"
    )
    names = read_json(tmp_path / f"asked/checkpoints/checkpoint-{steps + 1}/complete.json")["files"]
    assert {
        "model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"
    } <= set(names)
    cut = [("model.safetensors", halve), ("trainer_state.json", empty), ("complete.json", halve)]
    for name, damage in [*((name, Path.unlink) for name in names), *cut]:
        checkpoints_of = shutil.copytree(
            tmp_path / "asked/checkpoints", tmp_path / "damaged", dirs_exist_ok=True
        )
        damage(checkpoints_of / f"checkpoint-{steps + 1}" / name)
        with pytest.warns(UserWarning, match=f"checkpoint-{steps + 1}: this checkpoint is left out"):
            assert checkpoints.last_checkpoint(checkpoints_of).name == f"checkpoint-{steps}", name
    halve(tmp_path / f"asked/checkpoints/checkpoint-{steps + 1}/optimizer.pt")
    with pytest.warns(UserWarning, match="left out"):
        train(sky, tmp_path / "asked", make_settings(**SMALL))
    for name in ("model/model.safetensors", "predictions.parquet", "history.csv"):
        assert sha256_file(tmp_path / "asked" / name) == sha256_file(undisturbed / name), name


FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, -1))\n"


def test_full_disk_leaves_nothing_half_written(sky, tmp_path):
    code, output = end(start(sky, tmp_path / "run", limit=FULL_DISK))
    line = output.strip().splitlines()[-1]
    assert code == 1 and line.startswith("bad input") and "cannot be written" in line, output
    assert not (tmp_path / "run" / "model").exists() and not (tmp_path / "run" / "metrics.json").exists()
    assert end(start(sky, tmp_path / "run"))[0] == 0
    assert (tmp_path / "run" / "metrics.json").exists()


def test_run_folder_holds_what_is_needed(sky, tmp_path):
    run, store = train(sky, tmp_path / "run", make_settings(**SMALL)), Store(sky)
    rows = pd.read_csv(run / "history.csv")
    metrics, table = read_json(run / "metrics.json"), pd.read_parquet(run / "predictions.parquet")
    assert list(rows.epoch) == [1, 2, 3] and metrics["best"]["val_kaggle_rmse"] == rows.val_kaggle_rmse.min()
    test = store.indices("test")
    assert list(table.id_str) == [store.ids[i] for i in test] and metrics["galaxies"] == len(test)
    again = predict(store, load_model(run / "model"), indices=test)
    np.testing.assert_allclose(again[store.schema.columns], table[store.schema.columns], atol=1e-6)
    assert read_json(run / "config.json")["store_fingerprint"] == store.fingerprint
    assert (run / "environment.json").exists() and (run / "ids" / "val.csv").exists()


def test_another_run_in_the_folder_is_refused(sky, tmp_path):
    train(sky, tmp_path / "run", make_settings(**SMALL, stage="baseline"))
    with pytest.raises(BadInput, match="seed 3, not 4"):
        train(sky, tmp_path / "run", make_settings(**{**SMALL, "seed": 4}, stage="baseline"))


def test_a_finished_run_is_left_unchanged(sky, tmp_path):
    settings = make_settings(**SMALL, stage="baseline", tta=False)
    run = train(sky, tmp_path / "run", settings)
    left = {path: sha256_file(path) for path in run.rglob("*") if path.is_file()}
    assert train(sky, run, make_settings(**SMALL, stage="baseline", tta=True)) == run
    assert {
        path: sha256_file(path) for path in run.rglob("*") if path.is_file()
    } == left and run / "environment.json" in left


def test_unknown_setting_is_refused(tmp_path):
    (tmp_path / "settings.yaml").write_text("epoch: 3\n")
    with pytest.raises(BadInput, match="did you mean 'epochs'"):
        load_settings(tmp_path / "settings.yaml")


@pytest.mark.parametrize("stage", ["probe", "head", "full"])
def test_store_without_validation_galaxies_is_refused(sky, tmp_path, stage):
    store = Store(sky)
    images = np.stack([store.image(i) for i in range(10)])
    split = pd.Series(["train"] * 8 + ["test"] * 2, index=store.ids[:10])
    write_store(store.table.iloc[:10], tmp_path / "store", images=images, split=split)
    with pytest.raises(BadInput, match="'val'"):
        train(tmp_path / "store", tmp_path / "run", make_settings(**SMALL, stage=stage))
    assert not (tmp_path / "run").exists()


def test_full_starts_from_the_trained_head(sky, tmp_path):
    runs = train_stages(sky, tmp_path, ("baseline", "head", "full"), make_settings(**SMALL, precision="fp32"))
    assert read_json(runs["full"] / "config.json")["start_from"] == str(runs["head"])
    rmse = {stage: read_json(run / "metrics.json")["kaggle_rmse"] for stage, run in runs.items()}
    assert max(rmse["head"], rmse["full"]) < rmse["baseline"]
    with pytest.raises(BadInput, match="do not fit"):
        train(sky, tmp_path / "other", make_settings(**{**SMALL, "pool": "cls"}), start_from=runs["head"])
