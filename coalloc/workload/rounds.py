"""Rounds of a long transfer, in which a reader drains a buffer and a writer fills it again: most need not be run.

A write of 2 GiB takes 131,072 rounds through a buffer of 16 KiB.  Where many rounds in a row have moved the same bytes and
changed all counters by the same amounts, those that follow are counted instead of run, as if each did the same again.  On
FreeBSD's pipes this is exact, since a round touches nothing but the buffer.  On Linux's, each round takes pages from the space
and gives them back; the count is exact where the space has settled, and an extrapolation where it has not.

A later transfer whose first rounds are like those that were counted last is counted at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import attrs

from coalloc.pipes.protocol import PipeCounters
from coalloc.space.protocol import SpaceStats
from coalloc.vm.kernelmap import MapCounters

__all__ = ["Figures", "Rounds"]

_RUN: Final = 64
"""So many rounds of a transfer are always run."""
_ALIKE: Final = 32
"""So many rounds in a row have to be alike before others are counted."""
_LEVELS: Final = frozenset({
    "pipes", "kva_used", "entries", "mapped", "resident", "live", "cached", "free", "largest_hole", "holes", "arenas",
    "knows_holes",
})  # fmt: skip
"""The figures that are no counts; they must not change in a round."""

_Counters = TypeVar("_Counters", PipeCounters, MapCounters, SpaceStats)


@attrs.frozen
class Figures:
    """All counters of a replay."""

    pipes: PipeCounters
    map: MapCounters
    space: SpaceStats


class Rounds:
    """Watch the rounds of transfers.

    Args:
        look: Returns the counters as they are now.

    Attributes:
        counted: How many rounds were counted instead of run.
    """

    def __init__(self, look: Callable[[], Figures]) -> None:
        self._look = look
        self._known: tuple[int, int, dict[tuple[type, str], int]] | None = None
        self._more: dict[tuple[type, str], int] = {}
        self.counted = 0
        self.begin()

    def begin(self) -> None:
        """Begin with the first round of a transfer."""
        self._done = self._alike = 0
        self._from = 0 if self._known is not None else _RUN
        self._last: tuple[int, int, Figures] | None = None
        self._change: tuple[int, int, dict[tuple[type, str], int]] | None = None

    def leap(self, to_read: int, to_write: int) -> int:
        """Note that a round is over, and return how many bytes more are moved by rounds that are only counted.

        Args:
            to_read: Bytes that are still to be read.
            to_write: Bytes that are still to be written.
        """
        self._done += 1
        if self._done < self._from:
            return 0
        now = to_read, to_write, self._look()
        last, self._last = self._last, now
        if last is None:
            return 0
        change = last[0] - to_read, last[1] - to_write, _difference(last[2], now[2])
        self._alike = self._alike + 1 if change == self._change else 0
        self._change = change
        size = change[0]
        if self._known is not None and change != self._known:
            self._known = None
            self._from = max(_RUN, self._done)
        levels = any(name in _LEVELS for _, name in change[2])
        if (self._alike < _ALIKE and self._known is None) or levels or not 0 < size == change[1]:
            if self._done > self._from + 2 * _ALIKE:  # looking takes time: look again after as many rounds
                self._from, self._last = 2 * self._done, None
            return 0
        rounds = min(to_read, to_write) // size - 1
        if rounds <= 0:
            return 0
        self._known = change
        for key, more in change[2].items():
            self._more[key] = self._more.get(key, 0) + rounds * more
        self.counted += rounds
        self.begin()
        return rounds * size

    def total(self, counters: _Counters) -> _Counters:
        """Return counters with those of the rounds that were counted."""
        kind = type(counters)
        more = {name: getattr(counters, name) + n for (of, name), n in self._more.items() if of is kind}
        return attrs.evolve(counters, **more) if more else counters


def _difference(before: Figures, after: Figures) -> dict[tuple[type, str], int]:
    """Return by how much each figure has changed, of those that have."""
    changed = {}
    for old, new in ((before.pipes, after.pipes), (before.map, after.map), (before.space, after.space)):
        if old != new:
            for field in attrs.fields(type(new)):
                by = getattr(new, field.name) - getattr(old, field.name)
                if by:
                    changed[type(new), field.name] = by
    return changed
