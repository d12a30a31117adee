"""What other kernels do: DragonFly (B50), NetBSD (B51), OpenBSD (B52), Linux (B53)."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from coalloc import DESIGNS, InvalidRequestError, KernelMap, PerPipeSpace, PipeError, PipeSystem
from coalloc.pipes import KERNELS, LinuxPipes, Owner
from coalloc.pipes.design import pipes_of
from coalloc.pipes.eras import Era, StreamsState
from coalloc.pipes.linux import PIPE_DEF_BUFFERS, PIPE_MIN_DEF_BUFFERS, PIPE_USER_PAGES_SOFT
from coalloc.pipes.streams import StreamsPipes, block_size
from coalloc.space import CachedSpace, CoalescingSpace

PAGE = 4096
KIB = 1024
USER = Owner(uid=1001, privileged=False)


# --- B50 ---------------------------------------------------------------------------------------------------


def era_of(name: str) -> Era:
    """Return the policy of another kernel whose pipe code comes from FreeBSD."""
    state = KERNELS[name]
    assert isinstance(state, Era)
    return state


def dragonfly(ncpus: int = 1) -> tuple[KernelMap, CachedSpace, PipeSystem]:
    """Make DragonFly's pipes: a cache over one mapping per buffer."""
    kernel = KernelMap(base=0, size=1 << 26, own_objects=True)
    space = CachedSpace(PerPipeSpace(kernel, kva_limit=1 << 26), sizes=[16 * KIB], depth=16, ncpus=ncpus)
    return kernel, space, PipeSystem(space, era_of("dragonfly-2004"), maxpipekva=1 << 26)


def test_b50_a_hit_needs_no_map_operation_and_no_shoot_down_and_keeps_the_address() -> None:
    """A pipe made after another was closed gets the same addresses without a map operation or a shoot-down."""
    kernel, _, system = dragonfly()
    pair = system.pipe()
    pair.write(1, b"x" * 100)
    bases = {half.base for half in pair.halves}
    pair.close(0)
    pair.close(1)
    before = kernel.counters()
    again = system.pipe()
    assert {half.base for half in again.halves} == bases
    after = kernel.counters()
    assert (after.map_ops, after.unmap_ops, after.tlb_shootdowns) == (before.map_ops, 0, 0)


def test_b50_the_seventeenth_close_on_a_cpu_tears_down() -> None:
    """Each CPU caches sixteen buffers, and the seventeenth free on a CPU unmaps its buffer."""
    kernel, space, _ = dragonfly(ncpus=2)
    bases = [space.alloc(16 * KIB) for _ in range(34)]
    for base in bases[:16]:
        space.free(base)
    assert kernel.counters().unmap_ops == 0
    space.free(bases[16])
    assert kernel.counters().unmap_ops == 1
    space.cpu = 1
    for base in bases[17:33]:
        space.free(base)
    assert kernel.counters().unmap_ops == 1
    space.free(bases[33])
    assert kernel.counters().unmap_ops == 2
    assert space.stats().cached == 32 * 16 * KIB


def test_b50_only_halves_of_16k_are_kept() -> None:
    """A half that has grown to 64 KiB is unmapped when it is closed."""
    kernel, space, system = dragonfly()
    pair = system.pipe()
    assert pair.write(1, 60_000) == 60_000
    assert pair.halves[0].size == 64 * KIB
    assert space.stats().cached == 16 * KIB  # what the half had before
    pair.close(0)
    pair.close(1)
    assert space.stats().cached == 2 * 16 * KIB
    assert kernel.counters().mapped == 2 * 16 * KIB


# --- B51 ---------------------------------------------------------------------------------------------------


def test_b51_kva_stays_with_the_cached_object_and_a_big_buffer_goes_at_close() -> None:
    """Closing pipes keeps their 16 KiB buffers mapped until memory is reclaimed; a 64 KiB buffer goes at close."""
    kernel = KernelMap(base=0, size=1 << 26, own_objects=True)
    space = CachedSpace(PerPipeSpace(kernel, kva_limit=1 << 26), sizes=[16 * KIB], depth=None)
    system = PipeSystem(space, era_of("netbsd-2009"), maxpipekva=1 << 26)
    pairs = [system.pipe() for _ in range(100)]
    assert kernel.counters().mapped == 100 * 16 * KIB  # the write side has none
    big = pairs[0]
    big.write(1, 60_000)
    assert kernel.counters().mapped == (100 * 16 + 64) * KIB
    for pair in pairs:
        pair.close(0)
        pair.close(1)
    assert kernel.counters().mapped == 100 * 16 * KIB
    assert (system.budget.kva_used, space.stats().cached) == (0, 100 * 16 * KIB)
    before = kernel.counters().map_ops
    system.pipe()
    assert kernel.counters().map_ops == before
    space.reclaim()
    assert kernel.counters().mapped == 16 * KIB


