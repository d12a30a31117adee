"""What each command does to a TARGET, with children that are threads: checks, soaks, explorations, kills, replays."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from coalloc import CoallocError, Contract, InvalidRequestError
from coalloc.contract_text import parse_contract
from coalloc.testing import (
    MUTANTS,
    Action,
    Breach,
    CheckProgram,
    Counterexample,
    Property,
    Report,
    Ruling,
    SoakResult,
    Step,
    Verdict,
    World,
    loads,
    on_targets,
)
from coalloc.testing.check import Findings, Piece
from coalloc.testing.explore import Exploration
from coalloc.testing.isolate import Stopped, crew, run_in_child
from coalloc.testing.on_targets import (
    check_target,
    declared_by,
    deepen_target,
    explore_target,
    kill_targets,
    python_of,
    replay_target,
    soak_target,
)
from tests.unit.allocators import HangsUnmade, Plain

TARGET = "tests.unit.allocators:{}".format
PLAIN = TARGET("Plain")
BRIEF = 0.05
SHORT = (Piece(0, 2), Piece(checks=("comb",)))
SHOWN = loads("coalloc check-program 1\nsetting limit=1 room=1 base=0x0 arena=1\nalloc 0 4096\n")
"""A program that shows the bug of M31."""
FREES = CheckProgram(World(limit=2, room=2), (Step(Action.ALLOC, 0, 4096), Step(Action.FREE, 0)))

pytestmark = pytest.mark.usefixtures("in_process", "short")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a check have little to do."""
    monkeypatch.setattr(on_targets, "pieces_of", lambda _examples, *, thorough: SHORT[: 2 - thorough])


def rulings(report: Report) -> dict[Property, Ruling]:
    """Return the rulings of a report."""
    return {verdict.property: verdict.ruling for verdict in report.verdicts}


# --- what is declared ---------------------------------------------------------------------------------------------


def test_what_a_target_declares_is_asked_in_a_child() -> None:
    """The contract is returned; None if there is none, or if the allocator cannot be made or hangs while it is made."""
    assert isinstance(declared_by(PLAIN), Contract)
    assert declared_by(TARGET("NoContract")) is None
    assert declared_by(TARGET("Unmade")) is None
    assert declared_by(TARGET("HangsUnmade"), timeout=BRIEF) is None
    with pytest.raises(InvalidRequestError, match=r"is no coalloc\.Contract"):
        declared_by(TARGET("Odd"))


# --- mutants --------------------------------------------------------------------------------------------------------


def test_mutants_are_killed_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is killed in a child, and one that does not return is killed by the clock."""
    (killed,) = kill_targets([31])
    assert (killed.properties, killed.by) == ((Property.P7,), "small")
    monkeypatch.setitem(MUTANTS, 31, attrs.evolve(MUTANTS[31], make_space=_hanging))
    (hung,) = kill_targets([31], timeout=BRIEF)
    assert (hung.properties, hung.by, hung.program) == ((Property.P17,), "the clock", None)


def _hanging(source: Any, *, kva_limit: int) -> object:
    """Make no allocator."""
    return HangsUnmade(source, kva_limit=kva_limit)


# --- checks ---------------------------------------------------------------------------------------------------------


def test_a_correct_target_conforms() -> None:
    """All pieces are run, and progress is told after each."""
    told: list[int] = []
    report = check_target(PLAIN, progress=told.append)
    assert report.conforms
    assert (report.programs, told) == (2, [1, 2])
    with crew(2) as executor:
        assert check_target(PLAIN, executor=executor) == report
    assert check_target(PLAIN, thorough=True).programs == 2


@pytest.fixture
def defaults(short: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001 (comes after it)
    """Let a check be the one that finds M90."""
    monkeypatch.setattr(on_targets, "pieces_of", lambda _examples, **_: (Piece(checks=("defaults",)),))


@pytest.mark.usefixtures("defaults")
def test_a_breach_is_shown_again_in_a_fresh_child() -> None:
    """A verdict that is shown again is broken, with its program."""
    (broken,) = (verdict for verdict in check_target("M90").verdicts if verdict.ruling is Ruling.BROKEN)
    assert broken.found is not None
    again = replay_target("M90", broken.found.program)
    assert again is not None
    assert again.breach.property is broken.property


def test_a_target_that_cannot_be_made_has_a_report_too() -> None:
    """A factory that raises breaks P14, and one that hangs or ends its process breaks P17; the rest is not checked."""
    for name, broken in (("Unmade", Property.P14), ("HangsUnmade", Property.P17), ("DiesUnmade", Property.P17)):
        report = check_target(TARGET(name), timeout=BRIEF if name == "HangsUnmade" else 60.0)
        assert rulings(report) == {
            item: Ruling.BROKEN if item is broken else Ruling.NOT_CHECKED for item in Property
        }, name


def test_a_call_that_does_not_return_breaks_p17_and_ends_the_check() -> None:
    """The hung program is shown, the pieces after it are not run, and nothing is called held."""
    for name, patience in (("Hangs", BRIEF), ("Exits", 60.0)):
        report = check_target(TARGET(name), timeout=patience)
        assert rulings(report)[Property.P17] is Ruling.BROKEN
        assert Ruling.HELD not in rulings(report).values()
        assert report.unrun == ("2 random programs",)
    notes = {verdict.note for verdict in report.verdicts if verdict.ruling is Ruling.NOT_CHECKED}
    assert notes == {"the allocator did not come back"}


def test_what_hangs_once_is_kept_as_it_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the second run, in which each step is told, returns, the first one is reported, and cannot be shown again."""
    real, runs = run_in_child, []

    def once(work: Callable[..., object], target: str, arguments: Any, **named: Any) -> Any:
        if "piece" in arguments:
            runs.append(arguments["watch"])
        return real(work, target if len(runs) == 1 else PLAIN, arguments, **named)

    monkeypatch.setattr(on_targets, "run_in_child", once)
    report = check_target(TARGET("Hangs"), timeout=BRIEF)
    assert runs[:2] == [False, True]
    (seen,) = (verdict for verdict in report.verdicts if verdict.property is Property.P17)
    assert seen.ruling is Ruling.NOT_REPRODUCIBLE
    assert "nothing has come back" in seen.note


