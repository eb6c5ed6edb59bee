"""Training in several processes, in parts, averaged, killed at any moment: the numbers must agree."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from galaxy_sommelier.core.files import BadInput, alone, sha256_file
from galaxy_sommelier.data.store import simulated_store
from galaxy_sommelier.training.settings import make_settings
from galaxy_sommelier.training.stages import train

STILL = {
    "image_size": 32,
    "crop": 1.0,
    "epochs": 2,
    "batch_size": 15,
    "dropout": 0.0,
    "drop_path": 0.0,
    "precision": "fp32",
    "tta": False,
}
PROGRAM = """
import json, os, signal, sys
import safetensors.torch, torch
from galaxy_sommelier.data import dataset
from galaxy_sommelier.training import checkpoints
from galaxy_sommelier.training.settings import make_settings
from galaxy_sommelier.training.stages import train

seen, last = 0, int(sys.argv[4])

def counted(owner, name):  # a moment to be killed at: batch, step, part of a checkpoint
    usual = getattr(owner, name)

    def count(*args, **kwargs):
        global seen
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return usual(*args, **kwargs)

    setattr(owner, name, count)

for owner, name in ((dataset.GalaxyDataset, "__getitems__"), (torch.optim.AdamW, "step"), (torch, "save")):
    counted(owner, name)
for name in ("flush", "write_json", "remove_checkpoint"):
    counted(checkpoints, name)
train(sys.argv[1], sys.argv[2], make_settings(**json.loads(sys.argv[3])))
print(seen)
"""
ENV = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    return simulated_store(tmp_path_factory.mktemp("scale") / "sky", n=120, size=48)


def run(sky, out, settings, processes=1, moment=0):
    """Run `train` in processes of its own, killed at a given moment if any."""
    how = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        if processes > 1
        else []
    )
    program = out.with_suffix(".py")
    program.write_text(PROGRAM)
    command = [sys.executable, *how, str(program), str(sky), str(out), json.dumps(settings), str(moment)]
    return subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize(
    "more", [{}, {"stage": "lora", "ema": 0.9, "loss": "votes"}, {"accumulate": 3, "balance": "sample"}]
)
def test_two_processes_take_the_steps_of_one(sky, tmp_path, more):
    one, two = (run(sky, tmp_path / f"of{n}", STILL | more, processes=n) for n in (1, 2))
    assert one.returncode == two.returncode == 0, one.stderr + two.stderr
    rows = [pd.read_csv(tmp_path / f"of{n}" / "history.csv") for n in (1, 2)]
    np.testing.assert_allclose(rows[1].train_loss, rows[0].train_loss, rtol=1e-5)
    np.testing.assert_allclose(rows[1].val_loss, rows[0].val_loss, rtol=1e-5)
    np.testing.assert_allclose(rows[1].val_kaggle_rmse, rows[0].val_kaggle_rmse, atol=1e-5)
    tables = [
        pd.read_parquet(tmp_path / f"of{n}" / "predictions.parquet").select_dtypes("number") for n in (1, 2)
    ]
    np.testing.assert_allclose(tables[1], tables[0], atol=1e-4)


def test_a_batch_in_parts_is_the_same_batch(sky, tmp_path):
    rows = [
        pd.read_csv(
            train(sky, tmp_path / str(parts), make_settings(**STILL, accumulate=parts)) / "history.csv"
        )
        for parts in (1, 3)
    ]
    np.testing.assert_allclose(rows[1].train_loss, rows[0].train_loss, rtol=1e-4)


def test_less_memory_gives_the_same_numbers(sky, tmp_path):
    rows = [
        pd.read_csv(train(sky, tmp_path / str(on), make_settings(**STILL, checkpointing=on)) / "history.csv")
        for on in (False, True)
    ]
    pd.testing.assert_frame_equal(rows[0], rows[1], rtol=1e-6)


def test_killed_at_ten_random_moments(sky, tmp_path):
    settings = STILL | {"dropout": 0.1, "drop_path": 0.1, "precision": "bf16", "epochs": 6, "ema": 0.9}
    moments = int(run(sky, tmp_path / "undisturbed", settings).stdout)
    for moment in np.random.default_rng(5).integers(1, moments // 5, 10):
        assert run(sky, tmp_path / "killed", settings, moment=moment).returncode == -9
    assert run(sky, tmp_path / "killed", settings).returncode == 0
    for name in ("model/model.safetensors", "predictions.parquet", "history.csv"):
        assert sha256_file(tmp_path / "killed" / name) == sha256_file(tmp_path / "undisturbed" / name), name


def test_a_folder_is_for_one_training_at_a_time(sky, tmp_path):
    with alone(tmp_path), pytest.raises(BadInput, match="another process is at work"):
        train(sky, tmp_path, make_settings(**STILL))
    assert not list(tmp_path.iterdir())


def test_averaged_weights_are_saved_and_do_not_change_training(sky, tmp_path):
    plain, averaged = (train(sky, tmp_path / str(ema), make_settings(**STILL, ema=ema)) for ema in (0.0, 0.9))
    losses = [pd.read_csv(run / "history.csv").train_loss for run in (plain, averaged)]
    assert losses[0].equals(losses[1])  # the trained weights are the same
    assert sha256_file(plain / "model/model.safetensors") != sha256_file(averaged / "model/model.safetensors")


def test_a_process_that_dies_is_named_and_the_run_continues(sky, tmp_path):
    pairs = [word for name, value in (STILL | {"epochs": 6}).items() for word in ("-p", name, str(value))]
    program = str(Path(sys.executable).with_name("sommelier"))
    words = [program, "train", str(sky), "--out", str(tmp_path / "run"), "--processes", "2", *pairs]
    training = subprocess.Popen(words, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    # shown by the bar after the checkpoint of the first epoch
    assert any("epoch=2" in line for line in training.stderr)
    second = [
        child
        for child in psutil.Process(training.pid).children(recursive=True)
        if child.environ().get("RANK") == "1"
    ]
    second[0].kill()
    output = training.communicate(timeout=60)[1]
    assert training.returncode == 2 and "killed by signal 9" in output and "Traceback" not in output, output
    assert not (tmp_path / "run" / "metrics.json").exists()
    again = subprocess.run(words, env=ENV, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0 and "kaggle_rmse" in again.stdout, again.stderr
    undisturbed = pd.read_csv(
        train(sky, tmp_path / "alone", make_settings(**STILL | {"epochs": 6})) / "history.csv"
    )
    np.testing.assert_allclose(
        pd.read_csv(tmp_path / "run" / "history.csv").train_loss, undisturbed.train_loss, rtol=1e-5
    )


def test_a_frozen_backbone_is_left_to_one_process(sky, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInput, match="trains in one process"):
        train(sky, tmp_path / "run", make_settings(**STILL, stage="head"))
    assert not (tmp_path / "run").exists()
