"""Callbacks that call back into the loop or the server that calls them, where other loops end or lose something."""

from __future__ import annotations

import contextvars

import pytest
from loop.helpers import HOST, Recorder, address_of, eventually, peer_of, stop, turns


async def test_a_factory_that_closes_its_server_still_gets_its_connection(loop):
    protocols = []

    def closing():
        server.close()
        protocols.append(Recorder())
        return protocols[0]

    server = await loop.create_server(closing, HOST, 0)
    address = address_of(server)
    with peer_of(server) as peer:
        await eventually(lambda: protocols)
        peer.send(b"served")
        assert await protocols[0].until_received(6) == b"served"
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, *address)
    assert await protocols[0].lost is None
    await stop(server)


@pytest.mark.parametrize("later", [False, True], ids=["call_soon", "call_later"])
def test_a_callback_whose_context_is_entered_already_is_reported_and_the_loop_goes_on(loop, exceptions, caplog, later):
    context = contextvars.copy_context()
    ran = []

    def run_inside():
        if later:
            loop.call_later(0.001, ran.append, "never", context=context)
        else:
            loop.call_soon(ran.append, "never", context=context)
        loop.call_later(0.005, loop.stop)
        loop.run_forever()

    context.run(run_inside)
    # From Python 3.12 on asyncio calls the handler in the same context, which fails, and logs that instead.
    logged = "Unhandled error in exception handler" in caplog.text
    assert exceptions.take_types() == ([] if logged else [RuntimeError])
    loop.run_until_complete(turns())
    assert ran == []
