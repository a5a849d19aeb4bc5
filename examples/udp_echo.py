"""A UDP echo server.

Run it with ``python examples/udp_echo.py`` and talk to it with ``nc -u 127.0.0.1 8007``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import Any, cast

import netloop


class Echo(asyncio.DatagramProtocol):
    """Sends each datagram back to where it came from."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)

    def error_received(self, exc: Exception) -> None:
        # Such as a peer whose port is closed; the server goes on.
        print(f"a datagram was not sent: {exc}", flush=True)


async def main(host: str, port: int) -> None:
    """Serve until interrupted."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=(host, port))
    try:
        print(f"listening on {transport.get_extra_info('sockname')}", flush=True)
        await loop.create_future()
    finally:
        transport.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8007)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        netloop.run(main(options.host, options.port))
