"""Ten minutes with a GPU: matrix peak, speed of prediction and training, then the recipe while time is left.

`pack` makes a folder below 60 MB that can travel: the backbone in float16, the central part of the images at
the size of the recipe, all validation galaxies and as many training galaxies as fit. `run` needs no more.

    python benchmarks/gpu.py pack data/stores/kaggle weights/dinov2-small packed
    python benchmarks/gpu.py run packed --minutes 9 --out gpu.json

Speeds are galaxies per second, the median of three turns after one to warm up: of prediction on images that
are ready, one view each, and of whole training steps from JPEG files with augmentation and AdamW. The JSON
names the machine. Without a GPU the same command is a rehearsal.
"""

import argparse
import itertools
import os
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm
from transformers import AutoModel

from galaxy_sommelier.core.files import read_json, write_json
from galaxy_sommelier.data.store import Store, write_store
from galaxy_sommelier.images.pixels import decode, encode, resize
from galaxy_sommelier.models.backbone import load_backbone
from galaxy_sommelier.models.model import build_model
from galaxy_sommelier.models.predict import predict_images
from galaxy_sommelier.training.settings import load_settings
from galaxy_sommelier.training.stages import MARGIN, train
from galaxy_sommelier.training.throughput import throughput, train_pass

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LIMIT = 60e6  # bytes of a packed folder
BASE = {"hidden_size": 768, "num_attention_heads": 12}  # of DINOv2-B, where DINOv2-S has 384 and 6


def pack(store: Path, backbone: Path, out: Path, crop: float, size: int) -> None:
    """Write a backbone and as many galaxies of a store as may travel."""
    load_backbone(backbone).to(torch.float16).save_pretrained(out / "backbone")
    left = LIMIT - sum(file.stat().st_size for file in (out / "backbone").iterdir())
    data, rows, images = Store(store), [], []
    order = [*data.indices("val"), *np.random.default_rng(42).permutation(data.indices("train"))]
    for row in tqdm(order, "pack", unit="galaxy"):
        frame = decode(data.jpeg(row), data.ids[row])
        image = resize([frame], MARGIN * crop, round(MARGIN * size))[0].permute(1, 2, 0).numpy()
        left -= len(encode(image)) + 500  # and its fractions
        if left < 0:
            break
        rows.append(row)
        images.append(image)
    table = data.table.iloc[rows].reset_index(drop=True)
    split = pd.Series(np.asarray(data.split)[rows])
    write_store(table, out / "store", data.schema, np.stack(images), split, kinds=data.kinds[0])


def peak(kind: torch.dtype, side: int) -> float:
    """Return the speed of a product of two square matrices, in TFLOP/s."""
    a, b = (torch.randn(side, side, device=DEVICE).to(kind) for _ in range(2))

    def work():
        for _ in range(8):
            a @ b
        return 8

    return float(np.median(throughput(work))) * 2 * side**3 / 1e12


def backbones(folder: Path) -> list[Path]:
    """Return the folders of the packed backbone and of a larger one with random weights, which is as fast."""
    config, base = load_backbone(folder).config, folder.parent / "base"
    AutoModel.from_config(type(config)(**config.to_dict() | BASE)).save_pretrained(base)
    return [folder, base]


def speed(backbone: Path, store: Store, size: int, batch: int, compiled: bool) -> dict:
    """Return a row of speeds, in galaxies per second."""
    began, model = time.perf_counter(), build_model(backbone, image_size=size, schema=store.schema).to(DEVICE)
    if compiled:
        model.backbone.compile()
    images = torch.randint(0, 255, (batch, 3, size, size), dtype=torch.uint8)
    settings = load_settings(image_size=size, crop=1 / MARGIN, batch_size=batch)
    many = [images] * 8
    predicted = throughput(lambda: sum(len(predict_images(model.eval(), some, tta=False)) for some in many))
    trained = throughput(lambda: train_pass(model, store, settings))
    row = {"backbone": backbone.name, "parameters": model.num_parameters(), "image_size": size}
    row |= {"compile": compiled, "predict": float(np.median(predicted)), "train": float(np.median(trained))}
    print(row := row | {"seconds": time.perf_counter() - began}, flush=True)
    return row


def run(packed: Path, minutes: float, out: Path, sizes: list[int], batch: int, recipe: Path) -> None:
    """Measure, train for the minutes that are left, and write one JSON."""
    began, store = time.monotonic(), Store(packed / "store")
    name = torch.cuda.get_device_name() if DEVICE == "cuda" else platform.processor() or "CPU"
    found = {"device": name, "cores": os.cpu_count(), "torch": torch.__version__, "batch": batch}
    found["bf16 TFLOP/s"] = peak(torch.bfloat16, 8192 if DEVICE == "cuda" else 512)
    compiled = [False, True] if DEVICE == "cuda" else [False]
    ways = itertools.product(backbones(packed / "backbone"), sizes, compiled)
    found["speeds"] = [speed(folder, store, size, batch, how) for folder, size, how in ways]
    left = 60 * minutes - (time.monotonic() - began)
    passes = int(0.8 * left * found["speeds"][0]["train"] / len(store.indices("train")))  # the rest: scores
    same = {"backbone": packed / "backbone", "image_size": sizes[0], "crop": 1 / MARGIN, "tta": False}
    settings = load_settings(recipe, **same, batch_size=batch, epochs=max(1, passes))
    metrics = read_json(train(packed / "store", packed / "run", settings) / "metrics.json")
    scores = ("kaggle_rmse", "mean_r", "smooth_featured_accuracy", "n", "seconds")
    found["recipe"] = {"epochs": settings.epochs, **{score: metrics.get(score) for score in scores}}
    write_json(out, found | {"minutes": (time.monotonic() - began) / 60})
    print(out)


def main():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, paths in {"pack": ("store", "backbone", "out"), "run": ("packed",)}.items():
        one = verbs.add_parser(verb)
        for path in paths:
            one.add_argument(path, type=Path)
        if verb == "pack":
            one.add_argument("--crop", type=float, default=0.5, help="share of the frame, as in the recipe")
            one.add_argument("--size", type=int, default=112, help="pixels that the recipe sees")
        else:
            one.add_argument("--out", type=Path, default=Path("gpu.json"))
            one.add_argument("--minutes", type=float, default=9)
            one.add_argument("--sizes", type=int, nargs="+", default=[112, 224], help="pixels")
            one.add_argument("--batch", type=int, default=128, help="galaxies at once")
            one.add_argument("--recipe", type=Path, default=Path("configs/shipped.yaml"))
    given = vars(parser.parse_args())
    {"pack": pack, "run": run}[given.pop("verb")](**given)


if __name__ == "__main__":
    main()
