"""`Grid`: every combination of designs, their parameters and loads, in one fixed order; :func:`read_vary` reads it from text.

A :class:`Setting` is plain data, so that any process on any machine can run it: a design is a TARGET, and parameters are named.
A parameter that a design does not have is left out for this design.  A parameter that no design has is an error.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Final

import attrs

from coalloc.contract import Release, member_named, parse_release
from coalloc.designs import find
from coalloc.errors import InvalidRequestError
from coalloc.pipes.design import Design, named
from coalloc.pipes.states import STATES
from coalloc.units import MiB, parse_size

__all__ = ["Grid", "Setting", "design_of", "plain", "read_value", "read_vary"]


@attrs.frozen
class Setting:
    """One combination: a design with parameters, and the load that it is given.

    Args:
        design: A TARGET, or the design itself, which only processes can run that know it.
        parameters: Names and values of the parameters that are set, in the order of their names.  A member of an Enum stands
            here by its value: its class may be in a file that each process loads for itself.
        era: Name of the kernel state.
        limit: maxpipekva in bytes.
        copies: Copies of the program that run at once, >= 1.
        spread: Microseconds in which the copies begin; None for the length of the program.
        seed: The seed that their beginnings are drawn from.
    """

    design: str | Design
    parameters: tuple[tuple[str, Any], ...] = ()
    era: str = "2004-01"
    limit: int = 64 * MiB
    copies: int = 1
    spread: int | None = None
    seed: int = 0

    @property
    def target(self) -> str:
        """The design's name, without these parameters."""
        return self.design if isinstance(self.design, str) else self.design.name

    @property
    def name(self) -> str:
        """The design's name with its parameters, as ``Design.configured`` writes it."""
        return named(self.target, dict(self.parameters))

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data: texts, numbers, flags and None."""
        return {
            "design": self.target,
            "parameters": {name: plain(value) for name, value in self.parameters},
            "era": self.era,
            "limit": self.limit,
            "copies": self.copies,
            "spread": self.spread,
            "seed": self.seed,
        }


def plain(value: object) -> str | int | float | bool | None:
    """Return the value of a parameter as plain data: members of an Enum by their value, other objects as text."""
    if isinstance(value, Enum):
        return plain(value.value)
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def design_of(setting: Setting) -> Design:
    """Return the design of a setting, with its parameters set.

    Raises:
        InvalidRequestError: If there is no such design, or it has no such parameter.
    """
    design = _found(setting.design)
    return design.configured(**{name: _meant(design, name, value) for name, value in setting.parameters})


def _found(design: str | Design) -> Design:
    return find(design, "designs") if isinstance(design, str) else design


def _default(design: Design, name: str) -> object:
    parameter = design.parameters.get(name)
    return inspect.Parameter.empty if parameter is None else parameter.default


def _meant(design: Design, name: str, value: object) -> object:
    """Return the member of the design's Enum for which a value stands; any other value is returned unchanged."""
    default = _default(design, name)
    if isinstance(default, Enum) and not isinstance(value, Enum):
        return _member(name, str(value), type(default))
    return value


def _targets(values: Iterable[str | Design]) -> tuple[str | Design, ...]:
    return tuple(values)


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


