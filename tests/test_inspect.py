"""The inspector in a real JupyterLab and browser: keys, kernels, two notebooks, and what is stored."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from lab import CUT, Lab, Page

from galaxy_sommelier.core.runs import run_experiment
from galaxy_sommelier.data.store import Store, simulated_store
from galaxy_sommelier.inspector.annotations import AnnotationFile, corrected_store
from galaxy_sommelier.models.model import load_model
from galaxy_sommelier.models.shards import predict_file
from galaxy_sommelier.training.settings import make_settings
from galaxy_sommelier.training.stages import train

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "nbs" / "experiments" / "inspect.ipynb"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with store, model and predictions, and twice the experiment's notebook."""
    folder = tmp_path_factory.mktemp("inspect")
    store = Store(simulated_store(folder / "sky", n=120, size=96, seed=3))
    network = load_model(
        train(
            store.path,
            folder / "head",
            make_settings(stage="head", backbone="tiny", image_size=56, epochs=3, seed=3),
        )
    )
    predict_file(store, network, folder / "predictions.parquet", tta=False)
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
    nbformat.write(book, folder / "second.ipynb")
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
def second(browser, lab):
    opened = Page(browser, lab, "second.ipynb")
    yield opened
    opened.close()


def said(home):
    """Return the newest value of each field of each galaxy in the annotation file, read by pandas alone."""
    lines = pd.read_csv(home / "labels.csv", keep_default_na=False)
    newest = lines.groupby(["id_str", "field"]).value.last()
    return newest[newest != ""].to_dict()


def cells(page):
    return page.tab.locator(".jp-Notebook .jp-Cell").count()


def test_no_key_reaches_the_notebook(page, home):
    before = cells(page)
    page.goto("sim-000005")
    page.out(".gs-closeup .gs-large .gs-image").click()
    page.press("ArrowRight")
    page.out(".gs-id:not(:text-is('sim-000005'))").first.wait_for()
    galaxy = page.out(".gs-id").first.inner_text()
    for click, keys in (("disagree", "dd"), ("agree", "ab"), ("undo", "xc")):
        page.out(".gs-closeup .gs-answer", has_text=click).last.click()
        for key in keys:
            page.press(key)
    page.out(".gs-closeup .gs-large").click(position={"x": 20, "y": 20})
    page.press("2")
    page.out(".gs-here .gs-badge", has_text="featured").wait_for()
    assert cells(page) == before
    assert said(home)[galaxy, "label"] == "featured"
    page.shot("lab")


@pytest.mark.parametrize("theme", ("Dark", "Light"))
def test_sort_mode_and_chips_in_lab_at_three_widths(page, theme):
    page.menu("Settings", "Theme", f"JupyterLab {theme}")
    light = str(theme == "Light").lower()
    page.tab.locator(f"body[data-jp-theme-light={light}]").wait_for(state="attached")
    for width in (900, 1800, 1440):
        page.tab.set_viewport_size({"width": width, "height": 900})
        page.tab.wait_for_function(f"!({CUT})().length")
        # by a click: when its window changes, JupyterLab may take an output, and the focus, away and back
        page.out(".gs-tools button:text-is('Sort')").click()
        page.out(".gs-card-answer .gs-example img").first.wait_for()
        page.tab.wait_for_function(f"!({CUT})().length")
        page.out(".gs-tools button:text-is('Gallery')").click()
        page.out(".gs-tile").first.wait_for()
    page.out(".gs-query input").fill("confidence > 0.01")
    page.out(".gs-query input").press("Enter")
    page.out(".gs-where .gs-chip", has_text="confidence").locator(".gs-x").click()
    page.out(".gs-where .gs-chip").wait_for(state="detached")
    page.shot(f"lab-{theme.lower()}")


def test_labels_are_on_disk_at_every_click_and_survive_a_killed_kernel(page, home, lab):
    page.goto("sim-000002")
    page.press("2")
    page.out(".gs-here .gs-badge", has_text="featured").wait_for()
    comment = page.out("input[aria-label=comment]")
    comment.fill("<img src=x onerror=\"document.title='stolen'\">")
    comment.press("Enter")
    page.out(".gs-here .gs-badge", has_text="\u270e").wait_for()
    expected = said(home)
    assert expected["sim-000002", "comment"].startswith("<img") and page.tab.title() != "stolen"
    for kernel in lab.kernels():
        os.kill(kernel.pid, signal.SIGKILL)
    page.out(".gs-veil", has_text="kernel restarted: run the cell again").first.wait_for()
    page.tab.keyboard.press("3")
    assert said(home) == expected
    page.tab.reload()
    page.tab.locator(".jp-Notebook").first.wait_for()
    page.run_all()
    page.goto("sim-000002")
    page.out(".gs-badge", has_text="featured").first.wait_for()
    assert page.tab.title() != "stolen"


