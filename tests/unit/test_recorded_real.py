"""Random trees of processes with pipes, run for real under bpftrace and perf: what is read is what they did.

The trees are those that test_strace_real draws.  perf prints neither the names of files that are opened nor the descriptors of
messages, so that trees for it have no such steps.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coalloc.workload.formats import read
from coalloc.workload.program import PipeProgram
from coalloc.workload.recorders import RECORDERS
from coalloc.workload.strace import ImportReport
from tests import NIGHTLY, may_record
from tests.unit.test_strace_real import RUNNER, Tree


class PlainTree(Tree):
    """A tree without opens of /dev/fd, without messages, and without FIONBIO, whose argument perf does not print."""

    ioctl = False

    def step(self, fds: dict[str, tuple[int, int]], depth: int) -> list[Any] | None:
        """Return one step, or None for one that perf could not tell."""
        before, held = dict(fds), dict(self.refs)
        step = super().step(fds, depth)
        if step is not None and step[0] == "reopen":
            fds.clear()
            fds.update(before)
            self.refs.clear()
            self.refs.update(held)
            return None
        return step

    def fork(self, fds: dict[str, tuple[int, int]], depth: int) -> list[Any]:
        """Return a fork whose child sends nothing back."""
        child = dict(fds)
        for end in child.values():
            self.hold(end, 1)
        steps = self.process(child, depth + 1)
        for end in child.values():
            self.hold(end, -1)
        return ["fork", steps, []]


@pytest.mark.parametrize("seed", range(60 if NIGHTLY else 1))
@pytest.mark.parametrize("tool", ["bpftrace", "perf"])
def test_what_a_tool_prints_of_a_tree_of_processes_is_what_they_did(tool: str, seed: int, tmp_path: Path) -> None:
    """Pipes, how many are alive at the end, and bytes are exact."""
    if not may_record(tool):
        pytest.skip(f"{tool} is not installed, or may not record")
    tree = Tree(seed) if tool == "bpftrace" else PlainTree(seed)
    log, run = tmp_path / "log", tmp_path / "run.py"
    run.write_text(f"import sys; sys.argv[1:] = [{json.dumps(tree.steps)!r}]\n{RUNNER}", encoding="utf-8")
    command = [sys.executable, "-S", "-E", str(run)]
    subprocess.run(RECORDERS[tool].arguments(str(log), command, []), check=True, capture_output=True)
    program, report = read(log)
    assert isinstance(program, PipeProgram)
    assert isinstance(report, ImportReport)
    facts, truth = program.facts(), tree.truth
    assert (facts.pipes, facts.live_at_end) == (truth.pipes, 0), report
    assert (facts.bytes_written, facts.bytes_read) == (truth.written, truth.read), report
    assert (facts.set_sizes, facts.try_writes) == (truth.sizes, truth.tries)
    assert report.doubtful == report.unknown == 0
