"""Connections that the program has lost sight of: what nothing will ever happen to is collected, and closed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import warnings
import weakref

import pytest

from .helpers import Recorder, connected, peer_of, serving, socket_pair, turns


class Quiet(asyncio.Protocol):
    """Knows its transport; nobody else does. Keeps the connection at the peer's end, or reads nothing."""

    def __init__(self, pausing: bool) -> None:
        self.pausing = pausing

    def connection_made(self, transport):
        self.transport = transport
        if self.pausing:
            transport.pause_reading()

    def eof_received(self):
        return True

    def connection_lost(self, exc):
        raise AssertionError("a protocol that is collected is not told")


async def collected():
    """Collect garbage once the loop has done what it still had to do; says how often it warned."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for _ in range(3):
            await asyncio.sleep(0.02)
            gc.collect()
    await turns()
    return sum("unclosed transport" in str(each.message) for each in warned)


@pytest.mark.parametrize("pausing", [False, True], ids=["ended", "paused"])
async def test_a_forgotten_connection_is_closed(loop, pausing):
    server = await loop.create_server(lambda: Quiet(pausing), "127.0.0.1", 0)
    with peer_of(server) as peer:
        await loop.sock_sendall(peer, b"hello")
        peer.shutdown(socket.SHUT_WR)
        assert await collected() == 1
        with contextlib.suppress(ConnectionResetError):  # what was not read is answered with a reset
            assert await loop.sock_recv(peer, 10) == b""
    server.close()
    await server.wait_closed()


async def test_a_forgotten_reader_of_a_pipe_is_closed(loop):
    reader, writer = os.pipe()
    gone = weakref.ref((await loop.connect_read_pipe(lambda: Quiet(True), os.fdopen(reader, "rb", 0)))[0])
    with os.fdopen(writer, "wb", 0) as pipe:
        assert await collected() == 1
        assert gone() is None
        with pytest.raises(BrokenPipeError):
            pipe.write(b"x")


@pytest.mark.parametrize("writing", [False, True], ids=["quiet", "writing"])
async def test_a_connection_that_somebody_knows_goes_on(loop, writing):
    """It is paused, and collected only if nobody refers to it: here somebody does."""
    async with connected() as (client, server):
        server.transport.pause_reading()
        for number in range(3):
            client.transport.write(b"%d" % number)
            await asyncio.sleep(0.01)
            gc.collect()
            if writing:
                server.transport.write(b"%d" % number)
                await client.until_received(number + 1)
        server.transport.resume_reading()
        assert await server.until_received(3) == b"012"


async def test_what_is_being_sent_arrives_though_nobody_looks(loop):
    """A connection with something to send is not forgotten, whoever refers to it."""
    size = 5_000_000

    class Sender(Quiet):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(bytes(size))

        def resume_writing(self):
            asyncio.get_running_loop().call_soon(self.transport.close)

        def connection_lost(self, exc):
            pass

    server = await loop.create_server(lambda: Sender(True), "127.0.0.1", 0)
    with peer_of(server) as peer:
        received = 0
        while data := await loop.sock_recv(peer, 1_000_000):
            received += len(data)
            gc.collect()
        assert received == size
    server.close()
    await server.wait_closed()


async def test_many_that_pause_and_resume_at_random(loop):
    async with serving() as (server, protocols):
        with contextlib.ExitStack() as stack:
            peers = [stack.enter_context(peer_of(server)) for _ in range(20)]
            while len(protocols) < len(peers):
                await asyncio.sleep(0.002)
            for number in range(200):
                protocol = protocols[number * 7 % 20]
                if protocol.transport.is_reading():
                    protocol.transport.pause_reading()
                else:
                    protocol.transport.resume_reading()
                peers[number * 11 % 20].send(b"x")
                if number % 10 == 0:
                    gc.collect(0)
                await asyncio.sleep(0)
            for protocol in protocols:
                protocol.transport.resume_reading()
            await asyncio.gather(*[protocol.until_received(10) for protocol in protocols])


def test_a_loop_is_closed_while_connections_rest(raw_loop):
    loop = raw_loop()

    async def begin(sock):
        transport, protocol = await loop.create_connection(Recorder, sock=sock)
        transport.pause_reading()
        await asyncio.sleep(0.01)
        return transport, protocol

    with socket_pair() as (near, far):
        transport, protocol = loop.run_until_complete(begin(near))
        loop.close()
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            del transport
            protocol.transport = None
            gc.collect()
        far.setblocking(True)
        assert far.recv(1) == b""
