"""The strace importer: small logs whose outcome is known, and the real one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coalloc import ProgramError, bundled_build
from coalloc.workload.strace import Imported, import_strace

Importer = Callable[..., Imported]
RECORDING = Path(__file__).parents[3] / "shared" / "data" / "strace" / "hello_build.strace.xz"


@pytest.fixture
def imported(tmp_path: Path) -> Importer:
    """Import lines written as 'PID TIME REST', with TIME in microseconds."""

    def run(*lines: str) -> Imported:
        text = []
        for line in lines:
            pid, time, rest = line.split(" ", 2)
            text.append(f"{pid} {1700000000 + int(time) // 10**6}.{int(time) % 10**6:06d} {rest}\n")
        file = tmp_path / "log"
        file.write_text("".join(text))
        return import_strace(file)

    return run


def story(result: Imported) -> list[str]:
    """Return the operations in words, without times."""
    return [
        " ".join(map(str, (op.kind.name.lower(), op.pipe, *([op.end] if op.kind else []), *([op.n] if op.n else []))))
        for op in result.program
    ]


@pytest.mark.skipif(not RECORDING.exists(), reason="the recording is not beside the project")
def test_the_real_recording_comes_out_as_it_is_known_to_be() -> None:
    """The recording has 2,149 pipes, at most 6 live, and 1,294,578 bytes, and is the bundled program."""
    seen: list[int] = []
    result = import_strace(RECORDING, progress=seen.append)
    facts = result.program.facts()
    assert (facts.pipes, facts.peak_live, facts.live_at_end, facts.bytes_written) == (2149, 6, 0, 1294578)
    assert (result.report.unknown, result.report.truncated, result.report.orphans) == (0, 0, 0)
    assert result.report.lines == 178138
    assert len(seen) == 18
    assert result.program == bundled_build()


def test_a_pipe_between_parent_and_child(imported: Importer) -> None:
    """An end closes with its last descriptor, and a write comes before the read that got its data."""
    result = imported(
        "1 0 pipe2([3, 4], O_CLOEXEC) = 0",
        "1 10 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD) = 2",
        "1 20 close(4) = 0",
        "1 30 read(3,  <unfinished ...>",
        '2 40 write(4, "abc"..., 100 <unfinished ...>',
        '1 50 <... read resumed>"abc"..., 4096) = 100',
        "2 60 <... write resumed>) = 100",
        "2 70 exit_group(0) = ?",
        "2 80 +++ exited with 0 +++",
        '1 90 read(3, "", 4096) = 0',
        "1 95 --- SIGCHLD {si_signo=SIGCHLD} ---",
        "1 99 +++ exited with 0 +++",
    )
    assert story(result) == ["create 0", "write 0 1 100", "read 0 0 100", "close 0 1", "close 0 0"]
    assert [op.time for op in result.program] == [0, 40, 50, 80, 99]
    assert result.report.ignored == 1


@pytest.mark.parametrize(
    "fork",
    [
        ["1 10 fork() = 2"],
        ["1 10 vfork( <unfinished ...>", "1 25 <... vfork resumed>) = 2"],
        [
            "1 10 clone3({flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD} <unfinished ...>",
            "1 25 <... clone3 resumed> => {parent_tid=[0]}, 88) = 2",
        ],
    ],
    ids=["fork", "vfork", "clone3"],
)  # fmt: skip
def test_a_child_may_run_before_its_parents_fork_returns(imported: Importer, fork: list[str]) -> None:
    """A child that runs before its parent's fork returns has the parent's descriptors."""
    result = imported(
        "1 0 pipe([3, 4]) = 0",
        fork[0],
        '2 20 write(4, "x", 1) = 1',
        *fork[1:],
        "1 30 close(4) = 0",
        "2 40 close(4) = 0",
    )
    assert story(result) == ["create 0", "write 0 1 1", "close 0 1"]
    assert result.program.facts().live_at_end == 1
    assert result.report.orphans == 0


def test_a_shared_table_is_one_table(imported: Importer) -> None:
    """With CLONE_FILES a close in one thread closes for all, until execve leaves the shared table."""
    shared = "1 10 clone(child_stack=0x7f, flags=CLONE_VM|CLONE_FILES|CLONE_THREAD) = 2"
    result = imported(
        "1 0 pipe([3, 4]) = 0", shared, "2 20 close(4) = 0", "2 30 +++ exited with 0 +++", "1 40 +++ exited with 0 +++"
    )
    assert story(result) == ["create 0", "close 0 1", "close 0 0"]
    assert result.program.facts().duration == 40
    result = imported(
        "1 0 pipe2([3, 4], O_CLOEXEC) = 0", shared, '2 20 execve("/bin/x", ["x"], 0x7f /* 1 var */) = 0',
        '1 30 write(4, "x", 1) = 1', "1 40 +++ exited with 0 +++",
    )  # fmt: skip
    assert story(result) == ["create 0", "write 0 1 1", "close 0 0", "close 0 1"]


def test_execve_by_a_thread_takes_over_its_leaders_number(imported: Importer) -> None:
    """An execve by a thread is resumed under its leader's number."""
    result = imported(
        "1 0 pipe2([3, 4], 0) = 0",
        "1 10 clone(child_stack=0x7f, flags=CLONE_VM|CLONE_FILES|CLONE_THREAD) = 2",
        "1 15 pipe2([5, 6], O_CLOEXEC) = 0",
        '2 20 execve("/bin/x", ["x"], 0x7f /* 1 var */ <unfinished ...>',
        "1 25 +++ superseded by execve in pid 2 +++",
        "1 30 <... execve resumed>) = 0",
        '1 40 write(4, "x", 1) = 1',
        "1 50 +++ exited with 0 +++",
    )
    assert story(result) == ["create 0", "create 1", "close 1 0", "close 1 1", "write 0 1 1", "close 0 0", "close 0 1"]
    assert result.report.truncated == 0


