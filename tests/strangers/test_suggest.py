"""What --suggest says of allocators that others wrote: it conforms, and it is at least as strong as what their authors promise.

A quick run suggests for a few allocators without the whole check at the end, and a nightly run for all with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.strangers import Row, rows
from coalloc import Coalescing, Completeness, Contract, Resize
from coalloc.contract import ANY_RELEASE, Rounding
from coalloc.contract_text import describe_contract, parse_contract
from coalloc.testing import check_space
from coalloc.testing.suggest import WEAKEST, suggest_target
from coalloc.testing.targets import find_target
from tests import NIGHTLY
from tests.strangers.test_strangers import QUICK

WEAKER: Final[dict[str, set[str]]] = {
    "fixed_table_64": {"completeness"},
    "reserve_tenth": {"completeness", "rounding"},
    "two_ended": {"fit"},
}
"""The allocators of which less is suggested than is promised, since what they are is not looked for: a largest number of
segments, a reserve, two ends."""
LOST: Final = {"reserved_ranges"}
"""The allocators that keep not even the weakest contract, since nobody looks for addresses that are never handed out."""
FAST: Final = {"fixed_arenas", "header_16"}
"""The allocators of a quick run: arenas of one size, and a header."""
GIVEN: Final = {
    "fixed_table_64": "max-segments=64",
    "reserve_tenth": "reserve-percent=10",
    "reserved_ranges": "excluded=0x0-0xfff+0xa0000-0xfffff+0xfec00000-0xfeefffff+0xfffffffffffff000-0xffffffffffffffff",
    "two_ended": "two-ended=65537",
}
"""The one field of each of these that has to be named."""
ROWS: Final = [row for row in rows() if not row.faulty and (NIGHTLY or Path(row.file).stem in FAST)]
_COALESCING: Final = (Coalescing.BY_ARENA, Coalescing.DEFERRED, Coalescing.IMMEDIATE)
_RESIZE: Final = (Resize.NONE, Resize.MOVING, Resize.IN_PLACE, Resize.SLIDING)


def weaker_fields(suggested: Contract, declared: Contract) -> set[str]:
    """Return the fields in which a suggestion promises less; fields that say how an allocator is built have no order."""
    less = {
        "fit": declared.fit is not None and suggested.fit is not declared.fit,
        "tie": suggested.tie is None and declared.tie is not None and suggested.fit is declared.fit,
        "completeness": _level(suggested.completeness) < _level(declared.completeness),
        "coalescing": _COALESCING.index(suggested.coalescing) < _COALESCING.index(declared.coalescing),
        "release": suggested.release == ANY_RELEASE != declared.release,
        "constraints": not suggested.constraints >= declared.constraints,
        "resize": _RESIZE.index(suggested.resize) < _RESIZE.index(declared.resize),
        "rounding": suggested.rounding is Rounding.SHOWN is not declared.rounding,
        "ahead": suggested.ahead and not declared.ahead,
    }
    flags = ("exact_stats", "checks_frees", "limited", "deterministic", "reclaims", "retries")
    less |= {flag: getattr(declared, flag) and not getattr(suggested, flag) for flag in flags}
    return {field for field, is_less in less.items() if is_less}


def _level(completeness: Completeness) -> tuple[int, int]:
    """Return what orders the levels; CLASS is above all TLSF here, since nobody declares it."""
    order: dict[Any, int] = {"best-effort": 0, "tlsf": 1, "class": 2, "exact": 3}
    return order[completeness.search], completeness.lists


@pytest.mark.parametrize("row", ROWS, ids=lambda row: Path(row.file).stem)
def test_a_suggestion_conforms_and_promises_no_less_than_the_author(row: Row) -> None:
    """The suggested line, read back, is kept, and no field of it is weaker than the author's."""
    stem = Path(row.file).stem
    found = suggest_target(row.target, confirm=NIGHTLY)
    assert bool(found.broken) == (stem in LOST), found.broken
    if stem in LOST:
        return
    line = parse_contract(describe_contract(found.contract))
    assert line == found.contract
    assert weaker_fields(line, row.contract) == WEAKER.get(stem, set())
    report = check_space(find_target(row.target), line, examples=12, checks=QUICK)
    assert report.conforms, [verdict for verdict in report.verdicts if verdict.found is not None]


@pytest.mark.parametrize("stem", GIVEN if NIGHTLY else ["reserved_ranges"])
def test_what_is_not_looked_for_can_be_given(stem: str) -> None:
    """With the one field that nobody looks for named, all the others are found, and nothing is weaker than promised."""
    row = next(row for row in rows() if Path(row.file).stem == stem)
    found = suggest_target(row.target, given=parse_contract(GIVEN[stem], WEAKEST), confirm=NIGHTLY)
    assert not found.broken
    assert weaker_fields(found.contract, row.contract) == set()
    report = check_space(find_target(row.target), found.contract, examples=12, checks=QUICK)
    assert report.conforms, [verdict for verdict in report.verdicts if verdict.found is not None]


def test_the_order_of_contracts_tells_what_is_weaker() -> None:
    """Each field that has an order is told when it is lowered, and not when it is raised."""
    strong = parse_contract("fit=best,tie=lowest,resize=in-place,constraints=all")
    for words, field in (
        ("fit=none", "fit"),
        ("tie=none", "tie"),
        ("completeness=tlsf(8)", "completeness"),
        ("coalescing=deferred", "coalescing"),
        ("release=any", "release"),
        ("constraints=align", "constraints"),
        ("resize=moving", "resize"),
        ("rounding=shown", "rounding"),
        ("ahead=yes", "ahead"),
        ("limited=no", "limited"),
    ):
        weak = parse_contract(words, strong)
        assert weaker_fields(weak, strong) == {field}
        assert not weaker_fields(strong, weak) - {"fit"}
    assert _level(Completeness.TLSF(4)) < _level(Completeness.TLSF(8))
