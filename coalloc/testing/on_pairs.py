"""Compare two TARGETs on the same programs, or one with vectors: each piece of the work in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Final

import attrs

from coalloc.testing.differ import Differed, Difference, Ignore, Pair, differ, differ_on, differ_small
from coalloc.testing.isolate import Hung, Reporter, Stopped, in_order, run_in_child
from coalloc.testing.steps import CheckProgram
from coalloc.testing.subject import MakeSpace, Subject
from coalloc.testing.targets import find_target
from coalloc.testing.vectors import Replayed, Vector, replay_vectors

__all__ = ["diff_targets", "n_pieces", "replay_vectors_on"]


_Programs = range | CheckProgram | None
"""What a piece runs: random programs by their numbers, one program, or (None) the small ones."""


def _diff(
    make_space: MakeSpace,
    report: Reporter,
    *,
    names: tuple[str, str],
    ignore: frozenset[Ignore],
    figures: bool,
    seed: int,
    programs: _Programs,
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
    if programs is None:
        return differ_small(pair)
    return (
        differ_on(pair, programs) if isinstance(programs, CheckProgram) else differ(pair, seed=seed, programs=programs)
    )


@attrs.frozen
class _Piece:
    """A piece of a comparison.

    Args:
        names: The TARGETs.
        ignore: What may differ.
        figures: Whether figures are compared.
        seed: The seed of the programs.
        programs: Which programs.
        timeout: Seconds without a sign of life until a process is terminated.
    """

    names: tuple[str, str]
    ignore: frozenset[Ignore]
    figures: bool
    seed: int
    programs: _Programs
    timeout: float

    def run(self, *, watch: bool = False, heard: Callable[[int], None] | None = None) -> Differed | Hung:
        """Run it in a child."""
        arguments = {
            "names": self.names, "ignore": self.ignore, "figures": self.figures, "seed": self.seed,
            "programs": self.programs, "watch": watch,
        }  # fmt: skip
        return run_in_child(_diff, self.names[0], arguments, timeout=self.timeout, heard=heard)  # type: ignore[no-any-return]

    def on(self, program: CheckProgram) -> _Piece:
        """Return a piece that runs this program alone."""
        return attrs.evolve(self, programs=program)


def _diff_some(piece: _Piece) -> Differed:
    """Run a piece; a program in which only one of the two returns is where they differ."""
    try:
        result = piece.run()
        if isinstance(result, Hung):
            heard = [0]
            result = piece.run(watch=True, heard=heard.append)
            if isinstance(result, Hung):
                return _that_hung(piece, result, heard[-1])
    except (Stopped, KeyboardInterrupt):
        return Differed(0, 0, interrupted=True)
    return result


def _that_hung(piece: _Piece, hung: Hung, number: int) -> Differed:
    """Return how two differ of which one has not returned, unless the other does not return either."""
    other = piece.names[1 - number]
    steps = hung.program.steps
    alone = attrs.evolve(piece.on(hung.program), names=(other, other)).run()
    if isinstance(alone, Hung):
        return Differed(1, len(steps), ended=1, stopped="neither comes back from it")
    answers = [f"{hung.breach.message}", "it returns"]
    what = str(steps[-1]) if steps else "when they are made"
    found = Difference(hung.program, what, (answers[number], answers[1 - number]), ("", ""))
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
        programs: How many random programs to run after the small ones; or the one to run.
        seconds: No further result is waited for after so many seconds; 0 sets no bound.
        timeout: Seconds without a sign of life until a process is terminated.
        progress: Called with the number of pieces that are done, of :func:`n_pieces`.
        executor: Who runs the pieces; None runs one after another.

    Returns:
        What was found by the program with the lowest number, as short as it can be, unless an allocator did not return.

    Raises:
        InvalidRequestError: If there is no such target, or they have no quantum in common.
    """
    parts: list[_Programs] = [programs] if isinstance(programs, CheckProgram) else [None]
    if not isinstance(programs, CheckProgram):
        parts += [range(at, min(at + _AT_ONCE, programs)) for at in range(0, programs, _AT_ONCE)]
    end = time.monotonic() + seconds
    result = Differed(0, 0)
    pieces = (_Piece((first, second), ignore, figures, seed, part, timeout) for part in parts)
    results = in_order(executor, _diff_some, ((piece,) for piece in pieces))
    try:
        for number, done in enumerate(results, 1):
            result = result.joined(done)
            if progress is not None:
                progress(number)
            if result.difference is not None or result.interrupted or result.stopped:
                break
            if seconds and time.monotonic() > end and number < len(parts):
                result = attrs.evolve(result, stopped="time was up (--seconds)")
                break
    except KeyboardInterrupt:
        return attrs.evolve(result, interrupted=True)
    finally:
        results.close()
    return result


def n_pieces(programs: int | CheckProgram) -> int:
    """Return in how many pieces a comparison is made."""
    return 1 if isinstance(programs, CheckProgram) else 1 + -(-programs // _AT_ONCE)


def _replay_vectors(make_space: MakeSpace, report: Reporter, *, vectors: list[Vector], seconds: float) -> None:
    """Send the result of each vector."""
    end = time.monotonic() + seconds
    for vector in vectors:
        if seconds and time.monotonic() > end:
            return
        report.found(replay_vectors(make_space, [vector], before=report.progress))


def replay_vectors_on(
    target: str,
    vectors: list[Vector],
    *,
    timeout: float = 10.0,
    seconds: float = 0,
    progress: Callable[[int], None] | None = None,
) -> Replayed:
    """Make the calls of vectors on an allocator, in a process of its own.

    Args:
        target: A TARGET.
        vectors: The vectors.
        timeout: Seconds without an answer until the process is terminated; its vector then disagrees.
        seconds: No further vector is begun after so many seconds; 0 sets no bound.
        progress: Called with the number of vectors that are done.

    Raises:
        InvalidRequestError: If there is no such target.
    """
    end = time.monotonic() + seconds
    result = Replayed(0, 0, (), {})
    n_done = 0

    def heard(done: Replayed) -> None:
        nonlocal result, n_done
        result, n_done = result.joined(done), n_done + 1
        if progress is not None:
            progress(n_done)

    while n_done < len(vectors):
        at = [1]
        left = max(end - time.monotonic(), 1e-9) if seconds else 0
        hung = run_in_child(
            _replay_vectors,
            target,
            {"vectors": vectors[n_done:], "seconds": left},
            timeout=timeout,
            progress=lambda step, at=at: at.append(step),
            heard=heard,
        )
        if isinstance(hung, Hung):
            heard(vectors[n_done].ended_at(at[-1], hung.breach.message))
        elif n_done < len(vectors):
            late = {"time was up (--seconds)": len(vectors) - n_done}
            return result.joined(Replayed(0, 0, (), late))
    return result
