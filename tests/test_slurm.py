"""Jobs on a real Slurm: done, failed, cancelled, warned, requeued, refused, lost, in parts, on two nodes."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest
from click.testing import CliRunner
from test_workflow import WAITS

from galaxy_sommelier.cli.main import main
from galaxy_sommelier.core import slurm
from galaxy_sommelier.core.files import read_json, sha256_file
from galaxy_sommelier.core.runs import run_experiment, status
from galaxy_sommelier.data.store import simulated_store

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=cred_expire=5,socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MinJobAge=3600
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1
NodeName={host} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4
EnforcePartLimits=ALL
PartitionName=main Nodes=ALL Default=YES State=UP
PartitionName=paid Nodes=ALL AllowAccounts=astro State=UP
"""


def wait_for(happened, seconds=120):
    """Return the first true value of `happened()`; fail at the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.1)
    return found


def answer(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.split() if done.returncode == 0 else []


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def daemons(folder, host):
    """Return the commands of a Slurm of two nodes on this machine."""
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    (folder / "state").mkdir()
    (folder / "slurm.conf").write_text(CONF.format(folder=folder, host=host, ports=free_ports(3)))
    files = [
        f"--{name}={folder}/munge.{name.split('-')[0]}"
        for name in ("key-file", "socket", "pid-file", "seed-file", "log-file")
    ]
    nodes = [["slurmd", "-D", "-N", name] for name in (host, "localhost")]
    return [["munged", "--foreground", "--force", *files], ["slurmctld", "-D"], *nodes]


def all_idle():
    return set(answer("sinfo", "--noheader", "--Node", "--partition=main", "--format=%T")) == {"idle"}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """The running Slurm, else one that is started here and stopped after the tests: node -> its slurmd."""
    if shutil.which("sinfo") and answer("sinfo", "--noheader"):
        yield {}
        return
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        complain = pytest.fail if os.environ.get("GALAXY_SOMMELIER_REQUIRE_REAL") == "1" else pytest.skip
        lacking = missing or "root"
        complain(f"needs a running Slurm, or root, slurm-wlm and munge to start one (missing: {lacking})")
    folder, host = Path(tempfile.mkdtemp(prefix="slurm-")), socket.gethostname().split(".")[0]
    processes, nodes = [], {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        try:
            for command in daemons(folder, host):
                with open(folder / f"{command[0]}.out", "a") as log:
                    processes.append(subprocess.Popen(command, stdout=log, stderr=log))
                if command[0] == "munged":
                    wait_for((folder / "munge.socket").exists, 20)
            wait_for(all_idle, 60)
            nodes |= zip((host, "localhost"), processes[2:], strict=True)
            yield nodes
        finally:
            subprocess.run(["scancel", "--user=root"])
            wait_for(lambda: not answer("squeue", "--noheader"), 60)
            for process in [*nodes.values(), *reversed(processes)]:
                process.terminate()
                process.wait(30)
            shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def path(monkeypatch):
    """Let jobs find the `sommelier` of this environment."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def sommelier(*words):
    done = CliRunner().invoke(main, [str(word) for word in words], prog_name="sommelier")
    return done.exit_code, done.output


def submitted(*words) -> str:
    """Return the number of the job that `sommelier` submitted."""
    code, output = sommelier(*words)
    assert code == 0, output
    return output.split()[1].rstrip(":")


def states(job):
    return answer("squeue", "--states=all", "--array", "--noheader", "--format=%T", f"--jobs={job}")


def wait_end(job, seconds=120):
    """Wait for a job and return how it ended."""
    ends = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
    return wait_for(lambda: (found := states(job)) and set(found) <= ends and found, seconds)


def attempts(run):
    return pd.read_csv(run / "attempts.csv", names=["time", "event", "node"]).event.tolist()


