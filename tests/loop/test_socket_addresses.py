"""The sock_* methods: datagrams, and addresses of every family."""

from __future__ import annotations

import asyncio
import socket

import pytest

from .helpers import HOST, pattern, socket_pair, turns


@pytest.fixture
def sockets():
    """Two connected non-blocking sockets."""
    with socket_pair() as pair:
        yield pair


@pytest.fixture
def datagram_sockets():
    """Two non-blocking UDP sockets on free ports, not connected."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as near, socket.socket(type=socket.SOCK_DGRAM) as far:
        for sock in (near, far):
            sock.bind((HOST, 0))
            sock.setblocking(False)
        yield near, far


async def test_datagrams_with_their_senders(loop, datagram_sockets):
    near, far = datagram_sockets
    assert await loop.sock_sendto(near, b"hello", far.getsockname()) == 5
    assert await loop.sock_recvfrom(far, 100) == (b"hello", near.getsockname())
    buffer = bytearray(8)
    receiving = asyncio.create_task(loop.sock_recvfrom_into(far, buffer))
    await turns()
    assert await loop.sock_sendto(near, b"into", far.getsockname()) == 4
    assert await receiving == (4, near.getsockname())
    assert buffer == b"into\0\0\0\0"
    near.sendto(b"part of it", far.getsockname())
    assert await loop.sock_recvfrom_into(far, buffer, 4) == (4, near.getsockname())
    assert buffer == b"part\0\0\0\0"


async def test_empty_and_truncated_datagrams(loop, datagram_sockets):
    near, far = datagram_sockets
    sender = near.getsockname()
    assert await loop.sock_sendto(near, b"", far.getsockname()) == 0
    assert await loop.sock_recvfrom(far, 10) == (b"", sender)
    near.sendto(b"cut here", far.getsockname())
    near.sendto(b"unseen", far.getsockname())
    near.sendto(b"whole", far.getsockname())
    assert await loop.sock_recvfrom(far, 3) == (b"cut", sender)
    assert await loop.sock_recvfrom(far, 0) == (b"", sender)
    assert await loop.sock_recv(far, 100) == b"whole"


async def test_waiting_for_a_datagram_of_no_bytes(loop, datagram_sockets):
    near, far = datagram_sockets
    receiving = asyncio.create_task(loop.sock_recvfrom(far, 0))
    await turns()
    near.sendto(b"x", far.getsockname())
    assert await receiving == (b"", near.getsockname())


@pytest.mark.parametrize("size", [1, 9000, 65507])
@pytest.mark.parametrize("room", [65507, 300_000])
async def test_large_datagrams(loop, datagram_sockets, size, room):
    near, far = datagram_sockets
    receiving = asyncio.create_task(loop.sock_recvfrom(far, room))
    await turns()
    assert await loop.sock_sendto(near, pattern(size), far.getsockname()) == size
    assert await receiving == (pattern(size), near.getsockname())
    near.sendto(pattern(size), far.getsockname())
    assert await loop.sock_recv(far, room) == pattern(size)


async def test_recvfrom_on_streams_gives_no_address(loop, sockets):
    near, far = sockets
    for _ in range(2):
        far.send(b"one")
        expected = near.recvfrom(10)
        far.send(b"one")
        assert await loop.sock_recvfrom(near, 10) == expected


async def test_ipv6_addresses(loop):
    with (
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as near,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as listening,
        socket.socket(socket.AF_INET6) as client,
    ):
        for sock in (near, listening, client):
            sock.setblocking(False)
        near.bind(("::1", 0))
        near.sendto(b"self", near.getsockname())
        assert await loop.sock_recvfrom(near, 10) == (b"self", near.getsockname())
        await loop.sock_connect(client, listening.getsockname())
        accepted, address = await loop.sock_accept(listening)
        with accepted:
            assert address == client.getsockname()
            assert len(address) == 4


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
async def test_pairs_of_unix_sockets(loop, kind):
    near, far = socket.socketpair(socket.AF_UNIX, kind)
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        far.send(b"plain")
        expected = near.recvfrom(10)
        far.send(b"plain")
        assert await loop.sock_recvfrom(near, 10) == expected
        await loop.sock_sendall(far, b"more")
        assert await loop.sock_recv(near, 10) == b"more"


@pytest.mark.parametrize("abstract", [False, True])
async def test_names_of_unix_sockets(loop, tmp_path, abstract):
    def name(word):
        return f"\0{tmp_path}/{word}".encode() if abstract else str(tmp_path / word)

    with (
        socket.socket(socket.AF_UNIX) as listening,
        socket.socket(socket.AF_UNIX) as client,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as near,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far,
    ):
        for sock in (listening, client, near, far):
            sock.setblocking(False)
        listening.bind(name("l"))
        listening.listen()
        client.bind(name("c"))
        await loop.sock_connect(client, name("l"))
        accepted, address = await loop.sock_accept(listening)
        accepted.close()
        assert address == client.getsockname()
        near.bind(name("n"))
        assert await loop.sock_sendto(far, b"nameless", name("n")) == 8
        assert await loop.sock_recvfrom(near, 10) == (b"nameless", None)
        far.bind(name("f"))
        assert await loop.sock_sendto(far, b"named", name("n")) == 5
        assert await loop.sock_recvfrom(near, 10) == (b"named", far.getsockname())


async def test_a_full_unix_datagram_socket(loop):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        sent = 0
        try:
            while True:
                sent += near.send(b"%04d" % sent) // 4
        except BlockingIOError:
            pass
        last = asyncio.create_task(loop.sock_sendall(near, b"last"))
        await turns()
        assert not last.done()
        for number in range(sent):
            assert await loop.sock_recv(far, 10) == b"%04d" % number
        await last
        assert await loop.sock_recv(far, 10) == b"last"
