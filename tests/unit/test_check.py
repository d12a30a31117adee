"""Checking: pieces, verdicts and reports; what is late, suspect, not promised or the kit's own fault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from coalloc import CoalescingSpace, InvalidRequestError
from coalloc.contract import Capability
from coalloc.contract_text import parse_contract
from coalloc.testing import (
    MUTANTS,
    SUBJECTS,
    Action,
    Breach,
    CheckProgram,
    Property,
    Report,
    Ruling,
    Step,
    Subject,
    Verdict,
    World,
    check_space,
)
from coalloc.testing import check as check_module
from coalloc.testing.check import Findings, Piece, breach_in, first_breach, pieces_of, report_of, run_piece
from coalloc.testing.checks import Check, CheckFailed, NotPromised, Suspicion
from coalloc.testing.hidden import hide
from coalloc.testing.subject import capabilities

FREES = CheckProgram(World(limit=2, room=2), (Step(Action.ALLOC, 0, 4096), Step(Action.FREE, 0)))


def raising(error: BaseException | None, name: str = "made-up", item: Property = Property.P5) -> Check:
    """Return a check that raises."""

    def run(_subject: Subject) -> None:
        if error is not None:
            raise error

    return Check(name, item, run)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Findings]:
    """Run a piece of made-up checks on the reference."""

    def run(*made: Check, make_space: Any = SUBJECTS["first-fit"], **piece: Any) -> Findings:
        monkeypatch.setattr(check_module, "CHECKS", list(made))
        names = tuple({check.name for check in made})
        return run_piece(Subject(make_space), Piece(checks=names), **piece)

    return run


def test_what_a_check_raises_is_its_verdict(checks: Callable[..., Findings]) -> None:
    """A breach breaks, a suspicion is suspect, a check that does not apply is nothing, and no error is held."""
    broken, suspect = Breach(Property.P1, "seen"), CheckFailed(Breach(Property.P2, "seen"), FREES, suspect=True)
    doubt = Suspicion(Property.P17, "slow")
    found = checks(*map(raising, (broken, suspect, doubt, NotPromised("why"), None, broken)))
    assert [(v.property, v.found) for v in found.broken] == [(Property.P1, None)]
    assert [(v.property, v.ruling) for v in found.suspect] == [
        (Property.P2, Ruling.SUSPECT),
        (Property.P17, Ruling.SUSPECT),
    ]
    assert found.held == ((Property.P5, "made-up"),)


def test_an_error_of_the_allocator_breaks_p7_and_one_of_the_kit_is_raised() -> None:
    """In a check without a judge the allocator's errors come through; the kit's own are no verdict."""
    breach = breach_in(raising(ZeroDivisionError("by zero")), Subject(SUBJECTS["first-fit"]))
    assert breach is not None
    assert breach.message == "in the check made-up a call raised ZeroDivisionError: by zero"

    def ours(subject: Subject) -> None:
        del subject
        check_module.report_of(None, None, None, 0)  # type: ignore[arg-type]

    with pytest.raises(TypeError):
        breach_in(Check("ours", Property.P5, ours), Subject(SUBJECTS["first-fit"]))


def test_what_was_noticed_late_may_be_another_breach(
    checks: Callable[..., Findings],
) -> None:
    """A program that breaks another property when everything is compared at once is reported as that."""
    failed = CheckFailed(Breach(Property.P8, "seen"), FREES, lambda _program: Breach(Property.P8, "seen"))
    (verdict,) = checks(raising(failed)).broken
    assert (verdict.property, verdict.note) == (Property.P8, "seen")
    program = attrs.evolve(FREES, steps=(Step(Action.ALLOC, 0, 4096),))
    again = CheckFailed(
        Breach(Property.P8, "seen"), program, lambda p: Breach(Property.P8, "seen") if p.steps else None
    )
    (verdict,) = checks(raising(again), make_space=MUTANTS[67].make_space).broken
    assert (verdict.property, verdict.ruling) == (Property.P7, Ruling.BROKEN)


def test_a_piece_that_is_late_begins_nothing_more(
    checks: Callable[..., Findings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What there was no time for is listed: small programs, random ones and checks."""
    times = iter(range(100))
    monkeypatch.setattr("coalloc.testing.check.time.monotonic", lambda: float(next(times)))
    assert checks(raising(None), seconds=0.5).unrun == ("made-up",)
    subject = Subject(SUBJECTS["first-fit"])
    found = run_piece(subject, Piece(0, 5, small=True), seconds=0.5)
    assert found.unrun == ("small programs", "5 random programs")
    assert found.programs == 0


def test_random_programs_compare_everything_now_and_then() -> None:
    """A breach that is noticed late is found again at once, and shown by the shortest program; progress is told."""
    told: list[int] = []
    subject = Subject(MUTANTS[23].make_space)
    found = run_piece(subject, Piece(1, 8, small=True), progress=told.append)
    assert told == [*range(7)]
    assert found.broken[0].raw is None
    found = run_piece(subject, Piece(1, 8))
    assert found.broken
    assert all(verdict.found is not None and verdict.raw is not None for verdict in found.broken)


