"""Each field of a packet, compared with what a plain recvmsg() says of the same datagram.

The socket is made and its options are set by the test. A look at the first datagram (MSG_PEEK) leaves it there for the
endpoint that takes the socket over.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time

import pytest
from loop.helpers import HOST

from .helpers import (
    EVERYTHING,
    IP_PKTINFO,
    IP_RECVTOS,
    IP_RECVTTL,
    SO_TIMESTAMPNS,
    SOL_UDP,
    UDP_GRO,
    packets,
    send_coalesced,
    udp,
)

FOUR, SIX = socket.AF_INET, socket.AF_INET6
OPTIONS = {
    FOUR: ((socket.IPPROTO_IP, IP_PKTINFO), (socket.IPPROTO_IP, IP_RECVTOS), (socket.IPPROTO_IP, IP_RECVTTL)),
    SIX: (
        (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO),
        (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS),
        (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT),
        (socket.IPPROTO_IP, IP_RECVTOS),
        (socket.IPPROTO_IP, IP_RECVTTL),
    ),
}
# Of the socket's family: where it is bound, where packets go to, and of which family their sender is.
WAYS = {
    "IPv4": (FOUR, HOST, HOST, FOUR),
    "IPv4, wildcard": (FOUR, "0.0.0.0", "127.0.0.7", FOUR),
    "IPv6": (SIX, "::1", "::1", SIX),
    "IPv6, wildcard": (SIX, "::", "::1", SIX),
    "IPv4 on IPv6": (SIX, "::", "127.0.0.9", FOUR),
}


def told_plainly(sock):
    """What recvmsg() says of the first datagram: payload, source and fields by the names that packets have."""
    data, controls, flags, source = sock.recvmsg(1 << 18, 1024, socket.MSG_PEEK)
    assert not flags & socket.MSG_CTRUNC
    told = {"payload": data, "source": source, "truncated": bool(flags & socket.MSG_TRUNC)}
    port = sock.getsockname()[1]
    for level, kind, value in controls:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            told["interface"], _, address = struct.unpack("i4s4s", value)
            told["destination"] = (socket.inet_ntoa(address), port)
        elif (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            address, told["interface"] = struct.unpack("16si", value)
            told["destination"] = (socket.inet_ntop(SIX, address), port, 0, 0)
        elif (level, kind) in ((socket.IPPROTO_IP, socket.IP_TOS), (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)):
            told["ecn"], told["dscp"] = value[0] & 3, value[0] >> 2
        elif (level, kind) in ((socket.IPPROTO_IP, socket.IP_TTL), (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)):
            told["ttl"] = struct.unpack("i", value)[0]
        elif (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("qq", value)
            told["time"] = seconds * 10**9 + nanoseconds
        elif (level, kind) == (SOL_UDP, UDP_GRO):
            told["segment"] = struct.unpack("i", value)[0]
    return told


@contextlib.contextmanager
def bound(way):
    """A socket that has everything told, and one that sends to it; and the address to send to."""
    family, host, target, sending = WAYS[way]
    with socket.socket(family, socket.SOCK_DGRAM) as sock, socket.socket(sending, socket.SOCK_DGRAM) as sender:
        sock.settimeout(10)
        for level, option in OPTIONS[family]:
            sock.setsockopt(level, option, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
        if family == SIX:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, 0))
        sender.bind(("::1" if sending == SIX else HOST, 0))
        yield sock, sender, (target, sock.getsockname()[1])


def mark(sender, service, hops):
    if sender.family == FOUR:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, service)
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
    else:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, service)
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)


@pytest.mark.parametrize(("service", "hops"), [(0, 64), (1, 1), (0xB8 | 2, 255), (0xFF, 17)])
@pytest.mark.parametrize("way", WAYS)
async def test_fields_are_what_recvmsg_says(loop, way, service, hops):
    with bound(way) as (sock, sender, target):
        mark(sender, service, hops)
        before = time.time_ns()
        sender.sendto(b"what is known of this", target)
        plain = told_plainly(sock)
        assert {"source", "destination", "interface", "ecn", "dscp", "ttl", "time"} <= plain.keys()
        async with packets(sock=sock, fields=EVERYTHING) as protocol:
            await protocol.until_packets(1)
            (packet,) = protocol.packets
            assert {name: getattr(packet, name) for name in plain} == plain
            assert (packet.ecn, packet.dscp, packet.ttl) == (service & 3, service >> 2, hops)
            assert packet.interface == socket.if_nametoindex("lo")
            assert before <= packet.time <= time.time_ns()
            assert packet.hardware_time is None


@pytest.mark.parametrize("way", WAYS)
async def test_coalesced_datagrams_have_the_fields_of_all(loop, way):
    data = b"".join(bytes([number]) * 1000 for number in range(20)) + b"the last one"
    with bound(way) as (sock, sender, target):
        mark(sender, 0x2A, 33)
        send_coalesced(sender, data, 1000, target)
        plain = told_plainly(sock)
        assert plain.pop("payload") == data
        assert plain.pop("segment") == 1000
        async with packets(sock=sock, fields=EVERYTHING) as protocol:
            assert await protocol.until_packets(21) == [data[at : at + 1000] for at in range(0, len(data), 1000)]
            assert len(protocol.batches) == 1
            for packet in protocol.packets:
                assert {name: getattr(packet, name) for name in plain} == plain


@pytest.mark.parametrize("way", ["IPv4", "IPv6"])
async def test_what_is_not_asked_for_is_not_told(loop, way):
    family, host, target, _ = WAYS[way]
    async with packets(local_addr=(host, 0)) as protocol:
        with udp(host, family) as sender:
            sender.sendto(b"x", (target, protocol.transport.get_extra_info("sockname")[1]))
            await protocol.until_packets(1)
            (packet,) = protocol.packets
            assert packet.source == sender.getsockname()
    names = ("destination", "ecn", "dscp", "ttl", "time", "hardware_time")
    assert [getattr(packet, name) for name in names] == [None] * 6
    assert packet.interface == 0
    assert not packet.truncated


@pytest.mark.parametrize("field", EVERYTHING)
async def test_one_field_alone(loop, field):
    shown = {"destination": ["destination", "interface"], "tos": ["ecn", "dscp"], "ttl": ["ttl"], "time": ["time"]}
    async with packets(local_addr=(HOST, 0), fields=[field]) as protocol:
        with udp() as sender:
            sender.sendto(b"x", protocol.transport.get_extra_info("sockname"))
            await protocol.until_packets(1)
    (packet,) = protocol.packets
    for names in shown.values():
        for name in names:
            missing = 0 if name == "interface" else None
            assert (getattr(packet, name) == missing) == (names is not shown[field]), name


async def test_a_unix_datagram_has_a_source_and_no_more(loop, tmp_path):
    path = str(tmp_path / "receiver")
    async with packets(local_addr=path, family=socket.AF_UNIX) as protocol:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(path)
            sender.send(b"nameless")
            sender.close()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.bind(str(tmp_path / "sender"))
            sender.sendto(b"named", path)
            await protocol.until_packets(2)
    assert [(packet.payload, packet.source) for packet in protocol.packets] == [
        (b"nameless", None),
        (b"named", str(tmp_path / "sender")),
    ]
    assert protocol.packets[0].destination is protocol.packets[0].ttl is None


async def test_a_datagram_that_is_too_large_is_cut_and_says_so(loop):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        if near.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 400_000:
            with contextlib.suppress(PermissionError):
                near.setsockopt(socket.SOL_SOCKET, 32, 1 << 20)  # SO_SNDBUFFORCE
        if near.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 700_000:
            far.close()
            pytest.skip("no socket here may send a datagram that is larger than can be received")
        data = bytes(range(256)) * 1200
        near.send(data)
        near.send(b"whole")
        async with packets(sock=far) as protocol:
            await protocol.until_packets(2)
    first, second = protocol.packets
    assert first.truncated
    assert first.payload == data[: 256 * 1024]
    assert (second.payload, second.truncated) == (b"whole", False)
