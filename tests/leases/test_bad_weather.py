"""Dry pools, threads, forks, resets and loops that end, with leases out."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
import threading

import pytest
from faults.child import run_child
from faults.test_fork import in_fork
from loop.helpers import POLLED, Recorder, connected, eventually, serving

import netloop

from .helpers import FREE, KERNELS, LEASED, SENDING, Keeper, Pages, joined, pattern


@pytest.mark.limit(60)
async def test_a_thousand_senders_share_four_buffers(loop):
    """Nobody is disconnected, nothing is lost, and all come to their end as leases are released."""
    pool = netloop.BufferPool(4, 64)
    count, size = 1000, 200
    keepers = []

    def factory():
        keepers.append(Keeper(pool, keeps=True))
        return keepers[-1]

    async with serving(factory) as (server, _):
        address = server.sockets[0].getsockname()
        senders = []
        for _ in range(count):
            sender = socket.socket()
            sender.setblocking(False)
            await loop.sock_connect(sender, address)
            senders.append(sender)
        await eventually(lambda: len(keepers) == count)
        for number, sender in enumerate(senders):
            sender.send(pattern(number, size))
        await eventually(lambda: loop.statistics().pools[0].waiting_receives >= count - 4)
        while sum(len(keeper.data) for keeper in keepers) < count * size:
            for keeper in keepers:
                keeper.release_all()
            await asyncio.sleep(0)
        assert sorted(bytes(keeper.data) for keeper in keepers) == sorted(
            pattern(number, size) for number in range(count)
        )
        assert not any("connection_lost" in keeper.calls for keeper in keepers)
        for keeper in keepers:
            keeper.release_all()
        for sender in senders:
            sender.close()
        await asyncio.gather(*(keeper.lost for keeper in keepers))
    statistics = loop.statistics()
    assert statistics.pools[0].leased == 0
    assert statistics.pools_dry == statistics.pools[0].dry > 0


async def test_the_kernel_does_not_touch_what_is_leased(loop):
    """Leased pages cannot be written to, so a receive into one would end the connection with EFAULT."""
    pages = Pages(8)
    pool = netloop.BufferPool(8, 4096, memory=pages.memory, register=False)
    keeper = Keeper(pool, keeps=True)
    data = pattern(0, 40_000)
    async with joined(loop, keeper) as far:
        sending = asyncio.ensure_future(loop.sock_sendall(far, data))
        while len(keeper.data) < len(data):
            before = len(keeper.data)
            await keeper.until_received(min(before + 1, len(data)))
            for lease in keeper.leases:
                pages.protect(lease.offset // 4096, pages.READ)
            await asyncio.sleep(0.001)
            if len(keeper.leases) > 5:
                lease = keeper.leases.pop(0)
                pages.protect(lease.offset // 4096, pages.WRITE)
                lease.release()
        await sending
        assert bytes(keeper.data) == data
        for lease in keeper.leases:
            pages.protect(lease.offset // 4096, pages.WRITE)
        keeper.release_all()


async def test_leases_are_released_by_another_thread(loop):
    pool = netloop.BufferPool(2, 10)
    keeper = Keeper(pool, keeps=True)
    data = pattern(0, 500)
    async with joined(loop, keeper) as far:
        far.send(data)
        while len(keeper.data) < len(data):
            await keeper.until(lambda: keeper.leases)
            leases, keeper.leases = keeper.leases, []
            before = len(keeper.data)
            threads = [threading.Thread(target=lease.release) for lease in leases * 2]
            for thread in threads:
                thread.start()
            if before < len(data):
                # Nothing else wakes the loop.
                await keeper.until_received(before + 1)
            for thread in threads:
                thread.join()
            del leases, threads, thread
        assert bytes(keeper.data) == data
        keeper.release_all()


def test_a_loop_goes_on_in_another_thread_with_leases_and_receives(new_loop):
    loop = new_loop()
    pool = netloop.BufferPool(4, 10)
    keeper = None
    near, far = socket.socketpair()
    data = pattern(0, 200)

    async def begin():
        nonlocal keeper
        keeper = Keeper(pool, keeps=True)
        await loop.create_connection(lambda: keeper, sock=near)
        far.send(data[:20])
        await keeper.until_received(20)
        far.send(data[20:100])

    async def go_on():
        while len(keeper.data) < 100:
            before = len(keeper.data)
            keeper.release_all()
            await keeper.until_received(before + 1)
        far.send(data[100:])

    async def end():
        while len(keeper.data) < 200:
            before = len(keeper.data)
            keeper.release_all()
            await keeper.until_received(before + 1)
        keeper.release_all()
        keeper.transport.abort()
        await keeper.lost

    loop.run_until_complete(begin())
    for step in (go_on, end):
        thread = threading.Thread(target=lambda step=step: loop.run_until_complete(step()))
        thread.start()
        thread.join()
    assert bytes(keeper.data) == data
    assert pool._states().count(LEASED) == 0
    far.close()


def test_a_connection_ends_between_two_runs_with_leases_to_come(new_loop):
    """What had arrived when the loop stopped goes back, though the program still refers to the transport."""
    loop = new_loop()
    near, far = socket.socketpair()

    async def begin():
        keeper = Keeper(netloop.BufferPool(4, 10))
        transport, _ = await loop.create_connection(lambda: keeper, sock=near)
        await asyncio.sleep(0.01)
        # A write has the loop enter the kernel once more before it stops, and the data comes by that.
        loop.call_soon(lambda: (far.send(b"data"), transport.write(b"x")))
        return keeper

    async def end():
        await keeper.lost
        await asyncio.sleep(0.01)

    keeper = loop.run_until_complete(begin())
    assert POLLED or LEASED in keeper.pool._states()
    keeper.transport.abort()
    loop.run_until_complete(end())
    # A poller may have brought the data before the loop stopped.
    assert keeper.data == b"" or (POLLED and keeper.data == b"data")
    assert LEASED not in keeper.pool._states()
    far.close()


def test_a_pool_that_is_gone_leaves_another_threads_ring_alone(new_loop):
    """What the old ring had registered of it is not taken for what the new ring has registered since."""
    loop = new_loop()
    pools = []

    async def make():
        pools.append(netloop.BufferPool(2, 4096))
        keeper = Keeper(pools[-1])
        async with joined(loop, keeper) as far:
            far.send(b"data")
            await keeper.until_received(4)

    loop.run_until_complete(make())
    loop.run_until_complete(make())
    del pools[0]
    gc.collect()
    for _ in range(3):
        thread = threading.Thread(target=lambda: loop.run_until_complete(make()))
        thread.start()
        thread.join()
    assert [pool.registered for pool in pools] == [True] * 4
    assert len(loop.statistics().pools) == 4


@pytest.mark.parametrize("dry", [False, True])
def test_a_loop_is_closed_with_leases_out_and_receives_armed(new_loop, dry):
    loop = new_loop()
    pool = netloop.BufferPool(4, 10)
    near, far = socket.socketpair()

    async def begin():
        keeper = Keeper(pool, keeps=True)
        await loop.create_connection(lambda: keeper, sock=near)
        far.send(pattern(0, 80 if dry else 20))
        await keeper.until_received(40 if dry else 20)
        return keeper

    keeper = loop.run_until_complete(begin())
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        loop.close()
        leases = keeper.leases
        assert [bytes(lease) for lease in leases] == [pattern(10 * at, 10) for at in range(len(leases))]
        assert pool._states().count(KERNELS) == 0
        for lease in leases:
            lease.release()
            lease.release()
        assert pool._states() == bytes(4)
        keeper.transport = None
        del keeper, leases, lease
        gc.collect()
    far.close()


def test_a_loop_is_closed_while_leases_are_being_sent(new_loop):
    loop = new_loop()
    pool = netloop.BufferPool(16, 256 * 1024)
    near, far = socket.socketpair()

    async def begin():
        recorder = Recorder()
        await loop.create_connection(lambda: recorder, sock=near)
        for _ in range(16):
            recorder.transport.write_lease(pool.take())
        await asyncio.sleep(0.01)
        return recorder

    recorder = loop.run_until_complete(begin())
    assert SENDING in pool._states()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        loop.close()
        assert pool._states() == bytes(16)
        recorder.transport = None
        gc.collect()
    far.close()


async def test_a_peers_reset_with_leases_on_both_ways(loop):
    pool = netloop.BufferPool(16, 64 * 1024)

    class Back(Keeper):
        def lease_received(self, lease):
            self.transport.write_lease(lease)
            self.called("lease_received")

    back = Back(pool)
    async with joined(loop, back, tcp=True) as far:
        far.setblocking(False)
        while pool._statistics()["leased"] < 4:  # the peer sends and never reads
            try:
                far.send(bytes(100_000))
            except BlockingIOError:
                await asyncio.sleep(0.001)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        assert isinstance(await back.lost, ConnectionError)
    assert pool._statistics()["leased"] == 0


async def test_the_pool_goes_before_its_connections_and_leases(loop):
    pool = netloop.BufferPool(4, 10)
    keeper = Keeper(pool, keeps=True)
    async with joined(loop, keeper) as far:
        keeper.pool = pool = None
        gc.collect()
        far.send(b"0123456789")
        assert await keeper.until_received(10) == b"0123456789"
    assert len(loop.statistics().pools) == 1
    assert bytes(keeper.leases[0]) == b"0123456789"
    keeper.transport = None
    del keeper.leases[:]
    gc.collect()
    await asyncio.sleep(0)
    assert loop.statistics().pools == ()


def fork_scene() -> list[object]:
    """Fork with leases out, receives armed and sends under way; what each process saw."""
    loop = netloop.new_event_loop()
    memory = bytearray(8 * 100)
    near, far = socket.socketpair()

    async def begin():
        pool = netloop.BufferPool(8, 100, memory=memory)
        keeper = Keeper(pool, keeps=True)
        await loop.create_connection(lambda: keeper, sock=near)
        far.send(b"before")
        await keeper.until_received(6)
        return pool, keeper

    pool, keeper = loop.run_until_complete(begin())

    def child() -> bool:
        lease = keeper.leases.pop()
        good = bytes(lease) == b"before"
        lease.release()
        try:
            pool.take()
        except RuntimeError as error:
            good = good and "after fork()" in str(error)
        else:
            good = False
        loop.close()
        return good

    async def go_on():
        kept = pool.take(5)
        keeper.transport.write_lease(kept)
        far.send(b" after")
        await keeper.until_received(12)
        keeper.release_all()
        keeper.transport.close()
        await keeper.lost
        return bytes(keeper.data)

    in_child = in_fork(child)
    after = loop.run_until_complete(go_on())
    states = list(pool._states())
    loop.close()
    far.close()
    return [in_child, after.decode(), FREE in states and LEASED not in states]


def test_a_fork_with_leases_out():
    assert run_child(fork_scene) == [True, "before after", True]


def limited_scene() -> list[object]:
    """What a user who may lock 64 KiB of memory is told."""
    _ = netloop.EventLoop  # the compiled modules are where that user may not read
    os.setgid(65534)
    os.setuid(65534)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (64 * 1024, 64 * 1024))
    said = []

    async def main():
        pool = netloop.BufferPool(64, 65536)
        said.append(pool.registered)
        said.append(asyncio.get_running_loop().statistics().pools[0].not_registered)
        try:
            netloop.BufferPool(64, 65536, register=True)
        except OSError as error:
            said.append(str(error))
        keeper = Keeper(pool)
        async with joined(asyncio.get_running_loop(), keeper) as far:
            far.send(b"data")
            said.append((await keeper.until_received(4)).decode())

    loop = netloop.EventLoop(submission_entries=8, completion_entries=64, buffer_count_max=4, fixed_files=0)
    loop.run_until_complete(main())
    loop.close()
    return said


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user with a small limit of locked memory")
def test_a_small_limit_of_locked_memory():
    registered, why, refusal, data = run_child(limited_scene)
    assert (registered, data) == (False, "data")
    assert "RLIMIT_MEMLOCK is 65536 bytes" in why
    assert "raise it" in why
    assert why in refusal


async def test_a_file_cannot_be_registered_and_serves_all_the_same(loop, tmp_path):
    import mmap

    with open(tmp_path / "file", "w+b") as file:
        file.truncate(65536)
        with pytest.raises(OSError, match="of a mapped file"):
            netloop.BufferPool(16, 4096, memory=mmap.mmap(file.fileno(), 65536), register=True)
        gc.collect()
        pool = netloop.BufferPool(16, 4096, memory=mmap.mmap(file.fileno(), 65536))
        assert "of a mapped file" in loop.statistics().pools[0].not_registered
        keeper = Keeper(pool)
        async with joined(loop, keeper) as far:
            far.send(b"data")
            await keeper.until_received(4)


async def test_many_connections_come_and_go_over_one_pool(loop):
    pool = netloop.BufferPool(8, 1000)

    class Echo(Keeper):
        def lease_received(self, lease):
            self.transport.write_lease(lease)

    for _ in range(100):
        async with connected(server=lambda: Echo(pool)) as (client, _):
            client.transport.write(b"x" * 3000)
            await client.until_received(3000)
    assert pool._statistics()["leased"] == 0
