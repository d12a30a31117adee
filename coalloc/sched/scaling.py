"""`fit_usl` and `fit_amdahl`: how throughput grows with CPUs, as the terms of two laws.

Both say how throughput X depends on the number of CPUs N:

    X(N) = rate * N / (1 + serial * (N - 1) + exchange * N * (N - 1))

``serial`` is the share of the work that only one CPU does at a time, which bounds X by rate / serial.  ``exchange`` is what
each CPU pays to each other one, which makes X fall beyond a *knee*.  Amdahl's law has no ``exchange``.

N / X is linear in the unknown terms, so they are found by least squares, each point weighted so that relative errors count.  A
term that would be negative is left out.

Source: Amdahl, AFIPS 1967; Gunther, A General Theory of Computational Scalability Based on Rational Functions, 2008.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from coalloc.errors import InvalidRequestError

__all__ = ["Scaling", "fit_amdahl", "fit_usl"]


@attrs.frozen
class Scaling:
    """The terms of a law.

    Args:
        rate: Operations a second of one CPU.
        serial: The share that is serial, 0 to 1.
        exchange: What each CPU pays to each other, >= 0.
        error: The mean relative error of the points.
    """

    rate: float
    serial: float
    exchange: float
    error: float

    def throughput(self, cpus: float) -> float:
        """Return the operations a second that the law gives.

        >>> Scaling(100.0, 0.5, 0.0, 0.0).throughput(2)
        133.33333333333334
        """
        return self.rate * cpus / (1 + self.serial * (cpus - 1) + self.exchange * cpus * (cpus - 1))

    @property
    def knee(self) -> float:
        """The number of CPUs beyond which throughput falls; infinite where it does not.

        >>> Scaling(100.0, 0.19, 0.01, 0.0).knee
        9.0
        """
        if not self.exchange:
            return math.inf
        return math.sqrt(max(1 - self.serial, 0) / self.exchange)


def fit_usl(points: Sequence[tuple[int, float]]) -> Scaling:
    """Fit the universal scalability law.

    Args:
        points: Numbers of CPUs, >= 1, and operations a second, > 0; for at least two numbers of CPUs.

    Raises:
        InvalidRequestError: If there are too few points, or one is out of range.
    """
    return _fit(points, ((), (1,), (2,), (1, 2)))


def fit_amdahl(points: Sequence[tuple[int, float]]) -> Scaling:
    """Fit Amdahl's law.

    Args:
        points: As for :func:`fit_usl`.

    Raises:
        InvalidRequestError: As :func:`fit_usl`.

    >>> law = fit_amdahl([(1, 100.0), (2, 100 * 2 / 1.1), (4, 100 * 4 / 1.3)])
    >>> round(law.rate), round(law.serial, 3)
    (100, 0.1)
    """
    return _fit(points, ((), (1,)))


def _fit(points: Sequence[tuple[int, float]], choices: tuple[tuple[int, ...], ...]) -> Scaling:
    """Return the best fit of those with the terms 0 and some of 1 and 2, none of them negative."""
    if len({cpus for cpus, _ in points}) < 2 or any(cpus < 1 or not rate > 0 for cpus, rate in points):
        raise InvalidRequestError("points", tuple(points), "two numbers of CPUs >= 1 are needed, with throughputs > 0")
    best: Scaling | None = None
    for terms in choices:
        solved = _solve(points, (0, *terms))
        if solved is None or min(solved) < 0 or not solved[0]:
            continue
        law = Scaling(1 / solved[0], solved[1] / solved[0], solved[2] / solved[0], 0.0)
        if law.serial > 1:  # more than all of it: throughput falls, which that term cannot say
            total = sum(rate for _, rate in points)
            law = Scaling(sum(rate * rate for _, rate in points) / total, 1.0, 0.0, 0.0)
        error = sum(abs(law.throughput(cpus) / rate - 1) for cpus, rate in points) / len(points)
        if best is None or error < best.error - 1e-12:
            best = attrs.evolve(law, error=error)
    assert best is not None  # the term 0 alone has a solution
    return best


def _solve(points: Sequence[tuple[int, float]], terms: tuple[int, ...]) -> list[float] | None:
    """Return the least squares of N / X = a + b (N - 1) + c N (N - 1) with some terms only; None if there are too few."""
    if len({cpus for cpus, _ in points}) < len(terms):
        return None
    rows = []
    for cpus, rate in points:
        weight = rate / cpus  # so that N / X has the weight 1
        rows.append(([weight * (1, cpus - 1, cpus * (cpus - 1))[term] for term in terms], 1.0))
    size = len(terms)
    matrix = [
        [sum(row[i] * row[j] for row, _ in rows) for j in range(size)] + [sum(row[i] * y for row, y in rows)]
        for i in range(size)
    ]
    for column in range(size):
        pivot = max(range(column, size), key=lambda i, column=column: abs(matrix[i][column]))  # type: ignore[misc]
        matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        for i in range(size):
            if i != column:
                factor = matrix[i][column] / matrix[column][column]
                matrix[i] = [a - factor * b for a, b in zip(matrix[i], matrix[column], strict=True)]
    found = [0.0, 0.0, 0.0]
    for place, term in enumerate(terms):
        found[term] = matrix[place][size] / matrix[place][place]
    return found
