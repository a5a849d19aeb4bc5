"""The command line of ``serve``."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Final

from netloop.setup.io_cpus import asked_cpus, parse_cpus
from netloop.tools.arguments import duration

__all__ = ["LOOPS", "SYSTEMD", "Address", "Application", "Options", "parse"]

LOOPS: Final = ("netloop", "uvloop", "asyncio")
SYSTEMD: Final = "systemd"
_MOST_WORKERS: Final = 1024
_HOST: Final = "127.0.0.1"
_PORT: Final = 8080
_seconds: Final = duration(lambda value: 0 <= value <= 86_400, "a number of seconds from 0 to 86400")
_threshold: Final = duration(
    lambda value: value == 0 or 0.01 <= value <= 3600, "a number of seconds from 0.01 to 3600, or 0"
)

_EPILOG: Final = """
With --workers, SIGHUP starts new workers, which import the application anew, and stops the old ones when all of the new
ones serve; SIGTERM lets requests in progress end; Ctrl-C ends all at once.
"""


@dataclasses.dataclass(frozen=True)
class Address:
    """Where to listen: at a host and port, or, if given, at a UNIX socket's path or on descriptors that are there.

    ``fd`` is the number of one, or "systemd" for those that systemd hands over.
    """

    host: str = _HOST
    port: int = _PORT
    uds: str | None = None
    fd: int | str | None = None


@dataclasses.dataclass(frozen=True)
class Application:
    """What to serve, and how one process does it.

    ``access_log`` is None where the application's own set-up of logging decides, and ``io_cpus`` where the environment
    does.
    """

    name: str
    loop: str = "netloop"
    asgi: str | None = None
    access_log: bool | None = None
    graceful_timeout: float = 30.0
    stall_threshold: float | None = None
    io_cpus: Sequence[int] | None = None


@dataclasses.dataclass(frozen=True)
class Options:
    """The whole command line; ``workers`` is None for one process without a master."""

    application: Application
    address: Address
    workers: int | None
    pin: bool


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the command line; one that cannot be followed ends the program with status 2."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.stall_threshold is not None and given.loop != "netloop":
        parser.error(f"--stall-threshold needs --loop netloop, not {given.loop}")
    if given.io_cpus is not None and given.loop != "netloop":
        parser.error(f"--io-cpus needs --loop netloop, not {given.loop}")
    if given.pin and given.workers is None:
        parser.error("--pin needs --workers")
    places = {"--host/--port": given.host is not None or given.port is not None}
    places |= {"--uds": given.uds is not None, "--fd": given.fd is not None}
    chosen = [name for name, is_given in places.items() if is_given]
    if len(chosen) > 1:
        parser.error(f"{' and '.join(chosen)} exclude each other")
    return Options(
        application=Application(
            name=given.application,
            loop=given.loop,
            asgi=given.asgi,
            access_log=given.access_log,
            graceful_timeout=given.graceful_timeout,
            stall_threshold=given.stall_threshold,
            io_cpus=given.io_cpus,
        ),
        address=Address(
            host=_HOST if given.host is None else given.host,
            port=_PORT if given.port is None else given.port,
            uds=given.uds,
            fd=given.fd,
        ),
        workers=given.workers,
        pin=given.pin,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m netloop serve",
        description="Run an existing aiohttp or ASGI application on netloop.",
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("application", metavar="module:app", help="an aiohttp or ASGI application, or a function that returns one")
    add("--host", help=f"the address to listen on (default {_HOST})")
    add("--port", type=_port, help=f"the port to listen on (default {_PORT}; 0 for any)")
    add("--uds", type=_path, metavar="PATH", help="listen on a UNIX socket instead")
    add(
        "--fd",
        type=_descriptor,
        metavar="NUMBER|systemd",
        help="listen on a descriptor of this number, or on the sockets that systemd hands over (LISTEN_FDS)",
    )
    add("--workers", type=_workers, metavar="N", help="serve by N processes, each with a loop and a socket of its own")
    add("--pin", action="store_true", help="bind each worker to a CPU of its own")
    add(
        "--io-cpus",
        type=_io_cpus,
        metavar="CPUS",
        help="have the kernel do the I/O on these CPUs: 3, 2,3 or 4-7; they are given out to the workers in turn, and "
        "where there are fewer than workers, several share one (default as NETLOOP_IO_CPUS says, of which each worker "
        "has all, or none)",
    )
    add("--loop", choices=LOOPS, default="netloop", help="the event loop (default netloop)")
    add("--asgi", choices=("uvicorn", "hypercorn"), help="the server of an ASGI application (default: which is there)")
    add(
        "--access-log",
        action=argparse.BooleanOptionalAction,
        help="print a line for each request, or none (default: as the application sets up logging)",
    )
    add(
        "--graceful-timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long requests in progress may take when a process stops (default 30)",
    )
    add(
        "--stall-threshold",
        type=_threshold,
        metavar="SECONDS",
        help="report turns of the loop that take longer (default as NETLOOP_STALL_THRESHOLD says, or never)",
    )
    return parser


def _port(text: str) -> int:
    if not _is_number(text) or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text} is not a port: a number from 0 to 65535")
    return int(text)


def _path(text: str) -> str:
    if not text:
        # The kernel would bind the socket to a name that it makes up.
        raise argparse.ArgumentTypeError("it is empty, which is no path")
    return text


def _workers(text: str) -> int:
    if not _is_number(text) or not 1 <= int(text) <= _MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"{text} is not a number of workers: from 1 to {_MOST_WORKERS}")
    return int(text)


def _io_cpus(text: str) -> tuple[int, ...]:
    try:
        return asked_cpus(parse_cpus(text))
    except ValueError as refused:
        raise argparse.ArgumentTypeError(str(refused)) from None


def _descriptor(text: str) -> int | str:
    if text == SYSTEMD:
        return text
    if not _is_number(text) or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text} is neither the number of a descriptor nor {SYSTEMD!r}")
    return int(text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
