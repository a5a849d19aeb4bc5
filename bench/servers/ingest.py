"""Uploads into memory of the program's own, in pieces of ``--size`` bytes, each acknowledged with one byte.

By leases of a pool over that memory; on a loop that has none, and on ``netloop-copies``, with ``BufferedProtocol``,
which is handed the same pieces one after the other.
"""

import argparse
import asyncio
import functools
import mmap
from collections.abc import Callable
from typing import cast

from serving import BACKLOG, HOST, has_leases, port_of, run

import netloop

ACKNOWLEDGEMENT = b"\x06"
PIECES = 16


class Counting:
    """Acknowledges what is complete."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._missing = size

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def count(self, length: int) -> None:
        """So much has arrived."""
        self._missing -= length
        while self._missing <= 0:
            self._missing += self._size
            self._transport.write(ACKNOWLEDGEMENT)


class LeaseIngest(Counting, netloop.LeaseProtocol):
    """Looks at the first and the last byte where they lie."""

    def __init__(self, size: int, pool: netloop.BufferPool) -> None:
        super().__init__(size)
        self._pool = pool

    def receive_pool(self) -> netloop.BufferPool:
        """All connections share one."""
        return self._pool

    def lease_received(self, lease: netloop.Lease) -> None:
        """Look, and give the buffer back."""
        self.ends = lease[0], lease[-1]
        length = len(lease)
        lease.release()
        self.count(length)


class BufferedIngest(Counting, asyncio.BufferedProtocol):
    """Fills the pieces one after the other, and looks at the same bytes."""

    def __init__(self, size: int, memory: memoryview) -> None:
        super().__init__(size)
        self._memory = memory
        self._begin = 0

    def get_buffer(self, sizehint: int) -> memoryview:
        """The rest of the piece that is being filled."""
        return self._memory[self._begin : self._begin - self._begin % self._size + self._size]

    def buffer_updated(self, nbytes: int) -> None:
        """Look, and go on."""
        self.ends = self._memory[self._begin], self._memory[self._begin + nbytes - 1]
        self._begin = (self._begin + nbytes) % len(self._memory)
        self.count(nbytes)


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    memory = memoryview(mmap.mmap(-1, PIECES * options.size))
    factory: Callable[[], asyncio.BaseProtocol]
    if has_leases(options):
        pool = netloop.BufferPool(PIECES, options.size, memory=memory)
        factory = functools.partial(LeaseIngest, options.size, pool)
    else:
        factory = functools.partial(BufferedIngest, options.size, memory)
    return port_of(await asyncio.get_running_loop().create_server(factory, HOST, 0, backlog=BACKLOG))


if __name__ == "__main__":
    run(start)
