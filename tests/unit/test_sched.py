"""Threads on CPUs: schedules, time, locks, sleep, and what is found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from coalloc.errors import InvalidRequestError, Violation
from coalloc.kernel import (
    GIANT,
    LOCK_PROFILING,
    RULES,
    Acquire,
    Lock,
    LockKind,
    LockProfile,
    Machine,
    PctDriver,
    Preempt,
    RandomDriver,
    Schedule,
    SleepOn,
    Spend,
    TryAcquire,
    Unlock,
    WakeUp,
    Witness,
    explore,
    search,
)
from coalloc.sched.clock import SimClock
from coalloc.sched.locks import PER_CPU, RWLOCK, TICKET
from coalloc.sched.ops import Body
from coalloc.sched.run import FindingKind
from coalloc.sched.schedule import Driver


def machine_of(*bodies: Body, **options: object) -> Machine:
    """Make a machine with threads named a, b, c, ..."""
    machine = Machine(**options)  # type: ignore[arg-type]
    for name, body in zip("abcdef", bodies, strict=False):
        machine.spawn(name, body)
    return machine


def letters(log: list[str], letter: str, n: int = 3) -> Body:
    """Write a letter at each step."""
    for _ in range(n):
        log.append(letter)
        yield Preempt()


# --- schedules ---------------------------------------------------------------------------------------------


def test_without_a_schedule_each_thread_runs_until_it_cannot() -> None:
    """A thread keeps the CPU until it ends, and then the next one in turn has it."""
    log: list[str] = []
    run = machine_of(letters(log, "a"), letters(log, "b")).run()
    assert ("".join(log), str(run.schedule), run.findings) == ("aaabbb", "-", ())


def test_a_schedule_says_where_another_thread_goes_on() -> None:
    """A switch names the step and the thread, and the schedule of a run replays exactly that run."""
    log: list[str] = []
    run = machine_of(letters(log, "a"), letters(log, "b")).run(Schedule.parse("1>1 3>0"))
    assert "".join(log) == "abbaab"
    again: list[str] = []
    assert machine_of(letters(again, "a"), letters(again, "b")).run(run.schedule).schedule == run.schedule
    assert again == log


def test_a_choice_that_is_impossible_falls_back() -> None:
    """A switch to a thread that does not exist, or at a step that never comes, is ignored."""
    log: list[str] = []
    run = machine_of(letters(log, "a"), letters(log, "b")).run(Schedule.parse("0>7 99>1"))
    assert ("".join(log), str(run.schedule)) == ("aaabbb", "-")


@pytest.mark.parametrize("text", ["1", "1>", ">1", "x>1", "1>x", "5>1 5>0", "5>1 3>0", "-1>0", "1>-1", "1>" + "9" * 40])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    """A text that is not a schedule is refused, and the error names the schedule."""
    with pytest.raises(InvalidRequestError, match="schedule"):
        Schedule.parse(text)


def test_schedules_are_read_as_they_are_written() -> None:
    """Reading the text of a schedule and writing it again gives the same text; the empty schedule is a dash."""
    for text in ("-", "5>1", "5>1 9>0"):
        assert str(Schedule.parse(text)) == text
    assert Schedule.parse("") == Schedule()


@pytest.mark.parametrize("driver", [RandomDriver, PctDriver])
def test_a_seed_gives_one_run_and_its_schedule_replays_it(driver: type[RandomDriver] | type[PctDriver]) -> None:
    """Two runs with one seed are equal, and so is the run of the schedule that they print."""

    def run_with(chooser: Driver | Schedule) -> tuple[str, Schedule]:
        log: list[str] = []
        run = machine_of(letters(log, "a"), letters(log, "b"), letters(log, "c")).run(chooser)
        return "".join(log), run.schedule

    seen = set()
    for seed in range(20):
        order, schedule = run_with(driver(seed))
        assert run_with(driver(seed)) == run_with(schedule) == (order, schedule)
        seen.add(order)
    assert len(seen) > 5


def test_a_random_driver_may_stay() -> None:
    """With stay=1 every step takes the default choice."""
    log: list[str] = []
    machine_of(letters(log, "a"), letters(log, "b")).run(RandomDriver(0, stay=1.0))
    assert "".join(log) == "aaabbb"


def test_pct_runs_the_highest_priority_and_lowers_it_at_change_points() -> None:
    """Without change points threads run one after the other, and with change points they take turns."""
    orders = set()
    for seed in range(30):
        log: list[str] = []
        machine_of(letters(log, "a", 5), letters(log, "b", 5)).run(PctDriver(seed, changes=0))
        assert "".join(log) in ("aaaaabbbbb", "bbbbbaaaaa")
        log.clear()
        machine_of(letters(log, "a", 5), letters(log, "b", 5)).run(PctDriver(seed, changes=2, steps=10))
        orders.add("".join(log))
    assert len(orders) > 4


def test_the_clock_moves_forward_only() -> None:
    """The clock moves by some nanoseconds or to a time, and refuses to go back or to start before 0."""
    clock = SimClock(5)
    clock.advance(10)
    clock.advance_to(15)
    assert clock.now == 15
    for bad in (lambda: clock.advance(-1), lambda: clock.advance_to(14), lambda: SimClock(-1)):
        with pytest.raises(InvalidRequestError):
            bad()
    assert clock.now == 15


# --- time --------------------------------------------------------------------------------------------------


def spend(*ns: int) -> Body:
    """Let time pass."""
    for n in ns:
        yield Spend(n)


@pytest.mark.parametrize(("cpus", "time"), [(1, 60), (2, 30), (3, 30)])
def test_cpus_run_in_parallel(cpus: int, time: int) -> None:
    """Threads of 30, 20 and 10 ns take 60 ns on one CPU, and 30 ns side by side on two."""
    machine = machine_of(spend(30), spend(20), spend(10), cpus=cpus)
    machine.run()
    assert machine.clock.now == time


def test_a_lock_makes_the_other_cpu_wait_and_the_profile_says_so() -> None:
    """One thread holds the lock for 100 us, and the other waits for as long."""
    lock, profile = Lock("m"), LockProfile(LOCK_PROFILING)

    def user() -> Body:
        yield Acquire(lock, "a.c", 1)
        yield Spend(100_000)
        yield Unlock(lock)

    machine = machine_of(user(), user(), profile=profile)
    machine.run(Schedule.parse("1>1"))
    assert machine.clock.now == 200_000
    (row,) = profile.rows()
    assert (row.count, row.total, row.max, row.wait_total, row.wait_max, row.cnt_lock) == (2, 200, 100, 100, 100, 1)


def test_a_thread_may_be_added_by_a_running_one() -> None:
    """The new thread begins at the time of the thread that added it."""
    machine = Machine(cpus=1)

    def parent() -> Body:
        yield Spend(50)
        machine.spawn("child", child())

    def child() -> Body:
        yield Spend(0)
        return machine.now

    machine.spawn("parent", parent())
    assert machine.run().results == {"parent": None, "child": 50}
    assert machine.cpu == 0


# --- locks -------------------------------------------------------------------------------------------------


def test_a_try_gets_a_free_lock_and_none_that_is_taken() -> None:
    """A try never waits, and its order is not checked."""
    lock, got = Lock("m"), []

    def taker() -> Body:
        mine = yield TryAcquire(lock)
        got.append(mine)
        yield Preempt()
        if mine:
            yield Unlock(lock)

    machine_of(taker(), taker(), witness=Witness()).run(Schedule.parse("1>1"))
    assert got == [False, True]  # the second one is told first


def test_a_lock_that_may_be_taken_again_is_given_back_as_often() -> None:
    """Giant may be taken twice and must be released twice; taking another lock twice is a panic."""

    def twice(lock: Lock) -> Body:
        yield Acquire(lock)
        yield Acquire(lock)
        yield Unlock(lock)
        yield Preempt()
        yield Unlock(lock)

    assert machine_of(twice(GIANT), twice(GIANT)).run(Schedule.parse("3>1")).findings == ()
    (finding,) = machine_of(twice(Lock("m"))).run().findings
    assert str(finding) == "raised: a: PanicError: a takes m, which it holds"


def test_mistakes_with_locks_are_findings() -> None:
    """Releasing a lock that is not held, ending with a lock held, and yielding an unknown operation are findings."""
    lock = Lock("m")

    def gives() -> Body:
        yield Unlock(lock)

    def keeps() -> Body:
        yield Acquire(lock)

    def yields() -> Body:
        yield 7  # type: ignore[misc]

    words = [machine_of(body).run().findings[0].message for body in (gives(), keeps(), yields())]
    assert words == [
        "a: PanicError: a gives back m, which it does not hold",
        "a ended and still holds m",
        "a: PanicError: a thread cannot do 7",
    ]


def test_a_deadlock_names_who_waits_for_what() -> None:
    """Two threads that take two locks in two orders deadlock; where reversals are findings, the reversal is found first."""
    one, two = Lock("one"), Lock("two")

    def both(first: Lock, second: Lock) -> Body:
        yield Acquire(first, "a.c", 1)
        yield Acquire(second, "a.c", 2)
        yield Unlock(second)
        yield Unlock(first)

    run = machine_of(both(one, two), both(two, one)).run(Schedule.parse("1>1"))
    assert str(run.findings[0]) == "deadlock: a waits for two, held by b; b waits for one, held by a"
    found = explore(lambda: machine_of(both(one, two), both(two, one)), preemptions=1)
    assert found.finding is not None
    assert found.finding.kind is FindingKind.DEADLOCK
    run = machine_of(both(one, two), both(two, one), witness=Witness(), reversals=True).run()
    assert run.findings[0].kind is FindingKind.REVERSAL
    assert run.findings[0].message.startswith("lock order reversal\n")


def test_paths_are_those_of_the_generators() -> None:
    """A path lists functions from the innermost to the outermost kernel function, and begins with that of the lock's kind."""
    witness = Witness(order=[("a", "b")])
    a, b = Lock("a", LockKind.SX), Lock("b", LockKind.SX)

    def fdalloc() -> Body:
        yield Acquire(a, "k.c", 2)
        yield Unlock(a)

    def pipe() -> Body:
        yield Acquire(b, "k.c", 1)
        yield from fdalloc()
        yield Unlock(b)

    def program() -> Body:
        yield from pipe()

    machine_of(program(), witness=witness, outermost="pipe").run()
    assert witness.reports[0].path == ("backtrace", "witness_checkorder", "_sx_xlock", "fdalloc", "pipe")


