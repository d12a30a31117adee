"""``coalloc probe`` as a user types it, good and bad."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from coalloc.cli import probe as module
from coalloc.experiments.probe_run import Probed
from tests.unit.test_probe import ANSWER, HEAD, MACHINE


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel that runs here is no Linux")
def test_the_running_kernel_is_probed_and_recorded(coalloc: Any) -> None:
    """As oneself, and as another user if one is root; each in a file of its own, which can be read again."""
    result = coalloc("probe", "--steps", "300", "--record", "here.jsonl")
    assert (result.status, result.err.splitlines()[0]) == (0, "coalloc: wrote here.jsonl")
    assert result.out.count("no difference") == 1 + (os.geteuid() == 0)
    assert max(map(len, result.out.splitlines())) <= 80
    again = coalloc("probe", "--read", "here.jsonl")
    assert again.status == 0
    assert again.out.strip() == result.out.split("\n\n")[0].strip()
    if os.geteuid() == 0:
        assert Path("here-user.jsonl").exists()
        assert "with no capability" in result.out
    other = coalloc("probe", "--read", "here.jsonl", "--state", "linux-4.4", "--json")
    assert other.status == 1
    (data,) = json.loads(other.out)
    assert data["differ"] == sum(1 for _ in data["differences"]) or data["differ"] > 1
    shown = coalloc("probe", "--steps", "200", "--state", "linux-4.4")
    assert (shown.status, ": the kernel tells " in shown.out) == (1, True)


def test_an_interrupt_is_told(coalloc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done until then is printed."""
    monkeypatch.setattr(module, "probe_kernel", lambda **_: Probed(MACHINE, "linux", 1, 60, (), 0, interrupted=True))
    result = coalloc("probe")
    assert result.status == 130
    assert "1 program, 60 steps: no difference\nit was interrupted\n" in result.out
    assert result.out.count("Linux") == 1


def test_a_probe_in_c_is_written(coalloc: Any) -> None:
    """To standard output, or to a file."""
    printed = coalloc("probe", "--emit", "c", "--steps", "50")
    assert (printed.status, "int\nmain(void)" in printed.out) == (0, True)
    assert coalloc("probe", "--emit", "c", "--steps", "50", "-o", "probe.c").out == ""
    assert Path("probe.c").read_text(encoding="utf-8") == printed.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--steps", "0"), "--steps=0: must be at least 1"),
        (("--emit", "rust"), "--emit='rust': must be c"),
        (("--emit", "c", "--read", "x"), "--read='x': has no meaning with --emit"),
        (("--emit", "c", "--json"), "--json='True': has no meaning with --emit"),
        (("--emit", "c", "--state", "linux-4.4"), "--state='linux-4.4': has no meaning with --emit"),
        (("--emit", "c", "--steps", "10000000"), "steps=10000000: must be at least 1, and at most 1,000,000"),
        (("--read", "x", "--steps", "5"), "--steps='5': has no meaning with --read"),
        (("--read", "x", "-o", "y"), "-o='y': has no meaning with --read"),
        (("-o", "x"), "-o='x': has no meaning without --emit"),
        (("--read", "x", "--record", "y"), "--record='y': has no meaning with --read"),
        (("--read", "nowhere"), "--read='nowhere': there is no such file"),
        (("--read", "."), "--read='.': is a folder"),
        (("--read", "bad.jsonl"), "cannot be read: bad.jsonl, line 1: does not tell the machine"),
        (("--state", "openbsd"), "is no state of Linux; there are linux, linux-4.4"),
        (("--state", "2006"), "--state='2006': is for --read: a FreeBSD kernel does not run here"),
    ],
)
def test_bad_usage_is_one_line(coalloc: Any, arguments: tuple[str, ...], words: str) -> None:
    """Each error is one line with status 2."""
    Path("bad.jsonl").write_text("[]", encoding="utf-8")
    result = coalloc("probe", *arguments)
    assert (result.status, result.out) == (2, "")
    assert words in result.err
    assert result.err.count("\n") == 1


def test_differences_are_shown_step_by_step(coalloc: Any) -> None:
    """The steps, and what each of the two tells."""
    line = json.dumps({"steps": [["write", 0, 5]], "answers": [ANSWER]})
    Path("odd.jsonl").write_bytes(HEAD + b"\n" + line.encode())
    result = coalloc("probe", "--read", "odd.jsonl")
    assert result.status == 1
    assert "1 program, 1 step: 1 program with a difference\nthe file has no last line: " in result.out
    assert "\n\n    write 0 5\n  result: the kernel tells 0, the model 5\n" in result.out
    old = HEAD.replace(b"6.18.44", b"3.10.0") + b"\n" + line.encode() + b"\n" + line.encode() + b'\n{"programs": 2}\n'
    Path("old.jsonl").write_bytes(old)
    result = coalloc("probe", "--read", "old.jsonl")
    assert "no model is as old as this kernel: linux-4.4 is the oldest\n" in result.out
    assert "2 programs, 2 steps: 2 programs with a difference\n1 of them is shown, each of another kind\n" in result.out
    Path("moved.jsonl").write_bytes(HEAD + b"\n" + line.encode()[:-1] + b', "charged": -1}\n{"programs": 1}\n')
    result = coalloc("probe", "--read", "moved.jsonl")
    assert (result.status, "1 program not compared: the user's other pipes" in result.out) == (0, True)
