"""Simulated time: locks of every discipline, CPUs, wakeups, priorities, and what is measured."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from coalloc.errors import InvalidRequestError
from coalloc.sched.hardware import IDEAL, SERVER, Hardware
from coalloc.sched.locks import (
    ADAPTIVE,
    DISCIPLINES,
    HANDOFF,
    MCS,
    OPTIMISTIC,
    PER_CPU,
    READ_MOSTLY,
    RWLOCK,
    SLEEPING,
    TEST_AND_SET,
    TICKET,
    Lock,
    LockKind,
)
from coalloc.sched.machine import Machine
from coalloc.sched.measured import Measured, ThreadState
from coalloc.sched.ops import (
    Access,
    Acquire,
    Body,
    Finish,
    Line,
    Preempt,
    SleepOn,
    Spend,
    Start,
    TryAcquire,
    Unlock,
    WakeUp,
)
from coalloc.sched.run import FindingKind
from coalloc.sched.simulation import Simulation
from coalloc.sched.timeline import Hold, Slice, Timeline, Wake
from tests import NIGHTLY

ALL = pytest.mark.parametrize("discipline", DISCIPLINES.values(), ids=list(DISCIPLINES))
COSTLY = Hardware(
    cpus=4, cpus_per_core=2, cpus_per_socket=4, atomic=1, same_core=10, same_socket=30, switch=100, wakeup=20, wake_latency=50,
    interrupt=500,
)  # fmt: skip


def ran(hardware: Hardware, *bodies: Body, until: int | None = None, seed: int = 0) -> Measured:
    """Run threads a, b, c, ... and require that what is measured adds up."""
    simulation = Simulation(hardware, seed=seed)
    for number, body in enumerate(bodies):
        simulation.spawn(chr(ord("a") + number), body)
    measured = simulation.run(until=until)
    assert measured.violations() == ()
    return measured


# --- locks of every discipline ------------------------------------------------------------------------------------


@ALL
@pytest.mark.parametrize(
    "hardware", [IDEAL, SERVER, attrs.evolve(SERVER, cpus=3), COSTLY], ids=["ideal", "server", "three", "costly"]
)
def test_one_at_a_time_and_all_get_through(discipline: Any, hardware: Hardware) -> None:
    """Ten threads take the lock twenty times each; nobody meets another inside, and equal seeds give equal runs."""
    results = []
    for _ in range(2):
        lock = Lock("lock", discipline=discipline)
        inside: list[str] = []
        met: list[str] = []

        def user(simulation: Simulation, lock: Lock = lock, inside: list[str] = inside, met: list[str] = met) -> Body:
            for _ in range(20):
                yield Start("section")
                yield Acquire(lock)
                where = f"{simulation.cpu}" if lock.discipline.per_cpu else ""
                met += [other for other in inside if other == where]
                inside.append(where)
                yield Spend(7)
                inside.remove(where)
                yield Unlock(lock)
                yield Finish("section")
                yield Spend(13)

        simulation = Simulation(hardware, seed=4)
        for number in range(10):
            simulation.spawn(f"t{number}", user(simulation))
        measured = simulation.run()
        assert (met, measured.findings, measured.violations()) == ([], (), ())
        assert measured.operations["section"].count == measured.locks[0].acquisitions == 200
        assert measured.times[ThreadState.BLOCKED] == 0 or discipline.sleeps
        results.append(attrs.evolve(measured, results={}))
    assert results[0] == results[1]


def test_the_line_moves_once_for_mcs_and_more_often_for_others() -> None:
    """So four who wait for MCS get the lock sooner than for a ticket lock, and those sooner than with test-and-set."""
    elapsed = {}
    for discipline in (MCS, TICKET, TEST_AND_SET):
        lock = Lock("lock", discipline=discipline)

        def user(lock: Lock = lock) -> Body:
            for _ in range(50):
                yield Acquire(lock)
                yield Spend(10)
                yield Unlock(lock)

        elapsed[discipline.name] = ran(COSTLY, *(user() for _ in range(4))).elapsed
    assert elapsed["MCS"] < elapsed["ticket"] < elapsed["test-and-set"]


def test_readers_share_and_a_writer_is_alone() -> None:
    """Three readers take 100 together; a writer then waits for all, and readers that come later wait for the writer."""
    lock = Lock("lock", discipline=RWLOCK)
    order: list[tuple[str, int]] = []

    def user(simulation: Simulation, name: str, start: int, *, shared: bool) -> Body:
        yield Spend(start)
        yield Acquire(lock, shared=shared)
        order.append((name, simulation.now))
        yield Spend(100)
        yield Unlock(lock)

    simulation = Simulation(Hardware(cpus=8))
    for number in range(3):
        simulation.spawn(f"reader {number}", user(simulation, "reader", 0, shared=True))
    simulation.spawn("writer", user(simulation, "writer", 10, shared=False))
    simulation.spawn("late", user(simulation, "late", 20, shared=True))
    measured = simulation.run()
    assert order == [("reader", 0)] * 3 + [("writer", 100), ("late", 200)]
    assert (measured.elapsed, measured.locks[0].contended) == (300, 2)
    assert measured.locks[0].hold_ns == 500


def test_a_reader_of_a_read_mostly_lock_moves_no_line_and_a_writer_interrupts() -> None:
    """A read costs an atomic operation wherever it is made; a write costs an interrupt more."""
    lock = Lock("lock", discipline=READ_MOSTLY)

    def reader() -> Body:
        for _ in range(10):
            yield Acquire(lock, shared=True)
            yield Unlock(lock)

    def writer() -> Body:
        yield Acquire(lock)
        yield Unlock(lock)

    assert ran(COSTLY, reader(), reader()).elapsed == 10 * 2
    assert ran(COSTLY, writer()).elapsed == 500 + 2


def test_a_per_cpu_lock_keeps_its_holder_on_its_cpu() -> None:
    """Two threads on two CPUs hold it at once; one that is held by a thread cannot be taken on the same CPU."""
    lock = Lock("lock", discipline=PER_CPU)

    def user() -> Body:
        yield Acquire(lock)
        yield Spend(100)
        yield Unlock(lock)

    measured = ran(Hardware(cpus=2), user(), user(), user())
    assert (measured.elapsed, measured.locks[0].contended) == (200, 0)


def test_a_lock_that_is_handed_over_belongs_to_a_thread_that_still_wakes_up() -> None:
    """Hand-over holds the lock while its heir wakes up; without, another takes it meanwhile: the convoy of Blasgen et al."""
    elapsed = {}
    for discipline in (HANDOFF, SLEEPING):
        lock = Lock("lock", discipline=discipline)

        def user(lock: Lock = lock) -> Body:
            for _ in range(20):
                yield Acquire(lock)
                yield Spend(10)
                yield Unlock(lock)

        elapsed[discipline] = ran(COSTLY, user(), user(), user()).elapsed
    assert elapsed[HANDOFF] > 5 * elapsed[SLEEPING]


def test_who_was_woken_in_vain_is_given_an_optimistic_mutex() -> None:
    """A waiter that slept waits for a bounded number of sections, however many others come."""
    for discipline, fair in ((OPTIMISTIC, True), (SLEEPING, False)):
        lock = Lock("lock", discipline=discipline)
        got: list[int] = []

        def hog(simulation: Simulation, lock: Lock = lock) -> Body:
            while simulation.now < 100_000:
                yield Acquire(lock)
                yield Spend(400)
                yield Unlock(lock)
                yield Spend(1)

        def waiter(simulation: Simulation, lock: Lock = lock, got: list[int] = got) -> Body:
            yield Spend(50)
            yield Acquire(lock)
            got.append(simulation.now)
            yield Unlock(lock)

        hardware = attrs.evolve(COSTLY, cpus=1, cpus_per_core=1, cpus_per_socket=1, slice=300, wake_latency=0)
        simulation = Simulation(hardware if fair else attrs.evolve(COSTLY, wake_latency=1000))
        simulation.spawn("hog", hog(simulation))
        simulation.spawn("waiter", waiter(simulation))
        measured = simulation.run()
        assert not measured.findings
        assert (got[0] < 10_000) is fair


def test_who_spins_for_a_holder_that_loses_its_cpu_goes_to_sleep() -> None:
    """An adaptive mutex's waiter spins while the holder runs, and sleeps when a thread of higher priority takes its CPU."""
    lock = Lock("lock", discipline=ADAPTIVE)

    def holder() -> Body:
        yield Acquire(lock)
        yield Spend(1000)
        yield Unlock(lock)

    def waiter() -> Body:
        yield Spend(100)
        yield Acquire(lock)
        yield Unlock(lock)

    def urgent() -> Body:
        yield SleepOn("bell")
        yield Spend(500)

    def rings() -> Body:
        yield Spend(300)
        yield WakeUp("bell")

    simulation = Simulation(Hardware(cpus=3))
    simulation.spawn("urgent", urgent(), cpu=0, priority=0)
    simulation.spawn("holder", holder(), cpu=0, priority=5)
    simulation.spawn("waiter", waiter(), cpu=1)
    simulation.spawn("rings", rings(), cpu=2)
    measured = simulation.run()
    assert measured.violations() == ()
    assert measured.elapsed == 1500
    assert measured.times[ThreadState.SPIN] == 200
    assert measured.times[ThreadState.BLOCKED] == 1500 - 300
    assert (measured.preemptions, measured.times[ThreadState.READY] >= 500) == (1, True)


