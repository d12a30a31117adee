"""The text format of programs, version 1: one operation a line, read strictly; a program is loaded as a whole or refused.

::

    coalloc pipe-program 1          coalloc space-program 1
    title one pipe, used once       title two buffers
    # time in us, then what         alloc 0 16384
    0 create 0                      alloc 1 4096
    12 write 0 1 100                resize 1 8192
    15 read 0 0 100                 free 0
    20 close 0 1
    21 close 0 0

The first line names the kind and the version; a ``title`` line may follow.  Empty lines and lines that start with ``#`` are
skipped.  ``write`` and ``read`` name pipe, end and bytes, ``close`` pipe and end.  Numbers are decimal.  A file whose name
ends in ``.gz`` or ``.xz`` is compressed.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike, fspath
from typing import Final

from coalloc.errors import ProgramError
from coalloc.units import MAX_SIZE
from coalloc.workload.files import raw_lines, write_lines
from coalloc.workload.formats import Format, Progress
from coalloc.workload.program import PipeOpKind, PipeProgram, Program, SpaceOpKind, SpaceProgram, checked_title

__all__ = ["OFFERED", "VERSION", "dumps", "is_program", "load", "loads", "parse", "save"]

VERSION: Final = 1
_PIPE: Final = f"coalloc pipe-program {VERSION}"
_SPACE: Final = f"coalloc space-program {VERSION}"
_PIPE_WORDS: Final = {kind.name.lower(): kind for kind in PipeOpKind}
_SPACE_WORDS: Final = {kind.name.lower(): kind for kind in SpaceOpKind}
_N_NUMBERS: Final = {"create": 2, "write": 4, "read": 4, "close": 3, "alloc": 2, "free": 1, "resize": 2}
_ANY_HEADER: Final = (b"coalloc pipe-program ", b"coalloc space-program ")


def is_program(first_line: bytes) -> bool:
    """Tell whether a file that begins with this line is a program, of whatever version."""
    return first_line.startswith(_ANY_HEADER)


def load(path: str | PathLike[str]) -> Program:
    """Read a program from a file.

    Raises:
        ProgramError: If the file is not a valid program; the error has file, line number and reason.
        OSError: If the file cannot be opened.
    """
    name = fspath(path)
    return parse(raw_lines(name), name)


def loads(text: str) -> Program:
    r"""Read a program from text.

    Raises:
        ProgramError: If the text is not a valid program; the error has line number and reason.

    >>> loads("coalloc space-program 1\nalloc 0 4096\n")
    <SpaceProgram '': 1 operations>
    """
    return parse((line.encode() for line in text.split("\n")), None)


def dumps(program: Program) -> str:
    """Return a program as text."""
    return "".join(_text(program))


def save(program: Program, path: str | PathLike[str]) -> None:
    """Write a program to a file; the file appears only when it is complete.

    Raises:
        OSError: If it cannot be written.
    """
    write_lines(path, _text(program))


def _text(program: Program) -> Iterator[str]:
    yield (_PIPE if isinstance(program, PipeProgram) else _SPACE) + "\n"
    if program.title:
        yield f"title {program.title}\n"
    if isinstance(program, PipeProgram):
        words = [kind.name.lower() for kind in PipeOpKind]
        for time, kind, pipe, end, n in program.rows():
            if kind == PipeOpKind.CREATE:
                yield f"{time} create {pipe}\n"
            elif kind == PipeOpKind.CLOSE:
                yield f"{time} close {pipe} {end}\n"
            else:
                yield f"{time} {words[kind]} {pipe} {end} {n}\n"
    else:
        for kind, buffer, size in program.rows():
            yield (
                f"free {buffer}\n"
                if kind == SpaceOpKind.FREE
                else f"{SpaceOpKind(kind).name.lower()} {buffer} {size}\n"
            )


def parse(lines: Iterator[bytes], name: str | None) -> Program:
    """Read a program from its lines.

    Raises:
        ProgramError: If they are not a valid program; the error has ``name``, line number and reason.
    """
    header = next(lines, b"").decode("utf-8", "replace")
    if header not in (_PIPE, _SPACE):
        if header.startswith(("coalloc pipe-program ", "coalloc space-program ")):
            reason = f"version {header.rpartition(' ')[2]!r} is not known, this coalloc reads version {VERSION}"
        else:
            reason = f"is no program: the first line must be {_PIPE!r} or {_SPACE!r}"
        raise ProgramError(reason, name, 1)
    rows = _Rows(lines)
    try:
        if header == _PIPE:
            program: Program = PipeProgram(rows.pipe_rows())
        else:
            program = SpaceProgram(rows.space_rows())
    except ProgramError as error:
        if error.file is not None:  # the file itself is damaged, and the error says where
            raise
        raise ProgramError(error.reason, name, rows.number) from None
    program.title = rows.title
    return program


class _Rows:
    """Split lines into rows, and keep the number of the current line, for the error if a row is refused."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self.number = 1
        self.title = ""

    def pipe_rows(self) -> Iterator[tuple[int, int, int, int, int]]:
        for words in self._words():
            if len(words) < 2 or words[1] not in _PIPE_WORDS:
                raise ProgramError(f"expected a time and one of {', '.join(_PIPE_WORDS)}")
            time, *numbers = self._numbers(words[1], [words[0], *words[2:]])
            pipe, end, n = (*numbers, 0, 0)[:3]
            yield time, _PIPE_WORDS[words[1]], pipe, end, n

    def space_rows(self) -> Iterator[tuple[int, int, int]]:
        for words in self._words():
            if words[0] not in _SPACE_WORDS:
                raise ProgramError(f"expected one of {', '.join(_SPACE_WORDS)}")
            buffer, size = (*self._numbers(words[0], words[1:]), 0)[:2]
            yield _SPACE_WORDS[words[0]], buffer, size

    def _words(self) -> Iterator[list[str]]:
        for raw in self._lines:
            self.number += 1
            try:
                line = raw.decode()
            except UnicodeDecodeError:
                raise ProgramError("is not UTF-8 text") from None
            if self.number == 2 and line.startswith("title "):
                self.title = checked_title(line.removeprefix("title "))
                continue
            words = [word for word in line.split(" ") if word]
            if words and not words[0].startswith("#"):
                yield words

    def _numbers(self, word: str, texts: list[str]) -> list[int]:
        expected = _N_NUMBERS[word]
        if len(texts) != expected:
            raise ProgramError(f"{word} takes {expected} numbers in all, here are {len(texts)}")
        for text in texts:
            if not (text.isascii() and text.isdecimal()) or len(text) > 19 or int(text) >= MAX_SIZE:
                raise ProgramError(f"{text!r} is not a decimal number below 2**63")
        return [int(text) for text in texts]


def _read(lines: Iterator[bytes], name: str, progress: Progress) -> tuple[Program, None]:
    del progress  # nothing to tell: a program is read in no time
    return parse(lines, name), None


OFFERED: Final = (Format("coalloc", "programs as coalloc writes them", is_program, _read, rank=0),)
"""The format, for :data:`~coalloc.workload.formats.FORMATS`."""
