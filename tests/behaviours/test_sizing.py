"""B1 to B10: how large a buffer is, when it grows and shrinks, and how it is resized."""

from __future__ import annotations

import contextlib

import pytest

from coalloc import ERAS, ROOT, Era, PipeError
from coalloc.pipes.eras import Growth
from tests.behaviours.designs import MAKERS, PAGE, USER, close_all, fill, make

ALL_ERAS = pytest.mark.parametrize("era", ERAS.values(), ids=lambda era: era.name)
ALL_DESIGNS = pytest.mark.parametrize("design", MAKERS)
LADDER = [era for era in ERAS.values() if era.growth is Growth.LADDER]
BIG = [era for era in ERAS.values() if era.growth is Growth.BIG]
SMALL, FULL, BIGGEST = 4096, 16384, 65536


@ALL_DESIGNS
@ALL_ERAS
def test_b1_new_forward_buffers_are_16k_up_to_the_mark_and_4k_strictly_above(era: Era, design: str) -> None:
    """New forward buffers get 4 KiB strictly above half the limit, or in July 2003 strictly above the limit itself."""
    system = make(era, design, m=1 << 20, map_size=4 << 20)
    mark = 1 << 20 if era.name == "2003-07" else 1 << 19
    for _ in range(60):
        used = system.budget.kva_used
        assert system.pipe().halves[0].size == (SMALL if used > mark else FULL)
    assert used > mark
    odd = make(era, design, m=(1 << 16) + 1, map_size=1 << 20)
    while odd.budget.kva_used <= ((1 << 16) + 1) // (1 if era.name == "2003-07" else 2):
        assert odd.pipe().halves[0].size == FULL
    assert odd.pipe().halves[0].size == SMALL


@ALL_DESIGNS
@ALL_ERAS
def test_b2_what_is_backed_at_creation_depends_on_the_era(era: Era, design: str) -> None:
    """Creation backs both halves until 2004, the forward half from 2006 on, and from 12.2 on a small reverse half, too."""
    sizes = tuple(half.size for half in make(era, design).pipe().halves)
    expected = {
        "2003-07": (FULL, FULL),
        "2004-01": (FULL, FULL),
        "2006": (FULL, 0),
        "10.x": (FULL, 0),
        "12.2": (FULL, SMALL),
        "14.x": (FULL, SMALL),
        "current": (FULL, SMALL),
    }
    assert sizes == expected[era.name]


@ALL_DESIGNS
@ALL_ERAS
def test_b3_kva_used_is_the_sum_of_the_buffers_and_stays_within_the_limit(era: Era, design: str) -> None:
    """kva_used is the sum of all buffers, exceeds the limit only in July 2003, and is 0 when all pipes are closed."""
    system = make(era, design, m=1 << 19, map_size=1 << 20 if era.name == "2003-07" else None)
    pairs, _ = fill(system)
    for number, pair in enumerate(pairs[:40]):
        for end in (0, 1):
            with contextlib.suppress(PipeError):
                pair.write(end, 1 + number * 700)
            assert system.budget.kva_used == sum(half.size for p in system.pairs for half in p.halves)
            assert system.space.stats().live == system.budget.kva_used
        system.check()
    assert (system.budget.peak <= 1 << 19) == era.maxpipekva_is_hard
    close_all(system)
    assert system.budget.kva_used == 0
    assert system.counters().pipes == 0
    system.space.reclaim()
    assert system.space.stats().mapped == 0


TOTALS = {
    524288: {"2004-01": (38, 9), "2006": (77, 17), "current": (44, 13), "user": (43, 13)},
    8704000: {"2004-01": (663, 133), "2006": (1327, 266), "current": (743, 213), "user": (721, 213)},
    16777216: {"2004-01": (1278, 257), "2006": (2557, 513), "current": (1433, 410), "user": (1392, 410)},
    67108864: {"2004-01": (5118, 1025), "2006": (10237, 2049), "current": (5733, 1639), "user": (5569, 1639)},
}


