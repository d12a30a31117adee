"""Draw the arenas as the books know them, with a request in them: one line of marks for each arena that matters."""

from __future__ import annotations

from coalloc import spec
from coalloc.testing.judge.books import Books

__all__ = ["draw"]

_WIDTH = 56
"""The most marks of a line."""
_MOST = 3
"""The most arenas that are drawn."""


def draw(books: Books, at: tuple[int, int] | None, expected: tuple[int, ...]) -> str:
    """Return the arenas that a request concerns, one mark for a quantum or for several.

    Args:
        books: What is where.
        at: Place and size of the request as it was granted; None if it was refused.
        expected: Where the specification would put it.

    Returns:
        Text of several lines: ``#`` busy, ``c`` cached, ``.`` free, ``:`` partly free; below it ``^`` marks the place that
        was given, ``+`` the first one that the specification allows.
    """
    lines: list[str] = []
    wanted = [at[0]] if at is not None else []
    wanted += expected[:1]
    arenas = [arena for arena in books.state.arenas if any(_holds(arena, address) for address in wanted)]
    for arena in (arenas or list(books.state.arenas))[:_MOST]:
        each = books.quantum * max(-(-arena.size // books.quantum // _WIDTH), 1)
        busy = _marks(books, arena, each)
        lines.append(f"arena {arena.base:#x}+{arena.size}, {each} bytes a mark")
        lines.append(f"  {busy}")
        under = [" "] * (len(busy) + 1)
        for address, mark in ((expected[0] if expected else -1, "+"), (at[0] if at is not None else -1, "^")):
            if _holds(arena, address):
                under[(address - arena.base) // each] = mark
        words = [f"^ {at[0]:#x}+{at[1]}"] if at is not None and _holds(arena, at[0]) else []
        words += [f"+ {expected[0]:#x} expected"] if expected and _holds(arena, expected[0]) else []
        if words:
            lines.append(f"  {''.join(under).rstrip()}   {', '.join(words)}")
    if at is not None and not any(_holds(arena, at[0]) for arena in books.state.arenas):
        lines.append(f"{at[0]:#x}+{at[1]} lies in no arena")
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
