"""`differ`: run the same programs on two allocators, and find a program on which they answer differently; nobody is judged.

After each step both must have answered alike and have as many bytes mapped.  First come all small programs, the shortest
first; then programs are drawn step by step, as suits the first of the two.  They have only calls that both have.

With ``Ignore.ADDRESSES`` only what a call comes to and the bytes are compared.  With ``Ignore.ORDER`` the requests between two
other calls may have the same ranges in any order: the ranges that are live are compared, and a buffer that is freed is, in
both, the one at the same address.  With both, addresses are ignored.
"""

from __future__ import annotations

import contextlib
import enum
import random
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from coalloc.contract import Capability, Contract, Resize, capabilities_of
from coalloc.errors import InvalidRequestError
from coalloc.testing.in_c import quanta_of
from coalloc.testing.minimise import minimise
from coalloc.testing.plain import Answer, PlainRun, Status
from coalloc.testing.programs import Counterexample, Player, draw_world, scale_of
from coalloc.testing.properties import Breach, Property
from coalloc.testing.small import small_steps, small_worlds
from coalloc.testing.steps import NEEDS, Action, CheckProgram, Step, World
from coalloc.testing.subject import Subject, make

__all__ = ["Differed", "Difference", "Ignore", "Pair", "differ", "differ_on", "differ_small"]

_STEPS: Final = 60
_REQUESTS: Final = (Action.ALLOC, Action.XALLOC, Action.RESERVE, Action.STARVE)
_PLACED: Final = (Action.RESERVE, Action.REFREE, Action.FREE_WILD)
"""Steps that name an address, which may be that of another buffer where addresses differ."""
_BAD_FREES: Final = (Action.REFREE, Action.FREE_INSIDE, Action.FREE_WILD)
_FIGURES: Final = ("mapped", "live", "cached", "free", "largest_hole", "holes", "arenas", "allocs", "frees")


class Ignore(enum.Enum):
    """What may differ."""

    ADDRESSES = "addresses"
    ORDER = "order"


@attrs.frozen
class Difference:
    """A program whose last step two allocators answer differently.

    Args:
        program: The program.
        what: The step that they answer differently, or what else of them differs, and when.
        answers: What each answers, or what it is of each.
        pictures: The arenas of each after it, as the answers say.
    """

    program: CheckProgram
    what: str
    answers: tuple[str, str]
    pictures: tuple[str, str]


class _Differ(Breach):
    """Two allocators differ; a breach, so that its program can be minimised.

    Args:
        what: What of them differs, and when.
        answers: What it is of each.
        pictures: The arenas of each.
    """

    def __init__(self, what: str, answers: tuple[str, str], pictures: tuple[str, str]) -> None:
        super().__init__(Property.P15, what)
        self.what, self.answers, self.pictures = what, answers, pictures


class _BothEndedError(Exception):
    """Both allocators have ended alike, so that nothing more can be asked of them."""


@attrs.frozen
class Pair:
    """Two allocators that are compared.

    Args:
        first: One of them.
        second: The other.
        names: What they are called in messages.
        ignore: What may differ.
        figures: Whether the figures of stats() that both know are compared, too.
        before: Called with the number of an allocator (0, 1) before it makes a call.
    """

    first: Subject
    second: Subject
    names: tuple[str, str] = ("A", "B")
    ignore: frozenset[Ignore] = frozenset()
    figures: bool = False
    before: Callable[[int], None] = lambda _number: None

    @property
    def subjects(self) -> tuple[Subject, Subject]:
        """Both."""
        return self.first, self.second


@attrs.frozen
class _Common:
    """What can be asked of both allocators.

    Args:
        contract: As much as both promise of what shapes programs.
        can: What both can do.
        quanta: The quanta that both take, in bytes; empty where neither leaves it to others.
        quantum: The quantum of both where none is chosen.
        not_asked: What is not asked of them, in words.
    """

    contract: Contract
    can: frozenset[Capability]
    quanta: tuple[int, ...]
    quantum: int
    not_asked: tuple[str, ...]


_UNKNOWN: Final = Contract(fit=None, checks_frees=False)
"""Of an allocator that declares no contract."""


