"""The TCP relay of ``relay_copies.py`` by leases, which moves what comes untouched; on other loops that one."""

import argparse
import functools

import relay_copies
from relaying import Joined, serve
from serving import has_leases, run

import netloop

BUFFERS, BUFFER_SIZE = 256, 128 * 1024


class LeaseSide(Joined, netloop.LeaseProtocol):
    """A connection that hands on what comes."""

    def __init__(self, pool: netloop.BufferPool, other: "LeaseSide | None" = None) -> None:
        super().__init__(other)
        self._pool = pool

    def receive_pool(self) -> netloop.BufferPool:
        """All connections share one."""
        return self._pool

    def lease_received(self, lease: netloop.Lease) -> None:
        """Pass it on."""
        if self._other is None:
            self._early.append(lease)
        else:
            self._other.transport.write_lease(lease)


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    if not has_leases(options):
        return await relay_copies.start(options)
    pool = netloop.BufferPool(BUFFERS, BUFFER_SIZE)
    return await serve(functools.partial(LeaseSide, pool), functools.partial(LeaseSide, pool))


if __name__ == "__main__":
    run(start)
