"""The site: every link inside it leads somewhere, and a browser shows it without a network."""

import re
import subprocess
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_docs" / "html"
SOURCES = [ROOT / "README.md", *(path for name in ("docs/*.py", "nbs/*/*.*") for path in ROOT.glob(name))]
SEEN = ["index", "nbs/guide/use", "nbs/02_images/03_painting", "api/models", "nbs/experiments/demo"]


@pytest.fixture(scope="module")
def site():
    """The pages, from `make docs`, which is not repeated where nothing changed since."""
    made = SITE / "objects.inv"
    if not made.exists() or made.stat().st_mtime < max(path.stat().st_mtime for path in SOURCES):
        done = subprocess.run(["make", "docs"], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    pages = {page.relative_to(SITE).as_posix(): page for page in SITE.rglob("*.html")}
    return {name: page.read_text() for name, page in pages.items() if not name.startswith("_static/")}


def test_every_link_inside_leads_somewhere(site):
    anchors = {name: set(re.findall(r'\bid="([^"]+)"', text)) for name, text in site.items()}
    lost, count = [], 0
    for name, text in site.items():
        for link in re.findall(r'\b(?:href|src)="([^"]+)"', text):
            path, _, anchor = unquote(unescape(link)).partition("#")
            if re.match(r"[a-z]+:", link) or not (path or anchor):
                continue
            count += 1
            file = (SITE / name).parent.joinpath(path.partition("?")[0]).resolve() if path else SITE / name
            page = file.relative_to(SITE).as_posix() if file.is_relative_to(SITE) else link
            if not file.is_file() or anchor and page in anchors and anchor not in anchors[page]:
                lost.append(f"{name}: {link}")
    assert count > 5000 and not lost, lost[:20]


def test_every_notebook_and_every_page_of_the_guide_is_there(site):
    pages = [path for folder in ("nbs/*/*.ipynb", "nbs/guide/*.md") for path in ROOT.glob(folder)]
    assert len(pages) > 100
    for path in pages:
        assert path.relative_to(ROOT).with_suffix(".html").as_posix() in site, path
    assert not any("#| " in text for text in site.values())  # a mark for nbdev


def test_a_browser_shows_pages_and_formulas_without_a_network(site, browser):
    page, asked, faults = browser.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    for name in SEEN:
        page.goto(f"file://{SITE}/{name}.html")
        assert page.locator("article h1").first.is_visible()
        broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        assert page.evaluate(broken) == [], name
    page.goto(f"file://{SITE}/nbs/02_images/03_painting.html")
    assert page.locator("math msup").count() > 3  # and no TeX in its place
    assert "\\exp(" not in page.inner_text("article")
    assert not faults and all(url.startswith(("file:", "data:", "blob:")) for url in asked), (faults, asked)
    page.close()
