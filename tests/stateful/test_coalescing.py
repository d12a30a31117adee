"""The reference against the oracle, call by call and address by address, for every fit, with and without a cache."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from coalloc.contract import EAGER, NEVER, RETAIN, Fit
from coalloc.errors import BadFreeError, SpanOverlapError
from coalloc.extent import Extent
from tests.stateful.model import PAGE, Twin


class AgainstOracle(RuleBasedStateMachine):
    """Random programs of every operation, on small arenas."""

    fit = Fit.BEST
    cache = 0

    @initialize(
        limit=st.integers(4, 24),
        room=st.integers(0, 8),
        arena=st.integers(1, 10),
        release=st.sampled_from([EAGER, RETAIN(1), RETAIN(2), NEVER]),
    )
    def start(self, limit: int, room: int, arena: int, release: Any) -> None:
        self.twin = Twin(
            fit=self.fit, n_pages=max(limit + room - 4, 2), limit=limit, arena=arena, cache=self.cache, release=release
        )

    @rule(n_pages=st.integers(1, 6))
    def alloc(self, n_pages: int) -> None:
        self.twin.alloc(n_pages * PAGE)

    @rule(size=st.integers(1, 12 * PAGE))
    def alloc_odd(self, size: int) -> None:
        self.twin.alloc(size)

    @rule(
        n_pages=st.integers(1, 4),
        align=st.sampled_from([0, 1, PAGE, 2 * PAGE, 4 * PAGE]),
        phase=st.integers(0, 3),
        nocross=st.sampled_from([0, 4 * PAGE, 8 * PAGE]),
        lo=st.integers(0, 16),
        length=st.integers(0, 32),
        bounded=st.booleans(),
    )
    def xalloc(
        self, n_pages: int, align: int, phase: int, nocross: int, lo: int, length: int, *, bounded: bool
    ) -> None:
        bounds = {"align": align, "phase": phase * PAGE if phase * PAGE < align else 0, "nocross": nocross}
        if bounded:
            bounds |= {"lo": lo * PAGE, "hi": (lo + length) * PAGE - 1 if length else lo * PAGE}
        self.twin.alloc(n_pages * PAGE, **bounds)

    @precondition(lambda self: self.twin.live)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        self.twin.free(data.draw(st.sampled_from(sorted(self.twin.live))))

    @precondition(lambda self: self.twin.live)
    @rule(data=st.data(), n_pages=st.integers(1, 8))
    def resize(self, data: st.DataObject, n_pages: int) -> None:
        self.twin.resize(data.draw(st.sampled_from(sorted(self.twin.live))), n_pages * PAGE)

    @precondition(lambda self: self.twin.oracle.holes())
    @rule(data=st.data())
    def reserve(self, data: st.DataObject) -> None:
        base, size = data.draw(st.sampled_from(self.twin.oracle.holes()))
        first = data.draw(st.integers(0, size // PAGE - 1))
        n_pages = data.draw(st.integers(1, size // PAGE - first))
        self.twin.reserve(base + first * PAGE, n_pages * PAGE)

    @rule(page=st.integers(0, 40), n_pages=st.integers(1, 4))
    def reserve_anywhere(self, page: int, n_pages: int) -> None:
        inside = any(b <= page * PAGE and (page + n_pages) * PAGE <= b + s for b, s in self.twin.oracle.holes())
        if not inside:
            before = self.twin.space.segments()
            with pytest.raises(SpanOverlapError):
                self.twin.space.reserve(Extent(page * PAGE, n_pages * PAGE))
            assert self.twin.space.segments() == before

    @rule(address=st.integers(0, 40 * PAGE))
    def free_wild(self, address: int) -> None:
        if address not in self.twin.live:
            before = self.twin.space.segments(), self.twin.space.stats()
            with pytest.raises(BadFreeError) as mine:
                self.twin.space.free(address)
            with pytest.raises(BadFreeError) as theirs:
                self.twin.oracle.free(address)
            assert (mine.value.fault, mine.value.inside) == (theirs.value.fault, theirs.value.inside)
            assert (self.twin.space.segments(), self.twin.space.stats()) == before

    @rule()
    def reclaim(self) -> None:
        self.twin.reclaim()

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "twin"):
            self.twin.compare()

    def teardown(self) -> None:
        if hasattr(self, "twin"):
            self.twin.finish()


@pytest.mark.parametrize("cache", [0, 2], ids=["plain", "cached"])
@pytest.mark.parametrize("fit", Fit, ids=lambda fit: fit.value)
def test_the_space_does_what_the_oracle_says(fit: Fit, cache: int) -> None:
    """Every address, refusal, figure and release is the one that the brute-force specification derives."""

    class Machine(AgainstOracle):
        pass

    Machine.fit, Machine.cache = fit, cache
    run_state_machine_as_test(Machine, settings=settings(stateful_step_count=30))
