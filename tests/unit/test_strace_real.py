"""Random trees of processes with pipes, run for real under strace with many flags: the importer finds what they did.

A program is drawn here, step by step, with what it amounts to: which process has which end of which pipe, and what is in each
pipe.  A process waits for each child, so that the order of all steps is known.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from coalloc.workload.strace import import_strace
from coalloc.workload.strace_story import FOLLOWED
from tests import NIGHTLY, may_trace

pytestmark = pytest.mark.skipif(not may_trace(), reason="strace is not installed, or may not trace")

RUNNER: Final = """
import fcntl, json, os, socket, sys

def run(steps, fds, back):
    for step in steps:
        do, *names = step
        if do == "pipe":
            fds[names[0]], fds[names[1]] = os.pipe2(os.O_NONBLOCK) if names[2] else os.pipe()
        elif do == "write":
            os.write(fds[names[0]], b"x" * names[1])
        elif do == "read":
            assert len(os.read(fds[names[0]], names[1])) == names[1]
        elif do == "dup":
            fds[names[1]] = os.dup(fds[names[0]])
        elif do == "dup2":
            os.dup2(fds[names[0]], fds[names[1]])
        elif do == "reopen":
            flags = os.O_WRONLY if names[2] else os.O_RDONLY
            fds[names[1]] = os.open(names[3] % fds[names[0]], flags)
        elif do == "block" and names[2]:
            os.set_blocking(fds[names[0]], not names[1])  # by ioctl
        elif do == "block":
            fcntl.fcntl(fds[names[0]], fcntl.F_SETFL, os.O_NONBLOCK if names[1] else 0)
        elif do == "resize":
            fcntl.fcntl(fds[names[0]], 1031, names[1])  # F_SETPIPE_SZ
        elif do == "close":
            os.close(fds.pop(names[0]))
        elif do == "spawn":
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        elif do == "send":
            socket.send_fds(back, [b"x"], [fds[name] for name in names])
        elif do == "fork":
            here, there = socket.socketpair()
            pid = os.fork()
            if not pid:
                run(names[0], fds, there)
                os._exit(0)
            there.close()
            got = []
            while len(got) < len(names[1]):
                got += socket.recv_fds(here, 1, 250)[1]
            fds.update(zip(names[1], got))
            here.close()
            assert os.waitpid(pid, 0)[1] == 0

