"""A campaign of the workflow: run once, run again, changed, killed, failed, refused."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import yaml

from galaxy_sommelier.core.files import BadInput, read_json, write_json
from galaxy_sommelier.core.runs import status
from galaxy_sommelier.core.slurm import NoAnswer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow" / "scripts"))

import attempt  # noqa: E402
import reproduce  # noqa: E402

SMALL = """\
out: {out}
common: {{store: stores/sky, image_size: 32, crop: 1.0, seed: 1, resamples: 20}}
skies:
  sky: {{n: 60, size: 32, seed: 1}}
stores:
  sky: {{source: table, root: skies/sky, kind: counts, test: 0.3, val: 0.2}}
trainings:
  full: {{epochs: 2, tta: false}}
experiments:
  compare_stages: {{runs: {{full: runs/full}}}}
"""


def command(file):
    return [sys.executable, str(ROOT / "workflow" / "scripts" / "reproduce.py"), str(file)]


def run(file, *words):
    done = subprocess.run([*command(file), *words], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def attempts(out):
    return {path.stem: read_json(path)["attempts"] for path in (out / "logs").glob("*.json")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A campaign that has run once: its file, its folder, and how that ended."""
    folder = tmp_path_factory.mktemp("campaign")
    file = folder / "small.yaml"
    file.write_text(SMALL.format(out=folder / "out"))
    return file, folder / "out", run(file)


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished campaign in another folder; all its paths start there, so nothing is stale."""
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.format(out=tmp_path / "out"))
    shutil.copytree(finished[1], tmp_path / "out")
    return file, tmp_path / "out"


def change(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_campaign_makes_every_table_and_a_second_run_does_nothing(finished):
    file, out, (code, said, error) = finished
    assert code == 0, error
    once = {"sky": 1, "full": 1, "compare_stages": 1}
    assert attempts(out) == once
    assert "| full | " in (out / "results" / "compare_stages.md").read_text()
    assert (out / "results/compare_stages/performance_summary.png").exists()
    assert "compare_stages" in (out / "report.html").read_text()
    shown = subprocess.run(
        [Path(sys.executable).with_name("sommelier"), "runs", out], capture_output=True, text=True
    )
    assert shown.stdout.count("done") == 2, shown.stdout + shown.stderr
    assert run(file)[0] == 0 and attempts(out) == once


def test_the_plan_names_what_depends_on_a_changed_parameter_and_nothing_else(copy):
    file, out = copy
    assert run(file, "--plan")[1] == f"{out}: 0 jobs of {file}\n"
    change(file, "epochs: 2", "epochs: 3")
    _, said, _ = run(file, "--plan")
    rows = [line.split()[0] for line in said.splitlines()[2:]]
    assert rows == ["runs/full", "runs/compare_stages", "results/compare_stages.md"]
    assert "params changed" in said and "not measured" in said


def test_a_killed_campaign_goes_on_to_the_same_numbers(copy):
    file, out = copy
    whole = read_json(out / "runs/full/metrics.json")
    shutil.rmtree(out / "runs/full")
    (out / "logs/full.json").unlink()
    process = subprocess.Popen(command(file), stdout=subprocess.DEVNULL, start_new_session=True)
    checkpoints = out / "runs/full/checkpoints"
    while process.poll() is None and not list(checkpoints.glob("checkpoint-*/complete.json")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert list(checkpoints.glob("checkpoint-*")) and status(out / "runs/full") == "unfinished"
    assert run(file)[0] == 0
    assert attempts(out) == {"sky": 1, "full": 2, "compare_stages": 1}  # equal files make nothing run again
    again = read_json(out / "runs/full/metrics.json")
    for metrics in (whole, again):
        metrics.pop("seconds")
    assert again == whole


def test_a_store_that_was_packed_when_its_job_was_killed_is_kept(copy):
    file, out = copy
    record, packed = out / "logs/sky.json", (out / "stores/sky/store.json").stat()
    write_json(record, read_json(record) | {"code": None})
    (out / "stores/sky/done.json").unlink()
    assert run(file)[0] == 0
    assert (out / "stores/sky/store.json").stat().st_ino == packed.st_ino and not (out / "replaced").exists()
    assert attempts(out) == {"sky": 1, "full": 1, "compare_stages": 1}


def test_what_depends_on_a_run_is_made_again_when_its_results_differ(copy):
    file, out = copy
    model, table = out / "runs/full/model/model.safetensors", out / "results/compare_stages.md"
    before, old = read_json(out / "runs/full/done.json"), table.stat().st_mtime_ns
    model.write_bytes(model.read_bytes() + b" ")  # as from other code
    attempt.finish(out / "runs/full", before["key"])
    assert read_json(out / "runs/full/done.json")["results"] != before["results"]
    write_json(out / "runs/full/done.json", before | {"results": "of other weights"})
    assert run(file)[0] == 0
    assert attempts(out) == {"sky": 1, "full": 1, "compare_stages": 1} and table.stat().st_mtime_ns > old
    assert len(list((out / "replaced").iterdir())) == 1


def test_what_a_run_is_depends_on_its_inputs_and_on_no_setting_that_changes_nothing(tmp_path):
    (tmp_path / "ids.csv").write_text("id_str\n")
    row = ["sommelier", "train", "stores/sky", "-p", "epochs", "2", "-p", "tta", "false"]
    key = attempt.key_of(row, [str(tmp_path / "ids.csv")])
    same = [*row[:3], "--processes", "4", *row[3:], "-p", "accumulate", "2", "-p", "workers", "8"]
    assert attempt.key_of(same, [str(tmp_path / "ids.csv")]) == key
    assert attempt.key_of([*row[:-1], "true"], [str(tmp_path / "ids.csv")]) != key
    timed = ["sommelier", "run", "throughput", "-p", "workers"]  # there it is what is measured
    assert attempt.key_of([*timed, "0"], []) != attempt.key_of([*timed, "8"], [])
    (tmp_path / "ids.csv").write_text("id_str\n1\n")
    assert attempt.key_of(row, [str(tmp_path / "ids.csv")]) != key


def test_a_calibration_that_fails_is_named_with_its_log(tmp_path):
    file, out = tmp_path / "small.yaml", tmp_path / "out"
    file.write_text(SMALL.format(out=out) + "cards: [full]\n")
    change(file, "val: 0.2", "val: 0.1")
    code, _, error = run(file)
    assert code == 1 and error.startswith("reproduce: calibrate: sommelier: ")
    assert len(error.splitlines()) == 1 and f"({out}/logs/calibrate-full.log)" in error


def test_a_plan_can_be_asked_for_while_the_campaign_runs(copy):
    file, out = copy
    handle = reproduce.lock(out)
    try:
        assert run(file, "--plan") == (0, f"{out}: 0 jobs of {file}\n", "")
        assert "is running already" in run(file)[2]
    finally:
        os.close(handle)


def notebook(path, *sources):
    """Write an experiment with one parameter."""
    code = nbformat.v4.new_code_cell
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    given = 'number: int = 1\nout: str = ""  # run folder'
    cells = [code(given, metadata={"tags": ["parameters"]}), *map(code, sources)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return str(path)


STOPPED = """\
from pathlib import Path
from galaxy_sommelier.core.files import Interrupted
first = not Path(out, "first").exists()
Path(out, "first").touch()
if first:
    raise Interrupted("told to stop")"""


def test_a_failure_is_not_tried_again_and_a_changed_parameter_begins_anew(tmp_path):
    experiments = {
        "fails": {"experiment": notebook(tmp_path / "fails.ipynb", "3 / 4", "3 / 0")},
        "stops": {"experiment": notebook(tmp_path / "stops.ipynb", STOPPED)},
    }
    file, out = tmp_path / "two.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump({"out": str(out), "experiments": experiments}))
    code, said, error = run(file)
    assert said.splitlines()[-1] == f"next: sommelier runs {out}"  # of a run that failed there is no report
    assert code == 1 and attempts(out) == {"fails": 1, "stops": 2}
    assert status(out / "runs/fails") == "failed" and status(out / "runs/stops") == "done"
    [line] = error.splitlines()
    assert "fails: exit code 1 after 1 attempt" in line and "ZeroDivisionError" in line
    assert "runs/fails/notebook.ipynb" in line
    experiments["fails"] = experiments["stops"] | {"number": 2}
    file.write_text(yaml.safe_dump({"out": str(out), "experiments": experiments}))
    assert run(file)[0] == 0 and attempts(out) == {"fails": 2, "stops": 2}
    assert read_json(out / "runs/fails/config.json")["number"] == 2
    assert [status(path) for path in (out / "replaced").iterdir()] == ["failed"]


def test_a_changed_notebook_runs_again_and_what_it_has_printed_changes_nothing(tmp_path):
    file, out, mine = tmp_path / "one.yaml", tmp_path / "out", tmp_path / "mine.ipynb"
    experiments = {"one": {"experiment": notebook(mine, "1")}}
    file.write_text(yaml.safe_dump({"out": str(out), "experiments": experiments}))
    assert run(file)[0] == 0
    cells = read_json(mine)
    cells["cells"][-1]["metadata"]["tags"] = ["seen"]
    write_json(mine, cells)
    assert run(file)[0] == 0 and attempts(out) == {"one": 1} and not (out / "replaced").exists()
    notebook(mine, "2")
    assert run(file)[0] == 0 and len(list((out / "replaced").iterdir())) == 1


def test_a_simulation_that_fails_is_named(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.format(out=tmp_path / "out"))
    change(file, "n: 60", "n: 60, survey: sloan")
    code, _, error = run(file)
    [line] = error.splitlines()
    assert code == 1 and "simulate: " in line and "no survey 'sloan'" in line


WAITS = """\
import time
from pathlib import Path
Path(out, "started").touch()
while not Path(out, "go").exists():
    time.sleep(0.05)"""


def test_ctrl_c_lets_snakemake_end_its_jobs_and_is_one_line(tmp_path):
    waits = {"waits": {"experiment": notebook(tmp_path / "waits.ipynb", WAITS)}}
    file, out = tmp_path / "one.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump({"out": str(out), "experiments": waits}))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command(file), start_new_session=True, **pipes)
    while process.poll() is None and not (out / "runs/waits/started").exists():
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, error = process.communicate()
    assert (process.returncode, error) == (130, "\nreproduce: stopped; the same command goes on\n")
    [log] = (out / ".snakemake/log").iterdir()
    assert "Terminating processes on user request" in log.read_text()
    assert "Complete log" in log.read_text()  # its last words


def refused(capsys, file, text, *words):
    """Check that a campaign ends at once, with one line that contains `text`."""
    assert reproduce.main([str(file), *words]) == 2
    said = capsys.readouterr()
    assert text in said.err and len(said.err.splitlines()) == 1 and not said.out, said


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("trainings:", "training:", "unknown setting 'training', did you mean 'trainings'"),
        ("{epochs: 2", "{epoch: 2", "trainings: full: unknown setting 'epoch', did you mean 'epochs'"),
        ("{epochs: 2", "{epochs: many", "trainings: full: setting 'epochs': takes a whole number"),
        ("{runs:", "{rums:", "compare_stages: parameter 'rums' is not one of compare_stages's, did you mean"),
        ("crop: 1.0", "corp: 1.0", "common: unknown name 'corp', did you mean 'crop'"),
        ("kind: counts", "kinds: counts", "stores: sky: No such option '--kinds'"),
        ("n: 60", "number: 60", "skies: sky: unknown key 'number'"),
        ("n: 60, ", "", "skies: sky: no 'n', the number of galaxies"),
        ("full: runs/full", "full: runs/fully", "runs/fully is not made by this campaign, did you mean"),
        ("epochs: 2", "backbone: /no/weights", "/no/weights does not exist"),
        ("epochs: 2", "stage: probe, processes: 2", "trainings: full: stage 'probe': trains in one process"),
        ("epochs: 2", "report_to: wandb", "wandb is not installed"),
        ("epochs: 2", "backbone: nbs/guide", "nbs/guide: "),
        ("epochs: 2", "backbone: nobody/nothing", "nobody/nothing is no folder, and not fetched"),
        ("epochs: 2", "from: data/runs/nope", "data/runs/nope does not exist; check the path"),
        ("epochs: 2", "backbone: $WEIGHTS", "no folder is named 'WEIGHTS'; add it to `folders`"),
        ("full: {epochs: 2", "full-1: {}\n  full: {seeds: [1, 2]", "'full-1' is also one of trainings"),
        ("full: {epochs: 2", "sky: {epochs: 2", "trainings: 'sky' is also one of stores"),
        ("compare_stages: {", "full: {experiment: compare_stages, ", "'full' is also one of trainings"),
        ("full: {epochs: 2", "lora: {from: runs/full}\n  full: {seeds: 3", "'seeds' takes a value like []"),
        ("compare_stages: {", "one: {experiment: 1, ", "one: 'experiment' takes a value like ''"),
        ("compare_stages: {", "compare: {", "experiment 'compare' is not known, did you mean"),
        ("experiments:", "cards: [compare_stages]\nexperiments:", "cards: 'compare_stages' is no training"),
        ("experiments:", "lists: {some: {table: setup.py}}\nexperiments:", "lists: some: no 'below'"),
        ("epochs: 2", "processes: 0", "trainings: full: processes: 0 is less than 1"),
    ],
)
def test_a_fault_of_the_file_is_one_line_before_anything_runs(tmp_path, capsys, old, new, complaint):
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.format(out=tmp_path / "out"))
    change(file, old, new)
    refused(capsys, file, complaint)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_its_weights_is_refused(tmp_path, capsys):
    (tmp_path / "dino").mkdir()
    (tmp_path / "dino" / "config.json").write_text("{}")
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.format(out=tmp_path / "out"))
    change(file, "epochs: 2", f"backbone: {tmp_path}/dino")
    refused(capsys, file, f"trainings: full: backbone: {tmp_path}/dino: ")


def test_two_campaigns_in_one_folder_and_a_changed_store_are_refused(copy, tmp_path, capsys):
    file, out = copy
    other = tmp_path / "other.yaml"
    other.write_text(file.read_text())
    refused(capsys, other, f"{out}: belongs to the campaign 'small'")
    with open(out / "stores/sky/store.json", "a") as store:
        store.write("\n")
    refused(capsys, file, "store.json: changed after it was finished; put it back, or remove")
    (out / "stores/sky/store.json").unlink()
    refused(capsys, file, "store.json: is lost")


def test_a_profile_that_cannot_work_here_is_refused(tmp_path, capsys, monkeypatch):
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.format(out=tmp_path / "out"))
    refused(capsys, file, "profile 'perlmuter' is not known, did you mean", "--profile", "perlmuter")
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(capsys, file, "there is no Slurm here", "--profile", "perlmutter")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """Write a profile for a Slurm that takes every job but those of 100000 minutes."""

    def write(text):
        (tmp_path / "profile").mkdir()
        (tmp_path / "profile" / "config.yaml").write_text(f"executor: slurm\n{text}\n")
        return "--profile", str(tmp_path / "profile")

    def slurm(*words):
        if "--time=100000" in words:
            raise BadInput("sbatch refused: invalid time limit")
        return "1"

    monkeypatch.setattr("profiles.slurm", slurm)
    return write


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("default-resources: [mem_mb=8000]", "default-resources: takes `name: value` lines like `mem_mb"),
        ("set-resources: ['card:runtime=5']", "set-resources: takes `name: value` lines like `train_full: {"),
        ("set-resources: {train_full: [runtime=5]}", "set-resources: train_full: takes `name: value` lines"),
        ("default-resources: {mem_mb", "config.yaml: not readable as YAML (while parsing"),
        ("__use_yte__: true\njobs: ?nothing", "config.yaml: not readable as YAML ("),
    ],
)
def test_a_profile_in_another_form_is_refused(tmp_path, capsys, profile, text, complaint):
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.format(out=tmp_path / "out"))
    words = profile(text)
    refused(capsys, file, complaint, *words)
    (tmp_path / "profile" / "config.yaml").write_text("- executor: slurm")
    refused(capsys, file, "config.yaml: not readable as YAML (expected `name: value` lines", *words)


@pytest.mark.parametrize("rule", ["train_full", "leaks", "calibrate", "card"])
def test_slurm_is_asked_about_the_job_of_every_rule(tmp_path, capsys, profile, rule):
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.format(out=tmp_path / "out") + "leaks: {both: [sky, sky]}\ncards: [full]\n")
    words = profile(f"set-resources: {{{rule}: {{runtime: 100000}}}}")
    refused(capsys, file, f"config.yaml: {rule} (--time=100000): sbatch refused: invalid time limit", *words)


def test_a_slurm_that_does_not_answer_is_no_fault_of_the_profile(tmp_path, capsys, profile, monkeypatch):
    def silent(*words):
        if "--hold" in words:
            raise NoAnswer("sbatch did not answer; try again")

    file = tmp_path / "small.yaml"
    file.write_text(SMALL.format(out=tmp_path / "out"))
    monkeypatch.setattr("profiles.slurm", silent)
    refused(capsys, file, "reproduce: sbatch did not answer; try again\n", *profile(""))


def test_gpu_hours_come_from_a_throughput_that_was_measured_on_a_gpu(tmp_path):
    file, out = tmp_path / "small.yaml", tmp_path / "out"
    file.write_text(SMALL.format(out=out) + "  throughput: {}\n")
    plan = reproduce.Plan(file)
    for folder in ("runs/throughput", "stores/sky"):
        (out / folder).mkdir(parents=True)
    write_json(out / "stores/sky/store.json", {"splits": {"train": 36_000}})
    for device, hours in (("NVIDIA A100", "0.20"), ("cpu", "not measured")):
        facts = {"images_per_second": {"train, one epoch": 100.0}, "machine": {"device": device}}
        write_json(out / "runs/throughput/metrics.json", facts)
        assert reproduce.gpu_hours(plan, plan.trainings["full"]) == hours


def test_the_path_of_a_notebook_starts_at_the_repository(tmp_path, capsys, monkeypatch):
    file = tmp_path / "one.yaml"
    path = os.path.relpath(notebook(tmp_path / "mine.ipynb", "1"), ROOT)
    file.write_text(f"out: {tmp_path}/out\nexperiments:\n  one: {{experiment: {path}}}\n")
    monkeypatch.chdir(tmp_path)
    assert reproduce.Plan(file).rows["one"].command[2] == str(tmp_path / "mine.ipynb")
    change(file, path, "mine.ipynb")
    refused(capsys, file, f"experiments: {ROOT / 'mine.ipynb'}: no such notebook")


@pytest.mark.parametrize("kind", ["lists", "leaks"])
def test_a_list_of_ids_without_csv_is_refused(tmp_path, capsys, kind):
    known = {"lists": "{table: setup.py, below: 3}", "leaks": "[sky, sky]"}
    file, made = tmp_path / "small.yaml", known[kind]
    file.write_text(SMALL.format(out=tmp_path / "out") + f"{kind}:\n  some: {made}\n")
    change(file, "kind: counts", f"kind: counts, exclude-ids: {kind}/some.csv")
    assert f"{kind}/some.csv" in reproduce.Plan(file).stores["sky"].inputs
    change(file, "some.csv", "some")
    refused(capsys, file, f"exclude-ids: {kind}/some is no file; write {kind}/some.csv")


@pytest.mark.parametrize("name", ["simulated", "kaggle"])
def test_the_campaigns_of_the_repository_are_sound(name, tmp_path, monkeypatch):
    for folder in ("kaggle", "gz2", "stripe82", "exemplars/images", "weights"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("kaggle/training_solutions_rev1.csv", "kaggle/natural_test_ids.csv", "exemplars/labels.csv",
                 "stripe82/image_index.csv", "weights/model.safetensors"):  # fmt: skip
        (tmp_path / file).touch()
    monkeypatch.setenv("DATA", str(tmp_path))
    monkeypatch.setenv("WEIGHTS", str(tmp_path / "weights"))
    plan = reproduce.Plan(ROOT / "configs" / "workflow" / f"{name}.yaml")
    assert len(plan.rows) > 15
