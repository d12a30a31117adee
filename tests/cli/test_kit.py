"""The kit's commands as a user types them: verdicts, programs, exit status; whatever the allocator does, no traceback."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from coalloc.cli.common import kept_output
from coalloc.testing.check import Findings, report_of

HEAD = """
from coalloc import CoalescingSpace, Contract

class Bad(CoalescingSpace):
    def __init__(self, source, *, kva_limit):
        super().__init__(source, kva_limit=kva_limit, arena_size=16384)
"""
BEHAVIOURS = {
    "raises": ("def alloc(self, size):\n        raise RuntimeError('boom')", "P7", "raised RuntimeError: boom"),
    "none": ("def alloc(self, size):\n        return None", "P2", "returned None, which is no address"),
    "float": ("def alloc(self, size):\n        return 1.5", "P2", "returned 1.5, which is no address"),
    "negative": ("def alloc(self, size):\n        return -4096", "P2", "returned -4096, which is no address"),
    "recursion": ("def alloc(self, size):\n        return self.alloc(size)", "P7", "raised RecursionError"),
    "prints": ("def alloc(self, size):\n        print('noise')\n        return None", "P2", "returned None"),
    "exits": ("def alloc(self, size):\n        import os\n        os._exit(7)", "P17", "ended by itself, with status 7"),
    "loops": ("def free(self, base):\n        while True:\n            pass", "P17", "does not return"),
}  # fmt: skip


def test_a_correct_allocator_conforms(coalloc: Any) -> None:
    """The check of a correct allocator prints a line for each property and exits with status 0."""
    result = coalloc("check", "coalloc:BuddySpace", "--examples", "20", "--seed", "3")
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].startswith("coalloc:BuddySpace: fit=best,tie=lowest,")
    assert lines[-1] == "conforms"
    states = {line.split()[0]: "held" in line for line in lines if line.startswith("P")}
    assert len(states) == 21
    assert [name for name, held in states.items() if not held] == ["P3", "P19", "P20"]


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_whatever_an_allocator_does_is_reported(name: str, coalloc: Any, tmp_path: Path) -> None:
    """Whatever an allocator does wrong is reported with its property and a short program, without a traceback."""
    body, broken, words = BEHAVIOURS[name]
    file = tmp_path / "bad.py"
    file.write_text(f"{HEAD}\n    {body}\n")
    patience = "2" if name == "loops" else "60"
    result = coalloc("check", f"{file}:Bad", "--examples", "5", "--timeout", patience, "--json")
    assert result.status == 1
    assert "Traceback" not in result.out + result.err
    report = json.loads(result.out)
    assert report["conforms"] is False
    found = report["properties"][broken]
    assert found["state"] == "broken"
    assert words in found["note"]
    assert found["program"].count("\n") >= 3  # its header, its world, and a step
    if name == "loops":
        assert found["program"].splitlines()[2:] == ["free-wild 0x1"]


def test_a_broken_allocator_is_shown_with_programs_that_can_be_run_again(coalloc: Any, tmp_path: Path) -> None:
    """The report shows a program as text, which --program takes, and as Python, which runs."""
    result = coalloc("check", "M3", "--examples", "20")
    assert result.status == 1
    assert "P12 is broken" in result.out
    assert "2 idle arenas are kept" in result.out
    assert result.out.splitlines()[-1] == "does not conform: P5, P12"
    text = result.out.split("(coalloc check --program FILE):\n")[1].split("  as Python:")[0]
    program = tmp_path / "short.program"
    program.write_text("\n".join(line.strip() for line in text.strip().splitlines()) + "\n")
    again = coalloc("check", "M3", "--program", str(program))
    assert (again.status, again.out[:3]) == (1, "P5 ")
    assert json.loads(coalloc("check", "M3", "--program", str(program), "--json").out)["conforms"] is False
    passed = coalloc("check", "coalescing", "--program", str(program))
    assert (passed.status, passed.out) == (0, "nothing is broken\n")
    python = result.out.split("  as Python:\n")[1].split("\nP12 is broken")[0]
    code = "\n".join(line[4:] for line in python.splitlines())
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "P5 (the free set is the canonical one" in ran.stderr.splitlines()[-1]


def test_a_contract_can_be_given_and_changed(coalloc: Any, tmp_path: Path) -> None:
    """A contract can be given on the command line; without any, only what every allocator must keep is checked."""
    result = coalloc("check", "instant-fit", "--contract", "fit=first", "--examples", "5")
    assert (result.status, "P8 is broken" in result.out) == (1, True)
    file = tmp_path / "plain.py"
    file.write_text(
        "class Plain:\n"
        "    def __init__(self, source, kva_limit):\n"
        "        self.source, self.sizes, self.limit = source, {}, kva_limit\n"
        "    def alloc(self, size):\n"
        "        if type(size) is not int or size < 1: raise ValueError(size)\n"
        "        size += -size % 4096\n"
        "        if sum(self.sizes.values()) + size > self.limit: raise MemoryError\n"
        "        base = self.source.map(size)\n"
        "        self.sizes[base] = size\n"
        "        return base\n"
        "    def free(self, base):\n"
        "        self.source.unmap(base, self.sizes.pop(base))\n"
    )
    result = coalloc("check", f"{file}:Plain", "--examples", "30")
    assert (
        result.err
        == "coalloc: it declares no contract: only what every allocator must keep is checked; see --contract\n"
    )
    assert result.status == 0, result.out


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit(3)", "cannot be imported: SystemExit: 3"),
        ("import os; os._exit(3)", "cannot be imported: the process ended by itself, with status 3"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("def Bad(:", "cannot be imported: SyntaxError: "),
    ],
)
def test_a_target_that_cannot_be_imported_is_one_line(coalloc: Any, tmp_path: Path, code: str, words: str) -> None:
    """A target that cannot be imported gives one line that says why, and status 2."""
    file = tmp_path / "bad.py"
    file.write_text(code + "\n")
    result = coalloc("check", f"{file}:Bad")
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert words in result.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "nothing"], "TARGET='nothing': is no design; there are per-pipe, "),
        (["check", "nowhere.py:x"], "there is no file nowhere.py"),
        (["check", "coalescing", "--contract", "fit=wurst"], "--contract='wurst': must be one of first, last"),
        (["check", "coalescing", "--examples", "0"], "--examples=0: must be at least 1"),
        (["check", "coalescing", "--timeout", "0"], "--timeout=0.0: must be a number of seconds > 0"),
        (["check", "coalescing", "--program", "nofile"], "there is no such file"),
        (["check"], "Missing argument 'TARGET'"),
        (["soak", "coalescing", "--minutes", "0"], "--minutes=0.0: must be a number > 0"),
        (["soak", "coalescing", "--operations", "0"], "--operations=0: must be at least 1"),
        (["soak", "coalescing", "--start", "-1"], "--start=-1: must be at least 0"),
        (["explore", "coalescing", "--pages", "1"], "--pages=1: must be in 2 .. 64"),
        (["explore", "coalescing", "--ops", "0"], "--ops=0: must be in 1 .. 64"),
        (["mutants", "M999"], "MUTANT='M999': is no mutant; there are M1 to M124"),
        (["mutants", "M26"], "MUTANT='M26': cannot exist here: a buffer's handle is its address"),
    ],
)
def test_bad_usage_is_one_line_and_status_two(coalloc: Any, arguments: list[str], words: str) -> None:
    """Bad usage prints one line that names what is wrong, and exits with status 2."""
    result = coalloc(*arguments)
    assert result.status == 2
    assert result.err.startswith("coalloc: error: ")
    assert result.err.count("\n") == 1
    assert words in result.err
    assert result.out == ""


def test_a_program_that_cannot_be_read_is_bad_usage(coalloc: Any, tmp_path: Path) -> None:
    """An unreadable program exits with status 2 and names file and line; status 1 would blame the allocator."""
    file = tmp_path / "bad.program"
    file.write_text("coalloc check-program 1\nalloc x\n")
    result = coalloc("check", "coalescing", "--program", str(file))
    assert result.status == 2
    assert f"{file}, line 2: alloc takes 2 numbers" in result.err
    file.write_bytes(b"\xff\xfe")
    assert coalloc("check", "coalescing", "--program", str(file)).status == 2


def test_a_soak_says_how_to_go_on(coalloc: Any) -> None:
    """A soak prints its operations, its rate and the arguments with which to continue."""
    result = coalloc("soak", "per-pipe", "--operations", "2000", "--seed", "4")
    assert (result.status, result.err) == (0, "")
    assert "operations a second)" in result.out
    last = result.out.splitlines()[-1]
    assert last.startswith("nothing is broken; go on with --seed 4 --start ")
    start = last.rpartition(" ")[2]
    again = json.loads(
        coalloc("soak", "per-pipe", "--operations", "500", "--seed", "4", "--start", start, "--json").out
    )
    assert (again["start"], again["broken"]) == (int(start), None)
    timed = coalloc("soak", "per-pipe", "--minutes", "0.01", "--json")
    assert (timed.status, json.loads(timed.out)["operations"] > 0) == (0, True)


def test_a_soak_that_nobody_watches_says_how_far_it_is(coalloc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A soak without a terminal prints lines from which it can be resumed."""
    monkeypatch.setattr("coalloc.cli.kit._SAID_EVERY", 0.0)
    result = coalloc("soak", "per-pipe", "--operations", "1500", "--seed", "4", "--start", "7")
    lines = result.err.splitlines()
    assert result.status == 0
    assert len(lines) >= 3
    assert lines[1].endswith("operations; from here on: --seed 4 --start 10")


