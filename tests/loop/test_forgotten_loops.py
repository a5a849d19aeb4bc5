"""Quiet connections that the program has lost sight of, when their loop is closed, lost too, moved or inherited."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
import weakref

import pytest

from .forgetting import begin_quiet, collected, hear_the_end, unclosed
from .forking import forked, succeeded
from .helpers import Recorder, first, in_thread, peer_of, serving, socket_pair


def test_a_loop_is_closed_while_connections_rest(raw_loop):
    loop = raw_loop()

    async def begin(sock):
        transport, protocol = await loop.create_connection(Recorder, sock=sock)
        transport.pause_reading()
        await asyncio.sleep(0.01)
        return transport, protocol

    with socket_pair() as (near, far):
        transport, protocol = loop.run_until_complete(begin(near))
        loop.close()
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            del transport
            protocol.transport = None
            gc.collect()
        far.setblocking(True)
        assert far.recv(1) == b""


@pytest.mark.parametrize("kind", ["accepted", "connected", "pipe"])
def test_a_loop_is_closed_before_it_could_close_what_was_collected(raw_loop, kind):
    loop = raw_loop()
    far = loop.run_until_complete(begin_quiet(loop, kind))
    with unclosed() as warned:
        gc.collect()
        loop.close()
        gc.collect()
    assert len(warned) == 1
    hear_the_end(far)


@pytest.mark.parametrize("later", [False, True], ids=["soon", "later"])
def test_a_loop_is_closed_with_a_callback_that_alone_knew_a_connection(raw_loop, later):
    """It is no protocol's, so that no collection is needed: it goes with the callback, in the middle of closing."""
    loop = raw_loop()

    async def begin(sock):
        transport, _protocol = await loop.create_connection(asyncio.Protocol, sock=sock)
        transport.pause_reading()
        await asyncio.sleep(0.02)
        if later:
            loop.call_later(1000, transport.close)
        else:
            loop.call_soon(loop.call_soon, transport.close)
            loop.stop()

    near, far = socket.socketpair()
    near.setblocking(False)
    task = loop.create_task(begin(near))
    del near
    if later:
        loop.run_until_complete(task)
    else:
        loop.run_forever()
    del task
    with unclosed() as warned:
        loop.close()
        gc.collect()
    assert len(warned) == 1
    hear_the_end(far)


@pytest.mark.parametrize("kind", ["accepted", "connected", "pipe"])
def test_a_loop_is_forgotten_with_its_connections(raw_loop, kind):
    loop = raw_loop()
    far = loop.run_until_complete(begin_quiet(loop, kind))
    gone = weakref.ref(loop)
    with unclosed() as warned:
        del loop
        for _ in range(3):
            gc.collect()
    assert len(warned) == 1
    # The warnings kept what they warned of until here; before Python 3.15 a weak reference did not see that.
    gc.collect()
    assert gone() is None
    hear_the_end(far)


def test_a_quiet_connection_goes_along_when_its_loop_moves_to_another_thread(new_loop):
    loop = new_loop()

    async def begin():
        protocols = []
        server = await loop.create_server(lambda: protocols.append(Recorder()) or protocols[0], "127.0.0.1", 0)
        with peer_of(server) as peer:
            (await first(protocols)).transport.pause_reading()
            await asyncio.sleep(0.02)
            server.close()
            return protocols[0], peer.dup()

    async def go_on(protocol, peer):
        gc.collect()
        await loop.sock_sendall(peer, b"x")
        protocol.transport.resume_reading()
        await protocol.until_received(1)
        protocol.transport.close()
        await protocol.lost

    near, peer = loop.run_until_complete(begin())
    with peer:
        in_thread(lambda: loop.run_until_complete(go_on(near, peer)))


async def test_a_child_of_a_fork_forgets_what_its_parent_goes_on_with(loop):
    """The child's copies of quiet connections are collected there; the parent's know nothing of it."""
    kept = []

    async with serving() as (server, protocols):
        with peer_of(server) as peer:
            protocol = await first(protocols)
            protocol.transport.pause_reading()
            far = await begin_quiet(loop, "accepted")
            await asyncio.sleep(0.02)

            def child():
                kept.append(protocol.transport)
                kept.clear()
                protocol.transport = None
                warnings.simplefilter("ignore")
                gc.collect()

            assert succeeded(forked(child))
            await loop.sock_sendall(peer, b"x")
            protocol.transport.resume_reading()
            assert await protocol.until_received(1) == b"x"
            assert await collected()
            hear_the_end(far)
