"""The upload of ``upload.py`` by leases; on a loop that has none, with ``BufferedProtocol``, its nearest to that.

On ``netloop-copies`` it is ``upload.py`` itself: what ``data_received`` costs on the same loop.
"""

import argparse
import asyncio
import functools
from typing import cast

import upload
import upload_buffered
from serving import BACKLOG, HOST, has_leases, port_of, run

import netloop

ACKNOWLEDGEMENT = b"\x06"
BUFFERS, BUFFER_SIZE = 64, 256 * 1024


class LeaseUpload(netloop.LeaseProtocol):
    """Counts bytes, and looks at the first and the last where they lie."""

    def __init__(self, size: int, pool: netloop.BufferPool) -> None:
        self._size = size
        self._missing = size
        self._pool = pool

    def receive_pool(self) -> netloop.BufferPool:
        """All connections share one."""
        return self._pool

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def lease_received(self, lease: netloop.Lease) -> None:
        """Count, and acknowledge what is complete."""
        self._missing -= len(lease)
        self.ends = lease[0], lease[-1]
        lease.release()
        while self._missing <= 0:
            self._missing += self._size
            self._transport.write(ACKNOWLEDGEMENT)


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    if not has_leases(options):
        start_without = upload.start if options.loop == "netloop-copies" else upload_buffered.start
        return await start_without(options)
    factory = functools.partial(LeaseUpload, options.size, netloop.BufferPool(BUFFERS, BUFFER_SIZE))
    return port_of(await asyncio.get_running_loop().create_server(factory, HOST, 0, backlog=BACKLOG))


if __name__ == "__main__":
    run(start)
