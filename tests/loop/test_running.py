"""run_forever, run_until_complete, stop, close, and which loop is the current one."""

from __future__ import annotations

import asyncio
import sys
import threading
import time

import pytest

from .helpers import turns


def test_run_until_complete_returns_the_result(loop):
    async def work():
        return 42

    assert loop.run_until_complete(work()) == 42


def test_run_until_complete_raises_what_the_coroutine_raised(loop):
    async def work():
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        loop.run_until_complete(work())


def test_run_until_complete_takes_futures_and_tasks(loop):
    future = loop.create_future()
    loop.call_later(0.001, future.set_result, 1)
    assert loop.run_until_complete(future) == 1
    assert loop.run_until_complete(future) == 1

    async def work():
        return 2

    assert loop.run_until_complete(loop.create_task(work())) == 2


def test_run_until_complete_refuses_other_things(loop):
    with pytest.raises(TypeError):
        loop.run_until_complete(1)


def test_run_until_complete_refuses_another_loops_future(new_loop):
    one, two = new_loop(), new_loop()
    future = one.create_future()
    with pytest.raises(ValueError):
        two.run_until_complete(future)


def test_run_until_complete_says_when_it_was_stopped_early(loop):
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match="stopped before"):
        loop.run_until_complete(future)


def test_a_task_goes_on_in_the_next_run(loop):
    seen = []

    async def work():
        for number in range(3):
            seen.append(number)
            await asyncio.sleep(0.001)

    task = loop.create_task(work())
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [0]
    loop.run_until_complete(task)
    assert seen == [0, 1, 2]


def test_stop_before_running_gives_one_turn(loop):
    seen = []
    loop.call_soon(seen.append, "first")
    loop.call_soon(lambda: loop.call_soon(seen.append, "second"))
    loop.stop()
    loop.run_forever()
    assert seen == ["first"]
    loop.stop()
    loop.run_forever()
    assert seen == ["first", "second"]


def test_callbacks_of_the_turn_that_stops_still_run(loop):
    seen = []
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, "after")
    loop.run_forever()
    assert seen == ["after"]


def test_stop_from_a_timer(loop):
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    assert not loop.is_running()


def test_a_loop_can_run_many_times(loop):
    for number in range(200):
        assert loop.run_until_complete(asyncio.sleep(0, number)) == number


def test_timers_live_on_between_runs(loop):
    seen = []
    loop.call_later(0.01, seen.append, "ran")
    loop.run_until_complete(asyncio.sleep(0))
    time.sleep(0.02)
    assert seen == []
    loop.run_until_complete(turns())
    assert seen == ["ran"]


def test_states(loop):
    assert not loop.is_running() and not loop.is_closed()
    states = []
    loop.call_soon(lambda: states.append((loop.is_running(), loop.is_closed())))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert states == [(True, False)]
    assert not loop.is_running()
    loop.close()
    loop.close()
    assert loop.is_closed()


async def test_a_running_loop_cannot_be_closed(loop):
    with pytest.raises(RuntimeError, match="running"):
        loop.close()
    assert not loop.is_closed()


def test_a_closed_loop_does_not_run(loop):
    future = loop.create_future()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_forever()
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until_complete(future)


@pytest.mark.parametrize("method", ["run_forever", "run_until_complete"])
async def test_a_running_loop_cannot_be_run_again(loop, method):
    with pytest.raises(RuntimeError, match="already running"):
        getattr(loop, method)(*((loop.create_future(),) if method == "run_until_complete" else ()))


def test_two_loops_cannot_run_in_one_thread(new_loop):
    one, two = new_loop(), new_loop()

    async def main():
        with pytest.raises(RuntimeError, match="another loop is running"):
            two.run_forever()

    one.run_until_complete(main())
    two.run_until_complete(turns())


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("how", ["call_soon", "call_later", "task"])
def test_an_exit_passes_through_and_the_loop_runs_again(loop, kind, how):
    def leave():
        raise kind("leaving")

    async def leave_task():
        leave()

    if how == "task":
        task = loop.create_task(leave_task())
    else:
        getattr(loop, how)(*((0.001,) if how == "call_later" else ()), leave)
    with pytest.raises(kind):
        loop.run_forever()
    assert not loop.is_running()
    if how == "task":
        with pytest.raises(kind):
            task.result()
    seen = []
    loop.call_soon(seen.append, 1)
    loop.run_until_complete(asyncio.sleep(0.001))
    assert seen == [1]


def test_callbacks_behind_one_that_exits_run_in_the_next_run(loop):
    seen = []

    def leave():
        raise SystemExit

    loop.call_soon(leave)
    loop.call_soon(seen.append, "behind")
    with pytest.raises(SystemExit):
        loop.run_forever()
    loop.run_until_complete(turns())
    assert seen == ["behind"]


def test_the_running_loop_is_known_to_what_it_runs(loop):
    seen = []
    loop.call_soon(lambda: seen.append(asyncio.get_running_loop()))
    loop.call_soon(lambda: seen.append(asyncio.get_event_loop()))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [loop, loop]
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_get_event_loop_gives_the_loop_that_was_set(loop):
    asyncio.set_event_loop(loop)
    try:
        assert asyncio.get_event_loop() is loop
    finally:
        asyncio.set_event_loop(None)
    with pytest.raises(RuntimeError, match="no current event loop"):
        asyncio.get_event_loop()


def test_a_thread_without_a_loop_has_no_current_loop(loop):
    errors = []

    def work():
        try:
            asyncio.get_event_loop()
        except RuntimeError as error:
            errors.append(error)

    asyncio.set_event_loop(loop)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    asyncio.set_event_loop(None)
    assert len(errors) == 1


def test_runner_with_a_loop_factory(new_loop):
    async def main():
        return asyncio.get_running_loop()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        loop = runner.run(main())
        assert loop is runner.get_loop()
        assert runner.run(main()) is loop
    assert loop.is_closed()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio.run takes loop_factory from Python 3.12 on")
def test_asyncio_run_with_a_loop_factory(new_loop):
    async def main():
        await asyncio.sleep(0.001)
        return asyncio.get_running_loop()

    assert asyncio.run(main(), loop_factory=new_loop).is_closed()


def test_time_never_goes_back(loop):
    samples = [loop.time() for _ in range(1000)]
    assert samples == sorted(samples)
    assert all(isinstance(sample, float) for sample in samples)


def test_time_advances_while_the_loop_sleeps(loop):
    before = loop.time()
    loop.run_until_complete(asyncio.sleep(0.02))
    assert loop.time() >= before + 0.018


def test_repr_tells_the_state(loop):
    assert "running=False" in repr(loop)
    assert "closed=False" in repr(loop)
    assert "debug=False" in repr(loop)
    assert type(loop).__name__ in repr(loop)
    loop.close()
    assert "closed=True" in repr(loop)


def test_a_loop_is_an_abstract_event_loop(loop):
    assert isinstance(loop, asyncio.AbstractEventLoop)
