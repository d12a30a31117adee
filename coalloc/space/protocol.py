"""`Space`: the protocol of every design, the frozen values that it reports, and how a space is the source of another."""

from __future__ import annotations

import enum
from typing import Final, Protocol, runtime_checkable

import attrs

from coalloc._html import preformatted
from coalloc.checked import Checkable, Checked
from coalloc.contract import Contract
from coalloc.errors import BadFreeError, InvalidRequestError
from coalloc.extent import Extent
from coalloc.space.placement import rounded
from coalloc.units import require_size

__all__ = [
    "Constrained",
    "ConstrainedSpace",
    "FullSpace",
    "Kind",
    "Observable",
    "Paged",
    "PerCpu",
    "Reclaimable",
    "Reservable",
    "Resizable",
    "Segment",
    "Space",
    "SpaceSource",
    "SpaceStats",
]


class Kind(enum.Enum):
    """The kind of a segment."""

    BUSY = "busy"
    CACHED = "cached"
    FREE = "free"


@attrs.frozen
class Segment:
    """A sub-range of an arena, in bytes; ``arena`` is the base of its arena."""

    base: int
    size: int
    kind: Kind
    arena: int

    @property
    def end(self) -> int:
        """First address behind the segment."""
        return self.base + self.size


@attrs.frozen
class SpaceStats:
    """What a space holds and the work that it has done; the figures are exact unless the contract says otherwise.

    ``mapped = live + cached + free`` (I7).  Sizes are bytes; the others are counts since the space was made:

    * ``allocs``, ``frees``: calls that succeeded, those inside a moving resize and ``reserve`` included;
    * ``cache_hits``: allocs served from the quantum cache; ``drained``: cached buffers given back to the holes;
    * ``holes_visited``: holes that searches looked at; ``coalesces``: how often two free neighbours were joined;
    * ``imports``, ``releases``: arenas taken from the source, given back to it;
    * ``resizes_in_place``, ``resizes_moved``: resizes that changed the size in place, or by a move;
    * ``refusals``: requests that ended in ExhaustionError;
    * ``knows_holes``: whether ``mapped``, ``free``, ``largest_hole`` and ``holes`` are known; an adapter may not know them.
    """

    mapped: int = 0
    live: int = 0
    cached: int = 0
    free: int = 0
    largest_hole: int = 0
    holes: int = 0
    arenas: int = 0
    peak_mapped: int = 0
    allocs: int = 0
    frees: int = 0
    cache_hits: int = 0
    drained: int = 0
    holes_visited: int = 0
    coalesces: int = 0
    imports: int = 0
    releases: int = 0
    resizes_in_place: int = 0
    resizes_moved: int = 0
    refusals: int = 0
    knows_holes: bool = True

    @property
    def external_fragmentation(self) -> float:
        """Share of the free bytes outside the largest hole: ``1 - largest_hole / free``, 0 where nothing is free."""
        return 1 - self.largest_hole / self.free if self.free else 0.0


class Space(Protocol):
    """A design that hands out address ranges; sizes and addresses are bytes.  All else that it can do is a capability."""

    @property
    def contract(self) -> Contract:
        """The contract that the design promises to keep."""

    @property
    def quantum(self) -> int:
        """Every base and size is a multiple of this power of two."""

    @property
    def kva_limit(self) -> int:
        """The most bytes that are ever mapped."""

    def alloc(self, size: int) -> int:
        """Hand out ``size`` bytes, rounded up to the quantum, and return the base.

        Raises:
            InvalidRequestError: For a size that is not an int in 1 .. 2**63.
            ExhaustionError: If there is no place.
        """

    def free(self, base: int) -> None:
        """Take a buffer back.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer.
        """

    def size_of(self, base: int) -> int:
        """Return the size of the live buffer at ``base``, as rounded.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer.
        """


# --- capabilities ------------------------------------------------------------------------------------------------


class Resizable(Protocol):
    """A space whose buffers can change their size."""

    def resize(self, base: int, size: int) -> int:
        """Change the size of a live buffer and return its base, which changes if the buffer has to move.

        Raises:
            BadFreeError: If ``base`` is not the base of a live buffer.
            InvalidRequestError: For a size that is not an int in 1 .. 2**63.
            ExhaustionError: If there is no place; the buffer stays as it was.
        """


class Paged(Protocol):
    """A space whose pages can be touched and given back."""

    def touch(self, base: int, size: int) -> None:
        """Access every page of a range that is mapped."""

    def discard(self, base: int, size: int) -> None:
        """Give back the pages of a range that is mapped."""


class Reclaimable(Protocol):
    """A space that can be told to give back what it keeps."""

    def reclaim(self) -> int:
        """Drain caches, release every wholly free arena, and return how many bytes were unmapped."""


