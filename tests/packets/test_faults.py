"""Bad weather: dry buffers, full sockets, cancelling and closing with batches in flight, and nothing that grows."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import socket
import struct

import pytest
from faults.test_fork import in_fork
from loop.helpers import HOST, eventually, name_of, turns

import netloop

from .helpers import EVERYTHING, Packets, make_room, packets, received, send_coalesced, udp


class Counting(netloop.PacketProtocol):
    """Keeps nothing but how much has come."""

    def __init__(self):
        self.packets = self.bytes = self.dropped = 0

    def connection_made(self, transport):
        self.transport = transport

    def packets_received(self, batch):
        self.packets += len(batch)
        self.bytes += sum(map(len, batch.payloads()))
        self.dropped += batch.dropped


async def ended(protocol):
    protocol.transport.abort()
    await turns()


@pytest.mark.limit(120)
async def test_dry_buffers_with_a_hundred_thousand_packets_waiting(loop):
    """The socket holds them until there are buffers; the loop learns of what it had no room for."""
    count = 100_000
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    make_room(sock, 1 << 28)
    with udp() as sender:
        for number in range(count):
            sender.sendto(struct.pack("I", number), sock.getsockname())
    seen = []

    class Numbers(Counting):
        def packets_received(self, batch):
            super().packets_received(batch)
            seen.extend(struct.unpack("I", payload)[0] for payload in batch.payloads())

    _, protocol = await loop.create_packet_endpoint(Numbers, sock=sock)
    await eventually(lambda: protocol.packets == count)
    assert seen == list(range(count))
    assert protocol.dropped == 0
    statistics = loop.statistics()
    assert statistics.buffers_exhausted > 0
    assert statistics.packets_received == count
    assert statistics.packets_dropped == 0
    await ended(protocol)


@pytest.mark.limit(120)
async def test_what_the_kernel_drops_is_the_only_loss_and_is_told(loop):
    count = 100_000
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    with udp() as sender:
        _, protocol = await loop.create_packet_endpoint(Counting, sock=sock)
        await turns()
        # Nothing is received meanwhile: most of it finds a full socket.
        for _ in range(count):
            sender.sendto(b"x" * 100, sock.getsockname())
        await asyncio.sleep(0.05)
        sender.sendto(b"the last one", sock.getsockname())  # which tells what was dropped before it
        await eventually(lambda: protocol.packets + protocol.dropped >= count + 1)
    assert protocol.packets + protocol.dropped == count + 1
    assert protocol.dropped > count // 2
    assert loop.statistics().packets_dropped == protocol.dropped
    assert loop.statistics().packets_received == protocol.packets
    await ended(protocol)


async def test_drops_before_the_endpoint_was_made_are_not_its_own(loop):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with udp() as sender:
        for _ in range(100):
            sender.sendto(b"x" * 100, sock.getsockname())
        _, protocol = await loop.create_packet_endpoint(Counting, sock=sock)
        await eventually(lambda: protocol.packets)
        sender.sendto(b"x", sock.getsockname())
        await asyncio.sleep(0.02)
    assert protocol.dropped == 0
    await ended(protocol)


async def test_several_endpoints_share_few_buffers(loop):
    """Each gets its own, in order, however the group runs dry."""
    endpoints = [await loop.create_packet_endpoint(Packets, (HOST, 0)) for _ in range(10)]
    with udp() as sender:
        for number in range(150):
            for transport, _ in endpoints:
                sender.sendto(b"%d" % number, transport.get_extra_info("sockname"))
        for transport, protocol in endpoints:
            assert await protocol.until_packets(150) == [b"%d" % number for number in range(150)]
            transport.abort()
            await protocol.lost
    assert loop.statistics().buffers_in_use == 0


async def test_a_datagram_transport_and_a_packet_endpoint_share_buffers(loop):
    from loop.helpers import Datagrams, endpoint

    async with endpoint(Datagrams, local_addr=(HOST, 0)) as plain, packets(local_addr=(HOST, 0)) as protocol:
        with udp() as sender:
            for number in range(100):
                for each in (plain, protocol):
                    sender.sendto(b"%d" % number, name_of(each))
            expected = [b"%d" % number for number in range(100)]
            assert await protocol.until_packets(100) == expected
            assert await plain.until_datagrams(100) == expected


@pytest.mark.parametrize("method", ["close", "abort"])
async def test_ends_with_everything_in_flight(loop, method):
    """Packets come and go while endpoints end, and the loop is left clean."""
    chance = random.Random(5)
    with udp() as sock, udp() as sender:
        sock.setblocking(False)
        for _ in range(50):
            transport, protocol = await loop.create_packet_endpoint(Packets, (HOST, 0), fields=EVERYTHING)
            address = transport.get_extra_info("sockname")
            for _ in range(chance.randrange(40)):
                sender.sendto(b"x", address)
            transport.send_packets([bytes(chance.randrange(2000)) for _ in range(chance.randrange(100))], address)
            await turns(chance.randrange(4))
            if chance.random() < 0.3:
                transport.pause_reading()
            getattr(transport, method)()
            await protocol.lost
    statistics = loop.statistics()
    assert (statistics.connections, statistics.buffers_in_use) == (0, 0)


def test_a_loop_that_is_closed_with_packets_in_flight(new_loop):
    for when in range(4):
        loop = new_loop()
        transport, _ = loop.run_until_complete(loop.create_packet_endpoint(Packets, (HOST, 0)))
        with udp() as sender:
            for _ in range(50):
                sender.sendto(b"x", transport.get_extra_info("sockname"))
            transport.send_packets([b"y"] * 500, transport.get_extra_info("sockname"))
            loop.run_until_complete(turns(when))
        loop.close()
        transport.close()


def test_a_loop_that_goes_on_in_another_run(loop):
    transport, protocol = loop.run_until_complete(loop.create_packet_endpoint(Packets, (HOST, 0)))
    with udp() as sender:
        for number in range(3):
            sender.sendto(b"%d" % number, transport.get_extra_info("sockname"))
            loop.run_until_complete(protocol.until_packets(number + 1))
    transport.abort()
    loop.run_until_complete(turns())
    assert protocol.payloads == [b"0", b"1", b"2"]


async def test_a_forked_child_has_nothing_of_it(loop):
    async with packets(local_addr=(HOST, 0)) as protocol:
        with udp() as sender:
            sender.sendto(b"before", name_of(protocol))
            await protocol.until_packets(1)
            assert in_fork(lambda: True)
            sender.sendto(b"after", name_of(protocol))
            assert await protocol.until_packets(2) == [b"before", b"after"]


def memory():
    """What this process has in memory, in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.limit(240)
