"""The notebooks are the source: modules, README and experiments must agree with them."""

import ast
import filecmp
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from galaxy_sommelier.cli.main import main
from galaxy_sommelier.core.config import read_config, value_of
from galaxy_sommelier.core.runs import find_experiment, merge
from galaxy_sommelier.training.settings import load_settings

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
LIBRARY = sorted(p for p in NOTEBOOKS if p.parent == ROOT / "nbs" and p.stem != "index")
EXPERIMENTS = [p for p in NOTEBOOKS if p.parent.name == "experiments"]
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
    """A copy of the notebooks, exported and cleaned: the tree itself stays as it is."""
    top = tmp_path_factory.mktemp("copy")
    for name in ("settings.ini", "setup.py", "README.md"):
        shutil.copy(ROOT / name, top)
    shutil.copytree(ROOT / "nbs", top / "nbs", ignore=shutil.ignore_patterns("data", ".ipynb_checkpoints"))
    shutil.copytree(
        ROOT / "galaxy_sommelier",
        top / "galaxy_sommelier",
        ignore=shutil.ignore_patterns("*.py", "__pycache__"),
    )
    (top / "galaxy_sommelier" / "__init__.py").touch()
    shell("nbdev_export", cwd=top)
    shell("nbdev_clean", cwd=top)
    return top


def test_modules_are_an_export_of_the_notebooks(copy):
    names = {p.name for folder in (ROOT, copy) for p in (folder / "galaxy_sommelier").glob("*.py")}
    _, differ, missing = filecmp.cmpfiles(
        ROOT / "galaxy_sommelier", copy / "galaxy_sommelier", names, shallow=False
    )
    assert not differ + missing, f"run `make export`: {sorted(differ + missing)}"


def test_notebooks_are_clean(copy):
    names = [str(p.relative_to(ROOT)) for p in NOTEBOOKS]
    _, differ, missing = filecmp.cmpfiles(ROOT, copy, names, shallow=False)
    assert not differ + missing, f"run `make export`: {sorted(differ + missing)}"


def imported(source: str) -> set[str]:
    """Modules of this package that a cell imports, wherever in the cell."""
    found = set()
    source = re.sub(r"^\s*[%!].*$", "", source, flags=re.M)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("galaxy_sommelier"):
            _, _, module = node.module.partition(".")
            found |= {module} if module else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {
                alias.name.split(".")[1] for alias in node.names if alias.name.startswith("galaxy_sommelier.")
            }
    return found


def test_a_notebook_imports_only_from_lower_numbers():
    place = {}
    for notebook in LIBRARY:
        for cell in cells(notebook):
            if name := re.search(r"^#\s*\|\s*default_exp\s+(\w+)", cell.source, re.M):
                place[name[1]] = notebook.name
    wrong = [
        f"{notebook.name} imports {module} of {place.get(module, 'no notebook')}"
        for notebook in LIBRARY
        for cell in cells(notebook)
        for module in imported(cell.source)
        if place.get(module, "~") >= notebook.name
    ]
    assert len(place) == len(LIBRARY) and not wrong, wrong


@pytest.mark.parametrize("notebook", EXPERIMENTS, ids=lambda p: p.stem)
def test_an_experiment_is_parameters_and_calls(notebook):
    from galaxy_sommelier.core.runs import parameters

    assert "out" in parameters(notebook)
    assert len(nbformat.read(notebook, 4).cells) <= 15
    assert not [c for c in cells(notebook) if re.search(r"^\s*(def|class) ", c.source, re.M)], (
        "the library is the place for definitions"
    )


def test_readme_is_made_from_the_index(tmp_path):
    shell("make", "readme", f"VENV={sys.prefix}", f"README={tmp_path / 'README.md'}", cwd=ROOT)
    assert (ROOT / "README.md").read_text() == (tmp_path / "README.md").read_text(), "run `make readme`"


README = (ROOT / "README.md").read_text()
COMMANDS = [line for line in re.findall(r"^sommelier (?!--).*$", README, re.MULTILINE)]


@pytest.mark.parametrize("line", COMMANDS)
def test_the_readme_names_only_verbs_options_and_parameters_that_exist(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    verb, *words = shlex.split(line, comments=True)[1:]
    given = main.commands[verb].make_context(verb, words).params
    values = {name: value_of(value) for name, value in given.get("pairs") or ()}
    if verb == "train":
        values = vars(load_settings(given["config"], **values))
    if verb == "run":
        values = merge(
            find_experiment(given["experiment"]),
            read_config(given["config"]) if given["config"] else {},
            values,
        )
    if "dino" in str(values.get("backbone")) or verb == "train":  # patches of 14 pixels
        assert values["image_size"] % 14 == 0


def test_the_readme_shows_the_verbs_that_a_newcomer_needs():
    assert {line.split()[1] for line in COMMANDS} >= {"prepare", "train", "predict", "evaluate", "run"}
