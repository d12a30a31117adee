"""What Linux's pipes do, and since when: B67 to B72."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from coalloc import KernelMap, LinuxPipe, LinuxPipes, Owner, PerPipeSpace, PipeError
from coalloc.pipes.eras import LinuxState
from coalloc.pipes.states import STATES

PAGE = 4096
VERSIONS = [state for state in STATES.values() if isinstance(state, LinuxState)]
ALL_VERSIONS = pytest.mark.parametrize("state", VERSIONS, ids=[state.name for state in VERSIONS])
USER = Owner(7, privileged=False)


def make(state: str | LinuxState = "linux", **options: Any) -> LinuxPipes:
    """Make pipes of a version over a direct map."""
    kernel = KernelMap(base=0, size=1 << 26, direct=True)
    version = STATES[state] if isinstance(state, str) else state
    assert isinstance(version, LinuxState)
    return LinuxPipes(PerPipeSpace(kernel, kva_limit=1 << 26), state=version, **options)


def refused(call: Any, *arguments: Any, **named: Any) -> int:
    """Return the number of the error that a call raises."""
    with pytest.raises(PipeError) as caught:
        call(*arguments, **named)
    return caught.value.errno or 0


def slots(pipe: LinuxPipe) -> int:
    """Return how many slots are in use."""
    return len(pipe.halves[0].ring.slots)


@ALL_VERSIONS
def test_b67_the_size_is_an_unsigned_int(state: LinuxState) -> None:
    """From 6.6 on the argument is cut to 32 bits; before that what does not fit is EINVAL.  Above 2**31 it is EINVAL in all."""
    pipe = make(state).pipe()
    assert pipe.set_size(0) == pipe.set_size(1) == PAGE
    assert pipe.set_size(PAGE + 1) == 2 * PAGE
    for size, cut in ((2**32, PAGE), (2**32 + 2 * PAGE, 2 * PAGE), (-(2**32), PAGE)):
        if state.size_is_unsigned:
            assert pipe.set_size(size) == cut
        else:
            assert refused(pipe.set_size, size) == errno.EINVAL
    for size in (2**31 + 1, 2**32 - 1, -1):
        assert refused(pipe.set_size, size) == errno.EINVAL
    assert state.size_is_unsigned == (state.name in ("linux-6.12", "linux", "linux-7.2"))


def test_b67_a_ring_that_cannot_be_had_is_enomem() -> None:
    """A ring is one piece of memory of at most 4 MiB, with 40 bytes for a slot: 2**28 bytes can be had, and no more."""
    pipe = make().pipe()
    assert pipe.set_size(2**28) == 2**28
    assert refused(pipe.set_size, 2**28 + 1) == errno.ENOMEM
    assert refused(pipe.set_size, 2**31) == errno.ENOMEM
    assert pipe.set_size(1) == PAGE
    assert refused(pipe.set_size, 2**28 + 1, caller=USER) == errno.EPERM


def test_b68_only_a_write_makes_slots_that_a_write_goes_on_in() -> None:
    """Not those of files and of vmsplice, nor a part that was teed or spliced; the pipe that it came from goes on."""
    system = make()
    one, two = system.pipe(), system.pipe()
    one.write(1, 100)
    assert one.tee(two, 50) == 50
    one.write(1, 100)
    two.write(1, 100)
    assert (slots(one), one.buffered(0), slots(two), two.buffered(0)) == (1, 200, 2, 150)
    assert one.splice(two, 30) == 30
    one.write(1, 5)
    two.write(1, 5)
    assert (slots(one), one.buffered(0), slots(two)) == (1, 175, 4)
    assert one.splice(two, 1 << 20) == 175  # a slot that moves whole stays as it is
    two.write(1, 5)
    assert (slots(two), two.buffered(0)) == (5, 365)
    assert two.splice_from_file(100, 2 * PAGE) == 2 * PAGE  # parts of three pages
    two.write(1, 5)
    assert slots(two) == 9
    assert two.vmsplice([1] * 20) == 7
    assert (slots(two), refused(two.write, 1, 1)) == (16, errno.EAGAIN)
    system.check()
    for pipe in (one, two):
        pipe.close(0)
        pipe.close(1)
    assert system.kva_used == 0


def test_b68_the_front_of_a_slot_is_not_regained() -> None:
    """After 4,095 of 4,096 bytes were read, one more byte takes a second slot; and a merge needs no free slot."""
    pipe = make().pipe()
    pipe.write(1, PAGE)
    pipe.read(0, PAGE - 1)
    pipe.write(1, 1)
    assert slots(pipe) == 2
    full = make().pipe()
    for _ in range(16):
        full.write(1, 4000)
    assert not full.poll(1).writable
    assert full.write(1, 96) == 96
    assert refused(full.write, 1, 1) == errno.EAGAIN
    odd = make().pipe()
    odd.write(1, 16 * PAGE - 1)
    assert odd.write(1, PAGE + 1) == 1  # the odd byte goes behind the last slot, and then it is full


def test_b68_in_4_4_a_page_that_was_teed_is_gone_on_in() -> None:
    """Until a0ce2f0aa6ad."""
    system = make("linux-4.4")
    one, two = system.pipe(), system.pipe()
    one.write(1, 100)
    one.tee(two, 100)
    two.write(1, 100)
    assert slots(two) == 1


@pytest.mark.parametrize(
    ("call", "number"), [(LinuxPipe.tee, errno.EAGAIN), (LinuxPipe.splice, errno.EAGAIN)], ids=["tee", "splice"]
)
def test_b68_the_errors_of_splice_and_tee_come_in_the_kernels_order(call: Any, number: int) -> None:
    """EBADF, EINVAL for one pipe, EAGAIN of the source, EPIPE and EAGAIN of the target, and then the end of the file."""
    system = make()
    one, two = system.pipe(), system.pipe()
    assert call(one, two, 0) == 0
    assert refused(call, one, one, 1) == errno.EINVAL
    assert refused(call, one, two, 1) == number
    one.write(1, 10)
    two.write(1, 16 * PAGE)
    assert refused(call, one, two, 1) == errno.EAGAIN
    two.close(0)
    assert refused(call, one, two, 1) == errno.EPIPE
    two.close(1)
    assert refused(call, one, two, 1) == errno.EBADF
    other = system.pipe()
    one.read(0, 10)
    one.close(1)
    assert call(one, other, 1) == 0
    other.write(1, 16 * PAGE)
    assert refused(call, one, other, 1) == errno.EAGAIN


@pytest.mark.parametrize(
    "call", [lambda pipe: pipe.vmsplice([5]), lambda pipe: pipe.splice_from_file(0, 5)], ids=["vmsplice", "splice"]
)
def test_b68_pages_come_only_where_somebody_reads(call: Any) -> None:
    """EPIPE without a reader, EAGAIN without a slot, EBADF without the end; nothing is nothing."""
    pipe = make().pipe()
    assert (pipe.vmsplice([0, 0]), pipe.splice_from_file(3, 0)) == (0, 0)
    pipe.write(1, 16 * PAGE)
    assert refused(call, pipe) == errno.EAGAIN
    pipe.close(0)
    assert refused(call, pipe) == errno.EPIPE
    pipe.close(1)
    assert refused(call, pipe) == errno.EBADF


@ALL_VERSIONS
def test_b69_pages_that_were_read_are_kept(state: LinuxState) -> None:
    """Two from 6.15 on, before that one; a page that another pipe refers to is none of them."""
    system = make(state)
    one, two = system.pipe(), system.pipe()
    one.write(1, 4 * PAGE)
    one.read(0, 4 * PAGE)
    assert system.kva_used == state.spares * PAGE
    assert state.spares == (2 if state.name in ("linux", "linux-7.2") else 1)
    one.write(1, PAGE)
    one.tee(two, PAGE)
    one.read(0, PAGE)
    assert len(one.spares) == state.spares - 1
    two.read(0, PAGE)
    assert (len(one.spares), len(two.spares)) == (state.spares - 1, 1)
    system.check()


def test_b69_7_2_takes_pages_before_it_looks_at_the_pipe() -> None:
    """Up to eight for a write of more than a page; what is left becomes spares, and the rest goes."""
    system = make("linux-7.2")
    pipe = system.pipe()
    pipe.write(1, 16 * PAGE)
    assert refused(pipe.write, 1, 3 * PAGE) == errno.EAGAIN
    assert (system.kva_used, system.peak_kva_used, len(pipe.spares)) == (18 * PAGE, 19 * PAGE, 2)
    system.check()
    small = KernelMap(base=0, size=2 * PAGE, direct=True)
    state = STATES["linux-7.2"]
    assert isinstance(state, LinuxState)
    poor = LinuxPipes(PerPipeSpace(small, kva_limit=2 * PAGE), state=state)
    assert poor.pipe().write(1, 3 * PAGE) == 2 * PAGE
    assert refused(poor.pipe().write, 1, 3 * PAGE) == errno.ENOMEM


def test_b70_a_packet_is_read_alone() -> None:
    """A write in packets makes one of each page; a read takes one, and drops what does not fit; a stream runs into it."""
    pipe = make().pipe()
    assert pipe.write(1, b"a" * 100, packet=True) == 100
    assert pipe.write(1, b"b" * (PAGE + 10), packet=True) == PAGE + 10
    assert slots(pipe) == 3
    got = bytearray()
    assert (pipe.read(0, 50, into=got), bytes(got)) == (50, b"a" * 50)
    assert pipe.buffered(0) == PAGE + 10
    assert pipe.read(0, 1 << 20) == PAGE
    pipe.write(1, 5)  # no packet is gone on in
    assert slots(pipe) == 2
    assert [pipe.read(0, 100), pipe.read(0, 100)] == [10, 5]
    pipe.write(1, 5)
    pipe.write(1, 20, packet=True)  # goes on in the stream before it, and is no packet then
    pipe.write(1, 7, packet=True)
    assert slots(pipe) == 1
    assert pipe.read(0, 100) == 32


@ALL_VERSIONS
def test_b71_limits_hold_for_those_without_capabilities(state: LinuxState) -> None:
    """The soft limit leaves two slots, or one; growth beyond a limit is EPERM; who may exceed what is the caller's."""
    system = make(state, pages_soft=40, pages_hard=60)
    pipes = [system.pipe(USER) for _ in range(4)]
    few = state.beyond_soft
    assert [pipe.max_slots for pipe in pipes] == ([16, 16, 16, few] if state.limits_are_reached else [16, 16, few, few])
    assert refused(pipes[-1].set_size, 16 * PAGE) == errno.EPERM
    if state.shrinks_freely:
        assert pipes[0].set_size(8 * PAGE) == 8 * PAGE
        assert pipes[-1].set_size(16 * PAGE, caller=Owner(admin=True, privileged=False)) == 16 * PAGE
    else:
        assert refused(pipes[0].set_size, 8 * PAGE) == errno.EPERM
    root = make(state, pages_soft=10)
    assert root.pipe().max_slots == 16
    assert root.pipe().max_slots == (16 if state.root_is_exempt else state.beyond_soft)

    def many() -> None:
        for _ in range(30):
            system.pipe(USER)

    assert refused(many) == errno.ENFILE
    system.check()


