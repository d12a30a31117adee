"""CPUs in programs and recordings, and replay in time: what locks cost, held against counts that are worked out."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from coalloc import DESIGNS, ERAS, MiB, PipeProgram, bundled_build
from coalloc.errors import InvalidRequestError, ProgramError
from coalloc.pipes.design import Design
from coalloc.sched.hardware import IDEAL
from coalloc.vm.costs import COSTS
from coalloc.workload.formats import read
from coalloc.workload.overlay import overlay
from coalloc.workload.program import SpaceProgram
from coalloc.workload.replay import replay
from coalloc.workload.textformat import dumps, loads
from coalloc.workload.timed import Timed, replay_in_time
from tests.unit.test_recordings import FOLDER, perf

ROWS = [(0, 0, 0, 0, 0), (5, 1, 0, 1, 100), (7, 2, 0, 0, 100), (9, 3, 0, 1, 0), (9, 3, 0, 0, 0)]


def one_pipe(cpus: list[int] | None = None) -> PipeProgram:
    """A pipe that is made, written, read and closed."""
    program = PipeProgram(ROWS, title="one pipe")
    return program if cpus is None else program.on_cpus(cpus)


# --- programs ----------------------------------------------------------------------------------------


def test_a_program_knows_the_cpus_that_it_is_told() -> None:
    """Also in another order of owners, and copied; without any, they come from the pipes' numbers."""
    program = one_pipe([3, 0, -1, 3, 5])
    assert list(program.cpus or ()) == [3, 0, -1, 3, 5]
    assert program.facts().cpus == 3
    assert list(program.cpus_of(4)) == [3, 0, 0, 3, 1]
    assert list(one_pipe().cpus_of(4)) == [0] * 5
    assert program != one_pipe()
    assert program.owned_by(7).cpus == program.cpus
    assert one_pipe([-1] * 5).cpus is None
    assert one_pipe([-1] * 5) == one_pipe()
    copied = overlay(program, copies=3, spread=2, seed=1)
    rows = list(zip(copied.rows(), copied.cpus or (), strict=True))
    found = [[cpu for row, cpu in rows if row[2] == pipe] for pipe in range(3)]
    assert sorted(found) == [[3, 0, -1, 3, 5], [9, 6, -1, 9, 11], [15, 12, -1, 15, 17]]  # each copy on CPUs of its own


@pytest.mark.parametrize(
    ("cpus", "words"), [([0] * 4, "one for each of 5"), ([0, 0, 0, 0, 4096], "4095"), ([True] * 5, "int")]
)
def test_cpus_out_of_range_are_refused(cpus: list[int], words: str) -> None:
    """One for each operation, at most 4,095."""
    with pytest.raises(InvalidRequestError, match=words):
        one_pipe(cpus)


def test_the_text_format_keeps_cpus() -> None:
    """As the last word of an operation, in version 3; without any, version 2 is written."""
    program = PipeProgram([(0, 0, 0, 0, 7), *ROWS[1:]]).on_cpus([3, 0, -1, 3, 5])
    text = dumps(program)
    assert text.splitlines() == [
        "coalloc pipe-program 3",
        "0 create 0 7 @3",
        "5 write 0 1 100 @0",
        "7 read 0 0 100",
        "9 close 0 1 @3",
        "9 close 0 0 @5",
    ]
    assert loads(text) == program
    assert dumps(one_pipe()).startswith("coalloc pipe-program 2\n")
    assert loads("coalloc pipe-program 3\n0 create 0\n") == PipeProgram([(0, 0, 0, 0, 0)])
    assert loads("coalloc pipe-program 3\n") == PipeProgram([])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("coalloc pipe-program 2\n0 create 0 @1\n", "'@1' is not a decimal number"),
        ("coalloc pipe-program 3\n0 create 0 @4096\n", "CPU 4096 is not in 0 .. 4095"),
        ("coalloc pipe-program 3\n0 create 0 @-1\n", "not a decimal number"),
        ("coalloc pipe-program 3\n0 create 0 @\n", "not a decimal number"),
        ("coalloc pipe-program 3\n0 create 0 @1 @2\n", "not a decimal number"),
        ("coalloc pipe-program 3\n0 create @1\n", "takes 2 numbers"),
    ],
)
def test_a_bad_cpu_is_refused_by_its_line(text: str, words: str) -> None:
    """Like any other word."""
    with pytest.raises(ProgramError, match=words) as caught:
        loads(text)
    assert caught.value.line == 2


# --- recordings ----------------------------------------------------------------------------------------


