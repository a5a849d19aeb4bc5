"""call_soon, call_later and call_at: order, arguments, cancellation."""

from __future__ import annotations

import asyncio
import os
import random
import weakref

import pytest

from .helpers import eventually, turns

# A deadline may be met a little early where a loop's clock counts in milliseconds.
CLOCK_STEP = 0.002


async def test_callbacks_run_in_the_order_of_call_soon(loop):
    seen = []
    for number in range(1000):
        loop.call_soon(seen.append, number)
    await turns()
    assert seen == list(range(1000))


async def test_arguments_are_passed(loop):
    seen = []
    loop.call_soon(lambda *args: seen.append(args))
    loop.call_soon(lambda *args: seen.append(args), 1)
    loop.call_soon(lambda *args: seen.append(args), 1, None, "x")
    await turns()
    assert seen == [(), (1,), (1, None, "x")]


async def test_a_callback_scheduled_by_a_callback_runs_in_the_next_turn(loop):
    seen = []

    def schedule():
        seen.append("first")
        loop.call_soon(seen.append, "third")

    loop.call_soon(schedule)
    loop.call_soon(seen.append, "second")
    await turns()
    assert seen == ["first", "second", "third"]


async def test_a_cancelled_callback_does_not_run(loop):
    seen = []
    handle = loop.call_soon(seen.append, "cancelled")
    loop.call_soon(seen.append, "kept")
    handle.cancel()
    handle.cancel()
    await turns()
    assert seen == ["kept"]
    assert handle.cancelled()


async def test_a_callback_can_cancel_one_of_the_same_turn(loop):
    seen = []
    loop.call_soon(lambda: later.cancel())
    later = loop.call_soon(seen.append, "cancelled")
    await turns()
    assert seen == []


async def test_cancelling_after_it_ran_does_nothing(loop):
    seen = []
    handle = loop.call_soon(seen.append, 1)
    timer = loop.call_later(0, seen.append, 2)
    await eventually(lambda: len(seen) == 2)
    handle.cancel()
    timer.cancel()
    await turns()
    assert seen == [1, 2]


@pytest.mark.parametrize("call", ["call_soon", "call_later", "call_at", "call_soon_threadsafe"])
def test_a_closed_loop_takes_no_callback(loop, call):
    loop.close()
    args = {"call_later": (1,), "call_at": (1,)}.get(call, ())
    with pytest.raises(RuntimeError, match="closed"):
        getattr(loop, call)(*args, print)


@pytest.mark.parametrize("call", ["call_soon", "call_later", "call_at"])
def test_a_coroutine_function_is_refused_in_debug_mode(loop, call):
    async def coroutine():
        pass

    loop.set_debug(True)
    args = {"call_later": (1,), "call_at": (1,)}.get(call, ())
    with pytest.raises(TypeError, match="coroutine"):
        getattr(loop, call)(*args, coroutine)


def test_something_not_callable_is_refused_in_debug_mode(loop):
    loop.set_debug(True)
    with pytest.raises(TypeError, match="callable"):
        loop.call_soon(1)


@pytest.mark.parametrize("delay", [0, -1, -0.0001, 0.0, 0.001, True])
async def test_a_delay_may_be_zero_or_negative(loop, delay):
    ran = loop.create_future()
    loop.call_later(delay, ran.set_result, None)
    await ran


async def test_a_deadline_may_lie_in_the_past(loop):
    ran = loop.create_future()
    loop.call_at(0, ran.set_result, "ran")
    assert await ran == "ran"


async def test_a_timer_does_not_run_early(loop):
    for delay in (0.001, 0.01, 0.03):
        ran = loop.create_future()
        start = loop.time()
        loop.call_later(delay, ran.set_result, None)
        await ran
        assert loop.time() >= start + delay - CLOCK_STEP


async def test_timers_run_in_the_order_of_their_deadlines(loop):
    seen = []
    start = loop.time() + 0.02
    steps = list(range(20))
    random.Random(1).shuffle(steps)
    for step in steps:
        loop.call_at(start + step * 0.005, seen.append, step)
    await eventually(lambda: len(seen) == len(steps))
    assert seen == sorted(steps)


async def test_many_timers_all_run_once(loop):
    seen = []
    chance = random.Random(2)
    for number in range(5000):
        loop.call_later(chance.random() * 0.05, seen.append, number)
    await eventually(lambda: len(seen) >= 5000)
    await turns()
    assert sorted(seen) == list(range(5000))


async def test_cancelled_timers_do_not_run(loop):
    seen = []
    handles = [loop.call_later(0.005, seen.append, number) for number in range(2000)]
    for handle in handles[::2]:
        handle.cancel()
    await eventually(lambda: len(seen) >= 1000)
    await asyncio.sleep(0.01)
    assert sorted(seen) == list(range(1, 2000, 2))
    assert all(handle.cancelled() for handle in handles[::2])


async def test_a_timer_can_cancel_another_that_is_due(loop):
    seen = []
    at = loop.time() + 0.005
    loop.call_at(at - 0.004, lambda: second.cancel())
    second = loop.call_at(at, seen.append, "cancelled")
    await asyncio.sleep(0.02)
    assert seen == []


async def test_a_timer_decades_away_disturbs_nothing(loop):
    far = loop.call_later(10**9, print)
    await asyncio.sleep(0.01)
    far.cancel()


@pytest.mark.parametrize(("call", "value"), [("call_later", None), ("call_later", "1"), ("call_at", None)])
def test_a_time_must_be_a_number(loop, call, value):
    with pytest.raises(TypeError):
        getattr(loop, call)(value, print)


async def test_a_callback_that_keeps_rescheduling_itself_starves_nobody(loop):
    reader, writer = os.pipe()
    seen = set()

    def again():
        if len(seen) < 2:
            loop.call_soon(again)

    def readable():
        loop.remove_reader(reader)
        seen.add("reader")

    loop.call_soon(again)
    loop.call_later(0.005, seen.add, "timer")
    loop.add_reader(reader, readable)
    os.write(writer, b"x")
    await eventually(lambda: len(seen) == 2)
    os.close(reader)
    os.close(writer)


class Thing:
    """Something a weak reference can point to."""


@pytest.mark.parametrize("call", ["call_soon", "call_later", "call_soon_threadsafe"])
async def test_a_callback_that_ran_keeps_nothing_alive(loop, call):
    thing = Thing()
    gone = weakref.ref(thing)
    ran = loop.create_future()
    getattr(loop, call)(*((0.001,) if call == "call_later" else ()), lambda value: ran.set_result(None), thing)
    del thing
    await ran
    await turns()
    assert gone() is None


@pytest.mark.parametrize("call", ["call_soon", "call_later"])
async def test_a_cancelled_callback_keeps_nothing_alive(loop, call):
    thing = Thing()
    gone = weakref.ref(thing)
    handle = getattr(loop, call)(*((100,) if call == "call_later" else ()), print, thing)
    del thing
    handle.cancel()
    await turns()
    assert gone() is None


def test_callbacks_wait_for_the_next_run(loop):
    seen = []
    loop.call_soon(seen.append, 1)
    assert seen == []
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [1]


def test_close_drops_what_was_scheduled(loop):
    thing = Thing()
    gone = weakref.ref(thing)
    loop.call_soon(print, thing)
    loop.call_later(1, print, thing)
    del thing
    loop.close()
    del loop
    assert gone() is None
