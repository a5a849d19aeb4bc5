"""send_packets(): what arrives, in which order and how it was sent; flow control; bad arguments."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time

import pytest
from loop.helpers import HOST, name_of, pattern, turns

from .helpers import (
    LIMIT_4,
    LIMIT_6,
    SO_NO_CHECK,
    SOL_UDP,
    UDP_GRO,
    Packets,
    packets,
    received,
    udp,
)

INTERNET = pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, HOST), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"]
)
ROOM = 1 << 22


@INTERNET
@pytest.mark.parametrize("connected", [False, True], ids=["unconnected", "connected"])
async def test_packets_arrive_in_order(loop, family, host, connected):
    chance = random.Random(7)
    sizes = [1200] * 80 + [chance.choice([0, 1, 100, 1200, 9000]) for _ in range(100)] + [64] * 300 + [65_000] * 3
    data = [chance.randbytes(size) for size in sizes]
    with udp(host, family, ROOM) as sock:
        place = {"remote_addr": sock.getsockname()[:2]} if connected else {"local_addr": (host, 0)}
        async with packets(**place) as protocol:
            protocol.transport.send_packets(data, None if connected else sock.getsockname())
            protocol.transport.send_packets(tuple(data[:5]), sock.getsockname() if not connected else None)
            await turns()
            assert received(sock, len(data) + 5) == data + data[:5]
            assert not protocol.errors
    assert loop.statistics().packets_sent == len(data) + 5


@INTERNET
async def test_one_payload_is_cut_into_packets(loop, family, host):
    data = pattern(200_001)
    with udp(host, family, ROOM) as sock:
        async with packets(local_addr=(host, 0)) as protocol:
            protocol.transport.send_packets(data, sock.getsockname(), segment_size=1337)
            protocol.transport.send_packets(memoryview(data)[:10], sock.getsockname(), segment_size=100)
            protocol.transport.send_packets(b"", sock.getsockname(), segment_size=100)
            await turns()
            expected = [data[at : at + 1337] for at in range(0, len(data), 1337)]
            assert received(sock, len(expected) + 1) == [*expected, data[:10]]


async def test_packets_of_one_size_leave_together(loop):
    """The kernel delivers to a receiver that coalesces what it was given at once."""
    with udp(room=ROOM) as sock:
        sock.setsockopt(SOL_UDP, UDP_GRO, 1)
        async with packets(local_addr=(HOST, 0)) as protocol:
            address = sock.getsockname()
            protocol.transport.send_packets([b"a" * 1000] * 10 + [b"b" * 10] + [b"c" * 20] * 2, address)
            protocol.transport.send_packets([b"c" * 20] * 3 + [b"d" * 30], address)
            await turns()
            parts = [(len(data), size_of(controls)) for data, controls, _, _ in (receive(sock) for _ in range(3))]
    assert parts == [(10_010, 1000), (100, 20), (30, None)]


def receive(sock):
    return sock.recvmsg(1 << 17, 100)


def size_of(controls):
    return next((struct.unpack("i", value)[0] for _, kind, value in controls if kind == UDP_GRO), None)


async def test_more_packets_than_the_kernel_takes_at_once(loop):
    with udp(room=ROOM) as sock:
        async with packets(local_addr=(HOST, 0)) as protocol:
            data = [struct.pack("I", number) for number in range(1000)]
            enters = loop.statistics().enters
            protocol.transport.send_packets(data, sock.getsockname())
            assert loop.statistics().enters - enters < 20
            assert received(sock, 1000) == data


async def test_what_is_sent_one_by_one_leaves_together_too(loop):
    with udp(room=ROOM) as sock:
        async with packets(local_addr=(HOST, 0)) as protocol:
            data = [struct.pack("I", number) for number in range(500)]
            submissions = loop.statistics().submissions
            for payload in data:
                protocol.transport.sendto(payload, sock.getsockname())
            await turns()
            assert received(sock, 500) == data
            assert loop.statistics().submissions - submissions < 50


async def test_several_destinations(loop):
    with udp() as first, udp() as second:
        async with packets(local_addr=(HOST, 0)) as protocol:
            for number in range(50):
                for sock in (first, second):
                    protocol.transport.send_packets([b"%d" % number, b"x"], sock.getsockname())
            await turns()
            expected = [part for number in range(50) for part in (b"%d" % number, b"x")]
            assert received(first, 100) == received(second, 100) == expected


async def test_what_the_caller_changes_afterwards_is_not_sent(loop):
    with udp() as sock:
        async with packets(local_addr=(HOST, 0)) as protocol:
            data, together = bytearray(b"before"), [b"1", b"2"]
            protocol.transport.send_packets([data, memoryview(data)], sock.getsockname())
            protocol.transport.send_packets(together, sock.getsockname())
            protocol.transport.send_packets(data, sock.getsockname(), segment_size=3)
            data[:] = b"after!"
            together.clear()
            await turns()
            assert received(sock, 6) == [b"before", b"before", b"1", b"2", b"bef", b"ore"]


async def test_unix_datagrams(loop, tmp_path):
    path = str(tmp_path / "receiver")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(10)
        async with packets(family=socket.AF_UNIX) as protocol:
            data = [pattern(size) for size in (5, 0, 70_000, 5, 5)]
            protocol.transport.send_packets(data, path)
            await turns()
            assert received(sock, 5) == data
            protocol.transport.send_packets(b"abcde", path, segment_size=2)
            await turns()
            assert received(sock, 3) == [b"ab", b"cd", b"e"]


async def test_unix_datagrams_wait_for_their_receiver(loop, tmp_path):
    path = str(tmp_path / "receiver")
    data = [b"%d" % number for number in range(2000)]
    async with packets(family=socket.AF_UNIX) as sender:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(path)
            sock.setblocking(False)
            sender.transport.send_packets(data, path)
            assert sender.calls[-1] == "pause_writing"
            got = []
            while len(got) < len(data):
                try:
                    got.append(sock.recv(100))
                except BlockingIOError:
                    await asyncio.sleep(0.001)
            assert got == data
            await sender.until_called("resume_writing")
            assert not sender.errors


async def test_it_is_sent_from_where_it_is_told(loop):
    with udp() as sock:
        async with packets(local_addr=("0.0.0.0", 0)) as protocol:
            for source in ("127.0.0.5", ("127.0.0.6", "lo"), ("127.0.0.7", socket.if_nametoindex("lo"))):
                protocol.transport.send_packets([b"x", b"y"], sock.getsockname(), source=source)
                await turns()
                host = source if isinstance(source, str) else source[0]
                assert [sock.recvfrom(9)[1][0] for _ in range(2)] == [host] * 2


async def test_a_wildcard_server_answers_from_where_it_was_asked(loop):
    class Answering(Packets):
        def packets_received(self, batch):
            for packet in batch:
                source = (packet.destination[0], packet.interface)
                self.transport.send_packets([packet.payload.upper()], packet.source, source=source)

    for family, local, asked in (
        (socket.AF_INET, "0.0.0.0", "127.0.0.77"),
        (socket.AF_INET6, "::", "::1"),
    ):
        async with packets(Answering, (local, 0), fields=["destination"]) as server:
            port = name_of(server)[1]
            with udp(HOST if family == socket.AF_INET else "::1", family) as client:
                client.connect((asked, port))
                client.send(b"where")
                await turns()
                assert client.recv(10) == b"WHERE"


@pytest.mark.parametrize("host", [HOST, "::1", "::ffff:127.0.0.1"])
async def test_ecn_beside_the_code_point_of_the_socket(loop, host):
    local = ("::", 0) if ":" in host else (HOST, 0)
    async with packets(local_addr=local, fields=["tos"]) as receiver, packets(local_addr=local) as sender:
        sock = sender.transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x28)
        if ":" in host:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0x28)
        for ecn in range(4):
            sender.transport.send_packets([b"x"] * 3, (host, name_of(receiver)[1]), ecn=ecn)
            await receiver.until_packets(3 * (ecn + 1))
    told = [(packet.ecn, packet.dscp) for packet in receiver.packets]
    assert told == [(ecn, 0x28 >> 2) for ecn in range(4) for _ in range(3)]


async def test_ecn_and_source_and_time_go_together(loop):
    with udp() as sock:
        sock.setsockopt(socket.IPPROTO_IP, 13, 1)  # IP_RECVTOS
        async with packets(local_addr=("0.0.0.0", 0)) as protocol:
            at = time.monotonic_ns() + 1_000_000
            protocol.transport.send_packets([b"x"] * 2, sock.getsockname(), source="127.0.0.9", ecn=2, at=at)
            await turns()
            for _ in range(2):
                data, controls, _, source = sock.recvmsg(10, 100)
                assert (data, source[0], controls[0][2][0] & 3) == (b"x", "127.0.0.9", 2)
            assert not protocol.errors


# Where segmentation is refused ---------------------------------------------------------------------------------------


async def test_a_route_that_refuses_segmentation_has_packets_one_by_one(loop):
    """The kernel segments nothing without checksums."""
    data = [struct.pack("I", number) * 10 for number in range(200)]
    with udp(room=ROOM) as sock, udp() as out:
        own = out.dup()
        own.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
        async with packets(sock=own) as protocol:
            for times in range(1, 4):
                protocol.transport.send_packets(data, sock.getsockname())
                await turns()
                assert received(sock, 200) == data
                assert loop.statistics().segmentation_refused == 1
                assert loop.statistics().packets_sent == 200 * times
            assert not protocol.errors
            protocol.transport.send_packets([b"a"] * 9, sock.getsockname())
            await turns()
            assert received(sock, 9) == [b"a"] * 9
            assert loop.statistics().segmentation_refused == 1


# Flow control --------------------------------------------------------------------------------------------------------


@pytest.fixture
def narrow(tmp_path):
    """A socket that is connected to one that nobody reads, and that has little room."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    far.setblocking(False)
    with far:
        yield near, far


