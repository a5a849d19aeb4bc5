"""uvicorn with a FastAPI application, started by its command line, and asked by clients on the loop under test."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from loop.certificates import certificate, client_context
from loop.helpers import HOST, pattern

from apps.programs import Program

pytest.importorskip("uvicorn", reason="not installed: pip install uvicorn")
pytest.importorskip("fastapi", reason="not installed: pip install fastapi")
pytest.importorskip("httpx", reason="not installed: pip install httpx")
pytest.importorskip("websockets", reason="not installed: pip install websockets")

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

# Run with --loops=asyncio or --loops=uvloop to see whether a failure is the loop's.
pytestmark = [pytest.mark.loops("netloop"), pytest.mark.limit(60)]

LARGE = 2_000_000

APPLICATION = """
import asyncio, contextlib
from fastapi import BackgroundTasks, FastAPI, File, Request, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

@contextlib.asynccontextmanager
async def lifespan(app):
    app.state.done = asyncio.Queue()
    app.state.asked = 0
    loop = type(asyncio.get_running_loop()).__module__
    print("lifespan begins on", loop)
    yield {"loop": loop}
    print("lifespan ends")

app = FastAPI(lifespan=lifespan)

@app.get("/state")
async def state(request: Request):
    return request.state.loop

@app.get("/stream")
async def stream(parts: int):
    async def body():
        try:
            for number in range(parts):
                yield bytes([number % 256]) * 10_000
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            app.state.done.put_nowait("left")
            raise
    return StreamingResponse(body())

@app.get("/in-a-thread")
def in_a_thread():
    return "done"

@app.post("/upload")
async def upload(request: Request):
    size = 0
    async for part in request.stream():
        size += len(part)
    return size

@app.post("/background")
async def background(tasks: BackgroundTasks):
    async def task(number):
        await asyncio.sleep(0.01)
        app.state.done.put_nowait(number)
    tasks.add_task(task, 1)
    tasks.add_task(app.state.done.put_nowait, 2)
    return "begun"

@app.get("/done")
async def done():
    app.state.asked += 1
    return await app.state.done.get()

@app.get("/asked")
async def asked():
    return app.state.asked

