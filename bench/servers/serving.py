"""What all Python server programs share: the command line, the loop, the port, the end.

A server listens on a free port of 127.0.0.1, prints the port on its first line of output, and serves until it gets
SIGTERM. It also ends when the process that started it does, so an interrupted benchmark leaves nothing behind.
"""

import argparse
import asyncio
import ctypes
import resource
import signal
import socket
from collections.abc import Awaitable, Callable

from loop_factories import MODULES, loop_factory

HOST = "127.0.0.1"
#: Room for every connection of the largest row to be opened at once.
BACKLOG = 4096

_PR_SET_PDEATHSIG = 1
_DATAGRAM_BUFFERS = 8 << 20
#: asm-generic/socket.h; the socket module does not have them.
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
#: What asyncio asks for with each receive of a datagram.
_ASYNCIO_RECEIVES = 256 << 10

#: Starts listening and returns the port. What it starts lives as long as the loop.
Start = Callable[[argparse.Namespace], Awaitable[int]]

_kept: set[object] = set()


def keep(thing: object) -> None:
    """Hold a task or a transport for the life of the process; a task until it is done."""
    _kept.add(thing)
    if isinstance(thing, asyncio.Future):
        thing.add_done_callback(_kept.discard)


def die_with_parent() -> None:
    """Ask the kernel for a SIGTERM when the parent process ends (prctl(2), PR_SET_PDEATHSIG)."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def raise_descriptor_limit() -> None:
    """Allow this process as many descriptors as it may have; the largest rows need them."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def datagram_socket() -> socket.socket:
    """Bind a UDP socket that holds what a hundred clients send at once.

    Only a privileged process may make its buffers larger than the system's limit; others get as much as there is.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for forced, allowed in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, _DATAGRAM_BUFFERS)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, allowed, _DATAGRAM_BUFFERS)
    sock.setblocking(False)
    sock.bind((HOST, 0))
    # Priming for asyncio: glibc maps and unmaps a receive buffer of this size until one was freed whole, which no
    # datagram brings about, and which would flatter every other loop.
    bytes(_ASYNCIO_RECEIVES)
    return sock


async def _serve(start: Start, options: argparse.Namespace) -> None:
    port = await start(options)
    print(port, flush=True)
    await asyncio.get_running_loop().create_future()


def has_leases(options: argparse.Namespace) -> bool:
    """Whether the running loop gives leases, and is to: ``netloop-copies`` is what the same loop does without."""
    return options.loop != "netloop-copies" and hasattr(asyncio.get_running_loop(), "_receive_pool")


def port_of(server: asyncio.AbstractServer) -> int:
    """Return the port a server with one listening socket has."""
    sockets = getattr(server, "sockets")  # noqa: B009 - the abstract class does not declare it
    port: int = sockets[0].getsockname()[1]
    return port


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what every program takes: the loop."""
    parser.add_argument("--loop", choices=sorted(MODULES), default="asyncio", help="event loop to run on")


def new_runner(parser: argparse.ArgumentParser, name: str) -> asyncio.Runner:
    """Prepare this process, and return a runner for the loop of that name."""
    die_with_parent()
    raise_descriptor_limit()
    try:
        return asyncio.Runner(loop_factory=loop_factory(name))
    except ImportError as error:
        parser.error(f"the loop {name} is not installed: {error}")


def run(start: Start) -> None:
    """Parse the command line and serve until the process is ended."""
    parser = argparse.ArgumentParser(description="A server for the benchmark: prints its port, serves until SIGTERM.")
    add_options(parser)
    parser.add_argument("--size", type=int, default=64, help="upload: bytes to acknowledge at a time")
    parser.add_argument("--work", type=int, default=0, help="echo: rounds of an empty loop in Python for each chunk")
    parser.add_argument("--busy", type=int, default=0, help="herd: microseconds of CPU for each message")
    parser.add_argument("--backlog", type=int, default=BACKLOG, help="herd: connections that may wait to be accepted")
    parser.add_argument("--content", help="download: file with the bytes to send")
    parser.add_argument("--files", help="aiohttp: directory of static files")
    parser.add_argument("--certificate", help="aiohttp: certificate chain in PEM; without it there is no TLS")
    parser.add_argument("--key", help="aiohttp: the certificate's private key in PEM")
    options = parser.parse_args()
    # A plain end, without tear-down: the benchmark measures serving, and has its results by then.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with new_runner(parser, options.loop) as runner:
        runner.run(_serve(start, options))
