"""The sock_* methods: what is refused, what fails, and sockets that are closed meanwhile."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl

import pytest

from .helpers import HOST, Echo, client_socket, reset, socket_pair, turns, unused_port


@pytest.fixture
def sockets():
    """Two connected non-blocking sockets."""
    with socket_pair() as pair:
        yield pair


async def test_a_reset_while_receiving(loop, sockets):
    near, far = sockets
    task = asyncio.create_task(loop.sock_recv(near, 100))
    await turns()
    reset(far)
    with pytest.raises(ConnectionResetError):
        await task


async def test_a_reset_while_sending(loop, sockets):
    near, far = sockets
    task = asyncio.create_task(loop.sock_sendall(near, bytes(20_000_000)))
    await asyncio.sleep(0.01)
    reset(far)
    with pytest.raises(ConnectionError):
        await task


@pytest.mark.parametrize("operation", ["recv", "recv_into", "sendall", "accept", "connect"])
def test_debug_mode_refuses_blocking_sockets(loop, operation):
    async def main():
        with socket.socket() as sock:
            work = {
                "recv": lambda: loop.sock_recv(sock, 1),
                "recv_into": lambda: loop.sock_recv_into(sock, bytearray(1)),
                "sendall": lambda: loop.sock_sendall(sock, b"x"),
                "accept": lambda: loop.sock_accept(sock),
                "connect": lambda: loop.sock_connect(sock, (HOST, 1)),
            }[operation]
            with pytest.raises(ValueError, match="non-blocking"):
                await work()

    loop.set_debug(True)
    loop.run_until_complete(main())


# What the socket's own method refuses is refused with the same words: loop call, socket call.
REFUSED = {
    "recv-text": (lambda loop, sock: loop.sock_recv(sock, "1"), lambda sock: sock.recv("1")),
    "recv-fraction": (lambda loop, sock: loop.sock_recv(sock, 1.5), lambda sock: sock.recv(1.5)),
    "recv-negative": (lambda loop, sock: loop.sock_recv(sock, -1), lambda sock: sock.recv(-1)),
    "recv_into-bytes": (lambda loop, sock: loop.sock_recv_into(sock, b"12"), lambda sock: sock.recv_into(b"12")),
    "recv_into-None": (lambda loop, sock: loop.sock_recv_into(sock, None), lambda sock: sock.recv_into(None)),
    "recvfrom-text": (lambda loop, sock: loop.sock_recvfrom(sock, "1"), lambda sock: sock.recvfrom("1")),
    "recvfrom-negative": (lambda loop, sock: loop.sock_recvfrom(sock, -1), lambda sock: sock.recvfrom(-1)),
    "recvfrom_into-bytes": (
        lambda loop, sock: loop.sock_recvfrom_into(sock, b"12"),
        lambda sock: sock.recvfrom_into(b"12", 2),
    ),
    "recvfrom_into-negative": (
        lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(2), -1),
        lambda sock: sock.recvfrom_into(bytearray(2), -1),
    ),
    "recvfrom_into-too-small": (
        lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(2), 3),
        lambda sock: sock.recvfrom_into(bytearray(2), 3),
    ),
    "sendall-text": (lambda loop, sock: loop.sock_sendall(sock, "text"), lambda sock: sock.send("text")),
    "sendall-None": (lambda loop, sock: loop.sock_sendall(sock, None), lambda sock: sock.send(None)),
    "sendall-scattered": (
        lambda loop, sock: loop.sock_sendall(sock, memoryview(b"abcd")[::2]),
        lambda sock: sock.send(memoryview(b"abcd")[::2]),
    ),
    "sendto-text": (
        lambda loop, sock: loop.sock_sendto(sock, "text", (HOST, 1)),
        lambda sock: sock.sendto("text", (HOST, 1)),
    ),
    "sendto-no-address": (lambda loop, sock: loop.sock_sendto(sock, b"", 5), lambda sock: sock.sendto(b"", 5)),
    "sendto-port": (
        lambda loop, sock: loop.sock_sendto(sock, b"", (HOST, 70000)),
        lambda sock: sock.sendto(b"", (HOST, 70000)),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
async def test_what_sockets_refuse(loop, sockets, name, closed):
    near, _ = sockets
    if closed:
        near.close()
    through_loop, directly = REFUSED[name]
    with pytest.raises((TypeError, ValueError, OverflowError, BufferError, OSError)) as expected:
        directly(near)
    with pytest.raises(expected.type, match=f"^{re.escape(str(expected.value))}$"):
        await through_loop(loop, near)


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """A directory with everything in it that one can fail to connect to."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind("left over")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind("datagrams")
        yield


NOBODY_AT = ["missing", b"missing", "file", "file/below", "directory", "left over", "datagrams", "", "n" * 200]


