"""TCP broadcast with ``asyncio.Protocol``: what one connection sends, all get."""

import argparse
import asyncio
from typing import cast

from serving import BACKLOG, HOST, port_of, run


class Broadcast(asyncio.Protocol):
    """Writes the first chunk of a connection back to it, as a welcome, and each further one to all connections."""

    members: list[asyncio.Transport] = []  # noqa: RUF012 - of the class, since all connections share it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Welcome or broadcast."""
        if self._transport not in self.members:
            self.members.append(self._transport)
            self._transport.write(data)
            return
        for member in self.members:
            member.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Send it nothing any more."""
        if self._transport in self.members:
            self.members.remove(self._transport)


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    return port_of(await asyncio.get_running_loop().create_server(Broadcast, HOST, 0, backlog=BACKLOG))


if __name__ == "__main__":
    run(start)