def read_text(text: str, folder: Path) -> PipeProgram:
    """Read a recording."""
    (folder / "recording").write_text(text, encoding="utf-8")
    program, _ = read(folder / "recording")
    assert isinstance(program, PipeProgram)
    return program


def test_the_scripts_recordings_say_the_cpu(tmp_path: Path) -> None:
    """The third column; of calls that take effect late, too, and of the closes at a process's end."""
    calls = """coalloc calls 1
1000 2000 4 77 pipe 3@9701 4@9701 0
5000 6000 1 77 fork 78 0
7000 8000 2 77 write 4@9701 6
6500 9000 1 78 read 3@9701 6
9100 9200 2 77 close 3@9701
9300 9400 2 77 close 4@9701
9500 9500 6 78 exit
"""
    program = read_text(calls, tmp_path)
    assert [(row[1], cpu) for row, cpu in zip(program.rows(), program.cpus or (), strict=True)] == [
        (0, 4), (1, 2), (2, 1), (3, 6), (3, 6),
    ]  # fmt: skip
    far = read_text(calls.replace("1000 2000 4 ", "1000 2000 9999 "), tmp_path)
    assert next(iter(far.cpus or ())) == -1
    told, _ = read(FOLDER / "bpftrace.calls")
    assert isinstance(told, PipeProgram)
    assert told.cpus is not None


def test_perf_says_the_cpu_if_it_is_asked(tmp_path: Path) -> None:
    """Behind the time, as perf of Linux 7.2 prints it; without it nothing is known."""
    events = ("7 pipe2(fildes: 0x7ffd)  = 0", "7 write(fd: 4, count: 6)  = 6", "7 exit_group()")
    plain = perf(*events)
    assert read_text(plain, tmp_path).cpus is None
    shown = "".join(
        line.replace(" (", f" [{number:03}] (", 1) + "\n" for number, line in enumerate(plain.splitlines(), 5)
    )
    program = read_text(shown, tmp_path)
    kinds = [row[1] for row in program.rows()]
    assert list(zip(kinds, program.cpus or (), strict=True)) == [(0, 5), (1, 6), (3, 7), (3, 7)]


def test_pipes_that_were_there_before_have_no_cpu(tmp_path: Path) -> None:
    """They are made when the program begins, and nobody saw where."""
    program = read_text("coalloc calls 1\n1000 2000 3 77 write 4@9701 6\n3000 4000 2 77 read 3@9701 6\n", tmp_path)
    assert list(program.cpus or ()) == [-1, 3, 2]


def test_a_per_cpu_cache_is_asked_on_the_recorded_cpu() -> None:
    """A buffer that is freed on one CPU is not in the cache of another."""
    rows = [(n, *rest) for n, rest in enumerate([(0, 0, 0, 0), (3, 0, 0, 0), (3, 0, 1, 0), (0, 1, 0, 0)])]
    same, other = (PipeProgram(rows).on_cpus([0, 0, 0, cpu]) for cpu in (0, 1))
    hits = [
        replay(program, DESIGNS["dragonfly"], era=ERAS["2006"], limit=MiB, cpus=2).space.cache_hits
        for program in (same, other)
    ]
    assert hits == [2, 0]


# --- in time -------------------------------------------------------------------------------------------


def timed(program: PipeProgram, design: Design, cpus: int, **more: object) -> Timed:
    """Replay in time, with a price of 1 for everything, on CPUs among which nothing costs anything."""
    given: dict[str, object] = {
        "costs": COSTS["unit"],
        "hardware": IDEAL,
        "limit": 64 * MiB,
        "era": ERAS["2006"],
    } | more
    return replay_in_time(program, design, cpus=cpus, **given)  # type: ignore[arg-type]


def apart(n: int) -> PipeProgram:
    """Make so many pipes at once, each on a CPU of its own, and close them at once, later."""
    rows = [(0, 0, pipe, 0, 0) for pipe in range(n)]
    rows += [(100, 3, pipe, end, 0) for pipe in range(n) for end in (0, 1)]
    return PipeProgram(rows).on_cpus([*range(n), *(pipe for pipe in range(n) for _ in (0, 1))])


