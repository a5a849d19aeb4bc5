"""create_datagram_endpoint: UDP over IPv4 and IPv6, UNIX datagrams, errors, flow control, closing."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import gc
import os
import socket
import sys
from pathlib import Path

import pytest

from .helpers import HOST, Datagrams, endpoint, eventually, name_of, pattern, turns

LARGEST_UDP = 65_507  # what fits into an IPv4 packet
QUEUE_LENGTH = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())  # UNIX datagrams that wait at a receiver
LARGEST_BUFFERED = 256 * 1024  # what asyncio receives at most

INTERNET = pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, HOST), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"]
)


class Echo(Datagrams):
    """Sends each datagram back to its sender."""

    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        self.transport.sendto(data, addr)


@contextlib.asynccontextmanager
async def pair(client=Datagrams, server=Datagrams, host=HOST):
    """A client connected to a server that is not."""
    async with (
        endpoint(server, local_addr=(host, 0)) as far,
        endpoint(client, remote_addr=name_of(far)[:2]) as near,
    ):
        yield near, far


@contextlib.contextmanager
def udp(host=HOST, family=socket.AF_INET):
    """A plain socket, bound and blocking."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.bind((host, 0))
        yield sock


@contextlib.contextmanager
def unix_pair(room=8192):
    """Two UNIX sockets, the first connected to the second, with little room for what it sends; the second blocks."""
    near, far = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    with near, far:
        far.bind("")  # an abstract name of the kernel's choice
        near.connect(far.getsockname())
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
        near.setblocking(False)
        far.settimeout(10)
        yield near, far


def read_all(sock, count):
    return [sock.recv(LARGEST_BUFFERED) for _ in range(count)]


def refused_port():
    """A UDP port where nobody is."""
    with udp() as sock:
        return sock.getsockname()[1]


# Sending and receiving ----------------------------------------------------------------------------------------------


@INTERNET
async def test_echo_to_a_connected_endpoint(loop, family, host):
    async with pair(server=Echo, host=host) as (client, server):
        client.transport.sendto(b"hello")
        await client.until_datagrams(1)
        assert client.received == [(b"hello", name_of(server))]
        assert server.received == [(b"hello", name_of(client))]


@INTERNET
async def test_echo_to_an_unconnected_endpoint(loop, family, host):
    async with endpoint(Echo, local_addr=(host, 0)) as server, endpoint(family=family) as client:
        client.transport.sendto(b"hello", name_of(server))
        await client.until_datagrams(1)
        assert client.received == [(b"hello", name_of(server))]
        assert client.transport.get_extra_info("peername") is None


async def test_many_senders_are_told_apart(loop):
    async with endpoint(Echo, local_addr=(HOST, 0)) as server:
        with contextlib.ExitStack() as stack:
            senders = [stack.enter_context(udp()) for _ in range(20)]
            for times in range(3):
                for number, sender in enumerate(senders):
                    sender.sendto(b"%d" % number, name_of(server))
                await server.until_datagrams((times + 1) * 20)
            await turns()
            for number, sender in enumerate(senders):
                assert read_all(sender, 3) == [b"%d" % number] * 3
        assert len({addr for _, addr in server.received}) == 20


async def test_more_senders_than_are_remembered(loop):
    with contextlib.ExitStack() as stack:
        senders = [stack.enter_context(udp()) for _ in range(1400)]
        async with endpoint(Echo, local_addr=(HOST, 0)) as server:
            for times in range(2):
                for number, sender in enumerate(senders):
                    sender.sendto(b"%d" % number, name_of(server))
                    if number % 50 == 49:  # no more than fit into the socket
                        await server.until_datagrams(times * len(senders) + number + 1)
            expected = [(b"%d" % number, sender.getsockname()) for number, sender in enumerate(senders)]
            assert server.received == expected * 2
            await turns()
            for number, sender in enumerate(senders):
                assert read_all(sender, 2) == [b"%d" % number] * 2


async def test_a_reply_comes_from_the_address_in_full(loop):
    async with endpoint(Echo, local_addr=("::1", 0)) as server, endpoint(family=socket.AF_INET6) as client:
        client.transport.sendto(b"hello", name_of(server)[:2])
        await client.until_datagrams(1)
        assert client.received == [(b"hello", name_of(server))]


