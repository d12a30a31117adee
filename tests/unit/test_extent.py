"""Extents."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import Extent, InvalidRequestError


def test_an_extent_is_half_open() -> None:
    """An extent contains its base and not its end."""
    extent = Extent(8, 4)
    assert (extent.end, 8 in extent, 11 in extent, 12 in extent, "8" in extent) == (12, True, True, False, False)
    assert str(extent) == "[0x8, 0xc)"


def test_relations_between_extents() -> None:
    """Neighbours touch without overlapping, and an extent contains itself."""
    a, b, c = Extent(0, 8), Extent(8, 8), Extent(4, 8)
    assert (a.touches(b), b.touches(a), a.overlaps(b), a.overlaps(c), c.touches(a)) == (True, True, False, True, False)
    assert (a.contains(Extent(2, 6)), a.contains(a), a.contains(c)) == (True, True, False)
    assert sorted([b, c, a]) == [a, c, b]


@pytest.mark.parametrize(
    ("base", "size"), [(-1, 1), (0, 0), (True, 1), (0, 1.5), (2**64, 1), (0, 2**63 + 1), (2**64 - 1, 2)]
)
def test_bad_extents_are_refused(base: Any, size: Any) -> None:
    """An extent that is empty or leaves the address range is refused."""
    with pytest.raises(InvalidRequestError):
        Extent(base, size)
