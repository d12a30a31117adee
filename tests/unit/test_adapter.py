"""Adapters and forwarding: what an allocator lacks is made up for or said, and what it has is passed through."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from coalloc import (
    COSTS,
    ERAS,
    CachedSpace,
    CoalescingSpace,
    Contract,
    Design,
    Extent,
    Fit,
    ForwardingSpace,
    KernelMap,
    PerPipeSpace,
    Resize,
    SpaceStats,
    replay,
)
from coalloc.contract import Capability, capabilities_of
from coalloc.designs import of_factory
from coalloc.errors import BadFreeError, ExhaustionError, FreeFault
from coalloc.space.adapter import NEEDED, Adapted, AdaptedPerCpu, adapted
from coalloc.space.protocol import PerCpu
from coalloc.workload.generators import churn, exhaustion

PAGE = 4096


class Least:
    """Alloc and free, each by one mapping of whole pages; a limit of four pages."""

    def __init__(self, source: Any, *, kva_limit: int = 4 * PAGE) -> None:
        self.source, self.left, self.sizes = source, kva_limit, {}  # type: ignore[var-annotated]

    def alloc(self, size: int) -> int:
        """Map."""
        size += -size % PAGE
        if size > self.left:
            raise MemoryError("full")
        base: int = self.source.map(size)
        self.sizes[base] = size
        self.left -= size
        return base

    def free(self, base: int) -> None:
        """Unmap."""
        self.left += self.sizes[base]
        self.source.unmap(base, self.sizes.pop(base))


def least() -> tuple[KernelMap, Any]:
    """A map, and the least allocator over it in its adapter."""
    kernel = KernelMap()
    return kernel, adapted(Least(kernel), kernel, limit=4 * PAGE)


# --- the adapter ---------------------------------------------------------------------------------------------


def test_a_space_that_has_everything_is_not_adapted() -> None:
    """It is handed back as it is."""
    kernel = KernelMap()
    for space in (CoalescingSpace(kernel, kva_limit=1 << 23), ForwardingSpace(PerPipeSpace(kernel, kva_limit=1 << 23))):
        assert adapted(space, kernel, limit=1) is space


def test_what_alloc_and_free_alone_lack_is_made_up_for() -> None:
    """Sizes are kept, buffers move, pages are touched in the source, and calls and bytes are counted."""
    kernel, space = least()
    assert space.lacks == NEEDED
    assert (space.quantum, space.kva_limit, space.contract) == (PAGE, 4 * PAGE, Contract(None, resize=Resize.MOVING))
    base = space.alloc(100)
    assert space.size_of(base) == PAGE
    assert space.resize(base, 200) == base
    moved = space.resize(base, 2 * PAGE)
    assert moved != base
    assert space.size_of(moved) == 2 * PAGE
    space.touch(moved, PAGE)
    assert kernel.counters().resident == PAGE
    space.discard(moved, PAGE)
    assert kernel.counters().resident == 0
    assert (space.reclaim(), space.segments(), space.violations()) == (0, (), ())
    assert space.render() == "the allocator does not show its arenas"
    with pytest.raises(ExhaustionError) as caught:
        space.alloc(4 * PAGE)
    assert (caught.value.request, caught.value.mapped, caught.value.kva_limit) == (4 * PAGE, 2 * PAGE, 4 * PAGE)
    space.free(moved)
    assert space.stats() == SpaceStats(allocs=2, frees=2, resizes_moved=1, refusals=1, knows_holes=False)


@pytest.mark.parametrize(("address", "fault"), [(1, FreeFault.NEVER_ALLOCATED), (0, FreeFault.FREED_TWICE)])
def test_a_bad_free_is_refused_before_the_allocator_sees_it(address: int, fault: FreeFault) -> None:
    """A second free is told from an address that was never handed out."""
    _, space = least()
    base = space.alloc(PAGE)
    space.free(base)
    for call in (space.free, space.size_of, lambda base: space.resize(base, PAGE)):
        with pytest.raises(BadFreeError) as caught:
            call(base + address)
        assert caught.value.fault is fault


def test_what_the_allocator_has_is_used() -> None:
    """Its own resize, sizes, figures, contract and refusals; resizes are counted by what became of them."""
    kernel = KernelMap()
    below = CoalescingSpace(kernel, kva_limit=1 << 22)
    space = Adapted(below, kernel, limit=1)
    assert space.lacks == ()
    assert (space.contract, space.quantum, space.kva_limit) == (below.contract, below.quantum, below.kva_limit)
    base = space.alloc(PAGE)
    assert space.resize(base, 2 * PAGE) == base
    space.alloc(PAGE)
    moved = space.resize(base, 4 * PAGE)
    assert moved != base
    assert space.size_of(moved) == 4 * PAGE
    assert space.segments() == below.segments()
    assert space.stats() == below.stats()
    assert (space.violations(), space.render()) == ((), below.render())
    with pytest.raises(ExhaustionError) as caught:
        space.alloc(1 << 23)
    assert caught.value.free == below.stats().free
    space.free(moved)
    assert space.reclaim() == 0


def test_an_allocator_with_a_cpu_is_told_on_which_one_it_runs() -> None:
    """The adapter passes the number on, and replay asks for it."""
    told: set[int] = set()

    class OnCpus(Least):
        cpu = 0

        def alloc(self, size: int) -> int:
            told.add(self.cpu)
            return super().alloc(size)

    kernel = KernelMap()
    space = adapted(OnCpus(kernel), kernel, limit=PAGE)
    assert isinstance(space, AdaptedPerCpu)
    assert isinstance(space, PerCpu)
    space.cpu = 3
    assert (space.below.cpu, space.cpu) == (3, 3)
    assert not isinstance(least()[1], PerCpu)
    replay(churn(live=20, operations=100), of_factory("x", OnCpus), era=ERAS["2006"], limit=1 << 24, cpus=3)
    assert told == {0, 1, 2}


def test_fragmentation_is_not_known_where_nobody_tells_of_holes() -> None:
    """With figures of its own it is what they say, and calls are counted whatever the contract."""

    class Counts(Least):
        def stats(self) -> SpaceStats:
            return SpaceStats(free=8, largest_hole=4, allocs=5, frees=4)

    load = churn(live=20, operations=100)
    for kind, fragmentation, carves in ((Least, None, 0), (Counts, 0.5, 0)):
        outcome = replay(load, of_factory("x", kind), era=ERAS["2006"], limit=1 << 24)
        assert (outcome.mean_external_fragmentation, outcome.work.carves) == (fragmentation, carves)
        assert outcome.allocs_refused == 0


def test_what_a_design_declares_changes_nothing_of_its_estimate() -> None:
    """Every design pays for its calls alike, whether it declares a fit or none, and is the reference under any name."""
    load = exhaustion(pipes=200)
    reference = CoalescingSpace

    class Undeclared(CoalescingSpace):
        contract = Contract(fit=None)

    costs = {
        replay(load, of_factory("x", kind), era=ERAS["2006"], limit=1 << 24).estimate(COSTS["measured"]).ns
        for kind in (reference, Undeclared)
    }
    assert len(costs) == 1
    declared = attrs.evolve(Contract(fit=None), fit=Fit.FIRST)
    one_by_one = {
        replay(load, of_factory("x", kind), era=ERAS["2006"], limit=1 << 24).estimate(COSTS["measured"]).ns
        for kind in (Least, type("Declared", (Least,), {"contract": declared}))
    }
    assert len(one_by_one) == 1


# --- forwarding ----------------------------------------------------------------------------------------------


def test_every_call_goes_through_to_the_space_below() -> None:
    """Each gives what the same calls give on the space itself."""
    spaces: list[Any] = [CoalescingSpace(KernelMap(base=0), kva_limit=1 << 23) for _ in range(2)]
    front = ForwardingSpace(spaces[0])
    for space in (front, spaces[1]):
        bases = [space.alloc(PAGE), space.xalloc(PAGE, align=4 * PAGE), space.map(2 * PAGE)]
        space.reserve(Extent(64 * PAGE, PAGE))
        bases[0] = space.resize(bases[0], 2 * PAGE)
        space.touch(bases[0], PAGE)
        space.discard(bases[0], PAGE)
        space.free(bases[1])
        space.unmap(bases[2], 2 * PAGE)
        space.reclaim()
        space.check()
    for name in ("contract", "quantum", "kva_limit", "granule"):
        assert getattr(front, name) == getattr(spaces[1], name)
    for name in ("segments", "stats", "render", "violations", "available"):
        assert getattr(front, name)() == getattr(spaces[1], name)()
    assert front.size_of(64 * PAGE) == PAGE
    assert front.maps(64 * PAGE, PAGE)


def test_a_space_in_front_can_do_what_the_space_below_can() -> None:
    """Nothing more; and a subclass may do less by None, and more by a member of its own."""

    class Shy(ForwardingSpace):
        resize = None  # type: ignore[assignment]
        cpu = 0

    class Proud(ForwardingSpace):
        def xalloc(self, size: int, **bounds: int) -> int:
            return self.alloc(size + sum(bounds.values()) * 0)

    full, bare = CoalescingSpace(KernelMap(), kva_limit=1 << 23), PerPipeSpace(KernelMap(), kva_limit=1 << 23)
    for below in (full, bare, Least(KernelMap())):
        assert capabilities_of(ForwardingSpace(below)) == capabilities_of(below)
    assert capabilities_of(full) - {Capability.RESIZE} | {Capability.CPU} == capabilities_of(Shy(full))
    assert Capability.XALLOC in capabilities_of(Proud(bare)) - capabilities_of(bare)
    assert Capability.CPU not in capabilities_of(ForwardingSpace(CachedSpace(bare, sizes=[PAGE])))


def test_a_prototype_over_another_space_runs_with_the_figures_of_that_space() -> None:
    """Replay shows its statistics, and pipes resize through it."""

    class Counted(ForwardingSpace):
        calls = 0

        def alloc(self, size: int) -> int:
            self.calls += 1
            return super().alloc(size)

    made: list[Counted] = []

    def make(_state: object, kernel: KernelMap, limit: int) -> Counted:
        made.append(Counted(CoalescingSpace(kernel, kva_limit=limit, fit=Fit.FIRST)))
        return made[-1]

    mine = Design("mine", "", make, resize_in_place=True)
    outcome = replay(churn(live=20, operations=100), mine, era=ERAS["2006"], limit=1 << 24)
    assert outcome.space.allocs == made[0].calls == 70
    assert attrs.evolve(outcome.space, allocs=0).imports == 1
