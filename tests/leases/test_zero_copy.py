"""Leases that are sent without a copy: the same bytes arrive, and buffers go back at the kernel's last word.

On the loopback interface the kernel copies when the peer's side takes the data, so that it refers to a buffer for as
long as the peer's window is full. Linux before 6.2 does not tell that it copies.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import threading

import pytest
from faults.child import run_child
from faults.test_fork import in_fork
from loop.helpers import SEVERAL_RINGS, Recorder, eventually

import netloop

from .helpers import FREE, LEASED, SENDING, joined
from .test_sending import filled, read_all

SIZE = 64 * 1024
ZERO_COPY = pytest.mark.parametrize("zero_copy", [True, "auto", False])


def figures(loop):
    (pool,) = loop.statistics().pools
    return pool


def told(pool):
    """Leases of which the kernel has said what has become of them."""
    return pool.zero_copy_done + pool.zero_copy_copied + pool.zero_copy_failed


async def fill(loop, transport, pool, far):
    """Send until the peer's window is full, so that the kernel still refers to some; how many leases were sent."""
    count = 0
    while True:
        transport.write_lease(filled(pool, bytes([count]) * SIZE))
        count += 1
        for _ in range(5):
            await asyncio.sleep(0.002)
        if transport.get_write_buffer_size():
            return count


@ZERO_COPY
@pytest.mark.parametrize("register", [True, False])
@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
async def test_everything_arrives_in_order(loop, zero_copy, register, tcp):
    pool = netloop.BufferPool(40, SIZE, zero_copy=zero_copy, register=register)
    recorder = Recorder()
    expected = b""
    async with joined(loop, recorder, tcp, small=True) as far:
        for number in range(30):
            data = bytes([number]) * (SIZE - number)
            recorder.transport.write_lease(filled(pool, data))
            expected += data
            if number % 7 == 0:
                recorder.transport.write(b"between")
                expected += b"between"
        recorder.transport.write_eof()
        assert await read_all(loop, far) == expected
        await eventually(lambda: pool._states().count(FREE) == 40)
        pool_figures = figures(loop)
        assert pool_figures.sent == 30
        assert told(pool_figures) == pool_figures.zero_copy_asked
        if not SEVERAL_RINGS:  # only connections of the first can send without a copy
            assert (pool_figures.zero_copy_asked > 0) == (zero_copy is True or (zero_copy == "auto" and tcp))
    assert pool_figures.not_registered == ("" if register else "register=False")


async def test_the_peers_host_is_tried_once_and_no_more_where_the_kernel_copies(loop):
    pool = netloop.BufferPool(4, SIZE)
    for _ in range(3):
        recorder = Recorder()
        async with joined(loop, recorder, tcp=True) as far:
            for _ in range(10):
                recorder.transport.write_lease(await pool.take_when_free())
                assert len(await loop.sock_recv(far, SIZE))
            recorder.transport.write_eof()
            await read_all(loop, far)
    pool_figures = figures(loop)
    assert pool_figures.zero_copy_asked == 1
    assert pool_figures.zero_copy_copied + pool_figures.zero_copy_failed == 1


async def test_little_is_sent_as_usual_unless_it_is_asked_for(loop):
    for zero_copy, asked in [("auto", 0), (True, 1)]:
        pool = netloop.BufferPool(1, 1000, zero_copy=zero_copy)
        recorder = Recorder()
        async with joined(loop, recorder, tcp=True) as far:
            recorder.transport.write_lease(filled(pool, b"little"))
            assert await loop.sock_recv(far, 100) == b"little"
            await eventually(lambda pool=pool: pool._states().count(FREE) == 1)
        assert pool._statistics()["zero_copy_asked"] >= asked
        assert bool(pool._statistics()["zero_copy_asked"]) == bool(asked)


async def test_buffers_come_back_when_the_peer_has_taken_what_is_in_them(loop):
    pool = netloop.BufferPool(200, SIZE, zero_copy=True)
    recorder = Recorder()
    async with joined(loop, recorder, tcp=True, small=True) as far:
        count = await fill(loop, recorder.transport, pool, far)
        assert pool._states().count(SENDING) >= 1
        recorder.transport.write_eof()
        assert await read_all(loop, far) == b"".join(bytes([number]) * SIZE for number in range(count))
        await eventually(lambda: pool._states().count(FREE) == 200)
    assert figures(loop).sent == count


@pytest.mark.parametrize("how", ["close", "abort", "peer resets"])
async def test_a_connection_ends_though_the_kernel_still_refers_to_its_leases(loop, how):
    """connection_lost() does not wait for the kernel's last word; that comes when the peer's side ends."""
    pool = netloop.BufferPool(200, SIZE, zero_copy=True)
    recorder = Recorder()
    async with joined(loop, recorder, tcp=True, small=True) as far:
        await fill(loop, recorder.transport, pool, far)
        if how == "peer resets":
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            far.close()
        elif how == "close":
            recorder.transport.close()
            await asyncio.sleep(0.01)
            await read_all(loop, far)
        else:
            recorder.transport.abort()
        await recorder.lost
        far.close()
        await eventually(lambda: pool._states().count(FREE) == 200)
    pool_figures = figures(loop)
    assert told(pool_figures) == pool_figures.zero_copy_asked
    assert not pool_figures.leased
    assert loop.statistics().in_flight == 0


