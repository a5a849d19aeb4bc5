"""An aiohttp application and a client of its, on one loop."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector, web
from loop.certificates import client_context, server_context
from loop.helpers import HOST

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(
    *handlers: Handler, tls: bool = False, static: Path | None = None, **options: Any
) -> AsyncIterator[web.AppRunner]:
    """An application with a route for each handler, named after it; shut down at the end."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    for handler in handlers:
        app.router.add_route("*", f"/{handler.__name__}", handler)
    if static is not None:
        app.router.add_static("/static", static)
    runner = web.AppRunner(app, access_log=None, **options)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, 0, ssl_context=server_context() if tls else None).start()
        yield runner
    finally:
        await runner.cleanup()


def address_of(runner: web.AppRunner, tls: bool = False) -> str:
    """The URL of an application, without a path."""
    return f"http{'s' if tls else ''}://{'localhost' if tls else HOST}:{runner.addresses[0][1]}"


@contextlib.asynccontextmanager
async def talking(*handlers: Handler, tls: bool = False, **options: Any) -> AsyncIterator[ClientSession]:
    """A client whose requests go to an application of these handlers."""
    trusted: ssl.SSLContext | bool = client_context() if tls else True
    async with (
        serving(*handlers, tls=tls, **options) as runner,
        ClientSession(address_of(runner, tls), connector=TCPConnector(ssl=trusted)) as session,
    ):
        yield session
