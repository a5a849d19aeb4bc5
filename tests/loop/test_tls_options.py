"""What TLS can do beside encrypting: client certificates, names, protocols, sessions, time limits, back-pressure."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys

import pytest

from .certificates import NAME, certificate, client_context, server_context, with_certificate
from .helpers import HOST, Echo, Recorder, address_of, eventually, finish, first, listener, pattern, peer_of, serving

LARGE = 20_000_000


def asking_context():
    """A server's context that wants to see a certificate."""
    context = server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=certificate()[0].decode())
    return context


async def connect(loop, server, context, **options):
    options = {"ssl": context, "server_hostname": NAME, **options}
    return (await loop.create_connection(Recorder, *address_of(server), **options))[1]


async def test_a_client_shows_its_certificate(loop):
    async with serving(Echo, ssl=asking_context()) as (server, protocols):
        client = await connect(loop, server, with_certificate(client_context()))
        client.transport.write(b"known")
        assert await client.until_received(5) == b"known"
        shown = protocols[0].transport.get_extra_info("peercert")
        assert ("commonName", NAME) in shown["subject"][0]
        await finish(client)


async def test_a_client_without_a_certificate_is_refused(loop, exceptions):
    async with serving(Echo, ssl=asking_context()) as (server, protocols):
        try:
            client = await connect(loop, server, client_context())
        except (ssl.SSLError, ConnectionError):
            pass  # with TLS 1.2 the client hears of it in the handshake, with 1.3 after it
        else:
            assert isinstance(await client.lost, (ssl.SSLError, ConnectionError, type(None)))
        assert all("data_received" not in protocol.calls for protocol in protocols)
        protocols.clear()
    await asyncio.sleep(0.01)
    assert all(issubclass(kind, OSError) for kind in exceptions.take_types())


async def test_the_server_is_told_which_name_is_meant(loop):
    names = []
    chosen, context = server_context(), server_context()

    def choose(connection, name, _):
        names.append(name)
        connection.context = chosen

    context.sni_callback = choose
    async with serving(Echo, ssl=context) as (server, protocols):
        client = await connect(loop, server, client_context())
        protocol = await first(protocols)
        assert names == [NAME]
        assert protocol.transport.get_extra_info("ssl_object").context is chosen
        await finish(client)


async def test_a_name_that_is_refused_ends_the_handshake(loop, exceptions):
    context = server_context()
    context.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    async with serving(Echo, ssl=context) as (server, protocols):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await connect(loop, server, client_context())
        protocols.clear()
    await asyncio.sleep(0.01)
    assert all(issubclass(kind, OSError) for kind in exceptions.take_types())


@pytest.mark.parametrize(
    ("offered", "agreed"), [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), (["other"], None), ([], None)]
)
async def test_both_ends_agree_on_a_protocol(loop, offered, agreed):
    context, ours = server_context(), client_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    if offered:
        ours.set_alpn_protocols(offered)
    async with serving(Echo, ssl=context) as (server, protocols):
        client = await connect(loop, server, ours)
        protocol = await first(protocols)
        ends = [one.transport.get_extra_info("ssl_object") for one in (client, protocol)]
        assert [end.selected_alpn_protocol() for end in ends] == [agreed, agreed]
        await finish(client)


class Resuming(ssl.SSLContext):
    """A client's context that goes on with the last session."""

    session = None

    def wrap_bio(self, *args, **options):
        return super().wrap_bio(*args, **{**options, "session": self.session})


