"""Sizes, rounding and their text forms."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc.errors import InvalidRequestError
from coalloc.units import GiB, KiB, MiB, format_size, parse_size, require_size, round_down, round_up


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64M", 64 * MiB), ("4KiB", 4 * KiB), ("65536", 65536), ("1g", GiB), ("2 KB", 2 * KiB),
        ("512k", 512 * KiB), ("1TiB", 1 << 40), ("7b", 7), (" 8 ", 8),
    ],
)  # fmt: skip
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    """Each unit of a size means a power of 1024, whatever its spelling."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", 65536, None, "9" * 5000, "x", "-1", "0", "1.5M", "4XiB", "9999999T", "1iB", "64 M M", "٣"]
)
def test_other_texts_are_refused(text: Any) -> None:
    """A text that is not a size is refused."""
    with pytest.raises(InvalidRequestError):
        parse_size(text)


@pytest.mark.parametrize("value", [0, -1, 1.0, True, 2**63 + 1, "4096", None])
def test_a_size_is_a_positive_int(value: Any) -> None:
    """Zero, negatives, floats, bools and numbers above 2**63 are refused."""
    with pytest.raises(InvalidRequestError) as caught:
        require_size(value)
    assert caught.value.value is value
    assert "size=" in str(caught.value)


def test_rounding_goes_to_multiples() -> None:
    """Rounding keeps multiples and moves other numbers to the next one."""
    assert [round_up(n, 8) for n in (1, 8, 9)] == [8, 8, 16]
    assert [round_down(n, 8) for n in (1, 8, 15)] == [0, 8, 8]


@pytest.mark.parametrize(
    ("size", "text"), [(1023, "1023 B"), (1024, "1 KiB"), (3 << 40, "3 TiB"), (2048 << 40, "2048 TiB")]
)
def test_sizes_are_written_with_the_largest_unit(size: int, text: str) -> None:
    """A size is written with the largest unit that keeps it at 1 or more, up to TiB."""
    assert format_size(size) == text
