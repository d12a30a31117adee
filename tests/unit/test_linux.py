"""Linux's pipes: input, contents, and what becomes of a pipe whose ends close."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from coalloc import (
    CoalescingSpace,
    InvalidRequestError,
    KernelMap,
    LinuxPipe,
    LinuxPipes,
    Owner,
    PerPipeSpace,
    PipeError,
)

PAGE = 4096


def make(pages: int = 64) -> LinuxPipes:
    """Make pipes over a direct map of so many pages."""
    kernel = KernelMap(base=0, size=pages * PAGE, direct=True)
    return LinuxPipes(CoalescingSpace(kernel, kva_limit=pages * PAGE, arena_size=pages * PAGE))


def fails(call: Any) -> int | None:
    """Return the error number that a call ends in."""
    with pytest.raises(PipeError) as caught:
        call()
    return caught.value.errno


def test_bytes_come_out_in_the_order_in_which_they_went_in() -> None:
    """Bytes come out in order, and bytes that were only counted read as zeros."""
    pipe = make().pipe()
    first = bytes(range(256)) * 20
    assert pipe.write(1, first) == 5120
    assert pipe.write(1, 10) == 10
    assert pipe.write(1, b"tail") == 4
    into = bytearray()
    for n in (3, 5000, 200):
        pipe.read(0, n, into=into)
    assert bytes(into) == first + bytes(10) + b"tail"
    assert pipe.write(1, 5) == 5
    assert pipe.write(1, 6) == 6
    into.clear()
    pipe.read(0, 100, into=into)
    assert bytes(into) == bytes(11)


def test_descriptors_are_one_way_and_closed_ones_are_no_descriptors() -> None:
    """A wrong or closed end is EBADF, a write without a reader EPIPE, an empty pipe EAGAIN."""
    pipe = make().pipe()
    assert fails(lambda: pipe.write(0, 1)) == errno.EBADF
    assert fails(lambda: pipe.read(1, 1)) == errno.EBADF
    assert fails(lambda: pipe.read(0, 1)) == errno.EAGAIN
    pipe.close(0)
    assert fails(lambda: pipe.write(1, 1)) == errno.EPIPE
    assert fails(lambda: pipe.close(0)) == errno.EBADF
    pipe.close(1)
    assert fails(lambda: pipe.write(1, 1)) == errno.EBADF


@pytest.mark.parametrize(
    "call",
    [
        lambda pipe: pipe.write(2, 1), lambda pipe: pipe.write(1, -1), lambda pipe: pipe.write(1, "x"),
        lambda pipe: pipe.write(1, 70000, rest_of=100),
        lambda pipe: pipe.read(0, -1), lambda pipe: pipe.read(0, 1.5), lambda pipe: pipe.close(7),
        lambda pipe: pipe.poll(2), lambda pipe: pipe.tee(pipe, -1), lambda pipe: pipe.splice(pipe, 1.5),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(call: Any) -> None:
    """A bad argument of a pipe's call is refused."""
    with pytest.raises(InvalidRequestError):
        call(make().pipe())


@pytest.mark.parametrize("limits", [{"pages_soft": -1}, {"pages_hard": 1.5}, {"max_size": True}, {"page_size": 5000}])
def test_bad_limits_are_refused_by_name(limits: dict[str, Any]) -> None:
    """A bad limit is refused by its name when the system is made."""
    with pytest.raises(InvalidRequestError) as caught:
        LinuxPipes(CoalescingSpace(KernelMap(), kva_limit=PAGE), **limits)
    assert caught.value.what in limits


def test_without_pages_a_write_takes_what_it_can() -> None:
    """Without pages a write is short and then fails with ENOMEM, and what was stored stays whole."""
    system = make(3)
    one, two = system.pipe(), system.pipe()
    assert one.write(1, 2 * PAGE) == 2 * PAGE
    assert two.write(1, 2 * PAGE) == PAGE
    assert fails(lambda: two.write(1, PAGE)) == errno.ENOMEM
    assert fails(lambda: two.write(1, 2 * PAGE)) == errno.ENOMEM
    system.check()
    assert (one.read(0, 9 * PAGE), two.read(0, 9 * PAGE)) == (2 * PAGE, PAGE)
    system.check()
    for pipe in (one, two):
        pipe.close(0)
        pipe.close(1)
    assert (system.kva_used, system.counters().pipes, system.console_lines) == (0, 0, ())
    system.check()


