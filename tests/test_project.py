"""The notebooks are the source: modules, README and experiments must agree with them."""

import ast
import filecmp
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
LIBRARY = [p for p in NOTEBOOKS if re.match(r"\d\d_", p.parent.name)]
EXPERIMENTS = [p for p in NOTEBOOKS if p.parent.name == "experiments"]
PACKAGES = ["core", "catalog", "images", "download", "data", "models", "evaluation", "training", "studies",
            "inspector", "cli"]  # fmt: skip
BIN = Path(sys.executable).parent


def cells(notebook, kind="code"):
    return [c for c in nbformat.read(notebook, 4).cells if c.cell_type == kind]


def shell(*command, cwd):
    done = subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the notebooks, exported and cleaned, so that the tree stays unchanged."""
    top = tmp_path_factory.mktemp("copy")
    for name in ("settings.ini", "setup.py", "README.md"):
        shutil.copy(ROOT / name, top)
    shutil.copytree(ROOT / "nbs", top / "nbs", ignore=shutil.ignore_patterns("data", ".ipynb_checkpoints"))
    (top / "galaxy_sommelier").mkdir()
    for name in ("__init__.py", "ruff.toml"):  # written by hand
        shutil.copy(ROOT / "galaxy_sommelier" / name, top / "galaxy_sommelier")
    shell("nbdev_export", cwd=top)
    shell("nbdev_clean", cwd=top)
    return top


def test_modules_are_an_export_of_the_notebooks(copy):
    folders = (ROOT / "galaxy_sommelier", copy / "galaxy_sommelier")
    names = {str(p.relative_to(folder)) for folder in folders for p in folder.rglob("*.py")}
    _, differ, missing = filecmp.cmpfiles(*folders, names, shallow=False)
    assert not differ + missing, f"run `make export`: {sorted(differ + missing)}"


def test_notebooks_are_clean(copy):
    names = [str(p.relative_to(ROOT)) for p in NOTEBOOKS]
    _, differ, missing = filecmp.cmpfiles(ROOT, copy, names, shallow=False)
    assert not differ + missing, f"run `make export`: {sorted(differ + missing)}"


def module_of(notebook: Path) -> str:
    """Return the module that a notebook exports, such as `data.store`."""
    text = "\n".join(cell.source for cell in cells(notebook))
    return re.search(r"^#\s*\|\s*default_exp\s+(\S+)", text, re.M)[1]


def imported(source: str) -> set[str]:
    """Return the modules of this package that a cell imports, anywhere in the cell."""
    found = set()
    source = re.sub(r"^\s*[%!]\w.*$", "", source, flags=re.M)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("galaxy_sommelier."):
            module = node.module.partition(".")[2]
            found |= {module} if "." in module else {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name.partition(".") for alias in node.names]
            found |= {rest for first, _, rest in names if first == "galaxy_sommelier" and rest}
    return found


def test_packages_are_in_their_order():
    folders = sorted({p.parent.name for p in LIBRARY})
    assert [name.partition("_")[2] for name in folders] == PACKAGES
    assert [int(name[:2]) for name in folders] == list(range(len(PACKAGES)))
    wrong = [p for p in LIBRARY if module_of(p) != f"{p.parent.name[3:]}.{p.stem[3:]}"]
    assert not wrong, f"name of the notebook and of its module differ: {wrong}"
    for folder in folders:
        numbers = [int(p.stem[:2]) for p in LIBRARY if p.parent.name == folder]
        assert numbers == list(range(1, len(numbers) + 1)), f"nbs/{folder}: numbers are {numbers}"


def test_a_notebook_imports_only_from_packages_above_and_lower_numbers():
    place = {module_of(p): p.relative_to(ROOT) for p in LIBRARY}
    wrong = []
    for notebook in LIBRARY:
        for module in set().union(*(imported(cell.source) for cell in cells(notebook))):
            if str(place.get(module, "~")) >= str(notebook.relative_to(ROOT)):
                wrong.append(f"{notebook.relative_to(ROOT)} imports {module} of {place.get(module)}")
    assert not wrong, wrong


def test_lines_of_code_are_at_most_110_columns_wide():
    long = [
        f"{notebook.relative_to(ROOT)}: {line.strip()[:60]}"
        for notebook in NOTEBOOKS
        for cell in cells(notebook)
        for line in cell.source.splitlines()
        if len(line) > 110
    ]
    assert not long, long


@pytest.mark.parametrize("notebook", EXPERIMENTS, ids=lambda p: p.stem)
def test_an_experiment_is_parameters_and_calls(notebook):
    from galaxy_sommelier.core.runs import parameters

    assert "out" in parameters(notebook)
    assert len(nbformat.read(notebook, 4).cells) <= 16
    assert not [c for c in cells(notebook) if re.search(r"^\s*(def|class) ", c.source, re.M)], (
        "the library is the place for definitions"
    )


def test_readme_is_made_from_the_index(tmp_path):
    shell("make", "readme", f"VENV={sys.prefix}", f"README={tmp_path / 'README.md'}", cwd=ROOT)
    assert (ROOT / "README.md").read_text() == (tmp_path / "README.md").read_text(), "run `make readme`"


def test_counts_in_messages_agree_with_their_noun():
    """A counted noun goes through `how_many`, which writes "1 galaxy" and not "1 galaxies"."""
    nouns = "galaxies|images|rows|labels|shards|ids|files|runs|columns"
    counted = re.compile(rf"\{{(?!how_many)[^{{}}]*(len\(|sum\(|//)[^{{}}]*\}} ({nouns})\b")
    assert counted.search('f"{len(ids)} galaxies"') and not counted.search("{how_many(len(ids), 'galaxy')}")
    lines = [x for p in (ROOT / "galaxy_sommelier").rglob("*.py") for x in p.read_text().splitlines()]
    assert [line.strip() for line in lines if counted.search(line)] == []
