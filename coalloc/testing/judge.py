"""The judge: an allocator and the oracle in step; whatever the allocator does is held to what it declares.

The judge follows what can be seen: addresses, exceptions, what the source was asked, and, where the allocator has them,
``segments()``, ``stats()``, ``size_of()`` and ``violations()``.  The oracle (:class:`~coalloc.space.cells.CellSpace`) is told
which arenas came and went and where buffers lie; it says where a request could lie, and which of these places the fit allows.

Two-sided.  What is granted must be disjoint, inside an arena, as constrained, and where the fit puts it.  What is refused
must be impossible: with caches drained and idle arenas released, no hole admits it, and no arena could be mapped for it.

Caches.  With Coalescing.DEFERRED a freed buffer may be neither live nor in a hole.  Where ``segments()`` tells which buffers
are cached, the oracle is told so after every call; then only two things are unknown: the ages of holes, since nobody tells in
which order a cache was drained; and next fit's cursor, when a cached buffer is handed out: by the cache, or once drained,
from a hole.  Where nothing tells, every address that is not live may be handed out, and the fit is not judged.

A step on a buffer that is not live is passed over, so that any part of a program is a program.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

from coalloc.contract import Coalescing, Completeness, Fit, Geometry, Resize
from coalloc.errors import CoallocError, ExhaustionError, SpanOverlapError
from coalloc.extent import Extent
from coalloc.space.cells import CellSpace
from coalloc.space.protocol import Kind, Segment
from coalloc.testing.lines import bound_lines
from coalloc.testing.properties import Breach, Property
from coalloc.testing.source import MAX_CALLS, Event
from coalloc.testing.steps import Do, Setting, Step
from coalloc.testing.subject import Subject, make

__all__ = ["Judge"]

_CODES: Final = {
    "I1": Property.P4, "I2": Property.P2, "I3": Property.P5, "I4": Property.P2, "I5": Property.P5, "I6": Property.P4,
    "I7": Property.P4, "I8": Property.P3, "I9": Property.P11, "I10": Property.P12,
}  # fmt: skip
"""Which property a code of the allocator's own checker belongs to."""

_KEPT_BY_A_REFUSAL: Final = ("allocs", "frees", "resizes_in_place", "resizes_moved", "live")
_TOP: Final = 2**64 - 1

Bounds = dict[str, int]


