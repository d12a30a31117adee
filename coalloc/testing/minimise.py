"""Delta debugging: leave out and simplify steps of a failing program while it still breaks the same property."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from coalloc.testing.programs import Counterexample, run_program
from coalloc.testing.properties import Breach
from coalloc.testing.steps import Action, CheckProgram, Step, World
from coalloc.testing.subject import Subject

__all__ = ["minimise"]

_MOST_RUNS: Final = 4000
_LONG: Final = 16
"""In a program of more steps everything is compared only so many times."""
_HEAVY: Final = 1 << 19
"""Steps times granules of a run that counts as one more."""


def minimise(
    subject: Subject | None,
    found: Counterexample,
    *,
    run: Callable[[CheckProgram], Breach | None] | None = None,
    most: int = _MOST_RUNS,
) -> Counterexample:
    """Return a smaller program that breaks the same property and of which no step can be left out.

    Args:
        subject: The allocator under test.
        found: The counterexample to minimise.
        run: Runs a program and returns its breach; None runs it on the allocator under the judge.
        most: The most runs; a long program in a very large world counts as several.

    Guarantees:
        The result was run and failed.  Only if ``found`` does not fail when it is run again, ``found`` is returned.

    Complexity:
        At most ``most`` runs, usually some tens.
    """

    def exactly(program: CheckProgram) -> Breach | None:
        if run is not None:
            return run(program)
        assert subject is not None  # one of the two is given
        return run_program(subject, program)

    def seldom(program: CheckProgram) -> Breach | None:
        assert subject is not None
        every = max(len(program.steps) // _LONG, subject.deep_every)
        return run_program(attrs.evolve(subject, deep_every=every), program)

    late = seldom(found.program) if run is None and len(found.program.steps) > _LONG else None
    judge_of = exactly if late is None or late.property is not found.breach.property else seldom
    runs = 0

    @functools.cache  # what was tried once is often tried again, after another part of the program became simpler
    def fails(program: CheckProgram) -> Breach | None:
        nonlocal runs
        steps = len(program.steps)
        runs += 1 + steps // 4 + steps * program.world.limit // _HEAVY
        if runs > most:
            return None
        breach = judge_of(program)
        return breach if breach is not None and breach.property is found.breach.property else None

    if fails(found.program) is None:
        return found
    best, before = found, None
    while best is not before:
        before = best
        best = _without_steps(fails, best)
        best = _repeat(fails, best, _smaller_worlds)
        best = _repeat(fails, best, _fewer)
        for number in range(len(best.program.steps)):
            best = _repeat(fails, best, functools.partial(_simpler, number))
    neat = best.program.renumbered()
    return Counterexample(neat, exactly(neat) or fails(neat) or best.breach)


_Fails = Callable[[CheckProgram], Breach | None]


def _first(fails: _Fails, candidates: Iterator[CheckProgram]) -> Counterexample | None:
    """Return the first candidate that fails."""
    for candidate in candidates:
        breach = fails(candidate)
        if breach is not None:
            return Counterexample(candidate, breach)
    return None


def _repeat(
    fails: _Fails, best: Counterexample, candidates: Callable[[CheckProgram], Iterator[CheckProgram]]
) -> Counterexample:
    """Replace the program by the first candidate that fails until none fails; it ends because some measure decreases."""
    while smaller := _first(fails, candidates(best.program)):
        best = smaller
    return best


def _without_steps(fails: _Fails, best: Counterexample) -> Counterexample:
    """Leave out halves, quarters, ... and single steps, from the end to the start."""
    width = max(len(best.program.steps) // 2, 1)
    while width:
        end = len(best.program.steps)
        while end > 0:
            steps = best.program.steps
            start = max(end - width, 0)
            candidate = attrs.evolve(best.program, steps=steps[:start] + steps[end:])
            best = _first(fails, iter([candidate])) or best
            end = start
        width //= 2
    return best


_FEW: Final = 12
_MANY: Final = 32


def _fewer(program: CheckProgram) -> Iterator[CheckProgram]:
    """Yield the program without one of its buffers, for each buffer; if it is short, also without each pair of steps.

    A buffer may be there only to fill the limit, or for a map call before the one that fails.  So the limit is lowered by its
    size, and the number of the call that fails by one, too.  This would take long for a program of many buffers.
    """
    steps, limit = program.steps, program.world.limit
    for buffer in sorted({step.buffer for step in steps if step.buffer >= 0}, reverse=True):
        if len(steps) > _MANY:
            return
        less = attrs.evolve(program, steps=tuple(step for step in steps if step.buffer != buffer))
        yield less
        sooner = tuple(
            s._replace(size=s.size - 1) if s.action is Action.STARVE and s.size > 1 else s for s in less.steps
        )
        if sooner != less.steps:
            yield attrs.evolve(less, steps=sooner)
        taken = max(-(-step.size // program.world.granule) for step in steps if step.buffer == buffer)
        if 0 < taken < limit:
            world = attrs.evolve(program.world, limit=limit - taken, room=max(program.world.room - taken, 1))
            yield attrs.evolve(less, world=world)
            yield attrs.evolve(less, world=world, steps=sooner)
    if len(steps) <= _FEW:
        for first, second in itertools.combinations(range(len(steps)), 2):
            yield attrs.evolve(program, steps=steps[:first] + steps[first + 1 : second] + steps[second + 1 :])


def _simpler(number: int, program: CheckProgram) -> Iterator[CheckProgram]:
    """Yield the program with one step simplified in various ways."""
    for step in _simpler_steps(program.steps[number], program.world):
        yield attrs.evolve(program, steps=(*program.steps[:number], step, *program.steps[number + 1 :]))


def _lower(number: int) -> Iterator[int]:
    """Yield numbers >= 1 below a number: by a half, a quarter, ... and one less, so that a few tries reach the least."""
    less = number // 2
    while less:
        yield number - less
        less //= 2


def _smaller_worlds(program: CheckProgram) -> Iterator[CheckProgram]:
    """Yield the program in a smaller or plainer world."""
    world = program.world
    if world.base:
        low = attrs.evolve(world, base=0)
        yield attrs.evolve(program, world=low, steps=tuple(_lowered(step, world.base) for step in program.steps))
        yield attrs.evolve(program, world=low)
    if world.options:
        yield attrs.evolve(program, world=attrs.evolve(world, options=()))
    if world.slack:
        yield attrs.evolve(program, world=attrs.evolve(world, slack=0))
    for arena in _lower(world.arena):
        yield attrs.evolve(program, world=attrs.evolve(world, arena=arena))
    for limit in _lower(world.limit):
        whole, less = world.limit * world.granule, limit * world.granule
        steps = tuple(step._replace(size=less) if step.size == whole else step for step in program.steps)
        smaller = attrs.evolve(world, limit=limit, room=min(world.room, limit))
        yield attrs.evolve(program, world=smaller, steps=steps)
        yield attrs.evolve(program, world=attrs.evolve(world, limit=limit))
        yield attrs.evolve(program, world=attrs.evolve(world, limit=limit, room=min(world.room, limit)))
    if world.room > world.limit:
        yield attrs.evolve(program, world=attrs.evolve(world, room=world.limit))


def _lowered(step: Step, distance: int) -> Step:
    """Return a step with its addresses lower by a distance, and none below 0."""
    bounds = tuple((name, max(value - distance, 0) if name in ("lo", "hi") else value) for name, value in step.bounds)
    return step._replace(at=max(step.at - distance, 0), bounds=bounds)


def _simpler_steps(step: Step, world: World) -> Iterator[Step]:
    if step.action is Action.XALLOC:
        for name, _ in step.bounds:
            gone = ("align", "phase") if name == "align" else (name,)
            yield step._replace(bounds=tuple(pair for pair in step.bounds if pair[0] not in gone))
        if not step.bounds:
            yield step._replace(action=Action.ALLOC)
        for name, value in step.bounds:
            if name == "align" and value > world.granule and dict(step.bounds).get("phase", 0) < value // 2:
                yield step._replace(bounds=tuple((n, v // 2 if n == name else v) for n, v in step.bounds))
            if name in ("lo", "hi") and value > world.base:
                half = world.base + (value - world.base) // 2 // 4096 * 4096
                smaller = half if name == "lo" else half - 1
                if world.base <= smaller < value:
                    yield step._replace(bounds=tuple((n, smaller if n == name else v) for n, v in step.bounds))
    if step.action in (Action.ALLOC, Action.XALLOC, Action.RESIZE):
        granule = world.granule
        for n in (1, *_lower(-(-step.size // granule))):
            if n * granule < step.size:
                yield step._replace(size=n * granule)
        if step.size % granule:
            yield step._replace(size=step.size + -step.size % granule)
        if step.size < granule:  # where the quantum is small
            for size in (step.size // 2, step.size & (step.size - 1)):
                if size:
                    yield step._replace(size=size)
