"""The shape of the scalability benchmark of October 2003: what the i-th pipe and the i-th descriptor cost, in counted work.

The benchmark's programs measured the latency of the i-th call against i, and asked for a flat line.  Here work is counted, so
a curve is exact and has no noise.  For a *pipe* it is what the kernel map and the space do while the pipe is made:
allocs, holes that a search looks at, map operations, entries that findspace looks at, entries allocated.  For a
*descriptor* it is what the search looks at, and the slots that are copied when the table grows.

There are two loads for each.  Pipes are made one after the other (``in sequence``), or where i holes of one page lie between
buffers of 16 KiB, none of which a new buffer fits into (``between holes``): the fragmentation that was suspected in January
2004.  Descriptors are opened one after the other, or as bindbench does from its 52nd socket on: the 11th is closed and
opened again at every step.

A curve is *flat* if the exponent fitted to the means over [64, 128), [128, 256), ... is below 0.1; means, since a table that is
doubled is copied rarely.

Source: facts/kernel.md section 8; B27, B47, B49.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.kernel.fdtable import LAYOUTS, FdLayout, FdTable
from coalloc.metrics import growth_exponent
from coalloc.pipes.designs import DESIGNS, Bench, Design
from coalloc.pipes.eras import ERAS, PIPE_SIZE, SMALL_PIPE_SIZE, Era
from coalloc.units import KiB

__all__ = ["FLAT", "Curve", "descriptor_curves", "pipe_curves"]

FLAT: Final = 0.1
"""A curve with a lower exponent is flat."""

_FROM: Final = 64
_ELEVENTH: Final = 10
_BIND_FROM: Final = 52


@attrs.frozen
class Curve:
    """Counted work against the number of the call.

    Args:
        what: ``pipe`` or ``descriptor``.
        name: Design or layout.
        era: Era of the pipe code; empty for descriptors.
        load: What was done.
        work: Work of the first call, the second, and so on.
    """

    what: str
    name: str
    era: str
    load: str
    work: tuple[int, ...] = attrs.field(repr=False)

    @property
    def means(self) -> tuple[tuple[int, float], ...]:
        """Mean work over each of [64, 128), [128, 256), ...; by the first number."""
        found = []
        first = _FROM
        while 2 * first <= len(self.work) + 1:
            found.append((first, sum(self.work[first - 1 : 2 * first - 1]) / first))
            first *= 2
        return tuple(found)

    @property
    def exponent(self) -> float:
        """The e of the ``work ~ i ** e`` that fits best."""
        return growth_exponent(self.means)

    @property
    def flat(self) -> bool:
        """Whether the work does not grow with the number of the call."""
        return self.exponent < FLAT


def _require_count(count: int) -> None:
    if type(count) is not int or count < 4 * _FROM:
        raise InvalidRequestError("count", count, f"must be an int >= {4 * _FROM}, so that a curve can be fitted")


# --- pipes -------------------------------------------------------------------------------------------------


def pipe_curves(
    count: int,
    *,
    eras: Iterable[Era] = tuple(ERAS.values()),
    designs: Iterable[Design] = (DESIGNS["per-pipe"], DESIGNS["coalescing"]),
    progress: Callable[[str], None] | None = None,
) -> Iterator[Curve]:
    """Yield the curves of pipe(2): each design, in each era, under both loads.

    Args:
        count: Pipes, >= 256.
        eras: Whose policy holds.
        designs: What gives pipes their buffers; a design of another kernel has that kernel's policy, once.
        progress: Is told of each curve before it is made.

    Raises:
        InvalidRequestError: If ``count`` is out of range, or a design is not one of address space (Linux).
    """
    _require_count(count)
    for design in designs:
        if design.make_pipes is not None:
            raise InvalidRequestError("designs", design.name, "has no buffers of address space")
        for era in eras if design.kernel is None else [design.kernel]:
            for load, run in (("in sequence", _in_sequence), ("between holes", _between_holes)):
                if progress is not None:
                    progress(f"{design.name}, {era.name}, {load}")
                yield Curve("pipe", design.name, era.name, load, tuple(run(design, era, count)))


def _in_sequence(design: Design, era: Era, count: int) -> Iterator[int]:
    bench = _bench(design, era, 2 * PIPE_SIZE * count)
    pipes = design.pipes(era, bench.space, 8 * PIPE_SIZE * count)
    for _ in range(count):
        before = _work(bench)
        pipes.pipe()
        yield _work(bench) - before


def _between_holes(design: Design, era: Era, count: int) -> Iterator[int]:
    bench = _bench(design, era, (2 * PIPE_SIZE + SMALL_PIPE_SIZE) * count)
    pipes = design.pipes(era, bench.space, 8 * PIPE_SIZE * count)
    small = []
    for _ in range(count):
        bench.space.alloc(PIPE_SIZE)
        small.append(bench.space.alloc(SMALL_PIPE_SIZE))
    for base in reversed(small):  # the i-th search begins at the lowest hole, below which there are only buffers
        bench.space.free(base)
        before = _work(bench)
        pair = pipes.pipe()
        yield _work(bench) - before
        for end in (0, 1):
            pair.close(end)


def _bench(design: Design, era: Era, size: int) -> Bench:
    """Build map and space with room to spare; sizes of buffers must not change for want of it."""
    return design.build(era, 8 * max(size, 64 * KiB))


def _work(bench: Bench) -> int:
    counted, stats = bench.kernel.counters(), bench.space.stats()
    return stats.allocs + stats.holes_visited + counted.map_ops + counted.findspace_probes + counted.entries_allocated


# --- descriptors -------------------------------------------------------------------------------------------


def descriptor_curves(count: int, *, layouts: Iterable[FdLayout] = tuple(LAYOUTS.values())) -> Iterator[Curve]:
    """Yield the curves of open(2): each layout, under both loads.

    Args:
        count: Descriptors, >= 256.
        layouts: How they are kept.

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
