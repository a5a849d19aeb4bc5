"""Batches: what is in them and when they come, and pausing, closing and raising in the middle."""

from __future__ import annotations

import asyncio
import collections.abc
import gc
import signal
import socket

import pytest
from loop.helpers import HOST, POLLED, eventually, name_of, turns

import netloop

from .helpers import Packets, packets, send_coalesced, udp

INTERNET = pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, HOST), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"]
)


@INTERNET
async def test_all_datagrams_of_a_turn_come_at_once_and_in_order(loop, family, host):
    data = [b"%d" % number for number in range(12)]  # fewer than there are buffers
    async with packets(local_addr=(host, 0)) as protocol:
        with udp(host, family) as first, udp(host, family) as second:
            await turns()
            for number, payload in enumerate(data):
                (first if number % 3 else second).sendto(payload, name_of(protocol))
            assert await protocol.until_packets(12) == data
            assert POLLED or len(protocol.batches) == 1  # a poller brings each as it comes
            sources = [packet.source for packet in protocol.packets]
            assert sources == [(first if number % 3 else second).getsockname() for number in range(12)]


async def test_a_batch_is_a_sequence(loop):
    async with packets(local_addr=(HOST, 0), fields=["ttl"]) as protocol:
        with udp() as sender:
            send_coalesced(sender, b"abcde", 2, name_of(protocol))
            sender.sendto(b"f", name_of(protocol))
            send_coalesced(sender, b"ghij", 2, name_of(protocol))
            await protocol.until_packets(6)
    (batch,) = protocol.batches
    expected = [b"ab", b"cd", b"e", b"f", b"gh", b"ij"]
    assert isinstance(batch, netloop.PacketBatch)
    assert isinstance(batch, collections.abc.Sequence)
    assert len(batch) == 6
    assert batch.payloads() == expected
    assert [packet.payload for packet in batch] == expected
    assert [batch[index].payload for index in range(6)] == expected
    assert [batch[index].payload for index in range(-6, 0)] == expected
    assert [packet.payload for packet in batch[1:5:2]] == expected[1:5:2]
    assert [packet.payload for packet in reversed(batch)] == expected[::-1]
    assert {packet.ttl for packet in batch} == {64}
    for index in (6, -7):
        with pytest.raises(IndexError, match=f"batch index {index} is out of range: there are 6 packets"):
            batch[index]
    with pytest.raises(TypeError):
        batch["0"]
    packet = batch[3]
    assert packet in batch
    assert batch.index(packet) == 3
    assert batch.count(packet) == 1
    assert packet == batch[3] != batch[2]
    assert hash(packet) == hash(batch[3])
    with pytest.raises(ValueError, match="is not in the batch"):
        batch.index(packet, 4)
    assert repr(batch) == "<PacketBatch of 6 packets>"
    assert repr(packet).startswith("<Packet of 1 bytes source=('127.0.0.1', ")
    batch.payloads().clear()
    assert len(batch) == 6


async def test_packets_outlive_their_batch(loop):
    async with packets(local_addr=(HOST, 0), fields=["destination"]) as protocol:
        with udp() as sender:
            send_coalesced(sender, b"abcd", 2, name_of(protocol))
            await protocol.until_packets(2)
            kept = protocol.batches.pop()[1]
            gc.collect()
            assert (kept.payload, kept.source) == (b"cd", sender.getsockname())
            assert kept.destination == name_of(protocol)


async def test_empty_datagrams(loop):
    async with packets(local_addr=(HOST, 0)) as protocol:
        with udp() as sender:
            for payload in (b"", b"x", b"", b""):
                sender.sendto(payload, name_of(protocol))
            assert await protocol.until_packets(4) == [b"", b"x", b"", b""]


async def test_without_coalescing_each_datagram_comes_alone(loop):
    async with packets(local_addr=(HOST, 0), gro=False) as protocol:
        with udp() as sender:
            send_coalesced(sender, bytes(5000), 1000, name_of(protocol))
            assert list(map(len, await protocol.until_packets(5))) == [1000] * 5
    assert loop.statistics().packets_received == 5


async def test_several_endpoints_have_a_batch_each(loop):
    async with packets(local_addr=(HOST, 0)) as first, packets(local_addr=(HOST, 0)) as second:
        with udp() as sender:
            await turns()
            for number in range(10):
                sender.sendto(b"%d" % number, name_of(second if number % 2 else first))
            assert await first.until_packets(5) == [b"0", b"2", b"4", b"6", b"8"]
            assert await second.until_packets(5) == [b"1", b"3", b"5", b"7", b"9"]


