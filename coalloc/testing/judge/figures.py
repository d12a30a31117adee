"""The judge's count of calls, and what an allocator shows of itself held to it: segments and figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from coalloc.contract import Coalescing, Spans
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
            if (figure(self.last, name) or 0) != (figure(stats, name) or 0):
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
            "arenas": books.n_ranges(),
            "refusals": self.refusals,
            "resizes_in_place": self.stayed,
            "resizes_moved": self.moved,
        }
        if not had_static:
            exact |= {"imports": books.imports, "releases": books.releases}
        if not opaque:
            exact |= {"cached": sum(books.parked.values()), "free": sum(holes), "holes": len(holes)}
        if books.frame != (0, 0):  # a buffer may be counted with what it occupies beside it, or without
            bare = exact["live"] - len(books.live) * sum(books.frame)
            exact["live"] = bare if figure(stats, "live") == bare else exact["live"]
        for name, true in exact.items():
            said = figure(stats, name)
            if said is not None and (said != true or not is_count(said)):
                raise Breach(Property.P4, f"stats().{name} is {said!r}, and the recount gives {true}")
        said = figure(stats, "largest_hole")
        if said is not None and not is_count(said):
            raise Breach(Property.P16, f"stats().largest_hole is {said!r}, and no number of bytes")
        told = largest if said is None else said
        if not opaque and (told != largest if books.contract.exact_stats else not 0 <= told <= largest):
            raise Breach(Property.P16, f"stats().largest_hole is {said!r}, and the largest hole has {largest} bytes")
        free = (figure(stats, "free") or 0) if opaque else sum(holes)
        true_share = 1 - told / free if free else 0.0
        share = figure(stats, "external_fragmentation")
        share = true_share if share is None else share
        if (
            not isinstance(share, (int, float))
            or not 0 <= share <= 1
            or (not opaque and abs(share - true_share) > 1e-9)
        ):
            raise Breach(
                Property.P16, f"stats().external_fragmentation is {share!r}, and 1 - largest/free is {true_share}"
            )


def figure(stats: Any, name: str) -> Any:
    """Return a figure of stats(), which may be an object or a mapping; None where it is missing, or said to be unknown."""
    unknown = getattr(stats, "unknown", None)
    if isinstance(unknown, frozenset) and name in unknown:
        return None
    return stats.get(name) if isinstance(stats, Mapping) else getattr(stats, name, None)


def is_count(value: object) -> bool:
    """Tell whether a figure is a whole number, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def shown_segments(segments: Any) -> list[Shown]:
    """Return what segments() shows, as plain values: of whatever class the segments are, their fields count."""
    return [(s.base, s.size, getattr(s.kind, "value", s.kind), s.arena) for s in segments]


def require_segments(shown: list[Shown], books: Books) -> None:
    """Hold what segments() shows to the books."""
    front, back = books.frame
    live = sorted(books.live.values())
    busy = sorted((base, size) for base, size, kind, _ in shown if kind == "busy")
    bare = [(base + front, size - front - back) for base, size in live]
    if busy != live and busy != bare:
        strange = min(set(busy) ^ set(live) or busy)  # or one is shown twice
        what = "stands in" if strange in busy else "is missing among"
        raise Breach(Property.P4, f"the buffer {strange[0]:#x}+{strange[1]} {what} the segments")
    if books.contract.coalescing is Coalescing.BY_ARENA or shown == books.segments():
        return
    free = [(base, size) for base, size, kind, _ in shown if kind == "free"]
    holes = books.state.holes
    for hole in holes:
        if hole not in free:
            others = [f"{base:#x}+{size}" for base, size in free if base < sum(hole) and hole[0] < base + size]
            told = ", ".join(others) or "no hole"
            owner = Property.P5 if sum(s for _, s in free) == sum(s for _, s in holes) else Property.P4
            raise Breach(owner, f"the free range {hole[0]:#x}+{hole[1]} is shown as {told}")
    plain = books.frame == (0, 0) and not books.contract.arena_head and not books.contract.arena_tail
    if not plain or books.contract.spans is Spans.JOINED:
        extra = next((segment for segment in free if segment not in holes), None)
        if extra is None:
            return  # what is never handed out may be shown, or not
        raise Breach(Property.P4, f"{extra[0]:#x}+{extra[1]} is shown as free, and is no hole")
    raise Breach(Property.P4, "the segments do not tile the arenas")
