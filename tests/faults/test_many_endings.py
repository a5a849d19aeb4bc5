"""Connections that end by the hundred in one turn, on loops whose rings have pollers and on one whose ring has none."""

from __future__ import annotations

import os

import pytest
from loop.helpers import Recorder, address_of, eventually, serving, turns
from loop.test_crowds import crowd

import netloop

COUNT = 1000
CPUS = sorted(os.sched_getaffinity(0))[:2]


@pytest.fixture(params=[0, 1, 2], ids=["no poller", "one poller", "two pollers"])
def loop(request, new_loop):
    if request.param > len(CPUS):
        pytest.skip("each CPU can be named once, and this process may use one only")
    return new_loop(lambda: netloop.EventLoop(io_cpus=CPUS[: request.param]))


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_callback_scheduled_after_many_ends_finds_them_all_told(loop, how):
    """As on asyncio: connection_lost() takes its place in the ready queue when the transport is closed."""
    async with serving(Recorder, backlog=COUNT) as (server, protocols):
        with crowd(address_of(server), COUNT):
            await eventually(lambda: len(protocols) == COUNT)
            await turns()  # in which each has its receive armed
            told = loop.create_future()
            for protocol in protocols:
                getattr(protocol.transport, how)()
            loop.call_soon(lambda: told.set_result(sum(protocol.lost.done() for protocol in protocols)))
            assert await told == COUNT
