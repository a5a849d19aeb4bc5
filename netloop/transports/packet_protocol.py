"""What a program writes for a packet endpoint, ``EventLoop.create_packet_endpoint()``: its protocol and its errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netloop.transports.packet_batch import PacketBatch

__all__ = ["PacketError", "PacketProtocol"]


class PacketError(OSError):
    """What the kernel says of packets that were sent.

    Most of it was told by a router or by the receiver (ICMP), some time after the packet has gone.
    """

    destination: Any
    """Where the packet was sent to, as an address tuple; None where the kernel does not tell."""
    mtu: int | None
    """For EMSGSIZE: the largest IP packet that the path to the destination takes, in bytes, if it is known."""
    offender: Any
    """Who has refused the packet, as an address tuple; None if this machine has, or it is not known."""

    def __init__(
        self, errno: int, message: str, destination: Any = None, mtu: int | None = None, offender: Any = None
    ) -> None:
        super().__init__(errno, message)
        self.destination = destination
        self.mtu = mtu
        self.offender = offender

    def __str__(self) -> str:
        text = super().__str__()
        if self.destination is not None:
            text += f" (sent to {self.destination!r})"
        return text if self.mtu is None else f"{text}: the path takes packets of {self.mtu} bytes"


class PacketProtocol(asyncio.BaseProtocol):
    """The protocol of a packet endpoint; a program overrides what it needs.

    Like any protocol it is also told by ``connection_made()``, ``connection_lost()``, ``pause_writing()`` and
    ``resume_writing()``.
    """

    def packets_received(self, batch: PacketBatch) -> None:
        """All datagrams that have come since the last turn of the loop, in their order."""

    def error_received(self, exc: OSError) -> None:
        """A send or a receive has failed; the endpoint goes on. What is told of a sent packet is a PacketError."""
