"""The reference beside a model that keeps segments in a list and counts every event by its definition.

The model asks the specification where a request may lie, and a map of its own for arenas.
"""

from __future__ import annotations

import random
from bisect import insort
from typing import Any

import attrs
import pytest

from coalloc import (
    EAGER,
    NEVER,
    RETAIN,
    BadFreeError,
    CoalescingSpace,
    ExhaustionError,
    Extent,
    Fit,
    KernelMap,
    KvaLimitError,
    NoSpaceError,
    Release,
    SpanOverlapError,
    spec,
)
from coalloc.contract import ANYWHERE, Bounds
from coalloc.errors import FreeFault
from coalloc.space.coalescing import CACHE_DEPTH, FITS
from coalloc.space.protocol import Kind, Segment
from coalloc.spec.sizes import class_floor

PAGE = 4096
Q = 1024
COUNTED = ("allocs", "frees", "cache_hits", "drained", "holes_visited", "coalesces", "imports", "releases",
           "resizes_in_place", "resizes_moved", "refusals", "peak_mapped")  # fmt: skip


@attrs.define(order=True)
class Part:
    """A segment; a hole has the number of its birth."""

    base: int
    size: int = attrs.field(order=False)
    arena: int = attrs.field(order=False)
    kind: Kind = attrs.field(default=Kind.FREE, order=False)
    birth: int = attrs.field(default=0, order=False)

    @property
    def end(self) -> int:
        return self.base + self.size


class RefusedError(Exception):
    """No place for a request."""


