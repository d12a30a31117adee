"""`run_real`: the map operations of a replay done again on memory of this machine, and timed beside what the model estimates.

A replay is recorded between the design and the kernel map: which ranges the design mapped, unmapped, touched and discarded.
Then the same calls are made by mmap, a write to each page, munmap and madvise, and timed without the replay.  A loop over the
same calls to a function that does nothing is timed, too, and taken off.  So what is measured is what the design asks of a
kernel.  The work that the design does in its own arenas is counted and estimated, since its Python is not the kernel's C.

The recorder keeps its own account of the pages that were touched, and shares nothing with the kernel map of the model.
"""

from __future__ import annotations

import ctypes
import mmap
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.experiments.recorder import MAP, TOUCH, UNMAP, Call, asks_seen
from coalloc.pipes.design import Design
from coalloc.pipes.eras import KernelState
from coalloc.vm.costs import CostModel
from coalloc.vm.kernelmap import MapCounters
from coalloc.vm.measuring import quartiles, small_pages, spinning
from coalloc.workload.program import Program
from coalloc.workload.replay import Outcome, replay

__all__ = ["RealRun", "Script", "record_calls", "run_real"]

_FAILED: Final = 2**64 - 1
_LOOKS: Final = 200
"""How often /proc is read in the run that counts the maps."""


Script = Sequence[Call]
"""The calls of a replay, in order."""


def record_calls(program: Program, design: Design, *, era: KernelState, limit: int) -> tuple[Outcome, list[Call]]:
    """Replay a program, and return the outcome with the calls that the design made to its kernel map.

    Args:
        program: The program.
        design: The design.
        era: Whose pipe policy.
        limit: maxpipekva in bytes.

    Raises:
        InvalidRequestError: As :func:`~coalloc.workload.replay.replay`; or for a design over a direct map, which maps nothing.
    """
    if design.policy(era).direct:
        raise InvalidRequestError("designs", design.name, "uses a direct map, so that there is nothing to measure")
    recorded, recorder = asks_seen(design)
    outcome = replay(program, recorded, era=era, limit=limit)
    return outcome, recorder().calls


@attrs.frozen
class RealRun:
    """What a design's calls cost on this machine, beside the model's estimate of the same calls.

    Args:
        outcome: The replay.
        calls: How many calls there were.
        samples: Nanoseconds of each round.
        faults: Page faults of the process in each round, less those of the empty loop; None where the system does not tell.
        maps: The most maps in /proc beyond those that were there before; None where the system does not tell.
        estimate_ns: What the model says of these calls.
        space_ns: What the model says of the design's own work, which is not measured.
    """

    outcome: Outcome
    calls: int
    samples: tuple[float, ...]
    faults: tuple[int, ...] | None
    maps: int | None
    estimate_ns: float
    space_ns: float

    @property
    def median_ns(self) -> float:
        """The median of the samples."""
        return statistics.median(self.samples)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile of the samples."""
        return quartiles(self.samples)

    @property
    def ratio(self) -> float | None:
        """The estimate by what was measured; None if nothing was measured."""
        return self.estimate_ns / self.median_ns if self.median_ns > 0 else None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data; times in nanoseconds."""
        counters = self.outcome.map
        return {
            "design": self.outcome.design,
            "calls": self.calls,
            "measured_ns": self.median_ns,
            "quartiles_ns": list(self.quartiles),
            "estimated_ns": self.estimate_ns,
            "ratio": self.ratio,
            "design_work_estimated_ns": self.space_ns,
            "faults": None if self.faults is None else statistics.median(self.faults),
            "faults_counted": counters.faults,
            "maps": self.maps,
            "entries_counted": counters.peak_entries,
            "samples_ns": list(self.samples),
        }


