"""Run a campaign, or tell what it would run.

Usage: reproduce.py FILE.yaml [--profile NAME] [--plan]

Everything is checked before the first job starts. The same command goes on after any kill.
"""

import argparse
import csv
import ctypes
import fcntl
import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from attempt import START, last_line
from campaign import TOP, Plan
from cost import gpu_hours
from profiles import find_profile

from galaxy_sommelier.cli.options import echo_table, one_line
from galaxy_sommelier.core.files import BadInput, how_many, read_json, sha256_file, write_json

ERROR = re.compile(r"Error in rule .*:\n    message: (.*)\n(?:    .*\n)*?    output: (\S+)")  # of Snakemake
HELPER = re.compile(r"Error in rule (\w+):\n(?:    .*\n)*?    log: ([^,\s]+)")  # of Snakemake
ENDED = re.compile(r"SLURM status is: '(\w+)'|error message was '(.*)")
LONGER = "longer, `runtime`"
ADVICE = {"TIMEOUT": LONGER, "told to stop": LONGER, "OUT_OF_MEMORY": "larger, `mem_mb`"}
STOPPED = 75  # exit code of a training that was told to stop


def check_folder(plan: Plan) -> None:
    """Refuse a folder of another campaign, and a store that changed after runs were made from it."""
    owner = plan.out / "campaign.json"
    if owner.exists():
        if (theirs := read_json(owner)["campaign"]) != plan.path.stem:
            what = f"belongs to the campaign {theirs!r}"
            raise BadInput(f"{plan.out}: {what}; give another `out` in {plan.path}")
    elif plan.out.exists() and any(plan.out.iterdir()):
        raise BadInput(f"{plan.out}: holds other files and no campaign; give another `out` in {plan.path}")
    plan.out.mkdir(parents=True, exist_ok=True)
    write_json(owner, {"campaign": plan.path.stem})
    for row in plan.stores.values():
        done, store = plan.out / row.folder / "done.json", plan.out / row.folder / "store.json"
        if done.exists() and (not store.exists() or read_json(done)["store"] != sha256_file(store)):
            what = "changed after it was finished" if store.exists() else "is lost"
            again = f"remove {done.parent} to make it again, with all that depends on it"
            raise BadInput(f"{store}: {what}; put it back, or {again}")


def lock(folder: Path) -> int:  # of the campaign -> a handle that holds the lock while it is open
    """Lock a campaign; refuse one that another process has locked."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BadInput(f"{folder}: the campaign is running already; wait for it, or stop it first") from None
    return handle


def die_with_parent() -> None:
    """Let a killed campaign take Snakemake with it, whose lock would refuse the next; jobs go on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def snakemake(plan: Plan, handle: int | None, *words: str, file: Path | None = None) -> subprocess.Popen:
    """Start Snakemake in the campaign's folder, with its output as text; it keeps the lock, too."""
    file = (file or plan.path).resolve()
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(TOP / "workflow" / "Snakefile")]
    command += ["--directory", str(plan.out), "--config", f"campaign={file}", "--nolock"]
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    handles = [] if handle is None else [handle]
    return subprocess.Popen([*command, *words], **both, pass_fds=handles, preexec_fn=die_with_parent)


def pending(plan: Plan) -> pd.DataFrame:
    """Return what would run and why, with GPU hours where they were measured."""
    process = snakemake(plan, None, "--cores", "1", "--quiet", "all", "--detailed-summary")
    text, _ = process.communicate()
    if process.returncode:
        raise BadInput(f"{plan.path}: Snakemake refused: {' '.join(text.split())}")
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("output_file\t"))
    rows, seen = [], set()
    for file in csv.DictReader(lines[start:], delimiter="\t"):
        name, made = name_of(file["output_file"]), file["output_file"].removesuffix("/done.json")
        if file["plan"] == "no update" or (file["rule"], name) in seen:
            continue
        seen.add((file["rule"], name))
        row = plan.rows.get(name) if made.startswith("runs/") and made.count("/") == 1 else None
        record = plan.out / "logs" / f"{name}.json"
        took = read_json(record)["seconds"] / 60 if row and record.exists() else float("nan")
        cost = {"GPU hours": gpu_hours(plan, row) if row else "", "took (min)": took}
        because = "depends on a row above" if file["status"] == "ok" else file["status"]
        rows.append({"makes": made, "because": because} | cost)
    return pd.DataFrame(rows, columns=["makes", "because", "GPU hours", "took (min)"])


def name_of(file: str) -> str:  # e.g. "runs/full-1/model/calibration.json"
    """Return the row that a file belongs to."""
    return file.split("/")[1].partition(".")[0]


