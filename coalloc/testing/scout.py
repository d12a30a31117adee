"""A quick judge for long soaks: it keeps what is free as plain ints, and calls for the judge where something looks wrong.

The scout holds each answer to the rules that matter most: disjoint, inside an arena, where the fit puts it, no refusal while
a hole admits the request, no arena too many.  It looks at nothing but answers and calls of the source.  What it doubts is run
again under the judge, whose verdict counts.  It shares no code with the specification, so that the two check each other.

The free quanta of an arena are the bits of an int.  ``free & free >> 1 & ...`` leaves the quanta at which a run begins.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import Final

import attrs

from coalloc.contract import (
    Capability,
    Coalescing,
    Completeness,
    Contract,
    End,
    Fit,
    Geometry,
    Resize,
    Rounding,
    Spans,
    Tie,
    capabilities_of,
)
from coalloc.extent import Extent
from coalloc.testing.properties import Breach
from coalloc.testing.source import MAX_CALLS
from coalloc.testing.steps import Action, Step, World
from coalloc.testing.subject import Subject, make

__all__ = ["Doubt", "Scout", "can_scout"]

_PLAIN: Final = Contract(fit=None)
_NO_BOUNDS: Final[dict[str, int]] = {}
_FREE_FIELDS: Final = (
    "fit", "end", "tie", "completeness", "coalescing", "release", "constraints", "resize", "exact_stats", "work",
    "checks_frees", "limited", "deterministic", "laws", "geometry", "reclaims", "retries",
)  # fmt: skip
"""The fields of a contract that may differ from the plain one; beside these the scout knows nothing."""
_STRAY: Final = (ValueError, LookupError)
"""What the free of an address that is no live buffer's may raise."""


class Doubt(Exception):  # noqa: N818 (not a mistake of anybody)
    """Something looks wrong; the judge has to say."""


class _Holes:
    """What the drawing of steps reads of the books: the free ranges, found when somebody asks."""

    def __init__(self, scout: Scout) -> None:
        self._scout = scout

    @property
    def state(self) -> _Holes:
        """These holes."""
        return self

    @property
    def holes(self) -> list[tuple[int, int]]:
        """Base and size of every free range of an arena."""
        scout, found = self._scout, []
        for base in scout.bases:
            free, at = scout.free[base], 0
            while free:
                skip = (free & -free).bit_length() - 1
                free >>= skip
                n = (~free & free + 1).bit_length() - 1
                free >>= n
                found.append((base + (at + skip) * scout.quantum, n * scout.quantum))
                at += skip + n
        return found


def can_scout(contract: Contract) -> bool:
    """Tell whether the scout knows all that a contract says of addresses."""
    plain = attrs.evolve(contract, **{name: getattr(_PLAIN, name) for name in _FREE_FIELDS})
    return (
        plain == _PLAIN
        and contract.geometry is Geometry.ANY
        and contract.rounding is Rounding.QUANTUM
        and contract.spans is Spans.SEPARATE
        and contract.coalescing is not Coalescing.BY_ARENA
    )


def _starts(free: int, n: int) -> int:
    """Return the bits at which ``n`` >= 1 set bits in a row begin."""
    have = 1
    while have < n and free:
        step = have if 2 * have <= n else n - have
        free &= free >> step
        have += step
    return free


