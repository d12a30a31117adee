"""`CallLog`: calls that another tool than strace recorded, imported as if strace had printed them.

A reader adds each call with the times at which it began and ended, as far as its tool tells them; the log puts the calls in
order.  A call is written as strace writes it, since that is what :mod:`~coalloc.workload.strace_story` follows.  Where a tool
does not record the descriptors of a new pipe, they are derived (:mod:`~coalloc.workload.descriptors`).
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from coalloc.errors import ProgramError
from coalloc.workload.descriptors import Numbers
from coalloc.workload.foreign_log import ForeignLog
from coalloc.workload.formats import Progress
from coalloc.workload.program import MOST_CPUS, PipeProgram
from coalloc.workload.strace import ImportReport, imported, without_collector
from coalloc.workload.strace_lines import Lines, Problems
from coalloc.workload.strace_story import FOLLOWED, FORKS

__all__ = ["UNKNOWN_PAIR", "CallLog"]

UNKNOWN_PAIR: Final = "[?, ?]"
"""What stands for the descriptors of a pipe that are not recorded."""
_EPOCH: Final = 10**18
"""Added to times, in ns, so that they are dates for :class:`~coalloc.workload.strace_lines.Lines`."""
_LAST: Final = 10**18
_MAKERS: Final = frozenset({"openat", "socket", "dup"})
_FD: Final = re.compile(r"\d{1,9}")
_END: Final = "+++ exited with 0 +++"
_END_OF_ALL: Final = "exit_group(0) = ?"


class CallLog(ForeignLog):
    """Take calls in the order of a file's lines, and import them.

    Args:
        tool: The name of the tool, for errors.
        name: The name of the file.
        progress: Is told how many lines have been read.
        header: How many lines were read before.
        two_way: Whether each end of a pipe can be read and written, as on FreeBSD.

    Attributes:
        nameless: How many opens had no file name.
        lost: How many events the tool lost.
    """

    def __init__(
        self, tool: str, name: str, progress: Progress = None, *, header: int = 0, two_way: bool = False
    ) -> None:
        super().__init__(tool, name, progress, header=header)
        self._two_way = two_way
        self._pids, self._results, self._origins = array("q"), array("q"), array("q")
        self._cpus = array("h")
        self._texts: list[str] = []
        self._shown: dict[int, str] = {}
        self._times, self._events = array("q"), array("q")
        self._truncated = 0
        self.nameless = self.lost = 0

    def call(
        self,
        pid: int,
        begun: int,
        ended: int,
        text: str,
        result: int,
        *,
        line: int | None = None,
        shown: str = "",
        cpu: int = -1,
    ) -> None:
        """Add a call that returned.

        Args:
            pid: The process or thread.
            begun: When it began, in ns; 0 or more.
            ended: When it ended, in ns.
            text: Its name and arguments, as strace writes them.
            result: What it returned.
            line: The number of the line at which it began, from 1; the current one if None.
            shown: What is printed behind the result.
            cpu: The CPU on which it ran; -1 if that is not known.
        """
        number = len(self._texts)
        if shown:
            self._shown[number] = shown
        self._pids.append(pid)
        self._texts.append(text)
        self._results.append(result)
        self._origins.append(line or self.line)
        self._cpus.append(cpu if cpu < MOST_CPUS else -1)
        ended = min(max(begun, ended), _LAST)
        self._times.append(min(begun, _LAST))
        self._events.append(2 * number)
        self._times.append(ended)
        self._events.append(2 * number + 1)

    def end(self, pid: int, at: int, *, threads: bool = False, cpu: int = -1) -> None:
        """Note that a process or thread has ended, or a process with all its threads."""
        self._pids.append(pid)
        self._texts.append(_END_OF_ALL if threads else _END)
        self._results.append(0)
        self._origins.append(self.line)
        self._cpus.append(cpu if cpu < MOST_CPUS else -1)
        self._times.append(min(at, _LAST))
        self._events.append(2 * len(self._texts) - 1)

    def misses(self, what: str) -> None:
        """Count a call whose other half is not recorded."""
        self._truncated += 1
        self.note(what)

    def finish(self) -> tuple[PipeProgram, ImportReport]:
        """Return the program, and the report.

        Raises:
            ProgramError: If lines were not understood, and no call was.
        """
        if self.unknown and not self._texts:
            raise ProgramError(f"has no line of {self.tool}", self.name)
        numbers = Numbers()
        written = array("q")  # by line of the log that is made: the number of its call
        log = Lines(FOLLOWED)
        with without_collector():
            log.take(self._as_strace(numbers, written.append), lambda _: None)
            log.finish()
            made = imported(log, self.name, "", two_way=self._two_way, cpu_at=lambda line: self._cpus[written[line]])
        report = made.report
        problems = [(int(self._origins[written[line - 1]]), what) for line, what in report.problems]
        return made.program, attrs.evolve(
            report,
            lines=self.line,
            ignored=self.ignored + report.ignored,
            unknown=self.unknown,
            truncated=self._truncated + report.truncated,
            derived=numbers.derived,
            misderived=numbers.misderived,
            nameless=self.nameless,
            lost=self.lost,
            problems=tuple(sorted((*problems, *self.problems.in_order()))[: Problems.MOST]),
        )

    def _as_strace(self, numbers: Numbers, note: Callable[[int], None]) -> Iterator[bytes]:
        """Yield the lines in the order of their times, and note the call of each; one without others within is one line."""
        times, events = self._times, self._events
        order = sorted(range(len(times)), key=times.__getitem__)
        following = iter([*order[1:], -1])
        waits: dict[int, str] = {}  # the calls that have begun, by their numbers
        for index in order:
            then = next(following)
            event = events[index]
            number, ends = divmod(event, 2)
            pid, text = self._pids[number], self._texts[number]
            whole = not ends and then >= 0 and events[then] == event + 1
            if whole:
                waits[number] = ""
                self._fork(numbers, number)
                continue
            seconds, rest = divmod(times[index] + _EPOCH, 10**9)
            start = f"{pid} {seconds}.{rest // 1000:06} "
            note(number)
            if text in (_END, _END_OF_ALL):
                numbers.exit(pid)
                yield f"{start}{text}".encode()
                continue
            name, _, arguments = text.partition("(")
            if not ends:
                waits[number] = name
                self._fork(numbers, number)
                yield f"{start}{name}( <unfinished ...>".encode()
                continue
            contradicted = numbers.misderived
            arguments = self._follow(numbers, pid, name, arguments, self._results[number])
            if numbers.misderived > contradicted:
                what = f"this {name} got a number that should be that of a pipe"
                self.problems.add(self._origins[number] - 1, what)
            begun = f"<... {name} resumed> " if waits.pop(number) else f"{name}("
            yield f"{start}{begun}{arguments}) = {self._results[number]}{self._shown.get(number, '')}".encode()

    def _fork(self, numbers: Numbers, number: int) -> None:
        """Give a child its numbers when its fork begins: the child may run before the call returns."""
        text, child = self._texts[number], self._results[number]
        if child > 0 and text.partition("(")[0] in FORKS:
            numbers.fork(self._pids[number], child, shares="CLONE_FILES" in text)

    def _follow(self, numbers: Numbers, pid: int, name: str, arguments: str, result: int) -> str:
        """Follow the numbers in use, and return the arguments with those of a new pipe."""
        if result < 0:
            return arguments
        if name in ("pipe", "pipe2", "socketpair"):
            closes = "CLOEXEC" in arguments
            if arguments.startswith(UNKNOWN_PAIR):
                first, second = numbers.pipe(pid, closes=closes, counts=name != "socketpair")
                return f"[{first}, {second}]{arguments.removeprefix(UNKNOWN_PAIR)}"
            for fd in _FD.findall(arguments)[:1]:
                numbers.made(pid, int(fd), closes=closes)
            return arguments
        if name in _MAKERS:
            numbers.made(pid, result, closes="O_CLOEXEC" in arguments)
        elif name in ("dup2", "dup3"):
            numbers.chosen(pid, result, closes="O_CLOEXEC" in arguments)
        elif name == "execve":
            numbers.exec(pid)
        elif name in ("close", "close_range", "fcntl"):
            self._follow_number(numbers, pid, name, arguments, result)
        return arguments

    def _follow_number(self, numbers: Numbers, pid: int, name: str, arguments: str, result: int) -> None:
        parts = arguments.split(", ")
        fd = _FD.match(parts[0])
        if fd is None:
            return
        number = int(fd[0])
        if name == "close":
            numbers.close(pid, number)
        elif name == "close_range":
            last = _FD.fullmatch(parts[1]) if len(parts) > 1 else None
            on_exec = "CLOSE_RANGE_CLOEXEC" in arguments
            numbers.close_range(pid, number, int(last[0]) if last else None, on_exec=on_exec)
        elif "F_DUPFD" in arguments:
            numbers.chosen(pid, result, closes="F_DUPFD_CLOEXEC" in arguments)
        elif "F_SETFD" in arguments:
            numbers.mark(pid, number, closes="FD_CLOEXEC" in arguments)
