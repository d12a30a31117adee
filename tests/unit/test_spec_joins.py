"""The specification where arenas touch and are one, and where births are not kept."""

from __future__ import annotations

import pytest

from coalloc import SpanOverlapError, spec
from coalloc.contract import Geometry

JOINED = spec.State(4, joined=True)


def test_arenas_that_touch_are_one_whatever_the_order_in_which_they_come() -> None:
    """The free quanta of each stay where they were, and a range may lie across the seam."""
    for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        state = spec.enter(spec.enter(spec.enter(JOINED, 100, 4), 108, 4), 0, 4)
        for at in order:
            base, size = ((8, 12), (20, 8), (28, 16))[at]
            state = spec.take(spec.enter(state, base, size), base + 4, 4)
        assert state.arenas[1:-2] == (spec.Arena(8, 36, 0b110101101),)
        assert state.holes == ((0, 4), (8, 4), (16, 8), (28, 4), (36, 8), (100, 4), (108, 4))
        assert spec.places(state, 8) == [16, 36]


def test_arenas_that_do_not_touch_or_need_not_join_stay_apart() -> None:
    """A gap of one quantum keeps two arenas apart, and so does a state that does not join."""
    for state, first in ((JOINED, 4), (spec.State(4), 0)):
        for order in ((0, 1), (1, 0)):
            found = state
            for at in order:
                found = spec.enter(found, *((16 - first, 8 - first), (24 + first, 8))[at])
            assert found.arenas == (
                spec.Arena(16 - first, 8 - first, (1 << (8 - first) // 4) - 1),
                spec.Arena(24 + first, 8, 0b11),
            )


def test_a_part_of_what_was_joined_may_leave() -> None:
    """What lies below it and above it stays, each with what was free in it."""
    whole = spec.enter(JOINED, 8, 40)
    state = spec.take(spec.take(spec.take(whole, 12, 4), 32, 4), 44, 4)
    assert spec.leave(state, 16, 12).arenas == (spec.Arena(8, 8, 0b01), spec.Arena(28, 20, 0b01101))
    assert spec.leave(state, 16, 16).arenas == (spec.Arena(8, 8, 0b01), spec.Arena(32, 16, 0b0110))
    assert spec.leave(state, 8, 4).arenas == (spec.Arena(12, 36, 0b011011110),)
    assert spec.leave(spec.give(state, 44, 4), 36, 12).arenas == (spec.Arena(8, 28, 0b0111101),)
    assert spec.leave(whole, 8, 40).arenas == ()
    for base, size in ((8, 8), (28, 8), (40, 8)):
        with pytest.raises(SpanOverlapError, match="is not wholly free") as caught:
            spec.leave(state, base, size)
        assert (caught.value.wanted, caught.value.existing) == ((base, size), None)
    for base, size in ((36, 16), (48, 4), (4, 8)):
        with pytest.raises(SpanOverlapError, match="is no arena"):
            spec.leave(spec.give(state, 44, 4), base, size)


def test_the_arena_in_the_middle_leaves_and_the_others_stay() -> None:
    """The arenas below and above keep their places in the order of addresses, and the births of their holes."""
    state = spec.enter(spec.enter(spec.enter(spec.State(1), 0, 4), 8, 4), 16, 4)
    left = spec.leave(state, 8, 4)
    assert left.arenas == (spec.Arena(0, 4, 15), spec.Arena(16, 4, 15))
    assert dict(left.births) == {(0, 4): 1, (16, 4): 3}
    assert (left.clock, state.mapped, left.mapped) == (3, 12, 8)
    again = spec.enter(left, 8, 4)
    assert again.arenas == state.arenas
    assert dict(again.births) == {(0, 4): 1, (16, 4): 3, (8, 4): 4}


@pytest.mark.parametrize(("base", "size"), [(7, 2), (8, 1), (11, 2), (6, 8), (15, 6), (19, 9), (0, 30)])
def test_an_arena_that_overlaps_another_is_named_with_it(base: int, size: int) -> None:
    """The error holds both ranges; what only touches is no overlap."""
    state = spec.enter(spec.enter(spec.State(1), 8, 4), 16, 4)
    with pytest.raises(SpanOverlapError, match="overlaps the arena") as caught:
        spec.enter(state, base, size)
    assert caught.value.wanted == (base, size)
    assert caught.value.existing == ((8, 4) if base < 12 else (16, 4))
    assert spec.enter(spec.enter(state, 4, 4), 12, 4).mapped == 16


def test_errors_name_the_range_that_was_asked_for() -> None:
    """Also of what is taken and of what is given."""
    state = spec.take(spec.enter(spec.State(1), 0, 8), 2, 2)
    for call, base, size, why in ((spec.take, 1, 2, "in one hole"), (spec.give, 3, 2, "is not busy")):
        with pytest.raises(SpanOverlapError, match=why) as caught:
            call(state, base, size)
        assert (caught.value.wanted, caught.value.existing) == ((base, size), None)
    for base, size in ((7, 2), (3, 6)):
        with pytest.raises(SpanOverlapError, match="is not busy"):
            spec.give(spec.take(state, 4, 4), base, size)


def test_without_ages_the_arenas_are_the_same_and_nothing_is_born() -> None:
    """A state that keeps no births has the same holes, and its settings stay."""
    kept, bare = spec.State(2, block=8), spec.State(2, block=8, aged=False)
    for change, base, size in ((spec.enter, 0, 32), (spec.take, 4, 6), (spec.give, 6, 2)):
        kept, bare = change(kept, base, size), change(bare, base, size)
        assert bare == kept._replace(aged=False, clock=0, births={})
    assert dict(kept.births) == {(0, 4): 2, (10, 22): 3, (6, 2): 4}


def test_of_two_holes_that_one_change_leaves_the_upper_is_newer() -> None:
    """A hole whose bounds stay keeps its birth, and one that has gone has none."""
    state = spec.enter(spec.State(1), 0, 8)
    assert dict(state.births) == {(0, 8): 1}
    state = spec.take(state, 3, 2)
    assert dict(state.births) == {(0, 3): 2, (5, 3): 3}
    state = spec.take(state, 6, 1)
    assert dict(state.births) == {(0, 3): 2, (5, 1): 4, (7, 1): 5}
    assert state.clock == 5


def test_blocks_of_buddies_have_a_largest_size() -> None:
    """Free blocks join up to it and no further, from the base of their arena or from address 0."""
    quantum = 2
    for geometry, holes in (
        (Geometry.BUDDY, ((4, 8), (12, 8), (20, 4))),
        (Geometry.BUDDY_ABSOLUTE, ((4, 4), (8, 8), (16, 8))),
    ):
        assert spec.enter(spec.State(quantum, geometry, 8), 4, 20).holes == holes
    whole = spec.enter(spec.State(quantum, Geometry.BUDDY), 4, 20)
    assert whole.holes == ((4, 16), (20, 4))
    assert spec.enter(spec.State(quantum, Geometry.BUDDY, 2), 4, 6).holes == ((4, 2), (6, 2), (8, 2))
