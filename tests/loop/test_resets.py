"""Peers that reset the connection at awkward moments."""

from __future__ import annotations

import asyncio
import socket

import pytest

from .helpers import (
    Echo,
    Recorder,
    address_of,
    eventually,
    finish,
    first,
    listener,
    peer_of,
    reset,
    serving,
    turns,
)


async def still_serves(server) -> None:
    """The server answers a further client."""
    _, client = await asyncio.get_running_loop().create_connection(Recorder, *address_of(server))
    client.transport.write(b"ping")
    assert await client.until_received(4) == b"ping"
    await finish(client)


async def test_reset_while_receiving(loop):
    async with serving(Echo) as (server, protocols):
        with peer_of(server) as peer:
            peer.send(b"some data")
            protocol = await first(protocols)
            await protocol.until_called("data_received")
            reset(peer)
            assert isinstance(await protocol.lost, ConnectionResetError)
        await still_serves(server)
    assert "eof_received" not in protocol.calls


async def test_reset_while_sending(loop):
    async with serving(Echo) as (server, protocols):
        with peer_of(server) as peer:
            protocol = await first(protocols)
            protocol.transport.write(bytes(20_000_000))
            await protocol.until_called("pause_writing")
            reset(peer)
            error = await protocol.lost
            assert isinstance(error, (ConnectionResetError, BrokenPipeError))
            assert protocol.transport.get_write_buffer_size() == 0
        await still_serves(server)


async def test_reset_while_sending_with_reading_paused(loop):
    async with serving(Echo) as (server, protocols):
        with peer_of(server) as peer:
            protocol = await first(protocols)
            protocol.transport.pause_reading()
            protocol.transport.write(bytes(20_000_000))
            await protocol.until_called("pause_writing")
            reset(peer)
            assert isinstance(await protocol.lost, (ConnectionResetError, BrokenPipeError))
        await still_serves(server)


async def test_reset_before_accept(loop):
    async with serving(Echo, start_serving=False) as (server, protocols):
        sock = server.sockets[0]
        await server.start_serving()
        for _ in range(50):
            reset(socket.create_connection(sock.getsockname()))
        await still_serves(server)
        await eventually(lambda: all(protocol.lost.done() for protocol in protocols if protocol.made.done()))
        for protocol in protocols:
            error = protocol.lost.result() if protocol.lost.done() else None
            assert error is None or isinstance(error, ConnectionError)


async def test_reset_after_data_before_accept(loop):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for _ in range(10):
            peer = socket.create_connection(listening.getsockname())
            peer.sendall(b"gone before anyone looked")
            reset(peer)
        async with serving(Echo, sock=listening.dup()) as (server, protocols):
            await still_serves(server)
            await eventually(lambda: all(protocol.lost.done() for protocol in protocols))


async def test_reset_while_closing(loop):
    async with serving(Echo) as (server, protocols):
        with peer_of(server) as peer:
            protocol = await first(protocols)
            protocol.transport.write(bytes(20_000_000))
            protocol.transport.close()
            await asyncio.sleep(0.01)
            assert not protocol.lost.done()
            reset(peer)
            error = await protocol.lost
            assert error is None or isinstance(error, ConnectionError)
        await still_serves(server)


async def test_reset_after_eof(loop):
    async with serving() as (server, protocols):
        with peer_of(server) as peer:
            protocol = await first(protocols)
            protocol.answer_to_eof = True
            peer.shutdown(socket.SHUT_WR)
            await protocol.until_called("eof_received")
            reset(peer)
            await turns(3)
            for _ in range(100):
                if protocol.lost.done():
                    break
                protocol.transport.write(b"anybody there?")
                await asyncio.sleep(0.001)
            error = await protocol.lost
            assert error is None or isinstance(error, ConnectionError)


async def test_a_client_is_told_of_a_reset(loop):
    with listener() as listening:
        _, client = await loop.create_connection(Recorder, *listening.getsockname())
        peer, _ = listening.accept()
        reset(peer)
        assert isinstance(await client.lost, ConnectionResetError)


async def test_a_reset_is_not_reported_as_an_error_of_the_program(loop, exceptions, caplog):
    async with serving(Echo) as (server, protocols):
        with peer_of(server) as peer:
            protocol = await first(protocols)
            reset(peer)
            await protocol.lost
    assert not exceptions
    assert not caplog.records


@pytest.mark.parametrize("payload", [0, 10, 1_000_000])
async def test_many_resets_at_once(loop, payload):
    async with serving(Echo) as (server, protocols):
        peers = [socket.create_connection(address_of(server)) for _ in range(100)]
        for peer in peers:
            peer.setblocking(False)
            if payload:
                peer.send(bytes(payload))
        await eventually(lambda: len(protocols) == 100)
        for peer in peers:
            reset(peer)
        for protocol in protocols:
            error = await protocol.lost
            assert error is None or isinstance(error, ConnectionError)
        await still_serves(server)


async def test_traffic_goes_on_beside_resets(loop):
    async with serving(Echo) as (server, _):
        _, steady = await loop.create_connection(Recorder, *address_of(server))
        for number in range(1, 101):
            peer = socket.create_connection(address_of(server))
            peer.send(b"noise")
            steady.transport.write(b"steady!!")
            reset(peer)
            await steady.until_received(8 * number)
        assert steady.data == b"steady!!" * 100
        await finish(steady)
