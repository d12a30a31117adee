"""The numbers of descriptors in use, against a kernel that gives the lowest free number."""

from __future__ import annotations

import random
from itertools import count

import pytest

from coalloc.workload.descriptors import MOST, Numbers
from tests import NIGHTLY


class Kernel:
    """Descriptor tables as sets, of which the lowest free number is looked up."""

    def __init__(self) -> None:
        self.tables: dict[int, dict[int, bool]] = {1: dict.fromkeys(range(3), False)}

    def lowest(self, pid: int) -> int:
        """Take the lowest free number."""
        number = next(free for free in count() if free not in self.tables[pid])
        self.tables[pid][number] = False
        return number


@pytest.mark.parametrize("seed", range(500 if NIGHTLY else 60))
def test_the_numbers_of_a_pipe_are_those_that_a_kernel_gives(seed: int) -> None:
    """Through opens, closes, copies, forks with and without sharing, and exec, each pipe gets the right two numbers."""
    draw, kernel, numbers = random.Random(seed), Kernel(), Numbers()
    for step in range(200):
        pid = draw.choice(list(kernel.tables))
        table = kernel.tables[pid]
        do = draw.choice(
            ("pipe", "pipe", "open", "open", "close", "close", "dup2", "range", "mark", "fork", "exec", "exit")
        )
        closes = draw.random() < 0.3
        if do == "pipe":
            expected = kernel.lowest(pid), kernel.lowest(pid)
            assert numbers.pipe(pid, closes=closes) == expected
            table.update(dict.fromkeys(expected, closes))
        elif do == "open":
            number = kernel.lowest(pid)
            table[number] = closes
            numbers.made(pid, number, closes=closes)
        elif do == "close" and table:
            number = draw.choice(list(table))
            del table[number]
            numbers.close(pid, number)
        elif do == "dup2":
            number = draw.choice((1, 5, 9, 20, 300))
            table[number] = closes
            numbers.chosen(pid, number, closes=closes)
        elif do == "range":
            first, last = draw.randrange(12), draw.choice((None, 4, 15))
            numbers.close_range(pid, first, last, on_exec=closes)
            for number in [each for each in table if each >= first and (last is None or each <= last)]:
                if closes:
                    table[number] = True
                else:
                    del table[number]
        elif do == "mark" and table:
            number = draw.choice(list(table))
            table[number] = closes
            numbers.mark(pid, number, closes=closes)
        elif do == "fork" and len(kernel.tables) < 5:
            kernel.tables[step + 10] = table if closes else dict(table)
            numbers.fork(pid, step + 10, shares=closes)
        elif do == "exec":
            kernel.tables[pid] = {number: False for number, marked in table.items() if not marked}
            numbers.exec(pid)
        elif do == "exit" and len(kernel.tables) > 1:
            del kernel.tables[pid]
            numbers.exit(pid)
    assert numbers.misderived == 0


def test_a_result_tells_that_all_lower_numbers_are_in_use() -> None:
    """What was inherited is not known; the first open that returns shows it."""
    numbers = Numbers()
    numbers.made(1, 7)
    assert numbers.pipe(1, closes=False) == (8, 9)


def test_an_open_that_gets_a_number_of_a_derived_pipe_contradicts_it() -> None:
    """The number was free after all, and the pipe has others; a close in between makes it right."""
    numbers = Numbers()
    assert numbers.pipe(1, closes=False) == (3, 4)
    numbers.made(1, 4)
    assert numbers.misderived == 1
    numbers.close(1, 3)
    numbers.made(1, 3)
    assert (numbers.derived, numbers.misderived) == (1, 1)


def test_a_range_in_the_middle_of_many_numbers_costs_little() -> None:
    """A set of numbers is one int; numbers that no machine has are passed over."""
    numbers = Numbers()
    numbers.made(1, MOST - 1)
    numbers.made(1, 10**9)
    numbers.chosen(1, 10**9)
    numbers.close_range(1, 5, 10**8)
    numbers.close_range(1, 10**8, 10**9)
    numbers.close(1, 10**9)
    assert numbers.pipe(1, closes=False) == (5, 6)
