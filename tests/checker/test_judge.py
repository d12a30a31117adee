"""The judge, lie by lie: an allocator that breaks one promise is told which, in words; one that keeps all is not blamed."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from coalloc import (
    EAGER,
    NEVER,
    RETAIN,
    BuddySpace,
    CachedSpace,
    CoalescingSpace,
    Completeness,
    Constraint,
    Contract,
    Extent,
    Fit,
    Kind,
    Resize,
    Segment,
    VmemSpace,
)
from coalloc.errors import (
    BadFreeError,
    Change,
    ExhaustionError,
    FreeFault,
    HoleVerdict,
    KvaLimitError,
    NoSpaceError,
    Remedy,
    Rule,
)
from coalloc.testing import SUBJECTS, Breach, Judge, Property, Step, Subject, World, loads, random_program
from coalloc.testing.subject import MakeSpace

PAGE = 4096
SMALL = "setting limit=4 room=4 arena=4"
"""One arena of four pages, and nothing beside it."""


def program(words: str, setting: str = SMALL) -> tuple[World, tuple[Step, ...]]:
    """Read steps, separated by semicolons; sizes and addresses are bytes, and 2p is two pages."""
    text = re.sub(r"\b(\d+)p\b", lambda number: str(int(number[1]) * PAGE), words)
    read = loads("\n".join(["coalloc check-program 1", setting, *(step.strip() for step in text.split(";"))]))
    return read.world, read.steps


def held_to(make_space: MakeSpace, **promises: Any) -> Subject:
    """An allocator, and what it declares, changed."""
    subject = Subject(make_space)
    return attrs.evolve(subject, contract=attrs.evolve(subject.declared, **promises)) if promises else subject


def breach(subject: MakeSpace | Subject, words: str, setting: str = SMALL) -> Breach:
    """What the last step breaks; those before it break nothing."""
    world, steps = program(words, setting)
    judge = Judge(subject if isinstance(subject, Subject) else Subject(subject), world)
    for step in steps[:-1]:
        judge.do(step)
    with pytest.raises(Breach) as caught:
        judge.do(steps[-1])
    return caught.value


def run(subject: MakeSpace | Subject, words: str, setting: str = SMALL) -> Judge:
    """The judge after a program that breaks nothing; then everything is freed, and all is as it was."""
    world, steps = program(words, setting)
    judge = Judge(subject if isinstance(subject, Subject) else Subject(subject), world)
    for step in steps:
        judge.do(step)
    return judge


Case = tuple[Property, str, MakeSpace, str]


def cases(*rows: Case) -> pytest.MarkDecorator:
    """Parametrize by the property, what is said of it, an allocator, and a program whose last step shows it."""
    return pytest.mark.parametrize(
        ("owner", "said", "make_space", "words"), rows, ids=[f"{row[0].name}-{row[1]}" for row in rows]
    )


class Flawed(CoalescingSpace):
    """The reference; what is wrong with it is a keyword or a method of a subclass."""

    def __init__(self, source: Any, *, kva_limit: int, arena_size: int = 4 * PAGE, **options: Any) -> None:
        super().__init__(source, kva_limit=kva_limit, arena_size=arena_size, **options)
        self.source = source


def flawed(**methods: Callable[..., Any]) -> MakeSpace:
    """The reference with some methods replaced."""
    return type("Flawed", (Flawed,), methods)


def raising(error: Exception) -> Callable[..., Any]:
    """A method that raises."""

    def method(*_: object, **__: object) -> Any:
        raise error

    return method


def misusing(self: Any, *_: object, **__: object) -> Any:
    """Give back to the source what it never gave."""
    self.source.unmap(64 * PAGE, PAGE)


def refuses_the_fourth(self: Any, size: int) -> int:
    """Grant three."""
    if self.stats().allocs == 3:
        size = 1 << 40
    return CoalescingSpace.alloc(self, size)


# --- what nobody is blamed for ---------------------------------------------------------------------------------


class Hidden:
    """A space of which nothing can be seen: it can allocate and free."""

    def __init__(self, source: Any, *, kva_limit: int, arena_size: int = 4 * PAGE) -> None:
        self._space = SUBJECTS["coalescing+cache"](source, kva_limit=kva_limit, arena_size=arena_size)
        self.contract = attrs.evolve(self._space.contract, constraints=frozenset(), resize=Resize.NONE)

    def alloc(self, size: int) -> int:
        """Allocate."""
        return int(self._space.alloc(size))

    def free(self, base: int) -> None:
        """Free."""
        self._space.free(base)


class HiddenButForFigures(Hidden):
    """And it tells figures, and says of a bad free only that it is none."""

    def stats(self) -> Any:
        """Tell."""
        return self._space.stats()

    def free(self, base: int) -> None:
        """Free."""
        try:
            super().free(base)
        except BadFreeError:
            raise KeyError(base) from None


def with_a_static_span(source: Any, *, kva_limit: int) -> VmemSpace:
    """Half of what it may have is there from the beginning."""
    space = VmemSpace(source, kva_limit=kva_limit, import_quantum=PAGE)
    half = kva_limit // 2 & -PAGE
    space.add(Extent(source.map(half), half))
    return space


HONEST: dict[str, MakeSpace] = {
    **SUBJECTS,
    "hidden": Hidden,
    "hidden but for figures": HiddenButForFigures,
    "static": with_a_static_span,
    "buddies in one arena": lambda source, *, kva_limit, arena_size=8 * PAGE: BuddySpace(
        source, kva_limit=kva_limit, arena_size=arena_size
    ),
}


@pytest.mark.parametrize("name", HONEST)
def test_who_keeps_its_promises_is_not_blamed(name: str) -> None:
    """Random programs on every correct space, and on some that show little, or had arenas at first."""
    for seed in range(3):
        _, found = random_program(Subject(HONEST[name]), seed)
        assert found is None, found


def test_the_watchers_are_told_and_seldom_is_seldom() -> None:
    """Of each world and step; and what can be seen is not looked at after steps that are no multiple."""
    worlds: list[World] = []
    told: list[Step] = []
    looks = [0]

    class Counts(CoalescingSpace):
        def violations(self) -> Any:
            """Count."""
            looks[0] += 1
            return super().violations()

    world, steps = program("alloc 0 1p; alloc 1 1p; free 0; free 1")
    judge = Judge(Subject(Counts, on_world=worlds.append, on_step=told.append, deep_every=3), world)
    for step in steps:
        judge.do(step)
    assert worlds == [world]
    assert told == list(steps)
    assert looks == [1]


def test_steps_that_make_no_sense_now_are_passed_over() -> None:
    """Whatever is left out of a program, the rest of it is one."""
    words = (
        "alloc 0 1p; alloc 0 1p; free 0; free 0; alloc 0 1p; resize 0 1p; reserve 0 1p at=0; reserve 1 5 at=0; refree 7;"
        "free-inside 7 1; alloc 2 1p; free-inside 2 4096; free-wild 0; xalloc 3 1p align=3"
    )
    outcomes = run(CoalescingSpace, words).outcomes
    assert [number for number, outcome in enumerate(outcomes) if outcome != "passed over"] == [0, 2, 10]


def test_what_is_not_promised_is_not_asked_for() -> None:
    """No resize, no constraint, no check of frees."""
    least = held_to(CoalescingSpace, resize=Resize.NONE, constraints=frozenset(), checks_frees=False)
    judge = run(least, "alloc 0 1p; resize 0 2p; xalloc 1 1p align=8192; free 0; refree 0")
    assert [judge.outcomes[n] for n in (1, 2, 4)] == ["passed over"] * 3


def test_an_arena_of_the_own_class_may_be_overlooked() -> None:
    """So nobody can tell whether a higher limit, or a smaller request, would help."""
    by_class = held_to(CoalescingSpace, completeness=Completeness.CLASS)
    judge = run(by_class, "alloc 0 40p; alloc 1 40p; finish", "setting limit=40 room=80 arena=40")
    assert judge.outcomes[1] == "refused"


def test_a_hole_of_the_own_class_may_be_overlooked() -> None:
    """40 quanta and 44 are of one class, so what is refused has a place, and nobody is to blame."""
    overlooks = held_to(flawed(alloc=refuses_the_fourth), completeness=Completeness.CLASS)
    words = "alloc 0 44p; alloc 1 1p; alloc 2 19p; free 0; alloc 3 40p"
    assert run(overlooks, words, "setting limit=64 room=64 arena=64").outcomes[-1] == "refused"


class _Sparing(Hidden):
    """It never hands out the first page of its only arena, and serves so many requests."""

    requests = 1 << 30

    def __init__(self, source: Any, *, kva_limit: int) -> None:
        super().__init__(source, kva_limit=kva_limit, arena_size=kva_limit)
        self.contract = attrs.evolve(self.contract, fit=None, completeness=Completeness.BEST_EFFORT)
        self._space.alloc(PAGE)

    def alloc(self, size: int) -> int:
        """Allocate."""
        self.requests -= 1
        if self.requests < 0:
            raise MemoryError
        return super().alloc(size)


def test_the_best_effort_must_serve_little_and_what_it_has_served() -> None:
    """While nothing is live, what is large may be refused until something as large was served."""
    assert run(_Sparing, "alloc 0 4p; alloc 1 3p; free 1; alloc 2 4p").outcomes[::3] == ["refused", "refused"]
    once, never = (type("_Spent", (_Sparing,), {"requests": requests}) for requests in (1, 0))
    assert breach(once, "alloc 0 3p; free 0; alloc 1 2p").property is Property.P7
    assert run(never, "alloc 0 1p").outcomes == ["refused"]
    assert breach(never, "alloc 0 1p", "setting limit=16 room=16 arena=16").property is Property.P7

    class Asks(_Sparing):
        """It asks the source in vain before it refuses."""

        def alloc(self, size: int) -> int:
            try:
                return super().alloc(size)
            except MemoryError:
                self._space._arenas.source.map(1 << 40)
                raise

    asking = type("_Asking", (Asks,), {"requests": 1})
    assert run(asking, "alloc 0 3p; free 0; alloc 1 2p").outcomes == ["0x1000", "freed", "refused"]
    assert breach(asking, "alloc 0 3p; free 0; alloc 1 1p", "setting limit=16 room=16 arena=16").property is Property.P7


def test_sizes_that_no_request_may_have_are_refused() -> None:
    """Of new buffers, and of those that are to change."""
    judge = run(CoalescingSpace, f"alloc 0 0; alloc 1 {2**63 + 1}; alloc 2 1p; resize 2 0")
    assert judge.outcomes == ["refused", "refused", "0x0", "refused"]


# --- making it -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantum", [0, -4096, 3000, 12289, 4096.0, True])
def test_a_quantum_divides_the_granule_or_is_a_multiple_of_it(quantum: Any) -> None:
    """And is an int."""
    with pytest.raises(Breach, match="which neither divides 4096 nor is a multiple") as caught:
        Judge(Subject(flawed(quantum=quantum)), World())
    assert caught.value.property is Property.P14


def test_who_declares_constraints_has_a_call_that_takes_them() -> None:
    """Otherwise the promise means nothing."""
    contract = Contract(fit=Fit.FIRST, constraints=frozenset({Constraint.ALIGN}))
    with pytest.raises(Breach, match=r"there is no xalloc\(\)") as caught:
        Judge(Subject(Hidden, contract), World())
    assert caught.value.property is Property.P3


# --- what may be raised ----------------------------------------------------------------------------------------


class UnspeakableError(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise ValueError


def refuses_sizes_late(self: Any, size: int) -> int:
    """Map an arena before looking at the size."""
    self.source.map(PAGE)
    return CoalescingSpace.alloc(self, size)


def frees_with(error: Exception) -> Callable[[Any, int], None]:
    """Free what is live, and raise for anything else."""

    def free(self: Any, base: int) -> None:
        try:
            CoalescingSpace.free(self, base)
        except BadFreeError:
            raise error from None

    return free


def frees_wildly(self: Any, base: int) -> None:
    """Free what is live, and unmap the first arena for anything else."""
    try:
        CoalescingSpace.free(self, base)
    except BadFreeError:
        self.source.map(PAGE)
        raise


def accepts_frees(self: Any, base: int) -> None:
    """Free what is live, and do nothing for anything else."""
    if base in [segment.base for segment in self.segments() if segment.kind is Kind.BUSY]:
        CoalescingSpace.free(self, base)


def misuses_for_bad_frees(self: Any, base: int) -> None:
    """Free what is live, and misuse the source for anything else."""
    try:
        CoalescingSpace.free(self, base)
    except BadFreeError:
        misusing(self)


@cases(
    (Property.P10, "free(0x0) raised OSError: no", flawed(free=raising(OSError("no"))), "alloc 0 1p; free 0"),
    (Property.P12, "no arena begins", flawed(free=misusing), "alloc 0 1p; free 0"),
    (Property.P7, "alloc(4096) raised OSError: no", flawed(alloc=raising(OSError("no"))), "alloc 0 1p"),
    (Property.P7, "which cannot be shown", flawed(alloc=raising(UnspeakableError())), "alloc 0 1p"),
    (Property.P12, "no arena begins", flawed(alloc=misusing), "alloc 0 1p"),
    (Property.P10, "raised OSError: no", flawed(free=frees_with(OSError("no"))), "alloc 0 1p; free 0; refree 0"),
    (Property.P10, "was accepted", flawed(free=accepts_frees), "alloc 0 1p; free 0; refree 0"),
    (Property.P12, "no arena begins", flawed(free=misuses_for_bad_frees), "alloc 0 1p; free 0; refree 0"),
    (Property.P9, "freed already, was refused, and called the source", flawed(free=frees_wildly),
     "alloc 0 1p; free 0; reclaim; refree 0"),
    (Property.P14, "alloc(0) was accepted", flawed(alloc=lambda *_: 0), "alloc 0 0"),
    (Property.P14, "alloc(0) raised OSError: no", flawed(alloc=raising(OSError("no"))), "alloc 0 0"),
    (Property.P9, "alloc(0) was refused, and called the source", flawed(alloc=refuses_sizes_late), "alloc 0 0"),
    (Property.P12, "no arena begins", flawed(alloc=misusing), "alloc 0 0"),
    (Property.P14, "resize(0x0, 0) was accepted", flawed(resize=lambda _, base, __: base), "alloc 0 1p; resize 0 0"),
    (Property.P12, "no arena begins", flawed(stats=misusing), "alloc 0 1p"),
    (Property.P10, "size_of(0x0) of a freed buffer was accepted", flawed(size_of=lambda *_: PAGE), "alloc 0 1p; free 0"),
    (Property.P7, "reserve(0x0+4096) raised OSError: no", flawed(reserve=raising(OSError("no"))),
     "alloc 0 1p; free 0; reserve 1 1p at=0"),
    (Property.P1, "does not lie in a hole", flawed(reserve=lambda *_: None), "alloc 0 1p; reserve 1 1p at=0"),
)  # fmt: skip
def test_every_call_says_what_it_may_say(owner: Property, said: str, make_space: MakeSpace, words: str) -> None:
    """An error that nobody may raise there, nonsense that is accepted, a source that is misused."""
    found = breach(make_space, words)
    assert found.property is owner
    assert said in found.message


# --- arenas ----------------------------------------------------------------------------------------------------


def beyond_its_limit(source: Any, *, kva_limit: int) -> CoalescingSpace:
    """Take twice what it may."""
    return CoalescingSpace(source, kva_limit=2 * kva_limit, arena_size=PAGE)


def unmaps_all(self: Any, base: int) -> None:
    """Give back the first arena with the buffer, whoever else lives there."""
    del base
    self.source.unmap(0, 4 * PAGE)


def maps_for_the_second(self: Any, size: int) -> int:
    """Map an arena for what the first one has room for."""
    return int(self.source.map(size) if self.source.ranges else CoalescingSpace.alloc(self, size))


def maps_two(self: Any, size: int) -> int:
    """Map one arena too many."""
    return int(min(self.source.map(size), self.source.map(size)))


def releasing(rule: Any) -> MakeSpace:
    """The reference with a release rule of its own."""
    return lambda source, *, kva_limit: CoalescingSpace(source, kva_limit=kva_limit, arena_size=PAGE, release=rule)


TWO_ARENAS = "setting limit=16 room=16 arena=4"


@pytest.mark.parametrize(
    ("owner", "said", "subject", "words"),
    [
        (Property.P11, "and the limit is 16384", beyond_its_limit, "alloc 0 4p; alloc 1 4p"),
        (Property.P12, "unmapped with a live buffer at 0x1000", flawed(free=unmaps_all), "alloc 0 1p; alloc 1 1p; free 0"),
        (Property.P12, "and a hole admits them", flawed(alloc=maps_for_the_second), "alloc 0 1p; alloc 1 1p"),
        (Property.P12, "2 arenas were mapped for one request", flawed(alloc=maps_two), "alloc 0 1p"),
        (Property.P12, "and the rule is never", held_to(releasing(EAGER), release=NEVER), "alloc 0 1p; free 0"),
        (Property.P12, "the last idle arena", held_to(releasing(EAGER), release=RETAIN(2)), "alloc 0 1p; free 0"),
        (Property.P12, "1 idle arenas are kept", held_to(releasing(NEVER), release=EAGER), "alloc 0 1p; free 0"),
        (Property.P13, "left the idle arena 0x0", flawed(reclaim=lambda _: 0), "alloc 0 1p; free 0; reclaim"),
        (Property.P13, "reclaim() raised OSError", flawed(reclaim=raising(OSError("no"))), "reclaim"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_arenas_come_when_they_are_needed_and_go_by_the_rule(
    owner: Property, said: str, subject: MakeSpace | Subject, words: str
) -> None:
    """Not beyond the limit, not under a live buffer, not for what a hole admits, and not two for one."""
    found = breach(subject, words, TWO_ARENAS if said != "and the limit is 16384" else "setting limit=4 room=16")
    assert found.property is owner
    assert said in found.message


class MapsWhenAsked(Hidden):
    """Map an arena, and later give it back, in calls of which nobody expects that."""

    def __init__(self, source: Any, *, kva_limit: int, arena_size: int = 4 * PAGE) -> None:
        super().__init__(source, kva_limit=kva_limit, arena_size=arena_size)
        self.source = source
        self.secret = -1

    def alloc(self, size: int) -> int:
        """Give it back."""
        if self.secret >= 0:
            self.source.unmap(self.secret, PAGE)
        return int(self._space.alloc(size))

    def size_of(self, base: int) -> int:
        """Map it if there is no such buffer."""
        try:
            return int(self._space.size_of(base))
        except ValueError:
            self.secret = self.source.map(PAGE)
            raise

    def reclaim(self) -> int:
        """Drain the cache."""
        return int(self._space.reclaim())


def test_what_is_mapped_in_secret_is_lost_or_cannot_be_followed() -> None:
    """In the end it is still there; or it goes, and nobody saw it come."""
    judge = run(MapsWhenAsked, "alloc 0 1p; free 0", TWO_ARENAS)
    with pytest.raises(Breach, match="4096 bytes stay mapped after everything was freed") as caught:
        judge.finish()
    assert caught.value.property is Property.P6
    found = breach(MapsWhenAsked, "alloc 0 1p; free 0; alloc 1 1p", TWO_ARENAS)
    assert (found.property, "the oracle cannot follow" in found.message) == (Property.P4, True)


# --- caches ----------------------------------------------------------------------------------------------------


class Caching(CachedSpace):
    """The reference behind a cache of one-page buffers; what is wrong with it is a method of a subclass."""

    def __init__(self, source: Any, *, kva_limit: int, arena_size: int = 4 * PAGE) -> None:
        below = CoalescingSpace(source, kva_limit=kva_limit, arena_size=arena_size)
        super().__init__(below, sizes=[PAGE], depth=None)

    below = property(lambda self: self._below)


def caching(**methods: Callable[..., Any]) -> MakeSpace:
    """The reference behind a cache, with some methods replaced."""
    return type("Caching", (Caching,), methods)


def never_drains(self: Any, size: int) -> int:
    """Hand out what is cached, or what there is without that."""
    return int(CachedSpace.alloc(self, size) if size == PAGE else self.below.alloc(size))


def shows_a_cached_buffer(base: int) -> Callable[[Any], tuple[Segment, ...]]:
    """Show one more cached buffer as soon as there is an arena."""

    def segments(self: Any) -> tuple[Segment, ...]:
        told = CachedSpace.segments(self)
        return (*told, Segment(base, PAGE, Kind.CACHED, 0)) if told else ()

    return segments


@cases(
    (Property.P1, "overlaps 0x0+4096, which is still cached", caching(alloc=lambda self, size: (
        0 if size > PAGE else CachedSpace.alloc(self, size))), "alloc 0 1p; free 0; alloc 1 2p"),
    (Property.P13, "there is room when the cache is drained", caching(alloc=never_drains),
     "alloc 0 1p; alloc 1 1p; free 0; free 1; alloc 2 4p"),
    (Property.P13, "reclaim() left cached buffers", caching(reclaim=lambda _: 0), "alloc 0 1p; free 0; reclaim"),
    (Property.P4, "0x40000+4096 is shown as cached, and does not lie in a hole",
     caching(segments=shows_a_cached_buffer(64 * PAGE)), "alloc 0 1p"),
)  # fmt: skip
def test_what_is_cached_is_nobodys_and_serves_before_a_refusal(
    owner: Property, said: str, make_space: MakeSpace, words: str
) -> None:
    """Not handed out as a part of something else, not kept from who needs it, and not invented."""
    found = breach(make_space, words)
    assert found.property is owner
    assert said in found.message


def test_a_cache_may_be_filled_ahead_of_any_free() -> None:
    """With buffers that nobody had before, and that are nobody's until they are handed out."""

    class FillsAhead(Caching):
        def alloc(self, size: int) -> int:
            """Carve two, and keep one."""
            base = super().alloc(size)
            if size == PAGE and not self._kept:
                CachedSpace.free(self, CachedSpace.alloc(self, size))
                self._allocs -= 1
                self._frees -= 1
            return base

    judge = run(FillsAhead, "alloc 0 1p; alloc 1 1p; alloc 2 2p")
    assert judge.outcomes == ["0x0", "0x1000", "0x2000"]
    assert not judge.books.parked


