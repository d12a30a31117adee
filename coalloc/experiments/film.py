"""`film`: a replay as pictures in a row: what lies where at some moments, and the whole life of every buffer.

A frame has the segments of the space (busy, cached or free) and the ranges with a physical page.  The frames are spread evenly
over the operations; one more stands at the moment when most bytes are live.  There is a limit on what is kept; what is left out
is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.experiments.recorder import BufferRecorder, asks_seen, seen_by
from coalloc.pipes.design import Bench, Design
from coalloc.pipes.eras import KernelState
from coalloc.space.protocol import Kind, Segment
from coalloc.units import PAGE_SIZE
from coalloc.workload.program import PipeProgram, Program
from coalloc.workload.replay import Outcome, replay

__all__ = ["Buffer", "Film", "Frame", "film", "size_classes"]

_MOST_SEGMENTS: Final = 1500
"""The most segments, and the most ranges of pages, of one frame."""
_MOST_BUFFERS: Final = 8000
"""The most buffers whose lives are kept: those that take the most bytes for the longest."""


@attrs.frozen
class Buffer:
    """One buffer's life: its base, its size in bytes as asked for, and the numbers of its first and last operation.

    ``last`` is the number of all operations for a buffer that was never freed.
    """

    base: int
    size: int
    first: int
    last: int


@attrs.frozen
class Frame:
    """What lies where after an operation.

    Args:
        operation: How many operations are done.
        time: Microseconds of the program; the operation's number for a program of buffers.
        live: Bytes of all buffers.
        segments: The segments in address order; those of the space that shows none are its live buffers.
        resident: Ranges with a physical page: base and end, in order.
        left_out: Segments and ranges that are not here.
    """

    operation: int
    time: int
    live: int
    segments: tuple[Segment, ...]
    resident: tuple[tuple[int, int], ...]
    left_out: int


@attrs.frozen
class Film:
    """A replay as frames.

    Args:
        outcome: The replay.
        start: The first address of the kernel map.
        frames: The frames in order.
        fullest: The number of the frame with the most bytes live.
        buffers: The lives of buffers, in the order in which they began.
        left_out: Buffers that are not here.
    """

    outcome: Outcome
    start: int
    frames: tuple[Frame, ...]
    fullest: int
    buffers: tuple[Buffer, ...]
    left_out: int


def film(
    program: Program,
    design: Design,
    *,
    era: KernelState,
    limit: int,
    frames: int = 60,
    progress: Callable[[int], None] | None = None,
) -> Film:
    """Replay a program twice, first to find the fullest moment, and then to take the frames.

    Args:
        program: The program, with at least one operation.
        design: The design.
        era: Whose pipe policy.
        limit: maxpipekva in bytes.
        frames: How many frames, >= 1, beside the fullest.
        progress: Called now and then with the number of operations that are done, of twice as many.

    Raises:
        InvalidRequestError: If ``frames`` is not an int >= 1, the program is empty, or as
            :func:`~coalloc.workload.replay.replay`.
    """
    if type(frames) is not int or frames < 1:
        raise InvalidRequestError("frames", frames, "must be an int >= 1")
    n = len(program)
    if not n:
        raise InvalidRequestError("program", program.title, "has no operations")
    peak, fullest = -1, 0

    def find(done: int, live: int, _bench: Bench) -> None:
        nonlocal peak, fullest
        if live > peak:
            peak, fullest = live, done

    replay(program, design, era=era, limit=limit, watch=find, progress=progress)
    wanted = sorted({max(1, round(n * number / frames)) for number in range(1, frames + 1)} | {fullest})
    times = program.columns()[0] if isinstance(program, PipeProgram) else range(n)
    asking, source = asks_seen(design)
    watched, recorder = seen_by(asking)
    taken: list[Frame] = []
    left = iter(wanted)
    following = next(left)

    def take(done: int, live: int, bench: Bench) -> None:
        nonlocal following
        buffers = recorder()
        buffers.operation = done
        if done == following:
            segments = bench.space.segments() or _live(buffers)
            resident = _ranges(source().resident)
            over = max(0, len(segments) - _MOST_SEGMENTS) + max(0, len(resident) - _MOST_SEGMENTS)
            taken.append(Frame(done, times[done - 1], live, segments[:_MOST_SEGMENTS], resident[:_MOST_SEGMENTS], over))
            following = next(left, 0)

    further = None if progress is None else lambda done: progress(n + done)
    outcome = replay(program, watched, era=era, limit=limit, watch=take, progress=further)
    lives = _lives(recorder(), n)
    largest = sorted(lives, key=lambda one: -one.size * (one.last - one.first + 1))[:_MOST_BUFFERS]
    kept = sorted(largest, key=lambda one: one.first)
    number = next(index for index, frame in enumerate(taken) if frame.operation == fullest)
    start = source().base
    return Film(outcome, start, tuple(taken), number, tuple(kept), len(lives) - len(kept))


def _lives(recorder: BufferRecorder, n: int) -> list[Buffer]:
    return [
        Buffer(base, life.size, first, n if last < 0 else last)
        for base, life, (first, last) in zip(recorder.bases, recorder.lives, recorder.operations, strict=True)
    ]


def _live(recorder: BufferRecorder) -> tuple[Segment, ...]:
    """Return the live buffers as segments, for a space that shows none."""
    live = sorted((base, recorder.lives[number].size) for base, number in recorder.live.items())
    return tuple(Segment(base, size, Kind.BUSY, base) for base, size in live)


def _ranges(pages: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Join pages into ranges."""
    ranges: list[list[int]] = []
    for page in sorted(pages):
        if ranges and ranges[-1][1] == page:
            ranges[-1][1] += PAGE_SIZE
        else:
            ranges.append([page, page + PAGE_SIZE])
    return tuple((base, end) for base, end in ranges)


def size_classes(films: Sequence[Film]) -> tuple[int, ...]:
    """Return the sizes of the buffers of some films, each once, in order."""
    return tuple(sorted({buffer.size for one in films for buffer in one.buffers}))
