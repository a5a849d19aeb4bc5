"""Serving an ASGI application by Hypercorn's server."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError, LifespanTimeoutError

from netloop.tools.serve.asgi import DrainingApplication
from netloop.tools.serve.options import Application
from netloop.tools.serve.serving import BACKLOG, CannotServe, Serving, log_to_stdout

__all__ = ["HypercornServing"]


class _Server:
    """A server that Hypercorn does not wait for.

    From Python 3.12 on it would wait without a limit for the last connection, before it waits with one for requests.
    """

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server

    def close(self) -> None:
        """Listen no more."""
        self._server.close()

    async def wait_closed(self) -> None:
        """Return at once."""


class HypercornServing(Serving):
    """An ASGI application on sockets."""

    def __init__(self, app: Any, sockets: Sequence[socket.socket], settings: Application) -> None:
        super().__init__([])
        self._app = DrainingApplication(app)
        self._servers: list[_Server] = []
        self._is_serving = asyncio.Event()
        self._may_end = asyncio.Event()
        self._config = Config()
        # It makes sockets of its own from them.
        self._config.bind = [f"fd://{sock.detach()}" for sock in sockets]
        self._config.backlog = BACKLOG
        self._config.errorlog = logging.getLogger("hypercorn.error")
        self._config.accesslog = _access_logger(settings.access_log)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        create_server = loop.create_server

        async def create_and_note(*args: Any, **options: Any) -> _Server:
            server = _Server(await create_server(*args, **options))
            self._servers.append(server)
            self.sockets.append(options["sock"])
            if len(self._servers) == len(self._config.bind):
                self._is_serving.set()
            return server

        # Hypercorn keeps its servers to itself, and it closes idle connections before it stops to listen. Here it is
        # the other way round, so the servers must be known.
        loop.create_server = create_and_note  # type: ignore[method-assign, assignment]
        called: Any = self._app
        self._running = asyncio.ensure_future(
            serve(called, self._config, shutdown_trigger=self._may_end.wait, mode="asgi")
        )
        serving = asyncio.ensure_future(self._is_serving.wait())
        try:
            await asyncio.wait({self._running, serving}, return_when=asyncio.FIRST_COMPLETED)
            if self._running.done():
                await self._running
        except (LifespanFailureError, LifespanTimeoutError) as error:
            raise CannotServe(f"the application has failed to start: {error}") from error
        except asyncio.CancelledError:
            self._running.cancel()
            raise
        finally:
            serving.cancel()
            del loop.create_server

    @property
    def connections(self) -> int:
        # Hypercorn does not tell. There may always be one.
        return 1

    @property
    def requests(self) -> int:
        return self._app.requests

    async def drain(self) -> None:
        self._app.draining = True
        for server in self._servers:
            server.close()

    async def stop(self, seconds: float) -> None:
        self._config.graceful_timeout = seconds
        self._may_end.set()
        await self._running


def _access_logger(wanted: bool | None) -> logging.Logger | None:
    logger = logging.getLogger("hypercorn.access")
    if wanted:
        log_to_stdout(logger)
    # Hypercorn makes up each line before it asks whether anybody wants it.
    return logger if wanted is not False and logger.isEnabledFor(logging.INFO) else None
