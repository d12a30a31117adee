"""Descriptor tables that share their sheets do what tables of their own would do, and hold each end just as long."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import attrs
import pytest

from coalloc.workload.strace_tables import Descriptor, Table
from tests import some

Model = dict[int, Descriptor]


class Kernel:
    """Tables, and a plain dict beside each; ``held`` counts what holds each end open."""

    def __init__(self) -> None:
        self.held: Counter[tuple[int, int]] = Counter()
        self.released: list[tuple[int, int]] = []
        self.tables: list[tuple[Table, Model]] = [(Table(self.hold, self.release), {})]

    def hold(self, descriptor: Descriptor) -> None:
        """Count a descriptor that begins to hold an end open."""
        self.held[descriptor.pipe, descriptor.end] += 1

    def release(self, descriptor: Descriptor) -> None:
        """Count one that ends."""
        end = descriptor.pipe, descriptor.end
        self.held[end] -= 1
        assert self.held[end] >= 0
        if not self.held[end]:
            self.released.append(end)

    def step(self, draw: random.Random, pipe: int) -> None:
        """Do something to a table and to its model."""
        number = draw.randrange(len(self.tables))
        table, model = self.tables[number]
        fd = draw.choice((draw.randrange(4), draw.randrange(120, 136), draw.randrange(600)))
        low, high = fd, draw.choice((None, fd, fd + draw.randrange(300)))
        inside = [each for each in model if low <= each and (high is None or each <= high)]
        action = draw.choice(("put", "put", "put", "drop", "mark", "fork", "exec", "range", "marks", "leave"))
        if action == "put":
            model[fd] = Descriptor(pipe, draw.randrange(2), draw.random() < 0.3)
            table.put(fd, model[fd])
        elif action == "drop":
            table.drop(fd)
            model.pop(fd, None)
        elif action in ("mark", "marks"):
            closes = draw.random() < 0.5
            for each in [fd] if action == "mark" else table.between(low, high):
                table.mark(each, closes)
            for each in [fd] if action == "mark" else inside:
                if each in model:
                    model[each] = attrs.evolve(model[each], close_on_exec=closes)
        elif action == "fork" and len(self.tables) < 6:
            self.tables.append((table.fork(), model.copy()))
        elif action == "exec":
            table.exec()
            for each in [each for each in model if model[each].close_on_exec]:
                del model[each]
        elif action == "range":
            table.close_range(low, high)
            for each in inside:
                del model[each]
        elif action == "leave" and len(self.tables) > 1:
            table.leave()
            del self.tables[number]

    def check(self) -> None:
        """Compare all tables with their models, and what is held with what they refer to."""
        for table, model in self.tables:
            assert {fd: table.get(fd) for fd in table.between(0, None)} == model
        used = {(known.pipe, known.end) for _, model in self.tables for known in model.values()}
        assert {end for end, count in self.held.items() if count} == used


@pytest.mark.parametrize("seed", some(range(200), 5))
def test_tables_that_share_are_tables_of_their_own(seed: int) -> None:
    """After every step each table is as a dict would be, and an end is held as long as some table refers to it."""
    draw = random.Random(seed)
    kernel = Kernel()
    for pipe in range(150):
        kernel.step(draw, pipe)
        kernel.check()
    for table, _ in kernel.tables:
        table.leave()
    assert not any(kernel.held.values())


@pytest.mark.parametrize("close", [Table.leave, Table.exec, lambda table: table.close_range(0, None)])
def test_what_closes_many_closes_the_lowest_first(close: Any) -> None:
    """The order is that of the numbers, whatever the order in which they were opened."""
    kernel = Kernel()
    table, _ = kernel.tables[0]
    numbers = [300, 5, 128, 4, 1000, 127]
    for fd in numbers:
        table.put(fd, Descriptor(fd, 0, close_on_exec=True))
    close(table)
    assert kernel.released == [(fd, 0) for fd in sorted(numbers)]


def test_a_fork_copies_no_descriptor() -> None:
    """Ten thousand forks of a table of ten thousand descriptors hold nothing more, and a write copies one sheet."""
    kernel = Kernel()
    table, _ = kernel.tables[0]
    for fd in range(10_000):
        table.put(fd, Descriptor(fd, 0))
    copies = [table.fork() for _ in range(1000)]
    assert sum(kernel.held.values()) == 10_000
    copies[0].drop(7)
    assert sum(kernel.held.values()) == 10_000 + 127
    assert copies[0].get(7) is None
    assert table.get(7) == Descriptor(7, 0)
