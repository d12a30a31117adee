"""B18 and B47 to B49: descriptors, their limits, and what pipe(2) undoes."""

from __future__ import annotations

import errno

import pytest

from coalloc import ERAS, PipeError
from coalloc.designs import DESIGNS
from coalloc.kernel import LAYOUTS, FdTable, Kernel
from coalloc.kernel.process import Call, Process, Xint0x80_syscall

ALL_ERAS = pytest.mark.parametrize("era", ERAS)
BOTH_DESIGNS = pytest.mark.parametrize("design", ["per-pipe", "coalescing"])


def run(kernel: Kernel, body: Call[object]) -> None:
    """Run one program and check that it ends without findings."""
    kernel.machine.spawn("program", body)
    assert kernel.machine.run(record=False).findings == ()


def state(process: Process) -> tuple[object, ...]:
    """Return the state that a failed call must leave as it was."""
    kernel = process.kernel
    return (
        process.fds.fds(),
        kernel.pipes.budget.kva_used,
        kernel.files.openfiles,
        kernel.zone.counters().live,
        kernel.space.stats().live,
    )


@BOTH_DESIGNS
@ALL_ERAS
@pytest.mark.parametrize("free", [0, 1])
def test_b18_without_two_descriptors_pipe_is_emfile_and_leaves_nothing(era: str, design: str, free: int) -> None:
    """With no descriptor or only one left, pipe() fails with EMFILE and leaves nothing behind."""
    kernel = Kernel(ERAS[era], DESIGNS[design], maxfilesperproc=30)
    process = kernel.fork()

    def program() -> Call[None]:
        for _ in range(30 - free):
            yield from Xint0x80_syscall(process.open())
        before = state(process)
        for _ in range(3):
            with pytest.raises(PipeError) as caught:
                yield from Xint0x80_syscall(process.pipe())
            assert caught.value.errno == errno.EMFILE
            assert state(process) == before

    run(kernel, program())
    assert kernel.violations() == ()


@BOTH_DESIGNS
@ALL_ERAS
@pytest.mark.parametrize("free", [0, 1])
def test_b18_without_two_files_pipe_is_enfile_and_leaves_nothing(era: str, design: str, free: int) -> None:
    """With no open file or only one left in the system, pipe() fails with ENFILE and leaves nothing behind."""
    kernel = Kernel(ERAS[era], DESIGNS[design], maxfiles=40)
    first, second = kernel.fork(), kernel.fork()

    def program() -> Call[None]:
        for _ in range(40 - free):
            yield from Xint0x80_syscall(first.open())
        before = state(second)
        with pytest.raises(PipeError) as caught:
            yield from Xint0x80_syscall(second.pipe())
        assert caught.value.errno == errno.ENFILE
        assert state(second) == before
        yield from Xint0x80_syscall(first.exit1())
        yield from Xint0x80_syscall(second.pipe())

    run(kernel, program())
    assert second.fds.fds() == (0, 1)


SIZES = {
    "4.4bsd": [20, 50, 100, 200, 400, 800],
    "bitmap": [20, 64, 128, 256, 512, 1024],
    "bitmap-64": [20, 64, 128, 256, 512, 1024],
    "openbsd": [20, 50, 100, 200, 400, 800],
    "dragonfly": [15, 31, 63, 127, 255, 511, 1023],
}


@pytest.mark.parametrize("name", SIZES)
def test_b47_the_lowest_free_descriptor_is_taken_and_tables_grow_as_the_kernel_has_them(name: str) -> None:
    """Each alloc takes the lowest free descriptor, at or above a given number, and tables grow in the kernel's steps."""
    table = FdTable(LAYOUTS[name])
    assert [table.alloc() for _ in range(600)] == list(range(600))
    assert [LAYOUTS[name].first, *(grown.new for grown in table.growths)] == SIZES[name]
    for fd in (500, 3, 77):
        table.free(fd)
    assert table.alloc(4) == 77
    assert [table.alloc() for _ in range(3)] == [3, 500, 600]
    table.check()


def test_b47_the_last_step_is_capped_and_then_rounded_to_words() -> None:
    """With a limit of 100 descriptors the last growth is capped at 100 and then rounded up to 128."""
    table = FdTable(LAYOUTS["bitmap"], limit=100)
    for _ in range(100):
        table.alloc()
    assert [grown.new for grown in table.growths] == [64, 128]


@pytest.mark.parametrize("limit", [1, 20, 21, 64, 65, 1000])
@pytest.mark.parametrize("name", LAYOUTS)
def test_b48_emfile_comes_exactly_at_the_limit(name: str, limit: int) -> None:
    """A table grants descriptors up to its limit, then fails with EMFILE until one is freed."""
    table = FdTable(LAYOUTS[name], limit=limit)
    for fd in range(limit):
        assert table.alloc() == fd
    for _ in range(2):
        with pytest.raises(PipeError) as caught:
            table.alloc()
        assert caught.value.errno == errno.EMFILE
    table.free(limit - 1)
    assert table.alloc() == limit - 1


def bindbench(name: str, n: int) -> FdTable:
    """Open n descriptors as the benchmark does: from the 53rd on, close and reopen the 11th after each open."""
    table = FdTable(LAYOUTS[name], limit=n)
    for number in range(n):
        assert table.alloc() == number
        if number >= 52:
            table.free(10)
            assert table.alloc() == 10
    return table


def test_b49_a_bitmap_looks_at_a_words_worth_of_what_a_scan_does() -> None:
    """In bindbench a scan looks at about 32 times as many entries as a bitmap, and a tree looks at few for each open."""
    n = 8000
    scan, words, tree = (bindbench(name, n).looked_at for name in ("4.4bsd", "bitmap", "dragonfly"))
    assert scan / words == pytest.approx(32, rel=0.1)
    assert bindbench("4.4bsd", 2 * n).looked_at / scan == pytest.approx(4, rel=0.05)
    assert tree < 100 * n
