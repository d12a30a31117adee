"""`CellSpace`: the specification :mod:`coalloc.spec` as a space of one fixed range; keeps I1.

Every answer comes from the specification.  This class adds the calls of a space and keeps the live buffers.  It shares no
helper with the other designs.
"""

from __future__ import annotations

from collections.abc import Iterator

from coalloc import spec
from coalloc.checked import Checked
from coalloc.contract import (
    EAGER,
    NEVER,
    Bounds,
    Coalescing,
    Completeness,
    Constraint,
    Contract,
    Fit,
    Geometry,
    Resize,
    Tie,
)
from coalloc.errors import (
    BadFreeError,
    Change,
    Explanation,
    FreeFault,
    HoleVerdict,
    InvalidRequestError,
    NoSpaceError,
    Remedy,
    SpanOverlapError,
    Violation,
)
from coalloc.extent import Extent
from coalloc.space.protocol import Kind, Segment, SpaceStats

__all__ = ["CellSpace"]

_TOP = 2**64 - 1


class CellSpace(Checked):
    """Hand out ranges as the specification says.

    Args:
        size: Bytes of the range, its only arena; 0 for no arena.
        base: First address of the range.
        quantum: Bytes of a quantum, a power of two; base and size are multiples of it.
        fit: The fit of ``alloc`` and ``xalloc``; :meth:`choose` answers for any fit.
        geometry: Whether any free range may be a hole, or only the blocks of buddies.

    Raises:
        InvalidRequestError: For an argument outside its range.

    Complexity:
        O(quanta) or worse, everywhere.

    >>> oracle = CellSpace(8, quantum=1)
    >>> a, b, c = oracle.alloc(2), oracle.alloc(3), oracle.alloc(1)
    >>> oracle.free(a)
    >>> {fit.name: oracle.choose(2, fit) for fit in (Fit.FIRST, Fit.NEXT)}
    {'FIRST': 0, 'NEXT': 6}
    """

    def __init__(
        self, size: int, *, base: int = 0, quantum: int = 4096, fit: Fit = Fit.FIRST, geometry: Geometry = Geometry.ANY
    ) -> None:
        if type(quantum) is not int or quantum < 1 or quantum & (quantum - 1):
            raise InvalidRequestError("quantum", quantum, "must be a power of two")
        for what, value in (("size", size), ("base", base)):
            if type(value) is not int or value < 0 or value % quantum:
                raise InvalidRequestError(what, value, f"must be a multiple of the quantum {quantum}, and not negative")
        self.quantum = quantum
        self.fit = fit
        self.geometry = geometry
        self.cursor = 0
        """The address from which NEXT searches."""
        self.state = spec.State(quantum, geometry)
        """The state of the specification: what is free."""
        if size:
            self.state = spec.enter(self.state, base, size)
        self._busy: dict[int, int] = {}
        self._freed: set[int] = set()
        self._allocs = self._in_place = self._moved = self._refusals = 0

    # --- the specification ---------------------------------------------------------------------------

    def holes(self) -> list[tuple[int, int]]:
        """Return base and size of every hole, by address."""
        return list(self.state.holes)

    def places(
        self, size: int, *, align: int = 0, phase: int = 0, nocross: int = 0, lo: int = 0, hi: int = _TOP
    ) -> list[int]:
        """Return every address at which a request could lie, ascending."""
        return spec.places(self.state, self._round(size), Bounds(align, phase, nocross, lo, hi))

    def choose(
        self, size: int, fit: Fit, *, align: int = 0, phase: int = 0, nocross: int = 0, lo: int = 0, hi: int = _TOP
    ) -> int | None:
        """Return the address that a fit picks for a request, or None if no place admits it; BEST takes the newest hole."""
        return self._choose(self._round(size), Bounds(align, phase, nocross, lo, hi), fit)

    def _choose(self, size: int, bounds: Bounds, fit: Fit) -> int | None:
        found = spec.choices(self.state, size, bounds, fit=fit, tie=Tie.NEWEST, cursor=self.cursor)
        return found[0] if found else None

    # --- the space -----------------------------------------------------------------------------------

    @property
    def contract(self) -> Contract:
        """The strongest contract, for one fixed range."""
        return Contract(
            fit=self.fit,
            completeness=Completeness.EXACT,
            coalescing=Coalescing.IMMEDIATE,
            release=NEVER if self.state.arenas else EAGER,
            constraints=frozenset(Constraint),
            resize=Resize.IN_PLACE,
            tie=Tie.NEWEST,
            geometry=self.geometry,
        )

    @property
    def kva_limit(self) -> int:
        """Bytes of the range, which never grows."""
        return self.state.mapped

    def alloc(self, size: int) -> int:
        """Hand out ``size`` bytes, as rounded, where the fit says.

        Raises:
            InvalidRequestError: For a size that is not an int in 1 .. 2**63.
            NoSpaceError: If no hole is large enough.
        """
        return self.xalloc(size)

    def xalloc(
        self, size: int, *, align: int = 0, phase: int = 0, nocross: int = 0, lo: int = 0, hi: int = _TOP
    ) -> int:
        """Hand out a range that meets constraints, where the fit says.

        Raises:
            InvalidRequestError: For an argument outside its range.
            NoSpaceError: If no place admits the request.
        """
        size = self._round(size)
        for what, value in (("align", align), ("phase", phase), ("nocross", nocross), ("lo", lo), ("hi", hi)):
            if type(value) is not int or not 0 <= value <= _TOP:
                raise InvalidRequestError(what, value, "must be an int in 0 .. 2**64 - 1")
        bounds = Bounds(align, phase, nocross, lo, hi)
        if not spec.lawful(size, bounds, self.quantum):
            raise InvalidRequestError("bounds", bounds, "do not keep the rules of vmem(9)")
        place = self._choose(size, bounds, self.fit)
        if place is None:
            self._refusals += 1
            raise self._refusal(size, bounds)
        self.put(place, size)
        self.cursor = place + size
        return place

    def put(self, base: int, size: int) -> None:
        """Hand out exactly this range, which must lie in one hole.

        Raises:
            SpanOverlapError: If it does not.
        """
        self.state = spec.take(self.state, base, size)
        self._busy[base] = size
        self._allocs += 1

    def reserve(self, extent: Extent) -> None:
        """Hand out exactly this range.

        Raises:
            InvalidRequestError: If its base or size is not a multiple of the quantum.
            SpanOverlapError: If it does not lie in one hole.
        """
        if extent.base % self.quantum or extent.size % self.quantum:
            raise InvalidRequestError("extent", str(extent), f"must be aligned to the quantum {self.quantum}")
        self.put(extent.base, extent.size)

    def free(self, base: int) -> None:
        """Take a buffer back.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer.
        """
        self.state = spec.give(self.state, base, self.size_of(base))
        del self._busy[base]
        self._freed.add(base)

    def resize(self, base: int, size: int) -> int:
        """Change a buffer's size: in place if the range behind it is free and in the same arena, else by moving it.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer.
            InvalidRequestError: For a size that is not an int in 1 .. 2**63.
            NoSpaceError: If there is no place; the buffer stays as it was.
        """
        old = self.size_of(base)
        size = self._round(size)
        if size == old:
            return base
        try:
            if size < old:
                self.state = spec.give(self.state, base + size, old - size)
            else:
                self.state = spec.take(self.state, base + old, size - old)
        except SpanOverlapError:
            moved = self.alloc(size)
            self.free(base)
            self._moved += 1
            return moved
        self._busy[base] = size
        self._in_place += 1
        return base

    def size_of(self, base: int) -> int:
        """Return the size of the live buffer at ``base``.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer.
        """
        if type(base) is not int:
            raise InvalidRequestError("base", base, "must be an int")
        if base not in self._busy:
            for start, size in self._busy.items():
                if start < base < start + size:
                    raise BadFreeError(base, FreeFault.INSIDE_BUFFER, (start, size))
            raise BadFreeError(base, FreeFault.FREED_TWICE if base in self._freed else FreeFault.NEVER_ALLOCATED)
        return self._busy[base]

    def touch(self, base: int, size: int) -> None:
        """Do nothing: there are no pages."""

    def discard(self, base: int, size: int) -> None:
        """Do nothing: there are no pages."""

    def reclaim(self) -> int:
        """Return 0: the range is fixed."""
        return 0

    def segments(self) -> tuple[Segment, ...]:
        """Return all segments in address order."""
        return tuple(sorted(self._segments(), key=lambda segment: segment.base))

    def _segments(self) -> Iterator[Segment]:
        for arena in self.state.arenas:
            yield from (Segment(base, size, Kind.FREE, arena.base) for base, size in spec.holes_in(self.state, arena))
            yield from (
                Segment(base, size, Kind.BUSY, arena.base) for base, size in self._busy.items()
            )  # there is one arena

    def stats(self) -> SpaceStats:
        """Return the figures; searches are not counted."""
        holes = [size for _, size in self.holes()]
        return SpaceStats(
            mapped=self.kva_limit,
            peak_mapped=self.kva_limit,
            live=sum(self._busy.values()),
            free=sum(holes),
            largest_hole=max(holes, default=0),
            holes=len(holes),
            arenas=len(self.state.arenas),
            allocs=self._allocs,
            frees=self._allocs - len(self._busy),
            resizes_in_place=self._in_place,
            resizes_moved=self._moved,
            refusals=self._refusals,
        )

    def render(self, width: int = 64) -> str:
        """Draw the range, one character per quantum, ``width`` quanta a line."""
        lines = []
        for arena in self.state.arenas:
            row = f"{arena.free:0{arena.size // self.quantum}b}"[::-1].translate({ord("0"): "#", ord("1"): "."})
            lines += [
                f"{arena.base + at * self.quantum:#x} |{row[at : at + width]}|" for at in range(0, len(row), width)
            ]
        return "\n".join(lines) or "no arena is mapped"

    def violations(self) -> tuple[Violation, ...]:
        """Return I1 if the busy and the free quanta do not make up the range."""
        segments = self.segments()
        at = {arena.base: arena.base for arena in self.state.arenas}
        for segment in segments:
            if at[segment.arena] != segment.base:
                return (Violation("I1", f"segment {segment.base:#x} does not begin where the one before it ends"),)
            at[segment.arena] = segment.end
        short = [arena for arena in self.state.arenas if at[arena.base] != arena.base + arena.size]
        return tuple(Violation("I1", f"the segments do not cover the arena {arena.base:#x}") for arena in short)

    # --- small print ---------------------------------------------------------------------------------

    def _round(self, size: int) -> int:
        if type(size) is not int or not 1 <= size <= 2**63:
            raise InvalidRequestError("size", size, "must be an int in 1 .. 2**63")
        return spec.footprint(size, self.quantum, self.geometry)

    def _refusal(self, size: int, bounds: Bounds) -> NoSpaceError:
        holes = self.holes()
        largest = max((length for _, length in holes), default=0)
        explanation = Explanation(
            size,
            tuple(HoleVerdict(*hole, spec.rule_against(self.state, hole, size, bounds)) for hole in holes),
            "the oracle's range is fixed",
            (Remedy(Change.SIZE, largest),) if 0 < largest < size else (),
        )
        return NoSpaceError(
            size,
            free=sum(length for _, length in holes),
            largest_hole=largest,
            mapped=self.kva_limit,
            kva_limit=self.kva_limit,
            explain=lambda: explanation,
        )