async def drain(loop, far):
    count = 0
    while True:
        try:
            far.recv(1 << 16)
            count += 1
        except BlockingIOError:
            return count


@pytest.mark.parametrize(
    ("limits", "payload", "count"),
    [({"high": 20_000, "low": 10_000}, bytes(1000), 40), ({"packets": 20}, b"", 40)],
    ids=["bytes", "packets"],
)
async def test_flow_control(loop, narrow, limits, payload, count):
    near, far = narrow
    async with packets(sock=near) as protocol:
        protocol.transport.set_write_buffer_limits(**limits)
        sent = 0
        while "pause_writing" not in protocol.calls:
            protocol.transport.send_packets([payload], None)
            sent += 1
            await asyncio.sleep(0)
            assert sent < 1000
        if payload:
            assert protocol.transport.get_write_buffer_size() > 20_000
            assert protocol.transport.get_write_buffer_limits() == (10_000, 20_000)
        assert "resume_writing" not in protocol.calls
        got = 0
        while "resume_writing" not in protocol.calls:
            got += await drain(loop, far)
            await asyncio.sleep(0.001)
        while got < sent:
            got += await drain(loop, far)
            await asyncio.sleep(0.001)
        assert protocol.transport.get_write_buffer_size() == 0
        assert protocol.calls.count("pause_writing") == protocol.calls.count("resume_writing") == 1


