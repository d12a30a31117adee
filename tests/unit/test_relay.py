"""Soaks of allocators in C: whole programs, shown to the scout as calls; what it doubts is judged call by call."""

from __future__ import annotations

import shutil
from pathlib import Path

import attrs
import pytest

from coalloc import CoalescingSpace
from coalloc.contract import Capability
from coalloc.native.whole import PASSED_OVER, Answers, run_whole
from coalloc.testing import Breach, Property, Subject, minimise, run_program, soak
from coalloc.testing import relay as relay_module
from coalloc.testing.check import breach_in
from coalloc.testing.checks import NotPromised
from coalloc.testing.directed import CHECKS
from coalloc.testing.programs import Counterexample
from coalloc.testing.relay import relayed_programs
from coalloc.testing.scout import Doubt
from coalloc.testing.steps import Action, CheckProgram, Step, World
from coalloc.testing.subject import capabilities
from coalloc.testing.targets import find_target
from tests.unit.c_allocators import FULL, changed

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
FREED = "\tspace->count.frees++;\n"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Work in an empty folder, with programs built in one folder for all tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COALLOC_BUILD_DIR", str(tmp_path_factory.getbasetemp() / "built"))


def subject_of(text: str) -> Subject:
    """Return the kit's subject of an allocator."""
    Path("mine.c").write_text(text, encoding="utf-8")
    return Subject(find_target("mine.c"))


def relayed(subject: Subject, seed: int) -> tuple[CheckProgram, bool]:
    """Draw a program of 400 steps, and run it whole."""
    runs = [*relayed_programs(subject, seed, steps=400, nature=subject.nature, can=capabilities(subject))]
    assert len(runs) == 3
    assert all(doubted or 0 < n_calls < len(program.steps) for program, n_calls, doubted in runs)
    return runs[1][0], any(doubted for *_, doubted in runs)


def test_the_scout_doubts_nothing_that_is_right() -> None:
    """Twenty programs with every kind of step, on an allocator with every function."""
    subject = subject_of(FULL)
    assert capabilities(subject) >= {Capability.XALLOC, Capability.RESIZE, Capability.RESERVE, Capability.RECLAIM}
    kinds = set()
    for seed in range(20):
        program, doubted = relayed(subject, seed)
        assert not doubted
        kinds |= {step.action for step in program.steps}
        if seed < 2:
            assert run_program(subject, program) is None
    assert kinds == set(Action) - {Action.FREE_IN_MAP}


def test_what_is_wrong_is_doubted_and_then_judged() -> None:
    """A soak finds what shows in whole programs only as a doubt, and shortens it under the judge."""
    late = changed(
        FULL,
        "\tfor (uint64_t i = 0; i < *size / space->quantum; i++)\n\t\t(*place)",
        "\tfor (uint64_t i = space->count.frees % 50 == 49; i < *size / space->quantum; i++)\n\t\t(*place)",
    )
    result = soak(subject_of(late), start=1, enough=lambda programs, _operations: programs >= 40)
    assert result.found is not None
    assert run_program(subject_of(late), result.found.program) is not None


def test_a_crash_in_a_whole_program_is_found_with_its_program() -> None:
    """The process ends in the middle of a program; the judge finds the step."""
    dies = changed(FULL, FREED, FREED + "\tif (space->count.frees == 7)\n\t\t*(volatile char *)8 = 0;\n")
    result = soak(subject_of(dies), start=1, enough=lambda programs, _operations: programs >= 40)
    assert result.found is not None
    assert result.found.breach.property is Property.P17
    assert "SIGSEGV" in result.found.breach.message
    assert sum(step.action is Action.FREE for step in result.found.program.steps) <= 8


def test_a_soak_without_faults_counts_its_operations() -> None:
    """Programs that run whole and one that is judged call by call count alike."""
    result = soak(subject_of(FULL), enough=lambda programs, _operations: programs >= 4)
    assert (result.programs, result.found, result.doubts) == (4, None, 0)
    assert result.operations > 7 * 400


def test_a_doubt_in_which_the_judge_finds_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge's verdict counts."""
    monkeypatch.setattr(relay_module, "_shown", lambda *_: (_ for _ in ()).throw(Doubt))
    result = soak(subject_of(FULL), start=1, enough=lambda programs, _operations: programs >= 1)
    assert (result.found, result.doubts) == (None, 3)


