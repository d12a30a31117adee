"""Suggest a contract: the strongest that an allocator keeps, as far as random programs and the directed checks can tell.

The search begins with the weakest contract.  It measures what a request occupies, from the distance of two buffers.  It looks
for what the allocator cannot do: serve more than a largest request, find a hole without rounding up, hand out the head of an
arena.  Then it tries the values of one field after another, the strongest first, and takes the first with which some random
programs run without a breach.  At the end the whole check runs; where it breaks a property, the field of that property is
weakened, until none of the programs that were found breaks it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Final

import attrs

from coalloc.contract import (
    ANY_RELEASE,
    EAGER,
    NEVER,
    RETAIN,
    Capability,
    Coalescing,
    Completeness,
    Constraint,
    Contract,
    End,
    Fit,
    Geometry,
    Resize,
    Rounding,
    Spans,
    Tie,
    Work,
)
from coalloc.testing.check import Ruling
from coalloc.testing.isolate import Hung, Reporter, in_order, run_in_child
from coalloc.testing.on_targets import check_target, replay_target
from coalloc.testing.programs import random_program
from coalloc.testing.properties import Breach, Property
from coalloc.testing.steps import CheckProgram, World
from coalloc.testing.subject import MakeSpace, Subject, capabilities, make

__all__ = ["WEAKEST", "Suggestion", "suggest_target"]

WEAKEST: Final = Contract(
    fit=None,
    completeness=Completeness.BEST_EFFORT,
    coalescing=Coalescing.BY_ARENA,
    release=ANY_RELEASE,
    exact_stats=False,
    checks_frees=False,
    limited=False,
    deterministic=False,
    reclaims=False,
    retries=False,
    ahead=True,
)
"""Where the search begins."""
_PROGRAMS: Final = 40
"""Random programs of a trial."""
_ROUNDS: Final = 16
"""How often a field is weakened after the whole check."""
_ROOM: Final = 1 << 16
"""Pages of the world in which the largest request is looked for; a quarter of it is asked for."""

Changes = Mapping[str, Any]


@attrs.frozen
class Suggestion:
    """What was found: the contract, and the first breach of even that; empty if it is kept."""

    contract: Contract
    broken: str = ""


@attrs.frozen
class _Probe:
    """What a few buffers tell.

    Args:
        quantum: Bytes of a quantum.
        occupied: The quanta from one buffer to the next, by the quanta that were asked for.
        front: Bytes in front of the first buffer of an arena.
        arena: Bytes of the arena that was mapped for a buffer of one quantum; 0 if it is told how large arenas are; None if
            arenas are static.
        most: Bytes of the largest request that was served; None if none was too large.
        can: What it can do.
    """

    quantum: int
    occupied: Mapping[int, int]
    front: int
    arena: int | None
    most: int | None
    can: frozenset[Capability]


def _probe(make_space: MakeSpace, report: Reporter) -> _Probe:
    """Take two buffers of each size from a new allocator, and see how far from each other they lie."""
    subject = Subject(make_space, WEAKEST, on_world=report.world)
    quantum = subject.nature[1]
    occupied: dict[int, int] = {}
    front, arena = 0, None
    for n in range(1, 33):
        world = World(limit=1024 * max(quantum // 4096, 1), room=1024 * max(quantum // 4096, 1))
        if "arena_size" in subject.accepted:
            world = attrs.evolve(world, arena=world.limit)
        report.call()
        source, space = make(make_space, world)
        static = bool(source.ranges)
        try:
            one, two = space.alloc(n * quantum), space.alloc(n * quantum)
        except (MemoryError, ValueError):
            continue
        occupied[n] = abs(two - one) // quantum
        if n == 1 and source.ranges:
            front = min(one, two) - min(source.ranges)
        if n == 1 and not static:
            arena = 0 if world.arena else min(source.ranges.values(), default=None)
    return _Probe(quantum, occupied, front, arena, _largest(subject, quantum, report), capabilities(subject))


def _largest(subject: Subject, quantum: int, report: Reporter) -> int | None:
    """Return the bytes of the largest request that a new allocator serves; None if it serves all that are tried."""
    room = _ROOM * max(quantum // 4096, 1)
    world = World(limit=room, room=room, arena=room if "arena_size" in subject.accepted else 0)

    def serves(n: int) -> bool:
        report.call()
        try:
            make(subject.make_space, world)[1].alloc(n * quantum)
        except (MemoryError, ValueError):
            return False
        return True

    good, bad = 0, 1
    while bad <= world.kva_limit // quantum // 4 and serves(bad):
        good, bad = bad, 2 * bad
    if bad > world.kva_limit // quantum // 4:
        return None
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if serves(middle) else (good, middle)
    return good * quantum


def _footprints(probe: _Probe) -> Iterator[Changes]:
    """Yield what a request may occupy, the most likely first."""
    beside = {occupied - n for n, occupied in probe.occupied.items()}
    quantum = probe.quantum
    if beside == {0} or not beside:
        yield {}
    elif len(beside) == 1:
        extra = beside.pop() * quantum
        yield {"guard": extra}
        yield {"header": extra}
    powers = all(occupied == 1 << (n - 1).bit_length() for n, occupied in probe.occupied.items())
    if powers:
        yield {"geometry": Geometry.BUDDY}
        yield {"geometry": Geometry.BUDDY_ABSOLUTE}
        yield {"rounding": Rounding.POWER}
    classes = sorted({occupied for n, occupied in probe.occupied.items() if occupied >= n})
    if classes and beside != {0} and not powers:
        few = next(few for n in range(len(classes)) if _doubled(few := classes[: n + 1], classes[-1]) == classes)
        goes_on = {"doubling": True} if len(few) < len(classes) else {}
        yield {"rounding": Rounding.CLASSES, "classes": tuple(size * quantum for size in few), **goes_on}
    if Capability.SIZE_OF in probe.can:
        yield {"rounding": Rounding.SHOWN}
    yield {}


def _doubled(classes: list[int], most: int) -> list[int]:
    """Return the classes and those of their doublings that are at most the largest one that was seen."""
    found, half = list(classes), classes
    while half:
        half = [2 * size for size in half if found[-1] < 2 * size <= most]
        found += half
    return found


def _natures(probe: _Probe) -> Iterator[Changes]:
    """Yield what the allocator may be unable to do, the least first."""
    most = {} if not probe.most else {"max_size": probe.most}
    yield most
    yield {**most, "completeness": Completeness.TLSF(1)}
    if probe.arena is not None:
        yield {**most, "arena": probe.arena}
        yield {**most, "spans": Spans.JOINED, "coalescing": Coalescing.IMMEDIATE}
    if probe.front:
        yield {**most, "arena_head": probe.front}


def _fields(probe: _Probe) -> Iterator[tuple[Property | None, list[Changes]]]:
    """Yield the values of each field, the strongest first, with the property that tells that one is too strong."""
    yield Property.P10, [{"checks_frees": True}, {"checks_frees": False}]
    yield Property.P11, [{"limited": True}, {"limited": False}]
    yield Property.P15, [{"deterministic": True}, {"deterministic": False}]
    yield (
        Property.P5,
        [{"coalescing": value} for value in (Coalescing.IMMEDIATE, Coalescing.DEFERRED)]
        + [
            {"coalescing": Coalescing.IMMEDIATE, "spans": Spans.JOINED},
            {"coalescing": Coalescing.BY_ARENA},
        ],
    )
    yield Property.P12, [{"release": rule} for rule in (EAGER, RETAIN(1), RETAIN(2), RETAIN(4), NEVER, ANY_RELEASE)]
    levels = [Completeness.EXACT, Completeness.CLASS, *(Completeness.TLSF(1 << n) for n in (5, 4, 3, 2, 1, 0))]
    later = [
        {"completeness": Completeness.EXACT, "coalescing": when} for when in (Coalescing.DEFERRED, Coalescing.BY_ARENA)
    ]
    yield (
        Property.P7,
        [*({"completeness": level} for level in levels), *later, {"completeness": Completeness.BEST_EFFORT}],
    )
    yield None, [{"retries": True}, {"retries": False}]
    yield Property.P13, [{"reclaims": True}, {"reclaims": False}]
    fits: list[Changes] = [
        {"fit": fit, "tie": tie, "end": end}
        for fit, ties in (
            (Fit.FIRST, (None,)),
            (Fit.LAST, (None,)),
            (Fit.BEST, (Tie.LOWEST, Tie.HIGHEST, Tie.NEWEST, None)),
            (Fit.WORST, (Tie.LOWEST, Tie.HIGHEST, Tie.NEWEST, None)),
            (Fit.NEXT, (None,)),
            (Fit.INSTANT, (None,)),
            (Fit.CLASS_BEST, (None,)),
        )
        for tie in ties
        for end in End
    ]
    yield Property.P8, [*fits, {"fit": None}]
    yield None, [{"ahead": False}, {"ahead": True}]  # without a fit nothing tells whether an arena was needed
    if Capability.XALLOC in probe.can:
        chosen: frozenset[Constraint] = frozenset(Constraint)
        yield (
            Property.P3,
            [
                {"constraints": chosen},
                {"constraints": chosen - {Constraint.NOCROSS}},
                {"constraints": frozenset({Constraint.ALIGN, Constraint.LO, Constraint.HI})},
                {"constraints": frozenset({Constraint.ALIGN, Constraint.PHASE})},
                *({"constraints": frozenset({one})} for one in Constraint),
                {"constraints": frozenset()},
            ],
        )
    if Capability.RESIZE in probe.can:
        ways = (Resize.IN_PLACE, Resize.SLIDING, Resize.MOVING, Resize.IN_PLACE_ONLY, Resize.NONE)
        yield Property.P18, [{"resize": way} for way in ways]
    yield Property.P16, [{"exact_stats": True}, {"exact_stats": False}]


def _try(make_space: MakeSpace, report: Reporter, *, contract: Contract) -> Breach | None:
    """Run some random programs under a contract, and return the first breach."""
    subject = Subject(make_space, contract, on_world=report.world)
    for seed in range(_PROGRAMS):
        _, found = random_program(subject, 5_000_000 + seed, steps=60)
        if found is not None:
            return found.breach
    return None


def _trial(target: str, contract: Contract, timeout: float) -> Breach | None:
    result = run_in_child(_try, target, {"contract": contract}, timeout=timeout)
    return result.breach if isinstance(result, Hung) else result


def suggest_target(
    target: str,
    *,
    given: Contract | None = None,
    confirm: bool = True,
    timeout: float = 10.0,
    executor: Executor | None = None,
    on_try: Callable[[str], None] | None = None,
) -> Suggestion:
    """Look for the strongest contract that an allocator keeps.

    Args:
        target: As for :func:`~coalloc.testing.on_targets.check_target`.
        given: Where to begin, instead of the weakest contract.
        confirm: Whether the growth is measured and the whole check runs at the end; it takes most of the time.
        timeout: Seconds without a sign of life until a process is terminated.
        executor: Who runs the trials; None runs one after another.
        on_try: Called with each field that is tried.

    Raises:
        InvalidRequestError: If there is no such target.
    """
    say = on_try or _nothing
    weakest = given or WEAKEST
    probe = run_in_child(_probe, target, {}, timeout=timeout)
    if isinstance(probe, Hung):
        return Suggestion(weakest, probe.breach.message)
    fields = list(_fields(probe))

    def first_kept(contract: Contract, options: Sequence[Changes]) -> Contract | None:
        candidates = [attrs.evolve(contract, **changes) for changes in options]
        trials = in_order(executor, _trial, ((target, candidate, timeout) for candidate in candidates))
        return next((one for one, breach in zip(candidates, trials, strict=True) if breach is None), None)

    best, score = None, -1
    for changes in {repr(item): item for item in _footprints(probe)}.values():
        say(f"a request occupies {_words(changes)}")
        contract = first_kept(weakest, [{**changes, **nature} for nature in _natures(probe)])
        if contract is None:
            continue
        ranks = 0
        for _, options in fields:
            say(f"{', '.join(options[0])}")
            stronger = first_kept(contract, options)
            ranks += stronger is not None and stronger == attrs.evolve(contract, **options[0])
            contract = stronger or contract
        if ranks > score or (ranks == score and not changes):  # of equals the plainest
            best, score = contract, ranks
        if contract.completeness == Completeness.EXACT and contract.fit is not None:
            break
    if best is None:
        return Suggestion(weakest, str(_trial(target, weakest, timeout)))
    if not confirm:
        return Suggestion(best)
    best = next((one for one in _with_work(best) if _keeps_work(target, one, timeout)), best)
    return _confirmed(target, best, fields, timeout, executor, say)


def _with_work(contract: Contract) -> Iterator[Contract]:
    return (attrs.evolve(contract, work=work) for work in (Work.CONSTANT, Work.LOG, Work.LINEAR))


def _keeps_work(target: str, contract: Contract, timeout: float) -> bool:
    result = run_in_child(_growth, target, {"contract": contract}, timeout=timeout)
    return result is True


def _growth(make_space: MakeSpace, report: Reporter, *, contract: Contract) -> bool:
    """Run the directed check of the declared growth."""
    from coalloc.testing.check import breach_in
    from coalloc.testing.checks import NotPromised
    from coalloc.testing.directed import CHECKS

    subject = Subject(make_space, contract, on_world=report.world, on_call=report.call)
    check = next(check for check in CHECKS if check.name == "growth")
    try:
        return breach_in(check, subject) is None
    except NotPromised:
        return False


def _confirmed(
    target: str,
    contract: Contract,
    fields: Sequence[tuple[Property | None, list[Changes]]],
    timeout: float,
    executor: Executor | None,
    say: Callable[[str], None],
) -> Suggestion:
    """Run the whole check, and weaken the field of a property that is broken, until none is."""
    tells = {item: options for item, options in fields if item is not None}
    words = ""
    programs: list[CheckProgram] = []

    def breaks(weaker: Contract) -> bool:
        return any(replay_target(target, one, contract=weaker, timeout=timeout) is not None for one in programs)

    for _ in range(_ROUNDS):
        say("the whole check")
        report = check_target(target, contract=contract, timeout=timeout, executor=executor)
        broken = [verdict for verdict in report.verdicts if verdict.ruling is Ruling.BROKEN]
        if not broken:
            return Suggestion(contract)
        words = f"{broken[0].property.name}: {broken[0].note}"
        programs += [verdict.found.program for verdict in broken if verdict.found is not None]
        weaker = next((all_of for v in broken if (all_of := list(_weakened(contract, v.property, tells)))), None)
        if weaker is None:
            break
        contract = next((one for one in weaker[:-1] if not breaks(one)), weaker[-1])
    return Suggestion(contract, words)


def _weakened(contract: Contract, broken: Property, tells: Mapping[Property, Sequence[Changes]]) -> Iterator[Contract]:
    """Yield the contract with each weaker value of the field that a property is about, the next weaker one first."""
    if broken is Property.P17 and contract.work is not None:
        yield attrs.evolve(contract, work={Work.CONSTANT: Work.LOG, Work.LOG: Work.LINEAR}.get(contract.work))
    if broken is Property.P21 and contract.laws is None:
        yield attrs.evolve(contract, laws=frozenset())
    options = tells.get(broken, ())
    at = next((n for n, changes in enumerate(options) if attrs.evolve(contract, **changes) == contract), len(options))
    for changes in options[at + 1 :]:
        yield attrs.evolve(contract, **changes)


def _words(changes: Changes) -> str:
    return ", ".join(f"{name} {getattr(value, 'value', value)}" for name, value in changes.items()) or "whole quanta"


def _nothing(_text: str) -> None:
    """Tell nobody."""