run(json.loads(sys.argv[1]), {}, None)
os._exit(0)
"""
FLAGS: Final = [
    ["-f", "-ttt"],
    ["-f", "-ttt", "-y"],
    ["-f", "-ttt", "-yy"],
    ["-f", "-tt"],
    ["-f", "-t"],
    ["-f", "-r"],
    ["-f"],
    ["-f", "-ttt", "-T", "-i"],
    ["-f", "-ttt", "-n"],
    ["-f", "-ttt", "-s", "0"],
    ["-f", "-ttt", "-y", "-s", "0"],
    ["-f", "-ttt", "-x"],
    ["-f", "-ttt", "-y", "-X", "raw"],
    ["-f", "-ttt", "-X", "verbose"],
    ["-f", "-ttt", "-Y"],
    ["-f", "-ttt", "-k"],
    ["-f", "-ttt", "-qq"],
    ["-f", "-ttt", "-C"],
    ["-f", "--absolute-timestamps=format:unix,precision:ns"],
    ["-ff", "-ttt"],
    ["-ff", "-ttt", "-y"],
]
"""What people give to strace."""


@attrs.define
class Truth:
    """What a program amounts to."""

    pipes: int = 0
    peak: int = 0
    written: int = 0
    read: int = 0
    tries: int = 0
    sizes: int = 0


class Tree:
    """Draw a tree of processes.

    An end is either opened again by its name or made non-blocking, since what is opened again has flags of its own.
    """

    ioctl = True

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.truth = Truth()
        self.held: list[int] = []
        self.refs: dict[tuple[int, int], int] = {}
        self.nonblocking: dict[tuple[int, int], bool] = {}
        self.reopened: set[tuple[int, int]] = set()
        self.names = 0
        self.steps = self.process({}, 0)

    def name(self) -> str:
        """Return a name for a descriptor."""
        self.names += 1
        return f"d{self.names}"

    def hold(self, end: tuple[int, int], by: int) -> None:
        """Count who holds an end; a pipe is alive while either end is held."""
        self.refs[end] = self.refs.get(end, 0) + by
        alive = {pipe for (pipe, _), count in self.refs.items() if count}
        self.truth.peak = max(self.truth.peak, len(alive))

    def process(self, fds: dict[str, tuple[int, int]], depth: int) -> list[list[Any]]:
        """Return the steps of a process; ``fds`` has what each name refers to, and is left as it is at the end."""
        steps: list[list[Any]] = []
        for _ in range(self.draw.randint(3, 14)):
            step = self.step(fds, depth)
            if step is not None:
                steps.append(step)
        return steps

    def step(self, fds: dict[str, tuple[int, int]], depth: int) -> list[Any] | None:
        """Return one step, or None if the one that was drawn cannot be done now."""
        do = self.draw.choice(
            (
                "pipe",
                "write",
                "write",
                "read",
                "dup",
                "dup2",
                "reopen",
                "close",
                "spawn",
                "fork",
                "fork",
                "block",
                "resize",
            )
        )
        if do == "pipe":
            pipe, names = self.truth.pipes, [self.name(), self.name()]
            self.truth.pipes += 1
            self.held.append(0)
            nonblocking = self.draw.random() < 0.2
            for end in (0, 1):
                fds[names[end]] = pipe, end
                self.hold((pipe, end), 1)
                if nonblocking:
                    self.nonblocking[pipe, end] = True
            return ["pipe", *names, nonblocking]
        if do == "fork":
            return self.fork(fds, depth) if depth < 3 else None
        if do == "spawn":
            return ["spawn"]
        if not fds:
            return None
        name = self.draw.choice(sorted(fds))
        pipe, end = fds[name]
        if do == "close":
            del fds[name]
            self.hold((pipe, end), -1)
            return ["close", name]
        if do == "block":
            if (pipe, end) in self.reopened:
                return None
            self.nonblocking[pipe, end] = self.draw.random() < 0.5
            return ["block", name, self.nonblocking[pipe, end], self.ioctl and self.draw.random() < 0.5]
        if do == "resize":
            self.truth.sizes += 1
            return ["resize", name, self.draw.choice((65536, 100_000))]
        if do in ("dup", "reopen"):
            if do == "reopen" and (not self.refs[pipe, 1 - end] or (pipe, end) in self.nonblocking):
                return None  # a reader may not wait for a writer that never comes
            if do == "reopen":
                self.reopened.add((pipe, end))
            new = self.name()
            fds[new] = pipe, end
            self.hold((pipe, end), 1)
            path = self.draw.choice(("/dev/fd/%d", "/proc/self/fd/%d"))
            return ["dup", name, new] if do == "dup" else ["reopen", name, new, end, path]
        if do == "dup2":
            other = self.draw.choice(sorted(fds))
            if other == name:
                return None
            self.hold((pipe, end), 1)
            self.hold(fds[other], -1)
            fds[other] = pipe, end
            return ["dup2", name, other]
        n = self.draw.choice((1, 100, 4096, 7000))
        if do == "write" and end and self.refs.get((pipe, 0)) and self.held[pipe] + n <= 60_000:
            self.held[pipe] += n
            self.truth.written += n
            self.truth.tries += self.nonblocking.get((pipe, 1), False)
            return ["write", name, n]
        if do == "read" and not end and self.held[pipe]:
            n = min(n, self.held[pipe])
            self.held[pipe] -= n
            self.truth.read += n
            return ["read", name, n]
        return None

    def fork(self, fds: dict[str, tuple[int, int]], depth: int) -> list[Any]:
        """Return a fork, whose child may send descriptors back before it ends."""
        child = dict(fds)
        for end in child.values():
            self.hold(end, 1)
        steps = self.process(child, depth + 1)
        sent = self.draw.sample(sorted(child), min(len(child), self.draw.choice((0, 0, 1, 3))))
        back = [self.name() for _ in sent]
        if sent:
            steps.append(["send", *sent])
        for new, name in zip(back, sent, strict=True):
            fds[new] = child[name]
            self.hold(child[name], 1)
        for end in child.values():
            self.hold(end, -1)
        return ["fork", steps, back]


@pytest.mark.parametrize("seed", range(400 if NIGHTLY else 40))
def test_what_strace_prints_of_a_tree_of_processes_is_what_they_did(seed: int, tmp_path: Path) -> None:
    """Pipes, how many are alive at once and at the end, and bytes are exact, whatever the flags that tell them."""
    tree = Tree(seed)
    flags = FLAGS[seed % len(FLAGS)]
    log = tmp_path / "log"
    calls = ",".join(f"?{name}" for name in sorted(FOLLOWED))
    command = [sys.executable, "-S", "-E", "-c", RUNNER, json.dumps(tree.steps)]
    recorder = ["strace", *flags, "-o", str(log), "-e", f"trace={calls}"]
    subprocess.run([*recorder, *command], check=True, capture_output=True)
    imported = import_strace(log)
    facts, truth = imported.program.facts(), tree.truth
    if flags[-2:] == ["-s", "0"]:
        assert imported.report.hidden == truth.pipes  # the log has "pipe2([...])"
        return
    assert facts.pipes == truth.pipes, imported.report
    assert (facts.bytes_written, facts.bytes_read) == (truth.written, truth.read), imported.report
    assert facts.set_sizes == truth.sizes
    assert imported.report.doubtful == 0
    if "raw" not in flags:  # which prints the argument of FIONBIO as an address
        assert facts.try_writes == truth.tries
    if "-ff" not in flags:  # its files have the times at which calls began, so that what overlaps has no known order
        assert (facts.peak_live, facts.live_at_end) == (truth.peak, 0)
