"""create_datagram_endpoint with families whose addresses are neither internet addresses nor paths: netlink and packets.

Anybody may use netlink: to ask the kernel, and, by the protocol that is left to users, to talk to one another.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
import struct

import pytest

from .helpers import Datagrams, endpoint, eventually, name_of, turns

# uvloop refuses such sockets, as two of the tests show.
pytestmark = pytest.mark.loops("asyncio", "netloop")

NETLINK_USERSOCK = 2
RTM_NEWLINK, RTM_GETLINK, NLMSG_DONE = 16, 18, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
ETHERTYPE = 0x88B5  # for experiments
NO_HARDWARE_ADDRESS = bytes(6)


@contextlib.contextmanager
def netlink(protocol=NETLINK_USERSOCK, peer=None):
    """A netlink socket with a name of its own, connected to that of another if one is given."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, protocol) as sock:
        sock.bind((0, 0))
        if peer is not None:
            sock.connect(peer.getsockname())
        sock.setblocking(False)
        yield sock


@contextlib.contextmanager
def netlink_pair():
    """Two netlink sockets, the first connected to the second."""
    with netlink() as far, netlink(peer=far) as near:
        yield near, far


@pytest.fixture
def packets():
    """A socket for frames of an ethertype on the loopback interface."""
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETHERTYPE))
    except PermissionError as error:
        pytest.skip(f"packet sockets are for root: {error}")
    with sock:
        sock.bind(("lo", ETHERTYPE))
        sock.setblocking(False)
        yield sock


def link_request(number):
    """Asks the kernel for all interfaces."""
    return struct.pack("IHHIIBxHiII", 32, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, number, 0, 0, 0, 0, 0, 0)


def message_types(datagrams):
    """The types of the netlink messages in some datagrams."""
    types = []
    for data in datagrams:
        while data:
            length, kind = struct.unpack_from("IH", data)
            types.append(kind)
            data = data[(length + 3) & ~3 :]
    return types


