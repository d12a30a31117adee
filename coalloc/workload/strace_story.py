"""The story that the calls of an strace log tell: every descriptor of every process is followed, in the order of the effects.

Times.  A call that strace split in two takes effect at its end, except for those that take effect at their beginning.  The
data of a write may be read before it returns.  The number of a closed descriptor may be used again before the close returns.
A child may run before the fork returns.  A read refers to whatever its descriptor referred to when the read began.  A splice
between two pipes moves data as soon as its source has them, and at its end at the latest; one out of a pipe is a read.

Descriptors.  A child's descriptors are a copy of its parent's at the fork, or with CLONE_FILES the same table.  execve leaves
a shared table and closes the descriptors that are marked close-on-exec.  The end of a process closes the descriptors of its
table, unless another process shares the table; it is its ``+++`` line, or its exit where there is none.  An end of a pipe is
closed when no descriptor in any table refers to it, and none is on its way in a message.

Decorated descriptors (``strace -y``: ``3<pipe:[289554]>``) are the truth: what a number was thought to refer to gives way to
the inode that is printed.  A pipe that is first seen alive was inherited: it is created when the program begins.  An end is
not closed while the log mentions it later.

Processes.  Lines without a process number are those of the first process, as strace writes them to a terminal while there is
only one.  In a pid namespace a fork returns another number than strace prints; such a child is the next process that nobody
forked.

Whatever cannot be followed is counted by its kind.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from itertools import accumulate, islice
from typing import Final, TypeVar

import attrs

from coalloc.workload.program import MAX_PIPE_SIZE, MAX_TRANSFER, PipeOpKind
from coalloc.workload.strace_lines import READS, SILENT, WRITES, Call, Lines
from coalloc.workload.strace_tables import Descriptor, Table

__all__ = ["FOLLOWED", "FORKS", "Story"]

_FD: Final = re.compile(
    r"\s*(\d{1,10}|0x[0-9a-f]{1,8})(?![\dx])(?:<(?:pipe:\[(\d{1,20})\]|[^<>]{0,4096}(?:->[^<>]{0,4096})?)>)?"
)
_MENTION: Final = re.compile(r"(\d{1,10})<pipe:\[(\d{1,20})\]>")
_SHOWN: Final = r"\d{1,10}(?:<[^<>]{0,256}(?:->[^<>]{0,256})?>)?"
_PAIR: Final = re.compile(rf"\[({_SHOWN}), ({_SHOWN})\]")
_RIGHTS: Final = re.compile(
    rf"(?:SCM_RIGHTS|cmsg_level=0x1, cmsg_type=0x1), cmsg_data=\[({_SHOWN}(?:, {_SHOWN}){{0,252}})\]"
)
_DUPFD: Final = re.compile(r"[^,]*, (F_DUPFD_CLOEXEC|F_DUPFD|0x406|0)(?:, |$)")
_SETFD: Final = re.compile(r"[^,]*, (?:F_SETFD|0x2), (.*)")
_SETFL: Final = re.compile(r"[^,]*, (?:F_SETFL|0x4), (.*)")
_TOLD_END: Final = re.compile(r"<end ([01])>")
"""Which end a descriptor is, as recorders other than strace may tell."""
_FIONBIO: Final = re.compile(r"[^,]*, (?:FIONBIO|0x5421), (?:\[(\d{1,10})\])?")
_SETSIZE: Final = re.compile(r"[^,]*, (?:F_SETPIPE_SZ|0x407), (0x[0-9a-f]{1,16}|\d{1,20})?")
_FD_PATH: Final = re.compile(r'"/(?:dev/fd|proc/(self|thread-self|\d{1,10})(?:/task/\d{1,10})?/fd)/(\d{1,10})"')
_STANDARD: Final = re.compile(r'"/dev/std(in|out|err)"')
_PIDFD: Final = re.compile(r"pidfd=\[(\d{1,10})")
FORKS: Final = frozenset({"fork", "vfork", "clone", "clone2", "clone3"})
"""The names of the calls that make a process or a thread."""
_SPLICES: Final = frozenset({"splice", "tee", "vmsplice", "sendfile", "sendfile64"})
_AT_BEGINNING: Final = _SPLICES | {"close_range", "sendmsg"}
_O_CLOEXEC: Final = 0o2000000
_O_NONBLOCK: Final = 0o4000
_O_ACCMODE: Final = 0o3
_RAW_FLAGS: Final = re.compile(r'", (0x[0-9a-f]{1,8}|\d{1,8})(?:,|$)')
_CLONE_FILES: Final = 0x400
_IO_URING: Final = frozenset({"io_uring_setup", "io_uring_enter", "io_uring_register"})


_COUNTED: Final = (
    "calls", "orphans", "spliced", "transfers", "elsewhere", "unplaced", "reopened", "passed", "hidden", "fifos",
    "resized", "toggled", "uring",
)  # fmt: skip


@attrs.define
class _Fd:
    """A descriptor as it is printed; ``told`` says whether strace printed what it refers to."""

    number: int
    inode: int | None
    told: bool


@attrs.define
class _Pipe:
    """A pipe: how many descriptors each end has, whether it is non-blocking, and how many bytes are in the pipe."""

    inode: int | None
    inherited: bool
    counts: list[int] = attrs.Factory(lambda: [0, 0])
    open: list[bool] = attrs.Factory(lambda: [True, True])
    held: int = 0
    moved: list[bool] = attrs.Factory(lambda: [False, False])
    nonblocking: list[bool] = attrs.Factory(lambda: [False, False])

    @property
    def whole(self) -> bool:
        """Whether the log has both sides: a pipe that was inherited may lead to somebody who was not recorded."""
        return not self.inherited or all(self.moved)


@attrs.define(eq=False)
class _Splice:
    """A splice of ``n`` bytes, and whether they have been moved."""

    n: int
    source: Descriptor | None
    target: Descriptor | None
    done: bool = False


@attrs.define(eq=False)
class _Receiver:
    """A message with descriptors that was received: by whom, in which table, under which numbers, and at which line."""

    pid: int
    table: Table
    fds: list[_Fd]
    closes: bool
    line: int


@attrs.define(eq=False)
class _Message:
    """The descriptors of a message, and who sent it."""

    pid: int
    descriptors: list[Descriptor | None]


_T = TypeVar("_T", _Message, _Receiver)
_NEAR: Final = 64
"""So many of those that wait are looked at."""
_EXIT, _LOOK, _SHORT, _CALL, _LATE = range(5)
_CLOSE: Final = 2
_NUMBER: Final = (1 << 32) - 1


class Story:
    """Follow descriptor tables, and record what happens to pipes.

    Args:
        log: The calls.
        two_way: Whether each end of a pipe can be read and written, as on FreeBSD.
    """

    def __init__(self, log: Lines, *, two_way: bool = False) -> None:
        self._log = log
        self._two_way = two_way
        self._count = dict.fromkeys(_COUNTED, 0)
        self._tables: dict[int, Table] = {}
        self._pipes: list[_Pipe] = []
        self._by_inode: dict[int, int] = {}
        self._times, self._kinds, self._numbers = array("q"), array("b"), array("q")  # columns take less than tuples
        self._sides, self._sizes = array("b"), array("q")
        self._lines = array("q")
        self._sent: dict[int, deque[_Message]] = {}
        self._parents: dict[int, int] = {}
        self._receivers: dict[int, deque[_Receiver]] = {}
        self._left: Table | None = None
        self._fifos: set[str] = set()
        self._waiting: dict[int, deque[_Splice]] = {}
        self._late: dict[int, _Splice] = {}
        self._filled: list[int] = []
        self._reading: dict[int, Descriptor] = {}
        self._now = self._line = 0
        self._uses: dict[tuple[int, int], array[int]] = {}
        self._creations: dict[int, list[int]] = {}
        self._ends: dict[tuple[int, int], int] = {}
        self._find_mentions()
        self._root = self._find_root()

    def _find_mentions(self) -> None:
        """Note where each end of an inode is used, and at which end a number of a descriptor is used."""
        short = self._log.short
        for number, inode in enumerate(short.inode):
            end = short.what[number]
            if inode >= 0 and end != _CLOSE:
                line = short.begun.get(number, short.at[number])
                self._uses.setdefault((inode, end), array("q")).append(line)
                self._ends[inode, short.fd[number]] = end
        for call in self._log.calls:
            if call.name in ("pipe", "pipe2") and "<pipe:[" in call.args:
                for end, (fd, told) in enumerate(_MENTION.findall(call.args)):
                    self._creations.setdefault(int(told), []).append(call.begun)
                    self._ends[int(told), int(fd)] = end
            elif (told_end := _TOLD_END.search(call.rest)) and (mention := _MENTION.search(call.args)):
                self._uses.setdefault((int(mention[2]), int(told_end[1])), array("q")).append(call.begun)
        for key, uses in self._uses.items():
            self._uses[key] = array("q", sorted(uses))

    def _find_root(self) -> int:
        """Return the process of lines without a number: the one that nobody forked, if there is exactly one."""
        forked = {call.result for call in self._log.calls if call.name in FORKS}
        unforked = [pid for pid in self._log.seen if pid and pid not in forked]
        return unforked[0] if 0 in self._log.seen and len(unforked) == 1 else 0

    # --- the order of effects ---

    def tell(self) -> None:
        """Tell all effects in order; a fork comes before the lines of its child."""
        self._count["uring"] = sum(n for name, n in self._log.met.items() if name in _IO_URING)
        self._adopt()
        keys, short, tables = self._in_order(), self._log.short, self._tables
        pids, fds, inodes, split = short.pid, short.fd, short.inode, short.begun
        if not keys:
            return
        times = array("q", accumulate(self._log.times, max))
        start = times[keys[0] >> 35]
        for key in keys:
            what, number = key >> 32 & 7, key & _NUMBER
            if what == _SHORT and inodes[number] < 0 and number not in split:
                table = tables.get(pids[number])
                if table is not None and table.get(fds[number]) is None:  # no pipe: most are of files
                    self._count["elsewhere"] += short.what[number] != _CLOSE and 0 < short.n[number] <= MAX_TRANSFER
                    continue
            self._line = key >> 35
            self._now = times[self._line] - start
            if what == _SHORT:
                self._short(number)
            elif what == _CALL:
                self._call(self._log.calls[number])
            elif what == _EXIT:
                end = self._log.exits[number]
                self._exit(end.pid, end.heir)
                if end.threads:
                    self._end_threads()
            elif what == _LOOK:
                self._look_up(number)
            else:
                self._move_late(number)
            while self._filled:
                self._move_waiting(self._filled.pop())
        self._note_what_was_never_sent()

    def _in_order(self) -> list[int]:
        """Return a number for each effect, sorted: its line, what it is, and which of these.

        Numbers take less memory than tuples.
        """
        log = self._log
        self._count["calls"] = len(log.short) + len(log.calls) + log.failed
        base = _SHORT << 32
        keys = [(line << 35) + base + number for number, line in enumerate(log.short.at)]
        keys += [begun << 35 | _LOOK << 32 | number for number, begun in log.short.begun.items()]
        keys += [end.at << 35 | _EXIT << 32 | number for number, end in enumerate(log.exits)]
        ends = {end.at for end in log.exits}
        for number, call in enumerate(log.calls):
            at = call.ended
            if call.name in _AT_BEGINNING:
                at = call.begun
            elif call.name in FORKS:
                at = self._born(call, ends)
            keys.append(at << 35 | _CALL << 32 | number)
            if call.name in _SPLICES and call.begun != call.ended:
                keys.append(call.ended << 35 | _LATE << 32 | number)
        keys.sort()
        return keys

    def _born(self, fork: Call, ends: set[int]) -> int:
        """Return when a fork takes effect: at its beginning, or after the end of the last process with the child's number."""
        lines = self._log.seen.get(fork.result, ())
        first = bisect_right(lines, fork.begun)  # of the lines under the child's number, the first afterwards
        at = lines[first] if first < len(lines) else fork.ended
        return at if at in ends and at < fork.ended else fork.begun

    def _adopt(self) -> None:
        """Assign the processes that nobody forked to the forks whose child is not in the log, in order."""
        log = self._log
        forks = [call for call in log.calls if call.name in FORKS and call.result > 0]
        forked = {call.result for call in forks}
        orphans = deque(sorted((lines[0], pid) for pid, lines in log.seen.items() if pid and pid not in forked))
        childless = [(call.begun, call) for call in forks if call.result not in log.seen]
        for parent, text, begun in log.cut:
            name, _, arguments = text.partition("(")
            if name in FORKS:
                childless.append((begun, Call(parent, name, arguments, 0, begun, begun)))
        for begun, fork in sorted(childless, key=lambda item: item[0]):
            while orphans and orphans[0][0] <= begun:
                orphans.popleft()
            if orphans:
                if not fork.result:
                    log.calls.append(fork)
                fork.result = orphans.popleft()[1]

    # --- events ---

    def _who(self, pid: int) -> int:
        if pid or not self._root:
            return pid
        return next(iter(self._tables)) if self._tables and self._root not in self._tables else self._root

    def _table(self, pid: int) -> Table:
        """Return the table of a process, a new one if nothing is known of the process."""
        table = self._tables.get(pid)
        if table is None:
            if self._tables:
                self._count["orphans"] += 1
            table = self._tables[pid] = Table(self._hold, self._release)
        return table

    def _look_up(self, number: int) -> None:
        """Remember what the descriptor of a read refers to: its number may be used again before the read returns.

        The read keeps its end open until then.
        """
        short = self._log.short
        table = self._tables.get(self._who(short.pid[number]))
        if table is not None:
            source = self._find(table, _told(short.fd[number], short.inode[number]), 0)
            if source is not None:
                self._reading[number] = source
                self._hold(source)

    def _short(self, number: int) -> None:
        """Let a read or a write move its bytes, or a close close."""
        short = self._log.short
        what, fd, inode, n = short.what[number], short.fd[number], short.inode[number], short.n[number]
        pid = short.pid[number]
        table = self._tables.get(pid) if pid else None
        if table is None:
            table = self._table(self._who(pid))
        if what == _CLOSE:
            if inode != SILENT and (n == 0 or table.get(fd) is not None):
                self._find(table, _told(fd, inode), None)
            table.drop(fd)
        elif number in short.begun:
            source = self._reading.pop(number, None)
            self._move(what, source, n)
            if source is not None:
                self._release(source)
        elif inode == SILENT:
            self._move(what, table.get(fd), n)
        else:
            self._move(what, self._find(table, _told(fd, inode), what), n)

    def _call(self, call: Call) -> None:
        call.pid = self._who(call.pid)
        _HANDLERS[call.name](self, self._table(call.pid), call)

    def _end_threads(self) -> None:
        """End the threads of the process that has just ended: they share its table, and have no line of their own."""
        if self._left is not None and self._left.shared_by > 0:
            for thread in [thread for thread, table in self._tables.items() if table is self._left]:
                self._exit(thread, None)

    def _exit(self, pid: int, heir: int | None) -> None:
        pid = self._who(pid)
        table = self._left = self._tables.pop(pid, None)
        if table is not None:
            table.leave()
        if heir is not None and heir in self._tables:
            self._tables[pid] = self._tables.pop(heir)

    def _doubt(self, kind: str, what: str) -> None:
        self._count[kind] += 1
        self._log.problems.add(self._line, what)

    # --- descriptors ---

    def _emit(self, kind: PipeOpKind, pipe: int, end: int = 0, n: int = 0) -> None:
        self._times.append(self._now)
        self._lines.append(self._line)
        self._kinds.append(kind)
        self._numbers.append(pipe)
        self._sides.append(end)
        self._sizes.append(n)

    def _new(self, inode: int | None, *, inherited: bool) -> int:
        """Begin a pipe; one that is inherited is created when the program begins."""
        pipe = len(self._pipes)
        self._pipes.append(_Pipe(inode, inherited))
        if inode is not None:
            self._by_inode[inode] = pipe
        if not inherited:
            self._emit(PipeOpKind.CREATE, pipe)
        return pipe

    def _find(self, table: Table, fd: _Fd | None, end: int | None) -> Descriptor | None:
        """Return what a descriptor refers to; what is printed of it counts.

        Args:
            table: Where it is looked up.
            fd: The descriptor as it is printed.
            end: The end at which it is used; None if that is not known.
        """
        if fd is None:
            return None
        known = table.get(fd.number)
        if not fd.told:
            return known if known is None or not known.process else None
        if fd.inode is None:
            if known is not None and not known.process:
                table.drop(fd.number)
            return None
        pipe = self._by_inode.get(fd.inode)
        if pipe is None:
            pipe = self._new(fd.inode, inherited=True)
        if known is not None and not known.process and known.pipe == pipe and end in (None, known.end):
            return known
        if end is None:
            end = self._ends.get((fd.inode, fd.number), 0 if self._pipes[pipe].open[0] else 1)
        descriptor = Descriptor(pipe, end)
        table.put(fd.number, descriptor)
        return descriptor

    def _release(self, descriptor: Descriptor) -> None:
        """Take a reference from an end, and close it with the last, unless the log has transfers there later."""
        if descriptor.process:
            return
        pipe, end = self._pipes[descriptor.pipe], descriptor.end
        pipe.counts[end] -= 1
        if not pipe.counts[end] and pipe.open[end] and not self._is_used_later(pipe.inode, end):
            pipe.open[end] = False
            self._emit(PipeOpKind.CLOSE, descriptor.pipe, end)

    def _is_used_later(self, inode: int | None, end: int) -> bool:
        """Tell whether an inode is used at an end before a pipe of the same number is made."""
        if inode is None:
            return False
        uses, creations = self._uses.get((inode, end), array("q")), self._creations.get(inode, [])
        following = bisect_right(uses, self._line)
        if following == len(uses):
            return False
        again = bisect_right(creations, self._line)
        return again == len(creations) or uses[following] < creations[again]

    def _hold(self, descriptor: Descriptor) -> None:
        if not descriptor.process:
            self._pipes[descriptor.pipe].counts[descriptor.end] += 1

    # --- calls that make and close descriptors ---

    def _pipe(self, table: Table, call: Call) -> None:
        match = _PAIR.search(call.args)
        if call.result < 0:
            return
        if match is None:
            self._doubt("hidden", "the descriptors of this pipe are not printed")
            return
        flags = call.args[match.end() :]
        closes = "O_CLOEXEC" in flags or bool(_last_number(flags) & _O_CLOEXEC)
        made = [_fd(match[1]), _fd(match[2])]
        inode = made[0].inode if made[0] is not None else None
        pipe = self._new(inode, inherited=False)
        self._pipes[pipe].nonblocking = [_is_nonblocking(flags)] * 2
        for end, fd in enumerate(made):
            assert fd is not None  # the pattern has a number
            table.put(fd.number, Descriptor(pipe, end, closes))

    def _close_range(self, table: Table, call: Call) -> None:
        first, _, others = call.args.partition(",")
        last, _, flags = others.partition(",")
        low, high = _fd(first), _fd(last)
        if call.result != 0 or low is None:
            return
        bits = _last_number(flags)
        if ("CLOSE_RANGE_UNSHARE" in flags or bits & 2) and table.shared_by > 1:
            table = self._own(table, call.pid)
        most = None if high is None else high.number
        if "CLOSE_RANGE_CLOEXEC" in flags or bits & 4:
            for fd in table.between(low.number, most):
                table.mark(fd, close_on_exec=True)
        else:
            table.close_range(low.number, most)

    def _own(self, table: Table, pid: int) -> Table:
        """Give a process a table of its own."""
        table.shared_by -= 1
        self._tables[pid] = own = table.fork()
        return own

    def _dup(self, table: Table, call: Call) -> None:
        fd = _fd(call.args)
        if call.result < 0 or fd is None or fd.number == call.result:
            return
        source = self._find(table, fd, None)
        if source is None:
            table.drop(call.result)
        else:
            closes = "O_CLOEXEC" in call.args or (
                call.name == "dup3" and bool(_last_number(call.args) & _O_CLOEXEC) and call.args.count(",") == 2
            )
            table.put(call.result, attrs.evolve(source, close_on_exec=closes))

    def _fcntl(self, table: Table, call: Call) -> None:
        if call.result < 0:
            return
        fd, told_end = _fd(call.args), _TOLD_END.search(call.rest)
        source = self._find(table, fd, int(told_end[1]) if told_end is not None else None)
        if source is None or fd is None:
            return
        if duplicate := _DUPFD.match(call.args):
            closes = duplicate[1] in ("F_DUPFD_CLOEXEC", "0x406")
            table.put(call.result, attrs.evolve(source, close_on_exec=closes))
        elif flags := _SETFD.match(call.args):
            closes = "FD_CLOEXEC" in flags[1] or bool(_last_number(flags[1]) & 1)
            table.mark(fd.number, close_on_exec=closes)
        elif flags := _SETFL.match(call.args):
            self._pipes[source.pipe].nonblocking[source.end] = _is_nonblocking(flags[1])
        elif size := _SETSIZE.match(call.args):
            self._set_size(source, _int(size[1]) if size[1] else call.result)

    def _ioctl(self, table: Table, call: Call) -> None:
        """Follow FIONBIO, which is another way to set O_NONBLOCK, and is taken to set it where its value is not printed."""
        asked = _FIONBIO.match(call.args)
        source = self._find(table, _fd(call.args), None) if asked is not None else None
        if asked is not None and source is not None:
            self._pipes[source.pipe].nonblocking[source.end] = asked[1] != "0"
            self._count["toggled"] += asked[1] is None

    def _set_size(self, descriptor: Descriptor, size: int) -> None:
        if not self._pipes[descriptor.pipe].open[descriptor.end]:
            self._doubt("unplaced", "a change of size on an end of a pipe that is closed")
            return
        self._count["resized"] += 1
        self._emit(PipeOpKind.SET_SIZE, descriptor.pipe, descriptor.end, size & MAX_PIPE_SIZE)

    def _open(self, table: Table, call: Call) -> None:
        """Follow opens of /dev/fd/N, /dev/stdin and /proc/PID/fd/N; another file takes a number from a pipe."""
        if call.name.startswith("mk"):
            fifo = re.search(r'"([^"]{1,4096})"', call.args)
            if fifo is not None and call.result == 0 and ("S_IFIFO" in call.args or call.name.startswith("mkfifo")):
                self._fifos.add(fifo[1])
            return
        if call.result < 0:
            return
        raw = _RAW_FLAGS.search(call.args)
        bits = _int(raw[1]) if raw is not None else 0
        end = 1 if "O_WRONLY" in call.args or "O_RDWR" in call.args or bits & _O_ACCMODE else 0
        closes = "O_CLOEXEC" in call.args or bool(bits & _O_CLOEXEC)
        given = _fd(f"{call.result}{call.rest}")
        source: Descriptor | None = None
        named = _FD_PATH.search(call.args)
        standard = _STANDARD.search(call.args)
        path = re.search(r'"([^"]{1,4096})"', call.args)
        if path is not None and path[1] in self._fifos:
            self._doubt("fifos", "a named pipe is not followed")
        if named is not None or standard is not None:
            owner = table
            number = {"in": 0, "out": 1, "err": 2}[standard[1]] if standard is not None else 0
            if named is not None:
                number = int(named[2])
                if named[1] and named[1].isdecimal():
                    owner = self._tables.get(int(named[1]), table)
            source = _pipe_end(owner.get(number))
        if given is not None and given.told:
            if given.inode is not None:
                self._find(table, given, end)
            else:
                table.drop(call.result)
        elif source is not None:
            table.put(call.result, Descriptor(source.pipe, end, closes))
        else:
            if named is not None:
                self._doubt("reopened", "opens a descriptor that is not known by its name")
            table.drop(call.result)
        if closes:
            table.mark(call.result, close_on_exec=True)

    def _made(self, table: Table, call: Call) -> None:
        """Follow a call that makes a descriptor that is no pipe."""
        if call.result >= 0:
            table.drop(call.result)
            target = re.match(r"\d{1,10}", call.args)
            if call.name == "pidfd_open" and target is not None:
                table.put(call.result, _pidfd(int(target[0])))

    def _pidfd_getfd(self, table: Table, call: Call) -> None:
        if call.result < 0:
            return
        given = _fd(f"{call.result}{call.rest}")
        if given is not None and given.told:
            self._find(table, given, None)
            return
        parts = call.args.split(", ")
        pidfd, target = _fd(parts[0]), _fd(parts[1]) if len(parts) > 1 else None
        named = table.get(pidfd.number) if pidfd is not None else None
        owner = self._tables.get(named.process) if named is not None and named.process else None
        source = _pipe_end(owner.get(target.number)) if owner is not None and target is not None else None
        if source is None:
            table.drop(call.result)
        else:
            table.put(call.result, attrs.evolve(source, close_on_exec=True))

    def _sendmsg(self, table: Table, call: Call) -> None:
        """Put the descriptors of a message on their way; they hold their ends open until somebody receives them."""
        if call.result < 0:
            return
        for rights in _RIGHTS.findall(call.args):
            sent = [self._find(table, fd, None) for fd in _fds(rights)]
            for descriptor in sent:
                if descriptor is not None:
                    self._hold(descriptor)
            message = _Message(
                call.pid, [None if each is None else attrs.evolve(each, close_on_exec=False) for each in sent]
            )
            receiver = self._likeliest(self._receivers.get(len(sent)), call.pid)
            if receiver is not None:
                self._deliver(message, receiver)
            else:
                self._sent.setdefault(len(sent), deque()).append(message)

    def _recvmsg(self, table: Table, call: Call) -> None:
        """Take the descriptors of a message on its way that has as many, or of the next one.

        The files of -ff have the times at which calls began, so that a message may seem to be received before it is sent.
        """
        if call.result < 0:
            return
        for rights in _RIGHTS.findall(call.args):
            got = _fds(rights)
            receiver = _Receiver(call.pid, table, got, "MSG_CMSG_CLOEXEC" in call.args, self._line)
            for fd in got:
                table.drop(fd.number)
            message = self._likeliest(self._sent.get(len(got)), call.pid)
            if message is not None:
                self._deliver(message, receiver)
            else:
                self._receivers.setdefault(len(got), deque()).append(receiver)

    def _likeliest(self, waiting: deque[_T] | None, pid: int) -> _T | None:
        """Take what waits for or from a parent or a child of a process, or else the oldest: the socket is not told."""
        if not waiting:
            return None
        for item in islice(waiting, _NEAR):
            if item.pid in (pid, self._parents.get(pid)) or self._parents.get(item.pid) == pid:
                waiting.remove(item)
                return item
        return waiting.popleft()

    def _deliver(self, message: _Message, receiver: _Receiver) -> None:
        for fd, descriptor in zip(receiver.fds, message.descriptors, strict=True):
            if fd.told:
                self._find(receiver.table, fd, descriptor.end if descriptor is not None else None)
            elif descriptor is not None:
                receiver.table.put(fd.number, attrs.evolve(descriptor, close_on_exec=receiver.closes))
            if descriptor is not None:
                self._release(descriptor)

    def _note_what_was_never_sent(self) -> None:
        for receivers in self._receivers.values():
            for receiver in receivers:
                if any(not fd.told for fd in receiver.fds):
                    self._line = receiver.line
                    self._doubt("passed", "the other side of this message with descriptors is not known")

    # --- transfers ---

    def _move(self, end: int, descriptor: Descriptor | None, n: int) -> bool:
        """Move bytes out of a pipe (0) or into it (1): out of its end 0 and into its end 1, unless it goes two ways."""
        if not 0 < n <= MAX_TRANSFER:
            return False
        if descriptor is None or descriptor.process:
            self._count["elsewhere"] += 1
            return False
        pipe = self._pipes[descriptor.pipe]
        if (descriptor.end != end and not self._two_way) or not pipe.open[descriptor.end]:
            self._doubt("unplaced", "a transfer on an end of a pipe that is closed, or cannot do it")
            return False
        self._count["transfers"] += 1
        pipe.moved[end] = True
        if end:
            pipe.held += n
            if descriptor.pipe in self._waiting:
                self._filled.append(descriptor.pipe)
        else:
            pipe.held -= n
        write = PipeOpKind.TRY_WRITE if pipe.nonblocking[descriptor.end] else PipeOpKind.WRITE
        self._emit(write if end else PipeOpKind.READ, descriptor.pipe, descriptor.end, n)
        return True

    def _splice(self, table: Table, call: Call) -> None:
        parts = call.args.split(", ")
        source: Descriptor | None = None
        target: Descriptor | None = None
        if call.name == "splice" and len(parts) >= 4:
            source, target = self._find(table, _fd(parts[0]), 0), self._find(table, _fd(parts[2]), 1)
        elif call.name.startswith("sendfile") and len(parts) >= 2:
            source, target = self._find(table, _fd(parts[1]), 0), self._find(table, _fd(parts[0]), 1)
        elif call.name == "tee" and len(parts) >= 2:
            target = self._find(table, _fd(parts[1]), 1)  # tee does not consume what it copies
        else:
            known = _pipe_end(table.get(fd.number)) if (fd := _fd(call.args)) is not None else None
            end = known.end if known is not None else self._ends.get((fd.inode or 0, fd.number), 1) if fd else 1
            descriptor = self._find(table, fd, end)
            source, target = (descriptor, None) if end == 0 else (None, descriptor)
        late = target is None or (source is not None and self._pipes[source.pipe].held < call.result)
        if source is not None and call.begun != call.ended and late:
            splice = self._late[call.ended] = _Splice(call.result, source, target)
            if target is not None:
                self._waiting.setdefault(source.pipe, deque()).append(splice)
        else:
            self._move_both(_Splice(call.result, source, target))

    def _move_both(self, splice: _Splice) -> None:
        splice.done = True
        if splice.source is not None:
            self._move(0, splice.source, splice.n)
        if splice.target is not None and self._move(1, splice.target, splice.n):
            self._count["spliced"] += splice.n

    def _move_waiting(self, pipe: int) -> None:
        """Let the splices out of a pipe move what has come into it, the first one first."""
        waiting = self._waiting.get(pipe)
        while waiting and (waiting[0].done or self._pipes[pipe].held >= waiting[0].n):
            splice = waiting.popleft()
            if not splice.done:
                self._move_both(splice)
        if not waiting:
            self._waiting.pop(pipe, None)

    def _move_late(self, number: int) -> None:
        """Let a splice that ends move what it says, whatever is known of its source."""
        splice = self._late.pop(self._log.calls[number].ended, None)
        if splice is not None and not splice.done:
            self._move_both(splice)

    # --- processes ---

    def _fork(self, table: Table, call: Call) -> None:
        if call.result <= 0:
            return
        self._parents[call.result] = call.pid
        stale = self._tables.pop(call.result, None)
        if stale is not None:  # the number is used again, and the log does not have the end of its last bearer
            stale.leave()
        flags = re.search(r"flags=(0x[0-9a-f]{1,16}|\d{1,20})", call.args)
        if "CLONE_FILES" in call.args or (flags is not None and _int(flags[1]) & _CLONE_FILES):
            table.shared_by += 1
            self._tables[call.result] = table
        else:
            self._tables[call.result] = table.fork()
        pidfd = _PIDFD.search(call.args)
        if pidfd is not None:
            table.put(int(pidfd[1]), _pidfd(call.result))

    def _unshare(self, table: Table, call: Call) -> None:
        if call.result == 0 and "CLONE_FILES" in call.args and table.shared_by > 1:
            self._own(table, call.pid)

    def _execve(self, table: Table, call: Call) -> None:
        if call.result != 0:
            return
        if table.shared_by > 1:
            table = self._own(table, call.pid)
        table.exec()

    def _nothing(self, table: Table, call: Call) -> None:
        """Do nothing: an exit takes effect at its ``+++`` line."""

    # --- the result ---

    def numbered(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield the operations with the pipes numbered as a program needs it: those that were inherited come first."""
        inherited = [number for number, pipe in enumerate(self._pipes) if pipe.inherited and pipe.whole]
        others = [number for number, pipe in enumerate(self._pipes) if not pipe.inherited]
        new = {old: number for number, old in enumerate(inherited + others)}
        for old in inherited:
            yield 0, PipeOpKind.CREATE, new[old], 0, 0
        columns = self._times, self._kinds, self._numbers, self._sides, self._sizes
        for time, kind, pipe, end, n in zip(*columns, strict=True):
            if pipe in new:
                yield time, kind, new[pipe], end, n

    def places(self) -> Iterator[int]:
        """Yield the line at which each operation took effect, from 0, in the order of :meth:`numbered`; -1 for none."""
        yield from (-1 for pipe in self._pipes if pipe.inherited and pipe.whole)
        for line, number in zip(self._lines, self._numbers, strict=True):
            pipe = self._pipes[number]
            if pipe.whole or not pipe.inherited:
                yield line

    def counts(self) -> dict[str, int]:
        """Return how much of each kind was met; the keys are fields of the report."""
        inherited = [pipe for pipe in self._pipes if pipe.inherited]
        log = self._log
        children = {call.result for call in log.calls if call.name in FORKS and call.result > 0}
        return self._count | {
            "unseen": len(children - log.seen.keys()) if len(log.seen) == 1 else 0,
            "inherited": sum(pipe.whole for pipe in inherited),
            "outside": sum(not pipe.whole for pipe in inherited),
        }


def _told(number: int, inode: int) -> _Fd:
    """Return a descriptor of the columns."""
    return _Fd(number, inode if inode >= 0 else None, inode != SILENT)


def _pidfd(process: int) -> Descriptor:
    return Descriptor(0, 0, close_on_exec=True, process=process)


def _pipe_end(descriptor: Descriptor | None) -> Descriptor | None:
    """Return the descriptor if it is an end of a pipe."""
    return descriptor if descriptor is not None and not descriptor.process else None


def _int(text: str) -> int:
    """Read a number, decimal or hexadecimal."""
    return int(text, 16 if text.startswith("0x") else 10)


def _fd(text: str) -> _Fd | None:
    """Read a descriptor and what strace prints of it."""
    match = _FD.match(text)
    if match is None:
        return None
    return _Fd(_int(match[1]), int(match[2]) if match[2] else None, match.end() > match.end(1))


def _fds(text: str) -> list[_Fd]:
    """Read the descriptors of a message."""
    return [fd for part in text.split(", ") if (fd := _fd(part)) is not None]


def _is_nonblocking(flags: str) -> bool:
    """Tell whether flags have O_NONBLOCK, by name or as a number."""
    return "O_NONBLOCK" in flags or bool(_last_number(flags) & _O_NONBLOCK)


def _last_number(text: str) -> int:
    """Return the number at the end of arguments that are printed as numbers (-X raw); 0 where there is none."""
    match = re.search(r"(0x[0-9a-f]{1,16}|\d{1,20})\s*$", text)
    return _int(match[1]) if match is not None else 0


_HANDLERS: Final[dict[str, Callable[[Story, Table, Call], None]]] = {
    **dict.fromkeys(("pipe", "pipe2"), Story._pipe),
    "close_range": Story._close_range,
    **dict.fromkeys(("dup", "dup2", "dup3"), Story._dup),
    **dict.fromkeys(("fcntl", "fcntl64"), Story._fcntl),
    "ioctl": Story._ioctl,
    **dict.fromkeys(_SPLICES, Story._splice),
    **dict.fromkeys(FORKS, Story._fork),
    **dict.fromkeys(("open", "openat", "openat2", "mkfifo", "mknod", "mknodat"), Story._open),
    **dict.fromkeys(("socket", "accept", "accept4", "epoll_create1", "eventfd2", "pidfd_open"), Story._made),
    "pidfd_getfd": Story._pidfd_getfd,
    "sendmsg": Story._sendmsg,
    "recvmsg": Story._recvmsg,
    "unshare": Story._unshare,
    "execve": Story._execve,
    "execveat": Story._execve,
    "exit": Story._nothing,
    "exit_group": Story._nothing,
}
FOLLOWED: Final = frozenset(_HANDLERS) | READS | WRITES | {"close"}
"""The names of the calls that are followed."""
