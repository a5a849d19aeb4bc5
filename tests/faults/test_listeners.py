"""Listening sockets that others close or shut down, exits in the middle of a batch, and kernels that can do less."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from loop.helpers import HOST, Echo, Recorder, address_of, eventually, finish, serving, turns

import netloop
from netloop.core.ring import OlderKernel

SECONDS = 10.0


@pytest.fixture(params=["this kernel", "an older kernel"])
def kernel(request):
    """The kernel as it is, and one that refuses accepts that do not wait, as those before 6.10 do."""
    return OlderKernel(["IORING_ACCEPT_DONTWAIT"]) if request.param == "an older kernel" else None


@pytest.fixture(params=[{}, {"fixed_files": 0}, {"submission_entries": 4}], ids=["default", "no table", "tiny queue"])
def loop(new_loop, kernel, request):
    return new_loop(lambda: netloop.EventLoop(**request.param, _faults=kernel))


@contextlib.contextmanager
def waiting(count):
    """A listening socket in whose queue that many connections wait, and their clients."""
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_server((HOST, 0), backlog=count + 10))
        there = sock.getsockname()
        yield sock, [stack.enter_context(socket.create_connection(there, timeout=SECONDS)) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 16, 17, 200])
async def test_everybody_is_served(loop, count):
    with waiting(count) as (sock, clients):
        async with serving(Echo, sock=sock.dup(), backlog=count + 10) as (server, protocols):
            for number, client in enumerate(clients):
                client.sendall(b"%d" % number)
            await eventually(lambda: sum("data_received" in protocol.calls for protocol in protocols) == count)
            await turns()
            for number, client in enumerate(clients):
                assert client.recv(100) == b"%d" % number
            assert loop.statistics().connections_accepted == count
            assert {address_of_peer(protocol) for protocol in protocols} == {sock.getsockname() for sock in clients}
            _, late = await loop.create_connection(Recorder, *address_of(server))
            late.transport.write(b"late")
            assert await late.until_received(4) == b"late"
            await finish(late)


def address_of_peer(protocol):
    return protocol.transport.get_extra_info("peername")


async def test_everybody_is_served_over_unix(loop, tmp_path):
    """The kernel does not tell how many connections wait there."""
    path = str(tmp_path / "socket")
    made = []
    server = await loop.create_unix_server(lambda: made.append(Echo()) or made[-1], path, backlog=200)
    clients = []
    for _ in range(150):
        clients.append(socket.socket(socket.AF_UNIX))
        clients[-1].connect(path)
    await eventually(lambda: len(made) == 150)
    for client in clients:
        client.close()
    await finish(*made)
    server.close()
    await server.wait_closed()


async def test_a_watcher_is_kept_off_a_connection(loop):
    async with serving(Echo) as (server, protocols):
        _, client = await loop.create_connection(Recorder, *address_of(server))
        await eventually(lambda: protocols)
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(protocols[0].transport.get_extra_info("socket"), print)
        await finish(client)


async def test_the_queue_is_left_alone_between_connections(loop):
    """An idle server does nothing."""
    async with serving(Echo) as (server, _):
        _, client = await loop.create_connection(Recorder, *address_of(server))
        await finish(client)
        before = loop.statistics().turns
        await asyncio.sleep(0.05)
        assert loop.statistics().turns <= before + 5


async def test_a_listening_socket_that_is_shut_down_is_reported_and_does_not_spin(loop, exceptions):
    async with serving(Echo) as (server, _):
        await turns()
        server.sockets[0].shutdown(socket.SHUT_RDWR)
        await eventually(lambda: exceptions)
        before = loop.statistics().turns
        await asyncio.sleep(0.05)
        assert loop.statistics().turns <= before + 5
    assert [context["message"] for context in exceptions.take()] == ["socket.accept() failed"]


async def test_a_listening_socket_that_is_closed_behind_the_servers_back(loop, exceptions):
    """Whoever connects before that is noticed is turned away; the number may be another file's by then."""
    with socket.create_server((HOST, 0)) as sock:
        there = sock.getsockname()
        server = await loop.create_server(Echo, sock=sock)
        await turns()
        sock.close()
        with contextlib.suppress(OSError), socket.create_connection(there, timeout=SECONDS) as client:
            await eventually(lambda: exceptions)
            assert await asyncio.to_thread(client.recv, 10) == b""
        await asyncio.sleep(0.01)
        [context] = exceptions.take()
        assert "closed" in str(context["exception"])
        server.close()
        await server.wait_closed()
        assert loop.statistics().in_flight == 0


class Leaving(Recorder):
    """The third of its kind leaves the loop when it is connected."""

    count = 0

    def connection_made(self, transport):
        super().connection_made(transport)
        type(self).count += 1
        if self.count == 3:
            raise KeyboardInterrupt


