"""Importer for strace logs: it follows every descriptor of every process, and makes a pipe program of the calls on pipes.

The log is one made with ``strace -f -ttt -q -s 8 -e trace=pipe,pipe2,dup,dup2,dup3,fcntl,close,close_range,read,write,readv,
writev,splice,tee,vmsplice,sendfile,clone,clone3,fork,vfork,execve,exit,exit_group``; other lines do no harm.

Times.  A call that strace split in two (``<unfinished ...>`` and ``resumed``) takes effect at its end, except for three kinds
of calls, which take effect at their beginning.  The data of a write may be read before it returns.  The number of a closed
descriptor may be used again before the close returns.  A child may run before the fork returns.  A read refers to whatever its
descriptor referred to when the read began.  So the calls are first put together from their lines, and then replayed in the
order of their effects.

Descriptors.  A child's descriptors are a copy of its parent's at the fork, or with CLONE_FILES the same table.  execve leaves
a shared table and closes the descriptors that are marked close-on-exec.  The end of a process (its ``+++`` line) closes the
descriptors of its table, unless another process shares the table.  An end of a pipe is closed when no descriptor in any table
refers to it.

Lines without a process number are those of the first process, as strace writes them to a terminal while there is only one.

A line that cannot be understood is counted in the report and skipped.  No line of a log is fatal.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from os import PathLike, fspath
from pathlib import PurePath
from typing import Final

import attrs

from coalloc.errors import ProgramError
from coalloc.workload.files import raw_lines
from coalloc.workload.formats import Format, Progress
from coalloc.workload.program import MAX_TRANSFER, PipeOp, PipeOpKind, PipeProgram

__all__ = ["OFFERED", "ImportReport", "Imported", "import_lines", "import_strace"]

_LINE: Final = re.compile(
    r"(?:\[pid\s+(?P<bracket>\d{1,10})\]\s+|(?P<pid>\d{1,10})\s+)?(?P<s>\d{1,12})\.(?P<us>\d{6})\s+(?P<rest>.*)"
)
_RESUMED: Final = re.compile(r"<\.\.\. (?P<name>\w+) resumed>\s?(?P<rest>.*)")
_CALL: Final = re.compile(r"(?P<name>\w+)\((?P<args>.*)\)\s+= (?P<result>-?\d{1,19}|0x[0-9a-f]{1,16}|\?)(?P<rest>.*)")
_UNFINISHED: Final = " <unfinished ...>"
_PAIR: Final = re.compile(r"\[(\d{1,10})(?:<[^>]*>)?, (\d{1,10})(?:<[^>]*>)?\]")
_SUPERSEDED: Final = re.compile(r"superseded by execve in pid (\d+)")
_FD: Final = re.compile(r"\s*(\d{1,10})(?!\d)")
_DUPFD: Final = re.compile(r"[^,]*, (F_DUPFD|F_DUPFD_CLOEXEC), ")
_FORKS: Final = frozenset({"fork", "vfork", "clone", "clone3"})
_WRITES: Final = frozenset({"write", "writev"})
_AT_BEGINNING: Final = _WRITES | {"close", "close_range"}
_READS: Final = frozenset({"read", "readv"})


@attrs.frozen
class ImportReport:
    """Counts of what the importer found in a log.

    ``calls`` counts the understood calls that concern descriptors, ``ignored`` the lines of other calls and signals,
    ``unknown`` the lines that are not from strace, ``truncated`` the calls whose other half is missing or that are cut short,
    ``orphans`` the processes whose parent is not in the log.  ``spliced`` counts bytes moved into pipes by splice, tee,
    vmsplice and sendfile; the program has them as writes, like those of write and writev.
    """

    lines: int = 0
    calls: int = 0
    ignored: int = 0
    unknown: int = 0
    truncated: int = 0
    orphans: int = 0
    spliced: int = 0

    def __str__(self) -> str:
        return (
            f"{self.lines} lines: {self.calls} calls followed, {self.ignored} lines of other calls and signals, "
            f"{self.unknown} not understood, {self.truncated} truncated; {self.orphans} processes of unknown parents; "
            f"{self.spliced} bytes moved into pipes by splice and its kin"
        )


@attrs.frozen
class Imported:
    """A program made from a log, and the report of the import."""

    program: PipeProgram
    report: ImportReport


@attrs.define
class _Call:
    """A call put together from its lines, with the times and positions in the log of its beginning and its end."""

    pid: int
    name: str
    args: str
    result: int
    begun: tuple[int, int]
    ended: tuple[int, int]
    source: _Descriptor | None = None


@attrs.define
class _Descriptor:
    pipe: int
    end: int
    close_on_exec: bool = False


@attrs.define(eq=False)
class _Table:
    """The pipes in a descriptor table, and the number of processes that share the table."""

    open: dict[int, _Descriptor] = attrs.Factory(dict)
    shared_by: int = 1


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
    log = _Log()
    for number, line in enumerate(lines):
        log.add(number, line.decode("utf-8", "replace"))
        if progress is not None and number % 10_000 == 0:
            progress(number)
    if log.lines == log.unknown:
        raise ProgramError("is neither a coalloc program nor an strace log with times (strace -f -ttt)", name)
    story = _Story(log.root())
    for _, tell in log.effects(story):
        tell()
    file = "".join(letter if letter.isprintable() else "?" for letter in PurePath(name).name)
    program = PipeProgram(story.operations, title=title or f"imported from {file}")
    report = ImportReport(
        lines=log.lines,
        calls=log.calls,
        ignored=log.ignored,
        unknown=log.unknown,
        truncated=log.truncated,
        orphans=story.orphans,
        spliced=story.spliced,
    )
    return Imported(program, report)


class _Log:
    """Put calls together from lines."""

    def __init__(self) -> None:
        self.lines = self.calls = self.ignored = self.unknown = self.truncated = 0
        self._pending: dict[int, tuple[str, tuple[int, int]]] = {}
        self._found: list[_Call] = []
        self._exits: list[tuple[int, tuple[int, int], str]] = []
        self._ends: dict[int, tuple[int, int]] = {}  # ends of processes, by the number of the line
        self._cut: list[tuple[int, str, tuple[int, int]]] = []  # calls that never returned
        self._seen: dict[int, list[int]] = {}  # by process: the numbers of its lines

    def add(self, number: int, line: str) -> None:
        self.lines += 1
        match = _LINE.fullmatch(line)
        if match is None:
            self.unknown += 1
            return
        pid = int(match["bracket"] or match["pid"] or 0)
        at = (number, int(match["s"]) * 1_000_000 + int(match["us"]))
        rest = match["rest"]
        self._seen.setdefault(pid, []).append(number)
        if rest.startswith("+++"):
            begun = self._pending.pop(pid, None)
            if by := _SUPERSEDED.search(rest):  # the execve of another thread continues under this number
                begun, moved = None, self._pending.pop(int(by[1]), None)
                if moved is not None:
                    self._pending[pid] = moved
            if begun is not None:
                self._cut.append((pid, *begun))
            self._exits.append((pid, at, rest))
            self._ends[number] = at
        elif rest.startswith("---"):
            self.ignored += 1
        elif rest.endswith(_UNFINISHED):
            self._pending[pid] = rest.removesuffix(_UNFINISHED), at
        elif resumed := _RESUMED.fullmatch(rest):
            begun = self._pending.pop(pid, None) or self._pending.pop(0, None)  # the prefix may begin in between
            if begun is None or not begun[0].startswith(resumed["name"] + "("):
                self.truncated += 1
            else:
                self._complete(pid, begun[0] + resumed["rest"], begun[1], at)
        else:
            self._complete(pid, rest, at, at)

    def _complete(self, pid: int, text: str, begun: tuple[int, int], ended: tuple[int, int]) -> None:
        match = _CALL.fullmatch(text)
        if match is None:
            self.truncated += 1
            return
        if match["name"] not in _HANDLERS:
            self.ignored += 1
            return
        self.calls += 1
        if match["result"] != "?":
            result = int(match["result"], 16 if match["result"].startswith("0x") else 10)
            self._found.append(_Call(pid, match["name"], match["args"], result, begun, ended))

    def root(self) -> int:
        """Return the process of lines without a number: the one that nobody forked, if there is exactly one."""
        forked = {call.result for call in self._found if call.name in _FORKS}
        unforked = [pid for pid in self._seen if pid and pid not in forked]
        return unforked[0] if 0 in self._seen and len(unforked) == 1 else 0

    def effects(self, story: _Story) -> list[tuple[tuple[int, int], Callable[[], None]]]:
        """Return the effects for the story in order; a fork comes before the lines of its child."""
        self._cut += [(pid, *begun) for pid, begun in self._pending.items()]
        self.truncated += len(self._cut)
        self._adopt()
        told: list[tuple[tuple[int, int], Callable[[], None]]] = []
        for pid, at, text in self._exits:  # before the calls: a fork may take effect at the end of its child's namesake
            told.append((at, lambda pid=pid, at=at, text=text: story.exit(pid, text, at[1])))  # type: ignore[misc]
        for call in self._found:
            at = call.ended
            if call.name in _AT_BEGINNING:
                at = call.begun
            elif call.name in _FORKS:
                at = self._born(call)
            elif call.name in _READS and call.begun != call.ended:
                told.append((call.begun, lambda call=call: story.look_up(call)))  # type: ignore[misc]
            told.append((at, lambda call=call, at=at: story.call(call, at[1])))  # type: ignore[misc]
        told.sort(key=lambda item: item[0])
        return told

    def _born(self, fork: _Call) -> tuple[int, int]:
        """Return when a fork takes effect: at its beginning, or after the end of the last process with the child's number."""
        lines = self._seen.get(fork.result, [])
        first = bisect_right(
            lines, fork.begun[0]
        )  # of the lines under the child's number, the first after the beginning
        at = self._ends.get(lines[first]) if first < len(lines) else None
        return at if at is not None and at < fork.ended else fork.begun

    def _adopt(self) -> None:
        """Assign the processes that nobody forked to the forks that never returned, in order."""
        forked = {call.result for call in self._found if call.name in _FORKS}
        orphans = sorted((lines[0], pid) for pid, lines in self._seen.items() if pid and pid not in forked)
        for parent, text, begun in sorted(self._cut, key=lambda item: item[2]):
            name, _, arguments = text.partition("(")
            child = next((pid for number, pid in orphans if number > begun[0]), None)
            if name in _FORKS and child is not None:
                orphans = [orphan for orphan in orphans if orphan[1] != child]
                self._found.append(_Call(parent, name, arguments, child, begun, begun))


