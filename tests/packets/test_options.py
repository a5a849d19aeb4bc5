"""How packet endpoints are made: arguments, sockets, multicast, broadcast, path MTU."""

from __future__ import annotations

import asyncio
import os
import socket
import struct

import pytest
from loop.helpers import HOST, name_of, turns

import netloop

from .helpers import Packets, packets, received, udp

FOUR, SIX, UNIX = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX
GROUPS = pytest.mark.parametrize(
    ("family", "host", "group"), [(FOUR, "0.0.0.0", "239.255.77.7"), (SIX, "::", "ff01::7777")], ids=["IPv4", "IPv6"]
)


def option(protocol, level, name):
    return protocol.transport.get_extra_info("socket").getsockopt(level, name)


async def test_transport_and_protocol(loop):
    transport, protocol = await loop.create_packet_endpoint(Packets, (HOST, 0))
    assert isinstance(transport, netloop.PacketTransport)
    assert isinstance(transport, asyncio.DatagramTransport)
    assert transport.get_protocol() is protocol
    assert protocol.transport is transport
    assert transport.get_extra_info("peername") is None
    assert repr(transport).startswith("<PacketTransport open fd=")
    assert loop.statistics().connections == 1
    transport.close()
    assert transport.is_closing()
    assert await protocol.lost is None


@pytest.mark.parametrize("kind", [netloop.Packet, netloop.PacketTransport])
def test_what_only_an_endpoint_makes(kind):
    with pytest.raises(TypeError, match="is made by"):
        kind()


async def test_a_protocol_need_not_override_anything(loop):
    transport, _ = await loop.create_packet_endpoint(netloop.PacketProtocol, (HOST, 0))
    with udp() as sock:
        sock.sendto(b"x", transport.get_extra_info("sockname"))
        transport.send_packets([b"y"], ("255.255.255.255", 9))
        await asyncio.sleep(0.01)
    transport.close()
    await turns()


async def test_a_socket_of_the_program(loop):
    sock = socket.socket(FOUR, socket.SOCK_DGRAM)
    sock.bind((HOST, 0))
    async with packets(sock=sock) as protocol:
        with udp() as other:
            other.sendto(b"x", name_of(protocol))
            assert await protocol.until_packets(1) == [b"x"]
    assert sock.fileno() == -1


async def test_the_port_can_be_shared(loop):
    async with packets(local_addr=(HOST, 0), reuse_port=True) as first:
        async with packets(local_addr=name_of(first), reuse_port=True) as second:
            assert name_of(first) == name_of(second)
        with pytest.raises(OSError):
            await loop.create_packet_endpoint(Packets, name_of(first))


@pytest.mark.parametrize("name", ["path", "abstract", "bytes"])
async def test_unix_addresses(loop, tmp_path, name):
    path = {"path": str(tmp_path / "s"), "abstract": f"\0netloop-{os.getpid()}", "bytes": os.fsencode(tmp_path / "s")}
    for _ in range(2):  # the second time what the first has left there is removed
        async with (
            packets(local_addr=path[name], family=UNIX) as receiver,
            packets(remote_addr=path[name], family=UNIX) as sender,
        ):
            sender.transport.send_packets([b"x", b"y"])
            assert await receiver.until_packets(2) == [b"x", b"y"]


async def test_names_of_hosts_are_resolved(loop):
    async with packets(local_addr=("localhost", 0), family=FOUR) as receiver:
        async with packets(remote_addr=("localhost", name_of(receiver)[1]), family=FOUR) as sender:
            sender.transport.send_packets([b"x"])
            assert await receiver.until_packets(1) == [b"x"]
        async with packets(local_addr=(HOST, 0)) as sender:
            sender.transport.send_packets([b"y"], ("localhost", name_of(receiver)[1]))
            assert await receiver.until_packets(2) == [b"x", b"y"]


