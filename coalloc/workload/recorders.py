"""What records the pipes of a running command: the tool, and the flags with which the importer can read what it writes.

The calls that are recorded are exactly those that the importer follows, so that neither is ever without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import attrs

from coalloc.workload.strace_story import FOLLOWED

__all__ = ["RECORDERS", "Recorder"]

_SHORTEST: Final = 8
"""Bytes of the data of a transfer that strace prints."""


@attrs.frozen
class Recorder:
    """A tool that records.

    Args:
        name: Its name, and that of its program.
        package: What to install to have it.
        arguments: Returns the arguments with which it records a command or running processes into a file:
            ``arguments(file, command, pids)``, where one of the two is empty.
    """

    name: str
    package: str
    arguments: Callable[[str, Sequence[str], Sequence[int]], list[str]]


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


RECORDERS: Final = {"strace": Recorder("strace", "strace", _strace)}
"""Every recorder by its name."""
