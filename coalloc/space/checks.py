"""Argument checks for spaces, and the error for an address that cannot be freed."""

from __future__ import annotations

from collections.abc import Container, Iterable

from coalloc.errors import BadFreeError, FreeFault, InvalidRequestError
from coalloc.units import is_power_of_two, require_size

__all__ = ["bad_free", "require_multiple", "require_quantum"]


def bad_free(
    base: object, live: Iterable[tuple[int, int]], freed: Container[int]
) -> BadFreeError | InvalidRequestError:
    """Return the error for an address that is not the base of a live buffer; the error says what it is instead.

    Args:
        base: The address, or any other value that was given as one.
        live: Base and size of every live buffer; entries of size 0 do not count.
        freed: The bases of buffers that were freed.

    Complexity: O(n) for n buffers.
    """
    if type(base) is not int:
        return InvalidRequestError("base", base, f"an int address is needed, not {type(base).__name__}")
    for start, size in live:
        if start < base < start + size:
            return BadFreeError(base, FreeFault.INSIDE_BUFFER, (start, size))
    return BadFreeError(base, FreeFault.FREED_TWICE if base in freed else FreeFault.NEVER_ALLOCATED)


def require_quantum(quantum: int, granule: int) -> int:
    """Check that a quantum is a power of two that divides the source's granule, and return it.

    Raises:
        InvalidRequestError: If it is not.
    """
    if not is_power_of_two(require_size(quantum, "quantum")) or granule % quantum:
        raise InvalidRequestError(
            "quantum", quantum, f"must be a power of two that divides the source's granule {granule}"
        )
    return quantum


def require_multiple(what: str, size: int, granule: int) -> int:
    """Check that a size is a multiple of the source's granule, and return it.

    Raises:
        InvalidRequestError: If it is not; the error calls it ``what``.
    """
    if require_size(size, what) % granule:
        raise InvalidRequestError(what, size, f"must be a multiple of the source's granule {granule}")
    return size
