"""``coalloc diff``: two allocators, or one and a kernel's answers, as a user types it, good and bad."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_vectors import IMPORTS, SPANS


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)


def test_two_that_differ_are_shown_side_by_side(coalloc: Any) -> None:
    """Both answers, both pictures and a program, which shows the same with --program; the status is 1."""
    result = coalloc("diff", "first-fit", "coalescing")
    assert (result.status, result.err) == (1, "")
    lines = result.out.splitlines()
    assert lines[:2] == ["A: first-fit", "B: coalescing"]
    assert "they differ: alloc 1 4096" in lines
    assert "  A: 0x0" in lines
    assert "  B: 0x2000" in lines
    assert result.out.count("% busy") == 2
    assert max(map(len, lines)) <= 80
    program = "".join(f"{line[4:]}\n" for line in lines[lines.index("    coalloc check-program 1") :])
    Path("one.check").write_text(program, encoding="utf-8")
    again = coalloc("diff", "first-fit", "coalescing", "--program", "one.check")
    assert again.status == 1
    assert again.out.splitlines()[2] == "1 program, 2 operations"
    assert again.out.splitlines()[4:] == lines[4:]
    data = json.loads(coalloc("diff", "first-fit", "coalescing", "--program", "one.check", "--json").out)
    assert (data["alike"], data["difference"]["answers"]) == (False, ["0x0", "0x2000"])
    assert data["difference"]["program"] == program


def test_two_that_answer_alike_end_with_status_0(coalloc: Any) -> None:
    """What was not asked, or not run since time was up, is said."""
    result = coalloc("diff", "per-pipe", "per-pipe", "--programs", "20", "--jobs", "1")
    assert (result.status, result.out.splitlines()[-1]) == (0, "they answer alike")
    less = coalloc("diff", "vmem", "vmem", "--programs", "2000", "--seconds", "0.001", "--jobs", "1")
    assert "not all programs were run: time was up (--seconds)" in less.out
    Path("few.py").write_text(
        "from coalloc import PerPipeSpace\nclass Few(PerPipeSpace):\n    reclaim = None\n"
        "class Dies(PerPipeSpace):\n    def free(self, base):\n        raise SystemExit\n"
        "class Hangs(PerPipeSpace):\n    def free(self, base):\n        while True: pass\n"
        "class Greedy(PerPipeSpace):\n    def free(self, base):\n        self._arenas.source.unmap(5, 7)\n",
        encoding="utf-8",
    )
    data = json.loads(coalloc("diff", "few.py:Few", "per-pipe", "--programs", "10", "--json").out)
    assert (data["alike"], data["not_asked"]) == (True, ["reclaim (few.py:Few has none)"])
    ignored = coalloc(
        "diff", "few.py:Few", "few.py:Few", "--ignore", "order", "--ignore", "addresses", "--programs", "5"
    )
    assert ignored.status == 0
    hung = coalloc("diff", "per-pipe", "few.py:Hangs", "--timeout", "2", "--programs", "4")
    assert hung.status == 1
    assert "  A: it returns\n  B: after free " in hung.out
    dead = coalloc("diff", "few.py:Dies", "per-pipe", "--timeout", "2", "--programs", "4")
    assert "it raised SystemExit\n  B: it returns\n" in dead.out


def test_vectors_are_compared(coalloc: Any) -> None:
    """A file of vectors: what agrees, what does not, and why a program was not run."""
    wrong = SPANS | {"steps": [[["alloc", 0, 4096], "ENOMEM"]]}
    text = "".join(json.dumps(each) + "\n" for each in (SPANS, IMPORTS, *[wrong] * 6))
    Path("some.jsonl").write_text(text, encoding="utf-8")
    result = coalloc("diff", "--vectors", "some.jsonl", "vmem")
    assert result.status == 1
    assert result.out.splitlines()[:2] == ["vmem, 8 programs of some.jsonl", "agree: 2; do not: 6; 14 steps run"]
    assert "program 3 (M_FIRSTFIT, 1 span), step 1: alloc 0 4096\n  answer of the kernel: ENOMEM\n" in result.out
    assert result.out.endswith("\nand 1 more, which --json shows\n")
    data = json.loads(coalloc("diff", "--vectors", "some.jsonl", "vmem", "--json").out)
    assert (data["agree"], len(data["disagreements"]), data["disagreements"][0]["here"]) == (2, 6, "0x10000")
    other = coalloc("diff", "--vectors", "some.jsonl", "per-pipe")
    assert (other.status, "8 programs not run: it takes no strategy" in other.out) == (2, True)
    assert other.err.endswith("none of its programs was run: it takes no strategy\n")
    Path("bad.jsonl").write_text("{", encoding="utf-8")
    bad = coalloc("diff", "--vectors", "bad.jsonl", "vmem")
    assert (bad.status, "cannot be read: bad.jsonl, line 1: is no JSON" in bad.err) == (2, True)
    Path("more.jsonl").write_text(json.dumps(SPANS | {"segmets": []}), encoding="utf-8")
    assert "not read in the file: segmets" in coalloc("diff", "--vectors", "more.jsonl", "vmem").out
    Path("some.jsonl").write_text(json.dumps(SPANS), encoding="utf-8")
    assert coalloc("diff", "--vectors", "some.jsonl", "vmem").status == 0
    Path("few.py").write_text(
        "from coalloc import VmemSpace\nclass Quiet(VmemSpace):\n    stats = None\n"
        "def dies(source, *, kva_limit, strategy, quantum):\n    raise SystemExit\n",
        encoding="utf-8",
    )
    assert "not compared: sizes (it has no stats)" in coalloc("diff", "--vectors", "some.jsonl", "few.py:Quiet").out
    dead = coalloc("diff", "--vectors", "some.jsonl", "few.py:dies")
    assert (dead.status, dead.err) == (1, "")
    assert "answer here: it raised SystemExit" in dead.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("vmem",), "TARGET='vmem': must be two allocators to compare"),
        (("vmem", "vmem", "vmem"), "must be two allocators to compare"),
        (("--vectors", "x", "vmem", "vmem"), "must be one allocator, to hold against the vectors"),
        (("--vectors", "x", "vmem", "--figures"), "--figures='True': has no meaning with --vectors"),
        (("--vectors", "nowhere", "vmem"), "--vectors='nowhere': there is no such file"),
        (("--vectors", ".", "vmem"), "--vectors='.': is a folder"),
        (("vmem", "vmem", "--ignore", "sizes"), "--ignore='sizes': must be addresses or order"),
        (("vmem", "vmem", "--programs", "0"), "--programs=0: must be at least 1"),
        (("vmem", "vmem", "--seconds", "-1"), "must be a number of seconds >= 0"),
        (("vmem", "nope"), "TARGET='nope': is no design"),
        (("vmem", "vmem", "--program", "nowhere"), "--program='nowhere': there is no such file"),
        (("vmem", "vmem", "--sanitize", "address"), "is for allocators in C"),
    ],
)
def test_bad_usage_is_one_line(coalloc: Any, arguments: tuple[str, ...], words: str) -> None:
    """Each error is one line with status 2."""
    result = coalloc("diff", *arguments)
    assert (result.status, result.out) == (2, "")
    assert words in result.err
    assert result.err.count("\n") == 1
