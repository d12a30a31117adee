"""Threads on CPUs: locks, lock order and lock profiles, schedules and those who choose them, simulated time; knows no pipe."""

from coalloc.sched.clock import SimClock
from coalloc.sched.explore import MakeMachine, SearchResult, explore, search
from coalloc.sched.lockprof import LOCK_PROFILING, MUTEX_PROFILING, LockProfile, ProfileRow, ProfileStyle
from coalloc.sched.locks import Lock, LockKind
from coalloc.sched.machine import Machine
from coalloc.sched.ops import Acquire, Body, Op, Preempt, SleepOn, Spend, TryAcquire, Unlock, WakeUp
from coalloc.sched.pct_driver import PctDriver
from coalloc.sched.random_driver import RandomDriver
from coalloc.sched.run import Decision, Finding, FindingKind, Run
from coalloc.sched.schedule import Driver, FollowDriver, Schedule
from coalloc.sched.witness import ORDER, RULES, Held, OrderReport, Witness, WitnessRules

__all__ = [
    "LOCK_PROFILING",
    "MUTEX_PROFILING",
    "ORDER",
    "RULES",
    "Acquire",
    "Body",
    "Decision",
    "Driver",
    "Finding",
    "FindingKind",
    "FollowDriver",
    "Held",
    "Lock",
    "LockKind",
    "LockProfile",
    "Machine",
    "MakeMachine",
    "Op",
    "OrderReport",
    "PctDriver",
    "Preempt",
    "ProfileRow",
    "ProfileStyle",
    "RandomDriver",
    "Run",
    "Schedule",
    "SearchResult",
    "SimClock",
    "SleepOn",
    "Spend",
    "TryAcquire",
    "Unlock",
    "WakeUp",
    "Witness",
    "WitnessRules",
    "explore",
    "search",
]
