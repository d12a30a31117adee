"""The text format: what is written is read again; what is not valid is refused with file, line and reason."""

from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalloc import PipeProgram, ProgramError, SpaceProgram, bundled_build, load, save
from coalloc.pipes.budget import Owner
from coalloc.workload.files import raw_lines
from coalloc.workload.formats import read
from coalloc.workload.program import Program
from coalloc.workload.textformat import dumps, is_program, loads

PIPE = "coalloc pipe-program 1\n"
PIPE_2 = "coalloc pipe-program 2\n"
SPACE = "coalloc space-program 1\n"


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """Draw a valid program."""
    title = draw(st.sampled_from(["", "a title", "title # with words"]))
    if draw(st.booleans()):
        ops: list[tuple[int, int, int]] = []
        live: list[int] = []
        made = 0
        for kind in draw(st.lists(st.integers(0, 2), max_size=30)):
            if kind == 0 or not live:
                ops.append((0, made, draw(st.integers(1, 2**62))))
                live.append(made)
                made += 1
            elif kind == 1:
                ops.append((1, live.pop(draw(st.integers(0, len(live) - 1))), 0))
            else:
                ops.append((2, draw(st.sampled_from(live)), draw(st.integers(1, 2**62))))
        return SpaceProgram(ops, title=title)
    rows: list[tuple[int, int, int, int, int]] = []
    open_ends: list[tuple[int, int]] = []
    time = pipes = 0
    for kind in draw(st.lists(st.integers(0, 6), max_size=30)):
        time += draw(st.integers(0, 1000))
        if kind == 0 or not open_ends:
            rows.append((time, 0, pipes, 0, draw(st.sampled_from([0, 0, 1000, 2**32 - 1]))))
            open_ends += [(pipes, 0), (pipes, 1)]
            pipes += 1
        else:
            pipe, end = draw(st.sampled_from(open_ends))
            rows.append((time, kind, pipe, end, 0 if kind == 3 else draw(st.integers(1, 99999))))
            if kind == 3:
                open_ends.remove((pipe, end))
    uids = draw(st.lists(st.sampled_from([0, 7, 1000]), unique=True))
    owners = [Owner(uid, privileged=draw(st.booleans()), pipebuf_limit=draw(st.integers(0, 2**62))) for uid in uids]
    return PipeProgram(rows, title=title, owners=owners)


@given(programs())
def test_what_is_written_is_read_again(program: Program) -> None:
    """The text of a program is read back with the same operations and title."""
    again = loads(dumps(program))
    assert again == program
    assert again.title == program.title
    assert dumps(again) == dumps(program)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_files_may_be_compressed(tmp_path: Path, suffix: str) -> None:
    """A file is compressed as its name says, equal programs make equal files, and no partial file is left."""
    program = bundled_build()
    files = [tmp_path / f"{name}.pipes{suffix}" for name in "ab"]
    for file in files:
        save(program, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert load(files[0]) == program
    assert is_program(next(raw_lines(str(files[0]))))
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name for file in files]


def test_version_1_is_read_and_version_2_is_written() -> None:
    """A program of version 1 is the same in version 2, in which pipes have owners, sizes and non-blocking descriptors."""
    body = "0 create 0\n3 write 0 1 5\n4 read 0 0 5\n5 close 0 1\n"
    assert dumps(loads(PIPE + body)) == PIPE_2 + body == dumps(loads(PIPE_2 + body))
    assert (
        dumps(loads(SPACE + "alloc 0 5\n"))
        == SPACE + "alloc 0 5\n"
        == dumps(loads(SPACE.replace("1", "2") + "alloc 0 5\n"))
    )
    more = "owner 1000 unprivileged 1048576\n0 create 0 1000\n3 set-size 0 1 65536\n5 try-read 0 0 4096\n9 try-write 0 1 7\n"
    program = loads(PIPE_2 + "title t\n" + more)
    assert dumps(program) == PIPE_2 + "title t\n" + more
    assert isinstance(program, PipeProgram)
    assert program.owner(1000) == Owner(1000, privileged=False, pipebuf_limit=1 << 20)
    assert loads(PIPE_2 + "owner 5 privileged 0\n") == PipeProgram([], owners=[Owner(5)])


