"""Hide what an allocator shows: the same allocator without segments(), stats() or other observers; its answers are the same."""

from __future__ import annotations

import functools
from typing import Any, Final

from coalloc.testing.subject import MakeSpace

__all__ = ["OBSERVERS", "hide"]

OBSERVERS: Final = ("segments", "stats", "violations")
"""The calls that show what an allocator holds."""


class _Hidden:
    """An allocator some of whose calls cannot be seen."""

    def __init__(self, space: Any, names: tuple[str, ...]) -> None:
        self._space = space
        self._names = names

    def __getattr__(self, name: str) -> Any:
        if name in self._names:
            raise AttributeError(name)
        return getattr(self._space, name)


def hide(make_space: MakeSpace, *names: str) -> MakeSpace:
    """Return a factory of the same allocators without these calls.

    Args:
        make_space: The factory.
        names: The calls to hide; all of OBSERVERS if none is named.

    >>> from coalloc.testing import SUBJECTS, WatchedSource
    >>> space = hide(SUBJECTS["coalescing"], "stats")(WatchedSource(size=65536), kva_limit=65536)
    >>> hasattr(space, "segments"), hasattr(space, "stats"), space.alloc(4096)
    (True, False, 0)
    """

    @functools.wraps(make_space)
    def hidden(*args: Any, **keywords: Any) -> _Hidden:
        return _Hidden(make_space(*args, **keywords), names or OBSERVERS)

    return hidden
