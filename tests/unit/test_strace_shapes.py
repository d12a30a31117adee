"""Shapes of strace logs: one story in every shape that strace prints, and what cannot be followed is counted by its kind."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from coalloc import ProgramError
from coalloc.workload.formats import read
from coalloc.workload.strace import Imported, import_strace
from coalloc.workload.strace_lines import Clock
from tests import NIGHTLY

CASES = Path(__file__).parents[3] / "shared" / "data" / "strace" / "cases"
STORY = (
    (100, 0, "pipe2([3, 4], O_CLOEXEC) = 0"),
    (100, 100, "clone(child_stack=NULL, flags=SIGCHLD) = 101"),
    (101, 200, "close(3) = 0"),
    (100, 300, "close(4) = 0"),
    (101, 400, 'write(4, "abc", 3) = 3'),
    (100, 500, 'read(3, "abc", 4096) = 3'),
    (101, 600, "+++ exited with 0 +++"),
    (100, 700, 'read(3, "", 4096) = 0'),
    (100, 800, "close(3) = 0"),
    (100, 900, "+++ exited with 0 +++"),
)
TOLD = [
    ("create", 0, 0, 0),
    ("write", 400, 1, 3),
    ("read", 500, 0, 3),
    ("close", 600, 1, 0),
    ("close", 800, 0, 0),
]


def told(result: Imported) -> list[tuple[str, int, int, int]]:
    """Return the operations with their times."""
    return [(op.kind.name.lower(), op.time, op.end, op.n) for op in result.program]


def unix(time: int, digits: int = 6) -> str:
    """Return a time as seconds since 1970, with so many digits behind the point."""
    nanos = 1_700_000_000 * 10**9 + time * 1000
    return f"{nanos // 10**9}.{nanos % 10**9:09d}"[: 11 + digits]


SHAPES: dict[str, Callable[[int, int, str], str]] = {
    "-ttt": lambda pid, time, rest: f"{pid} {unix(time)} {rest}",
    "brackets": lambda pid, time, rest: f"[pid {pid:>5}] {unix(time)} {rest}",
    "-Y": lambda pid, time, rest: f"{pid}<sh> {unix(time)} {rest}",
    "brackets -Y": lambda pid, time, rest: f"[pid {pid:>5}<my shell>] {unix(time)} {rest}",
    "-tt": lambda pid, time, rest: f"{pid} 12:59:59.{999_500 + time:06d} {rest}"
    if time < 500
    else f"{pid} 13:00:00.{time - 500:06d} {rest}",
    "midnight": lambda pid, time, rest: f"{pid} 23:59:59.{999_500 + time:06d} {rest}"
    if time < 500
    else f"{pid} 00:00:00.{time - 500:06d} {rest}",
    "nanoseconds": lambda pid, time, rest: f"{pid} {unix(time, 9)} {rest}",
    "-r": lambda pid, time, rest: f"{pid}      0.{100 if time else 0:06d} {rest}",
    "-r -ttt": lambda pid, time, rest: f"{pid} {unix(time)} (+     0.000100) {rest}",
    "-i": lambda pid, time, rest: f"{pid} {unix(time)} [00007fdc69be1ad7] {rest}",
    "-n": lambda pid, time, rest: f"{pid} {unix(time)} [   3] {rest}",
    "-n -i": lambda pid, time, rest: f"{pid} {unix(time)} [ 257] [00007fdc69be1ad7] {rest}",
    "-T": lambda pid, time, rest: f"{pid} {unix(time)} {rest}" + ("" if "+++" in rest else " <0.000012>"),
    "-k": lambda pid, time, rest: f"{pid} {unix(time)} {rest}\n > /usr/lib/libc.so.6(__close+0x17) [0x10ad7]",
    "-y": lambda pid, time, rest: f"{pid} {unix(time)} "
    + rest.replace("3, 4]", "3<pipe:[7]>, 4<pipe:[7]>]").replace("(3", "(3<pipe:[7]>").replace("(4", "(4<pipe:[7]>"),
}  # fmt: skip


def log_of(shape: Callable[[int, int, str], str]) -> str:
    """Write the story in a shape."""
    return "".join(f"{shape(pid, time, rest)}\n" for pid, time, rest in STORY)


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_of_a_line_tells_the_same_story(name: str, tmp_path: Path) -> None:
    """The operations and their times are the same, whatever strace prints in front of and behind a call."""
    file = tmp_path / "log"
    file.write_text(log_of(SHAPES[name]))
    result = import_strace(file)
    assert told(result) == TOLD
    assert (result.report.unknown, result.report.truncated, result.report.doubtful) == (0, 0, 0)
    assert result.report.sound


def test_times_of_milliseconds_and_seconds_are_read(tmp_path: Path) -> None:
    """Times with three digits behind the point, or with none, are times."""
    for digits in (-1, 3):
        file = tmp_path / "log"
        file.write_text(log_of(lambda pid, time, rest, digits=digits: f"{pid} {unix(time * 1000, digits)} {rest}"))  # type: ignore[misc]
        result = import_strace(file)
        assert [kind for kind, *_ in told(result)] == [kind for kind, *_ in TOLD]
        assert result.program.facts().duration == (800_000 if digits == 3 else 0)


def test_without_times_the_order_is_kept_and_said(tmp_path: Path) -> None:
    """Each line is a microsecond later than the line before, and the report says so."""
    file = tmp_path / "log"
    file.write_text(log_of(lambda pid, _time, rest: f"{pid} {rest}"))
    result = import_strace(file)
    assert [kind for kind, *_ in told(result)] == [kind for kind, *_ in TOLD]
    assert result.program.facts().duration == 8
    assert result.report.clock is Clock.NONE
    assert "no times: one microsecond a line" in str(result.report)


def test_files_of_ff_are_one_log(tmp_path: Path) -> None:
    """A folder of files, one for each process, or what their names begin with, is one log; times are needed."""
    folder = tmp_path / "logs"
    folder.mkdir()
    for pid in (100, 101):
        lines = [f"{unix(time)} {rest}\n" for each, time, rest in STORY if each == pid]
        (folder / f"trace.{pid}").write_text("".join(lines))
    for name in (folder, folder / "trace"):
        assert told(import_strace(name)) == TOLD
    assert len(read(str(folder))[0]) == len(TOLD)
    (folder / "trace.101").write_text("close(3) = 0\n")
    with pytest.raises(ProgramError, match=r"has no times.*-ff -ttt"):
        import_strace(folder)
    for pid in (100, 101):
        lines = [
            f"{SHAPES['midnight'](each, time, rest).partition(' ')[2]}\n" for each, time, rest in STORY if each == pid
        ]
        (folder / f"trace.{pid}").write_text("".join(lines))
    assert told(import_strace(folder)) == TOLD


def test_a_summary_is_refused_or_passed_over(tmp_path: Path) -> None:
    """The summary of -C behind the calls is passed over, and one of -c alone is refused with the reason."""
    summary = "% time     seconds  usecs/call     calls    errors syscall\n 50.00    0.000010     5    2     read\n"
    file = tmp_path / "log"
    file.write_text(log_of(SHAPES["-ttt"]) + summary)
    assert told(import_strace(file)) == TOLD
    file.write_text(summary)
    with pytest.raises(ProgramError, match="summary of strace -c"):
        import_strace(file)


@pytest.fixture
def lines(tmp_path: Path) -> Callable[..., Imported]:
    """Import lines of "PID TIME REST", with times in microseconds."""

    def run(*given: str) -> Imported:
        file = tmp_path / "log"
        parts = (line.split(" ", 2) for line in given)
        file.write_text("".join(f"{pid} {unix(int(time))} {rest}\n" for pid, time, rest in parts))
        return import_strace(file)

    return run


def words(result: Imported) -> list[str]:
    """Return the operations in words."""
    return [f"{op.kind.name.lower()} {op.pipe} {op.end} {op.n}" for op in result.program]


def test_descriptors_travel_in_messages(lines: Callable[..., Imported]) -> None:
    """A descriptor that is sent over a socket keeps its end open until it is received, and is the receiver's afterwards."""
    result = lines(
        "1 0 pipe2([3, 4], 0) = 0",
        "1 1 sendmsg(5, {msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[4]}]}, 0) = 1",
        "1 2 close(4) = 0",
        "2 3 recvmsg(5, {msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[9]}]}, 0) = 1",
        '2 4 write(9, "abc", 3) = 3',
        "2 5 close(9) = 0",
        '1 6 read(3, "abc", 99) = 3',
        "1 7 close(3) = 0",
    )
    assert words(result) == ["create 0 0 0", "write 0 1 3", "close 0 1 0", "read 0 0 3", "close 0 0 0"]
    lost = lines(
        "1 0 pipe2([3, 4], 0) = 0",
        "2 3 recvmsg(5, {msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[9]}]}, 0) = 1",
    )
    assert lost.report.passed == 1
    assert not lost.report.sound


