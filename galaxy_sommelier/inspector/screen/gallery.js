// The gallery: a page of tiles that fills the space, the cursor, and marks.

const GAP = 8;

function makeGallery(app) {
  const box = make(app.body, "div", "gs-gallery");
  const grid = make(box, "div", "gs-tiles", "", {role: "listbox", tabIndex: 0, "aria-multiselectable": "true",
    "aria-label": "galaxies: arrows move, number keys label, question mark lists all keys"});
  const band = make(box, "div", "gs-band", "", {hidden: true});
  app.gallery = grid;

  const draw = () => keepFocus(app, () => {
    const tiles = app.get("tiles");
    grid.replaceChildren(...tiles.map((one, i) => tile(app, one, i)));
    if (!tiles.length) make(grid, "div", "gs-note", "No galaxy passes these filters.");
    grid.scrollTop = 0;
    badges();
    mark();
  });
  const badges = () => app.get("badges").forEach((text, i) => {
    const node = grid.children[i]?.querySelector(".gs-badge");
    if (node) { node.textContent = text; node.hidden = !text; }
  });
  const mark = () => {
    const here = app.get("here"), marked = new Set(here.marked), tiles = app.get("tiles");
    if (grid.querySelectorAll(".gs-tile").length !== tiles.length) return;  // new tiles are drawn in a moment
    tiles.forEach((one, i) => {
      const node = grid.children[i];
      node.classList.toggle("gs-here", i === here.cursor);
      node.classList.toggle("gs-marked", marked.has(one.row));
      node.setAttribute("aria-selected", i === here.cursor || marked.has(one.row));
    });
    const node = grid.children[here.cursor];
    if (tiles.length && node) {
      grid.setAttribute("aria-activedescendant", node.id);
      if (grid.scrollHeight > grid.clientHeight) node.scrollIntoView({block: "nearest"});
    } else grid.removeAttribute("aria-activedescendant");
  };
  app.on("tiles", draw);
  app.on("badges", badges);
  app.on("here", mark);
  app.on("controls", () => refit());
  app.on("here", () => refit());

  // rows of tiles, about as large as wished, that fill the space; Python makes the pages of that size
  let asked = 0, fitted = "";
  const refit = () => {
    const {side, mode} = app.get("controls"), settings = `${side} ${mode} ${app.get("here").tall}`;
    if (settings !== fitted) fit();
    fitted = settings;
  };
  const fit = () => {
    const wish = app.get("controls").side;
    grid.classList.toggle("gs-tall", app.get("here").tall);
    const width = grid.clientWidth - 2 * GAP, height = grid.clientHeight - 2 * GAP;
    if (width < 40 || height < 40 || app.get("controls").mode !== "gallery") return;
    const text = parseFloat(getComputedStyle(grid).getPropertyValue("--gs-text"));
    const fitting = side => (height + GAP) / (side + text + GAP);
    const rows = Math.max(1, Math.min(Math.round(fitting(wish)), Math.floor(fitting(0.7 * wish))));
    const room = Math.floor((height + GAP) / rows - text - GAP);
    const side = Math.min(width, Math.max(0.7 * wish, Math.min(1.4 * wish, room)));
    app.columns = Math.max(1, Math.floor((width + GAP) / (side + GAP)));
    grid.style.setProperty("--gs-side", `${side}px`);
    grid.classList.toggle("gs-narrow", side <= 108);
    grid.style.setProperty("--gs-columns", app.columns);
    if (app.columns * rows !== asked) app.send({do: "space", count: asked = app.columns * rows});
  };
  new ResizeObserver(() => fit()).observe(grid);

  // the wheel turns pages, once what is on the page has been scrolled through
  let turned = 0, last = 0;
  box.addEventListener("wheel", event => {
    const down = event.deltaY > 0, room = grid.scrollHeight - grid.clientHeight;
    if (event.ctrlKey || (down ? grid.scrollTop < room - 2 : grid.scrollTop > 2)) return;
    event.preventDefault();
    if (performance.now() - last > 400) turned = 0;
    last = performance.now();
    turned += event.deltaY;
    if (Math.abs(turned) >= 80 && !app.waiting) {
      app.send({do: "turn", pages: turned > 0 ? 1 : -1});
      turned = 0;
    }
  }, {passive: false});
  drawBand(app, box, grid, band);
}

