"""Descriptor tables of the processes in a log: a fork shares the sheets of its parent's table until one of them writes.

A table is cut into sheets of 128 descriptors.  A sheet that several tables have is never changed: who writes to it takes a
copy first.  Each entry of a sheet holds its end of a pipe open once, however many tables have the sheet; since a sheet lives
as long as any table has it, an end is held exactly as long as some table refers to it.  A fork therefore costs a 128th of the
descriptors that it copies, in time and in memory: a log of a megabyte may have 25,000 forks of 50,000 descriptors.

What closes many numbers closes the lowest first, as kernels do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

__all__ = ["Descriptor", "Table"]

_BITS: Final = 7


@attrs.frozen
class Descriptor:
    """What a number in a table refers to: an end of a pipe, or with ``process`` a process (a pidfd)."""

    pipe: int
    end: int
    close_on_exec: bool = False
    process: int = 0


Counted = Callable[[Descriptor], None]


@attrs.define(eq=False)
class _Sheet:
    """Some neighbouring descriptors.

    Args:
        entries: What each number refers to.
        users: How many tables have this sheet, and sheets have it as what execve leaves.
        after_exec: What execve leaves of it, once that was asked for; None for nothing.
        asked: Whether it was asked for.
    """

    entries: dict[int, Descriptor]
    users: int = 1
    after_exec: _Sheet | None = None
    asked: bool = False


class Table:
    """A descriptor table.

    Args:
        hold: Called with each descriptor that begins to hold something open.
        release: Called with each that no longer does.

    Attributes:
        shared_by: How many processes have this very table (CLONE_FILES).
    """

    __slots__ = ("_hold", "_release", "_sheets", "shared_by")

    def __init__(self, hold: Counted, release: Counted) -> None:
        self._hold = hold
        self._release = release
        self._sheets: dict[int, _Sheet] = {}
        self.shared_by = 1

    def get(self, fd: int) -> Descriptor | None:
        """Return what a number refers to; None if that is not known."""
        sheet = self._sheets.get(fd >> _BITS)
        return sheet.entries.get(fd) if sheet is not None else None

    def put(self, fd: int, descriptor: Descriptor) -> None:
        """Let a number refer to something, and no longer to what it referred to."""
        self._hold(descriptor)
        entries = self._writable(fd >> _BITS).entries
        before = entries.get(fd)
        entries[fd] = descriptor
        if before is not None:
            self._release(before)

    def drop(self, fd: int) -> None:
        """Close a number, if it refers to anything that is known."""
        if self.get(fd) is None:
            return
        sheet = self._writable(fd >> _BITS)
        before = sheet.entries.pop(fd)
        if not sheet.entries:
            del self._sheets[fd >> _BITS]
        self._release(before)

    def mark(self, fd: int, close_on_exec: bool) -> None:
        """Set whether execve closes a number."""
        known = self.get(fd)
        if known is not None and known.close_on_exec != close_on_exec:
            self._writable(fd >> _BITS).entries[fd] = attrs.evolve(known, close_on_exec=close_on_exec)

    def between(self, low: int, high: int | None) -> list[int]:
        """Return the numbers that refer to something, from ``low`` to ``high``, both included; None is no bound."""
        return [
            fd
            for number, sheet in self._sheets.items()
            if number >= low >> _BITS and (high is None or number <= high >> _BITS)
            for fd in sheet.entries
            if low <= fd and (high is None or fd <= high)
        ]

    def close_range(self, low: int, high: int | None) -> None:
        """Close the numbers from ``low`` to ``high``, both included; None is no bound."""
        for number in sorted(self._sheets):
            first, last = number << _BITS, (number + 1 << _BITS) - 1
            if low <= first and (high is None or last <= high):
                self._give_up(self._sheets.pop(number))
            elif low <= last and (high is None or first <= high):
                for fd in [
                    fd for fd in sorted(self._sheets[number].entries) if low <= fd and (high is None or fd <= high)
                ]:
                    self.drop(fd)

    def fork(self) -> Table:
        """Return a copy."""
        copy = Table(self._hold, self._release)
        copy._sheets = self._sheets.copy()
        for sheet in copy._sheets.values():
            sheet.users += 1
        return copy

    def exec(self) -> None:
        """Close the numbers that execve closes."""
        for number, sheet in sorted(self._sheets.items()):
            left = self._after_exec(sheet)
            if left is sheet:
                continue
            if left is None:
                del self._sheets[number]
            else:
                left.users += 1
                self._sheets[number] = left
            self._give_up(sheet)

    def leave(self) -> None:
        """Leave the table; the last process that does closes all numbers."""
        self.shared_by -= 1
        if not self.shared_by:
            sheets, self._sheets = self._sheets, {}
            for number in sorted(sheets):
                self._give_up(sheets[number])

    # --- sheets ---

    def _writable(self, number: int) -> _Sheet:
        """Return a sheet that only this table has."""
        sheet = self._sheets.get(number)
        if sheet is None:
            sheet = self._sheets[number] = _Sheet({})
        elif sheet.users > 1:
            sheet.users -= 1
            sheet = self._sheets[number] = self._new(sheet.entries.copy())
        else:
            self._forget(sheet)
        return sheet

    def _new(self, entries: dict[int, Descriptor]) -> _Sheet:
        for descriptor in entries.values():
            self._hold(descriptor)
        return _Sheet(entries)

    def _after_exec(self, sheet: _Sheet) -> _Sheet | None:
        """Return what execve leaves of a sheet: the same sheet, another one, which is kept for the next execve, or None."""
        if not sheet.asked:
            left = {fd: known for fd, known in sheet.entries.items() if not known.close_on_exec}
            sheet.asked = True
            if len(left) == len(sheet.entries):
                sheet.after_exec = sheet
            else:
                sheet.after_exec = self._new(left) if left else None
        return sheet.after_exec

    def _forget(self, sheet: _Sheet) -> None:
        """Forget what execve leaves of a sheet, which is about to change."""
        left, sheet.after_exec, sheet.asked = sheet.after_exec, None, False
        if left is not None and left is not sheet:
            self._give_up(left)

    def _give_up(self, sheet: _Sheet) -> None:
        sheet.users -= 1
        if not sheet.users:
            self._forget(sheet)
            for fd in sorted(sheet.entries):
                self._release(sheet.entries[fd])
