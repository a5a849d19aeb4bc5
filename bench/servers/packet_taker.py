"""One-way packets to the server: counts them, and answers as often as it was ordered to."""

import argparse
import asyncio
import functools
import socket
import struct
from typing import Any

import packet_endpoints
from packet_endpoints import ORDER_SIZE, Address, number_in
from serving import run

_ANSWER = struct.Struct("=QQQ")


class Count:
    """What has come since the last order, and whoever gave it."""

    def __init__(self) -> None:
        self._customer: Address | None = None
        self._every = self._packets = self._bytes = 0
        self._due = 0

    def connection_made(self, transport: Any) -> None:
        """Keep the transport, and what it says of the socket."""
        self._transport = transport
        self._room = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    def take_order(self, order: bytes, customer: Address) -> None:
        """Begin anew."""
        self._customer, self._every = customer, number_in(order)
        self._packets = self._bytes = 0
        self._due = self._every
        self._answer()

    def take(self, packets: int, size: int) -> None:
        """Count packets, and answer when it is time."""
        self._packets += packets
        self._bytes += size
        if self._packets >= self._due and self._every:
            self._due = (self._packets // self._every + 1) * self._every
            self._answer()

    def _answer(self) -> None:
        self._transport.sendto(_ANSWER.pack(self._packets, self._bytes, self._room), self._customer)


class DatagramTaker(Count, asyncio.DatagramProtocol):
    """Takes one datagram after the other."""

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Take it."""
        if len(data) != ORDER_SIZE:
            self.take(1, len(data))
        else:
            self.take_order(data, addr)


class PacketTaker(Count, asyncio.BaseProtocol):
    """Takes whatever has come in a turn at once; ``size`` is what each packet has, but orders."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def packets_received(self, batch: Any) -> None:
        """Take all of them."""
        payloads = batch.payloads()
        total = sum(map(len, payloads))
        if total == len(payloads) * self._size:
            self.take(len(payloads), total)
            return
        for packet in batch:
            if len(packet.payload) == ORDER_SIZE:
                self.take_order(packet.payload, packet.source)
            else:
                self.take(1, len(packet.payload))

    def error_received(self, exc: OSError) -> None:
        """Nobody is there to answer: the load has ended."""


async def start(options: argparse.Namespace) -> int:
    """Bind a port and return it."""
    return await packet_endpoints.start(functools.partial(PacketTaker, options.size), DatagramTaker)


if __name__ == "__main__":
    run(start)
