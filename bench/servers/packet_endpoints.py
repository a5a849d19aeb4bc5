"""What the programs for one-way packets share: an endpoint of the kind that the loop does best, and the orders.

A loop with packet endpoints gets one, any other its ``create_datagram_endpoint``.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from serving import datagram_socket, keep

Address = tuple[Any, ...]
#: A datagram of this length is an order: a number, in the machine's byte order.
ORDER_SIZE = 8
#: As many packets are under way in one burst at most (``PACKET_BURST_MAX`` in ``c/packets.h``).
BURST_MAX = 512


async def start(packets: Callable[[], Any], datagrams: Callable[[], asyncio.DatagramProtocol]) -> int:
    """Serve with the first protocol on a loop that has packet endpoints, with the second elsewhere; return the port."""
    loop = asyncio.get_running_loop()
    sock = datagram_socket()
    port: int = sock.getsockname()[1]
    create: Any = getattr(loop, "create_packet_endpoint", None)
    if create is not None:
        transport, _ = await create(packets, sock=sock)
    else:
        transport, _ = await loop.create_datagram_endpoint(datagrams, sock=sock)
    keep(transport)
    return port


def number_in(order: bytes) -> int:
    """Return what an order asks for."""
    return int.from_bytes(order, sys.byteorder)
