"""What FreeBSD's pipes do today, and since when: B55 to B62, B73, B75 to B78."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from coalloc import ERAS, InvalidRequestError, KernelMap, PerPipeSpace, PipeError, PipeSystem
from coalloc.pipes.budget import Owner
from coalloc.pipes.eras import Era, Numbers
from coalloc.pipes.fifo import Fifo

PAGE = 4096
FULL = 4 * PAGE
ALL_ERAS = pytest.mark.parametrize("era", ERAS.values(), ids=list(ERAS))


def make(era: str | Era, *, m: int = 1 << 20) -> PipeSystem:
    """Make a system over one mapping for each buffer."""
    state = ERAS[era] if isinstance(era, str) else era
    return PipeSystem(PerPipeSpace(KernelMap(base=0), kva_limit=m), state, maxpipekva=m)


def refused(call: Any, *arguments: Any, **named: Any) -> int:
    """Return the number of the error that a call raises."""
    with pytest.raises(PipeError) as caught:
        call(*arguments, **named)
    return caught.value.errno or 0


@ALL_ERAS
@pytest.mark.parametrize(("written", "room"), [(0, FULL), (FULL - 513, 513), (FULL, 0)])
def test_b55_a_writer_is_told_the_room_at_the_readers_close(era: Era, written: int, room: int) -> None:
    """From 12.2 on EVFILT_WRITE has the room at the close, with EV_EOF and EV_ONESHOT; before that 0."""
    pair = make(era).pipe()
    note = pair.knote(1, "write")
    pair.write(1, written)
    pair.close(0)
    event = note.event()
    assert event is not None
    assert event.data == (room if era.tells_room_at_eof else 0)
    assert (event.eof, event.oneshot) == (True, era.name not in ("2003-07", "2004-01"))
    assert era.tells_room_at_eof == (era.name in ("12.2", "14.x", "current"))


def test_b55_a_direct_write_leaves_the_buffers_room() -> None:
    """While it goes on the room is 0; when the reader closes it is that of the empty buffer."""
    pair = make("current").pipe()
    note = pair.knote(1, "write")
    pair.write(1, FULL, direct=True)
    assert note.event() is None
    pair.close(0)
    event = note.event()
    assert event is not None
    assert event.data == FULL


def _lean(era: Era) -> tuple[PipeSystem, Any]:
    """Return a system above three quarters of its limit, and a pipe of 16 KiB."""
    system = make(era, m=1 << 18)
    pair = system.pipe()
    while system.kva_used < 0.8 * (1 << 18):
        system.pipe()
    return system, pair


@ALL_ERAS
def test_b56_a_read_of_nothing_does_nothing(era: Era) -> None:
    """A read of 0 bytes never shrinks; a non-blocking read of an empty pipe shrinks before 14, and a blocking one always."""
    if not era.shrinks:
        assert make(era).pipe().read(0, 0) == 0
        return
    system, pair = _lean(era)
    assert pair.read(0, 0) == 0
    assert pair.halves[0].size == FULL
    assert refused(pair.read, 0, 1) == errno.EAGAIN
    assert pair.halves[0].size == (FULL if era.empty_read_is_cheap else PAGE)
    assert era.empty_read_is_cheap == (era.name in ("14.x", "current"))
    assert refused(pair.read, 0, 1, blocks=True) == errno.EAGAIN
    assert pair.halves[0].size == PAGE
    assert system.reads == 0


def test_b56_at_the_end_of_the_file_the_buffer_is_looked_at() -> None:
    """The short cut is for pipes that somebody may still write to."""
    _, pair = _lean(ERAS["current"])
    pair.close(1)
    assert pair.read(0, 1) == 0
    assert pair.halves[0].size == PAGE


@ALL_ERAS
def test_b57_a_direct_write_waits_for_the_drain_and_touches_nothing(era: Era) -> None:
    """Nothing goes into the ring, no page of the buffer is touched, nothing is charged; a signal copies what is left."""
    kernel = KernelMap(base=0)
    system = PipeSystem(PerPipeSpace(kernel, kva_limit=1 << 20), era, maxpipekva=1 << 20)
    pair = system.pipe()
    pair.write(1, b"x")
    assert refused(pair.write, 1, b"a" * FULL, direct=True) == errno.EAGAIN
    used, faults = system.kva_used, kernel.counters().faults
    assert (pair.buffered(0), pair.read(0, 9)) == (1, 1)
    assert pair.write(1, b"a" * FULL, direct=True) == FULL
    assert (pair.buffered(0), pair.readable(0), system.kva_used) == (0, FULL, used)
    assert pair.read(0, 1000) == 1000
    assert kernel.counters().faults == faults
    assert pair.interrupt(1) == FULL - 1000
    assert (pair.buffered(0), pair.writes_directly(1)) == (FULL - 1000, False)
    got = bytearray()
    assert (pair.read(0, FULL, into=got), bytes(got)) == (FULL - 1000, b"a" * (FULL - 1000))
    assert pair.interrupt(1) == 0
    for _ in range(2):  # the second time into pages that were touched before
        pair.write(1, FULL, direct=True)
        assert (pair.interrupt(1), pair.read(0, FULL)) == (FULL, FULL)
    system.check()


@ALL_ERAS
def test_b57_wired_pages_are_accounted_until_2004(era: Era) -> None:
    """While they are not below maxpipekvawired a write goes through the buffer; they are given back by the last read."""
    space = PerPipeSpace(KernelMap(base=0), kva_limit=1 << 20)
    system = PipeSystem(space, era, maxpipekva=1 << 20, maxpipekvawired=FULL)
    one, two = system.pipe(), system.pipe()
    assert one.write(1, FULL - 1, direct=True) == FULL - 1
    accounted = era.name in ("2003-07", "2004-01")
    assert (era.accounts_wired, system.pipekvawired) == (accounted, FULL if accounted else 0)
    two.write(1, FULL, direct=True)
    assert (two.buffered(0), system.sysctl().get("kern.ipc.pipekvawired", 0)) == (
        FULL if accounted else 0,
        system.pipekvawired,
    )
    system.check()
    one.read(0, 100)
    assert system.pipekvawired == (FULL if accounted else 0)
    one.read(0, FULL)
    assert system.pipekvawired == 0
    one.write(1, FULL, direct=True)
    one.close(0)
    assert system.pipekvawired == 0
    three = system.pipe()
    three.write(1, FULL, direct=True)
    three.interrupt(1)
    assert system.pipekvawired == 0
    system.check()
    with pytest.raises(InvalidRequestError, match="maxpipekvawired=-1"):
        PipeSystem(space, era, maxpipekva=1 << 20, maxpipekvawired=-1)


@ALL_ERAS
def test_b58_while_a_close_waits_the_writer_sees_the_end(era: Era) -> None:
    """The writer polls writable, a write is EPIPE, EVFILT_WRITE is taken, afterwards it is not; POLLHUP early until 2006."""
    pair = make(era).pipe()
    size = pair.halves[0].size
    pair.write(1, size)
    with pair.busy(0):
        assert not pair.close(0)
        state = pair.poll(1)
        assert (state.writable, state.hung_up) == (True, era.name in ("2003-07", "2004-01", "2006"))
        assert refused(pair.write, 1, 1) == errno.EPIPE
        event = pair.knote(1, "write").event()
        assert event is not None
        assert (event.data, event.eof, event.oneshot) == (0, True, False)
    assert pair.poll(1).hung_up
    assert refused(pair.knote, 1, "write") == (errno.EBADF if era.name == "2003-07" else errno.EPIPE)


@ALL_ERAS
def test_b58_the_reader_sees_the_end_while_the_writers_close_waits_until_12_1(era: Era) -> None:
    """EVFILT_READ has EV_EOF as soon as the other end's close begins, and from 12.2 on when it is finished."""
    pair = make(era).pipe()
    note = pair.knote(0, "read")
    with pair.busy(1):
        assert not pair.close(1)
        event = note.event()
    early = era.name in ("2003-07", "2004-01", "2006", "10.x")
    assert (event is not None and event.eof) is early
    event = note.event()
    assert event is not None
    assert event.eof


