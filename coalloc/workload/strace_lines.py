"""Lines of strace logs: from the shapes that strace prints to calls with their times, and a count of what is no call.

A line is a process number, a time, and what happened.  Each may be missing, and each has several shapes:

* the process: ``100``, ``[pid 100]``, either with the command's name (-Y), or nothing;
* the time: seconds since 1970 or since the line before (-r), or the time of day, with up to nine digits behind the point; or
  nothing.  Times of day go on after midnight.  Without times each line is one microsecond later than the line before;
* after the time: the time since the line before (-r beside -t), the number of the call (-n), the instruction pointer (-i);
* behind the call: the time that it took (-T).  Lines of stacks (-k) and the summary at the end (-C) are no calls.

A call may be split: in ``<unfinished ...>`` and ``resumed``, or by a note of strace in the middle of its line.

Most calls of a log are reads and writes.  They are kept in columns, since an object for each would take ten times the memory.
"""

from __future__ import annotations

import enum
import re
from array import array
from collections.abc import Iterable
from typing import Final

import attrs

__all__ = ["NO_PIPE", "READS", "SILENT", "WRITES", "Call", "Clock", "Exit", "Lines", "Transfers"]

READS: Final = frozenset({"read", "readv", "preadv2"})
WRITES: Final = frozenset({"write", "writev", "pwritev2"})
SILENT: Final = -2
"""The inode of a descriptor behind which nothing is printed."""
NO_PIPE: Final = -1
"""The inode of a descriptor behind which something else than a pipe is printed."""

_PID: Final = re.compile(r"\[pid\s+(\d{1,10})(?:<[^>]{0,64}>)?\]\s+|(\d{1,7})(?:<[^>]{0,64}>)?\s+(?=\S)")
_TIME: Final = re.compile(r"(?:(\d\d):(\d\d):(\d\d)|(\d{1,12})(?=\.)|(\d{9,12})(?=\s))(?:\.(\d{1,9}))?\s+")
_MARKS: Final = re.compile(r"(?:\(\+\s{0,12}\d{1,12}\.\d{1,9}\)\s+)?(?:\[[\s0-9a-f?]{1,20}\]\s+){0,2}")
_EVENT: Final = re.compile(r"\w{1,40}\(|<\.\.\. \w{1,40} resumed|---|\+\+\+|strace: |Process \d|\[ ")
_NOTE: Final = re.compile(r"(?:strace: |\[ )?Process (?:PID=)?\d{1,10} .{0,100}")
_SPLIT: Final = re.compile(r"strace: Process (\d{1,10}) attached(?: .{0,60})?$")
_PLAIN: Final = re.compile(
    rb"(?:\[pid +)?(\d{1,7})\]? (\d{9,12})\.(\d{6}) (\w+)\((.*)\)\s+= (-?\d{1,18}|0x[0-9a-f]{1,16})((?: .*|<.*)?)"
)
"""A whole call as strace -f -ttt prints it: most lines are of this shape, and one match is faster than four."""
_FD: Final = rb"\s*(\d{1,9}|0x[0-9a-f]{1,7})(?![\dx])(<(?:pipe:\[(\d{1,18})\]|[^<>]{0,4096}(?:->[^<>]{0,4096})?)>)?"
_FD_OF_BYTES: Final = re.compile(_FD)
_FD_OF_TEXT: Final = re.compile(_FD.decode())
_RESUMED: Final = re.compile(r"<\.\.\. (?P<name>\w+) resumed>\s?(?P<rest>.*)")
_CALL: Final = re.compile(
    r"(?P<name>\w+)\((?P<args>.*)\)\s+= (?P<result>-?\d{1,19}|0x[0-9a-f]{1,16}|\?)(?P<rest>.*)", re.DOTALL
)
_NUMBER_HERE: Final = re.compile(r" /\* (\d{1,10}) in strace's PID NS \*/")
_SUPERSEDED: Final = re.compile(r"superseded by execve in pid (\d+)")
_SUMMARY: Final = "% time     seconds"
_UNFINISHED: Final = "<unfinished ...>"
_DAY: Final = 86_400 * 10**6
_LATEST: Final = 1 << 62
_RELATIVE: Final = 10**8 * 10**6
"""Seconds below 10^8 since 1970 are before 1973: they are seconds since the line before."""


class Clock(enum.Enum):
    """The times that the lines of a log have."""

    UNIX = "seconds since 1970"
    DAY = "the time of day"
    RELATIVE = "seconds since the line before"
    NONE = "no times: one microsecond a line"


