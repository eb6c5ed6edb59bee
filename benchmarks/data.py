"""How fast data come in, and with how much memory: one table, as ratios to what everybody has.

The two sides of a ratio take turns and the medians are compared, since others may use the same machine. Time is that of the clock; pictures
are handled by one thread. Memory is the largest of a new process, with all that it imports.

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
from galaxy_sommelier.data.store import GalaxyDataset, Store, write_store
from galaxy_sommelier.images.pixels import decode, encode, resize
from galaxy_sommelier.images.simulation import simulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import tables  # noqa: E402  (beside the tests, for they use it too)

SIZE, BATCH = 224, 50  # side of the network's picture in pixels; pictures at once
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
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024  # without its parent's
print(json.dumps([*took, peak, rows]))
"""


def process(imports, read):
    """Seconds of the clock, seconds of all cores, largest memory (MiB) and rows of a table that a new process reads."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(imports=imports, read=read)],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


def seconds(work):
    """How long something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def in_turn(repeats, **sides):
    """The medians of what each side measures; the sides take turns."""
    runs = [
        {name: measure() for name, measure in sides.items()} for _ in tqdm(range(repeats), " / ".join(sides))
    ]
    return [np.median([run[name] for run in runs], axis=0) for name in sides]


def with_pil(file):  # a path, or bytes as a file
    """Decoded and resized as everybody does it."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def with_transformers(data):
    """Decoded by PIL, resized by the image processor that DINOv2 comes with."""
    with Image.open(io.BytesIO(data)) as image:
        return PROCESSOR(image.convert("RGB"))["pixel_values"][0]


def picture_files(folder, n, scratch):
    """Picture files of a folder, or as many simulated ones."""
    if folder:
        return sorted(Path(folder).glob("*.jpg"))[:n]
    for i, pixels in enumerate(simulate(n, size=424)[1]):
        (scratch / f"{i}.jpg").write_bytes(encode(pixels))
    return sorted(scratch.glob("*.jpg"))


def decoding(files, repeats):
    """From bytes to a picture of the network's size."""
    data = [file.read_bytes() for file in files]
    ours, pil, transformers = in_turn(
        repeats,
        ours=lambda: seconds(lambda: [resize([decode(one)], size=SIZE) for one in data]),
        pil=lambda: seconds(lambda: [with_pil(io.BytesIO(one)) for one in data]),
        transformers=lambda: seconds(lambda: [with_transformers(one) for one in data]),
    )
    what, n = "decode + resize, pictures/s", len(files)
    return [
        (what, n / ours, n / pil, "PIL", pil / ours, 2.5),
        (what, n / ours, n / transformers, "image processor", transformers / ours, None),
    ]


def storing(files, repeats, scratch):
    """From files to a store, and from the store to batches."""
    fractions = {
        f"{answer}_fraction": 1 / len(question.answers)
        for question in GZ2.questions
        for answer in question.columns
    }
    table = pd.DataFrame(
        {
            "id_str": [f"picture-{i}" for i in range(len(files))],
            "path": [str(file) for file in files],
            **fractions,
        }
    )
    build = [seconds(lambda i=i: write_store(table, scratch / f"store-{i}")) for i in range(repeats)]
    data, order = (
        GalaxyDataset(Store(scratch / "store-0"), size=SIZE),
        np.random.default_rng(0).permutation(len(files)),
    )
    batches = np.array_split(order, max(1, len(files) // BATCH))

    def ours():
        return [torch.stack([one["pixel_values"] for one in data.__getitems__(batch)]) for batch in batches]

    def theirs():
        return [torch.from_numpy(np.stack([with_pil(files[i]) for i in batch])) for batch in batches]

    store, folder = in_turn(repeats, store=lambda: seconds(ours), folder=lambda: seconds(theirs))
    n = len(files)
    return [
        ("store to uint8 batch, pictures/s", n / store, n / folder, "PIL, folder", folder / store, 2.5),
        ("store build, pictures/s", n / np.median(build), None, "", None, None),
    ]


def hart16(rows, repeats, scratch):
    """The table of Hart et al. (2016) into the galaxy table, against pandas that only reads it."""
    path = tables.write(scratch / "gz2_hart16.csv", tables.hart16_rows, rows)
    ours, pandas = in_turn(
        repeats,
        ours=lambda: process(
            "from galaxy_sommelier.catalog.gz2 import read_hart16", f"len(read_hart16({str(path)!r}))"
        ),
        pandas=lambda: process("import pandas", f"len(pandas.read_csv({str(path)!r}))"),
    )
    assert ours[3] == pandas[3] == rows
    what, better = f"Hart16, {rows} x 231, {path.stat().st_size / 1e6:.0f} MB", pandas / ours
    return [
        (f"{what}: {kind}", ours[i], pandas[i], "pandas", better[i], goal)
        for i, (kind, goal) in enumerate((("seconds", 2), ("seconds of all cores", None), ("MiB", 2)))
    ]


def desi(rows, scratch):
    """Galaxy Zoo DESI piece by piece: a quarter of the rows against all."""
    few, many = (tables.write(scratch / f"desi-{n}.parquet", tables.desi_rows, n) for n in (rows // 4, rows))
    read = "from galaxy_sommelier.catalog.later_campaigns import desi_pieces"
    runs = [process(read, f"sum(map(len, desi_pieces({str(path)!r})))") for path in (many, few)]
    assert runs[0][3] == rows
    return [
        (
            f"DESI, {rows} rows: MiB",
            runs[0][2],
            runs[1][2],
            f"{rows // 4} rows",
            runs[1][2] / runs[0][2],
            None,
        ),
        (f"DESI, {rows} rows: rows/s", rows / runs[0][0], None, "", None, None),
    ]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=Path, help="folder of JPEG files; without it they are simulated, 424 pixels a side"
    )
    parser.add_argument("--n", type=int, default=500, help="pictures (500)")
    parser.add_argument(
        "--hart16", type=int, default=239_695, help="rows of the table of Hart et al. 2016 (239695)"
    )
    parser.add_argument(
        "--desi", type=int, default=1_000_000, help="rows of the table of Galaxy Zoo DESI (1000000)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="turns of each side (5)")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        files = picture_files(chosen.images, chosen.n, scratch)
        rows = decoding(files, chosen.repeats) + storing(files, chosen.repeats, scratch)
        rows += hart16(chosen.hart16, chosen.repeats, scratch) + desi(chosen.desi, scratch)
    table = pd.DataFrame(rows, columns=COLUMNS)
    source = (
        f"{len(files)} real pictures of {chosen.images.name}"
        if chosen.images
        else f"{len(files)} simulated pictures"
    )
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{source}; {load}\n{table.to_string(index=False, na_rep='', float_format='{:.2f}'.format)}")


if __name__ == "__main__":
    main()
