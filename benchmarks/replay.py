"""Time the replay of the bundled build: pipe operations per second, by design, interleaved in one run.

python -m benchmarks.replay [--copies N] [--rounds N]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from benchmarks.host import head
from coalloc import DESIGNS, ERAS, bundled_build, overlay, replay

SEED = 1


def main() -> int:
    """Run every design in turn, and print the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    program = overlay(bundled_build(), arguments.copies, 88_000_000, SEED)
    print(
        head(f"bundled build, {arguments.copies} copies, {len(program):,} operations, era 2004-01, limit 64 MiB", SEED)
    )
    rates: dict[str, list[float]] = {name: [] for name in DESIGNS}
    for _ in range(arguments.rounds):
        for name, design in DESIGNS.items():
            start = time.perf_counter()
            replay(program, design, era=ERAS["2004-01"], limit=64 << 20)
            rates[name].append(len(program) / (time.perf_counter() - start))
    for name, figures in rates.items():
        spread = f"slowest {min(figures):,.0f}, fastest {max(figures):,.0f}"
        print(f"{name:18}{statistics.median(figures):10,.0f} operations/s  ({spread})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
