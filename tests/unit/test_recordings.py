"""Recordings of perf, bpftrace, DTrace, truss and kdump: all of one story, and the shapes of each tool's lines."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from coalloc.errors import ProgramError
from coalloc.workload.call_log import CallLog
from coalloc.workload.formats import read
from coalloc.workload.program import PipeProgram
from coalloc.workload.strace import ImportReport

FOLDER: Final = Path(__file__).parent / "recordings"
ONE_PIPE: Final = [(0, 0, 0, 0), (1, 0, 1, 6), (3, 0, 1, 0), (2, 0, 0, 6), (3, 0, 0, 0)]
"""``echo hello | cat``: kind, pipe, end, bytes."""


def imported(text: str, folder: Path) -> tuple[list[tuple[int, int, int, int]], ImportReport]:
    """Read a recording, and return its operations without their times."""
    file = folder / "recording"
    file.write_text(text, encoding="utf-8")
    program, report = read(file)
    assert isinstance(program, PipeProgram)
    assert isinstance(report, ImportReport)
    return [(kind, pipe, end, n) for _, kind, pipe, end, n in program.rows()], report


@pytest.mark.parametrize(
    ("name", "format_name", "derived"),
    [
        ("perf.txt", "perf", 1),
        ("bpftrace.calls", "calls", 0),
        ("dtrace.calls", "calls", 0),
        ("truss.txt", "truss", 1),
        ("kdump.txt", "kdump", 1),
    ],
)
def test_each_tool_tells_the_same_story(name: str, format_name: str, derived: int) -> None:
    """One pipe, six bytes written and read, both ends closed; every line is understood."""
    from coalloc.workload.formats import FORMATS

    first = (FOLDER / name).read_bytes().split(b"\n", 1)[0]
    assert next(known.name for known in FORMATS.values() if known.recognises(first)) == format_name
    program, report = read(FOLDER / name)
    assert isinstance(program, PipeProgram)
    assert isinstance(report, ImportReport)
    assert sorted((kind, pipe, end, n) for _, kind, pipe, end, n in program.rows()) == sorted(ONE_PIPE)
    assert (report.unknown, report.truncated, report.doubtful, report.orphans) == (0, 0, 0, 0)
    assert report.derived == derived
    assert report.lines == len((FOLDER / name).read_text().splitlines())


# --- perf ----------------------------------------------------------------------------------------


def perf(*events: str) -> str:
    """Return lines of perf trace, a millisecond after one another."""
    return "".join(f"{number:10}.000 ( 0.010 ms): a/{event}\n" for number, event in enumerate(events))


def truss(*events: str) -> str:
    """Return lines of truss -f -d, a millisecond after one another."""
    return "".join(f"    7: 0.{number:03}000000 {event}\n" for number, event in enumerate(events))


def test_perf_leaves_out_arguments_that_are_zero(tmp_path: Path) -> None:
    """A descriptor that is not printed is 0, and so is the command of an fcntl."""
    text = perf(
        "7 pipe2(fildes: 0x7ffe)  = 0",
        "7 dup2(oldfd: 3)  = 0",
        "7 close(fd: 3)  = 0",
        "7 write(fd: 4, buf: 0x5, count: 9)  = 9",
        "7 read(buf: 0x5, count: 9)  = 9",
        "7 fcntl(fd: 4, arg: 10)  = 10",
        "7 close(fd: 4)  = 0",
        "7 fcntl(fd: 10, cmd: GETFL)  = RDONLY|LARGEFILE",
        "7 exit_group()  = ?",
    )
    operations, report = imported(text, tmp_path)
    assert operations == [(0, 0, 0, 0), (1, 0, 1, 9), (2, 0, 0, 9), (3, 0, 0, 0), (3, 0, 1, 0)]
    assert (report.unknown, report.elsewhere, report.ignored) == (0, 0, 1)


def test_a_duration_of_perf_may_be_negative(tmp_path: Path) -> None:
    """It is printed as a number near 2**64 ns; the call then takes no time."""
    text = (
        "     1.000 ( 0.010 ms): a/7 pipe2(fildes: 0x7ffe)  = 0\n"
        "     2.000 (18446744073708.812 ms): a/7 write(fd: 4, buf: 0x5, count: 9)  = 9\n"
        "     3.000 ( 0.010 ms): a/7 read(fd: 3, buf: 0x5, count: 9)  = 9\n"
    )
    operations, report = imported(text, tmp_path)
    assert (operations, report.unknown) == ([(0, 0, 0, 0), (1, 0, 1, 9), (2, 0, 0, 9)], 0)


def test_perf_prints_close_on_exec_as_zero(tmp_path: Path) -> None:
    """An argument that is 0 is left out, so one that is printed as 0 is FD_CLOEXEC; newer versions print its name."""
    for argument, closed in (("", []), (", arg: 0", [(3, 0, 0, 0)]), (", arg: CLOEXEC", [(3, 0, 0, 0)])):
        text = perf(
            "7 pipe2(fildes: 0x7ffe)  = 0", f"7 fcntl(fd: 3, cmd: SETFD{argument})  = 0", "7 execve(filename: 0x5)  = 0"
        )
        assert imported(text, tmp_path)[0] == [(0, 0, 0, 0), *closed]


def test_a_contradicted_pipe_is_told_with_its_line(tmp_path: Path) -> None:
    """An open gets the number that was derived for a pipe: the open's line is listed, and the log is not sound."""
    _, report = imported(perf("7 pipe2(fildes: 0x7ffe)  = 0", "7 open(filename: 0x5)  = 4"), tmp_path)
    assert (report.misderived, report.sound) == (1, False)
    assert report.problems == ((2, "this openat got a number that should be that of a pipe"),)


