"""The n-th entry into the kernel fails while large pieces are received, for every n."""

from __future__ import annotations

import errno
import socket
import threading

import pytest
from loop.helpers import HOST, POLLED, BufferedRecorder, Recorder, address_of, finish, pattern

from .child import run_child

SIZE = 2_500_000
KINDS = {"bytes": Recorder, "buffer": BufferedRecorder}


async def receive(loop, kind, plan):
    protocols = []

    def make():
        protocols.append(KINDS[kind]())
        return protocols[-1]

    server = await loop.create_server(make, HOST, 0)
    with socket.create_connection(address_of(server)) as peer:
        sender = threading.Thread(target=peer.sendall, args=(pattern(SIZE),))
        sender.start()
        while not protocols:
            await loop.run_in_executor(None, sender.join, 0.001)
        await protocols[0].until_received(SIZE)
        sender.join()
    intact = bytes(protocols[0].data) == pattern(SIZE)
    await finish(*protocols)
    server.close()
    return intact


def fail_each(kind, failing):
    """How many scenarios there were, and whether all data came in each of them."""
    import netloop
    from netloop.core.ring import FaultPlan

    # The first ones are those of the set-up. With a poller there are few in all, as only a turn that waits enters.
    for number in range(1 if POLLED else 10, 400):
        plan = FaultPlan(call="enter", nth=number, errno=failing)
        loop = netloop.EventLoop(_faults=plan)
        try:
            assert loop.run_until_complete(receive(loop, kind, plan)), number
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
        if plan.calls < number:
            return number
    return number


@pytest.mark.limit(100)
@pytest.mark.parametrize("failing", [errno.EINTR, errno.EBUSY, errno.EAGAIN], ids=errno.errorcode.get)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost(kind, failing):
    assert run_child(fail_each, kind, failing, seconds=90) > (3 if POLLED else 20)
