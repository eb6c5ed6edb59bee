"""Where published tables and figures come from: `python benchmarks/published.py` lists those of older code.

A comment on the line before a table of numbers or a figure says it, in one of two forms:

    <!-- source: FILE + FILE; revision: COMMIT; code: PATH PATH; anything else that is known -->
    <!-- source: not on record; revision: COMMIT; code: PATH PATH; anything else that is known -->

Each cell of the table is compared with the value of its row and column in FILE. `revision` is the commit that
brought the numbers, unless `made by` names the code that made them. PATH, a notebook, script or module, makes
them again, and stands for all modules of the package that it imports; what is no code stands for itself.
"""

import ast
import csv
import json
import re
import subprocess
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "galaxy_sommelier"
PAGES = [ROOT / "README.md", *sorted((ROOT / "nbs" / "guide").glob("*.md"))]
FORM = r"[^;]+; revision: [0-9a-f]{7}; code: [^ ;]+( [^ ;]+)*(; [^;:]+: [^;]+)*"
SOURCE = re.compile(f"<!-- source: ({FORM}) -->$")
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
NUMBERS = re.compile(r"[-+\d., \[\]]*\d[-+\d., \[\]]*$")  # a cell that holds nothing else
# rows and columns as they are published, and their names in the files
NAMES = {
    "training mean": "constant",
    "kaggle-longer": "gz2_scores",  # the only model of that file
    "seventh galaxy": "587732771585720453",
    "RMSE": "rmse",
    "RMSE, 37 Kaggle columns": "kaggle_rmse",
    "RMSE over 37 answers": "kaggle_rmse",
    "mean r": "mean_r",
    "mean r over the 37": "mean_r",
    "mean correlation": "mean_r",
    "smooth or featured, accuracy": "smooth_featured_accuracy",
    "galaxies": "n",
    "labels": "preset",
    "always the majority": "majority",
    "balanced accuracy": "balanced_accuracy",
    "agreement": "accuracy",
    "difference": "rmse_difference",
}
VALUES = ("score", "r")  # what a cell shows whose row and column both say where, not what

Record = tuple[set[str], dict[str, str]]  # what says where it is; values by name


def cells(line: str) -> list[str]:
    """Return the cells of a row of a Markdown table."""
    return [cell.strip() for cell in line.replace("`", "").strip().strip("|").split("|")]


def published(page: Path) -> Iterator[tuple[int, str | None, list[list[str]]]]:
    """Yield line, source and rows, header first, of each table of measured numbers; a figure has no rows."""
    lines = page.read_text().splitlines()
    for i, line in enumerate(lines):
        table = line.startswith("|") and lines[i + 1 : i + 2] and lines[i + 1].startswith("| ---")
        rows = [cells(line)] if table else []
        for row in lines[i + 2 :] if table else []:
            if not row.startswith("|"):
                break
            rows.append(cells(row))
        measured = any(NUMBERS.match(cell) and "." in cell for row in rows[1:] for cell in row[1:])
        if measured or line.startswith("!["):
            found = SOURCE.match(lines[i - 1])
            yield i + 1, found and found[1], rows


def fields(source: str) -> dict[str, str]:
    """Return what a comment says, by name; `files` are those that it names."""
    files, *others = source.split("; ")
    return {"files": files} | dict(other.split(": ", 1) for other in others)


def records(path: Path) -> list[Record]:
    """Return each row of a CSV, or each object of a JSON file."""
    start = {path.stem, path.parent.name}
    if path.suffix == ".csv":
        with path.open() as file:
            return [({*start, *map(name, row.values())}, row) for row in csv.DictReader(file)]
    found = []

    def walk(value, texts):
        if isinstance(value, list):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            texts = {*texts, *(item for item in value.values() if isinstance(item, str))}
            numbers = {str(key): "" if item is None else str(item) for key, item in value.items()}
            ending = "_constant"
            constant = {key.removesuffix(ending): numbers[key] for key in numbers if key.endswith(ending)}
            found.extend([(texts, numbers), ({*texts, "constant"}, constant)])
            for key, item in value.items():
                walk(item, {*texts, str(key)})

    walk(json.loads(path.read_text()), start)
    return found


