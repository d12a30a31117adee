"""Measure the choices that the free list rests on, each against its alternative, interleaved in one run.

    python -m benchmarks.tricks

1. The index of BEST written out in place (take, give) against the same inherited from the base class.
2. Ties in BEST: the newest hole against the one with the lowest address; time, and what each does to fragmentation.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
from collections.abc import Container, Iterator

from sortedcontainers import SortedList

from benchmarks import peers
from benchmarks.host import head
from coalloc import ERAS, CoalescingSpace, Design, GiB, KernelMap, Space, bundled_build, overlay, replay
from coalloc.pipes.eras import Era
from coalloc.space.holes import Holes, SizeHoles
from coalloc.workload.generators import churn, sawtooth
from coalloc.workload.program import Program


class Inherited(SizeHoles):
    """The newest of the smallest, with take and give of the base class."""

    __slots__ = ()
    take = Holes.take
    give = Holes.give


class LowestAddress(SizeHoles):
    """Of the smallest holes, the one with the lowest address: the bins are sorted lists."""

    __slots__ = ("ordered",)
    take = Holes.take
    give = Holes.give

    def __init__(self, walls: Container[int]) -> None:
        super().__init__(walls)
        self.ordered: dict[int, SortedList[int]] = {}

    def insert(self, base: int, size: int) -> None:
        """Enter a hole."""
        super().insert(base, size)
        self.ordered.setdefault(size, SortedList()).add(base)

    def remove(self, base: int, size: int) -> None:
        """Strike a hole."""
        super().remove(base, size)
        self.ordered[size].remove(base)
        if not self.ordered[size]:
            del self.ordered[size]

    def candidates(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield holes, smallest first, then lowest first."""
        for hole in [hole for hole in self.sizes if hole >= size]:
            for base in self.ordered[hole]:
                yield base, hole


KINDS: dict[str, type[SizeHoles]] = {
    "newest, written out": SizeHoles,
    "newest, inherited": Inherited,
    "lowest address": LowestAddress,
}


def _space(kind: type[SizeHoles], kernel: KernelMap, limit: int) -> CoalescingSpace:
    space = CoalescingSpace(kernel, kva_limit=limit)
    space._holes = kind(space._arenas)
    return space


def _calls(kind: type[SizeHoles]) -> peers.Calls:
    space = _space(kind, KernelMap(size=64 * GiB), 64 * GiB)
    return space.alloc, space.free


def main() -> int:
    """Measure time, then fragmentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    print(head("churn of 4K/16K/64K (50/40/10 %), 100,000 operations", peers.SEED))
    for name, kind in KINDS.items():
        peers.CONTESTANTS[name] = lambda kind=kind: _calls(kind)  # type: ignore[misc]
    for live in (1_000, 10_000):
        found = peers.compare(live, 50_000, arguments.rounds, list(KINDS))
        print(f"\n{live:,} live buffers: ns/op, and times the first")
        for name, figures in found.items():
            print(
                f"{name:22}{statistics.median(figures):8.0f}{peers.ratio(figures, found['newest, written out']):8.2f}"
            )
    print("\nmean external fragmentation, peak mapped MiB")
    programs: dict[str, Program] = {
        "churn, 1,000 live": churn(live=1000, operations=100_000, seed=1),
        "sawtooth": sawtooth(cycles=20, seed=1),
        "build x 100": overlay(bundled_build(), 100, 88_000_000, 1),
    }
    for label, program in programs.items():
        for name in ("newest, written out", "lowest address"):
            design = Design(name, name, functools.partial(_make, KINDS[name]), resize_in_place=True)
            outcome = replay(program, design, era=ERAS["2004-01"], limit=GiB)
            print(
                f"{label:20}{name:22}{outcome.mean_external_fragmentation:8.4f}{outcome.map.peak_mapped / 2**20:8.1f}"
                f"   holes visited {outcome.space.holes_visited:,}, coalesces {outcome.space.coalesces:,}"
            )
    return 0


def _make(kind: type[SizeHoles], _era: Era, kernel: KernelMap, limit: int) -> Space:
    return _space(kind, kernel, limit)


if __name__ == "__main__":
    sys.exit(main())
