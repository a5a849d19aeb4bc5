"""The n-th system call of a short scenario fails, for every n."""

from __future__ import annotations

import asyncio
import errno
import gc
import sys

import pytest
from loop.helpers import HOST, Echo, Recorder, address_of

from .child import descriptors, descriptors_left, run_child

MOST_CALLS = 400
ERRNOS = [errno.EINTR, errno.EAGAIN, errno.ENOMEM, errno.EBUSY, errno.EPERM, errno.EINVAL]


async def exchange():
    """Serve, connect, send and receive three times, close."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, HOST, 0)
    _, client = await loop.create_connection(Recorder, *address_of(server))
    for count in range(1, 4):
        client.transport.write(b"ping")
        await client.until(lambda: len(client.data) >= 4 * count or client.lost.done())  # noqa: B023
        if client.lost.done():
            raise client.lost.result() or ConnectionError("the connection was closed")
    client.transport.close()
    await client.lost
    server.close()
    await server.wait_closed()


def attempt(call, number, failing):
    """Run the scenario once with one call failing; the outcome's name, and how many calls there were."""
    import netloop
    from netloop.core.ring import FaultPlan

    plan = FaultPlan(call=call, nth=number, errno=failing)
    coroutine, task, loop = exchange(), None, None
    try:
        loop = netloop.EventLoop(_faults=plan)
        loop.set_exception_handler(lambda loop, context: None)
        task = loop.create_task(coroutine)
        loop.run_until_complete(task)
        outcome = "done"
    except OSError as error:
        outcome = errno.errorcode.get(error.errno or 0, type(error).__name__)
    finally:
        if task is not None and not task.done():
            task._log_destroy_pending = False
        coroutine.close()
        if loop is not None:
            loop.close()
    return outcome, plan.calls


def fail_each(call, failing):
    """Let the first, second, ... call fail until the scenario makes no more; the outcomes, and what stayed open."""
    import warnings

    warnings.simplefilter("ignore", ResourceWarning)  # a run that was broken off leaves its connections open
    attempt(call, 10**9, failing)
    before = descriptors()
    outcomes = []
    for number in range(1, MOST_CALLS):
        print(f"{call} {number} {errno.errorcode[failing]}", file=sys.stderr, flush=True)
        outcome, calls = attempt(call, number, failing)
        gc.collect()
        if calls < number:
            return outcomes, descriptors_left(before)
        outcomes.append(outcome)
    raise AssertionError(f"the scenario makes more than {MOST_CALLS} calls")


@pytest.mark.parametrize("failing", ERRNOS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["setup", "register", "enter", "any"])
def test_the_scenario_succeeds_or_ends_in_an_os_error(call, failing):
    outcomes, left = run_child(fail_each, call, failing, seconds=40)
    assert outcomes
    assert left == []
    if call == "enter" and failing == errno.EINTR:
        assert set(outcomes) == {"done"}


def make_with_memory_refused():
    """Let io_uring_setup run out of memory; tell what was raised with a fallback asked for."""
    import netloop
    from netloop.core.ring import FaultPlan

    try:
        netloop.EventLoop(_faults=FaultPlan(call="setup", nth=1, errno=errno.ENOMEM))
    except netloop.Unavailable as error:
        return error.errno, error.cause, error.remedy
    return None


def test_too_little_lockable_memory():
    number, cause, remedy = run_child(make_with_memory_refused)
    assert number == errno.ENOMEM
    assert "memory" in cause.lower() + remedy.lower()
