"""Which promises of the kit multiprocessing.heap.Heap keeps, and which it would break."""

from __future__ import annotations

import attrs
import pytest

from coalloc import Contract, Fit, Tie
from coalloc.contract import EAGER
from coalloc.testing import (
    Action,
    CheckProgram,
    Property,
    Ruling,
    Step,
    Subject,
    World,
    check_space,
    conformance,
    run_program,
)
from tests import NIGHTLY, long
from tests.adapters.heap import KEPT, HeapSpace

PAGE = 4096

if NIGHTLY:
    TestHeap = conformance(HeapSpace, examples=10, steps=20, programs=8)


def breaks(contract: Contract, *steps: Step) -> Property | None:
    """Return the property that a program breaks, or None."""
    breach = run_program(Subject(HeapSpace, contract), CheckProgram(World(), steps))
    return None if breach is None else breach.property


@long
def test_the_whole_table() -> None:
    """Heap conforms at its level, and the report lists the properties that it does not promise."""
    report = check_space(HeapSpace, examples=5)
    assert report.conforms
    unpromised = {v.property.name for v in report.verdicts if v.ruling is Ruling.NOT_PROMISED}
    assert unpromised == {"P3", "P4", "P5", "P10", "P11", "P16", "P17", "P18", "P19", "P20"}


def test_it_is_best_fit_and_takes_the_newest_of_equals() -> None:
    """Of two holes of 64 bytes, Heap takes the one that was freed last, not the lowest."""
    steps = [Step(Action.ALLOC, number, 64) for number in range(4)]
    steps += [Step(Action.FREE, 0), Step(Action.FREE, 2), Step(Action.ALLOC, 9, 64)]
    assert breaks(KEPT, *steps) is None
    assert breaks(attrs.evolve(KEPT, tie=Tie.LOWEST), *steps) is Property.P8
    assert breaks(attrs.evolve(KEPT, tie=None, fit=Fit.FIRST), *steps) is Property.P8


def test_small_arenas_are_never_given_back() -> None:
    """Heap keeps a small arena that is wholly free, so it cannot promise eager release."""
    steps = [Step(Action.ALLOC, 0, 64), Step(Action.FREE, 0)]
    assert breaks(KEPT, *steps) is None
    assert breaks(attrs.evolve(KEPT, release=EAGER), *steps) is Property.P12


@pytest.mark.filterwarnings("ignore")
def test_a_second_free_is_noticed_too_late() -> None:
    """After a second free of a block, Heap hands the block out twice, so it cannot promise to check frees."""
    steps = [Step(Action.ALLOC, 0, 64), Step(Action.ALLOC, 1, 64), Step(Action.FREE, 0), Step(Action.REFREE, 0)]
    steps += [Step(Action.ALLOC, 2, 64), Step(Action.ALLOC, 3, 64)]
    checked = attrs.evolve(KEPT, checks_frees=True)
    assert breaks(checked, *steps) in (Property.P1, Property.P7)