def test_a_lock_may_be_taken_again_and_tried() -> None:
    """Recursion needs as many releases; a try that fails tells so."""
    lock, answers = Lock("lock", recursable=True), []

    def holder() -> Body:
        yield Acquire(lock)
        yield Acquire(lock)
        answers.append((yield TryAcquire(lock)))
        yield Unlock(lock)
        yield Unlock(lock)
        yield Spend(10)
        yield Unlock(lock)

    def other() -> Body:
        yield Spend(5)
        answers.append((yield TryAcquire(lock)))
        yield Spend(10)
        answers.append((yield TryAcquire(lock)))
        yield Unlock(lock)

    assert ran(Hardware(cpus=2), holder(), other()).findings == ()
    assert answers == [True, False, True]


# --- what threads must not do ------------------------------------------------------------------------------------


def misuse(*ops: Any) -> str:
    """Return the finding of a thread that does so."""

    def body() -> Body:
        yield from ops

    simulation = Simulation()
    simulation.spawn("thread", body())
    (found,) = simulation.run().findings
    assert found.kind is FindingKind.RAISED
    return found.message


def test_misuse_is_a_finding() -> None:
    """And says what the thread did."""
    lock, spin = Lock("lock"), Lock("spin", LockKind.SPIN)
    assert "takes lock, which it holds" in misuse(Acquire(lock), Acquire(lock))
    assert "gives back lock, which it does not hold" in misuse(Unlock(lock))
    assert "takes lock shared, which cannot be" in misuse(Acquire(lock, shared=True))
    assert "sleeps and holds spin" in misuse(Acquire(spin), SleepOn("x"))
    assert "ended and still holds lock" in misuse(Acquire(lock))
    assert "a thread cannot do 7" in misuse(7)
    assert "ends read, which it has not begun" in misuse(Finish("read"))
    assert "takes rw, which it holds" in misuse(*[Acquire(Lock("rw", discipline=RWLOCK), shared=True)] * 2)
    with pytest.raises(InvalidRequestError, match="must be one of 0 to 1"):
        Simulation().spawn("thread", iter(()), cpu=2)  # type: ignore[arg-type]
    for bad in ({"cpus": 0}, {"cpus": 5000}, {"atomic": -1}, {"switch": 1.5}):
        with pytest.raises(InvalidRequestError):
            Hardware(**bad)


