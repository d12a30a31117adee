"""`Lock`: what a kernel lock is called and of which kind it is, as data; who holds it is the scheduler's business."""

from __future__ import annotations

import enum

import attrs

__all__ = ["GIANT", "Lock", "LockKind"]


class LockKind(enum.Enum):
    """The kinds of locks; the value is the class as the kernel prints it."""

    MUTEX = "sleep mutex"
    """Its waiters block, but its holder may not sleep."""
    SX = "sx"
    LOCKMGR = "lockmgr"
    SPIN = "spin mutex"

    @property
    def sleepable(self) -> bool:
        """Whether the holder may sleep."""
        return self in (LockKind.SX, LockKind.LOCKMGR)


@attrs.frozen(eq=False)
class Lock:
    """One lock; two locks are equal only if they are the same.

    Args:
        name: What it is called.
        kind: What it is.
        type: The name of its type, which is what lock order is about; its own name if empty.
        address: Where it lies, for reports.
        dupok: Whether a second lock of its type may be taken while one is held (LO_DUPOK).
        recursable: Whether its holder may take it again.
    """

    name: str
    kind: LockKind = LockKind.MUTEX
    type: str = attrs.field(default=attrs.Factory(lambda lock: lock.name, takes_self=True))
    address: int = 0
    dupok: bool = False
    recursable: bool = False

    def __str__(self) -> str:
        return f"{self.address:#x} {self.name} ({self.type})"


GIANT = Lock("Giant", address=0xC0937960, recursable=True)
"""The lock of all that has none of its own: before every other mutex, and dropped by whoever sleeps."""
