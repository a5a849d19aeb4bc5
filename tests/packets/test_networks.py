"""What the loopback cannot show: several addresses, a small MTU, devices that segment nothing, queues, loss."""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import struct
from pathlib import Path

import pytest
from loop.helpers import eventually, turns

from .helpers import EVERYTHING, Packets, make_room, packets, received
from .namespaces import network

__all__ = ["network"]

FAMILIES = pytest.mark.parametrize("family", ["four", "six"])
HEADERS = {"four": 28, "six": 48}


def numbered(count, size=100):
    return [struct.pack("I", number).ljust(size, b".") for number in range(count)]


def numbers(payloads):
    return [struct.unpack_from("I", payload)[0] for payload in payloads]


@FAMILIES
async def test_a_wildcard_server_answers_from_the_address_that_was_asked(loop, network, family):
    class Answering(Packets):
        def packets_received(self, batch):
            super().packets_received(batch)
            for packet in batch:
                source = (packet.destination[0], packet.interface)
                self.transport.send_packets([packet.payload], packet.source, source=source, ecn=packet.ecn)

    addresses = [f"10.77.0.{number}" for number in range(20, 24)]
    if family == "six":
        addresses = [f"fd77::{number}" for number in range(20, 24)]
    for address in addresses:
        nodad = ("nodad",) if family == "six" else ()
        length = "64" if family == "six" else "24"
        network.far.run("ip", "address", "add", f"{address}/{length}", "dev", network.far.name, *nodad)
    server = network.far.socket("0.0.0.0" if family == "four" else "::")
    async with packets(Answering, sock=server, fields=EVERYTHING) as protocol:
        for number, address in enumerate([getattr(network.far, family), *addresses], 1):
            with network.near.socket(getattr(network.near, family)) as client:
                client.connect((address, server.getsockname()[1]))  # which takes no answer from elsewhere
                client.send(b"asked")
                await protocol.until_packets(number)
                await turns()
                assert client.recv(10) == b"asked"
                packet = protocol.packets[-1]
                assert packet.destination[:2] == client.getpeername()[:2]
                with network.far.inside():
                    assert packet.interface == socket.if_nametoindex(network.far.name)
                assert packet.ttl == 64


@FAMILIES
async def test_packets_cross_a_cable(loop, network, family):
    data = numbered(3000, 1000)
    receiver = network.far.socket(getattr(network.far, family))
    make_room(receiver, 1 << 23)
    sender = network.near.socket(getattr(network.near, family))
    async with packets(sock=receiver) as far, packets(sock=sender) as near:
        for start in range(0, 3000, 100):
            near.transport.send_packets(data[start : start + 100], receiver.getsockname())
        assert await far.until_packets(3000) == data
        assert not near.errors
    assert loop.statistics().segmentation_refused == 0


@pytest.mark.parametrize("what", ["checksums", "scatter", "segmentation"])
async def test_devices_that_cannot_segment(loop, network, what):
    """The kernel may do it in the device's place, or refuse: the packets arrive, in their order."""
    data = [*numbered(500, 1000), b"the end"]
    network.near.switch_off("segmentation")
    network.near.switch_off(what)
    receiver = network.far.socket(network.far.four)
    make_room(receiver, 1 << 22)
    async with packets(sock=receiver) as far, packets(sock=network.near.socket(network.near.four)) as near:
        for start in range(0, len(data), 100):
            near.transport.send_packets(data[start : start + 100], receiver.getsockname())
        assert await far.until_packets(len(data)) == data
        assert not near.errors
    assert loop.statistics().segmentation_refused <= 1


@FAMILIES
async def test_segments_larger_than_the_path_go_one_by_one(loop, network, family):
    """And are fragmented, as they would be if they had been sent alone; smaller ones are segmented still."""
    network.set_mtu(1280)
    data = numbered(40, 1400)
    receiver = network.far.socket(getattr(network.far, family))
    make_room(receiver, 1 << 22)
    sender = network.near.socket(getattr(network.near, family))
    async with packets(sock=receiver, gro=True) as far, packets(sock=sender, dont_fragment=False) as near:
        near.transport.send_packets(data, receiver.getsockname())
        assert await far.until_packets(40) == data
        assert loop.statistics().segmentation_refused == 1
        near.transport.send_packets(data, receiver.getsockname())
        await far.until_packets(80)
        assert loop.statistics().segmentation_refused == 1
        submissions = loop.statistics().submissions
        near.transport.send_packets(numbered(40, 1200), receiver.getsockname())
        await far.until_packets(120)
        assert loop.statistics().submissions - submissions < 20
        assert loop.statistics().segmentation_refused == 1
        assert far.payloads == data + data + numbered(40, 1200)
        assert not near.errors


