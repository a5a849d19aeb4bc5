"""A loop whose I/O is done on several CPUs: it has a ring for each, and connections are spread over them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading

import pytest
from leases.helpers import Keeper
from loop.certificates import client_context, server_context
from loop.forking import forked, succeeded
from loop.helpers import HOST, Echo, Recorder, address_of, connected, eventually, finish, pattern, serving

import netloop

from .child import run_child
from .pollers import pollers_settled

CPUS = sorted(os.sched_getaffinity(0))[:2]
pytestmark = pytest.mark.skipif(len(CPUS) < 2, reason="each CPU can be named once, and this process may use one only")


def several(**options):
    return netloop.EventLoop(io_cpus=CPUS, **options)


@pytest.fixture
def loop(new_loop):
    return new_loop(several)


def shares(loop):
    """How many connections each ring has."""
    return [ring.connections for ring in loop.statistics().rings]


@contextlib.asynccontextmanager
async def clients(server, count):
    """Plain sockets connected to a server of Echo, each of which has had one answer."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        socks = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket(server.sockets[0].family))
            sock.setblocking(False)
            await loop.sock_connect(sock, server.sockets[0].getsockname())
            await loop.sock_sendall(sock, b"hello")
            assert await loop.sock_recv(sock, 100) == b"hello"
            socks.append(sock)
        yield socks


# Where connections are -----------------------------------------------------------------------------------------------


async def test_each_ring_gets_as_many_connections(loop):
    async with serving(Echo) as (server, protocols):
        async with clients(server, 20):
            assert shares(loop) == [10, 10]
            statistics = loop.statistics()
            assert [ring.io_cpu for ring in statistics.rings] == CPUS
            assert all(ring.completions >= 10 for ring in statistics.rings)
            # A kernel that keeps closed files for a while (before 6.13) has them in no table.
            assert statistics.fixed_files_in_use == (20 if statistics.fixed_files_total else 0)
            assert statistics.completions == sum(ring.completions for ring in statistics.rings)
            assert pollers_settled(2) == 2
        await eventually(lambda: all(protocol.lost.done() for protocol in protocols))
        assert shares(loop) == [0, 0]


async def test_a_server_at_a_path(loop, tmp_path):
    server = await loop.create_unix_server(Echo, str(tmp_path / "socket"))
    async with clients(server, 6):
        assert shares(loop) == [3, 3]
    server.close()
    await eventually(lambda: loop.statistics().connections == 0)


async def test_a_socket_of_the_programs(loop):
    """It has no option that it was not given, so its port stays its own."""
    sock = socket.create_server((HOST, 0))
    async with serving(Echo, sock=sock) as (server, protocols):
        async with clients(server, 6):
            assert shares(loop) == [3, 3]
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(sock.getsockname())
        await eventually(lambda: all(protocol.lost.done() for protocol in protocols))


async def test_what_a_connection_tells_of_itself(loop):
    async with serving(Recorder) as (server, protocols), clients_of(server, 4) as near:
        await eventually(lambda: len(protocols) == 4)
        names = {sock.getsockname() for sock in near}
        assert {protocol.transport.get_extra_info("peername") for protocol in protocols} == names
        for protocol in protocols:
            sock = protocol.transport.get_extra_info("socket")
            assert sock.getsockname() == address_of(server)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.fileno() >= 0


