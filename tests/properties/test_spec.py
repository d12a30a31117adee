"""The specification against its definitions, quantum by quantum: sets of quanta, places, holes, buddy blocks, classes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from coalloc import spec
from coalloc.contract import ANYWHERE, Bounds, Completeness, Fit, Geometry, Tie
from coalloc.errors import Rule
from coalloc.spec.quanta import every, lowest, members, runs, span, spread, starts
from coalloc.spec.sizes import class_floor, round_to

SETS = st.sets(st.integers(0, 40))


def bits(numbers: set[int]) -> int:
    """Return the set as an int."""
    return sum(1 << number for number in numbers)


@given(SETS, st.integers(1, 12))
def test_sets_of_quanta_are_what_their_definitions_say(numbers: set[int], n: int) -> None:
    """Each operation on a bit set gives what its definition on the set of numbers gives."""
    quanta = bits(numbers)
    assert members(quanta) == sorted(numbers)
    assert lowest(quanta) == min(numbers, default=-1)
    assert {at for first, length in runs(quanta) for at in range(first, first + length)} == numbers
    assert all(first + length < behind for (first, length), (behind, _) in pairwise(runs(quanta)))
    assert set(members(starts(quanta, n))) == {at for at in range(41) if set(range(at, at + n)) <= numbers}
    assert set(members(spread(quanta, n))) == {at for at in range(41) if numbers & set(range(at, at + n + 1))}
    assert span(3, n) == bits(set(range(3, 3 + n)))


@given(st.integers(1, 2**50), st.integers(0, 50), st.integers(0, 50))
def test_every_is_a_range_with_a_step(step: int, first: int, end: int) -> None:
    """The members of every() are those of a range with the same step, however large the step is."""
    assert members(every(step, first, end)) == list(range(first, end, step))


@st.composite
def states(draw: st.DrawFn) -> spec.State:
    """Draw a state of one or two arenas with some of their quanta taken."""
    quantum = draw(st.sampled_from([1, 4, 4096]))
    state = spec.State(quantum, draw(st.sampled_from(Geometry)))
    base = draw(st.sampled_from([0, 1, 5, 8, 2**32 // quantum - 3, 2**64 // quantum - 48])) * quantum
    for _ in range(draw(st.integers(1, 2))):
        size = draw(st.integers(1, 20)) * quantum
        state = spec.enter(state, base, size)
        for at in draw(st.sets(st.integers(0, size // quantum - 1))):
            state = spec.take(state, base + at * quantum, quantum)
        base += size + draw(st.integers(0, 3)) * quantum
    return state


@st.composite
def requests(draw: st.DrawFn) -> tuple[spec.State, int, Bounds]:
    """Draw a state and a lawful request."""
    state = draw(states())
    quantum = state.quantum
    size = spec.footprint(draw(st.integers(1, 8 * quantum)), quantum, state.geometry)
    align = draw(st.sampled_from([0, 0, quantum // 2, quantum, 2 * quantum, 4 * quantum, 2**40]))
    phase = draw(st.integers(0, max(align // quantum - 1, 0) if align < 2**40 else 7)) * quantum
    nocross = draw(st.sampled_from([0, 0, quantum, 2 * quantum, 8 * quantum, 2**41]))
    first = state.arenas[0].base
    lo = draw(st.one_of(st.just(0), st.integers(max(first - quantum, 0), first + 24 * quantum)))
    hi = draw(st.one_of(st.just(2**64 - 1), st.integers(lo, lo + 24 * quantum).map(lambda hi: min(hi, 2**64 - 1))))
    bounds = Bounds(align, phase if phase < align else 0, nocross, min(lo, hi), hi)
    return state, size, bounds if spec.lawful(size, bounds, quantum) else ANYWHERE


def keeps(start: int, size: int, bounds: Bounds) -> bool:
    """Return whether a range keeps bounds, by their definition."""
    return (
        (not bounds.align or start % bounds.align == bounds.phase)
        and (not bounds.nocross or start // bounds.nocross == (start + size - 1) // bounds.nocross)
        and bounds.lo <= start
        and start + size - 1 <= bounds.hi
    )


def origin(state: spec.State, arena: spec.Arena) -> int:
    """Return the address from which the blocks of buddies are counted."""
    return 0 if state.geometry is Geometry.BUDDY_ABSOLUTE else arena.base


@given(requests())
def test_places_are_those_that_free_and_bounds_leave(request: tuple[spec.State, int, Bounds]) -> None:
    """The places are those that trying every quantum of every arena finds; a buddy's block is aligned in its arena."""
    state, size, bounds = request
    expected = []
    for arena in state.arenas:
        for start in range(arena.base, arena.base + arena.size, state.quantum):
            inside = start + size <= arena.base + arena.size
            free = inside and all(
                spec.is_free(state, at, state.quantum) for at in range(start, start + size, state.quantum)
            )
            block = state.geometry is Geometry.ANY or (start - origin(state, arena)) % size == 0
            if free and block and keeps(start, size, bounds):
                expected.append(start)
    assert spec.places(state, size, bounds) == expected
    lowest_by_hole = spec.lowest_in(state, size, bounds)
    for base, length in state.holes:
        inside_hole = [start for start in expected if base <= start and start + size <= base + length]
        assert lowest_by_hole.get((base, length)) == (inside_hole[0] if inside_hole else None)
    if expected:
        assert spec.possible(size, bounds, state.quantum)
    assert spec.must_serve(state, size, bounds, Completeness.EXACT) is bool(expected)