@pytest.mark.parametrize("path", NOBODY_AT)
async def test_connecting_to_a_path_fails_in_the_words_of_the_socket(loop, paths, path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        with pytest.raises(OSError) as expected:
            sock.connect(path)
        with pytest.raises(expected.type, match=f"^{re.escape(str(expected.value))}$"):
            await loop.sock_connect(sock, path)
    if len(path) < 108:
        with pytest.raises(expected.type, match=f"^{re.escape(str(expected.value))}$"):
            await loop.create_unix_connection(asyncio.Protocol, path)


async def test_connecting_to_a_name_fails_in_the_words_of_the_socket(loop):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        with pytest.raises(ConnectionRefusedError, match=r"^\[Errno 111\] Connection refused$"):
            await loop.sock_connect(sock, f"\0nobody-{os.getpid()}")


async def test_a_refusal_that_comes_later_names_the_address(loop):
    with client_socket() as sock:
        address = HOST, unused_port()
        with pytest.raises(ConnectionRefusedError, match=re.escape(f"[Errno 111] Connect call failed {address}")):
            await loop.sock_connect(sock, address)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
async def test_an_address_that_is_refused_at_once_fails_in_the_words_of_the_socket(loop, kind):
    with socket.socket(type=kind) as sock:
        sock.setblocking(False)
        with pytest.raises(OSError) as expected:
            sock.connect(("255.255.255.255", 1))
        with pytest.raises(expected.type, match=f"^{re.escape(str(expected.value))}$"):
            await loop.sock_connect(sock, ("255.255.255.255", 1))


CLOSED = {
    "recv": lambda loop, sock: loop.sock_recv(sock, 1),
    "recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(1)),
    "recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 1),
    "recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(1)),
    "sendall": lambda loop, sock: loop.sock_sendall(sock, b"x"),
    "sendto": lambda loop, sock: loop.sock_sendto(sock, b"x", (HOST, 1)),
    "accept": lambda loop, sock: loop.sock_accept(sock),
    "connect": lambda loop, sock: loop.sock_connect(sock, (HOST, 1)),
}


@pytest.mark.parametrize("name", CLOSED)
async def test_a_closed_socket(loop, name):
    sock = client_socket()
    sock.close()
    with pytest.raises(OSError, match=r"^\[Errno 9\] Bad file descriptor$"):
        await CLOSED[name](loop, sock)


@pytest.mark.parametrize("name", CLOSED)
async def test_tls_sockets_are_refused(loop, name):
    context = ssl.create_default_context()
    sock = context.wrap_socket(client_socket(), server_hostname="localhost", do_handshake_on_connect=False)
    with sock, pytest.raises(TypeError, match=r"^Socket cannot be of type SSLSocket$"):
        await CLOSED[name](loop, sock)


@pytest.mark.parametrize("name", ["recv", "sendall"])
async def test_a_socket_that_is_not_connected(loop, name):
    with client_socket() as sock, pytest.raises(OSError) as raised:
        await CLOSED[name](loop, sock)
    assert type(raised.value) is (OSError if name == "recv" else BrokenPipeError)


async def test_accepting_on_a_socket_that_does_not_listen(loop):
    with client_socket() as sock, pytest.raises(OSError, match="Invalid argument"):
        await loop.sock_accept(sock)


@pytest.mark.parametrize("name", ["recv", "recv_into", "sendall", "recvfrom"])
async def test_the_descriptor_of_a_transport_is_refused(loop, sockets, name):
    near, _ = sockets
    transport, protocol = await loop.create_connection(Echo, sock=near)
    duplicate = socket.socket(fileno=near.fileno())
    calls = {**CLOSED, "sendall": lambda loop, sock: loop.sock_sendall(sock, bytes(10_000_000))}
    try:
        with pytest.raises(RuntimeError, match="is used by transport"):
            await calls[name](loop, duplicate)
    finally:
        duplicate.detach()
        transport.abort()
        await protocol.until_called("connection_lost")


async def test_a_socket_closed_before_the_operation_has_begun(loop, sockets):
    """The number of the descriptor may be another file's by then."""
    near, _ = sockets
    task = asyncio.create_task(loop.sock_recv(near, 10))
    loop.call_soon(near.close)
    with pytest.raises(OSError, match="Bad file descriptor"):
        await task


async def test_closing_a_socket_while_it_receives(loop, sockets):
    """The receive goes on, and the peer sees the end when it is over."""
    near, far = sockets
    task = asyncio.create_task(loop.sock_recv(near, 10))
    await turns()
    near.close()
    await turns()
    far.send(b"late")
    assert await task == b"late"
    assert await loop.sock_recv(far, 10) == b""


async def test_cancelling_the_receive_of_a_closed_socket(loop, sockets):
    near, far = sockets
    task = asyncio.create_task(loop.sock_recv(near, 10))
    await turns()
    near.close()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await loop.sock_recv(far, 10) == b""


async def test_a_blocking_socket_does_not_block_the_loop(loop):
    """Outside debug mode it is not refused."""
    with socket.create_server((HOST, 0)) as listening, socket.socket() as sock:
        accepting = asyncio.create_task(loop.sock_accept(listening))
        await turns()
        await loop.sock_connect(sock, listening.getsockname())
        connection, address = await accepting
        with connection:
            assert address == sock.getsockname()
            assert not connection.getblocking()