def test_a_breach_that_is_seen_late_only_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the shortened program breaks nothing when everything is compared, or another property, it is left out."""
    monkeypatch.setattr(check_module, "run_program", lambda *_: None)
    assert run_piece(Subject(MUTANTS[23].make_space), Piece(1, 2)).broken == ()


def test_an_allocator_that_cannot_be_made_has_run_nothing() -> None:
    """A random program on a factory that raises has no steps."""
    found = run_piece(Subject(lambda *_, **__: 1 // 0, parse_contract("")), Piece(0, 1))
    assert (found.programs, found.operations) == (1, 0)
    assert [verdict.property for verdict in found.broken] == [Property.P14]


def test_the_first_breach_of_all_checks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks that do not apply, hold, or only suspect are passed over; none may find anything."""
    suspect = CheckFailed(Breach(Property.P2, "seen"), FREES, suspect=True)
    made = [raising(NotPromised("why")), raising(None), raising(suspect), raising(Breach(Property.P1, "seen"), "last")]
    monkeypatch.setattr(check_module, "CHECKS", made)
    met = first_breach(Subject(SUBJECTS["first-fit"]))
    assert met is not None
    assert met[0].name == "last"
    assert first_breach(Subject(SUBJECTS["first-fit"]), "made-up") is None


def test_pieces_have_all_checks() -> None:
    """Each check is in one piece, the long ones only if they are asked for."""
    for thorough in (False, True):
        names = [name for piece in pieces_of(10, thorough=thorough) for name in piece.checks]
        assert len(names) == len({*names})
        assert ("thousands" in names) is thorough


def test_earlier_findings_count() -> None:
    """Of two verdicts on a property the earlier piece's counts; a breach counts more than a suspicion."""
    first, second = (Verdict(Property.P1, Ruling.BROKEN, note) for note in ("first", "second"))
    doubt = Verdict(Property.P1, Ruling.SUSPECT, "doubt")
    held = Findings(held=((Property.P14, "ends"), (Property.P14, "nonsense")))
    report = report_of(
        parse_contract(""), (held, Findings((first,), (doubt,)), Findings((second,), (doubt,))), frozenset(), 0
    )
    assert report.verdicts[0] is first
    assert report.verdicts[13].note == "nonsense, ends"
    assert not report.conforms


# --- reports -------------------------------------------------------------------------------------------------------------


def test_a_report_tells_what_cannot_be_judged() -> None:
    """What an allocator has and lacks is told in words; whoever has everything lacks nothing."""
    bare = Report(parse_contract(""), (), 0, 0, 0)
    assert bare.capabilities.startswith(
        "has alloc and free only\nlacks size_of (no size of a live buffer is compared), "
    )
    assert "lacks" not in attrs.evolve(bare, can=frozenset(Capability)).capabilities


def test_what_is_not_promised_is_not_held() -> None:
    """Each property that a contract leaves out, or that is not shown, has its reason."""
    loose = parse_contract(
        "fit=none,constraints=none,checks-frees=no,limited=no,deterministic=no,work=none,resize=none", None
    )
    for contract, make_space, missing in (
        (loose, hide(SUBJECTS["first-fit"]), {3, 4, 5, 8, 10, 11, 15, 16, 17, 18, 19, 20}),
        (
            parse_contract("fit=first,coalescing=deferred"),
            hide(SUBJECTS["first-fit"]),
            {3, 4, 5, 8, 16, 17, 18, 19, 20},
        ),
        (None, SUBJECTS["first-fit"], {19, 20}),
    ):
        subject = Subject(make_space, contract)
        report = report_of(subject.declared, (), capabilities(subject), 0)
        assert {int(v.property.name[1:]) for v in report.verdicts if v.ruling is Ruling.NOT_PROMISED} == missing


def test_a_report_is_plain_data() -> None:
    """A report as a dict has every property, with the program as text where there is one."""
    report = check_space(MUTANTS[23].make_space, examples=1, checks=("defaults",), seconds=1e-6)
    data: Any = report.as_dict()
    assert data["conforms"] is True
    assert {*data["not_run"]} == {"small programs", "defaults", "1 random programs"}
    found = Findings((Verdict(Property.P1, Ruling.BROKEN, "seen", _counterexample()),))
    shown: Any = report_of(parse_contract(""), (found,), frozenset(), 0).as_dict()
    assert shown["properties"]["P1"]["program"].startswith("coalloc check-program 1\n")
    assert shown["properties"]["P2"]["program"] is None


def _counterexample() -> Any:
    from coalloc.testing import Counterexample

    return Counterexample(FREES, Breach(Property.P1, "seen"))


def test_a_check_of_nothing_is_refused_or_told() -> None:
    """The number of examples and the names of checks are looked at; a factory that raises breaks P14 and no more."""
    with pytest.raises(InvalidRequestError, match="examples"):
        check_space(CoalescingSpace, examples=0)
    with pytest.raises(InvalidRequestError, match="no directed check"):
        check_space(CoalescingSpace, examples=1, checks=("no-such-check",))
    report = check_space(lambda *_, **__: 1 // 0, parse_contract(""))
    assert [v.property for v in report.verdicts if v.ruling is Ruling.BROKEN] == [Property.P14]
    assert capabilities(Subject(lambda *_, **__: 1 // 0)) == frozenset()
    late = check_space(CoalescingSpace, examples=1, seconds=1e-6)
    assert "nonsense" in late.unrun
