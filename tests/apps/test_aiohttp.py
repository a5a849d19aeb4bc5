"""Connections of aiohttp's server and client: keep-alive, TLS, UNIX sockets, cancelling, shutting down."""

from __future__ import annotations

import asyncio
import contextlib
import io
import ssl
from pathlib import Path
from typing import Any

import pytest
from loop.certificates import client_context
from loop.helpers import eventually, pattern

pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")

import aiohttp
from aiohttp import ClientSession, ClientTimeout, TCPConnector, UnixConnector, web

from apps.aiohttp_pair import address_of, serving, talking

# Run with --loops=asyncio or --loops=uvloop to see whether a failure is the loop's.
pytestmark = [pytest.mark.loops("netloop"), pytest.mark.limit(60)]

SIZE = 3_000_000
EITHER_WAY = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


async def peer(request: web.Request) -> web.Response:
    """The client's port, which tells connections apart."""
    assert request.transport is not None
    return web.json_response(request.transport.get_extra_info("peername")[1])


@EITHER_WAY
async def test_keep_alive(loop: object, tls: bool) -> None:
    async def ask(session: ClientSession, **headers: str) -> int:
        async with session.get("/peer", headers=headers) as response:
            return int(await response.json())

    async with talking(peer, tls=tls) as session:
        first = await ask(session)
        assert [await ask(session) for _ in range(3)] == [first] * 3
        await ask(session, Connection="close")
        assert await ask(session) != first
        assert len(set(await asyncio.gather(*[ask(session) for _ in range(20)]))) > 1


async def test_an_idle_connection_is_closed_by_the_server(loop: object) -> None:
    async with talking(peer, keepalive_timeout=0.05) as session:
        async with session.get("/peer") as response:
            first = await response.json()
        connector = session.connector
        assert connector is not None
        await eventually(lambda: all(not held for held in idle_protocols(connector)))
        async with session.get("/peer") as response:
            assert await response.json() != first


def idle_protocols(connector: Any) -> list[bool]:
    """For each connection that waits for its next request, whether it is still there."""
    return [held[0].is_connected() for connections in connector._conns.values() for held in connections]


async def test_over_a_unix_socket(loop: object, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with serving(echo) as runner:
        await web.UnixSite(runner, path).start()
        async with ClientSession("http://application", connector=UnixConnector(path)) as session:
            for _ in range(3):
                async with session.post("/echo", data=io.BytesIO(pattern(SIZE))) as response:
                    assert await response.read() == pattern(SIZE)


async def test_a_thousand_requests(loop: object) -> None:
    async def ask(session: ClientSession, number: int) -> None:
        body = pattern(number * 31)
        async with session.post("/echo", data=body) as response:
            assert await response.read() == body

    async with talking(echo) as session:
        await asyncio.gather(*[ask(session, number) for number in range(1000)])


async def test_a_certificate_that_is_not_trusted(loop: object) -> None:
    async with (
        serving(echo, tls=True) as runner,
        ClientSession(connector=TCPConnector(ssl=client_context(trusting=False))) as session,
    ):
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(address_of(runner, tls=True) + "/echo")


async def test_a_request_that_takes_too_long(loop: object) -> None:
    async def hang(request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    released = asyncio.Event()
    async with talking(hang, echo) as session:
        with pytest.raises(asyncio.TimeoutError):
            await session.get("/hang", timeout=ClientTimeout(total=0.05))
        with pytest.raises(asyncio.TimeoutError):
            await session.get("/hang", timeout=ClientTimeout(sock_read=0.05))
        released.set()
        async with session.post("/echo", data=b"after") as response:
            assert await response.read() == b"after"


async def test_a_request_that_is_cancelled(loop: object) -> None:
    """The handler is cancelled with it, if the server was told to."""

    async def hang(request: web.Request) -> web.Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError("nobody sets that event")

    begun, cancelled = asyncio.Event(), asyncio.Event()
    async with talking(hang, handler_cancellation=True) as session:
        request = asyncio.ensure_future(session.get("/hang"))
        await begun.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await cancelled.wait()


@EITHER_WAY
async def test_a_download_that_is_cancelled(loop: object, tls: bool) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(bytes(100_000))
        left.set()
        return response

    async def download(session: ClientSession) -> None:
        async with session.get("/endless") as response:
            async for _ in response.content.iter_chunked(50_000):
                some.set()

    some, left = asyncio.Event(), asyncio.Event()
    async with talking(endless, tls=tls) as session:
        task = asyncio.create_task(download(session))
        await some.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await left.wait()


@EITHER_WAY
async def test_shutting_down(loop: object, tls: bool) -> None:
    """A request in progress is answered, an idle connection is closed, a new one is refused."""

    async def slow(request: web.Request) -> web.Response:
        begun.set()
        await released.wait()
        return web.Response(text="in the end")

    begun, released = asyncio.Event(), asyncio.Event()
    async with serving(slow, echo, tls=tls, shutdown_timeout=20) as runner:
        trusted: ssl.SSLContext | bool = client_context() if tls else True
        async with ClientSession(address_of(runner, tls), connector=TCPConnector(ssl=trusted)) as session:
            async with session.post("/echo", data=b"one") as response:
                assert await response.read() == b"one"
            request = asyncio.ensure_future(session.get("/slow"))
            await begun.wait()
            async with session.post("/echo", data=b"two") as response:
                assert await response.read() == b"two"
            ending = asyncio.create_task(runner.cleanup())
            await eventually(lambda: not runner.sites)
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("/echo", headers={"Connection": "close"})
            assert not ending.done()
            released.set()
            async with await request as response:
                assert await response.text() == "in the end"
            await ending
