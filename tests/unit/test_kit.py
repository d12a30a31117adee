"""The kit's parts: programs as text, minimising, contracts as text, finding what is under test, soaking, reports."""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

import coalloc.testing
from coalloc import (
    RETAIN,
    CachedSpace,
    CoalescingSpace,
    Completeness,
    Contract,
    Fit,
    InvalidRequestError,
    ProgramError,
    Release,
)
from coalloc.contract_text import describe_contract, parse_contract
from coalloc.designs import load
from coalloc.testing import (
    MUTANTS,
    SUBJECTS,
    Action,
    Breach,
    CheckProgram,
    Counterexample,
    Judge,
    Property,
    Step,
    Subject,
    World,
    check_space,
    dumps,
    loads,
    minimise,
    random_program,
    run_program,
    soak,
)
from coalloc.testing.directed import run_thoroughly
from coalloc.testing.lines import bound_lines, count_lines
from coalloc.testing.python_form import as_python
from coalloc.testing.subject import accepted, make
from tests import some

PAGE = 4096
EVERY = CheckProgram(
    World(limit=4, room=6, base=0x2000, arena=2, granule=8192, slack=5),
    (
        Step(Action.ALLOC, 0, PAGE),
        Step(
            Action.XALLOC,
            1,
            PAGE,
            bounds=(("align", 8192), ("phase", 4096), ("nocross", 65536), ("lo", 16), ("hi", 255)),
        ),
        Step(Action.RESERVE, 2, PAGE, at=0x2000),
        Step(Action.RESIZE, 1, 2 * PAGE),
        Step(Action.FREE, 0),
        Step(Action.REFREE, 0),
        Step(Action.FREE_INSIDE, 1, 8),
        Step(Action.FREE_WILD, at=0x123),
        Step(Action.STARVE, size=2),
        Step(Action.RECLAIM),
        Step(Action.FINISH),
    ),
    title="every step",
)


def test_every_step_survives_the_text_format() -> None:
    """Every kind of step survives the text format, which reads as documented."""
    text = dumps(EVERY)
    assert loads(text) == EVERY
    assert text.splitlines()[:5] == [
        "coalloc check-program 1", "title every step", "setting limit=4 room=6 base=0x2000 arena=2 granule=8192 slack=5",
        "alloc 0 4096", "xalloc 1 4096 align=8192 phase=4096 nocross=65536 lo=0x10 hi=0xff",
    ]  # fmt: skip
    assert loads("coalloc check-program 1\n\n# a comment\nsetting limit=3\n").world.room == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("grab 0 1", "expected one of alloc"), ("alloc 0", "alloc takes 2 numbers"), ("alloc 0 x", "'x' is not a number"),
        ("alloc 0 -1", "not in 0 .."), ("xalloc 0 1 colour=3", "'colour=3' is not understood"),
        ("free 0 1 2=3", "not understood"),
        ("setting limit=0", "limit must be at least 1"), ("setting speed=1", "'speed=1' is not understood"),
    ],
)  # fmt: skip
def test_a_program_that_cannot_be_read_is_refused_with_its_line(line: str, words: str) -> None:
    """A line that cannot be read is refused with its number and the file's name."""
    with pytest.raises(ProgramError) as caught:
        loads(f"coalloc check-program 1\n{line}\n", "some.file")
    assert words in str(caught.value)
    assert (caught.value.line, caught.value.file) == (2, "some.file")


def test_another_file_is_no_check_program() -> None:
    """A text whose first line names another format is refused."""
    with pytest.raises(ProgramError, match="is no check program"):
        loads("coalloc space-program 1\n")


def test_any_part_of_a_program_is_a_program() -> None:
    """Any subset of a correct space's steps runs, since steps on buffers that are not live are skipped."""
    judge, found = random_program(Subject(SUBJECTS["coalescing"]), 5, steps=40)
    assert found is None
    assert judge is not None
    steps = tuple(judge.steps)
    for start in range(0, len(steps), 7):
        assert run_program(Subject(SUBJECTS["coalescing"]), CheckProgram(judge.world, steps[start:][::2])) is None


