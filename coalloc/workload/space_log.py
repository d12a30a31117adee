"""`SpaceLog`: calls of an allocator that another program recorded, by address, put together to a space program.

An address is a buffer from its allocation to its free.  What does not fit is counted and left out, so that the program is
valid whatever the log has.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Final

import attrs

from coalloc.errors import ProgramError
from coalloc.units import MAX_SIZE
from coalloc.workload.files import title_of
from coalloc.workload.foreign_log import ForeignLog
from coalloc.workload.formats import Progress
from coalloc.workload.program import SpaceOpKind, SpaceProgram

__all__ = ["SpaceLog", "SpaceReport"]

_ALLOC: Final = int(SpaceOpKind.ALLOC)
_FREE: Final = int(SpaceOpKind.FREE)
_RESIZE: Final = int(SpaceOpKind.RESIZE)


@attrs.frozen
class SpaceReport:
    """Counts of what was found in a log of an allocator.

    ``operations`` counts those of the program, ``ignored`` the lines that have none, ``unknown`` the lines that were not
    understood, ``refused`` the requests that the allocator refused, and ``empty`` the requests for no bytes, which the program
    has as requests for one.  What does not fit: ``strays``, frees and resizes of what is not allocated, and ``reused``,
    addresses that were handed out again without a free; the older buffer then stays for ever.  ``problems`` has the first
    10,000 of them and of the unknown lines, each with its line.
    """

    lines: int = 0
    operations: int = 0
    ignored: int = 0
    unknown: int = 0
    refused: int = 0
    empty: int = 0
    strays: int = 0
    reused: int = 0
    problems: tuple[tuple[int, str], ...] = attrs.field(default=(), repr=False)

    @property
    def doubtful(self) -> int:
        """How many lines and operations do not fit."""
        return self.unknown + self.strays + self.reused

    @property
    def sound(self) -> bool:
        """Whether at most 1 % of them do not fit."""
        return 100 * self.doubtful <= self.operations + self.doubtful

    @property
    def doubt(self) -> str:
        """What to say where it is not sound."""
        of = self.operations + self.doubtful
        return f"{self.doubtful:,} of {of:,} operations could not be placed, so the figures are wrong"

    def as_dict(self) -> dict[str, object]:
        """Return the counts as plain data, for JSON; the problems are left out."""
        counts = attrs.asdict(self, filter=lambda field, _value: field.name != "problems")
        return counts | {"doubtful": self.doubtful, "sound": self.sound}

    def __str__(self) -> str:
        text = f"{self.lines} lines: {self.operations} operations, {self.ignored} other lines, {self.unknown} not understood"
        others = [
            f"{number} {what}"
            for number, what in (
                (self.refused, "requests that were refused"),
                (self.empty, "requests for no bytes, taken as one"),
                (self.strays, "frees of what is not allocated"),
                (self.reused, "addresses handed out again without a free"),
            )
            if number
        ]
        return "; ".join([text, *others])


class SpaceLog(ForeignLog):
    """Take allocations and frees in order.

    Args:
        tool: What wrote the log, for errors.
        name: The name of the file.
        progress: Is told how many lines have been read.
    """

    def __init__(self, tool: str, name: str, progress: Progress = None) -> None:
        super().__init__(tool, name, progress)
        self._rows: list[tuple[int, int, int]] = []
        self._buffers: dict[int | str, int] = {}
        self._made = 0
        self._count = dict.fromkeys(("refused", "empty", "strays", "reused"), 0)

    def rows(self, texts: Iterator[str]) -> Iterator[list[str]]:
        """Yield the fields of lines of CSV; a line that is none is counted, and has no fields."""
        for line in texts:
            try:
                yield next(csv.reader([line.replace("\0", "?")]), [])
            except csv.Error:
                self.misread("is not a line of CSV")
                yield []

    def alloc(self, address: int | str, size: int) -> None:
        """Take an allocation of so many bytes."""
        if address in self._buffers:
            self._doubt("reused", "this address is handed out again without a free")
        checked = self._size(size)
        if checked:
            self._buffers[address] = self._made
            self._rows.append((_ALLOC, self._made, checked))
            self._made += 1

    def free(self, address: int | str) -> None:
        """Take a free."""
        buffer = self._buffers.pop(address, None)
        if buffer is None:
            self._doubt("strays", "frees what is not allocated")
        else:
            self._rows.append((_FREE, buffer, 0))

    def resize(self, address: int | str, to: int | str, size: int) -> None:
        """Take a resize that moved a buffer, or left it where it was."""
        buffer = self._buffers.pop(address, None)
        if buffer is None:
            self._doubt("strays", "resizes what is not allocated")
            self.alloc(to, size)
            return
        if to in self._buffers:
            self._doubt("reused", "this address is handed out again without a free")
        checked = self._size(size)
        if checked:
            self._buffers[to] = buffer
            self._rows.append((_RESIZE, buffer, checked))

    def refused(self) -> None:
        """Count a request that the allocator refused."""
        self._count["refused"] += 1

    def _size(self, size: int) -> int:
        """Return a size that a program may have; 0 where there is none."""
        if size >= MAX_SIZE:
            self.misread("a size of 2**63 bytes or more")
            return 0
        self._count["empty"] += not size
        return size or 1

    def _doubt(self, kind: str, what: str) -> None:
        self._count[kind] += 1
        self.note(what)

    def finish(self) -> tuple[SpaceProgram, SpaceReport]:
        """Return the program, and the report.

        Raises:
            ProgramError: If there is no operation.
        """
        if not self._rows:
            raise ProgramError(f"has no operation of {self.tool}", self.name)
        program = SpaceProgram(self._rows, title=title_of(self.name))
        return program, SpaceReport(
            lines=self.line,
            operations=len(self._rows),
            ignored=self.ignored,
            unknown=self.unknown,
            problems=self.problems.in_order(),
            **self._count,
        )
