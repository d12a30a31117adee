"""Every map call of a pipe program made to fail in turn, alone or with the next: what fails changes nothing.

Many eras try again, for less, so that one failure alone is not seen.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coalloc import (
    ERAS,
    CoalescingSpace,
    Era,
    KernelMap,
    NoSpaceError,
    Owner,
    PerPipeSpace,
    PipeError,
    PipeSystem,
)
from coalloc.space.protocol import FullSpace

SIZE = 1 << 20
USER = Owner(uid=7, privileged=False, pipebuf_limit=400_000)


class FailingMap(KernelMap):
    """A kernel map whose n-th map call fails, and so many after it."""

    def __init__(self, nth: int, more: int) -> None:
        super().__init__(base=0, size=SIZE)
        self.left, self.more = nth, more

    def map(self, size: int) -> int:
        """Map, or fail."""
        self.left -= 1
        if -self.more <= self.left <= 0:
            raise NoSpaceError(size, free=0, largest_hole=0, mapped=0, kva_limit=SIZE)
        return super().map(size)


MAKERS: dict[str, Callable[[KernelMap], FullSpace]] = {
    "per-pipe": lambda kernel: PerPipeSpace(kernel, kva_limit=SIZE),
    "coalescing": lambda kernel: CoalescingSpace(kernel, kva_limit=SIZE, arena_size=65536),
    "cached": lambda kernel: CoalescingSpace(kernel, kva_limit=SIZE, arena_size=65536, quantum_cache=16384),
}


def state(system: PipeSystem, space: FullSpace) -> tuple[object, ...]:
    """Return the state that a failed call must leave as it was."""
    pairs = [[(half.base, half.size, half.cnt) for half in pair.halves] for pair in system.pairs]
    return system.budget.kva_used, dict(system.budget.users), space.stats().live, pairs


def play(era: Era, design: str, nth: int, more: int) -> tuple[int, int]:
    """Run the program with the n-th map call failing; return how many calls failed, and how many map calls are left."""
    kernel = FailingMap(nth, more)
    space = MAKERS[design](kernel)
    system = PipeSystem(space, era, maxpipekva=SIZE)
    failed = 0

    def attempt(call: Callable[[], object]) -> None:
        nonlocal failed
        before = state(system, space)
        try:
            call()
        except PipeError:
            failed += 1
            assert state(system, space) == before
        system.check()
        space.check()

    for _ in range(3):
        attempt(lambda: system.pipe(USER))
    for pair in system.pairs:
        for end, n in ((0, 5000), (1, 40_000), (1, 100)):
            attempt(lambda pair=pair, end=end, n=n: pair.write(end, n))  # type: ignore[misc]
    for pair in system.pairs:
        for end in (0, 1):
            pair.close(end)
    assert (system.budget.kva_used, system.budget.users, space.stats().live) == (0, {}, 0)
    space.reclaim()
    assert kernel.counters().mapped == 0
    return failed, kernel.left


@pytest.mark.parametrize("design", MAKERS)
@pytest.mark.parametrize("era", ERAS.values(), ids=lambda era: era.name)
def test_each_map_call_may_fail(era: Era, design: str) -> None:
    """Whichever map call fails, a failed pipe call changes nothing and all can be closed."""
    failures = 0
    for more in (0, 1):
        nth, left = 0, 0
        while left <= 0:
            nth += 1
            failed, left = play(era, design, nth, more)
            failures += failed > 0
        assert nth > 1
    assert failures or design != "per-pipe"
