"""The scenario ``scalability``: the cost of the i-th pipe and of the i-th descriptor, in counted work.

The scalability benchmark of October 2003 measured the latency of the i-th call against i, and asked for a flat line.  Here work
is counted, so a curve is exact and has no noise.  The work of a *pipe* is what the kernel map and the space do while the pipe
is made: allocs, holes that a search looks at, map operations, entries that findspace looks at, entries allocated.  The work of
a *descriptor* is what the search looks at, and the slots that are copied when the table grows.

There are two loads for each.  Pipes are made one after the other (``in sequence``), or where i holes of one page lie between
buffers of 16 KiB (``between holes``): no new buffer fits into such a hole, which is the fragmentation that was suspected in
January 2004.  Descriptors are opened one after the other, or as bindbench does from its 52nd socket on: it closes the 11th and
opens another at every step.

A curve is *flat* if the exponent fitted to the means over [64, 128), [128, 256), ... is below 0.1.  Means are used since a
table that is doubled is copied rarely.

Source: the run-bench and the programs of gatling, by Felix von Leitner, October 2003; B27, B47, B49.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import attrs

from coalloc.designs import DESIGNS
from coalloc.errors import InvalidRequestError
from coalloc.kernel.fdtable import FdTable
from coalloc.pipes.design import PER_PIPE, Bench, Design
from coalloc.pipes.eras import PIPE_SIZE, SMALL_PIPE_SIZE, KernelState, LinuxState
from coalloc.pipes.states import ERAS
from coalloc.pipes.surroundings import LAYOUTS, FdLayout
from coalloc.scenarios.curves import FIRST_MEAN, FLAT, Curve
from coalloc.scenarios.options import ERAS_OPTION, Int, Option, PlotFile, designs_option
from coalloc.scenarios.progress import Progress
from coalloc.scenarios.result import Column, Result, Table
from coalloc.scenarios.scenario import Scenario
from coalloc.units import KiB

__all__ = ["OFFERED", "Curves", "descriptor_curves", "pipe_curves"]

_ELEVENTH: Final = 10
_BIND_FROM: Final = 52


def _require_count(count: int) -> None:
    if type(count) is not int or count < 4 * FIRST_MEAN:
        raise InvalidRequestError("count", count, f"must be an int >= {4 * FIRST_MEAN}, so that a curve can be fitted")


# --- pipes -------------------------------------------------------------------------------------------------


def pipe_curves(
    count: int,
    *,
    eras: Iterable[KernelState] = tuple(ERAS.values()),
    designs: Iterable[Design] = (PER_PIPE, DESIGNS["coalescing"]),
    progress: Callable[[str], None] | None = None,
) -> Iterator[Curve]:
    """Yield the curves of pipe(2): each design, in each era, under both loads.

    Args:
        count: Pipes, >= 256.
        eras: The eras whose policies hold.
        designs: The designs that give pipes their buffers; another kernel's design runs once, under that kernel's policy.
        progress: Called with the name of each curve before it is made.

    Raises:
        InvalidRequestError: If ``count`` is out of range, or a design does not allocate address space (Linux).
    """
    _require_count(count)
    for design in designs:
        if isinstance(design.state, LinuxState):
            raise InvalidRequestError("designs", design.name, "has no buffers of address space")
        for era in eras if design.state is None else [design.state]:
            for load, run in (("in sequence", _in_sequence), ("between holes", _between_holes)):
                if progress is not None:
                    progress(f"{design.name}, {era.name}, {load}")
                yield Curve("pipe", design.name, era.name, load, tuple(run(design, era, count)))


def _in_sequence(design: Design, era: KernelState, count: int) -> Iterator[int]:
    bench = _bench(design, era, 2 * PIPE_SIZE * count)
    pipes = design.pipes(era, bench.space, 8 * PIPE_SIZE * count)
    for _ in range(count):
        before = _work(bench)
        pipes.pipe()
        yield _work(bench) - before


def _between_holes(design: Design, era: KernelState, count: int) -> Iterator[int]:
    bench = _bench(design, era, (2 * PIPE_SIZE + SMALL_PIPE_SIZE) * count)
    pipes = design.pipes(era, bench.space, 8 * PIPE_SIZE * count)
    small = []
    for _ in range(count):
        bench.space.alloc(PIPE_SIZE)
        small.append(bench.space.alloc(SMALL_PIPE_SIZE))
    for base in reversed(small):  # the i-th search begins at the lowest hole, and only buffers lie below it
        bench.space.free(base)
        before = _work(bench)
        pair = pipes.pipe()
        yield _work(bench) - before
        for end in (0, 1):
            pair.close(end)


def _bench(design: Design, era: KernelState, size: int) -> Bench:
    """Build map and space with room to spare, so that lack of room does not change the sizes of buffers."""
    return design.build(era, 8 * max(size, 64 * KiB))


def _work(bench: Bench) -> int:
    counted, stats = bench.kernel.counters(), bench.space.stats()
    return stats.allocs + stats.holes_visited + counted.map_ops + counted.findspace_probes + counted.entries_allocated


# --- descriptors -------------------------------------------------------------------------------------------


def descriptor_curves(count: int, *, layouts: Iterable[FdLayout] = tuple(LAYOUTS.values())) -> Iterator[Curve]:
    """Yield the curves of open(2): each layout, under both loads.

    Args:
        count: Descriptors, >= 256.
        layouts: The layouts of the descriptor tables.

    Raises:
        InvalidRequestError: If ``count`` is out of range.
    """
    _require_count(count)
    for layout in layouts:
        for load, bind in (("in sequence", False), ("bindbench", True)):
            yield Curve("descriptor", layout.name, "", load, tuple(_descriptors(layout, count, bind=bind)))


def _descriptors(layout: FdLayout, count: int, *, bind: bool) -> Iterator[int]:
    table = FdTable(layout, limit=count + 1)
    for number in range(1, count + 1):
        looked_at, growths = table.looked_at, len(table.growths)
        table.alloc()
        if bind and number >= _BIND_FROM:
            table.free(_ELEVENTH)
            table.alloc()
        copied = sum(grown.old for grown in table.growths[growths:])
        yield table.looked_at - looked_at + copied


# --- the scenario ------------------------------------------------------------------------------------------


@attrs.frozen
class Curves(Result):
    """The curves of pipes and of descriptors.

    Args:
        drawn: The curves.
        count: How many pipes, and how many descriptors, were made.
    """

    drawn: tuple[Curve, ...]
    count: int

    def parts(self) -> Iterator[str | Table]:
        """Yield a table with a row for each curve."""
        yield (
            f"counted work of the i-th pipe and the i-th descriptor, i up to {self.count:,};"
            f" flat: exponent below {FLAT}\n"
        )
        firsts = [first for first, _ in self.drawn[0].means]
        names = ("", "design or layout", "era", "load")
        numbers = (f"mean from {firsts[0]}", f"mean from {firsts[-1]}", "largest", "exponent")
        yield Table(
            (
                *(Column(name, no_wrap=True) for name in names),
                *(Column(name, right=True, no_wrap=True) for name in numbers),
                Column("", no_wrap=True),
            ),
            tuple(
                (
                    curve.what,
                    curve.name,
                    curve.era,
                    curve.load,
                    f"{curve.means[0][1]:,.1f}",
                    f"{curve.means[-1][1]:,.1f}",
                    f"{max(curve.work):,}",
                    f"{max(curve.exponent, 0.0):.2f}",
                    "flat" if curve.flat else "grows",
                )
                for curve in self.drawn
            ),
        )

    def as_json(self) -> object:
        """Return means and exponents."""
        return [
            {
                "what": curve.what,
                "name": curve.name,
                "era": curve.era,
                "load": curve.load,
                "means": {str(first): mean for first, mean in curve.means},
                "exponent": curve.exponent,
                "flat": curve.flat,
            }
            for curve in self.drawn
        ]

    @property
    def curves(self) -> tuple[Curve, ...]:
        """The curves."""
        return self.drawn


def _run(
    progress: Progress, *, count: int, era: tuple[KernelState, ...], designs: tuple[Design, ...], plot: Path | None
) -> Curves:
    del plot  # the caller draws the result's curves
    curves: list[Curve] = []
    loads = 2 * sum(len(era) if design.state is None else 1 for design in designs)
    with progress.task("curves", loads) as advance:
        for curve in pipe_curves(count, eras=era, designs=designs):
            curves.append(curve)
            if advance is not None:
                advance(len(curves))
    return Curves((*curves, *descriptor_curves(count)), count)


OFFERED: Final = (
    Scenario(
        "scalability",
        "Count the work of the i-th pipe and the i-th descriptor: which curves are flat.",
        _run,
        (
            Option("count", Int(), 8192, "Pipes, and descriptors, to make."),
            ERAS_OPTION,
            designs_option(),
            Option("plot", PlotFile(), None, "Write a picture: FILE.svg or FILE.png."),
        ),
        rank=30,
    ),
)
"""The scenario of this module."""
