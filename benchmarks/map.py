"""The inspector's map in a real JupyterLab and Chromium: pictures a second while it is moved, and how soon a lasso has worked.

Times are those of the browser, from the gesture to what it shows. Without a GPU the browser draws with the processor (SwiftShader):
that is the slowest there is, a laptop's graphics unit does better.

    python benchmarks/map.py --galaxies 240000
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
from playwright.sync_api import sync_playwright

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))
from lab import FLAGS, Lab, Page  # noqa: E402

CELL = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import inspector as bench, numpy as np
bench.GALAXIES = {{galaxies}}
from pathlib import Path
from galaxy_sommelier.inspector.app import inspector
packed, here = bench.sky(Path(".")), Path(".")
rng = np.random.default_rng(0)
middles = rng.normal(0, 3, (8, 16))
embeddings = (middles[rng.integers(0, 8, bench.GALAXIES)] + rng.normal(size=(bench.GALAXIES, 16))).astype(np.float32)
view = inspector(here / "galaxies.parquet", here / "said.parquet", embeddings=embeddings)
view
"""
COUNT = """seconds => { window.frames_at = []; const end = performance.now() + 1000 * seconds;
    const next = now => { window.frames_at.push(now); if (now < end) requestAnimationFrame(next); else window.counted = true; };
    window.counted = false; requestAnimationFrame(next); }"""


def frames(page, seconds, gesture):
    """Pictures a second; within how many milliseconds 95 % of them came, and the last: while something is done again and again."""
    page.tab.evaluate(COUNT, seconds)
    while not page.tab.evaluate("window.counted"):
        gesture()
    gaps = np.diff(page.tab.evaluate("window.frames_at"))
    return 1000 / np.median(gaps), np.percentile(gaps, 95), gaps.max()


def measure(page, chosen):
    """A row a gesture, and the seconds from the end of a lasso to the gallery."""
    rows = []
    page.out(".lm-TabBar-tab", has_text="map").click()
    canvas = page.out(".widget-tab canvas").first
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    mouse, middle = page.tab.mouse, (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    def move():
        mouse.move(*middle)
        mouse.down()
        mouse.move(middle[0] + 60, middle[1] + 40, steps=8)
        mouse.move(*middle, steps=8)
        mouse.up()

    def zoom():
        mouse.move(*middle)
        for step in (-40, -40, 40, 40):
            mouse.wheel(0, step)

    for what, gesture in (("nothing", lambda: page.tab.evaluate("1")), ("move", move), ("zoom", zoom)):
        rows.append((what, *frames(page, chosen.seconds, gesture)))
    if chosen.shots:
        page.tab.screenshot(path=Path(chosen.shots, "map.png"))
    page.click("show all")  # a click on a point chooses it
    page.where(f", {chosen.galaxies:,} galaxies")
    page.out("[title='Activate lasso selection'], [aria-label='Activate lasso selection']").first.click()
    corners = [(-0.4, -0.4), (0.4, -0.4), (0.4, 0.4), (-0.4, 0.4), (-0.4, -0.35)]
    at = [(middle[0] + x * box["width"], middle[1] + y * box["height"]) for x, y in corners]
    mouse.move(*at[0])
    mouse.down()
    for corner in at[1:]:
        mouse.move(*corner, steps=12)
    began = time.perf_counter()
    mouse.up()
    page.where(f"of {chosen.galaxies:,}")
    lasso = time.perf_counter() - began
    page.click("show all")
    if chosen.shots:
        page.tab.screenshot(path=Path(chosen.shots, "lasso.png"))
    return rows, lasso


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--galaxies", type=int, default=240_000, help="points (240000)")
    parser.add_argument("--seconds", type=float, default=8, help="how long each gesture is repeated (8)")
    parser.add_argument("--shots", help="folder for pictures of it")
    chosen = parser.parse_args()
    cell = nbformat.v4.new_code_cell(CELL.replace("{galaxies}", str(chosen.galaxies)))
    kernel = {"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=kernel), Path(folder, "map.ipynb"))
        lab = Lab(Path(folder))
        try:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            rows, lasso = measure(Page(browser, lab, "map.ipynb"), chosen)
            browser.close()
        finally:
            lab.close()
    table = pd.DataFrame(rows, columns=["while", "pictures/s", "95 % within ms", "longest ms"])
    print(
        f"{chosen.galaxies:,} points\n{table.round(1).to_string(index=False)}\nlasso to gallery: {lasso:.2f} s"
    )


if __name__ == "__main__":
    main()
