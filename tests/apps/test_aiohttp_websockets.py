"""Websockets of aiohttp's: messages, close codes, and peers that do not answer."""

from __future__ import annotations

import asyncio

import pytest
from loop.helpers import pattern

pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")

import aiohttp
from aiohttp import ClientSession, WSMsgType, web

from apps.aiohttp_pair import talking

# Run with --loops=asyncio or --loops=uvloop to see whether a failure is the loop's.
pytestmark = [pytest.mark.loops("netloop"), pytest.mark.limit(60)]

SIZE = 3_000_000


async def websocket(request: web.Request) -> web.WebSocketResponse:
    """Says everything again, in the form in which it came, until it is told to close."""
    socket = web.WebSocketResponse(max_msg_size=0)
    await socket.prepare(request)
    async for message in socket:
        if message.data == "close":
            await socket.close(code=4001, message=b"as you wish")
        elif message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    return socket


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("compress", [0, 15], ids=["as it is", "compressed"])
async def test_websocket_messages(loop: object, tls: bool, compress: int) -> None:
    async with talking(websocket, tls=tls) as session:
        async with session.ws_connect("/websocket", compress=compress, max_msg_size=0) as socket:
            assert socket.compress == compress
            for size in (0, 1, 125, 126, 65_536, SIZE):
                await socket.send_bytes(pattern(size))
                assert await socket.receive_bytes() == pattern(size)
            text = "häuser " * 100_000
            await socket.send_str(text)
            assert await socket.receive_str() == text
        assert socket.close_code == aiohttp.WSCloseCode.OK


async def test_a_hundred_websockets(loop: object) -> None:
    async def chat(session: ClientSession, number: int) -> None:
        async with session.ws_connect("/websocket") as socket:
            for step in range(20):
                await socket.send_str(f"{number}: {step}")
            assert [await socket.receive_str() for _ in range(20)] == [f"{number}: {step}" for step in range(20)]

    async with talking(websocket) as session:
        await asyncio.gather(*[chat(session, number) for number in range(100)])


async def test_websocket_ping_and_close_codes(loop: object) -> None:
    async with talking(websocket) as session:
        async with session.ws_connect("/websocket", autoping=False) as socket:
            await socket.ping(b"are you there")
            assert (await socket.receive())[:2] == (WSMsgType.PONG, b"are you there")
            await socket.send_str("close")
            assert (await socket.receive())[:3] == (WSMsgType.CLOSE, 4001, "as you wish")
        assert socket.close_code == 4001


async def test_websocket_codes_that_the_server_sees(loop: object) -> None:
    codes: list[int | None] = []
    seen = asyncio.Event()

    async def watched(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        codes.append(socket.close_code)
        seen.set()
        return socket

    async with talking(watched) as session:
        async with session.ws_connect("/watched") as socket:
            await socket.close(code=4444, message=b"mine")
        await seen.wait()
        seen.clear()
        # A connection that ends without a closing frame.
        socket = await session.ws_connect("/watched")
        connection = socket._response.connection
        assert connection is not None and connection.transport is not None
        connection.transport.abort()
        await seen.wait()
        await socket.close()
    assert codes == [4444, aiohttp.WSCloseCode.ABNORMAL_CLOSURE]


async def test_a_websocket_peer_that_no_longer_answers(loop: object) -> None:
    """The heartbeat notices it."""

    async def deaf(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        await released.wait()
        return socket

    released = asyncio.Event()
    async with talking(deaf) as session:
        async with session.ws_connect("/deaf", heartbeat=0.1) as socket:
            assert (await socket.receive()).type in (WSMsgType.ERROR, WSMsgType.CLOSED)
        released.set()
