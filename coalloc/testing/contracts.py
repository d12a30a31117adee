"""Contracts as text: what the command line reads and prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, TypeVar

import attrs

from coalloc.contract import (
    EAGER,
    NEVER,
    RETAIN,
    Coalescing,
    Completeness,
    Constraint,
    Contract,
    Fit,
    Geometry,
    Release,
    Resize,
    Tie,
    Work,
)
from coalloc.errors import InvalidRequestError

__all__ = ["describe_contract", "parse_contract", "parse_release"]

_E = TypeVar("_E", bound=Enum)


def _one_of(kind: type[_E], *, none: bool = False) -> Callable[[str], _E | None]:
    def read(text: str) -> _E | None:
        if none and text == "none":
            return None
        for member in kind:
            if text in (str(member.value), member.name.lower().replace("_", "-"), str(member.value).replace(" ", "-")):
                return member
        words = [str(member.value).replace(" ", "-") for member in kind] + ["none"] * none
        raise InvalidRequestError("--contract", text, f"must be one of {', '.join(words)}")

    return read


def parse_release(text: str, name: str = "release") -> Release:
    """Read a release rule.

    Raises:
        InvalidRequestError: If the text is not a release rule.

    >>> parse_release("retain(2)").keep
    2
    """
    kept = re.fullmatch(r"retain\((\d{1,6})\)", text)
    if kept:
        return RETAIN(int(kept[1]))
    if text in ("eager", "never"):
        return EAGER if text == "eager" else NEVER
    raise InvalidRequestError(name, text, "must be eager, retain(N) or never")


def _constraints(text: str) -> frozenset[Constraint]:
    if text == "none":
        return frozenset()
    if text == "all":
        return frozenset(Constraint)
    read = _one_of(Constraint)
    return frozenset(member for word in text.split("+") if (member := read(word)) is not None)


def _flag(text: str) -> bool:
    if text not in ("yes", "no"):
        raise InvalidRequestError("--contract", text, "must be yes or no")
    return text == "yes"


_FIELDS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "fit": ("fit", _one_of(Fit, none=True)),
    "tie": ("tie", _one_of(Tie, none=True)),
    "completeness": ("completeness", _one_of(Completeness)),
    "coalescing": ("coalescing", _one_of(Coalescing)),
    "release": ("release", lambda text: parse_release(text, "--contract")),
    "constraints": ("constraints", _constraints),
    "resize": ("resize", _one_of(Resize)),
    "exact-stats": ("exact_stats", _flag),
    "geometry": ("geometry", _one_of(Geometry)),
    "work": ("work", _one_of(Work, none=True)),
    "checks-frees": ("checks_frees", _flag),
    "limited": ("limited", _flag),
}


def parse_contract(text: str, declared: Contract | None = None) -> Contract:
    """Read ``name=value,...`` and return the declared contract with these changes, or the weakest contract with them.

    Raises:
        InvalidRequestError: For an unknown name or value.

    >>> contract = parse_contract("fit=best,release=retain(2),constraints=align+phase,exact-stats=no")
    >>> contract.fit.name, str(contract.release), contract.exact_stats, len(contract.constraints)
    ('BEST', 'retain(2)', False, 2)
    """
    contract = Contract(fit=None) if declared is None else declared
    for item in (item.strip() for item in text.split(",") if item.strip()):
        name, equals, value = item.partition("=")
        if not equals or name not in _FIELDS:
            raise InvalidRequestError("--contract", item, f"expected NAME=VALUE with one of {', '.join(_FIELDS)}")
        field, read = _FIELDS[name]
        contract = attrs.evolve(contract, **{field: read(value)})
    return contract


def describe_contract(contract: Contract) -> str:
    """Return a contract as text that :func:`parse_contract` reads.

    >>> parse_contract(describe_contract(Contract(fit=Fit.NEXT))) == Contract(fit=Fit.NEXT)
    True
    """

    def word(value: object) -> str:
        if value is None:
            return "none"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, frozenset):
            return "+".join(sorted(str(member.value) for member in value)) or "none"
        return str(value.value if isinstance(value, Enum) else value).replace(" ", "-")

    return ",".join(f"{name}={word(getattr(contract, field))}" for name, (field, _) in _FIELDS.items())
