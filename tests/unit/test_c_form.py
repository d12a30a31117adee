"""Programs as C: the file fails at the step at which the kit found the fault, and passes what is right."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from coalloc import CoalescingSpace
from coalloc.errors import InvalidRequestError
from coalloc.native import FOLDER
from coalloc.testing import Breach, CheckProgram, Property, Subject, on_targets
from coalloc.testing.c_form import Harness, as_c
from coalloc.testing.directed import run_thoroughly
from coalloc.testing.isolate import Reporter
from coalloc.testing.on_targets import code_of
from coalloc.testing.programs import Counterexample
from coalloc.testing.source import Order
from coalloc.testing.steps import Action, Step, World, loads
from coalloc.testing.targets import find_target
from tests.unit.c_allocators import FULL, SKELETON, changed

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
FREED = "\tspace->count.frees++;\n"
SMALL = World(limit=2, room=2, options=(("quantum", 256),))


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Work in an empty folder, with programs built in one folder for all tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COALLOC_BUILD_DIR", str(tmp_path_factory.getbasetemp() / "built"))


def emitted(text: str, program: CheckProgram) -> tuple[Breach, str]:
    """Run a program on a faulty allocator, and return what it breaks and the C file."""
    Path("mine.c").write_text(text, encoding="utf-8")
    subject = Subject(find_target("mine.c"))
    breach = run_thoroughly(subject, program)
    assert breach is not None
    return breach, as_c("mine.c", subject, Counterexample(program, breach))


def played(code: str, text: str, *flags: str) -> tuple[int, str]:
    """Compile the file with an allocator, run it, and return its status and the last line that it prints."""
    Path("it.c").write_text(code, encoding="utf-8")
    Path("subject.c").write_text(text, encoding="utf-8")
    command = ["cc", "-Wall", "-Wextra", "-Werror", *flags, f"-I{FOLDER}", "it.c", "subject.c", "-o", "it"]
    subprocess.run(command, check=True)
    result = subprocess.run(["./it"], capture_output=True, text=True, check=False)
    lines = result.stdout.splitlines()
    return result.returncode, lines[-1] if lines else ""


def steps(text: str, world: World = SMALL) -> CheckProgram:
    """Return a program of a few lines."""
    return CheckProgram(world, loads(f"coalloc check-program 1\n{text}\n").steps)


_CLEAR = "\tif (all_free(space, *place))"
FAULTS = {
    "place": ("for (uint64_t at = 0; at + n", "for (uint64_t at = n == 2; at + n", "alloc 0 512", "alloc 0 512"),
    "refused": (
        "\tn = (size + space->quantum - 1) / space->quantum;\n",
        "\tn = (size + space->quantum - 1) / space->quantum;\n\tif (n == 3 && ++space->count.refusals)\n\t\treturn (1);\n",
        "alloc 0 256\nalloc 1 768",
        "alloc 1 768",
    ),
    "overlap": (
        "\t\tarena->busy[i] = 1;\n",
        "\t\tarena->busy[i] = i != at + 2;\n",
        "alloc 0 1024\nalloc 1 3072\nalloc 2 256",
        "alloc 2 256",
    ),
    "bad free": (
        "if (arena == NULL || (base - arena->base) % space->quantum)",
        "if (arena == NULL)",
        "alloc 0 256\nfree-inside 0 1",
        "free-inside 0 1",
    ),
    "refree": ("\t*size = 0;\n", "", "alloc 0 256\nalloc 1 256\nfree 0\nrefree 0", "free 0"),
    "size": (
        "size > (uint64_t)1 << 63)\n\t\treturn (COALLOC_INVALID);\n\tn =",
        "0)\n\t\treturn (COALLOC_INVALID);\n\tn =",
        "alloc 0 18446744073709551615",
        "alloc 0 18446744073709551615",
    ),
    "release": (
        _CLEAR,
        "\tif (all_free(space, *place) && space->count.frees < 2)",
        "alloc 0 256\nalloc 1 256\nfree 0\nfree 1",
        "free 1",
    ),
    "stats": (
        "\tstats->frees = space->count.frees;",
        "\tstats->frees = space->count.frees / 2;",
        "alloc 0 256\nfree 0",
        "free 0",
    ),
    "walk": (
        "\t\t\t\tshown.kind = COALLOC_FREE;",
        "\t\t\t\tshown.kind = all == 16 && at == 1 ? COALLOC_BUSY : COALLOC_FREE;",
        "alloc 0 256",
        "alloc 0 256",
    ),
    "bounds": (
        "last <= bounds->hi",
        "last <= bounds->hi + (bounds->hi < UINT64_MAX)",
        "alloc 0 256\nxalloc 1 256 hi=0x1fe",
        "xalloc 1 256 hi=0x1fe",
    ),
    "resize": (
        "\t*found = n * space->quantum;",
        "\t*found = (n + (n == 2)) * space->quantum;",
        "alloc 0 256\nresize 0 512",
        "resize 0 512",
    ),
    "reserve": (
        "\treturn (take(space, arena, at, n, &base));",
        "\treturn (take(space, arena, at, n + 1, &base));",
        "alloc 0 256\nreserve 1 256 at=0x200",
        "reserve 1 256 at=0x200",
    ),
    "reclaim": ("\t*unmapped = 0;\n", "\t*unmapped = 5;\n", "alloc 0 256\nreclaim", "reclaim"),
    "limit": (
        "whole > space->limit - space->count.mapped ||",
        "whole > space->limit ||",
        "alloc 0 4096\nalloc 1 4096\nalloc 2 4096",
        "alloc 2 4096",
    ),
    "misuse": (
        "arena->base, arena->size);\n\tfree(arena->busy)",
        "arena->base, arena->size + 4096);\n\tfree(arena->busy)",
        "alloc 0 256\nfree 0",
        "free 0",
    ),
    "finish": (
        _CLEAR,
        "\tif (all_free(space, *place) && space->count.allocs < 3)",
        "alloc 0 256\nalloc 1 256\nalloc 2 256\nfinish",
        "free 2",
    ),
}
"""What is changed in the full allocator, into what, a program, and the step at which the fault shows."""


@pytest.mark.parametrize("fault", FAULTS)
def test_the_file_fails_where_the_kit_said(fault: str) -> None:
    """The file with the faulty allocator fails at the last step, and with the right one it ends as expected."""
    old, new, text, last = FAULTS[fault]
    world = World(limit=2, room=4, options=(("quantum", 256),)) if fault == "limit" else SMALL
    faulty = changed(FULL, old, new)
    _, code = emitted(faulty, steps(text, world))
    status, said = played(code, faulty)
    assert (status, said.startswith(f"FAILED at {last}:")) == (1, True), said
    assert played(code, FULL) == (0, "as expected")


def test_a_crash_is_told_by_the_step_in_which_it_happens() -> None:
    """The handler of the file names the step; damage to memory needs a sanitizer, and the head of the file has the flag."""
    faulty = changed(FULL, FREED, FREED + "\tif (space->count.frees == 2)\n\t\tabort();\n")
    _, code = emitted(faulty, steps("alloc 0 256\nalloc 1 256\nfree 0\nfree 1"))
    assert "-fsanitize=address,undefined" in code.partition("*/")[0]
    assert played(code, faulty) == (1, "FAILED at free 1: the call died by a signal")
    assert played(code, FULL) == (0, "as expected")


def test_state_that_is_shared_is_shown_beside_another_allocator() -> None:
    """What shows only beside another allocator is run alone, beside an equal one, and beside one with half the limit."""
    faulty = changed(FULL, "COALLOC_SUBJECT(mine_);", "COALLOC_SUBJECT(mine_);\nstatic uint64_t all;",
                     "\tif (whole > space->limit - space->count.mapped", "\tall += whole;\n\tif (all > space->limit",
                     "\tspace->count.releases++;", "\tspace->count.releases++;\n\tall -= arena->size;")  # fmt: skip
    breach, code = emitted(faulty, steps("alloc 0 4096\nalloc 1 4096\nfree 0\nfree 1"))
    assert "beside another" in breach.message
    assert "expect_same_beside_another(" in code
    status, said = played(code, faulty)
    assert (status, "beside another allocator it gives other answers than alone" in said) == (1, True)
    assert played(code, FULL) == (0, "as expected")


@pytest.mark.parametrize("order", Order)
def test_the_source_of_the_file_is_that_of_the_kit(order: Order) -> None:
    """In each order, with map calls that fail and frees in their middle, the kit's runner and the file see the same."""
    world = World(limit=12, room=16, base=4096, order=order, pressure=True, options=(("quantum", 256),))
    text = (
        "alloc 0 4096\nalloc 1 8192\nalloc 2 300\nstarve 2\nalloc 3 4096\nalloc 4 4096\nfree 1\nfree-in-map 0\n"
        "alloc 5 12288\nalloc 6 4096\nresize 6 100\nfree-wild 0x5\nrefree 1\nfree-inside 6 1\nfree-inside 99 1\n"
        "free-wild 0x1000\nfree-in-map 6\nxalloc 7 256 align=1024\nreserve 8 256 at=0x5\nalloc 9 0\nfree-in-map 99\n"
        "free-in-map 7\nfree 7\nalloc 10 4096\nreclaim\nfree 2\nfree 5"
    )
    faulty = changed(
        FULL, "\tstats->frees = space->count.frees;", "\tstats->frees = space->count.frees - (space->count.frees == 3);"
    )
    _, code = emitted(faulty.replace("fit=first,", "fit=first,reentrant=yes,"), steps(text, world))
    status, said = played(code, faulty)
    assert (status, "expected otherwise: P4" in said) == (1, True), said
    assert played(code, FULL)[0] == 0


