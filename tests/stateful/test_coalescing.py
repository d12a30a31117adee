"""The reference against the specification, call by call, for every fit and release rule, with and without a cache."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

from coalloc import EAGER, NEVER, RETAIN, CoalescingSpace, Fit, Release
from coalloc.space.coalescing import FITS
from coalloc.testing import Subject, random_program
from coalloc.testing.statemachine import run_machine

PAGE = 4096
RULES = (EAGER, RETAIN(1), RETAIN(2), NEVER)


def reference(fit: Fit, release: Release, cache: int) -> Any:
    """Return a factory of coalescing spaces with a cache of so many quanta."""

    def make_space(
        source: Any, *, kva_limit: int, arena_size: int, quantum: int = PAGE, release: Release = release
    ) -> CoalescingSpace:
        return CoalescingSpace(
            source,
            kva_limit=kva_limit,
            arena_size=arena_size,
            quantum=quantum,
            fit=fit,
            quantum_cache=cache * quantum,
            release=release,
        )

    return make_space


@pytest.mark.parametrize("cache", [0, 2], ids=["plain", "cached"])
@pytest.mark.parametrize("fit", FITS, ids=lambda fit: fit.value)
def test_the_space_does_what_the_specification_says(fit: Fit, cache: int) -> None:
    """Every address, refusal, figure and release is the one that the specification derives, by Hypothesis and by seeds."""
    for number, release in enumerate(RULES):
        subject = Subject(reference(fit, release, cache))
        run_machine(subject, examples=max(settings().max_examples // 10, 4), steps=30)
        for seed in range(13):
            _, found = random_program(subject, 100 * number + seed)
            assert found is None, found
