"""One line about the host and the interpreter, for the head of every measurement."""

from __future__ import annotations

import os

from coalloc.vm.measuring import describe_machine

__all__ = ["head"]


def head(load: str, seed: int) -> str:
    """Return the line: load, seed, processor, Python."""
    return f"load: {load}; seed {seed}; {describe_machine()}, {os.cpu_count()} CPUs"
