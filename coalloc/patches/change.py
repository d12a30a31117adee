"""`changed`: two models as a unified diff: the fields of two records that differ, or the source of two functions."""

from __future__ import annotations

import difflib
import inspect
import textwrap
from typing import Any, Final

import attrs

__all__ = ["changed"]

_PROSE: Final = frozenset({"name", "title", "source", "sources", "assumed", "kept", "goes", "locks"})
"""Fields of records that are words about the others."""


def changed(before: Any, after: Any) -> str:  # noqa: ANN401 (a record of any class, or any function)
    """Return what differs between two models, without a line feed at the end; empty if nothing does.

    Args:
        before: A record (of attrs), or a function.
        after: One of the same kind.

    >>> from coalloc.pipes.states import STATES
    >>> print(changed(STATES["linux"], STATES["linux-7.2"]))
    --- linux
    +++ linux-7.2
    @@ LinuxState @@
    -pages_ahead = 0
    +pages_ahead = 8
    """
    if attrs.has(type(before)):
        lines = list(_fields(before, after))
        if not lines:
            return ""
        return "\n".join([f"--- {before.name}", f"+++ {after.name}", f"@@ {type(after).__name__} @@", *lines])
    old, new = (textwrap.dedent(inspect.getsource(each)).splitlines() for each in (before, after))
    return "\n".join(difflib.unified_diff(old, new, before.__name__, after.__name__, lineterm=""))


def _fields(before: Any, after: Any, prefix: str = "") -> list[str]:  # noqa: ANN401 (as above)
    found = []
    for field in attrs.fields(type(after)):
        old, new = getattr(before, field.name, None), getattr(after, field.name)
        if old == new or (field.name in _PROSE):
            continue
        if attrs.has(type(old)) and type(old) is type(new):
            found += _fields(old, new, f"{prefix}{field.name}.")
        else:
            found += [f"-{prefix}{field.name} = {_word(old)}", f"+{prefix}{field.name} = {_word(new)}"]
    return found


def _word(value: object) -> str:
    name = getattr(value, "name", None)
    return name if isinstance(name, str) else repr(value)
