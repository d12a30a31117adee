"""`KernelState` and its kinds: the rules of a kernel's map, its pipe policy and what surrounds its pipes, as one record.

The records themselves are in :mod:`coalloc.pipes.states`; mechanisms read the fields.

Source: FreeBSD sys/kern/sys_pipe.c, sys/sys/pipe.h and sys/kern/subr_param.c of the months named, the mails of January 2004 on
freebsd-current, and commits 4795b82c13 (pairs, 1 February 2004) and 004248ee6494 (today's).  Where they are silent on an era,
the field says so beside its value.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Mapping
from fractions import Fraction
from typing import Final, Literal, Self

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.pipes.surroundings import Surroundings
from coalloc.units import KiB

__all__ = [
    "BIG_PIPE_SIZE",
    "LIMITBIGPIPES",
    "MINPIPESIZE",
    "NAMING",
    "NO_MARK",
    "PIPE_BLOCKS",
    "PIPE_BUF",
    "PIPE_MINDIRECT",
    "PIPE_SIZE",
    "SMALL_PIPE_SIZE",
    "Backing",
    "BlockSize",
    "Era",
    "Growth",
    "KernelState",
    "LinuxState",
    "Numbers",
    "ReadWakes",
    "StreamsState",
    "WriteWakes",
]

PIPE_SIZE: Final = 16 * KiB
BIG_PIPE_SIZE: Final = 64 * KiB
SMALL_PIPE_SIZE: Final = 4 * KiB
PIPE_BUF: Final = 512
"""A write of up to this many bytes is atomic."""
PIPE_MINDIRECT: Final = 8 * KiB
"""A write of at least this many bytes may go directly from the writer's pages."""
MINPIPESIZE: Final = PIPE_SIZE // 3
"""A blocked writer is woken when a read leaves less than this in the buffer."""
NO_MARK: Final = Fraction(2**40)
"""``small_above`` where buffers are never made small for want of address space."""
LIMITBIGPIPES: Final = 32
"""At most so many buffers of BIG_PIPE_SIZE exist, where growth is to that size at once."""


NAMING: Final = frozenset({"name", "title", "kernel", "sources"})
"""The values of a state that say what it is, and need no source."""


PIPE_BLOCKS: Final = (512, 1 * KiB, 2 * KiB, 4 * KiB, 8 * KiB, 16 * KiB, 64 * KiB)
"""The sizes that a buffer of XNU may have, in bytes."""


class Backing(enum.Enum):
    """How, and when, a half gets its first buffer."""

    RULE = "PIPE_SIZE, or SMALL_PIPE_SIZE above the era's mark"
    SMALL = "SMALL_PIPE_SIZE"
    FIRST_WRITE = "the same, but at the first write"
    BLOCK = "the smallest of PIPE_BLOCKS"
    NONE = "only as a write makes it grow: at once by Growth.LADDER, beyond PIPE_SIZE by Growth.BIG"


class Growth(enum.Enum):
    """How a write makes a buffer larger."""

    NONE = "not at all"
    BIG = "an empty buffer of up to PIPE_SIZE becomes BIG_PIPE_SIZE, while few such exist"
    LADDER = "doubled until the data fit, up to BIG_PIPE_SIZE and half the limit"
    BLOCKS = "to the smallest of PIPE_BLOCKS that is larger than what is needed, below the limit"


class Numbers(enum.Enum):
    """Where the numbers of ends that fstat(2) shows (st_ino) come from."""

    NONE = "st_ino and st_dev are 0"
    AT_FSTAT = "the lowest free number at the first fstat, given back at close"
    AT_CREATION = "a number for each half that gets a buffer when the pipe is made, never given back"


class BlockSize(enum.Enum):
    """What fstat(2) tells as the block size of an end (st_blksize)."""

    PAGE = "a page"
    BUFFER = "the size of the buffer that it reads from"
    EITHER = "the same, or that of the other end if there is none"
    AT_LEAST = "the same, or PIPE_SIZE if that is more"