async def test_a_reply_from_a_host_by_name_comes_from_its_number(loop):
    async with endpoint(Echo, local_addr=(HOST, 0)) as server, endpoint(family=socket.AF_INET) as client:
        client.transport.sendto(b"hello", ("localhost", name_of(server)[1]))
        await client.until_datagrams(1)
        assert client.received == [(b"hello", name_of(server))]


async def test_replies_long_after_to_addresses_that_were_received(loop):
    async with endpoint(local_addr=(HOST, 0)) as server:
        with udp() as one, udp() as other:
            one.sendto(b"from one", name_of(server))
            other.sendto(b"from the other", name_of(server))
            await server.until_datagrams(2)
            for data, addr in sorted(server.received, reverse=True) * 2:
                server.transport.sendto(data, addr)
            await turns()
            assert read_all(one, 2) == [b"from one"] * 2
            assert read_all(other, 2) == [b"from the other"] * 2


@pytest.mark.parametrize("size", [1, 1472, 1473, 9000, LARGEST_UDP])
async def test_sizes(loop, size):
    payload = pattern(size)
    async with pair(server=Echo) as (client, _):
        for count in range(1, 4):
            client.transport.sendto(payload)
            await client.until_datagrams(count)
        assert client.payloads == [payload] * 3


async def test_a_large_ipv6_datagram(loop):
    async with pair(server=Echo, host="::1") as (client, _):
        client.transport.sendto(pattern(65_527))
        assert await client.until_datagrams(1) == [pattern(65_527)]


async def test_a_datagram_too_large_is_an_error_and_the_next_one_goes(loop):
    async with pair(server=Echo) as (client, _):
        client.transport.sendto(bytes(LARGEST_UDP + 1))
        client.transport.sendto(b"fits")
        await client.until_called("error_received")
        assert await client.until_datagrams(1) == [b"fits"]
        assert [error.errno for error in client.errors] == [errno.EMSGSIZE]


async def test_a_datagram_whose_length_needs_more_than_32_bits(loop):
    async with pair() as (client, server):
        client.transport.sendto(bytes(2**32 + 4))  # memory that is never touched
        client.transport.sendto(b"next")
        assert await server.until_datagrams(1) == [b"next"]
        assert [error.errno for error in client.errors] == [errno.EMSGSIZE]


async def test_empty_datagrams_are_received(loop):
    async with endpoint(local_addr=(HOST, 0)) as server:
        with udp() as sender:
            for payload in (b"", b"one", b"", b"", b"two"):
                sender.sendto(payload, name_of(server))
            await server.until_datagrams(5)
            assert server.received == [(data, sender.getsockname()) for data in (b"", b"one", b"", b"", b"two")]


@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b"")], ids=["bytes", "bytearray", "memoryview"])
async def test_sending_an_empty_datagram(loop, empty):
    """Since Python 3.13 it is sent; before, it is ignored."""
    async with pair() as (client, server):
        client.transport.sendto(empty)
        client.transport.sendto(b"next")
        await server.until(lambda: b"next" in server.payloads)
        assert server.payloads == ([b"", b"next"] if sys.version_info >= (3, 13) else [b"next"])


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_a_buffer_may_be_reused_after_sendto(loop, kind):
    memory = bytearray(b"first")
    async with pair() as (client, server):
        client.transport.sendto(kind(memory))
        memory[:] = b"XXXXX"
        assert await server.until_datagrams(1) == [b"first"]


async def test_ten_thousand_datagrams_arrive_in_order(loop):
    """Sent in windows that the receiver's buffer holds for certain."""
    window = 100
    async with pair() as (client, server):
        for start in range(0, 10_000, window):
            for number in range(start, start + window):
                client.transport.sendto(b"%d" % number)
            await server.until_datagrams(start + window)
        assert server.payloads == [b"%d" % number for number in range(10_000)]


async def test_small_and_large_datagrams_keep_their_order(loop):
    payloads = [pattern(size) for size in (1, 30_000, 2, 50_000, 3, 20_000, 4, 5, 6)]
    async with pair() as (client, server):
        for _ in range(20):
            server.received.clear()
            for payload in payloads:
                client.transport.sendto(payload)
            assert await server.until_datagrams(len(payloads)) == payloads


