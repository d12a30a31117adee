"""Space programs in the formats of MiniMalloc, RMM, wee_alloc and glibc's mtrace: read, counted, and written."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalloc.errors import ProgramError
from coalloc.workload.formats import FORMATS, read
from coalloc.workload.program import SpaceOpKind, SpaceProgram
from coalloc.workload.space_log import SpaceReport

WRITTEN: Final = [name for name, known in FORMATS.items() if known.write is not None]
SHARED: Final = Path(__file__).parents[3] / "shared" / "data"


def imported(text: str, folder: Path) -> tuple[SpaceProgram, SpaceReport]:
    """Read a log."""
    file = folder / "log"
    file.write_text(text, encoding="utf-8")
    program, report = read(file)
    assert isinstance(program, SpaceProgram)
    assert isinstance(report, SpaceReport)
    return program, report


def written(program: SpaceProgram, name: str) -> str:
    """Write a program."""
    write = FORMATS[name].write
    assert write is not None
    return "".join(write(program))


@st.composite
def programs(draw: st.DrawFn, *, resizes: bool) -> SpaceProgram:
    """Draw a program in which every buffer is freed."""
    rows: list[tuple[int, int, int]] = []
    live: list[int] = []
    made = 0
    for _ in range(draw(st.integers(1, 25))):
        do = draw(st.sampled_from(["alloc", "alloc", "free", "resize"]))
        size = draw(st.sampled_from([1, 16, 4096, 2**40]))
        if do == "alloc" or not live:
            rows.append((0, made, size))
            live.append(made)
            made += 1
        elif do == "free":
            rows.append((1, live.pop(draw(st.integers(0, len(live) - 1))), 0))
        elif resizes:
            rows.append((2, draw(st.sampled_from(live)), size))
    rows += [(1, buffer, 0) for buffer in live]
    return SpaceProgram(rows)


def test_four_formats_are_written() -> None:
    """A new format with a writer joins the tests below by itself."""
    assert {"minimalloc", "rmm", "wee-alloc", "mtrace"} <= set(WRITTEN)


@pytest.mark.parametrize("name", WRITTEN)
@given(program=programs(resizes=False))
def test_what_is_written_reads_back_the_same(
    name: str, program: SpaceProgram, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A program without resizes keeps every operation, in order."""
    again, report = imported(written(program, name), tmp_path_factory.mktemp("formats"))
    assert again == program
    assert report.doubtful == report.empty == report.refused == 0


