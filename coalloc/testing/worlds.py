"""Directed checks in worlds that random programs do not reach: scale, great numbers, odd sources, two allocators at once.

Each is a check like those of :mod:`coalloc.testing.directed`.  Programs run beside the judge; where they are long, everything
that can be seen is compared now and then, and the answers at every step.
"""

from __future__ import annotations

import functools
import gc
import inspect
import itertools
import json
import os
import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest import mock

import attrs

from coalloc.contract import Capability, Coalescing, Completeness, Constraint, Contract, Resize, Work
from coalloc.native.space import NativeSpace
from coalloc.testing.checks import Check, CheckFailed, NotPromised, Suspicion
from coalloc.testing.hidden import hide
from coalloc.testing.in_c import quanta_of, restart
from coalloc.testing.judge import Judge
from coalloc.testing.plain import PlainRun
from coalloc.testing.programs import random_program, run_program, scale_of
from coalloc.testing.properties import Breach, Property
from coalloc.testing.source import Order, WatchedSource
from coalloc.testing.steps import Action, CheckProgram, Step, World, dumps
from coalloc.testing.subject import Subject, make

__all__ = ["WORLDS", "beside_another", "raw_answers"]

_DEEP: Final = 97
"""In a long program everything that can be seen is compared once in so many steps."""


def _judged(
    subject: Subject, world: World, steps: list[Step], title: str, *, deep: int = _DEEP, suspect: bool = False
) -> None:
    """Run a program beside the judge, and raise what it finds with the program."""
    program = CheckProgram(world, tuple(steps), title)
    breach = run_program(attrs.evolve(subject, deep_every=deep), program)
    if breach is None:
        return
    raise CheckFailed(breach, program, suspect=suspect)