async def test_datagrams_sent_in_connection_made_go_out(loop):
    class Eager(Datagrams):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.sendto(b"early")

    async with pair(client=Eager, server=Echo) as (client, _):
        assert await client.until_datagrams(1) == [b"early"]


async def test_datagrams_that_wait_in_the_socket_are_received(loop):
    with udp() as sock, udp() as sender:
        sender.sendto(b"before", sock.getsockname())
        sock.setblocking(False)
        async with endpoint(sock=sock) as server:
            assert await server.until_datagrams(1) == [b"before"]


async def test_a_burst_larger_than_the_receive_buffers(loop):
    """As many as the socket holds arrive before the loop looks; each is delivered, in order."""
    async with endpoint(local_addr=(HOST, 0)) as server:
        with udp() as sender:
            for number in range(200):
                sender.sendto(b"%d" % number, name_of(server))
            await server.until_datagrams(200)
        assert server.payloads == [b"%d" % number for number in range(200)]


async def test_a_host_name_is_looked_up(loop):
    async with endpoint(local_addr=(HOST, 0)) as server, endpoint(family=socket.AF_INET) as client:
        client.transport.sendto(b"to a name", ("localhost", name_of(server)[1]))
        assert await server.until_datagrams(1) == [b"to a name"]


# Ways to make an endpoint -------------------------------------------------------------------------------------------


async def test_the_transport_is_a_datagram_transport(loop):
    async with endpoint(local_addr=(HOST, 0)) as server:
        assert isinstance(server.transport, asyncio.DatagramTransport)
        assert isinstance(server.transport, asyncio.BaseTransport)


async def test_extra_info(loop):
    async with pair() as (client, server):
        sock = client.transport.get_extra_info("socket")
        assert sock.type == socket.SOCK_DGRAM
        assert sock.getsockname() == client.transport.get_extra_info("sockname")
        assert client.transport.get_extra_info("peername") == name_of(server)
        assert client.transport.get_extra_info("nothing", "a default") == "a default"
        assert server.transport.get_extra_info("socket").getsockname() == name_of(server)


async def test_broadcast_is_allowed_when_asked_for(loop):
    async with endpoint(local_addr=(HOST, 0), allow_broadcast=True) as server:
        sock = server.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) != 0
    async with endpoint(local_addr=(HOST, 0)) as server:
        sock = server.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) == 0


async def test_broadcast_with_a_remote_address_is_not_connected(loop):
    async with (
        endpoint(local_addr=(HOST, 0)) as server,
        endpoint(remote_addr=name_of(server), allow_broadcast=True) as client,
    ):
        assert client.transport.get_extra_info("peername") is None
        client.transport.sendto(b"one")
        client.transport.sendto(b"two", name_of(server))
        assert await server.until_datagrams(2) == [b"one", b"two"]
        with pytest.raises(ValueError, match="Invalid address: must be None or"):
            client.transport.sendto(b"x", (HOST, 1))


async def test_two_endpoints_share_a_port(loop):
    async with (
        endpoint(local_addr=(HOST, 0), reuse_port=True) as one,
        endpoint(local_addr=name_of(one), reuse_port=True) as other,
    ):
        assert name_of(one) == name_of(other)
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(udp()).sendto(b"x", name_of(one))
            await eventually(lambda: len(one.received) + len(other.received) == 20)


async def test_a_port_in_use(loop):
    async with endpoint(local_addr=(HOST, 0)) as server:
        with pytest.raises(OSError) as caught:
            await loop.create_datagram_endpoint(Datagrams, local_addr=name_of(server))
        assert caught.value.errno == errno.EADDRINUSE


async def test_a_socket_of_the_caller(loop):
    with udp() as sock, udp() as peer:
        sock.setblocking(False)
        async with endpoint(Echo, sock=sock) as server:
            peer.sendto(b"hello", name_of(server))
            await server.until_datagrams(1)
            await turns()
            assert peer.recv(100) == b"hello"


