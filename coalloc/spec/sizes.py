"""How many bytes a request occupies, and the size classes of vmem; all sizes are bytes > 0 unless the name says quanta."""

from __future__ import annotations

from coalloc.contract import Geometry

__all__ = ["EXACT_CLASSES", "class_floor", "footprint", "round_to", "size_class"]

EXACT_CLASSES = 32
"""Sizes of up to so many quanta have a class of their own."""


def round_to(size: int, unit: int) -> int:
    """Return the smallest multiple of ``unit`` that is at least ``size``."""
    return size + -size % unit


def footprint(size: int, quantum: int, geometry: Geometry) -> int:
    """Return how many bytes a request of ``size`` occupies: whole quanta; a power of two of them for buddies.

    >>> footprint(5, 1, Geometry.ANY), footprint(5, 1, Geometry.BUDDY), footprint(5, 4, Geometry.BUDDY)
    (5, 8, 8)
    """
    if geometry is Geometry.ANY:
        return round_to(size, quantum)
    block = quantum
    while block < size:
        block *= 2
    return block


def size_class(n_quanta: int) -> int:
    """Return a size's class: one for each number of quanta up to 32, then one for each doubling.

    >>> [size_class(n) for n in (1, 32, 33, 63, 64, 127, 128)]
    [0, 31, 31, 31, 32, 32, 33]
    """
    if n_quanta < EXACT_CLASSES:
        return n_quanta - 1
    group = EXACT_CLASSES - 1
    while n_quanta >= 2 * EXACT_CLASSES:
        n_quanta //= 2
        group += 1
    return group


def class_floor(group: int) -> int:
    """Return the smallest number of quanta of a class.

    >>> all(size_class(class_floor(group)) == group for group in range(60))
    True
    """
    return group + 1 if group < EXACT_CLASSES else EXACT_CLASSES << (group - EXACT_CLASSES + 1)
