"""An interrupt out of any callback of a protocol ends the run; in the next one the connection goes on where it was."""

from __future__ import annotations

import socket

import pytest
from loop.helpers import HOST, BufferedRecorder, Recorder, address_of, pattern

import netloop

DATA = pattern(1024)


class Interrupting:
    """Raises KeyboardInterrupt out of one callback, once."""

    where = ""
    interrupted = False

    def called(self, name):
        super().called(name)
        if name == self.where and not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt


class Plain(Interrupting, Recorder):
    """Gets pieces as they come."""


class Small(Interrupting, BufferedRecorder):
    """Takes ten bytes at a time."""

    size = 10


class Resumed(Recorder):
    """Pauses at the first data, resumes when more has surely come, and raises at the second."""

    interrupted = False

    def called(self, name):
        super().called(name)
        pieces = self.calls.count("data_received")
        if name == "data_received" and pieces == 1:
            self.transport.pause_reading()
            self.loop.call_later(0.02, self.transport.resume_reading)
        if name == "data_received" and pieces == 2:
            self.interrupted = True
            raise KeyboardInterrupt


CASES = {
    "connection_made": (Plain, "connection_made"),
    "data_received": (Plain, "data_received"),
    "buffer_updated": (Small, "buffer_updated"),
    "held back data": (Resumed, "data_received"),
    "eof_received": (Plain, "eof_received"),
    "connection_lost": (Plain, "connection_lost"),
}


@pytest.fixture
def loop(new_loop):
    return new_loop(lambda: netloop.EventLoop(buffer_size=64))


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize(("kind", "where"), CASES.values(), ids=CASES)
def test_nothing_is_lost(loop, kind, where, side):
    protocols = []

    def make():
        protocols.append(kind())
        protocols[0].where = where
        return protocols[0]

    def run(task):
        for _ in range(4):
            try:
                return loop.run_until_complete(task)
            except KeyboardInterrupt:
                interrupts.append(where)
        raise AssertionError("interrupted again and again")

    async def connect(sock):
        await loop.create_connection(make, sock=sock)

    async def lose():
        # It is waited for in turns: the interrupt may come out of the future's own set_result().
        while not (protocols and "connection_lost" in protocols[0].calls):
            await asyncio_turn()

    def asyncio_turn():
        turn = loop.create_future()
        loop.call_later(0.001, turn.set_result, None)
        return turn

    interrupts = []
    server = None
    if side == "server":
        server = loop.run_until_complete(loop.create_server(make, HOST, 0))
        far = socket.create_connection(address_of(server))
    else:
        near, far = socket.socketpair()
        near.setblocking(False)
    with far:
        far.sendall(DATA)
        far.shutdown(socket.SHUT_WR)
        if side == "client":
            run(loop.create_task(connect(near)))
        run(loop.create_task(lose()))
    if server is not None:
        server.close()
    [protocol] = protocols
    assert protocol.interrupted and interrupts == [where]
    assert protocol.data == DATA
    assert protocol.calls.count("connection_made") == protocol.calls.count("connection_lost") == 1
