"""Options of scenarios: what each kind reads, and how it refuses the rest."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from coalloc.designs import DESIGNS
from coalloc.errors import InvalidRequestError
from coalloc.pipes.states import ERAS
from coalloc.scenarios.options import (
    Choice,
    DesignName,
    DesignNames,
    EraName,
    EraNames,
    Flag,
    Float,
    Int,
    Kind,
    Names,
    Option,
    PlotFile,
    Prices,
    Size,
    Text,
)
from coalloc.vm.costs import COSTS, save_costs

FRUIT = {"apple": 1, "pear": 2}
OLD, NEW = ERAS["2004-01"], ERAS["current"]
PLAIN, VMEM = DESIGNS["per-pipe"], DESIGNS["vmem"]


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (Int(), 7, 7),
        (Float(), 0.5, 0.5),
        (Float(), 2, 2.0),
        (Text(), "", ""),
        (Flag(), True, True),
        (Size(), "64K", 65536),
        (Size(), 4096, 4096),
        (Choice(FRUIT), "pear", "pear"),
        (Choice(FRUIT, optional=True), "", ""),
        (Names(FRUIT, "fruit"), None, ("apple", "pear")),
        (Names(FRUIT, "fruit"), ["pear"], ("pear",)),
        (Names(FRUIT, "fruit"), "pear, apple", ("pear", "apple")),
        (EraName(), "current", NEW),
        (EraName(), OLD, OLD),
        (EraNames(), "all", tuple(ERAS.values())),
        (EraNames(), "current, 2004-01", (NEW, OLD)),
        (EraNames(), OLD, (OLD,)),
        (EraNames(), [NEW, "2004-01"], (NEW, OLD)),
        (DesignNames(), "vmem,linux", (VMEM, DESIGNS["linux"])),
        (DesignNames(freebsd=True), VMEM, (VMEM,)),
        (DesignNames(), (PLAIN, VMEM), (PLAIN, VMEM)),
        (DesignName(), "vmem", VMEM),
        (PlotFile(), None, None),
        (PlotFile(), "x.svg", Path("x.svg")),
    ],
)
def test_a_kind_reads_what_users_and_programs_give(kind: Kind, given: object, value: object) -> None:
    """Text as on a command line is read, and values of the kind are taken as they are."""
    read = kind.read("--x", given)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (Int(), "7", "--x='7': must be an int"),
        (Int(), True, "must be an int"),
        (Float(), True, "must be a number"),
        (Float(), "x", "must be a number"),
        (Text(), 5, "--x=5: must be text"),
        (Flag(), 1, "must be true or false"),
        (Size(), "x", "--x='x': "),
        (Size(), None, "must be text"),
        (Size(), "1", "must be at least a page, 4096 bytes"),
        (Choice(FRUIT), "fig", "--x='fig': must be apple or pear"),
        (Choice(FRUIT, "fruit"), "", "is no fruit; there are apple, pear"),
        (Names(FRUIT, "fruit"), ["fig"], "--x='fig': is no fruit; there are apple, pear"),
        (EraName(), "1999", "--x='1999': is no era; there are 2003-07"),
        (EraNames(), 5, "--x=5: must be names separated by commas"),
        (DesignNames(), "vmem,zzz", "--x='zzz': is no design"),
        (DesignNames(), [5], "--x=5: is no design"),
        (DesignNames(freebsd=True), "linux", "--x='linux': is another kernel's; there are per-pipe"),
        (DesignName(), "vmem,buddy", "one design runs at a time"),
        (PlotFile(), 5, "must be a path"),
    ],
)
def test_a_kind_refuses_the_rest_and_names_the_option(kind: Kind, given: object, words: str) -> None:
    """The message begins with the option's name as users know it."""
    with pytest.raises(InvalidRequestError) as caught:
        kind.read("--x", given)
    assert str(caught.value).startswith("--x=")
    assert words in str(caught.value)


def test_names_are_looked_up_when_they_are_read() -> None:
    """A name that is added after the option was declared is found."""
    names = {"a": 0}
    kind = Choice(names)
    names["b"] = 1
    assert kind.read("--x", "b") == "b"


def test_an_option_is_known_by_its_flag_or_its_metavar() -> None:
    """Underscores become dashes, and brackets and dots of a metavar are left out."""
    assert Option("max_size", Int(), 0, "").label == "--max-size"
    assert Option("names", Names(FRUIT, "fruit"), None, "", "[NAME]...").label == "NAME"
    with pytest.raises(InvalidRequestError, match=r"^--max-size="):
        Option("max_size", Int(), 0, "").read("x")


def test_an_era_without_a_kernel_around_it_is_refused() -> None:
    """An era without a kernel around its pipes is refused in one line instead of a KeyError."""
    assert NEW.surroundings is NEW.around
    with pytest.raises(InvalidRequestError, match="has no kernel around its pipes"):
        attrs.evolve(NEW, name="tomorrow", around=None).surroundings  # noqa: B018


def test_prices_are_a_preset_or_a_file(tmp_path: Path) -> None:
    """A file is one that costs measure wrote; prices are returned as they are."""
    save_costs(COSTS["unit"], tmp_path / "prices.json")
    assert Prices().read("--costs", str(tmp_path / "prices.json")) == COSTS["unit"]
    assert Prices().read("--costs", "measured") is COSTS["measured"]
    assert Prices().read("--costs", COSTS["unit"]) is COSTS["unit"]
    with pytest.raises(InvalidRequestError, match="there is no such file"):
        Prices().read("--costs", "none.json")