def _ints(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


@attrs.frozen
class Grid:
    """The combinations of some lists of values.

    Args:
        designs: TARGETs, or designs.
        vary: Values by parameter; a design takes those that it has.  A text is read by the design's own parameter, see
            :func:`read_value`.
        eras: Names of kernel states.
        limits: Limits in bytes.
        copies: Numbers of copies, each >= 1.
        seeds: How many seeds, >= 1: 0, 1, ... A single copy is the same for every seed, and stands once.
        spread: Microseconds in which copies begin; None for the length of the program.

    Raises:
        InvalidRequestError: For a list that is empty or names a value twice, or a parameter that no design has.

    Iterating yields each :class:`Setting`: the load varies slowest, so that equal loads stand together.

    >>> grid = Grid(["coalescing", "per-pipe"], {"quantum_cache": (0, 65536)}, copies=(1, 8))
    >>> len(list(grid)), next(iter(grid)).parameters
    (6, (('quantum_cache', 0),))
    """

    designs: Sequence[str | Design] = attrs.field(converter=_targets)
    vary: Mapping[str, Sequence[Any]] = attrs.field(factory=dict)
    eras: Sequence[str] = attrs.field(default=("2004-01",), converter=_texts)
    limits: Sequence[int] = attrs.field(default=(64 * MiB,), converter=_ints)
    copies: Sequence[int] = attrs.field(default=(1,), converter=_ints)
    seeds: int = 1
    spread: int | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse a grid in which something is missing or stands twice."""
        designs = [design if isinstance(design, str) else design.name for design in self.designs]
        lists = {"designs": designs, **self.vary, "era": self.eras, "limit": self.limits, "copies": self.copies}
        for name, values in lists.items():
            if not values:
                raise InvalidRequestError(name, "", "at least one value is needed")
            _require_different(name, values)
        if type(self.seeds) is not int or self.seeds < 1:
            raise InvalidRequestError("seeds", self.seeds, "must be an int >= 1")
        for era in self.eras:
            if era not in STATES:
                raise InvalidRequestError("era", era, f"is no era; there are {', '.join(STATES)}")
        found = [_found(design) for design in self.designs]
        for name in self.vary:
            if not any(design.takes(name) for design in found):
                there = sorted({known for design in found for known in design.parameters})
                hint = f"there are {', '.join(there)}" if there else "they have none"
                raise InvalidRequestError("vary", name, f"is no parameter of these designs; {hint}")
        for design in found:
            for name in filter(design.takes, self.vary):
                _require_different(name, self._values(design, name))

    def _values(self, design: Design, name: str) -> list[Any]:
        """Return the values of a parameter as plain data, read as the design's own parameter wants them."""
        parameter = design.parameters.get(name)
        default = _default(design, name)
        read = [read_value(name, value, parameter) if isinstance(value, str) else value for value in self.vary[name]]
        return [plain(value) if isinstance(default, Enum) else value for value in read]

    def __iter__(self) -> Iterator[Setting]:
        found = [_found(design) for design in self.designs]
        for copies, era, limit in itertools.product(self.copies, self.eras, self.limits):
            for seed in range(self.seeds if copies > 1 else 1):
                for design, known in zip(self.designs, found, strict=True):
                    names = sorted(filter(known.takes, self.vary))
                    for values in itertools.product(*(self._values(known, name) for name in names)):
                        parameters = tuple(zip(names, values, strict=True))
                        yield Setting(design, parameters, era, limit, copies, self.spread, seed)


def _require_different(name: str, values: Sequence[Any]) -> None:
    """Refuse a list in which a value stands twice; 0 and False are two values."""
    kinds = [(type(value), value) for value in values]
    for number, kind in enumerate(kinds):
        if kind in kinds[:number]:
            raise InvalidRequestError(name, plain(kind[1]), "stands twice")


_FLAGS: Final = {"yes": True, "true": True, "no": False, "false": False}


def read_value(name: str, text: str, parameter: inspect.Parameter | None = None) -> object:
    """Read the value of a parameter by the kind of its default: a member of an Enum, a release rule, a flag, a number, a size.

    Args:
        name: The parameter, for errors.
        text: The value.
        parameter: What is known of the parameter.  Without a default, the value is a size or another number if it can be read
            as one, then none, a flag, or the text itself.

    Raises:
        InvalidRequestError: If the default has another kind.

    >>> read_value("arena_size", "4M"), read_value("depth", "none"), read_value("order", "address")
    (4194304, None, 'address')
    """
    default = inspect.Parameter.empty if parameter is None else parameter.default
    if isinstance(default, Enum):
        return _member(name, text, type(default))
    if isinstance(default, Release):
        return parse_release(text, name)
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        if text not in _FLAGS:
            raise InvalidRequestError(name, text, "must be yes or no")
        return _FLAGS[text]
    value = _guessed(text)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if isinstance(default, int | float) and not (type(value) is type(default) or value is None):
        raise InvalidRequestError(name, text, "must be a number, or a size such as 64K")
    return value


def _guessed(text: str) -> object:
    if text == "none":
        return None
    if text in _FLAGS:
        return _FLAGS[text]
    if re.fullmatch(r"-?\d{1,19}", text, re.ASCII):
        return int(text)
    try:
        return parse_size(text)
    except InvalidRequestError:
        pass
    try:
        return float(text)
    except ValueError:
        return text


def _member(name: str, text: str, kind: type[Enum]) -> Enum:
    member = member_named(kind, text)
    if member is None:
        there = ", ".join(str(one.value).replace(" ", "-") for one in kind)
        raise InvalidRequestError(name, text, f"must be one of {there}")
    return member


def read_vary(texts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read what is to vary, each as ``NAME=VALUE,VALUE,...``; a :class:`Grid` reads the values for each of its designs.

    Args:
        texts: The texts.

    Raises:
        InvalidRequestError: For a text of another form, or a name that stands twice.

    >>> read_vary(["arena_size=1M,4M", "fit=best,first"])
    {'arena_size': ('1M', '4M'), 'fit': ('best', 'first')}
    """
    vary: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        name = name.strip().replace("-", "_")
        if not (name and equals and values):
            raise InvalidRequestError("--vary", text, "must be NAME=VALUE,VALUE,... such as arena_size=1M,4M")
        if name in vary:
            raise InvalidRequestError("--vary", text, f"{name} stands twice")
        vary[name] = tuple(value.strip() for value in values.split(","))
    return vary
