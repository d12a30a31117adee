"""The page on Hypothesis: what it names exists, and HypoFuzz collects the test that the page writes."""

from __future__ import annotations

import re
import unittest
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from coalloc.testing import MUTANTS, SUBJECTS, Breach, Subject, loads, run_program, state_machine
from coalloc.testing.statemachine import run_machine
from coalloc.testing.subject import MakeSpace

PAGE = (Path(__file__).parents[2] / "docs" / "hypothesis.md").read_text(encoding="utf-8")


def test_a_state_machine_is_a_test_that_finds_a_planted_bug() -> None:
    """The machine's test case runs in a runner of tests, passes a correct space, and finds a planted bug."""
    assert _ran(SUBJECTS["coalescing"]).wasSuccessful()
    result = _ran(MUTANTS[9].make_space)
    assert not result.wasSuccessful()
    assert "coalloc check-program 1" in (result.errors + result.failures)[0][1]


def _ran(make_space: MakeSpace) -> unittest.TestResult:
    case = state_machine(make_space).TestCase
    case.settings = settings(case.settings, max_examples=10, phases=[Phase.generate])
    result = unittest.TestResult()
    case("runTest").run(result)
    return result


def test_what_hypothesis_finds_is_made_short_by_the_kit() -> None:
    """The note of a breach holds a program that breaks the same property and has at most four steps."""
    subject = Subject(MUTANTS[9].make_space)
    with pytest.raises(Breach) as caught:
        run_machine(subject, examples=50)
    program = loads(next(note for note in caught.value.__notes__ if note.startswith("coalloc check-program")))
    breach = run_program(subject, program)
    assert breach is not None
    assert breach.property is caught.value.property
    assert len(program.steps) <= 4


def test_hypofuzz_collects_the_test_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HypoFuzz finds one test in the file that the page writes for it."""
    collection = pytest.importorskip(
        "hypofuzz.collection", reason="HypoFuzz is not installed: pip install 'coalloc[peers]'"
    )
    code = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    (tmp_path / "test_mine.py").write_text(code, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    before = settings.get_current_profile_name()
    settings.register_profile("drawn", derandomize=False)
    settings.load_profile("drawn")
    try:
        collected = collection.collect_tests(["-p", "no:cacheprovider", "test_mine.py"])
    finally:
        settings.load_profile(before)
    assert len(collected.fuzz_targets) == 1
