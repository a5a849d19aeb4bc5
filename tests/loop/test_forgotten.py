"""Connections that the program has lost sight of: what nothing will ever happen to is collected, and closed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import sys
import threading
import warnings
import weakref

import pytest

from .certificates import NAME, client_context, server_context
from .forgetting import Quiet, begin_quiet, collected, hear_the_end, unclosed
from .helpers import (
    Recorder,
    address_of,
    connected,
    first,
    pattern,
    peer_of,
    serving,
    socket_pair,
    turns,
)


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


async def test_the_warning_is_an_error(loop, monkeypatch):
    said = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: said.append(str(unraisable.exc_value)))
    far = await begin_quiet(loop, "accepted")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gc.collect()
    assert [text for text in said if "unclosed transport" in text]
    await asyncio.sleep(0.02)
    hear_the_end(far)


async def test_a_finalizer_writes_and_closes(loop, exceptions):
    """What it writes goes nowhere: by then the descriptor may be closed, and its number be that of another file."""

    class Polite(Quiet):
        def __del__(self):
            self.transport.write(b"bye")
            self.transport.close()

        def connection_lost(self, exc):
            pass

    far = await begin_quiet(loop, "connected", Polite)
    with far, pytest.warns(ResourceWarning):
        gc.collect()
        with socket_pair() as (one, other):
            await turns()
            with pytest.raises(BlockingIOError):
                one.recv(1)
            with pytest.raises(BlockingIOError):
                other.recv(1)
        assert await loop.sock_recv(far, 10) == b""
    exceptions.take()  # asyncio: a write to a closed socket


@pytest.mark.parametrize("how", ["close", "abort", "write and close", "writelines and close", "write_eof", "resume"])
async def test_a_connection_that_has_long_been_quiet_is_used_again(loop, how):
    async with connected() as (client, server):
        transport = server.transport
        transport.pause_reading()
        await asyncio.sleep(0.02)
        gc.collect()
        if how.startswith("write"):
            transport.writelines([b"la", b"st"]) if "lines" in how else transport.write(b"last")
        if "close" in how:
            transport.close()
        elif how == "abort":
            transport.abort()
        elif how == "resume":
            transport.resume_reading()
            client.transport.write(b"last")
            assert await server.until_received(4) == b"last"
            transport.close()
        else:
            transport.write_eof()
        del transport
        await client.until_called("eof_received" if how != "abort" else "connection_lost")
        assert bytes(client.data) == (b"last" if how.startswith("write") else b"")
        if how != "write_eof":
            assert await server.lost is None


async def test_a_server_waits_for_its_connections_and_one_is_forgotten(loop):
    server = await loop.create_server(lambda: Quiet(True), "127.0.0.1", 0)
    with peer_of(server) as peer:
        await asyncio.sleep(0.02)
        with unclosed() as warned:
            server.close()
            waiting = asyncio.ensure_future(server.wait_closed())
            await turns()
            gc.collect()
            await asyncio.wait_for(waiting, 10)
        assert len(warned) == 1
        assert await loop.sock_recv(peer, 1) == b""


async def test_a_server_is_closed_when_a_connection_of_its_own_was_just_collected(loop):
    server = await loop.create_server(lambda: Quiet(True), "127.0.0.1", 0)
    with peer_of(server) as peer:
        await asyncio.sleep(0.02)
        with unclosed() as warned:
            gc.collect()
            server.close()
            await asyncio.wait_for(server.wait_closed(), 10)
            await turns(5)
        assert len(warned) == 1
        assert await loop.sock_recv(peer, 1) == b""


async def test_quiet_tls_is_not_forgotten_by_who_knows_it(loop):
    """The protocol that reads pauses, and the connection below it does when much has come."""
    size = 3_000_000
    async with serving(ssl=server_context()) as (server, protocols):
        tls = {"ssl": client_context(), "server_hostname": NAME}
        transport, _ = await loop.create_connection(Recorder, *address_of(server), **tls)
        protocol = await first(protocols)
        protocol.transport.pause_reading()
        transport.write(pattern(size))
        await asyncio.sleep(0.1)
        gc.collect()
        protocol.transport.resume_reading()
        assert await protocol.until_received(size) == pattern(size)
        transport.close()


@pytest.mark.parametrize("where", ["this thread", "another thread"])
async def test_collections_at_any_moment(loop, where):
    """Connections are forgotten while others come, write, pause and go, and the collector runs all the time."""
    over = threading.Event()

    def collect():
        while not over.is_set():
            gc.collect()

    class Talker(Recorder):
        def data_received(self, data):
            super().data_received(data)
            self.transport.write(data)

    async def talk(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(20):
            writer.write(b"%03d" % number)
            assert await reader.readexactly(3) == b"%03d" % number
        writer.close()
        await writer.wait_closed()

    usual = gc.get_threshold()
    gc.freeze()  # what is there already need not be looked through each time
    collector = threading.Thread(target=collect)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        quiet = await loop.create_server(lambda: Quiet(True), "127.0.0.1", 0)
        async with serving(Talker) as (server, _protocols):
            port = server.sockets[0].getsockname()[1]
            if where == "this thread":
                gc.set_threshold(1, 2, 2)
            else:
                collector.start()
            try:
                with contextlib.ExitStack() as stack:
                    for _ in range(5):
                        peers = [stack.enter_context(peer_of(quiet)) for _ in range(10)]
                        await asyncio.gather(*[talk(port) for _ in range(5)])
                        gc.collect()
                        assert [await loop.sock_recv(peer, 1) for peer in peers] == [b""] * 10
            finally:
                over.set()
                gc.set_threshold(*usual)
                gc.unfreeze()
        if collector.ident is not None:
            collector.join()
        quiet.close()
        await quiet.wait_closed()
