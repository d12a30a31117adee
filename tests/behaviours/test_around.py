"""B22, B24, B25 and B54: what a pipe is made of, and the stress run of the mail, in every era."""

from __future__ import annotations

import pytest

from coalloc import ERAS, Era, MiB
from coalloc.designs import DESIGNS
from coalloc.kernel import BEFORE_PAIRS, FIXES, Allocations, Kernel, RandomDriver
from coalloc.kernel.process import Call, Xint0x80_syscall
from coalloc.scenarios import MailResult, run_creation, run_mail
from coalloc.vm.costs import EVENTS, CostModel, Price
from tests import some

ALL_ERAS = pytest.mark.parametrize("era", ERAS)


def run(kernel: Kernel, body: Call[object]) -> None:
    """Run one program and check that it ends without findings."""
    kernel.machine.spawn("program", body)
    assert kernel.machine.run(record=False).findings == ()


@ALL_ERAS
def test_b22_the_item_goes_back_to_its_zone_when_both_ends_are_closed(era: str) -> None:
    """The item stays in use until the second end is closed, whichever end is closed first."""
    kernel = Kernel(ERAS[era])
    process = kernel.fork()

    def program() -> Call[None]:
        for order in ((0, 1), (1, 0)):
            fds = yield from Xint0x80_syscall(process.pipe())
            yield from Xint0x80_syscall(process.close(fds[order[0]]))
            assert kernel.zone.counters().live == 1
            yield from Xint0x80_syscall(process.close(fds[order[1]]))
            assert kernel.zone.counters().live == 0

    run(kernel, program())
    kernel.zone.check()


@ALL_ERAS
def test_b24_a_pair_that_is_used_again_keeps_its_mutex(era: str) -> None:
    """From the pair commit on, 20 pipes need fewer than 20 mutex initialisations; a reused item has fresh state."""
    kernel = Kernel(ERAS[era])
    process = kernel.fork()

    def program() -> Call[None]:
        for _ in range(20):
            reads, writes = yield from Xint0x80_syscall(process.pipe())
            pair, _ = process.pipe_of(reads)
            assert [half.cnt for half in pair.halves] == [0, 0]
            yield from Xint0x80_syscall(process.write(writes, 100))
            for fd in (reads, writes):
                yield from Xint0x80_syscall(process.close(fd))

    run(kernel, program())
    assert kernel.zone.counters().allocs == 20
    assert (kernel.mutex_inits < 20) is ERAS[era].surroundings.pair_zone
    item = kernel.zone.alloc()
    assert item.pair is None
    assert item.ctimes[0] == item.ctimes[1]


@pytest.mark.parametrize(
    ("config", "zone", "malloc", "mutex", "mappings"),
    [
        (BEFORE_PAIRS, 2, 1, 1, 2),
        (ERAS["2004-01"], 1, 0, 0, 2),
        (ERAS["2006"], 1, 0, 0, 1),
        (ERAS["10.x"], 1, 0, 0, 1),
        (ERAS["current"], 1, 0, 0, 2),
    ],
    ids=["before pairs", "2004-01", "2006", "10.x", "current"],
)
def test_b25_what_is_set_up_for_a_pipe(config: Era, zone: int, malloc: int, mutex: int, mappings: int) -> None:
    """200 pipes cost the expected allocations, mutexes and mappings; from the pair commit on a slab brings eight mutexes."""
    made = run_creation(config, pipes=200, processes=1)
    assert made.allocations == Allocations(
        zone=200 * zone, malloc=200 * malloc, mutex_init=200 * mutex or 8, mappings=200 * mappings
    )


def test_b25_todays_second_mapping_is_of_4096_bytes() -> None:
    """The current code maps 16 KiB for the forward half and 4,096 bytes for the reverse half."""
    kernel = Kernel(ERAS["current"])
    process = kernel.fork()
    run(kernel, process.pipe())
    pair, _ = process.pipe_of(0)
    assert [half.size for half in pair.halves] == [16384, 4096]


def consistent(result: MailResult, limit: int) -> None:
    """Check that the run reached exhaustion, printed the line, left nothing behind and broke no invariant."""
    assert result.found == ()
    assert result.after["kern.ipc.pipekva"] == result.after["kern.openfiles"] == result.after["pages"] == 0
    assert all(piper.error in ("ENFILE", "ENOMEM", "EMFILE") for piper in result.pipers)
    assert result.peak_kva <= limit
    lines = [entry for entry in result.console if "exceeded" in str(entry)]
    seconds = [entry.time // 10**9 for entry in lines if "maxpipekva" in entry.text]
    assert len(seconds) == len(set(seconds))
    assert lines
    assert result.peak_pages > 0


@pytest.mark.parametrize("design", some(["coalescing", "per-pipe"], 2))
@ALL_ERAS
def test_b54_pagers_beside_pipers_reach_exhaustion_and_stay_consistent(era: str, design: str) -> None:
    """The run reaches exhaustion in every era, and only January 2004 reports a lock order reversal."""
    limit = 16 * MiB
    result = run_mail(ERAS[era], DESIGNS[design], pagers=2, pipers=1, maxpipekva=limit, maxfiles=3000, seed=1)
    if era == "2003-07":  # maxpipekva is a mark for small buffers there, and the system's files run out
        limit = 1 << 30
    consistent(result, limit)
    reported = [entry.text for entry in result.console if entry.text.startswith("lock order reversal")]
    assert len(reported) == (era == "2004-01")
    assert result.reversal_at == ((1024, 2048) if era == "2004-01" else None)
    assert result.after["arenas"] <= 1
    assert (result.after["mapped"] == 0) is (design == "per-pipe")


@pytest.mark.parametrize("name", FIXES)
def test_b54_with_a_fix_there_is_no_report(name: str) -> None:
    """Each fix removes the lock order reversal, although the descriptor table still grows to 2,048."""
    result = run_mail(FIXES[name], pagers=1, pipers=1, maxpipekva=16 * MiB)
    consistent(result, 16 * MiB)
    assert result.reversal_at is None
    assert 2048 in result.pipers[0].fd_sizes


def test_b54_the_line_comes_at_most_once_a_simulated_second() -> None:
    """The console has at most one line a simulated second, and counts the lines that it suppresses."""
    slow = CostModel(
        "slow", {event: Price(60_000, "slow enough for seconds") for event in EVENTS}, "nothing was measured"
    )
    result = run_mail(ERAS["2004-01"], pagers=1, pipers=2, rounds=20, maxpipekva=1 * MiB, seed=3, costs=slow)
    consistent(result, 1 * MiB)
    assert len(result.pipers) == result.suppressed + len(result.console) == 40
    assert 3 <= len(result.console) <= result.time // 10**9 + 1


def test_b54_it_holds_under_other_schedules_too() -> None:
    """The reversal is also found when threads are switched rarely instead of at each step."""
    result = run_mail(ERAS["2004-01"], pagers=1, pipers=2, maxpipekva=24 * MiB, driver=RandomDriver(5, stay=0.95))
    consistent(result, 24 * MiB)
    assert result.reversal_at == (1024, 2048)
