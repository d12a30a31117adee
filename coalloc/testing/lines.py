"""Count the lines that the interpreter runs: this measures work without a clock and stops calls that never return."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from coalloc.testing import source

__all__ = ["LINE_BOUND", "bound_lines", "count_lines"]

LINE_BOUND: Final = 50_000
"""The most lines that a call of an allocator may run in the kit's small worlds."""


@contextmanager
def count_lines() -> Iterator[list[int]]:
    """Count the lines that run in the block; the yielded list has the count as its only item.

    >>> with count_lines() as lines:
    ...     _ = [number for number in range(3)]
    >>> lines[0] > 0
    True
    """
    with _tracing(None, None) as count:
        yield count


@contextmanager
def bound_lines(most: int, error: BaseException) -> Iterator[None]:
    """Raise ``error`` in the block when it has run more than ``most`` lines, of some ten instructions each.

    Instructions are counted, because a loop on one line reaches no other line.
    """
    with _tracing(10 * most, error):
        yield


@contextmanager
def _tracing(most: int | None, error: BaseException | None) -> Iterator[list[int]]:
    count = [0]
    counted = "line" if most is None else "opcode"
    bound = float("inf") if most is None else most

    def step(_frame: FrameType, event: str, _argument: object) -> Any:  # pragma: no cover - nothing traces what traces
        if event == counted:
            count[0] += 1
            if count[0] > bound and error is not None:
                raise error
        return step

    def enter(frame: FrameType, _event: str, _argument: object) -> Any:  # pragma: no cover - nothing traces what traces
        if frame.f_code.co_filename == source.__file__:
            return None  # the source's work is not the allocator's
        frame.f_trace_lines, frame.f_trace_opcodes = most is None, most is not None
        return step

    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()  # a collection would run finalizers of anybody's objects
    sys.settrace(enter)
    try:
        yield count
    finally:  # pragma: no cover - coverage resumes with the next function
        sys.settrace(before)
        if collects:
            gc.enable()