class _Story:
    """Follow descriptor tables, and record what happens to pipes.

    Args:
        root: The process of lines without a number while it lives; after that they belong to the process that is left.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self.operations: list[PipeOp] = []
        self.orphans = 0
        self.spliced = 0
        self._tables: dict[int, _Table] = {}
        self._references: list[list[int]] = []
        self._start: int | None = None
        self._last = 0
        self._now = 0

    # --- events ---

    def _who(self, pid: int) -> int:
        if pid or not self._root:
            return pid
        return next(iter(self._tables)) if self._tables and self._root not in self._tables else self._root

    def look_up(self, call: _Call) -> None:
        """Remember what the descriptor of a read refers to, since its number may be used again before the read returns."""
        table, fd = self._tables.get(self._who(call.pid)), _number(call.args)
        if table is not None and fd is not None:
            call.source = table.open.get(fd)

    def call(self, call: _Call, time: int) -> None:
        self._at(time)
        call.pid = self._who(call.pid)
        table = self._tables.get(call.pid)
        if table is None:
            if self._tables:
                self.orphans += 1
            table = self._tables[call.pid] = _Table()
        _HANDLERS[call.name](self, table, call)

    def exit(self, pid: int, text: str, time: int) -> None:
        self._at(time)
        pid = self._who(pid)
        table = self._tables.pop(pid, None)
        if table is not None:
            self._leave(table)
        if by := _SUPERSEDED.search(text):
            heir = self._tables.pop(int(by[1]), None)
            if heir is not None:
                self._tables[pid] = heir

    def _at(self, time: int) -> None:
        if self._start is None:
            self._start = time
        self._now = self._last = max(time - self._start, self._last)

    # --- descriptors ---

    def _emit(self, kind: PipeOpKind, pipe: int, end: int = 0, n: int = 0) -> None:
        self.operations.append(PipeOp(self._now, kind, pipe, end, n))

    def _drop(self, table: _Table, fd: int) -> None:
        descriptor = table.open.pop(fd, None)
        if descriptor is not None:
            counts = self._references[descriptor.pipe]
            counts[descriptor.end] -= 1
            if not counts[descriptor.end]:
                self._emit(PipeOpKind.CLOSE, descriptor.pipe, descriptor.end)

    def _install(self, table: _Table, fd: int, descriptor: _Descriptor) -> None:
        self._drop(table, fd)
        table.open[fd] = descriptor
        self._references[descriptor.pipe][descriptor.end] += 1

    def _copy(self, table: _Table) -> _Table:
        copy = _Table()
        for fd, descriptor in table.open.items():
            self._install(copy, fd, attrs.evolve(descriptor))
        return copy

    def _leave(self, table: _Table) -> None:
        table.shared_by -= 1
        if not table.shared_by:
            for fd in list(table.open):
                self._drop(table, fd)

    # --- calls ---

    def pipe(self, table: _Table, call: _Call) -> None:
        match = _PAIR.search(call.args)
        if call.result != 0 or match is None:
            return
        pipe = len(self._references)
        self._emit(PipeOpKind.CREATE, pipe)
        self._references.append([0, 0])
        for end in (0, 1):
            self._install(table, int(match[end + 1]), _Descriptor(pipe, end, "O_CLOEXEC" in call.args))

    def close(self, table: _Table, call: _Call) -> None:
        fd = _number(call.args)
        if fd is not None and (call.result == 0 or fd in table.open):
            self._drop(table, fd)

    def close_range(self, table: _Table, call: _Call) -> None:
        first, _, others = call.args.partition(",")
        last, _, flags = others.partition(",")
        low, high = _number(first), _number(last)
        if call.result != 0 or low is None:
            return
        if "CLOSE_RANGE_UNSHARE" in flags and table.shared_by > 1:
            table.shared_by -= 1
            table = self._tables[call.pid] = self._copy(table)
        for fd in [fd for fd in table.open if low <= fd and (high is None or fd <= high)]:
            if "CLOSE_RANGE_CLOEXEC" in flags:
                table.open[fd].close_on_exec = True
            else:
                self._drop(table, fd)

    def dup(self, table: _Table, call: _Call) -> None:
        fd = _number(call.args)
        if call.result < 0 or fd is None or fd == call.result:
            return
        source = table.open.get(fd)
        if source is None:
            self._drop(table, call.result)
        else:
            self._install(table, call.result, attrs.evolve(source, close_on_exec="O_CLOEXEC" in call.args))

    def fcntl(self, table: _Table, call: _Call) -> None:
        fd = _number(call.args)
        source = None if fd is None else table.open.get(fd)
        if call.result < 0 or source is None:
            return
        if duplicate := _DUPFD.match(call.args):
            self._install(table, call.result, attrs.evolve(source, close_on_exec=duplicate[1] == "F_DUPFD_CLOEXEC"))
        elif "F_SETFD" in call.args:
            source.close_on_exec = "FD_CLOEXEC" in call.args or call.args.rstrip().endswith((", 1", ", 0x1"))

    def write(self, table: _Table, call: _Call) -> None:
        self._transfer(PipeOpKind.WRITE, table, _number(call.args), call.result)

    def read(self, table: _Table, call: _Call) -> None:
        if call.begun == call.ended:
            self._transfer(PipeOpKind.READ, table, _number(call.args), call.result)
        else:
            self._move(PipeOpKind.READ, call.source, call.result)

    def _transfer(self, kind: PipeOpKind, table: _Table, fd: int | None, n: int) -> bool:
        return self._move(kind, None if fd is None else table.open.get(fd), n)

    def _move(self, kind: PipeOpKind, descriptor: _Descriptor | None, n: int) -> bool:
        if descriptor is None or not 0 < n <= MAX_TRANSFER or not self._references[descriptor.pipe][descriptor.end]:
            return False
        self._emit(kind, descriptor.pipe, descriptor.end, n)
        return True

    def splice(self, table: _Table, call: _Call) -> None:
        parts = call.args.split(", ")
        if call.name == "splice" and len(parts) >= 4:
            source, target = _number(parts[0]), _number(parts[2])
        elif call.name == "sendfile" and len(parts) >= 2:
            source, target = _number(parts[1]), _number(parts[0])
        elif call.name == "tee" and len(parts) >= 2:
            source, target = None, _number(parts[1])  # tee does not consume what it copies
        else:
            descriptor = table.open.get(_number(call.args) or 0)
            source, target = (
                (None, _number(call.args)) if descriptor is None or descriptor.end else (_number(call.args), None)
            )
        self._transfer(PipeOpKind.READ, table, source, call.result)
        if self._transfer(PipeOpKind.WRITE, table, target, call.result):
            self.spliced += call.result

    def fork(self, table: _Table, call: _Call) -> None:
        if call.result <= 0:
            return
        stale = self._tables.pop(call.result, None)
        if stale is not None:  # the number is used again, and the log does not have the end of its last bearer
            self._leave(stale)
        if "CLONE_FILES" in call.args:
            table.shared_by += 1
            self._tables[call.result] = table
        else:
            self._tables[call.result] = self._copy(table)

    def execve(self, table: _Table, call: _Call) -> None:
        if call.result != 0:
            return
        if table.shared_by > 1:
            table.shared_by -= 1
            table = self._tables[call.pid] = self._copy(table)
        for fd in [fd for fd, descriptor in table.open.items() if descriptor.close_on_exec]:
            self._drop(table, fd)

    def nothing(self, table: _Table, call: _Call) -> None:
        """Do nothing: an exit takes effect at its ``+++`` line."""


def _number(text: str) -> int | None:
    match = _FD.match(text)
    return None if match is None else int(match[1])


_HANDLERS: Final[dict[str, Callable[[_Story, _Table, _Call], None]]] = {
    "pipe": _Story.pipe,
    "pipe2": _Story.pipe,
    "close": _Story.close,
    "close_range": _Story.close_range,
    "dup": _Story.dup,
    "dup2": _Story.dup,
    "dup3": _Story.dup,
    "fcntl": _Story.fcntl,
    "read": _Story.read,
    "readv": _Story.read,
    "write": _Story.write,
    "writev": _Story.write,
    "splice": _Story.splice,
    "tee": _Story.splice,
    "vmsplice": _Story.splice,
    "sendfile": _Story.splice,
    "fork": _Story.fork,
    "vfork": _Story.fork,
    "clone": _Story.fork,
    "clone3": _Story.fork,
    "execve": _Story.execve,
    "exit": _Story.nothing,
    "exit_group": _Story.nothing,
}


def _recognises(_first_line: bytes) -> bool:
    """Take whatever no other format recognises: a log may begin with lines that are not strace's."""
    return True


def _read(lines: Iterator[bytes], name: str, progress: Progress) -> tuple[PipeProgram, ImportReport]:
    imported = import_lines(lines, name, progress=progress)
    return imported.program, imported.report


OFFERED: Final = (Format("strace", "logs of strace -f -ttt", _recognises, _read, rank=1000),)
"""The format, for :data:`~coalloc.workload.formats.FORMATS`."""
