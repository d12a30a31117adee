"""`as_c`: a check program as a C file that makes the same calls, and fails where the allocator is wrong.

The file stands alone but for coalloc.h and the allocator.  It plays the source of arenas, and looks at what each answer must
be.  At the end it looks at what the breach says: that a request is served, and where; or else that what can be seen is not what
was seen when the fault was found.  The same calls can be a KUnit case, or an ATF test for Kyua.
"""

from __future__ import annotations

import enum
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs

from coalloc.contract import Bounds, Contract, Rounding
from coalloc.errors import InvalidRequestError
from coalloc.native import NativeFactory
from coalloc.native.host import Ask, Host
from coalloc.native.space import NativeSpace
from coalloc.testing.judge import Judge
from coalloc.testing.programs import Counterexample
from coalloc.testing.properties import Breach, Property
from coalloc.testing.source import Order
from coalloc.testing.steps import NEEDS, Action, CheckProgram, Step
from coalloc.testing.subject import Subject, make

__all__ = ["Harness", "as_c"]

_CORE: Final = Path(__file__).with_name("reproducer.c")
_MASK: Final = 2**64 - 1
_FNV: Final = 14695981039346656037, 1099511628211
_OPTIONAL: Final = ("walk", "stats", "size_of", "xalloc", "resize", "reserve", "reclaim")
_RANGES: Final = 64
"""Arenas for which the source of the file has room, beyond one for each step."""


class Harness(enum.Enum):
    """What runs the calls."""

    C = "c"
    """A program that returns 0 or 1."""
    KUNIT = "kunit"
    """A KUnit suite, for Linux."""
    ATF = "atf"
    """An ATF test program, for FreeBSD's Kyua."""


def as_c(target: str, subject: Subject, found: Counterexample, harness: Harness = Harness.C) -> str:
    """Return a program as a C file that fails while the allocator has the fault.

    Args:
        target: The allocator as the command line names it.
        subject: The allocator under test.
        found: The program, and the breach that it ends in.
        harness: What runs the calls.

    Raises:
        InvalidRequestError: If the allocator is not in C, or the breach can be shown in Python only: those of a program that is
            shifted, scaled or run in another order.
    """
    factory = subject.make_space
    if not isinstance(factory, NativeFactory):
        raise InvalidRequestError("--emit", harness.value, f"is for allocators in C, and {target} is not")
    if found.breach.property is Property.P21:
        raise InvalidRequestError("--emit", harness.value, "cannot show a law of other worlds (P21); --emit python can")
    factory.restart()
    host, contract = factory.host(), subject.declared
    steps, alone = _steps(subject, found.program)
    lacking = {action for action, needed in NEEDS.items() if needed.value not in host.has}
    steps = tuple(step for step in steps if step.action not in lacking)
    quantum = dict(found.program.world.options).get("quantum") or factory.usual_quantum or found.program.world.granule
    assert isinstance(quantum, int)
    program = CheckProgram(found.program.world, steps)
    expected = _expectation(subject, program, found.breach, alone=alone)
    parts = [
        _about(target, found.breach, harness),
        _INCLUDES[harness],
        *_settings(program, contract, host, quantum, factory),
        "",
        _CORE.read_text(encoding="utf-8"),
        *_program(steps),
        "",
        *_check(expected, harness, factory.prefix, alone=alone),
    ]
    return "\n".join(parts) + "\n"


# --- what there is to show ----------------------------------------------------------------------------------------------


def _steps(subject: Subject, program: CheckProgram) -> tuple[tuple[Step, ...], bool]:
    """Return the steps up to the breach, in plain calls; and whether the breach shows in them alone."""
    judge = None
    try:
        judge = Judge(subject, program.world)
        for step in program.steps:
            judge.do(step)
        judge.inspect()
    except Breach:
        steps = judge.steps if judge is not None else []
        return tuple(step for step in steps if step.action is not Action.FINISH), True
    return tuple(step for step in judge.steps if step.action is not Action.FINISH), False


