"""`KernelMap`: a simulated kernel map that counts what each mapping costs, and keeps M1 (entries ordered and disjoint).

A *map* is a range of addresses.  An *entry* is a mapped sub-range with one VM *object* (or none yet) behind it; free
space lies between entries.  ``map`` looks for the lowest gap that fits, and either extends the entry before it or makes a
new one; ``unmap`` clips entries at the ends of its range and drops what lies between.  Pages come one by one, by fault.

Rules of joining and splitting (B26-B31, facts/kernel.md section 2):

* A mapping without an object extends the entry before it if that one ends exactly there and either has no object, or
  has one that can be extended: referenced once, or ending exactly at the join.  Extending counts as a merge; afterwards
  the extended entry is also tried against the one behind it.
* Clipping an entry without an object first makes one object for the whole entry, which both pieces then reference.
  A fault on such an entry makes its object, too.
* A mapping with its own object never merges.

So N buffers mapped back to back are 1 entry, freeing a middle one leaves 2, filling the hole again gives 3: what the
n-th mapping costs depends on history.

Differences from the kernel: objects hold no pages of their own here (residency is kept per page of the map); the tree is
a treap, not a splay tree (:mod:`coalloc.vm.fittree`); the map has no lock, its acquisitions are only counted.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final, Literal

import attrs

from coalloc.errors import (
    BadFreeError,
    Explanation,
    FreeFault,
    HoleVerdict,
    InvalidRequestError,
    InvariantViolation,
    NoSpaceError,
    Remedy,
    Rule,
    Violation,
)
from coalloc.units import MAX_ADDRESS, MAX_SIZE, PAGE_SIZE, GiB, is_power_of_two, require_size, round_up
from coalloc.vm.fittree import FitTree

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


@attrs.define(eq=False)
class _Entry:
    start: int
    end: int
    own: bool = False
    object: _Object | None = None
    offset: int = 0
    before: _Entry | None = None
    behind: _Entry | None = None


class KernelMap:
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
            fault, and giving it back no shoot-down.

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
        "_counts",
        "_direct",
        "_gaps",
        "_head",
        "_mapped",
        "_next_object",
        "_page_shift",
        "_peak_entries",
        "_peak_mapped",
        "_peak_resident",
        "_resident",
        "base",
        "cpus",
        "findspace",
        "page_size",
        "size",
        "timestamp",
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
        if type(direct) is not bool:
            raise InvalidRequestError("direct", direct, "must be a bool")
        self.page_size = page_size
        self._direct = direct
        self.base = base
        self.size = size
        self.cpus = cpus
        self.findspace = findspace
        self.timestamp = 0
        self._page_shift = page_size.bit_length() - 1
        # The head stands for the space below the first entry; its key is an address no entry can start at.
        self._head = _Entry(base - 1, base)
        self._by_start: dict[int, _Entry] = {base - 1: self._head}
        self._gaps = FitTree()
        self._gaps.insert(base - 1, size)
        self._resident: set[int] = set()
        self._next_object = 0
        self._mapped = 0
        self._peak_entries = 0
        self._peak_mapped = 0
        self._peak_resident = 0
        self._counts = dict.fromkeys(COUNTED, 0)

    # --- the source --------------------------------------------------------------------------------

    @property
    def granule(self) -> int:
        """Bytes of a page."""
        return self.page_size

    def map(self, size: int, *, own_object: bool = False) -> int:
        """Map ``size`` bytes, rounded up to pages, at the lowest address where they fit; return the base.

        No page becomes resident.

        Args:
            size: Bytes, 1 .. 2**63.
            own_object: Give the mapping a VM object of its own, so that its entry never merges.

        Raises:
            InvalidRequestError: For a size outside its range.
            NoSpaceError: If no gap is large enough; ``explain()`` names every gap.

        Guarantees:
            The range overlaps no other mapping; on failure nothing is mapped, ``map_failures`` rises.
        """
        if type(size) is not int or size & (self.page_size - 1) or not 0 < size <= MAX_SIZE:
            size = round_up(require_size(size), self.page_size)
        counts = self._counts
        self._lock()
        before = self._find_space(size)
        if before is None:
            counts["map_failures"] += 1
            raise self._refusal(size)
        counts["map_ops"] += 1
        base = before.end
        if self._extendable(before, own_object=own_object):
            before.end += size
            self._gaps.update(before.start, self._gaps[before.start] - size)
            if before.object is not None:
                before.object.size = max(before.object.size, before.offset + before.end - before.start)
            counts["entry_merges"] += 1
            self._merge_with_next(before)
        else:
            gap = self._gaps[before.start]
            self._gaps.update(before.start, 0)
            entry = self._add_entry(_Entry(base, base + size, own_object), after=before, gap=gap - size)
            if own_object:
                entry.object = self._new_object(size)
        self._mapped += size
        if self._mapped > self._peak_mapped:
            self._peak_mapped = self._mapped
        return base

    def unmap(self, base: int, size: int) -> None:
        """Unmap a range, which may be any page-aligned part of what is mapped.

        Its resident pages are freed; if there was one, all other CPUs are interrupted once (B30).

        Raises:
            InvalidRequestError: If base or size is not page-aligned.
            BadFreeError: If any byte of the range is not mapped; nothing is unmapped.
        """
        self._require_range(base, size)
        counts = self._counts
        self._lock()
        counts["unmap_ops"] += 1
        entry = self._entry_at(base)
        end = base + size
        if entry.start < base:
            entry = self._clip(entry, base)
        while True:
            if entry.end > end:
                self._clip(entry, end)
            behind = entry.behind
            last = entry.end == end
            self._delete(entry)
            if last:
                break
            assert behind is not None  # the range was found mapped up to its end
            entry = behind
        self._mapped -= size
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
        unmapped = self._unmapped_in(first << shift, (last + 1) << shift)
        if unmapped is not None:
            raise BadFreeError(unmapped, FreeFault.NOT_MAPPED)
        missing = [page for page in range(first, last + 1) if page not in resident]
        for page in missing:
            entry = self._entry_at(page << shift)
            if entry.object is None:
                entry.object = self._new_object(entry.end - entry.start)
        resident.update(missing)
        self._counts["faults"] += 0 if self._direct else len(missing)
        self._peak_resident = max(self._peak_resident, len(resident))

    def discard(self, base: int, size: int) -> None:
        """Free the resident pages of a mapped, page-aligned range, and keep the mapping.

        Raises:
            InvalidRequestError: If base or size is not page-aligned.
            BadFreeError: If any byte of the range is not mapped.
        """
        self._require_range(base, size)
        self._counts["discard_ops"] += 1
        self._free_pages(base, size)

    def maps(self, base: int, size: int) -> bool:
        """Tell whether every byte of [base, base + size) is mapped."""
        return self._unmapped_in(base, base + size) is None

    def available(self) -> int:
        """Return the largest size that ``map`` would grant now: the largest gap, 0 if there is none."""
        return self._gaps.largest

    # --- what it holds -----------------------------------------------------------------------------

    def entries(self) -> tuple[MapEntry, ...]:
        """Return the entries in address order."""
        return tuple(
            MapEntry(e.start, e.end - e.start, None if e.object is None else e.object.number, e.offset)
            for e in self._entries()
        )

    def counters(self) -> MapCounters:
        """Return the counters as a frozen value."""
        return MapCounters(
            **self._counts,
            ipis=self._counts["tlb_shootdowns"] * (self.cpus - 1),
            entries=len(self._by_start) - 1,
            peak_entries=self._peak_entries,
            mapped=self._mapped,
            peak_mapped=self._peak_mapped,
            resident=len(self._resident) << self._page_shift,
            peak_resident=self._peak_resident << self._page_shift,
        )

    # --- entries -----------------------------------------------------------------------------------

    def _entries(self) -> list[_Entry]:
        found: list[_Entry] = []
        entry = self._head.behind
        while entry is not None:
            found.append(entry)
            entry = entry.behind
        return found

    def _lock(self) -> None:
        self._counts["lock_acquisitions"] += 1
        self.timestamp += 1

    def _find_space(self, size: int) -> _Entry | None:
        """Return the entry in front of the lowest gap that holds ``size``, counting the search as configured."""
        gaps = self._gaps
        visits = gaps.visits
        key = gaps.first_fit(size)
        if self.findspace == "tree":
            self._counts["findspace_probes"] += gaps.visits - visits
        else:
            first = gaps.first_fit(1)  # the kernel's first_free hint: its walk starts at the lowest gap of all
            if first == key and key is not None:
                self._counts["findspace_probes"] += 1
            else:
                start = len(gaps) if first is None else gaps.rank(first)
                end = len(gaps) if key is None else gaps.rank(key) + 1
                self._counts["findspace_probes"] += end - start
        return None if key is None else self._by_start[key]

    def _extendable(self, entry: _Entry, *, own_object: bool) -> bool:
        if own_object or entry.own or entry is self._head:
            return False
        backing = entry.object
        return backing is None or backing.references == 1 or backing.size == entry.offset + entry.end - entry.start

    def _merge_with_next(self, entry: _Entry) -> None:
        """Join an entry with the one behind it if they touch and the same object (or none) runs on through both."""
        behind = entry.behind
        if (
            behind is None
            or behind.start != entry.end
            or behind.own
            or behind.object is not entry.object
            or (entry.object is not None and behind.offset != entry.offset + entry.end - entry.start)
        ):
            return
        gap = self._gaps[behind.start]
        self._unlink(behind)
        if entry.object is not None:
            entry.object.references -= 1
        entry.end = behind.end
        self._gaps.update(entry.start, gap)
        self._counts["entry_merges"] += 1

    def _add_entry(self, entry: _Entry, *, after: _Entry, gap: int) -> _Entry:
        entry.before, entry.behind = after, after.behind
        if after.behind is not None:
            after.behind.before = entry
        after.behind = entry
        self._by_start[entry.start] = entry
        self._gaps.insert(entry.start, gap)
        self._counts["entries_allocated"] += 1
        if len(self._by_start) > self._peak_entries + 1:  # the head is no entry
            self._peak_entries = len(self._by_start) - 1
        return entry

    def _unlink(self, entry: _Entry) -> None:
        assert entry.before is not None  # only the head has none, and it is never removed
        entry.before.behind = entry.behind
        if entry.behind is not None:
            entry.behind.before = entry.before
        del self._by_start[entry.start]
        self._gaps.remove(entry.start)
        self._counts["entries_freed"] += 1

    def _clip(self, entry: _Entry, at: int) -> _Entry:
        """Split an entry at an address inside it, and return the upper piece."""
        if entry.object is None:
            entry.object = self._new_object(entry.end - entry.start)
        entry.object.references += 1
        upper = _Entry(at, entry.end, entry.own, entry.object, entry.offset + at - entry.start)
        gap = self._gaps[entry.start]
        self._gaps.update(entry.start, 0)
        entry.end = at
        return self._add_entry(upper, after=entry, gap=gap)

    def _delete(self, entry: _Entry) -> None:
        if entry.object is not None:
            entry.object.references -= 1
        gap = self._gaps[entry.start] + entry.end - entry.start
        before = entry.before
        assert before is not None  # as in _unlink
        self._unlink(entry)
        self._gaps.update(before.start, self._gaps[before.start] + gap)

    def _new_object(self, size: int) -> _Object:
        self._next_object += 1
        return _Object(self._next_object, size)

    def _entry_at(self, address: int) -> _Entry:
        """Return the entry that maps an address.

        Raises:
            BadFreeError: If none does.
        """
        entry = self._by_start.get(address)
        if entry is None:
            key = self._gaps.floor(address)
            entry = self._head if key is None else self._by_start[key]
        if not entry.start <= address < entry.end or entry is self._head:
            raise BadFreeError(address, FreeFault.NOT_MAPPED)
        return entry

    def _unmapped_in(self, base: int, end: int) -> int | None:
        """Return the lowest address in [base, end) that is not mapped, or None."""
        try:
            entry: _Entry | None = self._entry_at(base)
        except BadFreeError:
            return base
        while entry is not None and entry.start <= base:
            base = entry.end
            if base >= end:
                return None
            entry = entry.behind
        return base

    def _require_range(self, base: int, size: int) -> None:
        if type(base) is not int or base % self.page_size:
            raise InvalidRequestError("base", base, f"must be a multiple of the page size {self.page_size}")
        if require_size(size) % self.page_size:
            raise InvalidRequestError("size", size, f"must be a multiple of the page size {self.page_size}")
        unmapped = self._unmapped_in(base, base + size)
        if unmapped is not None:
            raise BadFreeError(unmapped, FreeFault.NOT_MAPPED)

    def _free_pages(self, base: int, size: int) -> None:
        resident = self._resident
        before = len(resident)
        if before:
            resident.difference_update(range(base >> self._page_shift, (base + size) >> self._page_shift))
            freed = before - len(resident)
            if freed:
                self._counts["pages_freed"] += freed
                self._counts["tlb_shootdowns"] += not self._direct

    def _refusal(self, size: int) -> NoSpaceError:
        gaps = [(self._by_start[key].end, self._gaps[key]) for key in self._gaps if self._gaps[key]]
        largest = self._gaps.largest

        def explain() -> Explanation:
            return Explanation(
                size,
                tuple(HoleVerdict(base, length, Rule.SIZE) for base, length in gaps),
                "a kernel map has no source behind it",
                (Remedy("size", largest),) if largest else (),
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
        """Return every breach of M1, recomputed from the list of entries alone."""
        found: list[str] = []
        entries = self._entries()
        at, gaps = self.base, {}
        previous = self._head
        for entry in entries:
            if not at <= entry.start < entry.end <= self.base + self.size:
                found.append(f"entry {entry.start:#x}-{entry.end:#x} is out of order or overlaps the one before")
            if entry.before is not previous:
                found.append(f"entry {entry.start:#x} is not linked back to the one before")
            gaps[previous.start] = entry.start - previous.end
            at, previous = entry.end, entry
        gaps[previous.start] = self.base + self.size - previous.end
        found += self._gaps.faults()
        if {key: self._gaps[key] for key in self._gaps} != gaps:
            found.append("the gaps in the tree differ from those between the entries")
        if self._by_start != {entry.start: entry for entry in [self._head, *entries]}:
            found.append("the table of entries by start differs from the list")
        mapped = sum(entry.end - entry.start for entry in entries)
        if self._mapped != mapped:
            found.append(f"mapped is {self._mapped}, recomputed {mapped}")
        starts = [entry.start for entry in entries]
        for page in self._resident:
            address = page << self._page_shift
            index = bisect_right(starts, address) - 1
            if index < 0 or address >= entries[index].end:
                found.append(f"page {address:#x} is resident and not mapped")
        if self._peak_entries < len(entries) or self._peak_mapped < mapped:
            found.append("a peak is below what the map holds now")
        references: dict[_Object, int] = {}
        for entry in entries:
            if entry.object is not None:
                references[entry.object] = references.get(entry.object, 0) + 1
        for backing, count in references.items():
            if backing.references != count:
                found.append(f"object {backing.number} counts {backing.references} references, {count} entries have it")
        return tuple(Violation("M1", text) for text in found)

    def check(self) -> None:
        """Raise InvariantViolation if ``violations()`` finds any."""
        found = self.violations()
        if found:
            raise InvariantViolation(found, "\n".join(str(entry) for entry in self.entries()))
