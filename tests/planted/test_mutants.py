"""The kit is tested: every planted bug that can exist here is killed, as the published matrix says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from coalloc.testing import MUTANTS, NOT_APPLICABLE, Kill, Property, kill, matrix_text
from coalloc.testing.on_targets import kill_targets
from tests import some

PUBLISHED = Path(__file__).parents[2] / "docs" / "kill_matrix.txt"
SHOWN, _, UNSEEN = PUBLISHED.read_text().partition("hidden, so that only answers tell")


def rows(text: str) -> dict[int, str]:
    """Return the rows of a table of the matrix, by the number of the mutant."""
    found = (re.match(r"M(\d+) .*  [.x]  ", line) for line in text.splitlines())
    return {int(row[1]): row.string for row in found if row is not None}


ROWS, HIDDEN_ROWS = rows(SHOWN), rows(UNSEEN)
LONG = {72: 840, 73: 65, 74: 34, 77: 840}
"""The steps of the programs that are longer than eight: these bugs need many buffers."""


SHARED = {98, 99}
"""The mutants whose state outlives an allocator, so that each is killed in a process of its own."""


def killed(number: int, *, hidden: bool) -> Kill:
    """Kill a mutant."""
    if number in SHARED:
        return next(kill_targets([number], hidden=hidden))
    return kill(MUTANTS[number], hidden=hidden)


@pytest.mark.parametrize("number", some(MUTANTS, 2))
def test_every_mutant_is_killed_as_published(number: int) -> None:
    """Each mutant's row is as published, and its program has at most eight steps unless it needs many buffers."""
    found = killed(number, hidden=False)
    assert found.killed
    assert matrix_text([found]).splitlines()[1] == ROWS[number]
    assert found.program is None or len(found.program.steps) <= LONG.get(number, 8)


@pytest.mark.parametrize("number", some(MUTANTS, 5))
def test_every_mutant_is_killed_by_its_answers_alone(number: int) -> None:
    """With segments(), stats() and violations() hidden each mutant is killed, unless its only fault is what it shows."""
    found = killed(number, hidden=True)
    assert found.killed is not MUTANTS[number].only_shown
    assert matrix_text([found]).splitlines()[1] == HIDDEN_ROWS[number]


def test_every_number_of_the_list_is_a_mutant_or_has_a_reason() -> None:
    """Each number from M1 to M124 is a mutant, or has a published reason why it cannot exist here."""
    assert sorted([*MUTANTS, *NOT_APPLICABLE]) == list(range(1, 125))
    assert len(MUTANTS) >= 110
    text = PUBLISHED.read_text()
    assert all(f"M{number:<3}{reason}" in text for number, reason in NOT_APPLICABLE.items())


def test_what_is_found_does_not_depend_on_chance() -> None:
    """At least nine of ten mutants are found without a random program, so that every seed gives the same program."""
    by_chance = [number for number, row in ROWS.items() if row.endswith(" random")]
    assert 10 * len(by_chance) <= len(ROWS)


def test_every_property_that_one_caller_can_break_kills_something() -> None:
    """Every property kills a mutant, except perhaps P19 and P20."""
    marks = {
        item: any(row[48 + 3 * n : 51 + 3 * n].strip() == "x" for row in ROWS.values())
        for n, item in enumerate(Property)
    }
    missing = {item.name for item, killed in marks.items() if not killed}
    assert missing <= {"P19", "P20"}


def test_mutants_say_who_had_the_bug() -> None:
    """Each mutant's name consists of words, and its title is a sentence."""
    for mutant in MUTANTS.values():
        assert re.fullmatch(r"[a-z][a-z0-9 ]+", mutant.name), mutant.name
        assert mutant.title.endswith(".")