async def test_a_connected_socket_of_the_caller(loop):
    with udp() as sock, udp() as peer:
        sock.connect(peer.getsockname())
        sock.setblocking(False)
        async with endpoint(sock=sock) as client:
            client.transport.sendto(b"hello")
            await turns()
            assert peer.recv(100) == b"hello"
            assert client.transport.get_extra_info("peername") == peer.getsockname()


async def test_a_stream_socket_is_refused(loop):
    with socket.socket() as sock:
        sock.setblocking(False)
        with pytest.raises(ValueError):
            await loop.create_datagram_endpoint(Datagrams, sock=sock)


async def test_a_reader_on_a_transports_descriptor_is_refused(loop):
    async with endpoint(local_addr=(HOST, 0)) as server:
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(server.transport.get_extra_info("socket").fileno(), print)


# UNIX datagrams -----------------------------------------------------------------------------------------------------


async def test_unix_datagrams_between_paths(loop, tmp_path):
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    async with (
        endpoint(Echo, local_addr=there, family=socket.AF_UNIX) as server,
        endpoint(local_addr=here, remote_addr=there, family=socket.AF_UNIX) as client,
    ):
        client.transport.sendto(b"hello")
        await client.until_datagrams(1)
        assert client.received == [(b"hello", there)]
        assert server.received == [(b"hello", here)]
        assert client.transport.get_extra_info("peername") == there


async def test_unix_datagrams_to_a_path(loop, tmp_path):
    path = str(tmp_path / "there")
    async with (
        endpoint(local_addr=path, family=socket.AF_UNIX) as server,
        endpoint(family=socket.AF_UNIX) as client,
    ):
        client.transport.sendto(b"hello", path)
        await server.until_datagrams(1)
        assert server.received == [(b"hello", None)]


async def test_unix_datagrams_in_the_abstract_name_space(loop):
    name = b"\0netloop-test-%d" % os.getpid()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer,
    ):
        sock.bind(name)
        sock.setblocking(False)
        peer.bind(name + b"-peer")
        peer.settimeout(10)
        async with endpoint(Echo, sock=sock) as server:
            peer.sendto(b"hello", name)
            await server.until_datagrams(1)
            await turns()
            assert server.received == [(b"hello", name + b"-peer")]
            assert peer.recv(100) == b"hello"


async def test_a_large_unix_datagram_arrives_whole(loop, tmp_path):
    path = str(tmp_path / "there")
    payload = pattern(150_000)
    async with (
        endpoint(local_addr=path, family=socket.AF_UNIX) as server,
        endpoint(remote_addr=path, family=socket.AF_UNIX) as client,
    ):
        client.transport.sendto(payload)
        assert await server.until_datagrams(1) == [payload]


async def test_a_path_where_nobody_listens(loop, tmp_path):
    path = str(tmp_path / "gone")
    async with endpoint(family=socket.AF_UNIX) as client:
        client.transport.sendto(b"x", path)
        await client.until_called("error_received")
        assert isinstance(client.errors[0], FileNotFoundError)


async def test_a_pair_of_unix_sockets_needs_no_address(loop):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        near.setblocking(False)
        async with endpoint(sock=near) as client:
            client.transport.sendto(b"out")
            await turns()
            assert far.recv(100) == b"out"
            far.send(b"in")
            assert await client.until_datagrams(1) == [b"in"]


# Errors -------------------------------------------------------------------------------------------------------------


async def test_a_refused_datagram_is_an_error_and_the_endpoint_goes_on(loop):
    async with endpoint(remote_addr=(HOST, refused_port())) as client:
        for count in range(1, 4):
            client.transport.sendto(b"anybody there?")
            await client.until(lambda: len(client.errors) >= count)  # noqa: B023
        assert {type(error) for error in client.errors} == {ConnectionRefusedError}
        assert not client.transport.is_closing()


async def test_an_endpoint_receives_after_an_error(loop):
    with udp() as peer:
        async with endpoint(remote_addr=peer.getsockname()) as client:
            own, name = name_of(client), peer.getsockname()
            peer.close()
            client.transport.sendto(b"lost")
            await client.until_called("error_received")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
                again.bind(name)
                again.sendto(b"hello", own)
                assert await client.until_datagrams(1) == [b"hello"]


