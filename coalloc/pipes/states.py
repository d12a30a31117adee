"""The states of kernels: one record for each, with the rules of its map, its pipe policy and what surrounds its pipes.

A new state is a record here, or a call of :func:`register`; every command and scenario then knows it.  Where the source of a
value was not seen, the record says so beside it.

FreeBSD's eras first, oldest first.  Then kernels whose pipe code comes from FreeBSD's: what they put in front of the map is a
space of its own (:mod:`coalloc.space.cached`); what all three limit is the number of big pipes.  NetBSD's own limits on KVA
(8 MiB, 16 MiB for loans) govern nothing in its code of 2009, and what it counts as pipekva, which does not fall at close, is
what stays mapped here.  illumos' pipes have no buffers.

Source: each record cites one for each of its values (``sources``); B1 to B25, B39 to B62, B67 to B72.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Final, Generic, TypeVar, cast

import attrs

from coalloc.errors import InvalidRequestError
from coalloc.pipes.eras import (
    NO_MARK,
    PIPE_SIZE,
    Backing,
    BlockSize,
    Era,
    Growth,
    KernelState,
    LinuxState,
    Numbers,
    ReadWakes,
    StreamsState,
    WriteWakes,
)
from coalloc.pipes.surroundings import LAYOUTS, FiledescLock, OldTable, Surroundings
from coalloc.sched.witness import RULES
from coalloc.units import KiB

__all__ = ["BEFORE_PAIRS", "ERAS", "FIXES", "KERNELS", "STATES", "View", "register", "unregister"]

_EXCEEDED: Final = "kern.ipc.maxpipekva exceeded; see tuning(7)"
_BITMAP: Final = LAYOUTS["bitmap"]

_AROUND_2004: Final = Surroundings(
    fd=_BITMAP,
    filedesc_lock=FiledescLock.MUTEX,
    witness=RULES["2004"],
    pair_zone=True,  # the commit of 31 January, 21:56 in California
    giant_frees=True,
    giant_faults=True,  # vm_fault_unwire needs Giant; that vm_fault does is assumed
    giant_pipespace=False,
)
_AROUND_TEN: Final = attrs.evolve(
    _AROUND_2004,
    fd=attrs.evolve(LAYOUTS["bitmap-64"], old_table=OldTable.KEPT),
    filedesc_lock=FiledescLock.SX,
    witness=RULES["2008"],
    giant_frees=False,
    giant_faults=False,
)

# --- FreeBSD -------------------------------------------------------------------------------------------------

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
    sysctls=("pipes", "maxpipes", "maxpipekvawired", "pipekvawired"),
    accounts_wired=True,
    grows_below=Fraction(1),
    stores_below=PIPE_SIZE,
    direct_needs_buffer=False,
    map_failure_prints=False,
    stat_size_direct=False,
    stat_block=BlockSize.BUFFER,
    knote_errno=errno.EBADF,
    hup_while_closing=True,
    eof_while_closing=True,
    goes="at its own end's close",
    kept="nothing",
    locks="a mutex that both ends share; Giant for the map",
    around=attrs.evolve(
        _AROUND_2004,
        fd=LAYOUTS["4.4bsd"],  # frees the old table after the lock: its source was not seen, B54 asks for no report
        pair_zone=False,
        giant_pipespace=True,
    ),
).cited(
    "FreeBSD 5-CURRENT of July 2003, sys/kern/sys_pipe.c and subr_param.c",
    assumed={
        "polls_unbacked": "both halves are backed, so that nothing rests on it",
        "numbers": "no number is assumed",
        "tells_room_at_eof": "0, as in 10.4, is assumed",
        "empty_read_is_cheap": "it came in August 2022",
    },
)
_JANUARY_2004: Final = _JULY_2003.since(
    "mails of 27 and 31 January 2004 on freebsd-current, and XNU bsd/kern/sys_pipe.c, which was forked shortly before",
    assumed={
        "grows_below": "none is told; half the limit in XNU's",
        "stat_size_direct": "as in 2006",
        "stat_block": "as in July 2003",
        "hup_while_closing": "as in July 2003 and 2006",
    },
    name="2004-01",
    title="FreeBSD 5-CURRENT of 31 January 2004: pipe_map is the hard limit, both halves backed",
    small_above=Fraction(1, 2),
    maxpipekva_is_hard=True,
    resize_failure_prints=True,  # the mail of 27 January complains of it
    message=_EXCEEDED,
    own_object=False,  # a submap's buffers are mapped without an object
    sysctls=("pipes", "maxpipekvawired", "pipekvawired"),
    grows_below=None,
    stores_below=None,
    map_failure_prints=True,
    stat_size_direct=True,
    knote_errno=errno.EPIPE,
    locks="a mutex in the pair, and a flag of each half while it is copied",
    around=_AROUND_2004,
)
_EARLY_2006: Final = _JANUARY_2004.since(
    "FreeBSD of early 2006, sys/kern/sys_pipe.c 1.186",
    assumed={
        "polls_unbacked": "the test that asks for it came later",
        "numbers": "no number is assumed",
        "tells_room_at_eof": "0, as in 10.4, is assumed",
    },
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
    accounts_wired=False,
    direct_needs_buffer=True,
    stat_block=BlockSize.PAGE,
    knote_oneshot=True,
    around=attrs.evolve(
        _AROUND_2004,
        filedesc_lock=FiledescLock.FLAG,
        witness=RULES["2006"],
        giant_faults=False,  # not seen in its source; nothing here rests on it
    ),
)
_TEN: Final = _EARLY_2006.since(
    "FreeBSD releng/10.4, sys/kern/sys_pipe.c (r321020), and 11-CURRENT of December 2015 (r291691); "
    "that 12.0 and 12.1 are alike follows from the dates of the changes behind them",
    name="10.x",
    title="FreeBSD 10.0 to 12.1: pipe(2) succeeds without a buffer",
    create_errno=None,
    sysctls=(),
    polls_unbacked=True,
    numbers=Numbers.AT_FSTAT,
    tells_room_at_eof=False,
    empty_read_is_cheap=False,
    hup_while_closing=False,
    fifos=True,
    around=_AROUND_TEN,
)
_TWELVE: Final = _TEN.since(
    "FreeBSD 12.2, sys/kern/sys_pipe.c; EVFILT_WRITE: r360380 and D24528 of April 2020; "
    "creation: spring 2020, commit not found",
    name="12.2",
    title="FreeBSD 12.2 to 13.0: a small reverse half, pipe(2) fails without a buffer",
    reverse=Backing.SMALL,
    create_errno=errno.ENOMEM,
    numbers=Numbers.AT_CREATION,
    tells_room_at_eof=True,
    eof_while_closing=False,
)
_FOURTEEN: Final = _TWELVE.since(
    "FreeBSD 14-CURRENT and main of August 2023, sys/kern/sys_pipe.c; pipe_mindirect: af14713d49fd; "
    "the empty read: August 2022",
    assumed={"around": "as in 10.4"},
    name="14.x",
    title="FreeBSD 14: kern.ipc.pipe_mindirect, and an empty read that does nothing",
    sysctls=("pipe_mindirect",),
    empty_read_is_cheap=True,
)
_CURRENT: Final = _FOURTEEN.since(
    "FreeBSD main, sys/kern/sys_pipe.c at 004248ee6494",
    assumed={"around": "as in 10.4"},
    name="current",
    title="FreeBSD of today: a reserve for root, a limit per user",
    reserve_percent=2,
    charges_users=True,
    sysctls=("pipe_mindirect", "pipebuf_reserv"),
)

# --- other kernels -------------------------------------------------------------------------------------------

_DRAGONFLY: Final = _JULY_2003.since(
    "DragonFly, sys/kern/sys_pipe.c at fc7d518197 of 20 February 2004",
    assumed={
        "direct_writes": "FreeBSD's of 2003, from which it comes, has them; so has DragonFly's of 2005",
        "findspace": "as FreeBSD's of 2003",
        "own_object": "as FreeBSD's of 2003",
        "map_failure_prints": "there is no line to print",
    },
    name="dragonfly-2004",
    title="DragonFly of February 2004: both halves backed, 32 big pipes, KVA cached on each CPU",
    small_above=NO_MARK,
    message="",
    sysctls=(),
    accounts_wired=False,
    grows_below=None,
    map_failure_prints=True,
    goes="at its own end's close, if it is not kept",
    kept="16 halves of 16 KiB with their KVA on each CPU",
    locks="not known",
    kernel="DragonFly",
    around=None,
)
_DRAGONFLY_2017: Final = _DRAGONFLY.since(
    "DragonFly, sys/kern/sys_pipe.c of 2017 and later (ivadasz/DragonFlyBSD 10643519df27); "
    "teardown: 5eab490ea55e of 13 August 2017",
    assumed={
        "findspace": "as FreeBSD's of 2003",
        "hup_while_closing": "told when the close is finished",
        "eof_while_closing": "told when the close is finished",
    },
    name="dragonfly-2017",
    title="DragonFly since 2017: two buffers of 32 KiB in a pipe, whole pipes cached on each CPU",
    reverse=Backing.RULE,
    forward=Backing.RULE,
    growth=Growth.NONE,
    pipe_size=32 * KiB,
    wakes_below=PIPE_SIZE + 1,
    stores_below=None,
    hup_while_closing=False,
    eof_while_closing=False,
    freed_together=True,
    direct_writes=False,
    own_object=True,
    create_errno=errno.ENFILE,
    goes="when both ends are closed, if the pipe is not kept",
    kept="16 pipes with their KVA on each CPU, 32 from 7 GB of memory on, 64 from 15 GB on",
    locks="two tokens of each buffer; a mutex of the CPU for the teardown",
    kernel="DragonFly",
)
_NETBSD: Final = _DRAGONFLY.since(
    "NetBSD, sys/kern/sys_pipe.c 1.110 of 11 April 2009",
    assumed={
        "own_object": "as FreeBSD's of 2003",
        "hup_while_closing": "told when the close is finished",
        "eof_while_closing": "told when the close is finished",
    },
    name="netbsd-2009",
    title="NetBSD of 2009: one direction, 32 big pipes, KVA kept with the cached object",
    reverse=Backing.NONE,
    one_way=True,  # so the write side never has a buffer
    direct_writes=False,  # loans of the writer's pages are not compiled in
    stores_below=None,
    rest_is_atomic=True,
    stat_block=BlockSize.EITHER,
    hup_while_closing=False,
    eof_while_closing=False,
    create_errno=errno.ENFILE,
    growth=Growth.BIG,
    shrinks=False,
    findspace="tree",
    goes="64 KiB at its own end's close; 16 KiB stay with the cached object",
    kept="what the pool cache keeps",
    locks="a mutex that both ends share, and a flag while it is copied",
    kernel="NetBSD",
)
_NETBSD_10: Final = _NETBSD.since(
    "NetBSD, sys/kern/sys_pipe.c 1.160 of 22 April 2023; that NetBSD 10 has it follows from 1.140, which allocates alike",
    name="netbsd-10",
    title="NetBSD 10: as in 2009, but pipe(2) waits for address space",
    create_errno=errno.ENOMEM,
)
_OPENBSD: Final = _DRAGONFLY.since(
    "OpenBSD, sys/kern/sys_pipe.c 1.149 and 1.130",
    assumed={"own_object": "as FreeBSD's of 2003", "findspace": "a tree, as its uvm_map has had since 2002"},
    name="openbsd",
    title="OpenBSD 7: both halves backed, 32 big pipes, no limit on KVA",
    direct_writes=False,
    stores_below=None,
    reverse_first=True,
    knote_errno=errno.EPIPE,
    hup_while_closing=True,
    eof_while_closing=True,
    create_errno=errno.ENOMEM,
    findspace="tree",
    goes="at its own end's close",
    kept="nothing",
    locks="an rwlock in the pair, and a flag of each half while it is copied",
    kernel="OpenBSD",
)
_ILLUMOS: Final = StreamsState(
    name="illumos",
    title="illumos: STREAMS pipes, a block for each write",
    kernel="illumos",
    maxpipekva_is_hard=False,
    own_object=False,
    findspace="tree",
    direct=True,
    hiwat=16 * KiB,
    pipe_buf=5120,
    goes="each block when it is read; an end's own input at its close",
    kept="pairs with their vnodes, and blocks by size, in kmem caches",
    locks="a mutex that both ends share, held while a reader copies",
).cited(
    "illumos-gate, usr/src/uts/common/fs/fifofs/fifosubr.c and fifovnops.c (5f5704245a8a, 1fdaf7d2e3c6)",
    assumed={
        "maxpipekva_is_hard": "there is no such limit",
        "own_object": "blocks come from kmem caches",
        "findspace": "blocks come from kmem caches",
        "direct": "blocks come from kmem caches",
        "around": "what surrounds its pipes is not modelled",
    },
)
_XNU: Final = _OPENBSD.since(
    "XNU, bsd/kern/sys_pipe.c (apple-oss-distributions/xnu 1031c584a5e3)",
    assumed={
        "own_object": "buffers come from kalloc, one mapping for each is assumed",
        "findspace": "buffers come from kalloc, a tree is assumed",
        "numbers": "not modelled",
        "polls_unbacked": "a half without a buffer has room in view, so that nothing rests on it",
    },
    name="xnu",
    title="XNU: 512 bytes at first, the smallest of seven blocks that is larger than the need",
    forward=Backing.BLOCK,
    reverse=Backing.NONE,
    small_above=NO_MARK,
    maxpipekva_is_hard=False,
    growth=Growth.BLOCKS,
    growth_fails_writes=True,
    create_errno=errno.ENOMEM,
    unit=512,
    room_in_view=PIPE_SIZE,
    wakes_below=None,
    one_way=True,
    reverse_first=False,
    stat_size_reader=True,
    stat_block=BlockSize.AT_LEAST,
    knote_errno=None,
    hup_while_closing=True,
    eof_while_closing=True,
    direct_writes=False,
    goes="at its own end's close",
    kept="what kalloc keeps",
    locks="a mutex for the pair, and a flag of each half while it is copied",
    kernel="XNU",
)
_LINUX_44: Final = LinuxState(
    name="linux-4.4",
    title="Linux 4.4: one slot beyond the soft limit, one spare page",
    kernel="Linux",
    maxpipekva_is_hard=False,
    own_object=False,
    findspace="tree",
    direct=True,
    pages_soft=16 * 1024,
    pages_hard=0,
    goes="each page when it is read; the rest when both ends are closed",
    kept="a page that was read",
    locks="a mutex of the pipe",
    beyond_soft=1,
    limits_are_reached=True,
    root_is_exempt=False,
    shrinks_freely=False,
    size_is_unsigned=False,
    spares=1,
    tee_merges=True,
    write_wakes=WriteWakes.ALWAYS,
    read_wakes=ReadWakes.SLOT,
    two_queues=False,
    exclusive_waits=False,
).cited(
    "Linux 4.4.y, fs/pipe.c, with the limits per user of 759c01142a5d",
    assumed={
        "size_is_unsigned": "what 2**32 gives was not seen; EINVAL, as in later versions, is assumed",
        "tee_merges": "follows from its operations of a page, its splice.c was not seen",
        "slot_bytes": "as in 7.2",
        "largest_ring": "KMALLOC_MAX_SIZE of x86-64, as in 6.8",
        "maxpipekva_is_hard": "Linux has no such limit",
        "own_object": "Linux maps no pages of pipes",
        "findspace": "Linux maps no pages of pipes",
        "around": "what surrounds its pipes is not modelled",
    },
)
_LINUX_54: Final = _LINUX_44.since(
    "Linux 5.4.y, fs/pipe.c, with 46c4c9d1beb7",
    assumed={"limits_are_reached": "as from 4.16 on", "root_is_exempt": "as from 4.16 on"},
    name="linux-5.4",
    title="Linux 5.4: two slots beyond the soft limit",
    beyond_soft=2,
    limits_are_reached=False,
    root_is_exempt=True,
    shrinks_freely=True,
    size_is_unsigned=False,
    tee_merges=False,  # a0ce2f0aa6ad
)
_LINUX_510: Final = _LINUX_54.since(
    "Linux 5.10.13, fs/pipe.c; two wait queues since 0ddad21d3e99",
    assumed={"read_wakes": "as 5.7"},
    name="linux-5.10",
    title="Linux 5.10: two wait queues, wakeups only if empty or full",
    beyond_soft=1,
    write_wakes=WriteWakes.EMPTY,
    read_wakes=ReadWakes.FULL,
    two_queues=True,
    exclusive_waits=True,
)
_LINUX_61: Final = _LINUX_510.since(
    "Linux of about 6.1, fs/pipe.c; 46c4c9d1beb7, 3b844826b6c6",
    name="linux-6.1",
    title="Linux 6.1: a pipe that is polled wakes at every write",
    beyond_soft=2,
    write_wakes=WriteWakes.POLLED,
)
_LINUX_612: Final = _LINUX_61.since(
    "Linux of about 6.12, fs/pipe.c; abb5e0dbe61b",
    assumed={"read_wakes": "as in 6.1, until aaec5a95d596 of 6.14"},
    name="linux-6.12",
    title="Linux 6.12: F_SETPIPE_SZ is unsigned",
    size_is_unsigned=True,
    read_wakes=ReadWakes.FULL,
)
_LINUX: Final = _LINUX_612.since(
    "Linux 6.18, fs/pipe.c as stored after it, and what 6.18.44 does; aaec5a95d596, 46af8e2406c2",
    name="linux",
    title="Linux 6.18: a ring of pages, charged to the user, two spare pages",
    kept="two pages that were read",
    spares=2,
    read_wakes=ReadWakes.FULL_SLOT,
)
_LINUX_72: Final = _LINUX.since(
    "Linux 7.2, fs/pipe.c; 212ed884a1ae",
    name="linux-7.2",
    title="Linux 7.2: pages are allocated before the mutex is taken",
    pages_ahead=8,
)

# --- the registry --------------------------------------------------------------------------------------------

S = TypeVar("S", bound=KernelState)


class View(Mapping[str, S], Generic[S]):
    """States by name, in the order in which they were added: all of them, or those that a rule admits."""

    def __init__(self, states: dict[str, KernelState], admits: Callable[[KernelState], bool]) -> None:
        self._states = states
        self._admits = admits

    def __getitem__(self, name: str) -> S:
        state = self._states[name]
        if not self._admits(state):
            raise KeyError(name)
        return cast("S", state)

    def __iter__(self) -> Iterator[str]:
        return (name for name, state in self._states.items() if self._admits(state))

    def __len__(self) -> int:
        return sum(1 for _ in self)


_STATES: Final[dict[str, KernelState]] = {
    state.name: state
    for state in (
        _JULY_2003,
        _JANUARY_2004,
        _EARLY_2006,
        _TEN,
        _TWELVE,
        _FOURTEEN,
        _CURRENT,
        _DRAGONFLY,
        _DRAGONFLY_2017,
        _NETBSD,
        _NETBSD_10,
        _OPENBSD,
        _ILLUMOS,
        _XNU,
        _LINUX,
        _LINUX_44,
        _LINUX_54,
        _LINUX_510,
        _LINUX_61,
        _LINUX_612,
        _LINUX_72,
    )
}

STATES: Final[Mapping[str, KernelState]] = View(_STATES, lambda _: True)
"""Every state by its name."""
ERAS: Final[Mapping[str, Era]] = View(_STATES, lambda state: state.kernel == "FreeBSD")
"""FreeBSD's states by name, oldest first."""
KERNELS: Final[Mapping[str, KernelState]] = View(_STATES, lambda state: state.kernel != "FreeBSD")
"""The states of other kernels by name."""


