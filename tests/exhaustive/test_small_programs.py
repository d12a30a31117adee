"""Every program of up to k operations on tiny arenas: no counterexample exists up to that size."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coalloc import EAGER, NEVER, RETAIN, CoalescingSpace, Fit, Release
from coalloc.space.coalescing import FITS
from coalloc.testing import Action, CheckProgram, Step, Subject, World, run_program

PAGE = 4096
Call = tuple[str, int]


def programs(sizes: tuple[int, ...], depth: int, live: int = 0) -> Iterator[list[Call]]:
    """Yield every sequence of ``depth`` allocs of these sizes and frees of the i-th oldest live buffer."""
    if depth == 0:
        yield []
        return
    for size in sizes:
        for rest in programs(sizes, depth - 1, live + 1):
            yield [("alloc", size), *rest]
    for index in range(live):
        for rest in programs(sizes, depth - 1, live - 1):
            yield [("free", index), *rest]


def steps(program: list[Call]) -> Iterator[Step]:
    """Yield the program as steps of the kit and free everything at the end; a refused alloc leaves nothing to free."""
    live: list[int] = []
    for number, (what, value) in enumerate(program):
        if what == "alloc":
            live.append(number)
            yield Step(Action.ALLOC, number, value * PAGE)
        else:
            yield Step(Action.FREE, live.pop(value))
    yield Step(Action.FINISH)


def subject(fit: Fit, cache: int, release: Release) -> Subject:
    """Return the reference with a cache of so many quanta."""
    return Subject(
        lambda source, *, kva_limit, arena_size: CoalescingSpace(
            source, kva_limit=kva_limit, arena_size=arena_size, fit=fit, quantum_cache=cache * PAGE, release=release
        )
    )


CONFIGURATIONS = {
    "one arena": (5, 5, 0, NEVER),
    "two arenas": (6, 3, 0, RETAIN(1)),
    "eager, with a cache": (4, 2, 1, EAGER),
}


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("fit", FITS, ids=lambda fit: fit.value)
def test_every_program_of_five_operations(fit: Fit, configuration: str) -> None:
    """Every program of five allocs and frees has the specification's addresses, refusals and figures."""
    limit, arena, cache, release = CONFIGURATIONS[configuration]
    under_test, world = subject(fit, cache, release), World(limit=limit, room=limit, arena=arena)
    count = 0
    for program in programs((1, 3 if configuration == "one arena" else 2), 5):
        breach = run_program(under_test, CheckProgram(world, tuple(steps(program))))
        assert breach is None, (program, breach)
        count += 1
    assert count == 312
