"""`Kernel` and `Process`: pipe(2), close(2), exit(2) and page faults as the kernel does them, step by step and lock by lock.

Every system call is a generator that a thread of a :class:`~coalloc.sched.machine.Machine` runs.  Kernel functions keep their
kernel names, since lock-order reports show them.  :class:`~coalloc.pipes.system.PipeSystem` defines what a pipe does, and does
it at once.  This module adds the locks around it, the zone items and descriptors that it needs, and the time.  A
:class:`~coalloc.vm.costs.CostModel` prices what the kernel map counted during a call, and that time passes while the lock is
held.

The design decides which lock is held.  Buffers that are mapped one by one are found and mapped under the map's lock.  A space
with arenas has a lock of its own, and takes the map's lock only when an arena is imported or released.

File names in reports are the kernel's.  Line numbers are this model's, except vm/uma_core.c:2048, where the mail of 31 January
2004 saw Giant taken.

Source: FreeBSD kern/sys_pipe.c (pipe(), pipeclose()) and the commit 4795b82c13 of 1 February 2004; kern/kern_descrip.c
(falloc(), fdgrowtable()); vm/uma_core.c (uma_large_free()); the report in the mail freebsd-current 2004-January/020191; B18,
B22, B24, B25, B39 to B41.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Generator, Iterator
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import attrs

from coalloc.errors import InvalidRequestError, PipeError, Violation
from coalloc.kernel.fdtable import FdTable, FileTable
from coalloc.kernel.giant import GIANT
from coalloc.kernel.zone import Zone
from coalloc.pipes.budget import ROOT, Owner
from coalloc.pipes.design import PER_PIPE, Design
from coalloc.pipes.eras import KernelState
from coalloc.pipes.half import Present
from coalloc.pipes.pair import PipePair
from coalloc.pipes.surroundings import FiledescLock, OldTable
from coalloc.pipes.system import PipeSystem
from coalloc.sched.clock import SimClock
from coalloc.sched.lockprof import LockProfile
from coalloc.sched.locks import Lock, LockKind
from coalloc.sched.machine import Machine
from coalloc.sched.ops import Acquire, Op, SleepOn, Spend, Unlock, WakeUp
from coalloc.sched.simulation import Simulation
from coalloc.sched.timeline import Timeline
from coalloc.sched.witness import Witness
from coalloc.space.protocol import per_cpu
from coalloc.units import PAGE_SIZE, MiB
from coalloc.vm.costs import COSTS, CostModel
from coalloc.vm.kernelmap import COUNTED

__all__ = ["Allocations", "Kernel", "PairItem", "Process"]

R = TypeVar("R")
Call = Generator[Op, Any, R]

_FALLOC: Final = ("kern/kern_descrip.c", 1204)
_GROWN: Final = ("kern/kern_descrip.c", 1131)
_FDCLOSE: Final = ("kern/kern_descrip.c", 960)
_PIPESPACE: Final = ("kern/sys_pipe.c", 412)
_ARENAS: Final = ("kern/sys_pipe.c", 430)
_MAP: Final = ("vm/vm_map.c", 1215)
_PIPECLOSE: Final = ("kern/sys_pipe.c", 1288)
_PIPE_READ: Final = ("kern/sys_pipe.c", 530)
_PIPE_WRITE: Final = ("kern/sys_pipe.c", 890)
_ZONE: Final = ("vm/uma_core.c", 1410)
_LARGE_FREE: Final = ("vm/uma_core.c", 2048)
_FAULT: Final = ("vm/vm_fault.c", 219)
_PAGE_QUEUES: Final = ("vm/vm_page.c", 745)

_FAULTS: Final = COUNTED.index("faults")
_SHOOTDOWNS: Final = COUNTED.index("tlb_shootdowns")
_LARGE: Final = PAGE_SIZE
"""A malloc(9) of more bytes than this takes pages of its own (KMEM_ZMAX)."""
_FILEDESCS: Final = 0xC6585138
"""The address of the first process's descriptor table, as in the mail; later tables follow."""
_FILEDESC_BYTES: Final = 0x100


class _Channel(NamedTuple):
    """A channel to sleep on: the kernel's wait message, with the pipe and the half."""

    wmesg: str
    pipe: int
    half: int = 0

    def __str__(self) -> str:
        return self.wmesg