def read_all(sock):
    """The datagrams that wait in a socket."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(sock.recv(100_000))
    return found


async def read(sock, count):
    """The next datagrams, read by somebody who is no transport."""
    found = []
    while len(found) < count:
        found += read_all(sock)
        await turns(1)
    return found


@contextlib.asynccontextmanager
async def blocked(factory=Datagrams):
    """An endpoint that was paused because its peer, a plain socket, does not read; and what it has sent."""
    with netlink_pair() as (near, far):
        async with endpoint(factory, sock=near) as client:
            sent = []
            while "pause_writing" not in client.calls:
                sent.append(b"%06d" % len(sent) + bytes(2000))
                client.transport.sendto(sent[-1])
                if len(sent) % 10 == 0:
                    await turns()
            yield client, far, sent


# Sending and receiving ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [None, (0, 0)], ids=["no address", "the kernel's"])
async def test_the_kernel_answers(loop, address):
    """More than one message, the last of which says that it is the last."""
    with netlink(socket.NETLINK_ROUTE) as sock:
        async with endpoint(sock=sock) as client:
            for times in range(1, 4):
                client.transport.sendto(link_request(times), address)
                await client.until(lambda: message_types(client.payloads).count(NLMSG_DONE) == times)  # noqa: B023
            assert message_types(client.payloads).count(RTM_NEWLINK) >= 3  # the loopback interface at least
            assert {sender for _, sender in client.received} == {(0, 0)}
            assert client.errors == []


@pytest.mark.loops("asyncio", "uvloop", "netloop")
async def test_an_endpoint_without_a_socket_of_the_caller(loop):
    async with endpoint(family=socket.AF_NETLINK, proto=socket.NETLINK_ROUTE) as client:
        client.transport.sendto(link_request(1))
        await client.until(lambda: NLMSG_DONE in message_types(client.payloads))


async def test_senders_are_told_apart(loop):
    with netlink() as sock:
        async with endpoint(sock=sock) as server:
            with netlink(peer=sock) as one, netlink(peer=sock) as other:
                for times in range(1, 4):
                    one.send(b"from one")
                    other.send(b"from the other")
                    await server.until_datagrams(2 * times)
                assert (
                    server.received
                    == [
                        (b"from one", one.getsockname()),
                        (b"from the other", other.getsockname()),
                    ]
                    * 3
                )


@pytest.mark.loops("asyncio", "uvloop", "netloop")
async def test_replies_to_the_address_that_was_received(loop):
    class Echo(Datagrams):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.sendto(data, addr)

    with netlink() as sock:
        async with endpoint(Echo, sock=sock) as server:
            with netlink(peer=sock) as one, netlink(peer=sock) as other:
                for number in range(3):
                    one.send(b"one %d" % number)
                    other.send(b"other %d" % number)
                assert await read(one, 3) == [b"one 0", b"one 1", b"one 2"]
                assert await read(other, 3) == [b"other 0", b"other 1", b"other 2"]
        assert server.errors == []


async def test_a_burst(loop):
    with netlink_pair() as (near, far):
        async with endpoint(sock=far) as server:
            for number in range(150):
                near.send(b"%d" % number)
            assert await server.until_datagrams(150) == [b"%d" % number for number in range(150)]


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_a_buffer_may_be_reused_after_sendto(loop, kind):
    async with blocked() as (client, far, sent):
        memory = bytearray(b"before")
        client.transport.sendto(kind(memory))
        memory[:] = b"after!"
        assert (await read(far, len(sent) + 1))[-1] == b"before"


def test_a_datagram_is_sent_outside_a_run_at_once(loop, run):
    with netlink_pair() as (near, far):
        transport, _ = run(loop.create_datagram_endpoint(Datagrams, sock=near))
        for payload in (b"one", b"two", b"three"):
            transport.sendto(payload)
            assert far.recv(100) == payload
        transport.close()
        run(asyncio.sleep(0))


async def test_frames(loop, packets):
    """The address of a frame that comes in is that of the socket module, and can be sent to."""
    async with endpoint(sock=packets) as server:
        address = ("lo", ETHERTYPE, 0, 0, NO_HARDWARE_ADDRESS)
        for number in range(3):
            server.transport.sendto(b"frame %d" % number, address)
        assert await server.until_datagrams(3) == [b"frame 0", b"frame 1", b"frame 2"]
        interface, ethertype, _, _, hardware = server.received[0][1]
        assert (interface, ethertype, hardware) == ("lo", ETHERTYPE, NO_HARDWARE_ADDRESS)
        server.transport.sendto(b"back", server.received[0][1])
        assert (await server.until_datagrams(4))[3] == b"back"
        assert server.errors == []


async def test_what_the_transport_is(loop):
    with netlink_pair() as (near, _):
        async with endpoint(sock=near) as client:
            assert isinstance(client.transport, asyncio.BaseTransport)
            assert name_of(client) == near.getsockname()
            assert client.transport.get_extra_info("peername") == near.getpeername()
            assert client.transport.get_extra_info("socket").family == socket.AF_NETLINK
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.add_reader(near.fileno(), print)


# Errors -------------------------------------------------------------------------------------------------------------


async def test_an_error_and_the_endpoint_goes_on(loop):
    with netlink_pair() as (near, far):
        name = far.getsockname()
        far.close()
        async with endpoint(sock=near) as client:
            for count in range(1, 4):
                client.transport.sendto(b"to nobody")
                await client.until(lambda: len(client.errors) == count)  # noqa: B023
            assert {type(error) for error in client.errors} == {ConnectionRefusedError}
            with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_USERSOCK) as again:
                again.bind(name)
                again.sendto(b"hello", near.getsockname())
                assert await client.until_datagrams(1) == [b"hello"]


async def test_an_interface_that_is_not_there(loop, packets):
    async with endpoint(sock=packets) as client:
        client.transport.sendto(b"x", ("no-such-one", ETHERTYPE))
        await client.until_called("error_received")
        assert [error.errno for error in client.errors] == [errno.ENODEV]
        assert not client.transport.is_closing()


@pytest.mark.parametrize("address", [None, "lo", ("lo",), 5])
async def test_an_address_that_is_none_ends_the_endpoint(loop, exceptions, packets, address):
    async with endpoint(sock=packets) as client:
        client.transport.sendto(b"x", address)
        assert isinstance(await client.lost, TypeError)
        assert exceptions.take_types() == [TypeError]


async def test_an_exception_in_datagram_received_is_reported_and_the_endpoint_goes_on(loop, exceptions):
    class Failing(Datagrams):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            raise LookupError(data)

    with netlink_pair() as (near, far):
        async with endpoint(Failing, sock=far) as server:
            for number in range(3):
                near.send(b"%d" % number)
            assert await server.until_datagrams(3) == [b"0", b"1", b"2"]
            await turns()
            assert exceptions.take_types() == [LookupError] * 3


def test_an_exit_in_datagram_received_ends_the_run_and_not_the_endpoint(loop, run):
    class Exiting(Datagrams):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            if data == b"exit":
                raise SystemExit(7)

    with netlink_pair() as (near, far):
        transport, server = run(loop.create_datagram_endpoint(Exiting, sock=far))
        for payload in (b"before", b"exit", b"after"):
            near.send(payload)
        with pytest.raises(SystemExit):
            run(server.until_datagrams(4))
        near.send(b"late")
        assert run(server.until_datagrams(4)) == [b"before", b"exit", b"after", b"late"]
        transport.close()
        run(server.until_called("connection_lost"))


# Flow control and closing -------------------------------------------------------------------------------------------


async def test_a_peer_that_does_not_read_pauses_the_sender(loop):
    async with blocked() as (client, far, sent):
        _, high = client.transport.get_write_buffer_limits()
        assert client.transport.get_write_buffer_size() > high
        await asyncio.sleep(0.02)
        assert "resume_writing" not in client.calls
        assert await read(far, len(sent)) == sent
        await client.until_called("resume_writing")
        await eventually(lambda: not client.transport.get_write_buffer_size())
        client.transport.sendto(b"at once")
        assert await read(far, 1) == [b"at once"]
        assert client.errors == []


async def test_nothing_comes_while_reading_is_paused(loop):
    with netlink_pair() as (near, far):
        async with endpoint(sock=far) as server:
            for number in range(20):
                near.send(b"%d" % number)
                server.transport.pause_reading()
                assert not server.transport.is_reading()
                before = list(server.received)
                near.send(b"more")
                await turns(number % 4)
                assert server.received == before
                server.transport.resume_reading()
            await server.until_datagrams(40)
            assert server.payloads == [payload for number in range(20) for payload in (b"%d" % number, b"more")]


async def test_pausing_in_the_middle_of_a_burst(loop):
    class Hesitant(Datagrams):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.pause_reading()
            self.loop.call_soon(self.transport.resume_reading)

    with netlink_pair() as (near, far):
        async with endpoint(Hesitant, sock=far) as server:
            for number in range(20):
                near.send(b"%d" % number)
            assert await server.until_datagrams(1) == [b"0"]
            assert await server.until_datagrams(20) == [b"%d" % number for number in range(20)]


async def test_closing_waits_for_datagrams_that_are_blocked(loop):
    async with blocked() as (client, far, sent):
        client.transport.close()
        await asyncio.sleep(0.02)
        assert "connection_lost" not in client.calls
        assert await read(far, len(sent)) == sent
        assert await client.lost is None


@pytest.mark.parametrize("close_first", [False, True], ids=["abort", "close and abort"])
async def test_aborting_drops_datagrams_that_are_blocked(loop, close_first):
    async with blocked() as (client, far, sent):
        if close_first:
            client.transport.close()
        client.transport.abort()
        assert await client.lost is None
        await turns()
        assert client.calls.count("connection_lost") == 1
        assert 0 < len(read_all(far)) < len(sent)


async def test_closing_in_datagram_received(loop):
    class Satisfied(Datagrams):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.close()

    with netlink_pair() as (near, far):
        async with endpoint(Satisfied, sock=far) as server:
            for number in range(5):
                near.send(b"%d" % number)
            assert await server.lost is None
            assert server.payloads == [b"0"]


def test_an_endpoint_that_is_never_closed_warns(new_loop):
    loop = new_loop()
    with netlink_pair() as (near, far):
        made = loop.run_until_complete(loop.create_datagram_endpoint(Datagrams, sock=far))
        near.send(b"never read")
        loop.close()
        with pytest.warns(ResourceWarning, match="unclosed") as warned:
            del made
            gc.collect()
        assert any("unclosed transport" in str(warning.message) for warning in warned)
        assert far.fileno() == -1
