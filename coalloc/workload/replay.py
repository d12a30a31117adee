"""Replay: run a program against a design and report everything that was counted, as one frozen :class:`Outcome`.

Pipe programs.  A write that does not fit waits for reads to make room, as a blocked writer would: the rest is stored when
a read has left less than MINPIPESIZE bytes; what the writer does later to that buffer, its closing included, waits behind
it (``waits`` counts such writes).  A read that comes before its data takes them as they arrive (``early_reads``): in a
recording a reader may be seen before the writer whose data it got.  Operations on a pipe that was refused are passed over
(``skipped``); a write into a pipe that nobody reads any more, and what still waits there, is ``broken``; what waits when the
program ends is ``stranded``.  A read that still waits when its end is closed is dropped.

Space programs.  Every buffer is touched in full when it is handed out or grows; a buffer that was refused is passed over.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final, NamedTuple

import attrs

from coalloc.errors import ExhaustionError, InvalidRequestError, PipeError
from coalloc.pipes.budget import ConsoleLine
from coalloc.pipes.designs import Bench, Design
from coalloc.pipes.eras import Era
from coalloc.pipes.linux import LinuxPipe, LinuxPipes
from coalloc.pipes.pair import PipePair
from coalloc.pipes.system import PipeCounters, PipeSystem
from coalloc.space.protocol import Space, SpaceStats
from coalloc.vm.costs import CostModel, Estimate
from coalloc.vm.kernelmap import MapCounters
from coalloc.workload.program import PipeOpKind, PipeProgram, Program, SpaceOpKind, SpaceProgram

__all__ = ["Outcome", "Sample", "Waits", "replay"]

_CREATE: Final = int(PipeOpKind.CREATE)
_WRITE: Final = int(PipeOpKind.WRITE)
_READ: Final = int(PipeOpKind.READ)


class _Rest(NamedTuple):
    """What is left of a write that waits, and how large the whole was."""

    size: int
    whole: int


_CLOSED: Final = _Rest(0, 0)
"""In the queue of a writer that waits: its end is closed when all before is written."""


@attrs.frozen
class Sample:
    """The state after some operation: time in us (for a space program: the operation's number), sizes in bytes."""

    time: int
    live: int
    mapped: int
    resident: int
    map_ops: int
    external_fragmentation: float


@attrs.frozen
class Waits:
    """What a replay had to wait for, or pass over; counts of operations (the module's docstring defines each)."""

    waits: int = 0
    early_reads: int = 0
    skipped: int = 0
    broken: int = 0
    stranded: int = 0
    no_buffer: int = 0


@attrs.frozen
class Outcome:
    """All that a replay counted.

    Args:
        design: Name of the design.
        era: Name of the era.
        limit: The limit on pipe KVA, in bytes.
        pipes: What the pipe system did; all 0 for a space program.
        map: What the kernel map did.
        space: What the space did, at the end of the program.
        waits: What the replay had to wait for.
        peak_live: Most bytes handed out at any time.
        allocs_refused: Requests of a space program that were refused.
        carves: Calls that the space served from arenas; 0 where every buffer is a mapping.
        series: Samples in order, evenly spread over the operations; the last is the final state.
        console: What was printed on the console.
    """

    design: str
    era: str
    limit: int
    pipes: PipeCounters
    map: MapCounters
    space: SpaceStats
    waits: Waits
    peak_live: int
    allocs_refused: int
    carves: int
    series: tuple[Sample, ...]
    console: tuple[ConsoleLine, ...]

    @property
    def mean_external_fragmentation(self) -> float:
        """Mean over the samples of the share of free bytes outside the largest hole (per-pipe: gap of the map)."""
        return sum(sample.external_fragmentation for sample in self.series) / len(self.series) if self.series else 0.0

    def estimate(self, costs: CostModel) -> Estimate:
        """Estimate the cost from the counts and these prices."""
        return costs.estimate(self.map, space_ops=self.carves)


Watch = Callable[[int, int, Bench], None]
"""Is called after each operation with the number done, the bytes live, and the bench."""


def replay(
    program: Program,
    design: Design,
    *,
    era: Era,
    limit: int,
    samples: int = 400,
    progress: Callable[[int], None] | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Run a program against a design and return what was counted.

    Args:
        program: What to run.
        design: What gives out the buffers.
        era: Whose pipe policy and map search hold.
        limit: maxpipekva in bytes, at least a page.
        samples: How many samples the series has at most, >= 1.
        progress: Is told at each sample how many operations are done.
        watch: Is called after every operation; it must change nothing.

    Raises:
        InvalidRequestError: For a limit or a number of samples outside its range.

    Guarantees:
        Equal arguments give equal outcomes (I13).
    """
    for what, value, kind in (("program", program, Program), ("design", design, Design), ("era", era, Era)):
        if not isinstance(value, kind):
            raise InvalidRequestError(
                what, value, f"must be a {getattr(kind, '__name__', 'PipeProgram or a SpaceProgram')}"
            )
    if type(samples) is not int or samples < 1:
        raise InvalidRequestError("samples", samples, "must be an int >= 1")
    bench = design.build(era, limit)
    runner: _PipeRunner | _SpaceRunner
    if isinstance(program, PipeProgram):
        runner = _PipeRunner(program, design.pipes(era, bench.space, limit))
    else:
        runner = _SpaceRunner(program, bench.space)
    series: list[Sample] = []
    stride = max(-(-len(program) // samples), 1)
    for done in range(stride, len(program) + stride, stride):
        done = min(done, len(program))
        if watch is None:
            runner.run(stride)
        else:
            for number in range(done - (done - 1) % stride, done + 1):
                runner.run(1)
                watch(number, runner.live, bench)
        series.append(_sample(runner.time, runner.live, bench))
        if progress is not None:
            progress(done)
    kernel, stats = bench.kernel, bench.space.stats()
    return Outcome(
        design=design.name,
        era=design.policy(era).name,
        limit=limit,
        pipes=runner.pipes,
        map=kernel.counters(),
        space=stats,
        waits=runner.waits,
        peak_live=runner.peak_live,
        allocs_refused=runner.allocs_refused,
        carves=0 if bench.space.contract.fit is None else stats.allocs + stats.frees,
        series=tuple(series),
        console=runner.console,
    )


def _sample(time: int, live: int, bench: Bench) -> Sample:
    kernel, space = bench.kernel, bench.space
    counters = kernel.counters()
    if space.contract.fit is None:  # no holes of its own: the gaps of the map are what a buffer has to fit
        free = kernel.size - counters.mapped
        fragmentation = 1 - kernel.available() / free if free else 0.0
    else:
        fragmentation = space.stats().external_fragmentation
    return Sample(time, live, counters.mapped, counters.resident, counters.map_ops, fragmentation)


class _PipeRunner:
    """Runs a pipe program; writers that wait, and readers that came early, are kept by pipe and writing end."""

    allocs_refused = 0

    def __init__(self, program: PipeProgram, system: PipeSystem | LinuxPipes) -> None:
        self._rows = program.rows()
        self._system = system
        self._pairs: list[PipePair | LinuxPipe | None] = []
        self._waiting: dict[tuple[int, int], deque[_Rest]] = {}
        self._early: dict[tuple[int, int], int] = {}  # bytes still to read of what that end writes
        self._waits = self._early_reads = self._skipped = self._broken = self._no_buffer = 0
        self.time = 0

    def run(self, n: int) -> None:
        """Run the next ``n`` operations, or those that are left."""
        pairs, waiting, early = self._pairs, self._waiting, self._early
        clock = self._system.clock
        time = self.time
        for time, kind, pipe, end, size in islice(self._rows, n):
            clock.now = time * 1000
            if kind == _CREATE:
                try:
                    pairs.append(self._system.pipe())
                except PipeError:
                    pairs.append(None)
                continue
            pair = pairs[pipe]
            if pair is None:
                self._skipped += 1
            elif kind == _WRITE:
                if waiting and (pipe, end) in waiting:
                    waiting[pipe, end].append(_Rest(size, size))
                    self._waits += 1
                else:
                    self._write(pair, pipe, end, size)
                    if early and (pipe, end) in early:
                        self._go_on(pair, pipe, end)
            elif kind == _READ:
                half = pair.halves[end]
                if half.ring.cnt >= size:
                    pair.read(end, size)
                else:
                    self._early_reads += 1
                    early[pipe, 1 - end] = early.get((pipe, 1 - end), 0) + size
                    self._go_on(pair, pipe, 1 - end)
                if waiting and (pipe, 1 - end) in waiting:
                    self._go_on(pair, pipe, 1 - end)
            elif waiting and (pipe, end) in waiting:
                waiting[pipe, end].append(_CLOSED)
            else:
                self._close(pair, pipe, end)
        self.time = time

    def _write(self, pair: PipePair | LinuxPipe, pipe: int, end: int, size: int) -> None:
        """Write, and let the rest wait."""
        try:
            taken = pair.write(end, size)
        except PipeError as error:
            if error.errno != errno.EAGAIN:
                self._count_failure(error)
                return
            taken = 0
        if taken < size:
            self._waits += 1
            self._waiting[pipe, end] = deque([_Rest(size - taken, size)])

    def _count_failure(self, error: PipeError) -> None:
        if error.errno == errno.ENOMEM:
            self._no_buffer += 1
        else:
            self._broken += 1

    def _go_on(self, pair: PipePair | LinuxPipe, pipe: int, end: int) -> None:
        """Let early reads have what was written at ``end``, and waiting writes store what there is room for, in turn."""
        key = pipe, end
        while True:
            wanted = self._early.get(key, 0)
            ready = min(wanted, pair.halves[1 - end].ring.cnt)
            if ready:
                pair.read(1 - end, ready)
                if ready == wanted:
                    del self._early[key]
                else:
                    self._early[key] = wanted - ready
            queue = self._waiting.get(key)
            stored = bool(queue) and pair.wakes_writer(end) and self._resume(pair, pipe, end, self._waiting[key])
            if not stored and not ready:
                return

    def _resume(self, pair: PipePair | LinuxPipe, pipe: int, end: int, queue: deque[_Rest]) -> bool:
        """Store what waits first, and all that fits behind it; return whether anything was stored or closed."""
        stored = False
        while queue:
            rest = queue[0]
            if rest is _CLOSED:
                del self._waiting[pipe, end]
                self._close(pair, pipe, end)
                return True
            try:
                taken = pair.write(end, rest.size, rest_of=rest.whole)
            except PipeError:
                return stored
            stored = True
            if taken < rest.size:
                queue[0] = _Rest(rest.size - taken, rest.whole)
                return True
            queue.popleft()
        del self._waiting[pipe, end]
        return stored

    def _close(self, pair: PipePair | LinuxPipe, pipe: int, end: int) -> None:
        pair.close(end)
        self._early.pop((pipe, 1 - end), None)
        waiting = self._waiting.pop((pipe, 1 - end), None)  # whoever waits to write here never can
        if waiting is not None:
            self._broken += sum(1 for rest in waiting if rest is not _CLOSED)
            if _CLOSED in waiting:
                self._close(pair, pipe, 1 - end)

    @property
    def live(self) -> int:
        """Bytes of all buffers."""
        return self._system.budget.kva_used

    @property
    def peak_live(self) -> int:
        """Most bytes of all buffers at any time."""
        return self._system.budget.peak

    @property
    def pipes(self) -> PipeCounters:
        """What the pipe system did."""
        return self._system.counters()

    @property
    def console(self) -> tuple[ConsoleLine, ...]:
        """What was printed."""
        return tuple(self._system.console.lines)

    @property
    def waits(self) -> Waits:
        """What had to wait."""
        return Waits(
            waits=self._waits,
            early_reads=self._early_reads,
            skipped=self._skipped,
            broken=self._broken,
            stranded=sum(1 for queue in self._waiting.values() for rest in queue if rest is not _CLOSED),
            no_buffer=self._no_buffer,
        )


class _SpaceRunner:
    """Runs a space program."""

    pipes = PipeCounters()
    console: tuple[ConsoleLine, ...] = ()

    def __init__(self, program: SpaceProgram, space: Space) -> None:
        self._rows = program.rows()
        self._space = space
        self._bases: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._skipped = 0
        self.time = 0
        self.live = 0
        self.peak_live = 0
        self.allocs_refused = 0

    def run(self, n: int) -> None:
        """Run the next ``n`` operations, or those that are left."""
        space, bases = self._space, self._bases
        for kind, buffer, size in islice(self._rows, n):
            self.time += 1
            if kind != SpaceOpKind.ALLOC and buffer not in bases:
                self._skipped += 1
                continue
            if kind == SpaceOpKind.FREE:
                space.free(bases.pop(buffer))
                self.live -= self._sizes.pop(buffer)
                continue
            try:
                base = space.alloc(size) if kind == SpaceOpKind.ALLOC else space.resize(bases[buffer], size)
            except ExhaustionError:
                self.allocs_refused += 1
                continue
            bases[buffer] = base
            rounded = space.size_of(base)
            space.touch(base, rounded)
            self.live += rounded - self._sizes.get(buffer, 0)
            self._sizes[buffer] = rounded
            self.peak_live = max(self.peak_live, self.live)

    @property
    def waits(self) -> Waits:
        """What was passed over."""
        return Waits(skipped=self._skipped)
