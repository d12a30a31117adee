"""Run an allocator under test in a process of its own, so that it may hang or die without harm.

The child reports each world before it makes it, and each step before it takes it.  If the child is silent for too long it is
terminated, and the steps so far are a program whose last step did not return.  Another child then minimises that program.
There the lines of the interpreter are counted, and a call that runs too many of them is stopped.  This needs no clock and
finds any loop that is written in Python; a call that hangs in other code is reported without minimising it.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from typing import Any, Final

import attrs

from coalloc.contract import Contract
from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.testing.check import Report, Ruling, Verdict, as_python, check_space
from coalloc.testing.directed import run_thoroughly
from coalloc.testing.explore import Exploration, concerns, explore, explore_pipes
from coalloc.testing.lines import LINE_BOUND
from coalloc.testing.matrix import Kill, kill
from coalloc.testing.minimise import minimise
from coalloc.testing.mutants import MUTANTS
from coalloc.testing.programs import Counterexample, run_program
from coalloc.testing.properties import Breach, Property
from coalloc.testing.soak import SoakResult, soak
from coalloc.testing.steps import CheckProgram, Step, World
from coalloc.testing.subject import MakeSpace, Subject, make
from coalloc.testing.targets import find_target

__all__ = [
    "Hung",
    "check_target",
    "declared_by",
    "explore_target",
    "kill_target",
    "python_of",
    "replay_target",
    "soak_target",
]

_CONTEXT: Final[ForkServerContext | SpawnContext] = (
    multiprocessing.get_context("forkserver")
    if "forkserver" in multiprocessing.get_all_start_methods()
    else multiprocessing.get_context("spawn")
)
"""A server that has imported the modules loaded here forks the children, since starting one alone takes half a second."""

_STARTING: Final = 10.0
"""The least time in seconds that a process is given to start and to import the allocator."""
_PROCESSES: Final = 100
"""The most processes that are used to minimise a program that ends its process."""
_PATIENCE: Final = 3.0
"""The factor by which the timeout is longer while lines are counted."""


@attrs.frozen
class Hung:
    """A child that did not return or that died: its program so far, and what happened; ``died`` if the process has ended."""

    program: CheckProgram
    breach: Breach
    died: bool = False


class _Reporter:
    """Send what the child is about to do."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def world(self, world: World) -> None:
        self._connection.send(("world", world))

    def step(self, step: Step) -> None:
        self._connection.send(("step", step))

    def progress(self, *done: int) -> None:
        self._connection.send(("progress", done))

    def call(self) -> None:
        self._connection.send(("call", None))


def _child(connection: Connection, path: list[str], work: Callable[..., object], target: str, arguments: Any) -> None:
    """Do the work in the child, and send its result or the error."""
    sys.stdout = sys.stderr  # what the allocator prints, from Python or from C, must not mix with a report
    os.dup2(2, 1)
    sys.path[:] = path
    try:
        make_space = find_target(target)
        connection.send(("found", None))
        connection.send(("result", work(make_space, _Reporter(connection), **arguments)))
    except BrokenPipeError:
        os._exit(0)  # the parent is gone
    except CoallocError as error:
        connection.send(("error", error))
    except Exception as error:
        connection.send(("error", CoallocError(f"the kit itself failed: {type(error).__name__}: {error}")))
    except BaseException as error:  # the allocator may raise even SystemExit
        connection.send(("died", type(error).__name__))


def _run(
    work: Callable[..., object],
    target: str,
    arguments: dict[str, object],
    *,
    timeout: float,
    progress: Callable[..., None] | None = None,
) -> Any:
    """Run work in a child; return its result, or Hung.

    Raises:
        InvalidRequestError: If the target cannot be found, or its import does not return.
    """
    _CONTEXT.set_forkserver_preload([name for name in sys.modules if name.partition(".")[0] == "coalloc"])
    here, there = _CONTEXT.Pipe(duplex=False)
    child = _CONTEXT.Process(target=_child, args=(there, list(sys.path), work, target, arguments), daemon=True)
    child.start()
    there.close()
    world = World()
    steps: list[Step] = []
    found = False

    def hung(what: str, *, died: bool = False) -> Hung:
        if not found:
            raise InvalidRequestError("TARGET", target, f"cannot be imported: {what}")
        return attrs.evolve(_hung(world, steps, what), died=died)

    try:
        while True:
            patience = timeout if found else max(timeout, _STARTING)
            if not here.poll(patience):
                return hung(f"nothing has come back for {patience:g} seconds")
            try:
                kind, value = here.recv()
            except EOFError:
                child.join()
                return hung(f"the process ended by itself, with status {child.exitcode}", died=True)
            if kind == "found":
                found = True
            elif kind == "call":
                pass  # a sign of life
            elif kind == "world":
                world, steps = value, []
            elif kind == "step":
                steps.append(value)
            elif kind == "progress":
                if progress is not None:
                    progress(*value)
            elif kind == "error":
                raise value
            elif kind == "died":
                return hung(f"it raised {value}")
            else:
                return value
    finally:
        child.kill()
        child.join()
        here.close()


