"""Checking: run small and random programs and directed checks, and reach one verdict for each property."""

from __future__ import annotations

import enum
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import attrs

from coalloc.contract import Capability, Coalescing, Contract, Resize
from coalloc.contract_text import describe_contract
from coalloc.errors import InvalidRequestError
from coalloc.testing.checks import Check, CheckFailed, NotPromised, Suspicion
from coalloc.testing.directed import CHECKS
from coalloc.testing.minimise import minimise
from coalloc.testing.programs import Counterexample, random_program, run_program
from coalloc.testing.properties import Breach, Property
from coalloc.testing.small import search_small
from coalloc.testing.steps import CheckProgram, dumps
from coalloc.testing.subject import MakeSpace, Subject, capabilities

__all__ = [
    "NO_TIME",
    "Findings",
    "Piece",
    "Report",
    "Ruling",
    "Verdict",
    "breach_in",
    "cannot_be_made",
    "check_space",
    "first_breach",
    "pieces_of",
    "report_of",
    "run_piece",
]

UNJUDGED: Final[Mapping[Capability, str]] = {
    Capability.SIZE_OF: "no size of a live buffer is compared",
    Capability.RESIZE: "P18 is not judged",
    Capability.XALLOC: "P3 is not judged",
    Capability.RECLAIM: "it may keep its arenas",
    Capability.SEGMENTS: "P5 is not judged",
    Capability.STATS: "P16 is not judged",
}
"""The checks that are left out for an allocator that lacks a capability."""
NO_TIME: Final = "there was no time"
"""The note on a property for which nothing was tried."""
_WIDTH: Final = 80
_LONG_CHECKS: Final = ("scale-up", "memory", "sources", "thousands")
"""The directed checks that take about as long as all others together."""
_PROGRAM_SEEDS: Final = 1_000_000
"""The distance between the seeds of two runs, so that their programs differ."""
_SHORT: Final = 60
_LONG: Final = 500
_EVERY_LONG: Final = 20
"""One program in so many is long, since some bugs need many buffers or many calls."""
_DEEP_EVERY: Final = 10
"""In a long program, everything that can be seen is compared once in so many steps."""
_EVERY_DEEP: Final = 4
"""In one short program of so many, everything is compared at every step; in the others once in so many steps."""


class Ruling(enum.Enum):
    """The outcome of checking a property."""

    HELD = "held"
    BROKEN = "broken"
    SUSPECT = "suspect"
    """Something points at a fault and does not prove it: work that is measured in time."""
    NOT_REPRODUCIBLE = "not reproducible"
    """It was broken once, and is kept when the same program runs in a fresh process."""
    NOT_PROMISED = "not promised"
    NOT_CHECKED = "not checked"


@attrs.frozen
class Verdict:
    """The outcome for one property.

    Args:
        property: The property.
        ruling: The outcome.
        note: The reason or the evidence.
        found: The shortest program that breaks it.
        check: The directed check that found it; empty if a random program did.
        raw: The program as it was found, before it was shortened.
    """

    property: Property
    ruling: Ruling
    note: str = ""
    found: Counterexample | None = None
    check: str = ""
    raw: CheckProgram | None = None


@attrs.frozen
class Report:
    """The result of a check.

    Args:
        contract: The contract that was checked.
        verdicts: One for each property, in the order of the properties.
        programs: How many small and random programs were run.
        operations: How many steps these programs had.
        seed: The seed that the programs were drawn from.
        can: What the allocator can do beside alloc and free.
        unrun: The directed checks, and the number of random programs, for which there was no time.
        interrupted: Whether the check was interrupted, so that it holds only what was found until then.
    """

    contract: Contract
    verdicts: tuple[Verdict, ...]
    programs: int
    operations: int
    seed: int
    can: frozenset[Capability] = frozenset()
    unrun: tuple[str, ...] = ()
    interrupted: bool = False

    @property
    def capabilities(self) -> str:
        """Text: what the allocator can do beside alloc and free, what it cannot do, and what is not checked for that reason."""
        has = ", ".join(item.value for item in Capability if item in self.can) or "alloc and free only"
        lacks = ", ".join(f"{name.value} ({why})" for name, why in UNJUDGED.items() if name not in self.can)
        lines = [f"has {has}", *([f"lacks {lacks}"] if lacks else [])]
        return "\n".join(textwrap.fill(line, _WIDTH, subsequent_indent="    ") for line in lines)

    @property
    def conforms(self) -> bool:
        """Whether no property is broken."""
        return all(verdict.ruling is not Ruling.BROKEN for verdict in self.verdicts)

    def as_dict(self) -> dict[str, object]:
        """Return the report as plain data, for JSON."""
        return {
            "conforms": self.conforms,
            "contract": describe_contract(self.contract),
            "programs": self.programs,
            "operations": self.operations,
            "seed": self.seed,
            "capabilities": sorted(item.value for item in self.can),
            "not_run": list(self.unrun),
            "interrupted": self.interrupted,
            "properties": {
                verdict.property.name: {
                    "title": verdict.property.value,
                    "state": verdict.ruling.value,
                    "note": verdict.note,
                    "program": dumps(verdict.found.program) if verdict.found is not None else None,
                }
                for verdict in self.verdicts
            },
        }


