"""Run a row's command in its folder: go on from where it stopped, or begin anew if it is another run.

Usage: attempt.py --folder FOLDER --attempt N [--input FILE...] -- COMMAND
"""

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from galaxy_sommelier.core.files import BadInput, read_json, sha256_file, sha256_of, write_json
from galaxy_sommelier.core.runs import status
from galaxy_sommelier.training.settings import FREE

RESULTS = ("tta", "save_precision")  # settings that a finished run may change, and its results with them
START = "GALAXY_SOMMELIER_START"  # set by reproduce.py: another one at each start of a campaign
GOES_ON = {75, 130, 137, 138, 143}  # told to stop with a checkpoint, Ctrl-C, SIGKILL, SIGUSR1, SIGTERM


def content_of(path: str) -> str:
    """Return a checksum of a file; of a notebook its code counts, not its text or what it has printed."""
    if not path.endswith(".ipynb"):
        return sha256_file(path)
    cells = read_json(path)["cells"]
    return sha256_of(json.dumps([cell["source"] for cell in cells if cell["cell_type"] == "code"]))


def key_of(command: list[str], inputs: list[str]) -> str:
    """Return what a run is: its command, and the contents of the files that it depends on.

    Settings of a training that change no result are no part of it, nor is the number of processes.
    """
    passing = [["-p", name] for name in FREE if name not in RESULTS] if command[1] == "train" else []
    free = [i for i in range(len(command)) if command[i : i + 2] in passing]
    places = {i + more for i in free for more in range(3)}
    places |= {i + more for i, word in enumerate(command) if word == "--processes" for more in range(2)}
    words = [word for i, word in enumerate(command) if i not in places]
    found = {Path(path).name if path.endswith(".ipynb") else path: content_of(path) for path in inputs}
    return sha256_of(json.dumps([words, found]))[:16]


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")


def set_aside(folder: Path, now: datetime) -> None:
    """Move what another run has left, so that nothing of it gets into this one."""
    parts = [folder, folder.with_name(f".unfinished-{folder.name}")]  # the second is of `sommelier prepare`
    kept = Path("replaced", f"{folder.name}-{now:%Y%m%d-%H%M%S}")
    for path in parts:
        if path.exists() and any(path.iterdir()):
            kept.parent.mkdir(exist_ok=True)
            path.rename(kept if path == folder else kept.with_name(f"{kept.name}-unfinished"))


def is_whole(folder: Path) -> bool:
    """Return whether a folder still holds what a finished command has left in it."""
    return (folder / "store.json").exists() or (folder.is_dir() and status(folder) == "done")


def results_of(folder: Path) -> str:
    """Return a checksum of what a run has found; how long it took is no part of it."""
    metrics, weights = folder / "metrics.json", folder / "model" / "model.safetensors"
    try:
        found = {name: value for name, value in read_json(metrics).items() if name != "seconds"}
    except BadInput:  # none, or of another form
        found = sha256_file(metrics) if metrics.exists() else ""
    return sha256_of(json.dumps([found, sha256_file(weights) if weights.exists() else ""]))[:16]


def finish(folder: Path, key: str) -> int:
    """Leave `done.json` in the folder, the mark for Snakemake: what was made, and a checksum of it."""
    store = folder / "store.json"
    made = {"store": sha256_file(store)} if store.exists() else {"results": results_of(folder)}
    write_json(folder / "done.json", {"key": key} | made)
    return 0


def attempt(folder: Path, number: int, inputs: list[str], command: list[str], lock: int) -> int:
    """Run the command, or find that it has been run."""
    key, now = key_of(command, inputs), datetime.now(UTC)
    log, record = Path("logs", f"{folder.name}.log"), Path("logs", f"{folder.name}.json")
    before = read_json(record) if record.exists() else {}
    packed = (folder / "store.json").exists() and "--class-folders" not in command  # its last step
    if before.get("key") == key and (before["code"] == 0 or packed) and is_whole(folder):
        return finish(folder, key)
    if before.get("key") != key:
        set_aside(folder, now)
        log.unlink(missing_ok=True)
        before = {}
    start = os.environ.get(START, "")
    if number > 1 and before.get("start") == start and before.get("code") not in (None, *GOES_ON):
        return before["code"]  # it would fail again in the same way
    facts = {"key": key, "command": command, "start": start, "started": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
    facts |= {"code": None, "attempts": before.get("attempts", 0) + 1, "seconds": before.get("seconds", 0)}
    write_json(record, facts)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # a warning of Slurm: only a training reacts to it
    if cores := os.environ.get("SLURM_CPUS_PER_TASK"):  # Snakemake has set the threads of a row without Slurm
        os.environ |= {"OMP_NUM_THREADS": cores, "MKL_NUM_THREADS": cores}
    with open(log, "a") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, pass_fds=[lock])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command, too
        signal.signal(signal.SIGTERM, lambda caught, frame: process.send_signal(caught))
        code = process.wait()
    code = 128 - code if code < 0 else code
    facts["seconds"] = round(facts["seconds"] + (datetime.now(UTC) - now).total_seconds(), 1)
    write_json(record, facts | {"code": code, "line": last_line(log)})
    return code or finish(folder, key)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--attempt", type=int, required=True)
    parser.add_argument("--input", nargs="*", default=[])
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    name, logs = given.folder.name, Path("logs")
    logs.mkdir(exist_ok=True)
    lock = os.open(logs / f"{name}.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits for a process that outlived its workflow
    except OSError as error:
        what = f"files cannot be locked here ({error.strerror}); put `out` elsewhere, as on scratch"
        print(f"{name}: {logs.resolve()}: {what}", file=sys.stderr)
        return 2
    try:
        code = attempt(given.folder, given.attempt, given.input, given.command, lock)
    except BadInput as error:  # as of a full disk, on which not even the record can be written
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    if code:
        print(f"{name}: exit code {code}: {last_line(logs / f'{name}.log')}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
