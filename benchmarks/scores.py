"""CPU seconds of intervals and noise floor (24,000 galaxies, 1,000 resamples), compared with plain loops.

OMP_NUM_THREADS=2 python benchmarks/scores.py
"""

import argparse
import time

import numpy as np
import pandas as pd

from galaxy_sommelier.evaluation.intervals import intervals
from galaxy_sommelier.evaluation.metrics import moments, people, reached, summarise, training_mean
from galaxy_sommelier.evaluation.noise_floor import answer_skills, noise_parts
from galaxy_sommelier.images.painting import sample_truth
from galaxy_sommelier.images.simulation import true_fractions, vote

GALAXIES, RESAMPLES, GOAL = 24_000, 1_000, 20  # seconds


def seconds(work):
    began = time.process_time()
    work()
    return time.process_time() - began


def loop(pred, true, mask, resamples):
    """Draw rows, select them, score each answer."""
    rng, masked = np.random.default_rng(0), np.where(mask, true, np.nan)
    for _ in range(resamples):
        rows = rng.integers(0, len(true), len(true))
        x, y = pred[rows], masked[rows]
        for j in range(y.shape[1]):
            known = np.isfinite(y[:, j])
            a, b = x[known, j], y[known, j]
            error = a - b
            mae, rmse, r = np.abs(error).mean(), np.sqrt((error**2).mean()), np.corrcoef(a, b)[0, 1]
            yield mae, rmse, r, 1 - (error**2).sum() / ((b - b.mean()) ** 2).sum()


def main():
    p = true_fractions(sample_truth(GALAXIES, seed=1)).astype(float)
    votes = vote(p, np.random.default_rng(0).integers(30, 61, len(p)), 2)
    asked = people(votes)
    true = np.divide(votes, asked, out=np.full(p.shape, np.nan), where=asked > 0)
    pred, mask, few = 0.8 * p + 0.2 * p.mean(0), reached(true, votes=votes), 5
    plain = seconds(lambda: list(loop(pred, true, mask, few))) * RESAMPLES / few
    ours = seconds(lambda: intervals(summarise, moments(pred, true, mask), RESAMPLES))
    floor = seconds(lambda: noise_parts(votes, mask, asked))
    noise = noise_parts(votes, mask, asked)
    skills = seconds(lambda: answer_skills(pred, true, training_mean(true), mask, noise, resamples=RESAMPLES))
    rows = [
        ("intervals of MAE, RMSE, r, R²", ours, plain / ours, "a loop over resamples and answers"),
        ("intervals of the skill", skills, plain / skills, "the same"),
        ("noise floor of every answer", floor, np.nan, ""),
        ("all three", ours + skills + floor, GOAL / (ours + skills + floor), f"goal of {GOAL} seconds"),
    ]
    table = pd.DataFrame(rows, columns=["what", "CPU seconds", "times faster", "than"])
    print(table.round(1).to_string(index=False))


if __name__ == "__main__":
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    main()
