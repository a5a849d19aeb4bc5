"""TLS over the loop's transports."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from .certificates import NAME, client_context, server_context
from .helpers import (
    HOST,
    BufferedRecorder,
    Echo,
    Recorder,
    address_of,
    eventually,
    finish,
    first,
    listener,
    pattern,
    peer_of,
    reset,
    serving,
    stop,
    turns,
)


@pytest.fixture(scope="module")
def server_tls():
    return server_context()


@pytest.fixture(scope="module")
def client_tls():
    return client_context()


@pytest.fixture
def connect(loop, client_tls):
    """Connects a protocol over TLS to a server."""

    async def function(server, kind=Recorder, **options):
        options = {"ssl": client_tls, "server_hostname": NAME, **options}
        return (await loop.create_connection(kind, *address_of(server), **options))[1]

    return function


async def test_echo(loop, server_tls, connect):
    async with serving(Echo, ssl=server_tls) as (server, protocols):
        client = await connect(server)
        client.transport.write(b"secret")
        client.transport.writelines([b" and", bytearray(b" more")])
        assert await client.until_received(15) == b"secret and more"
        client.transport.close()
        assert await client.lost is None
        assert await protocols[0].lost is None


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder], ids=["Protocol", "BufferedProtocol"])
async def test_large_transfers_both_ways(loop, server_tls, connect, kind):
    payload = pattern(5_000_000)
    async with serving(kind, ssl=server_tls) as (server, protocols):
        client = await connect(server, kind)
        protocol = await first(protocols)
        client.transport.write(payload)
        protocol.transport.write(payload[::-1])
        assert await protocol.until_received(len(payload)) == payload
        assert await client.until_received(len(payload)) == payload[::-1]
        await finish(client)


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder], ids=["Protocol", "BufferedProtocol"])
async def test_pieces_of_all_sizes(loop, server_tls, connect, kind):
    """Around the sizes of a record and of what is joined; each as bytes, as memory, and in a list of small ones."""
    sizes = (1, 2, 16383, 16384, 16385, 65535, 65536, 65537, 200_000, 3)
    pieces = [pattern(size) for size in sizes]
    expected = b"".join(piece * 3 for piece in pieces)
    async with serving(kind, ssl=server_tls) as (server, protocols):
        client = await connect(server)
        protocol = await first(protocols)
        for piece in pieces:
            client.transport.write(piece)
            client.transport.writelines([piece[:1], b"", memoryview(piece)[1:5], bytearray(piece[5:])])
            client.transport.write(memoryview(bytearray(piece)))
        client.transport.writelines([])
        client.transport.writelines([b""])
        assert await protocol.until_received(len(expected)) == expected
        await finish(client)


class Peer:
    """A TLS client that has its records in hand before it sends them."""

    def __init__(self, loop, sock, context):
        self.loop, self.sock = loop, sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=NAME)

    async def shake_hands(self):
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.send(self.outgoing.read())
                self.incoming.write(await self.loop.sock_recv(self.sock, 65536))
            else:
                await self.send(self.outgoing.read())
                return

    async def send(self, data):
        await self.loop.sock_sendall(self.sock, data)


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder], ids=["Protocol", "BufferedProtocol"])
@pytest.mark.parametrize(("size", "part"), [(100, 1), (40_000, 7000), (40_000, 16411), (40_000, 20_000)])
async def test_records_that_arrive_in_parts(loop, server_tls, client_tls, kind, size, part):
    async with serving(kind, ssl=server_tls) as (server, protocols):
        with peer_of(server) as sock:
            peer = Peer(loop, sock, client_tls)
            await peer.shake_hands()
            protocol = await first(protocols)
            peer.tls.write(pattern(size))
            records = peer.outgoing.read()
            for start in range(0, len(records), part):
                await peer.send(records[start : start + part])
                await turns()
            assert await protocol.until_received(size) == pattern(size)
            protocol.transport.abort()
            await protocol.lost


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder], ids=["Protocol", "BufferedProtocol"])
async def test_the_last_data_and_the_farewell_arrive_together(loop, server_tls, client_tls, kind):
    async with serving(kind, ssl=server_tls) as (server, protocols):
        with peer_of(server) as sock:
            peer = Peer(loop, sock, client_tls)
            await peer.shake_hands()
            protocol = await first(protocols)
            peer.tls.write(pattern(20_000))
            with pytest.raises(ssl.SSLWantReadError):
                peer.tls.unwrap()
            await peer.send(peer.outgoing.read())
            assert await protocol.lost is None
            assert protocol.data == pattern(20_000)
            assert protocol.calls.count("eof_received") == 1


async def test_close_delivers_what_was_written(loop, server_tls, connect):
    payload = pattern(3_000_000)
    async with serving(ssl=server_tls) as (server, protocols):
        client = await connect(server)
        client.transport.write(payload)
        client.transport.close()
        protocol = await first(protocols)
        assert await protocol.until_received(len(payload)) == payload
        await protocol.lost
        assert await client.lost is None


async def test_extra_info(loop, server_tls, connect):
    async with serving(Echo, ssl=server_tls) as (server, _):
        client = await connect(server)
        transport = client.transport
        assert isinstance(transport.get_extra_info("ssl_object"), (ssl.SSLObject, ssl.SSLSocket))
        assert transport.get_extra_info("sslcontext") is not None
        assert ("commonName", NAME) in transport.get_extra_info("peercert")["subject"][0]
        assert transport.get_extra_info("cipher")
        assert transport.get_extra_info("peername") == address_of(server)
        assert transport.get_extra_info("socket").getpeername() == address_of(server)
        await finish(client)


async def test_flow_control(loop, server_tls, connect):
    async with serving(ssl=server_tls) as (server, protocols):
        client = await connect(server)
        protocol = await first(protocols)
        protocol.transport.pause_reading()
        for _ in range(12):
            client.transport.write(bytes(1_000_000))
        await client.until_called("pause_writing")
        protocol.transport.resume_reading()
        await client.until_called("resume_writing")
        await protocol.until_received(12_000_000)
        await finish(client)


async def test_an_unknown_certificate(loop, server_tls, connect, exceptions):
    async with serving(ssl=server_tls) as (server, _):
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(server, ssl=client_context(trusting=False))
    await asyncio.sleep(0.01)
    assert all(issubclass(kind, OSError) for kind in exceptions.take_types())


async def test_a_wrong_name(loop, server_tls, connect, exceptions):
    async with serving(ssl=server_tls) as (server, _):
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(server, server_hostname="elsewhere.example")
    await asyncio.sleep(0.01)
    assert all(issubclass(kind, OSError) for kind in exceptions.take_types())


async def test_a_client_that_speaks_no_tls(loop, server_tls, connect, exceptions):
    async with serving(Echo, ssl=server_tls) as (server, _):
        with peer_of(server, blocking=True) as peer:
            peer.sendall(b"GET / HTTP/1.0\r\n\r\n" * 100)
            while await asyncio.to_thread(ends, peer):
                pass
        client = await connect(server)
        client.transport.write(b"fine")
        assert await client.until_received(4) == b"fine"
        await finish(client)
    assert all(issubclass(kind, OSError) for kind in exceptions.take_types())


def ends(peer: socket.socket) -> bytes:
    """Receive; a reset counts as the end."""
    try:
        return peer.recv(1000)
    except ConnectionError:
        return b""


async def test_a_server_that_speaks_no_tls(loop, connect, exceptions):
    class Greeter(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"220 hello, this is not TLS\r\n")

    async with serving(Greeter) as (server, _):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(server)
    exceptions.take()


async def test_handshake_timeout_of_the_client(loop, connect):
    with listener() as silent, pytest.raises(ConnectionAbortedError, match="handshake"):
        await loop.create_connection(
            Recorder,
            *silent.getsockname(),
            ssl=client_context(),
            server_hostname=NAME,
            ssl_handshake_timeout=0.05,
        )


async def test_handshake_timeout_of_the_server(loop, server_tls, exceptions):
    async with serving(ssl=server_tls, ssl_handshake_timeout=0.05) as (server, protocols):
        with peer_of(server, blocking=True) as peer:
            assert await asyncio.to_thread(ends, peer) == b""
        assert all("connection_made" not in protocol.calls for protocol in protocols)
        protocols.clear()
    exceptions.take()


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00"], ids=["nothing", "part of a hello"])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_leaves_in_the_handshake(loop, server_tls, connect, exceptions, sent, how):
    async with serving(Echo, ssl=server_tls) as (server, protocols):
        with peer_of(server) as peer:
            peer.send(sent)
            await asyncio.sleep(0.01)
            if how == "reset":
                reset(peer)
        await asyncio.sleep(0.01)
        client = await connect(server)
        client.transport.write(b"next")
        assert await client.until_received(4) == b"next"
        await finish(client)
        protocols[:] = [protocol for protocol in protocols if protocol.made.done()]
    assert all(issubclass(kind, OSError) for kind in exceptions.take_types())


async def test_a_connect_cancelled_in_the_handshake(loop, connect):
    with listener() as silent:
        options = {"ssl": client_context(), "server_hostname": NAME}
        task = asyncio.create_task(loop.create_connection(Recorder, *silent.getsockname(), **options))
        peer, _ = await loop.sock_accept(silent)
        await loop.sock_recv(peer, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        peer.close()


@pytest.mark.parametrize("how", ["abort", "reset by the peer"])
async def test_an_abrupt_end(loop, server_tls, connect, how):
    async with serving(ssl=server_tls) as (server, protocols):
        client = await connect(server)
        protocol = await first(protocols)
        if how == "abort":
            client.transport.abort()
        else:
            sock = protocol.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            protocol.transport.abort()
        error = await client.lost
        assert error is None or isinstance(error, ConnectionError)
        await protocol.lost


class Writer(Recorder):
    """Waits with writing only while it is paused, and knows of the end by connection_lost() alone."""

    def __init__(self):
        super().__init__()
        self.free = asyncio.Event()
        self.free.set()

    def pause_writing(self):
        super().pause_writing()
        self.free.clear()

    def resume_writing(self):
        super().resume_writing()
        self.free.set()

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.free.set()

    async def write_on(self, limit):
        """Write until the connection is lost; how many writes of at most ``limit`` there were."""
        for count in range(limit):
            await self.free.wait()
            if "connection_lost" in self.calls:
                return count
            self.transport.write(bytes(100_000))
        return limit


class Leaver(Recorder):
    """Ends the connection a few turns after the first data."""

    def __init__(self, turns):
        super().__init__()
        self.turns_left = turns

    def data_received(self, data):
        if not self.data:
            self.wait()
        super().data_received(data)

    def wait(self):
        self.turns_left -= 1
        if self.turns_left < 0:
            self.transport.abort()
        else:
            self.loop.call_soon(self.wait)


async def test_a_writer_that_is_never_told_to_wait_hears_of_the_end(loop, server_tls, connect):
    """The connection ends while the writer runs: it must be paused, else it runs on and nobody can tell it."""
    for count in range(30):
        async with serving(Writer, ssl=server_tls) as (server, protocols):
            client = await connect(server, lambda count=count: Leaver(count))
            assert await (await first(protocols)).write_on(1000) < 1000
            await client.lost


async def test_start_tls_from_both_sides(loop, server_tls, client_tls):
    """A connection begins in the clear, and both ends agree to go on encrypted."""

    class Upgrading(Recorder):
        async def upgrade(self, context, **options):
            self.transport = await self.loop.start_tls(self.transport, self, context, **options)

    async with serving(Upgrading) as (server, protocols):
        _, client = await loop.create_connection(Upgrading, *address_of(server))
        protocol = await first(protocols)
        client.transport.write(b"clear")
        assert await protocol.until_received(5) == b"clear"
        await asyncio.gather(
            protocol.upgrade(server_tls, server_side=True),
            client.upgrade(client_tls, server_hostname=NAME),
        )
        client.transport.write(b" encrypted")
        assert await protocol.until_received(15) == b"clear encrypted"
        assert client.transport.get_extra_info("cipher")
        protocol.transport.write(pattern(1_000_000))
        assert await client.until_received(1_000_000) == pattern(1_000_000)
        client.transport.close()
        await client.lost
        await protocol.lost


async def test_streams_and_start_tls(loop, server_tls, client_tls):
    async def handle(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        await writer.start_tls(server_tls)
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, HOST, 0)
    reader, writer = await asyncio.open_connection(*address_of(server))
    writer.write(b"clear\n")
    assert await reader.readline() == b"clear\n"
    await writer.start_tls(client_tls, server_hostname=NAME)
    writer.write(b"encrypted\n")
    assert await reader.readline() == b"encrypted\n"
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    await stop(server)


async def test_streams_over_tls(loop, server_tls, client_tls):
    async def handle(reader, writer):
        writer.write(await reader.readexactly(1_000_000))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, HOST, 0, ssl=server_tls)
    reader, writer = await asyncio.open_connection(*address_of(server), ssl=client_tls, server_hostname=NAME)
    writer.write(pattern(1_000_000))
    assert await reader.read() == pattern(1_000_000)
    writer.close()
    await writer.wait_closed()
    await stop(server)


async def test_tls_over_a_socket_of_ones_own(loop, server_tls, client_tls):
    async with serving(Echo, ssl=server_tls) as (server, _):
        sock = socket.create_connection(address_of(server))
        _, client = await loop.create_connection(Recorder, sock=sock, ssl=client_tls, server_hostname=NAME)
        client.transport.write(b"mine")
        assert await client.until_received(4) == b"mine"
        await finish(client)


async def test_connect_accepted_socket_over_tls(loop, server_tls, client_tls):
    with listener() as sock:
        options = {"ssl": client_tls, "server_hostname": NAME}
        connecting = asyncio.create_task(loop.create_connection(Recorder, *sock.getsockname(), **options))
        accepted, _ = await loop.sock_accept(sock)
        _, server = await loop.connect_accepted_socket(Echo, accepted, ssl=server_tls)
        _, client = await connecting
        client.transport.write(b"accepted")
        assert await client.until_received(8) == b"accepted"
        await finish(client, server)


async def test_many_tls_connections_at_once(loop, server_tls, connect):
    async with serving(Echo, ssl=server_tls) as (server, protocols):

        async def talk(number):
            client = await connect(server)
            client.transport.write(b"%05d" % number * 2000)
            assert await client.until_received(10_000) == b"%05d" % number * 2000
            client.transport.close()
            await client.lost

        await asyncio.gather(*map(talk, range(40)))
        await eventually(lambda: all(protocol.lost.done() for protocol in protocols))
