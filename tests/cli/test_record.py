"""Recording: the command does what it would do alone, and what its pipes did is in the recording."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coalloc.workload.bpftrace_script import bpftrace_script
from coalloc.workload.dtrace_script import dtrace_script
from coalloc.workload.recorders import RECORDERS
from coalloc.workload.strace_story import FOLLOWED
from tests import may_record, may_trace

needs_strace = pytest.mark.skipif(not may_trace(), reason="strace is not installed, or may not trace")

PIPELINE = """
import os
reading, writing = os.pipe()
if not os.fork():
    os.write(writing, b"x" * 70000)
    os._exit(0)
os.close(writing)
read = 0
while got := os.read(reading, 65536):
    read += len(got)
os.wait()
print(read)
os._exit(7)
"""
WAITS = """
import os, signal
done = []
signal.signal(signal.{0}, lambda *_: done.append(1))
os.kill({1}, signal.{0})
while not done:
    pass
os._exit(5)
"""
TRACED = """
import os
while "TracerPid:\\t0\\n" in open("/proc/self/status").read():
    pass
reading, writing = os.pipe()
os.write(writing, b"abc")
os.read(reading, 3)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@needs_strace
def test_a_command_is_recorded_and_keeps_its_output_and_its_status(coalloc: Any, here: Path) -> None:
    """Standard output is the command's; the summary has what its pipes did, and the recording can be compared at once."""
    result = coalloc("record", "-o", "a.strace", "--", sys.executable, "-c", PIPELINE)
    assert (result.status, result.out) == (7, "70000\n")
    wrote, log, following = result.err.splitlines()
    assert wrote.startswith("coalloc: wrote a.strace: ")
    assert "1 pipes, at most 1 alive, 0 at the end; 70,000 bytes written" in wrote
    assert "0 not understood, 0 truncated" in log
    assert following == "coalloc: next: coalloc compare a.strace"
    assert "70,000 bytes written" in coalloc("compare", "a.strace").out
    assert (here / "a.strace").exists()


@needs_strace
def test_the_summary_is_plain_data_too(coalloc: Any, here: Path) -> None:
    """With --json it has the figures of the program and the account of the log; the name comes from the command."""
    told = json.loads(coalloc("record", "--json", "true").out)
    assert (told["recording"], told["status"], told["trace"]["pipes"]) == ("true.strace", 0, 0)
    assert told["log"]["sound"] is True
    again = coalloc("record", "true")
    assert again.status == 2
    assert "is there already" in again.err
    assert (here / "true.strace").exists()


@needs_strace
@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signals_go_to_the_command(coalloc: Any, name: str) -> None:
    """The command decides what a signal does, and its status is passed on."""
    code = WAITS.format(name, os.getpid())
    assert coalloc("record", "-o", "s.strace", "--", sys.executable, "-c", code).status == 5


@needs_strace
@pytest.mark.usefixtures("here")
def test_a_command_that_a_signal_ends_has_the_status_that_shells_give(coalloc: Any) -> None:
    """The status is 128 and the number of the signal."""
    result = coalloc("record", "-o", "k.strace", "--", sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    assert result.status == 128 + 9


@needs_strace
@pytest.mark.usefixtures("here")
def test_a_running_process_is_recorded_until_it_ends(coalloc: Any) -> None:
    """What it does once it is traced is in the recording."""
    with subprocess.Popen([sys.executable, "-c", TRACED]) as process:
        result = coalloc("record", "-o", "p.strace", "--pid", str(process.pid))
    assert result.status == 0
    assert "1 pipes, at most 1 alive, 0 at the end; 3 bytes written" in result.err


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["record"], 2, "give either a command or --pid"),
        (["record", "--pid", "1", "true"], 2, "give either a command or --pid"),
        (["record", "no-such-command"], 2, "there is no such command"),
        (["record", "--pid", "99999999"], 2, "there is no such process"),
        (["record", "--with", "magic", "true"], 2, "is no recorder; there are strace"),
    ],
)
def test_what_cannot_be_recorded_is_one_line(coalloc: Any, arguments: list[str], status: int, words: str) -> None:
    """Nothing is run, and the line says why."""
    result = coalloc(*arguments)
    assert (result.status, result.out) == (status, "")
    assert words in result.err
    assert result.err.count("\n") == 1


