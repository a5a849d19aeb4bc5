"""Transports that last over several runs of a loop, all in one thread or each in another."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

import pytest

from .helpers import HOST, Datagrams, Events, Recorder, finish, in_thread, pattern, peer_of, socket_pair


@pytest.fixture(params=["one thread", "another thread"])
def run_for_a_while(request, loop):
    """Runs a coroutine, or for as long as something may take to be noticed."""

    def run(coroutine=None):
        waiting = coroutine or asyncio.sleep(0.005)
        if request.param == "one thread":
            return loop.run_until_complete(waiting)
        return in_thread(lambda: loop.run_until_complete(waiting))

    return run


@pytest.fixture
def pipe():
    """Both ends of a pipe as unbuffered file objects, the reading one first and non-blocking."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    with open(read, "rb", 0) as reading, open(write, "wb", 0) as writing:
        yield reading, writing


async def lost(protocol):
    return await protocol.lost


def recorder(kind=Recorder):
    """A factory for the one protocol, which is made when the loop runs."""
    made = []

    def make():
        made.append(kind())
        return made[0]

    return make, made


@pytest.fixture(params=["client", "server"])
def streams(request, loop, run_for_a_while):
    """The protocols of fifty connections that one side has made, and their peers, which are plain sockets."""
    with contextlib.ExitStack() as stack:
        if request.param == "client":
            pairs = [stack.enter_context(socket_pair()) for _ in range(50)]
            protocols = [run_for_a_while(loop.create_connection(Recorder, sock=near))[1] for near, _ in pairs]
            yield protocols, [far for _, far in pairs]
        else:
            protocols = []
            server = run_for_a_while(loop.create_server(recorder_in(protocols), HOST, 0))
            peers = [stack.enter_context(peer_of(server)) for _ in range(50)]
            while len(protocols) < len(peers):
                run_for_a_while()
            yield protocols, peers
            server.close()
        run_for_a_while(finish(*protocols))


def recorder_in(protocols):
    """A factory that appends what it makes to a list."""

    def make():
        protocols.append(Recorder())
        return protocols[-1]

    return make


@pytest.mark.parametrize("when", ["as the loop stops", "when it has stopped"])
def test_the_end_of_writing_is_told_by_a_loop_that_stops(loop, run_for_a_while, streams, when):
    """The peers hear of it, though the loop does not run again."""
    protocols, peers = streams

    async def end():
        for protocol in protocols:
            protocol.transport.write_eof()

    run_for_a_while(end() if when == "as the loop stops" else None)
    if when == "when it has stopped":
        for protocol in protocols:
            protocol.transport.write_eof()
    for peer in peers:
        peer.settimeout(10)
        assert peer.recv(1) == b""


def test_reading_is_paused_between_two_runs(loop, run_for_a_while):
    """Data that came in the last turn of a run is kept, although the connection has nothing else to wait for."""
    with socket_pair() as (near, far):
        transport, protocol = run_for_a_while(loop.create_connection(Recorder, sock=near))
        run_for_a_while()

        async def send():
            # A write has the loop enter the kernel once more before it stops, and the data comes by that.
            loop.call_soon(lambda: (far.send(b"data"), transport.write(b"x")))

        run_for_a_while(send())
        transport.pause_reading()
        before = bytes(protocol.data)
        run_for_a_while()
        assert protocol.data == before
        transport.resume_reading()
        run_for_a_while(protocol.until_received(4))
        transport.close()
        run_for_a_while(lost(protocol))


def test_writing_what_waits(loop, run_for_a_while, pipe):
    read, write = pipe
    transport, protocol = run_for_a_while(loop.connect_write_pipe(recorder(Events)[0], write))
    data = pattern(300_000)
    transport.write(data)
    received = b""
    while len(received) < len(data):
        run_for_a_while()
        received += read.read() or b""
    assert received == data
    transport.write(b"end")
    transport.close()
    assert run_for_a_while(lost(protocol)) is None
    assert read.read() == b"end"


def test_a_reader_that_goes_between_two_runs(loop, run_for_a_while, pipe):
    read, write = pipe
    _, protocol = run_for_a_while(loop.connect_write_pipe(recorder(Events)[0], write))
    run_for_a_while()
    read.close()
    assert run_for_a_while(lost(protocol)) is None


def test_reading(loop, run_for_a_while, pipe):
    read, write = pipe
    _, protocol = run_for_a_while(loop.connect_read_pipe(recorder()[0], read))
    for number in range(5):
        write.write(b"%d" % number)
        if number % 2:
            run_for_a_while(asyncio.sleep(0))
        run_for_a_while(protocol.until_received(number + 1))
    assert protocol.data == b"01234"
    write.close()
    assert run_for_a_while(lost(protocol)) is None


def test_messages_of_a_pipe(loop, run_for_a_while):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with near, far:
        _, reader = run_for_a_while(loop.connect_read_pipe(recorder()[0], far))
        transport, writer = run_for_a_while(loop.connect_write_pipe(recorder(Events)[0], near))
        sent = 0
        while not transport.get_write_buffer_size():
            transport.write(bytes(10_000))
            sent += 1
        run_for_a_while(reader.until_received(sent * 10_000))
        transport.write(b"end")
        transport.close()
        assert run_for_a_while(lost(writer)) is None
        run_for_a_while(lost(reader))
        assert reader.data == bytes(sent * 10_000) + b"end"


@pytest.fixture(
    params=[(socket.AF_UNIX, 0, ""), (socket.AF_NETLINK, 2, (0, 0))],  # addresses of the kernel's choice
    ids=["UNIX", "netlink"],
)
def sockets(request):
    """Two datagram sockets connected to each other, the first with little room, the second non-blocking."""
    family, protocol, anything = request.param
    with (
        socket.socket(family, socket.SOCK_DGRAM, protocol) as near,
        socket.socket(family, socket.SOCK_DGRAM, protocol) as far,
    ):
        for sock in (near, far):
            sock.bind(anything)
        near.connect(far.getsockname())
        far.connect(near.getsockname())
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        far.setblocking(False)
        yield near, far


def read_all(sock):
    received = []
    with contextlib.suppress(BlockingIOError):
        while True:
            received.append(sock.recv(10_000))
    return received


def test_receiving_datagrams(loop, run_for_a_while, sockets):
    near, far = sockets
    transport, protocol = run_for_a_while(loop.create_datagram_endpoint(recorder(Datagrams)[0], sock=near))
    for number in range(5):
        far.send(b"%d" % number)
        if number % 2:
            run_for_a_while(asyncio.sleep(0))
        run_for_a_while(protocol.until_datagrams(number + 1))
    assert protocol.payloads == [b"0", b"1", b"2", b"3", b"4"]
    transport.close()
    run_for_a_while(lost(protocol))


def test_datagrams_that_wait_for_room(loop, run_for_a_while, sockets):
    near, far = sockets
    transport, protocol = run_for_a_while(loop.create_datagram_endpoint(recorder(Datagrams)[0], sock=near))
    sent = []
    while not transport.get_write_buffer_size():
        sent.append(b"%d" % len(sent) + bytes(1000))
        transport.sendto(sent[-1])
    for number in range(10):
        sent.append(b"%d" % number)
        transport.sendto(sent[-1])
    received = []
    while len(received) < len(sent):
        run_for_a_while()
        received += read_all(far)
    assert received == sent
    assert protocol.errors == []
    transport.close()
    run_for_a_while(lost(protocol))
