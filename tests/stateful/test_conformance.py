"""No false alarms: every correct space of the library conforms at the level that it declares."""

from __future__ import annotations

import unittest

import pytest

from coalloc.testing import SUBJECTS, CheckProgram, Subject, conformance, dumps, loads, random_program
from tests import NIGHTLY, long

FEW = 6
PROGRAMS = 10_000 if NIGHTLY else 30


class TestReference(conformance(SUBJECTS["coalescing"], examples=FEW)):  # type: ignore[misc]
    """Test the reference as a user would test it."""


if NIGHTLY:

    class TestDragonFly(conformance(SUBJECTS["dragonfly"], examples=FEW)):  # type: ignore[misc]
        """Test a cache over one mapping per buffer."""

    class TestCached(conformance(SUBJECTS["coalescing+cache"], examples=FEW)):  # type: ignore[misc]
        """Test the reference with a quantum cache."""

    class TestBuddy(conformance(SUBJECTS["buddy"], examples=FEW)):  # type: ignore[misc]
        """Test the buddy system."""

    class TestVmem(conformance(SUBJECTS["vmem+qcache"], examples=FEW)):  # type: ignore[misc]
        """Test vmem with quantum caches."""


@pytest.mark.parametrize("name", SUBJECTS)
def test_random_programs_blame_no_correct_space(name: str) -> None:
    """Random programs (nightly 10,000, else 30) find nothing in a correct space and equal what is read back from their text."""
    subject = Subject(SUBJECTS[name], deep_every=1 if PROGRAMS < 1000 else 8)
    for seed in range(PROGRAMS):
        judge, found = random_program(subject, 7_000 + seed)
        assert found is None, found
        assert judge is not None
        program = CheckProgram(judge.world, tuple(judge.steps))
        assert loads(dumps(program)) == program


@long
def test_the_class_is_one_that_unittest_runs() -> None:
    """The unittest runner accepts the class, each test has a description, and a property not promised is skipped."""
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(conformance(SUBJECTS["per-pipe"], examples=3, programs=2))
    assert all(test.shortDescription() for test in suite)  # type: ignore[union-attr]
    result = unittest.TestResult()
    suite.run(result)
    assert result.wasSuccessful(), result.failures
    assert "no growth is declared" in {reason for _, reason in result.skipped}