def test_b51_descriptors_are_one_way() -> None:
    """Writing to the read end or reading from the write end fails with EBADF, and the write side has no buffer."""
    space = PerPipeSpace(KernelMap(base=0, size=1 << 26, own_objects=True), kva_limit=1 << 26)
    system = PipeSystem(space, era_of("netbsd-2009"), maxpipekva=1 << 26)
    pair = system.pipe()
    with pytest.raises(PipeError) as caught:
        pair.write(0, 20_000)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(PipeError) as caught:
        pair.read(1, 1)
    assert caught.value.errno == errno.EBADF
    assert (pair.write(1, 5), pair.read(0, 5), pair.halves[1].size) == (5, 5, 0)


# --- B52 ---------------------------------------------------------------------------------------------------


def test_b52_the_33rd_big_pipe_stays_at_16k_and_nothing_limits_kva() -> None:
    """At most 32 pipes grow to 64 KiB at a time, and new pipes get 16 KiB however many there are."""
    kernel = KernelMap(base=0, size=1 << 28, own_objects=True)
    space = PerPipeSpace(kernel, kva_limit=1 << 28)
    system = PipeSystem(space, era_of("openbsd"), maxpipekva=1 << 20)
    pairs = [system.pipe() for _ in range(500)]  # far above maxpipekva
    assert {half.size for pair in pairs for half in pair.halves} == {16 * KIB}
    for pair in pairs[:33]:
        pair.write(1, 60_000)
    assert [pair.halves[0].size for pair in pairs[31:33]] == [64 * KIB, 16 * KIB]
    pairs[0].close(0)
    pairs[40].write(1, 60_000)
    assert pairs[40].halves[0].size == 64 * KIB
    assert system.console.lines == []


def test_b52_a_buffer_that_cannot_be_had_is_enomem() -> None:
    """When the kernel map is full, pipe() fails with ENOMEM and prints nothing."""
    space = PerPipeSpace(KernelMap(base=0, size=48 * KIB), kva_limit=48 * KIB)
    system = PipeSystem(space, era_of("openbsd"), maxpipekva=1 << 20)
    system.pipe()
    with pytest.raises(PipeError) as caught:
        system.pipe()
    assert caught.value.errno == errno.ENOMEM
    assert (system.budget.kva_used, system.console.lines) == (32 * KIB, [])


# --- B53 ---------------------------------------------------------------------------------------------------


def linux(pages: int = 4096, **limits: Any) -> LinuxPipes:
    """Make Linux's pipes over a direct map of so many pages."""
    size = pages * PAGE
    kernel = KernelMap(base=0, size=size, direct=True)
    return LinuxPipes(CoalescingSpace(kernel, kva_limit=size, arena_size=size), **limits)


def test_b53_the_1025th_default_pipe_of_a_user_gets_two_slots() -> None:
    """The soft limit allows a user 1,024 pipes of 16 slots, then pipes of two; the privileged are exempt."""
    system = linux()
    pipes = [system.pipe(USER) for _ in range(1026)]
    assert [pipe.max_slots for pipe in pipes[1022:]] == [16, 16, 2, 2]
    assert system.charged(USER) == PIPE_USER_PAGES_SOFT + 2 * PIPE_MIN_DEF_BUFFERS
    assert all(system.pipe().max_slots == PIPE_DEF_BUFFERS for _ in range(1100))
    assert system.pipe(Owner(uid=7, privileged=False)).max_slots == PIPE_DEF_BUFFERS
    pipes[0].close(0)
    pipes[0].close(1)
    assert system.pipe(USER).max_slots == 2  # 16 more would still be above
    system.check()


def test_b53_a_hard_limit_is_enfile_and_leaves_no_charge() -> None:
    """A pipe above the hard limit fails with ENFILE and charges nothing."""
    system = linux(pages_soft=0, pages_hard=40)
    system.pipe(USER)
    system.pipe(USER)
    with pytest.raises(PipeError) as caught:
        system.pipe(USER)
    assert caught.value.errno == errno.ENFILE
    assert system.charged(USER) == 32
    system.pipe()
    assert (system.counters().pipes_refused, system.counters().pipes) == (1, 3)