def _expectation(subject: Subject, program: CheckProgram, breach: Breach, *, alone: bool) -> str:
    """Return the C call that says what the last step must come to."""
    message = json.dumps(f"{breach.property.name}: {breach.message}")
    if not alone:
        return f"expect_same_beside_another({message})"
    last = program.steps[-1] if program.steps else None
    asks = last is not None and last.action in (Action.ALLOC, Action.XALLOC)
    if asks and last is not None and breach.expected and breach.at is not None:
        places = ", ".join(f"{place:#x}ull" for place in breach.expected[:8])
        return f"expect_served({last.buffer}, {len(breach.expected[:8])}, (const uint64_t[]){{ {places} }}, {message})"
    if asks and last is not None and breach.property in (Property.P7, Property.P13) and "was refused" in breach.message:
        return f"expect_served({last.buffer}, 0, NULL, {message})"
    if breach.property is Property.P17:
        return ""
    try:
        return f"expect_other_than({_seen(subject, program):#x}ull, {message})"
    except Breach:  # the source was misused, which its own functions tell
        return ""


def _seen(subject: Subject, program: CheckProgram) -> int:
    """Run the calls as the C file does, and return the hash of what is seen after the last."""
    runner = _Runner(subject, program)
    for step in program.steps:
        runner.do(step)
    return runner.seen


class _Runner:
    """Make the calls of a program as reproducer.c does; the two must see the same.

    Args:
        subject: The allocator under test.
        program: The program.
    """

    def __init__(self, subject: Subject, program: CheckProgram) -> None:
        self.source, space = make(subject.make_space, program.world)
        assert isinstance(space, NativeSpace)
        self.space = space
        self.live: dict[int, tuple[int, int]] = {}
        """Base of each live buffer, and its size in whole quanta."""
        self.gone: dict[int, int] = {}
        self.checks_frees = subject.contract_of(space).checks_frees
        self.doing = -1
        self.seen = 0
        if program.world.pressure and callable(getattr(space, "reclaim", None)):
            self.source.pressure = lambda: self.space.ask(Ask.RECLAIM)
        self._look(0, 0)

    def do(self, step: Step) -> None:
        """Do one step, unless it makes no sense now."""
        action, buffer = step.action, step.buffer
        self.source.calls_left, self.doing = 1 << 30, buffer
        new = buffer not in self.live and buffer not in self.gone
        if action is Action.ALLOC and new:
            self._enter(buffer, step.size, *self.space.ask(Ask.ALLOC, step.size)[:2])
        elif action is Action.XALLOC and new:
            words = attrs.astuple(Bounds(**dict(step.bounds)))
            self._enter(buffer, step.size, *self.space.ask(Ask.XALLOC, step.size, *words)[:2])
        elif action is Action.RESERVE and new:
            status = self.space.ask(Ask.RESERVE, step.at, step.size)[0]
            self._enter(buffer, step.size, status, step.at)
        elif action is Action.RESIZE and buffer in self.live:
            self._enter(buffer, step.size, *self.space.ask(Ask.RESIZE, self.live[buffer][0], step.size)[:2])
        elif action is Action.FREE and buffer in self.live:
            self.gone[buffer] = self.live.pop(buffer)[0]
            self._look(self.space.ask(Ask.FREE, self.gone[buffer])[0], 0)
        elif action is Action.REFREE and buffer in self.gone:
            self._bad_free(self.gone[buffer])
        elif action is Action.FREE_INSIDE and buffer in self.live and 0 < step.size < self.live[buffer][1]:
            self._bad_free(self.live[buffer][0] + step.size)
        elif action is Action.FREE_WILD:
            self._bad_free(step.at)
        elif action is Action.RECLAIM:
            self._look(*self.space.ask(Ask.RECLAIM)[:2])
        elif action is Action.STARVE:
            self.source.starve = step.size
        elif action is Action.FREE_IN_MAP and buffer in self.live:
            self.source.meanwhile = lambda: self._free_meanwhile(buffer)

    def _free_meanwhile(self, buffer: int) -> None:
        if buffer in self.live and buffer != self.doing:
            self.gone[buffer] = self.live.pop(buffer)[0]
            self.space.ask(Ask.FREE, self.gone[buffer])

    def _bad_free(self, address: int) -> None:
        if not self._is_live(address):
            self._look(self.space.ask(Ask.FREE, address)[0], 0)

    def _is_live(self, address: int) -> bool:
        return any(base == address for base, _ in self.live.values())

    def _enter(self, buffer: int, size: int, status: int, base: int) -> None:
        if not 0 < size <= 2**63:
            self._look(status, 0)
            return
        if status == 0:
            self.live[buffer] = base, size + -size % self.space.quantum
        self._look(status, base if status == 0 else 0)

    def _look(self, status: int, base: int) -> None:
        words = [status, base]
        for at, size in sorted(self.source.ranges.items()):
            words += (at, size)
        if "walk" in self.space.functions:
            words += self._words(Ask.WALK)
        if "stats" in self.space.functions:
            words += self._words(Ask.STATS)
        if "size_of" in self.space.functions:
            for buffer in sorted(self.live):
                words += self.space.ask(Ask.SIZE_OF, self.live[buffer][0])[:2]
            for _, address in sorted(self.gone.items()) if self.checks_frees else ():
                if not self._is_live(address):
                    words.append(self.space.ask(Ask.SIZE_OF, address)[0])
        self.seen, prime = _FNV
        for word in words:
            self.seen = (self.seen ^ word) * prime & _MASK

    def _words(self, ask: Ask) -> tuple[int, ...]:
        data = self.space.ask(ask)[2]
        return struct.unpack(f"={len(data) // 8}Q", data)


