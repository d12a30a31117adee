"""Check, soak, explore, replay and mutate a TARGET: each piece of the work in a process of its own, on any executor.

Every piece is a function of this module with arguments that can be pickled.  So a pool of threads, of processes or of other
machines may run them.  The results do not depend on it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from typing import Final

import attrs

from coalloc.contract import Contract
from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.testing.c_form import Harness, as_c
from coalloc.testing.check import (
    NO_TIME,
    Findings,
    Piece,
    Report,
    Ruling,
    Verdict,
    breach_in,
    cannot_be_made,
    pieces_of,
    report_of,
    run_piece,
)
from coalloc.testing.checks import NotPromised
from coalloc.testing.directed import CHECKS, run_thoroughly
from coalloc.testing.explore import Exploration, concerns, explore, explore_pipes
from coalloc.testing.isolate import Hung, Reporter, Stopped, in_order, run_in_child, smallest
from coalloc.testing.matrix import Kill, kill
from coalloc.testing.minimise import minimise
from coalloc.testing.mutants import MUTANTS
from coalloc.testing.programs import Counterexample
from coalloc.testing.properties import Breach, Property
from coalloc.testing.python_form import as_python
from coalloc.testing.soak import SoakResult, soak
from coalloc.testing.steps import CheckProgram, Step, World
from coalloc.testing.subject import MakeSpace, Subject, capabilities, make

__all__ = [
    "FORMS",
    "check_target",
    "code_of",
    "declared_by",
    "explore_target",
    "kill_targets",
    "python_of",
    "replay_target",
    "soak_target",
]

# --- what an allocator declares ------------------------------------------------------------------------------


def _declared(make_space: MakeSpace, _report: Reporter) -> Contract | None:
    contract = getattr(make(make_space, World())[1], "contract", None)
    if contract is not None and not isinstance(contract, Contract):
        raise InvalidRequestError("contract", repr(contract), "what the allocator declares is no coalloc.Contract")
    return contract


def declared_by(target: str, *, timeout: float = 10.0) -> Contract | None:
    """Return the contract that an allocator declares; None if it declares none or cannot be made.

    Raises:
        InvalidRequestError: If there is no such target.
    """
    try:
        result = run_in_child(_declared, target, {}, timeout=timeout)
    except Breach:
        return None
    return result if isinstance(result, Contract) else None


# --- mutants ---------------------------------------------------------------------------------------------------


def _kill(_make_space: MakeSpace, _report: Reporter, *, number: int, hidden: bool) -> tuple[object, ...]:
    killed = kill(MUTANTS[number], hidden=hidden)
    return killed.properties, killed.operations, killed.program, killed.by


def _kill_one(number: int, hidden: bool, timeout: float) -> Kill:
    result = run_in_child(_kill, f"M{number}", {"number": number, "hidden": hidden}, timeout=timeout)
    if isinstance(result, Hung):
        return Kill(MUTANTS[number], (Property.P17,), None, None, "the clock")
    return Kill(MUTANTS[number], *result)


def kill_targets(
    numbers: Iterable[int], *, hidden: bool = False, timeout: float = 60.0, executor: Executor | None = None
) -> Iterator[Kill]:
    """Kill mutants, each in a process of its own; P17 kills one that does not return.

    Args:
        numbers: Which.
        hidden: Whether their segments(), stats() and violations() are hidden.
        timeout: Seconds without a sign of life until a process is terminated.
        executor: Who runs them; None runs one after another.

    Yields:
        How each was killed, in the order of the numbers.
    """
    return in_order(executor, _kill_one, ((number, hidden, timeout) for number in numbers))


# --- checking ------------------------------------------------------------------------------------------------


def _check(
    make_space: MakeSpace,
    report: Reporter,
    *,
    contract: Contract | None,
    piece: Piece,
    seed: int,
    seconds: float,
    watch: bool,
) -> Findings:
    subject = Subject(make_space, contract, on_world=report.call, on_call=report.call)
    if watch:
        subject = attrs.evolve(subject, on_world=report.world, on_step=report.step)
    return run_piece(subject, piece, seed=seed, seconds=seconds, progress=report.progress, tell=report.found)


def _check_piece(
    target: str, contract: Contract | None, piece: Piece, seed: int, seconds: float, timeout: float
) -> Findings:
    """Run a piece of a check in a child; what does not return breaks P17; if it is interrupted, return what was found."""
    arguments = {"contract": contract, "piece": piece, "seed": seed, "seconds": seconds}
    heard: list[Verdict] = []
    try:
        result = run_in_child(_check, target, arguments | {"watch": False}, timeout=timeout, heard=heard.append)
    except (Stopped, KeyboardInterrupt):
        return Findings(tuple(heard), unrun=_names_of(piece), interrupted=True)
    if isinstance(result, Findings):
        return result
    again = run_in_child(_check, target, arguments | {"watch": True}, timeout=timeout)  # now each step is told
    found = smallest(target, again if isinstance(again, Hung) else result, contract, timeout)
    return Findings((Verdict(Property.P17, Ruling.BROKEN, found.breach.message, found),), unrun=_names_of(piece))


def _names_of(piece: Piece) -> tuple[str, ...]:
    """Name what a piece consists of."""
    small = ["small programs"] if piece.small else []
    some = [f"{piece.last - piece.first} random programs"] if piece.last > piece.first else []
    return (*small, *piece.checks, *some)


def _about(make_space: MakeSpace, report: Reporter, *, contract: Contract | None, seed: int) -> object:
    """Return the contract and the capabilities of an allocator, or a report if it cannot be made."""
    subject = Subject(make_space, contract, on_world=report.world)
    try:
        return subject.declared, capabilities(subject)
    except Breach as breach:
        return cannot_be_made(contract, breach, seed)


def check_target(
    target: str,
    *,
    contract: Contract | None = None,
    examples: int = 120,
    seed: int = 0,
    timeout: float = 10.0,
    thorough: bool = False,
    seconds: float = 0,
    progress: Callable[[int], None] | None = None,
    executor: Executor | None = None,
) -> Report:
    """Check an allocator in processes of its own, and show every verdict again in a fresh one.

    Args:
        target: ``package.module:factory``, ``file.py:factory`` or the name of a subject.
        contract: The contract to check; None takes the one that the allocator declares.
        examples: How many random programs to run.
        seed: The seed that the programs are drawn from.
        timeout: Seconds without a sign of life until a process is terminated.
        thorough: Whether to run the checks that take long, too.
        seconds: A process begins nothing more after so many seconds; 0 sets no bound.
        progress: Called with the number of pieces that are done.
        executor: Who runs the pieces; None runs one after another.

    Returns:
        The report; if the check is interrupted (KeyboardInterrupt), the report on what was found until then, which says so.

    Raises:
        InvalidRequestError: If there is no such target, or no contract.
    """
    about = run_in_child(_about, target, {"contract": contract, "seed": seed}, timeout=timeout)
    if isinstance(about, Report):
        return about
    if isinstance(about, Hung):
        verdict = Verdict(
            Property.P17, Ruling.BROKEN, about.breach.message, Counterexample(about.program, about.breach)
        )
        unmade = cannot_be_made(contract, about.breach, seed)
        return attrs.evolve(
            unmade, verdicts=tuple(verdict if v.property is Property.P17 else v for v in unmade.verdicts)
        )
    declared, can = about
    pieces = pieces_of(examples, thorough=thorough)
    findings: list[Findings] = []
    interrupted = False
    try:
        for found in in_order(
            executor, _check_piece, ((target, contract, piece, seed, seconds, timeout) for piece in pieces)
        ):
            findings.append(found)
            if progress is not None:
                progress(len(findings))
            if _hangs(found) or (found.interrupted and executor is None):
                break  # the other pieces would hang, too
    except KeyboardInterrupt:
        interrupted = True
    report = report_of(declared, findings, can, seed)
    report = attrs.evolve(report, interrupted=interrupted or report.interrupted)
    if report.interrupted:
        return _as_far_as_known(report)
    broken = [verdict for verdict in report.verdicts if verdict.ruling is Ruling.BROKEN]
    try:
        shown = in_order(executor, _show_again, ((target, contract, verdict, timeout) for verdict in broken))
        for verdict, again in zip(broken, shown, strict=True):
            others = (other for found in findings for other in found.broken if other.property is verdict.property)
            if again.ruling is Ruling.NOT_REPRODUCIBLE:  # it may need what earlier programs left; another may not
                tried = (_show_again(target, contract, other, timeout) for other in others if other != verdict)
                again = next((other for other in tried if other.ruling is Ruling.BROKEN), again)
            report = _replace(report, verdict, again)
    except KeyboardInterrupt:
        return _as_far_as_known(attrs.evolve(report, interrupted=True))
    if any(map(_hangs, findings)):
        report = attrs.evolve(
            report,
            verdicts=tuple(
                attrs.evolve(v, ruling=Ruling.NOT_CHECKED, note="the allocator did not come back")
                if v.ruling is Ruling.HELD or v.note == NO_TIME
                else v
                for v in report.verdicts
            ),
        )
    return report


def _as_far_as_known(report: Report) -> Report:
    """Return a report without a word on properties of which not everything was tried."""
    verdicts = (
        attrs.evolve(v, ruling=Ruling.NOT_CHECKED, note="interrupted") if v.ruling is Ruling.HELD else v
        for v in report.verdicts
    )
    return attrs.evolve(report, verdicts=tuple(verdicts))


def _hangs(found: Findings) -> bool:
    return bool(found.unrun) and any(verdict.property is Property.P17 for verdict in found.broken)


def _replace(report: Report, verdict: Verdict, again: Verdict) -> Report:
    """Put a verdict as it was shown again in the place of the first; it may be on another property."""
    verdicts = {v.property: v for v in report.verdicts}
    if again.property is not verdict.property:
        verdicts[verdict.property] = Verdict(verdict.property, Ruling.NOT_CHECKED, f"see {again.property.name}")
        if verdicts[again.property].ruling is Ruling.BROKEN:
            return attrs.evolve(report, verdicts=tuple(verdicts.values()))
    verdicts[again.property] = again
    return attrs.evolve(report, verdicts=tuple(verdicts.values()))


# --- showing a verdict again -----------------------------------------------------------------------------------


class _OutOfTimeError(Exception):
    """Raised out of a program that takes too long; nothing of the kit catches it."""


def _replay(
    make_space: MakeSpace, report: Reporter, *, contract: Contract | None, program: CheckProgram, seconds: float = 0
) -> Counterexample | None:
    done, end = 0, time.monotonic() + seconds

    def on_step(step: Step) -> None:
        nonlocal done
        if seconds and time.monotonic() > end:
            raise _OutOfTimeError
        done += 1
        report.step(step)

    subject = Subject(make_space, contract, on_world=report.world, on_step=on_step)
    try:
        breach = run_thoroughly(subject, program)
    except _OutOfTimeError:
        total = len(program.steps)
        if done < total:
            what = f"{done:,} of its {total:,} steps"
        else:
            what = "it once, and not again, beside another, shifted or scaled"
        raise CoallocError(f"after {seconds:g} s nothing is broken by {what}; --seconds allows more") from None
    return Counterexample(program, breach) if breach is not None else None


def _rerun(make_space: MakeSpace, report: Reporter, *, contract: Contract | None, name: str) -> Breach | None:
    """Run one directed check."""
    subject = Subject(make_space, contract, on_world=report.world, on_step=report.step, on_call=report.call)
    for check in CHECKS:
        if check.name == name:
            try:
                found = breach_in(check, subject)
            except NotPromised:
                return None
            return None if found is None else Breach(found.property, found.message)
    return None


_TRIES: Final = 8
"""How often a verdict on an allocator that is not deterministic is tried to be shown again."""
_FRESH: Final = 60
"""The most processes that are used to shorten a program that shows its breach in a fresh process only."""


def _show_again(target: str, contract: Contract | None, verdict: Verdict, timeout: float) -> Verdict:
    """Show a verdict again in a fresh process, by its program or by its check; else say that this failed."""
    run = functools.partial(_fresh_breach, target, contract, timeout)
    if verdict.found is None:
        again = run_in_child(_rerun, target, {"contract": contract, "name": verdict.check}, timeout=timeout)
        if isinstance(again, Hung | Breach) or not verdict.check:
            return verdict
        return attrs.evolve(verdict, ruling=Ruling.NOT_REPRODUCIBLE)
    for _ in range(_TRIES if contract is None or not contract.deterministic else 1):
        breach = run(verdict.found.program)
        if breach is not None and breach.property is verdict.property:
            return verdict
    for program in (verdict.found.program, verdict.raw):
        breach = run(program) if program is not None else None
        if program is not None and breach is not None:
            least = minimise(None, Counterexample(program, breach), run=run, most=_FRESH)
            return Verdict(breach.property, Ruling.BROKEN, least.breach.message, least)
    if verdict.check:  # the check looks at more than the program
        again = run_in_child(_rerun, target, {"contract": contract, "name": verdict.check}, timeout=timeout)
        if isinstance(again, Breach) and again.property is verdict.property:
            return attrs.evolve(verdict, found=None)
    return attrs.evolve(verdict, ruling=Ruling.NOT_REPRODUCIBLE)


def _fresh_breach(target: str, contract: Contract | None, timeout: float, program: CheckProgram) -> Breach | None:
    found = replay_target(target, program, contract=contract, timeout=timeout)
    return found.breach if found is not None else None


def replay_target(
    target: str, program: CheckProgram, *, contract: Contract | None = None, timeout: float = 10.0, seconds: float = 0
) -> Counterexample | None:
    """Run one program on an allocator in a process of its own, and return what it breaks.

    Args:
        target: As for :func:`check_target`.
        program: The program.
        contract: As for :func:`check_target`.
        timeout: Seconds without a sign of life until the process is terminated.
        seconds: The most seconds that the whole may take; 0 sets no bound.

    Raises:
        InvalidRequestError: As :func:`check_target`.
        CoallocError: If it took longer; the message says how much was run.
    """
    arguments: dict[str, object] = {"contract": contract, "program": program, "seconds": seconds}
    result = run_in_child(_replay, target, arguments, timeout=timeout)
    return Counterexample(result.program, result.breach) if isinstance(result, Hung) else result


def _as_code(
    make_space: MakeSpace,
    report: Reporter,
    *,
    target: str,
    contract: Contract | None,
    found: Counterexample,
    form: str,
) -> str:
    if form == "python":
        return as_python(target, Subject(make_space, contract, on_step=report.step), found)
    return as_c(target, Subject(make_space, contract, on_world=report.world), found, Harness(form))


FORMS: Final = ("python", *(harness.value for harness in Harness))
"""The forms in which a program can be written out as code."""


def code_of(
    target: str,
    found: Counterexample,
    *,
    contract: Contract | None = None,
    form: str = "python",
    timeout: float = 10.0,
) -> str:
    """Return a program as code, after running it in a process of its own to see which calls are refused.

    Args:
        target: As for :func:`check_target`.
        found: The program, and what it breaks.
        contract: As for :func:`check_target`.
        form: One of FORMS.
        timeout: Seconds without a sign of life until the process is terminated.

    Raises:
        InvalidRequestError: As :func:`check_target`, and as :func:`~coalloc.testing.c_form.as_c`.
    """
    if form not in FORMS:
        raise InvalidRequestError("--emit", form, f"must be one of {', '.join(FORMS)}")
    arguments: dict[str, object] = {"target": target, "contract": contract, "found": found, "form": form}
    text = run_in_child(_as_code, target, arguments, timeout=timeout)
    return text if isinstance(text, str) else f"# {found.breach}\n"


def python_of(target: str, found: Counterexample, *, contract: Contract | None = None, timeout: float = 10.0) -> str:
    """Return a program as Python code: :func:`code_of` with its usual form."""
    return code_of(target, found, contract=contract, timeout=timeout)


# --- soaking -----------------------------------------------------------------------------------------------


def _soak(
    make_space: MakeSpace,
    report: Reporter,
    *,
    contract: Contract | None,
    seed: int,
    start: int,
    programs: int,
    watch: bool,
) -> SoakResult:
    subject = Subject(make_space, contract)
    if watch:
        subject = Subject(make_space, contract, on_world=report.world, on_step=report.step)

    def enough(n_programs: int, operations: int) -> bool:
        report.progress(n_programs, operations)
        return n_programs >= programs

    return soak(subject, seed=seed, start=start, enough=enough, tell=report.found)


def _soak_some(
    target: str, contract: Contract | None, seed: int, start: int, programs: int, timeout: float
) -> SoakResult:
    """Run some programs in a child; the one that does not return is found again and shortened."""
    done = [0, 0]
    arguments: dict[str, object] = {
        "contract": contract, "seed": seed, "start": start, "programs": programs, "watch": False,
    }  # fmt: skip

    def progress(*so_far: int) -> None:
        done[:] = so_far

    heard: list[Counterexample] = []
    try:
        result = run_in_child(_soak, target, arguments, timeout=timeout, progress=progress, heard=heard.append)
    except (Stopped, KeyboardInterrupt):
        return SoakResult(done[0], done[1], start + done[0], heard[0] if heard else None, interrupted=True)
    if isinstance(result, SoakResult):
        return result
    arguments |= {"start": start + done[0], "programs": 1, "watch": True}  # run the program that hung step by step
    again = run_in_child(_soak, target, arguments, timeout=timeout)
    found = smallest(target, again if isinstance(again, Hung) else result, contract, timeout)
    return SoakResult(done[0], done[1], start + done[0], found)


_MOST_AT_ONCE: Final = 64
"""The programs of a piece of a soak; the first pieces are shorter."""


def _soak_pieces(start: int) -> Iterator[tuple[int, int]]:
    """Yield the first program of each piece, and how many it has."""
    programs = 1
    while True:
        yield start, programs
        start += programs
        programs = min(2 * programs, _MOST_AT_ONCE)


def soak_target(
    target: str,
    *,
    contract: Contract | None = None,
    seed: int = 0,
    start: int = 0,
    enough: Callable[[int, int], bool],
    timeout: float = 30.0,
    executor: Executor | None = None,
) -> SoakResult:
    """Soak an allocator in processes of its own, some programs at a time, until a property breaks or ``enough`` is true.

    Args:
        target: As for :func:`check_target`.
        contract: The contract to check; None takes the one that the allocator declares.
        seed: The seed that the programs are drawn from.
        start: Number of the first program.
        enough: Called after each piece with the programs and operations so far.
        timeout: Seconds without a sign of life until a process is terminated.
        executor: Who runs the pieces; None runs one after another.

    Returns:
        What was found by the program with the lowest number.  Only ``enough`` may depend on who runs the pieces.  A soak
        that is interrupted (KeyboardInterrupt) says so, and where to go on; what it had found may not be shortened.

    Raises:
        InvalidRequestError: As :func:`check_target`.
    """
    programs = operations = 0
    pieces = ((target, contract, seed, first, n, timeout) for first, n in _soak_pieces(start))
    results = in_order(executor, _soak_some, pieces)
    last = SoakResult(0, 0, start)
    interrupted = False
    found = None
    try:
        for done in results:  # pragma: no branch - there are always further pieces
            found = found or done.found
            if not interrupted:
                programs += done.programs
                operations += done.operations
                last = done
            interrupted = interrupted or done.interrupted
            if not interrupted and (found is not None or enough(programs, operations)):
                break
            if interrupted and executor is None:
                break
    except KeyboardInterrupt:
        interrupted = True
    finally:
        results.close()
    return SoakResult(programs, operations, last.next_program, found, interrupted=interrupted)


# --- exploring -----------------------------------------------------------------------------------------------


def _explore(
    make_space: MakeSpace,
    report: Reporter,
    *,
    contract: Contract | None,
    pages: int,
    depth: int,
    name: str,
    merge: bool,
    watch: bool,
) -> Exploration | None:
    subject = Subject(make_space, contract)
    if name == _PIPES:
        return explore_pipes(make_space, depth=min(depth, _PIPE_DEPTH), contract=contract, progress=report.progress)
    for concern in concerns(subject, pages):
        if concern.name == name:
            if watch:
                subject = attrs.evolve(subject, on_world=report.world, on_step=report.step)
            else:
                subject = attrs.evolve(subject, on_world=report.call)
            return explore(subject, concern, depth=depth, merge=merge, progress=report.progress)
    return None


_PIPES: Final = "pipe pair"
_PIPE_DEPTH: Final = 6


_PIPES_NEED: Final = ("contract", "resize", "size_of", "touch", "discard")


def _names(make_space: MakeSpace, _report: Reporter, *, contract: Contract | None, pages: int) -> list[str]:
    names = [concern.name for concern in concerns(Subject(make_space, contract), pages)]
    space = make(make_space, World())[1]
    return [*names, _PIPES] if all(getattr(space, name, None) is not None for name in _PIPES_NEED) else names


def _explore_one(
    target: str, contract: Contract | None, pages: int, depth: int, name: str, merge: bool, timeout: float
) -> Exploration:
    arguments: dict[str, object] = {
        "contract": contract, "pages": pages, "depth": depth, "name": name, "merge": merge,
    }  # fmt: skip
    result = run_in_child(_explore, target, arguments | {"watch": False}, timeout=timeout)
    if isinstance(result, Hung):
        again = run_in_child(_explore, target, arguments | {"watch": True}, timeout=timeout)  # now each step is told
        found = smallest(target, again if isinstance(again, Hung) else result, contract, timeout)
        return Exploration(name, pages, depth, 0, 0, found)
    return result  # type: ignore[no-any-return]


def explore_target(
    target: str,
    *,
    contract: Contract | None = None,
    pages: int = 6,
    depth: int = 7,
    merge: bool = True,
    timeout: float = 60.0,
    on_done: Callable[[Exploration], None] | None = None,
    executor: Executor | None = None,
) -> list[Exploration]:
    """Explore an allocator in every configuration that suits it, each in a process of its own, until a property breaks.

    Args:
        target: As for :func:`check_target`.
        contract: The contract to check; None takes the one that the allocator declares.
        pages: Pages of the arena, >= 2.
        depth: Steps, >= 1.
        merge: Whether to continue only once from equal states.
        timeout: Seconds without a sign of life until a process is terminated.
        on_done: Called with each exploration, in the order of the configurations.
        executor: Who explores; None explores one configuration after another.

    Raises:
        InvalidRequestError: As :func:`check_target`, or if a number is out of range.
    """
    names = run_in_child(_names, target, {"contract": contract, "pages": pages}, timeout=timeout)
    if isinstance(names, Hung):
        return [Exploration("making it", pages, 0, 0, 0, Counterexample(names.program, names.breach))]
    done = []
    pieces = ((target, contract, pages, depth, name, merge, timeout) for name in names)
    for result in in_order(executor, _explore_one, pieces):
        done.append(result)
        if on_done is not None:
            on_done(result)
        if result.found is not None:
            break
    return done


def deepen_target(
    target: str,
    seconds: float,
    *,
    contract: Contract | None = None,
    merge: bool = True,
    timeout: float = 60.0,
    executor: Executor | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[int, int, list[Exploration]]]:
    """Explore with more and more pages and operations, while the next pair is expected to be done in time.

    Each pair is expected to take as many times longer than the last as that took longer than the one before, and at least twice
    as long.

    Args:
        target: As for :func:`check_target`.
        seconds: How long, about.
        contract: As for :func:`explore_target`.
        merge: Likewise.
        timeout: Likewise.
        executor: Likewise.
        clock: Tells the time in seconds.

    Yields:
        Pages, operations, and the explorations; after a counterexample nothing more.

    Raises:
        InvalidRequestError: As :func:`explore_target`.
    """
    start = before = clock()
    last, growth, depth = 0.0, 2.0, 2
    while before - start + last * growth <= seconds and depth <= 64:
        pages = max(depth - 1, 2)
        done = explore_target(
            target, contract=contract, pages=pages, depth=depth, merge=merge, timeout=timeout, executor=executor
        )
        yield pages, depth, done
        if any(exploration.found is not None for exploration in done):
            return
        now = clock()
        if last:
            growth = max((now - before) / last, 2.0)
        last, before, depth = now - before, now, depth + 1
