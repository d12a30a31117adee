"""Generators: well-known loads as programs; the same arguments and seed give the same program (I13).

Pipe programs: exhaustion, hackbench, shell pipelines.  Space programs: steady churn, comb, sawtooth, Robson's adversary.

Source: hackbench's defaults and order are those of Linux tools/perf/bench/sched-messaging.c, exhaustion those of FreeBSD
tests/sys/kern/pipe/pipe_overcommit1_test.c; the other pipe program and the space programs are patterns of this project's own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from coalloc.contract import NEVER, Fit
from coalloc.errors import InvalidRequestError
from coalloc.space.coalescing import CoalescingSpace
from coalloc.units import PAGE_SIZE, KiB, is_power_of_two
from coalloc.vm.kernelmap import KernelMap
from coalloc.workload.program import PipeOp, PipeOpKind, PipeProgram, Program, SpaceOp, SpaceOpKind, SpaceProgram

__all__ = [
    "GENERATORS",
    "Generator",
    "churn",
    "comb",
    "exhaustion",
    "hackbench",
    "play_robson",
    "robson",
    "sawtooth",
    "shell_pipeline",
]

_CREATE, _WRITE, _READ, _CLOSE = PipeOpKind.CREATE, PipeOpKind.WRITE, PipeOpKind.READ, PipeOpKind.CLOSE


def _require(**least: tuple[int, int]) -> None:
    """Check parameters given as name=(value, least legal value)."""
    for what, (value, bound) in least.items():
        if type(value) is not int or not bound <= value <= 1 << 40:
            raise InvalidRequestError(what, value, f"must be an int in {bound} .. 2**40")


class _PipeTale:
    """Collect pipe operations; time moves a few microseconds between them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.operations: list[PipeOp] = []
        self._time = 0
        self._pipes = 0

    def _add(self, kind: PipeOpKind, pipe: int, end: int = 0, n: int = 0) -> None:
        self._time += self.random.randint(1, 20)
        self.operations.append(PipeOp(self._time, kind, pipe, end, n))

    def create(self) -> int:
        self._add(_CREATE, self._pipes)
        self._pipes += 1
        return self._pipes - 1

    def write(self, pipe: int, n: int) -> None:
        self._add(_WRITE, pipe, 1, n)

    def read(self, pipe: int, n: int) -> None:
        self._add(_READ, pipe, 0, n)

    def close(self, pipe: int, end: int) -> None:
        self._add(_CLOSE, pipe, end)


def exhaustion(*, pipes: int = 10_000, seed: int = 0) -> PipeProgram:
    """Call pipe() over and over, closing nothing (FreeBSD's pipe_overcommit1): more than most limits allow.

    Args:
        pipes: Calls, >= 1.
        seed: For the times between them.
    """
    _require(pipes=(pipes, 1))
    tale = _PipeTale(seed)
    for _ in range(pipes):
        tale.create()
    return PipeProgram(tale.operations, title=f"exhaustion: pipe() {pipes} times")


