"""What arrives is handed over where the kernel has put it."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl

import pytest
from loop.certificates import client_context, server_context
from loop.helpers import BufferedRecorder, Recorder, connected, eventually

import netloop

from .helpers import Keeper, joined, pattern

BOTH = pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])


@BOTH
async def test_bytes_arrive_in_order_in_the_callers_memory(loop, tcp):
    memory = bytearray(16 * 1000)
    pool = netloop.BufferPool(16, 1000, memory=memory)
    keeper = Keeper(pool, keeps=True)
    data = pattern(0, 7500)
    async with joined(loop, keeper, tcp) as far:
        far.send(data)
        await keeper.until_received(len(data))
        lying = b"".join(memory[each.offset : each.offset + len(each)] for each in keeper.leases)
        assert lying == data
        (figures,) = loop.statistics().pools
        assert (figures.received_bytes, figures.leased) == (len(data), len(keeper.leases))
        keeper.release_all()
        far.shutdown(socket.SHUT_WR)
        await keeper.until_called("eof_received")
    assert keeper.calls[0] == "connection_made"
    assert keeper.calls[-2:] == ["eof_received", "connection_lost"]


@BOTH
async def test_a_megabyte_in_pieces_of_any_size(loop, tcp):
    pool = netloop.BufferPool(8, 128 * 1024)
    keeper = Keeper(pool)
    data = os.urandom(1 << 20)
    async with joined(loop, keeper, tcp) as far:
        for begin, end in ((0, 1), (1, 5000), (5000, 300_000), (300_000, 1 << 20)):
            await loop.sock_sendall(far, data[begin:end])
            await asyncio.sleep(0.001)
        assert await keeper.until_received(len(data)) == data


async def test_without_a_pool_of_its_own_it_receives_into_the_loops(loop):
    first, second = Keeper(), Keeper()
    async with joined(loop, first) as far, joined(loop, second) as other:
        far.send(b"one")
        other.send(b"two")
        assert await first.until_received(3) == b"one"
        assert await second.until_received(3) == b"two"
        (figures,) = loop.statistics().pools
        assert (figures.size, figures.received) == (128 * 1024, 2)


async def test_a_server_takes_the_pool_that_each_of_its_protocols_names(loop):
    pools = [netloop.BufferPool(2, 100), netloop.BufferPool(2, 100)]
    made = []

    def factory():
        made.append(Keeper(pools[len(made)]))
        return made[-1]

    async with connected(server=factory) as (client, _), connected(server=factory) as (other, _):
        client.transport.write(b"first")
        other.transport.write(b"other")
        await eventually(lambda: all(each.data for each in made))
        assert [pool._statistics()["received_bytes"] for pool in pools] == [5, 5]


async def test_a_dry_pool_holds_its_receives_up_and_no_others(loop, caplog):
    pool = netloop.BufferPool(3, 10)
    keeper, other = Keeper(pool, keeps=True), Keeper(netloop.BufferPool(2, 10))
    data = pattern(0, 95)
    async with joined(loop, keeper) as far, joined(loop, other) as fast:
        far.send(data)
        await keeper.until_received(30)
        fast.send(data)
        await other.until_received(len(data))
        assert (len(keeper.data), len(keeper.leases)) == (30, 3)
        figures = [each for each in loop.statistics().pools if each.buffers == 3]
        assert (figures[0].leased, figures[0].waiting_receives, figures[0].dry) == (3, 1, 1)
        while len(keeper.data) < len(data):
            before = len(keeper.data)
            keeper.leases.pop(0).release()
            await keeper.until_received(before + 1)
        assert bytes(keeper.data) == data
        assert "connection_lost" not in keeper.calls
        keeper.release_all()
    lines = [record.getMessage() for record in caplog.records if "is dry" in record.getMessage()]
    assert len(lines) == 1
    assert "<BufferPool of 3 buffers of 10 bytes, 3 leased> is dry" in lines[0]
    assert "seconds, by the protocol of <StreamTransport open" in lines[0]


@BOTH
async def test_paused_reading_delivers_nothing_and_loses_nothing(loop, tcp):
    keeper = Keeper(netloop.BufferPool(4, 1000))
    async with joined(loop, keeper, tcp) as far:
        far.send(b"a")
        await keeper.until_received(1)
        keeper.transport.pause_reading()
        far.send(b"b" * 5000)
        far.shutdown(socket.SHUT_WR)
        await asyncio.sleep(0.01)
        assert keeper.data == b"a"
        keeper.transport.resume_reading()
        await keeper.until_called("eof_received")
        assert keeper.data == b"a" + b"b" * 5000


async def test_leases_that_nobody_was_given_go_back(loop):
    loop.set_debug(True)  # so that one left to the collector is a warning, and an error
    pool = netloop.BufferPool(4, 10)

    class Pausing(Keeper):
        def lease_received(self, lease):
            super().lease_received(lease)
            self.transport.pause_reading()

    keeper = Pausing(pool)
    async with joined(loop, keeper) as far:
        far.send(bytes(40))
        await keeper.until_received(10)
        await asyncio.sleep(0.01)
    await eventually(lambda: not pool._statistics()["leased"])
    loop.set_debug(False)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
async def test_protocols_change_in_the_middle_of_a_stream(loop, large):
    """Every kind of protocol follows on every other, by set_protocol(), and no byte is lost or comes twice."""
    size = 100_000 if large else 100
    pools = [netloop.BufferPool(4, size), netloop.BufferPool(8, size)]
    kinds = [lambda: Keeper(pools[0]), Recorder, lambda: Keeper(pools[1]), BufferedRecorder, Keeper]
    data = os.urandom(size)
    protocol = first = Keeper(pools[0])
    rounds = 25
    async with joined(loop, first, tcp=True) as far:
        for number in range(rounds):
            sending = asyncio.ensure_future(loop.sock_sendall(far, data * 2))
            if number % 2:
                await protocol.until_received(size)
            successor = kinds[(number + number // 5) % 5]()
            protocol.hand_over_to(successor)
            before = bytes(protocol.data)
            await successor.until_received(2 * size - len(before))
            await sending
            assert before + successor.data == data * 2
            assert protocol.data == before
            successor.data.clear()
            protocol = successor
        protocol.hand_over_to(first)


async def test_what_receive_pool_must_return(loop):
    class Wrong(Keeper):
        def receive_pool(self):
            return "pool"

    class Closed(Keeper):
        def receive_pool(self):
            return closed

    near, far = socket.socketpair()
    with far:
        with pytest.raises(TypeError, match="receive_pool\\(\\) must return a BufferPool or None, not str"):
            await loop.create_connection(Wrong, sock=near)
        assert near.fileno() < 0
    keeper = Keeper()
    closed = await asyncio.to_thread(pool_of_a_closed_loop)
    async with joined(loop, keeper) as far:
        with pytest.raises(RuntimeError, match="the event loop of this buffer pool is closed"):
            keeper.transport.set_protocol(Closed())
        far.send(b"goes on")
        await keeper.until_received(7)


def pool_of_a_closed_loop():
    loop = netloop.new_event_loop()

    async def make():
        return netloop.BufferPool(1, 10)

    pool = loop.run_until_complete(make())
    loop.close()
    return pool


async def test_an_error_of_the_protocol_ends_the_connection(loop, exceptions):
    class Failing(Keeper):
        def lease_received(self, lease):
            lease.release()
            raise ZeroDivisionError

    failing = Failing()
    async with joined(loop, failing) as far:
        far.send(b"x")
        assert isinstance(await failing.lost, ZeroDivisionError)
    (context,) = exceptions.take()
    assert context["message"] == "Fatal error: protocol.lease_received() call failed."


async def test_tls_refuses_leases_in_words(loop, exceptions):
    server = await loop.create_server(Keeper, "127.0.0.1", 0, ssl=server_context())
    address = server.sockets[0].getsockname()
    with pytest.raises(ConnectionError):
        await loop.create_connection(Recorder, *address, ssl=client_context(), server_hostname="localhost")
    with pytest.raises(TypeError, match="a connection with TLS has no leases"):
        await loop.create_connection(Keeper, *address, ssl=client_context(), server_hostname="localhost")
    await eventually(lambda: len(exceptions) == 2)
    for context in exceptions.take():
        assert "a connection with TLS has no leases" in str(context["exception"])
    server.close()
    keeper = Keeper()
    async with joined(loop, keeper):
        with pytest.raises(TypeError, match="a connection with TLS has no leases"):
            await loop.start_tls(keeper.transport, keeper, ssl.create_default_context(), server_hostname="x")


async def test_a_tls_transport_sends_no_leases(loop):
    server = await loop.create_server(Recorder, "127.0.0.1", 0, ssl=server_context())
    address = server.sockets[0].getsockname()
    transport, client = await loop.create_connection(
        Recorder, *address, ssl=client_context(), server_hostname="localhost"
    )
    lease = netloop.BufferPool(1, 10).take()
    for send in (transport.write_lease, lambda each: transport.writelines([b"x", each])):
        with pytest.raises(TypeError, match="a connection with TLS has no leases"):
            send(lease)
    with pytest.raises(TypeError, match="a connection with TLS has no leases"):
        transport.set_protocol(Keeper())
    lease.release()
    transport.close()
    await client.lost
    server.close()


def test_another_loop_says_that_it_has_none():
    with pytest.raises(TypeError, match="cannot hand its protocol leases"):
        netloop.LeaseProtocol().data_received(b"")
