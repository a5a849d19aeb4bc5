"""A loop beneath a tool that forbids blocking calls, as test suites use: only asyncio's own files may make them."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import traceback

import pytest

from .helpers import Echo, Recorder, finish, stop

ALLOWED = {"os.stat": ("create_unix_server", "_stop_serving"), "os.unlink": ("_stop_serving",), "os.remove": ()}


def allowed(name: str) -> bool:
    """Is one of asyncio's functions that may block among the callers?"""
    # Without a frame to begin with, walk_stack() leaves out some callers before Python 3.14.
    codes = [frame.f_code for frame, _ in traceback.walk_stack(sys._getframe())]
    return any(code.co_filename == asyncio.unix_events.__file__ and code.co_name in ALLOWED[name] for code in codes)


@pytest.fixture
def forbidden(monkeypatch):
    """Calls on paths fail in a thread whose loop runs."""

    def guard(name):
        call = getattr(os, name.partition(".")[2])

        def function(*args, **options):
            if asyncio._get_running_loop() is not None and not allowed(name):
                raise RuntimeError(f"a blocking call: {name}")
            return call(*args, **options)

        return function

    for name in ALLOWED:
        monkeypatch.setattr(name, guard(name))


@pytest.mark.parametrize("left_over", [False, True], ids=["new", "left over"])
def test_a_server_at_a_path(loop, forbidden, tmp_path, left_over):
    path = tmp_path / "socket"
    if left_over:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(path))

    async def serve():
        server = await loop.create_unix_server(Echo, str(path))
        _, client = await loop.create_unix_connection(Recorder, str(path))
        client.transport.write(b"x")
        await client.until_received(1)
        await finish(client)
        await stop(server)

    loop.run_until_complete(serve())
    assert path.exists() == (sys.version_info < (3, 13))
