"""Each framework and runner that netloop promises to work with: one small server or program that really runs.

They are run on asyncio and uvloop too, which shows that the tests ask for nothing that only netloop does.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from apps.programs import Program, Server

BODY = bytes(range(256)) * 300

AIOHTTP = """
import asyncio, sys
from aiohttp import web

async def which(request):
    return web.json_response(type(asyncio.get_running_loop()).__module__)

async def echo(request):
    return web.Response(body=await request.read())

app = web.Application()
app.add_routes([web.get("/loop", which), web.post("/echo", echo)])

async def factory():
    return app
"""

AIOHTTP_MAIN = """
import importlib, sys
from aiohttp import web
from application import app

web.run_app(app, host="127.0.0.1", port=0, loop=importlib.import_module(sys.argv[1]).new_event_loop())
"""

FASTAPI = """
import asyncio
from fastapi import FastAPI, Request, Response, WebSocket

app = FastAPI()

@app.get("/loop")
async def which():
    return type(asyncio.get_running_loop()).__module__

@app.post("/echo")
async def echo(request: Request):
    return Response(await request.body())

@app.websocket("/websocket")
async def websocket(socket: WebSocket):
    await socket.accept()
    await socket.send_text("you said " + await socket.receive_text())
    await socket.close()
"""

PYTEST_CONFTEST = """
import importlib

def pytest_asyncio_loop_factories(config, item):
    return {{"chosen": importlib.import_module({name!r}).new_event_loop}}
"""

PYTEST_POLICY_CONFTEST = """
import asyncio, importlib, pytest

@pytest.fixture(scope="session")
def event_loop_policy():
    module = importlib.import_module({name!r})
    return getattr(module, "EventLoopPolicy", None) and module.EventLoopPolicy() or asyncio.DefaultEventLoopPolicy()
"""

PYTEST_TEST = """
import asyncio, pytest

@pytest.mark.asyncio
async def test_echo():
    async def echo(reader, writer):
        writer.write(await reader.readexactly(5))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello")
        assert await reader.read() == b"hello"
        writer.close()
        await writer.wait_closed()
    assert type(asyncio.get_running_loop()).__module__.startswith({name!r})
"""

ANYIO = """
import asyncio, importlib, json, sys
import anyio
from anyio.abc import SocketAttribute

async def main():
    async def echo(stream):
        async with stream:
            await stream.send(await stream.receive())

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        port = listener.extra(SocketAttribute.local_port)
        async with await anyio.connect_tcp("127.0.0.1", port) as client:
            await client.send(b"hello")
            answer = await client.receive()
        assert await anyio.to_thread.run_sync(lambda: 40 + 2) == 42
        with anyio.move_on_after(0.05) as scope:
            await anyio.sleep(60)
        group.cancel_scope.cancel()
    print(json.dumps([type(asyncio.get_running_loop()).__module__, answer.decode(), scope.cancelled_caught]))

factory = importlib.import_module(sys.argv[1]).new_event_loop
anyio.run(main, backend_options={"loop_factory": factory})
"""

# The stream is closed while somebody receives from it.
ANYIO_UNIX = """
import importlib, json, sys
import anyio

async def main():
    async def echo(stream):
        async with stream:
            async for part in stream:
                await stream.send(part)

    async def receive(stream):
        try:
            await stream.receive()
        except anyio.ClosedResourceError:
            told.append("closed")

    told = []
    async with await anyio.create_unix_listener("socket") as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, echo)
        async with await anyio.connect_unix("socket") as client:
            await client.send(b"hello")
            told.append((await client.receive()).decode())
            group.start_soon(receive, client)
            await anyio.wait_all_tasks_blocked()
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    print(json.dumps(told))

factory = importlib.import_module(sys.argv[1]).new_event_loop
anyio.run(main, backend_options={"loop_factory": factory})
"""

Serve = Callable[..., Server]
Write = Callable[[str, str], str]
Start = Callable[..., Program]


def check_server(server: Server, loop_name: str) -> None:
    """It runs on the loop it was told to, and serves requests small and large."""
    assert server.ask_json("/loop").startswith(loop_name)
    for _ in range(3):
        status, _, body = server.ask("POST", "/echo", BODY)
        assert (status, body) == (200, BODY)


def test_aiohttp_run_app(serve: Serve, program: Write, loop_name: str) -> None:
    pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")
    program("application.py", AIOHTTP)
    check_server(serve(program("main.py", AIOHTTP_MAIN), loop_name), loop_name)


@pytest.mark.parametrize("attribute", ["app", "factory"])
def test_netloop_serve(serve: Serve, program: Write, loop_name: str, attribute: str) -> None:
    pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")
    program("application.py", AIOHTTP)
    command = ("-m", "netloop", "serve", f"application:{attribute}", "--port", "0", "--loop", loop_name)
    check_server(serve(*command), loop_name)


def test_gunicorn_with_the_aiohttp_worker(
    serve: Serve, program: Write, loop_name: str, gunicorn: tuple[str, ...]
) -> None:
    program("application.py", AIOHTTP)
    check_server(serve(*gunicorn, "application:app"), loop_name)


def test_uvicorn_with_fastapi(serve: Serve, program: Write, loop_name: str, loop_factory: str) -> None:
    pytest.importorskip("uvicorn", reason="not installed: pip install uvicorn")
    pytest.importorskip("fastapi", reason="not installed: pip install fastapi")
    client = pytest.importorskip("websockets.sync.client", reason="not installed: pip install websockets")
    program("application.py", FASTAPI)
    command = ("-m", "uvicorn", "--port", "0", "--loop", loop_factory, "--ws", "websockets-sansio", "application:app")
    server = serve(*command)
    check_server(server, loop_name)
    with client.connect(f"ws://127.0.0.1:{server.port}/websocket", proxy=None) as websocket:
        websocket.send("hello")
        assert websocket.recv(timeout=10) == "you said hello"


@pytest.mark.parametrize("conftest", [PYTEST_CONFTEST, PYTEST_POLICY_CONFTEST], ids=["loop-factory", "policy"])
def test_pytest_asyncio(start: Start, program: Write, loop_name: str, conftest: str) -> None:
    plugin = pytest.importorskip("pytest_asyncio.plugin", reason="not installed: pip install pytest-asyncio")
    if conftest is PYTEST_CONFTEST and not hasattr(plugin.PytestAsyncioSpecs, "pytest_asyncio_loop_factories"):
        pytest.skip("this pytest-asyncio has no loop factories yet: pip install -U pytest-asyncio")
    program("conftest.py", conftest.format(name=loop_name))
    program("test_nested.py", PYTEST_TEST.format(name=loop_name))
    program("pytest.ini", "[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    nested = start("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_nested.py")
    assert nested.wait() == 0, nested.output
    assert "1 passed" in nested.output


def test_anyio(start: Start, program: Write, loop_name: str) -> None:
    pytest.importorskip("anyio", reason="not installed: pip install anyio")
    child = start(program("main.py", ANYIO), loop_name)
    assert child.wait() == 0, child.output
    module, answer, timed_out = json.loads(child.output)
    assert module.startswith(loop_name)
    assert (answer, timed_out) == ("hello", True)


def test_unix_streams_of_anyio(start: Start, program: Write, loop_name: str) -> None:
    pytest.importorskip("anyio", reason="not installed: pip install anyio")
    child = start(program("main.py", ANYIO_UNIX), loop_name)
    assert child.wait() == 0, child.output
    assert json.loads(child.output) == ["hello", "closed"]