def hackbench(*, groups: int = 10, fds: int = 20, loops: int = 100, datasize: int = 100, seed: int = 0) -> PipeProgram:
    """Run hackbench with pipes (perf bench sched messaging -p): in each group, every sender writes to every receiver.

    Args:
        groups: Groups, >= 1.
        fds: Senders, and receivers, of a group, >= 1; each receiver has a pipe.
        loops: Messages from each sender to each receiver, >= 1.
        datasize: Bytes of a message, >= 1.
        seed: For the order of the senders and how far receivers lag, at most 16 KiB.
    """
    _require(groups=(groups, 1), fds=(fds, 1), loops=(loops, 1), datasize=(datasize, 1))
    tale = _PipeTale(seed)
    ready, wake = tale.create(), tale.create()
    receivers = [[tale.create() for _ in range(fds)] for _ in range(groups)]
    for _ in range(2 * fds * groups):
        tale.write(ready, 1)
    for _ in range(2 * fds * groups):
        tale.read(ready, 1)
    tale.write(wake, 1)
    lag = max(16 * KiB // datasize, 1)
    buffered = dict.fromkeys((pipe for group in receivers for pipe in group), 0)
    turns = [group for group in receivers for _ in range(fds * loops)]  # a turn: a sender writes to all of its group
    tale.random.shuffle(turns)
    for group in turns:
        for pipe in group:
            tale.write(pipe, datasize)
            buffered[pipe] += 1
            if buffered[pipe] > tale.random.randrange(lag):
                for _ in range(buffered[pipe]):
                    tale.read(pipe, datasize)
                buffered[pipe] = 0
    for pipe, left in buffered.items():
        for _ in range(left):
            tale.read(pipe, datasize)
        tale.close(pipe, 0)
    for pipe in [*buffered, ready, wake]:
        tale.close(pipe, 1)
    for pipe in (ready, wake):
        tale.close(pipe, 0)
    return PipeProgram(tale.operations, title=f"hackbench -p -g {groups} -f {fds} -l {loops} -s {datasize}")


def shell_pipeline(*, pipelines: int = 200, stages: int = 3, max_bytes: int = 65_536, seed: int = 0) -> PipeProgram:
    """Run shell pipelines one after the other; each stage passes on what it reads, in pieces of up to 4 KiB.

    Args:
        pipelines: How many, >= 1.
        stages: Commands of each, >= 2.
        max_bytes: Each pipeline carries 1 .. ``max_bytes`` bytes, drawn so that small amounts are as likely as large.
        seed: For amounts and pieces.
    """
    _require(pipelines=(pipelines, 1), stages=(stages, 2), max_bytes=(max_bytes, 1))
    tale = _PipeTale(seed)
    for _ in range(pipelines):
        pipes = [tale.create() for _ in range(stages - 1)]
        left = int(max_bytes ** tale.random.random())
        while left > 0:
            piece = min(left, tale.random.randint(1, 4 * KiB))
            for pipe in pipes:
                tale.write(pipe, piece)
                tale.read(pipe, piece)
            left -= piece
        for pipe in pipes:
            tale.close(pipe, 1)
            tale.close(pipe, 0)
    return PipeProgram(tale.operations, title=f"{pipelines} shell pipelines of {stages} commands")


_SIZES: Final = (4 * KiB, 16 * KiB, 64 * KiB)
_WEIGHTS: Final = (50, 40, 10)


def churn(*, live: int = 1000, operations: int = 100_000, seed: int = 0) -> SpaceProgram:
    """Keep a number of buffers of 4, 16 and 64 KiB (50, 40 and 10 %) alive, replacing one at random, over and over.

    Args:
        live: Buffers, >= 1.
        operations: Frees and allocs after the first ``live`` allocs, >= 0.
        seed: For sizes and victims.
    """
    _require(live=(live, 1), operations=(operations, 0))
    generator = random.Random(seed)
    ops = [SpaceOp(SpaceOpKind.ALLOC, n, generator.choices(_SIZES, _WEIGHTS)[0]) for n in range(live)]
    alive = list(range(live))
    for buffer in range(live, live + operations // 2):
        victim = generator.randrange(live)
        ops.append(SpaceOp(SpaceOpKind.FREE, alive[victim]))
        ops.append(SpaceOp(SpaceOpKind.ALLOC, buffer, generator.choices(_SIZES, _WEIGHTS)[0]))
        alive[victim] = buffer
    ops += [SpaceOp(SpaceOpKind.FREE, buffer) for buffer in alive]
    return SpaceProgram(ops, title=f"churn of 4K/16K/64K at {live} live buffers")


def comb(*, teeth: int = 1000, size: int = 4 * KiB, seed: int = 0) -> SpaceProgram:
    """Allocate buffers side by side, free every other, and ask for buffers of twice the size, which fit no gap.

    Args:
        teeth: Buffers at first, >= 2.
        size: Bytes of each, >= 1.
        seed: For the order of the frees.
    """
    _require(teeth=(teeth, 2), size=(size, 1))
    generator = random.Random(seed)
    ops = [SpaceOp(SpaceOpKind.ALLOC, n, size) for n in range(teeth)]
    gaps = list(range(1, teeth, 2))
    generator.shuffle(gaps)
    ops += [SpaceOp(SpaceOpKind.FREE, n) for n in gaps]
    large = range(teeth, teeth + len(gaps) // 2)
    ops += [SpaceOp(SpaceOpKind.ALLOC, n, 2 * size) for n in large]
    rest = [*range(0, teeth, 2), *large]
    generator.shuffle(rest)
    ops += [SpaceOp(SpaceOpKind.FREE, n) for n in rest]
    return SpaceProgram(ops, title=f"comb of {teeth} teeth of {size} bytes")


def sawtooth(*, cycles: int = 20, peak: int = 1000, trough: int = 100, seed: int = 0) -> SpaceProgram:
    """Let the number of buffers of 4, 16 and 64 KiB rise to a peak and fall to a trough, over and over.

    Args:
        cycles: How often, >= 1.
        peak: Buffers at the top, >= 1.
        trough: Buffers at the bottom, 0 .. ``peak``.
        seed: For sizes and victims.
    """
    _require(cycles=(cycles, 1), peak=(peak, 1), trough=(trough, 0))
    if trough > peak:
        raise InvalidRequestError("trough", trough, f"must be at most peak={peak}")
    generator = random.Random(seed)
    ops: list[SpaceOp] = []
    alive: list[int] = []
    made = 0
    for _ in range(cycles):
        while len(alive) < peak:
            ops.append(SpaceOp(SpaceOpKind.ALLOC, made, generator.choices(_SIZES, _WEIGHTS)[0]))
            alive.append(made)
            made += 1
        generator.shuffle(alive)
        while len(alive) > trough:
            ops.append(SpaceOp(SpaceOpKind.FREE, alive.pop()))
    ops += [SpaceOp(SpaceOpKind.FREE, buffer) for buffer in alive]
    return SpaceProgram(ops, title=f"sawtooth between {trough} and {peak} buffers, {cycles} times")


def play_robson(
    allocate: Callable[[int], int], release: Callable[[int], object], *, live: int, largest: int
) -> dict[int, int]:
    """Play Robson's adversary against an allocator; sizes and addresses are in units of its choice.

    Args:
        allocate: Allocates so many units, and returns the base.
        release: Frees the buffer at a base.
        live: Units live at most, >= ``largest``.
        largest: Units of the largest request, a power of two.

    Returns:
        The buffers that are live at the end: size by base.
    """
    buffers: dict[int, int] = {}
    for _ in range(live):
        buffers[allocate(1)] = 1

    def covers(base: int, size: int, offset: int, step: int) -> bool:
        return (offset - base) % step < size

    offset, step = 0, 2
    while step <= largest:
        offset = max(
            (offset, offset + step // 2),
            key=lambda at: sum(step - size for base, size in buffers.items() if covers(base, size, at, step)),
        )
        for base, size in list(buffers.items()):
            if not covers(base, size, offset, step):
                release(base)
                del buffers[base]
        for _ in range((live - sum(buffers.values())) // step):
            buffers[allocate(step)] = step
        step *= 2
    return buffers


def robson(
    *, live: int = 1024, largest: int = 32, unit: int = PAGE_SIZE, fit: Fit = Fit.FIRST, seed: int = 0
) -> SpaceProgram:
    """Play Robson's adversary against a fit, and write down the game as a program: the worst case for any fit.

    The adversary sees where buffers lie, so the program is worst for the fit it was made with, in one arena that holds it
    all.  There, first, best and next fit need ``live * (1 + log2(largest) / 2) - largest + 1`` units for ``live`` live ones.

    Args:
        live: Units live at most, >= ``largest``.
        largest: Units of the largest request, a power of two.
        unit: Bytes of a unit, a multiple of 4 KiB.
        fit: The fit to play against.
        seed: Not used; the game has no choice left to chance.

    Source:
        Robson, JACM 1971 and 1974; the bound is the one of SQLite's page on its memory allocator, and is reached exactly here.
    """
    del seed
    _require(largest=(largest, 1), live=(live, largest), unit=(unit, PAGE_SIZE))
    if not is_power_of_two(largest):
        raise InvalidRequestError("largest", largest, "must be a power of two")
    if unit % PAGE_SIZE:
        raise InvalidRequestError("unit", unit, f"must be a multiple of {PAGE_SIZE}")
    whole = live * (largest.bit_length() + 1) * unit
    space = CoalescingSpace(KernelMap(base=0, size=whole), kva_limit=whole, arena_size=whole, fit=fit, release=NEVER)
    ops: list[SpaceOp] = []
    numbers: dict[int, int] = {}  # by base, in units
    made = 0

    def allocate(size: int) -> int:
        nonlocal made
        ops.append(SpaceOp(SpaceOpKind.ALLOC, made, size * unit))
        base = space.alloc(size * unit) // unit
        numbers[base] = made
        made += 1
        return base

    def release(base: int) -> None:
        ops.append(SpaceOp(SpaceOpKind.FREE, numbers.pop(base)))
        space.free(base * unit)

    play_robson(allocate, release, live=live, largest=largest)
    ops += [SpaceOp(SpaceOpKind.FREE, number) for number in sorted(numbers.values())]
    return SpaceProgram(
        ops, title=f"Robson's adversary against {fit.value} fit, {live} live units, requests up to {largest}"
    )


@attrs.frozen
class Generator:
    """A generator by name: the function, which takes keyword arguments only, and what it makes, in a few words."""

    make: Callable[..., Program]
    title: str


GENERATORS: Final[Mapping[str, Generator]] = {
    "exhaustion": Generator(exhaustion, "pipe() until it fails"),
    "hackbench": Generator(hackbench, "groups of senders and receivers"),
    "shell-pipeline": Generator(shell_pipeline, "short pipelines one after the other"),
    "churn": Generator(churn, "steady churn of 4K, 16K and 64K buffers"),
    "comb": Generator(comb, "free every other buffer"),
    "sawtooth": Generator(sawtooth, "rise and fall"),
    "robson": Generator(robson, "Robson's adversary: the worst case"),
}
"""The generators by name."""
