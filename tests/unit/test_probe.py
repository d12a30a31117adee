"""The probe: programs, the model's answers, differences, what is recorded; and 2,000 steps on the running kernel."""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from coalloc import ERAS, CoallocError, InvalidRequestError, ProgramError
from coalloc.experiments import probe_run
from coalloc.experiments.probe import (
    Answer,
    Asking,
    Difference,
    Machine,
    Step,
    compare,
    draw_program,
    model_answers,
    pattern,
    read_probes,
    shortest,
    state_of,
)
from coalloc.experiments.probe_kernel import Kernel, machine, serve
from coalloc.experiments.probe_run import Asked, as_c, compare_recorded, free_uid, probe_kernel
from coalloc.pipes.eras import LinuxState
from coalloc.pipes.states import STATES

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel that runs here is no Linux")
MACHINE = Machine("Linux 6.18.44", 4096, 1000, False, False, 1 << 20, 16_384, 0)
OLD = cast("LinuxState", STATES["linux-4.4"])


def test_a_program_suits_what_the_model_holds_and_depends_on_its_number_alone() -> None:
    """Most steps do something, every kind of step is drawn, and equal numbers give equal programs."""
    programs = [draw_program(MACHINE, seed) for seed in range(40)]
    assert programs == [draw_program(MACHINE, seed) for seed in range(40)]
    assert {step[0] for program in programs for step in program} == {
        "write", "read", "size", "tee", "splice", "file", "vmsplice", "packet", "close", "pipe", "more"
    }  # fmt: skip
    answers = [answer for program in programs for answer in model_answers(MACHINE, program)]
    assert sum(answer[0] > 0 for answer in answers) > len(answers) // 3
    assert {-1, -9, -11, -16, -22, -32} <= {answer[0] for answer in answers}
    root = attrs.evolve(MACHINE, uid=0, resource=True, admin=True)
    assert -12 in {answer[0] for seed in range(40) for answer in model_answers(root, draw_program(root, seed))}


def test_the_models_answers_are_results_checksums_and_what_is_told() -> None:
    """FIONREAD, the size and the events of both ends of both pipes; -1 for what is closed."""
    program = [("write", 0, 5), ("read", 0, 3), ("close", 0, 1), ("close", 0, 0), ("close", 0, 0), ("pipe", 0)]
    answers = model_answers(MACHINE, program)
    assert answers[0] == [5, 0, 5, 65536, 1, 4, 0, 65536, 0, 4]
    assert answers[1][:2] == [3, 0x2B4E9C0B] or answers[1][1] != 0
    assert answers[2][2:6] == [2, 65536, 1 | 16, -1]
    assert (answers[3][2:6], answers[4][0]) == ([-1, -1, -1, -1], -9)
    assert answers[5] == [0, 0, 0, 65536, 0, 4, 0, 65536, 0, 4]
    few = attrs.evolve(MACHINE, hard=20)
    assert model_answers(few, [("read", 1, 1)])[0] == [-9, 0, 0, 65536, 0, 4, -1, -1, -1, -1]
    assert pattern(250, 2) == b"\xfb\xfb"


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        ("Linux 7.3-rc1", "linux-7.2"),
        ("Linux 6.18", "linux"),
        ("Linux 6.17.2", "linux-6.12"),
        ("Linux 6.2.0-26-generic", "linux-6.1"),
        ("Linux 5.4.1", "linux-5.4"),
        ("Linux 2.6", "linux-4.4"),
        ("FreeBSD 9.3", "10.x"),
        ("FreeBSD 12.1-RELEASE", "10.x"),
        ("FreeBSD 14.1", "14.x"),
    ],
)
def test_a_kernel_is_compared_with_the_newest_state_that_is_no_newer(kernel: str, name: str) -> None:
    """The numbers of its version count, and nothing else."""
    assert state_of(kernel).name == name


