"""write_eof, eof_received, close and abort."""

from __future__ import annotations

import asyncio
import socket

import pytest

from .helpers import HOST, Datagrams, Echo, Recorder, connected, eventually, first, pattern, peer_of, serving, turns


async def test_write_eof_ends_one_direction(loop):
    async with connected() as (client, server):
        server.answer_to_eof = True
        assert client.transport.can_write_eof()
        client.transport.write(b"last words")
        client.transport.write_eof()
        await server.until_called("eof_received")
        assert server.data == b"last words"
        assert not server.transport.is_closing()
        server.transport.write(b"answer")
        assert await client.until_received(6) == b"answer"
        server.transport.close()
        assert await client.lost is None
        assert await server.lost is None


@pytest.mark.parametrize("answer", [None, False])
async def test_without_objection_the_connection_closes_at_the_end(loop, answer):
    async with connected() as (client, server):
        server.answer_to_eof = answer
        client.transport.write_eof()
        assert await server.lost is None
        assert await client.lost is None
        assert server.calls[-2:] == ["eof_received", "connection_lost"]


async def test_data_still_to_be_sent_goes_out_after_the_peers_end(loop):
    payload = pattern(4_000_000)

    class Late(Recorder):
        def eof_received(self):
            self.transport.write(payload)
            return super().eof_received()

    async with connected(server=Late) as (client, server):
        client.transport.write_eof()
        assert await client.until_received(len(payload)) == payload
        assert await server.lost is None
        assert await client.lost is None


async def test_write_eof_waits_for_what_was_written(loop):
    payload = pattern(8_000_000)
    async with connected() as (client, server):
        client.transport.write(payload)
        client.transport.write_eof()
        await server.until_called("eof_received")
        assert server.data == payload
        await server.lost
        await client.lost


async def test_after_write_eof_nothing_can_be_written(loop):
    async with connected() as (client, server):
        server.answer_to_eof = True
        client.transport.write_eof()
        client.transport.write_eof()
        with pytest.raises(RuntimeError):
            client.transport.write(b"too late")
        with pytest.raises(RuntimeError):
            client.transport.writelines([b"too late"])
        await server.until_called("eof_received")
        await turns()
        assert server.data == b""
        assert server.calls.count("eof_received") == 1


async def test_both_ends_write_eof(loop):
    async with connected() as (client, server):
        for protocol in (client, server):
            protocol.answer_to_eof = True
            protocol.transport.write(b"bye")
            protocol.transport.write_eof()
        for protocol in (client, server):
            await protocol.until_called("eof_received")
            assert protocol.data == b"bye"
            protocol.transport.close()
        assert await client.lost is None
        assert await server.lost is None


async def test_an_eof_answered_with_true_is_told_once(loop):
    async with connected() as (client, server):
        server.answer_to_eof = True
        client.transport.write_eof()
        await server.until_called("eof_received")
        await asyncio.sleep(0.01)
        assert server.calls.count("eof_received") == 1
        server.transport.pause_reading()
        server.transport.resume_reading()
        await asyncio.sleep(0.01)
        assert not server.lost.done()


async def test_an_exception_in_eof_received_ends_the_connection(loop, exceptions):
    class Failing(Recorder):
        def eof_received(self):
            raise LookupError("eof_received")

    async with connected(server=Failing) as (client, server):
        client.transport.write_eof()
        assert isinstance(await server.lost, LookupError)
        await client.lost
    assert exceptions.take_types() == [LookupError]


async def test_close_delivers_what_was_written(loop):
    payload = pattern(10_000_000)
    async with connected() as (client, server):
        client.transport.write(payload)
        client.transport.close()
        assert client.transport.is_closing()
        assert not client.lost.done()
        assert await server.lost is None
        assert server.data == payload
        assert await client.lost is None


async def test_close_delivers_to_a_slow_reader(loop):
    payload = pattern(5_000_000)
    async with serving() as (server, protocols):
        with peer_of(server) as peer:
            protocol = await first(protocols)
            protocol.transport.write(payload)
            protocol.transport.close()
            got = bytearray()
            while chunk := await loop.sock_recv(peer, 1_000_000):
                got += chunk
                await turns(2)
            assert got == payload
            assert await protocol.lost is None


async def test_a_write_after_close_goes_out_while_the_socket_is_full(loop):
    size = 8_000_000
    async with serving() as (server, protocols):
        with peer_of(server) as peer:
            protocol = await first(protocols)
            protocol.transport.write(pattern(size))
            await asyncio.sleep(0.05)
            protocol.transport.close()
            protocol.transport.write(b"late ")
            protocol.transport.write(b"words")
            received = bytearray()
            while chunk := await loop.sock_recv(peer, 1 << 20):
                received += chunk
            assert received == pattern(size) + b"late words"
            assert await protocol.lost is None


async def test_a_write_after_close_is_dropped_when_all_was_sent(loop):
    async with serving() as (server, protocols):
        with peer_of(server) as peer:
            protocol = await first(protocols)
            protocol.transport.write(b"words")
            protocol.transport.close()
            protocol.transport.write(b"late")
            assert await loop.sock_recv(peer, 100) == b"words"
            assert await loop.sock_recv(peer, 100) == b""


async def test_close_from_several_places_ends_once(loop):
    async with connected() as (client, server):
        for _ in range(3):
            client.transport.close()
        server.transport.close()
        assert await client.lost is None
        assert await server.lost is None
        for protocol in (client, server):
            protocol.transport.close()
            protocol.transport.abort()
        await turns(5)
        assert client.calls.count("connection_lost") == 1


