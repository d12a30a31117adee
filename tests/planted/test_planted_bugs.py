"""Planted bugs: each is found by driving the space beside the oracle, so each check is known to be able to fail."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from coalloc import RETAIN, CoalescingSpace, Fit, InvariantViolation, NoSpaceError
from coalloc.errors import CoallocError
from tests.stateful.model import PAGE, Twin


class ForgetsTheHoleBehind(CoalescingSpace):
    """M1: coalesces to the left only."""

    __slots__ = ()

    def free(self, base: int) -> None:
        end = base + self.size_of(base)
        behind = self._holes.size_at.pop(end, None)
        super().free(base)
        if behind is not None:
            self._holes.size_at[end] = behind


class TakesTheOldest(CoalescingSpace):
    """M6: a smallest hole, but not the newest of them."""

    __slots__ = ()

    def alloc(self, size: int) -> int:
        for bin_ in getattr(self._holes, "bins", {}).values():
            bin_.update({base: bin_.pop(base) for base in reversed(list(bin_))})
        return super().alloc(size)


class NeverCoalesces(CoalescingSpace):
    """Leaves neighbours apart (I3)."""

    __slots__ = ()

    def free(self, base: int) -> None:
        size = self.size_of(base)
        self._busy[base] = 0
        self._frees += 1
        self._holes.insert(base, size)


class AlwaysRefuses(CoalescingSpace):
    """M67 (I12)."""

    __slots__ = ()

    def alloc(self, size: int) -> int:
        raise NoSpaceError(-(-size // PAGE) * PAGE, free=0, largest_hole=0, mapped=0, kva_limit=0)


class NeverReuses(CoalescingSpace):
    """M68: holes are forgotten, so every address is new."""

    __slots__ = ()

    def free(self, base: int) -> None:
        self._busy[base] = 0
        self._frees += 1


class DoesNotDrain(CoalescingSpace):
    """M59: refuses with buffers in its cache (I12)."""

    __slots__ = ()

    def _drain(self) -> None:
        pass


class LosesAHoleWhenItRefuses(CoalescingSpace):
    """M28: a failed call does not leave things as they were (I11)."""

    __slots__ = ()

    def alloc(self, size: int) -> int:
        try:
            return super().alloc(size)
        except CoallocError:
            for base, hole in list(self._holes.size_at.items())[:1]:
                self._holes.remove(base, hole)
            raise


class ChargesBeforeItKnows(CoalescingSpace):
    """M29: mapped rises even if the source refuses (I7, I11)."""

    __slots__ = ()

    def alloc(self, size: int) -> int:
        try:
            return super().alloc(size)
        except CoallocError:
            self._mapped += PAGE
            raise


class MapsBeyondTheLimit(CoalescingSpace):
    """M31: the limit is compared with the wrong sign (I9)."""

    __slots__ = ()

    def alloc(self, size: int) -> int:
        limit, self._kva_limit = self._kva_limit, self._kva_limit + PAGE
        try:
            return super().alloc(size)
        finally:
            self._kva_limit = limit


class KeepsEveryArena(CoalescingSpace):
    """M39: the release rule is not kept (I10)."""

    __slots__ = ()

    def _settle(self, address: int) -> None:
        pass


class MovesOnEveryResize(CoalescingSpace):
    """Promises to resize in place, and does not."""

    __slots__ = ()

    def resize(self, base: int, size: int) -> int:
        moved = self.alloc(size)
        self.free(base)
        return moved


class RollsDice(CoalescingSpace):
    """M66: the address depends on something that the program does not (I13)."""

    __slots__ = ()
    dice = random.Random(1)

    def alloc(self, size: int) -> int:
        base = super().alloc(size)
        if self.dice.random() < 0.5:
            other = super().alloc(size)
            super().free(base)
            return other
        return base


class MergesAcrossArenas(CoalescingSpace):
    """M3 (I4): walls are not respected."""

    __slots__ = ()

    def free(self, base: int) -> None:
        self._holes.walls = ()
        super().free(base)
        self._holes.walls = self._arenas


PLANTED: list[type[CoalescingSpace]] = [
    ForgetsTheHoleBehind, TakesTheOldest, NeverCoalesces, AlwaysRefuses, NeverReuses, DoesNotDrain, LosesAHoleWhenItRefuses,
    ChargesBeforeItKnows, MapsBeyondTheLimit, KeepsEveryArena, MovesOnEveryResize, RollsDice, MergesAcrossArenas,
]  # fmt: skip


def drive(
    kind: type[CoalescingSpace], seed: int, *, steps: int = 60, after: Callable[[Twin], None] | None = None
) -> None:
    """Run a random program on a space of this kind beside the oracle."""
    generator = random.Random(seed)
    twin = Twin(fit=Fit.BEST, n_pages=16, limit=12, arena=4, cache=seed % 2, release=RETAIN(1), kind=kind)
    for _ in range(steps):
        choice = generator.random()
        if choice < 0.5 or not twin.live:
            twin.alloc(generator.choice([1, 1, 2, 3]) * PAGE)
        elif choice < 0.85:
            twin.free(generator.choice(sorted(twin.live)))
        else:
            twin.resize(generator.choice(sorted(twin.live)), generator.choice([1, 2, 3]) * PAGE)
        twin.compare()
    twin.finish()
    if after is not None:
        after(twin)


@pytest.mark.parametrize("kind", PLANTED, ids=lambda kind: kind.__name__)
def test_every_planted_bug_is_found(kind: type[CoalescingSpace]) -> None:
    """By the space's own checker, by the oracle's answer, or because it trips over its own state."""
    found = 0
    for seed in range(20):
        try:
            drive(kind, seed)
        except (AssertionError, InvariantViolation, CoallocError, LookupError):
            found += 1
    assert found


def test_the_space_without_a_bug_passes_the_same_programs() -> None:
    """So what was found above was the bug."""
    for seed in range(20):
        drive(CoalescingSpace, seed)
