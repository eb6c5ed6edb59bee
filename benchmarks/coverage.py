"""How often 95 % intervals of scores contain the true value, by simulation, for test sets of four sizes.

OMP_NUM_THREADS=2 python benchmarks/coverage.py
"""

import argparse

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.evaluation.metrics import (
    UNBIASED,
    bootstrap,
    corrected,
    interval,
    kaggle_headline,
    kaggle_moments,
    leave_one_out,
    moments,
    people,
    reached,
    summarise,
)
from galaxy_sommelier.images.painting import sample_truth
from galaxy_sommelier.images.simulation import true_fractions, vote

SIZES, SKY, RESAMPLES = (30, 60, 200, 2000), 40_000, 500
ANSWERS = ("smooth-or-featured_smooth", "disk-edge-on_yes", "bar_yes")


def sky():
    """Return what each galaxy of a large simulated sky contributes: to the headline, and to three answers."""
    p = true_fractions(sample_truth(SKY, seed=1)).astype(float)
    votes = vote(p, volunteers=44, seed=2)
    asked = people(votes)
    true = np.divide(votes, asked, out=np.full(p.shape, np.nan), where=asked > 0)
    pred = GZ2.normalise(p.clip(0.02) * np.exp(np.random.default_rng(3).normal(0, 0.5, p.shape)))
    parts = moments(pred, true, reached(true, votes=votes))[:, :, [GZ2.index(name) for name in ANSWERS]]
    return kaggle_moments(pred, true), parts


def held(fn, every, size, repeats):
    """Return the share of test sets whose interval contains the score of the whole sky, for both kinds."""
    truth, rng, found = fn(every.sum(0)[None]), np.random.default_rng(size), {}
    for seed in tqdm(range(repeats), f"{size} galaxies"):
        parts = every[rng.integers(0, len(every), size)]
        drawn, left = bootstrap(fn, parts, RESAMPLES, seed), leave_one_out(fn, parts)
        for name, whole in fn(parts.sum(0)[None]).items():
            ours = corrected(drawn[name], whole[0], left[name], name in UNBIASED)
            for kind, (low, high) in (("percentile", interval(drawn[name])), ("corrected", ours)):
                inside = (low <= truth[name][0]) & (truth[name][0] <= high)
                found.setdefault((name, kind), []).append(np.where(np.isnan(low), np.nan, inside))
    return {key: np.nanmean(values, axis=0) for key, values in found.items()}


def main(repeats):
    headline, answers = sky()
    rows = {}
    for size in SIZES:
        for (name, kind), share in held(kaggle_headline, headline, size, repeats).items():
            rows[name, size, kind] = float(share)
        for (name, kind), share in held(summarise, answers, size, repeats).items():
            for answer, one in zip(ANSWERS, share, strict=True):
                if name != "n":
                    rows[f"{name}, {answer.split('_')[1]} ({answer.split('_')[0]})", size, kind] = float(one)
    table = pd.Series(rows).unstack([1, 2], sort=False)
    print(table.round(2).to_string())


if __name__ == "__main__":
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--repeats", type=int, default=200, help="test sets of each size")
    main(parser.parse_args().repeats)
