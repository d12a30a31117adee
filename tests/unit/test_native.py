"""Allocators in C live in a process of their own, and whatever they break there is told and breaks nothing here."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from coalloc import KernelMap
from coalloc.contract import Resize
from coalloc.designs import find
from coalloc.errors import CoallocError, InvalidRequestError, NoSpaceError, SpanOverlapError
from coalloc.extent import Extent
from coalloc.native import FOLDER, CompilerError, NativeFactory, SubjectDied, is_native, native_target, with_settings
from coalloc.native.build import build, cache_folder
from coalloc.native.host import Host
from coalloc.native.space import NativeSpace, NativeStats
from coalloc.native.whole import Call, Calls, Placing, run_whole
from coalloc.space.protocol import Kind, Segment
from coalloc.testing import Breach, Property, WatchedSource
from coalloc.testing.source import Order
from coalloc.testing.targets import find_target
from tests.unit.c_allocators import FULL, SKELETON, changed

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
K = 4096


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Work in an empty folder, with programs built in one folder for all tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COALLOC_BUILD_DIR", str(tmp_path_factory.getbasetemp() / "built"))
    for name in ("CC", "CXX", "CFLAGS", "CXXFLAGS"):
        monkeypatch.delenv(name, raising=False)


def made(text: str, name: str = "mine.c", settings: str = "") -> NativeFactory:
    """Write an allocator, and return its factory."""
    Path(name).write_text(text, encoding="utf-8")
    return native_target(name + settings)


def space_of(text: str = FULL, granules: int = 16) -> tuple[WatchedSource, NativeSpace]:
    """Return a space of an allocator with a quantum of 256 bytes, and its source."""
    source = WatchedSource(size=granules * K)
    return source, made(text)(source, kva_limit=granules * K, quantum=256)


# --- what it can do ---------------------------------------------------------------------------------------------


def test_a_space_makes_the_calls_of_c() -> None:
    """Each method calls its function, and returns what that gives."""
    source, space = space_of()
    assert (space.quantum, space.kva_limit, space.contract is not None) == (256, 16 * K, True)
    first, second = space.alloc(300), space.alloc(256)
    assert (first, second) == (0, 512)
    assert space.size_of(first) == 512
    assert space.resize(second, 512) == second
    assert space.xalloc(256, align=2048, phase=256, nocross=K, lo=K // 4, hi=K - 1) == 2048 + 256
    space.reserve(Extent(3072, 256))
    assert space.segments()[0] == Segment(0, 512, Kind.BUSY, 0)
    stats = space.stats()
    assert (stats.mapped, stats.live, stats.arenas, stats.resizes_in_place) == (K, 512 + 512 + 256 + 256, 1, 1)
    assert stats.knows_holes
    for base in (first, second, 2304, 3072):
        space.free(base)
    assert space.reclaim() == 0
    assert source.mapped == 0
    assert space.held() > 0


def test_what_c_refuses_is_an_error_of_python() -> None:
    """Each status is the error that a space raises, and nothing has changed."""
    _, space = space_of(granules=1)
    base = space.alloc(K)
    with pytest.raises(MemoryError, match="no place for 256 bytes"):
        space.alloc(256)
    for size in (0, 2**63 + 1):
        with pytest.raises(InvalidRequestError, match="the allocator calls it invalid"):
            space.alloc(size)
    nonsense: tuple[Any, ...] = (-1, 2**64, 1.5, None)
    for size in nonsense:
        with pytest.raises(InvalidRequestError, match="must be an int that fits into uint64_t"):
            space.alloc(size)
    for call in (space.free, space.size_of):
        with pytest.raises(ValueError, match="0x100 is not the base of a live buffer"):
            call(256)
        with pytest.raises(ValueError, match="'0' is not the base of a live buffer"):
            call("0")  # type: ignore[arg-type]
    with pytest.raises(MemoryError):
        space.resize(base, 2 * K)
    with pytest.raises(SpanOverlapError, match="COALLOC_OVERLAP"):
        space.reserve(Extent(0, 256))
    for name, bounds in (
        ("align", {"align": 3}), ("nocross", {"nocross": 48}), ("phase", {"align": 16, "phase": 16}), ("phase", {"phase": 1}),
        ("nocross", {"nocross": 128}), ("lo", {"lo": 5, "hi": 4}),
    ):  # fmt: skip
        with pytest.raises(InvalidRequestError) as caught:
            space.xalloc(256, **bounds)
        assert caught.value.what == name
    space.free(base)


def test_a_missing_function_is_a_missing_capability() -> None:
    """The skeleton has neither segments nor stats, and its space lacks the methods."""
    space = made(SKELETON)(WatchedSource(size=K), kva_limit=K)
    assert space.size_of(space.alloc(1)) == K
    for name in ("xalloc", "resize", "reserve", "reclaim", "segments", "stats"):
        assert getattr(space, name) is None


def test_a_space_cannot_be_copied() -> None:
    """A copy would share the allocator, so there is none."""
    _, space = space_of()
    for copied in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="an allocator in C cannot be copied"):
            copied(space)


def test_a_source_may_call_the_allocator_again() -> None:
    """A buffer is freed in the middle of a map call."""
    source, space = space_of()
    base = space.alloc(K)
    source.meanwhile = lambda: space.free(base)
    assert space.alloc(2 * K) == 0
    assert source.ranges == {0: 2 * K}


def test_what_the_source_raises_reaches_the_caller() -> None:
    """An error of the source other than a refusal is raised by the call, when the allocator has returned."""
    source, space = space_of()
    source.meanwhile = lambda: 1 // 0
    with pytest.raises(ZeroDivisionError):
        space.alloc(K)
    assert space.alloc(K) == 0


def test_figures_that_are_not_counted_are_unknown() -> None:
    """A figure that stats does not set is named as unknown, and the judge does not compare it."""
    _, space = space_of(changed(FULL, "\tstats->arenas = arenas;\n", "", "\tstats->largest_hole = sums.cached;\n", ""))
    stats = space.stats()
    assert isinstance(stats, NativeStats)
    assert stats.unknown == {"arenas", "largest_hole"}
    assert not stats.knows_holes


def test_segments_of_no_kind_are_refused() -> None:
    """A segment of a kind that coalloc.h does not have, or of no size, is an error that says so."""
    _, space = space_of(changed(FULL, "shown.kind = ", "shown.kind = 7 + "))
    space.alloc(1)
    with pytest.raises(ValueError, match=r"walk shows a segment 0x100\+3840 of kind 9"):
        space.segments()


def test_a_status_that_there_is_not_is_told() -> None:
    """A function that returns another number than coalloc.h has is a fault."""
    _, space = space_of(changed(SKELETON, "return (COALLOC_BADFREE);", "return (-7);"))
    with pytest.raises(RuntimeError, match=r"the status \d+, which coalloc.h does not know"):
        space.free(5)


# --- what ends it -----------------------------------------------------------------------------------------------

_FREE = "\t*place = buffer->next;\n\tspace->mapped -= buffer->arena;"
_DEATHS = {
    "signal": ("\t*(volatile int *)16 = 0;\n", r"it was ended by SIGSEGV, in mine_free at mine\.c:\d+"),
    "abort": ("\tabort();\n", "it was ended by SIGABRT"),
    "exit": ("\texit(3);\n", "it called exit"),
    "_exit": ("\t_exit(3);\n", "the process ended with status 3"),
    "loop": ("\tfor (;;)\n\t\tspace->limit += space->mapped;\n", "the call does not return"),
    "prints": ('\tprintf("freeing\\n");\n', "it prints on standard output: freeing"),
    "overflow": ("\tmemset((char *)buffer + sizeof(*buffer), 0, 1);\n", "something was written 0 bytes behind the end of"),
    "underflow": ("\tmemset((char *)buffer - 1, 0, 1);\n", "something was written in front of a block of 32 bytes"),
    "twice": ("\tfree(buffer);\n", "it damaged memory|SIGSEGV"),
    "thread": (
        "\tpthread_t other;\n\tpthread_create(&other, NULL, away, space);\n\tpthread_join(other, NULL);\n",
        "it broke off: the source was called from another thread than the allocator was",
    ),
    "recursion": ("\treturn (mine_free(opened, base) + mine_free(opened, base));\n", "SIGSEGV"),
}  # fmt: skip
_HEAD = """#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <stdlib.h>
static void *away(void *);
"""
_TAIL = """
static void *
away(void *opened)
{
	struct space *space = opened;
	uint64_t base;

	space->source->map(space->source->cookie, 4096, &base);
	return (NULL);
}
"""


@pytest.mark.parametrize("death", _DEATHS)
def test_the_end_of_its_process_is_told_and_the_next_space_lives(death: str) -> None:
    """Whatever ends the process is one error with the reason, and the next space gets a new process."""
    code, reason = _DEATHS[death]
    text = changed(SKELETON, "#include <stdlib.h>\n", _HEAD, _FREE, code + _FREE) + _TAIL
    factory = made(text)
    source = WatchedSource(size=2 * K)
    space = factory(source, kva_limit=2 * K)
    base = space.alloc(1)
    with pytest.raises(SubjectDied, match=reason):
        space.free(base)
    with pytest.raises(SubjectDied, match=reason):
        space.alloc(1)
    if death == "loop":
        assert factory.host().dead is None  # and it is more impatient from now on
    assert factory(WatchedSource(size=K), kva_limit=K).alloc(1) == 0


def test_memory_that_is_written_after_it_was_freed_is_found() -> None:
    """The freed block is looked at when the space is closed, and the call after that tells."""
    text = changed(
        SKELETON,
        "\tfree(buffer);\n\treturn (COALLOC_OK);",
        "\tfree(buffer);\n\t((volatile struct buffer *)buffer)->size = 5;\n\treturn (COALLOC_OK);",
    )
    factory = made(text)
    space = factory(WatchedSource(size=K), kva_limit=K)
    space.free(space.alloc(1))
    del space
    with pytest.raises(SubjectDied, match="something was written after it was freed into a block of 32 bytes"):
        factory.host()
    space = factory(WatchedSource(size=K), kva_limit=K)
    space.free(space.alloc(1))
    with pytest.raises(SubjectDied, match="something was written after it was freed"):
        space.close()
    space.close()


def test_a_long_report_is_cut_and_a_dead_space_can_be_dropped() -> None:
    """Sixty lines of what the process wrote are kept, and the line that tells most is in the reason."""
    speaks = '\tfor (int i = 0; i < 99; i++)\n\t\tfprintf(stderr, i == 50 ? "panic: full\\n" : "line %d\\n", i);\n\tabort();\n'
    text = changed(SKELETON, "#include <stdlib.h>\n", _HEAD, _FREE, speaks + _FREE) + _TAIL
    factory = made(text)
    space = factory(WatchedSource(size=K), kva_limit=K)
    base = space.alloc(1)
    with pytest.raises(SubjectDied, match="it was ended by SIGABRT: panic: full") as caught:
        space.free(base)
    assert sum(line.startswith("line") for line in caught.value.output.splitlines()) == 59
    space.close()
    other = factory(WatchedSource(size=K), kva_limit=K)
    with pytest.raises(SubjectDied):
        other.free(other.alloc(1))
    del other, caught
    gone = factory(WatchedSource(size=K), kva_limit=K)
    factory.host().dead = SubjectDied("as if")
    del gone  # nobody is asked to close it


def test_a_long_program_is_sent_and_answered_whole() -> None:
    """A program that is longer than a pipe holds comes back with as many answers."""
    calls = Calls(n_buffers=20_000)
    for number in range(20_000):
        calls.words.extend((Call.ALLOC | number << 32, 1, 0, Call.FREE | number << 32, 0, 0))
    answers = run_whole(made(FULL).host(), calls, kva_limit=K, quantum=256, base=0, size=K, granule=K)
    assert answers is not None
    assert len(answers.statuses) == 40_000
    assert not any(answers.statuses)


def test_blocks_of_all_kinds_are_guarded() -> None:
    """calloc, realloc and thousands of blocks pass the guards unchanged."""
    more = """
	char **many = calloc(600, sizeof(*many)), *grown = NULL, *none = realloc(NULL, 8), *copied = strdup("x");
	for (int i = 0; i < 600; i++) {
		many[i] = malloc((size_t)i);
		grown = realloc(grown, (size_t)i + 1);
		grown[i] = (char)i;
	}
	for (int i = 0; i < 600; i++) {
		if (grown[i] != (char)i || many[0] == NULL)
			abort();
		free(many[i]);
	}
	if (calloc(SIZE_MAX, 2) != NULL || malloc(SIZE_MAX) != NULL || realloc(grown, SIZE_MAX - 1) != NULL)
		abort();
	grown = realloc(grown, 3);
	copied = realloc(copied, 50);
	free(none);
	free(grown);
	free(many);
	free(copied);
	free(NULL);
