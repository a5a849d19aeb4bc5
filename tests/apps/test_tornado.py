"""Tornado's servers and clients, which take the running loop for theirs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from loop.certificates import client_context, server_context
from loop.helpers import HOST, pattern

pytest.importorskip("tornado", reason="not installed: pip install tornado")

from tornado import httpclient, httpserver, ioloop, iostream, netutil, tcpclient, tcpserver, web, websocket
from tornado.platform.asyncio import BaseAsyncIOLoop

# Run with --loops=asyncio or --loops=uvloop to see whether a failure is the loop's.
pytestmark = [pytest.mark.loops("netloop"), pytest.mark.limit(60)]

SIZE = 3_000_000
EITHER_WAY = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


class Echo(web.RequestHandler):
    def get(self) -> None:
        self.write({"loop": type(asyncio.get_running_loop()).__module__})

    def post(self) -> None:
        self.write(self.request.body)


class Slow(web.RequestHandler):
    async def get(self) -> None:
        for number in range(20):
            self.write(pattern(100_000))
            await self.flush()
            await asyncio.sleep(0.001 if number % 5 == 0 else 0)


@web.stream_request_body
class Upload(web.RequestHandler):
    def prepare(self) -> None:
        self.size = 0

    async def data_received(self, chunk: bytes) -> None:
        self.size += len(chunk)
        await asyncio.sleep(0)

    def post(self) -> None:
        self.write(str(self.size))


class Chat(websocket.WebSocketHandler):
    async def on_message(self, message: str | bytes) -> None:
        if message == "close":
            self.close(4001, "as you wish")
        else:
            await self.write_message(message, binary=isinstance(message, bytes))


class Hang(web.RequestHandler):
    async def get(self) -> None:
        await self.settings["released"].wait()


@contextlib.asynccontextmanager
async def serving(tls: bool = False, static: Path | None = None) -> AsyncIterator[str]:
    """An application, by its address; at the end its connections are closed."""
    routes: list[Any] = [("/echo", Echo), ("/slow", Slow), ("/upload", Upload), ("/chat", Chat), ("/hang", Hang)]
    if static is not None:
        routes.append(("/static/(.*)", web.StaticFileHandler, {"path": str(static)}))
    released = asyncio.Event()
    app = web.Application(routes, released=released, websocket_max_message_size=2 * SIZE, log_function=lambda _: None)
    server = httpserver.HTTPServer(app, ssl_options=server_context() if tls else None)
    sockets = netutil.bind_sockets(0, HOST)
    server.add_sockets(sockets)
    try:
        yield f"{'s' if tls else ''}://{'localhost' if tls else HOST}:{sockets[0].getsockname()[1]}"
    finally:
        released.set()
        server.stop()
        await server.close_all_connections()


@contextlib.contextmanager
def http_client() -> Any:
    """A client of this test's own."""
    client = httpclient.AsyncHTTPClient(force_instance=True, max_clients=100)
    with contextlib.closing(client):
        yield client


def request(url: str, **options: Any) -> httpclient.HTTPRequest:
    # Of its own accord it calls a body a form, which the server then tries to read.
    options = {"request_timeout": 20.0, "headers": {"Content-Type": "application/octet-stream"}, **options}
    return httpclient.HTTPRequest(url, ssl_options=client_context(), **options)


async def test_the_loop_is_the_running_one(loop: object) -> None:
    current = ioloop.IOLoop.current()
    assert isinstance(current, BaseAsyncIOLoop)
    assert current.asyncio_loop is loop
    done = asyncio.Event()
    current.add_callback(done.set)
    await done.wait()
    assert await current.run_in_executor(None, lambda: 40 + 2) == 42


