"""What a program does last, just before its loop stops: it is brought to its end, or can be asked about."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket

import pytest

from .helpers import HOST, Recorder, address_of, eventually, finish, first, serving


@pytest.fixture
def pair():
    """A non-blocking socket for a transport, and its other end."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        yield near, far


async def connect_and(how, sock):
    """Connect a protocol, let it settle, and end it in the very last step."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(Recorder, sock=sock)
    await asyncio.sleep(0.01)
    getattr(transport, how)()
    return protocol


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_connection_ended_in_the_last_step_is_gone_when_the_loop_is_closed(loop, pair, how):
    near, far = pair
    protocol = loop.run_until_complete(connect_and(how, near))
    loop.close()
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert far.recv(1) == b""


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_connection_ended_in_the_last_step_of_a_runner_is_gone(new_loop, pair, how):
    near, far = pair
    with asyncio.Runner(loop_factory=new_loop) as runner:
        protocol = runner.run(connect_and(how, near))
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert far.recv(1) == b""


class Asking(Recorder):
    """Asks in connection_lost(), and not before, for all that a transport can tell."""

    def connection_lost(self, exc):
        self.addresses = [self.transport.get_extra_info(name) for name in ("sockname", "peername")]
        sock = self.transport.get_extra_info("socket")
        self.descriptor = sock.fileno()
        self.error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.from_socket = [sock.getsockname()]
        with contextlib.suppress(OSError):  # where the peer is gone too
            self.from_socket.append(sock.getpeername())
        super().connection_lost(exc)


@pytest.mark.parametrize("host", [HOST, "0.0.0.0"])
@pytest.mark.parametrize("how", ["the peer closes", "close", "abort"])
async def test_the_socket_is_open_in_connection_lost_and_closed_for_those_who_wait_for_it(loop, host, how):
    async with serving(Asking, host=host) as (server, protocols):
        with socket.create_connection((HOST, server.sockets[0].getsockname()[1])) as peer:
            addresses = [peer.getpeername(), peer.getsockname()]
            protocol = await first(protocols)
            if how == "the peer closes":
                peer.close()
            else:
                getattr(protocol.transport, how)()
            await protocol.lost
            await asyncio.sleep(0)
    assert protocol.addresses == addresses
    assert protocol.from_socket == addresses[: len(protocol.from_socket)]
    assert protocol.descriptor >= 0
    assert protocol.transport.get_extra_info("socket").fileno() == -1


async def test_a_datagram_endpoints_socket_is_open_in_connection_lost(loop):
    class Endpoint(Asking, asyncio.DatagramProtocol):
        pass

    transport, protocol = await loop.create_datagram_endpoint(Endpoint, (HOST, 0))
    name = transport.get_extra_info("sockname")
    transport.close()
    await protocol.lost
    assert protocol.addresses == [name, None]
    assert protocol.from_socket == [name]
    assert protocol.descriptor >= 0


async def test_connections_made_and_lost_in_connection_lost(loop):
    class Chain(Recorder):
        """Connects anew when its connection is lost, a few times."""

        def __init__(self, address, rest):
            super().__init__()
            self.address, self.rest, self.next = address, rest, None

        def connection_lost(self, exc):
            if self.rest:
                make = functools.partial(Chain, self.address, self.rest - 1)
                self.next = self.loop.create_task(self.loop.create_connection(make, *self.address))
                self.next.add_done_callback(lambda done: done.result()[0].abort())
            super().connection_lost(exc)

    async with serving() as (server, protocols):
        _, link = await loop.create_connection(lambda: Chain(address_of(server), 5), *address_of(server))
        link.transport.abort()
        links = 1
        while link.rest:
            await link.lost
            _, link = await link.next
            links += 1
        await link.lost
        await eventually(lambda: len(protocols) == links)
    assert links == 6


def test_an_exit_in_connection_lost_keeps_nobody_elses_from_being_called(loop):
    class Exiting(Recorder):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            raise SystemExit(3)

    async def connect_both(stack):
        made = []
        for kind in (Exiting, Exiting, Recorder):
            near, far = socket.socketpair()
            stack.enter_context(near)
            stack.enter_context(far)
            made.append((await loop.create_connection(kind, sock=near))[1])
        await asyncio.sleep(0.01)
        for protocol in made:
            protocol.transport.abort()
        return made

    with contextlib.ExitStack() as stack:
        protocols = []
        connecting = loop.create_task(connect_both(stack))
        for _ in range(2):
            with pytest.raises(SystemExit):
                loop.run_until_complete(asyncio.sleep(0.05))
        protocols = connecting.result()
        loop.run_until_complete(asyncio.sleep(0.05))
        assert [protocol.calls for protocol in protocols] == [["connection_made", "connection_lost"]] * 3


def test_the_end_of_writing_just_before_the_end_of_a_run(loop, run):
    """Of many connections, so that the loop stops before the kernel has come to all of them."""
    made = []

    async def connect():
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        made.append((*await loop.create_connection(Recorder, sock=near), far))

    def end_and_stop():
        for transport, _protocol, _far in made:
            transport.write_eof()
        loop.stop()

    async def see_the_ends():
        for _transport, _protocol, far in made:
            with far:
                assert await loop.sock_recv(far, 1) == b""

    async def connect_many():
        for _ in range(50):
            await connect()

    run(connect_many())
    loop.call_soon(end_and_stop)
    loop.run_forever()
    run(see_the_ends())
    run(finish(*[protocol for _transport, protocol, _far in made]))


@pytest.mark.parametrize("leaving", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_what_is_written_before_an_exit_is_sent_though_the_loop_runs_no_more(loop, leaving, kind):
    if kind == "stream":
        near, far = socket.socketpair()
        connecting = loop.create_connection(asyncio.Protocol, sock=near)
    else:
        far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        far.bind(("127.0.0.1", 0))
        connecting = loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=far.getsockname())
    transport, _ = loop.run_until_complete(connecting)

    def leave():
        (transport.write if kind == "stream" else transport.sendto)(b"the last word")
        raise leaving

    loop.call_soon(leave)
    with pytest.raises(leaving):
        loop.run_forever()
    with far:
        far.settimeout(10)
        assert far.recv(100) == b"the last word"
    transport.abort()
    loop.run_until_complete(asyncio.sleep(0.01))
