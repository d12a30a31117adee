"""The planted bugs, one by one and at once: the program or the directed check that shows each, and how one is planted."""

from __future__ import annotations

from pathlib import Path

import pytest

from coalloc import CoalescingSpace, InvalidRequestError
from coalloc.testing import MUTANTS, Property, Subject, World, loads, random_program, run_program
from coalloc.testing.check import first_breach
from coalloc.testing.mutants import Runs, mutant
from coalloc.testing.subject import make

HEAD = "coalloc check-program 1\n"
SHARED = {98, 99}
"""The mutants whose state outlives an allocator, so that a program shows them in a fresh process only."""


UNNOTICED = {
    8: 1, 10: 12, 11: 0, 14: 1, 21: 1, 23: 0, 25: 0, 40: 1, 45: 8, 55: 20, 56: 16, 69: 2, 70: 1, 75: 0, 79: 0, 81: 0, 90: 0,
    92: 0, 95: 0, 97: 0, 98: 0, 99: 0, 106: 0, 114: 3, 115: 1, 116: 1, 117: 3,
}  # fmt: skip
"""The seed of a random program in which a mutant's faulty code runs and does no harm."""
TOO_LONG = {70, 75, 79, 106}
"""The mutants whose directed check takes seconds and is run on another mutant."""


def programs() -> list[tuple[int, str, str]]:
    """Return mutants, the property that each breaks, and the program as text."""
    found = []
    for line in Path(__file__).with_name("mutants.txt").read_text(encoding="utf-8").splitlines()[1:]:
        names, _, steps = line.partition(": ")
        number, broken = names.split()
        found.append((int(number[1:]), broken, HEAD + steps.replace("; ", "\n") + "\n"))
    return found


PROGRAMS = programs()
BY_CHECK = {*MUTANTS} - {number for number, _, _ in PROGRAMS} - SHARED - TOO_LONG


@pytest.mark.parametrize(("number", "broken", "text"), PROGRAMS, ids=[f"M{number}" for number, _, _ in PROGRAMS])
def test_a_short_program_shows_a_planted_bug(number: int, broken: str, text: str) -> None:
    """A program that was once found for a mutant still breaks its property."""
    breach = run_program(Subject(MUTANTS[number].make_space), loads(text))
    assert breach is not None
    assert breach.property is Property[broken]


@pytest.mark.parametrize("number", sorted(BY_CHECK))
def test_a_directed_check_shows_a_planted_bug(number: int) -> None:
    """The directed check that a mutant names finds it."""
    planted = MUTANTS[number]
    met = first_breach(Subject(planted.make_space), planted.check)
    assert met is not None
    assert met[0].name == planted.check


@pytest.mark.parametrize("number", UNNOTICED)
def test_a_planted_bug_does_not_show_in_every_program(number: int) -> None:
    """A program that runs the faulty code need not break anything, so one program alone proves little."""
    assert random_program(Subject(MUTANTS[number].make_space), UNNOTICED[number])[1] is None


def test_what_is_no_power_of_two_aligns_nothing() -> None:
    """The space that the later mutants are made from refuses an alignment that is no power of two."""
    _, space = make(Runs, World())
    with pytest.raises(ValueError, match="align=3"):
        space.xalloc(4096, align=3)


def test_two_mutants_cannot_have_the_same_number() -> None:
    """A number that is taken is refused, so that no mutant hides another."""
    with pytest.raises(InvalidRequestError, match="there is a mutant of this number already"):
        mutant(1)(CoalescingSpace)
