"""Directed checks in worlds of their own: what each finds in an allocator with its fault, and what it lets pass."""

from __future__ import annotations

import itertools
import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import attrs
import pytest

from benchmarks.strangers import FOLDER, rows
from coalloc import CoalescingSpace, Contract
from coalloc.contract import ANY_RELEASE
from coalloc.contract_text import parse_contract
from coalloc.testing import MUTANTS, SUBJECTS, Action, Breach, Property, Step, Subject, World, loads
from coalloc.testing import worlds as worlds_module
from coalloc.testing.check import breach_in
from coalloc.testing.checks import CheckFailed, NotPromised
from coalloc.testing.directed import CHECKS
from coalloc.testing.hidden import hide
from coalloc.testing.mutants import Runs
from coalloc.testing.source import Order
from coalloc.testing.targets import find_target
from coalloc.testing.worlds import raw_answers
from tests.unit.allocators import Hashes, Plain

NAMED = {check.name: check for check in CHECKS}
LOOSE = attrs.evolve(Contract(fit=None), release=ANY_RELEASE)
"""A contract that lets an allocator choose its addresses."""


def find(name: str, make_space: Callable[..., Any], contract: Contract | None = None) -> Breach | None:
    """Return what a check finds."""
    return breach_in(NAMED[name], Subject(make_space, contract))


@pytest.mark.parametrize(
    "name",
    ["many-arenas", "great-numbers", "gigabytes", "defaults", "other-numbers", "sources", "pressure", "clock", "unseen",
     "beside-another"],
)  # fmt: skip
def test_a_correct_allocator_passes(name: str) -> None:
    """An allocator that is right passes the checks of worlds that small programs do not reach."""
    assert find(name, Runs) is None


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[World]:
    """Note the worlds in which a check would run random programs, and run none."""
    found: list[World] = []
    monkeypatch.setattr(worlds_module, "_runs_at_random", lambda _subject, world, **_: found.append(world))
    return found


def test_every_kind_of_source_is_tried(tried: list[World]) -> None:
    """Ranges in any order, a granule of 64 KiB, and arenas smaller than that."""
    assert find("sources", _rounding) is None
    assert {world.order for world in tried} == {*Order}
    assert {world.granule for world in tried} == {4096, 65536}
    assert [world.options for world in tried if world.options] == [(("arena_size", 4096),)]


def test_an_arena_below_the_granule_may_be_refused(tried: list[World]) -> None:
    """Where a factory refuses arenas smaller than the granule, or there is no arena_size or no quantum, these are not tried."""
    for make_space in (_refusing, SUBJECTS["per-pipe"], _large, hide(_rounding, "quantum")):
        assert find("sources", make_space) is None
    assert not any(world.options for world in tried)


def _rounding(source: Any, *, kva_limit: int, arena_size: int = 1 << 22) -> CoalescingSpace:
    """Make a space whose arenas are a granule at least."""
    return CoalescingSpace(source, kva_limit=kva_limit, arena_size=max(arena_size, source.granule))


def test_a_breach_in_a_world_has_its_program() -> None:
    """What random programs find in an odd world is shown with the program."""
    breach = find("sources", MUTANTS[1].make_space)
    assert isinstance(breach, CheckFailed)
    assert (breach.property, breach.suspect) == (Property.P5, False)


def _large(source: Any, *, kva_limit: int) -> CoalescingSpace:
    """Make a space whose arenas are larger than the limit."""
    return CoalescingSpace(source, kva_limit=kva_limit, arena_size=1 << 26)


def _refusing(source: Any, *, kva_limit: int, arena_size: int = 1 << 22) -> CoalescingSpace:
    """Make a space, unless its arenas are smaller than the source's granule."""
    if arena_size < source.granule:
        raise ValueError(f"arena_size={arena_size}")
    return CoalescingSpace(source, kva_limit=kva_limit, arena_size=arena_size)


def test_what_is_promised_of_arenas_sets_the_scale() -> None:
    """Arenas of a promised size are filled by halves, and one that maps each buffer is asked for larger ones."""
    promised = parse_contract("arena=16K", Subject(Plain).declared)
    assert find("many-arenas", Plain, promised) is None
    assert find("many-arenas", SUBJECTS["per-pipe"]) is None
    with pytest.raises(NotPromised, match="no buffers of gigabytes"):
        find("gigabytes", Plain, promised)
    assert find("great-numbers", SUBJECTS["per-pipe"], parse_contract("resize=none,constraints=none")) is None


def test_a_header_needs_more_room() -> None:
    """The world of an allocator with headers has room for them."""
    row = next(row for row in rows() if row.file == "correct/header_16.py")
    assert FOLDER.is_dir()
    assert find("other-numbers", find_target(row.target), row.contract) is None


