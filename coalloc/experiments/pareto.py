"""The Pareto front of a sweep, and a choice on it by a preference in words; every figure is better when it is less.

A setting is on the front of a load if no other setting of this load is at least as good in every figure that counts, and better
in one.  A load is a program with its era, copies and seed.  Settings that refused more pipes, requests or writes than others of
their load did less work, so they are on no front and cannot be chosen.  A figure that is not known counts as infinite.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from coalloc.errors import CoallocError, InvalidRequestError
from coalloc.experiments.settings import Setting
from coalloc.experiments.sweeps import Sweep, SweepRow
from coalloc.units import format_size, parse_size
from coalloc.workload.figures import LABELS

__all__ = [
    "OBJECTIVES",
    "Choice",
    "Preference",
    "Wish",
    "choose",
    "front",
    "objective_named",
    "parse_preference",
    "refused_by",
]

OBJECTIVES: Final = ("map_ops", "peak_resident", "peak_mapped", "estimated_cost_ns", "external_fragmentation")
"""The figures that count unless others are named."""
_SHORT: Final = {
    "resident": "peak_resident",
    "mapped": "peak_mapped",
    "live": "peak_live",
    "estimate": "estimated_cost_ns",
    "cost": "estimated_cost_ns",
    "fragmentation": "external_fragmentation",
}
_LESS_WORK: Final = ("pipes_refused", "allocs_refused", "writes_without_buffer")


def objective_named(name: str) -> str:
    """Return the figure of a name, or of a short name such as ``resident``.

    Raises:
        InvalidRequestError: If there is no such figure.

    >>> objective_named("resident"), objective_named("unmap_ops")
    ('peak_resident', 'unmap_ops')
    """
    figure = _SHORT.get(name, name).replace("-", "_")
    if figure not in LABELS:
        raise InvalidRequestError("figure", name, f"is no figure; there are {', '.join([*_SHORT, *LABELS])}")
    return figure


def _worth(row: SweepRow, figure: str) -> float:
    value = row.figures[figure]
    return math.inf if value is None else value


def _load_of(row: SweepRow) -> tuple[str, str, int, int]:
    return row.digest, row.setting.era, row.setting.copies, row.setting.seed


def refused_by(row: SweepRow) -> int:
    """Return how many pipes, requests and writes were refused in a row."""
    return int(sum(row.figures[name] or 0 for name in _LESS_WORK))


def _by_load(rows: Iterable[SweepRow]) -> list[list[SweepRow]]:
    loads: dict[tuple[str, str, int, int], list[SweepRow]] = {}
    for row in rows:
        loads.setdefault(_load_of(row), []).append(row)
    return list(loads.values())


def _did_all(rows: Sequence[SweepRow]) -> list[SweepRow]:
    """Return the rows of a load that did the most work."""
    least = min(map(refused_by, rows))
    return [row for row in rows if refused_by(row) == least]


def front(rows: Iterable[SweepRow], objectives: Sequence[str] = OBJECTIVES) -> frozenset[SweepRow]:
    """Return the rows on the front of their load.

    Args:
        rows: The rows.
        objectives: Names of figures, at least one.

    Guarantees:
        Of each load at least one row is there.  Rows that are equal in every objective are all there, or none.

    Complexity: O(n f) for n rows and f on the front, after a sort.
    """
    figures = [objective_named(name) for name in objectives]
    if not figures:
        raise InvalidRequestError("objectives", "", "at least one is needed")
    found: list[SweepRow] = []
    for group in _by_load(rows):
        best: list[tuple[float, ...]] = []
        worths = sorted(
            ((tuple(_worth(row, name) for name in figures), row) for row in _did_all(group)), key=lambda it: it[0]
        )
        for worth, row in worths:  # who dominates another comes before it in this order
            if not any(other != worth and all(a <= b for a, b in zip(other, worth, strict=True)) for other in best):
                best.append(worth)
                found.append(row)
    return frozenset(found)


@attrs.frozen
class Wish:
    """A bound on a figure.

    Args:
        figure: Its name.
        most: The most that it may be; with ``relative``, times the least of any setting on the same load.
        relative: Whether ``most`` is a factor.
    """

    figure: str
    most: float
    relative: bool

    def __str__(self) -> str:
        if self.relative:
            return f"{_name(self.figure)} at most {self.most:g} times the least"
        return f"{_name(self.figure)} at most {_written(self.figure, self.most)}"


@attrs.frozen
class Preference:
    """Bounds that hold on every load, and then figures in the order of their weight.

    Args:
        wishes: The bounds.
        order: The figures, at least one; a later one decides where all before are equal.
    """

    wishes: tuple[Wish, ...]
    order: tuple[str, ...]


def parse_preference(text: str) -> Preference:
    """Read a preference: bounds such as ``resident<=2x`` or ``mapped<=8M``, and figures such as ``map_ops``, with commas.

    Args:
        text: A bound is a factor (``2x``), a size (``8M``), a number, or for the estimate a time (``3ms``).  If only bounds are
            given, the estimate decides.

    Raises:
        InvalidRequestError: If it cannot be read.

    >>> parse_preference("resident<=2x,map_ops").order
    ('map_ops',)
    >>> str(parse_preference("resident<=2x").wishes[0])
    'peak resident bytes at most 2 times the least'
    """
    wishes, order = [], []
    for part in (part.strip() for part in text.split(",")):
        name, bound, value = part.partition("<=")
        if "<" in name or ">" in part or ("=" in name):
            raise InvalidRequestError("--prefer", text, f"{part!r} must be FIGURE or FIGURE<=BOUND")
        figure = objective_named(name.strip())
        if bound:
            wishes.append(_wish(text, figure, value.strip()))
        elif figure in order:
            raise InvalidRequestError("--prefer", text, f"{name} stands twice")
        else:
            order.append(figure)
    return Preference(tuple(wishes), tuple(order) or ("estimated_cost_ns",))


_TIMES: Final = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}


def _wish(text: str, figure: str, value: str) -> Wish:
    times = "ns|us|ms|s|" if figure == "estimated_cost_ns" else ""
    if factor := re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)x", value):
        return Wish(figure, float(factor[1]), relative=True)
    if number := re.fullmatch(rf"(\d{{1,19}}(?:\.\d{{1,9}})?)({times})", value):
        return Wish(figure, float(number[1]) * _TIMES.get(number[2], 1), relative=False)
    try:
        return Wish(figure, parse_size(value), relative=False)
    except InvalidRequestError:
        why = f"{value!r} must be a factor such as 2x, a size such as 8M, a number, or for the estimate a time such as 3ms"
        raise InvalidRequestError("--prefer", text, why) from None


@attrs.frozen
class Choice:
    """The setting that a preference picks, over all loads.

    Args:
        setting: The setting, as for the first of the loads.
        rows: Its rows, one for each load.
        of: How many settings fulfil the bounds, and how many there are.
        sentence: What the choice is and what it gives up, in words.
    """

    setting: Setting
    rows: tuple[SweepRow, ...]
    of: tuple[int, int]
    sentence: str


def choose(result: Sweep, preference: Preference, objectives: Sequence[str] = OBJECTIVES) -> Choice:
    """Pick the setting that a preference wants, over all loads of a sweep.

    A bound must hold on every load.  Of a figure that decides, the sum over the loads counts; of fragmentation, the mean; of a
    peak, the highest.  Where all are equal, the first setting is picked.

    Args:
        result: The sweep.
        preference: What is wanted.
        objectives: The figures for which the sentence says what is given up.

    Raises:
        CoallocError: If no setting fulfils every bound on every load; the message says how near one comes.
    """
    groups = [_did_all(group) for group in _by_load(result.rows)]
    if not groups:
        raise CoallocError("there is nothing to choose from: no setting could be replayed")
    by_setting: dict[tuple[str, int], list[SweepRow]] = {_name_of(row): [] for row in result.rows}
    for group in groups:
        for row in group:
            by_setting[_name_of(row)].append(row)
    whole = [rows for rows in by_setting.values() if len(rows) == len(groups)]
    if not whole:
        raise CoallocError("no setting did all the work of every load")
    fit = whole
    for wish in preference.wishes:
        least = {_load_of(group[0]): min(_worth(row, wish.figure) for row in group) for group in groups}
        fit = _keep(fit, wish, least, among="" if fit is whole else " that keeps the bounds before it")
    rows = min(fit, key=lambda rows: tuple(_over(rows, figure) for figure in preference.order))
    several = len({limit for _, limit in by_setting}) > 1
    words = _sentence(rows, whole, preference, objectives, len(fit), with_limit=several)
    if left_out := len(by_setting) - len(whole):
        words += f" Left out: {left_out:,} of {len(by_setting):,} settings, which refused or failed what others did."
    return Choice(rows[0].setting, tuple(rows), (len(fit), len(by_setting)), words)


def _name_of(row: SweepRow) -> tuple[str, int]:
    return row.setting.name, row.setting.limit


def _keep(
    settings: list[list[SweepRow]], wish: Wish, least: Mapping[tuple[str, str, int, int], float], among: str
) -> list[list[SweepRow]]:
    """Return the settings that keep a bound on every load.

    Raises:
        CoallocError: If there are none; the message names the one that is nearest, on the load where it is farthest.
    """

    def excess(row: SweepRow) -> tuple[float, float]:
        worth = _worth(row, wish.figure)
        bound = wish.most * (least[_load_of(row)] if wish.relative else 1)
        return (0, 0) if worth <= bound else (worth / bound if bound else math.inf, worth)

    kept = [rows for rows in settings if not any(map(any, map(excess, rows)))]
    if not kept:
        worst = max(min(settings, key=lambda rows: max(map(excess, rows))), key=excess)
        value = _written(wish.figure, _worth(worst, wish.figure))
        raise CoallocError(f"no setting keeps {wish}; the nearest{among} is {worst.setting.name} with {value}")
    return kept


def _over(rows: Sequence[SweepRow], figure: str) -> float:
    """Return a figure over several loads: the highest peak, the mean share, the sum of anything else."""
    worths = [_worth(row, figure) for row in rows]
    if figure.startswith("peak_"):
        return max(worths)
    return sum(worths) / (len(worths) if figure == "external_fragmentation" else 1)


def _sentence(
    rows: Sequence[SweepRow],
    others: Sequence[Sequence[SweepRow]],
    preference: Preference,
    objectives: Sequence[str],
    fit: int,
    *,
    with_limit: bool,
) -> str:
    """Say what was chosen, from how many, and what it gives up against the best of each figure."""
    setting = rows[0].setting
    at = f" with a limit of {format_size(setting.limit)}" if with_limit else ""
    deciding = preference.order[0]
    among = (
        f"of the {fit:,} settings with {_listed(list(map(str, preference.wishes)))}" if preference.wishes else "of all"
    )
    words = [
        f"Choose {setting.name}{at}: {among}, the best by {_name(deciding)}, {_written(deciding, _over(rows, deciding))}."
    ]
    given_up = []
    figures = list(dict.fromkeys(objective_named(name) for name in objectives))
    for figure in figures:
        mine = _over(rows, figure)
        best = min(others, key=lambda other: _over(other, figure))
        least = _over(best, figure)
        if mine > least:
            against = f"{_written(figure, mine)} where {best[0].setting.name} has {_written(figure, least)}"
            factor = f", {mine / least:,.2f} times" if least and not math.isinf(mine) else ""
            given_up.append(f"{_name(figure)} {against}{factor}")
    if given_up:
        words.append(f"Its price: {'; '.join(given_up)}.")
    else:
        words.append(
            f"It gives up nothing: no setting has less {_listed([_name(figure) for figure in figures], 'or')}."
        )
    return " ".join(words)


def _name(figure: str) -> str:
    return LABELS[figure].partition(",")[0]


def _written(figure: str, value: float) -> str:
    if math.isinf(value):
        return "not known"
    if figure == "estimated_cost_ns":
        return f"{value / 1e6:,.3f} ms"
    return f"{value:.3f}" if figure == "external_fragmentation" else f"{value:,.0f}"


def _listed(words: Sequence[str], last: str = "and") -> str:
    *most, end = words
    return f"{', '.join(most)} {last} {end}" if most else end
