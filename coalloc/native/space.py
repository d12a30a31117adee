"""`NativeSpace`: an allocator in C as a space; it has the capabilities for which the allocator has functions, and no others.

What a call returns becomes what a space does: a status of refusal is a plain MemoryError, since a status has no figures.  The
space refuses by itself only what no call in C can say, such as a size that is no number of 64 bits, and constraints outside the
ranges that coalloc.h gives.
"""

from __future__ import annotations

import struct
import weakref
from typing import Any, Final, NoReturn

import attrs

from coalloc.contract import Contract
from coalloc.errors import InvalidRequestError, SpanOverlapError
from coalloc.extent import Extent
from coalloc.native.host import Ask, Host, Status
from coalloc.space.protocol import Kind, Segment, SpaceStats
from coalloc.vm.source import Source

__all__ = ["NativeSpace", "NativeStats"]

_SEGMENT: Final = struct.Struct("=4Q")
_STATS: Final = (
    "mapped", "live", "cached", "free", "largest_hole", "holes", "arenas", "peak_mapped", "allocs", "frees", "imports",
    "releases", "refusals", "resizes_in_place", "resizes_moved",
)  # fmt: skip
_KINDS: Final = (Kind.BUSY, Kind.CACHED, Kind.FREE)
_OPTIONAL: Final = {
    "xalloc": "xalloc", "resize": "resize", "reserve": "reserve", "reclaim": "reclaim", "size_of": "size_of",
    "walk": "segments", "stats": "stats",
}  # fmt: skip
"""The method that an allocator without a function lacks."""
_TOP: Final = 2**64
_UNKNOWN: Final = _TOP - 1
_OF_HOLES: Final = frozenset({"mapped", "free", "largest_hole", "holes"})


@attrs.frozen(kw_only=True)
class NativeStats(SpaceStats):
    """The figures of an allocator in C; those that it does not count are 0, and named in ``unknown``."""

    unknown: frozenset[str] = frozenset()