def test_calls_at_one_time_wait_for_the_lock_one_after_the_other() -> None:
    """Of n calls that hold it for w each, the waits are 0, w, 2w, ...: n * (n - 1) / 2 * w together."""
    n = 8
    costs = attrs.evolve(
        COSTS["unit"], prices={**COSTS["unit"].prices, "carves": attrs.evolve(COSTS["unit"].prices["carves"], ns=1000)}
    )
    one, many = (timed(apart(n), DESIGNS["coalescing"], cpus, costs=costs) for cpus in (1, n))
    assert one.wait_ns == 0
    (arenas,) = (use for use in many.locks if use.name == "arenas")
    work = replay(apart(n), DESIGNS["coalescing"], era=ERAS["2006"], limit=64 * MiB).work
    call_ns = (1000 * work.carves + work.coalesces) / (2 * n)  # one buffer each, had and given back
    assert many.wait_ns == pytest.approx(2 * call_ns * n * (n - 1) / 2, abs=10 * n)
    assert arenas.acquisitions == many.operations == 2 * n
    assert many.without_lock == 0
    assert many.longest_wait == pytest.approx(call_ns * (n - 1), abs=10)
    assert 0 < many.held <= 1


@pytest.mark.parametrize("cpus", [1, 3])
def test_what_is_counted_is_what_a_replay_counts(cpus: int) -> None:
    """The map's lock is taken once for each map operation of per-pipe, and never but for imports with arenas."""
    program = bundled_build()
    per_pipe, arenas = (timed(program, DESIGNS[name], cpus) for name in ("per-pipe", "coalescing"))
    counted = replay(program, DESIGNS["per-pipe"], era=ERAS["2006"], limit=64 * MiB, cpus=cpus)
    calls = counted.map.map_ops + counted.map.unmap_ops  # a buffer that grows is mapped and unmapped in one operation
    assert 0.99 * calls < sum(use.acquisitions for use in per_pipe.locks) <= calls
    assert {use.name: use.acquisitions for use in arenas.locks}["kernel map"] == 1
    assert per_pipe.elapsed >= program.columns()[0][-1] * 1000
    assert per_pipe.late_ns >= 0


@pytest.mark.parametrize("name", ["per-pipe", "coalescing", "coalescing+cache", "dragonfly"])
def test_on_one_cpu_the_work_adds_up_to_the_estimate(name: str) -> None:
    """Operations apart from one another take what the counts cost, and nothing else where the machine is ideal."""
    program = bundled_build()
    costs = COSTS["measured"]
    run = timed(program, DESIGNS[name], 1, costs=costs)
    estimate = replay(program, DESIGNS[name], era=ERAS["2006"], limit=64 * MiB).estimate(costs).ns
    assert run.mean * run.operations == pytest.approx(estimate, rel=1e-4)


def test_a_cpus_cache_takes_no_lock() -> None:
    """On any number of CPUs, unless all share the cache."""
    program = overlay(bundled_build(), copies=2, spread=1000, seed=1)
    for cpus in (1, 8):
        run = timed(program, DESIGNS["dragonfly"], cpus)
        assert run.without_lock > 0.9 * run.operations
        assert sum(use.acquisitions for use in run.locks) < 100
    counted = replay(program, DESIGNS["netbsd"], era=ERAS["2006"], limit=64 * MiB, cpus=8)
    assert counted.space.cache_hits > 1000  # it is not told the CPU, and takes no other
    shared = timed(program, DESIGNS["netbsd"], 8)
    assert shared.without_lock < 0.5 * shared.operations


def test_what_cannot_be_replayed_in_time_is_refused() -> None:
    """Kernels with other locks, programs of buffers, times beyond the simulation's; nothing at all is replayed."""
    for name in ("linux", "illumos"):
        with pytest.raises(InvalidRequestError, match="locks are not modelled"):
            timed(bundled_build(), DESIGNS[name], 4)
    assert timed(bundled_build(), DESIGNS["vmem"], 4).operations > 100
    with pytest.raises(InvalidRequestError, match="too late"):
        timed(PipeProgram([((1 << 50) + 1, 0, 0, 0, 0)]), DESIGNS["vmem"], 2)
    assert timed(PipeProgram([(1 << 50, 0, 0, 0, 0)]), DESIGNS["vmem"], 2).operations == 1
    empty = timed(PipeProgram([]), DESIGNS["coalescing"], 2)
    assert (empty.operations, empty.held, empty.wait_ns, empty.longest_wait) == (0, 0.0, 0, 0)
    with pytest.raises(InvalidRequestError, match="has no times"):
        replay_in_time(SpaceProgram([]), DESIGNS["vmem"], era=ERAS["2006"], limit=MiB, cpus=2)  # type: ignore[arg-type]


def test_resizes_are_counted() -> None:
    """A pipe that grows where it lies changes its buffer under the lock."""
    rows = [(0, 0, 0, 0, 0), (5, 1, 0, 1, 20_000), (9, 2, 0, 0, 20_000)]
    run = timed(PipeProgram(rows), DESIGNS["coalescing"], 2)
    assert run.operations == 2
    assert run.without_lock == 0
