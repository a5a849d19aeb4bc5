"""loop.sendfile(): what arrives, what is returned, where the file stands afterwards, what goes wrong."""

import asyncio
import io
import os
import socket

import pytest

from .helpers import Recorder, connected, pattern, reset, socket_pair

SIZE = 3_000_000
LARGE = 64 * 1024 * 1024


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(pattern(SIZE))
    return path


@pytest.fixture
def large(tmp_path):
    """More than the sockets' buffers hold, all zeros."""
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, LARGE)
    return path


@pytest.mark.parametrize(
    ("offset", "count", "expected"),
    [
        (0, None, slice(0, SIZE)),
        (0, 10, slice(0, 10)),
        (1000, None, slice(1000, SIZE)),
        (SIZE - 5, 100, slice(SIZE - 5, SIZE)),
        (SIZE, None, slice(0, 0)),
        (SIZE + 10, 10, slice(0, 0)),
        (300_000, 700_000, slice(300_000, 1_000_000)),
    ],
)
async def test_a_part_of_a_file(loop, path, offset, count, expected):
    wanted = pattern(SIZE)[expected]
    async with connected() as (client, server):
        with path.open("rb") as file:
            client.transport.write(b"before")
            assert await loop.sendfile(client.transport, file, offset, count) == len(wanted)
            if wanted:
                assert file.tell() == offset + len(wanted)
        client.transport.write(b"after")
        assert await server.until_received(len(wanted) + 11) == b"before" + wanted + b"after"


async def test_a_file_without_a_descriptor(loop):
    async with connected() as (client, server):
        assert await loop.sendfile(client.transport, io.BytesIO(b"in memory")) == 9
        assert await server.until_received(9) == b"in memory"


async def test_no_fallback_when_it_is_not_wanted(loop):
    async with connected() as (client, _):
        with pytest.raises((RuntimeError, asyncio.SendfileNotAvailableError)):
            await loop.sendfile(client.transport, io.BytesIO(b"in memory"), fallback=False)


async def test_writing_meanwhile_is_refused(loop, large):
    async with connected() as (client, server):
        server.transport.pause_reading()
        with large.open("rb") as file:
            sending = asyncio.ensure_future(loop.sendfile(client.transport, file))
            await asyncio.sleep(0.05)
            with pytest.raises(RuntimeError, match="sendfile is in progress"):
                client.transport.write(b"x")
            server.transport.resume_reading()
            assert await sending == LARGE
        assert not any(await server.until_received(LARGE))


async def test_a_file_that_becomes_shorter(loop, large):
    async with connected() as (client, server):
        server.transport.pause_reading()
        with large.open("r+b") as file:
            sending = asyncio.ensure_future(loop.sendfile(client.transport, file))
            await asyncio.sleep(0.05)
            os.truncate(large, 10)
            server.transport.resume_reading()
            sent = await sending
        assert sent < LARGE
        assert len(await server.until_received(sent)) == sent


async def test_a_transfer_that_is_cancelled(loop, large):
    async with connected() as (client, server):
        server.transport.pause_reading()
        with large.open("rb") as file:
            sending = asyncio.ensure_future(loop.sendfile(client.transport, file))
            await asyncio.sleep(0.05)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        client.transport.abort()
        await client.lost


async def test_a_peer_that_leaves(loop, large):
    async with connected() as (client, server):
        server.transport.pause_reading()
        with large.open("rb") as file:
            sending = asyncio.ensure_future(loop.sendfile(client.transport, file))
            await asyncio.sleep(0.05)
            server.transport.abort()
            with pytest.raises(ConnectionError):
                await sending
        await client.lost


async def test_a_transport_that_is_closing(loop, path):
    async with connected() as (client, _):
        client.transport.close()
        with path.open("rb") as file, pytest.raises(RuntimeError, match="closing"):
            await loop.sendfile(client.transport, file)


async def test_the_same_protocol_goes_on_afterwards(loop, path):
    async with connected(server=Recorder) as (client, server):
        with path.open("rb") as file:
            await loop.sendfile(client.transport, file, 0, 100)
        await server.until_received(100)
        server.transport.write(b"answer")
        assert await client.until_received(6) == b"answer"


@pytest.mark.parametrize("into", ["a connection", "a socket"])
@pytest.mark.parametrize("descriptor", [True, False], ids=["a file", "a buffer"])
async def test_where_the_file_stands_when_there_was_nothing_to_send(loop, path, into, descriptor):
    near, far = socket.socketpair()
    near.setblocking(False)
    with far, path.open("rb") if descriptor else io.BytesIO(pattern(SIZE)) as file:
        file.seek(123)
        if into == "a socket":
            with near:
                assert await loop.sock_sendfile(near, file, SIZE) == 0
        else:
            transport, protocol = await loop.create_unix_connection(Recorder, sock=near)
            assert await loop.sendfile(transport, file, SIZE) == 0
            transport.close()
            await protocol.lost
        assert file.tell() == SIZE


@pytest.mark.parametrize(
    ("offset", "count", "expected"),
    [(0, None, slice(0, SIZE)), (1000, 200_000, slice(1000, 201_000)), (SIZE - 5, 100, slice(SIZE - 5, SIZE))],
)
@pytest.mark.parametrize("descriptor", [True, False], ids=["a file", "a buffer"])
async def test_a_part_of_a_file_into_a_socket(loop, path, offset, count, expected, descriptor):
    wanted = pattern(SIZE)[expected]
    near, far = socket.socketpair()
    with near, far, path.open("rb") if descriptor else io.BytesIO(pattern(SIZE)) as file:
        near.setblocking(False)
        far.setblocking(False)
        sending = asyncio.create_task(loop.sock_sendfile(near, file, offset, count))
        received = bytearray()
        while len(received) < len(wanted):
            received += await loop.sock_recv(far, 1 << 20)
        assert await sending == len(wanted)
        assert received == wanted
        assert file.tell() == offset + len(wanted)


async def test_a_cancelled_transfer_into_a_socket_tells_how_much_was_sent(loop, path):
    near, far = socket.socketpair()
    with near, far, path.open("rb") as file:
        near.setblocking(False)
        far.setblocking(False)
        sending = asyncio.create_task(loop.sock_sendfile(near, file))
        await asyncio.sleep(0.05)
        received = bytearray(await loop.sock_recv(far, 100_000))
        await asyncio.sleep(0.05)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        near.shutdown(socket.SHUT_WR)
        while data := await loop.sock_recv(far, 1 << 20):
            received += data
        assert 0 < len(received) < SIZE
        assert received == pattern(SIZE)[: len(received)]
        assert file.tell() == len(received)


async def test_a_peer_that_leaves_amid_a_large_file(loop, large):
    async with connected() as (client, server):
        with large.open("rb") as file:
            sending = asyncio.ensure_future(loop.sendfile(client.transport, file))
            await server.until(lambda: len(server.data) > 1_000_000)
            server.transport.abort()
            with pytest.raises(ConnectionError):
                await sending
            assert 1_000_000 < file.tell() < LARGE
        await client.lost


@pytest.mark.loops("netloop")  # elsewhere the transport hears of it when it next reads, which it does not here
async def test_a_transfer_that_meets_a_reset_ends_the_connection(loop, large):
    with socket_pair() as (near, far):
        transport, recorder = await loop.create_connection(Recorder, sock=near.dup())
        transport.pause_reading()
        reset(far)
        with large.open("rb") as file, pytest.raises(ConnectionError):
            await loop.sendfile(transport, file)
        assert transport.is_closing()
        assert isinstance(await recorder.lost, ConnectionError)
