"""Linux's calls as threads: they end in any order, nothing is lost, and each version wakes and allocates by its record."""

from __future__ import annotations

import contextlib
import errno
from typing import Any, cast

import attrs
import pytest

from coalloc import KernelMap, PerPipeSpace, PipeError
from coalloc.errors import InvalidRequestError
from coalloc.kernel.linux import CallCosts, LinuxCalls
from coalloc.pipes.eras import LinuxState
from coalloc.pipes.linux import LinuxPipe, LinuxPipes
from coalloc.pipes.states import STATES
from coalloc.sched.hardware import SERVER
from coalloc.sched.machine import Machine
from coalloc.sched.ops import Body, SleepOn, Spend, WakeUp
from coalloc.sched.pct_driver import PctDriver
from coalloc.sched.random_driver import RandomDriver
from coalloc.sched.run import FindingKind
from coalloc.sched.simulation import Simulation

PAGE = 4096
ONE_POOL = attrs.evolve(cast("LinuxState", STATES["linux-7.2"]), name="one pool", one_pool=True)
VERSIONS = [*(state for state in STATES.values() if isinstance(state, LinuxState)), ONE_POOL]
ALL_VERSIONS = pytest.mark.parametrize("state", VERSIONS, ids=[state.name for state in VERSIONS])
COSTS = CallCosts(enter=100, copy_page=1000, alloc_page=300, free_page=50, create=500)


def calls(state: str | LinuxState = "linux", *, pages: int = 1 << 14) -> LinuxCalls:
    """Make calls on pipes of a version, with so many pages."""
    version = cast("LinuxState", STATES[state] if isinstance(state, str) else state)
    kernel = KernelMap(base=0, size=pages * PAGE, direct=True)
    return LinuxCalls(LinuxPipes(PerPipeSpace(kernel, kva_limit=pages * PAGE), state=version), COSTS)


def writes(made: LinuxCalls, pipe: LinuxPipe, sizes: list[int]) -> Body:
    """Write so much at a time."""
    for n in sizes:
        assert (yield from made.write(pipe, n)) == n


def reads(made: LinuxCalls, pipe: LinuxPipe, n: int, got: list[int]) -> Body:
    """Read until the end of the file."""
    while True:
        done = yield from made.read(pipe, n)
        if not done:
            return
        got.append(done)


def closes(made: LinuxCalls, pipe: LinuxPipe, after: list[Any], count: int) -> Body:
    """Close the writing end when all who write have ended."""
    while len(after) < count:
        yield SleepOn("done")
    yield from made.close(pipe, 1)


def then(body: Body, after: list[Any]) -> Body:
    """Note that a thread has ended."""
    yield from body
    after.append(1)
    yield WakeUp("done")


@ALL_VERSIONS
@pytest.mark.parametrize("driver", ["random", "pct", "time"])
def test_all_that_is_written_is_read_in_any_order(state: LinuxState, driver: str) -> None:
    """Two writers and three readers of one pipe, writes larger than the pipe: nobody sleeps for ever, no page is lost."""
    sizes = [1, 4096, 5000, 70_000, 100, 200_000]
    for seed in range(1 if driver == "time" else 15):
        made = calls(state)
        pipe = made.pipes.pipe()
        machine, simulation = Machine(watch=made.pipes.violations), Simulation(SERVER, seed=seed)
        spawn: Any = simulation.spawn if driver == "time" else machine.spawn
        got: list[int] = []
        after: list[Any] = []
        for number in range(3):
            spawn(f"reader {number}", reads(made, pipe, 7000 + number, got))
        for number in range(2):
            spawn(f"writer {number}", then(writes(made, pipe, sizes), after))
        spawn("closer", closes(made, pipe, after, 2))
        if driver == "time":
            measured = simulation.run()
            assert (measured.findings, measured.violations()) == ((), ())
        else:
            chooser = RandomDriver(seed) if driver == "random" else PctDriver(seed, changes=5, steps=400)
            assert machine.run(chooser, max_steps=60_000, record=False).findings == ()
        assert sum(got) == 2 * sum(sizes)
        pipe.close(0)
        assert made.pipes.kva_used == 0
        made.pipes.check()


def test_a_reader_that_is_woken_alone_and_wakes_nobody_leaves_another_asleep() -> None:
    """So who slept and leaves data behind wakes the next one; without that the explorers find who sleeps for ever."""

    class Silent(LinuxCalls):
        def _wake(self, queue: Any) -> Any:
            return super()._wake(queue) if self.first else iter(())

        first = True

    made = Silent(calls().pipes)
    pipe = made.pipes.pipe()
    machine = Machine()

    def write_both() -> Body:
        yield from made.write(pipe, 2)
        made.first = False

    def read_one() -> Body:
        assert (yield from made.read(pipe, 1)) == 1

    machine.spawn("one", read_one())
    machine.spawn("two", read_one())
    machine.spawn("writer", write_both())
    (found,) = machine.run().findings
    assert found.kind is FindingKind.SLEEPS_FOR_EVER


