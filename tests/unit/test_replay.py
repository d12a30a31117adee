"""Replay: counts, waiting writers, early reads, refusals, samples."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalloc import (
    COSTS,
    DESIGNS,
    ERAS,
    Design,
    Era,
    InvalidRequestError,
    KernelMap,
    PerPipeSpace,
    PipeOp,
    PipeOpKind,
    PipeProgram,
    SpaceProgram,
    bundled_build,
    replay,
)
from coalloc.designs import find_designs
from coalloc.pipes.budget import Owner
from coalloc.pipes.design import Bench
from coalloc.pipes.eras import KernelState
from coalloc.pipes.protocol import Pipes
from coalloc.sched.clock import SimClock
from coalloc.space.protocol import FullSpace
from coalloc.vm.costs import EVENTS, SpaceWork
from coalloc.workload.generators import churn, exhaustion, hackbench
from coalloc.workload.overlay import overlay
from coalloc.workload.program import Program
from coalloc.workload.replay import Outcome, Waits, replay_all

C, W, R, X, S, TW, TR = PipeOpKind
LIMIT = 1 << 20
BUILD = bundled_build()


def run(*rows: tuple[int, ...], era: str = "2004-01", design: str = "coalescing", limit: int = LIMIT) -> Outcome:
    """Replay rows at times 0, 1, 2, ..."""
    ops = [PipeOp(time, *row) for time, row in enumerate(rows)]  # type: ignore[arg-type]
    return replay(PipeProgram(ops), DESIGNS[design], era=ERAS[era], limit=limit)


def test_a_write_that_does_not_fit_waits_for_reads() -> None:
    """A write that does not fit waits for reads, and the writer's next calls wait behind it."""
    outcome = run(
        (C, 0), (TW, 0, 1, 16384), (W, 0, 1, 5000), (W, 0, 1, 10), (X, 0, 1),
        (R, 0, 0, 10000), (R, 0, 0, 6384), (R, 0, 0, 5010), (X, 0, 0),
    )  # fmt: skip
    assert outcome.waits == Waits(waits=2)
    assert (outcome.pipes.bytes_written, outcome.pipes.bytes_read, outcome.pipes.pipes) == (21394, 21394, 0)


def test_a_writer_is_not_woken_while_much_is_left() -> None:
    """A writer is woken when less than MINPIPESIZE, 5461 bytes, is left in the buffer."""
    outcome = run((C, 0), (TW, 0, 1, 16384), (W, 0, 1, 600), (R, 0, 0, 16384 - 5461), (X, 0, 0), (X, 0, 1))
    assert outcome.waits == Waits(waits=1, broken=1)
    woken = run((C, 0), (TW, 0, 1, 16384), (W, 0, 1, 600), (R, 0, 0, 16384 - 5460), (X, 0, 0), (X, 0, 1))
    assert woken.waits == Waits(waits=1)
    assert woken.pipes.bytes_written == 16984


def test_a_read_that_comes_early_has_its_data_when_they_come() -> None:
    """An early read gets its data as they come, and its rest is dropped when its end closes."""
    outcome = run((C, 0), (R, 0, 0, 100), (W, 0, 1, 60), (W, 0, 1, 60), (R, 0, 0, 500), (X, 0, 0), (X, 0, 1))
    assert outcome.waits == Waits(early_reads=2, at_eof=1)
    assert (outcome.pipes.bytes_read, outcome.pipes.bytes_written) == (120, 120)


def test_a_read_that_never_gets_its_data_has_met_the_end_of_the_file() -> None:
    """It is counted when its writer closes, or as unread when the program ends; each read counts once."""
    closed = run((C, 0), (R, 0, 0, 100), (R, 0, 0, 10), (X, 0, 1))
    assert closed.waits == Waits(early_reads=2, at_eof=2)
    for closes in ((X, 0, 1), (X, 0, 0)):
        read = run((C, 0), (W, 0, 1, 5), (R, 0, 0, 9), closes)
        assert (read.waits, read.pipes.bytes_read) == (Waits(early_reads=1, at_eof=1), 5)
    late = run((C, 0), (W, 0, 1, 5), (X, 0, 1), (R, 0, 0, 9), (R, 0, 0, 1))
    assert (late.waits, late.pipes.bytes_read) == (Waits(early_reads=2, at_eof=2), 5)
    waiting = run((C, 0), (R, 0, 0, 100), (R, 0, 0, 10))
    assert waiting.waits == Waits(early_reads=2, unread=2)