class NativeSpace:
    """An allocator in C as a space.

    Args:
        host: The process.
        source: The source of its arenas.
        kva_limit: The most bytes that it may map.
        contract: What it promises.
        quantum: Every base and size is a multiple of it, bytes; None takes the source's granule.
        options: A text for the allocator.
    """

    def __init__(
        self,
        host: Host,
        source: Source,
        *,
        kva_limit: int,
        contract: Contract | None,
        quantum: int | None = None,
        options: str = "",
    ) -> None:
        self._host, self._source = host, source
        self.contract, self.kva_limit, self.quantum = contract, kva_limit, quantum or source.granule
        for function, method in _OPTIONAL.items():
            if function not in host.has:
                setattr(self, method, None)
        words = self.kva_limit, self.quantum, source.granule
        status, self._number, _ = host.call(Ask.OPEN, 0, words, payload=options.encode(), source=source)
        if status == Status.NOSPACE:
            raise MemoryError(f"{host.prefix}open returned COALLOC_NOSPACE")
        if status:
            raise InvalidRequestError(
                "quantum",
                self.quantum,
                f"{host.prefix}open returned {_named(status)}; another is set by TARGET:quantum=N",
            )
        self._finalizer = weakref.finalize(self, _dropped, host, self._number, source)

    def close(self) -> None:
        """Free what the allocator keeps for this space, which can do nothing afterwards; a second call does nothing.

        Raises:
            SubjectDied: If that ends the process, or memory is found to be damaged.
        """
        if self._finalizer.detach() and self._host.dead is None:
            self._host.call(Ask.CLOSE, self._number, source=self._source)

    def __deepcopy__(self, _memo: object) -> NoReturn:
        """Refuse: the allocator is in another process.

        Raises:
            TypeError: Always.
        """
        raise TypeError("an allocator in C cannot be copied")

    def __copy__(self) -> NoReturn:
        """Refuse, as a deep copy does."""
        self.__deepcopy__(None)

    def alloc(self, size: int) -> int:
        """Hand out ``size`` bytes.

        Raises:
            MemoryError: If there is no place.
            InvalidRequestError: If the size is none that a request may have.
        """
        return self._served(size, Ask.ALLOC, (_uint64(size, "size"),))

    def free(self, base: int) -> None:
        """Take a buffer back.

        Raises:
            ValueError: If the allocator says that ``base`` is not the base of a live buffer.
        """
        status, _, _ = self.ask(Ask.FREE, _address(base))
        self._check(status, base)

    def size_of(self, base: int) -> int:
        """Return the size of a live buffer.

        Raises:
            ValueError: If the allocator says that ``base`` is not the base of a live buffer.
        """
        status, size, _ = self.ask(Ask.SIZE_OF, _address(base))
        self._check(status, base)
        return size

    def xalloc(
        self, size: int, *, align: int = 0, phase: int = 0, nocross: int = 0, lo: int = 0, hi: int = _TOP - 1
    ) -> int:
        """Hand out a range that meets constraints.

        Raises:
            MemoryError: If there is no place.
            InvalidRequestError: If a constraint is outside the range that coalloc.h gives.
        """
        names = {"size": size, "align": align, "phase": phase, "nocross": nocross, "lo": lo, "hi": hi}
        words = tuple(_uint64(value, name) for name, value in names.items())
        for name, value in (("align", align), ("nocross", nocross)):
            if value & (value - 1):
                raise InvalidRequestError(name, value, "must be a power of two")
        if phase and phase >= align:
            raise InvalidRequestError("phase", phase, "must be less than align")
        if nocross and size > nocross:
            raise InvalidRequestError("nocross", nocross, "must be at least the size")
        if lo > hi:
            raise InvalidRequestError("lo", lo, "must be at most hi")
        return self._served(size, Ask.XALLOC, words)

    def resize(self, base: int, size: int) -> int:
        """Change the size of a buffer, and return its base.

        Raises:
            MemoryError: If there is no place.
            ValueError: If the allocator refuses the address or the size.
        """
        return self._served(size, Ask.RESIZE, (_address(base), _uint64(size, "size")), base)

    def reserve(self, extent: Extent) -> None:
        """Hand out exactly this range.

        Raises:
            SpanOverlapError: If the range does not lie in one hole.
        """
        status, _, _ = self.ask(Ask.RESERVE, extent.base, extent.size)
        if status:
            raise SpanOverlapError((extent.base, extent.size), None, f"{_named(status)}: it does not lie in one hole")

    def reclaim(self) -> int:
        """Give back what is kept, and return how many bytes were unmapped."""
        status, unmapped, _ = self.ask(Ask.RECLAIM)
        self._check(status, 0)
        return unmapped

    def segments(self) -> tuple[Segment, ...]:
        """Return all segments, as the allocator shows them.

        Raises:
            ValueError: If it shows one of a kind that there is not, or none at all of a size.
        """
        _, _, data = self.ask(Ask.WALK)
        shown = list(_SEGMENT.iter_unpack(data))
        for base, size, _, kind in shown:
            if kind >= len(_KINDS) or not size or base + size > _TOP:
                raise ValueError(f"walk shows a segment {base:#x}+{size} of kind {kind}")
        return tuple(Segment(base, size, _KINDS[kind], arena) for base, size, arena, kind in shown)

    def stats(self) -> SpaceStats:
        """Return the figures."""
        _, _, data = self.ask(Ask.STATS)
        said = dict(zip(_STATS, struct.unpack(f"={len(_STATS)}Q", data), strict=True))
        known = {name: value for name, value in said.items() if value != _UNKNOWN}
        unknown = frozenset(said.keys() - known.keys())
        return NativeStats(**known, unknown=unknown, knows_holes=unknown.isdisjoint(_OF_HOLES))

    def held(self) -> int:
        """Return the bytes that the allocator has of its process's memory, for all its spaces; 0 where nobody counts."""
        return self.ask(Ask.HELD)[1]

    # --- calls -------------------------------------------------------------------------------------------------------

    @property
    def functions(self) -> frozenset[str]:
        """The names of the functions that the allocator has, without their prefix."""
        return self._host.has

    def ask(self, ask: Ask, *arguments: int) -> tuple[int, int, bytes]:
        """Make a call as it is, and return its status, its first figure, and the bytes that follow."""
        return self._host.call(ask, self._number, arguments, source=self._source)

    def _served(self, size: int, ask: Ask, arguments: tuple[int, ...], base: int = 0) -> int:
        status, got, _ = self.ask(ask, *arguments)
        self._check(status, base, size)
        return got

    def _check(self, status: int, base: int, size: int = 0) -> None:
        """Raise what a status means."""
        if status == Status.OK:
            return
        if status == Status.NOSPACE:
            raise MemoryError(f"no place for {size} bytes")  # an ExhaustionError has figures, and a status has none
        if status == Status.BADFREE:
            raise ValueError(f"{base:#x} is not the base of a live buffer")
        if status == Status.INVALID:
            raise InvalidRequestError("size", size, "the allocator calls it invalid")
        raise RuntimeError(f"the status {status}, which coalloc.h does not know")


def _uint64(value: Any, name: str) -> int:  # noqa: ANN401 (the kit passes what is no number, too)
    if type(value) is not int or not 0 <= value < _TOP:
        raise InvalidRequestError(name, value, "must be an int that fits into uint64_t")
    return value


def _address(base: Any) -> int:  # noqa: ANN401 (likewise)
    if type(base) is not int or not 0 <= base < _TOP:
        raise ValueError(f"{base!r} is not the base of a live buffer")
    return base


def _named(status: int) -> str:
    return next((f"COALLOC_{member.name}" for member in Status if member == status), str(status))


def _dropped(host: Host, number: int, source: Source) -> None:
    """Close a space that nobody has any more; what goes wrong is told when the host is asked for next."""
    if host.dead is None:
        try:
            host.call(Ask.CLOSE, number, source=source)
        except Exception as error:
            host.untold = error
