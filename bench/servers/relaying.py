"""What the relays share: an echo server in a process of its own, to which each connection is relayed."""

import asyncio
import contextlib
import os
import selectors
import socket
from collections.abc import Callable
from typing import Any

from serving import BACKLOG, HOST, die_with_parent, port_of

_AT_ONCE = 256 * 1024


def _echo(listener: socket.socket) -> None:
    """Echo on all connections, for ever; what a peer does not take at once is waited for."""
    chosen = selectors.DefaultSelector()
    chosen.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in chosen.select():
            if key.fileobj is listener:
                connection = listener.accept()[0]
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                chosen.register(connection, selectors.EVENT_READ)
                continue
            connection = key.fileobj  # type: ignore[assignment]
            with contextlib.suppress(OSError):
                if data := connection.recv(_AT_ONCE):
                    connection.sendall(data)
                    continue
            chosen.unregister(connection)
            connection.close()


def _start_echo() -> tuple[str, int]:
    listener = socket.create_server((HOST, 0), backlog=BACKLOG)
    address: tuple[str, int] = listener.getsockname()
    if os.fork() == 0:
        die_with_parent()
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
        _echo(listener)
    listener.close()
    return address


UPSTREAM = _start_echo()


class Joined:
    """One of two connections; the other is known once both are there."""

    def __init__(self, other: "Joined | None" = None) -> None:
        self._other: Any = other
        self._early: list[Any] = []

    def connection_made(self, transport: Any) -> None:
        """Keep the transport; the second of both joins them."""
        self.transport = transport
        if self._other is not None:
            self._other._other = self
            self.transport.writelines(self._other._early)

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


async def serve(near: Callable[[], Any], far: Callable[[Any], Any]) -> int:
    """Listen, and return the port. ``near`` makes the protocol of a client's connection, ``far`` that of its other."""
    loop = asyncio.get_running_loop()
    connecting = set()

    def accepted() -> Any:
        protocol = near()

        async def connect() -> None:
            await loop.create_connection(lambda: far(protocol), *UPSTREAM)

        task = loop.create_task(connect())
        connecting.add(task)
        task.add_done_callback(connecting.discard)
        return protocol

    return port_of(await loop.create_server(accepted, HOST, 0, backlog=BACKLOG))