def test_perf_prints_a_long_call_in_two_lines(tmp_path: Path) -> None:
    """The second line has the time at which the call began, and how long it took."""
    text = (
        "     0.000 ( 0.010 ms): a/7 pipe2(fildes: 0x7ffe, flags: CLOEXEC)  = 0\n"
        "     1.000 (         ): a/7 clone(clone_flags: CHILD_SETTID|0x11)  ...\n"
        "         ? (         ): a/8  ... [continued]: clone())  = 0\n"
        "     1.000 ( 0.200 ms): a/7  ... [continued]: clone())  = 8 (a)\n"
        "     2.000 (         ): a/7 read(fd: 3, buf: 0x5, count: 9)  ...\n"
        "     3.000 ( 0.010 ms): a/8 write(fd: 4, buf: 0x5, count: 9)  = 9\n"
        "     2.000 ( 1.500 ms): a/7  ... [continued]: read())  = 9\n"
        "     9.000 (         ): a/7 read(fd: 3, buf: 0x5, count: 9)  ...\n"
        "     9.500 (         ): a/8  ... [continued]: write())  = 9\n"
        "LOST 3 events!\n"
        "what is this\n"
        "     9.600 ( 0.000 ms): a/8 what is this\n"
    )
    operations, report = imported(text, tmp_path)
    assert operations[:3] == [(0, 0, 0, 0), (1, 0, 1, 9), (2, 0, 0, 9)]
    assert (report.truncated, report.lost, report.unknown, report.orphans) == (2, 3, 2, 0)
    assert [number for number, _ in report.problems] == [9, 11, 12, 12]
    assert not report.sound


def test_a_thread_shares_its_descriptors_and_what_execs_is_none(tmp_path: Path) -> None:
    """clone3's flags are not printed: a child that never execs is a thread, and its close counts for all."""
    text = perf(
        "7 clone3(uargs: 0x7f)  = 8 (a)",
        "8 pipe2(fildes: 0x7ffe)  = 0",
        "7 write(fd: 4, buf: 0x5, count: 9)  = 9",
        "7 clone3(uargs: 0x7f)  = 9 (a)",
        "9 execve(filename: 0x5)  = 0",
        "8 close(fd: 3)  = 0",
        "8 close(fd: 4)  = 0",
        "9 close(fd: 3)  = 0",
        "9 exit(error_code: 1)  = ?",
    )
    operations, report = imported(text, tmp_path)
    assert operations == [(0, 0, 0, 0), (1, 0, 1, 9), (3, 0, 0, 0), (3, 0, 1, 0)]
    assert report.elsewhere == 0


