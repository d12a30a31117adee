"""Scenarios on a small scale: what they show, and what they refuse."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import attrs
import pytest

from coalloc import COSTS, ERAS, MiB, PipeError
from coalloc.designs import DESIGNS
from coalloc.errors import InvalidRequestError
from coalloc.kernel import MUTEX_PROFILING, LockProfile
from coalloc.kernel.process import Call, Process, Xint0x80_syscall
from coalloc.scenarios import (
    SCENARIOS,
    TESTS,
    Curve,
    PipeTest,
    PipeTestFailure,
    Result,
    descriptor_curves,
    pipe_curves,
    run_creation,
    run_mail,
    run_teardown,
    run_test,
)
from coalloc.scenarios.mail import MailReport
from coalloc.scenarios.progress import Advance
from coalloc.scenarios.regress import scenario_of
from coalloc.scenarios.teardown import _job
from coalloc.sched.run import Finding, FindingKind
from tests import some

ALL_ERAS = pytest.mark.parametrize("era", ERAS)
BOTH_DESIGNS = pytest.mark.parametrize("design", some(["coalescing", "per-pipe"], 2))


class Watcher:
    """A progress that notes what is said, and how far each task comes."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.done: dict[str, list[int]] = {}

    def say(self, text: str) -> None:
        """Note a text."""
        self.said.append(text)

    def task(self, text: str, total: int | None) -> AbstractContextManager[Advance]:
        """Note how far a task comes."""
        told: list[int] = []
        self.done[f"{text}/{total}"] = told
        return nullcontext(told.append)


def watched(name: str, **given: object) -> tuple[Result, Watcher]:
    """Run a scenario while somebody watches."""
    watcher, scenario = Watcher(), SCENARIOS[name]
    return scenario.start(scenario.read(given), watcher), watcher


# --- FreeBSD's pipe tests ----------------------------------------------------------------------------------

REASONS = {
    "reverse": "sleeps for ever: reverse on pipewr; <PipePair 0: active 0/16384, active 16384/16384>",
    "reverse2": "a half without a buffer does not select as writable",
    "ino": "st_dev is 0 and 0",
    "bigpipe": "select says writable, and write fails: write: EAGAIN: Resource temporarily unavailable",
    "kqueue": "kevent: kevent: EBADF: Bad file descriptor, EPIPE is due",
    "fstat": "st_size is 0 after a write of 8192, and a read gets 8192",
}


@BOTH_DESIGNS
@ALL_ERAS
@pytest.mark.parametrize("name", TESTS)
def test_each_era_does_what_is_known_of_it(name: str, era: str, design: str) -> None:
    """Every test passes in every era, except where it is known to fail, and then for the known reason."""
    times = {"overcommit1": 500, "overcommit2": 50, "bigpipe": 50}.get(name)
    result = run_test(TESTS[name], ERAS[era], DESIGNS[design], times=times, maxpipekva=4 * MiB)
    assert result.expected
    assert result.reason == (REASONS[name] if era in TESTS[name].fails_in else "")


def with_process(**changes: object) -> Any:
    """Run the reverse2 test with fields of its kernel's state changed."""
    config = ERAS["current"]
    return run_test(TESTS["reverse2"], attrs.evolve(config, **changes))  # type: ignore[arg-type]


