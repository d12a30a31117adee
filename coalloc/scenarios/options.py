"""`Option` and its kinds: what a scenario may be given, as plain data from which a command line can be made.

A kind says two things: the type in which a command line takes the option (``given``), and how what was given becomes the value
that the run gets (``read``).  What cannot be read is refused with the option's name, before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import attrs

from coalloc.designs import DESIGNS, find_designs
from coalloc.errors import InvalidRequestError
from coalloc.pipes.design import Design
from coalloc.pipes.eras import KernelState
from coalloc.pipes.states import ERAS, STATES
from coalloc.sched.lockprof import LOCK_PROFILING, MUTEX_PROFILING, ProfileStyle
from coalloc.units import PAGE_SIZE, parse_size

__all__ = [
    "CPUS",
    "ERA",
    "ERAS_OPTION",
    "LIMIT",
    "SEED",
    "STYLES",
    "Choice",
    "DesignName",
    "DesignNames",
    "EraName",
    "EraNames",
    "Flag",
    "Float",
    "Int",
    "Kind",
    "Names",
    "Option",
    "PlotFile",
    "Size",
    "Text",
    "designs_option",
]


class Kind(Protocol):
    """What may be given for an option."""

    given: ClassVar[Any]
    """The type in which a command line takes it, such as ``int`` or ``str``."""

    def read(self, option: str, given: object) -> object:
        """Return the value that the run gets.

        Args:
            option: The option's name as users know it, for errors.
            given: What they gave.

        Raises:
            InvalidRequestError: If it is no value of this kind.
        """


@attrs.frozen
class Int:
    """A whole number; the run checks its range."""

    given: ClassVar[Any] = int

    def read(self, option: str, given: object) -> int:
        """Return the number."""
        if type(given) is not int:
            raise InvalidRequestError(option, given, "must be an int")
        return given


@attrs.frozen
class Float:
    """A number; the run checks its range."""

    given: ClassVar[Any] = float

    def read(self, option: str, given: object) -> float:
        """Return the number."""
        if isinstance(given, bool) or not isinstance(given, int | float):
            raise InvalidRequestError(option, given, "must be a number")
        return float(given)


@attrs.frozen
class Text:
    """Any text; the run knows what to do with it."""

    given: ClassVar[Any] = str

    def read(self, option: str, given: object) -> str:
        """Return the text."""
        if not isinstance(given, str):
            raise InvalidRequestError(option, given, "must be text")
        return given


@attrs.frozen
class Flag:
    """On or off."""

    given: ClassVar[Any] = bool

    def read(self, option: str, given: object) -> bool:
        """Return whether it is on."""
        if type(given) is not bool:
            raise InvalidRequestError(option, given, "must be true or false")
        return given


@attrs.frozen
class Size:
    """A size of at least a page, in bytes or as text such as 64M, 8704000 or 512KiB."""

    given: ClassVar[Any] = str

    def read(self, option: str, given: object) -> int:
        """Return the bytes."""
        try:
            size = given if isinstance(given, int) else parse_size(Text().read(option, given))
        except InvalidRequestError as error:
            raise InvalidRequestError(option, given, error.reason) from None
        if size < PAGE_SIZE:
            raise InvalidRequestError(option, given, f"must be at least a page, {PAGE_SIZE} bytes")
        return size


@attrs.frozen
class Choice:
    """One of some names.

    Args:
        names: The names, looked up when a value is read.
        noun: What they name, such as ``fix``; says "is no fix" in errors.
        optional: Whether the empty text is a value, too.
    """

    names: Iterable[str]
    noun: str = ""
    optional: bool = False
    given: ClassVar[Any] = str

    def read(self, option: str, given: object) -> str:
        """Return the name."""
        names = tuple(self.names)
        if given in names or (self.optional and given == ""):
            return str(given)
        if self.noun:
            raise InvalidRequestError(option, given, f"is no {self.noun}; there are {', '.join(names)}")
        raise InvalidRequestError(option, given, f"must be {' or '.join(names)}")


@attrs.frozen
class Names:
    """Any number of some names, without a comma in them; all of them if none is given.

    Args:
        names: The names, looked up when a value is read.
        noun: What they name; says "is no window" in errors.
    """

    names: Iterable[str]
    noun: str
    given: ClassVar[Any] = list[str] | None

    def read(self, option: str, given: object) -> tuple[str, ...]:
        """Return the names in the order given."""
        one = Choice(self.names, self.noun)
        return tuple(one.read(option, name) for name in (_listed(option, given) if given else self.names))


@attrs.frozen
class EraName:
    """The name of one kernel state; most are eras of FreeBSD."""

    given: ClassVar[Any] = str

    def read(self, option: str, given: object) -> KernelState:
        """Return the state; one that is given as such is returned as it is."""
        if isinstance(given, KernelState):
            return given
        if given in STATES:
            return STATES[str(given)]
        raise InvalidRequestError(option, given, f"is no era; there are {', '.join(STATES)}")


@attrs.frozen
class EraNames:
    """The names of eras, separated by commas, or ``all``."""

    given: ClassVar[Any] = str

    def read(self, option: str, given: object) -> tuple[KernelState, ...]:
        """Return the eras; an era, or some, that are given as such are returned as they are."""
        if given == "all":
            return tuple(ERAS.values())
        one = EraName()
        return tuple(one.read(option, era) for era in _listed(option, given))


@attrs.frozen
class DesignNames:
    """The names of designs, separated by commas.

    Args:
        freebsd: Whether to refuse designs that have another kernel's pipe policy, since they cannot stand in for FreeBSD's.
    """

    freebsd: bool = False
    given: ClassVar[Any] = str

    def read(self, option: str, given: object) -> tuple[Design, ...]:
        """Return the designs; a design, or some, that are given as such are returned as they are."""
        chosen: tuple[Design, ...]
        chosen = find_designs(given, option) if isinstance(given, str) else tuple(_listed(option, given))
        for design in chosen:
            if not isinstance(design, Design):
                raise InvalidRequestError(option, design, "is no design")
            if self.freebsd and design.state is not None:
                offered = ", ".join(name for name, other in DESIGNS.items() if other.state is None)
                raise InvalidRequestError(option, design.name, f"is another kernel's; there are {offered}")
        return chosen


@attrs.frozen
class DesignName:
    """The name of one design that follows FreeBSD's pipe policy."""

    given: ClassVar[Any] = str

    def read(self, option: str, given: object) -> Design:
        """Return the design; one that is given as such is returned as it is."""
        chosen = DesignNames(freebsd=True).read(option, given)
        if len(chosen) > 1:
            raise InvalidRequestError(option, given, "one design runs at a time")
        return chosen[0]


