"""Loops and policies can be subclassed, and loops and transports take attributes, as frameworks and tests do."""

from __future__ import annotations

import asyncio
import importlib
import weakref

import pytest

from .helpers import Echo, connected, eventually, turns


async def exercise():
    """A little of everything."""
    loop = asyncio.get_running_loop()
    seen = []
    loop.call_soon(seen.append, "soon")
    loop.call_later(0.001, seen.append, "later")
    await loop.run_in_executor(None, loop.call_soon_threadsafe, seen.append, "thread")
    async with connected(server=Echo) as (client, _):
        client.transport.write(b"ping")
        await client.until_received(4)
    await eventually(lambda: len(seen) == 3)
    return sorted(seen)


def test_a_subclass_with_its_own_state_and_arguments(loop_class):
    class Loop(loop_class):
        def __init__(self, name):
            super().__init__()
            self.name = name

    loop = Loop("mine")
    try:
        assert loop.name == "mine"
        assert loop.run_until_complete(exercise()) == ["later", "soon", "thread"]
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def test_a_subclass_that_counts_what_is_scheduled(loop_class):
    counts = dict.fromkeys(("call_soon", "call_at", "create_task"), 0)

    class Loop(loop_class):
        def call_soon(self, callback, *args, context=None):
            counts["call_soon"] += 1
            return super().call_soon(callback, *args, context=context)

        def call_at(self, when, callback, *args, context=None):
            counts["call_at"] += 1
            return super().call_at(when, callback, *args, context=context)

        def create_task(self, coroutine, **options):
            counts["create_task"] += 1
            return super().create_task(coroutine, **options)

    loop = Loop()
    try:
        loop.run_until_complete(exercise())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
    assert counts["call_soon"] >= 5
    assert counts["create_task"] >= 2


def test_a_subclass_may_override_close_and_run_forever(loop_class):
    seen = []

    class Loop(loop_class):
        def run_forever(self):
            seen.append("run_forever")
            super().run_forever()

        def close(self):
            seen.append("close")
            super().close()

    loop = Loop()
    loop.run_until_complete(turns())
    loop.close()
    assert seen == ["run_forever", "close"]
    assert loop.is_closed()


def test_a_loop_takes_attributes(loop):
    loop.mine = [1]
    assert loop.mine == [1]
    assert "mine" in vars(loop)
    del loop.mine
    assert not hasattr(loop, "mine")


def test_an_assigned_call_soon_is_what_tasks_use(loop):
    scheduled = []
    original = loop.call_soon

    def wrapper(callback, *args, **options):
        scheduled.append(callback)
        return original(callback, *args, **options)

    loop.call_soon = wrapper
    loop.run_until_complete(asyncio.sleep(0))
    assert scheduled
    del loop.call_soon
    count = len(scheduled)
    loop.run_until_complete(asyncio.sleep(0))
    assert len(scheduled) == count


async def test_a_transport_takes_attributes(loop):
    async with connected() as (client, _):
        client.transport.mine = "attribute"
        assert client.transport.mine == "attribute"


async def test_an_assigned_write_is_what_streams_use(loop):
    async with connected() as (client, server):
        written = []
        original = client.transport.write
        client.transport.write = lambda data: (written.append(bytes(data)), original(data))
        reader = asyncio.StreamReader()
        writer = asyncio.StreamWriter(client.transport, asyncio.StreamReaderProtocol(reader), reader, loop)
        writer.write(b"through the wrapper")
        assert await server.until_received(19) == b"through the wrapper"
        assert written == [b"through the wrapper"]


async def test_loops_and_transports_can_be_weakly_referenced(loop):
    assert weakref.ref(loop)() is loop
    async with connected() as (client, server):
        assert weakref.ref(client.transport)() is client.transport
        keyed = weakref.WeakKeyDictionary({client.transport: 1, server.transport: 2})
        assert keyed[server.transport] == 2
        assert len({client.transport, server.transport}) == 2


@pytest.fixture
def policy_class(loop_name):
    if loop_name == "asyncio":
        return asyncio.DefaultEventLoopPolicy
    return importlib.import_module(loop_name).EventLoopPolicy


@pytest.mark.filterwarnings("ignore:.*[Pp]olicy.*:DeprecationWarning")
class TestPolicy:
    @pytest.fixture(autouse=True)
    def default_policy_afterwards(self):
        yield
        asyncio.set_event_loop_policy(None)
        asyncio.set_event_loop(None)

    def test_a_policy_makes_loops_of_its_kind(self, policy_class, loop_class):
        policy = policy_class()
        asyncio.set_event_loop_policy(policy)
        assert asyncio.get_event_loop_policy() is policy
        loop = asyncio.new_event_loop()
        assert isinstance(loop, loop_class)
        assert loop.run_until_complete(asyncio.sleep(0.001, "ran")) == "ran"
        loop.close()

    def test_asyncio_run_uses_the_policy(self, policy_class, loop_class):
        asyncio.set_event_loop_policy(policy_class())

        async def main():
            return asyncio.get_running_loop()

        loop = asyncio.run(main())
        assert isinstance(loop, loop_class) and loop.is_closed()

    def test_set_and_get_event_loop(self, policy_class):
        policy = policy_class()
        loop = policy.new_event_loop()
        policy.set_event_loop(loop)
        assert policy.get_event_loop() is loop
        policy.set_event_loop(None)
        with pytest.raises(RuntimeError):
            policy.get_event_loop()
        loop.close()

    def test_a_subclass_of_the_policy_makes_the_loop_it_wants(self, policy_class, loop_class):
        class Loop(loop_class):
            """A class of one's own."""

        class Policy(policy_class):
            def new_event_loop(self):
                return Loop()

        asyncio.set_event_loop_policy(Policy())
        loop = asyncio.new_event_loop()
        assert type(loop) is Loop
        loop.close()
