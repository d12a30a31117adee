"""Files of lines, compressed or not, as their first bytes say, and never more of them than a stated limit.

Lines are bytes, since a trace need not be text.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path, PurePath
from typing import IO, Final, cast

from coalloc.errors import ProgramError
from coalloc.workload.strace_files import merged_lines, parts_of

__all__ = ["LONGEST_LINE", "MAX_BYTES", "STANDARD_INPUT", "raw_lines", "title_of", "write_lines"]

MAX_BYTES: Final = 256 << 20
"""The most bytes of a file that are read, decompressed, unless told otherwise."""
LONGEST_LINE: Final = 16 << 20
"""The most bytes of a line."""
STANDARD_INPUT: Final = "-"
"""The name of standard input."""
_PIECE: Final = 1 << 20
_OPEN: Final[dict[bytes, Callable[[IO[bytes]], IO[bytes]]]] = {
    b"\x1f\x8b": lambda file: cast("IO[bytes]", gzip.open(file)),  # noqa: SIM115 - closed with the file below
    b"\xfd7zXZ\0": lambda file: cast("IO[bytes]", lzma.open(file)),  # noqa: SIM115 - closed with the file below
    b"BZh": lambda file: cast("IO[bytes]", bz2.open(file)),  # noqa: SIM115 - closed with the file below
}
"""What opens a compressed file, by its first bytes."""
_UNREAD: Final = {
    b"\x28\xb5\x2f\xfd": "is compressed with zstd: decompress it first",
    b"\xff\xfe": "is UTF-16 text: convert it to UTF-8 first",
    b"\xfe\xff": "is UTF-16 text: convert it to UTF-8 first",
}
"""What is not read, by its first bytes."""
_MARK: Final = b"\xef\xbb\xbf"


def raw_lines(name: str, *, max_size: int = MAX_BYTES) -> Iterator[bytes]:
    """Yield the lines of a file, decompressed, without their ends; of the files of ``strace -ff``, those of all processes.

    Args:
        name: A file; or a folder of files that end in process numbers, or what the names of such files begin with; or ``-`` for
            standard input.
        max_size: The most bytes that are read of a file, decompressed.

    Raises:
        ProgramError: If a file is larger, has a line of more than 16 MiB, is in an encoding or a compression that is not known,
            or is damaged; or as :func:`merged_lines`.
        OSError: If it cannot be opened.
    """
    parts = parts_of(name) if name != STANDARD_INPUT else []

    def lines(file: str) -> Iterator[bytes]:
        return _lines_of(file, max_size)

    return merged_lines(name, parts, lines) if parts else lines(name)


def _lines_of(name: str, max_size: int) -> Iterator[bytes]:
    try:
        if name == STANDARD_INPUT:
            yield from _lines_in(sys.stdin.buffer, max_size)
        else:
            with open(name, "rb") as file:
                yield from _lines_in(file, max_size)
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ProgramError("the compressed file is damaged or cut short", name) from None
    except ProgramError as error:
        raise ProgramError(error.reason, name) from None


def _lines_in(file: IO[bytes], max_size: int) -> Iterator[bytes]:
    """Yield the lines of an open file; raises ProgramError without its name."""
    first = file.peek(8)[:8]  # type: ignore[attr-defined]  # both kinds of files are buffered
    for mark, reason in _UNREAD.items():
        if first.startswith(mark):
            raise ProgramError(reason)
    for mark, opened in _OPEN.items():
        if first.startswith(mark):
            file = opened(file)
    total, rest = 0, b""
    while piece := file.read(_PIECE):
        if not total:
            piece = piece.removeprefix(_MARK)
        total += len(piece)
        if total > max_size:
            raise ProgramError(f"has more than {max_size:,} bytes; --max-size allows more")
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > LONGEST_LINE:
            raise ProgramError(f"has a line of more than {LONGEST_LINE:,} bytes")
        if b"\r" in piece:
            yield from (line.rstrip(b"\r") for line in lines)
        else:
            yield from lines
    if rest:
        yield rest.rstrip(b"\r")


def title_of(name: str) -> str:
    """Return the title of a program that was made from a file."""
    file = "standard input" if name == STANDARD_INPUT else PurePath(name).name
    return "imported from " + "".join(letter if letter.isprintable() else "?" for letter in file)


def write_lines(path: str | PathLike[str], lines: Iterable[str]) -> None:
    """Write lines, which have their ends, to a file, compressed as its name says; the file appears only when it is complete.

    Raises:
        OSError: If it cannot be written.
    """
    target = Path(os.path.realpath(path))  # not resolve(), which raises RuntimeError for a loop of links
    if target.exists() and not target.is_file():  # a device or a pipe is written to, not replaced
        with open(target, "w", encoding="utf-8") as file:
            file.writelines(lines)
        return
    partial = target.with_name(f".{target.name}.partial{target.suffix}")
    try:
        with _create(fspath(partial)) as file:
            file.writelines(lines)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _create(name: str) -> Iterator[IO[str]]:
    """Open a new file for writing, compressed as its name says; equal contents give equal files."""
    if name.lower().endswith(".gz"):
        with (
            open(name, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
            io.TextIOWrapper(packed, encoding="utf-8") as text,
        ):
            yield text
    elif name.lower().endswith(".xz"):
        with lzma.open(name, "wt", encoding="utf-8") as text:
            yield text
    else:
        with open(name, "w", encoding="utf-8") as text:
            yield text