@pytest.mark.parametrize("data", ["text", None, 5, [1]], ids=["str", "None", "int", "list"])
async def test_types_that_may_not_be_sent(loop, data):
    async with pair() as (client, _):
        with pytest.raises(TypeError, match="data argument must be a bytes-like object, not"):
            client.transport.sendto(data)


@pytest.mark.parametrize("address", [None, "127.0.0.1", ("127.0.0.1",), ("127.0.0.1", "x"), (5, 5), ["127.0.0.1", 5]])
async def test_an_address_that_is_none_ends_the_endpoint(loop, exceptions, address):
    async with endpoint(family=socket.AF_INET) as client:
        client.transport.sendto(b"x", address)
        assert isinstance(await client.lost, TypeError)
        assert exceptions.take_types() == [TypeError]


async def test_a_port_out_of_range_ends_the_endpoint(loop, exceptions):
    async with endpoint(family=socket.AF_INET) as client:
        client.transport.sendto(b"x", (HOST, 65536))
        assert isinstance(await client.lost, OverflowError)
        assert exceptions.take_types() == [OverflowError]


async def test_a_name_that_does_not_exist_is_an_error(loop):
    async with endpoint(family=socket.AF_INET) as client:
        client.transport.sendto(b"x", ("no such host", 5))
        await client.until_called("error_received")
        assert isinstance(client.errors[0], socket.gaierror)


async def test_an_exception_in_datagram_received_is_reported_and_the_endpoint_goes_on(loop, exceptions):
    class Failing(Datagrams):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            raise LookupError(data)

    async with pair(server=Failing) as (client, server):
        for number in range(3):
            client.transport.sendto(b"%d" % number)
        assert await server.until_datagrams(3) == [b"0", b"1", b"2"]
        await turns()
        assert exceptions.take_types() == [LookupError] * 3


async def test_an_exception_in_error_received_is_reported_and_the_endpoint_goes_on(loop, exceptions):
    class Failing(Datagrams):
        def error_received(self, exc):
            super().error_received(exc)
            raise LookupError

    async with endpoint(Failing, remote_addr=(HOST, refused_port())) as client:
        client.transport.sendto(b"x")
        await client.until_called("error_received")
        await turns()
        assert not client.transport.is_closing()
    assert set(exceptions.take_types()) == {LookupError}


async def test_an_exception_in_connection_made_is_reported(loop, exceptions):
    class Failing(Datagrams):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise LookupError

    async with endpoint(Failing, local_addr=(HOST, 0)) as server:
        with udp() as sender:
            sender.sendto(b"all the same", name_of(server))
        assert await server.until_datagrams(1) == [b"all the same"]
    assert exceptions.take_types() == [LookupError]


async def test_callbacks_run_in_the_context_of_the_endpoint(loop):
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    class Looking(Datagrams):
        def called(self, name):
            seen.append((name, variable.get()))
            super().called(name)

    variable.set("the endpoint's")
    async with endpoint(Looking, local_addr=(HOST, 0)) as server:
        variable.set("later")
        with udp() as sender:
            sender.sendto(b"x", name_of(server))
        await server.until_datagrams(1)
    assert seen[:2] == [("connection_made", "the endpoint's"), ("datagram_received", "the endpoint's")]


# Flow control -------------------------------------------------------------------------------------------------------


async def test_the_default_water_marks(loop):
    async with pair() as (client, _):
        assert client.transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        assert client.transport.get_write_buffer_size() == 0


async def test_a_udp_sender_that_is_never_blocked_is_never_paused(loop):
    async with pair() as (client, server):
        for count in range(1, 20):
            for _ in range(3):
                client.transport.sendto(bytes(50_000))
            await server.until_datagrams(3 * count)
        assert "pause_writing" not in client.calls


@contextlib.asynccontextmanager
async def blocked(factory=Datagrams, size=1000):
    """An endpoint that was paused because its peer, a plain socket, does not read; the datagrams sent are numbered."""
    with unix_pair() as (near, far):
        async with endpoint(factory, sock=near) as client:
            sent = []
            while "pause_writing" not in client.calls:
                payload = b"%06d" % len(sent) + bytes(size - 6)
                client.transport.sendto(payload)
                sent.append(payload)
                if len(sent) % 10 == 0:
                    await turns()
            yield client, far, sent


