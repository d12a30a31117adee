"""Reader for what FreeBSD's ``truss -f -d`` prints: a line when a call has returned, with the seconds since truss began.

Source: truss(1) and usr.bin/truss of FreeBSD 14.  The times are those at which calls returned, so that a write that waited
seems to take effect when it ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from coalloc.workload.bsd_calls import as_strace, number
from coalloc.workload.call_log import CallLog
from coalloc.workload.formats import Format, Progress
from coalloc.workload.program import PipeProgram
from coalloc.workload.strace import ImportReport

__all__ = ["OFFERED"]

_LINE: Final = re.compile(
    r" {0,12}(?:(?P<pid>\d{1,10}): )?(?: {0,12}(?P<tid>\d{1,10}): )?(?:(?P<time>\d{1,10}\.\d{9}) )?"
    r"(?:\d{1,10}\.\d{9} )?(?P<event>\S.*)"
)
_CALL: Final = re.compile(
    r"(?P<name>\w{1,40}|compat11\.\w{1,32})\((?P<args>.*)\)\s+"
    r"(?:= (?P<result>-?\d{1,18}|0x[0-9a-f]{1,16})(?: .*)?|(?P<replaced>EJUSTRETURN)|ERR#\d.*)"
)
_BEGUN: Final = re.compile(r"(?:exit|_exit|thr_exit|thr_new)\(.*")
_OTHER: Final = re.compile(r"SIGNAL \d.*|<new (?:process|thread).*>|<thread \d+ exited>|.*\( ?\.\.\. \)?.*")
_EXIT: Final = re.compile(r"process (?:exit, rval = \d+|killed, signal = \d+.*)")


def _take(log: CallLog, line: str, now: int) -> int:
    """Take a line, and return its time, in ns."""
    found = _LINE.fullmatch(line)
    if found is None:
        log.misread()
        return now
    pid = int(found["pid"] or 1)
    if found["time"]:
        seconds, _, nanos = found["time"].partition(".")
        now = int(seconds) * 10**9 + int(nanos)
    else:
        now += 1000  # without times, a line is a microsecond later than the line before
    event = found["event"]
    call = _CALL.fullmatch(event)
    if call is not None:
        text = as_strace(call["name"], call["args"])
        result = "0" if call["replaced"] else call["result"]
        if text is None or result is None:
            log.ignore()
        else:
            log.call(pid, now, now, text, number(result))
    elif _EXIT.fullmatch(event):
        log.end(pid, now)
    elif _OTHER.fullmatch(event) or _BEGUN.fullmatch(event):
        log.ignore()
    else:
        log.misread()
    return now


def _recognises(first_line: bytes) -> bool:
    found = _LINE.fullmatch(first_line.decode("utf-8", "replace"))
    if found is None:
        return False
    event = found["event"]
    call = _CALL.fullmatch(event)
    known = call is not None and (call["result"] is None or re.search(r" = -?\d+ \(0x[0-9a-f]+\)$", event) is not None)
    return known or (found["pid"] is not None and _EXIT.fullmatch(event) is not None)


def _read(lines: Iterator[bytes], name: str, progress: Progress) -> tuple[PipeProgram, ImportReport]:
    log, now = CallLog("truss", name, progress, two_way=True), 0
    for line in log.lines(lines):
        now = _take(log, line, now)
    return log.finish()


OFFERED: Final = (Format("truss", "output of FreeBSD's truss -f -d", _recognises, _read),)
"""The format, for :data:`~coalloc.workload.formats.FORMATS`."""
