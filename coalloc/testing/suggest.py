"""Suggest a contract: the strongest that an allocator keeps, as far as random programs and the directed checks can tell.

The search begins with the weakest contract.  It measures what a request occupies, from the distance of two buffers.  Then it
tries the values of one field after another, the strongest first, and takes the first with which some random programs run
without a breach.  At the end the whole check runs; where it breaks a property, the field of that property is weakened.
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
from coalloc.testing.check import Ruling, capabilities
from coalloc.testing.isolate import Hung, Reporter, in_order, run_in_child
from coalloc.testing.on_targets import check_target
from coalloc.testing.programs import random_program
from coalloc.testing.properties import Breach, Property
from coalloc.testing.steps import World
from coalloc.testing.subject import MakeSpace, Subject, make

__all__ = ["Suggestion", "suggest_target"]

_WEAKEST: Final = Contract(
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
_PROGRAMS: Final = 40
"""Random programs of a trial."""
_ROUNDS: Final = 16
"""How often a field is weakened after the whole check."""

Changes = Mapping[str, Any]


@attrs.frozen
class Suggestion:
    """What was found: the contract, and the first breach of even that; empty if it is kept."""

    contract: Contract
    broken: str = ""


@attrs.frozen
class _Probe:
    """What two buffers of each size tell: size of the quantum, sizes that are granted, and the bytes that each occupies."""

    quantum: int
    occupied: Mapping[int, int]
    front: int
    can: frozenset[Capability]


def _probe(make_space: MakeSpace, report: Reporter) -> _Probe:
    """Take two buffers of each size from a new allocator, and see how far from each other they lie."""
    subject = Subject(make_space, _WEAKEST, on_world=report.world)
    quantum = subject.nature[1]
    occupied: dict[int, int] = {}
    front = 0
    for n in range(1, 33):
        world = World(limit=1024 * max(quantum // 4096, 1), room=1024 * max(quantum // 4096, 1))
        if "arena_size" in subject.accepted:
            world = attrs.evolve(world, arena=world.limit)
        report.call()
        source, space = make(make_space, world)
        try:
            one, two = space.alloc(n * quantum), space.alloc(n * quantum)
        except (MemoryError, ValueError):
            continue
        occupied[n] = abs(two - one) // quantum
        if n == 1 and source.ranges:
            front = min(one, two) - min(source.ranges)
    return _Probe(quantum, occupied, front, capabilities(subject))


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
    if beside != {0} and not powers:
        yield {"rounding": Rounding.CLASSES, "classes": tuple(size * quantum for size in classes)}
    if Capability.SIZE_OF in probe.can:
        yield {"rounding": Rounding.SHOWN}
    yield {}


def _fields(probe: _Probe) -> Iterator[tuple[Property | None, list[Changes]]]:
    """Yield the values of each field, the strongest first, with the property that tells that one is too strong."""
    yield Property.P10, [{"checks_frees": True}, {"checks_frees": False}]
    yield Property.P11, [{"limited": True}, {"limited": False}]
    yield Property.P15, [{"deterministic": True}, {"deterministic": False}]
    yield None, [{"ahead": False}, {"ahead": True}]
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
    yield Property.P7, [{"completeness": level} for level in (*levels, Completeness.BEST_EFFORT)]
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
        ways = (Resize.IN_PLACE, Resize.SLIDING, Resize.MOVING, Resize.NONE)
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
    timeout: float = 10.0,
    executor: Executor | None = None,
    on_try: Callable[[str], None] | None = None,
) -> Suggestion:
    """Look for the strongest contract that an allocator keeps.

    Args:
        target: As for :func:`~coalloc.testing.on_targets.check_target`.
        given: Where to begin, instead of the weakest contract.
        timeout: Seconds without a sign of life until a process is terminated.
        executor: Who runs the trials; None runs one after another.
        on_try: Called with each field that is tried.

    Raises:
        InvalidRequestError: If there is no such target.
    """
    say = on_try or _nothing
    weakest = given or _WEAKEST
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
        contract = first_kept(weakest, [changes])
        if contract is None:
            continue
        ranks = 0
        for _, options in fields:
            say(f"{', '.join(options[0])}")
            stronger = first_kept(contract, options)
            ranks += stronger is not None and stronger == attrs.evolve(contract, **options[0])
            contract = stronger or contract
        if ranks > score:
            best, score = contract, ranks
        if contract.completeness == Completeness.EXACT and contract.fit is not None:
            break
    if best is None:
        return Suggestion(weakest, str(_trial(target, weakest, timeout)))
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
    for _ in range(_ROUNDS):
        say("the whole check")
        report = check_target(target, contract=contract, timeout=timeout, executor=executor)
        broken = [verdict for verdict in report.verdicts if verdict.ruling is Ruling.BROKEN]
        if not broken:
            return Suggestion(contract)
        words = f"{broken[0].property.name}: {broken[0].note}"
        weaker = next((w for v in broken if (w := _weakened(contract, v.property, tells)) is not None), None)
        if weaker is None:
            break
        contract = weaker
    return Suggestion(contract, words)


def _weakened(contract: Contract, broken: Property, tells: Mapping[Property, Sequence[Changes]]) -> Contract | None:
    """Return the contract with the next weaker value of the field that a property is about; None if there is none."""
    if broken is Property.P17 and contract.work is not None:
        return attrs.evolve(contract, work={Work.CONSTANT: Work.LOG, Work.LOG: Work.LINEAR}.get(contract.work))
    if broken is Property.P21 and contract.laws is None:
        return attrs.evolve(contract, laws=frozenset())
    options = tells.get(broken, ())
    for index, changes in enumerate(options):
        if attrs.evolve(contract, **changes) == contract and index + 1 < len(options):
            return attrs.evolve(contract, **options[index + 1])
    return None


def _words(changes: Changes) -> str:
    return ", ".join(f"{name} {getattr(value, 'value', value)}" for name, value in changes.items()) or "whole quanta"


def _nothing(_text: str) -> None:
    """Tell nobody."""
