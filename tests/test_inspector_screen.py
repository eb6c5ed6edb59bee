"""The inspector's screen in a real browser: clicks, keys, typed text, and what they do to state and files."""

import re
import threading

import numpy as np
import pandas as pd
import pytest
from lab import CUT
from screen import PATIENCE, Screen

from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.data.store import Store, simulated_store
from galaxy_sommelier.inspector import app, rendering
from galaxy_sommelier.inspector.annotations import AnnotationFile
from galaxy_sommelier.inspector.app import inspector

CONTRAST = """() => {
  const parse = text => (text.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const bright = ([red, green, blue]) => [red, green, blue].map(x => x / 255)
    .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0.5) return colour;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const node of document.querySelectorAll(".gs-inspector *")) {
    const own = [...node.childNodes].some(one => one.nodeType === 3 && one.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest("option")) continue;
    const pair = [bright(parse(getComputedStyle(node).color)), bright(ground(node))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < 4.5) poor.push([node.className, node.textContent.slice(0, 20), ratio]);
  }
  return poor;
}"""


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """A store, predictions with an embedding, and a table with positions whose images are files."""
    folder = tmp_path_factory.mktemp("screen")
    store = Store(simulated_store(folder / "sky", n=150, size=96, seed=3))
    rng = np.random.default_rng(0)
    said = store.table[["id_str"]].join(store.table[GZ2.columns].fillna(0.3) * 0.7 + 0.1)
    said[GZ2.columns] = GZ2.normalise(said[GZ2.columns].to_numpy() + rng.gamma(0.3, 0.2, (150, 37)))
    features = rng.normal(size=(150, 8)).astype(np.float32) + 3 * store.fractions[:, :1]
    said = said.assign(embedding=list(features))
    table = store.table.drop(columns="path", errors="ignore")
    (folder / "images").mkdir()
    for i, name in enumerate(store.ids):
        (folder / "images" / f"{name}.jpg").write_bytes(store.jpeg(i))
    table["path"] = [str(folder / "images" / f"{name}.jpg") for name in store.ids]
    places = {"ra": rng.uniform(0, 360, 150), "dec": rng.uniform(-80, 80, 150), "pixel_scale": 0.4}
    return store, said, table.assign(**places)


@pytest.fixture
def opened(browser, sky, tmp_path, request):
    """Open an inspector on a screen; close all at the end."""
    screens = []

    def open_one(galaxies=None, size=(1300, 860), dark=False, **more):
        store, said, table = sky
        known = {None: store, "store": store, "table": table}
        galaxies = galaxies if isinstance(galaxies, pd.DataFrame) else known[galaxies]
        more = {"predictions": said, "annotations": tmp_path / "labels.csv"} | more
        screens.append(Screen(browser, inspector(galaxies, **more), *size, dark))
        screens[-1].out(".gs-tiles").focus()
        return screens[-1]

    yield open_one
    for one in screens:
        one.close()


def said(path):
    """Return the newest value of each field of each galaxy in the annotation file, read by pandas alone."""
    lines = pd.read_csv(path, keep_default_na=False)
    newest = lines.groupby(["id_str", "field"]).value.last()
    return newest[newest != ""].to_dict()


@pytest.mark.parametrize("dark", (False, True), ids=("light", "dark"))
def test_everything_fits_and_the_cursor_is_always_visible(opened, dark):
    screen, sides = opened(size=(1240, 860), dark=dark), []
    for width in (900, 1440, 1800):
        # what JupyterLab leaves of a window
        screen.tab.set_viewport_size({"width": width - 100, "height": 860})
        screen.tab.wait_for_function("width => innerWidth === width", arg=width - 100)
        screen.press("Home")
        box = screen.out(".gs-inspector").bounding_box()
        for part in (".gs-find", ".gs-tools", ".gs-gallery", ".gs-closeup", ".gs-map", ".gs-status"):
            inside = screen.out(part).bounding_box()
            assert inside["width"] > 40 and inside["x"] >= box["x"] - 1
            assert inside["x"] + inside["width"] <= box["x"] + box["width"] + 1, (part, width)
            assert inside["y"] + inside["height"] <= box["y"] + box["height"] + 1, (part, width)
        assert screen.out(".gs-find").bounding_box()["y"] == screen.out(".gs-tools").bounding_box()["y"]
        screen.tab.wait_for_function(
            "document.querySelectorAll('.gs-tile').length === model.get('tiles').length"
        )
        assert screen.out(".gs-tile").count() == min(150, screen.view.state.page_size) >= 4
        letters = [one.inner_text() for one in screen.out(".gs-letter").all()[:2]]
        side = screen.out(".gs-frame").first.bounding_box()["width"]
        assert letters == (["ed", "fe"] if side <= 108 else ["edge", "feat"])
        sides.append(side)
        for keys in (["ArrowDown"] * 4, ["End"], ["PageUp"]):
            screen.press(*keys)
            tile, gallery = (screen.out(name).bounding_box() for name in (".gs-here", ".gs-gallery"))
            assert gallery["y"] - 1 <= tile["y"]
            assert tile["y"] + tile["height"] <= gallery["y"] + gallery["height"] + 1
        assert screen.tab.evaluate(CONTRAST) == []
        screen.shot(f"gallery-{width}-{'dark' if dark else 'light'}")
    assert min(sides) <= 108 < max(sides)


