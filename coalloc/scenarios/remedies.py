"""The scenario ``remedies``: a write that gets no buffer, and three ways to end its ENOMEM that a user asked for in 2020.

In FreeBSD 10.0 to 12.1 pipe(2) succeeds without a buffer, and the first write then fails with ENOMEM if kern.ipc.maxpipekva
leaves no room.  A user asked for one of three: a minimal buffer that is exempt from the limit; a writer that sleeps until space
comes free; a writer that sleeps until a reader comes, and hands the data over.  FreeBSD chose a fourth: since 12.2 pipe(2)
fails.

Each is tried on real pipes of that kernel, whose limit other pipes have used up but for so many buffers:

* ``self``: a process writes to its pipe and then reads it; no buffer is left;
* ``pairs``: each writer has a reader, who closes the pipe when it has read; one buffer is left;
* ``exchange``: two processes write to each other, and then read; one buffer is left;
* ``exchange, full``: the same, and none is left.

Every schedule of a few preemptions is run, and what some schedule finds is shown.  Costs: bytes beyond the limit, and writes
that slept, the most of any schedule.

A buffer is a page here, the smallest; a pipe of 12.2 needs two.

Differences from the kernel: one lock stands for all, and a minimal buffer comes from a map of its own.

Source: the mail to freebsd-hackers of 4 March 2020 (2020-March/055714); the reproducer of D23993; B12, B13.
"""

from __future__ import annotations

import enum
import errno
import textwrap
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Final

import attrs

from coalloc.errors import InvalidRequestError, PipeError
from coalloc.pipes.design import PER_PIPE
from coalloc.pipes.eras import PIPE_SIZE, SMALL_PIPE_SIZE
from coalloc.pipes.pair import PipePair
from coalloc.pipes.states import ERAS
from coalloc.pipes.system import PipeSystem
from coalloc.scenarios.options import Int, Option
from coalloc.scenarios.progress import Progress
from coalloc.scenarios.result import Column, Result, Table
from coalloc.scenarios.scenario import Scenario
from coalloc.sched.explore import explore
from coalloc.sched.locks import Lock
from coalloc.sched.machine import Machine
from coalloc.sched.ops import Acquire, Body, Op, SleepOn, Unlock, WakeUp
from coalloc.units import MiB

__all__ = ["LOADS", "OFFERED", "Remedied", "Remedies", "Remedy", "run_remedy"]

_BYTES: Final = 100
"""Bytes of each write."""


class Remedy(enum.Enum):
    """What happens to a write that gets no buffer."""

    NONE = "none (10.x)"
    MINIMAL = "minimal buffer"
    SLEEPS = "wait for space"
    HANDS_OVER = "wait for reader"
    AT_CREATION = "refuse (12.2)"


_LIMIT: Final = 4 * PIPE_SIZE


class _World:
    """Pipes under a limit of which other pipes leave so many bytes, and what came of their writes."""

    def __init__(self, remedy: Remedy, room: int) -> None:
        self.remedy = remedy
        self.pipes = _system(remedy, _LIMIT)
        while self.pipes.kva_used + SMALL_PIPE_SIZE <= _LIMIT - room:
            self.pipes.pipe()
        self.exempt = _system(remedy, MiB, SMALL_PIPE_SIZE)
        """Minimal buffers, which lie outside the limit."""
        self.lock = Lock("pipe_map")
        self.refused = self.failed = self.slept = 0

    def pipe(self) -> Generator[Op, Any, _Pipe | None]:
        """Make a pipe; None if that is refused."""
        yield Acquire(self.lock)
        try:
            pair = self.pipes.pipe()
        except PipeError:
            self.refused += 1
            yield Unlock(self.lock)
            return None
        yield Unlock(self.lock)
        return _Pipe(self, pair)


