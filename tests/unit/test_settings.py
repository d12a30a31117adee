"""Settings: which combinations a grid has, and what the values of parameters are read as."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coalloc import EAGER, NEVER, RETAIN, CoalescingSpace, Design, Fit, InvalidRequestError, KiB, MiB
from coalloc.cli.jobs import process_pool
from coalloc.contract import RETAIN_BYTES
from coalloc.designs import DESIGNS, of_factory
from coalloc.experiments.settings import Grid, Setting, design_of, plain, read_value, read_vary
from coalloc.experiments.sweeps import key_of, sweep
from coalloc.space.protocol import Space
from coalloc.vm.source import Source
from coalloc.workload.generators import hackbench


def mine(source: Source, kva_limit: int, arena: int = 1 << 20, *, order: str = "first", eager: bool = False) -> Space:
    """A stranger's factory, with a parameter that may be given by place."""
    return CoalescingSpace(
        source, kva_limit=kva_limit, arena_size=arena, fit=Fit(order), release=EAGER if eager else NEVER
    )


def anything(source: Source, *, kva_limit: int, **settings: Any) -> Space:
    """A stranger's factory that passes everything on."""
    return CoalescingSpace(source, kva_limit=kva_limit, **settings)


def test_a_grid_has_every_combination_once_and_equal_loads_together() -> None:
    """The load varies slowest; a single copy stands once, whatever the number of seeds."""
    grid = Grid(["coalescing"], {"fit": (Fit.BEST, Fit.FIRST)}, limits=(MiB, 2 * MiB), copies=(1, 3), seeds=2)
    settings = list(grid)
    assert len(settings) == len(set(settings)) == 2 * 2 + 2 * 2 * 2
    loads = [(setting.copies, setting.limit, setting.seed) for setting in settings]
    assert loads == sorted(loads)
    assert {setting.seed for setting in settings if setting.copies == 1} == {0}


def test_a_design_takes_only_the_parameters_that_it_has() -> None:
    """One mapping for each buffer has no arena size, so it stands once."""
    grid = Grid(["per-pipe", DESIGNS["vmem"], "coalescing"], {"arena_size": (MiB, 4 * MiB), "qcache_max": (0, 4 * KiB)})
    assert [setting.name for setting in grid] == [
        "per-pipe", "vmem(qcache_max=0)", "vmem(qcache_max=4K)", "coalescing(arena_size=1M)", "coalescing(arena_size=4M)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Grid([]), "designs"),
        (lambda: Grid(["vmem", DESIGNS["vmem"]]), "designs"),
        (lambda: Grid(["vmem"], {"qcache_max": ()}), "qcache_max"),
        (lambda: Grid(["vmem"], {"qcache_max": (0, 0)}), "qcache_max"),
        (lambda: Grid(["vmem"], {"arena_size": (MiB,)}), "vary"),
        (lambda: Grid(["per-pipe"], {"arena_size": (MiB,)}), "vary"),
        (lambda: Grid(["vmem"], eras=("1066",)), "era"),
        (lambda: Grid(["vmem"], seeds=0), "seeds"),
        (lambda: Grid(["nothing"]), "designs"),
    ],
)  # fmt: skip
def test_a_grid_in_which_something_is_wrong_is_refused(make: Callable[[], Grid], what: str) -> None:
    """The error names the list."""
    with pytest.raises(InvalidRequestError) as caught:
        make()
    assert caught.value.what == what


def test_a_strangers_parameters_can_be_varied() -> None:
    """Keywords, parameters with a default that may be given by place, and any name where any keyword is taken."""
    place, keywords = of_factory("mine", mine), of_factory("anything", anything)
    assert set(place.parameters) == {"arena", "order", "eager"}
    vary = read_vary(["arena=1M,2M", "order=best", "eager=yes"])
    assert vary == {"arena": ("1M", "2M"), "order": ("best",), "eager": ("yes",)}
    assert [setting.parameters for setting in Grid([place], vary)] == [
        (("arena", size), ("eager", True), ("order", "best")) for size in (MiB, 2 * MiB)
    ]
    grid = list(Grid([place], {"arena": (MiB, 2 * MiB), "eager": (True,)}))
    assert [setting.name for setting in grid] == ["mine(arena=1M, eager=True)", "mine(arena=2M, eager=True)"]
    assert design_of(grid[0]).factory is not None
    assert next(iter(Grid([keywords], {"fit": (Fit.NEXT,)}))).name == "anything(fit=next)"


def with_default(default: object) -> inspect.Parameter:
    """Return a parameter with this default."""
    return inspect.Parameter("it", inspect.Parameter.KEYWORD_ONLY, default=default)