def test_two_kernels_on_one_file_lose_nothing(page, second, home):
    before = said(home)
    for i, one in enumerate((page, second, page, second)):
        one.goto(f"sim-00001{i}")
        one.press(str(i + 1))
        one.out(".gs-here .gs-badge").wait_for()
    names = ("edge_on", "featured", "smooth", "spiral")
    assert said(home) == before | {(f"sim-00001{i}", "label"): name for i, name in enumerate(names)}
    page.goto("sim-000013")
    page.out(".gs-here .gs-badge", has_text="spiral").wait_for()  # what the other notebook wrote


def test_a_restarted_kernel_is_named_and_the_stored_output_is_the_sheet(page, home, browser, lab):
    page.menu("File", "Save Notebook")
    page.menu("Kernel", "Restart Kernel\u2026")
    page.tab.locator(".jp-Dialog button.jp-mod-accept").click()
    page.out(".gs-veil").first.wait_for()
    inert = "[...document.querySelectorAll('.gs-inspector > :not(.gs-veil)')].every(part => part.inert)"
    page.tab.wait_for_function(inert)
    before = cells(page)
    page.out(".gs-veil").first.click()
    for key in "ddx":
        page.press(key)
    assert cells(page) == before
    stored = nbformat.read(home / "inspect.ipynb", 4)
    outputs = [out.data for cell in stored.cells for out in cell.get("outputs", ()) if "data" in out]
    assert not [data for data in outputs if "application/vnd.jupyter.widget-view+json" in data]
    (home / "stored.ipynb").write_text((home / "inspect.ipynb").read_text())
    reopened = Page(browser, lab, "stored.ipynb", ready=".gs-sheet img", run=False)
    assert reopened.out(".gs-sheet img").is_visible()
    assert reopened.tab.get_by_text("Error displaying widget").count() == 0
    reopened.close()


def test_without_a_browser_the_same_cell_draws_a_contact_sheet(home):
    run = run_experiment(
        str(home / "inspect.ipynb"), {"query": "confidence > 0.3"}, out=home / "night", progress=False
    )
    outputs = [
        out for cell in nbformat.read(run / "notebook.ipynb", 4).cells for out in cell.get("outputs", ())
    ]
    sheets = [out.data["image/jpeg"] for out in outputs if "image/jpeg" in out.get("data", {})]
    assert len(sheets) == 1 and len(sheets[0]) > 20_000
    words = [sys.executable, "-m", "nbconvert", "--to", "html", "notebook.ipynb"]
    subprocess.run(words, cwd=run, check=True, capture_output=True, timeout=300)
    shown = re.search(r'src="data:image/jpeg;base64,([^"]+)"', (run / "notebook.html").read_text())
    assert shown and shown[1].replace("\n", "") == sheets[0].replace("\n", "")


def test_the_galaxies_that_ship_are_packed_once_in_a_folder(tmp_path):
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, 4).cells[1:3]]
    found = []
    for _ in range(2):  # as after a restart of the kernel
        names = {}
        exec(f"{cells[0]}\nout = {str(tmp_path)!r}\n{cells[1]}", names)
        found.append((names["galaxies"].path, names["galaxies"].fingerprint))
    assert found[0] == found[1] and len(names["galaxies"]) == 24


def test_training_takes_the_corrections(home):
    store, labels = Store(home / "sky"), AnnotationFile(home / "corrections.csv", who="ada")
    galaxy = store.ids[store.indices("train")[0]]
    labels.put(galaxy, label="edge_on")
    better = Store(corrected_store(store, labels, home / "new" / "better"))
    assert better.kinds == store.kinds and better.header["scale"] == store.header["scale"]
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


def test_opening_loads_neither_pytorch_nor_transformers():
    code = "import sys; from galaxy_sommelier.inspector.app import inspector\n"
    code += "print({'torch', 'transformers', 'scipy.signal'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
