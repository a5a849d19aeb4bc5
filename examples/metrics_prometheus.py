"""An aiohttp application that Prometheus can scrape.

Run it with ``python examples/metrics_prometheus.py`` and look at http://127.0.0.1:8080/metrics. Its own metrics stand
there beside those of the event loop. It needs ``pip install aiohttp 'netloop[prometheus]'``.
"""

from __future__ import annotations

import argparse

from aiohttp import web
from prometheus_client import Counter
from prometheus_client.aiohttp import make_aiohttp_handler

import netloop.metrics

GREETINGS = Counter("greetings", "How many were greeted.")


async def hello(request: web.Request) -> web.Response:
    """Greet, and count it."""
    GREETINGS.inc()
    return web.Response(text="Hello, world!\n")


app = web.Application()
app.add_routes([web.get("/", hello), web.get("/metrics", make_aiohttp_handler())])

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    netloop.metrics.prometheus()
    web.run_app(app, host=options.host, port=options.port, loop=netloop.new_event_loop())
