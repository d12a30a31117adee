"""Further parts of the kit: contracts, programs and subjects at their edges, the matrix, minimising, hidden calls."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import coalloc.testing
from coalloc import CoalescingSpace, Contract, InvalidRequestError, ProgramError
from coalloc.contract import RETAIN_BYTES, Law
from coalloc.contract_text import describe_contract, parse_contract
from coalloc.testing import (
    MUTANTS,
    SUBJECTS,
    Action,
    Breach,
    CheckProgram,
    Counterexample,
    Kill,
    Property,
    Step,
    Subject,
    World,
    kill,
    loads,
    matrix_text,
    minimise,
    random_program,
    soak,
)
from coalloc.testing import matrix as matrix_module
from coalloc.testing.matrix import not_applicable_text
from coalloc.testing.schedules import schedules
from coalloc.testing.small import SmallSearch
from coalloc.testing.source import WatchedSource
from coalloc.testing.subject import accepted
from coalloc.testing.targets import find_design, find_target

PAGE = 4096


# --- contracts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "release=retain-bytes(8192)", "laws=shift", "laws=none", "laws=all", "excluded=0x0-0xfff+0xa0000-0xfffff",
        "classes=4096+8192", "completeness=tlsf(8)", "largest-block=64K", "max-segments=12",
    ],
)  # fmt: skip
def test_every_kind_of_value_is_read_and_written(text: str) -> None:
    """A value of each kind is written as it is read."""
    contract = parse_contract(text)
    assert parse_contract(describe_contract(contract)) == contract != parse_contract("")


def test_values_mean_what_they_say() -> None:
    """Bytes may have a unit, ranges are inclusive, and none is nothing."""
    assert parse_contract("release=retain-bytes(8192)").release == RETAIN_BYTES(8192)
    assert parse_contract("laws=shift").laws == frozenset({Law.SHIFT})
    assert parse_contract("excluded=0x0-0xfff").excluded == ((0, 0xFFF),)
    assert parse_contract("excluded=none,classes=none,max-size=none") == parse_contract("")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max-segments=few", "must be a number"), ("header=big", "must be bytes"), ("excluded=0-9", "must be ranges"),
        ("completeness=tlsf(0)", "must be exact"),
    ],
)  # fmt: skip
def test_values_of_another_kind_are_refused(text: str, words: str) -> None:
    """A value that is not of the field's kind is refused with what it must be."""
    with pytest.raises(InvalidRequestError, match=words):
        parse_contract(text)


# --- programs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("limit=4 granule=3000", "granule must be a power of two"),
        ("limit=4 base=0x10", "base must be a multiple of the granule"),
        ("limit=4 slack=4096", "slack less than one"),
        ("limit=4 base=0xfffffffffffff000", r"must end within 2\*\*64"),
        ("limit=4 order=sideways", "sideways"),
        ("limit=4 quantum=0", r"quantum=0 cannot be: it must be in 1 \.\. 2\*\*63"),
        ("limit=4 arena_size=18446744073709551616", "arena_size=18446744073709551616 cannot be"),
        (
            "limit=2251799813685249 room=2251799813685249",
            r"the limit must be at most 2\*\*63 bytes, here are 9223372036854779904",
        ),
    ],
)
def test_a_world_that_cannot_be_is_refused(setting: str, words: str) -> None:
    """A setting that no source can have is refused with its line."""
    with pytest.raises(ProgramError, match=words):
        loads(f"coalloc check-program 1\nsetting {setting}\n")


def test_a_world_may_have_its_ranges_in_any_order() -> None:
    """The order of the source's ranges is read."""
    assert loads("coalloc check-program 1\nsetting limit=4 order=down\n").world.order.value == "down"


def test_buffers_are_numbered_from_nought() -> None:
    """Numbers follow the first steps of the buffers, and a step without a buffer has none."""
    program = CheckProgram(World(), (Step(Action.RECLAIM), Step(Action.ALLOC, 7, PAGE), Step(Action.FREE, 7)))
    assert [step.buffer for step in program.renumbered().steps] == [-1, 0, 0]


