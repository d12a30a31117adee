"""Calling the allocator under test: every call is bounded, and what it may raise is told apart from what it may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coalloc.testing.properties import Breach, Property
from coalloc.testing.source import MAX_CALLS, WatchedSource

__all__ = ["Calls"]


class Calls:
    """Make calls of one allocator.

    Args:
        source: What it takes its arenas from.
        bounded: Makes a call that may raise anything, and breaks it off when it does not return.
    """

    def __init__(self, source: WatchedSource, bounded: Callable[[Callable[[], Any]], Any]) -> None:
        self.source = source
        self.bounded = bounded
        self.refusal: MemoryError | None = None
        """What the last request raised that was refused."""

    def begin(self) -> None:
        """Forget what the source was asked before."""
        self.source.events.clear()
        self.source.calls_left = MAX_CALLS
        self.source.starved = self.source.refused = False

    def end(self) -> None:
        """Report a misuse of the source, even if the allocator swallowed it."""
        if self.source.breach is not None:
            raise self.source.breach

    def demand(self, owner: Property, words: str, call: Callable[[], Any]) -> Any:
        """Make a call that must succeed, and return its result."""
        self.begin()
        try:
            result = self.bounded(call)
        except Breach:
            raise
        except Exception as error:
            self.end()
            raise unexpected(owner, words, error) from error
        self.end()
        return result

    def request(self, owner: Property, words: str, call: Callable[[], Any], *, hopeless: bool = False) -> int | None:
        """Make a request, and return the address, or None where it was refused.

        Args:
            owner: The property that another exception breaks.
            words: The call, for messages.
            call: Makes it.
            hopeless: Whether no request of this size can ever be served, so that it may be refused as a bad value, too.
        """
        self.begin()
        try:
            base: int = self.bounded(call)
        except Breach:
            raise
        except MemoryError as error:
            self.end()
            self.refusal = error
            return None
        except Exception as error:
            self.end()
            if not hopeless or not isinstance(error, (ValueError, OverflowError)):
                raise unexpected(owner, words, error) from error
            self.refusal = None
            return None
        self.end()
        if type(base) is not int or base < 0:
            raise Breach(Property.P2, f"{words} returned {base!r}, which is no address")
        return base

    def refused(self, words: str, call: Callable[[], object]) -> Exception:
        """Make a call that must be refused as one that names no live buffer; return the refusal."""
        try:
            self.bounded(call)
        except Breach:
            raise
        except (ValueError, LookupError) as error:  # BadFreeError is a ValueError
            self.end()
            return error
        except Exception as error:
            self.end()
            raise unexpected(Property.P10, words, error) from error
        self.end()
        raise Breach(Property.P10, f"{words} was accepted")

    def size_refused(self, words: str, call: Callable[[], object]) -> None:
        """Make a request of a size that no request may have; it must be refused, and the source left alone."""
        self.begin()
        try:
            self.bounded(call)
        except Breach:
            raise
        except (ValueError, TypeError, OverflowError, MemoryError) as error:
            self.end()
            if self.source.events:
                raise Breach(Property.P9, f"{words} was refused, and called the source all the same") from error
            return
        except Exception as error:
            raise unexpected(Property.P14, words, error) from error
        raise Breach(Property.P14, f"{words} was accepted, and is no size that a request may have")

    def look(self, words: str, call: Callable[[], Any]) -> Any:
        """Ask for what can be seen; that must not fail."""
        try:
            return self.bounded(call)
        except Breach:
            raise
        except Exception as error:
            raise unexpected(Property.P4, words, error) from error


def unexpected(owner: Property, words: str, error: Exception) -> Breach:
    """Return the breach that an exception is which nobody may raise there."""
    try:
        said = f": {error}"
    except Exception:
        said = ", which cannot be shown"
    return Breach(owner, f"{words} raised {type(error).__name__}{said}")
