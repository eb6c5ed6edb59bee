"""A real JupyterLab, with a notebook open in a real browser."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
FLAGS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"
]
CUT = """() => {  // controls beyond the right edge of the inspector
  const root = document.querySelector(".gs-inspector"), end = root.getBoundingClientRect().right + 1;
  const controls = [...root.querySelectorAll("button, input, select, img")];
  const shown = controls.filter(one => one.checkVisibility());
  return shown.filter(one => one.getBoundingClientRect().right > end).map(one => one.className);
}"""
PATIENCE = 180_000  # milliseconds before a wait is given up
SHOTS = os.environ.get("GALAXY_SOMMELIER_SHOTS")  # a folder for screenshots


class Lab:
    """A JupyterLab on a free port of this machine."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.token, self.folder = secrets.token_hex(16), folder
        places = {
            "JUPYTER_CONFIG_DIR": ".config",
            "JUPYTERLAB_SETTINGS_DIR": ".settings",
            "JUPYTERLAB_WORKSPACES_DIR": ".spaces",
            "JUPYTER_RUNTIME_DIR": ".runtime",
        }
        settings = {name: str(folder / place) for name, place in places.items()}
        settings |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        words = [
            "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={self.port}",
            "--port-retries=0", f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={folder}",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"
        ]
        overrides = folder / ".settings" / "@jupyterlab" / "apputils-extension"
        overrides.mkdir(parents=True)
        (overrides / "notification.jupyterlab-settings").write_text(
            '{"fetchNews": "false", "checkForUpdates": false}'
        )
        self.log = open(folder / "jupyter.log", "wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *words],
            cwd=folder,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env=os.environ | settings,
        )
        self.wait()

    def ask(self, path):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{path}", headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def wait(self):
        """Wait until the server answers; fail if it has ended."""
        while self.process.poll() is None:
            try:
                return self.ask("api/status")
            except OSError:
                try:
                    self.process.wait(0.2)
                except subprocess.TimeoutExpired:
                    continue
        raise AssertionError((self.folder / "jupyter.log").read_text()[-2000:])

    def kernels(self):
        """Return the processes of its kernels."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if any("ipykernel" in word for word in child.cmdline())]

    def close(self):
        server = psutil.Process(self.process.pid)
        family = [*server.children(recursive=True), server]
        self.process.send_signal(signal.SIGINT)
        self.process.terminate()
        _, alive = psutil.wait_procs(family, timeout=10)
        for one in alive:  # a busy machine
            one.kill()
        self.process.wait(20)
        self.log.close()


class Page:
    """A notebook in a tab; only the outputs of cells are examined."""

    def __init__(self, browser, lab, name, ready=".gs-inspector .gs-tile", run=True):
        self.ready = ready  # present when all cells have run
        self.context = browser.new_context(viewport={"width": 1440, "height": 900})
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(PATIENCE)
        self.tab.goto(f"http://127.0.0.1:{lab.port}/doc/tree/{name}?reset&token={lab.token}")
        self.tab.locator(".jp-Notebook").first.wait_for()
        self.run_all() if run else self.out(ready).first.wait_for()

    def menu(self, *words):
        """Choose from the menus."""
        self.tab.locator(".lm-MenuBar-itemLabel", has_text=words[0]).first.click()
        for word in words[1:]:
            self.tab.locator(".lm-Menu-itemLabel").get_by_text(word, exact=True).click()

    def run_all(self):
        """Run all cells, once the kernel is ready."""
        self.tab.get_by_text("| Idle").wait_for()
        self.tab.locator(".jp-Notebook").first.click(position={"x": 5, "y": 5})
        self.menu("Run", "Run All Cells")
        self.out(self.ready).first.wait_for()

    def out(self, selector, **more):
        return self.tab.locator(f".jp-OutputArea {selector}", **more)

    def see(self, galaxy):
        """Wait until a galaxy is in the close-up."""
        self.out(".gs-id", has_text=galaxy).first.wait_for()

    def goto(self, galaxy):
        """Open a galaxy by its id, and leave the keyboard in the gallery."""
        box = self.out(".gs-query input")
        box.fill(galaxy)
        box.press("Enter")
        self.see(galaxy)
        box.fill("")
        self.out(".gs-tiles").focus()

    def press(self, key):
        self.tab.keyboard.press(key)

    def shot(self, name):
        if SHOTS:
            self.out(".gs-inspector").first.screenshot(path=Path(SHOTS, f"{name}.png"))

    def close(self):
        self.context.close()
