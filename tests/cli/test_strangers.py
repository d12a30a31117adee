"""Allocators that strangers name on the command line may raise, print and exit as they like: a result stays a result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coalloc.cli import blame

ALLOCATORS = '''
import os, sys
from coalloc import CoalescingSpace

class Least:
    """Nothing but alloc and free."""
    def __init__(self, source, *, kva_limit, n=1):
        print("hello", n)
        if n == 2:
            raise ValueError("two is\\nbad")
        if n == 3:
            sys.exit(5)
        self.next, self.n = source.map(1 << 20), n
    def alloc(self, size):
        if self.n == 4:
            raise KeyError("late")
        if self.n == 5:
            os._exit(9)
        self.next += 65536
        return self.next - 65536
    def free(self, base):
        pass

def late(source, *, kva_limit):
    return Least(source, kva_limit=kva_limit, n=4)

def leaves(source, *, kva_limit):
    return Least(source, kva_limit=kva_limit, n=3)

def sized(source, *, kva_limit, n=1):
    return CoalescingSpace(source, kva_limit=kva_limit, arena_size=n << 20)
'''
LATE = ALLOCATORS.splitlines().index('            raise KeyError("late")') + 1


@pytest.fixture(name="folder")
def _folder(coalloc: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with these allocators and two small programs; it is the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "al.py").write_text(ALLOCATORS)
    assert coalloc("trace", "generate", "shell-pipeline", "pipelines=3", "-o", "a.pipes").status == 0
    assert coalloc("trace", "generate", "comb", "teeth=20", "-o", "b.space").status == 0
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "a.pipes", "--designs", "al.py:late,vmem"],
        ["compare", "a.pipes", "--designs", "al.py:late", "--jobs", "1"],
        ["map", "a.pipes", "--design", "al.py:late"],
        ["map", "a.pipes", "--design", "al.py:late", "--follow"],
        ["real", "a.pipes", "--designs", "al.py:late", "--costs", "unit"],
        ["regret", "a.pipes", "--designs", "al.py:late"],
        ["report", "a.pipes", "--designs", "al.py:late", "-o", "x.html"],
    ],
    ids=" ".join,
)
def test_what_an_allocator_raises_is_one_line(coalloc: Any, folder: Path, arguments: list[str]) -> None:
    """It says where in the stranger's file, with status 1."""
    failed = coalloc(*arguments)
    said = [line for line in failed.err.splitlines() if not line.startswith("hello")]
    assert (failed.status, len(said)) == (1, 1)
    assert f"the allocator failed in {folder / 'al.py'}, line {LATE}: KeyError: 'late'" in said[0]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", ["compare", "report", "regret", "real"])
def test_an_allocator_that_exits_is_one_line(coalloc: Any, command: str) -> None:
    """It does not choose the status of the command."""
    failed = coalloc(
        command, "a.pipes", "--designs", "al.py:leaves", *(["--costs", "unit"] if command == "real" else [])
    )
    if command == "regret":
        assert "SystemExit: 5" in failed.out
    else:
        assert "the allocator called sys.exit(5)" in failed.err
    assert failed.status == 1


@pytest.mark.usefixtures("folder")
def test_a_sweep_goes_on_with_the_others(coalloc: Any) -> None:
    """Each failure has its reason in one line, in text and in JSON."""
    shown = coalloc("sweep", "a.pipes", "--designs", "al.py:Least", "--vary", "n=-1,1,2,3,4", "--jobs", "1")
    assert shown.status == 0
    assert shown.out.splitlines()[-4:] == [
        "3 settings could not be run:", "al.py:Least(n=2): ValueError: two is bad", "al.py:Least(n=3): SystemExit: 5",
        "al.py:Least(n=4): KeyError: 'late'",
    ]  # fmt: skip
    answer = json.loads(coalloc("sweep", "a.pipes", "--designs", "al.py:Least", "--vary", "n=1,2", "--json").out)
    assert [row["n"] for row in answer["rows"]] == [1]
    assert [failure["parameters"]["n"] for failure in answer["failures"]] == [2]


@pytest.mark.usefixtures("folder")
def test_an_allocator_that_kills_its_process_is_named(coalloc: Any) -> None:
    """The setting is among those that the error names."""
    failed = coalloc("sweep", "a.pipes", "--designs", "al.py:Least", "--vary", "n=5,1", "--jobs", "2")
    assert failed.status == 1
    assert "the executor failed, perhaps in al.py:Least(n=5)" in failed.err


@pytest.mark.usefixtures("folder")
def test_what_an_allocator_prints_is_no_result(coalloc: Any) -> None:
    """It goes to standard error."""
    for arguments in (
        ["compare", "a.pipes", "--json"],
        ["compare", "a.pipes", "--json", "--jobs", "1"],
        ["sweep", "a.pipes", "--json"],
        ["regret", "a.pipes", "--json"],
        ["real", "a.pipes", "--json", "--costs", "unit"],
    ):
        done = coalloc(*arguments, "--designs", "al.py:Least")
        assert "hello" in done.err
        assert json.loads(done.out)
    played = coalloc("map", "a.pipes", "--design", "al.py:Least", "--follow", "--frames", "2")
    assert ("hello" in played.out, "hello" in played.err) == (False, True)


@pytest.mark.usefixtures("folder")
def test_pages_are_touched_for_an_allocator_that_cannot(coalloc: Any) -> None:
    """As the model counts them."""
    answer = json.loads(coalloc("real", "a.pipes", "--designs", "al.py:Least", "--costs", "unit", "--json").out)
    (run,) = answer["designs"]
    assert 0 < run["faults_counted"] <= run["faults"]


