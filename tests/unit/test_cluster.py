"""Dask: a real scheduler and real workers on this machine give the rows that this process gives, even if a worker is killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coalloc import CoallocError, Fit, InvalidRequestError, KiB, MiB, MissingExtraError
from coalloc.experiments.clusters import DaskExecutor, _Call, cluster
from coalloc.experiments.settings import Grid
from coalloc.experiments.sweeps import SweepRow, sweep
from coalloc.testing.on_targets import soak_target
from coalloc.workload.generators import hackbench

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("default")  # a worker that is killed leaves sockets behind

PIPES = hackbench(groups=1, fds=2, loops=20)
GRID = Grid(
    ["coalescing", "per-pipe"],
    {"arena_size": (MiB, 2 * MiB, 4 * MiB), "fit": (Fit.BEST, Fit.FIRST), "quantum_cache": (0, 64 * KiB)},
    copies=(1, 2),
)
STRANGER = """
from coalloc import CoalescingSpace

def make(source, *, kva_limit, arena=1 << 20):
    return CoalescingSpace(source, kva_limit=kva_limit, arena_size=arena)
"""


@pytest.fixture(scope="module", name="two")
def _two() -> Iterator[DaskExecutor]:
    with cluster("local:2") as executor:
        yield executor


def test_a_cluster_gives_the_rows_that_this_process_gives(two: DaskExecutor, tmp_path: Path) -> None:
    """A stranger's design included, which each worker loads from its file."""
    (tmp_path / "mine.py").write_text(STRANGER)
    target = f"{tmp_path / 'mine.py'}:make"
    grid = Grid([target, "coalescing"], {"arena": (64 * KiB, MiB), "arena_size": (MiB,)})
    assert two.dashboard.startswith("http://")
    done = sweep(grid, [PIPES], executor=two)
    assert done == sweep(grid, [PIPES])
    assert len(done.rows) == 3


def test_nothing_is_lost_when_a_worker_is_killed(two: DaskExecutor) -> None:
    """Dask starts another worker and gives it the work."""
    victims: list[int] = []
    kept: list[SweepRow] = []

    def kill_one(row: SweepRow) -> None:
        kept.append(row)
        if not victims:
            pids = two.client.run(os.getpid)
            victims.append(next(iter(pids.values())))
            os.kill(victims[0], signal.SIGKILL)

    done = sweep(GRID, [PIPES], executor=two, each=kill_one)
    assert done == sweep(GRID, [PIPES])
    assert sorted(kept, key=done.rows.index) == list(done.rows)
    assert victims[0] not in two.client.run(os.getpid).values()


def test_the_kit_soaks_on_a_cluster(two: DaskExecutor) -> None:
    """With the programs and the find of a soak on this machine."""
    wanted = lambda programs, _operations: programs >= 7  # noqa: E731
    there = soak_target("coalescing", enough=wanted, executor=two)
    assert there == soak_target("coalescing", enough=wanted)
    found = soak_target("M1", enough=wanted, executor=two)
    here = soak_target("M1", enough=wanted)
    assert found.found is not None
    assert here.found is not None
    assert found.found.program == here.found.program
    assert str(found.found.breach) == str(here.found.breach)


def test_a_call_that_fails_tells_its_error(two: DaskExecutor) -> None:
    """As any executor does; and a shut down executor has nothing that runs."""
    assert isinstance(two.submit(int, "x").exception(60), ValueError)
    assert two.submit(int, "7").result(60) == 7
    other = DaskExecutor(two.client)
    slow = other.submit(time.sleep, 0.2)
    other.shutdown()
    assert slow.done()
    waiting = other.submit(time.sleep, 60)
    other.shutdown(cancel_futures=True)
    assert waiting.cancelled()


@pytest.mark.parametrize("where", ["", "local", "local:0", "local:x", "host:8786", "nix"])
def test_an_address_that_is_none_is_refused(where: str) -> None:
    """Before Dask is asked."""
    with pytest.raises(InvalidRequestError, match="must be the address of a scheduler"), cluster(where):
        pass


def test_a_scheduler_that_does_not_answer_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that it may take."""
    monkeypatch.setattr("coalloc.experiments.clusters._SECONDS", 0.2)
    with pytest.raises(CoallocError, match=r"no cluster at tcp://127\.0\.0\.1:1: "), cluster("tcp://127.0.0.1:1"):
        pass


def test_a_scheduler_without_workers_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing would ever be done."""
    monkeypatch.setattr("coalloc.experiments.clusters._SECONDS", 0.5)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None, processes=False, protocol="tcp://") as nobody,
        pytest.raises(CoallocError, match="no cluster at"),
        cluster(nobody.scheduler_address),
    ):
        pass


def test_without_dask_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match="cluster"), cluster("local:1"):
        pass


class Done:
    """A task of Dask that is done as soon as somebody asks."""

    def add_done_callback(self, call: Callable[[Done], None]) -> None:
        """Call at once."""
        call(self)

    def result(self) -> int:
        """Return seven."""
        return 7

    def cancel(self) -> None:
        """Fail: nobody should cancel it."""
        raise AssertionError


def test_a_call_that_is_done_cannot_be_cancelled() -> None:
    """Nor is its task."""
    call = _Call(Done())  # type: ignore[arg-type]
    assert call.result() == 7
    assert not call.cancel()
