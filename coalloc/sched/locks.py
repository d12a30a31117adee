"""`Lock` and `Discipline`: what a lock is, and how threads wait for it, as data; only a machine knows its holder."""

from __future__ import annotations

import enum
from typing import Final

import attrs

__all__ = [
    "ADAPTIVE",
    "DISCIPLINES",
    "HANDOFF",
    "MCS",
    "OPTIMISTIC",
    "PER_CPU",
    "READ_MOSTLY",
    "RWLOCK",
    "RWSEM",
    "SLEEPING",
    "TEST_AND_SET",
    "TICKET",
    "Discipline",
    "Lock",
    "LockKind",
    "Spin",
]


class Spin(enum.Enum):
    """How waiting CPUs spin, which decides what it costs to hand the lock over to one of them."""

    TEST_AND_SET = "test-and-set"
    """All try at once, in no order: the line moves past half of them before one has it."""
    TICKET = "ticket"
    """In the order of arrival, and all read the line that tells whose turn it is: it moves to some of them first."""
    MCS = "MCS"
    """In the order of arrival, each on a line of its own: one transfer."""


@attrs.frozen
class Discipline:
    """How threads wait for a lock, and who gets it.

    Args:
        name: Its name.
        spin: How waiters spin; None if they sleep at once.
        sleeps: Whether waiters sleep when they do not spin: at once, or as soon as the holder is on no CPU.
        handoff_after: After how many vain tries a waiter that slept is given the lock by its holder: 0 gives it to the first
            waiter always; None never does, and whoever comes first takes it.
        wakes_all: Whether a release wakes all waiters that sleep, and not only the first.
        shared: Whether readers can hold it together.
        local_readers: Whether a reader writes to no line that other CPUs write to; the writer then asks every CPU.
        per_cpu: Whether each CPU has a lock of its own, and a holder stays on its CPU.

    Source: of TEST_AND_SET and MCS: Anderson, IEEE TPDS 1990, and Mellor-Crummey and Scott, ACM TOCS 1991; of TICKET:
    Boyd-Wickizer, Kaashoek, Morris and Zeldovich, Non-scalable locks are dangerous, Linux Symposium 2012; of the others:
    FreeBSD locking(9), kern_mutex.c and kern_rwlock.c; Linux locking/mutex.c and locking/rwsem.c.
    """

    name: str
    spin: Spin | None = None
    sleeps: bool = True
    handoff_after: int | None = None
    wakes_all: bool = False
    shared: bool = False
    local_readers: bool = False
    per_cpu: bool = False

    @property
    def in_order(self) -> bool:
        """Whether waiters always get the lock in the order of their arrival."""
        return self.handoff_after == 0 or (not self.sleeps and self.spin in (Spin.TICKET, Spin.MCS))


TEST_AND_SET: Final = Discipline("test-and-set", Spin.TEST_AND_SET, sleeps=False)
TICKET: Final = Discipline("ticket", Spin.TICKET, sleeps=False)
MCS: Final = Discipline("MCS", Spin.MCS, sleeps=False)
ADAPTIVE: Final = Discipline("adaptive", Spin.TEST_AND_SET, wakes_all=True)
"""FreeBSD's mutex: a waiter spins while the holder runs, and a release wakes all that sleep."""
OPTIMISTIC: Final = Discipline("optimistic", Spin.MCS, handoff_after=1)
"""Linux's mutex: one spins at a time, and a waiter that was woken in vain is given the lock next."""
SLEEPING: Final = Discipline("sleeping")
"""A release wakes the first waiter, and whoever comes first takes the lock."""
HANDOFF: Final = Discipline("hand-off", handoff_after=0)
"""A release gives the lock to the first waiter."""
RWLOCK: Final = Discipline("rwlock", Spin.TEST_AND_SET, wakes_all=True, shared=True)
"""FreeBSD's rwlock."""
RWSEM: Final = Discipline("rwsem", Spin.MCS, handoff_after=1, shared=True)
"""Linux's rwsem."""
READ_MOSTLY: Final = Discipline("read-mostly", Spin.TEST_AND_SET, shared=True, local_readers=True)
"""FreeBSD's rmlock: a reader pays nothing to other CPUs, and a writer interrupts them all."""
PER_CPU: Final = Discipline("per-CPU", Spin.TICKET, sleeps=False, per_cpu=True)
_SX: Final = Discipline("sx", Spin.TEST_AND_SET, wakes_all=True, shared=True)
_LOCKMGR: Final = Discipline("lockmgr", wakes_all=True, shared=True)

DISCIPLINES: Final = {
    each.name: each
    for each in (
        TEST_AND_SET, TICKET, MCS, ADAPTIVE, OPTIMISTIC, SLEEPING, HANDOFF, RWLOCK, RWSEM, READ_MOSTLY, PER_CPU,
    )
}  # fmt: skip
"""Every discipline by its name."""


class LockKind(enum.Enum):
    """The kinds of locks; the value is the class as the kernel prints it (lock order and profiles go by it)."""

    MUTEX = "sleep mutex"
    """Threads that wait for it block, and its holder may not sleep."""
    SX = "sx"
    LOCKMGR = "lockmgr"
    SPIN = "spin mutex"

    @property
    def sleepable(self) -> bool:
        """Whether the holder may sleep."""
        return self in (LockKind.SX, LockKind.LOCKMGR)

    @property
    def discipline(self) -> Discipline:
        """How FreeBSD's threads wait for a lock of this kind."""
        return {
            LockKind.MUTEX: ADAPTIVE,
            LockKind.SX: _SX,
            LockKind.LOCKMGR: _LOCKMGR,
            LockKind.SPIN: TEST_AND_SET,
        }[self]


@attrs.frozen(eq=False)
class Lock:
    """One lock; two locks are equal only if they are the same object.

    Args:
        name: The lock's name.
        kind: Its kind.
        type: The name of its type; lock order is kept between types.  The lock's own name if not given.
        address: Its address, for reports.
        dupok: Whether a second lock of its type may be taken while one is held (LO_DUPOK).
        recursable: Whether its holder may take it again.
        dropped_by_sleepers: Whether a holder that sleeps releases it meanwhile, as Giant's holders do.  Such a lock may come
            before or after a sleepable lock, and comes before every other.
        discipline: How threads wait for it; that of FreeBSD's locks of its kind if not given.
    """

    name: str
    kind: LockKind = LockKind.MUTEX
    type: str = attrs.field(default=attrs.Factory(lambda lock: lock.name, takes_self=True))
    address: int = 0
    dupok: bool = False
    recursable: bool = False
    dropped_by_sleepers: bool = False
    discipline: Discipline = attrs.field(default=attrs.Factory(lambda lock: lock.kind.discipline, takes_self=True))

    def __str__(self) -> str:
        return f"{self.address:#x} {self.name} ({self.type})"
