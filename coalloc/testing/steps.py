r"""Check programs: the calls that the kit makes to an allocator, as data.

A program is a :class:`World` (the sizes of the allocator's world) and a sequence of steps.  Buffers are named by numbers.  A
step on a buffer that is not live, because its alloc was refused or left out, is skipped.  So any part of a program is a
program, and a program is shrunk by leaving out steps.  The text format is that of space programs with more words::

    coalloc check-program 1
    title P7: refused although there is room
    setting limit=4 room=4 base=0x0 arena=0
    alloc 0 4096
    xalloc 1 4096 align=8192 phase=4096
    reserve 2 4096 at=0x2000
    resize 1 8192
    free 0
    refree 0
    free-inside 1 8
    free-wild 0x123
    starve 1
    reclaim
    finish

``limit``, ``room`` (of the source) and ``arena`` are in granules of the source, sizes and addresses in bytes.  The line may
also have ``quantum=``, ``quantum_cache=``, ``arena_size=`` (bytes) and ``release=``, for allocators that take them; ``order=``,
which says where the source puts its ranges (up, down, apart or mixed); and ``pressure=1``, with which the source calls
``reclaim()`` in the middle of every map call.  ``refree`` frees a buffer a
second time, ``free-inside`` frees an address so many bytes into a buffer, and ``free-wild`` an address that was never handed
out.  ``starve n`` makes the n-th map call from then on fail, and ``free-in-map`` has the
source free a buffer in the middle of its next map call.  ``finish`` frees everything and checks that the initial state
is back.  A size that no request may have (0, more than 2**63) checks that the request is refused.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Final, NamedTuple

import attrs

from coalloc.contract import Capability
from coalloc.contract_text import parse_release
from coalloc.errors import ProgramError
from coalloc.testing.source import Order

__all__ = ["NEEDS", "Action", "CheckProgram", "Step", "World", "dumps", "loads"]

_HEADER: Final = "coalloc check-program 1"


class Action(enum.Enum):
    """The action of a step; the value is its word in the text format."""

    ALLOC = "alloc"
    XALLOC = "xalloc"
    FREE = "free"
    RESIZE = "resize"
    RESERVE = "reserve"
    REFREE = "refree"
    FREE_INSIDE = "free-inside"
    FREE_WILD = "free-wild"
    RECLAIM = "reclaim"
    STARVE = "starve"
    FREE_IN_MAP = "free-in-map"
    FINISH = "finish"

    __hash__ = object.__hash__  # a member is itself alone; Enum's own hash is Python code, and each step needs one


class Step(NamedTuple):
    """One call; ``size`` is bytes (for FREE_INSIDE the distance from the base, for STARVE the number of the map call)."""

    action: Action
    buffer: int = -1
    size: int = 0
    at: int = 0
    bounds: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        words = [self.action.value]
        if self.buffer >= 0:
            words.append(str(self.buffer))
        if self.size or _PLACES[self.action] == 2 or self.action is Action.STARVE:
            words.append(str(self.size))
        if self.action is Action.FREE_WILD:
            words.append(f"{self.at:#x}")
        if self.action is Action.RESERVE:
            words.append(f"at={self.at:#x}")
        words += [f"{name}={value:#x}" if name in ("lo", "hi") else f"{name}={value}" for name, value in self.bounds]
        return " ".join(words)


@attrs.frozen
class World:
    """The world of one program.

    Args:
        limit: ``kva_limit`` in granules, > 0.
        room: Size of the source in granules, > 0.
        base: First address of the source, a multiple of the granule.
        arena: ``arena_size`` in granules, where the allocator takes one; 0 leaves it alone.
        granule: Granule of the source, in bytes.
        slack: Bytes that are added to ``limit`` granules to give ``kva_limit``; less than a granule.
        options: Further keyword arguments for the allocator: ``quantum``, ``quantum_cache``, ``arena_size`` (bytes) and
            ``release``.
        order: Where the source puts its ranges.
        pressure: Whether the source calls ``reclaim()`` in the middle of every map call, if the allocator has it.
    """

    limit: int = 16
    room: int = 16
    base: int = 0
    arena: int = 0
    granule: int = 4096
    slack: int = 0
    options: tuple[tuple[str, object], ...] = ()
    order: Order = Order.UP
    pressure: bool = False

    @property
    def kva_limit(self) -> int:
        """Bytes that the allocator may map."""
        return self.limit * self.granule + self.slack

    def __str__(self) -> str:
        words = [f"limit={self.limit} room={self.room} base={self.base:#x} arena={self.arena}"]
        words += [f"granule={self.granule}"] if self.granule != 4096 else []
        words += [f"slack={self.slack}"] if self.slack else []
        words += [f"order={self.order.value}"] if self.order is not Order.UP else []
        words += ["pressure=1"] if self.pressure else []
        words += [f"{name}={value}" for name, value in self.options]
        return " ".join(words)


@attrs.frozen
class CheckProgram:
    """A world and the steps to run in it."""

    world: World
    steps: tuple[Step, ...]
    title: str = ""

    def renumbered(self) -> CheckProgram:
        """Return the same program with its buffers numbered from 0 in the order of their first step."""
        numbers: dict[int, int] = {}
        steps = []
        for step in self.steps:
            if step.buffer >= 0:
                numbers.setdefault(step.buffer, len(numbers))
                step = step._replace(buffer=numbers[step.buffer])
            steps.append(step)
        return attrs.evolve(self, steps=tuple(steps))


def dumps(program: CheckProgram) -> str:
    """Return a program as text, which :func:`loads` reads."""
    lines = [_HEADER]
    if program.title:
        lines.append(f"title {program.title}")
    lines.append(f"setting {program.world}")
    lines += [str(step) for step in program.steps]
    return "\n".join(lines) + "\n"


def loads(text: str, name: str | None = None) -> CheckProgram:
    r"""Read a program from text.

    Raises:
        ProgramError: If the text is not a program; the error names the line.

    >>> program = loads("coalloc check-program 1\nsetting limit=4\nalloc 0 4096\nfree 0\n")
    >>> len(program.steps), program.world.limit, loads(dumps(program)) == program
    (2, 4, True)
    """
    lines = text.splitlines()
    if not lines or lines[0] != _HEADER:
        raise ProgramError(f"is no check program: the first line must be {_HEADER!r}", name, 1)
    title, world, steps = "", World(), []
    for number, line in enumerate(lines[1:], 2):
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        try:
            if word == "title":
                title = rest
            elif word == "setting":
                world = _world(rest.split())
            else:
                steps.append(_step(word, rest.split()))
        except ValueError as error:
            raise ProgramError(str(error), name, number) from None
    return CheckProgram(world, tuple(steps), title)


def _world(words: list[str]) -> World:
    options: list[tuple[str, object]] = []
    rest = []
    order = Order.UP
    for word in words:
        name, _, value = word.partition("=")
        if name in ("quantum", "quantum_cache", "arena_size"):
            number, least = _number(value), 0 if name == "quantum_cache" else 1
            if not least <= number <= _MOST:
                raise ValueError(f"{name}={value} cannot be: it must be in {least} .. 2**63")
            options.append((name, number))
        elif name == "release":
            options.append((name, parse_release(value)))
        elif name == "order":
            order = Order(value)
        else:
            rest.append(word)
    fields = _named(rest, ("limit", "room", "base", "arena", "granule", "slack", "pressure"))
    fields.setdefault("room", fields.get("limit", 16))
    for name, least in (("limit", 1), ("room", 1), ("granule", 1)):
        if fields.get(name, least) < least:
            raise ValueError(f"{name} must be at least {least}")
    pressure = bool(fields.pop("pressure", 0))
    made = World(**fields, options=tuple(options), order=order, pressure=pressure)
    if made.granule & (made.granule - 1):
        raise ValueError("granule must be a power of two")
    if made.base % made.granule or made.slack >= made.granule:
        raise ValueError("base must be a multiple of the granule, and slack less than one")
    if made.kva_limit > _MOST:
        raise ValueError(f"the limit must be at most 2**63 bytes, here are {made.kva_limit}")
    if made.base + made.room * made.granule > 2**64:
        raise ValueError("the source must end within 2**64")
    return made


_MOST: Final = 2**63
"""The most bytes of a size."""
NEEDS: Final = {
    Action.XALLOC: Capability.XALLOC, Action.RESIZE: Capability.RESIZE, Action.RESERVE: Capability.RESERVE,
    Action.RECLAIM: Capability.RECLAIM,
}  # fmt: skip
"""What an allocator must be able to do for a step; it can do the others anyhow."""
_PLACES: Final = {
    Action.ALLOC: 2, Action.XALLOC: 2, Action.RESIZE: 2, Action.RESERVE: 2, Action.FREE_INSIDE: 2,
    Action.FREE: 1, Action.REFREE: 1, Action.STARVE: 1, Action.FREE_WILD: 1, Action.FREE_IN_MAP: 1,
    Action.RECLAIM: 0, Action.FINISH: 0,
}  # fmt: skip


def _step(word: str, words: list[str]) -> Step:
    try:
        do = Action(word)
    except ValueError:
        raise ValueError(f"expected one of {', '.join(do.value for do in Action)}, here is {word!r}") from None
    if len(words) < _PLACES[do]:
        raise ValueError(f"{word} takes {_PLACES[do]} numbers, here are {len(words)}")
    numbers = [_number(text) for text in words[: _PLACES[do]]]
    rest = words[_PLACES[do] :]
    if do is Action.XALLOC:
        bounds = _named(rest, ("align", "phase", "nocross", "lo", "hi"))
        return Step(do, numbers[0], numbers[1], bounds=tuple(bounds.items()))
    at = _named(rest, ("at",) if do is Action.RESERVE else ()).get("at", 0)
    if do is Action.FREE_WILD:
        return Step(do, at=numbers[0])
    if do is Action.STARVE:
        return Step(do, size=numbers[0])
    buffer, size = (numbers + [-1, 0][len(numbers) :])[:2]
    return Step(do, buffer, size, at)


def _named(words: Iterable[str], names: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in names:
            raise ValueError(f"{word!r} is not understood" + (f"; there are {', '.join(names)}" if names else ""))
        found[name] = _number(value)
    return found


def _number(text: str) -> int:
    try:
        number = int(text, 0)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not 0 <= number < 2**65:
        raise ValueError(f"{text!r} is not in 0 .. 2**65 - 1")
    return number
