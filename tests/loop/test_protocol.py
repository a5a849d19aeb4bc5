"""Which callbacks a protocol gets, in which order, and what the transport tells about itself."""

from __future__ import annotations

import asyncio
import socket

import pytest

from .helpers import (
    BufferedRecorder,
    Echo,
    Recorder,
    address_of,
    connected,
    first,
    pattern,
    peer_of,
    serving,
    turns,
)

KINDS = {"Protocol": (Recorder, "data_received"), "BufferedProtocol": (BufferedRecorder, "buffer_updated")}


@pytest.mark.parametrize(("kind", "received"), KINDS.values(), ids=KINDS)
async def test_the_order_of_callbacks(loop, kind, received):
    async with serving(kind) as (server, protocols):
        with peer_of(server) as peer:
            peer.send(b"x")
            protocol = await first(protocols)
            await protocol.until_called(received)
            peer.shutdown(socket.SHUT_WR)
            assert await protocol.lost is None
    assert protocol.calls == ["connection_made", received, "eof_received", "connection_lost"]


async def test_connection_made_comes_before_any_data(loop):
    async with serving() as (server, protocols):
        with peer_of(server) as peer:
            peer.send(b"early")  # before the server accepted
            protocol = await first(protocols)
            assert await protocol.until_received(5) == b"early"
    assert protocol.calls[0] == "connection_made"


async def test_data_is_bytes(loop):
    types = []

    class Protocol(Recorder):
        def data_received(self, data):
            types.append(type(data))
            super().data_received(data)

    async with connected(server=Protocol) as (client, server):
        client.transport.write(bytearray(b"abc"))
        await server.until_received(3)
    assert types == [bytes]


async def test_nothing_is_called_after_connection_lost(loop):
    async with connected(server=Echo) as (client, server):
        client.transport.write(b"x" * 100_000)
        await client.until_received(1)
        client.transport.abort()
        await client.lost
        await server.lost
        await asyncio.sleep(0.01)
        assert client.calls[-1] == server.calls[-1] == "connection_lost"
        assert client.calls.count("connection_lost") == server.calls.count("connection_lost") == 1


async def test_connection_lost_is_not_called_from_within_close_or_abort(loop):
    for how in ("close", "abort"):
        async with connected() as (client, _):
            getattr(client.transport, how)()
            assert not client.lost.done()
            await client.lost


async def test_the_transport_is_an_asyncio_transport(loop):
    async with connected() as (client, server):
        for protocol in (client, server):
            assert isinstance(protocol.transport, asyncio.Transport)
            assert isinstance(protocol.transport, asyncio.BaseTransport)
            assert not isinstance(protocol.transport, asyncio.DatagramTransport)
            assert type(protocol.transport).__name__ in repr(protocol.transport)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_addresses(loop, host):
    async with serving(host=host) as (listening, protocols):
        _, client = await loop.create_connection(Recorder, *address_of(listening))
        server = await first(protocols)
        near, far = client.transport, server.transport
        assert near.get_extra_info("peername") == far.get_extra_info("sockname")
        assert near.get_extra_info("sockname") == far.get_extra_info("peername")
        assert near.get_extra_info("peername")[:2] == address_of(listening)
        near.abort()
        await client.lost
        await server.lost
        assert near.get_extra_info("peername")[:2] == (host, address_of(listening)[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_who_asks_after_the_end_is_told_the_peer(loop, host):
    async with serving(host=host) as (listening, protocols):
        with peer_of(listening) as peer:
            server = await first(protocols)
            server.transport.abort()
            await server.lost
            await turns()
            assert server.transport.get_extra_info("peername") == peer.getsockname()
            sock = server.transport.get_extra_info("socket")
            assert sock.family == peer.family
            assert sock.fileno() == -1


async def test_extra_info_that_is_not_there(loop):
    async with connected() as (client, _):
        assert client.transport.get_extra_info("nothing") is None
        assert client.transport.get_extra_info("nothing", 5) == 5
        assert client.transport.get_extra_info("ssl_object") is None


async def test_the_socket_of_a_transport(loop):
    async with connected() as (client, server):
        for protocol, other in ((client, server), (server, client)):
            sock = protocol.transport.get_extra_info("socket")
            assert sock.family == socket.AF_INET
            assert sock.type == socket.SOCK_STREAM
            assert sock.proto in (0, socket.IPPROTO_TCP)
            assert sock.getpeername() == other.transport.get_extra_info("sockname")
            assert sock.getsockname() == other.transport.get_extra_info("peername")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 33)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 33
            assert len(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)) == 104
            with pytest.raises(OSError):
                sock.getsockopt(socket.IPPROTO_TCP, 9999)


