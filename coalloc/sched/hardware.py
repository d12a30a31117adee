"""`Hardware`: CPUs, how far apart they are, and what transfers, wakeups and switches cost; plain data."""

from __future__ import annotations

from typing import Final

import attrs

from coalloc.errors import InvalidRequestError

__all__ = ["IDEAL", "SERVER", "Hardware"]

_MOST_CPUS: Final = 4096


@attrs.frozen
class Hardware:
    """A machine; times are in nanoseconds, >= 0.

    CPUs with following numbers share a core, and cores with following numbers share a socket.

    Args:
        cpus: CPUs, 1 to 4,096.
        cpus_per_core: CPUs of a core, >= 1.
        cpus_per_socket: CPUs of a socket, >= 1.
        atomic: An atomic operation on a line that the CPU has.
        same_core: The transfer of a line to another CPU of the core.
        same_socket: The transfer to another core of the socket.
        other_socket: The transfer to another socket.
        switch: A switch from one thread to another.
        wakeup: What it costs a thread to wake another.
        wake_latency: From the wakeup until an idle CPU runs the thread, without the switch.
        interrupt: What it costs to interrupt another CPU and to wait for it.
        slice: After so long a thread goes to the end of its CPU's queue, between two operations; 0 for never.

    Raises:
        InvalidRequestError: If a number is out of range.
    """

    cpus: int = 2
    cpus_per_core: int = 1
    cpus_per_socket: int = 64
    atomic: int = 0
    same_core: int = 0
    same_socket: int = 0
    other_socket: int = 0
    switch: int = 0
    wakeup: int = 0
    wake_latency: int = 0
    interrupt: int = 0
    slice: int = 0

    def __attrs_post_init__(self) -> None:
        for field in attrs.fields(Hardware):
            least, value = (1 if field.name.startswith("cpus") else 0), getattr(self, field.name)
            if type(value) is not int or value < least:
                raise InvalidRequestError(field.name, value, f"must be an int >= {least}")
        if self.cpus > _MOST_CPUS:
            raise InvalidRequestError("cpus", self.cpus, f"must be at most {_MOST_CPUS}")

    def transfer(self, source: int, target: int) -> int:
        """Return what it takes to move a line from one CPU to another: ``atomic`` if they are the same.

        >>> [SERVER.transfer(0, cpu) for cpu in (0, 1, 2, 200)]
        [6, 9, 51, 108]
        """
        if source == target:
            return self.atomic
        if source // self.cpus_per_core == target // self.cpus_per_core:
            return self.same_core
        if source // self.cpus_per_socket == target // self.cpus_per_socket:
            return self.same_socket
        return self.other_socket


IDEAL: Final = Hardware()
"""Nothing costs anything but what threads spend."""
SERVER: Final = Hardware(
    cpus=256,
    cpus_per_core=2,
    cpus_per_socket=128,
    atomic=6,
    same_core=9,
    same_socket=51,
    other_socket=108,
    switch=1_300,
    wakeup=500,
    wake_latency=1_500,
    interrupt=2_000,
    slice=3_000_000,
)
"""A server of two sockets.

Transfers: the Ice Lake of github.com/nviennot/core-to-core-latency, two Xeon 8375C (siblings 7.4 to 9.8 ns, 51 within a socket,
108 between them).  Atomic: some 20 cycles.  Switch: 1.3 us from thread to thread on one core, with a condition variable
(albertnetymk.github.io, 18 December 2022).  That, a wakeup and its latency make a round trip of 6.6 us; perf bench sched pipe
tells 3.7 to 8.8 us in mails to linux-kernel.  Interrupt and slice are assumed.
"""
