"""Compare two TARGETs on the same programs, or one with vectors: each piece of the work in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

import attrs

from coalloc.errors import CoallocError
from coalloc.testing.differ import Differed, Difference, Ignore, Pair, differ, differ_on
from coalloc.testing.isolate import Hung, Reporter, Stopped, in_order, run_in_child
from coalloc.testing.steps import CheckProgram
from coalloc.testing.subject import MakeSpace, Subject
from coalloc.testing.targets import find_target
from coalloc.testing.vectors import Replayed, Vector, replay_vectors

__all__ = ["diff_targets", "replay_vectors_on"]


def _diff(
    make_space: MakeSpace,
    report: Reporter,
    *,
    names: tuple[str, str],
    ignore: frozenset[Ignore],
    figures: bool,
    seed: int,
    programs: range | CheckProgram,
    watch: bool,
) -> Differed:
    pair = Pair(
        Subject(make_space, on_world=report.world, on_step=report.step) if watch else Subject(make_space),
        Subject(find_target(names[1])),
        names,
        ignore,
        figures,
        report.found if watch else report.call,
    )
    if isinstance(programs, CheckProgram):
        return differ_on(pair, programs)
    return differ(pair, seed=seed, programs=programs)


def _diff_some(
    names: tuple[str, str],
    ignore: frozenset[Ignore],
    figures: bool,
    seed: int,
    programs: range | CheckProgram,
    timeout: float,
) -> Differed:
    """Run some programs in a child; one in which only one of the two returns is where they differ."""
    arguments: dict[str, object] = {
        "names": names, "ignore": ignore, "figures": figures, "seed": seed, "programs": programs,
    }  # fmt: skip
    try:
        result = run_in_child(_diff, names[0], arguments | {"watch": False}, timeout=timeout)
        if isinstance(result, Hung):
            heard = [0]
            again = run_in_child(_diff, names[0], arguments | {"watch": True}, timeout=timeout, heard=heard.append)
            result = _that_hung(again, heard[-1]) if isinstance(again, Hung) else again
    except (Stopped, KeyboardInterrupt):
        return Differed(0, 0, interrupted=True)
    return result  # type: ignore[no-any-return]


def _that_hung(hung: Hung, number: int) -> Differed:
    """Return how two differ of which one does not return."""
    words = [hung.breach.message, "not asked any more"]
    answers = (words[0], words[1]) if number == 0 else ("it returns", words[0])
    steps = hung.program.steps
    found = Difference(hung.program, str(steps[-1]) if steps else "when they are made", answers, ("", ""))
    return Differed(1, len(steps), found)


_AT_ONCE: Final = 16
"""The programs of a piece of a comparison."""


def diff_targets(
    first: str,
    second: str,
    *,
    ignore: frozenset[Ignore] = frozenset(),
    figures: bool = False,
    seed: int = 0,
    programs: int | CheckProgram = 400,
    seconds: float = 0,
    timeout: float = 10.0,
    progress: Callable[[int], None] | None = None,
    executor: Executor | None = None,
) -> Differed:
    """Run the same programs on two allocators, in processes of their own, until they differ.

    Args:
        first: A TARGET.
        second: Likewise.
        ignore: What may differ.
        figures: Whether the figures of stats() are compared, too.
        seed: The seed that the programs are drawn from.
        programs: How many to run; or the one to run.
        seconds: No further result is waited for after so many seconds; 0 sets no bound.
        timeout: Seconds without a sign of life until a process is terminated.
        progress: Called with the number of programs that are done.
        executor: Who runs the pieces; None runs one after another.

    Returns:
        What was found by the program with the lowest number, as short as it can be, unless an allocator did not return.

    Raises:
        InvalidRequestError: If there is no such target, or they have no quantum in common.
    """
    numbers: list[range | CheckProgram] = [programs] if isinstance(programs, CheckProgram) else []
    if not isinstance(programs, CheckProgram):
        numbers += [range(at, min(at + _AT_ONCE, programs)) for at in range(0, programs, _AT_ONCE)]
    end = time.monotonic() + seconds
    result = Differed(0, 0)
    results = in_order(executor, _diff_some, (((first, second), ignore, figures, seed, n, timeout) for n in numbers))
    try:
        for done in results:
            result = result.joined(done)
            if progress is not None:
                progress(result.programs)
            if result.difference is not None or result.interrupted or (seconds and time.monotonic() > end):
                break
    except KeyboardInterrupt:
        return attrs.evolve(result, interrupted=True)
    finally:
        results.close()
    return result


def _replay_vectors(make_space: MakeSpace, _report: Reporter, *, vectors: list[Vector]) -> Replayed:
    return replay_vectors(make_space, vectors)


def replay_vectors_on(target: str, vectors: list[Vector], *, timeout: float = 60.0) -> Replayed:
    """Make the calls of vectors on an allocator, in a process of its own.

    Args:
        target: A TARGET.
        vectors: The vectors.
        timeout: Seconds until the process is terminated.

    Raises:
        InvalidRequestError: If there is no such target.
        CoallocError: If the process ends or does not return.
    """
    result = run_in_child(_replay_vectors, target, {"vectors": vectors}, timeout=timeout)
    if isinstance(result, Hung):
        raise CoallocError(f"{target}: {result.breach.message}")
    return result  # type: ignore[no-any-return]