@pytest.mark.parametrize("width", (546, 716))
def test_beside_the_file_browser_no_control_is_cut_off(opened, width):
    screen = opened(size=(width, 860))
    for keys in ("g", "s", "123"):
        screen.press(*keys)
        assert screen.tab.evaluate(CUT) == []
    screen.shot(f"sort-{width}")


def test_text_has_contrast_in_sort_mode_and_help(opened):
    for dark in (False, True):
        screen = opened(dark=dark)
        screen.press("s", "1")
        assert screen.tab.evaluate(CONTRAST) == []
        screen.shot(f"sort-{'dark' if dark else 'light'}")
        screen.press("?")
        assert screen.out(".gs-help").is_visible() and screen.tab.evaluate(CONTRAST) == []
        screen.press("x")
        assert not screen.out(".gs-help").is_visible() and screen.focused() == "gs-sort"


def test_keys_work_after_every_click_but_in_text_boxes_and_none_leaves_the_screen(opened, tmp_path):
    screen = opened()
    screen.tab.evaluate("window.leaked = 0; addEventListener('keydown', () => { leaked += 1; })")
    disagree = ".gs-answer:has-text('disagree')"
    places = (".gs-closeup .gs-large .gs-image", disagree, ".gs-page", ".gs-head", ".gs-tree")
    for place in places:
        screen.click(place)
        before = screen.view.state.cursor
        screen.press("ArrowRight", "d", "d", "a")
        assert screen.view.state.cursor == before + 1
        assert screen.view.state.my_annotations()["verdict"] == "agree"
    screen.out("input[aria-label=comment]").fill("")
    screen.out("input[aria-label=comment]").focus()
    screen.tab.keyboard.type("add 2 ?")
    screen.press("Enter")
    assert screen.view.state.my_annotations()["comment"] == "add 2 ?"
    assert screen.tab.evaluate("leaked") == 0


HOLD = """([selector, key]) => {
  const node = document.querySelector(selector), more = {key, bubbles: true, cancelable: true};
  const press = repeat => node.dispatchEvent(new KeyboardEvent("keydown", {...more, repeat}));
  return [false, true, true].map(press);
}"""


def test_a_key_that_is_held_does_one_thing_and_unbound_keys_are_the_browsers(opened):
    screen = opened()

    def hold(key, where=".gs-tiles"):
        taken = screen.tab.evaluate(HOLD, [where, key])
        screen.rest()
        return taken

    assert hold("ArrowRight") == [False] * 3 and screen.view.state.cursor == 3  # taken from the browser
    for key in ("F5", "F12", "Shift", "x"):
        screen.view.state.error = "named"
        assert hold(key) == [True] * 3 and screen.view.state.error == "named"
    screen.press("s")
    first = screen.view.state.current
    hold("1", ".gs-sort")
    assert screen.view.desk.sorting["progress"]["done"] == 1
    screen.press("1", "1", "1")
    for key, done in (("u", 3), ("ArrowLeft", 2)):
        hold(key, ".gs-sort")
        assert screen.view.desk.sorting["progress"]["done"] == done
    hold("ArrowRight", ".gs-sort")
    assert screen.view.desk.sorting["progress"]["skipped"] == 1
    assert screen.view.state.answered[first] != ""


def test_escape_closes_a_menu_before_it_leaves_sort_mode_or_marks(opened):
    screen = opened()
    screen.press("Control+a")
    marked = screen.view.state.marked
    screen.click(".gs-look summary")
    for selector in (".gs-look summary", ".gs-order"):
        screen.out(selector).focus()
        screen.press("Escape")
        assert screen.view.state.marked == marked and "gs-tiles" in screen.focused()
    assert screen.out(".gs-look[open]").count() == 0
    screen.press("Escape")
    assert not screen.view.state.marked
    screen.press("s")
    screen.out(".gs-task").focus()
    screen.press("Escape")
    assert screen.view.mode == "sort"
    screen.press("Escape")
    assert screen.view.mode == "gallery"


