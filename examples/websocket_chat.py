"""A chat room over websockets, with aiohttp, that says goodbye when it is stopped.

Run it with ``python examples/websocket_chat.py``, open http://127.0.0.1:8080 in two windows, and stop it with Ctrl-C or
by SIGTERM: every client is told that the server goes away, and none is cut off in the middle of a message.
"""

from __future__ import annotations

import argparse
import asyncio

from aiohttp import WSCloseCode, WSMsgType, web

import netloop

PAGE = """<!doctype html><title>Chat</title><ul id="said"></ul><form id="say"><input autofocus></form><script>
const room = new WebSocket(location.href.replace(/^http/, "ws") + "room");
const show = text => said.appendChild(document.createElement("li")).textContent = text;
room.onmessage = event => show(event.data);
room.onclose = event => show("closed: " + event.reason);
say.onsubmit = event => { event.preventDefault(); room.send(say[0].value); say.reset(); };
</script>"""

CLIENTS = web.AppKey("clients", set[web.WebSocketResponse])
SECONDS = 2.0


async def send(client: web.WebSocketResponse, text: str) -> None:
    """Send to one client; one that does not take it is dropped, and holds up nobody."""
    try:
        async with asyncio.timeout(SECONDS):
            await client.send_str(text)
    except (TimeoutError, ConnectionError):
        await client.close(code=WSCloseCode.POLICY_VIOLATION, message=b"too slow")


async def room(request: web.Request) -> web.WebSocketResponse:
    """One client, from the time it comes in until it leaves: what it says goes to all."""
    client = web.WebSocketResponse(heartbeat=30)
    await client.prepare(request)
    clients = request.app[CLIENTS]
    clients.add(client)
    try:
        async for message in client:
            if message.type is WSMsgType.TEXT:
                await asyncio.gather(*[send(each, message.data) for each in clients])
    finally:
        clients.discard(client)
    return client


async def page(request: web.Request) -> web.Response:
    """The page that talks to the room."""
    return web.Response(text=PAGE, content_type="text/html")


async def say_goodbye(app: web.Application) -> None:
    """The server takes no more connections, and is about to close those that are open."""
    goodbye = [each.close(code=WSCloseCode.GOING_AWAY, message=b"server shutdown") for each in app[CLIENTS]]
    await asyncio.gather(*goodbye)


def make_app() -> web.Application:
    """The application."""
    app = web.Application()
    app[CLIENTS] = set()
    app.add_routes([web.get("/", page), web.get("/room", room)])
    app.on_shutdown.append(say_goodbye)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    web.run_app(make_app(), host=options.host, port=options.port, loop=netloop.new_event_loop())
