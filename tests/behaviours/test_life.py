"""B20 to B23: who owns which buffer, and how ends are closed."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from coalloc import ERAS, Era, PipeError, PipePair
from coalloc.pipes.half import Present
from tests.behaviours.designs import MAKERS, make

ALL_ERAS = pytest.mark.parametrize("era", ERAS.values(), ids=lambda era: era.name)
ALL_DESIGNS = pytest.mark.parametrize("design", MAKERS)


def read(pair: PipePair, end: int, n: int = 1 << 20) -> bytes:
    """Read and return the bytes."""
    got = bytearray()
    assert pair.read(end, n, into=got) == len(got)
    return bytes(got)


@ALL_DESIGNS
@ALL_ERAS
def test_b20_a_write_lands_in_the_buffer_of_the_other_end(era: Era, design: str) -> None:
    """Each end reads only what the other end wrote."""
    pair = make(era, design).pipe()
    pair.write(1, b"forward")
    pair.write(0, b"reverse")
    assert [half.cnt for half in pair.halves] == [7, 7]
    assert (read(pair, 0), read(pair, 1)) == (b"forward", b"reverse")


@ALL_DESIGNS
@ALL_ERAS
def test_b21_closing_the_writing_end_frees_only_the_reverse_buffer(era: Era, design: str) -> None:
    """Closing the writing end frees the reverse buffer and keeps unread data; closing the reading end frees the rest."""
    system = make(era, design)
    pair = system.pipe()
    pair.write(1, b"unread")
    forward, reverse = (half.size for half in pair.halves)
    used = system.budget.kva_used
    pair.close(1)
    assert system.budget.kva_used == used - reverse
    assert pair.halves[0].size == forward
    assert (read(pair, 0), read(pair, 0)) == (b"unread", b"")
    with pytest.raises(PipeError) as caught:
        pair.write(0, b"x")
    assert caught.value.errno == errno.EPIPE
    pair.close(0)
    assert system.budget.kva_used == 0
    other = system.pipe()
    other.write(1, b"dropped")
    other.close(0)
    assert other.halves[0].size == other.halves[0].cnt == 0
    assert other.room(1) == 0
    with pytest.raises(PipeError) as caught:
        other.write(1, b"x")
    assert caught.value.errno == errno.EPIPE
    system.check()


@ALL_DESIGNS
@ALL_ERAS
@pytest.mark.parametrize("first", [0, 1])
def test_b22_the_pair_goes_back_when_both_ends_are_finished(era: Era, first: int, design: str) -> None:
    """The pair lives until both ends are closed, and a closed end can be neither used nor closed again."""
    system = make(era, design)
    pair = system.pipe()
    assert pair.close(first)
    assert pair in system.pairs
    assert [pair.halves[end].present for end in (first, 1 - first)] == [Present.FINALIZED, Present.ACTIVE]
    calls: list[Callable[[], object]] = [
        lambda: pair.close(first), lambda: pair.read(first, 1), lambda: pair.write(first, 1)
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(PipeError) as caught:
            call()
        assert caught.value.errno == errno.EBADF
    pair.close(1 - first)
    assert pair not in system.pairs
    with pytest.raises(PipeError):
        pair.close(1 - first)
    assert system.counters().pipes == 0
    system.check()


@ALL_DESIGNS
@ALL_ERAS
def test_b23_close_waits_until_nobody_is_busy_in_that_end(era: Era, design: str) -> None:
    """A closed end is at EOF at once, but its buffer is freed only when the last call has left it."""
    system = make(era, design)
    pair = system.pipe()
    size = pair.halves[0].size
    with pair.busy(0) as half:
        with pair.busy(0):
            assert pair.close(0) is False
            assert half.eof
            assert pair.read(0, 9) == 0, "who is busy inside sees the end of the file"
            with pytest.raises(PipeError) as broken:
                pair.write(1, 100000)
            assert broken.value.errno == errno.EPIPE
            with pytest.raises(PipeError) as broken:
                pair.write(0, 1)
            assert broken.value.errno == errno.EPIPE
            assert half.present.name == "CLOSING"
        assert half.size == size
        with pytest.raises(PipeError) as caught:
            pair.close(0)
        assert caught.value.errno == errno.EBADF
    assert half.present is Present.FINALIZED
    assert half.size == 0
    with pytest.raises(PipeError), pair.busy(0):
        pass
    with pair.busy(1):
        pass
    assert pair.close(1) is True
    assert system.budget.kva_used == 0
    system.check()