@pytest.mark.parametrize("kernel", ["OpenBSD 7.8", "Linux", ""])
def test_another_kernel_has_no_model_here(kernel: str) -> None:
    """It does not have these calls."""
    with pytest.raises(ProgramError, match="there is no model of"):
        state_of(kernel)


def test_a_difference_is_made_short() -> None:
    """Only the steps that it needs are left, and the words say what differs."""

    def differs(program: list[Any]) -> Difference | None:
        return compare(program, model_answers(MACHINE, program), model_answers(MACHINE, program, OLD))

    program = [*draw_program(MACHINE, 1), ("size", 0, 2**32)]
    found = differs(program)
    assert found is not None
    least = shortest(found, differs)
    assert len(least.program) <= 4
    assert least.words
    assert differs(list(least.program)) == least
    assert compare(program, model_answers(MACHINE, program), model_answers(MACHINE, program)) is None
    one = Difference((("size", 1, 2**32),), [4096, 0, *[0] * 8], [-22, 0, *[0] * 8])
    assert one.words == [("result", 4096, -22)]


# --- the running kernel -------------------------------------------------------------------------------------------


@LINUX
def test_2000_steps_of_the_running_kernel_and_its_model_are_alike() -> None:
    """As oneself, and as an ordinary user if one is root; what is recorded is read again, and agrees, too."""
    for uid in (None, free_uid()) if os.geteuid() == 0 else (None,):
        told: list[int] = []
        record = io.StringIO()
        probed = probe_kernel(steps=2000, uid=uid, record=record, progress=told.append)
        assert (probed.differences, probed.n_differ, probed.interrupted) == ((), 0, False)
        assert (probed.steps, probed.programs, probed.disturbed) == (told[-1], len(told), 0)
        assert probed.steps >= 2000
        again = compare_recorded([line.encode() for line in record.getvalue().splitlines()])
        assert again == probed


@LINUX
def test_the_kernel_answers_in_this_process_as_in_another() -> None:
    """It makes its pipes anew for each program, and closes all that it opened."""
    here, kernel = machine(), Kernel()
    program = draw_program(here, 5)
    before = len(list(Path("/proc/self/fd").iterdir()))
    answers = kernel.run(program)
    assert answers == kernel.run(program)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    steps = [
        ("more", 3, 8192), ("close", 0, 0), ("close", 0, 0), ("size", 0, 1), ("pipe", 0), ("vmsplice", 0, 2, 5, 1, 1),
        ("close", 0, 0), ("close", 0, 1),
    ]  # fmt: skip
    assert [answer[0] for answer in kernel.run(steps)] == [6, 0, -9, 4096, 0, 10, 0, 0]
    lines: list[str] = []
    serve(kernel, [json.dumps(program)], lines.append)
    assert json.loads(lines[0]) == attrs.asdict(here)
    assert json.loads(lines[1])["answers"] == answers
    kernel.close()
    with Asked() as asked:
        assert asked.machine == here
        assert asked.run(program).answers == answers


