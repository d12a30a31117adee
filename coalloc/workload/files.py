"""Files of lines, compressed or not, as their names say; lines are bytes, since a trace need not be text."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator
from typing import IO, cast

from coalloc.errors import ProgramError
from coalloc.workload.strace_files import merged_lines, parts_of

__all__ = ["raw_lines"]


def _open(name: str) -> IO[bytes]:
    if name.endswith(".gz"):
        return cast("IO[bytes]", gzip.open(name))
    if name.endswith(".xz"):
        return lzma.open(name)
    return open(name, "rb")


def raw_lines(name: str) -> Iterator[bytes]:
    """Yield the lines of a file, decompressed, without their ends; of the files of ``strace -ff``, those of all processes.

    Args:
        name: A file; or a folder of files that end in process numbers, or what the names of such files begin with.

    Raises:
        ProgramError: If decompression finds the file damaged, with the line; or as :func:`merged_lines`.
        OSError: If it cannot be opened.
    """
    parts = parts_of(name)
    return merged_lines(name, parts, _lines_of) if parts else _lines_of(name)


def _lines_of(name: str) -> Iterator[bytes]:
    number = 0
    try:
        with _open(name) as file:
            for line in file:
                number += 1
                yield line.rstrip(b"\r\n")
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile):
        raise ProgramError("the compressed file is damaged or cut short", name, number + 1) from None