@pytest.mark.parametrize(
    "order", ["close abort", "abort close", "abort abort", "write close abort", "write abort close"]
)
async def test_closing_and_aborting_in_any_order(loop, order):
    async with connected() as (client, server):
        server.transport.pause_reading()
        for word in order.split():
            if word == "write":
                client.transport.write(bytes(8_000_000))
            else:
                getattr(client.transport, word)()
        assert await client.lost is None
        assert client.transport.is_closing()


async def test_close_while_reading_is_paused_on_the_other_side_waits(loop):
    payload = bytes(8_000_000)
    async with connected() as (client, server):
        server.transport.pause_reading()
        client.transport.write(payload)
        client.transport.close()
        await asyncio.sleep(0.02)
        assert not client.lost.done()
        server.transport.resume_reading()
        assert await client.lost is None
        assert await server.lost is None
        assert len(server.data) == len(payload)


async def test_abort_drops_what_was_not_sent(loop):
    async with connected() as (client, server):
        server.transport.pause_reading()
        client.transport.write(bytes(20_000_000))
        client.transport.abort()
        assert await client.lost is None
        server.transport.resume_reading()
        await server.lost
        assert len(server.data) < 20_000_000


@pytest.mark.parametrize("kind", ["stream", "datagram", "pipe"])
async def test_abort_comes_after_what_was_written_just_before(loop, kind):
    """The kernel had room for it: a TLS alert, for example, that is written before the connection is given up."""
    if kind == "datagram":
        near, far = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
        far.bind((HOST, 0))
        near.connect(far.getsockname())
    else:
        near, far = socket.socketpair()
    near.setblocking(False)
    with far:
        if kind == "stream":
            transport, protocol = await loop.create_connection(Recorder, sock=near)
            transport.writelines([b"last ", b"words"])
        elif kind == "datagram":
            transport, protocol = await loop.create_datagram_endpoint(Datagrams, sock=near)
            transport.sendto(b"last words")
        else:
            transport, protocol = await loop.connect_write_pipe(Recorder, near)
            transport.write(b"last ")
            transport.write(b"words")
        transport.abort()
        assert await protocol.lost is None
        far.settimeout(10)
        assert far.recv(20) == b"last words"


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("where", ["connection_made", "data_received", "eof_received"])
async def test_ending_inside_a_callback(loop, how, where):
    class Ending(Recorder):
        def called(self, name):
            super().called(name)
            if name == where:
                getattr(self.transport, how)()

    async with serving(Ending) as (server, protocols):
        with peer_of(server) as peer:
            peer.send(b"x" * 100_000)
            peer.shutdown(socket.SHUT_WR)
            protocol = await first(protocols)
            assert await protocol.lost is None
            await turns()
            later = protocol.calls[protocol.calls.index(where) + 1 :]
            assert "data_received" not in later
            assert later[-1] == "connection_lost"


async def test_nothing_is_received_after_close(loop):
    async with connected(client=Echo) as (client, server):
        server.transport.write(b"before")
        assert await server.until_received(6) == b"before"
        client.transport.close()
        server.transport.write(b"after")
        await client.lost
        await server.lost
        assert client.calls.count("data_received") == 1


async def test_a_peer_that_closes_while_we_keep_data_for_it(loop):
    """The other end has closed and refuses what is still to come: the connection ends, with or without an error."""
    async with serving() as (server, protocols):
        with peer_of(server) as peer:
            protocol = await first(protocols)
            protocol.answer_to_eof = True
            peer.close()
            await protocol.until_called("eof_received")
            for _ in range(200):
                protocol.transport.write(bytes(10_000))
                await turns(1)
            error = await protocol.lost
            assert error is None or isinstance(error, ConnectionError)


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_writing_after_the_end_does_nothing(loop, how):
    async with connected() as (client, server):
        getattr(client.transport, how)()
        client.transport.write(b"late")
        await client.lost
        await server.lost
        for _ in range(3):
            client.transport.write(b"later")
        assert server.data == b""
        assert client.transport.get_write_buffer_size() == 0


async def test_the_socket_is_closed_when_connection_lost_was_called(loop):
    async with serving() as (server, protocols):
        with peer_of(server, blocking=True) as peer:
            protocol = await first(protocols)
            protocol.transport.close()
            assert await asyncio.to_thread(peer.recv, 10) == b""
            await protocol.lost
            sock = protocol.transport.get_extra_info("socket")
            await eventually(lambda: sock is None or sock.fileno() == -1)


async def test_an_exception_in_data_received_ends_the_connection(loop, exceptions):
    class Failing(Recorder):
        def data_received(self, data):
            super().data_received(data)
            raise LookupError("data_received")

    async with connected(server=Failing) as (client, server):
        client.transport.write(b"x")
        assert isinstance(await server.lost, LookupError)
        await client.lost
        await turns()
    assert exceptions.take_types() == [LookupError]
    assert server.calls.count("data_received") == 1


async def test_an_exception_in_connection_made_is_reported(loop, exceptions):
    class Failing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise LookupError("connection_made")

    async with serving(Failing) as (server, protocols):
        with peer_of(server):
            await first(protocols)
            await eventually(lambda: exceptions)
    assert exceptions.take_types() == [LookupError]


async def test_an_exception_in_connection_lost_is_reported(loop, exceptions):
    class Failing(Recorder):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            raise LookupError("connection_lost")

    async with connected(server=Failing) as (client, server):
        client.transport.close()
        await server.lost
        await eventually(lambda: exceptions)
    assert exceptions.take_types() == [LookupError]
