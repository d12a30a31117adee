"""The text format of programs, version 3: one operation a line, read strictly; a program is loaded as a whole or refused.

::

    coalloc pipe-program 3          coalloc space-program 1
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

Version 2 has more words for pipes.  ``create`` may name the owner's user id behind the pipe; without it root owns the pipe.
``owner UID privileged|unprivileged PIPEBUF`` lines, before the first operation, say of a user what is not so by itself: root
is privileged, others are not, and RLIMIT_PIPEBUF is PIPEBUF bytes, or 0 for no limit.  ``set-size`` names pipe, end and
bytes; ``try-write`` and ``try-read`` are those of non-blocking descriptors.  Version 1 is still read, and space programs,
which are as they were, are still written so.

::

    coalloc pipe-program 2
    owner 1000 unprivileged 1048576
    0 create 0 1000
    3 set-size 0 1 65536
    5 try-read 0 0 4096
    9 try-write 0 1 70000

Version 3 may name the CPU of an operation, 0 to 4,095, as its last word.  Programs that know none are written as version 2.

::

    coalloc pipe-program 3
    0 create 0 @0
    12 write 0 1 100 @3
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice, repeat
from os import PathLike, fspath
from typing import Final

from coalloc.errors import ProgramError
from coalloc.pipes.budget import Owner
from coalloc.units import MAX_SIZE
from coalloc.workload.files import raw_lines, write_lines
from coalloc.workload.formats import Format, Progress
from coalloc.workload.program import (
    MAX_UID,
    MOST_CPUS,
    PipeOpKind,
    PipeProgram,
    Program,
    SpaceOpKind,
    SpaceProgram,
    checked_title,
)

__all__ = ["OFFERED", "VERSION", "dumps", "is_program", "load", "loads", "parse", "save"]

VERSION: Final = 3
"""The version of the format; space programs are as they were in version 1, and are written so."""
_WITHOUT_CPUS: Final = 2
"""The version of programs that know no CPU."""
_PIPE: Final = "coalloc pipe-program "
_SPACE: Final = "coalloc space-program "
_VERSIONS: Final = ("1", "2", "3")
_PIPE_WORDS: Final = {kind.word: kind for kind in PipeOpKind}
_PIPE_WORDS_1: Final = {kind.word: kind for kind in list(PipeOpKind)[:4]}
_SPACE_WORDS: Final = {kind.name.lower(): kind for kind in SpaceOpKind}
_N_NUMBERS: Final = {
    "create": 2, "write": 4, "read": 4, "close": 3, "set-size": 4, "try-write": 4, "try-read": 4,
    "alloc": 2, "free": 1, "resize": 2,
}  # fmt: skip
_PRIVILEGE: Final = {"privileged": True, "unprivileged": False}
_ANY_HEADER: Final = re.compile(rb"\s*coalloc\s+(?:pipe|space)-program\b")


def is_program(first_line: bytes) -> bool:
    """Tell whether a file that begins with this line is a program, of whatever version."""
    return _ANY_HEADER.match(first_line) is not None


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
    cpus = program.cpus if isinstance(program, PipeProgram) else None
    version = VERSION if cpus is not None else _WITHOUT_CPUS
    yield f"{_PIPE}{version}\n" if isinstance(program, PipeProgram) else f"{_SPACE}1\n"
    if program.title:
        yield f"title {program.title}\n"
    if isinstance(program, PipeProgram):
        for owner in program.owners:
            privilege = "privileged" if owner.privileged else "unprivileged"
            yield f"owner {owner.uid} {privilege} {owner.pipebuf_limit}\n"
        words = [kind.word for kind in PipeOpKind]
        known = repeat(-1, len(program)) if cpus is None else cpus
        for (time, kind, pipe, end, n), cpu in zip(program.rows(), known, strict=True):
            on = f" @{cpu}\n" if cpu >= 0 else "\n"
            if kind == PipeOpKind.CREATE:
                yield f"{time} create {pipe} {n}{on}" if n else f"{time} create {pipe}{on}"
            elif kind == PipeOpKind.CLOSE:
                yield f"{time} close {pipe} {end}{on}"
            else:
                yield f"{time} {words[kind]} {pipe} {end} {n}{on}"
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
    kind = next((kind for kind in (_PIPE, _SPACE) if header.startswith(kind)), None)
    if kind is None:
        raise ProgramError(f"is no program: the first line must be '{_PIPE}{VERSION}' or '{_SPACE}1'", name, 1)
    version = header.removeprefix(kind)
    if version not in _VERSIONS:
        raise ProgramError(
            f"version {version!r} is not known, this coalloc reads versions {' and '.join(_VERSIONS)}", name, 1
        )
    rows = _Rows(lines)
    try:
        if kind is _PIPE:
            rows.cpus = [] if version == "3" else None
            operations = rows.pipe_rows(_PIPE_WORDS_1 if version == "1" else _PIPE_WORDS)
            first = list(islice(operations, 1))  # the owners are known when there is an operation
            pipes = PipeProgram(chain(first, operations), owners=rows.owners.values())
            program: Program = pipes.on_cpus(rows.cpus) if rows.cpus else pipes
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
        self.owners: dict[int, Owner] = {}
        self.cpus: list[int] | None = None
        """The CPUs that are named, -1 for those that are not; None where none can be."""

    def pipe_rows(self, known: dict[str, PipeOpKind]) -> Iterator[tuple[int, int, int, int, int]]:
        begun = False
        for words in self._words():
            if words[0] == "owner" and not begun and known is _PIPE_WORDS:
                self._owner(words[1:])
                continue
            begun = True
            if words[0] == "title" or (words[0] == "owner" and known is _PIPE_WORDS):
                where = "is the second line" if words[0] == "title" else "comes before the first operation"
                raise ProgramError(f"{words[0]} {where}, and nowhere else")
            if len(words) < 2 or words[1] not in known:
                raise ProgramError(f"expected a time and one of {', '.join(known)}")
            if self.cpus is not None:
                self.cpus.append(self._cpu(words))
            kind, texts = known[words[1]], [words[0], *words[2:]]
            if kind is PipeOpKind.CREATE and len(texts) == 3 and known is _PIPE_WORDS:
                time, pipe, uid = self._integers(texts)
                yield time, kind, pipe, 0, uid
                continue
            time, *numbers = self._numbers(words[1], texts)
            pipe, end, n = (*numbers, 0, 0)[:3]
            yield time, kind, pipe, end, n

    def _cpu(self, words: list[str]) -> int:
        """Take the CPU from the end of a line; -1 if there is none."""
        if not words[-1].startswith("@"):
            return -1
        (cpu,) = self._integers([words.pop().removeprefix("@")])
        if cpu >= MOST_CPUS:
            raise ProgramError(f"CPU {cpu} is not in 0 .. {MOST_CPUS - 1}")
        return cpu

    def _owner(self, words: list[str]) -> None:
        if len(words) != 3 or words[1] not in _PRIVILEGE:
            raise ProgramError("expected owner, a user id, privileged or unprivileged, and RLIMIT_PIPEBUF in bytes")
        uid, limit = self._integers([words[0], words[2]])
        if uid > MAX_UID:
            raise ProgramError(f"user id {uid} is not in 0 .. 2**32 - 1")
        if uid in self.owners:
            raise ProgramError(f"user {uid} is described twice")
        self.owners[uid] = Owner(uid, privileged=_PRIVILEGE[words[1]], pipebuf_limit=limit)

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
        return self._integers(texts)

    @staticmethod
    def _integers(texts: list[str]) -> list[int]:
        for text in texts:
            if not (text.isascii() and text.isdecimal()) or len(text) > 19 or int(text) >= MAX_SIZE:
                raise ProgramError(f"{text!r} is not a decimal number below 2**63")
        return [int(text) for text in texts]


def _read(lines: Iterator[bytes], name: str, progress: Progress) -> tuple[Program, None]:
    del progress  # nothing to tell: a program is read in no time
    return parse(lines, name), None


OFFERED: Final = (Format("coalloc", "programs as coalloc writes them", is_program, _read, rank=0),)
"""The format, for :data:`~coalloc.workload.formats.FORMATS`."""
