"""Experiments in processes of their own: killed, failing, on a full disk, with wrong parameters."""

import os
import resource
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
import pytest

from galaxy_sommelier.core.config import read_config
from galaxy_sommelier.core.files import BadInput, read_json
from galaxy_sommelier.core.runs import (
    experiments,
    list_runs,
    merge,
    run_experiment,
    shipped,
    show_run,
    status,
)
from galaxy_sommelier.training.settings import load_settings

SOMMELIER = str(Path(sys.executable).with_name("sommelier"))
PARAMETERS = """\
seconds: float = 0.0  # to sleep the first time (s)
fail: str = ""  # how it breaks
out: str = ""  # run folder"""
WORK = """\
import json, pathlib, time
from galaxy_sommelier.core.files import BadInput, write_json
again = (pathlib.Path(out) / "started.json").exists()
write_json(pathlib.Path(out) / "started.json", [])"""
THEN = """\
time.sleep(0 if again else seconds)
if fail:
    bad_input = BadInput("galaxies.csv: is empty; choose another")
    raise bad_input if fail == "input" else ZeroDivisionError("of galaxies")
write_json(pathlib.Path(out) / "metrics.json", {"kaggle_rmse": 0.1})"""


@pytest.fixture
def nap(tmp_path):
    """An experiment that sleeps, and fails when told to."""
    code = nbformat.v4.new_code_cell
    cells = [code(PARAMETERS, metadata={"tags": ["parameters"]}), code(WORK), code(THEN)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "nap.ipynb")
    return tmp_path / "nap.ipynb"


def sommelier(*words, **options):
    return subprocess.run(
        [SOMMELIER, *map(str, words)], capture_output=True, text=True, timeout=120, **options
    )


def test_a_run_leaves_its_folder(nap, tmp_path):
    done = sommelier("run", nap, "--out", tmp_path / "runs" / "one", "-p", "seconds", "1e-3")
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in (tmp_path / "runs" / "one").iterdir()) == [
        "config.json", "environment.json", "metrics.json", "notebook.ipynb", "started.json"
    ]
    assert read_json(tmp_path / "runs" / "one" / "config.json")["seconds"] == 0.001
    (tmp_path / "runs" / "one" / "model").mkdir()
    (tmp_path / "runs" / "one" / "model" / "config.json").write_text("{}")  # a model folder is not a run
    table = list_runs(tmp_path / "runs")
    assert list(table.status) == ["done"] and list(table.kaggle_rmse) == [0.1]


def test_a_folder_holds_one_run(nap, tmp_path):
    assert sommelier("run", nap, "--out", tmp_path / "one").returncode == 0
    assert sommelier("run", nap, "--out", tmp_path / "one").returncode == 0  # the same run again
    refused = sommelier("run", nap, "--out", tmp_path / "one", "-p", "seconds", "0.5")
    assert refused.returncode == 2 and "holds another run (differing in seconds)" in refused.stderr
    assert read_json(tmp_path / "one" / "config.json")["seconds"] == 0


def test_a_folder_with_other_files_is_refused(nap, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_text("{}")
    refused = sommelier("run", nap, "--out", tmp_path / "store")
    assert refused.returncode == 2 and "holds other files (store.json and more) and no run" in refused.stderr
    assert [p.name for p in (tmp_path / "store").iterdir()] == ["store.json"]


@pytest.mark.parametrize("name", ["finetune", "label_efficiency", "backbones", "head"])
def test_settings_cannot_contradict_a_parameter(name):
    with pytest.raises(BadInput, match="'settings' holds 'epochs'"):
        merge(experiments()[name], {"settings": {"epochs": 3}})


def test_a_damaged_run_does_not_hide_the_others(tmp_path):
    files = {
        "a": ("metrics.json", "{}"),
        "b": ("metrics.json", '{"kag'),
        "c": ("environment.json", ""),
        "d": ("notebook.ipynb", "{"),
    }
    for name, (file, text) in files.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / file).write_text(text)
    assert list_runs(tmp_path).set_index("run").status.to_dict() == {
        "a": "done",
        "b": "damaged",
        "c": "damaged",
        "d": "damaged",
    }


def test_a_failing_cell_gives_1_and_keeps_the_notebook(nap, tmp_path):
    done = sommelier("run", nap, "--out", tmp_path / "one", "-p", "fail", "yes!")
    assert done.returncode == 1
    assert "ZeroDivisionError: of galaxies" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert status(tmp_path / "one") == "failed"


def test_bad_input_inside_a_cell_gives_2_and_its_line(nap, tmp_path):
    done = sommelier("run", nap, "--out", tmp_path / "one", "-p", "fail", "input")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "sommelier: galaxies.csv: is empty; choose another"


def test_a_kernel_that_dies_is_a_failed_cell(nap, tmp_path):
    notebook = nbformat.read(nap, 4)
    notebook.cells[2].source = "import os; os._exit(9)"
    nbformat.write(notebook, nap)
    done = sommelier("run", nap, "--out", tmp_path / "one")
    line = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and "the kernel died, most likely out of memory" in line
    assert "Traceback" not in done.stderr and sorted(p.name for p in (tmp_path / "one").iterdir()) == [
        "config.json", "environment.json", "notebook.ipynb", "started.json"
    ]
    assert show_run(tmp_path / "one")["error"].startswith("cell 3: DeadKernelError")


def test_a_notebook_without_a_kernel_runs(nap, tmp_path):
    notebook = nbformat.read(nap, 4)
    notebook.metadata = {}
    nbformat.write(notebook, nap)
    assert status(run_experiment(str(nap), out=tmp_path / "one", progress=False)) == "done"