async def test_a_session_is_resumed(loop):
    context = Resuming(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # whose session is complete with the handshake
    context.load_verify_locations(cadata=certificate()[0].decode())
    reused = []
    async with serving(Echo, ssl=server_context()) as (server, _):
        for _ in range(3):
            client = await connect(loop, server, context)
            tls = client.transport.get_extra_info("ssl_object")
            reused.append(tls.session_reused)
            context.session = tls.session
            client.transport.write(b"again")
            assert await client.until_received(5) == b"again"
            await finish(client)
    context.session = None
    assert reused == [False, True, True]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_versions(loop, version):
    context = client_context()
    context.minimum_version = context.maximum_version = version
    async with serving(Echo, ssl=server_context()) as (server, _):
        client = await connect(loop, server, context)
        assert client.transport.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
        client.transport.write(pattern(300_000))
        assert await client.until_received(300_000) == pattern(300_000)
        client.transport.close()
        assert await client.lost is None


async def test_what_a_tls_transport_tells(loop):
    async with serving(Echo, ssl=server_context()) as (server, protocols):
        client = await connect(loop, server, client_context())
        protocol = await first(protocols)
        names = ("peername", "sockname", "socket", "sslcontext", "ssl_object", "cipher", "compression", "peercert")
        for one, without in ((client, {"compression"}), (protocol, {"compression", "peercert"})):
            assert {name for name in names if not one.transport.get_extra_info(name)} == without
        assert client.transport.get_extra_info("peername") == protocol.transport.get_extra_info("sockname")
        await finish(client)


async def test_a_peer_that_does_not_end_tls_is_not_waited_for(loop, exceptions):
    """close() waits for the other end's farewell no longer than ssl_shutdown_timeout."""
    context = server_context()
    with listener() as sock:
        options = {"ssl": client_context(), "server_hostname": NAME, "ssl_shutdown_timeout": 0.05}
        connecting = asyncio.create_task(loop.create_connection(Recorder, *sock.getsockname(), **options))
        raw, _ = await loop.sock_accept(sock)
        raw.setblocking(True)
        with await asyncio.to_thread(context.wrap_socket, raw, server_side=True):
            _, client = await connecting
            client.transport.close()
            error = await client.lost
            assert error is None or isinstance(error, (TimeoutError, ConnectionError))
    exceptions.take()


async def test_a_peer_that_leaves_while_start_tls_waits(loop, exceptions):
    async with serving() as (server, protocols):
        transport, _ = await loop.create_connection(Recorder, *address_of(server))
        protocol = await first(protocols)
        upgrading = asyncio.create_task(
            loop.start_tls(transport, Recorder(), client_context(), server_hostname=NAME, ssl_handshake_timeout=5)
        )
        await protocol.until_called("data_received")
        protocol.transport.abort()
        with pytest.raises((ConnectionError, ssl.SSLError)):
            await upgrading
        transport.abort()
        await asyncio.sleep(0.01)
    exceptions.take()


async def test_start_tls_that_is_cancelled(loop, exceptions):
    async with serving() as (server, protocols):
        transport, _ = await loop.create_connection(Recorder, *address_of(server))
        protocol = await first(protocols)
        options = {"server_hostname": NAME}
        upgrading = asyncio.create_task(loop.start_tls(transport, Recorder(), client_context(), **options))
        await protocol.until_called("data_received")
        upgrading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upgrading
        await protocol.lost
    exceptions.take()


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Server.abort_clients is new in Python 3.13")
async def test_aborting_connections_in_their_handshake(loop, exceptions):
    async with serving(ssl=server_context()) as (server, protocols):
        with peer_of(server, blocking=True) as peer:
            await eventually(lambda: protocols)
            protocols.clear()
            server.close()
            server.abort_clients()
            await server.wait_closed()
            with contextlib.suppress(ConnectionError):
                assert await asyncio.to_thread(peer.recv, 1) == b""
    exceptions.take()


@pytest.mark.limit(60)
async def test_large_transfers_both_ways_with_slow_readers(loop):
    """Both ends write as long as they may, and read with pauses."""

    async def send(writer):
        for start in range(0, LARGE, 1 << 18):
            writer.write(payload[start : start + (1 << 18)])
            await writer.drain()

    async def receive(reader):
        received = bytearray()
        while len(received) < LARGE:
            received += await reader.read(1 << 20)
            if len(received) % 7 == 0:
                await asyncio.sleep(0.001)
        return received

    payload = pattern(LARGE)
    done = loop.create_future()

    async def handle(reader, writer):
        received, _ = await asyncio.gather(receive(reader), send(writer))
        assert received == payload
        done.set_result(None)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(handle, HOST, 0, ssl=server_context())
    reader, writer = await asyncio.open_connection(*address_of(server), ssl=client_context(), server_hostname=NAME)
    received, _ = await asyncio.gather(receive(reader), send(writer))
    assert received == payload
    await done
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def test_a_file_is_sent_over_tls(loop, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(pattern(300_000))
    async with serving(ssl=server_context()) as (server, protocols):
        client = await connect(loop, server, client_context())
        protocol = await first(protocols)
        with path.open("rb") as file:
            assert await loop.sendfile(client.transport, file, 1000, 200_000) == 200_000
            assert file.tell() == 201_000
            assert await loop.sendfile(client.transport, file, 299_000) == 1000
            with pytest.raises(RuntimeError):
                await loop.sendfile(client.transport, file, fallback=False)
        expected = pattern(300_000)[1000:201_000] + pattern(300_000)[299_000:]
        assert await protocol.until_received(len(expected)) == expected
        await finish(client)


async def test_a_socket_that_speaks_tls_already_is_refused(loop):
    with socket.socket() as sock, client_context().wrap_socket(sock, server_hostname=NAME) as wrapped:
        for call in (loop.create_connection, loop.create_server):
            with pytest.raises(TypeError, match="SSLSocket"):
                await call(Recorder, sock=wrapped)
