"""What goes wrong while one connection's submissions are written ends that connection, not others and not the run."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest
from loop.helpers import SEVERAL_RINGS, Recorder

from .child import run_child

# Registrations of a ring: enabling it, its descriptor, and the receive buffers when the first receive is armed.
REGISTRATIONS = range(1, 16)


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
    """Two connections of one loop, one of whose registrations fails; None where it cannot be made or begin to run."""
    import netloop
    from netloop.core.ring import FaultPlan

    async def main():
        return [await exchange(), await exchange()]

    try:
        loop = netloop.EventLoop(_faults=FaultPlan(call="register", nth=number, errno=errno.ENOMEM))
    except netloop.Unavailable as error:
        assert error.errno == errno.ENOMEM
        return None
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
    # Each ring has buffers of its own.
    failed = [["ENOMEM", "hello"], ["hello", "ENOMEM"]] if SEVERAL_RINGS else [["ENOMEM", "hello"]]
    assert all(outcome in outcomes for outcome in failed)
    assert all(outcome in (None, *failed, ["hello", "hello"]) for outcome in outcomes)


class Counting(asyncio.Protocol):
    """Counts what it receives and keeps none of it."""

    def __init__(self):
        self.received = 0

    def data_received(self, data):
        self.received += len(data)


def burst():
    """KiB of receive memory: beside 300 quiet connections, after 4.5 MB arrived at once, and in the end."""
    import netloop

    def resident():
        """KiB of the mappings that are as large as receive buffers are and, as these, not reserved ("nr")."""
        found = size = rss = 0
        with open("/proc/self/smaps") as mappings:
            for line in mappings:
                if line.startswith("Size:"):
                    size = int(line.split()[1])
                elif line.startswith("Rss:"):
                    rss = int(line.split()[1])
                elif line.startswith("VmFlags:") and " nr" in line and 100_000 < size < 1_000_000:
                    found += rss
        return found

    async def main():
        loop = asyncio.get_running_loop()
        peers, connections = [], []
        for _ in range(300):
            end, peer = socket.socketpair()
            end.setblocking(False)
            peers.append(peer)
            connections.append(await loop.create_connection(Counting, sock=end))

        async def send_each(data):
            until = sum(protocol.received for _, protocol in connections) + len(data) * len(peers)
            for peer in peers:
                peer.sendall(data)
            while sum(protocol.received for _, protocol in connections) < until:
                await asyncio.sleep(0.01)

        await send_each(b"before")
        held = [resident()]
        for _ in range(3):
            await send_each(bytes(5000))
        held.append(resident())
        while resident() > held[0] + 250:
            await asyncio.sleep(0.1)
        held.append(resident())
        await send_each(b"after")
        for transport, _ in connections:
            transport.close()
        await asyncio.sleep(0.01)
        for peer in peers:
            peer.close()
        return held

    with asyncio.Runner(loop_factory=netloop.new_event_loop) as runner:
        return runner.run(main())


@pytest.mark.limit(60)
def test_receive_memory_of_a_burst_is_given_back():
    """In a process of its own, where nothing else takes memory or gives it back."""
    before, full, after = run_child(burst, seconds=40)
    assert full > before + 500
    assert after <= before + 250