def test_a_buffer_that_is_freed_before_the_map_call_is_not_freed_in_it() -> None:
    """What was to be freed in the middle of a map call may be gone by then."""
    faulty = changed(
        FULL,
        "\tstats->frees = space->count.frees;",
        "\tstats->frees = space->count.frees - (space->count.allocs == 2);",
    )
    _, code = emitted(faulty, steps("alloc 0 4096\nfree-in-map 0\nfree 0\nalloc 2 8192"))
    assert played(code, faulty)[1].startswith("FAILED at alloc 2 8192: expected otherwise: P4")
    assert played(code, FULL) == (0, "as expected")


def test_an_allocator_that_shows_nothing_is_seen_by_its_source() -> None:
    """Without walk, stats and size_of the arenas tell that one was not given back."""
    bare = FULL
    for name in ("walk", "stats", "size_of", "reclaim"):
        bare = bare.replace(f"mine_{name}(", f"own_{name}(")
    faulty = changed(bare, _CLEAR, "\tif (all_free(space, *place) && space->count.frees < 2)")
    _, code = emitted(faulty, steps("alloc 0 256\nalloc 1 256\nfree 0\nreclaim\nfree 1"))
    assert played(code, faulty)[1].startswith("FAILED at free 1: expected otherwise: P12")
    assert played(code, bare) == (0, "as expected")