@attrs.frozen
class Piece:
    """A part of a check that can run by itself: random programs by numbers, checks by names, and the small programs."""

    first: int = 0
    last: int = 0
    checks: tuple[str, ...] = ()
    small: bool = False


@attrs.frozen
class Findings:
    """What a piece of a check found.

    Args:
        broken: A verdict for each property that is broken, in the order in which they were found.
        suspect: A verdict for each property of which something is suspected.
        held: Property and name of each directed check that found nothing.
        programs: How many small and random programs were run.
        operations: How many steps they had.
        unrun: What there was no time for.
        interrupted: Whether it was interrupted.
    """

    broken: tuple[Verdict, ...] = ()
    suspect: tuple[Verdict, ...] = ()
    held: tuple[tuple[Property, str], ...] = ()
    programs: int = 0
    operations: int = 0
    unrun: tuple[str, ...] = ()
    interrupted: bool = False


def pieces_of(examples: int, *, thorough: bool) -> tuple[Piece, ...]:
    """Cut a check into pieces that take about as long as each other; they do not depend on who runs them.

    The random programs come last: what the small programs or a directed check find is the same for every seed.
    """
    names = [check.name for check in CHECKS if thorough or not check.thorough]
    long = tuple(name for name in names if name in _LONG_CHECKS)
    return (
        Piece(checks=tuple(name for name in names if name not in long), small=True),
        Piece(checks=long),
        Piece(0, examples // 2),
        Piece(examples // 2, examples),
    )


def check_space(
    make_space: MakeSpace,
    contract: Contract | None = None,
    *,
    examples: int = 120,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    subject: Subject | None = None,
    thorough: bool = False,
    seconds: float = 0,
    checks: Sequence[str] | None = None,
) -> Report:
    """Check that an allocator keeps the contract that it declares.

    Args:
        make_space: The factory: ``make_space(source, kva_limit=...)``.
        contract: The contract to check; None takes the one that the allocator declares.
        examples: How many random programs to run, >= 1.
        seed: The seed that the programs are drawn from.
        progress: Called with the number of programs that have been run.
        subject: A subject to use instead of a default one, for example with callbacks.
        thorough: Whether to run the checks that take long, too.
        seconds: Begin nothing more after so many seconds; 0 sets no bound.
        checks: The names of the directed checks to run; None runs all.

    Returns:
        The verdicts; that of a broken property has the shrunk program.

    Raises:
        InvalidRequestError: If ``examples`` is not an int >= 1, there is no contract, or no check of a name.
    """
    if type(examples) is not int or examples < 1:
        raise InvalidRequestError("examples", examples, "must be an int >= 1")
    under_test = subject or Subject(make_space, contract)
    try:
        declared = under_test.declared
    except Breach as breach:
        return cannot_be_made(contract, breach, seed)
    names = tuple(check.name for check in CHECKS if thorough or not check.thorough)
    if checks is not None:
        unknown = sorted({*checks} - {check.name for check in CHECKS})
        if unknown:
            raise InvalidRequestError("checks", unknown[0], "is the name of no directed check")
        names = tuple(checks)
    pieces = Piece(checks=names, small=True), Piece(0, examples)
    found = []
    began = time.monotonic()
    for piece in pieces:
        left = max(seconds - (time.monotonic() - began), 1e-9) if seconds else 0
        found.append(run_piece(under_test, piece, seed=seed, seconds=left, progress=progress))
    return report_of(declared, found, capabilities(under_test), seed)


def cannot_be_made(contract: Contract | None, breach: Breach, seed: int) -> Report:
    """Return the report on an allocator whose factory raises."""
    verdicts = tuple(
        Verdict(item, Ruling.BROKEN, breach.message)
        if item is breach.property
        else Verdict(item, Ruling.NOT_CHECKED, "the allocator cannot be made")
        for item in Property
    )
    return Report(contract or Contract(fit=None), verdicts, 0, 0, seed)


def run_piece(
    subject: Subject,
    piece: Piece,
    *,
    seed: int = 0,
    seconds: float = 0,
    progress: Callable[[int], None] | None = None,
    tell: Callable[[Verdict], None] = lambda _verdict: None,
) -> Findings:
    """Run a piece of a check; begin nothing more after so many seconds, if there is a bound; tell each verdict at once."""
    began = time.monotonic()

    def late() -> bool:
        return seconds > 0 and time.monotonic() - began > seconds

    broken: dict[Property, Verdict] = {}
    suspect: dict[Property, Verdict] = {}
    held: list[tuple[Property, str]] = []
    unrun: list[str] = []
    programs = operations = told = 0

    def tell_new() -> None:
        nonlocal told
        for verdict in list(broken.values())[told:]:
            tell(verdict)
        told = len(broken)

    if piece.small:
        search = search_small(subject, late=late)
        programs, operations = search.programs, search.operations
        for item, least in search.found.items():
            broken[item] = Verdict(item, Ruling.BROKEN, least.breach.message, least)
        tell_new()
        if not search.complete:
            unrun.append("small programs")
    for number in range(piece.first, piece.last):
        if late():
            unrun.append(f"{piece.last - number} random programs")
            break
        if progress is not None:
            progress(number - piece.first)
        programs += 1
        operations += _run_random(subject, seed * _PROGRAM_SEEDS + number, number, broken)
        tell_new()
    for check in CHECKS:
        if check.name not in piece.checks:
            continue
        if late():
            unrun.append(check.name)
            continue
        try:
            met = breach_in(check, subject)
        except NotPromised:
            continue
        if met is None:
            held.append((check.property, check.name))
        elif isinstance(met, Suspicion):
            suspect.setdefault(met.property, Verdict(met.property, Ruling.SUSPECT, met.message, check=check.name))
        elif met.property not in broken:
            verdict = _verdict_of(subject, check, met)
            if isinstance(met, CheckFailed) and met.suspect:
                suspect.setdefault(verdict.property, attrs.evolve(verdict, ruling=Ruling.SUSPECT))
            else:
                broken.setdefault(verdict.property, verdict)
                tell_new()
    return Findings(tuple(broken.values()), tuple(suspect.values()), tuple(held), programs, operations, tuple(unrun))


def _run_random(subject: Subject, seed: int, number: int, broken: dict[Property, Verdict]) -> int:
    """Run a random program, note what it breaks, and return how many steps it had."""
    long = number % _EVERY_LONG == _EVERY_LONG - 1
    seldom = _DEEP_EVERY if long else 1 if number % _EVERY_DEEP == 0 else _EVERY_DEEP
    watched = attrs.evolve(subject, deep_every=seldom)
    steps = _LONG if long else _SHORT
    judge, found = random_program(watched, seed, steps=steps)
    operations = len(judge.steps) if judge is not None else 0
    if found is None:
        return operations
    exact = random_program(subject, seed, steps=steps)[1] if seldom > 1 else None
    for seen in (exact, found) if exact is not None else (found,):
        if seen.breach.property not in broken:
            least = minimise(subject, seen)
            again = run_program(subject, least.program)
            # a breach that was noticed late may be a different one when noticed at once
            if seldom == 1 or (again is not None and again.property is least.breach.property):
                item, note = least.breach.property, least.breach.message
                broken[item] = Verdict(item, Ruling.BROKEN, note, least, raw=seen.program)
    return operations


def _verdict_of(subject: Subject, check: Check, met: Breach) -> Verdict:
    """Return the verdict on what a directed check found, with its program as short as it can be."""
    if not isinstance(met, CheckFailed):
        return Verdict(met.property, Ruling.BROKEN, met.message, check=check.name)
    found = Counterexample(met.program, Breach(met.property, met.message))
    least = minimise(subject, found, run=met.again)
    at_once = run_program(subject, least.program)  # what was noticed late may be another breach when noticed at once
    if at_once is not None and at_once.property is not met.property:
        least = minimise(subject, Counterexample(least.program, at_once))
        return Verdict(at_once.property, Ruling.BROKEN, least.breach.message, least, check.name, met.program)
    return Verdict(met.property, Ruling.BROKEN, least.breach.message, least, check.name, met.program)


_BRIEF: Final = 32
"""Programs of so many steps or fewer are all short."""


def _length(verdict: Verdict) -> int:
    """Return how long the program of a verdict is, by which verdicts on a property are compared."""
    return max(len(verdict.found.program.steps), _BRIEF) if verdict.found is not None else _BRIEF


def report_of(contract: Contract, findings: Sequence[Findings], can: frozenset[Capability], seed: int) -> Report:
    """Put the findings of all pieces together; of verdicts on a property the first counts, or the shorter if one is long."""
    broken: dict[Property, Verdict] = {}
    suspect: dict[Property, Verdict] = {}
    notes: dict[Property, list[str]] = {}
    for part in findings:
        for verdict in part.broken:
            before = broken.get(verdict.property)
            if before is None or _length(verdict) < _length(before):
                broken[verdict.property] = verdict
        for verdict in part.suspect:
            suspect.setdefault(verdict.property, verdict)
    order = {check.name: number for number, check in enumerate(CHECKS)}
    for item, name in sorted((held for part in findings for held in part.held), key=lambda held: order[held[1]]):
        notes.setdefault(item, []).append(name)
    tried = bool(notes) or any(part.programs for part in findings)
    return Report(
        contract,
        _verdicts(can, contract, suspect | broken, notes, tried=tried),
        sum(part.programs for part in findings),
        sum(part.operations for part in findings),
        seed,
        can,
        tuple(name for part in findings for name in part.unrun),
        any(part.interrupted for part in findings),
    )


def breach_in(check: Check, subject: Subject) -> Breach | None:
    """Run a directed check, and return what it finds.

    Raises:
        NotPromised: If the check does not apply.
    """
    try:
        check.run(subject)
    except Breach as breach:
        return breach
    except NotPromised:
        raise
    except Exception as error:  # the allocator failed in a check without a judge
        if _is_ours(error):
            raise
        return Breach(Property.P7, f"in the check {check.name} a call raised {type(error).__name__}: {error}")
    return None


def first_breach(subject: Subject, name: str = "") -> tuple[Check, Breach] | None:
    """Run the directed checks that are not thorough, or the one of a name, until one finds a breach."""
    for check in CHECKS:
        if check.name == name or not (name or check.thorough):
            with suppress(NotPromised):
                breach = breach_in(check, subject)
                if breach is not None and not (isinstance(breach, CheckFailed) and breach.suspect):
                    return check, breach
    return None


def _is_ours(error: Exception) -> bool:
    """Tell whether an exception comes from the kit itself, and not from the allocator or the source that it was given."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file = Path(trace.tb_frame.f_code.co_filename) if trace is not None else Path()
    kit = Path(__file__).parent
    return file.is_relative_to(kit) and file.name != "source.py" and file.parent.name != "mutants"


def _verdicts(
    can: frozenset[Capability],
    contract: Contract,
    reached: Mapping[Property, Verdict],
    notes: Mapping[Property, list[str]],
    *,
    tried: bool,
) -> tuple[Verdict, ...]:
    excuses = _not_promised(can, contract)

    def verdict_on(item: Property) -> Verdict:
        if item in reached:
            return reached[item]
        if item in excuses:
            return Verdict(item, Ruling.NOT_PROMISED, excuses[item])
        if not tried:
            return Verdict(item, Ruling.NOT_CHECKED, NO_TIME)
        return Verdict(item, Ruling.HELD, ", ".join(notes.get(item, [])))

    return tuple(verdict_on(item) for item in Property)


def _not_promised(can: frozenset[Capability], contract: Contract) -> dict[Property, str]:
    """Return the properties that an allocator does not promise or show, each with the reason."""
    shows_segments, shows_stats = Capability.SEGMENTS in can, Capability.STATS in can
    excuses = {
        Property.P19: "a space has no sleepers",
        Property.P20: "a space is called by one thread",
    }
    if not shows_segments and not shows_stats:
        excuses[Property.P4] = "it has neither segments() nor stats()"
    if not shows_segments:
        excuses[Property.P5] = "it has no segments()"
    if not contract.constraints:
        excuses[Property.P3] = "no constraints are declared"
    if contract.fit is None:
        excuses[Property.P8] = "no fit is declared"
    elif contract.coalescing is Coalescing.DEFERRED and not shows_segments:
        excuses[Property.P8] = "it does not show what it caches"
    if not contract.checks_frees:
        excuses[Property.P10] = "frees are not checked"
    if not contract.limited:
        excuses[Property.P11] = "no limit is kept"
    if not shows_stats:
        excuses[Property.P16] = "it has no stats()"
    if not contract.deterministic:
        excuses[Property.P15] = "equal programs may give other addresses"
    if contract.work is None:
        excuses[Property.P17] = "no growth is declared"
    if contract.resize is Resize.NONE:
        excuses[Property.P18] = "it does not resize"
    return excuses
