"""Every exception that coalloc raises: one line for the reader, the data as attributes.

All derive from :class:`CoallocError`.  A call that raises leaves the object it was called on as it was
(invariant I11), its failure counters excepted; a refusal may besides have done what ``reclaim()`` does.
"""

from __future__ import annotations

import enum
import errno
import os
from collections.abc import Callable
from typing import Final

import attrs

from coalloc._html import preformatted

__all__ = [
    "BadFreeError",
    "Change",
    "CoallocError",
    "ExhaustionError",
    "Explanation",
    "FreeFault",
    "HoleVerdict",
    "InvalidRequestError",
    "InvariantViolation",
    "KvaLimitError",
    "MissingExtraError",
    "NoSpaceError",
    "PanicError",
    "PipeError",
    "ProgramError",
    "Remedy",
    "Rule",
    "SpanOverlapError",
    "Violation",
    "message",
]


LONGEST_MESSAGE: Final = 300
"""The most characters of a message."""


def message(text: str, most: int = LONGEST_MESSAGE) -> str:
    r"""Return a text as one line: what cannot be printed is escaped, and the middle of what is too long is left out.

    >>> message("a\tb\x1b[31m")
    'a\\tb\\x1b[31m'
    >>> message("x" * 400, 20)
    'xxxxxxxxxxxx...xxxxx'
    """
    text = _shortened(text, most)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return _shortened(text, most)


def _shortened(text: str, most: int) -> str:
    kept = most - 3
    return text if len(text) <= most else f"{text[: kept - kept // 3]}...{text[-(kept // 3) :]}"


class CoallocError(Exception):
    """Root of all exceptions raised by coalloc."""


class InvalidRequestError(CoallocError, ValueError):
    """Report an argument outside its legal range; nothing was changed.

    Args:
        what: Name of the argument.
        value: The value that was refused.
        reason: The rule that it breaks, in words.
    """

    def __init__(self, what: str, value: object, reason: str) -> None:
        super().__init__(what, value, reason)
        self.what = what
        self.value = value
        self.reason = reason

    def __str__(self) -> str:
        value = self.value[:LONGEST_MESSAGE] if isinstance(self.value, str | bytes) else self.value
        try:
            shown = repr(value)
        except ValueError:  # an int of thousands of digits
            shown = f"<{type(value).__name__}>"
        return message(f"{message(f'{self.what}={shown}', LONGEST_MESSAGE // 2)}: {self.reason}")


class FreeFault(enum.Enum):
    """Why an address cannot be freed."""

    NEVER_ALLOCATED = "never handed out"
    FREED_TWICE = "freed already"
    INSIDE_BUFFER = "inside a buffer"
    NOT_MAPPED = "not mapped"


class BadFreeError(CoallocError, ValueError):
    """Report an address that is not the base of a live buffer, or not mapped; nothing was changed.

    Args:
        address: The address at fault, in bytes.
        fault: Which of the mistakes it is.
        inside: ``(base, size)`` of the buffer that contains the address, where one does.
    """

    def __init__(self, address: int, fault: FreeFault, inside: tuple[int, int] | None = None) -> None:
        super().__init__(address, fault, inside)
        self.address = address
        self.fault = fault
        self.inside = inside

    def __str__(self) -> str:
        if self.fault is FreeFault.NOT_MAPPED:
            return f"address {self.address:#x} is not mapped"
        text = f"address {self.address:#x} is not the base of a live buffer: {self.fault.value}"
        if self.inside is not None:
            base, size = self.inside
            text += f" ({self.address - base} bytes into the buffer {base:#x}+{size})"
        return text


class SpanOverlapError(CoallocError, ValueError):
    """Report two ranges that may not overlap but do; nothing was changed.

    Args:
        wanted: ``(base, size)`` of the range asked for, in bytes.
        existing: ``(base, size)`` of what stands there, or None where nothing is mapped.
        reason: What the existing range is.
    """

    def __init__(self, wanted: tuple[int, int], existing: tuple[int, int] | None, reason: str) -> None:
        super().__init__(wanted, existing, reason)
        self.wanted = wanted
        self.existing = existing
        self.reason = reason

    def __str__(self) -> str:
        text = f"range {self.wanted[0]:#x}+{self.wanted[1]}: {self.reason}"
        if self.existing is not None:
            text += f" {self.existing[0]:#x}+{self.existing[1]}"
        return text


