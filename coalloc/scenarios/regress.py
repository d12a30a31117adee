"""FreeBSD's own pipe tests as scenarios, over any era and design; each passes, or fails for a reason that it states.

A test is a generator that makes the calls of a :class:`~coalloc.kernel.process.Process`.  It raises :class:`PipeTestFailure` if
the kernel does not behave as the test demands.  After each test the process exits, and nothing may be left: no descriptor, no
buffer, no pair, no broken invariant.

Tests that never sleep call the pipe directly, without locks and threads, since they make many thousand calls.

Source: tools/regression/pipe of FreeBSD in early 2006, and tests/sys/kern/pipe of later years.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

import attrs

from coalloc.errors import CoallocError, InvalidRequestError, PipeError
from coalloc.kernel.process import Call, Kernel, Process, Xint0x80_syscall
from coalloc.pipes.design import PER_PIPE, Design
from coalloc.pipes.eras import BIG_PIPE_SIZE, PIPE_BUF, KernelState
from coalloc.scenarios.options import ERAS_OPTION, Int, Option, designs_option
from coalloc.scenarios.progress import Progress
from coalloc.scenarios.result import Column, Result, Table
from coalloc.scenarios.scenario import Scenario
from coalloc.units import KiB, MiB

__all__ = [
    "OFFERED",
    "TESTS",
    "PipeTest",
    "PipeTestFailure",
    "PipeTestReport",
    "PipeTestResult",
    "run_test",
    "scenario_of",
]

_PAGE: Final = 4 * KiB
_MOST_STEPS: Final = 10_000_000


class PipeTestFailure(CoallocError):  # noqa: N818 (a verdict on the kernel)
    """Report that the kernel did not behave as a test demands."""


@attrs.frozen
class PipeTest:
    """One of FreeBSD's tests.

    Args:
        name: Its key in ``TESTS``.
        title: The behaviour that it demands.
        body: Makes the calls of its process; the second argument is the number of repetitions.
        times: The number of repetitions in FreeBSD; 0 if nothing is repeated.
        maxfilesperproc: The most descriptors of its process.
        fails_in: The eras that are known to fail it, each with the reason.
    """

    name: str
    title: str
    body: Callable[[Process, int], Call[None]]
    times: int = 0
    maxfilesperproc: int = 11_712
    fails_in: Mapping[str, str] = attrs.field(factory=dict, hash=False)


@attrs.frozen
class PipeTestResult:
    """The result of a test; ``reason`` is empty if it passed, ``known`` is empty if its era is not known to fail it."""

    test: str
    era: str
    design: str
    reason: str
    known: str

    @property
    def passed(self) -> bool:
        """Whether the test passed."""
        return not self.reason

    @property
    def expected(self) -> bool:
        """Whether the result is the one that is known of the era."""
        return self.passed is not bool(self.known)


def run_test(
    test: PipeTest,
    state: KernelState,
    design: Design = PER_PIPE,
    *,
    times: int | None = None,
    maxpipekva: int = 16 * MiB,
) -> PipeTestResult:
    """Run a test, let its process exit, and check that nothing is left.

    Args:
        test: The test, for instance one of :data:`TESTS`.
        state: The kernel's state.
        design: The design that gives pipes their buffers.
        times: The number of repetitions, >= 1; None takes FreeBSD's.
        maxpipekva: kern.ipc.maxpipekva in bytes.

    Raises:
        InvalidRequestError: If a number is out of range.
    """
    if times is not None and (type(times) is not int or times < 1):
        raise InvalidRequestError("times", times, "must be an int >= 1")
    kernel = Kernel(state, design, maxpipekva=maxpipekva, maxfilesperproc=test.maxfilesperproc)
    reasons: list[str] = []

    def thread() -> Call[None]:
        process = kernel.fork()
        try:
            yield from test.body(process, test.times if times is None else times)
        except PipeTestFailure as failure:
            reasons.append(str(failure))
        except PipeError as error:
            reasons.append(f"{error.call}: {errno.errorcode[error.errno or 0]}")
        yield from Xint0x80_syscall(process.exit1())

    kernel.machine.spawn(test.name, thread())
    run = kernel.machine.run(max_steps=_MOST_STEPS, record=False)
    reasons += [str(finding) for finding in run.findings]
    reasons += map(repr, kernel.pipes.pairs) if run.findings else _left_behind(kernel)
    return PipeTestResult(test.name, state.name, design.name, "; ".join(reasons), test.fails_in.get(state.name, ""))


def _left_behind(kernel: Kernel) -> list[str]:
    """Return descriptions of what is left after all processes have exited."""
    left = {
        "bytes of pipe buffers": kernel.pipes.budget.kva_used,
        "open files": kernel.files.openfiles,
        "pairs": kernel.zone.counters().live,
    }
    found = [f"{n} {what} are left" for what, n in left.items() if n]
    kernel.space.reclaim()
    if kernel.map.counters().mapped:
        found.append(f"{kernel.map.counters().mapped} bytes stay mapped")
    return found + [str(violation) for violation in kernel.violations()]


def _require(holds: bool, words: str) -> None:
    if not holds:
        raise PipeTestFailure(words)


def _pattern(n: int, start: int = 0) -> bytes:
    """Return bytes in which every shift by less than 251 can be seen."""
    return bytes((start + number) % 251 for number in range(n))


# --- exhaustion --------------------------------------------------------------------------------------------


def _overcommit1(process: Process, times: int) -> Call[None]:
    for _ in range(times):
        try:
            yield from Xint0x80_syscall(process.pipe())
        except PipeError:
            continue  # the test ignores results


def _overcommit2(process: Process, times: int) -> Call[None]:
    kernel = process.kernel
    try:
        while True:
            yield from Xint0x80_syscall(process.open())
    except PipeError as error:
        _require(error.errno == errno.EMFILE, f"open: {error}, EMFILE is due")
    for free in (0, 1):  # the first falloc fails, then the second
        for fd in range(free):
            yield from Xint0x80_syscall(process.close(fd))
        before = (kernel.pipes.budget.kva_used, process.fds.open, kernel.zone.counters().live)
        for _ in range(times):
            try:
                yield from Xint0x80_syscall(process.pipe())
                raise PipeTestFailure("pipe succeeds without two descriptors")
            except PipeError as error:
                _require(error.errno == errno.EMFILE, f"pipe: {error}, EMFILE is due")
            after = (kernel.pipes.budget.kva_used, process.fds.open, kernel.zone.counters().live)
            _require(before == after, f"a pipe that failed leaves bytes, descriptors, pairs: {after} after {before}")


# --- data --------------------------------------------------------------------------------------------------


def _reverse(process: Process, _times: int) -> Call[None]:
    first, second = yield from Xint0x80_syscall(process.pipe())
    sent, got = _pattern(40 * KiB), bytearray()
    for start in range(0, 32 * KiB, _PAGE):
        yield from Xint0x80_syscall(process.write(first, sent[start : start + _PAGE]))
    yield from Xint0x80_syscall(process.read(second, 32 * KiB, into=got))
    for start in range(32 * KiB, 40 * KiB, _PAGE):
        yield from Xint0x80_syscall(process.write(first, sent[start : start + _PAGE]))
    yield from Xint0x80_syscall(process.read(second, 8 * KiB, into=got))
    _require(len(got) == len(sent), f"{len(got)} bytes arrive, {len(sent)} were sent")
    _require(bytes(got) == sent, "other bytes arrive than were sent")


def _reverse2(process: Process, _times: int) -> Call[None]:
    first, second = yield from Xint0x80_syscall(process.pipe())
    pair, end = process.pipe_of(first)
    _require(pair.poll(end).writable, "a half without a buffer does not select as writable")
    yield from Xint0x80_syscall(process.write(first, b"x"))
    _require(pair.poll(end).writable, "fildes[0] does not select as writable after a write")
    yield from Xint0x80_syscall(process.read(second, 1))


def _wraparound(process: Process, _times: int) -> Call[None]:
    reads, writes = yield from Xint0x80_syscall(process.pipe())
    sent, got, start = _pattern(18_192), bytearray(), 0
    for call in (4096, 4096, 4000, -8192, 3000, 3000, -16_384):
        if call > 0:
            yield from Xint0x80_syscall(process.write(writes, sent[start : start + call]))
            start += call
        else:
            yield from Xint0x80_syscall(process.read(reads, -call, into=got))
    _require(bytes(got) == sent[:start], "other bytes arrive than were sent")


def _bigpipe(process: Process, times: int) -> Call[None]:
    reads, writes = yield from Xint0x80_syscall(process.pipe())
    (pair, reader), (_, writer) = process.pipe_of(reads), process.pipe_of(writes)
    left, unread = times * BIG_PIPE_SIZE, times * BIG_PIPE_SIZE
    while unread:
        if left and pair.poll(writer).writable:
            try:
                left -= pair.write(writer, min(BIG_PIPE_SIZE, left))
            except PipeError as error:
                raise PipeTestFailure(f"select says writable, and write fails: {error}") from error
        unread -= pair.read(reader, 256)


# --- asking ------------------------------------------------------------------------------------------------


def _fstat(process: Process, _times: int) -> Call[None]:
    reads, writes = yield from Xint0x80_syscall(process.pipe())
    (pair, reader), (_, writer) = process.pipe_of(reads), process.pipe_of(writes)
    for n in (145, 2048, 4096, 8191, 8192):
        pair.write(writer, n, direct=True)  # the last one is long enough for it
        said, got = pair.stat(reader).st_size, pair.read(reader, 64 * KiB)
        _require(said == got == n, f"st_size is {said} after a write of {n}, and a read gets {got}")


def _ino(process: Process, _times: int) -> Call[None]:
    reads, writes = yield from Xint0x80_syscall(process.pipe())
    (pair, reader), (_, writer) = process.pipe_of(reads), process.pipe_of(writes)
    one, other = pair.stat(reader), pair.stat(writer)
    _require(one.st_dev == other.st_dev != 0, f"st_dev is {one.st_dev} and {other.st_dev}")
    _require(one.st_ino != other.st_ino, f"st_ino is {one.st_ino} for both ends")


def _kqueue(process: Process, _times: int) -> Call[None]:
    reads, writes = yield from Xint0x80_syscall(process.pipe())
    (pair, reader), (_, writer) = process.pipe_of(reads), process.pipe_of(writes)
    knote = pair.knote(writer, "write")
    event = knote.event()
    _require(event is not None and event.data == 16 * KiB, f"a new pipe has room for 16384 bytes; the event is {event}")
    try:
        while True:
            pair.write(writer, 1)
    except PipeError as error:
        _require(error.errno == errno.EAGAIN, f"write: {error}, EAGAIN is due")
    _require(knote.event() is None, "a full pipe has an event for writing")
    for n in range(1, PIPE_BUF + 2):
        pair.read(reader, 1)
        event = knote.event()
        room = None if event is None else event.data
        _require(room == (n if n >= PIPE_BUF else None), f"with {n} bytes of room the event says {room}")
    yield from Xint0x80_syscall(process.close(reads))
    event = knote.event()
    _require(event is not None and event.eof, "EV_EOF is not set when the other end is closed")
    try:
        pair.knote(writer, "write")
        raise PipeTestFailure("EVFILT_WRITE can be registered although the other end is closed")
    except PipeError as error:
        _require(error.errno == errno.EPIPE, f"kevent: {error}, EPIPE is due")


TESTS: Final[Mapping[str, PipeTest]] = {
    test.name: test
    for test in (
        PipeTest("overcommit1", "10,000 calls of pipe(), whatever they return: no panic", _overcommit1, 10_000),
        PipeTest(
            "overcommit2",
            "pipe() without descriptors, and with one: nothing leaks",
            _overcommit2,
            1000,
            maxfilesperproc=1024,
        ),
        PipeTest(
            "reverse",
            "40,960 bytes from fildes[0] to fildes[1], and the buffer grows with data in it",
            _reverse,
            fails_in=dict.fromkeys(("2003-07", "2004-01"), "a buffer of 16 KiB with data in it does not grow"),
        ),
        PipeTest(
            "reverse2",
            "fildes[0] selects as writable before and after its first write",
            _reverse2,
            fails_in={"2006": "the reverse half has no buffer, and that does not count as room"},
        ),
        PipeTest("wraparound", "data wrap around the end of the buffer, and arrive as sent", _wraparound),
        PipeTest(
            "bigpipe",
            "after select says writable, no write of 64 KiB fails with EAGAIN",
            _bigpipe,
            1000,
            fails_in={"2003-07": "a write stores nothing while 16 KiB are buffered, and select knows nothing of that"},
        ),
        PipeTest(
            "kqueue",
            "EVFILT_WRITE tells the room, is silent below PIPE_BUF, and sees the other end close",
            _kqueue,
            fails_in={"2003-07": "EVFILT_WRITE fails with EBADF when the other end is closed"},
        ),
        PipeTest(
            "ino",
            "both ends have the same device, and numbers of their own",
            _ino,
            fails_in=dict.fromkeys(("2003-07", "2004-01", "2006"), "fstat gives no numbers yet"),
        ),
        PipeTest(
            "fstat",
            "st_size is what the next read gets, with a direct write, too",
            _fstat,
            fails_in={"2003-07": "st_size does not count what a direct write holds"},
        ),
    )
}
"""The tests by name."""


# --- the scenarios -----------------------------------------------------------------------------------------


@attrs.frozen
class PipeTestReport(Result):
    """The results of one test over eras and designs.

    Args:
        test: The test.
        results: One result for each era and design.
    """

    test: PipeTest
    results: tuple[PipeTestResult, ...]

    def parts(self) -> Iterator[str | Table]:
        """Yield a table of passes and failures, and the reasons of eras that are known to fail."""
        yield f"{self.test.name}: {self.test.title}\n"
        yield Table(
            (
                Column("era", no_wrap=True),
                Column("design", no_wrap=True),
                Column("", no_wrap=True),
                Column("what happened"),
            ),
            tuple((r.era, r.design, "pass" if r.passed else "fail", r.reason) for r in self.results),
        )
        for era, why in {r.era: r.known for r in self.results if r.known}.items():
            yield f"\n{era} is known to fail: {why}"

    def as_json(self) -> object:
        """Return the results."""
        return [attrs.asdict(r) | {"passed": r.passed, "expected": r.expected} for r in self.results]

    @property
    def failure(self) -> str:
        """The eras and designs whose result is not the one that is known."""
        odd = [f"{r.era} {r.design}" for r in self.results if not r.expected]
        return f"not as is known of the era: {', '.join(odd)}" if odd else ""


def _run(
    test: PipeTest, progress: Progress, *, era: tuple[KernelState, ...], designs: tuple[Design, ...], times: int
) -> PipeTestReport:
    if times < 0 or (times and not test.times):
        why = "must be at least 1, or 0" if test.times else "this test repeats nothing"
        raise InvalidRequestError("--times", times, why)
    runs = [(chosen, design) for chosen in era for design in designs]
    results: list[PipeTestResult] = []
    with progress.task(test.name, len(runs)) as advance:
        for state, design in runs:
            results.append(run_test(test, state, design, times=times or None))
            if advance is not None:
                advance(len(results))
    return PipeTestReport(test, tuple(results))


def scenario_of(test: PipeTest) -> Scenario:
    """Return the scenario that runs a test over eras and designs."""
    repeated = f"{test.times:,} times" if test.times else "once"
    return Scenario(
        test.name,
        f"""{test.title} ({repeated}).

        Exit status 0 if each era does what is known of it, 1 if one does not.
        """,
        partial(_run, test),
        (
            ERAS_OPTION,
            designs_option(freebsd=True),
            Option("times", Int(), 0, "How often the test does what it repeats; 0: as FreeBSD has it."),
        ),
        rank=20,
    )


OFFERED: Final = tuple(scenario_of(test) for test in TESTS.values())
"""A scenario for each test."""