# --- scale -------------------------------------------------------------------------------------------------------------


def test_a_cache_is_shown_in_the_first_program_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """An allocator that caches runs all programs but the first with its observers hidden."""
    program = [Step(Action.ALLOC, 0, 1), Step(Action.FREE, 0)]
    monkeypatch.setattr(worlds_module, "_scales", lambda *_: iter([(program, 4, "one"), (program, 4, "two")]))
    shown: list[bool] = []

    def judged(subject: Subject, *_: object, **__: object) -> None:
        shown.append(hasattr(subject.make_space(*_source(), kva_limit=65536), "segments"))

    monkeypatch.setattr(worlds_module, "_judged", judged)
    assert find("scale-up", SUBJECTS["coalescing+cache"]) is None
    assert find("scale-up", SUBJECTS["coalescing"]) is None
    assert shown == [True, False, True, True]


def _source() -> tuple[Any]:
    from coalloc.testing import WatchedSource

    return (WatchedSource(size=1 << 20),)


def test_the_programs_of_the_scales_suit_the_contract() -> None:
    """Where sizes are bounded there are no runs, and all buffers have one size."""
    titles = {}
    for text in ("", "max-size=4096"):
        programs = list(worlds_module._scales(parse_contract(text), 1))
        titles[text] = [title for _, _, title in programs]
        sizes = {step.size for steps, _, _ in programs for step in steps if step.action is Action.ALLOC}
        assert (max(sizes) == 1) is bool(text)
    assert {*titles[""]} - {*titles["max-size=4096"]} == {
        "long runs", "runs of whole words", "many addresses, and few at once",
    }  # fmt: skip


def test_thousands_of_holes_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holes are made in address order and joined again, with nothing lost."""
    monkeypatch.setattr(worlds_module, "_THOUSANDS", 64)
    assert find("thousands", SUBJECTS["first-fit"]) is None
    breach = find("thousands", MUTANTS[1].make_space)
    assert isinstance(breach, CheckFailed)
    assert breach.program.title == "thousands of holes"


# --- numbers ---------------------------------------------------------------------------------------------------------------


class Taking(CoalescingSpace):
    """A space that takes floats in a way of its own."""

    answer: Any = None

    def alloc(self, size: Any) -> Any:
        """Answer a float with what the class says."""
        if isinstance(size, float):
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer
        return super().alloc(size)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (RuntimeError("no"), "alloc(4096.0) raised RuntimeError: no"),
        (Breach(Property.P12, "misused"), "misused"),
        (1.5, "alloc(4096.0) returned 1.5, which is no address"),
    ],
)
def test_what_is_no_int_is_refused_or_taken_for_one(answer: Any, words: str) -> None:
    """A float may be refused, or taken for the int that it equals, and nothing else."""
    breach = find("other-numbers", type("Taking", (Taking,), {"answer": answer}))
    assert breach is not None
    assert breach.message == words


def test_what_equals_no_int_is_refused() -> None:
    """A float that equals no int means nothing, and a float that does may be granted."""

    class Floor(CoalescingSpace):
        def alloc(self, size: Any) -> int:
            return super().alloc(int(size) if isinstance(size, float) else size)

    breach = find("other-numbers", Floor)
    assert breach is not None
    assert breach.message == "alloc(4096.5) was accepted, and means nothing"


# --- identity --------------------------------------------------------------------------------------------------------------


def test_raw_answers_are_those_of_the_calls() -> None:
    """A program runs without a judge: each call that can be made is made, and the others have no answer."""
    program = loads(
        "coalloc check-program 1\nsetting limit=4 room=4 arena=4\nalloc 0 4096\nxalloc 1 4096 align=8192\nresize 1 8192\n"
        "resize 7 4096\nfree 0\nfree 0\nalloc 2 0\nalloc 3 65536\nstarve 1\nreclaim\nfree-wild 0x5\nfinish\nalloc 4 4096\n"
    )
    answers = ["0x0", "0x2000", "0x2000", "", "done", "", "", "refused", "", "done", ""]
    assert raw_answers(Subject(SUBJECTS["first-fit"]), program) == answers
    assert raw_answers(Subject(Few), program)[:1] == ["0x0"]


class Few:
    """An allocator with two calls and no more; what is None it cannot do."""

    reclaim = None

    def __init__(self, source: Any, *, kva_limit: int) -> None:
        self.space = CoalescingSpace(source, kva_limit=kva_limit)
        self.alloc, self.free = self.space.alloc, self.space.free

    def xalloc(self, size: int, **_bounds: int) -> int:
        """Refuse all."""
        raise MemoryError(size)

    def resize(self, base: int, size: int) -> int:
        """Refuse all."""
        raise MemoryError(base, size)


class Chooses(CoalescingSpace):
    """A space that takes an even page, if it is told to."""

    contract = LOOSE

    def __init__(self, source: Any, *, kva_limit: int) -> None:
        super().__init__(source, kva_limit=kva_limit, arena_size=1 << 15)

    def even(self) -> bool:
        """Tell whether to take an even page."""
        raise NotImplementedError

    def alloc(self, size: int) -> int:
        """Take the lowest place, or the lowest even one."""
        if self.even():
            try:
                return self.xalloc(size, align=8192)
            except MemoryError:
                pass
        return super().alloc(size)


class MindsOthers(Chooses):
    """A space that takes another place if another was used since."""

    last: Any = None

    def even(self) -> bool:
        """Tell whether another was used since."""
        other, MindsOthers.last = MindsOthers.last is not self, self
        return other


class FearsOthers(MindsOthers):
    """A space that fails if another was used since."""

    def even(self) -> bool:
        """Fail if another was used since."""
        if super().even() and self.stats().live:
            raise RuntimeError("somebody else")
        return False


@pytest.mark.parametrize(
    ("make_space", "words"),
    [
        (hide(MindsOthers, "stats"), "beside another allocator it gives other answers than alone"),
        (FearsOthers, "beside another allocator: alloc("),
    ],
)
def test_two_allocators_share_nothing(make_space: Callable[..., Any], words: str) -> None:
    """Allocators that share state answer otherwise, or fail, when they are used by turns."""
    breach = find("beside-another", make_space)
    assert isinstance(breach, CheckFailed)
    assert breach.message.startswith(words)


def test_a_look_changes_no_answer() -> None:
    """An allocator that chooses its addresses by how often it was looked at is found."""

    class Shy(Chooses):
        looks = 0

        def even(self) -> bool:
            return self.looks > 3

        def segments(self) -> Any:
            self.looks += 1
            return super().segments()

    breach = find("unseen", hide(Shy, "stats"))
    assert isinstance(breach, CheckFailed)
    assert breach.property is Property.P15
    assert "if all is looked at" in breach.message


def test_strings_have_other_hashes_in_another_process() -> None:
    """An allocator that hashes strings answers otherwise in two processes."""
    breach = find("another-process", Hashes)
    assert isinstance(breach, CheckFailed)
    assert "with other hashes of strings" in breach.message


def test_another_process_has_to_give_the_same_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal answers pass; an allocator that cannot be made in the other process is not judged."""

    def run(*_: object, input: str, **__: object) -> CompletedProcess[str]:  # noqa: A002 (the argument's name)
        file, name, texts = json.loads(input)
        assert (Path(file).name, name) == ("allocators.py", "Plain")
        answers = [raw_answers(Subject(Plain), loads(text)) for text in texts]
        return CompletedProcess([], status, json.dumps(answers))

    monkeypatch.setattr("coalloc.testing.worlds.subprocess.run", run)
    status = 0
    assert find("another-process", Plain) is None
    status = 1
    with pytest.raises(NotPromised, match="cannot be made in another process"):
        find("another-process", Plain)