def test_what_was_cached_may_be_drained_and_carved_again() -> None:
    """Then it lies where the fit puts it, though it was cached a moment ago."""

    def drains_first(self: Any, size: int) -> int:
        self.reclaim()
        return int(CachedSpace.alloc(self, size))

    judge = run(caching(alloc=drains_first), "alloc 0 1p; alloc 1 1p; alloc 2 2p; free 0; free 1; alloc 3 1p; finish")
    assert judge.outcomes[5] == "0x0"


def test_next_fit_goes_on_from_either_place_after_a_cached_buffer() -> None:
    """Since the cache may have handed it out, or given it back to be carved again."""
    judge = run(SUBJECTS["next-fit+cache"], "alloc 0 1p; alloc 1 1p; free 0; alloc 2 1p")
    assert judge.books.cursors == {PAGE, 2 * PAGE}


# --- places ----------------------------------------------------------------------------------------------------


def at(base: int) -> MakeSpace:
    """The reference, but that what is constrained lies where it should not."""
    return flawed(xalloc=lambda *_, **__: base)


@cases(
    (Property.P3, "0x1000 is not 0 behind a multiple of 8192", at(PAGE), "alloc 0 1p; xalloc 1 1p align=8192"),
    (Property.P3, "0x1000+8192 crosses a multiple of 8192", at(PAGE), "alloc 0 1p; xalloc 1 2p nocross=8192"),
    (Property.P3, "0x1000 is below lo=0x2000", at(PAGE), "alloc 0 1p; xalloc 1 1p lo=0x2000"),
    (Property.P3, "0x2000+4096 ends above 0x1fff", at(2 * PAGE), "alloc 0 1p; xalloc 1 1p hi=0x1fff"),
    (Property.P2, "lies in no mapped arena", at(8 * PAGE), "alloc 0 1p; xalloc 1 1p lo=0x1000"),
    (Property.P2, "lies in no mapped arena", at(3 * PAGE), "alloc 0 1p; xalloc 1 2p lo=0x1000"),
)  # fmt: skip
def test_what_is_granted_lies_where_it_may(owner: Property, said: str, make_space: MakeSpace, words: str) -> None:
    """As constrained, and in one arena."""
    found = breach(make_space, words)
    assert found.property is owner
    assert said in found.message


