"""The oracle driven beside a coalescing space: a recording source, and what the oracle expects of every call."""

from __future__ import annotations

from coalloc.contract import Fit, Release
from coalloc.errors import ExhaustionError, KvaLimitError, NoSpaceError
from coalloc.extent import Extent
from coalloc.space.cells import CellSpace
from coalloc.space.coalescing import CACHE_DEPTH, CoalescingSpace
from coalloc.space.protocol import Kind
from coalloc.vm.kernelmap import KernelMap

PAGE = 4096


class RecordingMap(KernelMap):
    """A kernel map that writes down what is mapped and unmapped, so that the oracle can be told."""

    def __init__(self, size: int) -> None:
        super().__init__(base=0, size=size)
        self.log: list[tuple[str, int, int]] = []

    def map(self, size: int) -> int:
        base = super().map(size)
        self.log.append(("map", base, size))
        return base

    def unmap(self, base: int, size: int) -> None:
        super().unmap(base, size)
        self.log.append(("unmap", base, size))


class Twin:
    """A coalescing space and the oracle in step: every operation is done on both and compared to the exact address.

    The oracle is told which arenas came and went (the source's word), and judges everything else by itself: where the
    buffer lies, whether an import was needed, whether a refusal was right, and which arenas may be kept.
    """

    def __init__(
        self,
        *,
        fit: Fit,
        n_pages: int,
        limit: int,
        arena: int,
        cache: int,
        release: Release,
        quantum: int = PAGE,
        kind: type[CoalescingSpace] = CoalescingSpace,
    ) -> None:
        self.source = RecordingMap(n_pages * PAGE)
        self.space = kind(
            self.source,
            kva_limit=limit * PAGE,
            arena_size=arena * PAGE,
            quantum=quantum,
            fit=fit,
            quantum_cache=cache * quantum,
            release=release,
        )
        self.oracle = CellSpace(0, quantum=quantum, fit=fit)
        self.cache = cache * quantum
        self.quantum = quantum
        self.stacks: dict[int, list[int]] = {}
        self.release = release
        self.live: dict[int, int] = {}

    # --- one operation on both ---

    def alloc(self, size: int, **bounds: int) -> int | None:
        rounded = -(-size // self.quantum) * self.quantum
        stack = self.stacks.get(rounded) if not bounds else None
        before = self.space.stats()
        self.source.log.clear()
        try:
            base = self.space.xalloc(size, **bounds) if bounds else self.space.alloc(size)
        except ExhaustionError as error:
            self._judge_refusal(error, rounded, bounds)
            return None
        if stack:
            assert base == stack.pop(), "the newest cached buffer is handed out"
            assert not self.source.log
            self.oracle.unpark(base)
        else:
            expected = self.oracle.choose(rounded, self.oracle.fit, **bounds)
            if expected is None:
                assert self.source.log or any(self.stacks.values()), "a hole came from nowhere"
                expected = self._follow_harder(rounded, bounds)
            else:
                assert not self.source.log, "an import although a hole admits the request"
            assert base == expected, f"{base:#x} is not where {self.oracle.fit} puts it: {expected:#x}"
            self.oracle.put(base, rounded)
            self.oracle.cursor = base + rounded
        assert self.space.stats().allocs == before.allocs + 1
        self.live[base] = rounded
        return base

    def _follow_harder(self, size: int, bounds: dict[str, int]) -> int:
        """Tell the oracle what the source saw, in order; drained caches go back before the first release."""
        events = list(self.source.log)
        while events and events[0][0] == "map":
            base_size = events.pop(0)[1:]
            self.oracle.enter_arena(*base_size)
            if not events:
                place = self.oracle.choose(size, self.oracle.fit, **bounds)
                if place is not None:
                    return place
                break
            if events[0] == ("unmap", *base_size):
                assert self.oracle.choose(size, self.oracle.fit, **bounds) is None
                self.oracle.leave_arena(*base_size)
                events.pop(0)
        self._drain()
        for what, base, length in events:
            if what == "map":
                self.oracle.enter_arena(base, length)
            else:
                self.oracle.leave_arena(base, length)
        place = self.oracle.choose(size, self.oracle.fit, **bounds)
        assert place is not None, "the space found a place where the oracle finds none"
        return place

    def _drain(self) -> None:
        """Give cached buffers back in the documented order."""
        for size in sorted(self.stacks):
            for base in self.stacks[size]:
                self.oracle.drop(base)
            self.stacks[size].clear()

    def _judge_refusal(self, error: ExhaustionError, size: int, bounds: dict[str, int]) -> None:
        """A refusal is right if the drained and reclaimed oracle has no place, and neither limit nor source allow more."""
        if bounds and not CellSpace(96 * PAGE, quantum=self.quantum).places(size, **bounds):
            assert not self.source.log, "a contradiction is refused at once"
            assert isinstance(error, NoSpaceError)
            return
        events = list(self.source.log)
        self._settle(events)
        assert self.oracle.choose(size, self.oracle.fit, **bounds) is None, "refused although a place exists"
        assert all(not self.oracle_arena_idle(arena) for arena in self.arenas()), "refused with arenas to release"
        need = -(-size // PAGE) * PAGE
        importable = need <= self.space.kva_limit - self.oracle.kva_limit and need <= self.source.available()
        assert bounds or not importable, "refused although an arena could be imported"
        holes = self.oracle.holes()
        assert error.free == sum(length for _, length in holes)
        assert error.largest_hole == max((length for _, length in holes), default=0)
        assert error.mapped == self.oracle.kva_limit
        explanation = error.explain()
        assert [(v.base, v.size) for v in explanation.verdicts] == holes
        for remedy in explanation.remedies:
            if remedy.what == "size":
                assert self._would(remedy.value, bounds), f"{remedy} does not help"
                assert not self._would(remedy.value + self.quantum, bounds), f"{remedy} is not the smallest change"
            elif remedy.what == "lo":
                assert self._would(size, bounds | {"lo": remedy.value}), f"{remedy} does not help"
                assert not self._would(size, bounds | {"lo": remedy.value + 1}), f"{remedy} is not the smallest change"
            elif remedy.what == "hi":
                assert self._would(size, bounds | {"hi": remedy.value}), f"{remedy} does not help"
                assert not self._would(size, bounds | {"hi": remedy.value - 1}), f"{remedy} is not the smallest change"
            elif remedy.what in ("align", "nocross"):
                assert self._would(size, bounds | {remedy.what: remedy.value}), f"{remedy} does not help"
            else:
                assert isinstance(error, KvaLimitError) or bounds
                room = min(remedy.value - self.oracle.kva_limit, self.source.available())
                assert room >= need, f"{remedy} does not help"
                assert bounds or remedy.value - PAGE - self.oracle.kva_limit < need, (
                    f"{remedy} is not the smallest change"
                )

    def _would(self, size: int, bounds: dict[str, int]) -> bool:
        """Tell whether a size would be granted now, by the oracle and by what source and limit allow."""
        if self.oracle.choose(size, self.oracle.fit, **bounds) is not None:
            return True
        room = min(self.space.kva_limit - self.oracle.kva_limit, self.source.available()) // PAGE * PAGE
        if not bounds:
            return size <= room
        if bounds.get("lo", 0) or bounds.get("hi", 2**64 - 1) < 2**64 - 1:
            return False
        if not CellSpace(64 * PAGE, quantum=self.quantum).places(size, **bounds):
            return False
        slack = max(bounds.get("align", 0), bounds.get("nocross", 0)) + bounds.get("phase", 0)
        plain = bounds.get("align", 0) <= self.quantum and not bounds.get("nocross")
        return -(-(size + (0 if plain else slack)) // PAGE) * PAGE <= room

    def _settle(self, events: list[tuple[str, int, int]]) -> None:
        """Follow the source through trial imports, the drain and the releases."""
        while events and events[0][0] == "map" and len(events) > 1 and events[1] == ("unmap", *events[0][1:]):
            self.oracle.enter_arena(*events[0][1:])
            self.oracle.leave_arena(*events[0][1:])
            del events[:2]
        self._drain()
        for what, base, length in events:
            if what == "map":
                self.oracle.enter_arena(base, length)
            else:
                self.oracle.leave_arena(base, length)

    def free(self, base: int) -> None:
        size = self.live.pop(base)
        self.source.log.clear()
        self.space.free(base)
        self._freed(base, size)

    def _freed(self, base: int, size: int) -> None:
        stack = self.stacks.setdefault(size, []) if size <= self.cache else None
        if stack is not None and len(stack) < CACHE_DEPTH:
            stack.append(base)
            self.oracle.park(base)
            assert not self.source.log
            return
        self.oracle.free(base)
        for what, arena, length in self.source.log:
            assert what == "unmap"
            assert arena <= base < arena + length, "another arena than the one that became free was released"
            kept = sum(1 for other in self.arenas() if self.oracle_arena_idle(other)) - 1
            assert self.release.keep is not None
            assert kept >= self.release.keep, "an arena was released that the rule keeps"
            self.oracle.leave_arena(arena, length)

    def resize(self, base: int, size: int) -> int | None:
        rounded = -(-size // self.quantum) * self.quantum
        old = self.live[base]
        in_place = rounded <= old or any(
            start == base + old and length >= rounded - old and start not in dict(self.arenas())
            for start, length in self.oracle.holes()
        )
        if in_place:
            self.source.log.clear()
            assert self.space.resize(base, size) == base
            assert self.oracle.resize(base, size) == base
            assert not self.source.log
            self.live[base] = rounded
            return base
        return self._resize_moving(base, size, old)

    def _resize_moving(self, base: int, size: int, old: int) -> int | None:
        """Follow a moving resize: what an alloc does, then what a free does."""
        rounded = -(-size // self.quantum) * self.quantum
        stack = self.stacks.get(rounded)
        self.source.log.clear()
        try:
            new = self.space.resize(base, size)
        except ExhaustionError as error:
            self._judge_refusal(error, rounded, {})
            assert self.space.size_of(base) == old, "a refused resize keeps the buffer"
            return None
        log = list(self.source.log)
        if new == base:  # what lay behind was drained on the way
            self._drain()
            assert self.oracle.resize(base, size) == base
            self._settle(log)
            self.live[base] = rounded
            return base
        released: list[tuple[str, int, int]] = []
        if log and log[-1][0] == "unmap" and log[-1][1] <= base < log[-1][1] + log[-1][2]:
            released = [log.pop()]
        self.source.log[:] = log
        if stack:
            assert new == stack.pop()
            self.oracle.unpark(new)
        else:
            expected = self.oracle.choose(rounded, self.oracle.fit)
            if expected is None:
                expected = self._follow_harder(rounded, {})
            assert new == expected
            self.oracle.put(new, rounded)
            self.oracle.cursor = new + rounded
        del self.live[base]
        self.source.log[:] = released
        self._freed(base, old)
        self.live[new] = rounded
        return new

    def reserve(self, base: int, size: int) -> None:
        self.space.reserve(Extent(base, size))
        self.oracle.reserve(Extent(base, size))
        self.live[base] = size

    def reclaim(self) -> None:
        self.source.log.clear()
        mapped = self.space.stats().mapped
        unmapped = self.space.reclaim()
        self._settle(list(self.source.log))
        assert mapped - unmapped == self.oracle.kva_limit
        assert not any(self.oracle_arena_idle(arena) for arena in self.arenas()), (
            "I10: reclaim releases every free arena"
        )

    # --- comparing ---

    def arenas(self) -> list[tuple[int, int]]:
        found: dict[int, int] = {}
        for segment in self.oracle.segments():
            found[segment.arena] = found.get(segment.arena, 0) + segment.size
        return sorted(found.items())

    def oracle_arena_idle(self, arena: tuple[int, int]) -> bool:
        return arena in self.oracle.holes()

    def compare(self) -> None:
        """The two agree on every segment and every figure, and the space's own checker finds nothing."""
        self.space.check()
        self.source.check()
        self.oracle.check()
        assert self.space.segments() == self.oracle.segments()
        mine, theirs = self.space.stats(), self.oracle.stats()
        for figure in ("mapped", "live", "cached", "free", "largest_hole", "holes", "arenas", "allocs", "frees"):
            assert getattr(mine, figure) == getattr(theirs, figure), figure
        assert mine.live == sum(self.live.values())
        assert mine.mapped <= self.space.kva_limit
        assert {s.base: s.size for s in self.space.segments() if s.kind is Kind.BUSY} == self.live

    def finish(self) -> None:
        """Free everything: one hole per arena; then reclaim: nothing is mapped; then the whole limit can be had."""
        for base in list(self.live):
            self.free(base)
        self.compare()
        if not any(self.stacks.values()):
            assert self.oracle.holes() == self.arenas()
        self.reclaim()
        self.compare()
        assert self.space.stats().mapped == 0
        assert self.source.counters().mapped == 0
        whole = min(self.space.kva_limit, self.source.size)
        arena = self.alloc(whole)
        assert arena is not None
        self.free(arena)
        self.reclaim()
        self.compare()
