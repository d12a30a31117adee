"""Allocators that others wrote without knowing the kit: the correct ones conform, and each faulty one is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.strangers import FOLDER, Row, rows
from coalloc.contract_text import parse_contract
from coalloc.testing import Subject, check_space, loads, soak
from coalloc.testing.check import breach_in
from coalloc.testing.directed import CHECKS, run_thoroughly
from coalloc.testing.targets import find_target
from tests import NIGHTLY, some

ROWS = rows()
PROGRAMS = 10_000 if NIGHTLY else 20
ROOT = FOLDER.parents[1]
QUICK = ("nonsense", "ends", "comb", "resizes", "failing-source", "gigabytes", "pressure", "defaults", "unseen")
"""The directed checks of the tests; python -m benchmarks.strangers runs all."""


@pytest.mark.parametrize("row", some(row for row in ROWS if not row.faulty), ids=lambda row: Path(row.file).stem)
def test_a_correct_allocator_conforms(row: Row) -> None:
    """A correct allocator of any common kind conforms to the line that its author promises."""
    report = check_space(find_target(row.target), row.contract, examples=12, checks=QUICK)
    assert report.conforms, [verdict for verdict in report.verdicts if verdict.found is not None]


@pytest.mark.parametrize("row", some(row for row in ROWS if not row.faulty), ids=lambda row: Path(row.file).stem)
def test_a_soak_blames_no_correct_allocator(row: Row) -> None:
    """Thousands of random programs on a correct allocator break nothing."""
    subject = Subject(find_target(row.target), row.contract)
    result = soak(subject, enough=lambda programs, _operations: programs >= PROGRAMS)
    assert result.found is None


@pytest.mark.parametrize("row", some(row for row in ROWS if row.faulty), ids=lambda row: Path(row.file).stem)
def test_a_faulty_allocator_is_found_again(row: Row) -> None:
    """The shortest program of a faulty allocator, or the check that found it, finds it again."""
    file = FOLDER / "programs" / f"{Path(row.file).stem}.txt"
    text, subject = file.read_text(encoding="utf-8"), Subject(find_target(row.target), row.contract)
    named = re.fullmatch(r"check (\S+)\n", text)
    if named is not None and named[1] == "hidden-work":
        pytest.skip("it is measured in time; python -m benchmarks.strangers does that")
    if named is None:
        assert run_thoroughly(subject, loads(text)) is not None
    else:
        assert breach_in(next(check for check in CHECKS if check.name == named[1]), subject) is not None


def test_there_are_enough_of_both() -> None:
    """There are at least 25 correct allocators and 40 faulty ones, and none of them uses the library's helpers."""
    assert sum(not row.faulty for row in ROWS) >= 25
    assert sum(row.faulty for row in ROWS) >= 40
    for row in ROWS:
        text = (FOLDER / row.file).read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) coalloc", text, re.MULTILINE), row.file


def test_the_lines_of_the_page_are_those_that_are_checked() -> None:
    """Each line of the table of common kinds is the one with which its allocator is checked, release and the like apart."""
    page = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8").partition("## All fields")[0]
    told = re.findall(r"^\| [^|]+ \| ([^|]*) \| `(\w+)` \|$", page, re.MULTILINE)
    lines = {Path(row.file).stem: row.contract for row in ROWS}
    assert len(told) >= 30
    for cell, name in told:
        line = re.match(r"`([^`]+)`", cell)
        contract = parse_contract(line[1] if line else "")
        for field in ("fit", "end", "completeness", "rounding", "header", "guard", "coalescing", "geometry", "resize"):
            assert getattr(contract, field) == getattr(lines[name], field), (name, field)
