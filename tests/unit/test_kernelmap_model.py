"""The kernel map beside a model that keeps a plain list of entries and counts every event by its definition."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest

from coalloc import BadFreeError, InvalidRequestError, KernelMap, KvaLimitError, Limit, NoSpaceError
from coalloc.errors import Change, Explanation, FreeFault, HoleVerdict, Remedy, Rule
from coalloc.vm.fittree import FitTree, Node, _priority
from coalloc.vm.kernelmap import MapCounters, MapEntry

PAGE = 4096
BASE = 16 * PAGE
PAGES = 24


@attrs.define(eq=False)
class Thing:
    """A VM object."""

    number: int
    size: int
    references: int = 1


@attrs.define(eq=False)
class Entry:
    """A mapped range and what stands behind it."""

    start: int
    end: int
    own: bool = False
    thing: Thing | None = None
    offset: int = 0


class Model:
    """Entries in a list, pages in a set, events in a dict."""

    def __init__(self, *, findspace: str, direct: bool) -> None:
        self.findspace = findspace
        self.direct = direct
        self.list: list[Entry] = []
        self.pages: set[int] = set()
        self.things = 0
        self.counts = dict.fromkeys(attrs.asdict(MapCounters()), 0)

    def new(self, size: int) -> Thing:
        self.things += 1
        return Thing(self.things, size)

    def made(self, n: int) -> None:
        self.counts["entries_allocated"] += n
        self.counts["peak_entries"] = max(self.counts["peak_entries"], len(self.list) + n)

    def gaps(self) -> list[tuple[int, int]]:
        """Return begin and length of the gap behind the space's base and behind each entry."""
        ends = [BASE, *(entry.end for entry in self.list)]
        starts = [*(entry.start for entry in self.list), BASE + PAGES * PAGE]
        return [(end, start - end) for end, start in zip(ends, starts, strict=True)]

    def probe(self, size: int) -> int:
        """Count what a search looks at."""
        lengths = [length for _, length in self.gaps()]
        found = next((rank for rank, length in enumerate(lengths) if length >= size), None)
        if self.findspace == "linear":
            first = next((rank for rank, length in enumerate(lengths) if length), None)
            if first is None:
                return 0
            return (len(lengths) if found is None else found + 1) - first
        return visits(
            [(BASE - 1, lengths[0]), *((e.start, n) for e, n in zip(self.list, lengths[1:], strict=True))], size
        )

    def map(self, size: int, *, own: bool) -> int | None:
        counts = self.counts
        counts["lock_acquisitions"] += 1
        counts["findspace_probes"] += self.probe(size)
        rank, base = next(((i, at) for i, (at, n) in enumerate(self.gaps()) if n >= size), (-1, 0))
        if rank < 0:
            counts["map_failures"] += 1
            return None
        counts["map_ops"] += 1
        before = self.list[rank - 1] if rank else None
        thing = before.thing if before is not None else None
        length = before.end - before.start if before is not None else 0
        grows = before is not None and (thing is None or thing.references == 1 or thing.size == before.offset + length)
        if before is None or own or before.own or not grows:
            self.made(1)
            self.list.insert(rank, Entry(base, base + size, own, self.new(size) if own else None))
        else:
            before.end += size
            if thing is not None:
                thing.size = max(thing.size, before.offset + length + size)
            counts["entry_merges"] += 1
            self.join(rank - 1)
        counts["mapped"] += size
        counts["peak_mapped"] = max(counts["peak_mapped"], counts["mapped"])
        return base

    def join(self, rank: int) -> None:
        """Join an entry with the next, if that runs on where it ends."""
        if rank + 1 == len(self.list):
            return
        entry, behind = self.list[rank : rank + 2]
        same = entry.thing is behind.thing and not behind.own and entry.end == behind.start
        if same and (entry.thing is None or behind.offset == entry.offset + entry.end - entry.start):
            if entry.thing is not None:
                entry.thing.references -= 1
            entry.end = behind.end
            del self.list[rank + 1]
            self.counts["entries_freed"] += 1
            self.counts["entry_merges"] += 1

    def hole(self, start: int, end: int) -> int | None:
        """Return the lowest page of a range that is not mapped."""
        pages = range(start // PAGE * PAGE, end, PAGE)
        return next((at for at in pages if not any(e.start <= at < e.end for e in self.list)), None)

    def unmap(self, base: int, size: int) -> None:
        self.counts["lock_acquisitions"] += 1
        self.counts["unmap_ops"] += 1
        self.counts["mapped"] -= size
        for entry in [e for e in self.list if e.start < base + size and e.end > base]:
            start, end = max(base, entry.start), min(base + size, entry.end)
            self.counts["entries_freed"] += 1
            whole = (start, end) == (entry.start, entry.end)
            if entry.thing is None and not whole:
                entry.thing = self.new(entry.end - entry.start)
            self.made((start > entry.start) + (end < entry.end))
            at = self.list.index(entry)
            lower = [attrs.evolve(entry, end=start)] if start > entry.start else []
            upper = [attrs.evolve(entry, start=end, offset=entry.offset + end - entry.start)] if end < entry.end else []
            if entry.thing is not None:
                entry.thing.references += len(lower) + len(upper) - 1
            self.list[at : at + 1] = lower + upper
        self.free_pages(base, size)

    def free_pages(self, base: int, size: int) -> None:
        gone = self.pages & set(range(base // PAGE, (base + size) // PAGE))
        self.pages -= gone
        self.counts["pages_freed"] += 0 if self.direct else len(gone)
        self.counts["tlb_shootdowns"] += bool(gone) and not self.direct

    def discard(self, base: int, size: int) -> None:
        self.counts["discard_ops"] += 1
        self.free_pages(base, size)

    def touch(self, base: int, size: int) -> None:
        for page in range(base // PAGE, (base + size - 1) // PAGE + 1):
            if page not in self.pages:
                entry = next(e for e in self.list if e.start <= page * PAGE < e.end)
                entry.thing = entry.thing or self.new(entry.end - entry.start)
                self.pages.add(page)
                self.counts["faults"] += not self.direct
        self.counts["peak_resident"] = max(self.counts["peak_resident"], len(self.pages) * PAGE)

    def counters(self) -> MapCounters:
        now = {"entries": len(self.list), "resident": len(self.pages) * PAGE, "ipis": 2 * self.counts["tlb_shootdowns"]}
        return MapCounters(**self.counts | now)

    def entries(self) -> tuple[MapEntry, ...]:
        return tuple(
            MapEntry(e.start, e.end - e.start, None if e.thing is None else e.thing.number, e.offset) for e in self.list
        )


def visits(lengths: list[tuple[int, int]], size: int) -> int:
    """Count the nodes that a search visits in a treap of (key, length), built from the top down."""
    if max(length for _, length in lengths) < size:
        return 1
    top = max(range(len(lengths)), key=lambda at: _priority(lengths[at][0]))
    below, above = lengths[:top], lengths[top + 1 :]
    if any(length >= size for _, length in below):
        return 1 + visits(below, size)
    return 1 if lengths[top][1] >= size else 1 + visits(above, size)


def visits_from(lengths: list[tuple[int, int]], size: int, start: int) -> tuple[int, bool]:
    """Count the nodes of a search from an address, first down to it and then up; tell whether it has found a fit."""
    if not lengths:
        return 0, False
    top = max(range(len(lengths)), key=lambda at: _priority(lengths[at][0]))
    below, above = lengths[:top], lengths[top + 1 :]
    key, length = lengths[top]
    count, found = visits_from(above if key < start else below, size, start)
    if found or key < start or length >= size:
        return count + 1, found or key >= start
    found = any(length >= size for _, length in above)
    return count + 1 + (visits(above, size) if found else 0), found


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("findspace", ["tree", "linear"])
@pytest.mark.parametrize("seed", range(8))
def test_every_answer_entry_and_counter_is_that_of_the_model(findspace: Any, direct: bool, seed: int) -> None:
    """Over random programs, in which failing calls count nothing but refusals."""
    rng = random.Random(seed)
    kernel = KernelMap(base=BASE, size=PAGES * PAGE, cpus=3, findspace=findspace, direct=direct)
    model = Model(findspace=findspace, direct=direct)
    own_share = rng.choice([0, 0.1, 0.4])
    for _ in range(150):
        what = rng.choice(["map", "map", "unmap", "touch", "discard"])
        n, at = rng.choice([1, 1, 2, 3, 7]), rng.randrange(PAGES)
        base, size = BASE + at * PAGE, n * PAGE
        if what == "map":
            kernel.own_objects = rng.random() < own_share
            asked = size - rng.choice([0, 0, 1, PAGE - 1])
            expected = model.map(size, own=kernel.own_objects)
            if expected is None:
                with pytest.raises(NoSpaceError) as refused:
                    kernel.map(asked)
                largest = max(length for _, length in model.gaps())
                error = refused.value
                assert (error.request, error.largest_hole, error.kva_limit) == (size, largest, PAGES * PAGE)
                assert (error.mapped, error.free) == (model.counts["mapped"], PAGES * PAGE - model.counts["mapped"])
                found = [(hole.base, hole.size) for hole in error.explain().verdicts]
                assert found == [gap for gap in model.gaps() if gap[1]]
            else:
                assert kernel.map(asked) == expected
        else:
            if what == "touch":
                base, size = base + rng.choice([0, 5, PAGE - 1]), rng.choice([1, 2, PAGE, 2 * PAGE, 3 * PAGE + 1])
            hole = model.hole(base, base + size)
            assert kernel.maps(base, size) is (hole is None)
            if hole is None:
                getattr(kernel, what)(base, size)
                getattr(model, what)(base, size)
            else:
                with pytest.raises(BadFreeError) as caught:
                    getattr(kernel, what)(base, size)
                assert (caught.value.address, caught.value.fault) == (hole, FreeFault.NOT_MAPPED)
        assert kernel.entries() == model.entries()
        assert kernel.counters() == model.counters()
        assert kernel.available() == max(length for _, length in model.gaps())
        assert kernel.timestamp == model.counts["lock_acquisitions"]
        kernel.check()


def test_priorities_are_those_of_splitmix64() -> None:
    """The first numbers of the generator that was seeded with 0 and with 1234567, as published."""
    step = 0x9E3779B97F4A7C15
    assert _priority(step) == 0xE220A8397B1DCDAF
    assert _priority(1234567 + step) == 6457827717110365317
    assert _priority((1234567 + 2 * step) & (1 << 64) - 1) == 3203168211198807973
    assert len({_priority(at << 60) for at in range(16)}) == 16


@pytest.mark.parametrize("seed", range(4))
def test_a_tree_changed_in_any_way_is_the_treap_of_its_keys(seed: int) -> None:
    """Its searches visit what a treap built from the top down has on the way, and its ranks are those of a list."""
    rng = random.Random(seed)
    tree, lengths = FitTree(), dict[int, int]()
    for _ in range(200):
        key, length = rng.randrange(64) * 4096, rng.randrange(1, 40)
        if key not in lengths:
            tree.insert(key, length)
        elif (change := rng.randrange(3)) == 0:
            tree.update(key, length)
        elif change == 1 or key + 1 in lengths:
            tree.remove(key)
            del lengths[key]
            length = 0
        else:
            del lengths[key]
            tree.shift(key, key + 1, length)
            key += 1
        if length:
            lengths[key] = length
        ordered = sorted(lengths.items())
        assert tree.faults() == []
        assert tree.largest == max(lengths.values(), default=0)
        assert [node.key for node in tree.nodes()] == list(tree) == [key for key, _ in ordered]
        assert [tree.rank(key) for key in lengths] == [sorted(lengths).index(key) for key in lengths]
        wanted = rng.randrange(1, 42)
        before = tree.visits
        assert tree.first_fit(wanted) == next((key for key, length in ordered if length >= wanted), None)
        assert tree.visits - before == (visits(ordered, wanted) if ordered else 0)
        start = rng.randrange(64 * 4096)
        assert tree.floor(start) == max((key for key in lengths if key <= start), default=None)
        before = tree.visits
        fit = next((key for key, length in ordered if key >= start and length >= wanted), None)
        assert tree.first_fit(wanted, start) == fit
        assert (tree.visits - before, fit is not None) == visits_from(ordered, wanted, start)


def test_a_node_that_is_taken_out_is_as_a_new_one() -> None:
    """It keeps its address and length, and may come back or go to another tree."""
    tree = FitTree()
    for key in range(20):
        tree.insert(key, key + 1)
    node = tree._root
    assert node is not None
    tree.drop(node)
    new = Node(node.key, node.length)
    for name in Node.__slots__:
        assert getattr(node, name) == getattr(new, name), name


def corrupt(what: str) -> KernelMap:
    """Return a map of two entries, with a gap between and one behind, in which one thing is wrong."""
    kernel = KernelMap(base=0, size=16 * PAGE, findspace="linear")
    kernel.map(6 * PAGE)
    kernel.touch(0, PAGE)
    kernel.unmap(2 * PAGE, 2 * PAGE)
    kernel.check()
    first, second = kernel._entries()
    match what:
        case "order":
            second.key, second.end = second.end, second.key
        case "below":
            first.key = -PAGE
        case "overlap":
            second.key = PAGE
        case "beyond":
            second.end = 17 * PAGE
        case "back":
            second.before = None
        case "gap":
            first.length += PAGE
        case "table":
            del kernel._by_start[4 * PAGE]
        case "tree":
            kernel._gaps.drop(second)
        case "first":
            kernel._first_free = second
        case "mapped":
            kernel._mapped += PAGE
        case "page":
            kernel._resident.add(2)
        case "peak entries":
            kernel._peak_entries = 1
        case "peak mapped":
            kernel._most_mapped = 3 * PAGE
        case _:
            assert first.object is not None
            first.object.references = 1
    return kernel


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("order", "entry 0x6000-0x4000 is out of order or overlaps the one before"),
        ("below", "entry -0x1000-0x2000 is out of order or overlaps the one before"),
        ("overlap", "entry 0x1000-0x6000 is out of order or overlaps the one before"),
        ("beyond", "entry 0x4000-0x11000 is out of order or overlaps the one before"),
        ("back", "entry 0x4000 is not linked back to the one before"),
        ("gap", "the gaps in the tree differ from those between the entries"),
        ("table", "the table of entries by start differs from the list"),
        ("tree", "the entries in the tree differ from the list"),
        ("first", "the entry that is remembered as the one before the lowest gap is another"),
        ("mapped", "mapped is 20480, recomputed 16384"),
        ("page", "page 0x2000 is resident and not mapped"),
        ("peak entries", "a peak is below what the map holds now"),
        ("peak mapped", "a peak is below what the map holds now"),
        ("references", "object 1 counts 1 references, 2 entries have it"),
    ],
)
def test_each_thing_that_is_wrong_is_said(what: str, text: str) -> None:
    """The violation is one of MI1, and no other text is like it."""
    found = [violation for violation in corrupt(what).violations() if violation.message == text]
    assert [violation.code for violation in found] == ["MI1"]


@pytest.mark.parametrize("size", [1, PAGE - 1, PAGE + 1, 2 * PAGE + 5])
def test_only_whole_pages_can_be_unmapped_or_discarded(size: int) -> None:
    """The argument that is not whole is named."""
    kernel = KernelMap(base=0)
    kernel.map(4 * PAGE)
    for call in (kernel.unmap, kernel.discard):
        with pytest.raises(InvalidRequestError, match="page size 4096") as caught:
            call(0, size)
        assert (caught.value.what, caught.value.value) == ("size", size)
        with pytest.raises(InvalidRequestError, match="page size 4096") as caught:
            call(size, PAGE)
        assert (caught.value.what, caught.value.value) == (("base", size) if size % PAGE else ("size", PAGE))


def test_the_words_of_every_refused_argument() -> None:
    """The error names the argument, its value and what it must be."""
    multiple = "must be a multiple of the page size 4096"
    arguments: dict[str, Any]
    for arguments, reason in (
        ({"page_size": 3000}, "must be a power of two"),
        ({"page_size": "4096"}, "must be a power of two"),
        ({"base": 1}, f"{multiple} below 2**64"),
        ({"base": 2**64}, f"{multiple} below 2**64"),
        ({"base": -PAGE}, f"{multiple} below 2**64"),
        ({"size": PAGE + 1}, f"{multiple}; a map ends at 2**64"),
        ({"cpus": 0}, "must be an int >= 1"),
        ({"cpus": 1.5}, "must be an int >= 1"),
        ({"findspace": "hash"}, "must be 'tree' or 'linear'"),
        ({"direct": None}, "must be a bool"),
        ({"own_objects": 0}, "must be a bool"),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            KernelMap(**arguments)
        assert (caught.value.what, caught.value.value) == next(iter(arguments.items()))
        assert caught.value.reason == reason
    KernelMap(base=0, size=PAGE, cpus=1)
    KernelMap(page_size=1, base=2**64 - 1, size=1)
    kernel = KernelMap(base=0)
    kernel.map(PAGE)
    for base, size, what, reason in (
        (0.0, 1, "base", "must be an int address"), (0, 0, "size", ""), (0, None, "size", ""),
        (0, 1.5, "size", ""), (True, 1, "base", "must be an int address"),
    ):  # fmt: skip
        with pytest.raises(InvalidRequestError) as caught:
            kernel.touch(base, size)  # type: ignore[arg-type]
        assert (caught.value.what, caught.value.value) == (what, base if what == "base" else size)
        assert reason in ("", caught.value.reason)


def test_a_map_as_it_is_made_without_arguments() -> None:
    """A GiB from 0xc4000000 on, on two CPUs, searched as a tree, with shared objects."""
    kernel = KernelMap()
    assert (kernel.base, kernel.size, kernel.page_size, kernel.cpus) == (0xC400_0000, 1 << 30, 4096, 2)
    assert (kernel.findspace, kernel.own_objects, kernel.entries(), kernel.counters()) == (
        "tree",
        False,
        (),
        MapCounters(),
    )
    base = kernel.map(1)
    kernel.touch(base, 1)
    kernel.unmap(base, PAGE)
    assert (kernel.counters().faults, kernel.counters().ipis) == (1, 1)
    assert kernel.maps(base, PAGE) is False
    kernel.map(2 * PAGE)
    kernel.unmap(base, PAGE)
    assert kernel.dump() == str(kernel.entries()[0])
    kernel.map(PAGE)
    assert kernel.dump().split("\n") == [str(entry) for entry in kernel.entries()]


def test_a_refusal_says_all_that_it_knows() -> None:
    """The largest gap is what can be asked for, and nothing stands behind the map."""
    kernel = KernelMap(base=0, size=4 * PAGE)
    kernel.map(PAGE)
    with pytest.raises(NoSpaceError) as caught:
        kernel.map(4 * PAGE - 5)
    assert caught.value.explain() == Explanation(
        4 * PAGE,
        (HoleVerdict(PAGE, 3 * PAGE, Rule.SIZE),),
        "a kernel map has no source behind it",
        (Remedy(Change.SIZE, 3 * PAGE),),
    )
    limit = Limit(kernel, PAGE)
    with pytest.raises(KvaLimitError) as refused:
        limit.map(2 * PAGE)
    error = refused.value
    assert (error.request, error.free, error.largest_hole, error.mapped, error.kva_limit) == (2 * PAGE, 0, 0, 0, PAGE)
    assert limit.map(1) == PAGE
    limit.unmap(PAGE, 1 << 12)
    assert (limit.mapped, limit.available()) == (0, PAGE)


def tree_and_child() -> tuple[FitTree, Node, Node]:
    """Return a tree, its root and a child of the root."""
    tree = FitTree()
    for key in range(9):
        tree.insert(key, key + 1)
    assert tree._root is not None
    child = tree._root.left or tree._root.right
    assert child is not None
    return tree, tree._root, child


def test_the_tree_says_what_is_wrong_with_a_node() -> None:
    """With the address of the node, what is stored and what is true."""
    wrong: Any
    for what, wrong, text in (
        ("largest", 99, "stored largest length at {0:#x} is 99, recomputed {1}"),
        ("count", 99, "stored count at {0:#x} is 99, recomputed {2}"),
        ("parent", None, "parent link of {0:#x} is wrong"),
        ("priority", 0, "priority of {0:#x} is not that of its address"),
    ):
        tree, _, node = tree_and_child()
        words = text.format(node.key, node.largest, node.count)
        setattr(node, what, wrong)
        assert words in tree.faults()
    tree, root, node = tree_and_child()
    above = f"priority of {node.key:#x} is above its parent's"
    node.priority = root.priority + 1
    assert above in tree.faults()
    node.priority = root.priority
    assert above not in tree.faults()
    tree._nodes[99] = node
    assert tree.faults()[-1] == "the tree's addresses differ from the node table's"