def test_sizes_are_drawn_up_to_what_is_promised() -> None:
    """Where the largest request is promised, hardly anything larger is asked for."""
    judge, found = random_program(Subject(SUBJECTS["first-fit"], attrs.evolve(_first(), max_size=PAGE)), 3)
    assert judge is not None
    sizes = [step.size for step in judge.steps if step.action is Action.ALLOC and step.size < 1 << 30]
    assert sizes
    assert sorted(sizes)[len(sizes) // 2] <= 2 * PAGE
    assert found is None or found.breach.property is Property.P7


def _first() -> Contract:
    return Subject(SUBJECTS["first-fit"]).declared


# --- subjects --------------------------------------------------------------------------------------------------------------


def test_a_factory_that_has_no_hash_is_a_factory_too() -> None:
    """What a factory takes is found anew if it cannot be remembered."""

    class Factory:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, source: Any, *, kva_limit: int) -> CoalescingSpace:
            return CoalescingSpace(source, kva_limit=kva_limit)

    assert accepted(Factory()) == {"source", "kva_limit"}


def test_a_contract_that_cannot_be_read_breaks_p14() -> None:
    """A contract that raises is a fault of the allocator; one of another type is a mistake of the caller."""

    class Raises(CoalescingSpace):
        @property
        def contract(self) -> Contract:
            raise RuntimeError

    with pytest.raises(Breach, match="its contract raised RuntimeError"):
        _ = Subject(Raises).declared
    with pytest.raises(InvalidRequestError, match="something that is no Contract"):
        _ = Subject(CoalescingSpace, "first").declared  # type: ignore[arg-type]


def test_a_discarded_range_has_to_be_mapped() -> None:
    """Touching or discarding what no arena holds is a misuse of the source."""
    source = WatchedSource(size=4 * PAGE)
    source.discard(source.map(2 * PAGE), 2 * PAGE)
    assert source.breach is None
    with pytest.raises(Breach, match="is accessed, and not mapped"):
        source.discard(PAGE, 2 * PAGE)
    assert not source.maps(0, 0)


