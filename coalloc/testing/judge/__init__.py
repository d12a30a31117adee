"""The judge: an allocator and the specification in step; whatever the allocator does is held to what it declares."""

from coalloc.testing.judge.judge import Judge, Memory

__all__ = ["Judge", "Memory"]