def test_the_other_harnesses_have_the_same_calls() -> None:
    """A KUnit case and an ATF test have the steps and the expectation of the program."""
    old, new, text, _ = FAULTS["place"]
    Path("mine.c").write_text(changed(FULL, old, new), encoding="utf-8")
    subject = Subject(find_target("mine.c"))
    breach = run_thoroughly(subject, steps(text))
    assert breach is not None
    found = Counterexample(steps(text), breach)
    for harness, words in (
        (Harness.KUNIT, ("KUNIT_CASE(mine_reproducer)", "kunit_test_suite(", "KUNIT_FAIL(")),
        (Harness.ATF, ("ATF_TC_BODY(mine_reproducer, tc)", "ATF_TP_ADD_TCS(tp)", "atf_tc_fail_nonfatal(")),
    ):
        code = code_of("mine.c", found, form=harness.value)
        assert 'do_alloc("alloc 0 512", 0, 512ull);' in code
        assert "expect_served(0, 1, (const uint64_t[]){ 0x0ull }" in code
        for word in words:
            assert word in code


def test_what_cannot_be_shown_in_c_is_refused() -> None:
    """An allocator in Python, a law of other worlds, and a form that there is not are each one clear line."""
    found = Counterexample(CheckProgram(World(), (Step(Action.FINISH),)), Breach(Property.P21, "shifted"))
    with pytest.raises(InvalidRequestError, match="is for allocators in C, and coalescing is not"):
        as_c("coalescing", Subject(CoalescingSpace), found)
    Path("mine.c").write_text(SKELETON, encoding="utf-8")
    with pytest.raises(InvalidRequestError, match="cannot show a law of other worlds"):
        as_c("mine.c", Subject(find_target("mine.c")), found)
    with pytest.raises(InvalidRequestError, match="--emit='rust': must be one of python, c, kunit, atf"):
        code_of("mine.c", found, form="rust")


def test_an_allocator_that_cannot_be_made_has_a_file_without_steps() -> None:
    """The file opens the allocator, and that fails."""
    dies = changed(SKELETON, "\t*opened = space;\n", "\tif (limit == 4096)\n\t\tabort();\n\t*opened = space;\n")
    Path("mine.c").write_text(dies, encoding="utf-8")
    program = CheckProgram(World(limit=1, room=1), ())
    code = as_c(
        "mine.c",
        Subject(find_target("mine.c")),
        Counterexample(program, Breach(Property.P17, "it was ended by SIGABRT")),
    )
    assert played(code, dies) == (1, "FAILED at open: the call died by a signal")
    assert played(code, SKELETON) == (0, "as expected")


def test_the_child_writes_the_form_that_it_is_asked_for() -> None:
    """What runs in the child returns the same text as the function that it calls."""

    class Deaf:
        def send(self, _what: object) -> None:
            """Send nothing."""

    old, new, text, _ = FAULTS["place"]
    Path("mine.c").write_text(changed(FULL, old, new), encoding="utf-8")
    subject = Subject(find_target("mine.c"))
    breach = run_thoroughly(subject, steps(text))
    assert breach is not None
    found = Counterexample(steps(text), breach)
    report = Reporter(Deaf())  # type: ignore[arg-type]
    code = on_targets._as_code(find_target("mine.c"), report, target="mine.c", contract=None, found=found, form="atf")
    assert code == as_c("mine.c", subject, found, Harness.ATF)
