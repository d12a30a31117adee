"""`conformance`: make, in one line, a test class that pytest and unittest collect; needs hypothesis.

The class has a Hypothesis state machine that drives the allocator under the judge, and one test for every directed check.
The kit makes a failing run short, and the error shows the program in the kit's text format.
"""

from __future__ import annotations

import functools
import unittest
from collections.abc import Callable
from typing import Any

import attrs

from coalloc._imports import needs_extra
from coalloc.contract import Constraint, Contract, Resize
from coalloc.testing.checks import Check, CheckFailed, NotPromised, Suspicion
from coalloc.testing.directed import CHECKS
from coalloc.testing.judge import Judge
from coalloc.testing.lines import LINE_BOUND
from coalloc.testing.minimise import minimise
from coalloc.testing.programs import Counterexample, random_program
from coalloc.testing.properties import Breach, Property
from coalloc.testing.steps import Action, CheckProgram, Step, World, dumps
from coalloc.testing.subject import MakeSpace, Subject

with needs_extra("test"):
    from hypothesis import HealthCheck, Phase
    from hypothesis import settings as hypothesis_settings
    from hypothesis import strategies as st
    from hypothesis.stateful import (
        RuleBasedStateMachine,
        initialize,
        precondition,
        rule,
        run_state_machine_as_test,
    )

__all__ = ["conformance", "run_machine", "state_machine"]

_GRANULE = 4096
_BOUNDED = 3
"""Programs whose lines are counted, so that an endless loop is stopped; counting makes them some ten times slower."""


