"""The examples in C compile without a warning, are short, and keep what they promise; the one with a bug does not."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from coalloc.native import FOLDER
from coalloc.testing import Property, Subject, check_space, loads, run_program
from coalloc.testing.targets import find_target
from tests.unit.c_allocators import changed

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or shutil.which("c++") is None, reason="there is no compiler"
)
EXAMPLES = sorted((FOLDER.parents[1] / "docs" / "examples" / "c").iterdir())
QUICK = ("nonsense", "ends", "comb", "failing-source", "pressure", "beside-another")


@pytest.fixture(autouse=True)
def _built_once(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Build programs in one folder for all tests."""
    monkeypatch.setenv("COALLOC_BUILD_DIR", str(tmp_path_factory.getbasetemp() / "built"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_an_example_is_short_and_compiles_without_a_warning(file: Path, tmp_path: Path) -> None:
    """Each has less than 150 lines, and the strictest usual flags find nothing."""
    assert len(file.read_text(encoding="utf-8").splitlines()) < 150
    compiler = "c++" if file.suffix == ".cpp" else "cc"
    flags = ["-Wall", "-Wextra", "-Werror", "-O2", f"-I{FOLDER}", "-c", "-o", str(tmp_path / "object")]
    subprocess.run([compiler, *flags, str(file)], check=True)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_an_example_keeps_what_it_promises(file: Path) -> None:
    """Each conforms, but for the one with a planted bug, which is found with a few calls."""
    examples = 120 if "buggy" in file.name else 6
    report = check_space(find_target(str(file)), examples=examples, checks=QUICK, seconds=30)
    if "buggy" not in file.name:
        assert report.conforms, [verdict for verdict in report.verdicts if verdict.found is not None]
        return
    found = next(verdict.found for verdict in report.verdicts if verdict.property is Property.P12)
    assert found is not None
    assert found.breach.message == "1 idle arenas are kept, the rule is eager"
    assert len(found.program.steps) <= 8


def test_the_headers_compile_as_c99_and_as_cpp(tmp_path: Path) -> None:
    """coalloc.h is C99 and C++ without extensions; kstub.h is C99 with the extensions that kernels use."""
    for name, command in (
        ("a.c", ["cc", "-std=c99", "-pedantic-errors"]),
        ("a.cpp", ["c++", "-std=c++11", "-pedantic-errors"]),
        ("b.c", ["cc", "-std=gnu99"]),
    ):
        header = "kstub.h" if name == "b.c" else "coalloc.h"
        text = f'#include "{header}"\n' + ("COALLOC_SUBJECT(one_);\n" if header == "coalloc.h" else "int unused;\n")
        (tmp_path / name).write_text(text, encoding="utf-8")
        subprocess.run(
            [
                *command,
                "-Wall",
                "-Wextra",
                "-Werror",
                f"-I{FOLDER}",
                "-c",
                str(tmp_path / name),
                "-o",
                str(tmp_path / "o"),
            ],
            check=True,
        )


def test_the_bug_that_the_page_names_is_found_as_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's change of the skeleton ends in its program, and the page shows that program."""
    monkeypatch.chdir(tmp_path)
    text = (FOLDER / "skeleton.c").read_text(encoding="utf-8")
    Path("mine.c").write_text(changed(text, "(size + unit - 1)", "(size + unit)"), encoding="utf-8")
    page = (FOLDER.parents[1] / "docs" / "c.md").read_text(encoding="utf-8")
    found = re.search(r"    coalloc check-program 1\n(    .*\n)+", page)
    assert found is not None
    breach = run_program(Subject(find_target("mine.c")), loads(re.sub("^    ", "", found[0], flags=re.MULTILINE)))
    assert breach is not None
    assert breach.message in " ".join(page.split())


MUTANTS = {
    "a hole that fits exactly is passed over": ("segment->size < size", "segment->size <= size"),
    "the last bytes of the limit are not given": (
        "whole > space->limit - space->mapped",
        "whole >= space->limit - space->mapped",
    ),
    "what is imported is not counted": ("\tspace->mapped += whole;\n", ""),
    "the last hole that fits is taken": (
        "segment = segment->next;\n\tif (rest == NULL",
        "segment = segment->prev;\n\tif (rest == NULL",
    ),
    "sizes are not rounded": ("size = (size + space->quantum - 1) & ~(space->quantum - 1);", ""),
    "any segment is freed, busy or not": ("(!segment->busy || segment->base != base)", "segment->base != base"),
    "segments of two arenas are joined": (
        "!segment->prev->busy && segment->prev->arena == segment->arena",
        "!segment->prev->busy",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_each_mutant_of_first_fit_is_found(name: str, tmp_path: Path) -> None:
    """The small programs and a few checks find each change of the example, and show it with a short program."""
    text = (FOLDER.parents[1] / "docs" / "examples" / "c" / "first_fit.c").read_text(encoding="utf-8")
    mutant = tmp_path / "mutant.c"
    mutant.write_text(changed(text, *MUTANTS[name]), encoding="utf-8")
    report = check_space(find_target(str(mutant)), examples=30, checks=QUICK, seconds=30)
    programs = [verdict.found.program for verdict in report.verdicts if verdict.found is not None]
    assert programs
    assert min(len(program.steps) for program in programs) <= 8
