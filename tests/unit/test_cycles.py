"""Livelock and starvation: fair cycles are found, told apart from what only looks like one, and gone round again."""

from __future__ import annotations

import errno
from collections.abc import Callable

import attrs
import pytest

from coalloc.errors import InvalidRequestError, PipeError
from coalloc.kernel.pipelock import PIPELOCKS, LockedPipe
from coalloc.sched.cycles import Cycle, find_cycles, search_cycles
from coalloc.sched.hardware import SERVER
from coalloc.sched.locks import HANDOFF, RWLOCK, SLEEPING, TICKET, Discipline, Lock
from coalloc.sched.machine import Machine
from coalloc.sched.ops import Acquire, Body, Finish, Preempt, SleepOn, Spend, Start, Unlock, WakeUp
from coalloc.sched.pct_driver import PctDriver
from coalloc.sched.random_driver import RandomDriver
from coalloc.sched.run import FindingKind
from coalloc.sched.schedule import FollowDriver, Schedule
from coalloc.sched.simulation import Simulation


def making(*bodies: Callable[[], Body], snapshot: Callable[[], object] = lambda: None) -> Callable[[], Machine]:
    """Return a maker of machines with threads a, b, c, ..."""

    def make() -> Machine:
        machine = Machine(snapshot=snapshot)
        for number, body in enumerate(bodies):
            machine.spawn(chr(ord("a") + number), body())
        return machine

    return make


# --- pipelock, as published ---------------------------------------------------------------------------------------


def pipes(rules: str, readers: int) -> Callable[[], Machine]:
    """Return a maker of readers that go on for ever, and of a writer that wakes last."""

    def make() -> Machine:
        pipe = LockedPipe(PIPELOCKS[rules], size=1, cnt=1)
        machine = Machine(snapshot=pipe.snapshot)

        def reads() -> Body:
            while True:
                yield from pipe.read(1)
                yield Finish("read")

        def writes() -> Body:
            while True:
                yield from pipe.write(1)
                yield Finish("write")

        for number in range(readers):
            machine.spawn(f"reader {number + 1}", reads())
        machine.spawn("writer", writes(), priority=1)
        return machine

    return make


@pytest.mark.parametrize("rules", PIPELOCKS)
def test_two_readers_wake_each_other_in_2020_alone(rules: str) -> None:
    """All states of two readers and a writer: only where a counted waiter shares the channel of those who wait for data."""
    found = find_cycles(pipes(rules, 2))
    if rules != "2020":
        assert (found.finding, found.complete, found.cycle) == (None, True, None)
        return
    cycle = found.cycle
    assert cycle is not None
    assert (cycle.kind, cycle.threads, cycle.strong) == (FindingKind.LIVELOCK, ("reader 1", "reader 2"), False)
    assert cycle.stuck == (("writer", "pipe mutex"),)
    assert [str(turn) for turn in cycle.turns][:3] == [
        "reader 2 sleeps on pipe, and releases pipe mutex",
        "reader 1 takes pipe mutex",
        "reader 1 wakes one on pipe",
    ]
    assert str(cycle).startswith(
        "livelock: reader 1, reader 2 go round in 6 steps after 13; writer waits for pipe mutex\n  "
    )


@pytest.mark.parametrize("readers", [4, 6])
def test_more_readers_livelock_under_priorities(readers: int) -> None:
    """Priority schedules find it in the wrong version, and nothing in the right one."""
    drivers = [PctDriver(seed, changes=3, steps=200) for seed in range(60)]
    found = search_cycles(pipes("2020", readers), drivers, max_steps=1500)
    assert found.cycle is not None
    assert found.cycle.kind is FindingKind.LIVELOCK
    assert "writer" in dict(found.cycle.stuck)
    right = search_cycles(
        pipes("2022", readers), [PctDriver(seed, changes=3, steps=200) for seed in range(10)], max_steps=800
    )
    assert (right.finding, right.schedules) == (None, 10)


# --- what is a fair cycle, and what is not -----------------------------------------------------------------------------


def test_threads_that_only_run_long_are_no_livelock() -> None:
    """A program that gets on, one that ends, and one that waits for a thread that its schedule leaves out."""
    lock = Lock("lock")

    def works() -> Body:
        while True:
            yield Start("work")
            yield Acquire(lock)
            yield Unlock(lock)
            yield Finish("work")

    assert find_cycles(making(works, works)).finding is None
    flag: list[int] = []

    def sets() -> Body:
        yield Preempt()
        flag.append(1)
        yield Preempt()

    def spins() -> Body:
        while not flag:
            yield Preempt()

    def make() -> Machine:
        flag.clear()
        return making(spins, sets, snapshot=lambda: len(flag))()

    assert find_cycles(make).finding is None  # it goes round only while "sets" is left out, which can always run


