"""Static files of aiohttp's, which loop.sendfile() sends, and uploads."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from loop.helpers import pattern

pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")

import aiohttp
from aiohttp import FormData, web

from apps.aiohttp_pair import talking
from netloop.hosted.sendfile import SendFile

# Run with --loops=asyncio or --loops=uvloop to see whether a failure is the loop's.
pytestmark = [pytest.mark.loops("netloop"), pytest.mark.limit(60)]

SIZE = 3_000_000
EITHER_WAY = pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with a small file, an empty one and a large one."""
    for name, size in (("empty", 0), ("small", 100), ("large", SIZE)):
        (tmp_path / name).write_bytes(pattern(size))
    return tmp_path


@pytest.fixture
def sent_by_ring(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each loop.sendfile() sent through the ring."""
    sent: list[int] = []
    original = SendFile._sendfile_native

    async def recording(self: SendFile, transport: Any, file: Any, offset: int, count: int | None) -> int:
        sent.append(await original(self, transport, file, offset, count))
        return sent[-1]

    monkeypatch.setattr(SendFile, "_sendfile_native", recording)
    return sent


@EITHER_WAY
async def test_whole_files(loop: object, loop_name: str, files: Path, sent_by_ring: list[int], tls: bool) -> None:
    async with talking(tls=tls, static=files) as session:
        for name, size in (("empty", 0), ("small", 100), ("large", SIZE)):
            async with session.get(f"/static/{name}") as response:
                assert (response.status, response.content_length) == (200, size)
                assert await response.read() == pattern(size)
        async with session.get("/static/missing") as response:
            assert response.status == 404
    # With TLS the file is encrypted on its way, so it is read and written like any other data.
    assert sent_by_ring == ([100, SIZE] if loop_name == "netloop" and not tls else [])


async def test_parts_of_files(loop: object, loop_name: str, files: Path, sent_by_ring: list[int]) -> None:
    parts = {
        "bytes=0-0": slice(0, 1),
        "bytes=1000000-1999999": slice(1_000_000, 2_000_000),
        "bytes=2999990-": slice(2_999_990, SIZE),
        "bytes=-5": slice(SIZE - 5, SIZE),
    }
    async with talking(static=files) as session:
        for wanted, part in parts.items():
            async with session.get("/static/large", headers={"Range": wanted}) as response:
                assert response.status == 206
                assert response.headers["Content-Range"] == f"bytes {part.start}-{part.stop - 1}/{SIZE}"
                assert await response.read() == pattern(SIZE)[part]
        async with session.get("/static/large", headers={"Range": f"bytes={SIZE}-"}) as response:
            assert response.status == 416
    if loop_name == "netloop":
        assert sent_by_ring == [part.stop - part.start for part in parts.values()]


async def test_files_that_have_not_changed(loop: object, files: Path) -> None:
    async with talking(static=files) as session:
        async with session.get("/static/large") as response:
            tag, changed = response.headers["ETag"], response.headers["Last-Modified"]
            await response.read()
        for headers in ({"If-None-Match": tag}, {"If-Modified-Since": changed}):
            async with session.get("/static/large", headers=headers) as response:
                assert (response.status, await response.read()) == (304, b"")
        async with session.get("/static/large", headers={"If-None-Match": '"another"'}) as response:
            assert (response.status, await response.read()) == (200, pattern(SIZE))
        async with session.head("/static/large") as response:
            assert (response.status, response.content_length, await response.read()) == (200, SIZE, b"")


async def test_a_client_that_leaves_in_the_middle_of_a_file(loop: object, files: Path) -> None:
    large = files / "large"
    large.write_bytes(bytes(64 * 1024 * 1024))
    async with talking(static=files) as session:
        for _ in range(5):
            response = await session.get("/static/large")
            await response.content.readexactly(100_000)
            response.close()
        async with session.get("/static/small") as response:
            assert await response.read() == pattern(100)


async def test_many_files_at_once(loop: object, files: Path) -> None:
    async with talking(static=files) as session:

        async def fetch() -> bytes:
            async with session.get("/static/large") as response:
                return hashlib.sha256(await response.read()).digest()

        digests = await asyncio.gather(*[fetch() for _ in range(30)])
    assert set(digests) == {hashlib.sha256(pattern(SIZE)).digest()}


@EITHER_WAY
async def test_a_multipart_upload(loop: object, tls: bool) -> None:
    async def upload(request: web.Request) -> web.Response:
        parts: list[list[Any]] = []
        async for part in await request.multipart():
            assert isinstance(part, aiohttp.BodyPartReader)
            digest = hashlib.sha256()
            while chunk := await part.read_chunk(10_000):
                digest.update(chunk)
            parts.append([part.name, part.filename, digest.hexdigest()])
        return web.json_response(parts)

    form = FormData()
    form.add_field("title", "a file")
    form.add_field("file", io.BytesIO(pattern(SIZE)), filename="large.bin", content_type="application/octet-stream")
    async with talking(upload, tls=tls) as session, session.post("/upload", data=form) as response:
        assert await response.json() == [
            ["title", None, hashlib.sha256(b"a file").hexdigest()],
            ["file", "large.bin", hashlib.sha256(pattern(SIZE)).hexdigest()],
        ]


@EITHER_WAY
async def test_a_streamed_upload_to_a_slow_reader(loop: object, tls: bool) -> None:
    """The body has no length and comes faster than it is read, and the answer is a stream as well."""

    async def double(request: web.Request) -> web.StreamResponse:
        assert request.headers["Transfer-Encoding"] == "chunked"
        response = web.StreamResponse()
        await response.prepare(request)
        async for chunk in request.content.iter_chunked(100_000):
            await asyncio.sleep(0.001)
            await response.write(chunk + chunk)
        return response

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, SIZE, 30_000):
            yield pattern(SIZE)[start : start + 30_000]

    async with talking(double, tls=tls) as session, session.post("/double", data=body()) as response:
        assert len(await response.read()) == 2 * SIZE


async def test_a_file_as_the_body(loop: object, files: Path) -> None:
    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async with talking(echo) as session:
        with (files / "large").open("rb") as file:
            async with session.post("/echo", data=file) as response:
                assert await response.read() == pattern(SIZE)


async def test_an_upload_that_is_refused(loop: object) -> None:
    """The answer comes before the body has been read."""

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=413, headers={"Connection": "close"})

    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield pattern(100_000)

    async with talking(refuse, lingering_time=0.1) as session:
        with contextlib.suppress(aiohttp.ClientOSError):  # what is still being sent may meet a closed connection
            async with session.post("/refuse", data=body()) as response:
                assert response.status == 413
