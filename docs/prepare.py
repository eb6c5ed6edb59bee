"""Write the sources of the site: notebooks as people read them, the guide, a page of signatures by package.

    python docs/prepare.py SOURCE
"""

import ast
import json
import re
import shutil
import sys
import textwrap
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "https://github.com/galaxy-sommelier/galaxy-sommelier"
SHOWN = ("figures", "configs", "benchmarks", "LICENSE", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md")
WIDGET = "application/vnd.jupyter.widget-view+json"
LINK = re.compile(r"(\]\()([^)#\s]+)")


def readable(cell: dict) -> dict | None:
    """Return a code cell without what is meant for nbdev; None if nobody should read it."""
    lines = cell["source"] if isinstance(cell["source"], list) else cell["source"].splitlines(keepends=True)
    marks = {line[2:].strip().split()[0] for line in lines if line.startswith("#|")}
    if marks & {"hide", "default_exp"}:
        return None
    cell["source"] = [line for line in lines if not line.startswith("#|")]
    if "export" in marks:
        cell["metadata"]["tags"] = [*cell["metadata"].get("tags", []), "hide-input"]
    outputs = [o for o in cell["outputs"] if WIDGET not in o.get("data", {}) and o.get("name") != "stderr"]
    cell["outputs"] = outputs
    return cell


def linked(text: str, folder: Path) -> str:  # folder: of the page
    """Point links to what is not part of the site to the repository."""

    def target(found):
        path = (folder / found[2]).resolve()
        inside = path.is_relative_to(ROOT) and "://" not in found[2]
        if not inside or path.is_file() and path.relative_to(ROOT).parts[0] in (*SHOWN, "nbs"):
            return found[0]
        kind = "tree" if path.is_dir() else "blob"
        return f"{found[1]}{REPOSITORY}/{kind}/main/{path.relative_to(ROOT)}"

    return LINK.sub(target, text)


def notebook(path: Path) -> str:
    """Return a notebook as people read it."""
    book = json.loads(path.read_text())
    cells = [cell if cell["cell_type"] != "code" else readable(cell) for cell in book["cells"]]
    book["cells"] = [cell for cell in cells if cell and "".join(cell["source"]).strip()]
    for cell in book["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = linked("".join(cell["source"]), path.parent)
    book["metadata"]["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    return json.dumps(book)


def signature(node: ast.AST, lines: list[str]) -> list[str]:
    """Return the lines of a definition before its body, with the comments of its parameters."""
    return lines[node.lineno - 1 : node.body[0].lineno - 1] or [lines[node.lineno - 1]]


def definition(node: ast.AST, lines: list[str]) -> str:
    """Return a function, or a class with its fields and methods, as a section of a page."""
    shown = signature(node, lines)
    for part in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(part, ast.AnnAssign):
            shown += lines[part.lineno - 1 : part.end_lineno]
        elif isinstance(part, ast.FunctionDef) and (part.name == "__init__" or part.name[0] != "_"):
            told = ast.get_docstring(part)
            remark = [f"        # {told}"] if told and "\n" not in told else []
            shown += ["", *signature(part, lines), *remark]
    code = textwrap.dedent("\n".join(shown))
    return f"### {node.name}\n\n{ast.get_docstring(node) or ''}\n\n```python\n{code}\n```\n"


def functions(package: str) -> str:
    """Return a page with the signatures of a package's modules."""
    parts = [f"# {package}\n"]
    for file in sorted((ROOT / "galaxy_sommelier" / package).glob("[a-z]*.py")):
        text = file.read_text()
        module = ast.parse(text)
        parts.append(f"## {package}.{file.stem}\n\n{ast.get_docstring(module) or ''}\n")
        kinds = (ast.FunctionDef, ast.ClassDef)
        nodes = [node for node in module.body if isinstance(node, kinds) and node.name[0] != "_"]
        parts += [definition(node, text.splitlines()) for node in nodes]
    return "\n".join(parts)


def tree(caption: str, pages: list[str]) -> str:
    """Return a chapter of the table of contents."""
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])


def listing(title: str, folder: Path) -> str:
    """Return a page that lists the notebooks of a folder."""
    notebooks = sorted(path.stem for path in folder.glob("*.ipynb"))
    return "\n".join([f"# {title}", "", "```{toctree}", *notebooks, "```", ""])


def cite() -> str:
    """Return CITATION.cff as a page."""
    known = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    lines = ["# Cite", "", known["message"], ""]
    for one in known["references"]:
        who = ", ".join(each.get("family-names") or each["name"] for each in one["authors"])
        where = f"https://doi.org/{one['doi']}" if "doi" in one else one["url"]
        lines.append(f"- {who} ({one['year']}): [{one['title']}]({where}). {one['notes']}")
    return "\n".join([*lines, ""])


def main(out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    for name in SHOWN:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, out / name)
    for path in sorted((ROOT / "nbs").glob("*/*.*")):
        if path.suffix in (".ipynb", ".md"):
            page = out / path.relative_to(ROOT)
            page.parent.mkdir(parents=True, exist_ok=True)
            made = notebook(path) if path.suffix == ".ipynb" else linked(path.read_text(), path.parent)
            page.write_text(made)
    folders = sorted(path for path in (out / "nbs").iterdir() if path.name != "guide")
    for folder in folders:
        (folder / "index.md").write_text(listing(folder.name.partition("_")[2] or folder.name, folder))
    packages = [folder.name[3:] for folder in folders if folder.name != "experiments"]
    (out / "api").mkdir()
    for package in packages:
        (out / "api" / f"{package}.md").write_text(functions(package))
    (out / "cite.md").write_text(cite())
    chapters = {name: [f"nbs/guide/{page}" for page in pages] for name, pages in GUIDE.items()}
    chapters["Notebooks by package"] = [f"nbs/{folder.name}/index" for folder in folders]
    chapters["API"] = [f"api/{package}" for package in packages]
    chapters["Carry it on"] = ["benchmarks/README", "benchmarks/peers", "CONTRIBUTING", "CHANGELOG", "cite"]
    start = linked((ROOT / "README.md").read_text(), ROOT)
    (out / "index.md").write_text("\n\n".join([start, *(tree(*chapter) for chapter in chapters.items())]))


GUIDE = {
    "Use": ["use", "inspect"],
    "Train": ["train", "own_labels"],
    "Your survey": ["your_survey"],
    "Results": ["results", "predecessors"],
    "At NERSC": ["nersc"],
    "Help": ["troubleshooting", "code"],
}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