@given(st.integers(1, 8), st.sampled_from([0, 1, 2, 4, 8, 16]), st.integers(0, 15), st.sampled_from([0, 4, 8, 16]),
       st.integers(0, 40), st.integers(0, 40))  # fmt: skip
def test_a_request_is_possible_if_some_address_keeps_its_bounds(
    size: int, align: int, phase: int, nocross: int, lo: int, length: int
) -> None:
    """A request is possible if and only if one of 200 addresses keeps its bounds."""
    bounds = Bounds(align, phase if phase < align else 0, nocross, lo, lo + length)
    if spec.lawful(size, bounds, 1):
        assert spec.possible(size, bounds, 1) is any(keeps(start, size, bounds) for start in range(200))


@given(requests())
def test_the_rule_against_a_hole_is_the_first_that_leaves_no_place(request: tuple[spec.State, int, Bounds]) -> None:
    """The rule against a hole is the first of size, lo, hi, align and nocross that leaves no place."""
    state, size, bounds = request
    admitted = spec.lowest_in(state, size, bounds)
    for hole in state.holes:
        if hole in admitted:
            continue
        trials = {
            Rule.SIZE: ANYWHERE,
            Rule.LO: Bounds(lo=bounds.lo),
            Rule.HI: Bounds(lo=bounds.lo, hi=bounds.hi),
            Rule.ALIGN: Bounds(bounds.align, bounds.phase, 0, bounds.lo, bounds.hi),
            Rule.NOCROSS: bounds,
        }
        killers = [rule for rule, trial in trials.items() if hole not in spec.lowest_in(state, size, trial)]
        assert spec.rule_against(state, hole, size, bounds) is killers[0]


@given(states())
def test_holes_are_the_largest_free_ranges_and_blocks(state: spec.State) -> None:
    """The holes cover exactly the free quanta, and none of them can be made larger."""
    for arena in state.arenas:
        covered = [at for base, size in spec.holes_in(state, arena) for at in range(base, base + size, state.quantum)]
        free = [
            at
            for at in range(arena.base, arena.base + arena.size, state.quantum)
            if spec.is_free(state, at, state.quantum)
        ]
        assert covered == free
        for base, size in spec.holes_in(state, arena):
            if state.geometry.buddies:
                start = origin(state, arena)
                assert (base - start) % size == 0
                first = start + (base - start) // (2 * size) * (2 * size)
                assert not spec.is_free(state, first, 2 * size), "the buddy is free, too"
            else:
                assert not spec.is_free(state, base, size + state.quantum)
                assert base == arena.base or not spec.is_free(state, base - state.quantum, state.quantum)


