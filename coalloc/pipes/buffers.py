"""`Buffers`: when a half's buffer is had, grown, shrunk and freed, over any space, in any era; keeps PI1 and PI4.

This is the policy of the kernel's sys_pipe.c (pipe_create, pipespace_new, pipe_free_kmem, and what pipe_write and pipe_read ask
for first).  It is written once; what differs between eras is read from the :class:`~coalloc.pipes.eras.Era`.

Backing.  A half with a buffer is *backed*.  Depending on the era, a half is backed at creation or by the first write that
needs it.  Where the buffer comes from is the space's business; how large it is, and when it grows or shrinks, is decided
here, from the amount of pipe KVA in use (:mod:`coalloc.pipes.budget`) and the era's rules (:mod:`coalloc.pipes.eras`).

Resizing.  The kernel finds the new buffer while the old one is still allocated, copies, and only then frees the old (PI4),
so a shrink fails in a map that is completely full (B9).  Data end up linear: ``out`` is 0, ``in`` is cnt (B8).  A failed
resize is ignored, unless there is no buffer at all.  A space that can resize in place may be allowed to
(``resize_in_place``): that is the change to the policy that arenas invite, and it is off by default.

Memory.  A write touches the pages that it stores to.  Data always occupy a prefix of the buffer as far as it was ever used,
so a half remembers how far it has touched, and the space is asked only beyond that.
"""

from __future__ import annotations

import errno
import heapq
from typing import Final

from coalloc.errors import ExhaustionError, InvalidRequestError, PipeError
from coalloc.pipes.budget import Budget, Console, Owner
from coalloc.pipes.eras import (
    BIG_PIPE_SIZE,
    LIMITBIGPIPES,
    PIPE_BLOCKS,
    PIPE_BUF,
    PIPE_MINDIRECT,
    PIPE_SIZE,
    SMALL_PIPE_SIZE,
    Era,
    Growth,
    Numbers,
)
from coalloc.pipes.half import Half
from coalloc.sched.clock import SimClock
from coalloc.space.protocol import FullSpace
from coalloc.units import PAGE_SIZE

__all__ = ["Buffers"]

# A name of its own, here and in what follows: looking up a member of an Enum takes 15 times as long.
_BIG: Final = Growth.BIG
_NO_GROWTH: Final = Growth.NONE
_BLOCKS: Final = Growth.BLOCKS


