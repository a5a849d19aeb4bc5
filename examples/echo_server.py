"""A TCP echo server with asyncio's Protocol.

Run it with ``python examples/echo_server.py`` and talk to it with ``nc 127.0.0.1 8007``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from typing import cast

import netloop


class Echo(asyncio.Protocol):
    """Sends back what it receives, and stops reading while the peer does not take it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


async def main(host: str, port: int) -> None:
    """Serve until interrupted."""
    server = await asyncio.get_running_loop().create_server(Echo, host, port)
    print(f"listening on {server.sockets[0].getsockname()}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8007)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        netloop.run(main(options.host, options.port))