def test_a_patch_that_breaks_a_test_is_unexpected() -> None:
    """A change that breaks a test is told with its reason as an unexpected failure."""
    assert with_process().passed
    result = with_process(reverse=ERAS["2006"].reverse, polls_unbacked=False)
    assert (result.passed, result.expected, result.known) == (False, False, "")
    assert result.reason == "a half without a buffer does not select as writable"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("leaks", "4096 bytes stay mapped"),
        ("raises", "fdalloc: EMFILE"),
        ("wrong", "it is wrong"),
        ("dies", "raised: test: ValueError: boom"),
    ],
)
def test_whatever_a_test_does_is_its_reason(body: str, reason: str) -> None:
    """The reason of a failure is a leftover, an unexpected error, the test's own verdict, or a mistake in it."""

    def leaks(process: Process, _times: int) -> Call[None]:
        process.kernel.space.alloc(4096)
        yield from Xint0x80_syscall(process.pipe())

    def raises(process: Process, _times: int) -> Call[None]:
        while True:
            yield from Xint0x80_syscall(process.pipe())

    def wrong(process: Process, _times: int) -> Call[None]:
        yield from Xint0x80_syscall(process.pipe())
        raise PipeTestFailure("it is wrong")

    def dies(process: Process, _times: int) -> Call[None]:
        yield from Xint0x80_syscall(process.pipe())
        raise ValueError("boom")

    bodies = {"leaks": leaks, "raises": raises, "wrong": wrong, "dies": dies}
    result = run_test(PipeTest("test", "a test", bodies[body], maxfilesperproc=10), ERAS["2006"])
    assert result.reason.startswith(reason)


def test_leftovers_of_a_test_are_told() -> None:
    """A test whose bytes, files or pairs outlive its exit fails with what is left."""

    def hides(process: Process, _times: int) -> Call[None]:
        yield from Xint0x80_syscall(process.kernel.fork().pipe())

    result = run_test(PipeTest("hides", "a test", hides), ERAS["2006"])
    assert (
        result.reason
        == "16384 bytes of pipe buffers are left; 2 open files are left; 1 pairs are left; 16384 bytes stay mapped"
    )


