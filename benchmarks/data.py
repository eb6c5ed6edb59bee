"""How fast data come in, and with how much memory: one table, as ratios to a yardstick.

    OMP_NUM_THREADS=1 python benchmarks/data.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
import tables  # noqa: E402  (beside the tests, for they use it too)

HART16 = 239_695  # rows of the table of Hart et al. (2016), which has 231 columns

MEASURE = """
import json, resource, sys, time
{imports}
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, began = peak(), time.perf_counter()
table = {read}(sys.argv[1])
print(json.dumps([time.perf_counter() - began, peak(), peak() - before, len(table)]))
"""


def reading(path, imports, read, rows, repeats=5):
    """Seconds (the best), peak memory of the process, and what reading added to it (MiB, the worst); each time in a new process."""
    command = [sys.executable, "-c", MEASURE.format(imports=imports, read=read), str(path)]
    runs = [json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(repeats)]
    assert all(run[3] == rows for run in runs)
    seconds, peak, added, _ = np.array(runs).T
    return seconds.min(), peak.max(), added.max()


def hart16(rows=HART16):
    """The table of Hart et al. (2016) into the galaxy table, against pandas that only reads it."""
    with tempfile.TemporaryDirectory() as folder:
        path = tables.write(Path(folder) / "gz2_hart16.csv", tables.hart16_rows, rows)
        ours = reading(path, "from galaxy_sommelier.catalog import read_hart16", "read_hart16", rows)
        pandas = reading(path, "import pandas", "pandas.read_csv", rows)
        what = f"Hart16, {rows} rows, {path.stat().st_size / 2**20:.0f} MiB"
    return [
        (f"{what}: seconds", ours[0], pandas[0], "pandas.read_csv", pandas[0] / ours[0], "2"),
        (f"{what}: MiB that reading takes", ours[2], pandas[2], "pandas.read_csv", pandas[2] / ours[2], "2"),
        (f"{what}: MiB of the process, torch and all", ours[1], 2048, "2 GiB", 2048 / ours[1], "1"),
    ]


SECTIONS = (hart16,)


def main():
    rows = [row for section in SECTIONS for row in section()]
    table = pd.DataFrame(rows, columns=["what", "ours", "yardstick", "which is", "times better", "goal"])
    print(table.round({"ours": 2, "yardstick": 2, "times better": 2}).to_string(index=False))


if __name__ == "__main__":
    main()
