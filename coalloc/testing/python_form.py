"""A check program as Python code that makes the same calls, and fails where the allocator is wrong."""

from __future__ import annotations

from coalloc.contract import Contract
from coalloc.contract_text import describe_contract
from coalloc.testing.judge import Judge
from coalloc.testing.mutants import MUTANTS
from coalloc.testing.programs import Counterexample
from coalloc.testing.properties import Breach
from coalloc.testing.steps import Action, CheckProgram, Step, dumps
from coalloc.testing.subject import Subject
from coalloc.testing.subjects import SUBJECTS

__all__ = ["as_python"]

_STRAY = (Action.REFREE, Action.FREE_INSIDE, Action.FREE_WILD)


def as_python(target: str, subject: Subject, found: Counterexample) -> str:
    """Return a program as Python code that fails while the allocator has the fault.

    The calls stand there as one would write them.  Where a plain assertion or an exception shows the fault, that is the end.
    Else the kit's own judge runs the program at the end.

    Args:
        target: The factory as the command line names it.
        subject: The allocator under test.
        found: The program, and the breach that it ends in.
    """
    called, imports, names = _factory(target)
    world, steps = found.program.world, found.program.steps
    options = {name: str(value).upper() for name, value in world.options}
    needed = {value.partition("(")[0] for name, value in options.items() if name == "release"}
    if any(step.action is Action.RESERVE for step in steps):
        needed.add("Extent")
    outcomes = _outcomes(subject, found.program)
    last = len(outcomes) - 1
    calls: list[str] = []
    for number, step in enumerate(steps[: len(outcomes)]):
        if outcomes[number] != "passed over":
            calls += _lines_of(step, outcomes[number], last=number == last, breach=found.breach)
    shown = bool(outcomes) and last < len(steps) and _shows(steps[last], outcomes[last], found.breach)
    if not shown:
        calls += _judged(called, subject.contract, found.program)
        names |= {"Subject", "loads", "run_thoroughly"}
    lines = [*imports]
    if needed:
        lines.append(f"from coalloc import {', '.join(sorted(needed))}")
    lines.append(f"from coalloc.testing import {', '.join(sorted({*names, 'WatchedSource'}, key=_isort))}")
    if not shown and subject.contract is not None:
        lines.append("from coalloc.testing.contracts import parse_contract")
    order = f", order=Order.{world.order.name}" if world.order.value != "up" else ""
    if order:
        lines.append("from coalloc.testing.source import Order")
    size = world.room * world.granule
    keywords = [f"kva_limit={world.kva_limit}"] if "kva_limit" in subject.accepted else []
    if world.arena and "arena_size" in subject.accepted:
        keywords.append(f"arena_size={world.arena * world.granule}")
    keywords += [f"{name}={value}" for name, value in options.items()]
    lines += [
        "",
        f"source = WatchedSource(base={world.base:#x}, size={size}, granule={world.granule}{order})",
        f"space = {called}({', '.join(['source', *keywords])})",
        *(["source.pressure = space.reclaim"] if world.pressure else []),
        *calls,
        f"# {found.breach.property.name}: {found.breach.message}",
    ]
    return "\n".join(lines) + "\n"


def _isort(name: str) -> tuple[bool, bool, str]:
    """Return the key by which names are sorted: constants, classes, functions."""
    return not name.isupper(), not name[0].isupper(), name


def _factory(target: str) -> tuple[str, list[str], set[str]]:
    """Return what to call, the imports that it needs, and the names that it needs from the kit."""
    where, _, attribute = target.rpartition(":")
    if where.endswith(".py"):
        folder, _, stem = where.removesuffix(".py").rpartition("/")
        first = ["import sys", "", f"sys.path.insert(0, {folder or '.'!r})"]
        return attribute, [*first, f"from {stem} import {attribute.split('.')[0]}"], set()
    if where:
        return attribute, [f"from {where} import {attribute.split('.')[0]}"], set()
    if target[:1] == "M" and target[1:].isdecimal() and int(target[1:]) in MUTANTS:
        return f"MUTANTS[{target[1:]}].make_space", [], {"MUTANTS"}
    if target in SUBJECTS:
        return f"SUBJECTS[{target!r}]", [], {"SUBJECTS"}
    return f"find({target!r}).factory", ["from coalloc.designs import find"], set()


def _outcomes(subject: Subject, program: CheckProgram) -> list[str]:
    """Return what became of each step up to the breach."""
    try:
        judge = Judge(subject, program.world)
    except Breach:
        return []
    try:
        for step in program.steps:
            judge.do(step)
    except Breach:
        pass
    return judge.outcomes[: len(program.steps)]


def _shows(step: Step, outcome: str, breach: Breach) -> bool:
    """Tell whether the last call shows the breach by itself."""
    if outcome:  # that call was as it must be
        return False
    if step.action in _STRAY:
        return "was accepted" in breach.message
    if step.action in (Action.ALLOC, Action.XALLOC):
        return bool(breach.expected)
    return step.action is Action.FREE and " raised " in breach.message


def _lines_of(step: Step, outcome: str, *, last: bool, breach: Breach) -> list[str]:
    """Return the lines that make one call."""
    call = _call_of(step)
    if call is None:
        return []
    if last and not outcome and step.action in _STRAY:
        return [
            "try:", f"    {call}", "except (ValueError, LookupError):", "    pass", "else:",
            f'    raise AssertionError("{call} was accepted")',
        ]  # fmt: skip
    if last and not outcome and not breach.expected:
        return [f"# {call}"] if not _shows(step, outcome, breach) else [call]  # the judge makes this call below
    if last and not outcome:
        where = ", ".join(f"{place:#x}" for place in breach.expected[:8])
        return [call, *([f"assert b{step.buffer} in [{where}]"] if breach.at is not None else [])]
    if outcome == "refused":
        return ["try:", f"    {call}", "except (MemoryError, ValueError, LookupError):", "    pass  # refused"]
    return [call + (f"  # {outcome}" if outcome.startswith("0x") else "")]


def _judged(called: str, contract: Contract | None, program: CheckProgram) -> list[str]:
    """Return lines that run the program under the judge."""
    given = f", parse_contract({describe_contract(contract)!r})" if contract is not None else ""
    text = [f"    {line!r}" for line in dumps(program).splitlines()]
    return [
        "program = [",
        *(f"{line}," for line in text),
        "]",
        f'breach = run_thoroughly(Subject({called}{given}), loads("\\n".join(program)))',
        "assert breach is None, breach",
    ]


def _call_of(step: Step) -> str | None:
    name = f"b{step.buffer}"
    keywords = "".join(f", {key}={value:#x}" for key, value in step.bounds)
    return {
        Action.ALLOC: f"{name} = space.alloc({step.size})",
        Action.XALLOC: f"{name} = space.xalloc({step.size}{keywords})",
        Action.FREE: f"space.free({name})",
        Action.RESIZE: f"{name} = space.resize({name}, {step.size})",
        Action.RESERVE: f"{name} = {step.at:#x}; space.reserve(Extent({name}, {step.size}))",
        Action.REFREE: f"space.free({name})",
        Action.FREE_INSIDE: f"space.free({name} + {step.size})",
        Action.FREE_WILD: f"space.free({step.at:#x})",
        Action.RECLAIM: "space.reclaim()",
        Action.STARVE: f"source.starve = {step.size}",
        Action.FREE_IN_MAP: f"source.meanwhile = lambda: space.free({name})",
    }.get(step.action)
