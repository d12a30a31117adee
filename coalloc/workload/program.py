"""Programs: operations as plain data, checked when they are made, so that a program only refers to what exists.

A *pipe program* is a sequence of timed operations on pipes: create, write n, read n, close an end, change the size; writes and
reads block, or are tries of a non-blocking descriptor.  Pipes are numbered from 0 in the order of their creation, and each has
an owner; times are microseconds from the start and never decrease.  A program may know on which CPU each operation ran.

A *space program* is a sequence of alloc, free and resize
on buffers, numbered likewise, without times.

Operations are kept in columns of machine integers, since an overlay of many builds has millions of them; iteration yields
them as named tuples.
"""

from __future__ import annotations

import enum
from array import array
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import attrs

from coalloc.errors import InvalidRequestError, ProgramError
from coalloc.pipes.budget import ROOT, Owner
from coalloc.units import MAX_SIZE

__all__ = [
    "MAX_PIPE_SIZE",
    "MAX_TRANSFER",
    "MAX_UID",
    "MOST_CPUS",
    "PipeOp",
    "PipeOpKind",
    "PipeProgram",
    "Program",
    "SpaceOp",
    "SpaceOpKind",
    "SpaceProgram",
    "TraceFacts",
    "checked_title",
]


MAX_TRANSFER: Final = 2**31 - 1
"""The most bytes that one read or write moves: the kernels' limit (INT_MAX)."""
MAX_PIPE_SIZE: Final = 2**32 - 1
"""The largest size that F_SETPIPE_SZ can ask for: an unsigned int."""
MOST_CPUS: Final = 4096
"""CPUs have lower numbers than this."""
MAX_UID: Final = 2**32 - 1
"""The largest user id."""


def checked_title(title: str) -> str:
    """Check that a title is one line of printable text, and return it.

    Raises:
        ProgramError: If it is not.
    """
    if not title.isprintable():
        raise ProgramError(f"the title {title!r} is not one line of printable text")
    return title


class PipeOpKind(enum.IntEnum):
    """The kind of a pipe operation; the lower-case name, with a hyphen, is its word in the text format."""

    CREATE = 0
    WRITE = 1
    """A blocking write: a large one may go directly from the writer's pages, where the kernel does that."""
    READ = 2
    """A blocking read of so many bytes in all."""
    CLOSE = 3
    SET_SIZE = 4
    """A change of the pipe's size, as F_SETPIPE_SZ makes it on Linux; other kernels refuse it."""
    TRY_WRITE = 5
    """A write to a non-blocking descriptor, never direct: what there is no room for is tried again once there is."""
    TRY_READ = 6
    """A read of a non-blocking descriptor: up to so many bytes, or none if there are none."""

    @property
    def word(self) -> str:
        """The word of the text format."""
        return self.name.lower().replace("_", "-")


_CREATE: Final = int(PipeOpKind.CREATE)  # looking up a member of an Enum takes 15 times as long as a name
_WRITE: Final = int(PipeOpKind.WRITE)
_READ: Final = int(PipeOpKind.READ)
_CLOSE: Final = int(PipeOpKind.CLOSE)
_SET_SIZE: Final = int(PipeOpKind.SET_SIZE)
_TRY_WRITE: Final = int(PipeOpKind.TRY_WRITE)
_TRY_READ: Final = int(PipeOpKind.TRY_READ)


class PipeOp(NamedTuple):
    """One operation on a pipe; ``n`` is the owner's user id for CREATE, 0 for CLOSE, else bytes; ``end`` is 0 for CREATE."""

    time: int
    kind: PipeOpKind
    pipe: int
    end: int = 0
    n: int = 0


@attrs.frozen
class TraceFacts:
    """Totals of a pipe program; ``peak_live`` and ``live_at_end`` count pipes with an open end, times are microseconds.

    ``writes`` and ``bytes_written`` include tries.  ``reads`` and ``bytes_read`` do not, since nobody knows what a try gets.
    ``owners`` counts the users who own pipes, ``cpus`` the CPUs that are known.
    """

    pipes: int
    peak_live: int
    live_at_end: int
    bytes_written: int
    bytes_read: int
    writes: int
    reads: int
    operations: int
    duration: int
    owners: int = 0
    set_sizes: int = 0
    try_writes: int = 0
    try_reads: int = 0
    cpus: int = 0


