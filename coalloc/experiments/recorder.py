"""Recorders stand between a design and its callers, or its kernel map, and write down what is asked; they change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import attrs
from sortedcontainers import SortedDict

from coalloc.experiments.packing import Life
from coalloc.pipes.design import Design
from coalloc.pipes.eras import KernelState
from coalloc.space.adapter import adapted
from coalloc.space.forwarding import ForwardedCpu, ForwardingSpace
from coalloc.space.protocol import FullSpace, PerCpu
from coalloc.units import PAGE_SIZE, round_up
from coalloc.vm.kernelmap import KernelMap

__all__ = [
    "DISCARD",
    "MAP",
    "TOUCH",
    "UNMAP",
    "BufferRecorder",
    "Call",
    "PerCpuRecorder",
    "SourceRecorder",
    "asks_seen",
    "seen_by",
]

MAP: Final = 0
UNMAP: Final = 1
TOUCH: Final = 2
DISCARD: Final = 3


class Call(NamedTuple):
    """One call: its kind, the number of the mapping, the offset in it, and the bytes."""

    kind: int
    mapping: int
    offset: int
    size: int


class BufferRecorder(ForwardingSpace):
    """Note each buffer that is handed out: its size as asked for, its base, and the numbers of its first and last event.

    Whoever replays may say in ``operation`` which operation is next; then ``operations`` has the first and the last of each
    life.
    """

    def __init__(self, below: Any, start: int) -> None:  # noqa: ANN401 (any space)
        super().__init__(below)
        self.lives: list[Life] = []
        self.bases: list[int] = []
        self.operations: list[list[int]] = []  # the last is -1 for a buffer that still lives
        self.operation = 0
        self.span = 0
        self._start = start
        self._time = 0
        self.live: dict[int, int] = {}  # by base: the number of the life

    def _begin(self, base: int, size: int) -> int:
        self.live[base] = len(self.lives)
        self.lives.append(Life(self._time, -1, size))
        self.bases.append(base)
        self.operations.append([self.operation, -1])
        self._time += 1
        self.span = max(self.span, base + self.below.size_of(base) - self._start)
        return base

    def _end(self, base: int) -> None:
        number = self.live.pop(base)
        self.lives[number] = self.lives[number]._replace(end=self._time)
        self.operations[number][1] = self.operation

    def alloc(self, size: int) -> int:
        """Hand out a buffer from below, whose life begins."""
        return self._begin(super().alloc(size), size)

    def free(self, base: int) -> None:
        """Free a buffer below, whose life ends."""
        super().free(base)
        self._end(base)
        self._time += 1

    def resize(self, base: int, size: int) -> int:
        """Resize a buffer below: its life ends, and another begins."""
        moved = super().resize(base, size)
        self._end(base)
        return self._begin(moved, size)

    def done(self) -> tuple[Life, ...]:
        """Return the lives; those that have not ended last until now."""
        return tuple(life if life.end >= 0 else life._replace(end=self._time) for life in self.lives)


class PerCpuRecorder(ForwardedCpu, BufferRecorder):
    """Stand in front of a space that keeps something for each CPU."""


class SourceRecorder:
    """Stand between a design and the kernel map, and write down the calls; everything else is the map's own."""

    def __init__(self, kernel: KernelMap) -> None:
        self._kernel = kernel
        self.calls: list[Call] = []
        self._mapped = 0
        self._pieces: SortedDict[int, tuple[int, int, int]] = (
            SortedDict()
        )  # by base: end, number and base of the mapping
        self.resident: set[int] = set()  # pages, by address

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever the map has)
        return getattr(self._kernel, name)

    def map(self, size: int) -> int:
        """Map a range."""
        base = self._kernel.map(size)
        size = round_up(size, PAGE_SIZE)
        self._pieces[base] = (base + size, self._mapped, base)
        self.calls.append(Call(MAP, self._mapped, 0, size))
        self._mapped += 1
        return base

    def unmap(self, base: int, size: int) -> None:
        """Unmap a range: a call for each mapping that it cuts."""
        self._kernel.unmap(base, size)
        end = base + round_up(size, PAGE_SIZE)
        for low, high, number, start in self._within(base, end):
            at = self._pieces.bisect_right(low) - 1
            piece, (piece_end, _, _) = self._pieces.peekitem(at)
            del self._pieces[piece]
            if piece < low:
                self._pieces[piece] = (low, number, start)
            if high < piece_end:
                self._pieces[high] = (piece_end, number, start)
            self.calls.append(Call(UNMAP, number, low - start, high - low))
        self.resident.difference_update(range(base, end, PAGE_SIZE))

    def touch(self, base: int, size: int) -> None:
        """Touch a range: a call for each page that was not touched since it was mapped or discarded."""
        self._kernel.touch(base, size)
        for low, high, number, start in self._within(base // PAGE_SIZE * PAGE_SIZE, round_up(base + size, PAGE_SIZE)):
            for page in range(low, high, PAGE_SIZE):
                if page not in self.resident:  # a page that was touched before costs nothing but the loop
                    self.resident.add(page)
                    self.calls.append(Call(TOUCH, number, page - start, 1))

    def discard(self, base: int, size: int) -> None:
        """Discard the pages of a range: a call for each mapping in it."""
        self._kernel.discard(base, size)
        end = base + round_up(size, PAGE_SIZE)
        for low, high, number, start in self._within(base, end):
            self.calls.append(Call(DISCARD, number, low - start, high - low))
        self.resident.difference_update(range(base, end, PAGE_SIZE))

    def _within(self, base: int, end: int) -> list[tuple[int, int, int, int]]:
        """Return the parts of a mapped range in each mapping: base, end, number of the mapping, its base."""
        pieces = self._pieces.items()[self._pieces.bisect_right(base) - 1 : self._pieces.bisect_left(end)]
        return [(max(piece, base), min(until, end), number, start) for piece, (until, number, start) in pieces]


def seen_by(design: Design) -> tuple[Design, Callable[[], BufferRecorder]]:
    """Return the design with a recorder in front of its space, and a function that returns the recorder after a replay."""
    made: list[BufferRecorder] = []

    def make_space(state: KernelState, kernel: KernelMap, limit: int, **settings: object) -> BufferRecorder:
        space = adapted(design.make_space(state, kernel, limit, **settings), kernel, limit=limit)
        made.append((PerCpuRecorder if isinstance(space, PerCpu) else BufferRecorder)(space, kernel.base))
        return made[-1]

    return attrs.evolve(design, make_space=make_space), lambda: made[-1]


def asks_seen(design: Design) -> tuple[Design, Callable[[], SourceRecorder]]:
    """Return the design with a recorder between it and its kernel map, and a function that returns the recorder.

    The recorder stands before the map for whatever is made up for the design, too, such as touching pages.
    """
    made: list[SourceRecorder] = []

    def make_space(state: KernelState, kernel: KernelMap, limit: int, **settings: object) -> FullSpace:
        made.append(SourceRecorder(kernel))
        return adapted(design.make_space(state, made[-1], limit, **settings), made[-1], limit=limit)

    return attrs.evolve(design, make_space=make_space), lambda: made[-1]
