"""`Limit`: no more than so many bytes are mapped through it, whoever asks, and every call reaches the source."""

from __future__ import annotations

import pytest

from coalloc import CoalescingSpace, ExhaustionError, InvalidRequestError, KernelMap, KvaLimitError, Limit, NoSpaceError
from coalloc.contract import NEVER

PAGE = 4096


def test_the_limit_is_kept_to_the_page_and_the_source_is_not_asked_beyond_it() -> None:
    """Sizes count as they are rounded; what is unmapped can be mapped again."""
    kernel = KernelMap()
    limit = Limit(kernel, 3 * PAGE + 100)
    assert (limit.granule, limit.available()) == (PAGE, 3 * PAGE)
    base = limit.map(2 * PAGE - 1)
    assert (limit.mapped, limit.available(), limit.maps(base, 2 * PAGE)) == (2 * PAGE, PAGE, True)
    with pytest.raises(KvaLimitError) as caught:
        limit.map(PAGE + 1)
    assert (caught.value.request, caught.value.mapped, caught.value.kva_limit) == (2 * PAGE, 2 * PAGE, 3 * PAGE + 100)
    assert kernel.counters().map_ops == 1
    limit.touch(base, PAGE)
    assert kernel.counters().resident == PAGE
    limit.discard(base, PAGE)
    assert kernel.counters().resident == 0
    limit.unmap(base, 2 * PAGE)
    assert (limit.mapped, limit.maps(base, PAGE), kernel.counters().mapped) == (0, False, 0)


def test_a_call_that_the_source_refuses_counts_nothing() -> None:
    """Neither a map that has no room nor an unmap of what is not mapped."""
    limit = Limit(KernelMap(size=2 * PAGE), 1 << 20)
    assert limit.available() == 2 * PAGE
    with pytest.raises(NoSpaceError):
        limit.map(3 * PAGE)
    with pytest.raises(Exception, match="0x"):
        limit.unmap(0, PAGE)
    assert limit.mapped == 0


@pytest.mark.parametrize("value", [0, -1, 2**63 + 1, 1.5, "4096", None, True])
def test_what_is_no_size_is_refused(value: object) -> None:
    """As a limit, and as what is to be mapped."""
    with pytest.raises(InvalidRequestError, match="limit"):
        Limit(KernelMap(), value)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="size"):
        Limit(KernelMap(), PAGE).map(value)  # type: ignore[arg-type]


def test_two_spaces_share_one_limit() -> None:
    """What one holds the other cannot have, until it is given back; both refuse as at a limit of their own."""
    shared = Limit(KernelMap(), 8 * PAGE)
    one, two = (CoalescingSpace(shared, kva_limit=1 << 20, arena_size=4 * PAGE, release=NEVER) for _ in range(2))
    held = [one.alloc(4 * PAGE), one.alloc(2 * PAGE)]
    assert shared.mapped == 8 * PAGE
    with pytest.raises(ExhaustionError):
        two.alloc(PAGE)
    one.free(held[0])
    assert one.reclaim() == 4 * PAGE
    two.alloc(3 * PAGE)
    assert (shared.mapped, one.stats().mapped, two.stats().mapped) == (8 * PAGE, 4 * PAGE, 4 * PAGE)
    one.check()
    two.check()
