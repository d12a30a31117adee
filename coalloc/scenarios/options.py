"""`Option` and its kinds: the options of a scenario, as plain data from which a command line can be made.

A kind defines the type in which a command line takes the option (``given``), and how the given value is turned into the value
that the run gets (``read``).  A value that cannot be read is refused with the option's name before anything runs.
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
from coalloc.vm.costs import COSTS, CostModel, load_costs

__all__ = [
    "CPUS",
    "ERA",
    "ERAS_OPTION",
    "LIMIT",
    "PRICES",
    "SEED",
    "STYLES",
    "Choice",
    "Counts",
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
    "Prices",
    "Size",
    "Text",
    "TRACE",
    "TraceFile",
    "designs_option",
]


class Kind(Protocol):
    """The kind of an option: which values may be given for it."""

    given: ClassVar[Any]
    """The type in which a command line takes the option, such as ``int`` or ``str``."""

    def read(self, option: str, given: object) -> object:
        """Return the value that the run gets.

        Args:
            option: The option's name as users know it, for errors.
            given: The value that was given.

        Raises:
            InvalidRequestError: If it is not a value of this kind.
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
class Counts:
    """Numbers >= 1, separated by commas; ``...`` goes on as the two before it, up to the one behind it.

    >>> Counts().read("--cpus", "1,2,4,...,32"), Counts().read("--cpus", "2,4,6,...,10")
    ((1, 2, 4, 8, 16, 32), (2, 4, 6, 8, 10))
    """

    given: ClassVar[Any] = str

    def read(self, option: str, given: object) -> tuple[int, ...]:
        """Return the numbers; numbers are returned unchanged."""
        words = given.split(",") if isinstance(given, str) else [str(each) for each in _listed(option, given)]
        found: list[int] = []
        for at, word in enumerate(map(str.strip, words)):
            if word == "..." and len(found) > 1 and at + 2 == len(words):
                found += _between(found, words[-1].strip())
            elif word.isdecimal() and len(word) < 7 and int(word) >= 1:
                found.append(int(word))
            else:
                raise InvalidRequestError(option, given, f"{word[:20]!r} is no number >= 1; such as 1,2,4,...,256")
        if len(set(found)) < len(found):
            raise InvalidRequestError(option, given, "a number stands twice")
        return tuple(found)


def _between(found: list[int], last: str) -> list[int]:
    """Return what lies between numbers and a last one, if they go on by factors or by differences."""
    least, most = found[-2:]
    end = int(last) if last.isdecimal() and len(last) < 7 else 0
    doubles = len(found) == 2 or found[-1] * found[-3] == found[-2] ** 2
    further: list[int] = []
    while most > least:
        step = most * most // least if doubles and most % least == 0 else 2 * most - least
        if step >= end:
            break
        further.append(step)
        least, most = most, step
    return further


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
    """Any text; the run interprets it."""

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
        noun: The word for the things named, such as ``fix``; errors say "is no fix".
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
    """Any number of names without a comma; all names if none is given.

    Args:
        names: The names, looked up when a value is read.
        noun: The word for the things named, such as ``window``; errors say "is no window".
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
        """Return the state with this name; a state is returned unchanged."""
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
        """Return the eras with these names; an era, or a list of eras, is returned unchanged."""
        if given == "all":
            return tuple(ERAS.values())
        one = EraName()
        return tuple(one.read(option, era) for era in _listed(option, given))


@attrs.frozen
class DesignNames:
    """The names of designs, separated by commas.

    Args:
        freebsd: Whether to refuse designs with another kernel's pipe policy, which cannot replace FreeBSD's.
    """

    freebsd: bool = False
    given: ClassVar[Any] = str

    def read(self, option: str, given: object) -> tuple[Design, ...]:
        """Return the designs with these names; a design, or a list of designs, is returned unchanged."""
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
        """Return the design with this name; a design is returned unchanged."""
        chosen = DesignNames(freebsd=True).read(option, given)
        if len(chosen) > 1:
            raise InvalidRequestError(option, given, "one design runs at a time")
        return chosen[0]


@attrs.frozen
class Prices:
    """Prices: the name of a preset, or a file that ``coalloc costs measure -o`` wrote."""

    given: ClassVar[Any] = str

    def read(self, option: str, given: object) -> CostModel:
        """Return the prices; prices are returned unchanged."""
        if isinstance(given, CostModel):
            return given
        text = Text().read(option, given)
        if text in COSTS:
            return COSTS[text]
        if not Path(text).is_file():
            raise InvalidRequestError(option, text, "there is no such file")
        return load_costs(text)


@attrs.frozen
class PlotFile:
    """The file for a picture of the result's curves, or None; the command line draws it, not the run."""

    given: ClassVar[Any] = Path | None

    def read(self, option: str, given: object) -> Path | None:
        """Return the path."""
        if given is None:
            return None
        if not isinstance(given, str | PathLike):
            raise InvalidRequestError(option, given, "must be a path")
        return Path(given)


@attrs.frozen
class TraceFile:
    """The file for a trace of the result's timeline, or None; the command line writes it, not the run."""

    given: ClassVar[Any] = Path | None

    def read(self, option: str, given: object) -> Path | None:
        """Return the path."""
        return PlotFile().read(option, given)


@attrs.frozen
class Option:
    """One option of a scenario.

    Args:
        name: The name of the run's parameter; on a command line ``max_size`` is ``--max-size``.
        kind: The kind of its values.
        default: The value if none is given.
        help: Its meaning, in a sentence.
        metavar: For a positional argument of the command line: how the usage line shows it, such as ``[NAME]...``.
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
            InvalidRequestError: If the given value cannot be read; the error names the option.
        """
        return self.kind.read(self.label, given)


def _listed(option: str, given: object) -> Iterable[Any]:
    """Return a list's members; the list may be names separated by commas, several values, or one value."""
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
TRACE: Final = Option("perfetto", TraceFile(), None, "Write a trace of the last run, for ui.perfetto.dev: FILE.json.")
PRICES: Final = Option(
    "costs", Prices(), "measured", "Prices: a file that costs measure -o wrote, or a preset: measured, unit."
)
LIMIT: Final = Option("limit", Size(), "32M", "maxpipekva, such as 64M, 8704000 or 512KiB.")
ERA: Final = Option("era", EraName(), "2004-01", f"Whose pipe policy: {', '.join(ERAS)}.")
ERAS_OPTION: Final = Option("era", EraNames(), "all", f"Comma-separated, or all; there are {', '.join(ERAS)}.")


def designs_option(default: str = "per-pipe,coalescing", *, freebsd: bool = False) -> Option:
    """Return the option that names the designs to compare.

    Args:
        default: The designs that are compared if none are named.
        freebsd: Whether to refuse designs with another kernel's pipe policy.
    """
    return Option("designs", DesignNames(freebsd), default, f"Comma-separated; there are {', '.join(DESIGNS)}.")