def _world(subject: Subject, contract: Contract, quantum: int, quanta: int, **changes: Any) -> World:
    """Return a world in which so many quanta can be live, in one arena where a size can be chosen."""
    scale = scale_of(contract, quantum)
    granules = max(-(-quanta * max(quantum, 1) // 4096), 4 * scale)
    beside = contract.header + contract.guard
    if beside:
        granules += -(-quanta * beside // 4096)
    arena = granules if "arena_size" in subject.accepted and contract.arena is None else 0
    world = World(limit=granules, room=granules, arena=arena)
    return attrs.evolve(world, **changes)


# --- scale -----------------------------------------------------------------------------------------------------


def _grows_to_scale(subject: Subject) -> None:
    """Hundreds of live buffers, hundreds of one size, holes freed in address order, long runs, and thousands of frees.

    A cache is read at every step, which takes as long as there are buffers.  So it is shown in the first program only.
    """
    contract, quantum = subject.nature
    unit = max(quantum, contract.least)
    for steps, quanta, title in _scales(contract, unit // quantum):
        sized = [step._replace(size=step.size * quantum) if step.size else step for step in steps]
        _judged(subject, _world(subject, contract, quantum, quanta), sized, title)
        subject = _with_hidden_cache(subject, contract)


def _with_hidden_cache(subject: Subject, contract: Contract) -> Subject:
    """Return the subject; without its observers, if they have to be read at every step."""
    if contract.coalescing is not Coalescing.DEFERRED:
        return subject
    return attrs.evolve(subject, make_space=hide(subject.make_space))


_PLACES: Final = 300
"""So many addresses are used one after another."""


def _scales(contract: Contract, unit: int) -> Iterator[tuple[list[Step], int, str]]:
    """Yield programs with sizes in quanta, the quanta that they need, and what they are."""
    many = 300 if contract.coalescing is Coalescing.DEFERRED else 640
    several = 1 if contract.max_size is not None else 3
    singles = [Step(Action.ALLOC, number, unit) for number in range(many)]
    frees = [Step(Action.FREE, number) for number in range(many)]
    again = [Step(Action.ALLOC, many + number, unit) for number in range(many)]
    end = [Step(Action.FINISH)]
    yield (
        singles + frees[::2] + again[: many // 2] + frees[1::2] + again[many // 2 :] + end,
        many * unit,
        "many buffers",
    )
    one_size = [Step(Action.ALLOC, number, several * unit) for number in range(many)]
    refill = [Step(Action.ALLOC, many + number, several * unit) for number in range(many)]
    yield one_size + frees + refill + end, several * many * unit, "many frees of one size"
    yield one_size + frees[::-1] + refill + end, several * many * unit, "many frees of one size, newest first"
    if contract.max_size is None and contract.largest_block is None:
        runs = [Step(Action.ALLOC, n, size * unit) for n, size in enumerate((60, 65, 1, 130, 260, 1, 300, 64, 256, 1))]
        gone = [Step(Action.FREE, number) for number in (0, 3, 6, 1, 4)]
        more = [Step(Action.ALLOC, 20 + n, size * unit) for n, size in enumerate((257, 65, 129, 70, 300, 1, 1, 1))]
        yield runs + gone + more + end, 1200 * unit, "long runs"
        fill = [Step(Action.ALLOC, n, 64 * unit) for n in range(8)] + [Step(Action.ALLOC, 9, 64 * unit)]
        part = [Step(Action.FREE, n) for n in (3, 4, 7)]
        ends = [Step(Action.ALLOC, 30, 100 * unit), Step(Action.ALLOC, 31, 64 * unit), Step(Action.ALLOC, 32, unit)]
        yield fill + part + ends + end, 512 * unit, "runs of whole words"
    moved = []
    for number in range(0, 2 * _PLACES, 2):  # each second buffer lies behind a longer one than the last did
        moved += [Step(Action.ALLOC, number, (number // 2 + 1) * unit), Step(Action.ALLOC, number + 1, unit)]
        moved += [Step(Action.FREE, number), Step(Action.FREE, number + 1)]
    if contract.max_size is None and contract.largest_block is None:
        yield [*moved, Step(Action.FREE_WILD, at=1), *end], (_PLACES + 2) * unit, "many addresses, and few at once"
    cycles = []
    for number in range(8300):
        cycles.append(Step(Action.ALLOC, number, unit * (1 + number % several)))
        if number >= 3:
            cycles.append(Step(Action.FREE, number - 3))
    yield [*cycles, *end], 4 * several * unit + 8, "thousands of frees"


_THOUSANDS: Final = 8400


def _grows_to_thousands(subject: Subject) -> None:
    """Thousands of holes freed in address order, and more than 8,192 frees without an alloc between."""
    contract, quantum = subject.nature
    unit = max(quantum, contract.least)
    many = _THOUSANDS
    singles = [Step(Action.ALLOC, number, unit) for number in range(many)]
    evens = [Step(Action.FREE, number) for number in range(0, many, 2)]
    odds = [Step(Action.FREE, number) for number in range(1, many, 2)]
    again = [Step(Action.ALLOC, many + number, unit) for number in range(300)]
    more = [Step(Action.FREE, many + number) for number in range(300)]
    world = _world(subject, contract, quantum, many * unit // quantum)
    subject = _with_hidden_cache(subject, contract)
    for steps in ([*singles, *evens, *again, *odds, *more], [*singles, *evens, *odds]):
        _judged(subject, world, [*steps, Step(Action.FINISH)], "thousands of holes", deep=4999)


def _fills_many_arenas(subject: Subject) -> None:
    """More than 64 arenas come and go, in order and out of it."""
    contract, quantum = subject.nature
    if contract.arena:
        size = contract.arena // 2
    elif "arena_size" in subject.accepted:
        size = max(quantum, 4096)
    else:
        size = 1 << 20
    size = min(size, contract.max_size or size)
    scale = max(size // 4096, 1) * (2 if contract.arena else 1)
    arenas = 72
    arena = scale if "arena_size" in subject.accepted else 0
    world = World(limit=arenas * scale, room=(arenas + 8) * scale, arena=arena)
    steps = [Step(Action.ALLOC, number, size) for number in range(arenas)]
    steps += [Step(Action.FREE, number) for number in range(1, arenas, 2)]
    steps += [Step(Action.ALLOC, 100 + number, size) for number in range(arenas // 2)]
    steps += [Step(Action.FREE, number) for number in range(0, arenas, 2)]
    for order in (Order.UP, Order.DOWN):
        _judged(subject, attrs.evolve(world, order=order), [*steps, Step(Action.FINISH)], "many arenas")


# --- numbers -----------------------------------------------------------------------------------------------------


def _deals_with_great_numbers(subject: Subject) -> None:
    """Arenas on both sides of 2**31, 2**32 and 2**63, and at the end of the address space; sizes of 2**31 to 2**63."""
    contract, quantum = subject.nature
    scale = scale_of(contract, quantum)
    huge = (2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**63 - 4096, 2**63 - 1, 2**63)
    unit = max(quantum, 4096)
    for edge in (2**31, 2**32, 2**63, 2**64):
        for arena in (8, 2):
            base = edge - (8 if edge == 2**64 else 4) * 4096 * scale
            room = 8
            world = World(limit=8 * scale, room=room * scale, base=base, arena=arena * scale)
            steps = [Step(Action.ALLOC, number, unit * (1 + number % 2)) for number in range(6)]
            steps += [Step(Action.ALLOC, 10 + number, size) for number, size in enumerate(huge)]
            steps += [Step(Action.FREE, number) for number in (1, 4, 0)]
            steps += [Step(Action.ALLOC, 30 + number, unit) for number in range(4)]
            if contract.resize is not Resize.NONE:
                steps += [Step(Action.RESIZE, 2, size) for size in huge]
            if Constraint.ALIGN in contract.constraints:
                steps += [
                    Step(Action.XALLOC, 50 + number, size, bounds=(("align", align),))
                    for number, (size, align) in enumerate(
                        itertools.product((unit, *huge), (2 * quantum, 2**32, 2**63))
                    )
                ]
            for order in (Order.UP, Order.DOWN):
                _judged(
                    subject, attrs.evolve(world, order=order), [*steps, Step(Action.FINISH)], "great numbers", deep=1
                )


def _holds_gigabytes(subject: Subject) -> None:
    """Buffers of 4 GiB and more come back whole."""
    contract, quantum = subject.nature
    pages = (("quantum", 4096),) if 4096 in quanta_of(subject) else ()
    if (
        (quantum < 4096 and not pages)
        or contract.max_size is not None
        or contract.geometry.buddies
        or contract.max_segments is not None
        or contract.arena
    ):
        raise NotPromised("it has no buffers of gigabytes")
    granules = 3 << 20
    arena = granules if "arena_size" in subject.accepted and contract.arena is None else 0
    world = World(limit=granules, room=granules, arena=arena, options=pages)
    sizes = (2**32, 2**32 + 4096, 2**31, 2**30)
    steps = [Step(Action.ALLOC, number, size) for number, size in enumerate(sizes)]
    steps += [Step(Action.FREE, number) for number in (0, 1, 2, 3)]
    steps += [Step(Action.ALLOC, 10, 2**33), Step(Action.FREE, 10), Step(Action.FINISH)]
    try:
        make(subject.make_space, world)
    except Breach as breach:
        if isinstance(breach.__cause__, MemoryError):
            raise NotPromised("it has not so much memory of its own") from None
        raise
    _judged(subject, world, steps, "gigabytes", deep=1)


_GREAT: Final = 2**41
"""Bytes of an arena of thousands of millions of quanta."""


def _finds_great_holes(subject: Subject) -> None:
    """A hole of more than 2**32 quanta is found again; what a judge keeps of it would not fit into memory, so none looks on."""
    contract = subject.declared
    quanta = quanta_of(subject)
    if not quanta:
        raise NotPromised("its quanta are not for the kit to choose")
    if contract.completeness == Completeness.BEST_EFFORT or contract.arena or contract.geometry.buddies:
        raise NotPromised("it need not find such a hole")
    quantum = min(quanta)
    world = World(limit=4, room=8, granule=_GREAT, options=(("quantum", quantum),))
    try:
        source, space = make(subject.make_space, world)
        buffers = [space.alloc(quantum), space.alloc(quantum)]
    except (MemoryError, Breach):  # it cannot be made, for one
        raise NotPromised("it has no arenas of such a size") from None
    if source.map_calls > 1:
        hole = _GREAT - quantum
        raise Breach(Property.P7, f"a second alloc({quantum}) maps another arena, and there is a hole of {hole} bytes")
    for base in buffers:
        space.free(base)


def _takes_explicit_defaults(subject: Subject) -> None:
    """An explicit 0 for align, phase or nocross, and the ends of the address space for lo and hi, ask for nothing."""
    contract, quantum = subject.nature
    bounds = {"align": 0, "phase": 0, "nocross": 0, "lo": 0, "hi": 2**64 - 1}
    promised = {name: value for name, value in bounds.items() if Constraint(name) in contract.constraints}
    if not promised:
        raise NotPromised("no constraints are declared")
    cases = [tuple(promised.items()), *(((name, value),) for name, value in promised.items())]
    steps = []
    for number, case in enumerate(cases):
        steps += [Step(Action.XALLOC, 2 * number, quantum, bounds=case), Step(Action.ALLOC, 2 * number + 1, quantum)]
    _judged(subject, _world(subject, contract, quantum, 32), [*steps, Step(Action.FINISH)], "explicit defaults", deep=1)


class _Index:
    """An int-like that is no int, as the integers of numpy are."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"an object with __index__ {self.value}"


def _takes_no_other_numbers(subject: Subject) -> None:
    """What is no int is refused, or taken for the int that it equals, whether or not a cache may hold such a buffer."""
    contract, quantum = subject.nature
    world = _world(subject, contract, quantum, 64)
    for value, equal in (
        (True, 1),
        (float(quantum), quantum),
        (_Index(quantum), quantum),
        (quantum + 0.5, 0),
        (2**64, 0),
    ):
        judge = Judge(subject, world)
        cold = _is_taken(judge, 0, value, equal)
        for step in (Step(Action.ALLOC, 10, quantum), Step(Action.ALLOC, 11, quantum), Step(Action.FREE, 10)):
            judge.do(step)
        warm = _is_taken(judge, 1, value, equal)
        if cold is not warm:
            words = ("refused", "accepted")
            raise Breach(Property.P14, f"alloc({value!r}) is {words[cold]} at first, and {words[warm]} later")
        judge.do(Step(Action.ALLOC, 2, quantum))
        judge.finish()


def _is_taken(judge: Judge, number: int, value: object, equal: int) -> bool:
    """Ask for a number of bytes that is no int, and tell whether that was granted; what was granted is judged."""
    judge.calls.begin()
    words = f"alloc({value!r})"
    try:
        base = judge.space.alloc(value)
    except (ValueError, TypeError, OverflowError, MemoryError):
        judge.calls.end()
        judge.inspect()
        return False
    except Breach:
        raise
    except Exception as error:
        raise Breach(Property.P14, f"{words} raised {type(error).__name__}: {error}") from error
    if not equal:
        raise Breach(Property.P14, f"{words} was accepted, and means nothing")
    if type(base) is not int:
        raise Breach(Property.P14, f"{words} returned {base!r}, which is no address")
    judge.adopt(number, equal, base)
    judge.inspect()
    return True


# --- sources -----------------------------------------------------------------------------------------------------


def _serves_every_source(subject: Subject) -> None:
    """Ranges from high to low, apart, and in no order; a granule of 64 KiB; arenas of the size that the factory chooses."""
    contract, quantum = subject.nature
    scale = scale_of(contract, quantum)
    worlds = [World(limit=12 * scale, room=24 * scale, arena=3 * scale, order=order) for order in Order]
    worlds += [World(limit=1024 * scale, room=1100 * scale, base=2**36)]
    _fills_an_arena(subject, contract, quantum, worlds[-1])
    for world in worlds:
        _runs_at_random(subject, world)
    probe = Judge(subject, World(limit=8 * scale, room=8 * scale))
    probe.do(Step(Action.ALLOC, 0, quantum))
    suspect = not probe.source.granule_asked  # it may be meant for pages of 4 KiB alone
    if hasattr(probe.space, "quantum") and (contract.arena is None or contract.arena % 65536 == 0):
        large = max(scale // 16, 1)
        wide = World(limit=12 * large, room=16 * large, arena=3 * large, granule=65536)
        _runs_at_random(subject, wide, suspect=suspect)
        _runs_at_random(subject, attrs.evolve(wide, limit=5 * large, slack=36864), suspect=suspect)
        if "arena_size" in subject.accepted:
            small = attrs.evolve(wide, arena=0, options=(("arena_size", max(quantum, 4096)),))
            if _can_be_made(subject, small):  # an arena_size below the granule may be refused
                _runs_at_random(subject, small, suspect=suspect)
                fill = [Step(Action.ALLOC, number, quantum) for number in range(small.limit + 1)]
                _judged(subject, small, [*fill, Step(Action.FINISH)], "arenas of a quantum", deep=1, suspect=suspect)


def _runs_at_random(subject: Subject, world: World, *, suspect: bool = False) -> None:
    """Run some random programs in a world; ``suspect`` says that the allocator has never asked for the granule."""
    for seed in range(4):
        _, found = random_program(subject, 7000 + seed, steps=80, world=world)
        if found is not None:
            words = found.breach.message + (", and it never asks for the source's granule" if suspect else "")
            raise CheckFailed(Breach(found.breach.property, words), found.program, suspect=suspect)


def _fills_an_arena(subject: Subject, contract: Contract, quantum: int, world: World) -> None:
    """Fill the first arena of the size that the factory chooses, to its last quantum."""
    judge = Judge(subject, world)
    judge.do(Step(Action.ALLOC, 0, quantum))
    beside = contract.arena_head + contract.arena_tail + 2 * (contract.header + contract.guard)
    rest = max(judge.source.ranges.values(), default=0) - quantum - beside
    if 0 < rest <= world.kva_limit:
        steps = [Step(Action.ALLOC, 0, quantum), Step(Action.ALLOC, 1, rest), Step(Action.FREE, 0), Step(Action.FINISH)]
        _judged(subject, world, steps, "a full arena", deep=1)


def _can_be_made(subject: Subject, world: World) -> bool:
    try:
        make(subject.make_space, world)
    except Breach:
        return False
    return True


def _survives_pressure(subject: Subject) -> None:
    """A source that makes the allocator reclaim or free while it maps, as a handler of memory pressure does."""
    contract, quantum = subject.nature
    scale = scale_of(contract, quantum)
    programs = []
    for limit, arena in ((12, 3), (9, 2), (16, 1)):
        world = World(limit=limit * scale, room=(limit + 4) * scale, arena=arena * scale, pressure=True)
        for seed in range(5):
            judge, found = random_program(subject, 7100 + seed, steps=60, world=world)
            if found is not None:  # a lock that is held over map is no breach of what is promised
                ended = found.breach.property is Property.P17 and not contract.reentrant
                raise CheckFailed(found.breach, found.program, suspect=ended)
            assert judge is not None  # nothing was found
            programs.append((world, list(_freed_meanwhile(judge.steps, seed))))
    for world, steps in programs:  # at the end, since what is only suspect must not keep the others from being run
        _judged(subject, world, steps, "frees while the source maps", deep=1, suspect=not contract.reentrant)


def _freed_meanwhile(steps: list[Step], seed: int) -> Iterator[Step]:
    """Yield steps, and before each that makes a buffer one that has the source free an older buffer while it maps."""
    drawn, older = random.Random(seed), [-1]
    for step in steps:
        if step.action in (Action.ALLOC, Action.XALLOC):
            yield Step(Action.FREE_IN_MAP, drawn.choice(older[-4:]))
            older.append(step.buffer)
        yield step


# --- identity ------------------------------------------------------------------------------------------------------


def _programs(subject: Subject, n: int, steps: int = 60) -> Iterator[CheckProgram]:
    """Yield programs that run without a breach."""
    for seed in range(n):
        restart(subject)  # a breach that shows only after other programs is no reason to pass one over
        judge, found = random_program(subject, 7200 + seed, steps=steps)
        if found is None and judge is not None:
            yield CheckProgram(judge.world, tuple(judge.steps))


_RAW: Final = (Action.ALLOC, Action.XALLOC, Action.RESIZE, Action.FREE, Action.RECLAIM, Action.STARVE)


def raw_answers(subject: Subject, program: CheckProgram) -> list[str]:
    """Run a program without a judge and without a look at anything, and return the answers; no bad address is freed."""
    run = PlainRun(subject, program.world)
    answers = []
    for step in program.steps:
        if step.action is Action.FINISH:
            break
        sensible = step.action in _RAW and step.size <= 2**63 and (step.size > 0 or step.action not in _RAW[:3])
        answer = run.do(step) if sensible else None
        answers.append("" if answer is None else str(answer))
    return answers


def _answers(
    subject: Subject, program: CheckProgram, *, deep: int = 1 << 30, seen: random.Random | None = None
) -> list[str]:
    """Run a program, and return the answers; look at everything at every so many steps, or at random."""
    judge = Judge(attrs.evolve(subject, deep_every=deep), program.world)
    for step in program.steps:
        judge.do(step)
        if seen is not None and seen.random() < 0.3:
            judge.inspect()
    return judge.outcomes


def beside_another(subject: Subject, program: CheckProgram) -> Breach | None:
    """Run a program on an allocator alone, on two by turns, and on one after them; return what differs.

    The two are in equal worlds at first, and then the other has half the limit, so that it refuses what the first serves.
    By turns one of them is first, and just before that the other is asked for the size of the same buffer.
    """
    restart(subject)
    watched = attrs.evolve(subject, deep_every=7)
    less = attrs.evolve(program.world, limit=(program.world.limit + 1) // 2)
    try:
        alone = _answers(subject, program)
        answers = []
        for world in (program.world, less):
            one, two = Judge(watched, program.world), Judge(watched, world)
            for number, step in enumerate(program.steps):
                first, second = (one, two) if number % 2 else (two, one)
                _look_up(second, step.buffer)
                first.do(step)
                second.do(step)
            one.inspect()
            two.inspect()
            answers += [one.outcomes, *([two.outcomes] if world == program.world else [])]
        answers.append(_answers(subject, program, deep=7))
    except Breach as breach:
        return Breach(breach.property, f"beside another allocator: {breach.message}")
    if subject.declared.deterministic and any(other != alone for other in answers):
        return Breach(Property.P15, "beside another allocator it gives other answers than alone")
    return None


def _look_up(judge: Judge, buffer: int) -> None:
    """Ask an allocator for the size of a buffer, if it is live there, so that it has found that one last."""
    if Capability.SIZE_OF in judge.can and buffer in judge.live:
        base = judge.books.address(buffer)
        judge.calls.look(f"size_of({base:#x})", lambda: judge.space.size_of(base))


def _lives_beside_another(subject: Subject) -> None:
    """Two allocators that are used by turns, and one that is used after them, answer as each does alone."""
    for program in _programs(subject, 3):
        breach = beside_another(subject, program)
        if breach is not None:
            raise CheckFailed(breach, program, functools.partial(beside_another, subject))


def _behaves_the_same_unseen(subject: Subject) -> None:
    """Whether segments(), stats() and the like are called never, always or at random, the answers are the same."""
    if not subject.declared.deterministic:
        raise NotPromised("equal programs may give other addresses")
    for program in _programs(subject, 6, steps=80):
        try:
            always = _answers(subject, program, deep=1)
            others = [_answers(subject, program), _answers(subject, program, seen=random.Random(1))]
            if all(step.action is not Action.RESERVE for step in program.steps):
                others.append(raw_answers(subject, program))
            for other in others:
                for step, seen, unseen in zip(program.steps, always, other, strict=False):
                    if seen != unseen and unseen.startswith("0x"):
                        raise Breach(Property.P15, f"{step} gives {seen} if all is looked at, and {unseen} if not")
        except Breach as breach:
            raise CheckFailed(breach, program) from None


_PATIENCE: Final = 60.0
"""Seconds that another process is given."""
_CHILD: Final = """
import importlib.util, json, os, sys
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever the allocator prints goes elsewhere
from coalloc.testing.steps import loads
from coalloc.testing.subject import Subject
from coalloc.testing.worlds import raw_answers
file, name, texts = json.load(sys.stdin)
spec = importlib.util.spec_from_file_location("coalloc_subject", file)
module = importlib.util.module_from_spec(spec)
sys.modules["coalloc_subject"] = module
spec.loader.exec_module(module)
made = module
for part in name.split("."):
    made = getattr(made, part)
json.dump([raw_answers(Subject(made), loads(text)) for text in texts], answers)
answers.close()
"""
"""Runs programs on an allocator of a file, in a process of its own."""


def _is_the_same_in_another_process(subject: Subject) -> None:
    """Programs give the same answers in other processes, whatever the seed of the hashes of strings."""
    where = _place_of(subject.make_space)
    if where is None or not subject.declared.deterministic:
        raise NotPromised("it cannot be found again in another process")
    programs = [p for p in _programs(subject, 6) if all(step.action is not Action.RESERVE for step in p.steps)]
    given = json.dumps([*where, [dumps(program) for program in programs]])
    answers = []
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", _CHILD],
            input=given,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
        if ran.returncode:
            raise NotPromised("it cannot be made in another process")
        answers.append(json.loads(ran.stdout))
    for program, one, two in zip(programs, *answers, strict=True):
        for step, first, second in zip(program.steps, one, two, strict=False):
            if first != second:
                breach = Breach(Property.P15, f"{step} gives {first}, and {second} with other hashes of strings")
                raise CheckFailed(breach, program)


def _place_of(make_space: Any) -> tuple[str, str] | None:
    """Return file and name of a factory; None if it cannot be found by them."""
    name = getattr(make_space, "__qualname__", "<locals>")
    try:
        file = inspect.getsourcefile(make_space)
    except TypeError:
        return None
    return None if file is None or "<" in name else (file, name)


def _ignores_the_clock(subject: Subject) -> None:
    """A clock that jumps by an hour at every look changes no answer."""
    if not subject.declared.deterministic:
        raise NotPromised("equal programs may give other addresses")
    for program in _programs(subject, 3):
        still = _answers(subject, program)
        with _jumping():
            jumps = _answers(subject, program)
        if jumps != still:
            raise CheckFailed(Breach(Property.P15, "the answers depend on the clock"), program)


@contextmanager
def _jumping() -> Iterator[None]:
    """Let every clock of the module time jump by an hour whenever somebody looks."""
    hours = itertools.count(1)

    def seconds() -> float:
        return 3600.0 * next(hours)

    def nanoseconds() -> int:
        return 3600 * 10**9 * next(hours)

    names = ("monotonic", "time", "perf_counter", "process_time")
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(time, name, seconds))
            stack.enter_context(mock.patch.object(time, f"{name}_ns", nanoseconds))
        yield


# --- time and space ------------------------------------------------------------------------------------------------


_CYCLES: Final = 400
_KEPT: Final = 8
"""Bytes for each operation that an allocator may keep though nothing is live."""


def _keeps_no_memory(subject: Subject) -> None:
    """Memory does not grow with the number of operations while the same buffers come and go."""
    contract, quantum = subject.nature
    world = _world(subject, contract, quantum, 64)
    source, space = make(subject.make_space, world)
    whole = world.kva_limit // quantum * quantum
    most = min(contract.max_size or whole, contract.largest_block or whole)
    mixes = ([1, 2, 1, 3], [whole // quantum * 3 // 4], [whole // quantum // 2], [whole // quantum // 3] * 2)
    for mix in mixes:
        _keeps_nothing_of(subject, source, space, [min(max(n, 1) * quantum, most) for n in mix])


def _keeps_nothing_of(subject: Subject, source: WatchedSource, space: Any, sizes: list[int]) -> None:
    """Let buffers of these sizes come and go, and see whether memory grows."""
    elsewhere = space.held if isinstance(space, NativeSpace) else int  # it has its memory in another process
    levels = []
    tracing = tracemalloc.is_tracing() or elsewhere is not int
    if not tracing:
        tracemalloc.start()
    try:
        for _ in range(5):
            for _ in range(_CYCLES):
                subject.on_call()
                source.calls_left = 1 << 30
                source.events.clear()
                live = []
                try:
                    live += [space.alloc(size) for size in sizes]
                except (MemoryError, ValueError):
                    return  # such sizes are refused
                for base in live:
                    space.free(base)
            source.events.clear()
            gc.collect()
            levels.append(elsewhere() or tracemalloc.get_traced_memory()[0])
    finally:
        if not tracing:
            tracemalloc.stop()
    growth = [after - before for before, after in itertools.pairwise(levels[1:])]
    if min(growth) > _KEPT * _CYCLES * len(sizes):
        raise Breach(
            Property.P6,
            f"{min(growth) // _CYCLES} bytes of memory are kept for every {2 * len(sizes)} operations though nothing is live",
        )


_HOLES: Final = (1024, 2048, 4096, 8192)
_CALLS: Final = 32
_REPEATS: Final = 3
_STEADY: Final = 1.3
"""The least growth of the time at each doubling of the holes that is suspected."""
_ALL: Final = 4.0
"""The least growth of the time from the fewest holes to eight times as many that is suspected."""


def _hides_no_work(subject: Subject) -> None:
    """The time of a call, work in C included, grows no more than declared with the holes; else it is suspect."""
    contract, quantum = subject.nature
    if contract.work not in (Work.CONSTANT, Work.LOG):
        raise NotPromised("no growth below linear is declared")
    if contract.max_size is not None or contract.max_segments is not None or contract.geometry.buddies:
        raise NotPromised("there cannot be so many holes")
    times = [min(_time_with(subject, contract, quantum, holes) for _ in range(_REPEATS)) for holes in _HOLES]
    ratios = [after / before for before, after in itertools.pairwise(times)]
    if min(ratios) > _STEADY and times[-1] > _ALL * times[0]:
        shown = ", ".join(f"{seconds / _CALLS * 5e5:.0f} us at {n}" for n, seconds in zip(_HOLES, times, strict=True))
        raise Suspicion(
            Property.P17,
            f"the time of a call grows with the holes ({shown}), {contract.work.value} growth was declared",
        )


def _time_with(subject: Subject, contract: Contract, quantum: int, holes: int) -> float:
    """Return the seconds of processor time of some frees between two holes and of as many allocs."""
    unit = max(quantum, contract.least)
    world = _world(subject, contract, quantum, (2 * holes + 64) * unit // quantum)
    source, space = make(subject.make_space, world)
    buffers = []
    for _ in range(2 * holes):
        subject.on_call()
        source.calls_left = 1 << 30
        try:
            buffers.append(space.alloc(unit))
        except MemoryError:
            raise NotPromised("there cannot be so many holes") from None
    for base in buffers[::2]:
        subject.on_call()
        space.free(base)
    chosen = buffers[1 :: 2 * (holes // _CALLS)]
    began = time.process_time()
    for base in chosen:
        space.free(base)
    for _ in chosen:
        space.alloc(unit)
    return time.process_time() - began


WORLDS: Final = (
    Check("scale-up", Property.P7, _grows_to_scale),
    Check("thousands", Property.P7, _grows_to_thousands, thorough=True),
    Check("many-arenas", Property.P12, _fills_many_arenas),
    Check("great-numbers", Property.P14, _deals_with_great_numbers),
    Check("gigabytes", Property.P14, _holds_gigabytes),
    Check("great-holes", Property.P7, _finds_great_holes),
    Check("defaults", Property.P3, _takes_explicit_defaults),
    Check("other-numbers", Property.P14, _takes_no_other_numbers),
    Check("sources", Property.P12, _serves_every_source),
    Check("pressure", Property.P12, _survives_pressure),
    Check("beside-another", Property.P15, _lives_beside_another),
    Check("another-process", Property.P15, _is_the_same_in_another_process),
    Check("unseen", Property.P15, _behaves_the_same_unseen),
    Check("clock", Property.P15, _ignores_the_clock),
    Check("memory", Property.P6, _keeps_no_memory),
    Check("hidden-work", Property.P17, _hides_no_work),
)
"""The checks of this module."""