"""
    text = changed(SKELETON, "#include <stdlib.h>\n", _HEAD, _FREE, more + _FREE) + _TAIL
    space = made(text)(WatchedSource(size=K), kva_limit=K)
    space.free(space.alloc(1))
    assert space.alloc(1) == 0


def test_a_jump_out_of_a_call_is_told() -> None:
    """A longjmp into a call that has returned, or over one that is under way, does not look like a return."""
    jump = "\tif (set) {\n\t\tset = 0;\n\t\tlongjmp(there, 1);\n\t}\n"
    text = changed(
        SKELETON,
        "#include <stdlib.h>\n", "#include <setjmp.h>\n#include <stdlib.h>\nstatic jmp_buf there;\nstatic volatile int set;\n",
        _FREE, jump + _FREE,
        "\tspace->mapped += buffer->arena;", "\tspace->mapped += buffer->arena;\n\tif (setjmp(there) == 0)\n\t\tset = 1;",
    )  # fmt: skip
    space = made(text)(WatchedSource(size=K), kva_limit=K)
    base = space.alloc(1)
    with pytest.raises(SubjectDied, match=r"longjmp|SIG"):
        space.free(base)
    text = text.replace(
        "\tif (buffer->arena > space", "\tif (setjmp(there) == 0)\n\t\tset = 1;\n\tif (buffer->arena > space"
    )
    source = WatchedSource(size=2 * K)
    space = made(text)(source, kva_limit=2 * K)
    base = space.alloc(1)
    source.meanwhile = lambda: space.free(base)
    with pytest.raises(SubjectDied, match="longjmp"):
        space.alloc(1)


def test_a_blocked_call_ends_by_the_clock() -> None:
    """A call that sleeps uses no processor time, and is ended when it has taken too long."""
    text = changed(SKELETON, "#include <stdlib.h>\n", _HEAD, _FREE, "\tfor (;;)\n\t\tpause();\n" + _FREE) + _TAIL
    Path("mine.c").write_text(text, encoding="utf-8")
    host = Host([str(build(Path("mine.c")).program)], "mine_", wall=100)
    space = NativeSpace(host, WatchedSource(size=K), kva_limit=K, contract=None)
    base = space.alloc(1)
    with pytest.raises(SubjectDied, match="the call does not return"):
        space.free(base)
    assert host.hung


def test_a_lock_of_the_stubs_must_be_released() -> None:
    """A call that returns with a lock held is told by the name of the lock, and a panic by its message."""
    text = (
        Path(FOLDER / "skeleton.c")
        .read_text(encoding="utf-8")
        .replace("#include <stdlib.h>", '#include "kstub.h"\nstatic DEFINE_MUTEX(pool);')
    )
    text = text.replace("calloc(1, sizeof(*space))", "kzalloc(sizeof(*space), GFP_KERNEL)")
    text = text.replace("malloc(sizeof(*buffer))", "kmalloc(sizeof(*buffer), GFP_KERNEL)").replace(
        "free(buffer);", "kfree(buffer);"
    )
    text = text.replace("\tfree(space);", "\tkfree(space);")
    held = changed(text, _FREE, "\tmutex_lock(&pool);\n" + _FREE)
    space = made(held)(WatchedSource(size=K), kva_limit=K)
    base = space.alloc(1)
    with pytest.raises(SubjectDied, match="it broke off: pool is still held when the call returns"):
        space.free(base)
    space = made(changed(text, _FREE, "\tBUG_ON(base == 0);\n" + _FREE))(WatchedSource(size=K), kva_limit=K)
    base = space.alloc(1)
    with pytest.raises(SubjectDied, match=r"SIGABRT: panic: BUG_ON\(base == 0\) at mine\.c:\d+") as caught:
        space.free(base)
    assert "mine_free at mine.c" in caught.value.output


def test_the_kit_calls_the_end_of_the_process_a_breach() -> None:
    """With the factory of the kit, what ends the process is P17, and its picture is what the process wrote."""
    Path("mine.c").write_text(changed(SKELETON, _FREE, "\tabort();\n" + _FREE), encoding="utf-8")
    factory = find_target("mine.c")
    space = factory(WatchedSource(size=K), kva_limit=K)
    assert space.quantum == 256
    with pytest.raises(Breach) as caught:
        space.free(space.alloc(1))
    assert caught.value.property is Property.P17
    assert "mine_free at mine.c" in caught.value.picture


# --- targets ----------------------------------------------------------------------------------------------------


def test_settings_are_part_of_a_target() -> None:
    """A prefix, a quantum, options, sanitizers and valgrind follow the file; options on the command line are put there."""
    assert is_native("a/b.cpp:x_")
    assert is_native("b.so")
    assert not is_native("vmem")
    assert with_settings("a.c") == "a.c"
    assert with_settings("a.c", sanitize="address", valgrind=True) == "a.c:sanitize=address:valgrind"
    with pytest.raises(InvalidRequestError, match="is for allocators in C"):
        with_settings("vmem", valgrind=True)
    factory = made(SKELETON, settings=":mine_:quantum=1024:options=hello")
    assert factory(WatchedSource(size=K), kva_limit=K).quantum == 1024
    assert (factory.options, factory.for_kit().quanta) == ("hello", ())
    assert factory.for_kit()(WatchedSource(size=K), kva_limit=K).quantum == 1024
    for settings in (":2x", ":quantum=3", ":sanitize=x", ":mine_:other_", ":nothing=1", ":sanitize=address:valgrind"):
        with pytest.raises(InvalidRequestError, match=r"TARGET='mine\.c"):
            native_target(f"mine.c{settings}")


def test_a_file_without_an_allocator_is_refused() -> None:
    """No file, no allocator in it, another prefix and a needed function that is missing are each one clear line."""
    with pytest.raises(InvalidRequestError, match=r"there is no file none\.c"):
        native_target("none.c")
    with pytest.raises(InvalidRequestError, match="there is no such file"):
        build(Path("none.c"))
    with pytest.raises(InvalidRequestError, match=r"it has no COALLOC_SUBJECT\(prefix\)"):
        made("int nothing;\n")
    with pytest.raises(InvalidRequestError, match="there is no prefix other_; name one of mine_"):
        made(SKELETON, settings=":other_")
    with pytest.raises(InvalidRequestError, match=r"there is no function mine_free"):
        made(changed(SKELETON, "\nmine_free(", "\nmine_freed(")).host()
    with pytest.raises(InvalidRequestError, match=r"it was compiled with version 9 of coalloc\.h, and this is 1"):
        made(
            SKELETON.replace("COALLOC_SUBJECT(mine_)", "COALLOC_DECLARE(mine_);\nconst uint32_t mine_coalloc_abi = 9")
        ).host()


def test_several_allocators_in_one_file_need_a_prefix() -> None:
    """A file with two allocators is told to name one, and each is its own."""
    both = SKELETON + changed(
        FULL.replace("mine_", "full_").replace("struct ", "struct f_"), "#include <coalloc.h>", ""
    )
    both = both.replace("struct f_coalloc", "struct coalloc").replace("\nround_up", "\nf_round_up", 0)
    Path("two.c").write_text(both, encoding="utf-8")
    with pytest.raises(InvalidRequestError, match="it has several allocators; name one of full_, mine_"):
        native_target("two.c")
    assert native_target("two.c:full_")(WatchedSource(size=K), kva_limit=K).stats is not None


def test_a_contract_that_cannot_be_read_is_refused() -> None:
    """The text of a contract is read as on the command line, and blamed on the function; work cannot be judged."""
    factory = made(changed(SKELETON, '"completeness=best-effort,', '"completeness=perfect,'))
    with pytest.raises(InvalidRequestError, match=r"mine_contract\(\)='perfect'"):
        factory.host()
    factory = made(changed(SKELETON, '"completeness=best-effort,', '"work=logarithmic,completeness=best-effort,'))
    assert factory.unjudged() == ("work=logarithmic is not judged: the steps of code in C are not counted",)
    space = factory(WatchedSource(size=K), kva_limit=K)
    assert space.contract is not None
    assert space.contract.work is None
    factory = made(changed(SKELETON, "\nmine_contract(", "\nmine_contracted("))
    assert factory.unjudged() == ()
    assert factory(WatchedSource(size=K), kva_limit=K).contract is None


def test_quanta_that_are_refused_are_not_tried() -> None:
    """The kit uses the quanta that an allocator takes; without one that it takes the reason is told."""
    picky = changed(SKELETON, "\tif (space == NULL)\n\t\treturn (COALLOC_NOSPACE);\n\tspace->source",
                    "\tif (space == NULL || quantum < 4096)\n\t\treturn (COALLOC_INVALID);\n\tspace->source")  # fmt: skip
    factory = made(picky).for_kit()
    assert factory.quanta == (4096,)
    with pytest.raises(
        InvalidRequestError, match="mine_open returned COALLOC_INVALID; another is set by TARGET:quantum=N"
    ):
        factory(WatchedSource(size=K), kva_limit=K, quantum=64)
    full = made(picky.replace("COALLOC_INVALID", "COALLOC_NOSPACE"), settings=":quantum=64")
    with pytest.raises(MemoryError, match="mine_open returned COALLOC_NOSPACE"):
        full(WatchedSource(size=K), kva_limit=K)
    odd = made(picky.replace("COALLOC_INVALID", "77"), settings=":quantum=64")
    with pytest.raises(InvalidRequestError, match="mine_open returned 77"):
        odd(WatchedSource(size=K), kva_limit=K)


def test_a_shared_library_is_a_target() -> None:
    """A library that was compiled elsewhere has the same answers; one that cannot be opened is told."""
    Path("mine.c").write_text(SKELETON, encoding="utf-8")
    subprocess.run(["cc", "-shared", "-fPIC", f"-I{FOLDER}", "mine.c", "-o", "mine.so"], check=True)
    assert native_target("./mine.so")(WatchedSource(size=K), kva_limit=K).alloc(1) == 0
    Path("bad.so").write_bytes(b"\0mine_coalloc_abi\0")
    with pytest.raises(SubjectDied, match=r"it broke off: .*bad\.so"):
        native_target("./bad.so").host()


def test_a_design_in_c_has_pages_and_the_kit_has_less() -> None:
    """As a design an allocator has the granule of the map for its quantum, and its factory for the kit has less."""
    Path("mine.c").write_text(SKELETON, encoding="utf-8")
    design = find("mine.c")
    assert (design.name, design.title) == ("mine.c", "mine.c, an allocator in C (prefix mine_)")
    kernel = KernelMap(size=16 * K)
    assert design.make_space(None, kernel, 16 * K).quantum == K
    assert design.factory(kernel, kva_limit=16 * K).quantum == 256


# --- the compiler -----------------------------------------------------------------------------------------------


def test_a_program_is_compiled_once() -> None:
    """An unchanged file is not compiled again; its warnings are kept; a changed header compiles it again."""
    Path("mine.h").write_text("#define MORE 0\n", encoding="utf-8")
    Path("mine.c").write_text('#include "mine.h"\nstatic int unused = MORE;\n' + SKELETON, encoding="utf-8")
    first = build(Path("mine.c"))
    assert native_target("mine.c").warnings == first.warnings
    assert "unused" in first.warnings
    assert build(Path("mine.c")) == first
    Path("mine.h").write_text("#define MORE 1\n", encoding="utf-8")
    assert build(Path("mine.c")).program != first.program


def test_what_cannot_be_compiled_is_told_with_what_the_compiler_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first error is the message, the whole output is on the exception; and so is a compiler that is missing."""
    with pytest.raises(CompilerError, match=r"mine\.c cannot be compiled: mine\.c:1:5: error") as caught:
        made("int 5;\n")
    assert "int 5;" in caught.value.output
    monkeypatch.setenv("CC", "no-such-compiler -m32")
    with pytest.raises(CompilerError, match="no compiler: CC=no-such-compiler is not installed"):
        made(SKELETON)
    monkeypatch.delenv("CC")
    with pytest.raises(CompilerError, match="no compiler: there is none of cc, gcc, clang; install one"):
        build(None, environment={"PATH": "/nowhere"})
    monkeypatch.setenv("CC", "false")
    with pytest.raises(CompilerError, match="the host cannot be compiled: no message"):
        build(None, environment={"PATH": os.environ["PATH"], "CC": "false", "COALLOC_BUILD_DIR": "built"})
    assert not list(Path("built").iterdir())


