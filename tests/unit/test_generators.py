"""Generators: valid, seeded, and what they say they are."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import NEVER, CoalescingSpace, Fit, InvalidRequestError, KernelMap, PipeProgram, SpaceProgram
from coalloc.workload.generators import GENERATORS, churn, comb, exhaustion, hackbench, robson, sawtooth, shell_pipeline
from coalloc.workload.program import SpaceOpKind

SMALL: dict[str, dict[str, int]] = {
    "exhaustion": {"pipes": 50},
    "hackbench": {"groups": 2, "fds": 3, "loops": 4},
    "shell-pipeline": {"pipelines": 5},
    "churn": {"live": 20, "operations": 100},
    "comb": {"teeth": 21},
    "sawtooth": {"cycles": 3, "peak": 30, "trough": 5},
    "robson": {"live": 64, "largest": 8},
}


@pytest.mark.parametrize("name", GENERATORS)
def test_equal_seeds_give_equal_programs(name: str) -> None:
    """Equal seeds give equal programs; different seeds give different ones, except for Robson's game."""
    make = GENERATORS[name].make
    first, again, other = make(seed=1, **SMALL[name]), make(seed=1, **SMALL[name]), make(seed=2, **SMALL[name])
    assert first == again
    assert (first == other) == (name == "robson")
    assert type(first)(first) == first  # type: ignore[arg-type]
    assert first.title
    assert GENERATORS[name].title


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (exhaustion, {"pipes": 0}), (hackbench, {"groups": 0}), (hackbench, {"datasize": -1}), (shell_pipeline, {"stages": 1}),
        (churn, {"live": 0}), (churn, {"operations": -1}), (comb, {"teeth": 1}), (sawtooth, {"trough": 2000}),
        (sawtooth, {"cycles": 1.5}), (robson, {"largest": 3}), (robson, {"live": 4, "largest": 8}), (robson, {"unit": 5000}),
        (robson, {"largest": True}), (comb, {"size": 1 << 62}),
    ],
)  # fmt: skip
def test_bad_parameters_are_refused(make: Any, arguments: dict[str, Any]) -> None:
    """A bad parameter is refused by its name."""
    with pytest.raises(InvalidRequestError) as caught:
        make(**arguments)
    assert caught.value.what in arguments


def test_hackbench_moves_what_the_real_one_moves() -> None:
    """The program has as many pipes, messages and bytes as the real hackbench."""
    facts = hackbench(groups=3, fds=4, loops=5, datasize=100).facts()
    messages = 3 * 4 * 4 * 5
    assert (facts.pipes, facts.peak_live, facts.live_at_end) == (14, 14, 0)
    assert facts.bytes_written == messages * 100 + 2 * 4 * 3 + 1
    assert facts.reads == messages + 24


def test_a_shell_pipeline_reads_what_it_writes() -> None:
    """A pipeline of three stages has two pipes alive at a time and reads every byte that it writes."""
    facts = shell_pipeline(pipelines=9, stages=3).facts()
    assert (facts.pipes, facts.peak_live, facts.live_at_end) == (18, 2, 0)
    assert facts.bytes_read == facts.bytes_written


def live_counts(program: SpaceProgram) -> list[int]:
    """Return how many buffers are live after each operation."""
    counts, live = [], 0
    for kind, _, _ in program.rows():
        live += (kind == SpaceOpKind.ALLOC) - (kind == SpaceOpKind.FREE)
        counts.append(live)
    return counts


def test_churn_stays_at_its_level() -> None:
    """Churn stays at its number of live buffers, with sizes in the stated shares, and ends with none."""
    program = churn(live=50, operations=4000, seed=2)
    counts = live_counts(program)
    assert set(counts[50:4050]) == {49, 50}
    assert counts[-1] == 0
    sizes = [size for kind, _, size in program.rows() if kind == SpaceOpKind.ALLOC]
    shares = [sizes.count(size) / len(sizes) for size in (4096, 16384, 65536)]
    assert [abs(share - wanted) < 0.05 for share, wanted in zip(shares, (0.5, 0.4, 0.1), strict=True)] == [True] * 3


def test_sawtooth_swings_between_trough_and_peak() -> None:
    """Sawtooth reaches its peak once in each cycle and ends with no live buffer."""
    counts = live_counts(sawtooth(cycles=4, peak=30, trough=10))
    assert (max(counts), counts.count(30), counts[-1]) == (30, 4, 0)


def test_comb_leaves_gaps_that_the_larger_buffers_do_not_fit() -> None:
    """In one arena all the large buffers of a comb lie behind its teeth."""
    program = comb(teeth=100)
    space = CoalescingSpace(KernelMap(base=0), kva_limit=1 << 22)
    bases: dict[int, int] = {}
    for kind, buffer, size in program.rows():
        if kind == SpaceOpKind.ALLOC:
            bases[buffer] = space.alloc(size)
            assert size == 4096 or bases[buffer] >= 99 * 4096
        else:
            space.free(bases[buffer])
    assert space.stats().live == 0
    assert isinstance(exhaustion(pipes=1), PipeProgram)


@pytest.mark.parametrize("fit", [Fit.FIRST, Fit.BEST, Fit.NEXT])
@pytest.mark.parametrize(("live", "largest", "bound"), [(256, 16, 753), (1024, 32, 3553), (4096, 64, 16321)])
def test_robsons_adversary_reaches_its_bound_exactly(fit: Fit, live: int, largest: int, bound: int) -> None:
    """The highest address used is live * (1 + log2(largest) / 2) - largest + 1 units, with at most ``live`` units live."""
    unit = 4096
    program = robson(live=live, largest=largest, fit=fit)
    whole = 8 * live * unit
    space = CoalescingSpace(KernelMap(base=0, size=whole), kva_limit=whole, arena_size=whole, fit=fit, release=NEVER)
    bases: dict[int, int] = {}
    top = alive = 0
    for kind, buffer, size in program.rows():
        if kind == SpaceOpKind.ALLOC:
            bases[buffer] = space.alloc(size)
            top = max(top, bases[buffer] + size)
            alive += size
        else:
            alive -= space.size_of(bases[buffer])
            space.free(bases[buffer])
        assert alive <= live * unit
    assert top == bound * unit == (live * (2 + largest.bit_length() - 1) // 2 - largest + 1) * unit
