"""Connections that wait for a receive buffer get one as soon as there is one."""

from __future__ import annotations

import asyncio
import socket

import pytest
from loop.helpers import Recorder, eventually

import netloop

COUNT = 24
PAUSED = 12
SIZE = 512


@pytest.fixture
def loop(new_loop):
    return new_loop(lambda: netloop.EventLoop(buffer_count=4, buffer_count_max=4, buffer_size=1024))


def complete(protocols):
    return all(len(protocol.data) == SIZE for protocol in protocols)


async def test_those_that_wait_are_not_held_up_by_others_that_paused_while_waiting(loop):
    """Nothing else happens on the loop meanwhile: any callback would hide a wait that nobody ends."""
    protocols, fars = [], []
    all_served = loop.create_future()

    class Counting(Recorder):
        def data_received(self, data):
            super().data_received(data)
            if complete(protocols[PAUSED:]) and not all_served.done():
                all_served.set_result(None)

    for _ in range(COUNT):
        near, far = socket.socketpair()
        near.setblocking(False)
        fars.append(far)
        protocols.append((await loop.create_connection(Counting, sock=near))[1])
    await asyncio.sleep(0.02)
    exhausted = loop.statistics().buffers_exhausted
    for far in fars:
        far.send(bytes(SIZE))
    while loop.statistics().buffers_exhausted == exhausted:
        await asyncio.sleep(0)
    for protocol in protocols[:PAUSED]:
        protocol.transport.pause_reading()
    await all_served
    for protocol in protocols[:PAUSED]:
        protocol.transport.resume_reading()
    await eventually(lambda: complete(protocols))
    for far in fars:
        far.close()
    for protocol in protocols:
        assert await protocol.lost is None