@attrs.frozen(kw_only=True)
class KernelState:
    """One state of a kernel: what every kind of it has.

    Args:
        name: Its key in :data:`~coalloc.pipes.states.STATES`.
        title: What it is, in words.
        kernel: Whose it is.
        maxpipekva_is_hard: Whether maxpipekva is the size of the map (pipe_map), rather than a mark for small buffers.
        own_object: Whether every buffer that is mapped on its own has a VM object of its own, so that map entries never merge.
        findspace: How the kernel map is searched for free space.
        direct: Whether pages come from a direct map, so that taking one is no fault, and giving it back frees no page of a
            mapping and is no shoot-down.
        around: What surrounds the pipe; None where that is not known.
        goes: When a buffer goes, in words.
        kept: What is kept for the next pipe or write, in words.
        locks: Which locks guard a pipe, in words.
        sources: Where each value comes from, by its name: a file with its version or date; "not known" and what is assumed
            where no source was seen.  That of ``name`` is the state's own.
    """

    name: str
    title: str
    kernel: str = "FreeBSD"
    maxpipekva_is_hard: bool
    own_object: bool
    findspace: Literal["tree", "linear"]
    direct: bool = False
    around: Surroundings | None = None
    goes: str = ""
    kept: str = ""
    locks: str = ""
    sources: Mapping[str, str] = attrs.field(factory=dict, repr=False, eq=False)

    @property
    def surroundings(self) -> Surroundings:
        """What surrounds the pipe.

        Raises:
            InvalidRequestError: If that is not known.
        """
        if self.around is None:
            raise InvalidRequestError(
                "state", self.name, "has no kernel around its pipes: what surrounds them is not known"
            )
        return self.around

    def since(self, source: str, *, assumed: Mapping[str, str] | None = None, **changes: object) -> Self:
        """Return a later state, or another kernel's, with some values changed, and where these come from.

        Args:
            source: Where the changed values come from.
            assumed: What is assumed of values whose source was not seen, and why, by their names.
            **changes: The values.
        """
        cited = {name: source for name in changes if name not in NAMING} | {"name": source}
        unseen = {name: f"not known; {why}" for name, why in (assumed or {}).items()}
        return attrs.evolve(self, sources=dict(self.sources) | cited | unseen, **changes)  # type: ignore[arg-type]

    def cited(self, source: str, *, assumed: Mapping[str, str] | None = None) -> Self:
        """Return this state with one source for all of its values, but for those that are assumed."""
        names = [field.name for field in attrs.fields(type(self)) if field.name not in NAMING]
        return self.since(source, assumed=assumed, **{name: getattr(self, name) for name in names})

    def with_around(self, **changes: object) -> Self:
        """Return this state with some fields of what surrounds the pipe changed.

        Raises:
            InvalidRequestError: If what surrounds the pipe is not known.
        """
        return attrs.evolve(self, around=attrs.evolve(self.surroundings, **changes))  # type: ignore[arg-type]


@attrs.frozen(kw_only=True)
class Era(KernelState):
    """One state of FreeBSD's pipe code, or of a kernel whose pipe code comes from it.

    Args:
        reverse: How the half that fildes[1] reads from is backed.
        small_above: New buffers are small while kva_used is above this share of maxpipekva.
        create_errno: What pipe(2) fails with when a buffer cannot be had; None where it succeeds without.
        retries_small: Whether an unbacked half that cannot have PIPE_SIZE tries SMALL_PIPE_SIZE (pipefragretry).
        growth: How a write makes a buffer larger.
        shrinks: Whether buffers shrink above three quarters of the limit, and piperesizeallowed exists.
        resize_failure_prints: Whether a failed resize prints the console line, too.
        message: The console line.
        reserve_percent: Percent of maxpipekva kept for the privileged (kern.ipc.pipebuf_reserv).
        charges_users: Whether buffers count against RLIMIT_PIPEBUF of the pipe's owner.
        sysctls: Further names under kern.ipc that this era has, without the prefix.
        one_way: Whether fildes[0] can only be read and fildes[1] only be written.
        polls_unbacked: Whether a half without a buffer counts as writable.
        numbers: Whether fstat(2) gives each end a number (st_ino) and both a device (st_dev), and which.
        forward: How the half that fildes[0] reads from is backed.
        direct_writes: Whether a large blocking write goes directly from the writer's pages, without the buffer.
        accounts_wired: Whether the pages that direct writes wire count against maxpipekvawired.
        fifos: Whether FIFOs are pipes, with their buffers.
        pipe_size: Bytes of a new buffer.
        unit: Bytes of which a buffer has a multiple.
        room_in_view: The least bytes that a buffer counts as, for select and kqueue; 0 for those that it has.
        wakes_below: A read that leaves fewer bytes wakes a writer; None wakes one whenever there is room.
        growth_fails_writes: Whether a write fails if its buffer cannot grow.
        freed_together: Whether buffers go when both ends are closed, and not each at its own end's close.
        tells_room_at_eof: Whether EVFILT_WRITE tells the room that there was when the reader closed; 0 otherwise.
        empty_read_is_cheap: Whether a non-blocking read of an empty pipe fails before it would shrink the buffer.
        grows_below: The share of maxpipekva from which on Growth.BIG does not grow; None for any.
        stores_below: A write stores nothing while the buffer holds so many bytes; None for no such mark.
        direct_needs_buffer: Whether only a buffer of at least PIPE_MINDIRECT bytes lets a write go directly.
        rest_is_atomic: Whether the rest of a larger write is atomic, too, once it is no larger than PIPE_BUF.
        reverse_first: Whether the reverse half gets its buffer first.
        map_failure_prints: Whether the console line is printed when there is no address space.
        stat_size_direct: Whether st_size counts the bytes of a direct write.
        stat_size_reader: Whether st_size of the end that writes is that of the end that reads.
        stat_block: What st_blksize is.
        knote_errno: What EVFILT_WRITE fails with when the other end is closed; None where it is accepted.
        knote_oneshot: Whether the last event of a filter has EV_ONESHOT.
        hup_while_closing: Whether POLLHUP is told as soon as the other end's close begins, and not when it is finished.
        eof_while_closing: The same of EV_EOF of EVFILT_READ.
    """

    reverse: Backing
    small_above: Fraction
    create_errno: int | None
    retries_small: bool
    growth: Growth
    shrinks: bool
    resize_failure_prints: bool
    message: str
    reserve_percent: int
    charges_users: bool
    sysctls: tuple[str, ...]
    one_way: bool = False
    polls_unbacked: bool = False
    numbers: Numbers = Numbers.NONE
    forward: Backing = Backing.RULE
    direct_writes: bool = True
    accounts_wired: bool = False
    fifos: bool = False
    pipe_size: int = PIPE_SIZE
    unit: int = 4 * KiB
    room_in_view: int = 0
    wakes_below: int | None = MINPIPESIZE
    growth_fails_writes: bool = False
    freed_together: bool = False
    tells_room_at_eof: bool = False
    empty_read_is_cheap: bool = False
    grows_below: Fraction | None = None
    stores_below: int | None = None
    direct_needs_buffer: bool = True
    rest_is_atomic: bool = False
    reverse_first: bool = False
    map_failure_prints: bool = True
    stat_size_direct: bool = True
    stat_size_reader: bool = False
    stat_block: BlockSize = BlockSize.PAGE
    knote_errno: int | None = errno.EPIPE
    knote_oneshot: bool = False
    hup_while_closing: bool = False
    eof_while_closing: bool = False


