"""A real DINOv2 checkpoint in our model: every weight arrives, and the numbers are those of transformers."""
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import Dinov2Model

from galaxy_sommelier.files import BadInput
from galaxy_sommelier.model import build_model, hub_folder, load_model, predecessor_model


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, 98, 98, generator=torch.Generator().manual_seed(0))


def test_every_weight_of_the_checkpoint_is_in_the_model(dino_weights):
    stored, loaded = load_file(dino_weights / "model.safetensors"), build_model(dino_weights, image_size=98).backbone.state_dict()
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
    model, theirs = predecessor_model(dino_weights).eval(), Dinov2Model.from_pretrained(dino_weights, dtype=torch.float32).eval()
    norm, _, linear = model.head
    with torch.no_grad():
        by_hand = linear(norm(theirs(images).last_hidden_state[:, 0]))
        assert torch.allclose(model(images).logits, by_hand, atol=1e-5)


def test_a_round_trip_through_the_disk(dino_weights, images, tmp_path):
    model = build_model(dino_weights, blocks=(-4, -3, -2, -1), image_size=98, crop=0.55).eval()
    model.save_pretrained(tmp_path / "model")
    back = load_model(tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(model(images).fractions, back(images).fractions)
    assert back.describe() == model.describe()
    assert str(dino_weights.parent) not in (tmp_path / "model" / "config.json").read_text()


def test_bfloat16_agrees_to_a_vote_in_a_hundred(dino_weights, images):
    model = build_model(dino_weights, image_size=98).eval()
    with torch.no_grad():
        exact = model(images).fractions
        with torch.autocast("cpu", torch.bfloat16):
            assert np.abs(exact - model(images).fractions).max() < 0.01


def test_a_truncated_checkpoint_is_refused(dino_weights, tmp_path):
    for file in dino_weights.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[:1_000_000])
    with pytest.raises(BadInput, match="cannot be read"):
        build_model(tmp_path, image_size=98)


def test_a_hub_that_cannot_be_reached_is_reported_within_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(BadInput, match="hub does not answer") as error:
        hub_folder("facebook/dinov2-base")
    assert time.monotonic() - start < 5 and "\n" not in str(error.value)