# --- sleep -------------------------------------------------------------------------------------------------


def sleeper(lock: Lock | None = None) -> Body:
    """Sleep once."""
    if lock is not None:
        yield Acquire(lock)
    yield SleepOn("c", lock)
    if lock is not None:
        yield Unlock(lock)


def waker(*, one: bool = False, ns: int = 0) -> Body:
    """Wake the sleepers after so many nanoseconds."""
    yield Spend(ns)
    yield WakeUp("c", one=one)


def test_a_sleeper_gives_its_lock_back_and_takes_it_again() -> None:
    """A sleeper also drops Giant, however often it holds it, and takes it again as often."""
    lock = Lock("m")

    def deep() -> Body:
        yield Acquire(GIANT)
        yield Acquire(GIANT)
        yield from sleeper(lock)
        yield Unlock(GIANT)
        yield Unlock(GIANT)

    def user() -> Body:
        yield Acquire(GIANT)
        yield Acquire(lock)
        yield WakeUp("c")
        yield Spend(10)
        yield Unlock(lock)
        yield Unlock(GIANT)

    machine = machine_of(deep(), user())
    assert machine.run().findings == ()
    assert machine.clock.now == 10


def test_any_lock_can_be_one_that_sleepers_drop() -> None:
    """Such a lock is dropped in sleep, and may come before or after sleepable locks but not after a mutex."""
    big, sx = Lock("big", dropped_by_sleepers=True), Lock("x", LockKind.SX)
    held: list[str] = []

    def holder() -> Body:
        yield Acquire(sx)
        yield Acquire(big)
        yield from sleeper()
        held.append("sleeper")
        yield Unlock(big)
        yield Unlock(sx)

    def taker() -> Body:
        yield Acquire(big)
        held.append("taker")
        yield WakeUp("c")
        yield Unlock(big)

    witness = Witness(RULES["2006"])
    assert machine_of(holder(), taker(), witness=witness).run().findings == ()
    assert held == ["taker", "sleeper"]
    assert witness.reports == []
    with witness.held(Lock("m"), "a.c", 1), witness.held(big, "a.c", 2) as report:
        assert report is not None
        assert report.header == "lock order reversal: (big after non-sleepable)"


