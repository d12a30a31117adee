"""illumos' pipes: STREAMS in fast mode, a block of memory for each write, which goes when it is read; keeps PI1, PI2, PI3.

A pipe has no buffer.  A write allocates a block for each piece that it queues, and the reader frees each block that it has used
up.  Pieces are not put together, so a pipe of single bytes takes a block for each.  While ``hiwat`` bytes or more are queued a
write waits.  Below that the piece is the whole rest, or if that would pass the mark ``PIPE_BUF`` bytes: the mark can be passed.
Both ends read and write.

Differences from the kernel: what a block is rounded to is taken from the sizes of its caches, and a block is had from the space
itself; the header of each block (dblk_t) is not counted; where there is no memory a write fails, and the kernel waits; nobody
leaves the fast mode.

Source: illumos-gate, usr/src/uts/common/fs/fifofs/fifosubr.c and fifovnops.c, io/stream.c; B74.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Sequence
from typing import Final

import attrs

from coalloc.checked import Checked
from coalloc.errors import BadFreeError, ExhaustionError, InvalidRequestError, PipeError, Violation
from coalloc.pipes.budget import ROOT, ConsoleLine, Owner
from coalloc.pipes.eras import StreamsState
from coalloc.pipes.protocol import PipeCounters
from coalloc.sched.clock import SimClock
from coalloc.space.protocol import FullSpace
from coalloc.units import Extremes

__all__ = ["StreamsPipe", "StreamsPipes", "block_size"]

_SMALL: Final = (16, 80, 144, 208, 272, 336, 528, 1040, 1488, 1936, 2576, 3856)
_LARGE: Final = 8192
_BETWEEN: Final = 3856
_BESIDE: Final = 8
"""Bytes that a write's block has beside its data, so that they lie as in user memory."""


def block_size(n: int) -> int:
    """Return the size of the cache that a block for a piece of ``n`` bytes comes from (streams_dblk).

    >>> [block_size(n) for n in (1, 8, 9, 72, 512, 4096, 8184, 8192, 16384)]
    [16, 16, 80, 80, 528, 8192, 8192, 12048, 20240]
    """
    need = n + _BESIDE
    small = next((size for size in _SMALL if size >= need), 0)
    if small:
        return small
    whole, rest = divmod(need, _LARGE)
    if not rest:
        return need
    return whole * _LARGE + _BETWEEN if whole and rest <= _BETWEEN else (whole + 1) * _LARGE


@attrs.define(eq=False)
class _Block:
    """A piece that was written: where its memory is, and what of it nobody has read."""

    address: int
    size: int
    length: int
    content: bytes | None


class _End:
    """One end: what it can read."""

    __slots__ = ("blocks", "closed", "cnt")

    def __init__(self) -> None:
        self.blocks: deque[_Block] = deque()
        self.cnt = 0
        self.closed = False


