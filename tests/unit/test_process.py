"""System calls on pipes: sleeping, waking, closing, and races between two threads of one process."""

from __future__ import annotations

import contextlib
import errno

import attrs
import pytest

from coalloc import ERAS, Era, MiB, PipeError
from coalloc.designs import DESIGNS
from coalloc.errors import InvalidRequestError
from coalloc.kernel import (
    FIXES,
    LAYOUTS,
    LOCK_PROFILING,
    Kernel,
    LockProfile,
    Machine,
    OldTable,
    Schedule,
    explore,
)
from coalloc.kernel.process import Call, Process, Xint0x80_syscall

ALL_ERAS = pytest.mark.parametrize("era", ERAS)
NEW = ERAS["current"]


def make(config: Era = NEW, *, design: str = "per-pipe") -> tuple[Kernel, Process]:
    """Make a kernel and a process with one pipe, descriptors 0 and 1."""
    kernel = Kernel(config, DESIGNS[design])
    process = kernel.fork()
    run(kernel, process.pipe())
    return kernel, process


def run(kernel: Kernel, *bodies: Call[object], schedule: str = "-") -> dict[str, object]:
    """Run programs named a, b, ... and check that they end without findings."""
    for name, body in zip("abcd", bodies, strict=False):
        kernel.machine.spawn(name, body)
    done = kernel.machine.run(Schedule.parse(schedule))
    assert done.findings == ()
    return dict(done.results)


def failing(call: Call[object], wanted: int) -> Call[None]:
    """Make a call and check that it fails with this error number."""
    with pytest.raises(PipeError) as caught:
        yield from call
    assert caught.value.errno == wanted


# --- data --------------------------------------------------------------------------------------------------


@ALL_ERAS
def test_a_writer_sleeps_until_there_is_room_and_a_reader_until_there_are_data(era: str) -> None:
    """200,000 bytes arrive through one pipe as they were sent, whoever runs first."""
    sent = bytes(range(250)) * 800
    for schedule in ("-", "0>1"):
        kernel, process = make(ERAS[era])
        got = bytearray()

        def write(process: Process = process) -> Call[int]:
            return (yield from Xint0x80_syscall(process.write(1, sent)))

        def read(process: Process = process, got: bytearray = got) -> Call[None]:
            while len(got) < len(sent):
                yield from Xint0x80_syscall(process.read(0, 7001, into=got))

        results = run(kernel, write(), read(), schedule=schedule)
        assert results["a"] == len(sent)
        assert bytes(got) == sent
        kernel.pipes.check()


def test_what_does_not_wait_says_eagain() -> None:
    """A call that does not wait fails with EAGAIN, and a large write takes what there is room for."""
    kernel, process = make()
    run(kernel, failing(process.read(0, 10, nonblock=True), errno.EAGAIN))
    assert run(kernel, process.write(1, 100_000, nonblock=True))["a"] == 65536
    run(kernel, failing(process.write(1, 10, nonblock=True), errno.EAGAIN))
    assert run(kernel, process.read(0, 10, nonblock=True))["a"] == 10


def test_calls_on_what_is_no_pipe_are_ebadf() -> None:
    """A call on a closed descriptor or another kind of file fails with EBADF."""
    kernel, process = make()
    run(kernel, process.open())
    for fd in (2, 9):
        for call in (process.read(fd, 1), process.write(fd, 1)):
            run(kernel, failing(call, errno.EBADF))
    run(kernel, process.close(2))
    run(kernel, failing(process.close(2), errno.EBADF))
    with pytest.raises(PipeError):
        process.pipe_of(2)


@pytest.mark.parametrize(("design", "name"), [("per-pipe", "sx:pipe_map"), ("coalescing", "sx:pipe arenas")])
def test_only_a_buffer_that_changes_takes_the_locks_of_buffers(design: str, name: str) -> None:
    """A write takes the buffers' lock only if it makes the buffer grow."""
    profile = LockProfile(LOCK_PROFILING)
    kernel = Kernel(NEW, DESIGNS[design], profile=profile)
    process = kernel.fork()
    run(kernel, process.pipe())
    taken = []
    for n in (100, 40_000):
        profile.reset()
        run(kernel, process.write(1, n))
        taken.append(any(name in row.name for row in profile.rows()))
    assert taken == [False, True]


# --- closing -----------------------------------------------------------------------------------------------


def test_closing_the_other_end_wakes_those_who_sleep() -> None:
    """When the other end is closed, a sleeping reader gets the end of the file and a writer EPIPE."""
    for schedule in ("-", "0>1"):
        kernel, process = make()
        assert run(kernel, process.read(0, 10), process.close(1), schedule=schedule)["a"] == 0
        run(kernel, process.close(0))
        assert kernel.zone.counters().live == 0
    kernel, process = make()
    run(kernel, failing(process.write(1, 200_000), errno.EPIPE), process.close(0))
    run(kernel, failing(process.write(1, 1), errno.EPIPE))
    run(kernel, process.exit1())
    assert kernel.pipes.budget.kva_used == 0


def test_closing_an_end_waits_for_whoever_is_inside() -> None:
    """A close wakes the reader of the same end, and frees the buffer when the reader has left."""
    kernel, process = make()

    def closer() -> Call[int]:
        yield from Xint0x80_syscall(process.close(0))
        return kernel.pipes.budget.kva_used

    assert run(kernel, process.read(0, 10), closer()) == {"a": 0, "b": 4096}
    run(kernel, process.close(1))
    assert kernel.zone.counters().live == 0
    assert kernel.violations() == ()


