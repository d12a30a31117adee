"""`LockedPipe`: FreeBSD's pipe_read and pipe_write, step by step, around pipelock, the flag that serialises copies.

What a pipe does with its buffer is :class:`~coalloc.pipes.pair.PipePair`'s matter.  Here the buffer is a number of bytes, and
what counts is who waits for whom: the pipe's mutex, which is dropped while data are copied; pipelock, which is not; and the
channels on which threads sleep.  The states of the kernel differ by :class:`PipelockRules`.

Source: FreeBSD sys_pipe.c until November 2020, f9fe7b28bc23 (D27273), e8955bd643ee (D35415, PR 264441) and 9ac6eda6c6a3.
"""

from __future__ import annotations

import errno
from collections.abc import Generator, Hashable
from typing import Any, Final

import attrs

from coalloc.errors import PipeError
from coalloc.pipes.eras import MINPIPESIZE, PIPE_BUF, PIPE_SIZE
from coalloc.sched.locks import Lock
from coalloc.sched.ops import Acquire, Op, SleepOn, Spend, Unlock, WakeUp
from coalloc.units import PAGE_SIZE

__all__ = ["PIPELOCKS", "LockedPipe", "PipelockRules"]

Call = Generator[Op, Any, int]


@attrs.frozen
class PipelockRules:
    """How pipelock waits and wakes, and what a read looks at before it takes any lock.

    Args:
        name: What to call it.
        title: Since when it is so.
        counts: Whether those who wait are counted, and a release wakes one of them; if not, a flag says that somebody waits,
            and a release wakes all who sleep on the pipe.
        own_channel: Whether they sleep on a channel of their own, and not on that of those who wait for data or room.
        looks_first: Whether a non-blocking read of an empty pipe fails before it takes a lock.
    """

    name: str
    title: str
    counts: bool = False
    own_channel: bool = False
    looks_first: bool = False


PIPELOCKS: Final = {
    rules.name: rules
    for rules in (
        PipelockRules("2004", "until November 2020"),
        PipelockRules("2020", "from November 2020, D27273", counts=True),
        PipelockRules("2022", "from 2022, D35415", counts=True, own_channel=True),
        PipelockRules("2022-08", "from August 2022, 9ac6eda6c6a3", counts=True, own_channel=True, looks_first=True),
    )
}
"""The rules by their names."""


class LockedPipe:
    """One half of a pipe, with its locks.

    Args:
        rules: How pipelock works.
        size: Bytes of the buffer.
        cnt: Bytes in it.
        copy_page: What copying a page costs, in nanoseconds.
        enter: What a system call costs besides, in nanoseconds.
    """

    def __init__(
        self, rules: PipelockRules, *, size: int = PIPE_SIZE, cnt: int = 0, copy_page: int = 0, enter: int = 0
    ) -> None:
        self.rules = rules
        self.size = size
        self.cnt = cnt
        self.eof = False
        self.mutex = Lock("pipe mutex")
        self._copy_page, self._enter = copy_page, enter
        self._locked = self._wanted = self._wantr = self._wantw = False
        self._waiters = 0
        self._lock_channel = "pipe_waiters" if rules.own_channel else "pipe"

    def snapshot(self) -> Hashable:
        """Return what threads share."""
        return self.cnt, self.eof, self._locked, self._wanted, self._waiters, self._wantr, self._wantw

    def read(self, n: int, *, nonblock: bool = False) -> Call:
        """Read up to ``n`` bytes, and sleep while there are none.

        Raises:
            PipeError: EAGAIN with ``nonblock``, if there are none.
        """
        if self._enter:
            yield Spend(self._enter)
        if nonblock and self.rules.looks_first and not self.eof and not self.cnt:
            raise PipeError(errno.EAGAIN, "read")
        yield Acquire(self.mutex)
        yield from self._pipelock()
        got = 0
        while got < n:
            if self.cnt:
                part = min(self.cnt, n - got)
                yield from self._uiomove(part)
                self.cnt -= part
                got += part
                continue
            if self.eof:
                break
            yield from self._wake_writers()
            if got:
                break
            yield from self._pipeunlock()
            if nonblock:
                yield Unlock(self.mutex)
                raise PipeError(errno.EAGAIN, "read")
            self._wantr = True
            yield SleepOn("pipe", self.mutex)  # piperd
            yield from self._pipelock()
        yield from self._pipeunlock()
        if self.cnt < MINPIPESIZE:
            yield from self._wake_writers()
        yield Unlock(self.mutex)
        return got

    def write(self, n: int) -> Call:
        """Write ``n`` bytes, and sleep while there is no room."""
        if self._enter:
            yield Spend(self._enter)
        yield Acquire(self.mutex)
        yield from self._pipelock()
        left = n
        while left:
            room = self.size - self.cnt
            if room < left and n <= PIPE_BUF:
                room = 0
            if room:
                part = min(room, left)
                yield from self._uiomove(part)
                self.cnt += part
                left -= part
                continue
            yield from self._wake_readers()
            self._wantw = True
            yield from self._pipeunlock()
            yield SleepOn("pipe", self.mutex)  # pipewr
            yield from self._pipelock()
        yield from self._pipeunlock()
        if self.cnt:
            yield from self._wake_readers()
        yield Unlock(self.mutex)
        return n

    # --- parts -----------------------------------------------------------------------------------------

    def _pipelock(self) -> Generator[Op, Any, None]:
        while self._locked:
            self._waiters += 1
            self._wanted = True
            yield SleepOn(self._lock_channel, self.mutex)  # pipelk
            self._waiters -= 1
        self._locked = True

    def _pipeunlock(self) -> Generator[Op, Any, None]:
        self._locked = False
        if self.rules.counts:
            if self._waiters:
                yield WakeUp(self._lock_channel, one=True)
        elif self._wanted:
            self._wanted = False
            yield WakeUp(self._lock_channel)

    def _uiomove(self, n: int) -> Generator[Op, Any, None]:
        """Copy, with the mutex dropped and pipelock held."""
        yield Unlock(self.mutex)
        yield Spend(n * self._copy_page // PAGE_SIZE)
        yield Acquire(self.mutex)

    def _wake_readers(self) -> Generator[Op, Any, None]:
        if self._wantr:
            self._wantr = False
            yield WakeUp("pipe")

    def _wake_writers(self) -> Generator[Op, Any, None]:
        if self._wantw:
            self._wantw = False
            yield WakeUp("pipe")
