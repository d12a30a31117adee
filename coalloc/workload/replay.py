"""Replay: run a program against a design and report everything that was counted, as one frozen :class:`Outcome`.

Pipe programs.  A write that does not fit waits for reads to make room, as a blocked writer does.  The rest is stored when a
read has left less than MINPIPESIZE bytes.  A large write goes directly from the writer's pages in kernels that do so: it waits
until the buffer is empty, and then until its last byte is read.  Later calls of the writer on that buffer, its close included,
wait behind it (``waits`` counts such writes).  A try to write never goes directly, and its rest waits in the same way, since
an event loop tries again.  A try to read takes what there is, and counts as ``empty`` if there is nothing.  A change of size
that a kernel does not allow is ``unsized``.  A read that comes before its data takes them as they arrive (``early_reads``),
since in a recording a reader may be seen before the writer of its data.  Operations on a refused pipe are skipped
(``skipped``).  A write into a pipe whose reader is gone is ``broken``, and so is a write that waits when the reader goes.  A
write that waits when the program ends is ``stranded``.  A write for which there was no buffer fails (``no_buffer``).  A read
that still waits when its writer or its own end is closed has met the end of the file (``at_eof``), and one that waits when the
program ends is ``unread``.

CPUs.  A space with per-CPU parts (:class:`~coalloc.space.protocol.PerCpu`) is told on which CPU an operation runs.  Where a
program does not say this, it is the number of the pipe, or of the buffer; both are modulo ``cpus``.

Space programs.  Every buffer is touched in full when it is handed out or grows.  Operations on a refused buffer are skipped.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from functools import partial
from itertools import islice, repeat
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

from coalloc._html import table
from coalloc._imports import needs_extra
from coalloc.errors import ExhaustionError, InvalidRequestError, PipeError
from coalloc.pipes.budget import ConsoleLine
from coalloc.pipes.buffers import Buffers
from coalloc.pipes.design import Bench, Design
from coalloc.pipes.eras import PIPE_MINDIRECT, KernelState
from coalloc.pipes.half import Half
from coalloc.pipes.pair import PipePair
from coalloc.pipes.protocol import Pipe, PipeCounters, Pipes
from coalloc.space.protocol import FullSpace, SpaceStats, per_cpu
from coalloc.units import MAX_SIZE, Extremes
from coalloc.vm.costs import CostModel, Estimate, SpaceWork
from coalloc.vm.kernelmap import MapCounters
from coalloc.workload.program import PipeOpKind, PipeProgram, Program, SpaceOpKind, SpaceProgram
from coalloc.workload.rounds import Figures, Rounds

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Outcome", "Sample", "Waits", "replay", "replay_all"]

_CREATE: Final = int(PipeOpKind.CREATE)
_WRITE: Final = int(PipeOpKind.WRITE)
_READ: Final = int(PipeOpKind.READ)
_SET_SIZE: Final = int(PipeOpKind.SET_SIZE)
_TRY_WRITE: Final = int(PipeOpKind.TRY_WRITE)
_TRY_READ: Final = int(PipeOpKind.TRY_READ)
_ALLOC: Final = int(SpaceOpKind.ALLOC)
_FREE: Final = int(SpaceOpKind.FREE)


class _Rest(NamedTuple):
    """The rest of a waiting write, the size of the whole write, and whether it blocks, so that it may go directly.

    A rest of no bytes is that of a direct write which is not yet read.
    """

    size: int
    whole: int
    blocks: bool


_CLOSED: Final = _Rest(0, 0, blocks=False)
"""An entry in the queue of a waiting writer: its end is closed when everything before it has been written."""


@attrs.frozen
class Sample:
    """The state after an operation, and the extremes since the sample before.

    Args:
        time: In microseconds; for space programs the operation's number.
        live: Bytes of all buffers now,
        mapped: bytes mapped, and
        resident: bytes with a physical page.
        map_ops: Map operations so far.
        external_fragmentation: The share of free bytes outside the largest hole; None if it is not known.
        live_range: The least and the most bytes of all buffers since the sample before; likewise
        mapped_range: of bytes mapped, and
        resident_range: of bytes with a page.  The most of all samples is the peak of the replay.
    """

    time: int
    live: int
    mapped: int
    resident: int
    map_ops: int
    external_fragmentation: float | None
    live_range: Extremes
    mapped_range: Extremes
    resident_range: Extremes


@attrs.frozen
class Waits:
    """Counts of the operations that waited or were skipped; the module's docstring defines each count."""

    waits: int = 0
    early_reads: int = 0
    skipped: int = 0
    broken: int = 0
    stranded: int = 0
    no_buffer: int = 0
    at_eof: int = 0
    unread: int = 0
    empty: int = 0
    unsized: int = 0