class Buffers:
    """Give halves their buffers from a space, and count what goes through them.

    Args:
        space: Where buffers come from.
        era: Whose policy holds; see :data:`~coalloc.pipes.eras.ERAS`.
        maxpipekva: kern.ipc.maxpipekva in bytes, > 0.
        clock: Tells the simulated time, for the console; one of its own if None.
        resize_in_place: Let the space change a buffer where it lies, if it can; the kernels always move (B9).
        hz: Clock ticks a second.

    Attributes:
        piperesizeallowed: Whether buffers may grow and shrink (kern.ipc.piperesizeallowed); a first buffer is had anyway.
        maxpipekvawired: Bytes of wired pages from which on no write is direct, in eras that account them; None for no bound.
        maxpipes: Buffers from whose number on no further one is had, in eras that have it; None for no bound.
        n_buffers: How many buffers there are.
        pipekvawired: Bytes of the pages that direct writes have wired, in eras that account them.
        pipefragretry: Times that an unbacked half was tried again with SMALL_PIPE_SIZE.
        pipeallocfail: Times that an unbacked half got none.
        piperesizefail: Times that a backed half kept the buffer that it had.
        resized_in_place: Changes of a buffer that stayed where it was, and
        resized_by_move: of those that did not.
        writes: Writes that stored something, and
        bytes_written: what they stored; likewise
        reads: and
        bytes_read: for what was taken out.

    Raises:
        InvalidRequestError: For an argument outside its range.
    """

    __slots__ = (
        "_bigpipes",
        "_free_numbers",
        "_mindirect",
        "_number",
        "budget",
        "bytes_read",
        "bytes_written",
        "clock",
        "console",
        "era",
        "maxpipekvawired",
        "maxpipes",
        "n_buffers",
        "pipeallocfail",
        "pipefragretry",
        "pipekvawired",
        "piperesizeallowed",
        "piperesizefail",
        "reads",
        "resize_in_place",
        "resized_by_move",
        "resized_in_place",
        "space",
        "writes",
    )

    def __init__(
        self,
        space: FullSpace,
        era: Era,
        *,
        maxpipekva: int,
        clock: SimClock | None = None,
        resize_in_place: bool = False,
        hz: int = 100,
    ) -> None:
        if not isinstance(era, Era):
            raise InvalidRequestError("era", era, "must be an Era, such as ERAS['2004-01']")
        self.space = space
        self.era = era
        self.budget = Budget(era, maxpipekva)
        self.clock = SimClock() if clock is None else clock
        self.console = Console(self.clock, hz)
        self.resize_in_place = resize_in_place
        self.piperesizeallowed = True
        self._mindirect = PIPE_MINDIRECT
        self.maxpipekvawired: int | None = None
        self.maxpipes: int | None = None
        self.n_buffers = 0
        self.pipekvawired = 0
        self.pipefragretry = self.pipeallocfail = self.piperesizefail = 0
        self.resized_in_place = self.resized_by_move = 0
        self.writes = self.bytes_written = self.reads = self.bytes_read = 0
        self._bigpipes = 0
        self._number = 0
        self._free_numbers: list[int] = []

    @property
    def beyond_maxpipes(self) -> bool:
        """Whether there are more buffers than kern.ipc.maxpipes allows, so that none is had."""
        return self.maxpipes is not None and self.n_buffers > self.maxpipes

    # --- how large ---------------------------------------------------------------------------------

    @property
    def rule_size(self) -> int:
        """The size of a new buffer: PIPE_SIZE, or SMALL_PIPE_SIZE above the era's mark (B1)."""
        return SMALL_PIPE_SIZE if self.budget.kva_used > self.budget.small_mark else self.era.pipe_size

    @property
    def lean(self) -> bool:
        """Whether buffers are to shrink; while they are not, a write that fits and a read change no buffer."""
        return self.era.shrinks and self.budget.above_three_quarters

    @property
    def pipe_mindirect(self) -> int:
        """The least bytes of a direct write (kern.ipc.pipe_mindirect)."""
        return self._mindirect

    @pipe_mindirect.setter
    def pipe_mindirect(self, value: int) -> None:
        if "pipe_mindirect" not in self.era.sysctls:
            raise PipeError(errno.ENOENT, "sysctl")
        if type(value) is not int or not PIPE_BUF < value < 2**63:
            raise PipeError(errno.EINVAL, "sysctl")
        self._mindirect = value

    def goes_directly(self, half: Half, n: int) -> bool:
        """Tell whether a blocking write of ``n`` bytes from user space goes directly."""
        era, least, most = self.era, self._mindirect, self.maxpipekvawired
        if not era.direct_writes or n < least or (era.direct_needs_buffer and half.size < least):
            return False
        return not era.accounts_wired or most is None or self.pipekvawired < most

    def hold(self, half: Half, held: bytes | None) -> None:
        """Note what a direct write to a half still holds, and account the pages where the era does."""
        half.direct = held or None
        if self.era.accounts_wired:
            wired = half.wired or (len(held) + PAGE_SIZE - 1) & -PAGE_SIZE if held else 0
            self.pipekvawired += wired - half.wired
            half.wired = wired

    def choose_size(self, half: Half, n: int, caller: Owner | None = None) -> None:
        """Give a half the buffer that a write of ``n`` bytes calls for, if that can be had (B5, B6, B7, B10)."""
        if not half.size and half.lazy:
            self.get_buffer(half, self.rule_size, caller)
        size, cnt = half.size, half.cnt
        growth = self.era.growth
        if growth is _NO_GROWTH:
            return
        if growth is _BLOCKS:
            self._choose_block(half, n, caller)
            return
        if growth is _BIG:
            if n > PIPE_SIZE >= size and not cnt and self._may_be_big and half.direct is None:
                self.get_buffer(half, BIG_PIPE_SIZE, caller)
            return
        wanted = size or SMALL_PIPE_SIZE
        if wanted < cnt + n and self.piperesizeallowed and not self.budget.above_half:
            while wanted < cnt + n and wanted != BIG_PIPE_SIZE:
                wanted *= 2
        if self._should_shrink(half):
            wanted = SMALL_PIPE_SIZE
        if wanted != size and half.direct is None:
            self.get_buffer(half, wanted, caller)

    @property
    def _may_be_big(self) -> bool:
        """Whether one more buffer may become BIG_PIPE_SIZE."""
        below, budget = self.era.grows_below, self.budget
        return self._bigpipes < LIMITBIGPIPES and (below is None or budget.kva_used < below * budget.maxpipekva)

    def _choose_block(self, half: Half, n: int, caller: Owner | None) -> None:
        """Give a half the block that a write calls for: a first one always, a larger one below the limit (XNU).

        Raises:
            PipeError: ENOMEM, if it cannot be had.
        """
        size, cnt = half.size, half.cnt
        if size and (n <= size - cnt or self.budget.kva_used >= self.budget.maxpipekva):
            return
        target = max(size, cnt + n)
        block = next((block for block in PIPE_BLOCKS if block > target), PIPE_BLOCKS[-1])
        if (block > size or not cnt) and not self.get_buffer(half, block, caller) and self.era.growth_fails_writes:
            raise PipeError(errno.ENOMEM, "write")

    def shrink_on_read(self, half: Half, caller: Owner | None = None) -> None:
        """Shrink a half's buffer at the start of a read, if the rules ask for it (B7)."""
        if self._should_shrink(half) and half.direct is None:
            self.get_buffer(half, SMALL_PIPE_SIZE, caller)

    def _should_shrink(self, half: Half) -> bool:
        return self.lean and half.size > SMALL_PIPE_SIZE and self.piperesizeallowed and half.cnt <= SMALL_PIPE_SIZE

    # --- st_ino --------------------------------------------------------------------------------------

    def draw_number(self, half: Half) -> None:
        """Give a half its number, if it has none (B59): the next one, or where numbers return the lowest free one."""
        if not half.ino:
            if self._free_numbers:
                half.ino = heapq.heappop(self._free_numbers)
            else:
                self._number += 1
                half.ino = self._number

    def return_number(self, half: Half) -> None:
        """Take the number of a half back when it is closed, in eras where numbers return."""
        if half.ino and self.era.numbers is Numbers.AT_FSTAT:
            heapq.heappush(self._free_numbers, half.ino)

    # --- pipespace_new and pipe_free_kmem -----------------------------------------------------------

    def get_buffer(self, half: Half, size: int, caller: Owner | None = None) -> bool:
        """Give a half a buffer in place of the one it has, and return whether that could be done.

        The steps and their order are those of pipespace_new: the owner is charged, then the reserve is asked, then the map.  An
        unbacked half falls back to SMALL_PIPE_SIZE once.

        Args:
            half: The half.
            size: Bytes, >= 1; rounded up to whole units of the era, pages mostly, and to what is buffered.
            caller: Whose call it is, who is asked for privilege and limit; None for the owner.

        Guarantees:
            If it could not be done, the half has the buffer and the contents that it had.
        """
        budget, owner = self.budget, half.owner
        caller = owner if caller is None else caller
        old, rations = half.size, budget.rations
        in_place = old > 0 and self.resize_in_place
        if size < half.cnt:
            size = half.cnt
        size += -size % self.era.unit
        if self.beyond_maxpipes:
            self.console.print(self.era.message)
            return False
        while True:
            more = max(size - old, 0) if in_place else size  # the kernel has both buffers for a moment
            retry = not old and size > SMALL_PIPE_SIZE
            if rations and not budget.charge_user(more, owner, caller):
                if not retry:
                    return False
            elif rations and not budget.reserve_allows(more, caller):
                budget.refund_user(more, owner)
                if not retry:
                    return False
                self.pipefragretry += 1
            else:
                base = self._place(half, size, in_place=in_place) if budget.leaves_room(more) else -1
                if base >= 0:
                    if rations:
                        budget.refund_user(max(old - size, 0) if in_place else old, owner)
                    self._move_in(half, base, size)
                    return True
                if rations:
                    budget.refund_user(more, owner)
                if not (retry and self.era.retries_small):
                    self._count_failure(backed=old > 0)
                    return False
                self.pipefragretry += 1
            size = SMALL_PIPE_SIZE

    def _place(self, half: Half, size: int, *, in_place: bool) -> int:
        """Find a new buffer, the old one still allocated (PI4); return its base, or -1."""
        try:
            return self.space.resize(half.base, size) if in_place else self.space.alloc(size)
        except ExhaustionError:
            return -1

    def _count_failure(self, *, backed: bool) -> None:
        """Count, and say on the console, that there was no place for a buffer."""
        if backed:
            self.piperesizefail += 1
        else:
            self.pipeallocfail += 1
        if self.era.map_failure_prints and (not backed or self.era.resize_failure_prints):
            self.console.print(self.era.message)

    def _move_in(self, half: Half, base: int, size: int) -> None:
        """Make [base, base + size) the half's buffer: copy what is buffered, free the old one, count."""
        old = half.size
        self.budget.add(size - old)
        if size == BIG_PIPE_SIZE or old == BIG_PIPE_SIZE:
            self._bigpipes += (size == BIG_PIPE_SIZE) - (old == BIG_PIPE_SIZE)
        if not old:
            self.n_buffers += 1
            half.base, half.size = base, size
            return
        if base == half.base:
            self.resized_in_place += 1
            half.touched = min(half.touched, size)
        else:
            self.resized_by_move += 1
            if not self.resize_in_place:
                self.space.free(half.base)
            half.base = base
            half.touched = 0
        half.rebuild(size)
        if half.cnt > half.touched:
            self.touch(half, half.cnt)

    def touch(self, half: Half, high: int) -> None:
        """Touch a half's buffer up to the offset ``high``, which lies beyond what is touched."""
        self.space.touch(half.base + half.touched, high - half.touched)
        half.touched = high

    def free_buffer(self, half: Half) -> None:
        """Free a half's buffer and what it holds, if it has one."""
        size = half.size
        if size:
            self.n_buffers -= 1
            self.space.free(half.base)
            budget = self.budget
            budget.add(-size)
            if budget.rations:
                budget.refund_user(size, half.owner)
            if size == BIG_PIPE_SIZE:
                self._bigpipes -= 1
            half.drop()
            half.base = -1
            half.touched = 0
