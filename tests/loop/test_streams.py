"""The standard library's streams on the loop's transports."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

import pytest

from .helpers import HOST, address_of, eventually, pattern, reset, stop, turns
from .patience import stretched


class StreamServer:
    """A stream server whose handler is a coroutine of the test; counts handlers that have ended."""

    def __init__(self, handler, **options):
        self.handler, self.options, self.ended = handler, options, 0

    async def handle(self, reader, writer):
        try:
            await self.handler(reader, writer)
        finally:
            writer.close()
            self.ended += 1

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.handle, HOST, 0, **self.options)
        return self

    async def __aexit__(self, *exc_info):
        await stop(self.server)

    async def connect(self, **options):
        return await asyncio.open_connection(*address_of(self.server), **options)


async def close(writer):
    """Close a stream and wait until it is closed."""
    writer.close()
    await writer.wait_closed()


async def echo_lines(reader, writer):
    """Send back each line in capitals."""
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()


async def test_lines(loop):
    async with StreamServer(echo_lines) as server:
        reader, writer = await server.connect()
        for number in range(100):
            writer.write(b"line %d\n" % number)
            assert await reader.readline() == b"LINE %d\n" % number
        writer.write_eof()
        assert await reader.read() == b""
        await close(writer)
        await eventually(lambda: server.ended)


async def test_read_methods(loop):
    async def handler(reader, writer):
        writer.write(b"exactly ten until; line\nthe rest")

    async with StreamServer(handler) as server:
        reader, writer = await server.connect()
        assert await reader.readexactly(12) == b"exactly ten "
        assert await reader.readuntil(b";") == b"until;"
        assert await reader.readline() == b" line\n"
        assert await reader.read(3) == b"the"
        assert await reader.read() == b" rest"
        assert reader.at_eof()
        with pytest.raises(asyncio.IncompleteReadError):
            await reader.readexactly(1)
        await close(writer)


async def test_limits(loop):
    async def handler(reader, writer):
        writer.write(b"x" * 5000 + b"\n")
        await reader.read()

    async with StreamServer(handler) as server:
        reader, writer = await server.connect(limit=1000)
        with pytest.raises(ValueError):
            await reader.readline()
        await close(writer)
        reader, writer = await server.connect(limit=1000)
        with pytest.raises(asyncio.LimitOverrunError):
            await reader.readuntil(b"\n")
        await close(writer)


async def test_iteration(loop):
    async def handler(reader, writer):
        writer.writelines([b"one\n", b"two\n", b"three"])

    async with StreamServer(handler) as server:
        reader, writer = await server.connect()
        assert [line async for line in reader] == [b"one\n", b"two\n", b"three"]
        await close(writer)


async def test_drain_waits_for_a_slow_reader(loop):
    payload = pattern(10_000_000)
    drained = []

    async def handler(reader, writer):
        for start in range(0, len(payload), 100_000):
            writer.write(payload[start : start + 100_000])
            await writer.drain()
            drained.append(start)

    async with StreamServer(handler) as server:
        reader, writer = await server.connect(limit=10_000)
        await eventually(lambda: drained)
        stuck = 0
        # The kernel's buffers take in a good deal first, piece by piece.
        while stuck != len(drained):
            stuck = len(drained)
            await asyncio.sleep(stretched(0.02))
        assert stuck < 100
        got = bytearray()
        while chunk := await reader.read(1_000_000):
            got += chunk
        assert got == payload
        await close(writer)


async def test_many_drains_at_once(loop):
    async def handler(reader, writer):
        async def write(number):
            writer.write(b"%04d" % number * 5000)
            await writer.drain()

        await asyncio.gather(*map(write, range(100)))

    async with StreamServer(handler) as server:
        reader, writer = await server.connect()
        assert await reader.read() == b"".join(b"%04d" % number * 5000 for number in range(100))
        await close(writer)


async def test_a_reset_is_an_error_for_the_reader(loop):
    accepted = loop.create_future()

    async def handler(reader, writer):
        accepted.set_result(writer)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        # Without an interpreter lock asyncio's protocol may be collected after the future whose error it would fetch.
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()

    async with StreamServer(handler) as server:
        peer = socket.create_connection(address_of(server.server))
        await accepted
        reset(peer)
        await eventually(lambda: server.ended)


async def test_drain_after_the_peer_is_gone(loop):
    async def handler(reader, writer):
        writer.transport.abort()

    async with StreamServer(handler) as server:
        _, writer = await server.connect()
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                writer.write(b"x" * 1000)
                await writer.drain()
                await turns(1)
        writer.close()
        with_error = asyncio.gather(writer.wait_closed(), return_exceptions=True)
        assert all(error is None or isinstance(error, ConnectionError) for error in await with_error)


async def test_is_closing_and_extra_info(loop):
    async with StreamServer(echo_lines) as server:
        _, writer = await server.connect()
        assert writer.get_extra_info("peername") == address_of(server.server)
        assert not writer.is_closing()
        assert writer.can_write_eof()
        writer.close()
        assert writer.is_closing()
        await writer.wait_closed()


async def test_a_handler_that_fails_is_reported(loop, exceptions):
    async def handler(reader, writer):
        raise LookupError("handler")

    async with StreamServer(handler) as server:
        reader, writer = await server.connect()
        assert await reader.read() == b""
        await close(writer)
    await eventually(lambda: exceptions)
    assert exceptions.take_types() == [LookupError]


async def test_two_hundred_clients(loop):
    async with StreamServer(echo_lines) as server:

        async def talk(number):
            reader, writer = await server.connect()
            for turn in range(5):
                writer.write(b"client %d turn %d\n" % (number, turn))
                assert await reader.readline() == b"CLIENT %d TURN %d\n" % (number, turn)
            await close(writer)

        await asyncio.gather(*map(talk, range(200)))
        await eventually(lambda: server.ended == 200)


async def test_pausing_of_reading_by_a_full_reader(loop):
    payload = pattern(3_000_000)

    async def handler(reader, writer):
        writer.write(payload)

    async with StreamServer(handler) as server:
        reader, writer = await server.connect(limit=1000)
        await asyncio.sleep(0.02)
        assert not writer.transport.is_reading()
        assert await reader.read() == payload
        await close(writer)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="readuntil takes several separators from Python 3.13 on")
async def test_several_separators(loop):
    async def handler(reader, writer):
        writer.write(b"one;two,three")

    async with StreamServer(handler) as server:
        reader, writer = await server.connect()
        assert await reader.readuntil((b";", b",")) == b"one;"
        assert await reader.readuntil((b";", b",")) == b"two,"
        await close(writer)
