"""Match a million positions with a million: seconds, and whether the pairs are right.

OMP_NUM_THREADS=1 python benchmarks/surveys.py [N]
"""

import argparse
import time

import numpy as np
import pandas as pd

from galaxy_sommelier.data.crossmatch import match

GOAL = 60  # seconds for a million


def sky(n, seed):
    """Return positions spread evenly over a sixth of the sphere, as in SDSS and DECaLS."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {"ra": rng.uniform(110, 260, n), "dec": np.degrees(np.arcsin(rng.uniform(-0.05, 0.85, n)))}
    )


def seen(places, name, seed):
    """Return the positions as a survey observes them, with errors of 0.1 arcsec."""
    shift = np.random.default_rng(seed).normal(0, 0.1 / 3600, (len(places), 2))
    return places.add(shift).assign(id_str=[f"{name}-{row}" for row in places.index])


def main(n):
    half = sky(3 * n // 2, 0)  # half of each table is also in the other
    a, b = seen(half.iloc[:n], "a", 1), seen(half.iloc[n // 2 :].sample(frac=1, random_state=3), "b", 2)
    began = time.perf_counter()
    pairs = match(a, b)
    matched = time.perf_counter() - began
    right = pairs.id_a.str[2:] == pairs.id_b.str[2:]
    rows = [
        ("seconds to match", matched, GOAL),
        ("pairs", len(pairs), n - n // 2),
        ("of them right", right.sum(), np.nan),
        ("ambiguous", pairs.ambiguous.sum(), np.nan),
    ]
    table = pd.DataFrame(rows, columns=[f"{n} x {n} positions", "measured", "goal"])
    print(table.round(2).to_string(index=False, na_rep=""))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("n", nargs="?", type=int, default=1_000_000, help="positions on each side (1000000)")
    main(parser.parse_args().n)
