"""Reader for what FreeBSD's ``kdump -T`` prints of a ktrace: a line when a call begins (CALL) and one when it returns (RET).

The name of a file that a call looks up is in a line between the two (NAMI).

Source: kdump(1) and usr.bin/kdump/kdump.c of FreeBSD 14; the lines of NetBSD and OpenBSD have the same fields.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import attrs

from coalloc.workload.bsd_calls import as_strace, number
from coalloc.workload.call_log import CallLog
from coalloc.workload.formats import Format, Progress
from coalloc.workload.program import PipeProgram
from coalloc.workload.strace import ImportReport

__all__ = ["OFFERED"]

_LINE: Final = re.compile(
    r" {0,12}(?P<pid>\d{1,10}) +(?:(?P<tid>\d{1,10}) +)?(?P<command>\S.{0,31}?) +"
    r"(?:(?P<seconds>\d{1,12})\.(?P<part>\d{6,9}) +)?"
    r"(?P<kind>CALL|RET|NAMI|GIO|STRU|STRUCT|PSIG|CSW|USER|SCTL|CAP|PFLT|PRET|TRAC|EXEC|ARGS|EMUL|MOOL|MIB|PLDG) +(?P<event>.*)"
)
_CALL: Final = re.compile(r"(?P<name>[\w.]{1,40})(?:\((?P<args>.*)\))?")
_RETURN: Final = re.compile(
    r"(?P<name>[\w.]{1,40}) (?P<result>JUSTRETURN|RESTART|-?\d{1,18}|0x[0-9a-f]{1,16})(?:[ /,].*)?"
)
_EXITS: Final = frozenset({"exit", "_exit", "sys_exit"})


@attrs.define
class _Begun:
    """A call that has begun."""

    name: str
    args: str
    at: int
    line: int
    path: str | None = None


class _Reader:
    """Put the lines of calls together."""

    def __init__(self, log: CallLog) -> None:
        self._log = log
        self._begun: dict[int, _Begun] = {}
        self._now = 0
        self._in_data = False

    def take(self, line: str) -> None:
        found = _LINE.fullmatch(line)
        if found is None:
            if self._in_data or not line.strip():  # of a GIO or a STRU
                self._log.ignore()
            else:
                self._log.misread()
            return
        kind, event = found["kind"], found["event"]
        self._in_data = kind not in ("CALL", "RET")
        thread = int(found["tid"] or found["pid"])
        if found["seconds"]:
            self._now = int(found["seconds"]) * 10**9 + int(found["part"].ljust(9, "0"))
        else:
            self._now += 1000  # without times, a line is a microsecond later than the line before
        if kind == "CALL" and (call := _CALL.fullmatch(event)):
            name = call["name"]
            if name in _EXITS:
                self._log.end(int(found["pid"]), self._now)
            else:
                if thread in self._begun:
                    self._log.misses(f"the call before this one, {self._begun[thread].name}, never returned")
                self._begun[thread] = _Begun(name, call["args"] or "", self._now, self._log.line)
        elif kind == "RET" and (returned := _RETURN.fullmatch(event)):
            self._return(int(found["pid"]), thread, returned["name"], returned["result"])
        elif kind == "NAMI" and thread in self._begun:
            begun = self._begun[thread]
            begun.path = begun.path or event.strip().strip('"')
            self._log.ignore()
        elif kind in ("CALL", "RET"):
            self._log.misread()
        else:
            self._log.ignore()

    def _return(self, pid: int, thread: int, name: str, result: str) -> None:
        begun = self._begun.pop(thread, None)
        if begun is None or begun.name != name:
            if name.endswith("fork") or name == "ktrace":  # a child's, or the one that began the recording
                self._log.ignore()
            else:
                self._log.misses(f"the first half of this {name} is missing")
            return
        text = as_strace(name, begun.args, path=begun.path)
        if text is None or result == "RESTART":
            self._log.ignore()
            return
        value = 0 if result == "JUSTRETURN" or name.endswith("pipe") else number(result)
        self._log.call(pid, begun.at, self._now, text, value, line=begun.line)

    def finish(self) -> None:
        """Take what never returned for cut."""
        for begun in self._begun.values():
            self._log.misses(f"this {begun.name} never returned")


def _recognises(first_line: bytes) -> bool:
    return _LINE.fullmatch(first_line.decode("utf-8", "replace")) is not None


def _read(lines: Iterator[bytes], name: str, progress: Progress) -> tuple[PipeProgram, ImportReport]:
    log = CallLog("kdump", name, progress, two_way=True)
    reader = _Reader(log)
    for line in log.lines(lines):
        reader.take(line)
    reader.finish()
    return log.finish()


OFFERED: Final = (Format("kdump", "output of FreeBSD's kdump -T", _recognises, _read),)
"""The format, for :data:`~coalloc.workload.formats.FORMATS`."""