# --- the parts of the file ----------------------------------------------------------------------------------------------

_INCLUDES: Final = {
    Harness.C: """#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <coalloc.h>

static FILE *report; /* standard output is the allocator's, which must not use it */
#define NOTE(...) (fprintf(report, __VA_ARGS__), fputc('\\n', report), fflush(report))
#define FAIL(...) (failed++ ? 0 : (fputs("FAILED at ", report), NOTE(__VA_ARGS__)))
#define PRINTED (fflush(stdout), lseek(STDOUT_FILENO, 0, SEEK_CUR) > 0)
""",
    Harness.KUNIT: """#include <kunit/test.h>
#include <linux/string.h>

#include "coalloc.h"

static struct kunit *kunit_now;
#define PRINTED 0
#define NOTE(...) kunit_info(kunit_now, __VA_ARGS__)
#define FAIL(...) do { if (!failed++) KUNIT_FAIL(kunit_now, __VA_ARGS__); } while (0)
""",
    Harness.ATF: """#include <atf-c.h>
#include <stdio.h>
#include <string.h>

#include <coalloc.h>

#define PRINTED 0
#define NOTE(...) (printf(__VA_ARGS__), printf("\\n"))
#define FAIL(...) (failed++ ? (void)0 : atf_tc_fail_nonfatal(__VA_ARGS__))
""",
}


def _about(target: str, breach: Breach, harness: Harness) -> str:
    """Return the comment at the head: the breach, and how the file is run."""
    file = target.partition(":")[0]
    lines = [f"{breach.property.name}: {breach.message}".replace("*/", "* /"), ""]
    if harness is Harness.C:
        memory = " -g -fsanitize=address,undefined" if breach.property is Property.P17 else ""
        lines += [
            f"    cc -I$(dirname $(coalloc native header)){memory} -o reproduce THIS_FILE.c {file} && ./reproduce",
            "",
            "It prints each call, and returns 0 if the allocator does what is expected, else 1.",
        ]
    elif harness is Harness.KUNIT:
        lines += [
            f"A KUnit suite: build it with {file} and coalloc.h, for which <linux/types.h> takes the place of <stdint.h>."
        ]
    else:
        lines += [
            f"    cc -I$(dirname $(coalloc native header)) -o reproduce THIS_FILE.c {file} -latf-c && kyua test ..."
        ]
    return "/*\n" + "".join(f" * {line}".rstrip() + "\n" for line in lines) + " */"


def _settings(
    program: CheckProgram, contract: Contract, host: Host, quantum: int, factory: NativeFactory
) -> Iterator[str]:
    """Yield the definitions on which the core depends."""
    world, steps = program.world, program.steps
    yield f"COALLOC_DECLARE({factory.prefix});"
    yield f"#define SUBJECT(function) {factory.prefix}##function"
    plain = contract.rounding is Rounding.QUANTUM and not contract.header and not contract.guard
    figures = {
        "LIMIT": f"{world.kva_limit}ull",
        "LESS": f"{attrs.evolve(world, limit=(world.limit + 1) // 2).kva_limit}ull /* of another allocator */",
        "QUANTUM": f"{quantum}ull",
        "GRANULE": f"{world.granule}ull",
        "OPTIONS": json.dumps(factory.options),
        "SOURCE_BASE": f"{world.base:#x}ull",
        "SOURCE_SIZE": f"{world.room * world.granule}ull",
        "SOURCE_DOWN": int(world.order is Order.DOWN),
        "SOURCE_APART": int(world.order is Order.APART),
        "SOURCE_MIXED": int(world.order is Order.MIXED),
        "IS_LIMITED": int(contract.limited),
        "IS_PLAIN": int(plain),
        "CHECKS_FREES": int(contract.checks_frees),
        "HAS_PRESSURE": int(world.pressure),
        **{f"HAS_{name.upper()}": int(name in host.has) for name in _OPTIONAL},
        "N_BUFFERS": max((step.buffer for step in steps), default=0) + 1,
        "N_STEPS": len(steps),
        "N_RANGES": len(steps) + _RANGES,
    }
    for name, value in figures.items():
        yield f"#define {name} {value}"


