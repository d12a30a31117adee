"""Object zones: what is called when, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from coalloc.errors import InvalidRequestError, PanicError
from coalloc.kernel import Zone


def logged(per_slab: int = 2) -> tuple[Zone[list[str]], list[str]]:
    """Make a zone that logs its calls."""
    log: list[str] = []

    def note(name: str) -> Callable[[list[str]], object]:
        return lambda _item: log.append(name)

    zone: Zone[list[str]] = Zone(
        "PIPE", list, ctor=note("ctor"), dtor=note("dtor"), init=note("init"), fini=note("fini"), per_slab=per_slab
    )
    return zone, log


def test_a_slab_is_initialised_once_and_an_item_constructed_at_each_use() -> None:
    """A slab's items are initialised once, constructed at each use, and finalised when the slab is released."""
    zone, log = logged()
    item = zone.alloc()
    zone.free(item)
    assert zone.alloc() is item
    zone.free(item)
    assert log == ["init", "init", "ctor", "dtor", "ctor", "dtor"]
    assert zone.reclaim() == 2
    assert log[6:] == ["fini", "fini"]
    counts = zone.counters()
    assert (counts.allocs, counts.frees, counts.inits, counts.finis, counts.slabs) == (2, 2, 2, 2, 0)
    assert zone.violations() == ()


def test_only_slabs_that_are_wholly_free_go() -> None:
    """A slab is released only when all its items are free."""
    zone, _ = logged()
    items = [zone.alloc() for _ in range(3)]
    zone.free(items[0])
    zone.free(items[2])
    assert zone.reclaim() == 2
    assert zone.counters().live == 1
    zone.free(items[1])
    assert zone.reclaim() == 2
    zone.check()


def test_the_item_freed_last_is_handed_out_first() -> None:
    """The item that was freed last is handed out first."""
    zone, _ = logged(per_slab=4)
    first, second = zone.alloc(), zone.alloc()
    zone.free(second)
    zone.free(first)
    assert zone.alloc() is first


def test_a_free_of_what_is_not_in_use_panics_and_changes_nothing() -> None:
    """Freeing an item twice, or an item of no zone, panics and changes nothing."""
    zone, _ = logged()
    item = zone.alloc()
    zone.free(item)
    before = zone.counters()
    for stranger in (item, ["stranger"]):
        with pytest.raises(PanicError, match="PIPE: an item is freed that is not in use"):
            zone.free(stranger)
    assert zone.counters() == before


@pytest.mark.parametrize("per_slab", [0, -1, 1.5, True])
def test_a_slab_has_a_whole_number_of_items(per_slab: int) -> None:
    """A slab size that is not a whole number of at least one is refused."""
    with pytest.raises(InvalidRequestError):
        Zone("PIPE", list, per_slab=per_slab)