def test_programs_are_kept_in_the_users_cache_folder() -> None:
    """The folder is the one that is given, or that of XDG, or ~/.cache."""
    assert cache_folder({"COALLOC_BUILD_DIR": "/x"}) == Path("/x")
    assert cache_folder({"XDG_CACHE_HOME": "/y"}) == Path("/y/coalloc")
    assert cache_folder({}) == Path.home() / ".cache" / "coalloc"


def test_two_builds_at_once_leave_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is second to name its folder takes the other's; a folder that cannot be named is an error."""
    target = Path("built")
    environment = {"PATH": os.environ["PATH"], "COALLOC_BUILD_DIR": str(target)}
    rename = Path.rename

    def beaten(self: Path, to: Path) -> Path:
        if not to.exists():
            shutil.copytree(self, to)
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", beaten)
    assert build(None, environment=environment).program.exists()

    def unable(_self: Path, _to: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    shutil.rmtree(target)
    monkeypatch.setattr(Path, "rename", unable)
    with pytest.raises(PermissionError):
        build(None, environment=environment)


@pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
def test_an_allocator_in_cpp_is_a_target() -> None:
    """A file in C++ is compiled with the C++ compiler."""
    text = SKELETON.replace("#include <coalloc.h>", '#include <coalloc.h>\nextern "C" {') + "}\n"
    text = text.replace("= calloc(", "= (struct space *)calloc(").replace("= malloc(", "= (struct buffer *)malloc(")
    text = text.replace("struct space *space = opened;", "struct space *space = (struct space *)opened;")
    text = text.replace("*find(opened,", "*find((struct space *)opened,")
    assert made(text, "mine.cpp")(WatchedSource(size=K), kva_limit=K).alloc(1) == 0


def test_a_sanitizer_tells_what_guards_do_not_see() -> None:
    """A read past the end is found by the sanitizer, and the report is on the exception."""
    reads = changed(SKELETON, _FREE, "\tspace->limit += ((volatile char *)buffer)[sizeof(*buffer)];\n" + _FREE)
    space = made(reads)(WatchedSource(size=K), kva_limit=K)
    space.free(space.alloc(1))
    space = made(reads, settings=":sanitize=address+undefined")(WatchedSource(size=K), kva_limit=K)
    base = space.alloc(1)
    assert space.held() == 0  # nobody counts
    with pytest.raises(SubjectDied, match=r"a sanitizer found an error: .*heap-buffer-overflow") as caught:
        space.free(base)
    assert "mine_free" in caught.value.output


def test_valgrind_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without valgrind a clear line; with it a read of what was never set is found."""
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda name, **_: None if name == "valgrind" else "/bin/" + name)
        with pytest.raises(InvalidRequestError, match="valgrind is not installed"):
            made(SKELETON, settings=":valgrind")


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="there is no valgrind")
def test_valgrind_finds_what_it_knows() -> None:
    """A jump that depends on memory that was freed is an error of valgrind's."""
    late = "((volatile struct buffer *)buffer)->size ? COALLOC_OK : COALLOC_BADFREE"
    freed = "\tfree(buffer);\n\treturn ("
    reads = changed(SKELETON, f"{freed}COALLOC_OK);", f"{freed}{late});")
    space = made(reads, settings=":valgrind")(WatchedSource(size=K), kva_limit=K)
    base = space.alloc(1)
    with pytest.raises(SubjectDied, match="valgrind found an error"):
        space.free(base)


# --- whole programs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", Order)
def test_a_whole_program_has_the_answers_of_its_calls(order: Order) -> None:
    """A program that goes in one piece has the addresses and the events of one that is called step by step."""
    factory = made(FULL)
    sizes = [K, 300, 2 * K, 256, 5 * K, 1, K, 3 * K, 512, 4 * K] * 4
    words: list[int] = []
    expected: list[int] = []
    source = WatchedSource(base=K, size=16 * K, order=order)
    space = factory(source, kva_limit=14 * K, quantum=256)
    live: list[tuple[int, int]] = []
    for number, size in enumerate(sizes):
        words += [Call.ALLOC | number << 32, size, 0]
        try:
            base = space.alloc(size)
            live.append((number, base))
            expected.append(base)
        except MemoryError:
            expected.append(-1)
        if len(live) > 3 or expected[-1] < 0:
            old, base = live.pop(number % len(live))
            words += [Call.FREE | old << 32, 0, 0]
            space.free(base)
            expected.append(0)
    calls = Calls(n_buffers=len(sizes))
    calls.words.extend(words)
    answers = run_whole(
        factory.host(), calls, kva_limit=14 * K, quantum=256, base=K, size=16 * K, granule=K,
        placing=Placing[order.name],
    )  # fmt: skip
    assert answers is not None
    got = [
        (base if words[3 * step] & 0xF == Call.ALLOC else 0) if status == 0 else -1
        for step, (status, base) in enumerate(zip(answers.statuses, answers.bases, strict=True))
    ]
    assert got == expected
    maps = sum(kind == 1 for kind in answers.events[::3])
    assert maps > 5


def test_a_whole_program_passes_over_what_is_not_live_and_tells_misuse() -> None:
    """Steps without a live buffer call nothing, a misuse of the source has its own status, and a refused open no answers."""
    factory = made(FULL)
    calls = Calls(n_buffers=4)
    for call, buffer, size, at in (
        (Call.ALLOC, 0, 512, 0), (Call.ALLOC, 0, 512, 0), (Call.FREE, 1, 0, 0), (Call.RESIZE, 1, 1, 0),
        (Call.RESIZE, 0, 700, 0), (Call.XALLOC, 1, 256, 0), (Call.RESERVE, 2, 256, 2048), (Call.FREE_INSIDE, 0, 1, 0),
        (Call.FREE_INSIDE, 0, 9999, 0),
        (Call.FREE_WILD, 0, 0, 5), (Call.FREE_WILD, 0, 0, 0), (Call.REFREE, 0, 0, 0),
        (Call.FREE, 0, 0, 0), (Call.REFREE, 0, 0, 0),
        (Call.STARVE, 0, 1, 0), (Call.ALLOC, 3, K, 0), (Call.RECLAIM, 0, 0, 0),
    ):  # fmt: skip
        calls.words.extend((call | buffer << 32, size, at))
    calls.bounds.extend((1024, 0, 0, 0, 2**64 - 1))
    world: Any = {"kva_limit": 4 * K, "quantum": 256, "base": 0, "size": 4 * K, "granule": K}
    answers = run_whole(factory.host(), calls, **world)
    assert answers is not None
    over = 0x100
    assert list(answers.statuses) == [0, over, over, over, 0, 0, 0, 3, over, 3, over, over, 0, 3, over, 1, 0]
    assert answers.bases[5] == 1024
    misuse = made(changed(SKELETON, "buffer->base, buffer->arena);", "buffer->base + 1, buffer->arena);"), "misuse.c")
    short = Calls(n_buffers=1)
    short.words.extend((Call.ALLOC, 1, 0, Call.FREE, 0, 0))
    answers = run_whole(misuse.host(), short, **world)
    assert answers is not None
    assert list(answers.statuses) == [0, 0x102]
    refuses = made(
        changed(SKELETON, "\t*opened = space;\n\treturn (COALLOC_OK);", "\treturn (COALLOC_INVALID);"), "refuses.c"
    )
    assert run_whole(refuses.host(), short, **world) is None


def test_errors_of_c_are_errors_of_the_library() -> None:
    """A compiler that fails is a CoallocError, so that the command line tells it in one line."""
    assert issubclass(CompilerError, CoallocError)
    assert Resize("in place only") is Resize.IN_PLACE_ONLY
    assert issubclass(NoSpaceError, MemoryError)
