"""`FORMATS`: every format of traces by its name, and :func:`read`, which reads a file of any of them into a program.

A module of this package offers formats by listing them in a tuple named ``OFFERED``, and nothing else has to name it.  An
installed package offers one (or several, as an iterable) by an entry point of the group ``coalloc.formats``.  A program adds
one with :func:`register`.  A file is read by the first format, in the order of their ranks, that recognises its first line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from os import PathLike, fspath
from typing import Final, Protocol, runtime_checkable

import attrs

from coalloc._registry import Registry
from coalloc.workload.files import MAX_BYTES, raw_lines
from coalloc.workload.program import Program, SpaceProgram, checked_title

__all__ = ["FORMATS", "GROUP", "Account", "Format", "Progress", "Read", "read", "register"]

Progress = Callable[[int], None] | None
"""Is told now and then how many lines have been read; None where nobody watches."""


@runtime_checkable
class Account(Protocol):
    """What a format reports of its reading; its text is one line for people."""

    @property
    def sound(self) -> bool:
        """Whether the program is right but for at most 1 %."""

    @property
    def doubt(self) -> str:
        """What to say where it is not, in a sentence."""

    @property
    def problems(self) -> tuple[tuple[int, str], ...]:
        """What was not understood or followed: the numbers of lines, from 1, and what is wrong."""

    def as_dict(self) -> dict[str, object]:
        """Return the counts as plain data, for JSON."""


class Read(Protocol):
    """Reads a trace."""

    def __call__(self, lines: Iterator[bytes], name: str, progress: Progress) -> tuple[Program, object]:
        """Return the program, and a report of what was met: an :class:`Account`, any other value with a text, or None.

        Args:
            lines: The lines of the file, decompressed, without their ends.
            name: The file's name, for errors and titles.
            progress: Is told how many lines have been read.

        Raises:
            ProgramError: If the lines cannot be read.
        """


@attrs.frozen
class Format:
    """A format of traces.

    Args:
        name: Its name.
        title: What it is, in words.
        recognises: Tells by its first line whether a file is of this format.
        read: Reads the lines of one: ``read(lines, name, progress)``, see :class:`Read`.
        rank: When it is asked: lower ranks first, equal ranks in the order in which they were found.
        write: Yields the lines of a space program in this format; None where it is read only.
    """

    name: str
    title: str
    recognises: Callable[[bytes], bool]
    read: Read
    rank: int = 100
    write: Callable[[SpaceProgram], Iterator[str]] | None = None


GROUP: Final = "coalloc.formats"
"""The group of entry points by which packages offer formats."""

FORMATS: Final = Registry(Format, "format", "coalloc.workload", GROUP)
"""Every format by its name; the last one, strace, takes whatever no other recognises."""


def register(format_: Format) -> Format:
    """Add a format to :data:`FORMATS`, and return it.

    Raises:
        InvalidRequestError: If its name is taken.
    """
    return FORMATS.register(format_)


def read(
    path: str | PathLike[str], *, title: str = "", progress: Progress = None, max_size: int = MAX_BYTES
) -> tuple[Program, object]:
    """Read a file of any format, which may be compressed (gzip, xz, bzip2); it is read once, from beginning to end.

    Args:
        path: The file, a pipe, or ``-`` for standard input.
        title: Title of the program; what the format makes of it if empty.
        progress: Is told now and then how many lines have been read.
        max_size: The most bytes of a file that are read, decompressed.

    Returns:
        The program, and what the format reports of its reading, or None.

    Raises:
        ProgramError: If the file cannot be read, or the title is not one line of printable text.
        OSError: If it cannot be opened.
    """
    name = fspath(path)
    lines = raw_lines(name, max_size=max_size)
    first = next(lines, b"")
    format_ = next(known for known in FORMATS.values() if known.recognises(first))
    program, report = format_.read(chain([first], lines), name, progress)
    if title:
        program.title = checked_title(title)
    return program, report
