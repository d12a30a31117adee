"""Directed checks: what each finds in an allocator with its fault, what it lets pass, and when it does not apply."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from coalloc import CoalescingSpace, Contract, Fit
from coalloc.contract_text import parse_contract
from coalloc.testing import (
    MUTANTS,
    SUBJECTS,
    Action,
    Breach,
    CheckProgram,
    Property,
    Subject,
    loads,
    run_thoroughly,
)
from coalloc.testing.check import breach_in
from coalloc.testing.checks import CheckFailed, NotPromised
from coalloc.testing.directed import CHECKS
from coalloc.testing.hidden import hide
from coalloc.testing.mutants import Runs
from coalloc.testing.worlds import WORLDS

NAMED = {check.name: check for check in CHECKS}
SHORT = [check.name for check in CHECKS if check not in WORLDS]
HEAD = "coalloc check-program 1\n"


def find(name: str, make_space: Callable[..., Any], contract: Contract | None = None) -> Breach | None:
    """Return what a check finds."""
    return breach_in(NAMED[name], Subject(make_space, contract))


def program_of(*steps: str, setting: str = "limit=8 room=8 arena=8") -> CheckProgram:
    """Return a program."""
    return loads(HEAD + "\n".join([f"setting {setting}", *steps]) + "\n")


class OneAtATime(CoalescingSpace):
    """A space that serves one buffer at a time."""

    def alloc(self, size: int) -> int:
        """Refuse a second buffer."""
        if self.stats().allocs > self.stats().frees:
            raise MemoryError
        return super().alloc(size)


@pytest.mark.parametrize("name", SHORT)
def test_a_correct_space_passes_every_check(name: str) -> None:
    """First fit makes every promise that these checks are about, and keeps it."""
    assert find(name, SUBJECTS["first-fit"]) is None


@pytest.mark.parametrize(
    ("name", "subject", "changes", "words"),
    [
        ("resizes", "first-fit", "resize=none", "does not resize"),
        ("determinism", "first-fit", "deterministic=no", "may give other addresses"),
        ("growth", "first-fit", "work=none", "no growth is declared"),
        ("growth", "first-fit", "work=log,header=16", "do not occupy whole quanta"),
        ("shift", "per-pipe", "", "neither declared nor implied"),
        ("scale", "per-pipe", "", "neither declared nor implied"),
        ("scale", "Runs", "laws=all", "quantum cannot be set"),
        ("order-of-frees", "dragonfly", "", "coalescing is deferred"),
        ("order-of-frees", "hidden", "", r"no segments\(\)"),
        ("alloc-then-free", "per-pipe", "", "there are no holes"),
        ("alloc-then-free", "hidden", "", r"no segments\(\)"),
        ("robson", "dragonfly", "", "coalesced at once"),
        ("robson", "bare", "", "one arena of a size to choose"),
        ("fifty-percent", "vmem", "", "first and next fit"),
        ("fifty-percent", "bare", "", "one arena of a size to choose"),
        ("fifty-percent", "hidden", "", r"no segments\(\)"),
        ("hidden-work", "first-fit", "work=linear", "no growth below linear"),
        ("hidden-work", "first-fit", "max-size=4096", "cannot be so many holes"),
        ("hidden-work", "tiny", "", "cannot be so many holes"),
        ("another-process", "first-fit", "", "cannot be found again"),
        ("nonsense", "one", "fit=none,completeness=best-effort", "serves no two quanta"),
        ("gigabytes", "buddy", "", "no buffers of gigabytes"),
        ("defaults", "per-pipe", "", "no constraints are declared"),
        ("unseen", "per-pipe", "deterministic=no", "may give other addresses"),
        ("clock", "per-pipe", "deterministic=no", "may give other addresses"),
        ("another-process", "partial", "", "cannot be found again"),
    ],
)  # fmt: skip
def test_a_check_of_what_is_not_promised_does_not_apply(name: str, subject: str, changes: str, words: str) -> None:
    """A check that a contract or a space does not suit says why."""
    made: Any = {
        "hidden": hide(SUBJECTS["first-fit"]),
        "bare": lambda source, *, kva_limit: SUBJECTS["first-fit"](source, kva_limit=kva_limit),
        "tiny": lambda source, *, kva_limit: CoalescingSpace(source, kva_limit=min(kva_limit, 1 << 16)),
        "one": hide(OneAtATime, "stats"),
        "partial": MUTANTS[90].make_space,
        "Runs": Runs,
    }.get(subject, SUBJECTS.get(subject))
    contract = parse_contract(changes, Subject(made).declared) if changes else None
    with pytest.raises(NotPromised, match=words):
        find(name, made, contract)


# --- nonsense --------------------------------------------------------------------------------------------------------


class Lax(CoalescingSpace):
    """A space that deals with one kind of nonsense in a way of its own."""

    def alloc(self, size: Any) -> int:
        """Take None for a number."""
        return super().alloc(size) if size is not None else self.deal()

    def deal(self) -> int:
        """Deal with nonsense."""
        raise NotImplementedError


class Grants(Lax):
    """Nonsense is granted."""

    def deal(self) -> int:
        """Return an address."""
        return 0


class Fails(Lax):
    """Nonsense makes it fail."""


class AsksTheSource(Lax):
    """Nonsense is handed to the source."""

    def __init__(self, source: Any, **keywords: Any) -> None:
        super().__init__(source, **keywords)
        self.given = source

    def deal(self) -> int:
        """Ask for what is no number of bytes."""
        return int(self.given.map(-1))


class Contradicts(CoalescingSpace):
    """A range that ends before it begins is granted as if its end were not given."""

    def xalloc(self, size: int, *, hi: int = 2**64 - 1, **bounds: int) -> int:
        """Drop what contradicts."""
        return super().xalloc(size, **bounds) if hi < bounds.get("lo", 0) else super().xalloc(size, hi=hi, **bounds)


@pytest.mark.parametrize(
    ("make_space", "words"),
    [
        (Grants, "alloc(None) was accepted, and means nothing"),
        (Fails, "alloc(None) raised NotImplementedError: "),
        (AsksTheSource, "the source is asked to map -1 bytes"),
        (Contradicts, "xalloc(8192, lo=16384, hi=8192) was accepted, and means nothing"),
    ],
)
def test_nonsense_has_to_be_refused(make_space: Callable[..., Any], words: str) -> None:
    """What is granted, what fails in another way and what misuses the source is told from what is refused."""
    breach = find("nonsense", make_space)
    assert breach is not None
    assert breach.message == words.rstrip()


def test_nonsense_is_asked_for_only_where_sense_is_promised() -> None:
    """A space that promises no constraint, no resize and no checked frees is asked for less."""
    calls: list[str] = []

    class Recorded(CoalescingSpace):
        def resize(self, base: int, size: int) -> int:
            calls.append("resize")
            return super().resize(base, size)

        def xalloc(self, size: int, **bounds: int) -> int:
            calls.append("xalloc")
            return super().xalloc(size, **bounds)

    declared = Subject(Recorded).declared
    for changes in ("constraints=none,resize=none,checks-frees=no", "constraints=none,resize=none"):
        assert find("nonsense", hide(Recorded, "size_of"), parse_contract(changes, declared)) is None
    assert calls == []
    assert find("nonsense", Recorded) is None
    assert {*calls} == {"xalloc", "resize"}


def test_a_fault_in_the_first_steps_of_a_check_has_its_program() -> None:
    """A space that fails while a check prepares its world is shown with the steps so far."""
    breach = find("order-of-frees", MUTANTS[1].make_space)
    assert isinstance(breach, CheckFailed)
    assert breach.property is Property.P5
    assert breach.program.steps[-1].action is Action.FREE


# --- determinism, growth and laws -----------------------------------------------------------------------------------


def turning(*fits: Fit, of: int = 1) -> Callable[..., CoalescingSpace]:
    """Return a factory whose spaces have one fit after another."""
    turns = itertools.count()

    def make_space(source: Any, *, kva_limit: int, arena_size: int = 1 << 16) -> CoalescingSpace:
        fit = fits[next(turns) // of % len(fits)]
        return CoalescingSpace(source, kva_limit=kva_limit, arena_size=arena_size, fit=fit)

    return make_space


ANY_FIT = parse_contract("fit=none,release=retain(1)")
COMBED = program_of("alloc 0 4096", "alloc 1 4096", "alloc 2 4096", "free 0", "alloc 3 4096")
"""A program whose last address differs between first fit and next fit."""


def test_a_program_that_shows_a_breach_only_when_run_again_is_found() -> None:
    """Run thoroughly, a program gives the same addresses three times, or breaks P15."""
    breach = run_thoroughly(Subject(turning(Fit.FIRST, Fit.NEXT), ANY_FIT), COMBED)
    assert breach is not None
    assert breach.property is Property.P15
    assert "when run again" in breach.message
    unsure = attrs.evolve(ANY_FIT, deterministic=False)
    assert run_thoroughly(Subject(turning(Fit.FIRST, Fit.NEXT), unsure), COMBED) is None


def made_in_turn(*makers: Callable[..., Any]) -> Callable[..., Any]:
    """Return a factory that uses other factories in turn, and the last one for ever."""
    left = itertools.chain(makers, itertools.repeat(makers[-1]))
    return lambda source, *, kva_limit: next(left)(source, kva_limit=kva_limit)


def test_a_run_that_breaks_off_is_no_equal_run() -> None:
    """A step that breaks a property in a later run is told; a run in which the space cannot be made has no steps."""
    good, declared = SUBJECTS["first-fit"], Subject(SUBJECTS["first-fit"]).declared
    program = program_of("alloc 0 4096")
    for makers, words in (
        ((good, MUTANTS[67].make_space), "alloc 0 4096 gave 0x0, and a breach when run again"),
        ((MUTANTS[67].make_space, good), "alloc 0 4096 gave a breach, and 0x0 when run again"),
    ):
        breach = run_thoroughly(Subject(made_in_turn(good, good, *makers), declared), program)
        assert breach is not None
        assert breach.message == words
    unmade = run_thoroughly(Subject(made_in_turn(good, good, lambda *_, **__: 1 // 0), declared), program)
    assert unmade is not None
    assert unmade.property is Property.P14


def test_a_check_of_laws_leaves_other_faults_to_other_checks() -> None:
    """Programs that break a property by themselves are not compared with others."""
    for name in ("determinism", "shift", "beside-another", "unseen"):
        assert find(name, MUTANTS[67].make_space) is None


def test_growth_beyond_what_is_declared_is_found() -> None:
    """A search in a tree takes more than constant work, and a walk more than logarithmic."""
    declared = Subject(SUBJECTS["first-fit"]).declared
    for name, changes, words in (("first-fit", "work=constant", "constant growth"), ("M70", "work=log", "log")):
        make_space = SUBJECTS.get(name) or MUTANTS[70].make_space
        breach = find("growth", make_space, parse_contract(changes, declared))
        assert breach is not None
        assert breach.property is Property.P17
        assert words in breach.message


def test_frees_in_another_order_have_to_leave_the_same_holes() -> None:
    """A space that joins in one direction only is found where nothing is compared between."""
    subject = Subject(MUTANTS[1].make_space, deep_every=1000)
    breach = breach_in(NAMED["order-of-frees"], subject)
    assert isinstance(breach, CheckFailed)
    assert (breach.property, "frees in another order" in breach.message) == (Property.P21, True)


def test_an_alloc_and_its_free_have_to_cancel() -> None:
    """A space that loses a remainder is found where nothing is compared between."""
    subject = Subject(MUTANTS[9].make_space, deep_every=1000)
    breach = breach_in(NAMED["alloc-then-free"], subject)
    assert isinstance(breach, CheckFailed)
    assert (breach.property, "leave other segments" in breach.message) == (Property.P21, True)


def test_laws_hold_where_arenas_come_and_go() -> None:
    """In small arenas some requests have no place, and frees in another order may keep another arena."""
    for name in ("order-of-frees", "alloc-then-free"):
        assert (
            find(name, lambda source, *, kva_limit: CoalescingSpace(source, kva_limit=kva_limit, arena_size=4096))
            is None
        )


def test_holes_that_are_not_shown_break_the_fifty_percent_rule() -> None:
    """A space in whose steady state there are too few holes is found."""

    class Coy(CoalescingSpace):
        def segments(self) -> Any:
            return tuple(segment for segment in super().segments() if segment.kind.value == "busy")

    def make_space(source: Any, *, kva_limit: int, arena_size: int = 1 << 22) -> Coy:
        return Coy(source, kva_limit=kva_limit, arena_size=arena_size, fit=Fit.FIRST)

    breach = find("fifty-percent", make_space)
    assert breach is not None
    assert breach.message.startswith("0.00 holes for each live buffer")