class StreamsPipe:
    """A pipe; made by :meth:`StreamsPipes.pipe`."""

    __slots__ = ("_system", "bytes_in", "bytes_out", "ends", "number", "owner")

    def __init__(self, system: StreamsPipes, number: int, owner: Owner) -> None:
        self._system = system
        self.number = number
        self.owner = owner
        self.ends = (_End(), _End())
        self.bytes_in = self.bytes_out = 0

    def __repr__(self) -> str:
        return f"<StreamsPipe {self.number}: {self.ends[0].cnt} and {self.ends[1].cnt} bytes queued>"

    def write(self, end: int, data: int | bytes, *, direct: bool = False, rest_of: int = 0) -> int:
        """Write bytes, or a number that stands for any, and return how many were taken.

        Args:
            end: The end that writes.
            data: The bytes, or how many (>= 0).
            direct: Ignored: there are no direct writes.
            rest_of: Ignored: each piece is a block of its own.

        Raises:
            PipeError: EBADF for a closed end, EPIPE if the other is closed, EAGAIN if as much is queued as may be, ENOSR if
                there is no memory.
            InvalidRequestError: For an end other than 0 and 1, or a negative number.
        """
        del direct, rest_of
        content = data if isinstance(data, bytes) else None
        n = data if type(data) is int else len(content) if content is not None else -1
        if n < 0:
            raise InvalidRequestError("data", data, "bytes, or a number of them >= 0, are needed")
        self._open(end, "write")
        if not n:
            return 0
        other, system = self.ends[1 - end], self._system
        if other.closed:
            raise PipeError(errno.EPIPE, "write")
        done, why = 0, errno.EAGAIN
        while done < n and other.cnt < system.state.hiwat:
            left = n - done
            piece = min(left, system.state.pipe_buf) if left + other.cnt > system.state.hiwat else left
            block = system.take(piece, None if content is None else content[done : done + piece])
            if block is None:
                why = errno.ENOSR
                break
            other.blocks.append(block)
            other.cnt += piece
            done += piece
        if not done:
            raise PipeError(why, "write")
        self.bytes_in += done
        system.writes += 1
        system.bytes_written += done
        return done

    def read(self, end: int, n: int, *, into: bytearray | None = None) -> int:
        """Read up to ``n`` bytes and return how many; 0 is the end of the file.

        Args:
            end: The end that reads.
            n: How many bytes at most, >= 0.
            into: Where to append them; zeros stand for those of which only a number was written.

        Raises:
            PipeError: EBADF for a closed end, EAGAIN if there is nothing to read now.
            InvalidRequestError: For an end other than 0 and 1, or a negative number.
        """
        if type(n) is not int or n < 0:
            raise InvalidRequestError("n", n, "must be an int >= 0")
        this = self._open(end, "read")
        if not n:
            return 0
        if not this.cnt:
            if self.ends[1 - end].closed:
                return 0
            raise PipeError(errno.EAGAIN, "read")
        left, system = n, self._system
        while left and this.blocks:
            block = this.blocks[0]
            taken = min(left, block.length)
            if into is not None:
                into += bytes(taken) if block.content is None else block.content[:taken]
            block.content = None if block.content is None else block.content[taken:]
            block.length -= taken
            left -= taken
            if not block.length:
                system.put(this.blocks.popleft())
        done = n - left
        this.cnt -= done
        self.bytes_out += done
        system.reads += 1
        system.bytes_read += done
        return done

    def buffered(self, end: int) -> int:
        """Return the bytes that ``end`` can read."""
        return self.ends[end].cnt

    def readable(self, end: int) -> int:
        """Return the bytes that ``end`` can read: there are no direct writes."""
        return self.ends[end].cnt

    def writes_directly(self, end: int) -> bool:
        """Tell whether a direct write is in progress: never."""
        del end
        return False

    def wakes_writer(self, end: int) -> bool:
        """Tell whether a writer at ``end`` that blocked would be woken: less than the mark is queued."""
        return self.ends[1 - end].cnt < self._system.state.hiwat

    def writable(self, end: int) -> bool:
        """Tell whether poll(2) calls an end writable: not if the other is closed, which is POLLHUP."""
        return not self.ends[1 - end].closed and self.wakes_writer(end)

    def set_size(self, size: int) -> int:
        """Refuse to change the size: only Linux has F_SETPIPE_SZ.

        Raises:
            PipeError: EINVAL, always.
        """
        del size
        raise PipeError(errno.EINVAL, "fcntl")

    def close(self, end: int) -> bool:
        """Close an end: what it has not read is lost; what it has written stays for the other.

        Raises:
            PipeError: EBADF if it is closed already.
            InvalidRequestError: For an end other than 0 and 1.
        """
        this = self._open(end, "close")
        this.closed = True
        self.bytes_out += this.cnt
        for block in this.blocks:
            self._system.put(block)
        this.blocks.clear()
        this.cnt = 0
        if self.finished:
            self._system.take_back(self)
        return True

    @property
    def finished(self) -> bool:
        """Whether both ends are closed."""
        return self.ends[0].closed and self.ends[1].closed

    def _open(self, end: int, call: str) -> _End:
        if end != 0 and end != 1:
            raise InvalidRequestError("end", end, "must be 0 or 1")
        if self.ends[end].closed:
            raise PipeError(errno.EBADF, call)
        return self.ends[end]


