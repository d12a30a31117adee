"""Importer for strace logs: it makes a pipe program of the calls on pipes, and an account of what could not be followed.

:mod:`~coalloc.workload.strace_lines` reads the lines in all shapes that strace prints, and
:mod:`~coalloc.workload.strace_story` follows the descriptors of all processes.  No line of a log is fatal.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from typing import Final

import attrs

from coalloc.errors import ProgramError
from coalloc.workload.files import raw_lines, title_of
from coalloc.workload.formats import Format, Progress
from coalloc.workload.program import PipeProgram
from coalloc.workload.strace_lines import Clock, Lines
from coalloc.workload.strace_story import FOLLOWED, Story

__all__ = ["OFFERED", "ImportReport", "Imported", "import_lines", "import_strace", "imported", "without_collector"]


_MOST_FOREIGN: Final = 100_000
"""A log may have so many lines that are not strace's, whatever the others are."""


@attrs.frozen
class ImportReport:
    """Counts of what the importer found in a log.

    ``calls`` counts the understood calls that concern descriptors, ``ignored`` the lines of other calls, signals, notes and
    stacks, ``unknown`` the lines that are not from strace, ``truncated`` the calls whose other half is missing or that are cut
    short, ``orphans`` the processes whose parent is not in the log.  ``spliced`` counts bytes moved into pipes by splice, tee,
    vmsplice and sendfile; the program has them as writes, like those of write and writev.

    ``transfers`` counts the transfers on pipes, ``inherited`` the pipes of the program that were first seen alive, ``outside``
    those of which the log has one side only, so that the program does not have them, ``elsewhere`` the transfers on descriptors
    that no call of the log made: files and sockets, or pipes of before the log.

    What could not be followed: ``unplaced`` transfers on a pipe whose end was closed by then, ``reopened`` opens of /dev/fd and
    /proc/PID/fd of a descriptor that is not known, ``passed`` messages with descriptors whose other side is not in the log,
    ``hidden`` pipes whose descriptors the log does not print, ``fifos`` opens of named pipes, and ``uring`` calls of io_uring.
    ``resized`` counts the changes of a pipe's size, which the program has, and ``toggled`` the calls of FIONBIO whose value is
    not recorded: they are taken to make an end non-blocking.

    In recordings of other tools than strace, ``derived`` counts the pipes whose descriptors are not recorded and were derived:
    a pipe gets the lowest numbers that are free.  ``misderived`` counts the descriptors of them that a later call contradicts.
    ``nameless`` counts opens whose file is not recorded, so that it may be /dev/fd, and ``lost`` the events that
    the tool lost.

    ``unseen`` counts the children of a log of one process: it was recorded without -f.  ``clock`` says which times the log has.
    ``problems`` has the first 10,000 lines that were not understood or followed: the number of each, from 1, and what is wrong.
    """

    lines: int = 0
    calls: int = 0
    ignored: int = 0
    unknown: int = 0
    truncated: int = 0
    orphans: int = 0
    spliced: int = 0
    transfers: int = 0
    inherited: int = 0
    outside: int = 0
    elsewhere: int = 0
    unplaced: int = 0
    reopened: int = 0
    passed: int = 0
    hidden: int = 0
    fifos: int = 0
    resized: int = 0
    toggled: int = 0
    uring: int = 0
    derived: int = 0
    misderived: int = 0
    nameless: int = 0
    lost: int = 0
    unseen: int = 0
    clock: Clock = Clock.UNIX
    problems: tuple[tuple[int, str], ...] = attrs.field(default=(), repr=False)

    @property
    def doubtful(self) -> int:
        """How many calls on pipes could not be placed."""
        return self.unplaced + self.reopened + self.passed + self.hidden + self.misderived + self.lost

    @property
    def sound(self) -> bool:
        """Whether at most 1 % of the calls on pipes could not be placed."""
        return 100 * self.doubtful <= self.transfers + self.doubtful

    @property
    def doubt(self) -> str:
        """What to say where it is not sound."""
        return (
            f"{self.doubtful:,} of {self.transfers + self.doubtful:,} calls on pipes could not be placed, so the figures are "
            "wrong; record with strace -y or bpftrace, see the line that begins with log:"
        )

    def as_dict(self) -> dict[str, object]:
        """Return the counts as plain data, for JSON; the problems are left out."""
        counts = attrs.asdict(self, filter=lambda field, _value: field.name != "problems")
        return counts | {"clock": self.clock.value, "doubtful": self.doubtful, "sound": self.sound}

    def __str__(self) -> str:
        text = (
            f"{self.lines} lines: {self.calls} calls followed, {self.ignored} lines of other calls and signals, "
            f"{self.unknown} not understood, {self.truncated} truncated; {self.orphans} processes of unknown parents; "
            f"{self.spliced} bytes moved into pipes by splice and its kin"
        )
        others = [
            f"{number} {what}"
            for number, what in (
                (self.inherited, "pipes inherited"),
                (self.outside, "pipes to somebody who was not recorded"),
                (self.unplaced, "transfers after the end was closed"),
                (self.reopened, "opens of unknown descriptors by name"),
                (self.passed, "messages with descriptors of which one side is missing"),
                (self.hidden, "pipes whose descriptors are not printed"),
                (self.fifos, "opens of named pipes, which are not followed"),
                (self.resized, "changes of a pipe's size"),
                (self.toggled, "calls of FIONBIO without their value, taken for non-blocking"),
                (self.uring, "calls of io_uring, which are not followed"),
                (self.derived, "pipes whose descriptors were derived from the lowest free numbers"),
                (self.misderived, "of them contradicted by a later call"),
                (self.nameless, "opens whose file is not recorded"),
                (self.lost, "events that the recorder lost"),
                (self.unseen, "children whose calls are not in the log: record with strace -f"),
            )
            if number
        ]
        if self.clock is not Clock.UNIX:
            others.append(f"times are {self.clock.value}")
        return "; ".join([text, *others])


