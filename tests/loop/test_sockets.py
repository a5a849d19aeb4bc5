"""The sock_* methods: non-blocking sockets used directly."""

from __future__ import annotations

import array
import asyncio
import gc
import mmap
import os
import socket

import pytest

from .helpers import (
    HOST,
    Echo,
    address_of,
    client_socket,
    listener,
    pattern,
    serving,
    socket_pair,
    turns,
    unused_port,
)


@pytest.fixture
def sockets():
    """Two connected non-blocking sockets."""
    with socket_pair() as pair:
        yield pair


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


def test_a_connection_goes_to_the_loop_that_runs(loop, new_loop):
    """A listening socket is shared; the loop that waited for a connection first does something else."""
    other = new_loop()
    with listener() as listening, listening.dup() as shared:
        first = loop.create_task(loop.sock_accept(listening))
        loop.run_until_complete(asyncio.sleep(0.01))
        for _ in range(5):
            second = other.create_task(other.sock_accept(shared))
            other.run_until_complete(asyncio.sleep(0.01))
            with socket.create_connection(listening.getsockname()) as client:
                connection, address = other.run_until_complete(asyncio.wait_for(second, 10))
                connection.close()
                assert address == client.getsockname()
        loop.run_until_complete(asyncio.sleep(0.01))
        assert not first.done()
        with socket.create_connection(listening.getsockname()) as client:
            connection, address = loop.run_until_complete(first)
            connection.close()
            assert address == client.getsockname()


def test_all_who_wait_for_one_connection_are_told(loop, new_loop):
    """One of them gets it; the others go on waiting."""
    others = [new_loop() for _ in range(3)]
    with listener() as listening:
        waiting = [(each, each.create_task(each.sock_accept(listening))) for each in [loop, *others]]
        for each, _ in waiting:
            each.run_until_complete(asyncio.sleep(0.01))
        clients = [socket.create_connection(listening.getsockname()) for _ in waiting]
        for each, task in waiting:
            connection, _ = each.run_until_complete(task)
            connection.close()
        for client in clients:
            assert client.recv(1) == b""
            client.close()


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


async def test_nothing_to_receive_or_send(loop, sockets):
    near, _ = sockets
    assert await loop.sock_recv(near, 0) == b""
    assert await loop.sock_recv_into(near, bytearray()) == 0
    assert await loop.sock_sendall(near, b"") is None


async def test_every_way_to_await(loop, sockets):
    near, far = sockets
    for number in range(4):
        far.send(b"%d" % number)
    assert await asyncio.create_task(loop.sock_recv(near, 1)) == b"0"
    assert await asyncio.wait_for(loop.sock_recv(near, 1), 10) == b"1"
    assert await asyncio.gather(loop.sock_recv(near, 1)) == [b"2"]
    assert await asyncio.shield(loop.sock_recv(near, 1)) == b"3"
    never = loop.sock_recv(near, 1)
    assert asyncio.iscoroutine(never)
    never.close()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(loop.sock_recv(near, 1), 0.001)


def test_running_until_complete(loop, sockets):
    near, far = sockets
    far.send(b"x")
    assert loop.run_until_complete(loop.sock_recv(near, 1)) == b"x"
    assert loop.run_until_complete(loop.sock_sendall(near, b"y")) is None
    assert loop.run_until_complete(loop.sock_recv(far, 1)) == b"y"


async def test_the_message_of_a_cancellation_arrives(loop, sockets):
    task = asyncio.create_task(loop.sock_recv(sockets[0], 1))
    await turns()
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await task


@pytest.mark.parametrize("large", [False, True])
async def test_sendall_of_wide_items(loop, sockets, large):
    near, far = sockets
    data = array.array("I", range(1_000_000 if large else 100))
    sending = asyncio.create_task(loop.sock_sendall(near, data))
    got = bytearray()
    while len(got) < len(data) * data.itemsize:
        got += await loop.sock_recv(far, 1_000_000)
    await sending
    assert got == data.tobytes()
    data.append(1)  # the loop does not hold on to it


async def test_sendall_of_mapped_memory(loop, sockets):
    near, far = sockets
    with mmap.mmap(-1, 10_000) as memory:
        memory[:] = pattern(10_000)
        await loop.sock_sendall(near, memory)
    got = bytearray()
    while len(got) < 10_000:
        got += await loop.sock_recv(far, 10_000)
    assert got == pattern(10_000)


async def test_a_buffer_of_sendall_cannot_be_resized_meanwhile(loop, sockets):
    near, _ = sockets
    data = bytearray(20_000_000)
    sending = asyncio.create_task(loop.sock_sendall(near, data))
    await asyncio.sleep(0.01)
    with pytest.raises(BufferError):
        data.append(1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    del sending
    gc.collect()
    data.append(1)


async def test_an_accepted_socket_is_not_inherited(loop):
    with listener() as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = await loop.sock_accept(listening)
        with accepted:
            assert accepted.gettimeout() == 0
            assert not os.get_inheritable(accepted.fileno())
            assert (accepted.family, accepted.type, accepted.proto) == (
                listening.family,
                listening.type,
                listening.proto,
            )


async def test_reading_and_writing_at_once(loop, sockets):
    near, far = sockets
    payload = pattern(3_000_000)

    async def read(sock):
        got = bytearray()
        while len(got) < len(payload):
            got += await loop.sock_recv(sock, 100_000)
        return got

    results = await asyncio.gather(
        loop.sock_sendall(near, payload), loop.sock_sendall(far, payload), read(near), read(far)
    )
    assert results == [None, None, payload, payload]


async def test_two_readers_of_one_socket(loop, sockets):
    near, far = sockets
    first = asyncio.create_task(loop.sock_recv(near, 1))
    second = asyncio.create_task(loop.sock_recv(near, 1))
    await turns()
    far.send(b"ab")
    assert sorted(await asyncio.gather(first, second)) == [b"a", b"b"]


async def test_watching_the_same_descriptor(loop, sockets):
    near, far = sockets
    seen = []
    loop.add_writer(near, seen.append, 1)
    task = asyncio.create_task(loop.sock_recv(near, 10))
    await turns()
    far.send(b"data")
    assert await task == b"data"
    while not seen:
        await asyncio.sleep(0)
    assert loop.remove_writer(near) is not False
