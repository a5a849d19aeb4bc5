"""Servers whose start, whose serving or whose end is cancelled at every moment."""

from __future__ import annotations

import asyncio
import contextlib
import errno

import pytest

from .certificates import server_context
from .helpers import HOST, Echo, address_of, client_socket, eventually, finish, peer_of, stop, unused_port


async def try_out(server):
    """A server that echoes works; it is closed afterwards."""
    with peer_of(server, blocking=True) as sock:
        sock.send(b"hello")
        assert await asyncio.to_thread(sock.recv, 5) == b"hello"
    await stop(server)


@pytest.mark.parametrize("host", [HOST, "localhost", (HOST, "localhost")])
async def test_create_server(loop, walk, slow_names, host):
    """What is not cancelled in time serves; what is cancelled leaves the port free."""
    port = unused_port()
    await walk(lambda: loop.create_server(walk.made(Echo), host, port), try_out)


async def test_create_server_over_tls(loop, walk):
    context, port = server_context(), unused_port()
    await walk(lambda: loop.create_server(walk.made(Echo), HOST, port, ssl=context), stop)


async def test_start_serving(loop, walk):
    """A server that is cancelled while it starts is its owner's to close."""
    port = unused_port()

    async def serve():
        server = await loop.create_server(walk.made(Echo), HOST, port, start_serving=False)
        try:
            await server.start_serving()
        except asyncio.CancelledError:
            server.close()
            raise
        return server

    await walk(serve, try_out)


async def test_create_unix_server(loop, walk, tmp_path):
    path = str(tmp_path / "socket")

    async def try_unix(server):
        _, client = await loop.create_unix_connection(walk.made(), path)
        client.transport.write(b"hello")
        assert await client.until_received(5) == b"hello"
        await finish(client)
        await stop(server)

    await walk(lambda: loop.create_unix_server(walk.made(Echo), path), try_unix)


async def test_start_server(walk):
    port = unused_port()

    async def echo(reader, writer):
        writer.write(await reader.readexactly(5))
        writer.close()
        await writer.wait_closed()

    await walk(lambda: asyncio.start_server(echo, HOST, port), try_out)


async def test_serve_forever(loop, walk):
    """Cancelling is how it ends: the server is closed, and with it the port is free."""
    port = unused_port()

    async def serve():
        server = await loop.create_server(walk.made(Echo), HOST, port)
        try:
            await server.serve_forever()
        finally:
            server.close()

    serving = loop.create_task(serve())
    with client_socket() as sock:
        await eventually(lambda: sock.connect_ex((HOST, port)) in (0, errno.EISCONN))
    serving.cancel()
    await asyncio.wait([serving])
    walk.tracked.clear()

    async def served_for_a_while():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await serve()

    await walk(served_for_a_while)


async def test_wait_closed(loop, walk):
    """Whoever waits for a server's end may stop waiting; the server ends all the same."""

    async def close():
        server = await loop.create_server(walk.made(Echo), HOST, 0)
        try:
            _, client = await loop.create_connection(walk.made(), *address_of(server))
            loop.call_later(0.002, client.transport.abort)
        finally:
            server.close()
        await server.wait_closed()

    await walk(close)
