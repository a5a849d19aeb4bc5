"""A TCP relay with ``asyncio.Protocol``: what is received on one connection is written to the other."""

import argparse
import asyncio

from relaying import Joined, serve
from serving import run


class Side(Joined, asyncio.Protocol):
    """A connection that copies what comes."""

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self._other is None:
            self._early.append(data)
        else:
            self._other.transport.write(data)


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    return await serve(Side, Side)


if __name__ == "__main__":
    run(start)
