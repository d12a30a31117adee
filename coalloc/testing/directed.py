"""Directed checks, for what random programs do not find or cannot state.

They check extreme sizes and addresses, determinism, growth, laws, closed forms and failures.  Each check takes a subject,
makes allocators, and raises :class:`~coalloc.testing.properties.Breach` if a property is broken, or ``NotPromised`` with the
reason if the check does not apply.
"""

from __future__ import annotations

import contextlib
import functools
import random
from collections.abc import Iterable
from typing import Any, Final

import attrs

from coalloc import spec
from coalloc.contract import (
    Capability,
    Coalescing,
    Constraint,
    Contract,
    End,
    Fit,
    Geometry,
    Law,
    Resize,
    Rounding,
    Work,
    capabilities_of,
)
from coalloc.metrics import growth_exponent
from coalloc.testing.checks import Again, Check, CheckFailed, NotPromised
from coalloc.testing.judge import Judge
from coalloc.testing.judge.figures import shown_segments
from coalloc.testing.lines import count_lines
from coalloc.testing.programs import random_program, run_program, scale_of
from coalloc.testing.properties import Breach, Property
from coalloc.testing.steps import Action, CheckProgram, Step, World
from coalloc.testing.subject import Subject, make
from coalloc.testing.worlds import WORLDS, beside_another
from coalloc.workload.generators import play_robson

__all__ = ["CHECKS", "run_thoroughly"]


def _judged(subject: Subject, program: CheckProgram) -> None:
    """Run a program beside the oracle."""
    breach = run_program(subject, program)
    if breach is not None:
        raise CheckFailed(breach, program)


def _play(judge: Judge, steps: Iterable[Step]) -> None:
    """Do steps, and raise a breach together with the program so far."""
    try:
        for step in steps:
            judge.do(step)
    except Breach as breach:
        raise CheckFailed(breach, CheckProgram(judge.world, tuple(judge.steps))) from None


def _scaled(subject: Subject, world: World) -> World:
    """Return a world that is so much larger as the contract's sizes need."""
    scale = scale_of(*subject.nature)
    return attrs.evolve(world, limit=scale * world.limit, room=scale * world.room, arena=scale * world.arena)


def _roomy(subject: Subject, quanta: int, *, base: int = 0, granule: int = 4096) -> World:
    """Return a world whose one arena holds so many granules."""
    arena = quanta if "arena_size" in subject.accepted else 0
    return World(limit=quanta, room=quanta, base=base, arena=arena, granule=granule)


# --- P14: the ends -----------------------------------------------------------------------------------------


