"""What may be written, and that all of it arrives in order."""

from __future__ import annotations

import array
import asyncio
import hashlib
import random
import socket

import pytest

from .helpers import BufferedRecorder, Recorder, connected, finish, pattern, socket_pair, turns


@pytest.mark.parametrize(
    "data",
    [b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview"), memoryview(bytearray(b"writable"))[2:5]],
    ids=lambda data: type(data).__name__,
)
async def test_types_that_may_be_written(loop, data):
    async with connected() as (client, server):
        client.transport.write(data)
        client.transport.writelines([data, data])
        assert await server.until_received(3 * len(data)) == bytes(data) * 3


async def test_a_view_of_wide_items_is_written_whole(loop):
    view = memoryview(array.array("I", range(1000)))
    async with connected() as (client, server):
        client.transport.write(view)
        assert await server.until_received(view.nbytes) == view.tobytes()


@pytest.mark.parametrize("data", ["text", 5, None, [b"list"], object()], ids=lambda data: type(data).__name__)
async def test_types_that_may_not_be_written(loop, data):
    async with connected() as (client, server):
        with pytest.raises(TypeError):
            client.transport.write(data)
        client.transport.write(b"still fine")
        assert await server.until_received(10) == b"still fine"


@pytest.mark.parametrize("size", [100, 5_000_000])
async def test_a_buffer_may_be_reused_after_write(loop, size):
    data = bytearray(pattern(size))
    async with connected() as (client, server):
        client.transport.write(data)
        data[:] = bytes(size)
        data.clear()
        assert await server.until_received(size) == pattern(size)


async def test_a_view_may_be_reused_after_write(loop):
    data = bytearray(b"before")
    async with connected() as (client, server):
        client.transport.write(memoryview(data))
        data[:] = b"after!"
        client.transport.writelines([memoryview(data)])
        data[:] = b"later!"
        assert await server.until_received(12) == b"beforeafter!"


async def test_bytes_need_not_be_kept(loop):
    async with connected() as (client, server):
        for number in range(1000):
            client.transport.write(b"%06d" % number * 100)
        assert await server.until_received(600_000) == b"".join(b"%06d" % number * 100 for number in range(1000))


@pytest.mark.parametrize("size", [5, 64 * 1024])
async def test_what_is_written_has_left_when_write_returns(loop, size):
    """It then reaches the peer even if the process blocks or ends before the loop goes on."""
    with socket_pair() as (near, far):
        transport, protocol = await loop.create_connection(Recorder, sock=near)
        await turns()
        try:
            transport.write(pattern(size))
            assert far.recv(5) == pattern(size)[:5]
        finally:
            transport.abort()
            await finish(protocol)


async def test_writing_nothing_sends_nothing(loop):
    async with connected() as (client, server):
        client.transport.write(b"")
        client.transport.writelines([])
        client.transport.writelines([b"", bytearray(), b""])
        await turns(5)
        client.transport.writelines([b"", b"some", b"", b"thing", b""])
        assert await server.until_received(9) == b"something"
        client.transport.write(b"")
        await turns(5)
        assert server.calls.count("eof_received") == 0
        assert client.transport.get_write_buffer_size() == 0


async def test_writelines_takes_any_iterable(loop):
    async with connected() as (client, server):
        client.transport.writelines(bytes([number]) for number in range(100))
        client.transport.writelines((b"a", bytearray(b"b"), memoryview(b"c")))
        assert await server.until_received(103) == bytes(range(100)) + b"abc"


async def test_write_and_writelines_keep_their_order(loop):
    chance = random.Random(3)
    expected = b""
    async with connected() as (client, server):
        for number in range(300):
            chunk = (b"%d," % number) * chance.randrange(1, 400)
            if number % 3:
                client.transport.write(chunk)
            else:
                half = len(chunk) // 2
                client.transport.writelines([chunk[:half], chunk[half:]])
            expected += chunk
            if number % 50 == 0:
                await turns(1)
        assert await server.until_received(len(expected)) == expected


async def test_thousands_of_chunks_at_once(loop):
    async with connected() as (client, server):
        for number in range(10_000):
            client.transport.write(b"%05d" % number)
        client.transport.writelines([b"%05d" % number for number in range(10_000)])
        expected = b"".join(b"%05d" % number for number in range(10_000)) * 2
        assert await server.until_received(len(expected)) == expected


async def test_one_byte_at_a_time(loop):
    async with connected() as (client, server):
        for byte in pattern(2000):
            client.transport.write(bytes([byte]))
            await turns(1)
        assert await server.until_received(2000) == pattern(2000)


async def test_a_write_in_connection_made_comes_first(loop):
    class Greeter(Recorder):
        def connection_made(self, transport):
            transport.write(b"first ")
            super().connection_made(transport)

    async with connected(client=Greeter, server=Greeter) as (client, server):
        client.transport.write(b"second")
        server.transport.write(b"second")
        assert await server.until_received(12) == b"first second"
        assert await client.until_received(12) == b"first second"


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder], ids=["Protocol", "BufferedProtocol"])
async def test_large_transfers_both_ways_at_once(loop, kind):
    size = 20_000_000
    upward, downward = pattern(size), pattern(size)[::-1]
    async with connected(client=kind, server=kind) as (client, server):
        client.transport.write(upward)
        server.transport.writelines([downward[start : start + 70_000] for start in range(0, size, 70_000)])
        await server.until(lambda: len(server.data) >= size)
        await client.until(lambda: len(client.data) >= size)
        for got, sent in ((server.data, upward), (client.data, downward)):
            assert len(got) == size
            assert hashlib.sha256(got).digest() == hashlib.sha256(sent).digest()


async def test_sends_that_are_cut_short(loop):
    """With a small send buffer the kernel takes a little at a time."""
    payload = pattern(1_000_000)
    async with connected() as (client, server):
        client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        for start in range(0, len(payload), 33_333):
            client.transport.write(payload[start : start + 33_333])
        assert await server.until_received(len(payload)) == payload


async def test_many_connections_talk_at_once(loop):
    async def talk(number):
        payload = pattern(10_000 + number)
        async with connected() as (client, server):
            for start in range(0, len(payload), 1000):
                client.transport.write(payload[start : start + 1000])
                await turns(1)
            assert await server.until_received(len(payload)) == payload

    await asyncio.gather(*[talk(number) for number in range(60)])
