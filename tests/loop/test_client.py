"""create_connection and connect_accepted_socket."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket

import pytest

from .helpers import HOST, Echo, Recorder, address_of, connected, finish, first, listener, serving, unused_port


async def test_connect(loop):
    async with serving(Echo) as (server, _):
        transport, client = await loop.create_connection(Recorder, *address_of(server))
        assert client.transport is transport
        assert client.made.done()
        assert transport.get_extra_info("peername") == address_of(server)
        await finish(client)


async def test_a_connected_socket_of_ones_own(loop):
    async with serving(Echo) as (server, _):
        sock = socket.create_connection(address_of(server))
        _, client = await loop.create_connection(Recorder, sock=sock)
        client.transport.write(b"mine")
        assert await client.until_received(4) == b"mine"
        await finish(client)


async def test_local_addr(loop):
    port = unused_port()
    async with connected(local_addr=("127.0.0.3", port)) as (client, server):
        assert client.transport.get_extra_info("sockname") == ("127.0.0.3", port)
        assert server.transport.get_extra_info("peername") == ("127.0.0.3", port)


async def test_local_addr_in_use(loop):
    async with serving() as (server, _):
        with pytest.raises(OSError) as caught:
            await loop.create_connection(Recorder, *address_of(server), local_addr=address_of(server))
        assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
async def test_hosts(loop, host):
    async with serving(Echo, host=host) as (server, _):
        port = address_of(server)[1]
        _, client = await loop.create_connection(Recorder, host, port)
        await finish(client)


async def test_family(loop):
    async with serving(host=HOST) as (server, _):
        port = address_of(server)[1]
        _, client = await loop.create_connection(Recorder, "localhost", port, family=socket.AF_INET)
        assert client.transport.get_extra_info("socket").family == socket.AF_INET
        await finish(client)


@pytest.mark.parametrize("options", [{"happy_eyeballs_delay": 0.05}, {"happy_eyeballs_delay": 0.05, "interleave": 1}])
async def test_happy_eyeballs_reaches_the_address_that_answers(loop, options):
    async with serving(Echo, host=HOST) as (server, _):
        port = address_of(server)[1]
        dead, alive = ("::1", port, 0, 0), (HOST, port)

        async def two_addresses(*args, **kwargs):
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", dead),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", alive),
            ]

        loop.getaddrinfo = two_addresses
        _, client = await loop.create_connection(Recorder, "two.example", port, **options)
        assert client.transport.get_extra_info("peername") == alive
        await finish(client)


async def test_the_error_of_a_race_that_nobody_wins_is_held_by_nothing_else(loop):
    with pytest.raises(OSError) as caught:
        await loop.create_connection(Recorder, HOST, unused_port(), happy_eyeballs_delay=0.05)
    assert [one for one in gc.get_referrers(caught.value) if isinstance(one, list)] == []


async def test_the_next_address_is_tried_when_one_refuses(loop):
    async with serving(Echo, host=HOST) as (server, _):
        _, client = await loop.create_connection(Recorder, "localhost", address_of(server)[1])
        await finish(client)


async def test_refused(loop):
    port = unused_port()
    with pytest.raises(ConnectionRefusedError) as caught:
        await loop.create_connection(Recorder, HOST, port)
    assert str(port) in str(caught.value)


async def test_unresolvable(loop):
    with pytest.raises(OSError):
        await loop.create_connection(Recorder, "host with spaces", 80)


async def test_no_route_for_the_family(loop):
    with pytest.raises(OSError):
        await loop.create_connection(Recorder, HOST, 80, family=socket.AF_INET6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"host": HOST, "port": 80, "sock": True},
        {"host": HOST, "port": 80, "server_hostname": "name"},
        {"sock": True, "ssl": True},
        {"host": HOST, "port": 80, "ssl_handshake_timeout": 1},
    ],
    ids=["nothing", "host and sock", "name without ssl", "ssl and sock without name", "timeout without ssl"],
)
async def test_options_that_contradict(loop, options):
    with socket.socket() as sock, pytest.raises(ValueError):
        await loop.create_connection(Recorder, **{**options, **({"sock": sock} if "sock" in options else {})})


async def test_a_datagram_socket_is_refused(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(ValueError, match=r"[Ss]tream"):
        await loop.create_connection(Recorder, sock=sock)


async def test_a_connect_that_is_cancelled_leaves_nothing(loop):
    with listener(backlog=0) as sock:
        fillers = []
        for _ in range(4):  # fill the backlog, so that a further connect does not complete
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
            fillers.append(filler)
        task = asyncio.create_task(loop.create_connection(Recorder, *sock.getsockname()))
        await asyncio.sleep(0.02)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for filler in fillers:
            filler.close()


async def test_connect_accepted_socket(loop):
    with listener() as sock:
        peer = socket.create_connection(sock.getsockname())
        accepted, address = sock.accept()
        transport, protocol = await loop.connect_accepted_socket(Echo, accepted)
        assert transport.get_extra_info("peername") == address == peer.getsockname()
        peer.sendall(b"accepted")
        assert await asyncio.to_thread(peer.recv, 100) == b"accepted"
        peer.close()
        await protocol.lost


async def test_connect_accepted_socket_wants_a_stream_socket(loop):
    with socket.socket(type=socket.SOCK_DGRAM) as sock, pytest.raises(ValueError, match=r"[Ss]tream"):
        await loop.connect_accepted_socket(Recorder, sock)


async def test_a_socket_pair_makes_a_connection(loop):
    near, far = socket.socketpair()
    _, one = await loop.create_connection(Recorder, sock=near)
    _, two = await loop.create_connection(Echo, sock=far)
    one.transport.write(b"pair")
    assert await one.until_received(4) == b"pair"
    await finish(one, two)


async def test_short_connections_one_after_the_other(loop):
    async with serving(Echo) as (server, protocols):
        for number in range(300):
            _, client = await loop.create_connection(Recorder, *address_of(server))
            client.transport.write(b"%d" % number)
            assert await client.until_received(len(b"%d" % number)) == b"%d" % number
            client.transport.close()
            await client.lost
        for protocol in protocols:
            await protocol.lost
        assert len(protocols) == 300


async def test_the_server_may_speak_first(loop):
    class Greeter(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"hello")

    async with serving(Greeter) as (server, protocols):
        _, client = await loop.create_connection(Recorder, *address_of(server))
        assert await client.until_received(5) == b"hello"
        await first(protocols)
        await finish(client)
