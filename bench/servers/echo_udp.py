"""UDP echo with ``asyncio.DatagramProtocol``."""

import argparse
import asyncio
from typing import Any, cast

from serving import datagram_socket, keep, run


class Echo(asyncio.DatagramProtocol):
    """Sends each datagram back to where it came from."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the method that every datagram needs."""
        self._send = cast(asyncio.DatagramTransport, transport).sendto

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Echo."""
        self._send(data, addr)


async def start(options: argparse.Namespace) -> int:
    """Bind a port and return it."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, sock=datagram_socket())
    keep(transport)
    port: int = transport.get_extra_info("sockname")[1]
    return port


if __name__ == "__main__":
    run(start)
