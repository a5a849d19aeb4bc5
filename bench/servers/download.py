"""One-way download with ``asyncio.Protocol``: answers every byte with the bytes of the file ``--content``."""

import argparse
import asyncio
import functools
from pathlib import Path
from typing import cast

from serving import BACKLOG, HOST, port_of, run


class Download(asyncio.Protocol):
    """Sends the content as often as it is asked for."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer each byte."""
        for _ in data:
            self._transport.write(self._content)


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    factory = functools.partial(Download, Path(options.content).read_bytes())
    return port_of(await asyncio.get_running_loop().create_server(factory, HOST, 0, backlog=BACKLOG))


if __name__ == "__main__":
    run(start)
