"""A process that forks while it has a loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import traceback
import warnings

import pytest
from loop.helpers import Echo, connected

from .child import run_child


async def echo(word):
    """One connection, one message each way."""
    async with connected(server=Echo) as (client, _):
        client.transport.write(word)
        return (await client.until_received(len(word))) == word


def in_fork(function):
    """Fork, call the function in the child process, and return whether it returned true there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            good = function()
        except BaseException:
            traceback.print_exc()
            good = False
        os._exit(0 if good else 1)
    return os.waitpid(pid, 0)[1] == 0


def refuses(call, *arguments):
    """Whether a call raises the clear error that a loop of another process must give."""
    try:
        call(*arguments)
    except (RuntimeError, OSError) as error:
        return "fork" in str(error) or "process" in str(error)
    return False


def scene(name):
    """One of the scenes below, played in a process of its own; whether all went well."""
    import netloop

    def own_loop():
        loop = netloop.new_event_loop()
        try:
            return loop.run_until_complete(echo(b"child"))
        finally:
            loop.close()

    parent = netloop.new_event_loop()
    before = parent.run_until_complete(echo(b"before"))
    plays = {
        "runs the parent's loop": lambda: refuses(parent.run_until_complete, parent.create_future()),
        "runs the parent's loop forever": lambda: refuses(parent.run_forever),
        "closes the parent's loop": lambda: parent.close() is None,
        "closes it and makes its own": lambda: parent.close() is None and own_loop(),
        "makes its own": own_loop,
        "leaves": lambda: True,
    }
    in_child = in_fork(plays[name])
    after = parent.run_until_complete(echo(b"after"))
    parent.close()
    return before, in_child, after


@pytest.mark.parametrize(
    "name",
    [
        "runs the parent's loop",
        "runs the parent's loop forever",
        "closes the parent's loop",
        "closes it and makes its own",
        "makes its own",
        "leaves",
    ],
)
def test_the_child(name):
    assert run_child(scene, name) == [True, True, True]


def fork_in_a_callback():
    """Fork inside a coroutine, with a connection open; the child makes a loop, the parent goes on."""
    import netloop

    def own_loop():
        asyncio._set_running_loop(None)
        loop = netloop.new_event_loop()
        good = loop.run_until_complete(echo(b"child"))
        loop.close()
        return good

    async def main():
        async with connected(server=Echo) as (client, _):
            client.transport.write(b"one")
            await client.until_received(3)
            in_child = in_fork(own_loop)
            client.transport.write(b"two")
            return in_child, await client.until_received(6) == b"onetwo"

    return netloop.run(main())


def test_forking_while_the_loop_runs():
    assert run_child(fork_in_a_callback) == [True, True]


def operate_in_a_fork():
    """In the child, use a transport and schedule on the parent's loop: nothing of it may reach the parent."""
    import netloop

    loop = netloop.new_event_loop()
    reached = []

    def tamper(client):
        for call in (
            lambda: client.transport.write(b"from the child"),
            lambda: client.transport.abort(),
            lambda: loop.call_soon_threadsafe(reached.append, 1),
            lambda: loop.add_signal_handler(signal.SIGUSR1, print),
        ):
            with contextlib.suppress(RuntimeError, OSError):
                call()
        return True

    async def main():
        async with connected(server=Echo) as (client, _):
            in_child = in_fork(lambda: tamper(client))
            await asyncio.sleep(0.02)
            client.transport.write(b"from the parent")
            return in_child, bytes(await client.until_received(15)).decode()

    result = loop.run_until_complete(main())
    loop.close()
    return *result, reached


def test_what_the_child_does_with_the_parents_loop_does_not_reach_the_parent():
    assert run_child(operate_in_a_fork) == [True, "from the parent", []]


def start_processes():
    """Start ordinary child processes while the loop runs: the ring's descriptors do not reach them."""
    import netloop

    program = "import os; print(sorted(os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1]))"

    async def main():
        async with connected(server=Echo):
            return await asyncio.to_thread(subprocess.check_output, [sys.executable, "-c", program], close_fds=False)

    return netloop.run(main()).decode()


def test_descriptors_are_not_inherited():
    inherited = run_child(start_processes)
    assert "io_uring" not in inherited and "eventfd" not in inherited and "socket:" not in inherited
