"""A space declared one level too high fails, one level too low passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from coalloc import EAGER, NEVER, RETAIN, Coalescing, Completeness, Constraint, Contract, Fit, Resize
from coalloc.contract import Geometry, Tie, Work
from coalloc.testing import MUTANTS, SUBJECTS, Property, Ruling, Subject, check_space, random_program
from coalloc.testing.subject import MakeSpace
from tests import some

CLASS_ONLY = MUTANTS[7].make_space
"""A space that may overlook a hole in the request's own class."""


def declared(make_space: MakeSpace, **changes: Any) -> Contract:
    """Return what a space declares, with changes."""
    return attrs.evolve(Subject(make_space).declared, **changes)


def breaks(make_space: MakeSpace, contract: Contract) -> Iterator[Property]:
    """Yield the properties that random programs find broken, and those that a short check does."""
    subject = Subject(make_space, contract)

    def by_chance(seeds: range) -> Iterator[Property]:
        for seed in seeds:
            _, found = random_program(subject, seed)
            if found is not None:
                yield found.breach.property

    yield from by_chance(range(20))
    report = check_space(make_space, contract, examples=10, checks=("growth", "comb", "determinism"))
    yield from (verdict.property for verdict in report.verdicts if verdict.ruling is Ruling.BROKEN)
    yield from by_chance(range(20, 150))


TOO_HIGH: list[tuple[str, MakeSpace, dict[str, Any], Property]] = [
    ("class-best as best", SUBJECTS["class-best-fit"], {"fit": Fit.BEST}, Property.P8),
    ("instant as class-best", SUBJECTS["instant-fit"], {"fit": Fit.CLASS_BEST}, Property.P8),
    ("instant as best", SUBJECTS["vmem"], {"fit": Fit.BEST}, Property.P8),
    ("best as first", SUBJECTS["coalescing"], {"fit": Fit.FIRST, "tie": None}, Property.P8),
    ("next as first", SUBJECTS["next-fit"], {"fit": Fit.FIRST}, Property.P8),
    ("newest as lowest", SUBJECTS["coalescing"], {"tie": Tie.LOWEST}, Property.P8),
    ("class as exact", CLASS_ONLY, {"completeness": Completeness.EXACT}, Property.P7),
    ("deferred as immediate", SUBJECTS["coalescing+cache"], {"coalescing": Coalescing.IMMEDIATE}, Property.P4),
    ("retain as eager", SUBJECTS["coalescing"], {"release": EAGER}, Property.P12),
    ("never as retain", SUBJECTS["never"], {"release": RETAIN(2)}, Property.P12),
    ("eager as retain", SUBJECTS["eager"], {"release": RETAIN(1)}, Property.P12),
    ("eager as never", SUBJECTS["eager"], {"release": NEVER}, Property.P12),
    ("retain as never", SUBJECTS["retain-2"], {"release": NEVER}, Property.P12),
    ("lower bound as exact", SUBJECTS["vmem"], {"exact_stats": True}, Property.P16),
    ("moving as in place", SUBJECTS["vmem"], {"resize": Resize.IN_PLACE}, Property.P18),
    ("buddy as any", SUBJECTS["buddy"], {"geometry": Geometry.ANY}, Property.P4),
    ("linear as constant", MUTANTS[70].make_space, {"work": Work.CONSTANT}, Property.P17),
]


@pytest.mark.parametrize(
    ("make_space", "changes", "expected"),
    [row[1:] for row in some(TOO_HIGH, 2)],
    ids=[row[0] for row in some(TOO_HIGH, 2)],
)
def test_one_level_too_high_fails(make_space: MakeSpace, changes: dict[str, Any], expected: Property) -> None:
    """A space that declares one level too much breaks the property of that level."""
    assert expected in breaks(make_space, declared(make_space, **changes))


TOO_LOW: list[tuple[str, MakeSpace, dict[str, Any]]] = [
    ("best as none", SUBJECTS["coalescing"], {"fit": None}),
    ("tie open", SUBJECTS["coalescing"], {"tie": None}),
    ("exact as class", SUBJECTS["coalescing"], {"completeness": Completeness.CLASS}),
    ("class as class", CLASS_ONLY, {"completeness": Completeness.CLASS}),
    ("immediate as deferred", SUBJECTS["coalescing"], {"coalescing": Coalescing.DEFERRED}),
    ("retain(1) as retain(2)", SUBJECTS["coalescing"], {"release": RETAIN(2)}),
    ("no constraints", SUBJECTS["coalescing"], {"constraints": frozenset()}),
    ("alignment only", SUBJECTS["vmem"], {"constraints": frozenset({Constraint.ALIGN})}),
    ("in place as moving", SUBJECTS["coalescing"], {"resize": Resize.MOVING}),
    ("in place as none", SUBJECTS["coalescing"], {"resize": Resize.NONE}),
    ("exact as lower bound", SUBJECTS["coalescing"], {"exact_stats": False}),
    ("constant as linear", SUBJECTS["coalescing"], {"work": Work.LINEAR}),
    ("log as none", SUBJECTS["first-fit"], {"work": None}),
    ("limit not kept", SUBJECTS["eager"], {"limited": False}),
    ("frees unchecked", SUBJECTS["first-fit"], {"checks_frees": False}),
]


@pytest.mark.parametrize(("make_space", "changes"), [row[1:] for row in TOO_LOW], ids=[row[0] for row in TOO_LOW])
def test_one_level_too_low_passes(make_space: MakeSpace, changes: dict[str, Any]) -> None:
    """A space that declares less than it does breaks nothing."""
    subject = Subject(make_space, declared(make_space, **changes))
    for seed in range(30):
        _, found = random_program(subject, seed)
        assert found is None, found
