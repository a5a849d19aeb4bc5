"""``python -m netloop serve`` with one process: what it serves and prints, and which words tell what is wrong."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable

import pytest

from apps.programs import Program, Server
from apps.serving import AIOHTTP, ASGI, SERVERS, Upload, application_of, asgi_server

pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")

APPLICATION = """
from aiohttp import web

app = web.Application()
number = 7

def needs(argument):
    return app

def nothing():
    return None

async def later():
    return "app"

class Shop:
    pass
"""

Start = Callable[..., Program]
Write = Callable[[str, str], str]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("application", "write module:attribute"),
        (":app", "write module:attribute"),
        ("nowhere:app", "there is no module 'nowhere'"),
        ("nowhere.deep:app", "there is no module 'nowhere'"),
        ("application:missing", "has no attribute 'missing'"),
        ("application:number", "an object of type int, not an aiohttp.web.Application"),
        ("application:Shop", "the class Shop, not an aiohttp.web.Application"),
        ("application:needs", "cannot be called without arguments"),
        ("application:nothing", "returned None, not an aiohttp.web.Application"),
        ("application:later", "returned an object of type str"),
    ],
)
def test_a_bad_application_is_named(start: Start, program: Write, name: str, words: str) -> None:
    program("application.py", APPLICATION)
    child = start("-m", "netloop", "serve", name, "--loop", "asyncio", "--port", "0")
    assert child.wait() == 2
    assert words in child.output
    assert "Traceback" not in child.output
    assert "never awaited" not in child.output


def test_a_mistake_inside_the_application_keeps_its_traceback(start: Start, program: Write) -> None:
    program("application.py", "import no_such_module_at_all\n")
    child = start("-m", "netloop", "serve", "application:app", "--loop", "asyncio", "--port", "0")
    assert child.wait() == 1
    assert "Traceback" in child.output
    assert "No module named 'no_such_module_at_all'" in child.output


def test_a_port_that_is_taken(start: Start, program: Write) -> None:
    program("application.py", APPLICATION)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        child = start("-m", "netloop", "serve", "application:app", "--loop", "asyncio", "--port", str(port))
        assert child.wait() == 1
    assert f"netloop serve: error while attempting to bind on address ('127.0.0.1', {port})" in child.output
    assert "Traceback" not in child.output


@pytest.mark.parametrize("arguments", [("--port", "65536"), ("--port", "x"), ("--loop", "epoll")])
def test_a_bad_option(start: Start, program: Write, arguments: tuple[str, str]) -> None:
    program("application.py", APPLICATION)
    child = start("-m", "netloop", "serve", "application:app", *arguments)
    assert child.wait() == 2
    assert arguments[0] in child.output


SLOW_APPLICATION = """
import time
from aiohttp import web

async def slow(request):
    time.sleep(0.5)
    return web.json_response("done")

