"""`LinuxCalls`: pipe(2), read(2), write(2) and close(2) of Linux as threads make them: mutex, wait queues, pages, and time.

:class:`~coalloc.pipes.linux.LinuxPipe` defines what a call does, and does it at once.  This module adds the pipe's mutex, who
sleeps where and who is woken, the lock of each wait queue, and what copying and pages cost.  What belongs to a version of
Linux is in its record (:class:`~coalloc.pipes.eras.LinuxState`): how many pages a write takes before it takes the mutex, how
many queues there are, whether a wakeup wakes one or all.  Who was woken alone and leaves something behind wakes the next one.

Differences from the kernel: a page is copied as a whole; nobody is interrupted by a signal; an end is closed once, and then all
who wait are woken.

Source: Linux fs/pipe.c, of 5.4, 5.6, 6.15 and 7.2.
"""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple, TypeVar

import attrs

from coalloc.errors import InvalidRequestError, PipeError
from coalloc.pipes.budget import ROOT, Owner
from coalloc.pipes.linux import LinuxPage, LinuxPipe, LinuxPipes
from coalloc.sched.locks import MCS, OPTIMISTIC, Lock, LockKind
from coalloc.sched.ops import Acquire, Op, SleepOn, Spend, Unlock, WakeUp

__all__ = ["CallCosts", "LinuxCalls"]

R = TypeVar("R")
Call = Generator[Op, Any, R]


@attrs.frozen
class CallCosts:
    """What calls on pipes cost, in nanoseconds (>= 0).

    Args:
        enter: Entering the kernel and leaving it, with the look-up of the descriptor.
        copy_page: Copying a page from or to a user's memory.
        alloc_page: Allocating a page.
        free_page: Freeing one.
        create: Making the rest of a pipe.
    """

    enter: float = 0
    copy_page: float = 0
    alloc_page: float = 0
    free_page: float = 0
    create: float = 0

    def __attrs_post_init__(self) -> None:
        for name, value in attrs.asdict(self).items():
            if type(value) not in (int, float) or not value >= 0:
                raise InvalidRequestError(name, value, "must be a number of nanoseconds >= 0")


class _Queue(NamedTuple):
    """A wait queue: the channel on which its threads sleep, and its lock."""

    channel: tuple[str, int]
    lock: Lock


class _Waits:
    """The mutex of a pipe, and its wait queues: one for readers and one for writers, or one for both."""

    __slots__ = ("mutex", "rd_wait", "wr_wait")

    def __init__(self, number: int, *, two_queues: bool) -> None:
        self.mutex = Lock("pipe->mutex", discipline=OPTIMISTIC)
        self.rd_wait = self.wr_wait = _queue("pipe->rd_wait" if two_queues else "pipe->wait", number)
        if two_queues:
            self.wr_wait = _queue("pipe->wr_wait", number)


def _queue(name: str, number: int) -> _Queue:
    return _Queue((name, number), Lock(name, LockKind.SPIN, discipline=MCS))


