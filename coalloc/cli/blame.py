"""Whose mistake an exception is: an allocator that was named on the command line may raise, print and exit as it likes.

What a stranger's code raises becomes one line, and what it prints goes to standard error, where it does not mix with a result.
"""

from __future__ import annotations

import contextlib
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from coalloc.errors import CoallocError

__all__ = ["strangers_fault", "strangers_print_aside"]

_OURS = str(Path(__file__).resolve().parents[1])
_INSTALLED = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def strangers_fault(error: BaseException) -> CoallocError | None:
    """Return the error in one line if a stranger's code raised it or led to it; None if it is our own mistake.

    A stranger's code is what we call that is neither ours nor installed.
    """
    frames = traceback.extract_tb(error.__traceback__)
    first = next((number for number, frame in enumerate(frames) if _lies_in(frame.filename, _OURS)), len(frames))
    theirs = [
        frame
        for frame in frames[first:]
        if not frame.filename.startswith(("<frozen", "<string>")) and not _lies_in(frame.filename, _OURS, *_INSTALLED)
    ]
    if not theirs:
        return None
    where = f"{theirs[-1].filename}, line {theirs[-1].lineno}"
    return CoallocError(f"the allocator failed in {where}: {type(error).__name__}: {error}")


def _lies_in(file: str, *folders: str) -> bool:
    """Tell whether a file lies in one of some folders; ``coalloc-mine/a.py`` does not lie in ``coalloc``."""
    return any(Path(file).is_relative_to(folder) for folder in folders)


@contextlib.contextmanager
def strangers_print_aside() -> Iterator[None]:
    """Send what is printed in this block to standard error, and turn an exit in it into an error.

    Raises:
        CoallocError: If somebody called ``sys.exit`` in the block.
    """
    with contextlib.redirect_stdout(sys.stderr):
        try:
            yield
        except SystemExit as error:
            raise CoallocError(f"the allocator called sys.exit({error.code!r})") from error