@FAMILIES
async def test_packets_larger_than_the_path_are_told(loop, network, family):
    network.set_mtu(1280)
    receiver = network.far.socket(getattr(network.far, family))
    sender = network.near.socket(getattr(network.near, family))
    target = receiver.getsockname()
    async with packets(sock=receiver) as far, packets(sock=sender, dont_fragment=True) as near:
        near.transport.send_packets([*numbered(3, 1400), *numbered(3, 1280 - HEADERS[family])], target)
        assert await far.until_packets(3) == numbered(3, 1280 - HEADERS[family])
        await near.until_errors(3)
        assert {(error.errno, error.mtu, error.destination) for error in near.errors} == {
            (errno.EMSGSIZE, 1280, target)
        }


@FAMILIES
async def test_the_mtu_of_a_path_is_learnt(loop, network, family):
    """A router in between: the far host's device takes less than the near one's."""
    network.near.run("ip", "link", "set", network.near.name, "mtu", "1500")
    sender = network.near.socket(getattr(network.near, family))
    target = (getattr(network.far, family), 9)
    sender.connect(target)
    async with packets(sock=sender, dont_fragment=True) as near:
        assert near.transport.mtu() == 1500
        flag = ("-6",) if family == "six" else ()
        with network.near.inside():
            route = f"{target[0]}/{'128' if flag else '32'}"
        network.near.run("ip", *flag, "route", "add", route, "dev", network.near.name, "mtu", "1300")
        near.transport.send_packets(numbered(1, 1500 - HEADERS[family]))
        (error,) = (await near.until_errors(1))[:1]
        assert (error.errno, error.mtu) == (errno.EMSGSIZE, 1300)
        assert near.transport.mtu() == 1300


async def test_an_icmp_error_of_a_router(loop, network):
    """The far host forwards nothing, and says that it knows no way."""
    network.near.run("ip", "route", "add", "10.78.0.0/24", "via", network.far.four)
    network.far.run("ip", "route", "add", "unreachable", "10.78.0.0/24")
    with network.far.inside(), open("/proc/sys/net/ipv4/ip_forward", "w") as file:
        file.write("1")
    async with packets(sock=network.near.socket(network.near.four)) as near:
        near.transport.send_packets([b"x"], ("10.78.0.5", 9))
        (error,) = await near.until_errors(1)
        assert error.errno == errno.EHOSTUNREACH
        assert error.destination == ("10.78.0.5", 9)
        assert error.offender == (network.far.four, 0)


async def test_a_full_queue_of_the_device_waits(loop, network):
    """A slow device with a short queue: what it refuses (ENOBUFS) is sent again, nothing is lost."""
    network.near.queue("tbf", "rate", "8mbit", "burst", "3000", "limit", "6000")
    data = numbered(300, 500)
    for position in range(0, 300, 7):
        data[position] += b"!" * position  # sizes that keep packets apart
    receiver = network.far.socket(network.far.four)
    make_room(receiver, 1 << 22)
    async with packets(sock=receiver) as far, packets(sock=network.near.socket(network.near.four)) as near:
        near.transport.set_write_buffer_limits(high=50_000)
        near.transport.send_packets(data, receiver.getsockname())
        assert "pause_writing" in near.calls
        assert sorted(await far.until_packets(300)) == sorted(data)
        await near.until_called("resume_writing")
        assert not near.errors
        assert numbers(far.payloads) == list(range(300))


