"""`Design`: a kernel map, a space over it and pipes over that, by a kernel state and a limit."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from coalloc import (
    DESIGNS,
    ERAS,
    STATES,
    CoalescingSpace,
    Design,
    Fit,
    KernelMap,
    LinuxPipes,
    PerPipeSpace,
    PipeSystem,
    SimClock,
)
from coalloc.designs import of_factory
from coalloc.errors import InvalidRequestError
from coalloc.pipes.design import KERNEL_MAP_SIZE, PER_PIPE, pipes_of
from coalloc.pipes.eras import KernelState
from coalloc.space.adapter import Adapted
from coalloc.units import PAGE_SIZE

LIMIT = 1 << 22


@pytest.mark.parametrize("state", STATES)
def test_the_map_is_as_large_as_the_limit_where_the_limit_is_the_map(state: str) -> None:
    """Elsewhere it is the kernel's, or as large as the limit where that is larger; whole pages in any case."""
    hard = STATES[state].maxpipekva_is_hard
    for limit in (LIMIT + 1, KERNEL_MAP_SIZE + PAGE_SIZE):
        whole = limit // PAGE_SIZE * PAGE_SIZE
        bench = PER_PIPE.build(STATES[state], limit, cpus=3)
        assert bench.kernel.size == (whole if hard else max(whole, KERNEL_MAP_SIZE))
        assert bench.space.kva_limit == bench.kernel.size
        assert bench.kernel.cpus == 3


def test_a_design_of_another_kernel_keeps_its_own_state() -> None:
    """Whatever is asked for; the others follow."""
    assert DESIGNS["openbsd"].policy(ERAS["2006"]) is STATES["openbsd"]
    assert DESIGNS["vmem"].policy(ERAS["2006"]) is ERAS["2006"]


def test_a_limit_below_a_page_and_what_is_no_size_are_refused() -> None:
    """The error says which it was."""
    for limit, words in ((PAGE_SIZE - 1, "at least a page"), (0, "limit"), ("64M", "limit")):
        with pytest.raises(InvalidRequestError, match=words):
            PER_PIPE.build(ERAS["2006"], limit)  # type: ignore[arg-type]
    assert PER_PIPE.build(ERAS["2006"], PAGE_SIZE).kernel.size == PAGE_SIZE


def test_objects_of_their_own_are_for_buffers_that_are_mapped_one_by_one() -> None:
    """In July 2003 neighbouring mappings do not merge, but those of a design with arenas do not ask for objects."""
    entries = {}
    for name in ("2003-07", "2004-01"):
        for design in (PER_PIPE, attrs.evolve(PER_PIPE, one_by_one=False)):
            bench = design.build(ERAS[name], LIMIT)
            for _ in range(4):
                bench.space.alloc(PAGE_SIZE)
            entries[name, design.one_by_one] = bench.kernel.counters().peak_entries
    assert entries == {("2003-07", True): 4, ("2003-07", False): 1, ("2004-01", True): 1, ("2004-01", False): 1}


def test_pipes_are_those_of_the_states_kernel() -> None:
    """FreeBSD's records and Linux's give their own; a record of another kind is refused."""
    space = PER_PIPE.build(ERAS["2006"], LIMIT).space
    clock = SimClock(7)
    for state, kind in ((ERAS["2006"], PipeSystem), (STATES["netbsd-2009"], PipeSystem), (STATES["linux"], LinuxPipes)):
        pipes = pipes_of(state, space, LIMIT, clock)
        assert type(pipes) is kind
        assert pipes.clock is clock
    other = KernelState(
        name="new", title="", kernel="New", maxpipekva_is_hard=False, own_object=False, findspace="tree"
    )
    with pytest.raises(InvalidRequestError, match="is no kernel state whose pipes are known"):
        pipes_of(other, space, LIMIT)