def test_what_cannot_go_on_is_told_apart() -> None:
    """A deadlock, a wakeup that came too early, and a sleep that nobody ends."""
    one, two = Lock("one"), Lock("two")

    def pair(first: Lock, second: Lock) -> Body:
        yield Acquire(first)
        yield Spend(10)
        yield Acquire(second)

    (found,) = ran(IDEAL, pair(one, two), pair(two, one)).findings
    assert str(found) == "deadlock: a waits for two, held by b; b waits for one, held by a"

    def late() -> Body:
        yield Spend(10)
        yield SleepOn("bell")

    def early() -> Body:
        yield WakeUp("bell")

    assert ran(IDEAL, late(), early()).findings[0].kind is FindingKind.LOST_WAKEUP
    assert ran(IDEAL, late()).findings[0].kind is FindingKind.SLEEPS_FOR_EVER


# --- sleeping, waking, CPUs -----------------------------------------------------------------------------------------


def test_a_sleeper_gives_its_lock_back_and_takes_it_again() -> None:
    """So does every lock that sleepers drop, such as Giant; one that may be held over sleep is kept."""
    lock, giant = Lock("lock"), Lock("Giant", recursable=True, dropped_by_sleepers=True)
    kept = Lock("map", LockKind.SX)
    seen: list[str] = []

    def sleeper() -> Body:
        yield Acquire(giant)
        yield Acquire(giant)
        yield Acquire(kept)
        yield Acquire(lock)
        yield SleepOn("bell", lock)
        seen.append("woken")
        yield Unlock(lock)
        yield Unlock(kept)
        yield Unlock(giant)
        yield Unlock(giant)

    def waker() -> Body:
        yield Spend(10)
        yield Acquire(giant)
        yield Acquire(lock)
        seen.append("free")
        yield WakeUp("bell")
        yield Spend(10)
        yield Unlock(lock)
        yield Unlock(giant)

    assert ran(Hardware(cpus=2), sleeper(), waker()).findings == ()
    assert seen == ["free", "woken"]


