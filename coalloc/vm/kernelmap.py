"""`KernelMap`: a simulated kernel map that counts what each mapping costs, and keeps MI1 (entries ordered and disjoint).

A *map* is a range of addresses.  An *entry* is a mapped sub-range with one VM *object* (or none yet) behind it; free
space lies between entries.  ``map`` looks for the lowest gap that fits, and either extends the entry before it or makes a
new one; ``unmap`` clips entries at the ends of its range and drops what lies between.  Pages come one by one, by fault.

Rules of joining and splitting (vm_map_insert, vm_map_simplify_entry, vm_object_coalesce, vm_map_clip_start; B26 to B31):

* A mapping without an object extends the entry before it if that one ends exactly there and either has no object, or
  has one that can be extended: referenced once, or ending exactly at the join.  Extending counts as a merge; afterwards
  the extended entry is also tried against the one behind it.
* Clipping an entry without an object first makes one object for the whole entry, which both pieces then reference.
  A fault on such an entry makes its object, too.
* A mapping with its own object (``own_objects``) never merges.

So N buffers mapped back to back are 1 entry, freeing a middle one leaves 2, filling the hole again gives 3: what the
n-th mapping costs depends on history.

Representation.  An entry is the node of the tree of gaps that stands for the gap behind it, so what is done to an entry is
done to its gap without a search.  A linear search remembers the entry before the lowest gap, as the kernel's first_free does,
until that gap is full (without this, a close of very many pipes takes 1.2 times as long).  Where the kernel clips an entry in
order to drop one of the pieces, the entry is cut in place, and the pieces are only counted.  (Together, node and cut made the
map's part in a replay of the bundled build 1.6 times as fast.)

Differences from the kernel: objects hold no pages of their own here (residency is kept per page of the map); the tree is
a treap, not a splay tree (:mod:`coalloc.vm.fittree`); the map has no lock, its acquisitions are only counted.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, Literal

import attrs

from coalloc.checked import Checked
from coalloc.errors import (
    BadFreeError,
    Change,
    Explanation,
    FreeFault,
    HoleVerdict,
    InvalidRequestError,
    NoSpaceError,
    Remedy,
    Rule,
    Violation,
)
from coalloc.units import MAX_ADDRESS, MAX_SIZE, PAGE_SIZE, Extremes, GiB, is_power_of_two, require_size, round_up
from coalloc.vm.fittree import Node, NodeTree

__all__ = ["COUNTED", "Findspace", "KernelMap", "MapCounters", "MapEntry"]

Findspace = Literal["tree", "linear"]


COUNTED: Final = (
    "map_ops",
    "map_failures",
    "unmap_ops",
    "discard_ops",
    "findspace_probes",
    "entries_allocated",
    "entries_freed",
    "entry_merges",
    "lock_acquisitions",
    "faults",
    "pages_freed",
    "tlb_shootdowns",
)
"""The events that a map counts one by one, by their names in :class:`MapCounters`."""


@attrs.frozen
class MapEntry:
    """One entry of the map: its range in bytes, and its object's number and offset (None: no object yet)."""

    base: int
    size: int
    object_id: int | None
    offset: int


@attrs.frozen
class MapCounters:
    """What a map has done so far, and what it holds now; all exact.

    ``lock_acquisitions`` counts exclusive acquisitions of the map lock, one per ``map`` (failed ones included) and
    ``unmap``; the map's timestamp rises with each.  ``ipis`` is one per shoot-down and other CPU.  ``peak_entries`` counts
    the pieces that an ``unmap`` clips off, too, for as long as they exist.
    """

    map_ops: int = 0
    map_failures: int = 0
    unmap_ops: int = 0
    discard_ops: int = 0
    findspace_probes: int = 0
    entries_allocated: int = 0
    entries_freed: int = 0
    entry_merges: int = 0
    lock_acquisitions: int = 0
    faults: int = 0
    pages_freed: int = 0
    tlb_shootdowns: int = 0
    ipis: int = 0
    entries: int = 0
    peak_entries: int = 0
    mapped: int = 0
    peak_mapped: int = 0
    resident: int = 0
    peak_resident: int = 0


@attrs.define(eq=False)
class _Object:
    """A VM object: how many entries reference it, and its length in bytes."""

    number: int
    size: int
    references: int = 1


