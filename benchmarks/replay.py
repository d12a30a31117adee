"""Time the replay of the bundled build: pipe operations per second, by design, interleaved in one run.

python -m benchmarks.replay [--copies N] [--rounds N] [--era ERA] [--designs NAMES] [--against PATH]

With --against, another tree of the package is timed in turn with this one, each in a process of its own; the ratio is the
median of those of each round, and it is said whether the outcomes are equal in all that both trees count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.host import head
from coalloc import DESIGNS, ERAS

SEED = 1
HERE = Path(__file__).resolve().parent


class Tree:
    """A process that replays with the package of one tree."""

    def __init__(self, root: Path, copies: int, era: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), str(copies), era, str(SEED)],
            env=os.environ | {"PYTHONPATH": str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.operations = int(self._answer())
        self.seconds: dict[str, list[float]] = {}
        self.outcomes: dict[str, object] = {}

    def _answer(self) -> str:
        assert self._process.stdout is not None  # it was asked for
        return self._process.stdout.readline() or sys.exit("the tree cannot be replayed with")

    def replay(self, design: str) -> None:
        """Replay once, and note how long that took."""
        assert self._process.stdin is not None  # it was asked for
        self._process.stdin.write(design + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._answer())
        self.outcomes[design] = answer["outcome"]
        self.seconds.setdefault(design, []).append(answer["seconds"])

    def rate(self, design: str) -> float:
        """Return the median of the operations per second."""
        return self.operations / statistics.median(self.seconds[design])

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None  # it was asked for
        self._process.stdin.close()
        self._process.wait()


def _agree(ours: object, theirs: object) -> bool:
    """Tell whether two outcomes agree in every field that both have."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(_agree(ours[name], theirs[name]) for name in ours.keys() & theirs.keys())
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_agree, ours, theirs))
    return ours == theirs


def main() -> int:
    """Run every design in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--era", choices=ERAS, default="2004-01")
    parser.add_argument("--designs", default=",".join(DESIGNS))
    parser.add_argument("--against", type=Path, help="the root of another tree")
    arguments = parser.parse_args()
    roots = [HERE.parent, *([arguments.against] if arguments.against is not None else [])]
    trees = [Tree(root, arguments.copies, arguments.era) for root in roots]
    load = f"bundled build, {arguments.copies} copies, {trees[0].operations:,} operations, era {arguments.era}, limit 64 MiB"
    print(head(load, SEED), flush=True)
    for name in arguments.designs.split(","):
        for _ in range(arguments.rounds):
            for tree in trees:
                tree.replay(name)
        figures = sorted(trees[0].operations / seconds for seconds in trees[0].seconds[name])
        line = f"{name:18}{trees[0].rate(name):10,.0f} operations/s  (slowest {figures[0]:,.0f}, fastest {figures[-1]:,.0f})"
        if len(trees) > 1:
            equal = "equal outcomes" if _agree(*(tree.outcomes[name] for tree in trees)) else "OTHER OUTCOMES"
            pairs = zip(trees[1].seconds[name], trees[0].seconds[name], strict=True)
            ratio = statistics.median(theirs / ours for theirs, ours in pairs)
            line += f"  {ratio:5.2f} times the other's {trees[1].rate(name):,.0f}, {equal}"
        print(line, flush=True)
    for tree in trees:
        tree.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