class _Pipe:
    """A pipe whose writes have a remedy."""

    def __init__(self, world: _World, pair: PipePair) -> None:
        self._world = world
        self._pair = pair
        self._minimal: PipePair | None = None
        self._held = 0
        """Bytes that a writer holds until a reader takes them."""
        self._failed = False
        self._name = f"pipe {pair.number}"

    def write(self, n: int) -> Body:
        """Write; where there is no remedy it may fail with ENOMEM, and then nothing is to be read."""
        world, lock = self._world, self._world.lock
        done = waits = False
        yield Acquire(lock)
        while not done:
            try:
                (self._minimal or self._pair).write(1, n)
                break
            except PipeError as error:
                if error.errno != errno.ENOMEM:  # pragma: no cover - a buffer that is there has room
                    raise
            world.slept += not waits and world.remedy in (Remedy.SLEEPS, Remedy.HANDS_OVER)
            waits = True
            if world.remedy is Remedy.MINIMAL:
                self._minimal = world.exempt.pipe()
            elif world.remedy is Remedy.SLEEPS:
                yield SleepOn("room for a buffer", lock)
            elif world.remedy is Remedy.HANDS_OVER:
                self._held = n
                yield WakeUp(f"data, {self._name}")
                while self._held:
                    yield SleepOn(f"reader, {self._name}", lock)
                done = True
            else:
                world.failed += 1
                self._failed = True
                done = True
        yield WakeUp(f"data, {self._name}")
        yield Unlock(lock)

    def read(self, n: int) -> Body:
        """Read so many bytes, which one write wrote."""
        lock = self._world.lock
        yield Acquire(lock)
        while not self._failed:
            if self._held:
                self._held = 0
                yield WakeUp(f"reader, {self._name}")
                break
            source = self._minimal or self._pair
            if source.readable(0):
                source.read(0, n)
                break
            yield SleepOn(f"data, {self._name}", lock)
        yield Unlock(lock)

    def close(self) -> Body:
        """Close both ends, and wake those who wait for room."""
        yield Acquire(self._world.lock)
        for pair in (self._pair, self._minimal):
            if pair is not None:
                pair.close(0)
                pair.close(1)
        yield WakeUp("room for a buffer")
        yield Unlock(self._world.lock)


def _system(remedy: Remedy, limit: int, pipe_size: int = PIPE_SIZE) -> PipeSystem:
    state = attrs.evolve(ERAS["12.2" if remedy is Remedy.AT_CREATION else "10.x"], pipe_size=pipe_size)
    pipes = PER_PIPE.pipes(state, PER_PIPE.build(state, limit).space, limit)
    assert isinstance(pipes, PipeSystem)
    return pipes


# --- loads -------------------------------------------------------------------------------------------------------


def _self(world: _World) -> dict[str, Body]:
    def process() -> Body:
        pipe = yield from world.pipe()
        if pipe is not None:
            yield from pipe.write(_BYTES)
            yield from pipe.read(_BYTES)
            yield from pipe.close()

    return {"process": process()}


def _pairs(world: _World) -> dict[str, Body]:
    bodies: dict[str, Body] = {}
    for number in range(2):
        made: list[_Pipe | None] = []
        bodies[f"writer {number}"] = _makes_and_writes(world, made, f"pipe of pair {number}")
        bodies[f"reader {number}"] = _reads_and_closes(made, f"pipe of pair {number}")
    return bodies


def _makes_and_writes(world: _World, made: list[_Pipe | None], channel: str) -> Body:
    pipe = yield from world.pipe()
    made.append(pipe)
    yield WakeUp(channel)
    if pipe is not None:
        yield from pipe.write(_BYTES)


def _reads_and_closes(made: list[_Pipe | None], channel: str) -> Body:
    while not made:
        yield SleepOn(channel)
    if made[0] is not None:
        yield from made[0].read(_BYTES)
        yield from made[0].close()


def _exchange(world: _World) -> dict[str, Body]:
    def process(mine: _Pipe, other: _Pipe) -> Body:
        yield from mine.write(_BYTES)
        yield from other.read(_BYTES)
        yield from other.close()

    try:
        one, two = (_Pipe(world, world.pipes.pipe()) for _ in range(2))
    except PipeError:
        world.refused += 1
        return {}
    return {"one": process(one, two), "two": process(two, one)}


LOADS: Final[Mapping[str, tuple[Callable[[_World], dict[str, Body]], int]]] = {
    "self": (_self, 0),
    "pairs": (_pairs, SMALL_PIPE_SIZE),
    "exchange": (_exchange, SMALL_PIPE_SIZE),
    "exchange, full": (_exchange, 0),
}
"""The loads by name: what makes the threads, and how many bytes are left under the limit."""


# --- the scenario ------------------------------------------------------------------------------------------------


