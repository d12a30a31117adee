"""Cases that others sent: correct allocators that were blamed, faulty ones that were missed, programs that were too long."""

from __future__ import annotations

from pathlib import Path

import pytest

from coalloc.contract_text import parse_contract
from coalloc.testing import Subject, check_space
from coalloc.testing.check import breach_in
from coalloc.testing.directed import CHECKS
from coalloc.testing.targets import find_target
from tests.strangers.test_strangers import QUICK

CASES = Path(__file__).parents[3] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the cases are not beside the project")

CORRECT = {
    "correct/a03_tlsf.py:Tlsf": "completeness=tlsf(4)",
    "correct/a10_buddy_max_order.py:BuddyMaxOrder": "largest-block=32K",
    "correct/a15_guard_gaps.py:GuardGaps": "completeness=exact,guard=4096,fit=first",
    "correct/a22_power_of_two.py:PowerOfTwo": "completeness=exact,fit=first,rounding=power",
    "correct/a25_arena_header.py:ArenaHeader": "arena-head=4096",
    "correct/a28_sbrk.py:Sbrk": "spans=joined",
    "correct/a38_channels.py:Channels": "",
    "correct/a39_worst_fit_heap.py:WorstFitClosure": "fit=worst,tie=lowest",
    "correct/a42_own_segments.py:OwnSegments": "",
    "correct/a44_malloc16.py:Malloc16": "",
    "faulty/base_first.py:SortedFirstFit": "",
    "faulty/base_best.py:BestLowest": "",
    "faulty/base_plain.py:One": "",
    "faulty/base_plain.py:Many": "",
    "faulty/base_quick.py:QuickFit": "",
    "reports/10_buddy_align.py:Plain": "",
    "reports/10_buddy_align.py:Absolute": "",
    "reports/11_larger_than_asked.py:Heap": "remainder=16,least=16,fit=first",
    "reports/11_larger_than_asked.py:HeapQ16": "fit=first",
    "reports/11_larger_than_asked.py:WithSize": "remainder=16,least=16",
    "reports/11_larger_than_asked.py:Headers": "header=16",
    "reports/11_larger_than_asked.py:Classes": "rounding=classes,classes=4096+8192+12288,doubling=yes",
    "reports/12_one_size.py:Pool": "max-size=4096",
    "reports/12_one_size.py:Strict": "max-size=4096",
    "reports/13_reserved_addresses.py:Ipam": "max-size=4096,completeness=best-effort,checks-frees=no",
}
"""Each correct allocator, and what its contract has to say beside what it declares itself."""
FAULTY = {
    "faulty/f04_size_32_bits.py:Size32": "gigabytes",
    "faulty/f17_string_hash.py:StringHash": "another-process",
    "faulty/f22_default_argument.py:DefaultArgument": "scale-up",
    "faulty/f26_assumes_ascending.py:AssumesAscending": "sources",
    "faulty/f27_magazine_overflow.py:MagazineOverflow": "scale-up",
    "faulty/f28_bitmap_summary.py:BitmapSummary": "scale-up",
    "faulty/f31_explicit_zero.py:ExplicitZero": "defaults",
    "faulty/f44_stats_dict.py:StatsDict": "comb",
}
"""Each faulty allocator, and the directed check that finds it."""
RANDOM = {
    "reports/10_buddy_align.py:Buddy": "",
    "reports/11_larger_than_asked.py:Leaky": "remainder=16,least=16",
    "reports/18_shrinking.py:Oom": "",
}
"""The faulty allocators that random programs find."""


def subject_of(case: str, line: str = "") -> Subject:
    """Return a case with its own contract, and what a line changes in it."""
    made = find_target(str(CASES / case))
    return Subject(made, parse_contract(line, Subject(made).declared) if line else None)


@pytest.mark.parametrize("case", CORRECT)
def test_a_correct_case_conforms(case: str) -> None:
    """What was blamed conforms to what it promises."""
    subject = subject_of(case, CORRECT[case])
    report = check_space(subject.make_space, subject.contract, subject=subject, examples=12, checks=QUICK)
    assert report.conforms, [verdict for verdict in report.verdicts if verdict.found is not None]


@pytest.mark.parametrize("case", FAULTY)
def test_a_faulty_case_is_found(case: str) -> None:
    """What was missed is found by a directed check."""
    check = next(check for check in CHECKS if check.name == FAULTY[case])
    assert breach_in(check, subject_of(case)) is not None


@pytest.mark.parametrize("case", RANDOM)
def test_a_faulty_case_is_found_by_random_programs(case: str) -> None:
    """What was reported is found, and the program of the one that was printed too long is as short as can be."""
    subject = subject_of(case, RANDOM[case])
    report = check_space(subject.make_space, subject.contract, subject=subject, examples=40, checks=())
    founds = [verdict.found for verdict in report.verdicts if verdict.found is not None]
    assert founds
    if case.endswith("Oom"):
        assert min((len(found.program.steps), found.program.world.limit) for found in founds) <= (3, 1)
