"""The judge's books: which arenas there are, which buffers are live or cached, and what is free, as the specification keeps it.

The books follow what the source was asked and what the allocator answered.  They know no allocator, and judge nothing but what
makes following impossible: an arena that is unmapped under a live buffer, or mapped beyond the limit, and a cached buffer that
lies nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator

from coalloc import spec
from coalloc.contract import Bounds, Contract, Fit
from coalloc.testing.properties import Breach, Property
from coalloc.testing.source import Event

__all__ = ["Books", "Shown"]

Shown = tuple[int, int, str, int]
"""A segment: base, size, what it is ("busy", "cached" or "free"), and the base of its arena."""


class Books:
    """What is where.

    Args:
        contract: What the allocator is held to.
        quantum: Bytes of a quantum.
        limit: The most bytes that may be mapped.
    """

    def __init__(self, contract: Contract, quantum: int, limit: int) -> None:
        self.contract = contract
        self.quantum = quantum
        self.limit = limit
        self.state = spec.State(quantum, contract.geometry)
        """What is free; a cached buffer is not."""
        self.live: dict[int, tuple[int, int]] = {}
        """Base and size of every live buffer, by its number."""
        self.gone: dict[int, int] = {}
        """Base of every buffer that was freed, by its number."""
        self.parked: dict[int, int] = {}
        """Base and size of every cached buffer, in the order in which they were freed."""
        self.static: set[int] = set()
        """Bases of the arenas that were mapped when the allocator was made."""
        self.cursors = {0}
        """Where next fit may go on from: the end of what was carved last, if it can be told what was carved."""
        self.peak = self.imports = self.releases = 0

    def footprint(self, size: int) -> int:
        """Return how many bytes a request of ``size`` bytes occupies."""
        return spec.footprint(size, self.quantum, self.contract.geometry)

    # --- arenas ------------------------------------------------------------------------------------------

    def follow(self, event: Event) -> None:
        """Enter an arena that was mapped, or strike one that was unmapped."""
        if event.mapped:
            self.state = spec.enter(self.state, event.base, event.size)
            self.imports += 1
            mapped = self.state.mapped
            self.peak = max(self.peak, mapped)
            if mapped > self.limit:
                raise Breach(Property.P11, f"{mapped} bytes are mapped, and the limit is {self.limit}")
            return
        inside = [base for base, _ in self.live.values() if event.holds(base)]
        if inside:
            raise Breach(Property.P12, f"the arena {event.base:#x} was unmapped with a live buffer at {inside[0]:#x}")
        for base in [base for base in self.parked if event.holds(base)]:
            self.drop(base)
        self.static.discard(event.base)
        self.releases += 1
        self.state = spec.leave(self.state, event.base, event.size)

    def idle(self) -> set[int]:
        """Return the bases of arenas, static ones apart, that are wholly free."""
        return {
            arena.base for arena in self.state.arenas if arena.free.bit_count() * self.quantum == arena.size
        } - self.static

    # --- buffers -----------------------------------------------------------------------------------------

    def enter(self, number: int, base: int, size: int) -> None:
        """Enter a buffer that was carved."""
        self.state = spec.take(self.state, base, size)
        self.live[number] = base, size

    def resize(self, number: int, size: int) -> None:
        """Change the size of a live buffer that stayed where it is."""
        base, old = self.live[number]
        if size < old:
            self.state = spec.give(self.state, base + size, old - size)
        elif size > old:
            self.state = spec.take(self.state, base + old, size - old)
        self.live[number] = base, size

    def leave(self, base: int, size: int, *, cached: bool) -> None:
        """Strike a buffer that was freed; if it may be cached, its quanta stay taken."""
        if cached:
            self.parked[base] = size
        else:
            self.state = spec.give(self.state, base, size)

    def drop(self, base: int) -> None:
        """Let the quanta of a cached buffer go."""
        self.state = spec.give(self.state, base, self.parked.pop(base))

    def unpark(self, number: int, base: int) -> None:
        """Enter a buffer that was handed out by the cache."""
        self.live[number] = base, self.parked.pop(base)

    def park_ahead(self, base: int, size: int) -> None:
        """Enter a cached buffer that nobody had before."""
        if not spec.is_free(self.state, base, size):
            raise Breach(Property.P4, f"{base:#x}+{size} is shown as cached, and does not lie in a hole")
        self.state = spec.take(self.state, base, size)
        self.parked[base] = size

    # --- what the specification says -----------------------------------------------------------------------

    def choices(self, size: int, bounds: Bounds, fit: Fit | None, *, ages_known: bool) -> list[int]:
        """Return where a fit may put a request, wherever next fit's cursor is."""
        cursors = self.cursors if fit is Fit.NEXT else (0,)
        found = (
            spec.choices(self.state, size, bounds, fit=fit, tie=self.contract.tie, cursor=cursor, ages_known=ages_known)
            for cursor in cursors
        )
        return sorted({place for places in found for place in places})

    def drained(self) -> spec.State:
        """Return the state with all cached buffers given back."""
        state = self.state
        for base, size in self.parked.items():
            state = spec.give(state, base, size)
        return state

    def segments(self) -> list[Shown]:
        """Return every segment in the order of addresses."""
        return sorted(self._segments())

    def _segments(self) -> Iterator[Shown]:
        for arena in self.state.arenas:
            for base, size in arena.holes:
                yield base, size, "free", arena.base
        for kind, buffers in (("busy", self.live.values()), ("cached", self.parked.items())):
            for base, size in buffers:
                holder = spec.arena_at(self.state, base)
                assert holder is not None  # what is live or cached lies in an arena
                yield base, size, kind, holder.base