def test_descriptors_are_opened_by_name_and_taken_from_processes(lines: Callable[..., Imported]) -> None:
    """/proc/PID/fd and pidfd_getfd give descriptors of other processes; the end is that of the open's mode."""
    result = lines(
        "1 0 pipe2([3, 4], 0) = 0",
        '2 1 openat(AT_FDCWD, "/proc/1/fd/3", O_WRONLY) = 7',
        '2 2 write(7, "ab", 2) = 2',
        "2 3 pidfd_open(1, 0) = 8",
        "2 4 pidfd_getfd(8, 3, 0) = 9",
        '2 5 read(9, "ab", 9) = 2',
        '2 6 openat(AT_FDCWD, "/dev/fd/55", O_RDONLY) = 10',
    )
    assert words(result) == ["create 0 0 0", "write 0 1 2", "read 0 0 2"]
    assert result.report.reopened == 1
    assert not result.report.sound


def test_flags_that_are_printed_as_numbers_are_read(lines: Callable[..., Imported]) -> None:
    """With -X raw the flags of pipe2, dup3, fcntl and clone are numbers."""
    result = lines(
        "1 0 pipe2([3, 4], 0x80000) = 0",
        "1 1 fcntl(4, 0x406, 10) = 10",
        "1 2 fcntl(3, 0x2, 0) = 0",
        "1 3 dup3(4, 5, 0x80000) = 5",
        '1 4 execve("/bin/x", ["x"], 0x1) = 0',
        "1 5 close(3) = 0",
    )
    assert words(result) == ["create 0 0 0", "close 0 1 0", "close 0 0 0"]


