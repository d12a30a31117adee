"""The tests, in folders by purpose."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from typing import Final, TypeVar

import pytest

__all__ = ["NIGHTLY", "long", "may_record", "may_trace", "some"]

_T = TypeVar("_T")

NIGHTLY: Final = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
"""Whether the long tests run, too."""
long: Final = pytest.mark.skipif(not NIGHTLY, reason="it takes long, and runs nightly")
"""Marks a test that takes long."""


def some(values: Iterable[_T], every: int = 3) -> list[_T]:
    """Return all values in a nightly run, else one of so many: the cases of a test that takes long."""
    return list(values)[:: 1 if NIGHTLY else every]


def may_trace() -> bool:
    """Return whether strace is there, and may trace."""
    return shutil.which("strace") is not None and not subprocess.run(["strace", "-o", os.devnull, "true"]).returncode


@cache
def may_record(tool: str) -> bool:
    """Return whether a recorder is there, and may record."""
    from coalloc.workload.recorders import RECORDERS

    if shutil.which(tool) is None or os.getuid():
        return False
    arguments = RECORDERS[tool].arguments(os.devnull, ["/bin/true"], [])
    return subprocess.run(arguments, capture_output=True, check=False).returncode == 0