class _Entry(Node):
    """A mapped range [key, end), the gap of ``length`` bytes behind it, and its neighbours in address order."""

    __slots__ = ("before", "behind", "end", "object", "offset", "own")

    before: _Entry | None
    behind: _Entry | None

    def __init__(
        self, start: int, end: int, gap: int, *, own: bool = False, backing: _Object | None = None, offset: int = 0
    ) -> None:
        super().__init__(start, gap)
        self.end = end
        self.own = own
        self.object = backing
        self.offset = offset
        self.before = self.behind = None


class KernelMap(Checked):
    """Simulate a kernel map and count its work.

    Args:
        page_size: Bytes of a page, a power of two.
        base: First address of the map, a multiple of the page size.
        size: Bytes of address space, a multiple of the page size.
        cpus: CPUs of the machine, >= 1; a shoot-down interrupts all others.
        findspace: How free space is searched for.  ``"tree"`` counts the nodes that a descent of the augmented tree
            visits; ``"linear"`` counts the entries that the list walk of 2004 visits (from the first gap up to the one
            taken).  Both find the same address.
        direct: Whether it is a direct map, as Linux has one: its pages are there for whoever is given one, so taking one is no
            fault, and giving it back neither a shoot-down nor a page that is freed from a mapping.
        own_objects: Whether every mapping has a VM object of its own, as FreeBSD's pipe buffers had until 2003, so that its
            entry never merges.

    Raises:
        InvalidRequestError: For an argument outside its range.

    Complexity:
        ``map`` and ``unmap`` O(log n) for n entries, whichever search is counted; a refusal O(n log n), since it notes every
        gap; ``touch``, ``discard``, and ``unmap`` of a range where pages are resident, O(pages of the range).

    Source:
        FreeBSD vm_map_find, vm_map_insert, vm_map_remove; B26 to B31.

    >>> kernel = KernelMap(size=1 << 20)
    >>> buffers = [kernel.map(16384) for _ in range(3)]
    >>> len(kernel.entries())
    1
    >>> kernel.unmap(buffers[1], 16384)
    >>> len(kernel.entries())
    2
    >>> kernel.map(16384) == buffers[1], len(kernel.entries())
    (True, 3)
    """

    __slots__ = (
        "_by_start",
        "_direct",
        "_discard_ops",
        "_entries_allocated",
        "_entries_freed",
        "_entry_merges",
        "_faults",
        "_findspace_probes",
        "_first_free",
        "_gaps",
        "_head",
        "_least_mapped",
        "_least_resident",
        "_lock_acquisitions",
        "_map_failures",
        "_map_ops",
        "_mapped",
        "_most_mapped",
        "_most_resident",
        "_next_object",
        "_page_shift",
        "_pages_freed",
        "_past_peaks",
        "_peak_entries",
        "_resident",
        "_tlb_shootdowns",
        "_unmap_ops",
        "base",
        "cpus",
        "findspace",
        "own_objects",
        "page_size",
        "size",
    )

    def __init__(
        self,
        *,
        page_size: int = PAGE_SIZE,
        base: int = 0xC400_0000,
        size: int = GiB,
        cpus: int = 2,
        findspace: Findspace = "tree",
        direct: bool = False,
        own_objects: bool = False,
    ) -> None:
        if type(page_size) is not int or not is_power_of_two(page_size):
            raise InvalidRequestError("page_size", page_size, "must be a power of two")
        if type(base) is not int or not 0 <= base <= MAX_ADDRESS or base % page_size:
            raise InvalidRequestError("base", base, f"must be a multiple of the page size {page_size} below 2**64")
        if require_size(size) % page_size or base + size > MAX_ADDRESS + 1:
            raise InvalidRequestError(
                "size", size, f"must be a multiple of the page size {page_size}; a map ends at 2**64"
            )
        if type(cpus) is not int or cpus < 1:
            raise InvalidRequestError("cpus", cpus, "must be an int >= 1")
        if findspace not in ("tree", "linear"):
            raise InvalidRequestError("findspace", findspace, "must be 'tree' or 'linear'")
        for what, value in (("direct", direct), ("own_objects", own_objects)):
            if type(value) is not bool:
                raise InvalidRequestError(what, value, "must be a bool")
        self.page_size = page_size
        self._direct = direct
        self.base = base
        self.size = size
        self.cpus = cpus
        self.findspace = findspace
        self.own_objects = own_objects
        self._page_shift = page_size.bit_length() - 1
        # The head stands for the space below the first entry; its key is an address no entry can start at.
        # It never becomes longer, as if it had an object of its own.
        self._head = _Entry(base - 1, base, size, own=True)
        self._by_start: dict[int, _Entry] = {base - 1: self._head}
        self._gaps: NodeTree[_Entry] = NodeTree()
        self._gaps.add(self._head)
        self._first_free: _Entry | None = None
        self._resident: set[int] = set()
        self._next_object = 0
        self._mapped = self._peak_entries = 0
        # The least and the most bytes mapped and pages resident since the last call of extremes, and the peaks before that.
        self._least_mapped = self._most_mapped = self._least_resident = self._most_resident = 0
        self._past_peaks = (0, 0)
        self._map_ops = self._map_failures = self._unmap_ops = self._discard_ops = self._findspace_probes = 0
        self._entries_allocated = self._entries_freed = self._entry_merges = self._lock_acquisitions = 0
        self._faults = self._pages_freed = self._tlb_shootdowns = 0

    # --- the source --------------------------------------------------------------------------------

    @property
    def granule(self) -> int:
        """Bytes of a page."""
        return self.page_size

    def map(self, size: int) -> int:
        """Map ``size`` bytes, rounded up to pages, at the lowest address where they fit; return the base.

        No page becomes resident.

        Args:
            size: Bytes, 1 .. 2**63.

        Raises:
            InvalidRequestError: For a size outside its range.
            NoSpaceError: If no gap is large enough; ``explain()`` names every gap.

        Guarantees:
            The range overlaps no other mapping; on failure nothing is mapped, ``map_failures`` rises.
        """
        if type(size) is not int or size & (self.page_size - 1) or not 0 < size <= MAX_SIZE:
            size = round_up(require_size(size), self.page_size)
        self._lock_acquisitions += 1
        before = self._walk(size) if self.findspace == "linear" else self._descend(size)
        if before is None:
            self._map_failures += 1
            raise self._refusal(size)
        self._map_ops += 1
        base, gap, backing = before.end, before.length - size, before.object
        if (
            self.own_objects
            or before.own
            or not (backing is None or backing.references == 1 or backing.size == before.offset + base - before.key)
        ):
            was_lowest = gap and before is self._first_free
            self._set_gap(before, 0)
            entry = _Entry(base, base + size, gap, own=self.own_objects)
            if self.own_objects:
                entry.object = self._new_object(size)
            self._insert(entry, after=before, clips=1)
            if was_lowest:
                self._first_free = entry  # what is left of the gap lies behind the new entry
        else:
            before.end = end = base + size
            self._set_gap(before, gap)
            if backing is not None and end - before.key + before.offset > backing.size:
                backing.size = end - before.key + before.offset
            self._entry_merges += 1
            if not gap:
                self._merge_with_next(before)
        self._mapped += size
        if self._mapped > self._most_mapped:
            self._most_mapped = self._mapped
        return base

    def unmap(self, base: int, size: int) -> None:
        """Unmap a range, which may be any page-aligned part of what is mapped.

        Its resident pages are freed; if there was one, all other CPUs are interrupted once (B30).

        Raises:
            InvalidRequestError: If base or size is not page-aligned.
            BadFreeError: If any byte of the range is not mapped; nothing is unmapped.
        """
        entry = self._require_range(base, size)
        self._lock_acquisitions += 1
        self._unmap_ops += 1
        at, end = base, base + size
        while entry.end < end:
            behind = entry.behind
            assert behind is not None  # the range was found mapped up to its end
            self._cut(entry, at, entry.end)
            entry, at = behind, behind.key
        self._cut(entry, at, end)
        self._mapped -= size
        if self._mapped < self._least_mapped:
            self._least_mapped = self._mapped
        if self._resident:
            self._free_pages(base, size)

    def touch(self, base: int, size: int) -> None:
        """Access every page that the range reaches into; those not yet resident fault.

        Raises:
            InvalidRequestError: If base or size is not an int, or the size not greater than 0.
            BadFreeError: If a page of the range is not mapped; no page has faulted.
        """
        if type(base) is not int or type(size) is not int or size <= 0:
            require_size(size)
            raise InvalidRequestError("base", base, "must be an int address")
        shift, resident = self._page_shift, self._resident
        first, last = base >> shift, (base + size - 1) >> shift
        if first == last and first in resident:  # most calls touch one page, and touched it before
            return
        before = len(resident)
        entry = self._require_mapped(first << shift, (last + 1) << shift)
        for page in range(first, last + 1):
            if page not in resident:
                while entry.end <= page << shift:
                    assert entry.behind is not None  # as in unmap
                    entry = entry.behind
                if entry.object is None:
                    entry.object = self._new_object(entry.end - entry.key)
                resident.add(page)
        if not self._direct:
            self._faults += len(resident) - before
        if len(resident) > self._most_resident:
            self._most_resident = len(resident)

    def discard(self, base: int, size: int) -> None:
        """Free the resident pages of a mapped, page-aligned range, and keep the mapping.

        Raises:
            InvalidRequestError: If base or size is not page-aligned.
            BadFreeError: If any byte of the range is not mapped.
        """
        self._require_range(base, size)
        self._discard_ops += 1
        self._free_pages(base, size)

    def maps(self, base: int, size: int) -> bool:
        """Tell whether every byte of [base, base + size) is mapped."""
        try:
            self._require_mapped(base, base + size)
        except BadFreeError:
            return False
        return True

    def available(self) -> int:
        """Return the largest size that ``map`` would grant now: the largest gap, 0 if there is none."""
        return self._gaps.largest

    # --- what it holds -----------------------------------------------------------------------------

    @property
    def timestamp(self) -> int:
        """How often the map's lock was taken exclusively."""
        return self._lock_acquisitions

    def entries(self) -> tuple[MapEntry, ...]:
        """Return the entries in address order."""
        return tuple(
            MapEntry(e.key, e.end - e.key, None if e.object is None else e.object.number, e.offset)
            for e in self._entries()
        )

    def counted(self) -> tuple[int, ...]:
        """Return the counters of :data:`COUNTED`, in that order; cheaper than :meth:`counters`."""
        return (
            self._map_ops,
            self._map_failures,
            self._unmap_ops,
            self._discard_ops,
            self._findspace_probes,
            self._entries_allocated,
            self._entries_freed,
            self._entry_merges,
            self._lock_acquisitions,
            self._faults,
            self._pages_freed,
            self._tlb_shootdowns,
        )

    def counters(self) -> MapCounters:
        """Return the counters as a frozen value."""
        past_mapped, past_resident = self._past_peaks
        return MapCounters(
            map_ops=self._map_ops,
            map_failures=self._map_failures,
            unmap_ops=self._unmap_ops,
            discard_ops=self._discard_ops,
            findspace_probes=self._findspace_probes,
            entries_allocated=self._entries_allocated,
            entries_freed=self._entries_freed,
            entry_merges=self._entry_merges,
            lock_acquisitions=self._lock_acquisitions,
            faults=self._faults,
            pages_freed=self._pages_freed,
            tlb_shootdowns=self._tlb_shootdowns,
            ipis=self._tlb_shootdowns * (self.cpus - 1),
            entries=len(self._by_start) - 1,
            peak_entries=self._peak_entries,
            mapped=self._mapped,
            peak_mapped=max(self._most_mapped, past_mapped),
            resident=len(self._resident) << self._page_shift,
            peak_resident=max(self._most_resident, past_resident) << self._page_shift,
        )

    def extremes(self) -> tuple[Extremes, Extremes]:
        """Return the least and the most bytes mapped, and resident, since the last call; what is there now begins the next.

        Whoever samples a map now and then misses no peak this way.
        """
        past_mapped, past_resident = self._past_peaks
        self._past_peaks = max(past_mapped, self._most_mapped), max(past_resident, self._most_resident)
        mapped = Extremes(self._least_mapped, self._most_mapped)
        resident = Extremes(self._least_resident << self._page_shift, self._most_resident << self._page_shift)
        self._least_mapped = self._most_mapped = self._mapped
        self._least_resident = self._most_resident = len(self._resident)
        return mapped, resident

    # --- entries -----------------------------------------------------------------------------------

    def _entries(self) -> list[_Entry]:
        found: list[_Entry] = []
        entry = self._head.behind
        while entry is not None:
            found.append(entry)
            entry = entry.behind
        return found

    def _descend(self, size: int) -> _Entry | None:
        """Find the lowest gap that fits, and count the nodes that are visited."""
        gaps = self._gaps
        visits = gaps.visits
        found = gaps.lowest(size)
        self._findspace_probes += gaps.visits - visits
        return found

    def _walk(self, size: int) -> _Entry | None:
        """Find the lowest gap that fits, and count the entries that a walk visits from the lowest gap of all, or to the end."""
        gaps, first = self._gaps, self._first_free
        if first is None:
            first = self._first_free = gaps.lowest(1)
            if first is None:
                return None
        if first.length >= size:
            self._findspace_probes += 1
            return first
        found = gaps.lowest(size)
        behind = len(self._by_start) if found is None else gaps.rank_of(found) + 1
        self._findspace_probes += behind - gaps.rank_of(first)
        return found

    def _set_gap(self, entry: _Entry, length: int) -> None:
        """Set the length of the gap behind an entry."""
        self._gaps.set_length(entry, length)
        first = self._first_free
        if first is not None:
            if entry is first:
                if not length:
                    self._first_free = None
            elif length and entry.key < first.key:
                self._first_free = entry

    def _merge_with_next(self, entry: _Entry) -> None:
        """Join an entry with the one that it touches if the same object (or none) runs on through both."""
        behind, backing = entry.behind, entry.object
        if (
            behind is None
            or behind.own
            or behind.object is not backing
            or (backing is not None and behind.offset != entry.offset + entry.end - entry.key)
        ):
            return
        if backing is not None:
            backing.references -= 1
        self._remove(behind)
        entry.end = behind.end
        self._set_gap(entry, behind.length)
        self._entries_freed += 1
        self._entry_merges += 1

    def _insert(self, entry: _Entry, *, after: _Entry, clips: int) -> None:
        """Put an entry behind another, and count it; ``clips`` entries are made, of which one stays."""
        entry.before, entry.behind = after, after.behind
        if after.behind is not None:
            after.behind.before = entry
        after.behind = entry
        self._count_clips(clips)
        self._by_start[entry.key] = entry
        self._gaps.add(entry)

    def _count_clips(self, made: int) -> None:
        """Count entries that are made beside those that there are."""
        self._entries_allocated += made
        most = len(self._by_start) - 1 + made  # the head is no entry
        if most > self._peak_entries:
            self._peak_entries = most

    def _remove(self, entry: _Entry) -> None:
        assert entry.before is not None  # only the head has none, and it is never removed
        entry.before.behind = entry.behind
        if entry.behind is not None:
            entry.behind.before = entry.before
        del self._by_start[entry.key]
        self._gaps.drop(entry)
        if entry is self._first_free:
            self._first_free = None

    def _cut(self, entry: _Entry, base: int, end: int) -> None:
        """Drop [base, end) out of an entry, as the kernel does: clip it at both ends of the range, and free that piece.

        The piece is counted, and takes an object as the kernel's clipping does, but it is never made.
        """
        start, whole, backing = entry.key, entry.end, entry.object
        before = entry.before
        assert before is not None  # as in _remove
        self._entries_freed += 1
        if base == start and end == whole:
            if backing is not None:
                backing.references -= 1
            self._remove(entry)
            self._set_gap(before, before.length + entry.length + end - base)
            return
        if backing is None:
            backing = entry.object = self._new_object(whole - start)
        if end == whole:
            self._count_clips(1)
            entry.end = base
            self._set_gap(entry, entry.length + end - base)
        elif base == start:
            self._count_clips(1)
            entry.offset += end - start
            del self._by_start[start]
            self._by_start[end] = entry
            self._gaps.move(entry, end, entry.length)
            self._set_gap(before, before.length + end - base)
        else:
            backing.references += 1
            upper = _Entry(end, whole, entry.length, own=entry.own, backing=backing, offset=entry.offset + end - start)
            entry.end = base
            self._set_gap(entry, end - base)
            self._insert(upper, after=entry, clips=2)

    def _new_object(self, size: int) -> _Object:
        self._next_object += 1
        return _Object(self._next_object, size)

    def _require_mapped(self, base: int, end: int) -> _Entry:
        """Return the entry that maps ``base``.

        Raises:
            BadFreeError: If any byte of [base, end) is not mapped, with the lowest that is not.
        """
        entry = self._by_start.get(base) or self._gaps.at_or_below(base)
        if entry is None or entry.end <= base or entry is self._head:
            raise BadFreeError(base, FreeFault.NOT_MAPPED)
        at = entry
        while at.end < end:
            behind = at.behind
            if behind is None or behind.key != at.end:
                raise BadFreeError(at.end, FreeFault.NOT_MAPPED)
            at = behind
        return entry

    def _require_range(self, base: int, size: int) -> _Entry:
        """Return the entry that maps the first byte of a page-aligned range, all of which is mapped."""
        if type(base) is not int or base & (self.page_size - 1):
            raise InvalidRequestError("base", base, f"must be a multiple of the page size {self.page_size}")
        if type(size) is not int or not 0 < size <= MAX_SIZE or size & (self.page_size - 1):
            require_size(size)
            raise InvalidRequestError("size", size, f"must be a multiple of the page size {self.page_size}")
        return self._require_mapped(base, base + size)

    def _free_pages(self, base: int, size: int) -> None:
        resident = self._resident
        before = len(resident)
        resident.difference_update(range(base >> self._page_shift, (base + size) >> self._page_shift))
        freed = before - len(resident)
        if freed:
            if not self._direct:
                self._pages_freed += freed
                self._tlb_shootdowns += 1
            if len(resident) < self._least_resident:
                self._least_resident = len(resident)

    def _refusal(self, size: int) -> NoSpaceError:
        gaps = [(entry.end, entry.length) for entry in (self._head, *self._entries()) if entry.length]
        largest = self._gaps.largest

        def explain() -> Explanation:
            return Explanation(
                size,
                tuple(HoleVerdict(base, length, Rule.SIZE) for base, length in gaps),
                "a kernel map has no source behind it",
                (Remedy(Change.SIZE, largest),) if largest else (),
            )

        return NoSpaceError(
            size,
            free=self.size - self._mapped,
            largest_hole=largest,
            mapped=self._mapped,
            kva_limit=self.size,
            explain=explain,
        )

    # --- check -------------------------------------------------------------------------------------

    def violations(self) -> tuple[Violation, ...]:
        """Return every breach of MI1, recomputed from the list of entries alone."""
        found: list[str] = []
        entries = self._entries()
        at, previous = self.base, self._head
        gaps: list[int] = []
        for entry in entries:
            if not at <= entry.key < entry.end <= self.base + self.size:
                found.append(f"entry {entry.key:#x}-{entry.end:#x} is out of order or overlaps the one before")
            if entry.before is not previous:
                found.append(f"entry {entry.key:#x} is not linked back to the one before")
            gaps.append(entry.key - previous.end)
            at, previous = entry.end, entry
        gaps.append(self.base + self.size - previous.end)
        found += self._gaps.faults()
        if [entry.length for entry in (self._head, *entries)] != gaps:
            found.append("the gaps in the tree differ from those between the entries")
        if list(self._gaps.nodes()) != [self._head, *entries]:
            found.append("the entries in the tree differ from the list")
        if self._by_start != {entry.key: entry for entry in [self._head, *entries]}:
            found.append("the table of entries by start differs from the list")
        first = next((entry for entry in (self._head, *entries) if entry.length), None)
        if self._first_free is not None and self._first_free is not first:
            found.append("the entry that is remembered as the one before the lowest gap is another")
        mapped = sum(entry.end - entry.key for entry in entries)
        if self._mapped != mapped:
            found.append(f"mapped is {self._mapped}, recomputed {mapped}")
        starts = [entry.key for entry in entries]
        for page in self._resident:
            address = page << self._page_shift
            index = bisect_right(starts, address) - 1
            if index < 0 or address >= entries[index].end:
                found.append(f"page {address:#x} is resident and not mapped")
        if self._peak_entries < len(entries) or self._most_mapped < mapped:
            found.append("a peak is below what the map holds now")
        references: dict[_Object, int] = {}
        for entry in entries:
            if entry.object is not None:
                references[entry.object] = references.get(entry.object, 0) + 1
        for backing, count in references.items():
            if backing.references != count:
                found.append(f"object {backing.number} counts {backing.references} references, {count} entries have it")
        return tuple(Violation("MI1", text) for text in found)

    def dump(self) -> str:
        """Return the entries as text, for an error."""
        return "\n".join(str(entry) for entry in self.entries())
