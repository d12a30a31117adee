"""The script for DTrace on FreeBSD that prints ``coalloc calls 1``: see :mod:`~coalloc.workload.calls`.

It uses the providers ``syscall`` and ``proc``.  A call does not tell which pipe a descriptor refers to, so the reader follows
the descriptors.  The script was written by the manual of dtrace(1), and has not run on a machine yet.
"""

from __future__ import annotations

from typing import Final

from coalloc.workload.calls import HEADER

__all__ = ["dtrace_script"]

_HEAD: Final = f"""#pragma D option quiet
#pragma D option bufsize=16m

dtrace:::BEGIN
{{
    printf("{HEADER} two-way\\n");
}}
"""
_FIONBIO: Final = 0x8004667E
_PROCESSES: Final = """
proc:::exec-success
/progenyof($target)/
{
    printf("%d %d %d %d exec\\n", timestamp, timestamp, cpu, pid);
}

proc:::exit
/progenyof($target)/
{
    printf("%d %d %d %d exit\\n", timestamp, timestamp, cpu, pid);
}

syscall::rfork:entry
/progenyof($target)/
{
    self->shares = (arg0 & 0x1004) == 0;
}

syscall::fork:return, syscall::vfork:return, syscall::rfork:return
/progenyof($target) && errno == 0 && arg1 > 0/
{
    printf("%d %d %d %d fork %d %d\\n", timestamp, timestamp, cpu, pid, arg1, self->shares);
    self->shares = 0;
}
"""


def _call(names: str, *lines: tuple[str, str] | tuple[str, str, str]) -> str:
    """Return the clauses of calls: what is noted when one begins, and the lines that are printed when it returns.

    A line has its format, its values, and perhaps a condition beside success.  The clauses run in this order.
    """
    entry, returns = (", ".join(f"syscall::{name}:{when}" for name in names.split()) for when in ("entry", "return"))
    return f"""
{entry}
/progenyof($target)/
{{
    self->begun = timestamp;
    self->a = arg0;
    self->b = arg1;
    self->c = arg2;
}}

{"".join(_printed(returns, *line) for line in lines)}{returns}
/self->begun/
{{
    self->begun = 0;
}}
"""


def _printed(returns: str, line: str, values: str, condition: str = "1") -> str:
    return f"""{returns}
/self->begun && errno == 0 && {condition}/
{{
    printf("%d %d %d %d {line}\\n", self->begun, timestamp, cpu, pid, {values});
}}

"""


def dtrace_script() -> str:
    """Return the script, for ``dtrace -c COMMAND`` or ``dtrace -p PID``."""
    moved = "(int)arg1 > 0"
    pair = "((int *)copyin(self->a, 8))"
    duplicates = "(self->b == 0 || self->b == 10 || self->b == 17 || self->b == 18)"
    return "".join((
        _HEAD,
        _PROCESSES,
        _call("pipe2", ("pipe %d %d %d", f"{pair}[0], {pair}[1], (self->b & 0x100000) != 0"),
              ("nonblock %d 1", f"{pair}[0]", "(self->b & 4) != 0"),
              ("nonblock %d 1", f"{pair}[1]", "(self->b & 4) != 0")),
        _call("read readv", ("read %d %d", "(int)self->a, (int)arg1", moved)),
        _call("write writev", ("write %d %d", "(int)self->a, (int)arg1", moved)),
        _call("close", ("close %d", "(int)self->a")),
        _call("closefrom", ("close_range %d 4294967295 0", "(int)self->a")),
        _call("close_range", ("close_range %d %u %d", "(int)self->a, (uint32_t)self->b, (self->c & 4) != 0")),
        _call("dup dup2", ("dup %d %d 0", "(int)self->a, (int)arg1")),
        _call("fcntl",
              ("cloexec %d %d", "(int)self->a, (int)self->c & 1", "self->b == 2"),
              ("nonblock %d %d", "(int)self->a, (self->c & 4) != 0", "self->b == 4"),
              ("dup %d %d %d", "(int)self->a, (int)arg1, self->b >= 17", duplicates)),
        _call("ioctl",
              ("nonblock %d %d", "(int)self->a, *(int *)copyin(self->c, 4) != 0", f"self->b == {_FIONBIO:#x}")),
    ))  # fmt: skip
