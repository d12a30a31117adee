"""`changed`: two models as a unified diff: the fields of two records that differ, or the source of two functions."""

from __future__ import annotations

import difflib
import inspect
import textwrap
from typing import Any, Final

import attrs

from coalloc.errors import InvalidRequestError

__all__ = ["changed"]

_PROSE: Final = frozenset({"name", "title", "source", "sources", "assumed", "kept", "goes", "locks"})
"""Fields of records that are words about the others."""


def changed(before: Any, after: Any) -> str:  # noqa: ANN401 (a record of any class, or any function)
    """Return what differs between two models, without a line feed at the end; empty if nothing does.

    Args:
        before: A record (of attrs), or a function.
        after: Another of the same class, or another function.

    Raises:
        InvalidRequestError: If they are of different kinds, or a function's source cannot be had.

    >>> from coalloc.pipes.states import STATES
    >>> print(changed(STATES["linux"], STATES["linux-7.2"]))
    --- linux
    +++ linux-7.2
    @@ LinuxState @@
    -pages_ahead = 0
    +pages_ahead = 8
    """
    if attrs.has(type(before)) and type(before) is type(after):
        lines = list(_fields(before, after))
        if not lines:
            return ""
        names = getattr(before, "name", "before"), getattr(after, "name", "after")
        return "\n".join([f"--- {names[0]}", f"+++ {names[1]}", f"@@ {type(after).__name__} @@", *lines])
    for what, each in (("before", before), ("after", after)):
        if not inspect.isfunction(each):
            raise InvalidRequestError(what, each, "both must be records of one class of attrs, or both functions")
    try:
        old, new = (textwrap.dedent(inspect.getsource(each)).splitlines() for each in (before, after))
    except OSError as error:
        raise InvalidRequestError("before", before.__name__, f"its source is not to be had: {error}") from None
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