@pytest.mark.parametrize("number", [1, 3, 6, 28, 35, 59])
def test_a_minimised_program_fails_and_nothing_can_be_left_out(number: int) -> None:
    """A minimised program breaks the same property, and no step of it can be left out."""
    subject = Subject(MUTANTS[number].make_space)
    found = next(f for seed in range(100) if (f := random_program(subject, seed)[1]) is not None)
    least = minimise(subject, found)
    assert least.breach.property is found.breach.property
    again = run_program(subject, least.program)
    assert again is not None
    assert str(again) == str(least.breach)
    steps = least.program.steps
    for index in range(len(steps)):
        shorter = run_program(subject, attrs.evolve(least.program, steps=steps[:index] + steps[index + 1 :]))
        assert shorter is None or shorter.property is not found.breach.property


def test_what_does_not_fail_again_is_returned_as_it_is() -> None:
    """A failure that does not occur again is returned without minimising it."""
    found = Counterexample(EVERY, Breach(Property.P1, "seen once"))
    assert minimise(Subject(SUBJECTS["coalescing"]), found) is found


def test_the_same_seed_gives_the_same_program() -> None:
    """Equal seeds give equal programs, and another seed gives other steps."""
    subject = Subject(SUBJECTS["vmem"])
    one, two, three = (random_program(subject, seed)[0] for seed in (1, 1, 2))
    assert one is not None
    assert two is not None
    assert three is not None
    assert (one.world, one.steps, one.outcomes) == (two.world, two.steps, two.outcomes)
    assert one.steps != three.steps


# --- what is under test --------------------------------------------------------------------------------------


def test_a_factory_is_called_with_what_it_takes() -> None:
    """A factory gets the arguments that it accepts, except those that a partial has bound."""
    bound = functools.partial(CoalescingSpace, fit=Fit.FIRST, arena_size=PAGE)
    assert "arena_size" not in accepted(bound)
    assert {"kva_limit", "release", "quantum_cache"} <= accepted(bound)
    source, space = make(bound, World(limit=3, slack=7))
    assert (space.kva_limit, source.size, space.contract.fit) == (3 * PAGE + 7, 16 * PAGE, Fit.FIRST)
    assert accepted(print) >= frozenset()
    assert accepted(dict) == frozenset({"kva_limit"})


def test_an_allocator_that_cannot_be_made_breaks_p14() -> None:
    """A factory that raises breaks P14, unless it misuses the source, which breaks P12."""
    with pytest.raises(Breach, match=r"P14.*TypeError"):
        make(lambda source: source / 0, World())
    with pytest.raises(Breach, match="P12"):
        make(lambda source: source.unmap(0, 1), World())
    report = check_space(lambda source: source / 0, Contract(fit=None))
    assert not report.conforms


def test_without_a_contract_there_is_nothing_to_check() -> None:
    """A check without a contract, or with no examples, is refused."""
    with pytest.raises(InvalidRequestError, match="contract"):
        check_space(lambda _source: object())
    with pytest.raises(InvalidRequestError, match="examples"):
        check_space(SUBJECTS["coalescing"], examples=0)
    with pytest.raises(InvalidRequestError, match="no directed check"):
        check_space(SUBJECTS["coalescing"], examples=1, checks=("comb", "no-such-check"))


