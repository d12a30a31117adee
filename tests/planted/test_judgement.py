"""The kit's judgement in cases where it once was wrong: correct allocators that were blamed, and bugs that were overlooked."""

from __future__ import annotations

import unittest
from typing import Any

import attrs
import pytest

from benchmarks.strangers import FOLDER
from coalloc import NEVER, RETAIN, CoalescingSpace, Contract, Fit, Work
from coalloc.contract_text import parse_contract
from coalloc.errors import ProgramError
from coalloc.testing import (
    SUBJECTS,
    Action,
    CheckProgram,
    Property,
    Ruling,
    Step,
    Subject,
    World,
    check_space,
    conformance,
    dumps,
    loads,
    run_program,
)
from coalloc.testing.directed import CHECKS
from coalloc.testing.targets import find_target
from coalloc.testing.worlds import WORLDS
from tests import long

PAGE = 4096
DIRECT = tuple(check.name for check in CHECKS if check not in WORLDS)
"""The directed checks in small worlds."""


class Opaque:
    """The reference behind the smallest interface that an allocator may have."""

    def __init__(self, source: Any, *, kva_limit: int, arena_size: int) -> None:
        self._space = CoalescingSpace(source, kva_limit=kva_limit, arena_size=arena_size, fit=Fit.FIRST, release=NEVER)

    contract = Contract(fit=Fit.FIRST, tie=None, release=NEVER)

    def alloc(self, size: int) -> int:
        """Allocate."""
        return self._space.alloc(size)

    def free(self, base: int) -> None:
        """Free."""
        self._space.free(base)


class KeepsThree(Opaque):
    """The same allocator, which declares how many arenas it keeps."""

    contract = Contract(fit=Fit.FIRST, tie=None, release=RETAIN(99))


@pytest.mark.parametrize("make_space", [Opaque, KeepsThree])
def test_who_keeps_its_arenas_and_has_no_reclaim_is_not_asked_for_them(make_space: Any) -> None:
    """An allocator that keeps idle arenas and has no reclaim conforms."""

    class Without(make_space):  # type: ignore[misc]
        def alloc(self, size: int) -> int:
            """Allocate, without what the reference does before it refuses."""
            space = self._space
            reclaim, space.reclaim = space.reclaim, lambda: 0
            try:
                return int(super().alloc(size))
            finally:
                space.reclaim = reclaim

    report = check_space(make_space, examples=40, checks=DIRECT)
    assert report.conforms, [v for v in report.verdicts if v.ruling is Ruling.BROKEN]


def test_a_long_check_gives_signs_of_life() -> None:
    """A long directed check reports each of its calls, so that a slow one is not taken for hanging."""
    calls = [0]

    def tell() -> None:
        calls[0] += 1

    for name, least in (("growth", 5000), ("robson", 10_000), ("fifty-percent", 3000)):
        calls[0] = 0
        check = next(check for check in CHECKS if check.name == name)
        check.run(Subject(SUBJECTS["first-fit"], on_call=tell))
        assert calls[0] > least


@pytest.mark.parametrize(
    "step",
    [
        Step(Action.XALLOC, 1, PAGE, bounds=(("align", 3),)),
        Step(Action.XALLOC, 1, PAGE, bounds=(("nocross", 5000),)),
        Step(Action.XALLOC, 1, PAGE, bounds=(("phase", PAGE),)),
        Step(Action.RESERVE, 1, 0, at=0),
        Step(Action.RESIZE, 0, 0),
        Step(Action.RESIZE, 0, 2**63 + 1),
    ],
    ids=str,
)
def test_steps_that_mean_nothing_blame_nobody(step: Step) -> None:
    """A meaningless step breaks no property of the reference, and survives the text format."""
    program = CheckProgram(World(limit=8, room=8), (Step(Action.ALLOC, 0, PAGE), step, Step(Action.FINISH)))
    assert run_program(Subject(CoalescingSpace), program) is None
    assert loads(dumps(program)) == program


@pytest.mark.parametrize("words", ["base=1", "base=0xffffffffffff0000", "granule=3000", "slack=4096"])
def test_worlds_that_cannot_be_are_no_programs(words: str) -> None:
    """An impossible world is refused with the number of its line."""
    with pytest.raises(ProgramError, match="line 2"):
        loads(f"coalloc check-program 1\nsetting limit=32 {words}\nalloc 0 4096\n")


def test_a_loop_without_an_end_fails_one_test_and_skips_the_others() -> None:
    """A call that does not return fails test_calls_return, and all further tests of the class are skipped."""

    class Loops(CoalescingSpace):
        def free(self, base: int) -> None:  # noqa: ARG002
            """Never return."""
            while True:
                pass

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(conformance(Loops, examples=3, programs=2))
    result = unittest.TestResult()
    suite.run(result)
    ((test, text),) = [*result.failures, *result.errors]
    assert test.id().endswith("test_calls_return")
    assert "a call does not return" in text
    assert {reason for _, reason in result.skipped} == {"a call does not return"}


@long
def test_a_logarithm_is_no_constant() -> None:
    """First fit, declared as constant work, breaks P17."""
    contract = attrs.evolve(Subject(SUBJECTS["first-fit"]).declared, work=Work.CONSTANT)
    report = check_space(SUBJECTS["first-fit"], contract, examples=1, checks=DIRECT)
    assert [verdict.property for verdict in report.verdicts if verdict.ruling is Ruling.BROKEN] == [Property.P17]
    assert "constant growth was declared" in report.verdicts[16].note


