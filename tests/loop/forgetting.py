"""Connections that do not read and that nobody refers to, for tests of what becomes of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import warnings

from .helpers import peer_of, turns


class Quiet(asyncio.Protocol):
    """Knows its transport; nobody else does. Keeps the connection at the peer's end, or reads nothing."""

    def __init__(self, pausing: bool) -> None:
        self.pausing = pausing

    def connection_made(self, transport):
        self.transport = transport
        if self.pausing:
            transport.pause_reading()

    def eof_received(self):
        return True

    def connection_lost(self, exc):
        raise AssertionError("a protocol that is collected is not told")


@contextlib.contextmanager
def unclosed():
    """Warnings of unclosed transports, in a list; the socket objects and loops collected with them may warn as well."""
    found = []
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield found
    found += [str(each.message) for each in warned if "unclosed transport" in str(each.message)]


async def collected():
    """Collect garbage once the loop has done what it still had to do; says how often it warned."""
    with unclosed() as warned:
        for _ in range(3):
            await asyncio.sleep(0.02)
            gc.collect()
    await turns()
    return len(warned)


async def begin_quiet(loop, kind, protocol=Quiet):
    """A connection of a kind that does not read and that nobody refers to but itself; our end of it."""
    if kind == "accepted":
        server = await loop.create_server(lambda: protocol(True), "127.0.0.1", 0)
        with peer_of(server) as near, near.dup() as far:
            await asyncio.sleep(0.02)
            server.close()
            return socket.socket(fileno=far.detach())
    far, near = socket.socketpair()
    far.setblocking(False)
    near.setblocking(False)
    if kind == "pipe":
        await loop.connect_read_pipe(lambda: protocol(True), near)
    else:
        await loop.create_connection(lambda: protocol(True), sock=near)
    await asyncio.sleep(0.02)
    return far


def hear_the_end(far):
    """Nobody has the other end open any more."""
    with far:
        far.settimeout(10)
        assert far.recv(1) == b""
