"""``coalloc diff``: two allocators side by side on the same programs, or one beside the answers that a kernel gave."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from coalloc.cli.common import Bar, JsonOption, SeedOption, kept_output, print_json
from coalloc.cli.kit import JobsOption, TimeoutOption, executor_of, indented, program_in, require_timeout
from coalloc.cli.native import BuildDirOption, SanitizeOption, ValgrindOption, prepared
from coalloc.errors import InvalidRequestError, ProgramError
from coalloc.report.tables import counted
from coalloc.testing.differ import Differed, Difference, Ignore
from coalloc.testing.on_pairs import diff_targets, n_pieces, replay_vectors_on
from coalloc.testing.steps import dumps
from coalloc.testing.vectors import Disagreement, Replayed, Vector, read_vectors
from coalloc.workload.files import raw_lines

__all__ = ["diff"]

_WIDTH: Final = 80
_PROGRAMS: Final = 400
_SHOWN: Final = 5
"""The most programs of vectors that are shown; --json has all."""


def diff(
    targets: Annotated[
        list[str], typer.Argument(metavar="TARGET...", help="Two allocators; with --vectors one, such as vmem.")
    ],
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", help="What may differ: addresses, or the order of ranges. Can be given twice."),
    ] = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="Compare the figures of stats() too, after every step.")
    ] = False,
    programs: Annotated[
        int | None, typer.Option("--programs", help="Random programs to run after the small ones; 400 if not given.")
    ] = None,
    program: Annotated[
        Path | None, typer.Option("--program", help="Run this one check program, and nothing else.")
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option("--vectors", help="A file of programs with a kernel's answers, to compare with.")
    ] = None,
    seed: SeedOption = 0,
    seconds: Annotated[
        float, typer.Option("--seconds", help="Wait for no further result after so long; 0 is no bound.")
    ] = 30.0,
    timeout: TimeoutOption = 10.0,
    sanitize: SanitizeOption = "",
    valgrind: ValgrindOption = False,
    build_dir: BuildDirOption = None,
    jobs: JobsOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Run the same programs on two allocators, and print a short one on which they differ.

    Exit status 0 if they answer alike, 1 if not.
    """
    require_timeout(timeout)
    if programs is not None and programs < 1:
        raise InvalidRequestError("--programs", programs, "must be at least 1")
    if not 0 <= seconds < 1e6:
        raise InvalidRequestError("--seconds", seconds, "must be a number of seconds >= 0")
    ignored = frozenset(map(_ignored, ignore or ()))
    wanted = 1 if vectors is not None else 2
    if len(targets) != wanted:
        words = "one allocator, to hold against the vectors" if wanted == 1 else "two allocators to compare"
        raise InvalidRequestError("TARGET", " ".join(targets), f"must be {words}")
    compiled = [prepared(target, sanitize, valgrind, build_dir) for target in targets]
    if vectors is not None:
        for name, given in (
            ("--ignore", ignore), ("--figures", figures), ("--program", program), ("--programs", programs)
        ):  # fmt: skip
            if given:
                raise InvalidRequestError(name, str(given), "has no meaning with --vectors")
        _diff_vectors(compiled[0], vectors, timeout, seconds, as_json=as_json)
        return
    what = program_in(program) if program is not None else programs or _PROGRAMS
    with Bar().task("pieces", n_pieces(what)) as advance, executor_of(jobs, "") as executor:
        result = diff_targets(
            compiled[0],
            compiled[1],
            ignore=ignored,
            figures=figures,
            seed=seed,
            programs=what,
            seconds=seconds,
            timeout=timeout,
            progress=advance,
            executor=executor,
        )
    with kept_output():
        if as_json:
            print_json(_as_dict(targets, ignored, result))
        else:
            _print(targets, result)
    if result.interrupted:
        raise KeyboardInterrupt
    if result.difference is not None:
        raise typer.Exit(1)


def _ignored(word: str) -> Ignore:
    try:
        return Ignore(word)
    except ValueError:
        raise InvalidRequestError("--ignore", word, f"must be {' or '.join(each.value for each in Ignore)}") from None


