"""How fast galaxies are painted, decoded and read: one table, as ratios to a yardstick on one core of the same machine.

    OMP_NUM_THREADS=1 python benchmarks/simulate.py
"""

import io
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from galaxy_sommelier.image import decode, encode, resize
from galaxy_sommelier.simulate import render, sample_truth, simulate
from galaxy_sommelier.store import GalaxyDataset, Store, simulated_store

GOAL = 200  # galaxies a second at 128 px


def pace(work, count, repeats=5):
    """The best of some repeats, in items a second; the best is the one that was disturbed least."""
    best = np.inf
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return count / best


def with_pillow(files, size):
    for data in files:
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((size, size), Image.Resampling.BICUBIC))


def with_ours(files, size):
    resize([decode(data) for data in files], size=size)


def main():
    torch.set_num_threads(1)
    truth = sample_truth(160)
    files = [encode(image, quality=90) for image in simulate(40, size=424)[1]]
    pillow = pace(lambda: with_pillow(files, 224), len(files))
    with tempfile.TemporaryDirectory() as folder:
        store = Store(simulated_store(Path(folder) / "store", n=400))
        order = np.random.default_rng(0).permutation(len(store)).tolist()
        data = GalaxyDataset(store, size=128)
        rows = [
            ("render 128 px, galaxies", pace(lambda: render(truth), len(truth)), GOAL, "goal of 200/s"),
            ("decode 424 px JPEG and resize to 224", pace(lambda: with_ours(files, 224), len(files)), pillow, "Pillow, bicubic"),
            ("read at random from a store, 128 px", pace(lambda: data.__getitems__(order), len(order)), 1000, "goal of 1000/s"),
        ]
    table = pd.DataFrame(rows, columns=["on one core", "per second", "yardstick per second", "yardstick"])
    table.insert(3, "ratio", table["per second"] / table["yardstick per second"])
    print(table.round({"per second": 0, "yardstick per second": 0, "ratio": 2}).to_string(index=False))


if __name__ == "__main__":
    main()