def test_a_buddy_begins_at_a_multiple_of_its_size() -> None:
    """Though what lies between two of them is free."""

    class Shifted(BuddySpace):
        def alloc(self, size: int) -> int:
            """Hand out two pages from the second on."""
            return PAGE if size == 2 * PAGE else super().alloc(size)

    found = breach(Shifted, "alloc 0 1p; alloc 1 2p", "setting limit=8 room=8 arena=8")
    assert (found.property, "is not a block of the buddy system" in found.message) == (Property.P3, True)


# --- resize ----------------------------------------------------------------------------------------------------


def moves(self: Any, base: int, size: int) -> int:
    """Carve anew, whatever is free behind the buffer."""
    new = CoalescingSpace.alloc(self, size)
    CoalescingSpace.free(self, base)
    return new


def resize_cases() -> pytest.MarkDecorator:
    """Grow where one page is live, and two are free behind it; or where the second is live, too."""
    refuses = flawed(resize=raising(NoSpaceError(PAGE, free=0, largest_hole=0, mapped=0, kva_limit=0)))
    stays = flawed(resize=lambda _, base, __: base)
    return cases(
        (Property.P18, "was refused, and could be done in place", refuses, "alloc 0 1p; resize 0 2p"),
        (Property.P18, "was refused, and could be done in place", refuses, "alloc 0 2p; resize 0 1p"),
        (Property.P18, "grew over what lies behind", stays, "alloc 0 1p; alloc 1 1p; resize 0 2p"),
        (Property.P18, "grew over what lies behind", stays, "alloc 0 1p; resize 0 5p"),
        (Property.P18, "moved the buffer to 0x1000, and it could have stayed", flawed(resize=moves),
         "alloc 0 1p; resize 0 2p"),
        (Property.P7, "was refused, and there is room at 0x2000", refuses, "alloc 0 1p; alloc 1 1p; resize 0 2p"),
    )  # fmt: skip


