"""Buffer pools and leases by themselves: sizes, memory of the caller's, views, splits, the end."""

from __future__ import annotations

import asyncio
import gc
import struct
import threading
import weakref
from typing import Any, cast

import pytest

import netloop

from .helpers import FREE, KERNELS, LEASED


def test_an_empty_lease_is_written_through_a_view_and_read_in_place():
    pool = netloop.BufferPool(4, 100)
    with pool.take(10) as lease:
        with lease.writable() as view:
            assert (len(view), view.readonly, view.format) == (10, False, "B")
            view[:5] = b"hello"
        assert bytes(lease)[:5] == b"hello"
        assert (lease[0], lease[-10], lease[1:4], lease[4:0:-2]) == (ord("h"), ord("h"), b"ell", b"ol")
        assert memoryview(lease)[:5] == b"hello"
        assert len(lease) == 10
    assert len(pool.take()) == 100


class Index:
    """A number that does something when it is asked for."""

    def __init__(self, number, doing):
        self.number = number
        self.doing = doing

    def __index__(self):
        self.doing()
        return self.number


@pytest.mark.parametrize("reads", [lambda lease, at: lease[at], lambda lease, at: lease[at:]])
def test_an_index_that_releases_the_lease_reads_nothing(reads):
    lease = netloop.BufferPool(1, 10).take()
    with pytest.raises(ValueError, match="this lease was released"):
        reads(lease, Index(0, lease.release))


def test_an_index_that_splits_the_lease_reads_nothing_behind_it():
    pool = netloop.BufferPool(2, 10)
    lease, behind = pool.take(), pool.take()
    assert (lease.offset, behind.offset) in [(0, 10), (10, 0)]
    for each, letter in ((lease, b"a"), (behind, b"b")):
        with each.writable() as view:
            view[:] = letter * 10
    for each in (lease, behind):
        whole = bytes(each)
        heads = []
        assert each[Index(0, lambda each=each, heads=heads: heads.append(each.split(8))) :] == whole


def test_nobody_writes_but_through_a_view_that_was_asked_for():
    lease = netloop.BufferPool(1, 10).take()
    assert memoryview(lease).readonly
    with pytest.raises(TypeError):
        memoryview(lease)[0] = 1
    with pytest.raises((BufferError, TypeError)):
        struct.pack_into("B", lease, 0, 1)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: netloop.BufferPool(0, 10), "count must be from 1 to 32768"),
        (lambda: netloop.BufferPool(32769, 10), "count must be from 1 to 32768"),
        (lambda: netloop.BufferPool(cast(Any, 2.5), 10), "'float' object cannot be interpreted as an integer"),
        (lambda: netloop.BufferPool(1, 0), "size must be from 1 to 1073741824"),
        (lambda: netloop.BufferPool(1, -1), "size must be from 1"),
        (lambda: netloop.BufferPool(1, (1 << 30) + 1), "size must be from 1"),
        (lambda: netloop.BufferPool(2, 10, memory=bytearray(19)), "19 bytes, and 2 buffers of 10 bytes take 20"),
        (lambda: netloop.BufferPool(1, 10, memory=bytes(10)), "memory must be writable"),
        (lambda: netloop.BufferPool(1, 10, memory=memoryview(bytearray(30))[::3]), "memory must be contiguous"),
        (lambda: netloop.BufferPool(1, 10, memory=cast(Any, object())), "object"),
        (lambda: netloop.BufferPool(1, 10, register=cast(Any, "yes")), "register must be True, False or 'auto'"),
        (lambda: netloop.BufferPool(1, 10, register=True), "register=True needs a running event loop"),
    ],
)
def test_what_cannot_be_a_pool_is_refused_in_words(make, what):
    with pytest.raises((ValueError, TypeError, RuntimeError), match=what):
        make()


