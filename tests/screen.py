"""The inspector's screen in a real browser, its messages answered in this process: without JupyterLab."""

import base64
import os
import random
from pathlib import Path

from galaxy_sommelier.inspector.desk import module

PATIENCE = 120_000  # milliseconds before a wait is given up
SHOTS = os.environ.get("GALAXY_SOMMELIER_SHOTS")  # a folder for screenshots
PAGE = """<!doctype html><meta charset="utf-8">
<style>body {{margin: 8px; font: 13px sans-serif}} {css}</style>
<body data-jp-theme-light="{light}" style="background: {ground}"><p id="before" tabindex="0">before</p>
<div class="gs-sheet gs-{key}"></div><p id="after" tabindex="0">after</p></body>"""
MODEL = """
const bytes = text =>
  new DataView(Uint8Array.from(atob(text), letter => letter.charCodeAt(0)).buffer);
const text = one =>
  btoa(Array.from(new Uint8Array(one), value => String.fromCharCode(value)).join(""));
const revive = value => Array.isArray(value) ? value.map(revive)
  : value && typeof value === "object" ? "$bytes" in value ? bytes(value.$bytes)
  : Object.fromEntries(Object.entries(value).map(([key, one]) => [key, revive(one)])) : value;
window.sent = []; window.answered = 0;
const heard = {}, traits = revive(window.first);
const model = {
  comm_live: true, get: name => traits[name],
  on: (names, act) => names.split(" ").forEach(name => (heard[name] ??= []).push(act)),
  off: (name, act) => { heard[name] = (heard[name] ?? []).filter(one => one !== act); },
  tell: (name, value) => (heard[name] ?? []).slice().forEach(act => act.call(model, value)),
  send: (message, _, buffers = []) => {
    if (message.do !== "check") sent.push(message.do);
    window.kernel(message, buffers.map(text)).then(changed => {
      window.came = performance.now();
      Object.assign(traits, revive(changed));
      Object.keys(changed).forEach(name => model.tell(`change:${name}`));
      model.tell("msg:custom", {done: 1});
      window.answered += message.do !== "check";
    });
  },
};
Object.assign(window, {model, heard});
desk.initialize({model});
"""
SYNCED = ("key", "fixed", "legend", "places", "groups", "here", "controls", "tiles", "badges", "examples",
          "sorting", "facts", "image", "status", "shown", "near")  # fmt: skip


def plain(value):
    """Return a trait as JSON can carry it."""
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


class Screen:
    """An inspector in a page of its own."""

    def __init__(self, browser, view, width=1300, height=860, dark=False):
        self.view, self.asked, self.errors, self.random = view, [], [], random.Random(1)
        scheme = "dark" if dark else "light"
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(PATIENCE)
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.expose_function("kernel", self.answer)
        ground = "#111111" if dark else "#ffffff"
        css = view.desk._css
        self.tab.set_content(
            PAGE.format(css=css, light=str(not dark).lower(), ground=ground, key=view.desk.key)
        )
        first = {name: plain(getattr(view.desk, name)) for name in SYNCED}
        self.tab.evaluate("first => { window.first = first; }", first)
        script = module().replace("export default", "const desk =") + MODEL
        self.tab.add_script_tag(content=script, type="module")
        self.out(".gs-inspector").wait_for()
        self.rest()

    def answer(self, message, buffers):
        """Carry out a message, and return the traits that it has changed, in any order, as a kernel does."""
        self.asked.append(message)
        before = {name: getattr(self.view.desk, name) for name in SYNCED}
        self.view.handle(message, [base64.b64decode(one) for one in buffers])
        now = {name: getattr(self.view.desk, name) for name in SYNCED}
        changed = [name for name, value in now.items() if value != before[name]]
        return {name: plain(now[name]) for name in self.random.sample(changed, len(changed))}

    def rest(self):
        """Wait until all messages are answered, and the screen has sent its last one, `rest`."""
        self.tab.wait_for_function("sent.length && sent.length === answered && sent.at(-1) === 'rest'")

    def out(self, selector, **more):
        return self.tab.locator(selector, **more)

    def press(self, *keys):
        for key in keys:
            self.tab.keyboard.press(key)
        self.rest()

    def click(self, selector, **more):
        self.out(selector, **more).first.click()
        self.rest()

    def focused(self):
        return self.tab.evaluate("document.activeElement.className || document.activeElement.id")

    def shot(self, name):
        if SHOTS:
            self.out(".gs-inspector").screenshot(path=Path(SHOTS, f"{name}.png"))

    def close(self):
        self.context.close()
        assert not self.errors, self.errors
