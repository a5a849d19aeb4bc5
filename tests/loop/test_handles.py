"""The handles that scheduling returns."""

from __future__ import annotations

import asyncio
import contextvars
import sys

import pytest

from .helpers import turns


def some_callback() -> None:
    """Does nothing; its name is looked for."""


@pytest.fixture(params=["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
def make(request, loop):
    """A function that schedules a callback in one of the four ways and returns the handle."""
    args = {"call_later": (100.0,), "call_at": (loop.time() + 100.0,)}.get(request.param, ())

    def schedule(callback=some_callback, *values, **options):
        return getattr(loop, request.param)(*args, callback, *values, **options)

    return schedule


def test_it_is_a_handle(make, loop):
    handle = make()
    assert isinstance(handle, asyncio.Handle)
    handle.cancel()
    loop.run_until_complete(turns())


def test_cancelled(make, loop):
    handle = make()
    assert handle.cancelled() is False
    handle.cancel()
    assert handle.cancelled() is True
    loop.run_until_complete(turns())


def test_repr_names_the_callback(make, loop):
    handle = make()
    assert "some_callback" in repr(handle)
    assert "cancelled" not in repr(handle)
    handle.cancel()
    assert "cancelled" in repr(handle)
    loop.run_until_complete(turns())


def test_in_debug_mode_a_handle_knows_where_it_was_made(make, loop):
    loop.set_debug(True)
    handle = make()
    assert handle._source_traceback
    assert "test_handles.py" in repr(handle)
    handle.cancel()
    assert "test_handles.py" in repr(handle)
    loop.run_until_complete(turns())


def test_without_debug_mode_no_traceback_is_taken(make, loop):
    handle = make()
    assert not handle._source_traceback
    handle.cancel()
    loop.run_until_complete(turns())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Handle.get_context is new in Python 3.12")
def test_get_context(make, loop):
    context = contextvars.copy_context()
    handle = make(context=context)
    assert handle.get_context() is context
    handle.cancel()
    other = make()
    assert isinstance(other.get_context(), contextvars.Context)
    other.cancel()
    loop.run_until_complete(turns())


def test_when(loop):
    at = loop.time() + 50
    handle = loop.call_at(at, some_callback)
    assert handle.when() == pytest.approx(at)
    handle.cancel()
    before = loop.time()
    handle = loop.call_later(50, some_callback)
    rounding = 1e-6
    assert before + 50 - rounding <= handle.when() <= loop.time() + 50 + rounding
    handle.cancel()


def test_timers_are_timer_handles(loop):
    handle = loop.call_later(50, some_callback)
    assert isinstance(handle, asyncio.TimerHandle)
    handle.cancel()


def test_timers_compare_by_their_deadlines(loop):
    now = loop.time()
    early, late = loop.call_at(now + 10, some_callback), loop.call_at(now + 20, some_callback)
    assert early < late and early <= late and late > early and late >= early
    assert early != late and early == early
    assert len({early, late}) == 2
    assert sorted([late, early]) == [early, late]
    early.cancel()
    late.cancel()
