"""TCP echo with ``asyncio.Protocol``: every chunk is written back as it came."""

import argparse
import asyncio
from typing import cast

from serving import BACKLOG, HOST, port_of, run


class Echo(asyncio.Protocol):
    """Writes back what it receives."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the method that every chunk needs."""
        self._write = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        """Echo."""
        self._write(data)


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    return port_of(await asyncio.get_running_loop().create_server(Echo, HOST, 0, backlog=BACKLOG))


if __name__ == "__main__":
    run(start)
