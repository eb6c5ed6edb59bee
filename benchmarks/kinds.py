"""Straight lines between kinds of vote fractions, fitted on galaxies that have both.

    python benchmarks/kinds.py GZ2 LEAKS:STORE [LEAKS:STORE ...]

GZ2 is a store of the table of Hart et al. (2016) with weighted and debiased fractions, each STORE one of the
Kaggle challenge, and LEAKS the list that `sommelier leaks STORE GZ2 --out LEAKS` wrote. The result is in
`catalog.kinds`.
"""

import sys
from itertools import permutations

import numpy as np
import pandas as pd

from galaxy_sommelier.data.store import Store

ANSWERS = ("smooth", "featured-or-disk")


def columns(table, ending):
    """Return the answers to the first question: (N, 2)."""
    return table[[f"smooth-or-featured_{answer}_{ending}" for answer in ANSWERS]].to_numpy(float)


def lines(values):
    """Fit a line between each two kinds; one row per direction and answer."""
    for ours, theirs in permutations(values, 2):
        for i, answer in enumerate(ANSWERS):
            x, y = values[ours][:, i], values[theirs][:, i]
            known = np.isfinite(x + y)
            x, y = x[known], y[known]
            slope, intercept = np.polyfit(x, y, 1)
            row = {"from": ours, "to": theirs, "answer": answer, "n": len(x), "r": np.corrcoef(x, y)[0, 1]}
            row |= {"slope": slope, "intercept": intercept, "rms": np.sqrt(np.mean((x - y) ** 2))}
            yield row | {"left": np.sqrt(np.mean((y - slope * x - intercept) ** 2))}


def main(gz2, *pairs):
    """Print the table."""
    hart = Store(gz2).table.set_index("id_str")
    parts = []
    for pair in pairs:
        leaks, store = pair.split(":")
        listed, kaggle = pd.read_csv(leaks), Store(store).table.set_index("id_str")
        parts.append((kaggle.loc[listed.same_as], hart.loc[listed.id_str]))
    kaggle, shared = (pd.concat(some) for some in zip(*parts, strict=True))
    values = {
        "debiased-willett13": columns(kaggle, "fraction"),
        "weighted": columns(shared, "fraction"),
        "debiased-hart16": columns(shared, "debiased"),
    }
    print(pd.DataFrame(lines(values)).round(3).to_string(index=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
