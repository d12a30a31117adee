"""Every promise that a contract can name: an allocator that keeps it conforms, and one that does not is found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from benchmarks.strangers import rows
from coalloc import BuddySpace, CoalescingSpace, KernelMap
from coalloc.contract import (
    EAGER,
    RETAIN_BYTES,
    Bounds,
    Capability,
    Coalescing,
    Completeness,
    Contract,
    Fit,
    Geometry,
    Law,
    Resize,
    Rounding,
    Spans,
    Tie,
    Work,
)
from coalloc.errors import ExhaustionError, InvalidRequestError, Violation
from coalloc.space.protocol import Kind, Segment
from coalloc.testing import (
    Action,
    Breach,
    CheckProgram,
    Judge,
    Property,
    Ruling,
    Step,
    Subject,
    World,
    check_space,
    random_program,
    run_program,
)
from coalloc.testing.explore import concerns, explore
from coalloc.testing.hidden import hide
from coalloc.testing.mutants import KeepsIdle, Runs
from coalloc.testing.targets import find_target

PAGE = 4096
PLAIN = Runs.contract


def found(make_space: Any, contract: Contract | None = None, *steps: Step, world: World | None = None) -> Breach | None:
    """Run a program, or some random ones if no step is given, and return the first breach."""
    subject = Subject(make_space, contract)
    if steps:
        return run_program(subject, CheckProgram(world or World(limit=8, room=8, arena=4), steps))
    founds = (random_program(subject, seed, world=world)[1] for seed in range(60))
    return next((one.breach for one in founds if one is not None), None)


def breach_of(breach: Breach | None) -> tuple[Property, str]:
    """Return property and message of a breach that must be there."""
    assert breach is not None
    return breach.property, breach.message


class Own(Runs):
    """Rounds to two pages, and says so."""

    contract = attrs.evolve(PLAIN, rounding=Rounding.OWN, laws=frozenset())

    def rounded(self, size: int) -> int:
        return (
            super().rounded(size + -size % (2 * PAGE)) if type(size) is int and size <= 2**62 else super().rounded(size)
        )

    def footprint(self, size: int) -> int:
        """Return what a request occupies."""
        return size + -size % (2 * PAGE)


def test_an_allocator_may_say_itself_what_a_request_occupies() -> None:
    """A footprint of the allocator's own conforms; one that is too small, no multiple, or falls, is found."""
    assert found(Own) is None

    class Odd(Own):
        def footprint(self, size: int) -> int:
            return size + 1

    class Falls(Own):
        def footprint(self, size: int) -> int:
            return 8 * PAGE if size == 2 * PAGE - 1 else super().footprint(size)

    alloc = Step(Action.ALLOC, 0, 2 * PAGE)
    assert breach_of(found(Odd, None, alloc))[0] is Property.P2
    assert "more than footprint" in breach_of(found(Falls, None, alloc))[1]


def test_a_threshold_in_bytes_is_kept_from_both_sides() -> None:
    """An allocator that gives back what the threshold keeps is found, and one that keeps more."""
    keeps = attrs.evolve(PLAIN, release=RETAIN_BYTES(8 * PAGE), reclaims=False)
    steps = (Step(Action.ALLOC, 0, PAGE), Step(Action.FREE, 0))
    assert "which retain-bytes(32768) keeps beside 0 idle bytes" in breach_of(found(Runs, keeps, *steps))[1]
    assert found(Runs, attrs.evolve(keeps, release=RETAIN_BYTES(PAGE)), *steps) is None

    few = attrs.evolve(keeps, release=RETAIN_BYTES(2 * PAGE))
    assert "idle bytes are kept" in breach_of(found(KeepsIdle, few, *steps))[1]
    assert found(KeepsIdle, keeps, *steps) is None