class Model:
    """Segments in a list by address, arenas in a dict, events in a dict."""

    def __init__(self, source: KernelMap, limit: int, arena: int, fit: Fit, cache: int, release: Release) -> None:
        self.source, self.limit, self.arena, self.fit, self.cache, self.release = (
            source,
            limit,
            arena,
            fit,
            cache,
            release,
        )
        self.parts: list[Part] = []
        self.arenas: dict[int, int] = {}
        self.stacks: dict[int, list[Part]] = {}
        self.idle: list[int] = []
        self.freed: set[int] = set()
        self.cursor = self.births = 0
        self.counts = dict.fromkeys(COUNTED, 0)

    @property
    def mapped(self) -> int:
        return sum(self.arenas.values())

    def holes(self) -> list[Part]:
        return [part for part in self.parts if part.kind is Kind.FREE]

    def at(self, base: int) -> Part | None:
        return next((part for part in self.parts if part.base == base), None)

    def looked_at(self, size: int) -> list[Part]:
        """Return the holes in the order in which a search looks at them."""
        holes = self.holes()
        if self.fit is Fit.BEST:
            return sorted((h for h in holes if h.size >= size), key=lambda h: (h.size, -h.birth))
        if self.fit in (Fit.FIRST, Fit.NEXT):
            cursor = self.cursor if self.fit is Fit.NEXT else 0
            return sorted((h for h in holes if h.size >= size), key=lambda h: (h.base < cursor, h.base))
        n, lowest = size // Q, spec.size_class(size // Q)
        by_class: dict[int, list[Part]] = {}
        for hole in sorted(holes, key=lambda h: (spec.size_class(h.size // Q), -h.birth)):
            if (group := spec.size_class(hole.size // Q)) >= lowest:
                by_class.setdefault(group, []).append(hole)
        sure = [alike[0] for group, alike in by_class.items() if class_floor(group) >= n]
        return (sure if self.fit is Fit.INSTANT else []) + [hole for alike in by_class.values() for hole in alike]

    def carve(self, size: int, bounds: Bounds) -> Part | None:
        for hole in self.looked_at(size):
            self.counts["holes_visited"] += 1
            alone = spec.enter(spec.State(Q), hole.base, hole.size)
            if found := spec.places(alone, size, bounds):
                self.counts["allocs"] += 1
                self.cursor = found[0] + size
                return self.cut(hole, found[0], size)
        return None

    def cut(self, hole: Part, base: int, size: int) -> Part:
        """Make a part of a hole busy; what is left above it is newer than what is left below."""
        self.parts.remove(hole)
        for start, end in ((hole.base, base), (base + size, hole.end)):
            if end > start:
                self.births += 1
                insort(self.parts, Part(start, end - start, hole.arena, Kind.FREE, self.births))
        busy = Part(base, size, hole.arena, Kind.BUSY)
        insort(self.parts, busy)
        return busy

    def give(self, part: Part) -> Part:
        """Make a segment free, with the free ones on either side."""
        alike = [
            p
            for p in self.parts
            if p.arena == part.arena and p.kind is Kind.FREE and part.base in (p.end, p.base - part.size)
        ]
        for other in alike:
            self.parts.remove(other)
            self.counts["coalesces"] += 1
        self.parts.remove(part)
        self.births += 1
        base = min(part.base, *(p.base for p in alike)) if alike else part.base
        hole = Part(base, part.size + sum(p.size for p in alike), part.arena, Kind.FREE, self.births)
        insort(self.parts, hole)
        return hole

    def whole(self, arena: int) -> bool:
        part = self.at(arena)
        return part is not None and part.kind is Kind.FREE and part.size == self.arenas[arena]

    def drop(self, arena: int) -> int:
        part = self.at(arena)
        assert part is not None
        self.parts.remove(part)
        size = self.arenas.pop(arena)
        self.source.unmap(arena, size)
        self.counts["releases"] += 1
        return size

    def drop_idle(self, keep: int) -> int:
        self.idle = [arena for arena in sorted(self.arenas) if self.whole(arena)]
        return sum(map(self.drop, self.idle[keep:]))

    def drain(self) -> bool:
        parts = [part for size in sorted(self.stacks) for part in self.stacks[size]]
        for part in parts:
            self.give(part)
        self.counts["drained"] += len(parts)
        self.stacks.clear()
        return bool(parts)

    def fetch(self, size: int, bounds: Bounds) -> Part | None:
        """Map an arena for a request: the usual one, one that is surely large enough, or one of just its size."""
        room = (self.limit - self.mapped) // PAGE * PAGE
        need = -(-size // PAGE) * PAGE
        if need > room:
            return None
        step = max(bounds.align, bounds.nocross)
        more = max(step, Q) + bounds.phase if bounds.align > Q or bounds.nocross else 0
        sure = -(-(size + more) // PAGE) * PAGE
        for wanted in dict.fromkeys(min(n, room) for n in (max(self.arena, sure), sure, need)):
            try:
                arena = self.source.map(wanted)
            except NoSpaceError:
                continue
            self.counts["imports"] += 1
            self.arenas[arena] = wanted
            self.counts["peak_mapped"] = max(self.counts["peak_mapped"], self.mapped)
            self.births += 1
            insort(self.parts, Part(arena, wanted, arena, Kind.FREE, self.births))
            if (found := self.carve(size, bounds)) is not None:
                return found
            self.drop(arena)
        return None

    def xalloc(self, size: int, bounds: Bounds) -> Part:
        found = self.carve(size, bounds)
        if found is None and spec.possible(size, bounds, Q):
            found = self.fetch(size, bounds)
            if found is None and self.drain():
                found = self.carve(size, bounds)
                if found is not None and self.release.keep is not None:
                    self.drop_idle(self.release.keep)
            if found is None and self.drop_idle(0):
                found = self.fetch(size, bounds)
        if found is None:
            self.counts["refusals"] += 1
            raise RefusedError
        return found

    def alloc(self, size: int) -> Part:
        if self.stacks.get(size):
            part = self.stacks[size].pop()
            part.kind = Kind.BUSY
            self.counts["cache_hits"] += 1
            self.counts["allocs"] += 1
            return part
        return self.xalloc(size, ANYWHERE)

    def free(self, part: Part) -> None:
        self.counts["frees"] += 1
        self.freed.add(part.base)
        if part.size <= self.cache and len(self.stacks.get(part.size, ())) < CACHE_DEPTH:
            part.kind = Kind.CACHED
            self.stacks.setdefault(part.size, []).append(part)
            return
        arena = self.give(part).arena
        if self.whole(arena) and self.release.keep is not None:
            self.idle = [base for base in self.idle if base != arena and base in self.arenas and self.whole(base)]
            if len(self.idle) < self.release.keep:
                self.idle.append(arena)
            else:
                self.drop(arena)

    def grow(self, part: Part, size: int) -> bool:
        behind = self.at(part.end)
        if (
            behind is None
            or behind.arena != part.arena
            or behind.kind is not Kind.FREE
            or behind.end < part.base + size
        ):
            return False
        self.parts.remove(self.cut(behind, behind.base, size - part.size))
        part.size = size
        self.counts["resizes_in_place"] += 1
        return True

    def resize(self, part: Part, size: int) -> Part:
        if size < part.size:
            rest = Part(part.base + size, part.size - size, part.arena, Kind.BUSY)
            part.size = size
            insort(self.parts, rest)
            self.give(rest)
            self.counts["resizes_in_place"] += 1
        elif size > part.size and not self.grow(part, size):
            try:
                moved = self.alloc(size)
            except RefusedError:
                if not self.grow(part, size):
                    raise
                self.counts["refusals"] -= 1
                return part
            self.free(part)
            self.counts["resizes_moved"] += 1
            return moved
        return part

    def fault(self, address: int) -> FreeFault:
        if any(part.base < address < part.end for part in self.parts if part.kind is Kind.BUSY):
            return FreeFault.INSIDE_BUFFER
        return FreeFault.FREED_TWICE if address in self.freed else FreeFault.NEVER_ALLOCATED


def agree(space: CoalescingSpace, model: Model) -> None:
    """Compare all that the space shows."""
    space.check()
    assert space.segments() == tuple(Segment(p.base, p.size, p.kind, p.arena) for p in model.parts)
    sizes = [hole.size for hole in model.holes()]
    stats = attrs.asdict(space.stats())
    expected = model.counts | {
        "mapped": model.mapped,
        "live": sum(part.size for part in model.parts if part.kind is Kind.BUSY),
        "cached": sum(part.size for part in model.parts if part.kind is Kind.CACHED),
        "free": sum(sizes),
        "largest_hole": max(sizes, default=0),
        "holes": len(sizes),
        "arenas": len(model.arenas),
        "knows_holes": True,
    }
    if model.fit in (Fit.FIRST, Fit.NEXT):  # the tree counts its nodes, which tests of the tree compare
        expected["holes_visited"] = stats["holes_visited"]
    assert stats == expected
    room = min((model.limit - model.mapped) // PAGE * PAGE, model.source.available())
    assert space.available() == max([room, *sizes])


def random_bounds(rng: random.Random, n: int) -> dict[str, int]:
    """Return lawful constraints for a request of ``n`` quanta."""
    align = rng.choice([0, Q, 2 * Q, 4 * Q, 8 * Q])
    lo = rng.choice([0, 0, rng.randrange(80 * Q)])
    return {
        "align": align,
        "phase": rng.randrange(align // Q) * Q if align else 0,
        "nocross": rng.choice([0, 0, 16 * Q]) if n <= 16 else 0,
        "lo": lo,
        "hi": rng.choice([2**64 - 1, lo + rng.randrange(1, 60 * Q)]),
    }


@pytest.mark.parametrize("cache", [0, 2 * Q])
@pytest.mark.parametrize("release", [EAGER, RETAIN(1), RETAIN(2), NEVER], ids=str)
@pytest.mark.parametrize("fit", FITS)
def test_every_call_does_what_the_model_does(fit: Fit, release: Release, cache: int) -> None:
    """Over random programs, near the limit and where the source is full before it."""
    rng = random.Random(f"{fit} {release} {cache}")
    for limit, room in ((12 * PAGE + 100, 40), (100 * PAGE, 10)):
        source, other = (KernelMap(base=PAGE, size=room * PAGE) for _ in range(2))
        arena = rng.choice([PAGE, 3 * PAGE, 4 * PAGE])
        space = CoalescingSpace(
            source, kva_limit=limit, arena_size=arena, quantum=Q, fit=fit, quantum_cache=cache, release=release
        )
        model = Model(other, limit, arena, fit, cache, release)
        for _ in range(120):
            step(space, model, rng)
            agree(space, model)
        assert space.reclaim() == (model.drain(), model.drop_idle(0))[1]
        agree(space, model)


def step(space: CoalescingSpace, model: Model, rng: random.Random) -> None:
    """Make one random call of both, and compare what they answer."""
    live = [part for part in model.parts if part.kind is Kind.BUSY]
    what = rng.choice(["alloc", "alloc", "xalloc", "free", "free", "resize", "reserve", "reclaim", "wild"])
    n = rng.choice([1, 1, 2, 3, 4, 6, 9, 40])
    asked = n * Q - rng.choice([0, 0, 1, Q - 1])
    part = rng.choice(live) if live else None
    call: Any
    same: Any
    if what == "alloc":
        call, same = (lambda: space.alloc(asked)), (lambda: model.alloc(n * Q).base)
    elif what == "xalloc":
        bounds = random_bounds(rng, n)
        call, same = (lambda: space.xalloc(asked, **bounds)), (lambda: model.xalloc(n * Q, Bounds(**bounds)).base)
    elif what == "resize" and part is not None:
        base = part.base
        call, same = (lambda: space.resize(base, asked)), (lambda: model.resize(part, n * Q).base)
    elif what == "free" and part is not None:
        assert space.size_of(part.base) == part.size
        space.free(part.base)
        model.free(part)
        return
    elif what == "reclaim" and rng.random() < 0.2:
        call, same = space.reclaim, (lambda: (model.drain(), model.drop_idle(0))[1])
    elif what == "reserve":
        reserve(space, model, rng.randrange(4, 60) * Q, n * Q)
        return
    else:
        address = rng.randrange(4, 60) * Q + rng.choice([0, 0, 1])
        found = model.at(address)
        if found is None or found.kind is not Kind.BUSY:
            for bad in (space.free, space.size_of):
                with pytest.raises(BadFreeError) as caught:
                    bad(address)
                assert (caught.value.address, caught.value.fault) == (address, model.fault(address))
        return
    try:
        expected = same()
    except RefusedError:
        with pytest.raises(ExhaustionError) as refused:
            call()
        error = refused.value
        holes = [(hole.base, hole.size) for hole in model.holes()]
        assert (error.request, error.mapped, error.kva_limit) == (
            n * Q,
            model.mapped,
            model.limit,
        )
        assert (error.free, error.largest_hole) == (sum(s for _, s in holes), max((s for _, s in holes), default=0))
        assert [(hole.base, hole.size) for hole in error.explain().verdicts] == sorted(holes)
        fits = n * Q <= (model.limit - model.mapped) // PAGE * PAGE
        assert fits or isinstance(error, KvaLimitError) or what == "xalloc"
    else:
        assert call() == expected


def reserve(space: CoalescingSpace, model: Model, base: int, size: int) -> None:
    """Reserve a range of both, or find out what is in the way."""
    extent = Extent(base, size)
    hole = next((h for h in model.holes() if h.base <= base and base + size <= h.end), None)
    if hole is not None:
        space.reserve(extent)
        model.cut(hole, base, size)
        model.counts["allocs"] += 1
        return
    with pytest.raises(SpanOverlapError) as caught:
        space.reserve(extent)
    there = [p for p in model.parts if p.kind is not Kind.FREE and p.base < base + size and base < p.end]
    assert (caught.value.wanted, caught.value.existing) == (
        (base, size),
        (there[0].base, there[0].size) if there else None,
    )
    reason = f"overlaps the {there[0].kind.value} segment" if there else "does not lie in one arena"
    assert caught.value.reason == reason
