"""`WatchedSource`: a source that records map and unmap calls, fails on demand, and reports misuse (P12, P17)."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

import attrs

from coalloc.errors import NoSpaceError
from coalloc.testing.properties import Breach, Property

__all__ = ["MAX_CALLS", "Event", "Order", "WatchedSource"]

MAX_CALLS: Final = 200
"""The most map calls of one operation; an operation with more of them would go on until the source is exhausted (P17)."""


@attrs.frozen
class Event:
    """An arena was mapped or unmapped; base and size are in bytes."""

    mapped: bool
    base: int
    size: int

    def holds(self, address: int) -> bool:
        """Tell whether an address lies in the arena."""
        return self.base <= address < self.base + self.size


class Order(enum.Enum):
    """Where a source puts the ranges that it maps."""

    UP = "up"
    """At the lowest address where there is room."""
    DOWN = "down"
    """At the highest."""
    APART = "apart"
    """At the lowest that leaves a granule to every other range."""
    MIXED = "mixed"
    """At the highest and in the middle by turns."""


class WatchedSource:
    """Map ranges, by first fit unless told otherwise, and record what the allocator does.

    Args:
        base: First address, a multiple of the granule.
        size: Bytes, a multiple of the granule.
        granule: The base and size of every range are multiples of it.
        order: Where ranges come to lie; see :class:`Order`.

    Attributes:
        pressure: Called in the middle of every map call, as a handler of memory pressure is; None calls nobody.
        meanwhile: Called once, in the middle of the next map call.
        events: The ranges that were mapped and unmapped since the list was last cleared.
        starve: Make the n-th map call from now fail; 0 makes none fail.
        starved: Whether a call was made to fail, or announced to fail, since this was last cleared.
        refused: Whether a call failed since this was last cleared.
        map_calls: Map calls so far, failed ones included.
        breach: The first misuse that was seen.
        refusal: The error of the last map call that failed; its figures are those of the source.

    >>> source = WatchedSource(base=0, size=16384)
    >>> source.map(5000), source.map(4096), source.available()
    (0, 8192, 4096)
    """

    def __init__(self, *, base: int = 0, size: int, granule: int = 4096, order: Order = Order.UP) -> None:
        self.order = order
        self.pressure: Callable[[], object] | None = None
        self.meanwhile: Callable[[], object] | None = None
        self.base = base
        self.size = size
        self.unit = granule
        """The granule, for those who watch."""
        self.granule_asked = False
        """Whether anybody has asked for the granule."""
        self.events: list[Event] = []
        self.starve = 0
        self.starved = False
        self.refused = False
        self.map_calls = 0
        self.calls_left = MAX_CALLS
        self.breach: Breach | None = None
        self.refusal: NoSpaceError | None = None
        self._ranges: dict[int, int] = {}

    # --- the source ----------------------------------------------------------------------------------

    @property
    def granule(self) -> int:
        """The base and size of every range are multiples of it."""
        self.granule_asked = True
        return self.unit

    def map(self, size: int) -> int:
        """Map at the lowest address where there is room.

        Raises:
            NoSpaceError: If there is no room, or the call was told to fail.
            Breach: If the size is not a positive int, or one operation makes more than MAX_CALLS calls.
        """
        self.map_calls += 1
        self.calls_left -= 1
        if self.calls_left < 0:
            raise self._misused(Property.P17, f"one operation asks the source for more than {MAX_CALLS} arenas")
        if type(size) is not int or size <= 0:
            raise self._misused(Property.P12, f"the source is asked to map {size!r} bytes")
        size += -size % self.unit
        if self.pressure is not None:
            handler, self.pressure = self.pressure, None  # it is not called while it runs
            try:
                handler()
            finally:
                self.pressure = handler
        if self.meanwhile is not None:
            once, self.meanwhile = self.meanwhile, None
            once()
        base = -1 if self.starve == 1 else self._room(size)
        self.starved = self.starved or self.starve == 1
        self.starve = max(self.starve - 1, 0)
        if base < 0:
            self.refused = True
            self.refusal = NoSpaceError(
                size,
                free=self.size - self.mapped,
                largest_hole=self.largest_gap(self._ranges),
                mapped=self.mapped,
                kva_limit=self.size,
            )
            raise self.refusal
        self._ranges[base] = size
        self.events.append(Event(True, base, size))
        return base

    def adopt(self, base: int, size: int) -> None:
        """Enter a range that another source has mapped at a place that it chose by the same rules."""
        self.map_calls += 1
        self.starve = max(self.starve - 1, 0)
        self._ranges[base] = size
        self.events.append(Event(True, base, size))

    def unmap(self, base: int, size: int) -> None:
        """Unmap a range, which must be the whole of one that was mapped.

        Raises:
            Breach: If it is not.
        """
        whole = self._ranges.get(base) if type(base) is int else None
        if whole is None:
            raise self._misused(Property.P12, f"{base!r} is unmapped, where no arena begins")
        if type(size) is not int or size + -size % self.unit != whole:
            raise self._misused(Property.P12, f"the arena {base:#x}+{whole} is unmapped as one of {size!r} bytes")
        del self._ranges[base]
        self.events.append(Event(False, base, whole))

    def touch(self, base: int, size: int) -> None:
        """Check that a range is mapped.

        Raises:
            Breach: If it is not.
        """
        if not self.maps(base, size):
            raise self._misused(Property.P12, f"{base!r}+{size!r} is accessed, and not mapped")

    def discard(self, base: int, size: int) -> None:
        """Check that a range is mapped, as :meth:`touch` does."""
        self.touch(base, size)

    def maps(self, base: int, size: int) -> bool:
        """Tell whether a range lies in mapped arenas; it may cross from one arena into its neighbour."""
        at, end = base, base + size
        while at < end:
            inside = [start + length for start, length in self._ranges.items() if start <= at < start + length]
            if not inside:
                return False
            at = inside[0]
        return size > 0

    def available(self) -> int:
        """Return the size of the largest range that could be mapped now, or 0 if the next call is going to fail."""
        if self.starve == 1:
            self.starved = True
            return 0
        return self.largest_gap(self._ranges)

    # --- for who watches -------------------------------------------------------------------------------

    @property
    def mapped(self) -> int:
        """Bytes mapped."""
        return sum(self._ranges.values())

    @property
    def ranges(self) -> dict[int, int]:
        """Size of every mapped range by its base; a copy."""
        return dict(self._ranges)

    def largest_gap(self, ranges: dict[int, int]) -> int:
        """Return the size of the largest gap if exactly these ranges were mapped."""
        return max((size for _, size in self._gaps(ranges)), default=0)

    def _gaps(self, ranges: dict[int, int]) -> list[tuple[int, int]]:
        """Return what could be mapped beside these ranges; with Order.APART no range touches another."""
        beside = self.unit if self.order is Order.APART else 0
        at, gaps = self.base, []
        for start, length in sorted(ranges.items()):
            if start - beside > at:
                gaps.append((at, start - beside - at))
            at = start + length + beside
        if at < self.base + self.size:
            gaps.append((at, self.base + self.size - at))
        return gaps

    def _room(self, size: int) -> int:
        fits = [(base, length) for base, length in self._gaps(self._ranges) if length >= size]
        if not fits:
            return -1
        if self.order is Order.DOWN or (self.order is Order.MIXED and self.map_calls % 2):
            return sum(fits[-1]) - size
        if self.order is Order.MIXED:
            base, length = fits[len(fits) // 2]
            return base + (length - size) // (2 * self.unit) * self.unit
        return fits[0][0]

    def _misused(self, broken: Property, message: str) -> Breach:
        breach = Breach(broken, message)
        self.breach = self.breach or breach
        return breach