@long
def test_mapping_an_arena_while_work_is_counted_is_not_taken_for_growth() -> None:
    """A space with arenas of 1 MiB conforms, although it maps arenas while its work is counted."""

    def make_space(source: Any, *, kva_limit: int) -> CoalescingSpace:
        return CoalescingSpace(source, kva_limit=kva_limit, arena_size=1 << 20)

    assert check_space(make_space, examples=1, checks=DIRECT).conforms


@long
def test_a_resize_that_is_wrong_for_one_pair_of_sizes_is_found() -> None:
    """A resize that fails only from four quanta to five breaks P18, shown with at most four steps."""

    class Steals(CoalescingSpace):
        def resize(self, base: int, size: int) -> int:
            """Take a page that may be somebody's."""
            if size == 5 * PAGE and self.size_of(base) == 4 * PAGE:
                return base
            return super().resize(base, size)

    report = check_space(Steals, examples=1, checks=DIRECT)
    verdict = next(v for v in report.verdicts if v.property is Property.P18)
    assert verdict.ruling is Ruling.BROKEN
    assert verdict.found is not None
    assert len(verdict.found.program.steps) <= 4


def test_what_an_allocator_says_in_lines_is_told_in_one() -> None:
    """An allocator's error of several lines is told on one line in the report."""

    class Talks(CoalescingSpace):
        def alloc(self, size: int) -> int:  # noqa: ARG002
            """Fail at length."""
            raise RuntimeError("first\nsecond: it's broken")

    report = check_space(Talks, examples=1, checks=())
    notes = [verdict.note for verdict in report.verdicts if verdict.ruling is Ruling.BROKEN]
    assert any("raised RuntimeError: first second: it's broken" in note for note in notes)
    assert not any("\n" in note for note in notes)


@long
def test_a_breach_of_a_long_program_is_one_that_its_program_shows() -> None:
    """The program of each verdict breaks the verdict's property when it is run again."""
    for number in (3, 68):
        from coalloc.testing import MUTANTS

        subject = Subject(MUTANTS[number].make_space)
        for verdict in check_space(MUTANTS[number].make_space, examples=20, checks=("many-arenas",)).verdicts:
            if verdict.found is not None and verdict.property not in (Property.P15, Property.P21):
                breach = run_program(subject, verdict.found.program)
                assert breach is not None
                assert breach.property is verdict.property


def test_the_only_cached_buffer_may_be_handed_out_by_the_cache_or_carved_again() -> None:
    """The judge accepts next fit both after a cache hit and after carving the only cached buffer again."""
    pages = [Step(Action.ALLOC, number, PAGE) for number in range(8)]
    frees = [Step(Action.FREE, 8), Step(Action.FREE, 7)]
    steps = (*pages, Step(Action.FREE, 2), Step(Action.XALLOC, 8, PAGE), *frees, Step(Action.ALLOC, 9, 2 * PAGE))
    program = CheckProgram(World(limit=8, room=8, arena=2), (*steps, Step(Action.ALLOC, 10, PAGE), Step(Action.FINISH)))
    assert run_program(Subject(SUBJECTS["next-fit+cache"]), program) is None
    by_the_cache = attrs.evolve(
        program, steps=tuple(s._replace(action=Action.ALLOC) if s.action is Action.XALLOC else s for s in steps)
    )
    assert run_program(Subject(SUBJECTS["next-fit+cache"]), by_the_cache) is None


def test_an_address_that_a_resize_moved_a_buffer_from_was_freed() -> None:
    """The reference says that such an address was freed already, and is right: only bases never handed out are strange."""
    steps = (Step(Action.ALLOC, 0, PAGE), Step(Action.RESIZE, 0, 2 * PAGE), Step(Action.FREE_WILD, at=0))
    assert run_program(Subject(CoalescingSpace), CheckProgram(World(3, 3, arena=1), steps)) is None


def test_a_sliding_resize_may_leave_its_old_range_entirely() -> None:
    """A buffer that slides to the far end of the hole below it has not moved by the fit; who declares no slide is blamed."""
    file = FOLDER / "correct" / "resize_in_place.py"
    sizes = (2, 1, 3, 1, 2)
    buffers = tuple(Step(Action.ALLOC, number, n * PAGE) for number, n in enumerate(sizes))
    steps = (*buffers, Step(Action.FREE, 0), Step(Action.FREE, 2), Step(Action.RESIZE, 3, 2 * PAGE))
    program = CheckProgram(World(9, 9, arena=9), (*steps, Step(Action.FINISH)))
    make_space = find_target(f"{file}:ResizingHeap")
    assert run_program(Subject(make_space, parse_contract("fit=first,resize=sliding")), program) is None
    breach = run_program(Subject(make_space, parse_contract("fit=first,resize=in-place")), program)
    assert breach is not None
    assert breach.property is Property.P8


def test_who_keeps_the_limit_may_declare_that_it_does_not() -> None:
    """What the limit refuses is excused where no limit is promised; an empty allocator below it has to serve."""
    weak = attrs.evolve(Subject(CoalescingSpace).declared, limited=False)
    full = CheckProgram(World(1, 9, arena=1), (Step(Action.ALLOC, 0, PAGE), Step(Action.ALLOC, 1, PAGE)))
    assert run_program(Subject(CoalescingSpace, weak), full) is None

    def refuses(source: Any, *, kva_limit: int, arena_size: int) -> Any:
        return CoalescingSpace(source, kva_limit=kva_limit - PAGE, arena_size=arena_size)

    below = CheckProgram(World(2, 9, arena=1), full.steps)
    breach = run_program(Subject(refuses, weak), below)
    assert breach is not None
    assert breach.property is Property.P7
