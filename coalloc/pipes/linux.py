"""Linux's pipe: a ring of page slots, pages that are taken when data are written, and limits per user (B53, B67 to B72).

A pipe has no buffer of its own: its ring has slots, and each slot that is in use refers to a page, or part of one.  So nothing
is mapped for a pipe, and what is charged to its user is the number of slots.

Writing.  What is over from whole pages goes behind the last slot if it fits into its page, and the slot may be merged into:
only a write makes such slots, and a part that was teed or spliced loses that.  The rest opens slots.  With ``packet``
(O_DIRECT) each slot is a packet: a read takes one, and drops what does not fit.

Pages.  A page that has been read is kept for the next write, up to two in a pipe, unless another slot still refers to it.
Pages that were spliced in from files or given by vmsplice are not the pipe's, and are not counted.

Descriptors are one-way: end 1 writes, end 0 reads.  Keeps PI1 in this sense: the bytes in use are those of the pages of all
pipes; and PI2 and PI3.

Versions of Linux differ by a record (:class:`~coalloc.pipes.eras.LinuxState`).  Not done: watch queues, faults of user memory.

Source: Linux fs/pipe.c and fs/splice.c (alloc_pipe_info, pipe_write, pipe_read, pipe_poll, pipe_set_size, link_pipe,
splice_pipe_to_pipe, vmsplice_to_pipe), versions as the records say; the soft limit: commit 759c01142a5d.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Sequence
from typing import cast

import attrs

from coalloc.checked import Checked
from coalloc.errors import ExhaustionError, InvalidRequestError, PipeError, Violation
from coalloc.pipes.budget import ROOT, ConsoleLine, Owner
from coalloc.pipes.eras import LinuxState, ReadWakes, WriteWakes
from coalloc.pipes.protocol import PipeCounters
from coalloc.pipes.states import STATES
from coalloc.sched.clock import SimClock
from coalloc.space.protocol import FullSpace
from coalloc.units import PAGE_SIZE, Extremes, is_power_of_two

__all__ = [
    "PIPE_DEF_BUFFERS",
    "PIPE_MAX_SIZE",
    "PIPE_MIN_DEF_BUFFERS",
    "PIPE_USER_PAGES_SOFT",
    "UIO_MAXIOV",
    "LinuxPage",
    "LinuxPipe",
    "LinuxPipes",
    "LinuxPoll",
]

PIPE_DEF_BUFFERS = 16
"""Slots of a new pipe."""
PIPE_MIN_DEF_BUFFERS = 2
"""Slots of a new pipe whose user is above the soft limit."""
PIPE_MAX_SIZE = 1 << 20
"""Bytes that the unprivileged may set a pipe to (fs.pipe-max-size)."""
UIO_MAXIOV = 1024
"""The most parts that a call may give."""
PIPE_USER_PAGES_SOFT = PIPE_DEF_BUFFERS * 1024
"""Slots that a user's pipes may have together before new ones are made small (fs.pipe-user-pages-soft)."""


@attrs.define(eq=False)
class LinuxPage:
    """A page: its address, -1 if it is not the pipes'; and how many slots refer to it."""

    address: int
    slots: int = 1


@attrs.define(eq=False)
class _Slot:
    """Part of a page that holds data; the content is kept only where bytes were written."""

    page: LinuxPage
    start: int
    length: int
    content: bytes | None
    merges: bool = True
    packet: bool = False


def _joined(slot: _Slot, content: bytes | None, n: int) -> bytes:
    """Return the content of a slot with so many bytes more; zeros stand for those of which only a number is known."""
    before = bytes(slot.length) if slot.content is None else slot.content
    return before + (bytes(n) if content is None else content)


class _Ring:
    """What an end can read."""

    __slots__ = ("cnt", "slots")

    def __init__(self) -> None:
        self.slots: deque[_Slot] = deque()
        self.cnt = 0


class _End:
    """One end, with the ring that it reads from."""

    __slots__ = ("closed", "ring")

    def __init__(self) -> None:
        self.ring = _Ring()
        self.closed = False


