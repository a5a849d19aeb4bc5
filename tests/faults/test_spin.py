"""A loop that spins before it sleeps."""

from __future__ import annotations

import asyncio
import threading

from loop.test_lifetime import switches

import netloop


def test_a_timer_that_is_due_when_the_spin_ends_does_not_wait_again(new_loop):
    loop = new_loop(lambda: netloop.EventLoop(spin=0.5))

    async def main():
        before = switches(threading.get_native_id())
        for _ in range(20):
            await asyncio.sleep(0.005)
        return switches(threading.get_native_id()) - before

    # With a sleep after each spin there would be 20.
    assert loop.run_until_complete(main()) < 10
