"""The judge's books: which arenas there are, which buffers are live or cached, and what is free, as the specification keeps it.

The books follow what the source was asked and what the allocator answered.  They know no allocator, and judge nothing but what
makes following impossible: an arena that is unmapped under a live buffer, or mapped beyond the limit, and a cached buffer that
lies nowhere.

A buffer is kept as all that it occupies: its *place*, where that begins, and its size.  The address that was handed out lies a
header behind the place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import attrs

from coalloc import spec
from coalloc.contract import Bounds, Coalescing, Contract, End, Fit, Rounding, Spans, Tie
from coalloc.errors import SpanOverlapError
from coalloc.testing.properties import Breach, Property
from coalloc.testing.source import Event

__all__ = ["Books", "Shown"]

Shown = tuple[int, int, str, int]
"""A segment: base, size, what it is ("busy", "cached" or "free"), and the base of its arena."""


@attrs.frozen
class _Range:
    """What the source mapped at a base: its bytes, and base and size of each part that is handed out, in whole quanta."""

    size: int
    pieces: tuple[tuple[int, int], ...]


class Books:
    """What is where.

    Args:
        contract: What the allocator is held to.
        quantum: Bytes of a quantum.
        limit: The most bytes that may be mapped.
        due: The bytes that must be mapped before the limit excuses a refusal; as the limit, if None.
        own: The allocator's own footprint() for Rounding.OWN.
        arena: Bytes of every arena, where the contract says that they have one size, -1 if that is not known yet; 0 elsewhere.
        told: Bytes of an arena that the allocator was told; 0 if it was told none.
        granule: Bytes of the source's granule.
    """

    def __init__(
        self,
        contract: Contract,
        quantum: int,
        limit: int,
        *,
        own: Callable[[int], int] | None = None,
        arena: int = 0,
        told: int = 0,
        granule: int = 1,
        due: int | None = None,
    ) -> None:
        self.contract = contract
        self.quantum = quantum
        self.limit = limit
        self.due = limit if due is None else due
        self.arena = arena
        self.told = told
        self.granule = granule
        self.frame = spec.Frame(contract.header, contract.guard)
        self.state = spec.State(
            quantum,
            contract.geometry,
            block=contract.largest_block or 0,
            joined=contract.spans is Spans.JOINED,
            aged=contract.tie is Tie.NEWEST or contract.fit in (Fit.INSTANT, Fit.CLASS_BEST),
        )
        """What is free; a cached buffer is not."""
        self.live: dict[int, tuple[int, int]] = {}
        """Place and size of every live buffer, by its number."""
        self.gone: dict[int, int] = {}
        """Address of every buffer that was freed, by its number."""
        self.left: set[int] = set()
        """Addresses from which a resize moved a buffer."""
        self.parked: dict[int, int] = {}
        """Place and size of every cached buffer, in the order in which they were freed."""
        self.static: set[int] = set()
        """Bases of the arenas that were mapped when the allocator was made."""
        self.cursors = {0}
        """Where next fit may go on from: the end of what was carved last, if it can be told what was carved."""
        self.served = 0
        """Bytes of the largest buffer so far."""
        self.peak = self.imports = self.releases = self.mapped = 0
        self._own = own
        self._ranges: dict[int, _Range] = {}
        self._held: dict[int, int] = {}  # place and size of what was freed in an arena that is not yet wholly free
        self._by_arena = contract.coalescing is Coalescing.BY_ARENA

    def copy(self, own: Callable[[int], int] | None) -> Books:
        """Return the same books for another allocator, with its own footprint()."""
        other = copy.copy(self)
        other._own = own
        for name in ("live", "gone", "left", "parked", "static", "cursors", "_ranges", "_held"):
            setattr(other, name, getattr(self, name).copy())
        return other

    def footprint(self, size: int) -> int:
        """Return how many bytes a request of ``size`` bytes occupies."""
        if self.contract.rounding is Rounding.OWN and self._own is not None:
            return self._own(size)
        return spec.occupied(size, self.quantum, self.contract)

    def address(self, number: int) -> int:
        """Return the address of a live buffer."""
        return self.live[number][0] + self.contract.header

    # --- arenas ------------------------------------------------------------------------------------------

    def follow(self, event: Event) -> None:
        """Enter an arena that was mapped, or strike one that was unmapped."""
        if event.mapped:
            if self.arena < 0:
                self.arena = event.size
            if self.arena and event.size != self.arena:
                raise Breach(Property.P12, f"an arena of {event.size} bytes was mapped, and {self.arena} are declared")
            pieces = tuple(self._pieces(event))
            self._ranges[event.base] = _Range(event.size, pieces)
            for base, size in pieces:
                self.state = spec.enter(self.state, base, size)
            self.imports += 1
            self.mapped += event.size
            self.peak = max(self.peak, self.mapped)
            if self.mapped > self.limit:
                raise Breach(Property.P11, f"{self.mapped} bytes are mapped, and the limit is {self.limit}")
            return
        inside = [base for base, _ in self.live.values() if event.holds(base)]
        if inside:
            raise Breach(Property.P12, f"the arena {event.base:#x} was unmapped with a live buffer at {inside[0]:#x}")
        for base in [base for base in self.parked if event.holds(base)]:
            self.drop(base)
        if event.base not in self._ranges:
            raise SpanOverlapError((event.base, event.size), None, "is no arena")
        self.static.discard(event.base)
        self.releases += 1
        self.mapped -= event.size
        for base, size in self._ranges.pop(event.base).pieces:
            self.state = spec.leave(self.state, base, size)

    def _pieces(self, event: Event) -> Iterator[tuple[int, int]]:
        """Yield base and size of the parts of an arena that are handed out: whole quanta between what is not."""
        at, end = event.base + self.contract.arena_head, event.base + event.size - self.contract.arena_tail
        for first, last in (*self.contract.excluded, (end, end)):
            base = spec.round_to(at, self.quantum)
            size = (min(first, end) - base) // self.quantum * self.quantum
            if size > 0:
                yield base, size
            at = max(at, last + 1)

    def idle(self) -> set[int]:
        """Return the bases of arenas, static ones apart, that are wholly free."""
        return {base for base in self._ranges if base not in self.static and self._is_idle(base)}

    def _is_idle(self, base: int) -> bool:
        return all(spec.is_free(self.state, *piece) for piece in self._ranges[base].pieces)

    def size_of_arena(self, base: int) -> int:
        """Return the bytes of a mapped arena."""
        return self._ranges[base].size

    def n_ranges(self) -> int:
        """Return how many arenas are mapped."""
        return len(self._ranges)

    def largest_usable(self, bases: set[int]) -> int:
        """Return the most bytes that one of these arenas hands out; where arenas are joined, that arenas in a row do."""
        state = self.state._replace(arenas=(), aged=False)
        for base in sorted(bases):
            for piece in self._ranges[base].pieces:
                state = spec.enter(state, *piece)
        return max((size for _, size in state.holes), default=0)

    # --- buffers -----------------------------------------------------------------------------------------

    def enter(self, number: int, base: int, size: int) -> None:
        """Enter a buffer that was carved."""
        self.state = spec.take(self.state, base, size)
        self.live[number] = base, size
        self.served = max(self.served, size)
        for other in [other for other, length in self._held.items() if other < base + size and base < other + length]:
            del self._held[other]  # it was used again before it had to be

    def resize(self, number: int, size: int) -> None:
        """Change the size of a live buffer that stayed where it is."""
        base, old = self.live[number]
        if size < old:
            self.state = spec.give(self.state, base + size, old - size)
        elif size > old:
            self.state = spec.take(self.state, base + old, size - old)
        self.live[number] = base, size

    def slide(self, number: int, base: int, size: int) -> None:
        """Change place and size of a live buffer within what is free around it."""
        old, length = self.live[number]
        self.state = spec.take(spec.give(self.state, old, length), base, size)
        self.live[number] = base, size

    def leave(self, base: int, size: int, *, cached: bool) -> None:
        """Strike a buffer that was freed; if it may be cached, its quanta stay taken."""
        if cached:
            self.parked[base] = size
            return
        self.state = spec.give(self.state, base, size)
        if self._by_arena:
            self._held[base] = size
            for arena, about in self._ranges.items():
                if arena <= base < arena + about.size and self._is_idle(arena):
                    for held in [held for held in self._held if arena <= held < arena + about.size]:
                        del self._held[held]

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

    @property
    def sure(self) -> spec.State:
        """What is free, without what need not be used again before all of its arena is free."""
        state = self.state
        for base, size in self._held.items():
            state = spec.take(state, base, size)
        return state

    def drained(self) -> spec.State:
        """Return the state with all cached buffers given back."""
        state = self.state
        for base, size in self.parked.items():
            state = spec.give(state, base, size)
        return state

    def rule_for(self, asked: int, fit: Fit | None) -> tuple[Fit | None, End]:
        """Return fit and end for a request of so many bytes, as asked for."""
        end = self.contract.end
        if self.contract.two_ended and asked >= self.contract.two_ended:
            return spec.mirrored(fit, end)
        return fit, end

    def choices(self, asked: int, size: int, bounds: Bounds, fit: Fit | None, *, ages_known: bool) -> list[int]:
        """Return where a fit may put a request that occupies ``size`` bytes, wherever next fit's cursor is."""
        fit, end = self.rule_for(asked, fit)
        cursors = self.cursors if fit is Fit.NEXT else (0,)
        state = self.sure
        found = (
            spec.choices(
                state,
                size,
                bounds,
                fit=fit,
                tie=self.contract.tie,
                cursor=cursor,
                ages_known=ages_known,
                end=end,
                frame=self.frame,
            )
            for cursor in cursors
        )
        chosen = sorted({place for places in found for place in places})
        most = self.contract.max_segments
        if most is not None and self.n_segments() >= most:  # there is no segment left for a rest
            exact = {base for base, length in state.holes if length == size}
            return [place for place in chosen if place in exact] or sorted(exact)
        return chosen

    def with_rest(self, base: int, size: int) -> int:
        """Return the size of a new buffer with the rest of its hole, if that is too small to be a hole of its own."""
        least = self.contract.remainder
        arena = spec.arena_at(self.state, base)
        if not least or arena is None:
            return size
        ends = [sum(hole) for hole in spec.holes_in(self.state, arena) if hole[0] <= base and base + size <= sum(hole)]
        return ends[0] - base if ends and ends[0] - base - size < least else size

    def n_segments(self) -> int:
        """Return how many segments there are, busy, cached and free."""
        return len(self.live) + len(self.parked) + len(self.state.holes)

    def segments(self) -> list[Shown]:
        """Return every segment in the order of addresses."""
        return sorted(self._segments())

    def _segments(self) -> Iterator[Shown]:
        for arena in self.state.arenas:
            for base, size in spec.holes_in(self.state, arena):
                yield base, size, "free", arena.base
        for kind, buffers in (("busy", self.live.values()), ("cached", self.parked.items())):
            for base, size in buffers:
                holder = spec.arena_at(self.state, base)
                assert holder is not None  # what is live or cached lies in an arena
                yield base, size, kind, holder.base
