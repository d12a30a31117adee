"""Soak programs that go to an allocator in C in one piece; the scout sees their answers as if it made each call itself.

A program is drawn before it runs, in the hope that whatever fits the limit is served.  The calls of the source that the host
reports are entered in the kit's own source; in some programs they are made again, and must come to the same.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from typing import Final

import attrs

from coalloc.contract import Bounds, Capability, Contract
from coalloc.native import NativeFactory
from coalloc.native.whole import PASSED_OVER, Answers, Call, Calls, Placing, run_whole
from coalloc.testing.programs import Player, draw_world
from coalloc.testing.properties import Breach
from coalloc.testing.scout import Doubt, Scout
from coalloc.testing.source import Order, WatchedSource
from coalloc.testing.steps import NEEDS, Action, CheckProgram, Step, World
from coalloc.testing.subject import Subject

__all__ = ["relayed_programs"]

_CALLS: Final = {Action[call.name]: call for call in Call}
_TOP: Final = 2**64
_ORDERS: Final = ((Order.UP, Order.DOWN, Order.APART), (Order.UP, Order.DOWN, Order.MIXED))
"""A program is drawn once and runs in three orders of the source: to draw it takes as long as to judge it."""
_EVERY_SOURCE: Final = 8
"""In one program of so many the places of arenas are chosen again by the kit's own source: that takes an eighth of the time."""


@attrs.define
class _Hoped:
    """What is live if everything within the limit is served; the player of programs reads it as it reads a judge."""

    contract: Contract
    world: World
    quantum: int
    can: frozenset[Capability]
    live: dict[int, tuple[int, int]] = attrs.field(factory=dict)
    gone: dict[int, int] = attrs.field(factory=dict)
    bytes: int = 0

    @property
    def books(self) -> _Hoped:
        """Itself."""
        return self

    state = books

    @property
    def holes(self) -> list[tuple[int, int]]:
        """Nothing: nobody knows them."""
        return []

    def do(self, step: Step) -> None:
        """Follow a step."""
        if step.action in (Action.ALLOC, Action.XALLOC):
            self._grow(step.buffer, 0, step.size)
        elif step.action is Action.FREE:
            self.bytes -= self.live.pop(step.buffer)[1]
            self.gone[step.buffer] = 0
        elif step.action is Action.RESIZE:
            self._grow(step.buffer, self.live[step.buffer][1], step.size)

    def _grow(self, buffer: int, old: int, size: int) -> None:
        size += -size % self.quantum
        if size > 0 and self.bytes - old + size <= self.world.kva_limit:
            self.live[buffer] = 0, size
            self.bytes += size - old


@attrs.frozen
class _Told:
    """What is known of the allocator, and whether the places that the host's source chose are adopted or chosen again."""

    contract: Contract
    quantum: int
    can: frozenset[Capability]
    adopts: bool


class _Relayed:
    """A space that answers as the host has answered, and makes the calls of the source that the host has reported."""

    def __init__(self, source: WatchedSource, answers: Answers, told: _Told) -> None:
        self.contract, self.quantum = told.contract, told.quantum
        self.step = 0
        """The number of the step that is asked for."""
        self.asked = False
        self._source = source
        self._answers = answers
        self._adopts = told.adopts
        self._events = self._triples(answers.events)
        for name in ("xalloc", "resize", "reserve", "reclaim"):
            if Capability(name) not in told.can:
                setattr(self, name, None)
        self._report(answers.opened)

    @staticmethod
    def _triples(words: array[int]) -> Iterator[tuple[int, int, int]]:
        each = iter(words)
        return zip(each, each, each, strict=True)

    def _report(self, n: int) -> None:
        source = self._source
        for _ in range(n):
            kind, base, size = next(self._events)
            if kind == 0:
                source.unmap(base, size)
                continue
            if self._adopts and kind == 1:
                source.adopt(base, size)
                continue
            try:
                at = source.map(size)
            except MemoryError:
                at = -1
            if at != (base if kind == 1 else -1):
                raise Doubt

    def _answer(self, *_what: object, **_bounds: object) -> int:
        """Answer any call as the host was answered at this step."""
        answers, step = self._answers, self.step
        self.asked = True
        if n := answers.n_events[step]:
            self._report(n)
        status = answers.statuses[step]
        if status == 0:
            return answers.bases[step]
        if status == 1:
            raise MemoryError
        if status <= 4:
            raise ValueError
        raise Doubt

    alloc = free = xalloc = resize = reserve = reclaim = _answer


