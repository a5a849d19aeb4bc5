"""redis-py's tests of its asyncio client, against a real server.

Their loops are made by pytest-asyncio, from asyncio's policy. A server on the port that is Redis's own is started for
each module, because some of the tests name it. There is no cluster, no sentinel and no TLS: what needs them is left
out, or fails on every loop.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator

from suites.suite import Suite

__all__ = ["SUITE"]

_HOST, _PORT = "127.0.0.1", 6379
_START_SECONDS = 10.0


@contextlib.contextmanager
def running_redis() -> Iterator[tuple[str, ...]]:
    """A Redis server that keeps nothing on disk."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server is not installed: apt-get install redis-server")
    with socket.socket() as probe:
        if probe.connect_ex((_HOST, _PORT)) == 0:
            raise SystemExit(f"something listens on {_HOST}:{_PORT} already, and the tests would empty it")
    with tempfile.TemporaryDirectory(prefix="netloop-") as folder:
        command = [program, "--bind", _HOST, "--port", str(_PORT), "--dir", folder, "--save", "", "--appendonly", "no"]
        command += ["--enable-debug-command", "yes"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            wait_for(server)
            yield ("--redis-url", f"redis://localhost:{_PORT}/0")
        finally:
            server.kill()
            server.wait()


def wait_for(server: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        if server.poll() is not None:
            raise SystemExit(f"redis-server ended with {server.returncode}")
        with contextlib.suppress(OSError), socket.create_connection((_HOST, _PORT), 1) as connection:
            connection.sendall(b"PING\r\n")
            if connection.recv(64).startswith(b"+PONG"):
                return
        if time.monotonic() > deadline:
            raise SystemExit(f"redis-server did not answer within {_START_SECONDS:g} s")
        time.sleep(0.02)


SUITE = Suite(
    name="redis",
    version="8.1.0",
    requirements=(
        "PyJWT==2.13.0",
        "aiohttp==3.14.5",
        "cryptography==50.0.2",
        "numpy==2.4.6",
        "opentelemetry-sdk==1.45.2",
        "packaging==26.4",
        "pybreaker==1.4.1",
        "pytest==9.2.0",
        "pytest-asyncio==1.5.0",
        "pytest-timeout==2.4.0",
        "redis-entraid==1.2.1",
        "ujson==6.1.0",
        "xxhash==3.6.0",
    ),
    content=("tests", "pyproject.toml"),
    modules=("tests/test_asyncio/**/test_*.py",),
    options=("-m", "not onlycluster and not redismod and not ssl and not cp_integration and not multidb_integration"),
    service=running_redis,
)
