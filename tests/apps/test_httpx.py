"""httpx's asyncio client against a server of aiohttp's on the same loop; HTTP/2 is in test_hypercorn.py."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from loop.certificates import client_context, server_context
from loop.helpers import HOST, pattern, unused_port

pytest.importorskip("httpx", reason="not installed: pip install httpx")
pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")

import httpx
from aiohttp import web

# Run with --loops=asyncio or --loops=uvloop to see whether a failure is the loop's.
pytestmark = [pytest.mark.loops("netloop"), pytest.mark.limit(60)]

LARGE = 3_000_000
EITHER_WAY = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


async def echo(request: web.Request) -> web.StreamResponse:
    """The body in parts, once all of it is there: httpx does not read while it writes."""
    assert request.transport is not None
    peer = request.transport.get_extra_info("peername")
    body = await request.read()
    response = web.StreamResponse(headers={"peer": str(peer[1]) if isinstance(peer, tuple) else "local"})
    await response.prepare(request)
    for start in range(0, len(body), 100_000):
        await response.write(body[start : start + 100_000])
    return response


async def hang(request: web.Request) -> web.Response:
    request.app[BEGUN].set()
    await request.app[RELEASED].wait()
    return web.Response()


async def away(request: web.Request) -> web.Response:
    raise web.HTTPFound("/echo")


BEGUN: web.AppKey[asyncio.Event] = web.AppKey("begun", asyncio.Event)
RELEASED: web.AppKey[asyncio.Event] = web.AppKey("released", asyncio.Event)


@contextlib.asynccontextmanager
async def talking(
    tls: bool = False, path: Path | None = None, begun: asyncio.Event | None = None, **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a new server; both are closed at the end. ``begun`` is set when a request hangs."""
    app = web.Application(client_max_size=2 * LARGE)
    app[BEGUN], app[RELEASED] = begun or asyncio.Event(), asyncio.Event()
    for handler in (echo, hang, away):
        app.router.add_route("*", f"/{handler.__name__}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        if path is None:
            await web.TCPSite(runner, HOST, 0, ssl_context=server_context() if tls else None).start()
            port = runner.addresses[0][1]
            base = f"https://localhost:{port}" if tls else f"http://{HOST}:{port}"
        else:
            await web.UnixSite(runner, str(path)).start()
            base, options["transport"] = "http://application", httpx.AsyncHTTPTransport(uds=str(path))
        trusted: ssl.SSLContext | bool = client_context() if tls else False
        async with httpx.AsyncClient(**{"base_url": base, "verify": trusted, "timeout": 20, **options}) as client:
            yield client
        app[RELEASED].set()
    finally:
        await runner.cleanup()


@EITHER_WAY
async def test_bodies_small_and_large(loop: object, tls: bool) -> None:
    async with talking(tls) as client:
        for size in (0, 1, 65_536, LARGE):
            assert (await client.post("/echo", content=pattern(size))).content == pattern(size)


async def test_over_a_unix_socket(loop: object, tmp_path: Path) -> None:
    async with talking(path=tmp_path / "socket") as client:
        for _ in range(3):
            response = await client.post("/echo", content=pattern(LARGE))
            assert (response.headers["peer"], response.content) == ("local", pattern(LARGE))


@EITHER_WAY
async def test_streams_both_ways(loop: object, tls: bool) -> None:
    async def body() -> AsyncIterator[bytes]:
        for start in range(0, LARGE, 30_000):
            yield pattern(LARGE)[start : start + 30_000]
            await asyncio.sleep(0)

    async with talking(tls) as client, client.stream("POST", "/echo", content=body()) as response:
        assert b"".join([part async for part in response.aiter_bytes()]) == pattern(LARGE)


@EITHER_WAY
async def test_keep_alive(loop: object, tls: bool) -> None:
    async with talking(tls) as client:
        peers = [(await client.post("/echo", content=b"x")).headers["peer"] for _ in range(5)]
        assert len(set(peers)) == 1
        response = await client.post("/echo", headers={"Connection": "close"})
        assert response.headers["peer"] == peers[0]
        assert (await client.post("/echo")).headers["peer"] != peers[0]


@EITHER_WAY
async def test_two_hundred_requests_over_ten_connections(loop: object, tls: bool) -> None:
    async with talking(tls, limits=httpx.Limits(max_connections=10)) as client:
        responses = await asyncio.gather(*[client.post("/echo", content=pattern(n * 50)) for n in range(200)])
        assert [response.content for response in responses] == [pattern(n * 50) for n in range(200)]
        assert len({response.headers["peer"] for response in responses}) <= 10


async def test_a_form_with_files(loop: object) -> None:
    async with talking() as client:
        files = {"file": ("large.bin", pattern(LARGE))}
        response = await client.post("/echo", data={"title": "a file"}, files=files)
        assert pattern(LARGE) in response.content


async def test_redirects(loop: object) -> None:
    async with talking(follow_redirects=True) as client:
        response = await client.get("/away")
        assert (response.status_code, response.url.path) == (200, "/echo")


@EITHER_WAY
async def test_a_request_that_takes_too_long_or_is_cancelled(loop: object, tls: bool) -> None:
    begun = asyncio.Event()
    async with talking(tls, begun=begun) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get("/hang", timeout=httpx.Timeout(20, read=0.05))
        await begun.wait()
        begun.clear()
        request = asyncio.create_task(client.get("/hang"))
        await begun.wait()  # httpx loses sight of a connection if the request is cancelled while it is made
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert (await client.post("/echo", content=b"after")).content == b"after"


async def test_waiting_for_a_connection_of_the_pool(loop: object) -> None:
    begun = asyncio.Event()
    async with talking(limits=httpx.Limits(max_connections=1), begun=begun) as client:
        request = asyncio.create_task(client.get("/hang"))
        await begun.wait()
        with pytest.raises(httpx.PoolTimeout):
            await client.get("/echo", timeout=httpx.Timeout(20, pool=0.05))
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert (await client.get("/echo")).status_code == 200


async def test_what_cannot_be_reached(loop: object) -> None:
    async with httpx.AsyncClient(verify=False) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://{HOST}:{unused_port()}/")
    async with talking(tls=True, verify=client_context(trusting=False)) as client:
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await client.get("/echo")
