"""Find 10,000 copies that were cropped, resized and compressed again: time, recall and false pairs.

python benchmarks/leaks.py [N]
"""

import argparse
import io
import time

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from galaxy_sommelier.data.leaks import check_leaks
from galaxy_sommelier.images.pixels import encode
from galaxy_sommelier.images.simulation import simulate

GOAL = 120  # seconds on two cores


def views(pixels):
    """Return four rotations and their mirror images, which count as eight different images."""
    return [np.rot90(side, k) for side in (pixels, pixels[:, ::-1]) for k in range(4)]


def copied(pixels, rng):
    """Return a copy with 3 to 5 % cut off, 0.9 to 1.1 times the size, quality 60."""
    side = round(len(pixels) * rng.uniform(0.95, 0.97))
    top, left = rng.integers(0, len(pixels) - side + 1, 2)
    size = round(len(pixels) * rng.uniform(0.9, 1.1))
    part = Image.fromarray(pixels[top : top + side, left : left + side])
    part.resize((size, size), Image.Resampling.BICUBIC).save(buffer := io.BytesIO(), "JPEG", quality=60)
    return buffer.getvalue()


def main(n):
    rng, ours, copies = np.random.default_rng(0), [], []
    for seed in tqdm(range(-(-n // 400)), "simulate"):
        for pixels in simulate(50, size=424, seed=seed)[1]:
            for view in views(pixels):
                ours.append(encode(view))
                copies.append(copied(view, rng))
    table = pd.DataFrame({"id_str": [f"sim-{i}" for i in range(n)], "ra": np.nan, "dec": np.nan})
    began = time.perf_counter()
    found = check_leaks(table.assign(jpeg=copies[:n]), table.assign(jpeg=ours[:n]))
    seconds, recall = time.perf_counter() - began, (found.id_a == found.id_b).sum() / n
    # by galaxy: its eight views may be alike
    a, b = (found[name].str.removeprefix("sim-").astype(int) // 8 for name in ("id_a", "id_b"))
    rows = [
        ("seconds", seconds, GOAL, seconds / GOAL),
        ("recall", recall, 0.99, recall / 0.99),
        ("pairs of different galaxies", (a != b).sum(), 0, np.nan),
    ]
    table = pd.DataFrame(rows, columns=[f"{n} x {n} images", "measured", "goal", "ratio"])
    print(table.round(3).to_string(index=False, na_rep=""))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("n", nargs="?", type=int, default=10_000, help="images on each side (10000)")
    main(parser.parse_args().n)