class PipeProgram:
    """A checked sequence of pipe operations.

    Args:
        operations: The operations in order.
        title: What the program is, in one line.
        owners: What is to be known of users beside their ids.  Of users who are not here, 0 is privileged, and others not.

    Raises:
        ProgramError: For the first operation that is not valid: a time that decreases or is negative, a pipe out of order or
            unknown, an end other than 0 and 1 or closed, bytes outside 1 .. 2**31 - 1, a size or a user id outside
            0 .. 2**32 - 1.  ``line`` is its position, from 1.
        InvalidRequestError: If a user is among the owners twice.

    >>> program = PipeProgram([PipeOp(0, PipeOpKind.CREATE, 0), PipeOp(5, PipeOpKind.WRITE, 0, 1, 100)], title="one pipe")
    >>> program.facts().bytes_written, len(program)
    (100, 2)
    """

    __slots__ = ("_cpus", "_ends", "_kinds", "_owners", "_pipes", "_sizes", "_times", "title")

    def __init__(
        self,
        operations: Iterable[PipeOp | tuple[int, int, int, int, int]],
        *,
        title: str = "",
        owners: Iterable[Owner] = (),
    ) -> None:
        self.title = checked_title(title)
        self._cpus: array[int] | None = None
        self._owners: dict[int, Owner] = {}
        for owner in owners:
            if owner.uid in self._owners:
                raise InvalidRequestError("owners", owner.uid, "this user is there twice")
            self._owners[owner.uid] = owner
        self._times, self._pipes, self._sizes = array("q"), array("q"), array("q")
        self._kinds, self._ends = array("b"), array("b")
        open_ends: list[int] = []  # by pipe: bit 0 for end 0, bit 1 for end 1
        last = 0
        for position, (time, kind, pipe, end, n) in enumerate(operations, 1):
            reason = _fault(last, open_ends, time, kind, pipe, end, n)
            if reason:
                raise ProgramError(reason, line=position)
            if kind == _CREATE:
                open_ends.append(3)
            elif kind == _CLOSE:
                open_ends[pipe] &= ~(1 << end)
            last = time
            self._times.append(time)
            self._kinds.append(kind)
            self._pipes.append(pipe)
            self._ends.append(end)
            self._sizes.append(n)

    @classmethod
    def of_valid_columns(
        cls,
        times: array[int],
        kinds: array[int],
        pipes: array[int],
        ends: array[int],
        sizes: array[int],
        *,
        title: str,
        owners: Iterable[Owner] = (),
        cpus: array[int] | None = None,
    ) -> PipeProgram:
        """Make a program from valid columns without checking or copying them."""
        program = cls((), title=title, owners=owners)
        program._cpus = cpus
        program._times, program._kinds, program._pipes, program._ends, program._sizes = times, kinds, pipes, ends, sizes
        return program

    def __len__(self) -> int:
        return len(self._times)

    def __iter__(self) -> Iterator[PipeOp]:
        for time, kind, pipe, end, n in self.rows():
            yield PipeOp(time, PipeOpKind(kind), pipe, end, n)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PipeProgram):
            return NotImplemented
        return (self._owners, self.cpus) == (other._owners, other.cpus) and all(
            mine == theirs for mine, theirs in zip(self.columns(), other.columns(), strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<PipeProgram {self.title!r}: {len(self)} operations>"

    @property
    def cpus(self) -> array[int] | None:
        """The CPU of each operation, -1 where it is not known; None if none is known; the caller may not change it."""
        return self._cpus

    @property
    def owners(self) -> tuple[Owner, ...]:
        """The users of whom more is said than their ids."""
        return tuple(self._owners.values())

    def owner(self, uid: int) -> Owner:
        """Return the owner with a user id: one that the program describes, root, or somebody unprivileged."""
        return self._owners.get(uid) or (Owner(uid, privileged=False) if uid else ROOT)

    def owned_by(self, uid: int) -> PipeProgram:
        """Return the program with a user, in place of root, as the owner of root's pipes.

        Raises:
            InvalidRequestError: If the user id is not an int in 0 .. 2**32 - 1.
        """
        if type(uid) is not int or not 0 <= uid <= MAX_UID:
            raise InvalidRequestError("uid", uid, "must be an int in 0 .. 2**32 - 1")
        times, kinds, pipes, ends, sizes = self.columns()
        owned = array("q", (n or uid if kind == _CREATE else n for kind, n in zip(kinds, sizes, strict=True)))
        return self.of_valid_columns(
            times, kinds, pipes, ends, owned, title=self.title, owners=self.owners, cpus=self.cpus
        )

    def on_cpus(self, cpus: Iterable[int]) -> PipeProgram:
        """Return the program with the CPU of each operation; without any if none is known.

        Args:
            cpus: CPUs in the order of the operations, 0 to 4,095, or -1 for one that is not known.

        Raises:
            InvalidRequestError: If a number is out of range, or there is not one for each operation.
        """
        column = array("h", bytes(0))
        for cpu in cpus:
            if type(cpu) is not int or not -1 <= cpu < MOST_CPUS:
                raise InvalidRequestError("cpus", cpu, f"must be an int in -1 .. {MOST_CPUS - 1}")
            column.append(cpu)
        if len(column) != len(self):
            raise InvalidRequestError("cpus", len(column), f"must be one for each of {len(self)} operations")
        known = any(cpu >= 0 for cpu in column)
        return self.of_valid_columns(
            *self.columns(), title=self.title, owners=self.owners, cpus=column if known else None
        )

    def cpus_of(self, n_cpus: int) -> Iterator[int]:
        """Yield the CPU of each operation on a machine of so many; one that is not known is drawn from the pipe's number."""
        known = self.cpus
        if known is None:
            return (pipe % n_cpus for pipe in self._pipes)
        return ((pipe if cpu < 0 else cpu) % n_cpus for cpu, pipe in zip(known, self._pipes, strict=True))

    def columns(self) -> tuple[array[int], array[int], array[int], array[int], array[int]]:
        """Return times, kinds, pipes, ends and sizes; the caller may not change them."""
        return self._times, self._kinds, self._pipes, self._ends, self._sizes

    def rows(self) -> Iterator[tuple[int, int, int, int, int]]:
        """Yield the operations as plain tuples (time, kind, pipe, end, n): faster than iteration."""
        return zip(self._times, self._kinds, self._pipes, self._ends, self._sizes, strict=True)

    def facts(self) -> TraceFacts:
        """Count the totals of the program.

        Complexity: O(operations).
        """
        open_ends: list[int] = []
        live = peak = writes = reads = written = read = 0
        owners: set[int] = set()
        for _, kind, pipe, end, n in self.rows():
            if kind in (_WRITE, _TRY_WRITE):
                writes += 1
                written += n
            elif kind == _READ:
                reads += 1
                read += n
            elif kind == _CREATE:
                owners.add(n)
                open_ends.append(3)
                live += 1
                if live > peak:
                    peak = live
            elif kind == _CLOSE:
                open_ends[pipe] &= ~(1 << end)
                live -= not open_ends[pipe]
        return TraceFacts(
            pipes=len(open_ends),
            peak_live=peak,
            live_at_end=live,
            bytes_written=written,
            bytes_read=read,
            writes=writes,
            reads=reads,
            operations=len(self),
            duration=self._times[-1] - self._times[0] if self._times else 0,
            owners=len(owners),
            set_sizes=self._kinds.count(_SET_SIZE),
            try_writes=self._kinds.count(_TRY_WRITE),
            try_reads=self._kinds.count(_TRY_READ),
            cpus=0 if self.cpus is None else len({cpu for cpu in self.cpus if cpu >= 0}),
        )


def _fault(last: int, open_ends: list[int], time: int, kind: int, pipe: int, end: int, n: int) -> str | None:
    """Return what is wrong with an operation, or None."""
    if not 0 <= time < MAX_SIZE:
        return f"time {time} is not in 0 .. 2**63 - 1"
    if time < last:
        return f"time {time} is before the operation above, {last}"
    if kind == _CREATE:
        if pipe != len(open_ends):
            return f"creates pipe {pipe}, the next one is {len(open_ends)}"
        if not 0 <= n <= MAX_UID:
            return f"user id {n} is not in 0 .. 2**32 - 1"
        return "create takes no end" if end else None
    if not 0 <= pipe < len(open_ends):
        return f"pipe {pipe} was not created"
    if end not in (0, 1):
        return f"end {end} is neither 0 nor 1"
    if not open_ends[pipe] >> end & 1:
        return f"end {end} of pipe {pipe} is closed"
    if kind == _CLOSE:
        return "close takes no bytes" if n else None
    if kind == _SET_SIZE:
        return None if 0 <= n <= MAX_PIPE_SIZE else f"a size of {n} bytes is not in 0 .. 2**32 - 1"
    if kind not in (_WRITE, _READ, _TRY_WRITE, _TRY_READ):
        return f"unknown operation {kind}"
    return None if 0 < n <= MAX_TRANSFER else f"{n} bytes are not in 1 .. 2**31 - 1"


class SpaceOpKind(enum.IntEnum):
    """The kind of a space operation; the lower-case name is its word in the text format."""

    ALLOC = 0
    FREE = 1
    RESIZE = 2


class SpaceOp(NamedTuple):
    """One operation on a buffer; ``size`` is 0 for FREE."""

    kind: SpaceOpKind
    buffer: int
    size: int = 0


class SpaceProgram:
    """A checked sequence of alloc, free and resize.

    Args:
        operations: The operations in order.
        title: What the program is, in one line.

    Raises:
        ProgramError: For the first operation that is not valid: a buffer out of order, unknown or freed, or a size that is
            not in 1 .. 2**63 - 1.  ``line`` is its position, from 1.
    """

    __slots__ = ("_buffers", "_kinds", "_sizes", "title")

    def __init__(self, operations: Iterable[SpaceOp | tuple[int, int, int]], *, title: str = "") -> None:
        self.title = checked_title(title)
        self._kinds, self._buffers, self._sizes = array("b"), array("q"), array("q")
        live: set[int] = set()
        next_buffer = 0
        for position, (kind, buffer, size) in enumerate(operations, 1):
            reason = None
            if kind == SpaceOpKind.ALLOC:
                if buffer != next_buffer:
                    reason = f"allocates buffer {buffer}, the next one is {next_buffer}"
                next_buffer += 1
                live.add(buffer)
            elif kind not in (SpaceOpKind.FREE, SpaceOpKind.RESIZE):
                reason = f"unknown operation {kind}"
            elif buffer not in live:
                reason = f"buffer {buffer} is not live"
            elif kind == SpaceOpKind.FREE:
                live.discard(buffer)
            if reason is None and kind != SpaceOpKind.FREE and not 0 < size < MAX_SIZE:
                reason = f"a size of {size} bytes is not in 1 .. 2**63 - 1"
            if reason is None and kind == SpaceOpKind.FREE and size:
                reason = "free takes no size"
            if reason is not None:
                raise ProgramError(reason, line=position)
            self._kinds.append(kind)
            self._buffers.append(buffer)
            self._sizes.append(size)

    def __len__(self) -> int:
        return len(self._kinds)

    def __iter__(self) -> Iterator[SpaceOp]:
        for kind, buffer, size in self.rows():
            yield SpaceOp(SpaceOpKind(kind), buffer, size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SpaceProgram):
            return NotImplemented
        return list(self.rows()) == list(other.rows())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<SpaceProgram {self.title!r}: {len(self)} operations>"

    def rows(self) -> Iterator[tuple[int, int, int]]:
        """Yield the operations as plain tuples (kind, buffer, size): faster than iteration."""
        return zip(self._kinds, self._buffers, self._sizes, strict=True)


Program = PipeProgram | SpaceProgram
