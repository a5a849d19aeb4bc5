"""Hypercorn on a loop of ours: HTTP/2 and HTTP/1.1 asked by httpx, and websockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from loop.certificates import certificate, client_context
from loop.helpers import HOST, pattern

from apps.asgi import STREAMED, Application

pytest.importorskip("hypercorn", reason="not installed: pip install hypercorn")
pytest.importorskip("h2", reason="not installed: pip install 'httpx[http2]'")

import httpx
from hypercorn.asyncio import serve
from hypercorn.config import Config
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError

# Run with --loops=asyncio or --loops=uvloop to see whether a failure is the loop's.
pytestmark = [pytest.mark.loops("netloop"), pytest.mark.limit(60)]

LARGE = 2_000_000
VERSIONS = pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])


@contextlib.asynccontextmanager
async def serving(folder: Path, tls: bool = True) -> AsyncIterator[tuple[Application, int]]:
    """The application and its port; shut down at the end, which it must have been told of."""
    app, config, ended = Application(), Config(), asyncio.Event()
    listening = socket.create_server((HOST, 0))
    port = listening.getsockname()[1]
    config.bind = [f"fd://{listening.detach()}"]
    config.graceful_timeout = 5
    if tls:
        for name, content in zip(("certfile", "keyfile"), certificate(), strict=True):
            (folder / name).write_bytes(content)
            setattr(config, name, str(folder / name))
        config.alpn_protocols = ["h2", "http/1.1"]
    running = asyncio.create_task(serve(app, config, shutdown_trigger=ended.wait))  # type: ignore[arg-type]
    try:
        yield app, port
    finally:
        ended.set()
        await running
    assert app.lifespan == ["lifespan.startup", "lifespan.shutdown"]


def client_of(port: int, version: str, **options: Any) -> httpx.AsyncClient:
    """A client that speaks this version, over TLS."""
    return httpx.AsyncClient(
        base_url=f"https://localhost:{port}", http2=version == "HTTP/2", verify=client_context(), timeout=20, **options
    )


@VERSIONS
async def test_bodies_small_and_large(loop: object, loop_name: str, tmp_path: Path, version: str) -> None:
    async with serving(tmp_path) as (_, port), client_of(port, version) as client:
        for size in (0, 1, 20_000, LARGE):
            response = await client.post("/echo", content=pattern(size))
            assert (response.http_version, response.content) == (version, pattern(size))
            about = json.loads(response.headers["about"])
            assert about["loop"].startswith(loop_name)
            assert about["http"] == version.removeprefix("HTTP/")


@VERSIONS
async def test_a_stream(loop: object, tmp_path: Path, version: str) -> None:
    async with (
        serving(tmp_path) as (_, port),
        client_of(port, version) as client,
        client.stream("GET", "/stream") as response,
    ):
        assert b"".join([part async for part in response.aiter_raw()]) == STREAMED


@VERSIONS
async def test_a_hundred_requests_at_once(loop: object, tmp_path: Path, version: str) -> None:
    """With HTTP/2 they share one connection."""
    connections = set()
    async with serving(tmp_path) as (_, port), client_of(port, version) as client:

        async def ask(number: int) -> bytes:
            response = await client.post("/echo", content=pattern(number * 100))
            connections.add(json.loads(response.headers["about"])["peer"])
            return response.content

        await ask(0)
        assert await asyncio.gather(*[ask(number) for number in range(100)]) == [pattern(n * 100) for n in range(100)]
    assert (len(connections) == 1) is (version == "HTTP/2")


@VERSIONS
async def test_a_request_that_takes_too_long(loop: object, tmp_path: Path, version: str) -> None:
    async with serving(tmp_path) as (app, port):
        async with client_of(port, version) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get("/hang", timeout=httpx.Timeout(20, read=0.1))
            assert (await client.post("/echo", content=b"after")).content == b"after"
        # With HTTP/2 the server hears of it only when the connection ends.
        await app.abandoned.wait()


@VERSIONS
async def test_a_stream_that_is_not_read_to_its_end(loop: object, tmp_path: Path, version: str) -> None:
    async with serving(tmp_path) as (_, port), client_of(port, version) as client:
        for _ in range(5):
            async with client.stream("GET", "/stream") as response:
                async for _ in response.aiter_raw():
                    break
        assert (await client.get("/stream")).content == STREAMED


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_websockets(loop: object, tmp_path: Path, tls: bool) -> None:
    async with serving(tmp_path, tls) as (_, port):
        url = f"wss://localhost:{port}" if tls else f"ws://{HOST}:{port}"
        async with connect(url, max_size=None, proxy=None, ssl=client_context() if tls else None) as client:
            for message in ("", "häuser", pattern(126), pattern(LARGE)):
                await client.send(message)
                assert await client.recv() == message
            if tls:
                return  # over TLS Hypercorn takes the answer to its closing frame for an error
            await client.send("close")
            with pytest.raises(ConnectionClosedError):
                await client.recv()
            assert (client.close_code, client.close_reason) == (4001, "as you wish")
