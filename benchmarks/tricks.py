"""Measure the choices that the free list rests on, each against its alternative, interleaved in one run.

    python -m benchmarks.tricks

1. The fast paths of alloc and free, written out in the space, against going through the free list every time.
2. The index of BEST written out in place (take, give) against the same inherited from the base class.
3. Ties in BEST: the newest hole against the one with the lowest address; time, and what each does to fragmentation.

Two figures are given for each: the least over the rounds, which other load on the machine disturbs least, and the median.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
from collections.abc import Iterator

import attrs
from sortedcontainers import SortedList

from benchmarks import peers
from benchmarks.host import head
from coalloc import ERAS, CoalescingSpace, Design, GiB, KernelMap, Space, bundled_build, overlay, replay
from coalloc.pipes.eras import Era
from coalloc.space.holes import Holes, SizeHoles, Tag
from coalloc.workload.generators import churn, sawtooth
from coalloc.workload.program import Program


class Inherited(SizeHoles):
    """The newest of the smallest, with take and give of the base class."""

    __slots__ = ()
    take = Holes.take
    give = Holes.give


class LowestAddress(SizeHoles):
    """Of the smallest holes, the one with the lowest address: beside each bin its holes are kept sorted."""

    __slots__ = ("ordered",)
    take = Holes.take
    give = Holes.give

    def __init__(self) -> None:
        super().__init__()
        self.ordered: dict[int, SortedList[int]] = {}

    def insert(self, hole: Tag) -> None:
        """Enter a hole."""
        super().insert(hole)
        self.ordered.setdefault(hole.size, SortedList()).add(hole.base)

    def remove(self, hole: Tag) -> None:
        """Strike a hole."""
        super().remove(hole)
        self.ordered[hole.size].remove(hole.base)

    def candidates(self, size: int) -> Iterator[Tag]:
        """Yield holes, smallest first, then lowest first."""
        last = 0
        for newest in super().candidates(size):
            if newest.size != last:
                last = newest.size
                yield from (self.at[base] for base in self.ordered[last])


@attrs.frozen
class Choice:
    """A free list, and whether the space has its fast paths on."""

    kind: type[SizeHoles]
    fast: bool = False

    def space(self, kernel: KernelMap, limit: int) -> CoalescingSpace:
        """Make a space that has chosen so."""
        space = CoalescingSpace(kernel, kva_limit=limit)
        space._holes = self.kind()
        space._at = space._holes.at
        space._exact = space._holes.bins if self.fast else {}
        return space


AS_IT_IS, NO_FAST_PATHS, INHERITED, LOWEST = (
    "as it is",
    "without fast paths",
    "and inherited methods",
    "and lowest address",
)
CHOICES = {
    AS_IT_IS: Choice(SizeHoles, fast=True),
    NO_FAST_PATHS: Choice(SizeHoles),
    INHERITED: Choice(Inherited),
    LOWEST: Choice(LowestAddress),
}
"""Each but the first has what is above it but for one thing, so that it is held against the line above."""


def _calls(choice: Choice) -> peers.Calls:
    space = choice.space(KernelMap(size=64 * GiB), 64 * GiB)
    return space.alloc, space.free


def main() -> int:
    """Measure time, then fragmentation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    print(head("churn of 4K/16K/64K (50/40/10 %), 40,000 operations", peers.SEED))
    for name, choice in CHOICES.items():
        peers.CONTESTANTS[name] = functools.partial(_calls, choice)
    for live in (1_000, 10_000):
        found = peers.compare(live, 20_000, arguments.rounds, list(CHOICES))
        print(
            f"\n{live:,} live buffers, {arguments.rounds} rounds: ns/op, and how many times the line above; least, median"
        )
        above = found[AS_IT_IS]
        for name, figures in found.items():
            print(
                f"{name:24}{min(figures):8.0f}{min(figures) / min(above):8.2f}"
                f"{statistics.median(figures):10.0f}{peers.ratio(figures, above):8.2f}"
            )
            above = figures
    print("\nmean external fragmentation, peak mapped MiB")
    programs: dict[str, Program] = {
        "churn, 1,000 live": churn(live=1000, operations=100_000, seed=1),
        "sawtooth": sawtooth(cycles=20, seed=1),
        "build x 100": overlay(bundled_build(), 100, 88_000_000, 1),
    }
    for label, program in programs.items():
        for name, choice in (("newest", CHOICES[AS_IT_IS]), ("lowest address", CHOICES[LOWEST])):
            design = Design(name, name, functools.partial(_make, choice), resize_in_place=True)
            outcome = replay(program, design, era=ERAS["2004-01"], limit=GiB)
            print(
                f"{label:20}{name:22}{outcome.mean_external_fragmentation:8.4f}{outcome.map.peak_mapped / 2**20:8.1f}"
                f"   holes visited {outcome.space.holes_visited:,}, coalesces {outcome.space.coalesces:,}"
            )
    return 0


def _make(choice: Choice, _era: Era, kernel: KernelMap, limit: int) -> Space:
    return choice.space(kernel, limit)


if __name__ == "__main__":
    sys.exit(main())
