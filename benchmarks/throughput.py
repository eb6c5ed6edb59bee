"""Speed of prediction and training, as a share of this machine's matrix peak: one table.

All contestants take turns, and so does the matrix peak; ratios are medians over the turns, since others may
use the machine. On a CPU time is CPU time, in one thread, so that waiting for others does not count; on a GPU
it is wall time. A forward pass of a vision transformer with T tokens of D numbers in L blocks, and patches of
P pixels, takes
    L (24 T D^2 + 4 T^2 D) + 2 (T - 1) 3 P^2 D
floating-point operations (two for each multiplication with its addition); training takes three times as
many. Each galaxy is predicted in one view.

    python benchmarks/throughput.py --backbone small --images 32
"""

import argparse
import io
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import simplejpeg
import torch
from PIL import Image
from tqdm.auto import tqdm
from transformers import Dinov2Config, Dinov2Model
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.data.inputs import open_ahead
from galaxy_sommelier.images.augment import Augment, draws, normalise
from galaxy_sommelier.images.simulation import simulate
from galaxy_sommelier.models.backbone import open_backbone
from galaxy_sommelier.models.features import batch_for, precision_of
from galaxy_sommelier.models.losses import tree_loss
from galaxy_sommelier.models.model import GalaxyConfig, GalaxyModel
from galaxy_sommelier.models.predict import predict_rows