async def test_nothing_is_delivered_while_reading_is_paused(loop):
    async with packets(local_addr=(HOST, 0)) as protocol:
        with udp() as sender:
            protocol.transport.pause_reading()
            for number in range(5):
                sender.sendto(b"%d" % number, name_of(protocol))
            await asyncio.sleep(0.02)
            assert not protocol.batches
            assert not protocol.transport.is_reading()
            protocol.transport.resume_reading()
            assert await protocol.until_packets(5) == [b"0", b"1", b"2", b"3", b"4"]


async def test_what_comes_with_the_batch_in_which_reading_is_paused_is_kept(loop):
    class Pausing(Packets):
        def packets_received(self, batch):
            super().packets_received(batch)
            self.transport.pause_reading()

    async with packets(Pausing, (HOST, 0)) as protocol:
        with udp() as sender:
            total = 0
            for times in range(1, 4):
                for number in range(100):
                    sender.sendto(b"%d" % (total + number), name_of(protocol))
                total += 100
                while sum(map(len, protocol.batches)) < total:
                    await protocol.until(lambda times=times: len(protocol.batches) >= times)
                    await turns()
                    protocol.transport.resume_reading()
                    await turns(10)
    assert protocol.payloads == [b"%d" % number for number in range(300)]


@pytest.mark.parametrize("method", ["close", "abort"])
async def test_closing_in_the_middle_of_batches(loop, method):
    class Closing(Packets):
        others: tuple[Packets, ...] = ()

        def packets_received(self, batch):
            super().packets_received(batch)
            for each in (self, *self.others):
                getattr(each.transport, method)()

    async with packets(Closing, (HOST, 0)) as first, packets(local_addr=(HOST, 0)) as second:
        first.others = (second,)
        with udp() as sender:
            await turns()
            for _ in range(50):
                sender.sendto(b"x", name_of(first))
                sender.sendto(b"x", name_of(second))
            await first.lost
            await second.lost
    assert len(first.batches) == 1
    assert loop.statistics().buffers_in_use == 0


async def test_what_the_protocol_raises_goes_to_the_exception_handler(loop, exceptions):
    class Raising(Packets):
        def packets_received(self, batch):
            super().packets_received(batch)
            raise LookupError("in the protocol")

    async with packets(Raising, (HOST, 0)) as protocol:
        with udp() as sender:
            for _ in range(2):
                sender.sendto(b"x", name_of(protocol))
                await turns()
            await protocol.until_packets(2)
    assert set(exceptions.take_types()) == {LookupError}
    assert protocol.calls[-1] == "connection_lost"


def test_an_exit_from_a_protocol_loses_no_batch(loop):
    """Two endpoints have a batch of the same turn, and the one that is told first ends the loop."""

    class Leaving(Packets):
        def packets_received(self, batch):
            super().packets_received(batch)
            raise SystemExit("out")

    async def open_both():
        pair = [await loop.create_packet_endpoint(factory, (HOST, 0)) for factory in (Leaving, Packets)]
        await turns()
        return pair

    (left, leaving), (_, staying) = loop.run_until_complete(open_both())
    with udp() as sender:
        sender.sendto(b"1", name_of(leaving))
        sender.sendto(b"2", name_of(staying))
        with pytest.raises(SystemExit):
            loop.run_forever()
        left.abort()
        loop.run_until_complete(staying.until_packets(1))
    staying.transport.abort()
    loop.run_until_complete(turns())


async def test_an_interrupt_in_a_protocol_is_not_swallowed(loop):
    class Interrupted(Packets):
        def packets_received(self, batch):
            super().packets_received(batch)
            signal.raise_signal(signal.SIGUSR1)

    told = []
    loop.add_signal_handler(signal.SIGUSR1, told.append, True)
    async with packets(Interrupted, (HOST, 0)) as protocol:
        with udp() as sender:
            sender.sendto(b"x", name_of(protocol))
            await eventually(lambda: told)
    loop.remove_signal_handler(signal.SIGUSR1)


async def test_the_protocol_may_be_changed(loop):
    async with packets(local_addr=(HOST, 0)) as first:
        second = Packets()
        with udp() as sender:
            sender.sendto(b"1", name_of(first))
            await first.until_packets(1)
            first.hand_over_to(second)
            sender.sendto(b"2", name_of(first))
            await second.until_packets(1)
    assert (first.payloads, second.payloads) == ([b"1"], [b"2"])


async def test_packets_are_counted(loop):
    async with packets(local_addr=(HOST, 0)) as protocol:
        with udp() as sender:
            for _ in range(7):
                sender.sendto(b"x", name_of(protocol))
            await protocol.until_packets(7)
    assert loop.statistics().packets_received == 7
