"""Random programs from a seed, run as they are drawn: each step depends on which buffers the judge knows to be live."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, Protocol

import attrs

from coalloc._html import preformatted
from coalloc.contract import Capability, Completeness, Constraint, Contract, Fit, Resize
from coalloc.native.space import NativeSpace
from coalloc.testing.in_c import quanta_of
from coalloc.testing.judge import Judge
from coalloc.testing.properties import Breach
from coalloc.testing.scout import Doubt, Scout
from coalloc.testing.steps import Action, CheckProgram, Step, World, dumps
from coalloc.testing.subject import Subject

__all__ = [
    "Counterexample",
    "Player",
    "Watcher",
    "draw_world",
    "random_program",
    "run_program",
    "scale_of",
    "scouted_program",
]

_TOP: Final = 2**64 - 1
_LOOKS: Final = 128
_SEEN: Final = 250_000
"""In a long program so many buffers are looked at, all looks together."""


@attrs.frozen
class Counterexample:
    """A program and the breach that it ends in."""

    program: CheckProgram
    breach: Breach

    def _repr_html_(self) -> str:
        """Show the breach, the picture if there is one, and the program in a notebook."""
        return preformatted("\n".join(filter(None, (str(self.breach), self.breach.picture, dumps(self.program)))))


def run_program(subject: Subject, program: CheckProgram) -> Breach | None:
    """Run a program and return the breach that it ends in, or None.

    In a program of more than some hundred steps everything that can be seen is compared only so many times.
    """
    steps = len(program.steps)
    every = steps // max(min(_LOOKS, _SEEN // max(steps, 1)), 1)
    try:
        judge = Judge(attrs.evolve(subject, deep_every=every) if every > subject.deep_every else subject, program.world)
        for step in program.steps:
            judge.do(step)
        judge.inspect()
        _close(judge)
    except Breach as breach:
        return breach
    return None


def _close(judge: Judge) -> None:
    """Close a space in C, so that what is wrong with that is found in the program at hand."""
    if isinstance(judge.space, NativeSpace):
        judge.space.close()


def draw_world(generator: random.Random, subject: Subject, contract: Contract, quantum: int = 4096) -> World:
    """Draw the world of a program: mostly tiny, sometimes large enough for several size classes."""
    by_class = contract.fit in (Fit.INSTANT, Fit.CLASS_BEST) or contract.completeness != Completeness.EXACT
    if generator.random() < (0.4 if by_class or contract.fit is Fit.BEST else 0.1):
        limit = generator.choice([96, 160, 200])
        arena = generator.choice([limit, limit, limit // 2])
    else:
        limit = generator.randint(4, 24)
        arena = generator.randint(1, 10)
    if contract.geometry.buddies:
        arena = 1 << (arena.bit_length() - 1)
    scale = scale_of(contract, quantum)
    limit, arena = limit * scale, arena * scale
    room = max(limit + generator.randint(-4, 8) * scale, 2)
    top = 2**52 - room  # so that the source ends with the address space
    base = generator.choice([0, 0, 1, 16, 2**36, top])
    if "arena_size" not in subject.accepted:
        arena = 0
        room = max(room, limit)
        base = min(base, 2**52 - room)
    slack = generator.choice([0, 0, 0, 1, 2048, 4095])
    quanta = quanta_of(subject)
    options = (("quantum", generator.choice(quanta)),) if quanta else ()
    return World(limit=limit, room=room, base=base * 4096, arena=arena, slack=slack, options=options)


def scale_of(contract: Contract, quantum: int) -> int:
    """Return by how much a world must be larger than one of pages, for what the contract says of the sizes of things."""
    beside = contract.arena_head + contract.arena_tail + contract.header + contract.guard
    return max(1, quantum // 4096, (contract.arena or 0) // (4 * 4096), beside // 4096)


class _Books(Protocol):
    @property
    def state(self) -> _State:
        """What is where."""


class _State(Protocol):
    @property
    def holes(self) -> Sequence[tuple[int, int]]:
        """Base and size of every free range; none where nobody knows them."""


class Watcher(Protocol):
    """What the player reads of whoever watches an allocator: a judge, a scout, or a guess."""

    contract: Contract
    world: World
    quantum: int
    can: frozenset[Capability]

    @property
    def live(self) -> dict[int, tuple[int, int]]:
        """Place and size of every live buffer, by its number."""

    @property
    def gone(self) -> dict[int, int]:
        """Base of every buffer that was freed, by its number."""

    @property
    def books(self) -> _Books:
        """What is where."""


class Player:
    """Draw steps that suit the live buffers."""

    def __init__(self, generator: random.Random, judge: Watcher) -> None:
        self.random = generator
        self.judge = judge
        self.next_buffer = 0
        contract, world = judge.contract, judge.world
        self.quantum = judge.quantum
        self.limit = world.limit * world.granule
        quanta = max(self.limit // self.quantum, 1)
        widest = max(2, quanta // generator.choice([2, 3, 4, 8]))
        if contract.max_size is not None or contract.largest_block is not None:
            most = min(contract.max_size or self.limit, contract.largest_block or self.limit)
            widest = min(widest, -(-most // self.quantum) + 1)
        self.sizes = [generator.randint(1, widest) for _ in range(generator.randint(1, 5))] + [1]
        if generator.random() < 0.3:
            self.sizes = [1 << generator.randrange(widest.bit_length()) for _ in range(3)] + [1]
        self.share = generator.choice([0.4, 0.5, 0.6])  # of allocs among steps
        self.odd = generator.random() < 0.3
        self.bounded = bool(contract.constraints) and Capability.XALLOC in judge.can and generator.random() < 0.5
        self.resizes = contract.resize is not Resize.NONE and generator.random() < 0.6
        self.strange = generator.random() < 0.4  # bad frees, reserve, starving
        self.order = generator.choice(["any", "any", "newest", "oldest"])

    def step(self) -> Step:
        """Draw the next step."""
        draw = self.random
        live = self.judge.live
        choice = draw.random()
        if self.strange and choice < 0.12:
            return self._strange()
        full = not self.judge.contract.limited and sum(size for _, size in live.values()) > self.limit
        if not live or (choice < self.share and not full):
            return self._alloc()
        if self.resizes and choice > 0.9:
            return Step(Action.RESIZE, draw.choice(sorted(live)), self._size())
        if choice > 0.985:
            return Step(Action.RECLAIM)
        if self.order == "any":
            return Step(Action.FREE, draw.choice(sorted(live)))
        return Step(Action.FREE, (max if self.order == "newest" else min)(live))

    def _size(self) -> int:
        size = self.random.choice(self.sizes) * self.quantum
        if self.odd:
            size -= self.random.randrange(self.quantum)
        if self.random.random() < 0.03:
            size = self.limit - self.random.randint(0, 2) * self.quantum
        return max(size, 1)

    def _alloc(self) -> Step:
        self.next_buffer += 1
        size = self._size()
        if self.bounded and self.random.random() < 0.5:
            bounds = self._bounds(size)
            if bounds:
                return Step(Action.XALLOC, self.next_buffer - 1, size, bounds=bounds)
        return Step(Action.ALLOC, self.next_buffer - 1, size)

    def _bounds(self, size: int) -> tuple[tuple[str, int], ...]:
        draw, quantum, promised = self.random, self.quantum, self.judge.contract.constraints
        base, length = self.judge.world.base, self.judge.world.room * self.judge.world.granule
        bounds: dict[str, int] = {}
        if Constraint.ALIGN in promised and draw.random() < 0.6:
            bounds["align"] = quantum << draw.choice([0, 1, 2, 3, 4, 4, 6, 8])
            if Constraint.PHASE in promised and draw.random() < 0.5:
                bounds["phase"] = draw.randrange(bounds["align"] // quantum) * quantum
            elif draw.random() < 0.1:
                bounds["align"] = max(quantum >> draw.randint(1, 3), 1)
        if Constraint.NOCROSS in promised and draw.random() < 0.5:
            rounded = size + -size % quantum
            bounds["nocross"] = quantum << ((rounded // quantum - 1).bit_length() + draw.randint(0, 2))
        if Constraint.LO in promised and draw.random() < 0.3:
            bounds["lo"] = base + draw.randrange(length // quantum) * quantum
            if draw.random() < 0.3:
                bounds["lo"] += draw.randrange(quantum)
        if Constraint.HI in promised and draw.random() < 0.3:
            lo = bounds.get("lo", base)
            bounds["hi"] = min(lo + draw.randint(1, length // quantum) * quantum - 1, _TOP)
            if draw.random() < 0.3:
                bounds["hi"] = min(bounds["hi"] + draw.randrange(quantum), _TOP)
        return tuple(bounds.items())

    def _strange(self) -> Step:
        draw, judge = self.random, self.judge
        what = draw.choice(
            [
                Action.REFREE,
                Action.FREE_INSIDE,
                Action.FREE_WILD,
                Action.RESERVE,
                Action.STARVE,
                Action.REFREE,
                Action.ALLOC,
            ]
        )
        if what is Action.ALLOC:
            self.next_buffer += 1
            return Step(
                what, self.next_buffer - 1, draw.choice([0, 0, 2**63 - 1, 2**63, 2**63 + 1, 2**64, 2**31, 2**32])
            )
        if what is Action.REFREE and judge.gone:
            return Step(what, draw.choice(sorted(judge.gone)))
        if what is Action.FREE_INSIDE and judge.live:
            buffer = draw.choice(sorted(judge.live))
            size = judge.live[buffer][1]
            return Step(what, buffer, draw.choice([1, size // 2, size - 1, min(self.quantum, size - 1)]) or 1)
        if what is Action.RESERVE:
            pages = judge.world.room * judge.world.granule // self.quantum
            self.next_buffer += 1
            holes = judge.books.state.holes
            if holes and draw.random() < 0.7:
                base, size = draw.choice(holes)
                first = draw.randrange(size // self.quantum)
                at = base + first * self.quantum
                length = draw.randint(1, size // self.quantum - first) + draw.choice([0, 0, 1])
            else:
                at, length = judge.world.base + draw.randrange(pages) * self.quantum, draw.randint(1, 4)
            return Step(what, self.next_buffer - 1, length * self.quantum, at=at)
        if what is Action.STARVE:
            return Step(what, size=draw.randint(1, 3))
        room = judge.world.room * judge.world.granule
        return Step(Action.FREE_WILD, at=judge.world.base + draw.randrange(room))


def random_program(
    subject: Subject,
    seed: int,
    *,
    steps: int = 60,
    world: World | None = None,
    nature: tuple[Contract, int] | None = None,
) -> tuple[Judge | None, Counterexample | None]:
    """Draw and run one program.

    Args:
        subject: The allocator under test.
        seed: The program depends only on the seed and on the allocator's answers.
        steps: The number of steps, after which everything is freed.
        world: The world; None draws one.
        nature: The subject's contract and quantum, where they are known already.

    Returns:
        The judge (None if the allocator could not be made), and the counterexample or None.
    """
    generator = random.Random(seed)
    judge = None
    try:
        if world is None:
            world = draw_world(generator, subject, *(nature or subject.nature))
        judge = Judge(subject, world)
        player = Player(generator, judge)
        for _ in range(steps):
            judge.do(player.step())
        judge.finish()
        _close(judge)
    except Breach as breach:
        return judge, Counterexample(CheckProgram(world or World(), tuple(judge.steps) if judge else ()), breach)
    return judge, None


def scouted_program(subject: Subject, seed: int, *, steps: int, nature: tuple[Contract, int]) -> tuple[int, bool]:
    """Draw and run the program of :func:`random_program` with the scout in place of the judge.

    Returns:
        How many steps it had, and whether the scout doubts it.
    """
    generator = random.Random(seed)
    scout = None
    try:
        world = draw_world(generator, subject, *nature)
        scout = Scout(subject, world)
        player = Player(generator, scout)
        for _ in range(steps):
            scout.do(player.step())
        scout.finish()
    except (Doubt, Breach):
        return len(scout.steps) if scout is not None else 0, True
    return len(scout.steps), False
