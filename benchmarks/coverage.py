"""How often 95 % intervals of scores contain the true value, by simulation, for test sets of four sizes.

OMP_NUM_THREADS=1 python benchmarks/coverage.py
"""

import argparse

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.evaluation.intervals import bootstrap, interval, intervals, mean_of_shares, wilson
from galaxy_sommelier.evaluation.metrics import (
    class_scores,
    kaggle_headline,
    kaggle_moments,
    moments,
    people,
    reached,
    summarise,
    training_mean,
)
from galaxy_sommelier.evaluation.noise_floor import noise_parts, skill_parts, skills
from galaxy_sommelier.evaluation.scores import confusion_parts
from galaxy_sommelier.images.painting import sample_truth
from galaxy_sommelier.images.simulation import true_fractions, vote

SIZES, SKY, RESAMPLES = (30, 60, 200, 2000), 40_000, 300
ANSWERS = (
    "smooth-or-featured_smooth",
    "disk-edge-on_yes",  # a half of the galaxies is asked
    "bar_yes",  # a third
    "edge-on-bulge_boxy",  # a ninth
    "smooth-or-featured_artifact",  # one in 25; `per_answer` withholds what fails here below 1,000
)
QUESTIONS = ("smooth-or-featured", "bar")


def simulated():
    """Yield what each galaxy of a large simulated sky contributes to scores, with their function."""
    p = true_fractions(sample_truth(SKY, seed=1)).astype(float)
    votes = vote(p, volunteers=44, seed=2)
    asked = people(votes)
    true = np.divide(votes, asked, out=np.full(p.shape, np.nan), where=asked > 0)
    pred = GZ2.normalise(p.clip(0.02) * np.exp(np.random.default_rng(3).normal(0, 0.5, p.shape)))
    mask, few = reached(true, votes=votes), [GZ2.index(name) for name in ANSWERS]
    only = mask & np.isin(np.arange(mask.shape[1]), few)
    noise = noise_parts(votes, only, asked)
    skill = skill_parts(pred, true, training_mean(true), only, noise)[:, :, few]
    yield kaggle_headline, kaggle_moments(pred, true), [""]
    yield summarise, moments(pred, true, mask)[:, :, few], ANSWERS
    yield skills, skill, ANSWERS
    for question in QUESTIONS:
        part = GZ2.slices[question]
        cells = confusion_parts(pred[:, part], np.nan_to_num(true[:, part]))
        yield class_scores, cells * mask[:, [part.start], None], [question]


def both_kinds(fn, parts, seed):
    """Return the percentile interval and ours of each score."""
    drawn = {name: interval(values) for name, values in bootstrap(fn, parts, RESAMPLES, seed).items()}
    if fn is not class_scores:
        return drawn, intervals(fn, parts, RESAMPLES, seed)
    matrix = parts.sum(0)
    hits, counts = np.diagonal(matrix), matrix.sum(1)
    ours = {"accuracy": wilson(int(hits.sum()), int(counts.sum()))}
    return drawn, ours | {"balanced_accuracy": mean_of_shares(hits, counts)}


def held(fn, every, size, repeats):
    """Return, for both kinds, how many intervals contain the score of the sky, and how many are missing."""
    truth, rng, found = fn(every.sum(0)[None]), np.random.default_rng(size), {}
    for seed in tqdm(range(repeats), f"{size} galaxies", leave=False):
        plain, ours = both_kinds(fn, every[rng.integers(0, len(every), size)], seed)
        for name in ours:
            for kind, (low, high) in (("percentile", plain[name]), ("here", ours[name])):
                inside = (low <= truth[name][0]) & (truth[name][0] <= high)
                found.setdefault((name, kind), []).append(np.where(np.isnan(low), np.nan, inside))
    return {key: (np.nanmean(v, axis=0), np.isnan(v).mean(0)) for key, v in found.items()}


def main(repeats):
    rows = {}
    for fn, every, answers in simulated():
        for size in SIZES:
            for (name, kind), (share, none) in held(fn, every, size, repeats).items():
                for answer, one, without in zip(answers, np.ravel(share), np.ravel(none), strict=True):
                    text = f"{one:.2f}" + (f" ({1 - without:.0%})" if 0.005 < without <= 0.95 else "")
                    if name != "n":
                        rows[f"{name} {answer}", size, kind] = text if without <= 0.95 else "none"
    print(pd.Series(rows).unstack([1, 2], sort=False).to_string())
    print("in brackets: the share of test sets for which there is an interval")


if __name__ == "__main__":
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--repeats", type=int, default=400, help="test sets of each size")
    main(parser.parse_args().repeats)
