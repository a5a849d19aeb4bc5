"""Calls that connect, cancelled at every moment."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from .certificates import client_context, server_context
from .helpers import HOST, Echo, Recorder, address_of, client_socket, finish, listener, serving, stop, unused_port

DEAD = "127.0.0.2"


async def talk(connection):
    """A connection that echoes works; it is closed afterwards."""
    transport, protocol = connection
    transport.write(b"hello")
    assert await protocol.until_received(5) == b"hello"
    await finish(protocol)


@contextlib.contextmanager
def full(address):
    """Somebody who listens at an address and does not answer."""
    with socket.socket() as sock, contextlib.ExitStack() as stack:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(0)
        for _ in range(4):
            stack.enter_context(client_socket()).connect_ex(sock.getsockname())
        yield


def addresses(*hosts):
    """A look-up that finds these hosts."""

    async def look_up(host, port, **_):
        await asyncio.sleep(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in hosts]

    return look_up


@pytest.mark.parametrize("host", [HOST, "localhost"])
async def test_create_connection(loop, walk, slow_names, host):
    async with serving(Echo) as (server, _):
        port = address_of(server)[1]
        await walk(lambda: loop.create_connection(walk.made(), host, port), talk)


async def test_create_connection_from_an_address(loop, walk, slow_names):
    async with serving(Echo) as (server, _):
        port = address_of(server)[1]
        local = ("localhost", 0)
        await walk(
            lambda: loop.create_connection(walk.made(), HOST, port, local_addr=local, family=socket.AF_INET), talk
        )


async def test_create_connection_where_the_first_addresses_refuse(loop, walk):
    async with serving(Echo) as (server, _):
        loop.getaddrinfo = addresses(DEAD, DEAD, HOST)
        await walk(lambda: loop.create_connection(walk.made(), "three.example", address_of(server)[1]), talk)


@pytest.mark.parametrize("hosts", [(DEAD, HOST), (HOST, DEAD), (HOST, HOST, HOST)], ids=["second", "first", "any"])
@pytest.mark.parametrize("delay", [0, 0.001])
async def test_create_connection_with_happy_eyeballs(loop, walk, hosts, delay):
    async with serving(Echo) as (server, _):
        port = address_of(server)[1]
        loop.getaddrinfo = addresses(*hosts)
        with full((DEAD, port)):
            await walk(
                lambda: loop.create_connection(walk.made(), "two.example", port, happy_eyeballs_delay=delay), talk
            )


async def test_create_connection_where_refusals_start_the_next(loop, walk):
    async with serving(Echo) as (server, _):
        loop.getaddrinfo = addresses(DEAD, DEAD, DEAD, HOST)
        port = address_of(server)[1]
        await walk(lambda: loop.create_connection(walk.made(), "four.example", port, happy_eyeballs_delay=10), talk)


async def test_create_connection_of_a_socket(loop, walk):
    async with serving(Echo) as (server, _):

        async def connect():
            sock = socket.create_connection(address_of(server))
            return await loop.create_connection(walk.made(), sock=sock)

        await walk(connect, talk)


async def test_create_connection_over_tls(loop, walk):
    context = client_context()
    async with serving(Echo, ssl=server_context()) as (server, _):
        await walk(
            lambda: loop.create_connection(walk.made(), *address_of(server), ssl=context, server_hostname="localhost"),
            talk,
        )


@pytest.mark.parametrize("timeout", [0.005, 10])
async def test_a_tls_server_that_does_not_answer(loop, walk, timeout):
    """The handshake fails by itself, or it is cancelled; the peer is silent."""
    context = client_context()
    with listener(backlog=100) as sock:

        async def connect():
            accepting = asyncio.timeout(0.02) if timeout == 10 else contextlib.nullcontext()
            with pytest.raises((ConnectionError, TimeoutError)):
                async with accepting:
                    await loop.create_connection(
                        walk.made(),
                        *sock.getsockname(),
                        ssl=context,
                        server_hostname="localhost",
                        ssl_handshake_timeout=timeout,
                    )

        await walk(connect)


async def test_connect_accepted_socket(loop, walk):
    async def accept():
        near, far = socket.socketpair()
        with far:
            _, protocol = await loop.connect_accepted_socket(walk.made(), near)
            far.send(b"hello")
            assert await protocol.until_received(5) == b"hello"
            await finish(protocol)

    await walk(accept)


async def test_connect_accepted_socket_over_tls(loop, walk):
    server, client = server_context(), client_context()

    async def connect(sock):
        with contextlib.suppress(ConnectionError):
            _, protocol = await loop.create_connection(
                walk.made(Echo), sock=sock, ssl=client, server_hostname="localhost"
            )
            await protocol.lost

    async def accept():
        near, far = socket.socketpair()
        peers.append(loop.create_task(connect(far)))
        return await loop.connect_accepted_socket(walk.made(), near, ssl=server)

    peers = []
    await walk(accept, talk)
    await asyncio.gather(*peers)


async def test_create_unix_connection(loop, walk, tmp_path):
    path = str(tmp_path / "socket")
    server = await loop.create_unix_server(Echo, path)
    await walk(lambda: loop.create_unix_connection(walk.made(), path), talk)
    await stop(server)


async def test_create_unix_connection_over_tls(loop, walk, tmp_path):
    path = str(tmp_path / "socket")
    context = client_context()
    server = await loop.create_unix_server(Echo, path, ssl=server_context())
    await walk(lambda: loop.create_unix_connection(walk.made(), path, ssl=context, server_hostname="localhost"), talk)
    await stop(server)


async def test_create_unix_connection_to_a_full_backlog(loop, walk, tmp_path):
    """The server accepts now and then."""
    path = str(tmp_path / "socket")

    async def serve():
        while True:
            await asyncio.sleep(0.005)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock.accept()[0].close()

    async def fill():
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as filler, contextlib.suppress(BlockingIOError):
                filler.setblocking(False)
                filler.connect(path)

    async def dispose(connection):
        await finish(connection[1])

    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen(0)
        sock.setblocking(False)
        serving = loop.create_task(serve())
        await walk(lambda: loop.create_unix_connection(walk.made(), path), dispose, fill)
        serving.cancel()
        await asyncio.wait([serving])


class Datagrams(Recorder):
    """Keeps what it gets."""

    def datagram_received(self, data, address):
        self.data += data
        self.called("datagram_received")

    def error_received(self, error):
        self.called("error_received")


async def test_create_datagram_endpoint(loop, walk, slow_names):
    async def try_out(endpoint):
        transport, protocol = endpoint
        transport.sendto(b"hello")
        assert await protocol.until_received(5) == b"hello"
        await finish(protocol)

    port = unused_port()
    here = ("localhost", port)
    await walk(
        lambda: loop.create_datagram_endpoint(
            walk.made(Datagrams), local_addr=here, remote_addr=here, family=socket.AF_INET
        ),
        try_out,
    )


async def test_open_connection(loop, walk, slow_names):
    async def try_out(streams):
        reader, writer = streams
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        await writer.wait_closed()

    async def connect():
        reader, writer = await asyncio.open_connection("localhost", port)
        return walk.track(reader), walk.track(writer)

    async with serving(Echo) as (server, _):
        port = address_of(server)[1]
        await walk(connect, try_out)
