"""The story that the calls of an strace log tell: every descriptor of every process is followed, in the order of the effects.

Times.  A call that strace split in two takes effect at its end, except for those that take effect at their beginning.  The
data of a write may be read before it returns.  The number of a closed descriptor may be used again before the close returns.
A child may run before the fork returns.  A read refers to whatever its descriptor referred to when the read began.  A splice
between two pipes moves data as soon as its source has them, and at its end at the latest; one out of a pipe is a read.

Descriptors.  A child's descriptors are a copy of its parent's at the fork, or with CLONE_FILES the same table.  execve leaves
a shared table and closes the descriptors that are marked close-on-exec.  The end of a process (its ``+++`` line) closes the
descriptors of its table, unless another process shares the table.  An end of a pipe is closed when no descriptor in any table
refers to it, and none is on its way in a message.

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
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import attrs

from coalloc.workload.program import MAX_TRANSFER, PipeOp, PipeOpKind
from coalloc.workload.strace_lines import Call, Lines, Place

__all__ = ["FOLLOWED", "Story"]

_FD: Final = re.compile(
    r"\s*(\d{1,10}|0x[0-9a-f]{1,8})(?![\dx])(?:<(?:pipe:\[(\d{1,20})\]|[^<>]{0,4096}(?:->[^<>]{0,4096})?)>)?"
)
_MENTION: Final = re.compile(r"(\d{1,10})<pipe:\[(\d{1,20})\]>")
_PAIR: Final = re.compile(r"\[(\d{1,10}(?:<[^<>]{0,256}>)?), (\d{1,10}(?:<[^<>]{0,256}>)?)\]")
_RIGHTS: Final = re.compile(r"SCM_RIGHTS, cmsg_data=\[([^\]]{0,64}(?:\[\d{1,20}\][^\]]{0,64}){0,253})\]")
_DUPFD: Final = re.compile(r"[^,]*, (F_DUPFD_CLOEXEC|F_DUPFD|0x406|0)(?:, |$)")
_SETFD: Final = re.compile(r"[^,]*, (?:F_SETFD|0x2), (.*)")
_SETSIZE: Final = re.compile(r"[^,]*, (?:F_SETPIPE_SZ|0x407), ")
_FD_PATH: Final = re.compile(r'"/(?:dev/fd|proc/(self|thread-self|\d{1,10})(?:/task/\d{1,10})?/fd)/(\d{1,10})"')
_STANDARD: Final = re.compile(r'"/dev/std(in|out|err)"')
_FIFO: Final = re.compile(r'(?:mkfifo|S_IFIFO|"([^"]{1,4096})", S_IFIFO)')
_PIDFD: Final = re.compile(r"pidfd=\[(\d{1,10})")
_FORKS: Final = frozenset({"fork", "vfork", "clone", "clone2", "clone3"})
_WRITES: Final = frozenset({"write", "writev", "pwritev2"})
_READS: Final = frozenset({"read", "readv", "preadv2"})
_SPLICES: Final = frozenset({"splice", "tee", "vmsplice", "sendfile", "sendfile64"})
_AT_BEGINNING: Final = _WRITES | _SPLICES | {"close", "close_range", "sendmsg"}
_O_CLOEXEC: Final = 0o2000000
_CLONE_FILES: Final = 0x400
_IO_URING: Final = frozenset({"io_uring_setup", "io_uring_enter", "io_uring_register"})


_COUNTED: Final = (
    "calls", "orphans", "spliced", "transfers", "elsewhere", "unplaced", "reopened", "passed", "hidden", "fifos",
    "resized", "uring",
)  # fmt: skip


@attrs.define
class _Fd:
    """A descriptor as it is printed; ``told`` says whether strace printed what it refers to."""

    number: int
    inode: int | None
    told: bool


@attrs.define
class _Descriptor:
    pipe: int
    end: int
    close_on_exec: bool = False


@attrs.define(eq=False)
class _Table:
    """The pipes in a descriptor table, the processes that its pidfds name, and how many processes share the table."""

    open: dict[int, _Descriptor] = attrs.Factory(dict)
    pidfds: dict[int, int] = attrs.Factory(dict)
    shared_by: int = 1


@attrs.define
class _Pipe:
    """A pipe: how many descriptors each end has, and how many bytes are in it."""

    inode: int | None
    inherited: bool
    counts: list[int] = attrs.Factory(lambda: [0, 0])
    open: list[bool] = attrs.Factory(lambda: [True, True])
    held: int = 0
    moved: list[bool] = attrs.Factory(lambda: [False, False])

    @property
    def whole(self) -> bool:
        """Whether the log has both sides: a pipe that was inherited may lead to somebody who was not recorded."""
        return not self.inherited or all(self.moved)


class Story:
    """Follow descriptor tables, and record what happens to pipes."""

    def __init__(self, log: Lines) -> None:
        self._log = log
        self._count = dict.fromkeys(_COUNTED, 0)
        self._tables: dict[int, _Table] = {}
        self._pipes: list[_Pipe] = []
        self._by_inode: dict[int, int] = {}
        self._operations: list[tuple[int, PipeOpKind, int, int, int]] = []
        self._sent: deque[list[_Descriptor | None]] = deque()
        self._fifos: set[str] = set()
        self._waiting: list[tuple[Place, Call, _Descriptor, _Descriptor | None]] = []  # splices without data so far
        self._start: int | None = None
        self._now = self._line = 0
        self._uses: dict[tuple[int, int], list[int]] = {}
        self._creations: dict[int, list[int]] = {}
        self._ends: dict[tuple[int, int], int] = {}
        self._find_mentions()
        self._root = self._find_root()

    def _find_mentions(self) -> None:
        """Note where each end of an inode is used, and at which end a number of a descriptor is used."""
        for call in self._log.calls:
            if "<pipe:[" not in call.args:
                continue
            if call.name in ("pipe", "pipe2"):
                for end, (fd, inode) in enumerate(_MENTION.findall(call.args)):
                    self._creations.setdefault(int(inode), []).append(call.begun[0])
                    self._ends[int(inode), int(fd)] = end
            elif call.name in _READS or call.name in _WRITES:
                fd = _fd(call.args)
                if fd is not None and fd.inode is not None:
                    end = int(call.name in _WRITES)
                    self._uses.setdefault((fd.inode, end), []).append(call.begun[0])
                    self._ends[fd.inode, fd.number] = end

    def _find_root(self) -> int:
        """Return the process of lines without a number: the one that nobody forked, if there is exactly one."""
        forked = {call.result for call in self._log.calls if call.name in _FORKS}
        unforked = [pid for pid in self._log.seen if pid and pid not in forked]
        return unforked[0] if 0 in self._log.seen and len(unforked) == 1 else 0

    # --- the order of effects ---

    def tell(self) -> None:
        """Tell all effects in order; a fork comes before the lines of its child."""
        log = self._log
        self._count["uring"] = sum(n for name, n in log.met.items() if name in _IO_URING)
        self._adopt()
        ends = {end.at[0]: end.at for end in log.exits}
        told: list[tuple[Place, Callable[[], None]]] = [
            (end.at, partial(self._exit, end.pid, end.heir)) for end in log.exits
        ]  # before the calls: a fork may take effect at the end of its child's namesake
        for call in log.calls:
            self._count["calls"] += 1
            at = call.ended
            if call.name in _AT_BEGINNING:
                at = call.begun
            elif call.name in _FORKS:
                at = self._born(call, ends)
            elif call.name in _READS and call.begun != call.ended:
                told.append((call.begun, partial(self._look_up, call)))
            told.append((at, partial(self._call, call)))
            if call.name in _SPLICES and call.begun != call.ended:
                told.append((call.ended, partial(self._move_late, call)))
        told.sort(key=lambda item: item[0])
        for place, effect in told:
            self._line = place[0]
            if self._start is None:
                self._start = place[1]
            self._now = max(place[1] - self._start, self._now)
            effect()

    def _born(self, fork: Call, ends: dict[int, Place]) -> Place:
        """Return when a fork takes effect: at its beginning, or after the end of the last process with the child's number."""
        lines = self._log.seen.get(fork.result, [])
        first = bisect_right(lines, fork.begun[0])  # of the lines under the child's number, the first afterwards
        at = ends.get(lines[first]) if first < len(lines) else None
        return at if at is not None and at < fork.ended else fork.begun

    def _adopt(self) -> None:
        """Assign the processes that nobody forked to the forks whose child is not in the log, in order."""
        log = self._log
        forks = [call for call in log.calls if call.name in _FORKS and call.result > 0]
        forked = {call.result for call in forks}
        orphans = deque(sorted((lines[0], pid) for pid, lines in log.seen.items() if pid and pid not in forked))
        childless = [(call.begun, call) for call in forks if call.result not in log.seen]
        for parent, text, begun in log.cut:
            name, _, arguments = text.partition("(")
            if name in _FORKS:
                childless.append((begun, Call(parent, name, arguments, 0, begun, begun)))
        for begun, fork in sorted(childless, key=lambda item: item[0]):
            while orphans and orphans[0][0] <= begun[0]:
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

    def _look_up(self, call: Call) -> None:
        """Remember what the descriptor of a read refers to: its number may be used again before the read returns.

        The read keeps its end open until then.
        """
        table = self._tables.get(self._who(call.pid))
        if table is not None:
            source = self._find(table, _fd(call.args), 0)
            if source is not None:
                call.source = source
                self._hold(source)

    def _call(self, call: Call) -> None:
        call.pid = self._who(call.pid)
        table = self._tables.get(call.pid)
        if table is None:
            if self._tables:
                self._count["orphans"] += 1
            table = self._tables[call.pid] = _Table()
        _HANDLERS[call.name](self, table, call)
        if self._waiting:
            self._move_waiting()

    def _exit(self, pid: int, heir: int | None) -> None:
        pid = self._who(pid)
        table = self._tables.pop(pid, None)
        if table is not None:
            self._leave(table)
        if heir is not None and heir in self._tables:
            self._tables[pid] = self._tables.pop(heir)

    # --- descriptors ---

    def _emit(self, kind: PipeOpKind, pipe: int, end: int = 0, n: int = 0) -> None:
        self._operations.append((self._now, kind, pipe, end, n))

    def _new(self, inode: int | None, *, inherited: bool) -> int:
        """Begin a pipe; one that is inherited is created when the program begins."""
        pipe = len(self._pipes)
        self._pipes.append(_Pipe(inode, inherited))
        if inode is not None:
            self._by_inode[inode] = pipe
        if not inherited:
            self._emit(PipeOpKind.CREATE, pipe)
        return pipe

    def _find(self, table: _Table, fd: _Fd | None, end: int | None) -> _Descriptor | None:
        """Return what a descriptor refers to; what is printed of it counts.

        Args:
            table: Where it is looked up.
            fd: The descriptor as it is printed.
            end: The end at which it is used; None if that is not known.
        """
        if fd is None:
            return None
        known = table.open.get(fd.number)
        if not fd.told:
            return known
        if fd.inode is None:
            if known is not None:
                self._drop(table, fd.number)
            return None
        pipe = self._by_inode.get(fd.inode)
        if pipe is None:
            pipe = self._new(fd.inode, inherited=True)
        if known is not None and known.pipe == pipe and end in (None, known.end):
            return known
        if end is None:
            end = self._ends.get((fd.inode, fd.number), 0 if self._pipes[pipe].open[0] else 1)
        descriptor = _Descriptor(pipe, end)
        self._install(table, fd.number, descriptor)
        return descriptor

    def _drop(self, table: _Table, fd: int) -> None:
        descriptor = table.open.pop(fd, None)
        if descriptor is not None:
            self._release(descriptor)

    def _release(self, descriptor: _Descriptor) -> None:
        """Take a reference from an end, and close it with the last, unless the log has transfers there later."""
        pipe, end = self._pipes[descriptor.pipe], descriptor.end
        pipe.counts[end] -= 1
        if not pipe.counts[end] and pipe.open[end] and not self._is_used_later(pipe.inode, end):
            pipe.open[end] = False
            self._emit(PipeOpKind.CLOSE, descriptor.pipe, end)

    def _is_used_later(self, inode: int | None, end: int) -> bool:
        """Tell whether an inode is used at an end before a pipe of the same number is made."""
        if inode is None:
            return False
        uses, creations = self._uses.get((inode, end), []), self._creations.get(inode, [])
        following = bisect_right(uses, self._line)
        if following == len(uses):
            return False
        again = bisect_right(creations, self._line)
        return again == len(creations) or uses[following] < creations[again]

    def _hold(self, descriptor: _Descriptor) -> None:
        self._pipes[descriptor.pipe].counts[descriptor.end] += 1

    def _install(self, table: _Table, fd: int, descriptor: _Descriptor) -> None:
        self._hold(descriptor)
        self._drop(table, fd)
        table.open[fd] = descriptor

    def _copy(self, table: _Table) -> _Table:
        copy = _Table(pidfds=dict(table.pidfds))
        for fd, descriptor in table.open.items():
            self._install(copy, fd, attrs.evolve(descriptor))
        return copy

    def _leave(self, table: _Table) -> None:
        table.shared_by -= 1
        if not table.shared_by:
            for fd in list(table.open):
                self._drop(table, fd)

    # --- calls that make and close descriptors ---

    def _pipe(self, table: _Table, call: Call) -> None:
        match = _PAIR.search(call.args)
        if call.result < 0:
            return
        if match is None:
            self._count["hidden"] += 1
            return
        flags = call.args[match.end() :]
        closes = "O_CLOEXEC" in flags or bool(_last_number(flags) & _O_CLOEXEC)
        made = [_fd(match[1]), _fd(match[2])]
        inode = made[0].inode if made[0] is not None else None
        pipe = self._new(inode, inherited=False)
        for end, fd in enumerate(made):
            assert fd is not None  # the pattern has a number
            self._install(table, fd.number, _Descriptor(pipe, end, closes))

    def _close(self, table: _Table, call: Call) -> None:
        fd = _fd(call.args)
        if fd is not None and (call.result == 0 or fd.number in table.open):
            self._find(table, fd, None)
            self._drop(table, fd.number)
            table.pidfds.pop(fd.number, None)

    def _close_range(self, table: _Table, call: Call) -> None:
        first, _, others = call.args.partition(",")
        last, _, flags = others.partition(",")
        low, high = _fd(first), _fd(last)
        if call.result != 0 or low is None:
            return
        bits = _last_number(flags)
        if ("CLOSE_RANGE_UNSHARE" in flags or bits & 2) and table.shared_by > 1:
            table = self._own(table, call.pid)
        for fd in [fd for fd in table.open if low.number <= fd and (high is None or fd <= high.number)]:
            if "CLOSE_RANGE_CLOEXEC" in flags or bits & 4:
                table.open[fd].close_on_exec = True
            else:
                self._drop(table, fd)

    def _own(self, table: _Table, pid: int) -> _Table:
        """Give a process a table of its own."""
        table.shared_by -= 1
        self._tables[pid] = own = self._copy(table)
        return own

    def _dup(self, table: _Table, call: Call) -> None:
        fd = _fd(call.args)
        if call.result < 0 or fd is None or fd.number == call.result:
            return
        source = self._find(table, fd, None)
        if source is None:
            self._drop(table, call.result)
        else:
            closes = "O_CLOEXEC" in call.args or (
                call.name == "dup3" and bool(_last_number(call.args) & _O_CLOEXEC) and call.args.count(",") == 2
            )
            self._install(table, call.result, attrs.evolve(source, close_on_exec=closes))

    def _fcntl(self, table: _Table, call: Call) -> None:
        if call.result < 0:
            return
        source = self._find(table, _fd(call.args), None)
        if source is None:
            return
        if duplicate := _DUPFD.match(call.args):
            closes = duplicate[1] in ("F_DUPFD_CLOEXEC", "0x406")
            self._install(table, call.result, attrs.evolve(source, close_on_exec=closes))
        elif flags := _SETFD.match(call.args):
            source.close_on_exec = "FD_CLOEXEC" in flags[1] or bool(_last_number(flags[1]) & 1)
        elif _SETSIZE.match(call.args):
            self._count["resized"] += 1

    def _open(self, table: _Table, call: Call) -> None:
        """Follow opens of /dev/fd/N, /dev/stdin and /proc/PID/fd/N; another file takes a number from a pipe."""
        if call.name.startswith("mk"):
            fifo = re.search(r'"([^"]{1,4096})"', call.args)
            if fifo is not None and call.result == 0 and ("S_IFIFO" in call.args or call.name.startswith("mkfifo")):
                self._fifos.add(fifo[1])
            return
        if call.result < 0:
            return
        end = 1 if "O_WRONLY" in call.args or "O_RDWR" in call.args else 0
        given = _fd(f"{call.result}{call.rest}")
        source: _Descriptor | None = None
        named = _FD_PATH.search(call.args)
        standard = _STANDARD.search(call.args)
        path = re.search(r'"([^"]{1,4096})"', call.args)
        if path is not None and path[1] in self._fifos:
            self._count["fifos"] += 1
        if named is not None or standard is not None:
            owner = table
            number = {"in": 0, "out": 1, "err": 2}[standard[1]] if standard is not None else 0
            if named is not None:
                number = int(named[2])
                if named[1] and named[1].isdecimal():
                    owner = self._tables.get(int(named[1]), table)
            source = owner.open.get(number)
        if given is not None and given.told:
            if given.inode is not None:
                self._find(table, given, end)
            else:
                self._drop(table, call.result)
        elif source is not None:
            self._install(table, call.result, _Descriptor(source.pipe, end, "O_CLOEXEC" in call.args))
        else:
            if named is not None:
                self._count["reopened"] += 1
            self._drop(table, call.result)
        if "O_CLOEXEC" in call.args and call.result in table.open:
            table.open[call.result].close_on_exec = True

    def _made(self, table: _Table, call: Call) -> None:
        """Follow a call that makes a descriptor that is no pipe."""
        if call.result >= 0:
            self._drop(table, call.result)
            table.pidfds.pop(call.result, None)
            target = re.match(r"\d{1,10}", call.args)
            if call.name == "pidfd_open" and target is not None:
                table.pidfds[call.result] = int(target[0])

    def _pidfd_getfd(self, table: _Table, call: Call) -> None:
        if call.result < 0:
            return
        given = _fd(f"{call.result}{call.rest}")
        if given is not None and given.told:
            self._find(table, given, None)
            return
        parts = call.args.split(", ")
        pidfd, target = _fd(parts[0]), _fd(parts[1]) if len(parts) > 1 else None
        owner = self._tables.get(table.pidfds.get(pidfd.number, -1)) if pidfd is not None else None
        source = owner.open.get(target.number) if owner is not None and target is not None else None
        if source is None:
            self._drop(table, call.result)
        else:
            self._install(table, call.result, attrs.evolve(source, close_on_exec=True))

    def _sendmsg(self, table: _Table, call: Call) -> None:
        """Put the descriptors of a message on their way; they hold their ends open until somebody receives them."""
        if call.result < 0:
            return
        for rights in _RIGHTS.findall(call.args):
            sent = [self._find(table, fd, None) for fd in _fds(rights)]
            for descriptor in sent:
                if descriptor is not None:
                    self._hold(descriptor)
            self._sent.append([None if each is None else attrs.evolve(each, close_on_exec=False) for each in sent])

    def _recvmsg(self, table: _Table, call: Call) -> None:
        """Take the descriptors of the oldest message on its way that has as many."""
        if call.result < 0:
            return
        for rights in _RIGHTS.findall(call.args):
            got = _fds(rights)
            sent = next((each for each in self._sent if len(each) == len(got)), None)
            if sent is None:
                self._count["passed"] += any(not fd.told for fd in got)
                sent = [None] * len(got)
            else:
                self._sent.remove(sent)
            closes = "MSG_CMSG_CLOEXEC" in call.args
            for fd, descriptor in zip(got, sent, strict=True):
                if fd.told:
                    end = descriptor.end if descriptor is not None else None
                    self._find(table, fd, end)
                elif descriptor is None:
                    self._drop(table, fd.number)
                else:
                    self._install(table, fd.number, attrs.evolve(descriptor, close_on_exec=closes))
                if descriptor is not None:
                    self._release(descriptor)

    # --- transfers ---

    def _write(self, table: _Table, call: Call) -> None:
        self._transfer(PipeOpKind.WRITE, table, _fd(call.args), call.result)

    def _read(self, table: _Table, call: Call) -> None:
        if call.begun == call.ended:
            self._transfer(PipeOpKind.READ, table, _fd(call.args), call.result)
        else:
            source = call.source if isinstance(call.source, _Descriptor) else None
            self._move(PipeOpKind.READ, source, call.result)
            if source is not None:
                self._release(source)

    def _transfer(self, kind: PipeOpKind, table: _Table, fd: _Fd | None, n: int) -> bool:
        return self._move(kind, self._find(table, fd, int(kind is PipeOpKind.WRITE)), n)

    def _move(self, kind: PipeOpKind, descriptor: _Descriptor | None, n: int) -> bool:
        if not 0 < n <= MAX_TRANSFER:
            return False
        if descriptor is None:
            self._count["elsewhere"] += 1
            return False
        pipe = self._pipes[descriptor.pipe]
        if not pipe.open[descriptor.end]:
            self._count["unplaced"] += 1
            return False
        if descriptor.end != (kind is PipeOpKind.WRITE):
            self._count["unplaced"] += 1
            return False
        self._count["transfers"] += 1
        pipe.held += n if kind is PipeOpKind.WRITE else -n
        pipe.moved[descriptor.end] = True
        self._emit(kind, descriptor.pipe, descriptor.end, n)
        return True

    def _splice(self, table: _Table, call: Call) -> None:
        parts = call.args.split(", ")
        source: _Descriptor | None = None
        target: _Descriptor | None = None
        if call.name == "splice" and len(parts) >= 4:
            source, target = self._find(table, _fd(parts[0]), 0), self._find(table, _fd(parts[2]), 1)
        elif call.name.startswith("sendfile") and len(parts) >= 2:
            source, target = self._find(table, _fd(parts[1]), 0), self._find(table, _fd(parts[0]), 1)
        elif call.name == "tee" and len(parts) >= 2:
            target = self._find(table, _fd(parts[1]), 1)  # tee does not consume what it copies
        else:
            known = table.open.get(fd.number) if (fd := _fd(call.args)) is not None else None
            end = known.end if known is not None else self._ends.get((fd.inode or 0, fd.number), 1) if fd else 1
            descriptor = self._find(table, fd, end)
            source, target = (descriptor, None) if end == 0 else (None, descriptor)
        late = target is None or (source is not None and self._pipes[source.pipe].held < call.result)
        if source is not None and call.begun != call.ended and late:
            self._waiting.append((call.ended, call, source, target))
        else:
            self._move_both(call, source, target)

    def _move_both(self, call: Call, source: _Descriptor | None, target: _Descriptor | None) -> None:
        if source is not None:
            self._move(PipeOpKind.READ, source, call.result)
        if target is not None and self._move(PipeOpKind.WRITE, target, call.result):
            self._count["spliced"] += call.result

    def _move_waiting(self) -> None:
        """Let splices move what has come into their sources."""
        for item in list(self._waiting):
            _, call, source, target = item
            if target is not None and self._pipes[source.pipe].held >= call.result:
                self._waiting.remove(item)
                self._move_both(call, source, target)

    def _move_late(self, call: Call) -> None:
        """Let a splice that ends move what it says, whatever is known of its source."""
        for item in list(self._waiting):
            if item[1] is call:
                self._waiting.remove(item)
                self._move_both(call, item[2], item[3])

    # --- processes ---

    def _fork(self, table: _Table, call: Call) -> None:
        if call.result <= 0:
            return
        stale = self._tables.pop(call.result, None)
        if stale is not None:  # the number is used again, and the log does not have the end of its last bearer
            self._leave(stale)
        flags = re.search(r"flags=(0x[0-9a-f]{1,16}|\d{1,20})", call.args)
        if "CLONE_FILES" in call.args or (flags is not None and _int(flags[1]) & _CLONE_FILES):
            table.shared_by += 1
            self._tables[call.result] = table
        else:
            self._tables[call.result] = self._copy(table)
        pidfd = _PIDFD.search(call.args)
        if pidfd is not None:
            table.pidfds[int(pidfd[1])] = call.result

    def _unshare(self, table: _Table, call: Call) -> None:
        if call.result == 0 and "CLONE_FILES" in call.args and table.shared_by > 1:
            self._own(table, call.pid)

    def _execve(self, table: _Table, call: Call) -> None:
        if call.result != 0:
            return
        if table.shared_by > 1:
            table = self._own(table, call.pid)
        for fd in [fd for fd, descriptor in table.open.items() if descriptor.close_on_exec]:
            self._drop(table, fd)

    def _nothing(self, table: _Table, call: Call) -> None:
        """Do nothing: an exit takes effect at its ``+++`` line."""

    # --- the result ---

    def numbered(self) -> Iterator[PipeOp]:
        """Yield the operations with the pipes numbered as a program needs it: those that were inherited come first."""
        inherited = [number for number, pipe in enumerate(self._pipes) if pipe.inherited and pipe.whole]
        others = [number for number, pipe in enumerate(self._pipes) if not pipe.inherited]
        new = {old: number for number, old in enumerate(inherited + others)}
        for old in inherited:
            yield PipeOp(0, PipeOpKind.CREATE, new[old])
        for time, kind, pipe, end, n in self._operations:
            if pipe in new:
                yield PipeOp(time, kind, new[pipe], end, n)

    def counts(self) -> dict[str, int]:
        """Return how much of each kind was met; the keys are fields of the report."""
        inherited = [pipe for pipe in self._pipes if pipe.inherited]
        return self._count | {
            "inherited": sum(pipe.whole for pipe in inherited),
            "outside": sum(not pipe.whole for pipe in inherited),
        }


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


def _last_number(text: str) -> int:
    """Return the number at the end of arguments that are printed as numbers (-X raw); 0 where there is none."""
    match = re.search(r"(0x[0-9a-f]{1,16}|\d{1,20})\s*$", text)
    return _int(match[1]) if match is not None else 0


_HANDLERS: Final[dict[str, Callable[[Story, _Table, Call], None]]] = {
    **dict.fromkeys(("pipe", "pipe2"), Story._pipe),
    "close": Story._close,
    "close_range": Story._close_range,
    **dict.fromkeys(("dup", "dup2", "dup3"), Story._dup),
    **dict.fromkeys(("fcntl", "fcntl64"), Story._fcntl),
    **dict.fromkeys(_READS, Story._read),
    **dict.fromkeys(_WRITES, Story._write),
    **dict.fromkeys(_SPLICES, Story._splice),
    **dict.fromkeys(_FORKS, Story._fork),
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
FOLLOWED: Final = frozenset(_HANDLERS)
"""The names of the calls that are followed."""