def test_duplicates_keep_an_end_open(imported: Importer) -> None:
    """Each way to duplicate a descriptor keeps the end open until the last copy is closed or replaced."""
    result = imported(
        "1 0 pipe([3, 4]) = 0",
        "1 1 dup(4) = 5",
        "1 2 dup2(4, 1) = 1",
        "1 3 dup2(1, 1) = 1",
        "1 4 dup3(4, 6, O_CLOEXEC) = 6",
        "1 5 fcntl(4, F_DUPFD, 10) = 10",
        "1 6 fcntl(4, F_DUPFD_CLOEXEC, 11) = 11",
        "1 7 fcntl(10, F_SETFD, FD_CLOEXEC) = 0",
        "1 8 fcntl(11, F_SETFD, 0) = 0",
        "1 9 fcntl(5, F_GETFL) = 0x1 (flags O_WRONLY)",
        "1 10 close(4) = 0",
        '1 11 execve("/bin/x", ["x"], 0x7f /* 1 var */) = 0',
        "1 12 dup2(0, 5) = 5",
        "1 13 close(1) = 0",
        '1 14 write(11, "x", 1) = 1',
        "1 15 dup2(7, 11) = 11",
        "1 16 dup2(9, 12) = -1 EBADF (Bad file descriptor)",
    )
    assert story(result) == ["create 0", "write 0 1 1", "close 0 1"]
    assert result.program.facts().duration == 15


def test_close_range_and_its_flags(imported: Importer) -> None:
    """close_range closes a range, marks it close-on-exec, or first leaves a shared table."""
    result = imported(
        "1 0 pipe([3, 4]) = 0",
        "1 1 pipe([5, 6]) = 0",
        "1 2 close_range(4, 5, 0) = 0",
        "1 3 close_range(3, 4294967295, CLOSE_RANGE_CLOEXEC) = 0",
        '1 4 write(6, "x", 1) = -1 EPIPE (Broken pipe)',
        "1 5 close_range(9, 8, 0) = -1 EINVAL (Invalid argument)",
        '1 6 execve("/bin/x", ["x"], 0x7f /* 1 var */) = 0',
    )
    assert story(result) == ["create 0", "create 1", "close 0 1", "close 1 0", "close 0 0", "close 1 1"]
    result = imported(
        "1 0 pipe([3, 4]) = 0",
        "1 1 clone(child_stack=0x7f, flags=CLONE_FILES) = 2",
        "2 2 close_range(3, ~0U, CLOSE_RANGE_UNSHARE) = 0",
        '1 3 write(4, "x", 1) = 1',
    )
    assert story(result) == ["create 0", "write 0 1 1"]


