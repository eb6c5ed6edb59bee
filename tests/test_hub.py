"""What users of transformers do with a model: open it with `AutoModel`, push it to the hub (a stand-in)."""

import base64
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from commands import printed
from huggingface_hub import ModelCard

from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.data.store import simulated_store
from galaxy_sommelier.models.model import build_model, load_model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained, calibrated run with its card."""
    place = tmp_path_factory.mktemp("hub")
    store = simulated_store(place / "sky", 150, size=32, val=0.4)
    small = ["-p", "image_size", "32", "-p", "epochs", "1", "-p", "precision", "fp32"]
    out = place / "galaxies"
    printed("train", store, "--stage", "head", "--backbone", "tiny", "--out", out, *small)
    printed("calibrate", out, store)
    printed("card", out, "--store", store)
    return out


FIRST = "import galaxy_sommelier\nfrom transformers import AutoModel"
LAST = "from transformers import AutoModel\nimport galaxy_sommelier"
OURS = "from galaxy_sommelier.models import backbone, model"
PART = f"{OURS}\nfrom transformers import AutoModel"


@pytest.mark.parametrize("imports", [FIRST, LAST, PART], ids=["before", "after", "our parts first"])
def test_automodel_opens_a_model_wherever_the_package_is_imported(run, imports):
    code = f"{imports}\nprint(type(AutoModel.from_pretrained({str(run / 'model')!r})).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "GalaxyModel\n", done.stderr


def test_importing_the_package_alone_loads_nothing_large():
    code = "import sys, galaxy_sommelier; print({'torch', 'transformers', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


class Hub(BaseHTTPRequestHandler):
    """The part of the hub that receives a small model."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/api/repos/create":
            self.reply({"url": f"{self.server.address}/me/galaxies"})
        elif self.path == "/api/validate-yaml":
            ModelCard(json.loads(body)["content"])  # parses
            self.reply({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            how = {"uploadMode": "regular", "shouldIgnore": False}
            self.reply({"files": [{"path": file["path"], **how} for file in json.loads(body)["files"]]})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.reply({"commitUrl": f"{self.server.address}/me/galaxies/commit/1", "commitOid": "1"})

    def do_GET(self):
        self.reply({"id": "me/galaxies", "siblings": [], "sha": "0"})

    def reply(self, content):
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.address, server.files = f"http://127.0.0.1:{server.server_port}", {}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def test_what_is_pushed_is_the_whole_model_with_its_card(run, hub, tmp_path):
    code = f"""
from galaxy_sommelier.models.model import load_model
print(load_model({str(run)!r}).push_to_hub("me/galaxies", token="hf_none"))
"""
    online = os.environ | {"HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=online)
    assert done.returncode == 0, done.stderr
    assert {"config.json", "model.safetensors", "calibration.json", "learned.safetensors"} <= {*hub.files}
    card = ModelCard(hub.files["README.md"].decode())
    assert card.data.library_name == "galaxy-sommelier" and card.data.pipeline_tag == "image-classification"
    assert "astronomy" in card.data.tags and "## Limits" in card.text and "](card.png)" in card.text
    assert hub.files["card.png"][:4] == b"\x89PNG"

    for name, content in hub.files.items():
        (tmp_path / name).write_bytes(content)
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mine, theirs = (load_model(folder)(image).fractions for folder in (run, tmp_path))
    assert torch.equal(mine, theirs)


def test_a_model_without_a_folder_is_not_pushed():
    with pytest.raises(BadInput, match="no weights"):
        build_model("tiny").push_to_hub("me/galaxies")