class Observable(Protocol):
    """A space that shows what it holds."""

    def segments(self) -> tuple[Segment, ...]:
        """Return all segments in address order."""

    def stats(self) -> SpaceStats:
        """Return the figures as a frozen value."""

    def render(self, width: int = 64) -> str:
        """Draw the arenas as text."""


class Constrained(Protocol):
    """A space that honours vmem(9)'s constraints."""

    def xalloc(
        self, size: int, *, align: int = 0, phase: int = 0, nocross: int = 0, lo: int = 0, hi: int = 2**64 - 1
    ) -> int:
        """Hand out a range that meets constraints, and return its base.

        Args:
            size: Bytes, 1 .. 2**63, rounded up to the quantum.
            align: The base is ``phase`` behind a multiple of this power of two; 0 asks for none.
            phase: A multiple of the quantum below ``align``.
            nocross: The range crosses no multiple of this power of two, which is at least ``size``; 0 asks for none.
            lo: Lowest address the range may hold.
            hi: Highest address the range may hold (inclusive).

        Raises:
            InvalidRequestError: For an argument outside its range.
            ExhaustionError: If there is no place.
        """


class Reservable(Protocol):
    """A space that can hand out a range that the caller names."""

    def reserve(self, extent: Extent) -> None:
        """Hand out exactly this range of an arena that is mapped.

        Raises:
            InvalidRequestError: If its base or size is not a multiple of the quantum.
            SpanOverlapError: If it does not lie in one hole.
        """


@runtime_checkable
class PerCpu(Protocol):
    """A space with per-CPU parts, such as caches; the caller says on which CPU it calls."""

    cpu: int
    """The CPU on which the next calls are made, >= 0."""


def per_cpu(space: object, cpus: int) -> PerCpu | None:
    """Return a space if it keeps something for each CPU, on a machine of several; one whose CPUs share it does not.

    Args:
        space: The space; ``ncpus``, where it has that, says for how many CPUs it keeps something.
        cpus: CPUs of the machine, >= 1.
    """
    return space if cpus > 1 and isinstance(space, PerCpu) and getattr(space, "ncpus", cpus) > 1 else None


class FullSpace(Space, Resizable, Paged, Reclaimable, Observable, Checkable, Protocol):
    """What pipes, replay and scenarios ask of a space; :func:`coalloc.space.adapter.adapted` makes one of any allocator."""

    def check(self) -> None:
        """Raise InvariantViolation if ``violations()`` finds any."""


class ConstrainedSpace(FullSpace, Constrained, Protocol):
    """A space that can do all of that, and honours constraints."""


LEGEND: Final = "# busy   c cached   . free   + a mixture"
"""What the characters of ``render`` mean."""


class SpaceSource(Checked):
    """The mixin that makes a space a source: ``map`` allocates, and ``unmap`` frees a whole buffer."""

    __slots__ = ()

    @property
    def granule(self: _Sourceable) -> int:
        """The quantum."""
        return self.quantum

    def _repr_html_(self: _Sourceable) -> str:
        """Show the arenas in a notebook."""
        return preformatted(f"{type(self).__name__}\n{self.render()}\n{LEGEND}")

    def map(self: _Sourceable, size: int) -> int:
        """Allocate a range, which counts as mapped."""
        return self.alloc(size)

    def unmap(self: _Sourceable, base: int, size: int) -> None:
        """Free the buffer at ``base``, which must be of this size.

        Raises:
            BadFreeError: If it is not a live buffer.
            InvalidRequestError: If the buffer is of another size.
        """
        mapped = self.size_of(base)
        if rounded(require_size(size), self.quantum, self.contract.geometry) != mapped:
            raise InvalidRequestError("size", size, f"the buffer at {base:#x} has {mapped} bytes")
        self.free(base)

    def maps(self: _Sourceable, base: int, size: int) -> bool:
        """Tell whether the range lies in one live buffer.

        Complexity: O(1) where the range starts with the buffer, else O(n log n) in the segments.
        """
        try:
            return 0 < size <= self.size_of(base)
        except BadFreeError:
            busy = (segment for segment in self.segments() if segment.kind is Kind.BUSY)
            return size > 0 and any(segment.base <= base and base + size <= segment.end for segment in busy)


class _Sourceable(Protocol):
    """The members that SpaceSource needs of the class that it is mixed into."""

    @property
    def contract(self) -> Contract: ...

    @property
    def quantum(self) -> int: ...

    def alloc(self, size: int) -> int: ...

    def free(self, base: int) -> None: ...

    def size_of(self, base: int) -> int: ...

    def segments(self) -> tuple[Segment, ...]: ...

    def render(self, width: int = 64) -> str: ...
