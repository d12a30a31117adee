"""`Gallery`: patches with what the model gives, as tables; every figure that was published stands beside the model's.

:data:`PATCHES` has the published ones.  :func:`find_patches` finds others in files, as a TARGET finds designs.
"""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Final

import attrs

from coalloc._registry import Registry
from coalloc.designs import attribute
from coalloc.errors import InvalidRequestError
from coalloc.patches.patch import Constant, Figure, Patch, Predicted, Published
from coalloc.scenarios.chart import Chart
from coalloc.scenarios.result import Column, Result, Table

__all__ = ["GROUP", "PATCHES", "Gallery", "Refitted", "find_patches", "run_patches", "summary"]

GROUP: Final = "coalloc.patches"
"""The group of entry points by which packages offer patches."""
PATCHES: Final = Registry(Patch, "patch", "coalloc.patches", GROUP)
"""Every patch by its name."""
_LARGE: Final = 1e9
_MANY: Final = 5
"""From so many figures of a kind on, a summary has one row for all."""
_WIDTH: Final = 80


def find_patches(names: Iterable[str]) -> tuple[Patch, ...]:
    """Return patches by their names, or by ``file.py:NAME`` or ``package.module:NAME``; all that there are without any.

    Raises:
        InvalidRequestError: For a name that is unknown or stands twice, or what is no patch.
    """
    found: list[Patch] = []
    for name in names:
        patches = [PATCHES[name.upper()]] if name.upper() in PATCHES else _loaded(name)
        for patch in patches:
            if patch in found:
                raise InvalidRequestError("ID", name, "stands twice")
            found.append(patch)
    return tuple(found) or tuple(PATCHES.values())


def _loaded(name: str) -> list[Patch]:
    if ":" not in name:
        near = get_close_matches(name.upper(), PATCHES, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(PATCHES)}, and file.py:NAME"
        raise InvalidRequestError("ID", name, f"is no patch; {hint}")
    loaded = attribute(name, "ID")
    patches = list(loaded) if isinstance(loaded, tuple) else [loaded]
    if not patches or not all(isinstance(each, Patch) for each in patches):
        raise InvalidRequestError("ID", name, "is no Patch")
    return patches


def run_patches(patches: Iterable[Patch], tell: Callable[[str], None] = lambda _words: None) -> Gallery:
    """Run the models of patches, one after the other.

    Args:
        patches: The patches.
        tell: Is told, in words, how far the run is.
    """
    return Gallery(tuple((patch, patch.predict(_prefixed(tell, patch.name))) for patch in patches))


def _prefixed(tell: Callable[[str], None], name: str) -> Callable[[str], None]:
    return lambda words: tell(f"{name}: {words}")


def _number(value: float, unit: str) -> str:
    if unit == "%":
        return f"{value:+.0f} %" if type(value) is int else f"{value:+.1f} %"
    whole = 100 <= abs(value) < _LARGE or (value == int(value) and abs(value) < _LARGE)
    digits = f"{value:,.0f}" if whole else f"{value:.3g}"
    return f"{digits} {unit}".strip()


def _published(value: Published, unit: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, tuple):
        return f"{_number(value[0], '' if unit != '%' else unit).removesuffix(' %')} to {_number(value[1], unit)}"
    return _number(value, unit)


def _off(figure: Figure) -> str:
    """Return how far the model is off; a wrong direction is said."""
    if figure.off is None:
        return ""
    words = f"{figure.off:+.1f} points" if figure.unit == "%" else _number(figure.off, figure.unit)
    return words if figure.right_way is not False else f"{words}, wrong way"


def _row(figure: Figure) -> tuple[str, str, str, str]:
    return figure.what, _published(figure.published, figure.unit), _number(figure.given, figure.unit), _off(figure)


def summary(outcome: Predicted) -> Iterator[tuple[str, str, str, str]]:
    """Yield what, published, model and distance of each figure; many figures of one kind make one row."""
    kinds: dict[str, list[Figure]] = {}
    for figure in outcome.figures:
        kinds.setdefault(_kind(figure), []).append(figure)
    for figure in outcome.figures:
        alike = kinds[_kind(figure)]
        if len(alike) < _MANY or any(each.published is None for each in alike):
            yield _row(figure)
        elif figure is alike[0]:
            yield _row_of_all(_kind(figure), alike)


def _kind(figure: Figure) -> str:
    return figure.what.rpartition(": ")[2]


def _row_of_all(kind: str, figures: list[Figure]) -> tuple[str, str, str, str]:
    off = [abs(figure.off or 0) for figure in figures]
    told = [value for figure in figures for value in _ends(figure.published)]
    given = [figure.given for figure in figures]
    published, model = (
        _published((round(min(values)), round(max(values))), figures[0].unit) for values in (told, given)
    )
    words = f"median {statistics.median(off):.1f}, most {max(off):.1f}"
    wrong = sum(figure.right_way is False for figure in figures)
    return f"{kind}, {len(figures)} cells", published, model, words + (f", wrong way {wrong}" if wrong else "")