@ALL_DESIGNS
@pytest.mark.parametrize("column", ["2004-01", "2006", "10.x", "current", "user", "2003-07"])
@pytest.mark.parametrize("m", TOTALS)
def test_b4_the_totals_of_the_worked_table_come_out_exactly(m: int, column: str, design: str) -> None:
    """Each era creates the computed number of pipes before the first failure, and gives as many of them 16 KiB.

    10.x backs what 2006 backs, and goes on without buffers.  In July 2003 the map is full before maxpipekva, which is as
    large as the map, makes new buffers small.
    """
    era = "current" if column == "user" else column
    system = make(era, design, m=m)
    pairs, error = fill(system, USER if column == "user" else ROOT)
    if column == "10.x":
        assert not pairs.pop().halves[0].size
        column = "2006"
    big = sum(pair.halves[0].size == FULL for pair in pairs)
    if column == "2003-07":
        assert (len(pairs), big) == (m // PAGE * PAGE // (2 * FULL),) * 2
    else:
        assert (len(pairs), big) == TOTALS[m][column]
    if column == "2006":
        assert system.budget.kva_used == m
    counters = system.counters()
    assert counters.pipefragretry == 0
    assert counters.pipeallocfail == (0 if column == "user" else 1)
    assert len(system.console.lines) == (0 if column in ("user", "2003-07") else 1)
    assert error.errno in (0, 12, 23)
    system.check()
    system.space.check()


@ALL_DESIGNS
@pytest.mark.parametrize("era", LADDER, ids=lambda era: era.name)
@pytest.mark.parametrize(
    ("n", "size"), [(1, FULL), (16384, FULL), (16385, 32768), (32768, 32768), (32769, BIGGEST), (1 << 20, BIGGEST)]
)
def test_b5_the_ladder_doubles_until_the_data_fit_and_stops_at_64k(era: Era, n: int, size: int, design: str) -> None:
    """A buffer doubles until it holds the buffered data and the new data, up to 64 KiB."""
    system = make(era, design)
    pair = system.pipe()
    assert pair.write(1, n) == min(n, size)
    assert pair.halves[0].size == size
    other = system.pipe()
    other.write(1, 10000)
    other.write(1, 10000)
    assert other.halves[0].size == 32768


@pytest.mark.parametrize("era", LADDER, ids=lambda era: era.name)
def test_b5_the_ladder_does_not_start_above_half_the_limit(era: Era) -> None:
    """A buffer still grows at exactly half the limit, and no longer above it."""
    system = make(era, m=1 << 18)
    pairs = [system.pipe()]
    while system.budget.kva_used < 1 << 17:
        pairs.append(system.pipe())
    exactly_half = system.budget.kva_used == 1 << 17
    pairs[0].write(1, 20000)
    assert pairs[0].halves[0].size == (32768 if exactly_half else FULL)
    assert system.budget.above_half
    assert pairs[1].write(1, 20000) == FULL
    assert pairs[1].halves[0].size == FULL


@pytest.mark.parametrize("era", BIG, ids=lambda era: era.name)
def test_b5_before_the_ladder_an_empty_buffer_becomes_64k_at_once_while_few_are(era: Era) -> None:
    """Only a write of more than 16 KiB into an empty buffer makes it 64 KiB, for at most 32 buffers at a time."""
    system = make(era, m=16 << 20)
    pairs = [system.pipe() for _ in range(34)]
    pairs[0].write(1, 16384)
    assert pairs[0].halves[0].size == FULL
    pairs[0].read(0, 16383)
    assert pairs[0].write(1, 1 << 20) == 16383
    assert pairs[0].halves[0].size == FULL
    for pair in pairs[1:33]:
        pair.write(1, 16385)
        assert pair.halves[0].size == BIGGEST
    pairs[33].write(1, 16385)
    assert pairs[33].halves[0].size == FULL
    pairs[1].close(0)
    pairs[33].read(0, 16384)
    pairs[33].write(1, 16385)
    assert pairs[33].halves[0].size == BIGGEST


@ALL_DESIGNS
@ALL_ERAS
@pytest.mark.parametrize(("n", "size"), [(1, 4096), (4096, 4096), (5000, 8192), (100000, 65536)])
def test_b6_the_first_reverse_write_backs_the_reverse_half(era: Era, n: int, size: int, design: str) -> None:
    """The first reverse write of n bytes gives the reverse half 4,096 bytes, doubled until n fits, up to 64 KiB."""
    system = make(era, design)
    pair = system.pipe()
    pair.write(0, n)
    if era.growth is Growth.BIG:
        size = BIGGEST if n > FULL else FULL
    assert pair.halves[1].size == size
    system.check()


@pytest.mark.parametrize("era", LADDER, ids=lambda era: era.name)
def test_b6_above_half_the_limit_the_reverse_half_gets_4k(era: Era) -> None:
    """Above half the limit the reverse half gets 4 KiB, however much is written."""
    system = make(era, m=1 << 18)
    pairs = []
    while not system.budget.above_half:
        pairs.append(system.pipe())
    pairs[-1].write(0, 60000)
    assert pairs[-1].halves[1].size == SMALL


@ALL_ERAS
def test_b7_buffers_shrink_only_above_three_quarters_and_only_where_little_is_buffered(era: Era) -> None:
    """From 2006 on, above three quarters, reads and writes shrink buffers with little data; direct writes do not."""
    m = 1 << 18
    system = make(era, m=m, map_size=1 << 20)
    empty, full, direct, reader = (system.pipe() for _ in range(4))
    full.write(1, 5000)
    reader.write(1, 4097)
    direct.write(1, 10000, direct=True)
    while system.budget.kva_used <= m * 3 // 4:
        empty.read(0, 0)
        empty.write(1, 0)
        assert empty.halves[0].size == FULL
        system.pipe()
    for _ in range(3):
        system.pipe()
    system.piperesizeallowed = False
    empty.write(1, 1)
    assert empty.halves[0].size == FULL
    system.piperesizeallowed = True
    empty.write(1, 1)
    full.write(1, 1)
    direct.read(0, 1)
    reader.read(0, 1)
    assert reader.halves[0].size == FULL
    reader.read(0, 1)
    shrunk = SMALL if era.shrinks else FULL
    assert [p.halves[0].size for p in (empty, full, direct, reader)] == [shrunk, FULL, FULL, shrunk]
    assert direct.halves[0].direct is not None


@ALL_DESIGNS
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("era", LADDER, ids=lambda era: era.name)
def test_b8_a_resize_keeps_the_bytes_and_leaves_them_linear(era: Era, wrapped: bool, design: str) -> None:
    """A resize keeps the bytes and moves them to the buffer's start; the new size is never less than what is buffered."""
    system = make(era, design)
    pair = system.pipe()
    half = pair.halves[0]
    data = bytes(range(256)) * 64
    pair.write(1, data[:16000])
    got = bytearray()
    pair.read(0, 12000, into=got)
    pair.write(1, data[:6000] if wrapped else data[:300])
    assert (half.in_ < half.out) == wrapped
    buffered = half.peek(half.cnt)
    pair.write(1, b"x" * 16384)
    assert half.size == 32768
    assert half.out == 0
    assert half.in_ == half.cnt == len(buffered) + 16384
    got = bytearray()
    pair.read(0, 40000, into=got)
    assert bytes(got) == buffered + b"x" * 16384
    pair.write(1, data[:9000])
    assert system.get_buffer(pair.halves[0], SMALL)
    assert (half.size, half.out, half.in_, half.cnt) == (12288, 0, 9000, 9000)
    pair.write(1, data[:3288], rest_of=3288)
    assert system.get_buffer(pair.halves[0], SMALL)
    assert (half.size, half.in_) == (12288, 12288)
    system.check()


@pytest.mark.parametrize("era", [era for era in ERAS.values() if era.shrinks], ids=lambda era: era.name)
def test_b9_a_shrink_fails_in_a_map_that_is_full(era: Era) -> None:
    """A shrink in a full map fails: piperesizefail counts it, nothing is printed, and data and size stay."""
    system = make(era, m=41 * PAGE)
    pairs, _ = fill(system)
    assert system.budget.kva_used == 41 * PAGE
    before = system.counters()
    lines = len(system.console.lines)
    pairs[0].write(1, b"abc")
    after = system.counters()
    assert pairs[0].halves[0].size == FULL
    assert after.piperesizefail == before.piperesizefail + 1
    assert len(system.console.lines) == lines
    got = bytearray()
    pairs[0].read(0, 9, into=got)
    assert got == b"abc"


def test_b9_in_january_2004_a_failed_resize_prints_the_line() -> None:
    """In January 2004 a growth that fails prints the line, as the mail of 27 January 2004 complains."""
    system = make("2004-01", m=10 * FULL)
    pairs, _ = fill(system)
    system.clock.advance(2 * 10**9)
    pairs[0].write(1, 20000)
    assert pairs[0].halves[0].size == FULL
    assert system.piperesizefail == 1
    assert [line.time for line in system.console.lines] == [0, 2 * 10**9]


@pytest.mark.parametrize("design", ["coalescing", "cached"])
def test_b9_a_space_that_resizes_in_place_can_be_allowed_to(design: str) -> None:
    """A space that may resize in place shrinks a buffer in a full map and keeps its address."""
    system = make("2006", design, m=10 * FULL)
    pairs, _ = fill(system)
    system.resize_in_place = True
    base = pairs[0].halves[0].base
    pairs[0].write(1, b"abc")
    assert (pairs[0].halves[0].size, pairs[0].halves[0].base) == (SMALL, base)
    assert system.counters().resizes_in_place == 1
    system.check()
    system.space.check()


@pytest.mark.parametrize("era", LADDER, ids=lambda era: era.name)
def test_b10_without_permission_to_resize_only_an_unbacked_half_changes(era: Era) -> None:
    """With resizing off, an unbacked half gets 4 KiB, however much is written, and a backed half keeps its size."""
    system = make(era)
    system.piperesizeallowed = False
    pair = system.pipe()
    pair.write(1, 60000)
    pair.write(0, 60000)
    assert [half.size for half in pair.halves] == [FULL, SMALL]
    assert system.sysctl()["kern.ipc.piperesizeallowed"] == 0
