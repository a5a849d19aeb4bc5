"""An aiohttp application as most begin: one handler that answers a short text. Access log off."""

from aiohttp import web
from serving import BACKLOG, HOST, run


async def hello(request: web.Request) -> web.Response:
    """Answer with the text the load generator expects."""
    return web.Response(text="Hello, world")


async def start() -> int:
    """Listen and return the port."""
    application = web.Application()
    application.router.add_get("/", hello)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, backlog=BACKLOG).start()
    port: int = runner.addresses[0][1]
    return port


if __name__ == "__main__":
    run(start)
