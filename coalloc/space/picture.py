"""A text picture of arenas: one line per arena, one character per equal share of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from coalloc.errors import InvalidRequestError
from coalloc.space.protocol import LEGEND, Kind, Segment
from coalloc.units import format_size

__all__ = ["LEGEND", "draw"]

_MARKS: Final = {Kind.BUSY: "#", Kind.CACHED: "c", Kind.FREE: "."}


def draw(arenas: Mapping[int, int], segments: Iterable[Segment], width: int) -> str:
    """Draw arenas (base to size, in bytes) and their segments, ``width`` characters for each arena, whatever its size.

    Raises:
        InvalidRequestError: If ``width`` is less than 1.
    """
    if type(width) is not int or width < 1:
        raise InvalidRequestError("width", width, "must be an int >= 1")
    by_arena: dict[int, list[Segment]] = {base: [] for base in arenas}
    for segment in segments:
        if segment.arena in by_arena:  # a corrupt space may name other arenas; its picture is still drawn
            by_arena[segment.arena].append(segment)
    lines = []
    for base in sorted(arenas):
        size = arenas[base]
        cells = [set[str]() for _ in range(width)]
        for segment in by_arena[base]:
            first = (segment.base - base) * width // size
            last = -(-(segment.end - base) * width // size)
            for cell in cells[first:last]:
                cell.add(_MARKS[segment.kind])
        busy = sum(segment.size for segment in by_arena[base] if segment.kind is Kind.BUSY)
        row = "".join(cell.pop() if len(cell) == 1 else "+" for cell in cells)
        lines.append(f"{base:#x} {format_size(size):>9} |{row}| {busy * 100 // size:3d}% busy")
    return "\n".join(lines) or "no arena is mapped"
