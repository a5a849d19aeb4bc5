"""``python -m netloop serve`` where something is wrong: which words tell what."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from apps.programs import Program

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