@given(states(), st.integers(0, 19), st.integers(1, 5))
def test_what_is_taken_and_given_back_leaves_the_state_as_it_was(state: spec.State, at: int, n: int) -> None:
    """Taking a range and giving it back restores the holes, and those that return are the newest."""
    base, size = state.arenas[0].base + at * state.quantum, n * state.quantum
    if not spec.is_free(state, base, size):
        return
    taken = spec.take(state, base, size)
    assert not spec.is_free(taken, base, size)
    back = spec.give(taken, base, size)
    assert back.holes == state.holes
    assert [arena.free for arena in back.arenas] == [arena.free for arena in state.arenas]
    for hole, birth in back.births.items():
        assert birth == state.births[hole] or birth > state.clock


@given(requests(), st.sampled_from([None, *Fit]), st.sampled_from([None, *Tie]), st.booleans(), st.integers(0, 40))
def test_a_fit_chooses_among_the_places(
    request: tuple[spec.State, int, Bounds], fit: Fit | None, tie: Tie | None, ages_known: bool, at: int
) -> None:
    """A fit chooses the lowest place of a hole that its definition picks."""
    state, size, bounds = request
    cursor = state.arenas[0].base + at * state.quantum
    found = spec.choices(state, size, bounds, fit=fit, tie=tie, cursor=cursor, ages_known=ages_known)
    every_place, by_hole = spec.places(state, size, bounds), spec.lowest_in(state, size, bounds)
    assert set(found) <= set(every_place)
    assert bool(found) is bool(every_place)
    if not found or fit is None:
        assert found == every_place
        return
    chosen = {place: hole for hole, place in by_hole.items()}
    holes = [chosen[place] for place in found]
    if fit is Fit.FIRST:
        assert found == [min(every_place)]
    elif fit is Fit.NEXT:
        assert found == [min(by_hole.values(), key=lambda place: (chosen[place][0] < cursor, place))]
    elif fit is Fit.BEST:
        smallest = min(size for _, size in by_hole)
        assert {length for _, length in holes} == {smallest}
        if tie is Tie.LOWEST:
            assert found == [min(place for hole, place in by_hole.items() if hole[1] == smallest)]
        elif tie is Tie.NEWEST and ages_known:
            assert state.births[holes[0]] == max(state.births[hole] for hole in by_hole if hole[1] == smallest)
        else:
            assert len(found) == sum(1 for _, length in by_hole if length == smallest)
    elif ages_known:
        assert len(found) == 1


@given(st.integers(1, 1 << 40))
def test_size_classes_are_exact_up_to_31_and_then_one_for_each_doubling(quanta: int) -> None:
    """Each class begins at its floor and ends where the next begins, and from 32 quanta on each doubles."""
    group = spec.size_class(quanta)
    assert class_floor(group) <= quanta < class_floor(group + 1)
    assert (group < 31) is (quanta < 32)
    if group > 31:
        assert class_floor(group) == 2 * class_floor(group - 1)


@given(st.integers(1, 2**63), st.sampled_from([1, 16, 4096]))
def test_a_footprint_is_the_least_that_will_do(size: int, quantum: int) -> None:
    """A footprint is the least number of whole quanta that holds the size, for buddies the least power of two."""
    whole, block = (spec.footprint(size, quantum, geometry) for geometry in (Geometry.ANY, Geometry.BUDDY))
    assert whole % quantum == 0
    assert size <= whole < size + quantum
    assert block % quantum == 0
    assert (block // quantum).bit_count() == 1
    assert size <= block
    assert block == quantum or block // 2 < size
    assert round_to(size, quantum) == whole


@given(states())
def test_an_arena_that_is_sure_to_admit_a_request_does(state: spec.State) -> None:
    """An arena of the sure size admits the request, wherever it lies."""
    quantum = state.quantum
    for size in (quantum, 3 * quantum):
        for bounds in (ANYWHERE, Bounds(align=4 * quantum, phase=quantum), Bounds(nocross=4 * quantum)):
            need = spec.sure_arena(
                size, bounds, quantum=quantum, granule=quantum, geometry=Geometry.ANY, completeness=Completeness.EXACT
            )
            for base in range(0, 16 * quantum, quantum):
                alone = spec.enter(spec.State(quantum), base, need)
                assert spec.places(alone, size, bounds)
