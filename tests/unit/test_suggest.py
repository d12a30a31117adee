"""Suggesting: what two buffers of a size tell, which contracts are tried, and how the whole check weakens one."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import Pipe
from typing import Any

import attrs
import pytest

from coalloc import Contract, Fit
from coalloc.contract import Capability, Completeness, Constraint, Geometry, Resize, Rounding, Work
from coalloc.contract_text import parse_contract
from coalloc.testing import Breach, Property, Report, Ruling, Verdict, suggest
from coalloc.testing.isolate import Reporter
from coalloc.testing.suggest import Suggestion, suggest_target
from coalloc.testing.targets import find_target

pytestmark = pytest.mark.usefixtures("in_process")
TARGET = "tests.unit.allocators:{}".format
BRIEF = 0.05


def report(*broken: Property) -> Report:
    """Return a report in which some properties are broken."""
    verdicts = tuple(Verdict(item, Ruling.BROKEN if item in broken else Ruling.HELD, "seen") for item in Property)
    return Report(Contract(fit=None), verdicts, 1, 1, 0)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Contract]]:
    """Let the whole check give some reports one after another, and note which contracts it is asked about."""

    def give(*reports: Report) -> list[Contract]:
        left, asked = iter(reports), []

        def check_target(_target: str, *, contract: Contract, **_: object) -> Report:
            asked.append(contract)
            return next(left)

        monkeypatch.setattr(suggest, "check_target", check_target)
        return asked

    monkeypatch.setattr(suggest, "_PROGRAMS", 2)
    return give


def test_the_strongest_contract_that_is_kept_is_found(checked: Any) -> None:
    """First fit is found with its constraints, resize and growth; each field that is tried is told."""
    told: list[str] = []
    asked = checked(report())
    found = suggest_target("first-fit", on_try=told.append)
    assert found == Suggestion(asked[0])
    contract = found.contract
    assert (contract.fit, contract.completeness, contract.resize) == (Fit.FIRST, Completeness.EXACT, Resize.IN_PLACE)
    assert (contract.constraints, contract.work) == (frozenset(Constraint), Work.LOG)
    assert told[0] == "a request occupies whole quanta"
    assert told[-1] == "the whole check"


def test_what_is_given_is_where_the_search_begins(checked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A contract that is given is kept where no field is tried; of equally strong ones the first counts."""
    checked(report())
    monkeypatch.setattr(suggest, "_footprints", lambda _probe: iter([{}, {"reclaims": True}]))
    monkeypatch.setattr(suggest, "_fields", lambda _probe: iter([(Property.P15, [{"deterministic": True}])]))
    given = attrs.evolve(suggest.WEAKEST, laws=frozenset())
    contract = suggest_target("per-pipe", given=given).contract
    assert suggest_target("per-pipe", given=given, confirm=False) == Suggestion(attrs.evolve(contract, work=None))
    assert (contract.laws, contract.deterministic, contract.reclaims) == (frozenset(), True, False)


def measured(target: str) -> suggest._Probe:
    """Return what an allocator tells."""
    here, there = Pipe(duplex=False)
    with here, there:
        return suggest._probe(find_target(target), Reporter(there))


def test_sizes_that_are_refused_tell_nothing() -> None:
    """An allocator that refuses everything occupies nothing that could be measured."""
    assert measured("M67").occupied == {}


def test_an_allocator_that_keeps_nothing_is_shown_with_what_it_breaks(checked: Any) -> None:
    """What breaks even the weakest contract, hangs, or cannot be tried, is told in words."""
    checked()
    same = suggest_target(TARGET("Same"))
    assert same.broken.startswith("P1 (")
    hangs = suggest_target(TARGET("Hangs"), timeout=BRIEF)
    assert "nothing has come back" in hangs.broken
    unmade = suggest_target(TARGET("HangsUnmade"), timeout=BRIEF)
    assert "nothing has come back" in unmade.broken
    assert {found.contract for found in (same, hangs, unmade)} == {suggest.WEAKEST}


# --- footprints ------------------------------------------------------------------------------------------------------


def probe(**changes: Any) -> suggest._Probe:
    """Return what an allocator of static arenas tells, which serves all sizes."""
    plain = suggest._Probe(quantum=4096, occupied={}, front=0, arena=None, most=None, can=frozenset())
    return attrs.evolve(plain, **changes)


def footprints(occupied: Callable[[int], int], *, quantum: int = 4096, can: tuple[Capability, ...] = ()) -> list[Any]:
    """Return what a request may occupy, if two buffers of n quanta lie so many quanta apart."""
    sizes = {n: occupied(n) for n in range(1, 9)}
    return list(suggest._footprints(probe(quantum=quantum, occupied=sizes, can=frozenset(can))))


