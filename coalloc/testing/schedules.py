"""`schedules`: schedules for :class:`~coalloc.sched.machine.Machine`, drawn and shrunk by Hypothesis; needs hypothesis."""

from __future__ import annotations

from coalloc._imports import needs_extra
from coalloc.errors import InvalidRequestError
from coalloc.sched.schedule import Schedule

with needs_extra("test"):
    from hypothesis import strategies as st

__all__ = ["schedules"]


def schedules(*, threads: int, steps: int = 100, switches: int = 4) -> st.SearchStrategy[Schedule]:
    """Draw schedules; a failing one shrinks to few switches, early steps and low threads.

    Args:
        threads: Threads of the machine, >= 1.
        steps: The expected length of a run, >= 1.
        switches: The most switches in a schedule, >= 0.

    Raises:
        InvalidRequestError: If a number is out of range.

    >>> from hypothesis import find
    >>> from coalloc.scenarios import WINDOWS
    >>> charge = WINDOWS["charge"]
    >>> str(find(schedules(threads=2, steps=10), lambda schedule: charge.make(False).run(schedule).findings))
    '2>1'
    """
    for name, value, least in (("threads", threads, 1), ("steps", steps, 1), ("switches", switches, 0)):
        if type(value) is not int or value < least:
            raise InvalidRequestError(name, value, f"must be an int >= {least}")
    chosen = st.dictionaries(st.integers(0, steps - 1), st.integers(0, threads - 1), max_size=switches)
    return chosen.map(lambda found: Schedule(tuple(sorted(found.items()))))