@resize_cases()
def test_a_buffer_stays_where_it_can(owner: Property, said: str, make_space: MakeSpace, words: str) -> None:
    """It does not take what is another's, nor move without need, and is not refused what is free behind it."""
    found = breach(make_space, words)
    assert found.property is owner
    assert said in found.message


def test_a_reserve_of_what_is_free_may_not_be_refused() -> None:
    """And one of what is taken is refused rightly."""
    judge = run(CoalescingSpace, "alloc 0 1p; reserve 1 1p at=0; reserve 2 1p at=4096", SMALL)
    assert judge.outcomes == ["0x0", "refused", "reserved"]
    refuses = flawed(reserve=lambda self, extent: (_ for _ in ()).throw(self._in_the_way(extent)))
    found = breach(refuses, "alloc 0 1p; reserve 1 1p at=4096")
    assert (found.property, "and the range lies in a hole" in found.message) == (Property.P7, True)


# --- figures ---------------------------------------------------------------------------------------------------


def counts_refusals_as(name: str) -> MakeSpace:
    """The reference, but that a refusal counts as a success."""

    class Miscounts(Flawed):
        more = 0

        def alloc(self, size: int) -> int:
            """Count what is refused."""
            try:
                return super().alloc(size)
            except ExhaustionError:
                self.more += 1
                raise

        def stats(self) -> Any:
            """Tell of more."""
            told = super().stats()
            return attrs.evolve(told, **{name: getattr(told, name) + self.more})

    return Miscounts


