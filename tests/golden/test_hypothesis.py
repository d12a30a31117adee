"""The page on Hypothesis: what it names exists, and HypoFuzz collects the test that the page writes."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import unittest
from pathlib import Path

import hypothesis
import pytest
from hypothesis import Phase, settings

from coalloc.testing import MUTANTS, SUBJECTS, Breach, Subject, loads, run_program, state_machine
from coalloc.testing.statemachine import run_machine
from coalloc.testing.subject import MakeSpace
from tests import some

PAGE = (Path(__file__).parents[2] / "docs" / "hypothesis.md").read_text(encoding="utf-8")


def test_a_state_machine_is_a_test_that_finds_a_planted_bug() -> None:
    """The machine's test case runs in a runner of tests, passes a correct space, and finds a planted bug."""
    assert _ran(SUBJECTS["coalescing"]).wasSuccessful()
    result = _ran(MUTANTS[9].make_space)
    assert not result.wasSuccessful()
    assert "coalloc check-program 1" in (result.errors + result.failures)[0][1]


def _ran(make_space: MakeSpace) -> unittest.TestResult:
    case = state_machine(make_space).TestCase
    case.settings = settings(case.settings, max_examples=10, phases=[Phase.generate])
    result = unittest.TestResult()
    case("runTest").run(result)
    return result


def test_what_hypothesis_finds_is_made_short_by_the_kit() -> None:
    """The note of a breach holds a program that breaks the same property and has at most four steps."""
    subject = Subject(MUTANTS[9].make_space)
    with pytest.raises(Breach) as caught:
        run_machine(subject, examples=50)
    program = loads(next(note for note in caught.value.__notes__ if note.startswith("coalloc check-program")))
    breach = run_program(subject, program)
    assert breach is not None
    assert breach.property is caught.value.property
    assert len(program.steps) <= 4


CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"`(pytest [^`]*)`", PAGE)
BUGGY = CODE[1].replace("import CoalescingSpace", "import PAGE_SIZE").replace(
    "conformance(CoalescingSpace)", "conformance(MUTANTS[9].make_space)"
).replace("import conformance", "import MUTANTS, conformance")  # fmt: skip
"""The test file of the page, of an allocator with a planted bug."""


def _folder(at: Path, code: str, **profile: object) -> Path:
    """Write the files of the page, with a profile that takes no long time."""
    words = ", ".join(f"{name}={value!r}" for name, value in {"max_examples": 15, **profile}.items())
    (at / "conftest.py").write_text(CODE[0].replace("max_examples=2000", words), encoding="utf-8")
    (at / "test_mine.py").write_text(code, encoding="utf-8")
    return at