def test_values_of_a_run_are_those_of_json(nap, tmp_path):
    notebook = nbformat.read(nap, 4)
    notebook.cells[0].source = 'pair = (1, 2)\nwhen = None\n' + PARAMETERS
    nbformat.write(notebook, nap)
    for text in ("2020-01-01", "12:30:00", "0123"):  # no date, no number
        run = tmp_path / text
        for _ in range(2):  # the second finds its own run
            done = sommelier("run", nap, "--out", run, "-p", "when", text)
            assert done.returncode == 0, done.stderr
        config = read_json(run / "config.json")
        assert config["when"] == text and config["pair"] == [1, 2]
    for value in (".nan", "-.inf"):
        done = sommelier("run", nap, "--out", tmp_path / "no", "-p", "seconds", value)
        assert done.returncode == 2 and "no finite number" in done.stderr and not (tmp_path / "no").exists()


def test_ctrl_c_tells_how_to_go_on(nap, tmp_path):
    run = tmp_path / "one"
    command = [SOMMELIER, "run", str(nap), "--out", str(run), "-p", "seconds", "60"]
    options = {"stderr": subprocess.PIPE, "stdout": subprocess.DEVNULL, "text": True}
    # a test run in the background ignores SIGINT, and its children with it
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, start_new_session=True, preexec_fn=heed, **options)
    deadline = time.monotonic() + 60
    while not (run / "started.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    line = process.communicate(timeout=60)[1].splitlines()[-1]
    assert process.returncode == 130 and line.endswith(f"run it again with --out {run} to continue")
    assert status(run) == "unfinished"


def test_ctrl_c_while_the_first_modules_are_imported():
    code = """
import builtins
from galaxy_sommelier.cli.start import start
imported = builtins.__import__
def slow(name, *more, **options):
    if name.endswith("cli.main"):
        raise KeyboardInterrupt
    return imported(name, *more, **options)
builtins.__import__ = slow
start()"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr.strip().splitlines() == [
        "sommelier: interrupted before anything began; start it again"
    ]


def test_a_killed_run_is_unfinished_and_can_be_run_again(nap, tmp_path):
    run = tmp_path / "one"
    command = [SOMMELIER, "run", str(nap), "--out", str(run), "-p", "seconds", "60"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 60
        while not (run / "started.json").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert status(run) == "unfinished" and not (run / "notebook.ipynb").exists()
    # it sleeps only at its first start
    run_experiment(str(nap), {"seconds": 60}, out=run, progress=False)
    assert status(run) == "done" and not (run / "notebook.partial.ipynb").exists()


def test_a_full_disk_leaves_nothing_half_written(nap, tmp_path):
    run = tmp_path / "one"
    done = sommelier(
        "run", nap, "--out", run, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert not run.exists() or not [p.name for p in run.iterdir()]


def test_wrong_parameters_are_refused_before_anything_starts(nap, tmp_path):
    for words, text in (
        (("-p", "second", "1"), "did you mean 'seconds'"),
        (("-p", "seconds", "long"), "takes a number"),
    ):
        done = sommelier("run", nap, "--out", tmp_path / "one", *words)
        assert done.returncode == 2 and text in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("experiment, small, text", [
    ("throughput", ("-p", "images", "20", "-p", "frame", "64", "-p", "image_size", "3"), "image_size"),
    ("ood", ("-p", "simulated", "30"), "training galaxies to learn from"),
])  # fmt: skip
def test_what_a_cell_refuses_after_a_simulated_sky_leaves_nothing(experiment, small, text, tmp_path):
    here = {**os.environ, "GALAXY_SOMMELIER_DATA": str(tmp_path / "data")}
    for out in ((), ("--out", tmp_path / "one")):
        done = sommelier("run", experiment, *out, *small, env=here)
        assert done.returncode == 2 and text in done.stderr, done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not (tmp_path / "one").exists()


def test_what_was_made_before_a_refusal_is_kept(nap, tmp_path):
    done = sommelier("run", nap, "--out", tmp_path / "one", "-p", "fail", "input")
    assert done.returncode == 2 and status(tmp_path / "one") == "failed"
    assert (tmp_path / "one" / "started.json").exists()


def test_a_notebook_without_the_tag_is_refused(nap, tmp_path):
    notebook = nbformat.read(nap, 4)
    notebook.cells[0].metadata = {}
    nbformat.write(notebook, tmp_path / "bare.ipynb")
    done = sommelier("run", tmp_path / "bare.ipynb", "--out", tmp_path / "one")
    assert done.returncode == 2 and "tag 'parameters'" in done.stderr and not (tmp_path / "one").exists()


def test_unknown_experiments_and_runs(tmp_path):
    with pytest.raises(BadInput, match="did you mean 'gz2_test'"):
        run_experiment("gz2_tset")
    with pytest.raises(BadInput, match="0 runs"):
        show_run("nothing", root=tmp_path)


def test_config_files_set_parameters(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("galaxies: many\n")
    done = sommelier("run", "demo", "-c", config)
    assert done.returncode == 2 and "takes a whole number" in done.stderr
    config.write_text("galaxies: [1\n")
    assert "not readable as YAML" in sommelier("run", "demo", "-c", config).stderr
    assert "no such file" in sommelier("run", "demo", "-c", tmp_path / "nowhere.yaml").stderr


@pytest.mark.parametrize("path", sorted(shipped("configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_config_is_accepted(path):
    """Each file in configs/ fits the parameters of an experiment or the settings of training."""
    checks = [
        lambda: load_settings(path),
        *(lambda p=p: merge(p, read_config(path)) for p in experiments().values()),
    ]
    refusals = []
    for check in checks:
        try:
            check()
        except BadInput as error:
            refusals.append(str(error))
    assert len(refusals) < len(checks), refusals
