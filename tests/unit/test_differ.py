"""Two allocators side by side: where they differ a shortest program is found, and where they do not, nothing is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from coalloc import CoalescingSpace, Completeness, Contract, Fit, InvalidRequestError, PerPipeSpace
from coalloc.testing import MUTANTS, SUBJECTS, Action, CheckProgram, Step, Subject, World, dumps, loads
from coalloc.testing.differ import Differed, Difference, Ignore, Pair, differ, differ_on, differ_small
from coalloc.testing.properties import Breach, Property
from coalloc.testing.targets import find_target
from tests.unit.c_allocators import SKELETON, changed

PAGE = 4096
NEEDS_CC = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


def pair_of(first: Any, second: Any, *ignore: Ignore, figures: bool = False) -> Pair:
    """Return two factories, or subjects by their names, as a pair."""
    one, two = (SUBJECTS[each] if isinstance(each, str) else each for each in (first, second))
    return Pair(Subject(one), Subject(two), ("one", "two"), frozenset(ignore), figures)


def found_by(pair: Pair, programs: int = 60) -> Difference | None:
    """Return the difference that some programs find."""
    return differ(pair, programs=range(programs)).difference


def small(change: Callable[[type[CoalescingSpace]], type[CoalescingSpace]] = lambda made: made) -> Any:
    """Return a factory of first-fit spaces with arenas as the world has them, changed."""
    made = change(CoalescingSpace)

    def make(source: Any, *, kva_limit: int, arena_size: int) -> CoalescingSpace:
        return made(source, kva_limit=kva_limit, arena_size=arena_size, fit=Fit.FIRST)

    return make


@pytest.mark.parametrize("name", ["first-fit", "vmem", "buddy", "per-pipe", "dragonfly"])
@pytest.mark.parametrize("ignore", [(), (Ignore.ADDRESSES,), (Ignore.ORDER,), (Ignore.ADDRESSES, Ignore.ORDER)])
def test_an_allocator_does_not_differ_from_itself(name: str, ignore: tuple[Ignore, ...]) -> None:
    """Whatever may differ, nothing does."""
    result = differ(pair_of(name, name, *ignore, figures=True), programs=range(25))
    assert (result.programs, result.difference, result.not_asked, result.ended) == (25, None, (), 0)
    assert result.operations > 25 * 20


@pytest.mark.parametrize(
    ("one", "two", "most"),
    [
        ("first-fit", "coalescing", 3),
        ("vmem", "vmem-sure", 3),
        ("coalescing", "coalescing+cache", 4),
        ("eager", "retain-2", 3),
    ],
)
def test_designs_that_differ_are_told_apart_by_a_short_program(one: str, two: str, most: int) -> None:
    """The program is short, its last step is where they differ, and it shows the same again."""
    pair = pair_of(one, two)
    found = found_by(pair)
    assert found is not None
    assert len(found.program.steps) <= most
    again = differ_on(pair, loads(dumps(found.program)))
    assert (again.programs, again.operations) == (1, len(found.program.steps))
    assert again.difference == found
    assert found.answers[0] != found.answers[1]
    without = attrs.evolve(found.program, steps=found.program.steps[:-1])
    assert differ_on(pair, without).difference is None


def test_the_same_seed_finds_the_same() -> None:
    """The programs depend on the seed and the number alone."""
    pair = pair_of("vmem", "vmem-bestfit")
    assert differ(pair, seed=3) == differ(pair, seed=3)


def test_most_mutants_differ_from_what_they_were() -> None:
    """Of some mutants of the reference most answer otherwise than it, and the programs that show it are short."""
    lengths = []
    for number in (1, 3, 5, 7, 9, 11):
        found = found_by(pair_of("coalescing", MUTANTS[number].make_space), 40)
        if found is not None:
            lengths.append(len(found.program.steps))
    assert len(lengths) >= 4
    assert max(lengths) <= 12


def test_addresses_may_differ_and_nothing_else() -> None:
    """First and last fit have other addresses; one that maps more differs all the same."""

    class Moved:
        """First fit at other addresses, with two calls."""

        def __init__(self, source: Any, *, kva_limit: int, arena_size: int) -> None:
            self.space = small()(source, kva_limit=kva_limit, arena_size=arena_size)
            self.contract = self.space.contract

        def alloc(self, size: int) -> int:
            return int(self.space.alloc(size)) ^ (1 << 40)

        def free(self, base: int) -> None:
            self.space.free(base ^ (1 << 40))

    found = found_by(pair_of(small(), Moved))
    assert found is not None
    assert found.program.steps == (Step(Action.ALLOC, 0, PAGE),)
    assert found.answers == ("0x0", "0x10000000000")
    result = differ(pair_of(small(), Moved, Ignore.ADDRESSES), programs=range(40))
    assert result.difference is None
    assert result.not_asked == tuple(f"{name} (two has none)" for name in ("xalloc", "resize", "reserve", "reclaim"))
    assert found_by(pair_of(small(), Moved, Ignore.ORDER)) is not None
    kept = found_by(pair_of("eager", "never", Ignore.ADDRESSES))
    assert kept is not None
    assert kept.what.startswith("mapped ")


class Swapping:
    """Hands out two pages of an arena, the first or the second first."""

    contract = Contract(fit=None, completeness=Completeness.BEST_EFFORT, checks_frees=False)
    quantum = PAGE

    def __init__(self, source: Any, first: int) -> None:
        self.source, self.first = source, first
        self.free_pages: list[int] = []
        self.base = -1

    def alloc(self, size: int) -> int:
        """Hand out a page."""
        if size != PAGE:
            raise MemoryError if 0 < size <= 2**63 else ValueError
        if self.base < 0:
            self.base = self.source.map(2 * PAGE)
            self.free_pages = [self.base, self.base + PAGE]
        if not self.free_pages:
            raise MemoryError
        return self.free_pages.pop(self.first if len(self.free_pages) == 2 else 0)

    def free(self, base: int) -> None:
        """Take it back."""
        self.free_pages = sorted([*self.free_pages, base])
        if len(self.free_pages) == 2:
            self.source.unmap(self.base, 2 * PAGE)
            self.base, self.free_pages = -1, []


def test_the_order_may_differ_where_the_same_ranges_are_live() -> None:
    """Two requests in a row may have each other's ranges, and go on so; other ranges are a difference."""
    steps = [
        Step(Action.ALLOC, 0, PAGE),
        Step(Action.ALLOC, 1, PAGE),
        Step(Action.FREE, 0),
        Step(Action.ALLOC, 2, PAGE),
    ]
    steps += [Step(Action.FREE, 2), Step(Action.FREE, 1)]
    program = CheckProgram(World(limit=2, room=2), tuple(steps))
    pair = pair_of(lambda source: Swapping(source, 0), lambda source: Swapping(source, 1))
    assert differ_on(pair, program).difference is not None
    ordered = attrs.evolve(pair, ignore=frozenset([Ignore.ORDER]))
    assert differ_on(ordered, program).difference is None
    alone = attrs.evolve(program, steps=(*steps[:1], *steps[2:3]))
    found = differ_on(ordered, alone).difference
    assert found is not None
    assert (found.what, found.answers) == ("live before free 0", ("0x0+4096", "0x1000+4096"))
    assert differ(ordered).not_asked == ("bad frees (one does not declare that it notices them)",)


