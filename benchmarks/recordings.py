"""Measure how recordings are read: lines a second and memory for a long log, or seconds and memory for hostile megabytes.

python -m benchmarks.recordings [LOG] [--against TREE] [--runs N]
python -m benchmarks.recordings --hostile

Every run is a command of its own (``coalloc trace import``, ``compare`` or ``check``).  With --against, the folder of another
version of the project: both read the log in turns, and the ratio of the medians is shown.  Without a LOG, one of some 70 MB is
made from the bundled build, as ``strace -f -y -ttt -s 8`` writes it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final

from benchmarks.host import head
from coalloc.workload.bundled import bundled_build
from coalloc.workload.overlay import overlay
from coalloc.workload.program import PipeOpKind

HERE: Final = Path(__file__).parents[1]
MEGABYTE: Final = 1_000_000
BOUNDS: Final = "aim: 10 s and 500 MB"


def run(tree: Path, *arguments: str) -> tuple[float, int, int]:
    """Run a command of a source tree; returns seconds, its largest memory in MB, and its exit status."""
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    began = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "coalloc", *arguments],
        env=environment,
        cwd=tree,  # python -m takes the package of the folder in which it runs
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return time.perf_counter() - began, usage.ru_maxrss >> 10, child.returncode


def strace_lines() -> Iterator[str]:
    """Yield a log that has the operations of 40 builds at once."""
    for time_, kind, pipe, end, n in overlay(bundled_build(), 40, 88_000_000, 0).rows():
        stamp = f"{100 + pipe % 50} {1_700_000_000 + time_ / 1e6:.6f} "
        fd, shown = 10 + 2 * pipe + end, f"{10 + 2 * pipe + end}<pipe:[{70_000 + pipe}]>"
        match kind:
            case PipeOpKind.CREATE:
                yield f"{stamp}pipe2([{shown}, {fd + 1}<pipe:[{70_000 + pipe}]>], O_CLOEXEC) = 0\n"
            case PipeOpKind.WRITE:
                yield f'{stamp}write({shown}, "12345678"..., {n}) = {n}\n'
            case PipeOpKind.READ:
                yield f'{stamp}read({shown}, "12345678"..., {max(n, 4096)}) = {n}\n'
            case _:
                yield f"{stamp}close({shown}) = 0\n"


# --- hostile input -------------------------------------------------------------------------------------------


def megabyte(first: str, following: Callable[[int], str]) -> str:
    """Return a megabyte of lines."""
    lines, size = [first], len(first)
    for number in count():
        if size >= MEGABYTE:
            return "".join(lines)
        lines.append(following(number))
        size += len(lines[-1])
    raise AssertionError


def _then(limit: int, early: str, late: str) -> Callable[[int], str]:
    return lambda i: (early if i < limit else late).format(i=i, a=2 * i + 3, b=2 * i + 4)


HOSTILE: Final[dict[str, Callable[[], str]]] = {
    "strace: forks of thousands of descriptors": lambda: megabyte(
        "", _then(9000, "1 {i} pipe([{a}, {b}]) = 0\n", "1 {i} fork() = 9{i}\n")
    ),
    "strace: a line of [1<[1<": lambda: '1 0 write(1, "a", 1) = 1\n1 1 pipe(' + "[1<" * (MEGABYTE // 3) + "\n",
    "strace: unfinished vforks": lambda: megabyte("", lambda i: f"{i} {i} vfork( <unfinished ...>\n"),
    "strace: transfers of 2 GiB": lambda: megabyte(
        "1 0 pipe([3, 4]) = 0\n",
        lambda i: f'1 {i} write(4, "", 2147483647) = 2147483647\n1 {i} read(3, "", 2147483647) = 2147483647\n',
    ),
    "program: transfers of 2 GiB": lambda: megabyte(
        "coalloc pipe-program 2\n0 create 0\n", lambda i: f"{i} write 0 1 2147483647\n{i} read 0 0 2147483647\n"
    ),
    "program: tries of 2 GiB": lambda: megabyte(
        "coalloc pipe-program 2\n0 create 0\n", lambda i: f"{i} try-write 0 1 2147483647\n{i} try-read 0 0 2147483647\n"
    ),
    "program: sizes that alternate": lambda: megabyte(
        "coalloc pipe-program 2\n0 create 0\n", lambda i: f"{i} set-size 0 0 {4096 << i % 2}\n{i} try-write 0 1 9000\n"
    ),
    "program: pipes without end": lambda: megabyte("coalloc pipe-program 2\n", lambda i: f"{i} create {i} {i}\n"),
    "perf: forks of thousands of descriptors": lambda: megabyte(
        "",
        _then(6000, "{i}.000 ( 0.010 ms): a/7 pipe2(f: 0x1) = 0\n", "{i}.000 ( 0.010 ms): a/7 clone(f: X) = 9{i} (a)\n"),
    ),
    "perf: close_range of millions": lambda: megabyte(
        " 0.000 ( 0.010 ms): a/7 openat(f: 1) = 100000000\n",
        lambda i: f"{i}.000 ( 0.010 ms): a/7 close_range(fd: {i}, max_fd: 90000000) = 0\n",
    ),
    "perf: a line of quotes": lambda: (
        " 0.000 ( 0.010 ms): a/7 pipe2(f: 1) = 0\n 1.000 ( 0.010 ms): a/7 openat(" + 'a: "' * (MEGABYTE // 4) + ") = 3\n"
    ),
    "calls: forks of thousands of descriptors": lambda: megabyte(
        "coalloc calls 1\n", _then(12000, "{i} {i} 0 7 pipe {a} {b} 0\n", "{i} {i} 0 7 fork {i} 0\n")
    ),
    "truss: a line of braces": lambda: "1: pipe2(0x1,0) = 0 (0x0)\n" + '1: open("' + '"a,{' * (MEGABYTE // 4) + "\n",
    "kdump: a line of names": lambda: "  1 sh CALL  write(1,2)\n" + "  1 sh " * (MEGABYTE // 7) + "\n",
    "mtrace: a line of addresses": lambda: megabyte("= Start\n", lambda _: "@ " + "x + 0x1 " * 60 + "\n"),
    "wee_alloc: nothing is freed": lambda: megabyte("", lambda i: f"Alloc({i + 1}),\n"),
    "minimalloc: all lives overlap": lambda: megabyte("id,lower,upper,size\n", lambda i: f"{i},{-i},{i + 1},999999\n"),
    "rmm: a terabyte at each call": lambda: megabyte(
        "Thread,Time,Action,Pointer,Size,Stream\n", lambda i: f"1,0,allocate,0x{i},{10**12},0\n"
    ),
    "check program: thousands of live buffers": lambda: megabyte(
        "coalloc check-program 1\nsetting limit=100000 room=100000 base=0 arena=16\n", lambda i: f"alloc {i} 4096\n"
    ),
}  # fmt: skip


def measure_hostile() -> None:
    """Read each input, replay or check it, and print what that took."""
    print(head(f"{len(HOSTILE)} inputs of a megabyte, each read and replayed; {BOUNDS}", 0))
    print(f"{'input':44}{'s':>7}{'MB':>6}{'status':>8}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "input"
        for name, text in HOSTILE.items():
            file.write_text(text(), encoding="utf-8")
            if name.startswith("check"):
                command = ["check", "coalescing", "--program", str(file)]
            else:
                command = ["compare", "--designs", "coalescing", "--lenient", str(file)]
            seconds, megabytes, status = run(HERE, *command)
            print(f"{name:44}{seconds:7.1f}{megabytes:6}{status:8}", flush=True)


def measure_log(log: Path | None, trees: list[Path], runs: int) -> None:
    """Read a long log with each tree in turn, and print medians."""
    with tempfile.TemporaryDirectory() as folder:
        if log is None:
            log = Path(folder) / "build.strace"
            with open(log, "w", encoding="utf-8") as file:
                file.writelines(strace_lines())
        with open(log, "rb") as lines:
            n_lines = sum(1 for _ in lines)
        size = log.stat().st_size / MEGABYTE
        print(head(f"{log.name}, {size:.0f} MB, {n_lines:,} lines; {runs} runs of each", 0))
        seconds: list[list[float]] = [[] for _ in trees]
        memory = [0] * len(trees)
        for _ in range(runs):
            for number, tree in enumerate(trees):
                took, megabytes, status = run(tree, "trace", "import", str(log), "-o", str(Path(folder) / "out.pipes"))
                if status:
                    raise SystemExit(f"{tree} ended with status {status}")
                seconds[number].append(took)
                memory[number] = max(memory[number], megabytes)
        medians = [statistics.median(column) for column in seconds]
        for name, median, megabytes in zip(("here", "against"), medians, memory, strict=False):
            print(f"{name:8}{n_lines / median:10,.0f} lines a second{megabytes:6} MB")
        if len(trees) > 1:
            print(f"ratio   {medians[1] / medians[0]:10.2f}")


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", nargs="?", type=Path)
    parser.add_argument("--against", type=Path, help="the source tree of another version")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--hostile", action="store_true", help="read hostile inputs instead")
    arguments = parser.parse_args()
    if arguments.hostile:
        measure_hostile()
    else:
        trees = [HERE] if arguments.against is None else [HERE, arguments.against.resolve()]
        measure_log(arguments.log, trees, arguments.runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
