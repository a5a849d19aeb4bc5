"""A listening socket that several have: other loops, other processes, a child. A connection goes to whoever is idle."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading

import pytest

from .forking import forked, succeeded
from .helpers import HOST, Echo, Recorder, address_of, eventually, finish, serving, turns
from .workers import SECONDS, Worker, ask, first_that_says

COUNT = 30


@pytest.fixture
def shared():
    """A listening socket to share."""
    with socket.create_server((HOST, 0), backlog=100) as sock:
        yield sock


@pytest.fixture
def workers(loop_name, shared):
    """Three workers that serve it."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(worker) for worker in [Worker(loop_name, shared) for _ in range(3)]]


def test_nobody_waits_for_a_worker_that_is_stopped(shared, workers):
    for worker in workers:
        with worker.stopped():
            answers = {ask(shared.getsockname()) for _ in range(COUNT)}
        assert answers <= {other.pid for other in workers if other is not worker}


def test_nobody_waits_for_a_worker_that_is_busy(shared, workers):
    with socket.create_connection(shared.getsockname(), timeout=SECONDS) as sock:
        sock.sendall(b"block")
        blocked = first_that_says("blocked", workers).pid
        answers = {ask(shared.getsockname()) for _ in range(COUNT)}
        assert answers <= {worker.pid for worker in workers} - {blocked}
        for worker in workers:
            worker.go_on()
        assert int(sock.recv(100)) == blocked


def test_nobody_waits_for_a_loop_that_is_busy(raw_loop, shared):
    """Two loops in two threads; the first is busy until the second has served everybody."""
    served, may_end = threading.Event(), threading.Event()
    ready = [threading.Event(), threading.Event()]

    async def serve(number):
        async with serving(Echo, sock=shared.dup()):
            await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            ready[number].set()
            if number == 0:
                served.wait(SECONDS)
            await asyncio.to_thread(may_end.wait, SECONDS)

    def run(number):
        with asyncio.Runner(loop_factory=raw_loop) as runner:
            runner.run(serve(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread, event in zip(threads, ready, strict=True):
        thread.start()
        assert event.wait(SECONDS)
    try:
        for _ in range(COUNT):
            with socket.create_connection(shared.getsockname(), timeout=SECONDS / 2) as sock:
                sock.sendall(b"hello")
                assert sock.recv(100) == b"hello"
    finally:
        served.set()
        may_end.set()
        for thread in threads:
            thread.join()


PROGRAM = """
import socket, sys
with socket.socket(fileno=int(sys.argv[1])) as sock:
    sock.setblocking(True)
    for _ in range(int(sys.argv[2])):
        sock.accept()[0].sendall(b"other")
"""


def all_are_served_by_the_other(address):
    """While this loop is busy with asking."""
    for _ in range(COUNT):
        with socket.create_connection(address, timeout=SECONDS) as client:
            assert client.recv(100) == b"other"


async def test_a_socket_that_the_loop_has_made_and_a_child_has_too(loop):
    async with serving(Echo) as (server, _):
        await turns()

        def serve():
            with socket.socket(fileno=server.sockets[0].fileno()) as sock:
                sock.setblocking(True)
                for _ in range(COUNT):
                    connection, _ = sock.accept()
                    with connection:
                        connection.sendall(b"other")

        pid = forked(serve)
        all_are_served_by_the_other(address_of(server))
        assert succeeded(pid)


@pytest.mark.parametrize("duplicate", [False, True])
async def test_a_socket_that_the_loop_has_made_and_another_process_has_too(loop, duplicate):
    async with serving(Echo) as (server, _):
        await turns()
        descriptor = server.sockets[0].fileno()
        given = os.dup(descriptor) if duplicate else descriptor
        other = subprocess.Popen([sys.executable, "-c", PROGRAM, str(given), str(COUNT)], pass_fds=[given])
        if duplicate:
            os.close(given)
        all_are_served_by_the_other(address_of(server))
        assert other.wait(SECONDS) == 0


@pytest.mark.parametrize("turns_before", [0, 1, 2, 3])
async def test_what_a_closed_server_has_not_served_is_left_to_others(loop, turns_before):
    """A connection arrives just before the server is closed, and somebody else goes on to listen."""
    for _ in range(20):
        made = []

        def factory(made=made):
            made.append(Recorder())
            return made[-1]

        with socket.create_server((HOST, 0)) as other:
            server = await loop.create_server(factory, sock=other.dup())
            await asyncio.sleep(0.001)
            with socket.create_connection(other.getsockname(), timeout=SECONDS) as client:
                await turns(turns_before)
                server.close()
                await turns()
                if made:
                    client.sendall(b"served")
                    await made[0].until_received(6)
                    await finish(*made)
                else:
                    other.setblocking(False)
                    other.accept()[0].close()
            await server.wait_closed()


async def test_closing_a_server_from_its_first_connection(loop):
    """Many connections wait when serving begins; the first closes the server. Whoever is accepted is served."""
    made = []

    class First(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            server.close()

    def factory():
        made.append(First())
        return made[-1]

    with socket.create_server((HOST, 0), backlog=50) as listening:
        clients = [socket.create_connection(listening.getsockname(), timeout=SECONDS) for _ in range(20)]
        server = await loop.create_server(factory, sock=listening.dup(), start_serving=False)
        await server.start_serving()
        await eventually(lambda: made)
        await turns()
        assert all(protocol.transport is not None for protocol in made)
        for protocol in made:
            protocol.transport.write(b"here")
        await turns()
        served = [client for client in clients if client.getsockname() in {peer(protocol) for protocol in made}]
        assert len(served) == len(made)
        for client in served:
            assert client.recv(100) == b"here"
        listening.setblocking(False)
        for _ in range(len(clients) - len(served)):
            listening.accept()[0].close()
        waiting = asyncio.ensure_future(server.wait_closed())
        await finish(*made)
        await waiting
        for client in clients:
            client.close()


def peer(protocol):
    return protocol.transport.get_extra_info("peername")


async def test_more_connections_than_a_turn_takes(loop):
    with socket.create_server((HOST, 0), backlog=500) as listening:
        clients = [socket.create_connection(listening.getsockname(), timeout=SECONDS) for _ in range(300)]
        async with serving(Echo, sock=listening.dup(), backlog=500) as (_, protocols):
            for number, client in enumerate(clients):
                client.sendall(b"%d" % number)
            await eventually(lambda: sum("data_received" in protocol.calls for protocol in protocols) == 300)
            await turns()
            for number, client in enumerate(clients):
                assert client.recv(100) == b"%d" % number
                client.close()