def test_every_call_of_perf_is_taken(tmp_path: Path) -> None:
    """Splices, close_range, dup3, sendfile, tee and socketpair; opens with names, as newer versions print them."""
    text = perf(
        "7 openat(dfd: CWD, filename: 0x5, flags: RDONLY)  = 3",
        '7 openat(dfd: CWD, filename: "/etc/passwd", flags: WRONLY|CREAT)  = 4',
        "7 socketpair(family: UNIX, type: STREAM, usockvec: 0x7f)  = 0",
        "7 socket(family: UNIX, type: STREAM|CLOEXEC)  = 7",
        "7 pipe2(fildes: 0x7ffe)  = 0",  # 8, 9
        "7 pipe2(fildes: 0x7ffe)  = 0",  # 10, 11
        "7 write(fd: 9, buf: 0x5, count: 9)  = 9",
        "7 tee(fdin: 8, fdout: 11, len: 9)  = 9",
        "7 splice(fd_in: 8, fd_out: 11, len: 9)  = 9",
        "7 sendfile(out_fd: 11, in_fd: 3, count: 5)  = 5",
        "7 dup3(oldfd: 11, newfd: 20, flags: CLOEXEC)  = 20",
        "7 execve(filename: 0x5)  = 0",
        "7 close_range(fd: 8, max_fd: 9)  = 0",
        "7 write(fd: 20, buf: 0x5, count: 9)  = 9",
        "7 madvise(start: 0x7f)  = 0",
    )
    operations, report = imported(text, tmp_path)
    assert operations == [
        *[(0, 0, 0, 0), (0, 1, 0, 0), (1, 0, 1, 9), (1, 1, 1, 9), (2, 0, 0, 9), (1, 1, 1, 9), (1, 1, 1, 5)],
        *[(3, 0, 0, 0), (3, 0, 1, 0)],
    ]
    assert (report.nameless, report.derived, report.elsewhere, report.ignored) == (1, 2, 1, 2)


# --- the lines of the scripts --------------------------------------------------------------------


def test_a_descriptor_that_names_its_pipe_is_the_truth(tmp_path: Path) -> None:
    """A pipe that is first seen alive was inherited, and what came in a message is known by its number."""
    operations, report = imported(
        "Attaching 9 probes...\n\ncoalloc calls 1\n# a note\n"
        "10 20 0 7 write 1@55 6\n"
        "30 40 1 9 read 0@55 6\n"
        "50 60 1 9 open 5@55 0\n"
        "70 80 1 9 close 5@55\n"
        "90 91 1 9 open 6 1\n"
        "92 93 1 9 read 6@0 12\n",
        tmp_path,
    )
    assert operations == [(0, 0, 0, 0), (1, 0, 1, 6), (2, 0, 0, 6)]
    assert (report.inherited, report.unknown, report.elsewhere) == (1, 0, 1)


def test_a_descriptor_that_was_opened_by_its_name_holds_its_end(tmp_path: Path) -> None:
    """The end is open until that descriptor is closed, or by exec where it is marked."""
    head = "coalloc calls 1\n1000 1000 0 7 pipe 3@5 4@5 0\n2000 2000 0 7 write 4@5 6\n"
    opened = "3000 3000 0 7 open 9@5 {}\n4000 4000 0 7 read 9@5 6\n5000 5000 0 7 close 3@5\n6000 6000 0 7 exec\n"
    end = "7000 7000 0 7 close 9@5\n"
    for marked, closed_at in ((0, 6), (1, 5)):
        file = tmp_path / "recording"
        file.write_text(head + opened.format(marked) + end, encoding="utf-8")
        program, _ = read(file)
        assert isinstance(program, PipeProgram)
        assert [time for time, kind, _, end, _ in program.rows() if (kind, end) == (3, 0)] == [closed_at]


