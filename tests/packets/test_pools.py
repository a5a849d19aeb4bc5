"""Packets whose payloads stay where the kernel has put them, in the buffers of a pool."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import socket
import threading

import pytest
from leases.helpers import LEASED
from loop.helpers import HOST, POLLED, eventually, finish, name_of, turns

import netloop

from .helpers import EVERYTHING, Packets, packets, send_coalesced, udp

INTERNET = pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, HOST), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"]
)
LARGE = 66 * 1024  # a buffer for coalesced datagrams, with all fields
HEAD = 144  # what comes before a datagram of which no fields are told
ROOM = 48  # and what the control messages take that every socket of IP has


class Releasing(Packets):
    """Copies the payloads, and gives each batch back."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[bytes] = []

    def packets_received(self, batch):
        self.copies += map(bytes, batch.payloads())
        batch.release()
        self.called("packets_received")

    async def until_copies(self, count: int) -> list[bytes]:
        await self.until(lambda: len(self.copies) >= count)
        return self.copies


class Digesting(Packets):
    """Keeps nothing but a digest of the payloads in their order, their number, and how many the kernel has dropped."""

    def __init__(self) -> None:
        super().__init__()
        self.digest = hashlib.sha256()
        self.count = self.dropped = 0

    def packets_received(self, batch):
        for payload in batch.payloads():
            self.digest.update(payload)
        self.count += len(batch)
        self.dropped += batch.dropped
        self.called("packets_received")


def leased(pool: netloop.BufferPool) -> int:
    return pool._states().count(LEASED)


@INTERNET
@pytest.mark.parametrize("gro", [False, True])
async def test_payloads_are_views_of_the_pools_memory(loop, family, host, gro):
    memory = bytearray(16 * LARGE)
    pool = netloop.BufferPool(16, LARGE, memory=memory)
    sizes = [0, 1, 1200, 1201, 9000, 60_000]
    data = [bytes([number]) * size for number, size in enumerate(sizes, 1)]
    async with packets(local_addr=(host, 0), pool=pool, gro=gro) as protocol:
        with udp(host, family) as sender:
            for payload in data:
                sender.sendto(payload, name_of(protocol))
            assert await protocol.until_packets(len(data)) == data
            found = protocol.payloads
            assert [packet.payload for packet in protocol.packets] == data
            assert {packet.source for packet in protocol.packets} == {sender.getsockname()}
        assert all(type(view) is memoryview and view.readonly and view.c_contiguous for view in found)
        at = memory.index(data[2])
        memory[at] = 255
        assert found[2][0] == 255


async def test_unix_datagrams(loop, tmp_path):
    pool = netloop.BufferPool(8, 400_000)
    path = str(tmp_path / "socket")
    async with packets(local_addr=path, family=socket.AF_UNIX, pool=pool) as protocol:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            sent = [b"", b"abc", bytes(150_000)]
            for payload in sent:
                sender.sendto(payload, path)
            assert await protocol.until_packets(3) == sent
            assert [packet.source for packet in protocol.packets] == [None] * 3
            assert [packet.ttl for packet in protocol.packets] == [None] * 3


@INTERNET
async def test_coalesced_datagrams_are_split_where_they_lie(loop, family, host):
    pool = netloop.BufferPool(16, LARGE)
    data = b"".join(b"%06d" % number for number in range(7000))
    async with packets(local_addr=(host, 0), pool=pool) as protocol:
        with udp(host, family) as sender:
            send_coalesced(sender, data, 1200, name_of(protocol))
            sender.sendto(b"alone", name_of(protocol))
            send_coalesced(sender, data[:2400], 1200, name_of(protocol))
            whole = [data[at : at + 1200] for at in range(0, len(data), 1200)]
            expected = [*whole, b"alone", data[:1200], data[1200:2400]]
            assert await protocol.until_packets(len(expected)) == expected
    assert [packet.payload for packet in protocol.packets] == expected
    batch = protocol.batches[0]
    assert [batch[index].payload for index in range(len(batch))] == batch.payloads()
    assert [packet.payload for packet in batch[3:1:-1]] == expected[3:1:-1]
    # They came coalesced, so there is a buffer for each send.
    assert pool._statistics()["received"] == 3
    assert pool._statistics()["received_bytes"] == len(data) + 5 + 2400