async def test_close_sends_what_waits(loop, narrow):
    near, far = narrow
    async with packets(sock=near) as protocol:
        protocol.transport.send_packets([b"%d" % number for number in range(300)], None)
        protocol.transport.close()
        protocol.transport.send_packets([b"too late"], None)
        got = 0
        while got < 300:
            got += await drain(loop, far)
            await asyncio.sleep(0.001)
        assert await protocol.lost is None


async def test_abort_sends_nothing_that_waits(loop, narrow):
    near, far = narrow
    async with packets(sock=near) as protocol:
        protocol.transport.send_packets([b"%d" % number for number in range(300)], None)
        protocol.transport.abort()
        await protocol.lost
        assert await drain(loop, far) < 300


def test_sent_though_the_loop_does_not_run(loop):
    with udp() as sock:
        transport, _ = loop.run_until_complete(loop.create_packet_endpoint(Packets, (HOST, 0)))
        transport.send_packets([b"1", b"2"], sock.getsockname())
        assert received(sock, 2) == [b"1", b"2"]
        transport.abort()
        loop.run_until_complete(asyncio.sleep(0))


# Bad arguments -------------------------------------------------------------------------------------------------------

BAD = [
    (TypeError, "payloads must be a sequence of bytes-like objects, not bytes", (b"x",), {}),
    (TypeError, "payloads must be a sequence of bytes-like objects, not int", (5,), {}),
    (TypeError, "payloads must be a sequence of bytes-like objects, not str", ("x",), {}),
    (TypeError, r"payloads\[1\] must be a bytes-like object, not str", ([b"x", "y"],), {}),
    (TypeError, r"payloads\[1\] must be a bytes-like object, not int", ([b"x", 7],), {}),
    (ValueError, rf"payloads\[1\] has 65508 bytes; .* has {LIMIT_4} at most", ([b"", bytes(65508)],), {}),
    (TypeError, "payloads must be one bytes-like object where .* not list", ([b"x"],), {"segment_size": 1}),
    (TypeError, "payloads must be a bytes-like object, not str", ("x",), {"segment_size": 1}),
    (TypeError, "segment_size must be an int, not str", (b"x",), {"segment_size": "1"}),
    (ValueError, "segment_size must be at least 1, not 0", (b"x",), {"segment_size": 0}),
    (ValueError, "segment_size must be from 0 to 65507, not -1", (b"x",), {"segment_size": -1}),
    (ValueError, "segment_size must be from 0 to 65507, not 65508", (b"x",), {"segment_size": 65508}),
    (ValueError, "ecn must be from 0 to 3, not 4", ([b"x"],), {"ecn": 4}),
    (TypeError, "ecn must be an int, not float", ([b"x"],), {"ecn": 1.0}),
    (ValueError, "at must be from 0 to 9223372036854775807, not -1", ([b"x"],), {"at": -1}),
    (TypeError, "source must be a host or a pair", ([b"x"],), {"source": 5}),
    (ValueError, "source must be a host or a pair", ([b"x"],), {"source": ("127.0.0.1", 1, 2)}),
    (ValueError, "source: 'nowhere' is not an address of IPv4", ([b"x"],), {"source": "nowhere"}),
    (ValueError, "source: '::1' is not an address of IPv4", ([b"x"],), {"source": "::1"}),
    (TypeError, "source must be an interface's name or index, not float", ([b"x"],), {"source": ("127.0.0.1", 1.5)}),
    (TypeError, "source must be an interface's name or index, not list", ([b"x"],), {"source": ("127.0.0.1", [1])}),
    (OSError, "source: there is no interface 'no-such-thing'", ([b"x"],), {"source": ("127.0.0.1", "no-such-thing")}),
    (ValueError, "addr is needed: the endpoint is not connected", ([b"x"], None), {}),
    (TypeError, "addr: .*AF_INET address must be tuple, not str", ([b"x"], "127.0.0.1"), {}),
    (ValueError, "addr: .*port must be 0-65535", ([b"x"], ("127.0.0.1", 65536)), {}),
    (TypeError, "addr: .*AF_INET address must be a pair", ([b"x"], ("127.0.0.1",)), {}),
]  # fmt: skip