async def test_loss_and_reordering(loop, network):
    """Every packet that arrives is whole and has its own fields, and those that are lost are no error."""
    network.near.queue("netem", "loss", "10%", "delay", "1ms", "1ms", "reorder", "25%", "50%")
    chance = random.Random(3)
    receiver = network.far.socket(network.far.four)
    make_room(receiver, 1 << 22)
    async with packets(sock=receiver, fields=["tos"]) as far:
        async with packets(sock=network.near.socket(network.near.four)) as near:
            for number in range(1000):
                payload = struct.pack("I", number) * chance.randrange(1, 300)
                near.transport.send_packets([payload] * 3, receiver.getsockname(), ecn=number % 4)
                if not number % 50:
                    await asyncio.sleep(0.002)
            await asyncio.sleep(0.1)
            assert not near.errors
        assert 2000 < len(far.packets) < 3000
        for packet in far.packets:
            (number,) = struct.unpack_from("I", packet.payload)
            assert packet.payload == struct.pack("I", number) * (len(packet.payload) // 4)
            assert packet.ecn == number % 4


async def test_transmit_times(loop, network):
    network.near.queue("fq")
    receiver = network.far.socket(network.far.four)
    sender = network.near.socket(network.near.four)
    async with packets(sock=receiver, fields=["time"]) as far, packets(sock=sender) as near:
        now = int(loop.time() * 1e9)
        near.transport.send_packets([b"late"], receiver.getsockname(), at=now + 50_000_000)
        near.transport.send_packets([b"now"], receiver.getsockname(), at=now)
        await far.until_packets(2)
    assert far.payloads == [b"now", b"late"]
    assert far.packets[1].time - far.packets[0].time > 30_000_000


async def test_groups_of_ipv6(loop, network):
    group = "ff02::7777"
    receiver = network.far.socket("::")
    async with packets(sock=receiver, fields=["destination"]) as far:
        with network.far.inside():
            index = socket.if_nametoindex(network.far.name)
            far.transport.join(group, network.far.name)
        with network.near.socket("::") as sender, network.near.inside():
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex(network.near.name))
            sender.sendto(b"joined", (group, receiver.getsockname()[1]))
        await far.until_packets(1)
        (packet,) = far.packets
        assert packet.destination == (group, receiver.getsockname()[1], 0, index)
        assert packet.interface == index
        with network.far.inside():
            far.transport.leave(group, index)


async def test_a_link_local_address_with_its_scope(loop, network):
    with network.far.inside():
        receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        index = socket.if_nametoindex(network.far.name)
    network.far.run("ip", "address", "add", "fe80::2/64", "dev", network.far.name, "nodad")
    network.near.run("ip", "address", "add", "fe80::1/64", "dev", network.near.name, "nodad")
    receiver.bind(("::", 0))
    async with packets(sock=receiver, fields=["destination"]) as far:
        with network.near.socket("::") as sender:
            with network.near.inside():
                scope = socket.if_nametoindex(network.near.name)
            sender.sendto(b"x", ("fe80::2", receiver.getsockname()[1], 0, scope))
            await far.until_packets(1)
            (packet,) = far.packets
            assert packet.destination == ("fe80::2", receiver.getsockname()[1], 0, index)
            far.transport.send_packets([b"y"], packet.source, source=("fe80::2", packet.interface))
            await turns()
            assert received(sender, 1) == [b"y"]
    await eventually(lambda: not loop.statistics().connections)


async def test_requests_for_an_echo_leave_one_by_one(loop, network):
    """Only UDP cuts a send apart: a socket of ICMP would send packets of one size as one."""
    with network.near.inside():
        Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    async with packets(sock=sock) as protocol:
        requests = [struct.pack("!BBHHH", 8, 0, 0, 0, number).ljust(50, b".") for number in range(10)]
        protocol.transport.send_packets(requests, (network.far.four, 0))
        answers = await protocol.until_packets(10)
        assert [struct.unpack_from("!H", answer, 6)[0] for answer in answers] == list(range(10))
        assert {len(answer) for answer in answers} == {50}


@FAMILIES
async def test_an_interface_that_comes_again_under_its_name(loop, network, family):
    """It has another index then; who names it means the new one."""
    host, name = getattr(network.near, family), network.near.name
    length, nodad = ("24", ()) if family == "four" else ("64", ("nodad",))
    sock = network.near.socket("0.0.0.0" if family == "four" else "::")
    to = (host, sock.getsockname()[1])
    async with packets(sock=sock) as protocol:
        for number in (1, 2):
            with network.near.inside():
                protocol.transport.send_packets([b"named"], to, source=(host, name))
            await protocol.until_packets(number)
            network.near.run("ip", "link", "delete", name)
            network.near.run("ip", "link", "add", name, "type", "veth", "peer", "name", "nl-other")
            network.near.run("ip", "address", "add", f"{host}/{length}", "dev", name, *nodad)
            network.near.run("ip", "link", "set", name, "up")
        assert not protocol.errors