@attrs.define
class PairItem:
    """An item of the zone of pipes: a pair, its mutex, and the creation time of each half.

    In a kernel where halves are items of their own, this stands for both, and the mutex is made for each pipe.
    """

    mutex: Lock | None = None
    ctimes: tuple[int, int] = (0, 0)
    pair: PipePair | None = None


@attrs.frozen
class Allocations:
    """Counts of what has been set up for pipes so far; divided by the number of pipes, the cost of one (B25)."""

    zone: int
    malloc: int
    mutex_init: int
    mappings: int


@attrs.define
class _Did(Generic[R]):
    """The result or error of a call to the pipe system, and its costs in nanoseconds: in the map, and by faults."""

    results: list[R]
    failed: PipeError | None
    map_ns: int
    fault_ns: int

    def outcome(self) -> R:
        if self.failed is not None:
            raise self.failed
        return self.results[0]


class Kernel:
    """A machine with a kernel in one state, and a design that gives pipes their buffers.

    Args:
        state: The state, with the surroundings of its pipes; see :data:`~coalloc.pipes.states.STATES`.
        design: The design; one that follows FreeBSD's pipe policy.
        maxpipekva: kern.ipc.maxpipekva in bytes.
        cpus: CPUs of the machine.
        maxfiles: kern.maxfiles.
        maxfilesperproc: kern.maxfilesperproc; RLIMIT_NOFILE is not lower.
        costs: The prices of events, in time.
        profile: Records where locks are taken.
        timeline: Collects what the machine's threads do, for pictures; None collects nothing.
        simulation: What runs the threads instead of ``machine``, in simulated time; None for the machine.

    Raises:
        InvalidRequestError: If a number is out of range, the design does not follow FreeBSD's pipe policy, or the state has
            no surroundings.
    """

    def __init__(
        self,
        state: KernelState,
        design: Design = PER_PIPE,
        *,
        maxpipekva: int = 64 * MiB,
        cpus: int = 2,
        maxfiles: int = 13_014,
        maxfilesperproc: int = 11_712,
        costs: CostModel = COSTS["measured"],
        profile: LockProfile | None = None,
        timeline: Timeline | None = None,
        simulation: Simulation | None = None,
    ) -> None:
        self.state = state
        self.around = state.surroundings
        self.clock = SimClock() if simulation is None else simulation.clock
        bench = design.build(state, maxpipekva, cpus=cpus)
        self.map, self.space = bench.kernel, bench.space
        self._per_cpu = per_cpu(bench.space, cpus)
        pipes = design.pipes(state, bench.space, maxpipekva, self.clock)
        if not isinstance(pipes, PipeSystem):
            raise InvalidRequestError("design", design.name, "has another kernel around its pipes")
        self.pipes = pipes
        self.witness = Witness(self.around.witness)
        self.profile = profile
        self.machine = Machine(
            cpus=cpus,
            clock=self.clock,
            witness=self.witness,
            profile=profile,
            outermost="Xint0x80_syscall",
            timeline=timeline,
        )
        self._runs: Machine | Simulation = self.machine if simulation is None else simulation
        self.files = FileTable(maxfiles, self.clock)
        self.maxfilesperproc = maxfilesperproc
        self.pages = 0
        """Pages that processes have touched and not given back."""
        self.mutex_inits = 0
        self._zone_items = self._mutex_mallocs = 0  # taken for pipes so far
        self._costs = {event: round(price.ns) for event, price in costs.prices.items()}
        self._prices = [self._costs[event] for event in COUNTED]
        self._mapped_by_pipes = 0
        self._pids = itertools.count(1)
        self.zone: Zone[PairItem] = (
            Zone("PIPE", PairItem, init=self._init_mutex, fini=self._destroy_mutex, ctor=self._construct, per_slab=8)
            if self.around.pair_zone
            else Zone("PIPE", PairItem, ctor=self._construct, dtor=self._destroy_mutex, per_slab=8)
        )
        self._zone_lock = Lock("PIPE", type="UMA zone")
        self._one_by_one = design.one_by_one
        self._map_lock = (
            Lock("pipe_map", LockKind.SX, type="user map")
            if pipes.era.maxpipekva_is_hard
            else Lock("kernel map", type="system map")
        )
        self._space_lock = Lock("pipe arenas", self._map_lock.kind)
        self._page_queues = Lock("vm page queue mutex")

    # --- what is set up for a pipe ---------------------------------------------------------------------

    def _init_mutex(self, item: PairItem) -> None:
        self.mutex_inits += 1
        item.mutex = Lock("pipe mutex")

    def _destroy_mutex(self, item: PairItem) -> None:
        item.mutex = None

    def _construct(self, item: PairItem) -> None:
        item.pair = None
        item.ctimes = (self._runs.now, self._runs.now)

    def zone_alloc(self) -> Call[PairItem]:
        """Take the zone item of a new pipe."""
        item = yield from self._in_zone(self.zone.alloc)
        self._zone_items += self._items_each
        if not self.around.pair_zone:
            yield from self.malloc(1)
            self._mutex_mallocs += 1
            self._init_mutex(item)
        return item

    def zone_free(self, item: PairItem) -> Call[None]:
        """Return a pipe's item to the zone."""
        yield from self._in_zone(lambda: self.zone.free(item))

    @property
    def _items_each(self) -> int:
        """The zone items of a pipe: one for the pair, or one for each half."""
        return 1 if self.around.pair_zone else 2

    def _in_zone(self, call: Callable[[], R]) -> Call[R]:
        yield Acquire(self._zone_lock, *_ZONE)
        result = call()
        yield Spend(self._items_each * self._price("cache_hits"))
        yield Unlock(self._zone_lock)
        return result

    def allocations(self) -> Allocations:
        """Return the counts of what has been set up for pipes so far."""
        return Allocations(
            zone=self._zone_items,
            malloc=self._mutex_mallocs,
            mutex_init=self.mutex_inits,
            mappings=self._mapped_by_pipes,
        )

    def _price(self, event: str) -> int:
        return self._costs[event]

    # --- memory ----------------------------------------------------------------------------------------

    def malloc(self, n: int) -> Call[None]:
        """Allocate ``n`` bytes."""
        yield Spend(self._price("map_ops" if n > _LARGE else "cache_hits"))

    def free(self, n: int) -> Call[None]:
        """Free ``n`` bytes: an item of a zone, or pages of their own."""
        if n > _LARGE:
            yield from self.uma_large_free()
        else:
            yield Spend(self._price("cache_hits"))

    def uma_large_free(self) -> Call[None]:
        """Unmap pages, under Giant where the kernel needs it."""
        if self.around.giant_frees:
            yield Acquire(GIANT, *_LARGE_FREE)
        yield Spend(self._price("unmap_ops"))
        if self.around.giant_frees:
            yield Unlock(GIANT)

    def vm_fault(self) -> Call[None]:
        """Give a process a page."""
        if self.around.giant_faults:
            yield Acquire(GIANT, *_FAULT)
        yield Acquire(self._page_queues, *_PAGE_QUEUES)
        self.pages += 1
        yield Unlock(self._page_queues)
        yield Spend(self._price("faults"))
        if self.around.giant_faults:
            yield Unlock(GIANT)

    def pipespace(self, call: Callable[[], R]) -> Call[R]:
        """Make a call to the pipe system under the locks of its design, and let the time pass that its work in the map costs.

        What the cache of a CPU serves needs no lock.

        Raises:
            PipeError: As the call does.
        """
        if self._per_cpu is not None:
            did = self._do(call)
            if did.map_ns:
                yield from self._lock_buffers()
                yield from self._pay(did)
            else:
                yield Spend(self._price("cache_hits") + did.fault_ns)
            return did.outcome()
        yield from self._lock_buffers()
        did = self._do(call)
        yield from self._pay(did)
        return did.outcome()

    def uiomove(self, call: Callable[[], R]) -> Call[R]:
        """Make a call that moves data; the locks are taken only if a buffer changes its size.

        Raises:
            PipeError: As the call does.
        """
        used = self.pipes.budget.kva_used
        did = self._do(call)
        if did.map_ns or self.pipes.budget.kva_used != used:
            yield from self._lock_buffers()
            yield from self._pay(did)
        else:
            yield Spend(did.fault_ns)
        return did.outcome()

    def _do(self, call: Callable[[], R]) -> _Did[R]:
        """Make a call on the CPU of the running thread, and price what the map counted."""
        if self._per_cpu is not None:
            self._per_cpu.cpu = self._runs.cpu
        before = self.map.counted()
        results: list[R] = []
        failed: PipeError | None = None
        try:
            results.append(call())
        except PipeError as error:
            failed = error
        after = self.map.counted()
        if after == before:
            return _Did(results, failed, 0, 0)
        done = [late - early for late, early in zip(after, before, strict=True)]
        fault_ns = self._prices[_FAULTS] * done[_FAULTS]
        ns = sum(price * n for price, n in zip(self._prices, done, strict=True))
        ns += self._price("ipis") * done[_SHOOTDOWNS] * (self.map.cpus - 1)
        return _Did(results, failed, ns - fault_ns, fault_ns)

    def _lock_buffers(self) -> Call[None]:
        if self.around.giant_pipespace:
            yield Acquire(GIANT, *_PIPESPACE)
        if self._one_by_one:
            yield Acquire(self._map_lock, *_MAP)
        else:
            yield Acquire(self._space_lock, *_ARENAS)

    def _pay(self, did: _Did[Any]) -> Call[None]:
        """Let the time pass that a call took under the locks, and release them."""
        if self._one_by_one:
            yield Spend(did.map_ns or self._price("carves"))
            yield Unlock(self._map_lock)
        else:
            if did.map_ns:
                yield Acquire(self._map_lock, *_MAP)
                yield Spend(did.map_ns)
                yield Unlock(self._map_lock)
            else:
                yield Spend(self._price("carves"))
            yield Unlock(self._space_lock)
        if self.around.giant_pipespace:
            yield Unlock(GIANT)
        if did.fault_ns:
            yield Spend(did.fault_ns)

    def create(self, owner: Owner) -> PipePair:
        """Make a pipe, and count what was mapped for it."""
        before = self.map.counted()[0]
        try:
            return self.pipes.pipe(owner)
        finally:
            self._mapped_by_pipes += self.map.counted()[0] - before

    # --- processes -------------------------------------------------------------------------------------

    def fork(self, owner: Owner = ROOT) -> Process:
        """Make a process."""
        return Process(self, next(self._pids), owner)

    def violations(self) -> tuple[Violation, ...]:
        """Return every breach of an invariant, of the pipes, the space, the map, the zone and the lock order."""
        return (
            *self.pipes.violations(),
            *self.space.violations(),
            *self.map.violations(),
            *self.zone.violations(),
            *self.witness.violations(),
        )


