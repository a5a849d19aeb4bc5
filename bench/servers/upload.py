"""One-way upload with ``asyncio.Protocol``: takes what comes, and acknowledges every ``--size`` bytes with one byte."""

import argparse
import asyncio
import functools
from typing import cast

from serving import BACKLOG, HOST, port_of, run

ACKNOWLEDGEMENT = b"\x06"


class Upload(asyncio.Protocol):
    """Counts bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._missing = size

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Count, look at the first and the last byte, and acknowledge what is complete."""
        self._missing -= len(data)
        self.ends = data[0], data[-1]
        while self._missing <= 0:
            self._missing += self._size
            self._transport.write(ACKNOWLEDGEMENT)


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    factory = functools.partial(Upload, options.size)
    return port_of(await asyncio.get_running_loop().create_server(factory, HOST, 0, backlog=BACKLOG))


if __name__ == "__main__":
    run(start)
