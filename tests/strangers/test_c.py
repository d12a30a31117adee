"""Allocators in C that others wrote from coalloc.h alone: the correct ones are not blamed, and each planted bug is found."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from coalloc.native import FOLDER as NATIVE
from coalloc.testing import Property, Subject, check_space, loads, soak
from coalloc.testing.c_form import as_c
from coalloc.testing.check import breach_in
from coalloc.testing.directed import CHECKS, run_thoroughly
from coalloc.testing.on_targets import check_target
from coalloc.testing.programs import Counterexample
from coalloc.testing.targets import find_target
from tests import NIGHTLY, long, some

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
FOLDER = Path(__file__).parent / "c"
CORRECT = sorted([*(FOLDER / "correct").glob("*.c*"), *(FOLDER / "bases").glob("*.c")])
PLANTED = sorted((FOLDER / "planted").glob("*.patch"))
QUICK = ("nonsense", "ends", "comb", "resizes", "failing-source", "pressure", "defaults", "beside-another")
"""The directed checks of the usual tests; the nightly ones run all."""


@pytest.fixture(autouse=True)
def _built_once(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Build programs in one folder for all tests, with the flags of users who have none."""
    monkeypatch.setenv("COALLOC_BUILD_DIR", str(tmp_path_factory.getbasetemp() / "built"))
    for name in ("CC", "CXX", "CFLAGS", "CXXFLAGS"):
        monkeypatch.delenv(name, raising=False)


def patched(patch: str) -> str:
    """Return the base of a unified diff with its changes made."""
    name = re.search(r"^--- (\S+)$", patch, re.MULTILINE)
    assert name is not None
    old = (FOLDER / "bases" / name[1]).read_text(encoding="utf-8").splitlines(keepends=True)
    new: list[str] = []
    at = 0
    for line in patch[name.end() + 1 :].splitlines(keepends=True)[1:]:
        if place := re.match(r"@@ -(\d+)", line):
            new += old[at : int(place[1]) - 1]
            at = int(place[1]) - 1
        elif line[0] == "+":
            new.append(line[1:])
        else:
            assert old[at] == line[1:], line
            at += 1
            new += [line[1:]] * (line[0] == " ")
    return "".join(new + old[at:])


@pytest.mark.parametrize("file", some(CORRECT), ids=lambda file: file.stem)
def test_a_correct_allocator_in_c_conforms(file: Path) -> None:
    """A correct allocator of any kind conforms to the line that its author promises."""
    if file.suffix == ".cpp" and shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler")
    report = check_space(find_target(str(file)), examples=8, checks=QUICK, seconds=0 if NIGHTLY else 12)
    assert report.conforms, [verdict for verdict in report.verdicts if verdict.found is not None]


@pytest.mark.parametrize("file", some(CORRECT), ids=lambda file: file.stem)
def test_a_soak_blames_no_correct_allocator_in_c(file: Path) -> None:
    """Programs that go in whole break nothing."""
    if file.suffix == ".cpp" and shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler")
    programs = 5_000 if NIGHTLY else 12
    result = soak(Subject(find_target(str(file))), start=1, enough=lambda so_far, _operations: so_far >= programs)
    assert result.found is None


@pytest.mark.parametrize("file", PLANTED, ids=lambda file: file.stem)
def test_a_planted_bug_in_c_is_found_again(file: Path, tmp_path: Path) -> None:
    """The shortest program that the kit found shows the bug, and the base of the patch passes it."""
    text = file.read_text(encoding="utf-8")
    planted = tmp_path / f"{file.stem}.c"
    planted.write_text(patched(text), encoding="utf-8")
    base = FOLDER / "bases" / re.findall(r"^--- (\S+)$", text, re.MULTILINE)[0]
    faulty, sound = (Subject(find_target(str(target))) for target in (planted, base))
    if named := re.search(r"^# check (\S+)$", text, re.MULTILINE):
        check = next(check for check in CHECKS if check.name == named[1])
        breaches = [breach_in(check, subject) for subject in (faulty, sound)]
    else:
        program = loads(text[text.index("coalloc check-program") : text.index("\n--- ") + 1])
        breaches = [run_thoroughly(subject, program) for subject in (faulty, sound)]
    assert breaches[0] is not None
    assert f"# {breaches[0].property.name}\n" in text
    assert breaches[1] is None


@pytest.mark.parametrize("file", some(PLANTED), ids=lambda file: file.stem)
def test_a_planted_bug_is_shown_by_a_program_in_c(file: Path, tmp_path: Path) -> None:
    """The shortest program as C fails with the planted bug, at the kit's last step, and passes with the base."""
    text = file.read_text(encoding="utf-8")
    if "coalloc check-program" not in text:
        pytest.skip("no program shows it: what a judge keeps of it would not fit into memory")
    planted, base = tmp_path / "faulty.c", FOLDER / "bases" / re.findall(r"^--- (\S+)$", text, re.MULTILINE)[0]
    planted.write_text(patched(text), encoding="utf-8")
    subject = Subject(find_target(str(planted)))
    program = loads(text[text.index("coalloc check-program") : text.index("\n--- ") + 1])
    breach = run_thoroughly(subject, program)
    assert breach is not None
    (tmp_path / "reproduce.c").write_text(
        as_c(str(planted), subject, Counterexample(program, breach)), encoding="utf-8"
    )
    memory = ["-fsanitize=address,undefined"] if breach.property is Property.P17 else []
    for allocator, status in ((planted, 1), (base, 0)):
        command = ["cc", f"-I{NATIVE}", *memory, "reproduce.c", str(allocator), "-o", "reproduce"]
        subprocess.run(command, check=True, cwd=tmp_path)
        done = subprocess.run(["./reproduce"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == status, done.stdout[-500:] + done.stderr[-500:]


@long
@pytest.mark.parametrize("file", PLANTED, ids=lambda file: file.stem)
def test_a_check_finds_a_planted_bug_in_c(file: Path, tmp_path: Path) -> None:
    """The whole check finds each bug by itself, in processes of its own."""
    planted = tmp_path / f"{file.stem}.c"
    planted.write_text(patched(file.read_text(encoding="utf-8")), encoding="utf-8")
    assert not check_target(str(planted)).conforms


@long
@pytest.mark.parametrize("file", CORRECT, ids=lambda file: file.stem)
def test_a_whole_check_blames_no_correct_allocator_in_c(file: Path) -> None:
    """The whole check, the thorough part included, blames no correct allocator."""
    report = check_target(str(file), thorough=True)
    assert report.conforms, [verdict for verdict in report.verdicts if verdict.found is not None]


def test_there_are_enough_of_both_in_c() -> None:
    """There are at least 8 correct designs and 20 planted bugs."""
    assert len(CORRECT) >= 8
    assert len(PLANTED) >= 20
