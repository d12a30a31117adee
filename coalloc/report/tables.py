"""Tables of comparisons and of kernel states, made from frozen values.

A comparison has one row for each figure, one column for each design, and beside it the design's ratio to the first.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs

from coalloc.pipes.eras import NO_MARK, Backing, Era, Growth, KernelState, LinuxState, StreamsState
from coalloc.vm.costs import CostModel
from coalloc.workload.figures import LABELS, design_figures
from coalloc.workload.program import PipeProgram, Program
from coalloc.workload.replay import Outcome
from coalloc.workload.timed import Timed

__all__ = [
    "LABELS",
    "Row",
    "comparison_rows",
    "counted",
    "design_figures",
    "differing_work",
    "figure_text",
    "format_ratio",
    "milliseconds",
    "life_table",
    "states_table",
    "timed_figures",
    "timed_rows",
    "trace_figures",
    "trace_words",
]


@attrs.frozen
class Row:
    """One figure: its label, a value for each design, as text, and the ratio of each to the first design's."""

    label: str
    values: tuple[str, ...]
    ratios: tuple[str, ...]


def _whole(value: float) -> str:
    return f"{value:,}"


def milliseconds(ns: float) -> str:
    """Write a cost in milliseconds: three decimals, or six where it is below a microsecond."""
    return f"{ns / 1e6:,.3f}" if ns >= 1000 or not ns else f"{ns / 1e6:.6f}"


_WORK: Final = ("bytes_written", "bytes_read")
"""What every design should have done; shown where they differ."""
_SELDOM: Final = (
    "pipes_small", "discard_ops", "writes_without_buffer", "writes_without_reader", "writes_unfinished", "reads_at_eof",
    "reads_unfinished", "empty_reads",
    "sizes_refused", "operations_skipped", "rounds_counted",
)  # fmt: skip
"""What is shown where it is not 0 for all designs."""
_PIPES_ONLY: Final = frozenset({"pipes_created", "pipes_refused", "blocked_writes"})
_SPACES_ONLY: Final = frozenset({"allocs_refused"})
_FORMATS: Final[dict[str, Callable[[float], str]]] = {
    "external_fragmentation": lambda value: f"{value:.3f}",
    "estimated_cost_ns": milliseconds,
}


def figure_text(name: str, value: float | None) -> str:
    """Write the value of a figure for people.

    >>> figure_text("map_ops", 2149), figure_text("estimated_cost_ns", 1500000), figure_text("coalesces", None)
    ('2,149', '1.500', 'not known')
    """
    return "not known" if value is None else _FORMATS.get(name, _whole)(value)


