"""A TCP relay with ``asyncio.Protocol``: what is received on one connection is written to the other."""

import argparse
import asyncio
from typing import cast

from relaying import serve
from serving import run


class Side(asyncio.Protocol):
    """One of two connections; the other is known once both are there."""

    def __init__(self, other: "Side | None" = None) -> None:
        self._other = other
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; the second of both joins them."""
        self.transport = cast(asyncio.Transport, transport)
        if self._other is not None:
            self._other._other = self
            self.transport.writelines(self._other._early)

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        if self._other is None:
            self._early.append(data)
        else:
            self._other.transport.write(data)

    def pause_writing(self) -> None:
        """The other side is not read as long as this one takes nothing."""
        if self._other is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if self._other is not None:
            self._other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of one is the end of both."""
        if self._other is not None:
            self._other.transport.close()


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    return await serve(Side, Side)


if __name__ == "__main__":
    run(start)
