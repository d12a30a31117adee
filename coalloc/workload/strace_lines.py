"""Lines of strace logs: from the shapes that strace prints to calls with their times, and a count of what is no call.

A line is a process number, a time, and what happened.  Each may be missing, and each has several shapes:

* the process: ``100``, ``[pid 100]``, either with the command's name (-Y), or nothing;
* the time: seconds since 1970 or since the line before (-r), or the time of day, with up to nine digits behind the point; or
  nothing.  Times of day go on after midnight.  Without times each line is one microsecond later than the line before;
* after the time: the time since the line before (-r beside -t), the number of the call (-n), the instruction pointer (-i);
* behind the call: the time that it took (-T).  Lines of stacks (-k) and the summary at the end (-C) are no calls.

A call may be split: in ``<unfinished ...>`` and ``resumed``, or by a note of strace in the middle of its line.

Most calls of a log are reads, writes and closes.  They are kept in columns: an object took 300 bytes, a row takes 41.
"""

from __future__ import annotations

import enum
import re
from array import array
from collections.abc import Callable, Iterable
from typing import Final

import attrs

__all__ = ["NO_PIPE", "READS", "SILENT", "WRITES", "Call", "Clock", "Exit", "Lines", "Problems", "Short"]

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
    rb"(?:\[pid +)?(\d{1,7})\]? +(\d{9,12})\.(\d{6}) "
    rb"(?:(\w+)\((.*)\)\s+= (-?\d{1,18}|0x[0-9a-f]{1,16}|\?)((?: .*|<.*)?)"
    rb"|(\w+\(.*)<unfinished \.\.\.>"
    rb"|<\.\.\. (\w+) resumed>\s?(.*)"
    rb"|(\+\+\+|---) .*)"
)
"""A line as strace -f -ttt prints it: most logs have no others, and one match takes the place of four."""
_WHOLE, _HALF, _RESUMED_HALF = 7, 8, 10
_DESCRIPTOR: Final = rb"(<(?:pipe:\[(\d{1,18})\]|[^<>]{0,4096}(?:->[^<>]{0,4096})?)>)?"
_PLAIN_SHORT: Final = re.compile(
    rb"(?:\[pid +)?(\d{1,7})\]? +(\d{9,12})\.(\d{6}) "
    rb"(read|write|close|readv|writev|preadv2|pwritev2)\((\d{1,9})"
    + _DESCRIPTOR
    + rb"(?:,.*)?\)\s+= (-?\d{1,18})(?: .*)?"
)
"""A whole read, write or close as strace -f -ttt prints it: six of ten lines, in one match."""
_FD: Final = re.compile(rb"\s*(\d{1,9}|0x[0-9a-f]{1,7})(?![\dx])" + _DESCRIPTOR)
_RESUMED: Final = re.compile(r"<\.\.\. (?P<name>\w+) resumed>\s?(?P<rest>.*)")
_CALL: Final = re.compile(rb"(\w+)\((.*)\)\s+= (-?\d{1,18}|0x[0-9a-f]{1,16}|\?)(.*)", re.DOTALL)
_NUMBER_HERE: Final = re.compile(rb" /\* (\d{1,10}) in strace's PID NS \*/")
_VERBOSE: Final = re.compile(rb"\w{1,20} /\* ([A-Z][\w|]{1,200}) \*/")
"""A number with its names behind it, as -X verbose prints flags."""
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


_CLOCKS: Final = list(Clock)


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
    """The end of a process at a line; ``heir`` is the thread whose execve continues under its number.

    ``threads`` says that its threads end with it, without lines of their own.
    """

    pid: int
    at: int
    heir: int | None = None
    threads: bool = False


class Problems:
    """What could not be understood or followed: the number of a line, from 1, and what is wrong with it.

    Only so many are kept; they are counted elsewhere.
    """

    MOST: Final = 10_000

    def __init__(self) -> None:
        self._found: list[tuple[int, str]] = []

    def add(self, line: int, what: str) -> None:
        """Note what is wrong with a line, whose number counts from 0."""
        if len(self._found) < self.MOST:
            self._found.append((line + 1, what))

    def in_order(self) -> tuple[tuple[int, str], ...]:
        """Return them by the numbers of their lines."""
        return tuple(sorted(self._found))


