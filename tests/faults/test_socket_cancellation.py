"""Operations on plain sockets, cancelled at every moment: nothing is lost, nothing overtakes, nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
import struct

import pytest
from loop.helpers import HOST, Recorder, eventually, listener, reset, serving, socket_pair, turns, until_fetched

import netloop

from .child import run_child
from .test_fork import in_fork

pytestmark = pytest.mark.limit(60)

QUEUES = {"usual": {}, "tiny": {"submission_entries": 4, "completion_entries": 8}}


@pytest.fixture(params=list(QUEUES.values()), ids=list(QUEUES))
def loop(request, new_loop):
    return new_loop(lambda: netloop.EventLoop(**request.param))


@pytest.fixture
def sockets():
    with socket_pair() as pair:
        yield pair


async def attempt(loop, receive, random_source):
    """Start a receive and cancel it at some moment; what it returned, or None."""
    task = loop.create_task(receive())
    for _ in range(random_source.choice((0, 1, 1, 2, 3))):
        await asyncio.sleep(0)
    if random_source.random() < 0.5:
        task.cancel()
    else:
        loop.call_soon(task.cancel)
        await asyncio.sleep(0)
    try:
        return await task
    except asyncio.CancelledError:
        return None


async def receive_into(loop, sock, size):
    buffer = bytearray(size)
    count = await loop.sock_recv_into(sock, buffer)
    buffer += b"the loop has let go of it"
    return bytes(buffer[:count])


async def receive_from(loop, sock, size):
    return (await loop.sock_recvfrom(sock, size))[0]


WAYS = {"recv": lambda loop, sock, size: loop.sock_recv(sock, size), "into": receive_into, "from": receive_from}


@pytest.mark.parametrize("way", [*WAYS, "mixed"])
async def test_no_byte_of_a_stream_is_lost(loop, sockets, way):
    near, far = sockets
    source = random.Random(way)
    sent = bytearray()
    got = bytearray()
    number = 0
    while number < 1500 or len(got) < len(sent):
        if number < 1500:
            data = struct.pack("I", number) * source.choice((1, 1, 2, 5))
            number += 1
            # Sent now, or while the receive waits, or just when it is cancelled.
            if source.random() < 0.5:
                far.send(data)
            else:
                loop.call_soon(far.send, data)
            sent += data
        receive = WAYS[source.choice(list(WAYS)) if way == "mixed" else way]
        size = source.choice((1, 3, 100, 1000))
        got += await attempt(loop, lambda receive=receive, size=size: receive(loop, near, size), source) or b""
    assert got == sent


@pytest.mark.parametrize("into", [False, True])
async def test_no_datagram_is_lost(loop, into):
    source = random.Random(into)
    with socket.socket(type=socket.SOCK_DGRAM) as near, socket.socket(type=socket.SOCK_DGRAM) as far:
        for sock in (near, far):
            sock.bind((HOST, 0))
            sock.setblocking(False)

        async def receive():
            if source.random() < 0.2:
                return await loop.sock_recv(near, 100), far.getsockname()
            if not into:
                return await loop.sock_recvfrom(near, 100)
            buffer = bytearray(100)
            count, sender = await loop.sock_recvfrom_into(near, buffer)
            return bytes(buffer[:count]), sender

        got = []
        for number in range(1000):
            far.sendto(b"%d" % number, near.getsockname())
            message = await attempt(loop, receive, source)
            got += [message] if message else []
            while number - len(got) > 50:  # the socket's buffer holds some two hundred
                got.append(await receive())
        while len(got) < 1000:
            got.append(await receive())
    assert [data for data, _ in got] == [b"%d" % number for number in range(1000)]
    assert {sender for _, sender in got} <= {(HOST, got[0][1][1]), None}


async def test_no_connection_is_lost(loop):
    source = random.Random(1)
    wanted, accepted = [], []
    with listener(backlog=200) as listening, contextlib.ExitStack() as stack:
        for _ in range(150):
            client = stack.enter_context(socket.create_connection(listening.getsockname()))
            wanted.append(client.getsockname())
            found = await attempt(loop, lambda: loop.sock_accept(listening), source)
            accepted += [found] if found else []
        while len(accepted) < len(wanted):
            accepted.append(await loop.sock_accept(listening))
        assert [address for _, address in accepted] == wanted
        for connection, address in accepted:
            assert connection.getpeername() == address
            connection.close()


async def test_what_a_cancelled_send_sent_comes_before_the_next(loop, sockets):
    near, far = sockets
    source = random.Random(2)
    got = bytearray()
    for letter in b"abcdefghijkl":
        task = loop.create_task(loop.sock_sendall(near, bytes([letter]) * 4_000_000))
        for _ in range(source.choice((1, 2, 3))):
            got += await loop.sock_recv(far, 50_000)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    ending = loop.create_task(loop.sock_sendall(near, b"."))
    while not got.endswith(b"."):
        got += await loop.sock_recv(far, 1_000_000)
    await ending
    assert got == bytes(sorted(got[:-1])) + b"."


async def test_a_reset_that_nobody_was_told_of(loop, sockets):
    near, far = sockets
    task = loop.create_task(loop.sock_recv(near, 10))
    await turns()
    reset(far)
    await asyncio.sleep(0)  # the operation has failed by now, and its task has not run
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ConnectionResetError):
        await loop.sock_recv(near, 10)
    assert await loop.sock_recv(near, 10) == b""


async def test_data_kept_for_a_smaller_receive(loop, sockets):
    near, far = sockets
    task = loop.create_task(loop.sock_recv(near, 10))
    await turns()
    far.send(b"0123456789")
    await until_fetched()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    far.send(b"more")
    buffer = bytearray(4)
    assert await loop.sock_recv_into(near, buffer) == 4
    assert buffer == b"0123"
    assert await loop.sock_recv(near, 2) == b"45"
    assert await loop.sock_recv(near, 10) == b"6789"
    assert await loop.sock_recv(near, 10) == b"more"


async def test_cancelling_from_a_protocol(loop, sockets):
    """The awaiter is told in the same turn, before the cancellation could be submitted with the others."""
    near, far = sockets
    buffer = bytearray(100)
    tasks = []

    class Canceller(Recorder):
        def data_received(self, data):
            super().data_received(data)
            for task in tasks:
                task.cancel()

    async def receive():
        try:
            await loop.sock_recv_into(near, buffer)
        except asyncio.CancelledError:
            buffer.append(1)  # nobody holds it any more
            near.close()
            raise

    async with serving(Canceller) as (server, _):
        tasks.append(loop.create_task(receive()))
        await turns()
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.send(b"x")
            with pytest.raises(asyncio.CancelledError):
                await tasks[0]
    assert await loop.sock_recv(far, 10) == b""


async def test_a_thousand_receives_cancelled_at_once(loop):
    pairs = [socket.socketpair() for _ in range(300)]
    for near, far in pairs:
        near.setblocking(False)
        far.setblocking(False)
    tasks = [loop.create_task(loop.sock_recv(near, 10)) for near, _ in pairs]
    await turns()
    for number, (_, far) in enumerate(pairs):
        if number % 2:
            far.send(b"data")
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended)
    await eventually(lambda: loop.statistics().in_flight == 0)
    for number, (near, far) in enumerate(pairs):
        if number % 2:
            assert await loop.sock_recv(near, 10) == b"data"
        near.close()
        far.close()


@pytest.mark.parametrize("rounds", range(5))
def test_a_connection_that_a_cancelled_accept_leaves_is_there_for_another_loop(new_loop, rounds):
    loop = new_loop(netloop.new_event_loop)
    with listener() as listening:

        async def main():
            task = loop.create_task(loop.sock_accept(listening))
            await turns()
            client = socket.create_connection(listening.getsockname())
            await turns(rounds)
            task.cancel()
            try:
                return client, await task
            except asyncio.CancelledError:
                return client, None

        client, accepted = loop.run_until_complete(main())
        loop.close()
        other = new_loop(netloop.new_event_loop)
        with client:
            connection, address = accepted or other.run_until_complete(other.sock_accept(listening))
            connection.close()
            assert address == client.getsockname()


@pytest.mark.parametrize("closing", [True, False])
@pytest.mark.parametrize("sending", [True, False])
def test_buffers_are_given_back_when_the_loop_ends(new_loop, closing, sending):
    loop = netloop.EventLoop()
    data = bytearray(20_000_000 if sending else 10)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        call = loop.sock_sendall(near, data) if sending else loop.sock_recv_into(near, data)
        task = loop.create_task(call)
        loop.run_until_complete(turns())
        with pytest.raises(BufferError):
            data.append(1)
        task._log_destroy_pending = False
        if closing:
            loop.close()
        else:
            with pytest.warns(ResourceWarning):
                del loop, task, call
                gc.collect()
        data.append(1)
        task = call = None
        gc.collect()


@pytest.mark.parametrize("cancelling", [False, True])
def test_more_receives_than_buffers(new_loop, cancelling):
    """The kernel finds no buffer for some: their data stays in the sockets until there is one."""
    loop = new_loop(lambda: netloop.EventLoop(buffer_count=4, buffer_count_max=4))

    async def main():
        pairs = [socket.socketpair() for _ in range(200)]
        for near, far in pairs:
            near.setblocking(False)
            far.send(b"data")
        tasks = [loop.create_task(loop.sock_recv(near, 10)) for near, _ in pairs]
        if cancelling:
            # So few buffers do not come round to all, not even where a thread of the kernel's fills them meanwhile.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            tasks = [
                loop.create_task(loop.sock_recv(near, 10))
                for (near, _), end in zip(pairs, ended, strict=True)
                if isinstance(end, asyncio.CancelledError)
            ]
            assert tasks
        assert await asyncio.gather(*tasks) == [b"data"] * len(tasks)
        for near, far in pairs:
            near.close()
            far.close()

    loop.run_until_complete(main())
    assert loop.statistics().buffers_exhausted > 0


def fork_while_receiving():
    """Fork with a receive in flight; in the child the operation is given up, in the parent it goes on."""

    async def main():
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            task = loop.create_task(loop.sock_recv(near, 10))
            await turns()

            def in_child():
                task.cancel()
                task.get_coro().close()
                return True

            good = in_fork(in_child)
            far.send(b"parent's")
            return good, (await task).decode()

    return netloop.run(main())


def test_forking_while_a_receive_waits():
    assert run_child(fork_while_receiving) == [True, "parent's"]
