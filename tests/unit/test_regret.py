"""What designs need against the least: the recorder sees every buffer, and known worst cases show their known ratios."""

from __future__ import annotations

import pytest

from coalloc import DESIGNS, STATES, CoalescingSpace, KiB, MiB
from coalloc.designs import of_factory
from coalloc.experiments.packing import lives_of, lower_bound
from coalloc.experiments.recorder import PerCpuRecorder, seen_by
from coalloc.experiments.regrets import regret, robson_bound
from coalloc.workload.generators import hackbench, robson, sawtooth
from coalloc.workload.program import SpaceProgram
from coalloc.workload.replay import replay

ERA = STATES["2004-01"]


@pytest.mark.parametrize("design", DESIGNS.values(), ids=lambda design: design.name)
def test_a_recorder_changes_nothing(design: object) -> None:
    """Every count of a replay is that of the design alone, per-CPU caches included."""
    for program in (hackbench(groups=1, fds=2, loops=3), sawtooth(cycles=3, peak=40, trough=4)):
        recorded, recorder = seen_by(design)  # type: ignore[arg-type]
        seen = replay(program, recorded, era=ERA, limit=8 * MiB)
        assert seen == replay(program, design, era=ERA, limit=8 * MiB)  # type: ignore[arg-type]
        assert seen.peak_live <= recorder().span


def test_a_recorder_passes_the_cpu_on() -> None:
    """To a space that keeps something for each CPU."""
    recorded, recorder = seen_by(DESIGNS["dragonfly"])
    recorded.build(ERA, 8 * MiB)
    space = recorder()
    assert isinstance(space, PerCpuRecorder)
    space.cpu = 1
    assert space.cpu == space.below.cpu == 1


def test_the_lives_of_a_program_of_buffers_are_those_that_it_names() -> None:
    """Times count events, as the lives of the program do."""
    program = sawtooth(cycles=3, peak=40, trough=4)
    (found,) = regret(program, [DESIGNS["first-fit"]], era=ERA, limit=8 * MiB, solvers=[])
    assert found.lives == len(lives_of(program))
    assert found.best is not None
    assert found.best.most_live == lower_bound(lives_of(program))


def test_a_resize_ends_a_life_and_begins_one() -> None:
    """Wherever the buffer lies afterwards; a buffer that is never freed lives to the end."""
    program = SpaceProgram([(0, 0, 4096), (0, 1, 4096), (2, 1, 8192), (1, 0, 0)])
    recorded, recorder = seen_by(DESIGNS["coalescing"])
    replay(program, recorded, era=ERA, limit=8 * MiB)
    assert recorder().done() == lives_of(program)
    assert recorder().span == 12 * KiB


@pytest.mark.parametrize(("live", "largest"), [(64, 8), (256, 32)])
def test_robsons_adversary_shows_the_known_ratio(live: int, largest: int) -> None:
    """First fit in one arena needs exactly the bound, while the least is close to what lives."""
    program = robson(live=live, largest=largest)
    design = DESIGNS["first-fit"].configured(arena_size=8 * MiB)
    (found,) = regret(program, [design], era=ERA, limit=8 * MiB, solvers=[])
    assert found.best is not None
    assert (
        found.span
        == robson_bound(found.best.most_live, found.sizes)
        == (live + live * (largest.bit_length() - 1) // 2 - largest + 1) * 4 * KiB
    )


def test_figures_are_plain_data_and_ratios_are_of_what_they_say() -> None:
    """A stranger's factory, too."""
    design = of_factory(
        "mine", lambda source, *, kva_limit: CoalescingSpace(source, kva_limit=kva_limit, arena_size=MiB)
    )
    program = SpaceProgram([(0, 0, 4096), (0, 1, 100), (1, 0, 0)])
    said: list[str] = []
    (found,) = regret(program, [design], era=ERA, limit=8 * MiB, solvers=[], progress=said.append)
    figures = found.as_dict()
    assert said == ["replaying mine", "greedy"]
    assert (figures["most_live"], figures["addresses_used"], figures["peak_mapped"]) == (4196, 8192, MiB)
    assert figures["mapped_to_most_live"] == MiB / 4196
    assert figures["addresses_to_least"] == figures["addresses_to_most_live"] == 8192 / 4196
    assert (figures["proven"], figures["lower_bound_by"], figures["least_by"]) == (True, "most bytes live", "greedy")


def test_a_program_that_asks_for_nothing_has_no_bounds() -> None:
    """There is nothing to be held against."""
    (found,) = regret(SpaceProgram([]), [DESIGNS["vmem"]], era=ERA, limit=8 * MiB)
    assert found.best is None
    assert found.as_dict()["mapped_to_most_live"] is None