def test_a_typed_comment_outlives_a_disk_that_refuses_and_another_galaxy(opened, tmp_path):
    screen = opened()
    box, state = screen.out("input[aria-label=comment]"), screen.view.state
    ids = state.table.id_str[state.rows[:2]].tolist()
    good, state.annotations.path = state.annotations.path, tmp_path  # as a disk that refuses
    box.fill("two arms")
    screen.press("Enter")
    assert "not saved" in screen.out(".gs-error").inner_text() and box.input_value() == "two arms"
    screen.press("ArrowRight")
    assert box.input_value() == ""
    state.annotations.path = good
    screen.press("ArrowLeft")
    assert box.input_value() == "two arms"
    box.focus()
    screen.press("Enter")
    assert said(good) == {(ids[0], "comment"): "two arms"}
    box.fill("a ring")  # and now another galaxy comes, as by SAMP
    screen.tab.evaluate("row => model.send({do: 'open', row})", int(state.rows[1]))
    screen.rest()
    assert state.current == state.rows[1] and box.input_value() == ""
    box.fill("dropped")
    screen.press("Escape")
    assert said(good) == {(ids[0], "comment"): "a ring"} and box.input_value() == ""


def test_agree_then_another_class_shows_one_of_them(opened):
    screen = opened()
    screen.view.state.query = "label != 'featured'"
    screen.tab.wait_for_timeout(1)
    screen.press("Home", "a", "2")
    assert screen.view.state.my_annotations() == {"label": "featured"}
    assert screen.out(".gs-here .gs-badge").inner_text() == "featured"
    screen.press("d", "u", "u")
    assert screen.view.state.my_annotations()["verdict"] == "agree"


def test_a_query_is_completed_in_plain_words_and_each_condition_is_a_chip(opened):
    screen = opened()
    box = screen.out(".gs-query input")
    screen.press("/")
    screen.tab.keyboard.type("bar yes")
    assert screen.out(".gs-choice span").first.inner_text() == "bar: yes, votes"
    screen.tab.keyboard.press("ArrowDown")
    screen.tab.keyboard.press("Enter")
    screen.tab.keyboard.type("> 0.1 and label == ")
    screen.out(".gs-choice", has_text="spiral").click()
    assert box.input_value() == "bar_yes_fraction > 0.1 and label == 'spiral' "
    screen.press("Enter")
    chips = screen.out(".gs-where .gs-chip").all_inner_texts()
    words = [chip.split("\n")[0].rstrip("\u00d7") for chip in chips]
    assert words == ["bar: yes, votes > 0.1", "class == 'spiral'"]
    few = screen.view.desk.here["found"]
    screen.click(".gs-where .gs-chip button")
    assert screen.view.state.query == "label == 'spiral'" and screen.view.desk.here["found"] >= few
    box.fill("confidense > 1")
    screen.press("Enter")
    assert "not applied" in screen.out(".gs-said").inner_text()
    assert "did you mean confidence?" in screen.out(".gs-said").inner_text()
    assert screen.focused().startswith("gs-text")  # to be mended at once
    assert screen.out(".gs-old").inner_text().startswith("old result") and screen.out(".gs-tile").count()
    screen.shot("wrong-query")
    box.fill("verdict == 'agree'")
    screen.press("Enter")
    assert screen.out(".gs-note").inner_text() == "No galaxy passes these filters."
    box.fill("sim-000007")
    screen.press("Enter")
    assert screen.out(".gs-id").inner_text() == "sim-000007" and screen.out(".gs-head .gs-chip").is_visible()


def test_a_value_of_two_words_is_completed(opened, tmp_path):
    galaxies = pd.DataFrame({"id_str": ["a", "b", "c"], "kind": ["tidal tail", "tidal arm", "plain"]})
    screen = opened(galaxies, predictions=None, annotations=tmp_path / "kinds.csv")
    box = screen.out(".gs-query input")
    for begun in ("kind == 'tidal t", "kind == 'tidal ", "kind == tidal t", "kind == 'tida", "kind =="):
        box.fill("")
        box.press_sequentially(begun)
        screen.out(".gs-choice", has_text="tidal tail").click()
        assert re.fullmatch(r"kind == ?'tidal tail' ", box.input_value())
    screen.press("Enter")
    assert screen.view.desk.here["found"] == 1


