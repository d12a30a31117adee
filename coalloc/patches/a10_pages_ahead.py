"""A10: Linux 7.2 allocates the pages of a write before it takes the pipe's mutex."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from typing import Final

from coalloc.patches.bench import CELLS, GUEST_CONSTANTS, SHARES, linux_state, pipe_bench, prices
from coalloc.patches.patch import Constant, Figure, Patch, Predicted, change_of

__all__ = ["OFFERED"]

_BEFORE, _AFTER = linux_state("linux"), linux_state("linux-7.2")
_COPY_NS: Final = 1100
"""Fitted; see :func:`_fit`."""
_MIB_BEFORE: Final = (1119, 1162, 1152, 1132, 1034, 1021, 1060, 1069, 997)
_MIB_AFTER: Final = (1354, 1487, 1357, 1195, 1285, 1164, 1240, 1213, 1239)
_NS_BEFORE: Final = (55786, 107546, 271293, 55164, 120837, 306089, 58906, 116860, 313300)
_NS_AFTER: Final = (46103, 84011, 230170, 52260, 97206, 268429, 50370, 103036, 252232)
_SLOWER: Final = (1.5, 2, 3)


def _run(tell: Callable[[str], None]) -> Predicted:
    throughputs, latencies, absolute = [], [], []
    for number, (writers, readers) in enumerate(CELLS):
        cell = f"W={writers} R={readers}"
        tell(cell)
        before, after = (pipe_bench(state, writers, readers, prices(_COPY_NS)) for state in (_BEFORE, _AFTER))
        absolute.append(Figure(f"{cell}: MiB/s before, fitted", before.throughput, _MIB_BEFORE[number]))
        absolute.append(Figure(f"{cell}: MiB/s after", after.throughput, _MIB_AFTER[number]))
        told = change_of(_MIB_BEFORE[number], _MIB_AFTER[number])
        given = change_of(before.throughput, after.throughput)
        throughputs.append(Figure(f"{cell}: throughput", given, told, "%", no_change=0))
        told = change_of(_NS_BEFORE[number], _NS_AFTER[number])
        given = change_of(before.latency, after.latency)
        latencies.append(Figure(f"{cell}: latency", given, told, "%", no_change=0))
    pressed = []
    for slower in _SLOWER:
        tell(f"allocation {slower} times as slow")
        gains = []
        for writers, readers in CELLS:
            old, new = (pipe_bench(s, writers, readers, prices(_COPY_NS, slower)) for s in (_BEFORE, _AFTER))
            gains.append(change_of(old.throughput, new.throughput))
        pressed.append(Figure(f"allocation x{slower:g}: median", statistics.median(gains), (21, 48), "%", no_change=0))
    return Predicted((*throughputs, *latencies, *pressed, *absolute))


def _fit() -> tuple[Constant, ...]:
    """Find the price of a copy with which the nine cells before the patch are off least, as logarithms; three rounds."""
    copy_ns = 1000.0
    for _ in range(3):
        off = [
            math.log(pipe_bench(_BEFORE, *cell, prices(copy_ns)).throughput / told)
            for cell, told in zip(CELLS, _MIB_BEFORE, strict=True)
        ]
        copy_ns *= math.exp(statistics.fmean(off))
    return (_copy(round(copy_ns)),)


def _copy(ns: int) -> Constant:
    return Constant("copy a page", ns, "ns", "the nine throughputs before the patch, least squares of logarithms", True)


OFFERED: Final = (
    Patch(
        "A10",
        "pages are allocated before the pipe's mutex is taken",
        "Linux 7.2, May 2026, 99f414273bed; lkml 2605.1, 2605.3",
        _BEFORE,
        _AFTER,
        "pipe_bench: W writers and R readers on one pipe of 1 MiB, 64 KiB a call, 16 CPUs, an arm64 guest",
        "throughput +6 to +28 %, latency -5 to -22 %; under memory pressure +21 to +48 %",
        _run,
        (
            _copy(_COPY_NS),
            Constant("allocate a page", SHARES["alloc_page"], "copies", "python -m benchmarks.page_prices"),
            Constant("free a page", SHARES["free_page"], "copies", "python -m benchmarks.page_prices"),
            *GUEST_CONSTANTS,
        ),
        _fit,
        "The nine cells before the patch fix only the sum of a page's prices: with 0.3 or 3 copies for an allocation they fit"
        " alike.  So the shares come from a profile of the load on Linux 6.18.  The table was measured on version 1, which"
        " allocates in bulk.  The model gains what the holders of the mutex save, which is the same in nearly all cells: it has"
        " no reason for +28 % with a second writer, nor for +6 % with more readers.  Under pressure only allocations become"
        " slower.",
        rank=10,
    ),
)
