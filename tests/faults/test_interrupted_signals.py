"""Signals that come together with an interrupt, or in the last moment before the loop sleeps: none is lost."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import threading
import time

import pytest

import netloop

USR1, USR2 = signal.SIGUSR1, signal.SIGUSR2


def test_an_interrupt_while_signals_are_read_loses_none(loop):
    """Python looks for an interrupt whenever a function begins: it is made to come in the first that a turn calls."""
    seen, interrupts = [], []
    for signum in (USR1, USR2, signal.SIGTERM):
        loop.add_signal_handler(signum, seen.append, signum)
        os.kill(os.getpid(), signum)

    def interrupt(frame, event, argument):
        # A turn is compiled code, which has no frame: asyncio's run_forever() seems to call what it calls.
        caller = frame.f_back.f_code
        in_turn = caller.co_name == "run_forever" and caller.co_filename == asyncio.base_events.__file__
        if event == "call" and in_turn and frame.f_code.co_filename.startswith(os.path.dirname(netloop.__file__)):
            sys.setprofile(None)
            interrupts.append(frame.f_code.co_name)
            raise KeyboardInterrupt

    task = loop.create_task(asyncio.sleep(0.05))
    try:
        sys.setprofile(interrupt)
        loop.run_until_complete(task)
    except KeyboardInterrupt:
        assert interrupts
    finally:
        sys.setprofile(None)
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.run_until_complete(task)
    for signum in (USR1, USR2, signal.SIGTERM):
        loop.remove_signal_handler(signum)
    assert sorted(seen) == sorted([USR1, USR2, signal.SIGTERM])


@pytest.mark.limit(120)
@pytest.mark.parametrize("owned", [False, True], ids=["nobody's descriptor", "somebody's descriptor"])
def test_a_signal_in_the_last_moment_before_the_loop_sleeps_is_noticed(loop, owned):
    """The loop has nothing else to do, so a signal that it missed would leave it asleep for ever."""
    near, far = os.pipe()
    os.set_blocking(far, False)
    signal.set_wakeup_fd(far if owned else -1, warn_on_full_buffer=False)
    previous = signal.signal(USR1, lambda *args: loop.stop())
    gate = threading.Semaphore(0)
    count = 300

    def send():
        for _ in range(count):
            gate.acquire()
            end = time.perf_counter() + random.random() * 200e-6
            while time.perf_counter() < end:
                pass
            os.kill(os.getpid(), USR1)

    thread = threading.Thread(target=send)
    thread.start()
    for _ in range(count):
        loop.call_soon(gate.release)
        loop.run_forever()
    thread.join()
    signal.signal(USR1, previous)
    assert signal.set_wakeup_fd(-1) == (far if owned else -1)
    os.close(far)
    told = os.read(near, 10 * count)
    os.close(near)
    assert told == (bytes([USR1]) * count if owned else b"")
