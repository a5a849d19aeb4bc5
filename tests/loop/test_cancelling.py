"""Calls that wait for threads or for other calls, cancelled at every moment."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from .cancelling import Later
from .helpers import HOST, Echo, address_of, eventually, finish, serving, socket_pair


async def test_getaddrinfo(loop, walk, slow_names):
    async def check(found):
        assert (HOST, 80) in [info[4][:2] for info in found]

    await walk(lambda: loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM), check)


async def test_getnameinfo(loop, walk):
    async def check(found):
        assert found[1] == "80" or found[1] == "http"

    await walk(lambda: loop.getnameinfo((HOST, 80), socket.NI_NUMERICHOST), check)


class Argument:
    """Something of which it can be seen that nobody holds it any more."""


async def test_run_in_executor(loop, walk):
    """The function runs to its end all the same, and its result is nobody's."""

    def work(argument):
        time.sleep(0.002)
        return type(argument)

    async def check(found):
        assert found is Argument

    await walk(lambda: loop.run_in_executor(None, work, walk.track(Argument())), check)


async def test_run_in_executor_that_is_busy(loop, walk):
    """A function that waits for a thread is never run once its call is cancelled."""
    called = []

    async def occupy():
        executor.submit(time.sleep, 0.003)

    async def check(number):
        assert called.pop() == number

    with ThreadPoolExecutor(1) as executor:
        await walk(lambda: loop.run_in_executor(executor, lambda: called.append(1) or 1), check, occupy)


@pytest.mark.parametrize("turns", range(5))
async def test_shutdown_asyncgens(loop, turns):
    """Generators that the call has not closed can still be closed."""

    async def numbers():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    made = [numbers() for _ in range(3)]
    for each in made:
        assert await anext(each) == 1
    task = loop.create_task(loop.shutdown_asyncgens())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    for each in made:
        await each.aclose()
        assert each.ag_frame is None


@pytest.mark.parametrize("timeout", [None, 10])
@pytest.mark.parametrize("turns", [0, 1, 2, 5])
async def test_shutdown_default_executor(loop, timeout, turns):
    """A thread is busy meanwhile; the loop runs on when the call is cancelled."""
    if sys.version_info < (3, 12) and timeout is not None:
        pytest.skip("there is no timeout before Python 3.12")
    leave = threading.Event()
    busy = loop.run_in_executor(None, leave.wait)
    before = threading.active_count()
    task = loop.create_task(loop.shutdown_default_executor(**({} if timeout is None else {"timeout": timeout})))
    try:
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        loop.call_later(0.005, leave.set)
        await asyncio.wait([task])
        assert task.cancelled()
        assert not leave.is_set()
    finally:
        leave.set()
    assert await busy
    await eventually(lambda: threading.active_count() <= before)


# Around other calls -------------------------------------------------------------------------------------------------


async def by_wait_for(call):
    return await asyncio.wait_for(call, 60)


async def by_timeout(call):
    async with asyncio.timeout(60):
        return await call


async def by_group(call):
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(as_coroutine(call))
    except asyncio.CancelledError:
        return result_of(task)
    return task.result()


async def by_gather(call):
    task = asyncio.ensure_future(call)
    try:
        return (await asyncio.gather(task))[0]
    except asyncio.CancelledError:
        return result_of(task)


def result_of(task):
    """A result that came when the waiting had been cancelled already, and which must not be lost."""
    if task.cancelled():
        raise asyncio.CancelledError
    return task.result()


async def as_coroutine(call):
    return await call


AROUND = [by_wait_for, by_timeout, by_group, by_gather]


@pytest.mark.parametrize("around", AROUND)
async def test_a_receive_inside_others(loop, walk, around):
    sent, came = [], []

    async def send():
        sent.append(b"%08d" % len(sent))
        Later(lambda: far.send(sent[-1]))

    async def took(data):
        came.append(data)

    with socket_pair() as (near, far):
        await walk(lambda: around(loop.sock_recv(near, 8)), took, send)
    assert came == sent


@pytest.mark.parametrize("around", AROUND)
async def test_a_connection_inside_others(loop, walk, slow_names, around):
    async def talk(connection):
        _, protocol = connection
        protocol.transport.write(b"hello")
        assert await protocol.until_received(5) == b"hello"
        await finish(protocol)

    async with serving(Echo) as (server, _):
        port = address_of(server)[1]
        await walk(lambda: around(loop.create_connection(walk.made(), "localhost", port)), talk)


@pytest.mark.parametrize("around", AROUND)
async def test_a_process_inside_others(walk, around):
    async def start():
        return await asyncio.create_subprocess_exec("true")

    async def end(process):
        assert await process.wait() == 0

    await walk(lambda: around(start()), end)