def test_every_call_of_the_format_is_taken(tmp_path: Path) -> None:
    """All fifteen, of a process that execs: what is marked is closed by it."""
    operations, report = imported(
        "coalloc calls 1\n"
        "1000 1000 0 7 pipe 3@5 4@5 0\n"
        "2000 2000 0 7 pipe 5@6 6@6 1\n"
        "3000 3000 0 7 cloexec 3@5 1\n"
        "4000 4000 0 7 dup 3@5 9 0\n"
        "5000 5000 0 7 write 4@5 8\n"
        "6000 6000 0 7 tee 3@5 6@6 8\n"
        "7000 7000 0 7 splice 3@5 6@6 8\n"
        "8000 8000 0 7 resize 4@5 65536\n"
        "8100 8100 0 7 nonblock 4@5 1\n"
        "8200 8200 0 7 write 4@5 3\n"
        "8300 8300 0 7 nonblock 4@5 0\n"
        "8400 8400 0 7 write 4@5 4\n"
        "9000 9000 0 7 fork 8 0\n"
        "10000 10000 0 8 close_range 3 100 0\n"
        "11000 11000 0 8 exit\n"
        "12000 12000 0 7 exec\n"
        "13000 13000 0 7 close 9@5\n"
        "14000 14000 0 7 close_range 4 4 1\n"
        "15000 15000 0 7 exec\n"
        "16000 16000 0 7 exit\n",
        tmp_path,
    )
    assert operations == [
        *[(0, 0, 0, 0), (0, 1, 0, 0), (1, 0, 1, 8), (1, 1, 1, 8), (2, 0, 0, 8), (1, 1, 1, 8), (4, 0, 1, 65536)],
        *[(5, 0, 1, 3), (1, 0, 1, 4)],
        *[(3, 1, 0, 0), (3, 1, 1, 0), (3, 0, 0, 0), (3, 0, 1, 0)],
    ]
    assert (report.unknown, report.doubtful) == (0, 0)


@pytest.mark.parametrize(
    "text",
    [
        "coalloc calls 1\n1 3 0 7 pipe 3 4 0\n1 4 0 7 nonblock 3 1\n1 5 0 7 nonblock 4 1\n9 9 0 7 write 4 6\n",
        perf("7 pipe2(fildes: 0x7ffe, flags: CLOEXEC|NONBLOCK)  = 0", "7 write(fd: 4, buf: 0x5, count: 6)  = 6"),
        perf(
            "7 pipe2(fildes: 0x7ffe)  = 0",
            "7 fcntl(fd: 4, cmd: SETFL, arg: RDONLY|NONBLOCK)  = 0",
            "7 write(fd: 4, buf: 0x5, count: 6)  = 6",
        ),
        truss("pipe2(0x7ff,O_NONBLOCK)\t = 0 (0x0)", 'write(4,"a",6)\t = 6 (0x6)'),
        truss(
            "pipe2(0x7ff,0)\t = 0 (0x0)",
            "fcntl(4,F_SETFL,O_RDONLY|O_NONBLOCK)\t = 0 (0x0)",
            'write(4,"a",6)\t = 6 (0x6)',
        ),
    ],
    ids=["calls", "perf pipe2", "perf fcntl", "truss pipe2", "truss fcntl"],
)
def test_every_tool_tells_of_non_blocking_descriptors(text: str, tmp_path: Path) -> None:
    """A write to such a descriptor is a try."""
    operations, report = imported(text, tmp_path)
    assert operations == [(0, 0, 0, 0), (5, 0, 1, 6)]
    assert (report.unknown, report.truncated, report.doubtful) == (0, 0, 0)


@pytest.mark.parametrize(
    "text",
    [
        perf(
            "7 pipe2(fildes: 0x7ffe)  = 0",
            "7 ioctl(fd: 4<pipe:[9]>, cmd: FIONBIO, arg: 0x7ffe)  = 0",
            "7 ioctl(fd: 4, cmd: TCGETS, arg: 0x7ffe)  = -1 ENOTTY (Inappropriate ioctl for device)",
            "7 write(fd: 4, buf: 0x5, count: 6)  = 6",
        ),
        truss("pipe2(0x7ff,0)\t = 0 (0x0)", "ioctl(4,FIONBIO,0x7fff)\t = 0 (0x0)", 'write(4,"a",6)\t = 6 (0x6)'),
        "7 1.0 pipe([3, 4]) = 0\n7 1.1 ioctl(4, FIONBIO, 0x7ffe) = 0\n7 1.2 write(4, 0x7ffe, 6) = 6\n",
    ],
    ids=["perf", "truss", "strace without values"],
)
def test_a_change_whose_value_is_not_recorded_is_counted(text: str, tmp_path: Path) -> None:
    """FIONBIO has its value behind a pointer: where that is not printed, the end is taken for non-blocking."""
    operations, report = imported(text, tmp_path)
    assert operations == [(0, 0, 0, 0), (5, 0, 1, 6)]
    assert report.toggled == 1
    assert "1 calls of FIONBIO without their value" in str(report)


