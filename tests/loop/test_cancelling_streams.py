"""Calls on connections, cancelled at every moment: streams, start_tls and sendfile."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import os
import socket

import pytest

from .cancelling import PATIENCE, Later
from .certificates import client_context, server_context
from .helpers import HOST, Echo, Recorder, address_of, eventually, finish, serving, stop

LINES = {
    "read": lambda reader: reader.read(9),
    "readexactly": lambda reader: reader.readexactly(9),
    "readline": lambda reader: reader.readline(),
    "readuntil": lambda reader: reader.readuntil(b"\n"),
}


@contextlib.asynccontextmanager
async def streams(**options):
    """A reader and a writer at each end of a connection; ``options`` are the client's."""
    arrived = asyncio.get_running_loop().create_future()
    tls = options.get("ssl") is not None
    server = await asyncio.start_server(
        lambda *pair: arrived.set_result(pair), HOST, 0, ssl=server_context() if tls else None
    )
    near = await asyncio.open_connection(*address_of(server), **options)
    far = await arrived
    try:
        yield near, far
    finally:
        for _, writer in (near, far):
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await stop(server)


@pytest.mark.parametrize("call", list(LINES.values()), ids=list(LINES))
@pytest.mark.parametrize("tls", [False, True])
async def test_reading(walk, call, tls):
    """What comes in two parts is read by whoever asks next."""
    numbers = itertools.count()
    sent, came = [], []
    options = {"ssl": client_context(), "server_hostname": "localhost"} if tls else {}

    async with streams(**options) as ((reader, _), (_, writer)):

        async def send():
            sent.append(b"%08d\n" % next(numbers))
            Later(lambda: writer.write(sent[-1][:3]), 2)
            Later(lambda: writer.write(sent[-1][3:]), 6)

        async def took(data):
            while len(data) < 9:
                data += await reader.read(9 - len(data))
            came.append(data)

        await walk(lambda: call(reader), took, send)
    assert came == sent


async def test_drain(walk):
    """Some wait for a peer that does not read, and stop waiting; all that was written arrives."""
    numbers = itertools.count()
    written, got = bytearray(), bytearray()
    async with streams() as ((_, writer), (reader, _)):

        async def drain():
            data = bytes([next(numbers) % 256]) * 3_000_000
            written.extend(data)
            writer.write(data)
            await writer.drain()

        async def read():
            await asyncio.sleep(0.002)
            while len(got) < len(written):
                got.extend(await reader.read(1_000_000))

        async def read_soon():
            reads.append(asyncio.ensure_future(read()))

        async def check(_):
            while reads:
                await reads.pop()

        reads = []
        await walk(drain, check, read_soon, keeping=True, adaptive=True)
        while reads or len(got) < len(written):
            await (reads.pop() if reads else read())
    assert got == written


async def test_wait_closed(walk):
    """The end of a connection comes whether or not somebody waits for it."""

    async def close():
        _, writer = await asyncio.open_connection(*address_of(server))
        transport = writer.transport
        try:
            writer.close()
            await writer.wait_closed()
        finally:
            assert transport.is_closing()

    async with serving(Echo) as (server, _):
        await walk(close)


# TLS in the middle of a connection ----------------------------------------------------------------------------------


class Quiet(Recorder):
    """Reads nothing before TLS has begun."""

    def connection_made(self, transport):
        super().connection_made(transport)
        transport.pause_reading()


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("slow", [False, True])
async def test_start_tls(loop, walk, side, slow):
    """The peer begins in the same turn, or later; when the call is cancelled, the connection ends."""
    sides = {
        "client": (client_context(), {"server_hostname": "localhost"}),
        "server": (server_context(), {"server_side": True}),
    }

    async def upgrade(protocol, side):
        context, options = sides[side]
        protocol.transport = await loop.start_tls(protocol.transport, protocol, context, **options)
        return protocol

    async def answer(far):
        if slow:
            await asyncio.sleep(0.005)
        with contextlib.suppress(ConnectionError):
            await upgrade(far, "client" if side == "server" else "server")
            far.transport.write(b"hello")
            await far.lost

    async def connect():
        near, far = socket.socketpair()
        _, one = await loop.create_connection(walk.made(Quiet), sock=near)
        _, other = await loop.create_connection(walk.made(Quiet), sock=far)
        pairs.append((one, loop.create_task(answer(other))))

    async def start():
        if not pairs:
            await connect()
        try:
            return await upgrade(pairs[0][0], side)
        except asyncio.CancelledError:
            near, _ = pairs.pop()
            assert near.transport.is_closing()
            raise

    async def talk(near):
        assert await near.until_received(5) == b"hello"
        await end()

    async def end():
        """The connection ends, and the peer's part with it."""
        while pairs:
            near, answering = pairs.pop()
            near.transport.abort()
            await answering

    async def prepare():
        await end()
        await connect()

    pairs: list = []
    await walk(start, talk, prepare, keeping=True)


# Files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_sendfile(loop, walk, tmp_path, kind, tls):
    """A transfer that is cancelled leaves the connection usable, at the place where the file's data ends."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(500_000))
    content = path.read_bytes()
    contexts = (client_context(), server_context())
    options = {"ssl": contexts[0], "server_hostname": "localhost"} if tls else {}

    async with serving(Recorder, **({"ssl": contexts[1]} if tls else {})) as (server, protocols):
        _, near = await loop.create_connection(Recorder, *address_of(server), **options)
        await eventually(lambda: protocols)
        far = protocols[0]

        async def send():
            with path.open("rb") if kind == "file" else io.BytesIO(content) as file:
                return await loop.sendfile(near.transport, file)

        async def arrived(count):
            assert count == len(content)
            near.transport.write(b"the end")
            await eventually(lambda: far.data.endswith(content + b"the end"))
            assert content.startswith(far.data[: -len(content) - 7])
            far.data.clear()

        await walk(send, arrived)
        await finish(near)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_sendfile_to_a_peer_that_does_not_read(loop, exceptions, tmp_path, kind, tls):
    """The transfer is cancelled while the buffers are full; writing goes on when the peer reads again."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(16_000_000))
    content = path.read_bytes()
    options = {"ssl": client_context(), "server_hostname": "localhost"} if tls else {}
    async with streams(**options) as ((_, writer), (reader, _)):
        with path.open("rb") if kind == "file" else io.BytesIO(content) as file:
            sending = asyncio.ensure_future(loop.sendfile(writer.transport, file))
            await asyncio.sleep(0.1)
            sending.cancel()
            await asyncio.wait([sending])
        writer.write(b"the end")
        draining = asyncio.ensure_future(writer.drain())
        got = bytearray()
        while not got.endswith(b"the end"):
            got += await reader.read(1_000_000)
        await draining
        assert sending.cancelled() and content.startswith(got[:-7])
        assert not exceptions


@pytest.mark.parametrize("turns", range(6))
async def test_who_cancels_start_tls_hears_of_the_end(loop, turns):
    async with streams() as ((_, writer), _):
        upgrading = asyncio.ensure_future(writer.start_tls(client_context(), server_hostname="localhost"))
        for _ in range(turns):
            await asyncio.sleep(0)
        upgrading.cancel()
        await asyncio.wait([upgrading])
        writer.close()
        await asyncio.wait_for(writer.wait_closed(), PATIENCE)
