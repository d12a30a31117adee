"""Lock profiles: what is refused, sorted, and counted (the tables' form is in tests/behaviours)."""

from __future__ import annotations

import pytest

from coalloc.errors import InvalidRequestError, PanicError
from coalloc.kernel import LOCK_PROFILING, Lock, LockProfile


def held(profile: LockProfile, lock: Lock, line: int, start: int, end: int) -> None:
    """Acquire and release a lock once."""
    profile.acquired(lock, "a.c", line, now=start)
    profile.released(lock, now=end)


def test_rows_are_sorted_by_a_column_and_ties_by_name() -> None:
    """Rows are sorted by a column, largest first, then by name; an unknown column is refused."""
    profile, lock = LockProfile(), Lock("m")
    for line, ns in ((3, 2000), (1, 9000), (2, 2000)):
        held(profile, lock, line, 0, ns)
    assert [row.name for row in profile.rows("total")] == ["a.c:1 (m)", "a.c:2 (m)", "a.c:3 (m)"]
    assert [row.name for row in profile.rows("name")] == ["a.c:1 (m)", "a.c:2 (m)", "a.c:3 (m)"]
    assert len(profile.rows()) == 3
    with pytest.raises(InvalidRequestError, match="must be one of max, total, count"):
        profile.rows("wait_max")


def test_a_release_of_what_was_not_recorded_is_nothing_and_one_before_is_a_panic() -> None:
    """An unrecorded release is ignored, and one before its acquisition is a panic."""
    profile, lock = LockProfile(), Lock("m")
    profile.released(lock, now=5)
    profile.acquired(lock, "a.c", 1, now=10)
    with pytest.raises(PanicError, match="is released at 9 and was acquired at 10"):
        profile.released(lock, now=9)


def test_disabled_it_records_nothing_and_reset_forgets() -> None:
    """A disabled profile records nothing, and a reset forgets all records."""
    profile, lock = LockProfile(LOCK_PROFILING), Lock("m")
    profile.enabled = False
    profile.contested(lock, "a.c", 1)
    held(profile, lock, 1, 0, 1)
    assert profile.text() == "No locking recorded"
    profile.enabled = True
    held(profile, lock, 1, 0, 1)
    assert profile.sysctl()["debug.lock.prof.records"] == 1
    profile.reset()
    assert profile.sysctl()["debug.lock.prof.acquisitions"] == 0
    assert profile.rows() == []
