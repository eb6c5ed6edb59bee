"""Does prediction time grow linearly, and does memory stay constant? One row for each number of galaxies.

Each store is predicted into shards by a new process, with a tiny backbone and one view, so that everything
but the backbone has its greatest share. CPU seconds are of one thread, without the imports. Memory is the
peak of the process, with all that it imports; the last columns are the sizes on disk.

    python benchmarks/scaling.py 1000 10000 100000
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from galaxy_sommelier.data.store import write_store
from galaxy_sommelier.images.simulation import simulate
from galaxy_sommelier.models.model import build_model

DIFFERENT, SIDE = 200, 64  # simulated images, which are repeated; their side in pixels
MEASURE = """
import json, re, sys, time
from galaxy_sommelier.models.model import load_model
from galaxy_sommelier.models.shards import predict_shards
model, store, out = sys.argv[1:]
network = load_model(model)
began, clock = time.process_time(), time.perf_counter()
report = predict_shards(store, network, out, tta=False)
took, waited = time.process_time() - began, time.perf_counter() - clock
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
print(json.dumps([report["ok"], took, waited, peak]))
"""


class Repeated:
    """A few images, repeated as if there were many."""

    def __init__(self, images, number):
        self.images, self.number = images, number

    def __len__(self):
        return self.number

    def __getitem__(self, i):
        return self.images[i % len(self.images)]


def megabytes(folder):
    """Return the size of a folder on disk."""
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def measure(number, scratch):
    """Build and predict a store of so many galaxies, and return its row."""
    table, images = simulate(DIFFERENT, size=SIDE)
    table = table.iloc[[i % DIFFERENT for i in range(number)]].reset_index(drop=True)
    table["id_str"] = [f"sim-{i:08d}" for i in range(number)]
    write_store(table, scratch / f"store-{number}", images=Repeated(images, number))
    paths = [scratch / "model", scratch / f"store-{number}", scratch / f"out-{number}"]
    command = [sys.executable, "-c", MEASURE, *map(str, paths)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=one_thread, check=True, capture_output=True, text=True)
    good, took, waited, peak = json.loads(done.stdout)
    assert good == number == len(pd.read_parquet(paths[2], columns=["id_str"]))
    return number, took, 1000 * took / number, waited, peak, *map(megabytes, paths[1:])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = [1000, 10_000, 100_000]
    parser.add_argument("galaxies", nargs="*", type=int, default=sizes, help="numbers (1000 10000 100000)")
    with tempfile.TemporaryDirectory() as scratch:
        build_model("tiny", image_size=32).save_pretrained(Path(scratch) / "model")
        rows = [measure(number, Path(scratch)) for number in tqdm(parser.parse_args().galaxies, "sizes")]
    columns = [
        "galaxies",
        "CPU seconds",
        "CPU seconds per 1000",
        "seconds",
        "peak memory, MiB",
        "store, MB",
        "predictions, MB",
    ]
    print(pd.DataFrame(rows, columns=columns).to_string(index=False, float_format="{:.1f}".format))


if __name__ == "__main__":
    main()
