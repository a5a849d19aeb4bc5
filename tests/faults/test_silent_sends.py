"""Small sends complete only if they fail: nothing is lost, sent twice, or let go of too early, whatever happens."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import struct
import threading

import pytest
from loop.helpers import Events, Recorder, eventually, socket_pair

import netloop
from netloop.core.ring import FaultPlan

RESET = struct.pack("ii", 1, 0)


class Echo(Events):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def read_all(loop, sock):
    data = bytearray()
    while piece := await loop.sock_recv(sock, 1 << 20):
        data += piece
    return bytes(data)


async def test_a_round_trip_takes_one_system_call(loop):
    """A send that completed would end the wait that is meant for the next message."""
    with socket_pair() as (near, far):
        far.setblocking(True)
        transport, _ = await loop.create_connection(Echo, sock=near.dup())

        def exchange():
            for number in range(300):
                far.send(b"%d" % number)
                assert far.recv(100) == b"%d" % number

        before = loop.statistics().enters
        await loop.run_in_executor(None, exchange)
        assert loop.statistics().enters - before < 330
        transport.abort()
        await eventually(lambda: loop.statistics().connections == 0)


@pytest.mark.parametrize("size", [10, 4_000, 16_000])
async def test_a_socket_without_room_takes_the_rest_later_and_in_order(loop, size):
    """The send that finds no room, or room for a part, says so, and those behind it wait."""
    with socket_pair() as (near, far):
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        recorder = Recorder()
        transport, _ = await loop.create_connection(lambda: recorder, sock=near.dup())
        expected = bytearray()
        while "pause_writing" not in recorder.calls:
            piece = os.urandom(size)
            expected += piece
            transport.write(piece)
            if len(expected) % 7 < 5:
                await asyncio.sleep(0)
        near.close()
        transport.close()
        assert await read_all(loop, far) == expected
        await recorder.lost


def many_connections(loop, resets):
    """Many connections write at once, some of which their peers have reset; what the others have received."""

    async def main():
        pairs = []
        for _ in range(60):
            near, far = socket.socketpair()
            far.setblocking(False)
            transport, recorder = await loop.create_connection(Recorder, sock=near)
            pairs.append((transport, recorder, far))
        broken = [pair for number, pair in enumerate(pairs) if number % resets == 0]
        for _, _, far in broken:
            far.close()
        wanted = {}
        for number, (transport, _, _) in enumerate(pairs):
            wanted[number] = b"%d" % number * 50
            transport.write(wanted[number])
        await asyncio.gather(*(recorder.lost for _, recorder, _ in broken))
        for number, (transport, recorder, far) in enumerate(pairs):
            if number % resets:
                transport.write_eof()
                assert await read_all(loop, far) == wanted[number]
                transport.close()
                far.close()
                await recorder.lost
        await eventually(lambda: loop.statistics().in_flight == 0)

    loop.run_until_complete(main())


@pytest.mark.parametrize("resets", [2, 7, 1000])
@pytest.mark.parametrize("entries", [(4, 8), (512, 4096)])
def test_many_connections_send_at_once_and_some_are_broken(new_loop, entries, resets):
    """With a small queue completions overflow, among them those of sends that have failed."""
    loop = new_loop(lambda: netloop.EventLoop(submission_entries=entries[0], completion_entries=entries[1]))
    many_connections(loop, resets)


@pytest.mark.parametrize("failing", [errno.EAGAIN, errno.EBUSY, errno.EINTR])
def test_what_the_kernel_has_not_taken_is_kept(new_loop, failing):
    """One enter after the other fails; what is sent is new memory each time, used again if it was free."""
    for number in range(1, 40):
        plan = FaultPlan(call="enter", nth=number, errno=failing)
        loop = new_loop(lambda plan=plan: netloop.EventLoop(_faults=plan))

        async def main(loop=loop):
            with socket_pair() as (near, far):
                recorder = Recorder()
                transport, _ = await loop.create_connection(lambda: recorder, sock=near.dup())
                near.close()
                expected = bytearray()
                for _ in range(10):
                    piece = os.urandom(random.randrange(1, 3000))
                    expected += piece
                    transport.write(piece)
                    del piece
                    await asyncio.sleep(0)
                    _ = [os.urandom(1000) for _ in range(3)]
                transport.close()
                assert await read_all(loop, far) == expected
                await recorder.lost

        loop.run_until_complete(main())
        loop.close()


async def test_a_reset_is_told_though_the_send_that_met_it_says_nothing_else(loop):
    with socket_pair() as (near, far):
        recorder = Recorder()
        transport, _ = await loop.create_connection(lambda: recorder, sock=near.dup())
        transport.pause_reading()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        far.close()
        near.close()
        for _ in range(10):
            transport.write(b"data")
            await asyncio.sleep(0)
        assert isinstance(await recorder.lost, (ConnectionResetError, BrokenPipeError))


@pytest.mark.parametrize("end", ["close", "abort", "write_eof"])
async def test_a_message_and_the_end_at_once(loop, end):
    for wait in range(4):
        with socket_pair() as (near, far):
            recorder = Recorder()
            transport, _ = await loop.create_connection(lambda recorder=recorder: recorder, sock=near.dup())
            near.close()
            transport.write(b"message")
            for _ in range(wait):
                await asyncio.sleep(0)
            getattr(transport, end)()
            assert await read_all(loop, far) == b"message"
            transport.close()
            await recorder.lost


def test_another_thread_goes_on_with_a_loop_that_has_just_sent(new_loop):
    loop = new_loop(netloop.EventLoop)
    near, far = socket.socketpair()
    transports = []

    async def write(data):
        if not transports:
            transports.append((await loop.create_connection(asyncio.Protocol, sock=near))[0])
        transports[0].write(data)

    for number in range(6):
        thread = threading.Thread(target=loop.run_until_complete, args=(write(b"%d" % number),))
        thread.start()
        thread.join()
    assert far.recv(100) == b"012345"
    far.close()

    async def end():
        transports[0].abort()
        await eventually(lambda: near.fileno() < 0)

    loop.run_until_complete(end())
