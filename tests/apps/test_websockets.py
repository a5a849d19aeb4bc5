"""The websockets package's server and client on one loop."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from loop.certificates import client_context, server_context
from loop.helpers import HOST, pattern

pytest.importorskip("websockets", reason="not installed: pip install websockets")

from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.asyncio.server import Server, ServerConnection, broadcast, serve, unix_serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK

# Run with --loops=asyncio or --loops=uvloop to see whether a failure is the loop's.
pytestmark = [pytest.mark.loops("netloop"), pytest.mark.limit(60)]

LARGE = 4_000_000
Handler = Callable[[ServerConnection], Awaitable[None]]


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@contextlib.asynccontextmanager
async def serving(handler: Handler = echo, **options: Any) -> AsyncIterator[str]:
    """A server, by its URL; closed at the end."""
    async with serve(handler, HOST, 0, **{"max_size": None, **options}) as server:
        yield url_of(server, "ssl" in options)


def url_of(server: Server, tls: bool = False) -> str:
    port = next(iter(server.sockets)).getsockname()[1]
    return f"wss://localhost:{port}" if tls else f"ws://{HOST}:{port}"


def connection_to(url: str, **options: Any) -> connect:
    """A client's connection, to be awaited or entered."""
    trusted: ssl.SSLContext | None = client_context() if url.startswith("wss") else None
    return connect(url, **{"max_size": None, "ssl": trusted, "proxy": None, **options})


@pytest.mark.parametrize("compression", [None, "deflate"], ids=["as it is", "compressed"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_messages_small_and_large(loop: object, tls: bool, compression: str | None) -> None:
    options: dict[str, Any] = {"ssl": server_context()} if tls else {}
    async with (
        serving(compression=compression, **options) as url,
        connection_to(url, compression=compression) as client,
    ):
        for size in (0, 1, 125, 126, 65_536, LARGE):
            await client.send(pattern(size))
            assert await client.recv() == pattern(size)
        for text in ("", "häuser", "häuser " * 100_000):
            await client.send(text)
            assert await client.recv() == text


async def test_over_a_unix_socket(loop: object, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with unix_serve(echo, path, max_size=None), unix_connect(path, max_size=None) as client:
        await client.send(pattern(LARGE))
        assert await client.recv() == pattern(LARGE)


async def test_messages_in_fragments(loop: object) -> None:
    async def fragments() -> AsyncIterator[bytes]:
        for start in range(0, 1_000_000, 10_000):
            yield pattern(1_000_000)[start : start + 10_000]

    async with serving() as url, connection_to(url, compression=None) as client:
        await client.send(fragments())
        assert await client.recv() == pattern(1_000_000)


async def test_many_messages_before_the_first_answer_is_read(loop: object) -> None:
    """More than the queues of both sides hold, so that both wait for each other's reading."""
    async with serving() as url, connection_to(url, compression=None) as client:

        async def send_all() -> None:
            for number in range(2000):
                await client.send(number.to_bytes(4, "big") * 250)

        sending = asyncio.create_task(send_all())
        for number in range(2000):
            assert await client.recv() == number.to_bytes(4, "big") * 250
        await sending


async def test_two_hundred_connections(loop: object) -> None:
    everybody: set[ServerConnection] = set()

    async def room(connection: ServerConnection) -> None:
        everybody.add(connection)
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                broadcast(everybody, message)
        everybody.discard(connection)

    async with serving(room) as url, contextlib.AsyncExitStack() as stack:
        opening = [stack.enter_async_context(connection_to(url, compression=None)) for _ in range(200)]
        clients = await asyncio.gather(*opening)
        while len(everybody) < 200:
            await asyncio.sleep(0)
        for number in range(3):
            await clients[number].send(f"message {number}")
            received = await asyncio.gather(*[client.recv() for client in clients])
            assert set(received) == {f"message {number}"}


async def test_close_codes(loop: object) -> None:
    async def leave(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.close(4001, "as you wish")

    async with serving(leave) as url:
        async with connection_to(url) as client:
            await client.send("go")
            with pytest.raises(ConnectionClosedError):
                await client.recv()
            assert (client.close_code, client.close_reason) == (4001, "as you wish")
        client = await connection_to(url)
        await client.close()
        with pytest.raises(ConnectionClosedOK):
            await client.recv()
        assert client.close_code == 1000


async def test_a_message_that_is_too_large(loop: object) -> None:
    async with serving(max_size=1000) as url, connection_to(url) as client:
        await client.send(bytes(1001))
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert client.close_code == 1009


async def test_ping_and_pong(loop: object) -> None:
    async with serving() as url, connection_to(url) as client:
        for _ in range(100):
            assert await (await client.ping()) >= 0


async def test_a_peer_that_no_longer_reads(loop: object) -> None:
    """Its pings stay unanswered, which ends the connection."""
    released = asyncio.Event()

    async def deaf(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await released.wait()
        connection.transport.abort()

    async with serving(deaf) as url:
        client: ClientConnection
        async with connection_to(url, ping_interval=0.05, ping_timeout=0.1, close_timeout=0.1) as client:
            with pytest.raises(ConnectionClosedError, match="keepalive ping timeout"):
                await client.recv()
        released.set()


async def test_a_peer_that_vanishes(loop: object) -> None:
    async def vanish(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    async with serving(vanish) as url, connection_to(url) as client:
        await client.send("go")
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert client.close_code == 1006


async def test_a_receive_that_is_cancelled(loop: object) -> None:
    """No message is lost by it."""
    async with serving() as url, connection_to(url) as client:
        for number in range(100):
            receiving = asyncio.create_task(client.recv())
            await asyncio.sleep(0)
            receiving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await receiving
            await client.send(str(number))
            assert await client.recv() == str(number)


async def test_closing_the_server(loop: object) -> None:
    """Each client is told; a new one is refused."""
    async with serve(echo, HOST, 0) as server, contextlib.AsyncExitStack() as stack:
        url = url_of(server)
        clients = [await stack.enter_async_context(connection_to(url)) for _ in range(20)]
        server.close()
        for client in clients:
            with pytest.raises(ConnectionClosedOK):
                await client.recv()
            assert client.close_code == 1001
        await server.wait_closed()
        with pytest.raises(OSError):
            await connection_to(url)
