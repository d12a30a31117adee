"""`Lock`: the name and the kind of a lock, as data; only the machine knows its holder."""

from __future__ import annotations

import enum

import attrs

__all__ = ["Lock", "LockKind"]


class LockKind(enum.Enum):
    """The kinds of locks; the value is the class as the kernel prints it."""

    MUTEX = "sleep mutex"
    """Threads that wait for it block, and its holder may not sleep."""
    SX = "sx"
    LOCKMGR = "lockmgr"
    SPIN = "spin mutex"

    @property
    def sleepable(self) -> bool:
        """Whether the holder may sleep."""
        return self in (LockKind.SX, LockKind.LOCKMGR)


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
    """

    name: str
    kind: LockKind = LockKind.MUTEX
    type: str = attrs.field(default=attrs.Factory(lambda lock: lock.name, takes_self=True))
    address: int = 0
    dupok: bool = False
    recursable: bool = False
    dropped_by_sleepers: bool = False

    def __str__(self) -> str:
        return f"{self.address:#x} {self.name} ({self.type})"