def test_one_is_woken_by_priority_and_then_by_age() -> None:
    """A wakeup of one wakes the lowest number, and of those the one that slept longest; a wakeup of all wakes all."""
    woken: list[str] = []

    def sleeper(name: str, start: int, priority: int) -> Body:
        yield Spend(start)
        yield SleepOn("bell", priority=priority)
        woken.append(name)

    def rings() -> Body:
        yield Spend(100)
        yield WakeUp("bell", one=True)
        yield Spend(100)
        yield WakeUp("bell", one=True, sync=True)
        yield Spend(100)
        yield WakeUp("bell")
        yield WakeUp("bell")

    measured = ran(
        Hardware(cpus=8),
        sleeper("old", 1, 2),
        sleeper("new", 2, 2),
        sleeper("high", 3, 1),
        sleeper("last", 4, 3),
        rings(),
    )
    assert woken == ["high", "old", "new", "last"]
    assert measured.wakeups == 4


def test_threads_share_cpus_in_slices() -> None:
    """Two threads on one CPU take turns, and the switches cost; an idle CPU takes what waits for another."""
    done: list[str] = []

    def busy(name: str) -> Body:
        for _ in range(10):
            yield Spend(10)
        done.append(name)

    one = Hardware(cpus=1, slice=20, switch=1)
    measured = ran(one, busy("a"), busy("b"))
    assert (measured.preemptions > 5, done) == (True, ["a", "b"])
    assert measured.elapsed == 200 + measured.switches - 1
    two = Hardware(cpus=2, switch=1)
    assert ran(two, busy("c"), busy("d"), busy("e"), busy("f")).elapsed == 201

    simulation = Simulation(Hardware(cpus=2))
    simulation.spawn("pinned", busy("g"), cpu=1)
    simulation.spawn("pinned", busy("h"), cpu=1)
    assert simulation.run().elapsed == 200


def test_a_woken_thread_goes_to_an_idle_cpu_nearby() -> None:
    """To its own if that is idle, to one of its socket before another; with sync to one near the waker."""
    hardware = Hardware(cpus=4, cpus_per_socket=2)
    where: list[int] = []

    def sleeper(simulation: Simulation) -> Body:
        yield SleepOn("bell")
        where.append(simulation.cpu)

    def rings(sync: bool) -> Body:
        yield Spend(10)
        yield WakeUp("bell", sync=sync)
        yield Spend(50)

    def busy() -> Body:
        yield Spend(5)
        yield Spend(100)

    for sync in (False, True):
        simulation = Simulation(hardware)
        simulation.spawn("sleeper", sleeper(simulation))  # on CPU 0
        simulation.spawn("blocks CPU 0", busy(), cpu=0)
        simulation.spawn("rings", rings(sync), cpu=2)
        assert not simulation.run().findings
    assert where == [1, 3]


def test_lines_move_between_cpus() -> None:
    """Who writes a line that another CPU has pays for the way; who reads it again pays nothing more."""
    line = Line("counter")

    def writer() -> Body:
        yield Access(line)
        yield Access(line)

    def reader() -> Body:
        yield Spend(100)
        yield Access(line, write=False)
        yield Access(line, write=False)
        yield Preempt()

    def last() -> Body:
        yield Spend(300)
        yield Access(line)

    hardware = attrs.evolve(COSTLY, cpus=6, cpus_per_socket=8)
    measured = ran(hardware, writer(), idle(), reader(), idle(), last())
    assert (measured.transfers, measured.transfer_ns) == (2, 60)
    assert measured.elapsed == 330


def idle() -> Body:
    """Do nothing, on a CPU of its own."""
    yield Spend(1)


