"""Leases are sent from where they lie, in order with all else, and go back exactly once."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
from loop.helpers import SEVERAL_RINGS, Recorder, eventually, turns

import netloop

from .helpers import FREE, SENDING, Keeper, joined, pattern

BOTH = pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])


def filled(pool: netloop.BufferPool, data: bytes) -> netloop.Lease:
    """A lease of a buffer that holds this."""
    lease = pool.take(len(data))
    with lease.writable() as view:
        view[:] = data
    return lease


async def read_all(loop, far):
    data = bytearray()
    while piece := await loop.sock_recv(far, 1 << 20):
        data += piece
    return bytes(data)


@BOTH
async def test_leases_go_out_in_order_with_bytes(loop, tcp):
    pool = netloop.BufferPool(8, 1000)
    recorder = Recorder()
    async with joined(loop, recorder, tcp) as far:
        transport = recorder.transport
        transport.write(b"<")
        transport.write_lease(filled(pool, b"1" * 100))
        transport.write(b"|")
        transport.writelines([filled(pool, b"2" * 500), b"|", filled(pool, b"3" * 1000), bytearray(b">")])
        transport.write_lease(pool.take(0))
        transport.write_eof()
        assert await read_all(loop, far) == b"<" + b"1" * 100 + b"|" + b"2" * 500 + b"|" + b"3" * 1000 + b">"
        await eventually(lambda: pool._states().count(FREE) == 8)
        (figures,) = loop.statistics().pools
        assert (figures.sent, figures.sent_bytes) == (3, 1600)


async def test_a_slow_peer_does_not_keep_a_buffer_for_each_few_bytes(loop):
    pool = netloop.BufferPool(2, 1600)
    recorder = Recorder()
    async with joined(loop, recorder, tcp=True, small=True) as far:
        recorder.transport.write(bytes(1 << 20))
        for number in range(100):
            recorder.transport.write_lease(filled(pool, bytes([number]) * 100))
        recorder.transport.write_lease(filled(pool, b"x" * 101))
        assert pool._states().count(SENDING) == 1
        recorder.transport.write_eof()
        data = await read_all(loop, far)
        assert data[1 << 20 :] == b"".join(bytes([number]) * 100 for number in range(100)) + b"x" * 101


@BOTH
async def test_a_relay_moves_bytes_without_touching_them(loop, tcp):
    pool = netloop.BufferPool(16, 64 * 1024)
    out = Recorder()

    class Relay(Keeper):
        def lease_received(self, lease):
            out.transport.write_lease(lease)

        def eof_received(self):
            out.transport.write_eof()

    into = Relay(pool)
    data = os.urandom(3 << 20)
    async with joined(loop, out, tcp) as far, joined(loop, into, tcp) as near:
        into.transport.pause_reading()
        out.pause_writing = into.transport.pause_reading
        out.resume_writing = into.transport.resume_reading
        into.transport.resume_reading()
        reading = asyncio.ensure_future(read_all(loop, far))
        await loop.sock_sendall(near, data)
        near.shutdown(socket.SHUT_WR)
        assert await reading == data
        figures = pool._statistics()
        assert figures["received_bytes"] == figures["sent_bytes"] == len(data)


@BOTH
async def test_leases_count_for_flow_control(loop, tcp):
    pool = netloop.BufferPool(64, 64 * 1024)
    recorder = Recorder()
    async with joined(loop, recorder, tcp) as far:
        sent = 0
        while "pause_writing" not in recorder.calls:
            recorder.transport.write_lease(filled(pool, bytes(pool.size)))
            sent += pool.size
            await asyncio.sleep(0)
        assert 64 * 1024 < recorder.transport.get_write_buffer_size() <= sent
        assert pool._states().count(SENDING) > 0
        recorder.transport.write_eof()
        assert len(await read_all(loop, far)) == sent
        await recorder.until_called("resume_writing")
        assert pool._states().count(FREE) == 64


async def test_a_lease_that_was_handed_over_cannot_be_used(loop):
    pool = netloop.BufferPool(2, 10)
    recorder = Recorder()
    async with joined(loop, recorder) as far:
        with filled(pool, b"0123456789") as lease:
            recorder.transport.write_lease(lease)
            for use in (len, bytes, memoryview, recorder.transport.write_lease, lambda each: each.split(1)):
                with pytest.raises(ValueError, match="handed over to a transport"):
                    use(lease)
            lease.release()
            assert repr(lease) == "<Lease handed over to a transport>"
        recorder.transport.write_eof()
        assert await read_all(loop, far) == b"0123456789"
        assert repr(lease) == "<Lease released>"
        assert pool._states() == bytes([FREE, FREE])


async def test_what_is_refused_stays_the_callers(loop):
    pool = netloop.BufferPool(3, 10)
    recorder = Recorder()
    async with joined(loop, recorder):
        lease, released, twice = filled(pool, b"0123456789"), pool.take(), pool.take()
        released.release()
        view = lease.writable()
        with pytest.raises(BufferError, match="a view that writes to this lease"):
            recorder.transport.write_lease(lease)
        view.release()
        for pieces in ([lease, released], [lease, lease], [twice, b"x", lease, twice]):
            with pytest.raises(ValueError, match=r"released|stands here twice"):
                recorder.transport.writelines(pieces)
        with pytest.raises(TypeError, match="write_lease\\(\\) sends it"):
            recorder.transport.write(lease)
        with pytest.raises(TypeError):
            recorder.transport.write_lease(b"no lease")
        recorder.transport.write_eof()
        with pytest.raises(RuntimeError, match="Cannot call write_lease\\(\\) after write_eof\\(\\)"):
            recorder.transport.write_lease(lease)
        assert bytes(lease) == b"0123456789"
        lease.release()
        twice.release()


async def test_a_view_that_is_left_keeps_what_was_sent(loop):
    pool = netloop.BufferPool(1, 10)
    recorder = Recorder()
    async with joined(loop, recorder) as far:
        lease = filled(pool, b"0123456789")
        view = memoryview(lease)
        recorder.transport.write_lease(lease)
        assert await loop.sock_recv(far, 100) == b"0123456789"
        await turns()
        with pytest.raises(BlockingIOError):
            pool.take()
        assert bytes(view) == b"0123456789"
        view.release()
        pool.take().release()


async def test_a_program_can_tell_which_transports_send_leases(loop):
    recorder = Recorder()
    async with joined(loop, recorder):
        assert isinstance(recorder.transport, netloop.LeaseTransport)
        assert isinstance(recorder.transport, asyncio.Transport)


async def test_parts_of_one_buffer_go_to_several_connections(loop):
    pool = netloop.BufferPool(1, 100)
    recorders = [Recorder(), Recorder()]
    async with joined(loop, recorders[0]) as first, joined(loop, recorders[1]) as second:
        rest = filled(pool, pattern(0, 100))
        head = rest.split(30)
        recorders[0].transport.write_lease(head)
        recorders[1].transport.write_lease(rest)
        assert await loop.sock_recv(first, 100) == pattern(0, 30)
        assert await loop.sock_recv(second, 100) == pattern(30, 70)
        await eventually(lambda: pool._states() == bytes([FREE]))


@BOTH
@pytest.mark.parametrize("end", ["abort", "close", "reset", "peer closes"])
async def test_leases_go_back_whatever_becomes_of_the_connection(loop, tcp, end):
    pool = netloop.BufferPool(32, 64 * 1024)
    recorder = Recorder()
    kept = []
    async with joined(loop, recorder, tcp, small=True) as far:
        for _ in range(31):
            lease = filled(pool, bytes(pool.size))
            kept.append(lease)  # the program may still refer to it
            recorder.transport.write_lease(lease)
            await asyncio.sleep(0)
        assert pool._states().count(SENDING) > 5
        if end == "abort":
            recorder.transport.abort()
        elif end == "close":
            recorder.transport.close()
            assert len(await read_all(loop, far)) == 31 * pool.size
        elif end == "reset" and tcp:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            far.close()
        else:
            far.close()
        await recorder.lost
    # The kernel may have sent some without a copy, and refer to them until the peer's side has ended.
    await eventually(lambda: pool._states().count(FREE) == 32)
    recorder.transport.write_lease(pool.take())
    assert pool._states().count(FREE) == 32
    assert loop.statistics().pools[0].leased == 0


async def test_a_pool_of_another_loop_is_refused(loop):
    pool = await asyncio.to_thread(pool_of_another_loop)
    recorder = Recorder()
    async with joined(loop, recorder):
        lease = pool[1].take()
        with pytest.raises(ValueError, match="belongs to another event loop"):
            recorder.transport.write_lease(lease)
        lease.release()

        class Wrong(Keeper):
            def receive_pool(self):
                return pool[1]

        # With several rings the protocol comes too late for any pool.
        with pytest.raises(
            RuntimeError if SEVERAL_RINGS else ValueError,
            match="its first protocol" if SEVERAL_RINGS else "belongs to another event loop",
        ):
            recorder.transport.set_protocol(Wrong())
    pool[0].close()


def pool_of_another_loop():
    loop = netloop.new_event_loop()

    async def make():
        return netloop.BufferPool(1, 10)

    return loop, loop.run_until_complete(make())
