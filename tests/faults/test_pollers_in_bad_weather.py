"""Loops with a poller: calls that fail, queues that overflow, peers that die, forks, exits, resets, and closing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import warnings

import pytest
from loop.helpers import HOST, Echo, Recorder, address_of, connected, eventually, finish, pattern, reset, serving
from loop.patience import stretched

from netloop.core.ring import FaultPlan

from .child import environment, run_child
from .pollers import polled, pollers, pollers_settled, some_cpu
from .test_close_in_flight import close_during
from .test_failing_calls import fail_each
from .test_fork import echo, in_fork

PASSING = [errno.EINTR, errno.EAGAIN, errno.EBUSY]


@pytest.fixture
def loop(new_loop):
    """A loop with a poller."""
    return new_loop(polled)


# Calls that fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", PASSING, ids=errno.errorcode.get)
def test_an_enter_that_fails_loses_nothing(new_loop, failing):
    """One enter after the other fails; a poller that sleeps between makes most of them wake it."""

    async def main():
        async with connected(server=Echo) as (client, _):
            expected = b""
            for number in range(12):
                piece = pattern(1000 * number + 10)
                expected += piece
                client.transport.write(piece)
                if number % 3 == 0:
                    await asyncio.sleep(0.005)
                assert await client.until_received(len(expected)) == expected

    for number in range(1, 30):
        plan = FaultPlan(call="enter", nth=number, errno=failing)
        loop = new_loop(lambda plan=plan: polled(_faults=plan, io_idle=0.001))
        loop.run_until_complete(main())
        loop.run_until_complete(eventually(lambda loop=loop: not loop.statistics().connections))
        loop.close()


@pytest.mark.parametrize("failing", [*PASSING, errno.ENOMEM, errno.EOWNERDEAD], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["setup", "register", "enter"])
def test_a_scenario_in_which_a_call_fails_succeeds_or_ends_in_an_os_error(call, failing):
    outcomes, left = run_child(fail_each, call, failing, seconds=60, NETLOOP_IO_CPUS=str(some_cpu()))
    assert outcomes
    assert left == []
    if call == "enter" and failing in PASSING:
        assert set(outcomes) == {"done"}
    if call == "enter" and failing == errno.EOWNERDEAD:
        assert "EOWNERDEAD" in outcomes


def crowd(count, rounds):
    """Many connections on a loop with tiny queues; what is left in flight, and of the poller."""
    loop = polled(submission_entries=4, completion_entries=8)

    async def main():
        async with serving(Echo, backlog=count) as (server, protocols):
            peers = [socket.create_connection(address_of(server)) for _ in range(count)]
            await eventually(lambda: len(protocols) == count)
            for number in range(rounds):
                for index, peer in enumerate(peers):
                    peer.send(b"%04d-%04d" % (index, number))
                for index, peer in enumerate(peers):
                    peer.setblocking(False)
                    assert await read_exactly(loop, peer, 9) == b"%04d-%04d" % (index, number)
                    peer.setblocking(True)
            for peer in peers:
                peer.close()
            await eventually(lambda: all(protocol.lost.done() for protocol in protocols))

    loop.run_until_complete(main())
    loop.run_until_complete(eventually(lambda: loop.statistics().in_flight == 0))
    loop.close()
    return pollers_settled(0)


async def read_exactly(loop, sock, count):
    data = b""
    while len(data) < count:
        piece = await loop.sock_recv(sock, count - len(data))
        assert piece
        data += piece
    return data


def test_completions_that_find_no_room_come_later_and_once():
    assert run_child(crowd, 300, 5, seconds=60) == 0


# Peers that die -------------------------------------------------------------------------------------------------


def test_a_loop_is_idle_after_peers_died_for_whom_more_was_written(new_loop):
    """Another loop has the same poller, which then takes eight entries at a time: those that fail come second."""
    new_loop(polled).run_until_complete(asyncio.sleep(0))
    # The poller sleeps between, so that the loop looks for the failures while they are told.
    loop = new_loop(lambda: polled(io_idle=0.001))

    async def pairs():
        made = []
        for _ in range(8):
            near, far = socket.socketpair()
            made.append((*await loop.create_connection(Recorder, sock=near), far))
        return made

    async def main():
        living = await pairs()
        for _ in range(100):
            dying = await pairs()
            for transport, _, far in dying:
                transport.pause_reading()
                far.close()
            await asyncio.sleep(0.0015)
            for transport, _, _ in [*living, *dying]:
                transport.write(b"one")
            await asyncio.sleep(0)
            for transport, _, _ in dying:
                transport.write(b"two")
            for _, recorder, _ in dying:
                await recorder.lost
            for _, _, far in living:
                far.recv(100)
            await asyncio.sleep(0.01)
            before = loop.statistics().turns
            await asyncio.sleep(0.01)
            assert loop.statistics().turns - before < 20
        for transport, recorder, far in living:
            transport.close()
            await recorder.lost
            far.close()

    loop.run_until_complete(main())


# Connects often, and echoes to and fro on all connections without an end.
LOAD = """
import selectors, socket, sys
selector, address = selectors.DefaultSelector(), ("127.0.0.1", int(sys.argv[1]))
for number in range(200):
    peer = socket.create_connection(address)
    peer.setblocking(False)
    selector.register(peer, selectors.EVENT_READ)
    peer.send(b"data" * 300)