@ALL_ERAS
def test_b58_a_direct_write_leaves_no_room_while_its_readers_close_waits(era: Era) -> None:
    """While PIPE_DIRECTW is set EVFILT_WRITE tells 0 bytes, with EV_EOF."""
    pair = make(era).pipe()
    assert pair.write(1, 10_000, direct=True) == 10_000
    note = pair.knote(1, "write")
    with pair.busy(0):
        assert not pair.close(0)
        event = note.event()
        assert event is not None
        assert (event.data, event.eof) == (0, True)


@ALL_ERAS
def test_b59_numbers_are_drawn_for_what_was_made(era: Era) -> None:
    """From 12.2 on a half has a number if it was backed when the pipe was made; in 10.x the lowest free one when asked."""
    system = make(era, m=8 * PAGE if era.numbers is Numbers.AT_CREATION else 1 << 20)
    numbers = []
    pairs = []
    for _ in range(2):
        pairs.append(system.pipe())
        numbers += [pairs[-1].stat(end).st_ino for end in (1, 0)]
    if era.numbers is Numbers.NONE:
        assert set(numbers) == {0}
        assert pairs[0].stat(0).st_dev == 0
        return
    assert pairs[0].stat(0).st_dev == pairs[1].stat(1).st_dev == 1
    if era.numbers is Numbers.AT_FSTAT:
        assert numbers == [1, 2, 3, 4]
        pairs[0].close(0)
        assert system.pipe().stat(0).st_ino == 2
        return
    assert numbers == [2, 1, 4, 3]
    assert refused(system.pipe) == errno.ENOMEM  # there is room for the forward half, whose number is lost
    pairs[0].close(1)
    assert system.pipe().stat(0).st_ino == 6
    assert refused(system.pipe) == errno.ENOMEM  # there is no room for the forward half: none is lost
    for pair in pairs:
        for end in (0, 1)[pair is pairs[0] :]:
            pair.close(1 - end)
    assert system.pipe().stat(0).st_ino == 8


