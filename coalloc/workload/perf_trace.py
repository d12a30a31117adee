"""Reader for what ``perf trace`` prints: calls with their beginnings and durations.

perf prints what a descriptor refers to, but from a cache that dup2 and close leave behind, so it is not used.  It prints the
address of a pipe's two descriptors, and neither the two nor the names of files that are opened: the descriptors are derived,
and the opens counted.  It leaves out arguments that are 0.  With ``--show-cpu`` (perf of Linux 7.2) a line says its CPU.

Source: the output of perf 6.1 and tools/perf/builtin-trace.c, also as of e445b78ffb8d.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from coalloc.workload.call_log import UNKNOWN_PAIR, CallLog
from coalloc.workload.formats import Format, Progress
from coalloc.workload.program import PipeProgram
from coalloc.workload.strace import ImportReport

__all__ = ["CALLS", "OFFERED"]

_MAKERS: Final = frozenset({
    "socket", "accept", "accept4", "epoll_create", "epoll_create1", "eventfd", "eventfd2", "memfd_create", "timerfd_create",
    "signalfd4", "inotify_init1", "pidfd_open", "pidfd_getfd", "creat", "openat2", "io_uring_setup",
})  # fmt: skip
"""Calls that make a descriptor that is no pipe, as far as perf tells."""
_DESCRIPTORS: Final = {
    **dict.fromkeys(("read", "write", "readv", "writev", "preadv2", "pwritev2", "close", "vmsplice"), ("fd",)),
    "dup": ("fildes",),
    **dict.fromkeys(("dup2", "dup3"), ("oldfd", "newfd")),
    "close_range": ("fd", "max_fd"),
    "splice": ("fd_in", "fd_out"),
    "tee": ("fdin", "fdout"),
    "sendfile": ("out_fd", "in_fd"),
}
"""The calls of which only their descriptors count, and what perf calls these."""
_FORKS: Final = frozenset({"fork", "vfork", "clone", "clone3"})
CALLS: Final = tuple(sorted(
    _DESCRIPTORS.keys() | _MAKERS | _FORKS | {
        "pipe", "pipe2", "open", "openat", "fcntl", "ioctl", "socketpair", "execve", "exit", "exit_group",
    }
))  # fmt: skip
"""The calls to record."""

_O_CLOEXEC: Final = 0o2000000
_NEGATIVE: Final = 1 << 63
"""Durations of this many ns and more were negative, and perf prints them without a sign."""
_LINE: Final = re.compile(
    r" {0,20}(?P<time>\?|\d{1,12}\.\d{3}) (?:\[(?P<cpu>\d{1,5})\] )?"
    r"\( {0,12}(?:(?P<took>\d{1,17}\.\d{3}) ms)? {0,12}\): "
    r"(?:[^/()]{1,32}(?:/[^/()]{1,32}){0,3}/(?P<tid>\d{1,10}) )?(?P<event>.*)"
)
_WHOLE: Final = re.compile(r"(?P<name>\w{1,32})\((?P<args>.*)\)\s+= (?P<result>\S{0,64})(?: .*)?")
_BEGUN: Final = re.compile(r"(?P<name>\w{1,32})\((?P<args>.*)\)? \.\.\.")
_CONTINUED: Final = re.compile(
    r" {0,4}\.\.\. \[continued\]: (?P<name>\w{1,32})\(\)\)?\s+= (?P<result>\S{0,64})(?: .*)?"
)
_NUMBER: Final = re.compile(r"(-?[1-9]\d{0,17}|0x[0-9a-f]{1,16}|0)(?:<.*)?")
_LAST: Final = re.compile(r"(?P<name>exit|exit_group)\(.*")
_LOST: Final = re.compile(r"LOST (\d{1,12}) events?!?")
_ARGUMENT: Final = re.compile(r'(\w{1,32}): ("[^"]*"|[^,<"]*)(?:<[^>]*>)?')


class _Reader:
    """Put the halves of calls together."""

    def __init__(self, log: CallLog) -> None:
        self._log = log
        self._pending: dict[int, tuple[str, str, int, int]] = {}
        self._early: dict[int, int] = {}
        self._told: set[int] = set()
        self._now = 0
        self._cpu = -1
        self._executed: set[int] = set()
        self._clones: list[tuple[int, int, int, int, int]] = []

    def take(self, line: str) -> None:
        log = self._log
        lost = _LOST.match(line)
        if lost is not None:
            log.lost += int(lost[1])
            return
        found = _LINE.fullmatch(line)
        if found is None:
            log.misread()
            return
        pid = int(found["tid"] or 1)
        self._cpu = int(found["cpu"] or -1)
        begun = self._now if found["time"] == "?" else _ns(found["time"])
        took = _ns(found["took"] or "0.000")
        ended = begun + (took if took < _NEGATIVE else 0)
        event = found["event"]
        half = _BEGUN.fullmatch(event)
        begins = half is not None and half["name"] == "execve"
        if pid in self._early:  # perf may print the return of an execve before its beginning
            since = begun if begins else self._now
            self._call(pid, "execve", "", "0", since, since, self._early.pop(pid))
            self._told.add(pid)
        if begins and pid in self._told:
            self._told.discard(pid)
            log.ignore()
            return
        if whole := _WHOLE.fullmatch(event):
            self._now = max(self._now, ended)
            self._call(pid, whole["name"], whole["args"], whole["result"], begun, ended, self._log.line)
        elif continued := _CONTINUED.fullmatch(event):
            self._now = max(self._now, ended)
            if pid in self._pending and self._pending[pid][0] == continued["name"]:
                name, args, since, line_number = self._pending.pop(pid)
                self._call(pid, name, args, continued["result"], since, max(since, ended), line_number)
            elif continued["name"] in _FORKS:  # in the child
                log.ignore()
            elif continued["name"] == "execve" and found["time"] == "?":
                self._early[pid] = self._log.line
            else:
                log.misses(f"the first half of this {continued['name']} is missing")
        elif half is not None and half["name"] not in ("exit", "exit_group"):
            if pid in self._pending:
                log.misses(f"the call before this one, {self._pending[pid][0]}, never returned")
            self._pending[pid] = half["name"], half["args"].removesuffix(")"), begun, self._log.line
        elif last := _LAST.fullmatch(event):
            log.end(pid, begun, threads=last["name"] == "exit_group", cpu=self._cpu)
        else:
            log.misread()

    def finish(self) -> None:
        """Take what never returned for cut, and tell threads from processes: what execs is no thread."""
        for name, *_ in self._pending.values():
            self._log.misses(f"this {name} never returned")
        for pid, child, begun, ended, line in self._clones:
            flags = "" if child in self._executed else "CLONE_FILES"
            self._log.call(pid, begun, ended, f"clone3({{flags={flags}}}", child, line=line)

    def _call(self, pid: int, name: str, args: str, returned: str, begun: int, ended: int, line: int) -> None:
        if name in ("exit", "exit_group"):
            self._log.end(pid, begun, threads=name == "exit_group", cpu=self._cpu)
            return
        number = _NUMBER.fullmatch(returned or "0")
        if number is None:  # flags in words
            self._log.ignore()
            return
        result = int(number[1], 0)
        if name == "execve" and not result:
            self._executed.add(pid)
        given = {key: value.strip() for key, value in _ARGUMENT.findall(args)}
        if name == "clone3" and result > 0:
            self._clones.append((pid, result, begun, ended, line))
            return
        text = self._text(name, given, result)
        if text is None:
            self._log.ignore()
        else:
            self._log.call(pid, begun, ended, text, result, line=line, cpu=self._cpu)

    def _text(self, name: str, given: dict[str, str], result: int) -> str | None:
        """Return a call as strace writes it; None for one of no interest."""
        flags = given.get("flags", "0")
        closes = "O_CLOEXEC" if "CLOEXEC" in flags or (flags.isdecimal() and int(flags) & _O_CLOEXEC) else "0"
        if name in _DESCRIPTORS:
            first, *others = (given.get(key, "0") for key in _DESCRIPTORS[name])
            arguments = {
                "splice": [first, "NULL", *others, "NULL", "0", "0"],
                "close_range": [first, *others, flags],
                "dup3": [first, *others, closes],
            }
            return f"{name}({', '.join(arguments.get(name, [first, *others]))}"
        if name in ("pipe", "pipe2", "socketpair"):
            return f"{name}({UNKNOWN_PAIR}, {closes}{'|O_NONBLOCK' if 'NONBLOCK' in flags else ''}"
        if name in ("open", "openat"):
            path = given.get("filename", "")
            if not path.startswith('"'):
                self._log.nameless += result >= 0
                path = '"?"'
            access = "O_WRONLY" if "WRONLY" in flags else "O_RDWR" if "RDWR" in flags else "O_RDONLY"
            return f"openat(AT_FDCWD, {path}, {access}|{closes}"
        if name in _MAKERS:
            return f"socket({closes}"
        if name in _FORKS:
            return f"clone(flags={'CLONE_FILES' if 'FILES' in given.get('clone_flags', '') else '0'}"
        if name == "execve":
            return "execve("
        if name == "ioctl":
            return f"ioctl({given.get('fd', '0')}, FIONBIO, ?" if given.get("cmd") == "FIONBIO" else None
        if name == "fcntl":
            command, value = given.get("cmd", "DUPFD"), given.get("arg", "0")
            if command == "SETFD" and "arg" in given:  # perf 6.1 prints FD_CLOEXEC as 0, and no argument where it is 0
                value = "FD_CLOEXEC"
            elif command == "SETFL":
                value = "O_NONBLOCK" if "NONBLOCK" in value else "0"
            return f"fcntl({given.get('fd', '0')}, F_{command}, {value}"
        return None


def _ns(milliseconds: str) -> int:
    whole, _, thousandths = milliseconds.partition(".")
    return int(whole) * 10**6 + int(thousandths) * 1000


def _recognises(first_line: bytes) -> bool:
    return _LINE.fullmatch(first_line.decode("utf-8", "replace")) is not None


def _read(lines: Iterator[bytes], name: str, progress: Progress) -> tuple[PipeProgram, ImportReport]:
    log = CallLog("perf trace", name, progress)
    reader = _Reader(log)
    for line in log.lines(lines):
        reader.take(line)
    reader.finish()
    return log.finish()


OFFERED: Final = (Format("perf", "output of perf trace", _recognises, _read),)
"""The format, for :data:`~coalloc.workload.formats.FORMATS`."""
