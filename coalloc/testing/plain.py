"""`PlainRun`: the calls of a check program, made without a judge: what each call answers, and what is live by the answers."""

from __future__ import annotations

import enum
import functools
from typing import Any, Final

import attrs

from coalloc.extent import Extent
from coalloc.native.space import NativeSpace
from coalloc.space.picture import draw
from coalloc.space.protocol import Kind, Segment
from coalloc.testing.properties import Breach
from coalloc.testing.source import MAX_CALLS
from coalloc.testing.steps import NEEDS, Action, Step, World
from coalloc.testing.subject import Subject, make

__all__ = ["Answer", "Status", "PlainRun"]

_LARGEST: Final = 2**63
"""The largest size that a request may have."""
_WIDTH: Final = 40


class Status(enum.Enum):
    """What a call comes to; the value is the word for it."""

    GRANTED = "granted"
    """A range was handed out."""
    DONE = "done"
    REFUSED = "refused"
    """There is no place: MemoryError."""
    REJECTED = "rejected"
    """The arguments mean nothing: ValueError, TypeError or OverflowError, of a free also LookupError; or MemoryError for a size
    that no request may have."""
    RAISED = "raised"
    """Any other exception."""
    ENDED = "ended"
    """The process of the allocator has ended, or it has misused its source."""


@attrs.frozen
class Answer:
    """What a call answered.

    Args:
        status: What it comes to.
        value: The address that was granted, or the bytes that reclaim() has unmapped.
        error: The name of the class of another exception, or how the process has ended.
    """

    status: Status
    value: int = 0
    error: str = ""

    def __str__(self) -> str:
        if self.status is Status.GRANTED:
            return f"{self.value:#x}"
        if self.error:
            return f"{self.status.value}: {self.error}"
        return f"done ({self.value:,} bytes)" if self.value else self.status.value