@attrs.frozen
class LinuxPoll:
    """What poll(2) tells of an end: POLLIN, POLLOUT, POLLERR and POLLHUP."""

    readable: bool
    writable: bool
    error: bool
    hung_up: bool


class LinuxPipe:
    """A pipe; made by :meth:`LinuxPipes.pipe`.

    Attributes:
        reader_wakeups: How often those who wait to read were woken, and
        writer_wakeups: those who wait to write, by the rules of the version; whether anybody waits is not asked.
    """

    __slots__ = (
        "_polled", "_system", "bytes_in", "bytes_out", "halves", "max_slots", "number", "owner", "reader_wakeups", "spares",
        "writer_wakeups",
    )  # fmt: skip

    def __init__(self, system: LinuxPipes, number: int, owner: Owner, slots: int) -> None:
        self._system = system
        self.number = number
        self.owner = owner
        self.max_slots = slots
        """Slots of the ring, each for a page."""
        self.halves = (_End(), _End())
        self.spares: list[LinuxPage] = []
        """Pages that were read, kept for the next write."""
        self.bytes_in = self.bytes_out = 0
        self.reader_wakeups = self.writer_wakeups = 0
        self._polled = False

    def __repr__(self) -> str:
        ring = self.halves[0].ring
        return f"<LinuxPipe {self.number}: {ring.cnt} bytes in {len(ring.slots)}/{self.max_slots} slots>"

    # --- data --------------------------------------------------------------------------------------

    def write(
        self,
        end: int,
        data: int | bytes,
        *,
        direct: bool = False,
        rest_of: int = 0,
        packet: bool = False,
        ahead: list[LinuxPage] | None = None,
        over: list[LinuxPage] | None = None,
    ) -> int:
        """Write bytes, or a number that stands for any, and return how many were taken.

        Args:
            end: Must be 1.
            data: The bytes, or how many (>= 0).
            direct: Ignored: there are no direct writes.
            rest_of: Bytes of the write that this is the rest of, which is not merged any more; 0 for a new one.
            packet: Whether the descriptor has O_DIRECT, so that each page of it is a packet.
            ahead: Pages that the caller took for it (:meth:`LinuxPipes.pages_ahead`), and keeps if they are not needed; None
                lets the write take and give them back itself.
            over: Where to put pages that the pool does not keep, for the caller to give back (:meth:`LinuxPipes.put_over`);
                None gives them back at once.

        Raises:
            PipeError: EBADF for end 0 or a closed one, EPIPE if nobody reads, EAGAIN if there is no free slot, ENOMEM if there
                is no page.  A write of up to a page is taken whole or not at all.
            InvalidRequestError: For an end other than 0 and 1, a negative number, or a ``rest_of`` below it.
        """
        del direct
        content = data if isinstance(data, bytes) else None
        n = data if type(data) is int else len(content) if content is not None else -1
        if n < 0:
            raise InvalidRequestError("data", data, "bytes, or a number of them >= 0, are needed")
        if rest_of and rest_of < n:
            raise InvalidRequestError("rest_of", rest_of, f"must be at least the rest, {n}")
        reader, writer = self.halves
        if end != 1 or writer.closed:
            raise self._refusal(end, "write")
        if not n:
            return 0
        if reader.closed:
            raise PipeError(errno.EPIPE, "write")
        ring, system = reader.ring, self._system
        slots, unit = ring.slots, system.page_size
        was_empty = not slots
        own = system.pages_ahead(n, len(self.spares)) if ahead is None else ahead
        if system.state.one_pool:
            self.put_ahead(own)
        done = 0
        if slots:
            last = slots[-1]
            tail = n % unit  # what is over from whole pages goes behind the last
            if tail and not rest_of and last.merges and last.start + last.length + tail <= unit:
                if content is not None or last.content is not None:
                    last.content = _joined(last, content[:tail] if content is not None else None, tail)
                last.length += tail
                done = tail
        while done < n and len(slots) < self.max_slots:
            page = system.from_hand(own) if own else self.spares.pop() if self.spares else system.take_page()
            if page is None:
                break
            length = min(unit, n - done)
            part = content[done : done + length] if content is not None else None
            slots.append(_Slot(page, 0, length, part, merges=not packet, packet=packet))
            done += length
        if ahead is None:
            self.put_ahead(own)
        if over is None or done == n:
            self.trim(over)
        if not done:
            raise PipeError(errno.EAGAIN if len(slots) == self.max_slots else errno.ENOMEM, "write")
        ring.cnt += done
        self.bytes_in += done
        system.writes += 1
        system.bytes_written += done
        wakes = system.state.write_wakes
        self.reader_wakeups += wakes is WriteWakes.ALWAYS or was_empty or (wakes is WriteWakes.POLLED and self._polled)
        return done

    def read(self, end: int, n: int, *, into: bytearray | None = None, over: list[LinuxPage] | None = None) -> int:
        """Read up to ``n`` bytes and return how many; 0 is the end of the file.

        A read ends with the first packet that it meets, and what of that does not fit is dropped.

        Args:
            end: Must be 0.
            n: How many bytes at most, >= 0.
            into: Where to append them; zeros stand for those of which only a number was written.
            over: As :meth:`write`.

        Raises:
            PipeError: EBADF for end 1 or a closed one, EAGAIN if there is nothing to read now.
            InvalidRequestError: For an end other than 0 and 1, or a negative number.
        """
        if type(n) is not int or n < 0:
            raise InvalidRequestError("n", n, "must be an int >= 0")
        reader, writer = self.halves
        if end != 0 or reader.closed:
            raise self._refusal(end, "read")
        ring, system = reader.ring, self._system
        if not n:
            return 0
        if not ring.slots:
            if writer.closed:
                return 0
            raise PipeError(errno.EAGAIN, "read")
        left, slots = n, ring.slots
        was_full, freed_full, dropped = len(slots) >= self.max_slots, False, 0
        freed = False
        while left and slots:
            slot = slots[0]
            taken = min(left, slot.length)
            if into is not None:
                into += bytes(taken) if slot.content is None else slot.content[:taken]
            left -= taken
            if slot.packet:
                dropped += slot.length - taken
                taken, ends = slot.length, True
            else:
                ends = False
            if slot.content is not None:
                slot.content = slot.content[taken:]
            slot.start += taken
            slot.length -= taken
            if not slot.length:
                freed_full |= len(slots) >= self.max_slots
                freed = True
                slots.popleft()
                self.put_page(slot.page)
            if ends:
                break
        self.trim(over)
        done = n - left
        ring.cnt -= done + dropped
        self.bytes_out += done + dropped
        system.reads += 1
        system.bytes_read += done
        wakes = system.state.read_wakes
        self.writer_wakeups += {
            ReadWakes.SLOT: freed, ReadWakes.FULL: was_full, ReadWakes.FULL_SLOT: freed_full,
        }[wakes]  # fmt: skip
        return done

    def buffered(self, end: int) -> int:
        """Return the bytes in the ring that ``end`` reads from; end 1 has none (FIONREAD tells both ends those of end 0)."""
        return self.halves[end].ring.cnt

    def readable(self, end: int) -> int:
        """Return the bytes that ``end`` can read: those that are buffered, since there are no direct writes."""
        return self.buffered(end)

    def writes_directly(self, end: int) -> bool:
        """Tell whether a direct write is in progress: never."""
        del end
        return False

    def wakes_writer(self, end: int) -> bool:
        """Tell whether a writer that blocked would be woken: there is a free slot."""
        return end == 1 and len(self.halves[0].ring.slots) < self.max_slots

    def poll(self, end: int) -> LinuxPoll:
        """Tell what events an end has; from then on the pipe is one that somebody has polled.

        Raises:
            PipeError: EBADF if the end is closed.
        """
        if end not in (0, 1) or self.halves[end].closed:
            raise self._refusal(end, "poll")
        self._polled = True
        reader, writer = self.halves
        n = len(reader.ring.slots)
        if end == 0:
            return LinuxPoll(n > 0, writable=False, error=False, hung_up=writer.closed)
        return LinuxPoll(readable=False, writable=n < self.max_slots, error=reader.closed, hung_up=False)

    # --- splice, tee and vmsplice -------------------------------------------------------------------

    def tee(self, other: LinuxPipe, n: int) -> int:
        """Let another pipe have up to ``n`` of the bytes here, which stay (tee(2) with SPLICE_F_NONBLOCK).

        The other pipe refers to the same pages, and no write goes on in them there.

        Raises:
            PipeError: As :meth:`splice`.
        """
        return self._link(other, n, "tee", moves=False)

    def splice(self, other: LinuxPipe, n: int) -> int:
        """Move up to ``n`` bytes to another pipe (splice(2) with SPLICE_F_NONBLOCK); 0 is the end of the file.

        Slots move whole, as they are; of the last one part may move, and a write does not go on in that part.

        Raises:
            PipeError: EBADF for a closed end, EINVAL for the same pipe, EPIPE if nobody reads there, EAGAIN if there is nothing
                here, or no slot there.
        """
        return self._link(other, n, "splice", moves=True)

    def _link(self, other: LinuxPipe, n: int, call: str, *, moves: bool) -> int:
        """Let another pipe refer to the pages of this one, in its order."""
        if type(n) is not int or n < 0:
            raise InvalidRequestError("n", n, "must be an int >= 0")
        if not n:
            return 0
        if self.halves[0].closed or other.halves[1].closed:
            raise PipeError(errno.EBADF, call)
        if other is self:
            raise PipeError(errno.EINVAL, call)
        source, target = self.halves[0].ring, other.halves[0].ring
        if not source.slots and not self.halves[1].closed:
            raise PipeError(errno.EAGAIN, call)
        if other.halves[0].closed:
            raise PipeError(errno.EPIPE, call)
        if len(target.slots) >= other.max_slots:
            raise PipeError(errno.EAGAIN, call)
        if not source.slots:
            return 0
        done = at = 0
        while done < n and at < len(source.slots) and len(target.slots) < other.max_slots:
            slot = source.slots[at]
            taken = min(slot.length, n - done)
            if moves and taken == slot.length:
                target.slots.append(source.slots.popleft())
            else:
                slot.page.slots += 1
                part = None if slot.content is None else slot.content[:taken]
                merges = slot.merges and self._system.state.tee_merges
                target.slots.append(_Slot(slot.page, slot.start, taken, part, merges=merges, packet=slot.packet))
                if moves:
                    slot.start += taken
                    slot.length -= taken
                    slot.content = None if slot.content is None else slot.content[taken:]
                else:
                    at += 1
            done += taken
        target.cnt += done
        other.bytes_in += done
        if moves:
            source.cnt -= done
            self.bytes_out += done
        return done

    def vmsplice(self, sizes: Sequence[int], *, offset: int = 0, gift: bool = False) -> int:
        """Give pages of user memory to the pipe (vmsplice(2) with SPLICE_F_NONBLOCK), and return how many bytes were taken.

        Args:
            sizes: Bytes of each part, which takes a slot for each page that it touches; one of 0 takes none.
            offset: How far into a page each part begins.
            gift: Whether the pages are given away (SPLICE_F_GIFT), which changes nothing here.

        Raises:
            PipeError: EBADF for a closed end, EINVAL for more than 1,024 parts, EPIPE if nobody reads, EAGAIN if there is no
                free slot.
            InvalidRequestError: For a negative number.
        """
        del gift
        reader, writer = self.halves
        for what, value in (*(("sizes", size) for size in sizes), ("offset", offset)):
            if type(value) is not int or value < 0:
                raise InvalidRequestError(what, value, "must be an int >= 0")
        if len(sizes) > UIO_MAXIOV:
            raise PipeError(errno.EINVAL, "vmsplice")
        if writer.closed:
            raise PipeError(errno.EBADF, "vmsplice")
        if not sum(sizes):
            return 0
        return self._fill(
            reader, [n for size in sizes for n in _parts(offset, size, self._system.page_size)], "vmsplice"
        )

    def splice_from_file(self, offset: int, n: int) -> int:
        """Take pages of a file in (splice(2) with SPLICE_F_NONBLOCK), and return how many bytes were taken.

        Args:
            offset: Where in the file they begin, bytes.
            n: Bytes, all of them in the file.

        Raises:
            PipeError: As :meth:`vmsplice`; not even EBADF for 0 bytes.
            InvalidRequestError: For a negative number.
        """
        reader, writer = self.halves
        for what, value in (("offset", offset), ("n", n)):
            if type(value) is not int or value < 0:
                raise InvalidRequestError(what, value, "must be an int >= 0")
        if not n:
            return 0
        if writer.closed:
            raise PipeError(errno.EBADF, "splice")
        unit = self._system.page_size
        free = self.max_slots - len(reader.ring.slots)
        return self._fill(reader, _parts(offset % unit, min(n, free * unit) if free > 0 else n, unit), "splice")

    def _fill(self, reader: _End, parts: list[int], call: str) -> int:
        """Let so many bytes of foreign pages into slots, one for each part, as far as there are free ones."""
        if reader.closed:
            raise PipeError(errno.EPIPE, call)
        ring = reader.ring
        if len(ring.slots) >= self.max_slots:
            raise PipeError(errno.EAGAIN, call)
        done = 0
        for part in parts[: self.max_slots - len(ring.slots)]:
            ring.slots.append(_Slot(LinuxPage(-1), 0, part, None, merges=False))
            done += part
        ring.cnt += done
        self.bytes_in += done
        return done

    # --- size ----------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes of the ring (fcntl F_GETPIPE_SZ)."""
        return self.max_slots * self._system.page_size

    def set_size(self, size: int, *, caller: Owner | None = None) -> int:
        """Change the ring (fcntl F_SETPIPE_SZ), and return its size in bytes.

        Args:
            size: Bytes, an unsigned int of 32 bits, of which more is cut off; rounded up to a power of two of pages.
            caller: Whose call it is, who is asked for capabilities; None for the owner, who is charged.

        Raises:
            PipeError: EBADF if both ends are closed, EINVAL above 2**31, EPERM if the unprivileged ask for more than
                fs.pipe-max-size or grow while the owner is above a limit, ENOMEM if there is no such ring, EBUSY if more slots
                are in use.
        """
        if self.finished:
            raise PipeError(errno.EBADF, "fcntl")
        system, state = self._system, self._system.state
        caller = self.owner if caller is None else caller
        if type(size) is int and state.size_is_unsigned:
            size &= 2**32 - 1
        if type(size) is not int or not 0 <= size <= 2**31:
            raise PipeError(errno.EINVAL, "fcntl")
        pages = -(-size // system.page_size) or 1
        slots = 1 << (pages - 1).bit_length()
        grows = slots > self.max_slots
        if (
            (grows or not state.shrinks_freely)
            and slots * system.page_size > system.max_size
            and not caller.may_exceed_size
        ):
            raise PipeError(errno.EPERM, "fcntl")
        if (grows or not state.shrinks_freely) and system.too_many(self.owner, slots - self.max_slots, caller):
            raise PipeError(errno.EPERM, "fcntl")
        if slots * state.slot_bytes > state.largest_ring:
            raise PipeError(errno.ENOMEM, "fcntl")
        if slots < len(self.halves[0].ring.slots):
            raise PipeError(errno.EBUSY, "fcntl")
        system.charge(self.owner, slots - self.max_slots)
        self.max_slots = slots
        self.writer_wakeups += 1
        return slots * system.page_size

    # --- life ----------------------------------------------------------------------------------------

    def close(self, end: int) -> bool:
        """Close an end; everything goes when both are closed.

        Raises:
            PipeError: EBADF if it is closed already.
            InvalidRequestError: For an end other than 0 and 1.
        """
        if (end != 0 and end != 1) or self.halves[end].closed:
            raise self._refusal(end, "close")
        self.halves[end].closed = True
        if self.finished:
            ring = self.halves[0].ring
            for slot in ring.slots:
                self._system.put_page(slot.page)
            ring.slots.clear()
            ring.cnt = 0
            for page in self.spares:
                self._system.put_page(page)
            self.spares = []
            self._system.take_back(self)
        return True

    @property
    def finished(self) -> bool:
        """Whether both ends are closed, and all pages given back."""
        return self.halves[0].closed and self.halves[1].closed

    def put_ahead(self, ahead: list[LinuxPage]) -> None:
        """Keep pages that were taken before a write and not needed as spares; the others are given back."""
        while ahead:
            self.put_page(self._system.from_hand(ahead))

    def trim(self, over: list[LinuxPage] | None = None) -> None:
        """Take from the pool what it does not keep between calls: give it back, or let the caller have it in ``over``."""
        while len(self.spares) > self._system.state.spares:
            if over is None:
                self._system.put_page(self.spares.pop())
            else:
                self._system.to_hand(self.spares.pop(), over)

    def put_page(self, page: LinuxPage) -> None:
        """Keep a page that nobody else refers to as a spare, if there is a place for it and the pipe is still there."""
        room = self._system.state.most_spares if not self.finished else 0
        if page.address >= 0 and page.slots == 1 and len(self.spares) < room:
            self.spares.append(page)
        else:
            self._system.put_page(page)

    def _refusal(self, end: int, call: str) -> InvalidRequestError | PipeError:
        """Return the error for a call at an end that is closed, of the wrong direction, or not there."""
        if end != 0 and end != 1:
            return InvalidRequestError("end", end, "must be 0 or 1")
        return PipeError(errno.EBADF, call)


def _parts(start: int, n: int, unit: int) -> list[int]:
    """Cut bytes that begin so far into a page at the ends of pages."""
    first = min(unit - start, n) if start else 0
    left = n - first
    return [part for part in (first, *[unit] * (left // unit), left % unit) if part]


class LinuxPipes(Checked):
    """Create pipes as Linux does.

    Args:
        space: Where pages come from, one at a time.
        clock: Tells the simulated time; one of its own if None.
        state: The version of Linux; ``STATES["linux"]`` if None.
        pages_soft: Slots of a user above which new pipes are made small (fs.pipe-user-pages-soft); 0 is none, None the state's.
        pages_hard: Slots of a user above which pipe(2) fails (fs.pipe-user-pages-hard); likewise.
        max_size: Bytes above which only the privileged set a size (fs.pipe-max-size); None is the state's.
        page_size: Bytes of a page, a power of two.

    Attributes:
        writes: Writes that stored something, and
        bytes_written: what they stored; likewise
        reads: and
        bytes_read: for what was taken out.
        pages_taken: How many pages were taken, and
        pages_put: given back.

    Raises:
        InvalidRequestError: For a limit that is negative, or a page size that is none.

    >>> from coalloc.space import CoalescingSpace
    >>> from coalloc.vm import KernelMap
    >>> system = LinuxPipes(CoalescingSpace(KernelMap(), kva_limit=1 << 24))
    >>> pipe = system.pipe()
    >>> pipe.write(1, 100), pipe.write(1, 100), pipe.read(0, 4096)
    (100, 100, 200)
    """

    def __init__(
        self,
        space: FullSpace,
        *,
        clock: SimClock | None = None,
        state: LinuxState | None = None,
        pages_soft: int | None = None,
        pages_hard: int | None = None,
        max_size: int | None = None,
        page_size: int = PAGE_SIZE,
    ) -> None:
        self.state = cast("LinuxState", STATES["linux"]) if state is None else state
        for what, value in (("pages_soft", pages_soft), ("pages_hard", pages_hard), ("max_size", max_size)):
            if value is not None and (type(value) is not int or value < 0):
                raise InvalidRequestError(what, value, "must be an int >= 0")
        if type(page_size) is not int or page_size < 1 or not is_power_of_two(page_size):
            raise InvalidRequestError("page_size", page_size, "must be a power of two")
        self.space = space
        self.clock = SimClock() if clock is None else clock
        self.pages_soft = self.state.pages_soft if pages_soft is None else pages_soft
        self.pages_hard = self.state.pages_hard if pages_hard is None else pages_hard
        self.max_size = self.state.max_size if max_size is None else max_size
        self.page_size = page_size
        self._pipes: dict[int, LinuxPipe] = {}
        self._slots: dict[int, int] = {}  # by uid
        self._pages = self._past_peak = 0
        self._least = self._most = 0  # pages since the last call of extremes
        self._created = self._refused = self._small = self._peak_pipes = 0
        self.writes = self.bytes_written = self.reads = self.bytes_read = 0
        self.pages_taken = self.pages_put = 0
        self._in_hand = 0  # pages that were taken before a write that has not ended

    @property
    def kva_used(self) -> int:
        """Bytes of the pages that pipes hold."""
        return self._pages * self.page_size

    @property
    def peak_kva_used(self) -> int:
        """Most bytes of pages held at any time."""
        return max(self._most, self._past_peak) * self.page_size

    def extremes(self) -> Extremes:
        """Return the least and the most bytes of pages since the last call; those that are there begin the next."""
        self._past_peak = max(self._past_peak, self._most)
        found = Extremes(self._least * self.page_size, self._most * self.page_size)
        self._least = self._most = self._pages
        return found

    @property
    def console_lines(self) -> Sequence[ConsoleLine]:
        """What was printed on the console: nothing."""
        return ()

    def pipe(self, owner: Owner = ROOT) -> LinuxPipe:
        """Create a pipe: 16 slots, or 2 if its user is above the soft limit, and unprivileged.

        Raises:
            PipeError: ENFILE if its user is above the hard limit, and unprivileged.
        """
        state = self.state
        slots = PIPE_DEF_BUFFERS
        if slots * self.page_size > self.max_size and not owner.may_exceed_size:
            slots = max(self.max_size // self.page_size, 1)
        if self._above(owner, slots, self.pages_soft):
            slots = state.beyond_soft
        if self._above(owner, slots, self.pages_hard):
            self._refused += 1
            raise PipeError(errno.ENFILE, "pipe")
        self.charge(owner, slots)
        self._created += 1
        self._small += slots < PIPE_DEF_BUFFERS
        pipe = LinuxPipe(self, self._created + self._refused - 1, owner, slots)
        self._pipes[pipe.number] = pipe
        self._peak_pipes = max(self._peak_pipes, len(self._pipes))
        return pipe

    def charged(self, owner: Owner) -> int:
        """Return how many slots a user is charged for."""
        return self._slots.get(owner.uid, 0)

    def counters(self) -> PipeCounters:
        """Return what was counted; ``kva_used`` is the bytes of the pages held."""
        return PipeCounters(
            pipes_created=self._created,
            pipes_refused=self._refused,
            pipes_small=self._small,
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

    def charge(self, owner: Owner, slots: int) -> None:
        """Charge a user, or refund a negative number."""
        self._slots[owner.uid] = self._slots.get(owner.uid, 0) + slots

    def _above(self, owner: Owner, slots: int, limit: int) -> bool:
        """Tell whether a new pipe of so many slots takes its user above a limit that holds for them."""
        if not limit or (owner.may_exceed_limits and self.state.root_is_exempt):
            return False
        charged = self.charged(owner)
        return charged >= limit if self.state.limits_are_reached else charged + slots > limit

    def too_many(self, owner: Owner, more: int, caller: Owner) -> bool:
        """Tell whether so many more slots would take an owner above a limit, which holds for this caller."""
        wanted = self.charged(owner) + more
        if self.state.limits_are_reached:
            wanted = self.charged(owner) + 1
        return not caller.may_exceed_limits and any(
            limit and wanted > limit for limit in (self.pages_soft, self.pages_hard)
        )

    def take_page(self) -> LinuxPage | None:
        """Take a page; None if there is none."""
        try:
            address = self.space.alloc(self.page_size)
        except ExhaustionError:
            return None
        self.space.touch(address, self.page_size)
        self._pages += 1
        self.pages_taken += 1
        self._most = max(self._most, self._pages)
        return LinuxPage(address)

    def pages_ahead(self, n: int, spares: int = 0) -> list[LinuxPage]:
        """Take the pages that a write of ``n`` bytes takes before the mutex, in versions that do so.

        Args:
            n: Bytes of the write.
            spares: Pages that the pipe has, as far as the writer sees; they count where there is one pool.
        """
        state = self.state
        if not state.pages_ahead or (n <= self.page_size and not state.one_pool):
            return []
        wanted = min(-(-n // self.page_size), state.pages_ahead)
        pages = []
        for _ in range(max(wanted - spares, 0) if state.one_pool else wanted):
            page = self.take_page()
            if page is None:
                break
            pages.append(page)
        self._in_hand += len(pages)
        return pages

    def from_hand(self, ahead: list[LinuxPage]) -> LinuxPage:
        """Return the last of the pages that were taken before a write."""
        self._in_hand -= 1
        return ahead.pop()

    def to_hand(self, page: LinuxPage, hand: list[LinuxPage]) -> None:
        """Let a caller have a page."""
        self._in_hand += 1
        hand.append(page)

    def put_over(self, over: list[LinuxPage]) -> None:
        """Give back pages that a pool did not keep."""
        while over:
            self.put_page(self.from_hand(over))

    def put_page(self, page: LinuxPage) -> None:
        """Give a page back, when no slot refers to it any more; one that is not the pipes' is forgotten."""
        page.slots -= 1
        if page.address < 0 or page.slots:
            return
        self.space.discard(page.address, self.space.size_of(page.address))
        self.space.free(page.address)
        self._pages -= 1
        self.pages_put += 1
        self._least = min(self._least, self._pages)

    def take_back(self, pipe: LinuxPipe) -> None:
        """Take back a pipe of which both ends are closed."""
        self.charge(pipe.owner, -pipe.max_slots)
        del self._pipes[pipe.number]

    # --- check -------------------------------------------------------------------------------------

    def violations(self) -> tuple[Violation, ...]:
        """Return every broken invariant (PI1, PI2, PI3), recomputed from the pipes."""
        found = []
        pages: set[int] = set()
        spares: list[int] = []
        by_user: dict[int, int] = {}
        for pipe in self._pipes.values():
            ring = pipe.halves[0].ring
            for slot in ring.slots:
                if slot.page.address >= 0:
                    pages.add(slot.page.address)
            spares += [page.address for page in pipe.spares]
            by_user[pipe.owner.uid] = by_user.get(pipe.owner.uid, 0) + pipe.max_slots
            held = sum(slot.length for slot in ring.slots)
            if ring.cnt != held or len(ring.slots) > pipe.max_slots:
                found.append(Violation("PI2", f"pipe {pipe.number} counts {ring.cnt} bytes, its slots hold {held}"))
            if any(not 0 < slot.length <= self.page_size - slot.start for slot in ring.slots):
                found.append(Violation("PI2", f"pipe {pipe.number} has a slot that is empty, or ends behind its page"))
            if len(pipe.spares) > self.state.most_spares:
                found.append(Violation("PI1", f"pipe {pipe.number} keeps {len(pipe.spares)} pages"))
            if pipe.bytes_in - pipe.bytes_out != ring.cnt:
                found.append(
                    Violation("PI3", f"pipe {pipe.number}: bytes in less bytes out are not those that it holds")
                )
        if len({*spares}) < len(spares) or not pages.isdisjoint(spares):
            found.append(Violation("PI1", "a page is kept twice, or kept and used"))
        pages.update(spares)
        if len(pages) + self._in_hand != self._pages:
            held = len(pages) + self._in_hand
            found.append(Violation("PI1", f"{self._pages} pages are counted, the pipes hold {held}"))
        if by_user != {uid: slots for uid, slots in self._slots.items() if slots}:
            found.append(Violation("PI1", "users are charged for other slots than their pipes have"))
        return tuple(found)
