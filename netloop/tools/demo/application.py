"""The application that the demo serves: ordinary aiohttp, with nothing in it that knows of netloop."""

from __future__ import annotations

from pathlib import Path

from aiohttp import WSMsgType, web

__all__ = ["create_application"]


def create_application(files: Path) -> web.Application:
    """An application with JSON, an echo of POST bodies, static files and a websocket echo.

    Args:
        files: the directory served under /files.
    """
    application = web.Application()
    application.add_routes(
        [
            web.get("/hello/{name}", hello),
            web.post("/echo", echo),
            web.static("/files", files),
            web.get("/websocket", websocket),
        ]
    )
    return application


async def hello(request: web.Request) -> web.Response:
    """Greet, in JSON."""
    return web.json_response({"hello": request.match_info["name"]})


async def echo(request: web.Request) -> web.Response:
    """Send the body back."""
    return web.Response(body=await request.read(), content_type=request.content_type)


async def websocket(request: web.Request) -> web.WebSocketResponse:
    """Send each message back until the client closes."""
    response = web.WebSocketResponse()
    await response.prepare(request)
    async for message in response:
        if message.type is WSMsgType.TEXT:
            await response.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await response.send_bytes(message.data)
    return response