def experiment(path, parameters, work):
    """An experiment of two cells."""
    code = nbformat.v4.new_code_cell
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [
        code(f'{parameters}\nout: str = ""  # run folder', metadata={"tags": ["parameters"]}),
        code(work),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    return path


@pytest.fixture
def nap(tmp_path):
    """An experiment that sleeps the first time, or fails."""
    return experiment(
        tmp_path / "nap.ipynb",
        "seconds: float = 0.0  # to sleep the first time (s)\nfail: bool = False  # at the end",
        """\
import time
from pathlib import Path
again = Path(out, "metrics.json").exists()
Path(out, "metrics.json").write_text('{"mean_r": 0.5}')
time.sleep(0 if again else seconds)
assert not fail""",
    )


def test_a_job_is_done_and_runs_shows_it(nap, tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    monkeypatch.setenv("GALAXY_SOMMELIER_DATA", str(tmp_path))
    job = submitted(
        "run", nap, "--slurm", "local", "-s", "cpus", "1", "-p", "seconds", "1e-3", "--out", runs / "nap-1"
    )
    assert wait_end(job) == ["COMPLETED"]
    assert status(runs / "nap-1") == "done" and read_json(runs / "nap-1" / "config.json")["seconds"] == 0.001
    assert read_json(runs / "nap-1" / "slurm.json")["job"] == job and (runs / "nap-1" / "job.sh").exists()
    table = sommelier("runs")[1]
    assert job in table and "COMPLETED" in table and "done" in table and "0.5" in table
    row = slurm.list_jobs().iloc[0]
    monkeypatch.setattr(slurm, "squeue", dict)  # Slurm has forgotten
    left = slurm.list_jobs().iloc[0]
    assert left.state == "COMPLETED" and left.node == row.node and left.elapsed.startswith("0:")


def test_a_failing_cell_ends_the_job(nap, tmp_path):
    run = tmp_path / "one"
    assert wait_end(
        submitted("run", nap, "--slurm", "local", "-s", "cpus", "1", "-p", "fail", "true", "--out", run)
    ) == ["FAILED"]
    assert (
        attempts(run) == ["started", "ended 1"]
        and status(run) == "failed"
        and "AssertionError" in (run / "slurm.log").read_text()
    )


def test_a_cancelled_job_is_unfinished_and_can_be_submitted_again(nap, tmp_path):
    run = tmp_path / "one"
    words = ("run", nap, "--slurm", "local", "-s", "cpus", "1", "-p", "seconds", "300", "--out", run)
    job = submitted(*words)
    wait_for((run / "metrics.json").exists)
    code, output = sommelier(*words)
    assert code == 2 and f"job {job} is still at work" in output
    subprocess.run(["scancel", job], check=True)
    assert wait_end(job) == ["CANCELLED"] and status(run) == "unfinished" and attempts(run) == ["started"]
    assert wait_end(submitted(*words)) == ["COMPLETED"] and status(run) == "done"


def test_a_job_that_ignores_the_signal_is_requeued_when_the_warning_is_nearly_over(nap, tmp_path):
    run = tmp_path / "one"
    job = submitted(
        "run", nap, "--slurm", "local", "-s", "cpus", "1", "-s", "warning", "10", "-p", "seconds", "300",
        "--out", run
    )
    wait_for((run / "metrics.json").exists)
    subprocess.run(["scancel", "--signal=USR1", "--batch", job], check=True)
    assert wait_end(job) == ["COMPLETED"] and status(run) == "done"
    assert attempts(run) == ["started", "cut off", "started", "ended 0"]


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A training that waits for the signal after its eighth step, within an epoch; and an undisturbed run."""
    folder = tmp_path_factory.mktemp("training")
    store = simulated_store(folder / "sky", n=120, size=48)
    notebook = experiment(
        folder / "train.ipynb",
        'store: str = ""  # galaxies\nwaits: bool = True  # the first time',
        """\
import os
import time
from pathlib import Path
from galaxy_sommelier.training import checkpoints
from galaxy_sommelier.training.settings import make_settings
from galaxy_sommelier.training.stages import train
class Waiting(checkpoints.StopOnSignal):
    def on_step_end(self, args, state, control, **kwargs):
        if waits and state.global_step == 8 and not Path(out, "waits").exists():
            Path(out, "waits").touch()
            while not self.signalled:
                time.sleep(0.01)
        super().on_step_end(args, state, control, **kwargs)
checkpoints.StopOnSignal = Waiting
settings = make_settings(stage="full", image_size=32, crop=1.0, epochs=3, batch_size=16, seed=3)
train(store, Path(out, "full"), settings)""",
    )
    undisturbed = run_experiment(
        str(notebook), {"store": str(store), "waits": False}, out=folder / "undisturbed", progress=False
    )
    return notebook, store, undisturbed


def same(run, undisturbed):
    """Return whether two runs ended with the same bytes."""
    names = ("model/model.safetensors", "predictions.parquet", "history.csv")
    return [sha256_file(run / "full" / name) for name in names] == [
        sha256_file(undisturbed / "full" / name) for name in names
    ]


def test_a_warned_training_saves_a_checkpoint_and_the_requeued_job_continues(training, tmp_path):
    notebook, store, undisturbed = training
    run = tmp_path / "one"
    job = submitted(
        "run", notebook, "--slurm", "local", "-s", "cpus", "1", "-p", "store", store, "--out", run
    )
    wait_for((run / "waits").exists)
    subprocess.run(["scancel", "--signal=USR1", "--batch", job], check=True)
    wait_for(lambda: "ended 75" in attempts(run))
    assert (run / "full/checkpoints/checkpoint-8/complete.json").exists() and status(run) == "unfinished"
    assert wait_end(job) == ["COMPLETED"] and attempts(run) == ["started", "ended 75", "started", "ended 0"]
    assert same(run, undisturbed)


def test_at_its_time_limit_a_job_is_requeued_and_continues(training, tmp_path):
    notebook, store, undisturbed = training
    run = tmp_path / "one"
    limits = ("-s", "cpus", "1", "-s", "time", "00:01:00", "-s", "warning", "10")
    job = submitted("run", notebook, "--slurm", "local", *limits, "-p", "store", store, "--out", run)
    assert wait_end(job, 240) == ["COMPLETED"] and attempts(run).count("started") > 1
    assert same(run, undisturbed)


def test_a_command_can_be_a_job(tmp_path, monkeypatch):
    monkeypatch.setenv("GALAXY_SOMMELIER_DATA", str(tmp_path))
    job = submitted("submit", "-s", "cpus", "1", "local", "runs")
    [folder] = (tmp_path / "runs").iterdir()
    assert wait_end(job) == ["COMPLETED"] and job in (folder / "slurm.log").read_text()
    code, output = sommelier("submit", "local", "runs", "--al")
    assert code == 2 and "No such option" in output and [folder] == list((tmp_path / "runs").iterdir())


WORKER = """\
import sys, time
from pathlib import Path
folder, part = Path(sys.argv[1]), sys.argv[sys.argv.index("--part") + 1].split("/")[0]
(folder / f"started-{part}").touch()
while part == "1" and not (folder / "go").exists():
    time.sleep(0.05)
(folder / f"part-{part}").write_text(part)
"""


def test_a_killed_part_of_an_array_is_done_when_the_array_is_submitted_again(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    command, profile = (
        [sys.executable, str(tmp_path / "worker.py"), str(tmp_path)],
        slurm.load_profile("local", {"cpus": "1"}),
    )
    folders = [tmp_path / "array-1", tmp_path / "array-2"]
    folders[0].mkdir()
    job = slurm.submit(command, profile, folders[0], parts=3)
    wait_for(
        lambda: (
            (tmp_path / "started-1").exists()
            and (tmp_path / "part-0").exists()
            and (tmp_path / "part-2").exists()
        )
    )
    subprocess.run(["scancel", f"{job}_1"], check=True)
    assert (
        sorted(wait_end(job)) == ["CANCELLED", "COMPLETED", "COMPLETED"]
        and not (tmp_path / "part-1").exists()
    )
    assert slurm.list_jobs(tmp_path).state[0] in ("CANCELLED 1, COMPLETED 2", "COMPLETED 2, CANCELLED 1")
    (tmp_path / "go").touch()
    folders[1].mkdir()
    assert set(wait_end(slurm.submit(command, profile, folders[1], parts=3))) == {"COMPLETED"}
    assert [(tmp_path / f"part-{part}").read_text() for part in range(3)] == ["0", "1", "2"]
    assert sorted(path.name for path in folders[1].glob("slurm-*.log")) == [
        "slurm-0.log",
        "slurm-1.log",
        "slurm-2.log",
    ]


REDUCE = """\
import os, sys
from pathlib import Path
import torch
torch.distributed.init_process_group("gloo")
ranks = torch.ones(1)
torch.distributed.all_reduce(ranks)
Path(sys.argv[1], f"{os.environ['SLURMD_NODENAME']}.txt").write_text(str(int(ranks)))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""
LAUNCH = """\
import subprocess, sys
from galaxy_sommelier.training.distributed import torchrun_command
sys.exit(subprocess.run([*torchrun_command(1), sys.executable, *sys.argv[1:]]).returncode)
"""


def test_the_processes_of_two_nodes_find_each_other(tmp_path):
    if len(set(answer("sinfo", "--noheader", "--Node", "--format=%N"))) < 2:
        pytest.skip("this Slurm has one node")
    (tmp_path / "reduce.py").write_text(REDUCE)
    (tmp_path / "launch.py").write_text(LAUNCH)
    command = [sys.executable, str(tmp_path / "launch.py"), str(tmp_path / "reduce.py"), str(tmp_path)]
    (tmp_path / "two-1").mkdir()
    job = slurm.submit(command, slurm.load_profile("local", {"cpus": "1", "nodes": "2"}), tmp_path / "two-1")
    assert wait_end(job) == ["COMPLETED"], (tmp_path / "two-1" / "slurm.log").read_text()
    assert [path.read_text() for path in tmp_path.glob("*.txt")] == ["2", "2"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("-p", "second", "1"), "did you mean 'seconds'"),
        (("-p", "seconds", "long"), "takes a number"),
        (("-s", "acount", "m1"), "did you mean 'account'"),
        (("-s", "warning", "9"), "9 s is too short"),
        (("-s", "time", "1:30"), "60 s is more than half of the time limit, 90 s"),
        (("-s", "partition", "nowhere"), "sbatch refused"),
        (("-s", "time", "soon"), "sbatch refused"),
    ],
)
def test_nothing_is_submitted_before_everything_is_checked(nap, tmp_path, words, complaint):
    before = answer("squeue", "--noheader", "--states=all")
    code, output = sommelier("run", nap, "--slurm", "local", *words, "--out", tmp_path / "one")
    assert code == 2 and complaint in output and len(output.splitlines()) == 1
    assert not (tmp_path / "one").exists() and answer("squeue", "--noheader", "--states=all") == before