class _Memory:
    """The calls of this machine, and one that does nothing in their place."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        void, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
        protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._rest = (protection, flags, -1, 0)
        kinds = {
            "mmap": ctypes.CFUNCTYPE(void, void, size, number, number, number, ctypes.c_long, use_errno=True),
            "munmap": ctypes.CFUNCTYPE(number, void, size),
            "memset": ctypes.CFUNCTYPE(number, void, number, size),
            "madvise": ctypes.CFUNCTYPE(number, void, size, number),
        }
        self._calls = {name: kind((name, libc)) for name, kind in kinds.items()}
        # toascii(3) does nothing, and returns a small number, as the others do.
        self._idle = {name: kind(("toascii", libc)) for name, kind in kinds.items()}

    def run(self, calls: Script, *, real: bool, watch: Callable[[int], None] | None = None) -> float:
        """Make the calls, or as many that do nothing, and return the nanoseconds; everything is unmapped afterwards.

        Raises:
            OSError: If the machine refuses a mapping; what was mapped is unmapped.
        """
        functions = self._calls if real else self._idle
        take, unmap, touch, discard = (functions[name] for name in ("mmap", "munmap", "memset", "madvise"))
        rest = self._rest
        bases: list[int] = []
        done = 0
        start = time.perf_counter_ns()
        try:
            for kind, mapping, offset, size in calls:
                if kind == TOUCH:
                    touch(bases[mapping] + offset, 1, 1)
                elif kind == MAP:
                    base = take(None, size, *rest)
                    if real and base in (None, _FAILED):
                        what = f"the machine refuses mapping {mapping + 1:,}, of {size:,} bytes (see vm.max_map_count)"
                        raise OSError(ctypes.get_errno(), what)
                    bases.append(base or 0)
                elif kind == UNMAP:
                    unmap(bases[mapping] + offset, size)
                else:
                    discard(bases[mapping] + offset, size, mmap.MADV_DONTNEED)
                done += 1
                if watch is not None:
                    watch(done)
            return float(time.perf_counter_ns() - start)
        finally:
            for mapping, offset, size in _left(calls[:done]) if real else ():
                self._calls["munmap"](bases[mapping] + offset, size)


def _left(calls: Script) -> list[tuple[int, int, int]]:
    """Return what is mapped after some calls: the number of a mapping, an offset in it, and bytes."""
    left: dict[int, list[tuple[int, int]]] = {}
    for kind, mapping, offset, size in calls:
        if kind == MAP:
            left[mapping] = [(0, size)]
        elif kind == UNMAP:
            parts = [
                part
                for low, high in left[mapping]
                for part in ((low, min(high, offset)), (max(low, offset + size), high))
            ]
            left[mapping] = [(low, high) for low, high in parts if low < high]
    return [(mapping, low, high - low) for mapping, parts in left.items() for low, high in parts]


def run_real(
    program: Program,
    designs: Sequence[Design],
    *,
    era: KernelState,
    limit: int,
    costs: CostModel,
    rounds: int = 9,
    progress: Callable[[int], None] | None = None,
) -> list[RealRun]:
    """Replay a program against designs, and make the calls of each on memory of this machine.

    Beside the calls another thread of the process runs on another CPU, as in the model's machine of two CPUs.  Huge pages are
    not used.  The designs take turns, each round in another order, so that a change in the machine's speed meets all of them.

    Args:
        program: The program.
        designs: The designs.
        era: Whose pipe policy.
        limit: maxpipekva in bytes.
        costs: The prices of the estimates; measure them on the same machine.
        rounds: How often each design's calls are made, >= 1.
        progress: Called with the number of rounds that are done.

    Raises:
        InvalidRequestError: If ``rounds`` is not an int >= 1; or as :func:`record_calls`.
        OSError: If the machine refuses a mapping.
        CoallocError: On a system without mmap(2) in its C library.
    """
    if type(rounds) is not int or rounds < 1:
        raise InvalidRequestError("rounds", rounds, "must be an int >= 1")
    if sys.platform == "win32":  # pragma: no cover
        raise CoallocError("real memory needs a system with mmap(2)")
    recorded = [record_calls(program, design, era=era, limit=limit) for design in designs]
    memory = _Memory()
    samples: list[list[float]] = [[] for _ in designs]
    faults: list[list[int]] = [[] for _ in designs]
    with small_pages():
        with spinning(1):
            for number in range(rounds):
                for index in ((number + turn) % len(recorded) for turn in range(len(recorded))):
                    calls = recorded[index][1]
                    idle, idle_faults = _with_faults(memory, calls, real=False)
                    taken, new_faults = _with_faults(memory, calls, real=True)
                    samples[index].append(max(taken - idle, 0.0))
                    faults[index].append(max(new_faults - idle_faults, 0))
                if progress is not None:
                    progress(number + 1)
        maps = [_most_maps(memory, calls) for _, calls in recorded]
    return [
        RealRun(
            outcome,
            len(calls),
            tuple(samples[index]),
            tuple(faults[index]),
            maps[index],
            costs.estimate(outcome.map).ns,
            costs.estimate(MapCounters(), outcome.work).ns,
        )
        for index, (outcome, calls) in enumerate(recorded)
    ]


def _with_faults(memory: _Memory, calls: Script, *, real: bool) -> tuple[float, int]:
    """Make the calls, and return the nanoseconds and the page faults of this thread."""
    who = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
    before = resource.getrusage(who).ru_minflt
    taken = memory.run(calls, real=real)
    return taken, resource.getrusage(who).ru_minflt - before


def _most_maps(memory: _Memory, calls: Script) -> int | None:
    """Make the calls without timing them, and return the most maps in /proc beyond those before; None without /proc."""
    before = _maps()
    if before is None:  # pragma: no cover (another system)
        return None
    most = before
    every = max(1, len(calls) // _LOOKS)

    def look(done: int) -> None:
        nonlocal most
        if done % every == 0:
            most = max(most, _maps() or 0)

    memory.run(calls, real=True, watch=look)
    return most - before


def _maps() -> int | None:
    try:
        return len(Path("/proc/self/maps").read_bytes().splitlines())
    except OSError:  # pragma: no cover (another system)
        return None