def _hung(world: World, steps: list[Step], what: str) -> Hung:
    last = f"after {steps[-1]}, " if steps else ""
    return Hung(CheckProgram(world, tuple(steps)), Breach(Property.P17, last + what))


def _shrink(
    make_space: MakeSpace, report: _Reporter, *, program: CheckProgram, contract: Contract | None
) -> Counterexample | None:
    subject = Subject(make_space, contract, line_bound=LINE_BOUND, on_world=report.world)  # each run: a sign of life
    breach = run_program(subject, program)
    return minimise(subject, Counterexample(program, breach)) if breach is not None else None


def _run_once(make_space: MakeSpace, report: _Reporter, *, program: CheckProgram, contract: Contract | None) -> None:
    run_program(Subject(make_space, contract, on_world=report.world, on_step=report.step), program)


def _smallest(target: str, hung: Hung, contract: Contract | None, timeout: float) -> Counterexample:
    """Minimise the program that hung, if counting lines shows that it hangs."""
    arguments: dict[str, object] = {"program": hung.program, "contract": contract}
    if hung.died:  # each run needs a process, so the number of runs is bounded

        def run(program: CheckProgram) -> Breach | None:
            again = _run(_run_once, target, {"program": program, "contract": contract}, timeout=timeout)
            return again.breach if isinstance(again, Hung) else None

        return minimise(None, Counterexample(hung.program, hung.breach), run=run, most=_PROCESSES)
    found = _run(_shrink, target, arguments, timeout=_PATIENCE * timeout)
    if isinstance(found, Counterexample) and found.breach.property is Property.P17:
        return found
    return Counterexample(hung.program.renumbered(), hung.breach)


def _declared(make_space: MakeSpace, _report: _Reporter) -> Contract | None:
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
        result = _run(_declared, target, {}, timeout=timeout)
    except Breach:
        return None
    return result if isinstance(result, Contract) else None


def _kill(_make_space: MakeSpace, _report: _Reporter, *, number: int) -> tuple[object, ...]:
    killed = kill(MUTANTS[number])
    return killed.properties, killed.operations, killed.program


def kill_target(number: int, *, timeout: float = 60.0) -> Kill:
    """Kill a mutant in a process of its own; P17 kills one that does not return."""
    result = _run(_kill, f"M{number}", {"number": number}, timeout=timeout)
    if isinstance(result, Hung):
        return Kill(MUTANTS[number], (Property.P17,), None, None)
    return Kill(MUTANTS[number], *result)


# --- checking ------------------------------------------------------------------------------------------------


def _check(make_space: MakeSpace, report: _Reporter, *, contract: Contract | None, examples: int, seed: int) -> Report:
    subject = Subject(make_space, contract, on_world=report.world, on_step=report.step, on_call=report.call)
    return check_space(make_space, contract, examples=examples, seed=seed, progress=report.progress, subject=subject)