def test_a_refused_job_leaves_the_run_that_it_would_have_continued(nap, tmp_path):
    """The folder may also come as a parameter."""
    (run := tmp_path / "one").mkdir()
    words = ("run", nap, "--slurm", "local", "-p", "out", run)
    code, output = sommelier(*words, "-s", "partition", "nowhere")
    assert code == 2 and "sbatch refused" in output and not run.exists()
    code, output = sommelier("run", nap, "-p", "seconds", "0", "-p", "out", run)
    assert code == 0, output
    code, output = sommelier(*words, "-p", "seconds", "0", "-s", "partition", "nowhere")
    assert code == 2 and "sbatch refused" in output and (run / "notebook.ipynb").exists()


def test_without_sbatch_nothing_is_left_behind(nap, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, output = sommelier("run", nap, "--slurm", "local", "--out", tmp_path / "one")
    assert (
        code == 2
        and "there is no Slurm here" in output
        and len(output.splitlines()) == 1
        and not (tmp_path / "one").exists()
    )


def test_an_unreachable_slurm_is_not_taken_for_one_without_jobs(nap, tmp_path, monkeypatch):
    monkeypatch.setenv("GALAXY_SOMMELIER_DATA", str(tmp_path))
    words = (
        "run", nap, "--slurm", "local", "-s", "cpus", "1", "-p", "seconds", "300",
        "--out", tmp_path / "runs" / "nap-1"
    )
    job = submitted(*words)
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    squeue.write_text("#!/bin/sh\necho Socket timed out >&2; exit 1\n")
    squeue.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{squeue.parent}:{os.environ['PATH']}")
        code, output = sommelier(*words)
        table = sommelier("runs")[1]
    assert code == 2 and "squeue refused: Socket timed out" in output and len(output.splitlines()) == 1
    assert job in table and "unknown" in table and "KILLED" not in table
    subprocess.run(["scancel", job], check=True)
    assert wait_end(job) == ["CANCELLED"]


def test_a_job_that_may_exist_keeps_its_folder(nap, tmp_path, monkeypatch):
    run = subprocess.run

    def slow(command, **options):
        if "--parsable" in command:
            raise subprocess.TimeoutExpired(command, 60)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", slow)
    code, output = sommelier("run", nap, "--slurm", "local", "--out", tmp_path / "one")
    assert (
        code == 2
        and "did not answer within 60 s; look for the job with `squeue --me`" in output
        and len(output.splitlines()) == 1
    )
    assert (tmp_path / "one" / "job.sh").exists() and not (tmp_path / "one" / "slurm.json").exists()


PROFILE = """\
executor: slurm
jobs: 4
latency-wait: 60
precommand: "trap '' USR1"
slurm-no-account: true
slurm-no-requeue: true
slurm-init-seconds-before-status-checks: 1
slurm-status-command: squeue
default-resources:
  cpus_per_task: 1
  mem_mb: 0
  runtime: 10
  slurm_extra: "'--signal=USR1@60'"
"""


@pytest.fixture
def campaign(tmp_path, monkeypatch):
    """Start a campaign, each row a job: its process; resources stand in the profile."""
    (tmp_path / "profile").mkdir()
    if conf := os.environ.get("SLURM_CONF"):  # of the Slurm started here; the plugin hides it from srun
        srun = tmp_path / "bin" / "srun"
        srun.parent.mkdir()
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={conf} exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        monkeypatch.setenv("PATH", f"{srun.parent}:{os.environ['PATH']}")
    script = Path(__file__).resolve().parents[1] / "workflow" / "scripts" / "reproduce.py"
    command = [sys.executable, script, tmp_path / "some.yaml", "--profile", tmp_path / "profile"]
    processes = []

    def start(head="", resources="", **rows):
        experiments = "".join(f"  {name}: {row}\n" for name, row in rows.items())
        (tmp_path / "some.yaml").write_text(f"out: {tmp_path}/out\n{head}experiments:\n{experiments}")
        (tmp_path / "profile" / "config.yaml").write_text(PROFILE + resources)
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        processes.append(subprocess.Popen(command, start_new_session=True, **both))
        return processes[-1]

    yield start
    for process in processes:
        process.terminate()
        process.communicate()
    for process in psutil.process_iter(["cwd"]):  # Snakemake of a requeued job; only cgroups would end it
        if process.info["cwd"] == str(tmp_path / "out"):
            process.kill()


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "out" / "runs"


def record(run):
    return read_json(run.parents[1] / "logs" / f"{run.name}.json")


def running(file, process):
    """Wait for what a row leaves while it runs; return its job."""
    wait_for(lambda: file.exists() or process.poll() is not None, 400)
    [job] = answer("squeue", "--noheader", "--states=running", "--format=%A")
    return job


def ended(process, code=0):
    """Wait for the end of a campaign and return what it said."""
    said, _ = process.communicate(timeout=400)
    assert process.returncode == code, said
    return said


@pytest.mark.parametrize(("how", "jobs"), [("scancel", 2), ("scontrol requeue", 1)])
def test_a_cancelled_or_requeued_job_of_a_campaign_is_started_again(campaign, nap, runs, how, jobs):
    process = campaign(one=f"{{experiment: {nap}, seconds: 300.0}}")
    job = running(runs / "one" / "metrics.json", process)
    subprocess.run(["scontrol", "update", f"job={job}", "requeue=1"], check=True)
    subprocess.run([*how.split(), job], check=True)
    ended(process)
    assert status(runs / "one") == "done" and record(runs / "one")["attempts"] == 2
    assert states(job) == [{2: "CANCELLED", 1: "COMPLETED"}[jobs]]


def like(run, undisturbed):
    """Check that a row ended like a run that has another number of threads."""
    histories = [pd.read_csv(each / "full" / "history.csv") for each in (run, undisturbed)]
    pd.testing.assert_frame_equal(*histories, rtol=1e-4)


def test_a_warned_training_of_a_campaign_goes_on_from_its_checkpoint(campaign, training, runs):
    notebook, store, undisturbed = training
    process = campaign(one=f"{{experiment: {notebook}, store: {store}}}")
    job = running(runs / "one" / "waits", process)
    subprocess.run(["scancel", "--signal=USR1", job], check=True)
    wait_for(lambda: record(runs / "one")["code"] == 75)
    ended(process)
    assert record(runs / "one")["attempts"] == 2 and states(job) == ["FAILED"]  # the next has its own time
    like(runs / "one", undisturbed)


def lose(node, slurmd, job):
    """Let a node die at once, with all that runs there, and Slurm notice it."""
    lines = subprocess.check_output(["scontrol", "listpids", job, node], text=True).splitlines()[1:]
    tasks = {line.split()[0] for line in lines} - {"-1"}
    steps = set(answer("ps", "-o", "ppid=", "--pid", ",".join(tasks))) - tasks - {"1"}
    subprocess.run(["kill", "-KILL", f"{slurmd.pid}", *steps, *tasks])
    slurmd.wait()
    subprocess.run(["scontrol", "update", f"node={node}", "state=down", "reason=lost"], check=True)


def test_a_row_whose_node_is_lost_runs_again_on_the_other(cluster, campaign, training, runs):
    if not cluster:
        pytest.skip("no node of this Slurm may be lost")
    notebook, store, undisturbed = training
    process = campaign(one=f"{{experiment: {notebook}, store: {store}}}")
    job = running(runs / "one" / "waits", process)
    [node] = answer("squeue", "--noheader", "--format=%N", f"--jobs={job}")
    lose(node, cluster[node], job)
    try:
        ended(process)
    finally:
        with open(os.devnull, "w") as log:
            cluster[node] = subprocess.Popen(["slurmd", "-D", "-N", node], stdout=log, stderr=log)
        wait_for(lambda: not answer("scontrol", "update", f"node={node}", "state=resume") and all_idle())
    assert states(job) == ["NODE_FAIL"] and record(runs / "one")["attempts"] == 2
    like(runs / "one", undisturbed)


def test_an_account_that_slurm_refuses_is_one_line_and_leaves_nothing(cluster, campaign, nap, runs):
    if not cluster:
        pytest.skip("needs a partition for one account")
    wrong = "set-resources:\n  run_two:\n    slurm_partition: paid\n    slurm_account: "
    rows = {"one": f"{{experiment: {nap}}}", "two": f"{{experiment: {nap}}}"}
    said = ended(campaign(resources=f"{wrong}nobody", **rows), 2)
    assert "config.yaml: run_two (--partition=paid --account=nobody --cpus-per-task=1 --time=10)" in said
    assert "Invalid account or account/partition" in said and "change it there" in said
    assert len(said.splitlines()) == 1 and not runs.parent.exists()
    assert not answer("squeue", "--noheader", "--states=pending")


def test_a_time_limit_that_is_too_short_is_named_and_other_rows_are_finished(
    cluster, campaign, nap, runs, tmp_path
):
    if not cluster:
        pytest.skip("only an operator may end the time of a job")
    waits = experiment(tmp_path / "waits.ipynb", "number: int = 1", WAITS)
    process = campaign("attempts: 1\n", one=f"{{experiment: {waits}}}", two=f"{{experiment: {nap}}}")
    wait_for(lambda: (runs / "one" / "started").exists() or process.poll() is not None, 400)
    jobs = (line.split("|") for line in answer("squeue", "--noheader", "--format=%A|%k"))
    [job] = [job for job, comment in jobs if "run_one" in comment]
    subprocess.run(["scontrol", "update", f"job={job}", "timelimit=1"], check=True)
    said = ended(process, 1)
    [line] = [line for line in said.splitlines() if line.startswith("reproduce: ")]
    assert "one: TIMEOUT after 1 attempt; make its job longer, `runtime` of run_one in " in line
    assert status(runs / "two") == "done" and states(job) == ["TIMEOUT"]


def test_a_row_that_outlives_its_killed_campaign_is_not_run_twice(campaign, tmp_path, runs):
    row = f"{{experiment: {experiment(tmp_path / 'waits.ipynb', 'number: int = 1', WAITS)}}}"
    process = campaign(one=row)
    job = running(runs / "one" / "started", process)
    process.kill()
    again = campaign(one=row)
    wait_for(lambda: len(answer("squeue", "--noheader", "--states=running", "--format=%A")) == 2, 400)
    (runs / "one" / "go").touch()
    ended(again)
    assert states(job) == ["COMPLETED"] and record(runs / "one")["attempts"] == 1
