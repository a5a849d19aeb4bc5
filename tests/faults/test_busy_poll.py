"""A loop that polls network cards before it sleeps."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

import netloop
from netloop.core.probe import probe
from netloop.core.ring import OlderKernel


async def echo_once():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    # Long enough for the loop to poll and then to sleep.
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("busy_poll", [-1e-6, 1.5, float("nan")])
def test_a_time_out_of_range_is_refused_with_the_range(loop_name, busy_poll):
    with pytest.raises(ValueError, match="busy_poll must be from 0 to 1 second"):
        netloop.EventLoop(busy_poll=busy_poll)


@pytest.mark.needs("busy_polling")
@pytest.mark.parametrize("busy_poll", [1e-9, 50e-6, 1])
def test_the_loop_works_as_ever_and_says_nothing(new_loop, caplog, busy_poll):
    with caplog.at_level(logging.WARNING):
        new_loop(lambda: netloop.EventLoop(busy_poll=busy_poll)).run_until_complete(echo_once())
    assert not caplog.records


@pytest.mark.needs("busy_polling")
def test_a_loop_that_goes_on_in_another_thread_works_as_ever(new_loop):
    loop = new_loop(lambda: netloop.EventLoop(busy_poll=50e-6))
    loop.run_until_complete(echo_once())
    thread = threading.Thread(target=lambda: loop.run_until_complete(echo_once()))
    thread.start()
    thread.join()
    loop.run_until_complete(echo_once())


def test_a_kernel_that_cannot_is_told_of_and_the_loop_works_without(new_loop, caplog):
    kernel = OlderKernel(["NAPI"])
    assert not probe(kernel)["registrations"]["NAPI"]
    with caplog.at_level(logging.WARNING):
        loop = new_loop(lambda: netloop.EventLoop(busy_poll=50e-6, _faults=kernel))
        loop.run_until_complete(echo_once())
    (record,) = caplog.records
    assert record.getMessage() == (
        "busy_poll=5e-05 has no effect: the kernel refuses it (it has no IORING_REGISTER_NAPI); it takes Linux 6.9, "
        "built with CONFIG_NET_RX_BUSY_POLL"
    )
