"""A server of the stress test: one netloop loop, one of several processes that share a port (SO_REUSEPORT)."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, cast

import netloop
from netloop.tools.children import die_with_parent
from netloop.tools.stress.wire import commands, raise_descriptor_limit, say

__all__ = ["main"]

_BACKLOG: Final = 4096
#: With these an unread connection holds little in the kernel, so that slow readers are felt by the server itself.
_SMALL_BUFFER: Final = 16 * 1024


class Echo(asyncio.Protocol):
    """Writes back what it receives, and receives nothing while the peer does not read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Echo."""
        self._transport.write(data)

    def pause_writing(self) -> None:
        """Stop receiving."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on receiving."""
        self._transport.resume_reading()


async def _serve_echo(listener: socket.socket) -> Callable[[], Awaitable[None]]:
    server = await asyncio.get_running_loop().create_server(Echo, sock=listener, backlog=_BACKLOG)

    async def stop() -> None:
        server.close()

    return stop


async def _serve_aiohttp(listener: socket.socket) -> Callable[[], Awaitable[None]]:
    from aiohttp import web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="Hello, world")

    application = web.Application()
    application.router.add_get("/", hello)
    # Idle connections are what this is about: the server is not to close them.
    runner = web.AppRunner(application, access_log=None, keepalive_timeout=86400)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=_BACKLOG).start()
    return runner.cleanup


def _listener(port: int, small: bool) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if small:
        # Accepted connections inherit the listener's sizes (tcp(7)).
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL_BUFFER)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
    listener.bind(("127.0.0.1", port))
    listener.setblocking(False)
    return listener


def _statistics() -> dict[str, int]:
    loop = cast(netloop.EventLoop, asyncio.get_running_loop())
    found: dict[str, int] = dataclasses.asdict(loop.statistics())
    return {**found, "descriptors": len(os.listdir("/proc/self/fd"))}


async def _serve(kind: str, listener: socket.socket) -> None:
    stop = await (_serve_aiohttp(listener) if kind == "aiohttp" else _serve_echo(listener))
    say("ready", port=listener.getsockname()[1])
    async for _ in commands():
        say("statistics", **_statistics())
    await stop()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until standard input ends; answer each line of it with the loop's statistics.

    Returns:
        0, or 1 when the loop cannot be made; standard error then says why.
    """
    parser = argparse.ArgumentParser(prog="python -m netloop.tools.stress.server")
    parser.add_argument("--parent", type=int, required=True, help="the process to end with")
    parser.add_argument("--server", choices=("echo", "aiohttp"), required=True)
    parser.add_argument("--port", type=int, default=0, help="port to share; 0 for a new one")
    parser.add_argument("--small-buffers", action="store_true", help="small socket buffers")
    options = parser.parse_args(arguments)
    die_with_parent(options.parent)
    raise_descriptor_limit()
    try:
        # Not new_event_loop(), which NETLOOP_FALLBACK could turn into another loop under netloop's name.
        runner = asyncio.Runner(loop_factory=netloop.EventLoop)
        with runner, _listener(options.port, options.small_buffers) as listener:
            runner.run(_serve(options.server, listener))
    except OSError as refused:
        print(refused, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