def test_no_schedule_of_reader_writer_and_closer_breaks_anything() -> None:
    """Every schedule with one preemption ends, and leaves no buffer and no pipe."""
    left: list[tuple[int, int]] = []

    def three() -> Machine:
        kernel, process = make()

        def writer() -> Call[None]:
            with contextlib.suppress(PipeError):  # the reader may be gone
                yield from process.write(1, 70_000)
            yield from process.close(1)

        def reader() -> Call[None]:
            got = 1
            while got:
                got = yield from process.read(0, 50_000)
            yield from process.close(0)
            left.append((kernel.pipes.budget.kva_used, kernel.zone.counters().live))

        for name, body in (("writer", writer()), ("reader", reader())):
            kernel.machine.spawn(name, body)
        kernel.machine.watch = kernel.violations
        return kernel.machine

    done = explore(three, preemptions=1)
    assert done.complete, done.finding
    assert set(left) == {(0, 0)}


# --- races of two threads of one process -------------------------------------------------------------------


RACES = {
    "2004-01": ERAS["2004-01"],
    "flag": ERAS["2006"],
    "kept": FIXES["keep-old-tables"],
    "after": FIXES["free-after-unlock"],
    "current": NEW,
}


@pytest.mark.parametrize("config", RACES.values(), ids=list(RACES))
def test_three_threads_that_make_a_table_grow(config: Era) -> None:
    """In every schedule of two preemptions all three threads get a descriptor, though each may grow the table."""
    fds: set[tuple[int, ...]] = set()

    def two() -> Machine:
        kernel = Kernel(
            config.with_around(
                fd=attrs.evolve(config.surroundings.fd, first=1, next_size=lambda size: size + 1, word_bits=1)
            )
        )
        process = kernel.fork()
        for name in "abc":
            kernel.machine.spawn(name, process.open())

        def watch() -> tuple[object, ...]:
            if process.fds.open == 3:
                fds.add(process.fds.fds())
            return process.fds.violations()

        kernel.machine.watch = watch  # type: ignore[assignment]
        return kernel.machine

    done = explore(two, preemptions=2)
    assert done.complete, done.finding
    assert fds == {(0, 1, 2)}


def test_old_tables_go_at_exit() -> None:
    """Old tables that are kept are freed when the process exits."""
    config = ERAS["2004-01"].with_around(fd=attrs.evolve(LAYOUTS["bitmap"], old_table=OldTable.KEPT))
    kernel = Kernel(config)
    process = kernel.fork()

    def opens() -> Call[None]:
        for _ in range(300):
            yield from Xint0x80_syscall(process.open())
        yield from Xint0x80_syscall(process.touch())
        assert kernel.pages == 1
        yield from Xint0x80_syscall(process.exit1())

    run(kernel, opens())
    assert (kernel.pages, kernel.files.openfiles, process.fds.open) == (0, 0, 0)
    assert process.fds.kept_bytes == 320 + 640 + 1280


@pytest.mark.parametrize("era", ["2003-07", "2004-01"])
def test_a_pipe_without_a_buffer_leaves_nothing(era: str) -> None:
    """A pipe() that gets no buffer fails with ENFILE and leaves no item, descriptor or file."""
    kernel = Kernel(ERAS[era], maxpipekva=MiB)
    kernel.space.alloc(kernel.space.kva_limit)
    process = kernel.fork()
    run(kernel, failing(process.pipe(), errno.ENFILE))
    assert (kernel.zone.counters().live, process.fds.open, kernel.files.openfiles) == (0, 0, 0)


def test_a_design_with_another_kernels_pipes_is_refused() -> None:
    """A kernel of FreeBSD refuses the design of Linux."""
    with pytest.raises(InvalidRequestError, match="design"):
        Kernel(NEW, DESIGNS["linux"])


def test_a_cache_for_each_cpu_is_asked_on_the_cpu_of_the_thread() -> None:
    """A buffer that is closed on one CPU is found again in that CPU's cache."""
    kernel = Kernel(NEW, DESIGNS["dragonfly"])
    seen: list[tuple[int, int]] = []

    def maker(process: Process) -> Call[None]:
        for _ in range(2):
            fds = yield from Xint0x80_syscall(process.pipe())
            for fd in fds:
                yield from Xint0x80_syscall(process.close(fd))
            seen.append((kernel.machine.cpu, kernel.space.stats().cache_hits))

    run(kernel, maker(kernel.fork()), maker(kernel.fork()), schedule="1>1")
    assert {cpu for cpu, _ in seen} == {0, 1}
    assert seen[-1][1] == 4


@pytest.mark.parametrize("era", ["2004-01", "current"])
def test_large_memory_and_page_faults_take_giant_where_the_era_has_it(era: str) -> None:
    """Large memory and page faults take Giant in January 2004 and not today."""
    profile = LockProfile(LOCK_PROFILING)
    kernel = Kernel(ERAS[era], profile=profile)
    process = kernel.fork()
    run(kernel, process.touch(), kernel.free(8192))
    giant = {row.name for row in profile.rows() if "Giant" in row.name}
    with_giant = {"vm/uma_core.c:2048 (sleep mutex:Giant)", "vm/vm_fault.c:219 (sleep mutex:Giant)"}
    assert giant == (with_giant if era == "2004-01" else set())
