"""Callbacks that call back into the transport that calls them."""

from __future__ import annotations

import asyncio
import socket

import pytest

from .helpers import BufferedRecorder, Recorder, connected, finish, pattern

SMALL_BUFFERS = {"netloop": {"buffer_size": 64}}
SIZE = 4096


@pytest.fixture
def small(new_loop, loop_class, loop_name):
    """A loop that receives little at a time, where its buffers can be chosen."""
    return new_loop(lambda: loop_class(**SMALL_BUFFERS.get(loop_name, {})))


async def on_socket_pair(loop, kind):
    """A protocol on one end of a pair, and the other end, into which SIZE bytes and the end were put before."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.sendall(pattern(SIZE))
    far.shutdown(socket.SHUT_WR)
    _, protocol = await loop.create_connection(kind, sock=near)
    return protocol, far


class PausingAtEveryPiece:
    """Pauses reading whenever data comes, and resumes it in the next turn."""

    def called(self, name):
        super().called(name)
        if name in ("data_received", "buffer_updated"):
            self.transport.pause_reading()
            self.loop.call_soon(self.transport.resume_reading)


class PausingPlain(PausingAtEveryPiece, Recorder):
    """Gets pieces as large as they come."""


class PausingBuffered(PausingAtEveryPiece, BufferedRecorder):
    """Takes ten bytes at a time."""

    size = 10


@pytest.mark.parametrize("kind", [PausingPlain, PausingBuffered], ids=["Protocol", "BufferedProtocol"])
def test_a_protocol_that_pauses_at_every_piece_gets_all_in_order(small, kind):
    async def main():
        protocol, far = await on_socket_pair(small, kind)
        with far:
            assert await protocol.lost is None
        assert protocol.data == pattern(SIZE)

    small.run_until_complete(main())


async def test_what_pause_writing_writes_comes_after_all_of_writelines(loop):
    class Writing(Recorder):
        def pause_writing(self):
            super().pause_writing()
            self.transport.write(b"c")

    async with connected(client=Writing) as (client, server):
        client.transport.set_write_buffer_limits(high=0)
        client.transport.writelines([b"a" * 9_000_000, b"b" * 10])
        await client.until_called("pause_writing")
        received = await server.until_received(9_000_011)
    assert received.replace(b"a" * 9_000_000, b"a") == b"a" + b"b" * 10 + b"c"


@pytest.mark.parametrize("how", ["socket pair", "connection"])
async def test_writes_in_data_received_that_pause_and_resume_the_protocol(loop, how):
    """With a high-water mark of zero every write pauses, and the next one may resume, all inside data_received."""

    class Answering(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=0)

        def data_received(self, data):
            super().data_received(data)
            self.transport.write(b"a")
            self.transport.write(b"b" * 60_000)

    if how == "connection":
        async with connected(client=Answering) as (client, server):
            server.transport.write(b"question")
            assert await server.until_received(60_001) == b"a" + b"b" * 60_000
            assert not client.lost.done()
        return
    near, far = socket.socketpair()
    with far:
        for sock in (near, far):
            sock.setblocking(False)
        _, client = await loop.create_connection(Answering, sock=near)
        far.send(b"question")
        await asyncio.sleep(0.01)
        got = bytearray()
        while len(got) < 60_001:
            got += await loop.sock_recv(far, 100_000)
        assert got == b"a" + b"b" * 60_000
        assert client.calls.count("data_received") == 1 and not client.lost.done()
        await finish(client)
