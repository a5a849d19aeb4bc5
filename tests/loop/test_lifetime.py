"""Loops are cheap to make and leave nothing behind; an idle loop does nothing at all."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import threading
import time
import tracemalloc
import weakref

import pytest

from .helpers import HOST, Echo, address_of, connected, eventually, serving, turns, until_readable


def status(name: str) -> int:
    """A figure of /proc/self/status, in KiB where it is an amount of memory."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def resources() -> tuple[int, int, int]:
    """Open descriptors, threads, and locked and pinned memory."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), status("Threads"), status("VmLck") + status("VmPin")


@contextlib.contextmanager
def nothing_lasting():
    """Check that descriptors, threads and locked memory come back to what they were, given a moment."""
    before = resources()
    yield
    deadline = time.monotonic() + 5
    while resources() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert all(now <= then for now, then in zip(resources(), before, strict=True)), (before, resources())


def use(loop: asyncio.AbstractEventLoop) -> None:
    """A task, a timer and a wake-up from outside."""
    loop.call_soon_threadsafe(int)
    loop.run_until_complete(asyncio.sleep(0.00001))


async def echo_once():
    """One connection with one message each way."""
    async with connected(server=Echo) as (client, _):
        client.transport.write(b"ping")
        await client.until_received(4)


def test_two_thousand_loops_one_after_the_other(raw_loop):
    def make_and_use(count):
        for _ in range(count):
            loop = raw_loop()
            use(loop)
            loop.close()

    with nothing_lasting():
        make_and_use(200)
        memory = status("VmRSS")
        make_and_use(1800)
        gc.collect()
        assert status("VmRSS") - memory < 16 * 1024


def test_loops_that_had_connections_leave_nothing(raw_loop):
    with nothing_lasting():
        for _ in range(50):
            loop = raw_loop()
            loop.run_until_complete(echo_once())
            loop.close()


def test_loops_that_are_never_run_leave_nothing(raw_loop):
    with nothing_lasting():
        for _ in range(100):
            raw_loop().close()


def test_a_hundred_loops_at_the_same_time(raw_loop):
    with nothing_lasting():
        loops = [raw_loop() for _ in range(100)]
        for _ in range(2):
            for loop in loops:
                use(loop)
        for loop in loops:
            loop.close()


def test_loops_in_threads_leave_nothing(raw_loop):
    def work():
        for _ in range(10):
            loop = raw_loop()
            loop.run_until_complete(echo_once())
            loop.close()

    with nothing_lasting():
        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
def test_a_loop_that_is_never_closed_is_collected_with_a_warning(raw_loop, used):
    with nothing_lasting():
        for _ in range(20):
            with pytest.warns(ResourceWarning, match="unclosed event loop"):
                loop = raw_loop()
                if used:
                    use(loop)
                gone = weakref.ref(loop)
                del loop
                gc.collect()
            # The warning has kept what it warned of; before Python 3.15 a weak reference did not see that.
            gc.collect()
            assert gone() is None


@pytest.mark.parametrize("collecting", [True, False], ids=["collecting", "counting references"])
def test_a_closed_loop_is_freed(raw_loop, collecting):
    """At once, without a collection, if nobody refers to it: it is in no cycle."""
    loop = raw_loop()
    use(loop)
    loop.run_until_complete(echo_once())
    loop.close()
    gc.collect()
    if not collecting:
        gc.disable()
    try:
        gone = weakref.ref(loop)
        del loop
        if collecting:
            gc.collect()
        assert gone() is None
    finally:
        gc.enable()


class Plain(asyncio.Protocol):
    """Echoes, and takes little memory itself."""

    __slots__ = ("transport",)

    def __init__(self, made):
        self.transport = None
        made.append(self)

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def memory_of_connections(count: int, message: bytes) -> float:
    """Bytes that the interpreter allocates for each accepted connection, after an exchange of a message if it has one.

    The peers are connected before, because they are of this process too.
    """
    made: list[Plain] = []
    server = await asyncio.get_running_loop().create_server(lambda: Plain(made), HOST, 0, backlog=count)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(address_of(server))) for _ in range(count)]
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        await eventually(lambda: len(made) == count)
        for peer in peers if message else []:
            peer.send(message)
            await until_readable(peer)
            assert peer.recv(len(message)) == message
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
        for protocol in made:
            protocol.transport.abort()
    await turns()
    server.close()
    await server.wait_closed()
    return taken / count


@pytest.mark.needs("fixed_table")
@pytest.mark.parametrize("message", [b"", b"x" * 64], ids=["silent", "spoken to"])
def test_idle_connections_take_little_memory(loop, message):
    tracemalloc.start()
    try:
        # Tables that have grown stay so.
        loop.run_until_complete(memory_of_connections(200, message))
        assert loop.run_until_complete(memory_of_connections(200, message)) < 600
    finally:
        tracemalloc.stop()


def test_closed_connections_are_freed(loop):
    gone = []

    async def main():
        for _ in range(10):
            async with connected(server=Echo) as (client, server):
                client.transport.write(b"ping")
                await client.until_received(4)
                gone.extend(weakref.ref(thing) for thing in (client, server, client.transport))

    loop.run_until_complete(main())
    loop.run_until_complete(asyncio.sleep(0.01))
    gc.collect()
    assert [ref() for ref in gone] == [None] * 30


def test_a_connection_left_open_is_closed_with_a_warning_when_its_loop_is_gone(raw_loop):
    async def open_and_forget():
        loop = asyncio.get_running_loop()
        listening = await loop.create_server(asyncio.Protocol, HOST, 0)
        transport, _ = await loop.create_connection(asyncio.Protocol, *address_of(listening))
        transport.pause_reading()
        listening.close()

    with nothing_lasting():
        with pytest.warns(ResourceWarning, match="unclosed") as caught:
            loop = raw_loop()
            loop.run_until_complete(open_and_forget())
            loop.close()
            del loop
            gc.collect()
        assert any("ransport" in str(warning.message) for warning in caught)


def switches(thread_id: int) -> int:
    """How often a thread of this process gave up the processor by itself."""
    with open(f"/proc/self/task/{thread_id}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


@pytest.mark.parametrize("scene", ["nothing", "server", "connection", "far timer", "cancelled timer", "reader"])
def test_an_idle_loop_never_wakes_up(loop, scene):
    ready = threading.Event()
    stopping = []
    near, far = os.pipe()

    async def main():
        stopping.append(loop.create_future())
        timers = []
        if scene == "far timer":
            timers.append(loop.call_later(1000, print))
        if scene == "cancelled timer":
            loop.call_later(0.1, print).cancel()
        if scene == "reader":
            loop.add_reader(near, print)
        async with contextlib.AsyncExitStack() as stack:
            if scene == "server":
                await stack.enter_async_context(serving())
            if scene == "connection":
                await stack.enter_async_context(connected())
            loop.call_later(0.02, ready.set)
            await stopping[0]
        for timer in timers:
            timer.cancel()
        loop.remove_reader(near)

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    assert ready.wait(10)
    time.sleep(0.05)
    statistics = getattr(loop, "statistics", None)
    turns_before, before = statistics().turns if statistics else 0, switches(thread.native_id)
    time.sleep(0.3)
    after, turns_after = switches(thread.native_id), statistics().turns if statistics else 0
    loop.call_soon_threadsafe(stopping[0].set_result, None)
    thread.join()
    os.close(near)
    os.close(far)
    assert after == before
    assert turns_after == turns_before
