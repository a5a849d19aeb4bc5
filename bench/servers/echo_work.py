"""TCP echo with ``asyncio.Protocol`` that does something in Python for every chunk before it writes it back."""

import argparse
import asyncio

from echo_protocol import Echo
from serving import BACKLOG, HOST, port_of, run


class Working(Echo):
    """Does something in Python before it answers: ``rounds`` of an empty loop."""

    rounds = 0

    def data_received(self, data: bytes) -> None:
        """Work, and echo."""
        for _ in range(self.rounds):
            pass
        super().data_received(data)


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port."""
    Working.rounds = options.work
    return port_of(await asyncio.get_running_loop().create_server(Working, HOST, 0, backlog=BACKLOG))


if __name__ == "__main__":
    run(start)