def test_a_large_write_and_its_early_read_alternate() -> None:
    """100,000 bytes pass through a buffer of 64 KiB when the read comes first."""
    outcome = run((C, 0), (R, 0, 0, 100000), (W, 0, 1, 100000), (X, 0, 1), (X, 0, 0))
    assert outcome.waits == Waits(waits=1, early_reads=1)
    assert (outcome.pipes.bytes_read, outcome.pipes.pipes) == (100000, 0)


@pytest.mark.parametrize("era", ERAS)
def test_a_small_write_waits_until_all_of_it_fits(era: str) -> None:
    """A write of up to PIPE_BUF bytes waits until all of it fits, or is stranded when the replay ends."""
    limit = 1 << 30 if era == "2003-07" else 48 << 10
    rows = [(C, n) for n in range(3)] + [(W, 2, 1, 4000), (W, 2, 1, 12300), (W, 2, 1, 200), (R, 2, 0, 50)]
    outcome = run(*rows, era=era, limit=limit)
    assert outcome.pipes.pipes == 3
    assert outcome.waits.stranded == outcome.waits.waits
    small = run(*[(C, n) for n in range(3)], (W, 2, 1, 4000), (W, 2, 1, 200), (R, 2, 0, 50), era="2006", limit=48 << 10)
    assert small.waits == Waits(waits=1, stranded=1)
    more = run(
        *[(C, n) for n in range(3)], (W, 2, 1, 4000), (W, 2, 1, 200), (R, 2, 0, 50), (R, 2, 0, 60), era="2006", limit=48 << 10
    )  # fmt: skip
    assert (more.waits, more.pipes.bytes_written) == (Waits(waits=1), 4200)


def test_the_rest_of_a_large_write_is_not_atomic() -> None:
    """The rest of a large write goes in piece by piece, as there is room."""
    outcome = run(*[(C, n) for n in range(3)], (W, 2, 1, 4300), (R, 2, 0, 50), era="2006", limit=48 << 10)
    assert (outcome.pipes.bytes_written, outcome.waits) == (4146, Waits(waits=1, stranded=1))


@pytest.mark.parametrize(("era", "refuses"), [("2006", False), ("2004-01", True), ("current", True)])
def test_a_crowded_machine_loses_nothing_and_comes_to_an_end(era: str, refuses: bool) -> None:
    """Eight builds within 128 KiB come to an end with no pipe left, though some pipes are refused."""
    outcome = replay(overlay(BUILD, 8, 30_000_000, 1), DESIGNS["per-pipe"], era=ERAS[era], limit=1 << 17)
    assert outcome.waits.waits > 10_000
    assert (outcome.pipes.pipes_refused > 0) is refuses
    assert outcome.pipes.pipes == 0
    assert outcome.pipes.bytes_written >= outcome.pipes.bytes_read


def test_what_nobody_will_read_is_broken_and_what_still_waits_is_stranded() -> None:
    """A closed reader breaks a waiting write, and a write that waits at the end is stranded."""
    outcome = run((C, 0), (TW, 0, 1, 16384), (W, 0, 1, 1), (X, 0, 1), (X, 0, 0))
    assert outcome.waits == Waits(waits=1, broken=1)
    assert outcome.pipes.pipes == 0
    assert run((C, 0), (X, 0, 0), (W, 0, 1, 5)).waits == Waits(broken=1)
    assert run((C, 0), (W, 0, 1, 70000), (W, 0, 1, 9), (X, 0, 1)).waits == Waits(waits=2, stranded=2)


def test_a_large_blocking_write_waits_for_an_empty_buffer_and_goes_around_it() -> None:
    """It stores nothing while there is data, touches no page of the buffer, and holds its end open until it is read."""
    rows = ((C, 0), (W, 0, 1, 100), (W, 0, 1, 9000), (X, 0, 1), (R, 0, 0, 60), (R, 0, 0, 40))
    waiting = run(*rows)
    assert (waiting.waits, waiting.map.faults, waiting.pipes.bytes_written) == (Waits(waits=1, stranded=1), 1, 9100)
    unread = run(*rows[:5])
    assert (unread.waits, unread.pipes.bytes_written) == (Waits(waits=1, stranded=1), 100)
    done = run(*rows, (R, 0, 0, 9000), (X, 0, 0))
    assert (done.waits, done.pipes.bytes_read, done.pipes.pipes, done.map.faults) == (Waits(waits=1), 9100, 0, 1)
    left = run(*rows, (R, 0, 0, 8999), (X, 0, 0))
    assert (left.waits, left.pipes.pipes) == (Waits(waits=1, broken=1), 0)


