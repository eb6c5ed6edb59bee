"""What do 200 labels gain that a person sorts in the inspector? Prints the table of nbs/guide/inspect.md.

python benchmarks/sorting.py sort SKY PREDICTIONS TRUTH CLASS LABELS
python benchmarks/sorting.py gain PREDICTIONS RETRAINED TRUTH CLASS LABELS

SKY is a store, PREDICTIONS what a model of Galaxy Zoo 2 says of it, with embeddings. TRUTH is a CSV with
id_str and a column CLASS (an odd feature, such as ring): the share of volunteers who saw it; from a
fifth on it is one. `sort` answers in sort mode: the 100 likeliest of the odd galaxies, then two queues
of 50; LABELS is the annotation file. `gain` ranks the galaxies without a label before and after
`sommelier train --target CLASS`.
"""

import sys

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from galaxy_sommelier.inspector.app import inspector

LEAST, FIRST, ODD, RESAMPLES = 0.2, 100, 0.3, 400


def known(truth, name):
    """Return which galaxies are of the class, by id."""
    return pd.read_csv(truth, dtype={"id_str": str}).set_index("id_str")[name] >= LEAST


def sort(sky, predictions, truth, name, labels):
    """Label 200 galaxies by the messages that clicks and keys send."""
    answer, view = known(truth, name), inspector(sky, predictions, labels, classes=(name, "other"))

    def do(what, **more):
        view.handle({"do": what, **more})
        assert not view.state.error, view.state.error

    def label(count):
        do("key", key="s")
        for _ in range(count):
            if not view.queue.ended:
                do("key", key="1" if answer[view.state.table.id_str[view.state.current]] else "2")
        do("key", key="g")

    do("query", text=f"something-odd_yes_predicted > {ODD}")
    do("order", order=f"odd-feature_{name}_predicted")
    label(FIRST)
    do("query", text="")
    for _ in range(2):
        do("suggest")
        label(50)
    print(view.state.table.mine.value_counts().to_string())


def gain(predictions, retrained, truth, name, labels):
    """Print average precision before and after, and the difference, with 95 % intervals over galaxies."""
    before, after = (pd.read_parquet(path).set_index("id_str") for path in (predictions, retrained))
    answer, seen = known(truth, name), pd.read_csv(labels, dtype=str).id_str
    rest = answer.index.difference(seen)
    right = answer[rest].to_numpy()
    old = (before["something-odd_yes_fraction"] * before[f"odd-feature_{name}_fraction"])[rest].to_numpy()
    new = after[f"{name}_yes_fraction"][rest].to_numpy()
    rng, found = np.random.default_rng(0), []
    for i in [np.arange(len(rest)), *(rng.integers(0, len(rest), len(rest)) for _ in range(RESAMPLES))]:
        if right[i].any():
            pair = [average_precision_score(right[i], scores[i]) for scores in (old, new)]
            found.append([*pair, pair[1] - pair[0]])
    ends = np.percentile(found[1:], [2.5, 97.5], axis=0)
    columns = ["before", "after", "gain"]
    print(f"{len(rest)} galaxies without a label, {right.sum()} of the class (constant {right.mean():.3f})")
    print(pd.DataFrame([found[0], *ends], ["average precision", "from", "to"], columns).round(3).to_string())


if __name__ == "__main__":
    {"sort": sort, "gain": gain}[sys.argv[1]](*sys.argv[2:])
