"""A protocol that keeps packets, endpoints to use it on, and plain sockets to compare them with."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from loop.helpers import HOST, Events, finish

SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
IP_PKTINFO, IP_RECVERR, IP_RECVTTL, IP_RECVTOS = 8, 11, 12, 13
IPV6_RECVERR = 25
SO_NO_CHECK, SO_RCVBUFFORCE, SO_TIMESTAMPNS, SO_RXQ_OVFL = 11, 33, 35, 40
EVERYTHING = ("destination", "tos", "ttl", "time")
LIMIT_4, LIMIT_6 = 65_507, 65_527  # the largest payloads


class Packets(Events):
    """Keeps all batches and all errors."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Any] = []
        self.errors: list[Any] = []

    def packets_received(self, batch: Any) -> None:
        self.batches.append(batch)
        self.called("packets_received")

    def error_received(self, exc: OSError) -> None:
        self.errors.append(exc)
        self.called("error_received")

    @property
    def packets(self) -> list[Any]:
        return [packet for batch in self.batches for packet in batch]

    @property
    def payloads(self) -> list[bytes]:
        return [payload for batch in self.batches for payload in batch.payloads()]

    async def until_packets(self, count: int) -> list[bytes]:
        """Wait until ``count`` packets have come, and return the payloads of all that came."""
        await self.until(lambda: sum(map(len, self.batches)) >= count)
        return self.payloads

    async def until_errors(self, count: int) -> list[Any]:
        await self.until(lambda: len(self.errors) >= count)
        return self.errors


@contextlib.asynccontextmanager
async def packets(factory: Any = Packets, local_addr: Any = None, **options: Any) -> AsyncIterator[Any]:
    """The protocol of a packet endpoint; it is gone at the end."""
    loop: Any = asyncio.get_running_loop()
    _, protocol = await loop.create_packet_endpoint(factory, local_addr, **options)
    try:
        yield protocol
    finally:
        await finish(protocol)


def make_room(sock: socket.socket, room: int) -> None:
    """Have that much room for what a socket receives; the test is skipped where that is refused."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < room:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, room)
        except PermissionError:
            pytest.skip(f"only root may have a receive buffer of {room} bytes here (net.core.rmem_max)")


@contextlib.contextmanager
def udp(host: str = HOST, family: int = socket.AF_INET, room: int = 0) -> Iterator[socket.socket]:
    """A plain socket, bound and blocking, with that much room for what it receives; the test is skipped without it."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        if room:
            make_room(sock, room)
        sock.bind((host, 0))
        yield sock


def received(sock: socket.socket, count: int) -> list[bytes]:
    return [sock.recv(1 << 18) for _ in range(count)]


def send_coalesced(sock: socket.socket, data: bytes, size: int, address: Any) -> None:
    """Have the kernel cut data into datagrams, which it may deliver to one receiver as it has got them."""
    sock.sendmsg([data], [(SOL_UDP, UDP_SEGMENT, struct.pack("H", size))], 0, address)


def refused_port(host: str = HOST, family: int = socket.AF_INET) -> int:
    """A UDP port where nobody is."""
    with udp(host, family) as sock:
        return int(sock.getsockname()[1])