def test_an_applied_query_gives_the_keyboard_back_and_a_class_is_completed(opened):
    screen = opened()
    screen.press("/")
    screen.tab.keyboard.type("spir")
    assert screen.out(".gs-choice span").first.inner_text() == "class: spiral"
    screen.tab.keyboard.press("ArrowDown")
    screen.tab.keyboard.press("Enter")
    screen.press("Enter")
    assert screen.view.state.query.strip() == "label == 'spiral'" and "gs-tiles" in screen.focused()
    screen.press("ArrowRight")
    assert screen.view.state.cursor == 1


def test_every_chip_can_be_removed_however_long_it_is_and_tiles_are_whole(opened):
    screen = opened(size=(800, 860))
    screen.out(".gs-order").select_option("disagreement")
    screen.view.handle({"do": "mark", "rows": [0, 1]})
    query = "smooth-or-featured_featured-or-disk_predicted > 0 and confidence < 0.9"
    screen.out(".gs-query input").fill(query)
    screen.press("Enter")
    assert len(screen.view.desk.status["chips"]) == 2
    line = screen.out(".gs-where").bounding_box()
    for cross in screen.out(".gs-where .gs-x").all():
        box = cross.bounding_box()
        assert box["width"] > 8 and box["x"] + box["width"] <= line["x"] + line["width"]
        middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
        name = screen.tab.evaluate("at => document.elementFromPoint(...at).className", middle)
        assert name.endswith("gs-x")
    screen.tab.wait_for_function(
        "[...document.querySelectorAll('.gs-tiles')].every(one => one.scrollHeight <= one.clientHeight)"
    )


def test_a_double_click_removes_one_chip_and_pages_come_back_after_sort_mode(opened):
    screen = opened()
    screen.out(".gs-query input").fill(" and ".join(f"confidence > 0.0{i}" for i in (1, 2, 3)))
    screen.press("Enter")
    screen.out(".gs-where .gs-x").first.dblclick()
    screen.rest()
    assert screen.view.state.query == "confidence > 0.02 and confidence > 0.03"
    screen.press("s", "1", "g")
    assert screen.out(".gs-page").all_inner_texts()[0].startswith("1 of ")


def test_the_theme_of_a_notebook_has_nothing_to_style(opened):
    screen = opened()
    screen.press("s", "1", "g", "?")
    styled = "blockquote, code, dd, dl, dt, h1, h2, h3, h4, h5, h6, hr, kbd, li, ol, p, pre, table, ul"
    assert screen.tab.evaluate(f"document.querySelectorAll('.gs-inspector :is({styled})').length") == 0


def test_only_orders_that_are_known_are_offered_and_disagreement_says_why(opened):
    screen = opened()
    screen.out(".gs-order").select_option("disagreement")
    screen.rest()
    first = screen.out(".gs-second").first.inner_text()
    assert re.search(r": votes [01].\d\d, model [01].\d\d$", first)
    screen.click(".gs-find .gs-icon")
    assert not screen.view.state.descending
    bare = opened(predictions=None)
    assert bare.out(".gs-order option[value=disagreement]").count() == 0
    assert "--embeddings" in bare.out(".gs-said").inner_text()  # how to get a map
    bare.press("ArrowRight", "m")
    assert "--embeddings" not in bare.out(".gs-said").inner_text()
    assert bare.out(".gs-map .gs-note", has_text="--embeddings").is_visible()
    assert [one.inner_text() for one in bare.out(".gs-letter").all()[:4]] == ["edge", "feat", "smoo", "spir"]


def test_sort_mode_by_keyboard_alone(opened, tmp_path):
    screen = opened(classes=["merger", "ring", "bar"])
    screen.press("s")
    assert screen.focused() == "gs-sort" and screen.out(".gs-example img").count() == 3
    assert all(one["jpeg"] for one in screen.view.desk.examples)
    size = screen.out(".gs-sort .gs-large").bounding_box()
    assert 480 <= size["width"] <= 500
    screen.press("1", "2", "3")
    asked = [one["id"] for one in screen.view.desk.sorting["last"]]
    assert screen.out(".gs-said[role=status]").inner_text() == f"{asked[0]}: bar"
    screen.press("Space")
    progress = screen.view.desk.sorting["progress"]
    assert (progress["done"], progress["skipped"]) == (3, 1) and progress["test"] > 0
    assert screen.out(".gs-last button").count() == 3
    screen.click(".gs-last button >> nth=2")
    assert sorted(said(tmp_path / "labels.csv").values()) == ["bar", "ring"]
    screen.press("u")
    assert sorted(said(tmp_path / "labels.csv").values()) == ["ring"]
    screen.click("button", has_text="suggest 50")
    tested = screen.view.state.table.split.iloc[screen.view.state.rows]
    assert len(tested) == 50 and not (tested == "test").any()
    screen.press(*["1"] * 49, "Space")
    assert "The end of this queue" in screen.out(".gs-over").inner_text()
    screen.shot("sort-end")
    screen.press("Enter")
    assert screen.out(".gs-sort .gs-large .gs-image").is_visible()
    assert screen.out(".gs-where .gs-chip", has_text="queue 0/").is_visible()
    screen.press("g")
    assert screen.out(".gs-tiles").is_visible()


