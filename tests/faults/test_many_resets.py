"""Connections opened and reset by the thousand."""

from __future__ import annotations

import socket

import pytest
from loop.helpers import Echo, Recorder, address_of, eventually, finish, reset, serving, turns


@pytest.mark.limit(60)
@pytest.mark.parametrize("when", ["at once", "after data", "after the echo"])
async def test_ten_thousand_connections(loop, when):
    async with serving(Echo, backlog=2500) as (server, protocols):
        for batch in range(100):
            peers = [socket.create_connection(address_of(server)) for _ in range(100)]
            if when != "at once":
                for peer in peers:
                    peer.send(b"echo")
            if when == "after the echo":
                for peer in peers:
                    peer.setblocking(False)
                    assert await loop.sock_recv(peer, 4) == b"echo"
            await turns(batch % 15)
            for peer in peers:
                reset(peer)
        _, client = await loop.create_connection(Recorder, *address_of(server))
        client.transport.write(b"alive")
        assert await client.until_received(5) == b"alive"
        await finish(client)
        await eventually(lambda: all(protocol.lost.done() for protocol in protocols))
        if when == "after the echo":
            assert len(protocols) == 10_001
        if hasattr(loop, "statistics"):
            assert loop.statistics().connections == 0


async def test_our_own_aborts(loop):
    async with serving(Echo) as (server, protocols):
        for _ in range(20):
            clients = [(await loop.create_connection(Recorder, *address_of(server)))[1] for _ in range(50)]
            for client in clients:
                client.transport.write(b"x" * 10_000)
            await finish(*clients)
        await eventually(lambda: len(protocols) == 1000 and all(protocol.lost.done() for protocol in protocols))
