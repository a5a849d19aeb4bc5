"""What a cancelled receive has taken is kept for the next one, unchanged, whatever kind of object the socket is."""

from __future__ import annotations

import _socket
import asyncio
import gc
import random
import socket

import pytest
from loop.helpers import HOST, socket_pair, turns, until_fetched

from .test_socket_cancellation import attempt, receive_from, receive_into


class Unhashable(socket.socket):
    """A socket that is compared by what it is connected to, and so has no hash."""

    def __eq__(self, other):
        return isinstance(other, Unhashable) and self.getpeername() == other.getpeername()

    __hash__ = None  # type: ignore[assignment]


class Wrapper:
    """Has what the loop asks a socket for, and no weak references."""

    __slots__ = ("sock",)

    def __init__(self, *arguments, **options):
        self.sock = socket.socket(*arguments, **options)

    def __getattr__(self, name):
        return getattr(self.sock, name)


KINDS = {"raw": _socket.socket, "unhashable": Unhashable, "wrapper": Wrapper}
WAYS = {"recv": lambda loop, sock, size: loop.sock_recv(sock, size), "into": receive_into, "from": receive_from}


def made_of(sock, kind):
    """Another object for a socket, which it takes over."""
    other = KINDS[kind](sock.family, sock.type, sock.proto, fileno=sock.detach())
    other.settimeout(0)
    return other


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
async def test_no_byte_of_a_stream_is_lost(loop, kind, way):
    source = random.Random(way)
    with socket_pair() as (near, far):
        sock = made_of(near, kind)
        sent, got = bytearray(), bytearray()
        for number in range(500):
            data = b"%04d" % number
            if source.random() < 0.5:
                far.send(data)
            else:
                loop.call_soon(far.send, data)
            sent += data
            got += await attempt(loop, lambda: WAYS[way](loop, sock, 3), source) or b""
        while len(got) < len(sent):
            got += await WAYS[way](loop, sock, 1000)
        assert got == sent
        far.close()
        assert await loop.sock_recv(sock, 10) == b""
        sock.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_no_datagram_is_lost(loop, kind):
    source = random.Random(1)
    with socket.socket(type=socket.SOCK_DGRAM) as near, socket.socket(type=socket.SOCK_DGRAM) as far:
        near.bind((HOST, 0))
        far.bind((HOST, 0))
        sock = made_of(near, kind)
        got = []
        for number in range(200):
            far.sendto(b"%d" % number, sock.getsockname())
            message = await attempt(loop, lambda: loop.sock_recvfrom(sock, 100), source)
            got += [message] if message else []
        while len(got) < 200:
            buffer = bytearray(100)
            count, sender = await loop.sock_recvfrom_into(sock, buffer)
            got.append((bytes(buffer[:count]), sender))
        assert got == [(b"%d" % number, far.getsockname()) for number in range(200)]
        sock.close()


async def leave_unclaimed(loop, near, far, data):
    """Cancel a receive that has its data, and whose caller does not know yet."""
    task = loop.create_task(loop.sock_recv(near, 100))
    await turns()
    far.send(data)
    await until_fetched()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("address", [False, True])
async def test_a_buffer_used_again_after_cancelling_a_receive_that_was_done(loop, address):
    buffer = bytearray(10)
    with socket_pair() as (near, far):
        call = loop.sock_recvfrom_into(near, buffer) if address else loop.sock_recv_into(near, buffer)
        task = loop.create_task(call)
        await turns()
        far.send(b"0123456789")
        await until_fetched()  # the data is there, and the task has not run
        assert buffer == b"0123456789"
        task.cancel()
        buffer[:] = b"other"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert buffer == b"other"
        assert await loop.sock_recv(near, 10) == b"0123456789"


async def test_a_buffer_used_again_after_cancelling_a_receive_that_waits(loop):
    """Data comes, and the kernel is entered, before the call knows that it was cancelled."""
    buffer = bytearray(10)
    with socket_pair() as (near, far), socket_pair() as (other, _):
        task = loop.create_task(loop.sock_recv_into(near, buffer))
        entering = loop.sock_recv(other, 10)
        entering.send(None)
        await turns()
        task.cancel()
        buffer[:] = b"other data"
        far.send(b"0123456789")
        entering.close()  # has the kernel let go at once
        assert buffer == b"other data"
        with pytest.raises(asyncio.CancelledError):
            await task
        assert buffer == b"other data"
        assert await loop.sock_recv(near, 10) == b"0123456789"


async def test_what_nobody_claimed_goes_with_its_socket(loop):
    """Another socket may be made where it was."""
    for number in range(30):
        with socket_pair() as (near, far):
            await leave_unclaimed(loop, near, far, b"unclaimed")
            del near
            gc.collect()
        with socket_pair() as (near, far):
            far.send(b"%d" % number)
            assert await loop.sock_recv(near, 100) == b"%d" % number


async def test_sockets_that_are_equal_are_not_one(loop):
    with socket_pair() as (one, far):
        sock = made_of(one, "unhashable")
        with sock, Unhashable(fileno=_socket.dup(sock.fileno())) as other:
            other.settimeout(0)
            assert sock == other
            await leave_unclaimed(loop, sock, far, b"of the one")
            far.send(b"of the other")
            assert await loop.sock_recv(other, 100) == b"of the other"
            assert await loop.sock_recv(sock, 100) == b"of the one"