@pytest.mark.parametrize("name", ["allocs", "frees", "resizes_in_place", "resizes_moved", "live"])
def test_a_refusal_leaves_the_figures_as_they_were(name: str) -> None:
    """Those of calls that succeed, and of what is live."""
    found = breach(counts_refusals_as(name), "alloc 0 1p; alloc 1 4p")
    assert (found.property, f"and changed {name}" in found.message) == (Property.P9, True)


@pytest.mark.parametrize("share", [0.25, -0.5, 1.5])
def test_the_share_that_is_fragmented_follows_from_the_holes(share: float) -> None:
    """One less the largest hole's part of what is free, and so between 0 and 1."""
    wrong = flawed(stats=lambda _: SimpleNamespace(external_fragmentation=share))
    found = breach(wrong, "alloc 0 1p")
    assert (found.property, "external_fragmentation" in found.message) == (Property.P16, True)


# --- refusals --------------------------------------------------------------------------------------------------


def refusing(error: type[ExhaustionError] = NoSpaceError, **lies: Any) -> MakeSpace:
    """The reference, whose refusals are replaced: figures, and what explains them."""

    def retold(truth: ExhaustionError) -> ExhaustionError:
        told = truth.explain()
        explanation = attrs.evolve(told, **{name: lies[name] for name in ("verdicts", "remedies") if name in lies})
        figures = {
            name: lies.get(name, getattr(truth, name)) for name in ("free", "largest_hole", "mapped", "kva_limit")
        }
        return error(lies.get("request", truth.request), **figures, explain=lambda: explanation)

    class Retells(Flawed):
        def alloc(self, size: int) -> int:
            """Refuse in other words."""
            try:
                return super().alloc(size)
            except ExhaustionError as truth:
                raise retold(truth) from None

        def xalloc(self, size: int, **bounds: int) -> int:
            """Refuse in other words."""
            try:
                return super().xalloc(size, **bounds)
            except ExhaustionError as truth:
                raise retold(truth) from None

    return Retells


