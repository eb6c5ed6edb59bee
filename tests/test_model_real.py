"""A real DINOv2 checkpoint in our model: all weights load, and features equal those of Transformers."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import load_file
from transformers import Dinov2Model

from galaxy_sommelier.core.files import BadInput
from galaxy_sommelier.models.model import build_model, load_model, predecessor_model


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, 98, 98, generator=torch.Generator().manual_seed(0))


def test_every_weight_of_the_checkpoint_is_in_the_model(dino_weights):
    stored, loaded = (
        load_file(dino_weights / "model.safetensors"),
        build_model(dino_weights, image_size=98).backbone.state_dict(),
    )
    assert set(stored) == set(loaded)
    assert all(torch.equal(loaded[name], value.float()) for name, value in stored.items())


def test_features_are_those_of_transformers(dino_weights, images):
    theirs = Dinov2Model.from_pretrained(dino_weights, dtype=torch.float32).eval()
    with torch.no_grad():
        tokens = theirs(images).last_hidden_state
        cls, mean = build_model(dino_weights, image_size=98).eval().features(images).chunk(2, -1)
    assert torch.allclose(cls, tokens[:, 0], atol=1e-5)
    assert torch.allclose(mean, tokens[:, 1:].mean(1), atol=1e-5)


def test_the_second_predecessors_model(dino_weights, images):
    model, theirs = (
        predecessor_model(dino_weights).eval(),
        Dinov2Model.from_pretrained(dino_weights, dtype=torch.float32).eval(),
    )
    norm, _, linear = model.head
    with torch.no_grad():
        by_hand = linear(norm(theirs(images).last_hidden_state[:, 0]))
        assert torch.allclose(model(images).logits, by_hand, atol=1e-5)


def test_saved_and_loaded_it_predicts_the_same(dino_weights, images, tmp_path):
    model = build_model(dino_weights, blocks=(-4, -3, -2, -1), image_size=98, crop=0.55).eval()
    model.save_pretrained(tmp_path / "model")
    back = load_model(tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(model(images).fractions, back(images).fractions)
    assert back.describe() == model.describe()
    assert str(dino_weights.parent) not in (tmp_path / "model" / "config.json").read_text()


def test_bfloat16_agrees_to_one_vote_in_a_hundred(dino_weights, images):
    model = build_model(dino_weights, image_size=98).eval()
    with torch.no_grad():
        exact = model(images).fractions
        with torch.autocast("cpu", torch.bfloat16):
            assert (exact - model(images).fractions).abs().max() < 0.01


def test_a_truncated_checkpoint_is_refused(dino_weights, tmp_path):
    for file in dino_weights.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:1_000_000])
    with pytest.raises(BadInput, match="cannot be read"):
        build_model(tmp_path, image_size=98)


def ask_hub(address, cache, *names):
    """Return the seconds and message of `hub_folder` for each name, in a new process with an empty cache."""
    code = f"""
import time
from galaxy_sommelier.download.hub import hub_folder
for name in {names}:
    start = time.monotonic()
    try: hub_folder(name)
    except ValueError as error: print(time.monotonic() - start, error)
"""
    environment = {k: v for k, v in os.environ.items() if "OFFLINE" not in k and k != "HF_TOKEN"}
    environment |= {"HF_ENDPOINT": address, "HF_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    return [line.split(" ", 1) for line in done.stdout.splitlines()]


def test_a_hub_that_cannot_be_reached_is_reported_within_seconds(tmp_path):
    ((seconds, message),) = ask_hub("http://127.0.0.1:9", tmp_path, "facebook/dinov2-base")
    assert "hub does not answer" in message and "hf download facebook/dinov2-base" in message
    assert float(seconds) < 5


FACTS = {"id": "meta/dinov3", "sha": "0" * 40, "siblings": [{"rfilename": "model.safetensors"}]}
PICKLE = {"id": "meta/pickle", "sha": "0" * 40, "siblings": [{"rfilename": "pytorch_model.bin"}]}
TREE = [{"type": "file", "path": "config.json", "size": 2, "oid": "0" * 40}]


class GatedHub(BaseHTTPRequestHandler):
    """A hub with a gated model, and one whose weights are a pickle."""

    def do_GET(self):
        path, about = self.path.split("?")[0] + "/", self.path.startswith("/api/")
        known, facts = (
            "/meta/dinov3/" in path or "/meta/pickle/" in path,
            PICKLE if "pickle" in path else FACTS,
        )
        body = json.dumps(TREE if "/tree/" in path else facts).encode() if known and about else b""
        self.send_response(401 if not known else 200 if about else 403)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Error-Code", "GatedRepo" if known else "RepoNotFound")
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


def test_a_gated_model_a_misspelled_one_and_a_pickle(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), GatedHub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        names = ("meta/dinov3", "meta/dino-3", "meta/pickle")
        (_, gated), (_, unknown), (_, pickle) = ask_hub(
            f"http://127.0.0.1:{server.server_port}", tmp_path, *names
        )
        server.shutdown()
    assert "access is granted by its owners" in gated
    assert "is it spelled right" in unknown
    assert "pytorch_model.bin) are a pickle" in pickle
