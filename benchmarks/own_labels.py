"""How many labels find rings, mergers and edge-on disks? Prints the tables of nbs/guide/own_labels.md.

python benchmarks/own_labels.py SKY WEIGHTS

SKY is a store, or a mixture, with the votes of Galaxy Zoo 2, WEIGHTS a backbone. The votes define the
targets and are hidden, but for the labels that a run may ask for. The features of SKY are computed once and
cached.
"""

import sys
from itertools import product

import numpy as np
import pandas as pd
import torch

from galaxy_sommelier.catalog.schema import Question, Schema
from galaxy_sommelier.data.mixture import open_store
from galaxy_sommelier.inspector.table import uncertainty
from galaxy_sommelier.models.features import encode
from galaxy_sommelier.models.model import build_model
from galaxy_sommelier.models.predict import predict_features
from galaxy_sommelier.training.probe import PENALTIES, FeatureDataset, cross_validate, deal, fit_lbfgs

GALAXIES, TOP, SEEDS = 10_000, 100, 1
FIRST, ROUND, STEPS = 30, 10, (50, 100, 200)  # labels: at the start, before the model is asked again, scored
SCHEMA = Schema("own: target", (Question("target", "Is it one?", ("yes", "no")),))
TARGETS = {  # the answer, and the share of all volunteers who must have given it
    "ring": ("odd-feature_ring", 0.2),
    "merger": ("odd-feature_merger", 0.2),
    "edge-on": ("disk-edge-on_yes", 0.5),
}


def data_of(features, truth, rows):
    """Return some galaxies with their labels."""
    labels = torch.from_numpy(np.stack([truth[rows], ~truth[rows]], 1).astype(np.float32))
    ones = torch.ones(len(rows))
    return FeatureDataset(features[rows], labels, ones, torch.zeros(len(rows), dtype=torch.long))


def fitted(model, data, penalty):
    """Fit the probe from the start, from the strongest penalty to this one."""
    torch.manual_seed(0)
    for layer in model.head:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    for each in (each for each in PENALTIES if each >= penalty):
        fit_lbfgs(model, data, each, mse=0.0)


def best_penalty(model, data):
    """Choose the penalty by cross-validation, as `sommelier train --target` does."""
    labels = data.labels.numpy()
    found = cross_validate(model, data, deal(labels, SCHEMA, 5), mse=0.0)
    return PENALTIES[((found - labels) ** 2).sum(-1).mean(1).argmin()]


def next_rows(how, chance, among, rng):
    """Choose the galaxies to label next: at random, or those about which the model is least certain."""
    if how == "random":
        return rng.choice(among, ROUND, replace=False)
    doubt = uncertainty(np.stack([chance, 1 - chance], 1)[among], SCHEMA)
    return among[np.argsort(-doubt, kind="stable")[:ROUND]]


def curve(model, features, truth, how, seed):
    """Yield a row for each number of labels in `STEPS`; between them the penalty stays as it is."""
    rng, everybody, penalty = np.random.default_rng(seed), np.arange(len(truth)), 0.01
    rows, chance = rng.choice(everybody, FIRST, replace=False), rng.random(len(truth))
    while True:
        others = np.setdiff1d(everybody, rows)
        if truth[rows].any() and (len(rows) in STEPS or how == "queue"):
            data = data_of(features, truth, rows)
            penalty = best_penalty(model, data) if len(rows) in STEPS else penalty
            fitted(model, data, penalty)
            chance = predict_features(model, features)[:, 0]
        if len(rows) in STEPS:
            top = others[np.argsort(-chance[others], kind="stable")[:TOP]]
            yield {"labels": len(rows), "found": int(truth[rows].sum()), "precision": truth[top].mean(),
                   "chance": truth[others].mean()}
        if len(rows) >= STEPS[-1]:
            return
        rows = np.concatenate([rows, next_rows(how, chance, others, rng)])


def main(sky, weights):
    store = open_store(sky)
    model = build_model(weights, schema=SCHEMA, blocks=(-9, -6, -3), image_size=112, crop=0.66).eval()
    rows = np.sort(np.random.default_rng(42).choice(len(store), min(GALAXIES, len(store)), replace=False))
    features = torch.from_numpy(encode(model, store, rows, views=1).values)
    shares = store.schema.cumulative(store.fractions[rows])
    found = []
    for seed, name, how in product(range(SEEDS), TARGETS, ("queue", "random")):
        answer, least = TARGETS[name]
        truth = shares[:, store.schema.index(answer)] >= least
        about = {"target": name, "how": how, "seed": seed}
        for row in curve(model, features, truth, how, seed):
            found.append(about | row)
            print(*found[-1].values(), file=sys.stderr)
    table = pd.DataFrame(found)
    table["ratio"] = table.precision / table.chance
    print(table.groupby(["target", "how", "labels"], sort=False)[["found", "chance", "precision", "ratio"]]
          .mean().round(3).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])
