"""Small programs: run every program of a few steps in tiny worlds, the shortest first, so that what is found is shortest.

Most bugs show in a few calls.  This search finds these without any chance: the program that it returns for a property is the
same for every seed.  From equal states it goes on once, as :mod:`coalloc.testing.explore` does; the random programs and the
directed checks have to find what hides in state that nobody sees, and what needs many buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Final

import attrs

from coalloc.contract import Capability, Constraint, Resize
from coalloc.testing.explore import in_full, state_of
from coalloc.testing.judge import Judge
from coalloc.testing.minimise import minimise
from coalloc.testing.programs import Counterexample, Watcher, run_program, scale_of
from coalloc.testing.properties import Breach, Property
from coalloc.testing.steps import Action, CheckProgram, Step, World
from coalloc.testing.subject import Subject

__all__ = ["SmallSearch", "search_small", "small_steps", "small_worlds"]

_NO_INSPECTION: Final = 1 << 60
_DEPTH: Final = 3
_PLAIN: Final = (Action.ALLOC, Action.FREE)
_SHAPES: Final = ((1, 1), (2, 1), (2, 2), (3, 1), (3, 3), (4, 2))
"""Limit and arena of the worlds, in pages or in what a contract needs in place of a page."""


@attrs.frozen
class SmallSearch:
    """What the small programs found.

    Args:
        found: The shortest program for each property that one of them breaks, in the order in which they were found.
        programs: How many programs were run.
        operations: How many steps they had.
        complete: Whether all of them were run.
    """

    found: dict[Property, Counterexample]
    programs: int
    operations: int
    complete: bool


def search_small(
    subject: Subject,
    *,
    depth: int = _DEPTH,
    first: bool = False,
    late: Callable[[], bool] = lambda: False,
) -> SmallSearch:
    """Run every small program, and keep the shortest one that breaks each property.

    Args:
        subject: The allocator under test.
        depth: The most steps, >= 0.
        first: Whether to stop after the number of steps with which anything was found.
        late: Called before each program; returns whether to stop.

    Complexity:
        Some hundred programs of at most ``depth`` steps each.
    """
    quiet = attrs.evolve(subject, deep_every=_NO_INSPECTION)
    found: dict[Property, Counterexample] = {}
    seen: set[Hashable] = set()
    programs = operations = 0
    try:
        level: list[CheckProgram] = [CheckProgram(world, ()) for world in small_worlds(subject)]
    except Breach as breach:
        return SmallSearch({breach.property: Counterexample(CheckProgram(World(), ()), breach)}, 0, 0, True)
    for n in range(depth + 1):
        following: list[CheckProgram] = []
        for program in level:
            if late():
                return SmallSearch(found, programs, operations, False)
            programs += 1
            operations += n
            try:
                judge = _run(quiet, program)
                state = program.world, state_of(judge), tuple(sorted(judge.gone.values()))
                if state in seen:
                    continue
                seen.add(state)
                if n < depth:
                    steps = program.steps
                    following += [attrs.evolve(program, steps=(*steps, step)) for step in small_steps(judge, steps)]
                else:
                    judge.finish()
            except Breach as breach:
                _note(subject, Counterexample(program, breach), found)
        if found and first:
            break
        level = following
    return SmallSearch(found, programs, operations, True)


def _run(quiet: Subject, program: CheckProgram) -> Judge:
    """Run a program, and compare everything at its end: its beginnings were compared before."""
    judge = Judge(quiet, program.world)
    for step in program.steps:
        judge.do(step)
    judge.inspect()
    return judge


def _note(subject: Subject, met: Counterexample, found: dict[Property, Counterexample]) -> None:
    """Keep a program as the one for its property, unless there is one; a breach at its end needs the end written out."""
    if met.breach.property in found:
        return
    breach = run_program(subject, met.program)
    exact = Counterexample(met.program, breach) if breach else in_full(subject, met.program.world, met.program.steps)
    if exact is not None and exact.breach.property not in found:
        found[exact.breach.property] = minimise(subject, exact)


def small_worlds(subject: Subject) -> Iterator[World]:
    """Yield the worlds of small programs, the smallest first."""
    contract, quantum = subject.nature
    scale = scale_of(contract, quantum)
    arenas = "arena_size" in subject.accepted
    limits = set()
    for limit, arena in _SHAPES:
        if arenas and not (contract.geometry.buddies and arena & arena - 1):
            yield World(limit=limit * scale, room=limit * scale, arena=arena * scale)
        elif not arenas and limit not in limits:
            yield World(limit=limit * scale, room=limit * scale)
        limits.add(limit)
    if contract.constraints:
        yield World(limit=4 * scale, room=4 * scale, base=scale * World().granule, arena=4 * scale if arenas else 0)
    yield World(limit=2 * scale, room=4 * scale, arena=scale if arenas else 0, slack=2048)


def small_steps(judge: Watcher, so_far: tuple[Step, ...]) -> Iterator[Step]:
    """Yield the steps that are tried in a state, the plainest first; a new buffer gets the next number.

    Args:
        judge: Who watches the allocator.
        so_far: The steps that have led to the state.
    """
    world, contract, quantum = judge.world, judge.contract, judge.quantum
    number = len(judge.live) + len(judge.gone)
    whole = world.limit * world.granule
    for size in sorted({quantum, 2 * quantum, whole}):
        if size <= whole:
            yield Step(Action.ALLOC, number, size)
    for buffer in sorted(judge.live):
        yield Step(Action.FREE, buffer)
    if not all(step.action in _PLAIN and step.size in (0, quantum, 2 * quantum, whole) for step in so_far):
        return
    for size in (quantum + 1, 1, whole + 1):
        yield Step(Action.ALLOC, number, size)
    if contract.resize is not Resize.NONE:
        for buffer in sorted(judge.live):
            for size in (quantum, 2 * quantum, whole + quantum):
                if size != judge.live[buffer][1]:
                    yield Step(Action.RESIZE, buffer, size)
    if Capability.XALLOC in judge.can:
        for bounds in _bounds(judge):
            yield Step(Action.XALLOC, number, quantum, bounds=bounds)
    if Capability.RECLAIM in judge.can:
        yield Step(Action.RECLAIM)
    yield Step(Action.STARVE, size=1)
    if Capability.RESERVE in judge.can:
        for base, size in judge.books.state.holes[:2]:
            yield Step(Action.RESERVE, number, quantum, at=base + size - quantum)
        yield Step(Action.RESERVE, number, quantum, at=world.base)
    if contract.checks_frees:
        for buffer in sorted(judge.gone):
            yield Step(Action.REFREE, buffer)
        for buffer in sorted(judge.live):
            yield Step(Action.FREE_INSIDE, buffer, quantum)
        yield Step(Action.FREE_WILD, at=world.base + 1)


def _bounds(judge: Watcher) -> Iterator[tuple[tuple[str, int], ...]]:
    """Yield the constraints that are tried."""
    world, quantum, promised = judge.world, judge.quantum, judge.contract.constraints
    middle = world.base + world.room * world.granule // 2
    if Constraint.ALIGN in promised:
        yield (("align", 2 * quantum),)
        if Constraint.PHASE in promised:
            yield (("align", 2 * quantum), ("phase", quantum))
    if Constraint.NOCROSS in promised:
        yield (("nocross", quantum),)
    if Constraint.LO in promised:
        yield (("lo", middle),)
    if Constraint.HI in promised:
        yield (("hi", middle - 1),)
