"""An aiohttp application on netloop.

Any of these runs it::

    python examples/aiohttp_hello.py
    cd examples && python -m netloop serve aiohttp_hello:app
    cd examples && gunicorn --worker-class netloop.gunicorn.AiohttpWorker aiohttp_hello:app
"""

from __future__ import annotations

import argparse

from aiohttp import web

import netloop


async def hello(request: web.Request) -> web.Response:
    """Greet, in JSON."""
    return web.json_response({"hello": request.match_info.get("name", "world")})


app = web.Application()
app.add_routes([web.get("/", hello), web.get("/{name}", hello)])

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    web.run_app(app, host=options.host, port=options.port, loop=netloop.new_event_loop())
