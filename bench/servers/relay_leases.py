"""The TCP relay of ``relay_copies.py`` by leases, which moves what comes untouched; on other loops that one."""

import argparse
import asyncio
import functools
from typing import cast

import relay_copies
from relaying import serve
from serving import has_leases, run

import netloop

BUFFERS, BUFFER_SIZE = 256, 128 * 1024


class LeaseSide(netloop.LeaseProtocol):
    """One of two connections; the other is known once both are there."""

    def __init__(self, pool: netloop.BufferPool, other: "LeaseSide | None" = None) -> None:
        self._pool = pool
        self._other = other
        self._early: list[netloop.Lease] = []

    def receive_pool(self) -> netloop.BufferPool:
        """All connections share one."""
        return self._pool

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; the second of both joins them."""
        self.transport = cast(netloop.LeaseTransport, transport)
        if self._other is not None:
            self._other._other = self
            self.transport.writelines(self._other._early)

    def lease_received(self, lease: netloop.Lease) -> None:
        """Pass it on."""
        if self._other is None:
            self._early.append(lease)
        else:
            self._other.transport.write_lease(lease)

    def pause_writing(self) -> None:
        """The other side is not read as long as this one takes nothing."""
        if self._other is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if self._other is not None:
            self._other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of one is the end of both."""
        if self._other is not None:
            self._other.transport.close()


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    if not has_leases(options):
        return await relay_copies.start(options)
    pool = netloop.BufferPool(BUFFERS, BUFFER_SIZE)
    return await serve(functools.partial(LeaseSide, pool), functools.partial(LeaseSide, pool))


if __name__ == "__main__":
    run(start)
