"""What select, kqueue and fstat tell of an end, beyond FreeBSD's own tests."""

from __future__ import annotations

import errno

import pytest

from coalloc import ERAS, PipeError
from coalloc.errors import InvalidRequestError
from coalloc.pipes.pair import KEvent
from tests.behaviours.designs import make


def test_a_reader_is_ready_for_data_and_for_the_end_of_the_file() -> None:
    """A reader is ready when there are data, even of a direct write, or the end of the file."""
    pair = make("2006").pipe()
    knote = pair.knote(0, "read")
    assert (pair.poll(0).readable, knote.event(), pair.stat(0).st_size) == (False, None, 0)
    pair.write(1, 9000, direct=True)
    assert (pair.poll(0).readable, knote.event(), pair.stat(0).st_size) == (True, KEvent(9000, eof=False), 9000)
    assert not pair.poll(1).writable
    pair.read(0, 9000)
    pair.close(1)
    assert (pair.poll(0).readable, knote.event()) == (True, KEvent(0, eof=True))
    assert pair.poll(0).writable  # a write would not wait: it fails


@pytest.mark.parametrize("era", ERAS)
def test_room_for_an_atomic_write_is_what_counts(era: str) -> None:
    """A writer is ready with 512 bytes of room, and not with 511."""
    system = make(era)
    system.piperesizeallowed = False
    pair = system.pipe()
    for n, writable in ((16384 - 511, False), (1, False)):
        pair.write(1, n)
        assert pair.poll(1).writable is writable
    pair.read(0, 2)
    assert pair.poll(1).writable


def test_closed_ends_and_unknown_filters_are_refused() -> None:
    """A closed end of one's own is EBADF, the other end's EPIPE, and an unknown filter an error that names it."""
    pair = make("current").pipe()
    with pytest.raises(InvalidRequestError, match="filter"):
        pair.knote(0, "vnode")  # type: ignore[arg-type]
    pair.close(0)
    for call in (lambda: pair.poll(0), lambda: pair.stat(0), lambda: pair.knote(0, "read")):
        with pytest.raises(PipeError) as caught:
            call()
        assert caught.value.errno == errno.EBADF
    with pytest.raises(PipeError) as caught:
        pair.knote(1, "write")
    assert caught.value.errno == errno.EPIPE


def test_numbers_differ_between_all_ends_where_there_are_any() -> None:
    """In 10.x all ends have different inode numbers, and one device."""
    system = make("10.x")
    stats = [pair.stat(end) for pair in (system.pipe(), system.pipe()) for end in (0, 1)]
    assert len({stat.st_ino for stat in stats}) == 4
    assert {stat.st_dev for stat in stats} == {1}
    assert {stat.st_blksize for stat in stats} == {4096}
