"""README and guide: their commands, links, pictures and Python blocks are right."""

import re
import shlex
from pathlib import Path

import click
import pytest

from galaxy_sommelier.cli.main import main
from galaxy_sommelier.core.config import read_config, value_of
from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.core.runs import find_experiment, merge
from galaxy_sommelier.core.slurm import load_profile
from galaxy_sommelier.training.settings import load_settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "nbs" / "guide").glob("*.md"))
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(page: Path, language: str) -> list[str]:  # language: "" for shell
    """Return the fenced blocks of a page, without their indent."""
    found = BLOCK.findall(page.read_text())
    return [re.sub(rf"^{indent}", "", text, flags=re.M) for indent, name, text in found if name == language]


def commands(page: Path) -> list[str]:
    """Return the commands of `sommelier` in the blocks of a page."""
    text = "\n".join(blocks(page, "")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.startswith("sommelier ")]


COMMANDS = [pytest.param(line, id=f"{page.stem}: {line[:60]}") for page in PAGES for line in commands(page)]


def values_of(verb: str, given: dict) -> dict:
    """Return the values that a verb would use; unknown names and wrong types are refused."""
    values = {name: value_of(value) for name, value in given.get("pairs") or ()}
    if verb == "train":
        return vars(load_settings(given["config"], **values))
    if verb == "run":
        config = read_config(given["config"]) if given["config"] else {}
        return merge(find_experiment(given["experiment"]), config, values)
    return values


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_names_existing_verbs_options_and_parameters(line, tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    verb, *words = shlex.split(line, comments=True)[1:]
    try:
        given = main.commands[verb].make_context(verb, words).params
    except click.exceptions.Exit:  # `train --show` prints and stops
        return
    if profile := given.get("profile"):
        load_profile(profile, dict(given["keys"]))
    if verb == "submit":
        verb, *words = given["words"]
        given = main.commands[verb].make_context(verb, words).params
    values = values_of(verb, given)
    if "dino" in str(values.get("backbone")):  # patches of 14 pixels
        assert values["image_size"] % 14 == 0


def test_a_command_that_is_wrong_is_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(click.UsageError):
        main.commands["show"].make_context("show", ["a.csv", "images", "--size", "3", "--out", "a.png"])
    with pytest.raises(BadInput):
        values_of("train", {"pairs": [("epoch", "3")], "config": None})


def test_the_readme_shows_the_commands_that_a_newcomer_needs():
    verbs = {line.split()[1] for line in commands(ROOT / "README.md")}
    assert verbs >= {"prepare", "train", "predict", "show", "evaluate", "run"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_compile(page):
    for block in blocks(page, "python"):
        compile(block, str(page), "exec")


def anchors(page: Path) -> set[str]:
    """Return the names of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_resolve(page):
    lost = []
    for link in LINK.findall(BLOCK.sub("", page.read_text())):
        path, _, place = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if link.startswith(("https://", "http://")):
            continue
        if not target.exists() or (place and target.suffix == ".md" and place not in anchors(target)):
            lost.append(link)
    assert not lost, f"{page.name}: {lost}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130
