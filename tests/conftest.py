"""Hypothesis profiles: dev (default), ci (fixed examples), nightly (random and long); choose with HYPOTHESIS_PROFILE.

And which tests run without coverage, and the bundled build, read once for all command lines that are run in the process of the
tests.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Generator

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings

from coalloc import bundled_build

_SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
settings.register_profile("dev", max_examples=40, deadline=None, suppress_health_check=_SLOW, derandomize=True)
settings.register_profile(
    "ci", max_examples=40, deadline=None, suppress_health_check=_SLOW, derandomize=True, database=None
)
settings.register_profile("nightly", max_examples=1000, deadline=None, suppress_health_check=_SLOW, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


os.environ.pop("COLUMNS", None)  # tables are as wide as they are, whatever the terminal of the tests
_UNWATCHED = (
    "docs",
    "tests/adapters",
    "tests/behaviours/test_around.py",
    "tests/behaviours/test_descriptors.py::test_b49",
    "tests/behaviours/test_failures.py::test_b19",
    "tests/behaviours/test_maps.py::test_b27",
    "tests/behaviours/test_sizing.py::test_b4",
    "tests/bounds",
    "tests/cli",
    "tests/exhaustive/test_explore.py",
    "tests/exhaustive/test_small_programs.py",
    "tests/exhaustive/test_windows.py::test_what_is_right_passes_every_schedule",
    "tests/golden",
    "tests/planted",
    "tests/stateful",
    "tests/strangers",
    "tests/unit/test_generators.py",
    "tests/unit/test_interrupts.py",
    "tests/unit/test_kit.py::test_a_minimised",
    "tests/unit/test_kit.py::test_a_program_as_python",
    "tests/unit/test_kit.py::test_a_report",
    "tests/unit/test_kit.py::test_constraints",
    "tests/unit/test_overlay.py",
    "tests/unit/test_replay.py",
    "tests/unit/test_scenarios.py::test_curves_of_pipes",
    "tests/unit/test_small.py",
    "tests/unit/test_states.py::test_the_mail",
    "tests/unit/test_strace",
    "tests/unit/test_textformat.py",
)
"""Long tests, which would take several times as long if they were watched; the others have to reach every branch."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let long tests run without coverage.

    Every measurement is stopped.  pytest-cov's own mark ``no_cover`` stops one, and a process of pytest-xdist has two.
    """
    stopped = []
    if item.nodeid.startswith(_UNWATCHED):
        while (measurement := Coverage.current()) is not None:
            measurement.stop()
            stopped.append(measurement)
    try:
        return (yield)
    finally:
        for measurement in reversed(stopped):
            measurement.start()


_read_once = functools.cache(bundled_build)


@pytest.fixture
def build_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands share one reading of the bundled build, which takes long and which no command changes."""
    monkeypatch.setattr("coalloc.cli.programs.bundled_build", _read_once)
