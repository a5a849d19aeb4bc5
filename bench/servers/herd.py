"""A server that answers each message after some time of CPU, and then closes the connection if its client leaves."""

import argparse
import asyncio
import time
from typing import cast

from serving import HOST, port_of, run

#: The first byte of a message whose client leaves.
LEAVES = ord("l")


class Desk(asyncio.Protocol):
    """Serves one client: works on every whole message and sends it back."""

    size = 64
    work = 0.0

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Work, answer, and close what is to be closed."""
        self._received += data
        if len(self._received) < self.size:
            return
        message, self._received = self._received, b""
        # By this thread's own clock, so that it is the same work whoever else wants the CPU.
        end = time.thread_time() + self.work
        while time.thread_time() < end:
            pass
        self._transport.write(message)
        if message[0] == LEAVES:
            self._transport.close()


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    Desk.size, Desk.work = options.size, options.busy * 1e-6
    return port_of(await asyncio.get_running_loop().create_server(Desk, HOST, 0, backlog=options.backlog))


if __name__ == "__main__":
    run(start)