def _ends(value: Published) -> tuple[float, ...]:
    if isinstance(value, tuple):
        return value
    return () if value is None else (value,)


_COLUMNS: Final = (
    Column("what"),
    Column("published", right=True),
    Column("model", right=True),
    Column("off", right=True),
)


@attrs.frozen
class Gallery(Result):
    """Patches, and what the model gives for each.

    Args:
        rows: The patches and their outcomes.
    """

    rows: tuple[tuple[Patch, Predicted], ...]

    def parts(self) -> Iterator[str | Table]:
        """Yield a table for each of several patches, and everything for a single one."""
        if len(self.rows) == 1:
            yield from _whole(*self.rows[0])
            return
        for patch, outcome in self.rows:
            yield _filled(f"{patch.name}: {patch.title}")
            yield Table(_COLUMNS, tuple(summary(outcome)))
            yield ""
        yield _filled(
            "-: no figure was published.  Off: the model less what was published; a wrong direction is said.  coalloc"
            " patches ID shows one patch with all its figures, and says what the model lacks."
        )

    def as_json(self) -> object:
        """Return everything, patch by patch."""
        return [
            {
                "patch": patch.name,
                "title": patch.title,
                "source": patch.source,
                "diff": patch.diff,
                "load": patch.load,
                "published": patch.published,
                "constants": [attrs.asdict(constant) for constant in patch.constants],
                "figures": [_as_dict(figure) for figure in outcome.figures],
                "findings": list(outcome.findings),
                "lacks": patch.lacks,
            }
            for patch, outcome in self.rows
        ]

    @property
    def charts(self) -> tuple[Chart, ...]:
        """What the patches draw."""
        return tuple(chart for _, outcome in self.rows for chart in outcome.charts)


def _as_dict(figure: Figure) -> dict[str, object]:
    published = list(figure.published) if isinstance(figure.published, tuple) else figure.published
    return {
        "what": figure.what,
        "unit": figure.unit,
        "published": published,
        "model": float(figure.given),
        "off": figure.off,
        "right_way": figure.right_way,
    }


def _whole(patch: Patch, outcome: Predicted) -> Iterator[str | Table]:
    yield _filled(f"{patch.name}: {patch.title}")
    yield _filled(patch.source) + "\n"
    yield patch.diff + "\n"
    yield _filled(f"Load: {patch.load}.")
    yield _filled(f"Published: {patch.published}.") + "\n"
    yield Table(_COLUMNS, tuple(map(_row, outcome.figures)))
    known = [figure for figure in outcome.figures if figure.unit == "%" and figure.off is not None]
    if len(known) >= _MANY:
        yield "\n".join(f"{row[0]}: {row[3]}" for row in summary(outcome) if row[3].startswith("median"))
    if patch.constants:
        yield "\nWhat the model takes from elsewhere:"
        yield "\n".join(map(_constant, patch.constants))
    words = [*outcome.findings, *([f"What the model lacks: {patch.lacks}"] if patch.lacks else [])]
    if words:
        yield "\n" + "\n".join(map(_filled, words))


def _filled(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _constant(constant: Constant) -> str:
    fitted = "fitted on " if constant.fitted else ""
    text = f"  {constant.name}: {constant.value:,g} {constant.unit}".rstrip() + f" ({fitted}{constant.source})"
    return textwrap.fill(text, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


@attrs.frozen
class Refitted(Result):
    """Constants that were fitted anew, beside those that the models have.

    Args:
        rows: Each patch with the constants that came out.
    """

    rows: Sequence[tuple[Patch, tuple[Constant, ...]]]

    def parts(self) -> Iterator[str | Table]:
        """Yield a table."""
        yield Table(
            (
                Column("patch"),
                Column("constant"),
                Column("has", right=True),
                Column("fitted", right=True),
                Column("on"),
            ),
            tuple(
                (patch.name, new.name, f"{_value(patch, new):,g}", f"{new.value:,g} {new.unit}".rstrip(), new.source)
                for patch, constants in self.rows
                for new in constants
            ),
        )

    def as_json(self) -> object:
        """Return the constants."""
        return [
            {"patch": patch.name, "has": _value(patch, new), **attrs.asdict(new)}
            for patch, constants in self.rows
            for new in constants
        ]

    @property
    def failure(self) -> str:
        """Which constant is not the one that the model has."""
        for patch, constants in self.rows:
            for new in constants:
                if _value(patch, new) != new.value:
                    return f"{patch.name} has {new.name} {_value(patch, new):,g}, but {new.value:,g} fits"
        return ""


def _value(patch: Patch, fitted: Constant) -> float:
    for constant in patch.constants:
        if constant.name == fitted.name:
            return constant.value
    raise InvalidRequestError("fit", fitted.name, f"is no constant of {patch.name}")
