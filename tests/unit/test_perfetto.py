"""Traces for Perfetto: held to the rules of the format by a checker of their own, and to what was measured."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from coalloc import DESIGNS, ERAS
from coalloc.errors import InvalidRequestError
from coalloc.report.perfetto import as_trace, save_trace
from coalloc.scenarios import SCENARIOS, WINDOWS
from coalloc.scenarios.contention import run_contention
from coalloc.sched.hardware import Hardware
from coalloc.sched.locks import DISCIPLINES, Lock
from coalloc.sched.machine import Machine
from coalloc.sched.measured import ThreadState
from coalloc.sched.ops import Acquire, Body, SleepOn, Spend, Unlock, WakeUp
from coalloc.sched.simulation import Simulation
from coalloc.sched.timeline import Timeline


def breaches(trace: dict[str, Any]) -> list[str]:
    """Return what the readers of such files drop or misread, as their sources have it."""
    found: list[str] = []
    slices: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    names: dict[int, int] = {}
    begun: dict[int, float] = {}
    for event in trace["traceEvents"]:
        ph = event["ph"]
        if ph not in ("M", "X", "s", "f"):
            found.append(f"unknown phase {ph}")
            continue
        if ph == "M":
            if not isinstance(event["args"]["name"], str):
                found.append("a name is no text")
            if event["name"] == "thread_name" and names.setdefault(event["tid"], event["pid"]) != event["pid"]:
                found.append(f"track {event['tid']} belongs to two groups")
            continue
        if not (math.isfinite(event["ts"]) and event["ts"] >= 0):
            found.append("a time is none")
        if event["tid"] not in names:
            found.append(f"track {event['tid']} has no name")
        track = event["pid"], event["tid"]
        if ph == "X":
            if not event["dur"] > 0:
                found.append("a slice takes no time")
            slices[track].append((event["ts"], event["ts"] + event["dur"]))
        elif type(event["id"]) is not int:
            found.append("an arrow has no number")
        elif not any(start - 1e-6 <= event["ts"] < end for start, end in slices[track]):
            found.append(f"the arrow {event['id']} ends in no slice ({ph} at {event['ts']})")
        elif ph == "s":
            begun[event["id"]] = event["ts"]
        elif event.get("bp") != "e" or begun.get(event["id"], math.inf) > event["ts"]:
            found.append(f"the arrow {event['id']} has no beginning")
    for track, spans in slices.items():
        spans.sort()
        for (_, end), (start, _) in itertools.pairwise(spans):
            if start < end - 1e-6:
                found.append(f"slices of {track} overlap")
    return found


@pytest.mark.parametrize("discipline", DISCIPLINES.values(), ids=list(DISCIPLINES))
def test_a_trace_of_any_lock_keeps_the_rules(discipline: Any) -> None:
    """Readers, writers, sleep and wakeups on two CPUs."""
    timeline, lock = Timeline(), Lock("lock", discipline=discipline)

    def user(number: int) -> Body:
        for turn in range(6):
            yield Spend(10 * number + 1)
            yield Acquire(lock, shared=discipline.shared and turn % 2 > 0)
            yield Spend(50)
            yield Unlock(lock)
            if number == 2:
                yield SleepOn("bell")
            else:
                yield WakeUp("bell")

    def rings() -> Body:
        for _ in range(30):
            yield Spend(200)
            yield WakeUp("bell")

    hardware = Hardware(cpus=2, atomic=1, same_socket=20, switch=15, wakeup=5, wake_latency=30, slice=60)
    simulation = Simulation(hardware, timeline=timeline)
    for number in range(4):
        simulation.spawn(f"user {number}", user(number))
    simulation.spawn("rings", rings())
    measured = simulation.run()
    assert measured.findings == ()  # nor do readers spin on all CPUs for a writer who has none
    trace = as_trace(timeline, "users")
    assert breaches(trace) == []
    assert any(event["ph"] == "f" for event in trace["traceEvents"])
    ran = sum(event["dur"] for event in trace["traceEvents"] if event["ph"] == "X" and event["pid"] == 2)
    on_cpu = (ThreadState.RUN, ThreadState.SPIN, ThreadState.SWITCH)
    assert ran * 1000 == pytest.approx(sum(measured.times[state] for state in on_cpu))


@pytest.mark.parametrize("design", ["per-pipe", "coalescing", "linux"])
@pytest.mark.parametrize("load", ["cycle", "transfer"])
def test_a_trace_of_pipes_keeps_the_rules_and_is_written(design: str, load: str, tmp_path: Path) -> None:
    """Threads, CPUs and locks; what is written is what is read again."""
    timeline = Timeline()
    run_contention(ERAS["2004-01"], DESIGNS[design], 4, load=load, operations=200, timeline=timeline)
    path = tmp_path / "trace.json"
    save_trace(timeline, "contention", path)
    trace = json.loads(path.read_text(encoding="utf-8"))
    assert breaches(trace) == []
    named = {event["args"]["name"] for event in trace["traceEvents"] if event["ph"] == "M"}
    assert {"contention", "CPUs", "locks", "CPU 3"} <= named
    assert trace["otherData"] == {"left_out": 0}


def test_what_does_not_fit_is_counted() -> None:
    """A timeline keeps so many entries, and says how many it left out."""
    timeline = Timeline(most=2)
    timeline.names += ["a", "b"]
    for time in range(4):
        timeline.state(10 * time, 0, ThreadState.RUN if time % 2 else ThreadState.READY, 0)
        timeline.woke(10 * time, 0, 1)
    timeline.taken(5, 0, "lock")
    timeline.released(9, 0, "lock")
    timeline.released(9, 0, "lock")
    timeline.taken(20, 1, "lock")
    timeline.close(50)
    assert len(timeline.slices) + len(timeline.wakes) + len(timeline.holds) == 2
    assert timeline.left_out == 9 - 2 + 1
    assert as_trace(timeline, "few")["otherData"] == {"left_out": timeline.left_out}


def test_the_scenario_has_a_timeline_where_a_trace_is_asked_for() -> None:
    """That of the last run."""
    with_trace = SCENARIOS["contention"].call(cpus="1,2", design="coalescing", operations=50, perfetto="trace.json")
    assert with_trace.timeline is not None
    assert len(with_trace.timeline.names) == 2
    assert SCENARIOS["contention"].call(cpus="1", design="coalescing", operations=50).timeline is None


def test_the_checker_sees_what_is_wrong() -> None:
    """Overlaps, arrows outside slices, tracks without names, and slices that take no time."""
    name = {"ph": "M", "name": "thread_name", "pid": 1, "tid": 5, "args": {"name": "a"}}
    good = {"ph": "X", "pid": 1, "tid": 5, "ts": 0, "dur": 10}
    assert breaches({"traceEvents": [name, good]}) == []
    for wrong in (
        {**good, "ts": 5},
        {**good, "ts": 20, "dur": 0},
        {**good, "tid": 6},
        {**good, "ph": "Z"},
        {"ph": "s", "id": 1, "pid": 1, "tid": 5, "ts": 11},
        {"ph": "f", "id": 1, "pid": 1, "tid": 5, "ts": 1, "bp": "e"},
        {"ph": "s", "id": "1", "pid": 1, "tid": 5, "ts": 1},
        {**name, "pid": 2},
        {**good, "ts": math.inf},
    ):
        assert breaches({"traceEvents": [name, good, wrong]})


@pytest.mark.parametrize("name", WINDOWS)
def test_a_window_is_shown_step_by_step(name: str) -> None:
    """A microsecond for each step, in words; one thread at a time; the schedule is the one that shows the window."""
    found = SCENARIOS["windows"].call(names=[name], most=3000, perfetto="there.json")
    assert found.failure == ""
    assert found.timeline is not None
    trace = as_trace(found.timeline, name)
    assert breaches(trace) == []
    runs = [each for each in found.timeline.slices if each.state is ThreadState.RUN]
    assert [each.start for each in runs] == [1000 * n for n in range(len(runs))]
    assert {each.end - each.start for each in runs} == {1000}
    assert any(each.detail.startswith("takes ") for each in runs)


def test_a_schedule_that_is_given_is_shown_and_one_window_at_a_time() -> None:
    """In either version; also where it finds a cycle, which is gone round once."""
    shown = SCENARIOS["windows"].call(names=["charge"], schedule="2>1", perfetto="there.json")
    assert shown.timeline is not None
    assert [each.lock for each in shown.timeline.holds] == ["pipe_map"] * 4
    cycle = SCENARIOS["windows"].call(names=["pipelock"], schedule="3>2 14>0", perfetto="there.json")
    assert cycle.timeline is not None
    assert "go round in 6 steps after 13" in cycle.text()
    assert sum(each.state is ThreadState.RUN for each in cycle.timeline.slices) == 19
    assert breaches(as_trace(cycle.timeline, "pipelock")) == []
    assert SCENARIOS["windows"].call(names=["charge"], schedule="2>1").timeline is None
    right = SCENARIOS["windows"].call(names=["pipelock"], schedule="3>2 14>0", fixed=True, perfetto="there.json")
    assert not right.failed
    assert right.timeline is not None
    assert breaches(as_trace(right.timeline, "pipelock")) == []
    with pytest.raises(InvalidRequestError, match="name the one window"):
        SCENARIOS["windows"].call(names=["charge", "order"], perfetto="there.json")


def test_the_mail_is_shown_in_simulated_time() -> None:
    """Programs, CPUs and locks; the locks are held as long as their profile says."""
    result = SCENARIOS["mail"].call(pagers=2, pipers=2, limit="1M", profile="lock", perfetto="there.json")
    timeline = result.timeline
    assert timeline is not None
    assert breaches(as_trace(timeline, "mail")) == []
    assert timeline.names == ["pager 0", "pager 1", "piper 0", "piper 1"]
    assert max(each.end for each in timeline.slices) == result.as_json()["time_ns"]  # type: ignore[index]
    rows = result.as_json()["profile"]  # type: ignore[index]
    for lock in ("Giant", "pipe_map", "PIPE"):
        held = sum(each.end - each.start for each in timeline.holds if each.lock == lock)
        assert held // 1000 == sum(row["total"] for row in rows if row["name"].endswith(f":{lock})"))
    assert {"waits for a CPU" for each in timeline.slices if each.state is ThreadState.READY} == {"waits for a CPU"}


def test_a_thread_that_a_running_thread_starts_has_a_track() -> None:
    """Named as it is spawned."""
    timeline = Timeline()
    machine = Machine(timeline=timeline)

    def child() -> Body:
        yield Spend(10)

    def parent() -> Body:
        machine.spawn("child", child())
        yield Spend(10)

    machine.spawn("parent", parent())
    assert machine.run().findings == ()
    assert timeline.names == ["parent", "child"]
    assert {each.thread for each in timeline.slices} == {0, 1}
    assert breaches(as_trace(timeline, "spawned")) == []
