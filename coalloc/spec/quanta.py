"""Sets of quanta as ints: bit i stands for the quantum i; every set is finite and its members are >= 0.

>>> bin(span(2, 3)), runs(0b11100110)
('0b11100', [(1, 2), (5, 3)])
"""

from __future__ import annotations

__all__ = ["every", "lowest", "members", "runs", "span", "spread", "starts"]


def span(first: int, n: int) -> int:
    """Return the ``n`` (>= 0) quanta from ``first`` on."""
    return ((1 << n) - 1) << first


def every(step: int, first: int, end: int) -> int:
    """Return the quanta ``first``, ``first + step``, ... below ``end``; ``step`` >= 1.

    >>> members(every(4, 1, 10))
    [1, 5, 9]
    """
    count = max(-(-(end - first) // step), 0)
    found, have = min(count, 1), 1
    while have < count:
        more = min(have, count - have)
        found |= found << step * more
        have += more
    return found << first


def lowest(quanta: int) -> int:
    """Return the lowest member; -1 of the empty set."""
    return (quanta & -quanta).bit_length() - 1


def members(quanta: int) -> list[int]:
    """Return the members, ascending."""
    return [at for first, n in runs(quanta) for at in range(first, first + n)]


def runs(quanta: int) -> list[tuple[int, int]]:
    """Return first quantum and length of each longest run of members, ascending."""
    found, at = [], 0
    while quanta:
        skip = (quanta & -quanta).bit_length() - 1
        quanta >>= skip
        n = (~quanta & quanta + 1).bit_length() - 1
        quanta >>= n
        found.append((at + skip, n))
        at += skip + n
    return found


def starts(quanta: int, n: int) -> int:
    """Return the quanta at which ``n`` (>= 1) members in a row begin.

    >>> members(starts(0b11100110, 2))
    [1, 5, 6]
    """
    have = 1
    while have < n and quanta:
        step = min(have, n - have)
        quanta &= quanta >> step  # where runs of ``have`` begin here and ``step`` on, one of their sum begins here
        have += step
    return quanta


def spread(quanta: int, n: int) -> int:
    """Return the quanta that lie at most ``n`` (>= 0) below a member, members included.

    >>> members(spread(0b1000001, 2))
    [0, 4, 5, 6]
    """
    have = 0
    while have < n and quanta:
        step = min(have + 1, n - have)
        quanta |= quanta >> step
        have += step
    return quanta
