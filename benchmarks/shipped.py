"""How good is a model on galaxies that it never saw? Scores on three test sets, and at other sizes.

STORES is made by configs/shipped_data.sh. The natural test galaxies of the challenge are scored in its own
kind of fractions, those of `gz2/` against weighted fractions (without the ones that are in a training set,
found by image and, where two tables hold the same votes, by these), and Stripe 82 against counts. The test
sets are looked at once for each model.

    python benchmarks/shipped.py STORES DATA --model sommelier-small --out shipped.json
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from galaxy_sommelier.cli.front_door import predict
from galaxy_sommelier.core.files import write_json
from galaxy_sommelier.data.store import Store
from galaxy_sommelier.evaluation.calibration import calibration_of, fraction_coverage, read_calibration
from galaxy_sommelier.evaluation.evaluate import evaluate_file
from galaxy_sommelier.evaluation.intervals import intervals
from galaxy_sommelier.evaluation.metrics import training_mean
from galaxy_sommelier.models.model import load_model, model_folder
from galaxy_sommelier.studies.survey_scores import mean_scores, score_survey
from galaxy_sommelier.training.run_folder import fitting_kind, predict_kinds

SHOWN = ("kaggle_rmse", "mean_r", "smooth_featured_accuracy")


def same_votes(ours: Path, theirs: Path) -> set[str]:
    """Return the ids of a table whose weighted and debiased fractions stand in another table, too."""
    a, b = (pd.read_csv(path, dtype={"dr7objid": str}) for path in (ours, theirs))
    names = [c for c in a if c in b and c.endswith(("_weighted_fraction", "_debiased"))]
    keys = [table[names].round(3).apply(lambda row: tuple(map(str, row)), axis=1) for table in (a, b)]
    return set("gz2-" + a.dr7objid[keys[0].isin(keys[1])])


def shown(scores: dict) -> dict:
    """Return the headline scores with everything beside them."""
    return {key: value for key, value in scores.items() if key == "n" or key.startswith(SHOWN)}


def core(model, table: pd.DataFrame, store: Store, rows: np.ndarray) -> dict:
    """Score the core answers where volunteers were asked, beside a constant: the mean of these galaxies."""
    votes, schema = store.table.iloc[rows], store.schema
    still = dict(zip(schema.columns, training_mean(store.fractions[rows], schema), strict=True))
    found = {}
    for name, guess in {"model": table, "constant": table.assign(**still)}.items():
        scored = score_survey(name, guess, votes, model.schema, schema)
        found[name] = float(mean_scores(scored.parts.sum(0))["rmse"])
        found[f"{name} interval"] = [float(end) for end in intervals(mean_scores, scored.parts)["rmse"]]
    return found | {"n": len(rows), "answers": scored.answers}


def sizes(name: str, stores: Path) -> dict:
    """Score the natural test galaxies at other sizes in their images than the model is told."""
    challenge, found = Store(stores / "kaggle"), {}
    kind = fitting_kind(load_model(name), challenge.kinds[0])
    for factor in (0.5, 0.7, 1.0, 1.4, 2.0, 3.0):
        options = {"tta": False, "scale": 1 / factor, "kind": kind}
        table = predict(stores / "kaggle", name, split="test", **options)
        rmse = evaluate_file(table, challenge, "test")["kaggle_rmse"]
        above = float((table["ood_score"] > 1).mean())
        found[f"{factor:g} times"] = {"kaggle_rmse": rmse, "ood_score above 1": above}
    return found


def measure(name: str, stores: Path, data: Path) -> dict:
    """Return the scores of a model on all three test sets."""
    model, found = load_model(name), {}
    challenge, gz2, stripe = (Store(stores / each) for each in ("kaggle", "gz2", "stripe82"))

    test = challenge.indices("test")
    table = predict_kinds(model, challenge, test)
    scores = evaluate_file(table, challenge, "test")
    found["natural test"] = shown(scores)
    calibration = calibration_of(model_folder(name), model.schema)
    if calibration.exists():
        pred, true = table[challenge.schema.columns].to_numpy(float), challenge.fractions[test]
        covered = fraction_coverage(pred, true, read_calibration(calibration, model.schema))
        found["coverage of 90 % intervals"] = covered.round(3).to_dict("index")

    shared = same_votes(data / "gz2" / "gz2_hart16_sample.csv", data / "gz2_counts" / "votes.csv.gz")
    for part in ("kaggle", "more", "natural"):
        shared |= set(pd.read_csv(stores / f"gz2_in_{part}.csv", dtype=str).id_str)
    rows = np.flatnonzero(~np.isin(gz2.ids, list(shared)))
    table = predict_kinds(model, gz2, rows)
    scores = evaluate_file(table, gz2)
    found["gz2"] = shown(scores)
    found["gz2"] |= {"left out": len(gz2) - len(rows), "core answers": core(model, table, gz2, rows)}

    rows = np.arange(len(stripe))
    found["stripe 82"] = core(model, predict_kinds(model, stripe, rows), stripe, rows)
    found["natural test, other sizes"] = sizes(name, stores)
    return found


def main():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("stores", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="sommelier-small")
    parser.add_argument("--out", type=Path, default=Path("shipped.json"))
    given = parser.parse_args()
    found = measure(given.model, given.stores, given.data)
    write_json(given.out, found)
    for name, values in found.items():
        print(name)
        for key, value in values.items():
            print(f"    {key}: {value}")


if __name__ == "__main__":
    main()
