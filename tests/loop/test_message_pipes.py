"""connect_read_pipe and connect_write_pipe on files that keep one message apart from the next.

Sockets of the type SEQPACKET, pipes opened with O_DIRECT, whose packets hold up to PIPE_BUF bytes, and TUN devices.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import os
import select
import socket
import struct

import pytest

from .helpers import Events, eventually, in_thread, pattern, turns

LARGEST = 256 * 1024  # what asyncio reads at most


class Messages(Events, asyncio.Protocol):
    """Keeps what each call of data_received() was given."""

    def __init__(self):
        super().__init__()
        self.messages = []

    def data_received(self, data):
        self.messages.append(data)
        self.called("data_received")

    async def until_messages(self, count):
        await self.until(lambda: len(self.messages) >= count)
        return self.messages


def socket_pair():
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def packet_pipe():
    read, write = os.pipe2(os.O_DIRECT)
    return open(read, "rb", 0), open(write, "wb", 0)


@pytest.fixture(params=[socket_pair, packet_pipe], ids=["socket", "packet pipe"])
def ends(request):
    """The end to read from and the end to write to, the other one of each non-blocking."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(end) for end in request.param()]


async def reading(file, factory=Messages):
    _, protocol = await asyncio.get_running_loop().connect_read_pipe(factory, file)
    return protocol


async def writing(file):
    _, protocol = await asyncio.get_running_loop().connect_write_pipe(Events, file)
    return protocol


async def close(*protocols):
    for protocol in protocols:
        protocol.transport.close()
        await protocol.until_called("connection_lost")


def messages_in(file):
    """What waits in a file to be read, without waiting for more."""
    found = []
    os.set_blocking(file.fileno(), False)
    with contextlib.suppress(BlockingIOError):
        while message := os.read(file.fileno(), LARGEST):
            found.append(message)
    return found


async def messages_from(file, count):
    """The next messages, read by somebody who is no transport."""
    found = []
    while len(found) < count:
        found += messages_in(file)
        await asyncio.sleep(0.001)
    return found


# Writing ------------------------------------------------------------------------------------------------------------


async def test_each_write_is_a_message(loop, ends):
    read, write = ends
    writer = await writing(write)
    writer.transport.write(b"one")
    writer.transport.write(bytearray(b"two"))
    writer.transport.write(memoryview(b"three"))
    assert await messages_from(read, 3) == [b"one", b"two", b"three"]
    await close(writer)


def test_each_write_outside_a_run_is_a_message(loop, run, ends):
    read, write = ends
    writer = run(writing(write))
    for number in range(5):
        writer.transport.write(b"%d" % number)
    assert messages_in(read) == [b"0", b"1", b"2", b"3", b"4"]
    run(close(writer))


async def test_writelines_makes_one_message(loop, ends):
    read, write = ends
    writer = await writing(write)
    writer.transport.writelines([b"one ", bytearray(b"message "), b"", memoryview(b"of many pieces")])
    writer.transport.write(b"another")
    assert await messages_from(read, 2) == [b"one message of many pieces", b"another"]
    await close(writer)


async def test_messages_that_wait_for_room_stay_apart(loop, ends):
    read, write = ends
    writer = await writing(write)
    sent = []
    while "pause_writing" not in writer.calls:
        sent.append(b"%04d" % len(sent) + bytes(2000))
        writer.transport.write(sent[-1])
    sent.append(b"the last")
    writer.transport.write(sent[-1])
    assert await messages_from(read, len(sent)) == sent
    await writer.until_called("resume_writing")
    await eventually(lambda: not writer.transport.get_write_buffer_size())
    await close(writer)


async def test_closing_writes_the_messages_that_wait(loop, ends):
    read, write = ends
    writer = await writing(write)
    sent = []
    while not writer.transport.get_write_buffer_size():
        sent.append(b"%04d" % len(sent) + bytes(2000))
        writer.transport.write(sent[-1])
    for number in range(5):
        sent.append(b"%d" % number)
        writer.transport.write(sent[-1])
    writer.transport.close()
    assert await messages_from(read, len(sent)) == sent
    assert await writer.lost is None


async def test_a_large_message_is_not_split(loop):
    """It waits behind others, so that it is not written in the call of write()."""
    read, write = socket_pair()
    with read, write:
        write.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        writer = await writing(write)
        message = pattern(150_000)
        count = 0
        while not writer.transport.get_write_buffer_size():
            writer.transport.write(message)
            count += 1
        assert await messages_from(read, count) == [message] * count
        await close(writer)


async def test_a_message_that_no_room_can_hold_ends_the_connection(loop):
    read, write = socket_pair()
    with read, write:
        writer = await writing(write)
        writer.transport.write(b"before")
        writer.transport.write(bytes(10_000_000))
        writer.transport.write(b"ignored")
        lost = await writer.lost
        assert isinstance(lost, OSError) and lost.errno == errno.EMSGSIZE
        assert messages_in(read) == [b"before"]


async def test_a_packet_pipe_splits_what_is_larger_than_a_packet(loop):
    """At PIPE_BUF bytes, wherever in it the pipe was full for a while."""
    read, write = packet_pipe()
    with read, write:
        writer = await writing(write)
        data = pattern(100 * select.PIPE_BUF + 1000)
        writer.transport.write(data)
        writer.transport.write(b"next")
        expected = [data[start : start + select.PIPE_BUF] for start in range(0, len(data), select.PIPE_BUF)]
        assert await messages_from(read, 102) == [*expected, b"next"]
        await close(writer)


async def test_a_reader_that_has_gone(loop, ends):
    read, write = ends
    writer = await writing(write)
    await turns()
    read.close()
    writer.transport.write(b"to nobody")
    assert await writer.lost is None or isinstance(writer.lost.result(), BrokenPipeError)
    writer.transport.write(b"ignored")


