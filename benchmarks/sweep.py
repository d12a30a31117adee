"""Time a sweep of many small settings beside the replays alone: what the engine costs.

python -m benchmarks.sweep [--settings N] [--rounds N] [--cluster]

In each round the same settings are replayed without the engine, one after another and then in two processes that each have half
of them.  The engine is timed in one process beside the first, and with two processes and, with --cluster, two workers of Dask
beside the second, since two processes on one machine slow each other down.  The start of processes counts; that of the cluster
does not.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence

from benchmarks.host import head
from coalloc.cli.jobs import process_pool
from coalloc.contract import EAGER, NEVER, RETAIN, Fit
from coalloc.experiments.clusters import cluster
from coalloc.experiments.settings import Grid, Setting, design_of
from coalloc.experiments.sweeps import sweep
from coalloc.pipes.states import STATES
from coalloc.units import KiB, MiB
from coalloc.workload.generators import hackbench
from coalloc.workload.program import Program
from coalloc.workload.replay import replay

GRID = Grid(
    ["coalescing"],
    {
        "arena_size": [number * MiB for number in range(1, 22)],
        "fit": (Fit.BEST, Fit.FIRST, Fit.NEXT, Fit.INSTANT),
        "quantum_cache": (0, 16 * KiB, 64 * KiB, 128 * KiB),
        "release": (EAGER, RETAIN(1), NEVER),
    },
)


def plain(settings: Sequence[Setting], program: Program) -> None:
    """Replay a program in each setting, and do nothing else."""
    for setting in settings:
        replay(program, design_of(setting), era=STATES[setting.era], limit=setting.limit)


def both(settings: Sequence[Setting], program: Program) -> None:
    """Do so in two processes, each with every other setting."""
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=plain, args=(settings[half::2], program)) for half in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


def main() -> None:
    """Print the seconds of each, and the share that is no replay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cluster", action="store_true")
    options = parser.parse_args()
    program = hackbench(groups=1, loops=20)
    settings = list(itertools.islice(GRID, options.settings))
    print(head(f"{len(settings):,} settings of {len(program):,} operations", 0))
    shares: dict[str, list[float]] = {}

    def timed(what: str, run: Callable[[], object]) -> float:
        start = time.perf_counter()
        run()
        taken = time.perf_counter() - start
        print(f"{what} {taken:.2f} s", end="; ", flush=True)
        return taken

    def by_two() -> None:
        with process_pool(2) as pool:
            sweep(settings, [program], executor=pool)

    with contextlib.ExitStack() as stack:
        dask = stack.enter_context(cluster("local:2")) if options.cluster else None
        for _ in range(options.rounds):
            alone = timed("replays alone", lambda: plain(settings, program))
            one = timed("one process", lambda: sweep(settings, [program]))
            shares.setdefault("one process", []).append(1 - alone / one)
            halves = timed("halves alone", lambda: both(settings, program))
            shares.setdefault("two processes", []).append(1 - halves / timed("two processes", by_two))
            if dask is not None:
                there = timed("two workers of Dask", lambda: sweep(settings, [program], executor=dask))
                shares.setdefault("two workers of Dask", []).append(1 - halves / there)
            print()
    for who, of in shares.items():
        print(f"{who}: {statistics.median(of):.1%} of the time is no replay")


if __name__ == "__main__":
    main()
