"""What a program does last, just before its loop stops: it is brought to its end, or can be asked about."""

from __future__ import annotations

import asyncio
import socket

import pytest

from .helpers import Recorder, first, peer_of, serving


@pytest.fixture
def pair():
    """A non-blocking socket for a transport, and its other end."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    with near, far:
        yield near, far


async def connect_and(how, sock):
    """Connect a protocol, let it settle, and end it in the very last step."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(Recorder, sock=sock)
    await asyncio.sleep(0.01)
    getattr(transport, how)()
    return protocol


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_connection_ended_in_the_last_step_is_gone_when_the_loop_is_closed(loop, pair, how):
    near, far = pair
    protocol = loop.run_until_complete(connect_and(how, near))
    loop.close()
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert far.recv(1) == b""


@pytest.mark.parametrize("how", ["close", "abort"])
def test_a_connection_ended_in_the_last_step_of_a_runner_is_gone(new_loop, pair, how):
    near, far = pair
    with asyncio.Runner(loop_factory=new_loop) as runner:
        protocol = runner.run(connect_and(how, near))
    assert protocol.calls == ["connection_made", "connection_lost"]
    assert far.recv(1) == b""


async def test_both_addresses_are_known_in_connection_lost(loop):
    class Asking(Recorder):
        def connection_lost(self, exc):
            self.addresses = [self.transport.get_extra_info(name) for name in ("sockname", "peername")]
            super().connection_lost(exc)

    async with serving(Asking) as (server, protocols):
        with peer_of(server) as peer:
            addresses = [peer.getpeername(), peer.getsockname()]
            protocol = await first(protocols)
        await protocol.lost
    assert protocol.addresses == addresses
