"""Allocators in C on the command line: header and skeleton, the kit's commands on them, and what is wrong told in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from coalloc.native import FOLDER
from tests.unit.c_allocators import SKELETON, changed

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Work in an empty folder, with programs built in one folder for all tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COALLOC_BUILD_DIR", str(tmp_path_factory.getbasetemp() / "built"))
    for name in ("CC", "CXX", "CFLAGS", "CXXFLAGS"):
        monkeypatch.delenv(name, raising=False)


def test_the_headers_are_found(coalloc: Any) -> None:
    """The paths that are printed are those of the headers."""
    assert Path(coalloc("native", "header").out.strip()) == FOLDER / "coalloc.h"
    assert Path(coalloc("native", "header", "--kstub").out.strip()) == FOLDER / "kstub.h"


def test_a_skeleton_is_written_once_and_conforms(coalloc: Any) -> None:
    """The skeleton has the name that is given, is not written over another file, and conforms."""
    result = coalloc("native", "new", "pool")
    assert (result.status, result.out) == (0, "pool.c: try coalloc check pool.c\n")
    text = Path("pool.c").read_text(encoding="utf-8")
    assert "mine" not in text
    assert "COALLOC_SUBJECT(pool_);" in text
    again = coalloc("native", "new", "pool")
    assert (again.status, again.err) == (2, "coalloc: error: NAME='pool': there is a file pool.c already\n")
    assert coalloc("native", "new", "2x").status == 2
    checked = coalloc("check", "pool.c", "--examples", "4", "--seconds", "4")
    assert (checked.status, checked.out.splitlines()[-1], checked.err) == (0, "conforms", "")


def test_a_crash_is_a_verdict_with_a_program(coalloc: Any) -> None:
    """The verdict has the signal, the backtrace and the program, as text and in JSON; the status is 1."""
    Path("mine.c").write_text(
        changed(SKELETON, "\t*place = buffer->next;", "\t*(volatile int *)8 = 0;"), encoding="utf-8"
    )
    result = coalloc("check", "mine.c", "--examples", "4")
    assert result.status == 1
    assert "P17 is broken: it was ended by SIGSEGV, in mine_free at mine.c:" in result.out
    assert "    mine_free at mine.c:" in result.out
    assert "    alloc 0 4096\n    free 0\n" in result.out
    data = json.loads(coalloc("check", "mine.c", "--examples", "4", "--json").out)
    assert data["properties"]["P17"]["state"] == "broken"
    assert "SIGSEGV" in data["properties"]["P17"]["note"]
    assert data["properties"]["P17"]["program"].endswith("alloc 0 4096\nfree 0\n")


def test_the_programs_are_written_as_c(coalloc: Any) -> None:
    """--emit c writes the first program to a file or prints each; a form that there is not, and no folder, are one line."""
    Path("mine.c").write_text(changed(SKELETON, "(size + unit - 1)", "(size + unit)"), encoding="utf-8")
    result = coalloc("check", "mine.c", "--examples", "4", "--seconds", "4", "--emit", "c", "-o", "reproduce.c")
    assert result.status == 1
    assert result.out.count("  as C: reproduce.c\n") == 1
    subprocess.run(["cc", f"-I{FOLDER}", "reproduce.c", "mine.c", "-o", "reproduce"], check=True)
    done = subprocess.run(["./reproduce"], capture_output=True, text=True, check=False)
    assert (done.returncode, "FAILED at alloc 0 256: expected otherwise: P4" in done.stdout) == (1, True)
    Path("one.check").write_text("coalloc check-program 1\nsetting limit=1 room=1\nalloc 0 4096\n", encoding="utf-8")
    printed = coalloc("check", "mine.c", "--program", "one.check", "--emit", "kunit")
    assert "  as a KUnit case:\n" in printed.out
    assert "KUNIT_CASE(mine_reproducer)" in printed.out
    assert coalloc("check", "mine.c", "--emit", "rust").status == 2
    assert coalloc("check", "mine.c", "-o", "nowhere/x.c").status == 2
    of_json = ("check", "mine.c", "--program", "one.check", "--json", "--emit", "c")
    assert "with --json" in coalloc(*of_json).err
    written = coalloc(*of_json, "-o", "again.c")
    assert (json.loads(written.out)["conforms"], "as C" in written.out) == (False, False)
    assert Path("again.c").read_text(encoding="utf-8").startswith("/*\n * P7: ")
    python = coalloc("check", "M3", "--examples", "20", "--seconds", "4", "--emit", "c")
    assert "is for allocators in C, and M3 is not" in python.err


def test_warnings_of_the_compiler_are_shown_and_its_errors_too(coalloc: Any) -> None:
    """A warning is shown with each command; an error is the whole output, and one line at the end."""
    Path("mine.c").write_text("static int unused;\n" + SKELETON, encoding="utf-8")
    for command in (
        ("check", "mine.c", "--seconds", "0.1"),
        ("compare", "--designs", "mine.c"),
        ("soak", "mine.c", "--operations", "1"),
    ):
        assert "unused" in coalloc(*command).err
    Path("mine.c").write_text("int 5;\n", encoding="utf-8")
    result = coalloc("check", "mine.c")
    assert result.status == 1
    assert "int 5;" in result.err
    assert result.err.splitlines()[-1].startswith("coalloc: error: mine.c cannot be compiled: mine.c:1:5: error")


def test_what_cannot_be_judged_is_said(coalloc: Any) -> None:
    """Growth of work is declared and not judged, and a note says so."""
    Path("mine.c").write_text(SKELETON.replace('"completeness', '"work=constant,completeness'), encoding="utf-8")
    result = coalloc("check", "mine.c", "--seconds", "0.5", "--examples", "1")
    assert "work=constant is not judged: the steps of code in C are not counted" in result.err


def test_soak_explore_map_and_compare_take_an_allocator_in_c(coalloc: Any) -> None:
    """The other commands run on the skeleton."""
    Path("mine.c").write_text(SKELETON, encoding="utf-8")
    assert "nothing is broken" in coalloc("soak", "mine.c", "--operations", "3000").out
    assert "counterexamples: none" in coalloc("explore", "mine.c", "--pages", "3", "--ops", "3").out
    assert coalloc("compare", "--designs", "per-pipe,mine.c").status == 0
    assert coalloc("map", "--design", "mine.c").status == 0


def test_settings_are_options_of_the_kits_commands(coalloc: Any, tmp_path: Path) -> None:
    """A sanitizer finds a read past the end; programs are built in the folder that is given; other targets refuse."""
    reads = "\tspace->limit += ((volatile char *)buffer)[sizeof(*buffer)];\n\t*place = buffer->next;"
    Path("mine.c").write_text(changed(SKELETON, "\t*place = buffer->next;", reads), encoding="utf-8")
    folder = tmp_path / "programs"
    result = coalloc("check", "mine.c", "--sanitize", "address", "--build-dir", str(folder), "--examples", "2")
    assert result.status == 1
    assert "a sanitizer found an error" in result.out
    assert "heap-buffer-overflow" in result.out
    assert any(folder.iterdir())
    refused = coalloc("check", "vmem", "--sanitize", "address")
    assert (refused.status, refused.err) == (2, "coalloc: error: --sanitize='vmem': is for allocators in C\n")
    assert coalloc("check", "mine.c", "--sanitize", "nonsense").status == 2