def test_what_goes_directly_goes_in_pieces_of_the_buffer_and_its_end_through_it() -> None:
    """40,000 bytes through 16 KiB: two pieces directly, and the last 7,232 bytes, fewer than PIPE_MINDIRECT, buffered."""
    rows: list[tuple[int, ...]] = [(C, n) for n in range(33)]
    rows += [(W, n, 1, 17000) for n in range(32)]  # all the big buffers there may be
    outcome = run(*rows, (W, 32, 1, 40000), *[(R, 32, 0, 10000)] * 4, limit=1 << 23)
    assert outcome.pipes.bytes_read == 40000
    assert outcome.map.faults == 2
    assert outcome.waits == Waits(waits=33, early_reads=2, stranded=32)


@pytest.mark.parametrize(
    ("design", "direct"), [("per-pipe", True), ("dragonfly", True), ("netbsd", False), ("openbsd", False)]
)
def test_a_try_never_goes_directly_and_two_kernels_know_no_direct_writes(design: str, direct: bool) -> None:
    """A try to write fills the buffer, as a small write does; what does not fit waits for room."""
    blocking = run((C, 0), (W, 0, 1, 16384), design=design)
    assert (blocking.map.faults, blocking.waits) == ((0, Waits(waits=1, stranded=1)) if direct else (4, Waits()))
    tried = run((C, 0), (TW, 0, 1, 16384), (TW, 0, 1, 5), (R, 0, 0, 16384), (R, 0, 0, 5), design=design)
    assert (tried.map.faults, tried.waits, tried.pipes.bytes_read) == (4, Waits(waits=1), 16389)
    linux = run((C, 0), (W, 0, 1, 16384), (TW, 0, 1, 16384), design="linux")
    assert (linux.pipes.bytes_written, linux.waits) == (32768, Waits())


@pytest.mark.parametrize("design", ["coalescing", "linux"])
def test_a_try_to_read_takes_what_there_is_and_waits_for_nothing(design: str) -> None:
    """It is counted if there is nothing, and at the end of the file; a writer that waits goes on behind it."""
    rows = ((C, 0), (TR, 0, 0, 10), (W, 0, 1, 6), (TR, 0, 0, 10), (X, 0, 1), (TR, 0, 0, 10))
    outcome = run(*rows, design=design)
    assert (outcome.waits, outcome.pipes.bytes_read) == (Waits(empty=1, at_eof=1), 6)
    woken = run((C, 0), (TW, 0, 1, 70000), (TR, 0, 0, 70000), (TR, 0, 0, 70000), design=design)
    assert (woken.waits, woken.pipes.bytes_read) == (Waits(waits=1), 70000)


def test_a_change_of_size_lets_a_writer_go_on_and_is_counted_where_it_is_refused() -> None:
    """Linux changes the ring and wakes the writer; users get a megabyte at most, and FreeBSD has no such call."""
    rows = ((C, 0, 0, 0), (W, 0, 1, 70000), (S, 0, 1, 1 << 17), (S, 0, 0, 1 << 21))
    assert run(*rows[:2], design="linux").waits == Waits(waits=1, stranded=1)
    assert run(*rows, design="linux").waits == Waits(waits=1)
    user = run((C, 0, 0, 1000), *rows[1:], design="linux")
    assert user.waits == Waits(waits=1, unsized=1)
    assert user.pipes.bytes_written == 70000
    assert run((C, 0), (S, 0, 1, 1 << 17)).waits == Waits(unsized=1)
    refused = run((C, 0), (W, 0, 1, 70000), (S, 0, 1, 4096), design="linux")
    assert refused.waits == Waits(waits=1, stranded=1, unsized=1)