def test_comments_and_empty_lines_are_passed_over() -> None:
    """Comments and empty lines are skipped but counted in line numbers."""
    text = PIPE + "# a comment\n\n   \n0 create 0\n  # another\n3 write 0 1 5\n"
    assert len(loads(text)) == 2
    with pytest.raises(ProgramError) as caught:
        loads(text + "2 read 0 0 5\n")
    assert (caught.value.line, caught.value.file) == (8, None)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "is no program"),
        ("hello\n", 1, "is no program"),
        ("coalloc pipe-program 4\n", 1, "version '4' is not known"),
        (PIPE + "0 create 0\n1 set-size 0 0 9\n", 3, "expected a time and one of create, write, read, close$"),
        (PIPE + "owner 5 unprivileged 0\n", 2, "expected a time and one of"),
        (PIPE_2 + "owner 5 unprivileged\n", 2, "expected owner, a user id"),
        (PIPE_2 + "owner 5 mighty 0\n", 2, "expected owner, a user id"),
        (PIPE_2 + "owner x privileged 0\n", 2, "not a decimal number"),
        (PIPE_2 + "owner 4294967296 privileged 0\n", 2, "user id"),
        (PIPE_2 + "owner 5 privileged 0\nowner 5 privileged 0\n", 3, "described twice"),
        (PIPE_2 + "0 create 0\nowner 5 privileged 0\n", 3, "owner comes before the first operation"),
        (PIPE_2 + "0 create 0 4294967296\n", 2, "user id"),
        (PIPE_2 + "0 create 0 1 1\n", 2, "takes 2 numbers"),
        (PIPE_2 + "0 create 0\n1 set-size 0 0 4294967296\n", 3, "size of 4294967296"),
        (PIPE_2 + "0 create 0\n1 try-read 0 0 0\n", 3, "0 bytes"),
        (PIPE_2 + "0 create 0\n1 try-write 0 1\n", 3, "takes 4 numbers"),
        ("coalloc pipe-program 1 \n", 1, "version"),
        (PIPE + "0 create\n", 2, "takes 2 numbers"),
        (PIPE + "0 create 0 0\n", 2, "takes 2 numbers"),
        (PIPE + "0 create 0\n0 write 0 1\n", 3, "takes 4 numbers"),
        (PIPE + "0 create 0\n0 close 0 1 1\n", 3, "takes 3 numbers"),
        (PIPE + "x create 0\n", 2, "not a decimal number"),
        (PIPE + "-1 create 0\n", 2, "not a decimal number"),
        (PIPE + "1.5 create 0\n", 2, "not a decimal number"),
        (PIPE + "9223372036854775808 create 0\n", 2, "not a decimal number"),
        (PIPE + "99999999999999999999999999 create 0\n", 2, "not a decimal number"),
        (PIPE + "٣ create 0\n", 2, "not a decimal number"),
        (PIPE + "0 make 0\n", 2, "expected a time and one of"),
        (PIPE + "0\n", 2, "expected a time and one of"),
        (PIPE + "0 create 1\n", 2, "the next one is 0"),
        (PIPE + "title a\ntitle b\n", 3, "title is the second line"),
        (PIPE + "0 create 0\n5 close 0 0\n6 read 0 0 1\n", 4, "is closed"),
        (SPACE + "alloc 0\n", 2, "takes 2 numbers"),
        (SPACE + "grow 0 1\n", 2, "expected one of"),
        (SPACE + "alloc 0 0\n", 2, "size of 0"),
        (SPACE + "alloc 0 4096\n\nfree 1\n", 4, "not live"),
    ],
)
def test_a_bad_line_is_refused_by_number_and_reason(text: str, line: int, words: str, tmp_path: Path) -> None:
    """A bad line is refused with its number and reason, and from a file with the file's name."""
    with pytest.raises(ProgramError, match=words) as caught:
        loads(text)
    assert caught.value.line == line
    file = tmp_path / "bad.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ProgramError, match=words) as caught:
        load(file)
    assert (caught.value.line, caught.value.file) == (line, str(file))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """A file that is cut short, damaged or not text is refused with its name and a reason."""
    text = dumps(bundled_build()).encode()
    cases: dict[str, bytes] = {
        "short.gz": gzip.compress(text)[:-20],
        "short.xz": lzma.compress(text)[:-200],
        "short.bz2": bz2.compress(text)[:-200],
        "zstd.txt": b"\x28\xb5\x2f\xfd" + text,
        "utf16.txt": PIPE.encode("utf-16"),
        "flipped.gz": bytes(byte ^ 0xFF if at == 2000 else byte for at, byte in enumerate(gzip.compress(text))),
        "latin.txt": PIPE.encode() + b"# caf\xe9\n",
    }
    for name, content in cases.items():
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(ProgramError) as caught:
            load(file)
        assert caught.value.file == str(file)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


