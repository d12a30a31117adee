"""Corrupt one field of what surrounds a pipe: check() reports exactly that invariant's code."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coalloc import InvariantViolation
from coalloc.kernel import LAYOUTS, FdTable, Lock, Witness, Zone


def zone() -> Zone[list[int]]:
    """Make a zone with three items drawn and one of them freed."""
    made: Zone[list[int]] = Zone("PIPE", list, per_slab=2)
    items = [made.alloc() for _ in range(3)]
    made.free(items[0])
    made.check()
    return made


def tree() -> FdTable:
    """Make a descriptor table with a tree and a hole."""
    table = FdTable(LAYOUTS["dragonfly"])
    for _ in range(40):
        table.alloc()
    table.free(5)
    table.check()
    return table


def witness() -> Witness:
    """Make a witness that has learned an order."""
    watcher = Witness(order=())
    with watcher.held(Lock("a"), "x.c", 1), watcher.held(Lock("b"), "x.c", 2):
        pass
    watcher.check()
    return watcher


def stray_item(made: Zone[list[int]]) -> None:
    made._slabs[0].append([])


Checked = Zone[list[int]] | FdTable | Witness
CORRUPTIONS: list[tuple[str, Callable[[], Checked], Callable[..., object], str]] = [
    ("allocs", zone, lambda z: z._counts.update(allocs=9), "PI5"),
    ("inits", zone, lambda z: z._counts.update(inits=9), "PI5"),
    ("slab", zone, stray_item, "PI5"),
    ("open", tree, lambda t: setattr(t, "_open", 7), "F1"),
    ("hint", tree, lambda t: setattr(t, "_hint", 30), "F1"),
    ("count", tree, lambda t: t._counts.__setitem__(7, 3), "F1"),
    ("order", witness, lambda w: w._learn("b", "a"), "L1"),
]


@pytest.mark.parametrize(("make", "corrupt", "code"), [c[1:] for c in CORRUPTIONS], ids=[c[0] for c in CORRUPTIONS])
def test_a_corruption_is_reported_with_its_code(
    make: Callable[[], Checked], corrupt: Callable[..., object], code: str
) -> None:
    """Each corruption is reported with its code and no other."""
    checked = make()
    corrupt(checked)
    with pytest.raises(InvariantViolation) as caught:
        checked.check()
    assert set(caught.value.codes) == {code}
