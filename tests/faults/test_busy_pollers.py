"""Loops whose poller is late, because other things have its CPU: what is written waits, and the loop does not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys

import pytest
from loop.helpers import Recorder, eventually, pattern
from loop.patience import stretched

import netloop

from .pollers import some_cpu

pytestmark = pytest.mark.loops("netloop")

_SPIN = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); print(flush=True)\nwhile True: pass"


@pytest.fixture(autouse=True)
def busy_cpu():
    """Two processes that do nothing but take the poller's CPU."""
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            command = [sys.executable, "-c", _SPIN, str(some_cpu())]
            child = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(child.kill)
            child.stdout.readline()
        yield


@pytest.fixture(params=[1, 2], ids=["one ring", "two rings"])
def loop(request, new_loop):
    """A loop with one poller or two."""
    cpus = sorted(os.sched_getaffinity(0))[: request.param]
    if len(cpus) < request.param:
        pytest.skip("there is one CPU only")
    return new_loop(lambda: netloop.EventLoop(io_cpus=cpus))


def read_all(far: socket.socket) -> bytes:
    """What comes until the end, while no loop runs."""
    far.settimeout(stretched(20))
    received = bytearray()
    while piece := far.recv(1 << 16):
        received += piece
    return bytes(received)


async def open_pair(loop) -> tuple[asyncio.Transport, Recorder, socket.socket]:
    near, far = socket.socketpair()
    transport, recorder = await loop.create_connection(Recorder, sock=near)
    return transport, recorder, far


def test_what_is_written_turn_after_turn_comes_in_order(loop):
    async def main():
        pairs = [await open_pair(loop) for _ in range(8)]
        expected = [bytearray() for _ in pairs]
        for turn in range(300):
            for number, (transport, _, _) in enumerate(pairs):
                if (turn + number) % 3:
                    piece = pattern(turn * 7 % 500 + number + 1)
                    transport.write(piece)
                    expected[number] += piece
            await asyncio.sleep(0)
        for number, (transport, recorder, far) in enumerate(pairs):
            if number % 2:
                transport.write_eof()
            else:
                transport.close()
            assert await loop.run_in_executor(None, read_all, far) == expected[number]
            far.close()
            transport.close()
            await recorder.lost
        await eventually(lambda: loop.statistics().in_flight == 0)

    loop.run_until_complete(main())


def test_a_loop_that_stops_has_handed_over_what_was_written_in_its_last_turns(loop):
    async def write(transport, number):
        transport.write(b"%d first," % number)
        await asyncio.sleep(0)
        transport.write(b"%d second," % number)
        await asyncio.sleep(0)
        transport.write(b"%d third" % number)

    transport, recorder, far = loop.run_until_complete(open_pair(loop))
    far.settimeout(stretched(20))
    for number in range(50):
        loop.run_until_complete(write(transport, number))
        expected = b"%d first,%d second,%d third" % (number, number, number)
        received = b""
        while len(received) < len(expected):
            received += far.recv(100)
        assert received == expected
    transport.close()
    loop.run_until_complete(recorder.lost)
    far.close()


def test_a_turn_later_a_callback_may_block_until_the_peer_has_got_what_was_written(loop):
    async def main():
        transport, recorder, far = await open_pair(loop)
        far.settimeout(stretched(20))
        for _ in range(50):
            for piece in (b"first,", b"second,", b"third"):
                transport.write(piece)
                await asyncio.sleep(0)
            received = b""
            while len(received) < 18:
                received += far.recv(100)
            assert received == b"first,second,third"
        transport.close()
        await recorder.lost
        far.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("end", ["close", "abort", "write_eof"])
def test_an_end_while_the_poller_has_not_taken_the_last_message(loop, end):
    async def main():
        for number in range(40):
            transport, recorder, far = await open_pair(loop)
            transport.write(b"one")
            await asyncio.sleep(0)
            transport.write(b"two")
            for _ in range(number % 3):
                await asyncio.sleep(0)
            getattr(transport, end)()
            received = await loop.run_in_executor(None, read_all, far)
            assert received == b"onetwo" or (end == "abort" and b"onetwo".startswith(received))
            far.close()
            transport.close()
            await recorder.lost
        await eventually(lambda: loop.statistics().in_flight == 0)

    loop.run_until_complete(main())


def test_a_producer_that_is_paused_goes_on(loop):
    """Small pieces, so that sends are silent, and a small limit, so that it is paused behind one of them."""

    async def main():
        transport, recorder, far = await open_pair(loop)
        transport.set_write_buffer_limits(high=100)
        reading = loop.run_in_executor(None, read_all, far)
        expected = bytearray()
        for number in range(200):
            for piece in (pattern(number % 90 + 1), pattern(200)):
                transport.write(piece)
                expected += piece
                if number % 2:
                    await asyncio.sleep(0)
            await eventually(lambda: recorder.calls.count("pause_writing") == recorder.calls.count("resume_writing"))
        transport.close()
        assert await reading == expected
        await recorder.lost
        far.close()

    loop.run_until_complete(main())


def test_who_has_more_to_send_does_not_wait_until_a_spin_is_over(new_loop):
    loop = new_loop(lambda: netloop.EventLoop(io_cpus=[some_cpu()], spin=1.0))

    def answer(far):
        far.settimeout(stretched(20))
        received = b""
        while len(received) < 6:
            received += far.recv(100)
        far.send(b"answer")
        return received

    async def exchange():
        transport, recorder, far = await open_pair(loop)
        # A spin for each of them would take three times as long as there is.
        for number in range(30):
            answering = loop.run_in_executor(None, answer, far)
            transport.write(b"one")
            await asyncio.sleep(0)
            transport.write(b"two")
            assert await answering == b"onetwo"
            await recorder.until_received(6 * (number + 1))
        transport.close()
        await recorder.lost
        far.close()

    loop.run_until_complete(asyncio.wait_for(exchange(), stretched(10)))


def test_a_turn_later_a_protocol_may_block_until_the_peer_has_got_what_was_written(new_loop):
    """Completions come one by one from a poller that has its CPU, and writes go to one that has not."""
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) < 2:
        pytest.skip("there is one CPU only")
    loop = new_loop(lambda: netloop.EventLoop(io_cpus=cpus))

    class Asked(asyncio.Protocol):
        def __init__(self):
            self.asked = 0
            self.received = []

        def data_received(self, data):
            self.asked += 1
            if self.asked % 3:
                writing.write(b"one" if self.asked % 3 == 1 else b"two")
                asking.send(b"?")
                return
            piece = b""
            while len(piece) < 6:
                piece += far.recv(100)
            self.received.append(piece)
            if len(self.received) < 20:
                asking.send(b"?")

    async def main():
        await eventually(lambda: len(asked.received) == 20)
        for transport in (writing, reading):
            transport.close()
        await recorder.lost

    def connect(protocol):
        near, peer = socket.socketpair()
        transport, made = loop.run_until_complete(loop.create_connection(protocol, sock=near))
        return transport, made, peer

    # Connections are given to the pollers in turn, the first to the second one.
    reading, asked, asking = connect(Asked)
    writing, recorder, far = connect(Recorder)
    far.settimeout(stretched(20))
    asking.send(b"?")
    loop.run_until_complete(main())
    assert asked.received == [b"onetwo"] * 20
    asking.close()
    far.close()
