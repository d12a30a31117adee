"""The specification against its definitions, over every request of a small world."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import Any

import pytest

from coalloc import spec
from coalloc.contract import ANYWHERE, Bounds, Completeness, Contract, End, Fit, Geometry, Rounding, Tie
from coalloc.spec.quanta import every, lowest, span, spread, starts
from coalloc.units import MAX_ADDRESS

Q = 2
ALIGNED = [(0, 0), (2, 0), (4, 0), (4, 2), (8, 2), (8, 6), (16, 4)]


def world(quantum: int = Q, geometry: Geometry = Geometry.ANY) -> spec.State:
    """Make arenas of 14 and 6 quanta, at 5 and 20, whose busy quanta are 8, 14 and 23."""
    state = spec.enter(spec.enter(spec.State(quantum, geometry), 5 * quantum, 14 * quantum), 20 * quantum, 6 * quantum)
    for at in (8, 14, 23):
        state = spec.take(state, at * quantum, quantum)
    return state


def keeps(start: int, size: int, bounds: Bounds) -> bool:
    """Return whether a range keeps bounds, by their definition."""
    return (
        (not bounds.align or start % bounds.align == bounds.phase)
        and (not bounds.nocross or start // bounds.nocross == (start + size - 1) // bounds.nocross)
        and bounds.lo <= start
        and start + size - 1 <= bounds.hi
    )


def requests() -> list[tuple[int, Bounds, spec.Frame]]:
    """Return every lawful request of one to five quanta under some bounds, with and without a frame."""
    found = []
    ends = [
        (0, MAX_ADDRESS),
        (15, MAX_ADDRESS),
        (0, 35),
        (16, 34),
        (9, 22),
        (39, 50),
        (10, 11),
        (52, 60),
        (0, 9),
        (41, 47),
    ]
    for n, (align, phase), nocross, (lo, hi) in product(range(1, 6), ALIGNED, (0, 2, 4, 8), ends):
        bounds = Bounds(align, phase, nocross, lo, hi)
        for frame in (spec.BARE, spec.Frame(Q, 0), spec.Frame(0, Q), spec.Frame(2 * Q, Q)):
            buffer = n * Q - frame.front - frame.back
            if buffer > 0 and spec.lawful(buffer, bounds, Q):
                found.append((n * Q, bounds, frame))
    return found


def test_places_are_those_whose_buffers_keep_the_bounds() -> None:
    """Every quantum of every arena is tried, and a frame counts as occupied but need not keep the bounds."""
    state = world()
    for size, bounds, frame in requests():
        buffer = size - frame.front - frame.back
        expected = [
            start
            for start in range(0, 60, Q)
            if spec.is_free(state, start, size) and keeps(start + frame.front, buffer, bounds)
        ]
        assert spec.places(state, size, bounds, frame) == expected
        assert spec.must_serve(state, size, bounds, Completeness.EXACT, frame) is bool(expected)
        low, high = (spec.place_in(state, size, bounds, frame, end) for end in End)
        inside = {(base, n): [at for at in expected if base <= at < base + n] for base, n in state.holes}
        assert low == {hole: found[0] for hole, found in inside.items() if found}
        assert high == {hole: found[-1] for hole, found in inside.items() if found}
        assert list(low) == sorted(low)


def chosen_by(state: spec.State, size: int, bounds: Bounds, fit: Fit | None, **rest: Any) -> list[int]:
    """Return the choices of a fit."""
    return spec.choices(state, size, bounds, fit=fit, **rest)


def test_each_fit_takes_the_hole_that_its_definition_names() -> None:
    """Whatever the bounds and the frame are, and from which end of the hole it is carved."""
    state = world()
    state = spec.give(spec.take(state, 15 * Q, Q), 15 * Q, Q)
    ages = state.births
    for size, bounds, frame in requests()[::7]:
        for end in End:
            by_hole = spec.place_in(state, size, bounds, frame, end)

            chosen = partial(chosen_by, state, size, bounds, end=end, frame=frame)
            assert chosen(None) == spec.places(state, size, bounds, frame)
            if not by_hole:
                assert all(chosen(fit) == [] for fit in Fit)
                continue
            ordered = sorted(by_hole)
            assert chosen(Fit.FIRST) == [by_hole[ordered[0]]]
            assert chosen(Fit.LAST) == [by_hole[ordered[-1]]]
            for cursor in (0, 18, 19, 30, 99):
                ahead = [hole for hole in ordered if hole[0] >= cursor]
                assert chosen(Fit.NEXT, cursor=cursor) == [by_hole[(ahead or ordered)[0]]]
            for fit, pick in ((Fit.BEST, min), (Fit.WORST, max)):
                length = pick(n for _, n in ordered)
                ties = [hole for hole in ordered if hole[1] == length]
                newest = max(ties, key=lambda hole: ages[hole])
                assert chosen(fit) == [by_hole[hole] for hole in ties]
                assert chosen(fit, tie=Tie.LOWEST) == [by_hole[ties[0]]]
                assert chosen(fit, tie=Tie.HIGHEST) == [by_hole[ties[-1]]]
                assert chosen(fit, tie=Tie.NEWEST) == [by_hole[newest]]
                assert chosen(fit, tie=Tie.NEWEST, ages_known=False) == [by_hole[hole] for hole in ties]
            group = min(spec.size_class(n // Q) for _, n in ordered)
            alike = [hole for hole in ordered if spec.size_class(hole[1] // Q) == group]
            newest = max(alike, key=lambda hole: ages[hole])
            assert chosen(Fit.CLASS_BEST) == [by_hole[newest]]
            assert chosen(Fit.CLASS_BEST, ages_known=False) == [by_hole[hole] for hole in alike]
            assert chosen(Fit.INSTANT, ages_known=False) == sorted(by_hole.values())
            groups: dict[int, tuple[int, int]] = {}
            for hole in sorted(ages, key=lambda hole: ages[hole]):
                groups[hole[1] // Q] = hole  # so small that each number of quanta is a class
            instant = [groups[n] for n in sorted(groups) if n * Q >= size and groups[n] in by_hole]
            assert chosen(Fit.INSTANT) == [by_hole[instant[0] if instant else newest]]


def test_instant_fit_passes_over_a_class_whose_smallest_member_would_be_too_small() -> None:
    """Of 41 and 64 quanta it takes the 64 for 40, where best class fit takes the 41; for 32 both take the 41."""
    state = spec.enter(spec.enter(spec.State(1), 0, 41), 100, 64)
    for size, instant in ((40, 100), (33, 100), (32, 0)):
        assert spec.choices(state, size, fit=Fit.INSTANT) == [instant]
        assert spec.choices(state, size, fit=Fit.CLASS_BEST) == [0]
    assert spec.choices(state, 64, fit=Fit.INSTANT) == spec.choices(state, 64, fit=Fit.CLASS_BEST) == [100]
    assert spec.choices(spec.enter(spec.State(1), 0, 41), 40, fit=Fit.INSTANT) == [0]
    assert spec.choices(spec.enter(spec.State(1), 0, 41), 42, fit=Fit.INSTANT) == []


def test_a_fit_is_seen_from_the_other_end() -> None:
    """First and last fit change places, and so do the ends; the others are as they were."""
    other = {Fit.FIRST: Fit.LAST, Fit.LAST: Fit.FIRST}
    for fit in (None, *Fit):
        assert spec.mirrored(fit, End.LOW) == (other.get(fit, fit) if fit else None, End.HIGH)
        assert spec.mirrored(fit, End.HIGH) == (other.get(fit, fit) if fit else None, End.LOW)


def test_what_is_lawful() -> None:
    """Powers of two, a phase of whole quanta below the alignment, a size within nocross, lo not above hi."""
    for size, bounds, expected in (
        (4, Bounds(), True),
        (4, Bounds(align=8), True),
        (4, Bounds(align=12), False),
        (4, Bounds(nocross=8), True),
        (4, Bounds(nocross=12), False),
        (8, Bounds(nocross=8), True),
        (12, Bounds(nocross=8), False),
        (4, Bounds(align=8, phase=4), True),
        (4, Bounds(align=8, phase=2), False),
        (4, Bounds(align=8, phase=8), False),
        (4, Bounds(align=8, phase=12), False),
        (4, Bounds(phase=4), False),
        (4, Bounds(lo=9, hi=9), True),
        (4, Bounds(lo=9, hi=8), False),
    ):
        assert spec.lawful(size, bounds, 4) is expected, bounds


def test_a_request_is_possible_where_the_whole_address_space_has_a_place() -> None:
    """Each start up to two periods above lo is tried, from any lo, whole quanta or not."""
    for n, (align, phase), nocross, lo, room in product(
        (1, 2, 3), ALIGNED, (0, 2, 4, 8, 16), (0, 3, 6, 13), (*range(26), 99)
    ):
        bounds = Bounds(align, phase, nocross, lo, lo + room)
        if spec.lawful(n * Q, bounds, Q):
            wanted = any(keeps(start, n * Q, bounds) for start in range(0, lo + 36, Q))
            assert spec.possible(n * Q, bounds, Q) is wanted, (n, bounds)
    assert spec.possible(16, Bounds(lo=MAX_ADDRESS - 15), 16)
    assert not spec.possible(32, Bounds(lo=MAX_ADDRESS - 15), 16)


@pytest.mark.parametrize("geometry", list(Geometry))
@pytest.mark.parametrize(("quantum", "granule"), [(1, 4), (4, 4), (8, 4)])
def test_an_arena_that_is_sure_to_admit_a_request_does_wherever_it_lies(
    geometry: Geometry, quantum: int, granule: int
) -> None:
    """One granule less would not do, except for blocks that are counted from address 0 in smaller quanta."""
    for n, beside, completeness in product((1, 2, 4, 8), (0, 3, 9), (Completeness.EXACT, Completeness.BEST_EFFORT)):
        size = n * quantum
        need = spec.sure_arena(
            size,
            ANYWHERE,
            quantum=quantum,
            granule=granule,
            geometry=geometry,
            completeness=completeness,
            beside=beside,
        )
        assert need % granule == 0
        for less in (0, granule):
            admitted = []
            for base in range(0, 8 * max(size, granule), granule):
                first, last = -(-base // quantum), (base + need - less - beside) // quantum
                state = spec.State(quantum, geometry)
                if last > first:
                    state = spec.enter(state, first * quantum, (last - first) * quantum)
                admitted.append(bool(spec.places(state, size)))
            tight = quantum >= granule or geometry is not Geometry.BUDDY_ABSOLUTE
            assert all(admitted) if not less else not (tight and all(admitted))


def test_an_arena_for_a_constrained_request_has_room_for_two_steps_more() -> None:
    """None is sure for buddies or between bounds, and an alignment of a quantum asks for nothing."""

    def need(bounds: Bounds, geometry: Geometry = Geometry.ANY, size: int = 8) -> int:
        return spec.sure_arena(
            size, bounds, quantum=4, granule=4, geometry=geometry, completeness=Completeness.EXACT
        )  # fmt: skip

    assert need(Bounds(align=16)) == need(Bounds(nocross=16)) == need(Bounds(align=8, nocross=16)) == 40
    assert need(Bounds(align=16, nocross=8)) == 40
    assert need(Bounds(align=4)) == need(ANYWHERE) == 8
    assert need(Bounds(align=4), Geometry.BUDDY) == 8
    assert need(Bounds(align=8), Geometry.BUDDY) == need(Bounds(align=8), Geometry.BUDDY_ABSOLUTE) == 0
    assert need(Bounds(lo=1)) == need(Bounds(hi=MAX_ADDRESS - 1)) == 0
    assert need(Bounds(align=16, phase=12, nocross=16)) == 0
    assert need(Bounds(align=16, phase=8, nocross=16)) == 40


def test_a_level_of_search_may_overlook_holes_that_are_too_small_for_it() -> None:
    """Best effort all of them; the others those below the next class or list, and all under constraints."""
    for hole in range(30, 100):
        state = spec.enter(spec.State(2), 0, 2 * hole)
        for n in (20, 33, 40, 64):
            for level, least in (
                (Completeness.EXACT, n),
                (Completeness.CLASS, n if n in (20, 64) else 64),
                (Completeness.TLSF(4), {20: 20, 33: 40, 40: 40, 64: 64}[n]),
                (Completeness.TLSF(1), {20: 32, 33: 64, 40: 64, 64: 64}[n]),
                (Completeness.BEST_EFFORT, 999),
            ):
                assert spec.must_serve(state, 2 * n, ANYWHERE, level) is (hole >= least), (hole, n, level)
                constrained = spec.must_serve(state, 2 * n, Bounds(align=2), level)
                assert constrained is (hole >= n and level == Completeness.EXACT)


def test_the_sure_size_is_the_least_of_the_classes_and_lists_above() -> None:
    """Found by counting up the beginnings of the lists of each doubling."""
    for lists in (1, 2, 4, 8):
        begins = sorted(
            set(range(1, 2 * lists)) | {(1 << k) + -(-i * (1 << k) // lists) for k in range(9) for i in range(lists)}
        )
        for n in range(1, 256):
            least = 4 * next(begin for begin in begins if begin >= n)
            assert spec.sure_size(4 * n, 4, Completeness.TLSF(lists)) == least
            assert spec.sure_size(4 * n - 3, 4, Completeness.TLSF(lists)) == least
    for n in range(1, 300):
        assert spec.sure_size(4 * n - 1, 4, Completeness.EXACT) == 4 * n - 1
        doublings = next(1 << k for k in range(5, 12) if n <= 1 << k)
        assert spec.sure_size(4 * n - 1, 4, Completeness.CLASS) == 4 * (n if n <= 32 else doublings)


def test_what_a_request_occupies_by_its_contract() -> None:
    """Header and guard are bytes of it, and so is what the rounding adds."""
    plain = Contract(fit=None, header=3, guard=5)
    assert [spec.occupied(size, 4, plain) for size in (1, 4, 5, 8)] == [12, 12, 16, 16]
    assert [spec.occupied(size, 8, Contract(fit=None, least=24)) for size in (1, 16, 24, 25)] == [24, 24, 24, 32]
    power = Contract(fit=None, rounding=Rounding.POWER, header=16, guard=32)
    assert [spec.occupied(size, 16, power) for size in (1, 16, 17, 40, 64, 70)] == [64, 64, 80, 112, 112, 176]
    buddies = Contract(fit=None, geometry=Geometry.BUDDY, header=2, guard=3, least=9)
    assert [spec.occupied(size, 4, buddies) for size in (1, 4, 11, 12, 27, 28)] == [16, 16, 16, 32, 32, 64]
    classes = Contract(fit=None, rounding=Rounding.CLASSES, classes=(16, 48), header=4)
    assert [spec.occupied(size, 4, classes) for size in (1, 16, 17, 48, 49, 57)] == [20, 20, 52, 52, 56, 64]
    go_on = Contract(fit=None, rounding=Rounding.CLASSES, classes=(16, 32, 48), doubling=True)
    sizes = (1, 17, 33, 48, 49, 64, 65, 96, 97, 128, 129)
    assert [spec.occupied(size, 16, go_on) for size in sizes] == [16, 32, 48, 48, 64, 64, 96, 96, 128, 128, 192]
    assert spec.occupied(5, 16, Contract(fit=None, rounding=Rounding.CLASSES, classes=(), doubling=True)) == 16


def test_sets_of_quanta_at_their_ends() -> None:
    """Nothing, one, and runs that are as long as what is looked for."""
    assert [lowest(quanta) for quanta in (0, 1, 2, 12)] == [-1, 0, 1, 2]
    assert [span(first, n) for first, n in ((0, 0), (2, 0), (0, 3), (2, 1))] == [0, 0, 7, 4]
    for n in range(1, 20):
        for length in range(20):
            run = (1 << length) - 1
            assert starts(run << 3, n) == (((1 << max(length - n + 1, 0)) - 1) << 3)
            assert spread(1 << 30, n) == ((1 << n + 1) - 1) << 30 - n
    assert spread(5, 0) == 5
    for step, first, end in product(range(1, 9), range(5), range(40)):
        assert every(step, first, end) == sum(1 << at for at in range(first, end, step))
