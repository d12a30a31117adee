"""`SimClock`: simulated time in nanoseconds, which moves only forward and only on demand."""

from __future__ import annotations

from coalloc.errors import InvalidRequestError

__all__ = ["SimClock"]


class SimClock:
    """Tell the simulated time.

    Args:
        now: Start, in nanoseconds, >= 0.

    >>> clock = SimClock()
    >>> clock.advance_to(1_500)
    >>> clock.now
    1500
    """

    __slots__ = ("now",)

    def __init__(self, now: int = 0) -> None:
        if type(now) is not int or now < 0:
            raise InvalidRequestError("now", now, "must be an int >= 0, in nanoseconds")
        self.now = now

    def advance(self, ns: int) -> None:
        """Move forward by ``ns`` nanoseconds.

        Raises:
            InvalidRequestError: If ``ns`` is negative.
        """
        self.advance_to(self.now + ns)

    def advance_to(self, now: int) -> None:
        """Move forward to ``now``.

        Raises:
            InvalidRequestError: If ``now`` lies in the past.
        """
        if now < self.now:
            raise InvalidRequestError("now", now, f"simulated time is {self.now} already")
        self.now = now
