"""Descriptor tables: every search against brute force, growth, limits, and the system's file table."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coalloc import ROOT, Owner, PipeError, SimClock
from coalloc.errors import InvalidRequestError, PanicError
from coalloc.kernel import LAYOUTS, FdTable, FileTable, OldTable

ALL_LAYOUTS = pytest.mark.parametrize("name", LAYOUTS)


@ALL_LAYOUTS
@given(
    calls=st.lists(st.tuples(st.sampled_from(["alloc", "free", "alloc from"]), st.integers(0, 90)), max_size=150),
)
def test_every_search_finds_the_lowest_free_descriptor(name: str, calls: list[tuple[str, int]]) -> None:
    """Each layout finds the lowest free descriptor, also from a given number on, as a set does."""
    table, used = FdTable(LAYOUTS[name], limit=120), set[int]()
    for call, number in calls:
        if call == "free":
            if number in used:
                table.free(number)
                used.remove(number)
            continue
        start = number if call == "alloc from" else 0
        expected = next(fd for fd in range(start, 10_000) if fd not in used)
        if expected >= 120:
            with pytest.raises(PipeError) as caught:
                table.alloc(start)
            assert caught.value.errno == errno.EMFILE
        else:
            assert table.alloc(start) == expected
            used.add(expected)
        table.check()
    assert set(table.fds()) == used
    assert table.open == len(used)
    assert [fd for fd in range(-1, table.size + 1) if fd in table] == sorted(used)


def test_two_levels_look_again_below_the_start_of_a_word() -> None:
    """A search passes over a word whose only free bit lies below the start."""
    table = FdTable(LAYOUTS["openbsd"], limit=200)
    for _ in range(64):
        table.alloc()
    table.free(40)
    assert table.alloc(41) == 64
    assert table.alloc() == 40
    table.free(41)
    table.free(63)
    assert table.find(42) == 63
    for fd in (41, 63):
        table.use(fd)
    for _ in range(table.size - table.open):
        table.alloc()
    assert table.find(10) == table.size


@ALL_LAYOUTS
def test_a_full_table_has_no_room_and_says_so(name: str) -> None:
    """A table at its limit fails with EMFILE for alloc and grow, and nothing changes."""
    table = FdTable(LAYOUTS[name], limit=15 if name == "dragonfly" else 20)
    for _ in range(table.limit):
        table.alloc()
    for call in (table.alloc, table.grow):
        with pytest.raises(PipeError) as caught:
            call()
        assert caught.value.errno == errno.EMFILE
    assert table.open == table.limit
    assert table.growths == []


def test_old_tables_that_are_kept_are_counted() -> None:
    """Old tables that are kept are counted, except the first, which lies within the structure."""
    import attrs

    table = FdTable(attrs.evolve(LAYOUTS["bitmap"], old_table=OldTable.KEPT))
    for _ in range(200):
        table.alloc()
    assert [grown.old_bytes for grown in table.growths] == [0, 320, 640]
    assert table.kept_bytes == 960


def test_bad_arguments_change_nothing() -> None:
    """A bad argument is refused by its name, and the table does not change."""
    with pytest.raises(InvalidRequestError, match="limit"):
        FdTable(LAYOUTS["bitmap"], limit=0)
    table = FdTable(LAYOUTS["bitmap"], limit=30)
    table.alloc()
    for bad in (-1, 1.5):
        with pytest.raises(InvalidRequestError, match="minfd"):
            table.alloc(bad)  # type: ignore[arg-type]
    for fd in (0, 20, -1):
        with pytest.raises(InvalidRequestError, match="fd"):
            table.use(fd)
    for fd in (7, -1, 99):
        with pytest.raises(PipeError) as caught:
            table.free(fd)
        assert caught.value.errno == errno.EBADF
    assert table.fds() == (0,)


def test_the_last_twentieth_of_the_file_table_is_for_root() -> None:
    """Users get ENFILE at 95 of 100 files, root at 100, and the console has a line at most once a second."""
    clock = SimClock()
    files = FileTable(100, clock)
    user = Owner(uid=1001, privileged=False)
    for _ in range(95):
        files.alloc(user)
    for _ in range(3):
        with pytest.raises(PipeError) as caught:
            files.alloc(user)
        assert caught.value.errno == errno.ENFILE
    for _ in range(5):
        files.alloc(ROOT)
    with pytest.raises(PipeError):
        files.alloc(ROOT)
    assert files.openfiles == 100
    assert [line.text for line in files.console.lines] == [
        "kern.maxfiles limit exceeded by uid 1001, please see tuning(7)."
    ]
    assert files.console.suppressed == 3
    for _ in range(100):
        files.free()
    with pytest.raises(PanicError, match="none is open"):
        files.free()
    with pytest.raises(InvalidRequestError):
        FileTable(0, clock)
