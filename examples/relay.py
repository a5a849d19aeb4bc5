"""A relay that moves bytes from one connection to another without copying them.

It listens on a TCP address or a UNIX socket, and passes each connection on to another: ``python examples/relay.py
127.0.0.1:8007 127.0.0.1:80``, or ``unix:/run/app.sock`` in the place of either address. What it holds of all
connections together is bounded by its pool.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from typing import cast

import netloop


class Side(netloop.LeaseProtocol):
    """One of two connections that belong together. It is read only as long as the other one takes what it brings."""

    def __init__(self, relay: Relay, other: Side | None = None) -> None:
        self.relay = relay
        self.other = other
        self.ended = False

    def receive_pool(self) -> netloop.BufferPool:
        return self.relay.pool

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(netloop.LeaseTransport, transport)
        if self.other is None:
            # Nothing is read before there is somebody to send it to.
            self.transport.pause_reading()
            self.relay.begin(self)
        elif self.other.transport.is_closing():
            self.transport.abort()
        else:
            self.other.other = self
            self.other.transport.resume_reading()

    def lease_received(self, lease: netloop.Lease) -> None:
        assert self.other is not None
        self.other.transport.write_lease(lease)

    def eof_received(self) -> bool:
        """The end of one direction is passed on; the other goes on until its own end."""
        assert self.other is not None
        self.ended = True
        if self.other.transport.can_write_eof() and not self.other.transport.is_closing():
            self.other.transport.write_eof()
        if self.other.ended:
            self.other.transport.close()
        return not self.other.ended

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is None:
            return
        if exc is None:
            self.other.transport.close()
        else:
            self.other.transport.abort()


class Relay:
    """Listens at one address, and connects to another for each connection."""

    def __init__(self, target: str, pool: netloop.BufferPool) -> None:
        self.target = target
        self.pool = pool
        self.connecting: set[asyncio.Task[None]] = set()

    def begin(self, near: Side) -> None:
        """A connection is there, and waits until the other one is made."""
        task = asyncio.get_running_loop().create_task(self.connect(near))
        self.connecting.add(task)
        task.add_done_callback(self.connecting.discard)

    async def connect(self, near: Side) -> None:
        loop = asyncio.get_running_loop()

        def factory() -> Side:
            return Side(self, near)

        try:
            path = unix_path(self.target)
            if path is None:
                host, _, port = self.target.rpartition(":")
                await loop.create_connection(factory, host, int(port))
            else:
                await loop.create_unix_connection(factory, path)
        except OSError as error:
            print(f"cannot connect to {self.target}: {error}", flush=True)
            near.transport.abort()


def unix_path(address: str) -> str | None:
    """The path of an address like ``unix:/run/app.sock``, None for a host and a port."""
    return address.removeprefix("unix:") if address.startswith("unix:") else None


async def main(listen: str, target: str, buffers: int, size: int) -> None:
    """Serve until interrupted."""
    loop = asyncio.get_running_loop()
    relay = Relay(target, netloop.BufferPool(buffers, size))
    path = unix_path(listen)
    if path is None:
        host, _, port = listen.rpartition(":")
        server = await loop.create_server(lambda: Side(relay), host, int(port))
    else:
        server = await loop.create_unix_server(lambda: Side(relay), path)
    print(f"listening on {server.sockets[0].getsockname()}", flush=True)
    loop.add_signal_handler(signal.SIGTERM, server.close)
    with contextlib.suppress(asyncio.CancelledError):
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("listen", help="HOST:PORT or unix:PATH")
    parser.add_argument("target", help="HOST:PORT or unix:PATH")
    parser.add_argument("--buffers", type=int, default=128, help="how many buffers all connections share")
    parser.add_argument("--size", type=int, default=128 * 1024, help="bytes in each")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        netloop.run(main(options.listen, options.target, options.buffers, options.size))