def counted(n: int, noun: str) -> str:
    """Write a number with its noun.

    >>> counted(1, "row"), counted(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def format_ratio(value: float | None, reference: float | None) -> str:
    """Write ``value / reference`` for people: 1.00, 0.25, 1/4300, or - where there is none, or one is not known.

    >>> [format_ratio(value, 4300) for value in (4300, 1075, 1, 0)], format_ratio(1, 0)
    (['1.00', '0.25', '1/4300', '0'], '-')
    """
    if not reference or value is None:
        return "-"
    if not value:
        return "0"
    ratio = value / reference
    return f"{ratio:.2f}" if ratio >= 0.1 else f"1/{reference / value:.0f}"


def comparison_rows(program: Program, outcomes: Sequence[Outcome], costs: CostModel) -> list[Row]:
    """Return the rows of a comparison; figures that the kind of program cannot have are left out."""
    figures = [design_figures(outcome, costs) for outcome in outcomes]
    left_out = _SPACES_ONLY if isinstance(program, PipeProgram) else _PIPES_ONLY
    rows = []
    for name, label in LABELS.items():
        if name in left_out:
            continue
        values = [design[name] for design in figures]
        if (name in _SELDOM and not any(values)) or (name in _WORK and len(set(values)) == 1):
            continue
        ratios = [format_ratio(value, values[0]) for value in values]
        written = tuple(figure_text(name, value) for value in values)
        rows.append(Row(label, written, tuple(ratios)))
    return rows


_TIMED: Final[dict[str, tuple[str, Callable[[float], str]]]] = {
    "operations": ("operations on buffers and pages", _whole),
    "without_lock": ("without a lock", _whole),
    "mean_ns": ("mean time of one, ns", lambda value: f"{value:,.0f}"),
    "p99_ns": ("99 % are within, ns", _whole),
    "wait_ns": ("waiting for locks, ms", milliseconds),
    "longest_wait_ns": ("longest wait, ns", _whole),
    "held": ("busiest lock is held, %", lambda value: f"{100 * value:.3f}"),
    "late_ns": ("latest begins late by, ns", _whole),
}
"""The figures of a replay in time: their labels, and how they are written."""


def timed_figures(timed: Timed) -> dict[str, Any]:
    """Return the figures of a replay in time by name, and those of each lock."""
    return {
        "cpus": timed.cpus,
        "operations": timed.operations,
        "without_lock": timed.without_lock,
        "mean_ns": timed.mean,
        "p99_ns": timed.p99,
        "wait_ns": timed.wait_ns,
        "longest_wait_ns": timed.longest_wait,
        "held": timed.held,
        "late_ns": timed.late_ns,
        "elapsed_ns": timed.elapsed,
        "locks": [attrs.asdict(use) for use in timed.locks],
    }


def timed_rows(timed: Sequence[Timed]) -> list[Row]:
    """Return the rows of a comparison in time."""
    figures = [timed_figures(each) for each in timed]
    rows = []
    for name, (label, write) in _TIMED.items():
        values = [each[name] for each in figures]
        ratios = [format_ratio(value, values[0]) for value in values]
        rows.append(Row(label, tuple(map(write, values)), tuple(ratios)))
    return rows


def differing_work(outcomes: Sequence[Outcome]) -> str:
    """Return in words that designs did different work, so that their costs are not those of the same load; else nothing.

    Args:
        outcomes: What the designs did with one program.
    """
    counts: dict[str, Callable[[Outcome], int]] = {
        "pipes or requests refused": lambda outcome: outcome.pipes.pipes_refused + outcome.allocs_refused,
        "writes that found no buffer": lambda outcome: outcome.waits.no_buffer,
        "bytes written": lambda outcome: outcome.pipes.bytes_written,
        "bytes read": lambda outcome: outcome.pipes.bytes_read,
    }
    parts = []
    for what, of in counts.items():
        numbers = [of(outcome) for outcome in outcomes]
        if len(set(numbers)) > 1:
            told = ", ".join(f"{o.design} {n:,}" for o, n in zip(outcomes, numbers, strict=True))
            parts.append(f"{what}: {told}")
    return "; ".join(parts)


def trace_figures(program: Program) -> dict[str, Any]:
    """Return what a program amounts to, by name: for a pipe program ``pipes``, ``peak_live``, ``live_at_end`` and more."""
    if isinstance(program, PipeProgram):
        return {"title": program.title, **attrs.asdict(program.facts())}
    kinds = [kind for kind, _, _ in program.rows()]
    return {
        "title": program.title,
        "operations": len(program),
        "allocs": kinds.count(0),
        "frees": kinds.count(1),
        "resizes": kinds.count(2),
        "live_at_end": kinds.count(0) - kinds.count(1),
    }


def trace_words(trace: dict[str, Any]) -> str:
    """Return the figures of a program, as :func:`trace_figures` gives them, in words."""
    if "pipes" in trace:
        seldom = {
            "owners": f"owned by {trace['owners']:,} users" if trace["owners"] > 1 else "",
            "set_sizes": f"changes of size: {trace['set_sizes']:,}",
            "try_writes": f"tries to write: {trace['try_writes']:,}",
            "try_reads": f"tries to read: {trace['try_reads']:,}",
            "cpus": f"on {counted(trace['cpus'], 'CPU')}",
        }
        return "; ".join(
            (
                f"{trace['pipes']:,} pipes, at most {trace['peak_live']:,} alive, {trace['live_at_end']:,} at the end",
                f"{trace['bytes_written']:,} bytes written",
                *(words for name, words in seldom.items() if trace[name] and words),
                f"{trace['operations']:,} operations in {_duration(trace['duration'])}",
            )
        )
    return (
        f"{trace['operations']:,} operations: {trace['allocs']:,} allocs, {trace['frees']:,} frees, "
        f"{trace['resizes']:,} resizes; {trace['live_at_end']:,} buffers live at the end"
    )


def _duration(microseconds: int) -> str:
    """Write a time for people: in seconds, or in milliseconds below one."""
    return f"{microseconds / 1e6:.1f} s" if microseconds >= 1_000_000 else f"{microseconds / 1e3:.3f} ms"


# --- kernel states -------------------------------------------------------------------------------------------

_COLUMNS: Final = ("state", "kernel", "backed at creation", "new buffers are small", "growth", "no buffer at pipe()")
_BACKED: Final = {
    Backing.RULE: "whole",
    Backing.SMALL: "small",
    Backing.FIRST_WRITE: "at the first write",
    Backing.BLOCK: "512 bytes",
    Backing.NONE: "as writes need it",
}
_GROWTH: Final = {
    Growth.NONE: "none",
    Growth.BLOCKS: "by blocks up to 64 KiB, below the limit",
    Growth.BIG: "16 to 64 KiB at once, 32 at most",
    Growth.LADDER: "doubling up to 64 KiB",
}


def states_table(states: Iterable[KernelState]) -> str:
    """Return a table of kernel states in Markdown: what is backed, how large it is, how it grows, and what a failure is.

    A record of a kind that is not known here has its name and kernel only.

    >>> from coalloc import ERAS
    >>> print(states_table([ERAS["2006"]]))  # doctest: +ELLIPSIS
    | state | kernel | backed at creation | ...
    |---|---|---|---|---|---|
    | 2006 | FreeBSD | forward whole, reverse as writes need it | above 1/2 of maxpipekva | doubling up to 64 KiB, ...
    """
    rows = [_COLUMNS, ("---",) * len(_COLUMNS), *((state.name, state.kernel, *_policy(state)) for state in states)]
    return "\n".join(f"| {' | '.join(row)} |".replace(" --- ", "---") for row in rows)


_LIFE: Final = ("state", "a buffer goes", "kept", "locks", "source")


def life_table(states: Iterable[KernelState]) -> str:
    """Return a table of kernel states in Markdown: when a buffer goes, what is kept, which locks there are, and the sources.

    >>> from coalloc import STATES
    >>> print(life_table([STATES["openbsd"]]).splitlines()[2][:46])
    | openbsd | at its own end's close | nothing |
    """
    rows = [_LIFE, ("---",) * len(_LIFE)]
    rows += [(state.name, state.goes, state.kept, state.locks, _source_of(state)) for state in states]
    return "\n".join(f"| {' | '.join(row)} |".replace(" --- ", "---") for row in rows)


def _source_of(state: KernelState) -> str:
    """Return a state's own source; values that it shares with an older one have that one's."""
    return state.sources.get("name", "not known")


def _policy(state: KernelState) -> tuple[str, ...]:
    if isinstance(state, LinuxState):
        small = f"above {state.pages_soft:,} slots of a user" if state.pages_soft else "never"
        return "a ring without pages", small, "a page at a write", "ENFILE" if state.pages_hard else "succeeds"
    if isinstance(state, StreamsState):
        return "nothing", "never", "a block at a write", "succeeds"
    if not isinstance(state, Era):
        return ("",) * (len(_COLUMNS) - 2)
    forward, reverse = _BACKED[state.forward], _BACKED[state.reverse]
    backed = f"both {forward}" if forward == reverse else f"forward {forward}, reverse {reverse}"
    share = "" if state.small_above == 1 else f"{state.small_above} of "
    small = "never" if state.small_above == NO_MARK else f"above {share}maxpipekva"
    growth = _GROWTH[state.growth] + (", and shrinking" if state.shrinks else "")
    failure = "succeeds" if state.create_errno is None else errno.errorcode[state.create_errno]
    return backed, small, growth, failure
