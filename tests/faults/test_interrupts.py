"""A storm of signals interrupts every system call."""

from __future__ import annotations

import asyncio
import signal

from loop.helpers import Echo, Recorder, address_of, finish, pattern, serving

from .child import run_child

PERIOD = 0.001


async def work():
    """Connections that come, talk and go; a large transfer; timers and threads."""
    loop = asyncio.get_running_loop()
    payload = pattern(2_000_000)
    async with serving(Echo) as (server, _):
        for _ in range(10):
            connecting = [loop.create_connection(Recorder, *address_of(server)) for _ in range(10)]
            clients = [client for _, client in await asyncio.gather(*connecting)]
            for turn in range(1, 21):
                for client in clients:
                    client.transport.write(b"x" * 1000)
                for client in clients:
                    await client.until_received(1000 * turn)
            await finish(*clients)
            await asyncio.sleep(0.002)
            await asyncio.to_thread(int)
        _, client = await loop.create_connection(Recorder, *address_of(server))
        client.transport.write(payload)
        good = await client.until_received(len(payload)) == payload
        await finish(client)
        return good


def under_signals(how):
    """Do the work while a timer signals; whether it went well, and whether signals came."""
    import netloop

    came = []
    loop = netloop.new_event_loop()
    if how == "python handler":
        signal.signal(signal.SIGALRM, lambda *args: came.append(1))
    else:
        loop.add_signal_handler(signal.SIGALRM, came.append, 1)
    signal.setitimer(signal.ITIMER_REAL, PERIOD, PERIOD)
    good = loop.run_until_complete(work())
    signal.setitimer(signal.ITIMER_REAL, 0)
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    return good, len(came) > 10


def test_a_storm_with_a_python_handler():
    assert run_child(under_signals, "python handler") == [True, True]


def test_a_storm_with_a_handler_of_the_loop():
    assert run_child(under_signals, "loop handler") == [True, True]