def test_a_reserve_is_not_touched_and_no_more_is_kept() -> None:
    """Taking from the reserve breaks P11; keeping a share that is not declared breaks P7."""

    class Spares(Runs):
        def room(self) -> int:
            return max(super().room() - 2 * PAGE, 0)

    fill = tuple(Step(Action.ALLOC, number, PAGE) for number in range(8))
    world = World(limit=8, room=8, arena=1)
    declared = attrs.evolve(PLAIN, reserve=2 * PAGE)
    assert breach_of(found(Runs, declared, *fill, world=world))[0] is Property.P11
    assert breach_of(found(Spares, None, *fill, world=world))[0] is Property.P7
    assert found(Spares, declared, *fill, world=world) is None


class Slides(Runs):
    """Slides a buffer down where the holes around it suffice."""

    contract = attrs.evolve(PLAIN, resize=Resize.SLIDING)

    def resize(self, base: int, size: int) -> int:
        old, new = self.busy[self.checked(base)], self.rounded(size)
        arena = self.arena_of(base)
        behind = self.hole_at(base + old) if base + old < arena + self.arenas[arena] else 0
        before = next((hole for hole in self.holes if sum(hole) == base and hole[0] >= arena), None)
        if new > old + behind and before is not None and before[1] + old + behind >= new:
            del self.busy[base]
            self.give(base, old)
            hole = next(hole for hole in self.holes if hole[0] == before[0])
            self.cut(hole[0], hole[1], self.place(hole, new), new)
            self.busy[self.place(hole, new)] = new
            return self.place(hole, new)
        return super().resize(base, size)

    def place(self, hole: tuple[int, int], size: int) -> int:
        """Return where in the joined hole the buffer goes."""
        del size
        return hole[0]


def test_a_resize_that_slides_stays_within_the_free_space_around_it() -> None:
    """A sliding resize conforms; one that is refused though it could slide is found, and one that slides too far."""
    steps = (
        Step(Action.ALLOC, 0, PAGE), Step(Action.ALLOC, 1, 2 * PAGE), Step(Action.ALLOC, 2, PAGE), Step(Action.FREE, 0),
        Step(Action.RESIZE, 1, 3 * PAGE),
    )  # fmt: skip
    world = World(limit=4, room=4, arena=4)
    assert found(Slides, None, *steps, world=world) is None
    assert "could slide" in breach_of(found(Runs, Slides.contract, *steps, world=world))[1]

    class TooFar(Slides):
        def resize(self, base: int, size: int) -> int:
            there = super().resize(base, size)
            self.busy[there - PAGE] = self.busy.pop(there)
            return there - PAGE

    low = Step(Action.ALLOC, 3, PAGE)
    world = World(limit=5, room=5, arena=5)
    assert "slid the buffer over" in breach_of(found(TooFar, None, low, *steps, world=world))[1]


def test_what_a_buffer_occupies_can_be_shown() -> None:
    """With rounding=shown, size_of() tells; a size below the request is found."""
    shown = attrs.evolve(PLAIN, fit=None, rounding=Rounding.SHOWN, completeness=Completeness.BEST_EFFORT)
    assert found(Own, shown) is None

    class Small(Runs):
        def size_of(self, base: int) -> int:
            return super().size_of(base) - PAGE

    assert "the request occupies at least" in breach_of(found(Small, shown, Step(Action.ALLOC, 0, PAGE)))[1]


def test_one_size_of_all_arenas_is_held() -> None:
    """Arenas of different sizes break a contract that names one size, or that the first arena has set."""
    steps = (Step(Action.ALLOC, 0, PAGE), Step(Action.ALLOC, 1, 8 * PAGE))
    world = World(limit=32, room=32)
    for declared in (attrs.evolve(PLAIN, arena=PAGE), attrs.evolve(PLAIN, arena=0)):

        def bare(source: Any, kva_limit: int) -> Runs:
            return Runs(source, kva_limit=kva_limit, arena_size=PAGE)

        assert breach_of(found(bare, declared, *steps, world=world))[0] is Property.P12


def test_an_int_like_argument_may_be_taken_for_the_int_that_it_equals() -> None:
    """An allocator that takes whatever has __index__ conforms, if it does so with and without freed buffers."""

    class Index(Runs):
        def rounded(self, size: int) -> int:
            return super().rounded(size if type(size) is int or isinstance(size, float) else size.__index__())

    assert check_space(Index, examples=1, checks=("other-numbers",)).conforms


