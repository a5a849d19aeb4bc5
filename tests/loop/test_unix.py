"""UNIX stream sockets: create_unix_server, create_unix_connection, and streams over them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import logging
import os
import socket
import struct
import sys
from pathlib import Path

import pytest

from .certificates import NAME, client_context, server_context
from .helpers import Echo, Recorder, eventually, finish, first, pattern, stop, turns

CLEANS_UP = sys.version_info >= (3, 13)
names = itertools.count()


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "socket")


@pytest.fixture
def abstract() -> str:
    return f"\0netloop-test-{os.getpid()}-{next(names)}"


@contextlib.asynccontextmanager
async def serving_at(path, factory=Echo, **options):
    """A server at a path or on a socket, and the protocols it has made."""
    protocols = []

    def make():
        protocols.append(factory())
        return protocols[-1]

    where = {"sock": path} if isinstance(path, socket.socket) else {"path": path}
    server = await asyncio.get_running_loop().create_unix_server(make, **where, **options)
    try:
        yield server, protocols
    finally:
        server.close()
        await finish(*protocols)
        await server.wait_closed()


async def answers(path, **options) -> bool:
    """Whether an echo server at the path answers."""
    loop = asyncio.get_running_loop()
    where = {"sock": path} if isinstance(path, socket.socket) else {"path": path}
    _, client = await loop.create_unix_connection(Recorder, **where, **options)
    client.transport.write(b"ping")
    answer = await client.until_received(4)
    await finish(client)
    return answer == b"ping"


# Where a server may be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
async def test_a_path_may_be_of_any_kind(loop, path, kind):
    async with serving_at(kind(path)):
        assert await answers(kind(path))


async def test_abstract_names(loop, abstract):
    async with serving_at(abstract):
        assert await answers(abstract)
        assert await answers(abstract.encode())


async def test_the_longest_abstract_name(loop):
    name = b"\0" + f"{os.getpid()}-{next(names)}-".encode().ljust(107, b"x")
    async with serving_at(name):
        assert await answers(name)


async def test_a_path_that_is_too_long(loop, tmp_path):
    path = str(tmp_path / ("x" * 108))
    with pytest.raises(OSError, match="too long"):
        await loop.create_unix_server(Echo, path)
    with pytest.raises(OSError, match="too long"):
        await loop.create_unix_connection(Recorder, path)


async def test_sockets_of_ones_own(loop, path):
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    async with serving_at(listening):
        own = socket.socket(socket.AF_UNIX)
        own.connect(path)
        assert await answers(own)


async def test_a_pair_of_connected_sockets(loop):
    near, far = socket.socketpair()
    _, one = await loop.create_unix_connection(Recorder, sock=near)
    _, other = await loop.create_unix_connection(Echo, sock=far)
    one.transport.write(b"there and back")
    assert await one.until_received(14) == b"there and back"
    await finish(one, other)


async def test_a_stale_socket_is_replaced(loop, path):
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    async with serving_at(path):
        assert await answers(path)


async def test_a_regular_file_is_not_replaced(loop, path):
    Path(path).write_text("precious")
    with pytest.raises(OSError, match="is already in use") as caught:
        await loop.create_unix_server(Echo, path)
    assert caught.value.errno == errno.EADDRINUSE and repr(path) in str(caught.value)
    assert Path(path).read_text() == "precious"


async def test_an_abstract_name_in_use(loop, abstract):
    async with serving_at(abstract):
        with pytest.raises(OSError) as caught:
            await loop.create_unix_server(Echo, abstract)
        assert caught.value.errno == errno.EADDRINUSE


async def test_a_directory_that_is_not_there(loop, tmp_path):
    with pytest.raises(FileNotFoundError):
        await loop.create_unix_server(Echo, str(tmp_path / "missing" / "socket"))


async def test_a_path_that_cannot_be_checked_is_logged(loop, tmp_path, caplog):
    (tmp_path / "file").touch()
    with caplog.at_level(logging.ERROR, "asyncio"), pytest.raises(NotADirectoryError):
        await loop.create_unix_server(Echo, str(tmp_path / "file" / "socket"))
    assert "Unable to check or remove stale UNIX socket" in caplog.text


async def test_a_server_that_does_not_serve_yet(loop, path):
    server = await loop.create_unix_server(Echo, path, start_serving=False)
    assert not server.is_serving()
    with pytest.raises(ConnectionRefusedError):
        await loop.create_unix_connection(Recorder, path)
    await server.start_serving()
    assert await answers(path)
    await stop(server)


# The socket's file when the server is closed ------------------------------------------------------------------------


async def test_what_is_left_of_a_server(loop, path):
    await stop(await loop.create_unix_server(Echo, path))
    assert os.path.exists(path) is not CLEANS_UP


async def test_what_is_left_of_a_server_on_a_socket_of_ones_own(loop, path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    await stop(await loop.create_unix_server(Echo, sock=sock))
    assert os.path.exists(path) is not CLEANS_UP


@pytest.mark.parametrize("clean_up", [False, True])
async def test_cleaning_up_as_asked(loop, path, clean_up):
    await stop(await loop.create_unix_server(Echo, path, cleanup_socket=clean_up))
    assert os.path.exists(path) is not clean_up


async def test_another_servers_file_is_left_alone(loop, path):
    server = await loop.create_unix_server(Echo, path)
    os.rename(path, path + ".old")  # as long as it exists, its inode is not given to the next
    async with serving_at(path):
        await stop(server)
        assert await answers(path)


async def test_a_file_that_is_gone_already(loop, path):
    server = await loop.create_unix_server(Echo, path)
    os.unlink(path)
    await stop(server)


# Connections --------------------------------------------------------------------------------------------------------


async def test_nobody_there(loop, path):
    with pytest.raises(FileNotFoundError):
        await loop.create_unix_connection(Recorder, path)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    with pytest.raises(ConnectionRefusedError):
        await loop.create_unix_connection(Recorder, path)


async def test_more_connections_than_the_backlog_holds(loop, path):
    """Connecting waits for room. asyncio takes a full backlog for a connection in progress."""
    listening = socket.socket(socket.AF_UNIX)
    listening.setblocking(False)
    with listening:
        listening.bind(path)
        listening.listen(0)
        attempts = [asyncio.ensure_future(loop.create_unix_connection(Recorder, path)) for _ in range(4)]
        await eventually(lambda: any(attempt.done() for attempt in attempts))
        await turns(20)
        accepted = []
        while len(accepted) < 4:
            accepted.append((await loop.sock_accept(listening))[0])
        clients = [protocol for _, protocol in await asyncio.gather(*attempts)]
        for sock in accepted:
            sock.sendall(b"hello")
        for client in clients:
            assert await client.until_received(5) == b"hello"
        for sock in accepted:
            sock.close()
        await finish(*clients)


async def test_cancelling_a_connection_that_waits(loop, path):
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as occupant:
        listening.bind(path)
        listening.listen(0)
        occupant.connect(path)
        attempt = asyncio.ensure_future(loop.create_unix_connection(Recorder, path))
        await asyncio.sleep(0.05)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt


async def test_a_hundred_connections(loop, path):
    async with serving_at(path) as (_, protocols):
        made = await asyncio.gather(*[loop.create_unix_connection(Recorder, path) for _ in range(100)])
        clients = [client for _, client in made]
        for number, client in enumerate(clients):
            client.transport.write(b"%4d" % number)
        for number, client in enumerate(clients):
            assert await client.until_received(4) == b"%4d" % number
        assert len(protocols) == 100
        await finish(*clients)


@pytest.mark.parametrize("ended", [False, True], ids=["open", "ended"])
@pytest.mark.parametrize("kind", ["path", "abstract"])
async def test_clients_that_have_names(loop, path, abstract, kind, ended):
    name = os.path.join(os.path.dirname(path), "client") if kind == "path" else abstract.encode()
    async with serving_at(path, Recorder) as (_, protocols):
        with socket.socket(socket.AF_UNIX) as client:
            client.bind(name)
            client.connect(path)
            peer = await first(protocols)
            if ended:
                peer.transport.abort()
                await peer.lost
            assert peer.transport.get_extra_info("peername") == name


async def test_what_the_transport_tells(loop, path):
    async with serving_at(path) as (server, protocols):
        _, client = await loop.create_unix_connection(Recorder, path)
        peer = await first(protocols)
        assert client.transport.get_extra_info("peername") == path
        assert client.transport.get_extra_info("sockname") == ""
        assert peer.transport.get_extra_info("sockname") == path
        assert peer.transport.get_extra_info("peername") == ""
        assert client.transport.get_extra_info("socket").family == socket.AF_UNIX
        assert [sock.getsockname() for sock in server.sockets] == [path]
        await finish(client)


async def test_who_the_peer_is(loop, path):
    async with serving_at(path) as (_, protocols):
        _, client = await loop.create_unix_connection(Recorder, path)
        for end in (client, await first(protocols)):
            sock = end.transport.get_extra_info("socket")
            packed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            assert struct.unpack("3i", packed) == (os.getpid(), os.getuid(), os.getgid())
        await finish(client)


async def test_half_closing(loop, path):
    async with serving_at(path, Recorder) as (_, protocols):
        _, client = await loop.create_unix_connection(Recorder, path)
        peer = await first(protocols)
        peer.answer_to_eof = True
        client.transport.write(b"question")
        client.transport.write_eof()
        await peer.until_called("eof_received")
        assert bytes(peer.data) == b"question"
        peer.transport.write(b"answer")
        assert await client.until_received(6) == b"answer"
        peer.transport.close()
        await client.lost
        assert client.calls[-2:] == ["eof_received", "connection_lost"]


async def test_a_peer_that_goes_away(loop, path):
    async with serving_at(path, Recorder) as (_, protocols):
        _, client = await loop.create_unix_connection(Recorder, path)
        (await first(protocols)).transport.abort()
        assert await client.lost is None


async def test_writing_to_a_peer_that_is_gone(loop):
    near, far = socket.socketpair()
    _, client = await loop.create_unix_connection(Recorder, sock=near)
    client.transport.pause_reading()
    far.close()
    client.transport.write(b"too late")
    client.transport.write(b"much too late")
    assert isinstance(await client.lost, BrokenPipeError)


# Streams ------------------------------------------------------------------------------------------------------------


async def test_streams_there_and_back(loop, path):
    data = pattern(5_000_000)

    async def answer(reader, writer):
        writer.write(await reader.read())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(answer, path)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    await writer.drain()
    writer.write_eof()
    assert await reader.read() == data
    writer.close()
    await writer.wait_closed()
    await stop(server)


async def test_streams_in_lines(loop, abstract):
    async def answer(reader, writer):
        async for line in reader:
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, abstract)
    reader, writer = await asyncio.open_unix_connection(abstract)
    for word in (b"one\n", b"two\n", b"three\n"):
        writer.write(word)
        assert await reader.readline() == word.upper()
    writer.close()
    await writer.wait_closed()
    await stop(server)


async def test_a_slow_reader_holds_the_writer_up(loop, path):
    async with serving_at(path, Recorder) as (_, protocols):
        _, client = await loop.create_unix_connection(Recorder, path)
        peer = await first(protocols)
        peer.transport.pause_reading()
        data = pattern(4_000_000)
        client.transport.write(data)
        assert client.calls[-1] == "pause_writing"
        peer.transport.resume_reading()
        assert await peer.until_received(len(data)) == data
        await client.until_called("resume_writing")
        await finish(client)


async def test_tls(loop, path):
    async with serving_at(path, ssl=server_context(), ssl_handshake_timeout=10, ssl_shutdown_timeout=5):
        _, client = await loop.create_unix_connection(
            Recorder, path, ssl=client_context(), server_hostname=NAME, ssl_handshake_timeout=10
        )
        client.transport.write(b"secret")
        assert await client.until_received(6) == b"secret"
        client.transport.close()
        await client.lost


# Wrong arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "no path and sock were specified"),
        ({"path": "x", "sock": object()}, "path and sock can not be specified at the same time"),
        ({"path": "x", "ssl": True}, "server_hostname when using ssl"),
        ({"path": "x", "server_hostname": "x"}, "server_hostname is only meaningful with ssl"),
        ({"path": "x", "ssl_handshake_timeout": 1}, "ssl_handshake_timeout is only meaningful with ssl"),
        ({"path": "x", "ssl_shutdown_timeout": 1}, "ssl_shutdown_timeout is only meaningful with ssl"),
    ],
)
async def test_contradictions_in_a_connection(loop, options, message):
    with pytest.raises(ValueError, match=message):
        await loop.create_unix_connection(Recorder, **options)


@pytest.mark.parametrize(
    "options, message",
    [
        ({}, "path was not specified, and no sock specified"),
        ({"path": "x", "sock": object()}, "path and sock can not be specified at the same time"),
        ({"path": "x", "ssl_handshake_timeout": 1}, "ssl_handshake_timeout is only meaningful with ssl"),
        ({"path": "x", "ssl_shutdown_timeout": 1}, "ssl_shutdown_timeout is only meaningful with ssl"),
    ],
)
async def test_contradictions_in_a_server(loop, options, message):
    with pytest.raises(ValueError, match=message):
        await loop.create_unix_server(Recorder, **options)


async def test_a_server_needs_a_context_not_a_bool(loop, path):
    with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
        await loop.create_unix_server(Recorder, path, ssl=True)


@pytest.mark.parametrize("family, kind", [(socket.AF_INET, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_DGRAM)])
async def test_sockets_of_another_kind(loop, family, kind):
    with socket.socket(family, kind) as sock:
        with pytest.raises(ValueError, match="A UNIX Domain Stream Socket was expected"):
            await loop.create_unix_connection(Recorder, sock=sock)
        with pytest.raises(ValueError, match="A UNIX Domain Stream Socket was expected"):
            await loop.create_unix_server(Recorder, sock=sock)


@pytest.mark.parametrize("path", [5, 1.5, object()])
async def test_what_is_no_path(loop, path):
    with pytest.raises(TypeError):
        await loop.create_unix_connection(Recorder, path)
    with pytest.raises(TypeError):
        await loop.create_unix_server(Recorder, path)
