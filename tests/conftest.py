"""Hypothesis profiles: dev (default), ci (fixed examples), nightly (random and long); choose with HYPOTHESIS_PROFILE.

And which tests run without coverage, and the bundled build, read once for all command lines that are run in the process of the
tests.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from coalloc import bundled_build

_SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
settings.register_profile("dev", max_examples=40, deadline=None, suppress_health_check=_SLOW, derandomize=True)
settings.register_profile(
    "ci", max_examples=40, deadline=None, suppress_health_check=_SLOW, derandomize=True, database=None
)
settings.register_profile("nightly", max_examples=1000, deadline=None, suppress_health_check=_SLOW, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


_HERE = Path(__file__).parent
_UNWATCHED = tuple(
    _HERE / name
    for name in (
        "cli",
        "exhaustive",
        "golden",
        "planted",
        "stateful",
        "behaviours/test_around.py",
        "behaviours/test_sizing.py",
        "unit/test_kit.py",
        "unit/test_replay.py",
    )
)
"""Long tests, which would take much longer if they were watched; the others have to reach every branch."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let long tests run without coverage."""
    for item in items:
        if any(item.path.is_relative_to(path) for path in _UNWATCHED):
            item.add_marker(pytest.mark.no_cover)


_read_once = functools.cache(bundled_build)


@pytest.fixture
def build_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands share one reading of the bundled build, which takes long and which no command changes."""
    monkeypatch.setattr("coalloc.cli.loads.bundled_build", _read_once)