@pytest.mark.parametrize("name", ["a.gz", "a.GZ", "a.Xz", "a", "a.txt"])
def test_a_file_is_opened_as_its_first_bytes_say(tmp_path: Path, name: str) -> None:
    """The name says how a program is written, in capitals too; how it is read, its first bytes say."""
    program = loads(PIPE + "0 create 0\n")
    save(program, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert content.startswith({"gz": b"\x1f\x8b", "xz": b"\xfd7z"}.get(name[2:].lower(), b"coalloc"))
    (tmp_path / "other").write_bytes(content)
    assert load(tmp_path / "other") == load(tmp_path / name) == program
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbf" + dumps(program).replace("\n", "\r\n").encode())
    assert load(tmp_path / "marked") == program


def test_files_that_are_too_large_are_refused(tmp_path: Path) -> None:
    """A file of more bytes than the limit, though it be small when compressed, and an endless line, are refused."""
    (tmp_path / "bomb").write_bytes(gzip.compress(b"coalloc pipe-program 1\n" + (b"#" * 1023 + b"\n") * (40 << 10)))
    with pytest.raises(ProgramError, match="bomb: has more than 41,943,040 bytes; --max-size allows more"):
        read(tmp_path / "bomb", max_size=40 << 20)
    (tmp_path / "foreign").write_bytes(b"x\n" * 200_000)
    with pytest.raises(
        ProgramError, match="foreign: is no strace log: of the first 110,000 lines 110,000 are not strace's"
    ):
        read(tmp_path / "foreign")
    (tmp_path / "endless").write_bytes(lzma.compress(b"x" * (17 << 20)))
    with pytest.raises(ProgramError, match="endless: has a line of more than 16,777,216 bytes"):
        load(tmp_path / "endless")


def test_a_loop_of_links_is_replaced(tmp_path: Path) -> None:
    """What is written to a loop of links is a file afterwards."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    save(bundled_build(), tmp_path / "a")
    assert load(tmp_path / "a") == bundled_build()


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """A save that fails leaves neither the file nor a partial one."""
    with pytest.raises(OSError, match="none"):
        save(bundled_build(), tmp_path / "none" / "x")
    assert not list(tmp_path.iterdir())


def test_is_program_tells_by_the_first_line() -> None:
    """The first line tells whether a file is a program, whatever its version."""
    lines = {PIPE: True, "coalloc space-program 9\n": True, "10 1.0 close(3)\n": False, "": False}
    assert {text: is_program(text.encode()) for text in lines} == lines


def test_a_line_number_is_exact_whatever_is_wrong(tmp_path: Path) -> None:
    """A bad byte is refused with its line, and odd separators within a line are refused."""
    file = tmp_path / "bad"
    file.write_bytes(PIPE.encode() + b"0 create 0\n" + b"1 write 0 1 5\n" * 5000 + b"# caf\xe9\n")
    with pytest.raises(ProgramError) as caught:
        load(file)
    assert (caught.value.line, caught.value.reason) == (5003, "is not UTF-8 text")
    file.write_bytes(PIPE.encode() + b"0 create 0\r\n5 close 0 0\r\n")
    assert len(load(file)) == 2
    for odd in ("0\xa0create 0\n", "0 create 0\r5 close 0 0\n", "0\x0ccreate 0\n", "0\u2028create 0\n"):
        with pytest.raises(ProgramError):
            loads(PIPE + odd)


def test_devices_and_links_are_written_to_not_replaced(tmp_path: Path) -> None:
    """A symbolic link or a device is written to and not replaced."""
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("old")
    link.symlink_to(real)
    save(bundled_build(), link)
    assert link.is_symlink()
    assert load(real) == bundled_build()
    save(bundled_build(), "/dev/null")
    assert Path("/dev/null").is_char_device()
