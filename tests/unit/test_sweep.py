"""Sweeps: rows for every setting, whoever runs them, with what could not be run said."""

from __future__ import annotations

import sys
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import pytest

from coalloc import COSTS, DESIGNS, STATES, CoalescingSpace, CoallocError, InvalidRequestError, KiB, MiB
from coalloc.cli.jobs import process_pool
from coalloc.designs import of_factory
from coalloc.experiments.settings import Grid, Setting
from coalloc.experiments.sweeps import Failure, Load, SweepRow, key_of, sweep
from coalloc.report.tables import design_figures
from coalloc.space.forwarding import ForwardingSpace
from coalloc.space.protocol import Space
from coalloc.vm.source import Source
from coalloc.workload.generators import comb, hackbench
from coalloc.workload.overlay import overlay
from coalloc.workload.replay import replay

PIPES = hackbench(groups=1, fds=2, loops=3)
BUFFERS = comb(teeth=20)
GRID = Grid(["coalescing", "per-pipe"], {"arena_size": (MiB, 2 * MiB), "quantum_cache": (0, 64 * KiB)})


class WornOut(ForwardingSpace):
    """A space that serves nobody."""

    def alloc(self, size: int) -> int:
        """Fail."""
        raise RuntimeError("worn out" if size else "")


def stranger(source: Source, *, kva_limit: int, arena: int = MiB) -> Space:
    """A stranger's allocator that takes no arena below 64 KiB, and never serves anybody with one of 128 KiB."""
    if arena < 64 * KiB:
        raise ValueError("too small\nfor me")
    if arena == 64 * KiB:
        sys.exit("bye")
    space = CoalescingSpace(source, kva_limit=kva_limit, arena_size=arena)
    return WornOut(space) if arena == 128 * KiB else space


def test_a_row_has_the_figures_of_a_comparison() -> None:
    """Each row equals a replay of its own, copies included."""
    grid = Grid(["coalescing"], {"arena_size": (MiB, 4 * MiB)}, copies=(1, 2), seeds=2, spread=1000)
    done = sweep(grid, [PIPES])
    assert [row.setting for row in done.rows] == list(grid)
    assert not done.failures
    for row in done.rows:
        setting = row.setting
        program = overlay(PIPES, setting.copies, 1000, setting.seed)
        design = DESIGNS["coalescing"].configured(**dict(setting.parameters))
        alone = replay(program, design, era=STATES[setting.era], limit=setting.limit)
        assert row.figures == design_figures(alone, COSTS["measured"])


def test_copies_begin_within_the_length_of_the_program_unless_told_otherwise() -> None:
    """As for compare."""
    (row,) = sweep([Setting("per-pipe", copies=3, seed=5)], [PIPES]).rows
    alone = replay(
        overlay(PIPES, 3, PIPES.facts().duration, 5), DESIGNS["per-pipe"], era=STATES["2004-01"], limit=64 * MiB
    )
    assert row.figures == design_figures(alone, COSTS["measured"])


def test_rows_do_not_depend_on_who_runs_them() -> None:
    """This process, threads, and processes give equal rows in one order."""
    here = sweep(GRID, [PIPES, BUFFERS])
    with ThreadPoolExecutor(3) as threads:
        assert sweep(GRID, [PIPES, BUFFERS], executor=threads) == here
    with process_pool(2) as processes:
        assert sweep(GRID, [PIPES, BUFFERS], executor=processes) == here
    with process_pool(1) as nobody:
        assert nobody is None
    assert [row.program for row in here.rows] == [PIPES.title] * 5 + [BUFFERS.title] * 5


def test_what_cannot_be_made_or_replayed_is_said_and_the_rest_goes_on() -> None:
    """A stranger's factory and a stranger's allocator may raise what they like."""
    design = of_factory("stranger", stranger)
    done = sweep(Grid([design], {"arena": (MiB, 4 * KiB, 64 * KiB, 128 * KiB)}), [BUFFERS])
    assert [row.setting.name for row in done.rows] == ["stranger(arena=1M)"]
    assert [(failure.setting.name, failure.reason) for failure in done.failures] == [
        ("stranger(arena=4K)", "ValueError: too small for me"),
        ("stranger(arena=64K)", "SystemExit: bye"),
        ("stranger(arena=128K)", "RuntimeError: worn out"),
    ]
    refused = sweep([Setting("coalescing", (("arena_size", 5000),))], [BUFFERS]).failures
    assert isinstance(refused[0], Failure)
    assert refused[0].as_dict()["reason"].startswith("arena_size=5000")


