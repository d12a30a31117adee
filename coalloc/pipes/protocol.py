"""`Pipes`: what a runner needs of a kernel's pipes, whichever kernel it is, and the figures that all of them report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from coalloc.errors import Violation
from coalloc.pipes.budget import ROOT, ConsoleLine, Owner
from coalloc.sched.clock import SimClock
from coalloc.units import Extremes

__all__ = ["Pipe", "PipeCounters", "Pipes"]


@attrs.frozen
class PipeCounters:
    """What a pipe system has done, and what it holds; all exact, sizes in bytes.

    ``pipes_small`` counts pipes that were created with less than an ordinary buffer, or fewer slots.  ``resizes_in_place`` and
    ``resizes_moved`` count changes of a buffer that existed, not the first backing of a half.
    """

    pipes_created: int = 0
    pipes_refused: int = 0
    pipes_small: int = 0
    pipes: int = 0
    peak_pipes: int = 0
    writes: int = 0
    reads: int = 0
    bytes_written: int = 0
    bytes_read: int = 0
    resizes_in_place: int = 0
    resizes_moved: int = 0
    pipefragretry: int = 0
    pipeallocfail: int = 0
    piperesizefail: int = 0
    kva_used: int = 0
    peak_kva_used: int = 0


class Pipe(Protocol):
    """A pipe as its two ends see it; every ``end`` is 0 or 1, the index of the descriptor."""

    @property
    def finished(self) -> bool:
        """Whether both ends are closed, and nothing is held any more."""

    def buffered(self, end: int) -> int:
        """Return the bytes in the buffer that ``end`` reads from."""

    def readable(self, end: int) -> int:
        """Return the bytes that ``end`` can read now, those of a direct write in progress included."""

    def writes_directly(self, end: int) -> bool:
        """Tell whether a direct write from ``end`` is in progress, so that its writer sleeps."""

    def set_size(self, size: int) -> int:
        """Change the size (fcntl F_SETPIPE_SZ), and return it in bytes.

        Raises:
            PipeError: If the kernel does not allow it, or has no such call.
        """

    def write(self, end: int, data: int | bytes, *, direct: bool = False, rest_of: int = 0) -> int:
        """Write bytes, or a number of bytes that stand for any, and return how many were taken.

        Raises:
            PipeError: If none can be taken now.
        """

    def read(self, end: int, n: int, *, into: bytearray | None = None) -> int:
        """Read up to ``n`` bytes and return how many; 0 is the end of the file.

        Raises:
            PipeError: If there is nothing to read now.
        """

    def wakes_writer(self, end: int) -> bool:
        """Tell whether a writer at ``end`` that blocked would be woken."""

    def close(self, end: int) -> bool:
        """Close an end, and return whether that is finished."""


class Pipes(Protocol):
    """The pipes of a kernel."""

    @property
    def clock(self) -> SimClock:
        """Tells the simulated time; whoever runs the machine advances it."""

    @property
    def kva_used(self) -> int:
        """Bytes of all buffers."""

    @property
    def peak_kva_used(self) -> int:
        """Most bytes of all buffers at any time."""

    def extremes(self) -> Extremes:
        """Return the least and the most bytes of all buffers since the last call; those that are there begin the next."""

    @property
    def console_lines(self) -> Sequence[ConsoleLine]:
        """What was printed on the console, in order."""

    def pipe(self, owner: Owner = ROOT) -> Pipe:
        """Create a pipe.

        Raises:
            PipeError: If it cannot be had; nothing is held then.
        """

    def counters(self) -> PipeCounters:
        """Return what was counted as a frozen value."""

    def violations(self) -> tuple[Violation, ...]:
        """Return every broken invariant, recomputed from the pipes."""

    def check(self) -> None:
        """Raise InvariantViolation if ``violations()`` finds any."""
