"""`FdTable`: the descriptors of a process, of which the lowest free one is taken; `FileTable`: the system's open files.

Kernels differ in how a table grows, how it is searched, and what happens to the old table.  These differences are data
(:class:`FdLayout`).  Searches count what they look at (``looked_at``): slots of the table in 4.4BSD, words of the bitmap in
FreeBSD from January 2004 on, words of both bitmaps in OpenBSD, nodes of the tree in DragonFly.

The scan of 4.4BSD starts at a hint: where it stopped last, or at a lower descriptor that was closed since.  So opening in
sequence is cheap.  But after a low descriptor was closed, the second open from there walks over all open descriptors.
bindbench measures this (B49).

An outgrown table is freed, except the first one, which lies within the structure.  The mail of 31 January 2004 is about *when*
it is freed.  This module reports that a table is to be freed (:class:`Grown`), and the caller frees it.

Source: kern/kern_descrip.c of FreeBSD 4 (fdalloc()), of early 2006 and of FreeBSD 10 (fdalloc(), fdgrowtable()); FreeBSD commit
f270054cd3 of January 2004, the bitmap; OpenBSD kern/kern_descrip.c of 2025; DragonFly commit 6990831969 of June 2005, the tree;
B18, B40, B47 to B49.
"""

from __future__ import annotations

import errno

import attrs

from coalloc.checked import Checked
from coalloc.errors import InvalidRequestError, PanicError, PipeError, Violation
from coalloc.pipes.budget import Console, Owner
from coalloc.pipes.surroundings import FdLayout, OldTable, Search
from coalloc.sched.clock import SimClock
from coalloc.units import round_up

__all__ = ["FdTable", "FileTable", "Grown"]


@attrs.frozen
class Grown:
    """A growth: the old and new size in descriptors, and the bytes of the old table to free (0 for the first table)."""

    old: int
    new: int
    old_bytes: int


