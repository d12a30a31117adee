"""The oracle: one cell per quantum, every answer by brute force; the specification that other designs are held to.

It shares plain data with them (enums, errors, frozen values) and no helper, so that one bug cannot stand on both sides of
a comparison.  Nothing here is fast, and nothing is clever: a hole is what a scan over the cells finds, the place for a
request is found by trying every quantum.

A cell is free (None) or belongs to the buffer whose base it holds; a cached buffer keeps its cells and is listed as cached.
The holes' ages, which BEST, INSTANT and CLASS_BEST go by, come from comparing the holes before and after every change.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice

from coalloc.contract import (
    EAGER,
    NEVER,
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
    Explanation,
    FreeFault,
    HoleVerdict,
    InvalidRequestError,
    InvariantViolation,
    NoSpaceError,
    Remedy,
    Rule,
    SpanOverlapError,
    Violation,
)
from coalloc.extent import Extent
from coalloc.space.protocol import Kind, Segment, SpaceStats

__all__ = ["CellSpace"]

_TOP = 2**64 - 1


class CellSpace:
    """Hand out ranges by brute force.

    Args:
        size: Bytes of the first arena; 0 for none, with arenas entered by :meth:`enter_arena`.
        base: Where it starts.
        quantum: Bytes of a cell, a power of two; base and size are multiples of it.
        fit: Which hole wins in ``alloc`` and ``xalloc``; :meth:`choose` answers for any.
        geometry: Whether any free range may be a hole, or buddies' blocks only.

    Raises:
        InvalidRequestError: For an argument outside its range.

    Complexity:
        O(cells) or worse, everywhere.

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
        if type(size) is not int or size < 0 or size % quantum:
            raise InvalidRequestError("size", size, f"must be a multiple of the quantum {quantum}, and not negative")
        if type(base) is not int or base < 0 or base % quantum:
            raise InvalidRequestError("base", base, f"must be a multiple of the quantum {quantum}, and not negative")
        self.quantum = quantum
        self.fit = fit
        self.geometry = geometry
        self.cursor = 0
        self._owner: dict[int, int | None] = {}
        self._arenas: list[tuple[int, int]] = []
        self._cached: list[int] = []
        self._handed_out: set[int] = set()
        self._born: dict[tuple[int, int], int] = {}
        self._clock = 0
        self._runs: list[tuple[int, int | None, int, int]] = []  # what a walk over the cells finds
        self._shown: tuple[Segment, ...] | None = None  # the segments, until something changes
        self._allocs = 0
        self._frees = 0
        self._in_place = 0
        self._moved = 0
        self._refusals = 0
        if size:
            self.enter_arena(base, size)

    # --- arenas and cached buffers, as told by whoever drives the oracle -----------------------------

    def enter_arena(self, base: int, size: int) -> None:
        """Add an arena, wholly free.

        Raises:
            SpanOverlapError: If it overlaps another.
        """
        for cell in range(base, base + size, self.quantum):
            if cell in self._owner:
                raise SpanOverlapError((base, size), None, "overlaps an arena")
        for cell in range(base, base + size, self.quantum):
            self._owner[cell] = None
        self._arenas = sorted([*self._arenas, (base, size)])
        self._age()

    def leave_arena(self, base: int, size: int) -> None:
        """Take away an arena.

        Raises:
            SpanOverlapError: If it is no arena of that size, or not wholly free.
        """
        if (base, size) not in self._arenas:
            raise SpanOverlapError((base, size), None, "is no arena")
        if any(self._owner[cell] is not None for cell in range(base, base + size, self.quantum)):
            raise SpanOverlapError((base, size), None, "is not wholly free")
        for cell in range(base, base + size, self.quantum):
            del self._owner[cell]
        self._arenas.remove((base, size))
        self._age()

    def park(self, base: int) -> None:
        """Mark a live buffer as cached: freed by its owner, but not in any hole."""
        self._require_live(base)
        self._shown = None
        self._cached.append(base)
        self._frees += 1

    def unpark(self, base: int) -> None:
        """Mark a cached buffer as live again."""
        self._shown = None
        self._cached.remove(base)
        self._allocs += 1

    def drop(self, base: int) -> None:
        """Give a cached buffer's cells back."""
        self._cached.remove(base)
        self._give(base)

    # --- the specification ---------------------------------------------------------------------------

    def holes(self) -> list[tuple[int, int]]:
        """Return base and size of every hole, by address: maximal free ranges inside one arena, or maximal free blocks."""
        return list(self._born)

    @property
    def ages(self) -> list[int]:
        """When each hole was born, in the order of :meth:`holes`."""
        return list(self._born.values())

    @property
    def cached(self) -> list[int]:
        """Bases of the cached buffers, in the order in which they were parked."""
        return list(self._cached)

    def _scan(self) -> list[tuple[int, int]]:
        """Find the maximal free ranges by looking at every cell."""
        return [(base, size) for _, owner, base, size in self._runs if owner is None]

    def _walk(self) -> Iterator[tuple[int, int | None, int, int]]:
        """Yield the arena, owner, base and size of each longest run of cells that have one owner, or none."""
        for arena, length in self._arenas:
            at = arena
            for owner, cells in groupby(map(self._owner.__getitem__, range(arena, arena + length, self.quantum))):
                size = len(list(cells)) * self.quantum
                yield arena, owner, at, size
                at += size

    def _blocks(self) -> list[tuple[int, int]]:
        """Find the largest free blocks of a power of two of cells, each aligned to its size within its arena."""
        found = []
        for start, size in self._scan():
            arena = max(base for base, _ in self._arenas if base <= start)
            end = start + size
            while start < end:
                block = self.quantum
                while (start - arena) % (2 * block) == 0 and start + 2 * block <= end:
                    block *= 2
                found.append((start, block))
                start += block
        return found

    def places(
        self, size: int, *, align: int = 0, phase: int = 0, nocross: int = 0, lo: int = 0, hi: int = _TOP
    ) -> list[int]:
        """Return every address at which a request could lie, ascending: each quantum of each hole is tried."""
        size = self._round(size)
        return [at for hole in self.holes() for at in self._places_in(hole, size, align, phase, nocross, lo, hi)]

    def _places_in(
        self,
        hole: tuple[int, int],
        size: int,
        align: int = 0,
        phase: int = 0,
        nocross: int = 0,
        lo: int = 0,
        hi: int = _TOP,
    ) -> Iterator[int]:
        """Yield the places in one hole, ascending."""
        base, length = hole
        for start in range(base, base + length - size + 1, self.quantum):
            last = start + size - 1
            if align and start % align != phase:
                continue
            if nocross and any(at % nocross == 0 for at in range(start + self.quantum, last + 1, self.quantum)):
                continue
            if lo <= start and last <= hi:
                yield start

    def choose(
        self, size: int, fit: Fit, *, align: int = 0, phase: int = 0, nocross: int = 0, lo: int = 0, hi: int = _TOP
    ) -> int | None:
        """Return the address that a fit picks for a request, or None where no place admits it.

        BEST takes the newest of the smallest holes; :meth:`choices` answers for other ties.
        """
        lowest = self._lowest(size, align=align, phase=phase, nocross=nocross, lo=lo, hi=hi)
        return self._pick(lowest, self._round(size), fit) if lowest else None

    def choices(
        self,
        size: int,
        fit: Fit | None,
        *,
        tie: Tie | None = None,
        ages_known: bool = True,
        align: int = 0,
        phase: int = 0,
        nocross: int = 0,
        lo: int = 0,
        hi: int = _TOP,
    ) -> list[int]:
        """Return every address that a fit allows for a request: one where it decides, several where it leaves a choice.

        Args:
            size: Bytes.
            fit: Which hole wins; None allows every place.
            tie: Which of several smallest holes BEST takes; None allows each.
            ages_known: Whether the holes' ages are those of the space that is judged.
            align: As for ``xalloc``.
            phase: As for ``xalloc``.
            nocross: As for ``xalloc``.
            lo: As for ``xalloc``.
            hi: As for ``xalloc``.
        """
        if fit is None:
            return self.places(size, align=align, phase=phase, nocross=nocross, lo=lo, hi=hi)
        size = self._round(size)
        lowest = self._lowest(size, align=align, phase=phase, nocross=nocross, lo=lo, hi=hi)
        if not lowest:
            return []
        if fit is Fit.BEST and not (tie is Tie.NEWEST and ages_known):
            smallest = min(length for _, length in lowest)
            ties = [place for hole, place in sorted(lowest.items()) if hole[1] == smallest]
            return ties[:1] if tie is Tie.LOWEST else ties
        if fit is Fit.CLASS_BEST and not ages_known:
            group = min(self._class(length) for _, length in lowest)
            return [place for hole, place in sorted(lowest.items()) if self._class(hole[1]) == group]
        if fit is Fit.INSTANT and not ages_known:
            return sorted(lowest.values())
        return [self._pick(lowest, size, fit)]

    def _lowest(self, size: int, **bounds: int) -> dict[tuple[int, int], int]:
        """Return for every hole that admits a request the lowest place in it."""
        size = self._round(size)
        return {hole: place for hole in self._born for place in islice(self._places_in(hole, size, **bounds), 1)}

    def _pick(self, lowest: dict[tuple[int, int], int], size: int, fit: Fit) -> int:
        """Return the place that a fit picks, given the lowest place in every hole that admits the request."""
        if fit is Fit.FIRST:
            return lowest[min(lowest)]
        if fit is Fit.NEXT:
            ahead = [hole for hole in lowest if hole[0] >= self.cursor]
            return lowest[min(ahead or lowest)]
        if fit is Fit.BEST:
            smallest = min(length for _, length in lowest)
            return lowest[max((hole for hole in lowest if hole[1] == smallest), key=self._born.__getitem__)]
        if fit is Fit.INSTANT:
            for group in sorted({self._class(length) for _, length in self.holes()}):
                members = [hole for hole in self.holes() if self._class(hole[1]) == group]
                floor = group + 1 if group < 31 else 2 ** (group - 26)  # quanta of the smallest member there can be
                newest = max(members, key=self._born.__getitem__)
                if floor * self.quantum >= size and newest in lowest:
                    return lowest[newest]
        return lowest[max(lowest, key=lambda hole: (-self._class(hole[1]), self._born[hole]))]

    def _class(self, size: int) -> int:
        """Return a size's class: one for each number of quanta up to 32, then one for each doubling."""
        quanta, group = size // self.quantum, 31
        if quanta < 32:
            return quanta - 1
        while quanta >= 64:
            quanta //= 2
            group += 1
        return group

    def _age(self) -> None:
        """Give every hole that was not there before, with these bounds, a later birth than all others."""
        self._runs = list(self._walk())
        self._shown = None
        born = {}
        for hole in self._blocks() if self.geometry is Geometry.BUDDY else self._scan():
            if hole not in self._born:
                self._clock += 1
            born[hole] = self._born.get(hole, self._clock)
        self._born = born

    # --- the space -----------------------------------------------------------------------------------

    @property
    def contract(self) -> Contract:
        """Everything, exactly, from one fixed range."""
        return Contract(
            fit=self.fit,
            completeness=Completeness.EXACT,
            coalescing=Coalescing.IMMEDIATE,
            release=NEVER if self._arenas else EAGER,
            constraints=frozenset(Constraint),
            resize=Resize.IN_PLACE,
            tie=Tie.NEWEST,
            geometry=self.geometry,
        )

    @property
    def kva_limit(self) -> int:
        """Bytes of all arenas: they are all it will ever have by itself."""
        return sum(size for _, size in self._arenas)

    def alloc(self, size: int) -> int:
        """Hand out ``size`` bytes, rounded up to the quantum, where the fit says.

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
        self._require_legal(size, align, phase, nocross, lo, hi)
        place = self.choose(size, self.fit, align=align, phase=phase, nocross=nocross, lo=lo, hi=hi)
        if place is None:
            self._refusals += 1
            raise self._refusal(size, {"lo": lo}, {"hi": hi}, {"align": align, "phase": phase}, {"nocross": nocross})
        self.put(place, size)
        self.cursor = place + size
        return place

    def put(self, base: int, size: int) -> None:
        """Hand out exactly this range, which must lie in one hole.

        Raises:
            SpanOverlapError: If it does not.
        """
        if not any(start <= base and base + size <= start + length for start, length in self.holes()):
            raise SpanOverlapError((base, size), None, "does not lie in one hole")
        for cell in range(base, base + size, self.quantum):
            self._owner[cell] = base
        self._handed_out.add(base)
        self._allocs += 1
        self._age()

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
        self._require_live(base)
        self._frees += 1
        self._give(base)

    def _give(self, base: int) -> None:
        for cell in self._cells(base):
            self._owner[cell] = None
        self._age()

    def resize(self, base: int, size: int) -> int:
        """Change a buffer's size, in place if the cells behind it are free and in the same arena, else by moving it.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer.
            InvalidRequestError: For a size that is not an int in 1 .. 2**63.
            NoSpaceError: If there is no place; the buffer stays.
        """
        self._require_live(base)
        size = self._round(size)
        old = self._cells(base)
        arena_end = next(start + length for start, length in self._arenas if start <= base < start + length)
        wanted = range(base, base + size, self.quantum)
        if len(wanted) == len(old):
            return base
        if base + size <= arena_end and all(self._owner[cell] in (None, base) for cell in wanted):
            for cell in old:
                self._owner[cell] = None
            for cell in wanted:
                self._owner[cell] = base
            self._age()
            self._in_place += 1
            return base
        moved = self.alloc(size)
        self.free(base)
        self._moved += 1
        return moved

    def size_of(self, base: int) -> int:
        """Return the size of the live buffer at ``base``.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer.
        """
        self._require_live(base)
        return len(self._cells(base)) * self.quantum

    def touch(self, base: int, size: int) -> None:
        """Do nothing: cells have no pages."""

    def discard(self, base: int, size: int) -> None:
        """Do nothing: cells have no pages."""

    def reclaim(self) -> int:
        """Return 0: the range is fixed."""
        return 0

    def segments(self) -> tuple[Segment, ...]:
        """Return all segments in address order."""
        if self._shown is None:
            self._shown = tuple(self._segments())
        return self._shown

    def _segments(self) -> Iterator[Segment]:
        holes = self.holes()
        for arena, owner, base, size in self._runs:
            if owner is None:  # one hole, or several blocks
                yield from (Segment(at, length, Kind.FREE, arena) for at, length in holes if base <= at < base + size)
            else:
                yield Segment(base, size, Kind.CACHED if owner in self._cached else Kind.BUSY, arena)

    def stats(self) -> SpaceStats:
        """Return the figures; the searches are not counted."""
        sizes = {kind: sum(s.size for s in self.segments() if s.kind is kind) for kind in Kind}
        holes = self.holes()
        return SpaceStats(
            mapped=self.kva_limit,
            peak_mapped=self.kva_limit,
            live=sizes[Kind.BUSY],
            cached=sizes[Kind.CACHED],
            free=sizes[Kind.FREE],
            largest_hole=max((length for _, length in holes), default=0),
            holes=len(holes),
            arenas=len(self._arenas),
            allocs=self._allocs,
            frees=self._frees,
            resizes_in_place=self._in_place,
            resizes_moved=self._moved,
            refusals=self._refusals,
        )

    def render(self, width: int = 64) -> str:
        """Draw every arena, one character per cell, ``width`` cells a line."""
        lines = []
        for base, size in self._arenas:
            row = ""
            for cell in range(base, base + size, self.quantum):
                owner = self._owner[cell]
                row += "." if owner is None else "c" if owner in self._cached else "#"
            lines += [f"{base + at * self.quantum:#x} |{row[at : at + width]}|" for at in range(0, len(row), width)]
        return "\n".join(lines) or "no arena is mapped"

    def violations(self) -> tuple[Violation, ...]:
        """Return what is wrong with the cells: a buffer whose cells are not one run from its base."""
        owners = list(self._owner.values())
        return tuple(
            Violation("I1", f"the cells of {owner:#x} are not one run")
            for owner in sorted({owner for owner in owners if owner is not None})
            if len(self._cells(owner)) != owners.count(owner)
        )

    def check(self) -> None:
        """Raise InvariantViolation if ``violations()`` finds any."""
        found = self.violations()
        if found:
            raise InvariantViolation(found, self.render())

    # --- small print ---------------------------------------------------------------------------------

    def _cells(self, base: int) -> list[int]:
        cells: list[int] = []
        while self._owner.get(base + len(cells) * self.quantum) == base:
            cells.append(base + len(cells) * self.quantum)
        return cells

    def _round(self, size: int) -> int:
        if type(size) is not int or not 1 <= size <= 2**63:
            raise InvalidRequestError("size", size, "must be an int in 1 .. 2**63")
        size += -size % self.quantum
        if self.geometry is Geometry.BUDDY:
            block = self.quantum
            while block < size:
                block *= 2
            return block
        return size

    def _require_legal(self, size: int, align: int, phase: int, nocross: int, lo: int, hi: int) -> None:
        for what, value in (("align", align), ("phase", phase), ("nocross", nocross), ("lo", lo), ("hi", hi)):
            if type(value) is not int or not 0 <= value <= _TOP:
                raise InvalidRequestError(what, value, "must be an int in 0 .. 2**64 - 1")
        if align and align & (align - 1):
            raise InvalidRequestError("align", align, "must be a power of two, or 0 for none")
        if phase and (phase >= align or phase % self.quantum):
            raise InvalidRequestError("phase", phase, "must be a multiple of the quantum, and less than align")
        if nocross and (nocross & (nocross - 1) or nocross < size):
            raise InvalidRequestError("nocross", nocross, "must be a power of two, and at least the size")
        if lo > hi:
            raise InvalidRequestError("lo", lo, "must be at most hi")

    def _require_live(self, base: int) -> None:
        if type(base) is not int:
            raise InvalidRequestError("base", base, "must be an int")
        if self._owner.get(base) == base and base not in self._cached:
            return
        for owner in sorted({owner for owner in self._owner.values() if owner is not None}):
            size = len(self._cells(owner)) * self.quantum
            if owner < base < owner + size and owner not in self._cached:
                raise BadFreeError(base, FreeFault.INSIDE_BUFFER, (owner, size))
        raise BadFreeError(base, FreeFault.FREED_TWICE if base in self._handed_out else FreeFault.NEVER_ALLOCATED)

    def _refusal(self, size: int, *constraints: dict[str, int]) -> NoSpaceError:
        """Add one constraint after the other: the first that leaves no place in a hole has killed it."""
        holes = self.holes()
        rules = dict.fromkeys(holes, Rule.NOCROSS)
        bounds: dict[str, int] = {}
        for rule, more in zip((Rule.SIZE, Rule.LO, Rule.HI, Rule.ALIGN, Rule.NOCROSS), ({}, *constraints), strict=True):
            bounds |= more
            places = self.places(size, **bounds)
            for hole in [hole for hole in rules if not any(hole[0] <= place < hole[0] + hole[1] for place in places)]:
                if rules[hole] is Rule.NOCROSS:
                    rules[hole] = rule
        largest = max((length for _, length in holes), default=0)
        explanation = Explanation(
            size,
            tuple(HoleVerdict(base, length, rules[base, length]) for base, length in holes),
            "the oracle's range is fixed",
            (Remedy("size", largest),) if 0 < largest < size else (),
        )
        return NoSpaceError(
            size,
            free=sum(length for _, length in holes),
            largest_hole=largest,
            mapped=self.kva_limit,
            kva_limit=self.kva_limit,
            explain=lambda: explanation,
        )
