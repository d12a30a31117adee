"""A refusal is held to what it says: a wrong hole, a limit blamed wrongly, and remedies that do not help are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from coalloc import CoalescingSpace, ExhaustionError, KvaLimitError, NoSpaceError
from coalloc.errors import BadFreeError, Change, Explanation, FreeFault, HoleVerdict, Remedy, Rule
from coalloc.testing import Action, CheckProgram, Property, Step, Subject, World, run_program

PAGE = 4096
COMB = (
    *(Step(Action.ALLOC, number, PAGE) for number in range(8)),
    *(Step(Action.FREE, number) for number in (1, 3, 4)),
)
"""Holes of one page and of two in an arena of eight."""
REFUSED = CheckProgram(World(limit=8, room=8, arena=8), (*COMB, Step(Action.ALLOC, 9, 3 * PAGE)))
ALIGNED = CheckProgram(
    World(limit=8, room=8, arena=8), (*COMB, Step(Action.XALLOC, 9, 2 * PAGE, bounds=(("align", 2 * PAGE),)))
)
BETWEEN = (("lo", 2 * PAGE), ("hi", 5 * PAGE - 1))
BOUNDED = CheckProgram(
    World(limit=8, room=8, arena=8),
    (*COMB, Step(Action.ALLOC, 10, 2 * PAGE), Step(Action.XALLOC, 9, PAGE, bounds=BETWEEN)),
)

Lie = Callable[[Explanation], Explanation]


def subject(lie: Lie, error: Callable[[ExhaustionError], ExhaustionError] = lambda refusal: refusal) -> Subject:
    """The reference, whose refusals tell something else."""

    class Lies(CoalescingSpace):
        def alloc(self, size: int) -> int:
            return self._told(lambda: super(Lies, self).alloc(size))

        def xalloc(self, size: int, **bounds: int) -> int:
            return self._told(lambda: super(Lies, self).xalloc(size, **bounds))

        def _told(self, call: Callable[[], int]) -> int:
            try:
                return call()
            except ExhaustionError as refusal:
                true = refusal.explain()
                told = error(refusal)
                told._explain = lambda: lie(true)
                raise told from None

    return Subject(lambda source, *, kva_limit, arena_size: Lies(source, kva_limit=kva_limit, arena_size=arena_size))


def remedies(*given: Remedy) -> Lie:
    """An explanation with other remedies."""
    return lambda true: attrs.evolve(true, remedies=given)


def without_a_hole(true: Explanation) -> Explanation:
    """One hole is left out."""
    return attrs.evolve(true, verdicts=true.verdicts[1:])


def with_a_hole(true: Explanation) -> Explanation:
    """A hole is made up."""
    return attrs.evolve(true, verdicts=(*true.verdicts, HoleVerdict(0, PAGE, Rule.SIZE)))


LIES: list[tuple[str, CheckProgram, Lie]] = [
    ("a hole too few", REFUSED, without_a_hole),
    ("a hole too many", REFUSED, with_a_hole),
    ("a size that is too large", REFUSED, remedies(Remedy(Change.SIZE, 3 * PAGE))),
    ("a size that is too small", REFUSED, remedies(Remedy(Change.SIZE, PAGE))),
    ("a limit that is too low", REFUSED, remedies(Remedy(Change.KVA_LIMIT, 9 * PAGE))),
    ("an alignment that does not help", ALIGNED, remedies(Remedy(Change.ALIGN, 2 * PAGE))),
    ("a nocross that does not help", ALIGNED, remedies(Remedy(Change.NOCROSS, 8 * PAGE))),
    ("a lo that does not help", BOUNDED, remedies(Remedy(Change.LO, 2 * PAGE))),
    ("a lo that is lower than it need be", BOUNDED, remedies(Remedy(Change.LO, 0))),
    ("a hi that does not help", BOUNDED, remedies(Remedy(Change.HI, 5 * PAGE - 1))),
]


@pytest.mark.parametrize(("program", "lie"), [row[1:] for row in LIES], ids=[row[0] for row in LIES])
def test_an_explanation_that_is_wrong_breaks_p16(program: CheckProgram, lie: Lie) -> None:
    """The judge compares it with the holes, and tries each remedy and the next smaller change."""
    breach = run_program(subject(lie), program)
    assert breach is not None
    assert breach.property is Property.P16


@pytest.mark.parametrize("program", [REFUSED, ALIGNED, BOUNDED], ids=["size", "align", "bounds"])
def test_the_true_explanation_is_accepted(program: CheckProgram) -> None:
    """So what was found above was the lie; an explanation without remedies is one that claims nothing more."""
    assert run_program(subject(lambda true: true), program) is None
    assert run_program(subject(remedies()), program) is None


def test_a_limit_that_is_blamed_wrongly_breaks_p16() -> None:
    """The limit leaves room for an arena, and it is the source that has none."""

    def blame_the_limit(refusal: ExhaustionError) -> ExhaustionError:
        figures = {name: getattr(refusal, name) for name in ("free", "largest_hole", "mapped", "kva_limit")}
        return KvaLimitError(refusal.request, **figures)

    program = attrs.evolve(REFUSED, world=World(limit=16, room=8, arena=8))
    breach = run_program(subject(lambda true: true, blame_the_limit), program)
    assert breach is not None
    assert breach.property is Property.P16
    assert run_program(subject(lambda true: true), program) is None


def test_a_refusal_without_an_explanation_claims_nothing() -> None:
    """Allocators of other people may raise one; its figures are compared all the same."""

    class Plain(CoalescingSpace):
        def alloc(self, size: int) -> int:
            try:
                return super().alloc(size)
            except ExhaustionError as refusal:
                figures: dict[str, Any] = {
                    name: getattr(refusal, name) for name in ("free", "largest_hole", "mapped", "kva_limit")
                }
                raise NoSpaceError(refusal.request, **figures) from None

    assert run_program(Subject(Plain), REFUSED) is None


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        (Step(Action.REFREE, 1), FreeFault.NEVER_ALLOCATED),
        (Step(Action.FREE_INSIDE, 0, 8), FreeFault.NEVER_ALLOCATED),
        (Step(Action.FREE_WILD, at=100 * PAGE), FreeFault.FREED_TWICE),
    ],
    ids=["freed already", "inside a buffer", "never handed out"],
)
def test_a_bad_free_that_is_called_something_else_breaks_p10(step: Step, wrong: FreeFault) -> None:
    """The refusal says which of the mistakes it was."""

    class Lies(CoalescingSpace):
        def free(self, base: int) -> None:
            try:
                super().free(base)
            except BadFreeError as error:
                raise BadFreeError(error.address, wrong) from None

    program = attrs.evolve(REFUSED, steps=(*COMB, step))
    breach = run_program(Subject(Lies), program)
    assert breach is not None
    assert breach.property is Property.P10
    assert run_program(Subject(CoalescingSpace), program) is None