def test_bytes_moved_by_splice_and_its_kin(imported: Importer) -> None:
    """Bytes that splice and its kin move are writes and reads, and are also counted apart."""
    result = imported(
        "1 0 pipe([3, 4]) = 0",
        "1 1 pipe([5, 6]) = 0",
        "1 2 splice(9, NULL, 4, NULL, 4096, 0) = 50",
        "1 3 tee(3, 6, 4096, 0) = 20",
        "1 4 splice(3, NULL, 9, NULL, 4096, 0) = 50",
        "1 5 sendfile(6, 9, NULL, 100) = 30",
        "1 6 vmsplice(4, [{iov_base=0x7f, iov_len=7}], 1, 0) = 7",
        "1 7 vmsplice(3, [{iov_base=0x7f, iov_len=7}], 1, 0) = 7",
        '1 8 writev(4, [{iov_base="a", iov_len=1}, {iov_base="b", iov_len=1}], 2) = 2',
        '1 9 readv(3, [{iov_base="ab", iov_len=9}], 1) = 2',
    )
    assert story(result)[2:] == [
        "write 0 1 50", "write 1 1 20", "read 0 0 50", "write 1 1 30", "write 0 1 7", "read 0 0 7", "write 0 1 2", "read 0 0 2",
    ]  # fmt: skip
    assert result.report.spliced == 50 + 20 + 30 + 7


def test_a_killed_process_closes_what_it_held_and_its_number_may_be_used_again(imported: Importer) -> None:
    """A killed process closes its ends, and its number may be used again, even if its end is not logged."""
    result = imported(
        "1 0 pipe([3, 4]) = 0",
        "1 1 fork() = 2",
        "1 2 close(4) = 0",
        '2 3 write(4, "x", 1 <unfinished ...>',
        "2 4 +++ killed by SIGKILL +++",
        "1 5 fork() = 2",
        '2 6 read(3, "", 1) = 0',
        "1 7 close(3) = 0",
        "1 8 fork() = 2",
    )
    assert story(result) == ["create 0", "close 0 1", "close 0 0"]
    assert result.report.truncated == 1


def test_what_is_not_understood_is_counted_and_passed_over(imported: Importer, tmp_path: Path) -> None:
    """A line that is not understood is counted and skipped; a file without any log line is refused."""
    result = imported(
        "1 0 pipe([3, 4]) = 0",
        '1 1 openat(AT_FDCWD, "x", O_RDONLY) = 5',
        '1 2 read(3, "abc',
        "1 3 <... read resumed>) = 3",
        "9 4 close(3) = 0",
        "1 5 read(3, 0x7f, 1) = ? ERESTARTSYS (To be restarted)",
        "1 6 close(3 <unfinished ...>",
        "1 7 pipe2(0x7f, O_EXCL) = -1 EINVAL (Invalid argument)",
        "1 8 close(AT_FDCWD) = -1 EBADF (Bad file descriptor)",
    )
    report = result.report
    assert (report.lines, report.ignored, report.truncated, report.orphans, report.unknown) == (9, 0, 3, 1, 0)
    assert story(result) == ["create 0"]
    assert "3 truncated" in str(report)
    file = tmp_path / "other"
    file.write_text("this is\nno log\n")
    with pytest.raises(ProgramError, match="nor an strace log"):
        import_strace(file)
    file.write_text("strace: Process 7 attached\nhello\n7 1700000000.000001 pipe([3, 4]) = 0\n")
    assert (import_strace(file).report.unknown, import_strace(file).report.ignored) == (1, 1)


def test_numbers_are_those_at_the_beginning_of_a_split_call(imported: Importer) -> None:
    """A split call means the descriptor that its number had when the call began."""
    result = imported(
        "1 0 pipe2([3, 4], 0) = 0",
        "1 1 clone(child_stack=0x1, flags=CLONE_VM|CLONE_FILES|CLONE_THREAD) = 2",
        "1 2 close(3 <unfinished ...>",
        "2 3 pipe2([3, 5], 0) = 0",
        "1 4 <... close resumed>) = 0",
        '2 5 write(5, "x", 1) = 1',
        "1 6 read(3 <unfinished ...>",
        "2 7 dup2(4, 3) = 3",
        '1 8 <... read resumed>, "x", 1) = 1',
    )
    assert story(result) == ["create 0", "close 0 0", "create 1", "write 1 1 1", "read 1 0 1", "close 1 0"]
    result = imported(
        "1 0 pipe2([3, 4], 0) = 0",
        "1 1 clone(child_stack=0x1, flags=CLONE_VM|CLONE_FILES|CLONE_THREAD) = 2",
        "1 2 read(3, <unfinished ...>",
        '2 3 write(4, "x", 1) = 1',
        "2 4 pipe2([5, 6], 0) = 0",
        '1 5 <... read resumed>"x", 1) = 1',
    )
    assert story(result) == ["create 0", "write 0 1 1", "create 1", "read 0 0 1"]


