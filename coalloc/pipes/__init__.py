"""FreeBSD's pipe policy over any space, as eras of data, beside the policies of other kernels."""

from coalloc.pipes.budget import ROOT, Budget, Console, ConsoleLine, Owner
from coalloc.pipes.designs import DESIGNS, Bench, Design, find_designs
from coalloc.pipes.eras import ERAS, Backing, Era, Growth
from coalloc.pipes.kernels import KERNELS
from coalloc.pipes.linux import LinuxPipe, LinuxPipes
from coalloc.pipes.pair import Half, PipePair, Present
from coalloc.pipes.system import PipeCounters, PipeSystem
from coalloc.sched.clock import SimClock

__all__ = [
    "DESIGNS",
    "ERAS",
    "KERNELS",
    "ROOT",
    "Backing",
    "Bench",
    "Budget",
    "Console",
    "ConsoleLine",
    "Design",
    "Era",
    "Growth",
    "Half",
    "LinuxPipe",
    "LinuxPipes",
    "Owner",
    "PipeCounters",
    "PipePair",
    "PipeSystem",
    "Present",
    "SimClock",
    "find_designs",
]
