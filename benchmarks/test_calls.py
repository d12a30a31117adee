"""Single calls, timed by pytest-benchmark: run with ``make bench``."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from coalloc import ERAS, CoalescingSpace, Fit, KernelMap, MiB, PerPipeSpace, PipeSystem
from coalloc.space.protocol import FullSpace

PAGE = 4096


def warm(space: FullSpace) -> FullSpace:
    """1,000 live buffers, with holes between them."""
    generator = random.Random(1)
    buffers = [space.alloc(generator.choice([1, 4, 16]) * PAGE) for _ in range(1500)]
    for base in generator.sample(buffers, 500):
        space.free(base)
    return space


SPACES: dict[str, Callable[[], FullSpace]] = {
    "per-pipe": lambda: PerPipeSpace(KernelMap(), kva_limit=512 * MiB),
    **{
        f"coalescing {fit.value}": lambda fit=fit: CoalescingSpace(KernelMap(), kva_limit=512 * MiB, fit=fit)  # type: ignore[misc]
        for fit in Fit
    },
    "coalescing+cache": lambda: CoalescingSpace(KernelMap(), kva_limit=512 * MiB, quantum_cache=16 * PAGE),
}


@pytest.mark.parametrize("name", SPACES)
def test_alloc_and_free(benchmark: BenchmarkFixture, name: str) -> None:
    """One buffer of 16 KiB, handed out and taken back, among 1,000 live ones."""
    space = warm(SPACES[name]())
    alloc, free = space.alloc, space.free
    benchmark.group = "alloc + free"
    benchmark(lambda: free(alloc(4 * PAGE)))


@pytest.mark.parametrize("name", ["per-pipe", "coalescing best", "coalescing+cache"])
def test_pipe_and_close(benchmark: BenchmarkFixture, name: str) -> None:
    """pipe(), a write, a read, two closes."""
    system = PipeSystem(SPACES[name](), ERAS["2004-01"], maxpipekva=64 * MiB)

    def once() -> None:
        pair = system.pipe()
        pair.write(1, 100)
        pair.read(0, 100)
        pair.close(1)
        pair.close(0)

    benchmark.group = "pipe, write, read, close, close"
    benchmark(once)
