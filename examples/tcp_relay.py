"""A TCP relay: what comes in at one port goes to another server, and its answers come back.

Run it with ``python examples/tcp_relay.py 127.0.0.1:8007``, an echo server's address for example. Neither side is read
faster than the other takes it, so that a relay of a thousand slow clients holds little in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import cast

import netloop


class Side(asyncio.Protocol):
    """One side of a relayed connection; what it receives goes to the other one."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """This side has nothing more to say, but still listens, unless the other one has ended before."""
        self.ended = True
        if self.other is None or self.other.transport is None or self.other.ended:
            return False  # it is closed, and connection_lost() closes the other one
        self.other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """After an error nothing more can be said to the other side; otherwise it gets the rest."""
        other, self.transport = self.other, None
        if other is not None and other.transport is not None:
            other.transport.abort() if exc else other.transport.close()

    def pause_writing(self) -> None:
        """This side does not take what is sent to it: the other one is not read meanwhile."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()


class Client(Side):
    """The side that has connected to the relay."""

    def __init__(self, host: str, port: int, connecting: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self.address = host, port
        self.connecting = connecting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Read on when there is somebody to hand it to.
        cast(asyncio.Transport, transport).pause_reading()
        task = asyncio.get_running_loop().create_task(self.connect())
        self.connecting.add(task)
        task.add_done_callback(self.connecting.discard)

    async def connect(self) -> None:
        """Reach the server behind the relay."""
        server = Side()
        try:
            await asyncio.get_running_loop().create_connection(lambda: server, *self.address)
        except OSError as error:
            print(f"cannot reach the server: {error}", flush=True)
            if self.transport is not None:
                self.transport.abort()
            return
        assert server.transport is not None
        if self.transport is None:
            server.transport.abort()  # the client has gone meanwhile
            return
        self.other, server.other = server, self
        self.transport.resume_reading()


async def main(options: argparse.Namespace) -> None:
    """Relay until interrupted."""
    connecting: set[asyncio.Task[None]] = set()
    host, _, port = options.server.rpartition(":")
    loop = asyncio.get_running_loop()
    relay = await loop.create_server(lambda: Client(host, int(port), connecting), options.host, options.port)
    print(f"listening on {relay.sockets[0].getsockname()}", flush=True)
    async with relay:
        await relay.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", metavar="HOST:PORT", help="where to relay to")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8008)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        netloop.run(main(options))