@INTERNET
async def test_fields_are_the_same_as_without_a_pool(loop, family, host):
    def what_is_told(packet):
        names = ("source", "interface", "ecn", "dscp", "ttl", "truncated", "hardware_time")
        return [bytes(packet.payload), packet.destination[0], *(getattr(packet, name) for name in names)]

    pool = netloop.BufferPool(16, LARGE)
    options = {"local_addr": (host, 0), "fields": EVERYTHING}
    async with packets(pool=pool, **options) as pooled, packets(**options) as plain:
        with udp(host, family) as sender:
            level, option = (
                (socket.IPPROTO_IP, socket.IP_TOS)
                if family == socket.AF_INET
                else (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
            )
            sender.setsockopt(level, option, 0xB9)
            for each in (pooled, plain):
                send_coalesced(sender, b"abcde", 2, name_of(each))
                sender.sendto(b"fg", name_of(each))
            await pooled.until_packets(4)
            await plain.until_packets(4)
    assert list(map(what_is_told, pooled.packets)) == list(map(what_is_told, plain.packets))
    assert {(packet.ecn, packet.dscp) for packet in pooled.packets} == {(1, 0xB9 >> 2)}
    assert {packet.destination for packet in pooled.packets} == {name_of(pooled)}
    assert all(packet.time > 1_600_000_000 * 10**9 for packet in pooled.packets)


async def test_packets_are_compared_and_hashed_by_what_they_hold(loop):
    pool = netloop.BufferPool(16, LARGE)
    async with packets(local_addr=(HOST, 0), pool=pool) as protocol:
        with udp() as sender:
            for payload in (b"same", b"same", b"other"):
                sender.sendto(payload, name_of(protocol))
            await protocol.until_packets(3)
    first, second, other = protocol.packets
    assert first == second != other
    assert hash(first) == hash(second)
    assert repr(first).startswith("<Packet of 4 bytes source=('127.0.0.1', ")


async def test_views_and_packets_outlive_the_batch_and_keep_its_buffer(loop):
    pool = netloop.BufferPool(4, LARGE, wipe=True)
    async with packets(local_addr=(HOST, 0), pool=pool) as protocol:
        with udp() as sender:
            send_coalesced(sender, b"abcdef", 2, name_of(protocol))
            await protocol.until_packets(3)
            batch = protocol.batches.pop()
            view, packet = batch.payloads()[1], batch[2]
            del batch
            gc.collect()
            for number in range(30):
                sender.sendto(b"%d" % number, name_of(protocol))
                assert await protocol.until_packets(1) == [b"%d" % number]
                protocol.batches.clear()
            assert (view, packet.payload) == (b"cd", b"ef")
            assert leased(pool) == 1
            part = memoryview(view)[1:]
            del view, packet
            assert leased(pool) == 1
            assert part == b"d"
            part.release()
            assert leased(pool) == 0


async def test_a_released_batch_gives_its_buffers_back(loop):
    pool = netloop.BufferPool(8, LARGE)
    async with packets(local_addr=(HOST, 0), pool=pool) as protocol:
        with udp() as sender:
            for payload in (b"1", b"2", b"3"):
                sender.sendto(payload, name_of(protocol))
            await protocol.until_packets(3)
        (batch,) = protocol.batches
        kept = batch[1]
        assert leased(pool) == 3
        batch.release()
        batch.release()
        assert leased(pool) == 1
        assert kept.payload == b"2"
        assert len(batch) == 3
        for reading in (batch.payloads, lambda: batch[0], lambda: list(batch)):
            with pytest.raises(ValueError, match="this batch was released"):
                reading()
        del kept
        assert leased(pool) == 0


async def test_a_batch_without_a_pool_is_released_too(loop):
    async with packets(local_addr=(HOST, 0)) as protocol:
        with udp() as sender:
            sender.sendto(b"x", name_of(protocol))
            await protocol.until_packets(1)
    (batch,) = protocol.batches
    batch.release()
    with pytest.raises(ValueError, match="this batch was released"):
        batch.payloads()


async def test_a_batch_may_be_released_by_another_thread(loop):
    pool = netloop.BufferPool(1, LARGE)
    async with packets(local_addr=(HOST, 0), pool=pool) as protocol:
        with udp() as sender:
            for payload in (b"1", b"2"):
                sender.sendto(payload, name_of(protocol))
            await protocol.until_packets(1)
            await eventually(lambda: pool._statistics()["waiting_receives"])
            thread = threading.Thread(target=protocol.batches.pop().release)
            thread.start()
            thread.join()
            assert await protocol.until_packets(1) == [b"2"]


async def test_a_batch_is_no_unreleased_lease_in_debug_mode(loop):
    loop.set_debug(True)
    pool = netloop.BufferPool(4, LARGE)
    async with packets(local_addr=(HOST, 0), pool=pool) as protocol:
        with udp() as sender:
            sender.sendto(b"x", name_of(protocol))
            await protocol.until_packets(1)
        protocol.batches.clear()  # a warning would be an error
        assert leased(pool) == 0


async def test_a_payload_that_is_larger_than_the_buffer_is_cut(loop):
    pool = netloop.BufferPool(4, HEAD + ROOM + 100)
    async with packets(local_addr=(HOST, 0), pool=pool, gro=False) as protocol:
        with udp() as sender:
            for size in (99, 100, 101, 3000):
                sender.sendto(b"x" * size, name_of(protocol))
                await protocol.until_packets(1)
                (packet,) = protocol.packets
                assert (packet.payload, packet.truncated) == (b"x" * min(size, 100), size > 100)
                del packet
                protocol.batches.clear()


async def test_buffers_of_any_size_and_place(loop):
    """Nothing has to be aligned."""
    memory = memoryview(bytearray(8 * 1001 + 3))[3:]
    pool = netloop.BufferPool(8, 1001, memory=memory)
    async with packets(Releasing, (HOST, 0), pool=pool, gro=False, fields=EVERYTHING) as protocol:
        with udp() as sender:
            for number in range(40):
                sender.sendto(b"%d" % number, name_of(protocol))
            assert await protocol.until_copies(40) == [b"%d" % number for number in range(40)]


# A dry pool --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5])
async def test_receiving_goes_on_when_buffers_come_back_to_a_dry_pool(loop, count):
    pool = netloop.BufferPool(count, 1000)
    data = [b"%d" % number for number in range(100)]
    async with packets(local_addr=(HOST, 0), pool=pool, gro=False) as protocol:
        with udp() as sender:
            for payload in data:
                sender.sendto(payload, name_of(protocol))
            found = []
            while len(found) < len(data):
                await turns(10)  # more than it takes for all buffers to be leased
                found += map(bytes, protocol.payloads)
                protocol.batches.clear()
            assert found == data
    assert pool._statistics()["dry"] > 0


async def test_what_the_socket_drops_while_the_pool_is_dry_is_counted(loop):
    pool = netloop.BufferPool(2, 1000)
    total = 2000
    async with packets(Digesting, (HOST, 0), pool=pool, gro=False) as protocol:
        protocol.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        held = pool.take()  # the other one is the kernel's
        with udp() as sender:
            for number in range(total):
                sender.sendto(b"%04d" % number, name_of(protocol))
            held.release()
            await turns(50)
            sender.sendto(b"last", name_of(protocol))
            await protocol.until(lambda: protocol.count + protocol.dropped == total + 1)
    assert protocol.dropped > 0
    assert loop.statistics().packets_dropped == protocol.dropped


async def test_a_pool_is_shared_with_another_endpoint_and_a_stream(loop):
    pool = netloop.BufferPool(4, LARGE)
    async with (
        packets(Releasing, (HOST, 0), pool=pool) as first,
        packets(Releasing, (HOST, 0), pool=pool) as second,
    ):
        with udp() as sender:
            for number in range(60):
                sender.sendto(b"%d" % number, name_of(second if number % 2 else first))
            assert await first.until_copies(30) == [b"%d" % number for number in range(0, 60, 2)]
            assert await second.until_copies(30) == [b"%d" % number for number in range(1, 60, 2)]


# Many packets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coalesced", [True, False], ids=["coalesced", "alone"])
async def test_nothing_is_lost_or_leaked_in_a_hundred_thousand_packets(loop, coalesced):
    pool = netloop.BufferPool(16, LARGE)
    expected = hashlib.sha256()
    sent = 0
    async with packets(Digesting, (HOST, 0), pool=pool) as protocol:
        with udp() as sender:
            while sent < 100_000:
                data = sent.to_bytes(4, "big") * 3000
                if coalesced:
                    send_coalesced(sender, data, 240, name_of(protocol))
                    count = 50
                else:
                    for at in range(0, len(data), 240):
                        sender.sendto(data[at : at + 240], name_of(protocol))
                    count = 50
                expected.update(data)
                sent += count
                await protocol.until(lambda sent=sent: protocol.count >= sent)
    assert protocol.count == sent
    assert protocol.digest.digest() == expected.digest()
    figures = pool._statistics()
    assert (figures["leased"], figures["lost"]) == (0, 0)
    assert figures["free"] + figures["offered"] == 16


# Pausing and the end -----------------------------------------------------------------------------------------------


async def test_what_comes_with_the_batch_in_which_reading_is_paused_is_kept(loop):
    class Pausing(Releasing):
        def packets_received(self, batch):
            super().packets_received(batch)
            self.transport.pause_reading()

    pool = netloop.BufferPool(4, 1000)
    async with packets(Pausing, (HOST, 0), pool=pool, gro=False) as protocol:
        with udp() as sender:
            for number in range(100):
                sender.sendto(b"%d" % number, name_of(protocol))
            while len(protocol.copies) < 100:
                protocol.transport.resume_reading()
                await turns(3)
    assert protocol.copies == [b"%d" % number for number in range(100)]


@pytest.mark.parametrize("method", ["close", "abort"])
@pytest.mark.parametrize("state", ["idle", "dry", "paused", "held back"])
async def test_closing_gives_all_back_but_what_the_application_has(loop, method, state):
    class Pausing(Packets):
        def packets_received(self, batch):
            super().packets_received(batch)
            if state == "held back":
                self.transport.pause_reading()

    pool = netloop.BufferPool(4, 1000)
    async with packets(Pausing, (HOST, 0), pool=pool, gro=False) as protocol:
        with udp() as sender:
            await turns()
            for _ in range(20 if state in ("dry", "held back") else 1):
                sender.sendto(b"payload", name_of(protocol))
            await protocol.until_packets(1)
            await turns()
            if state == "paused":
                protocol.transport.pause_reading()
                await turns()
            getattr(protocol.transport, method)()
            await protocol.lost
    assert set(protocol.payloads) == {b"payload"}
    assert leased(pool) == len(protocol.packets)
    protocol.batches.clear()
    assert leased(pool) == 0
    # The pool can be used by others.
    async with packets(local_addr=(HOST, 0), pool=pool, gro=False) as protocol:
        with udp() as sender:
            sender.sendto(b"next", name_of(protocol))
            assert await protocol.until_packets(1) == [b"next"]


async def test_closing_in_the_middle_of_a_batch(loop):
    class Closing(Packets):
        def packets_received(self, batch):
            super().packets_received(batch)
            self.transport.abort()

    pool = netloop.BufferPool(32, 1000)
    async with packets(Closing, (HOST, 0), pool=pool, gro=False) as protocol:
        with udp() as sender:
            await turns()
            for _ in range(50):
                sender.sendto(b"x", name_of(protocol))
            await protocol.lost
    assert len(protocol.batches) == 1
    assert leased(pool) == len(protocol.packets)


@pytest.mark.parametrize("flying", [False, True], ids=["at rest", "with a receive in flight"])
def test_a_loop_may_close_while_batches_and_views_are_out(flying):
    async def receive():
        pool = netloop.BufferPool(8, LARGE)
        _, protocol = await loop.create_packet_endpoint(Packets, (HOST, 0), pool=pool)
        with udp() as sender:
            send_coalesced(sender, b"abcdef", 2, name_of(protocol))
            await protocol.until_packets(3)
            view = protocol.batches[0].payloads()[0]
            if not flying:
                protocol.transport.abort()
                await protocol.lost
            for _ in range(5):
                sender.sendto(b"never read", name_of(protocol))
        return pool, protocol, view

    loop = netloop.new_event_loop()
    pool, protocol, view = loop.run_until_complete(receive())
    if flying:
        protocol.transport.abort()
    loop.close()
    batch = protocol.batches[0]
    assert batch.payloads() == [b"ab", b"cd", b"ef"]
    del protocol
    gc.collect()
    batch.release()
    assert view == b"ab"
    assert leased(pool) == 1
    del view
    assert leased(pool) == 0


@pytest.mark.parametrize("moves", [False, True], ids=["same thread", "another thread"])
def test_what_comes_as_the_loop_stops_is_delivered_when_it_runs_again(loop, moves):
    pool = netloop.BufferPool(32, LARGE)
    protocols = []

    async def begin():
        protocols.append((await loop.create_packet_endpoint(Packets, (HOST, 0), pool=pool))[1])
        await turns()

    def send_and_stop():
        for number in range(3):
            sender.sendto(b"%d" % number, name_of(protocols[0]))
        send_coalesced(sender, b"34567", 1, name_of(protocols[0]))
        loop.stop()

    def run_and_stop():
        loop.run_until_complete(begin())
        loop.call_soon(send_and_stop)
        loop.run_forever()

    with udp() as sender:
        if moves:
            thread = threading.Thread(target=run_and_stop)
            thread.start()
            thread.join()
        else:
            run_and_stop()
        (protocol,) = protocols
        assert POLLED or not protocol.batches
        sender.sendto(b"8", name_of(protocol))
        assert loop.run_until_complete(protocol.until_packets(9)) == [b"%d" % number for number in range(9)]
        assert {packet.source for packet in protocol.packets} == {sender.getsockname()}
        sender.sendto(b"9", name_of(protocol))
        assert loop.run_until_complete(protocol.until_packets(10))[-1] == b"9"
    loop.run_until_complete(finish(protocol))
    assert leased(pool) == 6
    protocol.batches.clear()
    assert leased(pool) == 0


@pytest.mark.parametrize("moves", [False, True], ids=["same thread", "another thread"])
def test_what_comes_as_the_loop_stops_goes_back_when_it_is_closed(moves):
    pool = netloop.BufferPool(32, LARGE)

    def send_and_stop(protocol):
        for _ in range(3):
            sender.sendto(b"x", name_of(protocol))
        protocol.transport.abort()
        loop.stop()

    def run_and_stop():
        _, protocol = loop.run_until_complete(loop.create_packet_endpoint(Packets, (HOST, 0), pool=pool))
        loop.run_until_complete(turns())
        loop.call_soon(send_and_stop, protocol)
        loop.run_forever()
        return protocol

    loop = netloop.new_event_loop()
    with udp() as sender:
        if moves:
            thread = threading.Thread(target=run_and_stop)
            thread.start()
            thread.join()
        else:
            run_and_stop()
    loop.close()
    gc.collect()
    assert leased(pool) == 0


# What is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({"gro": True}, HEAD + ROOM + 65_535),
        ({"gro": True, "fields": EVERYTHING}, HEAD + 240 + 65_535),
        ({"gro": False}, HEAD + ROOM + 1),
        ({"gro": False, "fields": ["ttl"]}, HEAD + 80 + 1),
    ],
    ids=["coalesced", "coalesced, with fields", "alone", "with a field"],
)
async def test_a_pool_of_too_small_buffers_is_refused(loop, options, least):
    with pytest.raises(ValueError, match=rf"pool has buffers of {least - 1} bytes.* {least} at least"):
        await loop.create_packet_endpoint(Packets, (HOST, 0), pool=netloop.BufferPool(4, least - 1), **options)
    async with packets(local_addr=(HOST, 0), pool=netloop.BufferPool(4, least), **options) as protocol:
        with udp() as sender:
            sender.sendto(b"x", name_of(protocol))
            assert await protocol.until_packets(1) == [b"x"]


