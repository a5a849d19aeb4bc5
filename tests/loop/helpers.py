"""Protocols that record what they were told, and connections to use them on."""

from __future__ import annotations

import array
import asyncio
import contextlib
import functools
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

HOST = "127.0.0.1"
# Is there an interpreter lock?
LOCKED = getattr(sys, "_is_gil_enabled", lambda: True)()
# Does a thread of the kernel's do the loop's I/O, at the same time as the loop's turns and not as each begins?
POLLED = bool(os.environ.get("NETLOOP_IO_CPUS"))
# Do several of them, so that the loop has several rings, to which connections are given in turn?
SEVERAL_RINGS = POLLED and not os.environ["NETLOOP_IO_CPUS"].isdigit()


class Events:
    """Records the calls of a protocol; ``made`` and ``lost`` are futures of the first and the last."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: Any = None
        self.calls: list[str] = []
        self.data = bytearray()
        self.made: asyncio.Future[None] = self.loop.create_future()
        self.lost: asyncio.Future[BaseException | None] = self.loop.create_future()
        self.answer_to_eof: bool | None = None
        self.successor: Events | None = None
        self._waiters: list[asyncio.Future[None]] = []

    def called(self, name: str) -> None:
        self.calls.append(name)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until the condition holds; it is tried again after every call."""
        while not condition():
            waiter = self.loop.create_future()
            self._waiters.append(waiter)
            await waiter

    async def until_called(self, name: str) -> None:
        await self.until(lambda: name in self.calls)

    async def until_received(self, count: int) -> bytes:
        """Wait until ``count`` bytes have come, and return everything that came."""
        await self.until(lambda: len(self.data) >= count)
        return bytes(self.data)

    def hand_over_to(self, successor: Events) -> None:
        """Make another protocol the transport's; it is the one that will see the connection end."""
        self.successor = successor
        successor.transport = self.transport
        self.transport.set_protocol(successor)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.made.set_result(None)
        self.called("connection_made")

    def connection_lost(self, exc: BaseException | None) -> None:
        if not self.lost.done():  # a task that was cancelled while it waited has cancelled the future too
            self.lost.set_result(exc)
        self.called("connection_lost")

    def pause_writing(self) -> None:
        self.called("pause_writing")

    def resume_writing(self) -> None:
        self.called("resume_writing")

    def eof_received(self) -> bool | None:
        self.called("eof_received")
        return self.answer_to_eof


class Recorder(Events, asyncio.Protocol):
    """A plain protocol that keeps all data."""

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.called("data_received")


class BufferedRecorder(Events, asyncio.BufferedProtocol):
    """A buffered protocol with a buffer of ``size`` bytes that keeps all data."""

    size = 65536

    def __init__(self) -> None:
        super().__init__()
        self.buffer = bytearray(self.size)

    def get_buffer(self, sizehint: int) -> memoryview | bytearray:
        return memoryview(self.buffer)

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]
        self.called("buffer_updated")


class Echo(Recorder):
    """Sends back what it gets."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.called("data_received")


class Datagrams(Events, asyncio.DatagramProtocol):
    """Keeps all datagrams with their senders, and all errors."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append((data, addr))
        self.called("datagram_received")

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)
        self.called("error_received")

    @property
    def payloads(self) -> list[bytes]:
        return [data for data, _ in self.received]

    async def until_datagrams(self, count: int) -> list[bytes]:
        """Wait until ``count`` datagrams have come, and return the payloads of all that came."""
        await self.until(lambda: len(self.received) >= count)
        return self.payloads


@contextlib.asynccontextmanager
async def endpoint(factory: Callable[[], Any] = Datagrams, **options: Any) -> AsyncIterator[Any]:
    """The protocol of a datagram endpoint; it is gone at the end."""
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(factory, **options)
    try:
        yield protocol
    finally:
        await finish(protocol)


def name_of(protocol: Events) -> Any:
    """The socket name of an endpoint."""
    return protocol.transport.get_extra_info("sockname")


def address_of(server: asyncio.Server) -> Any:
    """Host and port of a server's first socket."""
    return server.sockets[0].getsockname()[:2]


