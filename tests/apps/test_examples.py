"""The programs in ``examples`` do what they say."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apps.programs import Program, Server

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

Serve = Callable[..., Server]


@pytest.fixture
def start_example(start: Callable[..., Program]) -> Iterator[Callable[..., Program]]:
    """Starts an example on a port of the kernel's choice."""
    yield lambda name: start(str(EXAMPLES / name), "--port", "0")


def test_echo_server(start_example: Callable[..., Program]) -> None:
    child = start_example("echo_server.py")
    port = int(child.wait_for(r"listening on \('127\.0\.0\.1', (\d+)\)")[1])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


def test_aiohttp_hello(serve: Serve) -> None:
    pytest.importorskip("aiohttp", reason="not installed: pip install aiohttp")
    server = serve(str(EXAMPLES / "aiohttp_hello.py"), "--port", "0")
    assert server.ask_json("/") == {"hello": "world"}
    assert server.ask_json("/netloop") == {"hello": "netloop"}


def test_fastapi_hello(serve: Serve) -> None:
    pytest.importorskip("uvicorn", reason="not installed: pip install uvicorn")
    pytest.importorskip("fastapi", reason="not installed: pip install fastapi")
    command = ("-m", "uvicorn", "--app-dir", str(EXAMPLES), "--loop", "netloop:new_event_loop", "--port", "0")
    assert serve(*command, "fastapi_hello:app").ask_json("/netloop") == {"hello": "netloop"}


def test_stall_report(start: Callable[..., Program]) -> None:
    child = start(str(EXAMPLES / "stall_report.py"))
    assert child.wait() == 0, child.output
    # Where the machine is busy with other things, it may not be that one callback alone.
    kinds = "(blocked|saturated)"
    child.wait_for(f"The event loop is {kinds}: answer_request in the task 'a slow request'")
    child.wait_for(f"a slow request, in answer_request, {kinds} the loop for")
    assert "stall_report.py:" in child.output.partition("the line: ")[2]