@contextlib.asynccontextmanager
async def clients_of(server, count):
    """Plain sockets connected to a server, which have said nothing."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address_of(server))) for _ in range(count)]


async def test_connections_to_others_are_spread_too(loop):
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(4):
            near, far = socket_pair_kept(stack)
            _, protocol = await loop.create_connection(Echo, sock=near)
            made.append((protocol, far))
        before = [ring.completions for ring in loop.statistics().rings]
        for _, far in made:
            await loop.sock_sendall(far, b"hello")
            assert await loop.sock_recv(far, 100) == b"hello"
        after = [ring.completions for ring in loop.statistics().rings]
        assert all(new >= old + 2 for old, new in zip(before, after, strict=True))
        for protocol, _ in made:
            await finish(protocol)


def socket_pair_kept(stack):
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    return near, stack.enter_context(far)


# What they do --------------------------------------------------------------------------------------------------------


async def test_large_transfers_both_ways(loop):
    data = pattern(3_000_000)
    async with serving(Echo) as (server, _):
        made = [(await loop.create_connection(Recorder, *address_of(server)))[1] for _ in range(4)]
        for client in made:
            client.transport.write(data)
        for client in made:
            assert bytes(await client.until_received(len(data))) == data
        for client in made:
            await finish(client)


async def test_tls(loop):
    async with serving(Echo, ssl=server_context()) as (server, _):
        for _ in range(4):
            _, client = await loop.create_connection(
                Recorder, *address_of(server), ssl=client_context(), server_hostname="localhost"
            )
            client.transport.write(b"secret")
            assert bytes(await client.until_received(6)) == b"secret"
            await finish(client)


async def test_files(loop, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(pattern(500_000))
    for _ in range(3):
        async with connected() as (client, server):
            with path.open("rb") as file:
                assert await loop.sendfile(server.transport, file) == 500_000
            assert bytes(await client.until_received(500_000)) == path.read_bytes()


async def test_leases_are_received_on_the_first_ring(loop):
    pool = netloop.BufferPool(16, 4096)
    async with serving(lambda: Keeper(pool)) as (server, protocols), clients_of(server, 4) as near:
        for number, sock in enumerate(near):
            sock.send(b"%d" % number)
        await eventually(lambda: sorted(bytes(each.data) for each in protocols) == [b"0", b"1", b"2", b"3"])
        assert shares(loop) == [4, 0]


async def test_a_lease_may_be_sent_on_any_ring(loop):
    pool = netloop.BufferPool(16, 4096, zero_copy=True)
    async with serving(Recorder) as (server, protocols), clients_of(server, 4) as near:
        await eventually(lambda: len(protocols) == 4)
        for protocol in protocols:
            lease = pool.take(5)
            with lease.writable() as view:
                view[:] = b"lease"
            protocol.transport.write_lease(lease)
        for sock in near:
            sock.setblocking(False)
            assert await loop.sock_recv(sock, 10) == b"lease"


async def test_a_connection_that_turns_to_leases_later_is_told_why_not(loop):
    async with serving(Recorder) as (server, protocols), clients_of(server, 2):
        await eventually(lambda: len(protocols) == 2)
        refused = []
        for protocol in protocols:
            try:
                protocol.transport.set_protocol(Keeper())
            except RuntimeError as error:
                refused.append(str(error))
            protocol.transport.set_protocol(protocol)
        (message,) = refused
        assert "io_cpus" in message


# The loop's own life --------------------------------------------------------------------------------------------------


def test_a_loop_that_goes_on_in_another_thread(new_loop):
    loop = new_loop(several)
    told = []

    async def begin():
        server = await loop.create_server(Echo, HOST, 0)
        return server, [(await loop.create_connection(Recorder, *address_of(server)))[1] for _ in range(4)]

    async def go_on(server, made):
        for client in made:
            client.transport.write(b"hello")
            told.append(bytes(await client.until_received(5)))
            await finish(client)
        server.close()
        await eventually(lambda: loop.statistics().connections == 0)

    server, made = loop.run_until_complete(begin())
    thread = threading.Thread(target=lambda: loop.run_until_complete(go_on(server, made)))
    thread.start()
    thread.join()
    assert told == [b"hello"] * 4


def test_a_loop_is_closed_with_its_connections(new_loop):
    loop = new_loop(several)
    made = []

    async def begin():
        server = await loop.create_server(Echo, HOST, 0)
        for _ in range(4):
            sock = socket.create_connection(address_of(server))
            made.append(sock)
            sock.send(b"hello")
            sock.setblocking(False)
            assert await loop.sock_recv(sock, 10) == b"hello"
        server.close()

    loop.run_until_complete(begin())
    # Of the sockets too, where connections have descriptors.
    with pytest.warns(ResourceWarning, match="unclosed (transport|<socket)"):
        loop.close()
        gc.collect()
    for sock in made:
        sock.setblocking(True)
        assert sock.recv(10) == b""
        sock.close()
    assert pollers_settled(0) == 0


def fork_scene():
    """What a child, and what the parent, can do with connections on both rings."""
    loop = several()

    async def begin():
        server = await loop.create_server(Echo, HOST, 0)
        return server, [(await loop.create_connection(Recorder, *address_of(server)))[1] for _ in range(4)]

    async def use(server, made):
        answers = []
        for client in made:
            client.transport.write(b"hello")
            answers.append(bytes(await client.until_received(5)).decode())
            await finish(client)
        server.close()
        await eventually(lambda: loop.statistics().connections == 0)
        return answers

    server, made = loop.run_until_complete(begin())

    def try_to_run():
        with pytest.raises(RuntimeError, match="fork"):
            loop.run_forever()

    refused = succeeded(forked(try_to_run))
    answers = loop.run_until_complete(use(server, made))
    loop.close()
    return refused, answers


def test_fork():
    assert run_child(fork_scene) == [True, ["hello"] * 4]


def test_a_turn_full_of_messages_is_no_stall(new_loop):
    """The stall detector sees the completions of all rings as progress."""
    loop = new_loop(lambda: several(stall_threshold=0.1))

    class Slow(Echo):
        def data_received(self, data):
            end = loop.time() + 0.01
            while loop.time() < end:
                pass
            super().data_received(data)

    async def main():
        async with serving(Slow) as (server, protocols), clients_of(server, 40) as near:
            await eventually(lambda: len(protocols) == 40)
            for sock in near:
                sock.send(b"hello")
            for sock in near:
                sock.setblocking(False)
                assert await loop.sock_recv(sock, 10) == b"hello"

    loop.run_until_complete(main())
    statistics = loop.statistics()
    assert (statistics.stalls, statistics.saturated_turns > 0) == (0, True)


async def test_many_resets(loop):
    async with serving(Recorder) as (server, protocols):
        for crowd in range(1, 101):
            async with clients_of(server, 20) as near:
                await eventually(lambda crowd=crowd: len(protocols) == 20 * crowd)
                for sock in near:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    sock.send(b"x")
                await asyncio.sleep(0)
        await eventually(lambda: all(protocol.lost.done() for protocol in protocols))
        assert shares(loop) == [0, 0]
