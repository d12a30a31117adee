"""`ForeignLog`: the lines of another tool's log; all are counted, and a file of which most are not understood is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from coalloc.errors import ProgramError
from coalloc.workload.formats import Progress
from coalloc.workload.strace_lines import Problems

__all__ = ["ForeignLog"]

_PROGRESS: Final = 10_000
"""Progress is told, and the file looked at, after so many lines."""


class ForeignLog:
    """Read lines one after the other, and count those without anything of interest and those that were not understood.

    Args:
        tool: The name of the tool, for errors.
        name: The name of the file.
        progress: Is told how many lines have been read.
        header: How many lines were read before.

    Attributes:
        line: The number of the current line, from 1.
        ignored: How many lines have nothing of interest.
        unknown: How many were not understood.
        problems: What was not understood, to which others may add.
    """

    def __init__(self, tool: str, name: str, progress: Progress = None, *, header: int = 0) -> None:
        self.tool = tool
        self.name = name
        self._progress = progress
        self.line = self.ignored = header
        self.unknown = 0
        self.problems = Problems()

    def lines(self, lines: Iterator[bytes]) -> Iterator[str]:
        """Yield lines as text.

        Raises:
            ProgramError: If most of many lines were not understood.
        """
        for raw in lines:
            if not self.line % _PROGRESS:
                if self.unknown > _PROGRESS and self.unknown > self.line // 2:
                    raise ProgramError(f"is no log of {self.tool}: most lines are not understood", self.name)
                if self._progress is not None:
                    self._progress(self.line)
            self.line += 1
            yield raw.decode("utf-8", "replace")

    def ignore(self) -> None:
        """Count the current line as one without anything of interest."""
        self.ignored += 1

    def misread(self, what: str = "") -> None:
        """Count the current line as one that was not understood, and say why, if there is more to say."""
        self.unknown += 1
        self.note(what or f"is not a line of {self.tool}")

    def note(self, what: str) -> None:
        """Note what is wrong with the current line."""
        self.problems.add(self.line - 1, what)
