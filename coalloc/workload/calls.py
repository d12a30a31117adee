"""Reader for ``coalloc calls 1``: lines that a script for bpftrace or DTrace prints, one for each call that concerns a pipe.

::

    coalloc calls 1
    # BEGUN ENDED CPU PROCESS CALL ARGUMENTS, times in ns
    1000 2000 0 77 pipe 3@9701 4@9701 0
    5000 6000 1 77 fork 78 0
    7000 8000 0 77 write 4@9701 6
    6500 9000 1 78 read 3@9701 6
    9500 9500 1 78 exit

Only calls that succeeded are printed, in any order.  A descriptor may name the pipe that it refers to, as a number behind an
``@`` that is the pipe's own while it exists; 0 says that it is no pipe.  Where nothing is named, descriptors are followed.

========================  =====================================================================================================
``pipe READ WRITE C``     a pipe was made; C is 1 where exec closes its descriptors, here and below, and otherwise 0
``read FD N``             N bytes were read; likewise ``write FD N``
``splice IN OUT N``       N bytes went from a pipe into a pipe, or between one and a file
``tee IN OUT N``          N bytes were copied from a pipe into a pipe
``close FD``              a descriptor was closed; ``close_range FIRST LAST C`` those of a range, now, or at exec where C is 1
``dup OLD NEW C``         a descriptor was copied (dup, dup2, F_DUPFD)
``cloexec FD C``          a descriptor was marked
``nonblock FD B END``     the end was made non-blocking (O_NONBLOCK) where B is 1, or blocking; new pipes are blocking
``resize FD BYTES END``   the size of a pipe was set; END may be left out here and above: 0 is the end that reads, 1 the other
``open FD C``             a descriptor was made by its name, or is none of a pipe
``fork PROCESS S``        a process or thread was made; S is 1 where it shares the descriptors
``exec``, ``exit``        of the process
========================  =====================================================================================================

Empty lines and lines that start with ``#`` are skipped, and so is what bpftrace prints before the first line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from coalloc.errors import ProgramError
from coalloc.workload.call_log import CallLog
from coalloc.workload.formats import Format, Progress
from coalloc.workload.program import PipeProgram
from coalloc.workload.strace import ImportReport

__all__ = ["HEADER", "OFFERED"]

HEADER: Final = "coalloc calls 1"
"""The first line."""
_TWO_WAY: Final = HEADER + " two-way"
"""The first line where each end of a pipe can be read and written, as on FreeBSD."""
_LINE: Final = re.compile(
    r"(\d{1,19}) (\d{1,19}) (\d{1,5}) (\d{1,10}) ([a-z_]{1,16})((?: \d{1,10}(?:@\d{1,18})?){0,3})"
)
_LOST: Final = re.compile(r"Lost (\d{1,12}) events")
_ATTACHING: Final = b"Attaching "
_N_ARGUMENTS: Final = {
    "pipe": 3, "read": 2, "write": 2, "splice": 3, "tee": 3, "close": 1, "close_range": 3, "dup": 3, "cloexec": 2,
    "nonblock": 2, "resize": 2, "open": 2, "fork": 2, "exec": 0, "exit": 0,
}  # fmt: skip


def _fd(word: str) -> str:
    """Write a descriptor as strace -y does."""
    number, at, pipe = word.partition("@")
    return number if not at else f"{number}<pipe:[{pipe}]>" if pipe != "0" else f"{number}</>"


def _text(name: str, words: list[str]) -> tuple[str, int]:
    """Return a call as strace writes it, and what it returns.

    What a descriptor that was opened by its name refers to is shown behind the result, as for any call that strace decorates;
    of the calls that are followed, pidfd_getfd asks for nothing else.
    """
    last = int(words[-1].partition("@")[0]) if words else 0
    flags = "O_CLOEXEC" if last else "0"
    match name:
        case "pipe":
            return f"pipe2([{_fd(words[0])}, {_fd(words[1])}], {flags}", 0
        case "read" | "write":
            return f"{name}({_fd(words[0])}, ", last
        case "splice":
            return f"splice({_fd(words[0])}, NULL, {_fd(words[1])}, NULL, {last}, 0", last
        case "tee":
            return f"tee({_fd(words[0])}, {_fd(words[1])}, {last}, 0", last
        case "close":
            return f"close({_fd(words[0])}", 0
        case "close_range":
            return f"close_range({words[0]}, {words[1]}, {'CLOSE_RANGE_CLOEXEC' if last else '0'}", 0
        case "dup":
            return f"dup3({_fd(words[0])}, {words[1]}, {flags}", int(words[1].partition("@")[0])
        case "cloexec":
            return f"fcntl({_fd(words[0])}, F_SETFD, {'FD_CLOEXEC' if last else '0'}", 0
        case "nonblock":
            return f"fcntl({_fd(words[0])}, F_SETFL, {'O_NONBLOCK' if last else '0'}", 0
        case "resize":
            return f"fcntl({_fd(words[0])}, F_SETPIPE_SZ, {last}", last
        case "open" if "@" in words[0] and not words[0].endswith("@0"):
            return "pidfd_getfd(0, 0, 0", int(words[0].partition("@")[0])
        case "open":
            return f"socket({flags}", int(words[0].partition("@")[0])
        case "fork":
            return f"clone(flags={'CLONE_FILES' if last else '0'}", int(words[0].partition("@")[0])
        case _:
            return "execve(", 0


def _take(log: CallLog, line: str) -> None:
    if not line.strip() or line.startswith(("#", "Attaching ", HEADER)):
        log.ignore()
        return
    lost = _LOST.match(line)
    if lost is not None:
        log.lost += int(lost[1])
        return
    found = _LINE.fullmatch(line)
    words = found[6].split() if found is not None else []
    shown = ""
    if found is not None and found[5] in ("nonblock", "resize") and len(words) == 3:
        shown = f"<end {words.pop()}>"
    if found is None or _N_ARGUMENTS.get(found[5]) != len(words):
        log.misread()
        return
    begun, ended, cpu, pid = (int(found[n]) for n in range(1, 5))
    if found[5] == "exit":
        log.end(pid, begun, cpu=cpu)
        return
    if found[5] == "nonblock":
        begun = ended  # the call that made a pipe may have begun when this says so, too
    text, result = _text(found[5], words)
    if found[5] == "open":
        shown = _fd(words[0]).lstrip("0123456789")
    log.call(pid, begun, ended, text, result, shown=shown, cpu=cpu)
    if found[5] == "open" and shown and words[1] == "1":
        log.call(pid, ended, ended, f"fcntl({_fd(words[0])}, F_SETFD, FD_CLOEXEC", 0, cpu=cpu)


def _recognises(first_line: bytes) -> bool:
    return first_line.startswith((b"coalloc calls ", _ATTACHING))


def _read(lines: Iterator[bytes], name: str, progress: Progress) -> tuple[PipeProgram, ImportReport]:
    first = next(lines, b"")
    skipped = 0
    while first.startswith(_ATTACHING) or not first.strip():
        following = next(lines, None)
        if following is None:
            break
        first, skipped = following, skipped + 1
    header = first.decode("utf-8", "replace")
    if header not in (HEADER, _TWO_WAY):
        raise ProgramError(f"the first line must be {HEADER!r} or {_TWO_WAY!r}", name, skipped + 1)
    log = CallLog("coalloc calls", name, progress, header=skipped + 1, two_way=header == _TWO_WAY)
    for line in log.lines(lines):
        _take(log, line)
    return log.finish()


OFFERED: Final = (Format("calls", "lines of the scripts for bpftrace and DTrace", _recognises, _read),)
"""The format, for :data:`~coalloc.workload.formats.FORMATS`."""