def test_another_question_in_sort_mode_has_its_own_answers(opened, tmp_path):
    screen = opened()
    screen.press("s")
    state, answers = screen.view.state, screen.out(".gs-card-answer")
    for task in ("bar", "", "spiral-arm-count", "bar", "disk-edge-on", ""):
        screen.out(".gs-task").select_option(task)
        screen.rest()
        assert answers.count() == len(state.answers)
        before = int((state.answered != "").sum())
        answers.nth(1).click()
        screen.rest()
        assert int((state.answered != "").sum()) == before + 1
        assert sorted(said(tmp_path / "labels.csv").values()).count(state.answers[1]) >= 1
        screen.out(".gs-last button").first.click()  # undone, its galaxy is looked at, its answer not pressed
        screen.rest()
        assert screen.out(".gs-card-answer[aria-pressed=true]").count() == 0


def test_a_question_of_the_tree_is_asked_where_it_belongs(opened, tmp_path):
    screen = opened()
    screen.out(".gs-task").select_option("bar")
    screen.rest()
    state = screen.view.state
    assert 0 < len(state.rows) < 150 and (state.asked("bar")[state.rows] >= 0.5).all()
    assert "bar is asked" in screen.out(".gs-chip").first.inner_text()
    screen.press("s", "1")
    assert "bar feature" in screen.out(".gs-ask").inner_text()
    assert list(said(tmp_path / "labels.csv").items())[0][0][1] == "bar"


def test_several_marked_galaxies_get_one_label_with_one_key(opened, tmp_path):
    screen = opened()
    tiles = screen.out(".gs-tile")
    tiles.nth(1).click()
    tiles.nth(3).click(modifiers=["Shift"])
    tiles.nth(5).click(modifiers=["Control"])
    screen.rest()
    assert screen.out(".gs-marked").count() == 4 and "4 marked" in screen.out(".gs-marks").inner_text()
    screen.press("4")
    assert list(said(tmp_path / "labels.csv").values()) == ["spiral"] * 4
    screen.press("u")
    assert said(tmp_path / "labels.csv") == {}
    first, last = tiles.nth(0).bounding_box(), tiles.nth(2).bounding_box()
    screen.tab.mouse.move(first["x"] + 2, first["y"] + 2)
    screen.tab.mouse.down()
    screen.tab.mouse.move(last["x"] + 20, last["y"] + 40, steps=5)
    screen.tab.mouse.up()
    screen.rest()
    assert screen.out(".gs-marked").count() == 3
    screen.press("Escape", "Control+a")
    assert screen.out(".gs-marked").count() == tiles.count()


def test_the_map_opens_a_galaxy_beside_the_gallery_and_a_lasso_filters(opened):
    screen = opened()
    state = screen.view.state
    screen.view.handle({"do": "query", "text": "label == 'smooth'"})
    screen.click(".gs-page")
    places = np.frombuffer(screen.view.desk.places, np.float32).reshape(-1, 2)
    box = screen.out(".gs-sheet-of-points").bounding_box()
    away = np.linalg.norm(places[:, None] - places, axis=2) + 9 * np.eye(150)
    lonely = np.where(state.table.label == "smooth", -1, away.min(axis=1)).argmax()
    at = [(0.5 + places[lonely, 0] / 2.25) * box["width"], (0.5 - places[lonely, 1] / 2.25) * box["height"]]
    assert 4 < at[0] < box["width"] - 4 and 4 < at[1] < box["height"] - 4
    tiles = screen.view.desk.tiles
    screen.tab.mouse.click(float(box["x"] + at[0]), float(box["y"] + at[1]))
    screen.rest()
    assert state.current == lonely and state.opened == lonely and screen.view.desk.tiles is tiles
    assert "not in the gallery" in screen.out(".gs-head").inner_text()
    screen.press("3")
    assert screen.view.state.table.mine[lonely] == "smooth"
    screen.press("Escape")
    assert state.opened is None
    screen.click(".gs-near button")
    assert state.error == ""
    for x, y in ((0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98), (0.02, 0.1)):
        screen.tab.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
        if y == 0.02 and x == 0.02:
            screen.tab.mouse.down()
    screen.tab.mouse.up()
    screen.rest()
    chips = screen.view.desk.status["chips"]
    assert chips[1] == "lasso 150" and len(state.rows) == (state.table.label == "smooth").sum()
    screen.press("m")
    assert not screen.out(".gs-map").is_visible()


