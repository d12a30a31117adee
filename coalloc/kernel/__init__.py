"""The kernel around a pipe: object zones, descriptor tables, Giant, and system calls as threads.

It also offers the names of :mod:`coalloc.sched` that a program with such threads needs.
"""

from coalloc.kernel.fdtable import FdTable, FileTable, Grown
from coalloc.kernel.giant import GIANT
from coalloc.kernel.process import Allocations, Kernel, Process
from coalloc.kernel.zone import Zone, ZoneCounters
from coalloc.pipes.states import BEFORE_PAIRS, FIXES
from coalloc.pipes.surroundings import LAYOUTS, FdLayout, FiledescLock, OldTable, Search, Surroundings
from coalloc.sched.explore import SearchResult, explore, search
from coalloc.sched.lockprof import LOCK_PROFILING, MUTEX_PROFILING, LockProfile, ProfileRow, ProfileStyle
from coalloc.sched.locks import Lock, LockKind
from coalloc.sched.machine import Machine
from coalloc.sched.ops import Acquire, Preempt, SleepOn, Spend, TryAcquire, Unlock, WakeUp
from coalloc.sched.pct_driver import PctDriver
from coalloc.sched.random_driver import RandomDriver
from coalloc.sched.run import Finding, FindingKind, Run
from coalloc.sched.schedule import Schedule
from coalloc.sched.witness import RULES, OrderReport, Witness, WitnessRules

__all__ = [
    "BEFORE_PAIRS",
    "FIXES",
    "GIANT",
    "LAYOUTS",
    "LOCK_PROFILING",
    "MUTEX_PROFILING",
    "RULES",
    "Acquire",
    "Allocations",
    "FdLayout",
    "FdTable",
    "FileTable",
    "FiledescLock",
    "Finding",
    "FindingKind",
    "Grown",
    "Kernel",
    "Lock",
    "LockKind",
    "LockProfile",
    "Machine",
    "OldTable",
    "OrderReport",
    "PctDriver",
    "Preempt",
    "Process",
    "ProfileRow",
    "ProfileStyle",
    "RandomDriver",
    "Run",
    "Schedule",
    "Search",
    "SearchResult",
    "SleepOn",
    "Spend",
    "Surroundings",
    "TryAcquire",
    "Unlock",
    "WakeUp",
    "Witness",
    "WitnessRules",
    "Zone",
    "ZoneCounters",
    "explore",
    "search",
]
