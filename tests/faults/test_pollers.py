"""Loops with a poller: what it is to their users, its threads, and the ordinary life of connections."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import time

import pytest
from loop.certificates import client_context, server_context
from loop.helpers import (
    HOST,
    BufferedRecorder,
    Datagrams,
    Echo,
    Recorder,
    address_of,
    connected,
    endpoint,
    eventually,
    in_thread,
    name_of,
    pattern,
    serving,
    socket_pair,
)

import netloop

from .child import run_child
from .pollers import cpu_seconds, polled, pollers, pollers_settled, some_cpu, wakeups


@pytest.fixture
def loop(new_loop):
    """A loop with a poller."""
    return new_loop(polled)


async def echo(word=b"echo"):
    """One connection, one message each way."""
    async with connected(server=Echo) as (client, _):
        client.transport.write(word)
        return (await client.until_received(len(word))) == word


# What it is to be seen by ---------------------------------------------------------------------------------------


async def test_the_statistics_name_the_cpu_and_count_what_the_ring_does(loop):
    async with connected(server=Echo) as (client, _):
        for number in range(1, 51):
            client.transport.write(b"ping")
            await client.until_received(4 * number)
        statistics = loop.statistics()
        (ring,) = statistics.rings
        assert ring.io_cpu == some_cpu()
        assert ring.submissions >= 100
        assert ring.completions >= 100
        assert (ring.submissions, ring.completions) == (statistics.submissions, statistics.completions)
        assert ring.in_flight >= statistics.in_flight > 0
        assert ring.fixed_files_in_use == statistics.fixed_files_in_use


def test_a_loop_without_one_says_so(new_loop):
    loop = new_loop(lambda: netloop.EventLoop(io_cpus=[]))
    assert loop.run_until_complete(echo())
    (ring,) = loop.statistics().rings
    assert (ring.io_cpu, ring.poller_wakeups) == (None, 0)
    assert ring.submissions > 0


def refused():
    """What a person is told who asks for a CPU that is not there, by the argument and by the variable."""
    before = sorted(os.listdir("/proc/self/fd"))
    told = []
    for make in (
        lambda: netloop.EventLoop(io_cpus=[4095]),
        lambda: netloop.new_event_loop(io_cpus=[4095]),
        lambda: netloop.new_event_loop(),
    ):
        try:
            make()
        except netloop.Unavailable as error:
            told.append([error.errno, error.cause, error.remedy, str(error)])
    assert sorted(os.listdir("/proc/self/fd")) == before
    return told


def test_a_cpu_that_is_not_there_is_refused_with_cause_and_remedy():
    told = run_child(refused, NETLOOP_IO_CPUS="4095")
    assert len(told) == 3
    for number, cause, remedy, text in told:
        assert number == errno.EINVAL
        assert "there is no CPU 4095 here" in cause
        assert remedy.startswith("name CPUs among ")
        assert cause in text
        assert remedy in text


def test_the_ways_in(monkeypatch):
    def cpus_of(loop):
        loop.close()
        return [ring.io_cpu for ring in loop.statistics().rings]

    async def own_cpus():
        return [ring.io_cpu for ring in asyncio.get_running_loop().statistics().rings]

    cpu = some_cpu()
    monkeypatch.delenv("NETLOOP_IO_CPUS", raising=False)
    assert netloop.run(own_cpus(), io_cpus=[cpu]) == [cpu]
    assert cpus_of(netloop.new_event_loop(io_cpus=[cpu])) == [cpu]
    assert cpus_of(netloop.new_event_loop()) == [None]
    monkeypatch.setenv("NETLOOP_IO_CPUS", str(cpu))
    assert cpus_of(netloop.new_event_loop()) == [cpu]
    assert netloop.run(own_cpus()) == [cpu]
    assert cpus_of(netloop.new_event_loop(io_cpus=[])) == [None]


# Sleeping and sharing -------------------------------------------------------------------------------------------


async def test_a_poller_that_sleeps_is_woken(loop):
    """It finds nothing to do for a while, sleeps, and takes part again when there is something."""
    async with connected(server=Echo) as (client, _):
        before = wakeups(loop)
        for number in range(1, 11):
            await asyncio.sleep(0.05)
            client.transport.write(b"ping")
            await client.until_received(4 * number)
        assert wakeups(loop) > before


def rest_of_an_idle_loop():
    """What the poller of a loop takes of the CPU while nothing happens for a second, and whether it works after."""
    loop = polled()

    async def main():
        async with connected(server=Echo) as (client, _):
            (thread,) = pollers()
            client.transport.write(b"one")
            await client.until_received(3)
            await asyncio.sleep(0.2)
            before = cpu_seconds(thread)
            await asyncio.sleep(1)
            taken = cpu_seconds(thread) - before
            client.transport.write(b"two")
            return taken, (await client.until_received(6)).decode()

    result = loop.run_until_complete(main())
    loop.close()
    return *result, pollers_settled(0)


def test_an_idle_loop_takes_no_cpu():
    """Without sleeping it would be a whole second; the bound is far from both."""
    taken, data, left = run_child(rest_of_an_idle_loop)
    assert taken < 0.5
    assert data == "onetwo"
    assert left == 0


def share():
    """Loops on one CPU, in one thread: how many pollers there are meanwhile, and which loops work."""
    first, second, third = polled(), polled(), polled()
    good = [loop.run_until_complete(echo()) for loop in (first, second, third)]
    counts = [len(pollers())]
    first.close()
    counts.append(pollers_settled(1))
    good.append(third.run_until_complete(echo()))
    second.close()
    good.append(third.run_until_complete(echo()))
    third.close()
    counts.append(pollers_settled(0))
    fourth = polled()
    good.append(fourth.run_until_complete(echo()))
    counts.append(len(pollers()))
    fourth.close()
    return counts, good


def test_loops_of_one_process_share_a_poller_and_one_that_is_closed_takes_it_from_nobody():
    counts, good = run_child(share)
    assert counts == [1, 1, 0, 1]
    assert all(good)


def share_between_threads():
    """Loops on one CPU, each in a thread of its own, one of which ends early."""
    together, first_is_gone = threading.Barrier(4, timeout=10), threading.Event()
    counts, good = [], []

    def serve(index):
        loop = polled()
        good.append(loop.run_until_complete(echo()))
        together.wait()
        counts.append(len(pollers()))
        together.wait()
        if index == 0:
            loop.close()
            first_is_gone.set()
            return
        first_is_gone.wait()
        good.extend(loop.run_until_complete(echo(pattern(100_000))) for _ in range(5))
        loop.close()

    threads = [threading.Thread(target=serve, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts, good, pollers_settled(0)


def test_loops_in_several_threads_share_a_poller():
    counts, good, left = run_child(share_between_threads)
    assert counts == [1] * 4
    assert good == [True] * 19
    assert left == 0


def come_and_go():
    """Loops are made and closed in several threads at once, all on one CPU."""

    def live(good):
        for _ in range(20):
            loop = polled()
            good.append(loop.run_until_complete(echo()))
            loop.close()

    good = []
    threads = [threading.Thread(target=live, args=(good,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(good), all(good), pollers_settled(0)


def test_loops_that_come_and_go_in_several_threads():
    assert run_child(come_and_go) == [80, True, 0]


# Connections ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder])
@pytest.mark.parametrize("size", [1, 1_000, 100_000, 5_000_000])
async def test_echo(loop, kind, size):
    async with connected(kind, Echo) as (client, _):
        data = pattern(size)
        client.transport.write(data)
        assert await client.until_received(size) == data


async def test_many_connections_at_once(loop):
    async with serving(Echo) as (server, _):
        clients = [(await loop.create_connection(Recorder, *address_of(server)))[1] for _ in range(100)]
        for number in range(1, 21):
            for client in clients:
                client.transport.write(b"%06d" % number)
            for client in clients:
                assert (await client.until_received(6 * number))[-6:] == b"%06d" % number
        for client in clients:
            client.transport.close()
        for client in clients:
            await client.lost


async def test_tls(loop):
    async with serving(Echo, ssl=server_context()) as (server, _):
        _, client = await loop.create_connection(
            Recorder, *address_of(server), ssl=client_context(), server_hostname="localhost"
        )
        data = pattern(500_000)
        client.transport.write(data)
        assert await client.until_received(len(data)) == data
        client.transport.close()
        await client.lost


async def test_unix_sockets(loop, tmp_path):
    path = str(tmp_path / "socket")
    accepted = []

    def make():
        accepted.append(Echo())
        return accepted[-1]

    server = await loop.create_unix_server(make, path)
    _, client = await loop.create_unix_connection(Recorder, path)
    data = pattern(300_000)
    client.transport.write(data)
    assert await client.until_received(len(data)) == data
    client.transport.close()
    await client.lost
    await accepted[0].lost
    server.close()
    await server.wait_closed()


async def test_datagrams(loop):
    async with (
        endpoint(local_addr=(HOST, 0)) as receiver,
        endpoint(Datagrams, remote_addr=name_of(receiver)) as sender,
    ):
        wanted = [b"%d" % number for number in range(50)]
        for payload in wanted:
            sender.transport.sendto(payload)
        assert await receiver.until_datagrams(50) == wanted


@pytest.mark.parametrize("how", ["close", "write and close", "write_eof and close", "abort"])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_a_turn_after_the_end_the_program_may_block_until_the_peer_has_been_told(loop, kind, how):
    for _ in range(20):
        if kind == "unix":
            near, far = socket.socketpair()
        else:
            with socket_pair() as ends:
                near, far = (end.dup() for end in ends)
        near.setblocking(False)
        far.settimeout(10)
        with far:
            transport, _ = await loop.create_connection(Recorder, sock=near)
            if "write and" in how:
                transport.write(b"last words")
            elif "eof" in how:
                transport.write_eof()
            transport.abort() if how == "abort" else transport.close()
            await asyncio.sleep(0)
            received = b""
            while data := far.recv(100):
                received += data
            assert received == (b"last words" if "write and" in how else b"")


async def test_a_program_that_blocks_for_a_second_finds_all_that_has_come_meanwhile(loop):
    data = pattern(2_000_000)
    with socket_pair() as (near, far):
        far.setblocking(True)
        _, recorder = await loop.create_connection(Recorder, sock=near.dup())
        sending = threading.Thread(target=far.sendall, args=(data,))
        sending.start()
        time.sleep(1)
        assert await recorder.until_received(len(data)) == data
        sending.join()
        far.close()
        assert await recorder.lost is None


def test_another_thread_goes_on_with_a_loop_and_its_connections(loop):
    """A ring with a poller belongs to no thread."""

    async def begin():
        listening = await loop.create_server(lambda: servants.append(Echo()) or servants[-1], HOST, 0)
        _, client = await loop.create_connection(Recorder, *address_of(listening))
        return listening, client

    async def talk(number):
        client.transport.write(b"%d" % number)
        return await client.until_received(number + 1)

    async def end():
        client.transport.close()
        await client.lost
        await eventually(lambda: all(servant.lost.done() for servant in servants))
        listening.close()
        await listening.wait_closed()

    servants = []
    listening, client = loop.run_until_complete(begin())
    for number in range(8):
        data = in_thread(lambda number=number: loop.run_until_complete(talk(number)))
        assert data == b"01234567"[: number + 1]
        assert loop.run_until_complete(echo())
    in_thread(lambda: loop.run_until_complete(end()))


def test_a_loop_outlives_the_thread_that_has_made_it(new_loop):
    """So does its poller, which that thread has started, and what is in flight."""

    async def begin():
        servant = Echo()
        listening = await loop.create_server(lambda: servant, HOST, 0)
        _, client = await loop.create_connection(Recorder, *address_of(listening))
        client.transport.write(b"one")
        await client.until_received(3)
        return listening, servant, client

    async def go_on():
        client.transport.write(b"two")
        assert await client.until_received(6) == b"onetwo"
        client.transport.close()
        await asyncio.gather(client.lost, servant.lost)
        listening.close()
        await listening.wait_closed()

    loop = in_thread(lambda: new_loop(polled))
    listening, servant, client = in_thread(lambda: loop.run_until_complete(begin()))
    loop.run_until_complete(go_on())
    assert in_thread(lambda: loop.run_until_complete(echo()))
