"""Datagrams of families that only the socket module knows, where something goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket

import pytest
from loop.helpers import Datagrams, endpoint, turns

LARGEST = 256 * 1024


@pytest.fixture
def ends():
    """Two netlink sockets, the first connected to the second and with room for large datagrams."""
    with contextlib.ExitStack() as stack:
        pair = [stack.enter_context(socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 2)) for _ in range(2)]
        for sock in pair:
            sock.bind((0, 0))
        pair[0].connect(pair[1].getsockname())
        pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * LARGEST)
        yield pair


async def test_a_datagram_larger_than_can_be_received_is_told_of(loop, ends, caplog):
    near, far = ends
    async with endpoint(sock=far) as server:
        near.send(bytes(LARGEST + 1))
        assert await server.until_datagrams(1) == [bytes(LARGEST)]
        near.send(b"the next one is whole")
        assert (await server.until_datagrams(2))[1] == b"the next one is whole"
        assert caplog.text.count(f"a datagram was cut to {LARGEST} bytes") == 1


async def test_waiting_for_a_peer_that_does_not_read_is_no_busy_waiting(loop, ends):
    """A poll says that there is room, because the socket knows nothing of its peer."""
    near, far = ends
    async with endpoint(sock=near) as client:
        while not client.transport.get_write_buffer_size():
            client.transport.sendto(bytes(2000))
        await asyncio.sleep(0.1)
        before = loop.statistics().turns
        await asyncio.sleep(0.3)
        assert loop.statistics().turns - before < 50
        far.recv(2000)
        while client.transport.get_write_buffer_size():
            await asyncio.sleep(0.01)


async def test_a_descriptor_that_somebody_else_closes_ends_the_endpoint(loop, ends):
    near, far = ends
    async with endpoint(sock=far) as server:
        await turns()
        os.close(far.detach())
        near.send(b"wakes the poll, which holds the file")
        lost = await server.lost
        assert isinstance(lost, OSError) and lost.errno == errno.EBADF


async def test_a_send_that_fails_while_others_wait(loop, ends):
    """The protocol is told; what waits behind it, and what it sends then, is sent."""

    class Answering(Datagrams):
        def error_received(self, exc):
            super().error_received(exc)
            self.transport.sendto(b"instead")

    near, far = ends
    async with endpoint(Answering, sock=near) as client:
        sent = 0
        while not client.transport.get_write_buffer_size():
            client.transport.sendto(bytes(2000))
            sent += 1
        client.transport.sendto(bytes(4 * LARGEST))
        client.transport.sendto(b"behind it")
        received = []
        far.setblocking(False)
        while b"instead" not in received:
            with contextlib.suppress(BlockingIOError):
                received.append(far.recv(2000))
            await turns(1)
        assert received == [*[bytes(2000)] * sent, b"behind it", b"instead"]
        assert [error.errno for error in client.errors] == [errno.EMSGSIZE]
        assert client.transport.get_write_buffer_size() == 0


async def test_aborting_when_told_of_a_send_that_failed_while_others_wait(loop, ends):
    class Aborting(Datagrams):
        def error_received(self, exc):
            super().error_received(exc)
            self.transport.abort()

    near, far = ends
    async with endpoint(Aborting, sock=near) as client:
        while not client.transport.get_write_buffer_size():
            client.transport.sendto(bytes(2000))
        client.transport.sendto(bytes(4 * LARGEST))
        client.transport.sendto(b"dropped")
        far.setblocking(False)
        while not client.lost.done():
            with contextlib.suppress(BlockingIOError):
                assert far.recv(2000) != b"dropped"
            await turns(1)
        assert client.lost.result() is None


def test_closing_the_loop_while_datagrams_wait(new_loop, ends):
    near, _ = ends
    loop = new_loop()

    async def fill():
        transport, _ = await loop.create_datagram_endpoint(Datagrams, sock=near)
        while not transport.get_write_buffer_size():
            transport.sendto(bytes(2000))
        await turns()
        transport.close()

    loop.run_until_complete(fill())
    loop.close()
    assert near.fileno() == -1