def test_a_target_is_found_in_a_module_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target is found by name in a module or a file, also as an attribute of a class."""
    assert load("coalloc:CoalescingSpace") is CoalescingSpace
    file = tmp_path / "mine_of_test_kit.py"
    file.write_text("class Outer:\n    def make(source, kva_limit): ...\n")
    assert getattr(load(f"{file}:Outer.make"), "__name__", "") == "make"
    monkeypatch.chdir(tmp_path)
    assert getattr(load("mine_of_test_kit:Outer.make"), "__name__", "") == "make"
    sys.modules.pop("mine_of_test_kit")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("coalloc", "must be package.module:attribute"), ("coalloc:", "must be"), ("coalloc:nothing", "has no 'nothing'"),
        ("coalloc:PAGE_SIZE", "can be called"), ("no_such_module_here:x", "No module named"), ("none.py:x", "no file"),
        ("broken_of_test_kit.py:x", "cannot be imported: SyntaxError"),
    ],
)  # fmt: skip
def test_a_target_that_is_not_there_is_refused(
    target: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that cannot be found is refused with the reason."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_of_test_kit.py").write_text("def (:\n")
    with pytest.raises(InvalidRequestError, match=words):
        load(target)


# --- contracts as text ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_contract_survives_as_text(name: str) -> None:
    """The text of a contract is read back as the same contract."""
    contract = Subject(SUBJECTS[name]).declared
    assert parse_contract(describe_contract(contract)) == contract


def test_a_contract_is_changed_by_what_is_named() -> None:
    """A contract is changed only where the text names a field."""
    declared = Contract(fit=Fit.BEST)
    changed = parse_contract("completeness=class, release=never,constraints=all,limited=no", declared)
    assert (changed.fit, changed.completeness) == (Fit.BEST, Completeness.CLASS)
    assert (changed.release, changed.limited, len(changed.constraints)) == (Release(None), False, 5)
    assert parse_contract("constraints=none", changed).constraints == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "fit",
        "speed=high",
        "fit=tallest",
        "release=retain(x)",
        "exact-stats=maybe",
        "constraints=align+colour",
        "work=fast",
    ],
)
def test_a_contract_that_is_not_understood_is_refused(text: str) -> None:
    """A text that is no contract is refused, and the error names --contract."""
    with pytest.raises(InvalidRequestError, match="--contract"):
        parse_contract(text)


# --- soaking, lines, reports ---------------------------------------------------------------------------------


def test_a_soak_is_taken_up_where_it_stopped() -> None:
    """Two short soaks, the second from where the first stopped, do the work of one long soak."""
    subject = Subject(SUBJECTS["per-pipe"])
    whole = soak(subject, seed=3, enough=lambda programs, _: programs >= 4)
    first = soak(subject, seed=3, enough=lambda programs, _: programs >= 2)
    second = soak(subject, seed=3, start=first.next_program, enough=lambda programs, _: programs >= 2)
    assert first.operations + second.operations == whole.operations
    assert (whole.found, second.next_program) == (None, whole.next_program)
    with pytest.raises(InvalidRequestError, match="start"):
        soak(subject, start=-1, enough=lambda *_: True)


def test_a_soak_makes_what_it_finds_short() -> None:
    """A soak ends at the first breach and shows at most five steps."""
    result = soak(Subject(MUTANTS[3].make_space), enough=lambda *_: False)
    assert result.found is not None
    assert len(result.found.program.steps) <= 5


def test_lines_are_counted_and_bounded() -> None:
    """Equal work counts equal numbers of lines, and a loop is stopped at the bound."""

    def work(n: int) -> int:
        total = 0
        for number in range(n):
            total += number
        return total

    counts = []
    for n in (10, 10, 20):
        with count_lines() as lines:
            work(n)
        counts.append(lines[0])
    assert counts[0] == counts[1] < counts[2]

    def loop() -> None:
        while True:
            pass

    with pytest.raises(RuntimeError, match="enough"), bound_lines(100, RuntimeError("enough")):
        loop()


class Endless(CoalescingSpace):
    """The reference with an endless loop at its third alloc."""

    def alloc(self, size: int) -> int:
        while self.stats().allocs == 2:
            pass
        return super().alloc(size)


def test_a_call_that_does_not_return_is_broken_off_where_lines_are_counted() -> None:
    """With a bound on lines a call that does not return breaks P17 and can be minimised."""
    subject = Subject(Endless, line_bound=5000)
    found = next(f for seed in range(20) if (f := random_program(subject, seed)[1]) is not None)
    assert found.breach.property is Property.P17
    assert len(minimise(subject, found).program.steps) <= 4


def test_what_an_allocator_was_made_with_is_part_of_a_program() -> None:
    """The arguments of the allocator are part of a program's text and of its Python."""
    options = (("quantum", 2048), ("quantum_cache", 16384), ("release", RETAIN(1)))
    program = CheckProgram(World(options=options), (Step(Action.ALLOC, 0, PAGE),))
    assert loads(dumps(program)) == program
    found = Counterexample(program, Breach(Property.P1, "made up"))
    text = as_python("coalloc:CoalescingSpace", Subject(CoalescingSpace), found)
    names: dict[str, Any] = {}
    exec(compile(text, "<program>", "exec"), names)  # nothing is wrong, so that it passes
    assert (names["space"].quantum, names["space"].contract.release) == (2048, RETAIN(1))