@pytest.mark.usefixtures("folder")
def test_regret_goes_on_with_the_settings_that_can_be_made(coalloc: Any) -> None:
    """And counts what each design refused."""
    vary = ["--designs", "coalescing", "--vary", "arena_size=3K,1M", "--solvers", "greedy"]
    shown = coalloc("regret", "b.space", *vary)
    assert shown.status == 0
    assert "coalescing(arena_size=1M)" in shown.out
    assert "1 setting could not be run:\ncoalescing(arena_size=3K): arena_size=3072" in shown.out
    answer = json.loads(coalloc("regret", "b.space", "--limit", "8K", *vary, "--json").out)
    assert [(one["refused"], one["buffers"]) for one in answer["designs"]] == [(23, 2)]
    assert len(answer["failures"]) == 1
    assert "refused 23 requests" in coalloc("regret", "b.space", "--limit", "8K", *vary).out
    nothing = coalloc("regret", "b.space", "--designs", "coalescing", "--vary", "arena_size=3K")
    assert (nothing.status, nothing.err) == (1, "coalloc: error: no setting could be run\n")


@pytest.mark.usefixtures("folder")
def test_refused_work_is_shown_and_left_out_of_the_choice(coalloc: Any) -> None:
    """With the number of refusals in a column of its own."""
    shown = coalloc(
        "sweep", "a.pipes", "--limit", "4K,1M", "--designs", "coalescing", "--prefer", "map_ops", "--jobs", "1"
    )
    rows = [
        line.split() for line in shown.out.splitlines() if ("coalescing" in line and "KiB" in line) or "1 MiB  " in line
    ]
    assert [(row[0], row[4]) for row in rows] == [("1", "6"), ("2*", "0")]
    assert "are on no front" in shown.out
    assert "Choose coalescing with a limit of 1 MiB: " in shown.out
    assert "Left out: 1 of 2 settings" in shown.out


def test_programs_of_one_title_are_told_apart_and_titles_are_no_markup(coalloc: Any, folder: Path) -> None:
    """And the same program twice is refused."""
    text = (folder / "a.pipes").read_text()
    assert coalloc("trace", "generate", "shell-pipeline", "pipelines=3", "--seed", "5", "-o", "c.pipes").status == 0
    shown = coalloc("sweep", "a.pipes", "c.pipes", "--designs", "vmem", "--jobs", "1").out
    assert shown.count("3 shell pipelines of 3 commands (") == 4
    (folder / "d.pipes").write_text(text.replace("3 shell pipelines of 3 commands", "[red]weird[/red] [/x]"))
    shown = coalloc("sweep", "c.pipes", "d.pipes", "--designs", "vmem", "--jobs", "1").out
    assert shown.count("[red]weird[/red] [/x]") == 2
    twice = coalloc("sweep", "a.pipes", "a.pipes")
    assert (twice.status, "stands twice" in twice.err) == (2, True)


def test_rows_of_another_sweep_or_another_version_are_not_lost(coalloc: Any, folder: Path) -> None:
    """A journal goes on as it was begun, and with the allocator that it was begun with."""
    from coalloc import COSTS
    from coalloc.experiments.journal import Journal
    from coalloc.experiments.settings import Grid
    from coalloc.experiments.sweeps import sweep
    from coalloc.workload.textformat import load

    begun = Journal(folder / "r.csv", COSTS["measured"])
    sweep(Grid(["al.py:sized"], {"n": (1,)}), [load(folder / "a.pipes")], each=begun.add)
    begun.close()
    same = ["sweep", "a.pipes", "--designs", "al.py:sized", "--vary", "n=1,2", "--jobs", "1", "-o", "r.csv", "--resume"]
    other = coalloc("sweep", "b.space", "--designs", "al.py:sized", "--vary", "n=1", "-o", "r.csv", "--resume")
    assert (other.status, "has 1 rows of other settings" in other.err) == (2, True)
    (folder / "al.py").write_text(ALLOCATORS.replace("n << 20", "n << 21"))
    changed = coalloc(*same)
    assert (changed.status, "versions of a design's file" in changed.err) == (2, True)
    (folder / "al.py").write_text(ALLOCATORS)
    assert coalloc(*same).status == 0
    assert len((folder / "r.csv").read_text().splitlines()) == 3
    assert not begun.part.exists()


@pytest.mark.usefixtures("folder")
def test_a_place_where_nothing_can_be_written_is_told_before_the_work(coalloc: Any) -> None:
    """No row is said to be kept there."""
    failed = coalloc("sweep", "a.pipes", "-o", "/proc/x.csv")
    assert (failed.status, failed.out) == (1, "")
    assert failed.err == "coalloc: error: /proc/x.csv.part: No such file or directory\n"
    both = coalloc("map", "a.pipes", "--follow", "--at", "3")
    assert (both.status, "--follow plays the whole program" in both.err) == (2, True)


@pytest.mark.parametrize(("folder", "blamed"), [("coalloc-mine", True), ("coalloc", False)])
def test_a_folder_whose_name_begins_like_ours_is_a_strangers(
    folder: str, blamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault belongs to the folder that its file lies in, not to one whose name is the beginning of that folder's."""
    monkeypatch.setattr(blame, "_OURS", str(tmp_path / "coalloc"))
    ours, theirs = tmp_path / "coalloc" / "a.py", tmp_path / folder / "b.py"
    called: dict[str, Any] = {}
    exec(compile("def fail():\n    raise KeyError(1)", theirs, "exec"), called)
    exec(compile("def call(what):\n    what()", ours, "exec"), called)
    with pytest.raises(KeyError) as caught:
        called["call"](called["fail"])
    assert (blame.strangers_fault(caught.value) is not None) is blamed