def test_the_map_fades_what_a_query_leaves_out(opened):
    screen = opened()
    screen.out(".gs-query input").fill("label == 'smooth'")
    screen.press("Enter")
    state, desk = screen.view.state, screen.view.desk
    places = np.frombuffer(desk.places, np.float32).reshape(-1, 2)
    alone = (np.linalg.norm(places[:, None] - places, axis=2) + 9 * np.eye(150)).min(axis=1)
    smooth = (state.table.label == "smooth").to_numpy()
    seen = [
        screen.tab.evaluate(
            """([x, y]) => {
              const points = document.querySelector(".gs-sheet-of-points canvas");
              const at = [points.width * (0.5 + x / 2.25), points.height * (0.5 - y / 2.25)].map(Math.floor);
              return [...points.getContext("2d").getImageData(...at, 1, 1).data].slice(0, 3);
            }""",
            places[np.where(kept, alone, -1).argmax()].tolist(),
        )
        for kept in (smooth, ~smooth)
    ]
    bright = dict(desk.legend)["smooth"]
    assert seen[0] == [int(bright[i : i + 2], 16) for i in (1, 3, 5)]
    assert max(seen[1]) < 120 and seen[1] != [17, 20, 24]  # faded, but no background


def test_images_open_at_the_crop_of_the_model(opened):
    half, whole = opened(crop=0.5), opened()
    assert (half.view.look.zoom, whole.view.look.zoom) == (0.5, 1.0)
    places = [screen.out("input[aria-label='zoom of all images']").input_value() for screen in (half, whole)]
    assert places[0] != places[1]
    for shown in (lambda desk: desk.tiles[0]["jpeg"], lambda desk: desk.image["jpeg"]):
        assert shown(half.view.desk) != shown(whole.view.desk)


def test_zoom_and_stretch_change_the_images_and_a_scale_bar_is_drawn(opened):
    screen = opened("table")
    before, large = screen.view.desk.tiles[0]["jpeg"], screen.view.desk.image["jpeg"]
    screen.out("input[aria-label='zoom of all images']").fill("0.8")
    screen.tab.wait_for_function("sent.includes('look')")
    screen.rest()
    assert screen.view.look.zoom == 0.4
    assert screen.view.desk.tiles[0]["jpeg"] != before and screen.view.desk.image["jpeg"] != large
    large = screen.view.desk.image["jpeg"]
    screen.click(".gs-look summary")
    screen.out("select[aria-label=stretch]").select_option("asinh")
    screen.rest()
    assert screen.view.desk.image["jpeg"] != large
    screen.out("input[aria-label='size of the tiles']").fill("240")
    screen.tab.wait_for_function("sent.filter(one => one === 'look').length === 3")
    screen.rest()
    assert screen.out(".gs-frame").first.bounding_box()["width"] > 160


def test_the_close_up_links_to_surveys_and_says_what_labels_will_do(opened, tmp_path):
    screen = opened("table")
    names = screen.out(".gs-sky a").all_inner_texts()
    assert names == ["SkyServer", "Legacy Surveys", "NED", "SIMBAD"]
    ra = screen.view.state.table.ra[screen.view.state.current]
    assert all(f"{ra:.6f}" in one.get_attribute("href") for one in screen.out(".gs-sky a").all())
    stored = opened("store", annotations=tmp_path / "other.csv")
    split = stored.view.state.table.split
    rows = [*np.flatnonzero(split == "train")[:3], *np.flatnonzero(split == "test")[:2]]
    stored.view.state.put_each({int(row): {"label": "spiral"} for row in rows})
    stored.press("Home")
    assert stored.out(".gs-labels").inner_text() == "5 labels: 3 train, 2 test (kept out)"
    stored.click("button", has_text="Write store")
    assert "written: sky-corrected-" in stored.out(".gs-said").inner_text()


