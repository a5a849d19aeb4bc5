"""Signal handlers, and KeyboardInterrupt leaving a loop that still works."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from .helpers import Echo, Recorder, connected, eventually, turns

USR1, USR2 = signal.SIGUSR1, signal.SIGUSR2


def send(signum: int) -> None:
    """Send this process a signal."""
    os.kill(os.getpid(), signum)


def send_from_a_thread(signum: int, loop: asyncio.AbstractEventLoop) -> threading.Thread:
    """Send this process a signal a moment after the loop has begun to run, when it has gone to sleep."""
    running = threading.Event()

    def wait_and_send():
        if running.wait(10):
            time.sleep(0.01)
            send(signum)

    thread = threading.Thread(target=wait_and_send)
    thread.start()
    loop.call_soon(running.set)
    return thread


@pytest.fixture(autouse=True)
def handlers_are_restored():
    before = {signum: signal.getsignal(signum) for signum in (USR1, USR2, signal.SIGINT, signal.SIGTERM)}
    yield
    after = {signum: signal.getsignal(signum) for signum in before}
    for signum, handler in before.items():
        signal.signal(signum, handler)
    wakeup = signal.set_wakeup_fd(-1)
    assert after == before
    assert wakeup == -1


async def test_a_handler_is_called_with_its_arguments(loop):
    seen = []
    loop.add_signal_handler(USR1, lambda *args: seen.append(args), 1, "two")
    send(USR1)
    await eventually(lambda: seen)
    assert loop.remove_signal_handler(USR1)
    assert seen == [(1, "two")]


async def test_a_signal_wakes_an_idle_loop(loop):
    came = loop.create_future()
    loop.add_signal_handler(USR1, came.set_result, None)
    thread = send_from_a_thread(USR1, loop)
    await came
    thread.join()
    loop.remove_signal_handler(USR1)


async def test_signals_repeat(loop):
    seen = []
    loop.add_signal_handler(USR1, seen.append, 1)
    for count in range(1, 21):
        send(USR1)
        await eventually(lambda: len(seen) >= count)  # noqa: B023
    loop.remove_signal_handler(USR1)
    await turns()
    assert len(seen) == 20


async def test_several_signals_have_handlers_of_their_own(loop):
    seen = []
    for signum in (USR1, USR2, signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, seen.append, signum)
    for signum in (USR2, signal.SIGINT, USR1, signal.SIGTERM):
        send(signum)
    await eventually(lambda: len(seen) == 4)
    for signum in (USR1, USR2, signal.SIGTERM, signal.SIGINT):
        assert loop.remove_signal_handler(signum)
    assert sorted(seen) == sorted([USR1, USR2, signal.SIGTERM, signal.SIGINT])


async def test_several_signals_in_one_turn(loop):
    """All of them arrive while one callback runs."""
    seen = []
    for signum in (USR1, USR2, signal.SIGTERM):
        loop.add_signal_handler(signum, seen.append, signum)
    for _ in range(10):
        for signum in (USR1, USR2, signal.SIGTERM):
            send(signum)
    await eventually(lambda: {USR1, USR2, signal.SIGTERM} <= set(seen))
    for signum in (USR1, USR2, signal.SIGTERM):
        loop.remove_signal_handler(signum)


def test_signals_wake_a_loop_that_has_nothing_else_to_do(loop):
    """The only thing that can end each wait is the signal."""
    seen = []
    loop.add_signal_handler(USR1, lambda: (seen.append(USR1), loop.stop()))
    for count in range(1, 6):
        thread = send_from_a_thread(USR1, loop)
        loop.run_forever()
        thread.join()
        assert len(seen) == count
    loop.remove_signal_handler(USR1)


async def test_a_second_handler_replaces_the_first(loop):
    seen = []
    loop.add_signal_handler(USR1, seen.append, "first")
    loop.add_signal_handler(USR1, seen.append, "second")
    send(USR1)
    await eventually(lambda: seen)
    loop.remove_signal_handler(USR1)
    assert seen == ["second"]


async def test_a_handler_can_remove_itself(loop):
    removed = loop.create_future()
    loop.add_signal_handler(USR1, lambda: removed.set_result(loop.remove_signal_handler(USR1)))
    send(USR1)
    assert await removed is True


def test_removing_a_handler_that_is_not_there(loop):
    assert loop.remove_signal_handler(USR1) is False


def test_removing_a_handler_restores_the_default(loop):
    loop.add_signal_handler(signal.SIGTERM, print)
    loop.add_signal_handler(signal.SIGINT, print)
    assert loop.remove_signal_handler(signal.SIGTERM)
    assert loop.remove_signal_handler(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_closing_the_loop_removes_the_handlers(loop):
    loop.add_signal_handler(USR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    loop.close()
    assert signal.getsignal(USR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_bad_arguments(loop):
    async def coroutine():
        pass

    with pytest.raises(TypeError):
        loop.add_signal_handler("SIGUSR1", print)
    with pytest.raises(ValueError):
        loop.add_signal_handler(signal.NSIG + 1, print)
    with pytest.raises((RuntimeError, OSError)):
        loop.add_signal_handler(signal.SIGKILL, print)
    with pytest.raises(TypeError, match="coroutine"):
        loop.add_signal_handler(USR1, coroutine)
    assert loop.remove_signal_handler(USR1) is False


def test_only_the_main_thread_may_add_a_handler(new_loop):
    errors = []

    def work():
        loop = new_loop()
        try:
            loop.add_signal_handler(USR1, print)
        except (ValueError, RuntimeError) as error:
            errors.append(error)
        loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(errors) == 1


async def test_an_exception_in_a_handler_is_reported(loop, exceptions):
    loop.add_signal_handler(USR1, lambda: 1 / 0)
    send(USR1)
    await eventually(lambda: exceptions)
    loop.remove_signal_handler(USR1)
    assert exceptions.take_types() == [ZeroDivisionError]


async def test_signals_come_through_while_data_flows(loop):
    seen = []
    loop.add_signal_handler(USR1, seen.append, 1)
    async with connected(server=Echo) as (client, _):
        total = 0
        while len(seen) < 10 or total < 100:
            client.transport.write(b"x" * 1000)
            total += 1
            if total % 5 == 0:
                send(USR1)
            await client.until_received(total * 1000)
    loop.remove_signal_handler(USR1)
    assert len(client.data) == total * 1000


def test_a_signal_before_the_loop_runs_is_handled_when_it_does(loop):
    seen = []
    loop.add_signal_handler(USR1, seen.append, 1)
    send(USR1)
    loop.run_until_complete(eventually(lambda: seen))
    loop.remove_signal_handler(USR1)


def test_a_plain_python_handler_runs_while_the_loop_sleeps(loop):
    came = loop.create_future()
    previous = signal.signal(USR1, lambda *args: loop.call_soon_threadsafe(came.set_result, None))
    thread = send_from_a_thread(USR1, loop)
    loop.run_until_complete(came)
    thread.join()
    signal.signal(USR1, previous)


def test_an_exception_of_a_plain_python_handler_leaves_the_loop(loop):
    def handler(signum, frame):
        raise LookupError("from the handler")

    previous = signal.signal(USR1, handler)
    thread = send_from_a_thread(USR1, loop)
    with pytest.raises(LookupError, match="from the handler"):
        loop.run_forever()
    thread.join()
    signal.signal(USR1, previous)
    loop.run_until_complete(asyncio.sleep(0.001))


def test_the_wakeup_descriptor_of_someone_else_survives_a_run(loop):
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        signal.set_wakeup_fd(near.fileno())
        loop.run_until_complete(asyncio.sleep(0.001))
        assert signal.set_wakeup_fd(-1) == near.fileno()


def interrupt_soon(how, loop):
    """Arrange for a KeyboardInterrupt in one of several places; return what to wait for afterwards."""
    if how == "idle":
        return send_from_a_thread(signal.SIGINT, loop)
    if how == "busy":

        def spin():
            loop.call_soon(spin)

        spin()
        return send_from_a_thread(signal.SIGINT, loop)
    loop.call_later(0.005, send, signal.SIGINT)
    return None


@pytest.mark.parametrize("how", ["idle", "busy", "callback"])
def test_an_interrupt_ends_the_run_and_the_loop_runs_again(loop, how):
    thread = interrupt_soon(how, loop)
    task = loop.create_task(asyncio.sleep(1000))
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    if thread is not None:
        thread.join()
    assert not loop.is_running()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)

    async def use():
        async with connected(server=Echo) as (client, _):
            client.transport.write(b"still here")
            return await client.until_received(10)

    assert loop.run_until_complete(use()) == b"still here"
    if how == "busy":
        loop.close()  # the callback that reschedules itself would go on for ever


class Interrupted(Recorder):
    """Raises KeyboardInterrupt at the first data."""

    def data_received(self, data):
        first = not self.data
        super().data_received(data)
        if first:
            raise KeyboardInterrupt


def test_an_interrupt_in_a_protocol_ends_the_run_and_the_loop_runs_again(loop):
    async def send_some():
        async with connected(server=Interrupted) as (client, server):
            client.transport.write(b"one")
            await server.until_received(3)
            client.transport.write(b"two")
            await server.until_received(6)
            return bytes(server.data)

    task = loop.create_task(send_some())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    assert loop.run_until_complete(task) == b"onetwo"


def test_runner_cancels_the_main_task_on_interrupt(new_loop):
    cancelled = []

    async def main():
        thread = send_from_a_thread(signal.SIGINT, asyncio.get_running_loop())
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        finally:
            thread.join()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())
        assert cancelled == [True]
        assert runner.run(asyncio.sleep(0.001, "again")) == "again"


async def test_a_child_process_does_not_disturb_the_loop(loop):
    child = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", "print(1)"], capture_output=True)
    assert child.stdout == b"1\n"