async def test_a_peer_that_does_not_read_pauses_the_sender(loop):
    async with blocked() as (client, far, sent):
        low, high = client.transport.get_write_buffer_limits()
        assert client.transport.get_write_buffer_size() > high
        await asyncio.sleep(0.02)
        assert "resume_writing" not in client.calls
        received = []
        while "resume_writing" not in client.calls:
            received.append(far.recv(LARGEST_BUFFERED))
            await turns()
        assert client.transport.get_write_buffer_size() <= low
        while len(received) < len(sent):
            await turns()
            received.append(far.recv(LARGEST_BUFFERED))
        assert received == sent
        assert client.calls.count("pause_writing") == client.calls.count("resume_writing") == 1


async def test_what_a_waiting_datagram_counts_for(loop):
    """Since Python 3.13 eight bytes more than its payload."""
    each = 1000 + (8 if sys.version_info >= (3, 13) else 0)
    async with blocked() as (client, _, _sent):
        assert client.transport.get_write_buffer_size() % each == 0
        waiting = client.transport.get_write_buffer_size()
        client.transport.sendto(bytes(1000))
        assert client.transport.get_write_buffer_size() == waiting + each


async def test_water_marks_are_obeyed(loop):
    class Low(Datagrams):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=3000, low=1000)

    async with blocked(Low) as (client, far, sent):
        assert 3000 < client.transport.get_write_buffer_size() <= 3000 + 10 * 1008
        for _ in sent:
            far.recv(LARGEST_BUFFERED)
            await turns(5)
        assert client.calls[-2:] == ["pause_writing", "resume_writing"]


async def test_a_full_receiver_that_is_connected(loop):
    """It is not the bytes that are too many here, but the datagrams."""
    with unix_pair(room=1 << 20) as (near, far):
        async with endpoint(sock=near) as client:
            expected = [b"%d" % number for number in range(QUEUE_LENGTH + 50)]
            for payload in expected:
                client.transport.sendto(payload)
            await asyncio.sleep(0.02)
            received = [await loop.run_in_executor(None, far.recv, 100) for _ in expected]
            assert received == expected
            await eventually(lambda: not client.transport.get_write_buffer_size())


async def test_a_full_receiver_that_is_not_connected(loop, tmp_path):
    """The socket is writable, only this one receiver is full; datagrams wait and keep their order."""
    path = str(tmp_path / "full")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far:
        far.bind(path)
        far.settimeout(10)
        async with endpoint(family=socket.AF_UNIX) as client:
            client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            count = QUEUE_LENGTH + 50
            for number in range(count):
                client.transport.sendto(b"%d" % number, path)
            await asyncio.sleep(0.02)
            received = []
            while len(received) < count:
                received.append(await loop.run_in_executor(None, far.recv, 100))
            assert received == [b"%d" % number for number in range(count)]
            await eventually(lambda: not client.transport.get_write_buffer_size())


async def test_nothing_comes_while_reading_is_paused(loop):
    async with pair() as (client, server):
        for number in range(20):
            client.transport.sendto(b"%d" % number)
            server.transport.pause_reading()
            assert not server.transport.is_reading()
            before = list(server.received)
            client.transport.sendto(b"more")
            await turns(number % 4)
            assert server.received == before
            server.transport.resume_reading()
        await server.until_datagrams(40)
        assert server.payloads == [payload for number in range(20) for payload in (b"%d" % number, b"more")]


# Closing ------------------------------------------------------------------------------------------------------------


async def test_closing(loop):
    async with endpoint(local_addr=(HOST, 0)) as server:
        server.transport.close()
        server.transport.close()
        assert server.transport.is_closing()
        assert "connection_lost" not in server.calls
        assert await server.lost is None
        await turns()
        assert server.calls == ["connection_made", "connection_lost"]


async def test_the_port_is_free_after_connection_lost(loop):
    async with endpoint(local_addr=(HOST, 0)) as server:
        name = name_of(server)
        server.transport.close()
        await server.lost
        await turns()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(name)


async def test_nothing_is_received_after_close(loop):
    async with endpoint(local_addr=(HOST, 0)) as server:
        with udp() as sender:
            sender.sendto(b"too late", name_of(server))
            server.transport.close()
            await server.lost
        assert server.received == []


