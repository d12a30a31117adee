"""`Zone`: an object zone like UMA's, which counts its calls: constructors for each use, initialisers for each item.

Items come in slabs.  *init* is called for every item of a slab when the slab is allocated, and *fini* when it is released.
What init sets up, a mutex for instance, stays set up from one use of the item to the next.  *ctor* is called whenever an item
is handed out, and *dtor* whenever it is freed.  The item that was freed last is handed out first.

Source: FreeBSD commit 4795b82c13 of 1 February 2004, which made a pair of pipes one item of a zone; B22, B24.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import attrs

from coalloc.checked import Checked
from coalloc.errors import InvalidRequestError, PanicError, Violation

__all__ = ["Zone", "ZoneCounters"]

T = TypeVar("T")


@attrs.frozen
class ZoneCounters:
    """Exact counts of what a zone has done and what it holds."""

    allocs: int = 0
    frees: int = 0
    ctors: int = 0
    dtors: int = 0
    inits: int = 0
    finis: int = 0
    slabs: int = 0
    live: int = 0
    cached: int = 0


class Zone(Checked, Generic[T]):
    """Hand out objects of one type, and keep those that are freed.

    Args:
        name: The name of the zone.
        make: Makes the memory of an item.
        ctor: Called with an item before it is handed out.
        dtor: Called with an item when it is freed.
        init: Called with each item of a new slab.
        fini: Called with each item of a slab that is released.
        per_slab: Items in a slab, >= 1.

    Complexity:
        O(1) for a call, and ``per_slab`` steps for a new slab.

    >>> zone = Zone("PIPE", dict, init=lambda item: item.update(mutex="pipe mutex"))
    >>> first = zone.alloc(); zone.free(first); zone.alloc() is first
    True
    >>> zone.counters().allocs, zone.counters().inits
    (2, 1)
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], T],
        *,
        ctor: Callable[[T], object] | None = None,
        dtor: Callable[[T], object] | None = None,
        init: Callable[[T], object] | None = None,
        fini: Callable[[T], object] | None = None,
        per_slab: int = 1,
    ) -> None:
        if type(per_slab) is not int or per_slab < 1:
            raise InvalidRequestError("per_slab", per_slab, "must be an int >= 1")
        self.name = name
        self._make = make
        self._ctor, self._dtor, self._init, self._fini = ctor, dtor, init, fini
        self._per_slab = per_slab
        self._slabs: dict[int, list[T]] = {}
        self._slab_of: dict[int, int] = {}  # by the item's identity
        self._free: dict[int, T] = {}  # by the item's identity, the last one freed last
        self._next_slab = 0
        self._counts = dict.fromkeys(("allocs", "frees", "ctors", "dtors", "inits", "finis"), 0)

    def alloc(self) -> T:
        """Return an item, initialised and constructed."""
        if not self._free:
            self._import()
        _, item = self._free.popitem()
        self._counts["allocs"] += 1
        self._call("ctors", self._ctor, item)
        return item

    def free(self, item: T) -> None:
        """Free an item.

        Raises:
            PanicError: If the item is not in use, or not of this zone.
        """
        if id(item) not in self._slab_of or id(item) in self._free:
            raise PanicError(f"{self.name}: an item is freed that is not in use")
        self._counts["frees"] += 1
        self._call("dtors", self._dtor, item)
        self._free[id(item)] = item

    def reclaim(self) -> int:
        """Release the slabs that are wholly free, and return how many items they had."""
        gone = 0
        for number, items in list(self._slabs.items()):
            if all(id(item) in self._free for item in items):
                for item in items:
                    self._call("finis", self._fini, item)
                    del self._free[id(item)], self._slab_of[id(item)]
                del self._slabs[number]
                gone += len(items)
        return gone

    def _import(self) -> None:
        items = [self._make() for _ in range(self._per_slab)]
        for item in reversed(items):
            self._call("inits", self._init, item)
            self._slab_of[id(item)] = self._next_slab
            self._free[id(item)] = item
        self._slabs[self._next_slab] = items
        self._next_slab += 1

    def _call(self, name: str, function: Callable[[T], object] | None, item: T) -> None:
        self._counts[name] += 1
        if function is not None:
            function(item)

    def counters(self) -> ZoneCounters:
        """Return the counters as a frozen value."""
        return ZoneCounters(
            **self._counts,
            slabs=len(self._slabs),
            live=len(self._slab_of) - len(self._free),
            cached=len(self._free),
        )

    def violations(self) -> tuple[Violation, ...]:
        """Return every breach of PI5: counts that do not balance, or items in no slab."""
        counts = self.counters()
        found = []
        if counts.allocs - counts.frees != counts.live:
            found.append(
                Violation("PI5", f"{counts.allocs} allocs and {counts.frees} frees leave {counts.live} in use")
            )
        if counts.inits - counts.finis != counts.live + counts.cached:
            found.append(
                Violation("PI5", f"{counts.inits} inits and {counts.finis} finis leave {len(self._slab_of)} items")
            )
        if {id(item) for items in self._slabs.values() for item in items} != set(self._slab_of):
            found.append(Violation("PI5", "an item is in no slab, or a slab has an item that is none"))
        return tuple(found)

    def dump(self) -> str:
        """Return the counters as text, for an error."""
        return str(self.counters())
