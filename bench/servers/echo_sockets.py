"""TCP echo on plain sockets: one task per connection, ``sock_recv`` and ``sock_sendall``."""

import asyncio
import socket

from serving import BACKLOG, HOST, run

CHUNK = 64 * 1024

# The loop holds its tasks by weak references only.
_tasks: set[asyncio.Task[None]] = set()


def keep(task: asyncio.Task[None]) -> None:
    """Hold a task until it has ended."""
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def echo(connection: socket.socket) -> None:
    """Send back what comes until the peer ends the stream."""
    loop = asyncio.get_running_loop()
    with connection:
        try:
            while data := await loop.sock_recv(connection, CHUNK):
                await loop.sock_sendall(connection, data)
        except ConnectionError:
            pass  # The load generator closes its connections when it has seen enough.


async def accept(listening: socket.socket) -> None:
    """Accept connections for ever."""
    loop = asyncio.get_running_loop()
    while True:
        connection, _ = await loop.sock_accept(listening)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep(loop.create_task(echo(connection)))


async def start() -> int:
    """Listen and return the port."""
    listening = socket.create_server((HOST, 0), backlog=BACKLOG)
    listening.setblocking(False)
    keep(asyncio.get_running_loop().create_task(accept(listening)))
    port: int = listening.getsockname()[1]
    return port


if __name__ == "__main__":
    run(start)