# --- what is measured -----------------------------------------------------------------------------------------------


def test_a_run_stops_after_so_long_or_so_many_operations() -> None:
    """What happens in the warm-up is not measured; the rest adds up, operations under way included."""

    def works() -> Body:
        while True:
            yield Start("work")
            yield Spend(10)
            yield Finish("work")

    def simulation() -> Simulation:
        made = Simulation(Hardware(cpus=3))
        made.spawn("a", works())
        made.spawn("b", works())
        return made

    timed = simulation().run(until=105)
    assert (timed.elapsed, timed.count, timed.violations()) == (105, 20, ())
    assert (timed.in_flight_ns, timed.lived_ns) == (210, 210)
    ended = simulation()
    ended.spawn("soon", idle())
    assert ended.run(operations=10, warm_up=20).violations() == ()
    counted = simulation().run(operations=10, warm_up=20)
    assert (counted.count, counted.violations()) == (10, ())
    assert counted.throughput == pytest.approx(2e8)
    work = counted.operations["work"]
    assert (work.mean, work.percentile(50), work.percentile(99.9)) == (10, 10, 10)
    assert counted.latencies.count == 10
    empty = Simulation().run()
    assert (empty.throughput, empty.latencies.mean, empty.latencies.percentile(50)) == (0, 0, 0)
    assert attrs.evolve(timed, latency_ns=1, lived_ns=2).violations()[1].code == "S2"


def test_a_thread_that_takes_no_time_lets_others_run() -> None:
    """A run of a thread that never spends any ends all the same."""

    def endless() -> Body:
        while True:
            yield Start("nothing")
            yield Finish("nothing")

    simulation = Simulation()
    simulation.spawn("endless", endless())
    assert simulation.run(operations=100).count >= 100


def test_what_is_measured_is_what_was_explored() -> None:
    """The same generators run on a machine and in simulated time, and return the same."""
    lock = Lock("lock")

    def body() -> Body:
        yield Start("call")
        yield Acquire(lock)
        yield Access(Line("line"))
        yield Spend(10)
        yield Unlock(lock)
        yield Finish("call")
        return 7

    machine, simulation = Machine(), Simulation()
    spawns: tuple[Callable[..., None], ...] = (machine.spawn, simulation.spawn)
    for spawn in spawns:
        spawn("a", body())
        spawn("b", body())
    assert machine.run().results == simulation.run().results == {"a": 7, "b": 7}


# --- what happens rarely ---------------------------------------------------------------------------------------------


def test_who_wakes_a_thread_of_higher_priority_loses_its_cpu_to_it() -> None:
    """And goes on where it was, with the cost of the wakeup still to pay."""
    order: list[str] = []

    def urgent() -> Body:
        yield SleepOn("bell")
        order.append("urgent")
        yield Spend(100)

    def wakes(simulation: Simulation) -> Body:
        yield Spend(10)
        yield WakeUp("bell")
        order.append(f"woke at {simulation.now}")

    simulation = Simulation(attrs.evolve(COSTLY, wake_latency=0))
    simulation.spawn("urgent", urgent(), cpu=0, priority=0)
    simulation.spawn("wakes", wakes(simulation), cpu=0, priority=9)
    measured = simulation.run()
    assert (measured.violations(), measured.preemptions) == ((), 1)
    assert order == ["urgent", "woke at 430"]  # 100 to switch, 10, three switches, 100, and 20 for the wakeup


def test_a_spinner_may_lose_its_cpu_and_asks_again() -> None:
    """A waiter of an adaptive mutex spins; a thread of higher priority takes its CPU; afterwards it gets the lock."""
    lock = Lock("lock")
    seen: list[int] = []

    def holder() -> Body:
        yield Acquire(lock)
        yield Spend(300)
        yield Unlock(lock)

    def waiter(simulation: Simulation) -> Body:
        yield Spend(10)
        yield Acquire(lock)
        seen.append(simulation.now)
        yield Unlock(lock)

    def urgent() -> Body:
        yield SleepOn("bell")
        yield Spend(500)

    def other() -> Body:
        yield SleepOn("bell")
        yield Spend(1)

    def rings() -> Body:
        yield Spend(100)
        yield WakeUp("bell")

    simulation = Simulation(Hardware(cpus=3))
    simulation.spawn("urgent", urgent(), cpu=1, priority=0)
    simulation.spawn("third", other(), cpu=1, priority=2)
    simulation.spawn("second", other(), cpu=1, priority=1)
    simulation.spawn("holder", holder(), cpu=0)
    simulation.spawn("waiter", waiter(simulation), cpu=1, priority=3)
    simulation.spawn("rings", rings(), cpu=2)
    measured = simulation.run()
    assert (measured.findings, measured.violations()) == ((), ())
    assert seen == [602]  # after all three


