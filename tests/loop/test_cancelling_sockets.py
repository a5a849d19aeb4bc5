"""Calls on plain sockets, cancelled at every moment: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import os
import socket

import pytest

from .cancelling import Later, Memory
from .helpers import HOST, client_socket, eventually, listener, socket_pair

SIZE = 6_000_000


class Counted:
    """What is sent, numbered, and what comes."""

    def __init__(self):
        self.numbers = itertools.count(1)
        self.sent = []
        self.came = []

    def next(self):
        self.sent.append(b"%08d" % next(self.numbers))
        return self.sent[-1]

    async def took(self, data):
        self.came.append(bytes(data))


@pytest.fixture
def counted():
    return Counted()


@pytest.fixture
def datagrams():
    """Two datagram sockets."""
    with socket.socket(type=socket.SOCK_DGRAM) as near, socket.socket(type=socket.SOCK_DGRAM) as far:
        for sock in (near, far):
            sock.bind((HOST, 0))
            sock.setblocking(False)
        yield near, far


async def test_sock_connect(loop, walk, slow_names):
    async def connect():
        with client_socket() as sock:
            await loop.sock_connect(sock, ("localhost", port))
            return sock.getpeername()

    async def accept(peer):
        assert peer == (HOST, port)

    with listener(backlog=500) as listening:
        port = listening.getsockname()[1]
        await walk(connect, accept)


async def test_sock_connect_to_one_who_does_not_answer(loop, walk):
    with listener(backlog=0) as listening, contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(client_socket()).connect_ex(listening.getsockname())

        async def connect():
            with client_socket() as sock, contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.005):
                    await loop.sock_connect(sock, listening.getsockname())

        await walk(connect)


async def test_sock_accept(loop, walk):
    async def come():
        client = stack.enter_context(client_socket())
        Later(lambda: client.connect_ex(listening.getsockname()))
        wanted.append(client)

    async def took(connection):
        sock, address = connection
        with sock:
            assert not sock.getblocking()
        wanted_address = wanted.pop(0)
        assert address == wanted_address.getsockname()
        wanted_address.close()

    wanted = []
    with listener() as listening, contextlib.ExitStack() as stack:
        await walk(lambda: loop.sock_accept(listening), took, come, keeping=True)
    assert not wanted


async def test_sock_recv(loop, walk, counted):
    async def send():
        Later(lambda: far.send(counted.next()))

    with socket_pair() as (near, far):
        await walk(lambda: loop.sock_recv(near, 8), counted.took, send)
    assert counted.came == counted.sent


async def test_sock_recv_into(loop, walk, counted):
    async def send():
        Later(lambda: far.send(counted.next()))

    async def receive():
        buffer = walk.track(Memory(100))
        count = await loop.sock_recv_into(near, buffer)
        buffer += b"nobody holds it any more"
        return buffer[:count]

    with socket_pair() as (near, far):
        await walk(receive, counted.took, send)
    assert b"".join(counted.came) == b"".join(counted.sent)


async def test_a_buffer_can_be_resized_as_soon_as_the_call_is_cancelled(loop, walk, counted):
    async def send():
        Later(lambda: far.send(counted.next()))

    async def receive():
        buffer = walk.track(Memory(100))
        try:
            count = await loop.sock_recv_into(near, buffer)
        finally:
            buffer += b"nobody holds it any more"
        return buffer[:count]

    with socket_pair() as (near, far):
        await walk(receive, counted.took, send)
    assert b"".join(counted.came) == b"".join(counted.sent)


@pytest.mark.parametrize("rounds", range(4))
async def test_the_buffer_of_a_receive_is_free_as_soon_as_it_is_cancelled(loop, rounds):
    """Whoever cancels uses it for something else, before the call knows."""
    buffer = bytearray(10)
    with socket_pair() as (near, far):
        task = asyncio.create_task(loop.sock_recv_into(near, buffer))
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        buffer[:] = b"other data"
        far.send(b"0123456789")
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.01)
        assert buffer == b"other data"
        assert await loop.sock_recv(near, 100) == b"0123456789"


async def test_the_data_of_a_send_may_change_as_soon_as_it_is_cancelled(loop):
    data = bytearray(b"a" * SIZE)
    with socket_pair() as (near, far):
        task = asyncio.create_task(loop.sock_sendall(near, data))
        await asyncio.sleep(0.01)
        task.cancel()
        data[:] = b"b" * SIZE
        got = take(far)
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.01)
        got += take(far)
        assert set(got) == {ord("a")}


async def test_sock_recvfrom(loop, walk, counted, datagrams):
    near, far = datagrams

    async def send():
        Later(lambda: far.sendto(counted.next(), near.getsockname()))

    async def took(message):
        assert message[1] == far.getsockname()
        await counted.took(message[0])

    await walk(lambda: loop.sock_recvfrom(near, 100), took, send)
    assert counted.came == counted.sent


async def test_sock_recvfrom_into(loop, walk, counted, datagrams):
    near, far = datagrams

    async def send():
        Later(lambda: far.sendto(counted.next(), near.getsockname()))

    async def receive():
        buffer = walk.track(Memory(100))
        count, address = await loop.sock_recvfrom_into(near, buffer)
        assert address == far.getsockname()
        buffer += b"nobody holds it any more"
        return buffer[:count]

    await walk(receive, counted.took, send)
    assert counted.came == counted.sent


def take(sock, most=100):
    """What can be received at once, in so many pieces at most."""
    taken = bytearray()
    with contextlib.suppress(BlockingIOError):
        for _ in range(most):
            taken += sock.recv(300_000)
    return taken


async def test_sock_sendall(loop, walk):
    """A peer that reads slowly: what is sent is the beginning of the data, and nothing afterwards."""
    letters = itertools.cycle(b"abcdefghijklmnopqrstuvwxyz")
    got = bytearray()

    async def send():
        data = walk.track(Memory(bytes([next(letters)]) * SIZE))
        loop.add_reader(far, lambda: got.extend(take(far, 1)))
        try:
            await loop.sock_sendall(near, data)
        finally:
            loop.remove_reader(far)
            data += b"nobody holds it any more"
        return data[0]

    async def took(letter):
        """The last call's data is there entirely; of the ones before only the beginnings."""
        await eventually(lambda: got.extend(take(far)) or got.count(letter) == SIZE)
        assert got.endswith(bytes([letter]) * SIZE)
        assert bytes(got[:-SIZE]) == bytes(sorted(got[:-SIZE])) or letter == b"a"[0]
        got.clear()

    with socket_pair() as (near, far):
        await walk(send, took)


