"""Threads that use one loop at the same time, rightly and wrongly, with the interpreter lock and without it."""

from __future__ import annotations

import asyncio
import socket
import sysconfig
import threading
import time

import pytest
from loop.helpers import connected, eventually, in_thread

# Can this interpreter do without its lock? What is wrong is then refused, also while the lock is in force.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
refused_here = pytest.mark.skipif(not FREE_THREADED, reason="refused only where no lock keeps threads apart")

ROUNDS = 10


def at_once(*functions):
    """Call functions in a thread each, as nearly at the same moment as can be; returns what each returned or raised."""
    barrier = threading.Barrier(len(functions))
    outcomes: list[object] = [None] * len(functions)

    def call(number, function):
        barrier.wait()
        try:
            outcomes[number] = function()
        except RuntimeError as error:
            outcomes[number] = error

    threads = [threading.Thread(target=call, args=pair) for pair in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_of_two_threads_that_run_a_loop_one_does(new_loop):
    for _ in range(ROUNDS):
        loop = new_loop()

        def run():
            try:
                loop.run_forever()  # noqa: B023
            except RuntimeError:
                loop.call_soon_threadsafe(loop.stop)  # noqa: B023
                raise

        outcomes = at_once(run, run)
        errors = [outcome for outcome in outcomes if isinstance(outcome, RuntimeError)]
        assert len(errors) == 1 and "already running" in str(errors[0]), outcomes
        loop.close()


def test_a_loop_that_one_thread_runs_and_another_closes(new_loop):
    """Whichever comes first has it; the other is told, or finds it closed."""
    for _ in range(ROUNDS):
        loop = new_loop()
        loop.call_later(0.002, loop.stop)
        outcomes = at_once(loop.run_forever, loop.close)
        errors = [str(outcome) for outcome in outcomes if isinstance(outcome, RuntimeError)]
        assert all("running" in error or "closed" in error for error in errors), outcomes
        loop.close()
        assert loop.is_closed()


def test_closing_twice_at_once(new_loop):
    for _ in range(ROUNDS):
        loop = new_loop()
        in_thread(lambda: loop.run_until_complete(asyncio.sleep(0)))  # noqa: B023
        errors = [outcome for outcome in at_once(loop.close, loop.close, loop.close) if outcome is not None]
        assert all("being closed" in str(error) for error in errors), errors
        assert loop.is_closed()


async def test_a_watcher_that_another_thread_adds_and_removes(loop):
    near, far = socket.socketpair()
    with near, far:
        seen = []
        for number in range(20):
            await asyncio.to_thread(loop.add_reader, near, lambda: seen.append(near.recv(10)))
            far.send(b"%d" % number)
            await eventually(lambda: len(seen) == number + 1)  # noqa: B023
            assert await asyncio.to_thread(loop.remove_reader, near)
        far.send(b"unwatched")
        await asyncio.sleep(0.01)
        assert seen == [b"%d" % number for number in range(20)]
        assert near.recv(10) == b"unwatched"


async def test_handles_that_another_thread_cancels(loop):
    """They are not called, and timers do not stay in the heap until they would have been due."""
    handles = [loop.call_later(60, print) for _ in range(20)]
    before = loop.statistics().timers
    for handle in handles:
        await asyncio.to_thread(handle.cancel)
        assert handle.cancelled()
    await eventually(lambda: loop.statistics().timers <= before - len(handles))


async def test_statistics_and_questions_of_another_thread(loop):
    asked = threading.Event()

    def ask():
        before = 0
        while not asked.is_set():
            figures = loop.statistics()
            assert figures.turns >= before
            before = figures.turns
            assert loop.is_running() and not loop.is_closed()
            repr(loop)
        return before

    asking = asyncio.ensure_future(asyncio.to_thread(ask))
    for _ in range(20):
        async with connected() as (client, served):
            client.transport.write(b"x" * 1000)
            await served.until_received(1000)
    asked.set()
    assert await asking > 0


async def test_call_soon_of_another_thread_is_called_in_the_next_turn(loop):
    seen = []
    await asyncio.to_thread(lambda: [loop.call_soon(seen.append, number) for number in range(1000)])
    await eventually(lambda: len(seen) == 1000)
    assert seen == list(range(1000))


@refused_here
@pytest.mark.parametrize("call", ["call_later", "call_at"])
async def test_timers_of_another_thread_are_refused(loop, call):
    with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
        await asyncio.to_thread(getattr(loop, call), 1, print)


@refused_here
@pytest.mark.parametrize(
    "use",
    [
        lambda transport: transport.write(b"x"),
        lambda transport: transport.writelines([b"x"]),
        lambda transport: transport.write_eof(),
        lambda transport: transport.close(),
        lambda transport: transport.abort(),
        lambda transport: transport.pause_reading(),
        lambda transport: transport.resume_reading(),
        lambda transport: transport.set_write_buffer_limits(1),
    ],
    ids=["write", "writelines", "write_eof", "close", "abort", "pause_reading", "resume_reading", "limits"],
)
async def test_transports_of_another_thread_are_refused_and_go_on(loop, use):
    async with connected() as (client, served):
        with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
            await asyncio.to_thread(use, client.transport)
        client.transport.write(b"still here")
        await served.until_received(10)


def test_a_loop_that_others_go_on_calling_while_it_ends(new_loop):
    """Each is told, and nothing is written to a descriptor that is somebody else's by then."""
    for _ in range(ROUNDS):
        loop = new_loop()
        reading, writing = socket.socketpair()
        with reading, writing:

            def call_until_closed():
                while True:
                    loop.call_soon_threadsafe(int)  # noqa: B023
                    time.sleep(0)

            def end():
                loop.run_until_complete(asyncio.sleep(0.003))  # noqa: B023
                loop.close()  # noqa: B023

            outcomes = at_once(*[call_until_closed] * 3, end)
            assert all("closed" in str(outcome) for outcome in outcomes[:3]), outcomes
            reading.setblocking(False)
            with pytest.raises(BlockingIOError):
                reading.recv(1)