@pytest.mark.parametrize(("size", "slots"), [(0, 1), (1, 1), (PAGE, 1), (PAGE + 1, 2), (5 * PAGE, 8), (1 << 20, 256)])
def test_b53_a_ring_is_set_to_a_power_of_two_of_pages(size: int, slots: int) -> None:
    """Setting a ring's size rounds it up to a power of two of pages, returns it in bytes and charges the user for it."""
    system = linux()
    pipe = system.pipe(USER)
    assert pipe.set_size(size) == slots * PAGE
    assert (pipe.max_slots, system.charged(USER)) == (slots, slots)
    system.check()


def test_b53_setting_a_ring_fails_as_fcntl_does() -> None:
    """A size fails with EINVAL above 2 GiB, EPERM above a user's limits, and EBUSY below what is in use."""
    system = linux(pages_soft=64)
    pipe, rich = system.pipe(USER), system.pipe()

    def fails(of: object, size: int) -> int | None:
        with pytest.raises(PipeError) as caught:
            of.set_size(size)  # type: ignore[attr-defined]
        return caught.value.errno

    assert fails(pipe, 2**31 + 1) == errno.EINVAL
    assert fails(pipe, -1) == errno.EINVAL
    assert fails(pipe, (1 << 20) + 1) == errno.EPERM
    assert fails(pipe, 128 * PAGE) == errno.EPERM
    assert rich.set_size(1 << 21) == 1 << 21
    pipe.write(1, 5 * PAGE)
    assert fails(pipe, 4 * PAGE) == errno.EBUSY
    assert pipe.set_size(8 * PAGE) == 8 * PAGE
    assert (pipe.max_slots, system.charged(USER)) == (8, 8)


def test_b53_pages_come_with_the_data_and_a_small_write_goes_into_the_last_one() -> None:
    """Pages are allocated as data arrive, small writes share the last page, and one page that was read is kept."""
    system = linux()
    pipe = system.pipe()
    assert system.kva_used == 0
    assert (pipe.write(1, b"a" * 100), pipe.write(1, b"b" * 100), system.kva_used) == (100, 100, PAGE)
    into = bytearray()
    assert pipe.read(0, 150, into=into) == 150
    assert bytes(into) == b"a" * 100 + b"b" * 50
    assert pipe.read(0, 50) == 50
    assert (system.kva_used, len(pipe.spares)) == (PAGE, 1)
    assert pipe.write(1, 3 * PAGE) == 3 * PAGE
    assert system.kva_used == 3 * PAGE
    pipe.close(1)
    assert (pipe.read(0, 4 * PAGE), pipe.read(0, 1)) == (3 * PAGE, 0)
    pipe.close(0)
    assert (system.kva_used, system.peak_kva_used) == (0, 3 * PAGE)
    system.check()


def test_b53_a_full_ring_takes_no_more_than_its_slots() -> None:
    """A ring of 16 slots takes 16 pages; a full ring refuses a small write, and a free slot wakes the writer."""
    system = linux()
    pipe = system.pipe()
    assert pipe.write(1, 20 * PAGE) == 16 * PAGE
    assert not pipe.wakes_writer(1)
    with pytest.raises(PipeError) as caught:
        pipe.write(1, 1)
    assert caught.value.errno == errno.EAGAIN
    pipe.read(0, PAGE)
    assert pipe.wakes_writer(1)
    assert pipe.write(1, 4 * PAGE, rest_of=4 * PAGE) == PAGE
    assert not pipe.wakes_writer(0)


def test_dragonflys_pipe_of_2017_keeps_its_two_buffers_until_both_ends_are_closed() -> None:
    """Both are of 32 KiB, never grow or shrink, and go together; a pipe that is kept costs no mapping."""
    era = era_of("dragonfly-2017")
    kernel = KernelMap(base=0)
    system = PipeSystem(DESIGNS["dragonfly-2017"].make_space(era, kernel, 1 << 20), era, maxpipekva=1 << 20)
    pipe = system.pipe()
    assert [half.size for half in pipe.halves] == [32768, 32768]
    assert pipe.write(1, 100_000) == 32768
    pipe.close(0)
    assert (system.kva_used, pipe.halves[0].size) == (65536, 32768)
    pipe.close(1)
    assert (system.kva_used, kernel.counters().mapped) == (0, 65536)
    mapped = kernel.counters().map_ops
    again = system.pipe()
    assert kernel.counters().map_ops == mapped
    again.close(1)
    again.close(0)
    system.check()