print("busy", flush=True)
while True:
    for key, _ in selector.select():
        data = key.fileobj.recv(10000)
        try:
            key.fileobj.send(data)
        except BlockingIOError:
            pass
"""


async def expect_answer(loop, server):
    """The server answers; whoever connected before is accepted by then."""
    _, client = await loop.create_connection(Recorder, *address_of(server))
    client.transport.write(b"alive")
    assert await client.until_received(5) == b"alive"
    await finish(client)


@contextlib.asynccontextmanager
async def killed_load(loop, server):
    """A program that keeps a server busy; it is killed, by its number, when the block ends."""
    command = [sys.executable, "-c", LOAD, str(address_of(server)[1])]
    load = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        await loop.run_in_executor(None, load.stdout.readline)
        yield
    finally:
        load.kill()
        load.stdout.close()
        await loop.run_in_executor(None, load.wait)


@pytest.mark.limit(60)
@pytest.mark.parametrize("entries", [(4, 8), (512, 4096)])
def test_a_load_that_is_killed_in_the_middle_of_a_batch_leaves_nothing(new_loop, entries):
    loop = new_loop(lambda: polled(submission_entries=entries[0], completion_entries=entries[1]))

    async def main():
        async with serving(Echo) as (server, protocols):
            for _ in range(2):
                async with killed_load(loop, server):
                    await asyncio.sleep(0.2)
                await expect_answer(loop, server)
                await eventually(lambda: all(protocol.lost.done() for protocol in protocols))
                await eventually(lambda: loop.statistics().connections == 0)
        await loop.shutdown_default_executor()
        await eventually(lambda: loop.statistics().in_flight == 0)

    loop.run_until_complete(main())


# NETLOOP_TESTS_RESETS=100000 makes it ten times as many.
RESETS = int(os.environ.get("NETLOOP_TESTS_RESETS", "10000"))


@pytest.mark.limit(60 * RESETS / 10_000)
@pytest.mark.parametrize("when", ["at once", "after data", "after a moment"])
async def test_connections_reset_by_the_thousand(loop, when):
    async with serving(Echo, backlog=2500) as (server, protocols):
        for batch in range(RESETS // 100):
            peers = [socket.create_connection(address_of(server)) for _ in range(100)]
            if when != "at once":
                for peer in peers:
                    peer.send(b"echo")
            await asyncio.sleep(0.001 if when == "after a moment" else 0)
            for peer in peers:
                reset(peer)
            if batch % 10 == 9:
                await expect_answer(loop, server)
                await eventually(lambda: all(protocol.lost.done() for protocol in protocols))
                protocols.clear()
        await eventually(lambda: loop.statistics().connections == 0)


# Descriptors that are used again --------------------------------------------------------------------------------


def unix_pair():
    """Two sockets connected to each other, non-blocking."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


@pytest.mark.parametrize("turns", range(4))
async def test_a_receive_whose_descriptor_is_closed_and_used_again_takes_nothing_of_the_new_one(loop, turns):
    for number in range(100):
        near, far = unix_pair()
        task = loop.create_task(loop.sock_recv(near, 100))
        for _ in range(turns):
            await asyncio.sleep(0)
        old = near.fileno()
        task.cancel()
        near.close()
        other, sender = unix_pair()
        assert other.fileno() == old
        sender.send(b"%d" % number)
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert await loop.sock_recv(other, 100) == b"%d" % number
        for sock in (far, other, sender):
            sock.close()


@pytest.mark.parametrize("turns", range(1, 4))
async def test_a_send_whose_descriptor_is_closed_and_used_again_puts_nothing_into_the_new_one(loop, turns):
    large = bytes(1_000_000)
    for number in range(50):
        near, far = unix_pair()
        task = loop.create_task(loop.sock_sendall(near, large))
        for _ in range(turns):
            await asyncio.sleep(0)
        old = near.fileno()
        task.cancel()
        near.close()
        other, receiver = unix_pair()
        assert other.fileno() == old
        await asyncio.gather(task, return_exceptions=True)
        other.send(b"%d" % number)
        assert await loop.sock_recv(receiver, 100) == b"%d" % number
        with pytest.raises(BlockingIOError):
            receiver.recv(1)
        for sock in (far, other, receiver):
            sock.close()