class Judge:
    """Drive an allocator and the oracle in step.

    Args:
        subject: What is under test.
        setting: Its world.

    Raises:
        Breach: From every method, when a property is broken; the judge is of no use after that.
        InvalidRequestError: If there is no contract.
    """

    def __init__(self, subject: Subject, setting: Setting) -> None:
        self.subject = subject
        self.setting = setting
        if subject.on_setting is not None:
            subject.on_setting(setting)
        self.source, self.space = self._bounded(lambda: make(subject.make_space, setting))
        self.contract = declared = subject.contract_of(self.space)
        self.quantum: int = getattr(self.space, "quantum", setting.granule)
        if type(self.quantum) is not int or self.quantum < 1 or setting.granule % self.quantum:
            raise Breach(Property.P14, f"quantum is {self.quantum!r}, which does not divide {setting.granule}")
        self.limit = setting.kva_limit if declared.limited else 2**64
        self.oracle = CellSpace(0, quantum=self.quantum, fit=declared.fit or Fit.FIRST, geometry=declared.geometry)
        self.cursors = {0}
        """Where next fit may go on from: the end of what was carved last, if it can be told what was carved."""
        self.live: dict[int, tuple[int, int]] = {}
        """Base and size of every live buffer, by its number."""
        self.gone: dict[int, int] = {}
        """Base of every buffer that was freed, by its number."""
        self.static: set[int] = set()
        """Bases of the arenas that were mapped when the space was made."""
        self.steps: list[Step] = []
        self.outcomes: list[str] = []
        """What became of each step, in a word."""
        self.refusals = 0
        if declared.constraints and not hasattr(self.space, "xalloc"):
            raise Breach(Property.P3, "constraints are declared, and there is no xalloc()")
        self._peak = self._allocs = self._frees = self._imports = self._releases = self._stayed = self._moved = 0
        self._deferred = declared.coalescing is Coalescing.DEFERRED
        self._opaque = self._deferred and not hasattr(self.space, "segments")
        self._fit = None if self._opaque else declared.fit
        self._cached: dict[int, int] = {}  # base and size of what the allocator's segments show as cached
        self._stats: object = None  # what stats() said when everything was looked at last
        self._end()
        self._follow()
        self.static = set(self.source.ranges)
        self._has_static = bool(self.static)

    # --- steps -----------------------------------------------------------------------------------------

    def do(self, step: Step) -> None:
        """Do one step on both sides, and judge it; one that makes no sense now is passed over."""
        self.steps.append(step)
        self.outcomes.append("")
        if self.subject.on_step is not None:
            self.subject.on_step(step)
        try:
            self.outcomes[-1] = self._DO[step.do](self, step) or "passed over"
        except Breach:
            raise
        except CoallocError as error:
            raise Breach(Property.P4, f"after {step} the oracle cannot follow: {error}") from error
        if len(self.steps) % self.subject.deep_every == 0:
            self.inspect()

    def _alloc(self, step: Step) -> str | None:
        bounds = dict(step.bounds)
        if step.buffer in self.live or step.buffer in self.gone:
            return None
        if not 0 < step.size <= 2**63:
            return self._bad_size(f"alloc({step.size})", lambda: self.space.alloc(step.size))
        size = self._round(step.size)
        if not _legal(size, bounds):
            return None
        if step.do is Do.ALLOC:
            words = f"alloc({step.size})"
            base = self._ask(Property.P7, words, lambda: self.space.alloc(step.size))
        elif hasattr(self.space, "xalloc"):
            words = f"xalloc({', '.join([str(step.size), *(f'{name}={value}' for name, value in step.bounds)])})"
            base = self._ask(Property.P7, words, lambda: self.space.xalloc(step.size, **bounds))
        else:
            return None
        if base is None:
            self._judge_refusal(words, size, bounds)
            return "refused"
        self._judge_place(base, size, bounds)
        self.live[step.buffer] = base, size
        return f"{base:#x}"

    def _bad_size(self, words: str, call: Callable[[], object]) -> str:
        self._begin()
        try:
            self._bounded(call)
        except Breach:
            raise
        except (ValueError, TypeError, MemoryError) as error:
            self._end()
            if self.source.events:
                raise Breach(Property.P9, f"{words} was refused, and called the source all the same") from error
            return "refused"
        except Exception as error:
            raise self._unexpected(Property.P14, words, error) from error
        raise Breach(Property.P14, f"{words} was accepted, and is no size that a request may have")

    def _free(self, step: Step) -> str | None:
        if step.buffer not in self.live:
            return None
        base, _ = self.live[step.buffer]
        self._call(Property.P10, f"free({base:#x})", lambda: self.space.free(base))
        self.gone[step.buffer] = self.live.pop(step.buffer)[0]
        self._leave(base)
        self._follow_free()
        if self.contract.checks_frees and hasattr(self.space, "size_of"):
            self._must_refuse(f"size_of({base:#x}) of a freed buffer", lambda: self.space.size_of(base))
        return "freed"

    def _resize(self, step: Step) -> str | None:
        if step.buffer not in self.live or self.contract.resize is Resize.NONE:
            return None
        old_base, old = self.live[step.buffer]
        words = f"resize({old_base:#x}, {step.size})"
        if not 0 < step.size <= 2**63:
            return self._bad_size(words, lambda: self.space.resize(old_base, step.size))
        size = self._round(step.size)
        can_stay = size <= old or self._room_behind(old_base, old, size)
        base = self._ask(Property.P18, words, lambda: self.space.resize(old_base, step.size))
        if base is None:
            if can_stay and self.contract.resize is Resize.IN_PLACE:
                raise Breach(Property.P18, f"{words} was refused, and could be done in place")
            self._judge_refusal(words, size, {})
            return "refused"
        if base != old_base:
            if can_stay and self.contract.resize is Resize.IN_PLACE:
                raise Breach(Property.P18, f"{words} moved the buffer to {base:#x}, and it could have stayed")
            released = [event for event in self.source.events if not event.mapped and event.holds(old_base)]
            self.source.events[:] = [event for event in self.source.events if event not in released]
            self._judge_place(base, size, {})
            self.live[step.buffer] = base, size
            self._leave(old_base)
            self._moved += 1
            self.source.events.extend(released)
            self._follow_free()
        else:
            self._follow()
            if size > old and not self._room_behind(old_base, old, size):
                raise Breach(Property.P18, f"{words} grew over what lies behind the buffer")
            self.oracle.resize(base, size)
            self._stayed += size != old
        self.live[step.buffer] = base, size
        return f"{base:#x}"

    def _reserve(self, step: Step) -> str | None:
        if step.buffer in self.live or step.buffer in self.gone or not hasattr(self.space, "reserve"):
            return None
        if step.at % self.quantum or step.size % self.quantum or not 0 < step.size <= _TOP + 1 - step.at:
            return None
        words = f"reserve({step.at:#x}+{step.size})"
        free = any(base <= step.at and step.at + step.size <= base + size for base, size in self.oracle.holes())
        self._begin()
        try:
            self.space.reserve(Extent(step.at, step.size))
        except SpanOverlapError:
            self._end()
            if free:
                raise Breach(Property.P7, f"{words} was refused, and the range lies in a hole") from None
            return "refused"
        except Exception as error:
            raise self._unexpected(Property.P7, words, error) from error
        self._end()
        if not free:
            raise Breach(Property.P1, f"{words} was granted, and the range does not lie in a hole")
        self.oracle.put(step.at, step.size)
        self._allocs += 1
        self.live[step.buffer] = step.at, step.size
        return "reserved"

    def _bad_free(self, step: Step) -> str | None:
        bases = {base for base, _ in self.live.values()}
        if step.do is Do.REFREE:
            address, what = self.gone.get(step.buffer, -1), "freed already"
        elif step.do is Do.FREE_INSIDE:
            base, size = self.live.get(step.buffer, (0, 0))
            address, what = (base + step.size if 0 < step.size < size else -1), "inside a buffer"
        else:
            address, what = step.at, "never handed out"
        if address < 0 or address in bases or not self.contract.checks_frees:
            return None
        self._begin()
        self._must_refuse(f"free({address:#x}), {what}", lambda: self.space.free(address))
        if self.source.events:
            raise Breach(Property.P9, f"free({address:#x}), {what}, was refused, and called the source all the same")
        return "refused"

    def _reclaim(self, _step: Step) -> str | None:
        if not hasattr(self.space, "reclaim"):
            return None
        before = self.source.mapped
        unmapped = self._call(Property.P13, "reclaim()", lambda: self.space.reclaim())
        self._follow()
        if unmapped != before - self.source.mapped:
            raise Breach(
                Property.P4, f"reclaim() returned {unmapped!r}, and unmapped {before - self.source.mapped} bytes"
            )
        idle = self._idle()
        if self._cached or idle:
            left = "cached buffers" if self._cached else f"the idle arena {min(idle):#x}"
            raise Breach(Property.P13, f"reclaim() left {left}")
        return f"{unmapped}"

    def _starve(self, step: Step) -> str:
        self.source.starve = step.size
        return "starving"

    def _finish(self, _step: Step) -> str:
        self.finish()
        return "finished"

    _DO: Final = {
        Do.ALLOC: _alloc, Do.XALLOC: _alloc, Do.FREE: _free, Do.RESIZE: _resize, Do.RESERVE: _reserve,
        Do.REFREE: _bad_free, Do.FREE_INSIDE: _bad_free, Do.FREE_WILD: _bad_free, Do.RECLAIM: _reclaim, Do.STARVE: _starve,
        Do.FINISH: _finish,
    }  # fmt: skip

    def finish(self) -> None:
        """Free everything and reclaim: the initial state is back, and all of the limit can be had at once (P6)."""
        self.do(Step(Do.STARVE))
        for buffer in sorted(self.live):
            self.do(Step(Do.FREE, buffer))
        self.do(Step(Do.RECLAIM))
        self.inspect()
        if hasattr(self.space, "reclaim") and set(self.source.ranges) - self.static:
            self.steps.append(Step(Do.FINISH))
            raise Breach(
                Property.P6, f"{self.source.mapped} bytes stay mapped after everything was freed and reclaimed"
            )
        whole = self._whole()
        if whole:
            buffer = max([*self.gone, *self.live, -1]) + 1
            self.do(Step(Do.ALLOC, buffer, whole))
            if buffer not in self.live and self.contract.completeness is Completeness.EXACT:
                self.steps.append(Step(Do.FINISH))
                raise Breach(Property.P6, f"everything is free, and {whole} bytes, which fit at first, are refused")
            self.do(Step(Do.FREE, buffer))
            self.inspect()

    def _whole(self) -> int:
        """Return the largest request that must be granted where nothing is live, in bytes.

        Arenas that nothing can make it give back stay: static ones, and all where there is no reclaim().
        """
        ranges = self.source.ranges
        if hasattr(self.space, "reclaim"):
            ranges = {base: ranges[base] for base in self.static}
        room = min(self.setting.kva_limit - sum(ranges.values()), self.source.largest_gap(ranges))
        whole: int = max(room - room % self.setting.granule, *ranges.values(), 0)
        if self.contract.geometry is Geometry.BUDDY and whole:
            whole = self.quantum << ((whole // self.quantum).bit_length() - 1)
        return whole

    # --- calling the allocator ---------------------------------------------------------------------------

    def _begin(self) -> None:
        self.source.events.clear()
        self.source.calls_left = MAX_CALLS
        self.source.starved = False

    def _end(self) -> None:
        """Report a misuse of the source, even if the allocator swallowed it."""
        if self.source.breach is not None:
            raise self.source.breach

    def _bounded(self, call: Callable[[], Any]) -> Any:
        if not self.subject.line_bound:
            return call()
        with bound_lines(self.subject.line_bound, Breach(Property.P17, "a call does not return")):
            return call()

    def _call(self, owner: Property, words: str, call: Callable[[], Any]) -> Any:
        """Make a call that must succeed, and return its result."""
        self._begin()
        try:
            result = self._bounded(call)
        except Breach:
            raise
        except Exception as error:
            self._end()
            raise self._unexpected(owner, words, error) from error
        self._end()
        return result

    def _ask(self, owner: Property, words: str, call: Callable[[], Any]) -> int | None:
        """Make a request, and return the address, or None where it was refused."""
        self._begin()
        deep = self.subject.deep_every == 1 and hasattr(self.space, "stats")
        before = self._stats if deep else None
        self._refusal: MemoryError | None = None
        try:
            base: int = self._bounded(call)
        except Breach:
            raise
        except MemoryError as error:
            self._end()
            self.refusals += 1
            self._refusal = error
            after = self._look("stats()", self.space.stats) if deep else None
            for name in _KEPT_BY_A_REFUSAL:
                if getattr(before, name, 0) != getattr(after, name, 0):
                    raise Breach(Property.P9, f"{words} was refused, and changed {name}") from None
            return None
        except Exception as error:
            self._end()
            raise self._unexpected(owner, words, error) from error
        self._end()
        if type(base) is not int or base < 0:
            raise Breach(Property.P2, f"{words} returned {base!r}, which is no address")
        return base

    def _must_refuse(self, words: str, call: Callable[[], object]) -> None:
        try:
            self._bounded(call)
        except Breach:
            raise
        except (ValueError, LookupError):  # BadFreeError is a ValueError
            self._end()
            return
        except Exception as error:
            self._end()
            raise self._unexpected(Property.P10, words, error) from error
        self._end()
        raise Breach(Property.P10, f"{words} was accepted")

    @staticmethod
    def _unexpected(owner: Property, words: str, error: Exception) -> Breach:
        try:
            said = f": {error}"
        except Exception:
            said = ", which cannot be shown"
        return Breach(owner, f"{words} raised {type(error).__name__}{said}")

    def _round(self, size: int) -> int:
        return self.contract.geometry.rounded(size, self.quantum)

    # --- following the source and the cache --------------------------------------------------------------

    def _follow(self) -> None:
        """Tell the oracle which arenas came and went, and which buffers have left the cache."""
        for event in self.source.events:
            self._follow_one(event)
        self.source.events.clear()
        if self._deferred and not self._opaque:
            self._cached = self._read_cache()
            parked = set(self._parked())
            for base in sorted(parked - self._cached.keys()):
                self.oracle.drop(base)
            for base in sorted(self._cached.keys() - parked - {base for base, _ in self.live.values()}):
                self.oracle.put(base, self._cached[base])  # filled ahead of any free
                self.oracle.park(base)

    def _follow_one(self, event: Event) -> None:
        if event.mapped:
            self.oracle.enter_arena(event.base, event.size)
            self._imports += 1
            mapped = self.oracle.kva_limit
            self._peak = max(self._peak, mapped)
            if mapped > self.limit:
                raise Breach(Property.P11, f"{mapped} bytes are mapped, and the limit is {self.limit}")
            return
        inside = [base for base, _ in self.live.values() if event.holds(base)]
        if inside:
            raise Breach(Property.P12, f"the arena {event.base:#x} was unmapped with a live buffer at {inside[0]:#x}")
        for base in self._parked():
            if event.holds(base):
                self.oracle.drop(base)
        self.static.discard(event.base)
        self._releases += 1
        self.oracle.leave_arena(event.base, event.size)

    def _follow_free(self) -> None:
        """Follow what a free did to the arenas, and judge it by the release rule."""
        released = [event for event in self.source.events if not event.mapped]
        self._follow()
        if released and self.contract.release.keep is None:
            raise Breach(Property.P12, f"a free gave back the arena {released[-1].base:#x}, and the rule is never")
        if released and self.contract.release.keep != 0 and not self._opaque and not self._idle():
            raise Breach(
                Property.P12,
                f"a free gave back the last idle arena {released[-1].base:#x}, and the rule is {self.contract.release}",
            )

    def _read_cache(self) -> dict[int, int]:
        return {segment.base: segment.size for segment in self._segments() if segment.kind is Kind.CACHED}

    def _parked(self) -> list[int]:
        """Return the bases that the oracle holds as cached."""
        if not self._deferred or self._opaque:
            return []
        return [segment.base for segment in self.oracle.segments() if segment.kind is Kind.CACHED]

    def _leave(self, base: int) -> None:
        self._frees += 1
        if self._deferred and not self._opaque:
            self.oracle.park(base)
        else:
            self.oracle.free(base)

    def _idle(self) -> set[int]:
        """Return the bases of arenas, static ones apart, that are wholly free."""
        segments = self.oracle.segments()
        return {s.arena for s in segments} - {s.arena for s in segments if s.kind is not Kind.FREE} - self.static

    # --- judging what was granted ------------------------------------------------------------------------

    def _judge_place(self, base: int, size: int, bounds: Bounds) -> None:
        """Judge where a granted request lies, and tell the oracle."""
        self._allocs += 1
        if self._cached.get(base) == size and not self.source.events:
            before, self._cached = self._cached, self._read_cache()
            if before.keys() - self._cached.keys() == {base}:
                self._judge_bounds(base, size, bounds)
                self.oracle.unpark(base)
                if self._fit is Fit.NEXT:  # or the cache gave it back, and it was carved again
                    self.cursors.add(base + size)
                return
        mapped = {event.base for event in self.source.events if event.mapped}
        if mapped and self._must_find_a_hole(size, bounds):
            raise Breach(Property.P12, f"an arena was mapped for {size} bytes, and a hole admits them")
        if len(mapped & self.source.ranges.keys()) > 1 and self._fit is not None and not self._deferred and not bounds:
            raise Breach(Property.P12, f"{len(mapped)} arenas were mapped for one request of {size} bytes")
        self._follow()
        for owner, length in self.live.values():
            if owner < base + size and base < owner + length:
                raise Breach(Property.P1, f"{base:#x}+{size} overlaps the live buffer {owner:#x}+{length}")
        for owner, length in self._cached.items():
            if owner < base + size and base < owner + length:
                raise Breach(Property.P1, f"{base:#x}+{size} overlaps {owner:#x}+{length}, which is still cached")
        self._judge_bounds(base, size, bounds)
        if not any(start <= base and base + size <= start + length for start, length in self.source.ranges.items()):
            raise Breach(Property.P2, f"{base:#x}+{size} lies in no mapped arena")
        choices = self._choices(size, bounds)
        if base not in choices:
            if base not in self.oracle.places(size, **bounds):
                raise Breach(Property.P3, f"{base:#x}+{size} is not a block of the buddy system")
            where = " or ".join(f"{place:#x}" for place in choices[:3])
            assert self._fit is not None  # else every place is a choice
            raise Breach(Property.P8, f"{size} bytes lie at {base:#x}; {self._fit.value} fit puts them at {where}")
        self.oracle.put(base, size)
        self.cursors = {base + size}

    def _judge_bounds(self, base: int, size: int, bounds: Bounds) -> None:
        align, phase, nocross = bounds.get("align", 0), bounds.get("phase", 0), bounds.get("nocross", 0)
        if base % self.quantum:
            raise Breach(Property.P3, f"{base:#x} is not a multiple of the quantum {self.quantum}")
        if align and base % align != phase:
            raise Breach(Property.P3, f"{base:#x} is not {phase} behind a multiple of {align}")
        if nocross and base // nocross != (base + size - 1) // nocross:
            raise Breach(Property.P3, f"{base:#x}+{size} crosses a multiple of {nocross}")
        if base < bounds.get("lo", 0):
            raise Breach(Property.P3, f"{base:#x} is below lo={bounds['lo']:#x}")
        if base + size - 1 > bounds.get("hi", _TOP):
            raise Breach(Property.P3, f"{base:#x}+{size} ends above {bounds.get('hi', _TOP):#x}")

    def _choices(self, size: int, bounds: Bounds) -> list[int]:
        choices: set[int] = set()
        for cursor in self.cursors:
            self.oracle.cursor = cursor
            choices.update(
                self.oracle.choices(size, self._fit, tie=self.contract.tie, ages_known=not self._deferred, **bounds)
            )
        return sorted(choices)

    def _room_behind(self, base: int, old: int, size: int) -> bool:
        """Tell whether a buffer could grow where it lies: into a hole of its own arena, to an aligned block for buddies."""
        arena, arena_end = next(
            (start, start + length) for start, length in self.source.ranges.items() if start <= base < start + length
        )
        if self.contract.geometry is Geometry.BUDDY:
            taken = [s for s in self.oracle.segments() if s.kind is not Kind.FREE and base < s.base < base + size]
            return base + size <= arena_end and (base - arena) % size == 0 and not taken
        behind = dict(self.oracle.holes()).get(base + old, 0) if base + old < arena_end else 0
        return behind >= size - old

    # --- judging what was refused ------------------------------------------------------------------------

    def _must_find_a_hole(self, size: int, bounds: Bounds) -> bool:
        """Tell whether the declared completeness obliges the allocator to find one of the oracle's holes."""
        if self._fit is None or not self.oracle.places(size, **bounds):
            return False
        return self.contract.completeness is Completeness.EXACT or (not bounds and self._beyond_its_class(size))

    def _beyond_its_class(self, size: int) -> bool:
        """Tell whether there is a hole of a higher size class than the request's own."""
        own = _size_class(size // self.quantum)
        return any(_size_class(length // self.quantum) > own for _, length in self.oracle.holes())

    def _judge_refusal(self, words: str, size: int, bounds: Bounds) -> None:
        """Judge a refusal, and what was done on the way to it."""
        starved = self.source.starved
        self._follow()
        places = self.oracle.places(size, **bounds)
        if places and (
            self.contract.completeness is Completeness.EXACT or (not bounds and self._beyond_its_class(size))
        ):
            raise Breach(Property.P7, f"{words} was refused, and there is room at {places[0]:#x}")
        if places:
            return
        if self._parked() and self._would_admit_drained(size, bounds):
            raise Breach(Property.P13, f"{words} was refused, and there is room when the cache is drained")
        need = self._sure_arena(size, bounds)
        if need and not starved:
            self._judge_import(words, need)
        passed_on = self._refusal is self.source.refusal  # its figures are the source's
        if (
            isinstance(self._refusal, ExhaustionError)
            and not passed_on
            and self.subject.deep_every == 1
            and not self._opaque
        ):
            self._judge_figures(self._refusal, size)

    def _would_admit_drained(self, size: int, bounds: Bounds) -> bool:
        drained = CellSpace(0, quantum=self.quantum, geometry=self.contract.geometry)
        for base, length in self.source.ranges.items():
            drained.enter_arena(base, length)
        for segment in self.oracle.segments():
            if segment.kind is Kind.BUSY:
                drained.put(segment.base, segment.size)
        return bool(drained.places(size, **bounds))

    def _sure_arena(self, size: int, bounds: Bounds) -> int:
        """Return a size of arena that is sure to admit a request, wherever it is mapped; 0 where there is none.

        With Completeness.CLASS an arena of the request's own class may be overlooked, once it is mapped, unless the class is
        of one size.
        """
        if self.contract.completeness is Completeness.CLASS and size // self.quantum > _EXACT_CLASSES:
            return 0
        if bounds.get("lo") or bounds.get("hi", _TOP) != _TOP:
            return 0
        step = max(bounds.get("align", 0), bounds.get("nocross", 0))
        if step > self.quantum:
            if self.contract.geometry is Geometry.BUDDY or not self._possible(size, bounds):
                return 0
            size += 2 * step
        return size + -size % self.setting.granule

    def _possible(self, size: int, bounds: Bounds) -> bool:
        """Tell whether any place could meet constraints, looking at one period of them."""
        align, nocross = max(bounds.get("align", 0), self.quantum), bounds.get("nocross", 0)
        starts = range(bounds.get("phase", 0), max(align, nocross), align)
        return not nocross or any(start // nocross == (start + size - 1) // nocross for start in starts)

    def _judge_import(self, words: str, need: int) -> None:
        """A refusal is wrong if an arena could be mapped now, or, where there is reclaim(), with the idle ones released."""
        ranges, idle = self.source.ranges, self._idle()
        if self.limit - sum(ranges.values()) >= need and self.source.largest_gap(ranges) >= need:
            raise Breach(Property.P7, f"{words} was refused, and an arena of {need} bytes could be mapped")
        left = {base: length for base, length in ranges.items() if base not in idle}
        reclaims = hasattr(self.space, "reclaim") and not self._opaque
        if reclaims and self.limit - sum(left.values()) >= need and self.source.largest_gap(left) >= need:
            raise Breach(Property.P13, f"{words} was refused, and an arena could be mapped in place of idle ones")

    def _judge_figures(self, error: ExhaustionError, size: int) -> None:
        holes = [length for _, length in self.oracle.holes()]
        for name, said, true in (
            ("request", error.request, size),
            ("free", error.free, sum(holes)),
            ("largest_hole", error.largest_hole, max(holes, default=0)),
            ("mapped", error.mapped, self.source.mapped),
        ):
            if said != true and (self.contract.exact_stats or name != "largest_hole" or said > true):
                raise Breach(Property.P16, f"the refusal says {name}={said}, and it is {true}")

    # --- looking at everything -------------------------------------------------------------------------------

    def inspect(self) -> None:
        """Compare everything that can be seen: sizes, segments, figures, idle arenas, the allocator's own checker."""
        keep = self.contract.release.keep
        if keep is not None and not self._opaque:
            idle = self._idle()
            if len(idle) > keep:
                raise Breach(Property.P12, f"{len(idle)} idle arenas are kept, the rule is {self.contract.release}")
        if hasattr(self.space, "size_of"):
            for base, size in self.live.values():
                said = self._look(f"size_of({base:#x})", functools.partial(self.space.size_of, base))
                if said != size:
                    raise Breach(Property.P4, f"size_of({base:#x}) is {said!r}, and the buffer has {size} bytes")
        if hasattr(self.space, "segments"):
            self._judge_segments(self._segments())
        if hasattr(self.space, "stats"):
            self._stats = self._look("stats()", self.space.stats)
            self._judge_stats(self._stats)
        if hasattr(self.space, "violations"):
            found = self._look("violations()", lambda: [(v.code, str(v)) for v in self.space.violations()])
            for code, words in found:
                raise Breach(_CODES.get(code, Property.P4), f"its own checker reports {words}")

    def _look(self, words: str, call: Callable[[], Any]) -> Any:
        """Ask for what can be seen; that must not fail."""
        try:
            return self._bounded(call)
        except Breach:
            raise
        except Exception as error:
            raise self._unexpected(Property.P4, words, error) from error

    def _segments(self) -> tuple[Segment, ...]:
        """Return the segments; anything that has the fields of one will do."""
        shown: tuple[Segment, ...] = self._look(
            "segments()", lambda: tuple(Segment(s.base, s.size, s.kind, s.arena) for s in self.space.segments())
        )
        return shown

    def _judge_segments(self, mine: tuple[Segment, ...]) -> None:
        theirs = self.oracle.segments()
        busy = sorted((s.base, s.size) for s in mine if s.kind is Kind.BUSY)
        if busy != sorted(self.live.values()):
            strange = min(set(busy) ^ set(self.live.values()))
            what = "is missing among" if strange in self.live.values() else "stands in"
            raise Breach(Property.P4, f"the buffer {strange[0]:#x}+{strange[1]} {what} the segments")
        if mine == theirs:
            return
        free = [(s.base, s.size) for s in mine if s.kind is Kind.FREE]
        holes = [(s.base, s.size) for s in theirs if s.kind is Kind.FREE]
        for hole in holes:
            if hole not in free:
                others = [f"{base:#x}+{size}" for base, size in free if base < sum(hole) and hole[0] < base + size]
                shown = ", ".join(others) or "no hole"
                owner = Property.P5 if sum(s for _, s in free) == sum(s for _, s in holes) else Property.P4
                raise Breach(owner, f"the free range {hole[0]:#x}+{hole[1]} is shown as {shown}")
        raise Breach(Property.P4, "the segments do not tile the arenas")

    def _judge_stats(self, stats: object) -> None:
        segments = self.oracle.segments()
        of = {kind: [s.size for s in segments if s.kind is kind] for kind in Kind}
        largest = max(of[Kind.FREE], default=0)
        exact = {
            "mapped": self.source.mapped,
            "peak_mapped": self._peak,
            "live": sum(of[Kind.BUSY]),
            "allocs": self._allocs,
            "frees": self._frees,
            "arenas": len(self.source.ranges),
            "refusals": self.refusals,
            "resizes_in_place": self._stayed,
            "resizes_moved": self._moved,
        }
        if not self._has_static:
            exact |= {"imports": self._imports, "releases": self._releases}
        if not self._opaque:
            exact |= {"cached": sum(of[Kind.CACHED]), "free": sum(of[Kind.FREE]), "holes": len(of[Kind.FREE])}
        for name, true in exact.items():
            said = getattr(stats, name, true)
            if said != true:
                raise Breach(Property.P4, f"stats().{name} is {said!r}, and the recount gives {true}")
        said = getattr(stats, "largest_hole", largest)
        if not self._opaque and (said != largest if self.contract.exact_stats else not 0 <= said <= largest):
            raise Breach(Property.P16, f"stats().largest_hole is {said!r}, and the largest hole has {largest} bytes")
        free = sum(of[Kind.FREE])
        true_share = 1 - said / free if free else 0.0
        share = getattr(stats, "external_fragmentation", true_share)
        if not 0 <= share <= 1 or abs(share - true_share) > 1e-9:
            raise Breach(
                Property.P16, f"stats().external_fragmentation is {share!r}, and 1 - largest/free is {true_share}"
            )


def _legal(size: int, bounds: Bounds) -> bool:
    """Tell whether constraints keep the rules of vmem(9); a shortened program may hold some that do not."""
    align, nocross = bounds.get("align", 0), bounds.get("nocross", 0)
    return (
        not align & (align - 1)
        and not nocross & (nocross - 1)
        and (bounds.get("phase", 0) < align or not bounds.get("phase"))
        and (not nocross or nocross >= size)
        and bounds.get("lo", 0) <= bounds.get("hi", _TOP)
    )


_EXACT_CLASSES: Final = 32
"""Sizes of up to so many quanta have a class of their own."""


def _size_class(quanta: int) -> int:
    """Return vmem's size class of a number of quanta."""
    return quanta - 1 if quanta <= _EXACT_CLASSES else quanta.bit_length() + 25