function tile(app, one, index) {
  const node = make(null, "div", "gs-tile", "", {role: "option", id: `${app.id}-${index}`,
    "aria-label": `${one.id}, ${one.lines.join(", ")}`});
  node.dataset.row = one.row;
  const frame = make(node, "div", "gs-frame");
  if (one.jpeg?.byteLength) picture(frame, one.jpeg, `${one.id}, ${one.lines[0]}`);
  else make(frame, "div", "gs-problem", one.problem);
  make(frame, "div", "gs-badge", "", {hidden: true});
  const bars = make(node, "div", "gs-bars");
  if (one.bars.length) app.get("fixed").bars.forEach(([letter, words], i) => {
    const [voted, model] = one.bars[i];
    const title = `${words}: votes ${two(voted)}, model ${two(model)}`;
    const pair = make(bars, "div", "gs-pair", "", {title});
    const axis = make(pair, "div", "gs-axis");
    make(axis, "div", "gs-bar gs-vote").style.height = `${100 * (voted ?? 0)}%`;
    make(axis, "div", "gs-bar gs-model").style.height = `${100 * (model ?? 0)}%`;
    make(make(pair, "span", "gs-letter", letter.slice(0, 2)), "span", "gs-rest", letter.slice(2));
  });
  make(node, "div", "gs-line gs-first", one.lines[0]);
  const second = make(node, "div", "gs-line gs-second", "", {title: one.lines[1]});
  if (one.lines[1] === one.id) {  // the end of an id tells it from others
    second.classList.add("gs-name-of");
    make(second, "span", "gs-words", one.id.slice(0, -8));
    make(second, "span", "", one.id.slice(-8));
  } else second.textContent = one.lines[1];
  return node;
}

/** A click moves the cursor, with shift it marks up to there, with ctrl one more; a drag marks several. */
function drawBand(app, box, grid, band) {
  let from = null;
  const inside = event => {
    const at = box.getBoundingClientRect();
    return [event.clientX - at.left, event.clientY - at.top];
  };
  box.addEventListener("pointerdown", event => {
    if (event.button === 0 && event.target.closest(".gs-tiles")) from = {at: inside(event), event};
  });
  box.addEventListener("pointermove", event => {
    if (!(event.buttons & 1)) { from = null; band.hidden = true; }  // let go elsewhere
    if (!from) return;
    const [x, y] = inside(event), [x0, y0] = from.at;
    if (band.hidden && Math.hypot(x - x0, y - y0) < 8) return;
    if (band.hidden) box.setPointerCapture(event.pointerId);
    band.hidden = false;
    Object.assign(band.style, {left: `${Math.min(x, x0)}px`, top: `${Math.min(y, y0)}px`,
      width: `${Math.abs(x - x0)}px`, height: `${Math.abs(y - y0)}px`});
  });
  box.addEventListener("pointerup", event => {
    if (!from) return;
    const node = from.event.target.closest(".gs-tile");
    if (!band.hidden) {
      const area = band.getBoundingClientRect();
      const rows = [...grid.querySelectorAll(".gs-tile")].filter(one => {
        const at = one.getBoundingClientRect();
        return at.left < area.right && at.right > area.left && at.top < area.bottom && at.bottom > area.top;
      }).map(one => Number(one.dataset.row));
      app.send({do: "mark", rows, add: event.shiftKey});
    } else if (node) {
      const how = event.shiftKey ? "range" : event.ctrlKey || event.metaKey ? "toggle" : "plain";
      app.send({do: "click", row: Number(node.dataset.row), how});
    }
    band.hidden = true;
    from = null;
  });
  box.addEventListener("pointercancel", () => { band.hidden = true; from = null; });
}
