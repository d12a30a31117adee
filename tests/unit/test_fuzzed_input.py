"""Every reader, given damaged and foreign input, ends with a result or with one line, and takes little memory.

A quick run has 300 inputs, a nightly one 5,000 for each format.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from coalloc import DESIGNS, ERAS, CoallocError, PipeProgram, replay
from coalloc.contract_text import parse_contract
from coalloc.testing import loads as load_check_program
from coalloc.workload.formats import read
from coalloc.workload.program import SpaceProgram
from tests import NIGHTLY

LOG: Final = b"""\
100 1795444107.000100 execve("/usr/bin/make", ["make"], 0x7ffe /* 9 vars */) = 0
100 1795444107.000200 pipe2([3<pipe:[71]>, 4<pipe:[71]>], O_CLOEXEC) = 0
100 1795444107.000300 pipe([5, 6]) = 0
100 1795444107.000400 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 101
101 1795444107.000500 dup2(4<pipe:[71]>, 1</dev/null>) = 1<pipe:[71]>
101 1795444107.000600 close_range(3, 4294967295, CLOSE_RANGE_UNSHARE) = 0
101 1795444107.000700 write(1<pipe:[71]>, "abc"..., 70000 <unfinished ...>
100 1795444107.000800 read(3<pipe:[71]>, "abc"..., 65536) = 65536
101 1795444107.000900 <... write resumed>) = 70000
100 1795444107.000950 fcntl(5, F_DUPFD_CLOEXEC, 20) = 20
100 1795444107.000960 sendmsg(9, {msg_control=[{cmsg_len=20, cmsg_type=SCM_RIGHTS, cmsg_data=[5, 6]}]}, 0) = 1
100 1795444107.000970 splice(5, NULL, 1, NULL, 100, 0) = 100
100 1795444107.000980 openat(AT_FDCWD, "/proc/self/fd/5", O_RDONLY) = 7
101 1795444107.001000 +++ exited with 0 +++
100 1795444107.001100 --- SIGCHLD {si_signo=SIGCHLD, si_pid=101} ---
100 1795444107.001200 vfork( <unfinished ...>
"""
PIPES: Final = b"""\
coalloc pipe-program 1
title one
0 create 0
5 write 0 1 100000
6 read 0 0 100000
7 close 0 1
9 close 0 0
"""
SPACE: Final = b"coalloc space-program 1\nalloc 0 16384\nalloc 1 4096\nresize 1 8192\nfree 0\n"
CHECK: Final = b"""\
coalloc check-program 1
setting limit=4 room=4 base=0x0 arena=2
alloc 0 4096
xalloc 1 4096 align=8192 hi=0xffff
free 0
"""
CONTRACT: Final = (
    b"fit=best,tie=lowest,release=retain(2),constraints=align+phase,completeness=tlsf(4),classes=4096+8192"
)
WORDS: Final = [
    *(
        b"0",
        b"-1",
        b"9" * 30,
        b"18446744073709551615",
        b"2147483647",
        b"\n",
        b" ",
        b"\xff",
        b"\x00",
        b"[" * 40,
        b"1<" * 40,
    ),
    *(
        b"<pipe:[1]>",
        b" <unfinished ...>",
        b"<... read resumed>",
        b"= 0",
        b"()",
        b"strace: Process 9 attached",
        b"x" * 5000,
    ),
    *(b"\xef\xbb\xbf", b"\r\n"),
]


def fuzzed(draw: random.Random, seeds: list[bytes]) -> bytes:
    """Return an input that began as a right one."""
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.choice((1, 1, 2, 4, 16))):
        at = draw.randrange(len(data) + 1)
        end = min(at + draw.choice((1, 1, 4, 30, 200)), len(data))
        what = draw.randrange(7)
        if what == 0:
            data[at:end] = b""
        elif what == 1:
            data[at:at] = draw.choice(WORDS)
        elif what == 2:
            data[at:end] = draw.choice(WORDS)
        elif what == 3:
            data[at:at] = data[at:end] * draw.choice((1, 3, 50))
        elif what == 4:
            lines = bytes(data).split(b"\n")
            draw.shuffle(lines)
            data = bytearray(b"\n".join(lines))
        elif what == 5:
            other = draw.choice(seeds)
            data[at:end] = other[draw.randrange(len(other)) :]
        elif data:
            data[min(at, len(data) - 1)] = draw.randrange(256)
    return bytes(data)


def trace(path: Path) -> None:
    """Read a trace of any format, and replay what it is."""
    program, report = read(path)
    assert len(str(report)) < 2000
    assert isinstance(program, PipeProgram | SpaceProgram)
    replay(program, DESIGNS["coalescing"], era=ERAS["2004-01"], limit=1 << 22)


def damaged(path: Path) -> None:
    """Read a compressed file of which a byte was changed."""
    read(path)


def check_program(path: Path) -> None:
    """Read a check program."""
    load_check_program(path.read_text("utf-8", "replace"))


def contract(path: Path) -> None:
    """Read the text form of a contract."""
    parse_contract(path.read_text("utf-8", "replace"))


PACKED: Final[list[Callable[[bytes], bytes]]] = [gzip.compress, lzma.compress, bz2.compress, bytes]
RECORDINGS: Final = Path(__file__).parent / "recordings"
READERS: Final[dict[str, tuple[Callable[[Path], None], list[bytes]]]] = {
    "strace": (trace, [LOG]),
    "coalloc": (trace, [PIPES, SPACE, LOG]),
    "damaged": (damaged, [LOG, PIPES, SPACE]),
    "check-program": (check_program, [CHECK, SPACE]),
    "contract": (contract, [CONTRACT]),
    "perf": (trace, [b"\n".join((RECORDINGS / "perf.txt").read_bytes().splitlines()[20:50])]),
    "calls": (trace, [(RECORDINGS / "bpftrace.calls").read_bytes(), (RECORDINGS / "dtrace.calls").read_bytes()]),
    "truss": (trace, [(RECORDINGS / "truss.txt").read_bytes()]),
    "kdump": (trace, [(RECORDINGS / "kdump.txt").read_bytes()]),
    "mtrace": (trace, [(RECORDINGS / "mtrace.txt").read_bytes()]),
    "rmm": (trace, [b"Thread,Time,Action,Pointer,Size,Stream\n1,0,allocate,0x1,10,0\n1,0,free,0x1,10,0\n"]),
    "wee-alloc": (trace, [b"Alloc(8),\nAlloc(9),\nFree(0),\nFree(1),\n"]),
    "minimalloc": (trace, [b"id,lower,upper,size\na,0,5,10\nb,3,9,20\n", b"id,start,end,size\n1,1,4,8\n"]),
}


@pytest.mark.parametrize("number", range(5000 if NIGHTLY else 24))
@pytest.mark.parametrize("name", READERS)
def test_any_input_ends_in_a_result_or_in_one_line(name: str, number: int, tmp_path: Path) -> None:
    """Nothing but an error of ours is raised, its message is one short line, and memory is bounded."""
    reader, seeds = READERS[name]
    draw, file = random.Random(f"{name} {number}"), tmp_path / "input"
    data = fuzzed(draw, seeds)
    if reader in (trace, damaged):
        data = PACKED[number % (4 if reader is trace else 3)](data)
    if reader is damaged:
        at = draw.randrange(len(data))
        data = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
    file.write_bytes(data)
    tracemalloc.start()
    raised = None
    try:
        reader(file)
    except CoallocError as error:
        raised = error
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 64 << 20
    if raised is not None:
        assert 0 < len(str(raised)) <= 300
        assert str(raised).isprintable()
        assert reader not in (trace, damaged) or getattr(raised, "file", None) == str(file)
