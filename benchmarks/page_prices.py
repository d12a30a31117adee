"""Profile a pipe under load on the running Linux kernel: what allocating, copying and freeing its pages takes, page by page.

python -m benchmarks.page_prices [--writers N] [--readers N] [--seconds N]

Processes write and read 64 KiB at a time through one pipe of 1 MiB while perf(1) samples all CPUs.  A pipe keeps two pages for
the next write (Linux 6.15 to 7.1), so of 16 pages 14 are allocated and freed.  The shares of the functions, with all that they
call, divided by these numbers of pages, are prices up to a factor.  All that read and write do besides, but for waiting for the
mutex, counts as copying, of 16 pages in and 16 out; its price for a page is set to 1.

Needs perf, and the right to profile the kernel (root, or kernel.perf_event_paranoid of -1).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.host import head

SIZE, PAGES, KEPT = 1 << 16, 16, 2
CALLS = ("anon_pipe_write", "anon_pipe_read")
WAITING = "__mutex_lock.constprop.0"
ALLOCATE = ("alloc_pages_noprof",)
FREE = ("__folio_put", "anon_pipe_buf_release")
"""The second calls the first last, so that compilers jump there and perf does not show one within the other."""


def _work(ends: tuple[int, int], end: int) -> int:
    """Write or read until killed, in a process of its own; return its number."""
    if pid := os.fork():
        return pid
    memory = [memoryview(bytearray(b"\xaa" * SIZE))]
    while True:
        (os.readv, os.writev)[end](ends[end], memory)


def _shares(path: Path) -> dict[str, float]:
    """Return the share of each function and what it calls, and for those without callees their own, in percent."""
    run = subprocess.run(
        ["perf", "report", "-i", path, "--children", "--stdio", "-g", "none", "--sort", "symbol"],
        check=False,
        capture_output=True,
        text=True,
    )
    if run.returncode:
        sys.exit(f"perf report failed: {run.stderr.strip() or run.returncode}")
    found = {}
    for line in run.stdout.splitlines():
        words = line.split()
        if len(words) > 3 and words[2] == "[k]":
            found[words[3]] = float(words[0].rstrip("%"))
    return found


def main() -> None:
    """Print the shares, and the prices that follow from them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("writers", 1), ("readers", 1), ("seconds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    if min(given.writers, given.readers, given.seconds) < 1:
        parser.error("writers, readers and seconds must be at least 1")
    if shutil.which("perf") is None:
        sys.exit("perf is not installed")
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, PAGES * SIZE)
    workers = [_work(ends, end) for end, n in ((0, given.readers), (1, given.writers)) for _ in range(n)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "perf.data")
            done = subprocess.run(
                ["perf", "record", "-a", "-g", "-o", path, "sleep", str(given.seconds)],
                check=False,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                sys.exit(f"perf record failed: {done.stderr.strip() or done.returncode}")
            shares = _shares(path)
    finally:
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    print(head(f"{given.writers} writers, {given.readers} readers, {given.seconds} s, 64 KiB at a time", 0))
    missing = [name for name in (*CALLS, WAITING, *ALLOCATE, *FREE) if name not in shares]
    if missing:
        sys.exit(
            f"the profile does not show {', '.join(missing)}; it knows those of Linux 6.15 to 7.1, as gcc names them"
        )
    allocate, free, calls = (sum(shares[name] for name in names) for names in (ALLOCATE, FREE, CALLS))
    parts = (
        ("allocate", allocate, PAGES - KEPT),
        ("move", calls - shares[WAITING] - allocate - free, 2 * PAGES),
        ("free", free, PAGES - KEPT),
    )
    unit = parts[1][1] / parts[1][2]
    for part, share, pages in parts:
        print(f"{part:8}  {share:5.2f} % for {pages} pages: {share / pages / unit:.2f}")


if __name__ == "__main__":
    main()