# --- time and space ----------------------------------------------------------------------------------------------------------


def test_memory_that_is_given_back_is_no_growth(monkeypatch: pytest.MonkeyPatch) -> None:
    """An allocator that keeps nothing passes, also where memory is traced already, and where all sizes are refused."""
    monkeypatch.setattr(worlds_module, "_CYCLES", 32)
    tracemalloc.start()
    try:
        assert find("memory", SUBJECTS["per-pipe"]) is None
        assert tracemalloc.is_tracing()
    finally:
        tracemalloc.stop()
    assert find("memory", _small) is None
    assert not tracemalloc.is_tracing()


def _small(source: Any, *, kva_limit: int) -> CoalescingSpace:
    """Make a space that has room for nothing."""
    return CoalescingSpace(source, kva_limit=kva_limit // kva_limit)


def test_equal_times_hide_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that takes the same time with twice the holes is no suspect."""
    monkeypatch.setattr(worlds_module, "_HOLES", (32, 64, 128, 256))
    seconds = itertools.count()
    monkeypatch.setattr("coalloc.testing.worlds.time.process_time", lambda: float(next(seconds)))
    assert find("hidden-work", SUBJECTS["first-fit"]) is None


def test_a_clock_changes_no_answer() -> None:
    """An allocator that chooses its addresses by the time is found, in whatever unit it looks at a clock."""
    began = time.monotonic()

    class Watches(Chooses):
        def even(self) -> bool:
            return time.monotonic_ns() / 10**9 - began > 1800 * (time.monotonic() - began > 0)

    breach = find("clock", hide(Watches, "stats"))
    assert isinstance(breach, CheckFailed)
    assert breach.message == "the answers depend on the clock"
