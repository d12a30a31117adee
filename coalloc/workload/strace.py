"""Importer for strace logs: follows every descriptor of every process, and turns what happens to pipes into a pipe program.

The log is one made with ``strace -f -ttt -q -s 8 -e trace=pipe,pipe2,dup,dup2,dup3,fcntl,close,close_range,read,write,readv,
writev,splice,tee,vmsplice,sendfile,clone,clone3,fork,vfork,execve,exit,exit_group``; other lines do no harm.

When.  A call that strace split in two (``<unfinished ...>`` and ``resumed``) takes effect at its end, except a write and a
fork: a write's data may be read before the write returns, and a child may run before its parent's fork returns; these two
take effect at their beginning.  So the log is first put together call by call, then told in the order of effects.

Who.  A child's descriptors are a copy of its parent's at the fork, or the same table with CLONE_FILES; execve leaves a shared
table and closes what is marked close-on-exec; the end of a process (its ``+++`` line) closes what its table held, once nobody
shares it.  An end of a pipe is closed when no descriptor in any table refers to it.

What cannot be understood is counted in the report and passed over; nothing in a log is fatal.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from os import PathLike, fspath
from typing import Final

import attrs

from coalloc.errors import ProgramError
from coalloc.workload.program import PipeOp, PipeOpKind, PipeProgram
from coalloc.workload.textformat import lines_of

__all__ = ["ImportReport", "Imported", "import_strace"]

_LINE: Final = re.compile(r"(?:\[pid\s+(?P<bracket>\d+)\]\s+|(?P<pid>\d+)\s+)?(?P<s>\d+)\.(?P<us>\d{6})\s+(?P<rest>.*)")
_RESUMED: Final = re.compile(r"<\.\.\. (?P<name>\w+) resumed>\s?(?P<rest>.*)")
_CALL: Final = re.compile(r"(?P<name>\w+)\((?P<args>.*)\)\s+= (?P<result>-?\d+|0x[0-9a-f]+|\?)(?P<rest>.*)")
_UNFINISHED: Final = " <unfinished ...>"
_PAIR: Final = re.compile(r"\[(\d+)(?:<[^>]*>)?, (\d+)(?:<[^>]*>)?\]")
_SUPERSEDED: Final = re.compile(r"superseded by execve in pid (\d+)")
_FD: Final = re.compile(r"(\d+)")
_FORKS: Final = frozenset({"fork", "vfork", "clone", "clone3"})
_WRITES: Final = frozenset({"write", "writev"})
_READS: Final = frozenset({"read", "readv"})


@attrs.frozen
class ImportReport:
    """What the importer met.

    ``calls`` counts the calls it understood and that concern descriptors, ``ignored`` lines of other calls and signals,
    ``unknown`` lines that are no strace line at all, ``truncated`` calls whose other half is missing or that are cut short,
    ``orphans`` processes whose parent is not in the log.  ``spliced`` counts bytes moved into pipes by splice, tee, vmsplice
    and sendfile; the program has them as writes, like those of write and writev.
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
    """A program made from a log, and the report of its making."""

    program: PipeProgram
    report: ImportReport


@attrs.define
class _Call:
    """A call put together from its lines, with the time and the position in the log of its beginning and its end."""

    pid: int
    name: str
    args: str
    result: int
    begun: tuple[int, int]
    ended: tuple[int, int]


@attrs.define
class _Descriptor:
    pipe: int
    end: int
    close_on_exec: bool = False


@attrs.define(eq=False)
class _Table:
    """A descriptor table, as far as pipes are concerned, and how many processes share it."""

    open: dict[int, _Descriptor] = attrs.Factory(dict)
    shared_by: int = 1