def test_callers_memory_is_used_where_it_is_and_held_as_long_as_it_may_be():
    memory = bytearray(b"-" * 40)
    pool = netloop.BufferPool(4, 10, memory=memory)
    leases = [pool.take() for _ in range(4)]
    for number, lease in enumerate(leases):
        with lease.writable() as view:
            view[:] = bytes([65 + number]) * 10
    assert sorted(lease.offset for lease in leases) == [0, 10, 20, 30]
    assert all(memory[lease.offset : lease.offset + 10] == bytes(lease) for lease in leases)
    gone = weakref.ref(pool)
    del pool
    last = leases.pop()
    del leases[:], lease
    gc.collect()
    assert gone() is not None
    with pytest.raises(BufferError):
        memory.append(0)
    last.release()
    del last
    gc.collect()
    assert gone() is None
    memory.append(0)


def test_two_pools_do_not_share_memory():
    memory = bytearray(100)
    view = memoryview(memory)
    first = netloop.BufferPool(5, 10, memory=memory)
    with pytest.raises(ValueError, match="overlaps with that of another pool"):
        netloop.BufferPool(5, 10, memory=view[49:])
    second = netloop.BufferPool(5, 10, memory=view[50:])
    del first
    gc.collect()
    third = netloop.BufferPool(5, 10, memory=view[:50])
    for pool, byte in ((second, b"2"), (third, b"3")):
        with pool.take() as lease, lease.writable() as into:
            into[:] = byte * 10
    assert (memory[50:].count(b"2"), memory[:50].count(b"3")) == (10, 10)


def test_a_pool_has_as_many_leases_as_buffers():
    pool = netloop.BufferPool(3, 10)
    leases = [pool.take(0), pool.take(10), pool.take()]
    with pytest.raises(BlockingIOError, match="no buffer is free: of 3 3 are leased"):
        pool.take()
    offset = leases[1].offset
    leases[1].release()
    with pool.take() as lease:
        assert lease.offset == offset
    for length in (-1, 11):
        with pytest.raises(ValueError, match="length must be from 0 to 10"):
            pool.take(length)


def test_a_split_buffer_goes_back_when_all_parts_are_released():
    pool = netloop.BufferPool(1, 10)
    rest = pool.take()
    with rest.writable() as view:
        view[:] = b"0123456789"
    head = rest.split(4)
    middle = rest.split(3)
    empty = rest.split(0)
    assert [bytes(each) for each in (head, middle, rest, empty)] == [b"0123", b"456", b"789", b""]
    assert [each.offset for each in (head, middle, rest)] == [0, 4, 7]
    for length in (-1, 4):
        with pytest.raises(ValueError, match=f"3 bytes cannot be split at {length}"):
            rest.split(length)
    for each in (middle, empty, rest):
        each.release()
        assert pool._states() == bytes([LEASED])
    head.release()
    assert pool._states() == bytes([FREE])


def test_what_is_released_cannot_be_read():
    pool = netloop.BufferPool(1, 10)
    lease = pool.take()
    lease.release()
    lease.release()
    assert pool._states() == bytes([FREE])
    for use in (len, bytes, memoryview, repr, lambda each: each[0], lambda each: each.offset):
        if use is repr:
            assert repr(lease) == "<Lease released>"
            continue
        with pytest.raises(ValueError, match="this lease was released"):
            use(lease)
    for use in (lease.writable, lambda: lease.split(0), lease.__enter__):
        with pytest.raises(ValueError, match="this lease was released"):
            use()


def test_a_view_keeps_the_buffer_until_it_goes():
    pool = netloop.BufferPool(1, 10)
    lease = pool.take()
    with lease.writable() as view:
        view[:] = b"0123456789"
        with pytest.raises(BufferError, match="a view that writes to this lease"):
            lease.split(1)
    first = memoryview(lease)
    second = memoryview(lease)[5:]
    lease.release()
    assert (bytes(first), bytes(second)) == (b"0123456789", b"56789")
    first.release()
    with pytest.raises(BlockingIOError):
        pool.take()
    second.release()
    pool.take().release()


def test_a_lease_that_nobody_refers_to_is_released():
    pool = netloop.BufferPool(1, 10)
    pool.take()
    lease = pool.take()
    cycle = [lease]
    cycle.append(cycle)
    del lease, cycle
    gc.collect()
    pool.take().release()


