"""Logs of ``strace -ff``: one file for each process, put together into one log by the times of their lines."""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from coalloc.errors import ProgramError

__all__ = ["merged_lines", "parts_of"]

_PID: Final = re.compile(r".*\.(\d{1,10})(?:\.gz|\.xz)?")
_TIME: Final = re.compile(rb"(?:(\d\d):(\d\d):(\d\d)|(\d{9,12}))(?:\.(\d{1,9}))?\s")
_HALF_A_DAY: Final = 43_200 * 10**9


def parts_of(name: str) -> list[tuple[int, str]]:
    """Return process and file of each part, if a name is a folder of such files or the beginning of their names."""
    path = Path(name)
    if path.is_dir():
        files = sorted(path.iterdir())
    elif path.exists() or not path.parent.is_dir():
        return []
    else:
        files = sorted(each for each in path.parent.iterdir() if each.name.startswith(f"{path.name}."))
    return [(int(found[1]), str(file)) for file in files if (found := _PID.fullmatch(file.name)) is not None]


def merged_lines(name: str, parts: list[tuple[int, str]], read: Callable[[str], Iterator[bytes]]) -> Iterator[bytes]:
    """Yield the lines of all parts in the order of their times, each behind the number of its process.

    Args:
        name: The name of the whole, for errors.
        parts: Process and file of each part.
        read: Yields the lines of a file.

    Raises:
        ProgramError: If lines have no times that can be compared between processes.
    """

    def timed(pid: int, file: str) -> Iterator[tuple[int, int, bytes]]:
        last = 0
        for number, line in enumerate(read(file)):
            found = _TIME.match(line)
            if found is not None:
                hours, minutes, seconds, unix, fraction = found.groups()
                whole = int(unix) if unix is not None else int(hours) * 3600 + int(minutes) * 60 + int(seconds)
                time = whole * 10**9 + int((fraction or b"0").ljust(9, b"0"))
                if unix is None:
                    time += last // (2 * _HALF_A_DAY) * 2 * _HALF_A_DAY
                    time += 2 * _HALF_A_DAY * (time < last - _HALF_A_DAY)
                last = max(last, time)
            elif not number:
                raise ProgramError(
                    "has no times, so the order of its processes is not known; record with -ff -ttt", name
                )
            yield last, pid, line

    for _, pid, line in heapq.merge(*(timed(pid, file) for pid, file in parts), key=lambda item: item[0]):
        yield b"%d %s" % (pid, line)