@attrs.frozen
class Remedied:
    """What came of a remedy under a load.

    Args:
        remedy: The remedy.
        load: The load, one of :data:`LOADS`.
        schedules: How many schedules were run.
        complete: Whether these are all with so few preemptions.
        refused: The most calls of pipe(2) that failed in a schedule.
        failed: The most writes that failed with ENOMEM.
        slept: The most writes that slept for lack of a buffer.
        beyond: The most bytes of buffers beyond the limit.
        finding: What some schedule found, such as a deadlock; empty if nothing.
        schedule: That schedule.
    """

    remedy: Remedy
    load: str
    schedules: int
    complete: bool
    refused: int
    failed: int
    slept: int
    beyond: int
    finding: str
    schedule: str


def run_remedy(remedy: Remedy, load: str, *, preemptions: int = 1, most: int = 2_000) -> Remedied:
    """Run every schedule of a load with a remedy.

    Args:
        remedy: The remedy.
        load: One of :data:`LOADS`.
        preemptions: The most preemptions of a schedule, >= 0.
        most: The most schedules, >= 1.

    Raises:
        InvalidRequestError: For an unknown load, or a number out of range.
    """
    if load not in LOADS:
        raise InvalidRequestError("load", load, f"is no load; there are {'; '.join(LOADS)}")
    threads, room = LOADS[load]
    worlds: list[_World] = []

    def make() -> Machine:
        world = _World(remedy, room)
        worlds.append(world)
        machine = Machine(watch=lambda: (*world.pipes.violations(), *world.exempt.violations()))
        for name, body in threads(world).items():
            machine.spawn(name, body)
        return machine

    found = explore(make, preemptions=preemptions, most=most)
    return Remedied(
        remedy,
        load,
        found.schedules,
        found.complete,
        max(world.refused for world in worlds),
        max(world.failed for world in worlds),
        max(world.slept for world in worlds),
        max(world.exempt.peak_kva_used for world in worlds),
        "" if found.finding is None else str(found.finding),
        "" if found.run is None else str(found.run.schedule),
    )


@attrs.frozen
class Remedies(Result):
    """The remedies side by side.

    Args:
        rows: One for each remedy and load.
    """

    rows: tuple[Remedied, ...]

    def parts(self) -> Iterator[str | Table]:
        """Yield a table, and every finding in words."""
        yield Table(
            (
                Column("remedy"),
                Column("load", no_wrap=True),
                *(Column(name, right=True, no_wrap=True) for name in ("refused", "ENOMEM", "slept", "beyond")),
                Column("found", no_wrap=True),
            ),
            tuple(
                (
                    row.remedy.value if row.load == next(iter(LOADS)) else "",
                    row.load,
                    *(f"{n:,}" if n else "" for n in (row.refused, row.failed, row.slept, row.beyond)),
                    row.finding.partition(":")[0] or f"none in {'all ' if row.complete else ''}{row.schedules:,}",
                )
                for row in self.rows
            ),
        )
        yield "\nrefused: calls of pipe(2); beyond: bytes beyond the limit; the most of any."
        yield "found: in all schedules with so few preemptions, or in so many of them."
        for row in self.rows:
            if row.finding:
                yield f"\n{row.remedy.value}, {row.load}, by {row.schedule or 'the plain schedule'}:"
                yield textwrap.fill(row.finding, 80, initial_indent="  ", subsequent_indent="  ")

    def as_json(self) -> object:
        """Return everything."""
        return [attrs.asdict(row) | {"remedy": row.remedy.value} for row in self.rows]


def _run(progress: Progress, *, preemptions: int, most: int) -> Remedies:
    rows = []
    for remedy in Remedy:
        for load in LOADS:
            progress.say(f"{remedy.value}: {load}")
            rows.append(run_remedy(remedy, load, preemptions=preemptions, most=most))
    return Remedies(tuple(rows))


OFFERED: Final = (
    Scenario(
        "remedies",
        """Writes that get no buffer: three remedies that a user asked for, what each costs, and what can then deadlock.

        Exit status 0, whatever is found.
        """,
        _run,
        (
            Option("preemptions", Int(), 1, "Most preemptions in a schedule."),
            Option("most", Int(), 2_000, "Most schedules of each remedy and load."),
        ),
        rank=65,
    ),
)
"""The scenario of this module."""
