"""Replays in processes of their own: equal outcomes, errors in words, and nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from coalloc import DESIGNS, ERAS, CoallocError, InvalidRequestError, KernelMap, PerPipeSpace, Space, bundled_build
from coalloc.cli.jobs import replay_each
from coalloc.pipes.design import Design
from coalloc.pipes.eras import Era
from coalloc.workload.replay import Outcome

BUILD = bundled_build()
CHOSEN = [DESIGNS[name] for name in ("per-pipe", "coalescing", "linux")]


def play(designs: list[Design], jobs: int, progress: Callable[[int], None] | None = None) -> list[Outcome]:
    """Replay the bundled build."""
    return replay_each(BUILD, designs, era=ERAS["2004-01"], limit=1 << 20, jobs=jobs, progress=progress)


def failing(error: Callable[[], Exception]) -> Design:
    """A design whose space cannot be made."""

    def make(_era: Era, _kernel: KernelMap, _limit: int) -> Space:
        raise error()

    return Design("failing", "raises", make)


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_outcomes_do_not_depend_on_the_number_of_processes(jobs: int) -> None:
    """They come in the order of the designs, and progress ends with all operations of all designs."""
    told: list[int] = []
    outcomes = play(CHOSEN, jobs, told.append)
    assert [outcome.design for outcome in outcomes] == ["per-pipe", "coalescing", "linux"]
    assert outcomes == play(CHOSEN, 1)
    assert told == sorted(told)
    assert told[-1] == 3 * len(BUILD)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (lambda: InvalidRequestError("size", 7, "is odd"), InvalidRequestError, "size='7': is odd"),
        (lambda: CoallocError("no luck"), CoallocError, "no luck"),
        (MemoryError, CoallocError, "out of memory"),
        (lambda: ZeroDivisionError("by zero"), CoallocError, "the allocator failed in .*ZeroDivisionError: by zero"),
        (lambda: SystemExit("bye"), CoallocError, "the allocator failed in .*SystemExit: bye"),
    ],
)
def test_what_a_replay_raises_comes_out_of_its_process(error: Any, expected: type[Exception], words: str) -> None:
    """A refusal with its three parts, any other error in its words; the other processes are ended."""
    with pytest.raises(expected, match=words):
        play([*CHOSEN, failing(error)], 2)
    assert multiprocessing.active_children() == []


def test_our_own_mistakes_keep_their_traceback() -> None:
    """What is called here is no stranger's code."""
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*design.*TypeError"):
        play([*CHOSEN, Design("failing", "raises", int)], 2)


def test_a_process_that_is_killed_is_reported() -> None:
    """In one line, for it cannot say anything itself."""

    def make(_era: Era, _kernel: KernelMap, _limit: int) -> Space:
        os._exit(3)

    with pytest.raises(CoallocError, match="was killed"):
        play([Design("dying", "dies", make), CHOSEN[0]], 2)


def test_an_interrupt_leaves_no_process() -> None:
    """Whatever the replays were doing."""

    def interrupted(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(CHOSEN, 2, interrupted)
    assert multiprocessing.active_children() == []


def test_a_process_that_does_not_want_to_end_is_ended() -> None:
    """A process that ignores SIGTERM, or has not yet given up the handler of its parent, is killed at an interrupt."""

    def make(_era: Era, kernel: KernelMap, limit: int) -> Space:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return PerPipeSpace(kernel, kva_limit=limit)

    def interrupted(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play([Design("one", "one", make), Design("two", "two", make)], 2, interrupted)
    assert multiprocessing.active_children() == []


def test_a_space_below_another_limit_is_the_childs_own() -> None:
    """What a replay changes in its process stays there."""
    spaces: list[Space] = []

    def make(_era: Era, kernel: KernelMap, limit: int) -> Space:
        spaces.append(PerPipeSpace(kernel, kva_limit=limit))
        return spaces[-1]

    play([Design("one", "one", make), Design("two", "two", make)], 2)
    assert spaces == []


def test_compare_prints_the_same_with_any_number_of_jobs(coalloc: Any) -> None:
    """As a table and as JSON; a number that is none is bad usage."""
    for options in ((), ("--json",)):
        outputs = {coalloc("compare", "--limit", "1M", "--jobs", jobs, *options).out for jobs in ("1", "2", "64")}
        assert len(outputs) == 1
    refused = coalloc("compare", "--jobs", "0")
    assert (refused.status, refused.out) == (2, "")
    assert "jobs=0: must be an int >= 1" in refused.err
