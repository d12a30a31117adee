"""The commands of the conformance kit: ``coalloc check``, ``coalloc soak``, ``coalloc explore``, ``coalloc mutants``."""

from __future__ import annotations

import re
import textwrap
import time
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
import typer

from coalloc.cli.common import Bar, JsonOption, SeedOption, kept_output, note, print_json
from coalloc.cli.jobs import ClusterOption, cores, on_cluster
from coalloc.cli.native import BuildDirOption, SanitizeOption, ValgrindOption, prepared
from coalloc.contract import Contract
from coalloc.contract_text import describe_contract, parse_contract
from coalloc.errors import CoallocError, InvalidRequestError, ProgramError
from coalloc.testing.check import Report, Ruling, Verdict
from coalloc.testing.explore import Exploration
from coalloc.testing.isolate import crew
from coalloc.testing.matrix import Kill, matrix_text, not_applicable_text
from coalloc.testing.mutants import MUTANTS, NOT_APPLICABLE
from coalloc.testing.on_targets import (
    FORMS,
    check_target,
    code_of,
    declared_by,
    deepen_target,
    explore_target,
    kill_targets,
    replay_target,
    soak_target,
)
from coalloc.testing.programs import Counterexample
from coalloc.testing.soak import SoakResult
from coalloc.testing.steps import CheckProgram, dumps, loads
from coalloc.testing.suggest import WEAKEST, suggest_target

__all__ = [
    "JobsOption",
    "TimeoutOption",
    "check",
    "executor_of",
    "explore",
    "indented",
    "mutants",
    "program_in",
    "require_timeout",
    "soak",
]

TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="A factory as package.module:name or file.py:name, a file such as mine.c or mine.so, "
        "a space of this library such as vmem, or a mutant such as M3.",
    ),
]
ContractOption = Annotated[
    str,
    typer.Option("--contract", help="What to hold it to, as NAME=VALUE,...; changes what it declares itself."),
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", help="Seconds without a sign of life until the allocator is taken to hang.")
]
JobsOption = Annotated[
    int,
    typer.Option("--jobs", help="Processes that run at once; 0 takes one for each core. Results do not depend on it."),
]


EmitOption = Annotated[
    str, typer.Option("--emit", help=f"The form of the program as code: {', '.join(FORMS)}; all but python for C.")
]
CodeOption = Annotated[
    Path | None, typer.Option("-o", "--output", help="Where to write that code, of the first program that is shown.")
]
_NAMES: Final = {"python": "Python", "c": "C", "kunit": "a KUnit case", "atf": "an ATF test"}


class _Code:
    """Where programs go as code: to the report, or the first of them to a file.

    Args:
        form: One of FORMS.
        file: The file; None is the report.
        as_json: Whether the report is JSON, in which there is no code.
    """

    def __init__(self, form: str, file: Path | None, *, as_json: bool) -> None:
        if form not in FORMS:
            raise InvalidRequestError("--emit", form, f"must be one of {', '.join(FORMS)}")
        if file is not None and not file.absolute().parent.is_dir():
            raise InvalidRequestError("--output", str(file), "there is no such folder")
        if as_json and form != "python" and file is None:
            raise InvalidRequestError("--emit", form, "needs a file (-o) with --json, which holds no code")
        self._form, self._file, self._as_json = form, file, as_json
        self._written = False

    @property
    def asked(self) -> bool:
        """Whether another form than the usual one, or a file, is asked for."""
        return self._form != "python" or self._file is not None

    def give(self, target: str, contract: Contract | None, found: Counterexample) -> None:
        """Print a program as code, or write it; one that cannot be so is told."""
        if self._written or (self._as_json and self._file is None):
            return
        try:
            text = code_of(target, found, contract=contract, form=self._form)
        except InvalidRequestError as error:
            note(str(error))
            return
        if self._file is None:
            print(f"\n  as {_NAMES[self._form]}:\n")
            print(indented(text), end="")
            return
        self._file.write_text(text, encoding="utf-8")
        self._written = True
        if not self._as_json:
            print(f"\n  as {_NAMES[self._form]}: {self._file}")


@attrs.frozen
class _Promise:
    """The contract of a target: as shown, and as given (None if every space that is made declares its own)."""

    shown: Contract
    given: Contract | None


