"""FreeBSD's pipe policy over any space: eras as data, ring, budget, pair."""

from coalloc.pipes.budget import ROOT, Budget, Console, ConsoleLine, Owner
from coalloc.pipes.clock import SimClock
from coalloc.pipes.eras import ERAS, Backing, Era, Growth
from coalloc.pipes.pair import Half, PipePair, Present
from coalloc.pipes.system import PipeCounters, PipeSystem

__all__ = [
    "ERAS",
    "ROOT",
    "Backing",
    "Budget",
    "Console",
    "ConsoleLine",
    "Era",
    "Growth",
    "Half",
    "Owner",
    "PipeCounters",
    "PipePair",
    "PipeSystem",
    "Present",
    "SimClock",
]
