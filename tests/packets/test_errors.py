"""What becomes of packets that were sent: errors with the destination, path MTU, nothing lost for another's sake."""

from __future__ import annotations

import errno
import socket

import pytest
from loop.helpers import HOST, eventually, name_of, turns

import netloop

from .helpers import LIMIT_6, Packets, packets, received, refused_port, udp

INTERNET = pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, HOST), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"]
)


@INTERNET
@pytest.mark.parametrize("connected", [False, True], ids=["unconnected", "connected"])
async def test_a_refused_packet_says_where_it_was_sent(loop, family, host, connected):
    target = (host, refused_port(host, family))
    place = {"remote_addr": target} if connected else {"local_addr": (host, 0)}
    async with packets(**place) as protocol:
        protocol.transport.send_packets([b"anybody there?"], None if connected else target)
        (error,) = await protocol.until_errors(1)
        assert isinstance(error, netloop.PacketError)
        assert error.errno == errno.ECONNREFUSED
        assert error.destination[:2] == target
        assert error.offender[0] == host
        assert error.mtu is None
        assert f"Connection refused (sent to ('{host}', {target[1]}" in str(error)
        assert not protocol.transport.is_closing()


async def test_errors_of_several_destinations_are_told_apart(loop):
    targets = [(HOST, refused_port()) for _ in range(5)]
    with udp() as sock:
        async with packets(local_addr=(HOST, 0)) as protocol:
            for target in targets:
                protocol.transport.send_packets([b"refused"], target)
                protocol.transport.send_packets([b"wanted"], sock.getsockname())
            await protocol.until_errors(5)
            assert sorted(error.destination for error in protocol.errors) == sorted(targets)
            assert received(sock, 5) == [b"wanted"] * 5


async def test_no_packet_is_lost_for_an_error_of_another_one(loop):
    """Where reading is paused it is a send that meets the error of the one before."""
    target = (HOST, refused_port())
    with udp() as sock:
        async with packets(local_addr=(HOST, 0)) as protocol:
            protocol.transport.pause_reading()
            await turns()
            for number in range(20):
                protocol.transport.send_packets([b"refused"], target)
                protocol.transport.send_packets([b"%d" % number], sock.getsockname())
                await turns()
            assert received(sock, 20) == [b"%d" % number for number in range(20)]
            protocol.transport.resume_reading()
            await protocol.until_errors(20)
            assert {error.destination for error in protocol.errors} == {target}


async def test_a_packet_that_may_not_be_fragmented(loop):
    async with packets(local_addr=("::1", 0), dont_fragment=True) as protocol:
        target = ("::1", refused_port("::1", socket.AF_INET6))
        mtu = protocol.transport.mtu(target)
        if mtu - 48 >= LIMIT_6:
            pytest.skip("every packet fits the loopback here")
        protocol.transport.send_packets([bytes(mtu - 47)], target)
        (error,) = await protocol.until_errors(1)
        assert (error.errno, error.mtu, error.destination, error.offender) == (errno.EMSGSIZE, mtu, target, None)
        assert str(error).endswith(f"the path takes packets of {mtu} bytes")


async def test_sending_from_an_address_that_is_not_here(loop):
    with udp() as sock:
        async with packets(local_addr=("0.0.0.0", 0)) as protocol:
            for payload in (b"a", b"bb"):
                protocol.transport.send_packets([payload], sock.getsockname(), source="192.0.2.1")
            protocol.transport.send_packets([b"c"], sock.getsockname())
            await protocol.until_errors(2)
            assert received(sock, 1) == [b"c"]
            assert {error.destination for error in protocol.errors} == {sock.getsockname()}
            assert protocol.errors[0].errno in (errno.EINVAL, errno.ENETUNREACH, errno.EADDRNOTAVAIL)
            assert len(protocol.errors) == 2


async def test_broadcast_needs_to_be_allowed(loop):
    async with packets(local_addr=("0.0.0.0", 0)) as protocol:
        protocol.transport.send_packets([b"x"], ("255.255.255.255", 9))
        (error,) = await protocol.until_errors(1)
        assert error.errno in (errno.EACCES, errno.ENETUNREACH)


async def test_a_unix_receiver_that_is_gone(loop, tmp_path):
    path = str(tmp_path / "receiver")
    async with packets(family=socket.AF_UNIX) as protocol:
        protocol.transport.send_packets([b"x"], path)
        (error,) = await protocol.until_errors(1)
        assert (error.errno, error.destination) == (errno.ENOENT, path)


async def test_errors_are_told_before_the_end(loop):
    async with packets(local_addr=(HOST, 0), family=socket.AF_INET) as protocol:
        protocol.transport.send_packets([b"x"], ("255.255.255.255", 9))
        protocol.transport.close()
        await protocol.lost
        assert protocol.calls[-2:] == ["error_received", "connection_lost"]


async def test_what_error_received_raises_goes_to_the_exception_handler(loop, exceptions):
    class Raising(Packets):
        def error_received(self, exc):
            super().error_received(exc)
            raise LookupError("in the protocol")

    async with packets(Raising, (HOST, 0)) as protocol:
        protocol.transport.send_packets([b"x"], (HOST, refused_port()))
        await protocol.until_errors(1)
        await turns()
    assert exceptions.take_types() == [LookupError]


async def test_a_receive_goes_on_after_errors(loop):
    async with packets(local_addr=(HOST, 0)) as protocol:
        with udp() as sock:
            for number in range(1, 6):
                protocol.transport.send_packets([b"x"], (HOST, refused_port()))
                await protocol.until_errors(number)
                sock.sendto(b"%d" % number, name_of(protocol))
                await protocol.until_packets(number)
    assert protocol.payloads == [b"1", b"2", b"3", b"4", b"5"]


async def test_a_blocked_endpoint_can_be_closed(loop, tmp_path):
    path = str(tmp_path / "receiver")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        async with packets(family=socket.AF_UNIX) as protocol:
            protocol.transport.send_packets([b"x"] * 1000, path)
            await turns()
            protocol.transport.abort()
            await protocol.lost
    await eventually(lambda: not loop.statistics().in_flight)