def test_lines_may_come_in_any_order_and_go_by_their_times(tmp_path: Path) -> None:
    """A write takes effect when it begins and a read when it ends; the lines are printed when calls end."""
    operations, _ = imported(
        "coalloc calls 1\n1000 2000 0 7 pipe 3 4 0\n2500 2600 0 7 fork 8 0\n5000 9000 0 8 read 3 6\n6000 9500 1 7 write 4 6\n",
        tmp_path,
    )
    assert operations[:3] == [(0, 0, 0, 0), (1, 0, 1, 6), (2, 0, 0, 6)]


def test_pipes_of_freebsd_go_two_ways(tmp_path: Path) -> None:
    """With two-way in the first line either end is written and read; without it such a write is not placed."""
    lines = "1 1 0 7 pipe 3 4 0\n2 2 0 7 write 3 6\n3 3 0 7 read 4 6\n"
    operations, report = imported("coalloc calls 1 two-way\n" + lines, tmp_path)
    assert operations == [(0, 0, 0, 0), (1, 0, 0, 6), (2, 0, 1, 6)]
    assert report.doubtful == 0
    assert imported("coalloc calls 1\n" + lines, tmp_path)[1].unplaced == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("coalloc calls 2\n1 1 0 7 exec\n", "the first line must be"),
        ("Attaching 3 probes...\n", "the first line must be"),
        ("coalloc calls 1\nnothing\n", "has no line of coalloc calls"),
        ("coalloc calls 1\nnothing\n1 1 0 7 read 3\n1 1 0 7 read 3 4 5\n1 1 0 7 exec\n", "3 lines"),
    ],
)
def test_what_is_no_recording_is_refused_or_counted(text: str, words: str, tmp_path: Path) -> None:
    """Another version is refused, and a bad line counted with its number."""
    if words == "3 lines":
        operations, report = imported(text, tmp_path)
        assert (operations, report.unknown) == ([], 3)
        assert [number for number, _ in report.problems] == [2, 3, 4]
        return
    with pytest.raises(ProgramError, match=words):
        imported(text, tmp_path)


def test_lost_events_are_doubtful(tmp_path: Path) -> None:
    """Bpftrace says how many events it lost; the program is then not sound."""
    _, report = imported("coalloc calls 1\n1 1 0 7 pipe 3@5 4@5 0\nLost 7 events\n", tmp_path)
    assert (report.lost, report.sound) == (7, False)
    assert "7 events that the recorder lost" in str(report)


# --- FreeBSD -------------------------------------------------------------------------------------


def test_truss_without_pids_and_times(tmp_path: Path) -> None:
    """The first process alone, each line a microsecond later; pipe(2) of old programs prints its descriptors."""
    text = (
        "pipe({ 5, 6 })\t\t = 0 (0x0)\n"
        'write(6,"a, b\\"",5)\t = 5 (0x5)\n'
        "fcntl(5,F_DUP2FD_CLOEXEC,0x9)\t = 9 (0x9)\n"
        "fcntl(5,F_DUPFD,0xa)\t = 10 (0xa)\n"
        'read(9,"a, b\\"",5)\t = 5 (0x5)\n'
        "fcntl(10,F_SETFD,FD_CLOEXEC)\t = 0 (0x0)\n"
        'execve("/bin/cat",0x0,0x0)\t EJUSTRETURN\n'
        "closefrom(6)\t = 0 (0x0)\n"
        "kqueue()\t = 6 (0x6)\n"
        'openat(AT_FDCWD,"/dev/fd/5",O_RDONLY,00)\t = 7 (0x7)\n'
        "close_range(5,7,0)\t = 0 (0x0)\n"
        "getpid()\t = 12 (0xc)\n"
        "poll({ 3/POLLIN },1,0) ERR#4 'Interrupted system call'\n"
        "what is this\n"
    )
    operations, report = imported(text, tmp_path)
    assert operations == [(0, 0, 0, 0), (1, 0, 1, 5), (2, 0, 0, 5), (3, 0, 1, 0), (3, 0, 0, 0)]
    assert (report.unknown, report.derived, report.doubtful) == (1, 0, 0)


