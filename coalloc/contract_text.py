"""Contracts as text: what the command line reads and prints, and what an allocator in C declares."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, TypeVar

import attrs

from coalloc.contract import (
    Coalescing,
    Completeness,
    Constraint,
    Contract,
    End,
    Fit,
    Geometry,
    Law,
    Resize,
    Rounding,
    Spans,
    Tie,
    Work,
    member_named,
    parse_release,
)
from coalloc.errors import InvalidRequestError

__all__ = ["describe_contract", "parse_contract", "parse_release"]

_E = TypeVar("_E", bound=Enum)


def _one_of(kind: type[_E], *, none: bool = False) -> Callable[[str], _E | None]:
    def read(text: str) -> _E | None:
        if none and text == "none":
            return None
        member = member_named(kind, text)
        if member is not None:
            return member
        words = [str(member.value).replace(" ", "-") for member in kind] + ["none"] * none
        raise InvalidRequestError("--contract", text, f"must be one of {', '.join(words)}")

    return read


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


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,20}", text):
        raise InvalidRequestError("--contract", text, "must be a number")
    return int(text)


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d{1,20}|0x[0-9a-f]{1,16})([KMG]?)", text)
    if found is None:
        raise InvalidRequestError("--contract", text, "must be bytes, such as 4096, 0x1000, 64K, 1M or 1G")
    return int(found[1], 16 if found[1].startswith("0x") else 10) << {"": 0, "K": 10, "M": 20, "G": 30}[found[2]]


def _or_none(read: Callable[[str], int]) -> Callable[[str], int | None]:
    return lambda text: None if text == "none" else read(text)


_bytes_or_none: Final = _or_none(_bytes)
_number_or_none: Final = _or_none(_number)


def _classes(text: str) -> tuple[int, ...]:
    return () if text == "none" else tuple(_bytes(word) for word in text.split("+"))


def _excluded(text: str) -> tuple[tuple[int, int], ...]:
    if text == "none":
        return ()
    if not re.fullmatch(r"(0x[\da-f]+-0x[\da-f]+\+?)+", text):
        raise InvalidRequestError("--contract", text, "must be ranges such as 0x0-0xfff+0xa0000-0xfffff")
    return tuple(
        (int(first, 16), int(last, 16)) for first, last in (pair.split("-") for pair in text.split("+") if pair)
    )


def _laws(text: str) -> frozenset[Law] | None:
    if text in ("implied", "none", "all"):
        return {"implied": None, "none": frozenset[Law](), "all": frozenset(Law)}[text]
    read = _one_of(Law)
    return frozenset(member for word in text.split("+") if (member := read(word)) is not None)


def _completeness(text: str) -> Completeness:
    lists = re.fullmatch(r"tlsf\((\d{1,6})\)", text)
    if lists and int(lists[1]):
        return Completeness.TLSF(int(lists[1]))
    if text not in ("exact", "class", "best-effort"):
        raise InvalidRequestError("--contract", text, "must be exact, class, tlsf(N) or best-effort")
    return Completeness(text)


_FIELDS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "fit": ("fit", _one_of(Fit, none=True)),
    "end": ("end", _one_of(End)),
    "tie": ("tie", _one_of(Tie, none=True)),
    "two-ended": ("two_ended", _bytes),
    "completeness": ("completeness", _completeness),
    "coalescing": ("coalescing", _one_of(Coalescing)),
    "release": ("release", lambda text: parse_release(text, "--contract")),
    "constraints": ("constraints", _constraints),
    "resize": ("resize", _one_of(Resize)),
    "exact-stats": ("exact_stats", _flag),
    "geometry": ("geometry", _one_of(Geometry)),
    "largest-block": ("largest_block", _bytes_or_none),
    "rounding": ("rounding", _one_of(Rounding)),
    "classes": ("classes", _classes),
    "doubling": ("doubling", _flag),
    "header": ("header", _bytes),
    "guard": ("guard", _bytes),
    "least": ("least", _bytes),
    "remainder": ("remainder", _bytes),
    "max-size": ("max_size", _bytes_or_none),
    "max-segments": ("max_segments", _number_or_none),
    "reserve": ("reserve", _bytes),
    "reserve-percent": ("reserve_percent", _number),
    "spans": ("spans", _one_of(Spans)),
    "arena": ("arena", _bytes_or_none),
    "arena-head": ("arena_head", _bytes),
    "arena-tail": ("arena_tail", _bytes),
    "ahead": ("ahead", _flag),
    "excluded": ("excluded", _excluded),
    "reclaims": ("reclaims", _flag),
    "retries": ("retries", _flag),
    "deterministic": ("deterministic", _flag),
    "laws": ("laws", _laws),
    "work": ("work", _one_of(Work, none=True)),
    "checks-frees": ("checks_frees", _flag),
    "reentrant": ("reentrant", _flag),
    "limited": ("limited", _flag),
}
"""The fields by the names that they have in the text form, with the readers of their values."""

_DEFAULTS: Final = Contract(fit=None)
_ALWAYS: Final = ("fit", "tie", "completeness", "coalescing", "release", "constraints", "resize", "exact-stats", "geometry",
                  "work", "checks-frees", "limited")  # fmt: skip
"""The fields that the text form always names; it names the others where they are not as made."""


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

    def word(name: str, value: object) -> str:
        if value is None:
            return "implied" if name == "laws" else "none"
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, frozenset):
            return "+".join(sorted(str(member.value) for member in value)) or "none"
        if isinstance(value, tuple):
            words = (f"{item[0]:#x}-{item[1]:#x}" if isinstance(item, tuple) else str(item) for item in value)
            return "+".join(words) or "none"
        return str(value.value if isinstance(value, Enum) else value).replace(" ", "-")

    return ",".join(
        f"{name}={word(name, value)}"
        for name, (field, _) in _FIELDS.items()
        if (value := getattr(contract, field)) != getattr(_DEFAULTS, field) or name in _ALWAYS
    )
