"""An executable specification and test bench for pipe-buffer address-space allocators.

>>> from coalloc import CoallocError, CoalescingSpace, KernelMap, MiB
>>> kernel = KernelMap()
>>> space = CoalescingSpace(kernel, kva_limit=64 * MiB)
>>> buffers = [space.alloc(16384) for _ in range(256)]
>>> kernel.counters().map_ops
1
"""

from typing import TYPE_CHECKING

from coalloc._imports import lazy_names

if TYPE_CHECKING:
    from coalloc.contract import (
        EAGER,
        NEVER,
        RETAIN,
        Coalescing,
        Completeness,
        Constraint,
        Contract,
        Fit,
        Geometry,
        Release,
        Resize,
        Tie,
        Work,
    )
    from coalloc.designs import DESIGNS
    from coalloc.errors import (
        BadFreeError,
        CoallocError,
        ExhaustionError,
        Explanation,
        FreeFault,
        InvalidRequestError,
        InvariantViolation,
        KvaLimitError,
        MissingExtraError,
        NoSpaceError,
        PipeError,
        ProgramError,
        SpanOverlapError,
        Violation,
    )
    from coalloc.extent import Extent
    from coalloc.pipes.budget import ROOT, Owner
    from coalloc.pipes.design import Design
    from coalloc.pipes.eras import Era, KernelState
    from coalloc.pipes.linux import LinuxPipe, LinuxPipes
    from coalloc.pipes.pair import PipePair
    from coalloc.pipes.protocol import PipeCounters
    from coalloc.pipes.states import ERAS, KERNELS, STATES
    from coalloc.pipes.system import PipeSystem
    from coalloc.sched.clock import SimClock
    from coalloc.space.buddy import BuddySpace
    from coalloc.space.cached import CachedSpace
    from coalloc.space.cells import CellSpace
    from coalloc.space.coalescing import CoalescingSpace
    from coalloc.space.forwarding import ForwardingSpace
    from coalloc.space.perpipe import PerPipeSpace
    from coalloc.space.protocol import ConstrainedSpace, Kind, Segment, Space, SpaceStats
    from coalloc.space.vmem import VmemSpace
    from coalloc.units import PAGE_SIZE, GiB, KiB, MiB, format_size, parse_size
    from coalloc.vm.costs import COSTS, CostModel, Estimate
    from coalloc.vm.kernelmap import KernelMap, MapCounters
    from coalloc.vm.limit import Limit
    from coalloc.vm.source import Source
    from coalloc.workload.bundled import bundled_build
    from coalloc.workload.overlay import overlay
    from coalloc.workload.program import PipeOp, PipeOpKind, PipeProgram, SpaceOp, SpaceOpKind, SpaceProgram
    from coalloc.workload.replay import Outcome, replay
    from coalloc.workload.strace import import_strace
    from coalloc.workload.textformat import load, save
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "coalloc.contract": (
                "EAGER NEVER RETAIN Coalescing Completeness Constraint Contract Fit Geometry Release Resize Tie Work"
            ),
            "coalloc.errors": (
                "BadFreeError CoallocError ExhaustionError Explanation FreeFault InvalidRequestError "
                "InvariantViolation KvaLimitError MissingExtraError NoSpaceError PipeError ProgramError "
                "SpanOverlapError Violation"
            ),
            "coalloc.extent": "Extent",
            "coalloc.pipes.budget": "ROOT Owner",
            "coalloc.sched.clock": "SimClock",
            "coalloc.designs": "DESIGNS",
            "coalloc.pipes.design": "Design",
            "coalloc.pipes.eras": "Era KernelState",
            "coalloc.pipes.states": "ERAS KERNELS STATES",
            "coalloc.pipes.linux": "LinuxPipe LinuxPipes",
            "coalloc.pipes.pair": "PipePair",
            "coalloc.pipes.protocol": "PipeCounters",
            "coalloc.pipes.system": "PipeSystem",
            "coalloc.space.buddy": "BuddySpace",
            "coalloc.space.cached": "CachedSpace",
            "coalloc.space.cells": "CellSpace",
            "coalloc.space.coalescing": "CoalescingSpace",
            "coalloc.space.forwarding": "ForwardingSpace",
            "coalloc.space.perpipe": "PerPipeSpace",
            "coalloc.space.protocol": "ConstrainedSpace Kind Segment Space SpaceStats",
            "coalloc.space.vmem": "VmemSpace",
            "coalloc.units": "PAGE_SIZE GiB KiB MiB format_size parse_size",
            "coalloc.vm.costs": "COSTS CostModel Estimate",
            "coalloc.vm.kernelmap": "KernelMap MapCounters",
            "coalloc.vm.limit": "Limit",
            "coalloc.vm.source": "Source",
            "coalloc.workload.bundled": "bundled_build",
            "coalloc.workload.overlay": "overlay",
            "coalloc.workload.program": "PipeOp PipeOpKind PipeProgram SpaceOp SpaceOpKind SpaceProgram",
            "coalloc.workload.replay": "Outcome replay",
            "coalloc.workload.strace": "import_strace",
            "coalloc.workload.textformat": "load save",
        },
    )

__version__ = "0.1.0"

__all__ = [
    "BadFreeError",
    "BuddySpace",
    "COSTS",
    "CachedSpace",
    "CellSpace",
    "Coalescing",
    "CoalescingSpace",
    "CoallocError",
    "Completeness",
    "ConstrainedSpace",
    "Constraint",
    "Contract",
    "CostModel",
    "DESIGNS",
    "Design",
    "EAGER",
    "ERAS",
    "Era",
    "Estimate",
    "ExhaustionError",
    "Explanation",
    "Extent",
    "Fit",
    "ForwardingSpace",
    "FreeFault",
    "Geometry",
    "GiB",
    "InvalidRequestError",
    "InvariantViolation",
    "KERNELS",
    "KernelMap",
    "KernelState",
    "KiB",
    "Kind",
    "KvaLimitError",
    "Limit",
    "LinuxPipe",
    "LinuxPipes",
    "MapCounters",
    "MiB",
    "MissingExtraError",
    "NEVER",
    "NoSpaceError",
    "Outcome",
    "Owner",
    "PAGE_SIZE",
    "PerPipeSpace",
    "PipeCounters",
    "PipeError",
    "PipeOp",
    "PipeOpKind",
    "PipePair",
    "PipeProgram",
    "PipeSystem",
    "ProgramError",
    "RETAIN",
    "ROOT",
    "Release",
    "Resize",
    "STATES",
    "Segment",
    "SimClock",
    "Source",
    "Space",
    "SpaceOp",
    "SpaceOpKind",
    "SpaceProgram",
    "SpaceStats",
    "SpanOverlapError",
    "Tie",
    "Violation",
    "VmemSpace",
    "Work",
    "__version__",
    "bundled_build",
    "format_size",
    "import_strace",
    "load",
    "overlay",
    "parse_size",
    "replay",
    "save",
]