def test_a_bug_that_shows_only_when_run_again_is_found_again_from_its_program() -> None:
    """The program of a P15 verdict breaks P15 when it is run by itself."""
    turns = itertools.count()

    def moody(source: Any, kva_limit: int) -> CoalescingSpace:
        return CoalescingSpace(source, kva_limit=kva_limit, fit=Fit.FIRST if next(turns) % 2 else Fit.NEXT)

    contract = attrs.evolve(make(CoalescingSpace, World())[1].contract, fit=None, tie=None)
    report = check_space(moody, contract, examples=1, checks=("determinism",))
    found = next(verdict.found for verdict in report.verdicts if verdict.property is Property.P15)
    assert found is not None
    again = run_thoroughly(Subject(moody, contract), loads(dumps(found.program)))
    assert again is not None
    assert again.property is Property.P15


def test_a_cache_that_is_filled_ahead_is_followed() -> None:
    """The judge accepts that a cache holds buffers that were never handed out."""

    class Ahead(CachedSpace):
        def alloc(self, size: int) -> int:
            base = super().alloc(size)
            if size <= PAGE:
                with contextlib.suppress(MemoryError):
                    self.free(super().alloc(PAGE))
            return base

    def ahead(source: Any, kva_limit: int, arena_size: int) -> Ahead:
        return Ahead(CoalescingSpace(source, kva_limit=kva_limit, arena_size=arena_size), sizes=[PAGE], depth=8)

    made = make(ahead, World())[1]
    judge = Judge(Subject(ahead, attrs.evolve(made.contract, fit=Fit.BEST)), World(arena=16))
    judge.subject = attrs.evolve(judge.subject, deep_every=100)  # its figures count what it did ahead
    for step in (
        Step(Action.ALLOC, 0, PAGE),
        Step(Action.ALLOC, 1, 2 * PAGE),
        Step(Action.ALLOC, 2, PAGE),
        Step(Action.FREE, 0),
    ):
        judge.do(step)
    assert judge.books.parked


@pytest.mark.parametrize("name", ["align", "phase", "nocross", "lo"])
def test_constraints_that_contradict_themselves_must_be_refused(name: str) -> None:
    """Granting a constraint that means nothing breaks P14."""

    class Lax(CoalescingSpace):
        def xalloc(self, size: int, **bounds: int) -> int:
            try:
                return super().xalloc(size, **bounds)
            except InvalidRequestError as error:
                if error.what != name:
                    raise
                return self.alloc(size)

    verdicts = {
        verdict.property: verdict.note for verdict in check_space(Lax, examples=1, checks=("nonsense",)).verdicts
    }
    assert "was accepted, and means nothing" in verdicts[Property.P14]


def test_the_work_of_the_source_is_not_the_allocators() -> None:
    """Lines that the source runs are not counted as work of the allocator."""
    source, _ = make(CoalescingSpace, World(room=64))
    work = []
    for _ in range(32):
        with count_lines() as lines:
            source.map(PAGE)
        work.append(lines[0])
    assert len(set(work)) == 1


