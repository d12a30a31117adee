"""Programs of operations as data: generators, importers, replay."""

from coalloc.workload.bundled import bundled_build
from coalloc.workload.generators import GENERATORS
from coalloc.workload.overlay import overlay
from coalloc.workload.program import (
    PipeOp,
    PipeOpKind,
    PipeProgram,
    Program,
    SpaceOp,
    SpaceOpKind,
    SpaceProgram,
    TraceFacts,
)
from coalloc.workload.replay import Outcome, Sample, Waits, replay, replay_all
from coalloc.workload.strace import Imported, ImportReport, import_strace
from coalloc.workload.textformat import dumps, load, loads, save

__all__ = [
    "GENERATORS",
    "ImportReport",
    "Imported",
    "Outcome",
    "PipeOp",
    "PipeOpKind",
    "PipeProgram",
    "Program",
    "Sample",
    "SpaceOp",
    "SpaceOpKind",
    "SpaceProgram",
    "TraceFacts",
    "Waits",
    "bundled_build",
    "dumps",
    "import_strace",
    "load",
    "loads",
    "overlay",
    "replay",
    "replay_all",
    "save",
]
