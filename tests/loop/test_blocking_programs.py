"""Programs that let the loop run for one turn, or for none, and then block until their peer has seen what they did."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from .helpers import HOST, Recorder, address_of, first

SECONDS = 5


def until_end(peer: socket.socket) -> bytes | str:
    """Everything that comes, by blocking calls, to the end; "reset" if the connection is reset."""
    peer.settimeout(SECONDS)
    received = b""
    try:
        while data := peer.recv(1000):
            received += data
    except ConnectionResetError:
        return "reset"
    return received


async def connected_to(loop, kind):
    """A transport of this kind, and the blocking socket at its other end."""
    if kind == "accepted":
        protocols = []
        server = await loop.create_server(lambda: protocols.append(Recorder()) or protocols[-1], HOST, 0)
        peer = socket.create_connection(address_of(server))
        transport = (await first(protocols)).transport
        server.close()
        return transport, peer
    ends = socket.socketpair() if kind == "unix" else (socket.socket(), None)
    if kind == "tcp":
        with socket.create_server((HOST, 0)) as listening:
            ends[0].connect(listening.getsockname())
            ends = ends[0], listening.accept()[0]
    ends[0].setblocking(False)
    transport, _ = await loop.create_connection(Recorder, sock=ends[0])
    return transport, ends[1]


@pytest.mark.parametrize("kind", ["accepted", "tcp", "unix"])
@pytest.mark.parametrize("how", ["close", "write and close", "abort", "write_eof and close"])
async def test_a_turn_after_the_end_the_peer_has_been_told(loop, kind, how):
    transport, peer = await connected_to(loop, kind)
    with peer:
        sock = transport.get_extra_info("socket")
        if how == "write and close":
            transport.write(b"last words")
        elif how == "write_eof and close":
            transport.write_eof()
        transport.abort() if how == "abort" else transport.close()
        await asyncio.sleep(0)
        assert until_end(peer) == (b"last words" if how == "write and close" else b"")
        assert sock.fileno() == -1


async def test_many_that_end_in_one_turn_are_all_told(loop):
    ends = [await connected_to(loop, "accepted") for _ in range(50)]
    for number, (transport, _) in enumerate(ends):
        transport.write(b"%d" % number)
        transport.close()
    await asyncio.sleep(0)
    for number, (_, peer) in enumerate(ends):
        with peer:
            assert until_end(peer) == b"%d" % number


@pytest.fixture
def eager(new_loop, loop_name, monkeypatch):
    """A loop that sends what is written at once, which asyncio and uvloop always do."""
    monkeypatch.setenv("NETLOOP_EAGER_WRITES", "1")
    return new_loop()


@pytest.mark.parametrize("kind", ["accepted", "tcp", "unix"])
def test_a_blocking_peer_in_the_same_turn_gets_what_was_written(eager, kind):
    async def main():
        transport, peer = await connected_to(eager, kind)
        with peer:
            peer.settimeout(SECONDS)
            transport.write(b"one")
            assert peer.recv(10) == b"one"
            transport.writelines([b"two", b"three"])
            assert peer.recv(10) == b"twothree"
        transport.abort()
        await asyncio.sleep(0.01)

    eager.run_until_complete(main())


def test_a_pipe_in_the_same_turn(eager):
    async def main():
        reading, writing = os.pipe()
        transport, _ = await eager.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(writing, "wb", 0))
        await asyncio.sleep(0)
        transport.write(b"one")
        os.set_blocking(reading, False)
        assert os.read(reading, 10) == b"one"
        os.close(reading)
        transport.abort()
        await asyncio.sleep(0.01)

    eager.run_until_complete(main())


def test_a_datagram_in_the_same_turn(eager):
    async def main():
        with socket.socket(type=socket.SOCK_DGRAM) as peer:
            peer.bind((HOST, 0))
            peer.settimeout(SECONDS)
            transport, _ = await eager.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=peer.getsockname()
            )
            transport.sendto(b"one")
            assert peer.recv(10) == b"one"
        transport.close()
        await asyncio.sleep(0.01)

    eager.run_until_complete(main())


@pytest.mark.loops("netloop")
def test_the_environment_asks_for_eager_writes_by_1_and_nothing_else(raw_loop, monkeypatch):
    monkeypatch.setenv("NETLOOP_EAGER_WRITES", "yes")
    with pytest.raises(ValueError, match="NETLOOP_EAGER_WRITES must be 0 or 1, not 'yes'"):
        raw_loop()
