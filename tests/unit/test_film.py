"""Films: every frame shows what the space and the recorder of pages know, and every buffer has its life."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import DESIGNS, STATES, InvalidRequestError, KiB, MiB
from coalloc.designs import of_factory
from coalloc.experiments import film as module
from coalloc.experiments.film import Buffer, film, size_classes
from coalloc.pipes.design import Bench
from coalloc.space.protocol import Kind
from coalloc.workload.generators import hackbench, sawtooth
from coalloc.workload.program import SpaceProgram
from coalloc.workload.replay import replay

ERA = STATES["2004-01"]
PIPES = hackbench(groups=1, fds=3, loops=3)


@pytest.mark.parametrize("design", [DESIGNS[name] for name in ("per-pipe", "coalescing+cache", "buddy", "dragonfly")])
def test_a_frame_shows_what_there_is(design: Any) -> None:
    """Busy bytes are those of the space, pages those that are resident; the replay is not changed."""
    done = film(PIPES, design, era=ERA, limit=8 * MiB, frames=20)
    assert done.outcome == replay(PIPES, design, era=ERA, limit=8 * MiB)
    seen: dict[int, tuple[int, int]] = {}

    def watch(operation: int, _live: int, bench: Bench) -> None:
        busy = sum(segment.size for segment in bench.space.segments() if segment.kind is Kind.BUSY)
        seen[operation] = (busy, bench.kernel.counters().resident)

    replay(PIPES, design, era=ERA, limit=8 * MiB, watch=watch)
    assert [frame.operation for frame in done.frames] == sorted({frame.operation for frame in done.frames})
    assert done.frames[-1].operation == len(PIPES)
    for frame in done.frames:
        busy = sum(segment.size for segment in frame.segments if segment.kind is Kind.BUSY)
        assert (busy, sum(end - base for base, end in frame.resident)) == seen[frame.operation]
    assert done.frames[done.fullest].live == done.outcome.peak_live == max(frame.live for frame in done.frames)
    assert done.left_out == 0


def test_lives_are_those_of_the_program() -> None:
    """A buffer that is never freed lives to the end; times of a program of buffers are operations."""
    program = SpaceProgram([(0, 0, 4096), (0, 1, 4096), (2, 1, 8192), (1, 0, 0)])
    done = film(program, DESIGNS["coalescing"], era=ERA, limit=8 * MiB)
    start = done.start
    assert done.buffers == (
        Buffer(start, 4096, 0, 3), Buffer(start + 4096, 4096, 1, 2), Buffer(start + 4096, 8192, 2, 4),
    )  # fmt: skip
    assert [frame.time for frame in done.frames] == [0, 1, 2, 3]
    assert size_classes([done, done]) == (4096, 8192)


class Bare:
    """An allocator that hands out one range after the other, and shows nothing."""

    def __init__(self, source: Any, *, kva_limit: int) -> None:
        self.next = source.map(min(kva_limit, MiB))

    def alloc(self, size: int) -> int:
        """Hand out the next bytes."""
        self.next += size
        return int(self.next) - size

    def free(self, base: int) -> None:
        """Forget a buffer."""


def test_a_space_that_shows_no_segments_is_shown_by_its_buffers() -> None:
    """As they are handed out."""
    program = SpaceProgram([(0, 0, 4096), (0, 1, 8192)])
    done = film(program, of_factory("bare", Bare), era=ERA, limit=8 * MiB, frames=2)
    assert [segment.size for segment in done.frames[-1].segments] == [4096, 8192]


def test_what_is_left_out_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest and longest lives are kept, in order."""
    monkeypatch.setattr(module, "_MOST_SEGMENTS", 5)
    monkeypatch.setattr(module, "_MOST_BUFFERS", 7)
    program = sawtooth(cycles=2, peak=40, trough=4)
    done = film(program, DESIGNS["per-pipe"], era=ERA, limit=8 * MiB, frames=3)
    assert len(done.buffers) == 7
    assert done.left_out > 0
    assert sorted(done.buffers, key=lambda one: one.first) == list(done.buffers)
    assert min(buffer.size for buffer in done.buffers) >= 16 * KiB
    assert max(frame.left_out for frame in done.frames) > 0
    assert max(len(frame.segments) for frame in done.frames) == 5


def test_bad_arguments_are_refused_and_progress_is_told() -> None:
    """An empty program has no film."""
    for program, frames in ((PIPES, 0), (SpaceProgram([]), 3)):
        with pytest.raises(InvalidRequestError):
            film(program, DESIGNS["vmem"], era=ERA, limit=8 * MiB, frames=frames)
    told: list[int] = []
    film(PIPES, DESIGNS["vmem"], era=ERA, limit=8 * MiB, frames=1, progress=told.append)
    assert max(told, default=2 * len(PIPES)) <= 2 * len(PIPES)
