"""Where published tables and figures come from: `python benchmarks/published.py` lists those of older code.

A comment on the line before a table of numbers or a figure names the files that it renders:

    <!-- source: FILE + FILE; revision: COMMIT; modules: PATH PATH; anything else that is known -->
    <!-- source: not on record (what is known) -->

`revision` is the commit that the file was committed with, unless `made by` names the code that made it.
"""

import csv
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "nbs" / "guide").glob("*.md"))]
COMMENT = re.compile(r"<!-- source: (.+) -->$")
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
NUMBERS = re.compile(r"[-+\d., \[\]]*\d[-+\d., \[\]]*$")  # a cell that holds nothing else
LABELS = {"constant": "training mean"}  # names of one row in older files


def cells(line: str) -> list[str]:
    """Return the cells of a row of a Markdown table."""
    return [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]


def published(page: Path) -> Iterator[tuple[int, str | None, list[list[str]]]]:
    """Yield line, source and rows of each table of measured numbers; a figure has no rows."""
    lines = page.read_text().splitlines()
    for i, line in enumerate(lines):
        table = line.startswith("|") and lines[i + 1 : i + 2] and lines[i + 1].startswith("| ---")
        rows = []
        for row in lines[i + 2 :] if table else []:
            if not row.startswith("|"):
                break
            rows.append(cells(row))
        measured = any(NUMBERS.match(cell) and "." in cell for row in rows for cell in row[1:])
        if measured or line.startswith("!["):
            found = COMMENT.match(lines[i - 1])
            yield i + 1, found and found[1], rows


def fields(source: str) -> dict[str, str]:
    """Return what a comment says, by name; `files` are those that it names."""
    files, *others = source.split("; ")
    return {"files": files} | dict(other.split(": ", 1) for other in others if ": " in other)


def records(path: Path) -> list[tuple[set[str], list[float]]]:
    """Return texts and numbers of each row of a CSV, or of each object of a JSON file."""
    if path.suffix == ".csv":
        with path.open() as file:
            return [(set(row), numbers(row)) for row in list(csv.reader(file))[1:]]
    found = []

    def walk(value, names):
        if isinstance(value, list):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            texts = {str(item) for item in value.values() if isinstance(item, str)}
            found.append(({*names, *texts}, numbers(map(str, value.values()))))
            for name, item in value.items():
                walk(item, {*names, *texts, str(name)})

    walk(json.loads(path.read_text()), {path.stem})
    return found


def numbers(texts) -> list[float]:
    """Return those texts that are numbers."""
    return [float(text) for text in texts if re.fullmatch(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", text)]


def differences(rows: list[list[str]], files: list[Path]) -> list[str]:
    """Return the cells whose numbers stand together nowhere in the files, rounded to the digits shown.

    Where a file has rows or objects of the name in the first column, only these count.
    """
    wrong = []
    everything = [records(path) for path in files]
    for row in rows:
        key = re.split(r": |, without", row[0])[0].replace("`", "").replace(",000", "000")
        names = {key, LABELS.get(key, key)}
        allowed = []
        for known in everything:
            of_row = [(texts, values) for texts, values in known if names & texts]
            if row[1:] and any(row[1] in texts for texts, _ in of_row):  # backbone and stage
                of_row = [(texts, values) for texts, values in of_row if row[1] in texts]
            allowed += of_row or known
        for cell in row[1:]:
            shown = NUMBER.findall(cell) if NUMBERS.match(cell) else []
            if shown and not any(together(shown, values) for _, values in allowed):
                wrong.append(f"{row[0]}: {cell}")
    return wrong


def together(shown: list[str], values: list[float]) -> bool:
    """Return whether numbers as shown (one, or one with its interval) are among the values, rounded."""
    exact = [float(text.replace(",", "")) for text in shown]
    if len(exact) == 3 and not exact[1] <= exact[0] <= exact[2]:
        return False
    left = list(values)
    for text, number in zip(shown, exact, strict=True):
        half = 0.5000001 * 10 ** -len(text.partition(".")[2])
        if not (fits := [value for value in left if abs(number - value) <= half]):
            return False
        left.remove(fits[0])
    return True


def git(*words: str) -> str:
    """Return what git prints, or raise CalledProcessError."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Print a line for each table and figure whose modules changed since it was made."""
    for page in PAGES:
        for line, source, _ in published(page):
            known, place = fields(source or "no source"), f"{page.relative_to(ROOT)}:{line}"
            if "modules" not in known:
                print(f"{place}: {source or 'no source'}")
                continue
            revision = known.get("made by", known["revision"])
            changed = git("diff", "--name-only", revision, "--", *known["modules"].split()).split()
            if changed:
                print(f"{place}: stale, {len(changed)} files changed since {revision}: {', '.join(changed)}")


if __name__ == "__main__":
    main()
