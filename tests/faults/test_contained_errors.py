"""What goes wrong while one connection's submissions are written ends that connection, not others and not the run."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest
from loop.helpers import Recorder

from .child import run_child

# Registrations of a loop: enabling the ring, its descriptor, and the receive buffers when the first receive is armed.
REGISTRATIONS = range(1, 6)


async def exchange():
    """Connect, and receive: what came, or the error that the connection was lost with."""
    loop = asyncio.get_running_loop()
    end, peer = socket.socketpair()
    end.setblocking(False)
    with peer:
        _, protocol = await loop.create_connection(Recorder, sock=end)
        peer.sendall(b"hello")
        await protocol.until(lambda: protocol.data or protocol.lost.done())
        if protocol.lost.done():
            return errno.errorcode[protocol.lost.result().errno]
        protocol.transport.close()
        await protocol.lost
        return protocol.data.decode()


def fail_registration(number):
    """Two connections of one loop, one of whose registrations fails; None where it cannot even begin to run."""
    import netloop
    from netloop.core.ring import FaultPlan

    async def main():
        return [await exchange(), await exchange()]

    loop = netloop.EventLoop(_faults=FaultPlan(call="register", nth=number, errno=errno.ENOMEM))
    running = main()
    try:
        return loop.run_until_complete(running)
    except OSError as error:
        running.close()
        assert "cannot enable the ring" in str(error)
        return None
    finally:
        loop.close()


def test_receive_buffers_that_cannot_be_registered_end_one_connection():
    outcomes = [run_child(fail_registration, number) for number in REGISTRATIONS]
    assert ["ENOMEM", "hello"] in outcomes
    assert all(outcome in (None, ["ENOMEM", "hello"], ["hello", "hello"]) for outcome in outcomes)


@pytest.mark.limit(60)
async def test_receive_memory_of_a_burst_is_given_back(loop):
    """Memory that data was written to is seen in the process's resident set, per mapping."""

    def resident():
        """KiB of the mappings as large as the receive buffers are."""
        found, size = 0, 0
        with open("/proc/self/smaps") as smaps:
            for line in smaps:
                if line.startswith("Size:"):
                    size = int(line.split()[1])
                elif line.startswith("Rss:") and size >= 128 * 1024:
                    found += int(line.split()[1])
        return found

    ends = [socket.socketpair() for _ in range(300)]
    protocols = []
    for end, _ in ends:
        end.setblocking(False)
        protocols.append((await loop.create_connection(Recorder, sock=end))[1])
    await asyncio.sleep(0.01)
    before = resident()
    for _ in range(3):
        for _, peer in ends:
            peer.sendall(bytes(5000))
        await asyncio.sleep(0.01)
    assert resident() > before + 1000
    while resident() > before + 500:
        await asyncio.sleep(0.1)
    for _, peer in ends:
        peer.sendall(b"after")
    for protocol, (_, peer) in zip(protocols, ends, strict=True):
        await protocol.until_received(15005)
        protocol.transport.close()
        await protocol.lost
        peer.close()
