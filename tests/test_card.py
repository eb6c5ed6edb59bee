"""The model card: a real command on a small run, bad input, and its numbers against `metrics.json`."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import refused, sommelier

from galaxy_sommelier.catalog.campaigns import HUBBLE
from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.core.files import read_json, write_json
from galaxy_sommelier.data.store import Store, simulated_store
from galaxy_sommelier.evaluation.scores import ids_sha
from galaxy_sommelier.training.settings import make_settings
from galaxy_sommelier.training.stages import train

SECTIONS = ["The model", "Data", "Scores", "Calibration", "Use", "Limits", "Licences and citations"]


def command(*words):
    """Return exit code, output and errors of a command in a process of its own."""
    line = [sys.executable, "-c", "from galaxy_sommelier.cli.main import main; main()", *map(str, words)]
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    return simulated_store(tmp_path_factory.mktemp("sky") / "store", n=220, size=48, val=0.4, test=0.3)


@pytest.fixture(scope="module")
def made(sky, tmp_path_factory):
    """A probe as the library leaves it."""
    settings = make_settings(stage="probe", image_size=56, crop=1.0, views=1, tta=False, precision="fp32")
    return train(sky, tmp_path_factory.mktemp("runs") / "probe", settings)


@pytest.fixture(scope="module")
def card(made, sky):
    """The text of the card of a calibrated run."""
    assert sommelier("calibrate", made, sky)[0] == 0
    code, out, errors = command("card", made, "--store", sky)
    assert code == 0, errors
    assert Path(out.strip()) == made / "card.md"
    return (made / "card.md").read_text()


def rows(text, first):
    """Return the rows of the table whose header begins with `first`, by the text of their first cell."""
    lines = text[text.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(cells[0], row, strict=True)) for row in cells[2:]}


def numbers(cell):
    return [float(x) for x in re.findall(r"-?\d+\.\d+|-?\d+", cell)]


def test_the_card_has_all_sections_and_its_figure(card, made):
    assert re.findall(r"^## (.*)$", card, re.M) == SECTIONS
    assert (made / "card.png").read_bytes()[:4] == b"\x89PNG" and (made / "card.pdf").read_bytes()[
        :4
    ] == b"%PDF"
    assert "](card.png)" in card and "nan" not in card.lower().split() and "None" not in card


def test_headline_equals_the_metrics(card, made):
    metrics, table = read_json(made / "metrics.json"), rows(card, "score")
    for name, row in table.items():
        score = [metrics[name + end] for end in ("", "_lower", "_upper")]
        assert numbers(row["model"]) == pytest.approx([x for x in score if x is not None], abs=5.1e-5)
        assert (None in score) == (name == "mean_r")  # needs 500 galaxies for an interval
        assert numbers(row["constant"]) == pytest.approx([metrics[f"{name}_constant"]], abs=5.1e-5)
        assert numbers(row["noise floor"]) == pytest.approx([metrics[f"{name}_floor"]], abs=5.1e-5)
    assert len(table) == 4


def test_questions_equal_the_metrics(card, made):
    found = rows(card, "question")
    for row in read_json(made / "metrics.json")["per_question"]:
        told = found[row["question"]]
        assert int(told["galaxies"]) == row["n"]
        if row["n"]:
            assert numbers(told["accuracy"]) == pytest.approx(
                [row[f"accuracy{end}"] for end in ("", "_lower", "_upper")], abs=5.1e-4
            )
            assert numbers(told["majority"]) == pytest.approx([row["majority"]], abs=5.1e-4)
        else:
            assert told["accuracy"] == told["majority"] == "not known"


def test_calibration_equals_its_file(card, made):
    stored, found = (
        read_json(made / "model" / "calibration.json"),
        rows(card[card.index("## Calibration") :], "question"),
    )
    for row in stored["questions"]:
        told = found[row["question"]]
        assert (
            numbers(told["temperature"]) == pytest.approx([row["temperature"]], abs=5.1e-3)
            and int(told["galaxies"]) == row["galaxies"]
        )
        assert (told["strength"] == "not known") == (row["strength"] is None)
    assert stored["measured_on"]["split"] == "val" and "the split val" in card


def test_data_are_those_of_the_store(card, made, sky):
    store = Store(sky)
    test = [store.ids[i] for i in store.indices("test")]
    assert (
        f"test {len(test):,}" in card
        and ids_sha(test) == read_json(made / "metrics.json")["ids_sha"]
        and ids_sha(test) in card
    )
    assert store.fingerprint in card and "simulated_store(n=220" in card and "a simulated sky" in card


def test_limits_follow_from_the_numbers(card, made):
    metrics, limits = (
        read_json(made / "metrics.json"),
        card[card.index("## Limits") : card.index("## Licences")],
    )

    def told(start):
        line = next((x for x in limits.splitlines() if start in x), "").split(": ")[-1].rstrip(".")
        whole = {f"{name} (all answers)": GZ2.answers[place] for name, place in GZ2.slices.items()}
        return [answer for name in line.split(", ") if name for answer in whole.get(name, [name])]

    weak, unsure = [], []
    for row in (row for row in metrics["per_answer"] if row["n"]):
        better = row["skill_rmse_lower"]
        if better is None and row["rmse_upper"] is not None:
            better = row["constant_rmse"] - row["rmse_upper"]
        if better is None or better <= 0:
            (unsure if better is None else weak).append(row["answer"])
    assert told("No better than a constant") == weak and told("No interval, so perhaps") == unsure and unsure
    few = [row["question"] for row in metrics["per_question"] if row["n"] < 100]
    assert few and all(f"{name} (" in limits for name in few)


def test_missing_parts_are_named(card, made, tmp_path):
    """A card without store and calibration."""
    run = shutil.copytree(made, tmp_path / "run")
    (run / "model" / "calibration.json").unlink()
    assert sommelier("card", run)[0] == 0
    text = (run / "card.md").read_text()
    assert (
        "**made by**: not known" in text
        and "**data set**: not known" in text
        and "Missing: it was not calibrated" in text
    )
    assert rows(text, "score") == rows(card, "score")


def test_without_votes_there_is_no_floor(card, made, tmp_path):
    run = shutil.copytree(made, tmp_path / "run")
    kept = {k: v for k, v in read_json(run / "metrics.json").items() if not k.endswith(("_floor", "_skill"))}
    for table in ("per_answer", "per_question"):
        kept[table] = [
            {k: v for k, v in row.items() if not k.startswith(("floor", "skill"))} for row in kept[table]
        ]
    write_json(run / "metrics.json", kept)
    assert sommelier("card", run)[0] == 0
    assert "there is no noise floor" in (run / "card.md").read_text()


def test_bad_input_is_one_line(card, made, sky, tmp_path):
    refused("no such folder", "card", tmp_path / "nowhere")
    refused("give a run folder", "card", sky)
    unfinished = shutil.copytree(made, tmp_path / "unfinished", ignore=shutil.ignore_patterns("metrics.json"))
    refused("not finished", "card", unfinished)
    other = shutil.copytree(sky, tmp_path / "other")
    header = read_json(other / "store.json")
    write_json(other / "store.json", header | {"schema": HUBBLE.to_dict()})
    refused("was made with schema", "card", made, "--store", other)
    refused(
        "holds other galaxies", "card", made, "--store", simulated_store(tmp_path / "small", n=20, size=32)
    )
    (tmp_path / "file").touch()
    refused("no such folder", "card", tmp_path / "file")
    code, out, errors = command("card", tmp_path / "nowhere")
    assert code == 2 and not out and len(errors.splitlines()) == 1


def test_a_run_without_scores_of_one_store_is_refused(card, made, tmp_path):
    run = shutil.copytree(made, tmp_path / "run")
    quick = {k: v for k, v in read_json(run / "metrics.json").items() if k not in ("per_answer", "resamples")}
    write_json(run / "metrics.json", quick)
    refused("scores no single store", "card", run)


def test_scores_of_other_galaxies_are_refused(card, made, tmp_path):
    run = shutil.copytree(made, tmp_path / "run")
    ids = (run / "ids" / "test.csv").read_text().splitlines()
    (run / "ids" / "test.csv").write_text("\n".join(ids[:-1]))
    refused("scores other galaxies", "card", run)