def test_what_a_factory_lacks_is_made_up_for() -> None:
    """A design may make anything with alloc and free."""

    class Least:
        def __init__(self, space: PerPipeSpace) -> None:
            self.alloc, self.free = space.alloc, space.free

    design = Design("least", "", lambda _state, kernel, limit: Least(PerPipeSpace(kernel, kva_limit=limit)))
    bench = design.build(ERAS["current"], LIMIT)
    assert isinstance(bench.space, Adapted)
    pipe = design.pipes(ERAS["current"], bench.space, LIMIT).pipe()
    assert pipe.write(1, 60_000) == 60_000
    assert (pipe.close(0), pipe.close(1)) == (True, True)
    assert bench.space.stats().live == 0


def test_the_kit_makes_a_design_by_its_subject_or_with_todays_state() -> None:
    """A design that is another kernel's is made with that kernel's state."""
    seen: list[str] = []

    def make(state: KernelState, kernel: object, limit: int) -> object:
        seen.append(state.name)
        return kernel, limit

    plain = Design("x", "", make)
    assert plain.factory("source", kva_limit=5) == ("source", 5)
    assert attrs.evolve(plain, state=STATES["linux"]).factory("source", kva_limit=5) == ("source", 5)
    assert seen == ["current", "linux"]
    assert attrs.evolve(plain, subject=make).factory is make


def test_parameters_can_be_set_by_their_names() -> None:
    """What makes the space says which there are; the name of the design tells what is set."""
    plain = DESIGNS["coalescing"]
    assert list(plain.parameters) == ["arena_size", "quantum", "fit", "quantum_cache", "release"]
    assert plain.configured() is plain
    first = plain.configured(fit=Fit.FIRST, arena_size=1 << 20)
    assert first.name == "coalescing(arena_size=1M, fit=first)"
    again = first.configured(arena_size=3 << 10, quantum_cache=0)
    assert again.name == "coalescing(arena_size=3K, fit=first, quantum_cache=0)"
    space: Any = first.build(ERAS["2006"], 1 << 24).space
    space.alloc(4096)
    assert (space.stats().mapped, space.fit) == (1 << 20, Fit.FIRST)
    assert first.factory(KernelMap(), kva_limit=1 << 24).fit is Fit.FIRST
    cached = DESIGNS["coalescing+cache"].configured(fit=Fit.FIRST).build(ERAS["2006"], 1 << 24).space
    cached.free(cached.alloc(4096))
    assert cached.stats().cached == 4096


def test_a_design_of_ones_own_has_the_parameters_of_its_factory() -> None:
    """Keyword parameters can be set, its limit excepted; others cannot, and what there are is said."""

    def mine(source: Any, *, kva_limit: int, arena: int = 1 << 20) -> Any:
        return CoalescingSpace(source, kva_limit=kva_limit, arena_size=arena)

    design = of_factory("mine", mine)
    assert list(design.parameters) == ["arena"]
    assert design.configured(arena=1 << 21).factory(KernelMap(), kva_limit=1 << 24).alloc(1)
    with pytest.raises(InvalidRequestError, match="is no parameter of mine; there are arena"):
        design.configured(size=1)
    with pytest.raises(InvalidRequestError, match="is no parameter of linux; it has none"):
        DESIGNS["linux"].configured(arena_size=1)
    with pytest.raises(InvalidRequestError, match="arena_size"):
        DESIGNS["coalescing"].configured(arena_size=5).build(ERAS["2006"], 1 << 24)
    assert attrs.evolve(PER_PIPE, maker=type(None)).parameters == {}


class Unhashable:
    """A factory that compares by value, so that it has no hash."""

    def __eq__(self, other: object) -> bool:
        """Equal any of its kind."""
        return isinstance(other, Unhashable)

    def __call__(self, source: KernelMap, *, kva_limit: int, depth: int = 3) -> PerPipeSpace:
        """Make a space."""
        return PerPipeSpace(source, kva_limit=kva_limit * depth)


def test_the_parameters_of_a_factory_without_a_hash_are_known() -> None:
    """A design made of a factory that cannot be hashed tells its parameters and takes them."""
    design = of_factory("mine", Unhashable())
    assert list(design.parameters) == ["depth"]
    assert design.configured(depth=2).name == "mine(depth=2)"
