"""The scenarios as a user types them: output, JSON, exit status, bad input, the picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from coalloc import ERAS
from coalloc.scenarios import (
    SCENARIOS,
    TESTS,
    Column,
    Curve,
    Option,
    Progress,
    Result,
    Scenario,
    Table,
    register,
)
from coalloc.scenarios.options import Flag, Names, PlotFile, Size


def test_the_mail_is_replayed(coalloc: Any) -> None:
    """The mail prints the reversal, its call path, the console line, the programs and what is left, with status 0."""
    result = coalloc("scenario", "mail", "--pagers", "1", "--pipers", "1", "--limit", "16M", "--profile", "mutex")
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.endswith("] lock order reversal"))
    assert lines[at + 2] == " 2nd 0xc0937960 Giant (Giant) @ vm/uma_core.c:2048"
    path = [line.strip() for line in lines[at + 4 : at + 15]]
    assert path[3:] == [
        "uma_large_free", "free", "fdgrowtable", "fdalloc", "falloc", "pipe", "syscall", "Xint0x80_syscall",
    ]  # fmt: skip
    assert lines[at + 15].endswith("] kern.ipc.maxpipekva exceeded; see tuning(7)")
    assert "the reversal was reported as a table grew from 1024 to 2048 descriptors" in lines
    assert "kern.ipc.pipekva 0, kern.openfiles 0, mapped 0, arenas 0, pages 0" in result.out
    assert "cnt_hold     cnt_lock name" in result.out


def test_a_fix_or_another_era_has_no_reversal(coalloc: Any) -> None:
    """With a fix, or in another era, the JSON shows no reversal and nothing is left."""
    for words in (("--fix", "keep-old-tables"), ("--era", "2006", "--design", "coalescing")):
        result = coalloc("scenario", "mail", "--pagers", "1", "--pipers", "1", "--limit", "4M", *words, "--json")
        found = json.loads(result.out)
        assert (result.status, found["reversal_at"], found["found"]) == (0, None, [])
        assert found["after"]["kern.ipc.pipekva"] == 0


@pytest.mark.parametrize("name", TESTS)
def test_a_pipe_test_says_pass_or_fail_for_each_era_and_design(coalloc: Any, name: str) -> None:
    """A pipe test prints pass or fail for each era and design, and why an era is known to fail, with status 0."""
    few = ("--times", "50") if TESTS[name].times else ()
    result = coalloc("scenario", name, *few)
    assert (result.status, result.err) == (0, "")
    rows = [line.split() for line in result.out.splitlines() if " pass" in line or " fail" in line]
    assert sum("pass" in row for row in rows) == 2 * (len(ERAS) - len(TESTS[name].fails_in))
    for era, why in TESTS[name].fails_in.items():
        assert f"{era} is known to fail: {why}" in result.out
    (found,) = json.loads(coalloc("scenario", name, *few, "--era", "current", "--designs", "vmem", "--json").out)
    assert (found["design"], found["passed"], found["expected"]) == ("vmem", True, True)


def test_scalability_prints_exponents_and_draws(coalloc: Any, tmp_path: Path) -> None:
    """Scalability prints a table and JSON, and draws a picture with both axes named."""
    picture = tmp_path / "curves.svg"
    result = coalloc("scenario", "scalability", "--count", "512", "--era", "2004-01", "--plot", str(picture))
    assert (result.status, result.err) == (0, f"coalloc: wrote {picture}\n")
    lines = {" ".join(line.split()[:5]): line.split()[-1] for line in result.out.splitlines() if line}
    assert lines["pipe per-pipe 2004-01 between holes"] == "grows"
    assert lines["pipe coalescing 2004-01 between holes"] == "flat"
    text = picture.read_text(encoding="utf-8")
    assert all(words in text for words in ("counted work", "number of the pipe (i)", "number of holes (i)"))
    rows = json.loads(coalloc("scenario", "scalability", "--count", "256", "--era", "2006", "--json").out)
    assert {row["what"] for row in rows} == {"pipe", "descriptor"}


def test_teardown_puts_designs_side_by_side(coalloc: Any) -> None:
    """Teardown counts the operations of the close alone, with a column for each design."""
    result = coalloc("scenario", "teardown", "--pipes", "1000", "--cpus", "4")
    rows = {line.rsplit(None, 3)[0]: line.split()[-3:] for line in result.out.splitlines() if line[-1:].isdigit()}
    assert result.status == 0
    assert rows["unmap operations"] == ["2,000", "1,984", "7"]
    assert rows["inter-processor interrupts"][0] == "3,000"
    found = json.loads(coalloc("scenario", "teardown", "--pipes", "100", "--designs", "coalescing", "--json").out)
    assert found["coalescing"]["map operations"] == 0


def test_locks_are_profiled_for_both_designs(coalloc: Any) -> None:
    """Locks prints a profile for each design, and what was set up for a pipe."""
    result = coalloc("scenario", "locks", "--pipes", "50")
    assert result.status == 0
    assert "for each pipe: zone 1, malloc 0, mutex_init 0.08, mappings 2" in result.out
    assert result.out.count("vm/vm_map.c:1215 (sx:pipe_map)") == 2
    found = json.loads(
        coalloc("scenario", "locks", "--pipes", "20", "--style", "mutex", "--sort", "name", "--json").out
    )
    assert found["per-pipe"]["sysctl"]["debug.mutex.prof.rejected"] == 0


@attrs.frozen
class Grid(Result):
    """A table with a bracket in a cell, a picture, and a failure if so told."""

    size: int
    names: tuple[str, ...]
    failure_said: str

    def parts(self) -> Iterator[str | Table]:
        """Yield a line and a table."""
        yield f"size {self.size:,}\n"
        yield Table((Column("name"), Column("[n]", right=True)), tuple((f"[{name}]", "1") for name in self.names))

    def as_json(self) -> object:
        """Return the fields that were read."""
        return {"size": self.size, "names": list(self.names)}

    @property
    def failure(self) -> str:
        """Return what it was told."""
        return self.failure_said

    @property
    def curves(self) -> tuple[Curve, ...]:
        """Return one curve."""
        return (Curve("pipe", "mine", "", "in sequence", tuple(range(1, 257))),)


def grid(progress: Progress, *, names: tuple[str, ...], max_size: int, fail: bool, picture: Path | None) -> Grid:
    """Make a grid."""
    del picture
    progress.say("a grid")
    return Grid(max_size, names, "it was told to" if fail else "")


GRID = Scenario(
    "grid",
    """Draw a grid.

    It is small.
    """,
    grid,
    (
        Option("names", Names({"a": 1, "b": 2}, "name"), None, "Which.", "[NAME]..."),
        Option("max_size", Size(), "4K", "The size."),
        Option("fail", Flag(), False, "Whether to fail."),
        Option("picture", PlotFile(), None, "Write a picture."),
    ),
)


@pytest.fixture
def with_grid() -> Iterator[None]:
    """Register the scenario for the duration of a test."""
    register(GRID)
    yield
    SCENARIOS.unregister("grid")


@pytest.mark.usefixtures("with_grid")
def test_a_scenario_that_a_program_registers_is_a_command(coalloc: Any, tmp_path: Path) -> None:
    """A registered scenario is a command with text, JSON, help, a picture and a failure."""
    result = coalloc("scenario", "grid", "--max-size", "64K")
    assert (result.status, result.out, result.err) == (0, "size 65,536\n\nname  [n]\n[a]     1\n[b]     1\n", "")
    assert json.loads(coalloc("scenario", "grid", "b", "--json").out) == {"names": ["b"], "size": 4096}
    shown = coalloc("scenario", "grid", "--help").out
    assert shown.startswith("Usage: coalloc scenario grid [OPTIONS] [")
    assert all(words in shown for words in ("It is small.", "--max-size", "[default: 4K]", "--picture", "--json"))
    assert "grid         Draw a grid." in coalloc("scenario", "--help").out
    picture = tmp_path / "grid.svg"
    result = coalloc("scenario", "grid", "a", "--picture", str(picture), "--fail")
    assert (result.status, result.err) == (1, f"coalloc: wrote {picture}\ncoalloc: error: it was told to\n")
    assert "counted work" in picture.read_text(encoding="utf-8")
    result = coalloc("scenario", "grid", "c")
    assert (result.status, result.err) == (2, "coalloc: error: NAME='c': is no name; there are a, b\n")
    assert coalloc("scenario", "grid", "--picture", "x.txt").err.endswith("the name must end in .svg or .png\n")


def test_a_scenario_that_was_taken_back_is_no_command(coalloc: Any) -> None:
    """After a scenario was unregistered its command is refused, and the help of the others still works."""
    assert (coalloc("scenario", "grid").status, coalloc("scenario", "--help").status) == (2, 0)


def test_windows_are_found_and_their_schedules_replay(coalloc: Any) -> None:
    """A wrong version prints a schedule that shows its finding again with status 1; a right version has none."""
    result = coalloc("scenario", "windows", "charge", "order")
    assert (result.status, result.err) == (0, "")
    assert "deadlock: pipe waits for Giant, held by giant" in result.out
    (wrong, right) = json.loads(coalloc("scenario", "windows", "charge", "--json").out)
    assert (wrong["mutant"], right["finding"], right["complete"]) == ("M32", None, True)
    again = coalloc("scenario", "windows", "charge", "--schedule", wrong["schedule"])
    assert (again.status, again.out.strip()) == (1, wrong["finding"])
    fixed = coalloc("scenario", "windows", "charge", "--schedule", wrong["schedule"], "--fixed", "--json")
    assert (fixed.status, json.loads(fixed.out)["findings"]) == (0, [])


def test_a_trace_is_written_and_its_folder_is_asked_for_first(coalloc: Any, tmp_path: Path) -> None:
    """The file is named; without its folder nothing is run."""
    path = tmp_path / "trace.json"
    few = ("scenario", "contention", "--cpus", "1", "--design", "coalescing", "--operations", "50", "--perfetto")
    result = coalloc(*few, str(path))
    assert (result.status, f"wrote {path}" in result.err) == (0, True)
    assert json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    wrong = coalloc(*few, str(tmp_path / "no" / "trace.json"))
    assert (wrong.status, wrong.out, "its folder does not exist" in wrong.err) == (2, "", True)


def test_too_few_schedules_to_find_it_is_a_failed_job(coalloc: Any) -> None:
    """A search with too few schedules exits with status 1 and names the version that it misses."""
    result = coalloc("scenario", "windows", "sleep", "--most", "1")
    assert (result.status, result.err) == (1, "coalloc: error: not as it should be: sleep (wrong)\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mail", "--era", "1999"], "--era='1999': is no era; there are 2003-07"),
        (["mail", "--fix", "luck"], "--fix='luck': is no fix; there are free-after-unlock"),
        (["mail", "--fix", "keep-old-tables", "--era", "2006"], "fixes January 2004; leave --era out"),
        (["mail", "--design", "linux"], "--design='linux': is another kernel's"),
        (["mail", "--design", "vmem,buddy"], "one design runs at a time"),
        (["mail", "--pagers", "-1"], "pagers=-1: must be an int >= 0"),
        (["mail", "--limit", "1"], "--limit='1': must be at least a page"),
        (["mail", "--profile", "x"], "--profile='x': must be lock or mutex"),
        (["reverse", "--times", "5"], "this test repeats nothing"),
        (["bigpipe", "--times", "-5"], "--times=-5: must be at least 1"),
        (["ino", "--era", "2006,1999"], "--era='1999': is no era"),
        (["scalability", "--count", "10"], "count=10: must be an int >= 256"),
        (["scalability", "--designs", "linux"], "has no buffers of address space"),
        (["scalability", "--plot", "x.txt"], "the name must end in .svg or .png"),
        (["teardown", "--pipes", "0"], "pipes=0: must be an int >= 1"),
        (["locks", "--sort", "size"], "sort='size': must be one of max, wait_max"),
        (["windows", "door"], "NAME='door': is no window; there are charge"),
        (["windows", "--schedule", "1>1"], "name the one window that it is for"),
        (["windows", "charge", "--schedule", "x"], "must be STEP>THREAD, such as 5>1"),
        (["windows", "charge", "--driver", "luck"], "there are exhaustive, random, pct"),
        (["nothing"], "No such command 'nothing'"),
    ],
)
def test_bad_usage_is_one_line_and_status_two(coalloc: Any, arguments: list[str], words: str) -> None:
    """Bad usage prints one line that names what is wrong, and exits with status 2."""
    result = coalloc("scenario", *arguments)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("coalloc: error: ")
    assert result.err.count("\n") == 1
    assert words in result.err