def test_the_distance_of_two_buffers_tells_what_one_occupies() -> None:
    """Whole quanta, something beside, powers of two, classes, or what the allocator shows itself."""
    assert footprints(lambda n: n) == [{}, {}]
    assert footprints(lambda n: n + 1, quantum=16)[:2] == [{"guard": 16}, {"header": 16}]
    powers = footprints(lambda n: 1 << (n - 1).bit_length())
    assert powers[:2] == [{"geometry": Geometry.BUDDY}, {"geometry": Geometry.BUDDY_ABSOLUTE}]
    assert {"rounding": Rounding.POWER} in powers
    thirds = footprints(lambda n: n + -n % 3)
    assert thirds[0] == {"rounding": Rounding.CLASSES, "classes": (3 * 4096, 6 * 4096, 9 * 4096)}
    doubling = footprints(lambda n: 3 if n <= 3 else 6 if n <= 6 else 12)
    assert doubling[0] == {"rounding": Rounding.CLASSES, "classes": (3 * 4096,), "doubling": True}
    assert {"rounding": Rounding.SHOWN} in footprints(lambda n: n, can=(Capability.SIZE_OF,))
    assert next(suggest._footprints(probe())) == {}


def test_what_an_allocator_cannot_do_is_where_its_search_begins() -> None:
    """A largest request, a search that rounds up, arenas of one size that may be joined, and a head of each arena."""
    assert list(suggest._natures(probe())) == [{}, {"completeness": Completeness.TLSF(1)}]
    natures = list(suggest._natures(probe(most=65536, arena=8192, front=4096)))
    assert all(nature["max_size"] == 65536 for nature in natures)
    assert {"arena", "spans", "arena_head"} <= {field for nature in natures for field in nature}


def test_the_largest_request_is_measured() -> None:
    """It is found to the quantum, whether or not it is a power of two."""
    assert measured(TARGET("AtMostFive")).most == 5 * 4096
    assert measured("first-fit").most is None


def test_fields_are_tried_only_where_there_is_a_call() -> None:
    """Constraints need xalloc, and resizing needs resize."""
    for can in ((), (Capability.XALLOC, Capability.RESIZE)):
        fields = suggest._fields(probe(can=frozenset(can)))
        assert {Property.P3, Property.P18} <= {item for item, _ in fields} or not can


# --- the whole check ---------------------------------------------------------------------------------------------------


def confirmed(contract: Contract) -> Suggestion:
    """Run the whole check on a contract."""
    fields = list(suggest._fields(probe()))
    return suggest._confirmed("first-fit", contract, fields, 60.0, None, lambda _text: None)


def test_the_whole_check_weakens_what_is_broken(checked: Any) -> None:
    """For each broken property the next weaker value of its field is taken."""
    start = parse_contract("fit=first,work=constant,completeness=exact,release=eager")
    asked = checked(report(Property.P17), report(Property.P21), report(Property.P7), report(Property.P12), report())
    found = confirmed(start)
    assert found.broken == ""
    assert [contract.work for contract in asked[:2]] == [Work.CONSTANT, Work.LOG]
    assert [contract.laws for contract in asked[1:3]] == [None, frozenset()]
    assert [str(contract.completeness) for contract in asked[2:4]] == ["exact", "class"]
    assert [str(contract.release) for contract in asked[3:]] == ["eager", "retain(1)"]


def test_what_no_weaker_value_mends_is_told(checked: Any) -> None:
    """Where no field is about the property, or its weakest value is broken, the contract is returned with the breach."""
    start = parse_contract("fit=first")
    for broken, contract in ((Property.P1, start), (Property.P8, attrs.evolve(start, fit=None))):
        checked(report(broken))
        assert confirmed(contract) == Suggestion(contract, f"{broken.name}: seen")


def test_a_contract_is_not_weakened_for_ever(checked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some rounds the last breach is told."""
    monkeypatch.setattr(suggest, "_ROUNDS", 1)
    checked(report(Property.P7))
    found = confirmed(parse_contract("completeness=exact"))
    assert (found.broken, str(found.contract.completeness)) == ("P7: seen", "class")


def test_growth_that_cannot_be_tested_is_not_suggested() -> None:
    """Where the check of the growth does not apply, or finds too much, no growth is kept."""
    for changes, kept in (("work=log", True), ("work=constant", False), ("work=log,header=16", False)):
        assert suggest._keeps_work("first-fit", parse_contract("fit=first," + changes), 60.0) is kept


def test_a_trial_returns_the_first_breach() -> None:
    """A contract that is too strong is found by some programs."""
    breach = suggest._trial("M31", parse_contract("fit=first,completeness=exact"), 60.0)
    assert isinstance(breach, Breach)
