"""A pipe: two halves, each with a buffer of its own; keeps P2 to P5.

The pair.  ``pipe(2)`` makes a *pair* of *halves* (the kernel's ``struct pipe``), one for each descriptor.  ``halves[0]``
belongs to fildes[0], the end that is usually read, ``halves[1]`` to fildes[1], the end that is usually written; both can be
read and written.  A half's buffer holds what will be *read* from its own end, so a write stores into the *peer's* buffer
(B20): the *forward* buffer is that of half 0, the *reverse* buffer that of half 1.  Most pipes are used forward only, which
is why eras differ most in what they do about the reverse half.

Backing.  A half with a buffer is *backed*.  Depending on the era, a half is backed at creation or by the first write that
needs it.  Where the buffer comes from is the space's business; how large it is, and when it grows or shrinks, is decided
here, from the amount of pipe KVA in use (:mod:`coalloc.pipes.budget`) and the era's rules (:mod:`coalloc.pipes.eras`).

Resizing.  The kernel finds the new buffer while the old one is still allocated, copies, and only then frees the old (P4),
so a shrink fails in a map that is completely full (B9).  Data end up linear: ``out`` is 0, ``in`` is cnt (B8).  A failed
resize is ignored, unless there is no buffer at all.  A space that can resize in place may be allowed to
(``PipeSystem(resize_in_place=True)``): that is the change to the policy that arenas invite, and it is off by default.

Closing.  Closing an end sets EOF on both halves, waits until nobody is busy in its own half (B23), and frees that half's
buffer, whatever it holds.  Hence closing fildes[1] frees only the reverse buffer: the data written so far stay, until
fildes[0] is closed, too (B21).  The pair is given back when both halves are finished (P5, B22).

Blocking.  Calls behave as on a non-blocking descriptor: what cannot be done now is EAGAIN.  A caller that models a blocked
writer keeps the rest, and hands it in again with ``rest_of`` (no size is chosen then, as in the kernel's loop).

Memory.  A write touches the pages that it stores to.  Data always occupy a prefix of the buffer as far as it was ever used,
so a half remembers how far it has touched, and the space is asked only beyond that.

Differences from the kernel: time stands still within a call; a direct write holds bytes, not pages, and is never copied
into the ring by a signal; descriptors are numbers 0 and 1 here, the descriptor table is another room's.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import attrs

from coalloc.errors import InvalidRequestError, PipeError
from coalloc.pipes.budget import Owner
from coalloc.pipes.eras import MINPIPESIZE, PIPE_BUF, PIPE_MINDIRECT
from coalloc.pipes.ring import Ring
from coalloc.units import PAGE_SIZE

if TYPE_CHECKING:
    from coalloc.pipes.system import PipeSystem

__all__ = ["Half", "KEvent", "Knote", "PipePair", "PipeStat", "PollState", "Present"]


class Present(enum.Enum):
    """Whether a half is there (the kernel's pipe_present)."""

    ACTIVE = 1
    CLOSING = 2
    """Closed by its owner; its buffer is not freed yet."""
    FINALIZED = 3


class Half:
    """One end's state: where its buffer is, what it holds, and who uses it."""

    __slots__ = ("base", "busy", "direct", "eof", "owner", "present", "ring", "touched")

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.ring = Ring()
        self.base = -1
        self.present = Present.ACTIVE
        self.eof = False
        self.busy = 0
        """Calls inside the half."""
        self.direct: bytes | None = None
        """What a direct write in progress still holds."""
        self.touched = 0
        """Bytes from the base that have been touched since the buffer was had."""

    @property
    def size(self) -> int:
        """Bytes of the buffer, 0 if unbacked."""
        return self.ring.size

    @property
    def cnt(self) -> int:
        """Bytes buffered, those of a direct write not included."""
        return self.ring.cnt

    @property
    def readable(self) -> int:
        """Bytes that can be read: those of a direct write in progress, or those buffered."""
        return self.ring.cnt if self.direct is None else len(self.direct)


@attrs.frozen
class PipeStat:
    """What fstat(2) tells of an end.

    Args:
        st_size: Bytes that can be read, those of a direct write included.
        st_blksize: A page.
        st_ino: The end's number, and
        st_dev: the device, both > 0; 0 in eras that give none.
    """

    st_size: int
    st_blksize: int
    st_ino: int
    st_dev: int


@attrs.frozen
class PollState:
    """What select(2) and poll(2) tell of an end: whether a read or a write would be served at once, or fail."""

    readable: bool
    writable: bool


@attrs.frozen
class KEvent:
    """An event of kqueue(2).

    Args:
        data: Bytes that can be read (EVFILT_READ), or for which there is room (EVFILT_WRITE).
        eof: Whether the other end is closed (EV_EOF).
    """

    data: int
    eof: bool


@attrs.frozen
class Knote:
    """A filter on an end; made by :meth:`PipePair.knote`."""

    pair: PipePair
    end: int
    filter: Literal["read", "write"]

    def event(self) -> KEvent | None:
        """Return the event that is pending, or None: one is while there is data to read, or room for PIPE_BUF bytes, or EOF."""
        half = self.pair.halves[self.end]
        if self.filter == "read":
            n = half.readable
            return KEvent(n, half.eof) if n or half.eof else None
        room = self.pair.room(self.end)
        return KEvent(room, half.eof) if room >= PIPE_BUF or half.eof else None


class PipePair:
    """A pipe, as its two descriptors see it; made by :meth:`PipeSystem.pipe`.

    Every ``end`` is 0 or 1, the index in ``fildes``.
    """

    __slots__ = ("_system", "halves", "number")

    def __init__(self, system: PipeSystem, number: int, owner: Owner) -> None:
        self._system = system
        self.number = number
        self.halves = (Half(owner), Half(owner))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{half.present.name.lower()} {half.cnt}/{half.size}" for half in self.halves)
        return f"<PipePair {self.number}: {sizes}>"

    # --- data --------------------------------------------------------------------------------------

    def write(self, end: int, data: int | bytes, *, direct: bool = False, rest_of: int = 0) -> int:
        """Write bytes, or a number of bytes that stand for any, and return how many were taken.

        Args:
            end: The end that writes; the data go to the other end's buffer (B20).
            data: The bytes, or how many (>= 0).
            direct: Let the data go directly from the writer's pages if the rules allow it: at least PIPE_MINDIRECT bytes into
                an empty buffer that is no smaller.
            rest_of: Bytes of the write that blocked and that this is the rest of: the buffer's size is not chosen anew, and
                the rest is atomic only if the whole was.  0 for a new write.

        Raises:
            PipeError: EBADF if the end is closed, or only for reading; EPIPE if the other is closed; ENOMEM if there is no
                buffer to be had; EAGAIN if nothing can be taken now (for up to PIPE_BUF bytes: if they do not fit at once).
            InvalidRequestError: For an end other than 0 and 1, or a negative number.
        """
        if type(data) is int:
            n, content = data, None
            if n < 0:
                raise InvalidRequestError("data", data, "a number of bytes is not negative")
        elif isinstance(data, bytes):
            n, content = len(data), data
        else:
            raise InvalidRequestError("data", data, "bytes or an int are needed")
        if self._system.era.one_way and end == 0:
            raise PipeError(errno.EBADF, "write")
        half = self._open(end, "write", peer=True)
        system = self._system
        if not rest_of:
            system.choose_size(half, n)
            if not half.ring.size:
                raise PipeError(errno.ENOMEM, "write")
        if half.direct is not None:
            raise PipeError(errno.EAGAIN, "write")
        ring = half.ring
        if direct and n >= PIPE_MINDIRECT and ring.size >= PIPE_MINDIRECT and not ring.cnt:
            held = min(n, ring.size)
            half.direct = bytes(held) if content is None else content[:held]
            system.count_write(held)
            return held
        room = ring.size - ring.cnt
        if n and (room == 0 or (room < n and (rest_of or n) <= PIPE_BUF)):
            raise PipeError(errno.EAGAIN, "write")
        taken = ring.put(n, content)
        high = ring.high
        if high > half.touched:
            system.space.touch(half.base + half.touched, high - half.touched)
            half.touched = high
        system.count_write(taken)
        return taken

    def read(self, end: int, n: int, *, into: bytearray | None = None, again: bool = False) -> int:
        """Read up to ``n`` bytes and return how many; 0 is the end of the file.

        Args:
            end: The end that reads.
            n: How many bytes at most, >= 0.
            into: Where to append them.
            again: Whether this goes on with a read that had to wait: the buffer's size is not looked at anew.

        Raises:
            PipeError: EBADF if the end is closed, or only for writing; EAGAIN if there is nothing to read now.
            InvalidRequestError: For an end other than 0 and 1, or a negative number.
        """
        if type(n) is not int or n < 0:
            raise InvalidRequestError("n", n, "must be an int >= 0")
        if self._system.era.one_way and end == 1:
            raise PipeError(errno.EBADF, "read")
        half = self._open(end, "read", peer=False)
        if not again:
            self._system.shrink_on_read(half)
        if half.direct is not None:
            got = half.direct[:n]
            half.direct = half.direct[len(got) :] or None
            if into is not None:
                into += got
            self._system.count_read(len(got))
            return len(got)
        if not half.ring.cnt and n:
            if half.eof:
                return 0
            raise PipeError(errno.EAGAIN, "read")
        got_n = half.ring.get(n, into)
        self._system.count_read(got_n)
        return got_n

    def room(self, end: int) -> int:
        """Return how many bytes a write at ``end`` could store now without another buffer, 0 if the other end is closed."""
        half = self.halves[1 - end]
        return half.ring.space if half.present is Present.ACTIVE and half.direct is None else 0

    def wakes_writer(self, end: int) -> bool:
        """Tell whether a writer at ``end`` that blocked would be woken: the buffer holds less than MINPIPESIZE."""
        half = self.halves[1 - end]
        return half.direct is None and half.ring.cnt < MINPIPESIZE and half.ring.cnt < half.ring.size

    # --- asking ------------------------------------------------------------------------------------

    def stat(self, end: int) -> PipeStat:
        """Return what fstat(2) tells of an end.

        Raises:
            PipeError: EBADF if the end is closed.

        Source: facts/kernel.md sections 1.7 and 7.
        """
        half = self._open(end, "fstat", peer=False)
        numbered = self._system.era.numbers_ends
        return PipeStat(half.readable, PAGE_SIZE, 2 * self.number + end + 1 if numbered else 0, 1 if numbered else 0)

    def poll(self, end: int) -> PollState:
        """Return what select(2) tells of an end: writable is one that has room for PIPE_BUF bytes.

        Raises:
            PipeError: EBADF if the end is closed.

        Source: facts/kernel.md section 1.7.
        """
        half, peer = self._open(end, "poll", peer=False), self.halves[1 - end]
        unbacked = self._system.era.polls_unbacked and not peer.size
        return PollState(bool(half.readable) or half.eof, half.eof or unbacked or self.room(end) >= PIPE_BUF)

    def knote(self, end: int, filter: Literal["read", "write"]) -> Knote:  # noqa: A002 (kqueue's word)
        """Register a filter on an end: EVFILT_READ or EVFILT_WRITE.

        Raises:
            PipeError: EBADF if the end is closed; EPIPE for "write" if the other end is.

        Source: facts/kernel.md section 7.
        """
        if filter not in ("read", "write"):
            raise InvalidRequestError("filter", filter, "must be 'read' or 'write'")
        self._open(end, "kevent", peer=filter == "write")
        return Knote(self, end, filter)

    # --- life --------------------------------------------------------------------------------------

    def close(self, end: int) -> bool:
        """Close an end, and return whether that is finished; if not, it will be when the last call leaves the half (B23).

        Raises:
            PipeError: EBADF if it is closed already (B22).
            InvalidRequestError: For an end other than 0 and 1.
        """
        half = self._open(end, "close", peer=False)
        half.present = Present.CLOSING
        half.eof = True
        if half.busy:
            return False
        self._finish(end)
        return True

    @contextmanager
    def busy(self, end: int) -> Iterator[Half]:
        """Be a call inside an end's half, such as a sleeping reader; a close that has to wait is finished on leaving.

        Raises:
            PipeError: EBADF if the end is closed.
        """
        half = self._open(end, "busy", peer=False)
        half.busy += 1
        try:
            yield half
        finally:
            half.busy -= 1
            if not half.busy and half.present is Present.CLOSING:
                self._finish(end)

    def _finish(self, end: int) -> None:
        half, peer = self.halves[end], self.halves[1 - end]
        peer.eof = True
        self._system.free_buffer(half)
        half.direct = None
        half.present = Present.FINALIZED
        if peer.present is Present.FINALIZED:
            self._system.pair_finished(self)

    def _open(self, end: int, call: str, *, peer: bool) -> Half:
        """Return the half that a call at ``end`` works on: its own, or its peer's."""
        if end != 0 and end != 1:
            raise InvalidRequestError("end", end, "must be 0 or 1")
        half = self.halves[end]
        if half.present is not Present.ACTIVE and (half.present is Present.FINALIZED or call in ("close", "busy")):
            raise PipeError(
                errno.EBADF, call
            )  # while it is closing, those who are busy inside still see the end of the file
        if not peer:
            return half
        other = self.halves[1 - end]
        if half.eof or other.present is not Present.ACTIVE:
            raise PipeError(errno.EPIPE, call)
        return other
