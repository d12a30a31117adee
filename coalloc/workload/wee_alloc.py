"""Reader and writer for the traces of wee_alloc: ``Alloc(BYTES)``, and ``Free(N)`` of the N-th allocation, from 0.

Source: the traces of wee_alloc's own tests, one operation a line, with a comma behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from coalloc.workload.formats import Format, Progress
from coalloc.workload.program import SpaceOpKind, SpaceProgram
from coalloc.workload.space_log import SpaceLog, SpaceReport

__all__ = ["OFFERED"]

_LINE: Final = re.compile(r"\s*(Alloc|Free)\((\d{1,19})\),?\s*")
_OTHER: Final = re.compile(r"\s*(?:vec!)?[\[\]]?[;,]?\s*|\s*//.*")


def _recognises(first_line: bytes) -> bool:
    return _LINE.fullmatch(first_line.decode("utf-8", "replace")) is not None


def _read(lines: Iterator[bytes], name: str, progress: Progress) -> tuple[SpaceProgram, SpaceReport]:
    log, number = SpaceLog("wee_alloc", name, progress), 0
    for line in log.lines(lines):
        found = _LINE.fullmatch(line)
        if found is None:
            if _OTHER.fullmatch(line):
                log.ignore()
            else:
                log.misread()
        elif found[1] == "Alloc":
            log.alloc(number, int(found[2]))
            number += 1
        else:
            log.free(int(found[2]))
    return log.finish()


def _write(program: SpaceProgram) -> Iterator[str]:
    """Yield the lines; a resize is an allocation and a free."""
    numbers: dict[int, int] = {}
    made = 0
    for kind, buffer, size in program.rows():
        old = numbers.pop(buffer, None)
        if kind != SpaceOpKind.FREE:
            numbers[buffer] = made
            made += 1
            yield f"Alloc({size}),\n"
        if old is not None:
            yield f"Free({old}),\n"


OFFERED: Final = (Format("wee-alloc", "traces of wee_alloc", _recognises, _read, write=_write),)
"""The format, for :data:`~coalloc.workload.formats.FORMATS`."""
