"""TCP echo with ``asyncio.BufferedProtocol``: received into memory the protocol owns, written back as ``bytes``."""

import argparse
import asyncio
from typing import cast

from serving import BACKLOG, HOST, port_of, run

#: As much as asyncio itself reads at once.
BUFFER_SIZE = 256 * 1024


class Echo(asyncio.BufferedProtocol):
    """Writes back what it receives.

    The one buffer is used again for the next chunk, but asyncio (3.12+) and uvloop may keep what is given to ``write``
    by reference until the socket takes it: hence the copy, the same for every loop.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Allocate the connection's buffer."""
        self._write = cast(asyncio.Transport, transport).write
        self._buffer = memoryview(bytearray(BUFFER_SIZE))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Always the same memory, from its beginning."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Echo."""
        self._write(bytes(self._buffer[:nbytes]))


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    return port_of(await asyncio.get_running_loop().create_server(Echo, HOST, 0, backlog=BACKLOG))


if __name__ == "__main__":
    run(start)