def test_figures_are_compared_where_both_know_them() -> None:
    """A figure that is wrong is no difference of answers, and is one of figures."""

    class Wrong(CoalescingSpace):
        def stats(self) -> Any:
            return attrs.evolve(super().stats(), frees=7)

    class Silent(CoalescingSpace):
        stats = None  # type: ignore[assignment]

    wrong = small(lambda _made: Wrong)
    assert found_by(pair_of(small(), wrong), 10) is None
    found = found_by(pair_of(small(), wrong, figures=True), 10)
    assert found is not None
    assert found.what.startswith("stats().frees after ")
    assert (found.answers, len(found.program.steps)) == (("0", "7"), 1)
    assert found_by(pair_of(small(), small(lambda _made: Silent), figures=True), 10) is None


def test_what_ends_an_allocator_is_a_difference_unless_both_end_so() -> None:
    """One that misuses its source differs from one that does not; two that do are not run further, which is counted."""

    class Greedy(CoalescingSpace):
        def alloc(self, size: int) -> int:
            if size == 3 * PAGE:
                self._arenas.source.unmap(17, 5)
            return super().alloc(size)

    greedy = small(lambda _made: Greedy)
    found = found_by(pair_of(small(), greedy))
    assert found is not None
    assert found.program.steps == (Step(Action.ALLOC, 0, 3 * PAGE),)
    assert found.answers[1].startswith("ended: ")
    result = differ(pair_of(greedy, greedy), programs=range(60))
    assert result.difference is None
    assert 0 < result.ended < 60


