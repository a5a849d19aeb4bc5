"""Debug mode: switching it, slow callbacks, where coroutines come from."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time

import pytest

from .helpers import connected, turns


def test_debug_mode_can_be_switched(loop):
    assert loop.get_debug() is False
    loop.set_debug(True)
    assert loop.get_debug() is True
    assert "debug=True" in repr(loop)
    loop.set_debug(False)
    assert loop.get_debug() is False


def test_debug_mode_comes_from_the_environment(loop_name):
    program = (
        "import asyncio, importlib, sys\n"
        "name = sys.argv[1]\n"
        "make = asyncio.SelectorEventLoop if name == 'asyncio' else importlib.import_module(name).new_event_loop\n"
        "loop = make()\n"
        "print(loop.get_debug())\n"
        "loop.close()\n"
    )
    command = [sys.executable, "-c", program, loop_name]
    quiet = {name: os.environ[name] for name in os.environ.keys() - {"PYTHONASYNCIODEBUG", "PYTHONDEVMODE"}}
    asked = {**quiet, "PYTHONASYNCIODEBUG": "1"}
    on = subprocess.run(command, env=asked, capture_output=True, text=True, check=True)
    off = subprocess.run(command, env=quiet, capture_output=True, text=True, check=True)
    assert (on.stdout.strip(), off.stdout.strip()) == ("True", "False")


def test_a_slow_callback_is_logged(loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    loop.call_soon(time.sleep, 0.05)
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        loop.run_until_complete(turns())
    messages = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("took" in message and "sleep" in message for message in messages)


def test_a_slow_task_step_is_logged_with_the_task(loop, caplog):
    async def slow_coroutine():
        time.sleep(0.05)

    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        loop.run_until_complete(slow_coroutine())
    assert "slow_coroutine" in caplog.text and "took" in caplog.text


def test_fast_callbacks_and_loops_without_debug_mode_log_nothing(loop, caplog):
    loop.slow_callback_duration = 0.01
    loop.call_soon(time.sleep, 0.03)
    loop.run_until_complete(turns())
    loop.set_debug(True)
    loop.slow_callback_duration = 10
    loop.call_soon(time.sleep, 0.01)
    loop.run_until_complete(turns())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_slow_callback_duration_defaults_to_a_tenth_of_a_second(loop):
    assert loop.slow_callback_duration == 0.1


def test_coroutine_origins_are_tracked_only_while_a_loop_in_debug_mode_runs(loop):
    depths = []
    loop.set_debug(True)
    loop.call_soon(lambda: depths.append(sys.get_coroutine_origin_tracking_depth()))
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert depths[0] > 0
    assert sys.get_coroutine_origin_tracking_depth() == 0


def test_switching_debug_mode_on_while_running_takes_effect(loop):
    async def main():
        loop.set_debug(True)
        await turns()
        with pytest.raises(RuntimeError, match=r"[Nn]on-thread-safe"):
            await asyncio.to_thread(loop.call_soon, print)
        depth = sys.get_coroutine_origin_tracking_depth()
        loop.set_debug(False)
        return depth

    assert loop.run_until_complete(main()) > 0
    assert sys.get_coroutine_origin_tracking_depth() == 0


def test_connections_work_in_debug_mode(loop):
    async def main():
        async with connected() as (client, server):
            client.transport.write(b"debug")
            assert await server.until_received(5) == b"debug"
            assert repr(client.transport)

    loop.set_debug(True)
    loop.run_until_complete(main())