@pytest.mark.parametrize("era", ["current"])
def test_kernels_that_are_wrong_fail_the_tests(era: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test finds the bug that it is there for."""
    from coalloc.pipes.pair import Knote, PipePair, PipeStat, PollState

    config = ERAS[era]
    read, write, stat = PipePair.read, PipePair.write, PipePair.stat
    wrongs: dict[str, tuple[object, str, object, str]] = {
        "fstat": (PipePair, "stat", lambda p, end: attrs.evolve(stat(p, end), st_size=0), "st_size is 0 after a write of 145"),
        "ino": (PipePair, "stat", lambda _p, _end: PipeStat(0, 4096, 5, 1), "st_ino is 5 for both ends"),
        "bigpipe": (PipePair, "poll", lambda _p, _end: PollState(True, True), "select says writable, and write fails"),
        "kqueue": (Knote, "event", lambda _k: None, "a new pipe has room for 16384 bytes; the event is None"),
    }  # fmt: skip

    def garbled(pair: PipePair, end: int, n: int, *, into: bytearray | None = None, **named: Any) -> int:
        got = read(pair, end, n, into=into, **named)
        if into:
            into[-1] ^= 1
        return got

    def short(pair: PipePair, end: int, n: int, *, into: bytearray | None = None, **named: Any) -> int:
        return read(pair, end, min(n, 5000), into=into, **named)

    wrongs["wraparound"] = (PipePair, "read", garbled, "other bytes arrive than were sent")
    wrongs["reverse"] = (PipePair, "read", short, "10000 bytes arrive, 40960 were sent")
    for name, (owner, method, replacement, reason) in wrongs.items():
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, replacement)
            result = run_test(TESTS[name], config, times=3 if TESTS[name].times else None)
        assert result.reason.startswith(reason), name
    with monkeypatch.context() as patch:
        patch.setattr(Process, "_pipeclose", lambda _self, _item, _end: iter(()))
        assert run_test(TESTS["overcommit2"], config, times=1).reason.startswith("a pipe that failed leaves bytes")
    with monkeypatch.context() as patch:
        patch.setattr(Process, "pipe", lambda _self: iter(()))
        assert run_test(TESTS["overcommit2"], config, times=1).reason == "pipe succeeds without two descriptors"
    with monkeypatch.context() as patch:
        patch.setattr(PipePair, "knote", lambda pair, end, _filter: Knote(pair, end, "write"))
        assert run_test(TESTS["kqueue"], config).reason.startswith("EVFILT_WRITE can be registered")
    assert write is PipePair.write


def test_a_test_is_repeated_at_least_once() -> None:
    """A number of repetitions below 1 is refused."""
    with pytest.raises(InvalidRequestError, match="times"):
        run_test(TESTS["bigpipe"], ERAS["2006"], times=0)


# --- scalability -------------------------------------------------------------------------------------------


def test_curves_of_descriptors_have_the_shapes_that_kernels_have() -> None:
    """Bitmaps and the scan are flat in sequence, and under bindbench the scan is linear."""
    curves = {(curve.name, curve.load): curve for curve in descriptor_curves(4096)}
    assert curves["4.4bsd", "bindbench"].exponent == pytest.approx(1, abs=0.05)
    assert 0.5 < curves["bitmap", "bindbench"].exponent < 1
    assert curves["dragonfly", "bindbench"].exponent < 0.3
    assert all(curves[name, "in sequence"].flat for name in ("4.4bsd", "bitmap", "bitmap-64"))
    assert len(curves["bitmap", "bindbench"].work) == 4096


def test_curves_of_pipes_show_what_fragmentation_costs() -> None:
    """Between holes a linear search grows with them, a tree slowly, an arena not; without holes all are flat."""
    curves = {(c.name, c.era, c.load): c for c in pipe_curves(1024)}
    assert len(curves) == 4 * len(ERAS)
    for (name, era, load), curve in curves.items():
        if load == "in sequence" or name == "coalescing":
            assert curve.flat
        elif era in ("2003-07", "2004-01"):
            assert curve.exponent == pytest.approx(1, abs=0.1)
        else:
            assert curve.exponent < 0.3


def test_designs_of_other_kernels_have_their_own_policy_once() -> None:
    """Another kernel's design has curves under its own policy only, and Linux has none."""
    said: list[str] = []
    curves = list(pipe_curves(256, designs=[DESIGNS["dragonfly"]], progress=said.append))
    assert [(c.era, c.load) for c in curves] == [("dragonfly-2004", "in sequence"), ("dragonfly-2004", "between holes")]
    assert said == ["dragonfly, dragonfly-2004, in sequence", "dragonfly, dragonfly-2004, between holes"]
    with pytest.raises(InvalidRequestError, match="has no buffers of address space"):
        list(pipe_curves(256, designs=[DESIGNS["linux"]]))
    for make in (pipe_curves, descriptor_curves):
        with pytest.raises(InvalidRequestError, match="count"):
            list(make(255))


def test_means_are_over_doubling_stretches() -> None:
    """The means are taken over stretches that double from 64 on, and give the exponent."""
    curve = Curve("pipe", "x", "", "y", tuple(range(1, 257)))
    assert curve.means == ((64, 95.5), (128, 191.5))
    assert curve.exponent == pytest.approx(1, abs=0.01)


# --- teardown ----------------------------------------------------------------------------------------------


def test_a_mass_close_is_counted_for_each_design() -> None:
    """A mass close counts two unmappings and one shoot-down for a pipe, and far fewer with arenas."""
    seen: list[int] = []
    rows = {
        name: run_teardown(5000, DESIGNS[name], cpus=4, progress=seen.append)
        for name in ("per-pipe", "dragonfly", "coalescing")
    }
    assert seen == [0, 4096] * 3
    assert rows["per-pipe"].closed.unmap_ops == 10_000
    assert rows["per-pipe"].closed.tlb_shootdowns == 5000
    assert rows["per-pipe"].closed.ipis == 15_000
    assert rows["dragonfly"].closed.unmap_ops == 10_000 - 16
    assert rows["dragonfly"].kept == 16 * 16384
    assert rows["coalescing"].closed.unmap_ops == 5000 * 32768 // (4 * MiB) - 0
    assert rows["coalescing"].estimate_ns < rows["per-pipe"].estimate_ns / 10
    assert all(row.made.map_ops > 0 == row.closed.map_ops for row in rows.values())


@pytest.mark.parametrize("name", ["per-pipe", "dragonfly", "netbsd", "coalescing"])
@pytest.mark.parametrize("era", ["2004-01", "2006", "current"])
def test_a_mass_close_is_what_pipes_would_do(era: str, name: str) -> None:
    """A mass close counts in the map exactly what pipes do that are made, written to and closed."""
    made = run_teardown(300, DESIGNS[name], era=ERAS[era])
    limit = 8 * 16384 * 300
    bench = DESIGNS[name].build(ERAS[era], limit)
    system = DESIGNS[name].pipes(ERAS[era], bench.space, limit)
    pairs: list[Any] = []
    for _ in range(300):
        pairs.append(system.pipe())
        pairs[-1].write(1, 1)
    assert bench.kernel.counters() == made.made
    for pair in pairs:
        pair.close(0)
        pair.close(1)
    ended = bench.kernel.counters()
    assert ended.unmap_ops - made.made.unmap_ops == made.closed.unmap_ops
    assert ended.tlb_shootdowns == made.closed.tlb_shootdowns
    assert ended.mapped == made.kept


def test_a_teardown_needs_pipes_with_buffers() -> None:
    """A teardown without pipes, CPUs or buffers of address space is refused."""
    for pipes, design, cpus in ((0, "per-pipe", 1), (1, "per-pipe", 0), (1, "linux", 1)):
        with pytest.raises(InvalidRequestError):
            run_teardown(pipes, DESIGNS[design], cpus=cpus)


# --- creation, and the mail's arguments --------------------------------------------------------------------


def test_the_map_lock_is_where_pipe_creation_spends_its_time() -> None:
    """The map's lock takes over nine tenths of the time that locks are held, and arenas cut it to less than a fifteenth."""
    held = {}
    for design in ("per-pipe", "coalescing"):
        made = run_creation(ERAS["2004-01"], DESIGNS[design], pipes=200)
        rows = made.profile.rows("total")
        held[design] = rows[0].total
        assert rows[0].name == (
            "vm/vm_map.c:1215 (sx:pipe_map)" if design == "per-pipe" else "kern/sys_pipe.c:430 (sx:pipe arenas)"
        )
        if design == "per-pipe":
            assert rows[0].total > 0.9 * sum(row.total for row in rows)
    assert held["coalescing"] < held["per-pipe"] / 15


def test_in_july_2003_the_mutex_profile_shows_giant() -> None:
    """In July 2003 Giant is the mutex that is held longest."""
    made = run_creation(ERAS["2003-07"], pipes=100, style=MUTEX_PROFILING)
    assert made.profile.rows("total")[0].name == "kern/sys_pipe.c:412 (Giant)"


@pytest.mark.parametrize("bad", [{"pipes": 0}, {"processes": 0}])
def test_creation_needs_pipes_and_processes(bad: dict[str, Any]) -> None:
    """A creation run without pipes or processes is refused."""
    with pytest.raises(InvalidRequestError):
        run_creation(ERAS["2006"], **bad)


@pytest.mark.parametrize("bad", [{"pagers": -1}, {"pipers": 0}, {"rounds": 0}, {"cpus": 0}, {"maxpipekva": 1}])
def test_the_mails_numbers_are_checked(bad: dict[str, Any]) -> None:
    """A number of the mail's run that is out of range is refused."""
    with pytest.raises(InvalidRequestError):
        run_mail(ERAS["2006"], **bad)


def test_the_mails_run_tells_its_progress_and_fills_a_profile() -> None:
    """The mail's run reports progress and fills a profile, and each console line begins with its time."""
    told: list[int] = []
    profile = LockProfile(MUTEX_PROFILING)
    result = run_mail(ERAS["2004-01"], pagers=0, pipers=2, maxpipekva=4 * MiB, profile=profile, progress=told.append)
    assert told == sorted(told)
    assert told
    assert {row.name.split()[0] for row in profile.rows()} >= {"vm/uma_core.c:1410", "kern/kern_descrip.c:1204"}
    assert str(result.console[0]).startswith("[    0.00")
    assert str(result.console[0]).endswith("] kern.ipc.maxpipekva exceeded; see tuning(7)")
    assert result.found == ()


def test_equal_seeds_give_equal_runs() -> None:
    """Equal seeds give equal runs, and another seed another run."""
    one, two = (run_mail(ERAS["2004-01"], pagers=1, pipers=2, maxpipekva=MiB, seed=7) for _ in range(2))
    assert one == two
    assert run_mail(ERAS["2004-01"], pagers=1, pipers=2, maxpipekva=MiB, seed=8) != one


def test_errors_of_calls_have_their_names() -> None:
    """The error of a piper has the name that errno gives its number."""
    (piper,) = run_mail(ERAS["2006"], pagers=0, pipers=1, maxpipekva=MiB).pipers
    assert (piper.error, piper.errno) == ("ENOMEM", PipeError(12, "pipe").errno)


def test_a_report_about_other_locks_is_no_reversal_of_a_table() -> None:
    """A report about other locks is kept, but not taken for the reversal of a table."""
    from coalloc.kernel import GIANT, Kernel, Lock, OrderReport
    from coalloc.scenarios.mail import _Run

    run = _Run(Kernel(ERAS["2006"]), pipers=1, rounds=1, progress=None)
    run._note(OrderReport("lock order reversal", ((Lock("a"), "a.c:1"), (GIANT, "a.c:2"))))
    assert run.reversal_at is None
    assert len(run.reported) == 1


def test_a_single_piper_meets_the_reversal_without_pagers() -> None:
    """One piper on one CPU meets the reversal, since a table's growth causes it and not contention."""
    result = run_mail(ERAS["2004-01"], pagers=0, pipers=1, cpus=1, maxpipekva=16 * MiB)
    assert result.reversal_at == (1024, 2048)
    assert result.pipers[0].pipes == 1278


# --- results -----------------------------------------------------------------------------------------------


def json_of(result: Result) -> Any:
    """Return the result's JSON as programs read it."""
    return json.loads(json.dumps(result.as_json()))


def test_the_mail_in_text_and_json() -> None:
    """The text has the console, a row for each program and the profile, and JSON has the same."""
    result, watcher = watched("mail", limit="4M", pagers=1, pipers=2, profile="mutex")
    lines = result.text().splitlines()
    assert lines[:2] == [
        f"era 2004-01: {ERAS['2004-01'].title}",
        "design per-pipe; 1 pagers, 2 pipers, 2 CPUs, seed 0",
    ]
    assert lines[3].endswith("] kern.ipc.maxpipekva exceeded; see tuning(7)")
    assert lines[5].split() == ["pid", "pipes", "ended", "by", "descriptor", "table", "grew", "to"]
    assert [line.split()[2] for line in lines[6:8]] == ["ENFILE", "ENFILE"]
    assert any(line.endswith("vm/uma_core.c:1410 (PIPE)") for line in lines)
    assert not any("reversal" in line for line in lines)
    assert watcher.done["pipes/None"]
    found = json_of(result)
    assert (found["era"], found["fix"], found["design"], found["found"]) == ("2004-01", "", "per-pipe", [])
    assert [piper["error"] for piper in found["pipers"]] == ["ENFILE", "ENFILE"]
    assert sum(row["count"] for row in found["profile"]) > 100


def test_the_mail_with_a_fix_says_so_and_a_quiet_console_is_told() -> None:
    """The text names the fix, and says when nothing stands on the console."""
    result = SCENARIOS["mail"].call(limit="1M", pagers=0, pipers=1, fix="keep-old-tables")
    assert result.text().startswith("era 2004-01, fix keep-old-tables: ")
    assert json_of(result)["profile"] is None
    assert isinstance(result, MailReport)
    quiet = attrs.evolve(result, result=attrs.evolve(result.result, console=(), reversal_at=(1024, 2048)))
    assert "nothing stands on the console" in quiet.text()
    assert "the reversal was reported as a table grew from 1024 to 2048 descriptors" in quiet.text()


def test_a_mail_that_breaks_something_fails() -> None:
    """A run with findings fails, and its failure lists them."""
    result = SCENARIOS["mail"].call(limit="1M", pagers=0, pipers=1)
    assert (result.failed, result.failure) == (False, "")
    assert isinstance(result, MailReport)
    found = (Finding(FindingKind.DEADLOCK, "x"), Finding(FindingKind.RAISED, "y"))
    broken = attrs.evolve(result, result=attrs.evolve(result.result, found=found))
    assert (broken.failed, broken.failure) == (True, "deadlock: x; raised: y")


def test_a_fix_is_of_january_2004() -> None:
    """A fix together with another era is refused."""
    with pytest.raises(InvalidRequestError, match="fixes January 2004; leave --era out"):
        SCENARIOS["mail"].call(fix="keep-old-tables", era="2006")


def test_pipe_tests_in_text_and_json() -> None:
    """The text has a row for each era and design, and says why an era is known to fail."""
    result, watcher = watched("reverse2", era="2006,current", designs="vmem")
    assert result.text().splitlines() == [
        "reverse2: fildes[0] selects as writable before and after its first write",
        "",
        "era      design        what happened",
        "2006     vmem    fail  a half without a buffer does not select as writable",
        "current  vmem    pass",
        "",
        "2006 is known to fail: the reverse half has no buffer, and that does not count as room",
    ]
    assert watcher.done == {"reverse2/2": [1, 2]}
    assert [(row["era"], row["passed"], row["expected"]) for row in json_of(result)] == [
        ("2006", False, True),
        ("current", True, True),
    ]
    assert not result.failed


def test_an_era_that_fails_unexpectedly_is_a_failure() -> None:
    """A failure that is not known of an era is a failure of the scenario and names both."""

    def wrong(process: Process, _times: int) -> Call[None]:
        yield from Xint0x80_syscall(process.pipe())
        raise PipeTestFailure("it is wrong")

    result = scenario_of(PipeTest("wrong", "a test", wrong)).call(era="2006", designs="vmem")
    assert (result.failed, result.failure) == (True, "not as is known of the era: 2006 vmem")


@pytest.mark.parametrize(
    ("name", "times", "words"), [("bigpipe", -1, "must be at least 1, or 0"), ("ino", 1, "this test repeats nothing")]
)
def test_times_are_refused_where_they_mean_nothing(name: str, times: int, words: str) -> None:
    """A number of times is refused if it is negative or the test repeats nothing."""
    with pytest.raises(InvalidRequestError, match=words):
        SCENARIOS[name].call(times=times)


def test_curves_in_text_and_json() -> None:
    """The text has a row for each curve, and the result has the curves for a picture."""
    result, watcher = watched("scalability", count=256, era="2006,2004-01", designs="per-pipe,dragonfly")
    lines = result.text().splitlines()
    assert lines[0].endswith("i up to 256; flat: exponent below 0.1")
    assert lines[2].split()[-8:] == ["mean", "from", "64", "mean", "from", "128", "largest", "exponent"]
    rows = {" ".join(line.split()[:5]): line.split()[-1] for line in lines[3:]}
    assert rows["pipe per-pipe 2004-01 between holes"] == "grows"
    assert len(rows) == len(result.curves) == 6 + 10
    assert watcher.done == {"curves/6": [1, 2, 3, 4, 5, 6]}
    found = json_of(result)
    assert [row["name"] for row in found] == [curve.name for curve in result.curves]
    assert found[0]["means"].keys() == {"64", "128"}
    alone = SCENARIOS["scalability"].call(count=256, era="2006", designs="per-pipe")
    assert alone.curves[:2] == result.curves[:2]  # nobody watches, and nothing else differs


@pytest.mark.parametrize("many", [1000, 30])
def test_a_mass_close_in_text_and_json(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text has a column for each design, whether designs run here or in processes of their own."""
    monkeypatch.setattr("coalloc.scenarios.teardown._MANY", many)
    result, watcher = watched("teardown", pipes=30, designs="coalescing,netbsd", cpus=3)
    lines = result.text().splitlines()
    assert lines[:3] == [
        "30 pipes, a byte written to each, closed in order; 3 CPUs",
        "coalescing: era 2004-01",
        f"netbsd: {DESIGNS['netbsd'].title}",
    ]
    assert lines[4].split() == ["of", "the", "close", "coalescing", "netbsd"]
    assert lines[6].split() == ["unmap", "operations", "0", "0"]
    assert list(watcher.done.values()) == ([[1, 2]] if many == 30 else [[0], [0]])
    found = json_of(result)
    assert found["netbsd"]["bytes still mapped"] > 0
    assert found["netbsd"]["era"] == "netbsd-2009"
    assert SCENARIOS["teardown"].call(pipes=30, designs="coalescing,netbsd", cpus=3).as_json() == result.as_json()


def test_a_job_of_a_mass_close_is_what_the_process_itself_would_do() -> None:
    """A job that is told names gives the same result as the call with objects."""
    alone = run_teardown(20, DESIGNS["vmem"], era=ERAS["2006"], cpus=2, costs=COSTS["unit"])
    assert _job("vmem", 20, "2006", 2, COSTS["unit"]) == alone


def test_lock_profiles_in_text_and_json() -> None:
    """The text has a table for each design, and what was set up for a pipe."""
    result = SCENARIOS["locks"].call(pipes=20, processes=1, era="2006", style="mutex", sort="name")
    lines = result.text().splitlines()
    assert lines[0] == "era 2006; 1 processes make and close 20 pipes each on 2 CPUs; times in us"
    assert lines[2].startswith("per-pipe: ")
    assert lines[3].startswith("for each pipe: zone 1, malloc 0, mutex_init 0.4, mappings 1")
    assert lines[-1].startswith("simulated with prices measured on ")
    found = json_of(result)
    names = [row["name"] for row in found["coalescing"]["rows"]]
    assert names == sorted(names)
    assert found["per-pipe"]["sysctl"]["debug.mutex.prof.enable"] == 1
    assert found["per-pipe"]["allocations"]["zone"] == 20
    with pytest.raises(InvalidRequestError, match="must be one of max"):
        SCENARIOS["locks"].call(sort="size")


def test_windows_in_text_and_json() -> None:
    """The text has a row for each version, and a search that is too short fails and names what it misses."""
    result, watcher = watched("windows", names=["charge", "reference"], most=40)
    rows = [line.split() for line in result.text().splitlines()]
    assert [row[:3] for row in rows[1:]] == [
        ["charge", "M32", "wrong"],
        ["charge", "M32", "right"],
        ["reference", "right", "40"],
    ]
    assert rows[3][-4:] == ["none,", "in", "so", "many"]
    assert rows[2][-3:] == ["none,", "in", "all"]
    assert watcher.said == ["charge, wrong", "charge, right", "reference, right"]
    found = json_of(result)
    assert [(row["version"], row["schedule"], row["complete"]) for row in found] == [
        ("wrong", "2>1", False),
        ("right", None, True),
        ("right", None, False),
    ]
    assert not result.failed
    missed = SCENARIOS["windows"].call(names=["sleep"], most=1)
    assert missed.failure == "not as it should be: sleep (wrong)"


def test_a_schedule_of_a_window_is_replayed() -> None:
    """A schedule shows the finding of the wrong version again and none in the right one."""
    wrong = SCENARIOS["windows"].call(names="charge", schedule="2>1")
    assert (wrong.failed, wrong.failure) == (True, "")
    assert wrong.text() == "limit exceeded: PI1: 32768 bytes are charged, the limit is 16384"
    assert json_of(wrong) == {"window": "charge", "schedule": "2>1", "findings": [wrong.text()]}
    right = SCENARIOS["windows"].call(names="charge", schedule="2>1", fixed=True)
    assert (right.failed, right.text()) == (False, "nothing is found in 6 steps")
    assert not SCENARIOS["windows"].call(names="reference", schedule="1>1").failed
    with pytest.raises(InvalidRequestError, match="name the one window that it is for"):
        SCENARIOS["windows"].call(schedule="1>1")
