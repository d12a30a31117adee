"""FreeBSD's pipe policy over any space, as eras of data, beside the policies of other kernels."""

from typing import TYPE_CHECKING

from coalloc._imports import lazy_names

if TYPE_CHECKING:
    from coalloc.pipes.budget import ROOT, Budget, Console, ConsoleLine, Owner
    from coalloc.pipes.buffers import Buffers
    from coalloc.pipes.design import PER_PIPE, Bench, Design
    from coalloc.pipes.eras import Backing, Era, Growth, KernelState, LinuxState
    from coalloc.pipes.half import Half, Present
    from coalloc.pipes.linux import LinuxPipe, LinuxPipes
    from coalloc.pipes.pair import PipePair
    from coalloc.pipes.protocol import Pipe, PipeCounters, Pipes
    from coalloc.pipes.states import ERAS, KERNELS, STATES
    from coalloc.pipes.surroundings import Surroundings
    from coalloc.pipes.system import PipeSystem
    from coalloc.sched.clock import SimClock
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "coalloc.pipes.budget": "ROOT Budget Console ConsoleLine Owner",
            "coalloc.sched.clock": "SimClock",
            "coalloc.pipes.design": "PER_PIPE Bench Design",
            "coalloc.pipes.eras": "Backing Era Growth KernelState LinuxState",
            "coalloc.pipes.linux": "LinuxPipe LinuxPipes",
            "coalloc.pipes.buffers": "Buffers",
            "coalloc.pipes.half": "Half Present",
            "coalloc.pipes.protocol": "Pipe PipeCounters Pipes",
            "coalloc.pipes.pair": "PipePair",
            "coalloc.pipes.states": "ERAS KERNELS STATES",
            "coalloc.pipes.surroundings": "Surroundings",
            "coalloc.pipes.system": "PipeSystem",
        },
    )

__all__ = [
    "ERAS",
    "KERNELS",
    "PER_PIPE",
    "ROOT",
    "STATES",
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
    "KernelState",
    "LinuxPipe",
    "LinuxPipes",
    "LinuxState",
    "Owner",
    "Pipe",
    "PipeCounters",
    "Pipes",
    "PipePair",
    "PipeSystem",
    "Present",
    "SimClock",
    "Surroundings",
]