@pytest.mark.parametrize("wrong", ["base", "passed", "called", "status", "refused"])
def test_answers_that_do_not_fit_the_source_or_the_steps_are_doubted(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """An arena elsewhere than the kit's source puts it, a step more or less, and an odd status are doubted."""

    def changed_answers(*args: object, **named: object) -> Answers | None:
        answers = run_whole(*args, **named)  # type: ignore[arg-type]
        assert answers is not None
        first = next(n for n, status in enumerate(answers.statuses) if status == 0 and answers.n_events[n])
        if wrong == "base":
            answers.events[1] += 4096
        elif wrong == "refused":
            answers.events[0] = 2
        elif wrong == "passed":
            answers.statuses[first] = PASSED_OVER
        elif wrong == "called":
            over = next(n for n, status in enumerate(answers.statuses) if status == PASSED_OVER)
            answers.statuses[over] = 0
        else:
            answers.statuses[first] = 0x102
        return answers

    subject = subject_of(FULL)
    assert not relayed(subject, 3)[1]
    monkeypatch.setattr(relay_module, "run_whole", changed_answers)
    assert relayed(subject, 3)[1]


def test_an_open_that_is_refused_is_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without answers there is nothing to show, so the judge has to say."""
    subject = subject_of(FULL)
    monkeypatch.setattr(relay_module, "run_whole", lambda *_, **__: None)
    assert relayed(subject, 0)[1]


def test_an_allocator_without_functions_is_not_asked_for_them() -> None:
    """What an allocator lacks is left out of whole programs."""
    bare = FULL
    for name in ("xalloc", "resize", "reserve", "reclaim"):
        bare = bare.replace(f"mine_{name}(", f"own_{name}(")
    bare = bare.replace("constraints=all,resize=in-place-only", "constraints=none")
    subject = subject_of(bare)
    for seed in range(6):
        program, doubted = relayed(subject, seed)
        assert not doubted
        assert not {step.action for step in program.steps} & {
            Action.XALLOC,
            Action.RESIZE,
            Action.RESERVE,
            Action.RECLAIM,
        }


# --- the kit on C -----------------------------------------------------------------------------------------------


def found_by(subject: Subject, name: str) -> Breach | None:
    """Run a directed check; None if it finds nothing or does not apply."""
    try:
        return breach_in(next(check for check in CHECKS if check.name == name), subject)
    except NotPromised:
        return None


def test_memory_that_is_kept_is_found_in_c() -> None:
    """A block that is not freed with each buffer is bytes that are kept though nothing is live."""
    leaks = subject_of(changed(FULL, FREED, FREED + "\tif (malloc(64) == NULL)\n\t\treturn (COALLOC_BADFREE);\n"))
    met = found_by(leaks, "memory")
    assert met is not None
    assert "64 bytes of memory are kept" in met.message or "bytes of memory are kept" in met.message
    assert found_by(subject_of(FULL), "memory") is None


def test_a_limit_that_another_allocator_has_reached_is_none_of_its_own() -> None:
    """A refusal that is remembered in a static variable is found beside an allocator with half the limit."""
    shared = changed(
        FULL,
        "COALLOC_SUBJECT(mine_);", "COALLOC_SUBJECT(mine_);\nstatic uint64_t never = UINT64_MAX;",
        "\tif (whole > space->limit", "\tif (whole >= never)\n\t\treturn (COALLOC_NOSPACE);\n"
        "\tif (whole > space->limit - space->count.mapped)\n\t\tnever = whole;\n\tif (whole > space->limit",
        FREED, FREED + "\tnever = UINT64_MAX;\n",
    )  # fmt: skip
    subject = subject_of(shared)
    met = found_by(subject, "beside-another")
    assert met is not None
    assert "beside another allocator" in met.message


def test_an_end_under_pressure_is_only_a_suspicion() -> None:
    """A lock that is held over map panics when the source calls reclaim; that is no breach unless reentrant is declared."""
    locked = changed(
        FULL,
        "COALLOC_SUBJECT(mine_);", "COALLOC_SUBJECT(mine_);\nstatic int busy;",
        "\tif (space->source->map(", "\tbusy = 1;\n\tif (space->source->map(",
        "\tarena->size = whole;\n", "\tbusy = 0;\n\tarena->size = whole;\n",
        "\t\tfree(arena);\n\t\tspace->count.refusals++;", "\t\tbusy = 0;\n\t\tfree(arena);\n\t\tspace->count.refusals++;",
        "\t(void)opened;\n\t*unmapped = 0;", "\t(void)opened;\n\tif (busy)\n\t\tabort();\n\t*unmapped = 0;",
    )  # fmt: skip
    met = found_by(subject_of(locked), "pressure")
    assert met is not None
    assert getattr(met, "suspect", False)
    sure = found_by(subject_of(locked.replace("fit=first,", "fit=first,reentrant=yes,")), "pressure")
    assert sure is not None
    assert not getattr(sure, "suspect", True)


def test_figures_that_are_unknown_are_not_compared() -> None:
    """A figure that stats does not set is neither right nor wrong."""
    unset = changed(FULL, "\tstats->frees = space->count.frees;\n", "")
    world = World(limit=1, room=1, options=(("quantum", 256),))
    assert run_program(subject_of(unset), CheckProgram(world, (Step(Action.ALLOC, 0, 1), Step(Action.FREE, 0)))) is None


def test_great_arenas_are_asked_for_where_they_can_be() -> None:
    """Gigabytes and a hole of more than 2**32 quanta: what has no memory for them does not promise it, and a hole is found."""
    own = FULL  # its bytes for each quantum do not fit
    assert found_by(subject_of(own), "great-holes") is None
    assert found_by(Subject(CoalescingSpace), "great-holes") is None
    sparse = Path(__file__).parents[2] / "docs" / "examples" / "c"
    assert found_by(Subject(find_target(str(sparse / "first_fit.c"))), "great-holes") is None
    poor = (sparse / "first_fit.c").read_text(encoding="utf-8")
    poor = changed(poor, "\tif (space == NULL)", "\tif (space == NULL || limit > (uint64_t)1 << 33)")
    assert found_by(subject_of(poor), "gigabytes") is None
    buddies = subject_of(FULL.replace("fit=first", "completeness=best-effort"))
    assert found_by(buddies, "great-holes") is None
    forgets = (sparse / "first_fit.c").read_text(encoding="utf-8")
    forgets = changed(forgets, "segment->size < size)", "segment->size < size || segment->size > (uint64_t)1 << 40)")
    met = found_by(subject_of(forgets), "great-holes")
    assert met is not None
    assert "maps another arena, and there is a hole of" in met.message
    dies = (sparse / "first_fit.c").read_text(encoding="utf-8")
    dies = changed(dies, "\t(void)options;\n", "\t(void)options;\n\tif (limit > (uint64_t)1 << 33)\n\t\tabort();\n")
    ended = found_by(subject_of(dies), "gigabytes")
    assert ended is not None
    assert ended.property is Property.P17


def test_a_resize_in_place_only_is_held_to_it() -> None:
    """It may refuse where the buffer cannot grow, must not move it, and must not refuse what could be done."""
    world = World(limit=1, room=1, options=(("quantum", 256),))
    steps = (
        Step(Action.ALLOC, 0, 256),
        Step(Action.ALLOC, 1, 256),
        Step(Action.RESIZE, 0, 512),
        Step(Action.RESIZE, 1, 512),
    )
    assert run_program(subject_of(FULL), CheckProgram(world, steps)) is None
    moves = changed(FULL, "\t\t\tspace->count.refusals++;\n\t\t\treturn (COALLOC_NOSPACE);\n\t\t}\n\tfor",
                    "\t\t\tmine_free(space, old);\n\t\t\treturn (mine_alloc(space, size, base));\n\t\t}\n\tfor")  # fmt: skip
    breach = run_program(subject_of(moves), CheckProgram(world, steps))
    assert breach is not None
    assert "moved the buffer to 0x200, and it is declared to stay" in breach.message
    never = changed(
        FULL,
        "\thave = *found / space->quantum;",
        "\tif (n > *found / space->quantum && ++space->count.refusals)\n\t\treturn (COALLOC_NOSPACE);\n"
        "\thave = *found / space->quantum;",
    )
    breach = run_program(subject_of(never), CheckProgram(world, steps))
    assert breach is not None
    assert "was refused, and could be done in place" in breach.message


def test_a_program_is_minimised_to_the_usual_quantum() -> None:
    """A program that fails with any quantum loses the one that was drawn."""
    subject = subject_of(changed(FULL, FREED, FREED + "\tabort();\n"))
    world = World(limit=4, room=4, options=(("quantum", 64),))
    program = CheckProgram(world, (Step(Action.ALLOC, 0, 64), Step(Action.FREE, 0)))
    breach = run_program(subject, program)
    assert breach is not None
    least = minimise(subject, Counterexample(program, breach))
    assert least.program.world.options == ()
    assert attrs.evolve(least.program.world, limit=1, room=1) == World(limit=1, room=1)
