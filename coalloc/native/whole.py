"""`run_whole`: a program goes to the process of an allocator in one piece, and all answers come back in one piece.

The host plays the source of arenas, and passes over a step whose buffer is not live; nothing is judged there.  Programs and
answers are columns, one entry for each step, so that a call costs no object.
"""

from __future__ import annotations

import struct
import sys
from array import array
from enum import IntEnum
from typing import Final

import attrs

from coalloc.native.host import Ask, Host

__all__ = ["PASSED_OVER", "Answers", "Call", "Calls", "Placing", "run_whole"]

_HEAD: Final = struct.Struct("=9Q")
PASSED_OVER: Final = 0x100
"""The status of a step that makes no call, since its buffer is not live."""


class Call(IntEnum):
    """What a step calls; STARVE calls nothing, and makes the n-th map call from then on fail."""

    ALLOC = 0
    XALLOC = 1
    FREE = 2
    RESIZE = 3
    RESERVE = 4
    REFREE = 5
    FREE_INSIDE = 6
    FREE_WILD = 7
    RECLAIM = 8
    STARVE = 9


class Placing(IntEnum):
    """Where the source puts its ranges: at the lowest address, the highest, apart from the others, or by turns."""

    UP = 0
    DOWN = 1
    APART = 2
    MIXED = 3


@attrs.frozen
class Calls:
    """A program as one array of three words a step: what and of which buffer, a size, and an address.

    Attributes:
        words: ``call | buffer << 32``, size in bytes, and address (of an xalloc the number of its bounds).
        bounds: Five words for each of the bounds: align, phase, nocross, lo, hi.
        n_buffers: One more than the highest number of a buffer.
    """

    words: array[int] = attrs.field(factory=lambda: array("Q"))
    bounds: array[int] = attrs.field(factory=lambda: array("Q"))
    n_buffers: int = 0

    def __len__(self) -> int:
        return len(self.words) // 3


@attrs.frozen
class Answers:
    """What a program was answered, one entry for each step.

    Attributes:
        statuses: A :class:`~coalloc.native.host.Status`, PASSED_OVER, or another number where the allocator misused its source.
        bases: The address that was returned; what it is where none was is not said.
        n_events: How many calls of the source there were.
        events: Three words for each call of the source: 0 for unmap, 1 for map, 2 for a map that was refused; base; size.
        opened: How many calls of the source opening the space made; they come first.
    """

    statuses: array[int]
    bases: array[int]
    n_events: array[int]
    events: array[int]
    opened: int


def run_whole(
    host: Host,
    calls: Calls,
    *,
    kva_limit: int,
    quantum: int,
    base: int,
    size: int,
    granule: int,
    placing: Placing = Placing.UP,
    options: str = "",
) -> Answers | None:
    """Run a program on a new space, which is closed at its end.

    Args:
        host: The process of the allocator.
        calls: The program.
        kva_limit: The most bytes that the space may map.
        quantum: Its quantum, bytes.
        base: First address of the source.
        size: Bytes of the source.
        granule: Granule of the source.
        placing: Where the source puts its ranges.
        options: A text for the allocator.

    Returns:
        The answers; None if the allocator refuses to be opened.

    Raises:
        SubjectDied: If the process ends.

    Complexity:
        One exchange with the process.
    """
    text = options.encode()
    head = _HEAD.pack(
        kva_limit, quantum, granule, base, size, placing, calls.n_buffers, len(calls), len(calls.bounds) // 5
    )
    payload = b"".join((head, calls.words, calls.bounds, text))
    more = host.call(Ask.WHOLE, payload=payload)[2]
    n = len(calls) + 1
    words = array("Q", more[: 16 * n])  # status and number of events in one word, and the base
    firsts = words[::2]
    statuses, n_events = _halves(firsts)
    if statuses[0]:
        return None
    return Answers(statuses[1:], words[3::2], n_events[1:], array("Q", more[16 * n :]), n_events[0])


def _halves(words: array[int]) -> tuple[array[int], array[int]]:
    """Return the first and the second halves of words, as they lie in memory."""
    halves = array("I", words.tobytes())
    return halves[::2], halves[1::2]


assert array("I").itemsize == 4, sys.platform