def _space_of(pair: Pair, number: int) -> Any:
    """Return one of the two, made in a usual world."""
    try:
        return make(pair.subjects[number].make_space, World())[1]
    except Breach as breach:
        raise InvalidRequestError("TARGET", pair.names[number], f"cannot be compared: {breach.message}") from None


def _promised(subject: Subject, space: object, name: str) -> Contract:
    """Return the contract of an allocator.

    Raises:
        InvalidRequestError: If what it declares is none.
    """
    contract = subject.contract or getattr(space, "contract", None)
    if contract is not None and not isinstance(contract, Contract):
        raise InvalidRequestError("contract", repr(contract), f"what {name} declares is no coalloc.Contract")
    return contract or _UNKNOWN


def _quanta(subject: Subject, quantum: int) -> tuple[int, ...]:
    """Return the quanta that an allocator takes."""
    return quanta_of(subject) or (quantum,)


def _common(pair: Pair) -> _Common:
    """Find out what can be asked of both.

    Raises:
        InvalidRequestError: If one of them cannot be made, or they have no quantum in common.
    """
    spaces = [_space_of(pair, number) for number in (0, 1)]
    quantum, other = (getattr(space, "quantum", World().granule) for space in spaces)
    quanta = tuple(each for each in _quanta(pair.first, quantum) if each in _quanta(pair.second, other))
    if not quanta:
        raise InvalidRequestError(
            "TARGET", pair.names[1], f"its quantum is {other} bytes, and that of {pair.names[0]} is {quantum}"
        )
    one, two = (
        _promised(subject, space, name) for subject, space, name in zip(pair.subjects, spaces, pair.names, strict=True)
    )
    contract = attrs.evolve(
        max(one, two, key=lambda promised: scale_of(promised, quantum)),
        constraints=one.constraints & two.constraints,
        resize=one.resize if two.resize is not Resize.NONE else Resize.NONE,
        limited=one.limited and two.limited,
        checks_frees=one.checks_frees and two.checks_frees,
        max_size=min((most for most in (one.max_size, two.max_size) if most is not None), default=None),
    )
    can, also = (capabilities_of(space) for space in spaces)
    not_asked = [
        f"{needed.value} ({pair.names[needed in can]} has none)"
        for needed in NEEDS.values()
        if (needed in can) is not (needed in also)
    ]
    both = can & also
    if Capability.XALLOC in both and not contract.constraints:
        not_asked.append("xalloc (they declare no constraint that both keep)")
    if Capability.RESIZE in both and contract.resize is Resize.NONE:
        not_asked.append("resize (they do not both declare how they resize)")
    if not contract.checks_frees:
        not_asked.append(f"bad frees ({pair.names[one.checks_frees]} does not declare that it notices them)")
    if pair.figures and not _known(spaces[0]) & _known(spaces[1]):
        not_asked.append("figures (there is none that both tell)")
    chosen = quanta if any(quanta_of(subject) for subject in pair.subjects) else ()
    return _Common(contract, can & also, chosen, quanta[0], tuple(not_asked))