def check_target(
    target: str,
    *,
    contract: Contract | None = None,
    examples: int = 200,
    seed: int = 0,
    timeout: float = 10.0,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Check an allocator in a process of its own.

    Args:
        target: ``package.module:factory``, ``file.py:factory`` or the name of a subject.
        contract: The contract to check; None takes the one that the allocator declares.
        examples: How many random programs to run.
        seed: The seed that the programs are drawn from.
        timeout: Seconds without a sign of life until the process is terminated.
        progress: Called with the number of programs that have been run.

    Raises:
        InvalidRequestError: If there is no such target, or no contract.
    """
    arguments: dict[str, object] = {"contract": contract, "examples": examples, "seed": seed}
    result = _run(_check, target, arguments, timeout=timeout, progress=progress)
    if isinstance(result, Report):
        return result
    found = _smallest(target, result, contract, timeout)
    verdicts = tuple(
        Verdict(item, Ruling.BROKEN, found.breach.message, found)
        if item is Property.P17
        else Verdict(item, Ruling.NOT_CHECKED, "the allocator did not come back")
        for item in Property
    )
    return Report(contract or Contract(fit=None), verdicts, 0, 0, seed)


def _replay(
    make_space: MakeSpace, report: _Reporter, *, contract: Contract | None, program: CheckProgram
) -> Counterexample | None:
    subject = Subject(make_space, contract, on_world=report.world, on_step=report.step)
    breach = run_thoroughly(subject, program)
    return Counterexample(program, breach) if breach is not None else None


def replay_target(
    target: str, program: CheckProgram, *, contract: Contract | None = None, timeout: float = 10.0
) -> Counterexample | None:
    """Run one program on an allocator in a process of its own, and return what it breaks.

    Raises:
        InvalidRequestError: As :func:`check_target`.
    """
    result = _run(_replay, target, {"contract": contract, "program": program}, timeout=timeout)
    return Counterexample(result.program, result.breach) if isinstance(result, Hung) else result


def _as_python(
    make_space: MakeSpace, report: _Reporter, *, target: str, contract: Contract | None, found: Counterexample
) -> str:
    return as_python(target, Subject(make_space, contract, on_step=report.step), found)


def python_of(target: str, found: Counterexample, *, contract: Contract | None = None, timeout: float = 10.0) -> str:
    """Return a program as Python code, after running it in a process of its own to see which calls are refused.

    Raises:
        InvalidRequestError: As :func:`check_target`.
    """
    arguments: dict[str, object] = {"target": target, "contract": contract, "found": found}
    text = _run(_as_python, target, arguments, timeout=timeout)
    return text if isinstance(text, str) else f"# {found.breach}\n"


# --- soaking and exploring -----------------------------------------------------------------------------------


def _soak(
    make_space: MakeSpace,
    report: _Reporter,
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

    return soak(subject, seed=seed, start=start, enough=enough)


def soak_target(
    target: str,
    *,
    contract: Contract | None = None,
    seed: int = 0,
    start: int = 0,
    enough: Callable[[int, int], bool],
    timeout: float = 30.0,
) -> SoakResult:
    """Soak an allocator in a process of its own, some programs at a time, until a property breaks or ``enough`` is true.

    Args:
        target: As for :func:`check_target`.
        contract: The contract to check; None takes the one that the allocator declares.
        seed: The seed that the programs are drawn from.
        start: Number of the first program.
        enough: Called after every program with the programs and operations so far; returns whether to stop.
        timeout: Seconds without a sign of life until the process is terminated.

    Raises:
        InvalidRequestError: As :func:`check_target`.
    """
    stopped: list[tuple[int, int]] = []

    class _Enough(Exception):  # noqa: N818 (no mistake of anybody)
        pass

    def progress(programs: int, operations: int) -> None:
        stopped[:] = [(programs, operations)]
        if enough(programs, operations):
            raise _Enough

    arguments: dict[str, object] = {
        "contract": contract, "seed": seed, "start": start, "programs": 1 << 60, "watch": False,
    }  # fmt: skip
    try:
        result = _run(_soak, target, arguments, timeout=timeout, progress=progress)
    except _Enough:
        programs, operations = stopped[0]
        return SoakResult(programs, operations, start + programs)
    if isinstance(result, SoakResult):
        return result
    programs, operations = stopped[0] if stopped else (0, 0)
    arguments |= {"start": start + programs, "programs": 1, "watch": True}  # run the program that hung step by step
    again = _run(_soak, target, arguments, timeout=timeout)
    found = _smallest(target, again if isinstance(again, Hung) else result, contract, timeout)
    return SoakResult(programs, operations, start + programs, found)


def _explore(
    make_space: MakeSpace,
    report: _Reporter,
    *,
    contract: Contract | None,
    pages: int,
    depth: int,
    name: str,
    merge: bool,
) -> Exploration | None:
    subject = Subject(make_space, contract)
    if name == _PIPES:
        return explore_pipes(make_space, depth=min(depth, _PIPE_DEPTH), contract=contract, progress=report.progress)
    for concern in concerns(subject, pages):
        if concern.name == name:
            watched = attrs.evolve(subject, on_world=report.world, on_step=report.step)
            return explore(watched, concern, depth=depth, merge=merge, progress=report.progress)
    return None


_PIPES: Final = "pipe pair"
_PIPE_DEPTH: Final = 6


_PIPES_NEED: Final = ("contract", "resize", "size_of", "touch", "discard")


def _names(make_space: MakeSpace, _report: _Reporter, *, contract: Contract | None, pages: int) -> list[str]:
    names = [concern.name for concern in concerns(Subject(make_space, contract), pages)]
    space = make(make_space, World())[1]
    return [*names, _PIPES] if all(getattr(space, name, None) is not None for name in _PIPES_NEED) else names


def explore_target(
    target: str,
    *,
    contract: Contract | None = None,
    pages: int = 6,
    depth: int = 7,
    merge: bool = True,
    timeout: float = 60.0,
    on_concern: Callable[[str], None] | None = None,
    on_done: Callable[[Exploration], None] | None = None,
) -> list[Exploration]:
    """Explore an allocator in every configuration that suits it, each in a process of its own, until a property breaks.

    Args:
        target: As for :func:`check_target`.
        contract: The contract to check; None takes the one that the allocator declares.
        pages: Pages of the arena, >= 2.
        depth: Steps, >= 1.
        merge: Whether to continue only once from equal states.
        timeout: Seconds without a sign of life until a process is terminated.
        on_concern: Called with each configuration before it is explored.
        on_done: Called with each exploration.

    Raises:
        InvalidRequestError: As :func:`check_target`, or if a number is out of range.
    """
    names = _run(_names, target, {"contract": contract, "pages": pages}, timeout=timeout)
    if isinstance(names, Hung):
        return [Exploration("making it", pages, 0, 0, 0, Counterexample(names.program, names.breach))]
    done = []
    for name in names:
        if on_concern is not None:
            on_concern(name)
        arguments: dict[str, object] = {
            "contract": contract, "pages": pages, "depth": depth, "name": name, "merge": merge,
        }  # fmt: skip
        result = _run(_explore, target, arguments, timeout=timeout)
        if isinstance(result, Hung):
            found = _smallest(target, result, contract, timeout)
            result = Exploration(name, pages, depth, 0, 0, found)
        done.append(result)
        if on_done is not None:
            on_done(result)
        if result.found is not None:
            break
    return done
