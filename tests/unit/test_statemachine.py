"""The test class: which tests it has, what becomes of each outcome of a check, and what the state machine finds."""

from __future__ import annotations

import unittest
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import Phase, settings

from coalloc import CoalescingSpace
from coalloc.contract_text import parse_contract
from coalloc.testing import MUTANTS, SUBJECTS, Breach, Property, Subject, conformance
from coalloc.testing import statemachine as statemachine_module
from coalloc.testing.checks import Check, CheckFailed, NotPromised, Suspicion
from coalloc.testing.statemachine import run_machine, state_machine
from coalloc.testing.steps import Action, CheckProgram, Step, World

FREES = CheckProgram(World(limit=2, room=2), (Step(Action.ALLOC, 0, 4096), Step(Action.FREE, 0)))


class Loops(CoalescingSpace):
    """An alloc does not return."""

    def alloc(self, size: int) -> int:
        """Turn round for ever."""
        while size:
            pass
        return 0


class Accepts(CoalescingSpace):
    """A free of what is not live is accepted."""

    def free(self, base: int) -> None:
        """Free what can be freed."""
        with suppress(ValueError, LookupError):
            super().free(base)


def run(kind: type[unittest.TestCase], *names: str) -> unittest.TestResult:
    """Run tests of a class."""
    result = unittest.TestResult()
    for name in names:
        kind(name).run(result)
    return result


def raising(error: Exception | None) -> Check:
    """Return a check that raises."""

    def check(_subject: Subject) -> None:
        if error is not None:
            raise error

    return Check("made-up", Property.P5, check)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, ""),
        (NotPromised("why"), "why"),
        (Suspicion(Property.P17, "slow"), "suspect: slow"),
        (CheckFailed(Breach(Property.P5, "odd"), FREES, suspect=True), "suspect: odd"),
        (CheckFailed(Breach(Property.P5, "seen"), FREES), "P5"),
    ],
)
def test_a_directed_check_is_a_test(error: Exception | None, outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A breach fails its test, with the program in a note; what is suspect or not promised is skipped."""
    monkeypatch.setattr(
        statemachine_module, "CHECKS", [raising(error), Check("long", Property.P5, print, thorough=True)]
    )
    kind = conformance(SUBJECTS["first-fit"])
    assert not hasattr(kind, "test_long")
    assert hasattr(conformance(SUBJECTS["first-fit"], thorough=True), "test_long")
    result = run(kind, "test_made_up")
    assert [reason for _, reason in result.skipped] == ([outcome] if outcome and outcome != "P5" else [])
    assert [text.count("coalloc check-program 1") for _, text in result.failures] == [1] * (outcome == "P5")


def test_each_test_has_a_description() -> None:
    """A test is described by its check."""
    kind = conformance(SUBJECTS["per-pipe"])
    for test in unittest.defaultTestLoader.loadTestsFromTestCase(kind):
        assert isinstance(test, unittest.TestCase)
        assert test.shortDescription()


def test_a_call_that_does_not_return_fails_one_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are skipped, since they would not return either."""
    monkeypatch.setattr(statemachine_module, "LINE_BOUND", 300)
    result = run(conformance(Loops), "test_calls_return", "test_programs", "test_comb")
    assert [reason for _, reason in result.skipped] == ["a call does not return"] * 2
    ((_, text),) = result.failures
    assert "P17" in text
    assert "alloc 0 1" in text or "alloc 0 4096" in text


def test_seeded_programs_find_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Correct allocators pass, and the first program that breaks a property is shown short."""
    monkeypatch.setattr(statemachine_module, "_BOUNDED", 1)
    kind = conformance(SUBJECTS["per-pipe"], programs=2, examples=2)
    right = run(kind, "test_calls_return", "test_programs", "test_seeded_programs")
    assert right.wasSuccessful()
    ((_, text),) = run(conformance(MUTANTS[23].make_space), "test_seeded_programs").failures
    assert "alloc 0 4096" in text


@pytest.mark.parametrize("name", ["first-fit", "per-pipe"])
def test_every_rule_is_drawn(name: str) -> None:
    """Hypothesis draws every kind of step that the contract allows, and a correct space passes."""
    steps: list[Step] = []
    run_machine(Subject(SUBJECTS[name], on_step=steps.append), examples=25, steps=30)
    missing = {*Action} - {step.action for step in steps} - {Action.FREE_IN_MAP, Action.FINISH}
    assert missing == ({Action.XALLOC} if name == "per-pipe" else set())


def test_constraints_are_drawn_as_far_as_they_are_promised() -> None:
    """Only what the contract names stands in a constrained request."""
    for promised in ("hi", "nocross+lo", "align"):
        contract = parse_contract(f"constraints={promised}", Subject(SUBJECTS["first-fit"]).declared)
        steps: list[Step] = []
        run_machine(Subject(SUBJECTS["first-fit"], contract, on_step=steps.append), examples=10, steps=15)
        assert {name for step in steps for name, _ in step.bounds} <= {*promised.split("+")}


def test_what_hypothesis_finds_is_made_short_by_the_kit() -> None:
    """A breach is raised with the shortest program in a note, and any other error comes through."""
    with pytest.raises(Breach) as caught:
        run_machine(Subject(MUTANTS[23].make_space), steps=8)
    assert caught.value.__notes__[0].splitlines()[-1] == "alloc 0 4096"
    with pytest.raises(Breach) as within:
        run_machine(Subject(Accepts), examples=40, steps=10)
    assert within.value.__notes__[0].splitlines()[-1].startswith(("free-wild", "refree", "free-inside"))

    def broken(*_: object) -> None:
        raise RuntimeError("of the watcher")

    with pytest.raises(RuntimeError, match="of the watcher"):
        run_machine(Subject(SUBJECTS["first-fit"], on_step=broken), examples=1, steps=2)
    with pytest.raises(Breach, match="could not be made"):
        run_machine(Subject(lambda *_, **__: 1 // 0, parse_contract("")), examples=1, steps=2)


def test_a_machine_of_its_own_tells_the_program_in_a_note() -> None:
    """The class for other runners adds the program to the error that Hypothesis raises."""
    machine = state_machine(MUTANTS[23].make_space, steps=3)
    test: Any = machine.TestCase
    assert test.settings.stateful_step_count == 3
    test.settings = settings(
        test.settings, max_examples=10, database=None, phases=[Phase.generate], report_multiple_bugs=False
    )
    with pytest.raises(Breach) as caught:
        test("runTest").runTest()
    assert any(note.startswith("coalloc check-program 1\n") for note in caught.value.__notes__)