def import_strace(
    path: str | PathLike[str], *, title: str = "", progress: Callable[[int], None] | None = None
) -> Imported:
    """Make a pipe program from an strace log, which may be compressed (.gz, .xz).

    Args:
        path: The log.
        title: Title of the program; the log's name if empty.
        progress: Is told now and then how many lines have been read.

    Raises:
        ProgramError: If the file cannot be read as text, or holds no strace line.
        OSError: If it cannot be opened.

    Complexity: O(lines), in time and in memory.
    """
    name = fspath(path)
    log = _Log()
    for number, line in enumerate(lines_of(name)):
        log.add(number, line)
        if progress is not None and number % 10_000 == 0:
            progress(number)
    if log.lines == log.unknown:
        raise ProgramError("holds no line of an strace log (made with strace -f -ttt)", name)
    story = _Story()
    for _, tell in log.effects(story):
        tell()
    program = PipeProgram(
        story.operations, title=title or f"imported from {name.replace(chr(92), '/').rpartition('/')[2]}"
    )
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
    """Puts calls together from lines."""

    def __init__(self) -> None:
        self.lines = self.calls = self.ignored = self.unknown = self.truncated = 0
        self._pending: dict[int, tuple[str, tuple[int, int]]] = {}
        self._found: list[_Call] = []
        self._exits: list[tuple[int, tuple[int, int], str]] = []
        self._first: dict[int, tuple[int, int]] = {}

    def add(self, number: int, line: str) -> None:
        self.lines += 1
        match = _LINE.fullmatch(line)
        if match is None:
            self.unknown += 1
            return
        pid = int(match["bracket"] or match["pid"] or 0)
        at = (number, int(match["s"]) * 1_000_000 + int(match["us"]))
        rest = match["rest"]
        if rest.startswith("+++"):
            begun = self._pending.pop(pid, None)
            if by := _SUPERSEDED.search(rest):  # the execve of another thread goes on under this number
                begun, moved = None, self._pending.pop(int(by[1]), None)
                if moved is not None:
                    self._pending[pid] = moved
            if begun is not None:
                self.truncated += 1
            self._exits.append((pid, at, rest))
        elif rest.startswith("---"):
            self.ignored += 1
        elif rest.endswith(_UNFINISHED):
            self._pending[pid] = rest.removesuffix(_UNFINISHED), at
        elif resumed := _RESUMED.fullmatch(rest):
            begun = self._pending.pop(pid, None)
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
            self._found.append(_Call(pid, match["name"], match["args"], int(match["result"], 0), begun, ended))

    def effects(self, story: _Story) -> list[tuple[tuple[int, int], Callable[[], None]]]:
        """Return what to tell the story, in the order of effects; a fork comes first where the child's lines do."""
        self.truncated += len(self._pending)
        told: list[tuple[tuple[int, int], Callable[[], None]]] = []
        for call in self._found:
            at = call.begun if call.name in _FORKS or call.name in _WRITES else call.ended
            told.append((at, lambda call=call, at=at: story.call(call, at[1])))  # type: ignore[misc]
        for pid, at, text in self._exits:
            told.append((at, lambda pid=pid, at=at, text=text: story.exit(pid, text, at[1])))  # type: ignore[misc]
        told.sort(key=lambda item: item[0])
        return told


class _Story:
    """Follows descriptor tables, and writes down what happens to pipes."""

    def __init__(self) -> None:
        self.operations: list[PipeOp] = []
        self.orphans = 0
        self.spliced = 0
        self._tables: dict[int, _Table] = {}
        self._references: list[list[int]] = []
        self._start: int | None = None
        self._last = 0
        self._now = 0

    # --- events ---

    def call(self, call: _Call, time: int) -> None:
        self._at(time)
        table = self._tables.get(call.pid)
        if table is None:
            if self._tables:
                self.orphans += 1
            table = self._tables[call.pid] = _Table()
        _HANDLERS[call.name](self, table, call)

    def exit(self, pid: int, text: str, time: int) -> None:
        self._at(time)
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
        first, last, *flags = (part.strip() for part in call.args.split(","))
        if call.result != 0:
            return
        if "CLOSE_RANGE_UNSHARE" in "".join(flags) and table.shared_by > 1:
            table.shared_by -= 1
            table = self._tables[call.pid] = self._copy(table)
        low, high = int(first, 0), int(last, 0) if last[:1].isdigit() else 2**32 - 1
        for fd in [fd for fd in table.open if low <= fd <= high]:
            if "CLOSE_RANGE_CLOEXEC" in "".join(flags):
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
        if "F_DUPFD" in call.args:
            self._install(table, call.result, attrs.evolve(source, close_on_exec="F_DUPFD_CLOEXEC" in call.args))
        elif "F_SETFD" in call.args:
            source.close_on_exec = "FD_CLOEXEC" in call.args or call.args.rstrip().endswith((", 1", ", 0x1"))

    def write(self, table: _Table, call: _Call) -> None:
        self._transfer(PipeOpKind.WRITE, table, _number(call.args), call.result)

    def read(self, table: _Table, call: _Call) -> None:
        self._transfer(PipeOpKind.READ, table, _number(call.args), call.result)

    def _transfer(self, kind: PipeOpKind, table: _Table, fd: int | None, n: int) -> bool:
        descriptor = None if fd is None else table.open.get(fd)
        if descriptor is None or n <= 0:
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
            source, target = None, _number(parts[1])  # tee leaves what it copies
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
        """Exits take effect at their ``+++`` line."""


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
