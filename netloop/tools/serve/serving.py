"""What the servers of aiohttp and of ASGI applications have in common: starting, and ending without a cut request."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import logging
import socket
import sys
from collections.abc import Sequence
from typing import Final

__all__ = ["BACKLOG", "CannotServe", "Serving", "log_to_stdout", "until_quiet", "until_received"]

BACKLOG: Final = 1024
"""How many connections may wait to be accepted, if the kernel allows as many."""

_LOOK_SECONDS: Final = 0.05


class CannotServe(Exception):
    """The application cannot be served or has failed to start; says why."""


class Serving(abc.ABC):
    """An application that is served on sockets in the running loop, by whichever server understands it."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self.sockets = list(sockets)

    @abc.abstractmethod
    async def start(self) -> None:
        """Start the application and listen.

        Raises:
            CannotServe: the application has failed to start, and the reason has been logged.
        """

    @abc.abstractmethod
    async def drain(self) -> None:
        """Accept no more, and answer each further request with ``Connection: close``."""

    @abc.abstractmethod
    async def stop(self, seconds: float) -> None:
        """Close idle connections, wait that long for requests in progress, cancel them, clean the application up."""

    @property
    @abc.abstractmethod
    def connections(self) -> int:
        """How many connections are open."""

    @property
    @abc.abstractmethod
    def requests(self) -> int:
        """How many requests have begun so far."""

    @property
    def is_receiving(self) -> bool:
        """Would ``stop`` cut off a request that is still being received?"""
        return False

    async def accept_no_more(self) -> None:
        """Serve what has been accepted, leave all else to others who have the sockets, and then ``drain``."""
        loop = asyncio.get_running_loop()
        if isinstance(loop, asyncio.SelectorEventLoop):
            # asyncio drops connections that it has accepted just before their server is closed: it makes their
            # transports a turn later. Without its reader the socket brings no new ones meanwhile.
            for sock in self.sockets:
                loop.remove_reader(sock)
            for _ in range(3):
                await asyncio.sleep(0)
        await self.drain()


async def until_quiet(serving: Serving, seconds: float, limit: asyncio.Event, until: float) -> None:
    """Wait until all connections are closed, or no request has come for so long, or the limit is reached.

    A client that has its next request on the way when the server closes a connection sees it fail. So a kept connection
    is not closed while it is busy: the answer to its next request tells the client not to send another.

    Args:
        serving: what is being drained.
        seconds: how long without a request counts as quiet.
        limit: set by whoever is in a hurry.
        until: the loop's time at which this ends at the latest.
    """
    loop = asyncio.get_running_loop()
    seen, since = serving.requests, loop.time()
    while serving.connections and loop.time() < until and not limit.is_set():
        await _look_again(limit)
        if serving.requests != seen:
            seen, since = serving.requests, loop.time()
        elif loop.time() - since >= seconds:
            return


async def until_received(serving: Serving, limit: asyncio.Event, until: float) -> None:
    """Wait until all requests that have begun are there, or the limit or the time is reached, as ``until_quiet``."""
    loop = asyncio.get_running_loop()
    while serving.is_receiving and loop.time() < until and not limit.is_set():
        await _look_again(limit)


async def _look_again(limit: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(limit.wait(), _LOOK_SECONDS)


def log_to_stdout(logger: logging.Logger) -> None:
    """Have the lines of an access log printed as they are, whatever the application has set up."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