def test_a_lease_comes_from_a_pool_only():
    with pytest.raises(TypeError, match="made by a pool"):
        netloop.Lease()
    empty = netloop.Lease.__new__(netloop.Lease)
    with pytest.raises(ValueError, match="released"):
        bytes(empty)
    with pytest.raises(ValueError, match="released"):
        memoryview(empty)
    empty.release()
    assert repr(empty) == "<Lease released>"


async def test_debug_mode_tells_of_leases_that_nobody_has_released(loop):
    pool = netloop.BufferPool(2, 10)
    loop.set_debug(True)
    with pytest.warns(ResourceWarning, match="unreleased lease <Lease of 7 bytes at"):
        pool.take(7)
    pool.take().release()
    loop.set_debug(False)
    pool.take()


async def test_a_pool_that_is_dry_is_waited_for_in_order(loop):
    pool = netloop.BufferPool(1, 10)
    lease = pool.take()
    first, second, third = (asyncio.create_task(pool.take_when_free(length)) for length in (1, 2, 3))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0.01)
    assert not first.done()
    lease.release()
    lease = await first
    assert len(lease) == 1
    thread = threading.Thread(target=lease.release)
    thread.start()
    lease = await third
    thread.join()
    assert len(lease) == 3
    lease.release()
    (await pool.take_when_free()).release()


async def test_who_is_cancelled_while_a_buffer_comes_leaves_it(loop):
    pool = netloop.BufferPool(1, 10)
    lease = pool.take()
    waiting = asyncio.create_task(pool.take_when_free())
    await asyncio.sleep(0)
    lease.release()
    # The buffer is handed over by the next flush; the task has not run yet when it is cancelled.
    loop.call_soon(loop.call_soon, waiting.cancel)
    with pytest.raises(asyncio.CancelledError):
        lease = await waiting
        lease.release()
        raise asyncio.CancelledError
    assert pool._states() == bytes([FREE])


def test_a_pool_belongs_to_one_loop(new_loop):
    first, second = new_loop(), new_loop()

    async def make():
        return netloop.BufferPool(1, 10)

    async def take(pool):
        (await pool.take_when_free()).release()

    pool = first.run_until_complete(make())
    first.run_until_complete(take(pool))
    with pytest.raises(ValueError, match="belongs to another event loop"):
        second.run_until_complete(take(pool))
    assert pool.registered
    first.close()
    assert not pool.registered
    for use in (pool.take, lambda: second.run_until_complete(take(pool))):
        with pytest.raises(RuntimeError, match="the event loop of this buffer pool is closed"):
            use()


def test_leases_outlive_their_loop(new_loop):
    loop = new_loop()

    async def make():
        return netloop.BufferPool(1, 10)

    pool = loop.run_until_complete(make())
    lease = pool.take()
    loop.close()
    with lease.writable() as view:
        view[:] = b"0123456789"
    assert bytes(lease) == b"0123456789"
    threading.Thread(target=lease.release).start()
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()
    assert pool._states() == bytes([FREE])


async def test_a_pool_that_is_gone_leaves_the_loop(loop):
    for _ in range(300):  # more than a loop can have at once
        netloop.BufferPool(2, 10)
        await asyncio.sleep(0)
    assert loop.statistics().pools == ()
    pools = [netloop.BufferPool(2, 10, register=False) for _ in range(200)]
    with pytest.raises(RuntimeError, match="200 buffer pools"):
        netloop.BufferPool(2, 10)
    assert len(loop.statistics().pools) == len(pools)


async def test_statistics_say_whether_the_memory_is_registered(loop):
    registered = netloop.BufferPool(2, 4096, register=True)
    assert registered.registered
    assert [pool.not_registered for pool in loop.statistics().pools] == [""]
    plain = netloop.BufferPool(2, 4096, register=False)
    assert not plain.registered
    assert sorted(pool.not_registered for pool in loop.statistics().pools) == ["", "register=False"]


async def test_more_pools_than_can_be_registered_go_on_without(loop):
    pools = [netloop.BufferPool(1, 4096) for _ in range(65)]
    assert [pool.registered for pool in pools].count(False) == 1
    with pytest.raises(OSError, match="the ring's table of registered memory is full"):
        netloop.BufferPool(1, 4096, register=True)
    assert KERNELS not in pools[0]._states()
