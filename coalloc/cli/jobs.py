"""Processes of the commands: `replay_each` for one program and several designs, and the executors of everything else.

Results do not depend on the number of processes, or on the executor.  No process is left when a call or a block has ended, even
with an error.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.connection import Connection, wait
from typing import Annotated

import typer

from coalloc.cli.blame import strangers_fault
from coalloc.cli.common import note
from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.pipes.design import Design
from coalloc.pipes.eras import KernelState
from coalloc.workload.program import Program
from coalloc.workload.replay import Outcome, replay

__all__ = ["ClusterOption", "cores", "on_cluster", "process_pool", "replay_each", "workers"]

ClusterOption = Annotated[
    str,
    typer.Option(
        "--cluster",
        help="Run on Dask: the address of a scheduler such as tcp://host:8786, or local:4 for 4 processes here.",
    ),
]


def cores() -> int:
    """Return the number of cores on which this process may run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def replay_each(
    program: Program,
    designs: Sequence[Design],
    *,
    era: KernelState,
    limit: int,
    jobs: int,
    cpus: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[Outcome]:
    """Replay a program against each design.

    Args:
        program: The program to run.
        designs: The designs.
        era: The era whose pipe policy and map search hold.
        limit: maxpipekva in bytes.
        jobs: The number of processes that run at once, >= 1; with 1 everything runs in this process.
        cpus: The number of CPUs on which the operations run, >= 1.
        progress: Called now and then with the number of operations done for all designs together.

    Returns:
        The outcomes, in the order of the designs.

    Raises:
        InvalidRequestError: For ``jobs`` outside its range, and as :func:`~coalloc.workload.replay.replay`.
        CoallocError: For any other error of a replay, or if its process ended without a result.
    """
    if type(jobs) is not int or jobs < 1:
        raise InvalidRequestError("jobs", jobs, "must be an int >= 1")
    done = dict.fromkeys(range(len(designs)), 0)

    def tell(index: int, operations: int) -> None:
        done[index] = operations
        if progress is not None:
            progress(sum(done.values()))

    def one(index: int, tell: Callable[[int, int], None]) -> Outcome:
        return replay(program, designs[index], era=era, limit=limit, cpus=cpus, progress=lambda n: tell(index, n))

    if min(jobs, len(designs)) == 1:
        return [one(index, tell) for index in range(len(designs))]
    return _in_processes(one, len(designs), min(jobs, len(designs)), tell)


def _in_processes(
    one: Callable[[int, Callable[[int, int], None]], Outcome], n: int, jobs: int, tell: Callable[[int, int], None]
) -> list[Outcome]:
    """Run the tasks 0 .. n - 1 in processes; each process takes the next task as soon as it is free."""
    context = multiprocessing.get_context("fork")  # so that children have the program without sending it
    outcomes: dict[int, Outcome] = {}
    left = iter(range(n))
    processes = []
    busy: list[Connection] = []
    try:
        for _ in range(jobs):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, one), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            busy.append(ours)
            ours.send(next(left))
        while busy:
            for connection in wait(busy):
                assert isinstance(connection, Connection)  # it waits for connections only
                try:
                    word, *values = connection.recv()
                except EOFError:
                    raise CoallocError("the process of a replay was killed") from None
                if word == "done":
                    tell(*values)
                elif word == "outcome":
                    outcomes[values[0]] = values[1]
                    following = next(left, None)
                    connection.send(following)
                    if following is None:
                        busy.remove(connection)
                elif word == "refused":
                    raise InvalidRequestError(*values)
                elif word == "failed":
                    raise CoallocError(*values)
                else:
                    raise RuntimeError(*values)
    finally:
        for process in processes:
            process.kill()  # not terminate(): a new process still has the handlers of this one, which may go on
        for process in processes:
            process.join()
    return [outcomes[index] for index in range(n)]


def _work(connection: Connection, one: Callable[[int, Callable[[int, int], None]], Outcome]) -> None:
    """Do the tasks that the connection names until it is closed, and send errors as text."""
    os.dup2(2, 1)  # what an allocator prints must not mix with a result
    sys.stdout = sys.stderr
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the interrupted parent ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        while (index := connection.recv()) is not None:
            connection.send(("outcome", index, one(index, lambda *values: connection.send(("done", *values)))))
    except (EOFError, BrokenPipeError):
        return  # the parent is gone
    except InvalidRequestError as error:
        connection.send(("refused", error.what, str(error.value), error.reason))
    except (CoallocError, MemoryError) as error:
        connection.send(("failed", str(error) or "out of memory"))
    except (Exception, SystemExit) as error:
        fault = strangers_fault(error)
        connection.send(("broken", traceback.format_exc()) if fault is None else ("failed", str(fault)))


@contextlib.contextmanager
def on_cluster(address: str) -> Iterator[Executor]:
    """Yield the executor of ``--cluster``, and say where its dashboard is."""
    from coalloc.experiments.clusters import cluster  # here, since few commands run there

    with cluster(address) as executor:
        if executor.dashboard:
            note(f"dashboard: {executor.dashboard}")
        yield executor


@contextlib.contextmanager
def workers(jobs: int, address: str) -> Iterator[Executor | None]:
    """Yield the executor of ``--cluster``, or of so many processes; None where this process does the work."""
    with on_cluster(address) if address else process_pool(jobs) as executor:
        yield executor


@contextlib.contextmanager
def process_pool(jobs: int) -> Iterator[Executor | None]:
    """Yield an executor of so many processes, or None for one job, which this process does itself.

    At the end all processes are killed, whatever they do.
    """
    if jobs == 1:
        yield None
        return
    there = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["coalloc.experiments.sweeps"])
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_set_up_worker)
    try:
        yield pool
    finally:
        for process in set(multiprocessing.active_children()) - there:
            process.kill()
        pool.shutdown(cancel_futures=True)


def _set_up_worker() -> None:
    """Leave Ctrl-C to the parent, which ends this process, and standard output to it, too."""
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
