"""Asynchronous generators are finished by their loop."""

from __future__ import annotations

import asyncio
import gc
import sys

import pytest

from .helpers import eventually


class Counter:
    """Makes endless generators and records which were finished."""

    def __init__(self) -> None:
        self.finished: list[str] = []

    async def count(self, name):
        number = 0
        try:
            while True:
                yield number
                number += 1
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            self.finished.append(name)


async def start(*generators):
    """Take one value of each generator, which makes it known to the running loop."""
    for generator in generators:
        await anext(generator)


@pytest.fixture
def counter():
    return Counter()


async def test_a_generator_that_is_dropped_is_finished(loop, counter):
    generator = counter.count("dropped")
    assert await anext(generator) == 0
    del generator
    gc.collect()
    await eventually(lambda: counter.finished)
    assert counter.finished == ["dropped"]


def test_shutdown_finishes_generators_that_are_still_open(loop, counter):
    generators = [counter.count(str(number)) for number in range(3)]
    loop.run_until_complete(start(*generators))
    assert counter.finished == []
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert sorted(counter.finished) == ["0", "1", "2"]


def test_an_exception_while_finishing_is_reported(loop, exceptions):
    async def stubborn():
        try:
            yield 1
        finally:
            raise ValueError("stubborn")

    generator = stubborn()
    loop.run_until_complete(start(generator))
    loop.run_until_complete(loop.shutdown_asyncgens())
    [context] = exceptions.take()
    assert str(context["exception"]) == "stubborn"
    assert context["asyncgen"] is generator


def test_a_generator_started_after_shutdown_is_warned_about(loop, counter):
    loop.run_until_complete(loop.shutdown_asyncgens())
    generator = counter.count("late")
    with pytest.warns(ResourceWarning, match="shutdown_asyncgens"):
        loop.run_until_complete(start(generator))
    loop.run_until_complete(generator.aclose())


def test_the_hooks_are_the_loops_only_while_it_runs(loop):
    outside = sys.get_asyncgen_hooks()
    inside = []
    loop.call_soon(lambda: inside.append(sys.get_asyncgen_hooks()))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert inside[0].firstiter is not None and inside[0].finalizer is not None
    assert sys.get_asyncgen_hooks() == outside