def test_known_rows_are_not_replayed_again() -> None:
    """With half of the figures at hand, the other half is replayed, and the result is the same."""
    kept: list[SweepRow] = []
    told: list[tuple[int, int]] = []
    whole = sweep(GRID, [PIPES], each=kept.append, progress=lambda *done: told.append(done))
    assert kept == list(whole.rows)
    assert told == [(number, 5) for number in range(6)]
    half = {key_of(row.digest, row.setting): row.figures for row in kept[:2]}
    again: list[SweepRow] = []
    assert sweep(GRID, [PIPES], done=half, each=again.append) == whole
    assert again == kept[2:]


def test_a_key_tells_programs_and_settings_apart() -> None:
    """Equal for equal ones only."""
    keys = {key_of(Load.of(program).digest, setting) for program in (PIPES, BUFFERS) for setting in GRID}
    assert len(keys) == 10
    assert Load.of(PIPES) == Load.of(hackbench(groups=1, fds=2, loops=3))


@pytest.mark.parametrize(
    ("settings", "programs", "what"),
    [
        ([], [PIPES], "settings"),
        (GRID, [], "programs"),
        (GRID, [PIPES, BUFFERS, hackbench(groups=1, fds=2, loops=3)], "programs"),
        ([Setting("vmem", copies=2)], [PIPES, BUFFERS], "copies"),
    ],
)
def test_a_sweep_without_work_or_with_copies_of_buffers_is_refused(settings: Any, programs: Any, what: str) -> None:
    """Before anything is replayed."""
    with pytest.raises(InvalidRequestError) as caught:
        sweep(settings, programs)
    assert caught.value.what == what


class Broken(Executor):
    """An executor whose first call is done, and whose others end with an error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.futures: list[Future[Any]] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.futures.append(future)
        if len(self.futures) == 1:
            future.set_result(fn(*args, **kwargs))
        elif len(self.futures) == 2:
            future.set_exception(self.error)
        return future


@pytest.mark.parametrize(
    ("error", "raised"),
    [(OSError("lost"), CoallocError), (KeyboardInterrupt(), KeyboardInterrupt), (CoallocError("x"), CoallocError)],
)
def test_rows_are_not_lost_when_an_executor_fails(error: BaseException, raised: type[BaseException]) -> None:
    """What was done has been handed on; what has not begun is cancelled."""
    executor = Broken(error)
    kept: list[SweepRow] = []
    with pytest.raises(raised) as caught:
        sweep(GRID, [PIPES], executor=executor, each=kept.append)
    assert len(kept) == 1
    assert "coalescing(" in str(caught.value) or not isinstance(error, OSError)
    assert all(future.cancelled() for future in executor.futures[2:])


def test_columns_suit_every_row() -> None:
    """Parameters stand behind the design, those that a design lacks are left out, and none hides another column."""
    done = sweep(GRID, [PIPES])
    columns = done.columns()
    assert columns[:9] == [
        "program", "program_sha256", "design", "arena_size", "quantum_cache", "era", "limit", "copies", "spread",
    ]  # fmt: skip
    assert "arena_size" not in done.rows[-1].columns()
    assert done.rows[0].columns()["arena_size"] == MiB
    assert sweep([Setting("vmem", (("limit", 1),))], [PIPES]).columns() == []
    odd = SweepRow("", "0", Setting("vmem", (("limit", 1),)), {"map_ops": 2})
    assert (odd.columns()["set_limit"], odd.columns()["limit"]) == (1, 64 * MiB)


def test_a_data_frame_has_a_line_for_each_row() -> None:
    """A parameter that a design lacks is missing there."""
    frame = sweep(GRID, [PIPES]).to_dataframe()
    assert list(frame["map_ops"]) == [row.figures["map_ops"] for row in sweep(GRID, [PIPES]).rows]
    assert frame["arena_size"].isna().sum() == 1
