"""Draw the arenas as the books know them, with a request in them: one line of marks for each arena that matters."""

from __future__ import annotations

from coalloc import spec
from coalloc.testing.judge.books import Books

__all__ = ["draw"]

_WIDTH = 56
"""The most marks of a line."""
_MOST = 3
"""The most arenas that are drawn."""


def draw(books: Books, at: int | None, expected: int | None, size: int) -> str:
    """Return the arenas that a request concerns, one mark for a quantum or for several.

    Args:
        books: What is where.
        at: Where the request was placed; None if it was refused.
        expected: Where the specification would place it; None if nowhere.
        size: All bytes that the request occupies.

    Returns:
        Text of several lines: ``#`` busy, ``c`` cached, ``.`` free, ``:`` partly free; below it ``^`` marks what was given,
        ``+`` the first place that the specification allows.
    """
    lines: list[str] = []
    wanted = [
        (mark, place, word)
        for mark, place, word in (("^", at, "given"), ("+", expected, "expected"))
        if place is not None
    ]
    arenas = [arena for arena in books.state.arenas if any(_holds(arena, place) for _, place, _ in wanted)]
    for arena in (arenas or list(books.state.arenas))[:_MOST]:
        each = books.quantum * max(-(-arena.size // books.quantum // _WIDTH), 1)
        lines.append(f"arena {arena.base:#x}+{arena.size}, {each} bytes a mark")
        lines.append(f"  {_marks(books, arena, each)}")
        for mark, place, word in wanted:
            if _holds(arena, place):
                first, end = place - arena.base, min(place + size, arena.base + arena.size) - arena.base
                marks = " " * (first // each) + mark * (-(-end // each) - first // each)
                lines.append(f"  {marks} {word}: {place:#x}+{size}")
    if at is not None and not any(_holds(arena, at) for arena in books.state.arenas):
        lines.append(f"{at:#x}+{size} lies in no arena")
    return "\n".join(lines)


def _holds(arena: spec.Arena, address: int) -> bool:
    return arena.base <= address < arena.base + arena.size


def _marks(books: Books, arena: spec.Arena, each: int) -> str:
    """Return one mark for every ``each`` bytes of an arena."""
    marks = []
    holes = spec.holes_in(books.state, arena)
    for start in range(arena.base, arena.base + arena.size, each):
        end = min(start + each, arena.base + arena.size)
        free = sum(max(min(end, base + size) - max(start, base), 0) for base, size in holes)
        cached = any(base < end and start < base + size for base, size in books.parked.items())
        marks.append("." if free == end - start else ":" if free else "c" if cached else "#")
    return "".join(marks)
