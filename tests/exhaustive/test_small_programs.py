"""Every program of up to k operations on tiny arenas: no counterexample exists up to that size."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from coalloc import EAGER, NEVER, RETAIN, Fit, Release
from tests.stateful.model import PAGE, Twin

Step = tuple[str, int]


def programs(sizes: tuple[int, ...], depth: int, live: int = 0) -> Iterator[list[Step]]:
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


def run(program: list[Step], fit: Fit, limit: int, arena: int, cache: int, release: Release) -> None:
    """Run a program on the space and on the oracle; a refused alloc leaves a place that nothing frees."""
    twin = Twin(fit=fit, n_pages=limit, limit=limit, arena=arena, cache=cache, release=release)
    bases: list[int | None] = []
    for what, value in program:
        if what == "alloc":
            bases.append(twin.alloc(value * PAGE))
        else:
            base = bases.pop(value)
            if base is not None:
                twin.free(base)
    twin.compare()
    twin.finish()


CONFIGURATIONS = {
    "one arena": (5, 5, 0, NEVER),
    "two arenas": (6, 3, 0, RETAIN(1)),
    "eager, with a cache": (4, 2, 1, EAGER),
}


@pytest.mark.parametrize("configuration", CONFIGURATIONS)
@pytest.mark.parametrize("fit", Fit, ids=lambda fit: fit.value)
def test_every_program_of_five_operations(fit: Fit, configuration: str) -> None:
    """Allocs of 1 and 2 or 3 pages, frees in any order: address, refusals and figures are the oracle's."""
    count = 0
    for program in programs((1, 3 if configuration == "one arena" else 2), 5):
        run(program, fit, *CONFIGURATIONS[configuration])
        count += 1
    assert count == 312