def test_the_owner_of_a_pipe_meets_the_limits_of_a_user() -> None:
    """Linux makes the 1,025th pipe of a user small; FreeBSD refuses what RLIMIT_PIPEBUF does not allow."""
    program = exhaustion(pipes=1100)
    for owned, small in ((program, 0), (program.owned_by(1000), 76)):
        outcome = replay(owned, DESIGNS["linux"], era=ERAS["current"], limit=1 << 26)
        assert (outcome.pipes.pipes_small, outcome.pipes.pipes_refused) == (small, 0)
    rows = [PipeOp(0, C, n, 0, 7 if n % 2 else 8) for n in range(10)]
    owners = [Owner(7, privileged=False, pipebuf_limit=50_000)]
    outcome = replay(PipeProgram(rows, owners=owners), DESIGNS["per-pipe"], era=ERAS["current"], limit=1 << 26)
    # User 7 has two pipes of 16 and 4 KiB and one of 4 and 4 KiB; there is no room for another.
    assert (outcome.pipes.pipes_created, outcome.pipes.pipes_refused, outcome.pipes.pipes_small) == (8, 2, 1)


KINDS = st.sampled_from([W, TW, R, TR, S])


@given(st.lists(st.tuples(KINDS, st.integers(1, 90_000)), max_size=25), st.booleans())
def test_every_byte_that_is_written_is_read_whatever_waits(steps: list[tuple[PipeOpKind, int]], late: bool) -> None:
    """Where somebody reads as much as is written, nothing is lost, stranded or broken, on every kernel state."""
    written = sum(n for kind, n in steps if kind in (W, TW))
    rows: list[tuple[int, ...]] = [(kind, 0, int(kind in (W, TW)), n) for kind, n in steps]
    final = (R, 0, 0, written + 1)
    rows = [(C, 0), *([*rows, final] if late else [final, *rows]), (X, 0, 1), (X, 0, 0)]
    ops = [PipeOp(time, *row) for time, row in enumerate(rows)]  # type: ignore[arg-type]
    for design, era in [
        *(("coalescing", era) for era in ERAS),
        ("linux", "2006"),
        ("netbsd", "2006"),
        ("openbsd", "2006"),
    ]:
        outcome = replay(PipeProgram(ops), DESIGNS[design], era=ERAS[era], limit=1 << 24)
        assert (outcome.pipes.bytes_written, outcome.pipes.bytes_read) == (written, written), (design, era)
        assert (outcome.waits.stranded, outcome.waits.broken, outcome.pipes.pipes) == (0, 0, 0), (design, era)


def test_operations_on_a_refused_pipe_are_passed_over() -> None:
    """Operations on a refused pipe are skipped and counted; in 10.x a write without a buffer is counted."""
    rows = [(C, 0), (C, 1), (W, 1, 1, 5), (X, 1, 0), (X, 1, 1)]
    outcome = run(*rows, limit=32768)
    assert (outcome.pipes.pipes_created, outcome.pipes.pipes_refused, outcome.waits) == (1, 1, Waits(skipped=3))
    assert outcome.console[0].text == "kern.ipc.maxpipekva exceeded; see tuning(7)"
    assert run(*rows, era="10.x", limit=4096).waits == Waits(no_buffer=1)


# Another kernel's design follows its own policy, whatever the era: one era shows all that it does.
@pytest.mark.parametrize(
    ("design", "era"),
    [(d.name, e) for d in DESIGNS.values() for e in (list(ERAS) if d.state is None else ["2004-01"])],
)
def test_the_real_build_loses_nothing(design: str, era: str) -> None:
    """In every era and design the replay moves every byte that was written and read in the recording."""
    facts = BUILD.facts()
    outcome = replay(BUILD, DESIGNS[design], era=ERAS[era], limit=64 << 20)
    assert outcome.pipes.pipes_created == facts.pipes
    assert (outcome.pipes.bytes_written, outcome.pipes.bytes_read) == (facts.bytes_written, facts.bytes_read)
    assert (outcome.waits.broken, outcome.waits.stranded, outcome.waits.skipped) == (0, 0, 0)
    assert outcome.pipes.kva_used == 0
    assert outcome.space.live == 0


