"""Reader and writer for the log of glibc's mtrace(3): malloc, realloc and free by address.

Source: mtrace(3), glibc malloc/mtrace-impl.c: ``+`` allocates, ``-`` frees, ``<`` and ``>`` are the two lines of a realloc, and
``!`` is one that was refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from coalloc.workload.formats import Format, Progress
from coalloc.workload.program import SpaceOpKind, SpaceProgram
from coalloc.workload.space_log import SpaceLog, SpaceReport

__all__ = ["OFFERED"]

_LINE: Final = re.compile(r"@ .{0,4096}?([-+<>!]) (0x[0-9a-f]{1,16}|\(nil\))(?: (0x[0-9a-f]{1,16}|0))?\s*")
_NULL: Final = "(nil)"


def _take(log: SpaceLog, line: str, moved: str | None) -> str | None:
    """Take a line; return the address that a realloc moves a buffer from, if the next line has the other half."""
    found = _LINE.fullmatch(line)
    if found is None:
        if line.startswith("= ") or not line.strip():
            log.ignore()
        else:
            log.misread()
        return moved
    what, address, size = found.groups()
    if (size is None) == (what in "+>!"):
        log.misread()
    elif what == "-":
        log.free(address)
    elif what == "<":
        return address
    elif what == "!" or address == _NULL:
        log.refused()
    elif what == ">" and moved is not None:
        log.resize(moved, address, int(size, 16))
    elif what == ">":
        log.misread("the first half of this realloc is missing")
    else:
        log.alloc(address, int(size, 16))
    return None


def _recognises(first_line: bytes) -> bool:
    return first_line.rstrip() == b"= Start" or _LINE.fullmatch(first_line.decode("utf-8", "replace")) is not None


def _read(lines: Iterator[bytes], name: str, progress: Progress) -> tuple[SpaceProgram, SpaceReport]:
    log, moved = SpaceLog("mtrace", name, progress), None
    for line in log.lines(lines):
        moved = _take(log, line, moved)
    return log.finish()


def _write(program: SpaceProgram) -> Iterator[str]:
    """Yield the lines; no address is used twice, and resizes move."""
    addresses: dict[int, int] = {}
    free = 0x1000
    yield "= Start\n"
    for kind, buffer, size in program.rows():
        old = addresses.get(buffer, 0)
        if kind == SpaceOpKind.FREE:
            yield f"@ coalloc:[0x0] - {old:#x}\n"
            continue
        addresses[buffer] = free
        if kind == SpaceOpKind.RESIZE:
            yield f"@ coalloc:[0x0] < {old:#x}\n@ coalloc:[0x0] > {free:#x} {size:#x}\n"
        else:
            yield f"@ coalloc:[0x0] + {free:#x} {size:#x}\n"
        free += (size + 15) // 16 * 16 + 16
    yield "= End\n"


OFFERED: Final = (Format("mtrace", "logs of glibc's mtrace", _recognises, _read, write=_write),)
"""The format, for :data:`~coalloc.workload.formats.FORMATS`."""