def test_two_who_give_way_to_each_other_go_round_under_any_scheduler() -> None:
    """Each sees that the other wants the lock, and gives way: strongly fair, since both run."""
    want = [False, False]

    def polite(me: int) -> Body:
        while True:
            want[me] = True
            yield Preempt()
            if not want[1 - me]:
                break
            want[me] = False
            yield Preempt()

    def make() -> Machine:
        want[:] = [False, False]
        machine = Machine(snapshot=lambda: tuple(want))
        machine.spawn("a", polite(0))
        machine.spawn("b", polite(1))
        return machine

    found = find_cycles(make)
    assert found.cycle is not None
    assert (found.cycle.kind, found.cycle.strong, found.cycle.stuck) == (FindingKind.LIVELOCK, True, ())
    assert not found.complete
    assert found.run is not None
    again = search_cycles(make, [FollowDriver(found.run.schedule)])
    assert again.cycle is not None
    assert again.cycle.turns == found.cycle.turns
    met = search_cycles(make, [RandomDriver(seed) for seed in range(20)], max_steps=200)
    assert met.cycle is not None


def test_deadlock_and_sleep_come_first() -> None:
    """They end a run, and are no cycles."""
    one, two = Lock("one"), Lock("two")

    def pair(first: Lock, second: Lock) -> Body:
        yield Acquire(first)
        yield Acquire(second)
        yield Unlock(second)
        yield Unlock(first)

    make = making(lambda: pair(one, two), lambda: pair(two, one))
    for found in (find_cycles(make), search_cycles(make, [FollowDriver(Schedule.parse("1>1"))])):
        assert found.finding is not None
        assert (found.finding.kind, found.cycle) == (FindingKind.DEADLOCK, None)

    def sleeps() -> Body:
        yield SleepOn("bell")

    finding = find_cycles(making(sleeps)).finding
    assert finding is not None
    assert finding.kind is FindingKind.SLEEPS_FOR_EVER


# --- starvation, and how often one can be passed ---------------------------------------------------------------------


def users(discipline: Discipline, threads: int) -> Callable[[], Machine]:
    """Return a maker of threads that take a lock again and again."""

    def make() -> Machine:
        lock = Lock("lock", discipline=discipline)

        def uses() -> Body:
            while True:
                yield Acquire(lock)
                yield Spend(1)
                yield Unlock(lock)
                yield Finish("section")

        return making(*[uses] * threads)()

    return make


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("discipline", [HANDOFF, TICKET], ids=["hand-off", "ticket"])
def test_a_lock_in_order_passes_a_waiter_a_bounded_number_of_times(discipline: Discipline, threads: int) -> None:
    """At most once for each other thread; nobody starves."""
    found = find_cycles(users(discipline, threads), starvation=True)
    assert (found.finding, found.complete) == (None, True)
    assert found.bypass == {"lock": threads - 1}


def test_a_lock_for_whoever_comes_first_starves_a_waiter() -> None:
    """The others go on, and there is no bound; only asked where it is asked for."""
    found = find_cycles(users(SLEEPING, 3), starvation=True)
    assert found.cycle is not None
    assert (found.cycle.kind, found.bypass) == (FindingKind.STARVATION, {"lock": None})
    starving, waits = found.cycle.stuck[0]
    assert waits == "lock"
    assert all(turn.thread != starving or turn.what == "waits for lock" for turn in found.cycle.turns)
    assert find_cycles(users(SLEEPING, 3)).finding is None
    met = search_cycles(users(SLEEPING, 3), [RandomDriver(seed) for seed in range(20)], starvation=True)
    assert met.cycle is not None
    assert met.cycle.kind is FindingKind.STARVATION
    assert search_cycles(users(SLEEPING, 3), [RandomDriver(1)], max_steps=100).cycle is None


def test_readers_that_come_and_go_keep_a_writer_out() -> None:
    """Where a new reader may always join, two readers that overlap starve a writer."""
    lock = Lock("lock", discipline=RWLOCK)

    def reads() -> Body:
        while True:
            yield Acquire(lock, shared=True)
            yield Spend(1)
            yield Unlock(lock)
            yield Finish("read")

    def writes() -> Body:
        while True:
            yield Acquire(lock)
            yield Unlock(lock)
            yield Finish("write")

    found = find_cycles(making(reads, reads, writes), starvation=True)
    assert found.cycle is not None
    assert found.cycle.kind is FindingKind.STARVATION


# --- bounds, and what is told wrongly ----------------------------------------------------------------------------------


def test_too_many_states_and_bad_numbers() -> None:
    """The search says that it did not see all; numbers below one are refused."""
    found = find_cycles(users(HANDOFF, 3), most=5)
    assert (found.complete, found.cycle, found.schedules >= 5) == (False, None, True)
    for most, max_steps in ((0, 1), (1, 0)):
        with pytest.raises(InvalidRequestError):
            find_cycles(users(HANDOFF, 2), most=most, max_steps=max_steps)


