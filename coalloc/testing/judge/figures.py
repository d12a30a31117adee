"""The judge's count of calls, and what an allocator shows of itself held to it: segments and figures."""

from __future__ import annotations

from typing import Any, Final

from coalloc.testing.judge.books import Books, Shown
from coalloc.testing.properties import Breach, Property

__all__ = ["Figures", "require_segments", "shown_segments"]

_KEPT_BY_A_REFUSAL: Final = ("allocs", "frees", "resizes_in_place", "resizes_moved", "live")


class Figures:
    """How often each call succeeded, and what stats() said last."""

    def __init__(self) -> None:
        self.allocs = self.frees = self.stayed = self.moved = self.refusals = 0
        self.last: object = None

    def require_kept(self, words: str, stats: object) -> None:
        """Hold a refusal to having changed none of the figures of calls that succeed."""
        for name in _KEPT_BY_A_REFUSAL:
            if getattr(self.last, name, 0) != getattr(stats, name, 0):
                raise Breach(Property.P9, f"{words} was refused, and changed {name}")

    def require_stats(self, stats: Any, books: Books, mapped: int, *, opaque: bool, had_static: bool) -> None:
        """Hold every figure to its recount.

        Args:
            stats: What stats() returned.
            books: What is where.
            mapped: Bytes that are mapped, by the source.
            opaque: Whether nobody can tell what is cached.
            had_static: Whether arenas were mapped when the allocator was made: then nobody can tell what it counts of those.
        """
        self.last = stats
        holes = [size for _, size in books.state.holes]
        largest = max(holes, default=0)
        exact = {
            "mapped": mapped,
            "peak_mapped": books.peak,
            "live": sum(size for _, size in books.live.values()),
            "allocs": self.allocs,
            "frees": self.frees,
            "arenas": len(books.state.arenas),
            "refusals": self.refusals,
            "resizes_in_place": self.stayed,
            "resizes_moved": self.moved,
        }
        if not had_static:
            exact |= {"imports": books.imports, "releases": books.releases}
        if not opaque:
            exact |= {"cached": sum(books.parked.values()), "free": sum(holes), "holes": len(holes)}
        for name, true in exact.items():
            said = getattr(stats, name, true)
            if said != true:
                raise Breach(Property.P4, f"stats().{name} is {said!r}, and the recount gives {true}")
        said = getattr(stats, "largest_hole", largest)
        if not opaque and (said != largest if books.contract.exact_stats else not 0 <= said <= largest):
            raise Breach(Property.P16, f"stats().largest_hole is {said!r}, and the largest hole has {largest} bytes")
        free = getattr(stats, "free", 0) if opaque else sum(holes)
        true_share = 1 - said / free if free else 0.0
        share = getattr(stats, "external_fragmentation", true_share)
        if not 0 <= share <= 1 or (not opaque and abs(share - true_share) > 1e-9):
            raise Breach(
                Property.P16, f"stats().external_fragmentation is {share!r}, and 1 - largest/free is {true_share}"
            )


def shown_segments(segments: Any) -> list[Shown]:
    """Return what segments() shows, as plain values: of whatever class the segments are, their fields count."""
    return [(s.base, s.size, getattr(s.kind, "value", s.kind), s.arena) for s in segments]


def require_segments(shown: list[Shown], books: Books) -> None:
    """Hold what segments() shows to the books."""
    live = sorted(books.live.values())
    busy = sorted((base, size) for base, size, kind, _ in shown if kind == "busy")
    if busy != live:
        strange = min(set(busy) ^ set(live), default=busy[0] if busy else (0, 0))
        what = "is missing among" if strange in live else "stands in"
        raise Breach(Property.P4, f"the buffer {strange[0]:#x}+{strange[1]} {what} the segments")
    if shown == books.segments():
        return
    free = [(base, size) for base, size, kind, _ in shown if kind == "free"]
    holes = books.state.holes
    for hole in holes:
        if hole not in free:
            others = [f"{base:#x}+{size}" for base, size in free if base < sum(hole) and hole[0] < base + size]
            told = ", ".join(others) or "no hole"
            owner = Property.P5 if sum(s for _, s in free) == sum(s for _, s in holes) else Property.P4
            raise Breach(owner, f"the free range {hole[0]:#x}+{hole[1]} is shown as {told}")
    raise Breach(Property.P4, "the segments do not tile the arenas")