def test_a_recorder_that_is_not_there_is_named_with_its_package(
    coalloc: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line says what to install."""
    monkeypatch.setattr("shutil.which", lambda name: None if name == "strace" else name)
    result = coalloc("record", "true")
    assert (result.status, list(here.iterdir())) == (1, [])
    assert "strace is not installed; on Debian: apt install strace" in result.err


def test_a_recorder_that_records_nothing_leaves_no_file(
    coalloc: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recorder may not be allowed to record; its own words and its status are shown."""
    bin_folder = here / "bin"
    bin_folder.mkdir()
    (bin_folder / "strace").write_text("#!/bin/sh\necho not permitted >&2\nexit 1\n")
    (bin_folder / "strace").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_folder), prepend=os.pathsep)
    result = coalloc("record", "-o", "n.strace", "true")
    assert result.status == 1
    assert result.err.splitlines() == [
        "not permitted", "coalloc: error: strace ended with status 1, and recorded nothing",
    ]  # fmt: skip
    assert not (here / "n.strace").exists()


def test_exactly_the_calls_that_are_followed_are_recorded() -> None:
    """No call that the importer follows is missing from a recording."""
    arguments = RECORDERS["strace"].arguments("f", ["make", "-j2"], [])
    calls = next(argument for argument in arguments if argument.startswith("trace=")).removeprefix("trace=").split(",")
    assert {call.removeprefix("?") for call in calls} >= FOLLOWED
    assert arguments[-3:] == ["--", "make", "-j2"]
    assert RECORDERS["strace"].arguments("f", [], [7, 8])[-4:] == ["-p", "7", "-p", "8"]


# --- other tools ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["bpftrace", "perf"])
def test_other_tools_keep_output_and_status_too(tool: str, coalloc: Any, here: Path) -> None:
    """The recording is read at once, and is named by the command and the tool."""
    if not may_record(tool):
        pytest.skip(f"{tool} is not installed, or may not record")
    result = coalloc("record", "--with", tool, "--", sys.executable, "-c", PIPELINE)
    assert result.status == 7
    assert result.out.strip() == "70000"
    assert "1 pipes, at most 1 alive, 0 at the end; 70,000 bytes written" in result.err
    assert (here / f"{Path(sys.executable).name}.{tool}").exists()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("tool", ["bpftrace", "perf"])
def test_a_signal_reaches_the_command_of_other_tools(tool: str, coalloc: Any) -> None:
    """The command decides what the signal does; the recorder and the shell in between do not end by it."""
    if not may_record(tool):
        pytest.skip(f"{tool} is not installed, or may not record")
    code = WAITS.format("SIGTERM", "int(sys.argv[1])").replace("import os, signal", "import os, signal, sys")
    assert coalloc("record", "--with", tool, "--", sys.executable, "-c", code, str(os.getpid())).status == 5


FAKE = """#!/bin/sh
# Stands for a recorder: it writes a recording, runs what is behind -c or --, and has a status of its own.
while [ $# -gt 0 ]; do
    case "$1" in
        -o) printf "coalloc calls 1\\n1 1 0 7 pipe 3 4 0\\n" > "$2"; shift 2 ;;
        -c) sh -c "$2"; exit 0 ;;
        --) shift; "$@"; exit 0 ;;
        *) shift ;;
    esac
done
exit 9
"""