def _say(text: str) -> None:
    print(textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def _print(targets: list[str], result: Differed) -> None:
    _say(f"A: {targets[0]}")
    _say(f"B: {targets[1]}")
    print(f"{counted(result.programs, 'program')}, {counted(result.operations, 'operation')}")
    for words in result.not_asked:
        _say(f"not asked: {words}")
    if result.ended:
        _say(f"both ended alike in {counted(result.ended, 'program')}; the rest of it was not run")
    if result.stopped:
        _say(f"not all programs were run: {result.stopped}")
    if result.difference is None:
        print("\nthey answer alike" + (" until it was interrupted" if result.interrupted else ""))
        return
    found = result.difference
    print(f"\nthey differ: {found.what}")
    for name, answer, picture in zip("AB", found.answers, found.pictures, strict=True):
        _say(f"  {name}: {answer}")
        print(indented(picture), end="")
    print("\n  as a check program (coalloc diff A B --program FILE):\n")
    print(indented(dumps(found.program)), end="")


def _as_dict(targets: list[str], ignored: frozenset[Ignore], result: Differed) -> dict[str, Any]:
    return {
        "targets": targets,
        "ignored": sorted(each.value for each in ignored),
        "programs": result.programs,
        "operations": result.operations,
        "not_asked": list(result.not_asked),
        "ended_alike": result.ended,
        "interrupted": result.interrupted,
        "stopped": result.stopped,
        "alike": result.difference is None,
        "difference": None if result.difference is None else _difference(result.difference),
    }


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "what": found.what,
        "answers": list(found.answers),
        "pictures": list(found.pictures),
        "program": dumps(found.program),
    }


# --- vectors -------------------------------------------------------------------------------------------------


def _diff_vectors(target: str, file: Path, timeout: float, seconds: float, *, as_json: bool) -> None:
    if file.is_dir() or not file.exists():
        raise InvalidRequestError("--vectors", str(file), "is a folder" if file.is_dir() else "there is no such file")
    try:
        vectors = read_vectors(raw_lines(str(file)), str(file))
    except ProgramError as error:
        raise InvalidRequestError("--vectors", str(file), f"cannot be read: {error}") from None
    with Bar().task("programs", len(vectors)) as advance:
        result = replay_vectors_on(target, vectors, timeout=timeout, seconds=seconds, progress=advance)
    if as_json:
        print_json(
            {
                "target": target,
                "programs": result.programs,
                "steps": result.steps,
                "agree": result.programs - len(result.disagreements),
                "not_run": result.not_run,
                "not_compared": list(result.not_compared),
                "unread": sorted({name for vector in vectors for name in vector.unread}),
                "disagreements": [_disagreement(found) for found in result.disagreements],
            }
        )
    else:
        _print_vectors(target, file, vectors, result)
    if result.disagreements:
        raise typer.Exit(1)
    if not result.programs:
        raise InvalidRequestError("--vectors", str(file), f"none of its programs was run: {min(result.not_run)}")


def _print_vectors(target: str, file: Path, vectors: list[Vector], result: Replayed) -> None:
    _say(f"{target}, {counted(len(vectors), 'program')} of {file.name}")
    agree = result.programs - len(result.disagreements)
    print(f"agree: {agree:,}; do not: {len(result.disagreements):,}; {counted(result.steps, 'step')} run")
    for why, n in result.not_run.items():
        _say(f"{counted(n, 'program')} not run: {why}")
    for what in result.not_compared:
        _say(f"not compared: {what}")
    if unread := sorted({name for vector in vectors for name in vector.unread}):
        _say(f"not read in the file: {', '.join(unread)}")
    for found in result.disagreements[:_SHOWN]:
        print()
        _say(f"{found.vector}, step {found.step}: {found.call}")
        print(f"  {found.what} of the kernel: {found.kernel}")
        print(f"  {found.what} here: {found.here}")
    if len(result.disagreements) > _SHOWN:
        print(f"\nand {len(result.disagreements) - _SHOWN:,} more, which --json shows")


def _disagreement(found: Disagreement) -> dict[str, Any]:
    return {
        "program": found.vector.number,
        "step": found.step,
        "call": found.call,
        "what": found.what,
        "kernel": found.kernel,
        "here": found.here,
    }
