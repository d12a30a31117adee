"""Reader and writer for MiniMalloc's CSV: buffers with their sizes and lifetimes, the input of offline packing.

A row has a name, a first time, and either ``upper``, the time at which the buffer is free again, or ``end``, the last time at
which it is live.  Where one ends as another begins, the free comes first, so that the two may share a place.  Alignments, gaps,
hints and offsets are not used.

Source: MiniMalloc's README and src/converter.cc.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from coalloc.errors import ProgramError
from coalloc.workload.formats import Format, Progress
from coalloc.workload.program import SpaceOpKind, SpaceProgram
from coalloc.workload.space_log import SpaceLog, SpaceReport

__all__ = ["OFFERED"]

_FIRST: Final = ("lower", "start", "begin")
_BEHIND: Final = ("upper", "end")
_NUMBER: Final = re.compile(r"\s*-?\d{1,18}\s*")


def _columns(header: str) -> tuple[int, int, int, bool] | None:
    """Return the places of the first time, the last one and the size, and whether the last is live; None without them."""
    names = [name.strip().lower() for name in header.split(",")]
    first = [names.index(name) for name in _FIRST if name in names]
    behind = [name for name in _BEHIND if name in names]
    if not first or not behind or "size" not in names:
        return None
    return first[0], names.index(behind[0]), names.index("size"), behind[0] == "end"


def _recognises(first_line: bytes) -> bool:
    return _columns(first_line.decode("utf-8", "replace")) is not None


def _read(lines: Iterator[bytes], name: str, progress: Progress) -> tuple[SpaceProgram, SpaceReport]:
    log = SpaceLog("MiniMalloc", name, progress)
    texts = log.lines(lines)
    columns = _columns(next(texts, ""))
    if columns is None:
        raise ProgramError("the first line must name lower and upper (or start and end) and size", name, 1)
    log.ignore()
    first, behind, of_size, is_live = columns
    events: list[tuple[int, int, int, int]] = []  # time, free (0) before alloc (1), the row, its size
    for number, row in enumerate(log.rows(texts)):
        given = [row[place] if place < len(row) else "" for place in (first, behind, of_size)]
        if not "".join(row).strip():
            log.ignore()
        elif not all(_NUMBER.fullmatch(text) for text in given):
            log.misread()
        else:
            begin, end, size = map(int, given)
            if end + is_live <= begin or size < 0:
                log.misread("a lifetime or a size of less than nothing")
            else:
                events += [(begin, 1, number, size), (end + is_live, 0, number, size)]
    for _, is_alloc, number, size in sorted(events):
        if is_alloc:
            log.alloc(number, size)
        else:
            log.free(number)
    return log.finish()


def _write(program: SpaceProgram) -> Iterator[str]:
    """Yield the lines, with the numbers of the operations as times; what a resize makes is a buffer of its own."""
    began: dict[int, tuple[str, int, int]] = {}
    resized: dict[int, int] = {}
    yield "id,lower,upper,size\n"

    def row(name: str, lower: int, size: int, upper: int) -> str:
        return f"{name},{lower},{upper},{size}\n"

    for number, (kind, buffer, size) in enumerate(program.rows()):
        if kind != SpaceOpKind.ALLOC:
            yield row(*began.pop(buffer), number)
        if kind != SpaceOpKind.FREE:
            times = resized[buffer] = resized.get(buffer, -1) + 1
            began[buffer] = f"{buffer}.{times}" if times else str(buffer), number, size
    for left in began.values():
        yield row(*left, len(program))


OFFERED: Final = (Format("minimalloc", "CSV of MiniMalloc: lifetimes with sizes", _recognises, _read, write=_write),)
"""The format, for :data:`~coalloc.workload.formats.FORMATS`."""