class _Both:
    """Two runs of one program, step by step; what the player of programs reads of it is the first of them.

    Raises:
        _Differ: If only one can be made, or they do not have as many bytes mapped.
        _BothEndedError: If none can be made.
    """

    def __init__(self, pair: Pair, world: World, common: _Common) -> None:
        self.contract, self.can, self.world = common.contract, common.can, world
        self._pair = pair
        self._matches = pair.ignore == {Ignore.ORDER}
        self.runs: list[PlainRun] = []
        if common.quanta and "quantum" not in dict(world.options):
            world = attrs.evolve(world, options=(*world.options, ("quantum", common.quanta[0])))
        ends = []
        for subject in pair.subjects:
            try:
                self.runs.append(PlainRun(subject, _world_of(subject, world)))
                ends.append("made")
            except Breach as breach:
                ends.append(breach.message)
        if not self.runs:
            raise _BothEndedError
        if len(self.runs) < len(ends):
            raise self._differ("when they are made", ends[0], ends[1])
        self.quantum = self.runs[0].quantum
        self._compare_mapped("when they are made")

    @property
    def live(self) -> dict[int, tuple[int, int]]:
        """Place and size of every live buffer."""
        return self.runs[0].live

    @property
    def gone(self) -> dict[int, int]:
        """Base of every buffer that was freed."""
        return self.runs[0].gone

    @property
    def books(self) -> _Both:
        """Itself."""
        return self

    state = books

    @property
    def holes(self) -> list[tuple[int, int]]:
        """Base and size of every free range."""
        return self.runs[0].holes

    def asks(self, step: Step) -> bool:
        """Tell whether a step is asked of both."""
        action, ignore = step.action, self._pair.ignore
        if NEEDS.get(action, Capability.SIZE_OF) not in {*self.can, Capability.SIZE_OF}:
            return False
        if action in _BAD_FREES and not self.contract.checks_frees:
            return False
        if ignore and (action is Action.FREE_IN_MAP or (Ignore.ADDRESSES in ignore and action in _PLACED)):
            return False
        return step.size < 2**64

    def do(self, step: Step) -> None:
        """Make the calls of a step, and compare the answers.

        Raises:
            _Differ: If they differ.
            _BothEndedError: If both have ended by this step.
        """
        if self._matches and step.action not in _REQUESTS:
            self._match(step)
        if step.action is Action.FINISH:
            self._finish()
            return
        one, two = (self._asked(number, lambda run: run.do(step)) for number in (0, 1))
        self._compare(step, one, two)
        if not self._matches:
            self._compare_mapped(f"after {step}")
        if self._pair.figures:
            self._compare_figures(step)

    def _finish(self) -> None:
        """Free everything, reclaim, and close."""
        for buffer in sorted(self.live):
            self.do(Step(Action.FREE, buffer))
        if Capability.RECLAIM in self.can:
            self.do(Step(Action.RECLAIM))
        self._compare_mapped("when everything is freed")
        one, two = (self._asked(number, _closed) for number in (0, 1))
        self._compare(Step(Action.FINISH), one, two)

    def close(self) -> None:
        """Close both, whatever comes of it."""
        for run in self.runs:
            with contextlib.suppress(Breach):
                run.close()

    def _asked(self, number: int, call: Callable[[PlainRun], Answer | None]) -> Answer | None:
        """Return the answer of one of them."""
        self._pair.before(number)
        try:
            return call(self.runs[number])
        except Breach as breach:
            return Answer(Status.ENDED, error=breach.message)

    def _compare(self, step: Step, one: Answer | None, two: Answer | None) -> None:
        if _key(one, self._pair.ignore) != _key(two, self._pair.ignore):
            raise self._differ(str(step), _words(one), _words(two))
        if one is not None and one.status is Status.ENDED:
            raise _BothEndedError

    def _match(self, step: Step) -> None:
        """Require equal live ranges, and give the buffer of a step the same place in both."""
        self._compare_mapped(f"before {step}")
        one, two = self.runs
        if sorted(one.live.values()) != sorted(two.live.values()):
            ranges = [", ".join(f"{base:#x}+{size}" for base, size in sorted(run.live.values())) for run in (one, two)]
            raise self._differ(f"live before {step}", ranges[0], ranges[1])
        if step.buffer in one.live and two.live[step.buffer] != one.live[step.buffer]:
            other = next(buffer for buffer, place in two.live.items() if place == one.live[step.buffer])
            two.live[other], two.live[step.buffer] = two.live[step.buffer], two.live[other]

    def _compare_mapped(self, when: str) -> None:
        one, two = (run.source.mapped for run in self.runs)
        if one != two:
            raise self._differ(f"mapped {when}", f"{one:,} bytes", f"{two:,} bytes")

    def _compare_figures(self, step: Step) -> None:
        told, ends = [], []
        for number, run in enumerate(self.runs):
            self._pair.before(number)
            try:
                told.append(_figures(run.space))
                ends.append("it returns")
            except Breach as breach:
                ends.append(breach.message)
        if not told:
            raise _BothEndedError
        if len(told) < len(ends):
            raise self._differ(f"stats() after {step}", ends[0], ends[1])
        one, two = told
        for name in _FIGURES:
            if name in one and name in two and one[name] != two[name]:
                raise self._differ(f"stats().{name} after {step}", f"{one[name]:,}", f"{two[name]:,}")

    def _differ(self, what: str, one: str, two: str) -> _Differ:
        return _Differ(
            what, (one, two), ("", "") if len(self.runs) < 2 else (self.runs[0].picture(), self.runs[1].picture())
        )


