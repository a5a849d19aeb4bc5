"""A small ASGI application, for servers that run one in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Application:
    """Answers /echo, /stream and /hang, and a websocket; ``lifespan`` lists what it was told about its own life."""

    def __init__(self) -> None:
        self.lifespan: list[str] = []
        self.abandoned = asyncio.Event()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await self._chat(receive, send)
        else:
            await getattr(self, scope["path"].strip("/"))(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while "lifespan.shutdown" not in self.lifespan:
            self.lifespan.append((await receive())["type"])
            await send({"type": self.lifespan[-1] + ".complete"})

    async def _chat(self, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("text") == "close":
                await send({"type": "websocket.close", "code": 4001, "reason": "as you wish"})
                break
            await send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})

    async def echo(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """The body, as soon as parts of it come; what the server runs on and was told, in a header."""
        loop = type(asyncio.get_running_loop()).__module__
        about = {"loop": loop, "http": scope["http_version"], "peer": scope["client"][1]}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"about", json.dumps(about).encode())]})
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            more = message.get("more_body", False)
            await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})

    async def stream(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """A hundred parts of ten thousand bytes."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(100):
            await send({"type": "http.response.body", "body": bytes([number]) * 10_000, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def hang(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """No answer until the client has left."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.abandoned.set()


STREAMED = b"".join(bytes([number]) * 10_000 for number in range(100))
