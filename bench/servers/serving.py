"""What all Python server programs share: the command line, the loop, the port, the end.

A server listens on a free port of 127.0.0.1, prints the port on its first line of output, and serves until it gets
SIGTERM. It also ends when the process that started it does, so an interrupted benchmark leaves nothing behind.
"""

import argparse
import asyncio
import ctypes
import signal
from collections.abc import Awaitable, Callable

from loop_factories import MODULES, loop_factory

HOST = "127.0.0.1"
#: Room for every connection of the largest row to be opened at once.
BACKLOG = 4096

_PR_SET_PDEATHSIG = 1

#: Starts listening and returns the port. What it starts lives as long as the loop.
Start = Callable[[], Awaitable[int]]


def die_with_parent() -> None:
    """Ask the kernel for a SIGTERM when the parent process ends (prctl(2), PR_SET_PDEATHSIG)."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


async def _serve(start: Start) -> None:
    print(await start(), flush=True)
    await asyncio.get_running_loop().create_future()


def port_of(server: asyncio.AbstractServer) -> int:
    """Return the port a server with one listening socket has."""
    sockets = getattr(server, "sockets")  # noqa: B009 - the abstract class does not declare it
    port: int = sockets[0].getsockname()[1]
    return port


def run(start: Start) -> None:
    """Parse ``--loop`` and serve on that loop until the process is ended."""
    parser = argparse.ArgumentParser(description="A server for the benchmark: prints its port, serves until SIGTERM.")
    parser.add_argument("--loop", choices=sorted(MODULES), default="asyncio", help="event loop to run on")
    name = parser.parse_args().loop
    die_with_parent()
    try:
        factory = loop_factory(name)
    except ImportError as error:
        parser.error(f"the loop {name} is not installed: {error}")
    # A plain end, without tear-down: the benchmark measures serving, and has its results by then.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(start))
