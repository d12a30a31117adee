"""`PipePair`: a pipe as its two descriptors see it: two halves, each with a buffer of its own; keeps PI2, PI3 and PI5.

The pair.  ``pipe(2)`` makes a *pair* of *halves* (the kernel's ``struct pipe``), one for each descriptor.  ``halves[0]``
belongs to fildes[0], the end that is usually read, ``halves[1]`` to fildes[1], the end that is usually written; both can be
read and written.  A half's buffer holds what will be *read* from its own end, so a write stores into the *peer's* buffer
(B20): the *forward* buffer is that of half 0, the *reverse* buffer that of half 1.  Most pipes are used forward only, which
is why eras differ most in what they do about the reverse half.

What buffer a half has is said elsewhere (:mod:`coalloc.pipes.buffers`): here are the calls.

Closing.  Closing an end sets EOF on both halves, waits until nobody is busy in its own half (B23), and frees that half's
buffer, whatever it holds.  Hence closing fildes[1] frees only the reverse buffer: the data written so far stay, until
fildes[0] is closed, too (B21).  The pair is given back when both halves are finished (PI5, B22).

Blocking.  Calls behave as on a non-blocking descriptor: what cannot be done now is EAGAIN.  A caller that models a blocked
writer keeps the rest, and hands it in again with ``rest_of`` (no size is chosen then, as in the kernel's loop).

Direct writes.  A large blocking write waits until the buffer is empty, and then lets its reader copy from the writer's own
pages, which are wired meanwhile.  Nothing goes into the buffer; older eras account the wired pages (their mapping is not
modelled).  A signal copies what is left into the buffer (``interrupt``); the write counts as whole, since its bytes were
counted when its pages were wired.

Who is asked.  Buffers are charged to the owner of the pipe; privilege and limit are those of the caller (B61).

Differences from the kernel: time stands still within a call; descriptors are numbers 0 and 1 here, the descriptor table is
another room's; a write that is not direct and meets a direct one is EAGAIN here, and sleeps in the kernel even if it may not
block.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

import attrs

from coalloc.errors import InvalidRequestError, PipeError
from coalloc.pipes.budget import Owner
from coalloc.pipes.buffers import Buffers
from coalloc.pipes.eras import PIPE_BUF, PIPE_SIZE, Backing, BlockSize, Era, Numbers
from coalloc.pipes.half import Half, Present
from coalloc.units import PAGE_SIZE

__all__ = ["KEvent", "Knote", "PipePair", "PipeStat", "PollState"]

_ACTIVE: Final = Present.ACTIVE  # as in buffers
_CLOSING: Final = Present.CLOSING
_FINALIZED: Final = Present.FINALIZED
_FIRST_WRITE: Final = Backing.FIRST_WRITE


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
    """What select(2) and poll(2) tell of an end: whether a read or a write would be served at once, or fail; and POLLHUP."""

    readable: bool
    writable: bool
    hung_up: bool = False


@attrs.frozen
class KEvent:
    """An event of kqueue(2).

    Args:
        data: Bytes that can be read (EVFILT_READ), or for which there is room (EVFILT_WRITE).
        eof: Whether the other end is closed (EV_EOF).
        oneshot: Whether this is the last event of its filter (EV_ONESHOT): the reader's close is finished.
    """

    data: int
    eof: bool
    oneshot: bool = False


@attrs.frozen
class Knote:
    """A filter on an end; made by :meth:`PipePair.knote`."""

    pair: PipePair
    end: int
    filter: Literal["read", "write"]

    def event(self) -> KEvent | None:
        """Return the event that is pending, or None: one is while there is data to read, or room for PIPE_BUF bytes, or EOF."""
        half = self.pair.halves[self.end]
        other, era = self.pair.halves[1 - self.end], self.pair.era
        if self.filter == "read":
            n = half.readable
            eof = half.eof or (era.eof_while_closing and other.present is not _ACTIVE)
            return KEvent(n, eof) if n or eof else None
        if other.present is not _ACTIVE:
            oneshot = era.knote_oneshot and other.present is _FINALIZED
            return KEvent(self.pair.room_at_eof(self.end), eof=True, oneshot=oneshot)
        room = self.pair.room_in_view(self.end)
        if not other.size and era.polls_unbacked and not other.lazy:
            room = PIPE_BUF
        return KEvent(room, half.eof) if room >= PIPE_BUF or half.eof else None


class PipePair:
    """A pipe, as its two descriptors see it; made by :meth:`PipeSystem.pipe`.

    Every ``end`` is 0 or 1, the index in ``fildes``.

    Args:
        buffers: What gives the halves their buffers.
        zone: The pairs that exist, by number; a pair leaves it when both halves are finished (PI5).
        number: The pair's number.
        owner: Who is charged for the buffers.
    """

    __slots__ = ("_buffers", "_zone", "halves", "number")

    def __init__(self, buffers: Buffers, zone: dict[int, PipePair], number: int, owner: Owner) -> None:
        self._buffers = buffers
        self._zone = zone
        self.number = number
        era = buffers.era
        self.halves = (
            Half(owner, lazy=era.forward is _FIRST_WRITE),
            Half(owner, lazy=era.reverse is _FIRST_WRITE),
        )

    @property
    def era(self) -> Era:
        """The rules that the pipe follows."""
        return self._buffers.era

    def __repr__(self) -> str:
        sizes = ", ".join(f"{half.present.name.lower()} {half.cnt}/{half.size}" for half in self.halves)
        return f"<PipePair {self.number}: {sizes}>"

    # --- data --------------------------------------------------------------------------------------

    def write(
        self, end: int, data: int | bytes, *, direct: bool = False, rest_of: int = 0, caller: Owner | None = None
    ) -> int:
        """Write bytes, or a number of bytes that stand for any, and return how many were taken.

        Args:
            end: The end that writes; the data go to the other end's buffer (B20).
            data: The bytes, or how many (>= 0).
            direct: Whether this is a blocking write from user space.  If at least pipe_mindirect bytes are to go and the
                buffer is no smaller, they go directly from the writer's pages, once the buffer is empty, in eras that do so.
            rest_of: Bytes of the write that blocked and that this is the rest of: the buffer's size is not chosen anew, and
                the rest is atomic only if the whole was.  0 for a new write.
            caller: Who writes, and is asked for privilege and limit; None for the owner.

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
        if self._buffers.era.one_way and end == 0:
            raise PipeError(errno.EBADF, "write")
        half = self._open(end, "write", peer=True)
        buffers = self._buffers
        if not rest_of:
            buffers.choose_size(half, n, caller)
            if not half.size:
                raise PipeError(errno.ENOMEM, "write")
        if not n:
            return 0
        if half.direct is not None:
            raise PipeError(errno.EAGAIN, "write")
        if direct and ((rest_of and half.awaits) or buffers.goes_directly(half, n)):
            half.awaits = half.cnt > 0
            if half.awaits:  # the kernel sleeps on "pipdwc" until it is drained, and stores nothing
                raise PipeError(errno.EAGAIN, "write")
            taken = min(n, half.size)
            buffers.hold(half, bytes(taken) if content is None else content[:taken])
        else:
            era, room = buffers.era, half.size - half.cnt
            whole = n if era.rest_is_atomic else rest_of or n
            if room < n and (room == 0 or whole <= PIPE_BUF):
                raise PipeError(errno.EAGAIN, "write")
            if era.stores_below is not None and half.cnt >= era.stores_below:
                raise PipeError(errno.EAGAIN, "write")
            taken = half.put(n, content)
            if half.high > half.touched:
                buffers.touch(half, half.high)
        buffers.writes += 1
        buffers.bytes_written += taken
        return taken

    def interrupt(self, end: int) -> int:
        """Let a signal end the direct write from an end: what nobody has read goes into the buffer (pipe_clone_write_buffer).

        Returns:
            How many bytes that is; the write has been counted as whole.

        Raises:
            PipeError: EBADF if the end is closed; EPIPE if the other is.
        """
        half = self._open(end, "write", peer=True)
        held = half.direct
        if not held:
            return 0
        self._buffers.hold(half, None)
        half.put(len(held), held)
        if half.high > half.touched:
            self._buffers.touch(half, half.high)
        return len(held)

    def read(
        self,
        end: int,
        n: int,
        *,
        into: bytearray | None = None,
        again: bool = False,
        blocks: bool = False,
        caller: Owner | None = None,
    ) -> int:
        """Read up to ``n`` bytes and return how many; 0 is the end of the file.

        Args:
            end: The end that reads.
            n: How many bytes at most, >= 0.
            into: Where to append them.
            again: Whether this goes on with a read that had to wait: the buffer's size is not looked at anew.
            blocks: Whether the descriptor blocks: such a read looks at the buffer's size before it finds it empty, in all eras.
            caller: Who reads, and is asked for privilege and limit; None for the owner.

        Raises:
            PipeError: EBADF if the end is closed, or only for writing; EAGAIN if there is nothing to read now.
            InvalidRequestError: For an end other than 0 and 1, or a negative number.
        """
        if type(n) is not int or n < 0:
            raise InvalidRequestError("n", n, "must be an int >= 0")
        buffers = self._buffers
        if buffers.era.one_way and end == 1:
            raise PipeError(errno.EBADF, "read")
        half = self._open(end, "read", peer=False)
        if not n:
            return 0  # before anything
        if not again and (half.readable or half.eof or blocks or not buffers.era.empty_read_is_cheap):
            buffers.shrink_on_read(half, caller)
        if half.direct is not None:
            held = half.direct[:n]
            buffers.hold(half, half.direct[len(held) :])
            if into is not None:
                into += held
            got = len(held)
        elif half.cnt:
            got = half.get(n, into)
        elif half.eof:
            return 0
        else:
            raise PipeError(errno.EAGAIN, "read")
        buffers.reads += 1
        buffers.bytes_read += got
        return got

    def buffered(self, end: int) -> int:
        """Return the bytes in the buffer that ``end`` reads from, those of a direct write not included."""
        return self.halves[end].cnt

    def room(self, end: int) -> int:
        """Return how many bytes a write at ``end`` could store now, 0 if the other end is closed.

        A half whose first write backs it has the room of the buffer that it would get.
        """
        half = self.halves[1 - end]
        if half.present is not _ACTIVE or half.direct is not None:
            return 0
        return half.space if half.size or not half.lazy else self._buffers.rule_size

    def room_in_view(self, end: int) -> int:
        """Return the room that select and kqueue see: that of :meth:`room`, or of a buffer that could be had (XNU)."""
        half, least = self.halves[1 - end], self._buffers.era.room_in_view
        if not least or half.present is not _ACTIVE or half.direct is not None:
            return self.room(end)
        return max(least, half.size) - half.cnt

    def room_at_eof(self, end: int) -> int:
        """Return the room that EVFILT_WRITE tells of when the reader has closed, or is closing (B55); 0 in older eras."""
        half = self.halves[1 - end]
        if not self._buffers.era.tells_room_at_eof or half.direct is not None:
            return 0
        return half.size - half.cnt if half.present is not _FINALIZED else half.left

    def readable(self, end: int) -> int:
        """Return the bytes that ``end`` can read now: those buffered, or those of a direct write."""
        return self.halves[end].readable

    def writes_directly(self, end: int) -> bool:
        """Tell whether a direct write from ``end`` is in progress: its writer sleeps until the last byte is read."""
        return self.halves[1 - end].direct is not None

    def set_size(self, size: int) -> int:
        """Refuse to change the size: only Linux has F_SETPIPE_SZ.

        Raises:
            PipeError: EINVAL, always.
        """
        del size
        raise PipeError(errno.EINVAL, "fcntl")

    def wakes_writer(self, end: int) -> bool:
        """Tell whether a writer at ``end`` that blocked would be woken: the buffer holds less than MINPIPESIZE."""
        half, below = self.halves[1 - end], self._buffers.era.wakes_below
        return half.direct is None and half.cnt < half.size and (below is None or half.cnt < below)

    # --- asking ------------------------------------------------------------------------------------

    def stat(self, end: int) -> PipeStat:
        """Return what fstat(2) tells of an end.

        Raises:
            PipeError: EBADF if the end is closed.

        Source: FreeBSD sys_pipe.c, pipe_stat.
        """
        half, era = self._open(end, "fstat", peer=False), self._buffers.era
        numbers = era.numbers
        if numbers is Numbers.AT_FSTAT:
            self._buffers.draw_number(half)
        shown = self.halves[0] if era.stat_size_reader else half
        size = shown.readable if era.stat_size_direct else shown.cnt
        return PipeStat(size, self._block_size(half), half.ino, 0 if numbers is Numbers.NONE else 1)

    def _block_size(self, half: Half) -> int:
        kind = self._buffers.era.stat_block
        if kind is BlockSize.PAGE:
            return PAGE_SIZE
        if kind is BlockSize.EITHER and not half.size:
            return max(each.size for each in self.halves)
        return max(half.size, PIPE_SIZE) if kind is BlockSize.AT_LEAST else half.size

    def poll(self, end: int) -> PollState:
        """Return what select(2) tells of an end: writable is one that has room for PIPE_BUF bytes.

        Raises:
            PipeError: EBADF if the end is closed.

        Source: FreeBSD sys_pipe.c, pipe_poll.
        """
        half, peer = self._open(end, "poll", peer=False), self.halves[1 - end]
        unbacked = self._buffers.era.polls_unbacked and not peer.size
        gone = half.eof or peer.present is not _ACTIVE  # PIPE_EOF is set before the close waits
        hung_up = gone if self._buffers.era.hup_while_closing else half.eof
        writable = gone or unbacked or self.room_in_view(end) >= PIPE_BUF
        return PollState(bool(half.readable) or half.eof, writable, hung_up)

    def knote(self, end: int, filter: Literal["read", "write"]) -> Knote:  # noqa: A002 (kqueue's word)
        """Register a filter on an end: EVFILT_READ or EVFILT_WRITE.

        Raises:
            PipeError: EBADF if the end is closed; for "write" the era's error, EPIPE mostly, if the other end is, but not while
                its close waits (B58).

        Source: FreeBSD sys_pipe.c, pipe_kqfilter, filt_piperead and filt_pipewrite.
        """
        if filter not in ("read", "write"):
            raise InvalidRequestError("filter", filter, "must be 'read' or 'write'")
        self._open(end, "kevent", peer=False)
        failure = self._buffers.era.knote_errno
        if filter == "write" and failure is not None and self.halves[1 - end].present is _FINALIZED:
            raise PipeError(failure, "kevent")
        return Knote(self, end, filter)

    # --- life --------------------------------------------------------------------------------------

    def close(self, end: int) -> bool:
        """Close an end, and return whether that is finished; if not, it will be when the last call leaves the half (B23).

        Raises:
            PipeError: EBADF if it is closed already (B22).
            InvalidRequestError: For an end other than 0 and 1.
        """
        if end != 0 and end != 1:
            raise InvalidRequestError("end", end, "must be 0 or 1")
        half = self.halves[end]
        if half.present is not _ACTIVE:
            raise PipeError(errno.EBADF, "close")
        half.present = _CLOSING
        half.eof = True
        if half.busy:
            return False
        self._finish(end)
        return True

    @property
    def finished(self) -> bool:
        """Whether both halves are finished; the pair has left its zone then (PI5)."""
        forward, reverse = self.halves
        return forward.present is _FINALIZED and reverse.present is _FINALIZED

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
            if not half.busy and half.present is _CLOSING:
                self._finish(end)

    def _finish(self, end: int) -> None:
        half, peer = self.halves[end], self.halves[1 - end]
        peer.eof = True
        self._buffers.hold(half, None)
        half.left = half.size - half.cnt
        together = self._buffers.era.freed_together
        if half.size and not together:
            self._buffers.free_buffer(half)
        self._buffers.return_number(half)
        half.present = _FINALIZED
        if together and peer.present is _FINALIZED:
            for each in self.halves:
                self._buffers.free_buffer(each)
        if peer.present is _FINALIZED:
            del self._zone[self.number]

    def _open(self, end: int, call: str, *, peer: bool) -> Half:
        """Return the half that a call at ``end`` works on: its own, or its peer's."""
        if end != 0 and end != 1:
            raise InvalidRequestError("end", end, "must be 0 or 1")
        half = self.halves[end]
        # While a half is closing, those who are busy inside still see the end of the file.
        if half.present is not _ACTIVE and (half.present is _FINALIZED or call == "busy"):
            raise PipeError(errno.EBADF, call)
        if not peer:
            return half
        other = self.halves[1 - end]
        if half.eof or other.present is not _ACTIVE:
            raise PipeError(errno.EPIPE, call)
        return other
