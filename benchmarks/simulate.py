"""Speed of painting galaxies (all cores), decoding and reading them (one core), as ratios to a yardstick.

OMP_NUM_THREADS=1 python benchmarks/simulate.py
"""

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import simplejpeg
import torch
from PIL import Image

from galaxy_sommelier.data.dataset import GalaxyDataset
from galaxy_sommelier.data.store import Store, simulated_store
from galaxy_sommelier.images.painting import sample_truth
from galaxy_sommelier.images.pixels import decode, resize
from galaxy_sommelier.images.simulation import render, simulate

GOAL = 200  # galaxies per second at 128 px


def paces(works, count, clock=time.process_time, repeats=7):
    """Return items per second of each side, in turns; the best of some repeats is the least disturbed."""
    best = np.full(len(works), np.inf)
    for _ in range(repeats):
        for i, work in enumerate(works):
            began = clock()
            work()
            best[i] = min(best[i], clock() - began)
    return count / best


def with_pillow(files, size):
    for data in files:
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize((size, size), Image.Resampling.BICUBIC))


def with_ours(files, size):
    resize([decode(data) for data in files], size=size)


def main():
    torch.set_num_threads(1)
    truth = sample_truth(160)
    images = simulate(40, size=424)[1]
    # encoded as image servers do
    files = [simplejpeg.encode_jpeg(image, quality=90, colorsubsampling="420") for image in images]
    pillow, ours = paces([lambda: with_pillow(files, 224), lambda: with_ours(files, 224)], len(files))
    painted = paces([lambda: render(truth)], len(truth), clock=time.perf_counter)[0]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(simulated_store(Path(folder) / "store", n=400))
        order = np.random.default_rng(0).permutation(len(store)).tolist()
        data = GalaxyDataset(store, size=128)
        read = paces([lambda: data.__getitems__(order)], len(order))[0]
        rows = [
            ("render galaxies at 128 px, all cores", painted, GOAL, "goal"),
            ("decode 424 px JPEG, resize to 224, one core", ours, pillow, "Pillow, bicubic"),
            ("read 128 px from a store at random, one core", read, 1000, "goal"),
        ]
    table = pd.DataFrame(rows, columns=["what", "per second", "yardstick per second", "yardstick"])
    table.insert(3, "ratio", table["per second"] / table["yardstick per second"])
    print(table.round({"per second": 0, "yardstick per second": 0, "ratio": 2}).to_string(index=False))


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    main()
