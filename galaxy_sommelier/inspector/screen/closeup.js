// The close-up: one galaxy that stays in view, with its labels, facts, path through the tree, similar ones.

function makeCloseup(app) {
  const box = make(app.body, "section", "gs-closeup", "", {"aria-label": "close-up"});
  const head = make(box, "div", "gs-head");
  const frame = make(box, "div", "gs-large");
  const image = make(frame, "img", "gs-image", "", {alt: "", draggable: false});
  const problem = make(frame, "div", "gs-problem");
  const look = makeLook(app, frame);
  const labels = make(box, "div", "gs-answers", "", {role: "group", "aria-label": "label"});
  const more = make(box, "div", "gs-more");
  const texts = makeTexts(app, more);
  const facts = make(more, "div", "gs-facts");
  const tree = make(more, "div", "gs-tree");
  const near = make(more, "div", "gs-near");

  image.addEventListener("click", event => {
    const at = image.getBoundingClientRect();
    app.send({do: "patch", x: (event.clientX - at.left) / at.width, y: (event.clientY - at.top) / at.height});
  });
  app.on("image", one => {
    const known = one.jpeg?.byteLength;
    if (known) fill(image, one.jpeg);
    image.hidden = !known;
    image.alt = one.alt;
    problem.textContent = one.problem;
    problem.hidden = !one.problem;
    problem.classList.toggle("gs-hint", Boolean(known));
  });
  const drawLabels = () => keepFocus(app, () => {
    const mine = app.get("facts").mine ?? {}, field = app.get("controls").task || "label";
    labels.replaceChildren();
    app.get("fixed").answers[app.get("controls").task].forEach(([value, words], i) => {
      const node = answerButton(app, labels, value, words, i);
      node.setAttribute("aria-pressed", mine[field] === value);
    });
    for (const [key, words, sign] of [["a", "agree", "\u2713"], ["d", "disagree", "\u2717"]]) {
      const node = button(labels, `${sign} ${words}`, `key ${key}`, () => app.send({do: words}), "gs-answer");
      keycap(node, key);
      node.setAttribute("aria-pressed", mine.verdict === words);
    }
    const undo = button(labels, "undo", "take the newest click back: key u", () => app.send({do: "undo"}),
      "gs-answer");
    keycap(undo, "u");
  });
  app.on("facts", one => {
    keepFocus(app, () => {
      drawHead(app, head, one);
      drawFacts(app, facts, one);
      drawTree(tree, one.tree ?? []);
    });
    drawLabels();
    texts.set(one);
    box.classList.toggle("gs-nothing", !one.id);
  });
  app.on("controls", drawLabels);
  app.on("controls", controls => look.set(controls));
  app.on("near", one => keepFocus(app, () => drawNear(app, near, one)));
}

function answerButton(app, parent, value, words, i) {
  const key = i < 9 ? String(i + 1) : i === 9 ? "0" : "";
  const node = button(parent, words, key && `key ${key}`, () => app.send({do: "answer", value}), "gs-answer");
  if (key) keycap(node, key);
  return node;
}

function drawHead(app, head, one) {
  head.replaceChildren();
  if (!one.id) { make(head, "span", "gs-quiet", "no galaxy"); return; }
  make(head, "b", "gs-id", one.id, {title: one.id});
  if (one.split === "test") {
    make(head, "span", "gs-tag", "test", {title: "its label is kept out of training"});
  }
  if (app.get("here").opened) {
    const node = make(head, "span", "gs-chip");
    make(node, "span", "gs-words", "not in the gallery");
    button(node, "\u00d7", "back to the gallery's galaxy: Escape", () => app.send({do: "back"}), "gs-x");
  }
}

function drawFacts(app, box, one) {
  box.replaceChildren();
  if (!one.id) return;
  const line = make(box, "div", "gs-scores");
  make(line, "b", "", one.class);
  for (const [name, value] of one.scores) {
    const pair = make(line, "span", "", `${name} `);
    make(pair, "b", "", two(value));
  }
  const sky = make(box, "div", "gs-sky");
  if (!one.place) { make(sky, "span", "gs-quiet", "no coordinates"); return; }
  make(sky, "span", "", one.place);
  for (const [name, address] of one.links) {
    make(sky, "a", "", name, {href: address, target: "_blank", rel: "noopener"});
  }
  button(sky, "point", "point at it in TOPCAT or Aladin (SAMP)", () => app.send({do: "point"}), "gs-small");
}

