"""One-way packets from the server: an order asks for so many copies of the packet in the file ``--content``."""

import argparse
import asyncio
import functools
from pathlib import Path
from typing import Any

import packet_endpoints
from packet_endpoints import BURST_MAX, ORDER_SIZE, Address, number_in
from serving import run


class DatagramSender(asyncio.DatagramProtocol):
    """Sends one datagram after the other."""

    def __init__(self, packet: bytes) -> None:
        self._packet = packet

    def connection_made(self, transport: Any) -> None:
        """Keep the method that every packet needs."""
        self._send = transport.sendto

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Send what is ordered."""
        if len(data) == ORDER_SIZE:
            for _ in range(number_in(data)):
                self._send(self._packet, addr)


class PacketSender(asyncio.BaseProtocol):
    """Sends all that is ordered at once, to be cut into packets by whoever can do so last."""

    def __init__(self, packet: bytes) -> None:
        self._size = len(packet)
        self._run = packet * BURST_MAX

    def connection_made(self, transport: Any) -> None:
        """Keep the method that every order needs."""
        self._send = transport.send_packets

    def packets_received(self, batch: Any) -> None:
        """Send what is ordered."""
        for packet in batch:
            if len(packet.payload) == ORDER_SIZE:
                length = number_in(packet.payload) * self._size
                self._send(self._run[:length], packet.source, segment_size=self._size)

    def error_received(self, exc: OSError) -> None:
        """Nobody is there to send to: the load has ended."""


async def start(options: argparse.Namespace) -> int:
    """Bind a port and return it."""
    packet = Path(options.content).read_bytes()
    return await packet_endpoints.start(
        functools.partial(PacketSender, packet), functools.partial(DatagramSender, packet)
    )


if __name__ == "__main__":
    run(start)
