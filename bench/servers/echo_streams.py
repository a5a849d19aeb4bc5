"""TCP echo with asyncio streams: one task per connection, ``read``, ``write``, ``drain``."""

import argparse
import asyncio

from serving import BACKLOG, HOST, port_of, run

CHUNK = 256 * 1024


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Write back what comes until the peer ends the stream."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # The load generator closes its connections when it has seen enough.
    finally:
        writer.close()


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    return port_of(await asyncio.start_server(echo, HOST, 0, backlog=BACKLOG))


if __name__ == "__main__":
    run(start)