def test_names_of_a_strangers_own_mean_nothing_to_the_kit() -> None:
    """What the kit asks of allocators in C by name is not asked of others, whose members may have the same names."""

    class Own(CoalescingSpace):
        quanta = 3
        restart = held = unjudged = options = None

        def stats(self) -> Any:
            return {**attrs.asdict(super().stats()), "unknown": 7}

    def make_own(source: Any, *, kva_limit: int) -> Own:
        return Own(source, kva_limit=kva_limit)

    make_own.quanta = make_own.restart = make_own.unjudged = 3  # type: ignore[attr-defined]
    report = check_space(make_own, examples=10)
    assert report.conforms, report


def test_a_long_program_is_made_short() -> None:
    """A program of more than 600 steps is minimised to at most six."""
    subject = Subject(MUTANTS[3].make_space)
    tries = (random_program(subject, seed, steps=500, world=World(limit=16, arena=4))[1] for seed in range(50))
    found = next(f for f in tries if f is not None and len(f.program.steps) >= 4)
    idle = tuple(Step(Action.FREE_WILD, at=number) for number in range(600))
    long = attrs.evolve(found, program=attrs.evolve(found.program, steps=idle + found.program.steps))
    assert len(minimise(subject, long).program.steps) <= 6


@pytest.mark.parametrize("number", some(MUTANTS, 4))
def test_a_program_as_python_fails_while_the_fault_is_there(number: int) -> None:
    """A program as Python fails for the mutant that it was found in, and its comments state the addresses that it gets."""
    subject = Subject(MUTANTS[number].make_space)
    found = next((f for seed in range(40) if (f := random_program(subject, seed)[1]) is not None), None)
    if found is None:
        pytest.skip("only a directed check finds it")
    if number in (98, 99):
        pytest.skip("its state outlives an allocator, so a program shows it in a fresh process only")
    least = minimise(subject, found)
    text = as_python(f"M{number}", subject, least)
    names: dict[str, Any] = {}
    with pytest.raises((AssertionError, MemoryError, LookupError, ValueError, TypeError, Breach)):
        exec(compile(text, "<program>", "exec"), names)
    assert f"# {least.breach.property.name}: " in text
    for line in text.splitlines():
        name, _, rest = line.partition(" = ")
        if rest.count("# 0x") and name.isidentifier() and text.count(f"{name} = ") == 1:
            assert names[name] == int(rest.rpartition("# ")[2], 16)


def test_a_report_is_plain_data_too() -> None:
    """A report as a dict has every property with its state, and programs as text."""
    report = check_space(MUTANTS[3].make_space, examples=20, checks=())
    data: Any = report.as_dict()
    assert data["conforms"] is False
    assert set(data["properties"]) == {item.name for item in Property}
    assert data["properties"]["P12"]["program"].startswith("coalloc check-program 1\n")
    assert data["properties"]["P19"]["state"] == "not promised"


def test_a_watcher_is_told_of_worlds_and_steps() -> None:
    """A subject's callbacks get the world and each step."""
    seen: list[object] = []
    subject = Subject(SUBJECTS["per-pipe"], on_world=seen.append, on_step=seen.append)
    judge = Judge(subject, World())
    judge.do(Step(Action.ALLOC, 0, PAGE))
    assert seen == [World(), Step(Action.ALLOC, 0, PAGE)]


def test_the_test_class_is_imported_when_it_is_asked_for() -> None:
    """coalloc.testing offers conformance on demand and refuses unknown names."""
    assert callable(coalloc.testing.conformance)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = coalloc.testing.nothing


def test_no_collection_of_garbage_runs_while_lines_are_counted() -> None:
    """Finalizers of garbage that others left do not count as work of the allocator; the collector is on again afterwards."""

    class Garbage:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            self.gone = True

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(50):
            Garbage()
        with count_lines() as lines:
            kept = [[number] for number in range(2000)]
    finally:
        gc.set_threshold(*before)
    assert len(kept) == 2000
    assert gc.isenabled()
    assert lines[0] <= 2 * 2000 + 10
