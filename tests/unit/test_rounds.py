"""Long transfers: what is counted instead of run comes to what would be run."""

from __future__ import annotations

import attrs
import pytest

from coalloc import DESIGNS, ERAS, PipeOp, PipeOpKind, PipeProgram, replay
from coalloc.pipes.protocol import PipeCounters
from coalloc.space.protocol import SpaceStats
from coalloc.vm.kernelmap import MapCounters
from coalloc.workload import rounds
from coalloc.workload.rounds import Figures, Rounds

WRITE, READ = PipeOpKind.WRITE, PipeOpKind.READ
MIB = 1 << 20


def transfers(*sizes: int) -> PipeProgram:
    """Return a program that writes and reads each size through one pipe, beside a pipe that stays full."""
    steps = [PipeOp(0, PipeOpKind.CREATE, 0), PipeOp(0, PipeOpKind.CREATE, 1), PipeOp(1, WRITE, 1, 1, 100_000)]
    for time, size in enumerate(sizes, 2):
        steps += [PipeOp(time, WRITE, 0, 1, size), PipeOp(time, READ, 0, 0, size)]
    return PipeProgram(steps)


@pytest.mark.parametrize("era", ["2003-07", "2004-01", "2006", "10.x", "current"])
@pytest.mark.parametrize("design", ["per-pipe", "coalescing+cache", "vmem", "linux"])
def test_rounds_that_are_counted_come_to_those_that_are_run(
    monkeypatch: pytest.MonkeyPatch, design: str, era: str
) -> None:
    """All counters, the series and what waited are the same, whether or not most rounds are run."""
    program = transfers(5 * MIB + 17, 100, 13 * MIB, 9 * MIB - 1)
    counted = replay(program, DESIGNS[design], era=ERAS[era], limit=1 << 20)
    monkeypatch.setattr(rounds, "_RUN", 1 << 40)
    run = replay(program, DESIGNS[design], era=ERAS[era], limit=1 << 20)
    assert counted.rounds_counted > 100
    assert run.rounds_counted == 0
    assert attrs.evolve(counted, rounds_counted=0) == run


def test_gigabytes_take_no_longer_than_megabytes() -> None:
    """Two hundred transfers of 2 GiB are done in some hundred rounds each, and every byte is counted."""
    size = 2**31 - 1
    outcome = replay(transfers(*[size] * 200), DESIGNS["per-pipe"], era=ERAS["2004-01"], limit=1 << 24)
    assert outcome.pipes.bytes_read == 200 * size
    assert outcome.rounds_counted > 200 * 20_000


def watched(changes: list[int]) -> list[int]:
    """Return what may be leapt after each round, if each changes the map operations by so much."""
    total = 0
    figures = Figures(PipeCounters(), MapCounters(), SpaceStats())

    def look() -> Figures:
        return attrs.evolve(figures, map=MapCounters(map_ops=total))

    watch = Rounds(look)
    leaps = []
    left = 100_000
    for change in changes:
        total += change
        left -= 1
        leaps.append(watch.leap(left * 10, left * 10))
    return leaps


def test_nothing_is_leapt_before_the_rounds_are_alike() -> None:
    """A round that does something else lets the watching begin again; where all differ, nothing is ever leapt."""
    alike = watched([1] * 200)
    first = next(number for number, leap in enumerate(alike, 1) if leap)
    assert first == rounds._RUN + rounds._ALIKE + 1
    assert alike[first - 1] == (100_000 - first - 1) * 10
    other = watched([1] * (first - 5) + [2] + [1] * 200)
    assert not any(other[: first + 20])
    assert not any(watched(list(range(5000))))


def test_levels_that_change_are_no_steady_state() -> None:
    """Where a round leaves more behind than there was, the next one is not like it."""
    number = 0

    def look() -> Figures:
        return Figures(PipeCounters(), MapCounters(mapped=number), SpaceStats())

    watch = Rounds(look)
    for number in range(1000):
        assert watch.leap((10_000 - number) * 10, (10_000 - number) * 10) == 0


def test_the_last_round_is_run() -> None:
    """Fewer than two rounds that are left are not counted."""
    watch = Rounds(lambda: Figures(PipeCounters(), MapCounters(), SpaceStats()))
    assert run_out(watch, 110) == [96]


def run_out(watch: Rounds, left: int) -> list[int]:
    """Run a transfer of so many rounds to its end, and return after which rounds others were counted."""
    leaps, done = [], 0
    while left > 0:
        moved = watch.leap(10 * left, 10 * left)
        if moved:
            assert moved == (left - 1) * 10
            leaps.append(done)
        left -= 1 + moved // 10
        done += 1
    return leaps


def test_a_later_transfer_of_the_same_rounds_is_counted_at_once() -> None:
    """Its second round tells that it is like the first transfer; one that is not begins anew, and so does the next."""
    total, change = 0, 1

    def look() -> Figures:
        nonlocal total
        total += change
        return Figures(PipeCounters(), MapCounters(map_ops=total), SpaceStats())

    watch = Rounds(look)
    assert run_out(watch, 200) == [96]
    watch.begin()
    assert run_out(watch, 200) == [1]
    watch.begin()
    change = 2
    assert run_out(watch, 300) == [96]
    watch.begin()
    assert run_out(watch, 200) == [1]


@pytest.mark.parametrize("design", ["per-pipe", "openbsd", "linux"])
def test_a_transfer_like_the_last_one_is_counted_at_once(design: str) -> None:
    """Of 20 transfers of 2 GiB only the first runs its 97 rounds, whether they go directly or through a buffer."""
    n, times = 2**31 - 1, 20
    ops = [PipeOp(0, PipeOpKind.CREATE, 0)]
    for time in range(times):
        ops += [PipeOp(time, PipeOpKind.WRITE, 0, 1, n), PipeOp(time, PipeOpKind.READ, 0, 0, n)]
    outcome = replay(PipeProgram(ops), DESIGNS[design], era=ERAS["2006"], limit=1 << 24)
    assert outcome.pipes.bytes_read == outcome.pipes.bytes_written == times * n
    assert times * (n // 65536) - 97 - 6 * times < outcome.rounds_counted < times * (n // 65536)
