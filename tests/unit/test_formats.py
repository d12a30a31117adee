"""Trace formats: which reads a file, what it hands back, and one that a program registers."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path

import pytest

from coalloc import cli
from coalloc.errors import InvalidRequestError, ProgramError
from coalloc.workload.formats import FORMATS, Format, Progress, read, register
from coalloc.workload.program import PipeProgram, Program, SpaceOp, SpaceOpKind, SpaceProgram
from coalloc.workload.strace import ImportReport

STRACE = "1 1.000000 pipe([3, 4]) = 0\n1 1.000100 +++ exited with 0 +++\n"
SPACE = "coalloc space-program 1\ntitle two\nalloc 0 4096\nfree 0\n"


def read_sizes(lines: Iterator[bytes], name: str, progress: Progress) -> tuple[Program, object]:
    """Read one size a line; every buffer is kept."""
    sizes = [int(line) for line in list(lines)[1:]]
    if progress is not None:
        progress(len(sizes))
    ops = [SpaceOp(SpaceOpKind.ALLOC, number, size) for number, size in enumerate(sizes)]
    return SpaceProgram(ops, title=f"sizes of {Path(name).name}"), f"{len(sizes)} sizes"


SIZES = Format("sizes", "one size a line", lambda line: line == b"sizes", read_sizes)


@pytest.fixture
def sizes(tmp_path: Path) -> Iterator[Path]:
    """A file of the format that is registered meanwhile."""
    file = tmp_path / "some.sizes"
    file.write_text("sizes\n4096\n8192\n", encoding="utf-8")
    register(SIZES)
    yield file
    FORMATS.unregister("sizes")


def run(*arguments: object) -> int | str | None:
    """Run a command line and return its status."""
    with pytest.raises(SystemExit) as caught:
        cli.run([str(argument) for argument in arguments])
    return caught.value.code


def test_the_formats_of_this_package_are_found_and_strace_is_asked_last() -> None:
    """The order in which formats are asked is that of their ranks."""
    assert (next(iter(FORMATS)), list(FORMATS)[-1]) == ("coalloc", "strace")


@pytest.mark.parametrize("ending", ["", ".xz"])
def test_a_program_is_told_from_a_log_by_its_first_line(tmp_path: Path, ending: str) -> None:
    """Both may be compressed; only the log has a report."""
    create = lzma.open if ending else open
    for text, kind, title, report in (
        (SPACE, SpaceProgram, "two", type(None)),
        (STRACE, PipeProgram, f"imported from file{ending}", ImportReport),
    ):
        file = tmp_path / f"file{ending}"
        with create(file, "wt") as out:
            out.write(text)
        program, met = read(file)
        assert (type(program), program.title, type(met)) == (kind, title, report)


def test_a_title_that_is_given_is_the_programs(tmp_path: Path) -> None:
    """It must be one line of printable text."""
    file = tmp_path / "file"
    file.write_text(SPACE, encoding="utf-8")
    assert read(file, title="mine")[0].title == "mine"
    with pytest.raises(ProgramError, match="not one line of printable text"):
        read(file, title="a\nb")


def test_what_no_format_recognises_is_refused_in_one_line(tmp_path: Path) -> None:
    """An empty file is no log either."""
    file = tmp_path / "file"
    for text in ("", "hello\n"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ProgramError, match="neither a coalloc program nor an strace log"):
            read(file)


def test_a_registered_format_is_read_by_every_command(sizes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """compare, map, trace info and trace import know it, and its report is shown."""
    assert run("trace", "info", sizes) == 0
    assert capsys.readouterr().out == (
        "sizes of some.sizes\n2 operations: 2 allocs, 0 frees, 0 resizes; 2 buffers live at the end\nlog: 2 sizes\n"
    )
    assert run("trace", "import", sizes, "--title", "mine") == 0
    shown = capsys.readouterr()
    assert shown.out == "coalloc space-program 1\ntitle mine\nalloc 0 4096\nalloc 1 8192\n"
    assert "2 sizes" in shown.err
    assert run("compare", sizes, "--designs", "per-pipe") == 0
    assert "log: 2 sizes" in capsys.readouterr().out
    assert run("map", sizes) == 0
    assert "12,288 bytes live" in capsys.readouterr().out


def test_progress_is_told_to_the_reader(sizes: Path) -> None:
    """Whoever reads a file may watch."""
    seen: list[int] = []
    read(sizes, progress=seen.append)
    assert seen == [2]


def test_a_program_that_is_imported_is_written_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is nothing to report of it."""
    file = tmp_path / "file"
    file.write_text(SPACE, encoding="utf-8")
    assert run("trace", "import", file) == 0
    shown = capsys.readouterr()
    assert shown.out == SPACE
    assert shown.err.count("\n") == 1


def test_a_name_is_taken_once_and_only_what_was_registered_is_taken_back() -> None:
    """The formats of the package stay."""
    with pytest.raises(InvalidRequestError, match="there is a format of this name already"):
        register(Format("strace", "", SIZES.recognises, read_sizes))
    with pytest.raises(InvalidRequestError, match="no format of this name was registered"):
        FORMATS.unregister("strace")