def advising(what: Change, value: int) -> MakeSpace:
    """The reference, whose refusals advise one change."""
    return refusing(remedies=(Remedy(what, value),))


SPLIT = "alloc 0 1p; alloc 1 2p; alloc 2 1p; free 1"
"""Of four pages the two in the middle are free."""
NOT_THE_SMALLEST = "and a smaller change helps"
NO_HELP = "which does not help"


@cases(
    (Property.P7, "alloc(4096) was refused, and there is room at 0x1000",
     flawed(alloc=refuses_the_fourth), f"{SPLIT}; alloc 3 1p"),
    (Property.P16, "the refusal says request=4096, and it is 12288", refusing(request=PAGE), f"{SPLIT}; alloc 3 3p"),
    (Property.P16, "the refusal says free=4096, and it is 8192", refusing(free=PAGE), f"{SPLIT}; alloc 3 3p"),
    (Property.P16, "largest_hole=4096, and it is 8192", refusing(largest_hole=PAGE), f"{SPLIT}; alloc 3 3p"),
    (Property.P16, "the refusal says mapped=4096, and it is 16384", refusing(mapped=PAGE), f"{SPLIT}; alloc 3 3p"),
    (Property.P16, "tells of 0 holes, and there are 1", refusing(verdicts=()), f"{SPLIT}; alloc 3 3p"),
    (Property.P16, "tells of 1 holes, and there are 1",
     refusing(verdicts=(HoleVerdict(0, 2 * PAGE, Rule.SIZE),)), f"{SPLIT}; alloc 3 3p"),
    (Property.P16, f"ask for at most 12288, {NO_HELP}", advising(Change.SIZE, 3 * PAGE), f"{SPLIT}; alloc 3 4p"),
    (Property.P16, f"ask for at most 4096, {NOT_THE_SMALLEST}", advising(Change.SIZE, PAGE), f"{SPLIT}; alloc 3 4p"),
    (Property.P16, f"set lo to 8192, {NO_HELP}", advising(Change.LO, 2 * PAGE), f"{SPLIT}; xalloc 3 2p lo=0x3000"),
    (Property.P16, f"set lo to 0, {NOT_THE_SMALLEST}", advising(Change.LO, 0), f"{SPLIT}; xalloc 3 2p lo=0x3000"),
    (Property.P16, f"set hi to 8192, {NO_HELP}", advising(Change.HI, 2 * PAGE), f"{SPLIT}; xalloc 3 2p hi=0xfff"),
    (Property.P16, f"set hi to 16383, {NOT_THE_SMALLEST}", advising(Change.HI, 4 * PAGE - 1),
     f"{SPLIT}; xalloc 3 2p hi=0xfff"),
    (Property.P16, f"set align to 16384, {NO_HELP}", advising(Change.ALIGN, 4 * PAGE),
     f"{SPLIT}; xalloc 3 1p align=32768 phase=4096 hi=1"),
    (Property.P16, f"set nocross to 16384, {NO_HELP}", advising(Change.NOCROSS, 4 * PAGE),
     f"{SPLIT}; xalloc 3 2p nocross=8192 hi=1"),
)  # fmt: skip
def test_a_refusal_tells_the_truth(owner: Property, said: str, make_space: MakeSpace, words: str) -> None:
    """Its figures, its holes, and remedies that help and are the smallest of their kind."""
    found = breach(make_space, words)
    assert found.property is owner
    assert said in found.message