def test_a_soak_that_finds_something_shows_it_short(coalloc: Any, tmp_path: Path) -> None:
    """A soak that finds a breach exits with status 1 and prints a short program, even for a call that hangs."""
    result = coalloc("soak", "M3", "--operations", "100000")
    assert result.status == 1
    assert "P12 (" in result.out or "P5 (" in result.out
    file = tmp_path / "bad.py"
    file.write_text(f"{HEAD}\n    {BEHAVIOURS['loops'][0]}\n")
    hung = json.loads(coalloc("soak", f"{file}:Bad", "--timeout", "2", "--json").out)
    assert (hung["broken"], hung["program"].splitlines()[2:]) == ("P17", ["alloc 0 4096", "free 0"])


def test_exploring_prints_states_or_the_counterexample(coalloc: Any) -> None:
    """Explore prints a line for each concern, or the counterexample with status 1."""
    result = coalloc("explore", "per-pipe", "--pages", "4", "--ops", "3")
    assert (result.status, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[2].split() == ["concern", "pages", "depth", "states", "transitions"]
    assert lines[-1].endswith("counterexamples: none up to (4, 3)")
    data = json.loads(coalloc("explore", "per-pipe", "--pages", "4", "--ops", "3", "--json").out)
    assert f"{data['states']:,} states" in lines[-1]
    assert {"one arena", "failing source", "resize", "pipe pair"} == set(data["concerns"])
    found = coalloc("explore", "M1", "--pages", "4", "--ops", "4")
    assert (found.status, "counterexample in 'one arena': P" in found.out) == (1, True)


def test_mutants_are_killed(coalloc: Any) -> None:
    """The mutants command shows its kills as a table, with programs, or as JSON."""
    result = coalloc("mutants", "M1", "M68", "--show")
    assert (result.status, result.err) == (0, "")
    assert "M68 never reuses: Forgets what is freed" in result.out
    data = json.loads(coalloc("mutants", "M1", "--json").out)
    assert data["M1"]["killed"] is True
    assert "P5" in data["M1"]["properties"]


def test_one_that_dies_is_shown_with_a_short_program(coalloc: Any, tmp_path: Path) -> None:
    """An allocator that kills its process at the third alloc is shown with at most four steps."""
    file = tmp_path / "dies.py"
    file.write_text(
        f"{HEAD}        self.n = 0\n\n    def alloc(self, size):\n        import os\n        self.n += 1\n"
        "        if self.n == 3:\n            os._exit(3)\n        return super().alloc(size)\n"
    )
    result = coalloc("check", f"{file}:Bad", "--examples", "2", "--timeout", "20", "--json")
    found = json.loads(result.out)["properties"]["P17"]
    assert "the process ended by itself, with status 3" in found["note"]
    steps = found["program"].splitlines()[2:]
    assert len(steps) <= 4
    assert all(step.startswith(("alloc", "xalloc", "reserve")) for step in steps)


def test_a_contract_that_is_none_is_not_taken_for_a_missing_one(coalloc: Any, tmp_path: Path) -> None:
    """A declared contract of a wrong type prints one line and exits with status 2."""
    file = tmp_path / "odd.py"
    file.write_text(f"{HEAD}\n    contract = 'first'\n")
    result = coalloc("check", f"{file}:Bad")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "what the allocator declares is no coalloc.Contract" in result.err


def test_an_interrupted_check_prints_what_it_found(coalloc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that is interrupted prints its report, then one line, with status 130."""
    whole = report_of

    def interrupted(*arguments: Any) -> Any:
        return attrs.evolve(whole(*arguments), interrupted=True)

    monkeypatch.setattr("coalloc.testing.on_targets.report_of", interrupted)
    result = coalloc("check", "M9", "--examples", "1", "--seconds", "0.1")
    assert result.status == 130
    assert "coalloc: error: interrupted" in result.err
    assert "not run, since it was interrupted: " in result.out
    assert "P4 is broken: " in result.out
    assert "as a check program" in result.out
    assert "as Python" not in result.out  # for that the program would have to be run again
    result = coalloc("check", "coalescing", "--examples", "1", "--seconds", "0.1")
    assert result.out.endswith("\nnothing was found until it was interrupted\n")


def test_a_full_disk_does_not_lose_what_was_found(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """What standard output does not take is printed on standard error."""

    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, f"no room for {len(text)} characters")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError, match="no room"), kept_output():
        print("P4 is broken")
    assert capsys.readouterr().err == "P4 is broken\n"


def test_a_check_that_had_time_for_nothing_does_not_say_conforms(coalloc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing could be tried in time, no property is said to be held, and the status is 1."""
    whole = report_of

    def without_time(contract: Any, _findings: Any, can: Any, seed: int) -> Any:
        return whole(contract, [Findings(unrun=("small programs",))], can, seed)

    monkeypatch.setattr("coalloc.testing.on_targets.report_of", without_time)
    result = coalloc("check", "coalescing", "--examples", "1", "--seconds", "0.1")
    assert result.status == 1
    assert "nothing was checked, since time was up" in result.err
    assert "not run, since time was up (--seconds): small programs" in result.out
    assert " held" not in result.out
    assert "conforms" not in result.out


def test_explore_goes_deeper_for_some_seconds(coalloc: Any) -> None:
    """With --seconds a line for each pair is printed, and which was the deepest; a counterexample is shown as ever."""
    shown = coalloc("explore", "coalescing", "--seconds", "0").out.splitlines()
    assert shown[2].split() == ["pages", "ops", "s", "states", "transitions"]
    assert shown[3].split()[:2] == ["2", "2"]
    assert shown[-1].startswith("the deepest that about 0 s reach: (2, 2), 80 states; counterexamples: none")
    told = json.loads(coalloc("explore", "coalescing", "--seconds", "0", "--json").out)
    assert [(level["pages"], level["ops"], level["states"]) for level in told["levels"]] == [(2, 2, 80)]
    broken = coalloc("explore", "M3", "--seconds", "60")
    assert broken.status == 1
    assert "counterexample in" in broken.out
    assert coalloc("explore", "coalescing", "--seconds", "-1").status == 2