async def test_a_view_keeps_a_sent_buffer(loop):
    pool = netloop.BufferPool(1, SIZE, zero_copy=True)
    recorder = Recorder()
    async with joined(loop, recorder, tcp=True) as far:
        lease = filled(pool, b"x" * SIZE)
        view = memoryview(lease)
        recorder.transport.write_lease(lease)
        recorder.transport.write_eof()
        assert await read_all(loop, far) == b"x" * SIZE
        await eventually(lambda: told(figures(loop)) == figures(loop).zero_copy_asked)
        assert pool._states() == bytes([LEASED])
        assert view == b"x" * SIZE
        view.release()
        assert pool._states() == bytes([FREE])


def loop_with_sends_under_way():
    """A loop that has stopped while the kernel refers to leases; with what is to be kept.

    Without io_cpus: a ring with a poller is not that of a thread, and nothing is kept of it when that ends.
    """
    loop = netloop.EventLoop(io_cpus=())

    async def main():
        pool = netloop.BufferPool(200, SIZE, zero_copy=True)
        recorder = Recorder()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            near = socket.create_connection(listener.getsockname())
            far = listener.accept()[0]
        for sock in (near, far):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            sock.setblocking(False)
        transport, _ = await loop.create_connection(lambda: recorder, sock=near)
        count = await fill(loop, transport, pool, far)
        return pool, recorder, far, count

    return loop, *loop.run_until_complete(main())


def close_scene():
    loop, pool, recorder, far, _ = loop_with_sends_under_way()
    loop.close()
    recorder.transport.abort()
    far.close()
    states = pool._states()
    return states.count(FREE) + states.count(SENDING) + states.count(LEASED)


def test_a_loop_closes_while_the_kernel_refers_to_leases():
    """What the kernel has not let go of is never used again."""
    assert run_child(close_scene) == 200


def fork_scene():
    loop, pool, recorder, far, count = loop_with_sends_under_way()

    def in_child():
        try:
            pool.take()
        except RuntimeError as error:
            return "parent process" in str(error)

    status = in_fork(in_child)
    recorder.transport.write_eof()

    async def rest():
        data = await read_all(loop, far)
        await eventually(lambda: pool._states().count(FREE) == 200)
        recorder.transport.abort()
        await recorder.lost
        return len(data)

    length = loop.run_until_complete(rest())
    far.close()
    loop.close()
    return status, length == count * SIZE


def test_a_process_forks_while_the_kernel_refers_to_leases():
    assert run_child(fork_scene) == [True, True]


def other_thread_scene():
    """The next thread goes on, or is told why it cannot and the first one does."""
    loop, pool, recorder, far, count = loop_with_sends_under_way()
    recorder.transport.write_eof()
    lengths = []

    async def rest():
        data = await read_all(loop, far)
        await eventually(lambda: pool._states().count(FREE) == 200)
        lengths.append(len(data))
        recorder.transport.abort()
        await recorder.lost

    def run():
        coroutine = rest()
        try:
            loop.run_until_complete(coroutine)
        except RuntimeError:
            coroutine.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if not lengths:
        run()
    far.close()
    loop.close()
    return lengths == [count * SIZE]


def test_another_thread_runs_the_loop_while_the_kernel_refers_to_leases():
    assert run_child(other_thread_scene)


def ended_thread_scene():
    """What the peer gets, and how many buffers are never used again."""
    made = []
    thread = threading.Thread(target=lambda: made.append(loop_with_sends_under_way()))
    thread.start()
    thread.join()
    ((loop, pool, recorder, far, count),) = made
    recorder.transport.write_eof()

    async def rest():
        data = await read_all(loop, far)
        recorder.transport.abort()
        await recorder.lost
        return data

    data = loop.run_until_complete(rest())
    far.close()
    loop.close()
    expected = b"".join(bytes([number]) * SIZE for number in range(count))
    return data == expected, pool._states().count(SENDING) > 0, pool._states().count(LEASED)


def test_a_loop_goes_on_whose_thread_has_ended_while_the_kernel_refers_to_leases():
    """The kernel's last word goes to the ring of the thread that is no more."""
    assert run_child(ended_thread_scene) == [True, True, 0]


def limited_scene():
    # The compiled modules, and what resolves names, are where that user may not read.
    _ = netloop.EventLoop, "host".encode("idna")
    os.setgid(65534)
    os.setuid(65534)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (64 * 1024, 64 * 1024))
    loop = netloop.EventLoop(submission_entries=8, completion_entries=64, buffer_count_max=4, fixed_files=0)

    async def main():
        pool = netloop.BufferPool(4, 1 << 20, register=False, zero_copy=True)
        recorder = Recorder()
        async with joined(loop, recorder, tcp=True) as far:
            for number in range(3):
                recorder.transport.write_lease(filled(pool, bytes([number]) * (1 << 20)))
            recorder.transport.write_eof()
            data = await read_all(loop, far)
            await eventually(lambda: pool._states().count(FREE) == 4)
        return data == b"".join(bytes([number]) * (1 << 20) for number in range(3)), figures(loop).zero_copy_failed

    result = loop.run_until_complete(main())
    loop.close()
    return result


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user with a small limit of locked memory")
def test_where_no_more_memory_may_be_pinned_leases_are_sent_as_usual():
    arrived, failed = run_child(limited_scene)
    assert arrived
    assert failed > 0 or SEVERAL_RINGS


def test_a_wish_that_is_none_is_refused():
    with pytest.raises(ValueError, match="zero_copy must be True, False or 'auto'"):
        netloop.BufferPool(1, 10, zero_copy="always")
