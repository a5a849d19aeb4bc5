"""``python -m netloop serve`` where something is wrong: which words tell what."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from apps.programs import Program, Server

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
        (("--stall-threshold", "-3"), 1, "stall_threshold must be 0 or from 0.01 to 3600 seconds, not -3.0"),
        (("--stall-threshold", "x"), 2, "invalid float value: 'x'"),
    ],
)
def test_a_bad_threshold(start: Start, program: Write, arguments: tuple[str, ...], status: int, words: str) -> None:
    program("application.py", APPLICATION)
    child = start("-m", "netloop", "serve", "application:app", "--port", "0", *arguments)
    assert child.wait() == status
    assert words in child.output
    assert "Traceback" not in child.output
