"""What helps to choose a design: how little address space a load needs, and how far each design is from that."""

from coalloc.experiments.packing import Life, greedy, height, lives_of, lower_bound, misplaced

__all__ = ["Life", "greedy", "height", "lives_of", "lower_bound", "misplaced"]