class LinuxCalls:
    """The calls of threads on the pipes of one system.

    Args:
        pipes: The pipes.
        costs: What calls cost.
    """

    def __init__(self, pipes: LinuxPipes, costs: CallCosts = CallCosts()) -> None:
        self.pipes = pipes
        self.costs = costs
        self._enter = Spend(round(costs.enter))
        self._waits: dict[int, _Waits] = {}

    def pipe(self, owner: Owner = ROOT) -> Call[LinuxPipe]:
        """Make a pipe.

        Raises:
            PipeError: As :meth:`LinuxPipes.pipe`.
        """
        yield self._enter
        pipe = self.pipes.pipe(owner)
        yield Spend(round(self.costs.create))
        return pipe

    def _waits_of(self, pipe: LinuxPipe) -> _Waits:
        found = self._waits.get(pipe.number)
        if found is None:
            found = self._waits[pipe.number] = _Waits(pipe.number, two_queues=self.pipes.state.two_queues)
        return found

    def write(self, pipe: LinuxPipe, data: int | bytes) -> Call[int]:
        """Write bytes, or a number of them, and sleep while the ring is full; return how many, fewer if it cannot go on.

        Raises:
            PipeError: As :meth:`LinuxPipe.write`, but EAGAIN; if nothing was written.
        """
        pipes, waits, ring = self.pipes, self._waits_of(pipe), pipe.halves[0].ring
        mutex = waits.mutex
        n = data if isinstance(data, int) else len(data)
        yield self._enter
        ahead = pipes.pages_ahead(n, len(pipe.spares))
        if ahead:
            yield Spend(round(len(ahead) * self.costs.alloc_page))
        yield Acquire(mutex)
        written, slept = 0, False
        over: list[LinuxPage] = []
        while True:
            wakes, taken, put = pipe.reader_wakeups, pipes.pages_taken, pipes.pages_put
            rest = n - written if isinstance(data, int) else data[written:]
            try:
                done = pipe.write(1, rest, rest_of=n if written else 0, ahead=ahead, over=over)
            except PipeError as error:
                if error.errno != errno.EAGAIN:
                    if written:  # what was written counts, though nobody reads any more
                        wakes_readers = False
                        break
                    left = self._give_back(pipe, ahead)
                    pipe.trim(over)
                    yield Unlock(mutex)
                    yield from self._freed(left, over)
                    raise
                done = 0
            written += done
            yield self._moved(done, pipes.pages_taken - taken, pipes.pages_put - put)
            wakes_readers = pipe.reader_wakeups > wakes
            if written >= n:
                break
            yield Unlock(mutex)
            if wakes_readers:
                yield from self._wake(waits.rd_wait)
            if len(ring.slots) >= pipe.max_slots and not pipe.halves[0].closed:
                yield Acquire(waits.wr_wait.lock)
                while len(ring.slots) >= pipe.max_slots and not pipe.halves[0].closed:
                    yield SleepOn(*waits.wr_wait)
                yield Unlock(waits.wr_wait.lock)
            slept = True
            yield Acquire(mutex)
        wakes_writer = slept and self.pipes.state.exclusive_waits and len(ring.slots) < pipe.max_slots
        left = self._give_back(pipe, ahead)
        pipe.trim(over)
        yield Unlock(mutex)
        yield from self._freed(left, over)
        if wakes_readers:
            yield from self._wake(waits.rd_wait)
        if wakes_writer:
            yield from self._wake(waits.wr_wait)
        return written

    def read(self, pipe: LinuxPipe, n: int, *, into: bytearray | None = None, nonblock: bool = False) -> Call[int]:
        """Read up to ``n`` bytes, into a buffer if there is one, and sleep while there are none and somebody can write.

        Raises:
            PipeError: As :meth:`LinuxPipe.read`; EAGAIN with ``nonblock`` only.
        """
        pipes, waits, ring = self.pipes, self._waits_of(pipe), pipe.halves[0].ring
        mutex = waits.mutex
        yield self._enter
        yield Acquire(mutex)
        slept = False
        over: list[LinuxPage] = []
        while True:
            wakes, put = pipe.writer_wakeups, pipes.pages_put
            try:
                got = pipe.read(0, n, into=into, over=over)
                break
            except PipeError as error:
                if error.errno != errno.EAGAIN or nonblock:
                    yield Unlock(mutex)
                    raise
            yield Unlock(mutex)
            if not ring.slots and not pipe.halves[1].closed:
                yield Acquire(waits.rd_wait.lock)
                while not ring.slots and not pipe.halves[1].closed:
                    yield SleepOn(*waits.rd_wait)
                yield Unlock(waits.rd_wait.lock)
            slept = True
            yield Acquire(mutex)
        yield self._moved(got, 0, pipes.pages_put - put)
        wakes_writer = pipe.writer_wakeups > wakes
        wakes_reader = slept and pipes.state.exclusive_waits and bool(ring.slots)
        yield Unlock(mutex)
        yield from self._freed(0, over)
        if wakes_writer:
            yield from self._wake(waits.wr_wait)
        if wakes_reader:
            yield from self._wake(waits.rd_wait)
        return got

    def close(self, pipe: LinuxPipe, end: int) -> Call[None]:
        """Close an end, and wake all who wait.

        Raises:
            PipeError: As :meth:`LinuxPipe.close`.
        """
        waits = self._waits_of(pipe)
        mutex = waits.mutex
        yield self._enter
        yield Acquire(mutex)
        put = self.pipes.pages_put
        try:
            pipe.close(end)
        except PipeError:
            yield Unlock(mutex)
            raise
        for queue in {waits.rd_wait: None, waits.wr_wait: None}:
            yield Acquire(queue.lock)
            yield WakeUp(queue.channel)
            yield Unlock(queue.lock)
        yield Unlock(mutex)
        yield from self._freed(self.pipes.pages_put - put)
        if pipe.finished:
            self._waits.pop(pipe.number, None)

    # --- parts -----------------------------------------------------------------------------------------

    def _wake(self, queue: _Queue) -> Iterator[Op]:
        state = self.pipes.state
        yield Acquire(queue.lock)
        yield WakeUp(queue.channel, one=state.exclusive_waits, sync=state.sync_wakeups)
        yield Unlock(queue.lock)

    def _moved(self, n: int, taken: int, put: int = 0) -> Spend:
        """Return the time that bytes and pages take under the mutex."""
        costs = self.costs
        copied = n * costs.copy_page / self.pipes.page_size
        return Spend(round(copied + taken * costs.alloc_page + put * costs.free_page))

    def _give_back(self, pipe: LinuxPipe, ahead: list[LinuxPage]) -> int:
        """Keep pages that were not needed as spares; return how many are freed, which takes time after the mutex."""
        put = self.pipes.pages_put
        pipe.put_ahead(ahead)
        return self.pipes.pages_put - put

    def _freed(self, pages: int, over: list[LinuxPage] | None = None) -> Iterator[Op]:
        """Give back what the pool did not keep, and let the time pass for that and for pages that were freed."""
        if over:
            pages += len(over)
            self.pipes.put_over(over)
        if pages:
            yield Spend(round(pages * self.costs.free_page))