@attrs.frozen
class PlotFile:
    """The file to draw the result's curves into, or None; the command line draws them, not the run."""

    given: ClassVar[Any] = Path | None

    def read(self, option: str, given: object) -> Path | None:
        """Return the path."""
        if given is None:
            return None
        if not isinstance(given, str | PathLike):
            raise InvalidRequestError(option, given, "must be a path")
        return Path(given)


@attrs.frozen
class Option:
    """One thing that a scenario may be given.

    Args:
        name: The name of the run's parameter; on a command line ``max_size`` is ``--max-size``.
        kind: What may be given.
        default: What is given where nobody gives anything.
        help: What it means, in a sentence.
        metavar: For what stands on the command line without a name: how the usage line shows it, such as ``[NAME]...``.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    metavar: str = ""

    @property
    def label(self) -> str:
        """The option's name as users know it."""
        return self.metavar.strip("[].") or f"--{self.name.replace('_', '-')}"

    def read(self, given: object) -> object:
        """Return the value that the run gets.

        Raises:
            InvalidRequestError: If what was given cannot be read; it names the option.
        """
        return self.kind.read(self.label, given)


def _listed(option: str, given: object) -> Iterable[Any]:
    """Return the members of a list: of names that are separated by commas, of values, or of one value."""
    if isinstance(given, str):
        return [name.strip() for name in given.split(",")]
    if isinstance(given, KernelState | Design):
        return [given]
    if not isinstance(given, Iterable):
        raise InvalidRequestError(option, given, "must be names separated by commas")
    return given


STYLES: Final[Mapping[str, ProfileStyle]] = {"lock": LOCK_PROFILING, "mutex": MUTEX_PROFILING}
"""The tables of lock profiles, by the names that users give them."""

# --- options that several scenarios have ---------------------------------------------------------------------

SEED: Final = Option("seed", Int(), 0, "Seed of everything that is drawn at random.")
CPUS: Final = Option("cpus", Int(), 2, "CPUs of the simulated machine.")
LIMIT: Final = Option("limit", Size(), "32M", "maxpipekva, such as 64M, 8704000 or 512KiB.")
ERA: Final = Option("era", EraName(), "2004-01", f"Whose pipe policy: {', '.join(ERAS)}.")
ERAS_OPTION: Final = Option("era", EraNames(), "all", f"Comma-separated, or all; there are {', '.join(ERAS)}.")


def designs_option(default: str = "per-pipe,coalescing", *, freebsd: bool = False) -> Option:
    """Return the option that names the designs to compare.

    Args:
        default: The designs that are compared where nobody names any.
        freebsd: Whether to refuse designs that have another kernel's pipe policy.
    """
    return Option("designs", DesignNames(freebsd), default, f"Comma-separated; there are {', '.join(DESIGNS)}.")
