"""Benchmarks whose work can be made small run and print their tables; speed itself is not tested."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from galaxy_sommelier.data.store import simulated_store
from galaxy_sommelier.models.model import build_model

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
        ("additions", ["--galaxies", "60", "--turns", "1"], "ood_score of 60 galaxies"),
    ],
)
def test_a_benchmark_prints_its_table(name, words, row):
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and row in done.stdout, done.stderr[-2000:]


def test_the_gpu_benchmark_is_rehearsed(tmp_path):
    store, packed, out = simulated_store(tmp_path / "sky", 60, size=64), tmp_path / "packed", tmp_path / "out"
    build_model("tiny").backbone.save_pretrained(tmp_path / "tiny")

    def run(*words):
        command = [sys.executable, FOLDER / "gpu.py", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]

    run("pack", store, tmp_path / "tiny", packed, "--size", "32")
    assert sum(file.stat().st_size for file in packed.rglob("*") if file.is_file()) < 64e6
    run("run", packed, "--out", out, "--sizes", "32", "--batch", "8", "--minutes", "0")
    found = json.loads(out.read_text())
    assert [row["backbone"] for row in found["speeds"]] == ["backbone", "base"]
    assert min(found["bf16 TFLOP/s"], *(row["predict"] for row in found["speeds"])) > 0
    assert found["recipe"]["n"] > 0
