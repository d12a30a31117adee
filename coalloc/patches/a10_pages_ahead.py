"""A10: Linux 7.2 allocates the pages of a write before it takes the pipe's mutex."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from typing import Final

from coalloc.patches.bench import (
    CELLS,
    GUEST_CONSTANTS,
    LEAST,
    MOST,
    SHARES,
    linux_state,
    pipe_bench,
    pipe_bench_gains,
    prices,
)
from coalloc.patches.patch import Constant, Figure, Patch, Predicted, change_of

__all__ = ["OFFERED"]

_BEFORE, _AFTER = linux_state("linux"), linux_state("linux-7.2")
_COPY_NS: Final = 1052
"""Fitted; see :func:`_fit`."""
_MIB_BEFORE: Final = (1119, 1162, 1152, 1132, 1034, 1021, 1060, 1069, 997)
_MIB_AFTER: Final = (1354, 1487, 1357, 1195, 1285, 1164, 1240, 1213, 1239)
_NS_BEFORE: Final = (55786, 107546, 271293, 55164, 120837, 306089, 58906, 116860, 313300)
_NS_AFTER: Final = (46103, 84011, 230170, 52260, 97206, 268429, 50370, 103036, 252232)
_SLOWER: Final = (2, 4)


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
        gains = pipe_bench_gains(_BEFORE, _AFTER, prices(_COPY_NS, slower))
        pressed.append(Figure(f"allocation x{slower}: median", statistics.median(gains), None, "%"))
    tell("the least and the most of the shares")
    ends = [
        statistics.median(pipe_bench_gains(_BEFORE, _AFTER, prices(_fitted(shares), shares=shares)))
        for shares in (LEAST, MOST)
    ]
    return Predicted(
        (*throughputs, *latencies, *pressed, *absolute),
        (
            "Under pressure an allocation is slower; by how much is not published.  +21 to +48 % are what came of it.",
            f"With the least and the most of the measured shares the median gain is {ends[0]:+.1f} and {ends[1]:+.1f} %.",
            "Every writer is always in its call, so that latency is the reciprocal of throughput: one figure, in two tables.",
        ),
    )


def _fit() -> tuple[Constant, ...]:
    return (_copy(round(_fitted(SHARES, milliseconds=60))),)


def _fitted(shares: Mapping[str, float], milliseconds: int = 20) -> float:
    """Find the price with which the nine cells before the patch are off least, as logarithms; three rounds."""
    copy_ns = 1000.0
    for _ in range(3):
        off = []
        for cell, told in zip(CELLS, _MIB_BEFORE, strict=True):
            run = pipe_bench(_BEFORE, *cell, prices(copy_ns, shares=shares), milliseconds=milliseconds)
            off.append(math.log(run.throughput / told))
        copy_ns *= math.exp(statistics.fmean(off))
    return copy_ns


def _copy(ns: int) -> Constant:
    return Constant("move a page", ns, "ns", "the nine throughputs before the patch, least squares of logarithms", True)


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
            Constant("allocate a page", SHARES["alloc_page"], "moves", "python -m benchmarks.page_prices"),
            Constant("free a page", SHARES["free_page"], "moves", "python -m benchmarks.page_prices"),
            *GUEST_CONSTANTS,
        ),
        _fit,
        "The nine cells before the patch fix only the sum of a page's prices, so the shares come from a profile: of the same"
        " calls on Linux 6.18, but of an x86 machine with 2 CPUs.  They make an allocation cost 1.2 us, some 30 times a bare"
        " one (39.6 ns, Brouer 2017): accounting, cold lines and the guest may be in it.  The table was measured on version"
        " 1, which allocates in bulk.  The model gains what the holders of the mutex save, nearly the same in all cells; it"
        " does not explain +28 % with a second writer, nor +6 % with five readers.",
        rank=10,
    ),
)