def test_xnus_buffers_grow_by_blocks_and_a_write_fails_where_they_cannot() -> None:
    """512 bytes at first, then the smallest block that is larger than the need; select sees 16 KiB at least."""
    era = era_of("xnu")
    system = PipeSystem(PerPipeSpace(KernelMap(base=0), kva_limit=1 << 20), era, maxpipekva=1 << 17)
    pipe = system.pipe()
    assert ([half.size for half in pipe.halves], system.kva_used) == ([512, 0], 512)
    for n, size in ((511, 512), (1, 512), (1, 1024), (10_000, 16_384), (6_000, 65_536)):
        pipe.write(1, n)
        assert pipe.halves[0].size == size, n
    pipe.read(0, 1 << 20)
    assert pipe.halves[0].size == 65_536
    moves = system.counters().resizes_moved
    assert (pipe.write(1, 100_000), pipe.halves[0].size) == (65_536, 65_536)
    assert system.counters().resizes_moved == moves + 1  # an empty pipe gets a new buffer, though of the same size
    assert pipe.read(0, 1) == 1
    assert pipe.wakes_writer(1)
    small = system.pipe()
    small.write(1, 512)
    assert small.poll(1).writable
    event = small.knote(1, "write").event()
    assert event is not None
    assert event.data == 16_384 - 512
    assert refused(small.write, 0, 5) == refused(small.read, 1, 5) == errno.EBADF
    assert (small.stat(1).st_size, small.stat(1).st_blksize) == (512, 16_384)
    gone = system.pipe()
    gone.close(0)
    event = gone.knote(1, "write").event()
    assert event is not None
    assert (event.data, event.eof, event.oneshot) == (0, True, False)
    other = system.pipe()
    other.write(1, 60_000)
    full = system.pipe()
    full.write(1, 512)
    while system.kva_used < 1 << 17:
        system.pipe()
    assert refused(full.write, 1, 1) == errno.EAGAIN  # it grows no more
    assert full.halves[0].size == 512
    system.check()
    tight = PipeSystem(PerPipeSpace(KernelMap(base=0, size=3 * 4096), kva_limit=3 * 4096), era, maxpipekva=1 << 24)
    one = tight.pipe()
    assert one.write(1, 100) == 100
    assert refused(one.write, 1, 60_000) == errno.ENOMEM
    assert one.buffered(0) == 100
    tight.check()


def refused(call: Any, *arguments: Any) -> int:
    """Return the number of the error that a call raises."""
    with pytest.raises(PipeError) as caught:
        call(*arguments)
    return caught.value.errno or 0


def illumos(pages: int = 64) -> StreamsPipes:
    """Make illumos' pipes over so many pages."""
    state = KERNELS["illumos"]
    assert isinstance(state, StreamsState)
    kernel = KernelMap(base=0, size=pages * 4096, direct=True)
    space = DESIGNS["illumos"].make_space(state, kernel, pages * 4096)
    pipes = pipes_of(state, space, pages * 4096)
    assert isinstance(pipes, StreamsPipes)
    return pipes


def test_b74_a_write_takes_blocks_and_a_read_frees_them() -> None:
    """A pipe has no buffer; each write is a block of its own, rounded to a cache's size; the mark can be passed."""
    system = illumos()
    pipe = system.pipe()
    assert system.kva_used == 0
    assert (pipe.write(1, b"ab"), pipe.write(1, b"c" * 100)) == (2, 100)
    assert system.kva_used == 16 + 144
    got = bytearray()
    assert (pipe.read(0, 50, into=got), bytes(got), system.kva_used) == (50, b"ab" + b"c" * 48, 144)
    assert (pipe.read(0, 99), system.kva_used, pipe.buffered(0)) == (52, 0, 0)
    for n, taken in ((65_536, 20_480), (16_384, 16_384), (16_385, 16_385)):
        assert pipe.write(1, n) == taken
        assert pipe.readable(0) == taken
        pipe.read(0, 1 << 20, into=got)
    assert (pipe.write(1, 16_383), pipe.write(1, 5_120), refused(pipe.write, 1, 1)) == (16_383, 5_120, errno.EAGAIN)
    assert (pipe.writable(1), pipe.wakes_writer(1)) == (False, False)
    pipe.read(0, 5_120)
    assert (pipe.writable(1), pipe.writes_directly(1), refused(pipe.set_size, 1)) == (True, False, errno.EINVAL)
    system.check()