async def test_a_write_that_fails_in_connection_made(loop):
    class Eager(Events):
        def connection_made(self, transport):
            super().connection_made(transport)
            transport.write(b"to nobody")
            assert transport.is_closing()
            transport.write(b"ignored")

    read, write = socket_pair()
    read.close()
    _, writer = await loop.connect_write_pipe(Eager, write)
    assert isinstance(await writer.lost, BrokenPipeError)
    await eventually(lambda: write.fileno() == -1)


# Reading ------------------------------------------------------------------------------------------------------------


async def test_each_message_is_delivered_alone(loop, ends):
    read, write = ends
    expected = [b"%d" % number for number in range(15)]
    for message in expected:
        os.write(write.fileno(), message)
    reader = await reading(read)
    assert await reader.until_messages(15) == expected
    os.write(write.fileno(), b"late")
    assert await reader.until_messages(16) == [*expected, b"late"]
    write.close()
    assert await reader.lost is None


async def test_messages_stay_apart_while_reading_is_paused(loop, ends):
    read, write = ends
    reader = await reading(read)
    await turns()
    os.write(write.fileno(), b"one")
    os.write(write.fileno(), b"two")
    reader.transport.pause_reading()
    await asyncio.sleep(0.01)
    os.write(write.fileno(), b"three")
    reader.transport.resume_reading()
    assert await reader.until_messages(3) == [b"one", b"two", b"three"]
    await close(reader)


@pytest.mark.parametrize("size", [128 * 1024 + 1, 200_000, LARGEST])
async def test_large_messages_arrive_whole(loop, size):
    read, write = socket_pair()
    with read, write:
        write.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * LARGEST)
        reader = await reading(read)
        for _ in range(3):
            await loop.sock_sendall(write, pattern(size))
            await loop.run_in_executor(None, write.send, pattern(size))
        assert await reader.until_messages(6) == [pattern(size)] * 6
        await close(reader)


async def test_from_one_transport_to_another(loop, ends):
    read, write = ends
    reader, writer = await reading(read), await writing(write)
    expected = [pattern(10 + number) for number in range(1000)]
    for start in range(0, 1000, 10):
        for message in expected[start : start + 10]:
            writer.transport.write(message)
        await reader.until_messages(start + 10)
    assert reader.messages == expected
    await close(writer)
    assert await reader.lost is None


def test_the_size_of_receive_buffers_does_not_matter(new_loop, loop_class, loop_name, ends):
    read, write = ends

    async def main():
        reader = await reading(read)
        os.write(write.fileno(), pattern(select.PIPE_BUF))
        assert await reader.until_messages(1) == [pattern(select.PIPE_BUF)]
        await close(reader)

    options = {"buffer_size": 1000} if loop_name == "netloop" else {}
    new_loop(lambda: loop_class(**options)).run_until_complete(main())


# TUN devices ----------------------------------------------------------------------------------------------------------

TUNSETIFF, SIOCGIFFLAGS, SIOCSIFFLAGS = 0x400454CA, 0x8913, 0x8914
IFF_UP, IFF_TUN, IFF_NO_PI = 0x1, 0x1, 0x1000
CLONE_NEWNET = 0x40000000
ETH_P_ALL, ETH_P_IP = 0x3, 0x800
NAME = b"netloop-tun"


def packet(number):
    """What a TUN device takes for an IPv4 packet; nobody looks at the rest."""
    return b"\x45" + b"packet %d" % number + bytes(30)


def make_device():
    """A TUN device that is up, and a socket for the packets on it, in a network of their own."""
    # Only of this thread, which ends soon; what it has opened stays in that network.
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot make a network of its own")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", NAME, IFF_TUN | IFF_NO_PI))
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        flags = struct.unpack("16sH22x", fcntl.ioctl(packets, SIOCGIFFLAGS, struct.pack("16s24x", NAME)))[1]
        fcntl.ioctl(packets, SIOCSIFFLAGS, struct.pack("16sH22x", NAME, flags | IFF_UP))
        packets.bind((NAME.decode(), ETH_P_ALL))
        packets.setblocking(False)
    except BaseException:
        os.close(device)
        raise
    return open(device, "rb+", 0), packets


@pytest.fixture
def tun():
    """A TUN device as a file, and a socket that sees its packets and sends others to who reads it."""
    try:
        device, packets = in_thread(make_device)
    except OSError as error:
        pytest.skip(f"no TUN device to be had: {error}")
    with device, packets:
        yield device, packets


def of_ours(packets):
    """Without those that the kernel itself sends on a new interface."""
    return [each for each in packets if each.startswith(b"\x45packet")]


async def test_each_write_to_a_tun_device_is_a_packet(loop, tun):
    device, packets = tun
    writer = await writing(device)
    expected = [packet(number) for number in range(20)]
    for each in expected[:10]:
        writer.transport.write(each)
    writer.transport.writelines(each[start : start + 15] for each in expected[10:11] for start in range(0, 60, 15))
    for each in expected[11:]:
        writer.transport.write(each)
    received = []
    while len(received) < 20:
        received += of_ours(messages_in(packets))
        await asyncio.sleep(0.001)
    assert received == expected
    await close(writer)


async def test_each_packet_of_a_tun_device_is_delivered_alone(loop, tun):
    device, packets = tun
    reader = await reading(device)
    for number in range(20):
        packets.sendto(packet(number), (NAME.decode(), ETH_P_IP))
    await reader.until(lambda: len(of_ours(reader.messages)) == 20)
    assert of_ours(reader.messages) == [packet(number) for number in range(20)]
    await close(reader)