@pytest.mark.parametrize("close_first", [False, True])
def test_an_exit_in_the_middle_of_a_batch(loop, close_first):
    """Those that were accepted are served when the loop runs again, even if the server is closed by then."""
    Leaving.count = 0
    protocols = []

    def factory():
        protocols.append(Leaving())
        return protocols[-1]

    with waiting(10) as (sock, clients):
        server = loop.run_until_complete(loop.create_server(factory, sock=sock.dup(), start_serving=False))
        with pytest.raises(KeyboardInterrupt):
            run_on(loop, server)
        assert len(protocols) == 3
        if close_first:
            server.close()
        accepted = loop.run_until_complete(count_on(sock, protocols))
        if not close_first:
            server.close()
        assert len(protocols) == accepted
        for protocol in protocols:
            protocol.transport.write(b"here")
        loop.run_until_complete(turns())
        names = {address_of_peer(protocol) for protocol in protocols}
        for client in clients:
            if client.getsockname() in names:
                assert client.recv(100) == b"here"
        loop.run_until_complete(finish(*protocols))
        loop.run_until_complete(server.wait_closed())


def run_on(loop, server):
    """Serve until something leaves the loop; no task is left behind by that."""
    loop.call_soon(server._start_serving)
    loop.run_forever()


async def count_on(sock, protocols):
    """How many are accepted in the end; nobody accepts the others but us."""
    await asyncio.sleep(0.02)
    left = 0
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.accept()[0].close()
            left += 1
    return 10 - left


def test_a_loop_that_is_closed_after_such_an_exit_leaves_nothing_open(loop):
    """The fixtures see whether a descriptor is left, and the clients whether their connections are."""
    Leaving.count = 0
    protocols = []

    def factory():
        protocols.append(Leaving())
        return protocols[-1]

    with waiting(10) as (sock, clients):
        server = loop.run_until_complete(loop.create_server(factory, sock=sock.dup(), start_serving=False))
        with pytest.raises(KeyboardInterrupt):
            run_on(loop, server)
        for protocol in protocols:
            protocol.transport.abort()
        server.close()
        loop.close()
        sock.close()
        for client in clients:
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(10) == b""


def test_an_exit_while_the_server_closes(loop):
    """Closing makes the protocols of who is accepted: an exit from there costs one connection, and leaves no socket."""
    made, exits = [], []

    def factory():
        if exits.pop() if exits else False:
            raise KeyboardInterrupt
        made.append(Recorder())
        return made[-1]

    def close_in_the_middle():
        if not made:
            loop.call_soon(close_in_the_middle)
            return
        exits.extend([True, False])
        server.close()

    with waiting(200) as (sock, _):
        server = loop.run_until_complete(loop.create_server(factory, sock=sock.dup(), backlog=210))
        address = sock.getsockname()
        sock.close()
        loop.call_soon(close_in_the_middle)
        stopping = loop.call_later(1, loop.stop)  # where nobody waited, nobody exits
        with contextlib.suppress(KeyboardInterrupt):
            loop.run_forever()
        stopping.cancel()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        loop.run_until_complete(turns())
        assert all(protocol.calls[0] == "connection_made" for protocol in made)
        loop.run_until_complete(finish(*made))


class Unusable:
    """What no transport can be made for."""

    @property  # type: ignore[misc]
    def __class__(self):
        raise ZeroDivisionError


async def test_a_protocol_that_cannot_be_used_costs_its_connection_alone(loop, exceptions):
    made = []

    def factory():
        made.append(Unusable() if len(made) % 3 == 1 else Echo())
        return made[-1]

    with waiting(9) as (sock, clients):
        server = await loop.create_server(factory, sock=sock.dup())
        await eventually(lambda: len(made) == 9)
        await turns()
        good = [protocol for protocol in made if type(protocol) is Echo]
        for protocol in good:
            protocol.transport.write(b"here")
        await turns()
        assert sorted(client.recv(10) for client in clients) == [b""] * 3 + [b"here"] * 6
        server.close()
        await finish(*good)
        await server.wait_closed()
    assert exceptions.take_types() == [ZeroDivisionError] * 3


@pytest.mark.parametrize("where", ["factory", "connection_made"])
async def test_a_connection_that_closes_its_own_server(loop, where):
    made = []

    def close_in(place):
        if place == where:
            server.close()

    class Closing(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            close_in("connection_made")

    def factory():
        close_in("factory")
        made.append(Closing())
        return made[-1]

    with waiting(5) as (sock, _):
        server = await loop.create_server(factory, sock=sock.dup(), start_serving=False)
        await server.start_serving()
        await eventually(lambda: made)
        await turns()
        await finish(*made)
        await server.wait_closed()
        assert loop.statistics().connections == 0
