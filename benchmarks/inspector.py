"""The inspector with 240,000 galaxies: first page, page turn, next galaxy, label, query, order, zoom, memory.

Medians of the kernel's work for each message of the screen, without a browser: wall time, and CPU time, which
other programs on the machine disturb less. The load of the machine is printed as well. With `--browser` (it
needs Chromium and playwright) also the time from a key or a message until all images of the screen are there
and the next frame is drawn, and the share of the kernel in it.

    OMP_NUM_THREADS=2 python benchmarks/inspector.py --browser
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from galaxy_sommelier.catalog.classes import label
from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.images.pixels import decode, encode, resize
from galaxy_sommelier.images.simulation import simulate
from galaxy_sommelier.inspector.app import Inspector
from galaxy_sommelier.inspector.rendering import Album
from galaxy_sommelier.inspector.scatter import project
from galaxy_sommelier.inspector.state import Annotator
from galaxy_sommelier.inspector.suggest import neighbours, show_suggestions
from galaxy_sommelier.inspector.table import inspection_table

GALAXIES, IMAGES, DIMENSIONS, TURNS = 240_000, 200, 384, 500


class Packed:
    """Images of 424 pixels as a store returns them: decoded at each call."""

    def __init__(self, images):
        larger = resize(list(images), 1.0, 424).permute(0, 2, 3, 1).numpy()
        self.jpegs = [encode(image) for image in larger]

    def image(self, i):
        return decode(self.jpegs[i % len(self.jpegs)])


def sky(folder):
    """Write a store's table and predictions with intervals for many galaxies."""
    table, images = simulate(IMAGES, size=64, seed=1)
    rng = np.random.default_rng(0)
    galaxies = table.iloc[rng.integers(0, IMAGES, GALAXIES)].reset_index(drop=True)
    galaxies["id_str"] = [f"sim-{i:06d}" for i in range(GALAXIES)]
    predicted = galaxies[["id_str"]].copy()
    for part in GZ2.slices.values():
        noise = rng.gamma(0.5, 0.2, (GALAXIES, part.stop - part.start))
        values = galaxies[GZ2.columns[part]].fillna(0.3).to_numpy(np.float32) + noise
        predicted[GZ2.columns[part]] = (values / values.sum(axis=1, keepdims=True)).astype(np.float32)
    pairs = [(answer, end) for answer in GZ2.answers for end in ("lower", "upper")]
    ends = {f"{answer}_{end}": predicted[f"{answer}_fraction"] for answer, end in pairs}
    named = label(predicted)[["label", "confidence"]]  # as `sommelier predict` writes them
    pd.concat([predicted, named, pd.DataFrame(ends)], axis=1).to_parquet(folder / "predictions.parquet")
    galaxies.to_parquet(folder / "galaxies.parquet")
    return Packed(images)


def seconds(work, times=1):
    """Return the median of wall time and of CPU time, which other programs on the machine disturb less."""
    took = []
    for i in range(times):
        began = time.perf_counter(), time.process_time()
        work(i)
        took.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return tuple(map(statistics.median, zip(*took, strict=True)))


ORDERS = "error", "confidence", "disagreement"
DRAWN = """async act => {
  const before = answered, began = performance.now();
  act.key ? document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: act.key, bubbles: true}))
          : model.send(act);
  while (answered === before) await new Promise(done => setTimeout(done));
  await Promise.all([...document.images].map(image => image.decode().catch(() => null)));
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  const drawn = performance.now();
  if (!act.key) model.send({do: "rest"});  // as the screen does after its own messages
  return [(drawn - began) / 1000, (drawn - came) / 1000];
}"""