async def test_an_accept_whose_descriptor_is_closed_and_used_again(loop):
    for _ in range(50):
        listening = socket.create_server((HOST, 0))
        listening.setblocking(False)
        task = loop.create_task(loop.sock_accept(listening))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        old = listening.fileno()
        task.cancel()
        listening.close()
        other = socket.create_server((HOST, 0))
        assert other.fileno() == old
        with other, socket.create_connection(other.getsockname()):
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()
            other.accept()[0].close()


# Forks, exits, closing ------------------------------------------------------------------------------------------


def fork_while_busy():
    """Fork while connections are busy; the child runs a loop of its own, and the parent goes on."""
    loop = polled()

    def own_loop():
        asyncio._set_running_loop(None)
        assert pollers() == []
        child = polled()
        good = child.run_until_complete(echo(b"child"))
        child.close()
        return good and pollers_settled(0) == 0

    async def main():
        data = pattern(3_000_000)
        async with serving(Echo) as (server, _):
            clients = [(await loop.create_connection(Recorder, *address_of(server)))[1] for _ in range(20)]
            good = []
            for client in clients:
                client.transport.write(data)
            for turn in range(3):
                await asyncio.sleep(0.001 * turn)
                good.append(in_fork(own_loop))
            for client in clients:
                good.append(await client.until_received(len(data)) == data)
            await finish(*clients)
            return good

    good = loop.run_until_complete(main())
    loop.close()
    return good, pollers_settled(0)


def test_forking_while_connections_are_busy():
    good, left = run_child(fork_while_busy, seconds=40)
    assert good == [True] * 23
    assert left == 0


def fork_while_pollers_are_set_up():
    """Fork again and again while other threads make loops with pollers; how many children could make one, too."""
    stop = threading.Event()
    polled().close()  # all is imported

    def make():
        while not stop.is_set():
            polled().close()

    def own_loop():
        signal.alarm(round(stretched(5)))  # which ends it if it hangs
        polled().close()
        return True

    threads = [threading.Thread(target=make) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        return sum(in_fork(own_loop) for _ in range(12))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_forking_while_other_threads_make_loops():
    """A child has none of these threads, and waits for none of them."""
    assert run_child(fork_while_pollers_are_set_up, seconds=40) == 12


# Writes and is gone in the same turn.
LAST_WORDS = """
import asyncio, os, sys, netloop

async def main():
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", int(sys.argv[1]))
    transport.write(b"last words")
    os._exit(0)

loop = netloop.EventLoop(io_cpus=[int(sys.argv[2])], eager_writes=True)
loop.run_until_complete(main())
"""


def test_what_is_written_eagerly_reaches_the_peer_though_the_process_leaves_at_once():
    for _ in range(5):
        with socket.create_server((HOST, 0)) as listening:
            command = [sys.executable, "-c", LAST_WORDS, str(listening.getsockname()[1]), str(some_cpu())]
            program = subprocess.Popen(command, env=environment())
            listening.settimeout(stretched(20))
            with listening.accept()[0] as peer:
                peer.settimeout(stretched(20))
                received = b""
                while data := peer.recv(100):
                    received += data
            assert program.wait() == 0
            assert received == b"last words"


@pytest.mark.parametrize("scene", ["accepting", "receiving", "sending", "connecting", "socket_calls", "everything"])
def test_closing_with_operations_in_flight(scene):
    took, left = run_child(close_during, scene, "close", NETLOOP_IO_CPUS=str(some_cpu()))
    assert took < stretched(5.0)
    assert left == []


@pytest.mark.parametrize("scene", ["accepting", "receiving", "sending", "polling"])
def test_a_loop_that_is_forgotten_with_operations_in_flight(scene):
    _, left = run_child(close_during, scene, "forget", NETLOOP_IO_CPUS=str(some_cpu()))
    assert left == []


def close_while_the_peers_go_on():
    """Close a loop that is being sent to; nothing of its poller is left, and another loop works."""
    warnings.simplefilter("ignore", ResourceWarning)  # that its connections are left open is the point of it
    loop = polled()
    peers = []

    async def begin():
        server = await loop.create_server(Echo, HOST, 0)
        for _ in range(100):
            peers.append(socket.create_connection(address_of(server)))
            peers[-1].setblocking(False)
            peers[-1].send(b"data" * 1000)
        await asyncio.sleep(0.01)
        for peer in peers:
            with contextlib.suppress(BlockingIOError):
                peer.send(b"data" * 1000)
        server.close()

    loop.run_until_complete(begin())
    loop.close()
    left = pollers_settled(0)
    for peer in peers:
        peer.close()
    other = polled()
    good = other.run_until_complete(echo(b"other"))
    other.close()
    return left, good


def test_closing_while_peers_go_on_sending():
    assert run_child(close_while_the_peers_go_on) == [0, True]