def test_segments_may_show_bare_buffers_and_need_not_show_what_is_never_handed_out() -> None:
    """With a header, buffers are shown with it or without; a free range that is no hole is found."""

    class Headed(Runs):
        contract = attrs.evolve(PLAIN, fit=Fit.FIRST, header=PAGE, constraints=frozenset(), resize=Resize.NONE)
        lie = 0

        def alloc(self, size: int) -> int:
            return super().alloc(size + PAGE if type(size) is int and 0 < size <= 2**62 else size) + PAGE

        def free(self, base: int) -> None:
            if type(base) is not int:
                raise KeyError(base)
            super().free(base - PAGE)

        def size_of(self, base: int) -> int:
            return super().size_of(base - PAGE) - PAGE

        def stats(self) -> dict[str, Any]:
            shown = super().stats()
            return shown | {"live": shown["live"] - PAGE * len(self.busy)}

        def segments(self) -> tuple[Segment, ...]:
            shown = [
                Segment(one.base + PAGE, one.size - PAGE, one.kind, one.arena) if one.kind is Kind.BUSY else one
                for one in super().segments()
            ]
            if self.lie:
                shown.append(Segment(10**6 * PAGE, PAGE, Kind.FREE, 10**6 * PAGE))
            return tuple(shown)

    class Lies(Headed):
        lie = 1

    assert found(Headed) is None
    message = breach_of(found(Lies, None, Step(Action.ALLOC, 0, PAGE)))[1]
    assert "is shown as free, and is no hole" in message


def test_figures_and_checkers_are_held_to_their_types() -> None:
    """A largest hole that is no number is found, and whatever the allocator's own checker reports."""

    class Words(Runs):
        def stats(self) -> dict[str, Any]:
            return super().stats() | {"largest_hole": "large"}

    class Reports(Runs):
        def violations(self) -> list[Violation]:
            """Report something."""
            return [Violation("I3", "made up")]

    alloc = Step(Action.ALLOC, 0, PAGE)
    assert breach_of(found(Words, None, alloc))[0] is Property.P16
    assert breach_of(found(Reports, None, alloc))[0] is Property.P5


def test_ties_may_go_to_the_highest() -> None:
    """Best fit that takes the highest of equal holes conforms, and is no lowest."""

    class Highest(Runs):
        contract = attrs.evolve(PLAIN, fit=Fit.BEST, tie=Tie.HIGHEST)

        def candidates(self, size: int) -> Iterator[tuple[int, int]]:
            return iter(sorted(super().candidates(size), key=lambda hole: (hole[1], -hole[0])))

    assert found(Highest) is None
    assert breach_of(found(Highest, attrs.evolve(PLAIN, fit=Fit.BEST, tie=Tie.LOWEST)))[0] is Property.P8


def test_regions_may_be_used_again_before_they_must() -> None:
    """Space that must return only when its arena is free may return before; then the books take it as used."""
    by_arena = attrs.evolve(PLAIN, fit=None, coalescing=Coalescing.BY_ARENA, resize=Resize.NONE)
    assert found(Runs, by_arena) is None


def test_buddies_grow_only_into_their_block() -> None:
    """A buffer of the buddy system cannot grow over its block's boundary, even if what lies behind is free."""
    buddies = attrs.evolve(PLAIN, geometry=Geometry.BUDDY, fit=None, constraints=frozenset())
    steps = (
        Step(Action.ALLOC, 0, PAGE),
        Step(Action.ALLOC, 1, PAGE),
        Step(Action.FREE, 0),
        Step(Action.RESIZE, 1, 2 * PAGE),
    )
    message = breach_of(found(hide(Runs), buddies, *steps, world=World(limit=4, room=4, arena=4)))[1]
    assert "grew over what lies behind the buffer" in message


