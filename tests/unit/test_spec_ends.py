"""The specification at the ends of the address space, where there is nothing to find."""

from __future__ import annotations

from coalloc import spec
from coalloc.contract import Bounds
from coalloc.units import MAX_ADDRESS


def test_below_the_first_arena_and_between_arenas_there_is_none() -> None:
    """So nothing is free there, either."""
    state = spec.enter(spec.enter(spec.State(1), 8, 8), 32, 8)
    assert [spec.arena_at(state, address) is None for address in (7, 8, 15, 16, 31, 32, 39, 40)] == [
        True, False, False, True, True, False, False, True,
    ]  # fmt: skip
    assert not spec.is_free(state, 7, 1)
    assert not spec.is_free(state, 15, 2)


def test_no_place_lies_beyond_the_last_address() -> None:
    """However free everything is: what begins at lo has to end with the address space."""
    last = Bounds(lo=MAX_ADDRESS - 15)
    assert spec.possible(16, last, 1)
    assert not spec.possible(17, last, 1)