async def test_what_was_sent_before_close_goes_out(loop):
    async with pair() as (client, server):
        for number in range(100):
            client.transport.sendto(b"%d" % number)
        client.transport.close()
        assert await client.lost is None
        assert await server.until_datagrams(100) == [b"%d" % number for number in range(100)]


async def test_closing_waits_for_datagrams_that_are_blocked(loop):
    async with blocked() as (client, far, sent):
        client.transport.close()
        await asyncio.sleep(0.02)
        assert "connection_lost" not in client.calls
        received = []
        while len(received) < len(sent):
            await turns()
            received.append(far.recv(LARGEST_BUFFERED))
        assert received == sent
        assert await client.lost is None


@pytest.mark.parametrize("close_first", [False, True], ids=["abort", "close and abort"])
async def test_aborting_drops_datagrams_that_are_blocked(loop, close_first):
    async with blocked() as (client, far, sent):
        if close_first:
            client.transport.close()
        client.transport.abort()
        client.transport.abort()
        assert await client.lost is None
        await turns()
        assert client.calls.count("connection_lost") == 1
        far.setblocking(False)
        arrived = 0
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while far.recv(LARGEST_BUFFERED):
                arrived += 1
        assert arrived < len(sent)


async def test_aborting_in_datagram_received(loop):
    class Aborting(Datagrams):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.sendto(data, addr)
            self.transport.abort()

    async with endpoint(Aborting, local_addr=(HOST, 0)) as server:
        with udp() as sender:
            for _ in range(10):
                sender.sendto(b"x", name_of(server))
        assert await server.lost is None
        assert server.payloads == [b"x"]


async def test_aborting_in_error_received_of_a_send(loop):
    class Aborting(Datagrams):
        def error_received(self, exc):
            super().error_received(exc)
            self.transport.abort()

    async with pair(client=Aborting) as (client, _):
        for _ in range(10):
            client.transport.sendto(bytes(LARGEST_UDP + 1))
        assert await client.lost is None
        assert client.calls.count("error_received") == 1


@pytest.mark.parametrize("closing", ["at once", "in error_received"])
def test_the_errors_of_what_was_sent_before_close_are_told(loop, closing):
    class Closing(Datagrams):
        def error_received(self, exc):
            super().error_received(exc)
            self.transport.close()

    factory = Datagrams if closing == "at once" else Closing
    transport, protocol = loop.run_until_complete(loop.create_datagram_endpoint(factory, local_addr=(HOST, 0)))
    # While the loop does not run: what is sent now is sent at once.
    transport.sendto(b"small", name_of(protocol))
    for _ in range(2):
        transport.sendto(bytes(70_000), name_of(protocol))
    if closing == "at once":
        transport.close()
    assert loop.run_until_complete(protocol.lost) is None
    told = [name for name in protocol.calls if name in ("error_received", "connection_lost")]
    assert told == ["error_received"] * 2 + ["connection_lost"]


async def test_sending_after_the_end_does_nothing(loop, caplog):
    async with pair() as (client, server):
        client.transport.close()
        await client.lost
        for _ in range(10):
            client.transport.sendto(b"nobody gets this")
        await turns()
        assert server.received == []
        assert "socket.send() raised exception" in caplog.text


async def test_sending_from_many_endpoints_at_once(loop):
    async with endpoint(Echo, local_addr=(HOST, 0)) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(endpoint(remote_addr=name_of(server))) for _ in range(20)]
        for _ in range(10):
            for client in clients:
                for number in range(5):
                    client.transport.sendto(b"%d" % number)
            for client in clients:
                await client.until_datagrams(5)
                assert client.payloads == [b"0", b"1", b"2", b"3", b"4"]
                client.received.clear()


def test_an_endpoint_that_is_never_closed_warns(new_loop, exceptions):
    loop = new_loop()

    async def make():
        return await loop.create_datagram_endpoint(Datagrams, local_addr=(HOST, 0))

    made = loop.run_until_complete(make())
    loop.close()
    with pytest.warns(ResourceWarning, match="unclosed") as warned:
        del made
        gc.collect()
    assert any("unclosed transport" in str(warning.message) for warning in warned)
