"""How many bytes a request occupies, and the classes of sizes; all sizes are bytes > 0 unless the name says quanta."""

from __future__ import annotations

from coalloc.contract import Completeness, Contract, Geometry, Rounding

__all__ = ["EXACT_CLASSES", "class_floor", "footprint", "occupied", "round_to", "size_class", "sure_size"]

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
    return round_to(size, quantum) if geometry is Geometry.ANY else _block(size, quantum)


def _block(size: int, quantum: int) -> int:
    """Return the smallest power of two of quanta that is at least ``size``."""
    block = quantum
    while block < size:
        block *= 2
    return block


def occupied(size: int, quantum: int, contract: Contract) -> int:
    """Return how many bytes a request occupies by its contract, header and guard included.

    Rounding.OWN is not for this function: the design itself says.

    >>> powers = Contract(fit=None, rounding=Rounding.POWER, header=16, guard=32)
    >>> occupied(40, 16, powers), occupied(70, 16, powers)
    (112, 176)
    >>> occupied(40, 16, Contract(fit=None, rounding=Rounding.CLASSES, classes=(48, 96)))
    48
    >>> go_on = Contract(fit=None, rounding=Rounding.CLASSES, classes=(16, 32, 48), doubling=True)
    >>> [occupied(size, 16, go_on) for size in (33, 49, 65, 97)]
    [48, 64, 96, 128]
    """
    if contract.geometry.buddies:
        return _block(max(size + contract.header + contract.guard, contract.least), quantum)
    if contract.rounding is Rounding.POWER:
        size = _block(size, quantum)
    elif contract.rounding is Rounding.CLASSES:
        size = _class_of(size, contract.classes, doubling=contract.doubling)
    return round_to(max(contract.header + round_to(size, quantum) + contract.guard, contract.least), quantum)


def _class_of(size: int, classes: tuple[int, ...], *, doubling: bool) -> int:
    """Return the smallest class that is at least ``size``; beyond the largest, and if they do not go on, the size itself."""
    while doubling and classes and classes[-1] < size:
        classes = tuple(2 * limit for limit in classes if 2 * limit > classes[-1])
    return next((limit for limit in classes if limit >= size), size)


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


def sure_size(size: int, quantum: int, completeness: Completeness) -> int:
    """Return how large a hole must be so that it is not overlooked, at a level other than BEST_EFFORT.

    >>> [sure_size(9, 1, level) for level in (Completeness.EXACT, Completeness.CLASS, Completeness.TLSF(4))]
    [9, 9, 10]
    >>> [sure_size(33, 1, level) for level in (Completeness.CLASS, Completeness.TLSF(4), Completeness.TLSF(1))]
    [64, 40, 64]
    """
    if completeness == Completeness.EXACT:
        return size
    n = -(-size // quantum)
    if completeness == Completeness.CLASS:
        group = size_class(n)
        return (n if class_floor(group) == n else class_floor(group + 1)) * quantum
    doubling = 1
    while 2 * doubling <= n:
        doubling *= 2
    lists = completeness.lists
    if doubling <= lists:  # each size has a list of its own
        return n * quantum
    at = -(-(n - doubling) * lists // doubling)  # the first list that begins at n or above
    return (doubling - (-doubling * at // lists)) * quantum