@attrs.define
class Call:
    """A call put together from its lines: ``begun`` and ``ended`` are the numbers of its first and last line, from 0."""

    pid: int
    name: str
    args: str
    result: int
    begun: int
    ended: int
    rest: str = ""
    """What is printed behind the result."""


@attrs.frozen
class Exit:
    """The end of a process at a line; ``heir`` is the thread whose execve continues under its number."""

    pid: int
    at: int
    heir: int | None = None


class Transfers:
    """The reads and writes, one column for each field.

    Attributes:
        pid: The process.
        fd: The descriptor; -1 if it cannot be read.
        inode: The pipe that is printed behind the descriptor; :data:`SILENT` or :data:`NO_PIPE`.
        n: The result: bytes, or a negative number.
        at: The line at which it takes effect: the first of a write, the last of a read.
        write: 1 for a write, 0 for a read.
        begun: The first line of each read that is split, by its index.
    """

    __slots__ = ("at", "begun", "fd", "inode", "n", "pid", "write")

    def __init__(self) -> None:
        self.pid = array("q")
        self.fd = array("q")
        self.inode = array("q")
        self.n = array("q")
        self.at = array("I")
        self.write = bytearray()
        self.begun: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.write)


class Lines:
    """Put calls together from lines.

    Args:
        wanted: The names of the calls that are kept; the others are counted as ignored.

    Attributes:
        times: The time of each line, in microseconds.
        transfers: The reads and writes that returned.
        calls: The other calls that returned, in the order of their ends.
        cut: The calls that never returned: process, text, first line.
        exits: The ends of processes.
        seen: The numbers of the lines of each process.
        clocks: How many lines have times of each kind.
        met: How many calls of each other name returned.
    """

    def __init__(self, wanted: Iterable[str]) -> None:
        self._wanted = {name.encode(): name for name in wanted}
        self._is_write = {name.encode(): int(name in WRITES) for name in READS | WRITES}
        self.ignored = self.unknown = self.truncated = 0
        self.times = array("q")
        self.transfers = Transfers()
        self.calls: list[Call] = []
        self.cut: list[tuple[int, str, int]] = []
        self.exits: list[Exit] = []
        self.seen: dict[int, array[int]] = {}
        self.clocks: dict[Clock, int] = dict.fromkeys(Clock, 0)
        self.met: dict[str, int] = {}
        self.only_summary = False
        self._pending: dict[int, tuple[str, int]] = {}
        self._split: tuple[int, str, int] | None = None
        self._time = 0
        self._in_summary = False

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return len(self.times)

    def add(self, line: bytes) -> None:
        """Take the next line."""
        plain = _PLAIN.fullmatch(line)
        if plain is None or self._split is not None or self._in_summary:
            self._add_any(line.decode("utf-8", "replace"))
            self.times.append(self._time)
            return
        process, seconds, micros, name, args, returned, rest = plain.groups()
        number = len(self.times)
        pid = int(process)
        self._time = int(seconds) * 1_000_000 + int(micros)
        self.times.append(self._time)
        self.clocks[Clock.UNIX] += 1
        lines = self.seen.get(pid)
        if lines is None:
            lines = self.seen[pid] = array("I")
        lines.append(number)
        write = self._is_write.get(name)
        if write is not None and returned[:2] != b"0x":
            fd = _FD_OF_BYTES.match(args)
            self._transfer(pid, write, fd, int(returned), number)
        else:
            self._returned(
                pid, name.decode(), args.decode("utf-8", "replace"), returned.decode(), rest.decode("utf-8", "replace"),
                number, number,
            )  # fmt: skip

    def _transfer(self, pid: int, write: int, fd: re.Match[bytes] | re.Match[str] | None, n: int, at: int) -> None:
        columns = self.transfers
        columns.pid.append(pid)
        columns.write.append(write)
        columns.n.append(n)
        columns.at.append(at)
        if fd is None:
            columns.fd.append(-1)
            columns.inode.append(SILENT)
            return
        number, told, inode = fd.groups()
        columns.fd.append(_int(number))
        columns.inode.append(SILENT if told is None else NO_PIPE if inode is None else int(inode))

    def _add_any(self, line: str) -> None:
        """Take a line of any shape."""
        number = len(self.times)
        if self._in_summary or line.startswith(_SUMMARY):
            self._in_summary = True
            self.only_summary = not self.calls and not self.transfers
            self.ignored += 1
            return
        if line.startswith(" > "):  # of a stack
            self.ignored += 1
            return
        found = _PID.match(line)
        pid = int(found[1] or found[2]) if found is not None else 0
        at = found.end() if found is not None else 0
        timed = _TIME.match(line, at)
        if timed is not None:
            at = timed.end()
        marks = _MARKS.match(line, at)
        at = marks.end() if marks is not None else at
        if _EVENT.match(line, at) is None:
            if found is not None and timed is None:  # what looks like a process may be a time of another shape
                self.unknown += 1
            elif self._split is not None:
                pid, text, begun = self._split
                self._split = None
                self._event(pid, text + line, begun, number)
            else:
                self.unknown += 1
            return
        if _NOTE.fullmatch(line, at):
            self.ignored += 1
            return
        self._read_clock(timed)
        lines = self.seen.get(pid)
        if lines is None:
            lines = self.seen[pid] = array("I")
        lines.append(number)
        self._event(pid, line[at:], number, number)

    def _read_clock(self, timed: re.Match[str] | None) -> None:
        """Go on to the time of a line."""
        if timed is None:
            self.clocks[Clock.NONE] += 1
            self._time += 1
            return
        hours, minutes, seconds, unix, whole, fraction = timed.groups()
        micros = int((fraction or "0").ljust(9, "0")) // 1000
        if hours is not None:
            self.clocks[Clock.DAY] += 1
            time = (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 10**6 + micros
            time += self._time // _DAY * _DAY
            if time < self._time - _DAY // 2:
                time += _DAY
        else:
            time = int(unix or whole) * 10**6 + micros
            if time < _RELATIVE:
                self.clocks[Clock.RELATIVE] += 1
                time += self._time
            else:
                self.clocks[Clock.UNIX] += 1
        self._time = min(time, _LATEST)

    def _event(self, pid: int, text: str, begun: int, now: int) -> None:
        split = _SPLIT.search(text)
        if split is not None and split.start():
            self._split = pid, text[: split.start()], begun
            return
        if text.startswith("+++"):
            self._exit(pid, text, now)
        elif text.startswith("---"):
            self.ignored += 1
        elif text.endswith(_UNFINISHED):
            self._pending[pid] = text.removesuffix(_UNFINISHED).removesuffix(" "), begun
        elif resumed := _RESUMED.fullmatch(text):
            half = self._pending.pop(pid, None) or self._pending.pop(0, None)  # the prefix may begin in between
            if half is None or not half[0].startswith(resumed["name"] + "("):
                self.truncated += 1
            else:
                self._complete(pid, half[0] + resumed["rest"], half[1], now)
        else:
            self._complete(pid, text, begun, now)

    def _exit(self, pid: int, text: str, at: int) -> None:
        half = self._pending.pop(pid, None)
        by = _SUPERSEDED.search(text)
        if by is not None:  # the execve of another thread continues under this number
            moved = self._pending.pop(int(by[1]), None)
            half = None
            if moved is not None:
                self._pending[pid] = moved
        if half is not None:
            self.cut.append((pid, *half))
        self.exits.append(Exit(pid, at, int(by[1]) if by is not None else None))

    def _complete(self, pid: int, text: str, begun: int, ended: int) -> None:
        match = _CALL.fullmatch(text)
        if match is None:
            self.truncated += 1
        elif match["result"] != "?":
            self._returned(pid, match["name"], match["args"], match["result"], match["rest"], begun, ended)

    def _returned(self, pid: int, name: str, args: str, returned: str, rest: str, begun: int, ended: int) -> None:
        if name.encode() not in self._wanted:
            self.ignored += 1
            self.met[name] = self.met.get(name, 0) + 1
            return
        result = _int(returned)
        if not 0 <= result < 1 << 63:
            result = -1  # an error, and perhaps printed as bits
        if name not in READS and name not in WRITES:
            here = _NUMBER_HERE.match(rest) if rest else None
            self.calls.append(Call(pid, name, args, int(here[1]) if here else result, begun, ended, rest))
            return
        write = int(name in WRITES)
        if not write and begun != ended:
            self.transfers.begun[len(self.transfers)] = begun
        self._transfer(pid, write, _FD_OF_TEXT.match(args), result, begun if write else ended)

    def finish(self) -> None:
        """Take what has not returned when the log ends for cut."""
        self.cut += [(pid, *half) for pid, half in self._pending.items()]
        self._pending.clear()
        if self._split is not None:
            self.cut.append(self._split)
            self._split = None
        self.truncated += len(self.cut)


def _int(text: str | bytes) -> int:
    """Read a number, decimal or hexadecimal."""
    return int(text, 16 if text[:2] in ("0x", b"0x") else 10)