SIZES = {
    "small": {"hidden_size": 384, "num_attention_heads": 6},
    "base": {"hidden_size": 768, "num_attention_heads": 12},
}
# as in tests/conftest.py
REAL = Path(os.environ.get("GALAXY_SOMMELIER_REAL") or Path(__file__).resolve().parents[2] / "shared")
THEIRS = 32  # galaxies at once in the predecessors' loop
PROCESSOR = BitImageProcessorPil(
    size={"shortest_edge": 256},
    crop_size={"height": 224, "width": 224},
    resample=Image.Resampling.BICUBIC,
    do_convert_rgb=True,
    image_mean=[0.485, 0.456, 0.406],
    image_std=[0.229, 0.224, 0.225],
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIDES = {"cpu": 4096, "cuda": 8192}  # of the matrices of the peak; 1,024 where the machine emulates the type
PEAK = {"bf16": "bfloat16 peak", "fp32": "float32 peak"}[precision_of()]  # of the default precision here


def backbone_config(name):
    """Return the small backbone's weights where available, else random weights of that architecture."""
    folder = REAL / "weights" / "dinov2-small-saliency"
    if name == "small" and folder.is_dir():
        return folder.name, open_backbone(folder)[0]
    torch.manual_seed(0)
    return f"DINOv2-{name}, random", Dinov2Model(Dinov2Config(**SIZES[name], image_size=518, patch_size=14))


def twin(backbone, attention):
    """Return the same backbone with another implementation of attention."""
    other = Dinov2Model._from_config(backbone.config, attn_implementation=attention)
    other.load_state_dict(backbone.state_dict())
    return other.eval().to(DEVICE)


def forward_flops(config, size):
    """Return the floating-point operations for one image of `size` pixels, forward."""
    tokens, width = (size // config.patch_size) ** 2 + 1, config.hidden_size
    blocks = config.num_hidden_layers * (24 * tokens * width**2 + 4 * tokens**2 * width)
    return blocks + 2 * (tokens - 1) * 3 * config.patch_size**2 * width


def seconds(work):
    """Return the seconds of some work, until the GPU has finished it."""
    clock = time.perf_counter if DEVICE == "cuda" else time.process_time
    began = clock()
    work()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def matrix_peak(kind, side):
    """Return a function that multiplies two matrices of `side`, and its operations."""
    a, b = (torch.randn(side, side, device=DEVICE).to(kind) for _ in range(2))
    return lambda: a @ b, 2 * side**3


def contestants(name, files, size, batch, workers):
    """Return the work of all sides, each over all files, and the operations for an image, forward."""
    title, backbone = backbone_config(name)
    config = GalaxyConfig(backbone_config=backbone.config.to_dict(), schema=GZ2.to_dict(), image_size=size)
    model = GalaxyModel(config)
    model.backbone.load_state_dict(backbone.state_dict())
    model, eager, alone = model.to(DEVICE), twin(backbone, "eager"), twin(backbone, "sdpa")
    rows = [(str(i), data) for i, data in enumerate(files)]
    squares = torch.cat([part for _, part, _ in open_ahead(rows, size, 1.0, batch)])
    ready = normalise(squares, config.image_mean, config.image_std).to(DEVICE)
    wider = torch.cat([part for _, part, _ in open_ahead(rows, int(1.2 * size), 1.0, batch)])
    truth = GZ2.normalise(torch.ones(len(files), len(GZ2.answers))).to(DEVICE)
    optimiser, augment = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True), Augment(size)
    seen = torch.cat([model.eval().features(part).detach() for part in ready.split(batch)])
    head_optimiser = torch.optim.AdamW(model.head.parameters(), lr=1e-6, fused=True)
    half = {"device_type": DEVICE, "dtype": torch.bfloat16, "enabled": precision_of() == "bf16"}

    def ours():
        predict_rows(model, rows, tqdm(disable=True), tta=False, batch_size=batch)

    @torch.no_grad()
    def theirs():
        for i in range(0, len(files), THEIRS):
            images = [Image.open(io.BytesIO(data)).convert("RGB") for data in files[i : i + THEIRS]]
            eager(**PROCESSOR(images, return_tensors="pt").to(DEVICE))

    @torch.inference_mode()
    def ceiling():
        with torch.autocast(**half):
            for part in ready.split(batch):
                alone(pixel_values=part)

    def views(part):
        return augment(part.to(DEVICE), draws(range(len(part)), 0), config.image_mean, config.image_std)

    def train():
        model.train()
        for _, part, _ in open_ahead(rows, int(1.2 * size), 1.0, batch, workers):
            learn(model, optimiser, views(part), truth[: len(part)])
        model.eval()

    def steps():
        model.train()
        for part in wider.split(batch):
            learn(model, optimiser, views(part), truth[: len(part)])
        model.eval()

    def learn(part, its_optimiser, given, wanted):
        with torch.autocast(**half):
            logits = part(given).logits if part is model else part(given)
        tree_loss(logits.float(), wanted, GZ2).backward()
        its_optimiser.step()
        its_optimiser.zero_grad()

    def head():
        learn(model.head, head_optimiser, seen, truth)

    sides = {"predict": ours, "plain loop": theirs, "backbone alone": ceiling, "train": train, "head": head}
    if DEVICE == "cuda":  # where opening images may take longest
        sides["train, images ready"] = steps
    return title, sides, forward_flops(backbone.config, size)


def measure(name, files, size, batch, workers, repeats):
    """Return the matrix peak, the speed of each side, and the ratios, for one backbone."""
    (title, sides, flops), operations = contestants(name, files, size, batch, workers), {}
    for peak, kind in (("bfloat16 peak", torch.bfloat16), ("float32 peak", torch.float32)):
        emulated = peak == "bfloat16 peak" != PEAK
        sides[peak], operations[peak] = matrix_peak(kind, 1024 if emulated else SIDES[DEVICE])
    for each in tqdm(sides.values(), f"{title}: warm up"):
        each()
    bar = tqdm(range(repeats), title)
    turns = pd.DataFrame([{side: seconds(each) for side, each in sides.items()} for _ in bar])
    rates = {peak: count / turns[peak] for peak, count in operations.items()}
    n, rate, rows = len(files), rates[PEAK], []
    for side in sides.keys() - {"head", "bfloat16 peak", "float32 peak"}:
        share = n * flops * (3 if side.startswith("train") else 1) / turns[side] / rate
        rows.append((title, side, n / turns[side].median(), share.median()))
    alone, head = turns["backbone alone"], turns["head"]
    ratios = {
        "bfloat16 peak / float32 peak": (rates["bfloat16 peak"] / rates["float32 peak"], None),
        "predict / plain loop": (turns["plain loop"] / turns["predict"], 2.5),
        "predict / backbone alone": (alone / turns["predict"], 0.9),
        "epoch of a head: encoding again / cached": ((alone + head) / head, 50),
    }
    if "train, images ready" in sides:
        ratios["train / images ready"] = turns["train, images ready"] / turns["train"], None
    items = ratios.items()
    ratios = [(title, what, r.median(), r.min(), r.max(), goal) for what, (r, goal) in items]
    return rate.median(), rows, ratios


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", nargs="+", choices=SIZES, default=list(SIZES), help="which (both)")
    parser.add_argument("--images", type=int, default=32, help="images in each turn (32)")
    parser.add_argument("--size", type=int, default=224, help="side of the network's input, pixels (224)")
    parser.add_argument("--batch", type=int, help="images at once, not in the plain loop (as for predict)")
    parser.add_argument("--workers", type=int, help="threads that open images (one per core, eight at most)")
    parser.add_argument("--repeats", type=int, default=5, help="turns (5)")
    chosen = parser.parse_args()
    batch = chosen.batch or batch_for(DEVICE, chosen.size)
    if DEVICE == "cpu":
        torch.set_num_threads(1)
    images = simulate(min(chosen.images, 64), size=424)[1]
    # encoded as image servers do
    encoded = [simplejpeg.encode_jpeg(one, quality=90, colorsubsampling="420") for one in images]
    files = [encoded[i % len(encoded)] for i in range(chosen.images)]
    before, measured = os.getloadavg()[0], []
    for name in chosen.backbone:
        measured.append(measure(name, files, chosen.size, batch, chosen.workers, chosen.repeats))
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else "one core"
    peak = np.median([peak for peak, *_ in measured]) / 1e9
    load = f"load before {before:.1f}, after {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    sizes = f"{chosen.size} px, {batch} at once"
    print(f"{device}; {PEAK} of matrix products {peak:.0f} GFLOP/s; {sizes}; {load}\n")
    speeds, ratios = (sum((each[i] for each in measured), []) for i in (1, 2))
    rates = pd.DataFrame(speeds, columns=["backbone", "what", "images/s", f"share of {PEAK}"])
    columns = ["backbone", "ratio", "median", "lowest", "highest", "goal"]
    ratios = pd.DataFrame(ratios, columns=columns)
    for table in (rates, ratios):
        print(table.to_string(index=False, na_rep="", float_format="{:.2f}".format), end="\n\n")


if __name__ == "__main__":
    main()