BAD = [
    (TypeError, "fields must be a collection of names, not the str 'tos'", {"fields": "tos"}),
    (ValueError, "fields: 'colour' is not one of destination, tos, ttl, time", {"fields": ["tos", "colour"]}),
    (ValueError, "dont_fragment must be True, False, 'probe' or None, not 'yes'", {"dont_fragment": "yes"}),
    (ValueError, "dont_fragment must be True, False, 'probe' or None, not 1", {"dont_fragment": 1}),
    (TypeError, "2-tuple is expected", {"local_addr": "127.0.0.1"}),
    (ValueError, "unexpected address family", {"local_addr": None}),
    (ValueError, "can not get address information", {"remote_addr": ("::1", 9)}),
    (ValueError, "fields: a UNIX socket has no such thing", {"local_addr": None, "family": UNIX, "fields": ["tos"]}),
    (ValueError, "dont_fragment: a UNIX socket", {"local_addr": None, "family": UNIX, "dont_fragment": True}),
    (TypeError, "local_addr must be a str, bytes or os.PathLike", {"local_addr": (HOST, 1), "family": UNIX}),
    (TypeError, "unexpected keyword argument 'colour'", {"colour": 1}),
]


@pytest.mark.parametrize(("error", "message", "options"), BAD)
async def test_bad_arguments_are_named(loop, error, message, options):
    with pytest.raises(error, match=message):
        await loop.create_packet_endpoint(Packets, **{"local_addr": (HOST, 0), **options})


SOCKETS = [
    ("A datagram socket was expected", FOUR, socket.SOCK_STREAM, None),
    ("socket modifier keyword arguments can not be used", FOUR, socket.SOCK_DGRAM, (HOST, 0)),
    ("for sockets of IPv4, IPv6 or UNIX", socket.AF_NETLINK, socket.SOCK_DGRAM, None),
]


@pytest.mark.parametrize(("message", "family", "kind", "local_addr"), SOCKETS)
async def test_sockets_that_will_not_do(loop, message, family, kind, local_addr):
    with socket.socket(family, kind) as sock, pytest.raises(ValueError, match=message):
        await loop.create_packet_endpoint(Packets, local_addr, sock=sock)


async def test_a_factory_that_fails_leaves_nothing(loop):
    def factory():
        raise LookupError("no protocol")

    with pytest.raises(LookupError):
        await loop.create_packet_endpoint(factory, (HOST, 0))


async def test_cancelled_while_it_is_made(loop):
    for steps in range(6):
        task = loop.create_task(loop.create_packet_endpoint(Packets, ("localhost", 0)))
        await turns(steps)
        task.cancel()
        try:
            transport, _ = await task
            transport.abort()
        except asyncio.CancelledError:
            pass
        await turns()
    assert loop.statistics().connections == 0


def test_a_loop_that_is_closed(new_loop):
    loop = new_loop()
    loop.close()
    coroutine = loop.create_packet_endpoint(Packets, (HOST, 0))
    with pytest.raises(RuntimeError, match="closed"):
        coroutine.send(None)


# Paths ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "four"), [(True, 2), ("probe", 3), (False, 0)])
async def test_dont_fragment(loop, value, four):
    async with packets(local_addr=(HOST, 0), dont_fragment=value) as protocol:
        assert option(protocol, socket.IPPROTO_IP, 10) == four  # IP_MTU_DISCOVER
    async with packets(local_addr=("::", 0), dont_fragment=value) as protocol:
        assert option(protocol, socket.IPPROTO_IPV6, 23) == four  # IPV6_MTU_DISCOVER
        assert option(protocol, socket.IPPROTO_IP, 10) == four


async def test_the_mtu_of_a_path(loop):
    with open("/sys/class/net/lo/mtu") as file:
        loopback = int(file.read())
    async with packets(local_addr=(HOST, 0)) as protocol:
        mtu = protocol.transport.mtu((HOST, 9))
        assert mtu == min(loopback, 65_535)
        with pytest.raises(ValueError, match="addr is needed"):
            protocol.transport.mtu()
        with pytest.raises(TypeError, match="addr: "):
            protocol.transport.mtu("127.0.0.1")
    for remote in ((HOST, 9), ("::1", 9)):
        async with packets(remote_addr=remote) as protocol:
            assert protocol.transport.mtu() == protocol.transport.mtu(protocol.transport.get_extra_info("peername"))
            assert protocol.transport.mtu() in (loopback, 65_535)
    async with packets(local_addr=("::", 0)) as protocol:
        assert protocol.transport.mtu(("::ffff:127.0.0.1", 9)) == mtu
    async with packets(family=UNIX) as protocol:
        with pytest.raises(ValueError, match="a UNIX socket has no path"):
            protocol.transport.mtu("/tmp")
    with pytest.raises(OSError, match="the endpoint is closed"):
        protocol.transport.mtu()


