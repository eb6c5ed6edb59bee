"""Published tables and figures: each names its file, and its numbers are those of the file."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from published import PAGES, differences, fields, published  # noqa: E402

ALL = [
    pytest.param(source, rows, id=f"{page.stem}:{line}")
    for page in PAGES
    for line, source, rows in published(page)
]


@pytest.mark.parametrize("source, rows", ALL)
def test_a_table_shows_the_numbers_of_its_file(source, rows):
    assert source, "write `<!-- source: ... -->` on the line before, see benchmarks/published.py"
    if source.startswith("not on record ("):
        return
    known = fields(source)
    files = [ROOT / name for name in known["files"].split(" + ")]
    assert [path for path in files if not path.is_file()] == []
    assert known["revision"] and all((ROOT / name).exists() for name in known["modules"].split())
    assert differences(rows, files) == []


def test_a_changed_number_a_missing_source_and_a_swapped_row_are_noticed(tmp_path):
    table = tmp_path / "scores.csv"
    table.write_text("stage,rmse,lower,upper\nprobe,0.1114,0.109,0.113\nfull,0.0908,0.089,0.092\n")
    page = tmp_path / "page.md"
    page.write_text("text\n| stage | RMSE |\n| --- | --- |\n| full | 0.091 [0.089, 0.092] |\n")
    assert [(line, source) for line, source, _ in published(page)] == [(2, None)]
    assert differences([["full", "0.091 [0.089, 0.092]"]], [table]) == []
    for cell in ("0.090 [0.089, 0.092]", "0.091 [0.089, 0.093]", "0.111 [0.109, 0.113]"):
        assert differences([["full", cell]], [table]) == [f"full: {cell}"]
