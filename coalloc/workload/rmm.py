"""Reader and writer for the CSV log of RMM, NVIDIA's memory manager: allocations and frees by address.

Source: RMM's guide on logging and its logging_resource_adaptor: the columns Thread, Time, Action, Pointer, Size and Stream, and
the actions ``allocate``, ``allocate failure``, ``free`` and ``deallocate``.  Threads, times and streams are not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coalloc.workload.formats import Format, Progress
from coalloc.workload.program import SpaceOpKind, SpaceProgram
from coalloc.workload.space_log import SpaceLog, SpaceReport

__all__ = ["OFFERED"]

_COLUMNS: Final = ("Thread", "Time", "Action", "Pointer", "Size", "Stream")


def _take(log: SpaceLog, row: list[str], places: dict[str, int]) -> None:
    if not row or row[0] == "Thread":
        log.ignore()
        return
    if len(row) <= max(places.values()):
        log.misread()
        return
    action, pointer, size = (row[places[name]].strip() for name in ("Action", "Pointer", "Size"))
    if action == "allocate failure":
        log.refused()
    elif action in ("free", "deallocate"):
        log.free(pointer)
    elif action == "allocate" and size.isascii() and size.isdecimal() and len(size) < 20:
        log.alloc(pointer, int(size))
    else:
        log.misread()


def _recognises(first_line: bytes) -> bool:
    names = [name.strip() for name in first_line.decode("utf-8", "replace").split(",")]
    return names[0] == "Thread" and {"Action", "Pointer", "Size"} <= set(names)


def _read(lines: Iterator[bytes], name: str, progress: Progress) -> tuple[SpaceProgram, SpaceReport]:
    log = SpaceLog("RMM", name, progress)
    places = {column: _COLUMNS.index(column) for column in ("Action", "Pointer", "Size")}
    for number, row in enumerate(log.rows(log.lines(lines))):
        if not number:
            places = {column: [name.strip() for name in row].index(column) for column in places}
        _take(log, row, places)
    return log.finish()


def _write(program: SpaceProgram) -> Iterator[str]:
    """Yield the lines; no address is used twice, and a resize is an allocation and a free."""
    held: dict[int, tuple[int, int]] = {}
    next_address = 0x1000
    yield ",".join(_COLUMNS) + "\n"

    def row(number: int, action: str, address: int, size: int) -> str:
        seconds, micros = divmod(number, 10**6)
        time = f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{micros:06}"
        return f"1,{time},{action},{address:#x},{size},0x0\n"

    for number, (kind, buffer, size) in enumerate(program.rows()):
        old = held.pop(buffer, None)
        if kind != SpaceOpKind.FREE:
            held[buffer] = next_address, size
            yield row(number, "allocate", next_address, size)
            next_address += (size + 255) // 256 * 256
        if old is not None:
            yield row(number, "free", *old)


OFFERED: Final = (Format("rmm", "CSV logs of RMM", _recognises, _read, write=_write),)
"""The format, for :data:`~coalloc.workload.formats.FORMATS`."""