async def test_a_million_packets_leave_nothing(loop):
    """Sent and received with all fields, each looked at; memory does not grow between two thirds of them."""
    total, figures = 0, []
    sizes = [1200] * 40 + [300]

    class Looking(Counting):
        def packets_received(self, batch):
            super().packets_received(batch)
            for packet in batch:
                assert packet.source == packet.destination
                assert (packet.ecn, packet.ttl) == (1, 64)

    transport, protocol = await loop.create_packet_endpoint(Looking, (HOST, 0), fields=EVERYTHING)
    make_room(transport.get_extra_info("socket"), 1 << 23)
    address = transport.get_extra_info("sockname")
    payloads = [bytes(size) for size in sizes]
    while total < 1_000_000:
        for _ in range(20):
            transport.send_packets(payloads, address, ecn=1, source=HOST)
            total += len(payloads)
        await eventually(lambda: protocol.packets >= total)  # noqa: B023
        if total > 333_000 * (len(figures) + 1):
            gc.collect()
            figures.append(memory())
    assert protocol.packets == total
    assert protocol.bytes == total // len(sizes) * sum(sizes)
    assert protocol.dropped == 0
    assert figures[-1] - figures[0] < 4 << 20, figures
    await ended(protocol)


async def test_nothing_refers_to_a_batch_that_is_dropped(loop):
    """Packets, batches and payloads go when the program drops them: none is in a cycle."""
    alive = []

    class Dropping(Packets):
        def packets_received(self, batch):
            alive.append(len(batch))

    gc.collect()
    gc.disable()
    try:
        async with packets(Dropping, (HOST, 0)) as protocol:
            with udp() as sender:
                for _ in range(3):
                    for _ in range(10):
                        send_coalesced(sender, bytes(3000), 1000, name_of(protocol))
                    await eventually(lambda: sum(alive) % 30 == 0 and alive)
                    alive.clear()
                    left = [each for each in gc.get_objects() if isinstance(each, netloop.PacketBatch)]
                    assert len(left) == 0
    finally:
        gc.enable()


async def test_a_full_socket_waits(loop):
    """A socket whose buffer holds one datagram at a time."""
    data = [struct.pack("I", number) * 500 for number in range(400)]
    with udp(room=1 << 22) as sock:
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind((HOST, 0))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        async with packets(sock=sender) as protocol:
            protocol.transport.send_packets(data, sock.getsockname())
            await eventually(lambda: not protocol.transport.get_write_buffer_size())
            assert received(sock, 400) == data
            assert not protocol.errors