def _drawn(player: Player, hoped: _Hoped, n: int) -> list[Step]:
    """Draw steps, and at the end free everything and reclaim; leave out what cannot be asked of the allocator."""
    lacking = {action for action, needed in NEEDS.items() if needed not in hoped.can}
    steps: list[Step] = []
    for _ in range(n):
        step = player.step()
        if step.size < _TOP and step.action not in lacking:
            steps.append(step)
            hoped.do(step)
    steps.append(Step(Action.STARVE))
    steps += [Step(Action.FREE, number) for number in range(player.next_buffer) if number not in hoped.gone]
    if Capability.RECLAIM in hoped.can:
        steps.append(Step(Action.RECLAIM))
    return steps


def _encoded(steps: list[Step], n_buffers: int) -> Calls:
    words: list[int] = []
    bounds = array("Q")
    for action, buffer, size, at, given in steps:
        if action is Action.XALLOC:
            at = len(bounds) // 5
            bounds.extend(attrs.astuple(Bounds(**dict(given))))
        words += (_CALLS[action] | max(buffer, 0) << 32, size, at)
    return Calls(array("Q", words), bounds, n_buffers)


def relayed_programs(
    subject: Subject, seed: int, *, steps: int, nature: tuple[Contract, int], can: frozenset[Capability]
) -> Iterator[tuple[CheckProgram, int, bool]]:
    """Draw a program, run it in one piece with the source in three orders, and show the answers to the scout.

    Args:
        subject: The allocator under test, whose factory is a NativeFactory.
        seed: The programs depend on nothing else.
        steps: The number of steps, after which everything is freed.
        nature: The subject's contract and quantum.
        can: What the allocator can do.

    Yields:
        Each program, how many of its steps made a call, and whether the scout doubts it.
    """
    generator = random.Random(seed)
    world = draw_world(generator, subject, *nature)
    quantum = dict(world.options).get("quantum", nature[1])
    assert isinstance(quantum, int)
    hoped = _Hoped(nature[0], world, quantum, can)
    player = Player(generator, hoped)
    drawn = _drawn(player, hoped, steps)
    calls = _encoded(drawn, player.next_buffer)
    told = _Told(nature[0], quantum, can, adopts=seed % _EVERY_SOURCE != 0)
    for order in _ORDERS[seed % 2]:
        ordered = attrs.evolve(world, order=order)
        yield CheckProgram(ordered, (*drawn, Step(Action.FINISH))), *_ran(subject, calls, drawn, ordered, told)


def _ran(subject: Subject, calls: Calls, drawn: list[Step], world: World, told: _Told) -> tuple[int, bool]:
    """Run a program, and return how many calls it made (0 if nobody tells), and whether the scout doubts it."""
    factory = subject.make_space
    assert isinstance(factory, NativeFactory)
    n_calls = 0
    try:
        answers = run_whole(
            factory.host(),
            calls,
            kva_limit=world.kva_limit,
            quantum=told.quantum,
            base=world.base,
            size=world.room * world.granule,
            granule=world.granule,
            placing=Placing[world.order.name],
            options=factory.options,
        )
        if answers is None:
            return 0, True
        n_calls = len(answers.statuses) - answers.statuses.count(PASSED_OVER)
        _shown(answers, drawn, world, told)
    except (Doubt, Breach):
        return n_calls, True
    return n_calls, False


def _shown(answers: Answers, drawn: list[Step], world: World, told: _Told) -> None:
    """Show the scout a program step by step.

    Raises:
        Doubt: If it doubts an answer, or another step makes a call than did.
    """

    def relayed(source: WatchedSource, *, kva_limit: int) -> _Relayed:  # noqa: ARG001 (as a factory is called)
        return _Relayed(source, answers, told)

    scout = Scout(Subject(relayed, told.contract), attrs.evolve(world, options=()))
    space: _Relayed = scout.space
    statuses = answers.statuses
    for number, step in enumerate(drawn):
        space.step, space.asked = number, False
        scout.do(step)
        if space.asked is (statuses[number] == PASSED_OVER) and step.action is not Action.STARVE:
            raise Doubt