def name(text: str) -> str:
    """Return the name in the files of a row or column; what explains it is left out."""
    short = re.split(r": |, without|, the ", text)[0]
    return NAMES.get(short, short)


def lookup(record: Record, wanted: set[str]) -> list[str] | None:
    """Return a value and the ends of its interval, or None if the record has no such value."""
    texts, values = record
    left = wanted - texts
    value = left.pop() if left else next((value for value in VALUES if value in values), "")
    if left or value not in values:
        return None
    stem = re.sub("_(fraction|difference)$", "", value)
    return [values[value], *(values.get(f"{stem}_{end}", values.get(end, "")) for end in ("lower", "upper"))]


def equal(cell: str, known: list[str]) -> bool:
    """Return whether a cell shows a value, alone or with its interval, rounded to the digits shown."""
    shown = NUMBER.findall(cell) if NUMBERS.match(cell) else []
    try:
        pairs = [(Decimal(a.replace(",", "")), Decimal(b)) for a, b in zip(shown, known, strict=False)]
    except InvalidOperation:  # the file has a text or nothing
        return cell == known[0]
    if not shown:
        return cell == known[0]
    near = (abs(a - b) <= Decimal(5).scaleb(a.as_tuple().exponent - 1) for a, b in pairs)
    return len(shown) in (1, 3) and all(near)


def differences(rows: list[list[str]], files: list[Path]) -> list[str]:
    """Return the cells that do not show what the files have for their row and column."""
    wrong, everything = [], [record for path in files for record in records(path)]
    header = rows[0]
    for row in rows[1:]:
        pairs = list(zip(header[1:], row[1:], strict=True))
        where = {name(row[0]), *(cell for title, cell in pairs if title == "stage" and cell)}
        for title, cell in pairs:
            found = [known for record in everything if (known := lookup(record, where | {name(title)}))]
            if not any(equal(cell, known) for known in found) and (found or NUMBERS.match(cell)):
                wrong.append(f"{row[0]}, {title}: {cell}")
    return wrong


def modules(path: Path) -> Iterator[Path]:
    """Yield the files of the package that a notebook, script or module imports."""
    text = path.read_text()
    if path.suffix == ".ipynb":
        code = [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        text = "\n".join("".join(lines) for lines in code)
    for node in ast.walk(ast.parse(text)):
        names = []
        if isinstance(node, ast.ImportFrom):
            start = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            origin = [*start, *(node.module or "").split(".")]
            names = [origin, *([*origin, alias.name] for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        for parts in names:
            file = ROOT.joinpath(*parts)
            if parts[0] == PACKAGE:
                yield from filter(Path.is_file, (file.with_suffix(".py"), file / "__init__.py"))


def closure(paths: list[Path]) -> set[Path]:
    """Return files with all of the package that they import, directly or not."""
    seen, left = set(), list(paths)
    while left:
        if (path := left.pop()) not in seen:
            seen.add(path)
            left += modules(path) if path.suffix in (".py", ".ipynb") else []
    return seen


def git(*words: str) -> str:
    """Return what git prints, or raise CalledProcessError."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Print a line for each table and figure whose code changed since it was made."""
    for page in PAGES:
        for line, source, _ in published(page):
            place = f"{page.relative_to(ROOT)}:{line}"
            if not source:
                print(f"{place}: no source on the line before, or not in the form of benchmarks/published.py")
                continue
            known = fields(source)
            revision = known.get("made by", known["revision"])
            paths = closure([ROOT / path for path in known["code"].split()])
            try:
                changed = git("diff", "--name-only", revision, "--", *map(str, paths)).split()
            except subprocess.CalledProcessError:
                print(f"{place}: {revision} is not in this clone; fetch the whole history")
                continue
            if changed:
                more = ", ..." if len(changed) > 5 else ""
                of = f"{len(changed)} of {len(paths)} files changed since {revision}"
                print(f"{place}: stale, {of}: {', '.join(changed[:5])}{more}")


if __name__ == "__main__":
    main()
