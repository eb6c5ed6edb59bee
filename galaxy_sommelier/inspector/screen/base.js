// The inspector's screen. These files are joined to one ES module by inspector.desk; there is no build step.
// Python holds the state and sends it as traits; the screen draws them and sends messages {do: ...} back.
// Text from data is only ever set as text, so HTML in a name or a comment is shown, never run.

/** Make an element within a parent; `more` are its properties, and attributes where the name has a hyphen. */
function make(parent, kind, name = "", text = "", more = {}) {
  const node = document.createElement(kind);
  if (name) node.className = name;
  if (text) node.textContent = text;
  for (const [key, value] of Object.entries(more)) {
    if (key.includes("-") || key === "role") node.setAttribute(key, value);
    else node[key] = value;
  }
  parent?.append(node);
  return node;
}

/** A key as it is printed on the keyboard. Notebooks style `kbd`, `p`, `ul` and the like: none is used. */
const keycap = (parent, key) => make(parent, "span", "gs-key", key);

/** A button with a hint; keys named in the hint work everywhere on the screen. */
function button(parent, text, hint, act, name = "") {
  const node = make(parent, "button", `gs-button ${name}`, text, {type: "button", title: hint});
  if (hint && hint !== text) node.setAttribute("aria-label", `${text} (${hint})`);
  node.addEventListener("click", act);
  return node;
}

/** A drop-down list of [value, text] pairs. */
function choice(parent, label, act, name = "") {
  const node = make(parent, "select", `gs-select ${name}`, "", {title: label, "aria-label": label});
  node.addEventListener("change", () => act(node.value));
  node.fill = (pairs, value) => {
    const key = JSON.stringify(pairs);
    if (node.dataset.pairs !== key) {
      node.replaceChildren(...pairs.map(([one, words]) => make(null, "option", "", words, {value: one})));
      node.dataset.pairs = key;
    }
    node.value = value;
  };
  return node;
}

/** A slider; `act` gets its number when it is let go, or at most every 150 ms while it moves. */
function slider(parent, label, low, high, step, act, name = "") {
  const box = make(parent, "label", `gs-slider ${name}`, "", {title: label});
  make(box, "span", "gs-word", label.split(" ")[0]);
  const node = make(box, "input", "", "", {type: "range", min: low, max: high, step, "aria-label": label});
  let waiting = 0;
  node.addEventListener("input", () => {
    waiting ||= setTimeout(() => { waiting = 0; act(Number(node.value)); }, 150);
  });
  return node;
}

/** An image from the bytes of a JPEG. They go into its address; a blob is fetched from another process. */
function picture(parent, bytes, alt, name = "gs-image") {
  const node = make(parent, "img", name, "", {alt, draggable: false});
  fill(node, bytes);
  return node;
}

function fill(node, bytes) {
  const all = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let letters = "";
  for (let i = 0; i < all.length; i += 8192) letters += String.fromCharCode(...all.subarray(i, i + 8192));
  node.src = `data:image/jpeg;base64,${btoa(letters)}`;
}

/** Draw anew without losing the keyboard: if the focused element goes, the focus goes to the gallery. */
function keepFocus(app, draw) {
  const inside = app.root.contains(document.activeElement);
  draw();
  if (inside && !app.root.contains(document.activeElement)) app.home();
}

const two = value => value === null || value === undefined ? "\u2013" : value.toFixed(2);
const count = number => number.toLocaleString("en");
