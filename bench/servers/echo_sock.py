"""TCP echo with the loop's socket methods: one task per connection, ``sock_recv`` and ``sock_sendall``."""

import argparse
import asyncio
import socket

from serving import BACKLOG, HOST, keep, run

CHUNK = 256 * 1024


async def echo(connection: socket.socket) -> None:
    """Write back what comes until the peer ends the stream."""
    loop = asyncio.get_running_loop()
    try:
        while data := await loop.sock_recv(connection, CHUNK):
            await loop.sock_sendall(connection, data)
    except ConnectionError:
        pass  # The load generator closes its connections when it has seen enough.
    finally:
        connection.close()


async def accept(listener: socket.socket) -> None:
    """Accept for ever."""
    loop = asyncio.get_running_loop()
    while True:
        connection, _ = await loop.sock_accept(listener)
        # Transports do this for their connections on every loop.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep(loop.create_task(echo(connection)))


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    listener = socket.create_server((HOST, 0), backlog=BACKLOG)
    listener.setblocking(False)
    keep(asyncio.ensure_future(accept(listener)))
    port: int = listener.getsockname()[1]
    return port


if __name__ == "__main__":
    run(start)
