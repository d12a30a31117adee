"""Exploring and small programs: which configurations suit an allocator, what is found there, and pipes on a small map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from coalloc import CoalescingSpace, CoallocError, InvalidRequestError, PipeSystem
from coalloc.contract import Constraint
from coalloc.contract_text import parse_contract
from coalloc.pipes.pair import PipePair
from coalloc.testing import MUTANTS, SUBJECTS, Breach, Property, Subject, World, explore_pipes
from coalloc.testing import small as small_module
from coalloc.testing.explore import _PipeTrial, concerns, explore, in_full
from coalloc.testing.hidden import hide
from coalloc.testing.small import search_small
from coalloc.testing.steps import Action, Step

FIRST = SUBJECTS["first-fit"]
PLAIN = parse_contract("fit=first,resize=none,constraints=none,checks-frees=no,release=retain(1)")


def test_configurations_suit_the_allocator() -> None:
    """What an allocator takes and promises is explored; a contract that is given leaves out what would change it."""
    names = [concern.name for concern in concerns(Subject(FIRST), 4)]
    assert {"quantum cache", "release eager", "release never", "alignment", "nocross", "resize"} <= {*names}
    assert [concern.name for concern in concerns(Subject(FIRST, PLAIN), 4)] == [
        "one arena", "two arenas", "limit", "failing source",
    ]  # fmt: skip
    assert [concern.name for concern in concerns(Subject(SUBJECTS["per-pipe"]), 4)] == [
        "one arena", "failing source", "resize",
    ]  # fmt: skip


def test_what_exploring_finds_is_short() -> None:
    """From equal states the search goes on once, and a breach ends it with the shortest program."""
    *_, resize = concerns(Subject(SUBJECTS["per-pipe"]), 4)
    right = explore(Subject(SUBJECTS["per-pipe"]), resize, depth=3)
    assert right.found is None
    assert right.states < right.transitions
    subject = Subject(MUTANTS[1].make_space)
    wrong = explore(subject, next(concerns(subject, 4)), depth=4)
    assert wrong.found is not None
    assert len(wrong.found.program.steps) <= 3


@pytest.mark.parametrize(
    "call",
    [
        lambda: next(concerns(Subject(FIRST), 1)),
        lambda: next(concerns(Subject(FIRST), True)),
        lambda: explore(Subject(FIRST), next(concerns(Subject(FIRST), 4)), depth=0),
        lambda: explore_pipes(FIRST, pages=0),
    ],
)
def test_numbers_out_of_range_are_refused(call: Callable[[], object]) -> None:
    """A number that is out of range is refused."""
    with pytest.raises(InvalidRequestError, match="must be an int in"):
        call()


def test_exploring_tells_how_far_it_is() -> None:
    """Progress is told every 64 states, with and without merging."""
    told: list[tuple[int, int]] = []
    done = explore(
        Subject(FIRST), next(concerns(Subject(FIRST), 3)), depth=4, merge=False,
        progress=lambda states, transitions: told.append((states, transitions)),
    )  # fmt: skip
    assert done.found is None
    assert done.states == done.transitions + 1
    assert [states for states, _ in told] == [*range(64, done.states, 64)]


def test_a_program_that_fails_once_is_not_written_out() -> None:
    """A path that breaks nothing when it is run again gives no counterexample."""
    assert in_full(Subject(FIRST), World(), (Step(Action.ALLOC, 0, 4096),)) is None
    found = in_full(Subject(MUTANTS[31].make_space), World(limit=1, room=1, arena=1), (Step(Action.ALLOC, 0, 4096),))
    assert found is not None
    assert found.breach.property is Property.P7


# --- pipes ---------------------------------------------------------------------------------------------------------------


def test_pipes_on_a_small_map_lose_nothing() -> None:
    """No program of four calls breaks a pipe; progress is told every 64 states."""
    told: list[int] = []
    done = explore_pipes(SUBJECTS["per-pipe"], pages=3, depth=4, progress=lambda states, _: told.append(states))
    assert done.found is None
    assert told == [*range(64, done.states + 1, 64)]


def trial(*words: str, make_space: Any = SUBJECTS["per-pipe"]) -> _PipeTrial:
    """Make some calls on a pipe."""
    made = _PipeTrial(Subject(make_space), World(limit=4, room=8, arena=4))
    for word in words:
        made.call(word)
    return made


def test_calls_that_make_no_sense_change_nothing() -> None:
    """There is one pipe at a time, and a closed end neither writes, nor reads, nor closes again."""
    calls = ("pipe", "write 1", "close 0", "close 1")
    made = trial("write 1", "pipe", "pipe", "close 0", "close 0", "back 100", "read 1", "write 1", "close 1", "pipe")
    assert made.pair is not None
    made.look()
    made.close_all()
    assert made.pair is None
    made.close_all()
    assert trial(*calls).state() == trial(*calls).state()
    assert trial(make_space=hide(CoalescingSpace, "segments", "reclaim")).state() == ((), (), 0)
    trial(*calls, make_space=hide(CoalescingSpace, "reclaim", "violations")).close_all()


def test_bytes_that_were_never_written_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read is compared with a queue."""

    def read(_self: PipePair, _end: int, _n: int, *, into: bytearray) -> int:
        into += b"x"
        return 1

    monkeypatch.setattr(PipePair, "read", read)
    with pytest.raises(Breach, match="1 bytes read are not those that were written"):
        trial("pipe", "write 1", "read 1")


