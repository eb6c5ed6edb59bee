"""Collect what a finished experiment made: tables as Markdown, figures, and the executed notebook as HTML.

Usage: results.py RUN FOLDER   writes FOLDER/<run>.md, FOLDER/<run>.html and the figures into FOLDER/<run>/
"""

import shutil
import sys
from pathlib import Path

import pandas as pd
from nbconvert import HTMLExporter

from galaxy_sommelier.cli.options import with_intervals
from galaxy_sommelier.core.files import remove

MOST = 60  # rows of a table; longer ones, e.g. one row a galaxy, stay in the run folder


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown; the ends of an interval stand in brackets behind their number."""
    rows = [with_intervals(row) for row in table.to_dict("records")]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(row.values() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def tables(run: Path):
    """Yield the name and the Markdown of each table of a run."""
    for path in sorted(run.glob("*.csv")):
        table = pd.read_csv(path)
        if path.name == "stages.csv":  # in the form of README and guide
            from galaxy_sommelier.evaluation.evaluate import readable  # here, because it takes seconds

            table = readable(table).reset_index()
        if 0 < len(table) <= MOST:
            yield path.name, markdown(table)


run, folder = Path(sys.argv[1]), Path(sys.argv[2])
folder.mkdir(exist_ok=True)
figures = folder / run.name
remove(figures)
if (run / "figures").is_dir():
    shutil.copytree(run / "figures", figures)
(folder / f"{run.name}.html").write_text(HTMLExporter().from_filename(run / "notebook.ipynb")[0])
parts = [f"# {run.name}", *(f"## {name}\n\n{text}" for name, text in tables(run))]
parts += [f"![{path.stem}]({run.name}/{path.name})" for path in sorted(figures.glob("*.png"))]
(folder / f"{run.name}.md").write_text("\n\n".join(parts) + "\n")