def _type(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the page in a folder, as on a reader's machine: where CI is set, Hypothesis keeps no database."""
    environment = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
    words = [sys.executable, "-m", *shlex.split(command), "-p", "no:cacheprovider", "-p", "no:xdist"]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", some(COMMANDS, 2))
def test_a_command_of_the_page_runs(tmp_path: Path, command: str) -> None:
    """Each command passes with the files of the page, and shows what it is for."""
    folder = _folder(tmp_path, CODE[1])
    done = _type(folder, command + " --hypothesis-profile=long")
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    if "statistics" in command:
        assert "test_mine.py::TestMine::test_programs" in done.stdout
        assert "passing" in done.stdout
    if "verbosity" in command:
        assert "state.start(" in done.stdout


def test_a_failure_is_found_again_in_the_database(tmp_path: Path) -> None:
    """The second run begins with the program that failed in the first, and draws no other."""
    folder = _folder(tmp_path, BUGGY)
    command = "pytest -k test_programs --hypothesis-show-statistics test_mine.py"
    first, second = _type(folder, command), _type(folder, command)
    assert "1 failed" in first.stdout
    assert "during generate phase" in first.stdout
    assert "1 failed" in second.stdout
    assert "during reuse phase" in second.stdout
    assert "during generate phase" not in second.stdout


def test_a_blob_of_hypothesis_goes_to_the_state_machine(tmp_path: Path) -> None:
    """What print_blob prints fails again with @reproduce_failure, as the page has it."""
    folder = _folder(tmp_path, BUGGY, print_blob=True)
    done = _type(folder, "pytest -k test_programs --hypothesis-profile=long test_mine.py")
    blob = re.search(r"@reproduce_failure(\(.*?\)) as", done.stdout)
    assert blob is not None, done.stdout
    line = next(line for line in PAGE.splitlines() if line.startswith("TestMine = reproduce_failure"))
    again = line.replace("(VERSION, BLOB)", blob[1]).replace("(CoalescingSpace)", "(MUTANTS[9].make_space)")
    head = "from hypothesis import reproduce_failure\nfrom coalloc.testing import MUTANTS, state_machine\n"
    (folder / "test_mine.py").write_text(head + again, encoding="utf-8")
    done = _type(folder, "pytest --hypothesis-show-statistics test_mine.py")
    assert "coalloc check-program 1" in done.stdout
    assert "1 failed" in done.stdout


def test_machines_of_two_allocators_share_no_failing_programs() -> None:
    """Hypothesis keeps failing programs by the name of the machine, and each allocator has its own."""
    names = {state_machine(make_space).__name__ for make_space in (SUBJECTS["vmem"], SUBJECTS["buddy"])}
    assert len(names) == 2
    assert state_machine(MUTANTS[9].make_space).__name__ == "Conformance__make__LosesSmallRemainders"


def test_hypofuzz_collects_the_test_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HypoFuzz finds one test in the file that the page writes for it."""
    collection = pytest.importorskip(
        "hypofuzz.collection", reason="HypoFuzz is not installed: pip install 'coalloc[fuzz]'"
    )
    (tmp_path / "test_mine.py").write_text(CODE[1], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    before = settings.get_current_profile_name()
    settings.register_profile("drawn", derandomize=False)
    settings.load_profile("drawn")
    try:
        collected = collection.collect_tests(["-p", "no:cacheprovider", "test_mine.py"])
    finally:
        settings.load_profile(before)
    assert len(collected.fuzz_targets) == 1


def test_hypofuzz_finds_a_planted_bug(tmp_path: Path) -> None:
    """The command of the page, run until it has found the bug, leaves a program that pytest shows at once."""
    pytest.importorskip("hypofuzz", reason="HypoFuzz is not installed: pip install 'coalloc[fuzz]'")
    if hypothesis.__version_info__ >= (6, 156):
        pytest.skip("HypoFuzz 25.11.1 stops with an error at its first find with this Hypothesis")
    folder = tmp_path
    (folder / "test_mine.py").write_text(BUGGY, encoding="utf-8")
    conftest = (
        CODE[0].replace("settings\n", "Phase, settings\n", 1).replace("max_examples=2000", "phases=[Phase.reuse]")
    )
    command = next(line for line in PAGE.splitlines() if line.startswith("hypothesis fuzz")).partition(" ")[2]
    script = "import sys; from hypothesis.extra.cli import main; sys.argv[0] = 'hypothesis'; main()"
    words = [sys.executable, "-c", script, *shlex.split(command.replace("fuzz", "fuzz -n 1", 1))]
    with (folder / "log").open("w") as log:
        fuzzer = subprocess.Popen(words, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(60):
            with contextlib.suppress(subprocess.TimeoutExpired):
                fuzzer.wait(timeout=1)
            (folder / "conftest.py").write_text(conftest, encoding="utf-8")
            done = _type(folder, "pytest -k test_programs --hypothesis-profile=long test_mine.py")
            if done.returncode or fuzzer.returncode is not None:
                break
    finally:
        os.killpg(fuzzer.pid, signal.SIGKILL)
        fuzzer.wait()
    assert "coalloc check-program 1" in done.stdout, (folder / "log").read_text() + done.stdout
