"""What the tasks of a loop await, as an inspection tells it; on any loop, since tasks are asyncio's."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from netloop.hosted.task_tree import await_chain, describe_tasks


async def sleep_long():
    await asyncio.sleep(3600)


async def by_task():
    await asyncio.create_task(sleep_long(), name="child")


async def by_gather():
    await asyncio.gather(asyncio.create_task(sleep_long(), name="child"), sleep_long())


async def by_wait():
    await asyncio.wait([asyncio.create_task(sleep_long(), name="child")])


async def by_wait_for():
    await asyncio.wait_for(asyncio.create_task(sleep_long(), name="child"), 3600)


async def by_shield():
    await asyncio.shield(asyncio.create_task(sleep_long(), name="child"))


async def by_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(sleep_long(), name="child")


@contextlib.asynccontextmanager
async def started(coroutine):
    """A task that has come to where it waits, and is cancelled in the end with all that it has started."""
    others = asyncio.all_tasks()
    task = asyncio.create_task(coroutine, name="parent")
    for _ in range(5):
        await asyncio.sleep(0)
    try:
        yield task
    finally:
        for each in asyncio.all_tasks() - others:
            each.cancel()
        await asyncio.wait(asyncio.all_tasks() - others)


def names(chain):
    return [line.function for line in chain]


@pytest.mark.parametrize("parent", [by_task, by_gather, by_wait, by_wait_for, by_shield, by_group])
async def test_a_task_is_known_to_be_awaited(loop, parent):
    async with started(parent()):
        found = {task["name"]: task for task in describe_tasks(loop, 100)["shown"]}
        assert found["child"]["awaited_by"] == [found["parent"]["id"]]
        assert found["parent"]["awaited_by"] == []
        assert found["parent"]["coroutine"] == parent.__name__
        assert f" in {parent.__name__}" in found["parent"]["chain"][0]


async def test_what_is_awaited_is_told(loop):
    async with started(by_task()):
        found = {task["name"]: task for task in describe_tasks(loop, 100)["shown"]}
        assert found["parent"]["awaits"] == "the task 'child'"
        assert found["child"]["awaits"] == "a future"
        me = asyncio.current_task().get_name()
        assert found[me]["awaits"] == "nothing: it is being run"
        assert [name for name, task in found.items() if task["running"]] == [me]
    async with started(by_gather()):
        found = {task["name"]: task for task in describe_tasks(loop, 100)["shown"]}
        assert found["parent"]["awaits"] == "2 others, gathered"


async def test_a_task_that_is_yet_to_be_run(loop):
    task = loop.create_task(asyncio.sleep(0), name="new")
    found = {each["name"]: each for each in describe_tasks(loop, 100)["shown"]}
    assert found["new"]["awaits"] == "its turn"
    await task


async def test_only_so_many_are_described(loop):
    tasks = [loop.create_task(sleep_long(), name=f"T-{number}") for number in range(20)]
    found = describe_tasks(loop, 5)
    assert found["count"] == 21
    assert [task["name"] for task in found["shown"] if task["name"].startswith("T-")] == [f"T-{n}" for n in range(5)]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_the_chain_goes_through_generators(loop):
    class Awaitable:
        def __await__(self):
            yield from asyncio.sleep(3600).__await__()

    async def inner():
        await Awaitable()

    async def values():
        await inner()
        yield 1

    async def outer():
        async for _ in values():
            pass

    async with started(outer()) as task:
        chain = names(await_chain(task.get_coro()))
        assert chain[0].endswith("outer")
    async with started(inner()) as task:
        chain = names(await_chain(task.get_coro()))
        assert [name.rpartition(".")[2] for name in chain[:2]] == ["inner", "__await__"]


async def test_a_chain_without_an_end_is_cut(loop):
    async def recurse(depth):
        await (recurse(depth - 1) if depth else asyncio.sleep(3600))

    async with started(recurse(300)) as task:
        assert len(await_chain(task.get_coro())) == 100


def test_what_is_no_coroutine_has_no_chain():
    assert await_chain(None) == []
    assert await_chain(7) == []