def test_equal_arguments_give_equal_outcomes() -> None:
    """Equal arguments give equal outcomes (I13)."""
    program = hackbench(groups=1, fds=3, loops=5, seed=4)
    first, again = (replay(program, DESIGNS["first-fit"], era=ERAS["2006"], limit=LIMIT) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("program", [BUILD, churn(live=50, operations=1000)], ids=["pipes", "space"])
def test_samples_are_evenly_spread_and_end_with_the_end(program: Program) -> None:
    """A replay takes at most the samples asked for, the last at the end, and reports progress at each."""
    told: list[int] = []
    outcome = replay(program, DESIGNS["coalescing"], era=ERAS["2004-01"], limit=LIMIT, samples=7, progress=told.append)
    assert len(outcome.series) == len(told) <= 7
    assert told[-1] == len(program)
    assert outcome.series[-1].live == 0
    assert [sample.time for sample in outcome.series] == sorted(sample.time for sample in outcome.series)
    empty = replay(PipeProgram([]), DESIGNS["per-pipe"], era=ERAS["2006"], limit=LIMIT)
    assert (empty.series, empty.mean_external_fragmentation) == ((), 0.0)


def test_a_watcher_sees_every_operation() -> None:
    """A watcher sees every operation in order, with the live bytes."""
    seen: list[tuple[int, int]] = []

    def watch(done: int, live: int, bench: Bench) -> None:
        seen.append((done, live))
        assert bench.space.stats().live == live

    program = churn(live=5, operations=20)
    replay(program, DESIGNS["coalescing"], era=ERAS["2004-01"], limit=LIMIT, samples=3, watch=watch)
    assert [done for done, _ in seen] == list(range(1, len(program) + 1))
    assert seen[-1][1] == 0


def test_space_programs_count_refusals_and_pass_over_what_was_refused() -> None:
    """A refused resize leaves the buffer, and operations on a refused alloc are skipped."""
    program = SpaceProgram(
        [(0, 0, 8192), (0, 1, 1 << 30), (2, 1, 5), (1, 1, 0), (2, 0, 1 << 30), (2, 0, 16384), (1, 0, 0)]
    )
    outcome = replay(program, DESIGNS["coalescing"], era=ERAS["2004-01"], limit=LIMIT)
    assert (outcome.allocs_refused, outcome.waits, outcome.peak_live) == (2, Waits(skipped=2), 16384)
    assert outcome.map.faults == 4
    assert outcome.space.live == 0
    assert outcome.pipes.pipes_created == 0


def test_costs_are_estimated_from_counts() -> None:
    """An estimate is computed from the counts, and every design's calls count alike, whatever it declares."""
    pipes = ((C, 0), (X, 0, 0), (X, 0, 1), (C, 1), (X, 1, 0), (X, 1, 1))
    for name, work in (
        ("per-pipe", SpaceWork()),
        ("coalescing", SpaceWork(carves=1, coalesces=2)),
        ("coalescing+cache", SpaceWork(cache_hits=1)),
        ("dragonfly", SpaceWork(cache_hits=2)),
    ):
        outcome = run(*pipes, era="2006", design=name)
        assert outcome.work == work, name
        counted = [*attrs.astuple(work), *(getattr(outcome.map, event) for event in EVENTS[:-3])]
        assert outcome.estimate(COSTS["unit"]).ns == sum(counted)


def test_bad_arguments_are_refused() -> None:
    """A bad limit, number of samples, design, era, program or design name is refused."""
    for limit in (0, 100, -1):
        with pytest.raises(InvalidRequestError):
            replay(exhaustion(pipes=1), DESIGNS["per-pipe"], era=ERAS["2006"], limit=limit)
    numbers: list[dict[str, Any]] = [{"samples": 0}, {"cpus": 0}, {"cpus": 1.5}]
    for wrong in numbers:
        with pytest.raises(InvalidRequestError):
            replay(exhaustion(pipes=1), DESIGNS["per-pipe"], era=ERAS["2006"], limit=LIMIT, **wrong)
    mistakes: list[dict[str, Any]] = [{"design": "coalescing"}, {"era": "2006"}, {"program": []}]
    for wrong in mistakes:
        arguments: dict[str, Any] = {
            "program": exhaustion(pipes=1),
            "design": DESIGNS["per-pipe"],
            "era": ERAS["2006"],
        } | wrong
        with pytest.raises(InvalidRequestError) as caught:
            replay(limit=LIMIT, **arguments)
        assert caught.value.what in wrong
    for names in ("", "x", "per-pipe,", "per-pipe,per-pipe"):
        with pytest.raises(InvalidRequestError):
            find_designs(names)
    assert [design.name for design in find_designs(" per-pipe , coalescing ")] == ["per-pipe", "coalescing"]


class OnCpus(PerPipeSpace):
    """A space that writes down on which CPU each buffer was asked for."""

    def __init__(self, kernel: KernelMap, *, kva_limit: int) -> None:
        super().__init__(kernel, kva_limit=kva_limit)
        self.cpu = 0
        self.seen: list[int] = []

    def alloc(self, size: int) -> int:
        self.seen.append(self.cpu)
        return super().alloc(size)


def on_cpus(program: Program, cpus: int) -> list[int]:
    """Replay, and return the CPUs on which buffers were asked for."""
    spaces: list[OnCpus] = []

    def make(_era: Era, kernel: KernelMap, limit: int) -> OnCpus:
        spaces.append(OnCpus(kernel, kva_limit=limit))
        return spaces[-1]

    replay(program, Design("on CPUs", "writes down the CPU", make), era=ERAS["2006"], limit=LIMIT, cpus=cpus)
    return spaces[0].seen


def test_a_space_is_told_on_which_cpu_an_operation_runs() -> None:
    """The number of the pipe, or of the buffer, modulo the number of CPUs; with one CPU it is told nothing."""
    pipes = PipeProgram([PipeOp(n, C, n) for n in range(7)])
    buffers = SpaceProgram([(0, n, 4096) for n in range(7)])
    for program in (pipes, buffers):
        assert on_cpus(program, 3) == [0, 1, 2, 0, 1, 2, 0]
        assert on_cpus(program, 1) == [0] * 7


def test_the_machine_has_the_cpus_that_operations_run_on() -> None:
    """And at least two: an interrupt goes to each other one, and DragonFly's cache is by CPU."""
    program = hackbench(groups=1, fds=4, loops=3, seed=4)
    one, four = (replay(program, DESIGNS["dragonfly"], era=ERAS["2006"], limit=LIMIT, cpus=cpus) for cpus in (1, 4))
    assert one.map.ipis == one.map.tlb_shootdowns
    assert four.map.ipis == 3 * four.map.tlb_shootdowns
    assert one == replay(program, DESIGNS["dragonfly"], era=ERAS["2006"], limit=LIMIT)


def test_many_designs_are_replayed_at_once_by_any_executor() -> None:
    """The outcomes are those of one replay after the other, in the order of the designs."""
    designs = list(DESIGNS.values())
    program = hackbench(groups=1, fds=3, loops=5, seed=4)
    alone = tuple(replay(program, design, era=ERAS["2006"], limit=LIMIT) for design in designs)
    assert replay_all(program, designs, era=ERAS["2006"], limit=LIMIT) == alone
    for executor in (ThreadPoolExecutor(2), ProcessPoolExecutor(2)):
        with executor:
            assert replay_all(program, designs, era=ERAS["2006"], limit=LIMIT, executor=executor) == alone


class Called:
    """A pipe system of which only the declared surface is seen, so that every operation is a call of its pipe."""

    def __init__(self, pipes: Pipes) -> None:
        self._pipes = pipes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipes, name)