class StreamsPipes(Checked):
    """Create pipes as illumos does.

    Args:
        space: Where blocks come from.
        state: Whose rules hold.
        clock: Tells the simulated time; one of its own if None.

    Attributes:
        writes: Writes that stored something, and
        bytes_written: what they stored; likewise
        reads: and
        bytes_read: for what was taken out.
    """

    def __init__(self, space: FullSpace, state: StreamsState, *, clock: SimClock | None = None) -> None:
        self.space = space
        self.state = state
        self.clock = SimClock() if clock is None else clock
        self._pipes: dict[int, StreamsPipe] = {}
        self._used = self._past_peak = 0
        self._least = self._most = 0  # bytes since the last call of extremes
        self._created = self._peak_pipes = 0
        self.writes = self.bytes_written = self.reads = self.bytes_read = 0

    @property
    def kva_used(self) -> int:
        """Bytes of all blocks, as their caches round them."""
        return self._used

    @property
    def peak_kva_used(self) -> int:
        """Most bytes of blocks at any time."""
        return max(self._most, self._past_peak)

    def extremes(self) -> Extremes:
        """Return the least and the most bytes of blocks since the last call; those that are there begin the next."""
        self._past_peak = max(self._past_peak, self._most)
        found = Extremes(self._least, self._most)
        self._least = self._most = self._used
        return found

    @property
    def console_lines(self) -> Sequence[ConsoleLine]:
        """What was printed on the console: nothing."""
        return ()

    def pipe(self, owner: Owner = ROOT) -> StreamsPipe:
        """Create a pipe, which takes no block and always succeeds: its pair is waited for."""
        pipe = StreamsPipe(self, self._created, owner)
        self._created += 1
        self._pipes[pipe.number] = pipe
        self._peak_pipes = max(self._peak_pipes, len(self._pipes))
        return pipe

    def counters(self) -> PipeCounters:
        """Return what was counted; ``kva_used`` is the bytes of the blocks held."""
        return PipeCounters(
            pipes_created=self._created,
            pipes=len(self._pipes),
            peak_pipes=self._peak_pipes,
            writes=self.writes,
            reads=self.reads,
            bytes_written=self.bytes_written,
            bytes_read=self.bytes_read,
            kva_used=self.kva_used,
            peak_kva_used=self.peak_kva_used,
        )

    # --- for pipes ---------------------------------------------------------------------------------

    def take(self, n: int, content: bytes | None) -> _Block | None:
        """Take a block for a piece; None if there is no memory."""
        size = block_size(n)
        try:
            address = self.space.alloc(size)
        except ExhaustionError:
            return None
        self.space.touch(address, min(n + _BESIDE, size))
        self._used += size
        self._most = max(self._most, self._used)
        return _Block(address, size, n, content)

    def put(self, block: _Block) -> None:
        """Give a block back."""
        self.space.free(block.address)
        self._used -= block.size
        self._least = min(self._least, self._used)

    def take_back(self, pipe: StreamsPipe) -> None:
        """Take back a pipe of which both ends are closed."""
        del self._pipes[pipe.number]

    # --- check -------------------------------------------------------------------------------------

    def violations(self) -> tuple[Violation, ...]:
        """Return every broken invariant (PI1, PI2, PI3), recomputed from the blocks."""
        found = []
        total = 0
        for pipe in self._pipes.values():
            queued = 0
            for end in pipe.ends:
                held = sum(block.length for block in end.blocks)
                queued += held
                total += sum(block.size for block in end.blocks)
                if end.cnt != held or any(block.length < 1 for block in end.blocks):
                    found.append(Violation("PI2", f"pipe {pipe.number} counts {end.cnt} bytes, its blocks hold {held}"))
                found += [
                    Violation("PI1", f"the space has no block {block.address:#x}+{block.size}")
                    for block in end.blocks
                    if not self._has(block)
                ]
            if pipe.bytes_in - pipe.bytes_out != queued:
                found.append(
                    Violation("PI3", f"pipe {pipe.number}: bytes in less bytes out are not those that it holds")
                )
        if total != self._used:
            found.append(Violation("PI1", f"{self._used} bytes are counted, the blocks have {total}"))
        return tuple(found)

    def _has(self, block: _Block) -> bool:
        try:
            return self.space.size_of(block.address) >= block.size
        except BadFreeError:
            return False
