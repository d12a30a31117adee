"""Linux's pipe: a ring of page slots, pages that are taken when data are written, and limits per user (B53).

A pipe has no buffer of its own: its ring has slots, and each slot that is in use refers to a page, or part of one.  So nothing
is mapped for a pipe, and what is charged to its user is the number of slots.  A small write goes into the last page if it
fits there whole; a page that has been read is kept for the next write, one for each pipe, and given back otherwise.

Descriptors are one-way: end 1 writes, end 0 reads.  Keeps PI1 in this sense: the bytes in use are those of the pages of all
pipes; and PI2 and PI3.

Not done: splice, packets, watch queues.

Source: Linux fs/pipe.c of 2025 (alloc_pipe_info, pipe_write, pipe_read, pipe_set_size); the soft limit: commit 759c01142a5d.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Sequence

import attrs

from coalloc.checked import Checked
from coalloc.errors import ExhaustionError, InvalidRequestError, PipeError, Violation
from coalloc.pipes.budget import ROOT, ConsoleLine, Owner
from coalloc.pipes.protocol import PipeCounters
from coalloc.sched.clock import SimClock
from coalloc.space.protocol import FullSpace
from coalloc.units import PAGE_SIZE, Extremes

__all__ = [
    "PIPE_DEF_BUFFERS",
    "PIPE_MAX_SIZE",
    "PIPE_MIN_DEF_BUFFERS",
    "PIPE_USER_PAGES_SOFT",
    "LinuxPipe",
    "LinuxPipes",
]

PIPE_DEF_BUFFERS = 16
"""Slots of a new pipe."""
PIPE_MIN_DEF_BUFFERS = 2
"""Slots of a new pipe whose user is above the soft limit."""
PIPE_MAX_SIZE = 1 << 20
"""Bytes that the unprivileged may set a pipe to (fs.pipe-max-size)."""
PIPE_USER_PAGES_SOFT = PIPE_DEF_BUFFERS * 1024
"""Slots that a user's pipes may have together before new ones are made small (fs.pipe-user-pages-soft)."""


@attrs.define(eq=False)
class _Slot:
    """Part of a page that holds data; the content is kept only where bytes were written."""

    page: int
    start: int
    length: int
    content: bytes | None


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