def test_a_snapshot_that_leaves_something_out_is_noticed() -> None:
    """A counter that ends the loop after a while is not told: the cycle that seems to be there does not come round."""
    left: list[int] = []

    def counts() -> Body:
        while left:
            left.pop()
            yield Preempt()

    def make() -> Machine:
        left[:] = [1] * 5
        return making(counts, counts)()

    with pytest.raises(InvalidRequestError, match="leaves out what threads share"):
        find_cycles(make)


def test_steps_are_told_in_words() -> None:
    """Each kind of step says what it was."""
    lock = Lock("lock")
    said: list[str] = []

    def body() -> Body:
        yield Acquire(lock)
        yield Spend(1)
        yield WakeUp("bell")
        yield WakeUp("bell", one=True)
        yield Unlock(lock)

    def other() -> Body:
        yield Acquire(lock)
        yield SleepOn("bell", lock)

    machine = making(body, other)()

    class Tells:
        def choose(self, step: int, runnable: tuple[int, ...], default: int) -> int:
            if step:
                said.append(machine.did)
            return 1 if step == 1 and 1 in runnable else default

    machine.run(Tells())
    assert said[:3] == ["takes lock", "waits for lock", "runs"] or said[:3] == [
        "takes lock",
        "waits for lock",
        "waits for lock",
    ]
    assert {"wakes all on bell", "wakes one on bell", "releases lock", "ends"} <= set(said)
    assert machine.waits(1) == "bell"
    assert machine.alive(1)
    assert not machine.alive(0)
    assert attrs.asdict(Cycle(FindingKind.LIVELOCK, (), (), (), 0, (), strong=True))["prefix"] == 0


# --- pipelock's pipe ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", PIPELOCKS)
def test_a_locked_pipe_moves_all_that_is_written(rules: str) -> None:
    """Writes larger than the buffer, several readers, random schedules, and simulated time; an empty read fails at once."""
    for seed in range(6):
        pipe = LockedPipe(PIPELOCKS[rules], size=600, copy_page=4096, enter=5)
        machine, simulation = Machine(), Simulation(SERVER, seed=seed)
        got: list[int] = []
        refused: list[int | None] = []

        def reads(pipe: LockedPipe = pipe, got: list[int] = got) -> Body:
            while True:
                n = yield from pipe.read(500)
                if not n:
                    return
                got.append(n)

        def writes(pipe: LockedPipe = pipe) -> Body:
            for n in (0, 1, 512, 2000, 600):
                assert (yield from pipe.write(n)) == n

        def polls(pipe: LockedPipe = pipe, got: list[int] = got, refused: list[int | None] = refused) -> Body:
            for _ in range(3):
                try:
                    n = yield from pipe.read(1, nonblock=True)
                except PipeError as error:
                    refused.append(error.errno)
                else:
                    got.append(n)

        def ends(pipe: LockedPipe = pipe, got: list[int] = got) -> Body:
            while sum(got) < 2 * 3113:
                yield Spend(1000)
            yield Acquire(pipe.mutex)
            pipe.eof = True
            yield WakeUp("pipe")
            yield Unlock(pipe.mutex)

        spawn: Callable[..., None] = simulation.spawn if seed % 2 else machine.spawn
        for name, body in (
            ("r1", reads),
            ("r2", reads),
            ("w1", writes),
            ("w2", writes),
            ("polls", polls),
            ("ends", ends),
        ):
            spawn(name, body())
        findings = simulation.run().findings if seed % 2 else machine.run(RandomDriver(seed), record=False).findings
        assert findings == ()
        assert sum(got) == 2 * 3113
        assert set(refused) <= {errno.EAGAIN}


def test_a_read_that_leaves_much_wakes_no_writer() -> None:
    """A blocked writer is woken when fewer than 5,461 bytes are left."""
    pipe, simulation = LockedPipe(PIPELOCKS["2022"], cnt=16_384), Simulation()

    def writes() -> Body:
        yield from pipe.write(1)

    def reads() -> Body:
        yield Spend(10)
        yield from pipe.read(1)
        yield Spend(10)
        assert pipe.cnt == 16_383
        yield from pipe.read(11_000)

    simulation.spawn("writer", writes())
    simulation.spawn("reader", reads())
    assert (simulation.run().findings, pipe.cnt) == ((), 5384)


def test_an_empty_read_takes_no_lock_since_august_2022() -> None:
    """Before, it took the pipe's mutex; with data or at the end of the file it still does."""
    for rules, taken in (("2022", 1), ("2022-08", 0)):
        pipe = LockedPipe(PIPELOCKS[rules])
        simulation = Simulation()

        def empty(pipe: LockedPipe = pipe) -> Body:
            with pytest.raises(PipeError):
                yield from pipe.read(1, nonblock=True)
            pipe.eof = True
            assert (yield from pipe.read(1, nonblock=True)) == 0

        simulation.spawn("reader", empty())
        assert simulation.run().locks[0].acquisitions == taken + 1