@EITHER_WAY
async def test_requests_small_and_large(loop: object, loop_name: str, tls: bool) -> None:
    async with serving(tls) as address:
        with http_client() as client:
            response = await client.fetch(request(f"http{address}/echo"))
            assert loop_name in response.body.decode()
            for size in (0, 1, 65_536, SIZE):
                response = await client.fetch(request(f"http{address}/echo", method="POST", body=pattern(size)))
                assert response.body == pattern(size)
            response = await client.fetch(request(f"http{address}/slow"))
            assert response.body == pattern(100_000) * 20


@EITHER_WAY
async def test_a_hundred_requests_at_once(loop: object, tls: bool) -> None:
    async with serving(tls) as address:
        with http_client() as client:
            bodies = [pattern(number * 100) for number in range(100)]
            requests = [request(f"http{address}/echo", method="POST", body=body) for body in bodies]
            responses = await asyncio.gather(*[client.fetch(one) for one in requests])
            assert [response.body for response in responses] == bodies


async def test_a_streamed_upload(loop: object) -> None:
    async def body(write: Any) -> None:
        for _ in range(100):
            await write(pattern(30_000))

    async with serving() as address:
        with http_client() as client:
            response = await client.fetch(request(f"http{address}/upload", method="POST", body_producer=body))
            assert response.body == b"3000000"


async def test_static_files(loop: object, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(pattern(SIZE))
    async with serving(static=tmp_path) as address:
        with http_client() as client:
            url = f"http{address}/static/large"
            response = await client.fetch(request(url))
            assert response.body == pattern(SIZE)
            unchanged = {"If-None-Match": response.headers["Etag"]}
            assert (await client.fetch(request(url, headers=unchanged), raise_error=False)).code == 304
            response = await client.fetch(request(url, headers={"Range": "bytes=1000000-1999999"}))
            assert (response.code, response.body) == (206, pattern(SIZE)[1_000_000:2_000_000])


async def test_a_request_that_takes_too_long(loop: object) -> None:
    async with serving() as address:
        with http_client() as client:
            with pytest.raises(httpclient.HTTPError, match="Timeout"):
                await client.fetch(request(f"http{address}/hang", request_timeout=0.05))
            assert (await client.fetch(request(f"http{address}/echo"))).code == 200


@EITHER_WAY
@pytest.mark.parametrize("compression", [None, {}], ids=["as it is", "compressed"])
async def test_websocket_messages(loop: object, tls: bool, compression: dict[str, Any] | None) -> None:
    async with serving(tls) as address:
        client = await websocket.websocket_connect(
            request(f"ws{address}/chat"), compression_options=compression, max_message_size=2 * SIZE
        )
        for message in ("", "häuser", pattern(126), pattern(65_536), pattern(SIZE)):
            await client.write_message(message, binary=isinstance(message, bytes))
            assert await client.read_message() == message
        await client.write_message("close")
        assert await client.read_message() is None
        assert (client.close_code, client.close_reason) == (4001, "as you wish")
        client.close()


@EITHER_WAY
async def test_streams(loop: object, tls: bool) -> None:
    """Tornado's own TCP server and client, which read and write the sockets themselves."""

    class Lines(tcpserver.TCPServer):
        async def handle_stream(self, stream: iostream.IOStream, address: Any) -> None:
            with contextlib.suppress(iostream.StreamClosedError):
                while True:
                    await stream.write((await stream.read_until(b"\n")).upper())
            ended.set()

    ended = asyncio.Event()
    server = Lines(ssl_options=server_context() if tls else None)
    sockets = netutil.bind_sockets(0, HOST)
    server.add_sockets(sockets)
    resolver = tcpclient.TCPClient()
    stream = await resolver.connect(
        HOST, sockets[0].getsockname()[1], ssl_options=client_context() if tls else None, max_buffer_size=4 * SIZE
    )
    for line in (b"a\n", b"b" * 10_000 + b"\n", b"c" * SIZE + b"\n"):
        await stream.write(line)
        assert await stream.read_until(b"\n") == line.upper()
    stream.close()
    await ended.wait()
    server.stop()
    resolver.close()
