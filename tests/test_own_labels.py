"""Labels of one's own: from a column to a trained model, its predictions and scores, on the command line."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from commands import refused, sommelier
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score
from test_card import numbers, rows

from galaxy_sommelier.cli.train_command import own_defaults
from galaxy_sommelier.core.files import BadInput, read_json
from galaxy_sommelier.data.labels import find_labels
from galaxy_sommelier.data.store import Store, simulated_store
from galaxy_sommelier.download.hub import DEFAULT, shipped_folder
from galaxy_sommelier.evaluation.model_card import model_card
from galaxy_sommelier.inspector.annotations import AnnotationFile, corrected_store
from galaxy_sommelier.inspector.app import inspector
from galaxy_sommelier.inspector.suggest import informative

SMALL = ["-p", "image_size", "32", "-p", "precision", "fp32", "-p", "tta", "false", "-p", "views", "1"]


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """A simulated sky of 160 galaxies."""
    return simulated_store(tmp_path_factory.mktemp("own") / "sky", n=160, size=48, seed=5)


@pytest.fixture(scope="module")
def labels(sky):
    """Labels of its first 120 galaxies: with a large bulge or not, by three people who err."""
    table, rng = Store(sky).table.iloc[:120], np.random.default_rng(0)
    bulgy = table.truth_bulge > table.truth_bulge.median()
    made = pd.DataFrame({"id_str": table.id_str, "bulgy": np.where(bulgy, "yes", "no"), "who": "Ann"})
    seen = {who: np.where(bulgy ^ (rng.random(120) < 0.1), "yes", "no") for who in ("Bob", "Cyd")}
    others = [made.assign(who=who, bulgy=answers) for who, answers in seen.items()]
    return made, pd.concat([made, *(other[:40] for other in others)])


def train(source, out, *words):
    code, output = sommelier("train", source, "--out", out, "--backbone", "tiny", *SMALL, *words)
    assert code == 0, output
    return json.loads((out / "metrics.json").read_text()), output


@pytest.fixture(scope="module")
def bulgy(sky, labels, tmp_path_factory):
    """A run that learned which galaxies have a large bulge, with the labels of three people."""
    folder = tmp_path_factory.mktemp("bulgy")
    labels[1].to_csv(folder / "labels.csv", index=False)
    metrics, output = train(sky, folder / "run", "--target", "bulgy", "--labels", folder / "labels.csv")
    return folder / "run", metrics, output


def test_a_cross_validated_probe_is_scored_on_held_out_galaxies(sky, labels, bulgy):
    run, metrics, output = bulgy
    assert "120 labelled galaxies" in output and "next: sommelier predict" in output
    (one,) = metrics["targets"]
    assert (metrics["split"], one["n"], one["balanced_accuracy_constant"]) == ("held out", 120, 0.5)
    assert one["balanced_accuracy_lower"] > 0.58, one
    table = pd.read_parquet(run / "predictions.parquet").set_index("id_str")
    assert sorted(table.index) == sorted(labels[0].id_str)  # the test galaxies among them
    share = Store(run / "labels").table.set_index("id_str").loc[table.index, "bulgy_yes_fraction"]
    expected = average_precision_score(share > 0.5, table.bulgy_yes_fraction)
    yes = next(row for row in one["answers"] if row["answer"] == "yes")
    assert yes["average_precision"] == pytest.approx(expected)
    assert yes["chance"] == pytest.approx((share > 0.5).mean())


def test_people_are_votes_and_their_agreement_stands_beside_the_models(bulgy):
    run, metrics, output = bulgy
    store = Store(run / "labels")
    counts = np.bincount(store.votes.sum(1))
    assert counts.tolist() == [0, 80, 0, 40]
    k = store.votes[store.votes.sum(1) == 3]
    (one,) = metrics["targets"]
    assert one["people_agree"] == pytest.approx((k * (k - 1)).sum(1).mean() / 6)
    assert one["shared"] == 40 and "agreement over 40 galaxies" in output


def test_the_same_command_changes_nothing_and_other_labels_are_refused(sky, labels, bulgy, tmp_path):
    run = bulgy[0]
    before = (run / "metrics.json").stat().st_mtime_ns
    words = ["train", sky, "--target", "bulgy", "--backbone", "tiny", *SMALL, "--out", run]
    assert sommelier(*words, "--labels", run.parent / "labels.csv")[0] == 0
    assert (run / "metrics.json").stat().st_mtime_ns == before
    labels[0].to_csv(tmp_path / "others.csv", index=False)
    refused("holds the store of other labels", *words, "--labels", tmp_path / "others.csv")


def test_predictions_are_scored_without_the_galaxies_that_were_learned(sky, bulgy, tmp_path):
    run, out = bulgy[0], tmp_path / "all.parquet"
    code, output = sommelier("predict", sky, "--model", run, "--out", out, "--no-tta")
    assert code == 0, output
    table = pd.read_parquet(out)
    assert len(table) == 160 and {"bulgy_yes_fraction", "label", "confidence"} <= set(table)
    code, output = sommelier("evaluate", out, run / "labels")
    store = Store(run / "labels")
    learned = len(store.indices("train")) + len(store.indices("val"))
    assert code == 0 and f"left out                  {learned}, on which" in output, output
    assert f"bulgy: {120 - learned} galaxies" in output
    code, output = sommelier("show", out, sky, "--out", tmp_path / "sheet.png", "--n", "4")
    assert code == 0, output


def test_a_model_of_another_target_is_refused_by_evaluate(sky, labels, bulgy, tmp_path):
    named = labels[0].rename(columns={"bulgy": "dim"})
    named.to_csv(tmp_path / "dim.csv", index=False)
    train(sky, tmp_path / "dim", "--target", "dim", "--labels", tmp_path / "dim.csv", "--stage", "baseline")
    words = ["evaluate", bulgy[0] / "predictions.parquet", tmp_path / "dim/labels"]
    refused("made with another schema than", *words)
    pd.read_parquet(bulgy[0] / "predictions.parquet").to_csv(tmp_path / "bulgy.csv", index=False)
    refused("their model answers bulgy, not dim", "evaluate", tmp_path / "bulgy.csv", tmp_path / "dim/labels")


def test_a_number_is_learned_and_its_intervals_hold(sky, tmp_path):
    metrics, output = train(sky, tmp_path / "run", "--target", "truth_bulge")
    (one,) = metrics["targets"]
    assert one["rmse_upper"] < one["rmse_constant"] and one["spearman_lower"] > 0.3, one
    table = pd.read_parquet(tmp_path / "run/predictions.parquet").set_index("id_str")
    true = Store(sky).table.set_index("id_str").loc[table.index, "truth_bulge"]
    assert one["spearman"] == pytest.approx(spearmanr(table["truth-bulge_value"], true)[0])
    squared = (table["truth-bulge_value"] - true) ** 2
    assert one["rmse"] == pytest.approx(np.sqrt(squared.mean()), rel=1e-4)
    text = card_of(tmp_path / "run")
    found = rows(text, "score")
    assert numbers(found["RMSE"]["model"])[0] == pytest.approx(one["rmse"], abs=5.1e-4)
    assert numbers(found["rank correlation"]["model"])[0] == pytest.approx(one["spearman"], abs=5.1e-4)
    about = rows(text, "target")["truth-bulge"]
    assert about["labelled"] == "160" and float(about["mean"]) == pytest.approx(true.mean(), rel=1e-3)
    assert f"± {one['half_width']:.4g}" in text and "class" not in text[text.index("## Data") :]
    # other galaxies of the same sky
    fresh = simulated_store(tmp_path / "fresh", n=150, size=48, seed=6)
    out = tmp_path / "fresh.parquet"
    assert sommelier("predict", fresh, "--model", tmp_path / "run", "--out", out, "--no-tta")[0] == 0
    table, true = pd.read_parquet(out), Store(fresh).table.truth_bulge.to_numpy()
    inside = (table["truth-bulge_lower"] <= true) & (true <= table["truth-bulge_upper"])
    assert 0.8 < inside.mean() < 0.98
    assert table.label.isna().all()


@pytest.mark.parametrize("stage", ["head", "lora", "full"])
def test_every_stage_learns_several_classes_from_a_table_of_images(sky, stage, tmp_path):
    store = Store(sky)
    size = pd.qcut(store.table.truth_bulge, 3, labels=["small", "middle", "large"]).astype(str)
    for i in range(len(store)):
        (tmp_path / f"{i}.jpg").write_bytes(store.jpeg(i))
    paths = [f"{i}.jpg" for i in range(len(store))]
    table = pd.DataFrame({"id_str": store.ids, "path": paths, "size": size, "odd": np.arange(160) % 2})
    table.to_csv(tmp_path / "mine.csv", index=False)
    words = ["--target", "size", "--target", "odd", "--stage", stage, "-p", "epochs", "1"]
    metrics, _ = train(tmp_path / "mine.csv", tmp_path / "run", *words)
    assert [one["question"] for one in metrics["targets"]] == ["size", "odd"]
    assert metrics["split"] == "test" and metrics["n"] == len(Store(tmp_path / "run/labels").indices("test"))
    text = card_of(tmp_path / "run")
    for name in ("size", "odd"):
        assert f"### {name}, {metrics['n']} galaxies" in text
    assert "of the split test" in text
    assert "**answers**: size: large or middle or small; odd: yes or no" in text


def test_the_inspector_sorts_by_a_target_and_its_queue_asks_where_it_pays(sky, bulgy, tmp_path):
    out = tmp_path / "all.parquet"
    assert sommelier("predict", sky, "--model", bulgy[0], "--out", out, "--no-tta")[0] == 0
    state = inspector(sky, out, tmp_path / "labels.csv", classes=("bulgy", "other")).state
    state.order = "bulgy_yes_predicted"
    chance = state.table.bulgy_yes_predicted.to_numpy()
    assert (np.diff(chance[state.rows]) <= 0).all()
    queue = informative(state.table, 10)
    assert set(queue) == set(np.argsort(np.abs(chance - 0.5), kind="stable")[:10])


def test_copies_of_a_labelled_galaxy_are_on_one_side_of_the_split(sky, tmp_path):
    store, images = Store(sky), tmp_path / "images"
    images.mkdir()
    for i in range(30):
        for copy in range(6 if i < 5 else 1):  # more copies than are compared at first
            (images / f"{i}-{copy}.jpg").write_bytes(store.jpeg(i))
    assert sommelier("prepare", "images", "--root", images, "--out", tmp_path / "store")[0] == 0
    packed = Store(tmp_path / "store")
    sides = pd.Series(packed.split).groupby([name.split("-")[0] for name in packed.ids])
    assert (sides.nunique() > 1).any()  # without votes nothing is learned, and nobody looks for copies
    labels = pd.DataFrame({"id_str": packed.ids, "ring": [int(name[0]) % 2 for name in packed.ids]})
    table = find_labels(tmp_path / "store", ["ring"], labels).table
    assert table.split.groupby(table.id_str.str.split("-").str[0]).nunique().max() == 1
    assert set(table.split) == {"train", "val", "test"}


OF_THE_TREE = r"volunteer|\bsmooth\b|featured|edge-on|noise floor|gz2|Galaxy Zoo|\bnan\b|None"


def card_of(run):
    """Write the card of a run on the command line, and return its text."""
    code, output = sommelier("card", run)
    assert code == 0 and output.strip() == str(run / "card.md"), output
    assert (run / "card.png").read_bytes()[:4] == b"\x89PNG"
    text = (run / "card.md").read_text()
    assert re.findall(OF_THE_TREE, text) == []
    return text


def test_the_card_has_the_scores_of_the_target_and_its_labels(labels, bulgy):
    run, metrics, _ = bulgy
    text, (one,) = card_of(run), metrics["targets"]
    found = rows(text, "score")
    for name in ("accuracy", "balanced accuracy", "Brier score"):
        key = name.removesuffix(" score").lower().replace(" ", "_")
        scores = [one[f"{key}{end}"] for end in ("", "_lower", "_upper")]
        assert numbers(found[name]["model"]) == pytest.approx(scores, abs=5.1e-4)
        assert numbers(found[name]["constant"]) == pytest.approx([one[f"{key}_constant"]], abs=5.1e-4)
    yes, told = one["answers"][0], rows(text[text.index("## Scores") :], "class")["yes"]
    assert numbers(told["precision in the top 50"]) == pytest.approx([yes["precision_top_50"]], abs=5.1e-4)
    assert numbers(told["average precision"])[0] == pytest.approx(yes["average_precision"], abs=5.1e-4)
    assert numbers(told["calibration error"]) == pytest.approx([yes["ece"]], abs=5.1e-4)
    assert "over 40 galaxies: people with each other" in text and "labels of several:" not in text
    # the labels, counted from the file
    votes = labels[1].groupby("id_str").bulgy.agg(lambda each: (each == "yes").mean() > 0.5)
    learned = pd.concat([pd.read_csv(run / f"ids/{split}.csv", dtype=str) for split in ("train", "val")])
    taught = votes[learned.iloc[:, 0]]
    assert f"120 labelled; learned from {len(taught)}" in text
    lines = {line.split(" | ")[1]: line for line in text.splitlines() if line.startswith("| bulgy |")}
    assert numbers(lines["yes"]) == [votes.sum(), round(100 * votes.mean(), 1), taught.sum()]
    assert numbers(lines["no"])[::2] == [(~votes).sum(), (~taught).sum()]


def test_the_card_needs_the_labels(sky, bulgy, tmp_path):
    run = shutil.copytree(bulgy[0], tmp_path / "run", ignore=shutil.ignore_patterns("labels"))
    refused("its labels are not in it (labels/); give their store with --store", "card", run)
    refused("was made with schema", "card", run, "--store", sky)
    assert sommelier("card", run, "--store", bulgy[0] / "labels")[0] == 0
    with pytest.raises(BadInput, match="learned your own labels; take target_card"):
        model_card(run)


def test_a_start_that_knows_the_labelled_galaxies_is_a_limit(sky, bulgy, tmp_path):
    """The backbone of a trained model may have learned from the very galaxies that are labelled."""
    own = Store(bulgy[0] / "labels")
    words = ["--target", "truth_bulge", "--stage", "baseline", "--backbone", bulgy[0]]
    train(sky, tmp_path / "run", *words)
    text = card_of(tmp_path / "run")
    known = len(own.indices("train")) + len(own.indices("val"))
    assert f"had learned from {known} galaxies that are labelled here" in text
    assert f"**started from**: the backbone of {bulgy[0]}" in text
    assert "160 labelled; learned from 0" in text and "the predictions are meaningless" in text


def test_the_circle_closes_from_the_inspector(sky, bulgy, tmp_path):
    """Clicks are labels, a class of the clicks is a target, and corrections of a target are learned."""
    store, clicks = Store(sky), AnnotationFile(tmp_path / "clicks.csv", "Ann")
    small = store.table.truth_bulge < store.table.truth_bulge.median()
    clicks.put_all({store.ids[i]: {"label": "smooth" if small[i] else "spiral"} for i in range(60)})
    metrics, output = train(sky, tmp_path / "run", "--target", "spiral", "--labels", clicks.path)
    assert metrics["targets"][0]["question"] == "spiral" and metrics["n"] == 60
    own = Store(bulgy[0] / "labels")
    answers = AnnotationFile(tmp_path / "answers.csv", "Ann", own.schema)
    galaxy = own.ids[own.indices("train")[0]]
    wrong = "no" if own.fractions[own.indices("train")[0], 0] > 0.5 else "yes"
    answers.put(galaxy, bulgy=wrong)
    fixed = Store(corrected_store(own, answers, tmp_path / "fixed"))
    place = fixed.ids.index(galaxy)
    assert fixed.table[f"bulgy_{wrong}_fraction"][place] == 1
    train(tmp_path / "fixed", tmp_path / "again", "--stage", "probe", "-p", "folds", "3", "-p", "mse", "0")


BAD = {
    "one value": (lambda t: t.assign(bulgy="no"), "column 'bulgy' has one value, 'no', for 120 galaxies"),
    "no value": (lambda t: t.assign(bulgy=None), "column 'bulgy' has no value for any galaxy"),
    "spellings": (
        lambda t: t.assign(bulgy=[f"{word}{'.' * (i % 15)}" for i, word in enumerate(t.bulgy)]),
        "30 spellings of 2 classes; write each class in one way: 'no'",
    ),
    "text": (
        lambda t: t.assign(bulgy=[*map(str, range(119)), "12 kpc"]),
        "column 'bulgy' holds text among numbers, '12 kpc' of",
    ),
    "elsewhere": (lambda t: t.assign(id_str="other-" + t.id_str), "none of 120 labelled galaxies is in"),
    "twice": (
        lambda t: pd.concat([t, t[:1].assign(bulgy="maybe")]),
        "is labelled twice and differently in column 'bulgy' ('",
    ),
    "few": (lambda t: t[:20], "20 labelled galaxies to learn from, of 30 at least; label 10 more"),
    "rare": (lambda t: t.assign(bulgy=["yes"] + ["no"] * 119), "bulgy_yes has 1 galaxy among 120"),
    "column": (lambda t: t.rename(columns={"bulgy": "bulky"}), "has no column 'bulgy', did you mean 'bulky'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_labels_are_refused_in_one_line(sky, labels, name, tmp_path):
    change, text = BAD[name]
    change(labels[0]).to_csv(tmp_path / "labels.csv", index=False)
    words = ["train", sky, "--target", "bulgy", "--labels", tmp_path / "labels.csv"]
    refused(text, *words, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_targets_that_cannot_be_told_apart_or_named_are_refused(sky, labels, tmp_path):
    table = labels[0].assign(**{"Bulgy!": labels[0].bulgy, "???": labels[0].bulgy})
    table.to_csv(tmp_path / "labels.csv", index=False)
    words = ["train", sky, "--labels", tmp_path / "labels.csv", "--out", tmp_path / "run"]
    for other in ("Bulgy!", "bulgy"):
        text = f"'bulgy' and {other!r} would have the same name"
        refused(text, *words, "--target", "bulgy", "--target", other)
    refused("column '???' has no letter or digit in its name", *words, "--target", "???")


@pytest.mark.parametrize("scored", [1, 6])
def test_few_scored_galaxies_and_a_class_that_none_of_them_has(sky, labels, tmp_path, scored):
    """What cannot be measured is left out of the scores, and the training does not end in an error."""
    store, table = Store(sky), labels[0]
    testing = table.id_str.isin([store.ids[i] for i in store.indices("test")])
    table = table.assign(bulgy=table.bulgy.where(~testing, "no"), size=np.arange(120.0))
    table = pd.concat([table[~testing], table[testing][:scored]])
    table.to_csv(tmp_path / "labels.csv", index=False)
    words = ["--target", "bulgy", "--target", "size", "--labels", tmp_path / "labels.csv"]
    words += ["--stage", "baseline"]
    metrics, output = train(sky, tmp_path / "run", *words)
    one, number = metrics["targets"]
    assert one["n"] == number["n"] == scored and number["rmse"] > 0
    yes = next(row for row in one["answers"] if row["answer"] == "yes")
    assert yes["galaxies"] == 0 and yes["average_precision"] is None
    assert (yes["ece"] is None) == (scored == 1)
    assert ("calibration error" in output) == (scored > 1)


def test_missing_values_and_missing_galaxies_are_counted_and_named(sky, labels, tmp_path):
    more = pd.concat([labels[0], labels[0][:1].assign(id_str="sdss-elsewhere")])
    more.iloc[:3, more.columns.get_loc("bulgy")] = None
    more.to_csv(tmp_path / "labels.csv", index=False)
    words = ["--target", "bulgy", "--labels", tmp_path / "labels.csv", "--stage", "baseline"]
    _, output = train(sky, tmp_path / "run", *words)
    assert "117 labelled galaxies" in output
    assert "1 galaxy labelled without an image here: sdss-elsewhere" in output
    assert "3 galaxies without a label: " in output


def test_labels_need_a_target_and_a_store(sky, labels, tmp_path):
    labels[0].to_csv(tmp_path / "labels.csv", index=False)
    refused("--labels: needs --target", "train", sky, "--labels", tmp_path / "labels.csv")
    words = ["train", tmp_path / "nowhere.csv", "--target", "bulgy", "--out", tmp_path / "run"]
    refused("no such file or folder", *words)
    words = ["train", tmp_path / "labels.csv", "--target", "bulgy"]
    refused("1 column(s) missing, first 'path'", *words, "--out", tmp_path / "run")
    refused("is no store", *words, "--labels", tmp_path / "labels.csv", "--out", tmp_path / "run")


def test_without_a_backbone_the_model_that_ships_is_the_start():
    defaults = own_defaults(None, None)
    taught = read_json(shipped_folder() / "model" / "config.json")
    assert defaults["backbone"] == DEFAULT and defaults["image_size"] == taught["image_size"]
    assert own_defaults("tiny", None)["backbone"] == "tiny" and "image_size" not in own_defaults("tiny", None)