def test_what_is_printed_of_a_descriptor_counts(lines: Callable[..., Imported]) -> None:
    """An inode says which pipe a number means, whatever was thought of the number; a path says that it is none."""
    result = lines(
        "1 0 pipe2([3<pipe:[7]>, 4<pipe:[7]>], 0) = 0",
        '9 1 write(1<pipe:[7]>, "abc", 3) = 3',
        "1 2 close(4<pipe:[7]>) = 0",
        '1 3 read(3</etc/passwd>, "root", 4) = 4',
        '9 4 write(1<pipe:[7]>, "abc", 3) = 3',
        '1 5 read(0<pipe:[7]>, "abcabc", 9) = 6',
        "9 6 +++ exited with 0 +++",
    )
    assert words(result) == ["create 0 0 0", "write 0 1 3", "write 0 1 3", "read 0 0 6", "close 0 1 0"]
    assert result.report.elsewhere == 1


def test_a_pipe_to_somebody_who_was_not_recorded_is_told_and_left_out(lines: Callable[..., Imported]) -> None:
    """Of a pipe that was inherited the program has both sides or nothing."""
    result = lines(
        '1 0 write(1<pipe:[7]>, "abc", 3) = 3',
        '1 1 write(2<pipe:[8]>, "abc", 3) = 3',
        '2 2 read(0<pipe:[8]>, "abc", 3) = 3',
    )
    assert words(result) == ["create 0 0 0", "write 0 1 3", "read 0 0 3", "close 0 1 0"][: len(words(result))]
    assert (result.report.inherited, result.report.outside) == (1, 1)