def until_drawn(view):
    """Return rows of what and seconds: until the screen is drawn, and of these kernel, on the way, page."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from playwright.sync_api import sync_playwright
    from screen import Screen

    handle, kernel = view.handle, []

    def timed(*message):
        began = time.perf_counter()
        handle(*message)
        kernel.append(time.perf_counter() - began)

    view.handle = timed
    acts = {
        "a query": [{"do": "query", "text": f"confidence > 0.{i}"} for i in range(3, 8)],
        "order by a column": [{"do": "order", "order": name} for name in ORDERS],
        "a page turn, the next page": [{"do": "turn", "pages": 1}] * 9,
        "next galaxy": [{"key": "ArrowRight"}] * 9,
        "zoom, new images": [{"do": "look", "zoom": 0.9 - 0.05 * i} for i in range(9)],
        "a label in the gallery": [{"key": "4"}] * 9,
        "sort mode: a label, next galaxy": [{"key": "4"}] * 9,
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        screen, rows = Screen(browser, view, 1440, 900), []
        for what, some in acts.items():
            took, home = [], ".gs-tiles"
            if what.startswith("sort mode"):
                home = ".gs-sort"
                screen.press("s")
            for act in some:
                screen.out(home).focus()
                kernel.clear()
                drawn, page = screen.tab.evaluate(DRAWN, act)
                took.append((drawn, kernel[0], drawn - page - kernel[0], page))
                screen.rest()
            rows.append((what, *map(statistics.median, zip(*took, strict=True))))
        browser.close()
    return rows


def main(browser):
    folder = Path(tempfile.mkdtemp())
    packed, rows, made = sky(folder), [], {}

    def read(_):
        names = "galaxies", "predictions"
        made["tables"] = [pd.read_parquet(folder / f"{name}.parquet") for name in names]

    def open_page(_):
        state = Annotator(inspection_table(*made["tables"]), folder / "labels.csv")
        places = np.random.default_rng(2).uniform(-1, 1, (GALAXIES, 2)).astype(np.float32)
        made["view"] = Inspector(state, Album(state.table, packed, list(state.table.id_str)), places)

    rows += [
        ("read both tables from disk", seconds(read), None),
        ("from then to the first page", seconds(open_page), 2),
    ]
    view = made["view"]
    state = view.state

    def do(what, **values):
        view.handle({"do": what, **values})
        assert not state.error, state.error

    queries = [
        "confidence > 0.6",
        "bar_yes_fraction > 0.5 and label == 'spiral'",
        "smooth-or-featured_smooth_predicted < 0.3",
        "",
        "uncertainty > 0.5",
    ]
    rows.append(("a query", seconds(lambda i: do("query", text=queries[i]), 5), 0.15))
    do("query", text="")
    rows.append(("order by a column", seconds(lambda i: do("order", order=ORDERS[i]), 3), 0.15))
    rows.append(("a page turn, new images", seconds(lambda i: do("turn", pages=1), 15), 0.15))
    rows.append(("a page turn, cached images", seconds(lambda i: do("turn", pages=-1), 15), 0.15))
    rows.append(("next galaxy", seconds(lambda i: do("key", key="ArrowRight"), 15), 0.15))
    rows.append(("zoom, new images", seconds(lambda i: do("look", zoom=0.9 - 0.05 * i), 9), 0.15))
    rows.append(("a label in the gallery, on disk", seconds(lambda i: do("key", key="4"), 15), 0.15))
    do("key", key="s")
    rows.append(("sort mode: a label, next galaxy", seconds(lambda i: do("key", key="4"), 15), 0.15))
    rows.append(("sort mode: undo", seconds(lambda i: do("key", key="u"), 9), 0.15))
    do("key", key="g")
    drawn = until_drawn(view) if browser else []
    process = psutil.Process()
    memory = []
    for i in range(TURNS + 100):
        state.turn(1)
        if i >= 99:
            memory.append(process.memory_info().rss / 1e6)
    embeddings = np.random.default_rng(1).normal(size=(GALAXIES, DIMENSIONS)).astype(np.float32)
    lengths = np.linalg.norm(embeddings, axis=1)
    rows.append(("similar galaxies", seconds(lambda i: neighbours(embeddings, i, 5, lengths), 5), 0.3))
    rows.append(("the map's two dimensions (PCA)", seconds(lambda _: project(embeddings)), None))
    state.embeddings = embeddings
    rows.append(("50 suggestions", seconds(lambda _: show_suggestions(state, 50)), None))
    flat = [(what, *took, goal) for what, took, goal in rows]
    table = pd.DataFrame(flat, columns=["what", "seconds", "CPU seconds", "goal"])
    print(table.round(3).to_string(index=False, na_rep="-"))
    if drawn:
        columns = ["in a browser", "seconds until drawn", "kernel", "on the way", "page"]
        print(pd.DataFrame(drawn, columns=columns).round(3).to_string(index=False))
    turns = {
        "after 100 turns": memory[0],
        f"after {TURNS + 100} turns": memory[-1],
        "largest between": max(memory),
    }
    print(pd.Series(turns, name="memory, MB").round(0).to_string())
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--browser", action="store_true", help="also until a browser has drawn it")
    main(parser.parse_args().browser)