def test_laws_are_asked_where_they_are_declared_or_implied() -> None:
    """A fit implies the laws that its other promises leave; a declaration overrides that."""
    assert PLAIN.asked == frozenset(Law)
    assert attrs.evolve(PLAIN, fit=None).asked == frozenset()
    assert attrs.evolve(PLAIN, fit=None, laws=frozenset({Law.SHIFT})).asked == {Law.SHIFT}
    assert attrs.evolve(PLAIN, deterministic=False).asked == frozenset()
    assert attrs.evolve(PLAIN, header=16).asked == {Law.SHIFT}
    assert attrs.evolve(PLAIN, excluded=((0, 4095),)).asked == frozenset()
    assert attrs.evolve(PLAIN, geometry=Geometry.BUDDY_ABSOLUTE).asked == {Law.SCALE}


@pytest.mark.parametrize(
    "wrong",
    [
        {"header": -1}, {"max_size": 0}, {"classes": (8192, 4096)}, {"classes": (0,)}, {"excluded": ((5, 3),)},
        {"arena": 1.5}, {"max_segments": True},
    ],
    ids=str,
)  # fmt: skip
def test_a_contract_of_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    """Sizes, classes and ranges outside their ranges are refused with the field's name."""
    with pytest.raises(InvalidRequestError, match=next(iter(wrong))):
        attrs.evolve(PLAIN, **wrong)


def test_a_level_has_at_least_one_list() -> None:
    """TLSF without lists is refused."""
    with pytest.raises(InvalidRequestError, match="lists"):
        Completeness.TLSF(0)


def test_exploring_recalls_what_the_judge_knew() -> None:
    """A judge takes up where another was, by the same calls; a call that answers otherwise breaks P15."""
    subject = Subject(Runs)
    judge = Judge(subject, World(limit=6, room=6, arena=3))
    steps = (
        Step(Action.ALLOC, 0, PAGE), Step(Action.XALLOC, 1, PAGE, bounds=(("align", 2 * PAGE),)), Step(Action.FREE, 0),
        Step(Action.RESIZE, 1, 2 * PAGE), Step(Action.ALLOC, 2, 64 * PAGE), Step(Action.RECLAIM), Step(Action.STARVE, size=1),
        Step(Action.FREE, 9),
    )  # fmt: skip
    for step in steps:
        judge.do(step)
    memory = judge.memory()
    again = Judge.recalled(attrs.evolve(subject, on_step=lambda _: None), judge.world, memory)
    assert (again.live, again.books.segments(), again.figures.allocs) == (
        judge.live, judge.books.segments(), judge.figures.allocs,
    )  # fmt: skip
    assert memory.live == judge.live
    again.finish()
    with pytest.raises(Breach, match="when run again"):
        Judge.recalled(subject, judge.world, attrs.evolve(memory, outcomes=("0x1000", *memory.outcomes[1:])))
    with pytest.raises(Breach, match="raised MemoryError"):
        Judge.recalled(subject, World(limit=1, room=1, arena=1), memory)
    for step in (Step(Action.FREE, 1), Step(Action.REFREE, 1)):
        judge.do(step)
    with pytest.raises(InvalidRequestError, match="made again without a judge"):
        Judge.recalled(subject, judge.world, judge.memory())


def test_small_arenas_are_explored_without_a_counterexample() -> None:
    """Every program of four steps on four pages is right; without observers, too."""
    for make_space in (Runs, hide(Runs)):
        subject = Subject(make_space)
        for concern in concerns(subject, 4):
            assert explore(subject, concern, depth=3).found is None


def test_arenas_that_touch_may_be_one() -> None:
    """With spans=joined a hole across the seam is one hole."""
    joined = attrs.evolve(PLAIN, spans=Spans.JOINED, resize=Resize.NONE)
    assert found(Runs, joined) is not None  # it keeps arenas apart


def test_what_is_hidden_cannot_be_called() -> None:
    """A hidden call is a capability that the allocator lacks; all others are passed on."""
    judge = Judge(Subject(hide(Runs, "stats")), World())
    assert Capability.STATS not in judge.can
    assert Capability.SEGMENTS in judge.can
    assert Bounds() == Bounds()


