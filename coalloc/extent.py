"""`Extent`: a pure half-open range of addresses, [base, end), never empty."""

from __future__ import annotations

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.units import MAX_ADDRESS, require_size

__all__ = ["Extent"]


def _check_base(_instance: object, _attribute: object, value: int) -> None:
    if type(value) is not int or not 0 <= value <= MAX_ADDRESS:
        raise InvalidRequestError("base", value, "an int address in 0 .. 2**64 - 1 is needed")


def _check_size(instance: Extent, _attribute: object, value: int) -> None:
    if instance.base + require_size(value) > MAX_ADDRESS + 1:
        raise InvalidRequestError("size", value, f"the range from {instance.base:#x} would end above 2**64")


@attrs.frozen(order=True)
class Extent:
    """A range of addresses [base, end), in bytes; ordered by base, then size.

    Args:
        base: First address, 0 .. 2**64 - 1.
        size: Length in bytes, 1 .. 2**63; the range ends at 2**64 at most.

    Raises:
        InvalidRequestError: For a base or size outside its range.

    >>> a = Extent(4096, 8192)
    >>> a.end, 4096 in a, a.end in a
    (12288, True, False)
    >>> a.overlaps(Extent(12288, 1)), a.touches(Extent(12288, 1))
    (False, True)
    """

    base: int = attrs.field(validator=_check_base)
    size: int = attrs.field(validator=_check_size)

    @property
    def end(self) -> int:
        """First address behind the range."""
        return self.base + self.size

    def __contains__(self, address: object) -> bool:
        return isinstance(address, int) and self.base <= address < self.end

    def contains(self, other: Extent) -> bool:
        """Tell whether all of ``other`` lies inside."""
        return self.base <= other.base and other.end <= self.end

    def overlaps(self, other: Extent) -> bool:
        """Tell whether the two share an address."""
        return self.base < other.end and other.base < self.end

    def touches(self, other: Extent) -> bool:
        """Tell whether the two are neighbours: they share no address, and no address lies between."""
        return self.end == other.base or other.end == self.base

    def __str__(self) -> str:
        return f"[{self.base:#x}, {self.end:#x})"
