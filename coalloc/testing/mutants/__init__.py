"""Planted bugs: M1 to M70, after a list of bugs of real allocators; M71 on, which only odd worlds show."""

from coalloc.testing.mutants.listed import MUTANTS, NOT_APPLICABLE, Mutant, mutant
from coalloc.testing.mutants.strange import KeepsIdle, Runs

__all__ = ["MUTANTS", "NOT_APPLICABLE", "KeepsIdle", "Mutant", "Runs", "mutant"]