def _program(steps: tuple[Step, ...]) -> Iterator[str]:
    """Yield the function that makes the call of a step."""
    yield "static void\ndo_step(int number)\n{\n\tswitch (number) {"
    for number, step in enumerate(steps):
        yield f"\tcase {number}:\n\t\t{_call(step)};\n\t\tbreak;"
    yield "\t}\n}"


def _call(step: Step) -> str:
    """Return the C code of a step."""
    what, buffer, size = json.dumps(str(step)), step.buffer, f"{min(step.size, _MASK)}ull"
    bounds = ", ".join(f"{word}ull" for word in attrs.astuple(Bounds(**dict(step.bounds))))
    return {
        Action.ALLOC: f"do_alloc({what}, {buffer}, {size})",
        Action.XALLOC: f"do_xalloc({what}, {buffer}, {size}, (struct coalloc_bounds){{ {bounds} }})",
        Action.FREE: f"do_free({what}, {buffer})",
        Action.RESIZE: f"do_resize({what}, {buffer}, {size})",
        Action.RESERVE: f"do_reserve({what}, {buffer}, {size}, {step.at:#x}ull)",
        Action.REFREE: f"do_refree({what}, {buffer})",
        Action.FREE_INSIDE: f"do_free_inside({what}, {buffer}, {size})",
        Action.FREE_WILD: f"do_bad_free({what}, {step.at:#x}ull)",
        Action.RECLAIM: f"do_reclaim({what})",
        Action.STARVE: f"now->starving = {step.size}",
        Action.FREE_IN_MAP: f"now->meanwhile = {buffer}",
    }[step.action]


def _check(expected: str, harness: Harness, prefix: str, *, alone: bool) -> Iterator[str]:
    """Yield the functions that run all of it; what does not show in one allocator alone makes its own runs."""
    yield "static void\ncheck(void)\n{"
    if alone:
        yield "\trun();"
    if expected:
        yield f"\t{expected};"
    if alone:
        yield "\tif (!failed)\n\t\tSUBJECT(close)(now->space);"
    yield "}\n"
    yield _MAINS[harness].replace("@NAME@", f"{prefix}reproducer")


_MAINS: Final = {
    Harness.C: """static void
died(int number)
{
	FAIL("%s: %s", step, number == SIGALRM ? "the call does not return" : "the call died by a signal");
	_exit(1);
}

int
main(void)
{
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM };

	static char other[1 << 16];
	stack_t stack = { .ss_sp = other, .ss_size = sizeof(other) };
	struct rlimit most = { 256 << 10, 256 << 10 }; /* a kernel's stack is smaller */
	struct sigaction action = { .sa_handler = died, .sa_flags = SA_ONSTACK };
	FILE *theirs = tmpfile();

	report = fdopen(dup(STDOUT_FILENO), "w");
	if (report == NULL || theirs == NULL || dup2(fileno(theirs), STDOUT_FILENO) < 0)
		return (2);
	setrlimit(RLIMIT_STACK, &most);
	sigaltstack(&stack, NULL);
	for (size_t i = 0; i < sizeof(fatal) / sizeof(*fatal); i++)
		sigaction(fatal[i], &action, NULL);
	alarm(10);
	check();
	if (!failed)
		NOTE("as expected");
	return (failed != 0);
}""",
    Harness.KUNIT: """static void
@NAME@(struct kunit *test)
{
	kunit_now = test;
	failed = 0;
	check();
}

static struct kunit_case @NAME@_cases[] = { KUNIT_CASE(@NAME@), {} };
static struct kunit_suite @NAME@_suite = { .name = "@NAME@", .test_cases = @NAME@_cases };
kunit_test_suite(@NAME@_suite);
MODULE_LICENSE("Dual BSD/GPL");""",
    Harness.ATF: """ATF_TC_WITHOUT_HEAD(@NAME@);
ATF_TC_BODY(@NAME@, tc)
{
	check();
}

ATF_TP_ADD_TCS(tp)
{
	ATF_TP_ADD_TC(tp, @NAME@);
	return (atf_no_error());
}""",
}