def test_an_allocator_that_cannot_be_made_differs_from_one_that_can() -> None:
    """The program is empty; where neither can be made, nothing is run."""

    def choosy(source: Any, *, kva_limit: int) -> PerPipeSpace:
        if kva_limit > 16 * PAGE:
            raise ValueError("too much")
        return PerPipeSpace(source, kva_limit=kva_limit)

    found = found_by(pair_of(choosy, "per-pipe"))
    assert found is not None
    assert (found.program.steps, found.pictures) == ((), ("", ""))
    assert found.what == "when they are made"
    assert "too much" in found.answers[0]
    result = differ(pair_of(choosy, choosy), programs=range(40))
    assert (result.difference, 0 < result.ended < 40) == (None, True)


def test_quanta_must_meet() -> None:
    """Two allocators whose quanta differ cannot be compared."""

    class Wide:
        quantum = 65536

        def __init__(self, _source: object) -> None:
            pass

    with pytest.raises(InvalidRequestError, match="its quantum is 65536 bytes, and that of one is 4096"):
        differ(pair_of("per-pipe", Wide))


class Telling(PerPipeSpace):
    """Has figures of its own."""

    ends = False

    def stats(self) -> Any:
        """Return the figures, with some more bytes live."""
        if self.ends:
            raise Breach(Property.P17, "it died")
        return SimpleNamespace(live=5, holes="none", frees=1, unknown={"frees"})


def told(name: str, **attributes: object) -> Any:
    """Return a factory of such spaces."""
    made = type(name, (Telling,), attributes)
    return lambda source, *, kva_limit: made(source, kva_limit=kva_limit)


def test_stats_that_end_an_allocator_are_a_difference() -> None:
    """One that ends when it is asked for figures differs from one that tells them, or raises; of two the end is counted."""
    raising = pair_of(told("A", stats=lambda self: self.nothing), "per-pipe", figures=True)
    assert found_by(raising, 5) is None
    dead = found_by(pair_of(told("A"), told("B", ends=True), figures=True), 5)
    assert dead is not None
    assert (dead.what.startswith("stats() after "), dead.answers) == (True, ("it returns", "it died"))
    result = differ(pair_of(told("A", ends=True), told("B", ends=True), figures=True), programs=range(5))
    assert (result.difference, result.ended) == (None, 5)
    both = pair_of(told("A", ends=True), told("B", ends=True), figures=True)
    assert differ_on(both, dead.program).difference is None


def test_steps_that_name_addresses_are_not_asked_where_addresses_may_differ() -> None:
    """Frees from within a call of the source, and steps that name an address, have no meaning then."""
    program = loads(
        "coalloc check-program 1\nsetting limit=4 room=4\nalloc 0 4096\nfree-in-map 0\nfree-wild 0x1000\nalloc 1 4096\n"
    )

    class Other(PerPipeSpace):
        """Says otherwise than others that an address is none of its own."""

        def free(self, base: int) -> None:
            try:
                super().free(base)
            except ValueError:
                raise RuntimeError from None

    def other(source: Any, *, kva_limit: int) -> Other:
        return Other(source, kva_limit=kva_limit)

    found = differ_on(pair_of("per-pipe", other), program).difference
    assert found is not None
    assert found.answers == ("rejected", "raised: RuntimeError")
    assert differ_on(pair_of("per-pipe", other, Ignore.ADDRESSES), program).difference is None
    unchecked = pair_of(other, lambda source: Swapping(source, 0))
    only = attrs.evolve(program, steps=program.steps[2:3])
    result = differ_on(unchecked, only)
    assert (result.difference, result.not_asked[-1]) == (None, "bad frees (two does not declare that it notices them)")


def test_results_are_joined() -> None:
    """Counts are added, and the first difference stays."""
    one, two = Differed(2, 5, not_asked=("x",)), Differed(3, 7, ended=1, interrupted=True)
    assert one.joined(two) == Differed(5, 12, None, ("x",), 1, True)