def test_what_other_notebooks_write_appears_by_itself(opened, tmp_path):
    one, two = opened(), opened()
    two.press("Home", "4")
    one.tab.wait_for_function("document.querySelector('.gs-here .gs-badge').textContent === 'spiral'")
    one.press("2", "u")
    assert list(said(tmp_path / "labels.csv").values()) == ["spiral"]


def test_the_gallery_is_within_four_tabs_and_images_have_words(opened):
    screen = opened()
    screen.out("#before").focus()
    stops = []
    while len(stops) < 4 and not any("gs-tiles" in stop for stop in stops):
        screen.tab.keyboard.press("Tab")
        stops.append(screen.focused())
    assert "gs-tiles" in stops[-1], stops
    assert screen.tab.evaluate("getComputedStyle(document.querySelector('.gs-tiles')).boxShadow") != "none"
    images = "[...document.querySelectorAll('.gs-inspector img')]"
    assert screen.tab.evaluate(f"{images}.filter(one => !one.hidden && !one.alt).length") == 0
    assert screen.out(".gs-tiles[role=listbox] [role=option]").count() == screen.out(".gs-tile").count()
    active = screen.out(".gs-tiles").get_attribute("aria-activedescendant")
    words = screen.out(f"#{active}").get_attribute("aria-label")
    assert words.startswith(screen.view.state.table.id_str[screen.view.state.current])


def test_a_list_keeps_the_keyboard_while_arrow_keys_choose_from_it(opened):
    screen = opened()
    screen.out("select.gs-order").focus()
    screen.press("ArrowDown", "ArrowDown")
    assert "gs-order" in screen.focused() and screen.view.state.order
    screen.press("Escape")
    assert "gs-tiles" in screen.focused()


def test_a_lost_kernel_takes_no_input(opened, tmp_path):
    screen = opened()
    screen.tab.evaluate("model.comm_live = false; model.tell('comm_live_update')")
    assert screen.out(".gs-veil").inner_text() == "kernel restarted: run the cell again"
    assert "gs-veil" in screen.focused()
    asked = len(screen.asked)
    screen.tab.keyboard.press("2")
    screen.out(".gs-tile").nth(2).click(force=True)
    assert len(screen.asked) == asked and not (tmp_path / "labels.csv").exists()
    assert "gs-veil" in screen.focused()  # the click gave the keyboard to no one else
    screen.shot("dead")


def test_a_kernel_that_was_shut_down_is_named(opened, tmp_path):
    screen = opened()
    screen.tab.evaluate("() => { model.send = () => { throw new Error('Cannot send'); }; }")
    screen.tab.keyboard.press("2")
    assert screen.out(".gs-veil").inner_text() == "kernel restarted: run the cell again"


def test_a_wrong_query_is_named_until_it_is_mended_in_sort_mode_too(opened):
    screen = opened()
    screen.out(".gs-query input").fill("confidence > 0,5")
    screen.press("Enter")
    screen.out(".gs-tiles").focus()
    screen.press("ArrowRight", "s")
    assert screen.view.mode == "sort" and screen.view.state.stale
    assert "a comma makes this no condition" in screen.out(".gs-status").inner_text()
    screen.press("1")
    assert "edge on" in screen.out(".gs-status").inner_text()  # what was done comes first
    screen.press("g")
    screen.out(".gs-query input").fill("confidence > 0.5")
    screen.press("Enter")
    assert not screen.view.state.stale and "comma" not in screen.out(".gs-status").inner_text()


def test_a_lost_annotation_file_is_named(opened, tmp_path):
    screen = opened()
    screen.press("2")
    (tmp_path / "labels.csv").unlink()
    screen.tab.wait_for_function("document.querySelector('.gs-status').textContent.includes('has gone')")
    assert not (screen.view.state.answered != "").any()


def test_in_sort_mode_another_notebooks_label_moves_no_galaxy_away_under_the_key(opened, tmp_path):
    screen = opened()
    screen.press("s")
    shown = screen.view.state.table.id_str[screen.view.state.current]
    AnnotationFile(tmp_path / "labels.csv").put(shown, label="smooth")
    screen.tab.wait_for_function("model.get('sorting').progress.done === 1")
    assert shown in screen.out(".gs-ask").inner_text()
    screen.press("2")
    assert said(tmp_path / "labels.csv") == {(shown, "label"): "featured"}
    assert shown not in screen.out(".gs-ask").inner_text()


