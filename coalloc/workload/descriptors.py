"""`Numbers`: which numbers of descriptors each process uses, to derive those of a new pipe where a tool does not record them.

POSIX gives a new descriptor the lowest number that is free.  So the result of every call that makes one tells, too, that all
lower numbers are in use, whatever was believed before.  Numbers of :data:`MOST` and above are not followed.

A set of numbers is the bits of an int, so that a fork copies nothing.
"""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ["MOST", "Numbers"]

MOST: Final = 1 << 15
"""Numbers below this are followed."""
_STANDARD: Final = 0b111
"""A process of which nothing is known has 0, 1 and 2."""


@attrs.define(eq=False)
class _Table:
    """Sets of numbers: those in use, those of them that exec closes, and those that were derived."""

    used: int = _STANDARD
    closing: int = 0
    derived: int = 0
    shared_by: int = 1

    def copy(self) -> _Table:
        return _Table(self.used, self.closing, self.derived)

    def put(self, bits: int, *, closes: bool, derived: bool = False) -> None:
        self.drop(bits)
        self.used |= bits
        if closes:
            self.closing |= bits
        if derived:
            self.derived |= bits

    def drop(self, bits: int) -> None:
        self.used &= ~bits
        self.closing &= ~bits
        self.derived &= ~bits


def _bit(number: int) -> int:
    return 1 << number if number < MOST else 0


class Numbers:
    """Follow the numbers in use of every process, in the order of the effects.

    Attributes:
        derived: For how many pipes the numbers were derived.
        misderived: For how many numbers of them a later call told that they were free.

    Complexity:
        A call takes O(numbers in use / 64).

    >>> numbers = Numbers()
    >>> numbers.made(1, 3), numbers.pipe(1, closes=False), numbers.close(1, 3), numbers.pipe(1, closes=False)
    (None, (4, 5), None, (3, 6))
    """

    def __init__(self) -> None:
        self._tables: dict[int, _Table] = {}
        self.derived = 0
        self.misderived = 0

    def _table(self, pid: int) -> _Table:
        table = self._tables.get(pid)
        if table is None:
            table = self._tables[pid] = _Table()
        return table

    def pipe(self, pid: int, *, closes: bool, counts: bool = True) -> tuple[int, int]:
        """Return the two numbers that a new pipe gets; ``counts`` is false for a pair of sockets."""
        table = self._table(pid)
        made = []
        for _ in range(2):
            bit = ~table.used & (table.used + 1)
            number = bit.bit_length() - 1
            made.append(number)
            table.put(_bit(number), closes=closes, derived=counts)
        self.derived += counts
        return made[0], made[1]

    def made(self, pid: int, number: int, *, closes: bool = False) -> None:
        """Note that a call got the lowest free number."""
        table, bit = self._table(pid), _bit(number)
        self.misderived += bool(table.derived & bit)
        if bit:
            table.put(bit, closes=closes)
            table.used |= bit - 1

    def chosen(self, pid: int, number: int, *, closes: bool = False) -> None:
        """Note that a call got a number that it asked for (dup2, F_DUPFD)."""
        self._table(pid).put(_bit(number), closes=closes)

    def close(self, pid: int, number: int) -> None:
        """Note that a number is free."""
        self._table(pid).drop(_bit(number))

    def close_range(self, pid: int, first: int, last: int | None, *, on_exec: bool = False) -> None:
        """Note that the numbers of a range are free, or will be after exec; to the end where ``last`` is None."""
        table = self._table(pid)
        end = min(MOST, MOST if last is None else last + 1)
        bits = (1 << end) - (1 << first) if first < end else 0
        if on_exec:
            table.closing |= bits & table.used
        else:
            table.drop(bits)

    def mark(self, pid: int, number: int, *, closes: bool) -> None:
        """Note whether exec closes a number."""
        table, bit = self._table(pid), _bit(number)
        table.closing = table.closing | bit if closes else table.closing & ~bit

    def fork(self, pid: int, child: int, *, shares: bool) -> None:
        """Give a child its numbers."""
        self.exit(child)
        table = self._table(pid)
        if shares:
            table.shared_by += 1
            self._tables[child] = table
        else:
            self._tables[child] = table.copy()

    def exec(self, pid: int) -> None:
        """Close what exec closes."""
        table = self._table(pid)
        if table.shared_by > 1:
            table.shared_by -= 1
            table = self._tables[pid] = table.copy()
        table.drop(table.closing)

    def exit(self, pid: int) -> None:
        """Forget a process."""
        table = self._tables.pop(pid, None)
        if table is not None:
            table.shared_by -= 1
