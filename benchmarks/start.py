"""Start-up time of the command line, as a ratio to importing click.

python benchmarks/start.py [--repeats N]
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

SOMMELIER = str(Path(sys.executable).with_name("sommelier"))
COMMANDS = {
    'python -c "import click"': [sys.executable, "-c", "import click"],
    "sommelier --version": [SOMMELIER, "--version"],
    "sommelier --help": [SOMMELIER, "--help"],
    "sommelier predict --help": [SOMMELIER, "predict", "--help"],
    "import galaxy_sommelier": [sys.executable, "-c", "import galaxy_sommelier"],
}


def seconds(command: list[str]) -> float:
    """Return the wall seconds of a command."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Print the median of each command, measured in turn, so that a busy moment affects all alike."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="runs of each command [default: 7]")
    repeats = parser.parse_args().repeats
    times = {name: [] for name in COMMANDS}
    for _ in range(repeats):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    base = statistics.median(times['python -c "import click"'])
    print("| command | median, s | ratio |\n| --- | --- | --- |")
    for name, each in times.items():
        print(f"| `{name}` | {statistics.median(each):.2f} | {statistics.median(each) / base:.1f} |")


if __name__ == "__main__":
    main()
