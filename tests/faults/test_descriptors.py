"""Servers and clients with few descriptors, or none left."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import resource
import socket
import subprocess
import sys
import threading
import time

import pytest
from loop.helpers import HOST, Echo, Recorder, address_of, eventually

from .child import command_for, environment, run_child

CLIENTS = 200
WINDOW = 2.0
CPUS = sorted(os.sched_getaffinity(0))[:2]


class Counting(logging.Handler):
    """Counts the records of the asyncio logger."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def emit(self, record):
        self.count += 1


def serve(options):
    """Serve with few descriptors; on each line of stdin tell the processor time, wall time and log lines of a while."""
    import netloop

    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    loop = netloop.EventLoop(**options)
    counting = Counting()
    logging.getLogger("asyncio").addHandler(counting)
    stopped = loop.create_future()

    async def main():
        server = await loop.create_server(Echo, HOST, 0, backlog=CLIENTS + 10)
        print(address_of(server)[1], flush=True)
        await stopped
        server.close()

    def control():
        for _ in sys.stdin:
            wall, processor, lines = time.monotonic(), time.process_time(), counting.count
            time.sleep(WINDOW)
            figures = time.monotonic() - wall, time.process_time() - processor, counting.count - lines
            print(json.dumps(figures), flush=True)
        loop.call_soon_threadsafe(stopped.set_result, None)

    thread = threading.Thread(target=control)
    thread.start()
    loop.run_until_complete(main())
    thread.join()
    for _ in range(100):
        if not loop.statistics().connections:
            break
        loop.run_until_complete(asyncio.sleep(0.01))
    connections = loop.statistics().connections
    loop.close()
    return connections


