"""FreeBSD's pipe policy over any space, as eras of data, beside the policies of other kernels."""

from coalloc.pipes.budget import ROOT, Budget, Console, ConsoleLine, Owner
from coalloc.pipes.buffers import Buffers
from coalloc.pipes.clock import SimClock
from coalloc.pipes.designs import DESIGNS, Bench, Design, find_designs
from coalloc.pipes.eras import ERAS, Backing, Era, Growth
from coalloc.pipes.half import Half, Present
from coalloc.pipes.kernels import KERNELS
from coalloc.pipes.linux import LinuxPipe, LinuxPipes
from coalloc.pipes.machine import Pipe, PipeCounters, PipeMachine
from coalloc.pipes.pair import PipePair
from coalloc.pipes.system import PipeSystem

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
