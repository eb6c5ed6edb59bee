"""What intervals and `ood_score` cost in the pass that predicts, as a share of its time.

The model that ships predicts simulated galaxies in eight views without them; what each adds to the table is
then timed on its own, since it is less than what one pass differs from the next.

    OMP_NUM_THREADS=2 python benchmarks/additions.py
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from galaxy_sommelier.cli.front_door import make_ready
from galaxy_sommelier.data.store import simulated_store
from galaxy_sommelier.evaluation.calibration import intervals_of
from galaxy_sommelier.evaluation.ood import add_ood
from galaxy_sommelier.models.model import model_folder
from galaxy_sommelier.models.predict import predict


def seconds(work, repeats):
    """Return the result of some work, and the median of its seconds."""
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = work()
        took.append(time.perf_counter() - began)
    return result, median(took)


def main(number, turns):
    """Print one line for each part of the pass."""
    with tempfile.TemporaryDirectory() as place:
        store = simulated_store(Path(place, "sky"), n=number, size=212)
        ready = make_ready(store, None)
        intervals = intervals_of(model_folder(), ready.model)
        table, alone = seconds(lambda: predict(store, ready.model, embeddings=True), turns)
        for name, work in {
            "intervals": lambda: intervals.apply(table),
            "ood_score": lambda: add_ood(table, ready.memory),
        }.items():
            took = seconds(work, turns)[1]
            print(
                f"{name} of {number} galaxies: {took:.3f} s, {took / alone:.2%} of the pass ({alone:.2f} s)"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--galaxies", type=int, default=200)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    main(options.galaxies, options.turns)