def test_b74_ends_are_two_way_and_a_close_loses_what_its_own_end_has_not_read() -> None:
    """What was written stays for the other end; the pipe goes when both are closed; no memory is ENOSR."""
    system = illumos(4)
    pipe = system.pipe()
    pipe.write(0, 7)
    pipe.write(1, 9)
    assert repr(pipe) == "<StreamsPipe 0: 9 and 7 bytes queued>"
    assert pipe.close(1)
    assert (pipe.buffered(0), system.kva_used, pipe.writable(0)) == (9, 80, False)
    assert (refused(pipe.write, 0, 1), pipe.write(0, 0)) == (errno.EPIPE, 0)
    assert refused(pipe.read, 1, 1) == refused(pipe.close, 1) == errno.EBADF
    assert [pipe.read(0, 0), pipe.read(0, 20), pipe.read(0, 20)] == [0, 9, 0]
    assert (pipe.close(0), pipe.finished, system.counters().pipes, system.console_lines) == (True, True, 0, ())
    other = system.pipe()
    assert refused(other.read, 0, 1) == errno.EAGAIN
    assert (other.write(1, 9_000), refused(other.write, 1, 5_000)) == (9_000, errno.ENOSR)
    assert (system.extremes(), system.extremes()) == ((0, 12_048), (12_048, 12_048))
    assert (system.peak_kva_used, system.counters().pipes_created) == (12_048, 2)
    assert [block_size(n) for n in (8_184, 8_185, 12_040, 12_041)] == [8_192, 12_048, 12_048, 16_384]
    for call, *arguments in ((other.write, 2, 1), (other.write, 1, -1), (other.read, 0, -1)):
        with pytest.raises(InvalidRequestError):
            call(*arguments)
    system.check()


CORRUPT: list[tuple[str, Any]] = [
    ("PI1", lambda system, _pipe: setattr(system, "_used", 5)),
    ("PI1", lambda system, pipe: system.space.free(pipe.ends[0].blocks[0].address)),
    ("PI2", lambda _system, pipe: setattr(pipe.ends[0], "cnt", 5)),
    ("PI3", lambda _system, pipe: setattr(pipe, "bytes_in", 5)),
]


@pytest.mark.parametrize(("code", "corrupt"), CORRUPT, ids=["used", "freed", "count", "bytes"])
def test_b74_each_corruption_is_reported(code: str, corrupt: Any) -> None:
    """The check recomputes what it tells."""
    system = illumos()
    pipe = system.pipe()
    pipe.write(1, 100)
    system.check()
    corrupt(system, pipe)
    assert code in {violation.code for violation in system.violations()}


def test_dragonfly_since_2017_wakes_a_writer_at_half_the_buffer() -> None:
    """A read that leaves at most 16 KiB of 32 wakes who waits to write."""
    pipe = PipeSystem(PerPipeSpace(KernelMap(base=0), kva_limit=1 << 20), era_of("dragonfly-2017"), maxpipekva=1).pipe()
    pipe.write(1, 32_768)
    pipe.read(0, 16_383)
    assert not pipe.wakes_writer(1)
    pipe.read(0, 1)
    assert pipe.wakes_writer(1)


def test_netbsds_rest_of_a_write_is_atomic_once_it_is_small() -> None:
    """The rest of a larger write waits until all of it fits, once it is no larger than PIPE_BUF; and fstat tells the size."""
    pipe = PipeSystem(PerPipeSpace(KernelMap(base=0), kva_limit=1 << 20), era_of("netbsd-10"), maxpipekva=1).pipe()
    pipe.write(1, 1000)
    assert pipe.write(1, 15_784) == 15_384
    pipe.read(0, 11_384)
    pipe.write(1, 11_284)
    assert refused(pipe.write, 1, 400) == errno.EAGAIN
    with pytest.raises(PipeError):
        pipe.write(1, 400, rest_of=15_784)
    assert pipe.stat(0).st_blksize == pipe.stat(1).st_blksize == 16_384
    pipe.close(0)
    assert refused(pipe.knote, 1, "write") == errno.EBADF


def test_openbsd_backs_the_reverse_half_first() -> None:
    """So it gets the lower address, and what cannot be had leaves nothing behind."""
    system = PipeSystem(
        PerPipeSpace(KernelMap(base=0, size=3 * 16_384), kva_limit=1 << 20), era_of("openbsd"), maxpipekva=1
    )
    pipe = system.pipe()
    assert pipe.halves[1].base < pipe.halves[0].base
    assert refused(system.pipe) == errno.ENOMEM
    assert system.kva_used == 2 * 16_384
    system.check()