class Keeps(Runs):
    """Leaves a rest of one page with the buffer."""

    contract = attrs.evolve(PLAIN, remainder=2 * PAGE, resize=Resize.NONE, constraints=frozenset())

    def take(self, size: int, align: int, hi: int) -> int:
        at = super().take(size, align, hi)
        rest = self.hole_at(at + size)
        if 0 < rest < 2 * PAGE:
            self.cut(at + size, rest, at + size, rest)
            self.busy[at] += rest
        return at


def test_a_rest_that_is_too_small_stays_with_the_buffer() -> None:
    """With remainder=2 pages a rest of one page is part of the buffer, and of no hole."""
    steps = (
        Step(Action.ALLOC, 0, 3 * PAGE), Step(Action.ALLOC, 1, PAGE), Step(Action.FREE, 0), Step(Action.ALLOC, 2, 2 * PAGE),
        Step(Action.ALLOC, 3, PAGE), Step(Action.FINISH),
    )  # fmt: skip
    world = World(limit=8, room=8, arena=8)
    assert found(Keeps, None, *steps, world=world) is None
    assert found(Runs, Keeps.contract, *steps, world=world) is not None


def test_a_full_table_of_segments_serves_only_whole_holes() -> None:
    """With no segment left for a rest, the first hole of exactly the size is taken, and other requests may be refused."""

    class Few(Runs):
        contract = attrs.evolve(PLAIN, max_segments=4, resize=Resize.NONE, constraints=frozenset())

        def candidates(self, size: int) -> Iterator[tuple[int, int]]:
            full = len(self.busy) + len(self.holes) >= 4
            return (hole for hole in super().candidates(size) if hole[1] == size or not full)

    alloc = [Step(Action.ALLOC, number, size * PAGE) for number, size in enumerate((2, 1, 1))]
    steps = (*alloc, Step(Action.FREE, 0), Step(Action.ALLOC, 3, PAGE), Step(Action.ALLOC, 4, 4 * PAGE))
    world = World(limit=8, room=8, arena=8)
    assert found(Few, None, *steps, world=world) is None
    assert breach_of(found(Runs, Few.contract, *steps, world=world))[0] is Property.P8
    assert breach_of(found(Few, PLAIN, *steps, world=world))[0] is Property.P7


def test_what_is_freed_while_the_source_maps_is_free_afterwards() -> None:
    """A buffer that the source frees in the middle of a map call is a hole; one that is gone or being resized stays."""
    steps = (
        Step(Action.FREE_IN_MAP, 7), Step(Action.ALLOC, 0, 2 * PAGE), Step(Action.ALLOC, 1, PAGE), Step(Action.FREE_IN_MAP, 1),
        Step(Action.ALLOC, 2, 2 * PAGE), Step(Action.ALLOC, 3, PAGE), Step(Action.FREE_IN_MAP, 0),
        Step(Action.RESIZE, 0, 4 * PAGE), Step(Action.FREE_IN_MAP, 3), Step(Action.STARVE, size=1),
        Step(Action.ALLOC, 4, 3 * PAGE), Step(Action.FINISH),
    )  # fmt: skip
    world = World(limit=16, room=16, arena=3)
    assert found(Runs, None, *steps, world=world) is None

    class Frozen(Runs):
        contract = attrs.evolve(PLAIN, constraints=frozenset())

        def take(self, size: int, align: int, hi: int) -> int:
            before = list(self.holes)
            if self.find(size, align, hi) is None and self.grow(size, align):
                new = [hole for hole in self.holes if hole[0] == self.newest]
                self.holes = sorted(before + new)
            return super().take(size, align, hi)

    assert found(Frozen, None, *steps, world=world) is not None
    report = check_space(Frozen, examples=1, checks=("pressure",))
    assert report.conforms
    assert any(verdict.ruling is Ruling.SUSPECT for verdict in report.verdicts)
    promised = attrs.evolve(Frozen.contract, reentrant=True)
    assert not check_space(Frozen, promised, examples=1, checks=("pressure",)).conforms


