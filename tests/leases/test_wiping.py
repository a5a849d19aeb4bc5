"""A lease shows only its bytes, and a pool that wipes clears a buffer before anything else comes there."""

from __future__ import annotations

import asyncio
import mmap

import pytest
from faults.child import run_child
from faults.test_fork import in_fork
from loop.helpers import eventually

import netloop

from .helpers import FREE, Keeper, joined, pattern

SECRET = b"the first connection's"


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
async def test_a_lease_shows_only_its_bytes(loop, large):
    """Whatever an earlier connection has left in the buffer, and in those beside it, is not seen."""
    size = 300_000 if large else 100
    pool = netloop.BufferPool(2, size)
    for content in (b"x" * size, b"yy"):
        keeper = Keeper(pool, keeps=True)
        async with joined(loop, keeper, tcp=True) as far:
            for _ in range(6):
                await loop.sock_sendall(far, content)
                while len(keeper.data) < len(content):
                    await keeper.until_received(len(keeper.data) + 1)
                    for lease in keeper.leases:
                        shown = {bytes(lease), bytes(memoryview(lease)), lease[:], lease[-size:], b"".join([lease])}
                        assert len(shown) == 1
                        assert set(shown.pop()) == set(content[:1])
                        with lease.writable() as view:
                            assert len(view) == len(lease)
                        with pytest.raises(IndexError):
                            lease[len(lease)]
                    keeper.release_all()
                assert keeper.data == content
                keeper.data.clear()


async def test_what_was_received_is_gone_when_the_last_view_of_it_is(loop):
    memory = bytearray(100)
    pool = netloop.BufferPool(1, 100, memory=memory, wipe=True)
    keeper = Keeper(pool, keeps=True)
    async with joined(loop, keeper) as far:
        far.send(SECRET)
        await keeper.until_received(len(SECRET))
        (lease,) = keeper.leases
        view = memoryview(lease)[4:9]
        keeper.release_all()
        assert (bytes(view), memory[: len(SECRET)]) == (b"first", SECRET)
        view.release()
        assert memory == bytes(100)
        # Only what was written: the caller's own bytes stay.
        memory[50:] = b"." * 50
        keeper.data.clear()
        far.send(SECRET * 2)
        await keeper.until_received(44)
        keeper.release_all()
        assert memory == bytes(50) + b"." * 50


async def test_a_pool_that_does_not_wipe_leaves_what_was_there(loop):
    memory = bytearray(100)
    keeper = Keeper(netloop.BufferPool(1, 100, memory=memory))
    async with joined(loop, keeper) as far:
        far.send(SECRET)
        await keeper.until_received(len(SECRET))
    assert memory[: len(SECRET)] == SECRET


async def test_large_receives_are_wiped(loop):
    memory = bytearray(4 * 300_000)
    pool = netloop.BufferPool(4, 300_000, memory=memory, wipe=True)
    keeper = Keeper(pool)
    data = pattern(1, 2_000_000)
    async with joined(loop, keeper, tcp=True) as far:
        await loop.sock_sendall(far, data)
        assert await keeper.until_received(len(data)) == data
    assert not any(memory)


async def test_what_nobody_was_given_is_wiped(loop):
    """Leases that arrive when reading is paused, and go with the connection."""
    memory = bytearray(1000)
    pool = netloop.BufferPool(4, 250, memory=memory, wipe=True)

    class Pausing(Keeper):
        def lease_received(self, lease):
            super().lease_received(lease)
            self.transport.pause_reading()

    keeper = Pausing(pool)
    async with joined(loop, keeper) as far:
        far.send(b"x" * 1000)
        await keeper.until_received(1)
        await asyncio.sleep(0.01)
    await eventually(lambda: not pool._statistics()["leased"])
    assert not any(memory)


async def test_what_was_sent_is_wiped_when_the_kernel_has_let_go(loop):
    memory = bytearray(100)
    pool = netloop.BufferPool(1, 100, memory=memory, wipe=True)
    async with joined(loop, keeper := Keeper()) as far:
        lease = pool.take(10)
        with lease.writable() as view:
            view[:] = b"0123456789"
        keeper.transport.write_lease(lease)
        await eventually(lambda: pool._states() == bytes([FREE]))
        assert await loop.sock_recv(far, 100) == b"0123456789"
    assert memory == bytes(100)


def test_a_buffer_in_parts_is_wiped_when_the_last_is_gone_and_as_far_as_it_was_written():
    memory = bytearray(b"." * 20)
    pool = netloop.BufferPool(1, 20, memory=memory, wipe=True)
    lease = pool.take(12)
    head = lease.split(4)
    with lease.writable() as view:
        view[:] = b"abcdefgh"
    lease.release()
    assert memory == b"....abcdefgh........"
    head.release()
    assert memory == bytes(12) + b"........"
    # Nothing was written, so nothing is cleared.
    memory[:] = b"." * 20
    pool.take().release()
    assert memory == b"." * 20


def fork_scene() -> list[object]:
    """Fork with a lease of shared memory out, which the child releases; what is left of it for the parent, and then."""
    loop = netloop.new_event_loop()
    memory = mmap.mmap(-1, 100)  # shared with children

    async def begin():
        pool = netloop.BufferPool(1, 100, memory=memory, wipe=True)
        lease = pool.take(5)
        with lease.writable() as view:
            view[:] = b"hello"
        return lease

    lease = loop.run_until_complete(begin())

    def child() -> bool:
        lease.release()
        loop.close()
        return True

    in_child = in_fork(child)
    found = bytes(lease)
    lease.release()
    loop.close()
    return [in_child, found.decode(), any(memory[:])]


def test_a_forked_child_clears_nothing_of_its_parents():
    assert run_child(fork_scene) == [True, "hello", False]


def test_what_an_array_may_have_written_is_wiped():
    memory = bytearray(b"." * 20)
    pool = netloop.BufferPool(1, 20, memory=memory, wipe=True)
    lease = pool.take(12)
    capsule = lease.__dlpack__()
    lease.release()
    assert memory == b"." * 20
    del capsule
    assert memory == bytes(12) + b"." * 8


async def test_the_next_connection_finds_nothing_of_the_one_before(loop):
    memory = bytearray(64)
    pool = netloop.BufferPool(1, 64, memory=memory, wipe=True)
    for content in (SECRET, b"?"):
        keeper = Keeper(pool, keeps=True)
        async with joined(loop, keeper) as far:
            far.send(content)
            await keeper.until_received(len(content))
            assert memory == content + bytes(64 - len(content))
            keeper.release_all()
