"""The explorer: no counterexample on tiny arenas for the reference, and one for what is broken."""

from __future__ import annotations

import pytest

from coalloc import InvalidRequestError, PipeSystem
from coalloc.testing import MUTANTS, SUBJECTS, Property, Subject
from coalloc.testing.explore import concerns, explore, explore_pipes

STATES = {
    "one arena": 318, "two arenas": 278, "limit": 243, "failing source": 305, "alignment": 257, "nocross": 173,
    "quantum cache": 404, "release eager": 126, "release retain(1)": 173, "release never": 179, "resize": 395,
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_the_reference_has_no_counterexample_up_to_six_pages_and_five_steps(name: str) -> None:
    """The reference has no counterexample, and each concern has exactly as many states as the model."""
    subject = Subject(SUBJECTS["coalescing"])
    concern = next(concern for concern in concerns(subject, 6) if concern.name == name)
    done = explore(subject, concern, depth=5)
    assert (done.found, done.states) == (None, STATES[name])


def test_every_concern_is_listed() -> None:
    """Every concern is listed, except those that an allocator does not support or promise."""
    assert [concern.name for concern in concerns(Subject(SUBJECTS["coalescing"]), 6)] == list(STATES)
    assert [c.name for c in concerns(Subject(SUBJECTS["per-pipe"]), 6)] == ["one arena", "failing source", "resize"]


@pytest.mark.parametrize(("number", "name", "steps"), [(1, "one arena", 3), (3, "two arenas", 5), (44, "one arena", 6)])
def test_a_planted_bug_is_found_with_a_shortest_program(number: int, name: str, steps: int) -> None:
    """Exploring finds a planted bug with a program of at most the known length."""
    subject = Subject(MUTANTS[number].make_space)
    concern = next(concern for concern in concerns(subject, 6) if concern.name == name)
    done = explore(subject, concern, depth=7)
    assert done.found is not None
    assert len(done.found.program.steps) <= steps


def test_without_merging_every_program_is_run() -> None:
    """Without merging there is a state for each program, and with merging there are fewer."""
    subject = Subject(SUBJECTS["first-fit"])
    concern = next(concerns(subject, 3))
    whole, merged = (explore(subject, concern, depth=4, merge=merge) for merge in (False, True))
    assert whole.found is merged.found is None
    assert whole.states == whole.transitions + 1
    assert merged.states < whole.states


@pytest.mark.parametrize("name", ["coalescing", "per-pipe"])
def test_a_pipe_on_three_pages_has_no_counterexample(name: str) -> None:
    """No program of four calls breaks a pipe on three pages."""
    done = explore_pipes(SUBJECTS[name], pages=3, depth=4)
    assert (done.found, done.states > 50) == (None, True)


def test_a_pipe_that_loses_bytes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exploring finds a pipe system that never frees a buffer, and tells the calls."""
    monkeypatch.setattr(PipeSystem, "free_buffer", lambda _self, _half: None)
    done = explore_pipes(SUBJECTS["per-pipe"], pages=3, depth=4)
    assert done.found is not None
    assert done.found.breach.property in (Property.P4, Property.P6)
    assert done.found.program.title.startswith("pipe")


def test_numbers_out_of_range_are_refused() -> None:
    """A number that is out of range is refused by its name."""
    subject = Subject(SUBJECTS["coalescing"])
    with pytest.raises(InvalidRequestError, match="pages"):
        next(concerns(subject, 1))
    with pytest.raises(InvalidRequestError, match="depth"):
        explore(subject, next(concerns(subject, 4)), depth=0)
    with pytest.raises(InvalidRequestError, match="pages"):
        explore_pipes(SUBJECTS["coalescing"], pages=0)