@pytest.mark.parametrize("tool", ["bpftrace", "perf"])
def test_the_status_is_the_commands_whatever_the_recorder_says(
    tool: str, coalloc: Any, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recorder that does not pass the status on runs the command through a shell that notes it."""
    (here / "bin").mkdir()
    fake = here / "bin" / tool
    fake.write_text(FAKE, encoding="utf-8")
    fake.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", f"{here / 'bin'}:{os.environ['PATH']}")
    result = coalloc("record", "--with", tool, "-o", "out", "--", "sh", "-c", "exit 6")
    assert result.status == 6
    assert "wrote out: 1 pipes" in result.err
    assert coalloc("record", "--with", tool, "-o", "out", "--pid", str(os.getpid())).status == 9


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("bpftrace", ["// Run as root: bpftrace", "-c 'make -j2'", "sys_enter_pipe2", 'printf("coalloc calls 1\\n")']),
        (
            "dtrace",
            ["/* Run as root on FreeBSD: dtrace", "-c 'make -j2'", "syscall::pipe2:entry", "coalloc calls 1 two-way"],
        ),
        ("ktrace", ["ktrace -i -t cn -f ktrace.out make -j2", "kdump -T -s -f ktrace.out > recording.kdump"]),
        ("truss", ["truss -f -d -s 8 -o recording.truss make -j2"]),
    ],
)
def test_what_to_run_elsewhere_is_printed(tool: str, words: list[str], coalloc: Any, here: Path) -> None:
    """Nothing is run and nothing is written."""
    result = coalloc("record", "--print", tool, "--", "make", "-j2")
    assert (result.status, result.err) == (0, "")
    for word in words:
        assert word in result.out
    assert not list(here.iterdir())
    assert "COMMAND" in coalloc("record", "--print", tool).out


def test_a_script_for_a_newer_machine_has_no_old_calls() -> None:
    """Machines such as aarch64 never had pipe, dup2, open, fork and vfork, and bpftrace refuses what is not there."""
    new, old = bpftrace_script(machine="aarch64"), bpftrace_script([7, 8], machine="x86_64")
    for name in ("pipe", "dup2", "open", "fork", "vfork"):
        assert re.search(rf"sys_(?:enter|exit)_{name} ", new) is None
        assert re.search(rf"sys_(?:enter|exit)_{name} ", old) is not None
    assert "@in[cpid] = 1;" in new
    assert "@in[7] = 1; @in[8] = 1;" in old
    assert new.count("{") == new.count("}")
    assert dtrace_script().count("{") == dtrace_script().count("}")


def test_only_root_may_use_bpftrace(coalloc: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said before anything runs, in a line."""
    (here / "bpftrace").write_text(FAKE, encoding="utf-8")
    (here / "bpftrace").chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}:{os.environ['PATH']}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = coalloc("record", "--with", "bpftrace", "-o", "out", "true")
    assert (result.status, result.err) == (1, "coalloc: error: bpftrace may be used by root alone\n")
    assert not (here / "out").exists()


def test_both_lines_of_fcntl_come_before_it_is_forgotten() -> None:
    """The clauses of DTrace run in the order of the script: what is noted is cleared behind the last that prints."""
    script = dtrace_script()
    assert script.index("cloexec %d") < script.index("self->b >= 17") < script.rindex("self->begun = 0")
    assert script.count("syscall::fcntl:entry") == 1


def test_what_is_noted_of_a_thread_is_deleted_when_it_ends() -> None:
    """A map of bpftrace has 4,096 places, and what does not fit is lost without a word."""
    script = bpftrace_script()
    exits = script[script.index("sched_process_exit") : script.index("END")]
    noted = set(re.findall(r"@(\w+)\[tid\] = ", script))
    assert noted == {"begun", "first", "second", "flags", "address", "here", "there"}
    for name in noted:
        assert f"delete(@{name}[tid]);" in exits
    assert "delete(@in[pid]);" in exits


def test_an_unknown_tool_is_refused(coalloc: Any) -> None:
    """The names that there are are told."""
    assert "there are strace, bpftrace, perf" in coalloc("record", "--with", "gdb", "true").err
    assert "must be one of bpftrace, dtrace, ktrace, truss" in coalloc("record", "--print", "gdb").err
