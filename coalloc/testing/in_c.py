"""What the kit asks of allocators in C alone: members of the same name that a class in Python has mean nothing to it."""

from __future__ import annotations

from coalloc.native import NativeFactory
from coalloc.testing.subject import Subject

__all__ = ["quanta_of", "restart"]


def quanta_of(subject: Subject) -> tuple[int, ...]:
    """Return the quanta, in bytes, that random programs set by turns; the allocator has its own if there are none."""
    return subject.make_space.quanta if isinstance(subject.make_space, NativeFactory) else ()


def restart(subject: Subject) -> None:
    """Forget all spaces that were made, where they share a process."""
    if isinstance(subject.make_space, NativeFactory):
        subject.make_space.restart()
