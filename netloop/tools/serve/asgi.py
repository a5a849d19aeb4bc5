"""An ASGI application that can be told that its process is about to end, whichever server calls it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["DrainingApplication"]

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class DrainingApplication:
    """Counts requests, and when it is drained has each answered with ``Connection: close``."""

    def __init__(self, application: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._application = application
        self.requests = 0
        self.draining = False

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http":
            self.requests += 1
            # Connections of HTTP/2 and later are ended otherwise, and know no such header.
            if self.draining and scope["http_version"].startswith("1"):
                send = _closing(send)
        return self._application(scope, receive, send)


def _closing(send: Send) -> Send:
    async def send_last(message: Any) -> None:
        if message["type"] == "http.response.start":
            others = [header for header in message.get("headers", ()) if header[0].lower() != b"connection"]
            message = {**message, "headers": [*others, (b"connection", b"close")]}
        await send(message)

    return send_last
