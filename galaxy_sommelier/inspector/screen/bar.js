// The toolbar (one row), the chips of the filters, and the status line.

function makeFind(app) {
  const bar = make(app.root, "div", "gs-find", "", {role: "search"});
  const query = makeQuery(app, bar);
  const order = choice(bar, "order of the galaxies", value => app.send({do: "order", order: value}),
    "gs-order");
  const turn = button(bar, "", "turn the order round", () => app.send({do: "order", turn: true}), "gs-icon");
  app.on("controls", controls => {
    query.set(controls.query);
    order.fill([["", "table order"], ...app.get("fixed").orders], controls.order);
    turn.textContent = controls.descending ? "\u2193" : "\u2191";
    turn.title = `${controls.descending ? "largest" : "smallest"} first; click to turn round`;
    turn.setAttribute("aria-label", turn.title);
    turn.disabled = !controls.order;
  });
  return query;
}

function makeTools(app) {
  const bar = make(app.root, "div", "gs-tools", "", {role: "toolbar", "aria-label": "view"});
  const modes = make(bar, "div", "gs-modes", "", {role: "group", "aria-label": "mode"});
  const go = mode => () => app.send({do: "mode", mode});
  const gallery = button(modes, "Gallery", "many galaxies: key g", go("gallery"));
  const sort = button(modes, "Sort", "one by one: key s", go("sort"));
  make(bar, "span", "gs-quiet gs-word", "label");
  const task = choice(bar, "what to label", value => app.send({do: "task", task: value}), "gs-task");
  const size = slider(bar, "size of the tiles", 72, 320, 8, side => app.send({do: "look", side}),
    "gs-wide gs-browse");
  const zoom = slider(bar, "zoom of all images", 0.2, 1, 0.05, value =>
    app.send({do: "look", zoom: Number((1.2 - value).toFixed(2))}), "gs-wide");
  const suggest = button(bar, "\u2605 ", "suggest the 50 galaxies whose labels would teach the model most",
    () => app.send({do: "suggest"}));
  make(suggest, "span", "gs-word", "suggest ");
  suggest.append("50");
  const map = button(bar, "Map", "show or hide the map: key m", () => app.toggleMap(), "gs-browse");
  button(bar, "?", "all keys: key ?", () => app.help.show(), "gs-icon");
  app.on("controls", controls => {
    for (const [node, mode] of [[gallery, "gallery"], [sort, "sort"]]) {
      node.setAttribute("aria-pressed", controls.mode === mode);
    }
    task.fill(app.get("fixed").tasks, controls.task);
    if (document.activeElement !== size) size.value = controls.side;
    if (document.activeElement !== zoom) zoom.value = 1.2 - controls.zoom;
    if (app.root.dataset.mode !== controls.mode) {
      const inside = app.root.contains(document.activeElement);
      app.root.dataset.mode = controls.mode;
      if (inside) app.home();
    }
  });
  app.mapButton = map;
}

/** Where one is, and a chip for each condition that limits what is shown. */
function makeChips(app) {
  const line = make(app.body, "div", "gs-where");
  const draw = () => keepFocus(app, () => {
    const here = app.get("here"), status = app.get("status");
    line.replaceChildren();
    const total = count(here.total), found = here.found === here.total ? "" : `${count(here.found)} of `;
    make(make(line, "span", "gs-count", found + total), "span", "gs-word", " galaxies");
    for (const chip of status.chips) {
      const node = make(line, "span", "gs-chip");
      make(node, "span", "gs-words", chip, {title: chip});
      // the second click of a double click may be on a chip that has come here meanwhile
      const drop = event => event.detail < 2 && app.send({do: "drop", chip});
      button(node, "\u00d7", `remove ${chip}`, drop, "gs-x");
    }
    if (here.marked.length) {
      const node = make(line, "span", "gs-chip gs-marks");
      make(node, "span", "gs-words", `${here.marked.length} marked`);
      button(node, "\u00d7", "mark none: Escape", () => app.send({do: "mark", rows: []}), "gs-x");
    }
    if (here.stale) make(line, "span", "gs-old", "old result: the query was not applied");
    make(line, "span", "gs-space");
    if (app.get("controls").mode === "gallery" && here.pages > 1) {
      button(line, "\u25c0", "page before: page up", () => app.send({do: "turn", pages: -1}), "gs-icon");
      make(line, "span", "gs-page", `${count(here.page + 1)} of ${count(here.pages)}`, {title: "page"});
      button(line, "\u25b6", "next page: page down", () => app.send({do: "turn", pages: 1}), "gs-icon");
    }
    app.root.classList.toggle("gs-stale", here.stale);
  });
  for (const name of ["here", "status", "controls"]) app.on(name, draw);
}

function makeStatus(app) {
  const line = make(app.root, "div", "gs-status");
  const said = make(line, "span", "gs-said", "", {role: "status", "aria-live": "polite"});
  make(line, "span", "gs-space");
  const labels = make(line, "span", "gs-labels");
  const store = button(line, "Write store", "write a store with these labels, for training", () =>
    app.send({do: "store"}));
  const samp = button(line, "SAMP", "send the marked galaxies, else all shown, to TOPCAT or Aladin", () =>
    app.send({do: "samp"}));
  app.on("status", app.sayStatus = (status = app.get("status")) => {
    said.textContent = status.error || status.said;
    said.title = said.textContent;
    said.classList.toggle("gs-error", Boolean(status.error));
    labels.textContent = status.labels;
    store.hidden = !status.store;
    store.disabled = !status.learned;
    store.title = status.learned ? "write a store with these labels, for training"
      : "no label yet that a store could hold";
    samp.hidden = !status.places;
  });
  app.say = (text, bad) => { said.textContent = text; said.classList.toggle("gs-error", Boolean(bad)); };
}

/** The keys, over everything else, until a key or a click closes them. */
function makeHelp(app) {
  const page = make(app.root, "div", "gs-help", "", {role: "dialog", tabIndex: -1, hidden: true,
    "aria-label": "keys", "aria-modal": "true"});
  const box = make(page, "div", "gs-card");
  make(box, "div", "gs-title", "Keys", {role: "heading", "aria-level": 3});
  const table = make(box, "div", "gs-keys");
  for (const [keys, what] of app.get("fixed").keys) {
    const term = make(table, "div");
    keys.split(" ").forEach(key => keycap(term, key));
    make(table, "div", "", what);
  }
  make(box, "div", "gs-quiet", app.get("fixed").legend);
  const hide = () => { page.hidden = true; app.home(); };
  page.addEventListener("click", hide);
  return {
    show() { page.hidden = false; page.focus(); },
    get open() { return !page.hidden; },
    hide,
  };
}
