"""Speed and memory of reading data: one table, as ratios to common libraries.

The two sides of a ratio take turns and the medians are compared, since others may use the same machine.
Times are wall times; images are handled by one thread. Memory is the peak of a new process, with all that it
imports.

    python benchmarks/data.py --images galaxy-zoo/images_training_rev1
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm.auto import tqdm
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

from galaxy_sommelier.catalog.schema import GZ2
from galaxy_sommelier.data.dataset import GalaxyDataset
from galaxy_sommelier.data.store import Store, write_store
from galaxy_sommelier.images.pixels import decode, encode, resize
from galaxy_sommelier.images.simulation import simulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import tables  # noqa: E402  (in tests/, which use it too)

SIZE, BATCH = 224, 50  # side of the network's input in pixels; images at once
PROCESSOR = BitImageProcessorPil(
    size={"height": SIZE, "width": SIZE},
    resample=Image.Resampling.BICUBIC,
    do_center_crop=False,
    do_rescale=False,
    do_normalize=False,
)
COLUMNS = ["what", "ours", "theirs", "them", "times better", "goal"]
MEASURE = """
import json, re, time
{imports}
began, cpu = time.perf_counter(), time.process_time()
rows = {read}
took = time.perf_counter() - began, time.process_time() - cpu
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024  # not its parent's
print(json.dumps([*took, peak, rows]))
"""


def process(imports, read):
    """Return wall and CPU seconds, peak MiB and the rows of a table that a new process reads."""
    command = [sys.executable, "-c", MEASURE.format(imports=imports, read=read)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def seconds(work):
    """Return the wall seconds of some work."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turn(repeats, **sides):
    """Return the median of what each side measures; the sides take turns."""
    turns = tqdm(range(repeats), " / ".join(sides))
    runs = [{name: measure() for name, measure in sides.items()} for _ in turns]
    return [np.median([run[name] for run in runs], axis=0) for name in sides]


def with_pil(file):  # a path, or bytes as a file
    """Decode and resize with Pillow."""
    with Image.open(file, formats=["JPEG"]) as image:
        return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def with_transformers(data):
    """Decode with Pillow, resize with the image processor of DINOv2."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return PROCESSOR(image.convert("RGB"))["pixel_values"][0]


def image_files(folder, n, scratch):
    """Return image files of a folder, or as many simulated ones."""
    if folder:
        return sorted(Path(folder).glob("*.jpg"))[:n]
    for i, pixels in enumerate(simulate(n, size=424)[1]):
        (scratch / f"{i}.jpg").write_bytes(encode(pixels))
    return sorted(scratch.glob("*.jpg"))


def decoding(files, repeats):
    """From bytes to an image of the network's input size."""
    data = [file.read_bytes() for file in files]
    ours, pil, transformers = in_turn(
        repeats,
        ours=lambda: seconds(lambda: [resize([decode(one)], size=SIZE) for one in data]),
        pil=lambda: seconds(lambda: [with_pil(io.BytesIO(one)) for one in data]),
        transformers=lambda: seconds(lambda: [with_transformers(one) for one in data]),
    )
    what, n = "decode + resize, images/s", len(files)
    return [
        (what, n / ours, n / pil, "PIL", pil / ours, 2.5),
        (what, n / ours, n / transformers, "image processor", transformers / ours, None),
    ]


def storing(files, repeats, scratch):
    """From files to a store, and from the store to batches."""
    even = GZ2.normalise(np.ones((len(files), len(GZ2.answers))))
    table = pd.DataFrame(even, columns=GZ2.columns)
    table = table.assign(id_str=[f"image-{i}" for i in range(len(files))], path=[str(file) for file in files])
    build = [seconds(lambda i=i: write_store(table, scratch / f"store-{i}")) for i in range(repeats)]
    data = GalaxyDataset(Store(scratch / "store-0"), size=SIZE)
    order = np.random.default_rng(0).permutation(len(files))
    batches = np.array_split(order, max(1, len(files) // BATCH))

    def ours():
        return [torch.stack([one["pixel_values"] for one in data.__getitems__(batch)]) for batch in batches]

    def theirs():
        return [torch.from_numpy(np.stack([with_pil(files[i]) for i in batch])) for batch in batches]

    store, folder = in_turn(repeats, store=lambda: seconds(ours), folder=lambda: seconds(theirs))
    n = len(files)
    return [
        ("store to uint8 batch, images/s", n / store, n / folder, "PIL, folder", folder / store, 2.5),
        ("store build, images/s", n / np.median(build), None, "", None, None),
    ]


def hart16(rows, repeats, scratch):
    """Convert the table of Hart et al. (2016) to the galaxy table; pandas only reads it."""
    path = tables.write(scratch / "gz2_hart16.csv", tables.hart16_rows, rows)
    reader = "from galaxy_sommelier.catalog.gz2 import read_hart16"
    ours, pandas = in_turn(
        repeats,
        ours=lambda: process(reader, f"len(read_hart16({str(path)!r}))"),
        pandas=lambda: process("import pandas", f"len(pandas.read_csv({str(path)!r}))"),
    )
    assert ours[3] == pandas[3] == rows
    what, better = f"Hart16, {rows} x 231, {path.stat().st_size / 1e6:.0f} MB", pandas / ours
    return [
        (f"{what}: {kind}", ours[i], pandas[i], "pandas", better[i], goal)
        for i, (kind, goal) in enumerate((("seconds", 2), ("seconds of all cores", None), ("MiB", 2)))
    ]


def desi(rows, scratch):
    """Read Galaxy Zoo DESI in pieces: memory for a quarter of the rows and for all."""
    few, many = (tables.write(scratch / f"desi-{n}.parquet", tables.desi_rows, n) for n in (rows // 4, rows))
    read = "from galaxy_sommelier.catalog.later_campaigns import desi_pieces"
    (took, _, whole, read_rows), (_, _, quarter, _) = (
        process(read, f"sum(map(len, desi_pieces({str(path)!r})))") for path in (many, few)
    )
    assert read_rows == rows
    return [
        (f"DESI, {rows} rows: MiB", whole, quarter, f"{rows // 4} rows", quarter / whole, None),
        (f"DESI, {rows} rows: rows/s", rows / took, None, "", None, None),
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    text = "folder of JPEG files; without it images are simulated, 424 pixels a side"
    parser.add_argument("--images", type=Path, help=text)
    parser.add_argument("--n", type=int, default=500, help="number of images (500)")
    parser.add_argument("--hart16", type=int, default=239_695, help="rows of Hart et al. 2016 (239695)")
    parser.add_argument("--desi", type=int, default=1_000_000, help="rows of Galaxy Zoo DESI (1000000)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each side (5)")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        files = image_files(chosen.images, chosen.n, scratch)
        rows = decoding(files, chosen.repeats) + storing(files, chosen.repeats, scratch)
        rows += hart16(chosen.hart16, chosen.repeats, scratch) + desi(chosen.desi, scratch)
    table = pd.DataFrame(rows, columns=COLUMNS)
    kind = f"real images of {chosen.images.name}" if chosen.images else "simulated images"
    source = f"{len(files)} {kind}"
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{source}; {load}\n{table.to_string(index=False, na_rep='', float_format='{:.2f}'.format)}")


if __name__ == "__main__":
    main()
