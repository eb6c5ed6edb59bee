"""Benchmarks whose work can be made small run and print their tables; speed itself is not tested."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("name", "words", "row"),
    [
        (
            "throughput",
            ["--backbone", "small", "--images", "2", "--size", "28", "--repeats", "1"],
            "predict / backbone alone",
        ),
        ("scaling", ["60"], "60"),
        ("surveys", ["2000"], "of them right"),
        ("leaks", ["80"], "recall"),
        ("start", ["--repeats", "1"], "sommelier --help"),
    ],
)
def test_a_benchmark_prints_its_table(name, words, row):
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and row in done.stdout, done.stderr[-2000:]