@LINUX
def test_a_pipe_that_is_kept_is_resized_and_closed() -> None:
    """One descriptor of it stays open; a size that the kernel refuses is -1."""
    kernel, held = Kernel(), list[int]()
    fd = kernel._kept_pipe(held)
    assert (held, kernel._slots(fd)) == ([fd], 16)
    assert (kernel._resized(fd, 4096), kernel._slots(fd), kernel._resized(fd, 2**31 + 1)) == (1, 1, -1)
    kernel._close_kept(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    kernel.close()


class Counted(Kernel):
    """A kernel that counts the slots of a user itself, by Linux's rule; others come and go."""

    def __init__(self, charged: int, soft: int, others: Iterable[int] = ()) -> None:
        super().__init__()
        self.user, self.soft, self.others = charged, soft, iter(others)
        self.pipes: dict[int, int] = {}

    def _kept_pipe(self, held: list[int]) -> int:
        fd = max(self.pipes, default=0) + 1
        self.pipes[fd] = 16 if self.user + 16 <= self.soft else 2
        self.user += self.pipes[fd]
        held.append(fd)
        return fd

    def _close_kept(self, fd: int) -> None:
        self.user -= self.pipes.pop(fd)

    def _slots(self, fd: int) -> int:
        return self.pipes[fd]

    def _resized(self, fd: int, size: int) -> int:
        more = size // 4096 - self.pipes[fd]
        if more > 0 and self.user + more > self.soft:
            return -1
        self.pipes[fd] += more
        self.user += more
        return self.pipes[fd]

    def run(self, program: Iterable[Step]) -> list[Answer]:
        self.user += next(self.others, 0)
        return [[len(list(program))]]


@LINUX
@pytest.mark.parametrize("soft", [64, 65, 70, 300, 1024])
def test_what_other_pipes_are_charged_for_is_found_out(soft: int) -> None:
    """To the slot, as long as they do not exceed the limit themselves; nothing is kept."""
    asker = attrs.evolve(MACHINE, soft=soft, max_size=256 * 4096)
    for charged in range(soft + 1):
        kernel = Counted(charged, soft)
        found = kernel.charged(asker)
        assert found == charged or (charged >= soft - 4 and found >= soft), (charged, found)
        assert (kernel.user, kernel.pipes) == (charged, {})
        kernel.close()
    kernel = Counted(soft + 100, soft)
    assert kernel.charged(asker) > soft
    for exempt in (attrs.evolve(asker, soft=0), attrs.evolve(asker, admin=True), attrs.evolve(asker, resource=True)):
        assert kernel.charged(exempt) == 0
    kernel.close()


@LINUX
def test_a_program_is_asked_again_if_other_pipes_come_or_go() -> None:
    """Three times; then it is not compared."""
    asker = attrs.evolve(MACHINE, soft=1024)
    once, always = Counted(32, 1024, [16]), Counted(32, 1024, itertools.repeat(16))
    assert once.run_and_look([("read", 0, 1)], asker) == {"charged": 48, "answers": [[1]]}
    assert always.run_and_look([("read", 0, 1)], asker)["charged"] == -1
    once.close()
    always.close()
    line = json.dumps({"steps": [["write", 0, 5]], "answers": [ANSWER], "charged": -1}).encode()
    probed = compare_recorded([HEAD, line, b'{"programs": 1}'])
    assert (probed.programs, probed.disturbed, probed.n_differ, probed.complete) == (1, 1, 0, True)


_HOLDS = """
import os, sys
os.setuid(int(sys.argv[1]))
kept = [os.pipe() for _ in range(20)]
print(flush=True)
sys.stdin.read()
"""


@LINUX
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as another user")
def test_other_pipes_of_the_user_are_counted() -> None:
    """Twenty pipes of another process of the same user, and limits that are reached: no difference."""
    uid = free_uid()
    command = [sys.executable, "-c", _HOLDS, str(uid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with Asked(uid) as asked:
            program: list[Step] = [("more", 64, 1 << 20), ("more", 5, 4096), ("size", 0, 1 << 20)]
            told = asked.run(program)
            assert told.charged == 320
            here = attrs.evolve(asked.machine)
            assert told.answers == model_answers(here, program, charged=320)
            assert told.answers != model_answers(here, program)
        holder.communicate()


@LINUX
def test_a_model_of_another_version_is_told_apart() -> None:
    """Differences of several kinds are kept, each short, and counted."""
    probed = probe_kernel(steps=400, state=OLD)
    assert probed.state == "linux-4.4"
    assert probed.n_differ >= len(probed.differences) >= 1
    assert all(len(found.program) <= 30 for found in probed.differences)


@LINUX
def test_an_interrupt_keeps_what_was_found() -> None:
    """The programs so far count."""

    def interrupt(_steps: int) -> None:
        raise KeyboardInterrupt

    probed = probe_kernel(steps=100_000, progress=interrupt)
    assert (probed.programs, probed.interrupted) == (1, True)


def test_a_kernel_that_cannot_be_asked_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that ends, with its last words or its status; another system; steps that are none."""
    with pytest.raises(InvalidRequestError, match="steps=0"):
        probe_kernel(steps=0)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(CoallocError, match="cannot be asked: it ended with status 1"):
        Asked()
    monkeypatch.setattr(sys, "executable", shutil.which("ls"))
    with pytest.raises(CoallocError, match="the kernel cannot be asked: "):
        Asked()
    monkeypatch.setattr(sys, "platform", "freebsd14")
    with pytest.raises(CoallocError, match="is no Linux; --emit c"):
        Asked()


def test_a_user_without_processes_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The lowest number that nobody has."""

    def processes(_path: Path, _pattern: str) -> Iterator[Path]:
        yield tmp_path
        yield tmp_path / "gone"

    monkeypatch.setattr(Path, "glob", processes)
    assert free_uid() == 60_000
    monkeypatch.setattr(probe_run, "_UIDS", [tmp_path.stat().st_uid])
    with pytest.raises(CoallocError, match="has processes"):
        free_uid()


# --- as C, and as a file ------------------------------------------------------------------------------------------


@LINUX
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_probe_in_c_answers_the_same(tmp_path: Path) -> None:
    """It compiles without a warning, and the model agrees with what it prints."""
    (tmp_path / "probe.c").write_text(as_c(steps=1000, seed=3), encoding="utf-8")
    subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-O1", "-o", "probe", "probe.c"], cwd=tmp_path, check=True)
    done = subprocess.run(["./probe"], cwd=tmp_path, capture_output=True, check=True)
    probed = compare_recorded(done.stdout.splitlines())
    assert probed.steps >= 1000
    assert probed.n_differ == 0
    here, programs = read_probes(done.stdout.splitlines())
    assert here == machine()
    user = attrs.evolve(MACHINE, kernel="Linux 6.18")
    *asked, number = programs
    assert number == probed.programs == len(asked)
    assert [each.program for each in asked if isinstance(each, Asking)] == [
        draw_program(user, 3 * 10**9 + number) for number in range(probed.programs)
    ]
    assert probed.complete
    with Path("/dev/full").open("wb") as full:
        unsaid = subprocess.run(["./probe"], cwd=tmp_path, stdout=full, stderr=subprocess.DEVNULL, check=False)
    assert unsaid.returncode == 2
    with pytest.raises(InvalidRequestError, match="at most 1,000,000 in a C program"):
        as_c(steps=10**7)


def test_freebsds_answers_are_compared_without_events() -> None:
    """Calls that only Linux has are answered with ENOSYS; results, bytes and FIONREAD count."""
    here = attrs.evolve(MACHINE, kernel="FreeBSD 15.0", max_size=0, soft=0)
    program: list[Any] = [
        ("write", 0, 20000), ("read", 0, 100), ("size", 0, 4096), ("close", 0, 0), ("write", 0, 1), ("read", 0, 1), ("pipe", 0),
        ("read", 0, 5), ("close", 1, 1), ("read", 1, 5), ("close", 1, 0), ("close", 1, 0),
    ]  # fmt: skip
    answers = model_answers(here, program)
    assert [answer[0] for answer in answers] == [20000, 100, -38, 0, -32, -9, 0, -11, 0, 0, 0, -9]
    assert [answer[2] for answer in answers[:4]] == [20000, 19900, 19900, 0]
    assert answers[-1][6] == -1
    given = [[value + (at in (4, 9)) for at, value in enumerate(answer)] for answer in answers]
    lines = [json.dumps(attrs.asdict(here)).encode(), json.dumps({"steps": program, "answers": given}).encode()]
    probed = compare_recorded(lines)
    assert (probed.state, probed.programs, probed.n_differ) == ("current", 1, 0)
    given[0][0] = 16384
    lines[1] = json.dumps({"steps": program, "answers": given}).encode()
    assert compare_recorded(lines).n_differ == 1


HEAD = json.dumps(attrs.asdict(MACHINE)).encode()
ANSWER = [0] * 10


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{", "is no program of a probe"),
        (b"{}", "lacks 'steps'"),
        (b'{"steps": [], "answers": [[1]]}', "[1] is no answer of ten numbers"),
        (b'{"steps": [["fly", 0]], "answers": []}', "['fly', 0] is no step"),
        (b'{"steps": [["read", 0, "x"]], "answers": []}', "its arguments are no numbers"),
        (b'{"steps": [["read", 2, 5]], "answers": []}', "there is no such pipe or end"),
        (b'{"steps": [["close", 0, 2]], "answers": []}', "there is no such pipe or end"),
        (b'{"steps": [["more", 401, 5]], "answers": []}', "there is no such pipe or end"),
        (b'{"steps": [["write", 0, -5]], "answers": []}', "a number is out of range"),
        (b'{"steps": [["size", 0, 9223372036854775808]], "answers": []}', "a number is out of range"),
        (b'{"steps": [["write", 0, 1099511627776]], "answers": []}', "a number is out of range"),
        (b'{"steps": [["vmsplice", 0, 1025, 1, 0, 0]], "answers": []}', "a number is out of range"),
        (b'{"steps": [["read", 0, 5]], "answers": []}', "it has 0 answers to 1 steps"),
        (b'{"steps": [], "answers": [], "charged": "x"}', "charged is x"),
        (b'{"programs": 3}', "the last line tells 3 programs, the file has 0"),
        (b'{"steps": [7], "answers": []}', "7 is no step"),
    ],
)
def test_a_line_that_is_no_program_is_named(line: bytes, words: str) -> None:
    """With the file and the number of the line."""
    with pytest.raises(ProgramError, match=r"some\.jsonl, line 3: ") as caught:
        compare_recorded([b"", HEAD, line], "some.jsonl")
    assert words in str(caught.value)


def test_a_file_that_tells_no_machine_is_refused() -> None:
    """And so is an empty one; empty lines are passed over."""
    for lines in ([b"[]"], [b'{"kernel": "Linux 6.18"}'], [b"\xff"]):
        with pytest.raises(ProgramError, match="does not tell the machine"):
            compare_recorded(lines)
    with pytest.raises(ProgramError, match="has no line"):
        compare_recorded([b" "])
    with pytest.raises(ProgramError, match="has no program"):
        compare_recorded([HEAD])
    for field, value in (
        ("kernel", 5),
        ("page", 4095),
        ("page", True),
        ("uid", -1),
        ("admin", 1),
        ("soft", None),
        ("hard", 1 << 70),
    ):
        odd_head = json.dumps(attrs.asdict(MACHINE) | {field: value}).encode()
        with pytest.raises(ProgramError, match=f"line 1: tells a machine whose {field} is "):
            compare_recorded([odd_head], "some.jsonl")
    with pytest.raises(ProgramError, match=r"of Linux 6\.18\.44, 2006 is a state of FreeBSD"):
        compare_recorded([HEAD], state=ERAS["2006"])
    right = json.dumps({"steps": [["write", 0, 5]], "answers": model_answers(MACHINE, [("write", 0, 5)])}).encode()
    wrong = json.dumps({"steps": [["write", 0, 5]], "answers": [ANSWER]}).encode()
    probed = compare_recorded([HEAD, b"", right, *[wrong] * 3])
    assert (probed.programs, probed.n_differ, len(probed.differences)) == (4, 3, 1)
    true = model_answers(MACHINE, [("write", 0, 5)])[0]
    assert probed.is_of_its_age
    odd = [[value + (at == field) for at, value in enumerate(true)] for field in range(7)]
    lines = [json.dumps({"steps": [["write", 0, 5]], "answers": [answer]}).encode() for answer in odd]
    probed = compare_recorded([HEAD, *lines])
    assert (probed.n_differ, len(probed.differences)) == (7, 5)
