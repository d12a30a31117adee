"""`as_trace`: a timeline as a trace that ui.perfetto.dev and chrome://tracing open (Chrome's JSON trace events).

Three groups of tracks: threads, with what each does or waits for; CPUs, with the thread that runs; locks, with their holders.
An arrow leads from who wakes to who is woken.  Times are microseconds with fractions, as the format has them.

Within a track slices never overlap, numbers of tracks are unique over all groups, and arrows begin and end inside slices: what
else the readers of such files drop without a word.  A lock that several threads hold has a track for each of them.

Source: the Trace Event Format of Chrome, and json_trace_parser_impl.cc of Perfetto.
"""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterator
from operator import itemgetter
from os import PathLike
from pathlib import Path
from typing import Any, Final

from coalloc.sched.measured import ThreadState
from coalloc.sched.timeline import Hold, Slice, Timeline

__all__ = ["as_trace", "save_trace"]

_THREADS, _CPUS, _LOCKS = 1, 2, 3
_FIRST: Final = {_THREADS: 1_000, _CPUS: 100_000, _LOCKS: 200_000}
"""The number of the first track of each group."""
_WORDS: Final = {
    ThreadState.RUN: "{}",
    ThreadState.SPIN: "spins for {}",
    ThreadState.BLOCKED: "waits for {}",
    ThreadState.ASLEEP: "sleeps on {}",
    ThreadState.READY: "waits for a CPU",
    ThreadState.SWITCH: "wakes up",
}
_ON_CPU: Final = (ThreadState.RUN, ThreadState.SPIN, ThreadState.SWITCH)


def as_trace(timeline: Timeline, title: str) -> dict[str, Any]:
    """Return the trace as a value that :mod:`json` can write.

    Args:
        timeline: What happened.
        title: The name of the threads' group.

    >>> timeline = Timeline()
    >>> timeline.names.append("reader")
    >>> timeline.state(0, 0, ThreadState.RUN, 3)
    >>> timeline.close(1500)
    >>> [event["dur"] for event in as_trace(timeline, "pipes")["traceEvents"] if event["ph"] == "X"]
    [1.5, 1.5]
    """
    events = [*_heads(timeline, title), *_threads(timeline), *_cpus(timeline), *_locks(timeline), *_arrows(timeline)]
    other = {"left_out": timeline.left_out}
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": other}


def save_trace(timeline: Timeline, title: str, path: str | PathLike[str]) -> None:
    """Write the trace to a file.

    Raises:
        OSError: If it cannot be written.
    """
    Path(path).write_text(json.dumps(as_trace(timeline, title)), encoding="utf-8")


def _heads(timeline: Timeline, title: str) -> Iterator[dict[str, Any]]:
    for group, name in ((_THREADS, title), (_CPUS, "CPUs"), (_LOCKS, "locks")):
        yield {"ph": "M", "name": "process_name", "pid": group, "tid": 0, "args": {"name": name}}
    for number, name in enumerate(timeline.names):
        yield _named(_THREADS, number, name)
    for cpu in sorted({each.cpu for each in timeline.slices}):
        yield _named(_CPUS, cpu, f"CPU {cpu}")
    for number, (lock, _) in enumerate(_lock_tracks(timeline)):
        yield _named(_LOCKS, number, lock)


def _named(group: int, number: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": "thread_name", "pid": group, "tid": _FIRST[group] + number, "args": {"name": name}}


def _threads(timeline: Timeline) -> Iterator[dict[str, Any]]:
    for each in timeline.slices:
        yield _slice(_THREADS, each.thread, _words(each), each.start, each.end, {"cpu": each.cpu})


def _words(each: Slice) -> str:
    return _WORDS[each.state].format(each.detail or "runs")


def _cpus(timeline: Timeline) -> Iterator[dict[str, Any]]:
    for each in timeline.slices:
        if each.state in _ON_CPU:
            yield _slice(_CPUS, each.cpu, timeline.names[each.thread], each.start, each.end, {"what": _words(each)})


def _locks(timeline: Timeline) -> Iterator[dict[str, Any]]:
    for number, (_, holds) in enumerate(_lock_tracks(timeline)):
        for hold in holds:
            yield _slice(_LOCKS, number, timeline.names[hold.thread], hold.start, hold.end, {})


def _lock_tracks(timeline: Timeline) -> list[tuple[str, list[Hold]]]:
    """Return the tracks of locks: each lock has one, and another one for each further holder at the same time."""
    tracks: dict[str, list[list[Hold]]] = {}
    for hold in sorted(timeline.holds, key=lambda hold: (hold.lock, hold.start, hold.end)):
        if hold.end == hold.start:
            continue
        rows = tracks.setdefault(hold.lock, [])
        row = next((row for row in rows if row[-1].end <= hold.start), None)
        if row is None:
            rows.append([hold])
        else:
            row.append(hold)
    return [
        (lock if not n else f"{lock} ({n + 1})", row) for lock, rows in tracks.items() for n, row in enumerate(rows)
    ]


def _slice(group: int, number: int, name: str, start: int, end: int, told: dict[str, Any]) -> dict[str, Any]:
    return {
        "ph": "X",
        "pid": group,
        "tid": _FIRST[group] + number,
        "name": name,
        "ts": start / 1000,
        "dur": (end - start) / 1000,
        "args": told,
    }


def _arrows(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """Yield an arrow from the middle of what a waker does to the beginning of what the woken one does next."""
    by_thread: dict[int, list[tuple[int, int]]] = {}
    for each in timeline.slices:
        by_thread.setdefault(each.thread, []).append((each.start, each.end))
    for spans in by_thread.values():
        spans.sort()
    for number, wake in enumerate(timeline.wakes):
        begins = _inside(by_thread.get(wake.waker, []), wake.time)
        ends = _next(by_thread.get(wake.woken, []), wake.time)
        if begins is None or ends is None or ends < begins:
            continue
        same = {"cat": "wakeup", "name": "wakes", "id": number + 1, "pid": _THREADS}
        yield same | {"ph": "s", "tid": _FIRST[_THREADS] + wake.waker, "ts": begins / 1000}
        yield same | {"ph": "f", "bp": "e", "tid": _FIRST[_THREADS] + wake.woken, "ts": ends / 1000}


def _inside(spans: list[tuple[int, int]], time: int) -> int | None:
    """Return a time that lies in one of some spans: this one, or just before, where one has ended then."""
    at = _before(spans, time)
    if at < 0:
        return None
    start, end = spans[at]
    return min(time, end - 1) if end > start else None


def _next(spans: list[tuple[int, int]], time: int) -> int | None:
    """Return the beginning of the first span that begins no earlier."""
    at = _before(spans, time - 1) + 1
    return spans[at][0] if at < len(spans) else None


def _before(spans: list[tuple[int, int]], time: int) -> int:
    """Return the number of the last span that begins no later; -1 if there is none."""
    return bisect.bisect_right(spans, time, key=itemgetter(0)) - 1
