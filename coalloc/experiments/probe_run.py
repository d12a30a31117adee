"""`probe_kernel` and `compare_recorded`: hold a kernel, or what one has answered elsewhere, against the model of its pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Self, cast

import attrs

from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.experiments.probe import (
    Answer,
    Difference,
    Machine,
    Step,
    compare,
    draw_program,
    model_answers,
    read_probes,
    shortest,
    state_of,
    without_events,
)
from coalloc.pipes.eras import Era, KernelState, LinuxState

__all__ = ["Asked", "Probed", "as_c", "compare_recorded", "free_uid", "probe_kernel"]

_MOST_DIFFERENCES: Final = 5
_UIDS: Final = range(60_000, 61_000)


@attrs.frozen
class Probed:
    """What a probe found.

    Args:
        machine: The kernel, and who asked.
        state: The name of the state that it was compared with.
        programs: How many programs were run.
        steps: How many steps they had.
        differences: Programs on which the two differ, each as short as it can be; at most five of different kinds.
        n_differ: How many programs differed.
        interrupted: Whether it was interrupted.
    """

    machine: Machine
    state: str
    programs: int
    steps: int
    differences: tuple[Difference, ...]
    n_differ: int
    interrupted: bool = False


class Asked:
    """The running kernel, asked by a process of its own.

    Args:
        uid: Whose identity that process takes; None for one's own.

    Raises:
        CoallocError: If it cannot be asked.
    """

    def __init__(self, uid: int | None = None) -> None:
        if not sys.platform.startswith("linux"):
            raise CoallocError("the kernel that runs here is no Linux; --emit c writes a probe for others")
        command = [sys.executable, "-m", "coalloc.experiments.probe_kernel", *([] if uid is None else [str(uid)])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.machine = Machine(**json.loads(self._line()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._child.kill()
        self._child.communicate()

    def run(self, program: list[Step]) -> list[Answer]:
        """Return what the kernel answers to the steps of a program.

        Raises:
            CoallocError: If the process ends.
        """
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(program) + "\n")
        self._child.stdin.flush()
        return json.loads(self._line())  # type: ignore[no-any-return]

    def _line(self) -> str:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            _, told = self._child.communicate()
            words = told.strip().splitlines()[-1:] or [f"it ended with status {self._child.returncode}"]
            raise CoallocError(f"the kernel cannot be asked: {words[0]}")
        return line


def free_uid() -> int:
    """Return a user's number that no process has, so that nobody else's pipes count against its limits.

    Raises:
        CoallocError: If there is none.
    """
    taken = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            taken.add(folder.stat().st_uid)
        except OSError:
            continue
    found = next((uid for uid in _UIDS if uid not in taken), None)
    if found is None:
        raise CoallocError(f"every user from {_UIDS[0]} to {_UIDS[-1]} has processes")
    return found


def probe_kernel(
    *,
    steps: int,
    seed: int = 0,
    uid: int | None = None,
    state: LinuxState | None = None,
    record: IO[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Probed:
    """Run random programs on the running kernel and on its model.

    Args:
        steps: The least number of steps.
        seed: The programs depend on it, and on the machine.
        uid: Who asks: a user's number, which only root can take on; None for oneself.
        state: The model; None for that of the kernel's version.
        record: A file that gets the programs and the kernel's answers.
        progress: Called with the number of steps so far.

    Raises:
        CoallocError: If the kernel cannot be asked.
        InvalidRequestError: If ``steps`` is below 1.
    """
    if steps < 1:
        raise InvalidRequestError("steps", steps, "must be at least 1")
    with Asked(uid) as kernel:
        machine = kernel.machine
        model = state or cast("LinuxState", state_of(machine.kernel))
        if record is not None:
            record.write(json.dumps(attrs.asdict(machine)) + "\n")

        def differs(program: list[Step]) -> Difference | None:
            return compare(program, kernel.run(program), model_answers(machine, program, model))

        done = programs = n_differ = 0
        found: dict[Any, Difference] = {}
        interrupted = False
        try:
            while done < steps:
                program = draw_program(machine, seed * 10**9 + programs)
                answers = kernel.run(program)
                if record is not None:
                    record.write(json.dumps({"steps": program, "answers": answers}) + "\n")
                difference = compare(program, answers, model_answers(machine, program, model))
                programs += 1
                done += len(program)
                if progress is not None:
                    progress(done)
                if difference is not None:
                    n_differ += 1
                    _keep(found, difference, differs)
        except KeyboardInterrupt:
            interrupted = True
    return Probed(machine, model.name, programs, done, tuple(found.values()), n_differ, interrupted)


def _keep(
    found: dict[Any, Difference], difference: Difference, differs: Callable[[list[Step]], Difference | None] | None
) -> None:
    """Keep a difference, made short, if it is of a new kind, or shorter than one of its kind."""
    if len(found) >= _MOST_DIFFERENCES:
        return
    least = difference if differs is None else shortest(difference, differs)
    kind = least.program[-1][0], tuple(name for name, _, _ in least.words)
    if kind not in found or len(least.program) < len(found[kind].program):
        found[kind] = least


def compare_recorded(lines: Iterable[bytes], name: str | None = None, *, state: KernelState | None = None) -> Probed:
    """Compare what a probe has recorded, here or elsewhere, with the model of that kernel; of FreeBSD without poll(2).

    Args:
        lines: The lines of the file.
        name: Its name, for errors.
        state: The model; None for that of the kernel's version.

    Raises:
        ProgramError: If it is no such file, or there is no model of its kernel.
    """
    machine, programs = read_probes(lines, name)
    model = state or state_of(machine.kernel)
    found: dict[Any, Difference] = {}
    n = steps = n_differ = 0
    for program, answers in programs:
        n += 1
        steps += len(program)
        ours = model_answers(machine, program, model)
        if isinstance(model, Era):
            answers, ours = without_events(answers), without_events(ours)
        difference = compare(program, answers, ours)
        if difference is not None:
            n_differ += 1
            _keep(found, difference, None)
    return Probed(machine, model.name, n, steps, tuple(found.values()), n_differ)


def as_c(*, steps: int, seed: int = 0) -> str:
    """Return a probe as a C program that stands alone: the same steps on any machine, drawn as for an ordinary user.

    Args:
        steps: The least number of steps.
        seed: The programs depend on it.
    """
    machine = Machine("Linux 6.18", 4096, 1000, False, False, 1 << 20, 16_384, 0)
    return (
        Path(__file__)
        .with_name("probe.c")
        .read_text(encoding="utf-8")
        .replace("/*STEPS*/", "".join(_rows(machine, steps, seed)))
    )


def _rows(machine: Machine, steps: int, seed: int) -> Iterator[str]:
    calls = {"file": "FROM_FILE"}
    done = programs = 0
    while done < steps:
        program = draw_program(machine, seed * 10**9 + programs)
        programs += 1
        done += len(program)
        for what, *numbers in program:
            arguments = ", ".join(f"{number}LL" for number in numbers)
            yield f"\t{{ {calls.get(str(what), str(what).upper())}, {{ {arguments} }} }},\n"
        yield "\t{ -1, { 0 } },\n"