class PlainRun:
    """Make the calls of a check program on one allocator.

    Args:
        subject: The allocator.
        world: The world that it is made in.

    Raises:
        Breach: If it cannot be made.

    Attributes:
        source: The source of its arenas.
        space: The allocator.
        quantum: The quantum that it tells; the granule of the world if it tells none.
        live: Base of every live buffer and its size in whole quanta, by its number.
        gone: Base of every buffer that was freed, by its number.
    """

    def __init__(self, subject: Subject, world: World) -> None:
        if subject.on_world is not None:
            subject.on_world(world)
        self._told = subject.on_step
        self.source, self.space = make(subject.make_space, world)
        quantum = getattr(self.space, "quantum", None)
        self.quantum = quantum if type(quantum) is int and quantum > 0 else world.granule
        self.live: dict[int, tuple[int, int]] = {}
        self.gone: dict[int, int] = {}
        self._doing = -1
        if world.pressure and callable(getattr(self.space, "reclaim", None)):
            self.source.pressure = self.space.reclaim

    def do(self, step: Step) -> Answer | None:
        """Make the call of a step; return None if it makes none, since it makes no sense now or the allocator lacks the method.

        Raises:
            Breach: If the allocator misuses its source, or its process ends.
        """
        if self._told is not None:
            self._told(step)
        action, buffer = step.action, step.buffer
        self.source.calls_left, self._doing = MAX_CALLS, buffer
        needed = NEEDS.get(action)
        if needed is not None and not callable(getattr(self.space, needed.value, None)):
            return None
        if action in (Action.ALLOC, Action.XALLOC, Action.RESERVE):
            return self._request(step) if buffer not in self.live and buffer not in self.gone else None
        if action in (Action.FREE, Action.RESIZE, Action.FREE_INSIDE) and buffer not in self.live:
            return None
        if action is Action.RESIZE:
            return self._request(step)
        if action is Action.FREE:
            return self._free(buffer)
        if action is Action.FREE_INSIDE:
            base, size = self.live[buffer]
            return self._bad_free(base + step.size) if 0 < step.size < size else None
        if action is Action.REFREE:
            return self._bad_free(self.gone[buffer]) if buffer in self.gone else None
        if action is Action.FREE_WILD:
            return self._bad_free(step.at)
        if action is Action.RECLAIM:
            return self._answer(self.space.reclaim)
        if action is Action.STARVE:
            self.source.starve = step.size
        elif action is Action.FREE_IN_MAP:
            self.source.meanwhile = lambda: self._free_in_map(buffer)
        return None

    def _request(self, step: Step) -> Answer:
        """Ask for a range, and enter it as live if it is granted."""
        action, size = step.action, step.size
        if action is Action.ALLOC:
            answer = self._answer(self.space.alloc, size)
        elif action is Action.XALLOC:
            answer = self._answer(functools.partial(self.space.xalloc, size, **dict(step.bounds)))
        elif action is Action.RESIZE:
            answer = self._answer(self.space.resize, self.live[step.buffer][0], size)
        else:
            answer = self._answer(lambda: self.space.reserve(Extent(step.at, size)))
            answer = Answer(Status.GRANTED, step.at) if answer.status is Status.DONE else answer
            if answer.status is Status.REJECTED:
                answer = Answer(Status.REFUSED)  # what is taken already may be called either
        if answer.status is Status.DONE:  # an address, even if it is 0
            answer = Answer(Status.GRANTED, answer.value)
        if not 0 < size <= _LARGEST and answer.status is Status.REFUSED:
            return Answer(Status.REJECTED)
        if answer.status is Status.GRANTED:
            self.live[step.buffer] = answer.value, size + -size % self.quantum
        return answer

    def _free(self, buffer: int) -> Answer:
        self.gone[buffer] = self.live.pop(buffer)[0]
        return self._freed(self.gone[buffer])

    def _free_in_map(self, buffer: int) -> None:
        if buffer in self.live and buffer != self._doing:
            self._free(buffer)

    def _bad_free(self, address: int) -> Answer | None:
        """Free an address, unless a live buffer begins there."""
        if any(base == address for base, _ in self.live.values()):
            return None
        return self._freed(address)

    def _freed(self, address: int) -> Answer:
        """Free an address, whether it may be or not."""
        return attrs.evolve(self._answer(self.space.free, address, stray=True), value=0)

    def close(self) -> None:
        """Close a space in C, which does nothing to any other.

        Raises:
            Breach: If that ends its process, or memory is found to be damaged.
        """
        if isinstance(self.space, NativeSpace):
            self.space.close()

    @staticmethod
    def _answer(call: Any, *arguments: object, stray: bool = False) -> Answer:
        try:
            value = call(*arguments)
        except Breach:
            raise
        except MemoryError:
            return Answer(Status.REFUSED)
        except (ValueError, OverflowError, TypeError):
            return Answer(Status.REJECTED)
        except Exception as error:
            if stray and isinstance(error, LookupError):
                return Answer(Status.REJECTED)
            return Answer(Status.RAISED, error=type(error).__name__)
        return Answer(Status.DONE, value if type(value) is int else 0)

    @property
    def holes(self) -> list[tuple[int, int]]:
        """Base and size of every range of an arena in which nothing is live."""
        return [(segment.base, segment.size) for segment in self.segments if segment.kind is Kind.FREE]

    @property
    def segments(self) -> list[Segment]:
        """What is live and what is not, arena by arena, as the answers say."""
        shown = []
        live = sorted(self.live.values())
        for arena, size in sorted(self.source.ranges.items()):
            at, end = arena, arena + size
            for base, length in live:
                if arena <= base < end:
                    if base > at:
                        shown.append(Segment(at, base - at, Kind.FREE, arena))
                    shown.append(Segment(base, min(length, end - base), Kind.BUSY, arena))
                    at = max(at, base + length)
            if at < end:
                shown.append(Segment(at, end - at, Kind.FREE, arena))
        return shown

    def picture(self) -> str:
        """Draw the arenas as the answers say."""
        return draw(self.source.ranges, self.segments, _WIDTH)
