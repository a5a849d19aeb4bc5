"""What happens to exceptions nobody catches."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from .helpers import eventually, turns


def fail(message="failed"):
    raise ValueError(message)


@pytest.mark.parametrize("call", ["call_soon", "call_later", "call_soon_threadsafe"])
async def test_a_callbacks_exception_is_reported_and_the_loop_goes_on(loop, exceptions, call):
    ran = loop.create_future()
    delay = (0.001,) if call == "call_later" else ()
    handle = getattr(loop, call)(*delay, fail)
    getattr(loop, call)(*delay, ran.set_result, None)
    await ran
    await eventually(lambda: exceptions)
    [context] = exceptions.take()
    assert isinstance(context["exception"], ValueError)
    assert context["handle"] is handle
    assert "fail" in context["message"]


async def test_every_one_of_many_exceptions_is_reported(loop, exceptions):
    for number in range(100):
        loop.call_soon(fail, str(number))
    await turns()
    assert [str(context["exception"]) for context in exceptions.take()] == [str(number) for number in range(100)]


async def test_a_tasks_exception_nobody_asked_for_is_reported(loop, exceptions):
    async def work():
        fail("unasked")

    task = loop.create_task(work())
    await turns()
    del task
    gc.collect()
    [context] = exceptions.take()
    assert str(context["exception"]) == "unasked"
    assert "never retrieved" in context["message"]


def test_without_a_handler_the_exception_is_logged(loop, caplog):
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None
    loop.call_soon(fail, "to the log")
    loop.run_until_complete(turns())
    [record] = [record for record in caplog.records if record.name == "asyncio" and record.levelno == logging.ERROR]
    assert "fail" in record.getMessage()
    assert str(record.exc_info[1]) == "to the log"


def test_a_handler_that_fails_is_logged_too(loop, caplog):
    def broken(loop, context):
        raise LookupError("the handler is broken")

    loop.set_exception_handler(broken)
    loop.call_soon(fail)
    loop.run_until_complete(turns())
    messages = [record.getMessage() for record in caplog.records if record.name == "asyncio"]
    assert any("exception handler" in message for message in messages)


def test_a_handler_may_exit(loop):
    def leave(loop, context):
        raise SystemExit("from the handler")

    loop.set_exception_handler(leave)
    loop.call_soon(fail)
    with pytest.raises(SystemExit, match="from the handler"):
        loop.run_forever()


def test_set_and_get_exception_handler(loop):
    def handler(loop, context):
        pass

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    with pytest.raises(TypeError):
        loop.set_exception_handler("handler")
    assert loop.get_exception_handler() is handler
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None


def test_call_exception_handler_calls_it(loop):
    seen = []
    loop.set_exception_handler(lambda loop, context: seen.append((loop, context)))
    context = {"message": "mine", "extra": 1}
    loop.call_exception_handler(context)
    assert seen == [(loop, context)]


def test_the_default_handler_prints_what_the_context_holds(loop, caplog):
    loop.default_exception_handler({"message": "something happened", "extra": "detail"})
    assert "something happened" in caplog.text
    assert "detail" in caplog.text


def test_a_subclass_can_replace_the_default_handler(loop_class, caplog):
    seen = []

    class Loop(loop_class):
        def default_exception_handler(self, context):
            seen.append(context["message"])

    loop = Loop()
    loop.call_soon(fail)
    loop.run_until_complete(turns())
    loop.close()
    assert len(seen) == 1
    assert not caplog.records


async def test_a_callback_that_raises_cancelled_error_stops_nothing(loop, exceptions):
    def cancelled():
        raise asyncio.CancelledError

    loop.call_soon(cancelled)
    await turns()
    assert exceptions.take_types() == [asyncio.CancelledError]
