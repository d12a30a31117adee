"""Run an allocator under test in a process of its own, so that it may hang or die without harm; many of them side by side.

The child reports each world before it makes it, and each step before it takes it.  If the child is silent for too long it is
terminated, and the steps so far are a program whose last step did not return.  Another child then minimises that program.
There the lines of the interpreter are counted, and a call that runs too many of them is stopped.  This needs no clock and
finds any loop that is written in Python; a call that hangs in other code is reported without minimising it.

Work is cut into pieces that are plain data, and any executor may run them (:func:`in_order`).  The results are read in the
order of the pieces, so that they do not depend on who ran what.  :func:`crew` is the executor of the command line.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextvars import ContextVar
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, Final, TypeVar

import attrs

from coalloc.contract import Contract
from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.testing.lines import LINE_BOUND
from coalloc.testing.minimise import minimise
from coalloc.testing.programs import Counterexample, run_program
from coalloc.testing.properties import Breach, Property
from coalloc.testing.steps import CheckProgram, Step, World
from coalloc.testing.subject import MakeSpace, Subject
from coalloc.testing.targets import find_target

__all__ = ["Crew", "Hung", "Reporter", "Stopped", "crew", "in_order", "run_in_child", "serve", "smallest"]

_T = TypeVar("_T")

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


class Reporter:
    """Send what the child is about to do."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._said = 0.0

    def world(self, world: World) -> None:
        """Send the world that is made next."""
        self._connection.send(("world", world))

    def step(self, step: Step) -> None:
        """Send the step that is done next."""
        self._connection.send(("step", step))

    def progress(self, *done: int) -> None:
        """Send how much is done."""
        self._connection.send(("progress", done))

    def found(self, what: object) -> None:
        """Send what was found, so that it is not lost if the work is stopped."""
        self._connection.send(("heard", what))

    def call(self, *_what: object) -> None:
        """Send a sign of life, if none was sent for a while."""
        now = time.monotonic()
        if now - self._said > _BEAT:
            self._said = now
            self._connection.send(("call", None))


_BEAT: Final = 0.2
"""Seconds between two signs of life."""