def register(state: KernelState) -> KernelState:
    """Add a state, and return it; every command, scenario and table then knows it.

    Raises:
        InvalidRequestError: If its name is taken, or it says that it is FreeBSD's and is no Era.
    """
    if state.name in _STATES:
        raise InvalidRequestError("name", state.name, "there is a kernel state of this name already")
    if state.kernel == "FreeBSD" and not isinstance(state, Era):
        raise InvalidRequestError("kernel", state.kernel, "a state of FreeBSD is an Era")
    _STATES[state.name] = state
    return state


def unregister(name: str) -> None:
    """Take back a state that :func:`register` added."""
    del _STATES[name]


# --- January 2004, otherwise ---------------------------------------------------------------------------------

BEFORE_PAIRS: Final = _JANUARY_2004.with_around(pair_zone=False)
"""January 2004 before the commit that made a pair one item of one zone."""

FIXES: Final[Mapping[str, Era]] = {
    "free-after-unlock": _JANUARY_2004.with_around(fd=attrs.evolve(_BITMAP, old_table=OldTable.FREED_AFTER)),
    "keep-old-tables": _JANUARY_2004.with_around(fd=attrs.evolve(_BITMAP, old_table=OldTable.KEPT)),
    "long-term-flag": _JANUARY_2004.with_around(filedesc_lock=FiledescLock.FLAG),
}
"""January 2004 with each of the ways in which the reversal could have been avoided (B41)."""