def test_all_galaxies_leaves_the_filter_too(opened):
    screen = opened()
    screen.out(".gs-query input").fill("confidence > 5")
    screen.press("Enter")
    screen.out(".gs-tiles").focus()
    screen.press("s")
    screen.click("button:has-text('all galaxies')")
    assert (screen.view.state.query, screen.view.mode, len(screen.view.state.rows)) == ("", "gallery", 150)
    assert screen.out(".gs-query input").input_value() == "" and screen.out(".gs-tile").count() > 4
    assert not screen.out("[title=null], [title=undefined]").count()


def test_a_drag_that_ends_outside_marks_nothing(opened):
    screen = opened()
    box = screen.out(".gs-tile").first.bounding_box()
    screen.tab.mouse.move(box["x"] + 3, box["y"] + 30)
    screen.out(".gs-tile").first.dispatch_event("pointerdown", {"button": 0, "buttons": 1})
    screen.tab.mouse.move(box["x"] + 90, box["y"] + 120, steps=4)  # no button is held
    assert not screen.out(".gs-band").is_visible() and not screen.view.state.marked


def test_a_screen_that_is_removed_is_freed_and_one_that_comes_back_works(opened):
    screen = opened()
    screen.tab.evaluate("""() => {
      window.sheet = document.querySelector(".gs-sheet");
      sheet.remove();
    }""")
    screen.tab.wait_for_function("Object.values(heard).flat().length === 1")  # change:key
    screen.tab.evaluate("document.body.append(sheet)")
    screen.out(".gs-tiles").focus()
    screen.press("ArrowRight")
    assert screen.out(".gs-inspector").count() == 1 and screen.view.state.cursor == 1


def test_odd_ids_missing_images_and_a_file_that_was_edited(opened, tmp_path):
    odd = pd.DataFrame({"id_str": ['<img src=x onerror="document.title=1">', "a'b\"c", "two words"]})
    screen = opened(odd, predictions=None, annotations=tmp_path / "odd.csv")
    assert screen.out(".gs-problem").first.inner_text() == "has no image"
    screen.press("1", "ArrowRight", "2")
    assert screen.tab.title() == "" and len(said(tmp_path / "odd.csv")) == 2
    text = (tmp_path / "odd.csv").read_text().splitlines()
    (tmp_path / "odd.csv").write_text("\n".join([text[0], "broken", *text[2:]]) + "\n")
    screen.tab.wait_for_function("document.querySelector('.gs-said').textContent.includes('1 damaged line')")
    one = opened(odd.iloc[:1], predictions=None, annotations=tmp_path / "one.csv")
    one.press("ArrowRight", "PageDown", "End", "s", "1")
    assert one.view.queue.ended and one.out(".gs-over").is_visible()


def test_a_slow_disk_is_named_and_neither_labels_nor_keys_wait_for_it(opened, sky, tmp_path, monkeypatch):
    many, free = 240_000, threading.Event()
    path, opener = sky[2].path.iloc[0], rendering.read_bytes
    monkeypatch.setattr(rendering, "read_bytes", lambda name: (free.wait(PATIENCE / 1000), opener(name))[1])
    monkeypatch.setattr(app, "PATIENCE", 0.2)
    galaxies = pd.DataFrame({"id_str": [f"far-{i:06d}" for i in range(many)], "path": path})
    try:
        screen = opened(galaxies, predictions=None, annotations=tmp_path / "far.csv")
        assert "slow files" in screen.out(".gs-said").inner_text()
        assert screen.out(".gs-tile .gs-problem").first.inner_text() == "is still being read"
        screen.press("1", "ArrowRight", "2", "PageDown", "3", "s", "4", "g")
        assert list(said(tmp_path / "far.csv").values()) == ["edge_on", "featured", "smooth", "spiral"]
        assert len(screen.view.album.reading) < 100
    finally:
        free.set()
    screen.tab.wait_for_function("document.querySelector('.gs-said').textContent.startsWith('annotations')")
    assert screen.out(".gs-tile .gs-image").count() == screen.out(".gs-tile").count()


def test_a_disk_that_refuses_is_named_and_nothing_is_lost(opened, tmp_path):
    screen = opened()
    screen.press("Home", "1")
    before = (tmp_path / "labels.csv").read_bytes()
    screen.view.state.annotations.path = tmp_path  # as a disk that refuses
    screen.press("2")
    assert "not saved" in screen.out(".gs-error").inner_text()
    screen.view.state.annotations.path = tmp_path / "labels.csv"
    assert (tmp_path / "labels.csv").read_bytes() == before
    screen.press("3")
    assert said(tmp_path / "labels.csv").popitem()[1] == "smooth"