@ALL_ERAS
def test_b60_a_write_of_nothing_is_0_whatever_goes_on(era: Era) -> None:
    """Also during a direct write, which others have to wait for; and it is EPIPE if nobody reads."""
    pair = make(era).pipe()
    pair.write(1, FULL, direct=True)
    assert pair.write(1, 0) == pair.write(1, b"", direct=True) == 0
    assert refused(pair.write, 1, 1) == errno.EAGAIN
    pair.close(0)
    assert refused(pair.write, 1, 0) == errno.EPIPE


def test_b61_privilege_and_limit_are_the_callers_and_the_charge_is_the_owners() -> None:
    """Whoever writes is asked; whoever made the pipe pays."""
    system = make("current", m=1 << 20)
    poor = Owner(uid=7, privileged=False, pipebuf_limit=5 * PAGE)
    pair = system.pipe(poor)
    assert system.budget.users == {7: 5 * PAGE}
    assert pair.write(1, FULL + 1) == FULL  # the buffer stays
    assert pair.halves[0].size == FULL
    rich = Owner(uid=8, privileged=False, pipebuf_limit=1 << 20)
    pair.read(0, FULL)
    assert pair.write(1, FULL + 1, caller=rich) == FULL + 1
    assert system.budget.users == {7: 9 * PAGE}
    limited = Owner(uid=9, privileged=False, pipebuf_limit=PAGE)
    other = system.pipe(rich)
    assert other.write(0, 2 * PAGE, caller=limited) == PAGE
    counters = system.counters()
    assert (counters.pipeallocfail, counters.piperesizefail, counters.pipefragretry) == (0, 0, 0)
    system.check()


