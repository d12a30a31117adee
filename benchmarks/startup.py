"""Time how long commands and imports take to start, in new interpreters, interleaved in one run.

python -m benchmarks.startup [--against TREE] [--runs N]

With --against, the folder of another version of the project: both are timed, and the ratio of the medians is shown.
Bytecode goes to a folder of this run, for both alike, and is made before the first run that counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.host import head

HERE = Path(__file__).parents[1]
STARTS = {
    "coalloc --version": ("-m", "coalloc", "--version"),
    "coalloc --help": ("-m", "coalloc", "--help"),
    "coalloc trace --help": ("-m", "coalloc", "trace", "--help"),
    "coalloc compare --help": ("-m", "coalloc", "compare", "--help"),
    "import coalloc": ("-c", "import coalloc"),
    "from coalloc import CoalescingSpace": ("-c", "from coalloc import CoalescingSpace"),
    "python -c pass": ("-c", "pass"),
}


def start(tree: Path, arguments: tuple[str, ...], bytecode: str) -> float:
    """Run a new interpreter on a source tree; returns seconds until it has ended."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=tree, env=environment, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def main() -> int:
    """Start everything in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="the source tree of another version")
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    trees = [HERE] if arguments.against is None else [HERE, arguments.against.resolve()]
    print(head(f"{arguments.runs} starts of each, after one that does not count", 0))
    seconds: dict[str, list[list[float]]] = {name: [[] for _ in trees] for name in STARTS}
    with tempfile.TemporaryDirectory() as bytecode:
        for turn in range(arguments.runs + 1):
            for name, command in STARTS.items():
                for number, tree in enumerate(trees):
                    took = start(tree, command, bytecode)
                    if turn:
                        seconds[name][number].append(took)
    print(f"{'median, milliseconds':38}{'here':>8}" + (f"{'against':>9}{'ratio':>7}" if len(trees) > 1 else ""))
    for name, columns in seconds.items():
        medians = [1000 * statistics.median(column) for column in columns]
        print(f"{name:38}{medians[0]:8.0f}" + "".join(f"{m:9.0f}{medians[0] / m:7.2f}" for m in medians[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
