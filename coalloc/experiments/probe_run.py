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

from coalloc.errors import CoallocError, InvalidRequestError, ProgramError
from coalloc.experiments.probe import (
    Asking,
    Difference,
    Machine,
    Step,
    compare,
    draw_program,
    has_model_of_its_age,
    model_answers,
    read_probes,
    shortest,
    state_of,
    without_events,
)
from coalloc.pipes.eras import Era, KernelState, LinuxState

__all__ = ["MOST_IN_C", "Asked", "Probed", "as_c", "compare_recorded", "free_uid", "probe_kernel"]

MOST_IN_C: Final = 1_000_000
"""The most steps of a probe in C, which are all in its source."""
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
        differences: Programs on which the two differ, at most five of different kinds; each as short as it can be where the
            kernel could be asked again.
        n_differ: How many programs differed.
        disturbed: How many programs were not compared, since the user's other pipes came and went meanwhile.
        interrupted: Whether it was interrupted.
        complete: Whether the end of the recording was seen; true where none was read.
    """

    machine: Machine
    state: str
    programs: int
    steps: int
    differences: tuple[Difference, ...]
    n_differ: int
    disturbed: int = 0
    interrupted: bool = False
    complete: bool = True

    @property
    def is_of_its_age(self) -> bool:
        """Whether there is a model that is no newer than the kernel; if not, the oldest one was compared."""
        return has_model_of_its_age(self.machine.kernel)


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

    def run(self, program: list[Step]) -> Asking:
        """Return what the kernel answers to the steps of a program.

        Raises:
            CoallocError: If the process ends.
        """
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(program) + "\n")
        self._child.stdin.flush()
        told = json.loads(self._line())
        return Asking(program, told["answers"], told["charged"])

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
            return _difference(machine, kernel.run(program), model)

        done = programs = n_differ = disturbed = 0
        found: dict[Any, Difference] = {}
        interrupted = False
        try:
            while done < steps:
                program = draw_program(machine, seed * 10**9 + programs)
                asked = kernel.run(program)
                if record is not None:
                    told = {"charged": asked.charged, "steps": program, "answers": asked.answers}
                    record.write(json.dumps(told) + "\n")
                difference = _difference(machine, asked, model)
                programs += 1
                disturbed += asked.charged < 0
                done += len(program)
                if progress is not None:
                    progress(done)
                if difference is not None:
                    n_differ += 1
                    _keep(found, difference, differs)
            if record is not None:
                record.write(json.dumps({"programs": programs}) + "\n")
        except KeyboardInterrupt:
            interrupted = True
    return Probed(machine, model.name, programs, done, tuple(found.values()), n_differ, disturbed, interrupted)


def _difference(machine: Machine, asked: Asking, model: KernelState) -> Difference | None:
    """Return where a kernel's answers and the model's differ; None also if the charges of the user's other pipes changed."""
    if asked.charged < 0:
        return None
    ours = model_answers(machine, asked.program, model, charged=asked.charged)
    theirs = asked.answers
    if isinstance(model, Era):
        theirs, ours = without_events(theirs), without_events(ours)
    return compare(asked.program, theirs, ours)


def _keep(
    found: dict[Any, Difference], difference: Difference, differs: Callable[[list[Step]], Difference | None] | None
) -> None:
    """Keep a difference, made short, if it is of a new kind, or shorter than one of its kind."""
    if len(found) >= _MOST_DIFFERENCES:
        return
    least = difference if differs is None else shortest(difference, differs)
    kind = (
        least.program[-1][0],
        tuple(name.removesuffix(" of pipe 1").removesuffix(" of pipe 0") for name, _, _ in least.words),
    )
    if kind not in found or len(least.program) < len(found[kind].program):
        found[kind] = least


def compare_recorded(lines: Iterable[bytes], name: str | None = None, *, state: KernelState | None = None) -> Probed:
    """Compare what a probe has recorded, here or elsewhere, with the model of that kernel; of FreeBSD without poll(2).

    Args:
        lines: The lines of the file.
        name: Its name, for errors.
        state: The model; None for that of the kernel's version.

    Raises:
        ProgramError: If it is no such file, or there is no model of its kernel, or the state is another kernel's.
    """
    machine, programs = read_probes(lines, name)
    model = state or state_of(machine.kernel)
    if model.kernel != machine.kernel.split()[0]:
        raise ProgramError(
            f"the recording is of {machine.kernel[:40]}, {model.name} is a state of {model.kernel}", name
        )
    found: dict[Any, Difference] = {}
    n = steps = n_differ = disturbed = 0
    complete = False
    for asked in programs:
        if isinstance(asked, int):
            complete = True
            continue
        n += 1
        steps += len(asked.program)
        disturbed += asked.charged < 0
        difference = _difference(machine, asked, model)
        if difference is not None:
            n_differ += 1
            _keep(found, difference, None)
    return Probed(machine, model.name, n, steps, tuple(found.values()), n_differ, disturbed, complete=complete)


def as_c(*, steps: int, seed: int = 0) -> str:
    """Return a probe as a C program that stands alone: the same steps on any machine, drawn as for an ordinary user.

    Args:
        steps: The least number of steps.
        seed: The programs depend on it.

    Raises:
        InvalidRequestError: If ``steps`` is out of range.
    """
    if not 1 <= steps <= MOST_IN_C:
        raise InvalidRequestError("steps", steps, f"must be at least 1, and at most {MOST_IN_C:,} in a C program")
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
