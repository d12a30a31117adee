"""Pipes: bad input, and the small print that no behaviour number covers."""

from __future__ import annotations

from typing import Any

import pytest

from coalloc import ERAS, InvalidRequestError, KernelMap, PerPipeSpace, PipeError, PipeSystem, SimClock
from coalloc.pipes.budget import Budget, Console
from coalloc.pipes.ring import Ring
from tests.behaviours.designs import make


def test_a_budget_tells_the_extremes_since_it_was_last_asked() -> None:
    """The least and the most of what was used, from what was used then."""
    budget = Budget(ERAS["2006"], 1 << 20)
    for change in (100, -30, 50, -90):
        budget.add(change)
    assert (budget.extremes(), budget.peak) == ((0, 120), 120)
    budget.add(-10)
    budget.add(40)
    assert (budget.extremes(), budget.extremes(), budget.peak) == ((20, 60), (60, 60), 120)


def test_bad_arguments_of_a_system_are_refused() -> None:
    """A bad argument of a pipe system is refused by its name."""
    space = PerPipeSpace(KernelMap(), kva_limit=1 << 20)
    for what, arguments in (
        ("era", {"era": "2006", "maxpipekva": 1}),
        ("maxpipekva", {"era": ERAS["2006"], "maxpipekva": 0}),
        ("maxpipes", {"era": ERAS["2003-07"], "maxpipekva": 1, "maxpipes": 1}),
        ("hz", {"era": ERAS["2006"], "maxpipekva": 1, "hz": 0}),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            PipeSystem(space, **arguments)  # type: ignore[arg-type]
        assert caught.value.what == what


@pytest.mark.parametrize(
    ("end", "data"), [(2, 1), (-1, 1), ("0", 1), (1, -1), (1, 1.5), (1, "text"), (1, None), (1, True)]
)
def test_bad_arguments_of_a_write_change_nothing(end: Any, data: Any) -> None:
    """A bad end or bad data of a write is refused and nothing is counted."""
    system = make("2006")
    pair = system.pipe()
    before = system.counters()
    with pytest.raises(InvalidRequestError):
        pair.write(end, data)
    assert system.counters() == before


@pytest.mark.parametrize(("end", "n"), [(2, 1), (0, -1), (0, 1.5), (0, True)])
def test_bad_arguments_of_a_read_change_nothing(end: Any, n: Any) -> None:
    """A bad end or number of bytes of a read is refused."""
    pair = make("2006").pipe()
    with pytest.raises(InvalidRequestError):
        pair.read(end, n)
    with pytest.raises(InvalidRequestError):
        pair.close(7)


def test_small_writes_are_atomic_and_large_ones_are_not() -> None:
    """A write of up to PIPE_BUF bytes goes in at once or not at all, and a larger one as far as there is room."""
    pair = make("2004-01").pipe()
    assert pair.room(1) == 16384
    assert pair.write(1, 16384 - 100) == 16284
    with pytest.raises(PipeError, match="EAGAIN"):
        pair.write(1, 101)
    with pytest.raises(PipeError, match="EAGAIN"):
        pair.write(1, 512)
    assert pair.write(1, 513) == 100
    with pytest.raises(PipeError, match="EAGAIN"):
        pair.write(1, 5000)
    assert pair.write(1, 0) == 0
    assert not pair.wakes_writer(1)
    pair.read(0, 16384 - 5460)
    assert pair.wakes_writer(1)


def test_a_direct_write_holds_the_bytes_until_they_are_read() -> None:
    """A direct write needs 8 KiB and an empty buffer, and its bytes bypass the buffer until they are read."""
    system = make("2006")
    system.piperesizeallowed = False
    pair = system.pipe()
    content = bytes(range(256)) * 64
    assert pair.write(1, content[:8191], direct=True) == 8191
    assert pair.halves[0].direct is None
    pair.read(0, 8191)
    assert pair.write(1, content + b"more", direct=True) == 16384
    assert (pair.halves[0].cnt, pair.room(1), pair.wakes_writer(1)) == (0, 0, False)
    with pytest.raises(PipeError, match="EAGAIN"):
        pair.write(1, 5)
    got = bytearray()
    assert pair.read(0, 10000, into=got) == 10000
    assert pair.read(0, 10000, into=got) == 6384
    assert bytes(got) == content
    assert pair.write(1, 9000, direct=True) == 9000
    assert pair.read(0, 1) == 1
    pair.close(0)
    assert pair.halves[0].direct is None


def test_only_linux_changes_the_size_of_a_pipe() -> None:
    """F_SETPIPE_SZ is no call of FreeBSD's."""
    with pytest.raises(PipeError, match="EINVAL"):
        make("2006").pipe().set_size(65536)


def test_an_empty_pipe_has_nothing_to_read_yet() -> None:
    """Reading an empty pipe fails with EAGAIN."""
    with pytest.raises(PipeError, match="EAGAIN"):
        make("2006").pipe().read(0, 1)


def test_counts_and_bytes_mix() -> None:
    """Bytes that were only counted read as zeros between known ones."""
    pair = make("2006").pipe()
    pair.write(1, 3)
    pair.write(1, b"abc")
    pair.write(1, 2)
    got = bytearray()
    pair.read(0, 8, into=got)
    assert bytes(got) == b"\0\0\0abc\0\0"
    counted = make("2006").pipe()
    counted.write(1, 4)
    got = bytearray()
    counted.read(0, 4, into=got)
    assert bytes(got) == bytes(4)
    pair.write(1, 4)
    got = bytearray()
    pair.read(0, 0, into=got)
    pair.read(0, 9, into=got)
    assert bytes(got) == bytes(4)


def test_sysctl_has_the_names_of_its_era() -> None:
    """The sysctls of an era are sorted and have the kernel's names."""
    common = {"maxpipekva", "pipeallocfail", "pipefragretry", "pipekva", "piperesizefail"}
    extra = {
        "2003-07": {"pipes", "maxpipes", "maxpipekvawired", "pipekvawired"},
        "2004-01": {"pipes", "maxpipekvawired", "pipekvawired"}, "2006": {"pipes", "piperesizeallowed"},
        "10.x": {"piperesizeallowed"}, "12.2": {"piperesizeallowed"},
        "14.x": {"piperesizeallowed", "pipe_mindirect"},
        "current": {"piperesizeallowed", "pipe_mindirect", "pipebuf_reserv"},
    }  # fmt: skip
    for era, names in extra.items():
        system = make(era)
        system.pipe()
        values = system.sysctl()
        assert list(values) == sorted(f"kern.ipc.{name}" for name in common | names)
        assert values["kern.ipc.pipekva"] == system.budget.kva_used
        assert values.get("kern.ipc.pipes", 2) == 2
    assert make("current").sysctl()["kern.ipc.pipebuf_reserv"] == 2


def test_pages_are_touched_once_however_often_the_ring_goes_round() -> None:
    """A page faults at the first write to it, and a resized buffer faults for what it copies."""
    kernel = KernelMap(base=0)
    system = PipeSystem(PerPipeSpace(kernel, kva_limit=1 << 20), ERAS["2006"], maxpipekva=1 << 20)
    pair = system.pipe()
    for _ in range(20):
        pair.write(1, 3000)
        pair.read(0, 3000)
    assert kernel.counters().faults == 1
    for _ in range(20):
        pair.write(1, 3000)
        pair.read(0, 2999)
    assert kernel.counters().faults == 4
    pair.write(1, 20000)
    assert pair.halves[0].size == 32768
    assert kernel.counters().faults == 4 + 5


def test_a_console_without_ticks_is_refused() -> None:
    """A console whose clock ticks less than once a second is refused."""
    with pytest.raises(InvalidRequestError):
        Console(SimClock(), hz=0)


def test_a_pipe_describes_itself() -> None:
    """The repr of a pipe tells the state, bytes and size of both halves."""
    pair = make("2006").pipe()
    pair.write(1, 7)
    assert repr(pair) == "<PipePair 0: active 7/16384, active 0/0>"


@pytest.mark.parametrize("writes", [True, False], ids=["write", "read"])
def test_a_buffer_shrinks_where_address_space_is_short(writes: bool) -> None:
    """Above three quarters of the limit the next read or write shrinks a buffer that holds little."""
    system = make("current", m=96 << 10)
    pair = system.pipe()
    pair.write(1, 40_000)
    pair.read(0, 39_990)
    assert pair.halves[0].size == 65536
    while not system.budget.above_three_quarters:
        system.pipe().write(1, 1)
    if writes:
        pair.write(1, 10)
    else:
        pair.read(0, 5)
    assert (pair.halves[0].size, pair.halves[0].cnt) == (4096, 20 if writes else 5)


def test_a_read_that_goes_on_does_not_look_at_the_size_anew() -> None:
    """Only the start of a read may shrink the buffer."""
    system = make("current", m=96 << 10)
    pair = system.pipe()
    pair.write(1, 40_000)
    pair.read(0, 39_990)
    while not system.budget.above_three_quarters:
        system.pipe().write(1, 1)
    assert pair.read(0, 5, again=True) == 5
    assert pair.halves[0].size == 65536
    assert pair.read(0, 5) == 5
    assert pair.halves[0].size == 4096


def test_a_ring_is_as_high_as_its_data_reach() -> None:
    """A ring's height is how far its data reach: 0 when empty, the whole size when they wrap."""
    ring = Ring()
    ring.rebuild(8)
    heights = [ring.high]
    for n, taken in ((6, 4), (5, 0), (0, 7)):
        ring.put(n)
        ring.get(taken)
        heights.append(ring.high)
    assert heights == [0, 6, 8, 0]
