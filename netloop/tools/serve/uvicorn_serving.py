"""Serving an ASGI application by uvicorn's server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import Generator, Sequence
from typing import Any

import uvicorn

from netloop.tools.serve.asgi import DrainingApplication
from netloop.tools.serve.options import Application
from netloop.tools.serve.serving import BACKLOG, CannotServe, Serving, log_to_stdout

__all__ = ["UvicornServing"]


class _Server(uvicorn.Server):
    """uvicorn's server, told by others when to stop."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_serving = asyncio.get_running_loop().create_future()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to whoever has asked for them."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, or say why not without ending the process."""
        try:
            await super().startup(sockets)
        except SystemExit as ended:
            raise CannotServe("the application has failed to start") from ended
        self.is_serving.set_result(None)


class UvicornServing(Serving):
    """An ASGI application on sockets."""

    def __init__(self, app: Any, sockets: Sequence[socket.socket], settings: Application) -> None:
        super().__init__(sockets)
        if not hasattr(uvicorn.Server, "capture_signals"):
            raise CannotServe(f"uvicorn {uvicorn.__version__} is too old: pip install 'uvicorn>=0.29'")
        self._app = DrainingApplication(app)
        if settings.access_log:
            log_to_stdout(logging.getLogger("uvicorn.access"))
        self._config = uvicorn.Config(
            self._app,
            interface="asgi3",
            log_config=None,
            access_log=settings.access_log is not False,
            backlog=BACKLOG,
        )
        self._server = _Server(self._config)

    async def start(self) -> None:
        self._running = asyncio.ensure_future(self._server.serve(sockets=self.sockets))
        try:
            await asyncio.wait({self._running, self._server.is_serving}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._running.cancel()
            raise
        if self._running.done():
            await self._running

    @property
    def connections(self) -> int:
        return len(self._server.server_state.connections)

    @property
    def requests(self) -> int:
        return self._app.requests

    async def drain(self) -> None:
        self._app.draining = True
        for server in self._server.servers:
            server.close()

    async def stop(self, seconds: float) -> None:
        # Even with nothing left to wait for it complains that 0 seconds are over.
        self._config.timeout_graceful_shutdown = math.ceil(seconds) if self._server.server_state.tasks else 1
        self._server.should_exit = True
        await self._running
