"""`LinuxCalls`: pipe(2), read(2), write(2) and close(2) of Linux as threads make them: mutex, wait queues, pages, and time.

:class:`~coalloc.pipes.linux.LinuxPipe` defines what a call does, and does it at once.  This module adds the pipe's mutex, who
sleeps where and who is woken, and what copying and pages cost.  What belongs to a version of Linux is in its record
(:class:`~coalloc.pipes.eras.LinuxState`): how many pages a write takes before it takes the mutex, how many queues there are,
whether a wakeup wakes one or all.  Who was woken alone and leaves something behind wakes the next one.

Differences from the kernel: a page is copied as a whole, and nobody is interrupted by a signal.

Source: Linux fs/pipe.c, of 5.4, 5.6, 6.15 and 7.2.
"""

from __future__ import annotations

import errno
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

import attrs

from coalloc.errors import InvalidRequestError, PipeError
from coalloc.pipes.budget import ROOT, Owner
from coalloc.pipes.linux import LinuxPage, LinuxPipe, LinuxPipes
from coalloc.sched.locks import OPTIMISTIC, Lock
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
        self._mutexes: dict[int, Lock] = {}

    def pipe(self, owner: Owner = ROOT) -> Call[LinuxPipe]:
        """Make a pipe.

        Raises:
            PipeError: As :meth:`LinuxPipes.pipe`.
        """
        yield self._enter
        pipe = self.pipes.pipe(owner)
        yield Spend(round(self.costs.create))
        return pipe

    def mutex(self, pipe: LinuxPipe) -> Lock:
        """Return the mutex of a pipe."""
        found = self._mutexes.get(pipe.number)
        if found is None:
            found = self._mutexes[pipe.number] = Lock("pipe->mutex", discipline=OPTIMISTIC)
        return found

    def write(self, pipe: LinuxPipe, n: int) -> Call[int]:
        """Write ``n`` bytes, and sleep while the ring is full; return how many were written, fewer if it cannot go on.

        Raises:
            PipeError: As :meth:`LinuxPipe.write`, but EAGAIN; if nothing was written.
        """
        pipes, mutex, ring = self.pipes, self.mutex(pipe), pipe.halves[0].ring
        yield self._enter
        ahead = pipes.pages_ahead(n)
        if ahead:
            yield Spend(round(len(ahead) * self.costs.alloc_page))
        yield Acquire(mutex)
        written, slept = 0, False
        while True:
            wakes, taken = pipe.reader_wakeups, pipes.pages_taken
            try:
                done = pipe.write(1, n - written, rest_of=n if written else 0, ahead=ahead)
            except PipeError as error:
                if error.errno != errno.EAGAIN:
                    if written:  # what was written counts, though nobody reads any more
                        wakes_readers = False
                        break
                    left = self._give_back(pipe, ahead)
                    yield Unlock(mutex)
                    yield from self._freed(left)
                    raise
                done = 0
            written += done
            yield self._moved(done, pipes.pages_taken - taken)
            wakes_readers = pipe.reader_wakeups > wakes
            if written >= n:
                break
            yield Unlock(mutex)
            if wakes_readers:
                yield self._wake(pipe, "rd_wait")
            while len(ring.slots) >= pipe.max_slots and not pipe.halves[0].closed:
                yield SleepOn(self._queue(pipe, "wr_wait"))
            slept = True
            yield Acquire(mutex)
        wakes_writer = slept and self.pipes.state.exclusive_waits and len(ring.slots) < pipe.max_slots
        left = self._give_back(pipe, ahead)
        yield Unlock(mutex)
        yield from self._freed(left)
        if wakes_readers:
            yield self._wake(pipe, "rd_wait")
        if wakes_writer:
            yield self._wake(pipe, "wr_wait")
        return written

    def read(self, pipe: LinuxPipe, n: int, *, nonblock: bool = False) -> Call[int]:
        """Read up to ``n`` bytes, and sleep while there are none and somebody can write.

        Raises:
            PipeError: As :meth:`LinuxPipe.read`; EAGAIN with ``nonblock`` only.
        """
        pipes, mutex, ring = self.pipes, self.mutex(pipe), pipe.halves[0].ring
        yield self._enter
        yield Acquire(mutex)
        slept = False
        while True:
            wakes, put = pipe.writer_wakeups, pipes.pages_put
            try:
                got = pipe.read(0, n)
                break
            except PipeError as error:
                if error.errno != errno.EAGAIN or nonblock:
                    yield Unlock(mutex)
                    raise
            yield Unlock(mutex)
            while not ring.slots and not pipe.halves[1].closed:
                yield SleepOn(self._queue(pipe, "rd_wait"))
            slept = True
            yield Acquire(mutex)
        yield self._moved(got, 0, pipes.pages_put - put)
        wakes_writer = pipe.writer_wakeups > wakes
        wakes_reader = slept and pipes.state.exclusive_waits and bool(ring.slots)
        yield Unlock(mutex)
        if wakes_writer:
            yield self._wake(pipe, "wr_wait")
        if wakes_reader:
            yield self._wake(pipe, "rd_wait")
        return got

    def close(self, pipe: LinuxPipe, end: int) -> Call[None]:
        """Close an end, and wake all who wait.

        Raises:
            PipeError: As :meth:`LinuxPipe.close`.
        """
        mutex = self.mutex(pipe)
        yield self._enter
        yield Acquire(mutex)
        put = self.pipes.pages_put
        try:
            pipe.close(end)
        except PipeError:
            yield Unlock(mutex)
            raise
        for queue in ("rd_wait", "wr_wait") if self.pipes.state.two_queues else ("wait",):
            yield WakeUp((queue, pipe.number))
        yield Unlock(mutex)
        yield from self._freed(self.pipes.pages_put - put)
        if pipe.finished:
            self._mutexes.pop(pipe.number, None)

    # --- parts -----------------------------------------------------------------------------------------

    def _queue(self, pipe: LinuxPipe, queue: str) -> tuple[str, int]:
        return queue if self.pipes.state.two_queues else "wait", pipe.number

    def _wake(self, pipe: LinuxPipe, queue: str) -> WakeUp:
        state = self.pipes.state
        return WakeUp(self._queue(pipe, queue), one=state.exclusive_waits, sync=state.sync_wakeups)

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

    def _freed(self, pages: int) -> Iterator[Op]:
        if pages:
            yield Spend(round(pages * self.costs.free_page))
