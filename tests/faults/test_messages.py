"""Messages read from a pipe transport where something goes wrong: too large, and the loop closed under them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket

import pytest
from loop.helpers import Recorder, turns

LARGEST = 256 * 1024


@pytest.fixture
def ends():
    """Two sockets of the type SEQPACKET, connected to each other, the second with room for large messages."""
    with contextlib.ExitStack() as stack:
        pair = [stack.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)]
        pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * LARGEST)
        yield pair


async def reading(file):
    _, protocol = await asyncio.get_running_loop().connect_read_pipe(Recorder, file)
    return protocol


async def test_a_message_larger_than_can_be_received_is_told_of(loop, ends, caplog):
    read, write = ends
    reader = await reading(read)
    write.send(bytes(LARGEST + 5000))
    received = await reader.until_received(1)
    assert LARGEST <= len(received) < LARGEST + 5000
    assert f"a message was cut to {len(received)} bytes" in caplog.text
    caplog.clear()
    write.send(b"the next one is whole")
    assert (await reader.until_received(len(received) + 1))[len(received) :] == b"the next one is whole"
    assert not caplog.text
    reader.transport.close()
    await reader.lost


def test_closing_the_loop_while_messages_arrive(new_loop, ends):
    read, write = ends
    loop = new_loop()
    reader = loop.run_until_complete(reading(read))
    loop.run_until_complete(turns())
    for number in range(10):
        write.send(b"%d" % number)
    loop.close()
    assert not reader.data
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del reader
        gc.collect()
    assert read.fileno() == -1
