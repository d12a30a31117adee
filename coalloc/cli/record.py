"""The command ``coalloc record``: record the pipes of a command, or of running processes, and say what was recorded."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from coalloc.cli.common import Bar, JsonOption, note, print_json
from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.report.tables import trace_figures, trace_words
from coalloc.workload.formats import read
from coalloc.workload.recorders import INSTRUCTIONS, RECORDERS, Recorder
from coalloc.workload.strace import ImportReport

__all__ = ["record"]

_LOOK = 0.2
"""Seconds between two looks at whether the recorder has ended."""
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def record(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[--] [COMMAND]...", help="What to run and to record.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write the recording; COMMAND.TOOL if not given.")
    ] = None,
    pids: Annotated[
        list[int] | None, typer.Option("--pid", help="Record a running process until Ctrl-C; may be given again.")
    ] = None,
    tool: Annotated[str, typer.Option("--with", help=f"The recorder: {', '.join(RECORDERS)}.")] = "strace",
    instructions: Annotated[
        str | None,
        typer.Option("--print", help=f"Print what to run elsewhere, and run nothing: {', '.join(INSTRUCTIONS)}."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a command and record its pipes, or those of running processes; end with a summary of the recording.

    Signals go to the command, and the exit status is the command's (128 and the number of the signal that ended it).
    """
    if instructions is not None:
        if instructions not in INSTRUCTIONS:
            raise InvalidRequestError("--print", instructions, f"must be one of {', '.join(INSTRUCTIONS)}")
        print(INSTRUCTIONS[instructions](shlex.join(command or ["COMMAND"])), end="")
        return
    if tool not in RECORDERS:
        raise InvalidRequestError("--with", tool, f"is no recorder; there are {', '.join(RECORDERS)}")
    if bool(command) == bool(pids):
        raise InvalidRequestError("COMMAND", " ".join(command or ()), "give either a command or --pid")
    if command and shutil.which(command[0]) is None:
        raise InvalidRequestError("COMMAND", command[0], "there is no such command")
    for pid in pids or ():
        if not Path(f"/proc/{pid}").exists():
            raise InvalidRequestError("--pid", pid, "there is no such process")
    recorder = RECORDERS[tool]
    if shutil.which(recorder.name) is None:
        raise CoallocError(f"{recorder.name} is not installed; on Debian: apt install {recorder.package}")
    if recorder.root and os.geteuid():
        raise CoallocError(f"{recorder.name} may be used by root alone")
    file = output if output is not None else Path(f"{Path(command[0]).name if command else 'processes'}.{tool}")
    if output is None and file.exists():
        raise InvalidRequestError("--output", str(file), "is there already; name a file to be replaced with -o")
    with open(file, "wb"):
        pass  # if it cannot be written, nothing is run
    status = _record(recorder, str(file), command or [], pids or [])
    if not file.stat().st_size:
        file.unlink()
        raise CoallocError(f"{recorder.name} ended with status {status}, and recorded nothing")
    _summarise(file, status, as_json=as_json)
    raise typer.Exit(0 if pids and status in (0, 130) else status)


def _record(recorder: Recorder, file: str, command: list[str], pids: list[int]) -> int:
    """Record, and return the exit status of the command as a shell would."""
    if not command or recorder.tells_status:
        return _run(recorder.arguments(file, command, pids), Path(file), attached=bool(pids))
    with tempfile.TemporaryDirectory(prefix="coalloc-") as folder:
        # A file, since bpftrace splits its command at blanks and knows no quotes.
        run, told = Path(folder, "run"), Path(folder, "status")
        run.write_text(f"{shlex.join(command)}\necho $? > {shlex.quote(str(told))}\n", encoding="utf-8")
        wrapper = ["/bin/sh", str(run)]
        status = _run(recorder.arguments(file, wrapper, []), Path(file), attached=False, depth=2)
        with contextlib.suppress(OSError, ValueError):
            status = int(told.read_text(encoding="utf-8"))
    return status


def _run(arguments: list[str], file: Path, *, attached: bool, depth: int = 1) -> int:
    """Run the recorder, pass signals on, and return its exit status as a shell would.

    Args:
        arguments: The recorder's.
        file: What it writes.
        attached: Whether it records processes that run already.
        depth: The command is so many generations below the recorder.
    """
    terminal = sys.stderr.isatty()
    with subprocess.Popen(arguments) as running, _passing_signals(running, attached=attached, depth=depth):
        while True:
            try:
                status = running.wait(_LOOK)
                break
            except subprocess.TimeoutExpired:
                if terminal:
                    print(f"\rrecorded {file.stat().st_size / 1e6:,.1f} MB", end="\r", file=sys.stderr, flush=True)
    return status if status >= 0 else 128 - status


@contextlib.contextmanager
def _passing_signals(running: subprocess.Popen[bytes], *, attached: bool, depth: int) -> Iterator[None]:
    """Pass signals on to the command, or to a recorder that is attached to processes.

    Ctrl-C goes to all processes of a terminal anyway.  A recorder that runs a command holds signals back, so that the command
    decides what they do.
    """

    def pass_on(number: int, _frame: FrameType | None) -> None:
        for pid in [running.pid] if attached else _descendants(running.pid, depth) or [running.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def interrupted(number: int, frame: FrameType | None) -> None:
        if not sys.stdin or not sys.stdin.isatty():  # nobody else was told
            pass_on(number, frame)

    handlers: dict[signal.Signals, Any] = dict.fromkeys(_FORWARDED, pass_on) | {signal.SIGINT: interrupted}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _descendants(pid: int, depth: int) -> list[int]:
    """Return the children of a process, or those of its children, and so on."""
    found = [pid]
    for _ in range(depth):
        found = [child for parent in found for child in _children(parent)]
    return found


def _children(pid: int) -> list[int]:
    """Return the children of a process, as Linux tells."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _summarise(file: Path, status: int, *, as_json: bool) -> None:
    """Say what was recorded: on standard error, since standard output is the command's."""
    with Bar().task(f"reading {file.name}", None) as advance:
        program, report = read(file, progress=advance)
    assert isinstance(report, ImportReport)  # every recorder's file is a log
    trace = trace_figures(program)
    if as_json:
        print_json({"recording": str(file), "status": status, "trace": trace, "log": report.as_dict()})
        return
    note(f"wrote {file}: {trace_words(trace)}")
    note(str(report))
    if not report.sound:
        note(f"{report.doubtful:,} calls on pipes could not be placed: coalloc trace info {file} --problems")
    note(f"next: coalloc compare {file}")
