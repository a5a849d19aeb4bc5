"""Many clients that come at once: all are served, whatever else the server does, and whatever happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
import threading
import time
import warnings

import pytest

from .helpers import HOST, Echo, Recorder, address_of, eventually, in_thread, serving, turns
from .patience import stretched

SECONDS = 10.0
COUNT = 300
#: Room for all of them in the listening socket.
BACKLOG = 400


@contextlib.contextmanager
def crowd(address, count=COUNT):
    """So many sockets that are connected; the kernel does that without the server's help."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address, timeout=SECONDS)) for _ in range(count)]


def talk(clients):
    """Each says its number and hears it again."""
    for number, client in enumerate(clients):
        client.sendall(b"%3d" % number)
    for number, client in enumerate(clients):
        assert client.recv(100) == b"%3d" % number


async def test_everybody_is_served(loop):
    async with serving(Echo, backlog=BACKLOG) as (server, protocols):
        with crowd(address_of(server)) as clients:
            await loop.run_in_executor(None, talk, clients)
        assert len(protocols) == COUNT


async def test_several_crowds_one_after_the_other_are_served(loop):
    async with serving(Echo, backlog=BACKLOG) as (server, protocols):
        for _ in range(3):
            with crowd(address_of(server)) as clients:
                await turns()
                with crowd(address_of(server), 50) as others:
                    await loop.run_in_executor(None, talk, clients + others)
        assert len(protocols) == 3 * (COUNT + 50)


class Slow(Echo):
    """Takes a while for each message."""

    def data_received(self, data):
        time.sleep(0.001)
        super().data_received(data)


async def test_a_connection_is_answered_before_a_crowd_is(loop):
    """Who is connected already waits for some of the crowd, and not for all of it."""
    async with serving(Slow, backlog=BACKLOG) as (server, protocols):
        with crowd(address_of(server), 1) as (first,), crowd(address_of(server)) as clients:
            for client in clients:
                client.sendall(b"hello")
            await eventually(lambda: protocols)
            asked = sum(bool(protocol.calls.count("data_received")) for protocol in protocols)
            first.sendall(b"first")
            await protocols[0].until_called("data_received")
            answered = sum("data_received" in protocol.calls for protocol in protocols)
            assert answered - asked < COUNT / 2
            await eventually(lambda: sum("data_received" in protocol.calls for protocol in protocols) == COUNT + 1)


def stopping_first(made):
    """A factory of protocols, of which the first stops the loop when its connection is made."""

    class Stopper(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            if self is made[0]:
                self.loop.stop()

    def make():
        made.append(Stopper())
        return made[-1]

    return make


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same thread", "other thread"])
def test_who_waits_when_the_loop_stops_is_served_when_it_runs_again(raw_loop, elsewhere):
    """Also in another thread, where the loop may go on."""
    loop, made = raw_loop(), []

    async def start():
        return await loop.create_server(stopping_first(made), HOST, 0, backlog=BACKLOG)

    def run_on():
        loop.run_until_complete(eventually(lambda: len(made) == COUNT))

    try:
        server = loop.run_until_complete(start())
        with crowd(address_of(server)):
            loop.run_forever()
            if elsewhere:
                in_thread(run_on)
            else:
                run_on()
            for protocol in made:
                protocol.transport.abort()
            server.close()
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()


def is_over(client):
    """Whether the peer has closed or reset the connection by now."""
    client.setblocking(False)
    try:
        return client.recv(100) == b""
    except ConnectionResetError:
        return True
    except BlockingIOError:
        return False


def test_who_waits_when_the_loop_is_closed_hears_of_it(raw_loop):
    """All but those whose transports are still open."""
    loop, made = raw_loop(), []

    async def start():
        return await loop.create_server(stopping_first(made), HOST, 0, backlog=BACKLOG)

    try:
        server = loop.run_until_complete(start())
        with crowd(address_of(server)) as clients:
            loop.run_forever()
            for protocol in made:
                protocol.transport.abort()
            server.close()
            for _ in range(3):
                loop.call_soon(loop.stop)
                loop.run_forever()
            loop.close()
            still_open = [protocol for protocol in made if "connection_lost" not in protocol.calls]
            assert len(still_open) < COUNT
            deadline = time.monotonic() + stretched(10)
            while sum(not is_over(client) for client in clients) > len(still_open):
                assert time.monotonic() < deadline
                time.sleep(0.01)
    finally:
        if not loop.is_closed():
            loop.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            still_open = protocol = None
            made.clear()
            gc.collect()


async def test_who_is_accepted_when_the_server_closes_is_served(loop):
    """Nobody hangs: each is served, or hears that its connection is gone."""
    async with serving(Echo, backlog=BACKLOG) as (server, protocols):
        with crowd(address_of(server)) as clients:
            await eventually(lambda: protocols)
            server.close()
            heard = []

            def ask():
                for client in clients:
                    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                        client.sendall(b"hello")
                        heard.append(client.recv(100))

            await loop.run_in_executor(None, ask)
            assert heard.count(b"hello") == len(protocols)


async def test_nobody_is_served_long_after_the_server_has_closed(loop):
    """A program that ends its server counts on meeting all connections there will be within a few turns."""
    async with serving(Recorder, backlog=BACKLOG) as (server, protocols):
        with crowd(address_of(server)):
            while not protocols:
                await asyncio.sleep(0)
            server.close()
            await turns(5)
            served = [protocol for protocol in protocols if "connection_made" in protocol.calls]
            await turns(COUNT)
            assert protocols == served


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Server.close_clients is new in Python 3.13")
@pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
async def test_who_is_accepted_is_among_those_that_the_server_ends(loop, how):
    async with serving(Recorder, backlog=BACKLOG) as (server, protocols):
        with crowd(address_of(server)):
            while not protocols:
                await asyncio.sleep(0)
            server.close()
            getattr(server, how)()
            await asyncio.wait_for(server.wait_closed(), SECONDS)
            await turns()
            assert all(protocol.lost.done() for protocol in protocols)


async def test_many_come_while_the_server_is_busy_and_its_queue_is_short(loop):
    """More at once than the queue holds, from a thread of their own, while each message takes a while."""
    count = 60

    def ask(address, answers):
        with socket.create_connection(address, timeout=SECONDS) as client:
            client.sendall(b"hello")
            answers.append(client.recv(100))

    async with serving(Slow, backlog=16) as (server, _):
        answers = []
        threads = [threading.Thread(target=ask, args=(address_of(server), answers)) for _ in range(count)]
        for thread in threads:
            thread.start()
        await loop.run_in_executor(None, lambda: [thread.join() for thread in threads])
        assert answers == [b"hello"] * count