class FdTable(Checked):
    """Keep the descriptors of one process.

    Args:
        layout: The layout of the table; see :data:`~coalloc.pipes.surroundings.LAYOUTS`.
        limit: The most descriptors of the process, >= 1: the lesser of RLIMIT_NOFILE and kern.maxfilesperproc.

    Complexity:
        A call looks at ``looked_at`` slots, words or nodes: O(n) for a scan, O(n / word) for a bitmap, O(log n) for a tree.

    >>> from coalloc.pipes.surroundings import LAYOUTS
    >>> table = FdTable(LAYOUTS["bitmap"], limit=100)
    >>> [table.alloc() for _ in range(21)][-1], table.size
    (20, 64)
    >>> table.free(3); table.alloc()
    3
    """

    def __init__(self, layout: FdLayout, *, limit: int = 11_712) -> None:
        if type(limit) is not int or limit < 1:
            raise InvalidRequestError("limit", limit, "must be an int >= 1")
        self.layout = layout
        self.limit = limit
        self.looked_at = 0
        self.growths: list[Grown] = []
        self.kept_bytes = 0
        """Bytes of the old tables that are kept."""
        self._used = bytearray(layout.first)
        self._counts = [0] * layout.first if layout.search is Search.TREE else []
        self._hint = 0
        self._open = 0

    @property
    def size(self) -> int:
        """The number of descriptors that the table has room for."""
        return len(self._used)

    @property
    def open(self) -> int:
        """Descriptors in use."""
        return self._open

    def __contains__(self, fd: object) -> bool:
        return type(fd) is int and 0 <= fd < self.size and self._used[fd] == 1

    # --- calls -----------------------------------------------------------------------------------------

    def alloc(self, minfd: int = 0) -> int:
        """Take the lowest free descriptor from ``minfd`` on, and grow the table if that is needed.

        Raises:
            PipeError: EMFILE, if there is none below the limit.
            InvalidRequestError: If ``minfd`` is negative.

        Source: B47, B48.
        """
        while True:
            fd = self.find(minfd)
            if fd < self.size:
                self.use(fd, minfd)
                return fd
            self.grow()

    def find(self, minfd: int = 0) -> int:
        """Return the lowest free descriptor from ``minfd`` on; it is at least the table's size if the table has to grow.

        Raises:
            PipeError: EMFILE, if there is none below the limit.
            InvalidRequestError: If ``minfd`` is negative.
        """
        if type(minfd) is not int or minfd < 0:
            raise InvalidRequestError("minfd", minfd, "must be an int >= 0")
        start = max(minfd, self._hint)
        fd = self._search(start) if start < self.size else start
        if fd >= self.limit:
            raise PipeError(errno.EMFILE, "fdalloc")
        return fd

    def grow(self) -> Grown:
        """Grow the table and return the growth; the caller decides what happens to the old table.

        Raises:
            PipeError: EMFILE, if the table is as large as the limit allows.
        """
        old = self.size
        if old >= self.limit:
            raise PipeError(errno.EMFILE, "fdgrowtable")
        layout = self.layout
        new = min(layout.next_size(old), self.limit)
        if layout.search is Search.TREE:
            new = layout.next_size(old)  # a tree is full
        elif layout.search is Search.BITMAP:
            new = round_up(new, layout.word_bits)
        self._used.extend(bytes(new - old))
        if layout.search is Search.TREE:
            self._counts.extend([0] * (new - old))
            root = old  # the old tree becomes the left one below a new root
            self._counts[root] = self._counts[(old - 1) // 2]
        grown = Grown(old, new, old * layout.entry_bytes if self.growths else 0)
        self.growths.append(grown)
        if layout.old_table is OldTable.KEPT:
            self.kept_bytes += grown.old_bytes
        return grown

    def use(self, fd: int, minfd: int = 0) -> None:
        """Take a descriptor that was found.

        Args:
            fd: The descriptor that :meth:`find` returned.
            minfd: The argument of that call.

        Raises:
            InvalidRequestError: If the descriptor is in use, or outside the table.
        """
        if type(fd) is not int or not 0 <= fd < self.size or self._used[fd]:
            raise InvalidRequestError("fd", fd, "is in use, or outside the table")
        self._used[fd] = 1
        self._open += 1
        if self.layout.search is Search.TREE:
            self._add_up(fd, 1)
        if self.layout.search is Search.BITMAP:
            if fd == self._hint:
                self._hint = self._search(fd)  # kept exact by fdused()
        elif minfd <= self._hint:
            self._hint = fd

    def free(self, fd: int) -> None:
        """Free a descriptor.

        Raises:
            PipeError: EBADF, if it is not in use.
        """
        if fd not in self:
            raise PipeError(errno.EBADF, "close")
        self._used[fd] = 0
        self._open -= 1
        self._hint = min(self._hint, fd)
        if self.layout.search is Search.TREE:
            self._add_up(fd, -1)

    def fds(self) -> tuple[int, ...]:
        """Return the descriptors in use, lowest first."""
        return tuple(fd for fd, used in enumerate(self._used) if used)

    def violations(self) -> tuple[Violation, ...]:
        """Return every breach of F1: a wrong count, or a hint above a free descriptor."""
        found = []
        if sum(self._used) != self._open:
            found.append(Violation("F1", f"{self._open} descriptors are open, the table has {sum(self._used)}"))
        lowest = self._used.find(0)
        if lowest >= 0 and self._hint > lowest:
            found.append(Violation("F1", f"the search starts at {self._hint}, and {lowest} is free"))
        for fd, count in enumerate(self._counts):
            size = (fd + 1) & -(fd + 1)  # a node's subtree reaches size - 1 to either side
            true = sum(self._used[fd + 1 - size : fd + size])
            if count != true:
                found.append(Violation("F1", f"the subtree of {fd} counts {count} descriptors and has {true}"))
        return tuple(found)

    def dump(self) -> str:
        """Return the open descriptors as text, for an error."""
        return f"open: {self.fds()}"

    # --- searching ---------------------------------------------------------------------------------------

    def _search(self, start: int) -> int:
        """Return the lowest free descriptor from ``start`` on, or the table's size, and count what the search looks at."""
        search = self.layout.search
        if search is Search.TREE:
            return self._search_tree(start)
        if search is Search.TWO_LEVELS:
            return self._search_levels(start)
        found = self._next_free(start)
        last = min(found, self.size - 1)
        unit = self.layout.word_bits if search is Search.BITMAP else 1
        self.looked_at += last // unit - start // unit + 1
        return found

    def _next_free(self, start: int) -> int:
        found = self._used.find(0, start)
        return self.size if found < 0 else found

    def _search_levels(self, start: int) -> int:
        """Find a word with a free bit in the upper map, then a bit in that word; search again if the bit lies below start."""
        bits = self.layout.word_bits
        word = start // bits
        while True:
            lowest = self._next_free(word * bits)
            self.looked_at += lowest // bits // bits - word // bits // bits + 1
            if lowest >= self.size:
                return self.size
            self.looked_at += 1
            if lowest // bits > word or lowest >= start:
                return lowest
            found = self._next_free(start)
            if found < (word + 1) * bits:
                return found
            word += 1

    def _search_tree(self, start: int) -> int:
        """Climb from a node to one that is free or has a free node to its right, then go down to the lowest free node.

        Nodes are numbered from 1 here, in order: the lowest bit of a number is half the size of its subtree, and one more.
        """
        node = start + 1
        while True:
            self.looked_at += 1
            if not self._used[node - 1]:
                return node - 1
            half = node & -node
            if half > 1 and self._counts[node + half // 2 - 1] < half - 1:
                return self._lowest_in(node + half // 2)
            while node & (2 * half):  # a right child: its parent lies below it
                node -= half
                half = node & -node
                self.looked_at += 1
            node += half
            if node > self.size:
                return self.size

    def _lowest_in(self, node: int) -> int:
        """Return the lowest free descriptor of a subtree that has one."""
        while True:
            self.looked_at += 1
            half = node & -node
            if half > 1 and self._counts[node - half // 2 - 1] < half - 1:
                node -= half // 2
            elif not self._used[node - 1]:
                return node - 1
            else:
                node += half // 2

    def _add_up(self, fd: int, n: int) -> None:
        """Add ``n`` to the counts of all nodes on the way to the root."""
        node = fd + 1
        while True:
            self._counts[node - 1] += n
            self.looked_at += 1
            half = node & -node
            if 2 * half > self.size:
                return
            node += -half if node & (2 * half) else half


class FileTable:
    """Count the open files of the system.

    Args:
        maxfiles: kern.maxfiles, >= 1; the last twentieth is for root.
        clock: The simulated clock, for the console.

    Raises:
        InvalidRequestError: If ``maxfiles`` is out of range.

    Source: FreeBSD kern/kern_descrip.c, falloc(); B18.
    """

    def __init__(self, maxfiles: int, clock: SimClock) -> None:
        if type(maxfiles) is not int or maxfiles < 1:
            raise InvalidRequestError("maxfiles", maxfiles, "must be an int >= 1")
        self.maxfiles = maxfiles
        self.openfiles = 0
        self.console = Console(clock)

    def alloc(self, owner: Owner) -> None:
        """Count one more open file.

        Raises:
            PipeError: ENFILE, if too many files are open; the console says so at most once a second.
        """
        mark = self.maxfiles if owner.uid == 0 else self.maxfiles - self.maxfiles // 20
        if self.openfiles >= mark:
            self.console.print(f"kern.maxfiles limit exceeded by uid {owner.uid}, please see tuning(7).")
            raise PipeError(errno.ENFILE, "falloc")
        self.openfiles += 1

    def free(self) -> None:
        """Count one open file less.

        Raises:
            PanicError: If no file is open.
        """
        if not self.openfiles:
            raise PanicError("a file is closed, and none is open")
        self.openfiles -= 1