class WriteWakes(enum.Enum):
    """When a write wakes those who wait to read."""

    ALWAYS = "whenever it stored something"
    EMPTY = "if the pipe was empty"
    POLLED = "if the pipe was empty, or somebody has ever polled it"


class ReadWakes(enum.Enum):
    """When a read wakes those who wait to write."""

    SLOT = "whenever it freed a slot"
    FULL = "if the pipe was full when it began"
    FULL_SLOT = "if it freed a slot of a full pipe"


@attrs.frozen(kw_only=True)
class LinuxState(KernelState):
    """One state of Linux's pipe code.

    Args:
        pages_soft: Slots of a user above which new pipes are made small (fs.pipe-user-pages-soft); 0 is none.
        pages_hard: Slots of a user above which pipe(2) fails (fs.pipe-user-pages-hard); 0 is none.
        max_size: Bytes above which only the privileged set a size (fs.pipe-max-size).
        beyond_soft: Slots of a new pipe whose user is above the soft limit.
        limits_are_reached: Whether a limit is exceeded when it is reached, before the new slots are charged.
        root_is_exempt: Whether the limits spare the privileged when a pipe is made.
        shrinks_freely: Whether a pipe may be made smaller though a limit is exceeded.
        size_is_unsigned: Whether F_SETPIPE_SZ takes an unsigned int, so that 2**32 is 0; if not, that is EINVAL.
        spares: How many pages that were read are kept for the next write.
        pages_ahead: The most pages that a write of more than one takes before it takes the pipe's mutex.
        one_pool: Whether those and the pages that were read are one pool, which a call may fill up to ``pages_ahead`` and
            leaves with ``spares``; then a write takes only what it lacks, whatever its length.
        tee_merges: Whether a write goes on in a page that was teed.
        write_wakes: When a write wakes those who read.
        read_wakes: When a read wakes those who write.
        two_queues: Whether those who read and those who write wait in queues of their own.
        exclusive_waits: Whether a wakeup wakes one of them, who wakes the next one if anything is left.
        sync_wakeups: Whether a wakeup tells that the waker is about to sleep.
        slot_bytes: Bytes of a slot in the ring.
        largest_ring: The most bytes that a ring can have (KMALLOC_MAX_SIZE); beyond is ENOMEM.
    """

    pages_soft: int
    pages_hard: int
    max_size: int = 1 << 20
    beyond_soft: int = 2
    limits_are_reached: bool = False
    root_is_exempt: bool = True
    shrinks_freely: bool = True
    size_is_unsigned: bool = True
    spares: int = 2
    pages_ahead: int = 0
    one_pool: bool = False
    tee_merges: bool = False
    write_wakes: WriteWakes = WriteWakes.POLLED
    read_wakes: ReadWakes = ReadWakes.FULL_SLOT
    two_queues: bool = True
    exclusive_waits: bool = True
    sync_wakeups: bool = True
    slot_bytes: int = 40
    largest_ring: int = 4 << 20

    @property
    def most_spares(self) -> int:
        """The most pages that a pipe keeps, during a call."""
        return self.pages_ahead if self.one_pool else self.spares


@attrs.frozen(kw_only=True)
class StreamsState(KernelState):
    """One state of illumos' pipe code.

    Args:
        hiwat: Bytes that are queued from which on a write waits (FIFOHIWAT).
        pipe_buf: Bytes of a piece that would pass that mark (PIPE_BUF).
    """

    hiwat: int
    pipe_buf: int