@pytest.mark.parametrize(("state", "under"), [("linux-4.4", 15), ("linux", 14), ("linux-7.2", 6)])
def test_pages_are_taken_under_the_mutex_or_before(state: str, under: int) -> None:
    """Of the 16 pages of a write of 64 KiB: 15 beside one spare, 14 beside two, 6 beside eight that were taken before."""
    made = calls(state)
    simulation = Simulation(SERVER)
    pipe = made.pipes.pipe()

    def both() -> Body:
        for _ in range(5):
            yield from made.write(pipe, 1 << 16)
            yield from made.read(pipe, 1 << 16)

    simulation.spawn("both", both())
    measured = simulation.run()
    (use,) = (lock for lock in measured.locks if lock.name == "pipe->mutex")
    frees = 16 - made.pipes.state.spares
    write = 16 * COSTS.copy_page + under * COSTS.alloc_page
    read = 16 * COSTS.copy_page + frees * COSTS.free_page
    first = (16 - made.pipes.state.pages_ahead) * COSTS.alloc_page + 16 * COSTS.copy_page
    assert use.hold_ns == first + 4 * write + 5 * read


@pytest.mark.parametrize(
    ("size", "under", "ahead"), [(1, 0, 0), (2 * PAGE, 0, 0), (3 * PAGE, 0, 1), (8 * PAGE, 0, 6), (16 * PAGE, 8, 6)]
)
def test_one_pool_takes_what_it_lacks_ahead_and_frees_after_the_mutex(size: int, under: int, ahead: int) -> None:
    """With two pages kept: a write takes the rest of up to eight ahead; a read leaves two, and frees outside the mutex."""
    made = calls(ONE_POOL)
    simulation = Simulation(SERVER)
    pipe = made.pipes.pipe()

    def both() -> Body:
        yield from made.write(pipe, 16 * PAGE)
        yield from made.read(pipe, 16 * PAGE)
        taken = made.pipes.pages_taken
        yield from made.write(pipe, size)
        assert made.pipes.pages_taken - taken == under + ahead
        yield from made.read(pipe, size)

    simulation.spawn("both", both())
    measured = simulation.run()
    assert measured.findings == ()
    (use,) = (lock for lock in measured.locks if lock.name == "pipe->mutex")
    pages = -(-size // PAGE)
    copies = round(size * COSTS.copy_page / PAGE)
    frees_under = 16 - 8 + max(pages - 8, 0)
    assert use.hold_ns == pytest.approx(
        2 * (16 * COSTS.copy_page + copies) + (8 + under) * COSTS.alloc_page + frees_under * COSTS.free_page, abs=2
    )
    assert len(pipe.spares) == 2
    assert made.pipes.violations() == ()


def test_a_write_of_one_pool_that_ends_early_leaves_two_pages() -> None:
    """EPIPE before anything is written, and after a sleep: what was taken ahead goes back, but for two pages."""
    made = calls(ONE_POOL)
    pipe = made.pipes.pipe()
    machine = Machine(watch=made.pipes.violations)
    seen: list[object] = []

    def writer() -> Body:
        seen.append((yield from made.write(pipe, 40 * PAGE)))
        try:
            yield from made.write(pipe, 8 * PAGE)
        except PipeError as error:
            seen.append(error.errno)

    machine.spawn("writer", writer())
    machine.spawn("closer", made.close(pipe, 0))
    assert machine.run().findings == ()
    assert seen == [16 * PAGE, errno.EPIPE]
    assert len(pipe.spares) == 2
    assert made.pipes.violations() == ()
    pipe.close(1)
    assert made.pipes.kva_used == 0


def test_a_page_that_is_kept_twice_or_too_many_are_found() -> None:
    """PI1, as for every count of pages."""
    made = calls(ONE_POOL)
    pipe = made.pipes.pipe()
    pipe.write(1, 5 * PAGE)
    pipe.read(0, 4 * PAGE)
    pipe.spares.append(pipe.spares[0])
    assert {each.code for each in made.pipes.violations()} == {"PI1"}
    pipe.spares *= 4
    assert any("keeps 12 pages" in str(each) for each in made.pipes.violations())


def test_errors_leave_nothing_behind() -> None:
    """EPIPE, EAGAIN and ENOMEM are raised with the mutex released; pages that were taken ahead go back; ends close once."""
    made = calls("linux-7.2", pages=4)
    pipe = made.pipes.pipe()
    seen: list[int | None] = []

    def tries(call: Any) -> Body:
        try:
            yield from call
        except PipeError as error:
            seen.append(error.errno)

    machine = Machine()

    def body() -> Body:
        yield from tries(made.read(pipe, 1, nonblock=True))
        yield from made.write(pipe, 4 * PAGE)
        yield from tries(made.write(pipe, 1))
        yield from tries(made.write(pipe, 5 * PAGE))
        yield from made.close(pipe, 0)
        yield from tries(made.write(pipe, 3 * PAGE))
        yield from tries(made.close(pipe, 0))
        yield from made.close(pipe, 1)
        new = yield from made.pipe()
        yield from made.close(new, 0)
        yield from made.close(new, 1)

    machine.spawn("thread", body())
    assert machine.run().findings == ()
    assert seen == [errno.EAGAIN, errno.ENOMEM, errno.ENOMEM, errno.EPIPE, errno.EBADF]
    assert made.pipes.kva_used == 0
    for bad in (-1, "x", float("nan")):
        with pytest.raises(InvalidRequestError):
            CallCosts(enter=bad)  # type: ignore[arg-type]


def test_a_write_whose_reader_goes_away_returns_what_it_wrote() -> None:
    """A writer that sleeps in a full pipe comes back with the bytes that went in; the next write is EPIPE."""
    made = calls()
    pipe = made.pipes.pipe()
    machine = Machine(watch=made.pipes.violations)

    def writer() -> Body:
        first = yield from made.write(pipe, 100_000)
        try:
            yield from made.write(pipe, 1)
        except PipeError as error:
            return first, error.errno

    def reader() -> Body:
        assert (yield from made.read(pipe, PAGE)) == PAGE
        yield from made.close(pipe, 0)

    machine.spawn("writer", writer())
    machine.spawn("reader", reader())
    run = machine.run(RandomDriver(1))
    assert run.findings == ()
    first, error = run.results["writer"]
    assert (16 * PAGE <= first <= 17 * PAGE, error) == (True, errno.EPIPE)


@pytest.mark.parametrize(("exclusive", "each"), [(True, 1), (False, 9)])
def test_a_write_wakes_one_reader_or_all(exclusive: bool, each: int) -> None:
    """Ten threads pass a token round, and rest before they wait for it again: one is woken for each write, or all nine."""
    state = attrs.evolve(cast("LinuxState", STATES["linux-5.10"]), exclusive_waits=exclusive)
    made = calls(state)
    pipe = made.pipes.pipe()
    simulation = Simulation(SERVER)

    def passes() -> Body:
        while True:
            yield from made.read(pipe, 1)
            yield Spend(20_000)
            yield from made.write(pipe, 1)

    def begins() -> Body:
        yield Spend(20_000)
        yield from made.write(pipe, 1)

    for number in range(10):
        simulation.spawn(f"t{number}", passes())
    simulation.spawn("begins", begins())
    measured = simulation.run(until=2_000_000)
    assert made.pipes.writes > 50
    assert measured.wakeups / made.pipes.writes == pytest.approx(each, rel=0.05)


@pytest.mark.parametrize("state", [ONE_POOL, "linux-7.2", "linux"])
def test_pages_that_come_too_late_are_freed(state: LinuxState | str) -> None:
    """Of a write to a pipe that is closed already, and of one that sleeps while both ends are closed."""
    for closes_first in (True, False):
        made = calls(state)
        pipe = made.pipes.pipe()
        machine = Machine(watch=made.pipes.violations)

        def writer(made: LinuxCalls = made, pipe: LinuxPipe = pipe) -> Body:
            with contextlib.suppress(PipeError):
                yield from made.write(pipe, 40 * PAGE)

        def closer(made: LinuxCalls = made, pipe: LinuxPipe = pipe) -> Body:
            yield from made.close(pipe, 0)
            yield from made.close(pipe, 1)

        for name, body in (("a", closer()), ("b", writer())) if closes_first else (("a", writer()), ("b", closer())):
            machine.spawn(name, body)
        assert machine.run().findings == ()
        assert made.pipes.kva_used == 0
        assert made.pipes.pages_taken == made.pipes.pages_put


@pytest.mark.parametrize("state", [ONE_POOL, "linux-7.2"])
def test_no_page_is_lost_in_any_order_of_closes(state: LinuxState | str) -> None:
    """Writers, readers and closers of both ends, at random."""
    for seed in range(150):
        made = calls(state)
        pipe = made.pipes.pipe()
        machine = Machine(watch=made.pipes.violations)

        def tries(call: Any) -> Body:
            with contextlib.suppress(PipeError):
                yield from call

        for number, n in enumerate((3, 20)):
            machine.spawn(f"writer {number}", tries(made.write(pipe, n * PAGE)))
        machine.spawn("reader", tries(made.read(pipe, 9 * PAGE)))
        for end in (0, 1):
            machine.spawn(f"closer {end}", tries(made.close(pipe, end)))
        assert machine.run(RandomDriver(seed), record=False).findings == ()
        assert made.pipes.kva_used == 0
        made.pipes.check()
