"""`LockProfile`: the tables of MUTEX_PROFILING and LOCK_PROFILING: where locks are taken, and how long they are held.

A record belongs to a place in the source: the file and line of the acquisition.  Times are kept in simulated nanoseconds, and
shown in microseconds by integer division, as in the kernel.  A recursive acquisition is not timed.  When the table is full,
acquisitions at new places are only counted as rejected.

The styles differ by data (:class:`ProfileStyle`): columns, widths, and what counts as contention.  MUTEX_PROFILING records
sleep mutexes only.  For each place it counts how often the lock was already taken there (cnt_lock), and how often others found
the lock taken while it was held from there (cnt_hold).  LOCK_PROFILING records all locks, also times the waiting, and leaves
cnt_hold at 0.

Source: MUTEX_PROFILING(9) and FreeBSD kern/kern_mutex.c of early 2006; LOCK_PROFILING(9) and kern/subr_lock.c of FreeBSD
10; B46.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import attrs

from coalloc.errors import InvalidRequestError, PanicError
from coalloc.sched.locks import Lock, LockKind

__all__ = ["LOCK_PROFILING", "MUTEX_PROFILING", "LockProfile", "ProfileRow", "ProfileStyle"]

_HASHSIZE: Final = 1009
_MAXRECORDS: Final = 1000


@attrs.frozen
class ProfileStyle:
    """One kernel's table.

    Args:
        name: The kernel option.
        sysctl: Prefix of its variables.
        columns: The names of the columns; the last one is not padded.
        widths: The widths of the columns.
        mutexes_only: Whether only sleep mutexes are recorded.
        counts_holders: Whether cnt_hold is counted.
    """

    name: str
    sysctl: str
    columns: tuple[str, ...]
    widths: tuple[int, ...]
    mutexes_only: bool
    counts_holders: bool


MUTEX_PROFILING: Final = ProfileStyle(
    "MUTEX_PROFILING",
    "debug.mutex.prof",
    ("max", "total", "count", "avg", "cnt_hold", "cnt_lock", "name"),
    (6, 12, 11, 5, 12, 12),
    mutexes_only=True,
    counts_holders=True,
)
LOCK_PROFILING: Final = ProfileStyle(
    "LOCK_PROFILING",
    "debug.lock.prof",
    ("max", "wait_max", "total", "wait_total", "count", "avg", "wait_avg", "cnt_hold", "cnt_lock", "name"),
    (8, 9, 11, 11, 11, 6, 6, 2, 6),
    mutexes_only=False,
    counts_holders=False,
)


@attrs.define
class _Record:
    """The record of one place, with times in nanoseconds."""

    lock: Lock
    file: str
    line: int
    max: int = 0
    wait_max: int = 0
    total: int = 0
    wait_total: int = 0
    count: int = 0
    cnt_hold: int = 0
    cnt_lock: int = 0


@attrs.frozen
class ProfileRow:
    """A row of the table, with times in whole microseconds."""

    max: int
    wait_max: int
    total: int
    wait_total: int
    count: int
    avg: int
    wait_avg: int
    cnt_hold: int
    cnt_lock: int
    name: str


class LockProfile:
    """Record where locks are taken.

    Args:
        style: The style of the table, :data:`MUTEX_PROFILING` or :data:`LOCK_PROFILING`.

    >>> from coalloc.sched.locks import Lock
    >>> profile, lock = LockProfile(), Lock("pipe mutex")
    >>> profile.acquired(lock, "kern/sys_pipe.c", 500, now=1_000)
    >>> profile.released(lock, now=8_500)
    >>> print(profile.text())
       max        total       count   avg     cnt_hold     cnt_lock name
         7            7           1     7            0            0 kern/sys_pipe.c:500 (pipe mutex)
    """

    def __init__(self, style: ProfileStyle = MUTEX_PROFILING) -> None:
        self.style = style
        self.enabled = True
        self.reset()

    def reset(self) -> None:
        """Forget all records."""
        self._table: list[_Record | None] = [None] * _HASHSIZE
        self._records = 0
        self._acquisitions = 0
        self._rejected = 0
        self._collisions = 0
        self._since: dict[Lock, dict[Hashable, tuple[_Record, int, int]]] = {}

    # --- what threads do -----------------------------------------------------------------------------

    def contested(self, lock: Lock, file: str, line: int) -> None:
        """Record that a lock was found taken; call this once for an acquisition, when the wait begins."""
        if not self._counts(lock):
            return
        record = self._record(lock, file, line)
        if record is not None:
            record.cnt_lock += 1
        if self.style.counts_holders:
            for holder, _, _ in self._since.get(lock, {}).values():
                holder.cnt_hold += 1

    def acquired(self, lock: Lock, file: str, line: int, *, now: int, waited: int = 0, thread: Hashable = None) -> None:
        """Record that a lock was acquired.

        Args:
            lock: The lock.
            file: The source file of the acquisition, as compilers name it.
            line: The line in that file.
            now: Simulated time, in nanoseconds.
            waited: How long the thread waited, in nanoseconds.
            thread: The thread that acquired the lock.
        """
        if not self._counts(lock):
            return
        mine = self._since.setdefault(lock, {})
        if thread in mine:
            record, since, depth = mine[thread]
            mine[thread] = record, since, depth + 1
            return
        self._acquisitions += 1
        found = self._record(lock, file, line)
        if found is not None:
            found.count += 1
            found.wait_total += waited
            found.wait_max = max(found.wait_max, waited)
            mine[thread] = found, now, 0

    def released(self, lock: Lock, *, now: int, thread: Hashable = None) -> None:
        """Record that a lock was released.

        Raises:
            PanicError: If the release comes before the acquisition.
        """
        mine = self._since.get(lock, {})
        if thread not in mine:
            return  # the acquisition was not recorded
        record, since, depth = mine[thread]
        if now < since:
            raise PanicError(f"{lock.name} is released at {now} and was acquired at {since}")
        if depth:
            mine[thread] = record, since, depth - 1
            return
        del mine[thread]
        record.total += now - since
        record.max = max(record.max, now - since)

    def _counts(self, lock: Lock) -> bool:
        return self.enabled and (lock.kind is LockKind.MUTEX or not self.style.mutexes_only)

    def _record(self, lock: Lock, file: str, line: int) -> _Record | None:
        while file.startswith("../"):
            file = file[3:]
        place = line
        for letter in file.encode():
            place = (2 * place + letter) % _HASHSIZE
        place %= _HASHSIZE
        while True:
            record = self._table[place]
            if record is None:
                if self._records >= _MAXRECORDS:
                    self._rejected += 1
                    return None
                self._records += 1
                made = self._table[place] = _Record(lock, file, line)
                return made
            if (record.file, record.line) == (file, line):
                return record
            self._collisions += 1
            place = (place + 1) % _HASHSIZE

    # --- what can be asked -----------------------------------------------------------------------------

    def rows(self, sort: str | None = None) -> list[ProfileRow]:
        """Return the table.

        Args:
            sort: The column to sort by, largest first (names in order).  None keeps the order of the kernel's table.

        Raises:
            InvalidRequestError: For an unknown column.
        """
        if sort is not None and sort not in self.style.columns:
            raise InvalidRequestError("sort", sort, f"must be one of {', '.join(self.style.columns)}")
        rows = [self._row(record) for record in self._table if record is not None]
        if sort == "name":
            rows.sort(key=lambda row: row.name)
        elif sort is not None:
            rows.sort(key=lambda row: (-getattr(row, sort), row.name))
        return rows

    def _row(self, record: _Record) -> ProfileRow:
        lock = record.lock
        kind = "" if self.style.mutexes_only else f"{lock.kind.value}:"
        return ProfileRow(
            max=record.max // 1000,
            wait_max=record.wait_max // 1000,
            total=record.total // 1000,
            wait_total=record.wait_total // 1000,
            count=record.count,
            avg=record.total // (record.count * 1000) if record.count else 0,
            wait_avg=record.wait_total // (record.count * 1000) if record.count else 0,
            cnt_hold=record.cnt_hold,
            cnt_lock=record.cnt_lock,
            name=f"{record.file}:{record.line} ({kind}{lock.name})",
        )

    def text(self, sort: str | None = None) -> str:
        """Return the table as the kernel prints it.

        Raises:
            InvalidRequestError: As :meth:`rows`.
        """
        rows = self.rows(sort)
        if not rows:
            return "No locking recorded"
        lines = [self._line([str(name) for name in self.style.columns])]
        lines += [self._line([str(getattr(row, name)) for name in self.style.columns]) for row in rows]
        return "\n".join(lines)

    def _line(self, cells: list[str]) -> str:
        padded = [cell.rjust(width) for cell, width in zip(cells, self.style.widths, strict=False)]
        return " ".join([*padded, cells[-1]])

    def sysctl(self) -> dict[str, int]:
        """Return the counters by their kernel names, sorted."""
        values = {
            "acquisitions": self._acquisitions,
            "collisions": self._collisions,
            "enable": int(self.enabled),
            "hashsize": _HASHSIZE,
            "maxrecords": _MAXRECORDS,
            "records": self._records,
            "rejected": self._rejected,
        }
        return {f"{self.style.sysctl}.{name}": value for name, value in values.items()}
