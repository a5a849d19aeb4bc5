"""A server that forks for each connection: the child serves it by the transport's socket, the parent lets go of it."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

from .forking import forked, succeeded
from .helpers import HOST, Recorder, eventually, finish, turns

SECONDS = 10.0


def answer(sock, name):
    """In the child: everything that a socket is asked for, and one answer to one question."""
    assert sock.fileno() >= 0
    assert sock.getsockname() == name[0]
    assert sock.getpeername() == name[1]
    assert sock.family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
    with sock.dup() as own:
        own.settimeout(SECONDS)
        own.sendall(b"child " + own.recv(100))


class Forking(Recorder):
    """Has a child serve its connection."""

    children: list[int]

    def connection_made(self, transport):
        super().connection_made(transport)
        transport.pause_reading()
        info = transport.get_extra_info
        sock = info("socket")
        names = info("sockname"), info("peername")
        self.children.append(forked(lambda: answer(sock, names)))
        transport.abort()


@contextlib.asynccontextmanager
async def listening(loop, where, factory, tmp_path):
    """A server there, and a function that connects to it."""
    if where == "unix":
        path = str(tmp_path / "socket")
        server = await loop.create_unix_server(factory, path)

        def connect():
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(SECONDS)
            sock.connect(path)
            return sock
    else:
        server = await loop.create_server(factory, where, 0)
        port = server.sockets[0].getsockname()[1]

        def connect():
            return socket.create_connection((HOST if where != "::" else "::1", port), timeout=SECONDS)

    try:
        yield connect
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("where", [HOST, "0.0.0.0", "::", "unix"])
async def test_a_child_for_each_connection(loop, where, tmp_path):
    made = []

    def factory():
        made.append(Forking())
        made[-1].children = children
        return made[-1]

    children = []
    async with listening(loop, where, factory, tmp_path) as connect:
        for number in range(5):
            with connect() as client:
                client.sendall(b"%d" % number)
                await eventually(lambda number=number: len(children) > number)
                await made[-1].lost
                assert client.recv(100) == b"child %d" % number
                # The parent has let go, so the end of the child is that of the connection.
                assert succeeded(children[-1])
                assert client.recv(100) == b""


async def test_many_connections_in_one_child(loop):
    """The child answers all of them, in the parent they go on."""
    made = []

    def factory():
        made.append(Recorder())
        return made[-1]

    def serve():
        for sock in socks:
            with socket.socket(fileno=os.dup(sock.fileno())) as own:
                own.setblocking(True)
                own.sendall(b"child")

    async with listening(loop, "0.0.0.0", factory, None) as connect:
        clients = [connect() for _ in range(50)]
        await eventually(lambda: len(made) == 50)
        socks = [protocol.transport.get_extra_info("socket") for protocol in made]
        before = len(os.listdir("/proc/self/fd"))
        assert succeeded(forked(serve))
        assert len(os.listdir("/proc/self/fd")) == before
        for protocol in made:
            protocol.transport.write(b" parent")
        await turns()
        for client in clients:
            assert client.recv(100) == b"child parent"
            client.close()
        await finish(*made)


async def test_the_parent_forks_again_and_again(loop):
    made = []

    def factory():
        made.append(Recorder())
        return made[-1]

    async with listening(loop, HOST, factory, None) as connect:
        with connect() as client:
            await eventually(lambda: made)
            sock = made[0].transport.get_extra_info("socket")
            for number in range(5):

                def serve(number=number):
                    own = socket.socket(fileno=sock.fileno())
                    own.setblocking(True)
                    own.sendall(b"%d" % number)

                assert succeeded(forked(serve))
                assert client.recv(100) == b"%d" % number
                if number == 2:
                    assert sock.fileno() >= 0
            made[0].transport.close()
            await made[0].lost
            assert client.recv(100) == b""
