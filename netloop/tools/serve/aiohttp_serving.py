"""Serving an aiohttp application, by aiohttp's own server."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Sequence
from typing import Final

from aiohttp import StreamReader, web
from aiohttp.log import access_logger

from netloop.tools.serve.options import Application
from netloop.tools.serve.serving import BACKLOG, Serving, log_to_stdout

__all__ = ["AiohttpServing"]

# As aiohttp.web.run_app().
_KEEP_ALIVE_SECONDS: Final = 75.0


class AiohttpServing(Serving):
    """An ``aiohttp.web.Application`` on sockets."""

    def __init__(self, app: web.Application, sockets: Sequence[socket.socket], settings: Application) -> None:
        super().__init__(sockets)
        self._draining = False
        self._sites: list[web.SockSite] = []
        self._bodies: set[StreamReader] = set()
        if settings.access_log:
            log_to_stdout(access_logger)
        if not app.on_response_prepare.frozen:
            app.on_response_prepare.append(self._prepare)
        self._runner = web.AppRunner(
            app,
            access_log=None if settings.access_log is False else access_logger,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
        )

    async def start(self) -> None:
        await self._runner.setup()
        self._handle, self._server.request_handler = self._server.request_handler, self._note_and_handle
        try:
            for sock in self.sockets:
                site = web.SockSite(self._runner, sock, backlog=BACKLOG)
                await site.start()
                self._sites.append(site)
        except BaseException:
            await self._runner.cleanup()
            raise

    @property
    def connections(self) -> int:
        return len(self._server.connections)

    @property
    def requests(self) -> int:
        return self._server.requests_count

    async def drain(self) -> None:
        self._draining = True
        for site in self._sites:
            await site.stop()

    async def stop(self, seconds: float) -> None:
        # What AppRunner.cleanup() does, but for the time left: the server waits twice as long as it is told, for
        # handlers that have all of their request and for those that have not, and takes 0 for as long as it takes.
        server = self._server
        server.pre_shutdown()
        try:
            await self._runner.app.shutdown()
        finally:
            try:
                await server.shutdown(max(seconds / 2, 0.05))
            finally:
                await self._runner.app.cleanup()

    @property
    def _server(self) -> web.Server:
        assert self._runner.server is not None
        return self._runner.server

    @property
    def is_receiving(self) -> bool:
        # When it shuts down, aiohttp drops what arrives of a body; the handler would wait for it in vain.
        return any(not body.is_eof() for body in self._bodies)

    def _note_and_handle(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        return self._note(request) if request.body_exists else self._handle(request)

    async def _note(self, request: web.BaseRequest) -> web.StreamResponse:
        self._bodies.add(request.content)
        try:
            return await self._handle(request)
        finally:
            self._bodies.discard(request.content)

    async def _prepare(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        if self._draining and response.status != 101:
            response.force_close()
            response.headers["Connection"] = "close"
