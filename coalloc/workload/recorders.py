"""What records the pipes of a running command: the tools, and the flags with which the readers can read what they write.

The calls that strace and perf record are exactly those that the readers follow, so that neither is ever without the other.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from coalloc.workload.bpftrace_script import bpftrace_script
from coalloc.workload.dtrace_script import dtrace_script
from coalloc.workload.perf_trace import CALLS
from coalloc.workload.strace_story import FOLLOWED

__all__ = ["INSTRUCTIONS", "RECORDERS", "Recorder"]

_SHORTEST: Final = 8
"""Bytes of the data of a transfer that strace and truss print."""


@attrs.frozen
class Recorder:
    """A tool that records.

    Args:
        name: Its name, and that of its program.
        package: What to install to have it, on Debian.
        arguments: Returns the arguments with which it records a command or running processes into a file:
            ``arguments(file, command, pids)``, where one of the two is empty.
        tells_status: Whether it exits with the status of the command.
        root: Whether only root can use it.
    """

    name: str
    package: str
    arguments: Callable[[str, Sequence[str], Sequence[int]], list[str]]
    tells_status: bool = True
    root: bool = False


def _strace(file: str, command: Sequence[str], pids: Sequence[int]) -> list[str]:
    """Return the arguments of strace: descriptors with what they refer to (-y), and exact times.

    A call that the machine does not have is passed over (``?``).
    """
    calls = ",".join(f"?{name}" for name in sorted(FOLLOWED | {"io_uring_setup", "io_uring_enter"}))
    attached = [argument for pid in pids for argument in ("-p", str(pid))]
    return [
        *("strace", "-f", "-y", "-ttt", "-q", "-s", str(_SHORTEST), "-o", file, "-e", f"trace={calls}"),
        *attached,
        *(["--", *command] if command else []),
    ]


def _bpftrace(file: str, command: Sequence[str], pids: Sequence[int]) -> list[str]:
    run = ["-c", shlex.join(command)] if command else []
    return ["bpftrace", "-B", "full", "-o", file, *run, "-e", bpftrace_script(pids)]


def _perf(file: str, command: Sequence[str], pids: Sequence[int]) -> list[str]:
    what = ["--", *command] if command else ["-p", ",".join(map(str, pids))]
    return ["perf", "trace", "-o", file, "-e", ",".join(CALLS), *what]


RECORDERS: Final = {
    "strace": Recorder("strace", "strace", _strace),
    "bpftrace": Recorder("bpftrace", "bpftrace", _bpftrace, tells_status=False, root=True),
    "perf": Recorder("perf", "linux-perf", _perf, tells_status=False),
}
"""Every recorder by its name."""


def _print_bpftrace(command: str) -> str:
    how = f"// Run as root: bpftrace -B full -o recording.calls -c {shlex.quote(command)} THIS_FILE\n"
    return how + bpftrace_script()


def _print_dtrace(command: str) -> str:
    how = f"/* Run as root on FreeBSD: dtrace -o recording.calls -c {shlex.quote(command)} -s THIS_FILE */\n"
    return how + dtrace_script()


def _print_ktrace(command: str) -> str:
    return f"ktrace -i -t cn -f ktrace.out {command}\nkdump -T -s -f ktrace.out > recording.kdump\n"


def _print_truss(command: str) -> str:
    return f"truss -f -d -s {_SHORTEST} -o recording.truss {command}\n"


INSTRUCTIONS: Final[Mapping[str, Callable[[str], str]]] = {
    "bpftrace": _print_bpftrace,
    "dtrace": _print_dtrace,
    "ktrace": _print_ktrace,
    "truss": _print_truss,
}
"""What to run on another machine, by the tool: a function of the command."""