def test_who_sleeps_with_a_mutex_held_panics_and_with_a_sleepable_lock_may() -> None:
    """A mutex that is held in sleep is a panic, and a sleepable lock is not."""
    mutex, sx = Lock("m"), Lock("x", LockKind.SX)

    def holder(lock: Lock) -> Body:
        yield Acquire(lock)
        yield from sleeper()
        yield Unlock(lock)

    run = machine_of(holder(mutex)).run()
    assert run.findings[0].message == "a: PanicError: a sleeps and holds m"
    assert machine_of(holder(sx), waker()).run().findings == ()


def test_those_who_slept_longest_are_woken_first() -> None:
    """A wakeup for one wakes the thread that fell asleep first, by time and then by turn; any other wakes all."""

    def late() -> Body:
        yield Spend(5)
        yield from sleeper()

    run = machine_of(late(), sleeper(), waker(one=True, ns=9), cpus=4).run()
    assert str(run.findings[0]) == "sleeps for ever: a on c"
    run = machine_of(sleeper(), sleeper(), waker(one=True, ns=9), cpus=4).run(Schedule.parse("0>1"))
    assert str(run.findings[0]) == "sleeps for ever: a on c"
    assert machine_of(sleeper(), sleeper(), waker()).run().findings == ()


def test_a_wakeup_that_came_too_early_is_a_lost_one() -> None:
    """A wakeup before anybody sleeps is a lost one, and a sleeper without any wakeup sleeps for ever."""
    run = machine_of(waker(), sleeper()).run()
    assert str(run.findings[0]) == "lost wakeup: b on c: the wakeup came before anybody slept there"
    run = machine_of(sleeper()).run()
    assert str(run.findings[0]) == "sleeps for ever: a on c"


