"""`Surroundings`: what stands around a pipe in a kernel, as data: descriptors, their lock, lock-order rules, zones, Giant.

Mechanisms (:mod:`coalloc.kernel`) read the fields; nothing here does anything.

Source: kern/kern_descrip.c of FreeBSD 4, of early 2006 and of FreeBSD 10; FreeBSD commit f270054cd3 of January 2004, the
bitmap; OpenBSD kern/kern_descrip.c of 2025; DragonFly commit 6990831969 of June 2005, the tree; B18, B24, B25, B39 to B49.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from coalloc.sched.witness import WitnessRules

__all__ = ["LAYOUTS", "FdLayout", "FiledescLock", "OldTable", "Search", "Surroundings"]


class Search(enum.Enum):
    """How the lowest free descriptor is found; the value says what is counted."""

    SCAN = "slots"
    BITMAP = "words"
    TWO_LEVELS = "words of both levels"
    TREE = "nodes"


class OldTable(enum.Enum):
    """What becomes of a table that has been outgrown."""

    FREED_LOCKED = "freed with the lock held"
    FREED_AFTER = "freed when the lock has been given back"
    KEPT = "kept on a list until the process exits"


@attrs.frozen
class FdLayout:
    """How a kernel keeps descriptors.

    Args:
        name: Its key in ``LAYOUTS``.
        title: What it is, in words.
        first: Descriptors in the table that lies within the structure.
        next_size: The size after this many; before it is capped.
        search: How the lowest free one is found.
        word_bits: Bits of a word of the bitmap.
        entry_bytes: Bytes of a descriptor in the table (a pointer and a flag byte).
        old_table: What becomes of a table that has been outgrown.
    """

    name: str
    title: str
    first: int
    next_size: Callable[[int], int]
    search: Search
    word_bits: int = 32
    entry_bytes: int = 5
    old_table: OldTable = OldTable.FREED_AFTER


def _doubled_from_50(size: int) -> int:
    return 50 if size < 50 else 2 * size


def _doubled(size: int) -> int:
    return 2 * size


def _full_tree(size: int) -> int:
    return 2 * size + 1


_BITMAP: Final = FdLayout(
    "bitmap", "FreeBSD from January 2004 on: a bitmap", 20, _doubled, Search.BITMAP, old_table=OldTable.FREED_LOCKED
)

LAYOUTS: Final[Mapping[str, FdLayout]] = {
    layout.name: layout
    for layout in (
        FdLayout("4.4bsd", "4.4BSD: a scan from a hint", 20, _doubled_from_50, Search.SCAN),
        _BITMAP,
        attrs.evolve(_BITMAP, name="bitmap-64", title="the same with pointers of 64 bits", word_bits=64, entry_bytes=9),
        FdLayout("openbsd", "OpenBSD: bitmaps of two levels, 32 by 32", 20, _doubled_from_50, Search.TWO_LEVELS),
        FdLayout("dragonfly", "DragonFly from June 2005 on: a tree within the table", 15, _full_tree, Search.TREE),
    )
}
"""The layouts by name.  DragonFly's tables have 2**n - 1 descriptors; that the first has 15 is assumed."""


class FiledescLock(enum.Enum):
    """What locks the descriptor table of a process."""

    MUTEX = "a mutex"
    FLAG = "a flag for the long term; the mutex only guards the flag"
    SX = "a lock whose holder may sleep"


@attrs.frozen
class Surroundings:
    """What stands around the pipe in one state of a kernel.

    Args:
        fd: How descriptors are kept.
        filedesc_lock: How they are locked.
        witness: The rules of the lock-order checker.
        pair_zone: Whether both halves and their mutex are one item of one zone; otherwise two of a zone, and the mutex is
            allocated and initialised for each pipe.
        giant_frees: Whether freeing a large piece of memory takes Giant (uma_large_free).
        giant_faults: Whether a page fault takes Giant.
        giant_pipespace: Whether mapping a buffer takes Giant.
    """

    fd: FdLayout
    filedesc_lock: FiledescLock
    witness: WitnessRules
    pair_zone: bool
    giant_frees: bool
    giant_faults: bool
    giant_pipespace: bool