@given(program=programs(resizes=True))
def test_mtrace_keeps_resizes(program: SpaceProgram, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The two lines of a realloc are one operation."""
    assert imported(written(program, "mtrace"), tmp_path_factory.mktemp("formats"))[0] == program


@pytest.mark.parametrize("name", ["minimalloc", "rmm", "wee-alloc"])
def test_a_resize_becomes_a_buffer_of_its_own(name: str, tmp_path: Path) -> None:
    """Where a format has no resize, the new size is allocated and the old one freed."""
    program = SpaceProgram([(0, 0, 100), (2, 0, 300), (2, 0, 50), (0, 1, 7), (1, 0, 0)])
    again, _ = imported(written(program, name), tmp_path)
    assert sorted(size for kind, _, size in again.rows() if kind == SpaceOpKind.ALLOC) == [7, 50, 100, 300]
    live = [buffer for kind, buffer, _ in again.rows() if kind == SpaceOpKind.FREE]
    assert len(live) == (4 if name == "minimalloc" else 3)  # a lifetime has an end


# --- each format ---------------------------------------------------------------------------------


def test_a_log_that_glibc_wrote() -> None:
    """The recording is by glibc 2.36: malloc, realloc, calloc, malloc(0) and free."""
    program, report = read(Path(__file__).parent / "recordings" / "mtrace.txt")
    assert [tuple(operation) for operation in program] == [
        *[(0, 0, 24), (0, 1, 100), (2, 0, 400), (1, 1, 0), (0, 2, 30), (0, 3, 1), (1, 3, 0), (1, 0, 0)]
    ]
    assert isinstance(report, SpaceReport)
    assert (report.ignored, report.empty, report.doubtful) == (2, 1, 0)


def test_odd_lines_of_mtrace(tmp_path: Path) -> None:
    """What was refused, what has no first half, what is freed twice, and an address that is handed out again."""
    program, report = imported(
        "= Start\n@ a:(main+0x16)[0x1] + 0x10 0x8\n@ [0x1] - 0x10\n@ [0x1] - 0x10\n@ [0x1] ! 0x20 0x9\n@ [0x1] + (nil) 0x9\n"
        "@ [0x1] > 0x30 0x9\n@ [0x1] < 0x40\n@ [0x1] > 0x40 0x9\n@ [0x1] + 0x40 0x5\n@ [0x1] + 0x50 0xffffffffffffffff\n"
        "@ [0x1] < 0x40\n@ [0x1] > 0x48 0x2\n@ [0x1] + 0x60 0x1\n@ [0x1] < 0x60\n@ [0x1] > 0x48 0x3\n@ [0x1] - 0x48 0x1\n"
        "hello\n\n@ [0x1] < 0x48\n@ [0x1] > 0x48 0xffffffffffffffff\n= End\n",
        tmp_path,
    )
    assert [tuple(operation) for operation in program] == [
        *[(0, 0, 8), (1, 0, 0), (0, 1, 9), (0, 2, 5), (2, 2, 2), (0, 3, 1), (2, 3, 3)]
    ]
    assert (report.refused, report.unknown, report.strays, report.reused, report.ignored) == (2, 5, 2, 2, 3)
    assert len(report.problems) == report.doubtful == 9
    assert (not report.sound, "9 of 16 operations" in report.doubt) == (True, True)
    assert "2 requests that were refused" in str(report)


def test_odd_lines_of_rmm(tmp_path: Path) -> None:
    """Both words for a free, columns in another order, a second header, failures, and bad rows."""
    program, report = imported(
        "Thread,Time,Pointer,Action,Size,Stream\n1,0,0x1,allocate,10,0\n1,0,0x2,allocate,0,0\n1,0,0x1,deallocate,10,0\n"
        "Thread,Time,Pointer,Action,Size,Stream\n1,0,nil,allocate failure,99,0\n1,0,0x2,free,0,0\n1,0,0x2,free,0,0\n"
        "1,0,0x3,allocate,-4,0\n1,0,0x3,melt,4,0\n1,0\n\n",
        tmp_path,
    )
    assert [tuple(operation) for operation in program] == [(0, 0, 10), (0, 1, 1), (1, 0, 0), (1, 1, 0)]
    assert (report.refused, report.empty, report.strays, report.unknown, report.ignored) == (1, 1, 1, 3, 3)


def test_odd_lines_of_wee_alloc(tmp_path: Path) -> None:
    """The brackets of a Rust vector, comments, a free of what is not there."""
    program, report = imported("Alloc(8),\nAlloc(9)\n// a note\n]\nFree(1),\nFree(7),\nFree(x)\n", tmp_path)
    assert [tuple(operation) for operation in program] == [(0, 0, 8), (0, 1, 9), (1, 1, 0)]
    assert (report.strays, report.unknown, report.ignored) == (1, 1, 2)


def test_lifetimes_of_minimalloc(tmp_path: Path) -> None:
    """Rows in any order; where one ends as another begins the free comes first; the last time may be in or behind."""
    program, _ = imported("id,size,lower,upper\nb,20,5,9\na,10,-3,5\n", tmp_path)
    assert [tuple(operation) for operation in program] == [(0, 0, 10), (1, 0, 0), (0, 1, 20), (1, 1, 0)]
    inclusive, _ = imported("buffer_id,start,end,size\na,0,5,10\nb,5,9,20\n", tmp_path)
    assert [tuple(operation) for operation in inclusive] == [(0, 0, 10), (0, 1, 20), (1, 0, 0), (1, 1, 0)]
    _, report = imported("id,lower,upper,size\na,0,5,10\nb,5,5,10\nc,1,2,-1\nd,x,2,1\ne\n\n", tmp_path)
    assert (report.unknown, report.ignored, report.operations) == (4, 2, 2)


@pytest.mark.parametrize(
    "text", ["= Start\n= End\n", "Thread,Time,Action,Pointer,Size,Stream\n", "id,lower,upper,size\n"]
)
def test_a_log_without_an_operation_is_refused(text: str, tmp_path: Path) -> None:
    """There is nothing to compare."""
    with pytest.raises(ProgramError, match="has no operation of"):
        imported(text, tmp_path)


def test_a_foreign_file_is_refused_before_its_end(tmp_path: Path) -> None:
    """Ten thousand lines that are not understood are enough."""
    file = tmp_path / "log"
    file.write_text("Alloc(1),\n" + "x\n" * 50_000, encoding="utf-8")
    told: list[int] = []
    with pytest.raises(ProgramError, match="is no log of wee_alloc: most lines are not understood"):
        read(file, progress=told.append)
    assert told == [0, 10_000]


@pytest.mark.skipif(shutil.which("mtrace") is None, reason="glibc's mtrace is not installed")
def test_glibc_reads_what_is_written(tmp_path: Path) -> None:
    """The script of glibc finds the buffer that is never freed, and no other."""
    file = tmp_path / "log"
    file.write_text(
        written(SpaceProgram([(0, 0, 10), (2, 0, 99), (0, 1, 4096), (1, 0, 0)]), "mtrace"), encoding="utf-8"
    )
    told = subprocess.run(["mtrace", str(file)], capture_output=True, text=True, check=False)
    assert "0x1000" in told.stdout
    assert [line.split()[1] for line in told.stdout.splitlines() if line.startswith("0x")] == ["0x1000"]


# --- other people's data ---------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.is_dir(), reason="the data of other projects are not here")
@pytest.mark.parametrize("name", ["minimalloc", "wee_alloc"])
def test_other_peoples_data_are_read_whole(name: str) -> None:
    """Every row is a buffer, or every line an operation, and nothing is in doubt."""
    files = sorted((SHARED / name).glob("*.[ct][sr][va]*"))
    assert len(files) >= 6
    for file in files:
        program, report = read(file)
        assert isinstance(report, SpaceReport)
        rows = len(file.read_text().splitlines())
        assert len(program) == (2 * (rows - 1) if name == "minimalloc" else rows)
        assert report.doubtful == 0
