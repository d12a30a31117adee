"""Exploring: run every program up to a depth on a tiny arena, which proves "no counterexample up to (pages, steps)".

Where two programs lead to the same state, the search continues from it only once.  A state is all that determines what a
correct allocator does next: the segments, the ages of the holes, the order in which buffers were cached, the cursor of next
fit.  A bug in hidden state may escape this merging; ``merge=False`` continues from every program.

Each configuration has one concern.  At every new state everything that can be seen is compared.  Then everything is freed in
a copy, and the initial state must come back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Final

import attrs

from coalloc.contract import EAGER, NEVER, RETAIN, Capability, Constraint, Contract, Resize, capabilities_of
from coalloc.errors import CoallocError, InvalidRequestError, PipeError
from coalloc.pipes.pair import PipePair
from coalloc.pipes.states import ERAS
from coalloc.pipes.system import PipeSystem
from coalloc.testing.judge import Judge, Memory
from coalloc.testing.minimise import minimise
from coalloc.testing.programs import Counterexample
from coalloc.testing.properties import Breach, Property
from coalloc.testing.steps import Action, CheckProgram, Step, World
from coalloc.testing.subject import MakeSpace, Subject, make

__all__ = ["Concern", "Exploration", "concerns", "explore", "explore_pipes", "in_full", "state_of"]

_PAGE: Final = 4096
_NO_INSPECTION: Final = 1 << 60


@attrs.frozen
class Concern:
    """One tiny configuration.

    Args:
        name: The name of its concern.
        world: The world.
        requests: The sizes and bounds that are requested.
        others: Further steps that are tried in every state.
        resizes: The sizes that live buffers are resized to.
    """

    name: str
    world: World
    requests: tuple[tuple[int, tuple[tuple[str, int], ...]], ...]
    others: tuple[Step, ...] = ()
    resizes: tuple[int, ...] = ()


@attrs.frozen
class Exploration:
    """The result of an exploration: different states, steps between them, the depth reached, and what was found."""

    concern: str
    pages: int
    depth: int
    states: int
    transitions: int
    found: Counterexample | None = None


def concerns(subject: Subject, pages: int) -> Iterator[Concern]:
    """Yield the configurations that suit the arguments and promises of an allocator.

    Args:
        subject: The allocator under test.
        pages: Pages of the arena, >= 2.

    Raises:
        InvalidRequestError: If ``pages`` is not an int >= 2.
    """
    if type(pages) is not int or not 2 <= pages <= 64:
        raise InvalidRequestError("pages", pages, "must be an int in 2 .. 64")
    contract, accepted = subject.declared, subject.accepted
    plain: tuple[tuple[int, tuple[tuple[str, int], ...]], ...] = ((_PAGE, ()), (2 * _PAGE, ()), (3 * _PAGE, ()))
    whole = World(limit=pages, room=pages, arena=pages)
    yield Concern("one arena", whole, plain, (Step(Action.RECLAIM),))
    if "arena_size" in accepted:
        halves = attrs.evolve(whole, arena=-(-pages // 2))
        yield Concern("two arenas", halves, plain)
        yield Concern("limit", World(limit=pages, room=pages + 2, arena=1, slack=2048), plain[:2])
    yield Concern("failing source", attrs.evolve(whole, arena=2), plain[:2], (Step(Action.STARVE, size=1),))
    if Constraint.ALIGN in contract.constraints:
        aligned = (("align", 2 * _PAGE),)
        phased = (("align", 2 * _PAGE), ("phase", _PAGE))
        yield Concern(
            "alignment", attrs.evolve(whole, base=_PAGE), ((_PAGE, ()), (_PAGE, aligned), (2 * _PAGE, phased))
        )
    if Constraint.NOCROSS in contract.constraints:
        requests = ((_PAGE, ()), (2 * _PAGE, (("nocross", 2 * _PAGE),)), (3 * _PAGE, (("nocross", 4 * _PAGE),)))
        yield Concern("nocross", attrs.evolve(whole, base=_PAGE), requests)
    if "quantum_cache" in accepted and subject.contract is None:  # a cache changes the declared contract
        cached = attrs.evolve(whole, options=(("quantum_cache", 2 * _PAGE),))
        yield Concern("quantum cache", cached, plain, (Step(Action.RECLAIM),))
    if "release" in accepted and subject.contract is None:
        for rule in (EAGER, RETAIN(1), NEVER):
            small = attrs.evolve(whole, arena=2, options=(("release", rule),))
            yield Concern(f"release {rule}", small, plain[:2], (Step(Action.RECLAIM),))
    if contract.resize is not Resize.NONE:
        yield Concern("resize", whole, plain[:2], resizes=(_PAGE, 2 * _PAGE, 4 * _PAGE))


def explore(
    subject: Subject,
    concern: Concern,
    *,
    depth: int,
    merge: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Exploration:
    """Run every program of up to ``depth`` steps in one configuration.

    Args:
        subject: The allocator under test.
        concern: The configuration.
        depth: Steps, >= 1.
        merge: Whether to continue only once from equal states.
        progress: Called with the numbers of states and transitions now and then.

    Raises:
        InvalidRequestError: If ``depth`` is not an int >= 1.

    Complexity:
        O(transitions * depth): a state is reached again by making the calls of its program, and the judge recalls it.
    """
    if type(depth) is not int or not 1 <= depth <= 64:
        raise InvalidRequestError("depth", depth, "must be an int in 1 .. 64")
    quiet = attrs.evolve(subject, deep_every=_NO_INSPECTION)
    seen: set[Hashable] = set()
    states = transitions = 0
    path: tuple[Step, ...] = ()
    try:
        first = Judge(quiet, concern.world)
        seen.add(state_of(first))
        queue = deque([first.memory()])
        while queue:
            start = queue.popleft()
            for step in _steps(concern, start):
                path = (*start.steps, step)
                transitions += 1
                judge = Judge.recalled(quiet, concern.world, start)
                judge.do(step)
                judge.inspect()
                state = state_of(judge)
                if merge and state in seen:
                    continue
                seen.add(state)
                states += 1
                if len(path) < depth:
                    queue.append(judge.memory())
                judge.finish()
                if progress is not None and states % 64 == 0:
                    progress(states, transitions)
    except Breach as breach:
        found = in_full(subject, concern.world, path) or Counterexample(CheckProgram(concern.world, path), breach)
        return Exploration(concern.name, concern.world.limit, depth, states, transitions, minimise(subject, found))
    return Exploration(concern.name, concern.world.limit, depth, states + 1, transitions)


def in_full(subject: Subject, world: World, path: tuple[Step, ...]) -> Counterexample | None:
    """Run a failing program again with the steps of its end written out, and compare everything after each step."""
    judge = None
    try:
        judge = Judge(subject, world)
        for step in path:
            judge.do(step)
        judge.finish()
    except Breach as breach:
        return Counterexample(CheckProgram(world, tuple(judge.steps) if judge is not None else ()), breach)
    return None


def _steps(concern: Concern, judge: Memory) -> Iterator[Step]:
    """Yield the steps that are possible in a state; a new buffer gets the next number."""
    number = sum(1 for step in judge.steps if step.action in (Action.ALLOC, Action.XALLOC))
    for size, bounds in concern.requests:
        yield Step(Action.XALLOC if bounds else Action.ALLOC, number, size, bounds=bounds)
    for buffer in sorted(judge.live):
        yield Step(Action.FREE, buffer)
        for size in concern.resizes:
            if size != judge.live[buffer][1]:
                yield Step(Action.RESIZE, buffer, size)
    yield from concern.others


def state_of(judge: Judge) -> Hashable:
    """Return all that determines what a correct allocator does next."""
    books = judge.books
    births = [birth for _, birth in sorted(books.state.births.items())]
    return (
        tuple(books.segments()),
        tuple(sorted(range(len(births)), key=births.__getitem__)),
        tuple(sorted(books.cursors)) if judge.contract.fit is not None else 0,
        tuple(books.parked),
        judge.source.starve,
    )


# --- a pipe pair on a small map ------------------------------------------------------------------------------


def explore_pipes(
    make_space: MakeSpace,
    *,
    pages: int = 3,
    depth: int = 6,
    contract: Contract | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Exploration:
    """Run every program of up to ``depth`` calls on one pipe, by FreeBSD's policy of 2006, on a map of a few pages.

    After every call the invariants of the pipe system and of the space are checked, and the bytes that were read are compared
    with a queue.  When both ends are closed, nothing may be allocated.

    Raises:
        InvalidRequestError: If a number is out of range.
    """
    if type(pages) is not int or not 1 <= pages <= 64:
        raise InvalidRequestError("pages", pages, "must be an int in 1 .. 64")
    world = World(limit=pages, room=pages, arena=pages)
    subject = Subject(make_space, contract)
    seen: set[Hashable] = set()
    queue: deque[tuple[str, ...]] = deque([()])
    states = transitions = 0
    path: tuple[str, ...] = ()
    try:
        while queue:
            start = queue.popleft()
            for call in _CALLS:
                path = (*start, call)
                transitions += 1
                trial = _PipeTrial(subject, world)
                for word in path:
                    trial.call(word)
                trial.look()
                state = trial.state()
                if state in seen:
                    continue
                seen.add(state)
                states += 1
                if len(path) < depth:
                    queue.append(path)
                trial.close_all()
                if progress is not None and states % 64 == 0:
                    progress(states, transitions)
    except Breach as breach:
        breach.add_note("pipe calls: " + ", ".join(path))
        found = Counterexample(CheckProgram(world, (), title=", ".join(path)), breach)
        return Exploration("pipe pair", pages, depth, states, transitions, found)
    return Exploration("pipe pair", pages, depth, states, transitions)


_CALLS: Final = (
    "pipe",
    "write 1",
    "write 4096",
    "write 5000",
    "back 100",
    "read 1",
    "read 8192",
    "unback",
    "close 0",
    "close 1",
)


class _PipeTrial:
    """One pipe beside two queues of bytes."""

    def __init__(self, subject: Subject, world: World) -> None:
        self.source, self.space = make(subject.make_space, world)
        self.system = PipeSystem(self.space, ERAS["2006"], maxpipekva=world.kva_limit)
        self.pair: PipePair | None = None
        self.sent: list[bytearray] = [bytearray(), bytearray()]  # by the end that reads
        self.next_byte = 0
        self.closed = [False, False]

    def call(self, word: str) -> None:
        name, _, number = word.partition(" ")
        try:
            if name == "pipe":
                if self.pair is None:
                    self.pair = self.system.pipe()
                    self.closed = [False, False]
                    self.sent = [bytearray(), bytearray()]
            elif self.pair is None:
                return
            elif name == "close":
                self._close(int(number))
            elif name in ("write", "back"):
                self._write(1 if name == "write" else 0, int(number))
            else:
                self._read(0 if name == "read" else 1, int(number or 100))
        except PipeError:
            return
        except Breach:
            raise
        except CoallocError as error:
            raise Breach(Property.P18, f"{word} raised {type(error).__name__}: {error}") from error

    def _write(self, end: int, n: int) -> None:
        assert self.pair is not None
        if self.closed[end]:
            return
        data = bytes((self.next_byte + at) % 251 for at in range(n))
        taken = self.pair.write(end, data)
        self.next_byte += taken
        self.sent[1 - end] += data[:taken]

    def _read(self, end: int, n: int) -> None:
        assert self.pair is not None
        if self.closed[end]:
            return
        into = bytearray()
        count = self.pair.read(end, n, into=into)
        expected = bytes(self.sent[end][:count])
        del self.sent[end][:count]
        if bytes(into) != expected:
            raise Breach(Property.P18, f"{count} bytes read are not those that were written")

    def _close(self, end: int) -> None:
        assert self.pair is not None
        if self.closed[end]:
            return
        self.pair.close(end)
        self.closed[end] = True
        self.sent[end].clear()
        if all(self.closed):
            self.pair = None
            if self.system.budget.kva_used:
                raise Breach(Property.P6, f"pipekva is {self.system.budget.kva_used} with all pipes closed")

    def close_all(self) -> None:
        for end in (0, 1):
            if self.pair is not None:
                self._close(end)
        if Capability.RECLAIM in capabilities_of(self.space):
            self.space.reclaim()
            if self.source.mapped:
                raise Breach(Property.P6, f"{self.source.mapped} bytes stay mapped with all pipes closed")

    def look(self) -> None:
        if self.source.breach is not None:
            raise self.source.breach
        for what in (self.system, self.space):
            for violation in what.violations() if Capability.VIOLATIONS in capabilities_of(what) else ():
                raise Breach(Property.P4, str(violation))

    def state(self) -> Hashable:
        rings: tuple[Hashable, ...] = ()
        if self.pair is not None:
            rings = tuple((h.size, h.cnt, h.in_, h.out, h.present) for h in self.pair.halves)
        segments = tuple(self.space.segments()) if Capability.SEGMENTS in capabilities_of(self.space) else ()
        return rings, segments, self.next_byte % 251