# --- findings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"), [("PI1", "limit exceeded"), ("I9", "limit exceeded"), ("I1", "broken invariant")]
)
def test_a_broken_invariant_ends_the_run(code: str, kind: str) -> None:
    """The run ends at the step that broke the invariant, and a broken limit has a kind of its own."""
    broken: list[Violation] = []

    def breaks() -> Body:
        yield Preempt()
        broken.append(Violation(code, "wrong"))
        yield Preempt()
        yield Preempt()

    run = machine_of(breaks(), watch=lambda: broken).run()
    assert (str(run.findings[0]), run.steps) == (f"{kind}: {code}: wrong", 2)


def test_a_run_that_does_not_end_is_a_finding() -> None:
    """A run that takes all its steps ends with the finding that it does not end."""

    def loops() -> Body:
        while True:
            yield Preempt()

    run = machine_of(loops()).run(max_steps=50)
    assert (str(run.findings[0]), run.steps) == ("does not end: more than 50 steps", 50)


def racy(total: list[int]) -> Body:
    """Add one in two steps."""
    seen = total[0]
    yield Preempt()
    total[0] = seen + 1


def racers(n: int) -> Machine:
    """Make threads that each add one in two steps; a watch sees when one addition was lost."""
    total, ended = [0], [0]

    def add() -> Body:
        yield from racy(total)
        ended[0] += 1

    def watch() -> Iterable[Violation]:
        if ended[0] == n > total[0]:
            yield Violation("PI3", f"{total[0]} of {n}")

    return machine_of(*(add() for _ in range(n)), watch=watch)


def test_exploring_finds_the_least_preemptions_and_makes_the_schedule_short() -> None:
    """A race that needs one preemption is found with one, and its schedule replays it."""
    assert explore(lambda: racers(2), preemptions=0).complete
    found = explore(lambda: racers(2), preemptions=2)
    assert found.run is not None
    assert len(found.run.schedule.switches) == 1
    assert not found.complete
    assert str(racers(2).run(Schedule.parse(str(found.run.schedule))).findings[0]) == "broken invariant: PI3: 1 of 2"


def test_searching_with_drivers_finds_it_as_well_and_shortens_it() -> None:
    """A search that runs out of drivers has found nothing, and does not claim to be complete."""
    found = search(lambda: racers(3), (RandomDriver(seed) for seed in range(100)))
    assert found.run is not None
    assert len(found.run.schedule.switches) <= 2
    none = search(lambda: machine_of(letters([], "a")), [RandomDriver(0), RandomDriver(1)])
    assert (none.schedules, none.finding, none.complete) == (2, None, False)


def test_exploring_every_schedule_means_every_order() -> None:
    """Exploring two threads of three steps sees each of the 20 orders exactly once."""
    orders: list[str] = []

    def make() -> Machine:
        log: list[str] = []

        def ends(letter: str) -> Body:
            yield from letters(log, letter, 2)
            log.append(letter)
            if len(log) == 6:
                orders.append("".join(log))

        return machine_of(ends("a"), ends("b"))

    done = explore(make, preemptions=6)
    assert done.complete
    assert (len(orders), len(set(orders)), done.schedules) == (20, 20, 20)