# Groups --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_name", [True, False])
async def test_joining_and_leaving_a_group(loop, by_name):
    family, host, group = FOUR, "0.0.0.0", "239.255.77.7"
    interface = "lo" if by_name else socket.if_nametoindex("lo")
    async with packets(local_addr=(host, 0), fields=["destination"]) as protocol:
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(HOST))
            target = (group, name_of(protocol)[1])
            protocol.transport.join(group, interface)
            sender.sendto(b"joined", target)
            await protocol.until_packets(1)
            (packet,) = protocol.packets
            assert packet.destination[:2] == target
            assert packet.interface == socket.if_nametoindex("lo")
            with pytest.raises(OSError):
                protocol.transport.join(group, interface)
            protocol.transport.leave(group, interface)
            sender.sendto(b"left", target)
            protocol.transport.join(group, interface)
            sender.sendto(b"joined again", target)
            await protocol.until_packets(2)
    assert protocol.payloads == [b"joined", b"joined again"]


@GROUPS
async def test_bad_groups(loop, family, host, group):
    async with packets(local_addr=(host, 0)) as protocol:
        for error, message, arguments in (
            (TypeError, "group must be a str, not int", (5,)),
            (ValueError, "group: '10.0.0.1' is not a multicast address of the socket's family", ("10.0.0.1",)),
            (ValueError, "group: '::1' is not a multicast address", ("::1",)),
            (ValueError, "group: 'nowhere' is not a multicast address", ("nowhere",)),
            (OSError, "interface: there is no interface 'no-such-thing'", (group, "no-such-thing")),
            (TypeError, "interface must be an interface's name or index, not float", (group, 1.5)),
            (ValueError, "interface: -1 is not the index of an interface", (group, -1)),
            (OSError, "No such device", (group, 99_999)),
        ):
            with pytest.raises(error, match=message):
                protocol.transport.join(*arguments)
        with pytest.raises(OSError):
            protocol.transport.leave(group, "lo")


async def test_broadcast(loop):
    async with packets(local_addr=("0.0.0.0", 0), allow_broadcast=True, fields=["destination"]) as protocol:
        target = ("127.255.255.255", name_of(protocol)[1])
        protocol.transport.send_packets([b"x", b"y"], target)
        assert await protocol.until_packets(2) == [b"x", b"y"]
        assert [packet.destination for packet in protocol.packets] == [target] * 2
        assert not protocol.errors


async def test_a_broadcast_address_as_the_peer(loop):
    with socket.socket(FOUR, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(10)
        receiver.bind(("0.0.0.0", 0))
        target = ("127.255.255.255", receiver.getsockname()[1])
        async with packets(remote_addr=target, allow_broadcast=True) as protocol:
            protocol.transport.send_packets([b"x"])
            with pytest.raises(ValueError, match="addr must be None or"):
                protocol.transport.send_packets([b"x"], (HOST, 9))
            await turns()
            assert received(receiver, 1) == [b"x"]


async def test_dual_stack(loop):
    async with packets(local_addr=("::", 0), fields=["destination"]) as protocol:
        port = name_of(protocol)[1]
        for family, host, seen in ((FOUR, HOST, "::ffff:127.0.0.1"), (SIX, "::1", "::1")):
            with udp(host, family) as sock:
                sock.sendto(b"x", (host, port))
                await protocol.until_packets(1)
                (packet,) = protocol.packets
                protocol.batches.clear()
                assert packet.source[0] == packet.destination[0] == seen
                protocol.transport.send_packets([b"a", b"b"], packet.source, source=packet.destination[0])
                await turns()
                assert received(sock, 2) == [b"a", b"b"]
                if family == FOUR:
                    protocol.transport.send_packets([b"c"], packet.source, source=HOST)
                    await turns()
                    assert received(sock, 1) == [b"c"]


async def test_transmit_times_on_a_clock_of_the_programs_choice(loop):
    """SO_TXTIME is left as the program has set it."""
    sock = socket.socket(FOUR, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, 61, struct.pack("iI", 11, 0))  # SO_TXTIME with CLOCK_TAI
    except PermissionError:
        sock.close()
        pytest.skip("only root may choose CLOCK_TAI")
    sock.bind((HOST, 0))
    async with packets(sock=sock) as protocol, packets(local_addr=(HOST, 0)) as receiver:
        protocol.transport.send_packets([b"x"], name_of(receiver), at=1)
        await receiver.until_packets(1)
        assert struct.unpack("iI", sock.getsockopt(socket.SOL_SOCKET, 61, 8)) == (11, 0)