app = web.Application()
app.router.add_get("/slow", slow)
"""


def test_a_stall_is_reported_on_standard_error(serve: Callable[..., Server], program: Write) -> None:
    program("application.py", SLOW_APPLICATION)
    server = serve("-m", "netloop", "serve", "application:app", "--port", "0", "--stall-threshold", "0.1")
    assert server.ask_json("/slow") == "done"
    assert "The event loop is blocked" in server.output
    assert "in slow\n    time.sleep(0.5)" in server.output


def test_the_environment_asks_for_reports_too(serve: Callable[..., Server], program: Write) -> None:
    program("application.py", SLOW_APPLICATION)
    server = serve("-m", "netloop", "serve", "application:app", "--port", "0", NETLOOP_STALL_THRESHOLD="0.1")
    assert server.ask_json("/slow") == "done"
    assert "in slow\n    time.sleep(0.5)" in server.output


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--stall-threshold", "0.1", "--loop", "asyncio"), 2, "--stall-threshold needs --loop netloop, not asyncio"),
        (("--stall-threshold", "-3"), 2, "-3 is not a number of seconds from 0.01 to 3600, or 0"),
        (("--stall-threshold", "nan", "--workers", "2"), 2, "nan is not a number of seconds from 0.01 to 3600, or 0"),
        (("--stall-threshold", "x"), 2, "x is not a number of seconds from 0.01 to 3600, or 0"),
    ],
)
def test_a_bad_threshold(start: Start, program: Write, arguments: tuple[str, ...], status: int, words: str) -> None:
    program("application.py", APPLICATION)
    child = start("-m", "netloop", "serve", "application:app", "--port", "0", *arguments)
    assert child.wait() == status
    assert words in child.output
    assert "Traceback" not in child.output


netloop_only = pytest.mark.loops("netloop")


def start_serving(start: Start, program: Write, server: str) -> Program:
    """An application that a server is about to serve."""
    options, text = application_of(server)
    program("application.py", text)
    return start("-m", "netloop", "serve", "application:app", "--port", "0", *options)


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_an_asgi_application(serve: Callable[..., Server], program: Write, loop_name: str, server: str) -> None:
    program("application.py", ASGI)
    command = ("-m", "netloop", "serve", "application:app", "--port", "0", "--loop", loop_name)
    assert serve(*command, *asgi_server(server)).ask("GET", "/")[0] == 200


@netloop_only
@SERVERS
@pytest.mark.parametrize(("option", "count"), [("--access-log", 1), ("--no-access-log", 0)])
def test_an_access_log(serve: Callable[..., Server], program: Write, server: str, option: str, count: int) -> None:
    """Whatever the application makes of logging."""
    options, text = application_of(server)
    program("application.py", f"import logging\nlogging.basicConfig(level=logging.INFO)\n{text}")
    process = serve("-m", "netloop", "serve", "application:app", "--port", "0", option, *options)
    assert process.ask("GET", "/here")[0] == (404 if server == "aiohttp" else 200)
    assert process.output.count("/here") == count


@netloop_only
@SERVERS
def test_an_interrupt_does_not_wait_for_requests(start: Start, program: Write, server: str) -> None:
    child = start_serving(start, program, server)
    port = Server(child).port
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /slow?seconds=600 HTTP/1.1\r\nHost: here\r\n\r\n")
        child.wait_for("slow begins")
        os.kill(child.pid, signal.SIGINT)
        assert child.wait() == 0
    assert "KeyboardInterrupt" not in child.output
    assert "cleaned up" in child.output


@netloop_only
@SERVERS
def test_an_end_waits_for_what_is_being_received(start: Start, program: Write, server: str) -> None:
    child = start_serving(start, program, server)
    upload = Upload(child, ("127.0.0.1", Server(child).port))
    os.kill(child.pid, signal.SIGTERM)
    time.sleep(1)
    assert upload.finish().endswith("20 received")
    assert child.wait() == 0
    assert "cleaned up" in child.output


@netloop_only
def test_an_asgi_server_that_is_not_installed(start: Start, program: Write) -> None:
    program("application.py", f"import sys\nsys.modules['hypercorn'] = None\n{ASGI}")
    child = start("-m", "netloop", "serve", "application:app", "--port", "0", "--asgi", "hypercorn")
    assert child.wait() == 1
    assert child.output == "netloop serve: an ASGI application needs hypercorn: pip install hypercorn\n"


@netloop_only
def test_an_asgi_server_for_what_is_no_asgi_application(start: Start, program: Write) -> None:
    program("application.py", AIOHTTP)
    child = start("-m", "netloop", "serve", "application:app", "--port", "0", "--asgi", "uvicorn")
    assert child.wait() == 1
    expected = "netloop serve: --asgi uvicorn: application:app is an aiohttp application, not an ASGI one\n"
    assert child.output == expected


FAILING = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the database is away"})
"""


@netloop_only
@pytest.mark.parametrize("server", ["uvicorn", "hypercorn"])
def test_an_asgi_application_that_fails_to_start(start: Start, program: Write, server: str) -> None:
    program("application.py", FAILING)
    child = start("-m", "netloop", "serve", "application:app", "--port", "0", *asgi_server(server))
    assert child.wait() == 1
    assert "the database is away" in child.output
    assert "netloop serve: the application has failed to start" in child.output


STARTING = """
import asyncio
from aiohttp import web

async def start(app):
    print("starts", flush=True)
    await asyncio.sleep(600)

app = web.Application()
app.on_startup.append(start)
"""


@netloop_only
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_end_before_it_serves(start: Start, program: Write, number: signal.Signals) -> None:
    program("application.py", STARTING)
    child = start("-m", "netloop", "serve", "application:app", "--port", "0")
    child.wait_for("starts")
    os.kill(child.pid, number)
    assert child.wait() == 0
    assert child.output == "starts\n"


LEAVING = """
from aiohttp import web

async def leave(request):
    raise web.GracefulExit()

async def clean_up(app):
    print("cleaned up", flush=True)

app = web.Application()
app.router.add_get("/", leave)
app.on_cleanup.append(clean_up)
"""


def test_an_application_that_ends_its_server(start: Start, program: Write, loop_name: str) -> None:
    program("application.py", LEAVING)
    child = start("-m", "netloop", "serve", "application:app", "--port", "0", "--loop", loop_name)
    with socket.create_connection(("127.0.0.1", Server(child).port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        assert child.wait() == 0
    assert "cleaned up" in child.output