def test_exploring_stops_when_told() -> None:
    """A search that was stopped by its bound says that it is not complete."""
    done = explore(lambda: machine_of(letters([], "a"), letters([], "b")), preemptions=6, most=5)
    assert (done.schedules, done.complete, done.finding) == (5, False, None)


def test_numbers_out_of_range_are_refused() -> None:
    """A number that is out of range is refused by its name."""
    with pytest.raises(InvalidRequestError, match="cpus"):
        Machine(cpus=0)
    with pytest.raises(InvalidRequestError, match="preemptions"):
        explore(Machine, preemptions=-1)
    with pytest.raises(InvalidRequestError, match="most"):
        explore(Machine, most=0)


def test_a_machine_knows_readers_and_locks_of_each_cpu() -> None:
    """Readers share, a writer waits for them, each CPU has its lock, and a lock in order is given in order."""
    shared, own, turn = Lock("rw", discipline=RWLOCK), Lock("cpu", discipline=PER_CPU), Lock("turn", discipline=TICKET)
    inside: list[int] = []
    most: list[int] = []

    def reads() -> Body:
        yield Acquire(shared, shared=True)
        inside.append(1)
        most.append(len(inside))
        yield Preempt()
        inside.pop()
        yield Unlock(shared)
        yield Acquire(own)
        yield Unlock(own)
        yield Acquire(turn)
        yield Unlock(turn)

    def writes() -> Body:
        yield Acquire(shared)
        assert not inside
        yield Preempt()
        assert not inside
        yield Unlock(shared)

    def make() -> Machine:
        inside.clear()
        machine = Machine()
        machine.spawn("one", reads())
        machine.spawn("two", reads())
        machine.spawn("writer", writes())
        return machine

    found = explore(make, preemptions=2)
    assert (found.finding, found.complete, max(most)) == (None, True, 2)

    def wrong(op: Any) -> str:
        def body() -> Body:
            yield op

        machine = Machine()
        machine.spawn("thread", body())
        return str(machine.run().findings[0])

    assert "takes plain shared, which cannot be" in wrong(Acquire(Lock("plain"), shared=True))

    def deadlocks() -> Body:
        yield Acquire(shared, shared=True)
        yield Acquire(turn)
        yield Unlock(turn)
        yield Unlock(shared)

    def other() -> Body:
        yield Acquire(turn)
        yield Acquire(shared)
        yield Unlock(shared)
        yield Unlock(turn)

    def stuck() -> Machine:
        machine = Machine()
        machine.spawn("a", deadlocks())
        machine.spawn("b", other())
        return machine

    finding = explore(stuck, preemptions=1).finding
    assert str(finding) == "deadlock: a waits for turn, held by b; b waits for rw, held by a"


def test_a_sleeper_takes_a_lock_again_as_it_held_it() -> None:
    """Shared, if it was shared."""
    lock = Lock("rw", LockKind.SX)
    order: list[str] = []

    def sleeps() -> Body:
        yield Acquire(lock, shared=True)
        yield SleepOn("bell", lock)
        order.append("woken")
        yield Unlock(lock)

    def wakes() -> Body:
        yield Acquire(lock)
        yield WakeUp("bell")
        order.append("wakes")
        yield Unlock(lock)

    machine = Machine()
    machine.spawn("sleeps", sleeps())
    machine.spawn("wakes", wakes())
    assert machine.run().findings == ()
    assert order == ["wakes", "woken"]


def test_simple_variables_tell_states_apart() -> None:
    """Numbers, text and tuples of them; where a thread is counts, and so does what it was answered."""
    lock = Lock("lock")

    def body(pair: tuple[int, str]) -> Body:
        taken = yield TryAcquire(lock)
        del taken
        yield Unlock(lock)
        return pair

    states: list[object] = []
    for pair in ((1, "a"), (2, "a"), (1, "a")):
        machine = Machine()
        machine.spawn("thread", body(pair))
        states.append(machine.state())
        machine.run()
        assert machine.did == "ends"
        states.append(machine.state())
    assert states[0] == states[4] != states[2]
    assert states[1] == states[3]
