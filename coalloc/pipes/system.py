"""`PipeSystem`: pipe(2), its counters and its sysctl variables, over any space, in any era; checks PI1, PI2, PI3 and PI5."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Final

from coalloc.checked import Checked
from coalloc.errors import BadFreeError, InvalidRequestError, PipeError, Violation
from coalloc.pipes.budget import ROOT, ConsoleLine, Owner
from coalloc.pipes.buffers import Buffers
from coalloc.pipes.eras import PIPE_BLOCKS, SMALL_PIPE_SIZE, Backing, Era, Numbers
from coalloc.pipes.half import Half
from coalloc.pipes.pair import PipePair
from coalloc.pipes.protocol import PipeCounters
from coalloc.sched.clock import SimClock
from coalloc.space.protocol import FullSpace
from coalloc.units import Extremes

__all__ = ["PipeCounters", "PipeSystem"]

_RULE: Final = Backing.RULE  # as in buffers
_AT_ONCE: Final = {Backing.SMALL: SMALL_PIPE_SIZE, Backing.BLOCK: PIPE_BLOCKS[0]}
_AT_CREATION: Final = Numbers.AT_CREATION


class PipeSystem(Buffers, Checked):
    """Create pipes, and give them buffers from a space.

    A system is the :class:`~coalloc.pipes.buffers.Buffers` of its pipes, whose attributes are therefore its own.

    Args:
        space: Where buffers come from.
        era: Whose policy holds; see :data:`~coalloc.pipes.eras.ERAS`.
        maxpipekva: kern.ipc.maxpipekva in bytes, > 0.
        clock: Tells the simulated time, for the console; one of its own if None.
        resize_in_place: Let the space change a buffer where it lies, if it can; the kernels always move (B9).
        maxpipes: kern.ipc.maxpipes, how many buffers there are when a further one is refused, in eras that have it: there is
            one more than this at most; None enforces none.
        maxpipekvawired: kern.ipc.maxpipekvawired in bytes, in eras that have it; None enforces none.
        hz: Clock ticks a second.

    Raises:
        InvalidRequestError: For an argument outside its range.

    Source:
        FreeBSD sys_pipe.c; B1 to B17, B19 to B23.

    >>> from coalloc.pipes.states import ERAS
    >>> from coalloc.space import PerPipeSpace
    >>> from coalloc.vm import KernelMap
    >>> space = PerPipeSpace(KernelMap(), kva_limit=1 << 20)
    >>> system = PipeSystem(space, ERAS["2006"], maxpipekva=1 << 20)
    >>> pipe = system.pipe()
    >>> pipe.write(1, 100), pipe.read(0, 4096)
    (100, 100)
    >>> pipe.close(1), pipe.read(0, 4096)
    (True, 0)
    """

    __slots__ = ("_created", "_pairs", "_peak_pipes", "_refused", "_small")

    def __init__(
        self,
        space: FullSpace,
        era: Era,
        *,
        maxpipekva: int,
        clock: SimClock | None = None,
        resize_in_place: bool = False,
        maxpipes: int | None = None,
        maxpipekvawired: int | None = None,
        hz: int = 100,
    ) -> None:
        super().__init__(space, era, maxpipekva=maxpipekva, clock=clock, resize_in_place=resize_in_place, hz=hz)
        if maxpipes is not None and (type(maxpipes) is not int or maxpipes < 2):
            raise InvalidRequestError("maxpipes", maxpipes, "must be an int >= 2, or None")
        if maxpipekvawired is not None and (type(maxpipekvawired) is not int or maxpipekvawired < 0):
            raise InvalidRequestError("maxpipekvawired", maxpipekvawired, "must be an int >= 0, or None")
        self.maxpipekvawired = maxpipekvawired if era.accounts_wired else None
        self.maxpipes = maxpipes if "maxpipes" in era.sysctls else None
        self._pairs: dict[int, PipePair] = {}
        self._created = self._refused = self._small = self._peak_pipes = 0

    # --- pipe(2) -----------------------------------------------------------------------------------

    def pipe(self, owner: Owner = ROOT) -> PipePair:
        """Create a pipe.

        Args:
            owner: Who is charged for its buffers.

        Raises:
            PipeError: With the era's error number, if there is no buffer to be had; nothing is held then (B13, B17).

        Complexity: One or two allocations of the space.
        """
        era = self.era
        pair = PipePair(self, self._pairs, self._created + self._refused, owner)
        forward, reverse = pair.halves
        order = ((forward, era.forward), (reverse, era.reverse))
        for half, backing in reversed(order) if era.reverse_first else order:
            size = self.rule_size if backing is _RULE else _AT_ONCE.get(backing, 0)
            if size and not self.get_buffer(half, size) and era.create_errno is not None:
                for each in pair.halves:
                    self.free_buffer(each)
                self._refuse()
            if era.numbers is _AT_CREATION and half.size:
                self.draw_number(half)
        self._created += 1
        self._small += 0 < forward.size < era.pipe_size
        self._pairs[pair.number] = pair
        if len(self._pairs) > self._peak_pipes:
            self._peak_pipes = len(self._pairs)
        return pair

    def _refuse(self) -> None:
        self._refused += 1
        raise PipeError(self.era.create_errno or errno.ENOMEM, "pipe")

    # --- what it holds -------------------------------------------------------------------------------

    @property
    def pairs(self) -> tuple[PipePair, ...]:
        """The pipes that exist, oldest first."""
        return tuple(self._pairs.values())

    @property
    def kva_used(self) -> int:
        """Bytes of all buffers (kern.ipc.pipekva)."""
        return self.budget.kva_used

    @property
    def peak_kva_used(self) -> int:
        """Most bytes of all buffers at any time."""
        return self.budget.peak

    def extremes(self) -> Extremes:
        """Return the least and the most bytes of all buffers since the last call; those that are there begin the next."""
        return self.budget.extremes()

    @property
    def console_lines(self) -> Sequence[ConsoleLine]:
        """What was printed on the console, in order."""
        return self.console.lines

    def counters(self) -> PipeCounters:
        """Return the counters as a frozen value."""
        return PipeCounters(
            pipes_created=self._created,
            pipes_refused=self._refused,
            pipes_small=self._small,
            pipes=len(self._pairs),
            peak_pipes=self._peak_pipes,
            writes=self.writes,
            reads=self.reads,
            bytes_written=self.bytes_written,
            bytes_read=self.bytes_read,
            resizes_in_place=self.resized_in_place,
            resizes_moved=self.resized_by_move,
            pipefragretry=self.pipefragretry,
            pipeallocfail=self.pipeallocfail,
            piperesizefail=self.piperesizefail,
            kva_used=self.kva_used,
            peak_kva_used=self.peak_kva_used,
        )

    def sysctl(self) -> dict[str, int]:
        """Return the kern.ipc variables of pipes by their kernel names, sorted.

        The failure counters are kept, and shown, in eras that did not export them, too; further names come with the era.
        """
        values = {
            "maxpipekva": self.budget.maxpipekva,
            "pipekva": self.budget.kva_used,
            "pipefragretry": self.pipefragretry,
            "pipeallocfail": self.pipeallocfail,
            "piperesizefail": self.piperesizefail,
        }
        if self.era.shrinks:
            values["piperesizeallowed"] = int(self.piperesizeallowed)
        further = {
            "pipes": self.n_buffers if "maxpipes" in self.era.sysctls else 2 * len(self._pairs),
            "maxpipes": self.maxpipes or 0,
            "pipebuf_reserv": self.era.reserve_percent,
            "pipe_mindirect": self.pipe_mindirect,
            "maxpipekvawired": self.maxpipekvawired or 0,
            "pipekvawired": self.pipekvawired,
        }
        values |= {name: further[name] for name in self.era.sysctls}
        return {f"kern.ipc.{name}": values[name] for name in sorted(values)}

    # --- check -------------------------------------------------------------------------------------

    def violations(self) -> tuple[Violation, ...]:
        """Return every breach of PI1, PI2, PI3 and PI5, recomputed from the halves."""
        found = []
        halves = [half for pair in self._pairs.values() for half in pair.halves]
        total = sum(half.size for half in halves)
        if self.budget.kva_used != total:
            found.append(Violation("PI1", f"kva_used is {self.budget.kva_used}, the buffers hold {total}"))
        if self.era.maxpipekva_is_hard and total > self.budget.maxpipekva:
            found.append(Violation("PI1", f"the buffers hold {total}, maxpipekva is {self.budget.maxpipekva}"))
        wired = sum(half.wired for half in halves)
        if self.pipekvawired != wired:
            found.append(Violation("PI1", f"pipekvawired is {self.pipekvawired}, the halves have {wired}"))
        charges: dict[int, int] = {}
        for half in halves:
            found += half.violations()
            if half.size and self._size_in_space(half) != half.size + -half.size % self.space.quantum:
                found.append(Violation("PI1", f"the space has no buffer {half.base:#x}+{half.size}"))
            if half.size and self.era.charges_users:
                charges[half.owner.uid] = charges.get(half.owner.uid, 0) + half.size
        if charges != self.budget.users:
            found.append(Violation("PI1", f"users are charged {self.budget.users}, their buffers hold {charges}"))
        found += [
            Violation("PI5", f"{pair!r} is still here with both halves finished")
            for pair in self._pairs.values()
            if pair.finished
        ]
        return tuple(found)

    def _size_in_space(self, half: Half) -> int:
        try:
            return self.space.size_of(half.base)
        except BadFreeError:
            return -1

    def dump(self) -> str:
        """Return the pipes that exist as text, for an error."""
        return "\n".join(map(repr, self._pairs.values()))