def _refuses_nonsense(subject: Subject) -> None:
    """Values that are not valid sizes or addresses are refused with a ValueError or TypeError, and change nothing."""
    contract = subject.declared
    judge = Judge(subject, World())
    quantum = judge.quantum
    _play(judge, (Step(Action.ALLOC, 0, quantum), Step(Action.ALLOC, 1, quantum), Step(Action.FREE, 0)))
    if 1 not in judge.live:
        raise NotPromised("it serves no two quanta in a small world")
    base, dead = judge.books.address(1), judge.gone[0]

    def refuses(call: str, *arguments: object, **named: object) -> None:
        given = [*(repr(value) for value in arguments), *(f"{name}={value!r}" for name, value in named.items())]
        words = f"{call}({', '.join(given)})"
        try:
            getattr(judge.space, call)(*arguments, **named)
        except Breach:
            raise
        except (ValueError, TypeError, OverflowError, LookupError):
            judge.inspect()
            return
        except Exception as error:
            raise Breach(Property.P14, f"{words} raised {type(error).__name__}: {error}") from error
        raise Breach(Property.P14, f"{words} was accepted, and means nothing")

    for value in (None, 1.5, "4096", -1):
        refuses("alloc", value)
    for named, needed in _UNLAWFUL:
        if needed <= contract.constraints:
            refuses("xalloc", 2 * quantum, **{name: value * quantum for name, value in named.items()})
    if Constraint.ALIGN in contract.constraints:
        refuses("xalloc", quantum, align=3 * quantum)
    if contract.resize is not Resize.NONE:
        refuses("resize", base, 0)
        refuses("resize", base, 2**63 + 1)
    if contract.checks_frees:
        for value in (None, 1.5, "0", -1):
            refuses("free", value)
        if contract.resize is not Resize.NONE:
            refuses("resize", dead, quantum)
        if Capability.SIZE_OF in judge.can:
            refuses("size_of", base + quantum // 2 if quantum > 1 else base + 1)


_UNLAWFUL: Final = (
    ({"align": 2, "phase": 2}, {Constraint.ALIGN, Constraint.PHASE}),
    ({"nocross": 1}, {Constraint.NOCROSS}),
    ({"lo": 4, "hi": 2}, {Constraint.LO, Constraint.HI}),
)
"""Contradicting constraints for a request of two quanta, in quanta, and what a space must declare to be asked for them."""


def _deals_with_the_ends(subject: Subject) -> None:
    """The least and the greatest sizes are handled, and arenas at the bottom and the top of the address space."""
    for base in (0, 2**32 - 4 * 4096, 2**64 - 8 * 4096):
        for arena in (8, 4, 1):
            world = World(limit=8, room=8, base=base, arena=arena)
            sizes = (0, 1, 4095, 4096, 4097, 2**31, 2**32, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1)
            steps = [Step(Action.ALLOC, number, size) for number, size in enumerate(sizes)]
            steps += [Step(Action.ALLOC, 20 + number, 4096) for number in range(8)]
            steps += [Step(Action.FREE, 20 + number) for number in (0, 2, 1, 7, 6, 3)]
            steps += [Step(Action.ALLOC, 40, 3 * 4096), Step(Action.ALLOC, 41, 2 * 4096), Step(Action.FINISH)]
            _judged(subject, CheckProgram(world, tuple(steps)))


def _deals_with_powers_of_two(subject: Subject) -> None:
    """Sizes of 2**k, and one more and one less, can be allocated in either order and freed from both ends."""
    world = _roomy(subject, 160)
    sizes = [size for k in range(1, 6) for size in (2**k - 1, 2**k, 2**k + 1)]
    for order in (sizes, sizes[::-1]):
        steps = [Step(Action.ALLOC, number, size * 4096) for number, size in enumerate(order)]
        steps += [Step(Action.FREE, number) for number in range(0, len(order), 2)]
        steps += [Step(Action.ALLOC, 100 + number, size * 4096) for number, size in enumerate(order)]
        _judged(subject, CheckProgram(world, (*steps, Step(Action.FINISH))))


def _climbs_the_ladder(subject: Subject) -> None:
    """Each buffer can be replaced by one of twice its size, as when a pipe's buffer grows."""
    world = _roomy(subject, 128)
    steps = [Step(Action.ALLOC, 0, 4096)]
    for k in range(1, 6):
        steps += [Step(Action.ALLOC, k, 4096 << k), Step(Action.FREE, k - 1)]
    _judged(subject, CheckProgram(world, (*steps, Step(Action.FINISH))))


def _survives_the_comb(subject: Subject) -> None:
    """When every other buffer is freed, only single quanta fit until the remaining buffers are freed as well."""
    teeth = 32
    world = _roomy(subject, teeth)
    steps = [Step(Action.ALLOC, number, 4096) for number in range(teeth)]
    steps += [Step(Action.FREE, number) for number in range(0, teeth, 2)]
    steps += [Step(Action.ALLOC, 100, 2 * 4096), Step(Action.ALLOC, 101, 4096)]
    steps += [Step(Action.FREE, number) for number in range(1, teeth, 2)]
    _judged(subject, CheckProgram(world, (*steps, Step(Action.FINISH))))


# --- P18: resizing ------------------------------------------------------------------------------------------


def _resizes_beside_anything(subject: Subject) -> None:
    """A buffer can be resized from each of six sizes to each other, with no hole behind it or one of 1 or 3 quanta."""
    if subject.declared.resize is Resize.NONE:
        raise NotPromised("it does not resize")
    sizes = range(1, 7)
    for old in sizes:
        for hole in (0, 1, 3):
            steps = []
            for new in sizes:
                first = 10 * new
                steps += [Step(Action.ALLOC, first, old * 4096), Step(Action.ALLOC, first + 1, max(hole, 1) * 4096)]
                steps += [Step(Action.ALLOC, first + 2, 4096)]
                steps += [Step(Action.FREE, first + 1)] if hole else []
                steps += [Step(Action.RESIZE, first, new * 4096)]
            _judged(subject, CheckProgram(_roomy(subject, 160), (*steps, Step(Action.FINISH))))


# --- P9: failing calls of the source -----------------------------------------------------------------------


def _survives_every_failure(subject: Subject) -> None:
    """When any map call of a program fails, the request is met in another way or refused with nothing changed."""
    for seed in range(3):
        world = _scaled(subject, World(limit=12, room=14, arena=3))
        judge, found = random_program(subject, seed, steps=30, world=world)
        if found is not None:
            raise CheckFailed(found.breach, found.program)
        assert judge is not None  # nothing was found
        steps = tuple(judge.steps)
        for call in range(1, judge.source.map_calls + 1):
            _judged(subject, CheckProgram(world, (Step(Action.STARVE, size=call), *steps)))


# --- P15: determinism ----------------------------------------------------------------------------------------


def _run_again(subject: Subject, program: CheckProgram) -> Breach | None:
    """Return a breach if a program gives other addresses when it is run again."""
    first = _outcomes(subject, program)
    for _ in range(2):
        other = _outcomes(subject, program)
        for step, one, two in zip(program.steps, first, other, strict=False):
            if one != two:
                return Breach(Property.P15, f"{step} gave {one or 'a breach'}, and {two or 'a breach'} when run again")
    return None


def _is_deterministic(subject: Subject) -> None:
    """The same program gives the same addresses at every run, even while other allocators are in use."""
    if not subject.declared.deterministic:
        raise NotPromised("equal programs may give other addresses")
    for seed in range(8):
        judge, found = random_program(subject, seed)
        if found is None and judge is not None:  # otherwise another check reports it
            program = CheckProgram(judge.world, tuple(judge.steps))
            breach = _run_again(subject, program)
            if breach is not None:
                raise CheckFailed(breach, program, functools.partial(_run_again, subject))


def _outcomes(subject: Subject, program: CheckProgram) -> list[str]:
    """Run a program and return the outcome of each step, up to a breach.  Only the answers are checked."""
    judge = None
    try:
        judge = Judge(attrs.evolve(subject, deep_every=len(program.steps) + 1), program.world)
        for step in program.steps:
            judge.do(step)
    except Breach:
        pass
    return judge.outcomes if judge is not None else []


# --- P17: growth ---------------------------------------------------------------------------------------------


_SLOPES: Final = {Work.CONSTANT: 0.55, Work.LOG: 0.55, Work.LINEAR: 1.2}
_CONSTANT: Final = 1.25
"""The largest ratio between the work of a call in two combs that still counts as constant."""
_COMBS: Final = (32, 256, 2048)


def _grows_as_declared(subject: Subject) -> None:
    """The lines that a call runs, fitted over combs of 32, 256 and 2,048 holes, grow no faster than declared."""
    contract = subject.declared
    if contract.work is None:
        raise NotPromised("no growth is declared")
    if not _plain(contract):
        raise NotPromised("buffers do not occupy whole quanta and nothing else")
    points = [(holes, _work_with(subject, holes)) for holes in _COMBS]
    slope, works = growth_exponent(points), [work for _, work in points]
    grows = contract.work is Work.CONSTANT and max(works) > _CONSTANT * min(works)
    if grows or slope > _SLOPES[contract.work]:
        shown = ", ".join(f"{work} at {holes}" for holes, work in points)
        raise Breach(
            Property.P17,
            f"the steps of a call grow as holes^{slope:.2f} ({shown} holes), {contract.work.value} growth was declared",
        )


def _work_with(subject: Subject, holes: int) -> int:
    """Return the most lines of an alloc or free in a comb with so many holes."""
    world = _roomy(subject, 2 * holes + 64)
    source, space = make(subject.make_space, world)
    quantum = getattr(space, "quantum", world.granule)
    source.calls_left = 1 << 30
    buffers = []
    for _ in range(2 * holes):
        subject.on_call()
        buffers.append(space.alloc(quantum))
    room = space.alloc(16 * quantum)
    space.alloc(4 * quantum)  # keeps the arena mapped, so that the measured calls map none
    for base in (*buffers[::2], room):
        subject.on_call()
        space.free(base)
    most = 0
    for size in (quantum, 2 * quantum, 3 * quantum):
        with count_lines() as lines:
            base = space.alloc(size)
        most = max(most, lines[0])
        with count_lines() as lines:
            space.free(base)
        most = max(most, lines[0])
    return most


# --- P21: metamorphic laws -----------------------------------------------------------------------------------


def _program_for(subject: Subject, seed: int, world: World) -> CheckProgram | None:
    """Return a program without address constraints, if it runs without a breach."""
    plain = attrs.evolve(subject, contract=attrs.evolve(subject.declared, constraints=frozenset()))
    judge, found = random_program(plain, seed, steps=40, world=world)
    if found is not None or judge is None:
        return None
    return CheckProgram(world, tuple(step for step in judge.steps if step.action in _MOVABLE))


def _addresses(subject: Subject, program: CheckProgram) -> list[int | None]:
    """Run a program and return, for each step, the address it gave."""
    return [int(word, 16) if word.startswith("0x") else None for word in _outcomes(subject, program)]


_SHIFT: Final = 2**40


def _run_elsewhere(subject: Subject, program: CheckProgram) -> Breach | None:
    """Return a breach if a program gives another layout when the address space begins elsewhere."""
    moved = attrs.evolve(program, world=attrs.evolve(program.world, base=program.world.base + _SHIFT))
    here, there = (_addresses(subject, p) for p in (program, moved))
    return _difference(program, here, [None if a is None else a - _SHIFT for a in there], "with addresses 2**40 higher")


def _run_larger(subject: Subject, program: CheckProgram) -> Breach | None:
    """Return a breach if a program gives another layout with four times the granule, the quantum and all sizes."""
    world, quantum = _larger(subject, program.world)
    if getattr(make(subject.make_space, world)[1], "quantum", quantum) != quantum:
        raise NotPromised("its quantum cannot be set")
    scaled = CheckProgram(world, tuple(step._replace(size=4 * step.size) for step in program.steps))
    here, there = (_addresses(subject, p) for p in (program, scaled))
    return _difference(program, here, [None if a is None else a // 4 for a in there], "with all four times as large")


def _larger(subject: Subject, world: World) -> tuple[World, int]:
    """Return a world with four times the granule and, where it can be set, four times the quantum; and that quantum."""
    quantum = getattr(make(subject.make_space, world)[1], "quantum", world.granule)
    quantum = 4 * (quantum if type(quantum) is int else world.granule)
    options: tuple[tuple[str, object], ...] = (("quantum", quantum),) if "quantum" in subject.accepted else ()
    return attrs.evolve(world, granule=4 * 4096, base=4 * world.base, options=options), quantum


def _is_shift_free(subject: Subject) -> None:
    """The layout does not depend on where the address space begins."""
    if Law.SHIFT not in subject.declared.asked:
        raise NotPromised("the law is neither declared nor implied by a fit")
    _hold_for_programs(subject, functools.partial(_run_elsewhere, subject))


def _is_scale_free(subject: Subject) -> None:
    """Four times the granule, the quantum and all sizes give four times the addresses."""
    if Law.SCALE not in subject.declared.asked:
        raise NotPromised("the law is neither declared nor implied by a fit")
    _hold_for_programs(subject, functools.partial(_run_larger, subject))


_PLAIN: Final = World(limit=16, room=18, arena=4)
_MOVABLE: Final = (Action.ALLOC, Action.FREE, Action.RESIZE, Action.RECLAIM)
"""Steps without an address, which mean the same in an address space that begins elsewhere."""


def _hold_for_programs(subject: Subject, again: Again) -> None:
    """Raise what ``again`` finds in some random programs."""
    for seed in range(4):
        program = _program_for(subject, seed, _scaled(subject, _PLAIN))
        breach = again(program) if program is not None else None
        if program is not None and breach is not None:
            raise CheckFailed(breach, program, again)


def run_thoroughly(subject: Subject, program: CheckProgram) -> Breach | None:
    """Run a program under the judge, then again, beside another, shifted and scaled, as far as it allows that.

    A program that any check reported therefore shows its breach again.
    """
    try:
        return _in_every_way(subject, program)
    except Breach as breach:  # it cannot be made
        return breach


def _in_every_way(subject: Subject, program: CheckProgram) -> Breach | None:
    declared = subject.declared
    breach = run_program(subject, program)
    if declared.deterministic:
        breach = breach or _run_again(subject, program)
    breach = breach or beside_another(subject, program)
    plain = attrs.evolve(
        _scaled(subject, _PLAIN), limit=program.world.limit, room=program.world.room, arena=program.world.arena
    )
    if breach is None and program.world == plain and all(step.action in _MOVABLE for step in program.steps):
        breach = _run_elsewhere(subject, program) if Law.SHIFT in declared.asked else None
        with contextlib.suppress(NotPromised):
            if breach is None and Law.SCALE in declared.asked:
                breach = _run_larger(subject, program)
    return breach


def _difference(program: CheckProgram, here: list[int | None], there: list[int | None], what: str) -> Breach | None:
    for step, one, other in zip(program.steps, here, there, strict=False):
        if one != other:
            shown = [f"{address:#x}" if address is not None else "no address" for address in (one, other)]
            return Breach(Property.P21, f"{step} gives {shown[0]}, and {shown[1]} {what}")
    return None


def _frees_commute(subject: Subject) -> None:
    """Freeing the same buffers in any order leaves the same free set."""
    contract = subject.declared
    if contract.coalescing is not Coalescing.IMMEDIATE:
        raise NotPromised("coalescing is deferred")
    _, probe = make(subject.make_space, World())
    if Capability.SEGMENTS not in capabilities_of(probe):
        raise NotPromised("there is no segments()")
    world = _roomy(subject, 16)
    for seed in range(6):
        generator = random.Random(seed)
        allocs = [Step(Action.ALLOC, number, generator.randint(1, 3) * 4096) for number in range(8)]
        chosen = generator.sample(range(8), 5)
        seen = None
        for order in (chosen, chosen[::-1], sorted(chosen)):
            program = CheckProgram(world, (*allocs, *(Step(Action.FREE, number) for number in order)))
            judge = Judge(subject, world)
            _play(judge, allocs)
            arenas = dict(judge.source.ranges)
            _play(judge, program.steps[len(allocs) :])
            if judge.source.ranges != arenas:
                continue  # which of the arenas is kept, and which goes, may depend on the order
            free = sorted(
                (base, size) for base, size, kind, _ in shown_segments(judge.space.segments()) if kind == "free"
            )
            if seen is not None and free != seen:
                breach = Breach(Property.P21, f"frees in another order leave {len(free)} holes, not {len(seen)}")
                raise CheckFailed(breach, program)
            seen = free


def _alloc_and_free_cancel(subject: Subject) -> None:
    """An alloc that imports no arena, followed by its free, leaves the same segments."""
    contract = subject.declared
    if contract.coalescing is not Coalescing.IMMEDIATE or contract.fit is None:
        raise NotPromised("coalescing is deferred, or there are no holes")
    for seed in range(6):
        world = _roomy(subject, 16)
        generator = random.Random(seed)
        judge = Judge(subject, world)
        if Capability.SEGMENTS not in judge.can:
            raise NotPromised("there is no segments()")
        _play(judge, [Step(Action.ALLOC, number, generator.randint(1, 3) * 4096) for number in range(8)])
        _play(judge, [Step(Action.FREE, number) for number in generator.sample(range(8), 4)])
        before = shown_segments(judge.space.segments())
        for size in (1, 2, 3):
            if spec.places(judge.books.state, judge.books.footprint(size * 4096)):
                _play(judge, (Step(Action.ALLOC, 50 + size, size * 4096), Step(Action.FREE, 50 + size)))
                if shown_segments(judge.space.segments()) != before:
                    breach = Breach(Property.P21, f"alloc({size * 4096}) and its free leave other segments")
                    raise CheckFailed(breach, CheckProgram(world, tuple(judge.steps)))


# --- closed forms --------------------------------------------------------------------------------------------


def _plain(contract: Contract) -> bool:
    """Tell whether buffers occupy whole quanta and nothing else, and arenas are handed out whole."""
    return (
        contract.rounding is Rounding.QUANTUM
        and not (contract.header or contract.guard or contract.least or contract.remainder or contract.two_ended)
        and not (contract.arena_head or contract.arena_tail or contract.reserve or contract.reserve_percent)
        and contract.max_size is None
        and contract.max_segments is None
        and contract.end is End.LOW
    )


_ROBSON: Final = ((256, 16), (1024, 32), (4096, 64))


def _meets_robsons_bound(subject: Subject) -> None:
    """Robson's adversary takes M(1 + log2(n)/2) - n + 1 quanta from first, best and next fit, and no less from anyone."""
    contract = subject.declared
    if contract.coalescing is not Coalescing.IMMEDIATE or contract.geometry is not Geometry.ANY or not _plain(contract):
        raise NotPromised("the bound is for holes of any size, coalesced at once")
    if contract.fit is None or "arena_size" not in subject.accepted:
        raise NotPromised("it needs one arena of a size to choose")
    exact = contract.fit in (Fit.FIRST, Fit.BEST, Fit.NEXT)
    for live, largest in _ROBSON if exact else _ROBSON[:2]:
        bound = live + live * (largest.bit_length() - 1) // 2 - largest + 1
        world = _roomy(subject, live * (largest.bit_length() + 1))
        source, space = make(subject.make_space, world)
        source.calls_left = 1 << 30
        quantum = getattr(space, "quantum", world.granule)
        top = 0

        def allocate(n: int, space: Any = space, quantum: int = quantum) -> int:
            nonlocal top
            subject.on_call()
            base: int = space.alloc(n * quantum) // quantum
            top = max(top, base + n)
            return base

        def release(base: int, space: Any = space, quantum: int = quantum) -> None:
            subject.on_call()
            space.free(base * quantum)

        play_robson(allocate, release, live=live, largest=largest)
        if top < bound or (exact and top != bound):
            raise Breach(
                Property.P8 if top > bound else Property.P1,
                f"Robson's adversary with {live} live quanta and requests up to {largest} needs {top} quanta,"
                f" {'exactly' if exact else 'at least'} {bound} are due",
            )


_FIFTY: Final = (0.25, 0.75)
"""Where holes / live buffers must lie in the steady state; Knuth's rule says 0.5 times the share of inexact fits."""


def _obeys_the_fifty_percent_rule(subject: Subject) -> None:
    """In the steady state there are about half as many holes as live buffers (Knuth), within 0.25 and 0.75."""
    contract = subject.declared
    if (
        contract.fit not in (Fit.FIRST, Fit.NEXT)
        or contract.coalescing is not Coalescing.IMMEDIATE
        or not _plain(contract)
    ):
        raise NotPromised("the rule is for first and next fit, coalesced at once")
    if contract.geometry is not Geometry.ANY or "arena_size" not in subject.accepted:
        raise NotPromised("it needs one arena of a size to choose")
    live, generator = 200, random.Random(1)
    world = _roomy(subject, 64 * live)
    source, space = make(subject.make_space, world)
    if Capability.SEGMENTS not in capabilities_of(space):
        raise NotPromised("there is no segments()")
    quantum = getattr(space, "quantum", world.granule)
    source.calls_left = 1 << 30
    buffers = [space.alloc(generator.randint(1, 40) * quantum) for _ in range(live)]
    ratios = []
    for turn in range(4000):
        number = generator.randrange(live)
        subject.on_call()
        space.free(buffers[number])
        buffers[number] = space.alloc(generator.randint(1, 40) * quantum)
        if turn >= 2000 and turn % 100 == 0:
            ratios.append(sum(1 for _, _, kind, _ in shown_segments(space.segments()) if kind == "free") / live)
    mean = sum(ratios) / len(ratios)
    if not _FIFTY[0] <= mean <= _FIFTY[1]:
        raise Breach(
            Property.P5,
            f"{mean:.2f} holes for each live buffer in the steady state, {_FIFTY[0]} to {_FIFTY[1]} are due",
        )


CHECKS: Final = [
    Check("nonsense", Property.P14, _refuses_nonsense),
    Check("ends", Property.P14, _deals_with_the_ends),
    Check("powers-of-two", Property.P14, _deals_with_powers_of_two),
    Check("ladder", Property.P6, _climbs_the_ladder),
    Check("comb", Property.P5, _survives_the_comb),
    Check("resizes", Property.P18, _resizes_beside_anything),
    Check("failing-source", Property.P9, _survives_every_failure),
    Check("determinism", Property.P15, _is_deterministic),
    Check("growth", Property.P17, _grows_as_declared),
    Check("shift", Property.P21, _is_shift_free),
    Check("scale", Property.P21, _is_scale_free),
    Check("order-of-frees", Property.P21, _frees_commute),
    Check("alloc-then-free", Property.P21, _alloc_and_free_cancel),
    Check("robson", Property.P8, _meets_robsons_bound),
    Check("fifty-percent", Property.P5, _obeys_the_fifty_percent_rule),
    *WORLDS,
]
"""All directed checks, in the order in which they run; a program may append one of its own."""