@pytest.mark.parametrize(
    ("said", "make_space"),
    [
        (f"raise kva_limit to 24576, {NO_HELP}", advising(Change.KVA_LIMIT, 6 * PAGE)),
        (f"raise kva_limit to 32768, {NOT_THE_SMALLEST}", advising(Change.KVA_LIMIT, 8 * PAGE)),
    ],
)
def test_a_higher_limit_must_help_and_be_the_lowest(said: str, make_space: MakeSpace) -> None:
    """Seven pages are needed, four are allowed."""
    found = breach(make_space, f"{SPLIT}; alloc 3 3p", "setting limit=4 room=16 arena=4")
    assert (found.property, said in found.message) == (Property.P16, True)


def test_a_limit_that_leaves_room_is_not_to_blame() -> None:
    """It is the source that has none."""
    found = breach(refusing(KvaLimitError), f"{SPLIT}; alloc 3 3p", "setting limit=16 room=4 arena=4")
    assert (found.property, "blames the limit, which leaves 49152 bytes" in found.message) == (Property.P16, True)


def test_remedies_that_nobody_can_try_are_not_judged() -> None:
    """Where an arena would come to lie, only the source knows."""
    far = "setting limit=16 room=16 arena=4"
    words = f"{SPLIT}; xalloc 3 2p align=0x10000 hi=0x8fff"
    for what, value in ((Change.ALIGN, 8 * PAGE), (Change.HI, 0xFFFF), (Change.KVA_LIMIT, 64 * PAGE)):
        run(advising(what, value), words, far)