def test_a_child_of_a_pid_namespace_is_the_next_process(lines: Callable[..., Imported]) -> None:
    """A fork that returns another number than strace prints is that of the next process that nobody forked."""
    result = lines(
        "100 0 pipe([3, 4]) = 0",
        "100 1 clone(child_stack=NULL, flags=SIGCHLD) = 2",
        "100 2 close(4) = 0",
        '101 3 write(4, "x", 1) = 1',
        "101 4 +++ exited with 0 +++",
        '100 5 read(3, "x", 1) = 1',
    )
    assert words(result) == ["create 0 0 0", "write 0 1 1", "close 0 1 0", "read 0 0 1"]
    translated = lines("100 0 pipe([3, 4]) = 0", "100 1 fork() = 2 /* 101 in strace's PID NS */", "100 2 close(4) = 0")
    assert translated.program.facts().live_at_end == 1


@pytest.mark.parametrize(
    ("made", "blocking", "tried"),
    [
        (
            "pipe2([3, 4], O_NONBLOCK|O_CLOEXEC) = 0",
            "fcntl(4, F_SETFL, O_WRONLY) = 0",
            "fcntl(4, F_SETFL, O_WRONLY|O_NONBLOCK) = 0",
        ),
        ("pipe2([3, 4], 0x800) = 0", "fcntl(4, 0x4, 0x1) = 0", "fcntl(4, 0x4, 0x801) = 0"),
        (
            "pipe2([3<pipe:[9]>, 4<pipe:[9]>], O_NONBLOCK) = 0",
            "fcntl(4<pipe:[9]>, F_SETFL, O_WRONLY) = 0",
            "fcntl64(4<pipe:[9]>, F_SETFL, O_WRONLY|O_NONBLOCK) = 0",
        ),
    ],
    ids=["names", "numbers", "decorated"],
)
def test_writes_to_non_blocking_descriptors_are_tries(
    lines: Callable[..., Imported], made: str, blocking: str, tried: str
) -> None:
    """O_NONBLOCK is followed from pipe2 and fcntl, for each end, and a dup shares it."""
    calls = (f"1 0 {made}", '1 1 write(4, "x", 9) = 9', f"1 2 {blocking}", '1 3 write(4, "x", 8) = 8', "1 4 dup(4) = 6",
             f"1 5 {tried}", '1 6 write(6, "x", 7) = 7', '1 7 read(3, "x", 24) = 24')  # fmt: skip
    told = ["create 0 0 0", "try_write 0 1 9", "write 0 1 8", "try_write 0 1 7", "read 0 0 24"]
    assert words(lines(*calls)) == told


@pytest.mark.parametrize(
    ("call", "end"),
    [("fcntl(4, F_SETPIPE_SZ, 70000)", 1), ("fcntl(4, 0x407, 0x11170)", 1), ("fcntl64(3, F_SETPIPE_SZ, 70000)", 0)],
)
def test_a_change_of_size_is_an_operation_of_the_program(lines: Callable[..., Imported], call: str, end: int) -> None:
    """It has the size that was asked for; what failed changed nothing."""
    failed = "1 2 fcntl(3, F_SETPIPE_SZ, 9999999) = -1 EPERM (Operation not permitted)"
    result = lines("1 0 pipe([3, 4]) = 0", f"1 1 {call} = 131072", failed)
    assert words(result) == ["create 0 0 0", f"set_size 0 {end} 70000"]
    assert (result.report.resized, result.report.doubtful) == (1, 0)


def test_what_is_not_followed_is_counted_by_kind(lines: Callable[..., Imported]) -> None:
    """Named pipes, changes of size, io_uring and pipes whose descriptors are not printed are counted."""
    report = lines(
        '1 0 mknodat(AT_FDCWD, "f", S_IFIFO|0666) = 0',
        '1 1 openat(AT_FDCWD, "f", O_RDONLY) = 5',
        "1 2 pipe2([3, 4], 0) = 0",
        "1 3 fcntl(3, F_SETPIPE_SZ, 65536) = 65536",
        "1 4 io_uring_setup(8, {}) = 6",
        "1 5 pipe2(0x7ffd, 0) = 0",
    ).report
    assert (report.fifos, report.resized, report.uring, report.hidden) == (1, 1, 1, 1)
    text = str(report)
    assert all(word in text for word in ("named pipes", "pipe's size", "io_uring", "not printed"))
    assert report.as_dict()["doubtful"] == 1