READ = [
    (Fit.BEST, "first", Fit.FIRST), (Fit.BEST, "class-best", Fit.CLASS_BEST), (EAGER, "retain:2", RETAIN(2)),
    (EAGER, "retain(2)", RETAIN(2)), (EAGER, "never", NEVER), (EAGER, "retain-bytes:4096", RETAIN_BYTES(4096)),
    (4, "64K", 65536), (4, "0", 0), (4, "none", None), (True, "no", False), ("x", "12", "12"), (0.5, "2", 2.0),
    (0.5, "0.25", 0.25),
    (None, "none", None), (None, "1.5", 1.5), (None, "yes", True), (None, "word", "word"),
]  # fmt: skip


@pytest.mark.parametrize(("default", "text", "value"), READ, ids=lambda value: str(value))
def test_a_value_is_read_as_what_the_default_is(default: object, text: str, value: object) -> None:
    """Members of an Enum, release rules, sizes, numbers, flags and text."""
    got = read_value("it", text, with_default(default))
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("default", "text"),
    [(Fit.BEST, "worst of all"), (EAGER, "sometimes"), (4, "many"), (True, "perhaps"), (0.5, "half"), (4, "1.5")],
)
def test_a_value_of_another_kind_is_refused(default: object, text: str) -> None:
    """The error names the parameter."""
    with pytest.raises(InvalidRequestError) as caught:
        read_value("it", text, with_default(default))
    assert caught.value.what == "it"


@pytest.mark.parametrize("text", ["arena_size", "=1M", "arena_size=", "arena_size=1M"])
def test_what_is_to_vary_is_written_as_name_and_values(text: str) -> None:
    """A name may not stand twice."""
    with pytest.raises(InvalidRequestError, match=r"must be NAME=VALUE|stands twice"):
        read_vary(["arena-size=1M", text])


def shaped(source: Source, *, kva_limit: int, fit: int = 1, depth: int = -1) -> Space:
    """A factory whose fit is a number."""
    return CoalescingSpace(source, kva_limit=kva_limit * fit + 0 * depth)


def test_each_design_reads_values_as_its_own_parameter_wants_them() -> None:
    """A fit is a member of an Enum for one design and a number for another, which one text cannot be."""
    number = of_factory("shaped", shaped)
    with pytest.raises(InvalidRequestError, match="must be a number"):
        list(Grid([DESIGNS["coalescing"], number], {"fit": ("best",)}))
    assert [setting.parameters for setting in Grid([number], {"fit": ("2",), "depth": ("-1", "-2")})] == [
        (("depth", depth), ("fit", 2)) for depth in (-1, -2)
    ]
    (setting,) = Grid(["coalescing"], {"fit": ("FIRST",)})
    assert setting.parameters == (("fit", "first"),)
    assert design_of(setting).settings == (("fit", Fit.FIRST),)
    assert design_of(Setting("coalescing", (("fit", Fit.NEXT),))).settings == (("fit", Fit.NEXT),)


def test_values_are_different_if_their_kinds_are() -> None:
    """0 and no are two values; 1M and 1024K are one."""
    keywords = of_factory("anything", anything)
    assert len(list(Grid([keywords], {"x": ("0", "no", "none")}))) == 3
    for twice in (("1M", "1024K"), ("no", "false")):
        with pytest.raises(InvalidRequestError, match="stands twice"):
            Grid([keywords], {"x": twice})


MODES = """
import enum
from coalloc import CoalescingSpace

class Mode(enum.Enum):
    SMALL = "small"
    BIG = "big"

def make(source, *, kva_limit, mode=Mode.SMALL):
    assert isinstance(mode, Mode)
    return CoalescingSpace(source, kva_limit=kva_limit, arena_size=1 << 20 if mode is Mode.BIG else 65536)
"""


def test_an_enum_of_a_strangers_file_is_the_same_class_everywhere(tmp_path: Path) -> None:
    """In this process and in others; a file that was changed is loaded again."""
    file = tmp_path / "modes_of_mine.py"
    file.write_text(MODES)
    grid = Grid([f"{file}:make"], {"mode": ("small", "BIG")})
    program = hackbench(groups=1, fds=2, loops=3)
    here = sweep(grid, [program])
    assert [row.figures["peak_mapped"] for row in here.rows] == [2 * 65536, MiB]
    with process_pool(2) as pool:
        assert sweep(grid, [program], executor=pool) == here
    file.write_text(MODES.replace("65536", "262144"))
    again = sweep(grid, [program])
    assert [row.figures["peak_mapped"] for row in again.rows] == [262144, MiB]
    keys = {key_of(row.digest, row.setting) for done in (here, again) for row in done.rows}
    assert len(keys) == 2, "keys are made of the file as it is"


def test_a_setting_is_plain_data() -> None:
    """Members of an Enum and release rules become text."""
    setting = Setting("vmem", (("a", Fit.BEST), ("b", RETAIN(1)), ("c", None), ("d", 1.5)))
    assert setting.as_dict()["parameters"] == {"a": "best", "b": "retain(1)", "c": None, "d": 1.5}
    assert plain(Design) == str(Design)
    assert setting.target == "vmem"