def test_an_error_of_the_system_is_a_breach(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of a pipe may be refused as pipes are; another error breaks P18."""

    def pipe(_self: PipeSystem) -> PipePair:
        raise CoallocError("no luck")

    monkeypatch.setattr(PipeSystem, "pipe", pipe)
    done = explore_pipes(SUBJECTS["per-pipe"], pages=3, depth=1)
    assert done.found is not None
    assert done.found.breach.property is Property.P18
    assert done.found.program.title == "pipe"


def test_what_stays_when_all_is_closed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charged bytes, mapped bytes, figures that do not agree, and misuse of the source."""
    made = trial("pipe")
    made.system.budget.kva_used += 4096
    with pytest.raises(Breach, match="pipekva is 4096 with all pipes closed"):
        made.close_all()
    kept = trial("pipe")
    kept.source.map(4096)
    with pytest.raises(Breach, match="4096 bytes stay mapped with all pipes closed"):
        kept.close_all()
    wrong = trial("pipe")
    monkeypatch.setattr(type(wrong.system), "violations", lambda _self: ["wrong"])
    with pytest.raises(Breach, match="wrong"):
        wrong.look()
    misused = trial("pipe")
    with pytest.raises(Breach):
        misused.source.unmap(1, 1)
    with pytest.raises(Breach, match="where no arena begins"):
        misused.look()


# --- small programs --------------------------------------------------------------------------------------------------------


def test_small_programs_suit_the_allocator() -> None:
    """Calls that there are not, or that are not promised, are not made."""
    tried: list[set[Action]] = []
    bare = hide(FIRST, "xalloc", "reclaim", "reserve", "segments")
    some = [attrs.evolve(PLAIN, constraints=frozenset({one})) for one in (Constraint.ALIGN, Constraint.HI)]
    for make_space, contract in ((FIRST, None), (bare, PLAIN), *((FIRST, contract) for contract in some)):
        steps: list[Step] = []
        subject = Subject(make_space, contract, on_step=steps.append)
        assert not search_small(subject, depth=2 if contract is None else 1).found
        tried.append({step.action for step in steps})
    assert tried[0] - tried[1] >= {Action.XALLOC, Action.RESERVE, Action.FREE_INSIDE, Action.FREE_WILD}
    assert {Action.ALLOC, Action.FREE, Action.STARVE} <= tried[1] <= tried[2] == tried[3]


def test_small_worlds_differ_where_no_arena_size_is_taken() -> None:
    """An allocator without arena_size gets one world for each limit."""
    worlds = list(small_module.small_worlds(Subject(SUBJECTS["per-pipe"])))
    assert len(worlds) == len({*worlds})
    assert not any(world.arena for world in worlds)
    buddies = list(small_module.small_worlds(Subject(SUBJECTS["buddy"], parse_contract("geometry=buddy"))))
    assert not any(world.arena & (world.arena - 1) for world in buddies)


def test_a_search_ends_when_it_is_late_or_cannot_begin() -> None:
    """A search without time says so, and a factory that raises is found with no step."""
    calls = iter([False, True])
    late = search_small(Subject(FIRST), late=lambda: next(calls))
    assert (late.complete, late.programs) == (False, 1)
    unmade = search_small(Subject(lambda *_, **__: 1 // 0))
    assert [(item, found.program.steps) for item, found in unmade.found.items()] == [(Property.P14, ())]


def test_one_program_is_kept_for_a_property() -> None:
    """The first program counts; one whose breach is another when it is run in full counts for that."""
    search = search_small(Subject(MUTANTS[31].make_space), first=True)
    assert {*search.found} >= {Property.P7}
    assert all(found.breach.property is item for item, found in search.found.items())
    found = dict(search.found)
    small_module._note(Subject(MUTANTS[31].make_space), next(iter(found.values())), found)
    assert found == search.found
    kept: dict[Property, Any] = {}
    small_module._note(Subject(FIRST), next(iter(found.values())), kept)
    assert kept == {}
