"""Published tables and figures: each names its file, and its numbers are those of the file."""

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

import published as module  # noqa: E402
from published import PAGES, closure, differences, fields, published  # noqa: E402

ALL = [
    pytest.param(source, rows, id=f"{page.stem}:{line}")
    for page in PAGES
    for line, source, rows in published(page)
]


@pytest.mark.parametrize("source, rows", ALL)
def test_a_table_shows_the_numbers_of_its_file(source, rows):
    assert source, "write where it comes from on the line before, in a form of benchmarks/published.py"
    known = fields(source)
    assert [name for name in known["code"].split() if not (ROOT / name).exists()] == []
    if known["files"] == "not on record":
        return
    files = [ROOT / name for name in known["files"].split(" + ")]
    assert [path for path in files if not path.is_file()] == []
    assert not rows or differences(rows, files) == []


HEADER = ["stage", "RMSE", "mean r", "label"]
ROWS = [
    ["probe", "0.111 [0.109, 0.113]", "0.62", "spiral"],
    ["full", "0.091 [0.089, 0.092]", "0.73", "edge_on"],
]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text(
        "stage,rmse,rmse_lower,rmse_upper,mean_r,label\n"
        "probe,0.1114,0.109,0.113,0.62,spiral\nfull,0.0908,0.089,0.092,0.73,edge_on\n"
    )
    return path


def test_a_changed_number_text_or_name_is_noticed(table):
    assert differences([HEADER, *ROWS], [table]) == []
    for cell in ("0.090 [0.089, 0.092]", "0.091 [0.089, 0.093]", "0.091 [0.092, 0.089]", "0.091 [0.089]", ""):
        rows = [HEADER, ROWS[0], ["full", cell, *ROWS[1][2:]]]
        assert differences(rows, [table]) == [f"full, RMSE: {cell}"]
    assert differences([HEADER, ["full", *ROWS[1][1:3], "spiral"]], [table]) == ["full, label: spiral"]
    assert differences([HEADER, ["head", *ROWS[1][1:]]], [table]) == [
        "head, RMSE: 0.091 [0.089, 0.092]",
        "head, mean r: 0.73",
    ]
    assert differences([["stage", "unheard of"], ["full", "0.73"]], [table]) == ["full, unheard of: 0.73"]


def test_any_two_cells_that_change_places_are_noticed(table):
    for (i, a), (j, b) in combinations([(i, column) for i in (0, 1) for column in (1, 2, 3)], 2):
        rows = [list(row) for row in ROWS]
        rows[i][a], rows[j][b] = rows[j][b], rows[i][a]
        assert differences([HEADER, *rows], [table]), (i, a, j, b)


@pytest.mark.parametrize(
    "comment, read",
    [
        ("not on record; revision: 2959990; code: a.ipynb b.py; date: 2026-11-27", True),
        ("a.csv + b, c.json; revision: 2959990; code: a.ipynb", True),
        ("not on record (a picture of the screen)", False),
        ("not on record; code: a.ipynb", False),
        ("not on record; revision: 2959990; date: 2026-11-27", False),
        ("not on record; revision: 2959990; code: a.ipynb; measured long ago", False),
    ],
)
def test_where_a_table_comes_from_is_said_in_one_form(comment, read, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"<!-- source: {comment} -->\n| stage | RMSE |\n| --- | --- |\n| full | 0.091 |\n")
    assert list(published(page)) == [(2, comment if read else None, [["stage", "RMSE"], ["full", "0.091"]])]


def test_the_code_of_a_notebook_is_all_that_it_imports_and_nothing_else():
    found = {path.relative_to(ROOT).as_posix() for path in closure([ROOT / "nbs/experiments/gz2_test.ipynb"])}
    assert {"nbs/experiments/gz2_test.ipynb", "galaxy_sommelier/catalog/classes.py"} <= found
    assert "galaxy_sommelier/core/files.py" in found  # imported by a module that it imports
    assert not any(name.startswith("galaxy_sommelier/inspector/") for name in found)


def test_only_a_change_of_code_that_made_a_table_makes_it_stale(tmp_path, monkeypatch, capsys):
    def git(*words):
        names = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return subprocess.run(
            ["git", *names, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    page, package = tmp_path / "page.md", tmp_path / module.PACKAGE
    package.mkdir()
    for name, text in {"used": "from .deeper import A", "deeper": "A = 1", "other": "B = 1"}.items():
        (package / f"{name}.py").write_text(text + "\n")
    (tmp_path / "run.py").write_text("from galaxy_sommelier import used\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    source = f"not on record; revision: {git('rev-parse', '--short=7', 'HEAD').strip()}; code: run.py"
    page.write_text(f"<!-- source: {source} -->\n![figure](a.png)\n")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "PAGES", [page])

    (package / "other.py").write_text("B = 2\n")
    module.main()
    assert capsys.readouterr().out == ""
    (package / "deeper.py").write_text("A = 2\n")
    module.main()
    found = capsys.readouterr().out
    assert found.startswith("page.md:2: stale, 1 of 3 files changed") and "deeper.py" in found
    page.write_text(page.read_text().replace(source, source.replace(source.split()[4], "0000000;")))
    module.main()
    assert "page.md:2: 0000000 is not in this clone" in capsys.readouterr().out
