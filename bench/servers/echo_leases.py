"""TCP echo by leases: what comes is sent back from where the kernel has put it; on other loops as ``echo_protocol``."""

import argparse
import asyncio
import functools
from typing import cast

import echo_protocol
from serving import BACKLOG, HOST, has_leases, port_of, run

import netloop

BUFFERS, BUFFER_SIZE = 256, 128 * 1024


class LeaseEcho(netloop.LeaseProtocol):
    """Sends back what it receives."""

    def __init__(self, pool: netloop.BufferPool) -> None:
        self._pool = pool

    def receive_pool(self) -> netloop.BufferPool:
        """All connections share one."""
        return self._pool

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Echoing is the transport's own method."""
        self._write = cast(netloop.LeaseTransport, transport).write_lease

    def lease_received(self, lease: netloop.Lease) -> None:
        """Echo."""
        self._write(lease)


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    if not has_leases(options):
        return await echo_protocol.start(options)
    factory = functools.partial(LeaseEcho, netloop.BufferPool(BUFFERS, BUFFER_SIZE))
    return port_of(await asyncio.get_running_loop().create_server(factory, HOST, 0, backlog=BACKLOG))


if __name__ == "__main__":
    run(start)