@app.websocket("/chat")
async def chat(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                app.state.done.put_nowait(message["code"])
                return
            if message.get("text") == "close":
                await socket.close(4001, "as you wish")
                return
            if message.get("text") is not None:
                await socket.send_text(message["text"])
            else:
                await socket.send_bytes(message["bytes"])
    except WebSocketDisconnect:
        pass
"""

StartUvicorn = Callable[..., tuple[Program, int]]


@pytest.fixture
def start_uvicorn(start: Callable[..., Program], program: Callable[[str, str], str], loop_factory: str) -> StartUvicorn:
    """Starts the application on the loop under test; the process and its port."""

    def start_one(*options: str) -> tuple[Program, int]:
        program("application.py", APPLICATION)
        process = start("-m", "uvicorn", "--port", "0", "--loop", loop_factory, *options, "application:app")
        return process, int(process.wait_for(r"running on https?://127\.0\.0\.1:([1-9]\d*)")[1])

    return start_one


def end(process: Program, loop_name: str) -> None:
    """Stop the server; it must have gone through its whole life and complained of nothing."""
    status, output = process.stop()
    assert status in (0, -signal.SIGTERM), output
    assert f"lifespan begins on {loop_name}" in output
    assert "lifespan ends" in output
    assert "Traceback" not in output
    assert "Warning" not in output


def client_of(port: int, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(**{"base_url": f"http://{HOST}:{port}", "verify": False, "timeout": 20, **options})


@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_requests(run: Any, loop_name: str, start_uvicorn: StartUvicorn, http: str) -> None:
    if http == "httptools":
        pytest.importorskip("httptools", reason="not installed: pip install httptools")
    process, port = start_uvicorn("--http", http)

    async def ask_all() -> None:
        async with client_of(port) as client:
            assert (await client.get("/state")).json().startswith(loop_name)
            assert (await client.get("/in-a-thread")).json() == "done"
            response = await client.get("/stream", params={"parts": 200})
            assert response.content == b"".join(bytes([number]) * 10_000 for number in range(200))
            assert (await client.post("/upload", content=pattern(LARGE))).json() == LARGE
            responses = await asyncio.gather(*[client.get("/in-a-thread") for _ in range(200)])
            assert {response.json() for response in responses} == {"done"}
            assert (await client.post("/background")).json() == "begun"
            assert [(await client.get("/done")).json() for _ in range(2)] == [1, 2]

    run(ask_all())
    end(process, loop_name)


def test_a_client_that_leaves_a_stream(run: Any, loop_name: str, start_uvicorn: StartUvicorn) -> None:
    process, port = start_uvicorn()

    async def leave() -> None:
        async with client_of(port) as client:
            async with client.stream("GET", "/stream", params={"parts": 1_000_000}) as response:
                async for _ in response.aiter_raw():
                    break
            assert (await client.get("/done")).json() == "left"

    run(leave())
    end(process, loop_name)


def test_over_tls(run: Any, loop_name: str, start_uvicorn: StartUvicorn, tmp_path: Path) -> None:
    for name, content in zip(("cert.pem", "key.pem"), certificate(), strict=True):
        (tmp_path / name).write_bytes(content)
    process, port = start_uvicorn("--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem")

    async def ask_all() -> None:
        async with client_of(port, base_url=f"https://localhost:{port}", verify=client_context()) as client:
            response = await client.get("/stream", params={"parts": 200})
            assert len(response.content) == 2_000_000
            assert (await client.post("/upload", content=pattern(LARGE))).json() == LARGE
        url = f"wss://localhost:{port}/chat"
        async with connect(url, ssl=client_context(), max_size=None, proxy=None) as socket:
            await socket.send(pattern(LARGE))
            assert await socket.recv() == pattern(LARGE)

    run(ask_all())
    end(process, loop_name)


@pytest.mark.parametrize("implementation", ["websockets-sansio", "wsproto"])
def test_websockets(run: Any, loop_name: str, start_uvicorn: StartUvicorn, implementation: str) -> None:
    if implementation == "wsproto":
        pytest.importorskip("wsproto", reason="not installed: pip install wsproto")
    process, port = start_uvicorn("--ws", implementation)
    url = f"ws://{HOST}:{port}/chat"

    async def chat(number: int) -> None:
        async with connect(url, max_size=None, proxy=None) as socket:
            for message in (f"text {number}", pattern(126), pattern(number * 10_000)):
                await socket.send(message)
                assert await socket.recv() == message

    async def chat_all() -> None:
        await asyncio.gather(*[chat(number) for number in range(50)])
        async with connect(url, proxy=None) as socket:
            await socket.send("close")
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert (socket.close_code, socket.close_reason) == (4001, "as you wish")
        async with client_of(port) as client:
            assert {(await client.get("/done")).json() for _ in range(50)} == {1000}

    run(chat_all())
    end(process, loop_name)


def test_stopping_in_the_middle_of_a_request(run: Any, loop_name: str, start_uvicorn: StartUvicorn) -> None:
    """It is answered, and then the server ends."""
    process, port = start_uvicorn()

    async def ask() -> None:
        async with client_of(port) as client:
            waiting = asyncio.create_task(client.get("/done"))
            while (await client.get("/asked")).json() != 1:
                await asyncio.sleep(0.01)
            async with connect(f"ws://{HOST}:{port}/chat", proxy=None) as socket:
                await socket.send("here")
                assert await socket.recv() == "here"
                stopping = asyncio.create_task(asyncio.to_thread(process.stop))
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
                assert socket.close_code == 1012
            assert (await waiting).json() == 1012
            await stopping

    run(ask())
    end(process, loop_name)


WORKERS = """
import os, time

async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/block":
        print("blocks", os.getpid(), flush=True)
        while not os.path.exists("go on"):
            time.sleep(0.01)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
"""


def test_nobody_waits_for_a_worker_that_is_blocked(
    run: Any,
    start: Callable[..., Program],
    program: Callable[[str, str], str],
    loop_factory: str,
    tmp_path: Path,
) -> None:
    program("workers.py", WORKERS)
    process = start(
        *("-m", "uvicorn", "--port", "0", "--loop", loop_factory, "--workers", "3", "--lifespan", "off"),
        "workers:application",
    )
    port = int(process.wait_for(r"running on https?://127\.0\.0\.1:([1-9]\d*)")[1])
    process.wait_for(r"(?s)(Started server process.*){3}")

    async def ask(path: str) -> int:
        async with client_of(port) as client:
            return int((await client.get(path)).text)

    async def ask_all() -> None:
        blocking = asyncio.create_task(ask("/block"))
        blocked = int((await asyncio.to_thread(process.wait_for, r"blocks (\d+)"))[1])
        answers = [await asyncio.gather(*[ask("/") for _ in range(8)]) for _ in range(12)]
        assert blocked not in {pid for some in answers for pid in some}
        (tmp_path / "go on").touch()
        assert await blocking == blocked

    run(ask_all())
    status, output = process.stop()
    assert status in (0, -signal.SIGTERM), output
    assert "Traceback" not in output