class _Machine(RuleBasedStateMachine):
    """Random programs of every kind of step, shrunk by Hypothesis."""

    subject: Subject
    met: list[Counterexample] | None = None

    @initialize(
        limit=st.integers(2, 24),
        room=st.integers(0, 8),
        arena=st.integers(1, 10),
        base=st.sampled_from([0, 1, 16, 2**36]),
        slack=st.sampled_from([0, 1, 4095]),
    )
    def start(self, limit: int, room: int, arena: int, base: int, slack: int) -> None:
        whole = "arena_size" not in self.subject.accepted
        world = World(
            limit=limit,
            room=limit if whole else max(limit + room - 4, 2),
            arena=0 if whole else arena,
            base=base * _GRANULE,
            slack=slack,
        )
        self.judge = Judge(self.subject, world)
        self.contract = self.judge.contract
        self.quanta = max(world.limit * _GRANULE // self.judge.quantum, 1)
        self.next_buffer = 0

    def _do(
        self, do: Action, buffer: int = -1, size: int = 0, at: int = 0, bounds: tuple[tuple[str, int], ...] = ()
    ) -> None:
        try:
            self.judge.do(Step(do, buffer, size, at, bounds))
        except Breach as breach:
            self._tell(breach)
            raise

    def _tell(self, breach: Breach) -> None:
        program = CheckProgram(self.judge.world, tuple(self.judge.steps)).renumbered()
        if self.met is not None:
            self.met.append(Counterexample(program, breach))
        else:
            breach.add_note(dumps(program))

    def _next(self) -> int:
        self.next_buffer += 1
        return self.next_buffer - 1

    @rule(quanta=st.integers(1, 8))
    def alloc(self, quanta: int) -> None:
        self._do(Action.ALLOC, self._next(), quanta * self.judge.quantum)

    @rule(data=st.data())
    def alloc_any(self, data: st.DataObject) -> None:
        self._do(Action.ALLOC, self._next(), data.draw(st.integers(1, (self.quanta + 1) * self.judge.quantum)))

    @precondition(lambda self: self.contract.constraints)
    @rule(
        quanta=st.integers(1, 4),
        align=st.integers(0, 4),
        phase=st.integers(0, 3),
        nocross=st.integers(0, 4),
        lo=st.integers(0, 24),
        length=st.integers(0, 32),
    )
    def xalloc(self, quanta: int, align: int, phase: int, nocross: int, lo: int, length: int) -> None:
        quantum, promised = self.judge.quantum, self.contract.constraints
        bounds: dict[str, int] = {}
        if align and Constraint.ALIGN in promised:
            bounds["align"] = quantum << align
            if phase and Constraint.PHASE in promised:
                bounds["phase"] = phase * quantum % bounds["align"]
        if nocross and Constraint.NOCROSS in promised:
            bounds["nocross"] = quantum << (nocross + 1)
        if lo and Constraint.LO in promised:
            bounds["lo"] = self.judge.world.base + lo * quantum
        if length and Constraint.HI in promised:
            bounds["hi"] = self.judge.world.base + (lo + length) * quantum - 1
        self._do(Action.XALLOC, self._next(), quanta * quantum, bounds=tuple(bounds.items()))

    @precondition(lambda self: self.judge.live)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        self._do(Action.FREE, data.draw(st.sampled_from(sorted(self.judge.live))))

    @precondition(lambda self: self.judge.live and self.contract.resize is not Resize.NONE)
    @rule(data=st.data(), quanta=st.integers(1, 8))
    def resize(self, data: st.DataObject, quanta: int) -> None:
        self._do(Action.RESIZE, data.draw(st.sampled_from(sorted(self.judge.live))), quanta * self.judge.quantum)

    @precondition(lambda self: self.judge.gone)
    @rule(data=st.data())
    def free_again(self, data: st.DataObject) -> None:
        self._do(Action.REFREE, data.draw(st.sampled_from(sorted(self.judge.gone))))

    @precondition(lambda self: self.judge.live)
    @rule(data=st.data(), distance=st.integers(1, 3 * _GRANULE))
    def free_inside(self, data: st.DataObject, distance: int) -> None:
        self._do(Action.FREE_INSIDE, data.draw(st.sampled_from(sorted(self.judge.live))), distance)

    @rule(offset=st.integers(0, 40 * _GRANULE))
    def free_wild(self, offset: int) -> None:
        self._do(Action.FREE_WILD, at=self.judge.world.base + offset)

    @rule(size=st.sampled_from([0, 2**31, 2**32, 2**63 - 1, 2**63, 2**63 + 1]))
    def alloc_strange(self, size: int) -> None:
        self._do(Action.ALLOC, self._next(), size)

    @rule(page=st.integers(0, 40), quanta=st.integers(1, 4))
    def reserve(self, page: int, quanta: int) -> None:
        at = self.judge.world.base + page * self.judge.quantum
        self._do(Action.RESERVE, self._next(), quanta * self.judge.quantum, at)

    @rule(call=st.integers(1, 3))
    def starve(self, call: int) -> None:
        self._do(Action.STARVE, size=call)

    @rule()
    def reclaim(self) -> None:
        self._do(Action.RECLAIM)

    def teardown(self) -> None:
        if hasattr(self, "judge"):
            try:
                self.judge.finish()
            except Breach as breach:
                self._tell(breach)
                raise


def state_machine(
    make_space: MakeSpace, *, contract: Contract | None = None, steps: int = 40
) -> type[RuleBasedStateMachine]:
    """Make a Hypothesis state machine that holds an allocator to what it declares.

    ``TestMine = state_machine(Mine).TestCase`` is a test of its own, which HypoFuzz collects, too.

    Args:
        make_space: The factory: ``make_space(source, kva_limit=...)``.
        contract: The contract to check; None takes the one that the allocator declares.
        steps: The most steps of each program.
    """
    subject = Subject(make_space, contract)
    machine: Any = type(_name(subject), (_Machine,), {"subject": subject})
    machine.TestCase.settings = hypothesis_settings(_patient(), stateful_step_count=steps)
    return machine  # type: ignore[no-any-return]


def _name(subject: Subject) -> str:
    """Return a name for a state machine: by this Hypothesis keeps failing programs, so that each allocator has its own."""
    made = subject.make_space
    parts = (made.func, *made.args) if isinstance(made, functools.partial) else (made,)
    return "_".join(["Conformance", *(getattr(part, "__name__", type(part).__name__) for part in parts)])


def _patient() -> hypothesis_settings:
    """Return settings without deadlines: while programs are drawn the allocator runs, and a slow one breaks no promise."""
    return hypothesis_settings(deadline=None, suppress_health_check=list(HealthCheck))


def run_machine(subject: Subject, *, examples: int | None = None, steps: int = 40) -> None:
    """Let Hypothesis draw programs for an allocator, and raise what it finds, with the shortest program in a note.

    The kit makes the program short: that takes it a hundredth of the runs, since it knows what a program is.

    Args:
        subject: What is under test.
        examples: How many; what Hypothesis's profile says if None.
        steps: Steps of each, at most.
    """
    met: list[Counterexample] = []
    machine: Any = type(_name(subject), (_Machine,), {"subject": subject, "met": met})
    settings = hypothesis_settings(_patient(), stateful_step_count=steps, phases=set(Phase) - {Phase.shrink})
    if examples is not None:
        settings = hypothesis_settings(settings, max_examples=examples)
    try:
        run_state_machine_as_test(machine, settings=settings)
    except Exception as error:
        if not met:
            raise
        _fail(subject, met[-1], why=error)


def conformance(
    make_space: MakeSpace,
    *,
    contract: Contract | None = None,
    examples: int | None = None,
    steps: int = 40,
    programs: int = 40,
    thorough: bool = False,
) -> type[unittest.TestCase]:
    """Make a test class that checks that an allocator keeps the contract that it declares.

    Args:
        make_space: The factory: ``make_space(source, kva_limit=...)``; see docs/kit.md.
        contract: The contract to check; None takes the one that the allocator declares.
        examples: How many programs Hypothesis runs; None takes the number of its profile.
        steps: The most steps of each program.
        programs: How many programs the kit draws itself, in worlds that Hypothesis does not draw.
        thorough: Whether to run the checks that take long, too.

    Returns:
        A unittest.TestCase; assign it to a name in a test module.

    >>> from coalloc import CoalescingSpace
    >>> TestReference = conformance(CoalescingSpace, examples=5)
    >>> result = unittest.TestResult()
    >>> _ = TestReference("test_programs").run(result)
    >>> result.wasSuccessful()
    True
    """
    subject = Subject(make_space, contract)
    bounded = attrs.evolve(subject, line_bound=LINE_BOUND)

    def test_programs(self: unittest.TestCase) -> None:
        del self
        run_machine(subject, examples=examples, steps=steps)

    def test_seeded_programs(self: unittest.TestCase) -> None:
        del self
        for seed in range(programs):
            _, found = random_program(subject, seed)
            if found is not None:
                _fail(subject, found)

    @functools.cache
    def first_hang() -> Counterexample | None:
        founds = (random_program(bounded, seed)[1] for seed in range(_BOUNDED))
        return next((found for found in founds if found is not None and found.breach.property is Property.P17), None)

    def set_up(self: unittest.TestCase) -> None:
        if first_hang() is not None and self.id().rpartition(".")[2] != "test_calls_return":
            self.skipTest("a call does not return")  # nor would the other tests

    def test_calls_return(self: unittest.TestCase) -> None:
        del self
        found = first_hang()
        if found is not None:
            _fail(bounded, found)

    machine = state_machine(make_space, contract=contract, steps=steps)
    test: Any = test_programs
    test.is_hypothesis_test = True  # so that statistics are shown, and HypoFuzz collects it
    test._hypothesis_state_machine_class = machine
    tests: dict[str, Any] = {
        "__doc__": "Holds an allocator to what it declares.",
        "settings": machine.TestCase.settings,
        "setUp": set_up,
        "test_calls_return": _described(test_calls_return, "No call of the first programs runs for ever."),
        "test_programs": _described(test_programs, "Hypothesis finds no program that breaks a property."),
        "test_seeded_programs": _described(test_seeded_programs, "No program drawn from the first seeds breaks one."),
    }
    for check in CHECKS:
        if not check.thorough or thorough:
            tests["test_" + check.name.replace("-", "_")] = _test_of(check, subject)
    return type("Conformance", (unittest.TestCase,), tests)


def _described(test: Callable[[unittest.TestCase], None], words: str) -> Callable[[unittest.TestCase], None]:
    test.__doc__ = words
    return test


def _test_of(check: Check, subject: Subject) -> Callable[[unittest.TestCase], None]:
    def test(self: unittest.TestCase) -> None:
        try:
            check.run(subject)
        except NotPromised as reason:
            self.skipTest(str(reason))
        except Suspicion as suspicion:
            self.skipTest(f"suspect: {suspicion.message}")
        except CheckFailed as failed:
            if failed.suspect:
                self.skipTest(f"suspect: {failed.message}")
            _fail(subject, Counterexample(failed.program, Breach(failed.property, failed.message)), again=failed.again)

    return _described(test, " ".join((check.run.__doc__ or check.name).split()))


def _fail(
    subject: Subject,
    found: Counterexample,
    *,
    again: Callable[[CheckProgram], Breach | None] | None = None,
    why: Exception | None = None,
) -> None:
    """Raise the breach that was found, with the shortest program in a note."""
    least = minimise(subject, found, run=again)
    error = Breach(least.breach.property, least.breach.message)
    error.add_note(dumps(attrs.evolve(least.program, title=str(least.breach)[:120])))
    raise error from why