def _promise(target: str, text: str, timeout: float) -> _Promise:
    """Find the contract to check a target against."""
    declared = declared_by(target, timeout=timeout)
    if declared is not None and not text:
        return _Promise(declared, None)
    if declared is None and not text:
        note("it declares no contract: only what every allocator must keep is checked; see --contract")
    given = parse_contract(text, declared)
    return _Promise(given, given)


def require_timeout(timeout: float) -> None:
    """Refuse a timeout that is no time."""
    if not 0 < timeout < 1e6:
        raise InvalidRequestError("--timeout", timeout, "must be a number of seconds > 0")


def _jobs(given: int) -> int:
    """Return how many processes may run at once."""
    if not 0 <= given <= _MOST_JOBS:
        raise InvalidRequestError("--jobs", given, f"must be in 0 .. {_MOST_JOBS}")
    return given or cores()


_MOST_JOBS = 1024


def executor_of(jobs: int, address: str) -> AbstractContextManager[Executor]:
    """Return what runs the pieces of the work: a cluster, or so many processes here."""
    n_jobs = _jobs(jobs)
    return on_cluster(address) if address else crew(n_jobs)


# --- check -------------------------------------------------------------------------------------------------


def check(
    target: TargetArgument,
    contract: ContractOption = "",
    examples: Annotated[int, typer.Option("--examples", help="Random programs to run.")] = 120,
    seed: SeedOption = 0,
    timeout: TimeoutOption = 10.0,
    sanitize: SanitizeOption = "",
    valgrind: ValgrindOption = False,
    build_dir: BuildDirOption = None,
    emit: EmitOption = "python",
    output: CodeOption = None,
    program: Annotated[
        Path | None, typer.Option("--program", help="Run this one check program, and nothing else.")
    ] = None,
    thorough: Annotated[bool, typer.Option("--thorough", help="Run the checks that take long, too.")] = False,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds",
            help="Begin nothing more after so long; 10 (--program: 6; --thorough: none); 0 is no bound.",
        ),
    ] = None,
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Look for the strongest contract that it keeps, and print it.")
    ] = False,
    jobs: JobsOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Hold an allocator to what it declares: one line for each property, and the shortest program that breaks it.

    Exit status 0 if it conforms, 1 if not.
    """
    require_timeout(timeout)
    if examples < 1:
        raise InvalidRequestError("--examples", examples, "must be at least 1")
    if seconds is not None and not 0 <= seconds < 1e6:
        raise InvalidRequestError("--seconds", seconds, "must be a number of seconds >= 0")
    code = _Code(emit, output, as_json=as_json)
    target = prepared(target, sanitize, valgrind, build_dir)
    if suggest:
        _suggest(target, contract, timeout, _jobs(jobs), as_json=as_json)
        return
    promised = _promise(target, contract, timeout)
    usual = _SECONDS if program is None else _SECONDS_OF_A_PROGRAM
    bound = seconds if seconds is not None else 0 if thorough else usual
    if program is not None:
        _check_program(target, promised.given, program, timeout, bound, code, as_json=as_json)
        return
    with Bar().task("pieces", None) as advance, crew(_jobs(jobs)) as executor:
        report = check_target(
            target,
            contract=promised.given,
            examples=examples,
            seed=seed,
            timeout=timeout,
            thorough=thorough,
            seconds=bound,
            progress=advance,
            executor=executor,
        )
    with kept_output():
        if as_json:
            print_json({"target": target} | report.as_dict())
            if not report.interrupted:
                for verdict in _shown(report):
                    if verdict.found is not None:
                        code.give(target, report.contract, verdict.found)
        else:
            _print_report(target, report, code)
    if report.interrupted:
        raise KeyboardInterrupt
    if not report.conforms:
        raise typer.Exit(1)
    if _nothing_checked(report):
        raise CoallocError("nothing was checked, since time was up; see --seconds")


def _check_program(
    target: str, contract: Contract | None, file: Path, timeout: float, seconds: float, code: _Code, *, as_json: bool
) -> None:
    found = replay_target(target, program_in(file), contract=contract, timeout=timeout, seconds=seconds)
    if as_json:
        broken = None if found is None else {found.breach.property.name: found.breach.message}
        print_json({"target": target, "conforms": found is None, "broken": broken})
    else:
        print("nothing is broken" if found is None else str(found.breach))
    if found is not None and code.asked:
        code.give(target, contract, found)
    if found is not None:
        raise typer.Exit(1)


def program_in(file: Path) -> CheckProgram:
    """Read the check program of ``--program``.

    Raises:
        InvalidRequestError: If there is none in the file.
    """
    if file.is_dir() or not file.exists():
        raise InvalidRequestError("--program", str(file), "is a folder" if file.is_dir() else "there is no such file")
    try:
        return loads(file.read_text(encoding="utf-8"), str(file))
    except UnicodeDecodeError:
        raise InvalidRequestError("--program", str(file), "is not UTF-8 text") from None
    except ProgramError as error:
        raise InvalidRequestError("--program", str(file), f"cannot be read: {error}") from None


def _at_commas(text: str) -> str:
    """Break a long line behind commas; without the breaks it can be pasted."""
    lines = [""]
    for word in re.findall(r"[^,]+,?", text):
        if len(lines[-1]) + len(word) > 80:
            lines.append("    ")
        lines[-1] += word
    return "\n".join(lines)


_SECONDS = 10.0
"""The bound on a check that is not thorough."""
_SECONDS_OF_A_PROGRAM = 6.0
"""The bound on the run of one program."""
_INDENT = 21


def _suggest(target: str, text: str, timeout: float, jobs: int, *, as_json: bool) -> None:
    """Look for the strongest contract, and print it as a line to paste."""
    bar = Bar()
    with crew(jobs) as executor:
        line = suggest_target(
            target,
            given=parse_contract(text, WEAKEST),
            timeout=timeout,
            executor=executor,
            on_try=bar.say,
        )
    if as_json:
        print_json({"target": target, "contract": describe_contract(line.contract), "broken": line.broken})
    else:
        print(f"coalloc check {target} --contract '{describe_contract(line.contract)}'")
    if line.broken:
        raise CoallocError(f"even the weakest contract is broken: {line.broken}")


_UNSURE: Final = (Ruling.SUSPECT, Ruling.NOT_REPRODUCIBLE)


def _print_report(target: str, report: Report, code: _Code) -> None:
    print(_at_commas(f"{target}: {describe_contract(report.contract)}"))
    print(report.capabilities)
    print(f"{report.programs:,} programs, {report.operations:,} operations, seed {report.seed}\n")
    for verdict in report.verdicts:
        words = verdict.property.value
        if verdict.note and verdict.ruling not in (Ruling.BROKEN, Ruling.HELD):
            words = f"{words}: {verdict.note}"
        label = f"{verdict.property.name:<4}{verdict.ruling.value:<{_INDENT - 5}} "
        print(textwrap.fill(label + words, 80, subsequent_indent=" " * _INDENT))
    if report.unrun:
        why = "it was interrupted" if report.interrupted else "time was up (--seconds)"
        words = f"not run, since {why}: {', '.join(report.unrun)}"
        print("\n" + textwrap.fill(words, 80, subsequent_indent="    "))
    for verdict in _shown(report):
        by = f" (check {verdict.check})" if verdict.check else ""
        words = f"{verdict.property.name} is {verdict.ruling.value}{by}: {verdict.note}"
        print("\n" + textwrap.fill(words, 80, subsequent_indent="    ", break_on_hyphens=False))
        if verdict.found is not None:
            if verdict.found.breach.picture:
                print("\n" + indented(verdict.found.breach.picture), end="")
            _print_program(target, report.contract, verdict.found, code, interrupted=report.interrupted)
    if _nothing_checked(report) and not report.interrupted:
        return
    if not report.conforms:
        print(f"\ndoes not conform: {', '.join(v.property.name for v in _broken(report))}")
    else:
        print("\nnothing was found until it was interrupted" if report.interrupted else "\nconforms")


def _broken(report: Report) -> list[Verdict]:
    return [verdict for verdict in report.verdicts if verdict.ruling is Ruling.BROKEN]


def _shown(report: Report) -> list[Verdict]:
    """Return the verdicts that are told at length: what is broken, and then what may be."""
    return _broken(report) + [v for v in report.verdicts if v.ruling in _UNSURE and v.found is not None]


def _nothing_checked(report: Report) -> bool:
    """Tell whether there was no time for anything, so that a report says nothing."""
    return not any(verdict.ruling in (Ruling.HELD, Ruling.BROKEN) for verdict in report.verdicts)


def _print_program(
    target: str, contract: Contract | None, found: Counterexample, code: _Code, *, interrupted: bool = False
) -> None:
    """Print a program as text, and as code, for which it has to be run once more."""
    print("\n  as a check program (coalloc check --program FILE):\n")
    print(indented(dumps(found.program)), end="")
    if not interrupted:
        code.give(target, contract, found)


def indented(text: str) -> str:
    """Return text of lines, each with four spaces in front unless it is empty."""
    return "".join(f"    {line}\n" if line else "\n" for line in text.splitlines())


# --- soak --------------------------------------------------------------------------------------------------


_SAID_EVERY = 60.0
"""The seconds after which a soak without a terminal says how far it is."""


def soak(
    target: TargetArgument,
    minutes: Annotated[float, typer.Option("--minutes", help="How long.")] = 1.0,
    operations: Annotated[
        int | None, typer.Option("--operations", help="Stop after so many operations, whatever the time.")
    ] = None,
    seed: SeedOption = 0,
    start: Annotated[int, typer.Option("--start", help="Number of the first program; takes a run up again.")] = 0,
    contract: ContractOption = "",
    timeout: TimeoutOption = 30.0,
    sanitize: SanitizeOption = "",
    valgrind: ValgrindOption = False,
    build_dir: BuildDirOption = None,
    emit: EmitOption = "python",
    output: CodeOption = None,
    jobs: JobsOption = 0,
    address: ClusterOption = "",
    as_json: JsonOption = False,
) -> None:
    """Run random programs at full speed, and make the first that breaks something as short as it can be.

    Exit status 0 if nothing was found, 1 if something was.
    """
    require_timeout(timeout)
    if not 0 < minutes < 1e6:
        raise InvalidRequestError("--minutes", minutes, "must be a number > 0")
    if operations is not None and operations < 1:
        raise InvalidRequestError("--operations", operations, "must be at least 1")
    if start < 0:
        raise InvalidRequestError("--start", start, "must be at least 0")
    code = _Code(emit, output, as_json=as_json)
    target = prepared(target, sanitize, valgrind, build_dir)
    promised = _promise(target, contract, timeout)
    began = said = time.monotonic()
    with Bar().task("operations", operations) as advance, executor_of(jobs, address) as executor:

        def enough(n_programs: int, n_operations: int) -> bool:
            nonlocal said
            now = time.monotonic()
            if advance is not None:
                advance(n_operations)
            elif now - said >= _SAID_EVERY:
                said = now
                note(f"{n_operations:,} operations; from here on: --seed {seed} --start {start + n_programs}")
            late = operations is None and now - began >= 60 * minutes
            return late or (operations is not None and n_operations >= operations)

        result = soak_target(
            target,
            contract=promised.given,
            seed=seed,
            start=start,
            enough=enough,
            timeout=timeout,
            executor=executor,
        )
    seconds = time.monotonic() - began
    rate = result.operations / seconds if seconds else 0.0
    with kept_output():
        if as_json:
            print_json(_soaked(target, seed, start, rate, result))
            if result.found is not None and not result.interrupted:
                code.give(target, promised.given, result.found)
        else:
            print(
                f"{target}: {result.programs:,} programs, {result.operations:,} operations in {seconds:.1f} s"
                f" ({rate:,.0f} operations a second)"
            )
            if result.found is None:
                print(f"nothing is broken; go on with --seed {seed} --start {result.next_program}")
            else:
                print(f"\n{result.found.breach}")
                _print_program(target, promised.given, result.found, code, interrupted=result.interrupted)
    if result.interrupted:
        raise KeyboardInterrupt
    if result.found is not None:
        raise typer.Exit(1)


def _soaked(target: str, seed: int, start: int, rate: float, result: SoakResult) -> dict[str, Any]:
    return {
        "target": target,
        "seed": seed,
        "start": start,
        "programs": result.programs,
        "operations": result.operations,
        "operations_per_second": round(rate),
        "next_program": result.next_program,
        "interrupted": result.interrupted,
        "broken": None if result.found is None else result.found.breach.property.name,
        "message": None if result.found is None else result.found.breach.message,
        "program": None if result.found is None else dumps(result.found.program),
    }


# --- explore -----------------------------------------------------------------------------------------------


def explore(
    target: TargetArgument,
    pages: Annotated[int, typer.Option("--pages", help="Pages of the arena.")] = 6,
    ops: Annotated[int, typer.Option("--ops", help="Operations of the longest programs.")] = 7,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", help="Go deeper and deeper for about so long; without --pages and --ops."),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge/--no-merge", help="Go on from equal states once, or from every program.")
    ] = True,
    contract: ContractOption = "",
    timeout: TimeoutOption = 60.0,
    sanitize: SanitizeOption = "",
    valgrind: ValgrindOption = False,
    build_dir: BuildDirOption = None,
    emit: EmitOption = "python",
    output: CodeOption = None,
    jobs: JobsOption = 0,
    address: ClusterOption = "",
    as_json: JsonOption = False,
) -> None:
    """Run every program of so many operations on tiny arenas, one concern at a time.

    Exit status 0 if there is no counterexample, 1 if there is one.
    """
    require_timeout(timeout)
    if not 2 <= pages <= 64:
        raise InvalidRequestError("--pages", pages, "must be in 2 .. 64")
    if not 1 <= ops <= 64:
        raise InvalidRequestError("--ops", ops, "must be in 1 .. 64")
    if seconds is not None and not 0 <= seconds < 1e6:
        raise InvalidRequestError("--seconds", seconds, "must be a number of seconds >= 0")
    code = _Code(emit, output, as_json=as_json)
    target = prepared(target, sanitize, valgrind, build_dir)
    promised = _promise(target, contract, timeout)
    if not as_json:
        print(f"{target}: {describe_contract(promised.shown)}\n")
        first = f"{'concern':<20}" if seconds is None else f"{'pages':>6}"
        print(
            f"{first}{'pages' if seconds is None else 'ops':>6}{'depth' if seconds is None else 's':>6}"
            f"{'states':>10}{'transitions':>13}"
        )
    explorations: list[Exploration] = []
    levels: list[dict[str, int | float]] = []
    interrupted = False

    def done(exploration: Exploration) -> None:
        explorations.append(exploration)
        if not as_json:
            print(
                f"{exploration.concern:<20}{exploration.pages:>6}{exploration.depth:>6}"
                f"{exploration.states:>10,}{exploration.transitions:>13,}",
                flush=True,
            )

    with executor_of(jobs, address) as executor:
        try:
            if seconds is None:
                explore_target(
                    target,
                    contract=promised.given,
                    pages=pages,
                    depth=ops,
                    merge=merge,
                    timeout=timeout,
                    on_done=done,
                    executor=executor,
                )
            else:
                start = time.monotonic()
                for pages, ops, explorations in deepen_target(
                    target, seconds, contract=promised.given, merge=merge, timeout=timeout, executor=executor
                ):
                    level = _level(pages, ops, time.monotonic() - start, explorations)
                    levels.append(level)
                    if not as_json:
                        print(
                            f"{pages:>6}{ops:>6}{level['seconds']:>6.1f}"
                            f"{level['states']:>10,}{level['transitions']:>13,}",
                            flush=True,
                        )
        except KeyboardInterrupt:
            interrupted = True
    found = next((each.found for each in explorations if each.found is not None), None)
    states, transitions = sum(e.states for e in explorations), sum(e.transitions for e in explorations)
    if as_json:
        told = _explored(target, pages, ops, explorations) | {"interrupted": interrupted}
        print_json(told if seconds is None else told | {"levels": levels})
        if found is not None and found.program.steps:
            code.give(target, promised.given, found)
    elif found is None and seconds is not None:
        deepest = f"({pages}, {ops}), {states:,} states" if levels else "none"
        until = " until it was interrupted" if interrupted else ""
        print(f"\nthe deepest that about {seconds:g} s reach: {deepest}; counterexamples: none{until}")
    elif found is None and interrupted:
        print(f"\n{states:,} states, {transitions:,} transitions; counterexamples: none until it was interrupted")
    elif found is None:
        print(f"\n{states:,} states, {transitions:,} transitions; counterexamples: none up to ({pages}, {ops})")
    else:
        print(f"\ncounterexample in {explorations[-1].concern!r}: {found.breach}")
        if found.program.steps:
            _print_program(target, promised.given, found, code)
        else:
            print(f"  {found.program.title}")
    if interrupted:
        raise KeyboardInterrupt
    if found is not None:
        raise typer.Exit(1)


def _level(pages: int, ops: int, seconds: float, explorations: list[Exploration]) -> dict[str, int | float]:
    """Return the figures of one pair of pages and operations; the seconds count from the beginning."""
    return {
        "pages": pages,
        "ops": ops,
        "seconds": round(seconds, 1),
        "states": sum(each.states for each in explorations),
        "transitions": sum(each.transitions for each in explorations),
    }


def _explored(target: str, pages: int, ops: int, explorations: list[Exploration]) -> dict[str, Any]:
    return {
        "target": target,
        "pages": pages,
        "ops": ops,
        "states": sum(done.states for done in explorations),
        "transitions": sum(done.transitions for done in explorations),
        "concerns": {
            done.concern: {
                "pages": done.pages,
                "depth": done.depth,
                "states": done.states,
                "transitions": done.transitions,
                "counterexample": None if done.found is None else _counterexample(done.found),
            }
            for done in explorations
        },
    }


def _counterexample(found: Counterexample) -> dict[str, str]:
    program: CheckProgram = found.program
    return {"property": found.breach.property.name, "message": found.breach.message, "program": dumps(program)}


# --- mutants -----------------------------------------------------------------------------------------------


def mutants(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[MUTANT]...", help="Which; all if none is named.")
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Say what each one is, and print its shortest program.")] = False,
    timeout: TimeoutOption = 60.0,
    jobs: JobsOption = 0,
    address: ClusterOption = "",
    as_json: JsonOption = False,
) -> None:
    """Kill the planted bugs: which property finds each, after how many operations, and how short the program becomes.

    Exit status 0 if all are killed, 1 if one survives.
    """
    require_timeout(timeout)
    wanted = []
    for name in names or [f"M{number}" for number in MUTANTS]:
        number = int(name[1:]) if name[:1] == "M" and name[1:].isdecimal() and len(name) < 9 else 0
        if number in NOT_APPLICABLE:
            raise InvalidRequestError("MUTANT", name, f"cannot exist here: {NOT_APPLICABLE[number]}")
        if number not in MUTANTS:
            raise InvalidRequestError("MUTANT", name, f"is no mutant; there are M1 to M{max(MUTANTS)}")
        wanted.append(number)
    kills: list[Kill] = []
    with Bar().task("mutants", 2 * len(wanted)) as advance, executor_of(jobs, address) as executor:
        try:
            for hidden in (False, True):
                for kill in kill_targets(wanted, hidden=hidden, timeout=timeout, executor=executor):
                    kills.append(kill)
                    if advance is not None:
                        advance(len(kills))
        except KeyboardInterrupt:
            print(matrix_text(kills[: len(wanted)]), end="")
            raise
    shown, unseen = kills[: len(wanted)], kills[len(wanted) :]
    if as_json:
        print_json(
            {
                f"M{kill.mutant.number}": _killed(kill) | {"killed_by_answers_alone": blind.killed}
                for kill, blind in zip(shown, unseen, strict=True)
            }
        )
    else:
        print(matrix_text(shown), end="")
        print("\nwith segments(), stats() and violations() hidden, so that only answers tell:\n")
        print(matrix_text(unseen), end="")
        if show:
            for kill in shown:
                print(f"\nM{kill.mutant.number} {kill.mutant.name}: {kill.mutant.title}")
                if kill.program is not None:
                    print(indented(dumps(kill.program)), end="")
        elif not names:
            print(_LEGEND + not_applicable_text(), end="")
    survivors = [f"M{kill.mutant.number}" for kill in shown if not kill.killed]
    if survivors:
        raise CoallocError(f"not killed: {', '.join(survivors)}")


_LEGEND = """
x: this property is broken
ops: operations of small programs, or of random ones (the median of five seeds),
   until the mutant is found
steps: length of the shortest program
found by: small programs, random programs, or a directed check

not applicable:
"""


def _killed(kill: Kill) -> dict[str, Any]:
    return {
        "name": kill.mutant.name,
        "title": kill.mutant.title,
        "killed": kill.killed,
        "found_by": kill.by,
        "properties": [item.name for item in kill.properties],
        "operations": kill.operations,
        "steps": None if kill.program is None else len(kill.program.steps),
        "program": None if kill.program is None else dumps(kill.program),
    }