async def test_the_descriptor_of_a_transport_is_real(loop):
    async with connected() as (client, server):
        for protocol, other in ((client, server), (server, client)):
            sock = protocol.transport.get_extra_info("socket")
            with socket.socket(fileno=socket.dup(sock.fileno())) as copy:
                assert copy.getpeername() == other.transport.get_extra_info("sockname")
                assert copy.type == socket.SOCK_STREAM
            client.transport.write(b"x")
            await server.until_received(1)


async def test_set_and_get_protocol(loop):
    async with connected() as (client, server):
        assert server.transport.get_protocol() is server
        client.transport.write(b"for the first")
        await server.until_received(13)
        second = Recorder()
        server.hand_over_to(second)
        assert server.transport.get_protocol() is second
        client.transport.write(b"for the second")
        assert await second.until_received(14) == b"for the second"
        client.transport.close()
        assert await second.lost is None
    assert bytes(server.data) == b"for the first"
    assert "connection_made" not in second.calls
    assert "connection_lost" not in server.calls


@pytest.mark.parametrize("kinds", [(Recorder, BufferedRecorder), (BufferedRecorder, Recorder)], ids=["to", "from"])
async def test_switching_to_and_from_a_buffered_protocol(loop, kinds):
    before, after = kinds
    async with connected(server=before) as (client, server):
        client.transport.write(b"one")
        await server.until_received(3)
        second = after()
        server.hand_over_to(second)
        client.transport.write(b"two")
        assert await second.until_received(3) == b"two"
        client.transport.close()
        await second.lost


async def test_switching_inside_data_received_loses_nothing(loop):
    payload = pattern(300_000)
    seconds = []

    class Switching(Recorder):
        def data_received(self, data):
            super().data_received(data)
            seconds.append(BufferedRecorder())
            self.hand_over_to(seconds[0])

    async with connected(server=Switching) as (client, server):
        client.transport.write(payload)
        await server.until(lambda: seconds)
        await seconds[0].until(lambda: len(server.data) + len(seconds[0].data) == len(payload))
        assert bytes(server.data) + bytes(seconds[0].data) == payload


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_a_small_buffer_gets_everything_in_order(loop, size):
    class Small(BufferedRecorder):
        """Offers only a few bytes at a time."""

    Small.size = size
    payload = pattern(20_000 if size > 1 else 500)
    async with connected(server=Small) as (client, server):
        client.transport.write(payload)
        assert await server.until_received(len(payload)) == payload


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_get_buffer_is_asked_with_a_size_hint_and_may_give_any_writable_buffer(loop, kind):
    hints = []

    class Giving(BufferedRecorder):
        def get_buffer(self, sizehint):
            hints.append(sizehint)
            return self.buffer if kind is bytearray else memoryview(self.buffer)[:10]

    async with connected(server=Giving) as (client, server):
        client.transport.write(pattern(100))
        assert await server.until_received(100) == pattern(100)
    assert all(isinstance(hint, int) for hint in hints) and hints


@pytest.mark.parametrize("bad", [b"", bytearray(), None, b"read only", 7], ids=repr)
async def test_a_bad_buffer_ends_the_connection(loop, exceptions, bad):
    class Bad(BufferedRecorder):
        def get_buffer(self, sizehint):
            return bad

    async with connected(server=Bad) as (client, server):
        client.transport.write(b"x")
        error = await server.lost
        await client.lost
    await turns()
    [reported] = exceptions.take_types()
    assert isinstance(error, reported)
    assert issubclass(reported, (RuntimeError, TypeError, BufferError, ValueError))


@pytest.mark.parametrize("where", ["get_buffer", "buffer_updated"])
async def test_an_exception_in_a_buffered_protocol_ends_the_connection(loop, exceptions, where):
    def fail(self, number):
        raise LookupError(where)

    kind = type("Failing", (BufferedRecorder,), {where: fail})
    async with connected(server=kind) as (client, server):
        client.transport.write(b"x")
        assert isinstance(await server.lost, LookupError)
        await client.lost
    assert exceptions.take_types() == [LookupError]


async def test_a_buffered_protocol_gets_a_large_transfer(loop):
    payload = pattern(5_000_000)
    async with connected(server=BufferedRecorder) as (client, server):
        client.transport.write(payload)
        assert await server.until_received(len(payload)) == payload
