// The map: every galaxy as a point, drawn pixel by pixel, so that hundreds of thousands are no burden.
// A click opens the nearest galaxy, a drag is a lasso, the wheel zooms, shift and a drag moves the map,
// a double click shows all of it.

const BACKGROUND = [17, 20, 24];
const packed = ([red, green, blue]) => (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
const parsed = colour => [1, 3, 5].map(i => parseInt(colour.slice(i, i + 2), 16));

function makeMap(app) {
  const box = make(app.body, "section", "gs-map", "", {"aria-label": "map"});
  const hint = app.get("fixed").map;
  if (hint) { make(box, "div", "gs-note", hint); return; }
  const frame = make(box, "div", "gs-sheet-of-points");
  const points = make(frame, "canvas", "", "", {role: "img",
    "aria-label": "map of all galaxies, similar ones close together; a click opens one, a lasso filters"});
  const marks = make(frame, "canvas", "gs-above");
  const legend = make(box, "div", "gs-legend");
  for (const [name, colour] of app.get("legend")) {
    const entry = make(legend, "span", "", name.replaceAll("_", " "));
    const sample = make(null, "i");
    sample.style.background = colour;
    entry.prepend(sample);
  }
  const how = ["click: open", "drag: lasso", "wheel: zoom", "double click: all"].join(" \u00b7 ");
  make(box, "div", "gs-quiet gs-how", how);

  const view = {zoom: 1, x: 0, y: 0, width: 0, height: 0};
  const places = new Float32Array(app.bytes("places").slice().buffer), groups = app.bytes("groups");
  const bright = app.get("legend").map(([, colour]) => packed(parsed(colour)));
  const faded = app.get("legend").map(([, colour]) =>
    packed(parsed(colour).map((value, i) => Math.round(BACKGROUND[i] + 0.28 * (value - BACKGROUND[i])))));
  const across = i => view.width * (0.5 + view.zoom * (places[2 * i] - view.x) / 2.25);
  const down = i => view.height * (0.5 - view.zoom * (places[2 * i + 1] - view.y) / 2.25);

  const draw = () => {
    if (!view.width) return;
    const context = points.getContext("2d"), paper = context.createImageData(view.width, view.height);
    const pixels = new Uint32Array(paper.data.buffer), shown = app.bytes("shown");
    pixels.fill(packed(BACKGROUND));
    const base = (groups.length < 2000 ? 5 : groups.length < 20000 ? 3 : 1) * devicePixelRatio;
    const size = Math.max(1, Math.round(base * Math.min(2, view.zoom ** 0.3)));
    const {width, height} = view, half = size / 2;
    for (const pass of [0, 1]) {  // those in the gallery above the others
      const colours = pass ? bright : faded;
      for (let i = 0; i < groups.length; i++) {
        if ((shown[i >> 3] >> (7 - (i & 7)) & 1) !== pass) continue;
        if (Number.isNaN(places[2 * i])) continue;
        const left = across(i) - half | 0, top = down(i) - half | 0;
        if (!(left >= 0 && top >= 0 && left + size < width && top + size < height)) continue;
        if (size === 1) { pixels[top * width + left] = colours[groups[i]]; continue; }
        for (let y = 0; y < size; y++) {  // a disk: its corners are left out
          const cut = size > 3 && (y === 0 || y === size - 1) ? Math.round(size / 4) : 0;
          const start = (top + y) * width + left;
          pixels.fill(colours[groups[i]], start + cut, start + size - cut);
        }
      }
    }
    context.putImageData(paper, 0, 0);
    mark();
  };
  const mark = path => {
    const context = marks.getContext("2d"), row = app.get("here").row;
    context.clearRect(0, 0, view.width, view.height);
    context.lineWidth = 2 * devicePixelRatio;
    context.strokeStyle = "#ffffff";
    if (row >= 0 && Number.isFinite(places[2 * row])) {
      context.beginPath();
      context.arc(across(row), down(row), 8 * devicePixelRatio, 0, 7);
      context.stroke();
    }
    if (path) {
      context.beginPath();
      path.forEach(([x, y]) => context.lineTo(x, y));
      context.closePath();
      context.fillStyle = "rgba(255, 255, 255, 0.15)";
      context.fill();
      context.stroke();
    }
  };
  let next = 0;
  const soon = () => { cancelAnimationFrame(next); next = requestAnimationFrame(draw); };
  new ResizeObserver(() => {
    view.width = Math.round(frame.clientWidth * devicePixelRatio);
    view.height = Math.round(frame.clientHeight * devicePixelRatio);
    for (const canvas of [points, marks]) Object.assign(canvas, {width: view.width, height: view.height});
    draw();
  }).observe(frame);
  app.on("shown", soon);
  app.on("here", () => mark());
  mapGestures(app, frame, view, {across, down, groups, soon, mark});
}

function mapGestures(app, frame, view, {across, down, groups, soon, mark}) {
  const at = event => {
    const place = frame.getBoundingClientRect();
    return [(event.clientX - place.left) * devicePixelRatio, (event.clientY - place.top) * devicePixelRatio];
  };
  const nearest = ([x, y]) => {
    let best = -1, least = (14 * devicePixelRatio) ** 2;
    for (let i = 0; i < groups.length; i++) {
      const apart = (across(i) - x) ** 2 + (down(i) - y) ** 2;
      if (apart < least) { least = apart; best = i; }
    }
    return best;
  };
  let path = null, moved = null;
  frame.addEventListener("pointerdown", event => {
    frame.setPointerCapture(event.pointerId);
    if (event.shiftKey || event.button === 1) moved = at(event);
    else if (event.button === 0) path = [at(event)];
  });
  frame.addEventListener("pointermove", event => {
    if (moved) {
      const [x, y] = at(event);
      view.x -= 2.25 * (x - moved[0]) / view.width / view.zoom;
      view.y += 2.25 * (y - moved[1]) / view.height / view.zoom;
      moved = [x, y];
      soon();
    } else if (path) { path.push(at(event)); mark(path); }
  });
  frame.addEventListener("pointerup", () => {
    const drawn = path;
    path = moved = null;
    if (!drawn) return;
    const far = Math.max(...drawn.map(([x, y]) => Math.hypot(x - drawn[0][0], y - drawn[0][1])));
    if (far < 6 * devicePixelRatio) {
      const row = nearest(drawn[0]);
      if (row >= 0) app.send({do: "open", row});
    } else {
      const rows = caught(drawn, groups.length, across, down);
      app.send({do: "lasso"}, [rows.buffer]);
    }
    mark();
  });
  frame.addEventListener("wheel", event => {
    event.preventDefault();
    const [x, y] = at(event), before = view.zoom;
    view.zoom = Math.min(60, Math.max(1, view.zoom * Math.exp(-event.deltaY / 300)));
    const part = 2.25 * (1 / before - 1 / view.zoom);  // the point under the mouse stays where it is
    view.x += part * (x / view.width - 0.5);
    view.y -= part * (y / view.height - 0.5);
    if (view.zoom === 1) view.x = view.y = 0;
    soon();
  }, {passive: false});
  frame.addEventListener("dblclick", () => { Object.assign(view, {zoom: 1, x: 0, y: 0}); soon(); });
}

/** The points inside a closed path: a ray from each crosses it an odd number of times. */
function caught(path, count, across, down) {
  const xs = path.map(([x]) => x), ys = path.map(([, y]) => y), found = [];
  const left = Math.min(...xs), right = Math.max(...xs), top = Math.min(...ys), bottom = Math.max(...ys);
  for (let i = 0; i < count; i++) {
    const x = across(i), y = down(i);
    if (!(x >= left && x <= right && y >= top && y <= bottom)) continue;
    let inside = false;
    for (let j = 0, k = path.length - 1; j < path.length; k = j++) {
      const between = ys[j] > y !== ys[k] > y;
      if (between && x < (xs[k] - xs[j]) * (y - ys[j]) / (ys[k] - ys[j]) + xs[j]) inside = !inside;
    }
    if (inside) found.push(i);
  }
  return Int32Array.from(found);
}
