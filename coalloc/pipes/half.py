"""`Half`: one end's state as plain data: a ring, where its buffer is, and who uses it; the ring keeps PI2 and PI3."""

from __future__ import annotations

import enum
from typing import Final

from coalloc.pipes.budget import Owner
from coalloc.pipes.ring import Ring

__all__ = ["Half", "Present"]


class Present(enum.Enum):
    """Whether a half is there (the kernel's pipe_present)."""

    ACTIVE = 1
    CLOSING = 2
    """Closed by its owner; its buffer is not freed yet."""
    FINALIZED = 3


_ACTIVE: Final = Present.ACTIVE  # a name of its own: looking up a member of an Enum takes 15 times as long


class Half(Ring):
    """One end of a pipe: the ring that it reads from, and where that is.

    Args:
        owner: Who is charged for its buffer.
        lazy: Whether its first write gives it the buffer that a new pipe would get.
    """

    __slots__ = (
        "awaits",
        "base",
        "busy",
        "direct",
        "eof",
        "ino",
        "lazy",
        "left",
        "owner",
        "present",
        "touched",
        "wired",
    )

    def __init__(self, owner: Owner, *, lazy: bool = False) -> None:
        super().__init__()
        self.owner = owner
        self.lazy = lazy
        self.base = -1
        """Address of the buffer, -1 if unbacked."""
        self.present = _ACTIVE
        self.eof = False
        self.busy = 0
        """Calls inside the half."""
        self.direct: bytes | None = None
        """What a direct write in progress still holds."""
        self.awaits = False
        """Whether a direct write waits until the buffer is empty."""
        self.wired = 0
        """Bytes of the writer's pages that a direct write has wired and that are accounted."""
        self.left = 0
        """Room for a writer when this half was closed."""
        self.ino = 0
        """Its number (st_ino); 0 if it has none yet."""
        self.touched = 0
        """Bytes from the base that have been touched since the buffer was had."""

    @property
    def readable(self) -> int:
        """Bytes that can be read: those of a direct write in progress, or those buffered."""
        return self.cnt if self.direct is None else len(self.direct)
