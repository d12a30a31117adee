"""`Judge`: an allocator and the specification in step; whatever the allocator does is held to what it declares.

The judge follows what can be seen: addresses, exceptions, what the source was asked, and, where the allocator has them,
``segments()``, ``stats()``, ``size_of()`` and ``violations()``.  The :class:`~coalloc.testing.judge.books.Books` know which
arenas came and went and where buffers lie; :mod:`coalloc.spec` says where a request could lie, and which of these places the
fit allows.

Two-sided.  What is granted must be disjoint, inside an arena, as constrained, and where the fit puts it.  What is refused
must be impossible: with caches drained and idle arenas released, no hole admits it, and no arena could be mapped for it.

Caches.  With Coalescing.DEFERRED a freed buffer may be neither live nor in a hole.  Where ``segments()`` tells which buffers
are cached, the books are told so after every call; then only two things are unknown: the ages of holes, since nobody tells in
which order a cache was drained; and next fit's cursor, when a cached buffer is handed out: by the cache, or once drained,
from a hole.  Where nothing tells, every address that is not live may be handed out, and the fit is not judged.

A step on a buffer that is not live is passed over, so that any part of a program is a program.
"""

from __future__ import annotations

import copy
import functools
from typing import Any, Final

import attrs

from coalloc import spec
from coalloc.contract import (
    ANY_RELEASE,
    ANYWHERE,
    Bounds,
    Capability,
    Coalescing,
    Fit,
    Resize,
    Rounding,
    capabilities_of,
)
from coalloc.errors import BadFreeError, CoallocError, ExhaustionError, InvalidRequestError, SpanOverlapError
from coalloc.extent import Extent
from coalloc.testing.judge.books import Books, Shown
from coalloc.testing.judge.calls import Calls, unexpected
from coalloc.testing.judge.figures import Figures, require_segments, shown_segments
from coalloc.testing.judge.grants import (
    must_find_a_hole,
    require_bounds,
    require_place,
    room_around,
    room_behind,
    spared,
)
from coalloc.testing.judge.picture import draw
from coalloc.testing.judge.refusals import (
    Refused,
    require_explanation,
    require_fault,
    require_figures,
    require_refusal,
)
from coalloc.testing.properties import Breach, Property
from coalloc.testing.steps import Action, Step, World
from coalloc.testing.subject import Subject, make

__all__ = ["Judge", "Memory"]

_CODES: Final = {
    "I1": Property.P4, "I2": Property.P2, "I3": Property.P5, "I4": Property.P2, "I5": Property.P5, "I6": Property.P4,
    "I7": Property.P4, "I8": Property.P3, "I9": Property.P11, "I10": Property.P12,
}  # fmt: skip
"""Which property a code of the allocator's own checker belongs to."""

_TOP: Final = 2**64 - 1
_NOBODY: Final = -1


@attrs.frozen
class Memory:
    """All that a judge knows after some steps.

    Args:
        steps: The steps.
        outcomes: What became of each.
        books: What is where.
        figures: The count of calls.
        cached: Base and size of what the allocator shows as cached.
    """

    steps: tuple[Step, ...]
    outcomes: tuple[str, ...]
    books: Books
    figures: Figures
    cached: dict[int, int]

    @property
    def live(self) -> dict[int, tuple[int, int]]:
        """Place and size of every live buffer, by its number."""
        return self.books.live