@attrs.frozen
class Imported:
    """A program made from a log, and the report of the import."""

    program: PipeProgram
    report: ImportReport


def import_strace(
    path: str | PathLike[str], *, title: str = "", progress: Callable[[int], None] | None = None
) -> Imported:
    """Make a pipe program from an strace log, which may be compressed (.gz, .xz).

    Args:
        path: The log.
        title: Title of the program; if empty, it names the log.
        progress: Called now and then with the number of lines read.

    Raises:
        ProgramError: If the file cannot be read as text, or has no strace line.
        OSError: If the file cannot be opened.

    Complexity: O(lines), in time and in memory.
    """
    name = fspath(path)
    return import_lines(raw_lines(name), name, title=title, progress=progress)


def import_lines(
    lines: Iterator[bytes], name: str, *, title: str = "", progress: Callable[[int], None] | None = None
) -> Imported:
    """Make a pipe program from the lines of an strace log; see :func:`import_strace`.

    Raises:
        ProgramError: If no line is one of an strace log, or the title is not one line of printable text.
    """
    with without_collector():
        return _import(lines, name, title, progress)


@contextmanager
def without_collector() -> Iterator[None]:
    """Switch the collector off: hundreds of thousands of objects are made, none is garbage, and it takes half of the time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _import(lines: Iterator[bytes], name: str, title: str, progress: Callable[[int], None] | None) -> Imported:
    log = Lines(FOLLOWED)

    def tell(number: int) -> None:
        _require_strace(log, name)
        if progress is not None:
            progress(number)

    log.take(lines, tell)
    log.finish()
    if log.lines == log.unknown:
        raise ProgramError(
            "is neither a coalloc program nor an strace log (strace -f -ttt), and its first line is of no other format",
            name,
        )
    if log.only_summary:
        raise ProgramError("is a summary of strace -c, which has no calls; record without -c", name)
    return imported(log, name, title)


def imported(
    log: Lines, name: str, title: str, *, two_way: bool = False, cpu_at: Callable[[int], int] | None = None
) -> Imported:
    """Make a pipe program of calls that were put together from their lines.

    Args:
        log: The calls.
        name: The name of the file.
        title: Title of the program; if empty, it names the file.
        two_way: Whether each end of a pipe can be read and written, as on FreeBSD.
        cpu_at: Tells the CPU of a line, from 0, or -1; None if none is known.

    Raises:
        ProgramError: If the title is not one line of printable text.
    """
    story = Story(log, two_way=two_way)
    story.tell()
    program = PipeProgram(story.numbered(), title=title or title_of(name))
    if cpu_at is not None:
        program = program.on_cpus(cpu_at(line) if line >= 0 else -1 for line in story.places())
    met = {"lines": log.lines, "ignored": log.ignored, "unknown": log.unknown, "truncated": log.truncated}
    return Imported(program, ImportReport(**met, **story.counts(), clock=log.clock, problems=log.problems.in_order()))


def _require_strace(log: Lines, name: str) -> None:
    """Refuse a file of which most is not strace's, before all of it is read."""
    if log.unknown > _MOST_FOREIGN and log.unknown > log.lines // 2:
        raise ProgramError(f"is no strace log: of the first {log.lines:,} lines {log.unknown:,} are not strace's", name)


def _recognises(_first_line: bytes) -> bool:
    """Take whatever no other format recognises: a log may begin with lines that are not strace's."""
    return True


def _read(lines: Iterator[bytes], name: str, progress: Progress) -> tuple[PipeProgram, ImportReport]:
    imported = import_lines(lines, name, progress=progress)
    return imported.program, imported.report


OFFERED: Final = (Format("strace", "logs of strace -f -ttt", _recognises, _read, rank=1000),)
"""The format, for :data:`~coalloc.workload.formats.FORMATS`."""
