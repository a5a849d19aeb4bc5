"""Tasks on the loop: factories, eager tasks, and the standard library's tools."""

from __future__ import annotations

import asyncio
import sys

import pytest

from .helpers import turns


async def value(result):
    await asyncio.sleep(0)
    return result


async def test_create_task_takes_a_name(loop):
    task = loop.create_task(value(1), name="named")
    assert task.get_name() == "named"
    assert await task == 1
    assert asyncio.current_task() in asyncio.all_tasks()


def test_create_task_on_a_closed_loop(loop):
    coroutine = value(1)
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.create_task(coroutine)
    coroutine.close()


def test_create_future_belongs_to_the_loop(loop):
    future = loop.create_future()
    assert isinstance(future, asyncio.Future)
    assert future.get_loop() is loop
    future.cancel()


def test_task_factory(loop):
    made = []

    def factory(loop, coroutine, **options):
        made.append(coroutine)
        return asyncio.Task(coroutine, loop=loop, **options)

    assert loop.get_task_factory() is None
    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    coroutine = value(5)
    assert loop.run_until_complete(coroutine) == 5
    assert made == [coroutine]
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None
    with pytest.raises(TypeError):
        loop.set_task_factory("factory")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
class TestEager:
    def test_an_eager_task_starts_at_once(self, loop):
        seen = []

        async def work(wait):
            seen.append("started")
            if wait:
                await asyncio.sleep(0.001)
            return "done"

        async def main():
            loop.set_task_factory(asyncio.eager_task_factory)
            task = asyncio.create_task(work(False))
            assert task.done() and task.result() == "done"
            waiting = asyncio.create_task(work(True), name="waiting")
            assert seen == ["started", "started"] and not waiting.done()
            assert waiting.get_name() == "waiting"
            return await waiting

        assert loop.run_until_complete(main()) == "done"

    def test_gather_and_task_groups_with_eager_tasks(self, loop):
        async def main():
            loop.set_task_factory(asyncio.eager_task_factory)
            assert await asyncio.gather(*map(value, range(10))) == list(range(10))
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(value(number)) for number in range(10)]
            return [task.result() for task in tasks]

        assert loop.run_until_complete(main()) == list(range(10))

    def test_an_exception_in_an_eager_step(self, loop):
        async def work():
            raise ValueError("eager")

        async def main():
            loop.set_task_factory(asyncio.eager_task_factory)
            with pytest.raises(ValueError, match="eager"):
                await asyncio.create_task(work())

        loop.run_until_complete(main())


async def test_timeouts(loop):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.005):
            await asyncio.sleep(100)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(loop.create_future(), 0.005)
    assert await asyncio.wait_for(value(3), 10) == 3
    assert await asyncio.wait_for(value(4), None) == 4


async def test_a_task_group_cancels_the_others(loop):
    cancelled = []

    async def waits():
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def fails():
        await asyncio.sleep(0.001)
        raise LookupError

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(waits())
            group.create_task(fails())
    assert len(cancelled) == 5
    assert isinstance(caught.value.exceptions[0], LookupError)


async def test_synchronisation_tools(loop):
    queue: asyncio.Queue[int] = asyncio.Queue(2)
    semaphore = asyncio.Semaphore(2)
    inside, most = 0, 0

    async def produce():
        for number in range(50):
            await queue.put(number)

    async def consume():
        nonlocal inside, most
        async with semaphore:
            inside += 1
            most = max(most, inside)
            numbers = [await queue.get() for _ in range(10)]
            inside -= 1
            return numbers

    results = await asyncio.gather(produce(), *[consume() for _ in range(5)])
    assert sorted(number for numbers in results[1:] for number in numbers) == list(range(50))
    assert most == 2


async def test_cancellation_reaches_the_innermost_wait(loop):
    seen = []

    async def inner():
        try:
            await loop.create_future()
        except asyncio.CancelledError:
            seen.append("inner")
            raise

    async def outer():
        try:
            await inner()
        finally:
            seen.append("outer")

    task = asyncio.create_task(outer())
    await turns()
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["inner", "outer"]


async def test_ten_thousand_tasks(loop):
    results = await asyncio.gather(*[value(number) for number in range(10_000)])
    assert results == list(range(10_000))