@pytest.mark.parametrize(("error", "message", "arguments", "options"), BAD)
async def test_bad_arguments_are_named_and_nothing_is_sent(loop, error, message, arguments, options):
    with udp() as sock:
        async with packets(local_addr=(HOST, 0)) as protocol:
            if len(arguments) == 1:
                arguments = (*arguments, sock.getsockname())
            with pytest.raises(error, match=message):
                protocol.transport.send_packets(*arguments, **options)
            protocol.transport.send_packets([b"good"], sock.getsockname())
            await turns()
            assert received(sock, 1) == [b"good"]
            assert loop.statistics().packets_sent == 1


async def test_the_largest_packets(loop):
    for family, host, limit in ((socket.AF_INET, HOST, LIMIT_4), (socket.AF_INET6, "::1", LIMIT_6)):
        with udp(host, family, ROOM) as sock:
            async with packets(local_addr=(host, 0)) as protocol:
                protocol.transport.send_packets([bytes(limit)] * 2, sock.getsockname())
                await turns()
                assert list(map(len, received(sock, 2))) == [limit] * 2
                with pytest.raises(ValueError, match=f"has {limit} at most"):
                    protocol.transport.send_packets([bytes(limit + 1)], sock.getsockname())
    async with packets(local_addr=("::", 0)) as protocol:
        with pytest.raises(ValueError, match=f"has {LIMIT_4} at most"):
            protocol.transport.send_packets([bytes(LIMIT_4 + 1)], ("::ffff:127.0.0.1", 9))


async def test_a_connected_endpoint_sends_to_its_peer_only(loop):
    with udp() as sock:
        async with packets(remote_addr=sock.getsockname()) as protocol:
            protocol.transport.send_packets([b"x"], sock.getsockname())
            with pytest.raises(ValueError, match="addr must be None or"):
                protocol.transport.send_packets([b"x"], (HOST, 9))
            await turns()
            assert received(sock, 1) == [b"x"]


@pytest.mark.parametrize("options", [{"source": HOST}, {"ecn": 1}, {"at": 1}])
async def test_unix_sockets_have_none_of_it(loop, narrow, options):
    async with packets(sock=narrow[0]) as protocol:
        with pytest.raises(ValueError, match=f"{next(iter(options))}: a UNIX socket has no such thing"):
            protocol.transport.send_packets([b"x"], None, **options)
