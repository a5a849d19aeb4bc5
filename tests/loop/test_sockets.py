"""The sock_* methods: non-blocking sockets used directly."""

from __future__ import annotations

import asyncio
import socket

import pytest

from .helpers import HOST, Echo, address_of, listener, pattern, reset, serving, turns, unused_port


@pytest.fixture
def sockets():
    """Two connected non-blocking sockets."""
    with socket.create_server((HOST, 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        yield near, far


def client_socket() -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    return sock


async def test_connect_send_and_receive(loop):
    async with serving(Echo) as (server, _):
        with client_socket() as sock:
            await loop.sock_connect(sock, address_of(server))
            await loop.sock_sendall(sock, b"direct")
            assert await loop.sock_recv(sock, 100) == b"direct"


async def test_connect_by_name(loop):
    async with serving(Echo) as (server, _):
        with client_socket() as sock:
            await loop.sock_connect(sock, ("localhost", address_of(server)[1]))


async def test_connect_refused(loop):
    with client_socket() as sock, pytest.raises(ConnectionRefusedError):
        await loop.sock_connect(sock, (HOST, unused_port()))


async def test_accept(loop):
    with listener() as listening:
        waiting = asyncio.create_task(loop.sock_accept(listening))
        await turns()
        with socket.create_connection(listening.getsockname()) as peer:
            accepted, address = await waiting
            with accepted:
                assert address == peer.getsockname()
                assert accepted.gettimeout() == 0
                assert accepted.getpeername() == peer.getsockname()


async def test_accepting_many(loop):
    with listener(backlog=100) as listening:
        peers = [socket.create_connection(listening.getsockname()) for _ in range(50)]
        addresses = set()
        for _ in peers:
            accepted, address = await loop.sock_accept(listening)
            addresses.add(address)
            accepted.close()
        assert addresses == {peer.getsockname() for peer in peers}
        for peer in peers:
            peer.close()


async def test_receive_waits_for_data(loop, sockets):
    near, far = sockets
    waiting = asyncio.create_task(loop.sock_recv(near, 100))
    await turns()
    assert not waiting.done()
    far.send(b"now")
    assert await waiting == b"now"


async def test_receive_at_most(loop, sockets):
    near, far = sockets
    far.send(b"abcdef")
    assert await loop.sock_recv(near, 4) == b"abcd"
    assert await loop.sock_recv(near, 4) == b"ef"


async def test_receive_at_the_end(loop, sockets):
    near, far = sockets
    far.close()
    assert await loop.sock_recv(near, 10) == b""


async def test_receive_into_a_buffer(loop, sockets):
    near, far = sockets
    buffer = bytearray(10)
    far.send(b"abc")
    assert await loop.sock_recv_into(near, buffer) == 3
    far.send(b"defghijklmnop")
    assert await loop.sock_recv_into(near, memoryview(buffer)[3:]) == 7
    assert buffer == b"abcdefghij"
    buffer.append(1)  # the loop does not hold on to it


async def test_a_large_sendall(loop, sockets):
    near, far = sockets
    payload = pattern(8_000_000)
    sending = asyncio.create_task(loop.sock_sendall(near, payload))
    got = bytearray()
    while len(got) < len(payload):
        got += await loop.sock_recv(far, 1_000_000)
    assert await sending is None
    assert got == payload


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_sendall_takes_bytes_like_objects(loop, sockets, kind):
    near, far = sockets
    await loop.sock_sendall(near, kind(b"data"))
    await loop.sock_sendall(near, kind(b""))
    assert await loop.sock_recv(far, 10) == b"data"


@pytest.mark.parametrize("operation", ["recv", "recv_into", "accept", "sendall", "connect"])
async def test_cancelling_leaves_the_socket_usable(loop, sockets, operation):
    near, far = sockets
    with listener(backlog=0) as listening, client_socket() as connecting:
        fillers = []
        if operation == "connect":
            for _ in range(4):  # with the backlog full, a further connect does not complete
                fillers.append(client_socket())
                fillers[-1].connect_ex(listening.getsockname())
        work = {
            "recv": lambda: loop.sock_recv(near, 100),
            "recv_into": lambda: loop.sock_recv_into(near, bytearray(100)),
            "accept": lambda: loop.sock_accept(listening),
            "sendall": lambda: loop.sock_sendall(near, bytes(20_000_000)),
            "connect": lambda: loop.sock_connect(connecting, listening.getsockname()),
        }[operation]
        task = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for filler in fillers:
            filler.close()
        await turns()
        far.send(b"after")
        assert await loop.sock_recv(near, 5) == b"after"


async def test_a_cancelled_receive_takes_no_data(loop, sockets):
    near, far = sockets
    for number in range(100):
        task = asyncio.create_task(loop.sock_recv(near, 100))
        await turns(number % 3)
        far.send(b"%02d" % number)
        task.cancel()
        try:
            got = await task
        except asyncio.CancelledError:
            got = await loop.sock_recv(near, 100)
        assert got == b"%02d" % number


async def test_a_reset_while_receiving(loop, sockets):
    near, far = sockets
    task = asyncio.create_task(loop.sock_recv(near, 100))
    await turns()
    reset(far)
    with pytest.raises(ConnectionResetError):
        await task


async def test_a_reset_while_sending(loop, sockets):
    near, far = sockets
    task = asyncio.create_task(loop.sock_sendall(near, bytes(20_000_000)))
    await asyncio.sleep(0.01)
    reset(far)
    with pytest.raises(ConnectionError):
        await task


@pytest.mark.parametrize("operation", ["recv", "recv_into", "sendall", "accept", "connect"])
def test_debug_mode_refuses_blocking_sockets(loop, operation):
    async def main():
        with socket.socket() as sock:
            work = {
                "recv": lambda: loop.sock_recv(sock, 1),
                "recv_into": lambda: loop.sock_recv_into(sock, bytearray(1)),
                "sendall": lambda: loop.sock_sendall(sock, b"x"),
                "accept": lambda: loop.sock_accept(sock),
                "connect": lambda: loop.sock_connect(sock, (HOST, 1)),
            }[operation]
            with pytest.raises(ValueError, match="non-blocking"):
                await work()

    loop.set_debug(True)
    loop.run_until_complete(main())


async def test_several_sockets_at_once(loop):
    pairs = [socket.socketpair() for _ in range(100)]
    for near, far in pairs:
        near.setblocking(False)
        far.setblocking(False)
    receiving = [asyncio.create_task(loop.sock_recv(near, 100)) for near, _ in pairs]
    await turns()
    for number, (_, far) in enumerate(pairs):
        await loop.sock_sendall(far, b"%d" % number)
    assert await asyncio.gather(*receiving) == [b"%d" % number for number in range(100)]
    for near, far in pairs:
        near.close()
        far.close()