class LinuxPipe:
    """A pipe; made by :meth:`LinuxPipes.pipe`."""

    __slots__ = ("_system", "bytes_in", "bytes_out", "halves", "max_slots", "number", "owner", "spare")

    def __init__(self, system: LinuxPipes, number: int, owner: Owner, slots: int) -> None:
        self._system = system
        self.number = number
        self.owner = owner
        self.max_slots = slots
        """Slots of the ring, each for a page."""
        self.halves = (_End(), _End())
        self.spare = -1
        """A page that was read, kept for the next write; -1 if there is none."""
        self.bytes_in = self.bytes_out = 0

    def __repr__(self) -> str:
        ring = self.halves[0].ring
        return f"<LinuxPipe {self.number}: {ring.cnt} bytes in {len(ring.slots)}/{self.max_slots} slots>"

    def write(self, end: int, data: int | bytes, *, direct: bool = False, rest_of: int = 0) -> int:
        """Write bytes, or a number that stands for any, and return how many were taken.

        Args:
            end: Must be 1.
            data: The bytes, or how many (>= 0).
            direct: Ignored: there are no direct writes.
            rest_of: Bytes of the write that this is the rest of; 0 for a new one.

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
        slots = ring.slots
        done = 0
        if slots:
            last = slots[-1]
            tail = n % PAGE_SIZE  # what is over from whole pages goes behind the last
            if tail and last.start + last.length + tail <= PAGE_SIZE:
                if content is not None or last.content is not None:
                    last.content = _joined(last, content[:tail] if content is not None else None, tail)
                last.length += tail
                done = tail
        while done < n and len(slots) < self.max_slots:
            if self.spare >= 0:
                page, self.spare = self.spare, -1
            else:
                page = system.take_page()
                if page < 0:
                    break
            length = min(PAGE_SIZE, n - done)
            slots.append(_Slot(page, 0, length, content[done : done + length] if content is not None else None))
            done += length
        if not done:
            raise PipeError(errno.EAGAIN if len(slots) == self.max_slots else errno.ENOMEM, "write")
        ring.cnt += done
        self.bytes_in += done
        system.writes += 1
        system.bytes_written += done
        return done

    def read(self, end: int, n: int, *, into: bytearray | None = None) -> int:
        """Read up to ``n`` bytes and return how many; 0 is the end of the file.

        Args:
            end: Must be 0.
            n: How many bytes at most, >= 0.
            into: Where to append them; zeros stand for those of which only a number was written.

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
        if n and not ring.cnt:
            if writer.closed:
                return 0
            raise PipeError(errno.EAGAIN, "read")
        left, slots = n, ring.slots
        while left and slots:
            slot = slots[0]
            taken = min(left, slot.length)
            if into is not None:
                into += bytes(taken) if slot.content is None else slot.content[:taken]
            if slot.content is not None:
                slot.content = slot.content[taken:]
            slot.start += taken
            slot.length -= taken
            left -= taken
            if not slot.length:
                slots.popleft()
                if self.spare < 0:
                    self.spare = slot.page
                else:
                    system.free_page(slot.page)
        done = n - left
        ring.cnt -= done
        self.bytes_out += done
        system.reads += 1
        system.bytes_read += done
        return done

    def buffered(self, end: int) -> int:
        """Return the bytes that ``end`` can read."""
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

    def set_size(self, size: int) -> int:
        """Change the ring (fcntl F_SETPIPE_SZ), and return its size in bytes.

        Args:
            size: Bytes, rounded up to a power of two of pages; 0 asks for a page.

        Raises:
            PipeError: EBADF if both ends are closed, EINVAL above 2**31, EPERM if the unprivileged ask for more than
                PIPE_MAX_SIZE or grow while their user is above a limit, EBUSY if more slots are in use.
        """
        if self.finished:
            raise PipeError(errno.EBADF, "fcntl")
        if type(size) is not int or not 0 <= size <= 2**31:
            raise PipeError(errno.EINVAL, "fcntl")
        pages = -(-size // PAGE_SIZE) or 1
        slots = 1 << (pages - 1).bit_length()
        if slots > self.max_slots:
            if slots * PAGE_SIZE > PIPE_MAX_SIZE and not self.owner.privileged:
                raise PipeError(errno.EPERM, "fcntl")
            if self._system.too_many(self.owner, slots - self.max_slots):
                raise PipeError(errno.EPERM, "fcntl")
        if slots < len(self.halves[0].ring.slots):
            raise PipeError(errno.EBUSY, "fcntl")
        self._system.charge(self.owner, slots - self.max_slots)
        self.max_slots = slots
        return slots * PAGE_SIZE

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
                self._system.free_page(slot.page)
            ring.slots.clear()
            ring.cnt = 0
            if self.spare >= 0:
                self._system.free_page(self.spare)
                self.spare = -1
            self._system.take_back(self)
        return True

    @property
    def finished(self) -> bool:
        """Whether both ends are closed, and all pages given back."""
        return self.halves[0].closed and self.halves[1].closed

    def _refusal(self, end: int, call: str) -> InvalidRequestError | PipeError:
        """Return the error for a call at an end that is closed, of the wrong direction, or not there."""
        if end != 0 and end != 1:
            return InvalidRequestError("end", end, "must be 0 or 1")
        return PipeError(errno.EBADF, call)


class LinuxPipes(Checked):
    """Create pipes as Linux does.

    Args:
        space: Where pages come from, one at a time.
        clock: Tells the simulated time; one of its own if None.
        pages_soft: Slots of a user above which new pipes are made small (fs.pipe-user-pages-soft); 0 is none.
        pages_hard: Slots of a user above which pipe(2) fails (fs.pipe-user-pages-hard); 0 is none.

    Attributes:
        writes: Writes that stored something, and
        bytes_written: what they stored; likewise
        reads: and
        bytes_read: for what was taken out.

    Raises:
        InvalidRequestError: For a limit that is negative.

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
        pages_soft: int = PIPE_USER_PAGES_SOFT,
        pages_hard: int = 0,
    ) -> None:
        for what, value in (("pages_soft", pages_soft), ("pages_hard", pages_hard)):
            if type(value) is not int or value < 0:
                raise InvalidRequestError(what, value, "must be an int >= 0")
        self.space = space
        self.clock = SimClock() if clock is None else clock
        self.pages_soft = pages_soft
        self.pages_hard = pages_hard
        self._pipes: dict[int, LinuxPipe] = {}
        self._slots: dict[int, int] = {}  # by uid
        self._pages = self._past_peak = 0
        self._least = self._most = 0  # pages since the last call of extremes
        self._created = self._refused = self._small = self._peak_pipes = 0
        self.writes = self.bytes_written = self.reads = self.bytes_read = 0

    @property
    def kva_used(self) -> int:
        """Bytes of the pages that pipes hold."""
        return self._pages * PAGE_SIZE

    @property
    def peak_kva_used(self) -> int:
        """Most bytes of pages held at any time."""
        return max(self._most, self._past_peak) * PAGE_SIZE

    def extremes(self) -> Extremes:
        """Return the least and the most bytes of pages since the last call; those that are there begin the next."""
        self._past_peak = max(self._past_peak, self._most)
        found = Extremes(self._least * PAGE_SIZE, self._most * PAGE_SIZE)
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
        slots = PIPE_DEF_BUFFERS
        self.charge(owner, slots)
        if self._above(owner, self.pages_soft):
            self.charge(owner, PIPE_MIN_DEF_BUFFERS - slots)
            slots = PIPE_MIN_DEF_BUFFERS
        if self._above(owner, self.pages_hard):
            self.charge(owner, -slots)
            self._refused += 1
            raise PipeError(errno.ENFILE, "pipe")
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

    def _above(self, owner: Owner, limit: int) -> bool:
        return bool(limit) and not owner.privileged and self.charged(owner) > limit

    def too_many(self, owner: Owner, more: int) -> bool:
        """Tell whether so many more slots would take an unprivileged user above a limit."""
        wanted = self.charged(owner) + more
        return not owner.privileged and any(limit and wanted > limit for limit in (self.pages_soft, self.pages_hard))

    def take_page(self) -> int:
        """Take a page, and return its address, or -1."""
        try:
            page = self.space.alloc(PAGE_SIZE)
        except ExhaustionError:
            return -1
        self.space.touch(page, PAGE_SIZE)
        self._pages += 1
        self._most = max(self._most, self._pages)
        return page

    def free_page(self, page: int) -> None:
        """Give a page back."""
        self.space.discard(page, self.space.size_of(page))
        self.space.free(page)
        self._pages -= 1
        self._least = min(self._least, self._pages)

    def take_back(self, pipe: LinuxPipe) -> None:
        """Take back a pipe of which both ends are closed."""
        self.charge(pipe.owner, -pipe.max_slots)
        del self._pipes[pipe.number]

    # --- check -------------------------------------------------------------------------------------

    def violations(self) -> tuple[Violation, ...]:
        """Return every broken invariant (PI1, PI2, PI3), recomputed from the pipes."""
        found = []
        pages = 0
        by_user: dict[int, int] = {}
        for pipe in self._pipes.values():
            ring = pipe.halves[0].ring
            pages += len(ring.slots) + (pipe.spare >= 0)
            by_user[pipe.owner.uid] = by_user.get(pipe.owner.uid, 0) + pipe.max_slots
            held = sum(slot.length for slot in ring.slots)
            if ring.cnt != held or len(ring.slots) > pipe.max_slots:
                found.append(Violation("PI2", f"pipe {pipe.number} counts {ring.cnt} bytes, its slots hold {held}"))
            if any(not 0 < slot.length <= PAGE_SIZE - slot.start for slot in ring.slots):
                found.append(Violation("PI2", f"pipe {pipe.number} has a slot that is empty, or ends behind its page"))
            if pipe.bytes_in - pipe.bytes_out != ring.cnt:
                found.append(
                    Violation("PI3", f"pipe {pipe.number}: bytes in less bytes out are not those that it holds")
                )
        if pages != self._pages:
            found.append(Violation("PI1", f"{self._pages} pages are counted, the pipes hold {pages}"))
        if by_user != {uid: slots for uid, slots in self._slots.items() if slots}:
            found.append(Violation("PI1", "users are charged for other slots than their pipes have"))
        return tuple(found)