class Short:
    """The reads, writes and closes, one column for each field.

    Attributes:
        pid: The process.
        fd: The descriptor; -1 if it cannot be read.
        inode: The pipe that is printed behind the descriptor; :data:`SILENT` or :data:`NO_PIPE`.
        n: The result: bytes, or a negative number.
        at: The line at which it takes effect: the first of a write or a close, the last of a read.
        what: 0 for a read, 1 for a write, 2 for a close.
        begun: The first line of each read that is split, by its index.
    """

    __slots__ = ("at", "begun", "fd", "inode", "n", "pid", "what")

    def __init__(self) -> None:
        self.pid = array("q")
        self.fd = array("q")
        self.inode = array("q")
        self.n = array("q")
        self.at = array("I")
        self.what = bytearray()
        self.begun: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.what)


_SHORT: Final = {**dict.fromkeys(READS, 0), **dict.fromkeys(WRITES, 1), "close": 2}
_LONG: Final = 3
_OF_FCNTL: Final = re.compile(rb"F_DUPFD|F_SETF[DL]|F_SETPIPE_SZ|, (?:0x)?\d")
"""What has to be in the arguments of fcntl to be of interest."""


class Lines:
    """Put calls together from lines.

    Args:
        wanted: The names of the calls that are kept; the others are counted as ignored.

    Attributes:
        times: The time of each line, in microseconds.
        short: The reads, writes and closes that returned.
        calls: The other calls that succeeded, in the order of their ends.
        failed: How many other calls failed, or change nothing that is of interest.
        cut: The calls that never returned: process, text, first line.
        exits: The ends of processes.
        seen: The first and the last line of each process that had a number, one after the other.
        met: How many calls of each other name returned.
        problems: The lines that were not understood.
    """

    def __init__(self, wanted: Iterable[str]) -> None:
        self._kinds = {name.encode(): _SHORT.get(name, _LONG) for name in wanted}
        self.ignored = self.unknown = self.truncated = self.failed = 0
        self.times = array("q")
        self.short = Short()
        self.calls: list[Call] = []
        self.cut: list[tuple[int, str, int]] = []
        self.exits: list[Exit] = []
        self.seen: dict[int, list[int]] = {}
        self.met: dict[str, int] = {}
        self.only_summary = False
        self.problems = Problems()
        self._clocks = [0, 0, 0, 0]
        self._n_general = 0
        self._alive: set[int] = set()
        self._pending: dict[int, tuple[bytes, int]] = {}
        self._last_calls: dict[int, Exit] = {}
        self._split: tuple[int, str, int] | None = None
        self._time = 0
        self._in_summary = False

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return len(self.times)

    @property
    def clock(self) -> Clock:
        """The times that most lines have."""
        counts = [len(self.times) - self._n_general + self._clocks[0], *self._clocks[1:]]
        return max(Clock, key=lambda clock: counts[_CLOCKS.index(clock)])

    def take(self, lines: Iterable[bytes], tell: Callable[[int], None]) -> None:
        """Take lines, one after the other.

        Args:
            lines: The lines.
            tell: Called with the number of lines so far, every 10,000 lines.
        """
        # Most lines end here, without a call of a method.
        short, kinds, times, alive = self.short, self._kinds, self.times, self._alive
        put_pid, put_what, put_n = short.pid.append, short.what.append, short.n.append
        put_at, put_fd, put_inode, put_time = short.at.append, short.fd.append, short.inode.append, times.append
        match = _PLAIN_SHORT.fullmatch
        for line in lines:
            number = len(times)
            if not number % 10_000:
                tell(number)
            found = match(line)
            if found is None or self._split is not None or self._in_summary:
                self._add(line)
                continue
            process, seconds, micros, name, fd, told, inode, returned = found.groups()
            pid = int(process)
            self._time = time = int(seconds) * 1_000_000 + int(micros)
            put_time(time)
            if pid not in alive:
                self._see(pid, number)
            put_pid(pid)
            put_what(kinds[name])
            put_n(int(returned))
            put_at(number)
            put_fd(int(fd))
            put_inode(SILENT if told is None else NO_PIPE if inode is None else int(inode))

    def _add(self, line: bytes) -> None:
        """Take a line that is no whole read, write or close."""
        plain = _PLAIN.fullmatch(line)
        if plain is None or self._split is not None or self._in_summary:
            self._n_general += 1
            self._add_any(line.decode("utf-8", "replace"))
            self.times.append(self._time)
            return
        number = len(self.times)
        process, seconds, micros, name = plain.group(1, 2, 3, 4)
        pid = int(process)
        self._time = int(seconds) * 1_000_000 + int(micros)
        self.times.append(self._time)
        if pid not in self._alive:
            self._see(pid, number)
        shape = plain.lastindex
        if shape == _WHOLE:
            args, returned, rest = plain.group(5, 6, 7)
            self._returned(pid, name, args, returned, rest, number, number)
        elif shape == _HALF:
            self._pending[pid] = plain.group(8).removesuffix(b" "), number
        elif shape == _RESUMED_HALF:
            name, rest = plain.group(9, 10)
            self._resume(pid, name, rest, number)
        elif plain.group(11) == b"---":
            self.ignored += 1
        else:
            self._exit(pid, line.decode("utf-8", "replace"), number)

    def _returned(
        self, pid: int, name: bytes, args: bytes, returned: bytes, rest: bytes, begun: int, ended: int
    ) -> None:
        kind = self._kinds.get(name)
        if returned == b"?":
            if name in (b"exit", b"exit_group"):
                self._last_calls[pid] = Exit(pid, ended, threads=name == b"exit_group")
            return
        if kind is None:
            self.ignored += 1
            text = name.decode()
            self.met[text] = self.met.get(text, 0) + 1
        elif kind < _LONG:
            self._add_short(pid, kind, args, returned, begun, ended)
        else:
            self._add_long(pid, name, args, returned, rest, begun, ended)

    def _add_short(self, pid: int, kind: int, args: bytes, returned: bytes, begun: int, ended: int) -> None:
        """Put a read, a write or a close into the columns."""
        columns = self.short
        if not kind and begun != ended:
            columns.begun[len(columns)] = begun
        columns.pid.append(pid)
        columns.what.append(kind)
        columns.n.append(_result(returned))
        columns.at.append(begun if kind else ended)
        fd = _FD.match(args)
        if fd is None:
            columns.fd.append(-1)
            columns.inode.append(SILENT)
            return
        number, told, inode = fd.groups()
        columns.fd.append(_int(number))
        columns.inode.append(SILENT if told is None else NO_PIPE if inode is None else int(inode))

    def _add_long(
        self, pid: int, name: bytes, args: bytes, returned: bytes, rest: bytes, begun: int, ended: int
    ) -> None:
        """Keep any other call, unless it changes nothing."""
        if b"/*" in args:
            args = _VERBOSE.sub(rb"\1", args)
        result = _result(returned)
        if (
            result < 0
            or (name == b"fcntl" and b"<" not in args and _OF_FCNTL.search(args) is None)
            or (name == b"ioctl" and b"FIONBIO" not in args and b"0x5421" not in args)
        ):
            self.failed += 1
            return
        if rest:
            here = _NUMBER_HERE.match(rest)
            result = int(here[1]) if here else result
        words = args.decode("utf-8", "replace"), result, begun, ended, rest.decode("utf-8", "replace")
        self.calls.append(Call(pid, name.decode(), *words))

    def _resume(self, pid: int, name: bytes, rest: bytes, number: int) -> None:
        """Put the second half of a call to its first."""
        half = self._pending.pop(pid, None) or self._pending.pop(0, None)  # the prefix may begin in between
        if half is None or not half[0].startswith(name + b"("):
            self.truncated += 1
            self.problems.add(number, f"the first half of this {name.decode('utf-8', 'replace')} is missing")
        else:
            self._complete(pid, half[0] + rest, half[1], number)

    def _complete(self, pid: int, text: bytes, begun: int, ended: int) -> None:
        """Take a whole call."""
        match = _CALL.fullmatch(text)
        if match is None:
            self.truncated += 1
            self.problems.add(begun, "the call is cut short")
            return
        name, args, returned, rest = match.groups()
        self._returned(pid, name, args, returned, rest, begun, ended)

    def _foreign(self, number: int) -> None:
        self.unknown += 1
        self.problems.add(number, "is not a line of strace")

    def _see(self, pid: int, number: int) -> None:
        self._alive.add(pid)
        self.seen.setdefault(pid, []).append(number)

    def _add_any(self, line: str) -> None:
        """Take a line of any shape."""
        number = len(self.times)
        if self._in_summary or line.startswith(_SUMMARY):
            self._in_summary = True
            self.only_summary = not self.calls and not self.short
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
                self._foreign(number)
            elif self._split is not None:
                pid, text, begun = self._split
                self._split = None
                self._event(pid, text + line, begun, number)
            else:
                self._foreign(number)
            return
        if _NOTE.fullmatch(line, at):
            self.ignored += 1
            return
        self._read_clock(timed)
        if pid not in self._alive:
            self._see(pid, number)
        self._event(pid, line[at:], number, number)

    def _read_clock(self, timed: re.Match[str] | None) -> None:
        """Go on to the time of a line."""
        if timed is None:
            self._clocks[3] += 1
            self._time += 1
            return
        hours, minutes, seconds, unix, whole, fraction = timed.groups()
        micros = int((fraction or "0").ljust(9, "0")) // 1000
        if hours is not None:
            self._clocks[1] += 1
            time = (int(hours) * 3600 + int(minutes) * 60 + int(seconds)) * 10**6 + micros
            time += self._time // _DAY * _DAY
            if time < self._time - _DAY // 2:
                time += _DAY
        else:
            time = int(unix or whole) * 10**6 + micros
            if time < _RELATIVE:
                self._clocks[2] += 1
                time += self._time
            else:
                self._clocks[0] += 1
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
            self._pending[pid] = text.removesuffix(_UNFINISHED).removesuffix(" ").encode(), begun
        elif resumed := _RESUMED.fullmatch(text):
            self._resume(pid, resumed["name"].encode(), resumed["rest"].encode(), now)
        else:
            self._complete(pid, text.encode(), begun, now)

    def _exit(self, pid: int, text: str, at: int) -> None:
        half = self._pending.pop(pid, None)
        by = _SUPERSEDED.search(text)
        if by is not None:  # the execve of another thread continues under this number
            moved = self._pending.pop(int(by[1]), None)
            half = None
            if moved is not None:
                self._pending[pid] = moved
        if half is not None:
            self._cut(pid, half)
        self.exits.append(Exit(pid, at, int(by[1]) if by is not None else None))
        self._last_calls.pop(pid, None)
        self.seen[pid].append(at)
        self._alive.discard(pid)

    def _cut(self, pid: int, half: tuple[bytes, int]) -> None:
        self.cut.append((pid, half[0].decode("utf-8", "replace"), half[1]))

    def finish(self) -> None:
        """Take what has not returned for cut, and an exit without a +++ line (-qq) for the end of a process."""
        self.exits += self._last_calls.values()
        for pid, half in self._pending.items():
            self._cut(pid, half)
        self._pending.clear()
        if self._split is not None:
            self.cut.append(self._split)
            self._split = None
        self.truncated += len(self.cut)
        for _, text, begun in self.cut:
            self.problems.add(begun, f"this {text.partition('(')[0][:40]} never returned")


def _int(text: bytes) -> int:
    """Read a number, decimal or hexadecimal."""
    return int(text, 16) if text[:2] == b"0x" else int(text)


def _result(text: bytes) -> int:
    """Read what a call returned; what is too large for it is an error, printed as bits."""
    result = int(text, 16) if text[:2] == b"0x" else int(text)
    return result if 0 <= result < 1 << 63 else -1
