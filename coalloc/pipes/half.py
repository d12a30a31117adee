"""`Half`: one end's state as plain data: where its buffer is, what it holds, who uses it; its ring keeps PI2 and PI3."""

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


class Half:
    """One end of a pipe.

    Args:
        owner: Who is charged for its buffer.
        lazy: Whether its first write gives it the buffer that a new pipe would get.
    """

    __slots__ = ("base", "busy", "direct", "eof", "lazy", "owner", "present", "ring", "touched")

    def __init__(self, owner: Owner, *, lazy: bool = False) -> None:
        self.owner = owner
        self.lazy = lazy
        self.ring = Ring()
        self.base = -1
        """Address of the buffer, -1 if unbacked."""
        self.present = _ACTIVE
        self.eof = False
        self.busy = 0
        """Calls inside the half."""
        self.direct: bytes | None = None
        """What a direct write in progress still holds."""
        self.touched = 0
        """Bytes from the base that have been touched since the buffer was had."""

    @property
    def size(self) -> int:
        """Bytes of the buffer, 0 if unbacked."""
        return self.ring.size

    @property
    def cnt(self) -> int:
        """Bytes buffered, those of a direct write not included."""
        return self.ring.cnt

    @property
    def readable(self) -> int:
        """Bytes that can be read: those of a direct write in progress, or those buffered."""
        return self.ring.cnt if self.direct is None else len(self.direct)