def _closed(run: PlainRun) -> Answer:
    """Close an allocator in C; to any other nothing is done."""
    run.close()
    return Answer(Status.DONE)


def _figures(space: Any) -> dict[str, int]:
    """Return the figures that an allocator tells; none where it has no stats() or raises.

    Raises:
        Breach: If its process ends.
    """
    try:
        stats = space.stats()
    except Breach:
        raise
    except Exception:
        return {}
    unknown = getattr(stats, "unknown", ())
    named = {name: getattr(stats, name, None) for name in _FIGURES}
    return {name: value for name, value in named.items() if type(value) is int and name not in unknown}


def _key(answer: Answer | None, ignore: frozenset[Ignore]) -> object:
    """Return what of an answer is compared."""
    if answer is not None and ignore and answer.status is Status.GRANTED:
        return Status.GRANTED
    return answer


def _words(answer: Answer | None) -> str:
    return "nothing is called" if answer is None else str(answer)


def _known(space: Any) -> set[str]:
    """Return the names of the figures that an allocator tells."""
    try:
        return {*_figures(space)}
    except Breach:
        return set()


def _world_of(subject: Subject, world: World) -> World:
    """Return the world of one of two: without the options that it does not take."""
    return attrs.evolve(world, options=tuple(pair for pair in world.options if pair[0] in subject.accepted))


def _differs(pair: Pair, program: CheckProgram, common: _Common) -> _Differ | None:
    """Run a program on both, and return how they differ at its end, or before."""
    try:
        both = _Both(pair, program.world, common)
        with contextlib.closing(both):
            for step in program.steps:
                if both.asks(step):
                    both.do(step)
    except _Differ as difference:
        return difference
    except _BothEndedError:
        pass
    return None


def _shortest(pair: Pair, program: CheckProgram, common: _Common, found: _Differ) -> Difference:
    least = minimise(None, Counterexample(program, found), run=lambda candidate: _differs(pair, candidate, common))
    breach = least.breach
    assert isinstance(breach, _Differ)
    return Difference(least.program, breach.what, breach.answers, breach.pictures)


@attrs.frozen
class Differed:
    """The result of a run of programs on two allocators.

    Args:
        programs: How many programs were run.
        operations: How many steps they had.
        difference: The shortest program on which they differ; None if they answered alike.
        not_asked: What was not asked of them, since one of them cannot do it, in words.
        ended: In how many programs both have ended alike, so that the rest was not run.
        interrupted: Whether it was interrupted.
        stopped: Why not all programs were run, in words.
    """

    programs: int
    operations: int
    difference: Difference | None = None
    not_asked: tuple[str, ...] = ()
    ended: int = 0
    interrupted: bool = False
    stopped: str = ""

    def joined(self, later: Differed) -> Differed:
        """Return the result of these programs and of later ones."""
        return Differed(
            self.programs + later.programs,
            self.operations + later.operations,
            self.difference or later.difference,
            later.not_asked or self.not_asked,
            self.ended + later.ended,
            self.interrupted or later.interrupted,
            self.stopped or later.stopped,
        )


