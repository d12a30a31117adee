"""Compare ns per operation with peers, all in one run, interleaved; print medians and ratios.

    python -m benchmarks.peers [--live 1000 10000] [--operations N] [--rounds N] [--scaling]

Load: churn.  A number of buffers of 4, 16 and 64 KiB (50, 40 and 10 %) is live; an operation pair frees one at random and
allocates another.  Contestants: the reference with and without quantum cache, ``multiprocessing.heap.Heap`` of the running
Python (it keeps 8-byte alignment and maps files for its arenas), and the floor: a method that does one dict insert or one dict
delete per call, which is the least that any allocator with a busy table can do.  Counters stay on.

Each contestant runs the same operations, on fresh objects, in turn; a round is one turn of each.  What is quoted is the median
over the rounds of the ratio within a round, which holds when the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from multiprocessing.heap import Heap
from typing import Any

from benchmarks.host import head
from coalloc import CoalescingSpace, GiB, KernelMap, KiB

SIZES, WEIGHTS = (4 * KiB, 16 * KiB, 64 * KiB), (50, 40, 10)
SEED = 20040131


class Floor:
    """One dict insert or delete per call."""

    __slots__ = ("busy", "end")

    def __init__(self) -> None:
        self.busy: dict[int, int] = {}
        self.end = 0

    def alloc(self, size: int) -> int:
        """Insert."""
        base = self.end
        self.end = base + size
        self.busy[base] = size
        return base

    def free(self, base: int) -> None:
        """Delete."""
        del self.busy[base]


Calls = tuple[Callable[[int], Any], Callable[[Any], None]]


def _space(cache: int) -> Calls:
    space = CoalescingSpace(KernelMap(size=64 * GiB), kva_limit=64 * GiB, quantum_cache=cache)
    return space.alloc, space.free


def _heap() -> Calls:
    heap = Heap()
    return heap.malloc, heap.free


def _floor() -> Calls:
    floor = Floor()
    return floor.alloc, floor.free


CONTESTANTS: dict[str, Callable[[], Calls]] = {
    "floor": _floor,
    "coalescing": lambda: _space(0),
    "coalescing+cache": lambda: _space(64 * KiB),
    "Heap": _heap,
}


def churn(calls: Calls, live: int, sizes: list[int], victims: list[int]) -> float:
    """Fill up, then time free and alloc in turn; return ns per operation."""
    alloc, free = calls
    buffers = [alloc(size) for size in sizes[:live]]
    rest = sizes[live:]
    gc.collect()
    gc.disable()
    start = time.perf_counter_ns()
    for victim, size in zip(victims, rest, strict=True):
        free(buffers[victim])
        buffers[victim] = alloc(size)
    elapsed = time.perf_counter_ns() - start
    gc.enable()
    return elapsed / (2 * len(victims))


def compare(live: int, pairs: int, rounds: int, names: list[str]) -> dict[str, list[float]]:
    """Return ns per operation by contestant, a list with one figure a round."""
    generator = random.Random(SEED)
    sizes = generator.choices(SIZES, WEIGHTS, k=live + pairs)
    victims = [generator.randrange(live) for _ in range(pairs)]
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 else reversed(names):
            found[name].append(churn(CONTESTANTS[name](), live, sizes, victims))
    return found


def ratio(above: list[float], below: list[float]) -> float:
    """Return the median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def memory(name: str, live: int) -> float:
    """Return Python-level bytes per live buffer."""
    generator = random.Random(SEED)
    sizes = generator.choices(SIZES, WEIGHTS, k=live)
    alloc, _ = CONTESTANTS[name]()
    buffers: list[Any] = [None] * live
    gc.collect()
    tracemalloc.start()
    for index, size in enumerate(sizes):
        buffers[index] = alloc(size)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / live


def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--operations", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--scaling", action="store_true", help="also from 1,000 to 1,000,000 live buffers")
    arguments = parser.parse_args()
    print(head("churn of 4K/16K/64K (50/40/10 %)", SEED))
    for live in arguments.live:
        found = compare(live, arguments.operations // 2, arguments.rounds, list(CONTESTANTS))
        print(f"\n{live:,} live buffers, {arguments.operations:,} operations, median of {arguments.rounds} rounds")
        print(f"{'':18}{'ns/op':>8}{'x floor':>9}{'Heap / it':>11}")
        for name, figures in found.items():
            print(
                f"{name:18}{statistics.median(figures):8.0f}{ratio(figures, found['floor']):9.2f}"
                f"{ratio(found['Heap'], figures):11.2f}"
            )
    print("\nmemory per live buffer, 10,000 live (Python objects, traced)")
    for name in CONTESTANTS:
        print(f"{name:18}{memory(name, 10_000):8.0f} bytes")
    if arguments.scaling:
        print("\ngrowth of ns/op from 1,000 to 1,000,000 live buffers, and how many times that of the floor")
        growth: dict[str, list[float]] = {}
        names = ["floor", "coalescing", "coalescing+cache"]
        for _ in range(3):
            small = compare(1_000, 200_000, 1, names)
            large = compare(1_000_000, 200_000, 1, names)
            for name in names:
                growth.setdefault(name, []).append(large[name][0] / small[name][0])
        for name, figures in growth.items():
            print(f"{name:18}{statistics.median(figures):8.2f}{ratio(figures, growth['floor']):9.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
