"""Allocators from the package index: at its own level each conforms, and one level higher it is refuted with a program."""

from __future__ import annotations

import pytest

from coalloc import Completeness, Contract, Fit
from coalloc.testing import Property, check_space
from tests.adapters.peers import Bins, VirtualBest, VirtualFirst

PACKAGES: dict[type, str] = {VirtualFirst: "virtual_allocator", VirtualBest: "virtual_allocator", Bins: "TLSFAllocator"}
CHECKS = ("ladder", "comb", "powers-of-two", "nonsense", "determinism", "failing-source")
"""The directed checks; the packages walk lists, and some worlds would take them minutes."""


@pytest.mark.parametrize("peer", PACKAGES, ids=lambda peer: peer.__name__)
def test_a_package_of_the_index_keeps_its_level(peer: type) -> None:
    """First fit, best fit, and the search rounding of a bin allocator are declared, and kept."""
    pytest.importorskip(PACKAGES[peer], reason="the peers are not installed: pip install 'coalloc[peers]'")
    report = check_space(peer, examples=20, checks=CHECKS)
    assert report.conforms, [(verdict.property, verdict.note) for verdict in report.verdicts if verdict.found]


@pytest.mark.parametrize(
    ("peer", "too_high", "broken"),
    [
        (VirtualFirst, Contract(fit=Fit.LAST), Property.P8),
        (VirtualBest, Contract(fit=Fit.FIRST), Property.P8),
        (Bins, Contract(fit=None, completeness=Completeness.EXACT), Property.P7),
    ],
    ids=["first as last", "best as first", "bins as exact"],
)
def test_a_package_of_the_index_is_refuted_at_another_level(peer: type, too_high: Contract, broken: Property) -> None:
    """A level that a package does not keep is refuted with a program."""
    pytest.importorskip(PACKAGES[peer], reason="the peers are not installed: pip install 'coalloc[peers]'")
    report = check_space(peer, too_high, examples=30, checks=CHECKS)
    verdict = next(verdict for verdict in report.verdicts if verdict.property is broken)
    assert verdict.found is not None
    assert len(verdict.found.program.steps) <= 8