@contextlib.contextmanager
def server_process(options):
    """The server above and the address it listens on; it ends when its stdin does."""
    child = subprocess.Popen(
        command_for(serve, options, seconds=25),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            line = child.stdout.readline()
            assert line, child.stderr.read()
            yield child, (HOST, int(line))
        finally:
            if child.poll() is None and child.stdin.closed is False:
                child.stdin.close()
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()


@pytest.mark.limit(60)
@pytest.mark.parametrize("options", [{}, {"fixed_files": 16}], ids=["default", "small table"])
def test_the_server_neither_spins_nor_chatters_and_recovers(options):
    with server_process(options) as (child, address):
        clients = [socket.create_connection(address, timeout=10) for _ in range(CLIENTS)]
        for number, client in enumerate(clients):
            client.sendall(b"%04d" % number)
        time.sleep(0.3)
        child.stdin.write("measure\n")
        child.stdin.flush()
        wall, processor, lines = json.loads(child.stdout.readline())
        assert processor < wall / 4
        assert lines <= wall + 1
        for number, client in enumerate(clients):
            assert client.recv(100) == b"%04d" % number
            client.close()
        for number in range(20):
            with socket.create_connection(address, timeout=10) as client:
                client.sendall(b"%04d" % number)
                assert client.recv(100) == b"%04d" % number
        child.stdin.close()
        assert child.stdout.readline().strip() == "0"
        assert child.wait(10) == 0, child.stderr.read()


def serve_crowd(cpus):
    """Serve more clients than there are descriptors, all of whom wait when the server starts, on several rings.

    What went wrong, and how many were served. The tables have room for all; opening a file needs a descriptor.
    """
    import netloop

    wrong = []

    class Opening(asyncio.Protocol):
        def connection_made(self, transport):
            transports.append(transport)
            try:
                open(os.devnull).close()
            except OSError as error:
                wrong.append(str(error))

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: wrong.append(context["message"]))
        server = await loop.create_server(Opening, sock=listening, backlog=CLIENTS)
        await eventually(lambda: len(transports) == CLIENTS)
        for transport in transports:
            transport.abort()
        server.close()
        await eventually(lambda: not loop.statistics().connections)

    transports = []
    with contextlib.ExitStack() as stack:
        listening = socket.create_server((HOST, 0), backlog=CLIENTS)
        for _ in range(CLIENTS):
            # Their numbers are higher than the server may have.
            with socket.create_connection(listening.getsockname()) as client:
                stack.callback(os.close, fcntl.fcntl(client, fcntl.F_DUPFD, CLIENTS))
        resource.setrlimit(resource.RLIMIT_NOFILE, (CLIENTS * 3 // 4, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        loop = netloop.EventLoop(io_cpus=cpus)
        loop.run_until_complete(main())
        loop.close()
    return wrong, len(transports)


@pytest.mark.skipif(len(CPUS) < 2, reason="each CPU can be named once, and this process may use one only")
def test_a_crowd_that_waits_to_be_served_leaves_descriptors_to_the_program():
    """Where there are several rings, who is accepted has a descriptor until it is served."""
    assert run_child(serve_crowd, CPUS) == [[], CLIENTS]


def serve_first_without_descriptors(cpus):
    """The first connection comes when hardly a descriptor is left; how many of the later ones need none."""
    import netloop

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, HOST, 0)
        with contextlib.ExitStack() as stack, socket.socket() as early, socket.socket() as late:
            for client in (early, late):
                client.setblocking(False)
            spare = [os.open(os.devnull, os.O_RDONLY)]
            with contextlib.suppress(OSError):
                while True:
                    spare.append(stack.enter_context(open(os.devnull)).fileno())
            os.close(spare[0])
            for client in (early, late):
                await loop.sock_connect(client, address_of(server))
                await loop.sock_sendall(client, b"hello")
                assert await loop.sock_recv(client, 100) == b"hello"
                stack.close()  # before the second
            in_table = loop.statistics().fixed_files_in_use
        server.close()
        await eventually(lambda: not loop.statistics().connections)
        return in_table

    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    loop = netloop.EventLoop(io_cpus=cpus)
    in_table = loop.run_until_complete(main())
    loop.close()
    return in_table


@pytest.mark.parametrize("count", [0, 1], ids=["no poller", "one poller"])
def test_connections_need_no_descriptor_after_the_first_has_found_none_to_spare(count):
    assert run_child(serve_first_without_descriptors, CPUS[:count]) >= 1


def connect_without_descriptors():
    """Connect until no descriptor is left; the last error's number, and whether all works again afterwards."""
    import netloop

    async def main():
        loop = asyncio.get_running_loop()
        sockets, error = [], None
        server = await loop.create_server(Echo, HOST, 0)
        try:
            while True:
                sockets.append(socket.socket())
        except OSError:
            pass
        try:
            _, protocol = await asyncio.wait_for(loop.create_connection(Recorder, *address_of(server)), 2)
            protocol.transport.abort()
            await protocol.lost
        except OSError as caught:
            error = caught.errno
        for sock in sockets:
            sock.close()
        _, client = await loop.create_connection(Recorder, *address_of(server))
        client.transport.write(b"again")
        answer = await client.until_received(5)
        client.transport.close()
        await client.lost
        server.close()
        await server.wait_closed()
        await eventually(lambda: not loop.statistics().connections)
        return error, answer == b"again"

    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    return netloop.run(main())


def test_a_client_is_told_and_the_loop_recovers():
    error, again = run_child(connect_without_descriptors)
    assert error in (None, 24)  # EMFILE
    assert again


def ask_without_descriptors():
    """A connection's own address when no descriptor is left, and what its client says of it."""
    import netloop

    async def main():
        made = []
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: made.append(Recorder()) or made[-1], "0.0.0.0", 0)
        with contextlib.ExitStack() as stack:
            port = server.sockets[0].getsockname()[1]
            client = stack.enter_context(socket.create_connection(("127.0.0.77", port)))
            await eventually(lambda: made)
            with contextlib.suppress(OSError):
                while True:
                    stack.enter_context(socket.socket())
            told = made[0].transport.get_extra_info("sockname")
            made[0].transport.abort()
            await made[0].lost
            server.close()
            await server.wait_closed()
            return told, client.getpeername()

    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    with asyncio.Runner(loop_factory=netloop.new_event_loop) as runner:
        return runner.run(main())


@pytest.mark.needs("socket_names")
def test_a_connection_knows_its_own_address_when_no_descriptor_is_left():
    """The ring is asked for it, so that a server on all addresses makes no descriptor for each connection."""
    told, known = run_child(ask_without_descriptors)
    assert told == known == ["127.0.0.77", known[1]]