def test_closing_both_ends_gives_back_what_was_not_read() -> None:
    """Closing both ends gives back pages, the spare page and the user's charge."""
    system = make()
    pipe = system.pipe()
    pipe.write(1, 3 * PAGE)
    pipe.read(0, PAGE)
    assert isinstance(pipe, LinuxPipe)
    assert repr(pipe) == "<LinuxPipe 0: 8192 bytes in 2/16 slots>"
    assert system.kva_used == 3 * PAGE
    pipe.close(1)
    pipe.close(0)
    assert (system.kva_used, system.charged(pipe.owner), system.console_lines) == (0, 0, ())


def test_users_are_charged_by_their_number() -> None:
    """A user's pipes are charged to the uid, whatever else the owner says."""
    system = make()
    for _ in range(1024):
        system.pipe(Owner(1000, privileged=True))
    assert system.pipe(Owner(1000, privileged=False, pipebuf_limit=1)).max_slots == 2
    assert system.charged(Owner(1000)) == 1024 * 16 + 2


def test_a_closed_pipe_has_no_size_to_set() -> None:
    """Setting the size works with one open end, and fails with EBADF when both are closed."""
    system = make()
    pipe = system.pipe()
    pipe.close(0)
    assert pipe.set_size(PAGE) == PAGE
    pipe.close(1)
    assert fails(lambda: pipe.set_size(8 * PAGE)) == errno.EBADF
    system.check()


def test_writing_nothing_succeeds_whoever_reads() -> None:
    """Writing no bytes succeeds even when nobody can read."""
    pipe = make().pipe()
    pipe.close(0)
    assert pipe.write(1, 0) == 0


def test_pages_may_be_larger_in_the_space_below() -> None:
    """Over a map with larger pages, closing a pipe gives back the whole buffer."""
    kernel = KernelMap(page_size=4 * PAGE, base=0, size=1 << 20)
    system = LinuxPipes(PerPipeSpace(kernel, kva_limit=1 << 20))
    pipe = system.pipe()
    pipe.write(1, 10)
    pipe.close(0)
    pipe.close(1)
    assert (system.kva_used, kernel.counters().mapped) == (0, 0)


def test_a_closed_end_tells_nothing_to_poll() -> None:
    """EBADF, as for the other calls; the other end tells that it was closed."""
    pipe = make().pipe()
    pipe.write(1, 5)
    pipe.close(1)
    assert fails(lambda: pipe.poll(1)) == errno.EBADF
    told = pipe.poll(0)
    assert (told.readable, told.hung_up, told.writable, told.error) == (True, True, False, False)
    other = make().pipe()
    other.close(0)
    assert other.poll(1).error
    assert other.size == 65536


def test_parts_and_offsets_that_make_no_sense_are_refused() -> None:
    """Negative numbers and others; more than 1,024 parts are EINVAL; 0 bytes of a file are 0 even at a closed end."""
    pipe = make().pipe()
    for sizes, offset in (([-1], 0), ([1.5], 0), ([None], 0), ([1], -1)):
        with pytest.raises(InvalidRequestError):
            pipe.vmsplice(sizes, offset=offset)  # type: ignore[arg-type]
    for offset, n in ((0, -1), (-1, 5), (0, True)):
        with pytest.raises(InvalidRequestError):
            pipe.splice_from_file(offset, n)
    assert fails(lambda: pipe.vmsplice([0] * 1025)) == errno.EINVAL
    assert pipe.vmsplice([0] * 1024) == 0
    pipe.close(1)
    assert pipe.splice_from_file(5, 0) == 0
    assert fails(lambda: pipe.splice_from_file(5, 1)) == fails(lambda: pipe.vmsplice([1])) == errno.EBADF
