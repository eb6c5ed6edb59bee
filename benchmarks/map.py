"""Frame rate and lasso time of the inspector's map in a real JupyterLab and Chromium.

Times are those of the browser, from the gesture to the display. Without a GPU the browser draws on the CPU
(SwiftShader), which is the slowest case.

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
groups = middles[rng.integers(0, 8, bench.GALAXIES)]
embeddings = (groups + rng.normal(size=(bench.GALAXIES, 16))).astype(np.float32)
view = inspector(here / "galaxies.parquet", here / "predictions.parquet", embeddings=embeddings)
view
"""
COUNT = """seconds => {
    window.frames_at = []; window.counted = false;
    const end = performance.now() + 1000 * seconds;
    const next = now => {
        window.frames_at.push(now);
        if (now < end) requestAnimationFrame(next); else window.counted = true;
    };
    requestAnimationFrame(next);
}"""


def frames(page, seconds, gesture):
    """Return frames per second, and the 95th percentile and maximum of the gaps (ms), during a gesture."""
    page.tab.evaluate(COUNT, seconds)
    while not page.tab.evaluate("window.counted"):
        gesture()
    gaps = np.diff(page.tab.evaluate("window.frames_at"))
    return 1000 / np.median(gaps), np.percentile(gaps, 95), gaps.max()


def measure(page, chosen):
    """Return a row per gesture, and the seconds from the end of a lasso to the gallery."""
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
    page.click("show all")  # a click on a point selects it
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
    parser.add_argument("--seconds", type=float, default=8, help="duration of each gesture, seconds (8)")
    parser.add_argument("--shots", help="folder for screenshots")
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
    table = pd.DataFrame(rows, columns=["while", "frames/s", "95 % within ms", "longest ms"])
    print(f"{chosen.galaxies:,} points\n{table.round(1).to_string(index=False)}")
    print(f"lasso to gallery: {lasso:.2f} s")


if __name__ == "__main__":
    main()
