"""Too few buffers, tiny queues, a tiny table: slower, but nobody is disconnected and nothing is lost."""

from __future__ import annotations

import asyncio
import socket

import pytest
from loop.helpers import (
    BufferedRecorder,
    Echo,
    Recorder,
    address_of,
    connected,
    eventually,
    finish,
    pattern,
    serving,
)

import netloop

pytestmark = pytest.mark.limit(60)

FEW_BUFFERS = {"buffer_count": 4, "buffer_count_max": 4}
SCARCITIES = {
    "four buffers": FEW_BUFFERS,
    "four small buffers": {**FEW_BUFFERS, "buffer_size": 512},
    "growing buffers": {"buffer_count": 4, "buffer_count_max": 64},
    "tiny submission queue": {"submission_entries": 4},
    "tiny queues": {"submission_entries": 4, "completion_entries": 8},
    "tiny completion queue": {"submission_entries": 8, "completion_entries": 8},
    "tiny table": {"fixed_files": 8},
    "all tiny": {**FEW_BUFFERS, "submission_entries": 4, "completion_entries": 8, "fixed_files": 8},
}


@pytest.fixture(params=list(SCARCITIES.values()), ids=list(SCARCITIES))
def options(request):
    return request.param


@pytest.fixture
def loop(new_loop, options):
    return new_loop(lambda: netloop.EventLoop(**options))


@pytest.mark.parametrize("kind", [Recorder, BufferedRecorder], ids=["Protocol", "BufferedProtocol"])
async def test_a_thousand_senders(loop, options, kind):
    rounds = 5
    async with serving(kind, backlog=1100) as (server, protocols):
        senders = [socket.create_connection(address_of(server)) for _ in range(1000)]
        for turn in range(rounds):
            for number, sender in enumerate(senders):
                sender.sendall(b"%04d:%d;" % (number, turn) * 100)
            await asyncio.sleep(0)
        size = len(b"0000:0;") * 100 * rounds
        await eventually(lambda: len(protocols) == 1000 and all(len(each.data) >= size for each in protocols))
        assert all(not protocol.lost.done() for protocol in protocols)
        arrived = {bytes(protocol.data[:4]): bytes(protocol.data) for protocol in protocols}
        for number in range(1000):
            assert arrived[b"%04d" % number] == b"".join(b"%04d:%d;" % (number, turn) * 100 for turn in range(rounds))
        if options == FEW_BUFFERS:
            assert loop.statistics().buffers_total == 4 * len(loop.statistics().rings)
            assert loop.statistics().buffers_exhausted > 0
        for sender in senders:
            sender.close()
        for protocol in protocols:
            assert await protocol.lost is None


async def test_echoes_and_large_transfers(loop):
    async with serving(Echo) as (server, _):
        connecting = [loop.create_connection(Recorder, *address_of(server)) for _ in range(100)]
        clients = [client for _, client in await asyncio.gather(*connecting)]
        payloads = [pattern(20_000 + number) for number in range(100)]
        for client, payload in zip(clients, payloads, strict=True):
            for start in range(0, len(payload), 3000):
                client.transport.write(payload[start : start + 3000])
        for client, payload in zip(clients, payloads, strict=True):
            assert await client.until_received(len(payload)) == payload
        await finish(*clients)


async def test_a_large_transfer(loop):
    payload = pattern(5_000_000)
    async with connected() as (client, server):
        client.transport.write(payload)
        server.transport.write(payload)
        assert await server.until_received(len(payload)) == payload
        assert await client.until_received(len(payload)) == payload


async def test_everything_else_still_works(loop):
    async def tick():
        for _ in range(20):
            await asyncio.sleep(0.001)

    pairs = [socket.socketpair() for _ in range(50)]
    seen = []
    for near, _ in pairs:
        loop.add_reader(near, lambda near=near: (near.recv(1), seen.append(1)))
    for _, far in pairs:
        far.send(b"x")
    await asyncio.gather(*[tick() for _ in range(50)], asyncio.to_thread(loop.call_soon_threadsafe, seen.append, 2))
    await eventually(lambda: len(seen) == 51)
    for near, far in pairs:
        loop.remove_reader(near)
        near.close()
        far.close()


async def test_pausing_keeps_the_others_going(loop):
    """Connections whose reading is paused hold no buffers back from the others."""
    async with serving() as (server, protocols):
        senders = [socket.create_connection(address_of(server)) for _ in range(40)]
        await eventually(lambda: len(protocols) == 40)
        for protocol in protocols[::2]:
            protocol.transport.pause_reading()
        for sender in senders:
            sender.sendall(bytes(50_000))
        await eventually(lambda: all(len(protocol.data) == 50_000 for protocol in protocols[1::2]))
        for protocol in protocols[::2]:
            protocol.transport.resume_reading()
        await eventually(lambda: all(len(protocol.data) == 50_000 for protocol in protocols))
        for sender in senders:
            sender.close()


@pytest.mark.parametrize("size", [0, -1, 1, 3, 1_000_000_000])
@pytest.mark.parametrize(
    "name", ["buffer_count", "buffer_count_max", "buffer_size", "submission_entries", "fixed_files"]
)
@pytest.mark.parametrize("options", [{}], ids=["odd"])
def test_an_odd_size_is_refused_or_works(new_loop, options, name, size):
    try:
        loop = new_loop(lambda: netloop.EventLoop(**{name: size}))
    except (ValueError, OverflowError, OSError):
        return

    async def main():
        async with connected(server=Echo) as (client, _):
            client.transport.write(b"works")
            return await client.until_received(5)

    assert loop.run_until_complete(main()) == b"works"
