"""What comes before what: scheduled calls and arriving data, and writes while the loop does not run."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import sys
import threading
import time

import pytest

from .helpers import (
    HOST,
    LOCKED,
    BufferedRecorder,
    Events,
    Recorder,
    address_of,
    connected,
    finish,
    first,
    pattern,
    peer_of,
    serving,
    turns,
)


class Greeting(Recorder):
    """A server's side that speaks first."""

    def connection_made(self, transport):
        super().connection_made(transport)
        transport.write(b"hello")


async def test_who_connects_has_the_transport_before_the_first_data(loop):
    known = []

    class Client(Recorder):
        def data_received(self, data):
            known.append("data")
            super().data_received(data)

    async with serving(Greeting) as (server, _):
        for _ in range(20):
            known.clear()
            _, client = await loop.create_connection(Client, *address_of(server))
            known.append("connected")
            await client.until_received(5)
            assert known == ["connected", "data"]
            await finish(client)


async def test_who_opens_a_pipe_has_the_transport_before_the_first_data(loop):
    read_end, write_end = os.pipe()
    os.write(write_end, b"early")
    os.close(write_end)
    _, protocol = await loop.connect_read_pipe(Recorder, os.fdopen(read_end, "rb", 0))
    assert protocol.data == b""
    await protocol.until_received(5)
    await protocol.lost


async def after_pipes():
    """A process and its three pipes have come and gone, and two pipes of which one was aborted."""
    loop = asyncio.get_running_loop()
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1, stderr=-1)
    assert await process.communicate(b"text") == (b"text", b"")
    read_end, write_end = os.pipe()
    reader, _ = await loop.connect_read_pipe(asyncio.Protocol, os.fdopen(read_end, "rb", 0))
    writer, _ = await loop.connect_write_pipe(Events, os.fdopen(write_end, "wb", 0))
    writer.write(pattern(1_000_000))
    writer.abort()
    reader.close()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("before", [lambda: asyncio.sleep(0), after_pipes], ids=["at first", "after pipes"])
def test_what_was_scheduled_comes_before_what_arrives_later(loop, run, before):
    """A datagram sent before a future is made to wait for it is delivered to that future."""
    run(before())

    class Receiver(asyncio.DatagramProtocol):
        waiter = None

        def datagram_received(self, data, address):
            assert self.waiter is not None, "the datagram came before the callback that was scheduled before it"
            self.waiter.set_result(data)

        async def wait(self):
            self.waiter = loop.create_future()
            return await self.waiter

    receiver, protocol = run(loop.create_datagram_endpoint(Receiver, local_addr=(HOST, 0)))
    sender, _ = run(loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(HOST, 0)))
    for _ in range(20):
        sender.sendto(b"x", receiver.get_extra_info("sockname"))
        assert run(protocol.wait()) == b"x"
        protocol.waiter = None
    sender.close()
    receiver.close()
    run(asyncio.sleep(0))


@contextlib.contextmanager
def stopped_connection(loop, run):
    """A connection of a loop that does not run: the protocol, and the peer as a blocking socket."""
    with socket.create_server((HOST, 0)) as listener:
        _, protocol = run(loop.create_connection(Recorder, *listener.getsockname()))
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(10)
            yield protocol, peer
    run(finish(protocol))


def test_a_write_outside_a_run_is_sent_at_once(loop, run):
    with stopped_connection(loop, run) as (protocol, peer):
        for piece in (b"one", b"two", pattern(20_000), b"end"):
            protocol.transport.write(piece)
            assert peer.recv(len(piece), socket.MSG_WAITALL) == piece


def test_a_write_just_before_the_end_of_a_run_is_sent(loop, run):
    async def write(transport):
        transport.write(b"last words")

    with stopped_connection(loop, run) as (protocol, peer):
        run(write(protocol.transport))
        assert peer.recv(10, socket.MSG_WAITALL) == b"last words"


def test_a_pipe_is_written_outside_a_run_at_once(loop, run):
    read_end, write_end = os.pipe()
    transport, protocol = run(loop.connect_write_pipe(Events, os.fdopen(write_end, "wb", 0)))
    for piece in (b"one", b"two", b"three"):
        transport.write(piece)
        assert os.read(read_end, 100) == piece
    transport.close()
    run(protocol.until_called("connection_lost"))
    os.close(read_end)


def test_a_datagram_is_sent_outside_a_run_at_once(loop, run):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind((HOST, 0))
        peer.settimeout(10)
        transport, _ = run(loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=peer.getsockname()))
        for piece in (b"one", b"two", b"three"):
            transport.sendto(piece)
            assert peer.recv(100) == piece
        transport.close()
        run(asyncio.sleep(0))


async def test_what_is_written_while_earlier_writes_drain_after_close_is_sent(loop):
    """TLS counts on it: told to go on writing, it hands over its last records only then."""
    size = 16_000_000  # more than the buffers of both sockets may grow to

    class Late(Events, asyncio.Protocol):
        def resume_writing(self):
            super().resume_writing()
            self.transport.write(b"late")

    async with connected(Late, BufferedRecorder) as (near, far):
        far.transport.pause_reading()
        near.transport.write(pattern(size))
        near.transport.close()
        assert "pause_writing" in near.calls
        far.transport.resume_reading()
        await far.until_received(size + 4)
        assert bytes(far.data[size:]) == b"late"
        await near.lost


@pytest.mark.skipif(
    not LOCKED,
    reason="without the interpreter lock the loop may go on between what the other thread sends and what it schedules",
)
async def test_what_another_thread_schedules_comes_before_what_arrives(loop):
    """Both while the loop sleeps: what is scheduled is run before what has arrived is looked at."""
    # With the interpreter's lock held from first to last, so that the loop finds both when it wakes up.
    send = ctypes.PyDLL(None).send
    seen = []

    class Seeing(Recorder):
        def data_received(self, data):
            seen.append("arrived")
            super().data_received(data)

    def act():
        time.sleep(0.1)
        send(far.fileno(), b"x", 1, 0)
        loop.call_soon_threadsafe(seen.append, "scheduled")

    near, far = socket.socketpair()
    near.setblocking(False)
    with far:
        transport, protocol = await loop.create_connection(Seeing, sock=near)
        await turns()
        usual = sys.getswitchinterval()
        sys.setswitchinterval(60)
        try:
            thread = threading.Thread(target=act)
            thread.start()
            await protocol.until_received(1)
            thread.join()
        finally:
            sys.setswitchinterval(usual)
        transport.close()
        await protocol.lost
    assert seen == ["scheduled", "arrived"]


async def test_what_a_protocol_factory_schedules_comes_before_connection_made(loop):
    seen = []

    class Seeing(Recorder):
        def connection_made(self, transport):
            seen.append("made")
            super().connection_made(transport)
            loop.call_soon(seen.append, "scheduled by connection_made")

        def data_received(self, data):
            seen.append("data")
            super().data_received(data)

    def factory():
        loop.call_soon(seen.append, "scheduled by the factory")
        return Seeing()

    async with serving(factory) as (server, protocols):
        with peer_of(server) as peer:
            peer.send(b"x")
            await (await first(protocols)).until_received(1)
    assert seen == ["scheduled by the factory", "made", "scheduled by connection_made", "data"]
