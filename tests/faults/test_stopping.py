"""A loop that stops with operations in flight."""

from __future__ import annotations

import asyncio

from loop.helpers import socket_pair

LARGE = bytes(70_000)  # which a transport sends at once


def test_stopping_when_a_watched_descriptor_has_just_become_readable_does_not_spin(loop):
    """The kernel has told of it already, so there is nothing to cancel; that answer ends no operation."""
    with socket_pair() as (near, _far), socket_pair() as (watched, peer):
        transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=near.dup()))
        loop.add_reader(watched, watched.recv, 10)
        loop.run_until_complete(asyncio.sleep(0.01))

        def stop():
            peer.send(b"x")
            transport.write(LARGE)
            loop.stop()

        before = loop.statistics().enters
        loop.call_soon(stop)
        loop.run_forever()
        assert loop.statistics().enters - before < 20

        loop.remove_reader(watched)
        transport.abort()
        loop.run_until_complete(asyncio.sleep(0.01))
