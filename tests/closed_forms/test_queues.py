"""Locks against queueing theory: the machine repairman, a lock that saturates, Little's law."""

from __future__ import annotations

import random

import pytest

from coalloc.sched.hardware import Hardware
from coalloc.sched.locks import DISCIPLINES, HANDOFF, Discipline, Lock
from coalloc.sched.measured import Measured
from coalloc.sched.ops import Acquire, Body, Finish, Spend, Start, Unlock
from coalloc.sched.simulation import Simulation
from tests import long


def repaired(machines: int, runs_ns: float, repair_ns: float, repairs: int) -> Measured:
    """Let machines run for exponential times, and wait for the one who repairs them, for exponential times, in order."""
    lock, draw = Lock("repairman", discipline=HANDOFF), random.Random(machines)

    def machine() -> Body:
        take, leave, begin, end = Acquire(lock), Unlock(lock), Start("stop"), Finish("stop")
        while True:
            yield Spend(round(draw.expovariate(1 / runs_ns)))
            yield begin
            yield take
            yield Spend(round(draw.expovariate(1 / repair_ns)))
            yield leave
            yield end

    simulation = Simulation(Hardware(cpus=machines))
    for number in range(machines):
        simulation.spawn(f"machine {number}", machine())
    measured = simulation.run(operations=repairs, warm_up=repairs // 10)
    assert (measured.findings, measured.violations()) == ((), ())
    return measured


def expected(machines: int, runs_ns: float, repair_ns: float) -> tuple[float, float]:
    """Return repairs a second and nanoseconds of waiting, of M/M/1//N: from the probabilities of its states."""
    weights = [1.0]
    for stopped in range(machines):
        weights.append(weights[-1] * (machines - stopped) * repair_ns / runs_ns)
    rate = (1 - weights[0] / sum(weights)) / repair_ns
    return rate * 1e9, machines / rate - runs_ns - repair_ns


def agrees(machines: int, repairs: int, within: float) -> None:
    """Compare throughput and waiting with the formulas."""
    runs_ns, repair_ns = 60_000.0, 20_000.0
    measured, (rate, waiting) = repaired(machines, runs_ns, repair_ns, repairs), expected(machines, runs_ns, repair_ns)
    assert measured.throughput == pytest.approx(rate, rel=within)
    (use,) = measured.locks
    assert use.wait_ns / use.acquisitions == pytest.approx(waiting, rel=within, abs=1)


@pytest.mark.parametrize("machines", [1, 2, 8, 64])
def test_the_machine_repairman(machines: int) -> None:
    """Throughput and waiting of M/M/1//N within 5 % after 40,000 repairs."""
    agrees(machines, 40_000, 0.05)


@long
@pytest.mark.parametrize("machines", [1, 2, 4, 8, 16, 32, 64, 128, 256])
def test_the_machine_repairman_within_two_percent(machines: int) -> None:
    """The same within 2 % after 400,000 repairs, from one machine to 256."""
    agrees(machines, 400_000, 0.02)


@pytest.mark.parametrize("cpus", [1, 2, 16, 256])
@pytest.mark.parametrize(
    "discipline", [each for each in DISCIPLINES.values() if not each.per_cpu], ids=lambda each: each.name
)
def test_one_lock_with_constant_sections_saturates(discipline: Discipline, cpus: int) -> None:
    """Where nothing else costs time, throughput is one in a section, and Little's law holds to the nanosecond."""
    lock, section = Lock("lock", discipline=discipline), 250

    def user() -> Body:
        take, leave, spend, begin, end = Acquire(lock), Unlock(lock), Spend(section), Start("use"), Finish("use")
        while True:
            yield begin
            yield take
            yield spend
            yield leave
            yield end

    simulation = Simulation(Hardware(cpus=cpus))
    for number in range(cpus):
        simulation.spawn(str(number), user())
    measured = simulation.run(until=1_000_000)
    assert measured.throughput == pytest.approx(1e9 / section)
    assert measured.violations() == ()
    assert measured.in_flight_ns == cpus * 1_000_000
    held = measured.locks[0].hold_ns
    assert held == pytest.approx(1_000_000, abs=section)
