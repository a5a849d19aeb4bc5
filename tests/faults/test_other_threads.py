"""A loop that ran in one thread and is run, closed or collected in another."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
import threading
import time
import warnings

from loop.helpers import HOST, address_of

from .child import descriptors, descriptors_left, run_child


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def wake_up_before_a_move():
    """Wake a loop just when it stops, run it in another thread, and wake it there.

    For the wake-up to be under way when the loop stops, a thread holds the interpreter over the end of the loop's
    wait; the loop then submits to the kernel once more, which takes the wake-up's end in, and stops.
    """
    import netloop

    loop = netloop.EventLoop()

    def first_run():
        server = loop.run_until_complete(loop.create_server(asyncio.Protocol, HOST, 0))

        def last():
            server.close()
            loop.stop()

        def hold():
            time.sleep(0.1)
            until = time.monotonic() + 0.004
            while time.monotonic() < until:
                pass
            loop.call_soon_threadsafe(int)

        threading.Thread(target=hold).start()
        loop.call_later(0.102, last)
        loop.run_forever()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(5)
    in_thread(first_run)
    sys.setswitchinterval(interval)
    second_run = threading.Thread(target=loop.run_forever)
    second_run.start()
    time.sleep(0.05)
    woken = threading.Event()
    loop.call_soon_threadsafe(woken.set)
    came = woken.wait(5)
    loop.call_soon_threadsafe(loop.stop)
    if not came:
        return "not woken"
    second_run.join()
    loop.close()
    return "woken"


def test_a_wake_up_under_way_when_the_thread_changes_does_not_swallow_later_ones():
    assert run_child(wake_up_before_a_move, seconds=10) == "woken"


def close_with_accepted_connections():
    """Close, in another thread, a loop that has accepted connections it never came to serve."""
    import netloop

    loop = netloop.EventLoop(fixed_files=9)
    kept, transports = [], []

    class Keeping(asyncio.Protocol):
        def connection_made(self, transport):
            transports.append(transport)

    async def serve():
        server = await loop.create_server(Keeping, HOST, 0)
        kept.append(server)
        address = address_of(server)
        kept.append(socket.create_connection(address))
        while not transports:
            await asyncio.sleep(0)

        def last():
            kept.extend(socket.create_connection(address) for _ in range(4))
            # A call on the socket enters the ring, which takes the accepted connections in.
            transports[0].get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            loop.stop()

        loop.call_soon(last)
        await asyncio.sleep(1000)

    def run():
        kept.append(loop.create_task(serve()))
        loop.run_forever()

    in_thread(run)
    loop.close()
    for thing in kept:
        if isinstance(thing, socket.socket):
            thing.close()


def repeat_close_with_accepted_connections():
    warnings.simplefilter("ignore", ResourceWarning)  # what the scene leaves open is the point of it
    logging.disable(logging.CRITICAL)
    close_with_accepted_connections()
    gc.collect()
    before = descriptors()
    for _ in range(3):
        close_with_accepted_connections()
    gc.collect()
    return descriptors_left(before)


def test_closing_in_another_thread_leaves_no_accepted_descriptor():
    assert run_child(repeat_close_with_accepted_connections) == []


def collect_with_timers():
    """Collect, in another thread, a loop whose close() cannot succeed there, together with handles of its timers.

    A signal handler can be removed in the main thread only.
    """
    import netloop

    class Holder:
        """Something in a cycle with a loop."""

    sys.unraisablehook = lambda unraisable: None  # to keep what it tells of would keep the loop
    warnings.simplefilter("ignore", ResourceWarning)
    loop = netloop.EventLoop()
    loop.add_signal_handler(signal.SIGUSR1, print)
    holder = Holder()
    # The collector clears what was made first first: one handle before the loop's timers, the others after.
    holder.handle, holder.loop = loop.call_later(1, print), loop
    for number in range(5):
        loop.call_later(1000 + number, print)
    del loop
    gc.collect()
    box = [holder]
    del holder
    in_thread(lambda: (box.clear(), gc.collect()))
    gc.collect()
    return len(box)


def test_a_loop_with_timers_whose_close_fails_is_collected():
    """What goes wrong here is written to freed memory; only a build with AddressSanitizer is sure to notice."""
    assert run_child(collect_with_timers) == 0