def test_b71_the_size_that_needs_a_capability_is_a_setting() -> None:
    """CAP_SYS_ADMIN does not help there; a smaller setting makes new pipes smaller."""
    system = make(max_size=8 * PAGE)
    assert system.pipe(USER).max_slots == 8
    admin = Owner(7, privileged=False, admin=True)
    assert refused(system.pipe(admin).set_size, 9 * PAGE) == errno.EPERM
    assert system.pipe().set_size(9 * PAGE) == 16 * PAGE


@ALL_VERSIONS
def test_b72_who_is_woken_depends_on_the_version(state: LinuxState) -> None:
    """A write to a pipe that is not empty wakes in 4.4 and 5.4, and from 5.14 on if it was ever polled; reads likewise."""
    pipe = make(state).pipe()
    woken = []
    for polls in (False, True):
        if polls:
            pipe.poll(0)
        for _ in range(2):
            before = pipe.reader_wakeups
            pipe.write(1, 10)
            woken.append(pipe.reader_wakeups - before)
    always, polled = (
        state.name in ("linux-4.4", "linux-5.4"),
        state.name not in ("linux-4.4", "linux-5.4", "linux-5.10"),
    )
    assert woken == [1, int(always), int(always or polled), int(always or polled)]
    pipe.read(0, 100)
    assert pipe.writer_wakeups == int(always)
    pipe.write(1, 16 * PAGE)
    before = pipe.writer_wakeups
    pipe.read(0, 10)
    partly = pipe.writer_wakeups - before
    assert partly == int(state.name in ("linux-5.10", "linux-6.1", "linux-6.12"))
    pipe.read(0, PAGE)
    assert pipe.writer_wakeups - before - partly == 1


def test_every_value_of_every_record_has_a_source() -> None:
    """Each field of a state says where it comes from; where that was not seen, it says so, and what is assumed."""
    import attrs

    from coalloc.pipes.eras import NAMING

    for state in STATES.values():
        fields = {field.name for field in attrs.fields(type(state))} - NAMING
        assert fields | {"name"} == set(state.sources), state.name
        assert all(len(source) > 10 for source in state.sources.values())