_File: TypeAlias = tuple[PairItem, int] | None
"""The file behind a descriptor: an end of a pipe, or None for another kind of file."""


class Process:
    """A process: descriptors, and the system calls on them.

    Args:
        kernel: The kernel that it runs on.
        pid: Its number.
        owner: Its owner.
    """

    def __init__(self, kernel: Kernel, pid: int, owner: Owner) -> None:
        self.kernel = kernel
        self.pid = pid
        self.owner = owner
        self.fds = FdTable(kernel.around.fd, limit=kernel.maxfilesperproc)
        self._files: dict[int, _File] = {}
        kind = LockKind.SX if kernel.around.filedesc_lock is FiledescLock.SX else LockKind.MUTEX
        self.lock = Lock("filedesc structure", kind, address=_FILEDESCS + (pid - 1) * _FILEDESC_BYTES)
        self._flagged = False
        self._outgrown: list[int] = []
        """Bytes of old tables to free once the lock has been released."""
        self.pages = 0

    # --- the lock of the descriptors -------------------------------------------------------------------

    def _lock_fds(self, place: tuple[str, int]) -> Iterator[Op]:
        yield Acquire(self.lock, *place)
        if self.kernel.around.filedesc_lock is FiledescLock.FLAG:
            while self._flagged:
                yield SleepOn(self.lock.address, self.lock)
            self._flagged = True
            yield Unlock(self.lock)

    def _unlock_fds(self) -> Iterator[Op]:
        if self.kernel.around.filedesc_lock is FiledescLock.FLAG:
            yield Acquire(self.lock, *_FALLOC)
            self._flagged = False
            yield WakeUp(self.lock.address)
        yield Unlock(self.lock)

    # --- pipe(2) -----------------------------------------------------------------------------------------

    def pipe(self) -> Call[tuple[int, int]]:
        """Create a pipe and return its descriptors: the one that is usually read, and the one that is usually written.

        Raises:
            PipeError: EMFILE, ENFILE, or the error of the era's pipe system; nothing is left behind then (B18).
        """
        kernel = self.kernel
        item = yield from kernel.zone_alloc()
        try:
            item.pair = yield from kernel.pipespace(lambda: kernel.create(self.owner))
        except PipeError:
            yield from kernel.zone_free(item)
            raise
        try:
            reads = yield from self.falloc((item, 0))
        except PipeError:
            yield from self._pipeclose(item, 0)
            yield from self._pipeclose(item, 1)
            raise
        try:
            writes = yield from self.falloc((item, 1))
        except PipeError:
            yield from self.close(reads)
            yield from self._pipeclose(item, 1)
            raise
        return reads, writes

    def open(self) -> Call[int]:
        """Open a file that is not a pipe, and return its descriptor.

        Raises:
            PipeError: EMFILE or ENFILE.
        """
        return (yield from self.falloc(None))

    def falloc(self, file: _File) -> Call[int]:
        """Count an open file and give it a descriptor.

        Raises:
            PipeError: EMFILE or ENFILE.
        """
        self.kernel.files.alloc(self.owner)
        yield from self._lock_fds(_FALLOC)
        try:
            fd = yield from self.fdalloc()
        except PipeError:
            self.kernel.files.free()
            yield from self._unlock_fds()
            raise
        self._files[fd] = file
        yield from self._unlock_fds()
        while self._outgrown:
            yield from self.kernel.free(self._outgrown.pop())
        return fd

    def fdalloc(self) -> Call[int]:
        """Take the lowest free descriptor, with the table's lock held.

        Raises:
            PipeError: EMFILE.
        """
        while True:
            fd = self.fds.find()
            if fd < self.fds.size:
                self.fds.use(fd)
                return fd
            yield from self.fdgrowtable()

    def fdgrowtable(self) -> Call[None]:
        """Grow the table; the lock is released for the allocation, and another thread that grows it meanwhile wins."""
        size = self.fds.size
        n = 2 * size * self.fds.layout.entry_bytes
        yield from self._unlock_fds()
        yield from self.kernel.malloc(n)
        yield from self._lock_fds(_GROWN)
        if self.fds.size > size:
            yield from self.kernel.free(n)
            return
        grown = self.fds.grow()
        if not grown.old_bytes:
            return
        if self.fds.layout.old_table is OldTable.FREED_LOCKED:
            yield from self.kernel.free(grown.old_bytes)
        elif self.fds.layout.old_table is OldTable.FREED_AFTER:
            self._outgrown.append(grown.old_bytes)

    # --- data, close(2), exit(2) ---------------------------------------------------------------------------

    def pipe_of(self, fd: int) -> tuple[PipePair, int]:
        """Return the pipe behind a descriptor, and the number of the end.

        Raises:
            PipeError: EBADF, if the descriptor is not open, or is not that of a pipe.
        """
        item, end = self._file(fd)
        return _pair(item), end

    def _file(self, fd: int) -> tuple[PairItem, int]:
        file = self._files.get(fd)
        if file is None:
            raise PipeError(errno.EBADF, "fget")
        return file

    def write(self, fd: int, data: int | bytes, *, nonblock: bool = False) -> Call[int]:
        """Write all bytes and sleep while there is no room; with ``nonblock``, write only what there is room for.

        Raises:
            PipeError: As :meth:`PipePair.write`, or EBADF; EAGAIN with ``nonblock`` only.
        """
        item, end = self._file(fd)
        if _pair(item).halves[1 - end].present is not Present.ACTIVE:
            raise PipeError(errno.EPIPE, "write")
        return (yield from _inside(_pair(item), 1 - end, self.pipe_write(item, end, data, nonblock=nonblock)))

    def pipe_write(self, item: PairItem, end: int, data: int | bytes, *, nonblock: bool) -> Call[int]:
        """Write inside the half of the other end."""
        pair, mutex = _pair(item), _mutex(item)
        n = data if isinstance(data, int) else len(data)
        written = 0
        try:
            written = yield from self.kernel.uiomove(lambda: pair.write(end, data))
        except PipeError as error:
            if error.errno != errno.EAGAIN or nonblock:
                raise
        yield Acquire(mutex, *_PIPE_WRITE)
        yield WakeUp(_Channel("piperd", pair.number, 1 - end))
        while written < n and not nonblock:
            try:
                written += pair.write(end, n - written if isinstance(data, int) else data[written:], rest_of=n)
                yield WakeUp(_Channel("piperd", pair.number, 1 - end))
            except PipeError as error:
                if error.errno != errno.EAGAIN:
                    yield Unlock(mutex)
                    raise
                yield SleepOn(_Channel("pipewr", pair.number, 1 - end), mutex)
        yield Unlock(mutex)
        return written

    def read(self, fd: int, n: int, *, into: bytearray | None = None, nonblock: bool = False) -> Call[int]:
        """Read up to ``n`` bytes, and sleep while there are none and the other end is open.

        Raises:
            PipeError: As :meth:`PipePair.read`, or EBADF; EAGAIN with ``nonblock`` only.
        """
        item, end = self._file(fd)
        return (yield from _inside(_pair(item), end, self.pipe_read(item, end, n, into, nonblock=nonblock)))

    def pipe_read(self, item: PairItem, end: int, n: int, into: bytearray | None, *, nonblock: bool) -> Call[int]:
        """Read inside the half of this end."""
        pair, mutex = _pair(item), _mutex(item)
        got = -1
        try:
            got = yield from self.kernel.uiomove(lambda: pair.read(end, n, into=into, blocks=not nonblock))
        except PipeError as error:
            if error.errno != errno.EAGAIN or nonblock:
                raise
        yield Acquire(mutex, *_PIPE_READ)
        while got < 0:
            try:
                got = pair.read(end, n, into=into, again=True)
            except PipeError:  # EAGAIN: the end cannot go away while a call is inside
                yield SleepOn(_Channel("piperd", pair.number, end), mutex)
        if pair.wakes_writer(1 - end):
            yield WakeUp(_Channel("pipewr", pair.number, end))
        yield Unlock(mutex)
        return got

    def close(self, fd: int) -> Call[None]:
        """Close a descriptor.

        Raises:
            PipeError: EBADF, if it is not open.
        """
        yield from self._lock_fds(_FDCLOSE)
        try:
            self.fds.free(fd)
            file = self._files.pop(fd)
        finally:
            yield from self._unlock_fds()
        self.kernel.files.free()
        if file is not None:
            yield from self._pipeclose(*file)

    def _pipeclose(self, item: PairItem, end: int) -> Call[None]:
        """Close an end: wake all sleepers of the pipe and wait for the calls inside; the last close frees the pair."""
        pair, mutex = _pair(item), _mutex(item)
        finished = yield from self.kernel.pipespace(lambda: pair.close(end))
        yield Acquire(mutex, *_PIPECLOSE)
        for half in (0, 1):
            yield WakeUp(_Channel("piperd", pair.number, half))
            yield WakeUp(_Channel("pipewr", pair.number, half))
        while not finished and pair.halves[end].present is Present.CLOSING:
            yield SleepOn(_Channel("pipecl", pair.number), mutex)
        yield Unlock(mutex)
        if all(half.present is Present.FINALIZED for half in pair.halves) and item.pair is pair:
            item.pair = None
            yield from self.kernel.zone_free(item)

    def touch(self) -> Call[None]:
        """Touch a fresh page."""
        yield from self.kernel.vm_fault()
        self.pages += 1

    def exit1(self) -> Call[None]:
        """Close all descriptors, and free the tables and pages."""
        for fd in self.fds.fds():
            yield from self.close(fd)
        layout = self.fds.layout
        kept = [grown.old_bytes for grown in self.fds.growths if layout.old_table is OldTable.KEPT and grown.old_bytes]
        current = [self.fds.size * layout.entry_bytes] if self.fds.growths else []
        for n in [*kept, *current]:
            yield from self.kernel.free(n)
        self.kernel.pages -= self.pages
        self.pages = 0


def _pair(item: PairItem) -> PipePair:
    assert item.pair is not None  # a descriptor refers to the item
    return item.pair


def _mutex(item: PairItem) -> Lock:
    assert item.mutex is not None  # the item has been initialised
    return item.mutex


def _inside(pair: PipePair, end: int, call: Call[R]) -> Call[R]:
    """Make a call inside an end's half; when it ends, a thread that waits to close the end is woken."""
    failed: PipeError | None = None
    results: list[R] = []
    with pair.busy(end):
        try:
            results.append((yield from call))
        except PipeError as error:
            failed = error
    yield WakeUp(_Channel("pipecl", pair.number))
    if failed is not None:
        raise failed
    return results[0]


def Xint0x80_syscall(call: Call[R]) -> Call[R]:  # noqa: N802 (the kernel's name, which reports show)
    """Enter the kernel for a system call."""
    return (yield from syscall(call))


def syscall(call: Call[R]) -> Call[R]:
    """Make the call."""
    return (yield from call)
