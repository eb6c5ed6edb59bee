// The whole screen: its parts, its keys, its link with the kernel, and its place in the notebook.

let screens = 0;

function open(model, host) {
  const root = make(host, "div", "gs-inspector", "", {role: "application", tabIndex: -1,
    "aria-label": "galaxies: look, compare, annotate", "data-lm-suppress-shortcuts": "true"});
  const undo = [], app = {
    root, model, id: `gs-${++screens}`, columns: 1, waiting: 0, dead: false,
    get: name => model.get(name),
    bytes(name) {
      const view = model.get(name);
      return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    },
    /** Draw now, and whenever a trait changes. */
    on(name, draw) {
      const act = () => draw(model.get(name));
      model.on(`change:${name}`, act);
      undo.push(() => model.off(`change:${name}`, act));
      app.later.push(act);
    },
    later: [],
    /** Where the keyboard belongs: the gallery, or sort mode's panel. */
    home() {
      const sorting = model.get("controls").mode === "sort";
      (sorting ? app.sortPanel : app.gallery).focus({preventScroll: true});
    },
    toggleMap() {
      const off = root.classList.toggle("gs-no-map");
      app.mapButton.setAttribute("aria-pressed", !off);
    },
  };
  link(app, undo);
  root.classList.toggle("gs-no-map", Boolean(model.get("fixed").map));
  const query = makeFind(app);
  app.body = make(root, "div", "gs-body");
  makeGallery(app);  // before the chips, so that few steps of the Tab key lead to it
  makeChips(app);
  makeSort(app);
  makeCloseup(app);
  makeMap(app);
  makeTools(app);
  makeStatus(app);
  app.help = makeHelp(app);
  app.mapButton.setAttribute("aria-pressed", !root.classList.contains("gs-no-map"));
  app.later.forEach(act => act());
  app.on = null;
  keys(app, query);
  return () => {
    app.dead = true;
    undo.forEach(act => act());
    root.remove();
  };
}

/** Messages to the kernel, each answered; when the kernel has gone, say so and take no input. */
function link(app, undo) {
  const {model, root} = app;
  const answers = [];  // what to do with each
  let slow = 0, idle = 0, late = false;
  const die = () => {
    if (app.dead) return;
    const inside = root.contains(document.activeElement);
    app.dead = true;
    clearTimeout(slow);
    root.classList.add("gs-dead");
    for (const part of root.children) part.inert = true;
    // it takes clicks and keys: of those that reach the notebook, `d` `d` deletes the cell
    const words = "kernel restarted: run the cell again";
    const veil = make(root, "div", "gs-veil", words, {role: "alert", tabIndex: -1});
    if (inside) veil.focus({preventScroll: true});
  };
  app.send = (message, buffers = [], then = null) => {
    if (app.dead) return;
    app.waiting += 1;
    answers.push(then);
    clearTimeout(slow);
    slow = setTimeout(() => {
      late = app.waiting > 0;
      if (late) app.say("waiting for the kernel\u2026");
    }, 1500);
    clearTimeout(idle);
    if (message.do !== "rest") idle = setTimeout(() => app.send({do: "rest"}), 250);  // what may come later
    try { model.send(message, undefined, buffers); } catch { die(); }  // it was shut down, or is restarting
  };
  const answered = message => {
    if (message.done) {
      app.waiting = Math.max(0, app.waiting - message.done);
      answers.shift()?.();
    }
    if (late && !app.waiting) { late = false; app.sayStatus(); }
  };
  const live = function () { if (!this.comm_live) die(); };
  model.on("msg:custom", answered);
  model.on("comm_live_update", live);
  // other notebooks may write to the same file
  const look = setInterval(() => {
    if (!app.waiting && root.isConnected && root.offsetParent && !document.hidden) app.send({do: "check"});
  }, 3000);
  undo.push(() => model.off("msg:custom", answered), () => model.off("comm_live_update", live),
    () => clearInterval(look));
}

const STEERS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"];
const BOUND = new Set([...STEERS, "Escape", ..."0123456789adgsu "]);  // what Python knows

/** Keys work everywhere on the screen but in text boxes, and none reaches the notebook. */
function keys(app, query) {
  const {root} = app;
  const own = {"?": () => app.help.show(), "/": () => query.focus(), m: () => app.toggleMap()};
  for (const name of ["keydown", "keyup", "keypress"]) {
    root.addEventListener(name, event => event.stopPropagation());
  }
  root.addEventListener("keydown", event => {
    if (app.dead) return;
    const target = event.target, key = event.key, control = event.ctrlKey || event.metaKey;
    const sorting = app.get("controls").mode === "sort", steers = STEERS.includes(key);
    const bound = control ? key === "a"
      : BOUND.has(key) || own[key] || key === "Enter" && sorting && app.get("sorting").ended;
    if (app.help.open) {
      if (!event.repeat) app.help.hide();
      if (bound) event.preventDefault();
      return;
    }
    if (control && key === "s") {
      event.preventDefault();
      app.say("labels are on disk already; to save the notebook, click outside the inspector first");
      return;
    }
    if (target.matches("input[type=text]")) { if (key === "Escape") app.home(); return; }
    if (event.altKey || !bound) return;
    if (target.matches("select") && key !== "Escape") return;
    if (target.matches("input[type=range]") && steers) return;
    if (target.matches("button, summary, a") && [" ", "Enter"].includes(key)) return;
    event.preventDefault();
    if (event.repeat && (sorting || !steers)) return;  // a key that is held would label what nobody has seen
    if (key === "Escape") {
      const menu = root.querySelector("details[open]");
      menu?.removeAttribute("open");
      app.home();
      if (menu || target.matches("select")) return;
    }
    if (own[key]) own[key]();
    else app.send({do: "key", key: control ? `Control+${key}` : key, columns: app.columns});
  });
  // a click leaves the keyboard where the galaxies are, except in boxes and lists
  root.addEventListener("click", event => {
    if (!app.dead && !event.target.closest("input, select, details, a") && !app.help.open) app.home();
  });
  let pointed = false;  // a list whose entries are chosen by arrow keys keeps the keyboard
  root.addEventListener("pointerdown", () => { pointed = true; }, true);
  root.addEventListener("keydown", () => { pointed = false; }, true);
  root.addEventListener("change", event => { if (pointed && event.target.matches("select")) app.home(); });
}

/** Take the place of the stored contact sheet of this model, wherever and as long as it is shown. */
function mount(model) {
  const live = new Map();  // contact sheet -> what closes the screen in its place
  const hide = (sheet, hidden) => sheet.querySelectorAll("img").forEach(image => { image.hidden = hidden; });
  const close = sheet => {
    live.get(sheet)();
    live.delete(sheet);
    delete sheet.dataset.live;  // it may come back
    hide(sheet, false);
  };
  const find = () => {
    [...live.keys()].filter(sheet => !sheet.isConnected).forEach(close);
    const name = model.get("key");
    if (name) document.querySelectorAll(`.gs-${name}:not([data-live])`).forEach(sheet => {
      sheet.dataset.live = "yes";
      hide(sheet, true);
      live.set(sheet, open(model, sheet));
    });
  };
  find();
  model.on("change:key", find);
  const watch = new MutationObserver(find);
  watch.observe(document.body, {childList: true, subtree: true});
  return () => {
    watch.disconnect();
    model.off("change:key", find);
    [...live.keys()].forEach(close);
  };
}

export default {initialize: ({model}) => mount(model), render: ({model, el}) => open(model, el)};