@pytest.mark.parametrize("design", [CoalescingSpace, BuddySpace])
def test_an_arena_that_was_mapped_in_vain_is_released(design: Any) -> None:
    """If a buffer that is freed while the source maps serves the request, the new arena is idle, and eager releases it."""

    def eager(source: Any, kva_limit: int, arena_size: int) -> Any:
        return design(source, kva_limit=kva_limit, arena_size=arena_size, release=EAGER)

    steps = (
        Step(Action.ALLOC, 0, PAGE), Step(Action.ALLOC, 1, PAGE), Step(Action.FREE_IN_MAP, 0), Step(Action.ALLOC, 2, PAGE),
        Step(Action.FINISH),
    )  # fmt: skip
    judge = Judge(Subject(eager), World(limit=8, room=8, arena=2))
    for step in steps[:-1]:
        judge.do(step)
    assert len(judge.source.ranges) == 1
    judge.finish()


def test_the_reference_keeps_one_idle_arena() -> None:
    """With retain(1) a second idle arena is released, and the first is kept."""
    assert found(CoalescingSpace) is None


def test_an_aligned_request_with_a_guard_may_be_refused() -> None:
    """What a constrained request with a header or a guard needs of a new arena is not known, and not demanded."""

    class Guarded(Runs):
        contract = attrs.evolve(PLAIN, guard=PAGE, resize=Resize.NONE)

        def rounded(self, size: int) -> int:
            return super().rounded(size) + PAGE

    steps = (
        Step(Action.ALLOC, 0, PAGE), Step(Action.XALLOC, 1, 2 * PAGE, bounds=(("align", 2 * PAGE),)),
    )  # fmt: skip
    assert found(Guarded, None, *steps, world=World(limit=4, room=4, arena=4)) is None


def test_a_refusal_is_explained_in_groups() -> None:
    """Holes that one rule killed are one line, and the hole that came nearest is named."""
    space = CoalescingSpace(KernelMap(size=32 * PAGE), kva_limit=32 * PAGE, arena_size=32 * PAGE)
    bases = [space.alloc(PAGE) for _ in range(32)]
    for base in bases[::4]:
        space.free(base)
    space.free(bases[1])
    with pytest.raises(ExhaustionError) as refused:
        space.alloc(3 * PAGE)
    text = str(refused.value.explain())
    assert "8 holes of 4096 to 8192 bytes" in text
    assert f"nearest: hole {bases[0]:#x}" in text


@pytest.mark.parametrize(("growth", "suspected"), [(1.0, True), (0.7, True), (0.5, False), (0.0, False)])
def test_work_that_grows_with_the_holes_is_suspect(
    growth: float, suspected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no more than logarithmic work is declared, a time that grows fourfold with eight times the holes is suspect."""

    def told(_subject: Subject, _contract: Contract, _quantum: int, holes: int) -> float:
        return 1e-3 * float(holes**growth)

    monkeypatch.setattr("coalloc.testing.worlds._time_with", told)
    report = check_space(Runs, attrs.evolve(PLAIN, work=Work.LOG), examples=1, checks=("hidden-work",))
    assert report.conforms
    assert (Ruling.SUSPECT in {verdict.ruling for verdict in report.verdicts}) is suspected


def test_a_quantum_beyond_the_granule_leaves_less_of_an_arena() -> None:
    """Random programs on a quantum of 64 KiB, for which an arena of pages may begin and end within a quantum, blame nobody."""
    target = next(row for row in rows() if row.file.endswith("quantum_64k.py"))
    subject = Subject(find_target(target.target), target.contract)
    assert all(random_program(subject, seed)[1] is None for seed in range(12))


def test_where_no_arena_has_room_nothing_is_asked_at_the_end() -> None:
    """If the limit is smaller than the one size of an arena, nothing can be had, and the end of a program asks for nothing."""
    target = next(row for row in rows() if row.file.endswith("fixed_arenas.py"))
    judge = Judge(Subject(find_target(target.target), target.contract), World(limit=1, room=1, arena=4))
    judge.finish()
    assert all(step.action is not Action.ALLOC for step in judge.steps)