def test_a_lock_that_was_promised_waits_for_its_heir() -> None:
    """A waiter that slept and was woken in vain is promised the lock; its CPU is taken; nobody else gets the lock meanwhile."""
    lock = Lock("lock", discipline=OPTIMISTIC)
    got: list[tuple[str, int]] = []

    def user(simulation: Simulation, name: str, start: int, *spends: int) -> Body:
        yield Spend(start)
        yield Acquire(lock)
        got.append((name, simulation.now))
        for ns in spends:
            yield Spend(ns)
        yield Unlock(lock)

    def urgent(bell: str, ns: int) -> Body:
        yield SleepOn(bell)
        yield Spend(ns)

    def rings() -> Body:
        yield Spend(10)
        yield WakeUp("first")
        yield Spend(190)
        yield WakeUp("second")

    simulation = Simulation(Hardware(cpus=5, wake_latency=50))
    simulation.spawn("urgent 0", urgent("first", 40), cpu=0, priority=0)
    simulation.spawn("urgent 1", urgent("second", 500), cpu=1, priority=0)
    simulation.spawn("holder", user(simulation, "holder", 0, 50, 10), cpu=0, priority=9)  # loses its CPU from 10 to 50
    simulation.spawn(
        "waiter", user(simulation, "waiter", 20, 5), cpu=1, priority=9
    )  # sleeps, since the holder does not run
    simulation.spawn("quick", user(simulation, "quick", 101, 150), cpu=2)  # comes before the waiter is awake
    simulation.spawn("late", user(simulation, "late", 230, 5), cpu=3)  # spins, until it finds the lock promised
    simulation.spawn("rings", rings(), cpu=4)
    measured = simulation.run()
    assert (measured.findings, measured.violations()) == ((), ())
    assert [name for name, _ in got] == ["holder", "quick", "waiter", "late"]
    assert got[2][1] >= 700


def test_an_idle_cpu_of_another_socket_is_better_than_none() -> None:
    """Where all of its own socket are busy."""
    where: list[int] = []

    def sleeper(simulation: Simulation) -> Body:
        yield SleepOn("bell")
        where.append(simulation.cpu)

    def rings() -> Body:
        yield Spend(10)
        yield WakeUp("bell")
        yield Spend(50)

    def busy() -> Body:
        yield Spend(5)
        yield Spend(100)

    simulation = Simulation(Hardware(cpus=4, cpus_per_socket=2))
    simulation.spawn("sleeper", sleeper(simulation))
    simulation.spawn("blocks CPU 0", busy(), cpu=0)
    simulation.spawn("rings", rings(), cpu=1)
    assert not simulation.run().findings
    assert where == [2]


def test_a_writer_pays_for_copies_that_others_have() -> None:
    """Who wrote a line last and writes again after another has read it waits for that copy."""
    line = Line("counter")

    def writer() -> Body:
        yield Access(line)
        yield Spend(100)
        yield Access(line)

    def reader() -> Body:
        yield Spend(50)
        yield Access(line, write=False)

    assert ran(attrs.evolve(COSTLY, cpus=3), writer(), idle(), reader()).transfers == 2


@pytest.mark.parametrize("discipline", [OPTIMISTIC, RWLOCK, ADAPTIVE, READ_MOSTLY], ids=lambda each: each.name)
def test_more_threads_than_cpus_with_slices_and_priorities(discipline: Any) -> None:
    """Readers, writers, preemption in sections, wakeups in vain: all end, and all adds up, whatever the seed."""
    for seed in range(6):
        lock = Lock("lock", discipline=discipline)

        def user(number: int, lock: Lock = lock) -> Body:
            for turn in range(12):
                shared = lock.discipline.shared and (number + turn) % 3 > 0
                yield Acquire(lock, shared=shared)
                yield Spend(30 + 7 * number)
                yield Spend(40)
                yield Unlock(lock)
                if (number + turn) % 4 == 0:
                    yield WakeUp("rest", one=turn % 2 == 0)
                elif turn == 6 and number:
                    yield SleepOn("rest", priority=number % 3)
                yield Spend(11 * number)
            if not number:
                for _ in range(40):
                    yield Spend(500)
                    yield WakeUp("rest")

        simulation = Simulation(attrs.evolve(COSTLY, slice=60), seed=seed)
        for number in range(9):
            simulation.spawn(f"t{number}", user(number), priority=number % 3 if number else 9)
        measured = simulation.run()
        assert (measured.findings, measured.violations()) == ((), ())
        assert measured.locks[0].acquisitions == 9 * 12


