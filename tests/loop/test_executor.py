"""Functions run in threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import sys
import threading

import pytest


async def test_a_function_runs_in_another_thread(loop):
    assert await loop.run_in_executor(None, threading.get_ident) != threading.get_ident()
    assert await loop.run_in_executor(None, divmod, 7, 2) == (3, 1)


async def test_what_it_raises_comes_back(loop):
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(None, divmod, 1, 0)


async def test_many_at_once(loop):
    results = await asyncio.gather(*[loop.run_in_executor(None, pow, number, 2) for number in range(200)])
    assert results == [number**2 for number in range(200)]


async def test_an_executor_of_ones_own(loop):
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
        name = await loop.run_in_executor(executor, lambda: threading.current_thread().name)
    assert name.startswith("mine")


async def test_the_default_executor_can_be_set(loop):
    loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="chosen"))
    assert (await loop.run_in_executor(None, lambda: threading.current_thread().name)).startswith("chosen")


def test_the_default_executor_must_be_a_thread_pool(loop):
    with pytest.raises(TypeError):
        loop.set_default_executor(object())


async def test_to_thread_carries_the_context(loop):
    variable = contextvars.ContextVar("variable", default="unset")
    variable.set("carried")
    assert await asyncio.to_thread(variable.get) == "carried"


def test_after_its_shutdown_the_default_executor_takes_no_work(loop):
    loop.run_until_complete(loop.run_in_executor(None, int))
    loop.run_until_complete(loop.shutdown_default_executor())

    async def main():
        with pytest.raises(RuntimeError):
            await loop.run_in_executor(None, int)

    loop.run_until_complete(main())


def test_shutdown_waits_for_running_work_and_ends_the_threads(loop):
    before = threading.active_count()
    release = threading.Event()
    finished = []
    work = loop.run_in_executor(None, lambda: (release.wait(10), finished.append(1)))
    loop.call_later(0.01, release.set)
    loop.run_until_complete(loop.shutdown_default_executor())
    assert finished == [1]
    assert threading.active_count() == before
    loop.run_until_complete(work)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="before Python 3.13 the timeout is missing or has no effect")
def test_shutdown_gives_up_after_its_timeout(loop):
    release = threading.Event()
    work = loop.run_in_executor(None, release.wait, 20)
    with pytest.warns(RuntimeWarning, match="executor did not finish"):
        loop.run_until_complete(loop.shutdown_default_executor(timeout=0.01))
    release.set()
    loop.run_until_complete(work)


def test_work_that_ends_after_the_loop_was_closed_does_no_harm(loop):
    release = threading.Event()
    begun = threading.Event()
    executor = concurrent.futures.ThreadPoolExecutor(1)
    loop.run_in_executor(executor, lambda: (begun.set(), release.wait(10)))
    assert begun.wait(10)
    loop.close()
    release.set()
    executor.shutdown()