def test_an_exec_that_truss_prints_closes_what_is_marked(tmp_path: Path) -> None:
    """It has no result, but says EJUSTRETURN; one that failed has an error and closes nothing."""
    made = "    7: 0.001000000 pipe2(0x7ff,O_CLOEXEC)\t = 0 (0x0)\n"
    execs = '    7: 0.002000000 execve("/bin/cat",0x0,0x0)\t '
    assert len(imported(f"{made}{execs}EJUSTRETURN\n", tmp_path)[0]) == 3
    assert len(imported(f"{made}{execs}ERR#2 'No such file or directory'\n", tmp_path)[0]) == 1


@pytest.mark.parametrize(
    ("arguments", "shared"), [("RFPROC|RFTHREAD", True), ("RFPROC|RFFDG", False), ("0x14", False), ("0x10", True)]
)
def test_rfork_shares_descriptors_unless_it_copies_them(arguments: str, shared: bool, tmp_path: Path) -> None:
    """Without RFFDG and RFCFDG the child's close closes the parent's, too."""
    text = (
        "    7: 0.001000000 pipe2(0x7ff,O_CLOEXEC)\t = 0 (0x0)\n"
        f"    7: 0.002000000 rfork({arguments})\t = 8 (0x8)\n"
        "    8: 0.003000000 close(4)\t = 0 (0x0)\n"
        "    7: 0.004000000 pipe2(0x7ff,0)\t = 0 (0x0)\n"
        '    7: 0.005000000 write(4,"a",1)\t = 1 (0x1)\n'
    )
    operations, _ = imported(text, tmp_path)
    assert ((3, 0, 1, 0) in operations) == shared


def test_kdump_with_threads_and_without_times(tmp_path: Path) -> None:
    """-H prints the thread behind the process, and each thread has a call of its own; a name is looked up in between."""
    text = (
        "   7    101 cat      CALL  pipe2(0x7ff,0x100000<O_CLOEXEC>)\n"
        "   7    101 cat      RET   pipe2 0\n"
        "   7    101 cat      CALL  read(0x3,0x7ff,0x10)\n"
        "   7    102 cat      CALL  openat(AT_FDCWD,0x8,0<O_RDONLY>)\n"
        '   7    102 cat      NAMI  "/dev/fd/3"\n'
        "   7    102 cat      RET   openat 5\n"
        "   7    102 cat      CALL  write(0x4,0x7ff,0x10)\n"
        "   7    102 cat      RET   write 16/0x10\n"
        "   7    101 cat      RET   read 16/0x10\n"
        "   7    101 cat      RET   close 0\n"
        "   7    101 cat      CALL  accept(0x9,0,0)\n"
        "   7    101 cat      RET   accept RESTART\n"
        "   7    101 cat      CALL  nosys()()\n"
        "   7    101 cat      RET   what is this\n"
        "nothing at all\n"
        "   7    101 cat      CALL  close(0x3)\n"
    )
    operations, report = imported(text, tmp_path)
    assert operations == [(0, 0, 0, 0), (1, 0, 1, 16), (2, 0, 0, 16)]
    assert (report.unknown, report.truncated, report.derived) == (2, 3, 1)


# --- what all have in common ---------------------------------------------------------------------


def test_a_file_of_which_most_is_foreign_is_refused_before_its_end(tmp_path: Path) -> None:
    """Ten thousand lines that are not understood are enough, and progress is told until then."""
    told: list[int] = []
    file = tmp_path / "recording"
    file.write_text("coalloc calls 1\n" + "x\n" * 50_000, encoding="utf-8")
    with pytest.raises(ProgramError, match="is no log of coalloc calls: most lines are not understood"):
        read(file, progress=told.append)
    assert told == [10_000]


def test_a_file_without_one_right_line_is_refused() -> None:
    """A log of which no line is understood is none."""
    log = CallLog("truss", "a.txt")
    for _ in log.lines(iter([b"x", b"y"])):
        log.misread()
    with pytest.raises(ProgramError, match=r"a\.txt: has no line of truss"):
        log.finish()