def test_what_happens_is_told_as_it_happens() -> None:
    """The states of threads, with the time, the CPU, and what is waited for."""
    timeline, lock = Timeline(), Lock("lock", discipline=SLEEPING)

    def user() -> Body:
        yield Acquire(lock)
        yield Spend(10)
        yield Unlock(lock)

    simulation = Simulation(Hardware(cpus=2), timeline=timeline)
    simulation.spawn("a", user())
    simulation.spawn("b", user())
    measured = simulation.run()
    assert timeline.names == ["a", "b"]
    assert Slice(1, ThreadState.BLOCKED, 0, 10, 1, "lock") in timeline.slices
    assert timeline.holds == [Hold(0, "lock", 0, 10), Hold(1, "lock", 10, 20)]
    assert timeline.wakes == [Wake(10, 0, 1)]
    for state in ThreadState:
        assert sum(each.end - each.start for each in timeline.slices if each.state is state) == measured.times[state]


def tangle(seed: int, discipline: Any) -> Measured:
    """Run threads drawn by a seed: two locks, readers and writers, sleep, priorities, pinned threads, few CPUs, slices."""
    draw = random.Random(seed)
    lock, other = Lock("lock", discipline=discipline), Lock("other")
    users = draw.randrange(2, 8)
    awake = [users]

    def user(number: int) -> Body:
        mine = random.Random(seed * 50 + number)
        for _ in range(10):
            yield Spend(mine.randrange(60))
            shared = discipline.shared and mine.random() < 0.6
            if mine.random() >= 0.2:
                yield Acquire(lock, shared=shared)
                yield Spend(mine.randrange(90))
                yield Unlock(lock)
                continue
            yield Acquire(other)
            yield Spend(mine.randrange(40))
            if mine.random() < 0.5 and awake[0] > 1:  # somebody is left to wake this thread
                awake[0] -= 1
                yield SleepOn("bell", other, priority=mine.randrange(4))
                awake[0] += 1
            yield Unlock(other)
            yield WakeUp("bell", one=mine.random() < 0.5, sync=mine.random() < 0.3)
        awake[0] -= 1
        yield WakeUp("bell")

    hardware = Hardware(
        cpus=draw.randrange(1, 5),
        cpus_per_socket=2,
        atomic=1,
        same_socket=20,
        other_socket=40,
        switch=draw.randrange(20),
        wakeup=5,
        wake_latency=draw.randrange(60),
        slice=draw.choice([0, 30, 60, 200]),
    )
    simulation = Simulation(hardware, seed=seed)
    for number in range(users):
        simulation.spawn(f"user {number}", user(number), priority=draw.randrange(3), cpu=draw.choice([None, None, 0]))
    return simulation.run()


@pytest.mark.parametrize("seed", range(3000 if NIGHTLY else 60))
def test_no_tangle_of_threads_gets_stuck(seed: int) -> None:
    """Whatever threads, locks and CPUs: all end, and the times add up; who spins for a thread without a CPU sleeps instead."""
    for discipline in DISCIPLINES.values():
        measured = tangle(seed, discipline)
        assert (measured.findings, measured.violations()) == ((), ()), discipline.name


@pytest.mark.parametrize(("further", "kind"), [(3 << 16, FindingKind.SLEEPS_FOR_EVER), (10, FindingKind.LOST_WAKEUP)])
def test_the_last_wakeups_that_found_nobody_are_remembered(further: int, kind: FindingKind) -> None:
    """So that a long run does not need ever more memory."""

    def waker() -> Body:
        yield WakeUp("bell")
        for number in range(further):
            yield WakeUp(number)

    def sleeper() -> Body:
        yield Spend(1)
        yield SleepOn("bell")

    simulation = Simulation(IDEAL)
    simulation.spawn("waker", waker())
    simulation.spawn("sleeper", sleeper())
    (found,) = simulation.run().findings
    assert found.kind is kind