def differ(pair: Pair, *, seed: int = 0, programs: Iterable[int] = range(400)) -> Differed:
    """Run random programs on two allocators until they differ, and make the program as short as it can be.

    Args:
        pair: The two.
        seed: The programs depend on it and on the answers of the first.
        programs: The numbers of the programs.

    Raises:
        InvalidRequestError: If one of them cannot be made, or they have no quantum in common.
    """
    common = _common(pair)
    done = operations = ended = 0
    for number in programs:
        generator = random.Random(f"{seed}/{number}")
        world = _drawn_world(generator, pair, common)
        steps: list[Step] = []
        found = None
        try:
            both = _Both(pair, world, common)
            with contextlib.closing(both):
                player = Player(generator, both)
                for _ in range(_STEPS):
                    step = _largest(player.step(), generator)
                    if both.asks(step):
                        steps.append(step)
                        both.do(step)
                steps.append(Step(Action.FINISH))
                both.do(steps[-1])
        except _Differ as difference:
            found = difference
        except _BothEndedError:
            ended += 1
        done += 1
        operations += len(steps)
        if found is not None:
            shortest = _shortest(pair, CheckProgram(world, tuple(steps)), common, found)
            return Differed(done, operations, shortest, common.not_asked, ended)
    return Differed(done, operations, None, common.not_asked, ended)


_TOP: Final = 2**64


def _largest(step: Step, generator: random.Random) -> Step:
    """Return a step; one with a size that no request may have gets, as often as not, one of the largest that there are."""
    if step.size <= 1 << 63 or generator.random() < 0.5:
        return step
    return step._replace(size=_TOP - generator.choice((1, 2, 4095, 4096)))


def differ_small(pair: Pair) -> Differed:
    """Run the small programs on two allocators until they differ: all of up to three steps in tiny worlds, the shortest first.

    Args:
        pair: The two.

    Raises:
        InvalidRequestError: As :func:`differ`.

    Complexity:
        Some hundred programs; where the same is live in the same worlds, the search goes on once.
    """
    common = _common(pair)
    first = attrs.evolve(pair.subjects[_narrower(pair)], contract=common.contract)
    worlds = [attrs.evolve(world, options=_options(common, 0)) for world in small_worlds(first)]
    level = [CheckProgram(world, ()) for world in worlds]
    seen: set[object] = set()
    done = operations = ended = 0
    for n in range(_DEPTH + 1):
        following: list[CheckProgram] = []
        for program in level:
            done += 1
            operations += n
            try:
                both = _Both(pair, program.world, common)
                with contextlib.closing(both):
                    for step in program.steps:
                        both.do(step)
                    steps = [step for step in small_steps(both, program.steps) if both.asks(step)]
                    state = program.world, *map(_state, both.runs), n == _DEPTH
                    both.do(Step(Action.FINISH))
            except _Differ as difference:
                whole = attrs.evolve(program, steps=(*program.steps, Step(Action.FINISH)))
                return Differed(done, operations, _shortest(pair, whole, common, difference), common.not_asked, ended)
            except _BothEndedError:
                ended += 1
                continue
            if n < _DEPTH and state not in seen:
                seen.add(state)
                following += [attrs.evolve(program, steps=(*program.steps, step)) for step in steps]
        level = following
    return Differed(done, operations, None, common.not_asked, ended)


_DEPTH: Final = 3
"""The most steps of a small program."""


def _state(run: PlainRun) -> object:
    """Return what is known of an allocator."""
    return tuple(sorted(run.live.values())), tuple(sorted(run.gone.values())), tuple(sorted(run.source.ranges.items()))


def _narrower(pair: Pair) -> int:
    """Return the number of the first allocator that takes no size of arenas; 0 if both take one."""
    return next((n for n in (0, 1) if "arena_size" not in pair.subjects[n].accepted), 0)


def _options(common: _Common, number: int) -> tuple[tuple[str, int], ...]:
    """Return the options of a world: one of the quanta that both take, where they take several."""
    return (("quantum", common.quanta[number]),) if common.quanta else ()


def _drawn_world(generator: random.Random, pair: Pair, common: _Common) -> World:
    """Draw a world; the arenas have a size in it only if both take one."""
    world = draw_world(generator, pair.subjects[_narrower(pair)], common.contract, common.quantum)
    return attrs.evolve(world, options=_options(common, generator.randrange(len(common.quanta) or 1)))


def differ_on(pair: Pair, program: CheckProgram) -> Differed:
    """Run one program on two allocators, as it is.

    Raises:
        InvalidRequestError: As :func:`differ`.
    """
    common = _common(pair)
    found = _differs(pair, program, common)
    difference = None if found is None else Difference(program, found.what, found.answers, found.pictures)
    return Differed(1, len(program.steps), difference, common.not_asked)
