"""An interrupt loses nothing that was found: pieces that are done, and what unfinished pieces have told, are reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from coalloc.testing import MUTANTS, Property, Subject, isolate, on_targets
from coalloc.testing.check import Piece, Ruling, Verdict, run_piece
from coalloc.testing.isolate import Stopped, crew, in_order
from coalloc.testing.programs import Counterexample, random_program
from coalloc.testing.soak import soak


def _interrupted_at_one(number: int) -> int:
    if number == 1:
        raise KeyboardInterrupt
    if number == 2:
        raise Stopped
    return number


def test_the_results_that_there_are_come_before_the_interrupt() -> None:
    """When a piece is interrupted, the results of the other pieces are yielded, and then the interrupt is raised."""
    got: list[int] = []
    with crew(1) as executor, pytest.raises(KeyboardInterrupt):
        got.extend(in_order(executor, _interrupted_at_one, ((number,) for number in range(4))))
    assert got[0] == 0
    assert {*got} <= {0, 3}


def _told(monkeypatch: pytest.MonkeyPatch, *found: Any) -> None:
    """Let the work of every child tell what it found, and then be interrupted."""
    real = isolate.run_in_child

    def run_in_child(work: Callable[..., object], *args: Any, heard: Any = None, **named: Any) -> Any:
        if heard is None:
            return real(work, *args, **named)
        for item in found:
            heard(item)
        raise KeyboardInterrupt

    monkeypatch.setattr("coalloc.testing.on_targets.run_in_child", run_in_child)


def test_an_interrupted_check_reports_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report on an interrupted check has the verdicts that were told, says so, and calls nothing held."""
    _told(monkeypatch, Verdict(Property.P5, Ruling.BROKEN, "seen"))
    report = on_targets.check_target("coalescing")
    assert report.interrupted
    assert report.as_dict()["interrupted"] is True
    rulings = {verdict.property: verdict.ruling for verdict in report.verdicts}
    assert rulings[Property.P5] is Ruling.BROKEN
    assert Ruling.HELD not in rulings.values()
    assert {"small programs", "nonsense"} <= {*report.unrun}


def test_an_interrupted_soak_has_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A soak that is interrupted while it shortens a program returns the program as it was found."""
    found = random_program(Subject(MUTANTS[3].make_space), 1)[1]
    assert found is not None
    _told(monkeypatch, found)
    result = on_targets.soak_target("coalescing", start=7, enough=lambda _programs, _operations: False)
    assert result.interrupted
    assert (result.found, result.next_program) == (found, 7)


def test_verdicts_and_finds_are_told_at_once() -> None:
    """A piece of a check tells each verdict when it is reached, and a soak what it finds before it is shortened."""
    told: list[Verdict] = []
    subject = Subject(MUTANTS[9].make_space)
    findings = run_piece(subject, Piece(0, 3, checks=("ladder",), small=True), tell=told.append)
    assert tuple(told) == findings.broken
    raw: list[Counterexample] = []
    result = soak(attrs.evolve(subject), enough=lambda programs, _: programs > 50, tell=raw.append)
    assert result.found is not None
    assert raw
    assert len(raw[0].program.steps) > len(result.found.program.steps)