async def test_sock_sendto(loop, walk):
    """A receiver that has no room: UNIX datagrams wait for it."""
    numbers = itertools.count()
    path = b"\0netloop-test-%d" % os.getpid()

    async def fill():
        with contextlib.suppress(BlockingIOError):
            while True:
                near.sendto(b"filler", path)
        Later(lambda: took.extend(take_datagrams(far)), 5)

    async def send():
        data = b"%d" % next(numbers)
        await loop.sock_sendto(near, data, path)
        return data

    async def arrived(data):
        await eventually(lambda: took.extend(take_datagrams(far)) or data in took)
        assert took.count(data) == 1
        took.clear()

    took = []
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as near,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far,
    ):
        far.bind(path)
        near.setblocking(False)
        far.setblocking(False)
        await walk(send, arrived, fill, least=0)


@pytest.mark.parametrize("connected", [False, True])
async def test_a_unix_datagram_that_waits_for_room_arrives_whole(loop, connected):
    path = b"\0netloop-test-full-%d" % os.getpid()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as near,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far,
    ):
        far.bind(path)
        near.setblocking(False)
        far.setblocking(False)
        fillers = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                near.sendto(b"filler", path)
                fillers += 1
        if connected:
            near.connect(path)
            sending = asyncio.ensure_future(loop.sock_sendall(near, b"the datagram"))
        else:
            sending = asyncio.ensure_future(loop.sock_sendto(near, b"the datagram", path))
        await asyncio.sleep(0.02)
        assert not sending.done()
        assert take_datagrams(far) == [b"filler"] * fillers
        assert await sending == (None if connected else 12)
        assert take_datagrams(far) == [b"the datagram"]


def take_datagrams(sock):
    taken = []
    with contextlib.suppress(BlockingIOError):
        while True:
            taken.append(sock.recv(100))
    return taken


class Unreadable(io.BytesIO):
    """A file without a descriptor, which the loop reads in a thread."""


@pytest.mark.parametrize("kind", ["file", "memory"])
async def test_sock_sendfile(loop, walk, tmp_path, kind):
    """A transfer that is cancelled leaves the file where the peer's data ends."""
    path = tmp_path / "file"
    path.write_bytes(os.urandom(400_000))
    content = path.read_bytes()

    async def send():
        with path.open("rb") if kind == "file" else Unreadable(content) as file:
            walk.track(file)
            loop.add_reader(far, lambda: got.extend(take(far, 1)))
            try:
                return await loop.sock_sendfile(near, file)
            finally:
                loop.remove_reader(far)
                cancelled.append(file.tell())

    async def took(count):
        await eventually(lambda: got.extend(take(far)) or bytes(got[-len(content) :]) == content)
        rest = bytes(got[: -len(content)])
        assert content.startswith(rest)
        assert count == len(content)
        got.clear()
        cancelled.clear()

    got, cancelled = bytearray(), []
    with socket_pair() as (near, far):
        await walk(send, took)
