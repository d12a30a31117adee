"""`multiprocessing.heap.Heap` of the running Python as a space, through its real interface: malloc and free of blocks.

It maps arenas by itself, without asking a source.  So the adapter tells the source of each new arena when it first sees a block
of it, and addresses are those that the source gives; the source is made large enough for whatever is mapped.

Its alignment, a class attribute, is set to 512 instead of 8 bytes, so that the oracle has few cells to look at.  Two things of
its interface are translated: it grants 0 bytes (a block of 8), which no space may, and it says OverflowError to
sizes of sys.maxsize and more, which is a refusal here.
"""

from __future__ import annotations

from multiprocessing.heap import Heap
from typing import Any

from coalloc import Contract, Fit, InvalidRequestError, Tie
from coalloc.contract import ANY_RELEASE
from coalloc.errors import BadFreeError, FreeFault
from coalloc.testing import WatchedSource

ROOM = 1 << 30
KEPT = Contract(fit=Fit.BEST, tie=Tie.NEWEST, release=ANY_RELEASE, limited=False, checks_frees=False)
"""The level that Heap keeps."""


class _CoarseHeap(Heap):
    _alignment = 512


class HeapSpace:
    """Carve blocks from Heap's arenas."""

    contract = KEPT
    quantum = _CoarseHeap._alignment

    def __init__(self, source: WatchedSource) -> None:
        source.base, source.size = min(source.base, 2**64 - ROOM), ROOM
        self._source = source
        self._heap: Any = _CoarseHeap()
        self._bases: dict[Any, int] = {}
        self._blocks: dict[int, Any] = {}

    def alloc(self, size: int) -> int:
        if type(size) is not int or size < 1:
            raise InvalidRequestError("size", size, "must be an int >= 1")
        self._source.starve = 0  # its mmap is the machine's, and cannot be told to fail
        if size > self._source.available():
            raise MemoryError
        block = self._heap.malloc(size)
        arena, start, _ = block
        if arena not in self._bases:
            self._bases[arena] = self._source.map(arena.size)
        base: int = self._bases[arena] + start
        self._blocks[base] = block
        return base

    def free(self, base: int) -> None:
        block = self._blocks.get(base)
        if block is None:  # no block that could be handed to Heap
            raise BadFreeError(base, FreeFault.NEVER_ALLOCATED)
        self._heap.free(block)
        for arena in [arena for arena in self._bases if arena not in self._heap._arenas]:
            self._source.unmap(self._bases.pop(arena), arena.size)  # Heap gives back large arenas that are wholly free
