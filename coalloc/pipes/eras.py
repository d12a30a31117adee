"""FreeBSD's pipe policies as data: one frozen :class:`Era` for each state of the kernel; mechanisms read its fields.

Source: FreeBSD sys/kern/sys_pipe.c, sys/sys/pipe.h and sys/kern/subr_param.c of the months named, the mails of January 2004 on
freebsd-current, and commits 4795b82c13 (pairs, 1 February 2004) and 004248ee6494 (today's).  Where they are silent on an era,
the field says so beside its value.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Mapping
from fractions import Fraction
from typing import Final, Literal

import attrs

from coalloc.units import KiB

__all__ = [
    "BIG_PIPE_SIZE",
    "ERAS",
    "LIMITBIGPIPES",
    "MINPIPESIZE",
    "PIPE_BUF",
    "PIPE_MINDIRECT",
    "PIPE_SIZE",
    "SMALL_PIPE_SIZE",
    "Backing",
    "Era",
    "Growth",
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
LIMITBIGPIPES: Final = 32
"""At most so many buffers of BIG_PIPE_SIZE exist, where growth is to that size at once."""

_EXCEEDED: Final = "kern.ipc.maxpipekva exceeded; see tuning(7)"


class Backing(enum.Enum):
    """How, and when, a half gets its first buffer."""

    RULE = "PIPE_SIZE, or SMALL_PIPE_SIZE above the era's mark"
    SMALL = "SMALL_PIPE_SIZE"
    FIRST_WRITE = "the same, but at the first write"
    NONE = "only as a write makes it grow: at once by Growth.LADDER, beyond PIPE_SIZE by Growth.BIG"


class Growth(enum.Enum):
    """How a write makes a buffer larger."""

    BIG = "an empty buffer of up to PIPE_SIZE becomes BIG_PIPE_SIZE, while few such exist"
    LADDER = "doubled until the data fit, up to BIG_PIPE_SIZE and half the limit"


@attrs.frozen
class Era:
    """One state of FreeBSD's pipe code.

    Args:
        name: Its key in ``ERAS``.
        title: What it is, in words.
        reverse: How the half that fildes[1] reads from is backed.
        small_above: New buffers are small while kva_used is above this share of maxpipekva.
        maxpipekva_is_hard: Whether maxpipekva is the size of the map (pipe_map), rather than a mark for small buffers.
        create_errno: What pipe(2) fails with when a buffer cannot be had; None where it succeeds without.
        retries_small: Whether an unbacked half that cannot have PIPE_SIZE tries SMALL_PIPE_SIZE (pipefragretry).
        growth: How a write makes a buffer larger.
        shrinks: Whether buffers shrink above three quarters of the limit, and piperesizeallowed exists.
        resize_failure_prints: Whether a failed resize prints the console line, too.
        message: The console line.
        reserve_percent: Percent of maxpipekva kept for the privileged (kern.ipc.pipebuf_reserv).
        charges_users: Whether buffers count against RLIMIT_PIPEBUF of the pipe's owner.
        own_object: Whether every buffer that is mapped on its own has a VM object of its own, so that map entries never merge.
        findspace: How the map of this era is searched for free space.
        sysctls: Further names under kern.ipc that this era has, without the prefix.
        one_way: Whether fildes[0] can only be read and fildes[1] only be written.
        polls_unbacked: Whether a half without a buffer counts as writable.
        numbers_ends: Whether fstat(2) gives each end a number (st_ino) and both a device (st_dev); 0 otherwise.
        forward: How the half that fildes[0] reads from is backed.
    """

    name: str
    title: str
    reverse: Backing
    small_above: Fraction
    maxpipekva_is_hard: bool
    create_errno: int | None
    retries_small: bool
    growth: Growth
    shrinks: bool
    resize_failure_prints: bool
    message: str
    reserve_percent: int
    charges_users: bool
    own_object: bool
    findspace: Literal["tree", "linear"]
    sysctls: tuple[str, ...]
    one_way: bool = False
    polls_unbacked: bool = False
    numbers_ends: bool = False
    forward: Backing = Backing.RULE


_JULY_2003: Final = Era(
    name="2003-07",
    title="FreeBSD 5-CURRENT of July 2003: three soft limits, an object for every buffer",
    reverse=Backing.RULE,
    small_above=Fraction(1),
    maxpipekva_is_hard=False,
    create_errno=errno.ENFILE,
    retries_small=False,
    growth=Growth.BIG,
    shrinks=False,
    resize_failure_prints=False,
    message="kern.maxpipes exceeded, please see tuning(7).",
    reserve_percent=0,
    charges_users=False,
    own_object=True,
    findspace="linear",
    sysctls=("pipes", "maxpipes"),
)
_JANUARY_2004: Final = attrs.evolve(
    _JULY_2003,
    name="2004-01",
    title="FreeBSD 5-CURRENT of 31 January 2004: pipe_map is the hard limit, both halves backed",
    small_above=Fraction(1, 2),
    maxpipekva_is_hard=True,
    resize_failure_prints=True,  # the mail of 27 January complains of it
    message=_EXCEEDED,
    own_object=False,  # a submap's buffers are mapped without an object
    sysctls=("pipes",),
)
_EARLY_2006: Final = attrs.evolve(
    _JANUARY_2004,
    name="2006",
    title="FreeBSD of early 2006: only the forward half backed, buffers grow and shrink",
    reverse=Backing.NONE,
    create_errno=errno.ENOMEM,
    retries_small=True,
    growth=Growth.LADDER,
    shrinks=True,
    resize_failure_prints=False,
    findspace="tree",
    sysctls=("pipes",),
)
_TEN: Final = attrs.evolve(
    _EARLY_2006,
    name="10.x",
    title="FreeBSD 10.2 to 10.4: pipe(2) succeeds without a buffer",
    create_errno=None,
    sysctls=(),
    polls_unbacked=True,  # not seen in its source; the test that asks for it is in its tree
    numbers_ends=True,  # the same
)
_CURRENT: Final = attrs.evolve(
    _EARLY_2006,
    name="current",
    title="FreeBSD of today: a small reverse half, a reserve for root, a limit per user",
    reverse=Backing.SMALL,
    reserve_percent=2,
    charges_users=True,
    sysctls=("pipebuf_reserv",),
    polls_unbacked=True,
    numbers_ends=True,
)

ERAS: Final[Mapping[str, Era]] = {era.name: era for era in (_JULY_2003, _JANUARY_2004, _EARLY_2006, _TEN, _CURRENT)}
"""The eras by name, oldest first."""
