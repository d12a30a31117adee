"""FreeBSD's pipe policy over any space, as eras of data, beside the policies of other kernels."""

from coalloc.pipes.budget import ROOT, Budget, Console, ConsoleLine, Owner
from coalloc.pipes.clock import SimClock
from coalloc.pipes.eras import ERAS, Backing, Era, Growth
from coalloc.pipes.kernels import KERNELS
from coalloc.pipes.linux import LinuxPipe, LinuxPipes
from coalloc.pipes.pair import Half, PipePair, Present
from coalloc.pipes.system import PipeCounters, PipeSystem

__all__ = [
    "ERAS",
    "KERNELS",
    "ROOT",
    "Backing",
    "Budget",
    "Console",
    "ConsoleLine",
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
]