async def finish(*protocols: Events) -> None:
    """End connections at once and wait until they are gone; one that never came about is left out."""
    if any(protocol.transport is None for protocol in protocols):
        await turns()
    for protocol in protocols:
        if protocol.transport is not None and "connection_lost" not in protocol.calls:
            protocol.transport.abort()
    for protocol in protocols:
        while protocol.successor is not None:
            protocol = protocol.successor
        if protocol.transport is not None:
            await protocol.until_called("connection_lost")


async def stop(server: asyncio.AbstractServer) -> None:
    """Close a server and wait until it is closed."""
    server.close()
    await server.wait_closed()


@contextlib.asynccontextmanager
async def serving(factory: Callable[[], Any] = Recorder, **options: Any) -> AsyncIterator[tuple[Any, list[Any]]]:
    """A server on a free port, and the list of protocols it has made; all is closed at the end."""
    protocols: list[Any] = []

    def make() -> Any:
        protocol = factory()
        protocols.append(protocol)
        return protocol

    loop = asyncio.get_running_loop()
    if "sock" not in options:
        options = {"host": HOST, "port": 0, **options}
    server = await loop.create_server(make, **options)
    try:
        yield server, protocols
    finally:
        server.close()
        await finish(*[protocol for protocol in protocols if isinstance(protocol, Events)])
        await server.wait_closed()


@contextlib.asynccontextmanager
async def connected(
    client: Callable[[], Any] = Recorder, server: Callable[[], Any] = Recorder, **options: Any
) -> AsyncIterator[tuple[Any, Any]]:
    """Both ends of one connection, client first; both are gone at the end."""
    loop = asyncio.get_running_loop()
    async with serving(server) as (listening, protocols):
        _, near = await loop.create_connection(client, *address_of(listening), **options)
        far = await first(protocols)
        try:
            yield near, far
        finally:
            await finish(near)


async def first(protocols: list[Any]) -> Any:
    """The first protocol of a server, once it is connected."""
    await eventually(lambda: protocols)
    await protocols[0].made
    return protocols[0]


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds that no callback announces; the hang guard bounds it."""
    while not condition():
        await asyncio.sleep(0.002)


async def turns(count: int = 3) -> None:
    """Let the loop go round a few times.

    A poller is given the time to do what it does meanwhile.
    """
    for _ in range(count):
        await asyncio.sleep(0.004 if POLLED else 0)


async def until_fetched() -> None:
    """Go on when the ring has brought what a peer has just sent, and nobody has been told of it."""
    if POLLED:
        time.sleep(0.01)
    await asyncio.sleep(0)


async def until_readable(sock: socket.socket) -> None:
    """Let the loop run until a socket that it does not know can be read without blocking it."""
    await eventually(lambda: bool(select.select([sock], [], [], 0)[0]))


@contextlib.contextmanager
def peer_of(server: asyncio.Server, *, blocking: bool = False) -> Iterator[socket.socket]:
    """A plain socket connected to a server: the kernel completes this without the server's help."""
    with socket.create_connection(address_of(server), timeout=10) as sock:
        sock.setblocking(blocking)
        yield sock


@contextlib.contextmanager
def listener(backlog: int = 16) -> Iterator[socket.socket]:
    """A plain listening socket, non-blocking."""
    with socket.create_server((HOST, 0), backlog=backlog) as sock:
        sock.setblocking(False)
        yield sock


def client_socket() -> socket.socket:
    """A plain TCP socket, non-blocking and not connected."""
    sock = socket.socket()
    sock.setblocking(False)
    return sock


@contextlib.contextmanager
def socket_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two plain TCP sockets, non-blocking and connected to each other."""
    with socket.create_server((HOST, 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        yield near, far


def unused_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


def reset(sock: socket.socket) -> None:
    """Close a socket so that the other end sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def in_thread(function: Callable[[], Any]) -> Any:
    """Run a function in a new thread; return its result or raise what it raised."""
    outcome: list[tuple[Any, BaseException | None]] = []

    def call() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as error:  # handed to the caller's thread
            outcome.append((None, error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


@functools.lru_cache(maxsize=8)
def pattern(size: int) -> bytes:
    """Bytes in which any displaced or lost part shows."""
    return array.array("I", range((size + 3) // 4)).tobytes()[:size]