def test_an_interrupt_between_pieces_ends_a_check() -> None:
    """A report on an interrupted check says so, and calls nothing held."""

    def interrupt(_done: int) -> None:
        raise KeyboardInterrupt

    report = check_target(PLAIN, progress=interrupt)
    assert report.interrupted
    assert Ruling.HELD not in rulings(report).values()


@pytest.mark.usefixtures("defaults")
def test_an_interrupt_while_a_breach_is_shown_keeps_the_breach(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found counts, though nobody has shown it again."""

    def interrupted(*_: object) -> Verdict:
        raise KeyboardInterrupt

    monkeypatch.setattr(on_targets, "_show_again", interrupted)
    report = check_target("M90")
    assert report.interrupted
    assert Ruling.BROKEN in rulings(report).values()


def test_a_stopped_piece_returns_what_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an executor the other pieces are still read; without one the check ends."""
    seen = Verdict(Property.P5, Ruling.BROKEN, "seen")
    real = run_in_child

    def stopped(work: Callable[..., object], *rest: Any, heard: Any = None, **named: Any) -> Any:
        if heard is None:
            return real(work, *rest, **named)
        heard(seen)
        raise Stopped

    monkeypatch.setattr(on_targets, "run_in_child", stopped)
    alone = check_target(PLAIN)
    with crew(1) as executor:
        together = check_target(PLAIN, executor=executor)
    assert (alone.unrun, together.unrun) == (("2 random programs",), ("2 random programs", "comb"))
    assert rulings(alone)[Property.P5] is rulings(together)[Property.P5] is Ruling.BROKEN
    assert on_targets._names_of(Piece(small=True)) == ("small programs",)


# --- showing again ---------------------------------------------------------------------------------------------------


def verdict(item: Property, program: CheckProgram | None = None, *, check: str = "", raw: Any = None) -> Verdict:
    """Return a verdict as a check reaches it."""
    found = Counterexample(program, Breach(item, "seen")) if program is not None else None
    return Verdict(item, Ruling.BROKEN, "seen", found, check, raw)


def show(target: str, seen: Verdict, contract: Contract | None = None) -> Verdict:
    """Show a verdict again."""
    return on_targets._show_again(target, contract, seen, 60.0)


def test_a_verdict_without_a_program_is_shown_by_its_check() -> None:
    """It stands if the check finds something again, and if there is no check; else it is not reproducible."""
    assert show("M20", verdict(Property.P2, check="great-numbers")).ruling is Ruling.BROKEN
    assert show(PLAIN, verdict(Property.P5)).ruling is Ruling.BROKEN
    for name in ("comb", "fifty-percent", "no such check"):
        assert show(PLAIN, verdict(Property.P5, check=name)).ruling is Ruling.NOT_REPRODUCIBLE


def test_a_verdict_on_another_property_is_shown_as_what_it_is() -> None:
    """If the program breaks another property when it is run again, that one is reported, with the shortest program."""
    longer = attrs.evolve(SHOWN, steps=(Step(Action.STARVE), *SHOWN.steps))
    for program, raw in ((longer, None), (FREES, longer)):
        shown = show("M31", verdict(Property.P5, program, raw=raw))
        assert (shown.property, shown.ruling) == (Property.P7, Ruling.BROKEN)
        assert shown.found is not None
        assert shown.found.program.steps == SHOWN.steps


def test_what_its_check_alone_shows_is_reported_without_a_program() -> None:
    """A check may look at more than the program; what neither shows is not reproducible."""
    shown = show("M71", verdict(Property.P7, FREES, check="robson"))
    assert (shown.ruling, shown.found) == (Ruling.BROKEN, None)
    assert show("M71", verdict(Property.P5, FREES, check="robson")).ruling is Ruling.NOT_REPRODUCIBLE
    assert show(PLAIN, verdict(Property.P5, FREES)).ruling is Ruling.NOT_REPRODUCIBLE


def test_where_the_first_verdict_cannot_be_shown_again_another_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several pieces that break a property, the first whose verdict is shown again counts; else the first of all."""
    program = attrs.evolve(SHOWN, steps=(Step(Action.ALLOC, 0, 1),))
    seen = verdict(Property.P17, program), verdict(Property.P17, FREES), verdict(Property.P17, SHOWN)
    pieces = iter([Findings((each,)) for each in seen] * 2)
    monkeypatch.setattr(on_targets, "pieces_of", lambda *_, **__: [Piece(0, 1)] * 3)
    monkeypatch.setattr(on_targets, "_check_piece", lambda *_: next(pieces))
    shows: set[int] = {2}

    def show_again(_target: str, _contract: object, tried: Verdict, _timeout: float) -> Verdict:
        return tried if seen.index(tried) in shows else attrs.evolve(tried, ruling=Ruling.NOT_REPRODUCIBLE)

    monkeypatch.setattr(on_targets, "_show_again", show_again)
    found = {v.property: v for v in check_target(PLAIN).verdicts}[Property.P17]
    assert (found.ruling, found) == (Ruling.BROKEN, seen[2])
    shows.clear()
    assert rulings(check_target(PLAIN))[Property.P17] is Ruling.NOT_REPRODUCIBLE


def test_a_verdict_that_moves_makes_room() -> None:
    """What was broken refers to the property that is; a property that is broken already keeps its own verdict."""
    seen, other = verdict(Property.P5), verdict(Property.P7, SHOWN)
    held = tuple(Verdict(item, Ruling.HELD) for item in Property)

    def report(*broken: Verdict) -> Report:
        by_property = {v.property: v for v in held} | {v.property: v for v in broken}
        return Report(parse_contract(""), tuple(by_property.values()), 1, 1, 0)

    moved = {v.property: v for v in on_targets._replace(report(seen), seen, other).verdicts}
    assert (moved[Property.P5].ruling, moved[Property.P5].note) == (Ruling.NOT_CHECKED, "see P7")
    assert moved[Property.P7] is other
    first = verdict(Property.P7, FREES)
    kept = {v.property: v for v in on_targets._replace(report(seen, first), seen, other).verdicts}
    assert kept[Property.P7] is first
    assert kept[Property.P5].ruling is Ruling.NOT_CHECKED


def test_a_program_is_replayed_in_a_child() -> None:
    """What breaks is returned with the program, what hangs breaks P17, and what is right gives None."""
    assert replay_target(PLAIN, FREES) is None
    hung = replay_target(TARGET("Hangs"), FREES, timeout=BRIEF)
    assert hung is not None
    assert hung.breach.property is Property.P17
    assert hung.program.steps == FREES.steps


def test_an_allocator_that_cannot_be_made_breaks_every_program() -> None:
    """A program on an allocator whose factory raises is no error of the caller: it breaks P14."""
    found = replay_target(TARGET("Unmade"), FREES)
    assert found is not None
    assert found.breach.property is Property.P14
    assert found.program == FREES


def test_python_that_cannot_be_written_is_a_comment() -> None:
    """A program whose calls hang is shown by its breach alone."""
    found = Counterexample(FREES, Breach(Property.P17, "seen"))
    assert "space.free(b0)" in python_of(PLAIN, found)
    assert python_of(TARGET("Hangs"), found, timeout=BRIEF) == f"# {found.breach}\n"


# --- soaks ------------------------------------------------------------------------------------------------------------


def test_a_soak_goes_on_in_pieces() -> None:
    """Pieces of 1, 2, 4, ... programs are run until there is enough; the end says where to go on."""
    result = soak_target(PLAIN, start=5, enough=lambda programs, _: programs >= 3)
    assert (result.programs, result.next_program, result.found) == (3, 8, None)
    with crew(2) as executor:
        again = soak_target(PLAIN, start=5, enough=lambda programs, _: programs >= 3, executor=executor)
    assert again == result


def test_a_soak_ends_with_what_it_finds() -> None:
    """The first breach ends a soak, also one that hangs, whose program is made short."""
    found = soak_target("M23", enough=lambda *_: False).found
    assert found is not None
    assert len(found.program.steps) == 1
    hung = soak_target(TARGET("Loops"), enough=lambda *_: False, timeout=0.3).found
    assert hung is not None
    assert hung.program.steps == FREES.steps


def test_a_soak_that_hangs_once_shows_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the program that hung returns when it is run again, the first run is reported."""
    real, runs = run_in_child, []

    def once(work: Callable[..., object], target: str, arguments: Any, **named: Any) -> Any:
        runs.append(arguments)
        return real(work, target if len(runs) == 1 else PLAIN, arguments, **named)

    monkeypatch.setattr(on_targets, "run_in_child", once)
    found = soak_target(TARGET("Hangs"), enough=lambda *_: False, timeout=BRIEF).found
    assert found is not None
    assert "nothing has come back" in found.breach.message


def test_an_interrupted_soak_says_where_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt between two pieces, or within one, ends a soak with what is known."""

    def interrupt(programs: int, _operations: int) -> bool:
        if programs:
            raise KeyboardInterrupt
        return False

    result = soak_target(PLAIN, enough=interrupt)
    assert (result.interrupted, result.next_program) == (True, 1)
    real = run_in_child
    started: list[int] = []

    def stopped(work: Callable[..., object], target: str, arguments: Any, *, progress: Any, **named: Any) -> Any:
        started.append(arguments["start"])
        if len(started) > 1:
            progress(1, 60)
            raise Stopped
        return real(work, target, arguments, progress=progress, **named)

    monkeypatch.setattr(on_targets, "run_in_child", stopped)
    alone = soak_target(PLAIN, enough=lambda *_: False)
    assert (alone.interrupted, alone.programs, alone.next_program, alone.found) == (True, 2, 2, None)


def test_what_is_done_after_an_interrupt_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a piece that was stopped, others may be done: what they found counts, and the soak goes on at the first gap."""
    found = Counterexample(FREES, Breach(Property.P5, "seen"))

    def pieces(*_: object) -> Iterator[Any]:
        yield SoakResult(1, 60, 1)
        yield SoakResult(1, 60, 2, interrupted=True)
        yield SoakResult(4, 240, 7, found)
        raise KeyboardInterrupt

    class Results:
        def __init__(self, *_: object) -> None:
            self.made = pieces()

        def __iter__(self) -> Iterator[Any]:
            return self.made

        def close(self) -> None:
            self.made.close()  # type: ignore[attr-defined]

    monkeypatch.setattr(on_targets, "in_order", Results)
    with crew(1) as executor:
        result = soak_target(PLAIN, enough=lambda *_: False, executor=executor)
    assert (result.interrupted, result.found) == (True, found)
    assert result.programs == 2


# --- explorations -----------------------------------------------------------------------------------------------------


def test_every_concern_of_a_target_is_explored() -> None:
    """Each concern that suits is explored in a child, pipes too, and told when it is done."""
    told: list[str] = []
    done = explore_target("per-pipe", pages=3, depth=2, on_done=lambda result: told.append(result.concern))
    assert [result.concern for result in done] == told == ["one arena", "failing source", "resize", "pipe pair"]
    assert all(result.found is None and result.states for result in done)
    plain = explore_target("tests.unit.allocators:bare", pages=3, depth=1)
    assert "pipe pair" not in [result.concern for result in plain]


def test_an_exploration_ends_with_what_it_finds() -> None:
    """The concerns after a breach are not explored; one that hangs is found with the program told step by step."""
    done = explore_target("M31", pages=2, depth=1)
    assert [result.concern for result in done] == ["one arena"]
    assert done[0].found is not None
    hung = explore_target(TARGET("Loops"), pages=2, depth=2, timeout=0.3)
    assert hung[-1].found is not None
    assert hung[-1].found.program.steps == FREES.steps
    unmade = explore_target(TARGET("HangsUnmade"), timeout=BRIEF)
    assert [result.concern for result in unmade] == ["making it"]


def test_an_exploration_that_hangs_once_shows_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the concern that hung is explored when it is run again, the first run is reported."""
    real = run_in_child

    def once(work: Callable[..., object], target: str, arguments: Any, **named: Any) -> Any:
        hangs = arguments.get("watch") is False
        return real(work, TARGET("Hangs") if hangs else target, arguments, **named)

    monkeypatch.setattr(on_targets, "run_in_child", once)
    (done,) = explore_target(PLAIN, pages=2, depth=2, timeout=BRIEF)
    assert done.found is not None
    assert "nothing has come back" in done.found.breach.message


def test_a_concern_that_is_not_there_is_not_explored() -> None:
    """A name that no concern has gives nothing."""
    explore = functools.partial(on_targets._explore, _plain, None, contract=None, pages=2, depth=1, merge=True)  # type: ignore[arg-type]
    assert explore(name="no such concern", watch=False) is None


def _plain(source: Any, *, kva_limit: int) -> object:
    """Make an allocator in which nothing is wrong."""
    return Plain(source, kva_limit=kva_limit)


# --- programs that take long -------------------------------------------------------------------------------------------


def test_a_program_that_takes_long_is_broken_off_with_what_was_run() -> None:
    """The message says how many steps were run, or that the program was run once and not in further ways."""
    program = CheckProgram(World(limit=8), tuple(Step(Action.ALLOC, number, 4096) for number in range(40)))
    with pytest.raises(
        CoallocError, match=r"after 1e-06 s nothing is broken by \d+ of its 40 steps; --seconds allows more"
    ):
        replay_target(TARGET("Plain"), program, seconds=1e-6)
    assert replay_target(TARGET("Plain"), program, seconds=600) is None


def test_a_program_may_have_time_for_one_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the time is over in a further run, the message says that the first one broke nothing."""
    program = CheckProgram(World(), (Step(Action.ALLOC, 0, 4096), Step(Action.FREE, 0)))
    times = iter([0.0, 0.0, 0.0])
    monkeypatch.setattr(on_targets, "time", SimpleNamespace(monotonic=lambda: next(times, 99.0)))
    with pytest.raises(CoallocError, match="after 5 s nothing is broken by it once, and not again"):
        replay_target(TARGET("Plain"), program, seconds=5)


# --- exploring deeper ---------------------------------------------------------------------------------------------------


def deepened(
    monkeypatch: pytest.MonkeyPatch, seconds: float, times: list[float], *, broken: int = 99
) -> list[tuple[int, int]]:
    """Return the pairs that are explored, if they take such times, and one of them has a counterexample."""
    now = [0.0]
    found = Counterexample(CheckProgram(World(), ()), Breach(Property.P1, "seen"))

    def explore_target(_target: str, *, pages: int, depth: int, **_: Any) -> list[Exploration]:
        now[0] += times[depth - 2]
        return [Exploration("one arena", pages, depth, 1, 1, found if depth == broken else None)]

    monkeypatch.setattr(on_targets, "explore_target", explore_target)
    return [pair[:2] for pair in deepen_target("coalescing", seconds, clock=lambda: now[0])]


def test_exploring_goes_deeper_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next pair begins if it is expected to end in time; after a counterexample there is none."""
    times = [1.0, 1.0, 4.0, 16.0, 64.0, 256.0]
    pairs = [(2, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7)]
    assert deepened(monkeypatch, 0, times) == pairs[:1]
    assert deepened(monkeypatch, 3.9, times) == pairs[:2]
    assert deepened(monkeypatch, 22, times) == pairs[:4]
    assert deepened(monkeypatch, 86, times) == pairs[:5]
    assert deepened(monkeypatch, 1e6, times, broken=4) == pairs[:3]


def test_exploring_ends_at_the_deepest_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program has more than 64 operations."""
    assert deepened(monkeypatch, 1e9, [0.0] * 64)[-1] == (63, 64)