async def test_a_unix_socket_takes_small_buffers(loop, tmp_path):
    path = str(tmp_path / "socket")
    options = {"local_addr": path, "family": socket.AF_UNIX}
    with pytest.raises(ValueError, match=f" {HEAD + 1} at least"):
        await loop.create_packet_endpoint(Packets, pool=netloop.BufferPool(4, HEAD), **options)
    async with packets(pool=netloop.BufferPool(4, HEAD + 1), **options) as protocol:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"xy", path)
            assert await protocol.until_packets(1) == [b"x"]
            assert protocol.packets[0].truncated


async def test_a_socket_that_coalesces_already_needs_large_buffers(loop):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    sock.setsockopt(17, 104, 1)  # UDP_GRO
    with pytest.raises(ValueError, match="with gro they need"):
        await loop.create_packet_endpoint(Packets, sock=sock, pool=netloop.BufferPool(4, 2000), gro=False)
    assert sock.fileno() == -1


@pytest.mark.parametrize("pool", [1, "pool", bytearray(10), netloop.BufferPool])
async def test_what_is_no_pool_is_refused(loop, pool):
    with pytest.raises(TypeError, match="pool must be a BufferPool or None, not"):
        await loop.create_packet_endpoint(Packets, (HOST, 0), pool=pool)


async def test_a_pool_of_another_loop_is_refused(loop):
    other = netloop.new_event_loop()

    async def make():
        return netloop.BufferPool(4, LARGE)

    pool = await asyncio.to_thread(other.run_until_complete, make())
    with pytest.raises(ValueError, match="this buffer pool belongs to another event loop"):
        await loop.create_packet_endpoint(Packets, (HOST, 0), pool=pool)
    other.close()
    with pytest.raises(RuntimeError, match="the event loop of this buffer pool is closed"):
        await loop.create_packet_endpoint(Packets, (HOST, 0), pool=pool)