def test_forks_that_strace_saw_only_half_of(imported: Importer) -> None:
    """A number that is used again within a split clone, or a clone that never returned, loses no descriptors."""
    result = imported(
        "1 0 fork() = 2",
        "1 1 pipe([3, 4]) = 0",
        "1 2 clone(flags=SIGCHLD <unfinished ...>",
        "2 3 +++ exited with 0 +++",
        "1 4 <... clone resumed>) = 2",
        '2 5 write(4, "x", 1) = 1',
    )
    assert story(result) == ["create 0", "write 0 1 1"]
    result = imported(
        "1 1 pipe([3, 4]) = 0",
        "1 2 fork( <unfinished ...>",
        "1 3 +++ killed by SIGKILL +++",
        '2 5 write(4, "x", 1) = 1',
        "2 6 +++ exited with 0 +++",
    )
    assert story(result) == ["create 0", "write 0 1 1", "close 0 0", "close 0 1"]
    assert result.report.orphans == 0


@pytest.mark.parametrize(
    "line",
    [
        "close_range(3) = 0",
        "close_range(3<pipe:[1]>, 4294967295, 0) = 0",
        'write(4, "", 9) = 007',
        'write(4, "", 9) = 99999999999999999999',
        "close(" + "9" * 5000 + ") = 0",
        "fcntl(4, F_DUPFD_QUERY, 5) = 1",
        "close(\udcff) = 0",
    ],
)
def test_no_line_is_fatal(tmp_path: Path, line: str) -> None:
    """No line makes the import fail, whatever it holds."""
    file = tmp_path / "log"
    text = (
        f"1 1700000000.000001 pipe([3, 4]) = 0\n1 1700000000.000002 {line}\n1 1700000000.000003 +++ exited with 0 +++\n"
    )
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert import_strace(file).program.facts().live_at_end == 0
    file.write_text(f"1 {'9' * 5000}.000001 pipe([3, 4]) = 0\n1 1700000000.000002 pipe([3, 4]) = 0\n")
    assert import_strace(file).report.unknown == 1


def test_a_log_from_the_terminal_names_the_first_process_late(tmp_path: Path) -> None:
    """The lines of the first process are joined, though it has a number only while there are others."""
    file = tmp_path / "log"
    file.write_text(
        "1700000000.000001 pipe([3, 4]) = 0\n"
        "1700000000.000002 fork( <unfinished ...>\n"
        "strace: Process 101 attached\n"
        "[pid   101] 1700000000.000003 close(4) = 0\n"
        "[pid   100] 1700000000.000004 <... fork resumed>) = 101\n"
        '[pid   100] 1700000000.000005 write(4, "abc", 3) = 3\n'
        "[pid   100] 1700000000.000006 close(4) = 0\n"
        "[pid   100] 1700000000.000007 +++ exited with 0 +++\n"
        '1700000000.000008 read(3, "abc", 9) = 3\n'
        "1700000000.000009 +++ exited with 0 +++\n"
    )
    result = import_strace(file)
    assert story(result) == ["create 0", "write 0 1 3", "close 0 1", "read 0 0 3", "close 0 0"]
    assert (result.report.orphans, result.report.truncated) == (0, 0)


def test_other_forms_of_lines(tmp_path: Path) -> None:
    """The importer reads '[pid N]', lines without a number, and descriptors that -y decorates."""
    file = tmp_path / "log"
    file.write_text(
        "1700000000.000001 pipe([3<pipe:[77]>, 4<pipe:[77]>]) = 0\n"
        "1700000000.000002 close(3<pipe:[77]>)   = 0\n"
        "1700000000.000003 +++ exited with 0 +++\n"
    )
    assert story(import_strace(file)) == ["create 0", "close 0 0", "close 0 1"]
    file.write_text(
        "[pid  10] 1700000000.000001 pipe([3, 4]) = 0\n[pid  10] 1700000000.000002 fork() = 11\n"
        "[pid  11] 1700000000.000003 close(4) = 0\n[pid  10] 1700000000.000001 close(4) = 0\n"
    )
    result = import_strace(file, title="mine")
    assert story(result) == ["create 0", "close 0 1"]
    assert result.program.title == "mine"
    assert [op.time for op in result.program] == [0, 2]
