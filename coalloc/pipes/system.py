"""`PipeSystem`: pipe(2) and its policy over any space, in any era; keeps P1 (kva_used is the sum of the buffers).

The policy is the kernel's sys_pipe.c: what is backed at creation, how a size is chosen, what happens when there is no room.
It is written once; what differs between eras is read from the :class:`~coalloc.pipes.eras.Era`.
"""

from __future__ import annotations

import errno

import attrs

from coalloc.errors import BadFreeError, ExhaustionError, InvalidRequestError, InvariantViolation, PipeError, Violation
from coalloc.pipes.budget import ROOT, Budget, Console, Owner
from coalloc.pipes.eras import BIG_PIPE_SIZE, LIMITBIGPIPES, PIPE_SIZE, SMALL_PIPE_SIZE, Backing, Era, Growth
from coalloc.pipes.pair import Half, PipePair, Present
from coalloc.sched.clock import SimClock
from coalloc.space.protocol import Space
from coalloc.units import PAGE_SIZE, round_up

__all__ = ["PipeCounters", "PipeSystem"]


@attrs.frozen
class PipeCounters:
    """What a pipe system has done, and what it holds; all exact, sizes in bytes.

    ``resizes_in_place`` and ``resizes_moved`` count changes of a buffer that existed, not the first backing of a half.
    """

    pipes_created: int = 0
    pipes_refused: int = 0
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