def refuses_what_it_could_map(self: Any, size: int) -> int:
    """Map one arena only."""
    if len(self.source.ranges) and size > PAGE:
        raise MemoryError
    return CoalescingSpace.alloc(self, size)


@pytest.mark.parametrize(
    ("owner", "said", "setting"),
    [
        (Property.P7, "an arena of 12288 bytes could be mapped", "setting limit=16 room=16 arena=2"),
        (Property.P13, "an arena could be mapped in place of idle ones", "setting limit=4 room=4 arena=2"),
    ],
)
def test_no_refusal_while_an_arena_could_be_mapped(owner: Property, said: str, setting: str) -> None:
    """Beside the others, or in the place of one that is idle."""
    found = breach(flawed(alloc=refuses_what_it_could_map), "alloc 0 1p; free 0; alloc 1 3p", setting)
    assert (found.property, said in found.message) == (owner, True)


def faulting(fault: FreeFault, inside: tuple[int, int] | None = None, shift: int = 0) -> MakeSpace:
    """The reference, but that what is wrong with a free is told wrongly."""

    def free(self: Any, base: int) -> None:
        try:
            CoalescingSpace.free(self, base)
        except BadFreeError as error:
            raise BadFreeError(error.address + shift, fault, inside) from None

    return flawed(free=free)


@cases(
    (Property.P10, "and it is freed already", faulting(FreeFault.NEVER_ALLOCATED), "alloc 0 1p; free 0; refree 0"),
    (Property.P10, "and it is freed already", faulting(FreeFault.FREED_TWICE, shift=1), "alloc 0 1p; free 0; refree 0"),
    (Property.P10, "and it is never handed out", faulting(FreeFault.FREED_TWICE), "alloc 0 1p; free-wild 0x1000"),
    (Property.P10, "and it is never handed out", faulting(FreeFault.INSIDE_BUFFER), "alloc 0 1p; free-wild 0x1000"),
    (Property.P10, "and it is inside a buffer", faulting(FreeFault.NEVER_ALLOCATED), "alloc 0 2p; free-inside 0 4096"),
    (Property.P10, "and it is inside a buffer", faulting(FreeFault.INSIDE_BUFFER, (0, PAGE)),
     "alloc 0 2p; free-inside 0 4096"),
)  # fmt: skip
def test_a_bad_free_is_told_what_it_is(owner: Property, said: str, make_space: MakeSpace, words: str) -> None:
    """Freed already, inside a buffer, or never handed out; of the address that was given."""
    found = breach(make_space, words)
    assert found.property is owner
    assert said in found.message


@pytest.mark.parametrize("fault", [FreeFault.FREED_TWICE, FreeFault.NEVER_ALLOCATED, FreeFault.INSIDE_BUFFER])
def test_a_cache_may_have_forgotten_what_an_address_inside_it_was(fault: FreeFault) -> None:
    """But nobody lives there, so it is inside no buffer."""

    class Told(Caching):
        def __init__(self, source: Any, *, kva_limit: int, arena_size: int = 4 * PAGE) -> None:
            super().__init__(source, kva_limit=kva_limit, arena_size=arena_size)
            self._sizes = frozenset([2 * PAGE])

        def free(self, base: int) -> None:
            """Free, or blame in other words."""
            try:
                super().free(base)
            except BadFreeError as error:
                raise BadFreeError(error.address, fault) from None

    words = "alloc 0 2p; free 0; free-wild 0x1000"
    if fault is FreeFault.INSIDE_BUFFER:
        assert breach(Told, words).property is Property.P10
    else:
        assert run(Told, words).outcomes[-1] == "refused"
