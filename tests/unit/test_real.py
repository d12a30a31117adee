"""Real memory: the calls are those that the design made, whatever they are, and nothing stays mapped."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from coalloc import COSTS, DESIGNS, STATES, InvalidRequestError, KiB, MiB
from coalloc.experiments import real
from coalloc.experiments.real import RealRun, record_calls, run_real
from coalloc.experiments.recorder import Call, SourceRecorder
from coalloc.vm.kernelmap import KernelMap
from coalloc.workload.generators import hackbench, sawtooth
from coalloc.workload.program import SpaceProgram
from coalloc.workload.replay import replay

ERA = STATES["2004-01"]
PIPES = hackbench(groups=1, fds=2, loops=3)
MAP, UNMAP, TOUCH, DISCARD = range(4)
OWN_MAP = [design for design in DESIGNS.values() if design.state is None or not design.state.direct]


@pytest.mark.parametrize("design", OWN_MAP, ids=lambda design: design.name)
def test_the_calls_are_those_that_the_model_counts(design: Any) -> None:
    """Maps, unmaps and first touches of pages, as the kernel map counts them; the replay is not changed."""
    for program in (PIPES, sawtooth(cycles=3, peak=40, trough=4)):
        outcome, calls = record_calls(program, design, era=ERA, limit=8 * MiB)
        kinds = [call.kind for call in calls]
        assert outcome == replay(program, design, era=ERA, limit=8 * MiB)
        assert (kinds.count(MAP), kinds.count(TOUCH)) == (outcome.map.map_ops, outcome.map.faults)
        assert kinds.count(UNMAP) >= outcome.map.unmap_ops
        assert [call.mapping for call in calls if call.kind == MAP] == list(range(kinds.count(MAP)))


def test_ranges_are_cut_wherever_a_design_cuts_them() -> None:
    """Unmapping from the middle, across two mappings, and touching again what was discarded."""
    recorder = SourceRecorder(KernelMap(base=0, size=MiB))
    page = 4 * KiB
    first, second = recorder.map(4 * page), recorder.map(2 * page)
    assert (first, second) == (0, 4 * page)
    recorder.touch(0, 5)
    recorder.touch(100, 2 * page)
    recorder.unmap(page, page)
    recorder.unmap(3 * page, 2 * page)
    recorder.discard(0, page)
    recorder.touch(0, page)
    assert recorder.maps(0, page)
    assert recorder.calls == [
        Call(MAP, 0, 0, 4 * page), Call(MAP, 1, 0, 2 * page),
        Call(TOUCH, 0, 0, 1), Call(TOUCH, 0, page, 1), Call(TOUCH, 0, 2 * page, 1),
        Call(UNMAP, 0, page, page), Call(UNMAP, 0, 3 * page, page), Call(UNMAP, 1, 0, page),
        Call(DISCARD, 0, 0, page), Call(TOUCH, 0, 0, 1),
    ]  # fmt: skip
    assert real._left(recorder.calls) == [(0, 0, page), (0, 2 * page, page), (1, page, page)]


def maps_here() -> int:
    """Return how many maps this process has."""
    return len(Path("/proc/self/maps").read_bytes().splitlines())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system has no /proc")
def test_real_memory_faults_as_the_model_counts() -> None:
    """A first write to each page is a fault; maps are counted; afterwards nothing is left."""
    program = SpaceProgram([(0, n, 64 * KiB) for n in range(64)] + [(1, n, 0) for n in range(64)])
    before = maps_here()
    runs = run_real(
        program, [DESIGNS["per-pipe"], DESIGNS["coalescing"]], era=ERA, limit=8 * MiB, costs=COSTS["measured"], rounds=3
    )
    assert maps_here() - before < 8
    for run in runs:
        assert run.faults is not None
        assert 0 <= min(run.faults) - run.outcome.map.faults < 100
        assert run.maps is not None
        assert len(run.samples) == 3
        assert run.estimate_ns + run.space_ns == pytest.approx(run.outcome.estimate(COSTS["measured"]).ns)
        figures = run.as_dict()
        assert figures["faults_counted"] == 64 * 16
        assert figures["quartiles_ns"][0] <= figures["measured_ns"] <= figures["quartiles_ns"][1]
        assert figures["ratio"] == run.ratio  # None where the machine stood still, and nothing is left of the time


def test_designs_take_turns_and_progress_is_told() -> None:
    """A single round has its sample as quartiles."""
    told: list[int] = []
    (run,) = run_real(
        PIPES, [DESIGNS["vmem"]], era=ERA, limit=8 * MiB, costs=COSTS["unit"], rounds=1, progress=told.append
    )
    assert told == [1]
    assert run.quartiles == (run.samples[0],) * 2
    nothing = RealRun(run.outcome, 0, (0.0,), None, None, 0.0, 0.0)
    assert nothing.ratio is None
    assert RealRun(run.outcome, 0, (2.0, 4.0, 8.0), None, None, 6.0, 0.0).ratio == 1.5
    assert nothing.as_dict()["faults"] is None


def test_every_kind_of_call_is_made() -> None:
    """A page that was discarded faults again."""
    calls = [
        Call(MAP, 0, 0, 8192),
        Call(TOUCH, 0, 0, 1),
        Call(DISCARD, 0, 0, 4096),
        Call(TOUCH, 0, 0, 1),
        Call(UNMAP, 0, 0, 4096),
    ]
    seen: list[int] = []
    assert real._Memory().run(calls, real=True, watch=seen.append) > 0
    assert seen == [1, 2, 3, 4, 5]


def test_a_machine_that_refuses_a_mapping_is_one_clear_error() -> None:
    """What was mapped before is unmapped."""
    memory = real._Memory()
    before = maps_here()
    with pytest.raises(OSError, match="the machine refuses mapping 2, of") as caught:
        memory.run([Call(MAP, 0, 0, 4096), Call(MAP, 1, 0, 1 << 62)], real=True)
    assert caught.value.errno == errno.ENOMEM
    assert maps_here() <= before + 1


def test_bad_arguments_are_refused() -> None:
    """A direct map maps nothing, and no rounds measure nothing."""
    with pytest.raises(InvalidRequestError, match="nothing to measure"):
        record_calls(PIPES, DESIGNS["linux"], era=ERA, limit=8 * MiB)
    with pytest.raises(InvalidRequestError, match="rounds"):
        run_real(PIPES, [DESIGNS["vmem"]], era=ERA, limit=8 * MiB, costs=COSTS["unit"], rounds=0)
