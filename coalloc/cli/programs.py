"""Programs as commands take them: a file of any format, standard input, or the bundled build; with owners, and in copies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from coalloc.cli.common import Bar, note, size_given
from coalloc.errors import InvalidRequestError
from coalloc.workload.bundled import bundled_build
from coalloc.workload.files import MAX_BYTES, STANDARD_INPUT
from coalloc.workload.formats import Account, read
from coalloc.workload.overlay import overlay
from coalloc.workload.program import PipeProgram, Program
from coalloc.workload.strace_files import parts_of

__all__ = [
    "MAX_SIZE",
    "MOST_OPERATIONS",
    "CopiesOption",
    "LenientOption",
    "MaxOperationsOption",
    "MaxSizeOption",
    "OutputOption",
    "Source",
    "SpreadOption",
    "UidOption",
    "account_of",
    "copied",
    "doubts",
    "load_program",
    "microseconds",
    "owned",
    "read_program",
    "require_copies",
]

Source = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PROGRAM|LOG]",
        help="A program, or a log of strace or another tool; - for standard input; the bundled build if none is given.",
    ),
]
CopiesOption = Annotated[int, typer.Option("--copies", help="Run so many copies of a pipe program at once.")]
MOST_OPERATIONS = 50_000_000
MaxOperationsOption = Annotated[
    int, typer.Option("--max-operations", help="Refuse copies of more operations, all together.")
]
SpreadOption = Annotated[
    float | None,
    typer.Option("--spread", help="Copies begin within so many seconds; the length of the program if not given."),
]


UidOption = Annotated[
    int | None,
    typer.Option("--uid", help="The user who owns the pipes of a program that names no owner; root if not given."),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="Where to write it (.gz and .xz compress); - for standard output, like none.",
        callback=lambda path: None if path == Path("-") else path,
    ),
]
MaxSizeOption = Annotated[
    str, typer.Option("--max-size", help="Refuse a file of more bytes, decompressed, such as 2G.")
]
MAX_SIZE = f"{MAX_BYTES >> 20}M"


def read_program(
    source: Path | None, progress: Bar, max_size: str, *, argument: str = "PROGRAM", title: str = ""
) -> tuple[Program, object]:
    """Read a file of any format, or standard input; the bundled build if there is none."""
    most = size_given("--max-size", max_size)
    if source is None:
        return bundled_build(), None
    if str(source) == STANDARD_INPUT:
        with progress.task("reading standard input", None) as advance:
            return read(STANDARD_INPUT, title=title, progress=advance, max_size=most)
    if (source.is_dir() or not source.exists()) and not parts_of(str(source)):
        why = "is a folder without files of strace -ff" if source.is_dir() else "there is no such file"
        raise InvalidRequestError(argument, str(source), why)
    with progress.task(f"reading {source.name}", None) as advance:
        return read(source, title=title, progress=advance, max_size=most)


def load_program(
    source: Path | None,
    progress: Bar,
    max_size: str,
    uid: int | None,
    copies: int,
    spread: float | None,
    seed: int,
    most: int,
) -> tuple[Program, object, bool]:
    """Read a program, say first what is doubtful in it, give its pipes an owner, and make copies of it.

    Returns:
        The program, the account of its reading, and whether more than 1 % of a log could not be placed.
    """
    program, report = read_program(source, progress, max_size)
    wrong = doubts(report)
    return copied(owned(program, uid), copies, spread, seed, most), report, wrong


LenientOption = Annotated[
    bool, typer.Option("--lenient", help="Exit with status 0 although calls on pipes could not be placed.")
]


def doubts(report: object) -> bool:
    """Say it first where more than 1 % of what a log has could not be placed; return whether that is so."""
    if not isinstance(report, Account) or report.sound:
        return False
    note(report.doubt)
    return True


def account_of(report: object) -> dict[str, Any] | None:
    """Return what is known of the reading of a log, as plain data."""
    return report.as_dict() if isinstance(report, Account) else None


_BYTES_OF_AN_OPERATION = 150
"""What an operation of an overlay takes while it is made, measured."""


def owned(program: Program, uid: int | None) -> Program:
    """Return the program with its pipes owned by a user; None leaves them as they are."""
    if uid is None:
        return program
    if not isinstance(program, PipeProgram):
        raise InvalidRequestError("--uid", uid, "only pipes have an owner")
    return program.owned_by(uid)


def microseconds(spread: float | None) -> int | None:
    """Return what ``--spread`` gives in seconds as microseconds."""
    if spread is not None and not 0 <= spread < 1e9:
        raise InvalidRequestError("--spread", spread, "must be a number of seconds, 0 or more")
    return None if spread is None else round(spread * 1e6)


def require_copies(program: Program, copies: int, most: int) -> None:
    """Refuse copies of a program that has no pipes, and more operations than ``--max-operations`` allows."""
    if copies == 1:
        return
    if not isinstance(program, PipeProgram):
        raise InvalidRequestError("--copies", copies, "only pipe programs can be run in copies")
    total = len(program) * copies
    if total > most:
        memory = total * _BYTES_OF_AN_OPERATION / 1e9
        raise InvalidRequestError(
            "--copies", copies, f"would be {total:,} operations and take {memory:,.0f} GB; see --max-operations"
        )


def copied(program: Program, copies: int, spread: float | None, seed: int, most: int) -> Program:
    """Return copies of a program that run at once; see :func:`~coalloc.workload.overlay.overlay`."""
    within = microseconds(spread)
    require_copies(program, copies, most)
    if copies == 1 or not isinstance(program, PipeProgram):
        return program
    return overlay(program, copies, program.facts().duration if within is None else within, seed)
