"""The properties P1 to P21 that the kit checks, and :class:`Breach`, the report that one of them is broken."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from coalloc.errors import CoallocError

__all__ = ["Breach", "Property"]


class Property(enum.Enum):
    """A property that is checked; the value describes it in words."""

    P1 = "live buffers are disjoint"
    P2 = "a buffer is a range of the size asked for, inside one mapped arena"
    P3 = "alignment, phase, nocross, lo and hi are honoured"
    P4 = "bytes are conserved, and every figure equals its recount"
    P5 = "the free set is the canonical one for the declared coalescing"
    P6 = "freeing everything restores the initial state"
    P7 = "a request is refused only where the declared completeness allows"
    P8 = "the address is the one that the declared fit picks"
    P9 = "a call that fails changes nothing"
    P10 = "only the base of a live buffer can be freed, once"
    P11 = "the limit is kept, and can be reached"
    P12 = "arenas are mapped when needed, given back whole, and kept as the release rule says"
    P13 = "caches are drained and idle arenas released before a request is refused"
    P14 = "sizes and addresses at the ends of their ranges are dealt with"
    P15 = "equal programs give equal addresses"
    P16 = "figures and metrics obey their laws"
    P17 = "a call returns, and its steps stay within the declared growth"
    P18 = "resize keeps the buffer, in place where that is promised"
    P19 = "a sleeper is woken when its request can be met"
    P20 = "all of it holds under every interleaving"
    P21 = "shifted, scaled, reordered and restored programs give the same layout"


class Breach(CoallocError, AssertionError):  # noqa: N818 (what was found, not a mistake of the caller)
    """Report that a property is broken.

    Args:
        property: The property.
        message: The observed and the expected behaviour.
        at: Place and size of the request that it is about, where it was granted.
        expected: Where the specification would have put the request.

    Attributes:
        picture: The arenas with the request in them, as text; empty where nothing can be drawn.
    """

    def __init__(
        self,
        property: Property,  # noqa: A002 (the field's word)
        message: str,
        *,
        at: tuple[int, int] | None = None,
        expected: Sequence[int] = (),
    ) -> None:
        message = " ".join(message.split())  # what an allocator raised may have any form
        super().__init__(property, message)
        self.property = property
        self.message = message
        self.at = at
        self.expected = tuple(expected)
        self.picture = ""

    def __str__(self) -> str:
        return f"{self.property.name} ({self.property.value}): {self.message}"