class Scout:
    """Drive an allocator and doubt what looks wrong.

    Args:
        subject: What is under test; :func:`can_scout` says whether its contract suits.
        world: Its world.
    """

    def __init__(self, subject: Subject, world: World) -> None:
        self.world = world
        self.source, self.space = make(subject.make_space, world)
        self.contract = contract = subject.contract_of(self.space)
        self.quantum: int = getattr(self.space, "quantum", world.granule)
        if type(self.quantum) is not int or self.quantum < 1 or world.granule % self.quantum:
            raise Doubt
        self.can = capabilities_of(self.space)
        self.live: dict[int, tuple[int, int]] = {}
        self.gone: dict[int, int] = {}
        self.steps: list[Step] = []
        self.bases: list[int] = []
        """The bases of the arenas, ascending."""
        self.free: dict[int, int] = {}
        """What is free in each arena, by its base."""
        self.full: dict[int, int] = {}
        """The quanta of each arena, all of them."""
        self._idle: set[int] = set()
        """The bases of the arenas that are wholly free, static ones apart."""
        self.books = _Holes(self)
        self._static: set[int] = set()
        self._eager_to_serve = contract.completeness == Completeness.EXACT and not self._defers
        self._fit = contract.fit if contract.fit in (Fit.FIRST, Fit.BEST) and not self._defers else None
        if contract.end is not End.LOW:
            self._fit = None
        self._promised = {constraint.value for constraint in contract.constraints}
        self._follow()
        self._static = set(self.bases)
        self._idle.clear()

    @property
    def _defers(self) -> bool:
        return self.contract.coalescing is Coalescing.DEFERRED

    # --- steps -------------------------------------------------------------------------------------------------

    def do(self, step: Step) -> None:
        """Do one step, and doubt its answer if it looks wrong; steps that make no sense now are passed over.

        Raises:
            Doubt: If the judge should look at the program.
        """
        self.steps.append(step)
        source = self.source
        source.events.clear()
        source.calls_left = MAX_CALLS
        source.starved = source.refused = False
        try:
            self._STEPS[step.action](self, step)
        except (Doubt, Breach):
            raise Doubt from None
        except Exception as error:
            raise Doubt from error
        if source.breach is not None:
            raise Doubt

    def _alloc(self, step: Step) -> None:
        number, size = step.buffer, step.size
        if number in self.live or number in self.gone:
            return
        if not 0 < size <= 1 << 63:
            try:
                self.space.alloc(size)
            except (ValueError, TypeError, OverflowError, MemoryError):
                self._quiet()
                return
            raise Doubt
        n = -(-size // self.quantum)
        bounds = dict(step.bounds) if step.bounds else _NO_BOUNDS
        if bounds and not (Capability.XALLOC in self.can and self._promised.issuperset(bounds)):
            return
        try:
            base = self.space.xalloc(size, **bounds) if bounds else self.space.alloc(size)
        except MemoryError:
            self._refused(n, bounds)
            return
        except (ValueError, OverflowError):
            if bounds or size > self.world.kva_limit:
                self._quiet()
                return
            raise Doubt from None
        if type(base) is not int:
            raise Doubt
        if bounds:
            self._hold_to(base, n * self.quantum, bounds)
        self._place(number, base, n, chosen=not bounds)

    def _place(self, number: int, base: int, n: int, *, chosen: bool) -> None:
        """Enter a buffer of ``n`` quanta, and doubt where it lies."""
        events = self.source.events
        if events:
            mapped = [event.base for event in events if event.mapped]
            if mapped and self._eager_to_serve and chosen and self._has_room(n):
                raise Doubt
            self._follow()
        quantum, free = self.quantum, self.free
        index = bisect_right(self.bases, base) - 1
        if index < 0 or base % quantum:
            raise Doubt
        arena = self.bases[index]
        at = (base - arena) // quantum
        there = free[arena]
        mask = ((1 << n) - 1) << at
        if there & mask != mask:
            raise Doubt
        if chosen and self._fit is not None:
            self._hold_to_fit(index, there, at, n)
        free[arena] = there ^ mask
        self._idle.discard(arena)
        self.live[number] = (base, n * quantum)

    def _hold_to_fit(self, index: int, there: int, at: int, n: int) -> None:
        """Doubt a place that first fit or best fit does not take."""
        free, bases = self.free, self.bases
        starts = _starts(there, n)
        if self._fit is Fit.FIRST:
            if starts & -starts != 1 << at:
                raise Doubt
            for base in bases[:index]:
                if _starts(free[base], n):
                    raise Doubt
            return
        below = there & ((1 << at) - 1) ^ ((1 << at) - 1)
        low = below.bit_length()  # the first quantum of the hole
        length = (~(there >> low) & (there >> low) + 1).bit_length() - 1
        if low != at:
            raise Doubt
        lowest = self.contract.tie is Tie.LOWEST
        for number, base in enumerate(bases):
            starts = _starts(free[base], n)
            if not starts:
                continue
            larger = _starts(starts, length - n + 1)  # where holes of at least this length begin
            smeared, have = larger, 1
            while have < length - n + 1 and smeared:
                step = min(have, length - n + 1 - have)
                smeared |= smeared << step
                have += step
            if starts & ~smeared:
                raise Doubt  # a smaller hole
            if lowest and number <= index:
                longer = _starts(larger, 2)
                equal = larger & ~(longer | longer << 1)
                if number < index and equal:
                    raise Doubt
                if number == index and equal & -equal != 1 << at:
                    raise Doubt

    def _hold_to(self, base: int, size: int, bounds: dict[str, int]) -> None:
        """Doubt an address that does not keep the constraints of its request."""
        align, nocross = bounds.get("align", 0), bounds.get("nocross", 0)
        if (
            (align and base % align != bounds.get("phase", 0))
            or (nocross and base // nocross != (base + size - 1) // nocross)
            or base < bounds.get("lo", 0)
            or base + size - 1 > bounds.get("hi", base + size)
        ):
            raise Doubt

    def _refused(self, n: int, bounds: dict[str, int]) -> None:
        """Doubt a refusal while there is a hole, or room for an arena."""
        self._follow()
        if bounds or not self._eager_to_serve:
            return
        if self._has_room(n):
            raise Doubt
        source, contract = self.source, self.contract
        if source.starved or (source.refused and not contract.retries):
            return
        need = n * self.quantum
        need += -need % self.world.granule
        idle = 0
        gone: set[int] = set()
        if contract.reclaims and Capability.RECLAIM in self.can:
            gone = set(self._idle)
            idle = sum(self.full[base].bit_length() for base in gone) * self.quantum
        mapped = source.mapped
        if self.world.kva_limit - mapped + idle < need:
            return
        left = {base: size for base, size in source.ranges.items() if base not in gone}
        if source.largest_gap(left) >= need:
            raise Doubt

    def _has_room(self, n: int) -> bool:
        return any(_starts(free, n) for free in self.free.values())

    def _free(self, step: Step) -> None:
        if step.buffer not in self.live:
            return
        base, size = self.live.pop(step.buffer)
        self.space.free(base)
        self.gone[step.buffer] = base
        self._give(base, size)
        if self.source.events:
            self._follow()
        keep = self.contract.release.keep
        if keep is not None and len(self._idle) > keep and self.contract.release.unit == "arenas" and not self._defers:
            raise Doubt

    def _give(self, base: int, size: int) -> None:
        arena = self.bases[bisect_right(self.bases, base) - 1]
        self.free[arena] |= ((1 << size // self.quantum) - 1) << (base - arena) // self.quantum
        if self.free[arena] == self.full[arena] and arena not in self._static:
            self._idle.add(arena)

    def _resize(self, step: Step) -> None:
        if step.buffer not in self.live or self.contract.resize is Resize.NONE:
            return
        base, size = self.live[step.buffer]
        if not 0 < step.size <= 1 << 63:
            try:
                self.space.resize(base, step.size)
            except (ValueError, TypeError, OverflowError, MemoryError):
                return
            raise Doubt
        n = -(-step.size // self.quantum)
        arena = self.bases[bisect_right(self.bases, base) - 1]
        behind = self.free[arena] >> (base + size - arena) // self.quantum
        more = n - size // self.quantum
        stays = more <= 0 or behind & ((1 << more) - 1) == (1 << more) - 1
        must_stay = stays and self.contract.resize is not Resize.MOVING and not self._defers
        try:
            granted = self.space.resize(base, step.size)
        except MemoryError:
            if must_stay:
                raise Doubt from None
            if self.contract.resize is not Resize.IN_PLACE_ONLY:
                self._refused(n, {})
            return
        except (ValueError, OverflowError):
            if step.size > self.world.kva_limit:
                return
            raise Doubt from None
        if granted == base:
            if not stays:
                raise Doubt
            if more < 0:
                self._give(base + n * self.quantum, -more * self.quantum)
            else:
                self.free[arena] ^= ((1 << more) - 1) << (base + size - arena) // self.quantum
            self.live[step.buffer] = (base, n * self.quantum)
            self._follow()
            return
        if must_stay or self.contract.resize in (Resize.SLIDING, Resize.IN_PLACE_ONLY) or type(granted) is not int:
            raise Doubt
        gone = [event for event in self.source.events if not event.mapped and event.holds(base)]
        self.source.events[:] = [event for event in self.source.events if event not in gone]
        del self.live[step.buffer]
        self._place(step.buffer, granted, n, chosen=True)
        self._give(base, size)
        self.source.events.extend(gone)
        self._follow()

    def _reserve(self, step: Step) -> None:
        if step.buffer in self.live or step.buffer in self.gone or Capability.RESERVE not in self.can:
            return
        if step.at % self.quantum or step.size % self.quantum or step.size <= 0 or step.at + step.size > 1 << 64:
            return
        index = bisect_right(self.bases, step.at) - 1
        n = step.size // self.quantum
        is_free, arena = False, 0
        if index >= 0:
            arena = self.bases[index]
            mask = ((1 << n) - 1) << (step.at - arena) // self.quantum
            is_free = self.free[arena] & mask == mask
        try:
            self.space.reserve(Extent(step.at, step.size))
        except ValueError:
            if is_free and not self._defers:
                raise Doubt from None
            return
        if not is_free:
            raise Doubt
        self.free[arena] ^= mask
        self._idle.discard(arena)
        self.live[step.buffer] = (step.at, step.size)

    def _bad_free(self, step: Step) -> None:
        if step.action is Action.REFREE:
            address = self.gone.get(step.buffer, -1)
        elif step.action is Action.FREE_INSIDE:
            base, size = self.live.get(step.buffer, (0, 0))
            address = base + step.size if 0 < step.size < size else -1
        else:
            address = step.at
        if address < 0 or not self.contract.checks_frees or any(address == base for base, _ in self.live.values()):
            return
        try:
            self.space.free(address)
        except _STRAY:
            self._quiet()
            return
        raise Doubt

    def _reclaim(self, _step: Step) -> None:
        if Capability.RECLAIM in self.can:
            self.space.reclaim()
            self._follow()
            if self._idle:
                raise Doubt

    def _starve(self, step: Step) -> None:
        self.source.starve = step.size

    def _finish(self, _step: Step) -> None:
        self.finish()

    _STEPS: Final = {
        Action.ALLOC: _alloc,
        Action.XALLOC: _alloc,
        Action.FREE: _free,
        Action.RESIZE: _resize,
        Action.RESERVE: _reserve,
        Action.REFREE: _bad_free,
        Action.FREE_INSIDE: _bad_free,
        Action.FREE_WILD: _bad_free,
        Action.RECLAIM: _reclaim,
        Action.STARVE: _starve,
        Action.FINISH: _finish,
    }

    def finish(self) -> None:
        """Free everything and reclaim; only static arenas may be left.

        Raises:
            Doubt: If more is left.
        """
        self.do(Step(Action.STARVE))
        for number in sorted(self.live):
            self.do(Step(Action.FREE, number))
        self.do(Step(Action.RECLAIM))  # which leaves no arena that is free and not static

    # --- following the source --------------------------------------------------------------------------------------

    def _quiet(self) -> None:
        """Doubt a call that was refused at once and called the source all the same."""
        if self.source.events:
            raise Doubt

    def _follow(self) -> None:
        """Enter arenas that were mapped, and strike those that were unmapped."""
        for event in self.source.events:
            if event.mapped:
                insort(self.bases, event.base)
                self.full[event.base] = self.free[event.base] = (1 << event.size // self.quantum) - 1
                self._idle.add(event.base)
                if self.contract.limited and self.source.mapped > self.world.kva_limit:
                    raise Doubt
            else:
                if event.base not in self.full or self.free[event.base] != self.full[event.base]:
                    raise Doubt  # something live lies there
                self.bases.remove(event.base)
                del self.free[event.base], self.full[event.base]
                self._static.discard(event.base)
                self._idle.discard(event.base)
        self.source.events.clear()