def ends(said: str) -> dict[str, str]:  # what Snakemake said -> row -> e.g. "TIMEOUT"
    """Return how Slurm ended the last job of a row, or why it did not take it."""
    found = {}
    for message, file in ERROR.findall(said):
        if end := ENDED.search(message):
            found[name_of(file)] = end[1] or end[2]
    return found


def failures(plan: Plan, ended: dict[str, str], profile: Path | None) -> list[str]:
    """Return a line for each row that is not finished, and has started or was refused by Slurm."""
    lines = []
    for row in plan.rows.values():
        record, end = plan.out / "logs" / f"{row.name}.json", ended.get(row.name, "FAILED")
        begun = record.exists() and read_json(record).get("start") == os.environ.get(START)  # this time
        if (plan.out / row.folder / "done.json").exists() or not (begun or row.name in ended):
            continue
        facts = read_json(record) if begun else {"code": None, "attempts": 0}
        if end == "FAILED" and facts["code"] == STOPPED and profile:
            end = "told to stop"
        notebook = plan.out / row.folder / "notebook.ipynb"
        where = notebook if notebook.exists() else record.with_suffix(".log")
        count = how_many(facts["attempts"], "attempt")
        if end in ADVICE:
            change = f"make its job {ADVICE[end]} of {row.rule} in {profile / 'config.yaml'}"
            lines.append(f"{row.name}: {end} after {count}; {change} ({where})")
        elif end != "FAILED":  # by the row itself
            lines.append(f"{row.name}: {end} after {count}; the same command continues")
        elif not begun:
            jobs = plan.out / ".snakemake" / "slurm_logs"
            lines.append(f"{row.name}: its job ended before the row began ({jobs}/rule_{row.rule})")
        elif facts["code"] is None:
            lines.append(f"{row.name}: was killed; the same command continues ({where})")
        elif facts["code"]:
            lines.append(f"{row.name}: exit code {facts['code']} after {count}: {facts['line']} ({where})")
    return lines


def helpers(plan: Plan, said: str) -> list[str]:
    """Return a line for each failure between the rows: calibrations, cards, leaks, pages of results."""
    logs = {plan.out / log: rule for rule, log in HELPER.findall(said) if rule not in plan.by_rule()}
    return [f"{rule}: {last_line(log)} ({log})" for log, rule in logs.items()]


def run(plan: Plan, handle: int, profile: Path | None) -> int:
    """Run what is missing; print Snakemake's words where no row explains a failure."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    words = ["--workflow-profile", str(profile)] if profile else ["--cores", str(cores)]
    if not profile:  # rows share the allocation that this process may be in
        os.environ.pop("SLURM_CPUS_PER_TASK", None)
    words += ["--keep-going", "--rerun-incomplete", "--quiet", "host", "reason"]
    os.environ[START] = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
    stopped = []
    signal.signal(signal.SIGINT, lambda caught, frame: stopped.append(caught))  # Snakemake ends its jobs
    kept = plan.out / "campaign.yaml"  # read by each job, whatever is edited meanwhile
    kept.write_text(plan.path.read_text())
    process = snakemake(plan, handle, *words, "--report", "report.html", "--report-after-run", file=kept)
    signal.signal(signal.SIGTERM, lambda caught, frame: process.terminate())
    said = []
    for line in process.stdout:
        said.append(line.rstrip())
        if " steps (" in line or line.partition(": ")[0] in plan.rows:
            print(line.rstrip(), flush=True)
    code = process.wait()
    if stopped:
        raise KeyboardInterrupt
    if code:
        log = plan.out / "snakemake.log"
        log.write_text(text := "\n".join(said))
        failed = f"{plan.path}: Snakemake failed: {said[-1] if said else ''} ({log})"
        for line in failures(plan, ends(text), profile) + helpers(plan, text) or [failed]:
            print(f"reproduce: {line}", file=sys.stderr)
    return code


def main(words: list[str] | None = None) -> int:  # None: of the command line
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--profile")
    parser.add_argument("--plan", action="store_true", help="tell what would run, and why")
    given = parser.parse_args(words)
    try:
        plan = Plan(given.file)
        profile = find_profile(given.profile, plan) if given.profile else None
        check_folder(plan)
        if given.plan:
            table = pending(plan)
            print(f"{plan.out}: {how_many(len(table), 'job')} of {given.file}")
            if len(table):
                echo_table(table)
            return 0
        code = run(plan, lock(plan.out), profile)
    except (BadInput, OSError) as error:
        print(f"reproduce: {one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nreproduce: stopped; the same command goes on", file=sys.stderr)
        return 130
    print(f"next: sommelier runs {plan.out}")
    if code == 0 and (report := plan.out / "report.html").exists():
        print(f"report: {report}")
    return code


if __name__ == "__main__":
    sys.exit(main())
