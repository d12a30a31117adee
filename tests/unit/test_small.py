"""Small programs: every program of a few steps, the shortest first, and what they find is shortest."""

from __future__ import annotations

import attrs
import pytest

from coalloc.testing import MUTANTS, SUBJECTS, Property, Subject, run_program
from coalloc.testing.small import search_small
from coalloc.testing.steps import Action, CheckProgram
from tests import long, some

FOUND = some([1, 24, 9, 2, 3, 31, 5, 38, 53, 59, 67, 92, 95, 109, 117, 124], 4)
"""Some mutants that small programs find, of different kinds."""


@pytest.mark.parametrize("name", some(["per-pipe", "buddy", "coalescing", "vmem+qcache"], 2))
def test_small_programs_blame_no_correct_space(name: str) -> None:
    """Small programs find nothing in a correct space, and all of them are run."""
    search = search_small(Subject(SUBJECTS[name]))
    assert search.complete
    assert not search.found
    assert search.programs > 400
    assert search.operations > search.programs


@pytest.mark.parametrize("number", FOUND)
def test_what_small_programs_find_is_a_local_minimum(number: int) -> None:
    """Of no program that is found a step can be left out, or the limit be lowered by a page."""
    subject = Subject(MUTANTS[number].make_space)
    found = search_small(subject, first=True).found
    assert found
    for item, counterexample in found.items():
        program = counterexample.program
        assert _broken(subject, program) is item
        steps = program.steps
        for at in range(len(steps)):
            assert _broken(subject, attrs.evolve(program, steps=steps[:at] + steps[at + 1 :])) is not item
        limit = program.world.limit - 1
        if limit:
            lower = attrs.evolve(program.world, limit=limit, room=min(program.world.room, limit))
            assert _broken(subject, attrs.evolve(program, world=lower)) is not item


def _broken(subject: Subject, program: CheckProgram) -> Property | None:
    breach = run_program(subject, program)
    return breach.property if breach is not None else None


@long
def test_a_breach_when_all_is_freed_is_written_out() -> None:
    """A program whose breach shows when everything is freed at its end has the frees among its steps."""
    search = search_small(Subject(MUTANTS[3].make_space))
    assert Property.P12 in search.found
    for counterexample in search.found.values():
        assert all(step.action is not Action.FINISH for step in counterexample.program.steps)


def test_the_first_level_that_finds_anything_ends_a_quick_search() -> None:
    """With ``first`` the search ends after the number of steps with which anything was found."""
    quick = search_small(Subject(MUTANTS[31].make_space), first=True)
    whole = search_small(Subject(MUTANTS[31].make_space))
    assert quick.operations < whole.operations
    assert {*quick.found} <= {*whole.found}


def test_a_search_that_is_late_says_so() -> None:
    """A search that has no time left keeps what it found, and says that it is not complete."""
    calls = iter(range(1000))
    search = search_small(Subject(MUTANTS[31].make_space), late=lambda: next(calls) > 200)
    assert not search.complete
    assert search.programs == 201
    assert search.found


def test_an_allocator_that_cannot_be_made_is_found_with_no_step() -> None:
    """A factory that raises breaks P14 with a program without steps."""

    def make_space(source: object, *, kva_limit: int) -> object:
        raise RuntimeError(f"not today: {kva_limit} of {source}")

    search = search_small(Subject(make_space))
    assert search.found[Property.P14].program.steps == ()