class Judge:
    """Drive an allocator and the specification in step.

    Args:
        subject: What is under test.
        world: Its world.

    Raises:
        Breach: From every method, when a property is broken; the judge is of no use after that.
        InvalidRequestError: If there is no contract.
    """

    def __init__(self, subject: Subject, world: World) -> None:
        self.subject = subject
        self.world = world
        if subject.on_world is not None:
            subject.on_world(world)
        self.source, self.space = subject.bounded(lambda: make(subject.make_space, world))
        self.calls = Calls(self.source, subject.bounded)
        self.contract = declared = subject.contract_of(self.space)
        self.quantum: int = getattr(self.space, "quantum", world.granule)
        if (
            type(self.quantum) is not int
            or self.quantum < 1
            or (world.granule % self.quantum and self.quantum % world.granule)
        ):
            raise Breach(
                Property.P14,
                f"quantum is {self.quantum!r}, which neither divides {world.granule} nor is a multiple of it",
            )
        self.can = capabilities_of(self.space)
        self.books = Books(
            declared,
            self.quantum,
            world.kva_limit if declared.limited else 2**64,
            own=self._own_footprint,
            arena=self._arena_size(),
            told=world.arena * world.granule if "arena_size" in subject.accepted else 1 << 20,
            granule=world.granule,
            due=world.kva_limit,
        )
        self.figures = Figures()
        self.steps: list[Step] = []
        self.outcomes: list[str] = []
        """What became of each step, in a word."""
        if declared.constraints and Capability.XALLOC not in self.can:
            raise Breach(Property.P3, "constraints are declared, and there is no xalloc()")
        self._promised = {constraint.value for constraint in declared.constraints}
        self._deferred = declared.coalescing is Coalescing.DEFERRED
        self._opaque = self._deferred and Capability.SEGMENTS not in self.can
        self._dim = self._opaque or declared.coalescing is Coalescing.BY_ARENA
        self._header = declared.header
        self._fit = None if self._opaque else declared.fit
        self._meanwhile = _NOBODY  # the buffer that was freed in the middle of the last request
        self._release = declared.release  # any, once an arena was mapped that was not needed after all
        self._cached: dict[int, int] = {}  # base and size of what the allocator's segments show as cached
        if world.pressure and Capability.RECLAIM in self.can:
            self.source.pressure = self.space.reclaim
        self.calls.end()
        self._follow()
        self.books.static = set(self.source.ranges)
        self._had_static = bool(self.books.static)

    def _arena_size(self) -> int:
        """Return the bytes that every arena has by contract; 0 where they may differ, -1 where the first arena will tell."""
        declared = self.contract.arena
        if declared == 0:
            told = self.world.arena if "arena_size" in self.subject.accepted else 0
            return told * self.world.granule or -1
        return declared or 0

    def _own_footprint(self, size: int) -> int:
        """Return what the allocator says that a request occupies, held to its laws."""
        said = self.calls.look(f"footprint({size})", lambda: self.space.footprint(size))
        if not isinstance(said, int) or said < size or said % self.quantum:
            raise Breach(
                Property.P2, f"footprint({size}) is {said!r}, no multiple of the quantum that holds the request"
            )
        if size > self.quantum:
            less = self.calls.look(f"footprint({size - 1})", lambda: self.space.footprint(size - 1))
            if less > said:
                raise Breach(Property.P2, f"footprint({size - 1}) is {less}, more than footprint({size}), {said}")
        return said

    @property
    def live(self) -> dict[int, tuple[int, int]]:
        """Place and size of every live buffer, by its number; the address lies a header behind the place."""
        return self.books.live

    @property
    def gone(self) -> dict[int, int]:
        """Base of every buffer that was freed, by its number."""
        return self.books.gone

    # --- memory ----------------------------------------------------------------------------------------

    def memory(self) -> Memory:
        """Return all that the judge knows now."""
        return Memory(
            tuple(self.steps),
            tuple(self.outcomes),
            self.books.copy(None),
            copy.copy(self.figures),
            dict(self._cached),
        )

    @classmethod
    def recalled(cls, subject: Subject, world: World, memory: Memory) -> Judge:
        """Make an allocator, repeat the calls of some steps, and take up what a judge knew after them.

        Raises:
            Breach: If a call gives another answer than it did.
            InvalidRequestError: For a step that only a judge can make.
        """
        for step in memory.steps:
            if step.action not in cls._REPEATED:
                raise InvalidRequestError("memory", str(step), "is no step that can be made again without a judge")
        judge = cls(subject, world)
        addresses: dict[int, int] = {}
        for step, outcome in zip(memory.steps, memory.outcomes, strict=True):
            judge.calls.begin()
            try:
                judge._repeat(step, outcome, addresses)
            except Breach:
                raise
            except Exception as error:
                if outcome != "refused":
                    raise unexpected(Property.P15, f"{step}, when run again,", error) from error
        judge.source.events.clear()
        judge.steps, judge.outcomes = list(memory.steps), list(memory.outcomes)
        judge.books = memory.books.copy(judge._own_footprint)
        judge.figures = copy.copy(memory.figures)
        judge._cached = dict(memory.cached)
        return judge

    _REPEATED: Final = (
        Action.ALLOC, Action.XALLOC, Action.RESIZE, Action.FREE, Action.RECLAIM, Action.STARVE,
    )  # fmt: skip
    """The steps that can be made again without a judge."""

    def _repeat(self, step: Step, outcome: str, addresses: dict[int, int]) -> None:
        """Make the call of a step again, which must have the same outcome."""
        if self.subject.on_step is not None:
            self.subject.on_step(step)
        if outcome == "passed over":
            return
        if step.action in (Action.ALLOC, Action.XALLOC, Action.RESIZE):
            if step.action is Action.ALLOC:
                base = self.space.alloc(step.size)
            elif step.action is Action.XALLOC:
                base = self.space.xalloc(step.size, **dict(step.bounds))
            else:
                base = self.space.resize(addresses[step.buffer], step.size)
            addresses[step.buffer] = base
            if f"{base:#x}" != outcome and self.contract.deterministic:
                raise Breach(Property.P15, f"{step} gave {outcome}, and {base:#x} when run again")
        elif step.action is Action.FREE:
            self.space.free(addresses[step.buffer])
        elif step.action is Action.RECLAIM:
            self.space.reclaim()
        else:
            self.source.starve = step.size

    # --- steps -----------------------------------------------------------------------------------------

    def do(self, step: Step) -> None:
        """Do one step on both sides, and judge it; one that makes no sense now is passed over."""
        number = len(self.steps)
        self.steps.append(step)
        self.outcomes.append("")
        if self.subject.on_step is not None:
            self.subject.on_step(step)
        try:
            self.outcomes[number] = self._ACTIONS[step.action](self, step) or "passed over"  # one may do others
        except Breach as breach:
            if breach.at is not None or breach.expected:
                at, size = breach.at or (None, self._most(self.books.footprint(step.size)))
                first = breach.expected[0] if breach.expected else None
                breach.picture = breach.picture or draw(self.books, at, first, size)
            raise
        except CoallocError as error:
            raise Breach(Property.P4, f"after {step} the oracle cannot follow: {error}") from error
        if self._looks():
            self.inspect()

    def _looks(self) -> bool:
        """Tell whether everything is looked at after the step that is being done."""
        return len(self.steps) % self.subject.deep_every == 0

    def _alloc(self, step: Step) -> str | None:
        if step.buffer in self.live or step.buffer in self.gone:
            return None
        if not 0 < step.size <= 2**63:
            self.calls.size_refused(f"alloc({step.size})", lambda: self.space.alloc(step.size))
            return "refused"
        bounds = Bounds(**dict(step.bounds)) if step.bounds else ANYWHERE
        size = self.books.footprint(step.size)
        if not spec.lawful(size, bounds, self.quantum):
            return None
        if step.action is Action.ALLOC:
            words = f"alloc({step.size})"
            base = self._request(Property.P7, words, step.size, functools.partial(self.space.alloc, step.size))
        elif Capability.XALLOC in self.can and self._promised.issuperset(name for name, _ in step.bounds):
            words = f"xalloc({', '.join([str(step.size), *(f'{name}={value}' for name, value in step.bounds)])})"
            call = functools.partial(self.space.xalloc, step.size, **dict(step.bounds))
            hopeless = not spec.possible(size, bounds, self.quantum)
            base = self._request(Property.P7, words, step.size, call, hopeless=hopeless)
        else:
            return None
        if base is None:
            self._judge_refusal(words, step.size, size, bounds)
            return "refused"
        self._judge_place(step.buffer, step.size, base - self._header, size, bounds)
        return f"{base:#x}"

    def _free(self, step: Step) -> str | None:
        if step.buffer not in self.live:
            return None
        place, size = self.live[step.buffer]
        base = place + self._header
        self.calls.demand(Property.P10, f"free({base:#x})", lambda: self.space.free(base))
        del self.live[step.buffer]
        self.gone[step.buffer] = base
        self._leave(place, size)
        self._follow_free()
        if self._looks() and self.contract.checks_frees and Capability.SIZE_OF in self.can:
            self.calls.refused(f"size_of({base:#x}) of a freed buffer", lambda: self.space.size_of(base))
        return "freed"

    def _resize(self, step: Step) -> str | None:
        if step.buffer not in self.live or self.contract.resize is Resize.NONE:
            return None
        old_base, old = self.live[step.buffer]
        address, slides = old_base + self._header, self.contract.resize is Resize.SLIDING
        words = f"resize({address:#x}, {step.size})"
        if not 0 < step.size <= 2**63:
            self.calls.size_refused(words, lambda: self.space.resize(address, step.size))
            return "refused"
        size = self.books.footprint(step.size)
        only = self.contract.resize is Resize.IN_PLACE_ONLY
        in_place = slides or only or self.contract.resize is Resize.IN_PLACE
        most = self._most(size)
        must_stay = in_place and room_behind(self.books, old_base, old, most)
        granted = self._request(Property.P18, words, step.size, lambda: self.space.resize(address, step.size))
        if granted is None:
            if must_stay:
                raise Breach(Property.P18, f"{words} was refused, and could be done in place")
            if slides and room_around(self.books, old_base, old)[1] >= most:
                raise Breach(
                    Property.P18, f"{words} was refused, and the buffer could slide in the free space around it"
                )
            if not only:
                self._judge_refusal(words, step.size, size, ANYWHERE)
            return "refused"
        base = granted - self._header
        size = self._shown_size(granted, size)
        if slides and base != old_base and self._has_slid(old_base, old, base, size):
            return self._slide(step.buffer, words, base, size)
        if base == old_base:
            self._follow()
            if not room_behind(self.books, base, old, size):
                raise Breach(Property.P18, f"{words} grew over what lies behind the buffer")
            self.books.resize(step.buffer, size)
            self.figures.stayed += size != old
            return f"{granted:#x}"
        if must_stay or only:
            why = "it could have stayed" if must_stay else "it is declared to stay"
            raise Breach(Property.P18, f"{words} moved the buffer to {granted:#x}, and {why}")
        released = [event for event in self.source.events if not event.mapped and event.holds(old_base)]
        self.source.events[:] = [event for event in self.source.events if event not in released]
        moving = -1 - step.buffer  # the old buffer is live until the new one is
        self.live[moving] = self.live.pop(step.buffer)
        self.books.left.add(address)
        self._judge_place(step.buffer, step.size, base, size, ANYWHERE)
        del self.live[moving]
        self._leave(old_base, old)
        self.figures.moved += 1
        self.source.events.extend(released)
        self._follow_free()
        return f"{granted:#x}"

    def _has_slid(self, old_base: int, old: int, base: int, size: int) -> bool:
        """Return whether a buffer slid: its new range overlaps the old one, or lies in the free space around it."""
        if base < old_base + old and old_base < base + size:
            return True
        around, length = room_around(self.books, old_base, old)
        return around <= base and base + size <= around + length

    def _slide(self, buffer: int, words: str, base: int, size: int) -> str:
        """Judge a resize that slid its buffer, and tell the books."""
        old_base, old = self.live[buffer]
        self._follow()
        around, length = room_around(self.books, old_base, old)
        if base < around or base + size > around + length:
            raise Breach(Property.P1, f"{words} slid the buffer over what lies beside it")
        self.books.slide(buffer, base, size)
        self.books.left.add(old_base + self._header)
        self.figures.moved += 1
        return f"{base + self._header:#x}"

    def _reserve(self, step: Step) -> str | None:
        if step.buffer in self.live or step.buffer in self.gone or Capability.RESERVE not in self.can:
            return None
        if step.at % self.quantum or step.size % self.quantum or not 0 < step.size <= _TOP + 1 - step.at:
            return None
        words = f"reserve({step.at:#x}+{step.size})"
        free = spec.is_free(self.books.state, step.at, step.size)
        self.calls.begin()
        try:
            self.space.reserve(Extent(step.at, step.size))
        except SpanOverlapError:
            self.calls.end()
            if free:
                raise Breach(Property.P7, f"{words} was refused, and the range lies in a hole") from None
            return "refused"
        except Exception as error:
            raise unexpected(Property.P7, words, error) from error
        self.calls.end()
        if not free:
            raise Breach(Property.P1, f"{words} was granted, and the range does not lie in a hole")
        self.books.enter(step.buffer, step.at, step.size)
        self.figures.allocs += 1
        return "reserved"

    def _bad_free(self, step: Step) -> str | None:
        bases = {base + self._header for base, _ in self.live.values()}
        if step.action is Action.REFREE:
            address, what = self.gone.get(step.buffer, -1), "freed already"
        elif step.action is Action.FREE_INSIDE:
            base, size = self.live.get(step.buffer, (0, 0))
            address, what = (base + self._header + step.size if 0 < step.size < size else -1), "inside a buffer"
        else:
            address, what = step.at, "never handed out"
        if address < 0 or address in bases or not self.contract.checks_frees:
            return None
        self.calls.begin()
        error = self.calls.refused(f"free({address:#x}), {what}", lambda: self.space.free(address))
        if self.source.events:
            raise Breach(Property.P9, f"free({address:#x}), {what}, was refused, and called the source all the same")
        if isinstance(error, BadFreeError):
            require_fault(self.books, address, error)
        return "refused"

    def _reclaim(self, _step: Step) -> str | None:
        if Capability.RECLAIM not in self.can:
            return None
        before = self.source.mapped
        unmapped = self.calls.demand(Property.P13, "reclaim()", lambda: self.space.reclaim())
        self._follow()
        if unmapped != before - self.source.mapped:
            raise Breach(
                Property.P4, f"reclaim() returned {unmapped!r}, and unmapped {before - self.source.mapped} bytes"
            )
        idle = self.books.idle()
        if self._cached or idle:
            left = "cached buffers" if self._cached else f"the idle arena {min(idle):#x}"
            raise Breach(Property.P13, f"reclaim() left {left}")
        return f"{unmapped}"

    def _free_in_map(self, step: Step) -> str | None:
        if step.buffer not in self.live:
            return None
        self.source.meanwhile = functools.partial(self._free_meanwhile, step.buffer)
        return "waiting"

    def _free_meanwhile(self, buffer: int) -> None:
        """Free a buffer while the source maps, unless it is gone, or being resized."""
        if buffer in self.live and buffer != self.steps[-1].buffer:
            self.space.free(self.books.address(buffer))
            self._meanwhile = buffer

    def _starve(self, step: Step) -> str:
        self.source.starve = step.size
        return "starving"

    def _finish(self, _step: Step) -> str:
        self.finish()
        return "finished"

    _ACTIONS: Final = {
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
        Action.FREE_IN_MAP: _free_in_map,
        Action.FINISH: _finish,
    }

    def adopt(self, number: int, asked: int, base: int) -> None:
        """Judge a request that somebody else made in place of a step, and was granted."""
        size = self.books.footprint(asked)
        self._judge_place(number, asked, base - self._header, size, ANYWHERE)

    def finish(self) -> None:
        """Free everything and reclaim: the initial state is back, and all of the limit can be had at once (P6)."""
        self.do(Step(Action.STARVE))
        for buffer in sorted(self.live):
            self.do(Step(Action.FREE, buffer))
        self.do(Step(Action.RECLAIM))
        self.inspect()
        if Capability.RECLAIM in self.can and set(self.source.ranges) - self.books.static:
            self.steps.append(Step(Action.FINISH))
            raise Breach(
                Property.P6, f"{self.source.mapped} bytes stay mapped after everything was freed and reclaimed"
            )
        whole = self._whole()
        if whole:
            buffer = max([*self.gone, *self.live, -1]) + 1
            self.do(Step(Action.ALLOC, buffer, whole))  # a refusal is judged there
            self.do(Step(Action.FREE, buffer))
            self.inspect()

    def _whole(self) -> int:
        """Return the largest request that must be granted where nothing is live, in bytes; 0 if there is none.

        Arenas that nothing can make it give back stay: static ones, and all where there is no reclaim().
        """
        declared, ranges = self.contract, self.source.ranges
        if Capability.RECLAIM in self.can:
            ranges = {base: ranges[base] for base in self.books.static}
        room = min(self.world.kva_limit - sum(ranges.values()), self.source.largest_gap(ranges))
        room -= room % self.world.granule
        if self.books.arena:
            room = self.books.arena if room >= self.books.arena > 0 else 0
        room -= declared.arena_head + declared.arena_tail
        if self.quantum > self.world.granule:
            room -= self.quantum - self.world.granule
        whole: int = max(room - room % self.quantum, self.books.largest_usable(set(ranges)), 0)
        if kept := spared(self.books, least=False):
            whole = min(whole, self.world.kva_limit - kept)
        if declared.geometry.buddies:
            whole = self.quantum << ((whole // self.quantum).bit_length() - 1) if whole else 0
            whole = min(whole, declared.largest_block or whole)
        whole = self._most_within(whole)
        return max(min(whole, declared.max_size or whole), 0)

    def _most_within(self, size: int) -> int:
        """Return the largest request, in whole quanta, that occupies at most so many bytes; 0 if none does."""
        low, high = 0, size // self.quantum
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.books.footprint(middle * self.quantum) <= size else (low, middle - 1)
        return low * self.quantum

    # --- following the source and the cache --------------------------------------------------------------

    def _follow(self) -> None:
        """Tell the books which arenas came and went, and which buffers have left the cache."""
        for event in self.source.events:
            self.books.follow(event)
        self.source.events.clear()
        if self._deferred and not self._opaque:
            self._follow_cache(self._read_cache())

    def _follow_cache(self, cached: dict[int, int]) -> None:
        """Tell the books which buffers have left the cache, and which came ahead of any free."""
        self._cached = cached
        live = {base for base, _ in self.live.values()}
        for base in sorted(self.books.parked.keys() - cached.keys()):
            self.books.drop(base)
        for base in sorted(cached.keys() - self.books.parked.keys() - live):
            self.books.park_ahead(base, cached[base])

    def _follow_free(self) -> None:
        """Follow what a free did to the arenas, and judge it by the release rule."""
        released = [event for event in self.source.events if not event.mapped]
        self._follow()
        rule = self._release
        if not released or rule.unit == "any":
            return
        gone = released[-1]
        if rule.keep is None:
            raise Breach(Property.P12, f"a free gave back the arena {gone.base:#x}, and the rule is never")
        if rule.unit == "bytes":
            kept = sum(self.books.size_of_arena(base) for base in self.books.idle())
            if kept + gone.size <= rule.keep:
                raise Breach(
                    Property.P12,
                    f"a free gave back the arena {gone.base:#x}, which {rule} keeps beside {kept} idle bytes",
                )
        elif rule.keep and not self._opaque and not self.books.idle():
            raise Breach(Property.P12, f"a free gave back the last idle arena {gone.base:#x}, and the rule is {rule}")

    def _read_cache(self) -> dict[int, int]:
        return {base: size for base, size, kind, _ in self._segments() if kind == "cached"}

    def _leave(self, base: int, size: int) -> None:
        self.figures.frees += 1
        self.books.leave(base, size, cached=self._deferred and not self._opaque)

    # --- judging -------------------------------------------------------------------------------------------

    def _request(
        self, owner: Property, words: str, size: int, call: functools.partial[int] | Any, *, hopeless: bool = False
    ) -> int | None:
        """Make a request; one that is refused must leave the figures as they were."""
        most = self.contract.max_size
        hopeless = hopeless or (most is not None and size > most)
        hopeless = hopeless or size > self.world.kva_limit
        self._meanwhile = _NOBODY
        base = self.calls.request(owner, words, call, hopeless=hopeless)
        if self._meanwhile != _NOBODY:
            self.gone[self._meanwhile] = self.books.address(self._meanwhile)
            self._leave(*self.live.pop(self._meanwhile))
            self._release = ANY_RELEASE
        if base is None:
            self.figures.refusals += self.calls.refusal is not None  # a bad value is none
            if self._meanwhile == _NOBODY and self.subject.deep_every == 1 and Capability.STATS in self.can:
                self.figures.require_kept(words, self.calls.look("stats()", self.space.stats))
        return base

    def _judge_place(self, number: int, asked: int, base: int, size: int, bounds: Bounds) -> None:
        """Judge where a granted request lies, and tell the books."""
        self.figures.allocs += 1
        if self._cached.get(base) == size and not self.source.events:
            cached = self._read_cache()
            if self._cached.keys() - cached.keys() == {base}:
                require_bounds(base, size, bounds, self.quantum)
                self.books.unpark(number, base)
                self._follow_cache(cached)
                if self._fit is Fit.NEXT:  # or the cache gave it back, and it was carved again
                    self.books.cursors.add(base + size)
                return
        mapped = {event.base for event in self.source.events if event.mapped}
        if mapped and self._meanwhile == _NOBODY and must_find_a_hole(self.books, size, bounds, self._fit):
            raise Breach(Property.P12, f"an arena was mapped for {size} bytes, and a hole admits them")
        one_is_due = self._fit is not None and not self._deferred and bounds == ANYWHERE and not self.contract.ahead
        if one_is_due and len(mapped & self.source.ranges.keys()) > 1:
            raise Breach(Property.P12, f"{len(mapped)} arenas were mapped for one request of {size} bytes")
        fit = self._fit
        if self._meanwhile != _NOBODY:
            fit = None  # it may have looked for a hole before that, or afterwards
        elif self.contract.ahead and mapped and base in self._choices_meanwhile(asked, size, bounds):
            fit = None
        self._follow()
        size = self._shown_size(base + self._header, size)
        require_place(self.books, asked, base, size, bounds, fit, self._cached, ages_known=not self._deferred)
        size = self.books.with_rest(base, size)
        self.books.enter(number, base, size)
        self.books.cursors = {base + size}

    def _choices_meanwhile(self, asked: int, size: int, bounds: Bounds) -> set[int]:
        """Follow the source event by event, and return what the fit allows after any of them but the last."""
        found: set[int] = set()
        while self.source.events:
            found.update(self.books.choices(asked, size, bounds, self._fit, ages_known=not self._deferred))
            self.books.follow(self.source.events.pop(0))
        return found

    def _most(self, size: int) -> int:
        """Return the most that a request may occupy: with Rounding.SHOWN, where nothing shows a refused one, twice its size."""
        return 2 * size if self.contract.rounding is Rounding.SHOWN else size

    def _shown_size(self, base: int, least: int) -> int:
        """Return what a new buffer occupies: with Rounding.SHOWN what size_of() says, else what the contract says."""
        if self.contract.rounding is not Rounding.SHOWN or Capability.SIZE_OF not in self.can:
            return least
        said = self.calls.look(f"size_of({base:#x})", lambda: self.space.size_of(base))
        if not isinstance(said, int) or said < least or said % self.quantum:
            raise Breach(
                Property.P4, f"size_of({base:#x}) is {said!r}, and the request occupies at least {least} bytes"
            )
        return said

    def _judge_refusal(self, words: str, asked: int, size: int, bounds: Bounds) -> None:
        """Judge a refusal, and what was done on the way to it."""
        most = self._most(size)
        gave_back = any(not event.mapped for event in self.source.events)
        refused = Refused(words, asked, most, bounds, self.source.starved, gave_back)
        self._follow()
        if self._meanwhile != _NOBODY:
            return
        reclaims = Capability.RECLAIM in self.can and not self._opaque
        if not require_refusal(self.books, refused, self.source, reclaims=reclaims) or most != size:
            return
        error, looks = self.calls.refusal, self.subject.deep_every == 1 and not self._dim
        if looks and isinstance(error, ExhaustionError) and error is not self.source.refusal:  # else the source speaks
            require_figures(self.books, error, size, self.source.mapped)
            if error.explained and not refused.starved:
                require_explanation(self.books, refused, error, self.source, self.calls.look)

    # --- looking at everything -------------------------------------------------------------------------------

    def inspect(self) -> None:
        """Compare everything that can be seen: sizes, segments, figures, idle arenas, the allocator's own checker."""
        rule = self._release
        if rule.keep is not None and not self._opaque:
            idle = self.books.idle()
            kept = len(idle) if rule.unit == "arenas" else sum(map(self.books.size_of_arena, idle))
            if kept > rule.keep:
                raise Breach(Property.P12, f"{kept} idle {rule.unit} are kept, the rule is {rule}")
        if Capability.SIZE_OF in self.can:
            beside = self._header + self.contract.guard
            for place, size in self.live.values():
                base = place + self._header
                said = self.calls.look(f"size_of({base:#x})", functools.partial(self.space.size_of, base))
                if said != size and said != size - beside:
                    raise Breach(Property.P4, f"size_of({base:#x}) is {said!r}, and the buffer has {size} bytes")
        if Capability.SEGMENTS in self.can:
            require_segments(self._segments(), self.books)
        if Capability.STATS in self.can:
            stats = self.calls.look("stats()", self.space.stats)
            self.figures.require_stats(
                stats, self.books, self.source.mapped, opaque=self._dim, had_static=self._had_static
            )
        if Capability.VIOLATIONS in self.can:
            found = self.calls.look("violations()", lambda: [(v.code, str(v)) for v in self.space.violations()])
            for code, words in found:
                raise Breach(_CODES.get(code, Property.P4), f"its own checker reports {words}")

    def _segments(self) -> list[Shown]:
        return self.calls.look("segments()", lambda: shown_segments(self.space.segments()))  # type: ignore[no-any-return]
