"""Units of size and their text forms; every size in coalloc is a whole number of bytes.

>>> parse_size("64M") == 64 * MiB
True
>>> format_size(65536)
'64 KiB'
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from coalloc.errors import InvalidRequestError

__all__ = [
    "Extremes",
    "GiB",
    "KiB",
    "MAX_ADDRESS",
    "MAX_SIZE",
    "MiB",
    "PAGE_SIZE",
    "format_size",
    "is_power_of_two",
    "parse_size",
    "require_size",
    "round_down",
    "round_up",
]

KiB: Final = 1 << 10
MiB: Final = 1 << 20
GiB: Final = 1 << 30
PAGE_SIZE: Final = 4 * KiB
"""Bytes of a page on i386 and amd64."""
MAX_SIZE: Final = 2**63
"""The largest size that is accepted."""
MAX_ADDRESS: Final = 2**64 - 1
"""The highest address (vmem's VMEM_ADDR_MAX)."""


class Extremes(NamedTuple):
    """The least and the most of a figure in some time; bytes."""

    least: int
    most: int


_UNITS: Final = {"": 1, "k": KiB, "m": MiB, "g": GiB, "t": 1 << 40}
_SIZE: Final = re.compile(r"(\d{1,19})\s*([kmgt]?)(i?b)?", re.IGNORECASE | re.ASCII)


def is_power_of_two(value: int) -> bool:
    """Tell whether ``value`` is 1, 2, 4, 8, ...

    >>> [n for n in range(10) if is_power_of_two(n)]
    [1, 2, 4, 8]
    """
    return value > 0 and value & (value - 1) == 0


def round_up(value: int, unit: int) -> int:
    """Round ``value`` up to a multiple of ``unit`` (> 0).

    >>> round_up(1, PAGE_SIZE), round_up(8192, PAGE_SIZE)
    (4096, 8192)
    """
    return -(-value // unit) * unit


def round_down(value: int, unit: int) -> int:
    """Round ``value`` down to a multiple of ``unit`` (> 0).

    >>> round_down(8191, PAGE_SIZE)
    4096
    """
    return value // unit * unit


def require_size(value: int, what: str = "size") -> int:
    """Return ``value`` if it is an int in 1 .. 2**63, not a bool.

    Raises:
        InvalidRequestError: For any other value.
    """
    if type(value) is not int:
        raise InvalidRequestError(what, value, f"an int number of bytes is needed, not {type(value).__name__}")
    if value <= 0:
        raise InvalidRequestError(what, value, "must be greater than 0")
    if value > MAX_SIZE:
        raise InvalidRequestError(what, value, "must be at most 2**63")
    return value


def parse_size(text: str) -> int:
    """Read a size as people write it: ``65536``, ``64K``, ``4KiB``, ``64M``, ``1 GiB``; all units are powers of 1024.

    Raises:
        InvalidRequestError: If the text is no such size, or not in 1 .. 2**63.

    >>> parse_size("4KiB"), parse_size("65536"), parse_size("1g")
    (4096, 65536, 1073741824)
    """
    match = _SIZE.fullmatch(text.strip()) if type(text) is str else None
    if match is None:
        raise InvalidRequestError("size", text, "write a size as 65536, 64K, 4KiB or 64M")
    if not match[2] and match[3] and match[3].lower() == "ib":
        raise InvalidRequestError("size", text, "iB needs a unit before it, as in KiB")
    return require_size(int(match[1]) * _UNITS[match[2].lower()])


def format_size(size: float) -> str:
    """Write a number of bytes with the largest unit that keeps it at 1 or more.

    >>> format_size(0), format_size(1536), format_size(4 * MiB)
    ('0 B', '1.5 KiB', '4 MiB')
    """
    value, power = float(size), 0
    while abs(value) >= 1024 and power < 4:
        value, power = value / 1024, power + 1
    return f"{value:.1f}".removesuffix(".0") + f" {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
