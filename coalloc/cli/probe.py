"""``coalloc probe``: the running kernel's pipes beside their model, or what another machine has answered."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import Annotated, Any, Final

import attrs
import typer

from coalloc.cli.common import Bar, JsonOption, SeedOption, kept_output, note, print_json
from coalloc.errors import InvalidRequestError, ProgramError
from coalloc.experiments.probe import Difference
from coalloc.experiments.probe_run import Probed, as_c, compare_recorded, free_uid, probe_kernel
from coalloc.pipes.eras import Era, KernelState, LinuxState
from coalloc.pipes.states import ERAS, STATES
from coalloc.report.tables import counted
from coalloc.workload.files import raw_lines

__all__ = ["probe"]

_WIDTH: Final = 80
_DEFAULT_STEPS: Final = 100_000
_WITH: Final = {
    (True, False): "with --emit", (True, True): "with --emit", (False, True): "with --read",
    (False, False): "without --emit",
}  # fmt: skip


def probe(
    steps: Annotated[
        int | None, typer.Option("--steps", help="Steps to run at least, for each user; 100,000 if not given.")
    ] = None,
    seed: SeedOption = 0,
    read: Annotated[
        Path | None, typer.Option("--read", help="Compare what a probe has recorded, here or on another machine.")
    ] = None,
    record: Annotated[Path | None, typer.Option("--record", help="Write programs and answers to this file.")] = None,
    emit: Annotated[str, typer.Option("--emit", help="Write the probe as a program instead: c.")] = "",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The file for --emit.")] = None,
    state: Annotated[
        str,
        typer.Option(
            "--state", help="The model, such as linux-6.1 or 14.x; that of the kernel's version if not given."
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Drive the running Linux kernel's pipes and their model with the same random calls, and show where they differ.

    Exit status 0 if they answer alike, 1 if not.
    """
    model = _state(state)
    unused: dict[str, object] = {"--record": record, "--state": state, "--json": as_json} if emit else {"-o": output}
    if emit and read is not None:
        unused["--read"] = read
    elif read is not None:
        unused |= {"--record": record, "--steps": steps}
    for option, value in unused.items():
        if value:
            raise InvalidRequestError(option, str(value), f"has no meaning {_WITH[bool(emit), read is not None]}")
    n = _DEFAULT_STEPS if steps is None else steps
    if n < 1:
        raise InvalidRequestError("--steps", n, "must be at least 1")
    if emit:
        _emit(emit, output, n, seed)
        return
    if read is not None:
        results = [_recorded(read, model)]
    elif isinstance(model, Era):
        raise InvalidRequestError("--state", state, "is for --read: a FreeBSD kernel does not run here")
    else:
        results = _asked(n, seed, record, model)
    with kept_output():
        if as_json:
            print_json([_as_dict(result) for result in results])
        else:
            for result in results:
                _print(result)
    if any(result.interrupted for result in results):
        raise KeyboardInterrupt
    if any(result.n_differ for result in results):
        raise typer.Exit(1)


def _state(name: str) -> LinuxState | Era | None:
    if not name:
        return None
    state = STATES.get(name)
    if isinstance(state, LinuxState) or (isinstance(state, Era) and state.kernel == "FreeBSD"):
        return state
    names = ", ".join(name for name, each in STATES.items() if isinstance(each, LinuxState))
    raise InvalidRequestError(
        "--state", name, f"is no state of Linux; there are {names}; with --read {', '.join(ERAS)}"
    )


def _emit(emit: str, output: Path | None, steps: int, seed: int) -> None:
    if emit != "c":
        raise InvalidRequestError("--emit", emit, "must be c")
    text = as_c(steps=steps, seed=seed)
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")


def _recorded(file: Path, state: KernelState | None) -> Probed:
    if file.is_dir() or not file.exists():
        raise InvalidRequestError("--read", str(file), "is a folder" if file.is_dir() else "there is no such file")
    try:
        return compare_recorded(raw_lines(str(file)), str(file), state=state)
    except ProgramError as error:
        raise InvalidRequestError("--read", str(file), f"cannot be read: {error}") from None


def _asked(steps: int, seed: int, record: Path | None, state: LinuxState | None) -> list[Probed]:
    """Ask as oneself, and if that is root as an ordinary user, too."""
    users: list[int | None] = [None]
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        users.append(free_uid())
    results = []
    for user in users:
        file = None if record is None else _of_user(record, user)
        with Bar().task("steps", steps) as advance:
            if file is None:
                result = probe_kernel(steps=steps, seed=seed, uid=user, state=state, progress=advance)
            else:
                with file.open("w", encoding="utf-8") as stream:
                    result = probe_kernel(
                        steps=steps, seed=seed, uid=user, state=state, record=stream, progress=advance
                    )
                note(f"wrote {file}")
        results.append(result)
        if result.interrupted:
            break
    return results


def _of_user(record: Path, user: int | None) -> Path:
    """Return the file for a user: the second one's is named after the first."""
    return record if user is None else record.with_name(f"{record.stem}-user{record.suffix}")


def _say(text: str) -> None:
    print(textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def _print(result: Probed) -> None:
    machine = result.machine
    powers = [name for name, has in (("CAP_SYS_RESOURCE", machine.resource), ("CAP_SYS_ADMIN", machine.admin)) if has]
    _say(
        f"{machine.kernel}, user {machine.uid} with {' and '.join(powers) or 'no capability'}, beside the model {result.state}"
    )
    if not machine.kernel.startswith("Linux"):
        _say("compared: results, bytes that are read, FIONREAD; not the events of poll(2), nor what only Linux has")
    _say(
        f"pipe-max-size {machine.max_size:,}, pipe-user-pages-soft {machine.soft:,}, -hard {machine.hard:,}, "
        f"pages of {machine.page:,} bytes"
    )
    if not result.is_of_its_age:
        _say(f"no model is as old as this kernel: {result.state} is the oldest")
    alike = "no difference" if not result.n_differ else f"{counted(result.n_differ, 'program')} with a difference"
    print(f"{counted(result.programs, 'program')}, {counted(result.steps, 'step')}: {alike}")
    if result.disturbed:
        _say(f"{counted(result.disturbed, 'program')} not compared: the user's other pipes came and went meanwhile")
    if result.interrupted:
        print("it was interrupted")
    if not result.complete:
        _say("the file has no last line: it was cut, or the probe that wrote it was interrupted")
    if len(result.differences) < result.n_differ:
        shown = len(result.differences)
        _say(f"{shown} of them {'is' if shown == 1 else 'are'} shown, each of another kind")
    for found in result.differences:
        _print_difference(found)
    print()


def _print_difference(found: Difference) -> None:
    print()
    for step in found.program:
        print("    " + " ".join(map(str, step)))
    for name, theirs, ours in found.words:
        print(f"  {name}: the kernel tells {theirs}, the model {ours}")


def _as_dict(result: Probed) -> dict[str, Any]:
    return {
        "machine": attrs.asdict(result.machine),
        "state": result.state,
        "programs": result.programs,
        "steps": result.steps,
        "differ": result.n_differ,
        "disturbed": result.disturbed,
        "interrupted": result.interrupted,
        "complete": result.complete,
        "model_is_of_its_age": result.is_of_its_age,
        "differences": [
            {"steps": [list(step) for step in found.program], "kernel": found.kernel, "model": found.model}
            for found in result.differences
        ],
    }
