"""An aiohttp application as people write them: text, JSON, static files, websockets, with or without TLS."""

import argparse
import ssl

from aiohttp import WSMsgType, web
from serving import BACKLOG, HOST, run

_WATCHERS = web.AppKey("watchers", list[web.WebSocketResponse])


async def hello(request: web.Request) -> web.Response:
    """Answer with a short text."""
    return web.Response(text="Hello, world")


async def post_json(request: web.Request) -> web.Response:
    """Read a JSON document and answer with another."""
    order = await request.json()
    return web.json_response({"name": order["name"], "total": sum(order["prices"]), "count": len(order["prices"])})


async def websocket_echo(request: web.Request) -> web.WebSocketResponse:
    """Send each message back."""
    response = web.WebSocketResponse()
    await response.prepare(request)
    async for message in response:
        if message.type is WSMsgType.BINARY:
            await response.send_bytes(message.data)
    return response


async def websocket_broadcast(request: web.Request) -> web.WebSocketResponse:
    """Send the first message of a connection back to it, and each further one to all connections."""
    response = web.WebSocketResponse()
    await response.prepare(request)
    watchers = request.app[_WATCHERS]
    async for message in response:
        if message.type is not WSMsgType.BINARY:
            continue
        if response not in watchers:
            watchers.append(response)
            await response.send_bytes(message.data)
        else:
            for watcher in watchers:
                await watcher.send_bytes(message.data)
    watchers.remove(response)
    return response


def application(options: argparse.Namespace) -> web.Application:
    """Return the application, with the static files of ``--files`` when that is given."""
    result = web.Application()
    result[_WATCHERS] = []
    result.add_routes(
        [
            web.get("/", hello),
            web.post("/json", post_json),
            web.get("/websocket", websocket_echo),
            web.get("/websocket-broadcast", websocket_broadcast),
        ]
    )
    if options.files is not None:
        result.router.add_static("/files", options.files)
    return result


async def start(options: argparse.Namespace) -> int:
    """Listen and return the port. The access log is off."""
    context = None
    if options.certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(options.certificate, options.key)
    runner = web.AppRunner(application(options), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, backlog=BACKLOG, ssl_context=context).start()
    port: int = runner.addresses[0][1]
    return port


if __name__ == "__main__":
    run(start)