@attrs.frozen
class Outcome:
    """All counts of a replay.

    Args:
        design: Name of the design.
        era: Name of the era.
        limit: The limit on pipe KVA, in bytes.
        pipes: The counters of the pipe system; all 0 for a space program.
        map: The counters of the kernel map.
        space: The figures of the space at the end of the program.
        waits: The operations that waited or were skipped.
        peak_live: The most bytes handed out at any time.
        allocs_refused: Requests of a space program that were refused.
        work: What the space did itself: hits in its cache, carves, coalescences.
        series: Samples in order, evenly spread over the operations; the last is the final state.
        console: The lines that were printed on the console.
        rounds_counted: Rounds of long transfers that were counted instead of run; see :mod:`~coalloc.workload.rounds`.
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
    work: SpaceWork
    series: tuple[Sample, ...]
    console: tuple[ConsoleLine, ...]
    rounds_counted: int = 0

    @property
    def mean_external_fragmentation(self) -> float | None:
        """The share of free bytes outside the largest hole (per-pipe: gap of the map), as the mean over the samples.

        It is None if the space does not show its holes.
        """
        known = [share for sample in self.series if (share := sample.external_fragmentation) is not None]
        if len(known) < len(self.series):
            return None
        return sum(known) / len(known) if known else 0.0

    def to_dataframe(self) -> DataFrame:
        """Return the samples as a data frame of pandas: a row for each, sizes in bytes, with the least and the most of each.

        Raises:
            MissingExtraError: If pandas is not installed.
        """
        with needs_extra("frame"):
            import pandas
        records = []
        for sample in self.series:
            record = attrs.asdict(sample, recurse=False)
            for name in ("live", "mapped", "resident"):
                record[f"{name}_least"], record[f"{name}_most"] = record.pop(f"{name}_range")
            records.append(record)
        return pandas.DataFrame(records)

    def _repr_html_(self) -> str:
        """Show every count that is not 0 in a notebook."""
        groups = {
            "pipes": attrs.asdict(self.pipes),
            "map": attrs.asdict(self.map),
            "space": attrs.asdict(self.space),
            "waits": attrs.asdict(self.waits),
            "work": attrs.asdict(self.work),
        }
        rows: list[tuple[str, object]] = [("peak_live", self.peak_live), ("allocs_refused", self.allocs_refused)]
        rows += [
            (f"{group}.{name}", value)
            for group, counters in groups.items()
            for name, value in counters.items()
            if isinstance(value, int | float) and value
        ]
        return table(["count", ""], rows, f"{self.design}, era {self.era}, limit {self.limit:,} bytes")

    def estimate(self, costs: CostModel) -> Estimate:
        """Estimate the cost from the counts and these prices."""
        return costs.estimate(self.map, self.work)


Watch = Callable[[int, int, Bench], None]
"""A function that is called after each operation with the number done, the live bytes, and the bench."""


def replay(
    program: Program,
    design: Design,
    *,
    era: KernelState,
    limit: int,
    samples: int = 400,
    cpus: int = 1,
    progress: Callable[[int], None] | None = None,
    watch: Watch | None = None,
) -> Outcome:
    """Run a program against a design and return what was counted.

    Args:
        program: The program to run.
        design: The design that hands out the buffers.
        era: The era whose pipe policy and map search hold.
        limit: maxpipekva in bytes, at least a page.
        samples: The most samples of the series, >= 1.
        cpus: The number of CPUs on which the operations run, >= 1; the machine has at least two.
        progress: Called at each sample with the number of operations done.
        watch: Called after every operation; it must change nothing.

    Raises:
        InvalidRequestError: For a limit, or a number of samples or CPUs, outside its range.

    Guarantees:
        Equal arguments give equal outcomes (I13).
    """
    for what, value, kind in (("program", program, Program), ("design", design, Design), ("era", era, KernelState)):
        if not isinstance(value, kind):
            raise InvalidRequestError(
                what, value, f"must be a {getattr(kind, '__name__', 'PipeProgram or a SpaceProgram')}"
            )
    if type(samples) is not int or samples < 1:
        raise InvalidRequestError("samples", samples, "must be an int >= 1")
    if type(cpus) is not int or cpus < 1:
        raise InvalidRequestError("cpus", cpus, "must be an int >= 1")
    bench = design.build(era, limit, cpus=max(cpus, 2))
    runner: _PipeRunner | _SpaceRunner
    if isinstance(program, PipeProgram):
        runner = _PipeRunner(program, design.pipes(era, bench.space, limit), bench, cpus)
    else:
        runner = _SpaceRunner(program, bench.space, cpus)
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
        series.append(_sample(runner, bench, one_by_one=design.one_by_one))
        if progress is not None:
            progress(done)
    stats, counters = runner.rounds.total(bench.space.stats()), runner.rounds.total(bench.kernel.counters())
    return Outcome(
        design=design.name,
        era=design.policy(era).name,
        limit=limit,
        pipes=runner.rounds.total(runner.pipes),
        map=counters,
        space=stats,
        waits=runner.waits,
        rounds_counted=runner.rounds.counted,
        peak_live=runner.peak_live,
        allocs_refused=runner.allocs_refused,
        work=SpaceWork.of(stats.allocs, stats.cache_hits, stats.coalesces, counters.map_ops),
        series=tuple(series),
        console=runner.console,
    )


def replay_all(
    program: Program,
    designs: Iterable[Design],
    *,
    era: KernelState,
    limit: int,
    samples: int = 400,
    cpus: int = 1,
    executor: Executor | None = None,
) -> tuple[Outcome, ...]:
    """Run a program against several designs, and return the outcomes in the order of the designs.

    Args:
        program: The program to run; an executor of processes gets a copy for each design.
        designs: The designs that hand out the buffers.
        era: The era whose pipe policy and map search hold.
        limit: maxpipekva in bytes.
        samples: As in :func:`replay`.
        cpus: As in :func:`replay`.
        executor: Runs the replays, such as a ``ProcessPoolExecutor``; without one they run here, one after the other.

    Raises:
        InvalidRequestError: As :func:`replay`, from the first design that fails.

    Guarantees:
        The outcomes do not depend on the executor.

    >>> from coalloc import DESIGNS, ERAS, bundled_build
    >>> both = replay_all(bundled_build(), [DESIGNS["per-pipe"], DESIGNS["coalescing"]], era=ERAS["2006"], limit=1 << 24)
    >>> [outcome.map.map_ops for outcome in both]
    [2160, 1]
    """
    run = partial(replay, program, era=era, limit=limit, samples=samples, cpus=cpus)
    return tuple(map(run, designs) if executor is None else executor.map(run, designs))


def _sample(runner: _PipeRunner | _SpaceRunner, bench: Bench, *, one_by_one: bool) -> Sample:
    kernel, space = bench.kernel, bench.space
    counters = runner.rounds.total(kernel.counters())
    fragmentation: float | None
    if not space.stats().knows_holes:
        fragmentation = None
    elif one_by_one:  # no holes of its own: the gaps of the map are what a buffer has to fit
        free = kernel.size - counters.mapped
        fragmentation = 1 - kernel.available() / free if free else 0.0
    else:
        fragmentation = space.stats().external_fragmentation
    now = (runner.time, runner.live, counters.mapped, counters.resident, counters.map_ops, fragmentation)
    return Sample(*now, runner.extremes(), *kernel.extremes())


class _PipeRunner:
    """Run a pipe program; waiting writers and early readers are kept by the number of the writing end.

    End e of pipe p has the number 2p + e; the number of the other end differs in the lowest bit.

    While nobody waits at an end, and FreeBSD's buffers do not have to shrink, a write there that fits and is too small to go
    directly changes no buffer, and neither does a read of buffered data.  Most operations are of these kinds, and ``run`` does
    them directly on the half.  The pipe does all others.
    """

    allocs_refused = 0

    def __init__(self, program: PipeProgram, machine: Pipes, bench: Bench, cpus: int) -> None:
        self._owner = program.owner
        kernel, space = bench.kernel, bench.space
        self.rounds = Rounds(lambda: Figures(machine.counters(), kernel.counters(), space.stats()))
        self._machine = machine
        self._buffers = machine if isinstance(machine, Buffers) else None
        self._told = per_cpu(space, cpus)
        on = repeat(0, len(program)) if self._told is None else program.cpus_of(cpus)
        self._rows = zip(*program.columns(), on, strict=True)
        # Closed pipes and halves are removed, so that their memory is used again.
        self._pipes: dict[int, Pipe] = {}
        self._halves: dict[int, Half] = {}  # of FreeBSD's pipes, by the end that writes into them
        self._unblocked: dict[int, Half] = {}  # those of them where nobody waits
        self._waiting: dict[int, deque[_Rest]] = {}
        self._ended: set[int] = set()  # closed ends of pipes that are still there
        self._early: dict[int, int] = {}  # bytes still to read of what that end writes
        self._readers: dict[int, int] = {}  # and by how many reads
        self._at_eof = 0
        self._waits = self._early_reads = self._skipped = self._broken = 0
        self._no_buffer = self._empty = self._unsized = 0
        self.time = 0

    def run(self, n: int) -> None:
        """Run the next ``n`` operations, or those that are left."""
        told, clock, buffers = self._told, self._machine.clock, self._buffers
        shrinks = buffers is not None and buffers.era.shrinks
        direct = PIPE_MINDIRECT if buffers is not None and buffers.era.direct_writes else MAX_SIZE
        nothing: dict[int, Half] = {}
        unblocked = nothing if buffers is None or buffers.lean else self._unblocked
        writes = written = reads = read = 0
        time = self.time
        for time, kind, pipe, end, size, cpu in islice(self._rows, n):
            if kind == _WRITE:
                half = unblocked.get(2 * pipe + end)
                if half is not None and half.cnt + size <= half.size and size < direct:
                    half.put(size)
                    if half.high > half.touched and buffers is not None:
                        if told is not None:
                            told.cpu = cpu
                        buffers.touch(half, half.high)
                    writes += 1
                    written += size
                    continue
            elif kind == _READ:
                half = unblocked.get(2 * pipe + 1 - end)
                if half is not None and half.cnt >= size:
                    half.get(size)
                    reads += 1
                    read += size
                    continue
            clock.now = time * 1000
            if told is not None:
                told.cpu = cpu
            if kind == _CREATE:
                self._create(pipe, size)
            else:
                self._call(kind, pipe, end, size)
            if shrinks and buffers is not None:
                unblocked = nothing if buffers.lean else self._unblocked
        self.time = time
        clock.now = time * 1000
        if buffers is not None:
            buffers.writes += writes
            buffers.bytes_written += written
            buffers.reads += reads
            buffers.bytes_read += read

    def _create(self, pipe: int, uid: int) -> None:
        """Create a pipe; what is done to one that is refused will be passed over."""
        try:
            made = self._machine.pipe(self._owner(uid))
        except PipeError:
            return
        self._pipes[pipe] = made
        if isinstance(made, PipePair):
            halves, number = made.halves, 2 * pipe
            self._halves[number + 1] = self._unblocked[number + 1] = halves[0]
            self._halves[number] = self._unblocked[number] = halves[1]

    def _call(self, kind: int, pipe: int, end: int, size: int) -> None:
        """Run an operation on an end by the calls of its pipe."""
        it, number = self._pipes.get(pipe), 2 * pipe + end
        if it is None:
            self._skipped += 1
        elif kind in (_WRITE, _TRY_WRITE):
            if number in self._waiting:
                self._waiting[number].append(_Rest(size, size, blocks=kind == _WRITE))
                self._waits += 1
                return
            self._write(it, number, size, blocks=kind == _WRITE)
            if number in self._early:
                self._go_on(it, number)
            self._note_who_waits(number)
        elif kind == _SET_SIZE:
            self._set_size(it, pipe, size)
        elif kind == _READ:
            self._read(it, number, size)
        elif kind == _TRY_READ:
            self._try_read(it, number, size)
        elif number in self._waiting:
            self._waiting[number].append(_CLOSED)
        else:
            self._close(it, number)

    def _read(self, pipe: Pipe, number: int, size: int) -> None:
        """Read at an end, and let what is missing wait for its writer."""
        end, writer = number & 1, number ^ 1
        if pipe.readable(end) >= size:
            pipe.read(end, size)
            if writer not in self._waiting:
                return
        else:
            self._early_reads += 1
            self._early[writer] = self._early.get(writer, 0) + size
            self._readers[writer] = self._readers.get(writer, 0) + 1
        self._go_on(pipe, writer)
        if writer in self._ended:
            self._meet_end_of_file(writer)
        self._note_who_waits(writer)

    def _try_read(self, pipe: Pipe, number: int, size: int) -> None:
        """Read what there is at an end, up to so many bytes."""
        writer = number ^ 1
        try:
            got = pipe.read(number & 1, size)
        except PipeError:
            self._empty += 1
            return
        self._at_eof += not got
        if writer in self._waiting:
            self._go_on(pipe, writer)
            self._note_who_waits(writer)

    def _set_size(self, pipe: Pipe, number: int, size: int) -> None:
        """Change the size of a pipe; who waits to write may go on then."""
        try:
            pipe.set_size(size)
        except PipeError:
            self._unsized += 1
            return
        writer = 2 * number + 1
        if writer in self._waiting:
            self._go_on(pipe, writer)
            self._note_who_waits(writer)

    def _note_who_waits(self, number: int) -> None:
        """Note whether anybody waits to write at an end, or to read what is written there."""
        half = self._halves.get(number)
        if half is None:
            return
        if number in self._waiting or number in self._early:
            self._unblocked.pop(number, None)
        else:
            self._unblocked[number] = half

    def _write(self, pipe: Pipe, number: int, size: int, *, blocks: bool) -> None:
        """Write, and let the rest wait."""
        try:
            taken = pipe.write(number & 1, size, direct=blocks)
        except PipeError as error:
            if error.errno == errno.ENOMEM:
                self._no_buffer += 1
                return
            if error.errno != errno.EAGAIN:
                self._broken += 1
                return
            taken = 0
        if taken < size or pipe.writes_directly(number & 1):
            self._waits += 1
            self._waiting[number] = deque([_Rest(size - taken, size, blocks)])

    def _go_on(self, pipe: Pipe, number: int) -> None:
        """Let early reads have what was written at an end, and waiting writes store what there is room for, in turn."""
        end = number & 1
        self.rounds.begin()
        while True:
            wanted = self._early.get(number, 0)
            ready = min(wanted, pipe.readable(1 - end))
            if ready:
                pipe.read(1 - end, ready)
                if ready == wanted:
                    del self._early[number], self._readers[number]
                else:
                    self._early[number] = wanted - ready
            stored = number in self._waiting and pipe.wakes_writer(end) and self._resume(pipe, number)
            if not stored and not ready:
                return
            first = self._waiting[number][0] if number in self._waiting and number in self._early else _CLOSED
            if first.size:
                moved = self.rounds.leap(self._early[number], first.size)
                if moved:
                    self._early[number] -= moved
                    self._waiting[number][0] = first._replace(size=first.size - moved)

    def _resume(self, pipe: Pipe, number: int) -> bool:
        """Store what waits first, and all that fits behind it; return whether anything was stored or closed."""
        queue = self._waiting[number]
        stored = False
        while queue:
            rest = queue[0]
            if rest is _CLOSED:
                del self._waiting[number]
                self._close(pipe, number)
                return True
            if not rest.size:
                if pipe.writes_directly(number & 1):
                    return stored
                queue.popleft()
                stored = True
                continue
            try:
                taken = pipe.write(number & 1, rest.size, direct=rest.blocks, rest_of=rest.whole)
            except PipeError:
                return stored
            stored = True
            if taken < rest.size or pipe.writes_directly(number & 1):
                queue[0] = rest._replace(size=rest.size - taken)
                return True
            queue.popleft()
        del self._waiting[number]
        return stored

    def _close(self, pipe: Pipe, number: int) -> None:
        pipe.close(number & 1)
        self._ended.add(number)
        writer = number ^ 1
        if self._halves.pop(writer, None) is not None:
            self._unblocked.pop(writer, None)
        if pipe.finished:
            del self._pipes[number >> 1]
            self._ended -= {number, writer}
        for end in (number, writer):  # nothing comes any more, or nobody reads any more
            self._meet_end_of_file(end)
        if writer in self._waiting:  # whoever waits to write here never can
            waiting = self._waiting.pop(writer)
            self._broken += sum(1 for rest in waiting if rest is not _CLOSED)
            if _CLOSED in waiting:
                self._close(pipe, writer)

    def _meet_end_of_file(self, writer: int) -> None:
        """Count the reads that still wait for what an end writes as reads at the end of the file."""
        if writer in self._early:
            del self._early[writer]
            self._at_eof += self._readers.pop(writer)

    @property
    def live(self) -> int:
        """Bytes of all buffers."""
        return self._machine.kva_used

    @property
    def peak_live(self) -> int:
        """Most bytes of all buffers at any time."""
        return self._machine.peak_kva_used

    def extremes(self) -> Extremes:
        """Return the least and the most bytes of all buffers since the last call."""
        return self._machine.extremes()

    @property
    def pipes(self) -> PipeCounters:
        """What the pipe system did."""
        return self._machine.counters()

    @property
    def console(self) -> tuple[ConsoleLine, ...]:
        """What was printed."""
        return tuple(self._machine.console_lines)

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
            at_eof=self._at_eof,
            unread=sum(self._readers.values()),
            empty=self._empty,
            unsized=self._unsized,
        )


def _nothing() -> Figures:
    return Figures(PipeCounters(), MapCounters(), SpaceStats())


class _SpaceRunner:
    """Runs a space program."""

    pipes = PipeCounters()
    console: tuple[ConsoleLine, ...] = ()

    def __init__(self, program: SpaceProgram, space: FullSpace, cpus: int) -> None:
        self._rows = program.rows()
        self.rounds = Rounds(_nothing)
        self._space = space
        self._cpus = cpus
        self._told = per_cpu(space, cpus)
        self._bases: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._skipped = 0
        self.time = 0
        self.live = 0
        self.peak_live = 0
        self.allocs_refused = 0
        self._least = self._most = 0

    def extremes(self) -> Extremes:
        """Return the least and the most bytes of all buffers since the last call."""
        found = Extremes(self._least, self._most)
        self._least = self._most = self.live
        return found

    def run(self, n: int) -> None:
        """Run the next ``n`` operations, or those that are left."""
        space, bases = self._space, self._bases
        for kind, buffer, size in islice(self._rows, n):
            self.time += 1
            if self._told is not None:
                self._told.cpu = buffer % self._cpus
            if kind != _ALLOC and buffer not in bases:
                self._skipped += 1
                continue
            if kind == _FREE:
                space.free(bases.pop(buffer))
                self.live -= self._sizes.pop(buffer)
                self._least = min(self._least, self.live)
                continue
            try:
                base = space.alloc(size) if kind == _ALLOC else space.resize(bases[buffer], size)
            except ExhaustionError:
                self.allocs_refused += 1
                continue
            bases[buffer] = base
            rounded = space.size_of(base)
            space.touch(base, rounded)
            self.live += rounded - self._sizes.get(buffer, 0)
            self._sizes[buffer] = rounded
            self._least, self._most = min(self._least, self.live), max(self._most, self.live)
            self.peak_live = max(self.peak_live, self.live)

    @property
    def waits(self) -> Waits:
        """What was passed over."""
        return Waits(skipped=self._skipped)
