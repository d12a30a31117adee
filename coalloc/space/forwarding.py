"""`ForwardingSpace`: a space that passes every call on to another one, unless a subclass overrides it."""

from __future__ import annotations

from typing import Any

from coalloc.contract import Capability, Contract
from coalloc.errors import Violation
from coalloc.extent import Extent
from coalloc.space.protocol import Segment, SpaceSource, SpaceStats

__all__ = ["ForwardedCpu", "ForwardingSpace"]


class ForwardedCpu:
    """What a space in front of another one needs if that keeps something for each CPU: a base class beside its own."""

    below: Any

    @property
    def cpu(self) -> int:
        """The CPU on which the next calls are made."""
        return self.below.cpu  # type: ignore[no-any-return]

    @cpu.setter
    def cpu(self, number: int) -> None:
        self.below.cpu = number


class ForwardingSpace(SpaceSource):
    """Stand in front of a space: the base class of prototypes that change a few of its calls.

    It can do what the space below can.  A subclass that cannot do something of it any more says so by None: ``resize = None``.
    One that keeps something for each CPU has an attribute ``cpu``; whoever calls it says there on which CPU.

    Args:
        below: The space that serves the calls.

    >>> from coalloc import CoalescingSpace, KernelMap
    >>> class Doubles(ForwardingSpace):
    ...     def alloc(self, size):
    ...         return super().alloc(2 * size)
    >>> space = Doubles(CoalescingSpace(KernelMap(), kva_limit=1 << 23))
    >>> space.size_of(space.alloc(4096)), space.stats().live
    (8192, 8192)
    """

    def __init__(self, below: Any) -> None:
        self.below = below
        for name in (item.value for item in Capability if hasattr(ForwardingSpace, item.value)):
            inherited = getattr(type(self), name) is getattr(ForwardingSpace, name)
            if inherited and getattr(below, name, None) is None:
                setattr(self, name, None)  # what is not there below is not here either

    @property
    def contract(self) -> Contract:
        """The contract of the space below."""
        return self.below.contract  # type: ignore[no-any-return]

    @property
    def quantum(self) -> int:
        """That of the space below."""
        return self.below.quantum  # type: ignore[no-any-return]

    @property
    def kva_limit(self) -> int:
        """That of the space below."""
        return self.below.kva_limit  # type: ignore[no-any-return]

    def alloc(self, size: int) -> int:
        """Hand out ``size`` bytes from below."""
        return self.below.alloc(size)  # type: ignore[no-any-return]

    def free(self, base: int) -> None:
        """Free a buffer below."""
        self.below.free(base)

    def xalloc(self, size: int, **bounds: int) -> int:
        """Hand out a range that meets constraints, from below."""
        return self.below.xalloc(size, **bounds)  # type: ignore[no-any-return]

    def reserve(self, extent: Extent) -> None:
        """Hand out exactly this range, below."""
        self.below.reserve(extent)

    def resize(self, base: int, size: int) -> int:
        """Change the size of a buffer below."""
        return self.below.resize(base, size)  # type: ignore[no-any-return]

    def size_of(self, base: int) -> int:
        """Return the size of a live buffer below."""
        return self.below.size_of(base)  # type: ignore[no-any-return]

    def touch(self, base: int, size: int) -> None:
        """Access every page of a range."""
        self.below.touch(base, size)

    def discard(self, base: int, size: int) -> None:
        """Give back the pages of a range."""
        self.below.discard(base, size)

    def available(self) -> int:
        """Return a size that ``alloc`` would grant now."""
        return self.below.available()  # type: ignore[no-any-return]

    def reclaim(self) -> int:
        """Reclaim below; return how many bytes were unmapped."""
        return self.below.reclaim()  # type: ignore[no-any-return]

    def segments(self) -> tuple[Segment, ...]:
        """Return the segments of the space below."""
        return self.below.segments()  # type: ignore[no-any-return]

    def stats(self) -> SpaceStats:
        """Return the figures of the space below."""
        return self.below.stats()  # type: ignore[no-any-return]

    def render(self, width: int = 64) -> str:
        """Draw the space below."""
        return self.below.render(width)  # type: ignore[no-any-return]

    def violations(self) -> tuple[Violation, ...]:
        """Return every broken invariant of the space below."""
        return self.below.violations()  # type: ignore[no-any-return]