def test_b61_the_reserve_is_for_privileged_callers() -> None:
    """Growth into the reserve is refused to those without privilege, whoever owns the pipe, and counts nothing."""
    system = make("current", m=100 * PAGE)
    user = Owner(uid=7, privileged=False)
    pair = system.pipe()
    while system.kva_used + FULL <= 50 * PAGE:
        system.pipe()
    system.piperesizeallowed = True
    system.get_buffer(pair.halves[0], 13 * FULL // 2)
    assert not system.get_buffer(pair.halves[0], 9 * FULL, user)
    before = system.counters()
    assert (before.piperesizefail, before.pipeallocfail) == (0, 0)


@ALL_ERAS
def test_b62_the_least_direct_write_can_be_set(era: Era) -> None:
    """From 14 on kern.ipc.pipe_mindirect says from when on a write is direct; values up to PIPE_BUF are EINVAL."""
    system = make(era)
    pair = system.pipe()
    if "pipe_mindirect" not in era.sysctls:
        with pytest.raises(PipeError) as caught:
            system.pipe_mindirect = 1024
        assert (caught.value.errno, "kern.ipc.pipe_mindirect" in system.sysctl()) == (errno.ENOENT, False)
        return
    assert system.sysctl()["kern.ipc.pipe_mindirect"] == 8192
    for value in (512, 0, -1, True, 2**63):
        with pytest.raises(PipeError) as caught:
            system.pipe_mindirect = value
        assert caught.value.errno == errno.EINVAL
    system.pipe_mindirect = 513
    pair.write(1, 512, direct=True)
    assert pair.buffered(0) == 512
    pair.read(0, 512)
    pair.write(1, 513, direct=True)
    assert (pair.buffered(0), system.sysctl()["kern.ipc.pipe_mindirect"]) == (0, 513)


@ALL_ERAS
def test_b73_a_fifo_has_buffers_from_its_first_open_to_its_last_close(era: Era) -> None:
    """The first opener pays; data stay while anybody has it open; an open that fails makes the pair, and frees it again."""
    system = make(era)
    if not era.fifos:
        assert era.name in ("2003-07", "2004-01", "2006")
        with pytest.raises(InvalidRequestError, match="its FIFOs are no pipes"):
            Fifo(system)
        return
    fifo = Fifo(system)
    poor = Owner(uid=7, privileged=False)
    assert refused(fifo.open, writes=True, nonblock=True) == errno.ENXIO
    assert (system.kva_used, system.counters().pipes_created) == (0, 1)
    writer = fifo.open(writes=True, caller=poor)
    held = FULL if era.name == "10.x" else FULL + PAGE
    assert system.kva_used == held
    assert system.budget.users == ({7: held} if era.charges_users else {})
    assert refused(writer.write, 5) == errno.EPIPE
    reader = fifo.open(reads=True)
    both = fifo.open(reads=True, writes=True, nonblock=True)
    assert (writer.write(b"abc"), fifo.readers, fifo.writers) == (3, 2, 2)
    assert refused(writer.read, 1) == refused(reader.write, 1) == errno.EBADF
    both.close()
    reader.close()
    assert refused(writer.write, 1) == errno.EPIPE
    again = fifo.open(reads=True)
    writer.close()
    got = bytearray()
    assert (again.read(9, into=got), bytes(got), again.read(9)) == (3, b"abc", 0)
    late = fifo.open(writes=True, nonblock=True)
    assert (late.write(9), again.read(5)) == (9, 5)
    assert system.kva_used == held
    late.close()
    assert (again.read(9), again.read(9)) == (4, 0)
    again.close()
    assert (system.kva_used, fifo.pair) == (0, None)
    assert refused(again.close) == errno.EBADF
    with pytest.raises(InvalidRequestError, match="one of them must be true"):
        fifo.open()
    system.check()


@ALL_ERAS
def test_b73_a_fifo_that_nobody_has_written_to_is_not_at_its_end(era: Era) -> None:
    """A read before any writer came is EAGAIN; after the last one has closed it is the end, until another comes."""
    if not era.fifos:
        assert era.name in ("2003-07", "2004-01", "2006")
        return
    fifo = Fifo(make(era))
    reader = fifo.open(reads=True, nonblock=True)
    assert refused(reader.read, 1) == errno.EAGAIN
    writer = fifo.open(writes=True)
    assert refused(reader.read, 1) == errno.EAGAIN
    writer.close()
    assert reader.read(1) == 0
    second = fifo.open(reads=True)
    assert second.read(1) == 0
    fifo.open(writes=True)
    assert refused(reader.read, 1) == errno.EAGAIN


def test_b57_a_direct_write_that_waits_stays_direct() -> None:
    """It stores nothing while the buffer drains, though the buffer shrinks below pipe_mindirect meanwhile."""
    system = make("current", m=98_304)
    pair = system.pipe()
    pair.write(1, 1000)
    assert refused(pair.write, 1, 20_000, direct=True) == errno.EAGAIN
    for _ in range(4):
        system.pipe()
    assert pair.read(0, 500) == 500
    assert pair.halves[0].size == PAGE
    assert refused(pair.write, 1, 20_000, direct=True, rest_of=20_000) == errno.EAGAIN
    assert (pair.readable(0), pair.read(0, 500)) == (500, 500)
    assert pair.write(1, 20_000, direct=True, rest_of=20_000) == PAGE
    assert (pair.writes_directly(1), pair.buffered(0)) == (True, 0)
    assert pair.read(0, 1 << 16) == PAGE
    assert pair.write(1, 15_904, direct=True, rest_of=20_000) == PAGE  # in pieces of the buffer's size, by then small


def test_b75_in_july_2003_a_buffer_of_16_kib_is_full() -> None:
    """A write stores nothing while 16 KiB are buffered, however large the buffer; select sees room all the same."""
    pair = make("2003-07").pipe()
    assert pair.write(1, 20_000) == 20_000
    assert refused(pair.write, 1, 100) == errno.EAGAIN
    assert pair.poll(1).writable
    pair.read(0, 20_000 - FULL + 1)
    assert pair.write(1, 100) == 100


def test_b75_in_july_2003_a_buffer_grows_below_the_mark_only() -> None:
    """From maxpipekva on a write of more than 16 KiB gets no larger buffer."""
    for mark, size in ((2 * FULL, FULL), (2 * FULL + 1, 4 * FULL)):
        system = PipeSystem(PerPipeSpace(KernelMap(base=0), kva_limit=1 << 20), ERAS["2003-07"], maxpipekva=mark)
        pair = system.pipe()
        pair.write(1, 20_000)
        assert pair.halves[0].size == size


def test_b76_until_2004_a_small_buffer_lets_a_write_go_directly() -> None:
    """It goes in pieces of the buffer's size."""
    for era, directly in (("2003-07", True), ("2004-01", True), ("2006", False), ("current", False)):
        system = PipeSystem(PerPipeSpace(KernelMap(base=0), kva_limit=1 << 20), ERAS[era], maxpipekva=8 * FULL)
        while system.pipe().halves[0].size != PAGE:
            pass
        pair = system.pairs[-1]
        assert pair.write(1, 10_000, direct=True) >= PAGE
        assert pair.writes_directly(1) is directly, era


def test_b77_what_fstat_told_in_july_2003() -> None:
    """st_blksize is the buffer's size, and st_size leaves out what a direct write holds."""
    pair = make("2003-07").pipe()
    pair.write(1, 10_000, direct=True)
    assert (pair.stat(0).st_size, pair.stat(0).st_blksize) == (0, FULL)


def test_b78_in_10_x_evfilt_write_sees_room_where_there_is_no_buffer() -> None:
    """The reverse half of a new pipe has none, and EVFILT_WRITE tells PIPE_BUF; in 2006 it tells nothing."""
    event = make("10.x").pipe().knote(0, "write").event()
    assert event is not None
    assert (event.data, event.eof) == (512, False)
    assert make("2006").pipe().knote(0, "write").event() is None
