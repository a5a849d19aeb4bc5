"""Leases of what is read from pipes, FIFOs, sockets and terminals by connect_read_pipe()."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import threading
import tty
from collections.abc import AsyncIterator
from typing import Any

import pytest
from loop.helpers import Recorder, eventually

import netloop

from .helpers import FREE, Keeper, pattern

SIZE = 4096


@contextlib.asynccontextmanager
async def read_pipe(loop: Any, protocol: Any, flags: int = 0) -> AsyncIterator[Any]:
    """Have a protocol read a pipe, and yield the end to write to, a file that does not block."""
    reading, writing = os.pipe2(flags)
    os.set_blocking(writing, False)
    with open(writing, "wb", 0) as far, open(reading, "rb", 0) as near:
        transport, _ = await loop.connect_read_pipe(lambda: protocol, near)
        try:
            yield far
        finally:
            transport.close()
            await protocol.lost


async def write_all(far: Any, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(far.fileno(), data) :]
        except BlockingIOError:
            await asyncio.sleep(0.001)


async def test_what_a_pipe_brings_lies_in_the_callers_memory_and_in_order(loop):
    memory = bytearray(8 * SIZE)
    pool = netloop.BufferPool(8, SIZE, memory=memory)
    keeper = Keeper(pool, keeps=True)
    data = pattern(0, 3 * SIZE + 10)
    async with read_pipe(loop, keeper) as far:
        far.write(data)
        await keeper.until_received(len(data))
        lying = b"".join(memory[each.offset : each.offset + len(each)] for each in keeper.leases)
        assert lying == data
        (figures,) = loop.statistics().pools
        assert (figures.received_bytes, figures.leased) == (len(data), len(keeper.leases))
        keeper.release_all()
        far.close()
        await keeper.until_called("eof_received")
        await keeper.until_called("connection_lost")
    assert keeper.calls[0] == "connection_made"
    assert keeper.calls[-2:] == ["eof_received", "connection_lost"]


async def test_without_a_pool_of_its_own_it_reads_into_the_loops(loop):
    keeper = Keeper()
    data = pattern(0, 400_000)
    async with read_pipe(loop, keeper) as far:
        await write_all(far, data)
        assert await keeper.until_received(len(data)) == data
    (figures,) = loop.statistics().pools
    assert figures.received_bytes == len(data)


async def test_a_dry_pool_leaves_the_data_in_the_pipe(loop, caplog):
    pool = netloop.BufferPool(2, SIZE)
    keeper = Keeper(pool, keeps=True)
    data = pattern(0, 7 * SIZE)
    async with read_pipe(loop, keeper) as far:
        far.write(data)
        await keeper.until_received(2 * SIZE)
        await asyncio.sleep(0.01)
        assert len(keeper.data) == 2 * SIZE
        assert loop.statistics().pools[0].waiting_receives == 1
        while len(keeper.data) < len(data):
            before = len(keeper.data)
            keeper.leases.pop(0).release()
            await keeper.until_received(before + 1)
        assert keeper.data == data
        keeper.release_all()
    assert [record for record in caplog.records if "by the protocol of <ReadPipeTransport" in record.getMessage()]


async def test_paused_reading_delivers_nothing_and_loses_nothing(loop):
    pool = netloop.BufferPool(4, SIZE)
    keeper = Keeper(pool)
    async with read_pipe(loop, keeper) as far:
        far.write(b"a")
        await keeper.until_received(1)
        keeper.transport.pause_reading()
        far.write(b"b" * 3 * SIZE)
        await asyncio.sleep(0.01)
        assert keeper.data == b"a"
        keeper.transport.resume_reading()
        await keeper.until_received(1 + 3 * SIZE)
        assert keeper.data == b"a" + b"b" * 3 * SIZE
    assert not pool._statistics()["leased"]


async def test_leases_that_nobody_was_given_go_back_with_the_pipe(loop):
    loop.set_debug(True)  # so that one left to the collector is a warning, and an error
    pool = netloop.BufferPool(4, SIZE)

    class Pausing(Keeper):
        def lease_received(self, lease):
            super().lease_received(lease)
            self.transport.pause_reading()

    keeper = Pausing(pool)
    async with read_pipe(loop, keeper) as far:
        far.write(bytes(4 * SIZE))
        await keeper.until_received(SIZE)
        await asyncio.sleep(0.01)
    await eventually(lambda: not pool._statistics()["leased"])
    loop.set_debug(False)


async def test_protocols_change_while_a_pipe_is_read(loop):
    """Leases, bytes and leases of another pool follow on each other, and no byte is lost or comes twice."""
    pools = [netloop.BufferPool(4, SIZE), netloop.BufferPool(8, 2 * SIZE)]
    kinds = [lambda: Keeper(pools[0]), Recorder, lambda: Keeper(pools[1]), Keeper]
    protocol = first = Keeper(pools[0])
    data = os.urandom(2 * SIZE)
    async with read_pipe(loop, first) as far:
        for number in range(12):
            far.write(data)
            if number % 2:
                await protocol.until_received(1)
            successor = kinds[(number + number // 4) % 4]()
            protocol.hand_over_to(successor)
            before = bytes(protocol.data)
            await successor.until_received(len(data) - len(before))
            assert before + successor.data == data
            successor.data.clear()
            protocol = successor
        protocol.hand_over_to(first)


async def test_a_pool_of_small_buffers_is_refused(loop):
    """A pipe opened with O_DIRECT keeps packets, of which a small buffer would lose the rest."""
    small = Keeper(netloop.BufferPool(4, SIZE - 1))
    reading, writing = os.pipe()
    refused = pytest.raises(ValueError, match="a pipe is read into buffers of at least 4096 bytes, and those of the")
    with open(reading, "rb", 0) as near, open(writing, "wb", 0), refused:
        await loop.connect_read_pipe(lambda: small, near)
    keeper = Keeper(netloop.BufferPool(4, SIZE))
    async with read_pipe(loop, keeper) as far:
        with pytest.raises(ValueError, match="a pipe is read into buffers of at least 4096 bytes"):
            keeper.transport.set_protocol(small)
        far.write(b"goes on")
        assert await keeper.until_received(7) == b"goes on"


async def test_packets_come_one_to_a_lease(loop):
    keeper = Keeper(netloop.BufferPool(8, SIZE), keeps=True)
    async with read_pipe(loop, keeper, os.O_DIRECT) as far:
        packets = [b"one", b"x" * SIZE, b"three"]
        for packet in packets:
            far.write(packet)
        await keeper.until_received(sum(map(len, packets)))
        assert [bytes(each) for each in keeper.leases] == packets
        keeper.release_all()


async def test_messages_of_a_socket_and_one_that_does_not_fit(loop, caplog):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper = Keeper(netloop.BufferPool(8, 10), keeps=True)
    with far:
        transport, _ = await loop.connect_read_pipe(lambda: keeper, near)
        for message in (b"one", b"two", b"0123456789..."):
            far.send(message)
        await keeper.until_received(16)
        assert [bytes(each) for each in keeper.leases] == [b"one", b"two", b"0123456789"]
        assert "a message was cut to 10 bytes" in caplog.text
        keeper.release_all()
        transport.close()
        await keeper.lost


async def test_a_stream_socket_and_a_terminal(loop):
    near, far = socket.socketpair()
    master, slave = os.openpty()
    tty.setraw(slave)
    keeper, typed = Keeper(netloop.BufferPool(4, 5)), Keeper()
    with far, open(slave, "rb", 0) as terminal, open(master, "wb", 0) as keyboard:
        transport, _ = await loop.connect_read_pipe(lambda: keeper, near)
        other, _ = await loop.connect_read_pipe(lambda: typed, terminal)
        far.send(b"by a socket")
        keyboard.write(b"by hand")
        assert await keeper.until_received(11) == b"by a socket"
        assert await typed.until_received(7) == b"by hand"
        transport.close()
        other.close()
        await keeper.lost
        await typed.lost


async def test_an_error_of_the_protocol_is_reported_and_reading_goes_on(loop, exceptions):
    class Failing(Keeper):
        def lease_received(self, lease):
            super().lease_received(lease)
            if self.data == b"x":
                raise ZeroDivisionError

    failing = Failing(netloop.BufferPool(4, SIZE))
    async with read_pipe(loop, failing) as far:
        far.write(b"x")
        await failing.until_received(1)
        await eventually(lambda: len(exceptions))
        far.write(b"y")
        assert await failing.until_received(2) == b"xy"
    (context,) = exceptions.take()
    assert context["message"] == "Error in protocol.lease_received()"


def test_what_has_arrived_when_a_loop_stops_is_there_when_it_runs_again(new_loop):
    """Also in another thread, where the loop has another ring."""
    loop = new_loop()
    pool = netloop.BufferPool(4, SIZE)
    reading, writing = os.pipe()
    with open(reading, "rb", 0) as near, open(writing, "wb", 0) as far:
        _, keeper = loop.run_until_complete(loop.connect_read_pipe(lambda: Keeper(pool), near))
        data = b""
        for number in range(6):
            part = pattern(number * 100, 100)
            data += part
            far.write(part)
            select.select([near], [], [], 0.01)

            def run(expected=data):
                loop.run_until_complete(asyncio.wait_for(keeper.until_received(len(expected)), 10))

            if number % 2:
                thread = threading.Thread(target=run)
                thread.start()
                thread.join()
            else:
                run()
            assert keeper.data == data
        far.write(b"left over")
        select.select([near], [], [], 0.01)
        keeper.transport.close()
        loop.run_until_complete(keeper.lost)
    loop.close()
    assert pool._states() == bytes([FREE] * 4)