@NEEDS_CC
def test_c_is_compared_with_c_and_with_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The skeleton answers as one mapping per buffer does; a version with a bug, or one that crashes, differs from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COALLOC_BUILD_DIR", str(tmp_path / "built"))
    Path("good.c").write_text(SKELETON, encoding="utf-8")
    Path("bad.c").write_text(changed(SKELETON, "(size + unit - 1)", "(size + unit)"), encoding="utf-8")
    Path("dead.c").write_text(
        changed(SKELETON, "\t*place = buffer->next;", "\t*(volatile int *)8 = 0;"), encoding="utf-8"
    )
    Path("late.c").write_text(
        changed(SKELETON, "\tfree(space);\n}", "\tfree(space);\n\tfree(space);\n}"), encoding="utf-8"
    )
    assert found_by(pair_of(find_target("good.c"), "per-pipe"), 20) is None
    bad = found_by(pair_of(find_target("good.c"), find_target("bad.c")), 20)
    assert bad is not None
    assert len(bad.program.steps) <= 2
    dead = found_by(pair_of(find_target("good.c"), find_target("dead.c")), 20)
    assert dead is not None
    assert [step.action for step in dead.program.steps] == [Action.ALLOC, Action.FREE]
    assert "SIGSEGV" in dead.answers[1]
    with pytest.raises(InvalidRequestError, match=r"two.*cannot be compared: it damaged memory"):
        differ(pair_of(find_target("good.c"), find_target("late.c")))


def test_small_programs_come_the_shortest_first() -> None:
    """What one call shows is found by one call in the smallest world; what small programs do not show is not found."""

    class Small(PerPipeSpace):
        """Refuses all but single pages."""

        def alloc(self, size: int) -> int:
            if size > PAGE:
                raise MemoryError
            return super().alloc(size)

    def made(source: Any, *, kva_limit: int) -> Small:
        return Small(source, kva_limit=kva_limit)

    found = differ_small(pair_of("per-pipe", made)).difference
    assert found is not None
    assert found.program == CheckProgram(World(limit=2, room=2), (Step(Action.ALLOC, 0, 2 * PAGE),))
    late = differ_small(pair_of(told("A"), told("B", ends=True), figures=True)).difference
    assert late is not None
    assert len(late.program.steps) == 1
    alike = differ_small(pair_of("per-pipe", "per-pipe"))
    assert (alike.difference, alike.programs > 100) == (None, True)
    both = differ_small(pair_of(told("A", ends=True), told("B", ends=True), figures=True))
    assert (both.difference, both.ended > 0) == (None, True)


def test_what_is_not_asked_is_said_though_both_could() -> None:
    """Without a contract nobody says which constraints are kept, nor how a buffer is resized; another thing is refused."""

    class Bare(PerPipeSpace):
        contract = None  # type: ignore[assignment]

    def made(source: Any, *, kva_limit: int) -> Bare:
        return Bare(source, kva_limit=kva_limit)

    class Odd(PerPipeSpace):
        contract = "fit=first"  # type: ignore[assignment]

    def odd(source: Any, *, kva_limit: int) -> Odd:
        return Odd(source, kva_limit=kva_limit)

    class Ends(PerPipeSpace):
        def stats(self) -> Any:
            raise Breach(Property.P17, "it died")

    def ends(source: Any, *, kva_limit: int) -> Ends:
        return Ends(source, kva_limit=kva_limit)

    said = differ(pair_of(made, made, figures=True), programs=range(1)).not_asked
    assert said[-2:] == (
        "resize (they do not both declare how they resize)",
        "bad frees (one does not declare that it notices them)",
    )
    constrained = differ(pair_of(small(lambda _made: _Undeclared), small(lambda _made: _Undeclared)), programs=range(1))
    assert "xalloc (they declare no constraint that both keep)" in constrained.not_asked
    assert (
        "figures (there is none that both tell)"
        in differ(pair_of(ends, ends, figures=True), programs=range(1)).not_asked
    )
    with pytest.raises(InvalidRequestError, match=r"what two declares is no coalloc\.Contract"):
        differ(pair_of(made, odd))


class _Undeclared(CoalescingSpace):
    """Declares nothing."""

    contract = None  # type: ignore[assignment]
