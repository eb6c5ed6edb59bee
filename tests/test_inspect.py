"""The inspector in a real JupyterLab and browser: clicks, typed text, and the files afterwards."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from lab import FLAGS, Lab, Page

from galaxy_sommelier.core.runs import run_experiment
from galaxy_sommelier.data.store import Store, simulated_store
from galaxy_sommelier.inspector.annotations import AnnotationFile, corrected_store
from galaxy_sommelier.models.model import load_model
from galaxy_sommelier.models.predict import predict
from galaxy_sommelier.training.settings import make_settings
from galaxy_sommelier.training.stages import train

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "nbs" / "experiments" / "inspect.ipynb"
SAME_COLOUR = """
import numpy as np
def same_colour(image, row, column):
    means = image.astype(float).reshape(8, image.shape[0] // 8, 8, image.shape[1] // 8, 3).mean(axis=(1, 3))
    return -np.abs(means - means[row, column]).sum(axis=-1)
view = inspector(galaxies, said, annotations, embeddings, similarity=same_colour, grid=(8, 8))
view
"""


@pytest.fixture(scope="module")
def browser():
    """Chromium; without it the test is skipped or fails, with the reason."""
    complain = pytest.fail if os.environ.get("GALAXY_SOMMELIER_REQUIRE_REAL") == "1" else pytest.skip
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        complain("needs the package playwright (pip install playwright)")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        complain("needs a Chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with store, model and predictions, the experiment's notebook, and one for similar patches."""
    folder = tmp_path_factory.mktemp("inspect")
    store = Store(simulated_store(folder / "sky", n=120, size=96, seed=3))
    network = load_model(
        train(
            store.path,
            folder / "head",
            make_settings(stage="head", backbone="tiny", image_size=56, epochs=3, seed=3),
        )
    )
    predict(store, network, out=folder / "predictions.parquet", tta=False)
    book = nbformat.read(NOTEBOOK, 4)
    cell = next(cell for cell in book.cells if "parameters" in cell.metadata.get("tags", []))
    for name, value in {
        "store": folder / "sky",
        "annotations": folder / "labels.csv",
        "model": folder / "head",
        "predictions": folder / "predictions.parquet",
    }.items():
        cell.source, changed = re.subn(rf'^({name}: str = )""', rf'\1"{value}"', cell.source, flags=re.M)
        assert changed == 1
    nbformat.write(book, folder / "inspect.ipynb")
    later = "seen =", "annotation_table", "corrected_fractions"
    book.cells = [cell for cell in book.cells if not cell.source.startswith(later)]
    book.cells.append(nbformat.v4.new_code_cell(SAME_COLOUR))
    nbformat.write(book, folder / "patches.ipynb")
    return folder


@pytest.fixture(scope="module")
def lab(home, browser):
    running = Lab(home)
    yield running
    running.close()


@pytest.fixture(scope="module")
def page(browser, lab):
    opened = Page(browser, lab, "inspect.ipynb")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def patches(browser, lab):
    opened = Page(browser, lab, "patches.ipynb")
    yield opened
    opened.close()


def said(home):
    """Return the newest value of each field of each galaxy in the annotation file, read by pandas alone."""
    lines = pd.read_csv(home / "labels.csv", keep_default_na=False)
    newest = lines.groupby(["id_str", "field"]).value.last()
    return newest[newest != ""].to_dict()


def test_a_query_filters_and_a_wrong_one_is_explained(page):
    page.where("120 galaxies")
    page.shot("gallery")
    box = page.out("input[placeholder^=query]")
    box.fill("confidence >")
    box.press("Enter")
    page.out(".gs-error", has_text="query:").wait_for()
    page.where("120 galaxies")
    page.shot("wrong_query")
    box.fill("smooth-or-featured_smooth_fraction > 0.8")
    box.press("Enter")
    page.where("of 120 galaxies")
    assert page.out(".gs-error").first.inner_text() == ""
    box.fill("confidence > 2")
    box.press("Enter")
    page.out(".gs-note", has_text="No galaxy passes").wait_for()
    page.shot("empty")
    box.fill("")
    box.press("Enter")
    page.where(", 120 galaxies")


def test_order_pages_and_a_jump(page):
    page.out(".widget-dropdown", has_text="order").locator("select").first.select_option("id_str")
    page.click("largest first")
    page.out("b", has_text="sim-000001").wait_for()
    page.out(".gs-frame").first.click()
    page.press("PageDown")
    page.where("page 2 of 5")
    page.press("PageUp")
    page.where("page 1 of 5")
    page.click("\u25b6")
    page.where("page 2 of 5")
    go = page.out("input[placeholder='go to id']")
    go.fill("sim-000100")
    go.press("Enter")
    page.where("page 5 of 5")
    page.out("b", has_text="sim-000100").wait_for()
    go.fill("sim-1")
    go.press("Enter")
    page.out(".gs-error", has_text="not among the galaxies shown").wait_for()


def test_the_stretch_changes_the_large_image(page):
    before = page.out(".widget-tab .gs-image").first.get_attribute("src")
    page.out(".widget-tab .widget-dropdown", has_text="stretch").locator("select").select_option("log")
    page.until("old => document.querySelector('.jp-OutputArea .widget-tab .gs-image').src != old", before)
    page.shot("galaxy")


def test_labels_are_on_disk_at_every_click_and_survive_a_killed_kernel(page, home, lab):
    go = page.out("input[placeholder='go to id']")
    go.fill("sim-000002")
    go.press("Enter")
    page.out("b", has_text="sim-000002").wait_for()
    page.out(".gs-here .gs-frame").first.click()
    page.press("2")
    page.out(".gs-here .gs-badge", has_text="featured").wait_for()
    assert said(home)["sim-000002", "label"] == "featured"
    page.press("d")
    page.out(".gs-here .gs-badge", has_text="\u2717 featured").wait_for()
    page.press("ArrowRight")
    page.out("b", has_text="sim-000003").wait_for()
    page.press("1")
    page.out(".gs-here .gs-badge", has_text="edge_on").wait_for()
    page.press("u")
    page.out(".gs-here .gs-badge", has_text="edge_on").wait_for(state="detached")
    comment = page.out("input[placeholder*=comment]")
    comment.fill("<img src=x onerror=\"document.title='stolen'\">")
    comment.press("Enter")
    page.out(".gs-here .gs-badge").wait_for()
    page.out(".widget-html-content", has_text="your annotation: comment: <img src=x onerror").first.wait_for()
    page.shot("labels")
    assert page.tab.title() != "stolen"
    for kernel in lab.kernels():
        os.kill(kernel.pid, signal.SIGKILL)
    expected = {
        ("sim-000002", "label"): "featured",
        ("sim-000002", "verdict"): "disagree",
        ("sim-000003", "comment"): "<img src=x onerror=\"document.title='stolen'\">",
    }
    assert said(home) == expected
    page.tab.reload()
    page.tab.locator(".jp-Notebook").first.wait_for()
    page.run_all()
    page.out("input[placeholder^=query]").fill("mine == 'featured'")
    page.out("input[placeholder^=query]").press("Enter")
    page.where("1 of 120 galaxies")
    page.out(".gs-badge", has_text="\u2717 featured").wait_for()
    assert page.tab.title() != "stolen"


def test_two_kernels_on_one_file_lose_nothing(page, patches, home):
    box = page.out("input[placeholder^=query]")
    box.fill("")
    box.press("Enter")
    page.where(", 120 galaxies")
    before = said(home)
    for i, one in enumerate((page, patches, page, patches)):
        galaxy, key = f"sim-00001{i}", str(i + 1)
        go = one.out("input[placeholder='go to id']")
        go.fill(galaxy)
        go.press("Enter")
        one.out("b", has_text=galaxy).wait_for()
        one.out(".gs-here .gs-frame").first.click()
        one.press(key)
        one.out(".gs-here .gs-badge").wait_for()
    added = {
        (f"sim-00001{i}", "label"): name for i, name in enumerate(("edge_on", "featured", "smooth", "spiral"))
    }
    assert said(home) == before | added
    patches.out(".gs-done", has_text="5 of 120 labelled").wait_for()


def test_a_click_on_a_patch_shows_similar_patches(patches):
    before = patches.out(".widget-tab .gs-image").first.get_attribute("src")
    patches.out(".widget-tab .gs-frame").first.click(position={"x": 200, "y": 200})
    patches.until(
        "old => document.querySelector('.jp-OutputArea .widget-tab .gs-image').src != old", before
    )
    patches.out(".widget-tab button.mod-active", has_text="similar").wait_for()
    patches.shot("patch")


def test_a_lasso_on_the_map_filters_the_gallery(page):
    page.out(".lm-TabBar-tab", has_text="map").click()
    canvas = page.out(".widget-tab canvas").first
    canvas.wait_for()
    page.out("[title='Activate lasso selection'], [aria-label='Activate lasso selection']").first.click()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    corners = [(0.03, 0.03), (0.97, 0.03), (0.97, 0.97), (0.03, 0.97), (0.03, 0.5), (0.03, 0.05)]
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.tab.mouse.move(*at[0])
    page.tab.mouse.down()
    for x, y in at[1:]:
        page.tab.mouse.move(x, y, steps=12)
    page.tab.mouse.up()
    page.where("of 120 galaxies")
    page.shot("map")
    page.click("show all")
    page.where(", 120 galaxies")


def test_without_a_browser_the_same_cell_draws_a_contact_sheet(home):
    run = run_experiment(
        str(home / "inspect.ipynb"), {"query": "confidence > 0.3"}, out=home / "night", progress=False
    )
    outputs = [
        out for cell in nbformat.read(run / "notebook.ipynb", 4).cells for out in cell.get("outputs", ())
    ]
    sheets = [out.data["image/png"] for out in outputs if "image/png" in out.get("data", {})]
    assert len(sheets) == 1 and len(sheets[0]) > 50_000
    words = [sys.executable, "-m", "nbconvert", "--to", "html", "notebook.ipynb"]
    subprocess.run(words, cwd=run, check=True, capture_output=True, timeout=300)
    shown = re.search(r'src="data:image/png;base64,([^"]+)"', (run / "notebook.html").read_text())
    assert shown and shown[1].replace("\n", "") == sheets[0].replace("\n", "")


def test_training_takes_the_corrections(home):
    store, labels = Store(home / "sky"), AnnotationFile(home / "corrections.csv", who="ada")
    galaxy = store.ids[store.indices("train")[0]]
    labels.put(galaxy, label="edge_on")
    better = Store(corrected_store(store, labels, home / "better"))
    row = better.table.set_index("id_str").loc[galaxy]
    assert (row["disk-edge-on_yes_fraction"], row["smooth-or-featured_smooth_fraction"]) == (
        1,
        0,
    ) and pd.isna(row["bar_yes_fraction"])
    run = train(
        better.path,
        home / "again",
        make_settings(stage="head", backbone="tiny", image_size=56, epochs=1, seed=3),
    )
    assert len(pd.read_parquet(run / "predictions.parquet")) == len(store.indices("test"))