def _child(  # pragma: no cover - it changes the whole process, which therefore has to be another one
    connection: Connection, path: list[str], work: Callable[..., object], target: str, arguments: Any
) -> None:
    """Make the child ready, and do the work in it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the interrupted parent ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.stdout = sys.stderr  # what the allocator prints, from Python or from C, must not mix with a report
    os.dup2(2, 1)
    sys.path[:] = path
    try:
        serve(connection, work, target, arguments)
    except BrokenPipeError:
        os._exit(0)  # the parent is gone


def serve(connection: Connection, work: Callable[..., object], target: str, arguments: Any) -> None:
    """Do the work, and send its result or the error.

    Raises:
        BrokenPipeError: If nobody listens.
    """
    try:
        make_space = find_target(target)
        connection.send(("found", None))
        connection.send(("result", work(make_space, Reporter(connection), **arguments)))
    except BrokenPipeError:
        raise
    except CoallocError as error:
        connection.send(("error", error))
    except Exception as error:
        connection.send(("error", CoallocError(f"the kit itself failed: {type(error).__name__}: {error}")))
    except BaseException as error:  # the allocator may raise even SystemExit
        connection.send(("died", type(error).__name__))


def run_in_child(
    work: Callable[..., object],
    target: str,
    arguments: Mapping[str, object],
    *,
    timeout: float,
    progress: Callable[..., None] | None = None,
    heard: Callable[[Any], None] | None = None,
) -> Any:
    """Run work in a child; return its result, or Hung.

    Args:
        work: A function of a module.
        target: What is under test.
        arguments: The arguments of the work.
        timeout: Seconds without a sign of life until the child is killed.
        progress: Called with how much is done.
        heard: Called with what the child found before its work is done.

    Raises:
        InvalidRequestError: If the target cannot be found, or its import does not return.
        Stopped: If the crew that runs it has stopped.
    """
    _CONTEXT.set_forkserver_preload([name for name in sys.modules if name.partition(".")[0] == "coalloc"])
    here, there = _CONTEXT.Pipe(duplex=False)
    child = _CONTEXT.Process(target=_child, args=(there, list(sys.path), work, target, arguments), daemon=True)
    with _REAPING:
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
            if not _comes(here, patience):
                return hung(f"nothing has come back for {patience:g} seconds")
            try:
                kind, value = here.recv()
            except EOFError:
                return hung(f"the process ended by itself, with status {_exit_status(child)}", died=True)
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
            elif kind == "heard":
                if heard is not None:
                    heard(value)
            elif kind == "error":
                raise value
            elif kind == "died":
                return hung(f"it raised {value}")
            else:
                return value
    finally:
        child.kill()
        _exit_status(child)
        here.close()


_REAPING: Final = threading.Lock()
"""Held while children are polled: a start polls all children, and of two polls of a child one takes it for lost."""


def _exit_status(child: BaseProcess) -> int | None:
    """Wait for the end of a child, and return its status."""
    wait_for([child.sentinel])
    with _REAPING:
        child.join()
        return child.exitcode


_STOPPED: ContextVar[threading.Event | None] = ContextVar("stopped", default=None)
"""Set in the threads of a crew; when the event is set, their children are killed."""
_LOOK: Final = 0.2
"""Seconds between two looks at whether the crew has stopped."""


class Stopped(Exception):  # noqa: N818 (no mistake of anybody)
    """The crew has stopped, and nobody waits for the result."""


def _comes(here: Connection, patience: float) -> bool:
    """Wait until something comes from a child; return whether it came in time."""
    stopped = _STOPPED.get()
    if stopped is None:
        return here.poll(patience)
    end = time.monotonic() + patience
    while not stopped.is_set():
        if here.poll(min(_LOOK, max(end - time.monotonic(), 0))):
            return True
        if time.monotonic() >= end:
            return False
    raise Stopped


class Crew(ThreadPoolExecutor):
    """Threads, each of which has one child at a time."""

    def __init__(self, jobs: int) -> None:
        self._stopped = threading.Event()
        super().__init__(jobs, initializer=_STOPPED.set, initargs=(self._stopped,))

    def stop(self) -> None:
        """Kill all children; their work ends with :class:`Stopped` unless it makes something of that."""
        self._stopped.set()


@contextlib.contextmanager
def crew(jobs: int) -> Iterator[Crew]:
    """Yield an executor of threads, each of which has one child at a time; at the end all children are killed.

    Raises:
        InvalidRequestError: If ``jobs`` is not an int >= 1.
    """
    if type(jobs) is not int or jobs < 1:
        raise InvalidRequestError("jobs", jobs, "must be an int >= 1")
    pool = Crew(jobs)
    try:
        yield pool
    finally:
        pool.stop()
        pool.shutdown(cancel_futures=True)


_AHEAD: Final = 32
"""How many pieces of work are handed to an executor before the first result is read."""


def in_order(
    executor: Executor | None, work: Callable[..., _T], pieces: Iterable[tuple[Any, ...]]
) -> Generator[_T, None, None]:
    """Yield the results of pieces of work in the order of the pieces.

    Args:
        executor: Who runs them; None runs each when its result is asked for.
        work: A function of a module; its arguments and results can be pickled.
        pieces: The arguments, which may be without end.

    Raises:
        KeyboardInterrupt: If it comes while a result is waited for; the results of all pieces that are done, and of those that
            a crew had to stop, are yielded before.
    """
    if executor is None:
        yield from itertools.starmap(work, pieces)
        return
    left = iter(pieces)
    running: deque[Future[_T]] = deque(executor.submit(work, *piece) for piece in itertools.islice(left, _AHEAD))
    try:
        while running:
            try:
                result = running[0].result()
            except KeyboardInterrupt:
                yield from _rest(executor, running)
                raise
            running.popleft()
            yield result
            running.extend(executor.submit(work, *piece) for piece in itertools.islice(left, 1))
    finally:
        for future in running:
            future.cancel()


def _rest(executor: Executor, running: Iterable[Future[_T]]) -> Iterator[_T]:
    """Yield the results that there are when work is interrupted."""
    waiting = [future for future in running if not future.cancel()]
    if isinstance(executor, Crew):
        executor.stop()
        wait(waiting)
    for future in waiting:
        if future.done():
            with contextlib.suppress(Stopped, KeyboardInterrupt):
                yield future.result()


def _hung(world: World, steps: list[Step], what: str) -> Hung:
    last = f"after {steps[-1]}, " if steps else ""
    return Hung(CheckProgram(world, tuple(steps)), Breach(Property.P17, last + what))


def _shrink(
    make_space: MakeSpace, report: Reporter, *, program: CheckProgram, contract: Contract | None
) -> Counterexample | None:
    subject = Subject(make_space, contract, line_bound=LINE_BOUND, on_world=report.world)  # each run: a sign of life
    breach = run_program(subject, program)
    return minimise(subject, Counterexample(program, breach)) if breach is not None else None


def _run_once(make_space: MakeSpace, report: Reporter, *, program: CheckProgram, contract: Contract | None) -> None:
    run_program(Subject(make_space, contract, on_world=report.world, on_step=report.step), program)


def smallest(target: str, hung: Hung, contract: Contract | None, timeout: float) -> Counterexample:
    """Minimise the program that hung, if counting lines shows that it hangs."""
    arguments: dict[str, object] = {"program": hung.program, "contract": contract}
    if hung.died:  # each run needs a process, so the number of runs is bounded

        def run(program: CheckProgram) -> Breach | None:
            again = run_in_child(_run_once, target, {"program": program, "contract": contract}, timeout=timeout)
            return again.breach if isinstance(again, Hung) else None

        return minimise(None, Counterexample(hung.program, hung.breach), run=run, most=_PROCESSES)
    found = run_in_child(_shrink, target, arguments, timeout=_PATIENCE * timeout)
    if isinstance(found, Counterexample) and found.breach.property is Property.P17:
        return found
    return Counterexample(hung.program.renumbered(), hung.breach)
