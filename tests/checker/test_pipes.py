"""Corrupt one field: the pipe system's check() reports exactly that invariant's code."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coalloc import InvariantViolation, Owner, PipeSystem
from coalloc.pipes.half import Present
from tests.behaviours.designs import make


def system_with_pipes() -> PipeSystem:
    """Make two pipes of the current era with data, charged to a user."""
    system = make("current")
    for _ in range(2):
        pair = system.pipe(Owner(5))
        pair.write(1, 100)
        pair.read(0, 40)
    system.check()
    return system


def finish_both(system: PipeSystem) -> None:
    pair = system.pairs[0]
    for end in (0, 1):
        pair.close(end)
    system._pairs[pair.number] = pair


def overcharge(system: PipeSystem) -> None:
    system.budget.users[6] = 1


def move_a_buffer(system: PipeSystem) -> None:
    system.space.resize(system.pairs[1].halves[1].base, 8192)


def ring(system: PipeSystem, **fields: int) -> None:
    for name, value in fields.items():
        setattr(system.pairs[0].halves[0], name, value)


def shift_a_drained_ring(system: PipeSystem) -> None:
    reverse = system.pairs[0].halves[1]
    reverse.in_ = reverse.out = 8


CORRUPTIONS: list[tuple[str, Callable[[PipeSystem], None], str]] = [
    ("kva_used", lambda s: s.budget.add(4096), "PI1"),
    ("wired", lambda s: setattr(s, "pipekvawired", 4096), "PI1"),
    ("limit", lambda s: setattr(s.budget, "maxpipekva", 4096), "PI1"),
    ("charge", overcharge, "PI1"),
    ("buffer moved in the space", move_a_buffer, "PI1"),
    ("count above size", lambda s: ring(s, cnt=20000, bytes_in=20000, bytes_out=0), "PI2"),
    ("in out of range", lambda s: ring(s, in_=99999), "PI2"),
    ("in and out", lambda s: ring(s, in_=101), "PI2"),
    ("drained offsets", shift_a_drained_ring, "PI2"),
    ("high", lambda s: ring(s, high=20), "PI2"),
    ("bytes in", lambda s: ring(s, bytes_in=99), "PI3"),
    ("finished pair", finish_both, "PI5"),
]


@pytest.mark.parametrize(("corrupt", "code"), [c[1:] for c in CORRUPTIONS], ids=[c[0] for c in CORRUPTIONS])
def test_each_corruption_is_reported_with_its_code(corrupt: Callable[[PipeSystem], None], code: str) -> None:
    """Each corruption of a pipe system is reported with its code and no other."""
    system = system_with_pipes()
    corrupt(system)
    with pytest.raises(InvariantViolation) as caught:
        system.check()
    assert caught.value.codes == (code,)


def test_presence_has_three_states() -> None:
    """The states of presence have the numbers that the kernel gives them since 10.x."""
    assert [(state.name, state.value) for state in Present] == [("ACTIVE", 1), ("CLOSING", 2), ("FINALIZED", 3)]