@attrs.frozen
class CalledDesign(Design):
    """A design whose pipes are `Called`."""

    def pipes(self, state: KernelState, space: FullSpace, limit: int, clock: SimClock | None = None) -> Any:
        """Build the pipes behind their declared surface."""
        return Called(super().pipes(state, space, limit, clock))


@pytest.mark.parametrize("era", ERAS.values(), ids=lambda era: era.name)
def test_writes_and_reads_on_the_ring_itself_are_those_of_the_pipe(era: Era) -> None:
    """A crowd that is short of buffers has the same outcome where every operation is a call of its pipe."""
    crowd = overlay(bundled_build(), 3, 30_000_000, 1)
    design = DESIGNS["per-pipe"]
    slow = CalledDesign(design.name, design.title, design.make_space, one_by_one=design.one_by_one)
    called, short_cut = (replay(crowd, d, era=era, limit=1 << 17) for d in (slow, design))
    assert called == short_cut
    assert called.waits.waits > 0


def test_soft_limits_get_the_whole_kernel_map() -> None:
    """In July 2003 a design gets the whole kernel map, and every buffer an entry of its own."""
    bench = DESIGNS["per-pipe"].build(ERAS["2003-07"], LIMIT)
    assert (bench.kernel.size, bench.kernel.findspace) == (1 << 30, "linear")
    bench.space.alloc(4096)
    bench.space.alloc(4096)
    assert len(bench.kernel.entries()) == 2
