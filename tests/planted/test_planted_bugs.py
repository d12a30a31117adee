"""Planted bugs: each is found by driving the space beside the oracle, so each check is known to be able to fail."""

from __future__ import annotations

import random

import pytest

from coalloc import CoalescingSpace, NoSpaceError
from coalloc.errors import CoallocError
from coalloc.space.holes import FREED, WALL
from coalloc.testing import Subject, random_program

PAGE = 4096


class ForgetsTheHoleBehind(CoalescingSpace):
    """M1: coalesces to the left only."""

    __slots__ = ()

    def free(self, base: int) -> None:
        behind = self._tag_of(base).after
        state = behind.state
        if state > 0:
            behind.state = WALL
        super().free(base)
        behind.state = state


class TakesTheOldest(CoalescingSpace):
    """M6: a smallest hole, but not the newest of them."""

    __slots__ = ()

    def alloc(self, size: int) -> int:
        for bin_ in getattr(self._holes, "bins", {}).values():
            bin_.update({hole: bin_.pop(hole) for hole in reversed(list(bin_))})
        return super().alloc(size)


class NeverCoalesces(CoalescingSpace):
    """Leaves neighbours apart (I3)."""

    __slots__ = ()

    def free(self, base: int) -> None:
        tag = self._tag_of(base)
        tag.state = FREED
        self._holes.insert(tag)


class AlwaysRefuses(CoalescingSpace):
    """M67 (I12)."""

    __slots__ = ()

    def alloc(self, size: int) -> int:
        raise NoSpaceError(-(-size // PAGE) * PAGE, free=0, largest_hole=0, mapped=0, kva_limit=0)


class NeverReuses(CoalescingSpace):
    """M68: holes are forgotten, so every address is new."""

    __slots__ = ()

    def free(self, base: int) -> None:
        tag = self._at.pop(base)
        tag.before.after, tag.after.before = tag.after, tag.before


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
            for hole in list(self._holes)[:1]:
                self._holes.remove(hole)
            raise


class ChargesBeforeItKnows(CoalescingSpace):
    """M29: mapped rises even if the source refuses (I7, I11)."""

    __slots__ = ()

    def alloc(self, size: int) -> int:
        try:
            return super().alloc(size)
        except CoallocError:
            self._arenas.mapped += PAGE
            raise


class MapsBeyondTheLimit(CoalescingSpace):
    """M31: the limit is compared with the wrong sign (I9)."""

    __slots__ = ()

    def alloc(self, size: int) -> int:
        limit = self._arenas.kva_limit
        self._arenas.kva_limit += PAGE
        try:
            return super().alloc(size)
        finally:
            self._arenas.kva_limit = limit


class KeepsEveryArena(CoalescingSpace):
    """M39: the release rule is not kept (I10)."""

    __slots__ = ()

    def _settle(self, arena: int) -> None:
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
        super().free(base)
        for hole in list(self._holes):
            behind = self._at.get(hole.end)
            if hole.after is self._holes.wall and behind is not None and behind.state > 0:
                self._holes.remove(hole)
                self._holes.remove(behind)
                self._holes._absorb(hole, behind)
                self._holes.insert(hole)
                break


PLANTED: list[type[CoalescingSpace]] = [
    ForgetsTheHoleBehind, TakesTheOldest, NeverCoalesces, AlwaysRefuses, NeverReuses, DoesNotDrain, LosesAHoleWhenItRefuses,
    ChargesBeforeItKnows, MapsBeyondTheLimit, KeepsEveryArena, MovesOnEveryResize, RollsDice, MergesAcrossArenas,
]  # fmt: skip


def subject(kind: type[CoalescingSpace], cache: int) -> Subject:
    """Return spaces of this kind with a cache of so many pages, without their own checker, which might find the bug."""

    class Unchecked(kind):  # type: ignore[misc,valid-type]
        __slots__ = ()

        def __getattribute__(self, name: str) -> object:
            if name == "violations":
                raise AttributeError(name)
            return super().__getattribute__(name)

    return Subject(
        lambda source, *, kva_limit, arena_size: Unchecked(
            source, kva_limit=kva_limit, arena_size=arena_size, quantum_cache=cache * PAGE
        )
    )


@pytest.mark.parametrize("kind", PLANTED, ids=lambda kind: kind.__name__)
def test_every_planted_bug_is_found(kind: type[CoalescingSpace]) -> None:
    """At least one of forty random programs finds each planted bug."""
    assert any(random_program(subject(kind, seed % 2), seed)[1] for seed in range(40))


def test_the_space_without_a_bug_passes_the_same_programs() -> None:
    """The space without a bug passes the same forty programs, so what was found is the bug."""
    assert not any(random_program(subject(CoalescingSpace, seed % 2), seed)[1] for seed in range(40))
