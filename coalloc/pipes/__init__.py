"""FreeBSD's pipe policy over any space, as eras of data, beside the policies of other kernels."""

from typing import TYPE_CHECKING

from coalloc._imports import lazy_names

if TYPE_CHECKING:
    from coalloc.pipes.budget import ROOT, Budget, Console, ConsoleLine, Owner
    from coalloc.pipes.buffers import Buffers
    from coalloc.pipes.designs import DESIGNS, Bench, Design, find_designs
    from coalloc.pipes.eras import ERAS, Backing, Era, Growth
    from coalloc.pipes.half import Half, Present
    from coalloc.pipes.kernels import KERNELS
    from coalloc.pipes.linux import LinuxPipe, LinuxPipes
    from coalloc.pipes.machine import Pipe, PipeCounters, PipeMachine
    from coalloc.pipes.pair import PipePair
    from coalloc.pipes.system import PipeSystem
    from coalloc.sched.clock import SimClock
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "coalloc.pipes.budget": "ROOT Budget Console ConsoleLine Owner",
            "coalloc.sched.clock": "SimClock",
            "coalloc.pipes.designs": "DESIGNS Bench Design find_designs",
            "coalloc.pipes.eras": "ERAS Backing Era Growth",
            "coalloc.pipes.kernels": "KERNELS",
            "coalloc.pipes.linux": "LinuxPipe LinuxPipes",
            "coalloc.pipes.buffers": "Buffers",
            "coalloc.pipes.half": "Half Present",
            "coalloc.pipes.machine": "Pipe PipeCounters PipeMachine",
            "coalloc.pipes.pair": "PipePair",
            "coalloc.pipes.system": "PipeSystem",
        },
    )

__all__ = [
    "DESIGNS",
    "ERAS",
    "KERNELS",
    "ROOT",
    "Backing",
    "Bench",
    "Budget",
    "Buffers",
    "Console",
    "ConsoleLine",
    "Design",
    "Era",
    "Growth",
    "Half",
    "LinuxPipe",
    "LinuxPipes",
    "Owner",
    "Pipe",
    "PipeCounters",
    "PipeMachine",
    "PipePair",
    "PipeSystem",
    "Present",
    "SimClock",
    "find_designs",
]