SHORT = {
    "01": (1, 3, 3), "02": (1, 3, 3), "03": (1, 3, 3), "04": (1, 9, 9),
    "05": (1, 3, 3), "06": (1, 3, 3), "07": (1, 3, 3), "08": (1, 65536, 65536),
}  # fmt: skip


@pytest.mark.skipif(not CASES.exists(), reason="the recordings are not beside the project")
@pytest.mark.parametrize("number", SHORT)
def test_a_short_log_has_its_answer(number: str) -> None:
    """Each short log gives the pipes and bytes that are known of it."""
    result = import_strace(next(CASES.glob(f"{number}_*")))
    facts = result.program.facts()
    assert (facts.pipes, facts.bytes_written, facts.bytes_read) == SHORT[number]
    if number == "02":
        assert round(facts.duration / 1e6, 1) == 5.0
    if number == "05":
        assert result.report.inherited == 1
    if number == "06":
        assert ("close", 500, 1, 0) in told(result)


OTHERWISE = {
    "splice.y.strace.xz": (2, 2, 0, 11596, 8596),
    "unshare.doc.strace.xz": (5, 2, 0, 3908, 3908),
}
"""Where what the log shows is not what was written beside it.

The recorded program of the first counts 11,596 bytes itself; 2,000 of the 13,596 are vmspliced out of a pipe.  In the
second every process ends, and with them their pipes.
"""


@pytest.mark.skipif(not CASES.exists(), reason="the recordings are not beside the project")
def test_the_recordings_give_what_is_known_of_them() -> None:
    """Pipes, how many are alive, and bytes are those that were counted by inode numbers."""
    for name, truth in json.loads((CASES / "truth.json").read_text()).items():
        facts = import_strace(CASES / name).program.facts()
        got = (facts.pipes, facts.peak_live, facts.live_at_end, facts.bytes_written, facts.bytes_read)
        assert got == OTHERWISE.get(name, tuple(truth.values())), name


@pytest.mark.parametrize("seed", range(2000 if NIGHTLY else 100))
def test_no_damaged_log_ends_in_anything_but_a_result_or_one_line(seed: int, tmp_path: Path) -> None:
    """Whatever is cut out of a log, doubled, or put elsewhere in it, it gives a program, or one line that says why not."""
    draw = random.Random(seed)
    shapes = list(SHAPES.values())
    text = "".join(log_of(draw.choice(shapes)) for _ in range(3)) + "".join(f"100 {line}\n" for line in ODD)
    for _ in range(draw.randint(1, 12)):
        here, there = sorted((draw.randrange(len(text) + 1), draw.randrange(len(text) + 1)))
        there = min(there, here + draw.choice([1, 2, 8, 200]))
        to = draw.randrange(len(text) + 1)
        cut, doubled = text[:here] + text[there:], text[:to] + text[here:there] + text[to:]
        text = draw.choice([cut, doubled, text[:here] + draw.choice('<>[]()",=0x\n ') + text[there:]])
    file = tmp_path / "log"
    file.write_text(text)
    with contextlib.suppress(ProgramError):
        result = import_strace(file)
        assert result.report.lines == len(file.read_bytes().splitlines())


ODD = (
    "sendmsg(5, {msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[4, 3]}]}, 0) = 1",
    "recvmsg(5, {msg_control=[{cmsg_len=20, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=[9, 8]}]}, 0) = 1",
    'openat(AT_FDCWD, "/proc/self/fd/3", O_RDONLY) = 7<pipe:[7]>',
    "splice(3<pipe:[7]>, NULL, 6<pipe:[8]>, NULL, 100, 0 <unfinished ...>",
    "<... splice resumed>) = 100",
    "clone3({flags=CLONE_FILES|CLONE_PIDFD, pidfd=[5]}, 88) = 9",
    "close_range(3, 4294967295, CLOSE_RANGE_UNSHARE) = 0",
    "fork(strace: Process 77 attached",
    ") = 77",
)
