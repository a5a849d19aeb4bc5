"""What a fork costs connections that have no descriptor: only those get one whose socket somebody holds."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket

import pytest
from loop.forking import forked, succeeded
from loop.helpers import HOST, Recorder, address_of, eventually, finish, serving

from .child import run_child

pytestmark = pytest.mark.needs("fixed_table")
SECONDS = 10.0


@contextlib.asynccontextmanager
async def accepted(count=1):
    """Plain clients, and the protocols of the connections that were accepted."""
    async with serving(backlog=count) as (server, protocols):
        with contextlib.ExitStack() as stack:
            there = address_of(server)
            clients = [stack.enter_context(socket.create_connection(there, timeout=SECONDS)) for _ in range(count)]
            await eventually(lambda: len(protocols) == count)
            yield clients, protocols
            await finish(*protocols)


async def test_a_connection_whose_socket_nobody_holds_is_not_inherited(loop):
    """A framework that sets an option on each connection must not keep it open in a child that lives on."""
    stay, go = os.pipe()
    async with accepted() as ([client], [protocol]):
        protocol.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pid = forked(lambda: os.close(go) or os.read(stay, 1))
        protocol.transport.close()
        await protocol.lost
        assert await asyncio.to_thread(client.recv, 100) == b""
        os.close(go)
        os.close(stay)
        assert succeeded(pid)


async def test_the_child_is_told_what_it_cannot_have(loop):
    async with accepted() as (_, [protocol]):

        def ask():
            for call in (
                lambda: protocol.transport.get_extra_info("socket").fileno(),
                lambda: protocol.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
                lambda: protocol.transport.get_extra_info("socket").dup(),
            ):
                try:
                    call()
                except RuntimeError as error:
                    assert "fork" in str(error)
                else:
                    raise AssertionError("it was given what it cannot have")
            assert protocol.transport.get_extra_info("socket").getpeername()

        assert succeeded(forked(ask))


async def test_a_fork_in_another_thread(loop):
    """That thread may not use the ring: the connections stay the parent's."""
    async with accepted() as ([client], [protocol]):
        held = protocol.transport.get_extra_info("socket")

        def ask():
            try:
                held.fileno()
            except RuntimeError as error:
                assert "fork" in str(error)
            else:
                raise AssertionError("there was a descriptor")

        assert succeeded(await asyncio.to_thread(forked, ask))
        protocol.transport.write(b"goes on")
        assert await asyncio.to_thread(client.recv, 100) == b"goes on"


def fork_without_descriptors():
    """Fork with fewer descriptors left than connections; how many of them the child has, and what else it is told."""
    import netloop

    async def main():
        reading, writing = os.pipe()
        async with accepted(20) as (clients, protocols):
            held = [protocol.transport.get_extra_info("socket") for protocol in protocols]
            used = len(os.listdir("/proc/self/fd")) - 1
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 5, 200))

            def count():
                given, told = 0, set()
                for sock in held:
                    try:
                        given += sock.fileno() >= 0
                    except RuntimeError as error:
                        told.add("fork" in str(error))
                os.write(writing, repr((given, sorted(told))).encode())

            good = succeeded(forked(count))
            resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
            left = len(os.listdir("/proc/self/fd")) - 1 - used
            for protocol in protocols:
                protocol.transport.write(b"parent")
            await asyncio.sleep(0.01)
            goes_on = {client.recv(100) for client in clients} == {b"parent"}
            answer = os.read(reading, 1000).decode()
            os.close(reading)
            os.close(writing)
            return good, left, goes_on, answer

    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    return netloop.run(main())


def test_too_few_descriptors_for_a_fork():
    assert run_child(fork_without_descriptors) == [True, 0, True, "(5, [True])"]


def ask_with_few_descriptors():
    """A server on all addresses with a limit of 64 descriptors; how many connections were right in all they said."""
    import netloop

    class Asking(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            info = transport.get_extra_info
            sock = info("socket")
            self.right = (
                info("sockname") == sock.getsockname() == (HOST, port)
                and info("peername") == sock.getpeername()
                and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
            )

        def data_received(self, data):
            self.transport.write(b"1" if self.right else b"0")

    async def main():
        nonlocal port
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Asking, "0.0.0.0", 0, backlog=200)
        port = server.sockets[0].getsockname()[1]
        there, here = socket.socketpair()
        pid = forked(lambda: clients(port, here))
        there.setblocking(False)
        right = await loop.sock_recv(there, 100)
        there.close()
        here.close()
        server.close()
        return succeeded(pid), int(right)

    port = 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 300))
    return netloop.run(main())


def clients(port, here):
    """A hundred clients at once; tells how many of them had the right answer."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
    socks = [socket.create_connection((HOST, port), timeout=SECONDS) for _ in range(100)]
    for sock in socks:
        sock.sendall(b"?")
    here.sendall(b"%d" % sum(sock.recv(1) == b"1" for sock in socks))
    for sock in socks:
        sock.close()


def test_a_hundred_connections_with_64_descriptors():
    assert run_child(ask_with_few_descriptors) == [True, 100]
