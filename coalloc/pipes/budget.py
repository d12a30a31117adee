"""`Budget`: how much pipe KVA is in use and who is charged for it (PI1); `Console`: the one line a second about its limit."""

from __future__ import annotations

from typing import Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.pipes.eras import Era
from coalloc.sched.clock import SimClock
from coalloc.units import MAX_SIZE, Extremes, require_size

__all__ = ["ROOT", "Budget", "Console", "ConsoleLine", "Owner"]


@attrs.frozen
class Owner:
    """Who creates a pipe and is charged for its buffers; or who makes a call on it, and is asked for privilege and limit.

    Args:
        uid: Real user id; charges are summed by it.
        privileged: Whether a call of theirs may use the reserve (PRIV_PIPEBUF).
        pipebuf_limit: RLIMIT_PIPEBUF in bytes of their calls; 0 enforces none, as in the kernel.
        resource: Whether they have CAP_SYS_RESOURCE of Linux; None if that is as ``privileged``.
        admin: Whether they have CAP_SYS_ADMIN; None if that is as ``privileged``.
    """

    uid: int = 0
    privileged: bool = True
    pipebuf_limit: int = 0
    resource: bool | None = None
    admin: bool | None = None

    @property
    def may_exceed_size(self) -> bool:
        """Whether Linux lets them set a pipe to more than fs.pipe-max-size."""
        return self.privileged if self.resource is None else self.resource

    @property
    def may_exceed_limits(self) -> bool:
        """Whether Linux lets them have more than fs.pipe-user-pages-soft and -hard."""
        return self.may_exceed_size or (self.privileged if self.admin is None else self.admin)


ROOT: Final = Owner()


@attrs.frozen
class ConsoleLine:
    """A line on the console, and when it was printed, in simulated nanoseconds."""

    time: int
    text: str


class Console:
    """Print a line at most once a second, whoever asks (ppsratecheck with a rate of 1).

    Args:
        clock: Tells the simulated time.
        hz: Clock ticks a second; a window ends ``hz`` ticks after the line that opened it.

    >>> clock = SimClock(); console = Console(clock)
    >>> console.print("full"); console.print("full"); clock.advance(10**9); console.print("full")
    >>> len(console.lines), console.suppressed
    (2, 1)
    """

    __slots__ = ("_clock", "_hz", "_last", "lines", "suppressed")

    def __init__(self, clock: SimClock, hz: int = 100) -> None:
        if type(hz) is not int or hz < 1:
            raise InvalidRequestError("hz", hz, "must be an int >= 1")
        self._clock = clock
        self._hz = hz
        self._last: int | None = None
        self.lines: list[ConsoleLine] = []
        self.suppressed = 0

    def print(self, text: str) -> None:
        """Print a line, or count it as suppressed; an empty one is nothing to print."""
        if not text:
            return
        tick = self._clock.now * self._hz // 10**9
        if self._last is None or tick - self._last >= self._hz:
            self._last = tick
            self.lines.append(ConsoleLine(self._clock.now, text))
        else:
            self.suppressed += 1


class Budget:
    """Count the bytes of all pipe buffers against the era's limits.

    Args:
        era: Whose limits hold.
        maxpipekva: kern.ipc.maxpipekva in bytes, > 0; the marks of its shares are set when the budget is made.

    Comparisons are strict and in integers, as in FreeBSD's sys_pipe.c (pipe_create, pipe_write, pipe_read).
    """

    __slots__ = (
        "_ceiling",
        "_era",
        "_half",
        "_past_peak",
        "_three_quarters",
        "kva_used",
        "least",
        "maxpipekva",
        "most",
        "rations",
        "small_mark",
        "users",
    )

    def __init__(self, era: Era, maxpipekva: int) -> None:
        self._era = era
        self.maxpipekva = require_size(maxpipekva, "maxpipekva")
        mark = era.small_above
        self.small_mark = maxpipekva * mark.numerator // mark.denominator
        """New buffers are small while ``kva_used`` is above this."""
        self._half = maxpipekva // 2
        self._three_quarters = maxpipekva * 3 // 4
        self._ceiling = maxpipekva if era.maxpipekva_is_hard else MAX_SIZE
        self.rations = era.charges_users or era.reserve_percent > 0
        """Whether it matters who owns a buffer; where it does not, nobody need be charged or refunded."""
        self.kva_used = 0
        """kern.ipc.pipekva."""
        self.least = self.most = 0
        """The least and the most of it since the last call of :meth:`extremes`."""
        self._past_peak = 0
        self.users: dict[int, int] = {}
        """Bytes charged, by uid; empty in eras without a limit per user."""

    @property
    def wants_small(self) -> bool:
        """Whether new buffers are small (B1)."""
        return self.kva_used > self.small_mark

    @property
    def above_half(self) -> bool:
        """Whether buffers no longer grow (B5)."""
        return self.kva_used > self._half

    @property
    def above_three_quarters(self) -> bool:
        """Whether buffers shrink where they can (B7)."""
        return self.kva_used > self._three_quarters

    def leaves_room(self, size: int) -> bool:
        """Tell whether another ``size`` bytes stay within a hard limit; the old buffer of a resize still counts (B9)."""
        return self.kva_used + size <= self._ceiling

    def reserve_allows(self, size: int, caller: Owner) -> bool:
        """Tell whether a caller leaves the share kept for the privileged alone, or may use it (B15)."""
        percent = self._era.reserve_percent
        return not percent or caller.privileged or self.maxpipekva // 100 * (100 - percent) >= self.kva_used + size

    def charge_user(self, size: int, owner: Owner, caller: Owner) -> bool:
        """Charge the owner, if the caller's limit allows; a refused charge changes nothing (B16, B61)."""
        if not self._era.charges_users or not size:
            return True
        charged = self.users.get(owner.uid, 0) + size
        if caller.pipebuf_limit and charged > caller.pipebuf_limit:
            return False
        self.users[owner.uid] = charged
        return True

    def refund_user(self, size: int, owner: Owner) -> None:
        """Take a charge back."""
        if self._era.charges_users and size:
            left = self.users[owner.uid] - size
            if left:
                self.users[owner.uid] = left
            else:
                del self.users[owner.uid]

    def add(self, size: int) -> None:
        """Count a buffer in (a negative size: out)."""
        self.kva_used += size
        if self.kva_used > self.most:
            self.most = self.kva_used
        elif self.kva_used < self.least:
            self.least = self.kva_used

    @property
    def peak(self) -> int:
        """The most bytes at any time."""
        return max(self.most, self._past_peak)

    def extremes(self) -> Extremes:
        """Return the least and the most of ``kva_used`` since the last call; what is used now begins the next."""
        self._past_peak = self.peak
        found = Extremes(self.least, self.most)
        self.least = self.most = self.kva_used
        return found
