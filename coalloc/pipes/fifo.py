"""`Fifo`: a named pipe over the pair that its first open makes and its last close frees; its buffers keep PI1.

All data lie in the forward half, whoever writes.  The reverse half is never used, and counts all the same where the era backs
it.  The pair belongs to who opened the FIFO first, whoever owns the file.

Differences from the kernel: an open that would sleep until the other side is opened returns at once; while it would sleep it
holds the buffers, as in the kernel.

Source: FreeBSD sys/fs/fifofs/fifo_vnops.c of 11, 12.2 and 13.0, and pipe_named_ctor of sys_pipe.c; B73.
"""

from __future__ import annotations

import errno

from coalloc.errors import InvalidRequestError, PipeError
from coalloc.pipes.budget import ROOT, Owner
from coalloc.pipes.pair import PipePair
from coalloc.pipes.system import PipeSystem

__all__ = ["Fifo", "FifoFile"]


class Fifo:
    """A FIFO of a file system.

    Args:
        system: The pipes whose buffers it uses.

    Attributes:
        pair: The pipe that it is; None while nobody has it open.
        readers: How many opens read, and
        writers: how many write.

    Raises:
        InvalidRequestError: If FIFOs are no pipes in the system's era.

    >>> from coalloc import ERAS, KernelMap, PerPipeSpace
    >>> system = PipeSystem(PerPipeSpace(KernelMap(), kva_limit=1 << 20), ERAS["current"], maxpipekva=1 << 20)
    >>> fifo = Fifo(system)
    >>> reader, writer = fifo.open(reads=True), fifo.open(writes=True)
    >>> writer.write(5), reader.read(9), system.kva_used
    (5, 5, 20480)
    """

    __slots__ = ("_eof", "_system", "pair", "readers", "writers")

    def __init__(self, system: PipeSystem) -> None:
        if not system.era.fifos:
            raise InvalidRequestError("era", system.era.name, "its FIFOs are no pipes")
        self._system = system
        self.pair: PipePair | None = None
        self.readers = self.writers = 0
        self._eof = False

    def open(
        self, *, reads: bool = False, writes: bool = False, nonblock: bool = False, caller: Owner = ROOT
    ) -> FifoFile:
        """Open the FIFO; the first open makes its pair, which then is the caller's.

        Args:
            reads: Whether to read.
            writes: Whether to write.
            nonblock: Whether the open may not sleep.
            caller: Who opens it.

        Raises:
            PipeError: As :meth:`PipeSystem.pipe`; ENXIO for a non-blocking open to write only that finds no reader, after the
                pair was made: it goes again if nobody else has it open.
            InvalidRequestError: If it is opened for neither.
        """
        if not (reads or writes):
            raise InvalidRequestError("reads, writes", (reads, writes), "one of them must be true")
        if self.pair is None:
            self.pair = self._system.pipe(caller)
        if writes and not reads and nonblock and not self.readers:
            self._clean_up()
            raise PipeError(errno.ENXIO, "open")
        if writes or not self.readers:
            self._eof = False
        self.readers += reads
        self.writers += writes
        return FifoFile(self, reads=reads, writes=writes)

    def closed(self, *, reads: bool, writes: bool) -> None:
        """Take note that an open has ended; the last one frees the pair, and what it holds is lost."""
        self.readers -= reads
        self.writers -= writes
        self._eof |= writes and not self.writers
        self._clean_up()

    @property
    def at_end(self) -> bool:
        """Whether a read of nothing is the end of the file: the last who wrote has closed it, and nobody came since."""
        return self._eof

    def _clean_up(self) -> None:
        if self.pair is not None and not (self.readers or self.writers):
            self.pair.close(0)
            self.pair.close(1)
            self.pair = None


class FifoFile:
    """An open FIFO; made by :meth:`Fifo.open`."""

    __slots__ = ("_fifo", "_open", "_reads", "_writes")

    def __init__(self, fifo: Fifo, *, reads: bool, writes: bool) -> None:
        self._fifo = fifo
        self._reads, self._writes = reads, writes
        self._open = True

    def write(self, data: int | bytes, *, caller: Owner | None = None) -> int:
        """Write bytes, or a number that stands for any, and return how many were taken.

        Raises:
            PipeError: EBADF if it is not open for writing, EPIPE if nobody reads; else as :meth:`PipePair.write`.
        """
        pair = self._pair(self._writes, "write")
        if not self._fifo.readers:
            raise PipeError(errno.EPIPE, "write")
        return pair.write(1, data, caller=caller)

    def read(self, n: int, *, into: bytearray | None = None, caller: Owner | None = None) -> int:
        """Read up to ``n`` bytes, and return how many; 0 if nothing is left and the last who wrote has closed it.

        Raises:
            PipeError: EBADF if it is not open for reading; else as :meth:`PipePair.read`: EAGAIN if nobody has written yet.
        """
        pair = self._pair(self._reads, "read")
        if self._fifo.at_end and not pair.readable(0):
            return 0
        return pair.read(0, n, into=into, caller=caller)

    def close(self) -> None:
        """Close it; buffers and data stay while anybody has the FIFO open.

        Raises:
            PipeError: EBADF if it is closed already.
        """
        self._pair(True, "close")
        self._open = False
        self._fifo.closed(reads=self._reads, writes=self._writes)

    def _pair(self, may: bool, call: str) -> PipePair:
        pair = self._fifo.pair
        if not self._open or not may or pair is None:
            raise PipeError(errno.EBADF, call)
        return pair
