"""What `test_timm.py` runs in a process that can import timm: prints one line of JSON."""

import json
import sys
from pathlib import Path

import timm
import torch
from safetensors.torch import load_file, save_file

from galaxy_sommelier.core.files import BadInput, read_json, write_json
from galaxy_sommelier.images.augment import normalise
from galaxy_sommelier.models.backbone import block_levels, blocks_of, open_backbone, pooled_features
from galaxy_sommelier.models.model import build_model, load_model, parameter_groups
from galaxy_sommelier.training.settings import TrainSettings

ROOT = Path(sys.argv[1])
SMALL_VIT = {"depth": 3, "embed_dim": 32, "num_heads": 2}
SMALL_CONVNEXT = {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}
KINDS = {
    "convnext_atto": SMALL_CONVNEXT,
    "vit_tiny_patch16_224": SMALL_VIT,
    "mobilenetv3_small_050": {},
}


def saved(name, args):
    """Return a timm model with random weights, and the folder in which it is saved with a classifier."""
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=5, **args).eval()
    folder = ROOT / name
    timm.models.save_for_hf(whole, folder, model_args=args, safe_serialization=True)
    plain = timm.create_model(name, num_classes=0, **args).eval()
    plain.load_state_dict({k: v for k, v in whole.state_dict().items() if k in plain.state_dict()})
    return plain, folder


def line_of(function, *args):
    """Return the message of a refusal."""
    try:
        function(*args)
    except BadInput as error:
        return str(error)


def checks(name, args):
    """Compare an encoder with timm's own, before and after it was saved as part of a model."""
    plain, folder = saved(name, args)
    rules = read_json(folder / "config.json") | {}
    rules["pretrained_cfg"] |= {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}
    write_json(folder / "config.json", rules)
    images = torch.rand(2, 3, 224, 224)
    model = build_model(folder, pool="mean", blocks=(-2, -1), image_size=224).eval()
    with torch.no_grad():
        theirs, maps = plain(images), plain.forward_intermediates(images)[1]
        ours = pooled_features(model.backbone, images, "mean", (-2, -1))
        apart = (ours - torch.cat([maps[-2].mean((-2, -1)), theirs], 1)).abs().max().item()
        model.save_pretrained(ROOT / f"{name}-model")
        again = load_model(ROOT / f"{name}-model")
        other = torch.rand(1, 3, 256, 256)  # a size that it was not made for
        sizes = (again(other).fractions - model(other).fractions).abs().max().item()
        same = torch.equal(again(images).fractions, model(images).fractions)
    groups = parameter_groups(model, 1e-4, 1e-3)
    return {
        "apart": apart, "same": same, "other_size": sizes, "mean": list(model.config.image_mean),
        "std": list(model.config.image_std), "levels": len(set(block_levels(model.backbone).values())),
        "blocks": len(blocks_of(model.backbone)), "rates": len({g["lr"] for g in groups}), **model.describe(),
    }  # fmt: skip


def single_band():
    """Compare encoders of one band: a folded one, and one made for it, as Zoobot's greyscale encoders."""
    plain, folder = saved("convnext_atto", SMALL_CONVNEXT)
    grey = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    folded = build_model(folder, pool="mean", image_size=64, bands=1).eval()
    rules = read_json(folder / "config.json")["pretrained_cfg"]
    colours = normalise(grey, rules["mean"], rules["std"])
    ours = normalise(grey, folded.config.image_mean, folded.config.image_std)
    own, made = saved("convnext_atto", SMALL_CONVNEXT | {"in_chans": 1})
    model = build_model(made, pool="mean", image_size=64, bands=1).eval()
    model.save_pretrained(ROOT / "band")
    with torch.no_grad():
        apart = (folded.features(ours) - plain(colours)).abs().max().item()
        same = torch.equal(load_model(ROOT / "band").features(ours), own(ours))
    no = line_of(lambda: build_model(made, pool="mean", image_size=64))
    return {"apart": apart, "same": same, "no": no}


def refusals():
    """Return what is said about encoders that cannot be used."""
    folder = ROOT / "convnext_atto"
    found = {
        "cls": line_of(lambda: build_model(folder, pool="cls")),
        "default": line_of(lambda: build_model(folder, pool="mean", image_size=TrainSettings().image_size)),
        "misspelt": line_of(open_backbone, "timm:convnext_nanno"),
        "nameless": line_of(open_backbone, "timm:"),
        "tag": line_of(open_backbone, "timm:convnext_nano.no_such_tag"),
        "network": line_of(open_backbone, "timm:convnext_nano"),
        "fixed": line_of(lambda: build_model(saved("gmlp_ti16_224", {})[1], image_size=256)),
    }
    weights = load_file(folder / "model.safetensors")
    rules = read_json(folder / "config.json")
    save_file({k: v for k, v in weights.items() if k != "stem.0.bias"}, folder / "model.safetensors")
    found["missing"] = line_of(open_backbone, folder)
    write_json(folder / "config.json", rules | {"architecture": "convnext_of_tomorrow"})
    found["unknown"] = line_of(open_backbone, folder)
    return found



if __name__ == "__main__":
    found = {"band": single_band(), "kinds": {name: checks(name, args) for name, args in KINDS.items()}}
    print(json.dumps(found | {"no": refusals()}))
