"""`Ring`: the circular buffer of one half; keeps PI2 (offsets in range, a drained ring has both 0) and PI3 (bytes in order).

Contents are optional: a ring that was only ever given byte counts holds counts, and no storage is made for it.
"""

from __future__ import annotations

from coalloc.errors import Violation

__all__ = ["Ring"]


class Ring:
    """Hold ``cnt`` bytes between the offsets ``out`` and ``in_`` of a buffer of ``size`` bytes.

    ``size`` 0 is a half without a buffer.  Names are the kernel's (struct pipebuf).

    >>> ring = Ring()
    >>> ring.rebuild(8)
    >>> ring.put(6), ring.get(4), ring.put(5)
    (6, 4, 5)
    >>> ring.in_, ring.out, ring.cnt
    (3, 4, 7)
    """

    __slots__ = ("bytes_in", "bytes_out", "cnt", "high", "in_", "out", "size", "store")

    def __init__(self) -> None:
        self.size = self.cnt = self.in_ = self.out = 0
        self.high = 0
        """Offset behind the last byte that data have occupied since the ring was empty or rebuilt: 0 .. size."""
        self.store: bytearray | None = None
        self.bytes_in = 0
        """Bytes ever put in."""
        self.bytes_out = 0
        """Bytes ever taken out, or dropped with the buffer."""

    @property
    def space(self) -> int:
        """Free bytes."""
        return self.size - self.cnt

    def put(self, n: int, data: bytes | None = None) -> int:
        """Add up to ``n`` bytes (as many as there is room for); return how many."""
        room = self.size - self.cnt
        if n > room:
            n = room
        if data is not None or self.store is not None:
            self._store(n, data)
        if n:
            end = self.in_ + n
            if end < self.size:
                self.in_ = end
                if end > self.high:
                    self.high = end
            else:
                self.in_ = end - self.size
                self.high = self.size
            self.cnt += n
            self.bytes_in += n
        return n

    def _store(self, n: int, data: bytes | None) -> None:
        """Write ``n`` bytes behind what is there; zeros stand for those of which only a number is known."""
        if self.store is None:
            self.store = bytearray(self.size)
        piece = bytes(n) if data is None else data[:n]
        first = min(n, self.size - self.in_)
        self.store[self.in_ : self.in_ + first] = piece[:first]
        self.store[: n - first] = piece[first:]

    def get(self, n: int, into: bytearray | None = None) -> int:
        """Take up to ``n`` bytes (as many as there are); append them to ``into``; return how many."""
        left = self.cnt - n
        if left < 0:
            n, left = self.cnt, 0
        if into is not None:
            into += self.peek(n)
        self.bytes_out += n
        self.cnt = left
        if left:
            end = self.out + n
            self.out = end if end < self.size else end - self.size
        else:
            self.in_ = self.out = self.high = 0
        return n

    def peek(self, n: int) -> bytes:
        """Return the next ``n`` bytes (at most ``cnt``), and leave them."""
        if self.store is None:
            return bytes(n)
        first = min(n, self.size - self.out)
        return bytes(self.store[self.out : self.out + first] + self.store[: n - first])

    def rebuild(self, size: int) -> None:
        """Move the contents into a buffer of ``size`` (>= cnt) bytes, linear: ``out`` is 0, ``in_`` is cnt (B8)."""
        if self.store is not None:
            contents = self.peek(self.cnt)
            self.store = bytearray(size)
            self.store[: self.cnt] = contents
        self.size = size
        self.out = 0
        self.in_ = self.high = self.cnt  # may equal size; the next put, which needs room first, wraps it

    def drop(self) -> None:
        """Lose buffer and contents."""
        self.bytes_out += self.cnt
        self.size = self.cnt = self.in_ = self.out = self.high = 0
        self.store = None

    def violations(self) -> list[Violation]:
        """Return every breach of PI2 and PI3."""
        found = []
        if not 0 <= self.cnt <= self.size:
            found.append(Violation("PI2", f"cnt is {self.cnt}, size {self.size}"))
        if not (0 <= self.in_ <= self.size and 0 <= self.out <= max(self.size - 1, 0)):
            found.append(Violation("PI2", f"in {self.in_} or out {self.out} is outside a buffer of {self.size}"))
        elif self.size and self.cnt not in (0, self.size) and (self.in_ - self.out) % self.size != self.cnt:
            found.append(Violation("PI2", f"in {self.in_} and out {self.out} do not hold {self.cnt} bytes"))
        if self.cnt == 0 and (self.in_ or self.out):
            found.append(Violation("PI2", f"a drained ring has in {self.in_}, out {self.out}"))
        reach = self.in_ if self.out < self.in_ or not self.cnt else self.size
        if not reach <= self.high <= self.size:
            found.append(Violation("PI2", f"data reach up to {reach} of {self.size}, high is {self.high}"))
        if self.bytes_in - self.bytes_out != self.cnt:
            found.append(Violation("PI3", f"{self.bytes_in} bytes in less {self.bytes_out} out do not make {self.cnt}"))
        return found