class MissingExtraError(CoallocError, ImportError):
    """Report that a feature needs an optional package that is not installed.

    Args:
        package: The package that could not be imported.
        extra: The extra of coalloc that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(package, extra)
        self.package = package
        self.extra = extra

    def __str__(self) -> str:
        return f"{self.package} is not installed; it comes with: pip install 'coalloc[{self.extra}]'"


class ProgramError(CoallocError, ValueError):
    """Report a program that cannot be read or is not valid; nothing of it was loaded.

    Args:
        reason: What is wrong.
        file: Name of the file, if there is one.
        line: Number of the line, from 1, if it is one line's fault.
    """

    def __init__(self, reason: str, file: str | None = None, line: int | None = None) -> None:
        super().__init__(reason, file, line)
        self.reason = reason
        self.file = file
        self.line = line

    def __str__(self) -> str:
        place = [part for part in (self.file, None if self.line is None else f"line {self.line}") if part]
        return message(
            ": ".join([message(", ".join(place), LONGEST_MESSAGE // 2), self.reason] if place else [self.reason])
        )


class PipeError(CoallocError, OSError):
    """Report that a pipe call failed as the system call would: ``errno`` is the kernel's.

    Args:
        number: The error number, such as ``errno.ENFILE``.
        call: The call that failed.
    """

    def __init__(self, number: int, call: str) -> None:
        super().__init__(number, os.strerror(number))
        self.call = call

    def __str__(self) -> str:
        return f"{self.call}: {errno.errorcode.get(self.errno or 0, '?')}: {self.strerror}"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.errno, self.call)


class PanicError(CoallocError):
    """Report that the kernel would have panicked: the caller has broken a rule that no error number expresses.

    Args:
        message: The text that the kernel prints or, if its text is not known, a description of what is wrong.
    """


# --- refusals ------------------------------------------------------------------------------------


class Rule(enum.Enum):
    """The rule that excludes a hole."""

    SIZE = "too small"
    ALIGN = "no aligned start leaves enough room"
    NOCROSS = "every start crosses a nocross boundary"
    LO = "ends before lo leaves enough room"
    HI = "starts too high for hi"


@attrs.frozen
class HoleVerdict:
    """One hole and the rule that excludes it (sizes and addresses in bytes)."""

    base: int
    size: int
    rule: Rule

    def __str__(self) -> str:
        return f"{self.base:#x}+{self.size}: {self.rule.value}"


class Change(enum.StrEnum):
    """What a remedy changes: the size asked for, the limit, or a constraint."""

    SIZE = "size"
    KVA_LIMIT = "kva_limit"
    ALIGN = "align"
    NOCROSS = "nocross"
    LO = "lo"
    HI = "hi"


@attrs.frozen
class Remedy:
    """The smallest change of one quantity that would make the refused request succeed.

    ``what`` is the quantity (its name will do); ``value`` is what it would have to be.  Each was tried
    on the state that refused, and the next smaller change fails there.  Two things it cannot know: where the source would
    put an arena (a constrained request's limit is one that suffices wherever that is), and what a source that is a space
    itself could give after draining its caches (there may then be a better remedy).
    """

    what: Change = attrs.field(converter=Change)
    value: int

    def __str__(self) -> str:
        verb = {Change.SIZE: "ask for at most", Change.KVA_LIMIT: "raise kva_limit to"}.get(self.what)
        return f"{verb} {self.value}" if verb else f"set {self.what} to {self.value}"


_SHOWN: Final = 3
"""Up to so many holes that one rule excludes are shown one by one."""


@attrs.frozen
class Explanation:
    """Why a request was refused: a verdict for every hole, the result of an import, and the changes that would help."""

    request: int
    verdicts: tuple[HoleVerdict, ...]
    import_verdict: str
    remedies: tuple[Remedy, ...]

    @property
    def nearest(self) -> HoleVerdict | None:
        """The hole that came nearest to serving the request: large enough if any is, and of those the largest."""
        return max(self.verdicts, key=lambda hole: (hole.rule is not Rule.SIZE, hole.size), default=None)

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        return preformatted(str(self))

    def __str__(self) -> str:
        lines = [f"no place for {self.request} bytes"]
        for rule in Rule:
            holes = [verdict for verdict in self.verdicts if verdict.rule is rule]
            if len(holes) <= _SHOWN:
                lines += [f"  hole {verdict}" for verdict in holes]
            else:
                sizes = [verdict.size for verdict in holes]
                span = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
                lines.append(f"  {len(holes)} holes of {span} bytes: {rule.value}")
        if not self.verdicts:
            lines.append("  there are no holes")
        if self.nearest is not None and len(self.verdicts) > _SHOWN:
            lines.append(f"  nearest: hole {self.nearest}")
        lines.append(f"  import: {self.import_verdict}")
        lines += [f"  would succeed: {remedy}" for remedy in self.remedies] or [
            "  no single change was found that would succeed"
        ]
        return "\n".join(lines)


class ExhaustionError(CoallocError, MemoryError):
    """Report that a legal request found no place.

    Args:
        request: Bytes asked for, rounded to the quantum.
        free: Bytes in holes.
        largest_hole: Bytes of the largest hole.
        mapped: Bytes mapped.
        kva_limit: The most that may be mapped, in bytes.
        explain: Makes the explanation when it is asked for; it must depend on frozen data only.
    """

    def __init__(
        self,
        request: int,
        *,
        free: int,
        largest_hole: int,
        mapped: int,
        kva_limit: int,
        explain: Callable[[], Explanation] | None = None,
    ) -> None:
        super().__init__(request)
        self.request = request
        self.free = free
        self.largest_hole = largest_hole
        self.mapped = mapped
        self.kva_limit = kva_limit
        self._explain = explain

    def __str__(self) -> str:
        return (
            f"no place for {self.request} bytes: {self.free} free (largest hole {self.largest_hole}), "
            f"{self.mapped} mapped of at most {self.kva_limit}"
        )

    @property
    def explained(self) -> bool:
        """Whether the refusal came with an explanation."""
        return self._explain is not None

    def explain(self) -> Explanation:
        """Return for every hole the rule that excludes it, and the smallest changes that would succeed.

        The explanation describes the state at the moment of the refusal, even if it is requested later.
        """
        if self._explain is None:
            return Explanation(self.request, (), "not tried", ())
        return self._explain()

    def __reduce__(self) -> tuple[object, ...]:
        return (
            _rebuild,
            (type(self), self.request, self.free, self.largest_hole, self.mapped, self.kva_limit, self.explain()),
        )


def _rebuild(
    kind: type[ExhaustionError],
    request: int,
    free: int,
    largest_hole: int,
    mapped: int,
    kva_limit: int,
    explanation: Explanation,
) -> ExhaustionError:
    """Make a refusal again from its data; pickling uses this, since it cannot pickle a closure."""
    return kind(
        request,
        free=free,
        largest_hole=largest_hole,
        mapped=mapped,
        kva_limit=kva_limit,
        explain=lambda: explanation,
    )


class KvaLimitError(ExhaustionError):
    """Report a refusal by the limit: the source was not asked, since ``kva_limit`` forbids it."""


class NoSpaceError(ExhaustionError):
    """Report that no hole admits the request and that the source has no room for an arena."""


# --- broken invariants ---------------------------------------------------------------------------


@attrs.frozen
class Violation:
    """One broken invariant: its code (I1 .. I13, PI1 .. PI5, MI1) and what was seen."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class InvariantViolation(CoallocError):  # noqa: N818 (what happened, not a mistake of the caller)
    """Report that ``check()`` found broken invariants.

    Args:
        violations: All that were found.
        dump: A picture of the object, for the reader.
    """

    def __init__(self, violations: tuple[Violation, ...], dump: str = "") -> None:
        super().__init__(violations, dump)
        self.violations = violations
        self.dump = dump

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the broken invariants, sorted, each once."""
        return tuple(sorted({violation.code for violation in self.violations}))

    def __str__(self) -> str:
        lines = [str(violation) for violation in self.violations]
        return "\n".join([*lines, self.dump] if self.dump else lines)