/** Votes as a grey bar, the model as a mark on its interval. */
function drawTree(box, path) {
  box.replaceChildren();
  if (!path.length) return;
  const legend = make(box, "div", "gs-legend");
  for (const [words, name] of [["votes", "gs-vote"], ["model", "gs-model"]]) {
    make(legend, "span", "", words).prepend(make(null, "i", name));
  }
  for (const question of path) {
    const title = make(box, "div", "gs-question", question.question);
    make(title, "span", "gs-quiet", ` reached by ${Math.round(100 * question.asked)} %`);
    for (const one of question.answers) {
      const row = make(box, "div", "gs-row");
      make(row, "span", "gs-name", one.words, {title: one.words});
      const axis = make(row, "div", "gs-scale");
      if (one.voted !== null) make(axis, "div", "gs-vote").style.width = `${100 * one.voted}%`;
      if (one.lower !== null && one.upper !== null) {
        Object.assign(make(axis, "div", "gs-range").style,
          {left: `${100 * one.lower}%`, width: `${100 * (one.upper - one.lower)}%`});
      }
      if (one.predicted !== null) make(axis, "div", "gs-dot").style.left = `${100 * one.predicted}%`;
      make(row, "span", "gs-number", two(one.voted));
      make(row, "span", "gs-number gs-blue", two(one.predicted));
    }
  }
}

function drawNear(app, box, one) {
  box.replaceChildren();
  if (!one.galaxies?.length) { if (one.note) make(box, "div", "gs-quiet", one.note); return; }
  make(box, "div", "gs-question", "similar galaxies");
  const strip = make(box, "div", "gs-strip");
  for (const each of one.galaxies) {
    const node = button(strip, "", `open ${each.id}`, () => app.send({do: "open", row: each.row}), "gs-mini");
    if (each.jpeg?.byteLength) picture(node, each.jpeg, each.id); else make(node, "span", "", each.problem);
    make(node, "span", "gs-number", two(each.cosine));
  }
}

/** Flag and comment; saved with Enter, or when the box is left, for the galaxy they were typed for. */
function makeTexts(app, parent) {
  const box = make(parent, "div", "gs-texts");
  const typed = new Map();  // [row, field] as JSON -> what is not on disk yet
  let row, mine = {};
  const boxes = ["flag", "comment"].map(field => {
    const node = make(box, "input", "gs-text", "", {type: "text", placeholder: field, "aria-label": field});
    const key = () => JSON.stringify([row, field]);
    node.show = () => { node.value = typed.get(key()) ?? mine[field] ?? ""; };
    node.save = () => {
      const name = key(), value = typed.get(name);
      if (value === (mine[field] ?? "")) typed.delete(name);
      if (!typed.has(name)) return;
      app.send({do: "text", field, value, row}, [], () => {
        if (!app.get("status").error && typed.get(name) === value) typed.delete(name);
      });
    };
    node.addEventListener("input", () => typed.set(key(), node.value));
    node.addEventListener("keydown", event => {
      if (event.key === "Enter") app.home();
      if (event.key === "Escape") { typed.delete(key()); node.show(); }
    });
    node.addEventListener("blur", node.save);
    return node;
  });
  return {
    set(one) {
      if (one.row !== row) boxes.forEach(node => node.save());
      row = one.row;
      mine = one.mine ?? {};
      boxes.forEach(node => node.show());
    },
  };
}

/** How the large image is drawn: channel, stretch, levels, and what the network looked at. */
function makeLook(app, frame) {
  const box = make(frame, "details", "gs-look");
  make(box, "summary", "", "image \u25be", {title: "channel, stretch, levels, overlay"});
  const card = make(box, "div", "gs-card");
  const set = name => value => app.send({do: "look", [name]: value});
  const overlay = choice(card, "overlay", set("overlay")), channel = choice(card, "channel", set("channel"));
  const stretch = choice(card, "stretch", set("stretch"));
  const black = slider(card, "black level", -0.2, 1, 0.02, set("black"));
  const white = slider(card, "white level", 0.1, 2, 0.02, set("white"));
  const invert = button(card, "invert", "dark on light", () =>
    app.send({do: "look", invert: !app.get("controls").invert}));
  const same = list => list.map(one => [one, one]);
  return {
    set(controls) {
      overlay.fill(same(app.get("fixed").overlays), controls.overlay);
      channel.fill(same(controls.channels), controls.channel);
      stretch.fill(same(app.get("fixed").stretches), controls.stretch);
      for (const [node, name] of [[black, "black"], [white, "white"]]) {
        if (document.activeElement !== node) node.value = controls[name];
      }
      invert.setAttribute("aria-pressed", controls.invert);
      overlay.hidden = app.get("fixed").overlays.length < 2;
    },
  };
}