class PipeSystem:
    """Create pipes, and give them buffers from a space.

    Args:
        space: Where buffers come from.
        era: Whose policy holds; see :data:`~coalloc.pipes.eras.ERAS`.
        maxpipekva: kern.ipc.maxpipekva in bytes, > 0.
        clock: Tells the simulated time, for the console; one of its own if None.
        resize_in_place: Let the space change a buffer where it lies, if it can; the kernels always move (B9).
        maxpipes: kern.ipc.maxpipes, how many halves may exist, in eras that have it; None enforces none.
        hz: Clock ticks a second.

    Raises:
        InvalidRequestError: For an argument outside its range.

    Source:
        FreeBSD sys_pipe.c; facts/kernel.md section 1; B1 to B17, B19 to B23.

    >>> from coalloc.pipes.eras import ERAS
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

    __slots__ = (
        "_bigpipes",
        "_bytes_read",
        "_bytes_written",
        "_created",
        "_in_place",
        "_moved",
        "_pairs",
        "_peak_pipes",
        "_reads",
        "_refused",
        "_writes",
        "budget",
        "clock",
        "console",
        "era",
        "maxpipes",
        "pipeallocfail",
        "pipefragretry",
        "piperesizeallowed",
        "piperesizefail",
        "resize_in_place",
        "space",
    )

    def __init__(
        self,
        space: Space,
        era: Era,
        *,
        maxpipekva: int,
        clock: SimClock | None = None,
        resize_in_place: bool = False,
        maxpipes: int | None = None,
        hz: int = 100,
    ) -> None:
        if not isinstance(era, Era):
            raise InvalidRequestError("era", era, "must be an Era, such as ERAS['2004-01']")
        if maxpipes is not None and (type(maxpipes) is not int or maxpipes < 2):
            raise InvalidRequestError("maxpipes", maxpipes, "must be an int >= 2, or None")
        self.space = space
        self.era = era
        self.budget = Budget(era, maxpipekva)
        self.clock = SimClock() if clock is None else clock
        self.console = Console(self.clock, hz)
        self.resize_in_place = resize_in_place
        self.maxpipes = maxpipes if "maxpipes" in era.sysctls else None
        self.piperesizeallowed = True
        self.pipefragretry = 0
        self.pipeallocfail = 0
        self.piperesizefail = 0
        self._pairs: dict[int, PipePair] = {}
        self._bigpipes = 0
        self._created = 0
        self._refused = 0
        self._peak_pipes = 0
        self._writes = 0
        self._reads = 0
        self._bytes_written = 0
        self._bytes_read = 0
        self._in_place = 0
        self._moved = 0

    # --- pipe(2) -----------------------------------------------------------------------------------

    def pipe(self, owner: Owner = ROOT) -> PipePair:
        """Create a pipe.

        Args:
            owner: Who is charged for its buffers.

        Raises:
            PipeError: With the era's error number, if there is no buffer to be had; nothing is held then (B13, B17).

        Complexity: One or two allocations of the space.
        """
        if self.maxpipes is not None and 2 * len(self._pairs) + 2 > self.maxpipes:
            self.console.print(self.era.message)
            self._refuse()
        pair = PipePair(self, self._created + self._refused, owner)
        forward, reverse = pair.halves
        backed = self._get_buffer(forward, self._new_size())
        if backed or self.era.create_errno is None:
            if self.era.reverse is Backing.RULE:
                backed = self._get_buffer(reverse, self._new_size())
            elif self.era.reverse is Backing.SMALL:
                backed = self._get_buffer(reverse, SMALL_PIPE_SIZE)
        if not backed and self.era.create_errno is not None:
            self.free_buffer(forward)
            self._refuse()
        self._created += 1
        self._pairs[pair.number] = pair
        self._peak_pipes = max(self._peak_pipes, len(self._pairs))
        return pair

    def _refuse(self) -> None:
        self._refused += 1
        raise PipeError(self.era.create_errno or errno.ENOMEM, "pipe")

    def _new_size(self) -> int:
        return SMALL_PIPE_SIZE if self.budget.wants_small else PIPE_SIZE

    # --- sizes -------------------------------------------------------------------------------------

    def choose_size(self, half: Half, n: int) -> None:
        """Give a half the buffer that a write of ``n`` bytes calls for, if that can be had (B5, B6, B7, B10)."""
        ring = half.ring
        if self.era.growth is Growth.BIG:
            if n > PIPE_SIZE >= ring.size and not ring.cnt and self._bigpipes < LIMITBIGPIPES and half.direct is None:
                self._get_buffer(half, BIG_PIPE_SIZE)
            return
        size = ring.size
        wanted = size or SMALL_PIPE_SIZE
        if wanted < ring.cnt + n and self.piperesizeallowed and not self.budget.above_half:
            while wanted < ring.cnt + n and wanted != BIG_PIPE_SIZE:
                wanted *= 2
        if self._should_shrink(half):
            wanted = SMALL_PIPE_SIZE
        if wanted != size and half.direct is None:
            self._get_buffer(half, wanted)

    def shrink_on_read(self, half: Half) -> None:
        """Shrink a half's buffer at the start of a read, if the rules ask for it (B7)."""
        if self._should_shrink(half) and half.direct is None:
            self._get_buffer(half, SMALL_PIPE_SIZE)

    def _should_shrink(self, half: Half) -> bool:
        return (
            half.ring.size > SMALL_PIPE_SIZE
            and self.era.shrinks
            and self.piperesizeallowed
            and half.ring.cnt <= SMALL_PIPE_SIZE
            and self.budget.above_three_quarters
        )

    # --- buffers (pipespace_new and pipe_free_kmem) ----------------------------------------------------

    def _get_buffer(self, half: Half, size: int) -> bool:
        """Give a half a buffer of ``size`` bytes in place of the one it has, and return whether that could be done.

        The steps and their order are those of pipespace_new (facts/kernel.md sections 1.4 and 1.5): the owner is charged,
        then the reserve is asked, then the map.  An unbacked half falls back to SMALL_PIPE_SIZE once.
        """
        size = round_up(max(size, half.ring.cnt), PAGE_SIZE)
        old = half.ring.size
        unbacked = not old
        in_place = self.resize_in_place and not unbacked
        while True:
            may_retry = unbacked and size > SMALL_PIPE_SIZE
            more = max(size - old, 0) if in_place else size  # the kernel has both buffers for a moment
            if not self.budget.charge_user(more, half.owner):
                if may_retry:
                    size = SMALL_PIPE_SIZE
                    continue
                return False
            if not self.budget.reserve_allows(more, half.owner):
                self.budget.refund_user(more, half.owner)
                if may_retry:
                    self.pipefragretry += 1
                    size = SMALL_PIPE_SIZE
                    continue
                return False
            base = self._place(half, size, more, in_place=in_place)
            if base >= 0:
                self.budget.refund_user(max(old - size, 0) if in_place else old, half.owner)
                self._move_in(half, base, size)
                return True
            self.budget.refund_user(more, half.owner)
            if may_retry and self.era.retries_small:
                self.pipefragretry += 1
                size = SMALL_PIPE_SIZE
                continue
            if unbacked:
                self.pipeallocfail += 1
            else:
                self.piperesizefail += 1
            if unbacked or self.era.resize_failure_prints:
                self.console.print(self.era.message)
            return False

    def _place(self, half: Half, size: int, more: int, *, in_place: bool) -> int:
        """Find a new buffer, the old one still allocated (P4); return its base, or -1."""
        if not self.budget.leaves_room(more):
            return -1
        try:
            return self.space.resize(half.base, size) if in_place else self.space.alloc(size)
        except ExhaustionError:
            return -1

    def _move_in(self, half: Half, base: int, size: int) -> None:
        """Make [base, base + size) the half's buffer: copy what is buffered, free the old one, count."""
        ring = half.ring
        old, old_base = ring.size, half.base
        if old:
            if base == old_base:
                self._in_place += 1
            else:
                self._moved += 1
            if not self.resize_in_place:
                self.space.free(old_base)
            self.budget.add(-old)
            self._bigpipes -= old == BIG_PIPE_SIZE
        self._bigpipes += size == BIG_PIPE_SIZE
        self.budget.add(size)
        ring.rebuild(size)
        half.base = base
        if base != old_base:
            half.touched = 0
        half.touched = min(half.touched, size)
        if ring.cnt > half.touched:
            self.space.touch(base + half.touched, ring.cnt - half.touched)
            half.touched = ring.cnt

    def free_buffer(self, half: Half) -> None:
        """Free a half's buffer and what it holds, if it has one."""
        size = half.ring.size
        if size:
            self.space.free(half.base)
            self.budget.add(-size)
            self.budget.refund_user(size, half.owner)
            self._bigpipes -= size == BIG_PIPE_SIZE
            half.ring.drop()
            half.base = -1
            half.touched = 0

    def pair_finished(self, pair: PipePair) -> None:
        """Take a pair back whose halves are both finished (P5)."""
        del self._pairs[pair.number]

    # --- counts ------------------------------------------------------------------------------------

    def count_write(self, n: int) -> None:
        """Count a write of ``n`` bytes."""
        self._writes += 1
        self._bytes_written += n

    def count_read(self, n: int) -> None:
        """Count a read of ``n`` bytes."""
        self._reads += 1
        self._bytes_read += n

    @property
    def pairs(self) -> tuple[PipePair, ...]:
        """The pipes that exist, oldest first."""
        return tuple(self._pairs.values())

    def counters(self) -> PipeCounters:
        """Return the counters as a frozen value."""
        return PipeCounters(
            pipes_created=self._created,
            pipes_refused=self._refused,
            pipes=len(self._pairs),
            peak_pipes=self._peak_pipes,
            writes=self._writes,
            reads=self._reads,
            bytes_written=self._bytes_written,
            bytes_read=self._bytes_read,
            resizes_in_place=self._in_place,
            resizes_moved=self._moved,
            pipefragretry=self.pipefragretry,
            pipeallocfail=self.pipeallocfail,
            piperesizefail=self.piperesizefail,
            kva_used=self.budget.kva_used,
            peak_kva_used=self.budget.peak,
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
            "pipes": 2 * len(self._pairs),
            "maxpipes": self.maxpipes or 0,
            "pipebuf_reserv": self.era.reserve_percent,
        }
        values |= {name: further[name] for name in self.era.sysctls}
        return {f"kern.ipc.{name}": values[name] for name in sorted(values)}

    # --- check -------------------------------------------------------------------------------------

    def violations(self) -> tuple[Violation, ...]:
        """Return every breach of P1, P2, P3 and P5, recomputed from the halves."""
        found = []
        halves = [half for pair in self._pairs.values() for half in pair.halves]
        total = sum(half.ring.size for half in halves)
        if self.budget.kva_used != total:
            found.append(Violation("P1", f"kva_used is {self.budget.kva_used}, the buffers hold {total}"))
        if self.era.maxpipekva_is_hard and total > self.budget.maxpipekva:
            found.append(Violation("P1", f"the buffers hold {total}, maxpipekva is {self.budget.maxpipekva}"))
        charges: dict[int, int] = {}
        for half in halves:
            found += half.ring.violations()
            if half.ring.size and self._size_in_space(half) != half.ring.size:
                found.append(Violation("P1", f"the space has no buffer {half.base:#x}+{half.ring.size}"))
            if half.ring.size and self.era.charges_users:
                charges[half.owner.uid] = charges.get(half.owner.uid, 0) + half.ring.size
        if charges != self.budget.users:
            found.append(Violation("P1", f"users are charged {self.budget.users}, their buffers hold {charges}"))
        found += [
            Violation("P5", f"{pair!r} is still here with both halves finished")
            for pair in self._pairs.values()
            if all(half.present is Present.FINALIZED for half in pair.halves)
        ]
        return tuple(found)

    def _size_in_space(self, half: Half) -> int:
        try:
            return self.space.size_of(half.base)
        except BadFreeError:
            return -1

    def check(self) -> None:
        """Raise InvariantViolation if ``violations()`` finds any."""
        found = self.violations()
        if found:
            raise InvariantViolation(found, "\n".join(map(repr, self._pairs.values())))
