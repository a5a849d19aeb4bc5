"""The upload of ``upload.py`` with ``asyncio.BufferedProtocol``: looks at the first and the last byte of what comes."""

import argparse
import asyncio
import functools
from typing import cast

from serving import BACKLOG, HOST, port_of, run

ACKNOWLEDGEMENT = b"\x06"
#: As much as asyncio itself reads at once; one buffer for all connections, since nothing of it is kept.
BUFFER = memoryview(bytearray(256 * 1024))


class BufferedUpload(asyncio.BufferedProtocol):
    """Counts bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._missing = size

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Always the same memory, from its beginning."""
        return BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        """Count, and acknowledge what is complete."""
        self._missing -= nbytes
        self.ends = BUFFER[0], BUFFER[nbytes - 1]
        while self._missing <= 0:
            self._missing += self._size
            self._transport.write(ACKNOWLEDGEMENT)


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    factory = functools.partial(BufferedUpload, options.size)
    return port_of(await asyncio.get_running_loop().create_server(factory, HOST, 0, backlog=BACKLOG))


if __name__ == "__main__":
    run(start)