def test_an_allocator_that_cannot_be_made_is_soaked_once() -> None:
    """A soak of a factory that raises ends with a program without steps."""
    result = soak(Subject(lambda *_, **__: 1 // 0), enough=lambda *_: False)
    assert result.found is not None
    assert (result.found.breach.property, result.found.program.steps) == (Property.P14, ())


def test_a_target_is_found_under_the_names_of_the_kit() -> None:
    """Subjects come with small caches, mutants by their numbers, and other designs as everywhere."""
    assert find_target("vmem+qcache") is SUBJECTS["vmem+qcache"]
    assert find_design("M31").name == "M31"
    assert find_target("M31") is MUTANTS[31].make_space
    assert find_design("dragonfly").name == "dragonfly"


@pytest.mark.parametrize("numbers", [(0, 1, 0), (1, 0, 0), (1, 1, -1), (True, 1, 0)])
def test_schedules_of_nothing_are_refused(numbers: tuple[int, int, int]) -> None:
    """A number that is out of range is refused by its name."""
    threads, steps, switches = numbers
    with pytest.raises(InvalidRequestError, match=r"must be an int >= "):
        schedules(threads=threads, steps=steps, switches=switches)


def test_the_face_of_the_kit_gives_its_test_class_on_demand() -> None:
    """The test class needs hypothesis, so it is imported when it is asked for; another name is none."""
    assert callable(coalloc.testing.conformance)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = coalloc.testing.nothing


# --- the matrix ------------------------------------------------------------------------------------------------------------


def test_a_mutant_is_killed_as_cheaply_as_it_can_be() -> None:
    """The check that it names comes first, then small programs; what only shows wrong figures is not tried hidden."""
    named, small = kill(MUTANTS[90]), kill(MUTANTS[23])
    assert (named.by, small.by) == ("defaults", "small")
    assert named.killed
    assert named.program is not None
    assert kill(MUTANTS[64]).program is None or MUTANTS[64].check
    shown = next(mutant for mutant in MUTANTS.values() if mutant.only_shown)
    assert not kill(shown, hidden=True).killed


def test_what_small_programs_miss_is_killed_by_chance_or_by_any_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random programs of five seeds have to find a mutant; else every check is tried; else it lives."""
    monkeypatch.setattr(matrix_module, "search_small", lambda *_, **__: SmallSearch({}, 0, 0, True))
    found = kill(MUTANTS[23])
    assert (found.by, found.properties) == ("random", (Property.P9,))
    assert found.operations is not None
    monkeypatch.setattr(matrix_module, "_MOST_PROGRAMS", 1)
    unnamed = attrs.evolve(MUTANTS[22], check="")
    assert kill(unnamed).by == "ends"
    monkeypatch.setattr(matrix_module, "first_breach", lambda *_: None)
    assert kill(unnamed) == Kill(unnamed, (), None, None)


def test_the_matrix_has_a_row_for_each_kill() -> None:
    """A row has a mark for each broken property, and dashes for what there is not."""
    found = Kill(MUTANTS[1], (Property.P1, Property.P5), None, None, "comb")
    with_program = attrs.evolve(found, operations=7, program=CheckProgram(World(), (Step(Action.RECLAIM),)))
    header, row, other = matrix_text([found, with_program]).splitlines()
    assert header.split()[:3] == ["mutant", "1", "2"]
    assert row.split()[-3:] == ["-", "-", "comb"]
    assert other.split()[-3:] == ["7", "1", "comb"]
    assert row.count(" x") == 2
    assert not_applicable_text().startswith("M26 ")


# --- minimising --------------------------------------------------------------------------------------------------------------


def least(program: str, fails: Any, *, most: int = 4000) -> CheckProgram:
    """Minimise a program for which a function says whether it fails."""
    whole = loads(program)
    run = lambda p: Breach(Property.P1, "fails") if fails(p) else None  # noqa: E731
    return minimise(None, Counterexample(whole, Breach(Property.P1, "seen")), run=run, most=most).program


def has(*actions: Action) -> Any:
    """Return a function that tells whether a program has steps with these actions."""
    return lambda program: {*actions} <= {step.action for step in program.steps}


HEAD = "coalloc check-program 1\nsetting "


def test_worlds_are_made_smaller_and_plainer() -> None:
    """The base, the slack, the arena, the limit and the room go down as far as the program still fails."""
    small = least(f"{HEAD}limit=9 room=20 base=0x8000 arena=6 slack=9\nxalloc 0 4096 lo=0x9000\n", has(Action.XALLOC))
    assert small.world == World(limit=1, room=1, arena=1)
    needs_base = lambda program: has(Action.RESERVE)(program) and program.steps[-1].at >= 0x9000  # noqa: E731
    kept = least(f"{HEAD}limit=1 room=3 base=0x8000\nreserve 0 4096 at=0x9000\n", needs_base)
    assert (kept.world.base, kept.world.room, kept.steps[0].at) == (0, 1, 0x9000)
    needs_room = lambda program: program.world.room > 4  # noqa: E731
    assert least(f"{HEAD}limit=2 room=9\nreclaim\n", needs_room).world.room > 4


def test_bounds_and_sizes_are_made_plainer() -> None:
    """Constraints are dropped, halved or moved to the base, and sizes are made few and round."""
    keeps = lambda program: any(dict(step.bounds).keys() >= {"align", "lo", "hi"} for step in program.steps)  # noqa: E731
    step = least(f"{HEAD}limit=4 room=4\nxalloc 0 9000 align=32768 nocross=65536 lo=0x3000 hi=0x7fff\n", keeps).steps[0]
    bounds = dict(step.bounds)
    assert bounds.keys() == {"align", "lo", "hi"}
    assert (bounds["align"], bounds["lo"]) == (4096, 0)
    assert (
        least(f"{HEAD}limit=4 room=4\nxalloc 0 9000 align=8192 phase=4096\n", lambda p: bool(p.steps)).steps[0].bounds
        == ()
    )
    odd = lambda program: any(step.size % 4096 for step in program.steps)  # noqa: E731
    assert least(f"{HEAD}limit=4 room=4\nalloc 0 1000\n", odd).steps[0].size == 1
    assert least(f"{HEAD}limit=4 room=4\nalloc 0 5000\n", lambda p: bool(p.steps)).steps[0].size == 4096


def test_the_failing_map_call_comes_sooner_with_fewer_buffers() -> None:
    """Without a buffer the map call that fails may be one earlier."""
    steps = "starve 3\nalloc 0 4096\nalloc 1 4096\nalloc 2 4096\n"

    def fails(program: CheckProgram) -> bool:
        starve = sum(step.size for step in program.steps if step.action is Action.STARVE)
        return starve >= 1 and starve == sum(step.action is Action.ALLOC for step in program.steps)

    assert [str(step) for step in least(f"{HEAD}limit=4 room=4\n{steps}", fails).steps] == ["starve 1", "alloc 0 4096"]


def test_minimising_ends_after_the_runs_that_it_may_take() -> None:
    """With few runs the program is as short as these made it; with none it is as it was."""
    text = f"{HEAD}limit=4 room=4\n" + "".join(f"alloc {number} 4096\n" for number in range(40))
    assert len(least(text, lambda p: len(p.steps) >= 1, most=20).steps) > 1
    assert len(least(text, lambda _p: True, most=1).steps) == 40
    many = lambda program: len(program.steps) >= 35  # noqa: E731
    assert len(least(text, many).steps) == 35
