"""Servers on all addresses, as most programs start them: what a connection tells of its own end, and for how much."""

from __future__ import annotations

import contextlib
import os
import socket

import pytest

from .helpers import Echo, Recorder, connected, eventually, finish, serving

COUNT = 50
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@pytest.fixture(params=list(WILDCARDS))
def host(request):
    return request.param


@pytest.fixture(params=[*WILDCARDS, *WILDCARDS.values()])
def any_host(request):
    return request.param


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@contextlib.asynccontextmanager
async def clients_of(host, factory=Recorder, count=COUNT):
    """Plain sockets connected to a server, and the protocols of the server's side, in the same order."""
    async with serving(factory, host=host, backlog=count) as (server, protocols):
        port = server.sockets[0].getsockname()[1]
        with contextlib.ExitStack() as stack:
            there = (WILDCARDS.get(host, host), port)
            clients = [stack.enter_context(socket.create_connection(there, timeout=10)) for _ in range(count)]
            await eventually(lambda: len(protocols) == count and all(protocol.transport for protocol in protocols))
            by_peer = {protocol.transport.get_extra_info("peername"): protocol for protocol in protocols}
            yield clients, [by_peer[client.getsockname()] for client in clients]


async def test_each_connection_knows_both_ends(loop, any_host):
    async with clients_of(any_host) as (clients, protocols):
        for client, protocol in zip(clients, protocols, strict=True):
            info = protocol.transport.get_extra_info
            assert info("sockname") == client.getpeername() == info("socket").getsockname()
            assert info("peername") == client.getsockname() == info("socket").getpeername()


async def test_an_address_of_the_host_that_is_not_the_first(loop):
    async with serving(host="0.0.0.0") as (server, protocols):
        port = server.sockets[0].getsockname()[1]
        with socket.create_connection(("127.0.0.77", port)):
            await eventually(lambda: protocols)
            assert protocols[0].transport.get_extra_info("sockname") == ("127.0.0.77", port)


ASKED = {
    "sockname": lambda info: info("sockname"),
    "peername": lambda info: info("peername"),
    "getsockname": lambda info: info("socket").getsockname(),
    "getpeername": lambda info: info("socket").getpeername(),
    "an option of the socket": lambda info: info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
    "an option of TCP": lambda info: info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
    "many bytes": lambda info: info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 500),
    "setting": lambda info: info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0),
    "setting none": lambda info: info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, None, 0),
    "inheritable": lambda info: info("socket").get_inheritable(),
    "dup": lambda info: info("socket").dup().close(),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=list(ASKED))
async def test_what_is_asked_of_a_connection_leaves_no_descriptor(loop, loop_name, host, ask):
    """On netloop a connection has none; only fileno() gives it one."""
    async with clients_of(host) as (_, protocols):
        before = descriptors()
        for protocol in protocols:
            ask(protocol.transport.get_extra_info)
        assert descriptors() == before
        if loop_name == "netloop" and loop.statistics().fixed_files_in_use >= len(protocols):
            for protocol in protocols:
                assert protocol.transport.get_extra_info("socket").fileno() >= 0
            assert descriptors() == before + len(protocols)


async def test_what_a_lent_descriptor_answers(loop, host):
    async with clients_of(host, count=1) as ([client], [protocol]):
        sock = protocol.transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        assert sock.get_inheritable() is False
        with sock.dup() as own:
            assert own.getsockname() == client.getpeername()
            assert own.gettimeout() == 0 and own.get_inheritable() is False
            own.sendall(b"by a descriptor of its own")
        assert client.recv(100) == b"by a descriptor of its own"
        with pytest.raises(OSError):
            sock.getsockopt(socket.IPPROTO_TCP, 9999)
        protocol.transport.abort()
        await protocol.lost
        for call in (sock.getsockname, sock.dup, lambda: sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)):
            with pytest.raises((OSError, ValueError)):  # a ValueError on uvloop
                call()


async def test_shutting_a_connection_down_by_its_socket(loop, host):
    async with clients_of(host, count=1) as ([client], [protocol]):
        before = descriptors()
        protocol.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
        assert descriptors() == before
        assert client.recv(100) == b""
        client.sendall(b"still")
        assert await protocol.until_received(5) == b"still"


async def test_echo(loop, host):
    async with connected(server=Echo, client=Recorder) as (near, _):
        near.transport.write(b"x")
        await near.until_received(1)
    async with serving(Echo, host=host) as (server, _):
        there = (WILDCARDS[host], server.sockets[0].getsockname()[1])
        made = [(await loop.create_connection(Recorder, *there))[1] for _ in range(20)]
        for number, client in enumerate(made):
            client.transport.write(b"%05d" % number)
        for number, client in enumerate(made):
            assert await client.until_received(5) == b"%05d" % number
        await finish(*made)


async def test_an_option_that_a_unix_socket_does_not_have(loop, tmp_path):
    path = str(tmp_path / "socket")
    made = []
    server = await loop.create_unix_server(lambda: made.append(Recorder()) or made[-1], path)
    _, client = await loop.create_unix_connection(Recorder, path)
    await eventually(lambda: made)
    sock = made[0].transport.get_extra_info("socket")
    with pytest.raises(OSError) as caught:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert str(caught.value) == "[Errno 95] Operation not supported"
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    server.close()
    await finish(client, *made)
    await server.wait_closed()
