"""When a half gets its first buffer, as data of the era, and what a half without one tells."""

from __future__ import annotations

import errno

import attrs
import pytest

from coalloc import ERAS, Era, PipeError, bundled_build, replay
from coalloc.designs import DESIGNS
from coalloc.pipes.eras import PIPE_SIZE, SMALL_PIPE_SIZE, Backing
from coalloc.pipes.pair import KEvent
from tests.behaviours.designs import make

ALL_ERAS = pytest.mark.parametrize("era", ERAS.values(), ids=lambda era: era.name)


def lazily(era: Era) -> Era:
    """The era with both halves backed at their first write."""
    return attrs.evolve(era, forward=Backing.FIRST_WRITE, reverse=Backing.FIRST_WRITE)


@ALL_ERAS
def test_a_half_backed_at_its_first_write_gets_what_a_new_pipe_would(era: Era) -> None:
    """Until then nothing is held; then PIPE_SIZE, or SMALL_PIPE_SIZE above the mark, for each half by itself."""
    system = make(lazily(era), m=4 * PIPE_SIZE)
    pairs = [system.pipe() for _ in range(4)]
    assert system.kva_used == 0
    for pair in pairs[:3]:
        assert pair.write(1, 1) == 1
    assert [half.size for half in pairs[0].halves] == [PIPE_SIZE, 0]
    pairs[3].write(0, 1)
    above = system.budget.wants_small
    assert pairs[3].halves[1].size == (PIPE_SIZE if era.name == "2003-07" else SMALL_PIPE_SIZE)
    assert above is (era.name != "2003-07")
    system.check()


@ALL_ERAS
def test_a_half_that_its_first_write_will_back_counts_as_writable(era: Era) -> None:
    """Poll and kqueue tell the room of the buffer that it would get, so that whoever selects before a write does write."""
    pair = make(lazily(era)).pipe()
    knote = pair.knote(1, "write")
    assert (pair.poll(1).writable, pair.poll(0).readable, pair.room(1)) == (True, False, PIPE_SIZE)
    assert knote.event() == KEvent(PIPE_SIZE, eof=False)
    assert pair.stat(0).st_size == 0
    with pytest.raises(PipeError) as caught:
        pair.read(0, 1)
    assert caught.value.errno == errno.EAGAIN
    pair.write(1, PIPE_SIZE)
    assert (pair.poll(1).writable, knote.event()) == (False, None)
    pair.close(0)
    assert pair.room(1) == 0


@ALL_ERAS
def test_where_no_buffer_is_to_be_had_the_first_write_fails(era: Era) -> None:
    """ENOMEM, and the pipe stays as it was; when there is room again the write is served."""
    system = make(lazily(era), m=4 * PIPE_SIZE)
    taken = [system.space.alloc(PIPE_SIZE) for _ in range(4)]
    pair = system.pipe()
    with pytest.raises(PipeError) as caught:
        pair.write(1, 10)
    assert (caught.value.errno, pair.halves[0].size) == (errno.ENOMEM, 0)
    system.space.free(taken[0])
    assert pair.write(1, 10) == 10


@pytest.mark.parametrize(("era", "size"), [("2006", 8192), ("2004-01", 0)])
def test_a_half_that_is_never_backed_has_what_growth_gives_it(era: str, size: int) -> None:
    """The ladder starts at 4 KiB; where growth is at once, and only beyond PIPE_SIZE, a smaller write finds no buffer."""
    pair = make(attrs.evolve(ERAS[era], forward=Backing.NONE)).pipe()
    assert pair.halves[0].size == 0
    if size:
        assert pair.write(1, 5000) == 5000
    else:
        with pytest.raises(PipeError, match="ENOMEM"):
            pair.write(1, 5000)
    assert pair.halves[0].size == size


def test_replay_needs_fewer_buffers_where_they_are_had_at_the_first_write() -> None:
    """The real build loses nothing, and maps only what is written to."""
    build = bundled_build()
    eager, lazy = (
        replay(build, DESIGNS["per-pipe"], era=era, limit=64 << 20)
        for era in (ERAS["2004-01"], lazily(ERAS["2004-01"]))
    )
    assert (lazy.pipes.bytes_written, lazy.pipes.bytes_read) == (eager.pipes.bytes_written, eager.pipes.bytes_read)
    assert lazy.map.map_ops < eager.map.map_ops / 2
    assert lazy.map.faults == eager.map.faults
    assert lazy.pipes.kva_used == 0
